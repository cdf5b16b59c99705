"""Pages of a column in one native call: read from a local file, checked, decompressed, decoded, put in their place.

What it does, and what it leaves to it, is defined by `pages`; see `native.fused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hepgraph.io.access.ranges import LOCAL_GAP
from hepgraph.io.native.fused import done, getter
from hepgraph.io.native.libraries import Tools
from hepgraph.io.rntuple.encodings import Encoding
from hepgraph.io.rntuple.pagebytes import BATCH
from hepgraph.io.rntuple.pagelist import CHECKSUM, Pages

ALONE = 64 << 10  # bytes of a page, from which it pays to read it without those beside it
NOWHERE = 1 << 62  # a place in a file that nothing follows
DIRECT = -1  # where a page is that need not be in what was read

# What is told of a page: the bytes to be read for it and for pages that follow, none if they were read before, and
# where these are in the file; where it is in what was read, its bytes, whether a checksum follows them, and its bytes
# decompressed; its elements, the first that is wanted, the number of those wanted, and that of others before them.
# `at` is DIRECT for a page that is stored as its elements are in memory, and is read into their place: all of it, or,
# where no checksum follows, what is wanted.
ROW = ("more", "place", "at", "bytes", "checked", "size", "elements", "first", "number", "before")


class Rest(NamedTuple):
    """Some pages of a cluster, of which elements `low` to `high` are wanted; the first of these goes to `at`."""

    cluster: int
    encoding: Encoding
    pages: Pages
    some: Sequence[int]
    low: int
    high: int
    at: int

    def place(self, page: int) -> slice:
        """Where the wanted elements of a page go."""
        start, stop = int(self.pages.starts[page]), int(self.pages.starts[page + 1])
        return slice(self.at + max(start, self.low) - self.low, self.at + min(stop, self.high) - self.low)


class PageFrame(NamedTuple):
    """The frame of all pages: the number of the open file, and addresses of memory and of functions.

    There is room to read the most into, and for the longest page when decompressed. `loop` puts numbers of `width`
    bytes in order, as `unsplit` does; it is 0 where they are stored as they are in memory. Where `add_up` is not 0, it
    adds up what that makes, for which there is room in `steps`, and begins with `begin`; what decreases is not placed.
    """

    file: int
    packed: int
    unpacked: int
    out: int
    width: int
    loop: int
    steps: int
    add_up: int
    begin: int


_get, _of_row = getter("frame", PageFrame._fields), getter("row", ROW)


def rows_of(rests: Sequence[Rest], plain: bool) -> tuple[list[int], int, int]:
    """A row for each page of some parts of one encoding; the most that is read at once, and the longest page.

    It is `plain` if its elements are stored as they are wanted in memory.
    """
    width = rests[0].encoding.dtype.itemsize
    rows: list[int] = []
    run = most = longest = head = 0
    end = NOWHERE
    for rest in rests:
        pages, low, high = rest.pages, rest.low, rest.high
        for page in rest.some:
            start, stop, place = int(pages.starts[page]), int(pages.starts[page + 1]), int(pages.offsets[page])
            stored, checked = int(pages.sizes[page]), bool(pages.checked[page])
            first = max(low - start, 0)
            number, size = min(high, stop) - start - first, (stop - start) * width
            after = place + stored + CHECKSUM * checked
            if plain and stored == size >= ALONE and (number == stop - start or not checked):
                more, at, end = 0, DIRECT, NOWHERE
            elif 0 <= place - end <= LOCAL_GAP and after - run <= BATCH:
                rows[head] = after - run
                more, at, end = 0, place - run, after
            else:
                head, run, more, at, end = len(rows), place, after - place, 0, after
            if at != DIRECT:
                most, longest = max(most, after - run), max(longest, size)
            rows += more, place, at, stored, checked, size
            rows += stop - start, first, number, rest.at + start + first - low
    return rows, most, longest


def placed(rows: list[int], frame: PageFrame, tools: Tools) -> bool:
    """Places the wanted elements of some pages, each told of as in ROW; says whether they are all there."""
    return done("straight_pages", lambda: _ONE, rows, len(ROW), frame, tools) == 0


# As `PageReader._pages` and `PageReader._decode`.
_ONE = f"""
define internal i1 @sound(ptr %frame, ptr %data, i64 %bytes, ptr %checksum) {{
  %function.at = {_get("xxh3")}
  %function = inttoptr i64 %function.at to ptr
  %found = call i64 %function(ptr %data, i64 %bytes)
  %stated = load i64, ptr %checksum, align 1
  %same = icmp eq i64 %found, %stated
  ret i1 %same
}}

define internal i64 @one(ptr %frame, ptr %row) {{
entry:
  %checked = {_of_row("checked")}
  %unchecked = icmp eq i64 %checked, 0
  %xxh3 = {_get("xxh3")}
  %checks = icmp ne i64 %xxh3, 0
  %may = or i1 %unchecked, %checks
  br i1 %may, label %start, label %no
start:
  %place = {_of_row("place")}
  %bytes = {_of_row("bytes")}
  %width = {_get("width")}
  %number = {_of_row("number")}
  %stretch = mul i64 %number, %width
  %first = {_of_row("first")}
  %begin = mul i64 %first, %width
  %before = {_of_row("before")}
  %skip = mul i64 %before, %width
  %out.at = {_get("out")}
  %to.at = add i64 %out.at, %skip
  %to = inttoptr i64 %to.at to ptr
  %packed.at = {_get("packed")}
  %packed = inttoptr i64 %packed.at to ptr
  %at = {_of_row("at")}
  %directly = icmp eq i64 %at, {DIRECT}
  br i1 %directly, label %fill, label %look
fill:
  %wanted = add i64 %place, %begin
  %filled = call i1 @read(ptr %frame, i64 %wanted, i64 %stretch, ptr %to)
  br i1 %filled, label %verify, label %no
verify:
  br i1 %unchecked, label %yes, label %compute
compute:
  %behind = add i64 %place, %bytes
  %told = call i1 @read(ptr %frame, i64 %behind, i64 {CHECKSUM}, ptr %packed)
  br i1 %told, label %agree, label %no
agree:
  %right = call i1 @sound(ptr %frame, ptr %to, i64 %bytes, ptr %packed)
  br i1 %right, label %yes, label %no
look:
  %more = {_of_row("more")}
  %there = icmp eq i64 %more, 0
  br i1 %there, label %open, label %fetch
fetch:
  %got = call i1 @read(ptr %frame, i64 %place, i64 %more, ptr %packed)
  br i1 %got, label %open, label %no
open:
  %data = getelementptr i8, ptr %packed, i64 %at
  br i1 %unchecked, label %whole, label %check
check:
  %checksum = getelementptr i8, ptr %data, i64 %bytes
  %sound = call i1 @sound(ptr %frame, ptr %data, i64 %bytes, ptr %checksum)
  br i1 %sound, label %whole, label %no
whole:
  %size = {_of_row("size")}
  %elements = {_of_row("elements")}
  %loop.at = {_get("loop")}
  %plain = icmp eq i64 %loop.at, 0
  %stored = icmp eq i64 %bytes, %size
  br i1 %stored, label %ready, label %measure
measure:
  %less = icmp slt i64 %bytes, %size
  br i1 %less, label %unpack, label %no
unpack:
  %all = icmp eq i64 %number, %elements
  %direct = and i1 %plain, %all
  %scratch.at = {_get("unpacked")}
  %target.at = select i1 %direct, i64 %to.at, i64 %scratch.at
  %target = inttoptr i64 %target.at to ptr
  %after = call i64 @blocks(ptr %frame, ptr %data, i64 0, i64 %bytes, ptr %target, i64 %size)
  %good = icmp eq i64 %after, %bytes
  br i1 %good, label %unpacked, label %no
unpacked:
  br i1 %direct, label %yes, label %ready
ready:
  %content = phi ptr [%data, %whole], [%target, %unpacked]
  br i1 %plain, label %copy, label %ordered
copy:
  %from = getelementptr i8, ptr %content, i64 %begin
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %stretch, i1 false)
  ret i64 0
ordered:
  %loop = inttoptr i64 %loop.at to ptr
  %sum.at = {_get("add_up")}
  %single = icmp eq i64 %sum.at, 0
  br i1 %single, label %numbers, label %sums
numbers:
  %split = getelementptr i8, ptr %content, i64 %first
  call void %loop(ptr %split, ptr %to, i64 %elements, i64 %number)
  ret i64 0
sums:
  %sum = inttoptr i64 %sum.at to ptr
  %steps.at = {_get("steps")}
  %steps = inttoptr i64 %steps.at to ptr
  %last = add i64 %first, %number
  call void %loop(ptr %content, ptr %steps, i64 %elements, i64 %last)
  %ends.skip = mul i64 %before, 8
  %ends.at = add i64 %out.at, %ends.skip
  %ends = inttoptr i64 %ends.at to ptr
  %start.from = {_get("begin")}
  %falls = call i64 %sum(ptr %steps, ptr %ends, i64 %first, i64 %last, i64 %start.from)
  %rises = icmp eq i64 %falls, 0
  %alone = icmp eq i64 %before, 0
  br i1 %rises, label %risen, label %no
risen:
  br i1 %alone, label %yes, label %compare
compare:
  %earlier.at = sub i64 %ends.at, 8
  %earlier = inttoptr i64 %earlier.at to ptr
  %earlier.last = load i64, ptr %earlier
  %later.first = load i64, ptr %ends
  %follows = icmp sle i64 %earlier.last, %later.first
  br i1 %follows, label %yes, label %no
yes:
  ret i64 0
no:
  ret i64 -1
}}
"""

"""All baskets of a column in one native call: read from a local file, decompressed, checked, put in their place.

What it does, and what it leaves to them, is defined by `baskets` and `leaves`; see `native.fused`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from hepgraph.io.native.fused import done, getter
from hepgraph.io.native.libraries import Tools
from hepgraph.io.native.loops import LANES, address, compiled, follower, looped

# What is told of a basket: where it is in the file, and its bytes; its entries, and the first and the last that are
# wanted; the number of this first entry among all that are wanted, and of its first item among theirs; its items. Where
# it was decompressed before, the address of its content, the bytes of that, where the data end in it, and those of its
# key; else zeros.
ROW = (
    "place", "bytes", "entries", "first", "last", "entry", "item", "items", "known", "known_size", "known_border",
    "known_length",
)  # fmt: skip


class BasketFrame(NamedTuple):
    """The frame of all baskets: the number of the open file, and addresses of memory.

    There is room to read the longest into, and `room` bytes for what is decompressed. `number` and `item` are the
    bytes of one. `offsets` are those of all wanted entries, or 0 where an entry is one item.
    """

    file: int
    packed: int
    unpacked: int
    room: int
    number: int
    item: int
    offsets: int
    out: int


_get, _of_row = getter("frame", (*BasketFrame._fields, "follows", "swap")), getter("row", ROW)


def placed(rows: list[int], frame: BasketFrame, tools: Tools) -> int:
    """Places the numbers of some baskets, each told of as in ROW, one after the other.

    Gives 0 if all are there, n > 0 if room for n bytes is needed, and -1 if it cannot be done.
    """
    numbers = *frame, *_loops(frame.number, frame.offsets != 0)
    return done("straight_baskets", lambda: _KEY + _BASKET + _ONE, rows, len(ROW), numbers, tools)


@cache
def _loops(width: int, listed: bool) -> tuple[int, int]:
    """The addresses of two loops over numbers: one compares tables, one copies numbers of so many bytes, turned."""
    name = f"swap{8 * width}"
    swap = 0 if width == 1 else address(compiled(name, lambda: _swap(8 * width), "void(ptr, ptr, i64, i64)"))
    return address(follower()) if listed else 0, swap


def _swap(bits: int) -> str:
    """A function that copies numbers and turns their bytes round; it takes no notice of its stride."""

    def turned(kind: str, suffix: str, number: str, name: str) -> list[str]:
        return [
            f"%{name}.from = getelementptr i{bits}, ptr %in, i64 {number}",
            f"%{name}.stored = load {kind}, ptr %{name}.from, align 1",
            f"%{name} = call {kind} @llvm.bswap.{suffix}({kind} %{name}.stored)",
        ]

    many, several = f"<{LANES} x i{bits}>", f"v{LANES}i{bits}"
    declared = f"declare {many} @llvm.bswap.{several}({many})\ndeclare i{bits} @llvm.bswap.i{bits}(i{bits})\n"
    vector, single = turned(many, several, "%i", "vector"), turned(f"i{bits}", f"i{bits}", "%k", "number")
    return declared + looped(f"swap{bits}", bits, vector, single, "%vector", "%number")


# As `baskets.key_of`: where the key says so, gives its length, else a negative number.
_KEY = """
define internal i64 @key(ptr %data, i64 %bytes, i64 %entries) {
entry:
  %room = icmp sge i64 %bytes, 27
  br i1 %room, label %sizes, label %no
sizes:
  %total = call i64 @int(ptr %data, i64 0)
  %size = call i64 @int(ptr %data, i64 6)
  %length = call i64 @short(ptr %data, i64 14)
  %least = icmp sge i64 %length, 27
  %key = icmp sle i64 %length, %total
  %all = icmp sle i64 %total, %bytes
  %one = and i1 %least, %key
  %two = and i1 %one, %all
  br i1 %two, label %inside, label %no
inside:
  %found.at = sub i64 %length, 9
  %found = call i64 @int(ptr %data, i64 %found.at)
  %last.at = sub i64 %length, 5
  %last = call i64 @int(ptr %data, i64 %last.at)
  %end = add i64 %length, %size
  %same = icmp eq i64 %found, %entries
  %after = icmp sle i64 %length, %last
  %before = icmp sle i64 %last, %end
  %three = and i1 %same, %after
  %four = and i1 %three, %before
  br i1 %four, label %yes, label %no
yes:
  ret i64 %length
no:
  ret i64 -1
}
"""

# As `leaves.Fixed`, `Basket.begins_as` and `Jagged._shared`: the byte at which the wanted items begin, or -1.
_BASKET = f"""
define internal i64 @fixed(ptr %frame, ptr %row, i64 %size, i64 %border) {{
  %width = {_get("item")}
  %entries = {_of_row("entries")}
  %first = {_of_row("first")}
  %begin = mul i64 %first, %width
  %bytes = mul i64 %entries, %width
  %alone = icmp eq i64 %border, %size
  %fits = icmp eq i64 %bytes, %size
  %both = and i1 %alone, %fits
  %found = select i1 %both, i64 %begin, i64 -1
  ret i64 %found
}}

define internal i64 @listed(ptr %frame, ptr %row, ptr %content, i64 %size, i64 %border, i64 %length) {{
entry:
  %width = {_get("item")}
  %entries = {_of_row("entries")}
  %first = {_of_row("first")}
  %last = {_of_row("last")}
  %items = {_of_row("items")}
  %bytes = mul i64 %items, %width
  %atstart = icmp eq i64 %first, 0
  %atend = icmp eq i64 %last, %entries
  %without = icmp eq i64 %border, %size
  br i1 %without, label %bare, label %table
bare:
  %bare.all = and i1 %atstart, %atend
  %bare.fits = icmp eq i64 %bytes, %size
  %bare.good = and i1 %bare.all, %bare.fits
  %bare.found = select i1 %bare.good, i64 0, i64 -1
  ret i64 %bare.found
table:
  %stated = sub i64 %size, %border
  %more = add i64 %entries, 2
  %due = mul i64 %more, 4
  %long = icmp eq i64 %stated, %due
  br i1 %long, label %count, label %no
count:
  %counted = call i64 @int(ptr %content, i64 %border)
  %wanted = add i64 %entries, 1
  %right = icmp eq i64 %counted, %wanted
  br i1 %right, label %begins, label %no
begins:
  %skip = mul i64 %first, 4
  %table.at = add i64 %border, 4
  %starts.at = add i64 %table.at, %skip
  %first.stated = call i64 @int(ptr %content, i64 %starts.at)
  %first.at = sub i64 %first.stated, %length
  %some = icmp slt i64 %first, %entries
  %begin = select i1 %some, i64 %first.at, i64 %border
  %end = add i64 %begin, %bytes
  %nostart = icmp ne i64 %first, 0
  %isnull = icmp eq i64 %begin, 0
  %start.good = or i1 %nostart, %isnull
  %inner = xor i1 %atend, true
  %isend = icmp eq i64 %end, %border
  %end.good = or i1 %inner, %isend
  %positive = icmp sge i64 %begin, 0
  %below = icmp sle i64 %end, %border
  %one = and i1 %start.good, %end.good
  %two = and i1 %positive, %below
  %good = and i1 %one, %two
  br i1 %good, label %compare, label %no
compare:
  %offsets.at = {_get("offsets")}
  %offsets.all = inttoptr i64 %offsets.at to ptr
  %entry.first = {_of_row("entry")}
  %offsets = getelementptr i64, ptr %offsets.all, i64 %entry.first
  %starts = getelementptr i8, ptr %content, i64 %starts.at
  %between = sub i64 %last, %first
  %behind = add i64 %between, 1
  %number = select i1 %atend, i64 %between, i64 %behind
  %any = icmp sgt i64 %number, 0
  br i1 %any, label %follow, label %yes
follow:
  %follows.at = {_get("follows")}
  %follows = inttoptr i64 %follows.at to ptr
  %wrong = call i64 %follows(ptr %starts, ptr %offsets, i64 %number, i64 %width)
  %none = icmp eq i64 %wrong, 0
  br i1 %none, label %yes, label %no
yes:
  ret i64 %begin
no:
  ret i64 -1
}}
"""

_ONE = f"""
define internal i64 @one(ptr %frame, ptr %row) {{
entry:
  %known.at = {_of_row("known")}
  %known.size = {_of_row("known_size")}
  %known.border = {_of_row("known_border")}
  %known.length = {_of_row("known_length")}
  %known.content = inttoptr i64 %known.at to ptr
  %unknown = icmp eq i64 %known.at, 0
  br i1 %unknown, label %fetch, label %whole
fetch:
  %place = {_of_row("place")}
  %bytes = {_of_row("bytes")}
  %data.at = {_get("packed")}
  %data = inttoptr i64 %data.at to ptr
  %there = call i1 @read(ptr %frame, i64 %place, i64 %bytes, ptr %data)
  br i1 %there, label %open, label %no
open:
  %entries = {_of_row("entries")}
  %key.length = call i64 @key(ptr %data, i64 %bytes, i64 %entries)
  %right = icmp sge i64 %key.length, 0
  br i1 %right, label %sizes, label %no
sizes:
  %total = call i64 @int(ptr %data, i64 0)
  %key.size = call i64 @int(ptr %data, i64 6)
  %last = sub i64 %key.length, 5
  %data.end = call i64 @int(ptr %data, i64 %last)
  %key.border = sub i64 %data.end, %key.length
  %packed = sub i64 %total, %key.length
  %inside = getelementptr i8, ptr %data, i64 %key.length
  %plain = icmp eq i64 %packed, %key.size
  br i1 %plain, label %whole, label %measure
measure:
  %room = {_get("room")}
  %fits = icmp sle i64 %key.size, %room
  br i1 %fits, label %unpack, label %larger
larger:
  ret i64 %key.size
unpack:
  %scratch.at = {_get("unpacked")}
  %scratch = inttoptr i64 %scratch.at to ptr
  %after = call i64 @blocks(ptr %frame, ptr %data, i64 %key.length, i64 %total, ptr %scratch, i64 %key.size)
  %good = icmp sge i64 %after, 0
  br i1 %good, label %whole, label %no
whole:
  %content = phi ptr [%inside, %sizes], [%scratch, %unpack], [%known.content, %entry]
  %size = phi i64 [%key.size, %sizes], [%key.size, %unpack], [%known.size, %entry]
  %border = phi i64 [%key.border, %sizes], [%key.border, %unpack], [%known.border, %entry]
  %length = phi i64 [%key.length, %sizes], [%key.length, %unpack], [%known.length, %entry]
  %offsets = {_get("offsets")}
  %single = icmp eq i64 %offsets, 0
  br i1 %single, label %items, label %lists
items:
  %begin.fixed = call i64 @fixed(ptr %frame, ptr %row, i64 %size, i64 %border)
  br label %found
lists:
  %begin.listed = call i64 @listed(
    ptr %frame, ptr %row, ptr %content, i64 %size, i64 %border, i64 %length)
  br label %found
found:
  %begin = phi i64 [%begin.fixed, %items], [%begin.listed, %lists]
  %any = icmp sge i64 %begin, 0
  br i1 %any, label %move, label %no
move:
  %from = getelementptr i8, ptr %content, i64 %begin
  %out.at = {_get("out")}
  %out = inttoptr i64 %out.at to ptr
  %width = {_get("item")}
  %number = {_get("number")}
  %item = {_of_row("item")}
  %many = {_of_row("items")}
  %skip = mul i64 %item, %width
  %to = getelementptr i8, ptr %out, i64 %skip
  %stretch = mul i64 %many, %width
  %count = sdiv i64 %stretch, %number
  %bytewise = icmp eq i64 %number, 1
  br i1 %bytewise, label %copy, label %turn
copy:
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %stretch, i1 false)
  ret i64 0
turn:
  %swap.at = {_get("swap")}
  %swap = inttoptr i64 %swap.at to ptr
  call void %swap(ptr %from, ptr %to, i64 0, i64 %count)
  ret i64 0
no:
  ret i64 -1
}}
"""

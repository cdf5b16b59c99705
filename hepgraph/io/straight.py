"""All baskets of a column in one native call: read from a local file, decompressed, checked, put in their place.

From the reading of a basket to the placing of its numbers, `baskets` and `leaves` call a dozen native functions, and
Python's lock is given back and taken again around each, so that threads wait for each other. Here it is done without
Python in between. Whatever is not as it should be, or not known here, is left to them: they define what is read, and
say what is wrong.
"""

from __future__ import annotations

from array import array
from functools import cache
from typing import NamedTuple

from hepgraph.io.libraries import NAMES, Tools
from hepgraph.io.native import LANES, address, compiled, follower, looped

# What is told of a basket: where it is in the file, and its bytes; its entries, and the first and the last that are
# wanted; the number of this first entry among all that are wanted, and of its first item among theirs; its items.
ROW = ("place", "bytes", "entries", "first", "last", "entry", "item", "items")


class Frame(NamedTuple):
    """What is the same for all baskets: the number of the open file, and addresses of memory.

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


def placed(rows: list[int], frame: Frame, tools: Tools) -> int:
    """Places the numbers of some baskets, each told of as in ROW, one after the other.

    Gives 0 if all are there, n > 0 if room for n bytes is needed, and -1 if it cannot be done.
    """
    call = compiled("straight", lambda: _HELPERS + _BLOCKS + _KEY + _BASKET + _LOOP, "i64(ptr, i64, ptr)", level=0)
    table, numbers = array("q", rows), array("q", (*tools.addresses, *frame, *_loops(frame.number, frame.offsets != 0)))
    return int(call(table.buffer_info()[0], len(rows) // len(ROW), numbers.buffer_info()[0]))


@cache
def _loops(width: int, listed: bool) -> tuple[int, int]:
    """The addresses of two loops over numbers: one compares tables, one copies numbers of so many bytes, turned."""
    name = f"swap{8 * width}"
    swap = 0 if width == 1 else address(compiled(name, lambda: _swap(8 * width), "void(ptr, ptr, i64, i64)"))
    return address(follower()) if listed else 0, swap


def _get(name: str, table: str = "%frame") -> str:
    """A number of the frame, or of a row."""
    index = (*NAMES, *Frame._fields, "follows", "swap").index(name) if table == "%frame" else ROW.index(name)
    return f"call i64 @get(ptr {table}, i64 {index})"


def _big(name: str, bits: int) -> str:
    """A function that gives a number whose highest byte is stored first."""
    return f"""
define internal i64 @{name}(ptr %data, i64 %at) {{
  %place = getelementptr i8, ptr %data, i64 %at
  %stored = load i{bits}, ptr %place, align 1
  %value = call i{bits} @llvm.bswap.i{bits}(i{bits} %stored)
  %wide = sext i{bits} %value to i64
  ret i64 %wide
}}
"""


_HELPERS = (
    _big("short", 16)
    + _big("int", 32)
    + """
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal i64 @get(ptr %table, i64 %index) {
  %place = getelementptr i64, ptr %table, i64 %index
  %value = load i64, ptr %place
  ret i64 %value
}

define internal i64 @three(ptr %data, i64 %at) { ; three bytes, the lowest first
  %place = getelementptr i8, ptr %data, i64 %at
  %low = load i16, ptr %place, align 1
  %after = getelementptr i8, ptr %place, i64 2
  %high = load i8, ptr %after
  %below = zext i16 %low to i64
  %above = zext i8 %high to i64
  %shifted = shl i64 %above, 16
  %value = or i64 %below, %shifted
  ret i64 %value
}
"""
)

# As `codecs.blocks_of`, and the functions of the codecs; LZMA takes so long that Python's part does not count.
_BLOCKS = f"""
define internal i1 @block(ptr %frame, i16 %codec, ptr %from, i64 %small, ptr %to, i64 %large) {{
entry:
  %zstd.at = {_get("zstd")}
  %zlib.at = {_get("zlib")}
  %deflate.at = {_get("deflate")}
  %lz4.at = {_get("lz4")}
  switch i16 %codec, label %no [
    i16 {int.from_bytes(b"ZS", "little")}, label %zstd
    i16 {int.from_bytes(b"ZL", "little")}, label %zlib
    i16 {int.from_bytes(b"CS", "little")}, label %deflate
    i16 {int.from_bytes(b"L4", "little")}, label %lz4
  ]
zstd:
  %zstd.there = icmp ne i64 %zstd.at, 0
  br i1 %zstd.there, label %zstd.call, label %no
zstd.call:
  %zstd.own = {_get("zstd_context")}
  %zstd.context = inttoptr i64 %zstd.own to ptr
  %zstd.function = inttoptr i64 %zstd.at to ptr
  %zstd.made = call i64 %zstd.function(ptr %zstd.context, ptr %to, i64 %large, ptr %from, i64 %small)
  %zstd.fits = icmp eq i64 %zstd.made, %large
  ret i1 %zstd.fits
zlib:
  br label %inflate
deflate:
  br label %inflate
inflate:
  %inflate.at = phi i64 [%zlib.at, %zlib], [%deflate.at, %deflate]
  %inflate.there = icmp ne i64 %inflate.at, 0
  br i1 %inflate.there, label %inflate.call, label %no
inflate.call:
  %inflate.own = {_get("deflate_context")}
  %inflate.context = inttoptr i64 %inflate.own to ptr
  %inflate.function = inttoptr i64 %inflate.at to ptr
  %inflate.made = call i32 %inflate.function(
    ptr %inflate.context, ptr %from, i64 %small, ptr %to, i64 %large, ptr null)
  %inflate.fits = icmp eq i32 %inflate.made, 0
  ret i1 %inflate.fits
lz4:
  %lz4.there = icmp ne i64 %lz4.at, 0
  %lz4.long = icmp sge i64 %small, 8
  %lz4.may = and i1 %lz4.there, %lz4.long
  br i1 %lz4.may, label %lz4.check, label %no
lz4.check:
  %lz4.sum = load i64, ptr %from, align 1
  %lz4.stated = call i64 @llvm.bswap.i64(i64 %lz4.sum)
  %lz4.data = getelementptr i8, ptr %from, i64 8
  %lz4.size = sub i64 %small, 8
  %xxhash.at = {_get("xxhash")}
  %xxhash = inttoptr i64 %xxhash.at to ptr
  %lz4.found = call i64 %xxhash(ptr %lz4.data, i64 %lz4.size, i64 0)
  %lz4.same = icmp eq i64 %lz4.found, %lz4.stated
  br i1 %lz4.same, label %lz4.call, label %no
lz4.call:
  %lz4.function = inttoptr i64 %lz4.at to ptr
  %lz4.bytes = trunc i64 %lz4.size to i32
  %lz4.large = trunc i64 %large to i32
  %lz4.made = call i32 %lz4.function(ptr %lz4.data, ptr %to, i32 %lz4.bytes, i32 %lz4.large)
  %lz4.fits = icmp eq i32 %lz4.made, %lz4.large
  ret i1 %lz4.fits
no:
  ret i1 false
}}

define internal i1 @blocks(ptr %frame, ptr %data, i64 %from, i64 %end, ptr %out, i64 %size) {{
entry:
  br label %head
head:
  %at = phi i64 [%from, %entry], [%next, %unpack]
  %done = phi i64 [0, %entry], [%total, %unpack]
  %whole = icmp eq i64 %done, %size
  br i1 %whole, label %yes, label %more
more:
  %start = add i64 %at, 9
  %room = icmp sle i64 %start, %end
  br i1 %room, label %header, label %no
header:
  %codec.place = getelementptr i8, ptr %data, i64 %at
  %codec = load i16, ptr %codec.place, align 1
  %small.at = add i64 %at, 3
  %small = call i64 @three(ptr %data, i64 %small.at)
  %large.at = add i64 %at, 6
  %large = call i64 @three(ptr %data, i64 %large.at)
  %next = add i64 %start, %small
  %total = add i64 %done, %large
  %inside = icmp sle i64 %next, %end
  %some = icmp sgt i64 %large, 0
  %fits = icmp sle i64 %total, %size
  %both = and i1 %inside, %some
  %all = and i1 %both, %fits
  br i1 %all, label %unpack, label %no
unpack:
  %source = getelementptr i8, ptr %data, i64 %start
  %place = getelementptr i8, ptr %out, i64 %done
  %good = call i1 @block(ptr %frame, i16 %codec, ptr %source, i64 %small, ptr %place, i64 %large)
  br i1 %good, label %head, label %no
yes:
  ret i1 true
no:
  ret i1 false
}}
"""


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


# As `LocalBytes.read`, and `baskets.key_of`: where the key says so, gives its length, else a negative number.
_KEY = f"""
define internal i1 @read(ptr %frame, ptr %row) {{
entry:
  %pread.at = {_get("pread")}
  %pread = inttoptr i64 %pread.at to ptr
  %file.wide = {_get("file")}
  %file = trunc i64 %file.wide to i32
  %packed.at = {_get("packed")}
  %packed = inttoptr i64 %packed.at to ptr
  %place = {_get("place", "%row")}
  %bytes = {_get("bytes", "%row")}
  br label %head
head:
  %got = phi i64 [0, %entry], [%sum, %body]
  %more = icmp slt i64 %got, %bytes
  br i1 %more, label %body, label %yes
body:
  %to = getelementptr i8, ptr %packed, i64 %got
  %left = sub i64 %bytes, %got
  %from = add i64 %place, %got
  %now = call i64 %pread(i32 %file, ptr %to, i64 %left, i64 %from)
  %sum = add i64 %got, %now
  %some = icmp sgt i64 %now, 0
  br i1 %some, label %head, label %no
yes:
  ret i1 true
no:
  ret i1 false
}}

define internal i64 @key(ptr %data, i64 %bytes, i64 %entries) {{
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
}}
"""

# As `leaves.Fixed`, `Basket.begins_as` and `Jagged._shared`: the byte at which the wanted items begin, or -1.
_BASKET = f"""
define internal i64 @fixed(ptr %frame, ptr %row, i64 %size, i64 %border) {{
  %width = {_get("item")}
  %entries = {_get("entries", "%row")}
  %first = {_get("first", "%row")}
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
  %entries = {_get("entries", "%row")}
  %first = {_get("first", "%row")}
  %last = {_get("last", "%row")}
  %items = {_get("items", "%row")}
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
  %entry.first = {_get("entry", "%row")}
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

_LOOP = f"""
define internal i64 @basket(ptr %frame, ptr %row) {{
entry:
  %there = call i1 @read(ptr %frame, ptr %row)
  br i1 %there, label %open, label %no
open:
  %data.at = {_get("packed")}
  %data = inttoptr i64 %data.at to ptr
  %bytes = {_get("bytes", "%row")}
  %entries = {_get("entries", "%row")}
  %length = call i64 @key(ptr %data, i64 %bytes, i64 %entries)
  %known = icmp sge i64 %length, 0
  br i1 %known, label %sizes, label %no
sizes:
  %total = call i64 @int(ptr %data, i64 0)
  %size = call i64 @int(ptr %data, i64 6)
  %last = sub i64 %length, 5
  %data.end = call i64 @int(ptr %data, i64 %last)
  %border = sub i64 %data.end, %length
  %packed = sub i64 %total, %length
  %inside = getelementptr i8, ptr %data, i64 %length
  %plain = icmp eq i64 %packed, %size
  br i1 %plain, label %whole, label %measure
measure:
  %room = {_get("room")}
  %fits = icmp sle i64 %size, %room
  br i1 %fits, label %unpack, label %larger
larger:
  ret i64 %size
unpack:
  %scratch.at = {_get("unpacked")}
  %scratch = inttoptr i64 %scratch.at to ptr
  %good = call i1 @blocks(ptr %frame, ptr %data, i64 %length, i64 %total, ptr %scratch, i64 %size)
  br i1 %good, label %whole, label %no
whole:
  %content = phi ptr [%inside, %sizes], [%scratch, %unpack]
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
  %item = {_get("item", "%row")}
  %many = {_get("items", "%row")}
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

define i64 @straight(ptr %rows, i64 %count, ptr %frame) {{
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%next, %body]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %body, label %done
body:
  %at = mul i64 %i, {len(ROW)}
  %row = getelementptr i64, ptr %rows, i64 %at
  %status = call i64 @basket(ptr %frame, ptr %row)
  %next = add i64 %i, 1
  %good = icmp eq i64 %status, 0
  br i1 %good, label %head, label %stop
stop:
  ret i64 %status
done:
  ret i64 0
}}
"""

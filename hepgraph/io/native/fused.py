"""Columns straight from a local file: what is native of it for baskets and pages alike.

From the reading of a basket or a page to the placing of its numbers, Python calls a dozen native functions, and its
lock is given back and taken again around each, so that threads wait for each other. `straight_baskets` and
`straight_pages` do it without Python in between: one call for all baskets of a column, or all its pages.
Whatever is not as it should be, or not known here, is left to the code that is called otherwise: it defines what is
read, and says what is wrong.

Each call is given rows of numbers, one row for a basket or a page, and a *frame* of what is the same for all.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from hepgraph.io.native.libraries import NAMES, Tools
from hepgraph.io.native.loops import compiled

ENOUGH = 20_000  # numbers, from which it pays to compile
PLACES = ("file", "packed")  # with these, the number of the open file and where to read, every frame begins


def done(
    name: str, text: Callable[[], str], rows: Sequence[int], width: int, frame: Sequence[int], tools: Tools
) -> int:
    """The status of the function `@one` of a text, called for each row of this width; 0 if all went well."""
    call = compiled(name, lambda: COMMON + text() + _over(name, width), "i64(ptr, i64, ptr)", level=0)
    table, numbers = array("q", rows), array("q", (*tools.addresses, *frame))
    return int(call(table.buffer_info()[0], len(rows) // width, numbers.buffer_info()[0]))


def getter(table: str, names: Sequence[str]) -> Callable[[str], str]:
    """A writer of the call that gets a number by its name, out of the frame or a row."""
    order = [*NAMES, *names] if table == "frame" else [*names]
    return lambda name: f"call i64 @get(ptr %{table}, i64 {order.index(name)})"


_get = getter("frame", PLACES)


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

define internal i64 @blocks(ptr %frame, ptr %data, i64 %from, i64 %end, ptr %out, i64 %size) {{
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
  ret i64 %at
no:
  ret i64 -1
}}
"""

# Reads some bytes of the file, as `LocalBytes.read`.
_READ = f"""
define internal i1 @read(ptr %frame, i64 %place, i64 %bytes, ptr %out) {{
entry:
  %pread.at = {_get("pread")}
  %pread = inttoptr i64 %pread.at to ptr
  %file.wide = {_get("file")}
  %file = trunc i64 %file.wide to i32
  br label %head
head:
  %got = phi i64 [0, %entry], [%sum, %body]
  %more = icmp slt i64 %got, %bytes
  br i1 %more, label %body, label %yes
body:
  %to = getelementptr i8, ptr %out, i64 %got
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
"""

COMMON = _HELPERS + _BLOCKS + _READ


def _over(name: str, width: int) -> str:
    """A function that calls `@one` for each row, until it does not give 0."""
    return f"""
define i64 @{name}(ptr %rows, i64 %count, ptr %frame) {{
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%next, %body]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %body, label %done
body:
  %at = mul i64 %i, {width}
  %row = getelementptr i64, ptr %rows, i64 %at
  %status = call i64 @one(ptr %frame, ptr %row)
  %next = add i64 %i, 1
  %good = icmp eq i64 %status, 0
  br i1 %good, label %head, label %stop
stop:
  ret i64 %status
done:
  ret i64 0
}}
"""

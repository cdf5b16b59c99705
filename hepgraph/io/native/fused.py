"""Fused reading of local files: the native functions that baskets and pages share.

To read, decompress and copy a basket or a page, Python calls a dozen native functions, and releases and takes its lock
around each, so that threads wait for each other. `fused_baskets` and `fused_pages` do it without Python in between: one
call for all baskets of a column, or all its pages.
Whatever is not as it should be, or not known here, is left to the code that is called otherwise: it defines what is
read, and says what is wrong.

Each call is given rows of numbers, one row for a basket or a page, and a *frame* of what is the same for all.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from hepgraph.io.native.libraries import NAMES, Tools
from hepgraph.io.native.loops import compiled
from hepgraph.jit.translate import assembly


def call_rows(
    name: str, source: str, rows: Sequence[int], row: Sequence[str], frame: Mapping[str, int], tools: Tools
) -> int:
    """Calls the function `read_one` of a source for each row, up to the first that fails; its status, 0 if none does.

    `row` has the names of the numbers in a row. The frame has `file` and `packed`, and what the source reads of it.
    """

    def text() -> str:
        tables = {"row": row, "frame": (*NAMES, *frame)}
        return assembly(COMMON + source + _OVER.format(name=name), _CODECS | {"ROW": 8 * len(row)}, tables)

    call = compiled(name, text, "i64(i64, i64, i64)", level=0)
    table, numbers = array("q", rows), array("q", (*tools.addresses, *frame.values()))
    return int(call(table.buffer_info()[0], len(rows) // len(row), numbers.buffer_info()[0]))


_CODECS = {name: int.from_bytes(name.encode(), "little") for name in ("ZS", "ZL", "CS", "L4")}

# As `codecs.blocks_of`, and the functions of the codecs; LZMA takes so long that Python's part does not count. And
# some bytes of the file, as `LocalBytes.read`.
COMMON = """
def block(frame, codec, start, small, out, large):
    if codec == ZS:
        if not frame.zstd:
            return 0
        return invoke("i64 i64 i64 i64 i64 i64", frame.zstd, frame.zstd_context, out, large, start, small) == large
    if codec == ZL or codec == CS:
        inflate = frame.zlib if codec == ZL else frame.deflate
        if not inflate:
            return 0
        return invoke("i32 i64 i64 i64 i64 i64 i64", inflate, frame.deflate_context, start, small, out, large, 0) == 0
    if codec != L4 or not frame.lz4 or small < 8:
        return 0
    if invoke("i64 i64 i64 i64", frame.xxhash, start + 8, small - 8, 0) != start.big64[0]:
        return 0
    return invoke("i32 i64 i64 i32 i32", frame.lz4, start + 8, out, small - 8, large) == large

def blocks(frame, data, at, end, out, size):
    written = 0
    while written != size:
        header, start = data + at, at + 9
        if start > end:
            return -1
        small = (header + 3).u16[0] + (header.u8[5] << 16)
        large = (header + 6).u16[0] + (header.u8[8] << 16)
        if start + small > end or large == 0 or written + large > size:
            return -1
        if not block(frame, header.u16[0], data + start, small, out + written, large):
            return -1
        at, written = start + small, written + large
    return at

def read(frame, place, size, out):
    got = 0
    while got < size:
        now = invoke("i64 i32 i64 i64 i64", frame.pread, frame.file, out + got, size - got, place + got)
        if now <= 0:
            return 0
        got += now
    return 1
"""
_OVER = """
def {name}(rows, count, frame):
    for i in range(0, count):
        status = read_one(frame, rows + i * ROW)
        if status:
            return status
    return 0
"""

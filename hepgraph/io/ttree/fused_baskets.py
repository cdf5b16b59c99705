"""All baskets of a column in one native call: read from a local file, decompressed, checked, copied into place.

What it does, and what it leaves to them, is defined by `baskets` and `leaves`; see `native.fused`.
"""

from __future__ import annotations

from functools import cache

from hepgraph.io.native.fused import call_rows
from hepgraph.io.native.libraries import Tools
from hepgraph.io.native.loops import address, follower, loop

# The numbers of a row, for one basket: where it is in the file, and its bytes; its entries, and the first and the last
# that are wanted; the number of this first entry among all that are wanted, and of its first item among theirs; its
# items. Where it was decompressed before (it is shared), the address of its content, the bytes of that, where the data
# end in it (`fLast` less the key), and those of its key; else zeros.
ROW = (
    "place", "bytes", "entries", "first", "last", "entry", "item", "items", "known", "known_size", "known_border",
    "known_length",
)  # fmt: skip


def read_baskets(rows: list[int], frame: dict[str, int], tools: Tools) -> int:
    """Reads some baskets, decompresses and checks them, and copies their numbers into place; a row of ROW for each.

    The frame has the number of the open file; where the longest basket can be read to, what is decompressed can go to,
    with `room` bytes, and all items go in the end; the bytes of one number and of one item; and the offsets of all
    wanted entries, 0 where an entry is one item.

    Returns 0 if all are there, n > 0 if room for n bytes is needed, and -1 if it cannot be done.
    """
    loops = _loops(frame["number"], frame["offsets"] != 0)
    return call_rows("read_baskets", _READ_BASKET, rows, ROW, frame | loops, tools)


@cache
def _loops(width: int, listed: bool) -> dict[str, int]:
    """The addresses of two loops over numbers: one compares tables, one copies numbers of so many bytes, turned."""
    name = f"swap{8 * width}"
    swap = 0 if width == 1 else address(loop(name, _SWAP.format(name=name, bits=8 * width), 3))
    return {"follows": address(follower()) if listed else 0, "swap": swap}


_SWAP = """
def {name}(start, out, count):
    for k in range(0, count):
        out.i{bits}[k] = start.big{bits}[k]
"""

# `key` is as `baskets.key_of`: it gives the length of a key that may be right, else a negative number. `fixed` and
# `listed` are as `leaves.FixedLeaf`, and as `Basket.begins_as` and `Jagged._by_known_lists`: the byte at which the
# wanted items begin, or -1.
_READ_BASKET = """
def key(data, size, entries):
    if size < 27:
        return -1
    total, unpacked, length = data.big32[0], (data + 6).big32[0], (data + 14).big16[0]
    if not 27 <= length <= total <= size:
        return -1
    found, last = (data + length - 9).big32[0], (data + length - 5).big32[0]
    return length if found == entries and length <= last <= length + unpacked else -1

def fixed(frame, row, size, border):
    return row.first * frame.item if border == size and row.entries * frame.item == size else -1

def listed(frame, row, content, size, border, length):
    entries, first, last, stretch = row.entries, row.first, row.last, row.items * frame.item
    if border == size:
        return 0 if first == 0 and last == entries and stretch == size else -1
    if size - border != 4 * (entries + 2) or (content + border).big32[0] != entries + 1:
        return -1
    table = content + border + 4 + 4 * first
    begin = table.big32[0] - length if first < entries else border
    if begin < 0 or begin + stretch > border or (first == 0 and begin != 0):
        return -1
    if last == entries and begin + stretch != border:
        return -1
    count = last - first if last == entries else last - first + 1
    offsets = frame.offsets + 8 * row.entry
    if count > 0 and invoke("i64 i64 i64 i64 i64", frame.follows, table, offsets, count, frame.item):
        return -1
    return begin

def read_one(frame, row):
    content, size, border, length = row.known, row.known_size, row.known_border, row.known_length
    if content == 0:
        data = frame.packed
        if not read(frame, row.place, row.bytes, data):
            return -1
        length = key(data, row.bytes, row.entries)
        if length < 0:
            return -1
        total, size, border = data.big32[0], (data + 6).big32[0], (data + length - 5).big32[0] - length
        content = data + length
        if total - length != size:
            if size > frame.room:
                return size
            content = frame.unpacked
            if blocks(frame, data, length, total, content, size) < 0:
                return -1
    begin = listed(frame, row, content, size, border, length) if frame.offsets else fixed(frame, row, size, border)
    if begin < 0:
        return -1
    to, stretch = frame.out + row.item * frame.item, row.items * frame.item
    if frame.number == 1:
        copy(to, content + begin, stretch)
    else:
        invoke("i64 i64 i64 i64", frame.swap, content + begin, to, stretch // frame.number)
    return 0
"""

"""The bytes of RNTuple pages: read, decompressed, and the elements that they hold put in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.native.buffers import scratch
from hepgraph.io.native.codecs import blocks_of, decompress_blocks
from hepgraph.io.native.loops import add_up
from hepgraph.io.rntuple.encodings import Encoding, packed_reals
from hepgraph.io.rntuple.pagelist import PageError
from hepgraph.io.rntuple.unsplit import unsplit

Array: TypeAlias = np.ndarray[Any, Any]

BATCH = 512 << 10  # bytes read at once from a local file: what the processor's own cache can hold until it is used


def target_or_scratch(target: Array | None, size: int) -> Array:
    """The target, or scratch memory for so many bytes, which the next page overwrites."""
    return scratch.take("unpacked", size) if target is None else target


def decompressed_page(packed: memoryview, size: int, allocate: Callable[[int], Array]) -> Array:
    """The `size` bytes of a page, valid until the next one is read, in memory that `allocate(size)` may give."""
    if len(packed) == size:
        return np.frombuffer(packed, np.uint8)
    if len(packed) > size:
        raise PageError(f"{len(packed)} bytes are too many for the {size} that it holds")
    blocks = blocks_of(packed, size)
    found = decompress_blocks(packed, blocks, size, allocate)
    taken = blocks[-1][2] if blocks else 0
    if taken != len(packed):
        raise PageError(f"{len(packed) - taken} bytes follow its compressed blocks")
    return found


def ordered(encoding: Encoding, data: Array, first: int, out: Array, begin: int) -> bool:
    """Decodes the elements of a page from `first` on into `out`; `data` are its bytes, ends count from `begin`.

    Returns whether they are known never to decrease.
    """
    if encoding.delta:
        steps = scratch.take("steps", (first + len(out)) * encoding.dtype.itemsize).view(encoding.dtype)
        unsplit(data, 0, steps)
        return add_up(steps, first, out, begin)
    if encoding.plain(out.dtype):
        out.view(np.uint8)[...] = data[first * out.itemsize : (first + len(out)) * out.itemsize]
    elif encoding.split and encoding.dtype == out.dtype:
        unsplit(data, first, out, encoding.zigzag)
    elif encoding.split:
        numbers = np.empty(len(out), encoding.dtype)
        unsplit(data, first, numbers, encoding.zigzag)
        out[...] = numbers
    elif encoding.dtype.kind == "b":
        bits = np.unpackbits(data[first // 8 : (first + len(out) + 7) // 8], bitorder="little")
        out[...] = bits[first % 8 : first % 8 + len(out)].view(np.bool_)
    elif encoding.real:
        out[...] = packed_reals(encoding, data, first, len(out))
    else:
        out[...] = data.view(encoding.dtype)[first : first + len(out)]
    if begin:
        out += begin
    return False

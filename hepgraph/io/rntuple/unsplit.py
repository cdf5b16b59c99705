"""Bytes put back in order: RNTuple stores the first bytes of all numbers, then the second bytes of all, and so on.

NumPy has only strided copies for it, four to six times as slow as native loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.native.loops import loop

Array: TypeAlias = np.ndarray[Any, Any]


def unsplit(split: Array, first: int, out: Array, zigzag: bool = False) -> None:
    """Fills `out` with numbers `first`, `first + 1`, ... of those whose bytes are split in `split`.

    `split` has the bytes of a whole page; `zigzag` numbers 0, -1, 1, -2, ... are stored as 0, 1, 2, 3, ...

    >>> out = np.empty(2, np.int16)
    >>> unsplit(np.array([1, 2, 3, 0, 0, 1], np.uint8), 1, out)
    >>> out
    array([  2, 259], dtype=int16)
    >>> unsplit(np.array([1, 2, 3, 0, 0, 0], np.uint8), 1, out, zigzag=True)
    >>> out
    array([ 1, -2], dtype=int16)
    """
    width = out.dtype.itemsize
    stride = len(split) // width
    if not (split.flags.c_contiguous and out.flags.c_contiguous and split.dtype == np.uint8):
        raise ValueError("the bytes and the place for the numbers must each be contiguous")
    if len(split) != stride * width or not 0 <= first <= first + len(out) <= stride:
        raise ValueError(f"{len(split)} bytes do not hold numbers {first} to {first + len(out)} of {width} bytes")
    unsplitter(width, zigzag)(split.ctypes.data + first, out.ctypes.data, stride, len(out))


def unsplitter(width: int, zigzag: bool) -> Any:
    """The function of `unsplit` for numbers of so many bytes; it is given their number in a page and that wanted."""
    name = f"{'zigzag' if zigzag else 'unsplit'}{width}"
    if width == 8 and not zigzag:  # two halves, of which the processor does more at once
        made = f"out.i32[2 * k], out.i32[2 * k + 1] = {_joined(range(4))}, {_joined(range(4, 8))}"
    elif zigzag:
        made = f"number = {_joined(range(width))}\n        out.i{8 * width}[k] = number >> 1 ^ -(number & 1)"
    else:
        made = f"out.i{8 * width}[k] = {_joined(range(width))}"
    return loop(name, _LOOP.format(name=name, made=made), 4)


_LOOP = """
def {name}(split, out, stride, count):
    for k in range(0, count):
        {made}
"""


def _joined(places: Sequence[int]) -> str:
    """The number of bytes at some places of all, the lowest first."""
    return " | ".join(f"split.u8[{place} * stride + k] << {8 * i}" for i, place in enumerate(places))

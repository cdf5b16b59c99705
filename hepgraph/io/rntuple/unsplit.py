"""Bytes put back in order: RNTuple stores the first bytes of all numbers, then the second bytes of all, and so on.

NumPy has only strided copies for it, four to six times as slow as native loops.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.native.loops import LANES, compiled, looped

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
    return compiled(name, lambda: _loop(name, width), "void(ptr, ptr, i64, i64)")


def _loop(name: str, width: int) -> str:
    """A function over `count` numbers."""
    bits = 8 * width
    many = [_address(byte, f"<{LANES} x i8>", "v") for byte in range(width)]
    level = [(f"%v{byte}", 8) for byte in range(width)]
    while len(level) > 1:  # bytes to pairs, pairs to fours, fours to eights
        above = []
        for i in range(0, len(level), 2):
            (low, size), (high, _) = level[i], level[i + 1]
            new, wide = f"%m{len(level)}_{i}", f"<{LANES} x i{size}>"
            mask = ", ".join(f"i32 {lane}, i32 {lane + LANES}" for lane in range(LANES))
            many.append(f"{new}s = shufflevector {wide} {low}, {wide} {high}, <{2 * LANES} x i32> <{mask}>")
            many.append(f"{new} = bitcast <{2 * LANES} x i{size}> {new}s to <{LANES} x i{2 * size}>")
            above.append((new, 2 * size))
        level = above
    vector = f"<{LANES} x i{bits}>"
    one = [_address(byte, "i8", "b") for byte in range(width)]
    joined = "0"
    for byte in range(width):
        one.append(f"%w{byte} = zext i8 %b{byte} to i{bits}")
        one.append(f"%s{byte} = shl i{bits} %w{byte}, {8 * byte}")
        one.append(f"%j{byte} = or i{bits} {joined}, %s{byte}")
        joined = f"%j{byte}"
    result, single = level[0][0], joined
    if name.startswith("zigzag"):
        every = f"<{', '.join([f'i{bits} 1'] * LANES)}>"
        many += _zigzag(vector, result, every, "zeroinitializer", "v")
        one += _zigzag(f"i{bits}", single, "1", "0", "b")
        result, single = "%vz", "%bz"
    return looped(name, bits, many, one, result, single)


def _address(byte: int, kind: str, name: str) -> str:
    at = f"%{name}a{byte}"
    index = "%i" if name == "v" else "%k"
    return (
        f"{at}o = mul i64 %stride, {byte}\n  {at}s = add i64 {at}o, {index}\n"
        f"  {at} = getelementptr i8, ptr %in, i64 {at}s\n  %{name}{byte} = load {kind}, ptr {at}, align 1"
    )


def _zigzag(kind: str, value: str, one: str, zero: str, name: str) -> list[str]:
    return [
        f"%{name}zh = lshr {kind} {value}, {one}",
        f"%{name}zl = and {kind} {value}, {one}",
        f"%{name}zn = sub {kind} {zero}, %{name}zl",
        f"%{name}z = xor {kind} %{name}zh, %{name}zn",
    ]

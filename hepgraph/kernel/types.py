"""LLVM types of values, literals, and conversions from one type to another, as NumPy makes them."""

from __future__ import annotations

import math
import struct
from typing import Any, Protocol

import numpy as np

from hepgraph.kernel.tree import NotLowered

DType = np.dtype[Any]


BOOL = np.dtype(bool)


class Emitter(Protocol):
    """The interface of the code being written, for rules."""

    def emit(self, text: str) -> str:
        """Writes an instruction that gives a value; gives the value's name."""

    def declare(self, text: str) -> None:
        """Declares an external function, once."""


_TYPES = {
    "?": "i1", "b": "i8", "B": "i8", "h": "i16", "H": "i16", "i": "i32", "I": "i32", "l": "i64", "L": "i64", "q": "i64",
    "Q": "i64", "f": "float", "d": "double",
}  # fmt: skip


def known_type(dtype: DType) -> bool:
    """Whether there are values of a type in kernels."""
    return dtype.char in _TYPES


def llvm_type(dtype: DType) -> str:
    """The type of a value in a register."""
    found = _TYPES.get(dtype.char)
    if found is None:
        raise NotLowered(f"values of type {dtype} are not compiled")
    return found


def stored_type(dtype: DType) -> str:
    """The type of a value in memory: booleans take a byte."""
    return "i8" if dtype == BOOL else llvm_type(dtype)


def constant(value: Any, dtype: DType) -> str:
    """A literal of a type."""
    llvm_type(dtype)  # raises NotLowered where kernels have no values of it
    if dtype == BOOL:
        return "true" if value else "false"
    with np.errstate(all="ignore"):  # what is too large for the type is infinite, as in NumPy
        converted = np.asarray(value).astype(dtype)
    if dtype.kind in "iu":
        return str(int(converted))
    number = float(converted)
    if math.isnan(number):
        return "0x7FF8000000000000"
    return "0x" + struct.pack(">d", number).hex().upper()


def cast(e: Emitter, x: str, src: DType, dst: DType) -> str:
    """A value as another type, as NumPy (and C on this machine) converts it."""
    if src == dst or (src.kind == dst.kind and src.itemsize == dst.itemsize):
        return x
    a, b = llvm_type(src), llvm_type(dst)
    if dst == BOOL:
        return e.emit(f"fcmp une {a} {x}, 0.0" if src.kind == "f" else f"icmp ne {a} {x}, 0")
    if src == BOOL:
        return e.emit(f"uitofp i1 {x} to {b}" if dst.kind == "f" else f"zext i1 {x} to {b}")
    if src.kind == "f" and dst.kind == "f":
        return e.emit(f"{'fpext' if dst.itemsize > src.itemsize else 'fptrunc'} {a} {x} to {b}")
    if src.kind in "iu" and dst.kind == "f":
        return e.emit(f"{'sitofp' if src.kind == 'i' else 'uitofp'} {a} {x} to {b}")
    if src.kind == "f":
        return _float_to_int(e, x, src, dst)
    if dst.itemsize == src.itemsize:
        return x
    if dst.itemsize < src.itemsize:
        return e.emit(f"trunc {a} {x} to {b}")
    return e.emit(f"{'sext' if src.kind == 'i' else 'zext'} {a} {x} to {b}")


def _float_to_int(e: Emitter, x: str, src: DType, dst: DType) -> str:
    if dst.kind == "u" and dst.itemsize == 8:  # what does not fit int64 is moved down, and back after
        t, half = llvm_type(src), constant(2.0**63, src)
        signed = np.dtype(np.int64)
        low = _float_to_int(e, x, src, signed)
        high = _float_to_int(e, e.emit(f"fsub {t} {x}, {half}"), src, signed)
        high = e.emit(f"xor i64 {high}, {-(2**63)}")
        return e.emit(f"select i1 {e.emit(f'fcmp oge {t} {x}, {half}')}, i64 {high}, i64 {low}")
    wide = 64 if dst.itemsize == 8 or (dst.kind == "u" and dst.itemsize == 4) else 32
    a = llvm_type(src)
    name = f"llvm.fptosi.sat.i{wide}.f{8 * src.itemsize}"
    e.declare(f"declare i{wide} @{name}({a})")
    sat = e.emit(f"call i{wide} @{name}({a} {x})")
    small = e.emit(f"fcmp olt {a} {x}, {constant(2.0 ** (wide - 1), src)}")
    lowest = -(2 ** (wide - 1))
    exact = e.emit(f"select i1 {small}, i{wide} {sat}, i{wide} {lowest}")
    if wide == 8 * dst.itemsize:
        return exact
    return e.emit(f"trunc i{wide} {exact} to {llvm_type(dst)}")

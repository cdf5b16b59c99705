"""How the elements of RNTuple columns are stored: the encodings of the format's specification 1.0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the elements of a column are stored: `bits` each, of which NumPy makes `dtype`.

    `real` numbers have any number of bits: the upper ones of a float32, or steps between `low` and `high`.
    """

    name: str
    dtype: np.dtype[Any]
    bits: int
    split: bool = False
    zigzag: bool = False
    delta: bool = False
    index: bool = False
    real: bool = False
    low: float = 0.0
    high: float = 0.0

    def bytes(self, elements: int) -> int:
        """The bytes of so many elements."""
        return (elements * self.bits + 7) // 8

    def plain(self, dtype: np.dtype[Any]) -> bool:
        """Whether elements are stored as they are in an array of this type."""
        return self.dtype == dtype and not (self.split or self.real or self.dtype.kind == "b")


# In the order of the numbers that the format gives them, from 0; 0x10 is that of variants, which are not read.
_PLAIN = (
    ("Bit", "b1"), ("Byte", "u1"), ("Char", "u1"), ("Int8", "i1"), ("UInt8", "u1"), ("Int16", "i2"), ("UInt16", "u2"),
    ("Int32", "i4"), ("UInt32", "u4"), ("Int64", "i8"), ("UInt64", "u8"), ("Real16", "f2"), ("Real32", "f4"),
    ("Real64", "f8"), ("Index32", "i4"), ("Index64", "i8"),
)  # fmt: skip
_SPLIT = _PLAIN[5:]  # from Int16 on; their numbers begin at 0x11


def _encoding(name: str, dtype: str, split: bool) -> Encoding:
    index = name.startswith("Index")
    bits = 1 if name == "Bit" else 8 * np.dtype(dtype).itemsize
    zigzag = split and name.startswith("Int")
    return Encoding("Split" * split + name, np.dtype(dtype), bits, split, zigzag, split and index, index)


ENCODINGS = {number: _encoding(*each, False) for number, each in enumerate(_PLAIN)} | {
    number: _encoding(*each, True) for number, each in enumerate(_SPLIT, start=0x11)
}
BYTE = ENCODINGS[0x01]
TRUNCATED, QUANTISED = 0x1C, 0x1D


def encoding_of(record: Any) -> Encoding | None:
    """The encoding of a column, from its record in the header; None if it is not known here."""
    if record.type in (TRUNCATED, QUANTISED):
        if not 0 < record.nbits <= 32:
            return None
        single = np.dtype(np.float32)
        if record.type == TRUNCATED:
            return Encoding("Real32Trunc", single, record.nbits, real=True)
        if record.min_value is None:
            return None
        return Encoding("Real32Quant", single, record.nbits, real=True, low=record.min_value, high=record.max_value)
    found = ENCODINGS.get(record.type)
    return found if found is not None and found.bits == record.nbits else None


def packed_reals(encoding: Encoding, data: Array, first: int, count: int) -> Array:
    """Numbers of any number of bits: the upper bits of a float32, or steps between two limits."""
    at = (np.arange(first, first + count, dtype=np.int64)) * encoding.bits
    longer = np.append(data, np.zeros(5, np.uint8))
    value = np.zeros(count, np.uint64)
    for byte in range(5):
        value |= longer[at // 8 + byte].astype(np.uint64) << np.uint64(8 * byte)
    value = value >> (at % 8).astype(np.uint64) & np.uint64((1 << encoding.bits) - 1)
    bits = value.astype(np.uint32)
    if encoding.name == "Real32Trunc":
        return (bits << np.uint32(32 - encoding.bits)).view(np.float32)
    steps = (1 << encoding.bits) - 1
    return (encoding.low + bits * (encoding.high - encoding.low) / steps).astype(np.float32)

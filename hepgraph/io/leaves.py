"""The kinds of branches whose baskets hepgraph takes apart itself; uproot reads all others.

A leaf knows how the entries of a branch are laid out in its baskets and makes flat native arrays of them. Numbers are
copied once, from the decompressed basket (still in the cache) to their place in the result, turned to native order on
the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import uproot

from hepgraph.io.baskets import Basket, BasketError, Column, naming
from hepgraph.io.source import Data

Array: TypeAlias = np.ndarray[Any, Any]
Counts: TypeAlias = Callable[[int, int], Array]  # the offsets, from 0, that the lengths of a range of entries make


class Leaf(Protocol):
    """How the entries of a branch are laid out."""

    def read(self, column: Column, values: bool, counts: Counts | None) -> Data:
        """The wanted entries, without values where only offsets are wanted; raises BasketError.

        `counts` gives offsets from the branch that counts this one, if there is one.
        """


@dataclass(frozen=True, slots=True)
class Number:
    """The numbers of an entry: their type as stored and as read, and the fixed sizes of the lists they are in."""

    stored: np.dtype[Any]
    native: np.dtype[Any]
    sizes: tuple[int, ...] = ()

    @property
    def many(self) -> int:
        """The number of numbers in one item."""
        many = 1
        for size in self.sizes:
            many *= size
        return many

    @property
    def width(self) -> int:
        """The number of bytes of one item."""
        return self.stored.itemsize * self.many

    def inner(self, items: int) -> tuple[Array, ...]:
        """The offsets of the lists of fixed size in so many items."""
        found = []
        for size in self.sizes:
            found.append(np.arange(items + 1, dtype=np.int64) * size)
            items *= size
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every entry is one item of the same size."""

    number: Number

    @property
    def counts(self) -> bool:
        """Whether an entry is one integer, which may be the length of a list."""
        return self.number.native.kind in "iu" and not self.number.sizes

    def read(self, column: Column, values: bool, counts: Counts | None = None) -> Data:
        entries, many, width = column.stop - column.start, self.number.many, self.number.width
        out, at = None, 0
        if values:
            for index, basket in column:
                if len(basket.content) != basket.entries * width:
                    with naming(column.baskets, index):
                        raise BasketError(
                            f"{len(basket.content)} bytes do not hold {basket.entries} entries of {width}"
                        )
                if out is None:
                    out = np.empty(entries * many, self.number.native)
                wanted = basket.content[basket.first * width : basket.last * width].view(self.number.stored)
                out[at : at + len(wanted)] = wanted
                at += len(wanted)
            out = np.empty(0, self.number.native) if out is None else out
        levels = self.number.inner(entries)
        return Data(out, levels, None, (None,) * len(levels))


@dataclass(frozen=True, slots=True)
class Jagged:
    """Every entry is `header` bytes and then any number of items, up to the next one."""

    number: Number
    header: int = 0

    def read(self, column: Column, values: bool, counts: Counts | None) -> Data:
        many, width, native = self.number.many, self.number.width, self.number.native
        offsets = np.empty(column.stop - column.start + 1, np.int64)
        offsets[0] = entry = items = 0
        most = max(column.most - self.header * column.entries, 0) // width
        out = np.empty(most * many if values else 0, native)
        for index, basket in column:
            with naming(column.baskets, index):
                starts = self._starts(basket, counts)
            first, last = basket.first, basket.last
            wanted = starts[first : last + 1]
            np.add(wanted[1:], items - int(wanted[0]), out=offsets[entry + 1 : entry + 1 + last - first])
            if values:
                content = self._items(basket)
                inside = content[int(wanted[0]) * width : int(wanted[-1]) * width].view(self.number.stored)
                out[items * many : items * many + len(inside)] = inside
            items += int(wanted[-1]) - int(wanted[0])
            entry += last - first
        levels = (offsets, *self.number.inner(items))
        return Data(trimmed(out, items * many) if values else None, levels, None, (None,) * len(levels))

    def _starts(self, basket: Basket, counts: Counts | None) -> Array:
        """The offsets of all entries of a basket, in items."""
        if basket.offsets is None:
            return self._counted(basket, counts)
        starts = basket.offsets
        if self.header:
            sizes = np.diff(starts) - self.header
            if (sizes < 0).any():
                raise BasketError(f"some of its entries are shorter than their header of {self.header} bytes")
            starts = starts - np.arange(len(starts), dtype=starts.dtype) * self.header
        found = divided(starts, self.width)
        if found is None:
            raise BasketError(f"the offsets of its entries are not multiples of {self.width} bytes")
        return found

    @property
    def width(self) -> int:
        return self.number.width

    def _counted(self, basket: Basket, counts: Counts | None) -> Array:
        if counts is None or self.header:
            raise BasketError("it does not tell where its entries start, and no branch counts them")
        starts = counts(basket.entry, basket.entry + basket.entries)
        if int(starts[-1]) * self.width != len(basket.content):
            raise BasketError(
                f"the branch that counts its entries tells {int(starts[-1])} items of {self.width} bytes, "
                f"but it has {len(basket.content)} bytes"
            )
        if (starts[1:] < starts[:-1]).any():
            raise BasketError("the branch that counts its entries tells lists of negative length")
        return starts

    def _items(self, basket: Basket) -> Array:
        """The content of a basket without headers."""
        if not self.header or basket.offsets is None:
            return basket.content
        unit = 2 if self.header % 2 == 0 and self.width % 2 == 0 else 1  # fewer and larger things to sort out
        content = basket.content.view(f"u{unit}")
        keep = np.ones(len(content), np.bool_)
        begins = basket.offsets[:-1] // unit
        for byte in range(self.header // unit):
            keep[begins + byte] = False
        return content[keep].view(np.uint8)


def divided(offsets: Array, width: int) -> Array | None:
    """The offsets in items of so many bytes, or None if one is not a multiple."""
    if width & (width - 1):
        found, rest = np.divmod(offsets, offsets.dtype.type(width))
        return None if rest.any() else found
    if width == 1:
        return offsets
    if np.bitwise_or.reduce(offsets) & (width - 1):
        return None
    return offsets >> (width.bit_length() - 1)


def trimmed(values: Array, length: int) -> Array:
    """The first values, in an array that does not keep much more memory than they need."""
    kept = values[:length]
    return kept.copy() if length < len(values) - len(values) // 4 else kept


def leaf_of(branch: Any) -> Leaf | None:
    """The leaf of a branch of uproot's, or None if only uproot can read it."""
    interpretation = branch.interpretation
    header = None
    if type(interpretation) is uproot.interpretation.jagged.AsJagged:
        header, interpretation = int(interpretation.header_bytes), interpretation.content
    if type(interpretation) is not uproot.interpretation.numerical.AsDtype:
        return None
    stored, sizes = interpretation.from_dtype.subdtype or (interpretation.from_dtype, ())
    native, again = interpretation.to_dtype.subdtype or (interpretation.to_dtype, ())
    if stored.kind not in "biuf" or native.kind not in "biuf" or sizes != again:
        return None
    number = Number(stored, native.newbyteorder("="), tuple(int(size) for size in sizes))
    if number.width == 0:
        return None
    return Fixed(number) if header is None else Jagged(number, header)

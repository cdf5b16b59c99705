"""The kinds of branches whose baskets hepgraph takes apart itself; uproot reads all others.

A leaf knows how the entries of a branch are laid out in its baskets and makes flat native arrays of them. Numbers are
copied once, from the decompressed basket (still in the cache) to their place in the result, turned to native order on
the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import uproot

from hepgraph.disk.plain import plain
from hepgraph.io.native.buffers import pool
from hepgraph.io.source import Data
from hepgraph.io.ttree.baskets import Basket, BasketColumn, BasketError

Array: TypeAlias = np.ndarray[Any, Any]


class Leaf(Protocol):
    """How the entries of a branch are laid out."""

    def read(self, column: BasketColumn, values: bool, lists: ListLeaf | None = None) -> Data:
        """The wanted entries, without values where only offsets are wanted; raises BasketError.

        `lists` are those of the branch that counts this one, if there is one. Values of skipped baskets
        are zeros.
        """

    def can_skip(self, counted: bool) -> bool:
        """Whether baskets may be skipped; `counted` if another branch has the lengths of the lists."""


class ListLeaf:
    """The lists that the branches with the same counter share; `offsets` are those of the wanted entries, once known.

    `counted` gives the offsets, from 0, that the counter tells for a range of entries of the tree.
    """

    def __init__(self, counted: Callable[[int, int], Array]) -> None:
        self.counted = counted
        self.offsets: Array | None = None


@plain
@dataclass(frozen=True, slots=True)
class Number:
    """The numbers of an entry: their type as stored and as read, and the fixed sizes of the lists they are in."""

    stored: np.dtype[Any]
    native: np.dtype[Any]
    sizes: tuple[int, ...] = ()

    @property
    def many(self) -> int:
        """The number of numbers in one item."""
        return math.prod(self.sizes)

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


@plain
@dataclass(frozen=True, slots=True)
class FixedLeaf:
    """Every entry is one item of the same size."""

    number: Number

    @property
    def counts(self) -> bool:
        """Whether an entry is one integer, which may be the length of a list."""
        return self.number.native.kind in "iu" and not self.number.sizes

    def read(self, column: BasketColumn, values: bool, lists: ListLeaf | None = None) -> Data:
        entries = column.stop - column.start
        out = self._values(column, entries) if values else None
        levels = self.number.inner(entries)
        return Data(out, levels, None, (None,) * len(levels), skipped=column.skipped_bytes)

    def _values(self, column: BasketColumn, entries: int) -> Array:
        many, width, stored = self.number.many, self.number.width, self.number.stored
        out, at = None, 0
        if column.may_hold(entries * width):
            out = pool.take(entries * many, self.number.native)
            if column.read_fused(out, stored, many):
                return out
        for basket in column:
            if len(basket.content) != basket.entries * width and not basket.skipped:
                raise BasketError(f"{basket.entries} entries of {width} bytes are not {len(basket.content)} bytes")
            if out is None:
                out = pool.take(entries * many, self.number.native)
            after = at + (basket.last - basket.first) * many
            inside = basket.content[basket.first * width : basket.last * width].view(stored)
            out[at:after] = 0 if basket.skipped else inside
            at = after
        return np.empty(0, self.number.native) if out is None else out

    def can_skip(self, counted: bool) -> bool:
        return not self.counts  # lengths of lists are always read


@plain
@dataclass(frozen=True, slots=True)
class Jagged:
    """Every entry is `header` bytes and then any number of items, up to the next one."""

    number: Number
    header: int = 0

    def read(self, column: BasketColumn, values: bool, lists: ListLeaf | None = None) -> Data:
        if lists is not None and lists.offsets is not None and not self.header:
            data = self._by_known_lists(column, values, lists, lists.offsets)
            if data is not None:
                return data
        column.skip_none()
        many, width, native = self.number.many, self.number.width, self.number.native
        offsets = pool.take(column.stop - column.start + 1, np.dtype(np.int64))
        offsets[0] = entry = items = 0
        largest = max(column.content_bytes() - self.header * column.entries, 0) // width
        out = pool.take(largest * many if values else 0, native)
        for basket in column:
            starts = self._counted(basket, lists) if basket.table is None else basket.starts()
            wanted = self._in_items(starts)
            if values:
                inside = self._items(basket, starts).view(self.number.stored)
                out[items * many : items * many + len(inside)] = inside
            after = entry + len(wanted) - 1
            np.add(wanted[1:], items - int(wanted[0]), out=offsets[entry + 1 : after + 1])
            entry, items = after, int(offsets[after])
        levels = (offsets, *self.number.inner(items))
        return Data(trimmed(out, items * many) if values else None, levels, None, (None,) * len(levels))

    def _by_known_lists(self, column: BasketColumn, values: bool, lists: ListLeaf, offsets: Array) -> Data | None:
        """The data if they fit the known lists; None if they do not."""
        many, width, native = self.number.many, self.number.width, self.number.native
        items = int(offsets[-1])
        if not column.may_hold(items * width):
            return None
        levels = (offsets, *self.number.inner(items))
        out = pool.take(items * many if values else 0, native)
        if values and column.read_fused(out, self.number.stored, many, offsets):
            return Data(out, levels, None, (None,) * len(levels), skipped=column.skipped_bytes)
        at = 0
        for basket in column:
            first = basket.entry + basket.first - column.start
            last = first + basket.last - basket.first
            size = int(offsets[last] - offsets[first]) * width
            begin: int | None
            if basket.skipped:
                after = at + size // self.number.stored.itemsize
                out[at:after] = 0
                at = after
                continue
            if basket.table is None:
                starts = self._counted(basket, lists)
                begin = int(starts[0])
                if not np.array_equal(starts - begin, (offsets[first : last + 1] - offsets[first]) * width):
                    return None
            else:
                begin = basket.begins_as(offsets[first : last + 1], width)
                if begin is None:
                    return None
            if values:
                inside = basket.content[begin : begin + size].view(self.number.stored)
                out[at : at + len(inside)] = inside
                at += len(inside)
        return Data(out if values else None, levels, None, (None,) * len(levels), skipped=column.skipped_bytes)

    def can_skip(self, counted: bool) -> bool:
        return counted and not self.header

    def _in_items(self, starts: Array) -> Array:
        """The offsets of the wanted entries, in items."""
        if self.header:
            if (np.diff(starts) < self.header).any():
                raise BasketError(f"some of its entries are shorter than their header of {self.header} bytes")
            starts = starts - np.arange(len(starts), dtype=starts.dtype) * self.header
        found = divided(starts - starts[0], self.number.width)
        if found is None:
            raise BasketError(f"the lengths of its entries are not multiples of {self.number.width} bytes")
        return found

    def _counted(self, basket: Basket, lists: ListLeaf | None) -> Array:
        """Where the wanted entries of a basket without a table start, by the branch that counts them."""
        if lists is None or self.header:
            raise BasketError("it does not tell where its entries start, and no branch counts them")
        offsets = lists.counted(basket.entry, basket.entry + basket.entries)
        if (offsets[1:] < offsets[:-1]).any():
            raise BasketError("the branch that counts its entries tells lists of negative length")
        width = self.number.width
        if int(offsets[-1]) * width != len(basket.content):
            raise BasketError(
                f"the branch that counts its entries tells {int(offsets[-1])} items of {width} bytes, "
                f"but it has {len(basket.content)} bytes"
            )
        return offsets[basket.first : basket.last + 1] * width

    def _items(self, basket: Basket, starts: Array) -> Array:
        """The wanted content of a basket, without headers."""
        content = basket.content[starts[0] : starts[-1]]
        if not self.header:
            return content
        unit = 2 if self.header % 2 == 0 and self.number.width % 2 == 0 else 1  # fewer and larger things to sort out
        content = content.view(f"u{unit}")
        keep = np.ones(len(content), np.bool_)
        begins = (starts[:-1] - starts[0]) // unit
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
    return FixedLeaf(number) if header is None else Jagged(number, header)

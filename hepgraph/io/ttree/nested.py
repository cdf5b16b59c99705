"""Branches of vectors of vectors of numbers, and of vectors of texts: every inner list says how long it is.

Where the inner lists of an entry start is known only by walking along it. All entries of a basket are walked at once:
their first inner lists, then their second, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import uproot

from hepgraph.disk.plain import plain
from hepgraph.io.source import Data
from hepgraph.io.ttree.baskets import Basket, BasketColumn, BasketError
from hepgraph.io.ttree.leaves import Leaf, ListLeaf, Number, leaf_of

Array: TypeAlias = np.ndarray[Any, Any]

HEADER = 10  # bytes of the entry, with a flag; version; number of inner lists
LONG = 255  # where the length of a text is not in its first byte, but in the next four


@plain
@dataclass(frozen=True, slots=True)
class Nested:
    """Every entry is a vector of vectors of numbers, or of texts (where `number` is None)."""

    number: Number | None

    def can_skip(self, counted: bool) -> bool:
        return False

    def read(self, column: BasketColumn, values: bool, lists: ListLeaf | None = None) -> Data:
        native = np.dtype(np.uint8) if self.number is None else self.number.native
        counts, lengths, parts = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], [np.empty(0, native)]
        for basket in column:
            found, begins, sizes = self._walk(basket)
            counts.append(found)
            lengths.append(sizes)
            if values:
                parts.append(self._gathered(basket.content, begins, sizes))
        offsets = (np.cumsum(np.concatenate(counts)), np.cumsum(np.concatenate(lengths)))
        masks = (None,) if self.number is None else (None, None)
        return Data(np.concatenate(parts) if values else None, offsets, None, masks)

    def _walk(self, basket: Basket) -> tuple[Array, Array, Array]:
        """How many inner lists each wanted entry has; where the items of each inner list start, and how many it has."""
        starts = basket.starts().astype(np.int64)
        content, ends = basket.content, starts[1:]
        counts = _opened(content, starts)
        first = np.cumsum(counts) - counts
        begins, lengths = np.empty((2, int(counts.sum())), np.int64)
        at, active, step = starts[:-1] + HEADER, np.flatnonzero(counts), 0
        while len(active):
            begin, length, after = self._list(content, at[active], ends[active])
            begins[first[active] + step], lengths[first[active] + step] = begin, length
            at[active] = after
            step += 1
            active = active[counts[active] > step]
        if (at != ends).any():
            raise BasketError("the lists in some of its entries are not as long as the entries")
        return counts, begins, lengths

    def _list(self, content: Array, at: Array, ends: Array) -> tuple[Array, Array, Array]:
        """Where the items of the lists at some places start, how many there are, and where the lists end."""
        if self.number is not None:
            _check(at + 4 <= ends)
            begin, length, width = at + 4, _whole(content, at), self.number.width
        else:
            _check(at < ends)
            length, width = content[at].astype(np.int64), 1
            long = length == LONG
            begin = at + np.where(long, 5, 1)
            _check(begin <= ends)
            length[long] = _whole(content, at[long] + 1)
        after = begin + length * width
        _check(after <= ends)
        return begin, length, after

    def _gathered(self, content: Array, begins: Array, lengths: Array) -> Array:
        """The items of all inner lists, in order."""
        width = 1 if self.number is None else self.number.width
        before = np.cumsum(lengths) - lengths
        places = np.repeat(begins - before * width, lengths) + np.arange(int(lengths.sum())) * width
        if self.number is None:
            text: Array = content[places]
            return text
        items: Array = content[places[:, np.newaxis] + np.arange(width)]
        numbers: Array = items.reshape(-1).view(self.number.stored).astype(self.number.native)
        return numbers


def _opened(content: Array, starts: Array) -> Array:
    """The number of inner lists of each entry, after a look at the header."""
    begins, sizes = starts[:-1], np.diff(starts)
    _check(sizes >= HEADER)
    if (_whole(content, begins) != (sizes - 4) | 0x40000000).any():
        raise BasketError("the headers of some of its entries tell other lengths than its table")
    counts = _whole(content, begins + 6)
    _check(counts <= sizes - HEADER)  # an inner list has at least one byte
    return counts


def _whole(content: Array, at: Array) -> Array:
    """The numbers of four bytes at some places."""
    bytes = content[at[:, np.newaxis] + np.arange(4)]
    return np.ascontiguousarray(bytes).reshape(-1).view(">u4").astype(np.int64)


def _check(fits: Array) -> None:
    if not fits.all():
        raise BasketError("the lists in some of its entries are longer than the entries")


def nested_of(branch: Any) -> Leaf | None:
    """The leaf of a branch of uproot's, nested or not, or None if only uproot can read it."""
    interpretation = branch.interpretation
    if type(interpretation) is not uproot.interpretation.objects.AsObjects:
        return leaf_of(branch)
    model = interpretation.model
    if type(model) is not uproot.containers.AsVector or not model.header:
        return None
    inner = model.values
    if type(inner) is uproot.containers.AsString and not inner.header and inner.length_bytes == "1-5":
        return Nested(None)
    if type(inner) is uproot.containers.AsVector and not inner.header and isinstance(inner.values, np.dtype):
        stored = inner.values
        if stored.kind in "biuf":
            return Nested(Number(stored, stored.newbyteorder("=")))
    return None

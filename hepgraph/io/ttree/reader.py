"""Reads the branches of one range of entries from their baskets; lists that several branches share are made once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.access.ranges import Bytes, ShortFile
from hepgraph.io.native.buffers import Scratch, scratch
from hepgraph.io.native.codecs import BlockError
from hepgraph.io.native.loops import summed
from hepgraph.io.native.shared import Promises, Share
from hepgraph.io.source import Data
from hepgraph.io.ttree.baskets import BasketColumn, BasketError, Baskets, fetch
from hepgraph.io.ttree.layouts import Branch
from hepgraph.io.ttree.leaves import FixedLeaf, ListLeaf

Array: TypeAlias = np.ndarray[Any, Any]


class Reader:
    """Reads branches of one file, over one range of entries; for one thread.

    With an `entry_mask`, it may leave out values of masked-out entries. Large baskets that ranges have a part of
    each are decompressed once for all of them if there is a `share`.
    """

    def __init__(
        self, data: Bytes, start: int, stop: int, entry_mask: Array | None = None, share: Share | None = None
    ) -> None:
        self._data, self._start, self._stop, self._share = data, start, stop, share
        self._selected_before = None if entry_mask is None else summed(entry_mask)
        self._fetched: dict[int, dict[int, memoryview]] = {}  # by the identity of the baskets
        self._lists: dict[int, ListLeaf] = {}  # by the identity of the counter
        self._counts: dict[int, tuple[int, int, Array]] = {}

    def fetch(self, branches: Iterable[Branch]) -> None:
        """Gets the bytes of all these branches at once, but those that another range gets for all of them."""
        wanted: list[tuple[Baskets, list[int]]] = []
        promised: list[tuple[int, int]] = []
        with Promises(self._share) as promises:
            for branch in {id(branch.baskets): branch for branch in branches}.values():
                column = self._column(branch)
                numbers = [number for number in column.numbers if not column.is_skipped(number)]
                shared = [number for number in numbers if column.is_shared(number)]
                mine = [number for number in shared if promises.claim(*column.share_key(number))]
                promised += [(len(wanted), number) for number in mine]
                wanted.append(
                    (branch.baskets, [number for number in numbers if number not in shared or number in mine])
                )
            parts = fetch(self._data, wanted)
            for which, number in promised:
                promises.fulfil(wanted[which][0].ranges[number][0], parts[which][number])
        self._fetched = {id(each): part for (each, _), part in zip(wanted, parts, strict=True)}

    def set_offsets(self, counter: Branch, offsets: Array) -> None:
        """Sets the offsets of the lists that a branch counts, over the whole range, if they are not known yet."""
        self._counts.setdefault(id(counter), (self._start, self._stop, offsets))

    def read(self, branch: Branch, values: bool = True) -> Data:
        """The data of a branch, without values where only the lengths of lists are wanted.

        Branches with the same counter get the same array of offsets where they agree; it is made of the counter if that
        was read before, or if baskets are skipped.
        """
        column = self._column(branch)
        try:
            return self._data_of(branch, column, values)
        except (BlockError, BasketError, ShortFile) as error:
            raise BasketError(f"{column.label()}: {error}") from error

    def _data_of(self, branch: Branch, column: BasketColumn, values: bool) -> Data:
        if branch.counter is None:
            data = branch.leaf.read(column, values)
            if isinstance(branch.leaf, FixedLeaf) and branch.leaf.counts and data.values is not None:
                sums = summed(data.values)
                self._counts[id(branch)] = self._start, self._stop, sums
                return replace(data, sums=sums)
            return data
        lists = self._lists_of(branch.counter, column)
        data = branch.leaf.read(column, values, lists)
        if lists.offsets is None:
            lists.offsets = data.offsets[0]
        return data

    def _lists_of(self, counter: Branch, column: BasketColumn) -> ListLeaf:
        lists = self._lists.get(id(counter))
        if lists is None:
            lists = self._lists[id(counter)] = ListLeaf(lambda start, stop: self._counted(counter, column, start, stop))
            start, stop, offsets = self._counts.get(id(counter), (0, 0, None))
            if (start, stop) == (self._start, self._stop):
                lists.offsets = offsets
        if lists.offsets is None and any(map(column.is_skipped, column.numbers)):
            offsets = self._counted(counter, column, self._start, self._stop)
            lists.offsets = None if (offsets[1:] < offsets[:-1]).any() else offsets
        return lists

    def _counted(self, counter: Branch, column: BasketColumn, start: int, stop: int) -> Array:
        """The offsets, from 0, of the entries from `start` to `stop`, as the counting branch tells them."""
        first, last, offsets = self._counts.get(id(counter), (0, 0, np.zeros(1, np.int64)))
        if not first <= start <= stop <= last:
            first = min(start, column.baskets.edges[column.numbers.start])
            last = max(stop, column.baskets.edges[column.numbers.stop])
            whole = BasketColumn(counter.baskets, first, last, self._data, Scratch())
            values = counter.leaf.read(whole, True).values
            assert values is not None
            offsets = summed(values)
            self._counts[id(counter)] = first, last, offsets
        found = offsets[start - first : stop - first + 1]
        return found - found[0]  # type: ignore[no-any-return]

    def _column(self, branch: Branch) -> BasketColumn:
        fetched = self._fetched.get(id(branch.baskets))
        selected_before = self._selected_before if branch.leaf.can_skip(branch.counter is not None) else None
        return BasketColumn(
            branch.baskets, self._start, self._stop, self._data, scratch, fetched, selected_before, self._share
        )

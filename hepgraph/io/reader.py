"""Reads the branches of one range of entries from their baskets; lists that several branches share are made once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.baskets import Column, fetch
from hepgraph.io.layouts import Branch
from hepgraph.io.leaves import Fixed
from hepgraph.io.ranges import Bytes
from hepgraph.io.source import Data

Array: TypeAlias = np.ndarray[Any, Any]


class Reader:
    """Reads branches of one file, over one range of entries; for one thread."""

    def __init__(self, data: Bytes, start: int, stop: int) -> None:
        self._data, self._start, self._stop = data, start, stop
        self._fetched: dict[int, dict[int, memoryview]] = {}  # by the identity of the baskets
        self._lists: dict[int, Array] = {}  # the offsets of the lists that a branch counts, by its identity
        self._counts: dict[int, tuple[int, int, Array]] = {}

    def fetch(self, branches: Iterable[Branch]) -> None:
        """Gets the bytes of all these branches at once."""
        baskets = [branch.baskets for branch in branches]
        parts = fetch(self._data, [(each, each.overlapping(self._start, self._stop)) for each in baskets])
        self._fetched = {id(each): part for each, part in zip(baskets, parts, strict=True)}

    def read(self, branch: Branch, values: bool = True) -> Data:
        """The data of a branch, without values where only the lengths of lists are wanted.

        Branches with the same counter, and the counter itself, get the same array of offsets, where they agree.
        """
        counter = branch.counter
        if counter is None:
            data = branch.leaf.read(self._column(branch, self._start, self._stop, keep=True), values, None)
            if isinstance(branch.leaf, Fixed) and branch.leaf.counts and data.values is not None:
                self._counts[id(branch)] = self._start, self._stop, offsets_of(data.values)
            return data
        column = self._column(branch, self._start, self._stop, keep=True)
        data = branch.leaf.read(column, values, lambda start, stop: self._counted(counter, column, start, stop))
        mine = data.offsets[0]
        shared = self._lists.setdefault(id(counter), self._known(counter, mine))
        if shared is not mine and np.array_equal(shared, mine):
            return replace(data, offsets=(shared, *data.offsets[1:]))
        return data

    def _known(self, counter: Branch, mine: Array) -> Array:
        start, stop, offsets = self._counts.get(id(counter), (0, 0, mine))
        return offsets if (start, stop) == (self._start, self._stop) else mine

    def _counted(self, counter: Branch, column: Column, start: int, stop: int) -> Array:
        """The offsets, from 0, of the entries from `start` to `stop`, as the counting branch tells them."""
        first, last, offsets = self._counts.get(id(counter), (0, 0, np.zeros(1, np.int64)))
        if not first <= start <= stop <= last:
            edges, numbers = column.baskets.edges, column.numbers
            first, last = edges[numbers.start], edges[numbers.stop]
            values = counter.leaf.read(self._column(counter, first, last), True, None).values
            assert values is not None
            offsets = offsets_of(values)
            self._counts[id(counter)] = first, last, offsets
        found = offsets[start - first : stop - first + 1]
        begun: Array = found - found[0]
        return begun

    def _column(self, branch: Branch, start: int, stop: int, keep: bool = False) -> Column:
        raw = self._fetched.get(id(branch.baskets)) if keep else None
        if raw is None:
            raw = fetch(self._data, [(branch.baskets, branch.baskets.overlapping(start, stop))])[0]
        return Column(branch.baskets, start, stop, raw)


def offsets_of(counts: Array) -> Array:
    """The offsets of lists of these lengths.

    >>> offsets_of(np.array([2, 0, 1], np.uint8)).tolist()
    [0, 2, 2, 3]
    """
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts.astype(np.int64, copy=False), out=offsets[1:])
    return offsets

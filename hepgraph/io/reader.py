"""Reads the branches of one range of entries from their baskets; lists that several branches share are made once."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.baskets import BasketError, Column, Rooms, fetch
from hepgraph.io.codecs import BlockError
from hepgraph.io.layouts import Branch
from hepgraph.io.leaves import Fixed, Lists
from hepgraph.io.ranges import Bytes, ShortFile
from hepgraph.io.shelf import shelf
from hepgraph.io.source import Data

Array: TypeAlias = np.ndarray[Any, Any]


class _Mine(threading.local):
    """Memory that a thread uses again and again: new pages for every basket cost as much as decompressing some."""

    def __init__(self) -> None:
        self.rooms = Rooms()


_mine = _Mine()


class Reader:
    """Reads branches of one file, over one range of entries; for one thread."""

    def __init__(self, data: Bytes, start: int, stop: int) -> None:
        self._data, self._start, self._stop = data, start, stop
        self._fetched: dict[int, dict[int, memoryview]] = {}  # by the identity of the baskets
        self._lists: dict[int, Lists] = {}  # by the identity of the counter
        self._counts: dict[int, tuple[int, int, Array]] = {}

    def fetch(self, branches: Iterable[Branch]) -> None:
        """Gets the bytes of all these branches at once."""
        baskets = [branch.baskets for branch in branches]
        parts = fetch(self._data, [(each, each.overlapping(self._start, self._stop)) for each in baskets])
        self._fetched = {id(each): part for each, part in zip(baskets, parts, strict=True)}

    def read(self, branch: Branch, values: bool = True) -> Data:
        """The data of a branch, without values where only the lengths of lists are wanted.

        Branches with the same counter get the same array of offsets where they agree; it is made of the counter if that
        was read before.
        """
        column = self._column(branch)
        try:
            return self._data_of(branch, column, values)
        except (BlockError, BasketError, ShortFile) as error:
            raise BasketError(f"{column.place()}: {error}") from error

    def _data_of(self, branch: Branch, column: Column, values: bool) -> Data:
        if branch.counter is None:
            data = branch.leaf.read(column, values)
            if isinstance(branch.leaf, Fixed) and branch.leaf.counts and data.values is not None:
                self._counts[id(branch)] = self._start, self._stop, offsets_of(data.values)
            return data
        lists = self._shared(branch.counter, column)
        data = branch.leaf.read(column, values, lists)
        if lists.offsets is None:
            lists.offsets = data.offsets[0]
        return data

    def _shared(self, counter: Branch, column: Column) -> Lists:
        lists = self._lists.get(id(counter))
        if lists is None:
            lists = self._lists[id(counter)] = Lists(lambda start, stop: self._counted(counter, column, start, stop))
            start, stop, offsets = self._counts.get(id(counter), (0, 0, None))
            if (start, stop) == (self._start, self._stop):
                lists.offsets = offsets
        return lists

    def _counted(self, counter: Branch, column: Column, start: int, stop: int) -> Array:
        """The offsets, from 0, of the entries from `start` to `stop`, as the counting branch tells them."""
        first, last, offsets = self._counts.get(id(counter), (0, 0, np.zeros(1, np.int64)))
        if not first <= start <= stop <= last:
            first = min(start, column.baskets.edges[column.numbers.start])
            last = max(stop, column.baskets.edges[column.numbers.stop])
            whole = Column(counter.baskets, first, last, self._data, Rooms())
            values = counter.leaf.read(whole, True).values
            assert values is not None
            offsets = offsets_of(values)
            self._counts[id(counter)] = first, last, offsets
        found = offsets[start - first : stop - first + 1]
        begun: Array = found - found[0]
        return begun

    def _column(self, branch: Branch) -> Column:
        fetched = self._fetched.get(id(branch.baskets))
        return Column(branch.baskets, self._start, self._stop, self._data, _mine.rooms, fetched)


def offsets_of(counts: Array) -> Array:
    """The offsets of lists of these lengths.

    >>> offsets_of(np.array([2, 0, 1], np.uint8)).tolist()
    [0, 2, 2, 3]
    """
    offsets = shelf.take(len(counts) + 1, np.dtype(np.int64))
    offsets[0] = 0
    np.cumsum(counts.astype(np.int64, copy=False), out=offsets[1:])
    return offsets

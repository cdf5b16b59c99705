"""Parts of the data of a column, and several parts as one; offsets that columns share stay shared."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.source import Column, Data

Array: TypeAlias = np.ndarray[Any, Any]


def size_of(data: Data) -> int:
    """The bytes of the values and offsets of a column."""
    values = 0 if data.values is None else data.values.nbytes
    return int(values + sum(offsets.nbytes for offsets in data.offsets))


class Pieces:
    """Cuts and joins the columns of one range; what was made of the same offsets once is used again."""

    def __init__(self) -> None:
        self._made: dict[Hashable, tuple[Any, Array]] = {}  # with what it was made of, so that no identity is reused

    def cut(self, column: Column, data: Data, start: int, stop: int) -> Data:
        """The entries from `start` to `stop` of a column, counted from its first one."""
        spans = [(start, stop)]
        offsets = []
        for each in data.offsets:
            first, last = spans[-1]
            spans.append((int(each[first]), int(each[last])))
            offsets.append(self._once([each], first, last))
        first, last = spans[-1]
        told = [record for record in column.records if record.name in data.records]
        return Data(
            None if data.values is None else data.values[first:last],
            tuple(offsets),
            _part(data.valid, spans, len(column.levels)),
            tuple(_part(valid, spans, depth) for depth, valid in enumerate(data.level_valid)),
            {each.name: data.records[each.name][slice(*spans[each.level])] for each in told},
        )

    def join(self, column: Column, parts: Sequence[tuple[int, Data]]) -> Data:
        """All parts of a column, of which there is at least one, in order; each with its number of entries."""
        if len(parts) == 1:
            return parts[0][1]
        each = [data for _, data in parts]
        offsets = [self._once([data.offsets[depth] for data in each]) for depth in range(len(each[0].offsets))]
        values = [data.values for data in each if data.values is not None]

        def masks(found: list[Array | None], depth: int) -> Any:
            """The masks of all parts as one, at a depth of lists; where a part has none, all are there."""
            if all(mask is None for mask in found):
                return None
            sizes = [n if depth == 0 else int(data.offsets[depth - 1][-1]) for n, data in parts]
            return np.concatenate([np.ones(n, np.bool_) if m is None else m for m, n in zip(found, sizes, strict=True)])

        told = [record for record in column.records if any(record.name in data.records for data in each)]
        return Data(
            np.concatenate(values) if values else None,
            tuple(offsets),
            masks([data.valid for data in each], len(column.levels)) if values else None,
            tuple(
                masks([d.mask(depth) for d in each], depth) for depth in range(max(len(d.level_valid) for d in each))
            ),
            {one.name: masks([data.records.get(one.name) for data in each], one.level) for one in told},
        )

    def _once(self, parts: list[Array], first: int = 0, last: int | None = None) -> Array:
        """The offsets of the lists of all parts, or of the lists from `first` to `last` of the only one."""
        key = (*map(id, parts), first, last)
        if key not in self._made:
            self._made[key] = parts, _joined(parts) if last is None else _begun(parts[0][first : last + 1])
        return self._made[key][1]


def _part(mask: Array | None, spans: Sequence[tuple[int, int]], depth: int) -> Array | None:
    return None if mask is None else mask[slice(*spans[depth])]


def _begun(offsets: Array) -> Array:
    """Offsets that begin at 0."""
    begun: Array = offsets - offsets[0] if offsets[0] else offsets
    return begun


def _joined(parts: Sequence[Array]) -> Array:
    """The offsets of lists that follow each other."""
    found = np.empty(sum(len(part) - 1 for part in parts) + 1, np.int64)
    found[0], at = 0, 1
    for part in parts:
        np.add(part[1:], found[at - 1], out=found[at : at + len(part) - 1])
        at += len(part) - 1
    return found

"""Partial results, added up in a tree whose shape depends on the number of ranges alone; ranges may be missing.

The tree is that of `executors/tree.py`. Where a range is missing, nothing above it is added up: what is there waits as
sums of neighbours, so that the range can be added later, and the result is then the same to the last bit, whatever was
there first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hepgraph.executors.tree import TOP, Combine, climb
from hepgraph.io.source import Partition


class Task(NamedTuple):
    """A range to work on: of which pass, which leaf of its tree, and whether it is all of the leaf."""

    number: int
    leaf: int
    whole: bool
    partition: Partition


@dataclass
class Sum:
    """Partial results of one pass, by their place in the tree: (level, index); and pieces of leaves, by their entries.

    Sums of disjoint ranges can be joined in any order.

    >>> a, b, c = (Sum.of(3, leaf, [leaf]) for leaf in range(3))
    >>> c.join(a, list.__add__).join(b, list.__add__).nodes
    {(-1, 0): [0, 1, 2]}
    """

    count: int
    nodes: dict[tuple[int, int], Any] = field(default_factory=dict)
    pieces: dict[int, dict[tuple[int, int], Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, count: int, leaf: int, partials: Any) -> Sum:
        """The result of one whole leaf of `count`."""
        made = cls(count)
        made.put(partials, _none, 0, leaf)
        return made

    @property
    def complete(self) -> bool:
        """Whether every leaf is in it."""
        return TOP in self.nodes

    def join(self, other: Sum, combine: Combine) -> Sum:
        """This sum with another one in it; uses both up."""
        for (level, index), value in other.nodes.items():
            self.put(value, combine, level, index)
        for leaf, pieces in other.pieces.items():
            self.pieces.setdefault(leaf, {}).update(pieces)
        return self

    def put(self, value: Any, combine: Combine, level: int, index: int) -> None:
        """Puts a value at a node of the tree, and adds it up as far as there are neighbours."""
        climb(self.nodes, self.count, value, combine, level, index)

    def merge_pieces(self, leaf: int, span: tuple[int, int], combine: Combine) -> None:
        """Merges the pieces of a leaf into one value once they cover it."""
        pieces = sorted(self.pieces.get(leaf, {}).items())
        at = span[0]
        for (start, stop), _ in pieces:
            if start != at:
                return
            at = stop
        if at == span[1]:
            inner = Sum(len(pieces))
            for i, (_, value) in enumerate(pieces):
                inner.put(value, combine, 0, i)
            del self.pieces[leaf]
            self.put(inner.nodes[TOP], combine, 0, leaf)

    def in_order(self) -> list[Any]:
        """The partial sums in it, in the order of the data."""
        found = [((max(index, 0) << max(level, 0), 0), value) for (level, index), value in self.nodes.items()]
        found += [((leaf, start), v) for leaf, pieces in self.pieces.items() for (start, _), v in pieces.items()]
        return [value for _, value in sorted(found, key=lambda pair: pair[0])]


def _none(a: Any, b: Any) -> Any:
    raise AssertionError("one result has nothing to be added to")


@dataclass
class SumLeaf:
    """One leaf: the ranges that it is run in, most often one; none if its file could not be opened."""

    planned: tuple[Partition, ...]

    @property
    def span(self) -> tuple[int, int]:
        """The entries of all of it."""
        return self.planned[0].start, self.planned[-1].stop


@dataclass
class Gathered:
    """The results of one pass as they come: its leaves, the sum so far."""

    leaves: list[SumLeaf]
    sum: Sum
    done: set[tuple[int, int]] = field(default_factory=set)  # leaf and first entry

    @classmethod
    def of(cls, leaves: list[SumLeaf]) -> Gathered:
        """Nothing yet of these leaves."""
        return cls(leaves, Sum(len(leaves)))

    def merge(self, value: Sum, combine: Combine) -> None:
        """Adds the results of some tasks to the sum."""
        touched = list(value.pieces)
        self.sum.join(value, combine)
        for leaf in touched:
            self.sum.merge_pieces(leaf, self.leaves[leaf].span, combine)

    def split(self, leaf: int, old: Partition, new: tuple[Partition, ...]) -> None:
        """Plans other ranges in place of one."""
        planned = self.leaves[leaf].planned
        at = planned.index(old)
        self.leaves[leaf] = SumLeaf((*planned[:at], *new, *planned[at + 1 :]))

    def missing(self, number: int) -> Iterator[Task]:
        """The ranges that are still to be done."""
        for i, leaf in enumerate(self.leaves):
            for partition in leaf.planned:
                if (i, partition.start) not in self.done:
                    yield Task(number, i, len(leaf.planned) == 1, partition)

    def so_far(self, combine: Combine) -> Any:
        """As `total`, of a copy: the sum so far is left as it is."""
        return Gathered(self.leaves, copy.deepcopy(self.sum)).total(combine)

    def total(self, combine: Combine) -> Any:
        """The sum of all results, None if there are none; uses them up."""
        parts = self.sum.in_order()
        if not parts:
            return None
        whole = parts[0]
        for part in parts[1:]:
            whole = combine(whole, part)
        return whole

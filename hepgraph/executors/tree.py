"""The tree in which partial results add up: its shape depends on the number of ranges alone.

Neighbours 2i and 2i + 1 of one level are added to i of the next; a last one without a neighbour goes up alone. So the
ranges below one node are consecutive, and whoever adds them up, in whatever order they come, gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Combine = Callable[[Any, Any], Any]
TOP = (-1, 0)  # the node of the sum of all
STEP = 3  # levels that a merge spans: it adds up to 8 parts


def climb(
    waiting: dict[tuple[int, int], Any], count: int, value: Any, combine: Combine, level: int, index: int
) -> None:
    """Puts a value at a node of a tree over `count` ranges, and adds it up as far as it finds neighbours.

    `waiting` holds sums by their node, (level, index); that of all ends up at TOP.

    >>> waiting = {}
    >>> for leaf in (2, 1, 0):
    ...     climb(waiting, 3, str(leaf), lambda a, b: f"({a}+{b})", 0, leaf)
    >>> waiting
    {(-1, 0): '((0+1)+2)'}
    """
    width = width_of(count, level)
    while width > 1:
        if index % 2 == 0 and index == width - 1:  # no neighbour: goes up alone
            pass
        elif (level, index ^ 1) not in waiting:
            waiting[level, index] = value
            return
        else:
            other = waiting.pop((level, index ^ 1))
            value = combine(value, other) if index % 2 == 0 else combine(other, value)
        level, index, width = level + 1, index // 2, (width + 1) // 2
    waiting[TOP] = value


@dataclass
class Merger:
    """Adds partial results up in a tree whose shape depends on their number alone, whatever order they come in.

    None stands for nothing: a range that failed. It leaves what it is added to as it is.
    """

    count: int
    combine: Combine
    _waiting: dict[tuple[int, int], Any] = field(default_factory=dict)

    def add(self, index: int, value: Any, level: int = 0) -> None:
        """Adds the partial result of one range, or of all ranges below a node of a higher `level`."""
        climb(self._waiting, self.count, value, self._sum, level, index)

    def _sum(self, a: Any, b: Any) -> Any:
        return b if a is None else a if b is None else self.combine(a, b)

    @property
    def result(self) -> Any:
        """The sum of all."""
        return self._waiting[TOP]


def width_of(count: int, level: int) -> int:
    """The number of nodes of a level."""
    return max(1, -(-count >> level)) if level >= 0 else 1


def height_of(count: int) -> int:
    """The level of the top."""
    return max(0, count - 1).bit_length()


@dataclass(frozen=True, slots=True, order=True)
class TreeNode:
    """One node of a tree: the sum of the ranges below it."""

    tree: int
    level: int
    index: int

    def span(self, count: int) -> tuple[int, int]:
        """The first range below, and the one after the last."""
        return self.index << self.level, min(count, (self.index + 1) << self.level)

    @property
    def halves(self) -> tuple[TreeNode, TreeNode]:
        """The two nodes below."""
        return (
            TreeNode(self.tree, self.level - 1, 2 * self.index),
            TreeNode(self.tree, self.level - 1, 2 * self.index + 1),
        )

    def above(self, step: int = STEP) -> TreeNode:
        """The node in which a merge adds this one to its neighbours: on the next level that `step` divides."""
        level = (self.level // step + 1) * step
        return TreeNode(self.tree, level, self.index >> (level - self.level))

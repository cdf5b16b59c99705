"""Guesses about a schedule: how long lists are, what a loop costs, and what is worth a condition of its own.

Only the order of the work rests on them, never a result. The unit is an addition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hepgraph.graph.kinds import SPACES
from hepgraph.graph.node import Item, Node, Space, ancestors, as_space
from hepgraph.graph.ops import OPS
from hepgraph.kernel.spaces import SPACE_RULES
from hepgraph.kernel.tree import Action, If, LoopNeed
from hepgraph.limits import limits

if TYPE_CHECKING:
    from hepgraph.kernel.schedule import Scheduler

LOOP = 2.0  # what a step of a loop costs


class Estimates:
    """The guesses about one graph."""

    def __init__(self, g: Scheduler, order: Iterable[Item]) -> None:
        self.g = g
        self.lengths = _lengths(order)
        self.length = lru_cache(maxsize=None)(self._length)
        self.price = lru_cache(maxsize=None)(self._price)
        self.dear = lru_cache(maxsize=None)(self._dear)
        self.of_one = lru_cache(maxsize=None)(lambda node: self.work([node]))

    def _length(self, s: Space) -> float:
        """The elements of a space for each event."""
        if s.parent is None or s.kind == "events":
            return 1.0
        above = self.length(s.parent)
        if s in self.lengths:
            return self.lengths[s]
        parts = [self.length(part) / max(above, 1e-9) for part in s.args if isinstance(part, Space)]
        return above * SPACE_RULES[s.kind].guess(s, parts)

    def work(self, nodes: Iterable[Node], known: set[Item] | None = None) -> float:
        """Cost of calculating nodes, each below them once, without those in `known`, to which they are added."""
        g, cost = self.g, 0.0
        seen = set() if known is None else known
        stack: list[Item] = list(nodes)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            op = node.op  # type: ignore[union-attr]
            row = OPS.get(op)
            if row is None or node in g.staged or node in g.given or node in g.marks:
                if op == "take":
                    stack.append(node.args[1])
                elif op not in ("literal", "full"):
                    cost += 1.0
                continue
            cost += row.cost
            stack += node.args
        return cost

    def masks(self, action: Action) -> list[Node]:
        """The conditions inside of the loops that lead to an action."""
        way = self.g.route(action.space, frozenset(ancestors(action.space)) - {action.space})
        return [step.mask for step in way if isinstance(step, If)]

    def made(self, action: Action) -> float:
        """Cost of a part of a need in all its loops."""
        each = LOOP + self.work([*self.masks(action), *action.uses])
        return self.length(_unfiltered(action.space)) * each

    def rides(self, actions: Sequence[Action], paid: set[Item], mask: Node) -> bool:
        """Whether actions, all needed under a condition only, are done sooner in loops that run before it anyway.

        They must cost less, where nobody asks for them, than loops of their own where somebody does. What is `paid`
        costs nothing.
        """
        often = limits().found if mask.op == "defined" else limits().passing
        loops: dict[Space, set[Node]] = {}
        for action in actions:
            loops.setdefault(_unfiltered(action.space), set()).update(self.masks(action))
        own = sum(self.length(s) * (LOOP + self.work(masks)) for s, masks in loops.items())
        known = set(paid)
        for masks in loops.values():
            self.work(masks, known)
        more = 0.0
        for action in actions:
            more += self.length(action.space) * (1 + self.work(action.uses, known))
        return more * (1 - often) <= own * often

    def _price(self, need: LoopNeed) -> float:
        """Cost of a need, without those that it rests on."""
        return sum(self.made(action) for action in self.g.makers(need))

    def _dear(self, mask: Node) -> float:
        """Cost of a condition."""
        return self.of_one(mask) + sum(map(self.price, self.g.rests_on(mask)))


def _unfiltered(s: Space) -> Space:
    while SPACES[s.kind].selects:
        s = as_space(s.args[0])
    return s


def _lengths(order: Iterable[Item]) -> dict[Space, float]:
    """The lengths of lists of columns, as far as the metadata of the files tell them."""
    found: dict[Space, float] = {}
    for item in order:
        if isinstance(item, Node) and item.op == "load" and item.space is not None and item.space.kind == "leaf":
            origin, name = item.param
            found[item.space] = max(found.get(item.space, 0.0), _average(origin, name, item.dtype.itemsize))
    return {s: length for s, length in found.items() if length}


def _average(origin: Any, name: str, itemsize: int) -> float:
    """The values of a column for each entry."""
    source = origin.source
    column = source.columns.get(name)
    entries = source.entries
    if column is None or not entries or not itemsize:
        return 0.0
    return float((column.memory or column.bytes) / itemsize / entries)

"""Large passes as several functions: a loop of thousands of lines takes long to compile, and does not fit the caches.

What shares a need (a count, a best pair, stored values) stays together, so that nothing costly is made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from hepgraph.graph.node import Item, Node, ordered
from hepgraph.kernel.tree import Action
from hepgraph.limits import limits

if TYPE_CHECKING:
    from hepgraph.kernel.schedule import Scheduler

T = TypeVar("T")

FILL = 4  # what a fill counts for


def split(scheduler: Scheduler, actions: Sequence[Action]) -> list[list[Action]]:
    """The actions of each function, in the order of their first ones."""
    groups: list[list[Action]] = []
    room = 0
    for group in together(scheduler, actions):
        size = _size(scheduler, group)
        if not groups or size > room:
            groups.append([])
            room = limits().budget
        groups[-1] += group
        room -= size
    return groups


def together(scheduler: Scheduler, actions: Sequence[Action]) -> list[list[Action]]:
    """The actions that share needs, directly or through others."""
    return connected(actions, scheduler.closure)


def connected(members: Sequence[T], shares: Callable[[T], Iterable[Hashable]]) -> list[list[T]]:
    """The members that share something, directly or through others, in the order of the first of each group.

    >>> connected(["ab", "c", "bd", "e", "dc"], set)
    [['ab', 'c', 'bd', 'dc'], ['e']]
    """
    leader = list(range(len(members)))

    def lead(k: int) -> int:
        while leader[k] != k:
            leader[k] = leader[leader[k]]
            k = leader[k]
        return k

    first: dict[Hashable, int] = {}
    for k, member in enumerate(members):
        for thing in shares(member):
            a, b = sorted((lead(first.setdefault(thing, k)), lead(k)))
            leader[b] = a
    found: dict[int, list[T]] = {}
    for k, member in enumerate(members):
        found.setdefault(lead(k), []).append(member)
    return list(found.values())


def _size(scheduler: Scheduler, actions: Sequence[Action]) -> int:
    """How much there is to compile for some actions: values that are calculated, and what is done with them."""
    roots: list[Item] = [action.space for action in actions]
    roots += [node for action in actions for node in action.uses]
    known = scheduler.staged | scheduler.marks
    found = ordered(roots, until=lambda item: isinstance(item, Node) and item in known)
    return FILL * len(actions) + sum(isinstance(item, Node) and item.op not in ("literal", "full") for item in found)

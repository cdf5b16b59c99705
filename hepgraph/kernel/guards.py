"""Which conditions come first: what several actions share is made under the disjunction of their conditions.

Conditions may be tested in any order, as nothing has effects but the actions themselves. Actions that share a condition
or something costly are a *group*. Where all of a group have their cheapest condition in common, it comes first. Where
they do not, the disjunction of what each of them is known to need comes first, if what they share costs more than that;
each still has its own conditions inside. At last, each has a branch of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from hepgraph.graph.canonical import conjuncts, count
from hepgraph.graph.node import Map, Node, as_node, node
from hepgraph.kernel.spaces import Needs, Way
from hepgraph.kernel.split import connected
from hepgraph.kernel.tree import Action, If, LoopNeed
from hepgraph.limits import limits

if TYPE_CHECKING:
    from hepgraph.kernel.schedule import Scheduler

Routed = tuple[Action, Way]  # an action, and the way that is left to it


@dataclass(frozen=True)
class GuardedBranch:
    """A condition and what comes under it; `known` are conditions that were looked at in a disjunction around it."""

    mask: Node
    members: list[Routed]
    known: frozenset[Node]


@dataclass
class _Member:
    action: Action
    way: Way
    masks: tuple[Node, ...]
    needs: Needs

    @property
    def routed(self) -> Routed:
        return self.action, self.way


def branches(g: Scheduler, routed: Sequence[Routed], done: Needs, known: frozenset[Node]) -> list[list[GuardedBranch]]:
    """The branches to take now: for each group one, or several where its actions part."""
    members = [_Member(action, way, masks_of(way), g.closure(action) - done) for action, way in routed]
    groups = connected(members, lambda member: (*member.masks, *member.needs))
    return [_branches_of(g, group, done, known) for group in groups]


def masks_of(way: Way) -> tuple[Node, ...]:
    """The conditions at the beginning of a way."""
    found: list[Node] = []
    for step in way:
        if not isinstance(step, If):
            break
        found.append(step.mask)
    return tuple(found)


def _branches_of(g: Scheduler, group: Sequence[_Member], done: Needs, known: frozenset[Node]) -> list[GuardedBranch]:
    def rank(mask: Node) -> tuple[float, str]:
        needs = g.rests_on(mask) - done
        return g.estimates.of_one(mask) + sum(map(g.estimates.price, needs)), g.place(mask)

    ranks = {mask: rank(mask) for mask in dict.fromkeys(mask for member in group for mask in member.masks)}
    common = set(group[0].masks).intersection(*(member.masks for member in group))
    first = min(common, key=ranks.__getitem__, default=None)
    either = _either(g, group, ranks, done, known) if len(group) > 1 else None
    if either is not None and (first is None or ranks[either.cheapest] < ranks[first]):
        return [GuardedBranch(either.mask, [member.routed for member in group], known | either.tested)]
    if first is not None:
        return [GuardedBranch(first, [without(first, member.way, member.action) for member in group], known)]
    parts: dict[Node, list[Routed]] = {}
    for member in group:
        mask = min(member.masks, key=ranks.__getitem__)
        parts.setdefault(mask, []).append(without(mask, member.way, member.action))
    return [GuardedBranch(mask, inside, known) for mask, inside in parts.items()]


def without(mask: Node, way: Way, action: Action) -> Routed:
    """The rest of a way under a condition."""
    at = next(i for i, step in enumerate(way) if isinstance(step, If) and step.mask is mask)
    return action, [*way[:at], *way[at + 1 :]]


@dataclass(frozen=True)
class _Either:
    mask: Node
    tested: frozenset[Node]
    cheapest: Node


def _either(
    g: Scheduler,
    group: Sequence[_Member],
    ranks: dict[Node, tuple[float, str]],
    done: Needs,
    known: frozenset[Node],
) -> _Either | None:
    """The disjunction of conditions that are cheap beside what is shared; None if there is none."""
    chosen: dict[Node, Needs] = {}
    for member in group:
        mask = min((mask for mask in member.masks if mask not in known), key=ranks.__getitem__, default=None)
        if mask is None:
            return None
        chosen[mask] = chosen.get(mask, frozenset()) | member.needs
    if len(chosen) == 1:
        return None
    made = frozenset().union(done, *map(g.rests_on, chosen))
    seen: set[LoopNeed] = set()
    shared: set[LoopNeed] = set()
    for needs in chosen.values():
        shared |= seen & needs
        seen |= needs
    terms = [
        frozenset(mask for mask in member.masks if mask not in known and g.rests_on(mask) <= made) for member in group
    ]
    tested = frozenset().union(*terms)
    if len({mask.space for mask in tested}) > 1:
        return None
    if sum(g.estimates.price(need) for need in shared - made) < limits().worth * g.estimates.work(tested):
        return None
    return _Either(_disjunction(g, terms), tested, max(chosen, key=ranks.__getitem__))


def _disjunction(g: Scheduler, terms: Iterable[frozenset[Node]]) -> Node:
    """Whether all conditions of one of some sets hold; of two sets, one of which has all of the other, the smaller."""
    unique = sorted(set(terms), key=lambda term: (len(term), sorted(map(g.place, term))))
    least: list[frozenset[Node]] = []
    for term in unique:
        if not any(other <= term for other in least):
            least.append(term)
    found: Node | None = None
    for term in least:
        ordered = sorted(term, key=lambda mask: (g.estimates.dear(mask), g.place(mask)))
        every = ordered[0]
        for mask in ordered[1:]:
            every = of_two("bitwise_and", every, mask)
        found = every if found is None else of_two("bitwise_or", found, every)
    assert found is not None
    return found


# the comparisons of a count with a number, from either side, and the least count for which they hold
_AT_LEAST = {
    ("greater_equal", 0): 0, ("greater", 0): 1, ("equal", 0): 0, ("less_equal", 1): 0, ("less", 1): 1, ("equal", 1): 0,
}  # fmt: skip


def surely_there(m: Map, masks: Iterable[Node]) -> bool:
    """Whether conditions on the length of a list say that it has the element which a pick takes by its position."""
    if m.kind != "pick" or m.param[0] != "at":
        return False
    k, own = m.param[2], count(m.dst)
    for each in chain.from_iterable(map(conjuncts, masks)):
        if len(each.args) == 2 and own in each.args:
            side = each.args.index(own)
            other = as_node(each.args[1 - side])
            more = _AT_LEAST.get((each.op, side))
            value = other.param.value if other.op == "literal" else None
            if more is not None and isinstance(value, int) and value + more >= (k + 1 if k >= 0 else -k):
                return True
    return False


def of_two(op: str, a: Node, b: Node) -> Node:
    """An operation as it stands: moved to where the values come from, it might need loops of its own."""
    return node(op, (a, b), a.space, a.dtype, ())

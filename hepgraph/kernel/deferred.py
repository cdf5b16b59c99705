"""Results of some events that need transcendental functions: first the events are found, then these are evaluated.

NumPy evaluates transcendental functions of columns for a block of events at once. Where all that ask for one have
conditions that do not rest on one themselves, a first function marks the events that pass; the functions are evaluated
for the elements of these; and a second function makes the results, of the marked events alone. What it marks is kept as
a column, so that the conditions are not looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hepgraph.graph.canonical import TOTAL, filtered
from hepgraph.graph.node import Item, Node, Space, ordered
from hepgraph.kernel.guards import masks_of, of_two
from hepgraph.kernel.schedule import Scheduler
from hepgraph.kernel.spaces import NONE, Needs
from hepgraph.kernel.split import connected, split, together
from hepgraph.kernel.tree import Action, If, Loop, Step


@dataclass(frozen=True)
class LoopFunction:
    """The tree of one function; with `marks`, it runs over the events that one of these marks has.

    `early` ones run before transcendental functions are evaluated; `staged` are those that it looks at.
    """

    steps: list[Step]
    scheduler: Scheduler
    staged: frozenset[Node]
    marks: tuple[Node, ...] = ()
    early: bool = False

    @property
    def title(self) -> str:
        """When and for what it runs, if that is not always and for all events."""
        if self.early:
            return "before transcendental functions are evaluated"
        return "for marked events" if self.marks else ""


class StagedBelow:
    """The transcendental functions of columns that items rest on."""

    def __init__(self, staged: frozenset[Node], given: Collection[Item]) -> None:
        self.staged, self.given = staged, given
        self.nodes = list(staged)
        self._known: dict[Item, int] = {node: 1 << k for k, node in enumerate(self.nodes)}

    def __call__(self, items: Iterable[Item]) -> int:
        """A number with a bit for each."""
        roots = list(items)
        for item in ordered(roots, until=self._known.__contains__):
            if item not in self._known:
                below = 0
                if item not in self.given:
                    for each in item.inputs:
                        below |= self._known[each]
                self._known[item] = below
        found = 0
        for root in roots:
            found |= self._known[root]
        return found

    def of(self, actions: Iterable[Action]) -> frozenset[Node]:
        """Those that actions rest on."""
        bits = 0
        for action in actions:
            bits |= self([action.space, *action.uses])
        return frozenset(node for k, node in enumerate(self.nodes) if bits >> k & 1)


@dataclass
class _Parts:
    """Groups of actions that are made at once, early, or of marked events."""

    plain: list[Action] = field(default_factory=list)
    early: list[Action] = field(default_factory=list)
    marked: dict[Action, tuple[frozenset[Node], Node]] = field(default_factory=dict)


def functions(
    g: Scheduler, actions: Sequence[Action], events: Space, mark: Callable[[Space, Node], Action]
) -> list[LoopFunction]:
    """The functions that do all actions, in their order; `mark` gives the action that marks events."""
    reach = StagedBelow(g.staged, g.given)
    parts = _Parts()
    for group in together(g, actions):
        masks = _conditions(g, group, events, reach)
        if masks is None:
            parts.plain += group
            continue
        conditions = {action: _conjunction(own) for action, own in masks.items()}
        parts.early += [action for action in group if action not in masks]
        parts.early += [mark(filtered(events, mask), mask) for mask in dict.fromkeys(conditions.values())]
        parts.marked |= {action: (frozenset(masks[action]), mask) for action, mask in conditions.items()}
    found = [LoopFunction(g.schedule(part, events), g, frozenset(), early=True) for part in split(g, parts.early)]
    if parts.plain or not parts.marked:
        found += [LoopFunction(g.schedule(part, events), g, reach.of(part)) for part in split(g, parts.plain)]
    if parts.marked:
        after = g.after(parts.marked)
        for part in _apart(after, parts.marked):
            marks = tuple(dict.fromkeys(parts.marked[action][1] for action in part))
            found.append(LoopFunction(after.schedule(part, events), after, reach.of(part), marks))
    return [function for function in found if function.steps or len(found) == 1]


def _apart(g: Scheduler, marked: Mapping[Action, tuple[frozenset[Node], Node]]) -> list[list[Action]]:
    """The actions of each function for marked events: those that share neither needs nor marks apart.

    They would share no loops, and alternatives of one analysis are then functions that differ in constants alone.
    """
    groups = connected(together(g, list(marked)), lambda group: {marked[action][1] for action in group})
    return [part for group in groups for part in split(g, [action for each in group for action in each])]


def stages_of(functions: Sequence[LoopFunction]) -> dict[tuple[Node, ...], frozenset[Node]]:
    """The transcendental functions of columns by the marks of the events that they are made for; without, of all."""
    wanted: dict[Node, dict[Node, None] | None] = {}
    for function in functions:
        for node in function.staged:
            marks = wanted.setdefault(node, {})
            if not function.marks:
                wanted[node] = None
            elif marks is not None:
                marks |= dict.fromkeys(function.marks)
    found: dict[tuple[Node, ...], set[Node]] = {}
    for node, marks in wanted.items():
        found.setdefault(tuple(marks or ()), set()).add(node)
    return {marks: frozenset(nodes) for marks, nodes in found.items()}


def _conditions(
    g: Scheduler, group: Sequence[Action], events: Space, reach: StagedBelow
) -> dict[Action, list[Node]] | None:
    """The conditions on events of the actions that are better deferred; None if the group is done at once."""
    own = {action: _made(g, action, events) for action in group}
    masks: dict[Action, list[Node]] = {}
    for action in group:
        way = g.route(action.space, frozenset({events, TOTAL}))
        known = [mask for mask in masks_of(way) if mask.space is events and not reach([mask])]
        masks[action] = [mask for mask in known if not _mostly(g, own[action], g.rests_on(mask))]
    found = {action: masks[action] for action in group if reach([action.space, *action.uses])}
    if not found or not all(found.values()):
        return None
    shared = frozenset().union(*(own[action] for action in found))
    for action in group:  # what shares most of its work with them goes with them
        if action not in found and masks[action] and _mostly(g, own[action], shared):
            found[action] = masks[action]
    return found


def _made(g: Scheduler, action: Action, events: Space) -> Needs:
    """The needs of an action beside those of its conditions on events."""
    way = g.route(action.space, frozenset({events, TOTAL}))
    found: Needs = NONE.union(*(g.needs_of(node) for node in action.uses))
    for step in way[len(masks_of(way)) :]:
        if isinstance(step, If):
            found |= g.needs_of(step.mask)
        elif isinstance(step, Loop):
            found |= g.loop_needs(step.space)
    return g.below(found)


def _mostly(g: Scheduler, own: Needs, others: Needs) -> bool:
    """Whether most of the work is done for others as well."""
    both = own & others
    return bool(both) and 2 * sum(map(g.estimates.price, both)) > sum(map(g.estimates.price, own))


def _conjunction(masks: Sequence[Node]) -> Node:
    found = masks[0]
    for mask in masks[1:]:
        found = of_two("bitwise_and", found, mask)
    return found

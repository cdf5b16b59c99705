"""Predicate pushdown: comparisons that all events of a pass must satisfy, so that a reader may leave others out.

Statistics answer the plainest alone: a flat column compared with a number. Masks of flat columns, and some of lists,
are read first, and tell which baskets of the other columns need not be (see `late_materialisation.py`). One is found
where no result of the pass has an element of, and no check of the pass can fail for, an event that does not pass it;
then an event that fails it changes nothing, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hepgraph.graph.canonical import conjuncts
from hepgraph.graph.kinds import SPACES, map_kind
from hepgraph.graph.node import Item, Map, Node, Space, as_map, as_node, as_space, ordered
from hepgraph.graph.ops import OPS
from hepgraph.graph.predicate import Predicate
from hepgraph.io.source import Origin

COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal")
Masks = frozenset[Node]
NONE: Masks = frozenset()


def predicates_of(origin: Origin, masks: Masks) -> tuple[Predicate, ...]:
    """The predicates among masks of events."""
    made = [_predicate(origin, node) for node in masks]
    return tuple(sorted((each for each in made if each is not None), key=repr))


def early_masks(origin: Origin, masks: Masks) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The masks of events that can be looked at first.

    Those that flat columns alone tell, and those that take no more of lists than elements that pass masks and what
    they reduce to.
    """
    flat, lists = [], []
    for mask in masks:
        below = ordered([mask])
        if all(_is_flat(origin, item) for item in below):
            flat.append(mask)
        elif all(_is_plain(origin, item) for item in below):
            lists.append(mask)
    return tuple(flat), tuple(lists)


def _is_plain(origin: Origin, item: Item) -> bool:
    """Whether an item is made of lists, of as many elements as there are in them or fewer, where nothing is None."""
    match item:
        case Node("load", param=(of, name)):
            column = of.source.columns.get(name) if of == origin else None
            return column is not None and not (column.text or column.optional)
        case Node():
            if item.op in ("count", "reduce"):
                return item.space is not None and item.space.kind != "total"
            return item.op in ("literal", "take") or item.op in OPS
        case Space("leaf"):
            return bool(item.param[0] == origin)
        case Space():
            return item.kind in ("events", "total") or SPACES[item.kind].selects
        case Map():
            return _to_own(item)
    return False


def _is_flat(origin: Origin, item: Item) -> bool:
    """Whether an item is of events alone, and of no more than a flat column and what is said of it."""
    match item:
        case Node("load", param=(of, name)):
            column = origin.source.columns.get(name) if of == origin else None
            return column is not None and not (column.levels or column.text or column.optional)
        case Node():
            return item.op == "literal" or (item.op in OPS and (item.space is None or item.space.kind == "events"))
        case Space():
            return item.kind in ("events", "total")
    return False


def shared_masks(origin: Origin, wants: Sequence[Item], order: Sequence[Item]) -> Masks:
    """The masks of events that every event passes that has a part in the values of these items of a graph.

    `order` has the items of the graph, each after its inputs.
    """
    found = _MasksPassed(origin)
    if any(_across_events(item) for item in order):
        return NONE
    shared: Masks | None = None
    for item in order:
        limits = found.of(item)
        if limits is not None:
            shared = limits if shared is None else shared & limits
    for item in wants:
        if not isinstance(item, Node) or item.space is not None:
            shared = found.where(item) if shared is None else shared & found.where(item)
    return shared or NONE


def masks_reaching(origin: Origin, items: Iterable[Item]) -> list[tuple[Node, ...]]:
    """The masks that an event passes if it has a part in the values of some items: all of at least one of these."""
    items = [item for item in items if not isinstance(item, Node) or item.space is not None]
    found = _MasksPassed(origin)
    order = ordered(items)
    for item in order:
        found.of(item)
    ways = list(dict.fromkeys(map(found.where, items)))
    least = [way for way in ways if not any(other < way for other in ways)]
    return [tuple(item for item in order if item in way) for way in least]


def _to_own(m: Map) -> bool:
    """Whether a map leads from an element to the one that it is, or that it is of."""
    return m.kind == "up" or (m.kind == "inc" and SPACES[m.src.kind].selects)


def _across_events(item: Item) -> bool:
    """Whether an item may depend on events together: a function of arrays, and lists cut out of others by lengths."""
    match item:
        case Node():
            return item.op in ("call", "output", "output_valid")
        case Space():
            return SPACES[item.kind].across
        case _:
            return False


@dataclass
class _MasksPassed:
    """Of each space, the masks that an event passes that has an element in it."""

    origin: Origin
    spaces: dict[Space, Masks] = field(default_factory=dict)

    def of(self, item: Item) -> Masks | None:
        """The masks that an event passes if a check of this item can fail for it; None if it has no check."""
        match item:
            case Space():
                self.spaces[item] = self._space(item)
            case Map() if masks := map_kind(item).checks(item):
                return self.spaces[item.src].union(*(self._mask(mask) for mask in masks))
        return None

    def where(self, item: Item) -> Masks:
        """The masks that an event passes if it has a part in a value that is looked at."""
        match item:
            case Space():
                return self.spaces[item]
            case Node("reduce" | "count", (below,)) if item.space is not None and item.space.kind == "total":
                at = below if isinstance(below, Space) else getattr(below, "space", None)
                return NONE if at is None else self.spaces[at]
            case Node() if item.space is not None:
                return self.spaces[item.space]
        return NONE

    def _space(self, item: Space) -> Masks:
        above = NONE if item.parent is None else self.spaces[item.parent]
        kind = SPACES[item.kind]
        below = self.spaces[as_space(item.args[0])] if kind.of_base else NONE
        return above | below | (self._mask(item.args[1]) if kind.masked else NONE)

    def _mask(self, mask: Item) -> Masks:
        """The parts of a mask that are of the event alone."""
        return frozenset(part for each in conjuncts(as_node(mask)) if (part := _of_event(each)) is not None)


def _of_event(part: Node) -> Node | None:
    """The mask of events that a mask of elements is, if it is one."""
    while part.op == "take":
        if not _to_own(as_map(part.args[0])):
            return None
        part = as_node(part.args[1])
    return part if part.space is not None and part.space.kind == "events" else None


def _predicate(origin: Origin, mask: Node) -> Predicate | None:
    """The predicate that a mask of events is, if it compares a flat column without None with a number."""
    if mask.op not in COMPARISONS:
        return None
    a, b = map(as_node, mask.args)
    load, number = (b, a) if a.op == "literal" else (a, b)
    if load.op != "load" or number.op != "literal" or load.param[0] != origin:
        return None
    value = number.param.value
    column = origin.source.columns[load.param[1]]
    plain = not (column.levels or column.text or column.optional)
    if not plain or column.dtype.kind not in "iuf" or not isinstance(value, int | float | np.integer | np.floating):
        return None
    return Predicate(column.name, mask.op, value, number is a)

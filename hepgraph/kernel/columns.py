"""The columns of a partition as a kernel takes them, and the vectorised stage before each block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from hepgraph.errors import DisagreementError, HepgraphError
from hepgraph.graph.consistency import check_index, check_lists
from hepgraph.graph.interpreter import say_where
from hepgraph.graph.node import Item, Node, Space, ancestors, as_node, as_space, ordered
from hepgraph.graph.ops import OPS
from hepgraph.io.required import Loaded
from hepgraph.kernel.spaces import SPACE_RULES
from hepgraph.kernel.tree import NotLowered
from hepgraph.kernel.within import within
from hepgraph.limits import limits


class Offsets:
    """The offsets of the lists of one partition; those that the interpreter made are `given`."""

    def __init__(self, loaded: Loaded, given: Mapping[Item, Any]) -> None:
        self.loaded = loaded
        self.known: dict[Space, Any] = {
            item: np.ascontiguousarray(value.offsets, np.int64)
            for item, value in given.items()
            if isinstance(item, Space)
        }
        self.checked: dict[Space, list[Any]] = {}
        self.longest: dict[Space, int] = {}

    def of(self, leaf: Space) -> Any:
        """The offsets of a leaf."""
        if leaf not in self.known:
            origin, column, level = leaf.param
            self.known[leaf] = np.ascontiguousarray(self.loaded.offsets(origin, column, level), np.int64)
        return self.known[leaf]

    def check(self, leaf: Space, column: str, own: Any) -> None:
        """Raises if the lists of a column are not those of a leaf; columns may share the very offsets."""
        known = self.checked.setdefault(leaf, [self.of(leaf)])
        if not any(own is other for other in known):
            check_lists(leaf, column, own, self.of(leaf), self.loaded)
            known.append(own)

    def capacity(self, s: Space) -> int:
        """The most elements that a list of a space can have; `bounded` says for which spaces it is known."""
        if s not in self.longest:
            if s.kind == "leaf" or s in self.known:
                offsets = self.of(s)
                self.longest[s] = int(np.diff(offsets).max()) if len(offsets) > 1 else 0
            else:
                self.longest[s] = max(SPACE_RULES[s.kind].least(s), sum(map(self.capacity, _sources(s))))
        return self.longest[s]

    def edges(self, s: Space, start: int, stop: int) -> tuple[int, int]:
        """The first and last element of a space that belong to a range of events."""
        if s.kind == "events":
            return start, stop
        above = self.edges(s.parent, start, stop)  # type: ignore[arg-type]
        offsets = self.of(s)
        return int(offsets[above[0]]), int(offsets[above[1]])

    def spare(self, leaf: Space, start: int) -> int:
        """An element of a leaf that can be read from this event on even where there is none of its own."""
        low, _ = self.edges(leaf, start, start)
        return max(0, min(low, int(self.of(leaf)[-1]) - 1))


def _sources(s: Space) -> list[Space]:
    """The spaces whose lists together have the elements of a space."""
    return [part for part in s.args if isinstance(part, Space)]


def bounded(s: Space, given: Collection[Item]) -> list[Space]:
    """The given spaces that the length of a space is known from.

    Raises NotLowered for spaces whose values are not to be stored: lists longer than those of columns.
    """
    if s in given:
        return [s]
    if not SPACE_RULES[s.kind].storable:
        raise NotLowered(f"scratch for {s.kind} is not compiled", s)
    return [known for part in _sources(s) for known in bounded(part, given)]


def ranks(rows: Space, given: Mapping[Item, Any], entries: int) -> Any:
    """For each entry, its number among those that pass a selection of them."""
    places = given[rows].inc
    base = rows.args[0]
    while isinstance(base, Space) and base.kind == "filter":
        places = given[base].inc[places]
        base = base.args[0]
    found = np.zeros(entries, np.int64)
    found[places] = np.arange(len(places))
    return found


def values_of(loaded: Loaded, item: Node, offsets: Offsets) -> Any:
    """The values of a column, or which of its values or lists there are; what is wrong is told with the user's line."""
    try:
        return _values_of(loaded, item, offsets)
    except HepgraphError as error:
        say_where(error, item)
        raise


def _values_of(loaded: Loaded, item: Node, offsets: Offsets) -> Any:
    if item.op == "load":
        origin, column = item.param
        values = loaded.values(origin, column)
        _check(loaded, item, values, offsets)
        return np.ascontiguousarray(values)
    if item.op == "index":
        values = _values_of(loaded, as_node(item.args[0]), offsets)
        at, second = as_space(item.space), item.args[1]
        keys = None if isinstance(second, Space) else _values_of(loaded, as_node(second), offsets)
        alone = second if isinstance(second, Space) and at.parent is second.parent else None
        if alone is None or not within(values, offsets.of(at), offsets.of(alone)):
            check_index(item, values, keys, offsets.of, loaded)
        return values
    origin, column, level = item.param
    valid = loaded.valid(origin, column, level)
    expected = _size(loaded, item, offsets)
    if valid is None:
        return np.ones(expected, bool)
    if len(valid) != expected:
        raise DisagreementError(f"column {column!r} has {len(valid)} values where {expected} were expected")
    return np.ascontiguousarray(valid, bool)


def _size(loaded: Loaded, item: Node, offsets: Offsets) -> int:
    """The number of elements of the space of a column."""
    space = item.space
    assert space is not None
    return loaded.entries(item.param[0])[0] if space.kind == "events" else int(offsets.of(space)[-1])


def _check(loaded: Loaded, item: Node, values: Any, offsets: Offsets) -> None:
    """The same check that the interpreter makes: the lists of a column are those of its collection."""
    origin, column = item.param
    levels = loaded.levels(origin, column)
    for at, own in zip(reversed([*islice(ancestors(as_space(item.space)), len(levels))]), levels, strict=True):
        offsets.check(at, column, own)
    expected = _size(loaded, item, offsets)
    if len(values) != expected:
        raise DisagreementError(f"column {column!r} has {len(values)} values where {expected} were expected")


# the vectorised stage


def staged_of(order: Sequence[Item], given: Collection[Item]) -> frozenset[Node]:
    """Transcendental functions of columns, which NumPy evaluates for a block at once: quicker, and to its own bits."""
    plain: set[Node] = set()
    found: set[Node] = set()
    for item in order:
        if not isinstance(item, Node) or item.space is None or item.space.kind not in ("leaf", "events"):
            continue
        if item in given or any(s in given for s in ancestors(item.space)):
            continue
        if item.op in ("load", "full"):
            plain.add(item)
        elif item.op in OPS and all(
            arg in plain or (isinstance(arg, Node) and arg.op == "literal") for arg in item.args
        ):
            plain.add(item)
            own = item.op == "ufunc"  # which may be a user's
            if OPS[item.op].cost > 1 and not own and not (item.op == "remainder" and item.dtype.kind in "iu"):
                found.add(item)
    return frozenset(found)


class VectorStage:
    """The vectorised stage: for all events of a block, or for some events alone.

    The functions that are evaluated together are known by a number.
    """

    def __init__(self, loaded: Loaded, offsets: Offsets, check: bool = False) -> None:
        self.loaded, self.offsets, self.check = loaded, offsets, check
        self.orders: dict[frozenset[Node], list[Node]] = {}
        self.padded: dict[tuple[int, Node], Any] = {}
        self.straight: set[Node] = set()  # what a ufunc makes in its type, so that it may write into the buffer

    def make(self, number: int, wanted: frozenset[Node], start: int, stop: int) -> dict[Node, tuple[Any, int]]:
        """Nodes for all events of a block: an array with a spare element at both ends, and the number of the first."""
        edges: dict[Space, tuple[int, int]] = {}

        def places(space: Space) -> tuple[slice, int]:
            low, high = edges[space] = self.offsets.edges(space, start, stop)
            return slice(low, high), high - low

        sizes = self._fill(number, wanted, places)
        return {node: (self._padded(number, node, sizes[node]), edges[as_space(node.space)][0] - 1) for node in wanted}

    def pack(
        self, number: int, wanted: frozenset[Node], alive: Any, shifts: Mapping[Space, Any], start: int
    ) -> dict[Node, Any]:
        """Nodes for some events alone, the first of them or none: an array with a spare element at the end.

        `shifts` get for each of these events, counted from `start`, the number of an element less its place there.
        """

        def places(space: Space) -> tuple[Any, int]:
            begin, end = self._elements(space, alive)
            counts = end - begin
            ends = np.cumsum(counts)
            size = int(ends[-1]) if len(ends) else 0
            low, high = (int(begin[0]), int(end[-1])) if size else (0, 0)
            if size >= limits().sparse * (high - low):  # most of them
                shifts[space][alive - start] = low
                return slice(low, high), high - low
            shift = begin - ends + counts
            shifts[space][alive - start] = shift
            return np.repeat(shift, counts) + np.arange(size), size

        sizes = self._fill(number, wanted, places)
        found = {node: self._padded(number, node, sizes[node])[1:] for node in wanted}
        if self.check:  # what nobody should look at
            for node, values in found.items():
                values[-1] = np.nan if node.dtype.kind == "f" else 0
        return found

    def _elements(self, space: Space, alive: Any) -> tuple[Any, Any]:
        """The first element of a space that belongs to each event, and the one past its last."""
        begin, end = alive, alive + 1
        for s in reversed([s for s in ancestors(space) if s.kind not in ("events", "total")]):
            offsets = self.offsets.of(s)
            begin, end = offsets[begin], offsets[end]
        return begin, end

    def _fill(
        self, number: int, wanted: frozenset[Node], places: Callable[[Space], tuple[Any, int]]
    ) -> dict[Node, int]:
        """Evaluates nodes at places of their spaces; gives how many there are of each."""
        if wanted not in self.orders:
            order = ordered(wanted)
            self.orders[wanted] = [item for item in order if isinstance(item, Node) and item.op != "literal"]
        known: dict[Space, tuple[Any, int]] = {}
        values: dict[Node, Any] = {}
        sizes: dict[Node, int] = {}
        with np.errstate(all="ignore"):
            for item in self.orders[wanted]:
                space = as_space(item.space)
                if space not in known:
                    known[space] = places(space)
                at, sizes[item] = known[space]
                in_place = item in self.straight
                values[item] = self._value(number, item, values, at, sizes[item])
                if item in wanted and not in_place:
                    self._padded(number, item, sizes[item])[1:-1] = values[item]
        return sizes

    def _value(self, number: int, item: Node, values: Mapping[Node, Any], at: Any, size: int) -> Any:
        if item.op == "load":
            return self.loaded.values(*item.param)[at]
        if item.op == "full":
            return np.full(size, item.param.value, item.dtype)
        args = [arg.param.value if arg.op == "literal" else values[arg] for arg in item.args]  # type: ignore[union-attr,index]
        meaning = OPS[item.op].meaning
        if item in self.straight:
            return meaning(*args, out=self._padded(number, item, size)[1:-1])
        result = meaning(*args, *(item.param or ()))
        if result.dtype != item.dtype:
            return result.astype(item.dtype)
        if isinstance(meaning, np.ufunc) and not item.param:
            self.straight.add(item)
        return result

    def _padded(self, number: int, item: Node, length: int) -> Any:
        """The buffer of an item, with a spare element at both ends."""
        padded = self.padded.get((number, item))
        if padded is None or len(padded) < length + 2:
            padded = self.padded[number, item] = np.zeros(length + length // 4 + 2, item.dtype)
        return padded[: length + 2]

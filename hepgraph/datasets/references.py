"""Forms of references: the elements of other collections that indices of one point to, or that point back at it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TypeAlias

import numpy as np

from hepgraph.datasets.elements import at_path
from hepgraph.datasets.schemafile import Reference
from hepgraph.errors import FieldError, SchemaError
from hepgraph.graph.canonical import apply, both, count, filtered, inc, led_back, lift, ordinal, pulled, take, up
from hepgraph.graph.consistency import Pointer
from hepgraph.graph.form import Form, List, Option, Record, Scalar, move, moved_option, option, type_of, unwrap
from hepgraph.graph.node import Node, Space, ancestors, as_map, as_node, literal, map_, node, space
from hepgraph.lazy.join import joined

Target: TypeAlias = tuple[str, Form, Form | None]  # a collection: its name, what the file has, and what it was set to


def replaced(title: str, name: str) -> FieldError:
    """The error of a reference into a collection that was set to lists in which its elements are not told apart."""
    return FieldError(
        f"{title} counts in the {name} of the file, and these were replaced by others, in which it is not known which "
        f"is which. Take it before: x = events.{title}, and then events[{name!r}] = ..."
    )


class ReferenceForms:
    """One reference of a collection: the space of the collection, its fields, and the lists that it leads into."""

    def __init__(self, collection: str, at: Space, own: Record, reference: Reference) -> None:
        self.collection, self.at, self.own, self.reference = collection, at, own, reference

    @property
    def title(self) -> str:
        """The reference in a message."""
        return f"{self.collection}.{self.reference.name}"

    def form(self, targets: Sequence[Target]) -> Form:
        """The form of what it refers to."""
        lists = [self._lists(target) for target in targets]
        if self.reference.inverse:
            return self._pointing_here(lists[0][1])
        if self.reference.key is not None or self.reference.ranged:
            for (own, given), (name, *_) in zip(lists, targets, strict=True):
                if given.space is not own.space:
                    raise replaced(self.title, name)
        if self.reference.key is not None:
            return self._keyed([given for _, given in lists])
        ((own, target),) = lists
        if self.reference.ranged:
            return self._ranged(target)
        parts = [
            self._gathered(at_path(self.own, index), lambda x, i=index: self._element(x, i, own, target))  # type: ignore[misc]
            for index in self.reference.indices
        ]
        if len(parts) == 1:
            return parts[0]
        one = space("one", self.at)
        lined = joined([List(one, move(part, up(one))) for part in parts], self.at)
        return List(lined.space, lined.content)  # as NanoEvents has it: of variable length, though all have the same

    def _gathered(self, form: Form, element: Callable[[Form], Form]) -> Form:
        """The elements at the indices of a form, which may have lists of them."""
        match form:
            case List(s, content, size):
                return List(s, self._gathered(content, element), size)
            case Option(valid, List() as content):
                return option(valid, self._gathered(content, element))
        return element(form)

    def _lists(self, target: Target) -> tuple[List, List]:
        """The lists of a collection as the file has them, in which indices count, and as they were set."""
        name, own, given = target
        inner, now = unwrap(own)[1], None if given is None else unwrap(given)[1]
        if not isinstance(inner, List):
            raise SchemaError(f"{self.title} points into {name}, which is not a list")
        if not isinstance(now, List):
            raise replaced(self.title, name)
        return inner, now

    def _element(self, form: Form, index: str, own: List, target: List) -> Form:
        valid, number = self._index(form, index, own.space)
        assert number.space is not None
        if target.space is own.space:
            m = map_("gather", number.space, target.space, (number,), False)
            return option(valid, moved_option(target.content, m))
        return option(valid, self._sought(number, number.space, own.space, target))

    def _sought(self, number: Node, at: Space, own: Space, target: List) -> Form:
        """The element of lists that were cut or sorted which stood at an index before; None where it was cut."""
        place, near, content = self._brought(ordinal(own), target.space), target.space, target.content
        between = itertools.takewhile(lambda s: s is not own.parent, ancestors(at))
        for below in reversed([*between]):
            near = pulled(near, up(below))
            place, content = take(inc(near), place), move(content, inc(near))
        found = filtered(near, apply("equal", [place, lift(number, near)]))
        return moved_option(move(content, inc(found)), map_("pick", at, found, (), ("at", 0, 0)))

    def _brought(self, x: Node, to: Space) -> Node:
        """A node of lists of the file, for what is left of them after they were cut or sorted."""
        way, s = [], to
        while s is not x.space:
            if s.kind not in ("filter", "perm"):
                raise replaced(self.title, str(self.reference.to))
            way.append(inc(s))
            s = way[-1].dst
        for m in reversed(way):
            x = take(m, x)
        return x

    def _index(self, form: Form, index: str, into: Space) -> tuple[Node, Node]:
        """Where an index is there, and the index: checked while running, unless elements are known to be gone."""
        valid, x = self._integer(form, index)
        return valid, x if self.reference.skimmed else self._checked(x, None, (into,), index)

    def _checked(self, x: Node, key: Node | None, into: Sequence[Space], index: str) -> Node:
        """An index, checked while running, with the key that stands beside it; one that is computed is not."""
        told, maps = self.reference, []
        while x.op == "take" and (key is None or (key.op == "take" and key.args[0] is x.args[0])):
            maps.append(as_map(x.args[0]))
            x, key = as_node(x.args[1]), None if key is None else as_node(key.args[1])
        columns = (x,) if key is None else (x, key)
        if all(column.op == "load" for column in columns) and all(each.kind == "leaf" for each in into):
            ends = (self.collection, told.into) if not told.inverse else (told.to, (self.collection,))
            pointer = Pointer(
                ends[0], index, told.name, ends[1], told.key or "", told.numbers, told.known, told.inverse, told.skimmed
            )
            x = node("index", (*columns, *into), x.space, x.dtype, pointer)
        for m in reversed(maps):
            x = take(m, x)
        return x

    def _integer(self, form: Form, index: str) -> tuple[Node, Node]:
        valid, number = unwrap(form)
        if not isinstance(number, Scalar) or number.node.dtype.kind not in "iu":
            raise SchemaError(f"{self.collection}.{index} is not an index: it holds {type_of(form)}")
        return valid, number.node

    def _pointing_here(self, target: List) -> Form:
        """Those elements of a collection whose index points at each element of this one."""
        there, record = unwrap(target.content)
        assert isinstance(record, Record)
        index = self.reference.indices[0]
        valid, x = self._index(at_path(record, index), index, self.at)
        s = led_back(target.space, self.at, both(there, valid), x)
        return List(s, move(target.content, inc(s)))

    def _ranged(self, target: List) -> Form:
        """The elements from one index to another; none where the first is negative."""
        ends = [self._integer(at_path(self.own, index), index) for index in self.reference.indices]
        zero, one = literal(np.int64(0)), literal(np.int64(1))
        (_, first), (_, last) = ends
        some = both(both(ends[0][0], ends[1][0]), apply("greater_equal", [first, literal(0)]))
        begin = apply("where", [some, apply("add", [first, zero]), zero])
        end = apply("where", [some, apply("add", [last, one]), zero])
        s = space("ranged", self.at, (target.space, begin, end))
        return List(s, move(target.content, inc(s)))

    # by key

    def _keyed(self, targets: Sequence[List]) -> Form:
        """The elements of those collections whose keys stand beside the indices; None where the key is another's."""
        (index,) = self.reference.indices
        assert self.reference.key is not None
        top = targets[0].space.parent
        assert top is not None
        whole = joined(targets, top)
        spaces = [target.space for target in targets]

        def element(form: Form) -> Form:
            valid, pair = unwrap(form)
            assert isinstance(pair, Record)
            place, x = self._integer(pair["index"], index)
            told, key = self._integer(pair["key"], str(self.reference.key))
            x = apply("add", [self._checked(x, key, spaces, index), literal(np.int64(0))])
            assert x.space is not None
            inside: list[Node] = []
            at, before = literal(np.int64(-1)), literal(np.int64(0))
            for number, target in zip(self.reference.numbers, spaces, strict=True):
                mine = apply("equal", [key, literal(np.array(number).astype(key.dtype)[()])])
                size = lift(count(target), x.space)
                inside.append(apply("logical_and", [mine, apply("less", [x, size])]))
                at = apply("where", [inside[-1], apply("add", [x, before]), at])
                before = apply("add", [before, size])
            any_ = reduce(lambda a, b: apply("logical_or", [a, b]), inside)
            there = apply("logical_and", [any_, apply("greater_equal", [x, literal(0)])])
            must = both(both(valid, both(place, told)), there)
            m = map_("gather", x.space, whole.space, (at,), False)
            return option(must, moved_option(whole.content, m))

        return self._gathered(self._pairs(at_path(self.own, index), at_path(self.own, self.reference.key)), element)

    def _pairs(self, index: Form, key: Form) -> Form:
        """Indices and their keys, together."""
        match index, key:
            case List(s, x, size), List(other, y, _):
                if s is not other:
                    raise SchemaError(f"{self.title}: the index and the key have different lists")
                return List(s, self._pairs(x, y), size)
            case Option(valid, List() as x), Option(_, List() as y):
                return option(valid, self._pairs(x, y))
        return Record({"index": index, "key": key})

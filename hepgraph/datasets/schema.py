"""Collections out of columns, as a schema says: lists of records, constants, references from one collection to another.

All of it is forms: nothing is read, and a field costs something only when it is used. Nothing overwrites a column.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from hepgraph.datasets.grouping import Grouping, is_list
from hepgraph.datasets.schemafile import Reference, Schema, available, load
from hepgraph.errors import SchemaError, suggestion
from hepgraph.graph.canonical import (
    BOOL,
    TEXT,
    TOTAL,
    TRUE,
    apply,
    both,
    filtered,
    full,
    inc,
    lift,
    ordinal,
    pulled,
    take,
    up,
)
from hepgraph.graph.form import Fields, Form, List, Record, Scalar, change, move, moved_option, option, type_of, unwrap
from hepgraph.graph.node import Node, Space, literal, map_, node, space
from hepgraph.io.required import level_name
from hepgraph.io.source import Column, Origin, RecordLevel
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.join import joined

__all__ = ["EventFields", "RecordFields", "Schema", "available", "events_of", "load"]


def events_of(origin: Origin, schema: Schema) -> Lazy:
    """The lazy events of a dataset."""
    at = space("events", TOTAL, (), origin)
    layout = Grouping(origin, schema)
    _ = layout.names  # a schema that does not fit the file is told of at once
    if list(origin.source.columns) == [""]:
        return Lazy(column_form(origin, origin.source.columns[""], at, 0), at)
    if "" in layout.groups[0]:  # an array of lists of records
        return Lazy(nested_form(origin, layout.groups[0][""], "", at, 0), at)
    return Lazy(Record(EventFields(layout, at)), at)


class EventFields(Fields):
    """The fields of the events: collections and columns, each made when it is first used."""

    @property
    def title(self) -> str:
        """The name of the events in a message."""
        return self.layout.origin.source.name

    @property
    def hidden(self) -> list[str]:
        """Names that are known but not listed: the full names of columns that went into collections, and counts."""
        return [*self.layout.home, *self.layout.counters]

    def advice(self, name: str) -> str:
        """The alternative to a field, where the columns of a collection were left as they are."""
        layout = self.layout
        if layout.schema.separator is not None:
            return ""
        columns = [column for column in layout.origin.source.columns if column.startswith(f"{name}_")]
        if not columns:
            return ""
        columns.sort(key=lambda column: column != f"{name}_pt")  # the best known first
        return (
            f"There are the columns {', '.join(columns[:3])}{', ...' * (len(columns) > 3)}: open the dataset with "
            f'schema="nanoaod" to have them as .{name}.{columns[0].removeprefix(f"{name}_")}.'
        )

    def __init__(self, layout: Grouping, at: Space) -> None:
        self.layout, self.at = layout, at
        self.made: dict[str, Form] = {}

    def __reduce__(self) -> Any:
        return EventFields, (self.layout, self.at)

    def __getitem__(self, name: str) -> Form:
        if name not in self.made:
            self.made[name] = self._make(name)
        return self.made[name]

    @property
    def names(self) -> Collection[str]:  # type: ignore[override]
        """The collections and columns, in the order of the file."""
        return self.layout.names

    def __contains__(self, name: object) -> bool:
        return name in self.layout.names or self._whole(name)

    def _whole(self, name: object) -> bool:
        """Whether this is the full name of a column that went into a collection (`Jet_pt`)."""
        return name in self.layout.origin.source.columns

    def _make(self, name: str) -> Form:
        layout = self.layout
        kind = layout.names.get(name)
        if kind is None and not self._whole(name):
            raise KeyError(name)
        if kind is None:
            return _whole_column(self, name)
        if kind == "nested":
            columns = layout.groups[0][name]
            form = nested_form(layout.origin, columns, name, self.at, 0)
            valid, inner = unwrap(option(_there(layout.origin, columns, "", 0, self.at), form))
            if isinstance(inner, List):
                there, part = unwrap(inner.content)
                content = option(there, self._named(name, part, inner.space))
                return option(valid, List(inner.space, content, inner.size))
            return option(valid, self._named(name, inner, self.at))
        return _collection(self, name)

    def _named(self, name: str, form: Form, at: Space) -> Form:
        """The records of a collection, with its constants, bits and references; what is no record, as it is."""
        if not isinstance(form, Record):
            return form
        return Record(RecordFields(self, name, at, form.fields), self.layout.schema.told(name).record or name)


def _whole_column(events: EventFields, name: str) -> Form:
    """A column by its full name, with the lists of the collection that it went into."""
    layout = events.layout
    column = layout.origin.source.columns[name]
    if name in layout.home:
        collection, rest = layout.home[name]
        form = unwrap(events[collection])[1]
        if isinstance(form, List):
            assert isinstance(form.content, Record)
            return _nullable(layout.origin, column, events.at, List(form.space, form.content[rest], form.size))
    return column_form(layout.origin, column, events.at, 0)


def _nullable(origin: Origin, column: Column, at: Space, form: Form) -> Form:
    """The lists of a column, None where the column says so."""
    if not column.optional_list(0):
        return form
    return option(node("list_valid", (), at, BOOL, (origin, level_name(column, 0), 0)), form)


def _collection(events: EventFields, name: str) -> Form:
    """The form of a collection that is spread over columns with a common prefix.

    All columns share one list: that of the count branch, or else of the first column, None where that is None. When a
    column is read, its own lengths are compared with it.
    """
    layout, at = events.layout, events.at
    columns, lists = layout.groups[1][name], layout.lists(name)
    s = space("leaf", at, (), layout.lengths(name)) if lists else at
    fields = {rest: column_form(layout.origin, column, s, int(s is not at)) for rest, column in columns.items()}
    record = events._named(name, Record(fields), s)
    if not lists:
        return record
    form = List(s, record)
    return form if layout.count_column(name) else _nullable(layout.origin, lists[0], at, form)


def column_form(origin: Origin, column: Column, at: Space, level: int, inside: bool = False) -> Form:
    """The form of one column, from some list level on; `inside` of the records that it is in, or by itself."""
    if level < len(column.levels):
        known = column.levels[level]
        optional = known.nullable if inside else column.optional_list(level)
        key = (origin, level_name(column, level), level)
        return _lists(key, at, known.size, optional, lambda s: column_form(origin, column, s, level + 1, inside))
    if column.problem:
        origin.source.check([column.name])
    dtype = TEXT if column.text else column.dtype
    form = Scalar(node("load", (), at, dtype, (origin, column.name)))
    if column.nullable if inside else column.optional:
        return option(node("load_valid", (), at, BOOL, (origin, column.name, None)), form)
    return form


def _lists(key: Any, at: Space, size: int | None, optional: bool, content: Callable[[Space], Form]) -> Form:
    """The lists of a level of columns, None where the data say so if they may be."""
    s = space("leaf", at, (), key)
    form = List(s, content(s), size)
    return option(node("list_valid", (), at, BOOL, key), form) if optional else form


def nested_form(origin: Origin, columns: Mapping[str, Column], path: str, at: Space, level: int) -> Form:
    """The form of columns with dotted names below a path, lists where the file has them."""
    first = next(iter(columns.values()))
    if level < len(first.levels) and level_name(first, level) == path:
        missing, size = all(column.levels[level].nullable for column in columns.values()), first.levels[level].size
        key = (origin, path, level)
        return _lists(key, at, size, missing, lambda s: nested_form(origin, columns, path, s, level + 1))
    if list(columns) == [path]:
        return column_form(origin, first, at, level, inside=True)
    inside: dict[str, dict[str, Column]] = {}
    prefix = f"{path}." if path else ""
    for name, column in columns.items():
        rest = name.removeprefix(prefix)
        inside.setdefault(rest.partition(".")[0], {})[name] = column
    return option(_there(origin, columns, path, level, at), Record(NestedFields(origin, inside, prefix, at, level)))


def _record_levels(columns: Mapping[str, Column], path: str, level: int) -> tuple[RecordLevel, ...]:
    """The levels of the record that some columns are all in; empty if any of them is in none."""
    key = (path, level)
    found = [[each for each in column.records if (each.name, each.level) == key] for column in columns.values()]
    return tuple(each for levels in found for each in levels) if all(found) else ()


def _there(origin: Origin, columns: Mapping[str, Column], path: str, level: int, at: Space) -> Node:
    """Where a record is not None, as far as its columns say that it may be."""
    levels = _record_levels(columns, path, level)
    some = levels and all(each.nullable for each in levels)
    return node("record_valid", (), at, BOOL, (origin, path)) if some else TRUE


class NestedFields(Fields):
    """The fields of a nested record, each made when it is used."""

    def __init__(
        self,
        origin: Origin,
        inside: dict[str, dict[str, Column]],
        prefix: str,
        at: Space,
        level: int,
    ) -> None:
        self.origin, self.inside, self.prefix, self.at, self.level = origin, inside, prefix, at, level
        self.names = inside

    @property
    def optional(self) -> bool:
        """Whether the file allows that the record is None."""
        columns = {name: column for inner in self.inside.values() for name, column in inner.items()}
        return bool(_record_levels(columns, self.prefix.removesuffix("."), self.level))

    def __getitem__(self, name: str) -> Form:
        return nested_form(self.origin, self.inside[name], f"{self.prefix}{name}", self.at, self.level)


class RecordFields(Fields):
    """The fields of a collection: its columns; known by name but not listed, constants, bits and references."""

    def __init__(self, events: EventFields, name: str, at: Space, own: Mapping[str, Form]) -> None:
        self.events, self.name, self.at = events, name, at
        self.own = dict(own) if not isinstance(own, NestedFields) else own
        told = events.layout.schema.told(name)
        known = events.layout.origin.source.columns
        self.renamed = {
            new: old
            for new, old in told.fields.items()
            if new not in self.own and (old in known or new not in told.constants)
        }
        self.constants = {k: v for k, v in told.constants.items() if k not in self.own and k not in self.renamed}
        self.bits = {
            name: (column, bit)
            for column, names in told.bits.items()
            if column in self.own
            for bit, name in enumerate(names)
            if name not in self.own
        }

    @property
    def optional(self) -> bool:
        """Whether the file allows that the records are None."""
        return isinstance(self.own, NestedFields) and self.own.optional

    @cached_property
    def references(self) -> dict[str, Reference]:
        """References by name."""
        layout = self.events.layout
        found, lost = layout.references(self.name, self.own), layout.origin.source.lost
        return {name: reference for name, reference in found.items() if (self.name, name) not in lost}

    def advice(self, name: str) -> str:
        """Why there is no reference of this name, if one was meant."""
        layout = self.events.layout
        reference = layout.references(self.name, self.own).get(name)
        if reference is not None and name not in self.references:
            return (
                f"{self.name}.{name} leads to {reference.to}, and one of them was cut or changed before it was "
                "computed, so that the index counts in other lists. Take it before computing: "
                f"events.{self.name}.{name}"
            )
        return layout.unclear(self.name, self.own, name)

    @property
    def hidden(self) -> list[str]:
        """Names that are known but not listed: constants, bits and references."""
        return [*self.constants, *self.bits, *self.references]

    def __getitem__(self, name: str) -> Form:
        if name in self.own:
            return self.own[name]
        if name in self.renamed:
            return self._renamed(name)
        if name in self.constants:
            return Scalar(full(_constant(self.constants[name]), self.at))
        if name in self.bits:
            return self._bit(*self.bits[name])
        if name in self.references:
            return self._referred(self.references[name])
        raise KeyError(name)

    @property
    def names(self) -> Collection[str]:  # type: ignore[override]
        """The columns of the collection, and the told fields whose columns the file has."""
        columns = self.events.layout.origin.source.columns
        return [*self.own, *(name for name, column in self.renamed.items() if column in columns)]

    def __contains__(self, name: object) -> bool:
        return any(name in known for known in (self.own, self.renamed, self.constants, self.bits, self.references))

    def _renamed(self, name: str) -> Form:
        layout, column_name = self.events.layout, self.renamed[name]
        column = layout.origin.source.columns.get(column_name)
        if column is None:
            raise SchemaError(
                f"Schema {layout.schema.name}: field {name} of {self.name} is to come from {column_name!r}, which "
                f"is not in {layout.origin.source.name}.\n{suggestion(column_name, layout.origin.source.columns)}"
            )
        if self.at is self.events.at:
            return column_form(layout.origin, column, self.at, 0)
        if not is_list(column):  # one value an event, for each element
            return move(column_form(layout.origin, column, self.events.at, 0), up(self.at))
        return column_form(layout.origin, column, self.at, 1)

    def _bit(self, column: str, bit: int) -> Form:
        def leaf(form: Form) -> Form:
            if not isinstance(form, Scalar) or form.node.dtype.kind not in "iu":
                raise SchemaError(f"{self.name}.{column} has no bits: it holds no integers")
            if bit >= 8 * form.node.dtype.itemsize:
                raise SchemaError(f"{self.name}.{column} has no bit {bit}: it is of {form.node.dtype}")
            one = np.array(1).astype(form.node.dtype)[()]
            return Scalar(apply("not_equal", [apply("bitwise_and", [form.node, literal(one << bit)]), literal(0)]))

        return change(self.own[column], leaf)

    def _referred(self, reference: Reference) -> Form:
        target = unwrap(self.events[reference.to])[1]
        if not isinstance(target, List):
            raise SchemaError(f"{self.name}.{reference.name} points into {reference.to}, which is not a list")
        if reference.inverse:
            return self._pointing_here(reference, target)
        parts = []
        for index in reference.indices:
            valid, number = self._index(reference, self.own[index], index, target.space)
            m = map_("gather", self.at, target.space, (number,), False)
            parts.append(option(valid, moved_option(target.content, m)))
        if len(parts) == 1:
            return parts[0]
        one = space("one", self.at)
        lists = joined([List(one, move(part, up(one))) for part in parts], self.at)
        return List(lists.space, lists.content)  # as NanoEvents has it: of variable length, though all have the same

    def _index(self, reference: Reference, form: Form, index: str, into: Space) -> tuple[Node, Node]:
        """Where an index is there, and the index: checked while running, unless elements are known to be gone."""
        valid, number = unwrap(form)
        if not isinstance(number, Scalar) or number.node.dtype.kind not in "iu":
            raise SchemaError(f"{self.name}.{index} is not an index: it holds {type_of(form)}")
        x = number.node
        if reference.skimmed or into.kind != "leaf":
            return valid, x
        return valid, node("index", (x, into), x.space, x.dtype, (self.name, index, reference.to, reference.name))

    def _pointing_here(self, reference: Reference, target: List) -> Form:
        """Those elements of a collection whose index points at each element of this one."""
        there, record = unwrap(target.content)
        assert isinstance(record, Record)
        near = pulled(target.space, up(self.at))
        valid, index = self._index(reference, record[reference.indices[0]], reference.indices[0], self.at)
        valid, index = take(inc(near), both(there, valid)), take(inc(near), index)
        mine = lift(ordinal(self.at), near)
        some = filtered(near, both(valid, apply("equal", [index, mine])))
        return List(some, move(move(target.content, inc(near)), inc(some)))


def _constant(value: float) -> Any:
    match value:
        case bool():
            return np.bool_(value)
        case int() if abs(value) < 2**31:
            return np.int32(value)
        case int():
            return np.int64(value)
        case _:
            return np.float32(value)

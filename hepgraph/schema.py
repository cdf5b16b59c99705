"""Collections out of columns, as a schema says: lists of records, constants, references from one collection to another.

All of it is forms: nothing is read, and a field costs something only when it is used. Nothing overwrites a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

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
from hepgraph.graph.form import Form, List, Record, Scalar, change, move, moved_option, option, unwrap
from hepgraph.graph.node import Node, Space, literal, map_, node, space
from hepgraph.io.source import Column, Origin, RecordLevel
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.join import joined
from hepgraph.load import level_name
from hepgraph.schemafile import Reference, Schema, available, load

__all__ = ["EventFields", "RecordFields", "Schema", "available", "events_of", "load"]


def events_of(origin: Origin, schema: Schema) -> Lazy:
    """The lazy events of a dataset."""
    at = space("events", TOTAL, (), origin)
    layout = Layout(origin, schema)
    _ = layout.names  # a schema that does not fit the file is told of at once
    if list(origin.source.columns) == [""]:
        return Lazy(column_form(origin, origin.source.columns[""], at, 0), at)
    if "" in layout.groups[0]:  # an array of lists of records
        return Lazy(nested_form(origin, layout.groups[0][""], "", at, 0), at)
    return Lazy(Record(EventFields(layout, at)), at)


class Layout:
    """The columns of a dataset, sorted into collections; worked out once, in the order of the file."""

    def __init__(self, origin: Origin, schema: Schema) -> None:
        self.origin, self.schema = origin, schema

    def __reduce__(self) -> Any:
        return Layout, (self.origin, self.schema)

    @cached_property
    def home(self) -> dict[str, tuple[str, str]]:
        """The collection and the field that the separator makes of a name: `Jet_pt` is `pt` of `Jet`.

        A collection may have separators in its own name where the file counts it (`nProton_multiRP`). Columns that have
        the name of a collection, or hold one value where the others hold lists, stay what they are.
        """
        separator, columns = self.schema.separator, self.origin.source.columns
        if not separator:
            return {}
        heads = {name.partition(".")[0] for name in columns}
        found: dict[str, tuple[str, str]] = {}
        for name in columns:
            head = name.partition(".")[0]
            if head != name or separator not in name or name.startswith(separator) or self._counted(name):
                continue
            collection, rest = self._split(name)
            if rest and collection not in heads:
                found[name] = collection, rest
        jagged = {collection for name, (collection, _) in found.items() if _is_list(columns[name])}
        return {name: home for name, home in found.items() if home[0] not in jagged or _is_list(columns[name])}

    def _split(self, name: str) -> tuple[str, str]:
        separator, columns = self.schema.separator, self.origin.source.columns
        assert separator
        parts = name.split(separator)
        for length in range(len(parts) - 1, 1, -1):
            collection = separator.join(parts[:length])
            if collection in self.schema.collections or self._count_name(collection) in columns:
                return collection, separator.join(parts[length:])
        return parts[0], separator.join(parts[1:])

    def _count_name(self, collection: str) -> str | None:
        return self.schema.counts.replace("{name}", collection) if self.schema.counts else None

    def _counted(self, name: str) -> bool:
        """Whether a column has the name of the lengths of others: it is no field of a collection."""
        if not self.schema.counts:
            return False
        before, _, after = self.schema.counts.partition("{name}")
        if not (name.startswith(before) and name.endswith(after)):
            return False
        counted = name[len(before) : len(name) - len(after)]
        columns, separator = self.origin.source.columns, self.schema.separator
        return bool(counted) and (
            (counted in columns and bool(columns[counted].levels))
            or any(other.startswith(f"{counted}{separator}") for other in columns)
        )

    @cached_property
    def groups(self) -> tuple[dict[str, dict[str, Column]], dict[str, dict[str, Column]]]:
        """Columns by their first name: nested ones (`Muon.pt`), and those that the separator splits (`Muon_pt`)."""
        columns = self.origin.source.columns
        if "" in columns or _outer_lists(columns):
            return {"": dict(columns)}, {}
        nested: dict[str, dict[str, Column]] = {}
        split: dict[str, dict[str, Column]] = {}
        for name, column in columns.items():
            if name in self.home:
                collection, rest = self.home[name]
                split.setdefault(collection, {})[rest] = column
            else:
                nested.setdefault(self._head(name), {})[name] = column
        for collection, told in self.schema.collections.items():  # those that are made of nothing but told fields
            if collection not in nested and any(column in columns for column in told.fields.values()):
                split.setdefault(collection, {})
        return nested, split

    @cached_property
    def names(self) -> dict[str, str]:
        """The top-level fields, in the order of the file, and what each is: `nested` or `split`; counts come last."""
        nested, split = self.groups
        counts = {self.count_column(name) for name in split}
        found: dict[str, str] = {}
        for name in self.origin.source.columns:
            if name in self.home:
                found.setdefault(self.home[name][0], "split")
            elif name not in counts:
                found.setdefault(self._head(name), "nested")
        for name in split:
            found.setdefault(name, "split")
        for name in nested:
            found.setdefault(name, "nested")
        return found

    def _head(self, name: str) -> str:
        """The field that a column is in: the first part of a dotted name, unless that is empty or another column."""
        head = name.partition(".")[0]
        return name if not head or head in self.origin.source.columns else head

    def count_column(self, collection: str) -> str | None:
        """The column with the lengths of a collection, if the file has one; raises if the schema says it must."""
        columns = self.origin.source.columns
        told = self.schema.told(collection).counts
        name = told or self._count_name(collection)
        column = columns.get(name) if name else None
        if column is not None and not column.levels and not column.optional and column.dtype.kind in "iu":
            return name
        if told is None:
            return None
        if column is None:
            raise SchemaError(
                f"Schema {self.schema.name}: the count branch {told!r} of collection {collection} is not in "
                f"{self.origin.source.name}.\n{suggestion(told, columns)}"
            )
        raise SchemaError(
            f"Schema {self.schema.name}: the count branch {told!r} of collection {collection} must hold integers, "
            f"one an event; in {self.origin.source.name} it holds {column.type}."
        )


def _is_list(column: Column) -> bool:
    return bool(column.levels) and column.levels[0].size is None


def _outer_lists(columns: Mapping[str, Column]) -> bool:
    """Whether all columns are inside of one list that has no name: an array of lists of records."""
    return bool(columns) and all(n and c.levels and level_name(c, 0) == "" for n, c in columns.items())


class EventFields(Mapping[str, Form]):
    """The fields of the events: collections and columns, each made when it is first used."""

    @property
    def title(self) -> str:
        """What to call the events in a message."""
        return self.layout.origin.source.name

    @property
    def hidden(self) -> list[str]:
        """Names that are known but not listed: the full names of columns that went into collections."""
        return list(self.layout.home)

    def __init__(self, layout: Layout, at: Space) -> None:
        self.layout, self.at = layout, at
        self.made: dict[str, Form] = {}

    def __reduce__(self) -> Any:
        return EventFields, (self.layout, self.at)

    def __getitem__(self, name: str) -> Form:
        if name not in self.made:
            self.made[name] = self._make(name)
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __contains__(self, name: object) -> bool:
        return name in self.layout.names or self._whole(name)

    def __len__(self) -> int:
        return len(self.layout.names)

    def _whole(self, name: object) -> bool:
        """Whether this is the full name of a column that went into a collection (`Jet_pt`)."""
        return name in self.layout.origin.source.columns

    def _make(self, name: str) -> Form:
        layout = self.layout
        kind = layout.names.get(name)
        if kind is None:
            if not self._whole(name):
                raise KeyError(name)
            return _whole_column(self, name)
        if kind == "nested":
            columns = layout.groups[0][name]
            form = nested_form(layout.origin, columns, name, self.at, 0)
            form = option(_there(layout.origin, columns, "", 0, self.at), form)
            valid, inner = unwrap(form)
            if isinstance(inner, List):
                there, record = unwrap(inner.content)
                if isinstance(record, Record):
                    fields = RecordFields(self, name, inner.space, record.fields)
                    content = option(there, Record(fields, self._record(name)))
                    return option(valid, List(inner.space, content, inner.size))
            if isinstance(inner, Record):
                return option(valid, Record(RecordFields(self, name, self.at, inner.fields), self._record(name)))
            return form
        return _collection(self, name)

    def _record(self, name: str) -> str:
        return self.layout.schema.told(name).record or name


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
    columns, known = layout.groups[1][name], layout.origin.source.columns
    more = [known[column] for column in layout.schema.told(name).fields.values() if column in known]
    lists = [column for column in (*columns.values(), *more) if _is_list(column)]
    record = events._record(name)
    if not lists:
        fields = {rest: column_form(layout.origin, column, at, 0) for rest, column in columns.items()}
        return Record(RecordFields(events, name, at, fields), record)
    counts = layout.count_column(name)
    key = (layout.origin, counts, None) if counts else (layout.origin, level_name(lists[0], 0), 0)
    s = space("leaf", at, (), key)
    fields = {rest: column_form(layout.origin, column, s, 1) for rest, column in columns.items()}
    form = List(s, Record(RecordFields(events, name, s, fields), record))
    return form if counts else _nullable(layout.origin, lists[0], at, form)


def column_form(origin: Origin, column: Column, at: Space, level: int, inside: bool = False) -> Form:
    """The form of one column, from some list level on; `inside` of the records that it is in, or by itself."""
    if level < len(column.levels):
        known = column.levels[level]
        key = (origin, level_name(column, level), level)
        s = space("leaf", at, (), key)
        form: Form = List(s, column_form(origin, column, s, level + 1, inside), known.size)
        optional = known.nullable if inside else column.optional_list(level)
        return option(node("list_valid", (), at, BOOL, key), form) if optional else form
    _readable(origin, column)
    dtype = TEXT if column.text else column.dtype
    form = Scalar(node("load", (), at, dtype, (origin, column.name)))
    if column.nullable if inside else column.optional:
        return option(node("load_valid", (), at, BOOL, (origin, column.name, None)), form)
    return form


def _readable(origin: Origin, column: Column) -> None:
    if column.problem:
        origin.source.check([column.name])


def nested_form(origin: Origin, columns: Mapping[str, Column], path: str, at: Space, level: int) -> Form:
    """The form of columns with dotted names below a path, lists where the file has them."""
    first = next(iter(columns.values()))
    if level < len(first.levels) and level_name(first, level) == path:
        known = first.levels[level]
        key = (origin, path, level)
        s = space("leaf", at, (), key)
        form: Form = List(s, nested_form(origin, columns, path, s, level + 1), known.size)
        missing = all(column.levels[level].nullable for column in columns.values())
        return option(node("list_valid", (), at, BOOL, key), form) if missing else form
    if list(columns) == [path]:
        return column_form(origin, first, at, level, inside=True)
    inside: dict[str, dict[str, Column]] = {}
    prefix = f"{path}." if path else ""
    for name, column in columns.items():
        rest = name.removeprefix(prefix)
        inside.setdefault(rest.partition(".")[0], {})[name] = column
    return option(_there(origin, columns, path, level, at), Record(NestedFields(origin, inside, prefix, at, level)))


def _record_levels(columns: Mapping[str, Column], path: str, level: int) -> tuple[RecordLevel, ...]:
    """What each of some columns says of the record that they are all in; empty if any of them is in none."""
    key = (path, level)
    found = [[each for each in column.records if (each.name, each.level) == key] for column in columns.values()]
    return tuple(each for levels in found for each in levels) if all(found) else ()


def _there(origin: Origin, columns: Mapping[str, Column], path: str, level: int, at: Space) -> Node:
    """Where a record is not None, as far as its columns say that it may be."""
    levels = _record_levels(columns, path, level)
    some = levels and all(each.nullable for each in levels)
    return node("record_valid", (), at, BOOL, (origin, path)) if some else TRUE


class NestedFields(Mapping[str, Form]):
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

    @property
    def optional(self) -> bool:
        """Whether the file allows that the record is None."""
        columns = {name: column for inner in self.inside.values() for name, column in inner.items()}
        return bool(_record_levels(columns, self.prefix.removesuffix("."), self.level))

    def __getitem__(self, name: str) -> Form:
        return nested_form(self.origin, self.inside[name], f"{self.prefix}{name}", self.at, self.level)

    def __iter__(self) -> Iterator[str]:
        return iter(self.inside)

    def __contains__(self, name: object) -> bool:
        return name in self.inside

    def __len__(self) -> int:
        return len(self.inside)


class RecordFields(Mapping[str, Form]):
    """The fields of a collection: its columns; known by name but not listed, constants, bits and references."""

    def __init__(self, events: EventFields, name: str, at: Space, own: Mapping[str, Form]) -> None:
        self.events, self.name, self.at = events, name, at
        self.own = dict(own) if not isinstance(own, NestedFields) else own
        told = events.layout.schema.told(name)
        self.renamed = {new: old for new, old in told.fields.items() if new not in self.own}
        self.constants = {k: v for k, v in told.constants.items() if k not in self.own}
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
        """References by name: those of the schema whose indices are here, and indices that name a collection."""
        schema, others = self.events.layout.schema, self.events.layout.names
        found: dict[str, Reference] = {}
        for reference in schema.references.get(self.name, ()):
            indices = tuple(i for i in reference.indices if reference.inverse or i in self.own)
            if reference.to in others and indices and reference.name not in self.own:
                found[reference.name] = Reference(reference.to, reference.name, indices, reference.inverse)
        known = {other.lower(): other for other in others}
        for index in self.own:
            match = re.fullmatch(r"(\w+?)Idx(G?)(\d*)", index)
            if match and match[1].lower() in known:
                name = f"matched_{match[1]}{match[3]}"
                if name not in self.own:
                    found.setdefault(name, Reference(known[match[1].lower()], name, (index,)))
        return found

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

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self._there

    def __contains__(self, name: object) -> bool:
        return any(name in known for known in (self.own, self.renamed, self.constants, self.bits, self.references))

    def __len__(self) -> int:
        return len(self.own) + len(self._there)

    @property
    def _there(self) -> list[str]:
        """The told fields whose columns the file has."""
        columns = self.events.layout.origin.source.columns
        return [name for name, column in self.renamed.items() if column in columns]

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
        if not _is_list(column):  # one value an event, for each element
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
            valid, number = unwrap(self.own[index])
            if not isinstance(number, Scalar):
                raise SchemaError(f"{self.name}.{index} is not an index")
            m = map_("gather", self.at, target.space, (number.node,), False)
            parts.append(option(valid, moved_option(target.content, m)))
        if len(parts) == 1:
            return parts[0]
        lists = []
        for part in parts:
            valid, content = unwrap(part)
            one = space("one", self.at)
            some = filtered(one, take(up(one), valid))
            lists.append(List(some, move(move(content, up(one)), inc(some))))
        return joined(lists, self.at)

    def _pointing_here(self, reference: Reference, target: List) -> Form:
        """Those elements of a collection whose index points at each element of this one."""
        there, record = unwrap(target.content)
        assert isinstance(record, Record)
        near = pulled(target.space, up(self.at))
        valid, index = unwrap(move(option(there, record[reference.indices[0]]), inc(near)))
        assert isinstance(index, Scalar)
        mine = lift(ordinal(self.at), near)
        some = filtered(near, both(valid, apply("equal", [index.node, mine])))
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

"""Schemas: how flat columns become collections, read from TOML files.

A schema file has these keys, all optional but `name`:

    name = "mine"                 # the name of the schema
    extends = "nanoaod"           # start from another one
    separator = "_"               # Jet_pt is field pt of Jet; without it, columns stay as they are
    counts = "n{name}"            # the column with the lengths of a collection
    [collections.Jet]             # about one collection
    counts = "nJet"               # its lengths; must be there
    record = "Jet"                # the name of its records
    fields = { rawPt = "Jet_pt_raw" }     # more fields, from any column
    constants = { charge = 0 }    # fields with the same value everywhere, where the file has none
    [[references]]                # an index that points into another collection: muon.matched_jet
    from = "Muon"
    index = "jetIdx"              # or several; inverse = true: the index is in `to` and points back at `from`
    to = "Jet"
    name = "matched_jet"

Nothing overwrites a column of the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hepgraph.errors import SchemaError, suggestion
from hepgraph.graph.canonical import (
    BOOL,
    TEXT,
    TOTAL,
    apply,
    defined,
    filtered,
    full,
    inc,
    lift,
    ordinal,
    pulled,
    take,
    up,
)
from hepgraph.graph.form import Form, List, Record, Scalar, move, moved_option, option, unwrap
from hepgraph.graph.node import Space, map_, node, space
from hepgraph.io.source import Column, Origin
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.join import joined
from hepgraph.load import level_name


@dataclass(frozen=True)
class Collection:
    """What a schema says of one collection."""

    counts: str | None = None
    record: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """An index column, or several, that point into a collection; `inverse` for those that point back at an element."""

    to: str
    name: str
    indices: tuple[str, ...] = ()
    inverse: bool = False


@dataclass(frozen=True)
class Schema:
    """How columns become collections."""

    name: str
    separator: str | None = None
    counts: str | None = None
    collections: Mapping[str, Collection] = field(default_factory=dict)
    references: Mapping[str, tuple[Reference, ...]] = field(default_factory=dict)


_TOP = {"name", "title", "extends", "separator", "counts", "collections", "references"}
_COLLECTION = {"counts", "record", "fields", "constants"}
_REFERENCE = {"from", "index", "to", "name", "inverse"}


def load(name: str | Path | Schema) -> Schema:
    """A schema by its name (`nanoaod`, `base`) or by the path of a TOML file; raises SchemaError."""
    if isinstance(name, Schema):
        return name
    return _load(str(name))


@lru_cache(maxsize=64)
def _load(name: str) -> Schema:
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise SchemaError(f"No schema file {name!r}.")
        return _read(path.read_text(), name)
    known = available()
    if name not in known:
        raise SchemaError(f"No schema {name!r}. {suggestion(name, known)} Or give the path of a TOML file.")
    return _read(resources.files("hepgraph.schemas").joinpath(f"{name}.toml").read_text(), name)


def available() -> list[str]:
    """The names of the schemas that come with hepgraph.

    >>> available()
    ['base', 'nanoaod']
    """
    found = resources.files("hepgraph.schemas").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in found if entry.name.endswith(".toml"))


def _read(text: str, where: str) -> Schema:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"The schema {where} is not valid TOML: {error}") from error
    _check(table, _TOP, where, "")
    if not isinstance(table.get("name"), str):
        raise SchemaError(f"The schema {where} has no name; write name = '...' at its top.")
    below = load(table["extends"]) if "extends" in table else Schema(table["name"])
    collections = dict(below.collections)
    for name, entry in table.get("collections", {}).items():
        _check(entry, _COLLECTION, where, f"collections.{name}")
        old = collections.get(name, Collection())
        collections[name] = Collection(
            entry.get("counts", old.counts),
            entry.get("record", old.record),
            {**old.fields, **entry.get("fields", {})},
            {**old.constants, **entry.get("constants", {})},
        )
    references = dict(below.references)
    for entry in table.get("references", []):
        _check(entry, _REFERENCE, where, "[references]")
        if missing := {"from", "index", "to", "name"} - set(entry):
            raise SchemaError(f"The schema {where} has a reference without {', '.join(sorted(missing))}: {entry}.")
        indices = (entry["index"],) if isinstance(entry["index"], str) else tuple(entry["index"])
        made = Reference(entry["to"], entry["name"], indices, entry.get("inverse", False))
        references[entry["from"]] = (*references.get(entry["from"], ()), made)
    return Schema(
        table["name"],
        table.get("separator", below.separator),
        table.get("counts", below.counts),
        collections,
        references,
    )


def _check(table: Mapping[str, Any], known: set[str], where: str, part: str) -> None:
    for key in table:
        if key not in known:
            inside = f" in [{part}]" if part else ""
            raise SchemaError(
                f"The schema {where} has an unknown key {key!r}{inside}.\n{suggestion(key, sorted(known))}"
            )


# forms out of columns


def events_of(origin: Origin, schema: Schema) -> Lazy:
    """The lazy events of a dataset."""
    at = space("events", TOTAL, (), origin)
    layout = Layout(origin, schema)
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
    def groups(self) -> tuple[dict[str, dict[str, Column]], dict[str, dict[str, Column]]]:
        """Columns by their first name: nested ones (`Muon.pt`), and those that the separator splits (`Muon_pt`)."""
        nested: dict[str, dict[str, Column]] = {}
        split: dict[str, dict[str, Column]] = {}
        separator = self.schema.separator
        columns = self.origin.source.columns
        if any(name.split(".")[0] == "" for name in columns) or _outer_lists(columns):
            return {"": dict(columns)}, {}
        for name, column in columns.items():
            head = name.partition(".")[0]
            if head != name:
                nested.setdefault(head, {})[name] = column
            elif separator and separator in name and not name.startswith(separator):
                collection, _, rest = name.partition(separator)
                split.setdefault(collection, {})[rest] = column
            else:
                nested.setdefault(name, {})[name] = column
        return nested, split

    @cached_property
    def names(self) -> dict[str, str]:
        """The top-level fields, in the order of the file, and what each is: `nested`, `split` or `column`."""
        nested, split = self.groups
        found: dict[str, str] = {}
        counted = {self.count_column(name): name for name in split}
        for name in self.origin.source.columns:
            head = name.partition(".")[0]
            if head in nested and head not in found and (head != name or head not in counted):
                found[head] = "nested"
            separator = self.schema.separator
            if separator and head == name:
                collection = name.partition(separator)[0]
                if collection in split and collection != name:
                    found.setdefault(collection, "split")
        for name in counted:
            if name is not None and name in nested:
                found.setdefault(name, "nested")
        return found

    def count_column(self, collection: str) -> str | None:
        """The column with the lengths of a collection, if the file has one; raises if the schema says it must."""
        columns = self.origin.source.columns
        told = self.schema.collections.get(collection, Collection()).counts
        if told is not None:
            if told not in columns:
                raise SchemaError(
                    f"Schema {self.schema.name}: the count branch {told!r} of collection {collection} is not in "
                    f"{self.origin.source.name}.\n{suggestion(told, columns)}"
                )
            return told
        if self.schema.counts is None:
            return None
        name = self.schema.counts.format(name=collection)
        column = columns.get(name)
        return name if column is not None and not column.levels and column.dtype.kind in "iu" else None


def _outer_lists(columns: Mapping[str, Column]) -> bool:
    """Whether all columns are inside of one list that has no name: an array of lists of records."""
    return bool(columns) and all(n and c.levels and level_name(c, 0) == "" for n, c in columns.items())


class EventFields(Mapping[str, Form]):
    """The fields of the events: collections and columns, each made when it is first used."""

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
            form = nested_form(layout.origin, layout.groups[0][name], name, self.at, 0)
            valid, inner = unwrap(form)
            if isinstance(inner, List) and isinstance(inner.content, Record):
                record = inner.content
                fields = RecordFields(self, name, inner.space, dict(record.fields))
                return option(valid, List(inner.space, Record(fields, self._record(name)), inner.size))
            return form
        return _collection(self, name)

    def _record(self, name: str) -> str:
        return self.layout.schema.collections.get(name, Collection()).record or name


def _whole_column(events: EventFields, name: str) -> Form:
    separator = events.layout.schema.separator
    if separator and separator in name:
        collection, _, rest = name.partition(separator)
        form = events[collection]
        if isinstance(form, List) and isinstance(form.content, Record) and rest in form.content.fields:
            return List(form.space, form.content[rest], form.size)
    column = events.layout.origin.source.columns[name]
    return column_form(events.layout.origin, column, events.at, 0)


def _collection(events: EventFields, name: str) -> Form:
    """The form of a collection that is spread over columns with a common prefix."""
    layout, at = events.layout, events.at
    columns = layout.groups[1][name]
    lists = [column for column in columns.values() if column.levels and column.levels[0].size is None]
    counts = layout.count_column(name)
    record = events._record(name)
    if not lists or (len(lists) < len(columns) and counts is None):
        fields = {rest: column_form(layout.origin, column, at, 0) for rest, column in columns.items()}
        return Record(RecordFields(events, name, at, fields), record)
    if len(lists) < len(columns):
        odd = next(c for c in columns.values() if c not in lists)
        raise SchemaError(
            f"Schema {layout.schema.name}: collection {name} has lists ({lists[0].name}) and single values ({odd.name}); "
            "open the file with schema='base', or name its fields in a schema of your own."
        )
    key = (layout.origin, counts, None) if counts else (layout.origin, level_name(lists[0], 0), 0)
    s = space("leaf", at, (), key)
    fields = {}
    for rest, column in columns.items():
        own = (layout.origin, level_name(column, 0), 0)
        if counts or own == key:
            fields[rest] = column_form(layout.origin, column, s, 1)
        else:
            lone = space("leaf", at, (), own)
            fields[rest] = move(column_form(layout.origin, column, lone, 1), map_("align", s, lone))
    return List(s, Record(RecordFields(events, name, s, fields), record))


def column_form(origin: Origin, column: Column, at: Space, level: int) -> Form:
    """The form of one column, from some list level on."""
    if level < len(column.levels):
        known = column.levels[level]
        key = (origin, level_name(column, level), level)
        s = space("leaf", at, (), key)
        form: Form = List(s, column_form(origin, column, s, level + 1), known.size)
        return option(node("list_valid", (), at, BOOL, key), form) if known.nullable else form
    _readable(origin, column)
    dtype = TEXT if column.text else column.dtype
    form = Scalar(node("load", (), at, dtype, (origin, column.name)))
    if column.nullable:
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
        return column_form(origin, first, at, level)
    inside: dict[str, dict[str, Column]] = {}
    prefix = f"{path}." if path else ""
    for name, column in columns.items():
        rest = name.removeprefix(prefix)
        inside.setdefault(rest.partition(".")[0], {})[name] = column
    return Record(NestedFields(origin, inside, prefix, at, level))


class NestedFields(Mapping[str, Form]):
    """The fields of a nested record, each made when it is used."""

    def __init__(
        self, origin: Origin, inside: dict[str, dict[str, Column]], prefix: str, at: Space, level: int
    ) -> None:
        self.origin, self.inside, self.prefix, self.at, self.level = origin, inside, prefix, at, level

    def __getitem__(self, name: str) -> Form:
        return nested_form(self.origin, self.inside[name], f"{self.prefix}{name}", self.at, self.level)

    def __iter__(self) -> Iterator[str]:
        return iter(self.inside)

    def __contains__(self, name: object) -> bool:
        return name in self.inside

    def __len__(self) -> int:
        return len(self.inside)


class RecordFields(Mapping[str, Form]):
    """The fields of a collection: its columns; and, known by name but not listed, constants and references."""

    def __init__(self, events: EventFields, name: str, at: Space, own: Mapping[str, Form]) -> None:
        self.events, self.name, self.at = events, name, at
        self.own = dict(own) if not isinstance(own, NestedFields) else own
        schema = events.layout.schema
        told = schema.collections.get(name, Collection())
        self.renamed = {new: old for new, old in told.fields.items() if new not in self.own}
        self.constants = {k: v for k, v in told.constants.items() if k not in self.own}

    @cached_property
    def references(self) -> dict[str, Reference]:
        """References by name: those of the schema whose indices are here, and indices that name a collection."""
        schema, others = self.events.layout.schema, self.events.layout.names
        found: dict[str, Reference] = {}
        for reference in schema.references.get(self.name, ()):
            indices = tuple(i for i in reference.indices if reference.inverse or i in self.own)
            if reference.to in others and indices and reference.name not in self.own:
                found[reference.name] = Reference(reference.to, reference.name, indices, reference.inverse)
        taken = {index for reference in found.values() for index in reference.indices}
        known = {other.lower(): other for other in others}
        for index in self.own:
            match = re.fullmatch(r"(\w+?)Idx(G?)(\d*)", index)
            if match and index not in taken and match[1].lower() in known:
                name = f"matched_{match[1]}{match[3]}"
                if name not in self.own:
                    found.setdefault(name, Reference(known[match[1].lower()], name, (index,)))
        return found

    def __getitem__(self, name: str) -> Form:
        if name in self.own:
            return self.own[name]
        if name in self.renamed:
            return self._renamed(name)
        if name in self.constants:
            return Scalar(
                full(
                    np.float32(self.constants[name])
                    if isinstance(self.constants[name], float)
                    else np.int32(self.constants[name]),
                    self.at,
                )
            )
        if name in self.references:
            return self._referred(self.references[name])
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self.renamed

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.renamed or name in self.constants or name in self.references

    def __len__(self) -> int:
        return len(self.own) + len(self.renamed)

    def _renamed(self, name: str) -> Form:
        layout, column_name = self.events.layout, self.renamed[name]
        column = layout.origin.source.columns.get(column_name)
        if column is None:
            raise SchemaError(
                f"Schema {layout.schema.name}: field {name} of {self.name} is to come from {column_name!r}, which is not in "
                f"{layout.origin.source.name}.\n{suggestion(column_name, layout.origin.source.columns)}"
            )
        if self.at is self.events.at:
            return column_form(layout.origin, column, self.at, 0)
        return column_form(layout.origin, column, self.at, 1)

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
        assert isinstance(target.content, Record)
        near = pulled(target.space, up(self.at))
        _, index = unwrap(move(target.content[reference.indices[0]], inc(near)))
        assert isinstance(index, Scalar)
        mine = lift(ordinal(self.at), near)
        some = filtered(near, apply("equal", [index.node, mine]))
        return List(some, move(move(target.content, inc(near)), inc(some)))

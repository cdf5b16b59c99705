"""Collections out of columns, as a schema says: lists of records, constants, references from one collection to another.

All of it is forms: nothing is read, and a field costs something only when it is used. Nothing overwrites a column.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from hepgraph.datasets.copies import CopyForms
from hepgraph.datasets.derived import Bit, Expression, paths_of
from hepgraph.datasets.elements import (
    DealtFields,
    NestedFields,
    TreeFields,
    column_form,
    first_of,
    heads,
    nested_form,
    nullable,
    there,
)
from hepgraph.datasets.grouping import Grouping, is_list
from hepgraph.datasets.references import ReferenceForms
from hepgraph.datasets.schemafile import Reference, Schema, available, load
from hepgraph.datasets.variations import bases_of, lacking, with_alternatives
from hepgraph.errors import DisagreementError, SchemaError, SourceError, UnsupportedError, either, suggestion
from hepgraph.graph.canonical import TOTAL, TRUE, full, up
from hepgraph.graph.form import (
    Fields,
    Form,
    Formula,
    List,
    Maps,
    Record,
    Scalar,
    Whole,
    move,
    option,
    record_of,
    same,
    unwrap,
    within,
)
from hepgraph.graph.node import Space, map_, space
from hepgraph.io.agreement import accompanied, sharing, standing_in, varying
from hepgraph.io.source import Origin
from hepgraph.lazy.array import Lazy

__all__ = ["EventFields", "RecordFields", "Schema", "available", "events_of", "load"]


def events_of(origin: Origin, schema: Schema) -> Lazy:
    """The lazy events of a dataset."""
    schema = schema.version(origin.source.columns)
    bases = bases_of(origin, schema)
    values, copied = lacking(origin.source, schema, bases)
    if values or copied:
        origin = Origin.of(standing_in(origin.source, values, copied), origin.access)
        if others := Grouping(origin, schema).companions:
            origin = Origin.of(accompanied(origin.source, others), origin.access)
    if bases:
        known = {name: base for name, base in bases.items() if base is not None}
        origin = Origin.of(varying(origin.source, known), origin.access)
    at = space("events", TOTAL, (), origin)
    layout = Grouping(origin, schema)
    if shared := layout.shared:
        layout = Grouping(Origin.of(sharing(origin.source, shared), origin.access), schema)
        origin = layout.origin
        at = space("events", TOTAL, (), origin)
    layout = with_alternatives(layout)
    _ = layout.names  # a schema that does not fit the file is told of at once
    if list(origin.source.columns) == [""]:
        return Lazy(column_form(origin, origin.source.columns[""], at, 0), at)
    if "" in layout.groups[0]:  # an array of lists of records
        return Lazy(nested_form(origin, layout.groups[0][""], "", at, 0), at)
    return Lazy(Record(EventFields(layout, at)), at)


class EventFields(Whole):
    """The fields of the events: collections and columns, each made when it is first used.

    References lead from one to the other. Where fields were set (`events["Jet"] = jets`), they lead to these: `given`
    has them as they were given, None where references cannot follow; `file` is what the file has.
    """

    @property
    def title(self) -> str:
        """The name of the events in a message."""
        return self.layout.origin.source.name

    @property
    def hidden(self) -> list[str]:
        """Names that are known but not listed: the full names of columns that went into collections, and counts."""
        return [*self.layout.home, *self.layout.counters, *self.layout.aliases]

    def advice(self, name: str) -> str:
        """The alternative to a field, where the columns of a collection were left as they are."""
        layout = self.layout
        source = layout.origin.source
        late = [column for (head, _), column in layout.late.items() if name in (head, column)]
        if late:
            return source.lacking(late[0])
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

    def __init__(
        self,
        layout: Grouping,
        at: Space,
        file: EventFields | None = None,
        given: Mapping[str, Form | None] | None = None,
    ) -> None:
        self.layout, self.at = layout, at
        self.file, self.given = file or self, given or {}
        self.made: dict[str, Form] = {}

    def __reduce__(self) -> Any:
        file = None if self.file is self else self.file
        worlds = None if self.worlds is None else (dict(self.worlds), self.joint, dict(self.crossed))
        return EventFields, (self.layout, self.at, file, dict(self.given)), worlds

    def __setstate__(self, worlds: Any) -> None:
        self.worlds, self.joint, self.crossed = worlds

    def setting(self, new: Mapping[str, Form], moved: Maps) -> EventFields:
        """The events with some fields set, to which references lead from now on."""
        aliases = self.layout.aliases  # forms keep to the file, so that they do not hold on to all events before
        known = {aliases.get(name, name): None if moved else within(form, self.file) for name, form in new.items()}
        return EventFields(self.layout, self.at, self.file, {**self.given, **known})

    @property
    def whole(self) -> EventFields:  # type: ignore[override]
        """The events themselves."""
        return self

    def within(self, whole: Whole) -> Fields:
        """The other events, if they are of the same dataset."""
        return whole if isinstance(whole, EventFields) and whole.file is self.file else self

    @cached_property
    def targets(self) -> frozenset[str]:
        """The collections into which references lead."""
        found: set[str] = set()
        for name in self.layout.names:
            try:
                record = record_of(self.file[name])
            except (SourceError, SchemaError):  # said when it is asked for
                continue
            if record is not None and isinstance(record.fields, RecordFields):
                found.update(to for reference in record.fields.references.values() for to in reference.into)
        return frozenset(found)

    def equals(self, other: Fields, top: bool) -> bool:
        """Whether references lead to the same; at the top, to what varies together."""
        if not isinstance(other, EventFields) or self.file is not other.file:
            return False
        return (top and self.worlds is not None and self.worlds is other.worlds) or all(
            (mine := self.as_given(name)) is not None and (its := other.as_given(name)) is not None and same(mine, its)
            for name in {*self.given, *other.given}
        )

    def as_given(self, name: str) -> Form | None:
        """A field as it was set, or as the file has it; None where there is none to which references can lead."""
        if name in self.given:
            return self.given[name]
        return self.file.get(name)

    def __getitem__(self, name: str) -> Form:
        if name not in self.made:
            self.made[name] = self._make(name) if self.file is self else self._followed(name)
        return self.made[name]

    def _followed(self, name: str) -> Form:
        """A field of these events or, where it was set after they were moved, as it was set."""
        form = self.as_given(self.layout.aliases.get(name, name))
        return within(self.file[name] if form is None else form, self)

    @property
    def names(self) -> Collection[str]:  # type: ignore[override]
        """The collections and columns, in the order of the file."""
        return self.layout.names

    def __contains__(self, name: object) -> bool:
        return name in self.layout.names or name in self.layout.aliases or self._whole(name)

    def _whole(self, name: object) -> bool:
        """Whether this is the full name of a column that went into a collection (`Jet_pt`)."""
        return name in self.layout.origin.source.columns

    def _make(self, name: str) -> Form:
        layout = self.layout
        if name in layout.aliases:
            return self[layout.aliases[name]]
        kind = layout.names.get(name)
        if kind is None:
            if not self._whole(name):
                raise KeyError(name)
            return _whole_column(self, name)
        if kind == "nested":
            columns = layout.groups[0][name]
            form = nested_form(layout.origin, columns, name, self.at, 0)
            form = option(there(layout.origin, columns, "", 0, self.at), form)
            valid, inner = unwrap(form)
            if isinstance(inner, List):
                valid_record, record = unwrap(inner.content)
                if isinstance(record, Record):
                    fields = RecordFields(self, name, inner.space, record.fields)
                    content = option(valid_record, Record(fields, self._record(name)))
                    return option(valid, List(inner.space, content, inner.size))
            if isinstance(inner, Record):
                return option(valid, Record(RecordFields(self, name, self.at, inner.fields), self._record(name)))
            return form
        return _collection(self, name)

    def _record(self, name: str) -> str:
        return self.layout.told(name).record or name


def _whole_column(events: EventFields, name: str) -> Form:
    """A column by its full name, with the lists of the collection that it went into."""
    layout = events.layout
    column = layout.origin.source.columns[name]
    if name in layout.home:
        collection, rest = layout.home[name]
        form = unwrap(events[collection])[1]
        if isinstance(form, List) and "." not in rest and rest not in layout.dealt(collection):
            assert isinstance(form.content, Record)
            return nullable(layout.origin, column, events.at, List(form.space, form.content[rest], form.size))
    return column_form(layout.origin, column, events.at, 0)


def _collection(events: EventFields, name: str) -> Form:
    """The form of a collection that is spread over columns with a common prefix.

    All columns share one list: that of the count branch, or else of the first column, None where that is None. When a
    column is read, its own lengths are compared with it.
    """
    layout, at = events.layout, events.at
    columns, lists = layout.groups[1][name], layout.lists(name)
    record = events._record(name)
    if not lists:
        return Record(RecordFields(events, name, at, TreeFields(layout.origin, heads(columns), at, 0)), record)
    s = space("leaf", at, (), layout.lengths(name))
    fields, dealt = TreeFields(layout.origin, heads(columns), s, 1), layout.dealt(name)
    own = DealtFields(fields, dealt, at, name) if dealt else fields
    form = List(s, Record(RecordFields(events, name, s, own), record))
    if layout.told(name).singleton:
        one = space("one", at)
        return move(move(form.content, map_("match", one, s, (TRUE,))), map_("only", at, one))
    return form if layout.count_column(name) else nullable(layout.origin, lists[0], at, form)


class RecordFields(Fields):
    """The fields of a collection: its columns; known by name but not listed, constants, bits and references."""

    def __init__(self, events: EventFields, name: str, at: Space, own: Mapping[str, Form]) -> None:
        self.events, self.name, self.at = events, name, at
        self.own = own
        told = events.layout.told(name)
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
        self.derived = {
            new: text
            for new, text in told.derived.items()
            if new not in self.own and new not in self.renamed and all(map(self._has, paths_of(text)))
        }
        self.constants = {name: value for name, value in self.constants.items() if name not in self.derived}
        self._formulas: dict[str, Formula | None] = {}

    def within(self, whole: Whole) -> RecordFields:
        """The same fields, references leading into other events of the same dataset."""
        assert isinstance(whole, EventFields)
        if whole is self.events or whole.layout is not self.events.layout:
            return self
        new = copy.copy(self)
        new.events = whole
        return new

    @property
    def whole(self) -> EventFields:  # type: ignore[override]
        """The events into which references lead."""
        return self.events

    def equals(self, other: Fields, top: bool) -> bool:
        """Whether these are the same fields, and references lead to the same; at the top, to what varies together."""
        if not isinstance(other, RecordFields) or self.own is not other.own or self.name != other.name:
            return False
        return self.events is other.events or self.events.equals(other.events, top)

    @cached_property
    def links(self) -> Collection[str]:  # type: ignore[override]
        """The references, and what may be made of them."""
        return frozenset((*self.references, *self.derived))

    def _has(self, path: str) -> bool:
        """Whether a field is one of the collection, by itself or by the schema."""
        known = (self.own, self.renamed, self.constants, self.bits)
        told = self.events.layout.told(self.name).derived
        return any(path in some for some in known) or path in told or self.events.layout.has(self.name, self.own, path)

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
        if late := layout.late.get((self.name, name)):
            return layout.origin.source.lacking(late)
        return layout.unclear(self.name, self.own, name) or self._lacking(name)

    def _lacking(self, name: str) -> str:
        """The columns that a field of the schema would be made of, where the file does not have them."""
        layout = self.events.layout
        told = layout.told(self.name)
        lacking = [column for column, names in told.bits.items() if name in names and column not in self.own]
        lacking += [path for path in sorted(paths_of(told.derived.get(name, "0"))) if not self._has(path)]
        if not lacking:
            return ""
        said = f"{self.name}.{name} is made of {either(lacking)}, which {layout.origin.source.name} does not have."
        return f"{said}\n{told.docs[name]}" if name in told.docs else said

    @property
    def hidden(self) -> list[str]:
        """Names that are known but not listed: constants, bits and references."""
        return [*self.constants, *self.derived, *self.bits, *self.references]

    def __getitem__(self, name: str) -> Form:
        if name in self.own:
            return self.own[name]
        layout = self.events.layout
        if (late := layout.late.get((self.name, name))) is not None and name in self:
            raise DisagreementError(layout.origin.source.lacking(late))
        if name in self.renamed:
            return self._renamed(name)
        if name in self.constants:
            return Scalar(full(_constant(self.constants[name]), self.at))
        if (formula := self.formula(name)) is not None:
            return formula.form(Record(self))
        if name in self.references:
            return self._referred(self.references[name])
        raise KeyError(name)

    @property
    def names(self) -> Collection[str]:  # type: ignore[override]
        """The columns of the collection, and the told fields whose columns the file has."""
        return [*self.own, *self._there]

    def __contains__(self, name: object) -> bool:
        return (
            name in self.own
            or name in self.renamed
            or name in self.constants
            or name in self.bits
            or name in self.derived
            or name in self.references
        )

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
        if not is_list(column):  # one value an event, for each element
            return move(column_form(layout.origin, column, self.events.at, 0), up(self.at))
        return column_form(layout.origin, column, self.at, 1)

    def formula(self, name: str) -> Formula | None:
        """The formula of a derived field or a bit; raises SchemaError for fields that need each other."""
        if name not in self._formulas:
            self._formulas[name] = self._formula(name)
        return self._formulas[name]

    def _formula(self, name: str) -> Formula | None:
        if name in self.derived:
            if way := self._way_back(name):
                schema = self.events.layout.schema.name
                raise SchemaError(f"Schema {schema}: fields of {self.name} need each other: {' -> '.join(way)}.")
            return Expression(self.derived[name])
        if name in self.own or name in self.renamed or name not in self.bits:
            return None
        return Bit(*self.bits[name], self.name)

    def _way_back(self, name: str) -> list[str]:
        """The way by which a derived field needs itself; empty if it does not."""
        waiting, seen = [[name]], {name}
        while waiting:
            way = waiting.pop()
            for path in sorted(paths_of(self.derived[way[-1]])):
                if path == name:
                    return [*way, name]
                if path in self.derived and path not in seen:
                    seen.add(path)
                    waiting.append([*way, path])
        return []

    def _referred(self, reference: Reference) -> Form:
        events = self.events
        if events.joint is events:
            raise UnsupportedError(
                f"This operation takes no reference that leads to what is varied; take it before: {self.name}."
                f"{reference.name}."
            )
        reference = events.layout.keyed(self.name, reference)
        targets = [(name, events.file[name], events.as_given(name) and events[name]) for name in reference.into]
        kind = ReferenceForms if reference.until is None else CopyForms
        form = kind(self.name, self.at, Record(self), reference).form(targets)
        return first_of(form, self.at) if reference.first else form


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

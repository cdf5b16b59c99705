"""The events of one range as awkward arrays that read a column when it is touched.

They are built from the schema's forms, each buffer a callable: touching one evaluates one item of the graph with the
interpreter, which reads the columns below it, one by one, and checks that their lists agree.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.datasets.grouping import matched
from hepgraph.datasets.schema import RecordFields
from hepgraph.errors import FieldError, SchemaError, SourceError
from hepgraph.graph.canonical import TEXT
from hepgraph.graph.form import Form, List, Option, Record, Scalar, move, unwrap
from hepgraph.graph.interpreter import Interpreter, build
from hepgraph.graph.node import Item, Map, Node, Space, node, ordered
from hepgraph.io.required import Loaded, holder, level_name, record_holder, witness
from hepgraph.io.source import Access, Data, Need, Origin, Partition
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.behavior import (
    CONTEXT,
    HIDDEN,
    NAMELESS,
    Shown,
    in_memory,
    new_serial,
    particles,
    positions,
    record_names,
)
from hepgraph.lazy.kinematics import coordinates
from hepgraph.processor.state import fresh

EVENTS = "Events"  # the name of the records of events


def eager_events(events: Lazy, partition: Partition) -> Any:
    """The events of one range as an awkward array that reads a column when it is touched."""
    return Chunk(events, partition).array(Blueprint.of(events._form, EVENTS))


# reading


class OnDemand(Loaded):
    """The columns of one partition, each read when it is asked for."""

    def __init__(self, main: Origin, partition: Partition, access: Access | None = None) -> None:
        super().__init__(main, partition, {main: {}}, access)
        self.main, self.bytes, self.cached, self.seconds = main, 0, 0, 0.0
        self._told: dict[tuple[Origin, str], Any] = {}  # columns of lengths, and those whose lists must have them
        self.failure: OSError | MemoryError | None = None  # a read that failed, whatever became of the error
        self._beside = Partition("<memory>", "", partition.first, partition.first + len(partition), partition.first)

    def _read(self, origin: Origin, column: str, need: Need = Need.DATA) -> Data:
        have = self.data.setdefault(origin, {})
        found = have.get(column)
        if found is None or (found.values is None and need is Need.DATA):
            start = time.perf_counter()
            place, access = (self.partition, self.access) if origin == self.main else (self._beside, origin.access)
            try:
                found = have[column] = origin.source.fetch(place, {column: need}, access)[column]
            except (OSError, MemoryError) as error:
                if hasattr(error, "read_from"):
                    self.failure = error
                raise
            self.seconds += time.perf_counter() - start
            self.cached += found.cached
            self.bytes += (0 if found.values is None else found.values.nbytes) + sum(o.nbytes for o in found.offsets)
        return found

    def _holder(self, origin: Origin, name: str, level: int) -> Data:
        for column, data in self.data.setdefault(origin, {}).items():
            levels = origin.source.columns[column].levels
            if len(levels) > level and level_name(origin.source.columns[column], level) == name:
                return data
        return self._read(origin, holder(origin.source, name, level).name, Need.COUNTS)

    def offsets(self, origin: Origin, column: str, level: Any) -> Any:
        """The offsets of a list level."""
        if not isinstance(level, int):
            self._read(origin, column)
            if level:
                self._told[origin, column] = level
        return super().offsets(origin, column, level)

    def prove(self) -> None:
        """Raises if lengths that were read are not those of the lists, where no list was looked at since."""
        for (origin, column), names in self._told.items():
            if not any(name in self.data[origin] for name in names):
                self._read(origin, witness(origin.source, names), Need.COUNTS)
            super().offsets(origin, column, names)

    def values(self, origin: Origin, column: str) -> Any:
        """The flat values of a column."""
        self._read(origin, column)
        return super().values(origin, column)

    def valid(self, origin: Origin, column: str, level: int | None) -> Any:
        """Which values or lists are not None."""
        if level is None:  # also where no more than its lengths were read before
            self._read(origin, column)
        return super().valid(origin, column, level)

    def record_valid(self, origin: Origin, name: str) -> Any:
        """Which records of this name are not None."""
        have = self.data.setdefault(origin, {})
        if not any(record.name == name for column in have for record in origin.source.columns[column].records):
            self._read(origin, record_holder(origin.source, name).name)
        return super().record_valid(origin, name)


class _Evaluator(Interpreter):
    """An interpreter that also knows the position of each element in its space."""

    serial = 0

    def value(self, item: Item) -> Any:
        if isinstance(item, Node) and item.op == "position":
            assert item.space is not None
            return positions(self.serial, self.size(item.space))
        return super().value(item)


class Chunk:
    """One range of a dataset, evaluated as far as it is looked at."""

    def __init__(
        self, events: Lazy, partition: Partition, serial: int | None = None, access: Access | None = None
    ) -> None:
        self.events, self.partition = events, partition
        self.serial = new_serial() if serial is None else serial
        self.columns = OnDemand(events._origin, partition, access)
        self.interpreter = _Evaluator(self.columns)
        self.interpreter.serial = self.serial
        self._texts: dict[Item, Any] = {}
        self._referred: dict[tuple[str, str], Any] = {}

    def __deepcopy__(self, memo: Any) -> Chunk:
        return self

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the dataset; changes that a processor makes stay with it."""
        return fresh(self.events.metadata)  # type: ignore[no-any-return]

    def array(self, blueprint: Blueprint) -> Any:
        """The events as an array."""
        layout = self.layout(blueprint, len(self.partition))
        made = EventsArray if layout.is_record else ak.Array
        return made(layout, behavior=blueprint.behavior, attrs={CONTEXT: self})

    def layout(self, blueprint: Blueprint, size: int) -> Any:
        """The layout of a form, each buffer to be evaluated when it is touched."""
        container = {key: partial(self.buffer, *recipe) for key, recipe in blueprint.recipes.items()}
        return ak.from_buffers(blueprint.form, size, container, highlevel=False)

    def buffer(self, kind: str, item: Item) -> Any:
        """One buffer, by what is to be made of an item."""
        match kind:
            case "offsets":
                return np.asarray(self.value(item).offsets, np.int64)
            case "index":
                valid = self.value(item)
                return np.where(valid, np.arange(len(valid)), -1)
            case "data":
                return np.ascontiguousarray(self.value(item))
        if item not in self._texts:
            self._texts[item] = build(Scalar(item), self.value, 0)  # type: ignore[arg-type]
        text = self._texts[item]
        return text.offsets.data if kind == "text" else text.content.data

    def value(self, item: Item) -> Any:
        """The value of an item of the graph in this range. Spaces and maps are kept, values are not."""
        values = self.interpreter.values
        if item in values:
            return values[item]
        maps = [below for below in ordered([item], until=values.__contains__) if isinstance(below, Map)]
        found = self.interpreter.run([item, *maps])[0]
        if not isinstance(item, Space | Map):
            values.pop(item, None)
        return found

    def references(self, collection: str) -> Any:
        """The references of a collection, by name."""
        form = _fields_of(self.events._form, collection)
        return form.references if form is not None else {}

    def unclear(self, collection: str, name: str) -> str:
        """Why a collection has no reference of this name, if one could be meant; else nothing."""
        fields = _fields_of(self.events._form, collection)
        return "" if fields is None else fields.advice(name)

    def referred(self, collection: str, name: str) -> Any:
        """The elements that a collection refers to by this name."""
        key = (collection, name)
        if key not in self._referred:
            form = _fields_of(self.events._form, collection)
            assert form is not None
            size = self.interpreter.size(form.at) if self.value(form.at) is not None else 0
            self._referred[key] = self.layout(Blueprint.of(form[name]), size)
        return self._referred[key]


def _fields_of(form: Form, collection: str) -> RecordFields | None:
    if not isinstance(form, Record) or collection not in form.fields:
        return None
    inner = unwrap(form.fields[collection])[1]
    inner = unwrap(inner.content)[1] if isinstance(inner, List) else inner
    return inner.fields if isinstance(inner, Record) and isinstance(inner.fields, RecordFields) else None


# from forms of the schema to forms of awkward


@dataclass
class Blueprint:
    """A form of awkward, and the recipe of each of its buffers: what to make of which item of the graph."""

    recipes: dict[str, tuple[str, Item]] = field(default_factory=dict)
    form: Any = None

    @classmethod
    def of(cls, form: Form, name: str | None = None) -> Blueprint:
        """The blueprint of a form; `name` for its records, if they have none."""
        made = cls()
        made.form = made._form(form, name)
        return made

    @cached_property
    def behavior(self) -> dict[Any, Any]:
        """The behavior of events: their records are vectors."""
        names = record_names(self.form)
        return {**particles(names), ("*", EVENTS): EventsArray, EVENTS: EventRecord}

    def _key(self, kind: str, attribute: str, item: Item) -> str:
        key = f"n{len(self.recipes)}"
        self.recipes[f"{key}-{attribute}"] = (kind, item)
        return key

    def _form(self, form: Form, name: str | None = None) -> Any:
        match form:
            case Scalar(x) if x.dtype == TEXT:
                chars = ak.forms.NumpyForm(
                    "uint8", parameters={"__array__": "char"}, form_key=self._key("chars", "data", x)
                )
                key = self._key("text", "offsets", x)
                return ak.forms.ListOffsetForm("i64", chars, parameters={"__array__": "string"}, form_key=key)
            case Scalar(x):
                return ak.forms.NumpyForm(
                    ak.types.numpytype.dtype_to_primitive(x.dtype), form_key=self._key("data", "data", x)
                )
            case Option(valid, content):
                return ak.forms.IndexedOptionForm(
                    "i64", self._form(content), form_key=self._key("index", "index", valid)
                )
            case List(space, content, None):
                return ak.forms.ListOffsetForm(
                    "i64", self._form(content), form_key=self._key("offsets", "offsets", space)
                )
            case List(_, content, size):
                return ak.forms.RegularForm(self._form(content), size)
            case Record():
                return self._record(form, name)

    def _record(self, form: Record, name: str | None) -> Any:
        forms, names = [], []
        for each, made in _readable(form):
            forms.append(self._form(made))
            names.append(each)
        name = form.name or name or (NAMELESS if coordinates(form) else None)
        parameters = {"__record__": name} if name else None
        return ak.forms.RecordForm(forms, None if form.tuple else names, parameters=parameters)


def _readable(form: Record) -> Iterator[tuple[str, Form]]:
    """The fields of a record that can be read, its constants and bits, where its elements are if it has indices."""
    names = list(form)
    fields = form.fields
    if isinstance(fields, RecordFields):
        names += [name for name in (*fields.constants, *fields.bits) if name not in names]
    for name in names:
        try:
            yield name, form[name]
        except (SourceError, SchemaError):  # said when it is asked for, by EventsArray
            continue
    if isinstance(fields, RecordFields) and (fields.references or any(map(matched, fields.own))):
        position: Form = Scalar(node("position", (), fields.at, np.dtype(np.int64)))
        for m in form.maps:
            position = move(position, m)
        yield HIDDEN + fields.name, position


class _Events(Shown):
    """Attributes of events, and of one event, beside their fields."""

    attrs: Any

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the dataset: `dataset` and what the user put there."""
        found: dict[str, Any] = self._chunk.metadata
        return found

    @property
    def _chunk(self) -> Any:
        chunk = (self.attrs or {}).get(CONTEXT)
        if chunk is None:
            raise AttributeError("these events were pickled or rebuilt: they know nothing of their dataset any more")
        return chunk

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, str) and where not in self._layout.fields:
            return self._whole(where)
        return in_memory(super().__getitem__(where))  # type: ignore[misc]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def _whole(self, name: str) -> Any:
        """A column that went into a collection, by its full name."""
        form = self._chunk.events._form
        if name in form.fields:
            form[name]  # raises where the column cannot be read
            collection, rest = form.fields.layout.home.get(name, ("", ""))
            if collection in self._layout.fields and rest in self[collection].fields:
                return self[collection][rest]
        raise FieldError(f"No field {name!r} in these events.\n{form.hint(name)}")


class EventsArray(_Events, ak.Array):  # type: ignore[misc]
    """The events of a chunk."""


class EventRecord(_Events, ak.Record):  # type: ignore[misc]
    """One event."""

"""The events of one range as awkward arrays that read a column when it is touched.

They are built from the schema's forms, each buffer a callable: touching one evaluates one item of the graph with the
interpreter, which reads the columns below it, one by one, and checks that their lists agree.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Self

import awkward as ak
import numpy as np

from hepgraph.datasets.grouping import matched
from hepgraph.datasets.schema import EventFields, RecordFields
from hepgraph.errors import FieldError, SchemaError, SourceError
from hepgraph.graph.canonical import TEXT
from hepgraph.graph.form import (
    Form,
    Formula,
    List,
    Option,
    Overlay,
    Record,
    Scalar,
    move,
    record_of,
    underlying,
    unwrap,
)
from hepgraph.graph.interpreter import Interpreter, build
from hepgraph.graph.node import Item, Map, Node, Space, node, ordered
from hepgraph.io.required import Loaded
from hepgraph.io.source import Access, Partition
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.behavior import CONTEXT, NO_REFERENCE, Shown, at_once, context, in_memory, particles, referred
from hepgraph.lazy.coordinates import coordinates
from hepgraph.lazy.hidden import HIDDEN, NAMELESS, new_serial, positions, record_names, shown
from hepgraph.lazy.vary import OF_LAZY_ARRAYS
from hepgraph.processor.following import SetCollection, followed
from hepgraph.processor.state import fresh

EVENTS = "Events"  # the name of the records of events
ROWS = HIDDEN  # what events are called where collections are named: no collection is called so


def eager_events(events: Lazy, partition: Partition) -> Any:
    """The events of one range as an awkward array that reads a column when it is touched."""
    return Chunk(events, partition).array(Blueprint.of(events._form, EVENTS))


# evaluating


class _Evaluator(Interpreter):
    """An interpreter that also knows the position of each element in its space."""

    serial = 0

    def value(self, item: Item) -> Any:
        if isinstance(item, Node) and item.op == "position":
            assert item.space is not None
            return positions(self.serial, self.size(item.space))
        return super().value(item)


class Referring:
    """Base of what an array asks for the references of its collections; positions are counted in its `serial`."""

    serial: int

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def fields_of(self, collection: str) -> RecordFields | None:
        """The fields of a collection; None for what is none."""
        raise NotImplementedError

    def references(self, collection: str) -> Mapping[str, Any]:
        """The references of a collection, by name, whether what they lead to is there or not; and what is added."""
        fields = self.fields_of(collection)
        return {} if fields is None else {**dict.fromkeys(self.added(collection)), **fields.references}

    def formula(self, collection: str, name: str) -> Formula | None:
        """The formula of a field that the schema adds to a collection; None for a reference, and for what is none."""
        fields = self.fields_of(collection)
        return None if fields is None else fields.formula(name)

    def at_once(self) -> AbstractContextManager[Any]:
        """While inside, lengths of lists are not compared with those of other columns yet, but at the end."""
        return nullcontext()

    def added(self, collection: str) -> Iterable[str]:
        """The fields that the schema adds to a collection, where they are not among the fields of the records."""
        fields = self.fields_of(collection)
        return () if fields is None else (*fields.bits, *fields.derived)

    def unclear(self, collection: str, name: str) -> str:
        """Why a collection has no reference of this name, if one could be meant; else nothing."""
        fields = self.fields_of(collection)
        return "" if fields is None else fields.advice(name)


class Chunk(Referring):
    """One range of a dataset, evaluated as far as it is looked at."""

    def __init__(
        self, events: Lazy, partition: Partition, serial: int | None = None, access: Access | None = None
    ) -> None:
        self.events, self.partition = events, partition
        self.serial = new_serial() if serial is None else serial
        self.columns = self._loaded(access)
        self.interpreter = _Evaluator(self.columns)
        self.interpreter.serial = self.serial
        self._texts: dict[Item, Any] = {}
        self._referred: dict[tuple[str, str], Any] = {}
        self._sets: dict[str, SetCollection] = {}

    def _loaded(self, access: Access | None) -> Loaded:
        return Loaded(self.events._origin, self.partition, {self.events._origin: {}}, access, on_demand=True)

    @cached_property
    def own(self) -> EventFields | None:
        """The fields of the events of the file, whatever was made of them; None for what has none."""
        return event_fields(self.events._form)

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

    def fields_of(self, collection: str) -> RecordFields | None:
        """The fields of a collection; None for what is none."""
        if self.own is None or collection not in self.own.file:
            return None
        record = record_in(self.own.file[collection])
        fields = None if record is None else record.fields
        return fields.within(self.own) if isinstance(fields, RecordFields) else None

    def references(self, collection: str) -> Mapping[str, Any]:
        """The references of a collection, by name; of events, the fields that are not listed as well."""
        return super().references(collection) if collection != ROWS else self.own or {}

    def referred(self, collection: str, name: str) -> Any:
        """The elements that a collection refers to by this name."""
        key = (collection, name)
        if key not in self._referred:
            form = self.own if collection == ROWS else self.fields_of(collection)
            assert form is not None
            size = self.interpreter.size(form.at) if self.value(form.at) is not None else 0
            layout = self.layout(Blueprint.of(form[name]), size)
            reference = form.references.get(name) if isinstance(form, RecordFields) else None
            if reference is not None and not self._sets.keys().isdisjoint(reference.into):
                layout = followed(layout, f"{collection}.{name}", reference, self._sets, self._size_of)
            self._referred[key] = layout
        return self._referred[key]

    def _size_of(self, collection: str) -> int:
        fields = self.fields_of(collection)
        assert fields is not None
        self.value(fields.at)
        return self.interpreter.size(fields.at)

    def setting(self, collection: str, layout: Any) -> Self:
        """The same range for events of which a collection was set: references lead to it from now on."""
        new = copy.copy(self)
        new._sets = {**self._sets, collection: SetCollection(collection, layout, self.serial)}
        new._referred = {}
        return new

    # of views (`view.py`)

    @property
    def said(self) -> str:
        """The columns that were read, in words, for those who look at the events."""
        return ""

    def taken(self, some: Any, events: Any) -> None:
        """Told of some of the events, with all of their fields."""

    def recipe(self, events: Any) -> tuple[Any, ...] | None:
        """The way to make events again, as pickles have it; None if they are pickled with all that is in them."""
        return None


def event_fields(form: Form) -> EventFields | None:
    """The fields of the events that a form is made of; None where it is not told."""
    waiting = [form]
    while waiting:
        record = record_of(waiting.pop())
        fields = None if record is None else record.fields
        while isinstance(fields, Overlay):
            waiting += fields.own.values()
            fields = fields.below.fields
        if isinstance(fields, EventFields):
            return fields
        if isinstance(fields, RecordFields):
            return fields.events
        if isinstance(fields, dict):
            waiting += fields.values()
    return None


def record_in(collection: Form) -> Record | None:
    """The records of a collection, which is a list of records, or one; None of anything else."""
    inner = unwrap(collection)[1]
    inner = unwrap(inner.content)[1] if isinstance(inner, List) else inner
    return inner if isinstance(inner, Record) else None


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

    def _form(self, form: Form, name: str | None = None, whole: bool = True) -> Any:
        """The form of awkward; not `whole` where lists of a fixed length may be None, which have no elements."""
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
                    "i64", self._form(content, None, False), form_key=self._key("index", "index", valid)
                )
            case List(space, content, size) if size is None or not whole:
                return ak.forms.ListOffsetForm(
                    "i64", self._form(content), form_key=self._key("offsets", "offsets", space)
                )
            case List(_, content, size):
                return ak.forms.RegularForm(self._form(content), size)
            case Record():
                return self._record(form, name, whole)

    def _record(self, form: Record, name: str | None, whole: bool) -> Any:
        forms, names = [], []
        for each, made in _readable(form):
            forms.append(self._form(made, None, whole))
            names.append(each)
        name = form.name or name
        if name is None and (coordinates(form) or any(shown(part) is not part for part in forms)):
            name = NAMELESS
        parameters = {"__record__": name} if name else None
        return ak.forms.RecordForm(forms, None if form.tuple else names, parameters=parameters)


def _readable(form: Record) -> Iterator[tuple[str, Form]]:
    """The fields of a record that can be read, those that a schema adds, and where its elements are in the file."""
    names = list(form)
    fields, maps, whole = underlying(form)
    names += [name for name in (_added(fields) if whole else ()) if name not in names]
    for name in names:
        try:
            yield name, form[name]
        except (SourceError, SchemaError):  # said when it is asked for, by EventsArray
            continue
    if isinstance(fields, EventFields):
        yield HIDDEN + ROWS, _positions(fields.at, maps)
    elif isinstance(fields, RecordFields) and whole and _in_references(fields):
        yield HIDDEN + fields.name, _positions(fields.at, maps)


def _in_references(fields: RecordFields) -> bool:
    """Whether references lead from a collection or to it, or look as if they might; or formulas make fields of it."""
    named = fields.references or any(map(matched, fields.own)) or fields.derived or fields.bits
    return bool(named or fields.name in fields.events.file.targets)


def is_events(form: Form) -> bool:
    """Whether a form is that of events, with all of their fields or some, and with others."""
    return isinstance(form, Record) and isinstance(underlying(form)[0], EventFields)


def _positions(at: Space, maps: tuple[Map, ...]) -> Form:
    """Where each element was among those of a space, from which it was moved along some maps."""
    found: Form = Scalar(node("position", (), at, np.dtype(np.int64)))
    for m in maps:
        found = move(found, m)
    return found


def _added(fields: Any) -> list[str]:
    """The constants that a schema adds to a record; of one of several, those that it adds to all."""
    if isinstance(fields, RecordFields):
        return [*fields.constants]
    parts = [_added(underlying(each)[0]) for each in getattr(fields, "records", ())]
    return [name for name in parts[0] if all(name in part for part in parts[1:])] if parts else []


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
        chunk = context(self)
        if chunk is None:
            raise AttributeError("these events were pickled or rebuilt: they know nothing of their dataset any more")
        return chunk

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, str) and where not in self._layout.fields:
            return self._whole(where)
        if isinstance(where, tuple) and where and isinstance(where[0], str):
            first, *rest = where
            return self[first][rest[0] if len(rest) == 1 else tuple(rest)] if rest else self[first]
        with at_once(self):
            found = in_memory(super().__getitem__(where))  # type: ignore[misc]
        if isinstance(where, list) and where and all(isinstance(name, str) for name in where):
            return ak.with_name(found, EVENTS)  # awkward forgets it when fields are chosen
        if isinstance(found, _Events) and found._layout.fields == self._layout.fields and (chunk := context(self)):
            chunk.taken(found, self)
        return found

    def __setitem__(self, where: Any, what: Any) -> None:
        super().__setitem__(where, what)  # type: ignore[misc]
        chunk = context(self)
        name = where if isinstance(where, str) else where[0]
        if chunk is not None and chunk.fields_of(name) is not None:
            self.attrs = {**self.attrs, CONTEXT: chunk.setting(name, super().__getitem__(name).layout)}  # type: ignore[misc]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __repr__(self) -> str:
        chunk, text = context(self), super().__repr__()
        return text if chunk is None or not chunk.said else f"{text[:-1]} {chunk.said}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        chunk = context(self)
        recipe = None if chunk is None else chunk.recipe(self)
        return super().__reduce_ex__(protocol) if recipe is None else recipe

    def _whole(self, name: str) -> Any:
        """A field that is not listed: a column that went into a collection, lengths of one, another name of one."""
        own, form = self._chunk.own, self._chunk.events._form
        if own is not None and name in own and name in form:
            own[name]  # raises where the column cannot be read
            collection, rest = own.layout.home.get(name, ("", ""))
            if collection in self._layout.fields and rest in self[collection].fields:
                return self[collection][rest]
            found = referred(self, name)
            if found is not NO_REFERENCE:
                return in_memory(found)
        raise FieldError(f"No field {name!r} in these events.\n{OF_LAZY_ARRAYS.get(name) or form.hint(name)}")


class EventsArray(_Events, ak.Array):  # type: ignore[misc]
    """The events of a chunk."""


class EventRecord(_Events, ak.Record):  # type: ignore[misc]
    """One event."""

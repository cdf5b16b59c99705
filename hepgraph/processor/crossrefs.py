"""References between the collections of computed events: `events.compute().Muon.matched_jet`.

Each record of a collection with references carries its position in what was computed, in a hidden field, as in an eager
run (`chunk.py`); the array carries the collections themselves. So cuts, sorting and pairs change nothing. What a
reference leads to is worked out by the schema, over the computed collections as a dataset in memory. Where the
collection that an index counts in is not there as the file has it, the reference is an error, not other elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import awkward as ak

from hepgraph.datasets.schema import EventFields, RecordFields, events_of
from hepgraph.datasets.schemafile import Reference
from hepgraph.errors import FieldError, HepgraphError, either
from hepgraph.graph.form import Form, List, Overlay, Record, unwrap
from hepgraph.io.memory import open_awkward
from hepgraph.io.source import Origin
from hepgraph.lazy.behavior import CONTEXT, behaved
from hepgraph.lazy.hidden import HIDDEN, new_serial, positions
from hepgraph.processor.chunk import EVENTS, Chunk, Referring, record_in


def kept(form: Form, whole: Any) -> Any:
    """A computed array; the references of events are there if their collections are."""
    collections = _collections(form) if isinstance(form, Record) and whole.is_record else {}
    collections = {name: found for name, found in collections.items() if _is_plain(whole.content(name))}
    if not any(found.base.hidden for found in collections.values()):
        return behaved(whole)
    context = KeptCollections(collections, {name: whole.content(name) for name in collections})
    contents = [
        _with_position(whole.content(name), name, context.serial)
        if name in collections and collections[name].base.hidden
        else whole.content(name)
        for name in whole.fields
    ]
    layout = ak.contents.RecordArray(contents, whole.fields, whole.length, parameters={"__record__": EVENTS})
    made = behaved(layout)
    return type(made)(layout, behavior=made.behavior, attrs={CONTEXT: context})


class ComputedCollection:
    """A collection of computed events: the fields that the file has, and what became of them."""

    def __init__(self, base: RecordFields, whole: bool, changed: frozenset[str]) -> None:
        self.base, self.whole, self.changed = base, whole, changed


def _collections(form: Record) -> dict[str, ComputedCollection]:
    """The collections of a record of events that are, whole or cut, those of the file."""
    root = form
    while isinstance(root.fields, Overlay):
        root = root.fields.below
        if root.maps:
            return {}
    events = root.fields
    if not isinstance(events, EventFields):
        return {}
    found = {}
    for name in form.fields:
        lists, record = unwrap(form.fields[name])[1], record_in(form.fields[name])
        changed: set[str] = set()
        moved = False
        while record is not None and isinstance(record.fields, Overlay) and record.fields.only is None:
            changed.update(record.fields.own)
            moved |= bool(record.maps)
            record = record.fields.below
        if record is not None and isinstance(record.fields, RecordFields) and record.fields.events is events:
            there = isinstance(lists, List) and lists.space is record.fields.at
            whole = there and not moved and not record.maps and not changed and name == record.fields.name
            found[name] = ComputedCollection(record.fields, whole, frozenset(changed))
    return found


def _is_plain(layout: Any) -> bool:
    """Whether these are lists of records, none of which is None."""
    return bool(layout.is_list and layout.content.is_record)


def _with_position(layout: Any, name: str, serial: int) -> Any:
    lists = layout.to_ListOffsetArray64(True)
    records = lists.content[: lists.offsets[-1]]
    position = ak.contents.NumpyArray(positions(serial, records.length))
    fields = [records.content(field) for field in records.fields]
    more = ak.contents.RecordArray(
        [*fields, position], [*records.fields, HIDDEN + name], records.length, parameters=records.parameters
    )
    return ak.contents.ListOffsetArray(lists.offsets, more, parameters=lists.parameters)


class KeptCollections(Referring):
    """The collections of computed events, for the references between them."""

    def __init__(self, collections: Mapping[str, ComputedCollection], layouts: Mapping[str, Any]) -> None:
        self.serial = new_serial()
        self._collections, self._layouts = collections, layouts
        self._chunks: dict[str, Chunk] = {}

    def fields_of(self, collection: str) -> RecordFields | None:
        """The fields of a collection, as the file has them; None for what is none."""
        found = self._collections.get(collection)
        return None if found is None else found.base

    def added(self, collection: str) -> Iterable[str]:
        """The fields that the schema adds to a collection."""
        fields = self.fields_of(collection)
        return () if fields is None else (*fields.constants, *fields.bits, *fields.derived)

    def referred(self, collection: str, name: str) -> Any:
        """The elements that a collection refers to by this name, or a field that the schema adds to it."""
        found = self._collections[collection]
        reference = found.base.references.get(name)  # none: a field that the schema adds
        if reference is not None:
            reference = found.base.events.layout.keyed(collection, reference)
        if reference is not None and (wrong := self._wrong(collection, reference)):
            raise FieldError(
                f"{collection}.{name} leads to {either(reference.into)}, and {wrong}. Take it before computing: "
                f"events.{collection}.{name}.compute(), or events[{collection!r}, {name!r}] = "
                f"events.{collection}.{name} and then events.compute()."
            )
        if collection not in self._chunks:
            self._chunks[collection] = self._chunk(collection)
        return self._chunks[collection].referred(found.base.name, name)

    @property
    def lost(self) -> frozenset[tuple[str, str]]:
        """The references that do not lead anywhere."""
        return frozenset(
            (collection, name)
            for collection, found in self._collections.items()
            for name, reference in found.base.references.items()
            if self._wrong(collection, reference)
        )

    def _wrong(self, collection: str, reference: Reference) -> str:
        """Why a reference does not lead anywhere, if it does not."""
        found = self._collections[collection]
        for name in reference.into:
            to = self._collections.get(name)
            if to is None:
                return f"{name} was not computed with it"
            if not to.whole:
                return f"{name} was cut or changed before it was computed, so that the index counts in other lists"
        if not found.whole and (reference.inverse or found.base.name in reference.into):
            return f"{collection} was cut or changed before it was computed, so that the index counts in other lists"
        fields = dict.fromkeys(path.partition(".")[0] for path in (*reference.indices, reference.key) if path)
        if changed := [field for field in fields if field in found.changed]:
            return f"its index {', '.join(changed)} was changed"
        return ""

    def _chunk(self, collection: str) -> Chunk:
        """A collection, and all that are as the file has them, as a dataset in memory with the schema of the file."""
        found = self._collections[collection]
        whole = {name: other for name, other in self._collections.items() if other.whole}
        layouts = {name: self._layouts[name] for name in whole}
        layouts[found.base.name] = self._layouts[collection]
        events = ak.contents.RecordArray(list(layouts.values()), list(layouts))
        source = open_awkward(ak.Array(events))
        schema = found.base.events.layout.schema.of_computed(
            {name: _keyed(other.base) for name, other in {**whole, found.base.name: found}.items()}
        )
        lazy = events_of(Origin.of(source), schema)
        return Chunk(lazy, source.partitions()[0], self.serial)


def _keyed(fields: RecordFields) -> list[Reference]:
    """The references of a collection of a file, with the numbers that tell where each leads."""
    found = []
    for reference in fields.references.values():
        try:
            found.append(fields.events.layout.keyed(fields.name, reference))
        except (HepgraphError, OSError):  # said where it is asked for
            continue
    return found

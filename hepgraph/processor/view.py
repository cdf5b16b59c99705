"""Eager views: some entries of lazy events as an awkward array that reads a column when it is touched.

They are what an eager run has of one range (`chunk.py`), over any number of ranges and files, and of whatever was
recorded: cuts, new fields, lists. A view of events is pickled as what it is made of, and without what it has read.
"""

from __future__ import annotations

import operator
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

import awkward as ak
import numpy as np

from hepgraph.arguments import parse_bytes
from hepgraph.datasets.schema import EventFields, events_of
from hepgraph.errors import ChangedFileError, DamagedFileError, LazyError, MemoryBudgetError, many
from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.form import Record
from hepgraph.graph.node import Item, as_space, dumps, loads
from hepgraph.io import formats
from hepgraph.io.agreement import fetched
from hepgraph.io.cache.pieces import Pieces
from hepgraph.io.required import Loaded, Needs
from hepgraph.io.source import STEP_SIZE, Access, Data, Need, Origin, Partition, Source
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.behavior import CONTEXT
from hepgraph.lazy.hidden import HIDDEN, told_apart
from hepgraph.plan.passes import ArraySink
from hepgraph.processor.chunk import EVENTS, ROWS, Blueprint, Chunk, is_events
from hepgraph.processor.memory_budget import readable

_THREADS = 8  # that read from several files at a time


def eager(x: Lazy, entries: slice | int | None = None, memory: int | str = "4 GB") -> Any:
    """The entries of a lazy array as an awkward array whose columns are read when they are touched."""
    if x._rows is TOTAL:
        raise LazyError("This is a reduction over the whole dataset, which has no entries; use .compute().")
    return EagerView(x, *span_of(entries, x.source.entries), parse_bytes(memory)).whole()


def span_of(entries: Any, size: int) -> tuple[int, int]:
    """The first entry, and that after the last one, of some entries of a dataset of this size.

    >>> span_of(None, 10), span_of(3, 10), span_of(slice(-2, None), 10), span_of(slice(5, 2), 10)
    ((0, 10), (0, 3), (8, 10), (5, 5))
    """
    if entries is None:
        return 0, size
    if isinstance(entries, slice):
        start, stop, step = entries.indices(size)
        if step != 1:
            wanted = f"eager(slice({entries.start}, {entries.stop}))[::{entries.step}]"
            raise ValueError(f"eager() takes entries one after the other; write {wanted}.")
        return start, max(start, stop)
    try:
        number = -1 if isinstance(entries, bool | np.bool_) else operator.index(entries)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(
            "eager() takes the number of entries, from the first one, or a slice of them, such as slice(1000, 2000), "
            f"not {entries!r}."
        )
    return 0, min(number, size)


# reading


@dataclass(frozen=True)
class Span:
    """Entries of a dataset one after the other: a partition that may go over several files."""

    parts: tuple[Partition, ...]

    @classmethod
    def of(cls, source: Source, start: int, stop: int) -> Span:
        """The entries from `start` to `stop`, in the ranges of the source."""
        if isinstance(source.step_size, str) and source.npartitions is None:  # which columns are needed is not known
            source = source.repartition(step_size=STEP_SIZE)
        ranges = source.partitions()
        ends = [(max(start, part.first), min(stop, part.first + len(part))) for part in ranges]
        parts = [
            replace(part, start=part.start + a - part.first, stop=part.start + b - part.first, first=a)
            for part, (a, b) in zip(ranges, ends, strict=True)
            if a < b
        ]
        return cls(tuple(parts) or (replace(ranges[0], stop=ranges[0].start, first=start),))

    @property
    def first(self) -> int:
        """The number of entries of the dataset that come before."""
        return self.parts[0].first

    @property
    def start(self) -> int:
        """The first entry, in its file."""
        return self.parts[0].start

    @property
    def path(self) -> str:
        """The file of the first entry."""
        return self.parts[0].path

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))


class SpanColumns(Loaded):
    """The columns of entries over several files, read on demand."""

    partition: Any

    def __init__(self, origin: Origin, span: Span, access: Access | None, memory: int) -> None:
        self.memory = memory
        self._proven: set[tuple[Origin, str]] = set()
        super().__init__(origin, span, {origin: {}}, access, on_demand=True)  # type: ignore[arg-type]

    def add(self, needs: Needs, entry_mask: Any = None) -> None:
        self._check_memory(needs.get(self.main, {}))
        super().add(needs, entry_mask)

    def _check_memory(self, needs: Mapping[str, Need]) -> None:
        source, size = self.main.source, len(self.partition)
        columns = [source.columns[name] for name in needs if name in source.columns]
        more = sum(column.memory for column in columns) * size // max(source.entries, 1)
        if more + self.nbytes > self.memory:
            named = ", ".join(column.name for column in columns)
            raise MemoryBudgetError(
                f"{named} of {many(size, 'entry', 'entries')} takes about {readable(more)}; {readable(self.nbytes)} of "
                f"this view are read already, and it may read {readable(self.memory)}.\nTake fewer entries, "
                '.eager(slice(start, stop)), allow more, .eager(memory="8 GB"), or compute what you want of them '
                "lazily, without eager()."
            )

    @property
    def nbytes(self) -> int:
        """The bytes of the columns that are read."""
        return sum(data.nbytes for data in self.data.get(self.main, {}).values())

    def _fetched(self, needs: Mapping[str, Need], access: Access) -> dict[str, Data]:
        source, parts = self.main.source, self.partition.parts
        if len(parts) == 1:
            return fetched(source, parts[0], needs, access)
        with ThreadPoolExecutor(min(_THREADS, len(parts))) as pool:
            found = list(pool.map(lambda part: fetched(source, part, needs, self.access), parts))
        pieces = Pieces()
        return {
            name: pieces.join(
                source.columns[name], [(len(part), each[name]) for part, each in zip(parts, found, strict=True)]
            )
            for name in needs
        }

    def values(self, origin: Origin, column: str) -> Any:
        try:
            return super().values(origin, column)
        except DamagedFileError:
            for part in self.partition.parts if origin == self.main else ():  # which has its name in the message
                Loaded(origin, part, {origin: {column: Need.DATA}}, self.access).values(origin, column)
            raise

    def place(self, origin: Origin, entry: int) -> str:
        if origin == self.main:
            for part in self.partition.parts:
                if entry < len(part):
                    return f"at entry {part.start + entry} of {part.path}"
                entry -= len(part)
        return super().place(origin, entry)

    def prove(self) -> None:
        """Raises if lengths that were read are not those of the lists; each is looked at once."""
        if self._told.keys() - self._proven:
            super().prove()
            self._proven.update(self._told)


class EagerView(Chunk):
    """Entries of a dataset, evaluated as far as they are looked at; what was recorded of them is their form."""

    def __init__(self, x: Lazy, start: int, stop: int, memory: int) -> None:
        sink = ArraySink.of(x)
        self.lazy, self.form, self.rows = x, sink.form, as_space(sink.rows)
        self.start, self.stop, self.memory = start, stop, memory
        self._layouts: WeakValueDictionary[int, Any] = WeakValueDictionary()  # of events with the fields of the view
        self._busy, self._inside = threading.RLock(), 0
        super().__init__(x, Span.of(x.source, start, stop))  # type: ignore[arg-type]

    def _loaded(self, access: Access | None) -> Loaded:
        return SpanColumns(self.events._origin, self.partition, access, self.memory)  # type: ignore[arg-type]

    def whole(self) -> Any:
        """The array."""
        name = EVENTS if is_events(self.form) else None
        blueprint = Blueprint.of(self.form, name)
        self.value(self.rows)
        layout = self.layout(blueprint, self.interpreter.size(self.rows))
        found = ak.Array(layout, behavior=blueprint.behavior, attrs={CONTEXT: self})
        if name:
            self._layouts[id(found.layout)] = found.layout
        return found

    def value(self, item: Item) -> Any:
        with self.at_once():
            return super().value(item)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        with self._busy:
            self._inside += 1
            try:
                yield
            finally:
                self._inside -= 1
            if not self._inside:
                self.columns.prove()

    @property
    def said(self) -> str:
        """The columns that were read, in words."""
        origin = self.events._origin
        return f"{len(self.columns.data[origin])} of {many(len(origin.source.columns), 'column')} read"

    # pickling

    def taken(self, some: Any, events: Any) -> None:
        if self._layouts.get(id(events.layout)) is events.layout:
            self._layouts[id(some.layout)] = some.layout

    def recipe(self, events: Any) -> tuple[Any, ...] | None:
        """The way to make some of the events again, elsewhere; None if they have other fields by now."""
        if self._layouts.get(id(events.layout)) is not events.layout:
            return None
        rows: Any = _rows(events)
        start, stop = self.start, self.stop
        if self.rows.kind == "events" and len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            start, stop, rows = start + int(rows[0]), start + int(rows[0]) + len(rows), None
        return again, (self._opening(), start, stop, self.memory, rows, isinstance(events, ak.Record))

    def _opening(self) -> bytes:
        """The parts of the lazy array: its files, if it is as opening them gives it, else all of it."""
        source, form = self.events.source, self.lazy._form
        known = any(source.kind in each.kinds for each in formats.FORMATS) and not (source.absent or source.lost)
        fields = form.fields if isinstance(form, Record) and not form.maps and not self.lazy._guard else None
        if not known or not isinstance(fields, EventFields):
            return zlib.compress(dumps(self.lazy))
        files = [(file.path, file.tree, file.entries, file.uuid, file.limit, file.replicas) for file in source.files]
        settings = source.step_size, source.npartitions, source.metadata, source.storage_options
        return zlib.compress(dumps((source.kind, files, settings, self.events._origin.access, fields.layout.schema)))


def again(opening: bytes, start: int, stop: int, memory: int, rows: Any, single: bool) -> Any:
    """The events of a view, made again from what it was pickled as."""
    told = loads(zlib.decompress(opening))
    lazy = told if isinstance(told, Lazy) else _opened(*told)
    events = EagerView(lazy, start, stop, memory).whole()
    events = events if rows is None else events[np.searchsorted(_rows(events), rows)]
    return events[0] if single else events


def _rows(events: Any) -> Any:
    """The positions of events, or of one, among all of the entries that a view is of."""
    return told_apart(np.atleast_1d(np.asarray(events[HIDDEN + ROWS])))[1]


def _opened(kind: str, files: Sequence[Any], settings: Any, access: Access, schema: Any) -> Lazy:
    """The lazy events of files that were open before; raises ChangedFileError if they are others."""
    step_size, npartitions, metadata, options = settings
    found = formats.format_with(kind).open(
        {path: tree or None for path, tree, *_ in files}, None, step_size, metadata, options
    )
    kept = []
    for file, (path, _, entries, uuid, limit, replicas) in zip(found.files, files, strict=True):
        if (file.path, file.entries, file.uuid) != (path, entries, uuid):
            raise ChangedFileError(
                f"{path} is not the file of which an eager view was pickled: it had {entries} entries (file {uuid}) "
                f"and has {file.entries} now (file {file.uuid}). Make the view again."
            )
        kept.append(replace(file, limit=limit, replicas=replicas))
    columns = list(found.columns.values())
    source = formats.rebuilt_source(found.kind, columns, kept, step_size, metadata, options)
    source = source if npartitions is None else source.repartition(npartitions)
    return events_of(Origin.of(source, access), schema)

"""Between awkward's forms and layouts and the flat buffers of a `Source`: columns, data, and back.

A record, at any depth, gives one column for each of its leaves, with dotted names; an option makes the lists, leaves
or records right below it nullable. What has no such shape (a union, raw bytes, dates) is a column with a problem.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import awkward as ak
import numpy as np

from hepgraph.errors import DamagedFileError
from hepgraph.graph.offsets import offsets_of
from hepgraph.io.source import Column, Data, Level, Need, RecordLevel

Array: TypeAlias = np.ndarray[Any, Any]

_OPTIONS = (
    ak.contents.IndexedOptionArray,
    ak.contents.ByteMaskedArray,
    ak.contents.BitMaskedArray,
    ak.contents.UnmaskedArray,
)


def columns_of_form(name: str, form: Any, sizes: Mapping[str, tuple[int, int]] | None = None) -> list[Column]:
    """The leaf columns of an awkward form; `sizes` gives the (bytes, memory) of each form key, where known.

    >>> form = ak.Array([{"pt": [1.5], "hits": [{"x": 1}]}]).layout.form
    >>> [(column.name, column.type) for column in columns_of_form("muon", form)]
    [('muon.pt', 'var * float64'), ('muon.hits.x', 'var * int64')]
    """
    found: list[Column] = []
    _columns(_Place(name, sizes or {}), form, found)
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a walk over a form stands; `option` if what comes next may be None."""

    name: str
    sizes: Mapping[str, tuple[int, int]]
    levels: tuple[Level, ...] = ()
    option: bool = False
    bytes: int = 0
    memory: int = 0
    records: tuple[RecordLevel, ...] = ()

    def inside(self, form: Any, size: int | None) -> _Place:
        return replace(self.counted(form), levels=(*self.levels, Level(size, self.option, self.name)), option=False)

    def counted(self, form: Any) -> _Place:
        stored, memory = self.sizes.get(form.form_key or "", (0, 0))
        return replace(self, bytes=self.bytes + stored, memory=self.memory + memory)

    def column(self, dtype: Any, text: bool = False, problem: str = "") -> Column:
        dtype = np.dtype(dtype).newbyteorder("=")
        column = Column(self.name, dtype, self.levels, self.option, text, problem=problem, records=self.records)
        return replace(column, bytes=self.bytes, memory=self.memory)


def _columns(place: _Place, form: Any, found: list[Column]) -> None:
    kind = form.parameter("__array__")
    if kind == "string":
        found.append(place.counted(form).counted(form.content).column(np.uint8, text=True))
    elif kind in ("bytestring", "byte"):
        found.append(place.column(np.uint8, problem="it holds raw bytes, not text"))
    elif form.is_union:
        kinds = ", ".join(str(content.type) for content in form.contents)
        found.append(place.column(np.float64, problem=f"its values are of several types ({kinds})"))
    elif form.is_record:
        if place.option:
            records = (*place.records, RecordLevel(place.name, len(place.levels)))
            place = replace(place, records=records, option=False)
        for each, content in zip(form.fields, form.contents, strict=True):
            _columns(replace(place, name=dotted(place.name, each)), content, found)
        if not form.contents:
            found.append(place.column(np.float64, problem="its records have no fields"))
    elif form.is_option:
        _columns(replace(place.counted(form), option=True), form.content, found)
    elif form.is_indexed:
        _columns(place.counted(form), form.content, found)
    elif form.is_regular:
        _columns(place.inside(form, form.size), form.content, found)
    elif form.is_list:
        _columns(place.inside(form, None), form.content, found)
    elif form.is_numpy or form.is_unknown:
        dtype = np.dtype("float64") if form.is_unknown else np.dtype(form.primitive)
        for size in () if form.is_unknown else form.inner_shape:
            place = replace(place, levels=(*place.levels, Level(size, place.option, place.name)), option=False)
        problem = "" if dtype.kind in "biufc" else f"its values are of type {dtype}"
        found.append(place.counted(form).column(dtype, problem=problem))
    else:
        raise AssertionError(f"unknown form {type(form).__name__}")


def data_of_layout(name: str, layout: Any, wanted: Collection[str]) -> dict[str, Data]:
    """The flat buffers of the wanted leaf columns, named as `columns_of_form` names them."""
    found: dict[str, Data] = {}
    _data(_Walk(name, wanted), layout, found)
    return found


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where a walk over a layout stands; `valid` marks those of the next elements that are not None."""

    name: str
    wanted: Collection[str]
    offsets: tuple[Array, ...] = ()
    level_valid: tuple[Array | None, ...] = ()
    valid: Array | None = None
    records: Mapping[str, Array] = field(default_factory=dict)

    @property
    def leads_on(self) -> bool:
        prefix = f"{self.name}." if self.name else ""
        return self.name in self.wanted or any(wanted.startswith(prefix) for wanted in self.wanted)


def _data(walk: _Walk, layout: Any, found: dict[str, Data]) -> None:
    if not walk.leads_on:
        return
    if layout.is_union:
        return
    if isinstance(layout, ak.contents.EmptyArray):
        layout = ak.contents.NumpyArray(np.empty(0, np.float64))
    if isinstance(layout, _OPTIONS):
        valid, content = _option(layout)
        valid = valid if walk.valid is None else valid & walk.valid
        _data(replace(walk, valid=valid), content, found)
    elif layout.is_indexed:
        _data(walk, layout.project(), found)
    elif layout.is_record:
        if walk.valid is not None:
            walk = replace(walk, records={**walk.records, walk.name: walk.valid})
        for each in layout.fields:
            _data(replace(walk, name=dotted(walk.name, each)), layout.content(each), found)
    elif layout.parameter("__array__") == "string":
        offsets, content = _list(layout, walk.valid)
        values = native(content.data)
        found[walk.name] = Data(values, (*walk.offsets, offsets), walk.valid, walk.level_valid, walk.records)
    elif layout.is_list:
        offsets, content = _list(layout, walk.valid)
        level_valid = (*walk.level_valid, walk.valid)
        inside = replace(walk, offsets=(*walk.offsets, offsets), level_valid=level_valid, valid=None)
        _data(inside, content, found)
    elif layout.data.ndim > 1:
        _data(walk, layout.to_RegularArray(), found)
    else:
        found[walk.name] = Data(native(layout.data), walk.offsets, walk.valid, walk.level_valid, walk.records)


def _option(layout: Any) -> tuple[Array, Any]:
    """The mask of elements that are not None, and a content of the same length, undefined where one is."""
    valid = native(layout.mask_as_bool(valid_when=True))
    if not isinstance(layout, ak.contents.IndexedOptionArray):
        return valid, layout.content[: len(valid)]
    index = np.where(valid, native(layout.index.data), 0)
    content = layout.content
    if not valid.any():
        if content.is_unknown:
            return valid, ak.contents.NumpyArray(np.zeros(len(valid), np.float64))
        content = content.form.length_one_array(highlevel=False)
    return valid, content[index]


def _list(layout: Any, valid: Array | None) -> tuple[Array, Any]:
    """Offsets from 0 and the content they cover exactly; lists that are None are emptied."""
    layout = layout.to_ListOffsetArray64(True)
    offsets = native(layout.offsets.data)
    if valid is not None and not np.all(valid | (offsets[:-1] == offsets[1:])):
        starts, stops = offsets[:-1], np.where(valid, offsets[1:], offsets[:-1])
        emptied = ak.contents.ListArray(
            ak.index.Index64(starts), ak.index.Index64(stops), layout.content, parameters=layout.parameters
        ).to_ListOffsetArray64(True)
        layout, offsets = emptied, native(emptied.offsets.data)
    return offsets, layout.content[: int(offsets[-1])]


def native(values: Any) -> Array:
    """The values as a contiguous NumPy array in this machine's byte order."""
    if hasattr(values, "materialize"):
        values = values.materialize()
    array = np.asarray(values)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def fitted(column: Column, data: Data, need: Need) -> Data:
    """The data as the column declares them: masks where it says nullable, none elsewhere, no values for counts.

    Raises DamagedFileError if the values are of another type, or missing where the column says that none is.
    """
    level_valid = tuple(
        _fitted_mask(column, column.optional_list(index), valid, len(offsets) - 1)
        for index, valid, offsets in zip(range(len(column.levels)), data.level_valid, data.offsets, strict=False)
    )
    nullable = {record.name for record in column.records if record.nullable}
    records = {name: valid for name, valid in data.records.items() if name in nullable}
    depth = len(column.levels)
    least = depth if need is Need.COUNTS else depth + column.text
    if not least <= len(data.offsets) <= depth + column.text or len(level_valid) != depth:
        raise DamagedFileError(f"Column {column.name!r} should be {column.type}, but was read with other list levels.")
    if need is Need.COUNTS:
        return Data(None, data.offsets[:depth], None, level_valid, records, skipped=data.skipped)
    assert data.values is not None
    if data.values.dtype != column.dtype:
        raise DamagedFileError(f"Column {column.name!r} should be {column.type}, but was read as {data.values.dtype}.")
    length = len(data.offsets[-1]) - 1 if column.text else len(data.values)
    valid = _fitted_mask(column, column.optional, data.valid, length)
    return Data(data.values, data.offsets, valid, level_valid, records, data.sums, skipped=data.skipped)


def _fitted_mask(column: Column, nullable: bool, valid: Array | None, length: int) -> Array | None:
    if nullable:
        return np.ones(length, np.bool_) if valid is None else valid
    if valid is not None and not valid.all():
        raise DamagedFileError(f"Column {column.name!r} should be {column.type}, but values are missing.")
    return None


def from_counts(counts: Data, column: Column) -> Data:
    """The offsets of a column whose first level has these counts, and whose other levels have a fixed size."""
    assert counts.values is not None
    if counts.values.dtype.kind == "i" and len(counts.values) and counts.values.min() < 0:
        raise ValueError(f"{column.counts!r} says that lists of {column.name!r} have {counts.values.min()} elements")
    offsets = [offsets_of(counts.values) if counts.sums is None else counts.sums]
    for level in column.levels[1:]:
        if level.size is None:
            raise ValueError(f"one count an entry does not give the inner lists of column {column.name!r}")
        offsets.append(np.arange(offsets[-1][-1] + 1, dtype=np.int64) * level.size)
    return Data(None, tuple(offsets), None, (None,) * len(offsets))


def empty_data(column: Column, need: Need) -> Data:
    """The data of no entries at all."""
    none: Array = np.zeros(0, np.bool_)
    offsets = tuple(np.zeros(1, np.int64) for _ in range(len(column.levels) + column.text))
    level_valid = tuple(none if column.optional_list(depth) else None for depth in range(len(column.levels)))
    return fitted(column, Data(np.empty(0, column.dtype), offsets, None, level_valid), need)


def distinct(columns: Iterable[Column]) -> list[Column]:
    """The columns, where those of one name (a field `a.b`; a field `b` of a record `a`) become one with a problem."""
    found: dict[str, Column] = {}
    for column in columns:
        if column.name in found:
            column = replace(column, problem="several fields have this name once records are flattened")
        found[column.name] = column
    return list(found.values())


def with_counts_by_name(columns: Iterable[Column]) -> list[Column]:
    """The columns with `counts` set by NanoAOD's convention: `nJet` for the lists `Jet` and `Jet_*`.

    Only a name: where the file itself does not tie the two together, nothing proves that the numbers agree.
    """
    columns = list(columns)
    flat = {
        column.name
        for column in columns
        if column.dtype.kind in "iu" and not (column.levels or column.text or column.optional or column.problem)
    }
    return [replace(column, counts=_count_name(column, flat)) if column.levels else column for column in columns]


def _count_name(column: Column, flat: Collection[str]) -> str | None:
    parts = column.name.split("_")
    prefixes = ("_".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((f"n{prefix}" for prefix in prefixes if f"n{prefix}" in flat), None)


def dotted(name: str, field: str) -> str:
    """The name of a field of a record, which is nameless where it is the whole of an array."""
    return f"{name}.{field}" if name else field

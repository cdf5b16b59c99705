"""Arrow types and arrays as columns and flat buffers; nothing is copied that has the right type already.

Arrow is walked here, as `ak.from_arrow` (2.14) loses the nulls of sliced arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute

from hepgraph.graph.offsets import offsets_of
from hepgraph.io.forms import Array, dotted
from hepgraph.io.source import Column, Data, Level, RecordLevel

# types


def columns_of_type(
    name: str, kind: Any, nullable: bool, levels: tuple[Level, ...] = (), records: tuple[RecordLevel, ...] = ()
) -> Iterator[Column]:
    """The leaf columns of an Arrow type, in the order of the leaves of Parquet.

    >>> muon = pyarrow.struct([("pt", pyarrow.float32()), ("hits", pyarrow.list_(pyarrow.int8()))])
    >>> [(column.name, column.type) for column in columns_of_type("muon", muon, False)]
    [('muon.pt', '?float32'), ('muon.hits', 'option[var * ?int8]')]
    """

    def leaf(dtype: Any, nullable: bool = nullable, name: str = name, **more: Any) -> Column:
        return Column(name, np.dtype(dtype), levels, nullable, records=records, **more)

    types = pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        inside = (*records, RecordLevel(name, len(levels))) if nullable else records
        for each in kind.fields:
            yield from columns_of_type(dotted(name, each.name), each.type, each.nullable, levels, inside)
    elif types.is_map(kind):
        for part in ("key", "value"):
            yield leaf(np.float64, name=dotted(name, part), problem=f"it is a map ({kind})")
    elif types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        size = kind.list_size if types.is_fixed_size_list(kind) else None
        item = kind.value_field
        yield from columns_of_type(name, item.type, item.nullable, (*levels, Level(size, nullable, name)), records)
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        yield leaf(np.uint8, text=True)
    elif types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        yield leaf(_dtype_of(kind))
    elif types.is_null(kind):
        yield leaf(np.float64, nullable=True)
    else:
        yield leaf(np.float64, problem=f"its values are of type {kind}")


def _dtype_of(kind: Any) -> np.dtype[Any]:
    """The dtype of an Arrow type of numbers: its own `to_pandas_dtype` needs pandas in older releases."""
    types = pyarrow.types
    if types.is_boolean(kind):
        return np.dtype(bool)
    letter = "f" if types.is_floating(kind) else "u" if types.is_unsigned_integer(kind) else "i"
    return np.dtype(f"{letter}{kind.bit_width // 8}")


# arrays


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where a walk over an Arrow array stands; `valid` marks those of the next elements that are not null."""

    name: str
    reader: LeafReader
    offsets: tuple[Array, ...] = ()
    level_valid: tuple[Array | None, ...] = ()
    valid: Array | None = None
    records: Mapping[str, Array] = field(default_factory=dict)


class LeafReader:
    """Takes the wanted leaves out of Arrow arrays of one range; `found` has their data, by name.

    Lists of the same lengths share their offsets: most columns of a collection do, and whoever compares them is done
    when they are the same array.
    """

    def __init__(self, wanted: set[str]) -> None:
        self.wanted = wanted
        self.found: dict[str, Data] = {}
        self._known: dict[tuple[int, int], tuple[Array, Array]] = {}

    def read(self, name: str, array: Any) -> None:
        """The wanted leaves of one array, whose own name is given."""
        _data(_Walk(name, self), array)

    def from_zero(self, stored: Array) -> Array:
        """Offsets as int64 from 0."""
        key = len(stored), int(stored[-1]) - int(stored[0])
        known = self._known.get(key)
        if known is not None and known[0].dtype == stored.dtype and np.array_equal(known[0], stored):
            return known[1]
        offsets = stored.astype(np.int64, copy=False)
        if offsets[0]:
            offsets = offsets - offsets[0]
        offsets.flags.writeable = False  # as several columns may have them
        self._known[key] = stored, offsets
        return offsets


def _data(walk: _Walk, array: Any) -> None:
    types, kind = pyarrow.types, array.type
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _data(walk, array.storage)
    if types.is_dictionary(kind):
        return _data(walk, array.dictionary_decode())
    valid = walk.valid
    if array.null_count:
        mine = array.is_valid().to_numpy(zero_copy_only=False)
        valid = mine if valid is None else mine & valid
    if types.is_struct(kind):
        records = walk.records if valid is None else {**walk.records, walk.name: valid}
        for index, each in enumerate(kind.fields):
            inside = replace(walk, name=dotted(walk.name, each.name), valid=valid, records=records)
            _data(inside, array.field(index))
    elif types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        offsets, items = _lists(walk.reader, array, valid)
        level_valid = (*walk.level_valid, valid)
        _data(replace(walk, offsets=(*walk.offsets, offsets), level_valid=level_valid, valid=None), items)
    elif walk.name in walk.reader.wanted:
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            places, values = _texts(array, valid)
            data = Data(values, (*walk.offsets, places), valid, walk.level_valid, walk.records)
        else:
            data = Data(_numbers(array, valid), walk.offsets, valid, walk.level_valid, walk.records)
        walk.reader.found[walk.name] = data
    return None


def _lists(reader: LeafReader, array: Any, valid: Array | None) -> tuple[Array, Any]:
    """Offsets from 0 and exactly the items that they cover: null lists are empty, whatever lies under them."""
    items = array.flatten()  # leaves out what is before and after a slice, and what is under null lists
    if pyarrow.types.is_fixed_size_list(array.type):
        lengths = np.full(len(array), array.type.list_size, np.int64)
    else:
        stored = array.offsets.to_numpy()
        if valid is None and len(stored):
            return reader.from_zero(stored), items
        lengths = np.diff(stored.astype(np.int64)) if len(array) else np.zeros(0, np.int64)
    if array.null_count:
        lengths[~array.is_valid().to_numpy(zero_copy_only=False)] = 0
    if valid is not None and lengths[~valid].any():
        items = items.filter(pyarrow.array(np.repeat(valid, lengths)))
        lengths[~valid] = 0
    return offsets_of(lengths), items


def _texts(array: Any, valid: Array | None) -> tuple[Array, Array]:
    array = array.cast(pyarrow.large_string())
    if valid is not None:
        array = pyarrow.compute.if_else(pyarrow.array(valid), array, pyarrow.scalar("", pyarrow.large_string()))
    _, places, chars = array.buffers()
    if len(array) == 0 or places is None:
        return np.zeros(len(array) + 1, np.int64), np.zeros(0, np.uint8)
    offsets = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
    values = np.zeros(0, np.uint8) if chars is None else np.frombuffer(chars, np.uint8)[offsets[0] : offsets[-1]]
    return offsets - offsets[0], values


def _numbers(array: Any, valid: Array | None) -> Array:
    if pyarrow.types.is_null(array.type):
        return np.zeros(len(array), np.float64)
    if pyarrow.types.is_boolean(array.type):
        values = array.fill_null(False).to_numpy(zero_copy_only=False)
    elif len(array) == 0:
        return np.zeros(0, _dtype_of(array.type))
    else:
        stored = np.frombuffer(array.buffers()[1], _dtype_of(array.type))
        values = stored[array.offset : array.offset + len(array)]
    return values if valid is None else np.where(valid, values, np.zeros((), values.dtype))

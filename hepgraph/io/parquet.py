"""Parquet files through pyarrow, flat or nested; the only module that knows pyarrow.

Only the row groups that a range overlaps are read, and in them only the leaves that are needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import fsspec
import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from hepgraph.errors import ChangedFileError, DamagedFileError, SourceError
from hepgraph.io.files import Files, Options, edge, is_remote, resolve, sniff
from hepgraph.io.forms import Array, distinct, empty_data, fitted, with_counts_by_name
from hepgraph.io.handles import Handles
from hepgraph.io.source import STEP_SIZE, Column, Data, File, Level, Need, Partition, RecordLevel, Source, agreed
from hepgraph.io.trees import each

MOST_CHUNKS = 50_000


def open_parquet(
    files: Files,
    step_size: int | str = STEP_SIZE,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Options = None,
) -> Source:
    """The dataset of these Parquet files; raises MissingFileError, DamagedFileError or SourceError, naming the file."""
    places = resolve(files, storage_options)
    for path, tree in places:
        if tree is not None:
            raise SourceError(f"{path} is taken for a Parquet file, which has no trees (asked for {tree!r}).")

    def look(path: str) -> tuple[list[Column], File]:
        with _borrowed(path, storage_options) as opened:
            file = File(path, "", opened.edges[-1], opened.uuid, opened.edges)
            with edge(path, "read the types of"):
                return [column for column, _ in opened.leaves.values()], file

    columns, kept = agreed(each(look, [path for path, _ in places]))
    source = ParquetSource(columns, kept, step_size, metadata)
    source.storage_options = dict(storage_options or {})
    return source


@dataclass(slots=True)
class _Opened:
    """An open Parquet file, the entries at which its row groups end, and its leaves: columns with their paths."""

    file: Any
    stream: Any
    uuid: str
    edges: tuple[int, ...]
    leaves: dict[str, tuple[Column, str]]

    def close(self) -> None:
        self.file.close()
        if self.stream is not None:
            self.stream.close()


handles: Handles[_Opened] = Handles(close=_Opened.close)


class ParquetSource(Source):
    """A dataset of Parquet files."""

    storage_options: dict[str, Any]

    def read(self, partition: Partition, needs: Mapping[str, Need]) -> dict[str, Data]:
        columns = self.begin(partition, needs)
        if len(partition) == 0 or not columns:
            return {column.name: empty_data(column, need) for column, need in columns}
        file = self._places[partition.path, partition.tree]
        with _borrowed(partition.path, self.storage_options) as opened:
            if opened.uuid != file.uuid:
                raise ChangedFileError(f"{file.path} changed after it was opened. Open the dataset again.")
            flat = [column.name for column, need in columns if need is Need.COUNTS and not column.levels]
            wanted = [column.name for column, _ in columns if column.name not in flat]
            with edge(partition.path, f"read {', '.join(needs)}, entries {partition.start} to {partition.stop}, of"):
                found = {name: Data(None) for name in flat} | _read(opened, partition, wanted)
                return {column.name: fitted(column, found[column.name], need) for column, need in columns}


def _read(opened: _Opened, partition: Partition, names: list[str]) -> dict[str, Data]:
    if not names:
        return {}
    edges = opened.edges
    groups = [i for i in range(len(edges) - 1) if edges[i] < partition.stop and partition.start < edges[i + 1]]
    paths = [opened.leaves[name][1] for name in names]
    table = _table(opened.file, groups, paths)
    table = table.slice(partition.start - edges[groups[0]], len(partition))
    if table.num_rows != len(partition):
        raise DamagedFileError(f"{partition} gave {table.num_rows} entries.")
    found: dict[str, Data] = {}
    for top, column in zip(table.column_names, table.columns, strict=True):
        _data(_Walk(top, set(names)), column.combine_chunks(), found)
    return found


def _table(file: Any, groups: list[int], paths: list[str]) -> Any:
    try:
        return file.read_row_groups(groups, columns=paths)
    except pyarrow.ArrowNotImplementedError:  # nested dictionaries, or texts beyond 2 GB: not in one go
        return pyarrow.concat_tables([file.read_row_groups([group], columns=paths) for group in groups])


@dataclass(frozen=True, slots=True)
class _Walk:
    """Where a walk over an Arrow array stands; `valid` marks those of the next elements that are not null."""

    name: str
    wanted: set[str]
    offsets: tuple[Array, ...] = ()
    level_valid: tuple[Array | None, ...] = ()
    valid: Array | None = None
    records: Mapping[str, Array] = field(default_factory=dict)


def _data(walk: _Walk, array: Any, found: dict[str, Data]) -> None:
    """The data of every wanted leaf. Arrow is walked here, as `ak.from_arrow` (2.14) loses the nulls of slices."""
    types, kind = pyarrow.types, array.type
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _data(walk, array.storage, found)
    if types.is_dictionary(kind):
        return _data(walk, array.dictionary_decode(), found)
    valid = walk.valid
    if array.null_count:
        mine = array.is_valid().to_numpy(zero_copy_only=False)
        valid = mine if valid is None else mine & valid
    if types.is_struct(kind):
        records = walk.records if valid is None else {**walk.records, walk.name: valid}
        for index, inner in enumerate(kind.fields):
            inside = replace(walk, name=f"{walk.name}.{inner.name}", valid=valid, records=records)
            _data(inside, array.field(index), found)
    elif types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        offsets, items = _lists(array, valid)
        level_valid = (*walk.level_valid, valid)
        inside = replace(walk, offsets=(*walk.offsets, offsets), level_valid=level_valid, valid=None)
        _data(inside, items, found)
    elif walk.name in walk.wanted:
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            offsets, values = _texts(array, valid)
            found[walk.name] = Data(values, (*walk.offsets, offsets), valid, walk.level_valid, walk.records)
        else:
            found[walk.name] = Data(_numbers(array, valid), walk.offsets, valid, walk.level_valid, walk.records)
    return None


def _lists(array: Any, valid: Array | None) -> tuple[Array, Any]:
    """Offsets from 0 and exactly the items that they cover: null lists are empty, whatever lies under them."""
    if pyarrow.types.is_fixed_size_list(array.type):
        lengths = np.full(len(array), array.type.list_size, np.int64)
    else:
        lengths = np.diff(array.offsets.to_numpy().astype(np.int64))
    items = array.flatten()  # leaves out what is before and after a slice, and what is under null lists
    if array.null_count:
        lengths[~array.is_valid().to_numpy(zero_copy_only=False)] = 0
    if valid is not None and lengths[~valid].any():
        items = items.filter(pyarrow.array(np.repeat(valid, lengths)))
        lengths[~valid] = 0
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets, items


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
        return np.zeros(0, array.type.to_pandas_dtype())
    else:
        stored = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())
        values = stored[array.offset : array.offset + len(array)]
    return values if valid is None else np.where(valid, values, np.zeros((), values.dtype))


@contextmanager
def _borrowed(path: str, options: Options) -> Iterator[_Opened]:
    key: Hashable = (path, repr(sorted((options or {}).items())))
    with handles.borrow(key, path, lambda: _open(path, options)) as opened:
        yield opened


def _open(path: str, options: Options) -> _Opened:
    if (kind := sniff(path, options)) != "parquet":
        raise DamagedFileError(f"{path} is a {kind.upper()} file, not a Parquet file.")
    with edge(path), _whole(path):
        if is_remote(path):
            stream = fsspec.open(path, "rb", **(options or {})).open()
            uuid, file = _footer_hash(stream), pyarrow.parquet.ParquetFile(stream)
        else:
            with open(path, "rb") as local:
                uuid = _footer_hash(local)
            stream, file = None, pyarrow.parquet.ParquetFile(path)
    with edge(path, "read the types of"):
        meta = file.metadata
        rows = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        edges = [0]
        for count in rows:
            if count:
                edges.append(edges[-1] + count)
        if len(edges) - 1 != len(rows):  # without the empty row groups, numbers of groups would not match
            edges = [0, *np.cumsum(rows).tolist()]
        return _Opened(file, stream, uuid, tuple(int(edge) for edge in edges or [0]), _leaves(file))


@contextmanager
def _whole(path: str) -> Iterator[None]:
    """Says of a file that begins like Parquet and does not end like it that it is truncated."""
    try:
        yield
    except pyarrow.ArrowInvalid as error:
        if "magic bytes not found in footer" not in str(error):
            raise
        raise DamagedFileError(f"{path} is truncated: it begins like a Parquet file and has no footer.") from error


def _footer_hash(stream: Any) -> str:
    """A hash of the footer: it has the types, the sizes and positions of all chunks, and most often their extremes."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 8))
    length = min(int.from_bytes(stream.read(8)[:4], "little") + 8, size)
    stream.seek(size - length)
    digest = hashlib.blake2b(stream.read(length), digest_size=16).hexdigest()
    stream.seek(0)
    return digest


def _leaves(file: Any) -> dict[str, tuple[Column, str]]:
    """The columns by name, each with its path in the Parquet schema."""
    schema = file.schema_arrow
    paths: dict[str, list[int]] = {}  # of each top-level field, its leaves in order
    names = set(schema.names)
    for index in range(file.metadata.num_columns):
        path = file.schema.column(index).path
        paths.setdefault(_top(path, names), []).append(index)
    sizes = _sizes(file.metadata)
    found: list[tuple[Column, str]] = []
    for outer in schema:
        top = outer.name
        indices = paths.get(top, [])
        columns = list(_type_columns(top, outer.type, outer.nullable))
        if len(columns) != len(indices):  # not leaf by leaf: the whole field is read for any of them
            stored, memory = np.sum([sizes[i] for i in indices], axis=0) if indices else (0, 0)
            found += [(replace(column, bytes=int(stored), memory=int(memory)), top) for column in columns]
            continue
        for column, index in zip(columns, indices, strict=True):
            column = replace(column, bytes=sizes[index][0], memory=sizes[index][1])
            # pyarrow miscounts the nulls of records that hold dictionaries
            trusted = "dictionary<" not in str(outer.type)
            if trusted and column != column.without_none() and _without_nulls(file.metadata, index):
                column = column.without_none()
            found.append((column, file.schema.column(index).path))
    named = with_counts_by_name(distinct(column for column, _ in found))
    places = {column.name: path for column, path in found}
    return {column.name: (column, places[column.name]) for column in named}


def _top(path: str, known: set[str]) -> str:
    parts = path.split(".")
    return next((top for i in range(len(parts), 0, -1) if (top := ".".join(parts[:i])) in known), parts[0])


def _type_columns(
    name: str, kind: Any, nullable: bool, levels: tuple[Level, ...] = (), records: tuple[RecordLevel, ...] = ()
) -> Iterator[Column]:
    """The leaf columns of an Arrow type, in the order of the leaves of Parquet."""

    def leaf(dtype: Any, nullable: bool = nullable, name: str = name, **more: Any) -> Column:
        return Column(name, np.dtype(dtype), levels, nullable, records=records, **more)

    types = pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        inside = (*records, RecordLevel(name, len(levels))) if nullable else records
        for field in kind.fields:
            yield from _type_columns(f"{name}.{field.name}", field.type, field.nullable, levels, inside)
    elif types.is_map(kind):
        for part in ("key", "value"):
            yield leaf(np.float64, name=f"{name}.{part}", problem=f"it is a map ({kind})")
    elif types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        size = kind.list_size if types.is_fixed_size_list(kind) else None
        item = kind.value_field
        yield from _type_columns(name, item.type, item.nullable, (*levels, Level(size, nullable, name)), records)
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        yield leaf(np.uint8, text=True)
    elif types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        yield leaf(kind.to_pandas_dtype())
    elif types.is_null(kind):
        yield leaf(np.float64, nullable=True)
    else:
        yield leaf(np.float64, problem=f"its values are of type {kind}")


def _without_nulls(meta: Any, index: int) -> bool:
    """Whether statistics prove that a leaf has no null at any depth; they count empty lists as nulls, too."""
    for group in range(meta.num_row_groups):
        chunk = meta.row_group(group).column(index)
        if chunk.num_values == 0:
            continue
        statistics = chunk.statistics if chunk.is_stats_set else None
        if statistics is None or not statistics.has_null_count or statistics.null_count != 0:
            return False
    return True


def _sizes(meta: Any) -> list[tuple[int, int]]:
    """The bytes on disk and in memory of every leaf; of many row groups, from some of them, scaled up."""
    groups, leaves = meta.num_row_groups, meta.num_columns
    stride = max(1, groups * leaves // MOST_CHUNKS)
    stored, memory = [0] * leaves, [0] * leaves
    sample = range(0, groups, stride)
    for group in sample:
        chunks = meta.row_group(group)
        for leaf in range(leaves):
            chunk = chunks.column(leaf)
            stored[leaf] += chunk.total_compressed_size
            memory[leaf] += chunk.total_uncompressed_size
    scale = groups / max(1, len(sample))
    return [(round(mine * scale), round(its * scale)) for mine, its in zip(stored, memory, strict=True)]

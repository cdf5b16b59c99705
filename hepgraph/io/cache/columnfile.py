"""One column of one range in a file of its own: decoded, as it is in memory, with checksums.

A file has a header (JSON, with its own checksum), which repeats what the column is of, and then the arrays: values and
masks as they are, offsets as the lengths of lists, in as few bytes as will do. It holds data, never code: a file that
others made up can at worst hold wrong numbers, as any file of data can, and lengths that contradict each other are
found when it is read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import xxhash

from hepgraph.disk.files import parsed
from hepgraph.io.native.buffers import pool
from hepgraph.io.source import Column, Data, Need

Array: TypeAlias = np.ndarray[Any, Any]

MAGIC = b"hepcol1\n"
_HEAD = struct.Struct("<8sQQ")  # magic, checksum and length of the header
ALIGNED = 64


class FileError(ValueError):
    """A file of the cache that is not as it was written."""


def written(about: Any, data: Data) -> list[bytes | memoryview]:
    """The content of the file of a column; `about` says what it is of."""
    rows: list[list[Any]] = []
    arrays: list[Array] = []
    at = 0
    for role, array in _arrays(data):
        kept: Array = _counts(array) if role == "offsets" else np.ascontiguousarray(array)
        rows.append([role, kept.dtype.str, len(kept), at, xxhash.xxh3_128_hexdigest(kept.data)])
        arrays.append(kept)
        at += -(-kept.nbytes // ALIGNED) * ALIGNED
    header = json.dumps({"about": about, "records": list(data.records), "arrays": rows}).encode()
    begin = _HEAD.size + len(header)
    parts: list[bytes | memoryview] = [
        _HEAD.pack(MAGIC, xxhash.xxh3_64_intdigest(header), len(header)),
        header,
        bytes(-begin % ALIGNED),
    ]
    for kept in arrays:
        parts += [kept.data.cast("B") if kept.nbytes else b"", bytes(-kept.nbytes % ALIGNED)]
    return parts


def _arrays(data: Data) -> Iterator[tuple[str, Array]]:
    for offsets in data.offsets:
        yield "offsets", offsets
    for mask in data.level_valid:
        yield "level_valid", np.zeros(0, np.bool_) if mask is None else mask
    for mask in data.records.values():
        yield "record", mask
    if data.valid is not None:
        yield "valid", data.valid
    if data.values is not None:
        yield "values", data.values


def _counts(offsets: Array) -> Array:
    """The lengths of lists, in as few bytes as will do."""
    counts = np.diff(offsets)
    most = int(counts.max(initial=0))
    return counts.astype(np.min_scalar_type(most))


@dataclass(slots=True)
class OpenedColumn:
    """A file of the cache, in memory or mapped; `shared` has the offsets that were made of other files of the range."""

    content: Any
    shared: dict[str, Array]

    def read(self, about: Any, column: Column, need: Need, entries: int) -> Data:
        """The data of a column with so many entries; raises FileError if the file is damaged, or is another one."""
        rows, records, begin = self._header(about)
        found: dict[str, list[Array]] = {}
        for role, kind, length, at, digest in rows:
            if need is Need.COUNTS and role in ("values", "valid"):
                continue
            if role == "offsets" and (known := self.shared.get(f"{kind}{length}{digest}")) is not None:
                found.setdefault(role, []).append(known)
                continue
            array = self._array(kind, length, begin + at, digest)
            if role == "offsets":
                if array.dtype.kind != "u" or array.itemsize > 4:
                    raise FileError("its lengths of lists are of another type")
                array = self.shared[f"{kind}{length}{digest}"] = _offsets_of(array)
            found.setdefault(role, []).append(array)
        data = _data(found, records, column, need)
        _check(data, column, entries)
        return data

    def _header(self, about: Any) -> tuple[list[Any], list[str], int]:
        size = len(self.content)
        if size < _HEAD.size:
            raise FileError(f"it has only {size} bytes")
        magic, checksum, length = _HEAD.unpack_from(self.content)
        if magic != MAGIC or length > size - _HEAD.size:
            raise FileError("it does not begin like a file of a column cache")
        header = bytes(self.content[_HEAD.size : _HEAD.size + length])
        if xxhash.xxh3_64_intdigest(header) != checksum:
            raise FileError("the checksum of its header is wrong")
        told = parsed(header)
        if told["about"] != about:
            raise FileError("it is of something else")
        begin = _HEAD.size + length
        return told["arrays"], told["records"], begin + -begin % ALIGNED

    def _array(self, kind: str, length: int, start: int, digest: str) -> Array:
        dtype = np.dtype(kind)
        if dtype.hasobject or not 0 <= start <= start + length * dtype.itemsize <= len(self.content):
            raise FileError("it is too short")
        array = np.frombuffer(self.content, dtype, length, start) if length else np.zeros(0, dtype)
        if xxhash.xxh3_128_hexdigest(array.data) != digest:
            raise FileError("a checksum is wrong")
        return array


def _offsets_of(counts: Array) -> Array:
    offsets = pool.take(len(counts) + 1, np.dtype(np.int64))
    offsets[0] = 0
    np.cumsum(counts.astype(np.int64, copy=False), out=offsets[1:])
    return offsets


def _data(found: dict[str, list[Array]], records: Sequence[str], column: Column, need: Need) -> Data:
    offsets = found.get("offsets", [])
    masks = found.get("level_valid", [])
    depth = len(column.levels)
    values = found.get("values", [None])[0]
    if len(masks) != depth or len(records) != len(found.get("record", [])):
        raise FileError("it has other arrays than its column")
    if need is Need.DATA and (values is None or len(offsets) != depth + column.text):
        raise FileError("it has other arrays than its column")
    nullable = [column.optional_list(level) for level in range(depth)]
    return Data(
        values if need is Need.DATA else None,
        tuple(offsets if need is Need.DATA else offsets[:depth]),
        found.get("valid", [None])[0] if need is Need.DATA else None,
        tuple(mask if some else None for mask, some in zip(masks, nullable, strict=True)),
        dict(zip(records, found.get("record", []), strict=True)),
    )


def _check(data: Data, column: Column, entries: int) -> None:
    """Raises FileError if arrays contradict each other: what reads them goes by their lengths."""
    lengths = [entries]
    for offsets in data.offsets:
        if len(offsets) != lengths[-1] + 1 or offsets[-1] < 0:
            raise FileError("its arrays do not go together")
        lengths.append(int(offsets[-1]))
    depth = len(column.levels)
    records = {record.name: record.level for record in column.records}
    places = [(data.values, len(lengths) - 1), (data.valid, depth)]
    places += [(mask, level) for level, mask in enumerate(data.level_valid)]
    places += [(mask, records.get(name, -1)) for name, mask in data.records.items()]
    for array, level in places:
        if array is not None and (not 0 <= level < len(lengths) or len(array) != lengths[level]):
            raise FileError("its arrays do not go together")
    if data.values is not None and data.values.dtype != column.dtype:
        raise FileError("its values are of another type")

"""A writer of any RNTuple, for tests: encodings, pages, clusters and columns that uproot does not write.

It appends header, pages, page list and footer to a file of uproot's, and leads the anchor to them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uproot
import xxhash

from hepgraph.io.rntuple.encodings import ENCODINGS, QUANTISED, TRUNCATED

CODECS = {"none": None, "zstd": uproot.ZSTD(1), "lz4": uproot.LZ4(1), "zlib": uproot.ZLIB(1), "lzma": uproot.LZMA(1)}
DEFERRED, RANGE, REPETITIVE = 1, 2, 1
LEAF, COLLECTION = 0, 1
BY_NAME = {encoding.name: number for number, encoding in ENCODINGS.items()}


@dataclass
class FieldOf:
    name: str
    kind: str = "float"
    parent: int | None = None
    role: int = LEAF
    size: int = 0


@dataclass
class ColumnOf:
    """A column of a field: for each cluster the pages, each an array; None where suppressed."""

    number: int
    field: int
    clusters: list[list[np.ndarray] | None]
    bits: int = 0
    representation: int = 0
    first: int = 0
    limits: tuple[float, float] | None = None
    missing_clusters: int = 0  # those that were written before the column was added


@dataclass
class Written:
    fields: list[FieldOf]
    columns: list[ColumnOf]
    clusters: list[int]
    codec: object = None
    checksums: bool = True
    once: bool = False  # pages that are the same are written once, as ROOT does
    places: list[tuple[int, int, int, int]] = field(default_factory=list)  # cluster, column, offset, size of a page


def encoded(column: ColumnOf, values: np.ndarray) -> bytes:
    """A page, written the long way round: this, not the reader, says what the format is."""
    if column.number in (TRUNCATED, QUANTISED):
        if column.number == TRUNCATED:
            bits = values.astype("<f4").view("<u4") >> np.uint32(32 - column.bits)
        else:
            low, high = column.limits
            bits = np.round((values.astype("f8") - low) / (high - low) * ((1 << column.bits) - 1)).astype("<u4")
        flags = (bits[:, None] >> np.arange(column.bits, dtype=np.uint32)) & np.uint32(1)
        return np.packbits(flags.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
    encoding = ENCODINGS[column.number]
    if encoding.name == "Bit":
        return np.packbits(values.astype(np.uint8), bitorder="little").tobytes()
    values = values.astype(encoding.dtype)
    if encoding.delta:
        values = np.diff(values, prepend=values[:0].dtype.type(0))
    if encoding.zigzag:
        values = np.array([2 * int(v) if v >= 0 else -2 * int(v) - 1 for v in values], f"u{values.dtype.itemsize}")
    data = values.tobytes()
    return (
        b"".join(data[byte :: values.dtype.itemsize] for byte in range(values.dtype.itemsize))
        if encoding.split
        else data
    )


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def record(data: bytes) -> bytes:
    return struct.pack("<q", len(data) + 8) + data


def listed(items: list[bytes], tail: bytes = b"") -> bytes:
    body = b"".join(items) + tail
    return struct.pack("<qI", -(len(body) + 12), len(items)) + body


def envelope(kind: int, body: bytes) -> bytes:
    data = struct.pack("<Q", kind | (len(body) + 16) << 16) + body
    return data + struct.pack("<Q", xxhash.xxh3_64_intdigest(data))


def column_record(column: ColumnOf) -> bytes:
    bits = column.bits or ENCODINGS[column.number].bits
    flags = DEFERRED * (column.first > 0) | RANGE * (column.limits is not None)
    data = struct.pack("<HHIHH", column.number, bits, column.field, flags, column.representation)
    data += struct.pack("<Q", column.first) if column.first else b""
    return record(data + (struct.pack("<dd", *column.limits) if column.limits else b""))


def field_record(number: int, one: FieldOf) -> bytes:
    flags = REPETITIVE if one.size else 0
    data = struct.pack("<IIIHH", 0, 0, number if one.parent is None else one.parent, one.role, flags)
    data += text(one.name) + text(one.kind) + text("") + text("")
    return record(data + (struct.pack("<Q", one.size) if one.size else b""))


def write(path: Path, what: Written) -> str:
    """The RNTuple `Events` of a new file."""
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", {"x": np.zeros(1)})
    with uproot.open({path: None}) as file:
        anchor = struct.Struct(">HHHHQQQQQQQ")
        names = ["fVersionEpoch", "fVersionMajor", "fVersionMinor", "fVersionPatch", "fSeekHeader", "fNBytesHeader"]
        names += ["fLenHeader", "fSeekFooter", "fNBytesFooter", "fLenFooter", "fMaxKeySize"]
        members = [file["Events"].member(name) for name in names]
    data = bytearray(path.read_bytes())
    where = data.index(anchor.pack(*members))

    def put(more: bytes) -> int:
        data.extend(more)
        return len(data) - len(more)

    fields = [field_record(number, one) for number, one in enumerate(what.fields)]
    body = struct.pack("<Q", 0) + text("Events") + text("") + text("test")
    header = envelope(1, body + listed(fields) + listed([column_record(c) for c in what.columns]) + listed([]) * 2)
    summaries, lists, start = [], [], 0
    before, known = [0] * len(what.columns), {}
    for cluster, entries in enumerate(what.clusters):
        summaries.append(record(struct.pack("<QQ", start, entries)))
        columns = []
        for index, column in enumerate(what.columns):
            if cluster < column.missing_clusters:
                break  # columns that were added later come last
            pages = column.clusters[cluster - column.missing_clusters]
            if pages is None:
                columns.append(listed([], struct.pack("<q", -before[index] - 1)))
                continue
            rows = []
            for values in pages:
                page = encoded(column, values)
                page = uproot.compression.compress(page, what.codec)
                checksum = struct.pack("<Q", xxhash.xxh3_64_intdigest(page)) if what.checksums else b""
                offset = known.get(page) if what.once else None
                if offset is None:
                    offset = known[page] = put(page + checksum)
                what.places.append((cluster, index, offset, len(page)))
                rows.append(struct.pack("<iiQ", -len(values) if what.checksums else len(values), len(page), offset))
            columns.append(listed(rows, struct.pack("<qI", before[index], 505)))
            before[index] += sum(map(len, pages))
        lists.append(listed(columns))
        start += entries
    page_list = envelope(3, header[-8:] + listed(summaries) + listed(lists))
    group = struct.pack("<QQI", 0, start, len(what.clusters))
    group += struct.pack("<QiQ", len(page_list), len(page_list), put(page_list))
    empty = record(listed([]) * 4)
    footer = envelope(2, struct.pack("<Q", 0) + header[-8:] + empty + listed([record(group)]))
    members[4:10] = [put(header), len(header), len(header), put(footer), len(footer), len(footer)]
    packed = anchor.pack(*members)
    data[where : where + len(packed) + 8] = packed + struct.pack(">Q", xxhash.xxh3_64_intdigest(packed))
    path.write_bytes(data)
    return str(path)

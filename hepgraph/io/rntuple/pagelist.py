"""Where the pages of an RNTuple are: its page lists, checked against their checksums.

uproot opens the RNTuple and reads its header and footer. It gives page lists as one object for each page, unchecked, in
0.1 to 0.3 s for one cluster of a NanoAOD; here they are arrays, in some 10 ms.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import xxhash

Array: TypeAlias = np.ndarray[Any, Any]

HEADER, FOOTER, PAGES = 1, 2, 3  # the types of envelopes
SHARDED = 1
LARGE = 1  # a locator with a size of eight bytes
_frame = struct.Struct("<qI")
_record = struct.Struct("<q")
_summary = struct.Struct("<QQ")
_word = struct.Struct("<Q")
_page = struct.Struct("<ii")
_place = struct.Struct("<Q")
_large = struct.Struct("<QQ")
_last = struct.Struct("<q")
_PAGES = np.dtype([("elements", "<i4"), ("size", "<i4"), ("offset", "<u8")])
CHECKSUM = 8


class PageError(ValueError):
    """Pages, or lists of them, that contradict themselves; the message says which."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one column in one cluster, one row of each array for a page; `starts` has one more.

    `starts` are the elements of the column, counted in the cluster, with which pages begin; `sizes` are bytes on disk,
    without the checksum that follows where `checked`. Of a `suppressed` column another representation is used.
    """

    starts: Array
    sizes: Array
    offsets: Array
    checked: Array
    suppressed: bool

    @property
    def elements(self) -> int:
        return int(self.starts[-1])

    def bytes_of(self, page: int, size: int) -> Pages:
        """One of the pages, as one of so many bytes."""
        one = slice(page, page + 1)
        return Pages(np.array([0, size]), self.sizes[one], self.offsets[one], self.checked[one], False)


@dataclass(frozen=True, slots=True)
class PageTable:
    """The pages of all columns of a cluster in one row of arrays; those of column `i` begin at `bounds[i]`."""

    elements: Array
    sizes: Array
    offsets: Array
    checked: Array
    bounds: Array
    suppressed: Array
    _found: dict[int, Pages] = field(default_factory=dict)

    def pages(self, column: int) -> Pages:
        found = self._found.get(column)
        if found is None:
            one = slice(self.bounds[column], self.bounds[column + 1])
            starts = np.zeros(one.stop - one.start + 1, np.int64)
            np.cumsum(self.elements[one], out=starts[1:])
            suppressed = bool(self.suppressed[column])
            found = Pages(starts, self.sizes[one], self.offsets[one], self.checked[one], suppressed)
            self._found[column] = found
        return found


@dataclass(frozen=True, slots=True)
class Cluster:
    """Entries that are stored together, and where the page lists of its columns stand in an envelope."""

    start: int
    entries: int
    envelope: memoryview
    frames: tuple[int, ...]


class PageList:
    """All clusters of an RNTuple, in the order of their entries."""

    def __init__(self, ntuple: Any) -> None:
        for name, kind in (("Header", HEADER), ("Footer", FOOTER)):  # before uproot takes them to be sound
            where = SimpleNamespace(offset=ntuple.member(f"fSeek{name}"), num_bytes=ntuple.member(f"fNBytes{name}"))
            chunk, _ = ntuple.read_locator(where, ntuple.member(f"fLen{name}"))
            try:
                check_envelope(memoryview(chunk.raw_data), kind)
            except PageError as error:
                raise PageError(f"the {name.lower()} of the RNTuple is damaged: {error}") from None
        self.clusters: list[Cluster] = []
        self._tables: dict[int, PageTable] = {}
        checksums = []
        for number, record in enumerate(ntuple.footer.cluster_group_records):
            link = record.page_list_link
            chunk, _ = ntuple.read_locator(link.locator, link.env_uncomp_size)
            try:
                envelope = memoryview(chunk.raw_data)
                check_envelope(envelope, PAGES, ntuple.header.checksum)
                found = list(_clusters(envelope))
                checksums.append(_word.unpack_from(envelope, len(envelope) - CHECKSUM)[0])
            except (PageError, struct.error) as error:
                raise PageError(f"the page list of cluster group {number} is damaged: {error}") from None
            if len(found) != record.num_clusters:
                raise PageError(
                    f"cluster group {number} should have {record.num_clusters} clusters; its page list has {len(found)}"
                )
            self.clusters += found
        ends = [0, *(cluster.start + cluster.entries for cluster in self.clusters)]
        for number, cluster in enumerate(self.clusters):
            if cluster.start != ends[number]:
                raise PageError(f"cluster {number} begins at entry {cluster.start}, not at {ends[number]}")
        self.entries = ends[-1]
        self.checksums = tuple(checksums)  # of the page lists: what tells these from others
        self.starts = np.array([cluster.start for cluster in self.clusters], np.int64)

    def pages(self, cluster: int, column: int) -> Pages | None:
        """The pages of a column in a cluster; None where the cluster was written before the column was added."""
        return self.table(cluster).pages(column) if column < len(self.clusters[cluster].frames) else None

    def table(self, cluster: int) -> PageTable:
        """The pages of all columns of a cluster."""
        found = self._tables.get(cluster)
        if found is None:
            inside = self.clusters[cluster]
            try:
                found = _table(inside.envelope, inside.frames)
            except (PageError, struct.error) as error:
                raise PageError(f"the page list of cluster {cluster} is damaged: {error}") from None
            self._tables[cluster] = found
        return found


def check_envelope(data: memoryview, kind: int, header: int | None = None) -> None:
    """Raises PageError if type, length or checksum of an envelope is wrong, or it belongs to another header."""
    if len(data) < 3 * CHECKSUM:
        raise PageError(f"it has only {len(data)} bytes")
    (head,), (belongs,), (checksum,) = (_word.unpack_from(data, at) for at in (0, 8, len(data) - CHECKSUM))
    if checksum != xxhash.xxh3_64_intdigest(data[:-CHECKSUM]):
        raise PageError("its checksum is wrong")
    if head & 0xFFFF != kind or head >> 16 != len(data):
        raise PageError(
            f"it has {len(data)} bytes, and calls itself an envelope of type {head & 0xFFFF} of {head >> 16}"
        )
    if header is not None and belongs != header:
        raise PageError("it belongs to another header")


def _list(data: memoryview, at: int) -> tuple[int, int, int]:
    """The number of items of a list, where they begin, and where the list ends."""
    size, items = _frame.unpack_from(data, at)
    if not 0 < -size <= len(data) - at:
        raise PageError(f"a list at byte {at} claims {-size} bytes of {len(data) - at}")
    return items, at + _frame.size, at - size


def _clusters(data: memoryview) -> Any:
    """The clusters of a page list."""
    count, at, after = _list(data, 2 * _word.size)
    summaries = []
    for _ in range(count):
        (size,) = _record.unpack_from(data, at)
        start, entries = _summary.unpack_from(data, at + _record.size)
        if not 0 < size <= after - at:
            raise PageError(f"the summary of a cluster claims {size} bytes of {after - at}")
        if entries >> 56 & SHARDED:
            raise NotImplementedError("sharded clusters")
        summaries.append((start, entries & (1 << 56) - 1))
        at += size
    number, at, _ = _list(data, after)
    if number != count:
        raise PageError(f"it has summaries of {count} clusters, and the pages of {number}")
    for start, entries in summaries:
        columns, inner, end = _list(data, at)
        frames = []
        for _ in range(columns):
            frames.append(inner)
            inner = _list(data, inner)[2]
        if inner > end:
            raise PageError(f"the columns of a cluster go {inner - end} bytes too far")
        yield Cluster(start, entries, data, tuple(frames))
        at = end


def _table(data: memoryview, frames: tuple[int, ...]) -> PageTable:
    """The pages of the columns whose lists begin at these bytes."""
    lists = [_list(data, at) for at in frames]
    counts, begins, ends = np.array(lists, np.int64).reshape(-1, 3).T
    bounds = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    if (counts * _PAGES.itemsize + _last.size > ends - begins).any():  # before anything of that size is allocated
        raise PageError("the pages of a column go beyond the end of their list")
    places = np.repeat(begins - _PAGES.itemsize * bounds[:-1], counts) + _PAGES.itemsize * np.arange(bounds[-1])
    pages = np.frombuffer(data, np.uint8)[places[:, None] + np.arange(_PAGES.itemsize)].view(_PAGES).reshape(-1)
    rests = begins + _PAGES.itemsize * counts
    if (pages["size"] < 0).any():  # not all places of pages have the same length
        rows, rests = [], begins.copy()
        for column, count in enumerate(counts):
            for _ in range(count):
                row, rests[column] = _one_page(data, int(rests[column]))
                rows.append(row)
        if (rests + _last.size > ends).any():
            raise PageError("the pages of a column go beyond the end of their list")
        elements, sizes, offsets = np.array(rows, np.int64).reshape(-1, 3).T
    else:
        elements, sizes, offsets = (pages[name].astype(np.int64) for name in ("elements", "size", "offset"))
    suppressed = np.array([_last.unpack_from(data, rest)[0] < 0 for rest in rests.tolist()], np.bool_)
    return PageTable(np.abs(elements), sizes, offsets, elements < 0, bounds, suppressed)


def _one_page(data: memoryview, at: int) -> tuple[tuple[int, int, int], int]:
    """Elements, size and place of one page whose locator may be of the large kind, and where the next one begins."""
    elements, size = _page.unpack_from(data, at)
    at += _page.size
    if size >= 0:
        return (elements, size, _place.unpack_from(data, at)[0]), at + _place.size
    if -size >> 24 != LARGE:
        raise NotImplementedError(f"locators of type {-size >> 24}")
    return (elements, *_large.unpack_from(data, at)), at + _large.size

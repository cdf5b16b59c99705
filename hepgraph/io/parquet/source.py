"""Parquet files through pyarrow, which is known here and in `hepgraph.io.parquet.arrow` only.

Only the row groups that a range overlaps are read, and in them only the leaves that are needed. Ranges follow the row
groups: small ones go together, and of a large one that is worked on in several ranges each process decodes every leaf
once.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet

from hepgraph.errors import ChangedFileError, DamagedFileError, SourceError
from hepgraph.graph.predicate import Predicate
from hepgraph.io.access.files import Files, Options, edge, is_remote, resolve, sniff
from hepgraph.io.access.handles import Handles, Known, Stamp, settings_of, stamp_of
from hepgraph.io.access.prefetch import Allowed, ahead, expect
from hepgraph.io.access.ranges import Bytes, Range, remote
from hepgraph.io.access.remote import system_options
from hepgraph.io.access.sparse import Fetched, SparseFile, fetched
from hepgraph.io.agreement import agreed
from hepgraph.io.forms import empty_data, fitted
from hepgraph.io.native.shared import DecodedCache
from hepgraph.io.parquet.arrow import LeafReader
from hepgraph.io.parquet.footer import Footer
from hepgraph.io.source import USUAL, Access, Column, Data, File, Need, Partition, Source
from hepgraph.io.trees import in_parallel

MOST_KEPT = 2**30  # bytes of decoded row groups that are kept for the ranges that are still to come


def open_parquet(
    files: Files,
    tree: str | None = None,
    step_size: int | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Options = None,
) -> Source:
    """The dataset of these Parquet files; raises MissingFileError, DamagedFileError or SourceError, naming the file.

    They have no trees, so that `tree`, which openers of all formats take, says nothing of them.
    """
    places = resolve(files, storage_options)
    for path, own in places:
        if own is not None:
            raise SourceError(f"{path} is taken for a Parquet file, which has no trees (asked for {own!r}).")

    def look(path: str) -> tuple[list[Column], File]:
        with _borrowed(path, storage_options) as opened, edge(path, "read the types of"):
            footer = opened.footer
            written = opened.stamp[:2] if opened.stamp is not None else None
            return footer.columns(), File(path, "", footer.edges[-1], footer.uuid, footer.edges, written=written)

    columns, kept = agreed(in_parallel(look, [path for path, _ in places]))
    return ParquetSource(columns, kept, step_size, metadata, storage_options)


class ParquetSource(Source):
    """A dataset of Parquet files."""

    kind = "Parquet"
    by_edges = True
    has_statistics = True

    def read(self, partition: Partition, needs: Mapping[str, Need], access: Access = USUAL) -> dict[str, Data]:
        columns = self.begin(partition, needs)
        if len(partition) == 0 or not columns:
            return {column.name: empty_data(column, need) for column, need in columns}
        file = self._places[partition.path, partition.tree]
        with self._handle(partition) as opened:
            _same(opened, file)
            flat, wanted = _wanted(columns)
            with edge(partition.path, f"read {', '.join(needs)}, entries {partition.start} to {partition.stop}, of"):
                found = {name: Data(None) for name in flat} | _read(opened, partition, wanted)
                return {column.name: fitted(column, found[column.name], need) for column, need in columns}

    def identity(self, file: File) -> str:
        """The hash of the footer alone would be that of other numbers of the same extremes and sizes, too."""
        return file.uuid if file.written is None else f"{file.uuid}-{file.written[0]}-{file.written[1]}"

    def trimmed(self, partition: Partition, predicates: Sequence[Predicate]) -> Partition:
        """The range without row groups at its ends in which, by the statistics, no entry passes all predicates."""
        if len(partition) == 0:
            return partition
        file = self._places[partition.path, partition.tree]
        with self._handle(partition) as opened:
            _same(opened, file)
            return self._trimmed(opened.footer, partition, predicates)

    def _trimmed(self, footer: Footer, partition: Partition, predicates: Sequence[Predicate]) -> Partition:
        with edge(partition.path, "read the statistics of"):
            some = [
                group
                for group in _groups(footer, partition)
                if all(self._possible(predicate, footer.extremes(predicate.column, group)) for predicate in predicates)
            ]
        if not some:
            return replace(partition, stop=partition.start)
        start = max(partition.start, footer.edges[some[0]])
        stop = min(partition.stop, footer.edges[some[-1] + 1])
        return replace(partition, start=start, stop=stop, first=partition.first + start - partition.start)

    def fetched(self, partition: Partition) -> int:
        """The entries of all row groups that a range overlaps."""
        edges = self._places[partition.path, partition.tree].edges
        if len(partition) == 0 or len(edges) < 2:
            return len(partition)
        return edges[bisect_left(edges, partition.stop)] - edges[bisect_right(edges, partition.start) - 1]

    def ahead(
        self,
        partition: Partition,
        needs: Mapping[str, Need],
        predicates: Sequence[Predicate] = (),
        access: Access = USUAL,
    ) -> None:
        """Begins to fetch the row groups of a range, which will soon be read; opens the file first if need be."""
        if len(partition) == 0:
            return
        if not is_remote(partition.path):
            expect(partition.path, lambda: self._where(partition, needs, predicates, access))
            return

        def open_first(allowed: Callable[[int], bool]) -> None:
            with _borrowed(partition.path, self.storage_options) as opened:
                footer = opened.footer
            self._begin(footer, partition, needs, predicates, access)

        key = _key_of(partition.path, self.storage_options)
        footer, _ = _footers.last(key)
        if footer is None:
            ahead.begin(("open", key), open_first)
            return
        with suppress(SourceError):  # whoever reads it says what is wrong
            self._begin(footer, partition, needs, predicates, access)

    def _some(
        self, footer: Footer, partition: Partition, needs: Mapping[str, Need], predicates: Sequence[Predicate]
    ) -> tuple[Partition, tuple[str, ...]]:
        """The columns that are read of a range, and the paths to them."""
        part = self._trimmed(footer, partition, predicates) if predicates else partition
        return part, _paths(footer, _wanted([(self.columns[name], need) for name, need in needs.items()])[1])

    def _where(
        self, partition: Partition, needs: Mapping[str, Need], predicates: Sequence[Predicate], access: Access
    ) -> list[Range]:
        """Where in a local file the row groups of a range are, but for those that are kept."""
        with self._handle(partition) as opened:
            footer, place = opened.footer, opened.content_key
        part, paths = self._some(footer, partition, needs, predicates)
        if len(part) == 0 or access.holds(self, part, needs):
            return []
        batches = [each for each in _batches(footer, part) if not kept.has(_decoded_key(place, footer, each, paths))]
        return [chunk for groups in batches for chunk in _chunks(footer, groups, paths)]

    def _begin(
        self,
        footer: Footer,
        partition: Partition,
        needs: Mapping[str, Need],
        predicates: Sequence[Predicate],
        access: Access,
    ) -> None:
        if footer.uuid != self._places[partition.path, partition.tree].uuid:
            return
        part, paths = self._some(footer, partition, needs, predicates)
        if len(part) == 0 or not paths:
            return
        place = _key_of(part.path, self.storage_options), None

        def work(allowed: Callable[[int], bool], groups: list[int]) -> Fetched | None:
            if access.holds(self, part, needs):
                return None
            with edge(part.path):
                data = Allowed(remote(part.path, self.storage_options), allowed)
                return fetched(data, list(_chunks(footer, groups, paths)))

        for groups in _batches(footer, part):
            key = _decoded_key(place, footer, groups, paths)
            if not kept.has(key):
                ahead.begin(key, partial(work, groups=groups))

    def _handle(self, partition: Partition) -> AbstractContextManager[_Opened]:
        if is_remote(partition.path):  # where it is being opened ahead, it need not be opened once more
            ahead.take(("open", _key_of(partition.path, self.storage_options)))
        return _borrowed(partition.path, self.storage_options)

    def _possible(self, predicate: Predicate, extremes: tuple[Any, Any] | None) -> bool:
        return extremes is None or predicate.possible(self.columns[predicate.column].dtype, *extremes)


# reading


def _same(opened: _Opened, file: File) -> None:
    stamp = opened.stamp if opened.path == file.path else None  # replicas were written at other times
    if opened.footer.uuid != file.uuid or (stamp and file.written and stamp[:2] != file.written):
        raise ChangedFileError(f"{file.path} changed after it was opened. Open the dataset again.")


def _groups(footer: Footer, partition: Partition) -> range:
    """The row groups that a range, which is not empty, overlaps."""
    return range(bisect_right(footer.edges, partition.start) - 1, bisect_left(footer.edges, partition.stop))


def _batches(footer: Footer, partition: Partition) -> list[list[int]]:
    """The row groups of a range, which is not empty, in batches to decode together: partial ones are alone."""
    groups, edges = list(_groups(footer, partition)), footer.edges
    first = groups[:1] if edges[groups[0]] < partition.start else []
    last = groups[-1:] if edges[groups[-1] + 1] > partition.stop and groups[-1:] != first else []
    return [batch for batch in (first, groups[len(first) : len(groups) - len(last)], last) if batch]


def _wanted(columns: Sequence[tuple[Column, Need]]) -> tuple[list[str], list[str]]:
    """The columns that need no reading (lengths of lists of flat ones), and those to read."""
    flat = [c.name for c, need in columns if need is Need.COUNTS and not c.levels and not c.records]
    return flat, [column.name for column, _ in columns if column.name not in flat]


def _paths(footer: Footer, names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(footer.place(name)[1] for name in names))


def _read(opened: _Opened, partition: Partition, names: list[str]) -> dict[str, Data]:
    if not names:
        return {}
    tables = _tables(opened, partition, _paths(opened.footer, names))
    table = tables[0] if len(tables) == 1 else pyarrow.concat_tables(tables)
    if table.num_rows != len(partition):
        raise DamagedFileError(f"{partition} gave {table.num_rows} entries.")
    reader = LeafReader(set(names))
    for top, column in zip(table.column_names, table.columns, strict=True):
        reader.read(top, column.chunk(0) if column.num_chunks == 1 else column.combine_chunks())
    return reader.found


def _tables(opened: _Opened, partition: Partition, paths: tuple[str, ...]) -> list[Any]:
    """The entries of a range: whole row groups together, parts of one as a slice of the shared one."""
    edges = opened.footer.edges
    found: list[Any] = []
    for groups in _batches(opened.footer, partition):
        begin, end = edges[groups[0]], edges[groups[-1] + 1]
        start, stop = max(partition.start, begin), min(partition.stop, end)
        if (start, stop) == (begin, end):
            found.append(_decoded(opened, groups, paths))
            continue
        key = _decoded_key(opened.content_key, opened.footer, groups, paths)
        table = kept.get(key, (stop - start, end - begin), partial(_decoded, opened, groups, paths))
        found.append(table.slice(start - begin, stop - start))
    return found


def _decoded_key(place: Hashable, footer: Footer, groups: list[int], paths: tuple[str, ...]) -> Hashable:
    return place, footer.uuid, tuple(groups), paths


def _decoded(opened: _Opened, groups: list[int], paths: tuple[str, ...]) -> Any:
    if opened.bytes is None:
        return _table_of(opened.file, groups, paths)
    metadata, size = opened.footer.metadata, opened.stream.seek(0, 2)
    before = ahead.take(_decoded_key(opened.content_key, opened.footer, groups, paths))
    if before is None:
        chunks = _chunks(opened.footer, groups, paths)
        before = fetched(opened.bytes, [(start, min(stop, size)) for start, stop in chunks])
    sparse = SparseFile(opened.bytes, size, before)
    with _file(sparse, metadata) as file:
        return _table_of(file, groups, paths)


def _chunks(footer: Footer, groups: list[int], paths: tuple[str, ...]) -> Iterator[Range]:
    """Where the leaves with these paths, or below them, are in these row groups."""
    leaves = sorted({leaf for path in paths for leaf in footer.below(path)})
    for group in map(footer.metadata.row_group, groups):
        for chunk in map(group.column, leaves):
            starts = [chunk.data_page_offset, *([chunk.dictionary_page_offset] * chunk.has_dictionary_page)]
            yield min(starts), min(starts) + chunk.total_compressed_size


def _table_of(file: Any, groups: list[int], paths: tuple[str, ...]) -> Any:
    with readers.reading() as alone:
        threads = alone and len(paths) > 1
        try:
            return file.read_row_groups(groups, columns=list(paths), use_threads=threads)
        except pyarrow.ArrowNotImplementedError:  # nested dictionaries, or texts beyond 2 GB: not in one go
            parts = [file.read_row_groups([group], columns=list(paths), use_threads=threads) for group in groups]
            return pyarrow.concat_tables(parts)


class _Readers:
    """How many read at a time: one alone may use all threads of pyarrow, several have a thread each."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[bool]:
        """Counts a reader for the length of a `with`; whether it is the only one, in this process or its siblings."""
        with self._lock:
            self._count += 1
            alone = self._count == 1 and not _has_parent()
        try:
            yield alone
        finally:
            with self._lock:
                self._count -= 1


def _has_parent() -> bool:
    """Whether this process is one of several that another one started."""
    process = sys.modules.get("multiprocessing.process")  # no child without it
    return process is not None and process.parent_process() is not None


readers = _Readers()


kept = DecodedCache(MOST_KEPT)


# opening


@dataclass(slots=True)
class _Opened:
    """An open Parquet file and its footer; the `stamp` of a local one."""

    path: str
    stamp: Stamp
    file: Any
    stream: Any
    key: Hashable
    footer: Footer
    bytes: Bytes | None = None  # of a remote file

    @property
    def content_key(self) -> Hashable:
        """The identity of its content, without the hash of the footer."""
        return self.key, self.stamp

    def close(self) -> None:
        self.file.close()
        if self.stream is not None:
            self.stream.close()


handles: Handles[_Opened] = Handles(close=_Opened.close)
_footers: Known[Footer] = Known(64)


@contextmanager
def _borrowed(path: str, options: Options) -> Iterator[_Opened]:
    key = _key_of(path, options)
    with handles.borrow(key, path, lambda: _open(key, path, options), options=options) as opened:
        yield opened


def _key_of(path: str, options: Options) -> Hashable:
    return path, settings_of(options)


def _open(key: Hashable, path: str, options: Options) -> _Opened:
    stamp = stamp_of(path)
    known, when = _footers.last(key)
    if known is not None and stamp is not None and stamp == when:  # another thread has it open
        with edge(path):
            return _Opened(path, stamp, _file(path, known.metadata), None, key, known)
    if (kind := sniff(path, options).name) != "Parquet":
        raise DamagedFileError(f"{path} is a {kind} file, not a Parquet file.")
    with edge(path), _whole(path):
        if is_remote(path):
            stream = fsspec.open(path, "rb", **system_options(path, options)).open()
            raw = _footer(stream)
            uuid = _hash(raw)
            same = known.metadata if known is not None and known.uuid == uuid else None
            file = _file(stream, same)
        else:
            with open(path, "rb") as local:
                raw = _footer(local)
            uuid = _hash(raw)
            stream, file = None, _file(path)
    with edge(path, "read the types of"):
        if known is None or known.uuid != uuid:
            known = Footer(uuid, file.metadata, file.schema_arrow, raw)
        _footers.keep(key, stamp, known)
        beyond = remote(path, options or {}) if is_remote(path) else None
        return _Opened(path, stamp, file, stream, key, known, beyond)


def _file(file: Any, metadata: Any = None) -> Any:
    return pyarrow.parquet.ParquetFile(file, metadata=metadata, page_checksum_verification=True)


@contextmanager
def _whole(path: str) -> Iterator[None]:
    """Says of a file that begins like Parquet and does not end like it that it is truncated."""
    try:
        yield
    except pyarrow.ArrowInvalid as error:
        if "magic bytes not found in footer" not in str(error):
            raise
        raise DamagedFileError(f"{path} is truncated: it begins like a Parquet file and has no footer.") from error


def _hash(footer: bytes) -> str:
    """A hash of the footer: it has the types, the sizes and positions of all chunks, and most often their extremes."""
    return hashlib.blake2b(footer, digest_size=16).hexdigest()


def _footer(stream: Any) -> bytes:
    """The footer, its length, and the magic bytes at the end."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 8))
    length = min(int.from_bytes(stream.read(8)[:4], "little") + 8, size)
    stream.seek(size - length)
    found: bytes = stream.read(length)
    stream.seek(0)
    return found

"""The columns that were read, kept decoded on a local disk, so that the next run need not decompress them again.

The files of a cache are `<file>/<column>/<start>-<stop>`: one column, of one range of entries of one file of the data.
The first part is a hash of all that tells a file of data from any other: its UUID, its tree, when it was written, its
size and number on the disk (of a remote one: size, time and tag, as far as the server tells). So a file that was
replaced is not found, and what was kept of it goes as the least used. Any range is put together from what is there;
what is missing is read from the data, and kept.

Whatever is wrong with the cache, the result is the same: what is damaged is read anew. `disk/folder.py` says what holds
for the directory, `columnfile.py` what is in a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hepgraph.arguments import parse_bytes
from hepgraph.disk.files import remove
from hepgraph.disk.folder import Folder
from hepgraph.errors import ChangedFileError
from hepgraph.io.access.files import is_remote
from hepgraph.io.access.identity import settled, state_of
from hepgraph.io.cache.columnfile import FileError, OpenedColumn, written
from hepgraph.io.cache.pieces import Pieces, size_of
from hepgraph.io.forms import fitted
from hepgraph.io.source import Access, Column, Data, Need, Partition, Source

FORMAT = 1  # raised when what readers make of a file changes: what was kept before is not used any more
SIZE = "20 GB"
NAME = re.compile(r"(\d+)-(\d+)(c?)")  # the entries of a column; c: no more than the lengths of its lists


@dataclass(frozen=True)
class ColumnCache:
    """A directory on a local disk that keeps the columns that were read, decoded.

    Those that were not used for longest go first. Processes that write at the same time may exceed the size by some
    eighths of it. On other machines the directory has the same path.

    Parameters
    ----------
    directory : str
        Directory, which is made if it is not there.
    size : int or str, default "20 GB"
        Most that is kept, in bytes or as "100 GB".

    Examples
    --------
    >>> ColumnCache("/scratch/columns", size="100 GB")
    ColumnCache(directory='/scratch/columns', size=100000000000)
    """

    directory: str
    size: int | str = SIZE

    def __post_init__(self) -> None:
        where = os.fspath(self.directory)
        if is_remote(where):
            raise ValueError(f"cache= takes a directory of this machine, not {where!r}")
        size = parse_bytes(self.size) if isinstance(self.size, str) else self.size
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"the size of a cache is a number of bytes or an amount like '20 GB', not {self.size!r}")
        object.__setattr__(self, "directory", os.path.abspath(os.path.expanduser(where)))
        object.__setattr__(self, "size", size)

    @property
    def bytes(self) -> int:
        """The bytes that it may hold."""
        return int(self.size)

    def fetch(self, source: Source, partition: Partition, needs: Mapping[str, Need], access: Access) -> dict[str, Data]:
        """As `source.read`: cached entries come from the cache, the others are read and stored.

        Parameters
        ----------
        source : Source
            Reader of the columns.
        partition : Partition
            Range of entries of a file.
        needs : dict of str to Need
            Columns, and of each whether its data or its counts are wanted.
        access : Access
            Ways in which the source is read.

        Returns
        -------
        dict of str to Data
            The columns of the range.
        """
        columns, access = source.checked(partition, needs), Access(shared=access.shared)  # what is kept is whole
        disk = _disk_of(self)
        where = _version(source, partition) if len(partition) and disk.usable() else None
        if where is None:
            return source.read(partition, needs, access)
        folder = _Folder(disk, source, partition, where)
        found: dict[str, list[tuple[int, int, Data, bool]]] = {}
        gaps: dict[tuple[int, int], dict[str, Need]] = {}
        for column, need in columns:
            kept = [] if _nothing(column, need) else list(folder.pieces(column, need))
            found[column.name] = [(start, stop, data, True) for start, stop, data in kept]
            if _nothing(column, need):
                found[column.name] = [(partition.start, partition.stop, fitted(column, Data(None), need), False)]
                continue
            at = partition.start
            for start, stop, _ in [*kept, (partition.stop, partition.stop, None)]:
                if start > at:
                    gaps.setdefault((at, start), {})[column.name] = need
                at = stop
        for (start, stop), missing in gaps.items():
            piece = replace(partition, start=start, stop=stop, first=partition.first + start - partition.start)
            read = source.read(piece, missing, access)
            if _version(source, partition) != where:
                raise ChangedFileError(f"{partition.path} changed while it was read. Open the dataset again.")
            for name, data in read.items():
                found[name].append((start, stop, data, False))
                folder.keep(source.columns[name], missing[name], start, stop, data)
        made = {}
        for column, _ in columns:
            parts = sorted(found[column.name], key=lambda part: part[0])
            data = folder.shared.join(column, [(stop - start, data) for start, stop, data, _ in parts])
            new = sum(size_of(data) for _, _, data, kept in parts if not kept)
            made[column.name] = replace(data, cached=max(0, size_of(data) - new))
        return made

    def holds(self, source: Source, partition: Partition, needs: Mapping[str, Need]) -> bool:
        """Whether there is a file of each of these columns, for this range and no other.

        Parameters
        ----------
        source : Source
            Reader of the columns.
        partition : Partition
            Range of entries of a file.
        needs : dict of str to Need
            Columns, and of each whether its data or its counts are wanted.

        Returns
        -------
        bool
            True if nothing would be read.
        """
        disk = _disk_of(self)
        where = _version(source, partition) if disk.usable() else None
        if where is None:
            return False
        folder = _Folder(disk, source, partition, where)
        columns = [(source.columns[name], need) for name, need in needs.items()]
        return all(_nothing(column, need) or folder.has(column, need) for column, need in columns)


def cache_of(cache: Any) -> ColumnCache | None:
    """The cache that a user means by None, a directory or a ColumnCache.

    Warns at once, in the user's process, if the directory cannot be used.
    """
    if cache is None or isinstance(cache, ColumnCache):
        found = cache
    elif isinstance(cache, str | os.PathLike):
        found = ColumnCache(os.fspath(cache))
    else:
        raise ValueError(f"cache= takes a directory or a hg.ColumnCache, not {cache!r}")
    if found is not None:
        _disk_of(found).usable()
    return found


def _nothing(column: Column, need: Need) -> bool:
    """Whether nothing is needed of a column: the lengths of lists of a flat one."""
    return need is Need.COUNTS and not column.levels and not column.records


# what tells files of data apart


def _version(source: Source, partition: Partition) -> str | None:
    """The identity of a file; None if it is unknown."""
    path, file = partition.path, source.file_of(partition)
    identity = source.identity(file)
    if not identity:
        return None
    state = state_of(path, source.storage_options)
    if state is None:
        return None
    return repr((FORMAT, type(source).__name__, identity, partition.tree, file.entries, state))


# files


def _hash(text: str, size: int = 16) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


class _Folder:
    """The entries of the cache for one range of one file."""

    def __init__(self, disk: Folder, source: Source, partition: Partition, version: str) -> None:
        self.disk, self.partition, self.version = disk, partition, version
        self.path = os.path.join(disk.directory, _hash(version))
        self.shared = Pieces()
        self._offsets: dict[str, Any] = {}
        self.settled = settled(partition.path)

    def pieces(self, column: Column, need: Need) -> Iterator[tuple[int, int, Data]]:
        """The parts of a column that are there, from the first entry on, none of them overlapping."""
        at, stop = self.partition.start, self.partition.stop
        for name in (f"{at}-{stop}", f"{at}-{stop}c"):
            if (name[-1] != "c" or need is Need.COUNTS) and (data := self._load(column, need, name)) is not None:
                yield at, stop, data
                return
        for begin, end, name in self._there(column, need):
            first, last = max(at, begin), min(stop, end)
            if first < last and (data := self._load(column, need, name)) is not None:
                yield first, last, self.shared.cut(column, data, first - begin, last - begin)
                at = last

    def has(self, column: Column, need: Need) -> bool:
        """Whether there is a file of a column, for this very range."""
        whole = os.path.join(self._of(column), f"{self.partition.start}-{self.partition.stop}")
        return os.path.exists(whole) or (need is Need.COUNTS and os.path.exists(whole + "c"))

    def keep(self, column: Column, need: Need, start: int, stop: int, data: Data) -> None:
        """Writes the data of a column, of a range of its own."""
        if not self.settled:
            return
        name = f"{start}-{stop}{'c' if need is Need.COUNTS else ''}"
        self.disk.write(self._of(column), name, written(self._about(column, name), data))

    def _of(self, column: Column) -> str:
        return os.path.join(self.path, _hash(_kind(column), 12))

    def _about(self, column: Column, name: str) -> list[str]:
        return [self.version, _kind(column), name]

    def _there(self, column: Column, need: Need) -> list[tuple[int, int, str]]:
        """Entries that overlap the range: where they begin and end, the longest first of those that begin together."""
        try:
            names = os.listdir(self._of(column))
        except OSError:
            return []
        found = []
        for name in names:
            match = NAME.fullmatch(name)
            if match is None or (match[3] and need is Need.DATA):
                continue
            begin, end = int(match[1]), int(match[2])
            if begin < self.partition.stop and end > self.partition.start:
                found.append((begin, -end, name))
        return [(begin, -end, name) for begin, end, name in sorted(found)]

    def _load(self, column: Column, need: Need, name: str) -> Data | None:
        path = os.path.join(self._of(column), name)
        content = self.disk.content(path)
        if content is None:
            return None
        begin, end = map(int, name.rstrip("c").split("-"))
        try:
            data = OpenedColumn(content, self._offsets).read(self._about(column, name), column, need, end - begin)
            return fitted(column, data, need)
        except (FileError, OSError, ValueError, KeyError, TypeError):  # damaged: read anew
            remove(path)
            return None


def _kind(column: Column) -> str:
    told = column.name, column.dtype.str, column.levels, column.nullable, column.text, column.records
    return repr(told)


_disks: dict[ColumnCache, Folder] = {}
_disking = threading.Lock()


def _disk_of(cache: ColumnCache) -> Folder:
    with _disking:
        return _disks.setdefault(cache, Folder(cache.directory, cache.bytes, NAME, "column cache"))

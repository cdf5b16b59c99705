"""The protocol of readers of any format: columns and partitions without reading data, then flat native buffers.

A *column* is one leaf of numbers (or text) with its list levels; a branch of records gives several columns with dotted
names (`Muon.pt`). A source knows the columns of its files, united, and how each file differs; asking for a column that
a file does not have is an error that names both.
"""

from __future__ import annotations

import hashlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import pairwise
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from hepgraph.arguments import check_step_size, parse_bytes
from hepgraph.errors import (
    ChangedFileError,
    DamagedFileError,
    DisagreementError,
    MissingColumnError,
    MissingFileError,
    not_in_all,
    suggestion,
)
from hepgraph.graph.predicate import Predicate

E = TypeVar("E", bound=BaseException)

STEP_SIZE = 100_000  # entries in a range where the user says nothing


class Need(Enum):
    """The need of a column."""

    DATA = "data"
    COUNTS = "counts"


@dataclass(frozen=True, slots=True)
class Level:
    """One list level of a column: lists of any length, or all of `size` elements; `nullable` if a list may be None.

    `name` is the dotted name of the branch or record that the list belongs to: columns that share it share their lists.
    None stands for the name of the column.
    """

    size: int | None = None
    nullable: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True)
class RecordLevel:
    """One record that a column is in and that a file allows to be None: its dotted name, and the lists around it.

    `nullable` is false where it is known that none is.
    """

    name: str
    level: int
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Column:
    """One leaf of a file: its dtype, its list levels from the outside in, and what is known about it.

    `dtype` is in native byte order; of a text column it is `uint8` and `text` is true (the innermost level is then the
    characters of a string, and is not counted in `levels`). `nullable`, of the column and of its levels, is about
    values and lists whose records are there: `records` are those of its records that may themselves be None, from the
    outside in, and `optional` and `optional_list` tell both together. `counts` names the flat integer column that holds
    the lengths of the first level, where the file has one (`nJet`). `bytes` is the size on disk, of all files, and
    `memory` the size when read, both as far as the metadata tells. `problem`, when not empty, says why the column
    cannot be read at all. `late`: the first file lacks it.
    """

    name: str
    dtype: np.dtype[Any]
    levels: tuple[Level, ...] = ()
    nullable: bool = False
    text: bool = False
    counts: str | None = None
    title: str = ""
    bytes: int = 0
    memory: int = 0
    problem: str = ""
    records: tuple[RecordLevel, ...] = ()
    late: bool = False

    @property
    def optional(self) -> bool:
        """Whether a value may be None, or a record that it is in."""
        return self.nullable or self._in_none(len(self.levels))

    def optional_list(self, level: int) -> bool:
        """Whether a list of this level may be None, or a record that it is in."""
        return self.levels[level].nullable or self._in_none(level)

    def level_name(self, level: int) -> str:
        """The name that a list level is known by."""
        name = self.levels[level].name
        return self.name if name is None else name

    def _in_none(self, level: int) -> bool:
        return any(record.nullable and record.level == level for record in self.records)

    @property
    def type(self) -> str:
        """The type as awkward would print it, of the column alone."""
        text = "string" if self.text else str(self.dtype)
        text = ("?" if self.optional else "") + text
        for index, level in reversed(list(enumerate(self.levels))):
            text = f"{'var' if level.size is None else level.size} * {text}"
            text = f"option[{text}]" if self.optional_list(index) else text
        return text

    def without_none(self) -> Column:
        """The column where it is known that nothing in it is None."""
        levels = tuple(replace(level, nullable=False) for level in self.levels)
        records = tuple(replace(record, nullable=False) for record in self.records)
        return replace(self, nullable=False, levels=levels, records=records)


@dataclass(slots=True)
class Data:
    """The content of one column in one partition.

    `values` are flat and native (the bytes of all strings, for text); `None` when only counts were asked for.
    `offsets` has one int64 array for each level, outermost first, each starting at 0 (fixed-size levels included), and
    one more for text. `valid` and `level_valid` are boolean arrays where something may be None (the value, or the
    record that it is in), else `None`: an absent value keeps its place in `values`, an absent list has length zero.
    `records` has a boolean array for each record of the column that may be None, by name; all are there where it has
    none. `sums` are the offsets of the lists that have the values as lengths, if the reader made them. `cached` bytes
    came from the column cache; `skipped` bytes of the file were not read, as their entries were masked out.
    """

    values: np.ndarray[Any, Any] | None
    offsets: tuple[np.ndarray[Any, Any], ...] = ()
    valid: np.ndarray[Any, Any] | None = None
    level_valid: tuple[np.ndarray[Any, Any] | None, ...] = ()
    records: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    sums: np.ndarray[Any, Any] | None = None
    cached: int = 0
    skipped: int = 0

    def mask(self, level: int) -> np.ndarray[Any, Any] | None:
        """Which lists of a level are not None; None if all are."""
        return self.level_valid[level] if level < len(self.level_valid) else None

    @property
    def nbytes(self) -> int:
        """The size in memory."""
        return sum(part.nbytes for part in (self.values, *self.offsets) if part is not None)


@dataclass(frozen=True, slots=True)
class Partition:
    """A range of entries of one file. `first` is the number of entries of the dataset that come before it."""

    path: str
    tree: str
    start: int
    stop: int
    first: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        where = f"{self.path}:{self.tree}" if self.tree else self.path
        return f"{where}[{self.start}:{self.stop}]"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a source: its entries, the edges at which its data are stored, and where it departs from the first.

    `edges`: entry numbers, 0 to `entries`, of clusters or row groups. `differs`: how columns cannot be united with
    those of the dataset, by name; `lacks`: columns that it has not; `stored`: types of columns that are others there.
    `written`: time and size of a local file, if `uuid` does not tell.
    """

    path: str
    tree: str
    entries: int
    uuid: str = ""
    edges: tuple[int, ...] = ()
    differs: Mapping[str, str] = field(default_factory=dict)
    replicas: tuple[str, ...] = ()
    limit: int | None = None
    written: tuple[int, int] | None = None
    lacks: tuple[str, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> int:
        """The number of entries that are run over: all, or the first `limit` ones."""
        return self.entries if self.limit is None else min(self.limit, self.entries)


@dataclass(frozen=True, slots=True)
class Absent:
    """A file of a dataset that could not be opened, though others could: where it would be among them, and why."""

    path: str
    tree: str
    before: int
    error: str
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """One column that was read from one file."""

    path: str
    column: str
    need: Need


_notes: list[list[Reading]] = []
_noting = threading.Lock()


@contextmanager
def reads() -> Iterator[list[Reading]]:
    """A list that fills with what any source reads in this process, in any thread, while inside the `with`.

    >>> with reads() as seen:
    ...     pass
    >>> seen
    []
    """
    mine: list[Reading] = []
    with _noting:
        _notes.append(mine)
    try:
        yield mine
    finally:
        with _noting:
            _notes[:] = [notes for notes in _notes if notes is not mine]


class Caching(Protocol):
    """A cache between a source and those who read from it."""

    def fetch(self, source: Source, partition: Partition, needs: Mapping[str, Need], access: Access) -> dict[str, Data]:
        """As `Source.fetch`: cached, or read and then cached."""

    def holds(self, source: Source, partition: Partition, needs: Mapping[str, Need]) -> bool:
        """Whether all these columns of a range are likely to be cached."""


@dataclass(frozen=True, eq=False)
class Access:
    """Settings of a run for its reads, and the state of the range that is being read (`of_range`).

    Of the run: the column `cache`; `entries`, the most in a range where the user gives no `step_size`; `shared`, the
    most bytes of decoded baskets, pages and row groups to keep for other ranges that overlap them.

    Of one range: `entry_mask`, a boolean array over its entries: values of masked-out entries are unspecified, offsets
    stay consistent; `already_read`, other columns of it.
    """

    cache: Caching | None = None
    entries: int | None = None
    shared: int | None = None
    entry_mask: Any = None
    already_read: Mapping[str, Data] = field(default_factory=dict)

    def of_range(self, entry_mask: Any, already_read: Mapping[str, Data]) -> Access:
        """The same settings, for a read of further columns of a range."""
        return replace(self, entry_mask=entry_mask, already_read=already_read)

    def holds(self, source: Source, partition: Partition, needs: Mapping[str, Need]) -> bool:
        """Whether the columns of a range are likely to be in the cache."""
        return self.cache is not None and self.cache.holds(source, partition, needs)


USUAL = Access()


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Source(ABC):
    """A dataset: files of one format with the same columns. It is a value: whatever is said of a run goes to a read."""

    columns: dict[str, Column]
    late: dict[str, Column]  # those that the first file lacks
    files: tuple[File, ...]
    step_size: int | str | None  # None: about `usual_step` entries, split where clusters end
    metadata: dict[str, Any]
    storage_options: dict[str, Any]
    absent: tuple[Absent, ...]
    npartitions: int | None
    lost: frozenset[tuple[str, str]]  # references whose indices count in lists that are not here any more
    _places: dict[tuple[str, str], File]
    kind = ""  # of content, as its row in `formats` names it
    usual_step = STEP_SIZE
    token = ""  # tells it from another one with the same content
    by_edges = False  # whether ranges end where clusters or row groups do whatever the user said
    has_statistics = False  # whether `trimmed` knows anything
    shares: ClassVar[tuple[tuple[str, str], ...]] = ()  # columns whose outermost lists are shared, by one name
    optional: ClassVar[Mapping[str, Any]] = {}  # columns that files may lack; what stands for them there
    varies: ClassVar[Mapping[str, str]] = {}  # columns that are alternatives of others, and of which
    authoritative_counts = False  # whether the column that `counts` names is what makes lists, not just beside them
    skips_masked = False  # whether `read` reads less with an `entry_mask`

    def __init__(
        self,
        columns: Iterable[Column],
        files: Iterable[File],
        step_size: int | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        absent: Iterable[Absent] = (),
        npartitions: int | None = None,
        lost: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        if not isinstance(metadata, Mapping | None):
            raise TypeError(f"metadata must be a dict, not {metadata!r}")
        files = tuple(files)
        first = frozenset(files[0].lacks) if files else frozenset()  # which may be another one now
        known = {each.name: replace(each, late=each.name in first) if each.late else each for each in columns}
        vars(self).update(
            columns={name: column for name, column in known.items() if not column.late},
            late={name: column for name, column in known.items() if column.late},
            files=files,
            step_size=check_step_size(step_size),
            metadata=dict(metadata or {}),
            storage_options=dict(storage_options or {}),
            absent=tuple(absent),
            npartitions=npartitions,
            lost=lost,
            _places={(path, file.tree): file for file in files for path in (*file.replicas, file.path)},
        )

    @abstractmethod
    def read(self, partition: Partition, needs: Mapping[str, Need], access: Access = USUAL) -> dict[str, Data]:
        """The needed columns of one partition; the cache is not looked at.

        Raises MissingColumnError, DisagreementError or DamagedFileError, each naming file and column.
        """

    def may_skip(self, column: Column) -> bool:
        """Whether `read` may leave out something of a column with an `entry_mask`."""
        return False

    def fetch(self, partition: Partition, needs: Mapping[str, Need], access: Access = USUAL) -> dict[str, Data]:
        """`read`, through the cache, and from the next replica where a file cannot be read; checks that all is there.

        An error carries `read_from`, the path, which tells it from errors of the user's code.
        """
        file = self._places.get((partition.path, partition.tree))
        failures: list[OSError] = []
        for path in in_turn((partition.path, *(file.replicas if file else ()))):
            place = replace(partition, path=path)
            try:
                if access.cache is not None:
                    found = access.cache.fetch(self, place, needs, access)
                else:
                    found = self.read(place, needs, access)
                _check_entries(place, needs, found)
            except (MissingColumnError, DisagreementError):
                raise
            except OSError as error:
                failures.append(marked(error, path))
            except MemoryError as error:
                marked(error, path)
                raise
            else:
                return found
        raise worst(failures)

    def ahead(  # noqa: B027
        self,
        partition: Partition,
        needs: Mapping[str, Need],
        predicates: Sequence[Predicate] = (),
        access: Access = USUAL,
    ) -> None:
        """A hint that this range, as it is `trimmed` by these predicates, will soon be fetched; never raises."""

    def fetched(self, partition: Partition) -> int:
        """The number of entries whose bytes are read for a range: more than its own where it cuts row groups."""
        return len(partition)

    def begin(self, partition: Partition, needs: Mapping[str, Need]) -> list[tuple[Column, Need]]:
        """The columns that a reader is about to read, after checking that this file has them; noted for `reads`."""
        columns = self.checked(partition, needs)
        with _noting:
            for notes in _notes:
                notes += [Reading(partition.path, name, need) for name, need in needs.items()]
        return columns

    def checked(self, partition: Partition, needs: Mapping[str, Need]) -> list[tuple[Column, Need]]:
        """The columns that are wanted, after checking that there is such a range and that its file has them."""
        file = self._places.get((partition.path, partition.tree))
        if file is None:
            raise MissingFileError(f"{partition} is not a part of {self.name}.")
        if not 0 <= partition.start <= partition.stop <= file.entries:
            raise DisagreementError(f"{partition} goes beyond the {file.entries} entries of the file.")
        self._check(needs, [file])
        return [(self.columns[name], need) for name, need in needs.items()]

    def file_of(self, partition: Partition) -> File:
        """The file that a range is of."""
        return self._places[partition.path, partition.tree]

    def identity(self, file: File) -> str:
        """The identity of a file's content, from its metadata."""
        return file.uuid

    def trimmed(self, partition: Partition, predicates: Sequence[Predicate]) -> Partition:
        """The range without entries at its ends that are known, without reading them, to fail one of the predicates."""
        return partition

    @property
    def entries(self) -> int:
        """The number of entries of all files."""
        return sum(file.wanted for file in self.files)

    @property
    def name(self) -> str:
        """A short name for messages: the first path, and how many more there are."""
        if not self.files:
            return "no files"
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0].path}{more}"

    def partitions(self, needed: Collection[str] | None = None, access: Access = USUAL) -> tuple[Partition, ...]:
        """The ranges to run over: `npartitions` equal ones, or by `step_size` in entries or bytes of `needed` columns.

        A range never spans two files. A source without entries has one empty partition, so that results exist.
        """
        if self.npartitions is not None:
            return self._equal_parts(self.npartitions)
        step = self._entries_per_step(self.columns if needed is None else needed, access.entries)
        return (
            tuple(self._ranges(lambda file, _: self.split_points(file, step, access.entries is not None)))
            or self._empty()
        )

    def _ranges(self, split_points: Callable[[File, int], Iterable[int]]) -> list[Partition]:
        """The ranges between the split points of each file, given it and the number of entries before it."""
        found: list[Partition] = []
        first = 0
        for file in self.files:
            ends = pairwise(split_points(file, first))
            found += [Partition(file.path, file.tree, a, b, first + a) for a, b in ends if b > a]
            first += file.wanted
        return found

    def split_points(self, file: File, step: int, at_most: bool = False) -> list[int]:
        """The entries at which a file is split into ranges of about, or at most, a step: from 0 to all of them.

        Row groups are not split without need, nor are clusters unless the user gave a step size: small
        ones go together up to a step, large ones are split into equal pieces.
        """
        if not self.by_edges and self.step_size is not None:
            pieces = max(1, round(file.wanted / step)) if file.wanted > step else 1
            return [file.wanted * i // pieces for i in range(pieces + 1)]
        found = [0]
        for start, stop in pairwise(file.edges if len(file.edges) > 1 else (0, file.wanted)):
            if start > found[-1] and stop - found[-1] > step:
                found.append(start)
            pieces = -(-(stop - start) // step) if at_most else round((stop - start) / step)
            if pieces > 1:
                found += [start + (stop - start) * i // pieces for i in range(1, pieces + 1)]
        return [*(edge for edge in found if edge < file.wanted), file.wanted] if file.wanted else [0]

    def repartition(self, npartitions: int | None = None, step_size: int | str | None = None) -> Source:
        """The same data in other ranges: about `npartitions` of them, or of `step_size` entries or bytes each."""
        if npartitions is not None and npartitions < 1:
            raise ValueError(f"npartitions must be at least 1, not {npartitions}")
        step_size = self.step_size if step_size is None or npartitions is not None else check_step_size(step_size)
        other = object.__new__(type(self))
        vars(other).update(vars(self), npartitions=npartitions, step_size=step_size)
        return other

    def check(self, needed: Iterable[str]) -> None:
        """Raises if a needed column is absent, unreadable, or not the same in every file; names file and column."""
        self._check(needed, self.files)

    def unchanged(self, names: Iterable[str]) -> None:  # noqa: B027
        """Raises ChangedError if these columns were changed in place, as arrays in memory can be."""

    def _check(self, needed: Iterable[str], files: Iterable[File]) -> None:
        for name in needed:
            if name in self.late:
                raise DisagreementError(self.lacking(name))
            if name not in self.columns:
                raise MissingColumnError(f"No column {name!r} in {self.name}.\n{suggestion(name, self.columns)}")
            if problem := self.columns[name].problem:
                raise MissingColumnError(f"Column {name!r} of {self.name} cannot be read: {problem}")
            for file in files:
                found = self.read_for(name, file)
                if found in file.lacks and found not in self.optional:
                    raise DisagreementError(self.lacking(found))
                if found in file.differs:
                    first = next(each for each in self.files if found not in each.lacks)
                    raise DisagreementError(
                        f"The files of this dataset disagree on column {found!r}.\nFirst file: {first.path}: "
                        f"{self.columns[found].type}\nThis file:  {file.path}: {file.differs[found]}"
                    )

    def read_for(self, name: str, file: File) -> str:
        """The column that is read for one in a file: itself, or one that stands for it where the file lacks it."""
        while name in file.lacks and (stand := self.optional.get(name)) is not None and stand.copies:
            name = stand.value
        return name

    def lacking(self, name: str) -> str:
        """The files that lack a column, in words, and how to say that they may."""
        there, lack = ([file.path for file in self.files if (name in file.lacks) == gone] for gone in (False, True))
        column = self.columns.get(name) or self.late[name]
        return not_in_all(name, column.type, there, lack, self.varies.get(name))

    def _empty(self) -> tuple[Partition, ...]:
        file = self.files[0] if self.files else File("", "", 0)
        return (Partition(file.path, file.tree, 0, 0, 0),)

    def _equal_parts(self, count: int) -> tuple[Partition, ...]:
        ends = {self.entries * i // count for i in range(count + 1)}
        found = self._ranges(
            lambda file, first: sorted({c - first for c in ends if first < c < first + file.wanted} | {0, file.wanted})
        )
        if len(self.files) <= 1:  # keep the number asked for, even where some are empty
            path, tree = (self.files[0].path, self.files[0].tree) if self.files else ("", "")
            while len(found) < count:
                found.append(Partition(path, tree, self.entries, self.entries, self.entries))
        return tuple(found) or self._empty()

    def _entries_per_step(self, needed: Iterable[str], most: int | None) -> int:
        if self.step_size is None:
            return min(self.usual_step, most or self.usual_step)
        if isinstance(self.step_size, int):
            return self.step_size
        total = sum(self.columns[name].memory for name in needed if name in self.columns)
        per_entry = max(total / max(self.entries, 1), 1.0)
        return max(1, int(parse_bytes(self.step_size) / per_entry))


_broken: dict[str, float] = {}  # the paths that could not be read from, and when that was


def in_turn(paths: Sequence[str]) -> list[str]:
    """The places of one file in the order to try them: those that failed in this process come last."""
    return sorted(paths, key=lambda path: _broken.get(path, 0.0)) if len(paths) > 1 else list(paths)


def marked(error: E, path: str) -> E:
    """The error of a read, saying so."""
    _broken[path] = time.monotonic()
    error.read_from = path  # type: ignore[attr-defined]
    return error


def worst(failures: Sequence[OSError]) -> OSError:
    """The error to raise after all places of a file have failed: one that may pass if there is one."""
    lasting = (MissingFileError, DamagedFileError, ChangedFileError)
    chosen = next((error for error in failures if not isinstance(error, lasting)), failures[0])
    for other in failures:
        if other is not chosen:
            chosen.add_note(f"another place of the same file: {str(other).splitlines()[0]}")
    return chosen


def _check_entries(partition: Partition, needs: Mapping[str, Need], found: Mapping[str, Data]) -> None:
    for name in needs:
        data = found[name]
        if not data.offsets and data.values is None:
            continue
        entries = len(data.offsets[0]) - 1 if data.offsets else len(data.values)  # type: ignore[arg-type]
        if entries != len(partition):
            raise DamagedFileError(f"Column {name!r} of {partition} has {entries} entries, not {len(partition)}.")


@dataclass(frozen=True)
class Origin:
    """A source as part of a graph, and how it is read: equal if files (also missing ones), ranges and metadata are."""

    source: Source = field(compare=False)
    key: str
    access: Access = field(default=USUAL, compare=False)

    @classmethod
    def of(cls, source: Source, access: Access = USUAL) -> Origin:
        """The origin of a source."""
        files = [(file.path, file.tree, file.entries, file.limit, source.identity(file)) for file in source.files]
        settings = source.npartitions, source.step_size, source.metadata, source.absent, access.cache, source.token
        told = repr((type(source).__name__, files, *settings, source.shares, dict(source.optional)))
        return cls(source, hashlib.sha256(told.encode()).hexdigest(), access)

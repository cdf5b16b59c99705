"""Columns for the engine: which ones a graph needs, and their buffers in one partition."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from hepgraph.errors import DamagedFileError, MissingColumnError
from hepgraph.graph.canonical import TEXT
from hepgraph.graph.consistency import check_lengths
from hepgraph.graph.node import Item, Node, Space
from hepgraph.io.agreement import fetched, lacks_values
from hepgraph.io.source import Access, Column, Data, Need, Origin, Partition, Source, marked

Array = np.ndarray[Any, Any]

Needs = dict[Origin, dict[str, Need]]


def texts_of(data: Data) -> Array:
    """The texts of a column of characters; raises ValueError if one is not UTF-8."""
    assert data.values is not None
    raw, bounds = data.values.tobytes(), data.offsets[-1].tolist()
    texts: list[str] = []
    try:
        texts.extend(raw[a:b].decode() for a, b in pairwise(bounds))
    except UnicodeDecodeError:
        wrong = raw[bounds[len(texts)] : bounds[len(texts) + 1]]
        shown = f"{wrong[:40]!r}{'...' * (len(wrong) > 40)}"
        raise ValueError(f"text number {len(texts)}, {shown}, is not UTF-8") from None
    return np.array(texts, dtype=TEXT)


@dataclass
class _Asked:
    """Parts of a graph that have to be read: columns, and levels of lists and records, which several columns tell."""

    columns: Needs = field(default_factory=dict)
    lists: list[tuple[Origin, str, int]] = field(default_factory=list)
    checks: list[tuple[Origin, Sequence[str]]] = field(default_factory=list)  # columns, one of which checks lengths
    records: list[tuple[Origin, str]] = field(default_factory=list)

    def add(self, item: Item) -> None:
        """Adds what an item reads itself."""
        if isinstance(item, Node) and item.op in ("load", "load_valid"):
            self.columns.setdefault(item.param[0], {})[item.param[1]] = Need.DATA
        elif isinstance(item, Node) and item.op == "list_valid":
            self.lists.append(item.param)
        elif isinstance(item, Node) and item.op == "record_valid":
            self.records.append(item.param)
        elif isinstance(item, Space) and item.kind == "leaf":
            origin, name, level = item.param
            if isinstance(level, int):
                self.lists.append((origin, name, level))
            else:
                self.columns.setdefault(origin, {})[name] = Need.DATA
                self.checks += [(origin, level)] if level else []
        elif isinstance(item, Space) and item.kind == "events":
            self.columns.setdefault(item.param, {})


def needs_of(order: Iterable[Item], among: Needs | None = None) -> Needs:
    """The columns that the items of a graph read, by dataset: their data, or their lengths alone.

    Lengths are those of one of the columns `among` which some are read anyway, if these are told.
    """
    asked = _Asked()
    for item in order:
        asked.add(item)
    found = asked.columns
    for origin, name in asked.records:  # before the lists, as a column of these records has the lists around them
        have = found.setdefault(origin, {})
        if not any(has_record(origin.source.columns[column], name) for column in have):
            have[record_holder(origin.source, name).name] = Need.DATA
    for origin, name, level in asked.lists:
        have = found.setdefault(origin, {})
        if not any(has_level(origin.source.columns[column], name, level) for column in have):
            have[holder(origin.source, name, level, None if among is None else among[origin]).name] = Need.COUNTS
    for origin, names in asked.checks:
        have = found[origin]
        if not any(name in have for name in names):
            have[witness(origin.source, names, None if among is None else among[origin])] = Need.COUNTS
    return found


def witness(source: Source, names: Iterable[str], among: Collection[str] | None = None) -> str:
    """The smallest of some columns, whose lists tell whether a column of lengths is right."""
    return _smallest(source.columns[n] for n in names if n in source.columns and (among is None or n in among)).name


def holder(source: Source, name: str, level: int, among: Iterable[str] | None = None) -> Column:
    """The smallest column that has a list level; a level is known by the name of the branch or record that it is of."""
    columns = source.columns.values() if among is None else [source.columns[other] for other in among]
    some = [column for column in columns if has_level(column, name, level) and not column.problem]
    return _smallest(some, f"No column of {source.name} has the lists of {name!r}.")


def record_holder(source: Source, name: str) -> Column:
    """The smallest column that tells which records of this name are None."""
    some = [column for column in source.columns.values() if has_record(column, name) and not column.problem]
    return _smallest(some, f"No column of {source.name} that can be read tells which records {name!r} are None.")


def _smallest(columns: Iterable[Column], missing: str = "") -> Column:
    found = min(columns, key=lambda column: (column.memory, column.name), default=None)
    if found is None:
        raise MissingColumnError(missing)
    return found


def has_record(column: Column, name: str) -> bool:
    """Whether a column tells which records of a name are None."""
    return any(record.name == name and record.nullable for record in column.records)


def has_level(column: Column, name: str, level: int) -> bool:
    """Whether a column has a list level of a name."""
    return len(column.levels) > level and column.level_name(level) == name


class Loaded:
    """The columns of one partition, as an interpreter asks for them (see `interpreter.Provider`).

    Those of `needs` are read at once; with `on_demand`, others when they are looked at. `seconds` is the time that
    reading took, and `failure` an error of it, whatever became of that.
    """

    def __init__(
        self,
        main: Origin,
        partition: Partition,
        needs: Needs,
        access: Access | None = None,
        on_demand: bool = False,
    ) -> None:
        self.main, self.partition, self.on_demand = main, partition, on_demand
        self.access = access or main.access
        self.data: dict[Origin, dict[str, Data]] = {}
        self.numbers: Array | None = None  # of the entries in the file, where they are not one after the other
        self.seconds = 0.0
        self.failure: OSError | MemoryError | None = None
        self._entries_read: dict[str, Array] = {}
        self._told: dict[tuple[Origin, str], Sequence[str]] = {}  # columns of lengths, and those that must have them
        self.add(needs)

    def add(self, needs: Needs, entry_mask: Array | None = None) -> None:
        """Reads what is not there yet; values of entries that are masked out may be left out."""
        start, first = time.perf_counter(), self.partition.first
        beside = Partition("<memory>", "", first, first + len(self.partition), first)
        for origin, columns in needs.items():
            have = self.data.setdefault(origin, {})
            wanted = {
                name: need for name, need in columns.items() if name not in have or lacks_values(have[name], need)
            }
            try:
                if wanted and origin == self.main:
                    have |= self._fetched(wanted, self.access.of_range(entry_mask, have))
                    if entry_mask is not None:
                        self._entries_read |= dict.fromkeys(wanted, entry_mask)
                elif wanted:
                    have |= origin.source.fetch(beside, wanted)
            except (OSError, MemoryError) as error:
                self.failure = error if hasattr(error, "read_from") else self.failure
                raise
        self.seconds += time.perf_counter() - start

    def _fetched(self, needs: Mapping[str, Need], access: Access) -> dict[str, Data]:
        return fetched(self.main.source, self.partition, needs, access)

    def entries(self, origin: Origin) -> tuple[int, int]:
        """The number of entries of the partition, and how many of the dataset come before it."""
        return len(self.partition), self.partition.first

    def offsets(self, origin: Origin, column: str, level: Any) -> Array:
        """The offsets of a list level; without a number, from a column of lengths, which those of lists must be."""
        if isinstance(level, int):
            return self._holder(origin, column, level).offsets[level]
        from hepgraph.io.native.loops import summed  # which compiles

        lengths = self._column(origin, column)
        assert lengths.values is not None
        sums = summed(lengths.values) if lengths.sums is None else lengths.sums
        if level:
            self._told[origin, column] = level
        for name in level or ():
            if name in self.data[origin]:
                check_lengths(column, sums, name, self.data[origin][name].offsets[0], partial(self.place, origin))
                break
        return sums

    def prove(self) -> None:
        """Raises if lengths that were read on demand are not those of the lists, where no list was looked at since."""
        for (origin, column), names in list(self._told.items()):
            if not any(name in self.data[origin] for name in names):
                self._column(origin, witness(origin.source, names), Need.COUNTS)
            self.offsets(origin, column, names)

    def place(self, origin: Origin, entry: int) -> str:
        """Where an entry of the partition is."""
        if origin != self.main:
            return f"at entry {self.partition.first + entry} of the dataset"
        number = self.partition.start + entry if self.numbers is None else self.numbers[entry]
        return f"at entry {number} of {self.partition.path}"

    def entries_read(self, origin: Origin, column: str) -> Array | None:
        """The entries whose values of a column were read; None if all were."""
        return self._entries_read.get(column) if origin == self.main else None

    def _column(self, origin: Origin, name: str, need: Need = Need.DATA) -> Data:
        have = self.data.setdefault(origin, {})
        if self.on_demand and (name not in have or lacks_values(have[name], need)):
            self.add({origin: {name: need}})
        return have[name]

    def _holder(self, origin: Origin, name: str, level: int) -> Data:
        for column, data in self.data.setdefault(origin, {}).items():
            if has_level(origin.source.columns[column], name, level):
                return data
        return self._column(origin, holder(origin.source, name, level).name, Need.COUNTS)

    def values(self, origin: Origin, column: str) -> Array:
        """The flat values of a column."""
        data = self._column(origin, column)
        assert data.values is not None
        if not origin.source.columns[column].text:
            return data.values
        try:
            return texts_of(data)
        except ValueError as error:
            path = self.partition.path
            raise marked(DamagedFileError(f"Cannot read {column!r} of {self.partition}: {error}"), path) from error

    def valid(self, origin: Origin, column: str, level: int | None) -> Array | None:
        """Which values (level None) or lists are not None; None if all are."""
        return self._column(origin, column).valid if level is None else self._holder(origin, column, level).mask(level)

    def record_valid(self, origin: Origin, name: str) -> Array | None:
        """Which records of this name are not None; None if all are."""
        for column, data in self.data.setdefault(origin, {}).items():
            if has_record(origin.source.columns[column], name):
                return data.records.get(name)
        return self._column(origin, record_holder(origin.source, name).name).records.get(name)

    def levels(self, origin: Origin, column: str) -> Sequence[Array]:
        """The offsets of all list levels that the column itself has."""
        known = origin.source.columns[column]
        return self.data[origin][column].offsets[: len(known.levels)]

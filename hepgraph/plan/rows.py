"""The row of a range in the report of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hepgraph.disk.plain import plain
from hepgraph.io.required import Loaded
from hepgraph.io.source import Absent, Partition

DONE, FAILED, SKIPPED = "done", "failed", "skipped"


@plain
@dataclass(frozen=True)
class Row:
    """The outcome of one range, and its cost.

    `status` is "done", "failed" (the run stopped there) or "skipped" (on request). `events` is the number that was read
    and is in the result. `names` are the columns, `bytes` their size in memory, of which `cached` came from the column
    cache; `memory` is the most that the worker's process ever held, in bytes. `tries` counts attempts. `stored` is true
    if the result came from a checkpoint or from an earlier run. `line` is the user's line that failed. `excluded` of
    the events were not read, as the statistics of the file prove that they fail a predicate; `skipped` bytes on disk
    were not read, as all their events fail one.
    """

    dataset: str
    path: str
    start: int
    stop: int
    events: int
    names: tuple[str, ...] = ()
    bytes: int = 0
    read_seconds: float = 0.0
    compute_seconds: float = 0.0
    how: str = "interpreter"
    status: str = DONE
    tries: int = 1
    error: str = ""
    line: str = ""
    worker: str = ""
    open_seconds: float = 0.0
    merge_seconds: float = 0.0
    memory: int = 0
    stored: bool = False
    tree: str = ""
    excluded: int = 0
    cached: int = 0
    skipped: int = 0
    cause: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls, loaded: Loaded, partition: Partition, names: Iterable[str], read: float, compute: float, how: str
    ) -> Row:
        """The row of a range that was read, and run, in so many seconds."""
        every = [data for columns in loaded.data.values() for data in columns.values()]
        return cls(
            str(loaded.main.source.metadata.get("dataset", "")), partition.path, partition.start, partition.stop,
            len(partition), tuple(names), sum(data.nbytes for data in every), read, compute, how, tree=partition.tree,
            excluded=len(partition) - len(loaded.partition), cached=sum(data.cached for data in every),
            skipped=sum(data.skipped for data in every),
        )  # fmt: skip

    @classmethod
    def absent(cls, dataset: str, file: Absent) -> Row:
        """The row of a file that could not be opened."""
        return cls(dataset, file.path, 0, 0, 0, how="", status=SKIPPED, tries=file.tries, error=file.error,
                   tree=file.tree)  # fmt: skip

    @property
    def range(self) -> str:
        """The file and the entries in it."""
        where = f"{self.path}:{self.tree}" if self.tree else self.path
        return f"{where}[{self.start}:{self.stop}]" if self.stop > self.start else where

    @property
    def lost(self) -> int:
        """How many events of the range are not in the result; 0 for a file that could not even be opened."""
        return self.stop - self.start - self.events


@dataclass(frozen=True)
class Rows:
    """The outcome of one task: the rows of the pieces that it was split into, most often one."""

    rows: tuple[Row, ...]

    @property
    def events(self) -> int:
        """The number of events that were read."""
        return sum(row.events for row in self.rows)

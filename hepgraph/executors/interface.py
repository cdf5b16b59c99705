"""The protocol of executors: one method; and partial results on their way up a tree of sums."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

LOG = logging.getLogger("hepgraph")
Work = Callable[[Any], Any]


class Folding(Protocol):
    """Work whose results add up: a call gives (value, row), a value of None where there is nothing to add."""

    def __call__(self, task: Any) -> tuple[Any, Any]:
        """The result of one task, and what it took."""

    def combine(self, tree: int) -> Callable[[Any, Any], Any]:
        """How two values of one tree add up."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One sum: over `count` tasks, the first of them number `first` of all; `name` is for people."""

    first: int
    count: int
    name: str = "ranges"


@dataclass(slots=True)
class Part:
    """The result of the tasks below one place of a tree: their sum, and the number and the row of each.

    A place is the `index`-th of its `level`; it stands above the tasks index * 2**level to (index + 1) * 2**level of
    the tree. `seconds` is the time that it took.
    """

    tree: int
    level: int
    index: int
    value: Any
    rows: list[tuple[int, Any]] = field(default_factory=list)
    seconds: float = 0.0


class Executor(ABC):
    """Runs a function over tasks, somewhere."""

    name: str
    watch: Any = None  # who wants to know about the run (see `submit.py`)
    notes: tuple[str, ...] = ()  # sentences about the last run, for its report

    def note(self, text: str) -> None:
        """Says something about a run as it goes on, and keeps it for the report."""
        LOG.warning("hepgraph: %s", text)
        self.notes = (*self.notes, text)

    def on_wait(self) -> None:
        """Called now and then by a run that waits for results, in its thread; what it raises ends the run."""
        if self.watch is not None:
            self.watch.serve()

    @abstractmethod
    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """The result of each task with its index, in the order in which they come.

        An exception of a task is raised here, with its own type and traceback, and the rest is given up.
        """

    def fold(self, work: Folding, tasks: Sequence[Any], trees: Sequence[Tree]) -> Iterator[Part]:
        """Sums of the results, each of the tasks below one place of a tree, which together are all tasks once.

        What follows from them does not depend on which places come: the shape of a tree is fixed by its count.
        """
        owner = [number for number, tree in enumerate(trees) for _ in range(tree.count)]
        for index, (value, row) in self.run(work, tasks):
            tree = owner[index]
            yield Part(tree, 0, index - trees[tree].first, value, [(index, row)])

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

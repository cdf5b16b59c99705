"""The protocol of executors: one method; and partial results on their way up a tree of sums."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

LOG = logging.getLogger("hepgraph")


class Work(ABC):
    """The work of a run, and all that an executor may ask of it; a call gives the result of a task.

    Results that add up, for `fold`, are pairs: a value and what it took. `wait` and `note` are for the process of the
    run, the others also for its workers.
    """

    far = False  # whether some data are far away: then a worker's next task should stay its own

    @abstractmethod
    def __call__(self, task: Any) -> Any:
        """The result of one task."""

    def combine(self, tree: int) -> Callable[[Any, Any], Any]:
        """How two values of one tree add up."""
        raise NotImplementedError(f"results of {type(self).__name__} do not add up")

    def ahead(self, task: Any) -> None:  # noqa: B027
        """A hint that a task will be begun soon, in this process."""

    def lost(self, task: Any, error: Exception) -> Any:
        """The result in place of one that no worker survives; raises the error if there is none."""
        raise error

    def wait(self) -> None:  # noqa: B027
        """Called now and then while the run waits for results, in its thread; what it raises ends the run."""

    def note(self, text: str) -> None:
        """Says something about the run as it goes on."""
        LOG.warning("hepgraph: %s", text)

    @staticmethod
    def of(function: Callable[[Any], Any]) -> Work:
        """A function of tasks as work; all else has its default."""
        return _Calls(function)


class _Calls(Work):
    """The work that a function does."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, task: Any) -> Any:
        return self.function(task)


@dataclass(frozen=True, slots=True)
class Tree:
    """One sum: over `count` tasks, the first of them number `first` of all; `name` is for people."""

    first: int
    count: int
    name: str = "ranges"


@dataclass(slots=True)
class Part:
    """The result of the tasks below one node of a tree: their sum, and the number and the row of each.

    A node is the `index`-th of its `level`; it stands above the tasks index * 2**level to (index + 1) * 2**level of
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

    @abstractmethod
    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """The result of each task with its index, in the order in which they come.

        An exception of a task is raised here, with its own type and traceback, and the rest is given up.
        """

    def fold(self, work: Work, tasks: Sequence[Any], trees: Sequence[Tree]) -> Iterator[Part]:
        """Sums of the results, each of the tasks below one node of a tree, which together are all tasks once.

        What follows from them does not depend on which nodes come: the shape of a tree is fixed by its count.
        """
        owner = [number for number, tree in enumerate(trees) for _ in range(tree.count)]
        for index, (value, row) in self.run(work, tasks):
            tree = owner[index]
            yield Part(tree, 0, index - trees[tree].first, value, [(index, row)])

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

"""What an executor promises: one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Work = Callable[[Any], Any]


class Executor(ABC):
    """Runs a function over tasks, somewhere."""

    name: str

    @abstractmethod
    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """The result of each task with its index, in the order in which they come.

        An exception of a task is raised here, with its own type and traceback, and the rest is given up.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

"""One task after the other, in this thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hepgraph.executors.interface import Executor, Work


class Serial(Executor):
    """One task after the other, in this thread: the plain path, and the one to debug on."""

    name = "serial"

    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):
            work.wait()
            yield index, work(task)

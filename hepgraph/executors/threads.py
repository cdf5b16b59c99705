"""Threads of this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hepgraph.executors.futures import windowed
from hepgraph.executors.interface import Executor, Work


class Threads(Executor):
    """`n` threads of this process (as many as there are cores, unless told)."""

    name = "threads"

    def __init__(self, n: int | None = None) -> None:
        self.n = n or len(os.sched_getaffinity(0))

    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if len(tasks) == 1 or self.n == 1:
            for index, task in enumerate(tasks):
                self.on_wait()
                yield index, work(task)
            return
        with ThreadPoolExecutor(self.n, "hepgraph") as pool:
            yield from windowed(pool, work, tasks, 2 * self.n, self.on_wait)

"""Processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from hepgraph.executors.futures import windowed
from hepgraph.executors.interface import Executor, Work
from hepgraph.executors.shipped import Shipped


class Processes(Executor):
    """`n` fresh processes (as many as there are cores, unless told), started for the run and ended after it."""

    name = "processes"

    def __init__(self, n: int | None = None) -> None:
        self.n = n or len(os.sched_getaffinity(0))

    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        import multiprocessing  # 70 ms that a run on threads need not wait for
        from concurrent.futures import ProcessPoolExecutor

        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(self.n, max(1, len(tasks))), mp_context=context) as pool:
            yield from windowed(pool, Shipped.of(work), tasks, 2 * self.n)

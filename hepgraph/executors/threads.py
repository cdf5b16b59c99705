"""Threads of this process, which stay for a while after a run: the memory that they read into is theirs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from hepgraph.executors.futures import windowed
from hepgraph.executors.interface import Executor, Work

STAY = 20.0  # seconds


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
        with staying.pool(self.n) as pool:
            yield from windowed(pool, work, tasks, 2 * self.n, self.on_wait)


class Staying:
    """Pools without work, which the next run with as many threads takes; each ends when none did for STAY seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[int, int], tuple[ThreadPoolExecutor, threading.Timer]] = {}

    @contextmanager
    def pool(self, n: int) -> Iterator[ThreadPoolExecutor]:
        """`n` threads for the length of a `with`; after an error they end."""
        key = os.getpid(), n  # threads do not come along when a process forks
        with self._lock:
            found = self._pools.pop(key, None)
        if found is not None:
            found[1].cancel()
        pool = ThreadPoolExecutor(n, "hepgraph") if found is None else found[0]
        try:
            yield pool
        except BaseException:
            pool.shutdown()
            raise
        with self._lock:
            if key not in self._pools:
                timer = threading.Timer(STAY, self._end, (key, pool))
                timer.daemon = True
                self._pools[key] = pool, timer
                timer.start()
                return
        pool.shutdown()

    def _end(self, key: tuple[int, int], pool: ThreadPoolExecutor) -> None:
        with self._lock:
            mine = self._pools.get(key, (None, None))[0] is pool
            if mine:
                del self._pools[key]
        if mine:
            pool.shutdown()


staying = Staying()

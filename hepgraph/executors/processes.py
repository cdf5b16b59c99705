"""Processes of this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hepgraph.executors.futures import windowed
from hepgraph.executors.interface import Executor, Work


@dataclass(frozen=True)
class Shipped:
    """A function as bytes, so that lambdas and notebook code travel; unpacked once in each process."""

    body: bytes
    key: str

    @classmethod
    def of(cls, work: Work) -> Shipped:
        """The function, packed."""
        import cloudpickle

        body = cloudpickle.dumps(work)
        return cls(body, hashlib.sha256(body).hexdigest())

    def __hash__(self) -> int:
        return hash(self.key)

    def __call__(self, task: Any) -> Any:
        return _unpacked(self)(task)


@lru_cache(maxsize=8)
def _unpacked(shipped: Shipped) -> Work:
    import pickle

    return pickle.loads(shipped.body)  # type: ignore[no-any-return]


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

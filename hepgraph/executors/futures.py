"""Any `concurrent.futures.Executor`."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hepgraph.executors.interface import Executor, Work
from hepgraph.executors.shipped import Shipped


def windowed(
    pool: concurrent.futures.Executor,
    call: Callable[[Any], Any],
    tasks: Sequence[Any],
    window: int,
    pause: Callable[[], None],
) -> Iterator[tuple[int, Any]]:
    """Results as they come, with at most `window` tasks handed over at a time; gives up the rest on an error."""
    waiting: dict[concurrent.futures.Future[Any], int] = {}
    coming = iter(enumerate(tasks))
    try:
        while True:
            while len(waiting) < window and (following := next(coming, None)) is not None:
                index, task = following
                waiting[pool.submit(call, task)] = index
            if not waiting:
                return
            pause()
            done, _ = concurrent.futures.wait(waiting, 0.5, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in sorted(done, key=waiting.__getitem__):
                yield waiting.pop(future), future.result()
    finally:
        for future in waiting:
            future.cancel()


class Futures(Executor):
    """A pool that the user made, of any kind that has `submit`.

    Parameters
    ----------
    pool : concurrent.futures.Executor
        The pool, which is not shut down.
    window : int, default 64
        Most tasks that are handed over at a time.
    """

    name = "futures"

    def __init__(self, pool: concurrent.futures.Executor, window: int = 64) -> None:
        self.pool, self.window = pool, window

    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        processes = isinstance(self.pool, concurrent.futures.ProcessPoolExecutor)
        yield from windowed(self.pool, Shipped.of(work) if processes else work, tasks, self.window, work.wait)

"""Threads of this process, which stay for a while after a run: the memory that they read into is theirs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from hepgraph.executors.interface import Executor, Work
from hepgraph.limits import limits

HURRY = 0.3  # seconds for threads to end when the user interrupts a run


class Threads(Executor):
    """Threads of this process.

    Parameters
    ----------
    n : int, default None
        Number of threads; None: as many as there are cores.
    """

    name = "threads"

    def __init__(self, n: int | None = None) -> None:
        self.n = n or len(os.sched_getaffinity(0))

    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if len(tasks) == 1 or self.n == 1:
            for index, task in enumerate(tasks):
                work.wait()
                yield index, work(task)
            return
        with staying.pool(self.n) as pool:
            crew = Crew(work, tasks, self.n)
            try:
                for _ in range(min(self.n, len(tasks))):
                    pool.submit(crew.work)
                yield from crew.results(work.wait)
            finally:
                crew.stop()


class Crew:
    """Threads that take one task after the other, and the thread of the run, which takes their results now and then.

    It is woken for several results, or for one that is late: to wake it for each makes three threads take turns with
    Python's lock where two have work. Few results wait for it; when there are more, the others wait.
    """

    def __init__(self, work: Work, tasks: Sequence[Any], n: int) -> None:
        self._call, self._tasks = work, iter(enumerate(tasks))
        self._few, self._left = 2 * n, len(tasks)  # _left: tasks whose results the run has not taken
        self._done: list[tuple[int, Any]] = []
        self._error: BaseException | None = None
        self._taken, self._stopped = time.monotonic(), False  # _taken: when the run last took results
        lock = threading.Lock()
        self._results, self._room = threading.Condition(lock), threading.Condition(lock)

    def work(self) -> None:
        """Takes and runs tasks until there are none left, or the run has stopped."""
        while (following := self._next()) is not None:
            index, task = following
            try:
                result = self._call(task)
            except BaseException as error:  # it is raised in the thread of the run
                with self._results:
                    self._error = self._error or error
                    self._results.notify()
                return
            with self._results:
                self._done.append((index, result))
                if self._due():
                    self._results.notify()

    def _due(self) -> bool:
        """Whether the run should take the results that are there."""
        many, late = len(self._done), time.monotonic() - self._taken > limits().thread_late
        return many >= min(self._few, self._left) or (many > 0 and late) or self._error is not None

    def _next(self) -> tuple[int, Any] | None:
        with self._room:
            self._room.wait_for(lambda: self._stopped or len(self._done) < 2 * self._few)
            return None if self._stopped or self._error is not None else next(self._tasks, None)

    def results(self, wait: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        """The number and the result of each task, as they come; raises what a task raised."""
        while self._left:
            wait()
            with self._results:
                self._results.wait_for(self._due, 0.5)
                done, self._done = sorted(self._done, key=lambda each: each[0]), []
                error, self._taken = self._error, time.monotonic()
                self._left -= len(done)
                self._room.notify_all()
            yield from done
            if error is not None:
                try:
                    raise error
                finally:
                    del error

    def stop(self) -> None:
        """Has no further task begun."""
        with self._room:
            self._stopped = True
            self._room.notify_all()


class Pool:
    """Threads that make calls, which raise nothing; none keeps Python from ending while it waits for a remote file."""

    def __init__(self, n: int) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, name=f"hepgraph_{i}", daemon=True) for i in range(n)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[[], None]) -> None:
        """Has the next thread that has nothing to do make a call."""
        self._calls.put(call)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call

    def end(self, seconds: float) -> None:
        """Ends the threads when they have nothing to do any more; waits for that, but not for ever."""
        for _ in self._threads:
            self._calls.put(None)
        last = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, last - time.monotonic()))


class Staying:
    """Pools without work, which the next run with as many threads takes; each ends when none did for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[int, int], tuple[Pool, threading.Timer]] = {}

    @contextmanager
    def pool(self, n: int) -> Iterator[Pool]:
        """`n` threads for the length of a `with`; after an error they end, which is not waited for without end."""
        key = os.getpid(), n  # threads do not come along when a process forks
        with self._lock:
            found = self._pools.pop(key, None)
        if found is not None:
            found[1].cancel()
        pool = Pool(n) if found is None else found[0]
        try:
            yield pool
        except BaseException as error:
            pool.end(HURRY if isinstance(error, KeyboardInterrupt) else limits().thread_patience)
            raise
        with self._lock:
            if key not in self._pools:
                timer = threading.Timer(limits().thread_stay, self._end, (key, pool))
                timer.daemon = True
                self._pools[key] = pool, timer
                timer.start()
                return
        pool.end(limits().thread_patience)

    def _end(self, key: tuple[int, int], pool: Pool) -> None:
        with self._lock:
            mine = self._pools.get(key, (None, None))[0] is pool
            if mine:
                del self._pools[key]
        if mine:
            pool.end(limits().thread_patience)


staying = Staying()

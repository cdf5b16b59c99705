"""Processes of this machine."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hepgraph.errors import ExecutorError, KilledError
from hepgraph.executors.interface import Executor, Work
from hepgraph.executors.shipped import Shipped
from hepgraph.functions import pickling
from hepgraph.limits import limits

_RESULTS = 64  # finished ones that wait to be taken, at most


class Processes(Executor):
    """Fresh processes, started for the run and ended after it.

    A process that dies costs the range that it was working on, which is tried again in a new one. A range that ends
    three processes is an error that names it.

    Parameters
    ----------
    n : int, default None
        Number of processes; None: as many as there are cores.
    """

    name = "processes"

    def __init__(self, n: int | None = None) -> None:
        self.n = n or len(os.sched_getaffinity(0))

    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if not tasks:
            return
        import pickle

        crew = _Crew(pickle.dumps(Shipped.of(work)), work, tasks)
        threads = [
            threading.Thread(target=crew.drive, name=f"hepgraph-process-{i}", daemon=True)
            for i in range(min(self.n, len(tasks)))
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in tasks:
                index, answer, error = crew.next(work.wait)
                crew.room.release()
                if error is not None:
                    raise error
                yield index, answer
        finally:
            crew.end()
            for thread in threads:
                thread.join()


class _Crew:
    """The children of one run, each driven by a thread that hands it one task after the other.

    A child is told with a task which one is likely to be its next, to fetch that meanwhile. Where data are far away,
    that is `next_to` it: nobody else gets it, unless nothing else is left to do.
    """

    def __init__(self, body: bytes, work: Work, tasks: Sequence[Any]) -> None:
        self.body, self.work, self.tasks = body, work, tasks
        self.waiting = deque(range(len(tasks)))
        self.next_to: dict[int, int] = {}  # by the thread that drives the child
        self.open = len(tasks)
        self.deaths: Counter[int] = Counter()
        self.results: queue.Queue[tuple[int, Any, Exception | None]] = queue.Queue()
        self.room = threading.Semaphore(_RESULTS)
        self.ended = threading.Event()
        self.lock = threading.Condition()
        self.children: set[subprocess.Popen[bytes]] = set()

    def drive(self) -> None:
        """Works on tasks until none is left, in as many children as it takes."""
        from hepgraph.executors.process_worker import receive, result, send

        child: subprocess.Popen[bytes] | None = None
        while (given := self._next(threading.get_ident())) is not None:
            index, after = given
            try:
                message = pickling.dumps((self.tasks[index], None if after is None else self.tasks[after]))
                child = child or self._start()
                assert child.stdin is not None
                assert child.stdout is not None
                try:
                    send(child.stdin, message)
                    answer = receive(child.stdout)
                except (BrokenPipeError, OSError):
                    answer = None
                if answer is None:
                    code = self._bury(child)
                    child = None
                    self._died(index, code)
                else:
                    self._done(index, result(answer))
            except Exception as error:  # it is raised again where the results are taken
                self._done(index, None, error)
        if child is not None:
            self._bury(child)

    def next(self, wait: Callable[[], None]) -> tuple[int, Any, Exception | None]:
        """The next result: its number, and an answer or an error."""
        while True:
            wait()
            with contextlib.suppress(queue.Empty):
                return self.results.get(timeout=0.5)

    def _next(self, me: int) -> tuple[int, int | None] | None:
        """The number of a task for one of the children, and of the one that is likely to be its next."""
        with self.lock:
            while not (self.waiting or self.next_to) and self.open and not self.ended.is_set():
                self.lock.wait()  # a task may come back from a process that died
            if self.ended.is_set() or not (self.waiting or self.next_to):
                return None
            mine = self.next_to.pop(me, None)
            if mine is None:
                mine = self.waiting.popleft() if self.waiting else self.next_to.popitem()[1]
            if not self.waiting:
                return mine, None
            if not self.work.far:
                return mine, self.waiting[0]
            self.next_to[me] = self.waiting.popleft()
            return mine, self.next_to[me]

    def _done(self, index: int, answer: Any, error: Exception | None = None) -> None:
        while not self.ended.is_set() and not self.room.acquire(timeout=0.2):
            pass
        with self.lock:
            self.open -= 1
            self.lock.notify_all()
        self.results.put((index, answer, error))

    def _died(self, index: int, code: int) -> None:
        if self.ended.is_set():
            return
        self.deaths[index] += 1
        if self.deaths[index] < limits().tries:
            with self.lock:
                self.waiting.appendleft(index)
                self.lock.notify()
            return
        error = KilledError(
            f"The range {described(self.tasks[index])} ended the process that worked on it {limits().tries} times: "
            f"{ending(code)}."
        )
        self._done(index, self.work.lost(self.tasks[index], error))

    def _start(self) -> subprocess.Popen[bytes]:
        from hepgraph.executors.process_worker import BOOTSTRAP, path, receive, send

        child = subprocess.Popen(
            [sys.executable, "-c", BOOTSTRAP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "HEPGRAPH_PATH": path()},
        )
        with self.lock:
            self.children.add(child)
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            ready = None if self.ended.is_set() else receive(child.stdout)
            if ready is not None:
                send(child.stdin, self.body)
                return child
        except OSError:  # it has gone again
            pass
        child.kill()
        raise ExecutorError(f"A process for this run could not be started: {ending(self._bury(child))}.")

    def _bury(self, child: subprocess.Popen[bytes]) -> int:
        """Ends a child, if it has not ended; gives its exit code."""
        with child:
            assert child.stdin is not None
            with contextlib.suppress(OSError):  # it may have ended with something still on the way
                child.stdin.close()  # it ends by itself when nothing more can come
        with self.lock:
            self.children.discard(child)
        return child.returncode

    def end(self) -> None:
        """Ends all children, in the middle of whatever they do."""
        with self.lock:
            self.ended.set()
            children = list(self.children)
            self.lock.notify_all()
        for child in children:
            child.kill()


def described(task: Any) -> str:
    """A task in words: its last part, where there is a pass and a range."""
    return str(task[-1]) if isinstance(task, tuple) and task else repr(task)


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"it was ended by {name}" + (", as the system does when memory runs out" if name == "SIGKILL" else "")

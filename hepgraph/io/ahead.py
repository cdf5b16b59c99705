"""What will be read soon, fetched in the background: a few things at a time, which may never be asked for."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from hepgraph.io.handles import Stamp
from hepgraph.io.ranges import Bytes, Range

MOST = 256 << 20  # bytes that are fetched and not yet asked for
AT_ONCE = max(4, os.cpu_count() or 1)  # a worker of dask may have a thread for each core, and each a next range


class _Fetch:
    """Something on its way: its size as far as it is known, and what came; None if nothing did."""

    def __init__(self, owner: Ahead, work: Callable[[Callable[[int], bool]], Any]) -> None:
        self.size, self.dropped, self.found = 0, False, None
        self._owner, self._work = owner, work
        self.thread = threading.Thread(target=self._run, name="hepgraph-ahead", daemon=True)

    def allowed(self, size: int) -> bool:
        self.size = size
        return self._owner.trimmed(self)

    def _run(self) -> None:
        try:
            found = self._work(self.allowed)
        except (OSError, ValueError, MemoryError):  # whoever asks for it reads it himself, and says what is wrong
            self._work, self.size = _nothing, 0
            return
        self._work = _nothing
        if not self.dropped:
            self.found = found


def _nothing(allowed: Callable[[int], bool]) -> None:
    return None


class Ahead:
    """What is fetched ahead, by key; the oldest is given up when there is too much."""

    def __init__(self) -> None:
        self.most = MOST
        self._clear()

    def _clear(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._coming: OrderedDict[Hashable, _Fetch] = OrderedDict()

    def begin(self, key: Hashable, work: Callable[[Callable[[int], bool]], Any]) -> None:
        """Starts some work, unless it is under way.

        The work says how many bytes it will fetch, and goes on only if it is allowed to.
        """
        if self._process != os.getpid():  # threads do not survive a fork
            self._clear()
        fetch = _Fetch(self, work)
        with self._lock:
            if key in self._coming:
                return
            self._coming[key] = fetch
            while len(self._coming) > AT_ONCE:
                self._coming.popitem(last=False)[1].dropped = True
            try:
                fetch.thread.start()  # before anybody can take it
            except RuntimeError:  # the system has no more threads: whoever asks for it reads it himself
                self._coming.pop(key, None)

    def take(self, key: Hashable) -> Any:
        """What came, once and after it came; None if there is nothing."""
        if self._process != os.getpid():
            self._clear()
        with self._lock:
            fetch = self._coming.pop(key, None)
        if fetch is None:
            return None
        fetch.thread.join()
        return fetch.found

    def trimmed(self, new: _Fetch) -> bool:
        """Whether there is room for one more, after older ones that nobody took are given up."""
        with self._lock:
            if new.dropped or new.size > self.most:
                return False
            for key, fetch in list(self._coming.items()):
                if sum(each.size for each in self._coming.values()) <= self.most:
                    break
                if fetch is not new:
                    del self._coming[key]
                    fetch.dropped, fetch.found = True, None
            return True

    @property
    def bytes(self) -> int:
        """What is on its way or there, as far as it is known."""
        with self._lock:
            return sum(fetch.size for fetch in self._coming.values())


class NoRoom(ValueError):
    """There is no room for what was to be fetched ahead."""


class Allowed:
    """The bytes of a remote file, as far as there is room for them ahead; raises NoRoom."""

    together = True
    stamp: Stamp = None
    file = None

    def __init__(self, data: Bytes, allowed: Callable[[int], bool]) -> None:
        self._data, self._allowed, self._size = data, allowed, 0

    def read(self, start: int, stop: int, room: np.ndarray[Any, Any]) -> memoryview:
        return self.fetch([(start, stop)])[0]

    def fetch(self, ranges: Sequence[Range]) -> list[memoryview]:
        self._size += sum(stop - start for start, stop in ranges)
        if not self._allowed(self._size):
            raise NoRoom(f"{self._size} bytes")
        return self._data.fetch(ranges)


ahead = Ahead()

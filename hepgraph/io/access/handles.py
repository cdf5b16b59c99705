"""Open files, kept for the next chunk, and what is known of files that have not changed.

A handle is used by one thread at a time: a thread that finds none idle opens its own. A local file that changed on disk
since it was opened, or a handle that came from another process, is not used again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from hepgraph.io.access.files import Options, is_remote
from hepgraph.io.access.remote import Patience, patiently

T = TypeVar("T")
_clock = threading.local()


def opening_seconds() -> float:
    """Seconds that this thread has spent opening files."""
    return float(getattr(_clock, "seconds", 0.0))


Stamp = tuple[int, int, int] | None


@dataclass(slots=True)
class _Idle(Generic[T]):
    key: Hashable
    stamp: Stamp
    handle: T


class Handles(Generic[T]):
    """Idle handles of files, most recently used last; at most `limit` of them are kept open."""

    def __init__(self, close: Callable[[T], None], limit: int = 32) -> None:
        self._close = close
        self._limit = limit
        self._idle: list[_Idle[T]] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self.opened = 0

    @contextmanager
    def borrow(
        self,
        key: Hashable,
        path: str,
        open: Callable[[], T],
        key_of: Callable[[T], Hashable] | None = None,
        options: Options = None,
    ) -> Iterator[T]:
        """A handle of this key for the length of a `with`; after an error it is closed, not kept.

        A remote file is tried again when the trouble may pass. `key_of` gives the key to keep the handle under, where
        that is only known once it is open.
        """
        stamp = stamp_of(path)
        handle = self._take(key, stamp)
        if handle is None:
            start = time.perf_counter()
            handle = patiently(open, Patience.of(options)) if is_remote(path) else open()
            _clock.seconds = opening_seconds() + time.perf_counter() - start
            with self._lock:
                self.opened += 1
        try:
            yield handle
        except BaseException:
            self._close(handle)
            raise
        self._give(_Idle(key_of(handle) if key_of else key, stamp, handle))

    def clear(self) -> None:
        """Closes every idle handle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for entry in idle:
            self._close(entry.handle)

    def _take(self, key: Hashable, stamp: Stamp) -> T | None:
        with self._lock:
            if self._process != os.getpid():  # a fork shares the position of an open file with its parent
                self._process, self._idle = os.getpid(), []
            mine = [entry for entry in self._idle if entry.key == key]
            stale = [entry for entry in mine if entry.stamp != stamp]
            fresh = [entry for entry in mine if entry.stamp == stamp]
            gone = {id(entry) for entry in stale} | {id(entry) for entry in fresh[-1:]}
            self._idle = [entry for entry in self._idle if id(entry) not in gone]
        for entry in stale:
            self._close(entry.handle)
        return fresh[-1].handle if fresh else None

    def _give(self, entry: _Idle[T]) -> None:
        with self._lock:
            self._idle.append(entry)
            dropped, self._idle = self._idle[: -self._limit], self._idle[-self._limit :]
        for old in dropped:
            self._close(old.handle)


def stamp_of(path: str) -> Stamp:
    """When a local file was written, its size and number on the disk, or None where that cannot be told."""
    if is_remote(path):
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def settings_of(options: Options) -> str:
    """The options that a file is opened with, as a part of a key."""
    return repr(sorted((options or {}).items()))


class Known(Generic[T]):
    """Findings about files, by key, with the stamp that they had; of the last `limit` that were asked for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[T, Stamp]] = OrderedDict()

    def last(self, key: Hashable) -> tuple[T | None, Stamp]:
        """The last finding under a key, and the stamp of then; the file may have changed since."""
        self._mine()
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None, None
            self._kept.move_to_end(key)
            return found

    def of(self, key: Hashable, stamp: Stamp) -> T | None:
        """The finding about a local file that has this stamp now; None of one that may have changed."""
        found, then = self.last(key)
        return found if stamp is not None and stamp == then else None

    def keep(self, key: Hashable, stamp: Stamp, value: T) -> None:
        """Stores a value for a file that had this stamp."""
        self._mine()
        with self._lock:
            self._kept[key] = value, stamp
            self._used(key)

    def first(self, key: Hashable, make: Callable[[], T]) -> T:
        """The finding under a key, of which there is one from now on."""
        self._mine()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make(), None
            self._used(key)
            return self._kept[key][0]

    def _used(self, key: Hashable) -> None:
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def _mine(self) -> None:
        if self._process != os.getpid():  # the lock may have been held when the process was forked
            self.clear()

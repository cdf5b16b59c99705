"""Background prefetch, a few things at a time; unused results are dropped.

Of local files, the system does it itself when advised of the ranges (`expect`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from hepgraph.io.access.handles import Stamp
from hepgraph.io.access.ranges import LOCAL_GAP, REMOTE_GAP, Allocate, Bytes, Range, coalesced, nowhere

MOST = 256 << 20  # bytes that are fetched and not yet asked for
SAMPLE = 16  # ranges, of which it is looked whether they are in memory
MOST_TIMES = 16
MOST_FILES = 4096
STRETCH = 128 << 10  # bytes that the system is told of at a time: of more it may take only the first
AT_ONCE = max(16, 2 * (os.cpu_count() or 1))  # each thread that works has one that it is about to take, and some follow


PASSING = OSError, ValueError, MemoryError  # whoever reads it says what is wrong


class _Fetch:
    """One fetch in the background: its size, as far as it is known, and its result, None if it failed."""

    def __init__(self, owner: Ahead, work: Callable[[Callable[[int], bool]], Any]) -> None:
        self.size, self.dropped, self.found = 0, False, None
        self._owner = owner
        self.thread = threading.Thread(target=self._run, args=(work,), name="hepgraph-ahead", daemon=True)

    def allowed(self, size: int) -> bool:
        self.size = size
        return self._owner.trimmed(self)

    def _run(self, work: Callable[[Callable[[int], bool]], Any]) -> None:
        try:
            found = work(self.allowed)
        except PASSING:
            self.size = 0
        else:
            self.found = None if self.dropped else found


class Ahead:
    """Prefetched data, by key; the oldest are dropped when there is too much."""

    def __init__(self) -> None:
        self.most = MOST
        self._clear()

    def _clear(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._fetches: OrderedDict[Hashable, _Fetch] = OrderedDict()

    def begin(self, key: Hashable, work: Callable[[Callable[[int], bool]], Any]) -> None:
        """Starts a fetch in the background, unless one with this key is there.

        `work` first asks whether it may fetch so many bytes.
        """
        if self._process != os.getpid():  # threads do not survive a fork
            self._clear()
        fetch = _Fetch(self, work)
        with self._lock:
            if key in self._fetches:
                return
            self._fetches[key] = fetch
            while len(self._fetches) > AT_ONCE:
                self._fetches.popitem(last=False)[1].dropped = True
            try:
                fetch.thread.start()  # before anybody can take it
            except RuntimeError:  # the system has no more threads: whoever asks for it reads it himself
                self._fetches.pop(key, None)

    def take(self, key: Hashable) -> Any:
        """The prefetched data, once and after they came; None if there are none."""
        if self._process != os.getpid():
            self._clear()
        with self._lock:
            fetch = self._fetches.pop(key, None)
        if fetch is None:
            return None
        fetch.thread.join()
        return fetch.found

    def trimmed(self, new: _Fetch) -> bool:
        """Whether a fetch fits within `most` bytes, after dropping the oldest that were not taken."""
        with self._lock:
            if new.dropped or new.size > self.most:
                return False
            for key, fetch in list(self._fetches.items()):
                if sum(each.size for each in self._fetches.values()) <= self.most:
                    break
                if fetch is not new:
                    del self._fetches[key]
                    fetch.dropped, fetch.found = True, None
            return True

    @property
    def bytes(self) -> int:
        """The known sizes of all fetches, running or done."""
        with self._lock:
            return sum(fetch.size for fetch in self._fetches.values())


class NoRoom(ValueError):
    """A prefetch does not fit within the limit."""


class Allowed:
    """The bytes of a remote file, for a prefetch within the limit; raises NoRoom beyond it."""

    together = True
    stamp: Stamp = None
    file = None

    def __init__(self, data: Bytes, allowed: Callable[[int], bool]) -> None:
        self._data, self._allowed, self._size = data, allowed, 0

    def read(self, start: int, stop: int, room: np.ndarray[Any, Any]) -> memoryview:
        return self.fetch([(start, stop)])[0]

    def fetch(self, ranges: Sequence[Range], allocate: Allocate = nowhere) -> list[memoryview]:
        self._size += sum(piece.stop - piece.start for piece in coalesced(ranges, REMOTE_GAP))
        if not self._allowed(self._size):
            raise NoRoom(f"{self._size} bytes")
        return self._data.fetch(ranges)


ahead = Ahead()


class _PageCache:
    """Whether local files are in the page cache, by checks that are not repeated for every range.

    One that was not is taken to be on the disk for many ranges: what the system is advised of comes into memory, and
    would be found there. One that was is taken to be there for one range, and for twice as many each time it is found
    again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[bool, int, int]] = {}

    def known(self, path: str) -> bool | None:
        there, times, left = self._known.get(path, (False, 0, 0))
        if left == 0:
            return None
        self._known[path] = there, times, left - 1
        return there

    def note(self, path: str, there: bool) -> None:
        if len(self._known) >= MOST_FILES:
            self._known.clear()
        before, times, _ = self._known.get(path, (False, 0, 0))
        times = MOST_TIMES if not there else min(2 * times, MOST_TIMES) if before else 1
        self._known[path] = there, times, times

    def clear(self) -> None:
        self._known.clear()


found = _PageCache()


def expect(path: str, where: Callable[[], Iterable[Range]]) -> None:
    """Advises the system of bytes of a local file that will be read soon; it reads them in the background.

    Where the beginnings of some of these ranges are in memory, all are taken to be there, and the next few of the file.
    """
    there = found.known(path) if hasattr(os, "posix_fadvise") else True
    if there:
        return
    with suppress(*PASSING):
        ranges = sorted(where())
        if not ranges:
            return
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if there is None:
                there = all(_is_there(file, start) for start, _ in ranges[:: len(ranges) // SAMPLE + 1])
                found.note(path, there)
            if not there:
                for start, stop in _stretches(ranges):
                    os.posix_fadvise(file, start, stop - start, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)


def _is_there(file: int, place: int) -> bool:
    """Whether a byte of an open file can be read without waiting for the disk; no, where the system cannot tell."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        os.preadv(file, [bytearray(1)], place, os.RWF_NOWAIT)
    except OSError:
        return False
    return True


def _stretches(ranges: Sequence[Range]) -> Iterator[Range]:
    """The bytes of some ranges, and of short gaps between them, in stretches.

    >>> list(_stretches([(0, 5), (3, 9), (20, 30), (500_000, 700_000)]))
    [(0, 30), (500000, 631072), (631072, 700000)]
    """
    for piece in coalesced(ranges, LOCAL_GAP, sys.maxsize):
        for start in range(piece.start, piece.stop, STRETCH):
            yield start, min(start + STRETCH, piece.stop)

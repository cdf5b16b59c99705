"""What several ranges have a part of, decoded once: row groups of Parquet, pages of RNTuples, baskets of TTrees."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

MOST_SHARED = 128 << 20  # bytes of pages and baskets that are kept for the ranges that are still to come


@dataclass(slots=True)
class _Decoded:
    """Something decoded: how many of its entries were not asked for yet."""

    left: int
    made: Any = None
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Kept:
    """What was decoded and is kept until all of it was asked for, the most recently used of it; at most so many bytes.

    `decoded` counts how often something was.
    """

    def __init__(self, most: int) -> None:
        self.most, self.decoded = most, 0
        self._kept: dict[Hashable, _Decoded] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._process = os.getpid()

    def get(self, key: Hashable, entries: tuple[int, int], decode: Callable[[], Any]) -> Any:
        """What has a key, and `nbytes`; `entries` are the number of those asked for, and of all that it has."""
        asked, size = entries
        with self._lock:
            if self._process != os.getpid():
                self._process, self._kept, self._bytes = os.getpid(), {}, 0
            mine = self._kept.pop(key, None) or _Decoded(size)
            self._kept[key] = mine  # the most recently used is the last
        with mine.lock:  # others that want it wait here for the one who decodes it
            if mine.made is None:
                mine.made = decode()
                self.decoded += 1  # of one at a time only under its own lock: a count for tests
            made = mine.made
        with self._lock:
            mine.left -= asked
            if self._kept.get(key) is mine:
                self._bytes += made.nbytes - mine.bytes
                mine.bytes = made.nbytes
                if mine.left <= 0:
                    self._drop(key)
                elif self._bytes > self.most:
                    self._trim()
        return made

    def has(self, key: Hashable) -> bool:
        """Whether it is decoded, or is being decoded."""
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Lets go of everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, key: Hashable) -> None:
        self._bytes -= self._kept.pop(key).bytes

    def _trim(self) -> None:
        made = [key for key, each in self._kept.items() if each.bytes]
        for key in made[:-1]:  # the last one has just been used, and will be again
            if self._bytes <= self.most:
                return
            self._drop(key)


shared = Kept(MOST_SHARED)

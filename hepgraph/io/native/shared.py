"""Data of several ranges, decoded once: row groups of Parquet, pages of RNTuples, baskets of TTrees."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from hepgraph.limits import limits

MOST_SHARED = 512 << 20  # bytes of pages and baskets that are kept for the ranges that are still to come


class Promise:
    """The bytes of something, which one range fetches for all that have a part of it."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._data: bytes | None = None

    def fulfil(self, data: bytes | None) -> None:
        """Sets the bytes; None if they did not come."""
        self._data = data
        self._set.set()

    def wait(self) -> bytes | None:
        """The promised data, after they came; None if they did not for a long time."""
        self._set.wait(limits().shared_stay)
        return self._data


@dataclass(slots=True)
class _Decoded:
    """One piece of decoded data, or a promise of its bytes; `left`: how many of its entries were not asked for yet."""

    left: int
    made: Any = None
    bytes: int = 0
    promise: Promise | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class DecodedCache:
    """A bounded cache of decoded data; each piece is kept until all of its entries were asked for.

    Eviction is random: ranges ask for columns in turn, so that LRU would evict what is needed next. `decoded` counts
    how often something was decoded, `bytes` are those that are kept.
    """

    def __init__(self, most: int) -> None:
        self.most, self.decoded = most, 0
        self._kept: dict[Hashable, _Decoded] = {}
        self._random = random.Random(0)
        self.bytes = 0
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._timer: threading.Timer | None = None
        self._asked = 0.0

    def get(self, key: Hashable, entries: tuple[int, int], decode: Callable[[], Any], most: int | None = None) -> Any:
        """The data under a key, of `nbytes`; `entries` are the number of those asked for, and of all that it has.

        No more than `most` bytes are kept after it; without, what was used last is kept however large it is.
        """
        asked, size = entries
        with self._lock:
            self._own()
            mine = self._kept.setdefault(key, _Decoded(size))
        with mine.lock:  # others that want it wait here for the one who decodes it
            if mine.made is None:
                mine.made = decode()
                mine.promise = None
                self.decoded += 1  # of one at a time only under its own lock: a count for tests
            made = mine.made
        with self._lock:
            mine.left -= asked
            if self._kept.get(key) is mine:
                self.bytes += made.nbytes - mine.bytes
                mine.bytes = made.nbytes
                if mine.left <= 0:
                    self._drop(key)
                else:
                    self._trim(key, self.most if most is None else min(most, self.most))
                    if most is not None and self.bytes > most:
                        self._drop(key)
            self._stay()
        return made

    def promise(self, key: Hashable, entries: int) -> Promise | None:
        """A promise to fetch the bytes of a piece of so many entries; None if it is there or promised already."""
        with self._lock:
            self._own()
            if key in self._kept:
                return None
            made = Promise()
            self._kept[key] = _Decoded(entries, promise=made)
            self._stay()
            return made

    def cancel(self, key: Hashable, promise: Promise) -> None:
        """Takes back a promise that was not fulfilled."""
        with self._lock:
            if key in self._kept and self._kept[key].promise is promise:
                self._drop(key)
        promise.fulfil(None)

    def promised(self, key: Hashable) -> bytes | None:
        """The promised bytes of a key, once they came; None if they are not promised."""
        with self._lock:
            self._own()
            promise = self._kept[key].promise if key in self._kept else None
        return None if promise is None else promise.wait()

    def _own(self) -> None:
        """Starts empty after a fork: the threads that decode are in the parent."""
        if self._process != os.getpid():
            self._process, self._kept, self.bytes, self._timer = os.getpid(), {}, 0, None

    def _stay(self) -> None:
        self._asked = time.monotonic()
        if self._kept and self._timer is None:
            self._wait(limits().shared_stay)

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._rest)
        self._timer.daemon = True
        self._timer.start()

    def _rest(self) -> None:
        """Drops everything if nothing was asked for in STAY seconds; ranges may never come, as after `head`."""
        with self._lock:
            self._timer = None
            left = self._asked + limits().shared_stay - time.monotonic()
            if left <= 0:
                self._kept.clear()
                self.bytes = 0
            elif self._kept:
                self._wait(left)

    def has(self, key: Hashable) -> bool:
        """Whether it is decoded, or is being decoded, or its bytes are promised."""
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Drops everything."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def _drop(self, key: Hashable) -> None:
        self.bytes -= self._kept.pop(key).bytes

    def _trim(self, used: Hashable, most: int) -> None:
        if self.bytes <= most:
            return
        keys = list(self._kept)
        while keys and self.bytes > most:
            key = keys.pop(self._random.randrange(len(keys)))
            if key != used and self._kept[key].bytes:  # the last one used will be used again; others are being made
                self._drop(key)


shared = DecodedCache(MOST_SHARED)


@dataclass(frozen=True, slots=True)
class Share:
    """One file's view of `shared`: `content` identifies what is in the file; at most `most` bytes are kept."""

    content: Hashable
    most: int | None = None

    def get(self, key: Hashable, entries: tuple[int, int], decode: Callable[[], Any]) -> Any:
        """As `DecodedCache.get`."""
        return shared.get((self.content, key), entries, decode, self.most)

    def promised(self, key: Hashable) -> bytes | None:
        """As `DecodedCache.promised`."""
        return shared.promised((self.content, key))


class Promises:
    """Promises of one range to fetch data for others; what is not fulfilled at the end of the `with` is cancelled."""

    def __init__(self, share: Share | None) -> None:
        self._share = share
        self._made: dict[Hashable, Promise] = {}

    def claim(self, key: Hashable, entries: int) -> bool:
        """Whether this range is to fetch it: it is not there, nor promised by another."""
        assert self._share is not None
        promise = shared.promise((self._share.content, key), entries)
        if promise is not None:
            self._made[key] = promise
        return promise is not None

    def fulfil(self, key: Hashable, data: memoryview) -> None:
        """Sets the bytes."""
        self._made.pop(key).fulfil(bytes(data))

    def __enter__(self) -> Promises:
        return self

    def __exit__(self, *error: object) -> None:
        for key, promise in self._made.items():
            assert self._share is not None
            shared.cancel((self._share.content, key), promise)

"""Pools of memory for results, used again once nobody holds them: new pages cost as much as decompressing does.

An array that is taken is a view of an owner, which the pool keeps. Whoever holds the array, or any view of it, holds
the owner too, as its `base`; when the pool is the only one left that holds an owner, its memory is free. Each thread
has a pool of its own, and keeps at most `MOST` bytes.
"""

from __future__ import annotations

import sys
import sysconfig
import threading
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]

SMALLEST = 2**16
MOST = 2**26
LARGEST_ROOM = 2**25  # bytes of scratch that are kept
COUNTED = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")


class BufferPool(threading.local):
    """The owners that a thread keeps, the one taken last at the end."""

    def __init__(self) -> None:
        self._owners: list[Array] = []
        self._none = _holders([np.empty(0, np.uint8)], 0)

    def take(self, length: int, dtype: np.dtype[Any]) -> Array:
        """An uninitialised array, as of `np.empty`."""
        size = length * dtype.itemsize
        if not COUNTED or not SMALLEST <= size <= MOST // 2:
            return np.empty(length, dtype)
        owners = self._owners
        for index in range(len(owners)):
            if size <= len(owners[index]) <= 2 * size and _holders(owners, index) == self._none:
                owners.append(owners.pop(index))
                return owners[-1][:size].view(dtype)
        owners.append(np.empty(size + size // 8, np.uint8))
        found: Array = owners[-1][:size].view(dtype)
        while sum([len(owner) for owner in owners]) > MOST:
            del owners[0]
        return found


def _holders(owners: list[Array], index: int) -> int:
    """The reference count of an owner, counted in the same way each time."""
    return sys.getrefcount(owners[index])


class Scratch(threading.local):
    """Scratch memory of a thread, one buffer for each use, which grows to the largest size asked for."""

    def __init__(self) -> None:
        self._rooms: dict[str, Array] = {}

    def room(self, use: str, size: int) -> Array:
        """A buffer of at least so many bytes, uninitialised; the same for every call with this use, unless large."""
        found = self._rooms.get(use)
        if found is None or len(found) < size:
            found = np.empty(max(size, SMALLEST), np.uint8)
            if size <= LARGEST_ROOM:
                self._rooms[use] = found
        return found

    def take(self, use: str, size: int) -> Array:
        """The first so many bytes of that buffer."""
        return self.room(use, size)[:size]


pool = BufferPool()
scratch = Scratch()

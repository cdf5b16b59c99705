"""Hashes of the contents of arrays: so quick that an array too large to be copied can be looked at before each run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import awkward as ak
import numpy as np
import xxhash


def fingerprint(array: Any) -> bytes:
    """The hash of the content of an array of numbers, NumPy's or awkward's."""
    made = xxhash.xxh3_128()
    for part in _buffers(array):
        made.update(f"{part.dtype} {part.shape}\n".encode())
        made.update(np.ascontiguousarray(part).view(np.uint8).data if part.size else b"")
    return made.digest()


def seen_in(seen: dict[int, bytes], array: Any) -> bytes:
    """The hash of the content of an array, made once while `seen` lasts."""
    if id(array) not in seen:
        seen[id(array)] = fingerprint(array)
    return seen[id(array)]


def _buffers(array: Any) -> Iterable[np.ndarray[Any, Any]]:
    if isinstance(array, np.ndarray):
        return [array]
    _, _, found = ak.to_buffers(array)
    return [np.asarray(found[name]) for name in sorted(found)]


def has_objects(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.hasobject

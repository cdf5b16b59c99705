"""Offsets: where each list begins in the flat values, and where the last one ends."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


def offsets_of(lengths: Any, out: Array | None = None) -> Array:
    """The offsets of lists of these lengths, as int64, in `out` if there is one.

    >>> offsets_of(np.array([2, 0, 1], np.uint8)).tolist()
    [0, 2, 2, 3]
    """
    offsets = np.empty(len(lengths) + 1, np.int64) if out is None else out
    offsets[0] = 0
    np.cumsum(np.asarray(lengths).astype(np.int64, copy=False), out=offsets[1:])
    return offsets

"""Identity of a data file: mtime, size, inode; ETag if remote."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from hepgraph.io.access.files import is_remote
from hepgraph.io.access.handles import Known, settings_of, stamp_of
from hepgraph.io.access.store import stamp as remote_stamp

FRESH = 0.1  # seconds after its last change in which a file may change again and keep its time
ASKED = 30.0  # seconds for which a server's word on a file is taken
_asked: Known[tuple[float, Any]] = Known(4096)


def state_of(path: str, options: Mapping[str, Any] | None = None) -> Any:
    """The identity of a file; None if it is unknown."""
    if not is_remote(path):
        return stamp_of(path)
    key = path, settings_of(options)
    found, _ = _asked.last(key)
    now = time.monotonic()
    if found is None or now - found[0] > ASKED:
        told = remote_stamp(path, options)
        found = now, None if told is None else tuple(told)
        _asked.keep(key, None, found)
    return found[1]


def settled(path: str) -> bool:
    """Whether a file was not written this very moment, when it could change again and keep its time."""
    stamp = stamp_of(path)
    return is_remote(path) or (stamp is not None and time.time() - stamp[0] / 1e9 > FRESH)

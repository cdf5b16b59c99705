"""Where hepgraph keeps things for later, and whether what lies there can be trusted."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path


def directory(part: str = "") -> Path | None:
    """Where things are kept: in `$HEPGRAPH_CACHE`, or the platform's cache directory; None if nowhere."""
    own = os.environ.get("HEPGRAPH_CACHE")
    if own is not None:
        return Path(own) / part if own else None
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "hepgraph" / part
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "hepgraph" / part
    except RuntimeError:  # nobody's home
        return None


def is_own(path: Path) -> bool:
    """Whether a directory is the user's own, and those above it are no one else's to change."""
    try:
        if not is_safe(os.stat(path), stat.S_ISDIR):
            return False
        for above in path.resolve().parents:
            found = os.stat(above)
            mine = not hasattr(os, "getuid") or found.st_uid in (0, os.getuid())
            if not mine or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
                return False
    except OSError:
        return False
    return True


def is_safe(found: os.stat_result, kind: object) -> bool:
    """Whether a file or directory is of a kind (`stat.S_ISREG`), belongs to the user, and is not writable by others."""
    if not callable(kind) or not kind(found.st_mode):
        return False
    if not hasattr(os, "getuid"):  # pragma: no cover
        return True
    return found.st_uid == os.getuid() and not found.st_mode & 0o022

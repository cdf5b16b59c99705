"""Object code on disk, by the hash of all that it depends on; safe to share between processes, and to lose.

A file is executed only if it, and the directory it is in, belong to the user and cannot be written by others, and if
its checksum is right. Nothing here ever raises because of the state of the disk: what cannot be read is compiled
again, what cannot be written is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

MAGIC = b"hepgraph object 1\n"
MOST = 256 << 20  # bytes of objects that are kept
FEWER = 3 * MOST // 4  # and what is left when there are more


def directory() -> Path | None:
    """Where objects are kept: `$HEPGRAPH_CACHE`, or the platform's cache directory; None if kept nowhere."""
    own = os.environ.get("HEPGRAPH_CACHE")
    if own is not None:
        return Path(own) if own else None
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "hepgraph"
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "hepgraph"
    except RuntimeError:  # nobody's home
        return None


def key(*parts: str) -> str:
    """The name of an object."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part.encode())
    return digest.hexdigest()


def read(name: str) -> bytes | None:
    """The object of that name, if there is a sound one of the user's own."""
    where = directory()
    if where is None or not _own(where, stat.S_ISDIR):
        return None
    try:
        handle = os.open(where / f"{name}.o", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        with os.fdopen(handle, "rb") as file:
            if not _safe(os.fstat(file.fileno()), stat.S_ISREG):
                return None
            content = file.read()
            os.utime(file.fileno() if os.utime in os.supports_fd else where / f"{name}.o")  # it was used
    except OSError:
        return None
    head = len(MAGIC) + 32
    if content[: len(MAGIC)] != MAGIC or content[len(MAGIC) : head] != _sum(name, content[head:]):
        return None
    return content[head:]


def write(name: str, data: bytes) -> None:
    """Keeps an object; others never see half of it."""
    where = directory()
    if where is None:
        return
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _own(where, stat.S_ISDIR):
            return
        handle, temporary = tempfile.mkstemp(dir=where, prefix=".", suffix=".part")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + _sum(name, data) + data)
        os.replace(temporary, where / f"{name}.o")
        prune(where, MOST, FEWER)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            return


def prune(where: Path, most: int, fewer: int) -> None:
    """Deletes the objects that were not used for longest, where there are more bytes than `most`, down to `fewer`.

    What other processes delete or use meanwhile is theirs; an object that is loaded is not needed on disk any more.
    """
    found: list[tuple[int, int, str]] = []
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name.endswith((".o", ".part")):
                try:
                    state = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                found.append((state.st_mtime_ns, state.st_size, entry.path))
    size = sum(each for _, each, _ in found)
    if size <= most:
        return
    for _, each, path in sorted(found):
        if size <= fewer:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        size -= each


def _sum(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + data).digest()


def _own(path: Path, kind: object) -> bool:
    """Whether a path is the user's own, and those above it are no one else's to change."""
    try:
        if not _safe(os.stat(path), kind):
            return False
        for above in path.resolve().parents:
            found = os.stat(above)
            mine = not hasattr(os, "getuid") or found.st_uid in (0, os.getuid())
            if not mine or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
                return False
    except OSError:
        return False
    return True


def _safe(found: os.stat_result, kind: object) -> bool:
    """Whether a file or directory is of a kind, belongs to the user, and is not writable by others."""
    if not callable(kind) or not kind(found.st_mode):
        return False
    if not hasattr(os, "getuid"):  # pragma: no cover
        return True
    return found.st_uid == os.getuid() and not found.st_mode & 0o022

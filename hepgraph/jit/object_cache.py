"""Object code on disk, by the hash of all that it depends on; safe to share between processes, and to lose.

A file is executed only if it, and the directory it is in, belong to the user and cannot be written by others, and if
its checksum is right. Nothing here ever raises because of the state of the disk: what cannot be read is compiled
again, what cannot be written is not kept, which is said once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from hepgraph.disk import files
from hepgraph.disk.files import PART, opened
from hepgraph.disk.trust import say_unused, usable

MAGIC = b"hepgraph object 1\n"
MOST = 256 << 20  # bytes of objects that are kept
FEWER = 3 * MOST // 4  # and what is left when there are more
PAUSE = 600.0  # seconds between two looks at how many there are, which takes a tenth of a second for many
LOOKED = ".looked"  # a file that was touched at the last look


def key(*parts: str) -> str:
    """The name of an object."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part.encode())
    return digest.hexdigest()


def read(name: str) -> bytes | None:
    """The object of that name, if there is a sound one of the user's own."""
    where = usable()
    if where is None:
        return None
    try:
        with os.fdopen(opened(where / f"{name}.o", own=True), "rb") as file:
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
    where = usable(make=True)
    if where is None:
        return
    try:
        files.write(where / f"{name}.o", [MAGIC, _sum(name, data), data])
        if _is_time(where / LOOKED):
            prune(where, MOST, FEWER)
    except FileNotFoundError:  # another process made room meanwhile
        return
    except OSError as error:
        say_unused(error, "cannot be written")


def _is_time(looked: Path) -> bool:
    """Whether the last look is long ago; this is one then."""
    try:
        if abs(time.time() - looked.stat().st_mtime) < PAUSE:
            return False
    except FileNotFoundError:
        pass
    looked.touch(mode=0o600)
    return True


def prune(where: Path, most: int, fewer: int) -> None:
    """Deletes the objects that were not used for longest, where there are more bytes than `most`, down to `fewer`.

    What other processes delete or use meanwhile is theirs; an object that is loaded is not needed on disk any more.
    """
    found: list[tuple[int, int, str]] = []
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name.endswith((".o", ".part")) or entry.name.startswith(PART):
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

"""The one reader and the one writer of files that are kept: nothing that is no file, and all of it or nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Sequence
from typing import Any

from hepgraph.disk.trust import Refused, distrust, private

PART = ".part-"  # what files are called that are being written
READ = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody writes to is not waited for
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device", stat.S_IFLNK: "a link",
}  # fmt: skip


def opened(path: str | os.PathLike[str], own: bool = False, flags: int = READ) -> int:
    """The number of an open file; raises OSError, and Refused for anything else: a link, a pipe, a device, a folder.

    With `own`, it is the user's, and nobody else could write to it.
    """
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):  # a link, a socket, a folder
            raise _no_file(path, os.lstat(path)) from None
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise _no_file(path, found)
        if own and (why := distrust(found)):
            raise Refused(why.format(path=os.fspath(path)))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _no_file(path: str | os.PathLike[str], found: os.stat_result) -> Refused:
    return Refused(f"{os.fspath(path)} is {kind(found)}, not a file")


def kind(found: os.stat_result) -> str:
    """The name of a kind of thing that is no file."""
    return _KINDS.get(stat.S_IFMT(found.st_mode), "something else")


def read(path: str | os.PathLike[str], own: bool = False) -> bytes:
    """The content of a file; raises as `opened` does."""
    with os.fdopen(opened(path, own), "rb") as file:
        return file.read()


def write(path: str | os.PathLike[str], parts: Sequence[bytes | memoryview], mode: int | None = 0o600) -> None:
    """Writes a file in a folder that is there; who reads it sees the old one or the new one, whole.

    Without a mode, the umask says who may read it.
    """
    folder, name = os.path.split(os.fspath(path))
    temporary = os.path.join(folder, f"{PART}{os.getpid()}-{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o666 if mode is None else 0o600), "wb") as file:
            if mode is not None:
                os.chmod(temporary, mode)
            file.writelines(parts)
        os.replace(temporary, os.path.join(folder, name))
    except BaseException:
        remove(temporary)
        raise


def sealed(magic: bytes, name: str, data: bytes) -> list[bytes]:
    """The parts of a file of such data under this name, with a checksum of both."""
    return [magic, hashlib.sha256(name.encode() + data).digest(), data]


def unsealed(magic: bytes, name: str, content: bytes) -> bytes | None:
    """The data of a sealed file; None if it is damaged, or was not written under this name."""
    head = len(magic) + 32
    data = content[head:]
    return data if content[:head] == b"".join(sealed(magic, name, data)[:2]) else None


def make_folder(folder: str | os.PathLike[str], mode: int = 0o700) -> None:
    """Makes a folder with this mode; missing parents are the user's alone."""
    if os.path.isdir(folder):
        return
    private(folder)
    if mode != 0o700:
        os.chmod(folder, mode)


def remove(path: str | os.PathLike[str]) -> int:
    """Deletes a file, if it is there and can be deleted; gives 1 if it was."""
    try:
        os.unlink(path)
    except OSError:
        return 0
    return 1


def parsed(data: bytes | str) -> Any:
    """The value of a text in JSON; raises ValueError for one that is none, or is nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None

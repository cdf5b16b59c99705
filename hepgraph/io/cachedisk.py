"""The directory of a column cache: files appear whole, are marked when they are used, and go when there are too many.

Several processes may use a directory at once: a file appears whole, under its name, or not at all; nobody waits for
anybody; whoever has a file open keeps it when another one deletes it. Nothing here raises because of the state of the
disk: where nothing can be written, nothing is kept, with one warning.

A directory that others may write to is not used, unless it is shared with a group that the user is in: its files are
data and are never executed, but they are the numbers that come out.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any

from hepgraph.errors import CacheWarning
from hepgraph.io.columnfile import content_of

PART = ".part-"
ABANDONED = 3600.0  # seconds after which what a process has begun to write is not waited for


class Disk:
    """The directory of a cache, as this process knows it: files with such names, `what` it is for people.

    One that nobody asked for has no name for people, and is silent.
    """

    def __init__(self, directory: str, most: int, names: re.Pattern[str], what: str = "") -> None:
        self.directory, self.most = directory, most
        self._names, self._what = names, what
        self._lock = threading.Lock()
        self._checked: bool | None = None
        self._mode = 0o700
        self._size: int | None = None  # bytes that are there, as far as is known
        self._added = 0  # by this process, since it last looked

    def usable(self) -> bool:
        """Whether the directory is there, or could be made, and nobody else could write to it."""
        if self._checked is None:
            with self._lock:
                if self._checked is None:
                    self._checked = self._check()
        return self._checked

    def _check(self) -> bool:
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            status = os.stat(self.directory)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError("it is not a directory")
            if not _trusted(status):
                raise PermissionError("others could write to it, and what they write would be taken for data")
        except OSError as error:
            self._warn(f"The {self._what} {self.directory} is not used: {error.strerror or error}.")
            return False
        self._mode = stat.S_IMODE(status.st_mode)
        return True

    def _warn(self, text: str) -> None:
        if self._what:
            warnings.warn(CacheWarning(text), stacklevel=2)

    def content(self, path: str) -> Any:
        """The bytes of a file, marked as used; None if it is not there."""
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        except OSError:
            return None
        try:
            content = content_of(handle)
            with contextlib.suppress(OSError):  # of a directory that can only be read
                os.utime(handle)
            return content
        except OSError:
            return None
        finally:
            os.close(handle)

    def remove(self, path: str) -> int:
        """Deletes a file, if it is there and can be deleted; gives 1 if it was."""
        try:
            os.unlink(path)
        except OSError:
            return 0
        return 1

    def write(self, folder: str, name: str, parts: Sequence[bytes | memoryview]) -> None:
        """Keeps a file; others see all of it or nothing. After a failure nothing more is written by this process."""
        size = sum(map(len, parts))
        if not self._room(size):
            return
        temporary = os.path.join(folder, f"{PART}{os.getpid()}-{secrets.token_hex(6)}")
        try:
            for last in (False, True):
                try:
                    self._make(folder)
                    with open(temporary, "xb") as file:
                        file.writelines(parts)
                    os.replace(temporary, os.path.join(folder, name))
                    return
                except FileNotFoundError:  # another process has just deleted the empty folder
                    if last:
                        raise
        except OSError as error:
            self.remove(temporary)
            with self._lock:
                said, self.most = self.most == 0, 0
            if not said:
                self._warn(
                    f"The {self._what} {self.directory} cannot be written, so columns are not kept: "
                    f"{error.strerror or error}."
                )

    def _make(self, folder: str) -> None:
        """Makes a folder for those who may use the directory."""
        for path in (self.directory, os.path.dirname(folder), folder):  # the first if somebody emptied the cache
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
                os.chmod(path, self._mode)

    def _room(self, size: int) -> bool:
        """Whether there is room for so many bytes, after what was not used for longest is deleted."""
        with self._lock:
            if size > self.most // 2:
                return False
            if self._size is None or self._size + size > self.most or self._added > self.most // 8:
                self._size, self._added = self._prune(size), 0
            self._size += size
            self._added += size
            return True

    def _prune(self, coming: int) -> int:
        """Deletes the files that were not used for longest, if there is no room; gives the bytes that are left."""
        found, folders = _listed(self.directory, self._names)
        size = sum(each for _, each, _ in found)
        if size + coming <= self.most:
            return size
        aim = self.most - max(coming, self.most // 8)
        for _, each, path in sorted(found):
            if size <= aim:
                break
            self.remove(path)
            size -= each
        for folder in reversed(folders):
            with contextlib.suppress(OSError):  # most are not empty
                if time.time() - os.stat(folder).st_mtime > ABANDONED:
                    os.rmdir(folder)
        return size


def _listed(directory: str, names: re.Pattern[str]) -> tuple[list[tuple[int, int, str]], list[str]]:
    """The files of a cache (when used, size, path) and its folders; deletes what was left half written long ago."""
    files: list[tuple[int, int, str]] = []
    folders: list[str] = []
    waiting = [directory]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        folders.append(entry.path)
                    elif names.fullmatch(entry.name):
                        status = entry.stat(follow_symlinks=False)
                        files.append((status.st_mtime_ns, status.st_size, entry.path))
                    elif entry.name.startswith(PART) and time.time() - entry.stat().st_mtime > ABANDONED:
                        os.unlink(entry.path)
        except OSError:  # deleted by another process meanwhile
            continue
    return files, folders


def _trusted(status: os.stat_result) -> bool:
    """Whether only the user, the system, or a group that the user is in can write to a directory."""
    if not hasattr(os, "getuid"):  # pragma: no cover
        return True
    shared = bool(status.st_mode & 0o020)
    groups = {os.getegid(), *os.getgroups()}
    if status.st_mode & 0o002 or (shared and status.st_gid not in groups):
        return False
    return status.st_uid in (0, os.getuid()) or shared

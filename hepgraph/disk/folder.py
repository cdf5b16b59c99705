"""A folder with a bound, of any cache: files appear whole, are marked when they are used, and go when there are many.

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
import stat
import threading
import time
from collections.abc import Sequence
from typing import Any

from hepgraph.disk import files
from hepgraph.disk.files import PART, make_folder, opened, remove
from hepgraph.disk.mapped import content_of
from hepgraph.disk.trust import check, private, reason, say, say_unused, usable
from hepgraph.limits import limits

PAUSE = 600.0  # seconds between two looks, by any process, at how much there is of the user's own files
LOOKED = ".looked"  # a file that was touched at the last look
ABANDONED = 3600.0  # seconds after which what a process has begun to write is not waited for


class Folder:
    """The directory of a cache, as this process knows it: files with such names, `what` it is for people.

    One that nobody asked for is the user's `own`, alone, and has no name for people.
    """

    def __init__(self, directory: str, most: int, names: re.Pattern[str], what: str = "") -> None:
        self.directory, self.most = directory, most
        self._names, self._what, self._own = names, what, not what
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
            private(self.directory)
            self._mode = stat.S_IMODE(check(self.directory, shared=not self._own).st_mode)
        except OSError as error:
            self._say("is not used", error)
            return False
        return True

    def _say(self, how: str, error: OSError) -> None:
        if self._own:
            say_unused(error, how)
        else:
            say(f"The {self._what} {self.directory} {how}: {reason(error)}.")

    def content(self, path: str) -> Any:
        """The bytes of a file, marked as used; None if it is not there."""
        try:
            handle = opened(path, self._own)
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

    def write(self, folder: str, name: str, parts: Sequence[bytes | memoryview]) -> None:
        """Writes a file atomically. After a failure this process writes nothing more."""
        size = sum(map(len, parts))
        if not self._room(size):
            return
        try:
            for last in (False, True):
                try:
                    self._make(folder)
                    files.write(os.path.join(folder, name), parts, 0o600 | self._mode & 0o066)
                    return
                except FileNotFoundError:  # another process has just deleted the empty folder
                    if last:
                        raise
        except OSError as error:
            with self._lock:
                said, self.most = self.most == 0, 0
            if not said:
                self._say("cannot be written, so columns are not kept" if self._what else "cannot be written", error)

    def _make(self, folder: str) -> None:
        """Makes a folder for those who may use the directory."""
        for path in (self.directory, os.path.dirname(folder), folder):  # the first if somebody emptied the cache
            make_folder(path, self._mode)

    def _room(self, size: int) -> bool:
        """Whether there is room for so many bytes, after the least recently used files are deleted."""
        with self._lock:
            if size > self.most // 2:
                return False
            if self._size is None and self._own and self._looked():
                self._size = self.most - self.most // 8
            if self._size is None or self._size + size > self.most or self._added > self.most // 8:
                self._size, self._added = self._prune(size), 0
            self._size += size
            self._added += size
            return True

    def _looked(self) -> bool:
        """Whether a process looked a moment ago how much there is, which is slow for many files; if not, this does."""
        mark = os.path.join(self.directory, LOOKED)
        with contextlib.suppress(OSError):
            if abs(time.time() - os.stat(mark).st_mtime) < PAUSE:
                return True
        with contextlib.suppress(OSError):
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600))
            os.utime(mark)
        return False

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
            remove(path)
            size -= each
        for folder in reversed(folders):
            with contextlib.suppress(OSError):  # most are not empty
                if time.time() - os.stat(folder).st_mtime > ABANDONED:
                    os.rmdir(folder)
        return size


def own_folder(part: str, names: re.Pattern[str]) -> Folder | None:
    """A bounded folder of the user's own; None if nothing is kept, or it is not to be trusted, which is said once."""
    where = usable(part, make=True)
    return None if where is None else _own_folders.setdefault(str(where), Folder(str(where), limits().own_most, names))


_own_folders: dict[str, Folder] = {}


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

"""Named bytes in a directory, local or remote: each appears whole or not at all, and one run at a time writes there."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from hepgraph.disk import files
from hepgraph.disk.files import PART, parsed
from hepgraph.disk.trust import Refused, private
from hepgraph.io.access.remote import system_options
from hepgraph.limits import limits

STALE = 600.0  # seconds after which the lock of a run that no longer renews it is taken over


@dataclass(frozen=True)
class Holder:
    """Who works in a directory: a process on a host, since when."""

    host: str
    process: int
    since: str
    token: str = ""
    seen: float = 0.0

    @classmethod
    def me(cls) -> Holder:
        """This process, now."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(socket.gethostname(), os.getpid(), now, secrets.token_hex(8), time.time())

    @property
    def gone(self) -> bool:
        """Whether it has not been heard of for long, or was a process of this host that has ended."""
        if self.host == socket.gethostname():
            try:
                os.kill(self.process, 0)
            except OSError as error:  # others: it is there, and not ours
                return isinstance(error, ProcessLookupError)
            return False
        return time.time() - self.seen > STALE

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


class BusyError(OSError):
    """Another run holds the lock."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "another process"))
        self.holder = holder


class Store:
    """Bytes by name below a directory or URL; errors are the file system's own.

    Folders that are made on this machine are the user's alone, and files as open as their folder; unless it is `plain`,
    and the umask says that.
    """

    def __init__(
        self, url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None, plain: bool = False
    ) -> None:
        self.url, self._plain = os.fspath(url), plain
        local = "://" not in self.url and "::" not in self.url
        where = os.path.abspath(os.path.expanduser(self.url)) if local else self.url
        self.system, root = fsspec.core.url_to_fs(where, **(storage_options or {}))
        self.root = root.rstrip("/")
        self._lock: int | None = None
        self._mine: Holder | None = None
        self._made: set[str] = set()  # folders that are there

    @property
    def local(self) -> bool:
        """Whether it is a directory of this machine."""
        return isinstance(self.system, LocalFileSystem)

    def read(self, name: str, own: bool = False) -> bytes | None:
        """The bytes of a name; None if there is no such name.

        Raises Refused for what is no file, and with `own` for one that others could have written.
        """
        path = self._path(name)
        try:
            return files.read(path, own) if self.local else bytes(self.system.cat_file(path))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Writes bytes under a name atomically: to a temporary name first, then moved."""
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        if folder not in self._made:
            self._make(folder)
            self._made.add(folder)
        if self.local:
            files.write(path, [data], None if self._plain else 0o600 | os.stat(folder).st_mode & 0o066)
            return
        temporary = f"{folder}/{PART}{last}-{os.getpid()}"
        try:
            self.system.pipe_file(temporary, data)
            self.system.mv(temporary, path)
        except BaseException:
            self.remove(temporary, whole=True)
            raise
        self._renew()

    def _make(self, folder: str) -> None:
        if self.local and not self._plain:
            private(folder)
        else:
            self.system.makedirs(folder, exist_ok=True)

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder, sorted; those that a killed run left half written are removed."""
        where = self._path(folder)
        try:
            paths = self.system.ls(where, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        if [str(path).rstrip("/") for path in paths] == [where]:
            raise NotADirectoryError(f"{self.url} is a file")
        found = []
        for path in paths:
            name = str(path).rstrip("/").rpartition("/")[2]
            if name.startswith(PART):
                self.remove(path, whole=True)
            else:
                found.append(name)
        return sorted(found)

    def remove(self, name: str, whole: bool = False) -> None:
        """Removes a name, if it is there and can be removed."""
        try:
            self.system.rm_file(name if whole else self._path(name))
        except OSError:
            return

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    # one run at a time

    def lock(self) -> None:
        """Takes the lock until `unlock`; raises BusyError. The lock of a killed process does not hold."""
        self._make(self.root)
        mine = Holder.me()
        if self.local:
            self._flock(mine)
            return
        held = self._holder()
        if held is not None and not held.gone:
            raise BusyError(held)
        self._write_holder(mine)
        now = self._holder()
        if now is None or now.token != mine.token:  # another run was faster by a moment
            raise BusyError(now)
        self._mine = mine

    def _flock(self, mine: Holder) -> None:
        import fcntl

        path = self._path("lock")
        lock = files.opened(path, flags=files.READ & ~os.O_RDONLY | os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise BusyError(self._holder()) from None
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        with suppress(PermissionError):  # of somebody else, who shares the folder
            os.chmod(path, 0o600 | os.stat(self.root).st_mode & 0o066)
        os.ftruncate(lock, 0)
        os.write(lock, _told(mine))

    def _holder(self) -> Holder | None:
        try:
            return Holder(**parsed(self.read("lock") or b""))
        except (ValueError, TypeError, Refused):
            return None

    def _write_holder(self, holder: Holder) -> None:
        self.system.pipe_file(self._path("lock"), _told(holder))

    def _renew(self) -> None:
        if self._mine is None or time.time() - self._mine.seen < limits().renew:
            return
        held = self._holder()
        if held is not None and held.token != self._mine.token:
            raise BusyError(held)
        self._mine = Holder(self._mine.host, self._mine.process, self._mine.since, self._mine.token, time.time())
        self._write_holder(self._mine)

    def unlock(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._mine is not None:
            self._mine = None
            self.remove("lock")


def _told(holder: Holder) -> bytes:
    return json.dumps(vars(holder)).encode()


def read_bytes(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of one file, local or remote."""
    with fsspec.open(os.path.expanduser(os.fspath(url)), "rb", **(storage_options or {})) as file:
        return bytes(file.read())


def write_bytes(url: str | os.PathLike[str], data: bytes, storage_options: Mapping[str, Any] | None = None) -> None:
    """Writes one file, local or remote; a reader sees the old one or the new one."""
    folder, _, name = os.fspath(url).rpartition("/")
    Store(folder or ("/" if os.fspath(url)[:1] == "/" else "."), storage_options, plain=True).write(name, data)


def stamp(path: str, storage_options: Mapping[str, Any] | None = None) -> list[Any] | None:
    """The size and modification time of a file, as far as its file system has them; else None."""
    try:
        system, where = fsspec.core.url_to_fs(path, **system_options(path, storage_options))
        found = system.info(where)
    except (OSError, ValueError, ImportError):
        return None
    if isinstance(system, LocalFileSystem):
        status = os.stat(where)
        return [status.st_size, status.st_mtime_ns, status.st_ino]
    times = [str(found[key]) for key in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")
             if found.get(key)]  # fmt: skip
    return [found.get("size"), *times] if times else None

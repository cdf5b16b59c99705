"""Folders that are the user's own: where they are, how they are made, and the one check of owner, mode and links.

Two things are asked of a folder. What is executed (object code, pickles of the user's own classes) is taken only from
where nobody but the user and the system could have put it: folder, file, and all folders above it. Data are numbers,
and may be shared with a group that the user is in; but nobody else may write them.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import warnings
from functools import cache
from pathlib import Path

from hepgraph.errors import CacheWarning


class Refused(OSError):
    """A file or folder that is not used: why, and what to do."""


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


def usable(part: str = "", make: bool = False) -> Path | None:
    """The folder where things are kept, made if asked for; None if there is none to be trusted, which is said once."""
    where = directory(part)
    if where is None:
        return None
    try:
        if make:
            private(where)
        check(where)
    except OSError as error:
        say_unused(error)
        return None
    return where


def say_unused(error: OSError, how: str = "is not used") -> None:
    """Warns that the folder where things are kept is not used, and says how to take another one."""
    say(
        f"The cache {directory()} {how}: {reason(error)}. HEPGRAPH_CACHE=FOLDER names another folder, and an "
        "empty one keeps nothing."
    )


def reason(error: OSError) -> str:
    """The reason of an error in a few words."""
    return str(error.strerror or error)


def say(text: str) -> None:
    """Warns of a folder that is not used, once in a process; the workers of a run leave that to the user's process."""
    with _saying:
        if text in _said:
            return
        _said.add(text)
    if "HEPGRAPH_PATH" not in os.environ:  # which a run gives to its workers
        warnings.warn(CacheWarning(text), stacklevel=3)


_said: set[str] = set()
_saying = threading.Lock()


def private(path: str | os.PathLike[str]) -> None:
    """Makes a folder, and all those above it that are missing, for the user alone, whatever the umask."""
    path = os.fspath(path)
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # where the umask takes rights from the user as well
    except FileNotFoundError:
        above = os.path.dirname(os.path.abspath(path))
        if above == os.path.abspath(path):
            raise
        private(above)
        private(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(20, "Not a directory", path) from None


def check(path: str | os.PathLike[str], shared: bool = False) -> os.stat_result:
    """The state of a folder whose content can be trusted; raises Refused, saying why and what to do, or OSError.

    With `shared` that is data, which root or a group that the user is in may have written. What is missing at the end
    of the path is not minded.
    """
    absolute = os.path.abspath(path)
    _check_links(absolute)
    above = [*Path(absolute).parents, *Path(os.path.realpath(absolute)).parents]
    for folder in dict.fromkeys(above):
        try:
            _check_above(str(folder), os.stat(folder), shared)
        except FileNotFoundError:
            continue
    try:
        found = os.stat(absolute)
    except FileNotFoundError:
        return os.stat_result([stat.S_IFDIR | 0o700, *[0] * 9])
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "Not a directory", path)
    if why := distrust(found, shared):
        raise Refused(why.format(path=absolute))
    return found


def distrust(found: os.stat_result, shared: bool = False) -> str:
    """Why a file or folder of this state is not trusted, for its {path}, and what to do; empty if it is."""
    if not hasattr(os, "getuid"):  # pragma: no cover
        return ""
    writable = _others(found)
    if shared:
        group = bool(found.st_mode & 0o020)
        if found.st_mode & 0o002 or (group and found.st_gid not in {os.getegid(), *os.getgroups()}):
            return "others could write to it, and what they write would be taken for data; chmod go-w {path}"
        return "" if group or found.st_uid in (0, os.getuid()) else _belongs(found)
    if found.st_uid != os.getuid():
        return _belongs(found)
    return f"others could write to {{path}} (mode {_mode(found)}); chmod go-w {{path}}" if writable else ""


def _belongs(found: os.stat_result) -> str:
    return f"{{path}} belongs to user {_name(found.st_uid)}; take a folder of your own"


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"


def _check_above(path: str, found: os.stat_result, shared: bool) -> None:
    """Raises Refused if others could replace what is in a folder."""
    if not hasattr(os, "getuid"):  # pragma: no cover
        return
    writable = found.st_mode & 0o002 if shared else _others(found)
    if writable and not found.st_mode & stat.S_ISVTX:
        raise Refused(f"others could write to {path}, which it is in (mode {_mode(found)}); chmod go-w {path}")
    if not shared and found.st_uid not in (0, os.getuid()):
        raise Refused(f"{path}, which it is in, belongs to user {_name(found.st_uid)}; take a folder of your own")


def _check_links(path: str) -> None:
    """Raises Refused for a link in a path that somebody else made, and could change."""
    if not hasattr(os, "getuid"):  # pragma: no cover
        return
    for part in (Path(path), *Path(path).parents):
        try:
            found = os.lstat(part)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.getuid()):
            raise Refused(f"the link {part} belongs to user {_name(found.st_uid)}; take a folder of your own")


def _others(found: os.stat_result) -> bool:
    """Whether others may write: anybody, or a group that is more than the user."""
    group = found.st_mode & 0o020 and not _alone(found.st_gid, os.getuid())
    return bool(found.st_mode & 0o002 or group)


@cache
def _alone(group: int, user: int) -> bool:
    """Whether a group is a user's alone: where each has one, of the same name, what they make is writable for it."""
    try:
        import grp
        import pwd

        me, them = pwd.getpwuid(user), grp.getgrgid(group)
    except (ImportError, KeyError):
        return False
    return user != 0 and me.pw_gid == group and them.gr_name == me.pw_name and set(them.gr_mem) <= {me.pw_name}


def _name(user: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(user).pw_name
    except (ImportError, KeyError):
        return str(user)

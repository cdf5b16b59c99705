"""Files as users write them, as a list of paths with trees; the kind of a file; errors that name the file."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import fsspec

from hepgraph.disk.files import kind
from hepgraph.errors import (
    AccessError,
    DamagedFileError,
    FilesetError,
    HepgraphError,
    MissingColumnError,
    MissingFileError,
    SourceError,
    suggestion,
)
from hepgraph.io.access.remote import AnswerError, beneath, is_missing, met, system_options
from hepgraph.io.formats import FORMATS, Format, format_of, suffixes

Files: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str | None]
Options: TypeAlias = Mapping[str, Any] | None


def resolve(files: Files, storage_options: Options = None) -> list[tuple[str, str | None]]:
    """The (path, tree or None) of every file meant by a path, a glob, a directory, a list, or a {file: tree}.

    Local paths come out absolute. Raises MissingFileError if a file is not there or a pattern matches nothing, and
    FilesetError if there is nothing at all or a file comes twice: its events would be counted twice.
    """
    if not isinstance(storage_options, Mapping | None):
        raise FilesetError(f"storage_options must be a dict of options, not {storage_options!r}.")
    found: list[tuple[str, str | None]] = []
    for text, tree in _entries(files):
        found += [(path, tree) for path in _expand(text, storage_options or {})]
    if not found:
        raise FilesetError("The list of files is empty.")
    once(found)
    return found


def once(places: Iterable[tuple[str, str | None]]) -> None:
    """Raises FilesetError if a tree comes twice; a local file may have several paths, and a tree its cycle or not."""
    seen: dict[tuple[Any, str | None], set[str]] = {}
    for path, tree in places:
        name, _, cycle = (tree or "").strip("/").partition(";")
        cycles = seen.setdefault((same_file(path), name), set())
        if cycles and (not cycle or cycle in cycles or "" in cycles):
            raise FilesetError(f"{path} is listed twice; its events would be counted twice.")
        cycles.add(cycle)


def same_file(path: str) -> Any:
    """The identity of a local file, common to all of its paths; an URL is its own."""
    if is_remote(path):
        return path
    try:
        status = os.stat(path)
    except OSError:
        return path
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _entries(files: Files) -> Iterator[tuple[str, str | None]]:
    if isinstance(files, str):
        yield split_tree(files)
    elif isinstance(files, os.PathLike):
        yield os.fspath(files), None
    elif isinstance(files, Mapping):
        for path, tree in files.items():
            if tree is not None and not isinstance(tree, str):
                hint = (
                    "" if not isinstance(tree, list | Mapping) else " A fileset, of datasets with files, is for hg.run."
                )
                raise FilesetError(f"The tree of {path} must be a name or None, not {tree!r}.{hint}")
            yield (os.fspath(path), tree) if tree is not None else split_tree(os.fspath(path))
    elif isinstance(files, Sequence) and not isinstance(files, bytes):
        for file in files:
            if not isinstance(file, str | os.PathLike):
                raise FilesetError(f"A file must be given by its path, not by {file!r}.")
            yield from _entries(file)
    else:
        raise FilesetError(f"Files are given by a path, a list of paths or a {{path: tree}}, not by {files!r}.")


def split_tree(text: str) -> tuple[str, str | None]:
    """The path and the tree of `path:tree`, where the colons of an URL and its port belong to the path.

    >>> split_tree("a.root:Events")
    ('a.root', 'Events')
    >>> split_tree("root://host:1094//store/a.root")
    ('root://host:1094//store/a.root', None)
    >>> split_tree("root://host:1094//store/a.root:dir/Events")
    ('root://host:1094//store/a.root', 'dir/Events')
    """
    path, colon, tree = text.rpartition(":")
    _, scheme, beyond = path.rpartition("://")
    if not colon or not path or not tree:
        return text, None
    if tree.startswith("//") or path.endswith(":"):  # the colon of "scheme://", or of fsspec's "::"
        return text, None
    if scheme and ("/" not in beyond or "?" in beyond):  # the colon of a port, or one inside a query
        return text, None
    if not scheme and os.path.exists(text):
        return text, None
    return path, tree


def is_remote(path: str) -> bool:
    """Whether a path is an URL.

    >>> is_remote("https://cern.ch/a.root"), is_remote("/data/a.root")
    (True, False)
    """
    return "://" in path


def _expand(path: str, options: Mapping[str, Any]) -> list[str]:
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    if is_remote(path):
        return _expand_remote(path, options)
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path):
        found = sorted(name for name in os.listdir(path) if name.endswith(suffixes()))
        if not found:
            names = " or ".join(each.name for each in FORMATS)
            raise MissingFileError(f"The directory {path} has no {names} files in it.")
        return [os.path.join(path, name) for name in found]
    if os.path.isfile(path):
        return [path]
    if os.path.exists(path):
        raise SourceError(f"{path} is {kind(os.stat(path))}, not a file: it cannot be read from any place in it.")
    if glob.has_magic(path):
        found = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
        if not found:
            raise MissingFileError(f"No file matches {path}.{_beside(path)}")
        return found
    raise MissingFileError(f"No such file: {path}.{_beside(path)}")


def _beside(path: str) -> str:
    """One line on what there is in the directory of a file that is missing."""
    folder = Path(path).parent
    if glob.has_magic(str(folder)):
        return ""
    if not folder.is_dir():
        return f"\nThe directory {folder} does not exist."
    names = sorted(os.listdir(folder))
    return f"\nIn {folder}: {suggestion(Path(path).name, names)}" if names else f"\nThe directory {folder} is empty."


def _expand_remote(path: str, options: Mapping[str, Any]) -> list[str]:
    if path.endswith("/"):
        path += "*.root"
    if "*" not in path:
        return [path]
    with edge(path):
        system, pattern = fsspec.core.url_to_fs(path, **system_options(path, options))
        found = sorted(system.unstrip_protocol(name) for name in system.glob(pattern))
    if not found:
        raise MissingFileError(f"No file matches {path}.")
    return found


def sniff(path: str, storage_options: Options = None) -> Format:
    """The format of a file, by its first bytes; raises DamagedFileError for anything else."""
    met(path)
    with edge(path), fsspec.open(path, "rb", **system_options(path, storage_options)) as file:
        start = file.read(8)
    return format_of(path, start)


_NETWORK = {"aiohttp", "requests", "urllib3", "XRootD", "fsspec_xrootd", "botocore", "s3fs"}


@contextmanager
def edge(path: str, doing: str = "open") -> Iterator[None]:
    """Around calls of a library that reads files: its errors come out as hepgraph's, naming the file.

    >>> with edge("a.root", "read branch 'Muon_pt' of tree 'Events' in"):
    ...     raise ValueError("bad magic")
    Traceback (most recent call last):
    ...
    hepgraph.errors.DamagedFileError: Cannot read branch 'Muon_pt' of tree 'Events' in a.root: ValueError: bad magic
    """
    try:
        yield
    except (HepgraphError, MemoryError):
        raise
    except NotImplementedError as error:  # the file may be sound; the library does not know what is in it
        raise MissingColumnError(f"Cannot {doing} {path}: {_first_lines(error)}") from error
    except Exception as error:
        if is_missing(error):
            raise MissingFileError(f"No such file: {path}.") from error
        happened = beneath(error)
        if isinstance(happened, AnswerError):
            raise happened.for_users from happened
        if said := _users_to_mend(happened, happened is not error, path):
            raise FilesetError(said) from error
        message = f"Cannot {doing} {path}: {_first_lines(happened)}"
        if _is_access(happened, path):
            raise AccessError(message) from error
        raise DamagedFileError(message) from error


def _users_to_mend(error: BaseException, hidden: bool, path: str) -> str:
    """Advice on a trouble that is neither of the file nor of its server; empty if it is."""
    if isinstance(error, ImportError):
        install = "\nUse: pip install 'hepgraph[remote,s3,xrootd]', or whichever of them is needed."
        needed = f"Reading {path} needs a package that is not installed: {_first_lines(error)}"
        return needed + install * is_remote(path)
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return (
            f"{path} begins with a protocol that is not known; there are https://, s3://, root:// and those of fsspec."
        )
    if hidden and isinstance(error, TypeError | ValueError) and not isinstance(error, OSError):
        return f"Cannot open {path} with these storage_options: {_first_lines(error)}"
    if isinstance(error, ValueError) and "doesn't appear to support range requests" in str(error):
        return f"The server of {path} does not give parts of files, only whole ones: fetch the file first."
    return ""


def _is_access(error: BaseException, path: str) -> bool:
    """Whether the trouble is in reaching the file, not in what it holds: worth another try."""
    if type(error).__module__.partition(".")[0] in _NETWORK or isinstance(error, TimeoutError | ConnectionError):
        return True
    return isinstance(error, OSError) and (is_remote(path) or error.errno is not None)


def _first_lines(error: BaseException) -> str:
    lines = re.split(r"\n\s*\n", str(error).strip())[0].splitlines()
    return ": ".join([type(error).__name__, *(" ".join(lines[:3]),)] if lines else [type(error).__name__])

"""The metadata cache: types of columns and places of baskets, kept on disk for other processes.

A file here is used only if it, and the directory it is in, belong to the user and cannot be written by others, and if
its checksum is right. An entry is for one state of a data file (mtime, size, inode; of a remote one: size, time and
ETag) and one version of the code that parsed it. Nothing here raises because of the state of the disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from hepgraph.disk import plain
from hepgraph.disk.files import sealed, unsealed
from hepgraph.disk.folder import Folder, own_folder
from hepgraph.io.access.files import Options
from hepgraph.io.access.identity import settled, state_of
from hepgraph.io.source import Column, File, Level, RecordLevel
from hepgraph.limits import limits

T = TypeVar("T")
MAGIC = b"hepgraph known 3\n"
_NAME = re.compile("[0-9a-f]{64}")
_CODE = ("source.py", "forms.py", "trees.py", "root.py", "ttree/*.py", "rntuple/*.py")  # the code that parses metadata

_NOTHING: dict[str, Any] = {"name": "", "counts": None, "title": "", "bytes": 0, "memory": 0}  # of one column alone

for _kind in (Column, File, Level, RecordLevel):
    plain.plain(_kind)


def packed(columns: Sequence[Column]) -> tuple[Any, ...]:
    """Columns as a few lists, which take a tenth of the time to read: names, sizes, and the kinds that they are of."""
    kinds: dict[Column, int] = {}
    which = [kinds.setdefault(replace(each, **_NOTHING), len(kinds)) for each in columns]
    return list(kinds), which, *([getattr(each, name) for each in columns] for name in _NOTHING)


def unpacked(told: tuple[Any, ...]) -> list[Column]:
    """The columns of `packed` lists.

    >>> import numpy as np
    >>> columns = [Column("x", np.dtype("f4"), bytes=12), Column("y", np.dtype("f4"), title="why")]
    >>> unpacked(packed(columns)) == columns
    True
    """
    kinds, which, *own = told
    rests = [(kind.dtype, kind.levels, kind.nullable, kind.text, kind.problem, kind.records) for kind in kinds]
    found = []
    for number, name, counts, title, stored, memory in zip(which, *own, strict=True):
        dtype, levels, nullable, text, problem, records = rests[number]
        found.append(Column(name, dtype, levels, nullable, text, counts, title, stored, memory, problem, records))
    return found


def folder() -> Folder | None:
    """The folder of the cache; None if there is none."""
    return own_folder("known", _NAME) if limits().remember else None


def cached(make: Callable[[], T], path: str, options: Options, *what: Any) -> T:
    """Cached metadata of a file, else the result of `make`, which is stored if the file did not change meanwhile."""
    state = state_of(path, options)
    found: T | None = recall(path, state, *what)
    if found is None:
        found = make()
        if state_of(path, options) == state:
            remember(found, path, state, *what)
    return found


def recall(path: str, state: Any, *what: Any) -> Any:
    """Cached metadata of a file in a state; None if there is none."""
    disk = None if state is None or not _code() else folder()
    if disk is None:
        return None
    name = _name(path, state, what)
    where = os.path.join(disk.directory, name[:2], name)
    data = unsealed(MAGIC, name, bytes(disk.content(where) or b""))
    try:
        return None if data is None else plain.read(data)
    except (ValueError, plain.Pickled):
        return None


def remember(value: Any, path: str, state: Any, *what: Any) -> None:
    """Stores metadata of a file that had this state before and after they were read."""
    keeps = state is not None and _code() and settled(path)
    disk = folder() if keeps else None
    if disk is not None:
        name = _name(path, state, what)
        try:
            data, _ = plain.written(value)
        except TypeError:  # there is something in it that only uproot knows
            return
        disk.write(os.path.join(disk.directory, name[:2]), name, sealed(MAGIC, name, data))


def _name(path: str, state: Any, what: tuple[Any, ...]) -> str:
    return hashlib.sha256(repr((_code(), path, state, what)).encode()).hexdigest()


@cache
def _code() -> str:
    """A hash of the code that parses metadata; empty where it is not in files, and nothing is cached then."""
    digest = hashlib.sha256(f"{sys.version} {version('uproot')} {version('numpy')}".encode())
    try:
        files = [sorted(Path(__file__).parents[1].glob(name)) for name in _CODE]
        for path in [path for found in files for path in found]:
            digest.update(path.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest() if all(files) else ""

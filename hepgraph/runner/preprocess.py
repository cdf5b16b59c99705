"""Preprocessing: looking at every file of a fileset once, so that runs need not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hepgraph.arguments import checks_arguments
from hepgraph.datasets.fileset import KNOWN, Dataset, Fileset, Place, datasets
from hepgraph.disk.files import parsed
from hepgraph.disk.folder import own_folder
from hepgraph.disk.trust import check, private, reason, say
from hepgraph.errors import DisagreementError, IncompleteWarning, SourceError
from hepgraph.executors import pick
from hepgraph.executors.interface import Work
from hepgraph.io.access.store import Store, stamp
from hepgraph.io.formats import column_from_json, column_to_json, file_from_json, file_to_json, format_with
from hepgraph.io.source import Source
from hepgraph.runner.opening import Found, joined_source, look, places_of
from hepgraph.runner.progress import progress_bar
from hepgraph.runner.provenance import versions
from hepgraph.runner.retry import Policy, one_line

_FORMAT = 1
_NAMES = re.compile(r"[0-9a-f]{64}\.z")


@checks_arguments()
def preprocess(
    fileset: Any,
    *,
    tree: str | None = None,
    executor: Any = None,
    cache: bool | str | os.PathLike[str] = True,
    strict: bool = False,
    on_error: str = "raise",
    retries: int = 3,
    progress: bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Fileset:
    """The fileset with all that a run needs to know of its files: identities, entries, edges of clusters, columns.

    Nothing but metadata is read. The result is a dict that JSON takes (`.save`), and a fileset: `hg.run` opens none of
    its files before it reads their events. Files of one dataset must be of one kind; where they disagree on a column, a
    run that needs it raises.

    Parameters
    ----------
    fileset : str, Path or dict
        Files of each dataset: {"name": ["a.root", "b.root:Events"]} or {"name": {"files": ..., "metadata": ...}}; or
        the path of a JSON or YAML file that holds this.
    tree : str, default None
        Name of the tree, if not "Events" or the only one.
    executor : str or object, default None
        Place to run: "serial", "threads", "processes", "dask", a dask Client, Cluster or address, an object of
        `hg.executors`, or a `concurrent.futures.Executor`. None: the current dask Client if there is one, else threads.
    cache : bool, str or Path, default True
        Directory that keeps what is found out, under the path, size and time of each file, so that the next call opens
        only what is new. True: the user's own; False: nowhere.
    strict : bool, default False
        A column on which the files of a dataset disagree is an error at once.
    on_error : {"raise", "skip"}, default "raise"
        "skip" leaves out files that cannot be opened, with a warning; every run over the result names them as lost.
    retries : int, default 3
        Further tries at what cannot be read, after longer and longer waits.
    progress : bool, default None
        Progress is shown in a terminal or notebook, unless this is False.
    storage_options : dict, default None
        Options of fsspec for URLs.

    Returns
    -------
    Fileset
        The fileset, with what is known of each file.

    Raises
    ------
    MissingFileError, MissingTreeError, DamagedFileError, SourceError
        If a file cannot be opened, unless `on_error="skip"`.
    DisagreementError
        If files of a dataset disagree, with `strict=True`.

    Examples
    --------
    >>> import hepgraph as hg
    >>> known = hg.preprocess({"a": ["data/sample.root"]}, executor="serial", cache=False)
    >>> known.entries, known.first_events(100).entries
    ({'a': 8000}, {'a': 100})
    """
    policy = Policy(on_error, retries)
    named = datasets(fileset, tree)
    runner = pick(executor)
    kept = _Cache(cache, storage_options)
    places = [_places(dataset, tree, policy, storage_options) for dataset in named]
    tasks = list(dict.fromkeys(place for mine in places for place in mine))
    found = {place: known for place in tasks if (known := kept.read(place)) is not None}
    new = [place for place in tasks if place not in found]
    with progress_bar(len(new), progress, f"preprocessing, {runner.name}") as tick:
        for index, one in runner.run(Look(storage_options, policy), new):
            found[new[index]] = one
            kept.write(one)
            tick(one.file.entries if one.file is not None else 0)
    made: dict[str, Any] = {}
    unread: list[SourceError] = []
    for dataset, mine in zip(named, places, strict=True):
        try:
            source = joined_source(
                dataset.name, [found[place] for place in mine], None, dataset.metadata, storage_options
            )
        except SourceError as error:
            if not error.absent:
                raise
            unread.append(error)
            nothing = {"kind": "", "entries": 0, "columns": [], "absent": [asdict(gone) for gone in error.absent]}
            made[dataset.name] = {"files": {}, "metadata": dict(dataset.metadata), KNOWN: nothing}
            continue
        if strict:
            _agree(source)
        made[dataset.name] = described(source)
    if len(unread) == len(named):
        raise unread[0]
    missing = [one for one in found.values() if one.error is not None]
    if missing:
        paths = ", ".join(one.place[0][0] for one in missing[:3]) + (", ..." if len(missing) > 3 else "")
        warnings.warn(
            IncompleteWarning(
                f"{len(missing)} of {len(tasks)} files cannot be opened, and runs over this fileset will lack their "
                f"events: {paths}. The first: {one_line(missing[0].error or OSError())}"
            ),
            stacklevel=3,
        )
    return Fileset(made)


def described(source: Source) -> dict[str, Any]:
    """A dataset of a fileset, with all that is known of a source."""
    known: dict[str, Any] = {
        "kind": source.kind,
        "entries": source.entries,
        "columns": [column_to_json(column) for column in (*source.columns.values(), *source.late.values())],
    }
    if source.absent:
        known["absent"] = [asdict(gone) for gone in source.absent]
    return {
        "files": {file.path: file_to_json(file) for file in source.files},
        "metadata": dict(source.metadata),
        "format": format_with(source.kind).name.lower(),
        KNOWN: known,
    }


class Look(Work):
    """The work on one place: a look at the file there."""

    def __init__(self, options: Mapping[str, Any] | None, policy: Policy) -> None:
        self.options, self.policy = options, policy

    def __call__(self, place: Place) -> Found:
        return look(place, self.options, self.policy)


def _places(dataset: Dataset, tree: str | None, policy: Policy, options: Mapping[str, Any] | None) -> Sequence[Place]:
    return [(paths, own or dataset.tree or tree) for paths, own in places_of(dataset, options, policy)]


def _agree(source: Source) -> None:
    for file in source.files:
        for name in file.lacks:
            raise DisagreementError(source.lacking(name))
        source.check(name for name in file.differs if name in source.columns)
        for name, own in file.stored.items():
            raise DisagreementError(
                f"The files of this dataset disagree on column {name!r}: it is {own} in {file.path}, and all of them "
                f"together are read as {source.columns[name].type}."
            )
    if source.absent:
        raise DisagreementError(f"{source.absent[0].path} cannot be opened: {source.absent[0].error}")


class _Cache:
    """A cache of looks at files, by path, size and time; a damaged one is as if it were empty."""

    def __init__(self, where: bool | str | os.PathLike[str], options: Mapping[str, Any] | None) -> None:
        self.options = options
        self.folder = own_folder("files", _NAMES) if where is True else None
        self.store = None if isinstance(where, bool) else Store(os.fspath(where))
        if self.store is not None and self.store.local:
            try:
                private(self.store.root)
                check(self.store.root, shared=True)
            except OSError as error:
                self._unused("is not used", error)

    def _unused(self, how: str, error: OSError) -> None:
        assert self.store is not None
        say(f"The cache {self.store.url} of preprocess {how}: {reason(error)}.")
        self.store = None

    def _name(self, place: Place) -> str | None:
        paths, tree = place
        found = stamp(paths[0], self.options)
        if found is None:
            return None
        text = json.dumps([_FORMAT, _version(), list(paths), tree, found])
        return f"{hashlib.sha256(text.encode()).hexdigest()}.z"

    def _bytes(self, name: str) -> bytes | None:
        if self.folder is not None:
            return self.folder.content(os.path.join(self.folder.directory, name))  # type: ignore[no-any-return]
        return None if self.store is None else self.store.read(name)

    def read(self, place: Place) -> Found | None:
        if (self.folder or self.store) is None or (name := self._name(place)) is None:
            return None
        try:
            data = self._bytes(name)
            if data is None:
                return None
            known = parsed(zlib.decompress(data))
            columns = tuple(column_from_json(column) for column in known["columns"])
            return Found(place, known["kind"], columns, file_from_json(place[0][0], known["file"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, zlib.error):
            return None

    def write(self, one: Found) -> None:
        if (self.folder or self.store) is None or one.file is None or (name := self._name(one.place)) is None:
            return
        known = {"kind": one.kind, "columns": [column_to_json(c) for c in one.columns], "file": file_to_json(one.file)}
        data = zlib.compress(json.dumps(known).encode(), 3)
        if self.folder is not None:
            self.folder.write(self.folder.directory, name, [data])
        if self.store is not None:
            try:
                self.store.write(name, data)
            except OSError as error:
                self._unused("cannot be written", error)


def _version() -> str:
    return dict(versions()).get("hepgraph", "")

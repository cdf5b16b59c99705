"""Common parts of TTrees and RNTuples: files opened through uproot, the choice of the tree, the course of a read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import uproot

from hepgraph.errors import ChangedFileError, DamagedFileError, DisagreementError, MissingTreeError, nearest, suggestion
from hepgraph.io.access.files import Options, edge, sniff
from hepgraph.io.access.handles import Handles, settings_of
from hepgraph.io.access.remote import met, system_options
from hepgraph.io.source import File, Partition, Source

T = TypeVar("T")

TTREES = ("TTree", "TNtuple", "TNtupleD")
RNTUPLES = ("ROOT::RNTuple", "ROOT::Experimental::RNTuple")
USUAL = ("Events", "events")


@dataclass(slots=True)
class Opened:
    """A tree of an open file, its class, and what a reader works out about it once (`layout`, `header`)."""

    file: Any
    path: str
    name: str
    kind: str
    layout: Any = None
    header: Any = ...
    _tree: Any = None

    @property
    def tree(self) -> Any:
        """The tree as uproot has it, which takes long where it has many branches: made when it is first asked for."""
        if self._tree is None:
            with edge(self.path, f"open tree {self.name!r} of"):
                self._tree = self.file[self.name]
        return self._tree

    @property
    def is_ntuple(self) -> bool:
        return self.kind in RNTUPLES

    @property
    def uuid(self) -> str:
        return str(self.file.file.uuid)


handles: Handles[Opened] = Handles(close=lambda opened: opened.file.close())


@contextmanager
def borrowed(path: str, tree: str | None, options: Options) -> Iterator[Opened]:
    """The open tree for the length of a `with`, taken from those left open where there is one."""
    settings = settings_of(options)

    def key_of(opened: Opened) -> Hashable:
        return path, opened.name, settings

    key = path, tree, settings
    with handles.borrow(key, path, lambda: _open(path, tree, options or {}), key_of, options) as opened:
        yield opened


def _open(path: str, tree: str | None, options: Mapping[str, Any]) -> Opened:
    met(path)
    try:
        with edge(path):
            # a dict keeps uproot from looking for a tree's name in the path; caches would hold on to what was read
            file = uproot.open({path: None}, array_cache=None, object_cache=None, **system_options(path, options))
    except DamagedFileError as error:
        try:
            kind = sniff(path, options).name
        except DamagedFileError as better:
            raise better from error
        if kind != "ROOT":
            raise DamagedFileError(f"{path} is a {kind} file, not a ROOT file.") from error
        raise
    try:
        with edge(path):
            size, end = file.file.source.num_bytes, file.file.fEND
        if size is not None and size < end:
            raise DamagedFileError(f"{path} is truncated: it should have {end} bytes and has {size}.")
        with edge(path, "list the trees of"):
            classes = file.classnames(recursive=True, cycle=False)
        name = choose(path, tree, classes)
        if ";" in name:
            with edge(path, "list the trees of"):
                keys = file.keys(recursive=True, cycle=True)
            _check_cycle(path, name, keys)
        return Opened(file, path, name, classes[name.partition(";")[0]])
    except BaseException:
        file.close()
        raise


def choose(path: str, tree: str | None, classes: Mapping[str, str]) -> str:
    """The tree that is meant: the one asked for, else `Events`, else the only one there is.

    >>> choose("a.root", None, {"Runs": "TTree", "Events": "TTree"})
    'Events'
    """
    trees = [name for name, kind in classes.items() if kind in TTREES + RNTUPLES]
    if tree is not None:
        wanted = tree.partition(";")[0].strip("/")
        if wanted in trees:
            return tree.strip("/")
        if wanted in classes:
            raise MissingTreeError(f"{wanted!r} in {path} is a {classes[wanted]}, not a tree. {_listed(trees)}")
        if not trees:
            raise MissingTreeError(_none(path))
        near = f"{suggestion(wanted, trees)} " if nearest(wanted, trees) else ""
        raise MissingTreeError(f"No tree {tree!r} in {path}.\n{near}{_listed(trees)}")
    if usual := [name for name in USUAL if name in trees]:
        return usual[0]
    if len(trees) == 1:
        return trees[0]
    if not trees:
        raise MissingTreeError(_none(path))
    raise MissingTreeError(f"{path} has several trees; say which with tree=. {_listed(trees)}")


def _check_cycle(path: str, tree: str, keys: Sequence[str]) -> None:
    """Raises MissingTreeError where a tree is there, but not in the cycle (the version) that was asked for."""
    name, _, cycle = tree.partition(";")
    if tree not in keys:
        there = [key.rpartition(";")[2] for key in keys if key.rpartition(";")[0] == name]
        raise MissingTreeError(
            f"No cycle {cycle} of tree {name!r} in {path}; there is {' and '.join(sorted(there))}. "
            f"Without a cycle ({name!r}), the newest is read."
        )


def _listed(trees: Sequence[str]) -> str:
    return f"Trees: {', '.join(trees)}." if trees else "There are no trees in the file."


def _none(path: str) -> str:
    return f"There is no TTree and no RNTuple in {path}."


def in_parallel(work: Callable[[T], Any], items: Sequence[T], most: int = 8) -> list[Any]:
    """The results of some work on every item, in order; several at a time, as opening files is mostly waiting."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(most, len(items))) as pool:
        return list(pool.map(work, items))


class UprootSource(Source):
    """A dataset of trees whose metadata uproot reads."""

    def _same(self, partition: Partition, opened: Opened) -> None:
        self._unchanged(partition, opened.uuid, int(opened.tree.num_entries))

    def _unchanged(self, partition: Partition, uuid: str, entries: int) -> None:
        """Raises ChangedFileError if a file is not the one that this source was made of."""
        file = self._places[partition.path, partition.tree]
        if uuid != file.uuid or entries != file.entries:
            raise ChangedFileError(
                f"{file.path} changed after it was opened: tree {file.tree!r} had {file.entries} entries (file "
                f"{file.uuid}) and has {entries} now (file {uuid}). Open the dataset again."
            )

    @contextmanager
    def _reading(self, partition: Partition, what: str) -> Iterator[None]:
        with edge(
            partition.path, f"read {what} of tree {partition.tree!r}, entries {partition.start} to {partition.stop}, in"
        ):
            yield


def same_kind(paths: Sequence[str], ntuple: Sequence[bool]) -> None:
    """Raises DisagreementError if some files hold a TTree and some an RNTuple."""
    kinds = {True: "an RNTuple", False: "a TTree"}
    for path, mine in zip(paths, ntuple, strict=True):
        if mine != ntuple[0]:
            raise DisagreementError(f"{paths[0]} holds {kinds[ntuple[0]]}, but {path} holds {kinds[mine]}.")


def file_of(opened: Opened, path: str, entries: int, edges: Sequence[int]) -> File:
    """The parts of an opened tree that a source keeps."""
    inside = sorted({int(edge) for edge in edges if 0 < edge < entries} | {0, entries})
    return File(path, opened.name, entries, opened.uuid, tuple(inside))

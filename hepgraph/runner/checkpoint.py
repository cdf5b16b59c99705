"""Partial results on disk, so that a run that was killed goes on where it stopped.

A checkpoint is a directory, local or remote. It holds `analysis.json`, which says whose it is, and for the plan of each
dataset a folder with one file for each range that is done. The name of the folder is the hash of all that the result of
a range depends on but the data (graph, outputs, opaque functions with their code, types of the columns, version); the
name of a file that of the data (the file's own identity) and the range. So nothing that is found there can be stale.

Each file is written under another name, then moved, and begins with the hash of what follows: a run can be killed at
any moment. What is damaged all the same is said to be, and computed again. Results are written as data (`disk.plain`);
only an object of a class of the user's is pickled, and only a pickle that nobody else can have written is loaded: one
in a local folder of the user's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from hepgraph.disk import plain
from hepgraph.disk.files import opened, parsed, sealed, unsealed
from hepgraph.disk.trust import Refused, check, reason
from hepgraph.errors import CheckpointError
from hepgraph.fingerprint import Fingerprint, fingerprint
from hepgraph.fingerprint import changed as changed_pieces
from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.node import Node, dumps, loads, ordered
from hepgraph.io.access.store import BusyError, Store
from hepgraph.io.mapped import maker
from hepgraph.io.source import Partition, Source
from hepgraph.plan.passes import AnyPass, Pass
from hepgraph.plan.rows import Row
from hepgraph.runner.provenance import versions

FORMAT = 2
MAGIC = b"hepgraph partial 2\n"
_ABOUT = "analysis.json"


def print_of(each: AnyPass, depends: Mapping[str, str] | None = None) -> Fingerprint:
    """The fingerprint of what the results of ranges depend on, but for the data; `depends` are hashes of more."""
    more = () if not depends else sorted(depends.values())
    code = maker(each.origin.source)
    return fingerprint(FORMAT, dict(versions()).get("hepgraph"), each.content(), code, more, main=each.origin)


def uses_place(each: AnyPass) -> bool:
    """Whether the result of a range depends on how many entries of the dataset come before it."""
    if not isinstance(each, Pass):
        return False
    order = ordered(each.wants)
    counted = any(
        isinstance(x, Node) and x.op == "ordinal" and x.space is not None and x.space.parent is TOTAL for x in order
    )
    return counted or len(each.needs()) > 1


class Checkpoint:
    """The checkpoint of one run, between `open` and `close`."""

    def __init__(self, where: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> None:
        self.where = os.fspath(where)
        self.notes: list[str] = []
        self._keys: dict[int, str] = {}
        self._placed: dict[int, bool] = {}
        self._known: dict[int, dict[str, list[tuple[int, int]]]] = {}
        self._identities: dict[tuple[int, str, str], str] = {}
        self._noted: set[str] = set()
        with self._words("be opened"):
            self.store = Store(where, storage_options)

    def open(self, passes: Iterable[AnyPass], keys: Iterable[str], about: Mapping[str, Any]) -> None:
        """Takes hold of the directory for these passes, by their hashes.

        Raises CheckpointError if it is another run's, of another analysis, holds other things, or cannot be written.
        """
        passes = list(passes)
        self._keys = dict(enumerate(keys))
        self._placed = {number: uses_place(each) for number, each in enumerate(passes)}
        with self._words("be written to"):
            there = self.store.names()
            if self.store.local:
                check(self.store.root, shared=True)
            if there and _ABOUT not in there and set(there) - {"lock"}:
                raise CheckpointError(
                    f"{self.where} is no checkpoint: it holds {', '.join(there[:3])}{', ...' * (len(there) > 3)}. "
                    "Nothing was changed there. Give a new directory."
                )
            try:
                self.store.lock()
            except BusyError as error:
                raise CheckpointError(
                    f"Another run works with the checkpoint {self.where} ({error}). Wait for it, or give this run a "
                    "directory of its own."
                ) from None
        try:
            self._claim(passes, about)
            for number in self._keys:
                self._known[number] = self._list(number)
        except BaseException:
            self.store.unlock()
            raise

    def close(self) -> None:
        """Lets other runs use the directory."""
        self.store.unlock()

    def _claim(self, passes: list[AnyPass], about: Mapping[str, Any]) -> None:
        """Checks that the directory is of this analysis, and says so in it."""
        mine: dict[str, str] = {}
        for number, each in enumerate(passes):
            source = each.origin.source
            name = str(source.metadata.get("dataset", "")) or source.name
            mine[f"{name} ({number})" if name in mine else name] = self._keys[number]
        told = {name: about.get(name) for name in ("processor", "parameters", "code", "versions", "depends", "pieces")}
        with self._words("be read"):
            data = self._read(_ABOUT)
        if data is not None:
            try:
                theirs = parsed(data)
                plans, version = dict(theirs["plans"]), theirs["hepgraph.checkpoint"]
                theirs = {
                    **theirs,
                    **{name: dict(theirs.get(name) or {}) for name in ("parameters", "versions", "depends", "pieces")},
                }
            except (ValueError, KeyError, TypeError):
                self.notes.append(f"checkpoint {self.where}: {_ABOUT} was damaged, and is written anew")
            else:
                if version != FORMAT:
                    raise CheckpointError(
                        f"The checkpoint {self.where} has another format ({version}) than this version of hepgraph "
                        f"writes ({FORMAT}). Nothing was changed there. Give another directory, or remove that one."
                    )
                changed = sorted(name for name in set(plans) & set(mine) if plans[name] != mine[name])
                if changed or not (set(plans) & set(mine) or theirs.get("code") == told["code"]):
                    raise CheckpointError(_other(self.where, changed or sorted(mine), theirs, told))
                mine = {**plans, **mine}
        text = json.dumps({"hepgraph.checkpoint": FORMAT, "plans": mine, **told}, indent=1, default=str)
        with self._words("be written to"):
            self.store.write(_ABOUT, text.encode())

    # ranges

    def _list(self, number: int) -> dict[str, list[tuple[int, int]]]:
        """The ranges that are stored for one pass, by file."""
        with self._words("be read"):
            names = self.store.names(self._keys[number])
        found: dict[str, list[tuple[int, int]]] = {}
        for name in names:
            parts = name.removesuffix(".part").split("-")
            if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
                found.setdefault(parts[0], []).append((int(parts[1]), int(parts[2])))
        return found

    def _file(self, number: int, source: Source, partition: Partition) -> str:
        """The key of a file among stored ranges: a hash of its identity, not of its path."""
        key = (number, partition.path, partition.tree)
        if key not in self._identities:
            file = source.file_of(partition)
            identity = source.identity(file) or file.path
            before = partition.first - partition.start if self._placed[number] else None
            made = hashlib.blake2b(repr((identity, file.tree, file.entries, before)).encode(), digest_size=12)
            self._identities[key] = made.hexdigest()
        return self._identities[key]

    def ranges(self, number: int, each: AnyPass, wanted: tuple[Partition, ...]) -> tuple[Partition, ...]:
        """The ranges to run over: stored ones where there are some, wanted ones or parts of them elsewhere."""
        source, found = each.origin.source, []
        by_file: dict[tuple[str, str], list[Partition]] = {}
        for partition in wanted:
            by_file.setdefault((partition.path, partition.tree), []).append(partition)
        for mine in by_file.values():
            stored = self._known[number].get(self._file(number, source, mine[0]), [])
            cuts = fitted_ranges([(p.start, p.stop) for p in mine], stored)
            first = mine[0].first - mine[0].start
            found += [Partition(mine[0].path, mine[0].tree, start, stop, first + start) for start, stop in cuts]
        return tuple(found)

    def load(self, number: int, each: AnyPass, partition: Partition) -> tuple[list[Any], Row] | None:
        """The stored result of a range; None if there is none, or it is damaged."""
        file = self._file(number, each.origin.source, partition)
        if (partition.start, partition.stop) not in self._known[number].get(file, []):
            return None
        name = self._name(number, file, partition)
        distrust = self._distrust(name)
        with self._words("be read"):
            data = self._read(name, own=not distrust)
        if data is None:
            return None
        again = f"checkpoint {self.where}: the result of {partition} was damaged, and is computed again"
        body = unsealed(MAGIC, name, data)
        if body is None:
            self.notes.append(again)
            return None
        try:
            partials, row = plain.read(zlib.decompress(body), None if distrust else _unpickled)
            if not isinstance(row, Row) or len(partials) != len(each.sinks):
                raise ValueError("it is no result")
        except plain.Pickled as pickled:
            self._note(f"results with a {pickled} are not read back, but computed again: {distrust}")
            return None
        except (ValueError, TypeError, zlib.error):
            self.notes.append(again)
            return None
        except _Unloadable as error:  # a class that is no longer there
            self.notes.append(
                f"checkpoint {self.where}: {partition} cannot be read back, and is computed again: {error}"
            )
            return None
        return partials, row

    def keep(self, number: int, each: AnyPass, partition: Partition, partials: list[Any], row: Row) -> None:
        """Stores the result of a range; raises CheckpointError if it cannot be."""
        name = self._name(number, self._file(number, each.origin.source, partition), partition)
        told, pickled = plain.written((partials, row), _pickled)
        if pickled and not self.store.local:
            raise CheckpointError(
                f"The checkpoint {self.where} cannot keep a {pickled[0]}, which is in the result of {partition}: only "
                "a pickle holds it, and pickles run code when they are read, so that they are not read from an URL. "
                "Return histograms, arrays, numbers, texts, and lists and dicts of them, or give checkpoint= a "
                "directory of this machine."
            )
        body = zlib.compress(told, 1)
        with self._words("be written to"):
            try:
                self.store.write(name, b"".join(sealed(MAGIC, name, body)))
            except BusyError as error:
                raise CheckpointError(
                    f"Another run took over the checkpoint {self.where} ({error}), as this one was silent for too long."
                ) from None
        if pickled and (why := self._distrust(name)):
            self._note(f"results with a {pickled[0]} will not be read back, but computed again: {why}")

    def _read(self, name: str, own: bool = False) -> bytes | None:
        """The bytes of a stored result; anything but a file counts as damaged."""
        try:
            return self.store.read(name, own)
        except Refused:
            return b""

    def _distrust(self, name: str) -> str:
        """Why the pickles of a file are not loaded, and what to do; empty if they are."""
        if not self.store.local:
            return "what comes from an URL could run any code; give checkpoint= a directory of this machine"
        path = f"{self.store.root}/{name}"
        try:
            check(os.path.dirname(path))
            os.close(opened(path, own=True))
        except OSError as error:
            return reason(error)
        return ""

    def _note(self, text: str) -> None:
        """Notes something for the report, once."""
        if text not in self._noted:
            self._noted.add(text)
            self.notes.append(f"checkpoint {self.where}: {text}")

    def _name(self, number: int, file: str, partition: Partition) -> str:
        return f"{self._keys[number]}/{file}-{partition.start}-{partition.stop}.part"

    @contextmanager
    def _words(self, what: str) -> Iterator[None]:
        """Around the file system: its errors come out as CheckpointError, naming the directory."""
        try:
            yield
        except CheckpointError:
            raise
        except Refused as error:
            raise CheckpointError(f"The checkpoint {self.where} is not used: {error}.") from error
        except (OSError, ValueError, ImportError) as error:
            text = f"The checkpoint {self.where} cannot {what}: {type(error).__name__}: {error}"
            if self._known:  # the run had begun
                text += "\nWhat is stored there already is sound, and the next run with this checkpoint will use it."
            raise CheckpointError(text) from error


def fitted_ranges(wanted: list[tuple[int, int]], stored: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that cover the wanted ones, made of stored ranges where there are some, and of wanted cuts elsewhere.

    A stored range that is one of the wanted comes first; of others that overlap, the longer.

    >>> fitted_ranges([(0, 50), (50, 100)], [(50, 100)])
    [(0, 50), (50, 100)]
    >>> fitted_ranges([(0, 50), (50, 100)], [(0, 30), (30, 60), (90, 120)])
    [(0, 30), (30, 60), (60, 100)]
    """
    low, high = wanted[0][0], wanted[-1][1]
    exact = set(wanted) & set(stored)
    chosen: list[tuple[int, int]] = []
    others = sorted(set(stored) - exact, key=lambda pair: (pair[0] - pair[1], pair))
    for start, stop in [*sorted(exact), *others]:
        if low <= start < stop <= high and all(stop <= a or b <= start for a, b in chosen):
            chosen.append((start, stop))
    edges = {edge for pair in [*wanted, *chosen] for edge in pair}
    inside = {edge for edge in edges if not any(a < edge < b for a, b in chosen)}
    cuts = sorted(inside)
    return list(pairwise(cuts)) if len(cuts) > 1 else list(wanted)


def packed(thing: Any) -> bytes:
    """Anything of this process as compressed bytes, for `unpacked` alone."""
    return zlib.compress(_pickled(thing), 1)


def unpacked(data: bytes) -> Any:
    """Reads the bytes of `packed`."""
    return _unpickled(zlib.decompress(data))


class _Unloadable(Exception):
    """A pickle of something that is not there any more."""


def _pickled(thing: Any) -> bytes:
    """Anything as a pickle; classes count by name where they have one that can be imported."""
    try:
        return b"P" + pickle.dumps(thing, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        return b"C" + dumps(thing)


def _unpickled(body: bytes) -> Any:
    try:
        return pickle.loads(body[1:]) if body[:1] == b"P" else loads(body[1:])
    except (AttributeError, ImportError, pickle.UnpicklingError) as error:
        raise _Unloadable(error) from error


def _other(where: str, changed: list[str], theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """The error for a directory that holds another analysis."""
    why = []
    if theirs.get("processor") != mine["processor"]:
        why.append(f"its processor is {theirs.get('processor')}, not {mine['processor']}")
    old, new = theirs.get("parameters") or {}, mine["parameters"] or {}
    why += [
        f"its parameter {name} is {old.get(name, 'not there')}, not {new.get(name, 'there')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    were, are = theirs.get("depends") or {}, mine["depends"] or {}
    why += [f"{name}, of depends=, has changed" for name in sorted({*were, *are}) if were.get(name) != are.get(name)]
    before, now = (dict(each.get("versions") or {}).get("hepgraph") for each in (theirs, mine))
    if before != now:
        why.append(f"it was written by hepgraph {before}, not {now}")
    if not why:
        said = changed_pieces(theirs.get("pieces") or {}, mine["pieces"] or {}) if theirs.get("pieces") else ""
        code = "the code of the processor has changed" + (f", or what it uses: {said}" if said else "")
        others = "the outputs, the schema or the types of the columns are others"
        why.append(code if theirs.get("code") != mine["code"] else others)
    return (
        f"The checkpoint {where} is of another analysis: {'; '.join(why)} (dataset {', '.join(map(repr, changed))}). "
        "Nothing was changed there. Give another directory, or remove that one."
    )

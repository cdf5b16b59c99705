"""Filesets: which files make up which dataset, and what the user says about them."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

from hepgraph.disk.files import parsed
from hepgraph.errors import FilesetError, MissingFileError, suggestion
from hepgraph.io.access.files import is_remote, once, resolve, same_file, split_tree
from hepgraph.io.access.store import write_bytes
from hepgraph.io.formats import suffixes

KNOWN = "hepgraph"  # the key of a dataset under which preprocessing keeps what it found

Place = tuple[tuple[str, ...], str | None]  # where one file can be had, and its tree


@dataclass(frozen=True)
class Dataset:
    """One dataset: its files, its tree, its metadata; `known` is what preprocessing found out, if it did."""

    name: str
    files: Any
    tree: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, Any] | None = None

    @property
    def replicated(self) -> bool:
        """Whether there are several places for some file."""
        return any(isinstance(file, list | tuple) for file in self.files)

    def places(self, storage_options: Mapping[str, Any] | None = None) -> list[Place]:
        """Every file: the paths at which it can be had, and its tree if the fileset names it.

        Globs and directories are looked up. Raises MissingFileError, and FilesetError if a file comes twice.
        """
        pairs = self.files.items() if isinstance(self.files, Mapping) else [(file, None) for file in self.files]
        found: list[Place] = []
        for file, tree in pairs:
            if isinstance(file, list | tuple):
                found.append(_replicas(self.name, file, tree))
            else:
                given = [file] if tree is None else {file: tree}
                found += [((path,), own) for path, own in resolve(given, storage_options)]
        once((path, tree) for paths, tree in found for path in paths)
        return found


def _replicas(name: str, file: Sequence[Any], tree: str | None) -> Place:
    paths: dict[Any, str] = {}
    for path in file:
        if not isinstance(path, str | os.PathLike):
            raise FilesetError(f"A replica of a file of dataset {name!r} must be given by its path, not by {path!r}.")
        path, own = split_tree(os.fspath(path))
        tree = tree or own
        path = path if is_remote(path) else os.path.abspath(os.path.expanduser(path))
        paths.setdefault(same_file(path), path)
    if not paths:
        raise FilesetError(f"A file of dataset {name!r} has an empty list of replicas.")
    return tuple(paths.values()), tree


_KEYS = {"files", "treename", "tree", "metadata", "format", "form", KNOWN}


def datasets(fileset: Any, tree: str | None = None) -> list[Dataset]:
    """The datasets of a fileset: a dict, or the path of a JSON or YAML file that holds one. Raises FilesetError.

    A file is a path, URL, glob or directory, or a list of places at which the same file can be had.

    >>> datasets({"zmumu": ["a.root", "b.root"], "data": {"files": {"c.root": "Events"}, "metadata": {"is_mc": False}}})
    [Dataset(name='zmumu', files=['a.root', 'b.root'], tree=None, metadata={'dataset': 'zmumu'}, known=None), \
Dataset(name='data', files={'c.root': 'Events'}, tree=None, metadata={'dataset': 'data', 'is_mc': False}, known=None)]
    """
    return [_dataset(name, entry, tree) for name, entry in read_fileset(fileset).items()]


def read_fileset(fileset: Any) -> Mapping[Any, Any]:
    """The dict that a fileset is, or that its JSON or YAML file holds."""
    if isinstance(fileset, str | Path):
        fileset = _from_file(Path(fileset))
    if fileset is None or (isinstance(fileset, Mapping | list) and not fileset):
        raise FilesetError("The fileset is empty: it names no dataset.")
    if not isinstance(fileset, Mapping):
        raise FilesetError(
            f"A fileset is a dict {{'dataset': ['a.root', ...]}}, or the path of a JSON or YAML file with one; got a "
            f"{type(fileset).__name__}."
        )
    return fileset


def _dataset(name: Any, entry: Any, tree: str | None) -> Dataset:
    if not isinstance(name, str):
        raise FilesetError(f"The name of a dataset must be a string, not {name!r}.")
    metadata: dict[str, Any] = {"dataset": name}
    files, known = entry, None
    if isinstance(entry, Mapping) and set(entry) & _KEYS:
        for key in entry:
            if key not in _KEYS:
                raise FilesetError(f"Dataset {name!r} has an unknown key {key!r}. {suggestion(key, sorted(_KEYS))}")
        if "files" not in entry:
            raise FilesetError(f"Dataset {name!r} has no 'files'.")
        files, known = entry["files"], entry.get(KNOWN)
        tree = entry.get("treename") or entry.get("tree") or tree
        more = entry.get("metadata") or {}
        if not isinstance(more, Mapping):
            raise FilesetError(f"The metadata of dataset {name!r} must be a dict, not {more!r}.")
        metadata.update(more)
    if known is not None:
        return Dataset(name, _known_files(name, files, known), tree, metadata, known)
    if isinstance(files, str | Path):
        files = [files]
    if not isinstance(files, list | tuple | Mapping):
        raise FilesetError(
            f"The files of dataset {name!r} must be a list or a dict {{path: tree}}, not {type(files).__name__}."
        )
    if not files:
        raise FilesetError(f"Dataset {name!r} has no files.")
    if isinstance(files, Mapping):
        files = {_key_of(path, value): _tree_of(name, path, value) for path, value in files.items()}
    return Dataset(name, files, tree, metadata)


def _known_files(name: str, files: Any, known: Any) -> Mapping[str, Any]:
    """The files of a preprocessed dataset, after a look at whether all is there."""
    wanted = {"kind", "columns", "entries"}
    whole = isinstance(known, Mapping) and wanted <= set(known)
    if not whole or not isinstance(files, Mapping) or not (files or known.get("absent")):
        raise FilesetError(f"Dataset {name!r} is said to be preprocessed, but is not whole; preprocess it again.")
    for path, told in files.items():
        if not isinstance(told, Mapping) or not {"object_path", "num_entries", "uuid", "edges"} <= set(told):
            raise FilesetError(f"{path} of dataset {name!r} was not preprocessed; preprocess the fileset again.")
    return files


def _key_of(path: Any, value: Any) -> Any:
    """A path, or all places of a file."""
    more = value.get("replicas") if isinstance(value, Mapping) else None
    return (path, *more) if more else path


def _tree_of(name: str, path: Any, value: Any) -> Any:
    """The tree of one file: a name, or a dict of coffea's preprocessed filesets."""
    if isinstance(value, Mapping):
        _check_steps(name, path, value)
        value = value.get("object_path")
    if value is not None and not isinstance(value, str):
        raise FilesetError(f"The tree of {path} in dataset {name!r} must be a string, not {value!r}.")
    return value


def _check_steps(name: str, path: Any, value: Mapping[str, Any]) -> None:
    """Raises for a preprocessed file of which only some entries are wanted: hepgraph makes its own steps, over all."""
    given = value.get("steps")
    if given is None:
        return
    whole = isinstance(given, list | tuple) and all(isinstance(step, list | tuple) and len(step) == 2 for step in given)
    if not whole:
        raise FilesetError(
            f"The steps of {path} in dataset {name!r} must be a list of [start, stop], as coffea's preprocess makes "
            f"it, not {given!r}; hepgraph makes its own, so that they may be left out."
        )
    steps = sorted(given)
    ends, entries = [0, *(stop for _, stop in steps)], value.get("num_entries")
    if steps and entries is None:
        raise FilesetError(
            f"{path} in dataset {name!r} has steps and no num_entries, so that nothing tells whether they leave some "
            "of its entries out; hepgraph reads whole files. Give the file without steps."
        )
    if steps and ([start for start, _ in steps] != ends[:-1] or ends[-1] != entries):
        raise FilesetError(
            f"The steps of {path} in dataset {name!r} leave some of its entries out; hepgraph reads whole files. "
            "Cut the events in the processor, or give the file without steps."
        )


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise MissingFileError(f"No fileset {str(path)!r}.")
    if path.suffix in suffixes():
        raise FilesetError(f"{path} is a file of data, not a fileset: give {{'its dataset': [{str(path)!r}]}}.")
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FilesetError(f"The fileset {path} is not readable as text: {error}") from error
    path = path.with_suffix("") if path.suffix == ".gz" else path
    if path.suffix in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError as error:
            raise FilesetError("A YAML fileset needs PyYAML: pip install 'hepgraph[yaml]'") from error
        try:
            return yaml.safe_load(text)
        except RecursionError:
            raise FilesetError(f"The fileset {path} is not valid YAML: it is nested too deeply") from None
        except yaml.YAMLError as error:
            raise FilesetError(f"The fileset {path} is not valid YAML: {error}") from error
    try:
        return parsed(text)
    except ValueError as error:
        raise FilesetError(f"The fileset {path} is not valid JSON: {error}") from error


class Fileset(dict[str, Any]):
    """A fileset with ways to take parts of it; each gives a new one, and is a dict that `hg.run` and JSON take.

    `hg.preprocess` gives one in which entries are known, so that it can also be cut by events.

    Parameters
    ----------
    fileset : str, Path or dict
        Files of each dataset: {"name": ["a.root", "b.root:Events"]} or {"name": {"files": ..., "metadata": ...}}; or
        the path of a JSON or YAML file that holds this.

    Examples
    --------
    >>> all_of_it = Fileset({"zmumu": ["a.root", "b.root", "c.root"], "ttbar": ["d.root"]})
    >>> all_of_it.first_files(2).filter("z*")
    {'zmumu': {'files': ['a.root', 'b.root']}}
    >>> [sorted(part) for part in all_of_it.split(2)]
    [['zmumu'], ['ttbar', 'zmumu']]
    """

    def __init__(self, fileset: Any) -> None:
        datasets(fileset)
        super().__init__({name: _whole(entry) for name, entry in read_fileset(fileset).items()})

    @property
    def entries(self) -> dict[str, int]:
        """The number of entries of each dataset. Raises FilesetError if they are not known."""
        return {name: sum(_wanted(told) for told in self._known(name).values()) for name in self}

    def save(self, path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> None:
        """Writes it to a JSON file, local or remote.

        Parameters
        ----------
        path : str or Path
            Path or URL of the file.
        storage_options : dict, default None
            Options of fsspec for a URL.
        """
        write_bytes(path, json.dumps(self).encode(), storage_options)

    def filter(self, *patterns: str) -> Fileset:
        """The datasets whose names fit one of the patterns.

        Parameters
        ----------
        *patterns : str
            Patterns of names, as `"ZZ*"`.

        Returns
        -------
        Fileset
            These datasets.

        Raises
        ------
        FilesetError
            If none fits.

        Examples
        --------
        >>> Fileset({"zmumu": ["a.root"], "ttbar": ["b.root"]}).filter("z*")
        {'zmumu': {'files': ['a.root']}}
        """
        kept = {name: entry for name, entry in self.items() if any(fnmatchcase(name, each) for each in patterns)}
        if not kept:
            raise FilesetError(f"No dataset is called like {', '.join(patterns)}. {suggestion(patterns[0], self)}")
        return Fileset(kept)

    def filter_files(self, wanted: Callable[[str], bool]) -> Fileset:
        """The files for whose path a condition is true; datasets without any are left out.

        Parameters
        ----------
        wanted : callable
            Function of a path that says whether it is kept.

        Returns
        -------
        Fileset
            These files.

        Examples
        --------
        >>> Fileset({"zmumu": ["a.root", "b.root"]}).filter_files(lambda path: path.startswith("b"))
        {'zmumu': {'files': ['b.root']}}
        """
        kept = {
            name: _some(entry, [f for f in _files(entry) if wanted(str(_first(f)))]) for name, entry in self.items()
        }
        kept = {name: entry for name, entry in kept.items() if entry["files"]}
        if not kept:
            raise FilesetError("No file of the fileset is wanted.")
        return Fileset(kept)

    def first_files(self, n: int) -> Fileset:
        """The first files, as listed, of each dataset.

        Parameters
        ----------
        n : int
            Number of files.

        Returns
        -------
        Fileset
            These files.

        Examples
        --------
        >>> Fileset({"zmumu": ["a.root", "b.root"]}).first_files(1)
        {'zmumu': {'files': ['a.root']}}
        """
        _check_number(n)
        return Fileset({name: _some(entry, _files(entry)[:n]) for name, entry in self.items()})

    def first_events(self, n: int) -> Fileset:
        """The first events of each dataset.

        Parameters
        ----------
        n : int
            Number of events.

        Returns
        -------
        Fileset
            Files with these events.

        Raises
        ------
        FilesetError
            If it has not been preprocessed.

        Examples
        --------
        >>> import hepgraph as hg
        >>> hg.preprocess({"a": ["data/sample.root"]}, executor="serial", cache=False).first_events(100).entries
        {'a': 100}
        """
        _check_number(n)
        made = {}
        for name, entry in self.items():
            left, files = n, {}
            for path, told in self._known(name).items():
                if left <= 0:
                    break
                files[path] = told if _wanted(told) <= left else {**told, "limit": left}
                left -= _wanted(files[path])
            made[name] = {**entry, "files": files}
        return Fileset(made)

    def split(self, n: int) -> list[Fileset]:
        """Parts with about equally many files each, of which every file is in one.

        Parameters
        ----------
        n : int
            Most parts that there are.

        Returns
        -------
        list of Fileset
            The parts.

        Examples
        --------
        >>> [sorted(part) for part in Fileset({"zmumu": ["a.root", "b.root"], "ttbar": ["c.root"]}).split(3)]
        [['zmumu'], ['zmumu'], ['ttbar']]
        """
        _check_number(n)
        every = [(name, file) for name, entry in self.items() for file in _files(entry)]
        cuts = [len(every) * i // n for i in range(n + 1)]
        parts = []
        for start, stop in pairwise(cuts):
            by_name: dict[str, list[Any]] = {}
            for name, file in every[start:stop]:
                by_name.setdefault(name, []).append(file)
            if by_name:
                parts.append(Fileset({name: _some(self[name], files) for name, files in by_name.items()}))
        return parts

    def _known(self, name: str) -> Mapping[str, Any]:
        entry = self[name]
        if entry.get(KNOWN) is None:
            raise FilesetError(f"How many events dataset {name!r} has is not known yet; use hg.preprocess first.")
        files: Mapping[str, Any] = entry["files"]
        return files


def _whole(entry: Any) -> dict[str, Any]:
    """A dataset as a dict with `files`."""
    return dict(entry) if isinstance(entry, Mapping) and set(entry) & _KEYS else {"files": entry}


def _files(entry: Mapping[str, Any]) -> list[Any]:
    files = entry["files"]
    return [files] if isinstance(files, str | Path) else list(files)


def _first(file: Any) -> Any:
    return file[0] if isinstance(file, list | tuple) else file


def _some(entry: Mapping[str, Any], files: list[Any]) -> dict[str, Any]:
    """A dataset with some of its files."""
    known = entry["files"]
    kept: Any = {file: known[file] for file in files} if isinstance(known, Mapping) else files
    told = {**entry, "files": kept}
    if told.get(KNOWN) is not None and kept:  # files that could not be opened are of the whole dataset
        told[KNOWN] = {key: value for key, value in told[KNOWN].items() if key != "absent"}
    return told


def _wanted(told: Mapping[str, Any]) -> int:
    limit = told.get("limit")
    return int(told["num_entries"] if limit is None else min(limit, told["num_entries"]))


def _check_number(n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a whole number, 1 or more, not {n!r}")


def iter_absent(known: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The message of preprocessing on files that it could not open."""
    yield from known.get("absent", ())

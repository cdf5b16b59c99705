"""Filesets: which files make up which dataset, and what the user says about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hepgraph.errors import FilesetError, MissingFileError, suggestion


@dataclass(frozen=True)
class Dataset:
    """One dataset: its files as `from_root` takes them, its tree, its metadata."""

    name: str
    files: Any
    tree: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


_KEYS = {"files", "treename", "tree", "metadata", "format", "form"}


def datasets(fileset: Any, tree: str | None = None) -> list[Dataset]:
    """The datasets of a fileset: a dict, or the path of a JSON or YAML file that holds one. Raises FilesetError.

    >>> datasets({"zmumu": ["a.root", "b.root"], "data": {"files": {"c.root": "Events"}, "metadata": {"is_mc": False}}})
    [Dataset(name='zmumu', files=['a.root', 'b.root'], tree=None, metadata={'dataset': 'zmumu'}), \
Dataset(name='data', files={'c.root': 'Events'}, tree=None, metadata={'dataset': 'data', 'is_mc': False})]
    """
    if isinstance(fileset, str | Path):
        fileset = _from_file(Path(fileset))
    if fileset is None or (isinstance(fileset, Mapping | list) and not fileset):
        raise FilesetError("The fileset is empty: it names no dataset.")
    if not isinstance(fileset, Mapping):
        raise FilesetError(
            f"A fileset is a dict {{'dataset': ['a.root', ...]}}, or the path of a JSON or YAML file with one; got a "
            f"{type(fileset).__name__}."
        )
    return [_dataset(name, entry, tree) for name, entry in fileset.items()]


def _dataset(name: Any, entry: Any, tree: str | None) -> Dataset:
    if not isinstance(name, str):
        raise FilesetError(f"The name of a dataset must be a string, not {name!r}.")
    metadata: dict[str, Any] = {"dataset": name}
    files = entry
    if isinstance(entry, Mapping) and set(entry) & _KEYS:
        for key in entry:
            if key not in _KEYS:
                raise FilesetError(f"Dataset {name!r} has an unknown key {key!r}. {suggestion(key, sorted(_KEYS))}")
        if "files" not in entry:
            raise FilesetError(f"Dataset {name!r} has no 'files'.")
        files = entry["files"]
        tree = entry.get("treename") or entry.get("tree") or tree
        more = entry.get("metadata") or {}
        if not isinstance(more, Mapping):
            raise FilesetError(f"The metadata of dataset {name!r} must be a dict, not {more!r}.")
        metadata.update(more)
    if isinstance(files, str | Path):
        files = [files]
    if not isinstance(files, list | tuple | Mapping):
        raise FilesetError(
            f"The files of dataset {name!r} must be a list or a dict {{path: tree}}, not {type(files).__name__}."
        )
    if not files:
        raise FilesetError(f"Dataset {name!r} has no files.")
    if isinstance(files, Mapping):
        files = {path: _tree_of(name, path, value) for path, value in files.items()}
    return Dataset(name, files, tree, metadata)


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
    steps = sorted(value.get("steps") or ())
    ends = [0, *(stop for _, stop in steps)]
    if steps and ([start for start, _ in steps] != ends[:-1] or ends[-1] != value.get("num_entries", ends[-1])):
        raise FilesetError(
            f"The steps of {path} in dataset {name!r} leave some of its entries out; hepgraph reads whole files. "
            "Cut the events in the processor, or give the file without steps."
        )


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise MissingFileError(f"No fileset {str(path)!r}.")
    text = path.read_text()
    if path.suffix in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError as error:
            raise FilesetError("A YAML fileset needs PyYAML: pip install 'hepgraph[yaml]'") from error
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise FilesetError(f"The fileset {path} is not valid YAML: {error}") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FilesetError(f"The fileset {path} is not valid JSON: {error}") from error

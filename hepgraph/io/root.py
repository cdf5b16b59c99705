"""TTrees through uproot: columns from the types of the branches, data from one call for each needed branch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import uproot

from hepgraph.errors import MissingColumnError
from hepgraph.io.files import Files, Options, edge, is_remote, resolve
from hepgraph.io.forms import columns_of_form, data_of_layout, distinct, from_counts
from hepgraph.io.rntuple import RNTupleSource, open_ntuple
from hepgraph.io.source import STEP_SIZE, Column, Data, File, Level, Need, Partition, Source, agreed
from hepgraph.io.trees import Opened, UprootSource, borrowed, each, file_of, same_kind


def open_root(
    files: Files,
    tree: str | None = None,
    step_size: int | str = STEP_SIZE,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Options = None,
) -> Source:
    """The dataset of these ROOT files, of TTrees or of RNTuples.

    `tree` is for the files that do not name theirs (`file.root:Events`); without it, a file's tree is `Events`, or the
    only one. Raises MissingFileError, MissingTreeError, DamagedFileError or SourceError, each naming the file.
    """
    places = [(path, own if own is not None else tree) for path, own in resolve(files, storage_options)]

    def look(place: tuple[str, str | None]) -> tuple[bool, list[Column], File]:
        path, name = place
        with borrowed(path, name, storage_options) as opened, edge(path, f"read the types of tree {opened.name!r} in"):
            if opened.is_ntuple:
                return True, *open_ntuple(opened, path)
            return False, tree_columns(opened.tree), file_of(opened, path, tree_edges(opened.tree))

    found = each(look, places)
    same_kind([path for path, _ in places], [ntuple for ntuple, _, _ in found])
    columns, kept = agreed([(columns, file) for _, columns, file in found])
    kind = RNTupleSource if found[0][0] else RootSource
    source = kind(columns, kept, step_size, metadata)
    source.storage_options = dict(storage_options or {})
    return source


class RootSource(UprootSource):
    """A dataset of TTrees."""

    def _fetch(self, opened: Opened, partition: Partition, columns: list[tuple[Column, Need]]) -> dict[str, Data]:
        if opened.layout is None:
            opened.layout = leaf_branches(opened.tree)
        wanted: dict[str, list[str]] = {}  # the columns to take from each branch
        by_counts: dict[str, Column] = {}
        for column, need in columns:
            if need is Need.COUNTS and not column.levels:
                continue
            if need is Need.COUNTS and column.counts is not None:
                by_counts[column.name] = column
                wanted.setdefault(column.counts, []).append(column.counts)
            else:
                wanted.setdefault(_branch_name(column.name, opened.layout, partition), []).append(column.name)
        arrays = self._arrays(opened, partition, list(wanted))
        found = {column.name: Data(None) for column, _ in columns}
        for branch, names in wanted.items():
            found |= data_of_layout(branch, arrays[branch].layout, set(names))
        for name, column in by_counts.items():
            counts = found[str(column.counts)].values
            assert counts is not None
            found[name] = from_counts(counts, column)
        return found

    def _arrays(self, opened: Opened, partition: Partition, names: list[str]) -> dict[str, Any]:
        branches: dict[str, Any] = {name: opened.layout[name] for name in names}
        entries = {"entry_start": partition.start, "entry_stop": partition.stop, "library": "ak"}
        if is_remote(partition.path) and len(names) > 1:  # one request for all of them
            order = {id(branch): name for name, branch in branches.items()}
            with self._reading(partition, f"branches {', '.join(names)}"):
                arrays = opened.tree.arrays(filter_branch=lambda branch: id(branch) in order, how=tuple, **entries)
            inner = [branch for branch in opened.tree.itervalues(recursive=True) if id(branch) in order]
            return {order[id(branch)]: array for branch, array in zip(inner, arrays, strict=True)}
        arrays = {}
        for name, branch in branches.items():
            with self._reading(partition, f"branch {name!r}"):
                arrays[name] = branch.array(**entries)
        return arrays


def _branch_name(column: str, branches: Mapping[str, Any], partition: Partition) -> str:
    """The branch that a column comes from: of the same name, or the record that the column is a field of."""
    name = column
    while name not in branches:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise MissingColumnError(f"No branch for column {column!r} in {partition}.")
    return name


def leaf_branches(tree: Any) -> dict[str, Any]:
    """The branches that hold data, by the name of their column.

    That is the branch's own name where only one has it, and its path through the branches it is in where not.
    """
    leaves = [(path, branch) for path, branch in tree.iteritems(recursive=True) if not branch.branches]
    often = Counter(branch.name for _, branch in leaves)
    found: dict[str, Any] = {}
    for path, branch in leaves:
        name = branch.name if often[branch.name] == 1 else path
        if name in found:  # not even the paths differ
            name = next(numbered for i in range(2, len(leaves) + 2) if (numbered := f"{name}#{i}") not in found)
        found[name] = branch
    return found


def tree_edges(tree: Any) -> list[int]:
    """The entries at which baskets of all branches end together."""
    return list(tree.common_entry_offsets()) if tree.num_entries else [0]


def tree_columns(tree: Any) -> list[Column]:
    """The columns of a TTree, from the types of its branches; no data is read."""
    branches = leaf_branches(tree)
    flat: list[Column] = []
    counters: dict[int, str] = {}  # the leaves that may count others, by identity: names need not be unique
    for name, branch in branches.items():
        columns = _branch_columns(name, branch)
        flat += columns
        if len(columns) == 1 and not columns[0].levels and columns[0].dtype.kind in "iu":
            counters[id(branch.member("fLeaves")[0])] = name
    found = {column.name: column for column in distinct(flat)}
    for name, branch in branches.items():
        column = found.get(name)
        if column is not None and _is_counted(column):
            found[name] = replace(column, counts=counters.get(id(branch.count_leaf)))
    return list(found.values())


def _is_counted(column: Column) -> bool:
    """Whether one number an entry gives the offsets of all levels."""
    levels = column.levels
    return bool(levels) and levels[0].size is None and all(level.size is not None for level in levels[1:])


def _branch_columns(name: str, branch: Any) -> list[Column]:
    title = "" if branch.title == branch.name else branch.title
    stored, memory = int(branch.compressed_bytes), int(branch.uncompressed_bytes)
    interpretation = branch.interpretation
    if (quick := _quick(interpretation)) is not None:
        dtype, levels = quick
        return [Column(name, dtype, levels, title=title, bytes=stored, memory=memory)]
    try:
        form = interpretation.awkward_form(branch.file)
    except MemoryError:
        raise
    except Exception as error:  # whatever uproot cannot type is kept as a column that says why
        problem = f"uproot cannot read a branch of type {branch.typename}: {_reason(error)}"
        return [Column(name, np.dtype(np.float64), title=title, bytes=stored, memory=memory, problem=problem)]
    columns = columns_of_form(name, form)
    share = max(1, len(columns))
    return [replace(column, title=title, bytes=stored // share, memory=memory // share) for column in columns]


def _quick(interpretation: Any) -> tuple[np.dtype[Any], tuple[Level, ...]] | None:
    """The type of a branch of numbers, without building an awkward form: 1500 of them add up."""
    levels: tuple[Level, ...] = ()
    if isinstance(interpretation, uproot.interpretation.jagged.AsJagged):
        levels, interpretation = (Level(),), interpretation.content
    if type(interpretation) is not uproot.interpretation.numerical.AsDtype:
        return None
    dtype, shape = interpretation.to_dtype.subdtype or (interpretation.to_dtype, ())
    if dtype.kind not in "biuf":
        return None
    return dtype.newbyteorder("="), levels + tuple(Level(int(size)) for size in shape)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split("\nin file")[0].split())[:200] or type(error).__name__

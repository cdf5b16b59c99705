"""TTrees: columns from the types of the branches, as uproot tells them; data from the baskets, or through uproot."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import uproot

from hepgraph.errors import ChangedFileError
from hepgraph.graph.offsets import offsets_of
from hepgraph.graph.predicate import Predicate
from hepgraph.io.access.files import edge, is_remote
from hepgraph.io.access.handles import settings_of, stamp_of
from hepgraph.io.access.prefetch import ahead, expect
from hepgraph.io.access.ranges import Bytes, Range
from hepgraph.io.access.ranges import opened as opened_bytes
from hepgraph.io.cache.metadata import cached
from hepgraph.io.forms import columns_of_form, data_of_layout, distinct, empty_data, fitted, from_counts
from hepgraph.io.native.shared import Share
from hepgraph.io.source import USUAL, Access, Column, Data, Level, Need, Partition
from hepgraph.io.trees import Opened, UprootSource, borrowed
from hepgraph.io.ttree.header import header_of
from hepgraph.io.ttree.layouts import Branch, Layout, Layouts, branch_name, leaf_branches
from hepgraph.io.ttree.reader import Reader

layouts = Layouts()


class RootSource(UprootSource):
    """A dataset of TTrees: numbers and lists are taken from the baskets, other types are read by uproot."""

    kind = "TTree"
    skips_masked = authoritative_counts = True

    def may_skip(self, column: Column) -> bool:
        """Baskets of lists are skipped where a branch tells their lengths, which itself is always read."""
        if any(level.size is None for level in column.levels):
            return column.counts is not None
        return bool(column.levels) or column.dtype.kind not in "iu"

    def read(self, partition: Partition, needs: Mapping[str, Need], access: Access = USUAL) -> dict[str, Data]:
        """Without the baskets whose entries are all masked out, where the lengths of lists are known."""
        columns = self.begin(partition, needs)
        if len(partition) == 0 or not columns:
            return {column.name: empty_data(column, need) for column, need in columns}
        wanted = _wanted(columns)
        found = self._read(partition, wanted, access)
        with edge(partition.path, f"read {', '.join(needs)} of tree {partition.tree!r} in"):
            for column, need in columns:
                if need is Need.COUNTS and column.levels and column.counts is not None and column.name not in found:
                    found[column.name] = from_counts(found[column.counts], column)
            return {column.name: fitted(column, found.get(column.name, Data(None)), need) for column, need in columns}

    def _read(self, partition: Partition, wanted: Mapping[str, bool], access: Access) -> dict[str, Data]:
        def borrow() -> AbstractContextManager[Opened]:
            return borrowed(partition.path, partition.tree, self.storage_options)

        with opened_bytes(partition.path, self.storage_options) as data:
            begun = ahead.take(self._key(partition, wanted)) if data.together else None
            layout = self._layout(partition, wanted, data, borrow)
            self._unchanged(partition, layout.uuid, layout.entries)
            if data.stamp != stamp_of(partition.path):
                raise ChangedFileError(f"{partition.path} changed while it was read. Open the dataset again.")
            branches = {name: branch for name in wanted if isinstance(branch := layout.branches[name], Branch)}
            share = _share(partition, layout, data, access.shared)
            reader = Reader(data, partition.start, partition.stop, access.entry_mask, share)
            if begun is not None and begun[0] is layout:  # what was fetched ahead is of the same baskets
                reader = begun[1]
            elif data.together and branches:
                with self._reading(partition, f"branches {', '.join(branches)}"):
                    reader.fetch(branches.values())
            for name, branch in branches.items():
                if branch.counter is not None and (offsets := self._offsets(name, access.already_read)) is not None:
                    reader.set_offsets(branch.counter, offsets)
            found = self._baskets(reader, partition, branches, wanted)
        if others := [name for name in wanted if name not in branches]:
            with borrow() as opened:
                self._same(partition, opened)
                found |= self._by_uproot(opened, partition, others)
        return found

    def _offsets(self, name: str, known: Mapping[str, Data]) -> Any:
        """The offsets of the lists of a column, if what counts it was read before, or another column that it counts."""
        counts = self.columns[name].counts
        if counts is None:
            return None
        if counts in known and known[counts].values is not None:
            lengths = known[counts]
            return offsets_of(lengths.values) if lengths.sums is None else lengths.sums
        return next((data.offsets[0] for other, data in known.items() if self.columns[other].counts == counts), None)

    def _layout(self, partition: Partition, wanted: Iterable[str], data: Bytes, borrow: Callable[[], Any]) -> Layout:
        path, tree, options, columns = partition.path, partition.tree, self.storage_options, sorted(wanted)
        with edge(path, f"find the baskets of tree {tree!r} in"):
            return layouts.of(
                (path, tree, settings_of(options)),
                data.stamp,
                columns,
                borrow,
                lambda make: cached(make, path, options, "layout", tree, columns),
            )

    def _key(self, partition: Partition, wanted: Mapping[str, bool]) -> Hashable:
        return partition, settings_of(self.storage_options), frozenset(wanted)

    def ahead(
        self,
        partition: Partition,
        needs: Mapping[str, Need],
        predicates: Sequence[Predicate] = (),
        access: Access = USUAL,
    ) -> None:
        """Begins to fetch the baskets of a range, which will soon be read."""
        wanted = _wanted([(self.columns[name], need) for name, need in needs.items()])
        if len(partition) == 0 or not wanted:
            return

        def branches_of(data: Bytes) -> tuple[Layout, list[Branch]]:
            layout = self._layout(
                partition, wanted, data, lambda: borrowed(partition.path, partition.tree, self.storage_options)
            )
            return layout, [branch for name in wanted if isinstance(branch := layout.branches[name], Branch)]

        def work(allowed: Callable[[int], bool]) -> Any:
            if access.holds(self, partition, needs):
                return None
            with opened_bytes(partition.path, self.storage_options) as data:
                layout, branches = branches_of(data)
                if not allowed(sum(branch.baskets.bytes(partition.start, partition.stop) for branch in branches)):
                    return None
                share = _share(partition, layout, data, access.shared)
                reader = Reader(data, partition.start, partition.stop, None, share)
                reader.fetch(branches)
                return layout, reader

        def where() -> list[Range]:
            if access.holds(self, partition, needs):
                return []
            with opened_bytes(partition.path, self.storage_options) as data:
                baskets = [branch.baskets for branch in branches_of(data)[1]]
            return [place for each in baskets for place in each.places(partition.start, partition.stop)]

        if is_remote(partition.path):
            ahead.begin(self._key(partition, wanted), work)
        else:
            expect(partition.path, where)

    def _baskets(
        self, reader: Reader, partition: Partition, branches: Mapping[str, Branch], wanted: Mapping[str, bool]
    ) -> dict[str, Data]:
        found = {}
        for name, branch in sorted(branches.items(), key=lambda item: item[1].counter is not None):
            with self._reading(partition, f"branch {name!r}"):
                found[name] = reader.read(branch, wanted[name])
        return found

    def _by_uproot(self, opened: Opened, partition: Partition, columns: Sequence[str]) -> dict[str, Data]:
        if opened.layout is None:
            opened.layout = leaf_branches(opened.tree)
        wanted: dict[str, set[str]] = {}  # the columns to take from each branch
        for column in columns:
            wanted.setdefault(branch_name(column, opened.layout, partition.tree), set()).add(column)
        arrays = self._arrays(opened, partition, list(wanted))
        found: dict[str, Data] = {}
        for branch, names in wanted.items():
            found |= data_of_layout(branch, arrays[branch].layout, names)
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


def _share(partition: Partition, layout: Layout, data: Bytes, most: int | None) -> Share | None:
    """The shared baskets of a file; at most so many bytes of them are kept."""
    return None if most == 0 else Share((partition.path, layout.uuid, data.stamp), most)


def _wanted(columns: Iterable[tuple[Column, Need]]) -> dict[str, bool]:
    """The columns to read for others, and whether their values are wanted."""
    wanted: dict[str, bool] = {}
    for column, need in columns:
        if need is Need.DATA:
            wanted[column.name] = True
        elif column.levels and column.counts is not None:
            wanted[column.counts] = True
        elif column.levels:
            wanted.setdefault(column.name, False)
    return wanted


def _same_entries(tree: Any, branches: Mapping[str, Any]) -> None:
    """Raises ValueError if no branch has as many entries as the tree says to have: of the two, one is damaged."""
    found = {branch.num_entries for branch in branches.values()}
    if found and tree.num_entries not in found:
        raise ValueError(f"the tree states {tree.num_entries} entries, and its branches have {max(found)}")


def of_tree(opened: Opened) -> tuple[int, list[int], list[Column]]:
    """The number of entries of an open TTree, those at which its baskets end together, and its columns."""
    header = header_of(opened)
    if header is not None:
        return header.entries, header.edges(), header.columns()
    return int(opened.tree.num_entries), tree_edges(opened.tree), tree_columns(opened.tree)


def tree_edges(tree: Any) -> list[int]:
    """The entries at which baskets of all branches end together."""
    return list(tree.common_entry_offsets()) if tree.num_entries else [0]


def tree_columns(tree: Any) -> list[Column]:
    """The columns of a TTree, from the types of its branches; no data is read. Raises ValueError if it is damaged."""
    branches = leaf_branches(tree)
    _same_entries(tree, branches)
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
    try:
        interpretation = branch.interpretation
        if (quick := _quick(interpretation)) is not None:
            dtype, levels = quick
            return [Column(name, dtype, levels, title=title, bytes=stored, memory=memory)]
        form = interpretation.awkward_form(branch.file)
    except MemoryError:
        raise
    except Exception as error:  # whatever uproot cannot type is kept as a column that says why
        problem = f"uproot cannot read a branch of type {_typename(branch)}: {_reason(error)}"
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


def _typename(branch: Any) -> str:
    try:
        return str(branch.typename)
    except Exception:  # it cannot be interpreted, and its type is told by that; the class of its leaf says enough
        leaves = branch.member("fLeaves")
        return str(leaves[0].classname if len(leaves) else branch.classname)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split("\nin file")[0].split())[:200] or type(error).__name__

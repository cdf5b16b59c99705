"""RNTuples: collections of records become dotted columns (`Muon.pt`), read page by page, or by uproot where not known.

uproot says what the fields are: the keys of its forms name the columns that hold the offsets and the values, and
`chains_of_form` reads off them what to read for each leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hepgraph.errors import ChangedFileError, MissingColumnError
from hepgraph.graph.predicate import Predicate
from hepgraph.io.access.files import Options, edge, is_remote
from hepgraph.io.access.handles import Known, Stamp, settings_of, stamp_of
from hepgraph.io.access.prefetch import Allowed, ahead, expect
from hepgraph.io.access.ranges import Range
from hepgraph.io.access.ranges import opened as opened_bytes
from hepgraph.io.forms import columns_of_form, data_of_layout, distinct, empty_data, fitted, with_counts_by_name
from hepgraph.io.native.loops import summed
from hepgraph.io.native.shared import Share
from hepgraph.io.rntuple.chains import Chain, Physicals, chains_of_form, columns_of_keys, fetch_chains, read_chains
from hepgraph.io.rntuple.pagelist import PageList
from hepgraph.io.rntuple.pages import PagePart, PageReader
from hepgraph.io.source import STEP_SIZE, USUAL, Access, Column, Data, File, Need, Partition
from hepgraph.io.trees import Opened, UprootSource, borrowed


class RNTupleSource(UprootSource):
    """A dataset of RNTuples; with `plain`, all columns are read by uproot."""

    kind = "RNTuple"
    # Clusters are long, and pages so large that most ranges have only a part of one: a range costs more, and what is
    # decoded of a cluster is in memory for all of its ranges anyway.
    usual_step = 2 * STEP_SIZE

    plain = False
    skips_masked = authoritative_counts = True

    def may_skip(self, column: Column) -> bool:
        """Pages of numbers are skipped, but for what may be the lengths of lists."""
        return not column.text and (bool(column.levels) or column.dtype.kind not in "iu")

    def read(self, partition: Partition, needs: Mapping[str, Need], access: Access = USUAL) -> dict[str, Data]:
        """Without the pages whose entries are all masked out."""
        columns = self.begin(partition, needs)
        if len(partition) == 0 or not columns:
            return {column.name: empty_data(column, need) for column, need in columns}
        if is_remote(partition.path):  # where it is being opened ahead, it need not be opened once more
            ahead.take(("open", _key_of(partition.path, partition.tree, self.storage_options)))
        with borrowed(partition.path, partition.tree, self.storage_options) as opened:
            self._same(partition, opened)
            found = self._fetch(opened, partition, columns, access)
        with edge(partition.path, f"read {', '.join(found)} of tree {partition.tree!r} in"):
            return {column.name: fitted(column, found[column.name], need) for column, need in columns}

    def _fetch(
        self, opened: Opened, partition: Partition, columns: Sequence[tuple[Column, Need]], access: Access
    ) -> dict[str, Data]:
        uuid, layout = _kept(opened, partition.path, self.storage_options)
        nothing = [c for c, need in columns if need is Need.COUNTS and not (c.levels or c.records)]
        found = {column.name: Data(None) for column in nothing}
        with layout.reader(opened, partition, self.storage_options, access.shared) as reader:
            if reader.bytes.together:
                reader.fetched |= self._begun(partition, columns, (uuid, layout.lists.checksums))
            chains = {} if self.plain else layout.chains(columns)
            selected_before = {}
            if access.entry_mask is not None:
                selected_before = dict.fromkeys(
                    [name for name in chains if self.may_skip(self.columns[name])], summed(access.entry_mask)
                )
            before = [
                (chain, data) for name, data in access.already_read.items() if (chain := layout.chain(name)) is not None
            ]
            parts = layout.parts(partition)
            found |= read_chains(
                reader, parts, chains, lambda name: self._reading(partition, f"field {name!r}"), selected_before, before
            )
            for column, _ in columns:
                if column.name not in found:
                    found[column.name] = self._by_uproot(layout, reader, partition, column)
        return found

    # ahead

    def ahead(
        self,
        partition: Partition,
        needs: Mapping[str, Need],
        predicates: Sequence[Predicate] = (),
        access: Access = USUAL,
    ) -> None:
        """Begins to fetch the pages of a range, which will soon be read; opens the file first if need be."""
        if len(partition) == 0 or self.plain:
            return
        if not is_remote(partition.path):
            expect(partition.path, lambda: self._where(partition, needs, access))
            return

        def open_first(allowed: Callable[[int], bool]) -> None:
            with borrowed(partition.path, partition.tree, self.storage_options) as opened:
                self._begin(_kept(opened, partition.path, self.storage_options), partition, needs, access)

        key = _key_of(partition.path, partition.tree, self.storage_options)
        known, _ = _layouts.last(key)
        if known is None:
            ahead.begin(("open", key), open_first)
        else:
            self._begin(known, partition, needs, access)

    def _where(self, partition: Partition, needs: Mapping[str, Need], access: Access) -> list[Range]:
        """Where in a local file the pages of a range are, those in lists as if entries were all of the same size."""
        if access.holds(self, partition, needs):
            return []
        columns = [(self.columns[name], need) for name, need in needs.items()]
        with borrowed(partition.path, partition.tree, self.storage_options) as opened:
            layout = layout_of(opened, partition.path)
            chains = layout.chains(columns).values()
            physical = {min(each.representations): each for chain, need in chains for each in chain.columns(need)}
            parts = layout.parts(partition)
            with layout.reader(opened, partition) as reader:
                found = [reader.about(each, part) for each in physical.values() for part in parts]
        return [place for places in found for place in places]

    def _begin(
        self, known: tuple[str, NTupleLayout], partition: Partition, needs: Mapping[str, Need], access: Access
    ) -> None:
        uuid, layout = known
        columns = [(self.columns[name], need) for name, need in needs.items()]

        def work(allowed: Callable[[int], bool]) -> Any:
            if access.holds(self, partition, needs):
                return None
            with edge(partition.path), opened_bytes(partition.path, self.storage_options) as data:
                self._unchanged(partition, uuid, layout.lists.entries)
                share = layout.share(partition.path, partition.tree, uuid, access.shared)
                reader = PageReader(layout.lists, Allowed(data, allowed), share)
                fetch_chains(reader, layout.parts(partition), layout.chains(columns))
            return (uuid, layout.lists.checksums), reader.fetched

        ahead.begin(self._key(partition, columns), work)

    def _begun(self, partition: Partition, columns: Sequence[tuple[Column, Need]], content: Any) -> dict[int, Any]:
        """The pages of a range that were fetched ahead, by their place, if they are of this very content."""
        begun = ahead.take(self._key(partition, columns))
        return begun[1] if begun is not None and begun[0] == content else {}

    def _key(self, partition: Partition, columns: Sequence[tuple[Column, Need]]) -> Hashable:
        wanted = frozenset((column.name, need) for column, need in columns)
        return partition, settings_of(self.storage_options), wanted

    def _by_uproot(self, layout: NTupleLayout, reader: PageReader, partition: Partition, leaf: Column) -> Data:
        """The data of one leaf: of its own field alone where its path leads to one, else out of the field it is in.

        Where it is in records that may be None, only the field of the outermost tells which are.
        """
        name = leaf.name
        inside = leaf.records[0].name if leaf.records else name
        while inside not in layout.fields:
            inside, dot, _ = inside.rpartition(".")
            if not dot:
                raise MissingColumnError(f"No field for column {name!r} in {partition}.")
        with self._reading(partition, f"field {name!r}"):
            for column in layout.physical_columns(name):  # uproot does not look at the checksums of pages
                for part in layout.parts(partition):
                    reader.check(column, part.cluster)
            array = layout.fields[inside].array(entry_start=partition.start, entry_stop=partition.stop, library="ak")
        return data_of_layout(inside, array.layout, {name})[name]

    def _same(self, partition: Partition, opened: Opened) -> None:
        self._unchanged(partition, opened.uuid, layout_of(opened, partition.path).lists.entries)


@dataclass(slots=True)
class NTupleLayout:
    """The layout of an open RNTuple: its page lists, its columns, and how each field is put together."""

    ntuple: Any
    lists: PageList
    stamp: Stamp
    columns: Physicals
    tops: dict[str, Any]
    _chains: dict[str, dict[str, Chain | None]]
    _fields: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Every field that a path leads to."""
        if self._fields is None:
            self._fields = fields_by_path(self.ntuple)
        return self._fields

    def chain(self, name: str) -> Chain | None:
        """The columns to read for a leaf; None if that is left to uproot."""
        top = self._top(name)
        if top not in self._chains:
            self._chains[top] = chains_of_form(top, self._form(top), self.columns)
        return self._chains[top].get(name)

    def chains(self, columns: Sequence[tuple[Column, Need]]) -> dict[str, tuple[Chain, Need]]:
        """The columns to read for some leaves, without those that need none or are left to uproot."""
        found = {}
        for column, need in columns:
            chain = self.chain(column.name) if need is Need.DATA or column.levels or column.records else None
            if chain is not None:
                found[column.name] = chain, need
        return found

    def physical_columns(self, name: str) -> Any:
        """All columns of the field at the top that a leaf is in."""
        return columns_of_keys(self._form(self._top(name)), self.columns)

    def _top(self, name: str) -> str:
        while name not in self.tops:
            name, dot, _ = name.rpartition(".")
            if not dot:
                raise MissingColumnError(f"No field for column {name!r}.")
        return name

    def _form(self, top: str) -> Any:
        field = self.tops[top]
        return self.ntuple.field_form(field.field_id, list(_paths(field)))

    def parts(self, partition: Partition) -> list[PagePart]:
        """The entries of a partition, cluster by cluster."""
        first = int(np.searchsorted(self.lists.starts, partition.start, side="right")) - 1
        found = []
        for number in range(first, len(self.lists.clusters)):
            cluster = self.lists.clusters[number]
            start, stop = max(partition.start - cluster.start, 0), min(partition.stop - cluster.start, cluster.entries)
            if cluster.start >= partition.stop:
                break
            if start < stop:
                found.append(PagePart(number, start, stop, cluster.entries, cluster.start))
        return found

    def share(self, path: str, tree: str, uuid: str, most: int | None) -> Share | None:
        """The shared pages of a file; at most so many bytes of them are kept."""
        return None if most == 0 else Share((path, tree, uuid, self.stamp, self.lists.checksums), most)

    @contextmanager
    def reader(
        self, opened: Opened, partition: Partition, options: Options = None, most_shared: int | None = None
    ) -> Iterator[PageReader]:
        """The reader of the pages, from the same content that the page lists are of."""
        path = partition.path
        share = self.share(path, opened.name, opened.uuid, most_shared)
        with edge(path, f"read the pages of tree {opened.name!r} in"), opened_bytes(path, options or {}) as data:
            if data.stamp != self.stamp:
                raise ChangedFileError(f"{path} changed while it was read. Open the dataset again.")
            yield PageReader(self.lists, data, share)


_layouts: Known[tuple[str, NTupleLayout]] = Known(64)  # the last one of each remote file, and the file's UUID


def _key_of(path: str, tree: str, options: Options) -> Hashable:
    return path, tree, settings_of(options)


def _kept(opened: Opened, path: str, options: Options) -> tuple[str, NTupleLayout]:
    """The layout of an open RNTuple, which is kept for those who fetch ahead if the file is remote."""
    known = opened.uuid, layout_of(opened, path)
    if is_remote(path):
        _layouts.keep(_key_of(path, opened.name, options), None, known)
    return known


def layout_of(opened: Opened, path: str) -> NTupleLayout:
    """The layout of an open RNTuple, made when it is first asked for."""
    if opened.layout is None:
        ntuple = opened.tree
        with edge(path, f"read where the pages of tree {opened.name!r} are in"):
            lists, columns = PageList(ntuple), Physicals(ntuple.column_records)
            tops = {field.name: field for field in ntuple.fields}
            opened.layout = NTupleLayout(ntuple, lists, stamp_of(path), columns, tops, {})
    return opened.layout  # type: ignore[no-any-return]


def open_ntuple(opened: Opened, path: str, options: Options = None) -> tuple[list[Column], File]:
    """The columns of an open RNTuple and what a source keeps of it; no data is read."""
    lists = _kept(opened, path, options)[1].lists
    edges = sorted({*lists.starts.tolist(), 0, lists.entries})
    return ntuple_columns(opened.tree, lists), File(path, opened.name, lists.entries, opened.uuid, tuple(edges))


def fields_by_path(ntuple: Any) -> dict[str, Any]:
    """Every field that a path leads to (`Muon.pt`); those inside variants, and unnamed ones, are left to the parent."""
    found: dict[str, Any] = {}
    for field in ntuple.all_fields:
        if field.path and not field.is_anonymous and not field.in_variant:
            found.setdefault(field.path, field)
    return found


def _paths(field: Any) -> Iterator[str]:
    """The paths of a field and of all fields in it."""
    if field.path:
        yield field.path
    for inner in field.fields:
        yield from _paths(inner)


def ntuple_columns(ntuple: Any, lists: PageList) -> list[Column]:
    """The columns of an RNTuple, from its header and page list; no data is read."""
    sizes = _sizes(ntuple.column_records, lists)
    paths: dict[str, list[str]] = {}
    for field in ntuple.all_fields:
        paths.setdefault(str(field.path).partition(".")[0], []).append(field.path)
    found: list[Column] = []
    cardinal: set[str] = set()
    for field in ntuple.fields:
        # ntuple.to_akform() compares every field with every path: twelve seconds for 1500 fields
        keys = paths[str(field.path).partition(".")[0]]
        title = field.description
        try:
            form = ntuple.field_form(field.field_id, keys)
        except MemoryError:
            raise
        except Exception as error:  # whatever uproot cannot type is kept as a column that says why
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            problem = f"uproot cannot read a field of type {field.typename}: {reason}"
            found.append(Column(field.name, np.dtype(np.float64), title=title, problem=problem))
            continue
        found += [replace(column, title=title) for column in columns_of_form(field.name, form, sizes)]
        if "RNTupleCardinality" in field.typename:
            cardinal.add(field.name)
    named = with_counts_by_name(distinct(found))
    return [column if column.counts in cardinal else replace(column, counts=None) for column in named]


def _sizes(records: Sequence[Any], lists: PageList) -> dict[str, tuple[int, int]]:
    """The bytes on disk and in memory of each physical column, by the form key that uproot gives it."""
    stored, memory = np.zeros(len(records), np.int64), np.zeros(len(records), np.int64)
    bits = np.array([record.nbits for record in records], np.int64)
    for number in range(len(lists.clusters)):
        table = lists.table(number)
        count = len(table.bounds) - 1
        stored[:count] += np.diff(np.append(0, np.cumsum(table.sizes))[table.bounds])
        elements = np.diff(np.append(0, np.cumsum(table.elements))[table.bounds])
        memory[:count] += (elements * bits[:count] + 7) // 8
    sizes = zip(stored.tolist(), memory.tolist(), strict=True)
    return {f"column-{index}": size for index, size in enumerate(sizes)}

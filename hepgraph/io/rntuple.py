"""RNTuples through uproot: collections of records become dotted columns (`Muon.pt`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hepgraph.errors import MissingColumnError
from hepgraph.io.forms import columns_of_form, data_of_layout, distinct, from_counts, with_counts_by_name
from hepgraph.io.source import Column, Data, Need, Partition
from hepgraph.io.trees import Opened, UprootSource


class RNTupleSource(UprootSource):
    """A dataset of RNTuples."""

    def _fetch(self, opened: Opened, partition: Partition, columns: list[tuple[Column, Need]]) -> dict[str, Data]:
        if opened.layout is None:
            opened.layout = fields_by_path(opened.tree)
        found: dict[str, Data] = {}
        for column, need in columns:
            if need is Need.COUNTS and not column.levels:
                found[column.name] = Data(None)
            elif need is Need.COUNTS and column.counts is not None:
                counts = self._field(opened, partition, column.counts).values
                assert counts is not None
                found[column.name] = from_counts(counts, column)
            else:
                found[column.name] = self._field(opened, partition, column.name)
        return found

    def _field(self, opened: Opened, partition: Partition, name: str) -> Data:
        """The data of one leaf: of its own field alone where its path leads to one, else out of the field it is in."""
        inside = name
        while inside not in opened.layout:
            inside, dot, _ = inside.rpartition(".")
            if not dot:
                raise MissingColumnError(f"No field for column {name!r} in {partition}.")
        with self._reading(partition, f"field {name!r}"):
            array = opened.layout[inside].array(entry_start=partition.start, entry_stop=partition.stop, library="ak")
        return data_of_layout(inside, array.layout, {name})[name]


def fields_by_path(ntuple: Any) -> dict[str, Any]:
    """Every field that a path leads to (`Muon.pt`); those inside variants, and unnamed ones, are left to the parent."""
    found: dict[str, Any] = {}
    for field in ntuple.all_fields:
        if field.path and not field.is_anonymous and not field.in_variant:
            found.setdefault(field.path, field)
    return found


def ntuple_edges(ntuple: Any) -> list[int]:
    """The entries at which clusters begin."""
    return [int(cluster.num_first_entry) for cluster in ntuple.cluster_summaries]


def ntuple_columns(ntuple: Any) -> list[Column]:
    """The columns of an RNTuple, from its header and page list; no data is read."""
    sizes = _sizes(ntuple)
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


def _sizes(ntuple: Any) -> dict[str, tuple[int, int]]:
    """The bytes on disk and in memory of each physical column, by the form key that uproot gives it."""
    found: dict[str, tuple[int, int]] = {}
    records = {record.idx: record for record in ntuple.column_records}
    for cluster in ntuple.page_link_list:
        for index, pages in enumerate(cluster):
            stored = sum(page.locator.num_bytes for page in pages.pages)
            elements = sum(abs(page.num_elements) for page in pages.pages)
            memory = (elements * records[index].nbits + 7) // 8 if index in records else 0
            before = found.get(f"column-{index}", (0, 0))
            found[f"column-{index}"] = (before[0] + stored, before[1] + memory)
    return found

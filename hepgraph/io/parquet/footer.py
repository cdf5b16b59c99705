"""Footers of Parquet files: row groups, columns with their types, sizes, and whether they have nulls."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from hepgraph.io.forms import distinct, with_counts_by_name
from hepgraph.io.parquet.arrow import columns_of_type
from hepgraph.io.parquet.thrift import ColumnChunk, chunks
from hepgraph.io.source import Column, Level, RecordLevel

MOST_CHUNKS = 50_000
MOST_TOLD = 20_000  # column chunks that are looked at without pyarrow, each of which takes some 20 us


class Footer:
    """The parsed footer of a file, shared by all of its handles in a process; worked out as far as it is asked for.

    `raw` are its bytes, for what pyarrow does not tell of it; raises ValueError where pyarrow would end the process.
    """

    def __init__(self, uuid: str, metadata: Any, schema: Any, raw: bytes) -> None:
        self.uuid, self.metadata, self.schema = uuid, metadata, schema
        self._told = _told(metadata, raw)
        self._fields: dict[str, list[tuple[Column, str, int | None]]] = {}

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """The entries at which row groups begin, and the number of all."""
        rows = [self.metadata.row_group(i).num_rows for i in range(self.metadata.num_row_groups)]
        if min(rows, default=0) < 0 or sum(rows) != self.metadata.num_rows:
            raise ValueError(f"its row groups have {sum(rows)} rows, and it states {self.metadata.num_rows}")
        return (0, *(int(edge) for edge in np.cumsum(rows)))

    @cached_property
    def names(self) -> set[str]:
        """The names of the fields of the schema."""
        return set(self.schema.names)

    @cached_property
    def leaves(self) -> dict[str, list[int]]:
        """Of each field of the schema, the numbers of its leaves in order."""
        found: dict[str, list[int]] = {}
        for index in range(self.metadata.num_columns):
            found.setdefault(_top(self.metadata.schema.column(index).path, self.names), []).append(index)
        return found

    def field(self, top: str) -> list[tuple[Column, str, int | None]]:
        """The columns of one field by its type, each with the path to read; and its leaf, if it is one by itself."""
        if top not in self._fields:
            outer, leaves = self.schema.field(top), self.leaves.get(top, [])
            columns = list(columns_of_type(top, outer.type, outer.nullable))
            if len(columns) != len(leaves):  # not leaf by leaf: the whole field is read for any of them
                self._fields[top] = [(column, top, None) for column in columns]
            else:
                paths = [str(self.metadata.schema.column(leaf).path) for leaf in leaves]
                self._fields[top] = list(zip(columns, paths, leaves, strict=True))
        return self._fields[top]

    def below(self, path: str) -> list[int]:
        """The numbers of the leaf with this path, or of all leaves below it."""
        paths = {leaf: self.metadata.schema.column(leaf).path for leaf in self.leaves.get(_top(path, self.names), [])}
        return [leaf for leaf, found in paths.items() if found == path or found.startswith(f"{path}.")]

    def place(self, name: str) -> tuple[Column, str, int | None]:
        """A column by its name, as `field` has it."""
        return next(place for place in self.field(_top(name, self.names)) if place[0].name == name)

    def extremes(self, name: str, group: int) -> tuple[Any, Any] | None:
        """The least and the largest value of a flat column in a row group, if that is known; NaN does not count."""
        leaf = self.place(name)[2]
        if leaf is None:
            return None
        chunk = self.metadata.row_group(group).column(leaf)
        statistics = chunk.statistics if chunk.is_stats_set else None
        if statistics is None or not statistics.has_min_max:
            return None
        if isinstance(statistics.min, bytes):  # of half floats, pyarrow gives the bytes
            return None
        return statistics.min, statistics.max

    def columns(self) -> list[Column]:
        """All columns, with sizes, nullable where the statistics do not prove that nothing is None."""
        sizes = _sizes(self.metadata)
        found: list[tuple[Column, int | None]] = []
        for outer in self.schema:
            # pyarrow miscounts the nulls of records that hold dictionaries
            trusted = "dictionary<" not in str(outer.type)
            for column, _, leaf in self.field(outer.name):
                parts = self.leaves.get(outer.name, []) if leaf is None else [leaf]
                stored, memory = np.sum([sizes[part] for part in parts], axis=0) if parts else (0, 0)
                sized = replace(column, bytes=int(stored), memory=int(memory))
                found.append((sized, leaf if trusted and column != column.without_none() else None))
        unsure = {leaf for _, leaf in found if leaf is not None}
        full = _without_nulls(self.metadata, unsure)
        # pyarrow 21 counts no null lists of records; how often each level occurs, it counts right
        miscounted = full & {leaf for column, leaf in found if column.records and column.levels}
        levels = _levels(self.metadata, unsure - full | miscounted, self._told)
        full -= {leaf for leaf in miscounted if levels.get(leaf)}
        columns = [
            column.without_none() if leaf in full else _with_levels(column, levels.get(leaf))
            for column, leaf in found
        ]  # fmt: skip
        return with_counts_by_name(distinct(columns))


def _top(path: str, known: set[str]) -> str:
    """The field of the schema that a column or a leaf is in; one without a name may be the whole of an array."""
    parts = path.split(".")
    nameless = "" if "" in known else parts[0]
    return next((top for i in range(len(parts), 0, -1) if (top := ".".join(parts[:i])) in known), nameless)


def _without_nulls(meta: Any, leaves: set[int]) -> set[int]:
    """The leaves without a null at any depth, by the statistics; they count empty lists as nulls, too."""
    found = set(leaves)
    for index in range(meta.num_row_groups):
        group = meta.row_group(index)
        for leaf in tuple(found):
            chunk = group.column(leaf)
            if chunk.num_values == 0:
                continue
            statistics = chunk.statistics if chunk.is_stats_set else None
            if statistics is None or not statistics.has_null_count or statistics.null_count != 0:
                found.remove(leaf)
        if not found:
            break
    return found


def _told(meta: Any, raw: bytes) -> list[list[ColumnChunk]]:
    """Statistics of each leaf, of the first row groups at least; refuses files that end the process in pyarrow 26."""
    told = list(islice(chunks(raw), max(1, MOST_TOLD // max(1, meta.num_columns))))
    leaves = [meta.schema.column(leaf) for leaf in range(meta.num_columns)]
    kinds = [
        (leaf.max_definition_level + 1, leaf.max_repetition_level + 1, leaf.physical_type == "BYTE_ARRAY", leaf)
        for leaf in leaves
    ]
    for group in told:
        for chunk, (definition, repetition, text, leaf) in zip(group, kinds, strict=False):
            if chunk.encrypted:
                raise NotImplementedError(f"its column {leaf.path!r} is encrypted; write it anew without that")
            fits = len(chunk.definition) in (0, definition) and len(chunk.repetition) in (0, repetition)
            if not fits or (chunk.text and not text):
                raise ValueError(f"the sizes that it states of column {leaf.path!r} do not fit its type")
    return told


def _levels(meta: Any, leaves: set[int], told: list[list[ColumnChunk]]) -> dict[int | None, list[int]]:
    """How often each definition level occurs in these leaves, of those of which the file says it for all row groups."""
    found: dict[int | None, list[int]] = {leaf: [] for leaf in leaves}
    if [len(group) for group in told] != [meta.num_columns] * meta.num_row_groups:
        return {}
    for index, group in enumerate(told):
        row_group = meta.row_group(index)
        for leaf in leaves & found.keys():
            size, levels = row_group.column(leaf).num_values, group[leaf].definition
            if size and sum(levels) != size:
                del found[leaf]
            elif size:
                before = found[leaf] or [0] * len(levels)
                found[leaf] = [a + b for a, b in zip(before, levels, strict=True)]
    return found


def _with_levels(column: Column, counts: list[int] | None) -> Column:
    """A column, nullable only where something is missing, by the number of times that each definition level occurs.

    Each part of the way to a value that may be absent has a level, from the outside in: a record or list that may be
    None, the elements of a list, the value.
    """
    depth = len(column.levels)
    parts = len(column.records) + sum(1 + level.nullable for level in column.levels) + column.nullable
    if not counts or len(counts) != parts + 1:
        return column
    absent = iter(counts)
    records: list[RecordLevel] = []
    levels: list[Level] = []
    for place in range(depth + 1):
        here = [record for record in column.records if record.level == place]
        records += [replace(record, nullable=next(absent) > 0) for record in here]
        if place < depth:
            level = column.levels[place]
            levels.append(replace(level, nullable=level.nullable and next(absent) > 0))
            next(absent)  # lists that are empty
    nullable = column.nullable and next(absent) > 0
    return replace(column, records=tuple(records), levels=tuple(levels), nullable=nullable)


def _sizes(meta: Any) -> list[tuple[int, int]]:
    """The bytes on disk and in memory of every leaf; of many row groups, from some of them, scaled up."""
    groups, leaves = meta.num_row_groups, meta.num_columns
    stride = max(1, groups * leaves // MOST_CHUNKS)
    stored, memory = [0] * leaves, [0] * leaves
    sample = range(0, groups, stride)
    for group in sample:
        row_group = meta.row_group(group)
        for leaf in range(leaves):
            chunk = row_group.column(leaf)
            stored[leaf] += chunk.total_compressed_size
            memory[leaf] += chunk.total_uncompressed_size
    scale = groups / max(1, len(sample))
    return [(round(mine * scale), round(its * scale)) for mine, its in zip(stored, memory, strict=True)]

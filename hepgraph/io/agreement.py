"""Whether the files of a dataset have the same columns, and where each departs from the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hepgraph.errors import DisagreementError
from hepgraph.io.source import Column, File, RecordLevel, Source


def agreed(opened: Sequence[tuple[Iterable[Column], File]]) -> tuple[list[Column], list[File]]:
    """The columns of the first of several opened files, with the sizes of all, and where each other file departs.

    A column may hold None if it may in any file: that alone is no disagreement.
    """
    if len(opened) == 1:
        return list(opened[0][0]), [opened[0][1]]
    columns = {column.name: column for column in opened[0][0]}
    sizes = {name: [column.bytes, column.memory] for name, column in columns.items()}
    files = [opened[0][1]]
    for others, file in opened[1:]:
        theirs = {column.name: column for column in others}
        differs: dict[str, str] = {}
        for name, column in columns.items():
            other = theirs.get(name)
            if other is not None and _alike(column, other):  # nearly always
                sizes[name][0] += other.bytes
                sizes[name][1] += other.memory
            elif other is None:
                differs[name] = "no such column"
            elif bool(other.problem) != bool(column.problem):
                differs[name] = f"cannot be read: {other.problem}" if other.problem else other.type
            elif other.without_none().type != column.without_none().type:
                differs[name] = other.type
            elif _nesting(other) != _nesting(column) and (column.records or other.records):
                differs[name] = "its records and lists are nested in another way"
            else:
                columns[name] = _joined(column, other)
                sizes[name][0] += other.bytes
                sizes[name][1] += other.memory
        more = tuple(column for name, column in theirs.items() if name not in columns)
        files.append(replace(file, differs=differs, more=more))
    return [replace(c, bytes=sizes[c.name][0], memory=sizes[c.name][1]) for c in columns.values()], files


def _alike(one: Column, two: Column) -> bool:
    """Whether two columns are the same but for their sizes and titles."""
    return (
        one.dtype == two.dtype
        and one.levels == two.levels
        and one.records == two.records
        and (one.nullable, one.text, one.counts, one.problem) == (two.nullable, two.text, two.counts, two.problem)
    )


def _nesting(column: Column) -> list[str | None]:
    return [level.name for level in column.levels]


def _joined(column: Column, other: Column) -> Column:
    pairs = zip(column.levels, other.levels, strict=True)
    records: dict[tuple[int, str], RecordLevel] = {}
    for record in (*column.records, *other.records):  # of two on the way to one column, the inner has the longer name
        old = records.get((record.level, record.name), record)
        records[record.level, record.name] = replace(record, nullable=old.nullable or record.nullable)
    return replace(
        column,
        nullable=column.nullable or other.nullable,
        levels=tuple(replace(mine, nullable=mine.nullable or its.nullable) for mine, its in pairs),
        counts=column.counts if column.counts == other.counts else None,
        records=tuple(records[key] for key in sorted(records, key=lambda key: (key[0], len(key[1])))),
    )


def sharing(source: Source, names: Mapping[str, str]) -> Source:
    """The same source, with the outermost lists of some columns known by these names: any of them tells of all."""
    columns = dict(source.columns)
    for name, shared in names.items():
        column = source.columns[name]
        levels = (replace(column.levels[0], name=shared), *column.levels[1:])
        columns[name] = replace(column, levels=levels)
    return _with(source, columns=columns, shares=tuple(sorted(names.items())))


def standing_in(source: Source, values: Mapping[str, Any]) -> Source:
    """The same source with flat columns that some files may lack: their values there, or None.

    `values` are by the names of columns, of the first file or of any other. Raises DisagreementError for a column
    of lists, and for a value that its type does not hold.
    """
    late = {column.name: column for file in source.files for column in file.more}
    columns, files = dict(source.columns), list(source.files)
    for name, value in values.items():
        column = source.columns.get(name) or late[name]
        if column.levels or column.text:
            raise DisagreementError(f"Column {name!r} cannot be optional: it holds {column.type}, not numbers.")
        if value is not None and np.array(value).astype(column.dtype) != value:
            raise DisagreementError(f"{value!r} cannot stand for {name!r} where a file lacks it: {column.dtype}.")
        if name not in source.columns:  # the first file lacks it
            have = [any(more.name == name and more.dtype == column.dtype for more in f.more) for f in files]
            files = [
                file if there else replace(file, differs={**file.differs, name: "no such column"})
                for file, there in zip(files, have, strict=True)
            ]
        columns[name] = replace(column, nullable=True) if value is None else column
    places = {(path, file.tree): file for file in files for path in (*file.replicas, file.path)}
    return _with(source, columns=columns, optional={**source.optional, **values}, files=tuple(files), _places=places)


def _with(source: Source, **changes: Any) -> Source:
    other = object.__new__(type(source))
    vars(other).update(vars(source), **changes)
    return other

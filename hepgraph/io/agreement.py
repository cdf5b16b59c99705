"""Whether the files of a dataset have the same columns, and where each departs from the first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hepgraph.io.source import Column, File, RecordLevel


def agreed(opened: Sequence[tuple[Iterable[Column], File]]) -> tuple[list[Column], list[File]]:
    """The columns of the first of several opened files, with the sizes of all, and where each other file departs.

    A column may hold None if it may in any file: that alone is no disagreement.
    """
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
        files.append(replace(file, differs=differs))
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

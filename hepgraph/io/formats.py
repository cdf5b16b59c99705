"""Sources as plain values that fit into JSON, and back, so that files need not be opened to know what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields, replace
from typing import Any

import numpy as np

from hepgraph.errors import FilesetError
from hepgraph.io.access.files import once
from hepgraph.io.source import Absent, Column, File, Level, RecordLevel, Source

_COLUMN = {each.name: each.default for each in fields(Column)}


def kind_of(source: Source) -> str:
    """The format of the files of a source: `TTree`, `RNTuple` or `Parquet`."""
    return {"RootSource": "TTree", "RNTupleSource": "RNTuple", "ParquetSource": "Parquet"}[type(source).__name__]


def column_told(column: Column) -> dict[str, Any]:
    """A column, without what is as it is for most."""
    told: dict[str, Any] = {}
    for name, default in _COLUMN.items():
        value = getattr(column, name)
        if name == "dtype":
            told[name] = value.str
        elif name == "levels":
            if value:
                told[name] = [[level.size, level.nullable, level.name] for level in value]
        elif name == "records":
            if value:
                told[name] = [list(astuple(record)) for record in value]
        elif value != default:
            told[name] = value
    return told


def column_of(told: Mapping[str, Any]) -> Column:
    """The column that `column_told` told of.

    >>> column = Column("Muon_pt", np.dtype("float32"), (Level(),), counts="nMuon")
    >>> column_of(column_told(column)) == column
    True
    """
    levels = tuple(Level(*level) for level in told.get("levels", ()))
    records = tuple(RecordLevel(*record) for record in told.get("records", ()))
    return Column(**{**told, "dtype": np.dtype(told["dtype"]), "levels": levels, "records": records})


def file_told(file: File) -> dict[str, Any]:
    """A file, in the words of coffea's preprocessed filesets where those have them."""
    told: dict[str, Any] = {
        "object_path": file.tree or None, "num_entries": file.entries, "uuid": file.uuid, "edges": list(file.edges),
    }  # fmt: skip
    if file.differs:
        told["differs"] = dict(file.differs)
    if file.replicas:
        told["replicas"] = list(file.replicas)
    if file.limit is not None:
        told["limit"] = file.limit
    if file.written is not None:
        told["written"] = list(file.written)
    return told


def file_of(path: str, told: Mapping[str, Any]) -> File:
    """The file that `file_told` told of."""
    written = tuple(told["written"]) if "written" in told else None
    return File(
        path, told["object_path"] or "", int(told["num_entries"]), told["uuid"], tuple(told["edges"]),
        dict(told.get("differs", {})), tuple(told.get("replicas", ())), told.get("limit"), written,
    )  # fmt: skip


def rebuilt_source(
    kind: str,
    columns: Sequence[Column],
    files: Sequence[File],
    step_size: int | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    absent: Sequence[Absent] = (),
) -> Source:
    """A source of files that are known already; opens none. Raises FilesetError for a kind that there is not."""
    once((file.path, file.tree) for file in files)
    made: Any
    match kind:
        case "TTree":
            from hepgraph.io.ttree.source import RootSource as made
        case "RNTuple":
            from hepgraph.io.rntuple.source import RNTupleSource as made
        case "Parquet":
            from hepgraph.io.parquet.source import ParquetSource as made
        case _:
            raise FilesetError(f"Files are of kind TTree, RNTuple or Parquet, not {kind!r}.")
    source: Source = made(columns, files, step_size, metadata)
    source.storage_options = dict(storage_options or {})  # type: ignore[attr-defined]
    source.absent = tuple(absent)
    return source


def scaled(columns: Sequence[Column], share: float) -> list[Column]:
    """Columns of which only a share of the entries is left."""
    if share == 1:
        return list(columns)
    return [replace(c, bytes=round(c.bytes * share), memory=round(c.memory * share)) for c in columns]

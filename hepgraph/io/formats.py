"""Formats of files, one row each; sources as plain values that fit into JSON, so that files need not be opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from importlib import import_module
from typing import Any

import numpy as np

from hepgraph.errors import DamagedFileError, FilesetError
from hepgraph.imports import together
from hepgraph.io.source import Absent, Column, File, Level, RecordLevel, Source

_COLUMN = {each.name: each.default for each in fields(Column)}


@dataclass(frozen=True)
class Format:
    """A format of files: how its files are known, the function that opens them, and a class for each kind of content.

    `refused` says of files with other first bytes why they are not read. Functions and classes are imported on first
    use, from `hepgraph.io`: their libraries take as long to import as all of hepgraph.
    """

    name: str
    magic: bytes
    suffixes: tuple[str, ...]
    opener: tuple[str, str]
    kinds: Mapping[str, tuple[str, str]]
    refused: Mapping[bytes, str] = field(default_factory=dict)

    def open(self, files: Any, *options: Any, **more: Any) -> Source:
        """The dataset of files of this format."""
        return _imported(self.opener)(files, *options, **more)  # type: ignore[no-any-return]


ROOT = Format(
    "ROOT", b"root", (".root",), ("root", "open_root"),
    {"TTree": ("ttree.source", "RootSource"), "RNTuple": ("rntuple.source", "RNTupleSource")},
)  # fmt: skip
PARQUET = Format(
    "Parquet", b"PAR1", (".parquet", ".parq", ".pq"), ("parquet.source", "open_parquet"),
    {"Parquet": ("parquet.source", "ParquetSource")},
    {b"PARE": "is an encrypted Parquet file; write it anew without that"},
)  # fmt: skip
FORMATS = (ROOT, PARQUET)
SUFFIXES = tuple(suffix for each in FORMATS for suffix in each.suffixes)
KINDS = {kind: place for each in FORMATS for kind, place in each.kinds.items()}


def _imported(place: tuple[str, str]) -> Any:
    with together():
        return getattr(import_module(f"hepgraph.io.{place[0]}"), place[1])


def format_of(path: str, start: bytes) -> Format:
    """The format of a file, by its first bytes; raises DamagedFileError for anything else."""
    for each in FORMATS:
        if start.startswith(each.magic):
            return each
        for magic, why in each.refused.items():
            if start.startswith(magic):
                raise DamagedFileError(f"{path} {why}.")
    if not start:
        raise DamagedFileError(f"{path} is empty.")
    names = " nor a ".join(each.name for each in FORMATS)
    raise DamagedFileError(f"{path} is neither a {names} file (it starts with {start!r}).")


def kind_of(source: Source) -> str:
    """The kind of content of the files of a source: `TTree`, `RNTuple` or `Parquet`."""
    return next(kind for kind, (_, name) in KINDS.items() if name == type(source).__name__)


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
    if kind not in KINDS:
        *others, last = KINDS
        raise FilesetError(f"Files are of kind {', '.join(others)} or {last}, not {kind!r}.")
    return _imported(KINDS[kind])(columns, files, step_size, metadata, storage_options, absent)  # type: ignore[no-any-return]


def scaled(columns: Sequence[Column], share: float) -> list[Column]:
    """Columns of which only a share of the entries is left."""
    if share == 1:
        return list(columns)
    return [replace(c, bytes=round(c.bytes * share), memory=round(c.memory * share)) for c in columns]

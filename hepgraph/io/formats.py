"""The registry of file formats, and sources as plain values that fit into JSON, so that files need not be opened.

A new format is a folder of `io/` and a row of `FORMATS`; a package outside of hepgraph appends its row when it is
imported. The row names

- an opener, `open(files, tree, step_size, metadata, storage_options) -> Source`: the files as the user wrote them (see
  `access.files.resolve`), the name of the tree (formats without trees ignore it), and the last three as `Source` takes
  them. It reads metadata only, and leaves to `agreement.agreed` how the files differ. Errors name the file
  (`access.files.edge`).
- for each kind of content a subclass of `Source` with this `kind`, and a `read` that calls `begin` first. It keeps the
  constructor of `Source`: preprocessed filesets and workers make it anew from columns and files (`rebuilt_source`), so
  whatever `read` needs beyond them it finds in the file.

Prefetching (`ahead`), statistics (`trimmed`) and another identity than `File.uuid` (`identity`) have defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from pkgutil import resolve_name
from typing import Any

import numpy as np

from hepgraph.errors import DamagedFileError, FilesetError
from hepgraph.imports import together
from hepgraph.io.source import Absent, Column, File, Level, RecordLevel, Source

_COLUMN = {each.name: each.default for each in fields(Column)}


@dataclass(frozen=True)
class Format:
    """A file format: first bytes, suffixes, the function that opens its files, a class for each kind of content.

    `opener` and the classes in `kinds` are written "module:name" and imported on first use: their libraries take as
    long to import as all of hepgraph. `refused` gives a reason for other first bytes whose files cannot be read.
    """

    name: str
    magic: bytes
    suffixes: tuple[str, ...]
    opener: str
    kinds: Mapping[str, str]
    refused: Mapping[bytes, str] = field(default_factory=dict)

    def open(
        self,
        files: Any,
        tree: str | None = None,
        step_size: int | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Source:
        """The dataset of files of this format."""
        return _imported(self.opener)(files, tree, step_size, metadata, storage_options)  # type: ignore[no-any-return]


ROOT = Format(
    "ROOT", b"root", (".root",), "hepgraph.io.root:open_root",
    {"TTree": "hepgraph.io.ttree.source:RootSource", "RNTuple": "hepgraph.io.rntuple.source:RNTupleSource"},
)  # fmt: skip
PARQUET = Format(
    "Parquet", b"PAR1", (".parquet", ".parq", ".pq"), "hepgraph.io.parquet.source:open_parquet",
    {"Parquet": "hepgraph.io.parquet.source:ParquetSource"},
    {b"PARE": "is an encrypted Parquet file; write it anew without that"},
)  # fmt: skip
FORMATS = [ROOT, PARQUET]


def _imported(name: str) -> Any:
    with together():
        return resolve_name(name)


def suffixes() -> tuple[str, ...]:
    """The suffixes of the files of all formats."""
    return tuple(suffix for each in FORMATS for suffix in each.suffixes)


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


def format_with(kind: str) -> Format:
    """The format whose files have this kind of content; raises FilesetError if there is none."""
    for each in FORMATS:
        if kind in each.kinds:
            return each
    *others, last = [kind for each in FORMATS for kind in each.kinds]
    raise FilesetError(f"Files are of kind {', '.join(others)} or {last}, not {kind!r}.")


def column_to_json(column: Column) -> dict[str, Any]:
    """A column as a JSON object, without the fields that have their default."""
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


def column_from_json(told: Mapping[str, Any]) -> Column:
    """The column of a JSON object made by `column_to_json`.

    >>> column = Column("Muon_pt", np.dtype("float32"), (Level(),), counts="nMuon")
    >>> column_from_json(column_to_json(column)) == column
    True
    """
    levels = tuple(Level(*level) for level in told.get("levels", ()))
    records = tuple(RecordLevel(*record) for record in told.get("records", ()))
    return Column(**{**told, "dtype": np.dtype(told["dtype"]), "levels": levels, "records": records})


def file_to_json(file: File) -> dict[str, Any]:
    """A file, in the words of coffea's preprocessed filesets where those have them."""
    told: dict[str, Any] = {
        "object_path": file.tree or None, "num_entries": file.entries, "uuid": file.uuid, "edges": list(file.edges),
    }  # fmt: skip
    if file.differs:
        told["differs"] = dict(file.differs)
    if file.lacks:
        told["lacks"] = list(file.lacks)
    if file.stored:
        told["stored"] = dict(file.stored)
    if file.replicas:
        told["replicas"] = list(file.replicas)
    if file.limit is not None:
        told["limit"] = file.limit
    if file.written is not None:
        told["written"] = list(file.written)
    return told


def file_from_json(path: str, told: Mapping[str, Any]) -> File:
    """The file of a JSON object made by `file_to_json`."""
    written = tuple(told["written"]) if "written" in told else None
    return File(
        path, told["object_path"] or "", int(told["num_entries"]), told["uuid"], tuple(told["edges"]),
        dict(told.get("differs", {})), tuple(told.get("replicas", ())), told.get("limit"), written,
        tuple(told.get("lacks", ())), dict(told.get("stored", {})),
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
    """A source of files that are known already; opens none. Raises FilesetError for an unknown kind."""
    kind_class = _imported(format_with(kind).kinds[kind])
    return kind_class(columns, files, step_size, metadata, storage_options, absent)  # type: ignore[no-any-return]


def scaled(columns: Sequence[Column], share: float) -> list[Column]:
    """The columns with their sizes scaled to a share of the entries."""
    if share == 1:
        return list(columns)
    return [replace(c, bytes=round(c.bytes * share), memory=round(c.memory * share)) for c in columns]

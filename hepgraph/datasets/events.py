"""Opening datasets: ROOT and Parquet files, and arrays in memory, as lazy events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import awkward as ak
import numpy as np

from hepgraph.arguments import checks_arguments
from hepgraph.datasets.guess import guessed, usual
from hepgraph.datasets.schema import Schema, events_of, load
from hepgraph.datasets.schemafile import with_optional
from hepgraph.datasets.variations import with_stored
from hepgraph.errors import FilesetError, ShapeError, UnsupportedError
from hepgraph.functions import behaviors
from hepgraph.graph.form import replaced
from hepgraph.graph.node import Item, rewrite
from hepgraph.io import formats
from hepgraph.io.access import files as io_files
from hepgraph.io.cache.columns import ColumnCache, cache_of
from hepgraph.io.memory import open_awkward
from hepgraph.io.source import USUAL, Access, Origin, Source
from hepgraph.lazy.array import HOOKS, Lazy
from hepgraph.lazy.behavior import lost
from hepgraph.lazy.hidden import record_names, shown

Optional: TypeAlias = str | Sequence[str] | Mapping[str, Any] | None
Cache: TypeAlias = str | Path | ColumnCache | None


def from_source(
    source: Source, schema: str | Path | Schema = "base", *, optional: Optional = None, access: Access = USUAL
) -> Lazy:
    """Lazy events of any `Source`, varied where the schema says that columns are alternatives of others.

    Parameters
    ----------
    source : Source
        Reader of columns and partitions, as in `hepgraph.io.source`.
    schema : str, Path or Schema, default "base"
        Naming of the columns: "nanoaod", "base" (as they are), or the path of a TOML file.
    optional : str, list or dict, default None
        Columns that some files may lack, by name or pattern, and what stands for them there: {"HLT_*": False}.
    access : Access, default Access(cache=None, entries=None, shared=None, entry_mask=None, already_read={})
        Way in which the source is read.

    Returns
    -------
    Lazy
        The events.

    Examples
    --------
    >>> import hepgraph as hg
    >>> events = hg.open("data/sample.root")
    >>> hg.from_source(events.source, schema="nanoaod").fields == events.fields
    True
    """
    chosen = guessed(source.columns) if schema == "auto" else load(schema)
    if optional is not None:
        chosen = with_optional(chosen.version(source.columns), optional)
    return with_stored(events_of(Origin.of(source, access), chosen))


@checks_arguments()
def from_root(
    files: Any,
    tree: str | None = None,
    *,
    schema: str | Path | Schema = "base",
    optional: Optional = None,
    step_size: int | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    cache: Cache = None,
) -> Lazy:
    """Lazy events of ROOT files (TTree or RNTuple).

    Nothing but metadata is read.

    Parameters
    ----------
    files : str, Path, list or dict
        Path or URL, glob, "file.root:Events", directory, a list of those, or {file: tree}.
    tree : str, default None
        Name of the tree, if not "Events" or the only one.
    schema : str, Path or Schema, default "base"
        Naming of the columns: "nanoaod", "base" (as they are), or the path of a TOML file.
    optional : str, list or dict, default None
        Columns that some files may lack, by name or pattern, and what stands for them there: {"HLT_*": False}; None, as
        for names without a value, is None; "nominal", of stored variations ({"*": "nominal"}), what the file has of the
        nominal. Lists that a file lacks altogether are empty.
    step_size : int or str, default None
        Length of a partition: entries, or the memory of the needed columns ("50 MB"). None: some 100 000 entries (of
        RNTuples twice as many), cut where clusters end.
    metadata : dict, default None
        Metadata of the dataset, which is `events.metadata`.
    storage_options : dict, default None
        Options of fsspec for URLs.
    cache : str, Path or ColumnCache, default None
        Directory on a local disk where the columns that are read are kept decoded, for the next time.

    Returns
    -------
    Lazy
        The events.

    Raises
    ------
    MissingFileError, MissingTreeError, DamagedFileError
        If a file cannot be opened.

    Examples
    --------
    >>> import hepgraph as hg
    >>> events = hg.from_root("data/sample.root", schema="nanoaod")
    >>> events.Muon.pt
    <hepgraph.Lazy ## * var * float32>
    """
    _one_tree(files, tree)
    source = formats.ROOT.open(files, tree, step_size=step_size, metadata=metadata, storage_options=storage_options)
    return from_source(source, schema, optional=optional, access=Access(cache_of(cache)))


@checks_arguments()
def from_parquet(
    files: Any,
    *,
    schema: str | Path | Schema = "base",
    optional: Optional = None,
    step_size: int | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    cache: Cache = None,
) -> Lazy:
    """Lazy events of Parquet files, with one column per branch or with nested records.

    Ranges follow the row groups: small ones go together, up to `step_size`, and large ones are cut into equal parts.
    Nothing but metadata is read.

    Parameters
    ----------
    files : str, Path or list
        Path or URL, glob, directory, or a list of those.
    schema : str, Path or Schema, default "base"
        Naming of the columns: "nanoaod", "base" (as they are), or the path of a TOML file.
    optional : str, list or dict, default None
        Columns that some files may lack, by name or pattern, and what stands for them there: {"HLT_*": False}; None, as
        for names without a value, is None; "nominal", of stored variations ({"*": "nominal"}), what the file has of the
        nominal. Lists that a file lacks altogether are empty.
    step_size : int or str, default None
        Length of a partition: entries, or the memory of the needed columns ("50 MB"). None: some 100 000 entries (of
        RNTuples twice as many), cut where clusters end.
    metadata : dict, default None
        Metadata of the dataset, which is `events.metadata`.
    storage_options : dict, default None
        Options of fsspec for URLs.
    cache : str, Path or ColumnCache, default None
        Directory on a local disk where the columns that are read are kept decoded, for the next time.

    Returns
    -------
    Lazy
        The events.

    Raises
    ------
    MissingFileError, DamagedFileError
        If a file cannot be opened.

    Examples
    --------
    >>> import hepgraph as hg
    >>> events = hg.from_parquet("data/sample.parquet", schema="nanoaod")
    >>> events.MET.pt
    <hepgraph.Lazy ## * float32>
    """
    source = formats.PARQUET.open(files, step_size=step_size, metadata=metadata, storage_options=storage_options)
    return from_source(source, schema, optional=optional, access=Access(cache_of(cache)))


@checks_arguments()
def open(
    files: Any,
    tree: str | None = None,
    *,
    schema: str | Path | Schema | None = None,
    optional: Optional = None,
    step_size: int | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    cache: Cache = None,
) -> Lazy:
    """Lazy events of ROOT or Parquet files, whichever they are, by the schema that their branches tell.

    Columns may come in another order in each file. Numbers that files store in several types have the one to which
    NumPy promotes these, which a PromotionWarning tells; a column that some files lack is an error when it is used,
    unless it is `optional`.

    Parameters
    ----------
    files : str, Path, list or dict
        Path or URL, glob, "file.root:Events", directory, a list of those, or {file: tree}.
    tree : str, default None
        Name of the tree of ROOT files, if not "Events" or the only one.
    schema : str, Path or Schema, default None
        Naming of the columns: "nanoaod", "base" (as they are), the path of a TOML file, or "auto" (guessed,
        and printed). None: the one that fits the branches best, which `hg.schema_of` tells.
    optional : str, list or dict, default None
        Columns that some files may lack, by name or pattern, and what stands for them there: {"HLT_*": False}; None, as
        for names without a value, is None; "nominal", of stored variations ({"*": "nominal"}), what the file has of the
        nominal. Lists that a file lacks altogether are empty.
    step_size : int or str, default None
        Length of a partition: entries, or the memory of the needed columns ("50 MB"). None: some 100 000 entries (of
        RNTuples twice as many), cut where clusters end.
    metadata : dict, default None
        Metadata of the dataset, which is `events.metadata`.
    storage_options : dict, default None
        Options of fsspec for URLs.
    cache : str, Path or ColumnCache, default None
        Directory on a local disk where the columns that are read are kept decoded, for the next time.

    Returns
    -------
    Lazy
        The events.

    Raises
    ------
    MissingFileError, MissingTreeError, DamagedFileError
        If a file cannot be opened.

    Examples
    --------
    >>> import hepgraph as hg
    >>> "Muon" in hg.open("data/sample.parquet", optional={"HLT_*": False}).fields
    True
    """
    _one_tree(files, tree)
    source = open_source(files, tree, step_size, metadata, storage_options)
    chosen = schema or usual({**source.columns, **source.late})
    return from_source(source, chosen, optional=optional, access=Access(cache_of(cache)))


def _one_tree(files: Any, tree: str | None) -> None:
    """Raises FilesetError if a file is given with a tree of its own, and another tree beside it."""
    own = io_files.split_tree(files)[1] if isinstance(files, str) else None
    if own is not None and tree not in (None, own):
        raise FilesetError(f"{files} names the tree {own!r}, and tree={tree!r} another one: leave one of them away.")


def open_source(
    files: Any,
    tree: str | None = None,
    step_size: int | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Source:
    """The source of ROOT or Parquet files, whichever they are."""
    found = io_files.resolve(files, storage_options=storage_options)
    form = io_files.sniff(found[0][0], storage_options=storage_options)
    return form.open(files, tree, step_size, metadata, storage_options)


@checks_arguments()
def from_awkward(
    array: Any,
    npartitions: int = 1,
    *,
    schema: str | Path | Schema = "base",
    metadata: Mapping[str, Any] | None = None,
) -> Lazy:
    """Lazy events of an awkward array in memory.

    Up to 1 MiB it is copied; a larger one must not be changed in place before it is computed: that is an error then.

    Parameters
    ----------
    array : ak.Array
        Events, one for each entry.
    npartitions : int, default 1
        Number of parts of about the same length.
    schema : str, Path or Schema, default "base"
        Naming of the columns: "nanoaod", "base" (as they are), or the path of a TOML file.
    metadata : dict, default None
        Metadata of the dataset, which is `events.metadata`.

    Returns
    -------
    Lazy
        The events.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> hg.from_awkward(ak.Array([1.0, 2.0, 3.0]), npartitions=2) * 2
    <hepgraph.Lazy ## * float64>
    """
    if isinstance(array, Lazy):
        raise UnsupportedError("from_awkward needs an eager array; this one is lazy already")
    if not isinstance(array, ak.Array):
        array = ak.Array(array)
    behaviors.check(array, record_names(array.layout.form))
    return from_source(open_awkward(ak.Array(shown(array.layout)), npartitions, metadata, lost(array)), schema)


def attach(array: Any, like: Lazy) -> Lazy:
    """An eager array beside a dataset: one entry for each event, cut into the same partitions."""
    if not isinstance(array, ak.Array):
        array = ak.Array(np.asarray(array)) if not isinstance(array, list | tuple) else ak.Array(list(array))
    if like._rows.kind != "events" or like._guard:
        raise UnsupportedError(
            "An eager array can be combined with lazy events only before any are cut away, for then its entries "
            "correspond to the events. Apply the selection afterwards."
        )
    entries = like.source.entries
    if len(array) != entries:
        raise ShapeError(f"the eager array has {len(array)} entries, the dataset {entries}")
    beside = from_awkward(array)
    moved: dict[Item, Item] = {beside._rows: like._rows}
    return Lazy(replaced(beside._form, lambda item: rewrite([item], moved.get)[item]), like._rows)


HOOKS["attach"] = attach

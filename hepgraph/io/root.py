"""ROOT files: which of them have TTrees, and which RNTuples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hepgraph.io.access.files import Files, Options, edge, once, resolve
from hepgraph.io.access.handles import Known, settings_of, stamp_of
from hepgraph.io.agreement import agreed
from hepgraph.io.cache.metadata import cached, packed, unpacked
from hepgraph.io.rntuple.source import RNTupleSource, open_ntuple
from hepgraph.io.source import Column, File, Source
from hepgraph.io.trees import borrowed, file_of, in_parallel, same_kind
from hepgraph.io.ttree.source import RootSource, of_tree

_seen: Known[tuple[bool, list[Column], File]] = Known(512)  # what is in local files that have not changed


def open_root(
    files: Files,
    tree: str | None = None,
    step_size: int | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_options: Options = None,
) -> Source:
    """The dataset of these ROOT files, of TTrees or of RNTuples.

    `tree` is for the files that do not name theirs (`file.root:Events`); without it, a file's tree is `Events`, or the
    only one. Raises MissingFileError, MissingTreeError, DamagedFileError or SourceError, each naming the file.
    """
    places = [(path, own if own is not None else tree) for path, own in resolve(files, storage_options)]

    def look(place: tuple[str, str | None]) -> tuple[bool, list[Column], File]:
        path, name = place
        key, stamp = (path, name, settings_of(storage_options)), stamp_of(path)
        seen = _seen.of(key, stamp)
        if seen is None:
            ntuple, columns, file = cached(lambda: looked(path, name), path, storage_options, "columns", name)
            seen = ntuple, unpacked(columns), file
            _seen.keep(key, stamp, seen)
        return seen

    def looked(path: str, name: str | None) -> tuple[bool, tuple[Any, ...], File]:
        with borrowed(path, name, storage_options) as opened, edge(path, f"read the types of tree {opened.name!r} in"):
            if opened.is_ntuple:
                columns, file = open_ntuple(opened, path, storage_options)
                return True, packed(columns), file
            entries, edges, columns = of_tree(opened)
            return False, packed(columns), file_of(opened, path, entries, edges)

    found = in_parallel(look, places)
    once((file.path, file.tree) for _, _, file in found)
    same_kind([path for path, _ in places], [ntuple for ntuple, _, _ in found])
    columns, kept = agreed([(columns, file) for _, columns, file in found])
    kind = RNTupleSource if found[0][0] else RootSource
    return kind(columns, kept, step_size, metadata, storage_options)

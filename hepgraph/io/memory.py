"""Awkward arrays in memory as a source: for tests, for toys, and for what a user already holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import ChangedError
from hepgraph.functions.snapshot import SMALL, fingerprint
from hepgraph.io.forms import columns_of_form, data_of_layout, distinct, empty_data, fitted
from hepgraph.io.source import USUAL, Access, Data, File, Need, Partition, Source

PATH = "<memory>"


def open_awkward(
    array: Any,
    npartitions: int = 1,
    metadata: Mapping[str, Any] | None = None,
    lost: frozenset[tuple[str, str]] = frozenset(),
) -> MemorySource:
    """The array as a dataset of `npartitions` ranges; without fields, it is one column with the name "".

    >>> source = open_awkward(ak.Array([{"x": 1, "y": [2.5]}]))
    >>> [(name, column.type) for name, column in source.columns.items()]
    [('x', 'int64'), ('y', 'var * float64')]
    """
    if npartitions < 1:
        raise ValueError(f"npartitions must be at least 1, not {npartitions}")
    if isinstance(array, ak.Record):
        raise TypeError("a dataset is an array of events, not a single record; write ak.Array([record])")
    array = array if isinstance(array, ak.Array) else ak.Array(array)
    return MemorySource(ak.to_backend(array, "cpu"), metadata, npartitions, lost)


class MemorySource(Source):
    """A dataset of one array; it is pickled with its data.

    A small array is copied; of a larger one, which is not, the content is hashed, and hashed again after a run.
    """

    def __init__(
        self,
        array: ak.Array,
        metadata: Mapping[str, Any] | None,
        npartitions: int,
        lost: frozenset[tuple[str, str]],
    ) -> None:
        layout = array.layout
        columns = distinct(columns_of_form("", layout.form))
        files = [File(PATH, "", len(layout), edges=(0, len(layout)))]
        super().__init__(columns, files, metadata=metadata, npartitions=npartitions, lost=lost)
        small = layout.nbytes <= SMALL
        self._form, length, buffers = ak.to_buffers(ak.to_packed(layout, highlevel=False) if small else layout)
        content = {name: fingerprint(part) for name, part in buffers.items()}
        kept = {name: _read_only(part.copy() if small else part) for name, part in buffers.items()}
        self._array = ak.from_buffers(self._form, length, kept)  # without behaviors, which may not pickle
        self._identity = _hash(self._form, length, content) if small else ""
        self._buffers: dict[str, Any] = {} if small else dict(buffers)
        self._content = {} if small else content
        if not small:  # another array with the same content may change without this one
            self.token = " ".join(str(part.ctypes.data) for part in buffers.values())

    def unchanged(self, names: Iterable[str]) -> None:
        if not self._buffers:
            return
        for name in self._needed(list(names)):
            if fingerprint(self._buffers[name]) != self._content[name]:
                raise ChangedError(
                    f"An array of {len(self._array):,} entries, given to from_awkward or used beside lazy ones, was "
                    f"changed in place since. An array of more than 1 MiB is not copied then.\n"
                    "Make a new one instead of changing it (w = 2 * w, not w *= 2), or compute before."
                )

    def _needed(self, names: list[str]) -> list[str]:
        """The buffers of some columns; all, where they cannot be told apart by the names of columns."""
        if names and all(names) and self._form.is_record:
            form = self._form.select_columns(names)
            if {column.name for column in columns_of_form("", form)} >= set(names):
                found = form.expected_from_buffers(buffer_key="{form_key}-{attribute}")
                return [name for name in self._buffers if name in found]
        return list(self._buffers)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_buffers": {}, "_content": {}}  # elsewhere nobody changes it

    def read(self, partition: Partition, needs: Mapping[str, Need], access: Access = USUAL) -> dict[str, Data]:
        columns = self.begin(partition, needs)
        if len(partition) == 0 or not columns:
            return {column.name: empty_data(column, need) for column, need in columns}
        layout = self._array.layout[partition.start : partition.stop]
        found = data_of_layout("", layout, set(needs))
        return {column.name: fitted(column, found[column.name], need) for column, need in columns}

    def identity(self, file: File) -> str:
        """A hash of the content, computed when it is first asked for."""
        assert file in self.files
        if not self._identity:
            form, length, buffers = ak.to_buffers(ak.to_packed(self._array))
            self._identity = _hash(form, length, {name: fingerprint(part) for name, part in buffers.items()})
        return self._identity


def _hash(form: Any, length: int, content: Mapping[str, bytes]) -> str:
    made = hashlib.blake2b(f"{form.to_json()} {length}".encode(), digest_size=16)
    for name in sorted(content):
        made.update(content[name])
    return made.hexdigest()


def _read_only(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A read-only view: other readers, or the user, have the same memory."""
    view = np.asarray(values).view()
    view.flags.writeable = False
    return view

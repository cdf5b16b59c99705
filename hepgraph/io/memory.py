"""Awkward arrays in memory as a source: for tests, for toys, and for what a user already holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.io.forms import columns_of_form, data_of_layout, distinct, empty_data, fitted
from hepgraph.io.source import Data, File, Need, Partition, Source

PATH = "<memory>"


def open_awkward(array: Any, npartitions: int = 1, metadata: Mapping[str, Any] | None = None) -> MemorySource:
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
    source = MemorySource(ak.to_backend(array, "cpu"), metadata)
    source.npartitions = npartitions
    return source


class MemorySource(Source):
    """A dataset of one array; it is pickled with its data."""

    def __init__(self, array: ak.Array, metadata: Mapping[str, Any] | None = None) -> None:
        layout = array.layout
        columns = distinct(columns_of_form("", layout.form))
        super().__init__(columns, [File(PATH, "", len(layout), edges=(0, len(layout)))], metadata=metadata)
        self._array = ak.Array(layout)  # without behaviors, which may not pickle
        self._identity = ""

    def read(self, partition: Partition, needs: Mapping[str, Need]) -> dict[str, Data]:
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
            content = hashlib.blake2b(f"{form.to_json()} {length}".encode(), digest_size=16)
            for name in sorted(buffers):
                content.update(np.ascontiguousarray(buffers[name]).tobytes())
            self._identity = content.hexdigest()
        return self._identity

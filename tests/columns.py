"""Columns as awkward arrays, the way back from `hepgraph.io.forms`, to compare what was read with what was written."""

from typing import Any

import awkward as ak
import numpy as np

from hepgraph.io.forms import Array
from hepgraph.io.source import Column, Data


def to_awkward(column: Column, data: Data) -> ak.Array:
    """The data of a column as an awkward array of the column's type; raises ValueError if only counts were read.

    >>> from hepgraph.io.forms import columns_of_form, data_of_layout
    >>> array = ak.Array([[1, None], [], None])
    >>> column, = columns_of_form("x", array.layout.form)
    >>> data = data_of_layout("x", array.layout, ["x"])["x"]
    >>> to_awkward(column, data).to_list()
    [[1, None], [], None]
    """
    if data.values is None:
        raise ValueError(f"only the counts of column {column.name!r} were read")
    if column.text:
        chars = ak.contents.NumpyArray(data.values, parameters={"__array__": "char"})
        layout: Any = ak.contents.ListOffsetArray(
            ak.index.Index64(data.offsets[-1]), chars, parameters={"__array__": "string"}
        )
    else:
        layout = ak.contents.NumpyArray(data.values)
    if column.optional:
        layout = _masked(layout, data.valid)
    for depth, level in reversed(list(enumerate(column.levels))):
        offsets, optional = data.offsets[depth], column.optional_list(depth)
        valid = data.level_valid[depth] if depth < len(data.level_valid) else None
        if level.size is None:
            layout = ak.contents.ListOffsetArray(ak.index.Index64(offsets), layout)
            layout = _masked(layout, valid) if optional else layout
        elif not optional:
            layout = ak.contents.RegularArray(layout, level.size, zeros_length=len(offsets) - 1)
        else:
            there = np.ones(len(offsets) - 1, np.bool_) if valid is None else valid
            lists = ak.contents.RegularArray(layout, level.size, zeros_length=int(there.sum()))
            index = np.where(there, np.cumsum(there) - 1, -1)
            layout = ak.contents.IndexedOptionArray(ak.index.Index64(index), lists)
    return ak.Array(layout)


def _masked(layout: Any, valid: Array | None) -> Any:
    if valid is None:
        return ak.contents.UnmaskedArray.simplified(layout)
    return ak.contents.ByteMaskedArray.simplified(ak.index.Index8(valid.view(np.int8)), layout, valid_when=True)

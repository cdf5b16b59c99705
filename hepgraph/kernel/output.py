"""What a kernel is asked for, and what came of it; light, for those who may never need a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hepgraph.disk.plain import plain
from hepgraph.graph.node import Item, Node


@dataclass(frozen=True)
class Output:
    """One result of a kernel: a histogram with its fills, the parts of a reduction over the dataset, or an array.

    `items` is what an array is built of.
    """

    kind: str
    empty: Any
    fills: tuple[Any, ...] = ()
    parts: tuple[Node, ...] = ()
    items: tuple[Item, ...] = ()


@plain
@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of a histogram, with those of the flow, without the histogram: partial results that add up quickly.

    `fields` are the arrays of a storage in the order of its fields, one for plain numbers; `counts` says whether they
    are numbers of entries.
    """

    fields: tuple[np.ndarray[Any, Any], ...]
    counts: bool

    def __add__(self, other: Bins) -> Bins:
        sums = tuple(a + b for a, b in zip(self.fields, other.fields, strict=True))
        return Bins(sums, self.counts and other.counts)


@dataclass(frozen=True)
class Compiled:
    """How the results of a pass are made: by a kernel, or, for the given reasons, by the interpreter."""

    kernel: Any
    native: tuple[int, ...]
    plain: Mapping[int, str]

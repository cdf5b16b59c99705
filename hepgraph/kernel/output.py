"""What a kernel is asked for, and what came of it; light, for those who may never need a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Compiled:
    """How the results of a pass are made: by a kernel, or, for the given reasons, by the interpreter."""

    kernel: Any
    native: tuple[int, ...]
    plain: Mapping[int, str]

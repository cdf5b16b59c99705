"""Parameters of kernels: real numbers of an analysis that a kernel looks up, so that it serves the same with others.

Cross-sections differ from dataset to dataset, and nothing else does. What is planned, and the machine code, rest on the
places of such numbers, not on their values: those of factors and terms, and of weights that are the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hepgraph.graph.node import Item, Node, as_node
from hepgraph.kernel.output import Output

_ARITHMETIC = frozenset({"add", "subtract", "multiply", "divide"})


@dataclass(frozen=True)
class Parameters:
    """The numbers of a graph that are parameters, and the weights of fills; each has a place."""

    numbers: tuple[Node, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, order: Sequence[Item], outputs: Iterable[Output | str]) -> Parameters:
        """The parameters of outputs, whose graph has these items."""
        return cls(_numbers(order), _weights(outputs))

    def moved(self, new: Mapping[Item, Item], outputs: Iterable[Output | str]) -> Parameters:
        """Those at the same places of another graph, and of its outputs."""
        return Parameters(tuple(as_node(new[node]) for node in self.numbers), _weights(outputs))

    def place(self, x: Any) -> int | None:
        """The place of a literal or weight; None if it is no parameter."""
        return self._places.get(x if isinstance(x, Node) else repr(x) if type(x) is float else None)

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {x: k for k, x in enumerate([*self.numbers, *map(repr, self.weights)])}

    def values(self) -> Any:
        """The parameters, as an array."""
        return np.array([*(node.param.value for node in self.numbers), *self.weights], np.float64)


def _numbers(order: Sequence[Item]) -> tuple[Node, ...]:
    """Real numbers that stand for each element, and Python's floats that nothing but arithmetic looks at."""
    found: dict[Node, None] = {}
    barred: set[Node] = set()
    for item in order:
        if isinstance(item, Node) and item.op == "full" and item.dtype.kind == "f":
            found[item] = None
        for below in item.inputs:
            if isinstance(below, Node) and below.op == "literal" and type(below.param.value) is float:
                if isinstance(item, Node) and item.op in _ARITHMETIC:
                    found[below] = None
                else:
                    barred.add(below)
    return tuple(node for node in found if node not in barred)


def _weights(outputs: Iterable[Output | str]) -> tuple[float, ...]:
    """The different weights that are numbers; equal ones are one."""
    found: dict[str, float] = {}
    for output in outputs:
        for fill in output.fills if isinstance(output, Output) else ():
            if type(fill.weight) is float:
                found.setdefault(repr(fill.weight), fill.weight)
    return tuple(found.values())

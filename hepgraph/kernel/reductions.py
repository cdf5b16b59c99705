"""Reductions as LLVM: the value over nothing, and one more element."""

from __future__ import annotations

from typing import Any

import numpy as np

from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.node import Node
from hepgraph.kernel.tree import NotLowered
from hepgraph.kernel.types import BOOL, Emitter, constant, llvm_type


def start_value(node: Node) -> Any:
    """The value of a reduction over nothing."""
    match node.param:
        case "sum" | "any" | "count_nonzero":
            return 0
        case "prod" | "all":
            return 1
        case "min" | "max" if node.dtype.kind == "f":
            return np.inf if node.param == "min" else -np.inf
        case "min" | "max" if node.dtype.kind in "iu":
            info = np.iinfo(node.dtype)
            return info.max if node.param == "min" else info.min
        case "min" | "max":
            return node.param == "min"
    raise NotLowered(f"the reduction {node.param} is not compiled")


def stored(value: Any, dtype: np.dtype[Any]) -> str:
    """A value as it is in memory."""
    return str(int(bool(value))) if dtype == BOOL else constant(value, dtype)


def combined(e: Emitter, node: Node, old: str, x: str) -> str:
    """The value of a reduction with one more element."""
    t = llvm_type(node.dtype)
    floating = node.dtype.kind == "f"
    match node.param:
        case "sum":
            return e.emit(f"{'fadd' if floating else 'add'} {t} {old}, {x}")
        case "prod":
            return e.emit(f"{'fmul' if floating else 'mul'} {t} {old}, {x}")
        case "any":
            return e.emit(f"or i1 {old}, {x}")
        case "all":
            return e.emit(f"and i1 {old}, {x}")
        case "min" | "max":
            down = node.param == "min"
            if floating:
                better = e.emit(f"fcmp {'olt' if down else 'ogt'} {t} {x}, {old}")
                if node.space is TOTAL:  # NaN wins over the dataset, and is ignored in lists
                    better = e.emit(f"or i1 {better}, {e.emit(f'fcmp uno {t} {x}, {x}')}")
            else:
                sign = "s" if node.dtype.kind == "i" else "u"
                better = e.emit(f"icmp {sign}{'lt' if down else 'gt'} {t} {x}, {old}")
            return e.emit(f"select i1 {better}, {t} {x}, {t} {old}")
    raise NotLowered(f"the reduction {node.param} is not compiled")

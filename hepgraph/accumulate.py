"""How results of several datasets, or of several chunks, add up."""

from __future__ import annotations

import copy
import numbers
import operator
from collections.abc import Mapping, MutableMapping
from typing import Any

import awkward as ak
import boost_histogram as bh
import numpy as np

from hepgraph.errors import ProcessorError
from hepgraph.merge import merged


def accumulate(a: Any, b: Any, where: str = "") -> Any:
    """Two results as one: dicts key by key, histograms and numbers added, lists and arrays joined, sets united.

    Raises ProcessorError, naming the key, for what does not add up.

    >>> accumulate({"n": 1, "files": ["a"]}, {"n": 2, "files": ["b"], "m": 0.5})
    {'n': 3, 'files': ['a', 'b'], 'm': 0.5}
    """
    match a, b:
        case (None, _):
            return b
        case (_, None):
            return a
        case (Mapping(), Mapping()):
            out: Any = copy.copy(a) if isinstance(a, MutableMapping) else dict(a)
            for key, value in b.items():
                inside = f"{where}[{key!r}]"
                out[key] = accumulate(out[key], value, inside) if key in out else value
            return out
        case (bh.Histogram(), bh.Histogram()):
            _same_axes(a, b, where)
            return merged(a.copy(), b)
        case (bool() | np.bool_(), _) | (_, bool() | np.bool_()):
            raise _no(a, b, where)
        case (numbers.Number() | np.ndarray(), numbers.Number() | np.ndarray()):
            x, y = np.asarray(a), np.asarray(b)
            if x.shape != y.shape:
                raise _no(a, b, where)
            return x + y if x.ndim else operator.add(a, b)
        case (ak.Array(), ak.Array()):
            return ak.concatenate([a, b])
        case (list(), list()) | (set(), set()):
            return a + b if isinstance(a, list) else a | b
        case (tuple(), tuple()) if len(a) == len(b) and type(a) is type(b):
            parts = [accumulate(x, y, f"{where}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True))]
            return type(a)(*parts) if hasattr(a, "_fields") else type(a)(parts)
        case _ if type(a) is type(b) and not isinstance(a, str | bytes | tuple) and hasattr(a, "__add__"):
            return a + b
        case _:
            raise _no(a, b, where)


_WANTED = (
    "A processor returns a dict (nested as you like) of histograms, numbers, arrays, lists, sets, or lazy values of "
    "those."
)


def _no(a: Any, b: Any, where: str) -> ProcessorError:
    return ProcessorError(f"output{where} does not add up: {type(a).__name__} and {type(b).__name__}. {_WANTED}")


def _same_axes(a: Any, b: Any, where: str) -> None:
    same = a.ndim == b.ndim and all(_fit(x, y) for x, y in zip(a.axes, b.axes, strict=True))
    if not same or a.storage_type is not b.storage_type:
        raise ProcessorError(
            f"output{where} does not add up: two histograms with different axes or storages.\n  {a!r}\n  {b!r}"
        )


def _fit(x: Any, y: Any) -> bool:
    """Whether two axes are the same, or have grown from the same."""
    if x == y:
        return True
    if type(x) is not type(y) or x.traits != y.traits or not x.traits.growth or x.__dict__ != y.__dict__:
        return False
    if isinstance(x, bh.axis.Regular):
        one, two = ((axis.edges[-1] - axis.edges[0]) / len(axis) for axis in (x, y))
        shift = (x.edges[0] - y.edges[0]) / one
        return bool(np.isclose(one, two) and np.isclose(shift, round(shift), atol=1e-6))
    return not isinstance(x, bh.axis.Variable)


def check(output: Any, where: str = "") -> None:
    """Raises ProcessorError if there is something in an output that can never add up."""
    match output:
        case None if not where:
            raise ProcessorError("process() returned None; return a dict of histograms and other results.")
        case None:
            raise ProcessorError(
                f"output{where} is None; return a dict of histograms and other results, none of them None."
            )
        case Mapping():
            for key, value in output.items():
                check(value, f"{where}[{key!r}]")
        case str() | bytes() | bool() | np.bool_():
            raise ProcessorError(f"output{where} does not add up: a {type(output).__name__}. {_WANTED}")
        case list() | tuple() | set() | numbers.Number() | np.ndarray() | np.generic() | ak.Array() | bh.Histogram():
            pass
        case _ if hasattr(output, "__add__"):
            pass
        case _:
            raise ProcessorError(f"output{where} does not add up: {type(output).__name__} has no +. {_WANTED}")

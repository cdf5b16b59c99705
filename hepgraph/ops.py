"""The table of scalar operations: one row an operation, all its meanings side by side.

A row's `meaning` is what NumPy does with flat arrays; it is also what decides the dtype of the result, by being asked
for it on empty arrays. Every NumPy ufunc has a row, made when it is first met.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hepgraph.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Op:
    """A scalar operation: its name, what NumPy calls it, and how it is written."""

    name: str
    meaning: Callable[..., Any]
    symbol: str = ""


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return np.where(condition, yes, no)


def _astype(x: Any, to: Any) -> Any:
    return np.asarray(x).astype(to)


def _nan_to_num(x: Any, nan: float, posinf: float | None, neginf: float | None) -> Any:
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


def _isclose(a: Any, b: Any, rtol: float, atol: float, equal_nan: bool) -> Any:
    return np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)


def _round(x: Any, decimals: int) -> Any:
    return np.round(x, decimals)


def _foreign(*args: Any) -> Any:
    *arrays, ufunc = args
    return ufunc(*arrays)


def _part(ufunc: np.ufunc, index: int) -> Callable[..., Any]:
    return lambda *args: ufunc(*args)[index]


_SYMBOLS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "floor_divide": "//", "remainder": "%", "power": "**",
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "left_shift": "<<", "right_shift": ">>",
}  # fmt: skip

OPS: dict[str, Op] = {
    "where": Op("where", _where),
    "astype": Op("astype", _astype),
    "nan_to_num": Op("nan_to_num", _nan_to_num),
    "isclose": Op("isclose", _isclose),
    "round": Op("round", _round),
    "real": Op("real", np.real),
    "imag": Op("imag", np.imag),
    "angle": Op("angle", np.angle),
    "ufunc": Op("ufunc", _foreign),
}
for _name in dir(np):
    _ufunc = getattr(np, _name)
    if isinstance(_ufunc, np.ufunc) and _ufunc.signature is None:
        if _ufunc.nout == 1:
            OPS[_ufunc.__name__] = Op(_ufunc.__name__, _ufunc, _SYMBOLS.get(_ufunc.__name__, ""))
        else:
            for _i in range(_ufunc.nout):
                OPS[f"{_ufunc.__name__}.{_i}"] = Op(f"{_ufunc.__name__}.{_i}", _part(_ufunc, _i))


def names_of(ufunc: np.ufunc) -> tuple[str, ...]:
    """The operations that a ufunc stands for, one for each of its outputs.

    >>> names_of(np.sqrt), names_of(np.modf)
    (('sqrt',), ('modf.0', 'modf.1'))
    """
    if ufunc.signature is not None:
        raise UnsupportedError(f"numpy.{ufunc.__name__} works on whole axes; hepgraph records element-wise ufuncs")
    name = ufunc.__name__
    return (name,) if ufunc.nout == 1 else tuple(f"{name}.{i}" for i in range(ufunc.nout))


def is_numpys(ufunc: np.ufunc) -> bool:
    """Whether the table has a row for this ufunc; others (SciPy's, numba's) go by the row `ufunc`, as its parameter."""
    return getattr(np, ufunc.__name__, None) is ufunc


@lru_cache(maxsize=4096)
def result_dtype(name: str, kinds: tuple[Any, ...], param: tuple[Any, ...]) -> np.dtype[Any]:
    """The dtype that NumPy gives, asked on empty arrays; raises NumPy's own TypeError where there is no such loop.

    `kinds` holds a dtype for each array argument and a literal (with its `value`) for each scalar one.
    """
    args = [np.empty(0, kind) if isinstance(kind, np.dtype) else kind.value for kind in kinds]
    with np.errstate(all="ignore"):
        return np.asarray(OPS[name].meaning(*args, *param)).dtype

"""The table of scalar operations: one row an operation, with its meaning, its symbol and its cost.

A row's `meaning` is what NumPy does with flat arrays; it is also what decides the dtype of the result, by being asked
for it on empty arrays. Every NumPy ufunc has a row. `kernel/rules.py` and `kernel/scalar.py` have an operation's
LLVM by its name, as text: no compiler is needed to record a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np

from hepgraph.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Op:
    """A scalar operation: its name, its function of NumPy, how it is written, and its cost beside an addition."""

    name: str
    meaning: Callable[..., Any]
    symbol: str = ""
    cost: int = 1


def _nan_to_num(x: Any, *numbers: Any) -> Any:
    nan, posinf, neginf = (None if number is None else float(number.value) for number in numbers)
    assert nan is not None
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


def _clip(x: Any, *rest: Any) -> Any:
    *bounds, names = rest
    return np.clip(x, **dict(zip(names, bounds, strict=True))) if names else np.positive(x)


class Table:
    """An array of numbers (or strings) among the parameters of a graph: a copy of its own, the same if its content is.

    >>> Table([1, 2]) == Table([1, 2]), Table([1, 2]) == Table([1.0, 2.0])
    (True, False)
    """

    __slots__ = ("_key", "values")

    def __init__(self, values: Any) -> None:
        self.values = np.array(values)
        if self.values.dtype.kind == "U":
            self.values = self.values.astype(np.dtypes.StringDType())
        self.values.flags.writeable = False
        plain = self.values.dtype.kind in "biufc"
        content = self.values.tobytes() if plain else repr(self.values.tolist()).encode()
        self._key = (str(self.values.dtype), self.values.shape, sha256(content).hexdigest())

    def content(self) -> tuple[Any, ...]:
        """Its content, the same in another process."""
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> Any:
        return Table, (self.values,)

    def __repr__(self) -> str:
        dtype, shape, content = self._key
        return f"<Table {dtype} {shape} {content[:8]}>"


def _interp(x: Any, xp: Table, fp: Table, *ends: Any) -> Any:
    left, right, period = (None if end is None else end.value for end in ends)
    return np.interp(x, xp.values, fp.values, left, right, period)


MOMENTS = np.dtype([("n", np.float64), ("mean", np.float64), ("m2", np.float64)])


def add_moments(a: Any, b: Any) -> Any:
    """The moments (number, mean, sum of squared deviations) of two sets of numbers together."""
    if not b["n"].any():
        return a
    if not a["n"].any():
        return b
    out = np.empty_like(a)
    with np.errstate(all="ignore"):
        n, away = a["n"] + b["n"], b["mean"] - a["mean"]
        out["n"] = n
        out["mean"] = a["mean"] + away * (b["n"] / n)
        out["m2"] = a["m2"] + b["m2"] + away * away * (a["n"] * b["n"] / n)
    return out


def _part(ufunc: np.ufunc, index: int) -> Callable[..., Any]:
    return lambda *args: ufunc(*args)[index]


_SYMBOLS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "floor_divide": "//", "remainder": "%", "power": "**",
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "left_shift": "<<", "right_shift": ">>",
}  # fmt: skip

_DEAR = 20
_TRANSCENDENTAL = frozenset({
    "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "arctan2", "arcsinh", "arccosh",
    "arctanh", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "power", "hypot", "cbrt", "float_power",
    "remainder", "fmod",
})  # fmt: skip

OPS: dict[str, Op] = {
    "where": Op("where", np.where),
    "astype": Op("astype", lambda x, to: np.asarray(x).astype(to)),
    "nan_to_num": Op("nan_to_num", _nan_to_num),
    "isclose": Op("isclose", lambda a, b, rtol, atol, nan: np.isclose(a, b, rtol.value, atol.value, nan)),
    "round": Op("round", np.round),
    "clip": Op("clip", _clip),
    "digitize": Op("digitize", lambda x, bins, right: np.digitize(x, bins.values, right)),
    "searchsorted": Op("searchsorted", lambda x, table, side: np.searchsorted(table.values, x, side)),
    "isin": Op("isin", lambda x, elements, invert: np.isin(x, elements.values, invert=invert)),
    "interp": Op("interp", _interp),
    "m2": Op("m2", lambda moments: moments["m2"]),
    "real": Op("real", np.real),
    "imag": Op("imag", np.imag),
    "angle": Op("angle", np.angle),
    "ufunc": Op("ufunc", lambda *args: args[-1](*args[:-1]), cost=_DEAR),
}
OUTPUTS: dict[np.ufunc, tuple[str, ...]] = {}  # of NumPy's element-wise ufuncs: the operations that each stands for
for _name, _ufunc in list(vars(np).items()):
    if isinstance(_ufunc, np.ufunc) and _ufunc.signature is None:
        if _ufunc.nout == 1:
            _name = _ufunc.__name__
            OPS[_name] = Op(_name, _ufunc, _SYMBOLS.get(_name, ""), _DEAR if _name in _TRANSCENDENTAL else 1)
            OUTPUTS[_ufunc] = (_name,)
        else:
            OUTPUTS[_ufunc] = tuple(f"{_ufunc.__name__}.{_i}" for _i in range(_ufunc.nout))
            for _i, _name in enumerate(OUTPUTS[_ufunc]):
                OPS[_name] = Op(_name, _part(_ufunc, _i))


def names_of(ufunc: np.ufunc) -> tuple[str, ...] | None:
    """The operations that a ufunc stands for, one for each of its outputs; None if it is not one of NumPy's.

    Others (SciPy's, numba's) go by the row `ufunc`, as its parameter.

    >>> names_of(np.sqrt), names_of(np.modf)
    (('sqrt',), ('modf.0', 'modf.1'))
    """
    found = OUTPUTS.get(ufunc)
    if found is None and getattr(np, ufunc.__name__, None) is ufunc:
        raise UnsupportedError(f"numpy.{ufunc.__name__} works on whole axes; hepgraph records element-wise ufuncs")
    return found


@lru_cache(maxsize=4096)
def result_dtype(name: str, kinds: tuple[Any, ...], param: tuple[Any, ...]) -> np.dtype[Any]:
    """The dtype that NumPy gives, asked on empty arrays; raises NumPy's own TypeError where there is no such loop.

    `kinds` holds a dtype for each array argument and a literal (with its `value`) for each scalar one.
    """
    args = [np.empty(0, kind) if isinstance(kind, np.dtype) else kind.value for kind in kinds]
    with np.errstate(all="ignore"):
        return np.asarray(OPS[name].meaning(*args, *param)).dtype

"""A scalar operation as LLVM: NumPy's loop for the types that come, and the rule for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hepgraph.kernel.rules import RULES
from hepgraph.kernel.tree import NotLowered
from hepgraph.kernel.types import BOOL, DType, Emitter, cast, constant, llvm_type


def operation(e: Emitter, op: str, args: Sequence[tuple[str, Any]], param: tuple[Any, ...], out: DType) -> str:
    """The value of an operation: `args` are names with dtypes, or literals with `value`; raises NotLowered."""
    if op in TYPED_RULES:
        return TYPED_RULES[op](e, args, param, out)
    rule = RULES.get(op)
    ufunc = getattr(np, op, None)
    if rule is None or not isinstance(ufunc, np.ufunc):
        raise NotLowered(f"{op} is not compiled")
    kinds = tuple(_weak(arg) for arg in args)
    loop = ufunc.resolve_dtypes((*kinds, *([None] * ufunc.nout)))
    if len({kind.char for kind in loop[: ufunc.nin]}) > 1:
        return _mixed(e, op, args, loop)
    for arg in args:
        if (
            op in _COMPARISONS
            and isinstance(arg[0], _Value)
            and loop[0].kind in "iu"
            and not _fits(arg[0].value, loop[0])
        ):
            nothing = np.zeros((), loop[0])  # beyond the type: all values compare with it in the same way
            both = [x[0].value if isinstance(x[0], _Value) else nothing for x in args]
            return constant(bool(ufunc(*both)), BOOL)
    if op == "power" and isinstance(args[1][0], _Value) and args[1][0].value == 2 and loop[0].kind == "f":
        base = _as(e, args[0], loop[0])
        return e.emit(f"fmul {llvm_type(loop[0])} {base}, {base}")
    if op == "power" and isinstance(args[1][0], _Value) and loop[0].kind in "iu" and 0 <= args[1][0].value <= 64:
        return cast(e, _whole_power(e, _as(e, args[0], loop[0]), int(args[1][0].value), loop[0]), loop[-1], out)
    values = [_as(e, arg, kind) for arg, kind in zip(args, loop, strict=False)]
    result = rule(e, values, loop[0])
    return cast(e, result, loop[-1], out)


Arguments = Sequence[tuple[Any, Any]]


def _converted(e: Emitter, args: Arguments, param: tuple[Any, ...], _: DType) -> str:
    name, dtype = args[0]
    return cast(e, name, dtype, np.dtype(param[0]))


def _chosen(e: Emitter, args: Arguments, _: tuple[Any, ...], out: DType) -> str:
    (test, kind), *rest = args
    yes, no = (_as(e, arg, out) for arg in rest)
    return e.emit(f"select i1 {cast(e, test, kind, BOOL)}, {llvm_type(out)} {yes}, {llvm_type(out)} {no}")


def _rounded(e: Emitter, args: Arguments, param: tuple[Any, ...], out: DType) -> str:
    if param != (0,) or out.kind not in "fiu":
        raise NotLowered("round is not compiled")
    value = _as(e, args[0], out)
    return RULES["rint"](e, [value], out) if out.kind == "f" else value


def _clipped(e: Emitter, args: Arguments, param: tuple[Any, ...], out: DType) -> str:
    """A number within bounds; NumPy leaves a Python integer out that is beyond the type of the number."""
    (names,) = param
    value = _as(e, args[0], out)
    own = _weak(args[0])
    for arg, name in zip(args[1:], names, strict=True):
        bound: Any = arg[0]
        if isinstance(own, np.dtype) and own.kind in "iu" and isinstance(bound, _Value) and type(bound.value) is int:
            limit = np.iinfo(own)
            if bound.value <= limit.min if name == "min" else bound.value >= limit.max:
                continue
        value = RULES["maximum" if name == "min" else "minimum"](e, [value, _as(e, arg, out)], out)
    return value


def _without_nan(e: Emitter, args: Arguments, param: tuple[Any, ...], out: DType) -> str:
    """A number, or what stands for it where it is NaN or infinite."""
    if out.kind not in "fiu":
        raise NotLowered("nan_to_num is not compiled")
    x = _as(e, args[0], out)
    if out.kind != "f":
        return x
    t, limit = llvm_type(out), np.finfo(out)
    nan, high, low = (None if number is None else number.value for number in param)
    value = e.emit(f"select i1 {RULES['isnan'](e, [x], out)}, {t} {constant(nan, out)}, {t} {x}")
    for end, number in ((np.inf, limit.max if high is None else high), (-np.inf, limit.min if low is None else low)):
        here = e.emit(f"fcmp oeq {t} {x}, {constant(end, out)}")
        value = e.emit(f"select i1 {here}, {t} {constant(number, out)}, {t} {value}")
    return value


# by the type of the result; the others, in `rules.py`, by that of NumPy's loop
TYPED_RULES: dict[str, Callable[[Emitter, Arguments, tuple[Any, ...], DType], str]] = {
    "astype": _converted, "where": _chosen, "round": _rounded, "clip": _clipped, "nan_to_num": _without_nan,
}  # fmt: skip


def _whole_power(e: Emitter, x: str, n: int, dtype: DType) -> str:
    """A whole number times itself; it wraps around as NumPy's does, in whatever order the factors come."""
    t = llvm_type(dtype)
    result = "1" if n % 2 == 0 else x
    while n := n // 2:
        x = e.emit(f"mul {t} {x}, {x}")
        if n % 2:
            result = x if result == "1" else e.emit(f"mul {t} {result}, {x}")
    return result


def _mixed(e: Emitter, op: str, args: Sequence[tuple[str, Any]], loop: Sequence[DType]) -> str:
    """A comparison of int64 with uint64, which NumPy makes without rounding."""
    signed = [kind.kind == "i" for kind in loop[:2]]
    if op not in _COMPARISONS or sum(signed) != 1 or any(kind.itemsize != 8 for kind in loop[:2]):
        raise NotLowered(f"{op} of mixed types {', '.join(map(str, loop))} is not compiled")
    a, b = (_as(e, arg, kind) for arg, kind in zip(args, loop, strict=False))
    below = e.emit(f"icmp slt i64 {a if signed[0] else b}, 0")  # the signed one is less than any unsigned one
    if signed[0]:
        outcome = op in ("less", "less_equal", "not_equal")
    else:
        outcome = op in ("greater", "greater_equal", "not_equal")
    same = RULES[op](e, [a, b], np.dtype(np.uint64))
    return e.emit(f"select i1 {below}, i1 {'true' if outcome else 'false'}, i1 {same}")


_COMPARISONS = frozenset({"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"})


def _fits(value: Any, dtype: DType) -> bool:
    info = np.iinfo(dtype)
    return bool(info.min <= value <= info.max)


class _Value:
    """A literal among arguments; a parameter is known by its name, as a double."""

    def __init__(self, value: Any, name: str | None) -> None:
        self.value, self.name = value, name


def literal(value: Any, name: str | None = None) -> tuple[Any, Any]:
    """A literal as an argument of `operation`."""
    return _Value(value, name), None


def number(name: Any, dtype: Any) -> tuple[str, DType]:
    """An argument of an operation with a type of its own, which a literal has, too."""
    if isinstance(name, _Value):
        dtype = np.asarray(name.value).dtype
        name = constant(name.value, dtype)
    return name, dtype


def _weak(arg: tuple[Any, Any]) -> Any:
    name, dtype = arg
    if not isinstance(name, _Value):
        return dtype
    if isinstance(name.value, bool):
        return np.dtype(bool)
    if isinstance(name.value, int | float | complex) and not isinstance(name.value, np.generic):
        return type(name.value)
    return np.asarray(name.value).dtype


def _as(e: Emitter, arg: tuple[Any, Any], dtype: DType) -> str:
    name, own = arg
    if not isinstance(name, _Value):
        return cast(e, name, own, dtype)
    if name.name is None:
        return constant(name.value, dtype)
    return cast(e, name.name, np.dtype(np.float64), dtype)

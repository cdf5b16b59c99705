"""LLVM rules for scalar operations: one for each row of the table that has one.

Every rule gives NumPy's result to the bit, but for transcendental functions, which are those of the C library (2 ulp).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hepgraph.kernel.tree import NotLowered
from hepgraph.kernel.types import BOOL, DType, Emitter, cast, constant, llvm_type

Rule = Callable[[Emitter, Sequence[str], DType], str]


def _infix(floating: str, signed: str, unsigned: str | None = None) -> Rule:
    def rule(e: Emitter, args: Sequence[str], dtype: DType) -> str:
        op = {"f": floating, "i": signed, "u": unsigned or signed}.get(dtype.kind, "")
        if not op:
            raise NotLowered(f"this operation on {dtype} is not compiled")
        return e.emit(f"{op} {llvm_type(dtype)} {args[0]}, {args[1]}")

    return rule


def _compare(floating: str, signed: str, unsigned: str) -> Rule:
    def rule(e: Emitter, args: Sequence[str], dtype: DType) -> str:
        if dtype.kind == "f":
            return e.emit(f"fcmp {floating} {llvm_type(dtype)} {args[0]}, {args[1]}")
        op = signed if dtype.kind == "i" else unsigned
        return e.emit(f"icmp {op} {llvm_type(dtype)} {args[0]}, {args[1]}")

    return rule


def _intrinsic(name: str, least: str = "f") -> Rule:
    def rule(e: Emitter, args: Sequence[str], dtype: DType) -> str:
        if dtype.kind not in least:
            raise NotLowered(f"{name} of {dtype} is not compiled")
        t = llvm_type(dtype)
        full = f"llvm.{name}.f{8 * dtype.itemsize}"
        e.declare(f"declare {t} @{full}({', '.join([t] * len(args))})")
        return e.emit(f"call {t} @{full}({', '.join(f'{t} {a}' for a in args)})")

    return rule


def _library(name: str) -> Rule:
    """A function of the C library, without side effects."""

    def rule(e: Emitter, args: Sequence[str], dtype: DType) -> str:
        if dtype.kind != "f":
            raise NotLowered(f"{name} of {dtype} is not compiled")
        t = llvm_type(dtype)
        full = name + ("f" if dtype.itemsize == 4 else "")
        e.declare(f"declare {t} @{full}({', '.join([t] * len(args))}) nounwind willreturn memory(none)")
        return e.emit(f"call {t} @{full}({', '.join(f'{t} {a}' for a in args)})")

    return rule


def _both(e: Emitter, op: str, a: str, b: str, t: str) -> str:
    return e.emit(f"{op} {t} {a}, {b}")


def _extreme(compare: str, signed: str, unsigned: str, propagate: bool) -> Rule:
    """NumPy's maximum and minimum (NaN wins) or fmax and fmin (NaN loses)."""

    def rule(e: Emitter, args: Sequence[str], dtype: DType) -> str:
        a, b = args
        t = llvm_type(dtype)
        if dtype.kind != "f":
            op = signed if dtype.kind == "i" else unsigned
            first = e.emit(f"icmp {op} {t} {a}, {b}")
            return e.emit(f"select i1 {first}, {t} {a}, {t} {b}")
        better = e.emit(f"fcmp {compare} {t} {a}, {b}")
        odd = e.emit(f"fcmp uno {t} {a if propagate else b}, 0.0")
        first = e.emit(f"or i1 {better}, {odd}")
        return e.emit(f"select i1 {first}, {t} {a}, {t} {b}")

    return rule


def _absolute(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    if dtype.kind == "f":
        return _intrinsic("fabs")(e, args, dtype)
    if dtype.kind != "i":
        return args[0]
    t = llvm_type(dtype)
    minus = e.emit(f"sub {t} 0, {args[0]}")
    below = e.emit(f"icmp slt {t} {args[0]}, 0")
    return e.emit(f"select i1 {below}, {t} {minus}, {t} {args[0]}")


def _negative(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    t = llvm_type(dtype)
    return e.emit(f"fneg {t} {args[0]}" if dtype.kind == "f" else f"sub {t} 0, {args[0]}")


# fmod, without the call where nothing is to be done, or one subtraction, which is exact (Sterbenz)
_REST = """declare TYPE @llvm.fabs.fSIZE(TYPE)
declare TYPE @llvm.copysign.fSIZE(TYPE, TYPE)
define internal TYPE @restSIZE(TYPE %a, TYPE %b) alwaysinline {
  %x = call TYPE @llvm.fabs.fSIZE(TYPE %a)
  %y = call TYPE @llvm.fabs.fSIZE(TYPE %b)
  %small = fcmp olt TYPE %x, %y
  br i1 %small, label %same, label %large
same:
  ret TYPE %a
large:
  %z = fadd TYPE %y, %y
  %near = fcmp olt TYPE %x, %z
  br i1 %near, label %once, label %other
once:
  %d = fsub TYPE %x, %y
  %s = call TYPE @llvm.copysign.fSIZE(TYPE %d, TYPE %a)
  ret TYPE %s
other:
  %r = frem TYPE %a, %b
  ret TYPE %r
}"""


def _rest(e: Emitter, a: str, b: str, dtype: DType) -> str:
    """C's fmod."""
    t = llvm_type(dtype)
    e.declare(_REST.replace("TYPE", t).replace("SIZE", str(8 * dtype.itemsize)))
    return e.emit(f"call {t} @rest{8 * dtype.itemsize}({t} {a}, {t} {b})")


def _other_sign(e: Emitter, rest: str, b: str, dtype: DType) -> str:
    """Whether C's remainder is not zero and of another sign than the divisor: Python's is then one divisor further."""
    t = llvm_type(dtype)
    if dtype.kind == "f":
        some = e.emit(f"fcmp une {t} {rest}, 0.0")
        differ = e.emit(f"xor i1 {e.emit(f'fcmp olt {t} {b}, 0.0')}, {e.emit(f'fcmp olt {t} {rest}, 0.0')}")
    else:
        some = e.emit(f"icmp ne {t} {rest}, 0")
        differ = e.emit(f"icmp slt {t} {e.emit(f'xor {t} {rest}, {b}')}, 0")
    return e.emit(f"and i1 {some}, {differ}")


def _remainder(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    """Python's %: the sign is that of the divisor."""
    a, b = args
    t = llvm_type(dtype)
    if dtype.kind == "f":
        mod = _rest(e, a, b, dtype)
        moved = e.emit(f"fadd {t} {mod}, {b}")
        fixed = e.emit(f"select i1 {_other_sign(e, mod, b, dtype)}, {t} {moved}, {t} {mod}")
        zero = _intrinsic("copysign")(e, ["0.0", b], dtype)
        nothing = e.emit(f"fcmp oeq {t} {mod}, 0.0")
        whole = e.emit(f"select i1 {nothing}, {t} {zero}, {t} {fixed}")
        by_zero = e.emit(f"fcmp oeq {t} {b}, 0.0")
        return e.emit(f"select i1 {by_zero}, {t} {mod}, {t} {whole}")
    if b.isdecimal() and int(b):
        return _remainder_of(e, a, int(b), dtype)
    safe, bad = _safe_divisor(e, a, b, dtype)
    if dtype.kind == "u":
        mod = e.emit(f"urem {t} {a}, {safe}")
        return e.emit(f"select i1 {bad}, {t} 0, {t} {mod}")
    mod = e.emit(f"srem {t} {a}, {safe}")
    moved = e.emit(f"add {t} {mod}, {b}")
    result = e.emit(f"select i1 {_other_sign(e, mod, b, dtype)}, {t} {moved}, {t} {mod}")
    return e.emit(f"select i1 {bad}, {t} 0, {t} {result}")


def _remainder_of(e: Emitter, a: str, b: int, dtype: DType) -> str:
    """The same by a positive number that is known."""
    t = llvm_type(dtype)
    if b & (b - 1) == 0:
        return e.emit(f"and {t} {a}, {b - 1}")
    if dtype.kind == "u":
        return e.emit(f"urem {t} {a}, {b}")
    mod = e.emit(f"srem {t} {a}, {b}")
    moved = e.emit(f"add {t} {mod}, {b}")
    return e.emit(f"select i1 {e.emit(f'icmp slt {t} {mod}, 0')}, {t} {moved}, {t} {mod}")


def _floor_divide(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    a, b = args
    t = llvm_type(dtype)
    if dtype.kind == "f":
        return _floor_divide_floats(e, a, b, dtype)
    safe, bad = _safe_divisor(e, a, b, dtype)
    if dtype.kind == "u":
        quotient = e.emit(f"udiv {t} {a}, {safe}")
        return e.emit(f"select i1 {bad}, {t} 0, {t} {quotient}")
    quotient = e.emit(f"sdiv {t} {a}, {safe}")
    rest = e.emit(f"srem {t} {a}, {safe}")
    down = e.emit(f"sub {t} {quotient}, 1")
    floored = e.emit(f"select i1 {_other_sign(e, rest, b, dtype)}, {t} {down}, {t} {quotient}")
    zero = e.emit(f"icmp eq {t} {b}, 0")
    wrapped = e.emit(f"select i1 {bad}, {t} {a}, {t} {floored}")  # the lowest number by -1 stays
    return e.emit(f"select i1 {zero}, {t} 0, {t} {wrapped}")


def _floor_divide_floats(e: Emitter, a: str, b: str, dtype: DType) -> str:
    """As NumPy: out of the exact remainder, so that a quotient that was rounded up to a whole number is not kept."""
    t = llvm_type(dtype)
    mod = _rest(e, a, b, dtype)
    plain = e.emit(f"fdiv {t} {a}, {b}")
    div = e.emit(f"fdiv {t} {e.emit(f'fsub {t} {a}, {mod}')}, {b}")
    less = e.emit(f"fsub {t} {div}, 1.0")
    div = e.emit(f"select i1 {_other_sign(e, mod, b, dtype)}, {t} {less}, {t} {div}")
    down = _intrinsic("floor")(e, [div], dtype)
    over = e.emit(f"fcmp ogt {t} {e.emit(f'fsub {t} {div}, {down}')}, {constant(0.5, dtype)}")
    more = e.emit(f"fadd {t} {down}, 1.0")
    whole = e.emit(f"select i1 {over}, {t} {more}, {t} {down}")
    nothing = e.emit(f"fcmp oeq {t} {div}, 0.0")
    whole = e.emit(f"select i1 {nothing}, {t} {_intrinsic('copysign')(e, ['0.0', plain], dtype)}, {t} {whole}")
    return e.emit(f"select i1 {e.emit(f'fcmp oeq {t} {b}, 0.0')}, {t} {plain}, {t} {whole}")


def _safe_divisor(e: Emitter, a: str, b: str, dtype: DType) -> tuple[str, str]:
    """A divisor that cannot trap, and whether it replaced a zero (or a -1 below the lowest number)."""
    t = llvm_type(dtype)
    bad = e.emit(f"icmp eq {t} {b}, 0")
    if dtype.kind == "i":
        lowest = e.emit(f"icmp eq {t} {a}, {-(2 ** (8 * dtype.itemsize - 1))}")
        minus = e.emit(f"icmp eq {t} {b}, -1")
        bad = e.emit(f"or i1 {bad}, {e.emit(f'and i1 {lowest}, {minus}')}")
    return e.emit(f"select i1 {bad}, {t} 1, {t} {b}"), bad


def _hypot(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    """The length of a vector; of float32, in float64 and rounded once, which is what the C library does."""
    if dtype != np.float32:
        return _library("hypot")(e, args, dtype)
    wide = np.dtype(np.float64)
    squares = [_infix("fmul", "")(e, [x, x], wide) for x in (cast(e, arg, dtype, wide) for arg in args)]
    length = _intrinsic("sqrt")(e, [_infix("fadd", "")(e, squares, wide)], wide)
    infinite = e.emit(f"or i1 {_isinf(e, args[:1], dtype)}, {_isinf(e, args[1:], dtype)}")  # whatever the other is
    return e.emit(f"select i1 {infinite}, float 0x7FF0000000000000, float {cast(e, length, wide, dtype)}")


def _isnan(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    return e.emit(f"fcmp uno {llvm_type(dtype)} {args[0]}, 0.0") if dtype.kind == "f" else "false"


def _isinf(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    if dtype.kind != "f":
        return "false"
    size = _intrinsic("fabs")(e, args, dtype)
    return e.emit(f"fcmp oeq {llvm_type(dtype)} {size}, 0x7FF0000000000000")


def _isfinite(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    if dtype.kind != "f":
        return "true"
    size = _intrinsic("fabs")(e, args, dtype)
    return e.emit(f"fcmp olt {llvm_type(dtype)} {size}, 0x7FF0000000000000")


def _square(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    return RULES["multiply"](e, [args[0], args[0]], dtype)


def _logical(op: str) -> Rule:
    def rule(e: Emitter, args: Sequence[str], dtype: DType) -> str:
        a, b = (cast(e, x, dtype, BOOL) for x in args)
        return e.emit(f"{op} i1 {a}, {b}")

    return rule


def _logical_not(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    return e.emit(f"xor i1 {cast(e, args[0], dtype, BOOL)}, true")


def _bitwise(op: str) -> Rule:
    def rule(e: Emitter, args: Sequence[str], dtype: DType) -> str:
        return e.emit(f"{op} {llvm_type(dtype)} {args[0]}, {args[1]}")

    return rule


def _add(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    return e.emit(f"or i1 {args[0]}, {args[1]}") if dtype == BOOL else _infix("fadd", "add")(e, args, dtype)


def _multiply(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    return e.emit(f"and i1 {args[0]}, {args[1]}") if dtype == BOOL else _infix("fmul", "mul")(e, args, dtype)


def _divide(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    return _infix("fdiv", "")(e, args, dtype)


def _not(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    return e.emit(f"xor {llvm_type(dtype)} {args[0]}, {'true' if dtype == BOOL else '-1'}")


def _whole(name: str) -> Rule:
    """Rounding, which leaves whole numbers as they are."""

    def rule(e: Emitter, args: Sequence[str], dtype: DType) -> str:
        return _intrinsic(name)(e, args, dtype) if dtype.kind == "f" else args[0]

    return rule


def _sign(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    t = llvm_type(dtype)
    (x,) = args
    if dtype.kind == "f":
        above, below = e.emit(f"fcmp ogt {t} {x}, 0.0"), e.emit(f"fcmp olt {t} {x}, 0.0")
        neither = e.emit(f"fcmp oeq {t} {x}, 0.0")
        rest = e.emit(f"select i1 {neither}, {t} 0.0, {t} {x}")  # NaN stays
        least = e.emit(f"select i1 {below}, {t} -1.0, {t} {rest}")
        return e.emit(f"select i1 {above}, {t} 1.0, {t} {least}")
    if dtype.kind not in "iu":
        raise NotLowered(f"sign of {dtype} is not compiled")
    some = e.emit(f"icmp ne {t} {x}, 0")
    one = e.emit(f"zext i1 {some} to {t}")
    if dtype.kind == "u":
        return one
    below = e.emit(f"icmp slt {t} {x}, 0")
    return e.emit(f"select i1 {below}, {t} -1, {t} {one}")


def _same(e: Emitter, args: Sequence[str], dtype: DType) -> str:
    return args[0]


_INVERTED = ("sin", "cos", "tan", "sinh", "cosh", "tanh")
_PLAIN = (*_INVERTED, "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "cbrt")

RULES: dict[str, Rule] = {
    "add": _add,
    "subtract": _infix("fsub", "sub"),
    "multiply": _multiply,
    "divide": _divide,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "negative": _negative,
    "positive": _same,
    "absolute": _absolute,
    "fabs": _absolute,
    "less": _compare("olt", "slt", "ult"),
    "less_equal": _compare("ole", "sle", "ule"),
    "greater": _compare("ogt", "sgt", "ugt"),
    "greater_equal": _compare("oge", "sge", "uge"),
    "equal": _compare("oeq", "eq", "eq"),
    "not_equal": _compare("une", "ne", "ne"),
    "logical_and": _logical("and"),
    "logical_or": _logical("or"),
    "logical_xor": _logical("xor"),
    "logical_not": _logical_not,
    "bitwise_and": _bitwise("and"),
    "bitwise_or": _bitwise("or"),
    "bitwise_xor": _bitwise("xor"),
    "invert": _not,
    "maximum": _extreme("oge", "sge", "uge", True),
    "minimum": _extreme("ole", "sle", "ule", True),
    "fmax": _extreme("oge", "sge", "uge", False),
    "fmin": _extreme("ole", "sle", "ule", False),
    "square": _square,
    "sqrt": _intrinsic("sqrt"),
    "floor": _whole("floor"),
    "ceil": _whole("ceil"),
    "trunc": _whole("trunc"),
    "sign": _sign,
    "rint": _intrinsic("rint"),
    "copysign": _intrinsic("copysign"),
    "isnan": _isnan,
    "isinf": _isinf,
    "isfinite": _isfinite,
    "hypot": _hypot,
    "arctan2": _library("atan2"),
    "power": _library("pow"),
    **{name: _library(name) for name in _PLAIN},
    **{f"arc{name}": _library(f"a{name}") for name in _INVERTED},
}  # fmt: skip

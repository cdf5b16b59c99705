"""LLVM rules for scalar operations: types, casts, and one rule for each row of the table that has one.

Every rule gives NumPy's result to the bit, but for transcendental functions, which are those of the C library (2 ulp).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from hepgraph.kernel.tree import NotLowered

DType = np.dtype[Any]
BOOL = np.dtype(bool)


class Emitter(Protocol):
    """What rules need of the code being written."""

    def emit(self, text: str) -> str:
        """Writes an instruction that gives a value; gives the value's name."""

    def declare(self, text: str) -> None:
        """Declares an external function, once."""


_TYPES = {
    "?": "i1", "b": "i8", "B": "i8", "h": "i16", "H": "i16", "i": "i32", "I": "i32", "l": "i64", "L": "i64", "q": "i64",
    "Q": "i64", "f": "float", "d": "double",
}  # fmt: skip


def known_type(dtype: DType) -> bool:
    """Whether there are values of a type in kernels."""
    return dtype.char in _TYPES


def llvm_type(dtype: DType) -> str:
    """The type of a value in a register."""
    found = _TYPES.get(dtype.char)
    if found is None:
        raise NotLowered(f"values of type {dtype} are not compiled")
    return found


def stored_type(dtype: DType) -> str:
    """The type of a value in memory: booleans take a byte."""
    return "i8" if dtype == BOOL else llvm_type(dtype)


def constant(value: Any, dtype: DType) -> str:
    """A literal of a type."""
    if dtype == BOOL:
        return "true" if value else "false"
    if dtype.kind in "iu":
        return str(int(np.asarray(value).astype(dtype)))
    number = float(np.asarray(value).astype(dtype))
    if math.isnan(number):
        return "0x7FF8000000000000"
    return "0x" + struct.pack(">d", number).hex().upper()


def cast(e: Emitter, x: str, src: DType, dst: DType) -> str:
    """A value as another type, as NumPy (and C on this machine) converts it."""
    if src == dst or (src.kind == dst.kind and src.itemsize == dst.itemsize):
        return x
    a, b = llvm_type(src), llvm_type(dst)
    if dst == BOOL:
        return e.emit(f"fcmp une {a} {x}, 0.0" if src.kind == "f" else f"icmp ne {a} {x}, 0")
    if src == BOOL:
        return e.emit(f"uitofp i1 {x} to {b}" if dst.kind == "f" else f"zext i1 {x} to {b}")
    if src.kind == "f" and dst.kind == "f":
        return e.emit(f"{'fpext' if dst.itemsize > src.itemsize else 'fptrunc'} {a} {x} to {b}")
    if src.kind in "iu" and dst.kind == "f":
        return e.emit(f"{'sitofp' if src.kind == 'i' else 'uitofp'} {a} {x} to {b}")
    if src.kind == "f":
        return _float_to_int(e, x, src, dst)
    if dst.itemsize == src.itemsize:
        return x
    if dst.itemsize < src.itemsize:
        return e.emit(f"trunc {a} {x} to {b}")
    return e.emit(f"{'sext' if src.kind == 'i' else 'zext'} {a} {x} to {b}")


def _float_to_int(e: Emitter, x: str, src: DType, dst: DType) -> str:
    if dst.kind == "u" and dst.itemsize == 8:  # what does not fit int64 is moved down, and back after
        t, half = llvm_type(src), constant(2.0**63, src)
        signed = np.dtype(np.int64)
        low = _float_to_int(e, x, src, signed)
        high = _float_to_int(e, e.emit(f"fsub {t} {x}, {half}"), src, signed)
        high = e.emit(f"xor i64 {high}, {-(2**63)}")
        return e.emit(f"select i1 {e.emit(f'fcmp oge {t} {x}, {half}')}, i64 {high}, i64 {low}")
    wide = 64 if dst.itemsize == 8 or (dst.kind == "u" and dst.itemsize == 4) else 32
    a = llvm_type(src)
    name = f"llvm.fptosi.sat.i{wide}.f{8 * src.itemsize}"
    e.declare(f"declare i{wide} @{name}({a})")
    sat = e.emit(f"call i{wide} @{name}({a} {x})")
    small = e.emit(f"fcmp olt {a} {x}, {constant(2.0 ** (wide - 1), src)}")
    lowest = -(2 ** (wide - 1))
    exact = e.emit(f"select i1 {small}, i{wide} {sat}, i{wide} {lowest}")
    if wide == 8 * dst.itemsize:
        return exact
    return e.emit(f"trunc i{wide} {exact} to {llvm_type(dst)}")


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
    safe, bad = _safe_divisor(e, a, b, dtype)
    if dtype.kind == "u":
        mod = e.emit(f"urem {t} {a}, {safe}")
        return e.emit(f"select i1 {bad}, {t} 0, {t} {mod}")
    mod = e.emit(f"srem {t} {a}, {safe}")
    moved = e.emit(f"add {t} {mod}, {b}")
    result = e.emit(f"select i1 {_other_sign(e, mod, b, dtype)}, {t} {moved}, {t} {mod}")
    return e.emit(f"select i1 {bad}, {t} 0, {t} {result}")


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


def operation(e: Emitter, op: str, args: Sequence[tuple[str, Any]], param: tuple[Any, ...], out: DType) -> str:
    """The value of an operation: `args` are names with dtypes, or literals with `value`; raises NotLowered."""
    if op == "astype":
        name, dtype = args[0]
        return cast(e, name, dtype, np.dtype(param[0]))
    if op == "where":
        (test, kind), *rest = args
        yes, no = (_as(e, arg, out) for arg in rest)
        return e.emit(f"select i1 {cast(e, test, kind, BOOL)}, {llvm_type(out)} {yes}, {llvm_type(out)} {no}")
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
    """A literal among arguments."""

    def __init__(self, value: Any) -> None:
        self.value = value


def literal(value: Any) -> tuple[Any, Any]:
    """A literal as an argument of `operation`."""
    return _Value(value), None


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
    if isinstance(name, _Value):
        return constant(name.value, dtype)
    return cast(e, name, own, dtype)

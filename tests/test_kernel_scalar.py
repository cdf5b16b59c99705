"""Every rule of the kernel for scalars against NumPy, to the bit, on hard values of all types."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from hepgraph.graph.ops import OPS, result_dtype
from hepgraph.kernel import native, scalar
from hepgraph.kernel.module import unique_lines
from hepgraph.kernel.rules import RULES
from hepgraph.kernel.scalar import TYPED_RULES, literal, operation
from hepgraph.kernel.tree import NotLowered
from hepgraph.kernel.types import cast, stored_type

DTYPES = [np.dtype(d) for d in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")]
BOOL = np.dtype(bool)
TRANSCENDENTAL = {
    "sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "cbrt",
    "arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "arctan2", "hypot", "power",
}  # fmt: skip


def values(dtype: np.dtype[Any]) -> Any:
    """Hard values of a type."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        some = [
            0,
            1,
            2,
            3,
            5,
            7,
            info.max,
            info.max - 1,
            info.max // 2,
            *([-1, -2, -3, -7, info.min, info.min + 1] * (dtype.kind == "i")),
        ]
        return np.array(some, dtype)
    tiny, huge = np.finfo(dtype).tiny, np.finfo(dtype).max
    some = [0.0, 1.0, 0.5, 1.5, 2.5, 3.0, 7.0, 0.1, 1e-3, 1e10, 2.0**31, 2.0**52, 2.0**63, tiny, tiny / 8, huge, np.inf]
    return np.array([*some, *(-x for x in some), np.nan], dtype)


class Writer:
    """A function under way."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared: dict[str, None] = {}

    def emit(self, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return name

    def declare(self, text: str) -> None:
        self.declared[text] = None


class Module:
    """Functions over flat arrays, compiled together."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.declared: dict[str, None] = {}
        self.count = 0

    def add(self, ins: list[np.dtype[Any]], out: np.dtype[Any], rule: Any) -> str:
        """A function that applies a rule to each element; its name."""
        w = Writer()
        args = []
        for k, dtype in enumerate(ins):
            t = stored_type(dtype)
            x = w.emit(f"load {t}, ptr {w.emit(f'getelementptr {t}, ptr %p{k}, i64 %i')}")
            args.append(w.emit(f"icmp ne i8 {x}, 0") if dtype == BOOL else x)
        result = rule(w, args)
        if out == BOOL:
            result = w.emit(f"zext i1 {result} to i8")
        t = stored_type(out)
        place = w.emit(f"getelementptr {t}, ptr %out, i64 %i")
        name = f"f{self.count}"
        self.count += 1
        params = ", ".join(f"ptr %p{k}" for k in range(len(ins)))
        self.texts.append(
            f"define void @{name}(i64 %n, ptr %out, {params}) {{\nentry:\n  br label %head\nhead:\n"
            "  %i = phi i64 [0, %entry], [%next, %body]\n  %more = icmp slt i64 %i, %n\n"
            "  br i1 %more, label %body, label %done\nbody:\n"
            + "\n".join(w.lines)
            + f"\n  store {t} {result}, ptr {place}\n"
            "  %next = add i64 %i, 1\n  br label %head\ndone:\n  ret void\n}"
        )
        self.declared.update(w.declared)
        return name

    def compile(self) -> None:
        llvm.initialize_native_target()
        self.native = native.native(
            "\n".join([*unique_lines(self.declared), "define void @kernel() {\n ret void\n}", *self.texts])
        )

    def call(self, name: str, arrays: list[Any], out: np.dtype[Any]) -> Any:
        result = np.zeros(len(arrays[0]), out)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (result, *arrays)]
        kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * len(pointers))
        kind(self.native.address(name))(len(result), *pointers)
        return result


def bits(x: Any) -> Any:
    return x.view({1: "u1", 2: "u2", 4: "u4", 8: "u8"}[x.dtype.itemsize])


EXTREMES = {"maximum", "minimum", "fmax", "fmin"}  # of 0.0 and -0.0, NumPy gives one or the other by their place


def agree(got: Any, wanted: Any, name: str = "") -> Any:
    """Where two arrays are the same, NaN being NaN."""
    if got.dtype.kind != "f" or name in EXTREMES:
        return (got == wanted) | ((got != got) & (wanted != wanted))
    ulps = 4 if name in TRANSCENDENTAL else 0
    same = (bits(got) == bits(wanted)) | ((got != got) & (wanted != wanted))
    if ulps:
        with np.errstate(all="ignore"):
            near = abs(got - wanted) <= ulps * np.spacing(np.maximum(abs(got), abs(wanted)))
        same |= near
    return same


_SEARCH = "searches a table: the interpreter does that for all values at once"
_COMPLEX = "of complex numbers, which no kernel reads"
WITHOUT_RULE = {
    "digitize": _SEARCH, "searchsorted": _SEARCH, "isin": _SEARCH, "interp": _SEARCH, "real": _COMPLEX,
    "imag": _COMPLEX, "angle": _COMPLEX, "m2": "of moments, once all of them are known",
    "isclose": "of tolerances that depend on both numbers: left to the interpreter",
    "ufunc": "is a user's function: numba compiles it where it can",
}  # fmt: skip


def test_every_operation_has_a_rule_or_a_reason() -> None:
    rules = {*RULES, *TYPED_RULES}
    assert rules <= set(OPS)
    own = {name for name, op in OPS.items() if not isinstance(op.meaning, np.ufunc) and "." not in name}
    assert own - rules == set(WITHOUT_RULE)
    assert not set(RULES) & set(TYPED_RULES)
    assert all(OPS[name].cost > 1 for name in TRANSCENDENTAL)
    assert OPS["add"].cost == OPS["sqrt"].cost == 1


@pytest.mark.parametrize("name", sorted(RULES))
def test_rule(name: str) -> None:
    ufunc = getattr(np, name)
    module = Module()
    todo = []
    for ins in itertools.product(DTYPES, repeat=ufunc.nin):
        if len(ins) == 2 and ins[0] != ins[1] and {d.char for d in ins} not in MIXED:
            continue
        try:
            out = result_dtype(name, tuple(ins), ())
        except TypeError:
            continue
        try:
            f = module.add(
                list(ins), out, lambda w, args: operation(w, name, list(zip(args, ins, strict=True)), (), out)
            )
        except NotLowered:
            continue
        todo.append((f, ins, out))
    assert todo
    module.compile()
    for f, ins, out in todo:
        grids = np.meshgrid(*(values(d) for d in ins), indexing="ij")
        arrays = [np.ascontiguousarray(g.ravel()) for g in grids]
        with np.errstate(all="ignore"):
            wanted = OPS[name].meaning(*arrays)
            if name in TRANSCENDENTAL:  # the vectorised functions of NumPy may be off by some ulp, too
                wanted = np.array([OPS[name].meaning(*(a[i] for a in arrays)) for i in range(len(arrays[0]))], out)
        got = module.call(f, arrays, out)
        same = agree(got, wanted, name)
        if name == "power":  # some of the vectorised ones give NaN there
            same |= np.isneginf(arrays[0])
        bad = np.flatnonzero(~same)[:4]
        assert same.all(), f"{name} of {ins}: {[(*(a[i] for a in arrays), got[i], wanted[i]) for i in bad]}"


MIXED = [{"f", "d"}, {"i", "f"}, {"?", "f"}, {"l", "L"}, {"?", "i"}, {"B", "b"}, {"i", "l"}, {"?", "B"}]
LITERALS: list[Any] = [
    16,
    3,
    1,
    np.uint8(64),
    np.int64(65521),
    2,
    0,
    -1,
    1.5,
    True,
    np.float32(2.5),
    np.int8(3),
    300,
    0.5,
    np.nan,
]


@pytest.mark.parametrize(
    "name", ["add", "divide", "power", "remainder", "floor_divide", "less", "maximum", "logical_and"]
)
def test_rule_with_literals(name: str) -> None:
    module = Module()
    todo = []
    for dtype, value, turned in itertools.product(DTYPES, LITERALS, (False, True)):
        holder = type("L", (), {"value": value})()
        kinds = (holder, dtype) if turned else (dtype, holder)
        try:
            out = result_dtype(name, kinds, ())
        except (TypeError, OverflowError, ValueError):
            continue

        def rule(
            w: Any, args: Any, dtype: Any = dtype, value: Any = value, turned: Any = turned, out: Any = out
        ) -> str:
            both = [(args[0], dtype), literal(value)]
            return operation(w, name, both[::-1] if turned else both, (), out)

        try:
            todo.append((module.add([dtype], out, rule), dtype, value, turned, out))
        except NotLowered:
            continue
    module.compile()
    for f, dtype, value, turned, out in todo:
        x = values(dtype)
        with np.errstate(all="ignore"):
            try:
                wanted = np.asarray(OPS[name].meaning(value, x) if turned else OPS[name].meaning(x, value))
            except ValueError:
                continue
        got = module.call(f, [x], out)
        same = agree(got, wanted.astype(out), name)
        if name == "power" and dtype.kind == "f":
            same |= np.isneginf(x)
        assert same.all(), (name, dtype, value, turned, x[~same], got[~same], wanted[~same])


def test_casts() -> None:
    module = Module()
    todo = []
    for src, dst in itertools.product(DTYPES, DTYPES):
        todo.append((module.add([src], dst, lambda w, args: cast(w, args[0], src, dst)), src, dst))
    module.compile()
    for f, src, dst in todo:
        x = values(src)
        if src.kind == "f" and dst.kind in "iu":  # beyond the type, C leaves the result open: only what NumPy does here
            info = np.iinfo(dst)
            x = x[(x > max(info.min, -(2.0**62))) & (x < min(info.max, 2.0**64 if dst == np.uint64 else 2.0**62))]
        with np.errstate(all="ignore"):
            wanted = x.astype(dst)
        got = module.call(f, [x], dst)
        same = agree(got, wanted)
        assert same.all(), (src, dst, x[~same], got[~same], wanted[~same])


def test_where_and_astype() -> None:
    module = Module()
    todo = []
    for yes, no in itertools.product(DTYPES, DTYPES):
        out = np.result_type(yes, no)
        try:
            f = module.add(
                [np.dtype(bool), yes, no], out,
                lambda w, a: operation(w, "where", [(a[0], np.dtype(bool)), (a[1], yes), (a[2], no)], (), out),
            )  # fmt: skip
        except NotLowered:
            continue
        todo.append((f, yes, no, out))
    module.compile()
    for f, yes, no, out in todo:
        grid = np.meshgrid([False, True], values(yes), values(no), indexing="ij")
        arrays = [np.ascontiguousarray(g.ravel()) for g in grid]
        with np.errstate(all="ignore"):
            wanted = np.where(*arrays)
        assert wanted.dtype == out
        assert agree(module.call(f, arrays, out), wanted).all(), (yes, no)


def test_unknown_operations_are_not_lowered() -> None:
    with pytest.raises(NotLowered):
        operation(Writer(), "nextafter", [("%a", np.dtype("f8"))] * 2, (), np.dtype("f8"))
    with pytest.raises(NotLowered):
        scalar.llvm_type(np.dtype("f2"))


@pytest.mark.parametrize("name", ["remainder", "hypot"])
@pytest.mark.parametrize("dtype", [np.dtype("f4"), np.dtype("f8")])
def test_many_numbers(name: str, dtype: np.dtype[Any]) -> None:
    """Quotients around one and two, where the remainder is a subtraction; lengths, which are rounded once."""
    if name == "hypot" and dtype == np.float64:
        pytest.skip("is the C library's own")
    rng = np.random.default_rng(6)
    n = 50_000
    y = (np.exp(rng.normal(0, 3, n)) * rng.choice([-1, 1], n)).astype(dtype)
    x = (y * rng.choice([0.5, 1.0, 1.5, 2.0, 3.5], n) * rng.choice([-1, 1], n)).astype(dtype)
    x[::3] = np.nextafter(x[::3], np.where(rng.random(len(x[::3])) < 0.5, -np.inf, np.inf).astype(dtype))
    m = Module()
    function = m.add([dtype] * 2, dtype, lambda w, args: operation(w, name, [(a, dtype) for a in args], (), dtype))
    m.compile()
    assert np.array_equal(bits(m.call(function, [x, y], dtype)), bits(getattr(np, name)(x, y)))

"""Any operation on any kind of item: what has no rule comes from the interpreter, whatever it stands on."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from typing import Any

import awkward as ak
import numpy as np
import pytest
from drawing import Draw
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import HepgraphError

SIGNS = (np.copysign, np.signbit)  # the sign of a NaN, as of 0 / 0, is another with each processor and library
UFUNCS = sorted(
    {f for f in vars(np).values() if isinstance(f, np.ufunc) and f.signature is None and f not in SIGNS},
    key=lambda f: f.__name__,
)
MORE: dict[str, Callable[..., Any]] = {
    "nan_to_num": ak.nan_to_num,
    "nan_to_num(nan, posinf, neginf)": lambda x: ak.nan_to_num(x, nan=-1.5, posinf=7, neginf=-0.0),
    "round": ak.round,
    "round(1)": lambda x: ak.round(x, 1),
    "angle": ak.angle,
    "real": ak.real,
    "imag": ak.imag,
    "isclose": lambda x: ak.isclose(x, 1),
    "astype": lambda x: ak.values_astype(x, "float32"),
}
ARRAYS: dict[str, Callable[[Any], Any]] = {
    "f8": lambda e: e.x,
    "f4": lambda e: e.f,
    "i4": lambda e: e.i,
    "i8": lambda e: e.k,
    "u1": lambda e: e.u,
    "bool": lambda e: e.b,
    "elements": lambda e: e.j.pt,
    "whole elements": lambda e: e.j.q,
    "mean": lambda e: ak.mean(e.j.pt, axis=1),
    "sum": lambda e: ak.sum(e.j.q, axis=1),
    "maximum": lambda e: ak.max(e.j.pt, axis=1),
    "any": lambda e: ak.any(e.j.pt > 1, axis=1),
    "count": lambda e: ak.num(e.j, axis=1),
    "first": lambda e: ak.firsts(e.j.pt),
    "best": lambda e: ak.firsts(e.j.q[ak.argmax(e.j.pt, axis=1, keepdims=True)]),
    "leg": lambda e: ak.combinations(e.j, 2)["0"].pt,
    "other leg": lambda e: ak.combinations(e.j, 2)["1"].q,
    "cut": lambda e: e.j.pt[e.j.pt > 0],
}  # fmt: skip
LITERALS = [
    2,
    -3,
    0,
    0.5,
    True,
    1 + 2j,
    np.float32(2.5),
    np.int8(3),
    np.uint64(2**63),
    np.complex64(1j),
    2**53 + 1,
    np.nan,
]


def data(seed: int) -> ak.Array:
    """Some events, most of their numbers tame."""
    d = Draw(seed, np.array([0.0, np.nan, np.inf, -np.inf, 1.0]), 0.15)
    columns = {"x": d.flat("f8"), "f": d.flat("f4"), "i": d.flat("i4"), "k": d.flat("i8"), "u": d.flat("u1"),
               "b": d.flat("?"), "j": d.lists(d.numeric({"pt": "f4", "q": "i4"}))}  # fmt: skip
    return ak.Array(d.records(columns)(9))


def near(eager: Any, lazy: Any) -> bool:
    """Whether two arrays hold the same: types and whole numbers to the bit, transcendental functions to some ulp."""
    if str(eager.type).replace("?", "") != str(lazy.type).replace("?", ""):
        return False
    if ak.to_list(ak.is_none(eager, axis=-1)) != ak.to_list(ak.is_none(lazy, axis=-1)):
        return False
    a, b = (ak.to_numpy(ak.drop_none(ak.flatten(x, axis=None))) for x in (eager, lazy))
    if a.dtype.kind in "biu":
        return a.dtype == b.dtype and bool(np.array_equal(a, b))
    small = a.dtype.itemsize <= (8 if a.dtype.kind == "c" else 4)
    return a.dtype == b.dtype and bool(np.allclose(a, b, rtol=2e-5 if small else 1e-12, atol=1e-30, equal_nan=True))


def computed(x: Any, engine: str) -> Any:
    return x.compute(executor="serial", engine=engine, progress=False)


def answer(f: Callable[[Any], Any], events: ak.Array, parts: int = 1) -> Any:
    """The answer of eager awkward; where it has none, None, and a lazy array has none either, or refuses in words."""
    try:
        return f(events)
    except Exception:
        with suppress(HepgraphError, TypeError, ValueError, OverflowError):
            computed(f(hg.from_awkward(events, npartitions=parts)), "kernel")
        return None


def same(eager: Any, lazy: Any, text: str) -> None:
    """Checks that the kernel and the interpreter give what eager awkward does, as an array and as a histogram."""
    got = {engine: computed(lazy, engine) for engine in ("kernel", "interpreter")}
    for engine, value in got.items():
        assert near(eager, value), f"{text}, {engine}\n{eager.type} {eager.to_list()}\n{value.type} {value.to_list()}"
    h = hg.Hist.new.Reg(7, -9, 30).Double().fill(ak.real(lazy) if "complex" in str(eager.type) else lazy)
    one, two = (computed(h, engine) for engine in got)
    assert one.view(flow=True).tolist() == two.view(flow=True).tolist(), text


@st.composite
def expressions(draw: Any) -> tuple[str, Callable[[Any], Any]]:
    """One operation on drawn operands, and perhaps another on what it gives."""
    names = draw(st.lists(st.sampled_from(list(ARRAYS)), min_size=1, max_size=2))
    made: Callable[[Any], Any] = ARRAYS[names[0]]
    text = names[0]
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.integers(0, 3)) == 0:
            name = draw(st.sampled_from(list(MORE)))
            made, text = (lambda e, f=MORE[name], x=made: f(x(e))), f"{name}({text})"
            continue
        f = draw(st.sampled_from(UFUNCS))
        others: list[Any] = []
        for _ in range(f.nin - 1):
            if draw(st.booleans()):
                others.append(draw(st.sampled_from(LITERALS)))
            else:
                others.append(ARRAYS[draw(st.sampled_from(list(ARRAYS)))])
        at = draw(st.integers(0, len(others)))
        text = f"{f.__name__}{'[1]' * (f.nout > 1)}({text}, {', '.join(map(str, others))}; {at})"

        def call(e: Any, f: Any = f, others: list[Any] = others, at: int = at, x: Any = made) -> Any:
            args = [o(e) if callable(o) else o for o in others]
            result = f(*args[:at], x(e), *args[at:])
            return result[1] if f.nout > 1 else result

        made = call
    return text, made


@settings(deadline=None)
@given(st.integers(0, 200), expressions(), st.integers(1, 2))
def test_any_operation_of_any_item(seed: int, drawn: tuple[str, Callable[[Any], Any]], parts: int) -> None:
    text, f = drawn
    events = data(seed)
    with np.errstate(all="ignore"):
        eager = answer(f, events, parts)
        if eager is None:
            return
        try:
            lazy = f(hg.from_awkward(events, npartitions=parts))
        except HepgraphError as refusal:
            assert "do not go together" in str(refusal), text  # noqa: PT017
            return
        same(eager, lazy, text)


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("item", ARRAYS)
def test_operations_without_a_rule(name: str, item: str) -> None:
    events = data(3)
    eager = answer(lambda e: MORE[name](ARRAYS[item](e)), events)
    if eager is not None:
        same(eager, MORE[name](ARRAYS[item](hg.from_awkward(events, npartitions=2))), name)


@pytest.mark.parametrize("item", ARRAYS)
def test_signs_of_numbers(item: str) -> None:
    events = data(3)
    lazy = hg.from_awkward(events, npartitions=2)
    for f in (lambda x: np.copysign(2.5, x), lambda x: np.copysign(x, -1), np.signbit):
        same(*(f(ak.nan_to_num(ARRAYS[item](e) * 1.0)) for e in (events, lazy)), f"a sign of {item}")


def test_complex_literals() -> None:
    events = data(3)
    for f in ARRAYS.values():
        with np.errstate(all="ignore"):
            turned = [
                abs(reduce(operator.mul, [f(e), 1j, np.complex64(1 - 1j)])) for e in (events, hg.from_awkward(events))
            ]
        same(*turned, "complex")


FOUND: dict[str, Callable[[Any], Any]] = {
    "largest": lambda x: ak.max(x, axis=-1),
    "sum": lambda x: ak.sum(x, axis=-1),
    "number": lambda x: ak.num(x, axis=-1),
    "first": lambda x: ak.firsts(x, axis=-1),
    "first above": lambda x: ak.firsts(x[x > 1], axis=-1),
    "best": lambda x: x[ak.argmin(x, axis=-1, keepdims=True)],
    "above": lambda x: x[x > 1],
    "from the mean": lambda x: x - ak.mean(x, axis=-1),
    "there": lambda x: ak.is_none(ak.max(x, axis=-1), axis=-1),
}
ROUTES: dict[str, Callable[[Any], Any]] = {
    "all": lambda x: x,
    "padded": lambda x: ak.pad_none(x, 2, axis=1),
    "cut and padded": lambda x: ak.pad_none(x[:, :1], 2, axis=1),
    "reversed and padded": lambda x: ak.pad_none(x[:, ::-1], 3, axis=1, clip=True),
    "padded inside": lambda x: ak.pad_none(x, 2, axis=2),
    "second": lambda x: ak.pad_none(x, 2, axis=1)[:, 1],
}


@settings(deadline=None)
@given(st.integers(0, 99), st.sampled_from(sorted(FOUND)), st.sampled_from(sorted(ROUTES)), st.integers(1, 3))
def test_what_is_found_in_lists_of_lists_for_each_element_of_another(
    seed: int, found: str, route: str, parts: int
) -> None:
    """The interpreter gives the lists, and with them all that is found in them, not their places alone."""
    d = Draw(seed, np.array([0.0, 1.0]), 0.1)
    data = ak.Array(d.records({"x": d.lists(d.flat("f8"), 3), "n": d.lists(d.lists(d.flat("f8"), 3), 3)})(5))

    def program(e: Any) -> Any:
        return ROUTES[route](FOUND[found](ak.cartesian([e.x, e.n], nested=True)["1"]))

    got = hg.compute(program(hg.from_awkward(data, npartitions=parts)), executor="serial", progress=False)
    assert got.to_list() == program(data).to_list()

"""Reductions and statistics of lists: those that eager awkward has, made of operations of the graph."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest
from agreement import check
from drawing import Draw
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import UnsupportedError
from hepgraph.graph.node import ordered
from hepgraph.lazy.array import Lazy
from hepgraph.runner.compute import passes

DTYPES = ["?", "i1", "i4", "i8", "u1", "u8", "f4", "f8"]
options = st.fixed_dictionaries({}, optional={"keepdims": st.booleans(), "mask_identity": st.booleans()})


def events(seed: int) -> ak.Array:
    d = Draw(seed, np.array([0.0, 1.0, -1.0, np.nan, np.inf]), 0.1)
    columns = {f"l{kind}": d.lists(d.flat(kind)) for kind in DTYPES}
    tame = Draw(seed + 1, np.array([0.0, 1.0]), 0.2)
    columns |= {"a": tame.lists(tame.flat("f8")), "b": tame.lists(tame.flat("f4"), 3), "x": tame.flat("f8"),
                "i": tame.flat("i4"), "n": tame.lists(tame.numeric({"v": "f4", "w": "f8", "k": "i4"})),
                "o": tame.lists(tame.missing(tame.flat("f8")))}  # fmt: skip
    with np.errstate(all="ignore"):
        return ak.Array(d.records(columns)(7))


def computed(x: Any, engine: str) -> Any:
    return x.compute(executor="serial", engine=engine, progress=False)


def agree(eager: Any, lazy: Any, text: str, exact: bool = True) -> None:
    """Checks that both engines give what eager awkward does, and that no function is called for it."""
    assert isinstance(lazy, Lazy)
    for each in passes([lazy], "kernel")[0]:
        assert not each.compiled.plain
        assert not [item for item in ordered(each.wants) if getattr(item, "op", "") == "call"], text
    for engine in ("kernel", "interpreter"):
        with np.errstate(all="ignore"):
            got = computed(lazy, engine)
        if isinstance(eager, ak.Array) and exact:
            check(eager.layout, got.layout, text, signs=False)
        elif isinstance(eager, ak.Array):
            assert str(eager.type).replace("?", "") == str(got.type).replace("?", ""), text
            one, two = (ak.to_list(x) for x in (eager, got))
            np.testing.assert_equal(rounded(one), rounded(two), text)
        else:
            assert eager is got or eager == pytest.approx(got, rel=1e-6, nan_ok=True), text


def rounded(x: Any) -> Any:
    match x:
        case dict():
            return {key: rounded(value) for key, value in x.items()}
        case list():
            return [rounded(value) for value in x]
        case float():
            return float(f"{x:.5g}") + 0.0
    return x


@settings(deadline=None)
@given(
    st.integers(0, 50),
    st.sampled_from(DTYPES),
    st.sampled_from([ak.max, ak.min, ak.nanmax, ak.nanmin]),
    st.sampled_from([0, 3, -2, 2.5, True, np.nan, -np.inf, np.float32(0.1), np.int64(7), 300]),
    st.sampled_from([1, -1, None]),
    options,
)
def test_extremes_that_begin_with_a_number(seed: int, kind: str, f: Any, initial: Any, axis: Any, more: Any) -> None:
    data = events(seed)[f"l{kind}"]
    if axis is None:
        more = {key: value for key, value in more.items() if key != "keepdims"}
    call = lambda x: f(x, axis=axis, initial=initial, **more)  # noqa: E731
    fits = np.dtype(kind).kind in "f" or (
        np.dtype(kind).kind in "iu"
        and np.isfinite(initial)
        and initial == int(initial)
        and np.iinfo(kind).min <= initial <= np.iinfo(kind).max
    )
    if np.dtype(kind).kind in "iu" and not fits:
        with pytest.raises(UnsupportedError) as caught:
            call(hg.from_awkward(data))
        assert f"initial={initial!r} is no number of the type of these, {np.dtype(kind)}" in str(caught.value)
        return
    with np.errstate(all="ignore"):
        agree(
            call(data),
            call(hg.from_awkward(data, npartitions=2)),
            f"{f.__name__} of {kind} from {initial}, {axis}, {more}",
        )


def test_the_identity_of_a_maximum_is_not_lost() -> None:
    x = ak.Array([[1.0, 5.0], [], [-3.0]])
    got = ak.max(hg.from_awkward(x), axis=1, initial=0, mask_identity=False)
    h = hg.Hist.new.Reg(3, -1, 8).Double().fill(got)
    assert computed(got, "kernel").to_list() == [5.0, 0.0, 0.0]
    assert computed(h, "kernel").sum() == 3


WEIGHTS: dict[str, Any] = {
    "none": lambda e: None, "event": lambda e: e.x, "whole": lambda e: e.i, "element": lambda e: e.n.w,
    "float32": lambda e: e.n.v, "whole element": lambda e: e.n.k, "mask": lambda e: e.n.v > 0,
}  # fmt: skip
STATISTICS: dict[str, Any] = {
    "mean": lambda e, w, o: ak.mean(e.n.v, w, **o),
    "mean of whole": lambda e, w, o: ak.mean(e.n.k, weight=w, **o),
    "var": lambda e, w, o: ak.var(e.n.v, w, **o),
    "var with ddof": lambda e, w, o: ak.var(e.n.w, w, 1, **o),
    "std": lambda e, w, o: ak.std(e.n.k, w, **o),
    "second moment": lambda e, w, o: ak.moment(e.n.v, 2, w, **o),
    "third moment": lambda e, w, o: ak.moment(e.n.k, 3, w, **o),
    "covar": lambda e, w, o: ak.covar(e.n.v, e.n.w, w, **o),
    "corr": lambda e, w, o: ak.corr(e.n.w, e.n.k, w, **o),
    "line": lambda e, w, o: ak.linear_fit(e.n.v, e.n.w, w, **o),
    "nanmean": lambda e, w, o: ak.nanmean(e.lf8, w if getattr(w, "ndim", 0) < 2 else None, **o),
}


@settings(deadline=None)
@given(
    st.integers(0, 50),
    st.sampled_from(list(STATISTICS)),
    st.sampled_from(list(WEIGHTS)),
    st.sampled_from([1, -1]),
    options,
)
def test_statistics_of_lists(seed: int, name: str, weight: str, axis: int, more: Any) -> None:
    data = events(seed)

    def call(e: Any) -> Any:
        return STATISTICS[name](e, WEIGHTS[weight](e), {"axis": axis, **more})

    with np.errstate(all="ignore"):
        agree(call(data), call(hg.from_awkward(data, npartitions=2)), f"{name}, weight {weight}, {more}", exact=False)


@pytest.mark.parametrize("weight", ["none", "event", "element"])
def test_statistics_of_the_dataset(weight: str) -> None:
    data = events(4)
    for name in ("mean", "mean of whole", "second moment", "third moment"):
        lazy = hg.from_awkward(data, npartitions=3)
        agree(*(STATISTICS[name](e, WEIGHTS[weight](e), {"axis": None}) for e in (data, lazy)), name)
    with pytest.raises(UnsupportedError, match=r"ak\.var over the whole dataset needs its mean first.*ak\.sum\(w\)"):
        ak.var(lazy.n.v, lazy.x, axis=None)
    for f in (ak.corr, ak.covar):
        with pytest.raises(UnsupportedError, match="whole dataset"):
            f(lazy.n.v, lazy.n.w)


REDUCTIONS = [ak.sum, ak.prod, ak.any, ak.all, ak.min, ak.max, ak.count, ak.count_nonzero, ak.ptp]
PAIRS: dict[str, Any] = {
    "sum": lambda p, e: p.a + p.b,
    "with the event": lambda p, e: p.a * e.x - p.b, "near": lambda p, e: abs(p.a - p.b) < 2,
    "first": lambda p, e: p.a, "second": lambda p, e: p.b, "constant": lambda p, e: ak.full_like(p.a, 2.5),
    "place": lambda p, e: ak.local_index(p.a, axis=2) + p.a, "some": lambda p, e: ak.mask(p.a, p.a > p.b),
}  # fmt: skip


@settings(deadline=None)
@given(st.integers(0, 50), st.sampled_from(REDUCTIONS), st.sampled_from(list(PAIRS)), options)
def test_nested_products_are_reduced_over_their_first_list(seed: int, f: Any, name: str, more: Any) -> None:
    assume(not (f is ak.ptp and name == "near"))  # NumPy subtracts no booleans
    data = events(seed)

    def call(e: Any) -> Any:
        return f(PAIRS[name](ak.cartesian({"a": e.a, "b": e.b}, nested=True), e), axis=1, **more)

    with np.errstate(all="ignore"):
        agree(call(data), call(hg.from_awkward(data, npartitions=3)), f"{f.__name__} of {name}, {more}", exact=False)


@pytest.mark.parametrize("cut", [lambda p: p.a[p.a > p.b], lambda p: p.a - ak.max(p.b, axis=2)])
def test_what_else_is_made_of_nested_products_is_reduced_by_awkward(cut: Any) -> None:
    data = events(5)
    eager, lazy = (
        ak.sum(cut(ak.cartesian({"a": e.a, "b": e.b}, nested=True)), axis=1)
        for e in (data, hg.from_awkward(data, npartitions=2))
    )
    for engine in ("kernel", "interpreter"):
        np.testing.assert_equal(rounded(computed(lazy, engine).to_list()), rounded(eager.to_list()))


@settings(deadline=None)
@given(
    st.integers(0, 50),
    st.sampled_from([True, False, None, [], ["a"], ["b"], ["a", "b"], ["c"], ["c", "a"]]),
    st.sampled_from([ak.cartesian, ak.argcartesian]),
)
def test_products_nested_after_some_of_their_lists(seed: int, nested: Any, f: Any) -> None:
    data = events(seed)

    def call(e: Any) -> Any:
        p = f({"a": e.a, "b": e.b, "c": e.n.v}, nested=nested)
        return p.a * 100 + p.b * 10 + p.c

    agree(call(data), call(hg.from_awkward(data, npartitions=2)), f"nested={nested}")
    numbers = [0] if nested == ["a"] else [0, 1]
    agree(*(f([e.a, e.b, e.b], nested=numbers)["2"] for e in (data, hg.from_awkward(data))), "numbers")
    with pytest.raises(UnsupportedError, match=r"nested=\['z'\]: the arrays of this product are \['a', 'b'\]"):
        f({"a": hg.from_awkward(data).a, "b": hg.from_awkward(data).b}, nested=["z"])

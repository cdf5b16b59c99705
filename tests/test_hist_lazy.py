"""Lazy histograms as things: no fill gets lost, none shows what it does not have, copies, sums, wrong fills."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import awkward as ak
import boost_histogram as bh
import hist
import mplhep
import numpy as np
import pytest
from histograms import EVENTS, N, lazy, same
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import FillError, LazyError
from hepgraph.runner.compute import passes

# nothing gets lost


def test_look_then_add_a_fill():
    events = lazy(3)
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(events.x)
    assert h.compute().sum(flow=True) == N
    h.fill(events.x)
    assert h.compute().sum(flow=True) == 2 * N
    assert h.compute().sum(flow=True) == 2 * N


def test_the_computed_histogram_is_plain_and_apart():
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(lazy().x)
    one = h.compute()
    assert type(one) is hist.Hist
    assert not hasattr(one, "fills")
    one.fill([0.0] * 100)
    one.axes[0].label = "changed"
    assert h.compute().sum(flow=True) == N
    assert h.compute().axes[0].label == "x"


def test_eager_and_lazy_fills_mix():
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double()
    h.fill([0.0, 1.0])
    assert h.sum() == 2
    h.fill(lazy(2).x)
    h.fill([2.0])
    assert h.compute().sum(flow=True) == N + 3
    assert h.compute().sum(flow=True) == N + 3


def test_eager_only_is_plain_hist():
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(EVENTS.x)
    assert isinstance(h, hist.Hist)
    assert h.values().sum() == h.sum()
    assert type(h[1:4]) is hg.Hist
    assert (h + h).sum() == 2 * h.sum()
    assert (h * 2).sum() == 2 * h.sum()
    same(h.compute(), hist.Hist.new.Reg(10, -3, 3, name="x").Double().fill(EVENTS.x))


def test_eager_values_with_lazy_weights():
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(np.asarray(EVENTS.x), weight=lazy(4).w)
    expected = hist.Hist.new.Reg(10, -3, 3, name="x").Double()
    same(h.compute(), expected.fill(np.asarray(EVENTS.x), weight=np.asarray(EVENTS.w)))


LOOKS = {
    "values": lambda h: h.values(),
    "variances": lambda h: h.variances(),
    "counts": lambda h: h.counts(),
    "density": lambda h: h.density(),
    "view": lambda h: h.view(),
    "sum": lambda h: h.sum(),
    "empty": lambda h: h.empty(),
    "plot": lambda h: h.plot(),
    "plot1d": lambda h: h.plot1d(),
    "plot_ratio": lambda h: h.plot_ratio(h),
    "show": lambda h: h.show(),
    "to_numpy": lambda h: h.to_numpy(),
    "project": lambda h: h.project("x"),
    "profile": lambda h: h.profile("x"),
    "integrate": lambda h: h.integrate("x"),
    "sort": lambda h: h.sort("x"),
    "stack": lambda h: h.stack("x"),
    "allclose": lambda h: h.allclose(h),
    "T": lambda h: h.T,
    "getitem": lambda h: h[0],
    "slice": lambda h: h[1:3],
    "setitem": lambda h: h.__setitem__(0, 3.0),
    "iterate": lambda h: list(h),
    "asarray": lambda h: np.asarray(h),
    "add a number": lambda h: h + 1,
    "add a number in place": lambda h: h.__iadd__(1),
    "scale": lambda h: h * 2,
    "scale from the left": lambda h: 2 * h,
    "scale in place": lambda h: h.__imul__(2),
    "divide": lambda h: h / 2,
    "subtract": lambda h: h - h,
    "to hist": lambda h: hist.Hist(h),
    "to boost": lambda h: bh.Histogram(h),
    "to uhi": lambda h: h._to_uhi_(),
    "mplhep": lambda h: mplhep.histplot(h),
}


@pytest.mark.parametrize("how", LOOKS)
def test_a_lazy_histogram_shows_nothing(how):
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(lazy(2).x)
    with pytest.raises(LazyError, match=r"1 lazy fill .*\.compute\(\)"):
        LOOKS[how](h)
    assert h.compute().sum(flow=True) == N


def test_every_public_method_refuses():
    from inspect import getattr_static

    allowed = {"fill", "fill_flattened", "copy", "reset", "compute", "visualize"}
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(lazy(2).x)
    for name in dir(hist.Hist):
        if name.startswith("_") or name in allowed or not callable(getattr_static(hist.Hist, name)):
            continue
        with pytest.raises(LazyError):
            getattr(h, name)()


def test_what_may_be_asked_of_a_lazy_histogram():
    h = hg.Hist.new.Reg(10, -3, 3, name="x", label="$x$").Weight().fill(lazy(2).x)
    assert (h.ndim, h.shape, h.axes[0].label, h.storage_type) == (1, (10,), "$x$", hist.storage.Weight)
    assert "1 lazy fill: .compute()" in repr(h)
    assert "1 lazy fill" in h._repr_html_()
    assert "2 lazy fills" in str(h.fill(lazy(2).x))
    assert h.visualize().svg.startswith("<svg")


def test_from_columns_still_works():
    h = hg.Hist.from_columns({"x": [0.5, 1.5]}, (hist.axis.Regular(2, 0, 2, name="x"),))
    assert h.values().tolist() == [1, 1]


def test_reset():
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(lazy(2).x)
    h.reset()
    assert h.sum() == 0
    assert h.compute().sum() == 0


# copies


def one_fill(npartitions=3):
    return hg.Hist.new.Reg(10, -3, 3, name="x", label="X").Weight().fill(lazy(npartitions).x, weight=2.0)


COPIES = {
    "copy method": lambda h: h.copy(),
    "shallow": lambda h: h.copy(deep=False),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda h: pickle.loads(pickle.dumps(h)),
    "constructor": hg.Hist,
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_keep_fills_and_go_their_own_way(how):
    h = one_fill()
    other = COPIES[how](h)
    assert type(other) is hg.Hist
    assert other == h
    same(other.compute(), h.compute())
    other.fill(lazy(3).x)
    assert other != h
    assert other.compute().sum(flow=True).value == 3 * N
    assert h.compute().sum(flow=True).value == 2 * N


def test_pickles_in_another_process():
    h = one_fill().fill([0.0])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        same(pool.submit(pickle.loads, pickle.dumps(h)).result().compute(), h.compute())
        same(pool.submit(hg.compute, h, executor="serial").result(), h.compute())


# sums


def test_sum_of_lazy_histograms():
    a, b = one_fill(2), one_fill(3)
    total = a + b
    assert total.compute().sum(flow=True).value == 4 * N
    assert (len(a.fills), len(b.fills)) == (1, 1)
    assert sum([a, b, a]).compute().sum(flow=True).value == 6 * N


def test_sum_with_eager_histograms():
    eager = hist.Hist.new.Reg(10, -3, 3, name="x", label="X").Weight().fill([0.0, 0.0])
    for total in (one_fill() + eager, eager + one_fill(), sum([one_fill(), eager]), one_fill() + hg.Hist(eager)):
        assert total.compute().sum(flow=True).value == 2 * N + 2
    assert (hg.Hist(eager) + eager).sum().value == 4


def test_in_place_sum_is_seen_by_every_holder():
    h = one_fill()
    alias = h
    h += one_fill(4)
    h += hist.Hist.new.Reg(10, -3, 3, name="x", label="X").Weight().fill([0.0])
    assert alias is h
    assert alias.compute().sum(flow=True).value == 4 * N + 1
    eager = hg.Hist.new.Reg(10, -3, 3, name="x", label="X").Weight()
    eager += one_fill()
    assert eager.compute().sum(flow=True).value == 2 * N


def test_sum_of_grown_histograms():
    cat = hg.Hist.new.StrCat([], growth=True, name="s").Double()
    one, two = cat.copy().fill(["a"]), cat.copy().fill(["b", "a"])
    lazily = cat.copy().fill(lazy(2).s)
    total = (one + two + lazily).compute()
    assert list(total.axes[0])[:2] == ["a", "b"]
    assert total.sum() == N + 3


# fill errors, at the fill


def new():
    return hg.Hist.new.Reg(10, -3, 3, name="mass").Int(0, 5, name="count").Double()


X = lazy(2)
WRONG = {
    "unknown axis": (lambda: new().fill(X.x, coutn=X.n), r"no axis 'coutn'.*\n.*count"),
    "too many": (lambda: new().fill(X.x, X.n, X.n), r"3 values for 2 axes \(mass, count\)"),
    "too few": (lambda: new().fill(X.x), r"No values for axis count"),
    "twice": (lambda: new().fill(X.x, X.n, mass=X.x), r"'mass' was given twice"),
    "a string": (lambda: new().fill("a", X.n), r"'mass' \(Regular\) takes real numbers, not strings"),
    "strings": (lambda: new().fill(X.s, X.n), r"'mass' \(Regular\) takes real numbers, not strings"),
    "fractions": (lambda: new().fill(X.x, X.x), r"'count' \(Integer\) takes whole numbers.*not float64"),
    "a fraction": (lambda: new().fill(X.x, 1.5), r"'count' \(Integer\) takes whole numbers"),
    "complex": (lambda: new().fill(X.x * 1j, X.n), r"takes real numbers, not complex128"),
    "None": (lambda: new().fill(X.x, None), r"'count' was given None"),
    "records": (lambda: new().fill(X, X.n), r"'mass' was given records \(x, u, n, b"),
    "weight records": (lambda: new().fill(X.x, X.n, weight=X), r"weight= was given records"),
    "weight strings": (lambda: new().fill(X.x, X.n, weight=X.s), r"weight= takes real numbers, not strings"),
    "other masks": (lambda: new().fill(X.x[X.x > 0], X.n[X.x > 1]), r"cut by different masks"),
    "weight not cut": (lambda: new().fill(X.x[X.x > 0], X.n[X.x > 0], weight=X.w), r"cut by different masks"),
    "other lists": (lambda: new().fill(X.j[X.j > 0], X.n, weight=X.jw), r"do not go together"),
    "flattened beside events": (lambda: new().fill(ak.flatten(X.j), X.n), r"do not go together"),
    "wrong length": (lambda: new().fill(X.x, np.arange(5)), r"5 entries, the dataset 60"),
    "other dataset": (lambda: new().fill(X.x, lazy(2, EVENTS[:30]).n), r"do not go together"),
    "reduction": (lambda: new().fill(X.x, X.n, weight=ak.sum(X.w)), r"do not go together"),
    "numbers to strings": (
        lambda: hg.Hist.new.StrCat(["a"], name="s").Double().fill(X.n),
        r"'s' \(StrCategory\) takes strings, not int64",
    ),
    "weights to Int64": (
        lambda: hg.Hist.new.Reg(2, 0, 1, name="x").Int64().fill(X.x, weight=X.w),
        r"Int64 storage counts entries and takes no weights",
    ),
    "sample to Double": (lambda: new().fill(X.x, X.n, sample=X.x), r"Double storage takes no sample="),
    "no sample": (lambda: hg.Hist.new.Reg(2, 0, 1, name="x").Mean().fill(X.x), r"give it as sample="),
}


@pytest.mark.parametrize("case", WRONG)
def test_fill_errors(case):
    make, message = WRONG[case]
    with pytest.raises(FillError, match=re.compile(message, re.DOTALL)):
        make()


def test_a_refused_fill_leaves_nothing_behind():
    h = new().fill(X.x, X.n)
    with pytest.raises(FillError):
        h.fill(X.x, X.x)
    assert len(h.fills) == 1


def test_lists_of_other_lengths_are_found_while_running():
    events = hg.from_awkward(ak.zip({"a": ak.Array([[1.0], [2.0]]), "b": ak.Array([[1.0, 2.0], []])}, depth_limit=1))
    with pytest.raises((FillError, hg.errors.ShapeError)):
        hg.Hist.new.Reg(3, 0, 3, name="a").Double().fill(events.a, weight=events.b).compute()


def test_ak_array_methods_are_not_shadowed():
    """The names of fields never win over what a histogram needs."""
    events = lazy(2, ak.zip({"values": EVENTS.x, "fill": EVENTS.n}))
    h = hg.Hist.new.Reg(10, -3, 3, name="values").Double().fill(events["values"])
    assert h.compute().sum(flow=True) == N


# categories that grow by constants

STORAGES = [hist.storage.Int64, hist.storage.Double, hist.storage.Weight, hist.storage.Mean, hist.storage.WeightedMean]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([4, 7]), st.sampled_from([-9, 0, 1, 9])), max_size=5
    ),
    st.sampled_from(STORAGES),
    st.sampled_from([[], ["b"], ["z", "a"]]),
    st.integers(1, 4),
    st.booleans(),
)
def test_categories_that_grow_by_constants_are_filled_in_the_kernel(fills, storage, known, npartitions, inner):
    def made(kind, d):
        axes = hist.axis.StrCategory(known, growth=True, name="s"), hist.axis.IntCategory([], growth=True, name="i")
        h = kind(*axes, hist.axis.Regular(3, -2, 2, flow=inner, name="x", label="x [cm]"), storage=storage())
        h.fill("first", 1, np.array([0.5]), **({"sample": np.array([2.0])} if "Mean" in storage.__name__ else {}))
        for s, i, least in fills:
            x = d.x[d.x > least]
            more = {"sample": x} if "Mean" in storage.__name__ else {}
            h.fill(s, i, x, **more)
        return h

    wanted = made(hg.Hist, EVENTS)
    h = made(hg.Hist, lazy(npartitions))
    for engine in ("kernel", "interpreter"):
        same(h.compute(executor="serial", engine=engine, progress=False), hist.Hist(wanted))
    for each in passes([h], "kernel")[0]:
        assert not each.compiled.plain
        assert not each.compiled.kernel.items  # entries that boost would have to fill


def test_the_category_of_the_readme():
    events = hg.from_awkward(EVENTS, npartitions=2, metadata={"dataset": "DY"})
    h = hg.Hist.new.StrCat([], growth=True, name="dataset").Reg(3, -2, 2, name="x").Weight()
    h.fill(dataset=events.metadata["dataset"], x=events.x, weight=events.w)
    h.fill(dataset="none", x=events.x[events.x > 1e9], weight=events.w[events.x > 1e9])
    got, report = h.compute(executor="serial", progress=False, report=True)
    assert list(got.axes[0]) == ["DY"]
    assert {row.how for row in report.rows} == {"kernel"}
    assert not passes([h], "kernel")[0][0].compiled.kernel.items
    mixed = hg.Hist.new.StrCat([], growth=True, name="s").Reg(3, -2, 2, name="x").Double()
    mixed.fill("late", events.x).fill(events.s, events.x).fill("late", events.x)
    wanted = hist.Hist.new.StrCat([], growth=True, name="s").Reg(3, -2, 2, name="x").Double()
    wanted.fill("late", EVENTS.x).fill(EVENTS.s.to_list(), EVENTS.x).fill("late", EVENTS.x)
    same(mixed.compute(executor="serial", progress=False), wanted)

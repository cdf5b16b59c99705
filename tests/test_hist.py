"""Lazy histograms against plain `hist` filled with the same eager data: axes, storages, lists, None, partitions."""

from __future__ import annotations

import copy
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from histograms import COUNTS, EVENTS, lazy, same

import hepgraph as hg
from hepgraph.errors import FillError

AXES = {
    "regular": (hist.axis.Regular(10, -3, 3, name="a", label="A [GeV]"), "x"),
    "no flow": (hist.axis.Regular(10, -3, 3, name="a", underflow=False, overflow=False), "x"),
    "circular": (hist.axis.Regular(10, -1, 1, name="a", circular=True), "x"),
    "log": (hist.axis.Regular(10, 0.1, 20, name="a", transform=hist.axis.transform.log), "u"),
    "sqrt": (hist.axis.Regular(10, 0.1, 20, name="a", transform=hist.axis.transform.sqrt), "u"),
    "variable": (hist.axis.Variable([-3, -1, 0.5, 4], name="a"), "x"),
    "variable circular": (hist.axis.Variable([-3, -1, 0.5, 4], name="a", circular=True), "x"),
    "integer": (hist.axis.Integer(-1, 6, name="a"), "n"),
    "boolean": (hist.axis.Boolean(name="a"), "b"),
    "int category": (hist.axis.IntCategory([1, 5, 2], name="a"), "n"),
    "string category": (hist.axis.StrCategory(["mumu", "ee"], name="a"), "s"),
    "growing regular": (hist.axis.Regular(2, -0.5, 0.5, name="a", growth=True), "x"),
    "growing integer": (hist.axis.Integer(0, 1, name="a", growth=True), "n"),
    "growing variable": (hist.axis.Variable([0, 0.5, 1], name="a", growth=True), "x"),
    "growing int category": (hist.axis.IntCategory([], name="a", growth=True), "n"),
    "growing string category": (hist.axis.StrCategory([], name="a", growth=True), "s"),
}

STORAGES = {
    "Double": (hist.storage.Double, False, False),
    "Double, weighted": (hist.storage.Double, True, False),
    "Int64": (hist.storage.Int64, False, False),
    "AtomicInt64": (hist.storage.AtomicInt64, False, False),
    "Unlimited": (hist.storage.Unlimited, False, False),
    "Unlimited, weighted": (hist.storage.Unlimited, True, False),
    "Weight": (hist.storage.Weight, False, False),
    "Weight, weighted": (hist.storage.Weight, True, False),
    "Mean": (hist.storage.Mean, False, True),
    "Mean, weighted": (hist.storage.Mean, True, True),
    "WeightedMean": (hist.storage.WeightedMean, False, True),
    "WeightedMean, weighted": (hist.storage.WeightedMean, True, True),
}


def plain(values):
    return values.to_list() if values.layout.parameter("__array__") == "string" else np.asarray(values)


# eager data, axis by axis and storage by storage


@pytest.mark.parametrize("npartitions", [1, 2, 7])
@pytest.mark.parametrize("kind", AXES)
def test_axes(kind, npartitions):
    axis, field = AXES[kind]
    expected = hist.Hist(axis).fill(plain(EVENTS[field]))
    h = hg.Hist(axis).fill(lazy(npartitions)[field])
    same(h.compute(), expected)
    same(h.compute(), expected)


@pytest.mark.parametrize("npartitions", [1, 5])
@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("storage", STORAGES)
def test_storages(storage, kind, npartitions):
    make, weighted, sampled = STORAGES[storage]
    axis, field = AXES[kind]
    more = {"weight": "v" if sampled else "w"} if weighted else {}
    more |= {"sample": "q"} if sampled else {}
    expected = hist.Hist(axis, storage=make()).fill(
        plain(EVENTS[field]), **{name: np.asarray(EVENTS[part]) for name, part in more.items()}
    )
    events = lazy(npartitions)
    h = hg.Hist(axis, storage=make()).fill(events[field], **{name: events[part] for name, part in more.items()})
    same(h.compute(), expected)


@pytest.mark.parametrize("npartitions", [1, 4])
@pytest.mark.parametrize("first", AXES)
def test_two_axes(first, npartitions):
    one, field = AXES[first]
    for kind in ("regular", "growing regular", "growing string category", "growing variable", "boolean"):
        axis, other = AXES[kind]
        two = copy.deepcopy(axis)
        two.__dict__["name"] = "second"
        expected = hist.Hist(one, two, storage=hist.storage.Weight())
        expected.fill(plain(EVENTS[field]), plain(EVENTS[other]), weight=np.asarray(EVENTS.w))
        events = lazy(npartitions)
        h = hg.Hist(one, two, storage=hist.storage.Weight()).fill(
            second=events[other], a=events[field], weight=events.w
        )
        same(h.compute(), expected)


def test_three_axes():
    axes = [hist.axis.Regular(3, -2, 2, name="x"), hist.axis.Integer(0, 4, name="n"), hist.axis.Boolean(name="b")]
    expected = hist.Hist(*axes).fill(np.asarray(EVENTS.x), n=np.asarray(EVENTS.n), b=np.asarray(EVENTS.b))
    events = lazy(3)
    same(hg.Hist(*axes).fill(events.x, b=events.b, n=events.n).compute(), expected)


def test_constructor_by_name():
    h = hg.Hist.new.Reg(4, 0, 2, name="m", label="$m$").StrCat(["a"], name="c").Weight()
    h.fill(lazy(2).x, "a", weight=0.5)
    expected = hist.Hist.new.Reg(4, 0, 2, name="m", label="$m$").StrCat(["a"], name="c").Weight()
    same(h.compute(), expected.fill(np.asarray(EVENTS.x), "a", weight=0.5))


def test_scalars_are_repeated():
    axes = [hist.axis.StrCategory([], growth=True, name="c"), hist.axis.Regular(3, -2, 2, name="x")]
    events = lazy(3)
    h = hg.Hist(*axes, hist.axis.Integer(0, 3, name="i")).fill("data", events.x, 1, weight=2)
    expected = hist.Hist(*axes, hist.axis.Integer(0, 3, name="i")).fill("data", np.asarray(EVENTS.x), 1, weight=2)
    same(h.compute(), expected)


def test_several_fills():
    axis = hist.axis.Regular(10, -3, 3, name="x")
    events = lazy(4)
    h = hg.Hist(axis)
    for cut in (-1, 0, 1):
        assert h.fill(events.x[events.x > cut]) is h
    expected = hist.Hist(axis)
    for cut in (-1, 0, 1):
        expected.fill(np.asarray(EVENTS.x[EVENTS.x > cut]))
    same(h.compute(), expected)


@pytest.mark.parametrize("npartitions", [1, 2, 7, 60])
def test_the_order_of_new_categories_is_that_of_the_fills(npartitions):
    axes = [hist.axis.StrCategory([], growth=True, name="s"), hist.axis.IntCategory([], growth=True, name="n")]
    h, expected = hg.Hist(*axes), hist.Hist(*axes)
    events = lazy(npartitions)
    for cut in (3, 1, -9):
        h.fill(events.s[events.n > cut], events.n[events.n > cut])
        some = EVENTS[EVENTS.n > cut]
        expected.fill(some.s.to_list(), np.asarray(some.n))
        h.fill(f"above {cut}", events.n)
        expected.fill(f"above {cut}", np.asarray(EVENTS.n))
    same(h.compute(), expected)


@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
@pytest.mark.parametrize("npartitions", [1, 3])
def test_counts_are_their_own_variances(npartitions, engine):
    events = lazy(npartitions)
    for axis, field in (AXES["regular"], AXES["growing regular"], AXES["growing string category"]):
        h = hg.Hist(axis).fill(events[field])
        assert h.compute(engine=engine).variances().tolist() == h.compute(engine=engine).values().tolist()
        assert (h + h).compute(engine=engine).variances().sum() == 2 * h.compute(engine=engine).sum()
        weighted = h.copy().fill(events[field], weight=events.w)
        assert weighted.compute(engine=engine).variances() is None
        assert weighted.copy().reset().fill(events[field]).compute().variances() is not None


# jagged values


def test_jagged_with_event_values_and_weights():
    axes = [hist.axis.Regular(10, -3, 3, name="j"), hist.axis.Integer(-3, 8, name="n")]
    flat = {name: np.asarray(ak.flatten(ak.broadcast_arrays(EVENTS[name], EVENTS.j)[0])) for name in ("n", "w")}
    expected = hist.Hist(*axes, storage=hist.storage.Weight())
    expected.fill(np.asarray(ak.flatten(EVENTS.j)), flat["n"], weight=flat["w"])
    events = lazy(7)
    h = hg.Hist(*axes, storage=hist.storage.Weight()).fill(events.j, events.n, weight=events.w)
    same(h.compute(), expected)


def test_jagged_weights_and_samples():
    axis = hist.axis.Regular(10, -3, 3, name="j")
    j, weight = (np.asarray(ak.flatten(EVENTS[name])) for name in ("j", "jw"))
    some = weight != 0
    events = lazy(7)
    expected = hist.Hist(axis, storage=hist.storage.WeightedMean())
    expected.fill(j[some], weight=weight[some], sample=j[some])
    h = hg.Hist(axis, storage=hist.storage.WeightedMean()).fill(events.j, weight=events.jw, sample=events.j)
    same(h.compute(), expected)


@pytest.mark.parametrize("npartitions", [1, 2, 3])
def test_entries_of_no_weight_do_not_spoil_a_mean(npartitions):
    events = lazy(npartitions, ak.Array({"x": [0.5, 0.5, 0.5], "s": ["a", "a", "b"], "w": [0.0, 1.0, 0.0]}))
    h = hg.Hist.new.Reg(1, 0, 1, name="x").StrCat(["a", "b"], name="s").Mean()
    h.fill(events.x, events.s, weight=events.w, sample=events.x)
    assert h.compute().values().tolist() == [[0.5, 0.0]]


def test_deeper_lists():
    deep = ak.Array([[[1.0, 2.0], []], [], [[0.5]], [[], [2.5, 2.5]]])
    weight = ak.Array([[1.0, 2.0], [], [3.0], [4.0, 5.0]])
    events = hg.from_awkward(ak.zip({"deep": deep, "weight": weight}, depth_limit=1), npartitions=3)
    h = hg.Hist.new.Reg(3, 0, 3, name="x").Double().fill(events.deep, weight=events.weight)
    assert h.compute().values().tolist() == [3.0, 1.0, 1.0 + 2 * 5.0]


def test_combinations_and_masks():
    events = lazy(5)
    pair = ak.combinations(events.j[events.j > -1], 2, fields=["a", "b"])
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(pair.a + pair.b)
    eager = ak.combinations(EVENTS.j[EVENTS.j > -1], 2, fields=["a", "b"])
    same(h.compute(), hist.Hist.new.Reg(10, -3, 3, name="x").Double().fill(np.asarray(ak.flatten(eager.a + eager.b))))


def test_jagged_flattened_beforehand_is_the_same():
    events = lazy(4)
    one = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(events.j)
    two = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(ak.flatten(events.j))
    same(one.compute(), two.compute())


def test_fill_flattened():
    record = ak.zip({"x": EVENTS.x, "n": EVENTS.n})
    axes = [hist.axis.Integer(-3, 8, name="n"), hist.axis.Regular(10, -3, 3, name="x")]
    expected = hist.Hist(*axes).fill(np.asarray(EVENTS.n), np.asarray(EVENTS.x))
    same(hg.Hist(*axes).fill_flattened(lazy(3, record)).compute(), expected)
    same(hg.Hist(*axes).fill_flattened(n=lazy(3, record).n, x=0.5).compute(), hist.Hist(*axes).fill(record.n, x=0.5))
    assert hg.Hist(axes[0]).fill_flattened(ak.Array([[1], [2, 2]])).sum() == 3


# None


def test_none_on_an_axis_is_not_filled():
    events = lazy(4)
    h = hg.Hist.new.Reg(6, 0, 6, name="o").Reg(3, -3, 3, name="x").Double().fill(events.o, events.x, weight=events.w)
    kept = EVENTS[~ak.is_none(EVENTS.o)]
    expected = hist.Hist.new.Reg(6, 0, 6, name="o").Reg(3, -3, 3, name="x").Double()
    same(h.compute(), expected.fill(ak.to_numpy(kept.o).data, np.asarray(kept.x), weight=np.asarray(kept.w)))


def test_none_in_lists_is_not_filled():
    array = ak.Array([[1.0, None], None, [], [None, 2.0, 2.0]])
    h = hg.Hist.new.Reg(3, 0, 3, name="x").Double().fill(hg.from_awkward(array, npartitions=2))
    assert h.compute().values(flow=True).tolist() == [0, 0, 1, 2, 0]


def test_first_of_each_list():
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(ak.firsts(lazy(4).j))
    assert h.compute().sum(flow=True) == np.count_nonzero(COUNTS)


def test_none_weight_is_an_error():
    events = lazy(4)
    h = hg.Hist.new.Reg(6, 0, 6, name="x").Double().fill(events.x, weight=events.ow)
    with pytest.raises(FillError, match=r"None.*ak\.fill_none") as caught:
        h.compute()
    assert "test_hist.py" in str(caught.value)
    filled = hg.Hist.new.Reg(6, 0, 6, name="x").Double().fill(events.x, weight=ak.fill_none(events.ow, 0.0))
    same(
        filled.compute(),
        hist.Hist.new.Reg(6, 0, 6, name="x")
        .Double()
        .fill(np.asarray(EVENTS.x), weight=np.asarray(ak.fill_none(EVENTS.ow, 0.0))),
    )


def test_none_sample_is_an_error():
    h = hg.Hist.new.Reg(6, 0, 6, name="x").Mean().fill(lazy(2).x, sample=lazy(2).ow)
    with pytest.raises(FillError, match="None"):
        h.compute()


def test_none_weight_where_nothing_is_filled_is_no_error():
    events = lazy(4)
    h = hg.Hist.new.Reg(6, 0, 6, name="x").Double().fill(ak.mask(events.x, ~ak.is_none(events.ow)), weight=events.ow)
    assert h.compute().sum(flow=True) == 2.0 * ak.sum(~ak.is_none(EVENTS.ow))


# partitions and datasets


def test_empty_partitions_and_empty_data():
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(lazy(100).x)
    assert lazy(100).npartitions == 100
    same(h.compute(), hist.Hist.new.Reg(10, -3, 3, name="x").Double().fill(np.asarray(EVENTS.x)))
    nothing = hg.Hist.new.Reg(10, -3, 3, name="x").StrCat([], name="s", growth=True).Weight()
    nothing.fill(lazy(2, EVENTS[:0]).x, lazy(2, EVENTS[:0]).s)
    assert nothing.compute().sum(flow=True).value == 0


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_executors(executor):
    axes = [AXES["growing string category"][0], hist.axis.Regular(2, -1, 1, name="x", growth=True)]
    events = lazy(9)
    h = hg.Hist(*axes, storage=hist.storage.Weight()).fill(events.s, events.x, weight=events.w)
    expected = hist.Hist(*axes, storage=hist.storage.Weight())
    same(h.compute(executor=executor), expected.fill(EVENTS.s.to_list(), EVENTS.x, weight=EVENTS.w))


def test_two_datasets_in_one_histogram():
    one, two = EVENTS[:25], EVENTS[25:]
    h = hg.Hist.new.StrCat([], growth=True, name="d").Reg(10, -3, 3, name="x").Double()
    expected = hist.Hist.new.StrCat([], growth=True, name="d").Reg(10, -3, 3, name="x").Double()
    for name, part, npartitions in (("one", one, 3), ("two", two, 2), ("again", one, 3)):
        h.fill(name, lazy(npartitions, part).x)
        expected.fill(name, np.asarray(part.x))
    same(h.compute(), expected)


def test_eager_jagged_values_fill_like_lazy_ones() -> None:
    pt = ak.Array([[50.0, 20.0], [], [10.0, None]])
    weight = ak.Array([1.0, 2.0, 3.0])

    def made(values: Any, weights: Any) -> Any:
        return hg.Hist.new.Reg(3, 0, 60, name="pt").Weight().fill(values, weight=weights)

    events = hg.from_awkward(ak.Array({"pt": pt, "w": weight}))
    lazy = made(events.pt, events.w).compute()
    eager = made(pt, weight)
    np.testing.assert_array_equal(eager.values(flow=True), lazy.values(flow=True))
    np.testing.assert_array_equal(eager.variances(flow=True), lazy.variances(flow=True))
    with pytest.raises(FillError, match="1 entries is None"):
        made(weight, ak.Array([1.0, None, 2.0]))
    with pytest.raises(FillError, match="do not go together"):
        made(pt, ak.Array([1.0, 2.0]))


@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_a_string_beside_an_axis_without_flow(engine: str) -> None:
    """boost-histogram loses entries there if it is given the one string, and not as many as there are entries."""
    x = hg.from_awkward(ak.Array([7, 0, 0, 0, 1, 2]))
    for axis in (hist.axis.IntCategory([0, 2], overflow=False), hist.axis.Integer(0, 3, flow=False)):
        h = hg.Hist(axis, hist.axis.StrCategory(["a"])).fill(x, "a")
        got = h.compute(engine=engine, executor="serial", progress=False)
        assert got[:, "a"].values().sum() == (4 if len(axis) == 2 else 5)

"""Histograms added up: averages are those of all entries at once, whatever the partitions and the signs of weights."""

from __future__ import annotations

import copy
import pickle
from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.disk.plain import read, written
from hepgraph.hist.merge import merged
from hepgraph.processor.accumulate import accumulate

Mean, WeightedMean = hist.storage.Mean, hist.storage.WeightedMean
AXES: dict[str, Any] = {
    "regular": lambda: hist.axis.Regular(4, -2, 2, name="x"),
    "without flow": lambda: hist.axis.Regular(4, -2, 2, flow=False, name="x"),
    "growing": lambda: hist.axis.Regular(2, 0, 1, growth=True, name="x"),
    "growing edges": lambda: hist.axis.Variable([0, 0.5, 1], growth=True, name="x"),
    "circular": lambda: hist.axis.Regular(3, -1, 1, circular=True, name="x"),
    "logarithmic": lambda: hist.axis.Regular(3, 0.1, 3, transform=hist.axis.transform.log, name="x"),
    "growing whole": lambda: hist.axis.Integer(0, 1, growth=True, name="n"),
    "categories": lambda: hist.axis.IntCategory([0, 2], name="n"),
    "growing categories": lambda: hist.axis.IntCategory([], growth=True, name="n"),
    "names": lambda: hist.axis.StrCategory([], growth=True, name="s"),
    "boolean": lambda: hist.axis.Boolean(name="b"),
}
entry = st.tuples(
    st.sampled_from([-5.0, -1.5, -0.25, 0.3, 1.75, 4.0]),
    st.sampled_from([1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 0.0, -3.0]),
    st.sampled_from([0.0, 1000.0, 91.25, -7.5]).flatmap(lambda at: st.integers(-9, 9).map(lambda k: at + k / 8)),
)


def events_of(entries: list[tuple[float, float, float]]) -> ak.Array:
    x, w, y = (np.array([each[i] for each in entries], float) for i in range(3))
    n = np.floor(x).astype(int)
    return ak.zip({"x": x, "w": w, "y": y, "n": n, "b": x > 0, "s": ak.Array([f"c{k}" for k in n])})


def exact(got: Any, data: ak.Array, weighted: bool) -> dict[Any, tuple[Fraction, ...]]:
    """The sums of weights and their squares, and of weighted samples and their squares, by the numbers of the bins."""
    sums: dict[Any, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 4)
    for event in data.to_list():
        place = []
        for axis in got.axes:
            value = event[axis.name]
            known = list(axis) if "Category" in type(axis).__name__ else None
            at = axis.index(value) if known is None else known.index(value) if value in known else len(known)
            place.append(at + axis.traits.underflow)
        if all(0 <= at < axis.extent for at, axis in zip(place, got.axes, strict=True)):
            w, y = Fraction(event["w"] if weighted else 1), Fraction(event["y"])
            bin_ = sums[tuple(place)]
            for i, amount in enumerate((w, w * w, w * y, w * y * y)):
                bin_[i] += amount
    return {place: tuple(bin_) for place, bin_ in sums.items()}


def check(got: Any, data: ak.Array, weighted: bool) -> None:
    """A histogram has the averages of all entries, calculated without rounding."""
    known = exact(got, data, weighted)
    view = got.view(flow=True)
    for place in np.ndindex(view.shape):
        w, w2, wy, wyy = known.get(place, (Fraction(0),) * 4)
        cell = view[place]
        if got.storage_type is WeightedMean:
            assert (cell["sum_of_weights"], cell["sum_of_weights_squared"]) == (w, w2)
            spread = cell["_sum_of_weighted_deltas_squared"]
        else:
            assert cell["count"] == w
            spread = cell["_sum_of_deltas_squared"]
        if w2 == 0:
            assert (cell["value"], spread) == (0, 0)
        elif w == 0:
            assert not np.isfinite(cell["value"])  # there is no mean
        else:
            assert cell["value"] == pytest.approx(float(wy / w), rel=1e-11, abs=1e-11)
            size = float(wyy - wy * wy / w)
            assert spread == pytest.approx(size, rel=1e-9, abs=1e-9 * (1 + abs(float(wy / w))) ** 2)


def filled(data: ak.Array, axes: list[str], storage: Any, weighted: bool, npartitions: int) -> Any:
    events = hg.from_awkward(data, npartitions=npartitions)
    h = hg.Hist(*(AXES[name]() for name in axes), storage=storage())
    more = {"weight": events.w} if weighted else {}
    return h.fill(**{axis.name: events[axis.name] for axis in h.axes}, sample=events.y, **more)


def shapes(names: Iterable[str] = AXES) -> Any:
    return st.lists(st.sampled_from(list(names)), min_size=1, max_size=2, unique_by=lambda name: AXES[name]().name)


FIT = [name for name in AXES if name != "growing edges"]  # which are not added up once they have grown apart


@settings(deadline=None)
@given(
    st.lists(entry, min_size=1, max_size=24),
    shapes(),
    st.sampled_from([Mean, WeightedMean]),
    st.booleans(),
    st.integers(1, 7),
)
def test_averages_are_those_of_a_single_pass(
    entries: list[Any], axes: list[str], storage: Any, weighted: bool, npartitions: int
) -> None:
    data = events_of(entries)
    with np.errstate(all="ignore"):
        for engine in ("kernel", "interpreter"):
            h = filled(data, axes, storage, weighted, npartitions)
            check(h.compute(executor="serial", engine=engine, progress=False), data, weighted)


@settings(deadline=None)
@given(
    st.lists(st.lists(entry, min_size=1, max_size=8), min_size=2, max_size=4),
    shapes(FIT),
    st.sampled_from([Mean, WeightedMean]),
)
def test_averages_of_datasets_and_chunks_add_up(parts: list[Any], axes: list[str], storage: Any) -> None:
    all_ = ak.concatenate([events_of(part) for part in parts])
    with np.errstate(all="ignore"):
        results = [
            filled(events_of(part), axes, storage, True, 2).compute(executor="serial", progress=False) for part in parts
        ]
        total: Any = None
        for result in results:  # as datasets are
            total = accumulate(total, {"h": pickle.loads(pickle.dumps(result))})
        check(total["h"], all_, True)
        eager = hg.Hist(*(AXES[name]() for name in axes), storage=storage())
        for part in map(events_of, parts):  # as chunks are, without tracing
            columns = {axis.name: part[axis.name] for axis in eager.axes}
            eager.fill(**columns, sample=part.y, weight=part.w)
        check(eager, all_, True)


def test_weights_that_cancel_in_a_partition() -> None:
    events = hg.from_awkward(ak.Array({"w": [1.0, -1.0, 2.0, 1.0], "m": [90.0, 94.0, 91.0, 92.0]}), npartitions=2)
    for storage in (Mean, WeightedMean):
        h = hg.Hist(hist.axis.Regular(1, 0, 200), storage=storage()).fill(events.m, sample=events.m, weight=events.w)
        for engine in ("kernel", "interpreter"):
            got = h.compute(executor="serial", engine=engine, progress=False)
            assert got.values().tolist() == [pytest.approx((90 - 94 + 182 + 92) / 3)]


def test_a_histogram_that_was_changed_since_is_what_it_shows() -> None:
    h = hg.Hist(hist.axis.Regular(1, 0, 2), storage=WeightedMean()).fill(
        [1.0, 1.0], sample=[4.0, 6.0], weight=[1.0, 3.0]
    )
    h = hist.Hist(h)
    h *= 2
    total = merged(h.copy(), h)
    assert (total.view()["sum_of_weights"].tolist(), total.values().tolist()) == (
        [8.0],
        [11.0],
    )  # boost multiplies the samples
    part = merged(h[0:1], h[0:1])
    assert part.values().tolist() == [11.0]


def test_a_large_mean_keeps_its_spread() -> None:
    y = 1e8 + np.arange(50) / 8
    events = hg.from_awkward(ak.Array({"y": y}), npartitions=5)
    h = hg.Hist(hist.axis.Regular(1, 0, 1e9), storage=Mean()).fill(events.y, sample=events.y)
    got = h.compute(executor="serial", progress=False)
    assert got.view()["_sum_of_deltas_squared"].tolist() == [pytest.approx(50 * np.var(y - 1e8), rel=1e-12)]


def test_samples_that_are_not_finite_give_the_same_in_any_partitioning() -> None:
    y = np.array([np.inf, 1.0, 2.0, np.inf, 3.0])
    shown = set()
    for n in (1, 2, 5):
        for engine in ("kernel", "interpreter"):
            events = hg.from_awkward(ak.Array({"y": y}), npartitions=n)
            h = hg.Hist(hist.axis.Regular(1, 0, 9), storage=Mean()).fill(events.y * 0 + 1, sample=events.y)
            with np.errstate(all="ignore"):
                shown.add(str(h.compute(executor="serial", engine=engine, progress=False).view(flow=True).tolist()))
    assert len(shown) == 1


def test_copies_carry_the_sums() -> None:
    h = hg.Hist(hist.axis.Regular(1, 0, 2), storage=WeightedMean()).fill(
        [1.0, 1.0], sample=[4.0, 6.0], weight=[1.0, -1.0]
    )
    more = hist.Hist(hist.axis.Regular(1, 0, 2), storage=WeightedMean()).fill([1.0], sample=[3.0], weight=[2.0])
    for twin in (
        copy.copy(h),
        copy.deepcopy(h),
        pickle.loads(pickle.dumps(h)),
        h.copy(),
        hist.Hist(h.copy()),
        read(written(hist.Hist(h))[0]),
    ):
        assert merged(twin, more).values().tolist() == [pytest.approx((4 - 6 + 6) / 2)]
    assert (h + more).values().tolist() == [pytest.approx((4 - 6 + 6) / 2)]
    h += more
    assert h.values().tolist() == [pytest.approx((4 - 6 + 6) / 2)]
    grown = [
        hg.Hist(hist.axis.StrCategory([], growth=True), storage=Mean()).fill(["a", s], sample=[1, 4]) for s in "bc"
    ]
    total = grown[0] + grown[1]
    assert (list(total.axes[0]), total.values().tolist()) == (["a", "b", "c"], [1, 4, 4])

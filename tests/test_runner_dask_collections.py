"""To and from dask's collections: with dask's own schedulers, and with a Client."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import DamagedFileError, DisagreementError, PromotionWarning, UnsupportedError

dask = pytest.importorskip("dask")

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample.root"
ARRAY = ak.Array({"x": np.random.default_rng(5).normal(0, 1, 100), "j": ak.unflatten(np.arange(200), [2] * 100)})


@pytest.fixture
def lazy():
    events = hg.from_awkward(ARRAY, npartitions=21)
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Weight().fill(events.x, weight=events.x)
    return {"h": h, "sum": ak.sum(events.x), "array": events.j[events.x > 0]}


def same(out, lazy):
    plain = hg.compute(lazy, executor="serial")
    assert out["h"] == plain["h"]
    assert out["sum"] == plain["sum"]
    assert ak.array_equal(out["array"], plain["array"])


@pytest.mark.parametrize("scheduler", [None, "synchronous", "threads"])
def test_dask_compute(lazy, scheduler):
    assert all(dask.is_dask_collection(x) for x in lazy.values())
    options = {} if scheduler is None else {"scheduler": scheduler}
    (out,) = dask.compute(lazy, **options)
    same(out, lazy)
    one, two = dask.compute(lazy["h"], {"a": [lazy["sum"]]}, **options)
    assert one == out["h"]
    assert two == {"a": [out["sum"]]}
    same(hg.compute(lazy), lazy)


def test_looking_takes_nothing_away():
    """Of dask-histogram, looking at a histogram as a collection loses its fills."""
    events = hg.from_awkward(ARRAY)
    h = hg.Hist.new.Reg(10, -3, 3, name="x").Double().fill(events.x)
    once = h.compute()
    dask.is_dask_collection(h)
    dask.compute({"h": h})
    h.fill(events.x)
    assert (dask.compute(h)[0].values(flow=True) == 2 * once.values(flow=True)).all()
    assert (h.compute().values(flow=True) == 2 * once.values(flow=True)).all()


def test_persist_optimize_delayed_tokenize(lazy):
    (kept,) = dask.persist(lazy["sum"], scheduler="synchronous")
    assert kept.compute(scheduler="synchronous") == lazy["sum"].compute()
    (again,) = dask.optimize(lazy["sum"])
    assert dask.compute(again, scheduler="synchronous") == (lazy["sum"].compute(),)
    twice = dask.delayed(lambda x: 2 * x)(lazy["sum"])
    assert twice.compute(scheduler="synchronous") == 2 * lazy["sum"].compute()
    assert dask.base.tokenize(lazy["h"]) == dask.base.tokenize(lazy["h"]) != dask.base.tokenize(lazy["sum"])


def test_the_keys_are_readable(lazy):
    from dask.utils import key_split

    graph = hg.open(SAMPLE, schema="nanoaod").repartition(300).MET.pt.__dask_graph__()
    names = {key_split(key) for key in graph}
    assert names == {"hepgraph-plan", "sample-ranges", "sample-merge", "hepgraph-result"}
    assert len(graph) < 300, "many ranges are a few tasks"


def test_with_a_client(lazy):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        assert client.compute(lazy["h"]).result() == lazy["h"].compute(executor="serial")
        assert client.persist(lazy["sum"]).compute(scheduler=client) == lazy["sum"].compute(executor="serial")
        same(client.compute(lazy, sync=True), lazy)


def test_reading_is_tried_again_and_what_does_not_fit_is_cut(fileset, faults, no_waiting):
    """As in every run: the faults are gone after a while, the result is whole."""
    x = hg.open(fileset["data"], schema="nanoaod", step_size=10).MET.pt
    plain = x.compute(executor="serial")
    faults.add("a", 10, TimeoutError("slow"), times=3)
    faults.add("b", 20, MemoryError("too much"), longer_than=3)
    assert dask.compute(x, scheduler="synchronous")[0].to_list() == plain.to_list()
    assert faults.calls.count(("a", 10, 20)) == 2 + 3
    assert ("b", 20, 22) in faults.calls
    faults.add("a", 10, TimeoutError("slow"), times=1)
    faults.add("b", 20, MemoryError("too much"), longer_than=3)
    parts = dask.compute(*x.to_delayed(), scheduler="synchronous")
    assert ak.concatenate(parts).to_list() == plain.to_list()
    faults.add("a", 10, DamagedFileError("bad"))
    with pytest.raises(DamagedFileError, match="bad"):
        dask.compute(x, scheduler="synchronous")


# by parts


def test_to_delayed(lazy):
    parts = lazy["array"].to_delayed()
    assert len(parts) == 21
    whole = ak.concatenate(dask.compute(*parts, scheduler="synchronous"))
    assert whole.to_list() == lazy["array"].compute().to_list()
    with pytest.raises(UnsupportedError) as caught:
        lazy["sum"].to_delayed()
    assert str(caught.value) == "Only a lazy array has partitions; use dask.delayed(x) for a number or a histogram."


def test_to_dask_array_and_bag():
    pytest.importorskip("dask.array")
    events = hg.from_awkward(ARRAY, npartitions=3)
    x = events.x.to_dask_array()
    assert x.chunks == ((33, 33, 34),)
    np.testing.assert_array_equal(x.compute(scheduler="synchronous"), ARRAY.x)
    cut = events.x[events.x > 0].to_dask_array()
    assert cut.sum().compute(scheduler="synchronous") == pytest.approx(ak.sum(ARRAY.x[ARRAY.x > 0]))
    assert events.j.to_dask_bag().compute(scheduler="synchronous") == ARRAY.j.to_list()
    with pytest.raises(UnsupportedError) as caught:
        events.j.to_dask_array()
    assert str(caught.value) == (
        "A dask.array holds plain numbers, not ## * var * int64; use ak.flatten, ak.fill_none, or fields."
    )


def test_to_dask_dataframe():
    events = hg.from_awkward(ARRAY, npartitions=3)
    pytest.importorskip("pandas", reason="needs pandas")
    frame = ak.zip({"x": events.x, "y": 2 * events.x}).to_dask_dataframe()
    np.testing.assert_array_equal(frame.compute(scheduler="synchronous").y, 2 * ARRAY.x)
    with pytest.raises(UnsupportedError, match="choose fields without lists"):
        events.to_dask_dataframe()


# the other way


def test_from_map():
    calls = []

    def make(n, start):
        calls.append(n)
        return ak.Array({"x": np.arange(start, start + n), "j": [[1.0] * i for i in range(n)]})

    events = hg.from_map(make, [2, 0, 5], [0, 10, 20], lengths=[2, 0, 5], meta=make(1, 0), metadata={"dataset": "toy"})
    assert calls == [1]
    assert events.npartitions == 2, "a part without entries is none"
    out, report = hg.compute({"x": events.x, "j": ak.sum(events.j)}, executor="processes", report=True)
    assert out["x"].to_list() == [0, 1, 20, 21, 22, 23, 24]
    assert out["j"] == 1 + 1 + 2 + 3 + 4
    assert report.complete
    assert [row.dataset for row in report.rows] == ["toy", "toy"]
    assert hg.from_map(make, [2, 3], [0, 5]).x.compute().to_list() == [0, 1, 5, 6, 7]
    assert events.repartition(4).x.compute(executor="serial").to_list() == out["x"].to_list()


def test_from_map_with_what_does_not_fit():
    with pytest.raises(ValueError, match="there are no inputs: a dataset has at least one part"):
        hg.from_map(len, [])
    with pytest.raises(ValueError, match="there are 2 parts and 1 lengths"):
        hg.from_map(len, [1, 2], lengths=[3])
    wrong = hg.from_map(lambda n: ak.Array({"x": np.zeros(n)}), [1, 2], lengths=[1, 3])
    with pytest.raises(DisagreementError) as caught:
        wrong.x.compute(executor="serial")
    assert str(caught.value) == "<part 1> has 2 entries, where 3 were announced."
    other = hg.from_map(lambda name: ak.Array({name: np.zeros(2)}), ["x", "y"], lengths=[2, 2])
    with pytest.raises(DisagreementError) as caught:
        other.x.compute(executor="serial")
    assert str(caught.value) == ("<part 1> has no 'x', which the first part has; it is 2 * {y: float64}.")
    types = hg.from_map(lambda kind: ak.Array({"x": np.zeros(2, kind)}), [float, int], lengths=[2, 2])
    with pytest.raises(DisagreementError) as caught:
        types.x.compute(executor="serial")
    assert str(caught.value) == "<part 1> has int64 for 'x', the first part float64."


def test_from_map_with_parts_that_differ():
    """Parts that are made to be counted tell their types: they are united as those of files are."""

    def make(kind, names):
        return ak.Array({name: np.ones(2, kind) for name in names})

    with pytest.warns(PromotionWarning, match="x is read as float64: int16 in 1 file .<part 0>., float64 in 2 files"):
        events = hg.from_map(make, ["i2", "f8", "f8"], ["xy", "x", "xz"], optional={"y": None, "z": 0})
    found = hg.compute({name: events[name] for name in "xyz"}, executor="serial")
    assert found["x"].to_list() == [1.0] * 6
    assert found["y"].to_list() == [1, 1, None, None, None, None]
    assert found["z"].to_list() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    events = hg.from_map(lambda values: ak.Array({"x": values}), [[], [1, 2], []])
    assert hg.compute(events.x, executor="serial").to_list() == [1, 2]
    other = hg.from_map(lambda name: ak.Array({name: np.zeros(2)}), ["x", "y"])
    with pytest.raises(DisagreementError, match="No column 'x' in 1 of the 2 files of this dataset: <part 1>"):
        other.x.compute(executor="serial")


def test_from_delayed_and_back():
    parts = [dask.delayed(lambda n: ak.Array({"x": np.arange(n)}))(n) for n in (3, 4)]
    events = hg.from_delayed(parts)
    assert events.x.compute(executor="serial").to_list() == [0, 1, 2, 0, 1, 2, 3]
    back = hg.from_delayed(events.x.to_delayed(), lengths=[3, 4])
    assert ak.sum(back).compute() == 9


def test_two_maps_are_two_datasets():
    one, two = (hg.from_map(lambda n, k=k: ak.Array({"x": np.full(n, k)}), [2]) for k in (1, 2))
    assert hg.compute([one.x, two.x])[1].to_list() == [2, 2]

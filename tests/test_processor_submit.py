"""Runs in the background: how far they are, what they have so far, giving them up."""

from __future__ import annotations

import threading

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hepgraph as hg
from hepgraph.errors import CancelledError, FallbackWarning
from hepgraph.processor import submit

ARRAY = ak.Array({"x": np.arange(40.0), "n": np.arange(40)})


class Gate:
    """A function that stops at a number until it is told to go on."""

    def __init__(self, at, name):
        self.at, self.name, self.reached, self.open = at, name, threading.Event(), threading.Event()

    def __call__(self, x):
        if len(x) and int(x[0]) == self.at:
            self.reached.set()
            assert self.open.wait(30)
        return x


def gated(at, name):
    gate = Gate(at, name)  # of another name, it is another function
    events = hg.from_awkward(ARRAY, npartitions=8)
    n = hg.map_partitions(gate, events.n, meta=ARRAY.n[:0])
    return gate, {"n": ak.sum(n), "h": hg.Hist.new.Reg(4, 0, 40, name="n").Double().fill(n), "rows": n}


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_what_there_is_so_far(executor):
    gate, tree = gated(35, executor)
    handle = hg.submit(tree, executor=hg.executors.Threads(2) if executor == "threads" else executor)
    gate.reached.wait(30)
    if executor == "threads":  # the other thread goes on, and the run answers while it waits
        while handle.progress.ranges < 7:
            threading.Event().wait(0.01)
        part = handle.partial()
        assert part["rows"].to_list() == list(range(35))
        assert part["n"] == sum(range(35))
        assert part["h"].sum() == 35
        assert handle.partial()["h"] == part["h"]
        assert (handle.progress.ranges, handle.progress.all_ranges) == (7, 8)
        assert (handle.progress.events, handle.progress.share) == (35, 35 / 40)
        assert [row.start for row in handle.report.rows] == list(range(0, 35, 5))
        assert repr(handle).startswith("<hepgraph.Handle running: 7 of 8 ranges, 35 of 40 events in ")
        assert 'value="88"' in handle._repr_html_()
    assert not handle.done()
    with pytest.raises(TimeoutError, match=r"The run is not over after 0.01 s: 7 of 8 ranges"):
        handle.result(timeout=0.01)
    gate.open.set()
    out = handle.result()
    plain = hg.compute(tree, executor="serial")
    assert (out["n"], out["h"], out["rows"].to_list()) == (plain["n"], plain["h"], plain["rows"].to_list())
    assert handle.report.complete
    assert handle.partial()["n"] == plain["n"], "it is over: the result"
    assert "done: 8 of 8" in repr(handle)
    assert not handle.cancel()


def test_of_no_events_at_the_beginning():
    gate, tree = gated(0, "beginning")
    handle = hg.submit(tree, executor=hg.executors.Threads(1 + 1))
    gate.reached.wait(30)
    gate.at = -1
    while handle.progress.ranges < 7:
        threading.Event().wait(0.01)
    gate.open.set()
    handle.result()
    run = handle._run
    run.gathered = [type(each).of(each.leaves) for each in run.gathered]  # as before the first result
    assert run.so_far()["n"] == 0
    assert run.so_far()["h"].sum() == 0
    assert run.so_far()["rows"].to_list() == []


def test_cancel():
    gate, tree = gated(35, "cancel")
    handle = hg.submit(tree, executor=hg.executors.Threads(2))
    gate.reached.wait(30)
    assert handle.cancel()
    gate.open.set()
    with pytest.raises(CancelledError, match=r"The run was cancelled: \d of 8 ranges, \d+ of 40 events"):
        handle.result()
    assert repr(handle).startswith("<hepgraph.Handle cancelled: ")


def test_errors_come_with_the_result():
    def bad(x):
        raise KeyError("mine")

    handle = hg.submit(hg.map_partitions(bad, hg.from_awkward(ARRAY).x, meta=ARRAY.x[:0]), executor="serial")
    with pytest.raises(KeyError, match="mine"):
        handle.result()
    with pytest.raises(KeyError, match="mine"):
        handle.partial()
    assert "failed (KeyError)" in repr(handle)


class Count(hg.Processor):
    """One dataset recorded, one run eagerly; a last step."""

    def process(self, events):
        n = ak.num(events, axis=0)
        return {"n": n if events.metadata["dataset"] == "a" else int(ak.sum(events.one))}

    def postprocess(self, out):
        return {"twice": 2 * out["n"]}


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_processor(tmp_path, executor):
    pq.write_table(pa.table({"one": [1] * 10}), tmp_path / "ten.parquet")
    fileset = {name: [str(tmp_path / "ten.parquet")] for name in "ab"}

    def waited_for():
        handle = hg.submit(Count(), fileset, schema="base", step_size=3, executor=executor)
        handle.result()
        return handle

    with pytest.warns(FallbackWarning, match="dataset 'b'"):
        handle = waited_for()
    assert handle.result() == {"twice": 40}
    assert handle._run.so_far() == {"twice": 40}
    assert handle.report.events == 20


@pytest.mark.parametrize("executor", ["serial", "processes"])
@pytest.mark.parametrize("eager", [False, True])
def test_what_is_changed_afterwards_changes_nothing(tmp_path, executor, eager):
    pq.write_table(pa.table({"one": [1] * 10}), tmp_path / "ten.parquet")
    fileset = {"a": {"files": [str(tmp_path / "ten.parquet")], "metadata": {"weight": 1}}}
    options = {"schema": "base", "step_size": 3, "executor": executor, "eager": eager}

    class Scaled(hg.Processor):
        table = {"k": 1}

        def process(self, events):
            factor = self.k * self.table["k"] * events.metadata["weight"]
            return {"sum": ak.sum(events.one) * factor}

    one, handles = Scaled(), []
    for k in (2, 3):
        one.k = k
        handles.append(hg.submit(one, fileset, **options))
        handles.append(hg.submit(lambda events: {"sum": ak.sum(events.one) * k}, fileset, **options))
    one.k, one.table["k"], fileset["a"]["metadata"]["weight"] = 5, 7, 9
    k = 11
    assert [handle.result() for handle in handles] == [{"sum": 20}, {"sum": 20}, {"sum": 30}, {"sum": 30}]


def test_a_nest_that_is_changed_afterwards(monkeypatch):
    events = hg.from_awkward(ak.Array({"x": [1.0, 2.0, 3.0]}), npartitions=3)
    hist = hg.Hist.new.Reg(4, 0, 4).Double().fill(events.x)
    nest = {"hist": hist, "events": events}
    before = submit.Handle.__init__

    def changed(self, call, executor):
        events["x"] = events.x * 2
        hist.fill(events.x)
        nest["more"] = ak.sum(events.x)
        before(self, call, executor)

    monkeypatch.setattr(submit.Handle, "__init__", changed)
    found = hg.submit(nest, executor="serial").result()
    assert found["hist"].sum(flow=True) == 3
    assert found["events"].x.to_list() == [1.0, 2.0, 3.0]
    assert found.keys() == {"hist", "events"}

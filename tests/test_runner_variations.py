"""Additions of each variation to a plan."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg


def smoothed(x):
    return x / 2


@pytest.fixture
def events():
    jets = ak.Array([[{"pt": 50.0, "eta": 0.5}, {"pt": 20.0, "eta": -1.0}], [], [{"pt": 30.0, "eta": 2.0}]])
    return hg.from_awkward(ak.zip({"met": np.array([10.0, 20.0, 40.0]), "sf": np.ones(3), "jets": jets}, depth_limit=1))


def test_explain(events):
    met = hg.vary(
        events.met,
        {
            "A_up": events.met * 2,
            "A_down": events.met / 2,
            "B": events.met * events.sf,
            "C": hg.map_partitions(smoothed, events.met),
        },
    )
    for result in (met, hg.Hist.new.Reg(3, 0, 9, name="x").Double().fill(met), {"a": [met, events.jets.pt]}):
        text = str(hg.explain(result)).splitlines()
        at = text.index("4 variations, each beside the nominal:")
        told = [" ".join(line.split()) for line in text[at + 1 : at + 4]]
        ups, own, called = told
        assert ups.startswith("A_up, A_down ")
        assert own.startswith("B ")
        assert own.endswith("reads sf")
        assert called.startswith("C ")
        assert called.endswith("calls smoothed")
        assert text[at + 4].startswith("results, ")
    assert "beside the nominal" not in str(hg.explain(events.met))


def test_many(events):
    met = hg.vary(events.met, {f"n{i}": events.met + i for i in range(1, 41)})
    (line,) = [line for line in str(hg.explain(met)).splitlines() if line.startswith("  n1, n2")]
    assert line == "  n1, n2, n3, n4, ... (40)  1 operation"


def test_visualize(events):
    met = hg.vary(events.met, "A", up=events.met * 2)
    svg = hg.visualize({"met": met, "sf": events.sf}).svg
    for label in ("met: nominal", "met: A_up", ">sf<"):
        assert label in svg
    h = hg.Hist.new.Reg(3, 0, 9, name="x").Double().fill(met)
    assert "histogram of x: A_up" in h.visualize().svg
    assert "result: A_up" in met.visualize().svg

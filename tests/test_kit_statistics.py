"""Statistics of weights: sums, extremes and counts, against plain Python."""

import math

import awkward as ak
import numpy as np
import pytest
from cuts import HARD, columns, drawn, ways
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.disk.plain import read, written
from hepgraph.errors import LazyError


def statistics(values):
    """The statistics of a weight, value by value."""
    row = {"entries": 0, "sumw": 0.0, "sumw2": 0.0, "negative": 0, "zero": 0, "nan": 0, "min": math.inf}
    row["max"] = -math.inf
    for w in values:
        row["entries"] += 1
        if not math.isfinite(w):
            row["nan"] += 1
            continue
        row |= {"sumw": row["sumw"] + w, "sumw2": row["sumw2"] + w * w}
        row |= {"min": min(row["min"], w), "max": max(row["max"], w)}
        row |= {"negative": row["negative"] + (w < 0), "zero": row["zero"] + (w == 0)}
    return row


def weights_of(events):
    return hg.Weights(events, nan="ignore").add("w", events.w, up=2 * events.w).add("v", events.v)


@settings(deadline=None)
@given(drawn(HARD), st.integers(0, 12), st.integers(1, 4))
def test_each_weight(events, cut, npartitions):
    with np.errstate(invalid="ignore"):
        wanted = {
            "w": statistics([e["w"] for e in events]),
            "w_up": statistics([2 * e["w"] for e in events]),
            "v": statistics([e["v"] for e in events]),
            "all weights": statistics([e["w"] * e["v"] for e in events]),
        }
        for array, computed in ways(events, npartitions):
            assert computed(weights_of(array).statistics()).to_dict() == wanted
        parts = [weights_of(columns(part)).statistics() for part in (events[:cut], events[cut:])]
        assert sum(parts).to_dict() == wanted


def test_looking_at_statistics():
    events = hg.from_awkward(ak.Array({"w": [1.0, -2.0, 0.0]}), npartitions=2)
    weights = hg.Weights(events).add("w", events.w)
    lazy = weights.statistics()
    assert repr(lazy) == "<hepgraph.WeightStatistics of w, all weights: .compute()>"
    for use in (lambda: lazy["w"], lambda: lazy.to_dict(), lambda: lazy + lazy):
        with pytest.raises(LazyError, match="compute"):
            use()
    found = lazy.compute(progress=False)
    assert repr(found) == (
        "Statistics of weights\n"
        "weight       entries  sumw  sumw2  min  max  negative  zero  nan\n"
        "w                  3    -1      5   -2    1         1     1    0\n"
        "all weights        3    -1      5   -2    1         1     1    0"
    )
    assert "<td>w</td>" in found._repr_html_()
    data, pickled = written(found)
    assert pickled == []
    assert read(data) == found
    assert (found + found)["w"]["sumw"] == -2.0


def test_datasets_with_other_weights():
    """Data have no weights that simulation has."""
    one = hg.Weights(np.zeros(1)).add("a", 2.0).statistics()
    two = hg.Weights(np.zeros(1)).add("b", 3.0).statistics()
    assert list((one + two).rows) == ["a", "all weights", "b"]
    assert (one + two)["all weights"]["sumw"] == 5.0


def test_statistics_as_a_table():
    pytest.importorskip("pandas", reason="needs pandas")
    assert hg.Weights(np.zeros(2)).add("a", 2.0).statistics().to_pandas().loc["a", "sumw"] == 4.0

"""Hints at errors of other libraries in eager runs: what they say to write works, recorded and eagerly."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.processor.hints import add_hints

SAMPLE = str(Path(__file__).resolve().parents[1] / "data" / "sample.root")
EDGES = [0.0, 20.0, 40.0, 1000.0]


def run(number_of, eager):
    def process(events):
        return {"n": ak.sum(number_of(events.Jet.pt)), "met": ak.sum(np.digitize(events.MET.pt, EDGES))}

    return hg.run(process, {"a": [SAMPLE]}, executor="serial", progress=False, eager=eager, strict=not eager)


WAYS = [
    lambda x: ak.unflatten(np.digitize(ak.flatten(x), EDGES), ak.num(x)),
    lambda x: sum(x >= edge for edge in EDGES),
]


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_bins_of_lists(way, eager):
    assert run(way, eager) == run(lambda x: np.digitize(x, EDGES), False)


@pytest.mark.parametrize("function", [np.digitize, lambda x, edges: np.searchsorted(edges, x), np.setdiff1d])
def test_functions_of_numpy_that_take_no_lists(function):
    with pytest.raises(ValueError, match="not regular") as caught:
        run(lambda x: function(x, EDGES), True)
    assert [note for note in caught.value.__notes__ if "ak.unflatten(function(ak.flatten(x)), ak.num(x))" in note]


def test_others_are_left_alone():
    for error in (ValueError("no"), AttributeError("no", name="nothing"), KeyError("variations")):
        add_hints(error)
        assert not hasattr(error, "__notes__")

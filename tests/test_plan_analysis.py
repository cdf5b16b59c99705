"""The needs of a pass are found once for the same results of the same files, and are those of no other pass."""

import awkward as ak
import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from limiting import limited

import hepgraph as hg
from hepgraph.graph.node import Node, ordered
from hepgraph.io.required import needs_of
from hepgraph.plan.analysis import Analysis, analysed, events_of
from hepgraph.runner.compute import passes

RESULTS = {
    "met": lambda e: e.met,
    "cut": lambda e: e.met[e.run > 1],
    "jets": lambda e: ak.num(e.Jet[e.Jet.pt > 30]),
    "sum": lambda e: ak.sum(e[e.met > 2].Jet.pt),
    "called": lambda e: hg.map_partitions(np.sqrt, e.met),
    "counts": lambda e: ak.num(e.Jet),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    array = ak.Array({"met": [1.0, 2.0, 3.0], "run": [1, 2, 3], "Jet": [[{"pt": 40.0}], [], [{"pt": 20.0}]]})
    paths = [str(tmp_path_factory.mktemp("files") / f"{k}.parquet") for k in range(2)]
    for path in paths:
        ak.to_parquet(array, path)
    return paths


@settings(deadline=None, max_examples=examples(30))
@given(st.integers(0, 1), st.lists(st.sampled_from(list(RESULTS)), min_size=1, max_size=3), st.integers(1, 3))
def test_what_is_kept_is_what_is_found(files, which, names, kept):
    """Of two files, of any results, whatever was asked before and however much is kept."""
    with limited(kept=kept):
        events = hg.from_parquet(files[which])
        ((one,), _), ((two,), _) = (passes([RESULTS[name](events) for name in names]) for _ in range(2))
        order = ordered([*one.wants, events_of(one.origin)])
        assert one.needs() == two.needs() == needs_of(order)
        assert one.columns() == two.columns()
        known, fresh = analysed(one.origin, one.wants), Analysis(one.origin, tuple(one.wants))
        assert (known.order, known.calls, known.masks) == (fresh.order, fresh.calls, fresh.masks)
        assert len(known.calls) == sum(isinstance(item, Node) and item.op == "call" for item in order)


def test_it_is_found_once_for_files_and_not_kept_of_memory(files):
    def analysis(events):
        ((made,), _) = passes(RESULTS["sum"](events))
        return analysed(made.origin, made.wants)

    assert analysis(hg.from_parquet(files[0])) is analysis(hg.from_parquet(files[0]))
    assert analysis(hg.from_parquet(files[0])) is not analysis(hg.from_parquet(files[1]))
    events = hg.from_awkward(ak.from_parquet(files[0]))
    assert analysis(events) is not analysis(events)

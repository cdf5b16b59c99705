"""Completion and `dir()`: public names alone, and of physics what the array has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import awkward as ak
import pytest

import hepgraph as hg

ROOT = Path(__file__).resolve().parents[1]

TABS = """
import hepgraph as hg
from IPython.core.completer import IPCompleter, provisionalcompleter
events = hg.open("data/sample.root")
events.MET.pt.compute(executor="serial", progress=False), hg.preprocess, repr(events)  # which import all rooms
names = {"hg": hg, "events": events, "pt": events.Muon.pt}
for jedi in (True, False):
    for name in names:
        with provisionalcompleter():
            found = IPCompleter(shell=None, namespace=names, use_jedi=jedi).completions(f"{name}.", len(name) + 1)
            print(name, *sorted({each.text.lstrip(".") for each in found}))
"""


@pytest.fixture
def events():
    return hg.from_root(ROOT / "data" / "sample.root", schema="nanoaod")


def test_the_package():
    assert dir(hg) == sorted(hg.__all__)
    assert all(hasattr(hg, name) for name in hg.__all__)


def test_arrays(events):
    plain = {"compute", "eager", "fields", "head", "is_tuple", "mask", "metadata", "ndim", "npartitions", "persist"} | {
        "repartition", "show", "source", "to_dask", "to_dask_array", "to_dask_bag", "to_dask_dataframe", "to_delayed",
        "type", "typestr", "variations", "visualize"}  # fmt: skip
    assert set(dir(events)) == plain | set(events.fields)
    assert set(dir(events.Muon.pt)) == plain
    assert {"boost", "mass", "deltaR", "metric_table", "matched_jet", "charge", "hasFlags"} <= set(dir(events.Muon))
    assert {"delta_phi", "px"} <= set(dir(events.MET)), "a vector across the beam"
    assert not {"boost", "eta", "mass", "deltaR"} & set(dir(events.MET))
    assert not {"x", "boost", "delta_phi", "nearest"} & set(dir(events.HLT))


def test_all_that_is_offered_is_there(events):
    for x in (events, events.Muon, events.MET, events.HLT, events.Muon.pt, ak.num(events.Muon), ak.sum(events.MET.pt)):
        for name in set(dir(x)) - {"npartitions", "source", "metadata"}:
            assert hasattr(x, name), name


def test_attributes_that_the_user_registered(events):
    class HardArray(ak.Array):
        def harder(self):
            return self.pt * 2

    ak.behavior["*", "Muon"] = HardArray
    try:
        assert "harder" in dir(events.Muon)
    finally:
        del ak.behavior["*", "Muon"]
    assert "harder" not in dir(events.Muon)


def test_tabs_in_a_notebook(events):
    pytest.importorskip("IPython")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", TABS], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    wanted = {"hg": dir(hg), "events": dir(events), "pt": dir(events.Muon.pt)}
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 6
    for name, *found in lines:
        assert sorted(found) == sorted(wanted[name])

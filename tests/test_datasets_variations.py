"""Variations that are stored as columns: varied arrays, lazily and eagerly, by what the schema says of their names."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hepgraph as hg
from hepgraph.errors import SchemaError

NANO = """
name = "mine"
extends = "nanoaod"
[variations]
columns = "{field}_{name}{direction}"
"""
ATLAS = """
name = "atlas"
separator = "_"
[collections.jet]
fields = { pt = "jet_pt_NOSYS" }
[variations]
columns = ["{field}_{name}__{direction}", "{field}_{name}_only"]
directions = { 1up = "up", 1down = "down" }
"""
PT = [[50.0, 20.0], [], [30.0]]


def times(f):
    return [[f * pt for pt in pts] for pts in PT]


@pytest.fixture
def nano(tmp_path):
    columns = {
        "nJet": [2, 0, 1],
        "Jet_pt": PT,
        "Jet_pt_raw": times(0.5),
        "Jet_pt_jesTotalUp": times(1.1),
        "Jet_pt_jesTotalDown": times(0.9),
        "Jet_mass": times(0.1),
        "Jet_mass_jesTotalUp": times(0.2),
        "Jet_pt_raw_otherUp": times(7),
        "Jet_eta": PT,
        "MET_pt": [10.0, 20.0, 30.0],
        "MET_pt_jesTotalUp": [11.0, 22.0, 33.0],
        "weight": [1.0, 2.0, 3.0],
        "weight_puUp": [1.5, 2.5, 3.5],
    }
    pq.write_table(pa.table(columns), tmp_path / "nano.parquet")
    (tmp_path / "mine.toml").write_text(NANO)
    return str(tmp_path / "nano.parquet"), str(tmp_path / "mine.toml")


def test_columns(nano):
    path, schema = nano
    events = hg.from_parquet(path, schema=schema)
    assert set(events.variations) == {"nominal", "jesTotal_up", "jesTotal_down", "other_up", "pu_up"}
    pt = events.Jet.pt
    assert set(pt.variations) == {"nominal", "jesTotal_up", "jesTotal_down"}
    found = pt.compute()
    assert found["jesTotal_up"].to_list() == times(1.1)
    assert found["jesTotal_down"].to_list() == times(0.9)
    assert found["nominal"].to_list() == PT
    assert events.Jet.mass.variations == ("nominal", "jesTotal_up")
    assert events.Jet.eta.variations == ()
    assert events.Jet.pt_raw.variations == ("nominal", "other_up")
    assert events.MET.pt.compute()["jesTotal_up"].to_list() == [11.0, 22.0, 33.0]
    assert events.weight.variations == ("nominal", "pu_up")
    assert hg.from_parquet(path, schema="nanoaod").variations == ()
    again = events.repartition(2)
    assert set(again.variations) == set(events.variations)
    assert again.Jet.pt.compute()["jesTotal_up"].to_list() == times(1.1)


def analysis(events):
    hard = events.Jet[events.Jet.pt > 21]
    h = hg.Hist.new.Reg(10, 0, 100, name="x").StrCat([], growth=True, name="variation").Weight()
    h.fill(ak.sum(hard.pt, axis=1) + events.MET.pt, weight=events.weight)
    return {"h": h, "n": ak.sum(ak.num(hard))}


def test_recorded_and_eager_runs(nano):
    path, schema = nano
    one, two = (
        hg.run(analysis, {"a": [path]}, schema=schema, executor="serial", eager=eager, strict=not eager)
        for eager in (False, True)
    )
    assert (
        one["n"] == {"nominal": 2, "jesTotal_up": 3, "jesTotal_down": 2} == {name: two["n"][name] for name in one["n"]}
    )
    for name in one["h"].axes["variation"]:
        assert np.array_equal(
            one["h"][{"variation": name}].view(flow=True), two["h"][{"variation": name}].view(flow=True)
        )


def test_atlas(tmp_path):
    columns = {
        "jet_pt_NOSYS": PT,
        "jet_pt_JES_1__1up": times(1.1),
        "jet_pt_JES_1__1down": times(0.9),
        "jet_pt_JER_only": times(3),
        "jet_eta": PT,
    }
    pq.write_table(pa.table(columns), tmp_path / "atlas.parquet")
    (tmp_path / "atlas.toml").write_text(ATLAS)
    jets = hg.from_parquet(str(tmp_path / "atlas.parquet"), schema=str(tmp_path / "atlas.toml")).jet
    assert set(jets.pt.variations) == {"nominal", "JES_1_up", "JES_1_down", "JER"}
    assert jets.pt.compute()["JER"].to_list() == times(3)


def test_references(tmp_path):
    """A reference follows, and so does an index into the varied collection."""
    columns = {"nJet": [2, 0, 1], "Jet_pt": PT, "nMuon": [2, 1, 1], "Muon_jetIdx": [[1, -1], [-1], [0]]}
    pq.write_table(pa.table({**columns, "Muon_pt": [[1.0, 2.0], [3.0], [4.0]]}), tmp_path / "nano.parquet")
    events = hg.from_parquet(str(tmp_path / "nano.parquet"), schema="nanoaod")
    events["Jet"] = hg.vary(events.Jet, "JES", up={"pt": events.Jet.pt * 2})
    assert events.Muon.matched_jet.pt.compute()["JES_up"].to_list() == [[40.0, None], [None], [60.0]]
    assert events.Jet_pt.compute().to_list() == PT  # what the file has
    i = events.Muon.jetIdx
    found = events.Jet[ak.mask(i, i >= 0)].pt.compute()
    assert found["nominal"].to_list() == [[20.0, None], [None], [30.0]]
    assert found["JES_up"].to_list() == [[40.0, None], [None], [60.0]]


def test_refused(nano, tmp_path):
    path, _ = nano
    for text, message in (
        ('columns = "{name}Up"', "must be a name with {field}, {name}"),
        ('columns = "{field}_{name}"\nnames = 1', "unknown key 'names' in \\[variations\\]"),
        ("directions = 1", "must be a table of names"),
    ):
        (tmp_path / "bad.toml").write_text(f'name = "bad"\n[variations]\n{text}\n')
        with pytest.raises(SchemaError, match=message):
            hg.from_parquet(path, schema=str(tmp_path / "bad.toml"))

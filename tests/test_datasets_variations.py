"""Variations that are stored as columns: varied arrays, lazily and eagerly, by what the schema says of their names."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

import hepgraph as hg
from hepgraph.errors import SchemaError, VariationWarning

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


STORED = """
[variations]
columns = "{field}_{name}__{direction}"
directions = { 1up = "up", 1down = "down" }
"""
JETS = """
[collections.Jet]
columns = ["jet_{field}_NOSYS", "jet_{field}"]
"""
WAYS = {  # by which the field `energy` of jets, and `pt` of MET, get the columns jet_e_NOSYS and met_met_NOSYS
    "names": '[names]\ne = "energy"\nmet = "pt"\n'
    + JETS
    + '[collections.MET]\ncolumns = ["met_{field}_NOSYS", "met_{field}"]\n',
    "fields": JETS
    + 'fields = { energy = "jet_e_NOSYS" }\n[collections.MET]\ncolumns = ["met_{field}_NOSYS", "met_{field}"]\n'
    'fields = { pt = "met_met_NOSYS" }\n',
    "derived": JETS + 'derived = { energy = "e" }\n[collections.MET]\ncolumns = ["met_{field}_NOSYS", "met_{field}"]\n'
    'derived = { pt = "met" }\n',
    "rules": '[names]\nmet = "pt"\n[[columns]]\nmatch = "jet_e_NOSYS"\nto = "Jet.energy"\n'
    '[[columns]]\nmatch = "jet_e_{x}"\nto = "Jet.energy_{x}"\n'
    '[[columns]]\nmatch = "met_{x}_NOSYS"\nto = "MET.{x}"\n[[columns]]\nmatch = "met_{x}"\nto = "MET.{x}"\n' + JETS,
    "elsewhere": '[[columns]]\nmatch = "jet_e_{x}"\nto = "Other.e_{x}"\n'
    + JETS
    + 'fields = { energy = "jet_e_NOSYS" }\n[collections.Other]\nfields = { e = "jet_e_NOSYS" }\n'
    '[collections.MET]\ncolumns = ["met_{field}_NOSYS", "met_{field}"]\nderived = { pt = "met" }\n',
}
DATA = {
    "jet_pt_NOSYS": PT,
    "jet_pt_JER__1up": times(1.5),
    "jet_e_NOSYS": times(3),
    "jet_e_JER__1up": times(4.5),
    "jet_e_JER__1down": times(2),
    "jet_eta": times(0.01),
    "jet_phi": times(0.02),
    "met_met_NOSYS": [10.0, 20.0, 30.0],
    "met_met_SOFT__1up": [11.0, 22.0, 33.0],
}


def written(path, columns):
    """A file with these columns, of the format that its name tells."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
        return str(path)
    arrays = {name: ak.values_astype(ak.Array(values), float) for name, values in columns.items()}
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: x.type.content if x.ndim > 1 else "float64" for name, x in arrays.items()})
        file["Events"].extend(arrays)
    return str(path)


def saved(path, text):
    path.write_text(f'name = "mine"\n{text}{STORED}')
    return str(path)


@pytest.mark.parametrize("kind", ["parquet", "root"])
@pytest.mark.parametrize("way", WAYS)
def test_fields_follow_their_columns(tmp_path, way, kind):
    """Whatever way a field got its column: what is made of it is made of the column that stands for it."""
    schema = saved(tmp_path / "mine.toml", WAYS[way])
    path = written(tmp_path / f"file.{kind}", DATA)
    events = hg.open(path, schema=schema)
    assert set(events.variations) == {"nominal", "JER_up", "JER_down", "SOFT_up"}
    assert set(events.Jet.energy.variations) == {"nominal", "JER_up", "JER_down"}
    pt, e = {"nominal": 1, "JER_up": 1.5, "JER_down": 1}, {"nominal": 3, "JER_up": 4.5, "JER_down": 2}
    eta = ak.Array(times(0.01))
    found, met = events.Jet.mass.compute(), events.MET.pt.compute()
    assert met["SOFT_up"].to_list() == [11, 22, 33]

    def masses(events):
        h = hg.Hist.new.Reg(10, 0, 200, name="x").StrCat([], growth=True, name="variation").Weight()
        h.fill(ak.sum(events.Jet.mass, axis=1) + events.MET.pt)
        return h

    for name in pt:
        wanted = np.sqrt((ak.Array(times(e[name]))) ** 2 - (ak.Array(times(pt[name])) * np.cosh(eta)) ** 2)
        assert ak.all(ak.isclose(found[name], wanted, rtol=1e-9))
    for eager in (False, True):
        h = hg.run(masses, {"a": [path]}, schema=schema, executor="serial", eager=eager, strict=not eager)
        for name in (*pt, "SOFT_up"):
            mass = found.get(name, found["nominal"])
            sums = ak.sum(mass, axis=1) + met.get(name, met["nominal"])
            wanted = np.histogram(ak.to_numpy(sums), 10, (0, 200))[0]
            assert np.array_equal(h[{"variation": name}].values(), wanted)


def test_patterns_that_begin_with_the_variation(tmp_path):
    path = written(tmp_path / "file.parquet", {"x": [1.0], "JES_up__x": [2.0]})
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\n[variations]\ncolumns = "{name}_{direction}__{field}"\ndirections = { up = "up" }\n'
    )
    assert hg.open(path, schema=tmp_path / "mine.toml").x.compute()["JES_up"].to_list() == [2.0]


def test_nested_columns(tmp_path):
    """A field of records in the file is varied where it is."""
    jets = ak.Array([[{"p": {"x": 1.0, "x_JER__1up": 2.0}}], []])
    ak.to_parquet(ak.Array({"Jet": jets}), tmp_path / "file.parquet")
    jet = hg.open(str(tmp_path / "file.parquet"), schema=saved(tmp_path / "mine.toml", "")).Jet
    assert {name: x.to_list() for name, x in jet.p.x.compute().items()} == {
        "nominal": [[1.0], []],
        "JER_up": [[2.0], []],
    }


def test_a_constant_that_varies(tmp_path):
    path = written(tmp_path / "file.parquet", {**DATA, "jet_mass_JER__1up": times(0.1)})
    schema = saved(
        tmp_path / "mine.toml", JETS + "constants = { mass = 0.25 }\n[[leave]]\nmatch = 'met_*'\nreason = 'x'\n"
    )
    mass = hg.open(path, schema=schema).Jet.mass.compute()
    assert mass["nominal"].to_list() == [[0.25, 0.25], [], [0.25]]
    assert mass["JER_up"].to_list() == times(0.1)


def test_columns_that_vary_nothing(tmp_path):
    path = written(tmp_path / "file.parquet", {**DATA, "jet_x_JER__1up": times(0.1), "weight_PU__1up": [1.0, 1.0, 1.0]})
    with pytest.warns(VariationWarning) as told:
        events = hg.open(path, schema=saved(tmp_path / "mine.toml", JETS))
    text = str(told[0].message)
    assert "jet_x_JER__1up: 'x_JER__1up' begins with no field of Jet." in text
    assert all(name in text for name in ("weight_PU__1up", "met_met_SOFT__1up"))
    assert "jet_pt" not in text.partition("Nearest")[0]
    assert told[0].filename == __file__
    assert "JER_up" in events.variations


def test_two_columns_for_one_variation(tmp_path):
    path = written(tmp_path / "file.parquet", {"x": [1.0], "x_JER__1up": [2.0], "x_JER_up": [3.0]})
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\n[variations]\ncolumns = ["{field}_{name}__{direction}", "{field}_{name}_{direction}"]\n'
        'directions = { 1up = "up", up = "up" }\n'
    )
    with pytest.raises(SchemaError, match="'x_JER__1up' and 'x_JER_up' would both be the variation 'JER_up' of x"):
        hg.open(path, schema=tmp_path / "mine.toml")


def test_schema_of(tmp_path, nano):
    """Which columns became which variations of which fields, also of events that were varied by hand."""
    more = {"jet_x_JER__1up": times(1), "met_met_SOFT__1up": [1.0, 2.0, 3.0]}
    path = written(tmp_path / "file.parquet", {**DATA, **more})
    with pytest.warns(VariationWarning):
        events = hg.open(path, schema=saved(tmp_path / "own.toml", WAYS["elsewhere"]))
    events["Jet"] = hg.vary(events.Jet, "mine", up={"pt": events.Jet.pt * 2})
    report = hg.schema_of(events)
    energies = ["Jet.e", "Jet.energy", "Other.e"]
    assert report.variations == {
        "JER_up": {"Jet.pt": "jet_pt_JER__1up", **dict.fromkeys(energies, "jet_e_JER__1up")},
        "JER_down": dict.fromkeys(energies, "jet_e_JER__1down"),
        "SOFT_up": {"MET.met": "met_met_SOFT__1up"},
    }
    assert hg.variation(events, "JER_up").Other.e.compute().to_list() == times(4.5)
    assert report.unvaried == ("jet_x_JER__1up",)
    assert "3 variations of columns:" in str(report)
    assert "SOFT_up: MET.met\n" in str(report)
    assert "of no field: jet_x_JER__1up" in str(report)
    path, schema = nano
    assert hg.schema_of(hg.open(path, schema=schema)).variations["pu_up"] == {"weight": "weight_puUp"}
    assert hg.schema_of(hg.open(path, schema="nanoaod")).variations == {}


def test_the_example_of_the_readme(tmp_path):
    """The schema of ATLAS ntuples in `schemas/README.md`, as it stands there."""
    text = (Path(__file__).parents[1] / "schemas" / "README.md").read_text()
    (tmp_path / "ntuple.toml").write_text(
        text.partition("## ATLAS ntuples")[2].partition("```toml\n")[2].partition("```")[0]
    )
    columns = {
        "jet_pt_NOSYS": PT,
        "jet_e_NOSYS": times(3),
        "jet_eta": times(0.01),
        "jet_phi": times(0.02),
        "weight_pileup_NOSYS": [1.0, 2.0, 3.0],
        "pass_x_NOSYS": [True, False, True],
        "runNumber": [1, 1, 1],
    }
    more = {
        "jet_pt_JET_JER__1up": times(1.5),
        "jet_e_JET_JER__1up": times(4.5),
        "weight_pileup_PRW__1down": [2.0, 2.0, 2.0],
        "pass_x_JET_JER__1up": [True, True, True],
    }
    full, bare = written(tmp_path / "a.parquet", {**columns, **more}), written(tmp_path / "b.parquet", columns)
    for order in ([full, bare], [bare, full]):
        events = hg.open(order, schema=tmp_path / "ntuple.toml", optional={"*": "nominal"})
        assert set(events.variations) == {"nominal", "JET_JER_up", "PRW_down"}
        assert events.runNumber.compute().to_list() == [1] * 6
        mass, ratio = events.Jet.mass.compute(), events.Jet.ratio.compute()
        first = order.index(full) * 3
        assert np.allclose(ak.flatten(mass["JET_JER_up"][first : first + 3]), 1.5 * ak.flatten(mass["nominal"][:3]))
        assert np.allclose(ak.flatten(ratio["JET_JER_up"]), ak.flatten(ratio["nominal"]))
        chosen = events.Jet[events.passes.x & (events.Jet.pt > 25)]
        assert ak.num(chosen).compute()["JET_JER_up"].to_list()[first : first + 3] == [2, 0, 1]
        assert ak.num(chosen).compute()["nominal"].to_list() == [1, 0, 1] * 2
        assert events.weight.pileup.compute()["PRW_down"].to_list()[first : first + 3] == [2.0, 2.0, 2.0]

"""Bad input to variations: what each mistake says, word for word."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample.root"
JETS = ak.Array([[{"pt": 50.0, "eta": 0.5}, {"pt": 20.0, "eta": -1.0}], [], [{"pt": 30.0, "eta": 2.0}]])


@pytest.fixture
def events():
    return hg.from_awkward(ak.zip({"met": np.array([10.0, 20.0, 40.0]), "jets": JETS}, depth_limit=1))


@pytest.fixture
def jets(events):
    return hg.vary(events.jets, "JES", up={"pt": events.jets.pt * 1.03}, down={"pt": events.jets.pt * 0.97})


def test_variations_declaring(says, events, jets):
    met = events.met
    says(lambda: hg.vary(events.jets, "JES"))
    says(lambda: hg.vary(met, 1, up=met))
    says(lambda: hg.vary(met, name="MET", up=2 * met))
    says(lambda: hg.vary(met, "MET", [met, met]))
    says(lambda: hg.vary(met, {"nominal": 2 * met}))
    says(lambda: hg.vary(met, {"JES_up+b_up": 2 * met}))
    says(lambda: hg.vary(met, "MET", up=1.03))
    says(lambda: hg.vary(events.jets, "JES", up=1.03))
    says(lambda: hg.vary(met, "MET", up=lambda x: 2 * x))
    says(lambda: hg.vary(events.jets, "JES", up={"Pt": events.jets.pt}))
    says(lambda: hg.vary(events.jets, "JES", up={}))
    says(lambda: hg.vary(events.jets, "JES", up={"pt": events.jets.pt[events.jets.pt > 25]}))
    says(lambda: hg.vary(met, "MET", up=met[met > 15]))
    says(lambda: hg.vary(met, "MET", up=events.jets.pt))
    says(lambda: hg.vary(events.jets, "JES", up=events.jets.pt))
    says(lambda: hg.vary(met, "MET", up=np.array([1.0, 2.0])))
    says(lambda: hg.vary(jets, "JES", up={"pt": events.jets.pt * 1.04}))
    says(lambda: hg.vary(np.array([1.0]), "MET", up=np.array([2.0])))
    says(lambda: hg.vary(5, "MET", up=6))


def test_variations_choosing(says, events, jets):
    says(lambda: hg.variation(jets, "JES_upp"))
    says(lambda: hg.variation(jets, "zzz"))
    says(lambda: hg.variation(events.jets, "JES_up"))
    says(lambda: hg.variation(ak.Array([1.0]), "JES_up"))
    says(lambda: hg.cross(jets, "JES_up", "JES_up"))
    says(lambda: hg.cross(jets, "JES_u", "b_up"))
    says(lambda: hg.cross(events.jets, "JES_up", "b_up"))
    says(lambda: hg.cross(hg.vary(jets, "b", up={"pt": jets.pt + 1}), "JES_up", "b_up"))


def test_variations_plain_values(says, events, jets):
    n = ak.num(jets[jets.pt > 29])
    many = hg.vary(events.met, {f"PDF_{i}": events.met * (1 + i) for i in range(1, 8)})
    says(lambda: float(ak.sum(many)))
    says(lambda: bool(n > 1))
    says(lambda: list(n))
    says(lambda: len(n))
    says(lambda: np.array([0.5, 0.6, 0.7])[n])
    says(lambda: ak.Array([0.5, 0.6, 0.7])[n])
    says(lambda: np.asarray(n))
    says(lambda: n.to_list())
    says(lambda: n.persist())
    says(hg.persist, n)
    says(lambda: jets.pt.to_dask_array())
    says(lambda: f"{ak.sum(many):.2f}")


@pytest.fixture
def in_an_eager_run(tmp_path):
    path = shutil.copy(SAMPLE, tmp_path)
    return lambda use, eager=True: hg.run(use, {"a": [path]}, eager=eager, executor="serial", progress=False)


def test_variations_of_computed_arrays(says, in_an_eager_run):
    """Where a processor runs eagerly, all arrays are those of one variation."""

    def jets(events):
        return hg.vary(events.Jet, "JES", up={"pt": events.Jet.pt * 1.03})

    says(in_an_eager_run, lambda events: jets(events).variations)
    says(in_an_eager_run, lambda events: jets(events)[0, 0].variations)
    says(in_an_eager_run, lambda events: events.variations)
    says(in_an_eager_run, lambda events: hg.variation(jets(events), "JES_up"))
    with pytest.raises(AttributeError) as caught:
        in_an_eager_run(lambda events: jets(events).pt.variations)
    assert "the array that hg.vary gave, without variation=" in caught.value.__notes__[0]


def test_what_is_said_of_eager_runs_works(in_an_eager_run):
    def filled(events):
        h = hg.Hist.new.Reg(3, 0, 90, name="pt").Double()
        jets = hg.vary(events.Jet, "JES", up={"pt": events.Jet.pt * 1.03})
        return h.fill(pt=jets.pt)

    eager = in_an_eager_run(filled)
    assert list(eager.axes["variation"]) == ["nominal", "JES_up"]
    assert eager == in_an_eager_run(filled, eager=False)


def test_variations_using(says, events, jets):
    says(lambda: jets.ptt)
    says(lambda: jets["ptt"])
    says(lambda: jets[jets.pt > 29].pt + events.jets.pt)
    says(lambda: events[ak.num(jets[jets.pt > 29]) > 0].met + events.met)
    says(lambda: hg.Hist.new.Reg(3, 0, 9, name="x").Double().fill(y=jets.pt))
    says(lambda: hg.Hist.new.Reg(3, 0, 9, name="x").Double().fill(jets))
    says(lambda: hg.Hist.new.StrCat([], growth=True, name="variation").Reg(3, 0, 9).Double().fill("JES_up", jets.pt))
    says(lambda: hg.Hist.new.StrCat(["nominal"], name="variation").Reg(3, 0, 9, name="x").Double().fill(jets.pt))
    says(lambda: hg.Hist.new.Reg(9, 0, 9, name="variation").Reg(3, 0, 9, name="x").Double().fill(jets.pt))
    mixed = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(3, 0, 9, name="x").Double()
    says(lambda: mixed.fill(x=jets.pt).fill(x=events.met, variation="nominal"))


def test_variations_adding_up(says):
    """A combination that one dataset has, and another only its parts."""
    path = "data/sample.root"

    def analysis(events):
        met = hg.vary(events.MET.pt, "JES", up=events.MET.pt * 2)
        met = hg.cross(met, "JES_up", "b_up") if events.metadata["dataset"] == "one" else met
        return {"h": hg.Hist.new.Reg(3, 0, 9, name="x").Double().fill(hg.vary(met, "b", up=events.MET.pt * 3))}

    says(lambda: hg.run(analysis, {"one": [path], "two": [path]}, executor="serial"))


def test_variations_an_error_in_one_variation(says, events):
    """The error says in which it is."""
    met = hg.vary(events.met, "MET", up=ak.values_astype(events.met, np.int32))
    says(lambda: met & True)
    which = hg.vary(ak.values_astype(events.met, np.int64), "bit", up=events.met)
    says(lambda: which & 1)


def test_a_warning(events):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hg.vary(events.jets, "JES", up={"pt": events.jets.pt})
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message).splitlines()[0] == (
        "The variation 'JES_up' is the nominal: it changes nothing, and is left out."
    )
    assert 'hg.vary(events.jets, "JES", up={"pt": events.jets.pt})' in str(warning.message)


STORED = """name = "mine"
[collections.jet]
columns = ["jet_{field}_NOSYS", "jet_{field}"]
constants = { mass = 0.1 }
[variations]
columns = "{field}_{name}__{direction}"
directions = { 1up = "up", 1down = "down" }
"""


def test_variations_that_some_files_lack(says, tmp_path):
    (tmp_path / "mine.toml").write_text(STORED)
    jets = [[1.0, 2.0], []]
    columns = {"jet_pt_NOSYS": jets, "jet_eta": jets, "met": [1.0, 2.0], "met_SOFT__1up": [3.0, 4.0]}
    more = {"jet_pt_JER__1up": jets, "jet_mass_JER__1up": jets, "jet_eta_JER__1up": [[[1.0], []], []]}
    for name, some in {"a": {**columns, **more}, "b": columns}.items():
        ak.to_parquet(ak.Array(some), tmp_path / f"{name}.parquet")
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]

    def opened(*order, **optional):
        return hg.open([paths[i] for i in order], schema=tmp_path / "mine.toml", optional=optional or None)

    says(lambda: opened(0, 1).jet.pt.compute())
    says(lambda: opened(1, 0).jet.pt.compute())
    says(lambda: opened(0, 1, jet_eta="nominal"))
    says(lambda: opened(0, 1, jet_mass_JER__1up="nominal"))
    says(lambda: opened(0, 1, jet_eta_JER__1up="nominal"))
    says(lambda: opened(0, 1, jet_eta_JER__1up="Nominal"))
    says(lambda: hg.open(paths, optional={"*": "nominal"}))


def test_columns_named_as_variations(tmp_path):
    (tmp_path / "mine.toml").write_text(STORED)
    columns = {f"jet_{name}_JER__1up": [[1.0]] for name in ("E", "ptt", "m")} | {"jet_pt_NOSYS": [[1.0]]}
    ak.to_parquet(ak.Array({**columns, "weight_PU__1down": [1.0]}), tmp_path / "a.parquet")
    with pytest.warns(hg.errors.VariationWarning) as told:
        hg.open(tmp_path / "a.parquet", schema=tmp_path / "mine.toml")
    assert str(told[0].message).replace(str(tmp_path), "<tmp>") == (
        "Schema mine: 4 columns are named as variations, and there is no field that they vary, in <tmp>/a.parquet:\n"
        "  jet_E_JER__1up: 'E_JER__1up' begins with no field of jet. Known names: pt, mass.\n"
        "  jet_ptt_JER__1up: 'ptt_JER__1up' begins with no field of jet. Known names: pt, mass.\n"
        "  jet_m_JER__1up: 'm_JER__1up' begins with no field of jet. Known names: pt, mass.\n"
        "  weight_PU__1down: 'weight_PU__1down' begins with no column beside the collections.\n"
        "Give the field that is varied such a name, by a [[columns]] entry or by columns = [...] of its collection; or "
        "leave these columns out, by a [[leave]] entry."
    )

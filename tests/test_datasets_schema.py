"""Schemas: columns as collections, constants, users' own schema files, nested Parquet."""

import re
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

import hepgraph as hg
from hepgraph import errors
from hepgraph.datasets.schema import available, load
from hepgraph.processor.chunk import eager_events

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def compute(tree):
    return hg.compute(tree, executor="serial", progress=False)


QUIETLY = {"executor": "serial", "progress": False}


def same(a, b):
    return ak.array_equal(a, b, equal_nan=True, dtype_exact=True, check_parameters=False)


# small files


def flat(path, **branches):
    pq.write_table(pa.table(branches), path)
    return str(path)


@pytest.mark.parametrize("bad", [99, 1])
@pytest.mark.parametrize("engine", ["auto", "interpreter", "eager"])
def test_an_index_beyond_the_list_is_an_error(tmp_path, bad, engine):
    """It names branch and collection, event and value, the file, the user's line and what a schema may say."""
    path = flat(
        tmp_path / "a.parquet",
        Muon_jetIdx=[[-1], [], [0, bad]],
        Muon_pt=[[1.0], [], [1.0, 2.0]],
        Jet_pt=[[], [6.0, 7.0], [5.0]],
    )
    events = hg.from_parquet(path, schema="nanoaod")
    if engine == "eager":
        events = eager_events(events, events.source.partitions()[0])
    with pytest.raises(errors.DisagreementError) as caught:
        hg.compute(ak.sum(events.Muon.matched_jet.pt), engine="auto" if engine == "eager" else engine, **QUIETLY)
    said = str(caught.value)
    assert said.startswith(
        f"'Muon_jetIdx' is {bad} where Jet has 1 element, at entry 2 of {path}: it points at nothing"
    )
    schema = said.partition("is None:\n")[2]
    if engine != "eager":
        notes = "\n".join(caught.value.__notes__)
        assert f"recorded at {__file__}" in notes
        assert f"in the range {path}[0:3]" in notes
    mine = written(tmp_path, f'name="m"\nextends="nanoaod"\n{schema}')
    skimmed = hg.from_parquet(path, schema=mine).Muon.matched_jet.pt
    assert compute(skimmed).to_list() == [[None], [], [5.0, None]]
    assert compute(events.Muon.jetIdx).to_list() == [[-1], [], [0, bad]]


def test_a_negative_index_is_none(tmp_path):
    path = flat(tmp_path / "a.parquet", Muon_jetIdx=[[0, -2], [-1]], Jet_pt=[[5.0], []])
    events = hg.from_parquet(path, schema="nanoaod")
    assert compute(events.Muon.matched_jet.pt).to_list() == [[5.0, None], [None]]


@pytest.mark.parametrize("dtype", ["int32", "uint16", "uint8", "int8"])
def test_bits_have_names(tmp_path, dtype):
    flags = np.array([[0b10000001, 0], [0b110]], dtype=object)
    column = pa.array([np.array(each).astype(dtype) for each in flags])
    path = flat(tmp_path / "a.parquet", Jet_pt=[[1.0, 2.0], [3.0]], Jet_id=column, Jet_real=[[0.5, 0.5], [0.5]])
    names = [f"b{bit}" for bit in range(9 if dtype in ("int32", "uint16") else 8)]
    mine = written(tmp_path, f'name="m"\nseparator="_"\n[collections.Jet.bits]\nid={names}\nreal=["none"]\n')
    jets = hg.from_parquet(path, schema=mine).Jet
    assert "b0" not in jets.fields
    for bit, name in enumerate(names):
        wanted = [[bool(int(each) >> bit & 1) for each in some] for some in flags]
        assert compute(jets[name]).to_list() == wanted
    assert compute(jets.hasFlags("b1", "b2")).to_list() == [[False, False], [True]]
    assert compute(jets[jets.has_flags(["b0"])].pt).to_list() == [[1.0], []]
    with pytest.raises(errors.SchemaError, match=r"Jet\.real has no bits"):
        jets.none
    with pytest.raises(errors.FieldError, match="Nearest names: b2, b1"):
        jets.hasFlags("b12")


def test_constants_stand_in_and_overwrite_nothing(tmp_path):
    without = hg.from_parquet(
        flat(
            tmp_path / "a.parquet",
            nPhoton=[1, 0],
            Photon_pt=[[5.0], []],
            Photon_eta=[[1.0], []],
            Photon_phi=[[0.5], []],
        ),
        schema="nanoaod",
    )
    assert compute(without.Photon.mass).to_list() == [[0.0], []]
    assert compute(without.Photon.charge).to_list() == [[0], []]
    assert "mass" not in without.Photon.fields
    assert compute(without.Photon.energy).to_list()[0][0] == pytest.approx(5.0 * np.cosh(1.0))
    given = hg.from_parquet(
        flat(
            tmp_path / "b.parquet",
            nPhoton=[1, 0],
            Photon_pt=[[5.0], []],
            Photon_mass=[[0.25], []],
            Photon_charge=[[3], []],
        ),
        schema="nanoaod",
    )
    assert compute(given.Photon.mass).to_list() == [[0.25], []]
    assert compute(given.Photon.charge).to_list() == [[3], []]


def test_references_overwrite_nothing(tmp_path):
    path = flat(
        tmp_path / "a.parquet",
        Muon_jetIdx=[[0, -1]],
        Muon_matched_jet=[[7.0, 8.0]],
        Jet_pt=[[1.0]],
    )
    assert compute(hg.from_parquet(path, schema="nanoaod").Muon.matched_jet).to_list() == [[7.0, 8.0]]


def test_fields_of_the_schema_overwrite_nothing(tmp_path):
    path = flat(tmp_path / "a.parquet", CorrT1METJet_rawPt=[[1.0]], CorrT1METJet_pt=[[2.0]])
    assert compute(hg.from_parquet(path, schema="nanoaod").CorrT1METJet.pt).to_list() == [[2.0]]
    path = flat(tmp_path / "b.parquet", CorrT1METJet_rawPt=[[1.0]])
    assert compute(hg.from_parquet(path, schema="nanoaod").CorrT1METJet.pt).to_list() == [[1.0]]


def test_unknown_collections_are_vectors(tmp_path):
    path = flat(
        tmp_path / "a.parquet",
        nWobble=[2, 0],
        Wobble_pt=[[10.0, 20.0], []],
        Wobble_eta=[[0.5, -0.5], []],
        Wobble_phi=[[0.0, 1.0], []],
        Wobble_mass=[[1.0, 2.0], []],
        Blob_x=[1.0, 2.0],
        Blob_y=[1.0, 2.0],
        Blob_z=[1.0, 2.0],
        Blob_t=[5.0, 6.0],
    )
    events = hg.from_parquet(path, schema="nanoaod")
    pair = ak.combinations(events.Wobble, 2, fields=["a", "b"])
    got = compute({"mass": (pair.a + pair.b).mass, "blob": events.Blob.mass, "dr": pair.a.delta_r(pair.b)})
    vector = pytest.importorskip("vector")
    a = vector.obj(pt=10.0, eta=0.5, phi=0.0, mass=1.0)
    b = vector.obj(pt=20.0, eta=-0.5, phi=1.0, mass=2.0)
    assert got["mass"].to_list() == [[pytest.approx((a + b).mass)], []]
    assert got["dr"].to_list() == [[pytest.approx(a.deltaR(b))], []]
    assert got["blob"].to_list() == [pytest.approx(np.sqrt(25 - 3.0)), pytest.approx(np.sqrt(36 - 12.0))]


def test_names_with_several_underscores(tmp_path):
    """`nProton_multiRP` counts `Proton_multiRP_*`: two collections with lengths of their own."""
    path = flat(
        tmp_path / "a.parquet",
        nProton_multiRP=[1, 2],
        Proton_multiRP_xi=[[0.1], [0.2, 0.3]],
        nProton_singleRP=[2, 0],
        Proton_singleRP_xi=[[0.4, 0.5], []],
        Jet_pt_raw=[[1.0, 2.0], []],
        nJet=[2, 0],
    )
    events = hg.from_parquet(path, schema="nanoaod")
    assert compute(events.Proton_multiRP.xi).to_list() == [[0.1], [0.2, 0.3]]
    assert compute(events.Proton_singleRP.xi).to_list() == [[0.4, 0.5], []]
    assert compute(events.Proton_multiRP_xi).to_list() == [[0.1], [0.2, 0.3]]
    assert compute(events.Jet.pt_raw).to_list() == [[1.0, 2.0], []]
    assert compute(events.nProton_multiRP).to_list() == [1, 2]


def test_a_column_with_the_name_of_a_collection(tmp_path):
    path = flat(tmp_path / "a.parquet", Jet_pt=[[1.0], []], Jet=[7.0, 8.0], Met=[1.0, 2.0], Met_x=[3.0, 4.0])
    events = hg.from_parquet(path, schema="nanoaod")
    got = compute({"jet": events.Jet, "pt": events.Jet_pt, "met": events.Met, "x": events.Met_x})
    assert {name: values.to_list() for name, values in got.items()} == {
        "jet": [7.0, 8.0],
        "pt": [[1.0], []],
        "met": [1.0, 2.0],
        "x": [3.0, 4.0],
    }
    assert {"Jet", "Met"} <= set(events.fields)


def test_lists_of_different_lengths_in_one_collection(tmp_path):
    """Without a count branch, nothing says that the lists of a collection agree: it is checked while running."""
    path = flat(tmp_path / "a.parquet", Jet_pt=[[1.0], [2.0, 3.0]], Jet_eta=[[1.0, 4.0], [2.0]])
    events = hg.from_parquet(path, schema="nanoaod")
    assert compute(events.Jet.pt).to_list() == [[1.0], [2.0, 3.0]]
    with pytest.raises(errors.HepgraphError, match="Jet"):
        compute(events.Jet.pt + events.Jet.eta)
    with pytest.raises(errors.HepgraphError, match="Jet"):
        compute(events.Jet[events.Jet.pt > 0].eta)
    with pytest.raises(errors.HepgraphError, match="Jet"):
        compute(events.Jet.eta)


def test_counts_that_do_not_agree_with_the_lists(tmp_path):
    """The count branch says one thing, the lists another: an error, not a wrong number."""
    path = flat(tmp_path / "a.parquet", nJet=[1, 2], Jet_pt=[[1.0, 2.0], [3.0]], Jet_eta=[[1.0, 2.0], [3.0]])
    events = hg.from_parquet(path, schema="nanoaod")
    for x in (
        events.Jet.pt,
        events.Jet.pt + events.Jet.eta,
        ak.sum(events.Jet.pt, axis=1),
        events.Jet.pt[events.Jet.eta > 0],
    ):
        with pytest.raises(errors.HepgraphError, match="Jet"):
            compute(x)


def test_lists_and_single_values_in_one_collection(tmp_path):
    path = flat(tmp_path / "a.parquet", nJet=[1, 2], Jet_pt=[[1.0], [3.0, 4.0]], Jet_flag=[True, False])
    events = hg.from_parquet(path, schema="nanoaod")
    assert compute(events.Jet.pt).to_list() == [[1.0], [3.0, 4.0]]
    assert compute(events.Jet_flag).to_list() == [True, False]
    assert events.fields == ["Jet", "Jet_flag", "nJet"]
    assert events.Jet.fields == ["pt"]


def test_lists_that_are_none(tmp_path):
    path = flat(tmp_path / "a.parquet", Jet_pt=[[1.0], None, []], Jet_eta=[[3.0], None, []])
    events = hg.from_parquet(path, schema="nanoaod")
    got = compute(
        {"pt": events.Jet_pt, "jet": events.Jet.eta, "n": ak.num(events.Jet), "sum": events.Jet.pt + events.Jet.eta}
    )
    assert got["pt"].to_list() == [[1.0], None, []]
    assert got["jet"].to_list() == [[3.0], None, []]
    assert got["n"].to_list() == [1, None, 0]
    assert got["sum"].to_list() == [[4.0], None, []]
    counted = flat(tmp_path / "b.parquet", nJet=[1, 0, 0], Jet_pt=[[1.0], None, []])
    events = hg.from_parquet(counted, schema="nanoaod")
    got = compute({"pt": events.Jet_pt, "jet": events.Jet.pt, "n": ak.num(events.Jet)})
    assert got["pt"].to_list() == [[1.0], None, []]
    assert got["jet"].to_list() == [[1.0], [], []]
    assert got["n"].to_list() == [1, 0, 0]


# users' own schemas

HZZ = """
name = "hzz"
extends = "base"
separator = "_"
counts = "N{name}"

[collections.Muon]
record = "Lepton"
fields = { px = "Muon_Px", py = "Muon_Py", pz = "Muon_Pz", E = "Muon_E", charge = "Muon_Charge" }
constants = { spin = 0.5, pdgId = 13 }

[collections.Electron]
counts = "NElectron"
fields = { px = "Electron_Px", py = "Electron_Py", pz = "Electron_Pz", E = "Electron_E" }
"""


def written(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_schema_of_ones_own(tmp_path):
    path = DATA / "HZZ-zstd.root"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    events = hg.from_root(path, schema=written(tmp_path, HZZ)).repartition(3)
    with uproot.open(path) as file:
        e = file["events"].arrays(["Muon_Px", "Muon_Py", "Muon_Pz", "Muon_E", "Muon_Charge", "NMuon"])
    pair = ak.combinations(events.Muon, 2, fields=["a", "b"])
    got = compute(
        {
            "pt": events.Muon.pt,
            "mass": (pair.a + pair.b).mass,
            "old": events.Muon.Px,
            "spin": events.Muon.spin,
            "id": events.Muon.pdgId,
            "charge": events.Muon.charge,
            "n": ak.num(events.Muon),
        }
    )
    assert ak.all(np.isclose(got["pt"], np.hypot(e.Muon_Px, e.Muon_Py)), axis=None)
    assert got["old"].to_list() == e.Muon_Px.to_list()
    assert got["charge"].to_list() == e.Muon_Charge.to_list()
    assert got["n"].to_list() == e.NMuon.to_list()
    assert set(ak.flatten(got["spin"]).to_list()) == {0.5}
    assert set(ak.flatten(got["id"]).to_list()) == {13}
    mu = ak.zip({k: e[f"Muon_{k.upper() if k == 'e' else k.title()}"] for k in ("px", "py", "pz", "e")})
    p = ak.combinations(mu, 2, fields=["a", "b"])
    s = {k: p.a[k] + p.b[k] for k in ("px", "py", "pz", "e")}
    mass2 = s["e"] ** 2 - s["px"] ** 2 - s["py"] ** 2 - s["pz"] ** 2
    assert ak.all(np.isclose(got["mass"], np.sqrt(np.maximum(mass2, 0)), atol=0.2), axis=None)
    assert str(events.Muon.type).startswith("## * var * Lepton[")


def test_references_of_ones_own_schema(tmp_path):
    text = """
name = "mine"
extends = "nanoaod"
[collections.Track]
constants = { mass = 0.139 }
[[references]]
from = "Track"
index = ["a", "b"]
to = "Jet"
name = "jets"
[[references]]
from = "Jet"
index = "a"
to = "Track"
name = "tracks"
inverse = true
[[references]]
from = "Lone"
index = "jet"
to = "Jet"
name = "jet_"
"""
    path = flat(
        tmp_path / "a.parquet",
        Track_a=[[0, -1, 1], []],
        Track_b=[[1, -1, -1], []],
        Track_pt=[[1.0, 2.0, 3.0], []],
        Jet_pt=[[10.0, 20.0], [30.0]],
        Lone_jet=[1, -1],
        Lone_w=[1.0, 2.0],
    )
    events = hg.from_parquet(path, schema=written(tmp_path, text))
    got = compute(
        {
            "jets": events.Track.jets.pt,
            "tracks": events.Jet.tracks.pt,
            "mass": events.Track.mass,
            "lone": events.Lone.jet_.pt,
        }
    )
    assert got["jets"].to_list() == [[[10.0, 20.0], [None, None], [20.0, None]], []]
    assert got["tracks"].to_list() == [[[1.0], [3.0]], [[]]]
    assert got["lone"].to_list() == [20.0, None]
    assert got["mass"].to_list() == [[pytest.approx(0.139)] * 3, []]
    assert "float32" in str(got["mass"].type)


def test_a_schema_with_fields_from_single_values(tmp_path):
    text = 'name="m"\nextends="nanoaod"\n[collections.Jet]\nfields={rho="rho"}\n'
    path = flat(tmp_path / "a.parquet", nJet=[1, 2], Jet_pt=[[1.0], [2.0, 3.0]], rho=[5.0, 6.0])
    events = hg.from_parquet(path, schema=written(tmp_path, text))
    assert compute(events.Jet.rho).to_list() == [[5.0], [6.0, 6.0]]


def test_a_schema_with_a_collection_out_of_nothing_but_fields(tmp_path):
    text = 'name="m"\n[collections.Mu]\nfields={px="muX", py="muY"}\n'
    text += '[collections.Met]\nfields={pt="etmiss", phi="phimiss"}\n'
    path = flat(tmp_path / "a.parquet", muX=[[3.0], []], muY=[[4.0], []], etmiss=[1.0, 2.0], phimiss=[0.0, 0.5])
    events = hg.from_parquet(path, schema=written(tmp_path, text))
    assert compute(events.Mu.pt).to_list() == [[5.0], []]
    assert compute(events.Met.px).to_list() == [1.0, pytest.approx(2 * np.cos(0.5))]
    assert {"Mu", "Met", "muX"} <= set(events.fields)


def test_a_schema_file_that_was_changed_is_read_again(tmp_path):
    path = flat(tmp_path / "a.parquet", nJet=[1, 2], Jet_pt=[[1.0], [2.0, 3.0]])
    mine = written(tmp_path, 'name="m"\nextends="nanoaod"\n[collections.Jet]\nconstants={mass=1.0}\n')
    assert compute(hg.from_parquet(path, schema=mine).Jet.mass).to_list() == [[1.0], [1.0, 1.0]]
    mine.write_text('name="m"\nextends="nanoaod"\n[collections.Jet]\nconstants={mass=2.0}\n')
    assert compute(hg.from_parquet(path, schema=mine).Jet.mass).to_list() == [[2.0], [2.0, 2.0]]


def test_a_schema_may_extend_a_file_beside_it(tmp_path):
    written(
        tmp_path,
        'name="below"\nseparator="_"\ncounts="n{name}"\n[collections.Jet]\nconstants={mass=1.0}\n',
        "below.toml",
    )
    mine = written(tmp_path, 'name="m"\nextends="below.toml"\n')
    path = flat(tmp_path / "a.parquet", nJet=[1], Jet_pt=[[1.0]])
    assert compute(hg.from_parquet(path, schema=mine).Jet.mass).to_list() == [[1.0]]


def test_schemas_that_come_along():
    cms = ["nanoaod", "pfnano", "scouting", "treemaker"]
    others = ["base", "delphes", "edm4hep", "edm4hep_types", "fcc", "fcc_2023", "pdune", "physlite"]
    assert available() == sorted(cms + others)
    assert load("nanoaod").separator == "_"
    assert load(load("base")) is load("base")
    assert load("nanoaod") is load("nanoaod")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name="m"\nseperator="_"', "unknown key 'seperator'"),
        ('name="m"\n[collections.Jet]\ncount="nJet"', r"unknown key 'count' in \[collections.Jet\]"),
        ('name="m"\n[[references]]\nfrom="a"\nindex="b"\nto="c"', "without name"),
        ('name="m"\n[[references]]\nfrom="a"\nindx="b"\nto="c"\nname="d"', "unknown key 'indx'"),
        ("name=", "not valid TOML"),
        ('name=""', "must be a string"),
        ('separator="_"', "has no name"),
        ('name="m"\nextends="nanoaot"', "No schema 'nanoaot'"),
        ('name="m"\nseparator=3', "separator"),
        ('name="m"\nseparator=""', "separator"),
        ('name="m"\ncounts="nothing"', "counts"),
        ('name="m"\ncollections=3', "collections"),
        ('name="m"\n[collections]\nJet=3', "collections.Jet"),
        ('name="m"\n[collections.Jet]\nfields="pt"', "fields"),
        ('name="m"\n[collections.Jet]\nconstants={mass="heavy"}', "mass"),
        ('name="m"\n[collections.Jet]\nbits={id="loose"}', "bits"),
        ('name="m"\nreferences=3', "references"),
        ('name="m"\n[[references]]\nfrom="a"\nindex=3\nto="c"\nname="d"', "index"),
        ('name="m"\nextends="mine.toml"', "extends itself"),
    ],
)
def test_schema_files_that_are_wrong(tmp_path, text, says):
    path = flat(tmp_path / "a.parquet", Jet_pt=[[1.0]])
    with pytest.raises(errors.SchemaError, match=says):
        hg.from_parquet(path, schema=written(tmp_path, text))


def test_schemas_that_do_not_fit_the_data(tmp_path):
    path = flat(tmp_path / "a.parquet", Jet_pt=[[1.0]], Jet_eta=[[1.0]], nothing=[1.0])
    missing = written(tmp_path, 'name="m"\nextends="nanoaod"\n[collections.Jet]\ncounts="nJets"\n', "a.toml")
    with pytest.raises(errors.SchemaError, match="count branch 'nJets' of collection Jet is not in"):
        hg.from_parquet(path, schema=missing)
    wrong = written(tmp_path, 'name="m"\nextends="nanoaod"\n[collections.Jet]\ncounts="nothing"\n', "b.toml")
    with pytest.raises(errors.SchemaError, match="must hold integers"):
        hg.from_parquet(path, schema=wrong)
    field = written(tmp_path, 'name="m"\nextends="nanoaod"\n[collections.Jet]\nfields={p="Jet_Pt"}\n', "c.toml")
    with pytest.raises(errors.SchemaError, match=r"(?s)'Jet_Pt', which is not in.*Nearest names: Jet_pt"):
        hg.from_parquet(path, schema=field).Jet.p
    with pytest.raises(errors.SchemaError, match=r"(?s)No schema 'nanoaot'.*nanoaod"):
        hg.from_parquet(path, schema="nanoaot")
    with pytest.raises(errors.SchemaError, match="No schema file"):
        hg.from_parquet(path, schema=str(tmp_path / "none.toml"))


# nested Parquet

KINDS = {name: pa.float32() for name in ("pt", "eta", "phi", "mass")} | {"charge": pa.int32()}
MUON = pa.struct([pa.field(name, kind, nullable=False) for name, kind in KINDS.items()])


def particle(rng, none):
    if none and rng.random() < 0.15:
        return None
    return {
        "pt": float(rng.exponential(30)),
        "eta": float(rng.normal(0, 1.5)),
        "phi": float(rng.uniform(-3, 3)),
        "mass": float(rng.uniform(0.1, 5)),
        "charge": int(rng.choice([-1, 1])),
    }


@pytest.fixture(scope="module", params=["plain", "nullable lists", "nullable records"])
def nested(request, tmp_path_factory):
    """A Parquet file with lists of records, without and with options on the lists or the records."""
    rng = np.random.default_rng(3)
    lists, records = request.param == "nullable lists", request.param == "nullable records"

    def column():
        rows = []
        for _ in range(60):
            absent = lists and rng.random() < 0.15
            rows.append(None if absent else [particle(rng, records) for _ in range(rng.integers(0, 4))])
        kind = pa.list_(pa.field("item", MUON, nullable=records))
        return pa.field("x", kind, nullable=lists), pa.array(rows, kind)

    columns = {name: column() for name in ("Muon", "Electron")}
    met = pa.struct([("pt", pa.float32()), ("phi", pa.float32())])
    values = [{"pt": float(rng.exponential(20)), "phi": float(rng.uniform(-3, 3))} for _ in range(60)]
    schema = pa.schema(
        [*(field.with_name(name) for name, (field, _) in columns.items()), pa.field("MET", met, nullable=False)]
    )
    table = pa.Table.from_arrays([*(array for _, array in columns.values()), pa.array(values, met)], schema=schema)
    path = tmp_path_factory.mktemp("nested") / "a.parquet"
    pq.write_table(table, path, row_group_size=13)
    return path


EXPRESSIONS = {
    "MET": lambda e: e.MET.pt,
    "pt": lambda e: e.Muon.pt,
    "num": lambda e: ak.num(e.Muon),
    "cut": lambda e: e.Muon[e.Muon.pt > 20].eta,
    "event": lambda e: e.MET.pt[ak.num(e.Muon) >= 2],
    "sum": lambda e: ak.sum(e.Muon.pt, axis=1),
    "pairs": lambda e: ak.combinations(e.Muon, 2, fields=["a", "b"]).a.pt,
    "opposite": lambda e: (lambda p: (p.a.pt * p.b.pt)[p.a.charge != p.b.charge])(
        ak.combinations(e.Muon, 2, fields=["a", "b"])
    ),
    "masses": lambda e: (
        lambda p: np.sqrt(2 * p.a.pt * p.b.pt * (np.cosh(p.a.eta - p.b.eta) - np.cos(p.a.phi - p.b.phi)))
    )(ak.combinations(e.Muon, 2, fields=["a", "b"])),
    "both": lambda e: ak.concatenate([e.Muon, e.Electron], axis=1).pt,
    "both cut": lambda e: (lambda x: x[x.pt > 15].charge)(ak.concatenate([e.Muon, e.Electron], axis=1)),
    "leading": lambda e: ak.firsts(e.Muon).pt,
    "largest": lambda e: ak.max(e.Muon.pt, axis=1),
    "filled": lambda e: ak.fill_none(ak.firsts(e.Muon.pt), -1.0),
    "drop": lambda e: ak.drop_none(e.Muon.pt, axis=1),
    "dropped pairs": lambda e: ak.num(ak.combinations(ak.drop_none(e.Muon, axis=1), 2)),
    "product": lambda e: ak.cartesian({"m": e.Muon.pt, "e": e.Electron.pt}).e,
    "broadcast": lambda e: e.Muon.pt * e.MET.pt,
    "flat": lambda e: ak.num(ak.flatten(ak.concatenate([e.Muon, e.Electron], axis=1).pt[:, :1], axis=1), axis=0),
    "whole": lambda e: ak.sum(e.Muon.pt > 20, axis=None),
}


def eager_nested(path):
    """The file as awkward reads it, with 64-bit lists: `ak.drop_none` of awkward 2.14 has no kernel for 32-bit ones."""

    def wide(layout, **_):
        if isinstance(layout, ak.contents.ListOffsetArray):
            inside = ak.transform(wide, layout.content, highlevel=False)
            return ak.contents.ListOffsetArray(ak.index.Index64(layout.offsets.data.astype(np.int64)), inside)
        return None

    return ak.transform(wide, ak.from_parquet(path))


def plain_type(array):
    """The type without options: awkward has them wherever the file's schema allows None, hepgraph where some are."""
    return re.sub(r"\?|option\[|\]", "", str(array.type)).replace("int32", "int64")


@pytest.mark.parametrize("schema", ["base", "nanoaod"])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_nested_parquet_equals_eager_awkward(nested, schema, name):
    wanted = EXPRESSIONS[name](eager_nested(nested))
    for parts in (1, 4):
        events = hg.from_parquet(nested, schema=schema).repartition(parts)
        got = EXPRESSIONS[name](events).compute(executor="serial", progress=False)
        if not isinstance(wanted, ak.Array):
            assert got == wanted
            continue
        assert plain_type(got) == plain_type(wanted)
        assert ak.num(ak.drop_none(ak.flatten(got, axis=None)), axis=0) == ak.num(ak.flatten(wanted, axis=None), axis=0)
        assert got.to_list() == ak.Array(wanted).to_list() or ak.almost_equal(
            ak.from_iter(got.to_list()), ak.from_iter(wanted.to_list()), rtol=1e-6
        )


@pytest.mark.parametrize("schema", ["base", "nanoaod"])
def test_vectors_of_nested_parquet(nested, schema):
    events = hg.from_parquet(nested, schema=schema)
    mu = ak.drop_none(events.Muon, axis=1)
    pair = ak.combinations(mu, 2, fields=["a", "b"])
    e = ak.drop_none(eager_nested(nested).Muon, axis=1)
    p = ak.combinations(e, 2, fields=["a", "b"])
    backend = pytest.importorskip("vector.backends.awkward")
    a, b = (ak.with_name(x, "Momentum4D", behavior=dict(backend.behavior)) for x in (p.a, p.b))
    got = (pair.a + pair.b).mass.compute(executor="serial", progress=False)
    assert ak.all(np.isclose(got, (a + b).mass, rtol=1e-4, atol=1e-2), axis=None)
    assert ak.num(got, axis=0) == 60


def test_nested_parquet_reads_only_the_fields_it_needs(nested):
    events = hg.from_parquet(nested, schema="nanoaod")
    assert list(hg.necessary_columns(events.Muon.pt[events.Muon.charge > 0])) == ["Muon.charge", "Muon.pt"]
    assert compute(events["Muon.pt"]).to_list() == compute(events.Muon.pt).to_list()

"""The committed sample: what data/make_sample.py makes, the same in both files, with the peaks one looks for."""

import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot
from vector.backends.awkward import behavior

DATA = Path(__file__).resolve().parent.parent / "data"
COLLECTIONS = ("Muon", "Electron", "Tau", "Photon", "Jet")


def make(folder, *arguments):
    command = [sys.executable, "-W", "error", str(DATA / "make_sample.py"), "--out", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, text=True)
    return folder


def read_root(folder):
    with uproot.open(folder / "sample.root") as file:
        return {name: branch.array() for name, branch in file["Events"].items()}


def read_parquet(folder):
    table = pq.read_table(folder / "sample.parquet")
    return {name: ak.from_arrow(table[name]) for name in table.column_names}


def assert_same(left, right):
    assert list(left) == list(right)
    for name, array in left.items():
        other = right[name]
        assert len(array) == len(other), name
        if array.ndim == 2:
            assert ak.all(ak.num(array) == ak.num(other)), name
        one, two = (ak.to_numpy(ak.flatten(a, axis=None)) for a in (array, other))
        assert one.dtype == two.dtype, name
        np.testing.assert_array_equal(one, two, err_msg=name)  # takes NaN for equal to NaN


@pytest.fixture(scope="module")
def sample():
    return read_root(DATA)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make(tmp_path_factory.mktemp("small"), "--events", "300")


def collection(sample, name, *fields):
    fields = {field: sample[f"{name}_{field}"] for field in ("pt", "eta", "phi", "mass", *fields)}
    return ak.zip(fields, with_name="Momentum4D", behavior=behavior)


def test_the_committed_files_are_what_the_script_makes(tmp_path, sample):
    made = make(tmp_path)
    assert_same(read_root(made), sample)
    assert_same(read_parquet(made), sample)


def test_root_and_parquet_hold_the_same_events(sample):
    assert_same(read_parquet(DATA), sample)


def test_a_smaller_number_gives_the_first_events(small, sample):
    root = read_root(small)
    assert_same(root, {name: array[:300] for name, array in sample.items()})
    assert_same(read_parquet(small), root)


def test_the_schema_is_that_of_the_outreach_file(small):
    with uproot.open(small / "sample.root") as file:
        types = {name: branch.typename for name, branch in file["Events"].items()}
    assert len(types) == 86
    assert [name for name in types if name.startswith("n")] == [f"n{name}" for name in COLLECTIONS]
    assert [types[name] for name in ("run", "luminosityBlock", "event")] == ["int32_t", "uint32_t", "uint64_t"]
    assert {types[f"n{name}"] for name in COLLECTIONS} == {"int32_t"}
    assert types["Muon_pt"] == "float[]"
    assert types["Tau_decayMode"] == "int32_t[]"
    assert types["Jet_puId"] == "bool[]"
    assert types["HLT_IsoMu24"] == "bool"
    outreach = DATA.parent.parent / "shared" / "data" / "Run2012B_SingleMu-1000.parquet"
    if outreach.exists():
        assert set(types) == set(pq.read_schema(outreach).names)


def test_the_files_are_small_and_have_several_clusters():
    files = [DATA / "sample.root", DATA / "sample.parquet"]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    with uproot.open(files[0]) as file:
        assert file["Events"]["Muon_pt"].num_baskets > 1
    assert pq.ParquetFile(files[1]).num_row_groups > 1


def test_counts_agree_with_lists_and_objects_fall_in_pt(sample):
    for name in COLLECTIONS:
        counts = sample[f"n{name}"]
        for branch, array in sample.items():
            if branch.startswith(f"{name}_"):
                assert ak.all(ak.num(array) == counts), branch
        pt = sample[f"{name}_pt"]
        assert ak.all(pt[:, 1:] <= pt[:, :-1])


def test_indices_are_in_range(sample):
    for name in COLLECTIONS[:-1]:
        jets = sample[f"{name}_jetIdx"]
        assert ak.all((jets >= -1) & (jets < sample["nJet"]))
        assert ak.any(jets >= 0)
        assert ak.any(jets == -1)
        assert ak.all(sample[f"{name}_genPartIdx"] == -1)


def test_quantities_are_in_range(sample):
    for name, array in sample.items():
        if name.endswith("_phi"):
            assert ak.all(abs(array) <= np.pi), name
        if name.endswith("_pt"):
            assert ak.all(array > 0), name
    assert ak.all(abs(sample["Muon_eta"]) < 2.41)
    assert ak.all((sample["run"] >= 193833) & (sample["run"] <= 196531))
    assert len(np.unique(ak.to_numpy(sample["event"]))) == len(sample["event"])


def test_the_quirks_of_real_data_are_there(sample):
    for name in ("Muon_dxy", "Muon_pfRelIso03_all", "Electron_dxy", "Electron_pfRelIso03_all", "Tau_relIso_all"):
        assert ak.any(sample[name] == -999), name
    assert ak.any(sample["Jet_btag"] == -10)
    assert ak.any(sample["Electron_mass"] < 0)
    assert ak.any(sample["nMuon"] == 0)
    assert ak.all(np.isnan(sample["Tau_relIso_all"]) == (sample["Tau_decayMode"] == -1))


def test_the_z_peak_is_at_the_z_mass(sample):
    pair = ak.combinations(collection(sample, "Muon", "charge"), 2, fields=["a", "b"])
    pair = pair[pair.a.charge != pair.b.charge]
    mass = ak.to_numpy(ak.flatten((pair.a + pair.b).mass))
    peak = mass[(mass > 86) & (mass < 96)]
    assert 90 < np.median(peak) < 92
    assert len(peak) > 5 * np.count_nonzero((mass > 70) & (mass < 80))


def test_the_trijet_peak_is_at_the_top_mass(sample):
    jets = collection(sample, "Jet", "btag")
    jets = jets[jets.pt > 25]
    jets = jets[(ak.num(jets) >= 4) & ak.any(jets.btag > 0.7, axis=1)]
    three = ak.combinations(jets, 3, fields=["a", "b", "c"])
    three = three.a + three.b + three.c
    hardest = ak.flatten(three[ak.argmax(three.pt, axis=1, keepdims=True)].mass)
    counts, edges = np.histogram(ak.to_numpy(hardest), bins=np.arange(12.5, 500, 20))
    assert edges[counts.argmax()] <= 172.5 < edges[counts.argmax() + 1]

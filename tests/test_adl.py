"""The ADL queries: the reference entries, an independent eager version, columns, executors, partitions."""

from __future__ import annotations

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
import vector.backends.awkward as vectors
from hepgraph.processors import adl

import hepgraph as hg
from hepgraph.graph.node import ordered
from hepgraph.io.source import reads

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "Run2012B_SingleMu-1000.parquet"
SEEDS = ROOT.parent / "shared" / "seeds"
SAMPLES = [ROOT / "data" / "sample.root", ROOT / "data" / "sample.parquet"]
real = pytest.mark.skipif(not REAL.is_file(), reason="needs ../shared/data, which is not there")

# the table of the notes: entries, bins and flow bins that are not empty, with the axes of the published reference
ENTRIES = {"q1": 1000, "q2": 1699, "q3": 680, "q4": 116, "q5": 57, "q6a": 274, "q6b": 274, "q7": 344, "q8": 73}
BINS = {"q1": 7, "q2": 101, "q3": 98, "q4": 6, "q5": 4, "q6a": 75, "q6b": 78, "q7": 70, "q8": 24}
FLOW = {"q2": (0, 208), "q3": (0, 125), "q6a": (39, 108), "q6b": (23, 0), "q7": (0, 16), "q8": (30, 0)}

JET = {"nJet"}
MUON = {f"Muon_{x}" for x in ("pt", "eta", "phi", "mass", "charge")} | {"nMuon"}
COLUMNS = {
    "q1": {"MET_pt"},
    "q2": {"Jet_pt"} | JET,
    "q3": {"Jet_pt", "Jet_eta"} | JET,
    "q4": {"Jet_pt", "MET_pt"} | JET,
    "q5": {"MET_pt"} | MUON,
    "q6a": {f"Jet_{x}" for x in ("pt", "eta", "phi", "mass")} | JET,
    "q6b": {f"Jet_{x}" for x in ("pt", "eta", "phi", "mass", "btag")} | JET,
    "q7": {f"{c}_{x}" for c in ("Jet", "Muon", "Electron") for x in ("pt", "eta", "phi")}
    | {"nJet", "nMuon", "nElectron"},
    "q8": {f"{c}_{x}" for c in ("Electron", "Muon") for x in ("charge", "eta", "mass", "phi", "pt")}
    | {"nElectron", "nMuon", "MET_pt", "MET_phi"},
}  # fmt: skip


def results(path: Path, npartitions: int = 1, **options: Any) -> dict[str, Any]:
    events = hg.open(path, schema="nanoaod").repartition(npartitions)
    return dict(hg.compute(adl.AllQueries().process(events), progress=False, **options))


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name].values(flow=True), b[name].values(flow=True), err_msg=name)


@real
@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
@pytest.mark.parametrize("npartitions", [1, 2, 7])
def test_entries_of_the_reference(npartitions: int, engine: str) -> None:
    out = results(REAL, npartitions, executor="serial", engine=engine)
    assert {name: h.sum(flow=True) for name, h in out.items()} == ENTRIES


@real
def test_bins_of_the_reference() -> None:
    class Wide(adl.Query1):
        met = (100, 0, 2000, "met", "Missing $E_T$ [GeV]")

    events = hg.open(REAL, schema="nanoaod")
    lazy = adl.AllQueries().process(copy.copy(events))
    for number, query in ((1, adl.Query1), (4, adl.Query4), (5, adl.Query5)):
        wide = type("WideQuery", (query,), {"met": Wide.met})
        lazy |= wide().process(copy.copy(events))
        assert f"q{number}" in lazy
    for name, h in hg.compute(lazy, executor="serial").items():
        values = h.values(flow=True)
        assert np.count_nonzero(values) == BINS[name], name  # the flow bins count as one bin each
        assert (values[0], values[-1]) == FLOW.get(name, (0, 0)), name


@real
@pytest.mark.parametrize("executor", ["threads", "processes", "pool", hg.executors.Threads(3)])
def test_every_executor(executor: Any) -> None:
    expected = results(REAL, 7, executor="serial")
    if executor == "pool":
        with ThreadPoolExecutor(2) as pool:
            same(results(REAL, 7, executor=pool), expected)
    else:
        same(results(REAL, 7, executor=executor), expected)


# an independent version: eager awkward and scikit-hep vector


def eager(path: Path) -> dict[str, Any]:
    flat = ak.from_parquet(path)
    behavior = vectors.behavior

    def collection(name: str, *more: str) -> ak.Array:
        fields = {x: flat[f"{name}_{x}"] for x in ("pt", "eta", "phi", "mass", *more)}
        return ak.to_packed(ak.zip(fields, with_name="Momentum4D", behavior=behavior))

    jets, muons, electrons = collection("Jet", "btag"), collection("Muon", "charge"), collection("Electron", "charge")
    met = flat.MET_pt
    out: dict[str, Any] = {"q1": met, "q2": ak.flatten(jets.pt), "q3": ak.flatten(jets.pt[abs(jets.eta) < 1])}
    out["q4"] = met[ak.sum(jets.pt > 40, axis=1) >= 2]

    a, b = ak.unzip(ak.combinations(muons, 2))
    mass = (a + b).mass
    out["q5"] = met[ak.any((mass >= 60) & (mass <= 120) & (a.charge * b.charge < 0), axis=1)]

    three = ak.combinations(jets[ak.num(jets) >= 3], 3, fields=["x", "y", "z"])
    top = three.x + three.y + three.z
    best = ak.argmin(abs(top.mass - 172.5), axis=1, keepdims=True)
    highest = np.maximum(three.x.btag, np.maximum(three.y.btag, three.z.btag))
    out["q6a"], out["q6b"] = ak.flatten(top[best].pt), ak.flatten(highest[best])

    hard = jets[jets.pt > 30]
    for leptons in (muons, electrons):
        one, other = ak.unzip(ak.cartesian([hard, leptons[leptons.pt > 10]], nested=True))
        hard = hard[~ak.any(one.deltaR(other) < 0.4, axis=2)]
    out["q7"] = ak.sum(hard.pt, axis=1)[ak.num(hard) > 0]

    values = []
    for mu, el, pt, phi in zip(muons, electrons, met, flat.MET_phi, strict=True):
        leptons = [(13 * int(m.charge), m) for m in mu] + [(11 * int(e.charge), e) for e in el]
        pairs = [
            (abs((leptons[i][1] + leptons[j][1]).mass - 91.2), i, j)
            for i in range(len(leptons))
            for j in range(i + 1, len(leptons))
            if leptons[i][0] == -leptons[j][0]
        ]
        if len(leptons) < 3 or not pairs:
            continue
        _, i, j = min(pairs)
        _, third = max((lepton for k, lepton in enumerate(leptons) if k not in (i, j)), key=lambda pair: pair[1].pt)
        values.append(np.sqrt(2 * third.pt * pt * (1 - np.cos(phi - third.phi))))
    out["q8"] = np.array(values)
    return out


@real
@pytest.mark.filterwarnings("ignore:invalid value")  # vector takes the root of a negative number on the way
@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_bin_by_bin_equal_to_eager_awkward(engine: str) -> None:
    expected = eager(REAL)
    for name, h in results(REAL, 2, executor="serial", engine=engine).items():
        filled = hist.Hist(*h.axes, storage=h.storage_type()).fill(ak.to_numpy(expected[name]))
        moved = np.abs(filled.values(flow=True) - h.values(flow=True)).sum() / 2
        assert moved <= (2 if name.startswith("q6") else 0), name


# columns


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.suffix)
def test_each_query_needs_its_columns_and_reads_no_others(path: Path) -> None:
    for query in adl.QUERIES:
        lazy = query().process(hg.open(path, schema="nanoaod"))
        for name, h in lazy.items():
            needed = set(hg.necessary_columns(h))
            assert needed == COLUMNS[name], name
            with reads() as seen:
                hg.compute(h, executor="serial")
            assert {reading.column for reading in seen} == needed, name
            assert len(seen) == len(needed), "each column is read once"


def test_all_in_one_pass_equals_one_by_one_on_both_formats() -> None:
    together = results(SAMPLES[0], 3, executor="serial")
    same(results(SAMPLES[1], 2, executor="serial"), together)
    for query in adl.QUERIES:
        for name, h in hg.compute(query().process(hg.open(SAMPLES[0])), executor="serial").items():
            np.testing.assert_array_equal(h.values(flow=True), together[name].values(flow=True), err_msg=name)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as lists of records of which every part may be None; lists are in half of the events without jets.

    Where there are jets, no list is: beside a missing list of leptons awkward has None in the place of each jet.
    """
    flat = pq.read_table(SAMPLES[1]).combine_chunks()
    columns: dict[str, Any] = {}
    without = np.diff(flat["Jet_pt"].chunk(0).offsets.to_numpy()) == 0
    without[::2] = False
    for name in ("Jet", "Muon", "Electron"):
        fields = {x.removeprefix(f"{name}_"): flat[x].chunk(0) for x in flat.column_names if x.startswith(f"{name}_")}
        offsets = next(iter(fields.values())).offsets
        none = without & (np.diff(offsets.to_numpy()) == 0)
        records = pa.StructArray.from_arrays([x.values for x in fields.values()], list(fields))
        columns[name] = pa.ListArray.from_arrays(offsets, records, mask=pa.array(none))
    columns["MET"] = pa.StructArray.from_arrays([flat[x].chunk(0) for x in ("MET_pt", "MET_phi")], ["pt", "phi"])
    path = tmp_path_factory.mktemp("nested") / "nested.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=3000)
    return path


@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_nested_and_nullable_equals_flat(engine: str, nested: Path) -> None:
    expected = results(SAMPLES[1], executor="serial")
    events = hg.open(nested)
    assert str(events.Jet.type).startswith("## * option[var * ")
    same(hg.compute(adl.AllQueries().process(events), executor="serial", engine=engine, progress=False), expected)


def test_as_processors_over_a_fileset() -> None:
    fileset = {"root": {"files": {str(SAMPLES[0]): "Events"}}, "parquet": [str(SAMPLES[1])]}
    out, report = hg.run(adl.AllQueries(), fileset, executor="threads", report=True)
    once = results(SAMPLES[0], executor="serial")
    for name, h in out.items():
        np.testing.assert_array_equal(h.values(flow=True), 2 * once[name].values(flow=True), err_msg=name)
    assert report.complete
    assert report.events == 16000


# the slide "Practicalities: Writing Code (2)", as it stands


def slide(events: Any) -> dict[str, Any]:
    """What the code of the slide leaves behind: `dak` is awkward, `hda` is hepgraph."""
    text = next(SEEDS.glob("002_*.txt")).read_text()
    code = text.split("# Practicalities: Writing Code (2)")[1].split("```")[1]
    names = {"dak": ak, "hda": hg, "np": np, "events": events}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "\ell" in a string that is not raw
        made = compile(code, "slide.py", "exec")
    exec(made, names)
    names["again"] = lambda: exec(made, names)
    return names


@pytest.fixture
def root_of_real(tmp_path: Path) -> Path:
    """The real events as a ROOT file: lists of Electron and Muon, MET, and columns that query 8 has no use for."""
    flat = ak.from_parquet(REAL)
    arrays = {"MET_pt": flat.MET_pt, "MET_phi": flat.MET_phi, "MET_sumet": flat.MET_sumet}
    fields = ("pt", "eta", "phi", "mass", "charge", "dxy")
    for name in ("Electron", "Muon"):
        arrays[name] = ak.zip({x: ak.drop_none(flat[f"{name}_{x}"]) for x in fields}, depth_limit=2)
    arrays = {name: ak.to_packed(ak.fill_none(array, 0, axis=-1)) for name, array in arrays.items()}
    path = tmp_path / "real.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: array.type.content for name, array in arrays.items()}).extend(arrays)
    return path


@real
@pytest.mark.filterwarnings("ignore:Integer weights indicate poissonian data")  # mplhep, where scipy is absent
@pytest.mark.skipif(not SEEDS.is_dir(), reason="needs ../shared/seeds, which is not there")
@pytest.mark.parametrize("npartitions", [1, 3])
@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_query_8_of_the_slide(kind: str, npartitions: int, root_of_real: Path) -> None:
    import matplotlib.pyplot as plt

    class Slide(adl.Query8):
        mt = (100, 0, 200, "mt", "")

    path = REAL if kind == "parquet" else root_of_real
    plt.switch_backend("agg")
    names = slide(hg.open(path, schema="nanoaod").repartition(npartitions))
    assert len(plt.gca().patches) == 1, "plot1d has drawn"
    plt.close("all")
    h = names["q8_hist"]
    expected = hg.compute(Slide().process(hg.open(REAL, schema="nanoaod")), executor="serial")["q8"]
    np.testing.assert_array_equal(h.compute().values(flow=True), expected.values(flow=True))
    assert h.compute().sum(flow=True) == ENTRIES["q8"]
    assert set(hg.necessary_columns(h)) == COLUMNS["q8"]
    assert len(COLUMNS["q8"]) == 14
    with reads() as seen:
        h.compute(executor="serial")
    assert {reading.column for reading in seen} == COLUMNS["q8"]


@real
@pytest.mark.filterwarnings("ignore:Integer weights indicate poissonian data")  # mplhep, where scipy is absent
@pytest.mark.skipif(not SEEDS.is_dir(), reason="needs ../shared/seeds, which is not there")
def test_the_cell_run_twice_leaves_a_graph_of_the_same_size() -> None:
    def size(h: Any) -> int:
        return len(ordered([item for fill in h.fills for item in fill.wants]))

    fresh = hg.open(REAL, schema="nanoaod")
    names = slide(copy.copy(fresh))
    once = names["q8_hist"]
    names["events"] = copy.copy(fresh)
    names["again"]()
    assert size(names["q8_hist"]) == size(once)
    assert names["q8_hist"].compute() == once.compute()
    # on the events that the first run has cut already, masks that cut nothing more may be added, but nothing is lost
    names["again"]()
    assert names["q8_hist"].compute() == once.compute()

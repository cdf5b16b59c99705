"""The ttbar analysis against plain loops in Python: bins, variations, cuts, executors, partitions, traced and eager."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from drawing import examples
from hepgraph.processors.ttbar import CROSS_SECTIONS, CUTS, LUMINOSITY, Ttbar

import hepgraph as hg

SHARED = Path(__file__).resolve().parents[2] / "shared"
SIZES = {"ttbar": 400, "wjets": 150}
COLUMNS = {
    *(f"Electron_{name}" for name in ("pt", "eta", "cutBased", "sip3d")),
    *(f"Muon_{name}" for name in ("pt", "eta", "tightId", "sip3d", "pfRelIso04_all")),
    *(f"Jet_{name}" for name in ("pt", "eta", "phi", "mass", "btagCSVV2", "jetId")),
    *("nElectron", "nMuon", "nJet"),
}


# made events


def collection(rng: Any, counts: Any, **fields: Any) -> Any:
    """Objects of so many in each event; each field is drawn for all of them."""
    n = int(counts.sum())
    values = {name: draw(n) for name, draw in fields.items()}
    return ak.zip({name: ak.unflatten(x, counts) for name, x in values.items()})


def made(size: int, seed: int) -> dict[str, Any]:
    """Events of which many pass, in the columns of NanoAOD of 2015."""
    rng = np.random.default_rng(seed)

    def real(low: float, high: float) -> Any:
        return lambda n: rng.uniform(low, high, n).astype(np.float32)

    def momentum(mean: float) -> Any:
        return lambda n: (15 + rng.exponential(mean, n)).astype(np.float32)

    def number(low: int, high: int) -> Any:
        return lambda n: rng.integers(low, high, n, np.int32)

    electrons = collection(
        rng, rng.integers(0, 3, size), pt=momentum(40), eta=real(-2.5, 2.5), cutBased=number(2, 5), sip3d=real(0, 5)
    )
    muons = collection(
        rng, rng.integers(0, 3, size), pt=momentum(40), eta=real(-2.5, 2.5), sip3d=real(0, 5),
        tightId=lambda n: rng.random(n) < 0.8, pfRelIso04_all=real(0, 0.3),
    )  # fmt: skip
    jets = collection(
        rng, rng.integers(0, 9, size), pt=momentum(60), eta=real(-2.8, 2.8), phi=real(-math.pi, math.pi),
        mass=real(0, 20), btagCSVV2=real(0, 1), jetId=number(3, 8),
    )  # fmt: skip
    event = rng.integers(0, 2**40, size, np.uint64)
    return {"Electron": electrons, "Muon": muons, "Jet": jets, "event": event}


@pytest.fixture(scope="module")
def fileset(tmp_path_factory: Any) -> dict[str, Any]:
    """Two processes, one of them with weights of its own."""
    folder, found = tmp_path_factory.mktemp("ttbar"), {}
    for seed, (name, size) in enumerate(SIZES.items()):
        arrays = made(size, seed)
        kinds = {key: x.type.content if isinstance(x, ak.Array) else x.dtype for key, x in arrays.items()}
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("Events", kinds).extend(arrays)
        found[name] = {"files": [str(folder / f"{name}.root")], "metadata": {"events": size}}
    return found


# plain loops


def smearing(event: int, j: int) -> float:
    """The factor of `pt_res_up`."""
    a = ((event % 65521) * 31 + j) * 40503 % 65536
    b = (25173 * a + 13849) % 65536
    c = (25173 * b + 13849) % 65536
    return (655360 + (a + b + c - 98304)) / 655360


def factors(event: int, j: int, eta: float, which: str) -> dict[str, float]:
    """The factors of the pt of one jet, by variation."""
    found = {"nominal": 1.0}
    if which != "none":
        found |= {"pt_scale_up": 1.03, "pt_res_up": smearing(event, j)}
    if which == "all":
        for k in range(10):
            n = 5 + (3 * k + 5 * sum(abs(eta) >= edge for edge in (0.75, 1.25, 1.875, 2.5, 3.0))) % 16
            found |= {f"JES_{k}_up": (1000 + n) / 1000, f"JES_{k}_down": (1000 - n) / 1000}
    return found


def weights(pts: list[float], which: str, process: str) -> dict[str, float]:
    """The factors of the weight of one event, by variation."""
    found = {}
    if which != "none":
        for i in range(4):
            found |= {f"btag_var_{i}_up": 1 + pts[i] * 0.075 / 50, f"btag_var_{i}_down": 1 - pts[i] * 0.075 / 50}
        if process == "wjets":
            found |= {"scale_var_up": 1.025, "scale_var_down": 0.975}
    return found


def trijet(jets: list[dict[str, float]], btag: float) -> float:
    """The mass of three jets, one of them tagged, that have the highest pt together."""
    best, mass = -1.0, 0.0
    for three in itertools.combinations(jets, 3):
        if not any(jet["btagCSVV2"] > btag for jet in three):
            continue
        px = sum(jet["pt"] * math.cos(jet["phi"]) for jet in three)
        py = sum(jet["pt"] * math.sin(jet["phi"]) for jet in three)
        pz = sum(jet["pt"] * math.sinh(jet["eta"]) for jet in three)
        e = sum(math.sqrt((jet["pt"] * math.cosh(jet["eta"])) ** 2 + jet["mass"] ** 2) for jet in three)
        if math.hypot(px, py) > best:
            best, mass = math.hypot(px, py), math.sqrt(max(e * e - px * px - py * py - pz * pz, 0.0))
    return mass


def one_event(ev: dict[str, Any], which: str, process: str, cuts: dict[str, Any]) -> Any:
    """Region, variation, observable and factor of the weight of each entry that an event makes."""
    leptons = 0
    for e in ev["Electron"]:
        leptons += e["pt"] > cuts["lepton_pt"] and abs(e["eta"]) < 2.1 and e["cutBased"] == 4 and e["sip3d"] < 4
    for mu in ev["Muon"]:
        good = mu["tightId"] and mu["sip3d"] < 4 and mu["pfRelIso04_all"] < 0.15
        leptons += good and mu["pt"] > cuts["lepton_pt"] and abs(mu["eta"]) < 2.1
    if not cuts["leptons"][0] <= leptons <= cuts["leptons"][1]:
        return
    for variation in factors(0, 0, 0.0, which):
        jets = []
        for j, jet in enumerate(ev["Jet"]):
            pt = jet["pt"] * factors(ev["event"], j, jet["eta"], which)[variation]
            if pt > cuts["jet_pt"] and abs(jet["eta"]) < 2.4 and jet["jetId"] & 4:
                jets.append({**jet, "pt": pt})
        tagged = sum(jet["btagCSVV2"] > cuts["btag"] for jet in jets)
        if len(jets) < 4 or tagged == 0:
            continue
        pts = [jet["pt"] for jet in jets]
        region, x = ("4j1b", sum(pts)) if tagged == 1 else ("4j2b", trijet(jets, cuts["btag"]))
        yield region, variation, x, 1.0
        if variation == "nominal":
            for name, weight in weights(pts, which, process).items():
                yield region, name, x, weight


def reference(which: str, cuts: str) -> Any:
    """{region: {variation: 27 sums of weights}} over both processes, and the names of the variations of each."""
    found: dict[str, dict[str, Any]] = {"4j1b": {}, "4j2b": {}}
    names = {}
    for seed, (process, size) in enumerate(SIZES.items()):
        names[process] = [*factors(0, 0, 0.0, which), *weights([0.0] * 4, which, process)]
        own = {region: {name: np.zeros(27) for name in names[process]} for region in found}
        for ev in ak.Array(made(size, seed)).to_list():
            for region, variation, x, weight in one_event(ev, which, process, CUTS[cuts]):
                bin = 0 if x < 50 else 26 if x >= 550 else 1 + int((x - 50) / 500 * 25)
                own[region][variation][bin] += CROSS_SECTIONS[process] * LUMINOSITY / size * weight
        found = {region: {process: own[region], **found[region]} for region in found}
    return found


def bins(out: Any) -> Any:
    return {region: {name: h[:, name].values(flow=True) for name in h.axes["variation"]} for region, h in out.items()}


def same(got: Any, wanted: Any) -> None:
    assert got.keys() == wanted.keys()
    for region, each in wanted.items():
        assert got[region].keys() == each.keys()
        for name, values in each.items():
            np.testing.assert_allclose(got[region][name], values, rtol=1e-9, atol=1e-9, err_msg=f"{region} {name}")


def run(which: str, cuts: str, fileset: Any, **options: Any) -> Any:
    return hg.run(Ttbar(which, cuts), fileset, progress=False, **options)


@pytest.fixture(scope="module")
def plain() -> Any:
    """The reference of a process, made once for each set and cuts."""
    known: dict[Any, Any] = {}

    def of(which: str, cuts: str, process: str) -> Any:
        if (which, cuts) not in known:
            known[which, cuts] = reference(which, cuts)
        return {region: each[process] for region, each in known[which, cuts].items()}

    return of


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("which", ["none", "agc", "all"])
def test_bins(which: str, cuts: str, fileset: Any, plain: Any) -> None:
    for process in SIZES:
        one = {process: fileset[process]}
        wanted = plain(which, cuts, process)
        assert sum(values.sum() for values in wanted["4j2b"].values()) > 0
        for engine in ("kernel", "interpreter"):
            same(bins(run(which, cuts, one, executor="serial", engine=engine)), wanted)


@pytest.mark.parametrize(
    ("executor", "step_size"),
    [*itertools.product(["serial", "threads"], [11, 64, 10_000]), ("processes", 64)],
)
def test_partitions_and_executors(executor: str, step_size: int, fileset: Any, plain: Any) -> None:
    wanted = plain("agc", "loose", "wjets")
    same(bins(run("agc", "loose", {"wjets": fileset["wjets"]}, executor=executor, step_size=step_size)), wanted)


@pytest.mark.parametrize("step_size", [80, 10_000])
def test_eager(step_size: int, fileset: Any, plain: Any) -> None:
    """A processor that is not recorded runs once for each variation."""
    wanted = plain("agc", "agc", "wjets")
    same(
        bins(run("agc", "agc", {"wjets": fileset["wjets"]}, executor="serial", step_size=step_size, eager=True)), wanted
    )


def test_columns(fileset: Any) -> None:
    events = hg.from_root(
        fileset["ttbar"]["files"], tree="Events", schema="nanoaod", metadata={"dataset": "ttbar", "events": 1}
    )
    assert set(hg.necessary_columns(Ttbar("none").process(events))) == COLUMNS


def test_each_variation_is_a_run_in_which_it_is_the_nominal(fileset: Any) -> None:
    """To the last bit, and the nominal is as without any variations."""

    class Shifted(Ttbar):
        def process(self, events: Any) -> Any:
            events["Jet", "pt"] = ak.values_astype(events.Jet.pt, np.float64) * 1.03
            return super().process(events)

    def nominal(out: Any) -> Any:
        return {region: h[:, "nominal"].view(flow=True) for region, h in out.items()}

    one = {"ttbar": fileset["ttbar"]}
    varied = run("all", "loose", one, executor="serial")
    for region, view in nominal(run("none", "loose", one, executor="serial")).items():
        np.testing.assert_array_equal(varied[region][:, "nominal"].view(flow=True), view)
    shifted = hg.run(Shifted("none", "loose"), one, executor="serial", progress=False)
    for region, view in nominal(shifted).items():
        np.testing.assert_array_equal(varied[region][:, "pt_scale_up"].view(flow=True), view)


@pytest.mark.skipif(
    not (SHARED / "peers" / "agc_numpy.py").is_file(), reason="needs ../shared/peers, which is not there"
)
@pytest.mark.fuzz  # all processes; without HEPGRAPH_FUZZ one with weights of its own, and one without
@pytest.mark.parametrize("process", CROSS_SECTIONS if examples(1) > 1 else ["ttbar", "wjets"])
def test_made_files_of_all_processes(process: str, tmp_path: Path) -> None:
    """The program that defines the analysis has the same bins, on events like real ones."""

    def called(*words: Any) -> None:
        subprocess.run([sys.executable, "-W", "ignore", *map(str, words)], check=True, capture_output=True)

    called(SHARED / "bench" / "make_agc_data.py", tmp_path, "--process", process, "--events", 800)
    path, out = tmp_path / f"agc_{process}.root", tmp_path / "bins.json"
    fileset = {process: {"files": [str(path)], "metadata": {"events": 800}}}
    for cuts in CUTS:
        called(SHARED / "peers" / "agc_numpy.py", path, "--process", process, "--cuts", cuts, "--out", out)
        wanted = json.loads(out.read_text())
        for which in ("none", "agc", "all"):
            got = bins(run(which, cuts, fileset, executor="serial"))
            same(got, {region: {name: each[name] for name in got[region]} for region, each in wanted.items()})

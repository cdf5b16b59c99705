"""The examples of the talks that the project started from, as they stand: `dak` is awkward, `hda` is hepgraph.

The talks read SMHiggsToZZTo4L, lists of muons with pt, eta, phi and charge; these tests write such files.
"""

import inspect
from pathlib import Path

import awkward as ak
import awkward as dak
import numpy as np
import pytest
import uproot

import hepgraph as hda
import hepgraph as hg
from hepgraph.graph.node import ordered

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def eager():
    rng = np.random.default_rng(12345)
    counts = rng.poisson(2.2, 500)
    size = int(counts.sum())
    muon = ak.zip(
        {
            "pt": rng.exponential(25, size).astype(np.float32),
            "eta": rng.normal(0, 1.5, size).astype(np.float32),
            "phi": rng.uniform(-np.pi, np.pi, size).astype(np.float32),
            "mass": np.full(size, 0.105, np.float32),
            "charge": rng.choice([-1, 1], size).astype(np.int32),
        }
    )
    return ak.zip({"muon": ak.unflatten(muon, counts), "run": np.arange(500)}, depth_limit=1)


@pytest.fixture(scope="module")
def files(eager, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    ak.to_parquet(eager, folder / "SMHiggsToZZTo4L.parquet", row_group_size=120)
    with uproot.recreate(folder / "SMHiggsToZZTo4L.root") as file:
        file.mktree("Events", {"muon": eager.muon.type.content, "run": "int64"})
        for start in range(0, 500, 125):
            part = eager[start : start + 125]
            file["Events"].extend({"muon": part.muon, "run": part.run})
    return folder


@pytest.fixture(params=["parquet", "root"])
def lazy_events(request, files):
    if request.param == "parquet":
        return hda.from_parquet(files / "SMHiggsToZZTo4L.parquet", schema="nanoaod")
    return hda.from_root(files / "SMHiggsToZZTo4L.root", schema="nanoaod", step_size="10 kB")


def fast_mass(mu1pt, mu2pt, mu1eta, mu2eta, mu1phi, mu2phi):
    return np.sqrt(2 * mu1pt * mu2pt * (np.cosh(mu1eta - mu2eta) - np.cos(mu1phi - mu2phi)))


def masses(events):
    muplus = events.muon[events.muon.charge > 0]
    muminus = events.muon[events.muon.charge < 0]
    mu1, mu2 = dak.unzip(dak.cartesian((muplus, muminus)))
    return fast_mass(mu1.pt, mu2.pt, mu1.eta, mu2.eta, mu1.phi, mu2.phi)


def same(a, b):
    return ak.array_equal(a, b, equal_nan=True, check_parameters=False)


def close(a, b):
    """Differences of angles are not columns: the kernel's sines of them may differ from NumPy's in the last bit."""
    return ak.almost_equal(a, b, rtol=1e-5, atol=1e-3, check_parameters=False)


# seed 000: horizontal scaling of columnar analysis


def test_from_parquet(files):
    lazy_events = hda.from_parquet(files / "SMHiggsToZZTo4L.parquet")
    assert repr(lazy_events).startswith("<hepgraph.Lazy ## * {")
    assert lazy_events.fields == ["muon", "run"]


def test_a_root_file_in_steps_of_memory(files, eager):
    lazy_tree = hda.from_root(files / "SMHiggsToZZTo4L.root", schema="nanoaod", step_size="10 MB")
    assert lazy_tree.npartitions == 1
    small = hda.from_root(files / "SMHiggsToZZTo4L.root", schema="nanoaod", step_size="10 kB")
    assert small.npartitions > 1
    assert same(small.muon.pt.compute(progress=False), eager.muon.pt)
    assert small.muon.pt.npartitions < small.muon.npartitions  # steps are of the memory of what is needed
    assert hda.from_root(files / "SMHiggsToZZTo4L.root", step_size=100).npartitions == 5


def test_type_show(lazy_events, capsys):
    lazy_events.type.show()
    shown = capsys.readouterr().out
    for part in ("muon", "pt: float32", "charge: int32", "run: int64"):
        assert part in shown
    assert str(lazy_events.muon.pt.type) in ("## * var * float32", "## * option[var * float32]")


def test_repartition(lazy_events, eager):
    lazy_events2 = lazy_events.repartition(5)
    assert lazy_events2.npartitions == 5
    assert lazy_events2.repartition(3).npartitions == 3
    assert same(lazy_events2.muon.pt.compute(progress=False), eager.muon.pt)


def test_muons_by_charge(lazy_events, eager):
    muplus = lazy_events.muon[lazy_events.muon.charge > 0]
    muminus = lazy_events.muon[lazy_events.muon.charge < 0]
    for lazy, plain in ((muplus, eager.muon[eager.muon.charge > 0]), (muminus, eager.muon[eager.muon.charge < 0])):
        got = lazy.compute(progress=False)
        assert got.fields == ["pt", "eta", "phi", "mass", "charge"]
        assert all(same(got[name], plain[name]) for name in plain.fields)


def test_cartesian_and_unzip(lazy_events, eager):
    def pairs(events):
        return dak.unzip(dak.cartesian((events.muon[events.muon.charge > 0], events.muon[events.muon.charge < 0])))

    got = hg.compute(list(pairs(lazy_events.repartition(5))), progress=False)
    for mine, wanted in zip(got, pairs(eager), strict=True):
        assert all(same(mine[name], wanted[name]) for name in wanted.fields)


@pytest.mark.parametrize("executor", ["synchronous", "sync", "serial", "threads"])
def test_masses(lazy_events, eager, executor):
    output = masses(lazy_events.repartition(5))
    wanted = masses(eager)
    got = output.compute(executor=executor, progress=False)
    assert got.type == wanted.type
    assert close(got, wanted)
    assert same(output.compute(executor=executor, progress=False, engine="interpreter"), wanted)


def test_masses_in_processes(files, eager):
    output = masses(hda.from_parquet(files / "SMHiggsToZZTo4L.parquet").repartition(5))
    assert close(output.compute(executor="processes", progress=False), masses(eager))


def test_the_same_function_on_eager_and_lazy_arrays(lazy_events):
    assert isinstance(masses(lazy_events), hg.Lazy)
    assert isinstance(masses(lazy_events), ak.Array)


def test_visualize(lazy_events, tmp_path):
    output = masses(lazy_events.repartition(5))
    shown = output.visualize()
    assert shown is not None
    output.visualize(str(tmp_path / "graph.svg"))
    text = (tmp_path / "graph.svg").read_text()
    assert text.lstrip().startswith(("<svg", "<?xml"))
    assert "muon" in text


def test_only_what_is_needed_is_read(lazy_events):
    needed = set(hg.necessary_columns(masses(lazy_events)))
    assert {name.replace(".", "_") for name in needed} - {"nmuon"} == {"muon_pt", "muon_eta", "muon_phi", "muon_charge"}
    assert not any("mass" in name or "run" in name for name in needed)


def test_quadratic_formula_and_reductions():
    rng = np.random.default_rng(1)
    a, b, c = rng.uniform(5, 10, 1000), rng.uniform(10, 20, 1000), rng.uniform(-0.1, 0.1, 1000)

    def quadratic_formula(a, b, c):
        return (-b + np.sqrt(b**2 - 4 * a * c)) / (2 * a)

    events = hda.from_awkward(ak.zip({"a": a, "b": b, "c": c}), npartitions=10)
    output = quadratic_formula(events.a, events.b, events.c)
    wanted = quadratic_formula(a, b, c)
    assert np.array_equal(output.compute(progress=False), wanted)
    assert np.sum(output).compute(progress=False) == pytest.approx(np.sum(wanted), rel=1e-12)
    assert np.max(output).compute(progress=False) == np.max(wanted)
    np.sum(output).visualize()


# seed 002: dask is extremely literal; hepgraph is not


@pytest.fixture
def xyz():
    rng = np.random.default_rng(2)
    array = ak.zip({name: rng.normal(size=10_000) for name in "xyz"})
    return array, hda.from_awkward(array, npartitions=4)


def test_the_same_graph_however_it_is_written(xyz):
    array, events = xyz
    x, y, z = events.x, events.y, events.z
    pos_x = x > 0
    once = y[pos_x] + z[pos_x]
    twice = y[x > 0] + z[x > 0]
    assert once._form.node is twice._form.node
    assert once._guard == twice._guard
    assert all(a is b for a, b in zip(once._guard, twice._guard, strict=True))
    nodes = ordered([once._form.node, *once._guard])
    assert nodes == ordered([twice._form.node, *twice._guard])
    assert sum(getattr(item, "op", "") == "greater" for item in nodes) == 1
    wanted = array.y[array.x > 0] + array.z[array.x > 0]
    assert same(once.compute(progress=False), wanted)
    assert same(twice.compute(progress=False), wanted)


def test_the_same_graph_for_lists(lazy_events):
    mu = lazy_events.muon
    good = mu.pt > 20
    once = mu.eta[good] + mu.phi[good]
    twice = mu.eta[mu.pt > 20] + mu.phi[mu.pt > 20]
    assert once._form == twice._form
    assert mu[good].pt._form == mu.pt[mu.pt > 20]._form


def test_persist(lazy_events, eager):
    cut = lazy_events.muon[lazy_events.muon.pt > 20]
    kept = cut.persist(progress=False)
    assert isinstance(kept, hg.Lazy)
    assert kept.npartitions == lazy_events.npartitions
    plain = eager.muon[eager.muon.pt > 20]
    assert same(kept.pt.compute(progress=False), plain.pt)
    with_more = (kept.pt * 2).compute(progress=False)
    assert same(with_more, plain.pt * 2)


def test_necessary_columns_of_a_histogram(lazy_events):
    h = hda.Hist.new.Reg(100, 0, 200, name="m").Double().fill(dak.flatten(masses(lazy_events)))
    columns = hda.necessary_columns(h)
    assert all(isinstance(size, int) for size in columns.values())
    assert any(name.endswith("pt") for name in columns)
    assert h.compute(progress=False).sum(flow=True) == ak.num(
        ak.flatten(masses(lazy_events)).compute(progress=False), axis=0
    )


# fmt: off
def query8(events):
    """The slide "Practicalities: Writing Code (2)", but for its imports."""
    events["Electron", "pdgId"] = -11 * events.Electron.charge
    events["Muon", "pdgId"] = -13 * events.Muon.charge
    events["leptons"] = dak.concatenate(
        [events.Electron, events.Muon],
        axis=1,
    )
    events = events[dak.num(events.leptons) >= 3]
    pair = dak.argcombinations(events.leptons, 2, fields=["l1", "l2"])
    pair = pair[(events.leptons[pair.l1].pdgId == -events.leptons[pair.l2].pdgId)]
    x = events.leptons[pair.l1] + events.leptons[pair.l2]  # noqa: F841

    pair = pair[
        dak.singletons(
            dak.argmin(
                abs(
                    (events.leptons[pair.l1] + events.leptons[pair.l2]).mass
                    - 91.2
                ),
                axis=1,
            )
        )
    ]
    events = events[dak.num(pair) > 0]
    pair = pair[dak.num(pair) > 0][:, 0]

    l3 = dak.local_index(events.leptons)
    l3 = l3[(l3 != pair.l1) & (l3 != pair.l2)]
    l3 = l3[dak.argmax(events.leptons[l3].pt, axis=1, keepdims=True)]
    l3 = events.leptons[l3][:, 0]

    mt = np.sqrt(2 * l3.pt * events.MET.pt * (1 - np.cos(events.MET.delta_phi(l3))))
    q8_hist = (
        hda.Hist.new.Reg(
            100, 0, 200, name="mt", label="$\\ell$-MET transverse mass [GeV]"
        )
        .Double()
        .fill(mt)
    )
    return q8_hist  # noqa: RET504
# fmt: on


COLUMNS = sorted(
    [
        "MET_pt",
        "MET_phi",
        "nElectron",
        "nMuon",
        *(f"{name}_{field}" for name in ("Electron", "Muon") for field in ("charge", "eta", "mass", "phi", "pt")),
    ]
)


def test_query_8_of_the_slide(tmp_path):
    path = DATA / "Run2012B_SingleMu-1000.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    for parts in (1, 2, 7):
        events = hda.from_parquet(path, schema="nanoaod").repartition(parts)
        h = query8(events)
        assert h.compute(progress=False).sum(flow=True) > 0
        before = len(ordered([w for fill in h.fills for w in fill.wants]))
        again = query8(events)  # the cell run twice
        assert len(ordered([w for fill in again.fills for w in fill.wants])) == before
        assert again.compute(progress=False) == h.compute(progress=False)


def test_query_8_needs_these_14_columns_of_a_root_file():
    path = Path(__file__).resolve().parents[1] / "data" / "sample.root"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    events = hda.from_root(path, schema="nanoaod", metadata={"dataset": "SingleMu"})
    assert sorted(hda.necessary_columns(query8(events))) == COLUMNS


def test_the_slide_is_in_the_seed_word_for_word():
    seed = next((DATA.parent / "seeds").glob("002_*.txt"), None) if (DATA.parent / "seeds").is_dir() else None
    if seed is None:
        pytest.skip("no seeds here")
    slide = seed.read_text()
    code = inspect.getsource(query8).split('"""', 2)[2].split("return q8_hist")[0].replace("\\\\", "\\")
    for line in code.splitlines():
        assert line.partition("  #")[0].strip() in slide, line


# seeds 003 and 004: coffea's call shape


class Counting(hg.Processor):
    def process(self, events):
        return {
            "entries": ak.num(events, axis=0),
            "mass": hda.Hist.new.Reg(50, 0, 200, name="m").Double().fill(ak.flatten(masses(events))),
        }


def test_runner_in_coffeas_call_shape(files, eager):
    fileset = {"SingleMu": [str(files / "SMHiggsToZZTo4L.root")]}
    run = hg.Runner(executor=hg.executors.Serial(), schema="nanoaod", savemetrics=True, progress=False)
    output, metrics = run(fileset, "Events", processor_instance=Counting())
    assert output["entries"] == 500
    assert output["mass"].sum(flow=True) == ak.num(ak.flatten(masses(eager)), axis=0)
    assert metrics["entries"] == 500

"""Processors over filesets: several datasets, metadata, executors, results of every kind, exceptions."""

import json
import pickle
import threading
from collections import defaultdict

import awkward as ak
import hist
import numpy as np
import pytest
import uproot

import hepgraph as hg
from hepgraph.errors import ProcessorError
from hepgraph.io.source import reads

RNG = np.random.default_rng(7)
COUNTS = {name: RNG.poisson(1.5, 100) for name in ("a", "b", "c")}


def content(name):
    counts = COUNTS[name]
    size = int(counts.sum())
    rng = np.random.default_rng(ord(name))
    flat = {"pt": rng.exponential(30, size), "eta": rng.normal(0, 1, size), "phi": rng.uniform(-3, 3, size)}
    muon = ak.unflatten(ak.zip({**flat, "mass": np.full(size, 0.1), "charge": rng.choice([-1, 1], size)}), counts)
    return {"Muon": muon, "MET_pt": rng.exponential(20, 100), "weight": rng.uniform(0.5, 1.5, 100)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name in COUNTS:
        data = content(name)
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree(
                "Events", {k: v.dtype if isinstance(v, np.ndarray) else v.type.content for k, v in data.items()}
            )
            file["Events"].extend(data)
            file.mktree("Other", {"MET_pt": "float64"})
            file["Other"].extend({"MET_pt": np.ones(3)})
    ak.to_parquet(ak.Array({"MET_pt": content("a")["MET_pt"]}), folder / "a.parquet")
    return folder


@pytest.fixture
def fileset(folder):
    return {
        "data": {"files": [f"{folder}/a.root", f"{folder}/b.root"], "metadata": {"is_mc": False}},
        "mc": {"files": {f"{folder}/c.root": "Events"}, "metadata": {"is_mc": True, "xsec": 2.5}},
    }


class Dimuon(hg.Processor):
    """Different results for data and simulation, nested, of several kinds."""

    def __init__(self, cut=10.0):
        self.cut = cut

    def process(self, events):
        dataset, mc = events.metadata["dataset"], events.metadata["is_mc"]
        weight = events.weight * events.metadata["xsec"] if mc else ak.ones_like(events.weight)
        muon = events.Muon[events.Muon.pt > self.cut]
        pair = ak.combinations(muon, 2, fields=["a", "b"])
        pair = pair[pair.a.charge != pair.b.charge]
        mass = (
            hg.Hist.new.StrCat([], growth=True, name="dataset")
            .Reg(20, 0, 200, name="mass")
            .Weight()
            .fill(
                dataset,
                ak.flatten((pair.a + pair.b).mass),
                weight=ak.flatten(ak.broadcast_arrays(weight, pair.a.pt)[0]),
            )
        )
        return {
            "mass": mass,
            dataset: {"events": ak.num(events, axis=0), "sumw": ak.sum(weight, axis=0)},
            "pairs": ak.sum(ak.num(pair), axis=0),
            "datasets": 1,
            "names": [dataset],
            "seen": {dataset},
            "column": events.MET_pt[ak.num(muon) >= 2],
        }


def count(events):
    return {"n": ak.num(events, axis=0), "met": hg.Hist.new.Reg(10, 0, 100, name="met").Double().fill(events.MET.pt)}


def expected(cut=10.0):
    pairs, masses, met = 0, {"data": 0, "mc": 0}, []
    for name in COUNTS:
        data = content(name)
        muon = data["Muon"][data["Muon"].pt > cut]
        pair = ak.combinations(muon, 2, fields=["a", "b"])
        pair = pair[pair.a.charge != pair.b.charge]
        pairs += ak.count(pair.a.pt, axis=None)
        masses["mc" if name == "c" else "data"] += ak.count(pair.a.pt, axis=None)
        met += data["MET_pt"][ak.to_numpy(ak.num(muon) >= 2)].tolist()
    return pairs, masses, met


def run(processor, fileset, **options):
    return hg.run(processor, fileset, progress=False, **{"executor": "serial", **options})


def check(out):
    pairs, masses, met = expected()
    assert out["data"]["events"] == 200
    assert out["mc"]["events"] == 100
    assert out["data"]["sumw"] == 200
    assert out["mc"]["sumw"] == pytest.approx(2.5 * content("c")["weight"].sum())
    assert out["pairs"] == pairs
    assert out["datasets"] == 2
    assert out["names"] == ["data", "mc"]
    assert out["seen"] == {"data", "mc"}
    assert out["column"].to_list() == met
    assert type(out["mass"]) is hist.Hist
    assert sorted(out["mass"].axes["dataset"]) == ["data", "mc"]
    assert out["mass"].project("dataset")["data"].value == masses["data"]


@pytest.mark.parametrize("executor", ["serial", "threads", "processes", hg.executors.Serial(), hg.executors.Threads(2)])
def test_several_datasets(fileset, executor):
    check(run(Dimuon(), fileset, executor=executor))


@pytest.mark.parametrize("step", [7, 33, 10_000, "2 kB"])
def test_the_result_does_not_depend_on_the_partitions(fileset, step):
    check(run(Dimuon(), fileset, step_size=step, executor="threads"))


def test_the_interpreter_by_name(fileset):
    check(run(Dimuon(), fileset, engine="interpreter"))


def test_a_plain_function(folder):
    out = run(count, {"a": [f"{folder}/a.root"]})
    assert out["n"] == 100
    assert out["met"].sum(flow=True) == 100


def test_a_lambda_in_processes(folder):
    out = run(
        lambda events: {"n": ak.sum(events.MET.pt > 20, axis=0)}, {"a": [f"{folder}/a.root"]}, executor="processes"
    )
    assert out["n"] == np.count_nonzero(content("a")["MET_pt"] > 20)


def test_a_closure_in_processes(folder):
    class Local(hg.Processor):
        def __init__(self, cut):
            self.cut = cut

        def process(self, events):
            return {"n": ak.sum(hg.map_partitions(lambda x: x > self.cut, events.MET.pt), axis=0)}

    out = run(Local(20), {"a": [f"{folder}/a.root"]}, executor="processes", step_size=30)
    assert out["n"] == np.count_nonzero(content("a")["MET_pt"] > 20)


def test_results_that_are_no_dict(folder):
    fileset = {"a": [f"{folder}/a.root"], "b": [f"{folder}/b.root"]}
    assert run(lambda events: ak.num(events, axis=0), fileset) == 200
    assert run(lambda events: [ak.num(events, axis=0)], fileset) == [100, 100]
    assert run(lambda events: (ak.num(events, axis=0), 1), fileset) == (200, 2)
    out = run(lambda events: defaultdict(int, n=ak.num(events, axis=0)), fileset)
    assert out["n"] == 200
    assert out["nothing"] == 0
    h = run(lambda events: hg.Hist.new.Reg(2, 0, 100).Double().fill(events.MET.pt), fileset)
    assert h.sum(flow=True) == 200


def test_results_of_plain_values(folder):
    out = run(
        lambda events: {"n": 3, "a": np.arange(2), "h": hist.Hist.new.Reg(2, 0, 1).Double()},
        {"a": [f"{folder}/a.root"]},
    )
    assert out["n"] == 3
    assert out["a"].tolist() == [0, 1]
    assert out["h"].sum() == 0


def test_an_empty_result(folder):
    assert run(lambda events: {}, {"a": [f"{folder}/a.root"]}) == {}


def test_metadata(folder):
    seen = []

    def process(events):
        seen.append(dict(events.metadata))
        return {}

    files = [f"{folder}/a.root"]
    run(process, {"x": {"files": files, "metadata": {"xsec": 1.5}}, "y": files})
    assert seen == [{"dataset": "x", "xsec": 1.5}, {"dataset": "y"}]


def test_a_fileset_in_a_file(fileset, tmp_path):
    path = tmp_path / "fileset.json"
    path.write_text(json.dumps(fileset))
    check(run(Dimuon(), path))


def test_coffeas_preprocessed_fileset(folder):
    entry = {"object_path": "Events", "steps": [[0, 50], [50, 100]], "num_entries": 100, "uuid": "x"}
    fileset = {"a": {"files": {f"{folder}/a.root": entry}, "form": None, "metadata": {"k": 1}}}
    assert run(count, fileset)["n"] == 100


def test_globs_and_directories(folder):
    assert run(count, {"all": f"{folder}/*.root"})["n"] == 300
    assert run(count, {"two": [f"{folder}/[ab].root"]})["n"] == 200


def test_trees(folder):
    sums = {"other": [f"{folder}/a.root:Other", f"{folder}/b.root"]}
    assert run(lambda e: ak.num(e, axis=0), {"x": [f"{folder}/a.root"]}, tree="Other") == 3
    assert run(lambda e: ak.num(e, axis=0), {"x": [f"{folder}/a.root:Other"]}, tree="Events") == 3
    assert run(lambda e: ak.num(e, axis=0), {"x": {"files": [f"{folder}/a.root"], "treename": "Other"}}) == 3
    assert run(lambda e: ak.num(e, axis=0), {"x": {f"{folder}/a.root": "Other"}}) == 3
    assert run(lambda e: ak.sum(e.MET.pt > -1, axis=0), sums) == 103


def test_a_runner_is_a_class(folder):
    """Users derive from it, and send it to workers."""

    class Mine(hg.Runner):
        pass

    kept = pickle.loads(pickle.dumps(hg.Runner("serial", progress=False)))
    assert kept == hg.Runner(executor="serial", progress=False)
    assert isinstance(Mine("serial"), hg.Runner)
    assert Mine("serial", progress=False)({"x": [f"{folder}/a.root"]}, "Events", lambda e: ak.num(e, axis=0)) == 100
    with pytest.raises(TypeError, match=r"Runner\(\) has no argument skipbadfiles=\. Use on_error=\"skip\""):
        Mine(skipbadfiles=True)


def test_parquet_files(folder):
    assert run(lambda e: ak.num(e, axis=0), {"x": [f"{folder}/a.parquet"]}) == 100
    runner = hg.Runner(executor="serial", progress=False)
    assert runner({"x": [f"{folder}/a.parquet"]}, "Events", lambda e: ak.num(e, axis=0)) == 100


def test_process_is_called_once_a_dataset(fileset):
    calls = []

    class Counted(hg.Processor):
        def process(self, events):
            calls.append((events.metadata["dataset"], threading.current_thread() is threading.main_thread()))
            return {"n": ak.num(events, axis=0)}

    run(Counted(), fileset, step_size=10, executor="threads")
    assert calls == [("data", True), ("mc", True)]


def test_only_needed_columns_are_read(fileset):
    with reads() as seen:
        run(count, fileset)
    assert {r.column for r in seen} == {"MET_pt"}
    assert len(seen) == 3


def test_postprocess_is_called_once_with_the_sum(fileset):
    class Scaled(hg.Processor):
        def process(self, events):
            return {"n": ak.num(events, axis=0)}

        def postprocess(self, out):
            return {**out, "half": out["n"] / 2}

    assert run(Scaled(), fileset) == {"n": 300, "half": 150}


def test_a_processor_of_another_kind(folder):
    class CoffeaLike:
        def process(self, events):
            return {"n": ak.num(events, axis=0)}

    assert run(CoffeaLike(), {"a": [f"{folder}/a.root"]}) == {"n": 100}


def test_the_report(fileset):
    out, report = run(Dimuon(), fileset, report=True, step_size=50)
    check(out)
    assert report.events == 300
    assert report.complete
    assert len(report.rows) == 6
    assert [row.dataset for row in report.rows] == ["data"] * 4 + ["mc"] * 2
    assert sum(row.events for row in report.rows if row.dataset == "data") == 200
    assert report.bytes > 0
    assert "300 events" in repr(report)


def test_the_runner(fileset):
    runner = hg.Runner(executor=hg.executors.Serial(), schema="nanoaod", savemetrics=True, progress=False)
    out, metrics = runner(fileset, "Events", processor_instance=Dimuon())
    check(out)
    assert metrics["entries"] == 300
    assert metrics["chunks"] == 3
    assert set(metrics) >= {"entries", "bytesread", "columns", "processtime", "chunks"}
    assert "Muon_pt" in metrics["columns"]
    assert "weight" in metrics["columns"]
    check(hg.Runner(executor="threads", progress=False, chunksize=20)(fileset, "Events", Dimuon()))
    check(hg.Runner(progress=False)(fileset, processor_instance=Dimuon(), treename="Events"))


def test_the_same_analysis_twice_gives_the_same(fileset):
    one, two = (run(Dimuon(), fileset, step_size=17, executor="threads") for _ in range(2))
    assert one["mass"] == two["mass"]
    assert one["mc"] == two["mc"]


class MyError(Exception):
    """An exception of the user's own."""


def broken(pt):
    if len(pt) > 3:
        raise MyError("run time")
    return pt


@pytest.mark.parametrize("kind", [KeyError, MyError, ZeroDivisionError, ValueError, OSError])
def test_an_exception_in_process_keeps_its_type(fileset, kind):
    def process(events):
        raise kind("mine")

    with pytest.raises(kind) as caught:
        run(process, fileset)
    assert type(caught.value) is kind
    assert caught.value.args == ("mine",)
    assert caught.traceback[-1].name == "process"


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_an_exception_at_run_time_keeps_its_type(folder, executor):
    def process(events):
        return {"x": hg.map_partitions(broken, events.MET.pt)}

    with pytest.raises(MyError, match="run time") as caught:
        run(process, {"a": [f"{folder}/a.root"]}, executor=executor)
    notes = "\n".join(caught.value.__notes__)
    assert "test_processor.py" in notes
    assert "a.root:Events[0:100]" in notes


def test_an_error_in_postprocess(folder):
    class Bad(hg.Processor):
        def process(self, events):
            return {"n": 1}

        def postprocess(self, out):
            return out["m"]

    with pytest.raises(KeyError):
        run(Bad(), {"a": [f"{folder}/a.root"]})


def test_what_is_no_processor(folder):
    files = {"a": [f"{folder}/a.root"]}
    for bad in (Dimuon, 3, None):
        with pytest.raises(ProcessorError):
            run(bad, files)
    with pytest.raises(NotImplementedError, match="must define process"):
        run(hg.Processor(), files)
    with pytest.raises(ValueError, match="engine must be one of"):
        run(count, files, engine="fast")


def test_a_bad_file_is_found_before_anything_runs(folder, tmp_path):
    (tmp_path / "bad.root").write_text("no")
    calls = []
    with pytest.raises(hg.errors.DamagedFileError, match=r"bad\.root"):
        run(lambda events: calls.append(1), {"a": [f"{folder}/a.root"], "b": [str(tmp_path / "bad.root")]})
    assert not calls

"""Preprocessing, and parts of filesets."""

import json
import os
import re
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from drawing import examples
from executing import Noting
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import (
    CacheWarning,
    ChangedFileError,
    DamagedFileError,
    DisagreementError,
    FilesetError,
    IncompleteWarning,
    MissingFileError,
    MissingTreeError,
)
from hepgraph.io.formats import column_from_json, column_to_json, file_from_json, file_to_json
from hepgraph.io.parquet.source import handles as parquet_handles
from hepgraph.io.trees import handles as root_handles

RNG = np.random.default_rng(3)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def content(size, seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(1.5, size)
    jet = ak.zip({"pt": ak.unflatten(rng.exponential(30, counts.sum()).astype("f4"), counts)})
    return {"Jet": jet, "MET_pt": rng.exponential(20, size), "run": np.arange(size)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for seed, (name, size) in enumerate({"a": 40, "b": 30, "c": 50}.items()):
        data = content(size, seed)
        with uproot.recreate(folder / f"{name}.root") as file:
            kinds = {
                key: value.dtype if isinstance(value, np.ndarray) else value.type.content for key, value in data.items()
            }
            file.mktree("Events", kinds)
            for start in range(0, size, 20):
                file["Events"].extend({key: value[start : start + 20] for key, value in data.items()})
        flat = {"MET_pt": data["MET_pt"], "Jet_pt": data["Jet"].pt.to_list(), "run": data["run"]}
        pq.write_table(pa.table(flat), folder / f"{name}.parquet", row_group_size=20)
    return folder


@pytest.fixture(params=["root", "parquet"])
def fileset(request, folder):
    suffix = request.param
    return {
        "data": {"files": [f"{folder}/a.{suffix}", f"{folder}/b.{suffix}"], "metadata": {"is_mc": False}},
        "mc": [f"{folder}/c.{suffix}"],
    }


def preprocess(fileset, **options):
    return hg.preprocess(fileset, **{"executor": "serial", "cache": False, "progress": False, **options})


def analysis(events):
    jets = events.Jet.pt if "Jet" in events.fields else events.Jet_pt
    h = hg.Hist.new.Reg(10, 0, 100, name="pt").Weight().fill(jets, weight=events.MET.pt)
    return {"h": h, "run": events.run, events.metadata["dataset"]: ak.num(events, axis=0)}


def run(fileset, processor=analysis, **options):
    return hg.run(processor, fileset, **{"executor": "serial", "progress": False, "report": True, **options})


def same(a, b):
    return list(a) == list(b) and all(
        ak.array_equal(a[key], b[key]) if isinstance(a[key], ak.Array) else a[key] == b[key] for key in a
    )


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_the_result_is_a_fileset_that_opens_nothing(fileset, executor, tmp_path, monkeypatch):
    plain, _ = run(fileset, step_size=15)
    known = preprocess(fileset, executor=executor)
    assert known.entries == {"data": 70, "mc": 50}
    known.save(tmp_path / "known.json")
    assert json.loads((tmp_path / "known.json").read_text()) == known
    for handles in (root_handles, parquet_handles):
        handles.clear()
    opened = root_handles.opened, parquet_handles.opened
    calls = []

    def process(events):
        calls.append((root_handles.opened, parquet_handles.opened))
        return analysis(events)

    out, report = run(tmp_path / "known.json", process, step_size=15)
    assert same(out, plain)
    assert calls == [opened, opened], "nothing is open when the processor is traced"
    assert report.complete
    assert root_handles.opened + parquet_handles.opened - sum(opened) <= 3, "what is known of a file may be known still"


def test_in_other_processes(fileset):
    assert preprocess(fileset, executor=hg.executors.Processes(1)) == preprocess(fileset)


def test_what_is_found_out(folder):
    known = preprocess({"data": {"files": [f"{folder}/a.root", f"{folder}/b.root"], "metadata": {"year": 2018}}})
    told = known["data"]
    assert told["metadata"] == {"dataset": "data", "year": 2018}
    file = told["files"][f"{folder}/a.root"]
    assert (file["object_path"], file["num_entries"], file["edges"]) == ("Events", 40, [0, 20, 40])
    assert re.fullmatch(r"[0-9a-f-]{36}", file["uuid"])
    assert told["hepgraph"]["kind"] == "TTree"
    names = {column["name"] for column in told["hepgraph"]["columns"]}
    assert names == {"nJet", "Jet_pt", "MET_pt", "run"}
    assert preprocess({"x": [f"{folder}/a.parquet"]})["x"]["files"][f"{folder}/a.parquet"]["edges"] == [0, 20, 40]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data, which is not there")
@pytest.mark.parametrize("name", ["nano_dy.root", "nano_dy_rntuple.root", "nano_dy.parquet", "PHYSLITE_example.root"])
def test_real_files_come_back_as_they_were(name):
    path = str(DATA / name)
    tree = "CollectionTree" if "PHYSLITE" in name else None
    source = hg.open(path, tree, schema="base").source
    for column in source.columns.values():
        assert column_from_json(json.loads(json.dumps(column_to_json(column)))) == column
    known = preprocess({"x": [path]}, tree=tree)
    (file,) = source.files
    assert file_from_json(path, json.loads(json.dumps(file_to_json(file)))) == file
    assert known.entries == {"x": source.entries}
    assert len(json.dumps(known)) < 600_000


def test_files_that_disagree(folder, tmp_path):
    pq.write_table(pa.table({"MET_pt": ["1", "2"], "run": [1, 2], "Jet_pt": [[1.0], []]}), tmp_path / "other.parquet")
    files = {"x": [f"{folder}/a.parquet", f"{tmp_path}/other.parquet"]}
    known = preprocess(files)
    assert known["x"]["files"][f"{tmp_path}/other.parquet"]["differs"] == {"MET_pt": "string"}
    assert run(known, lambda events: {"n": ak.sum(events.run, axis=0)})[1].events == 42
    with pytest.raises(DisagreementError, match="disagree on column 'MET_pt'"):
        run(known, lambda events: {"n": ak.sum(events.MET_pt, axis=0)})
    with pytest.raises(DisagreementError, match="disagree on column 'MET_pt'"):
        preprocess(files, strict=True)
    with pytest.raises(DisagreementError) as caught:
        preprocess({"x": [f"{folder}/a.parquet", f"{folder}/b.root"]})
    assert str(caught.value).replace(str(folder), "<f>") == (
        "The files of dataset 'x' are of several kinds: <f>/a.parquet holds a Parquet, <f>/b.root a TTree."
    )


def test_a_file_that_changed_since(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"MET_pt": [1.0, 2.0]}), path)
    known = preprocess({"x": [path]})
    pq.write_table(pa.table({"MET_pt": [1.0, 2.0, 3.0]}), path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ChangedFileError, match="changed after it was opened"):
        run(known, lambda events: {"n": ak.sum(events.MET_pt, axis=0)})


def test_records_that_may_be_none(tmp_path):
    path = tmp_path / "a.parquet"
    record = pa.struct([("pt", pa.float64())])
    lists = pa.array([[{"pt": 1.0}, None], [], [{"pt": 2.0}]], pa.list_(record))
    pq.write_table(pa.table({"Jet": lists, "MET": pa.array([{"pt": 3.0}, None, {"pt": 4.0}], record)}), path)

    def process(events):
        jets = ak.sum(ak.drop_none(events.Jet).pt)
        return {"jets": jets, "none": ak.sum(ak.is_none(events.Jet, axis=1)), "no met": ak.sum(ak.is_none(events.MET))}

    known = preprocess({"a": [str(path)]})
    known.save(tmp_path / "known.json")
    out, _ = run(str(tmp_path / "known.json"), process, schema="base")
    assert out == {"jets": 3.0, "none": 1, "no met": 1}


def test_the_users_own_cache_is_bounded(fileset, tmp_path, monkeypatch, limit):
    monkeypatch.setenv("HEPGRAPH_CACHE", str(tmp_path))
    old = tmp_path / "files" / f"{0:064x}.z"
    old.parent.mkdir(mode=0o700)
    old.write_bytes(bytes(100_000))
    os.utime(old, (5, 5))
    limit(own_most=100_000)
    preprocess(fileset, cache=True)
    assert not old.exists()
    assert len(list(old.parent.glob("*.z"))) == 3


def test_the_cache(fileset, tmp_path, monkeypatch):
    noting = Noting()
    looks = noting.tasks
    first = preprocess(fileset, cache=tmp_path / "cache", executor=noting)
    assert len(looks) == 3
    assert preprocess(fileset, cache=tmp_path / "cache", executor=noting) == first
    assert len(looks) == 3, "the second time comes from the cache"
    path = Path(fileset["mc"][0])
    os.utime(path, ns=(5, 5))
    again = preprocess(fileset, cache=tmp_path / "cache", executor=noting)
    if path.suffix == ".parquet":  # the footer alone does not tell it from another
        first["mc"]["files"][str(path)]["written"] = [5, path.stat().st_size]
    assert again == first
    assert len(looks) == 4, "a file with another time is looked at"
    for entry in (tmp_path / "cache").iterdir():
        entry.write_bytes(b"nonsense")
    assert preprocess(fileset, cache=tmp_path / "cache", executor=noting) == first
    assert len(looks) == 7, "what is damaged is as if it were not there"
    monkeypatch.setenv("HEPGRAPH_CACHE", str(tmp_path / "own"))
    assert preprocess(fileset, cache=True) == first
    assert len(list((tmp_path / "own" / "files").glob("*.z"))) == 3
    (tmp_path / "file").touch()
    with pytest.warns(CacheWarning) as seen:
        assert preprocess(fileset, cache=tmp_path / "file") == first, "a cache that cannot be written is no trouble"
    assert [str(each.message) for each in seen] == [
        f"The cache {tmp_path}/file of preprocess is not used: Not a directory."
    ]


def test_files_that_cannot_be_opened(fileset, tmp_path):
    whole = (Path(fileset["mc"][0]).parent / "a.root").read_bytes()
    (tmp_path / "bad.root").write_bytes(whole[:-1000])
    broken = {**fileset, "mc": [*fileset["mc"], str(tmp_path / "bad.root"), str(tmp_path / "none.root")]}
    with pytest.raises((DamagedFileError, MissingFileError)):
        preprocess(broken, retries=0)
    with pytest.warns(IncompleteWarning, match="2 of 5 files cannot be opened, and runs over this fileset will lack"):
        known = preprocess(broken, on_error="skip", retries=0)
    with pytest.warns(IncompleteWarning, match="all events of 2 files that could not be opened"):
        out, report = run(known)
    assert out["mc"] == 50
    assert [Path(row.path).name for row in report.failed] == ["bad.root", "none.root"]
    with pytest.raises(MissingTreeError):
        preprocess(
            {"x": [str(f) for f in Path(fileset["mc"][0]).parent.glob("*.root")]}, tree="Nothing", on_error="skip"
        )


def test_a_dataset_of_which_no_file_is_there(fileset, tmp_path):
    broken = {"none": [str(tmp_path / "none.root")], **fileset}
    with pytest.raises(MissingFileError):
        preprocess(broken, retries=0)
    with pytest.warns(IncompleteWarning, match=r"1 of 4 files cannot be opened.*none\.root"):
        known = preprocess(broken, on_error="skip", retries=0)
    known.save(tmp_path / "known.json")
    for each in (known, tmp_path / "known.json"):
        with pytest.warns(IncompleteWarning, match="all events of 1 file that could not be opened"):
            out, report = run(each)
        assert same(out, run(fileset)[0])
        assert [(row.dataset, Path(row.path).name) for row in report.failed] == [("none", "none.root")]
    with pytest.raises(MissingFileError):
        preprocess({"none": broken["none"]}, on_error="skip", retries=0)


def test_a_file_may_be_in_two_datasets(fileset):
    both = {"one": fileset["mc"], "two": fileset["mc"]}
    known = preprocess(both)
    assert known.entries == {"one": 50, "two": 50}


# parts


@settings(max_examples=examples(20), deadline=None)
@given(n=st.integers(1, 130), step=st.sampled_from([7, 20, "1 kB"]))
def test_the_first_events(folder, n, step):
    fileset = {"all": [f"{folder}/{name}.parquet" for name in "abc"]}
    part = preprocess(fileset).first_events(n)
    out, report = run(part, step_size=step)
    whole, _ = run(fileset)
    assert out["run"].to_list() == whole["run"].to_list()[:n]
    assert out["all"] == report.events == min(n, 120)
    assert part.entries == {"all": min(n, 120)}
    assert report.complete


def test_the_first_events_of_root_files(folder):
    part = preprocess({"all": [f"{folder}/a.root", f"{folder}/b.root"]}).first_events(47)
    out, report = run(part)
    assert [(row.start, row.stop) for row in report.rows] == [(0, 40), (0, 7)]
    assert out["run"].to_list() == [*range(40), *range(7)]


def test_parts_of_filesets(fileset, folder):
    every = hg.Fileset(fileset)
    assert list(every.filter("d*")) == ["data"]
    assert [Path(p).stem for p in every.first_files(1)["data"]["files"]] == ["a"]
    assert every.filter_files(lambda path: "/b." in path)["data"]["metadata"] == {"is_mc": False}
    assert "mc" not in every.filter_files(lambda path: "/b." in path)
    known = preprocess(fileset)
    for made in (every, known):
        for n in (1, 2, 3, 7):
            parts = made.split(n)
            outs = [run(part)[0] for part in parts]
            assert len(parts) == min(n, 3)
            assert sorted(x for out in outs for x in out["run"].to_list()) == sorted(run(fileset)[0]["run"].to_list())


def test_bytes_go_by_the_part(folder):
    known = preprocess({"all": [f"{folder}/{name}.parquet" for name in "abc"]})
    whole = run(known, step_size="200 B")[1]
    half = run(known.first_events(60), step_size="200 B")[1]
    assert abs(len(half.rows) - len(whole.rows) / 2) <= 2


FAULTS = [
    (lambda f: f.filter("zz*"), FilesetError, "No dataset is called like zz*. Known names: data, mc."),
    (lambda f: f.filter_files(lambda path: False), FilesetError, "No file of the fileset is wanted."),
    (lambda f: f.first_events(3), FilesetError,
     "How many events dataset 'data' has is not known yet; use hg.preprocess first."),
    (lambda f: f.first_files(0), ValueError, "n must be a whole number, 1 or more, not 0"),
    (lambda f: f.split(True), ValueError, "n must be a whole number, 1 or more, not True"),
    (lambda f: hg.Fileset({}), FilesetError, "The fileset is empty: it names no dataset."),
    (lambda f: hg.Fileset({"x": {"files": {"a": {}}, "hepgraph": {"kind": "TTree"}}}), FilesetError,
     "Dataset 'x' is said to be preprocessed, but is not whole; preprocess it again."),
    (lambda f: hg.Fileset({"x": {"files": {"a": "T"}, "hepgraph": {"kind": "TTree", "columns": [], "entries": 1}}}),
     FilesetError, "a of dataset 'x' was not preprocessed; preprocess the fileset again."),
    (lambda f: run({"x": [["a.root", 3]]}), FilesetError,
     "A replica of a file of dataset 'x' must be given by its path, not by 3."),
    (lambda f: run({"x": [[]]}), FilesetError, "A file of dataset 'x' has an empty list of replicas."),
    (lambda f: run({"x": [["/a.root", "/b.root"], ["/b.root"]]}), FilesetError,
     "/b.root is listed twice; its events would be counted twice."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "says"), FAULTS)
def test_faults(call, kind, says):
    with pytest.raises(kind) as caught:
        call(hg.Fileset({"data": ["a.root"], "mc": ["b.root"]}))
    assert str(caught.value) == says

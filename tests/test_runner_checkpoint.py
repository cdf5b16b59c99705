"""Checkpoints: what is stored is used, what is damaged or of another analysis is not, and every refusal is clear."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import examples
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import CheckpointError
from hepgraph.io.access.store import BusyError, Holder, Store
from hepgraph.io.source import reads
from hepgraph.runner.checkpoint import fitted_ranges

QUIET = {"executor": "serial", "progress": False, "step_size": 10}
RNG = np.random.default_rng(5)
DATA = {name: (RNG.exponential(20, 40), RNG.uniform(0.1, 1, 40)) for name in "abc"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, (pt, weight) in DATA.items():
        pq.write_table(pa.table({"MET_pt": pt, "weight": weight}), folder / f"{name}.parquet", row_group_size=20)
    return folder


@pytest.fixture
def fileset(folder):
    return {"data": [f"{folder}/a.parquet", f"{folder}/b.parquet"], "mc": [f"{folder}/c.parquet"]}


class Met(hg.Processor):
    """A weighted histogram, of which every bit depends on how the sums are grouped; an array, whose order counts."""

    def __init__(self, cut=5.0):
        self.cut = cut

    def process(self, events):
        chosen = events[events.MET.pt > self.cut]
        dataset = events.metadata["dataset"]
        h = hg.Hist.new.StrCat([], growth=True, name="dataset").Reg(8, 0, 80, name="met").Weight()
        return {
            "h": h.fill(dataset, chosen.MET.pt, weight=chosen.weight),
            dataset: chosen.MET.pt,
            "sum": ak.sum(events.weight, axis=0),
        }


class Eager(Met):
    """The same, chunk by chunk."""

    def process(self, events):
        assert len(events) >= 0
        chosen = events[events.MET.pt > self.cut]
        h = hg.Hist.new.Reg(8, 0, 80, name="met").Weight()
        return {"h": h.fill(chosen.MET.pt, weight=chosen.weight), "list": [float(np.sum(events.weight))]}


def same(a, b):
    """Whether two results are the same to the last bit."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(ak.array_equal(a, b) if isinstance(a, ak.Array) else a == b)


def run(fileset, processor=None, **options):
    options = {**QUIET, "report": True, "eager": isinstance(processor, Eager), **options}
    return hg.run(processor or Met(), fileset, **options)


def parts(folder):
    return sorted(Path(folder).glob("*/*.part"))


@pytest.mark.parametrize("processor", [Met(), Eager()])
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_a_second_run_reads_nothing(fileset, tmp_path, processor, executor):
    plain, _ = run(fileset, processor)
    one, first = run(fileset, processor, checkpoint=tmp_path / "cp", executor=executor)
    assert len(parts(tmp_path / "cp")) == 12
    with reads() as seen:
        two, second = run(fileset, processor, checkpoint=tmp_path / "cp", executor=executor)
    assert seen == []
    assert same(one, plain)
    assert same(two, plain)
    assert [row.stored for row in second.rows] == [True] * 12
    assert not any(row.stored for row in first.rows)
    assert second.complete
    assert second.events == 120


@settings(max_examples=examples(15), deadline=None)
@given(st.sets(st.integers(0, 11)), st.sampled_from([Met, Eager]))
@example(set(range(12)), Met)
def test_whatever_is_left_of_a_checkpoint_the_result_is_the_same(folder, tmp_path_factory, lost, kind):
    fileset = {"data": [f"{folder}/a.parquet", f"{folder}/b.parquet"], "mc": [f"{folder}/c.parquet"]}
    where = tmp_path_factory.mktemp("cp")
    plain, _ = run(fileset, kind(), checkpoint=where)
    for i, path in enumerate(parts(where)):
        if i in lost:
            path.unlink()
    again, report = run(fileset, kind(), checkpoint=where)
    assert same(again, plain)
    assert sum(not row.stored for row in report.rows) == len(lost)
    assert not any("checkpoint" in note for note in report.notes)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=8),
    st.sets(st.integers(1, 29), max_size=6),
)
def test_cuts_cover_everything_once(stored, edges):
    edges = [0, *sorted(edges), 30]
    wanted = list(pairwise(edges))
    stored = [(start, start + size) for start, size in stored]
    cuts = fitted_ranges(wanted, stored)
    assert cuts[0][0] == 0
    assert cuts[-1][1] == 30
    assert all(a[1] == b[0] for a, b in pairwise(cuts))
    assert {pair for pair in wanted if pair in stored} <= set(cuts), "exact ones are used"
    assert all(pair in stored or any(a <= pair[0] and pair[1] <= b for a, b in wanted) for pair in cuts)
    if not stored:
        assert cuts == wanted


@pytest.mark.parametrize("step", [7, 20, 40])
def test_another_chunk_size_uses_what_is_stored(fileset, tmp_path, step):
    run(fileset, checkpoint=tmp_path / "cp")
    for path in parts(tmp_path / "cp")[3:6]:
        path.unlink()
    out, report = run(fileset, checkpoint=tmp_path / "cp", step_size=step)
    plain, _ = run(fileset)
    assert sum(row.stored for row in report.rows) == 9
    assert report.events == 120
    assert same([out["data"], out["mc"]], [plain["data"], plain["mc"]])
    assert np.allclose(out["h"].values(), plain["h"].values(), rtol=1e-12)


def test_more_files_and_more_datasets(fileset, tmp_path, folder):
    run({"data": fileset["data"][:1]}, checkpoint=tmp_path / "cp")
    _, report = run(fileset, checkpoint=tmp_path / "cp")
    assert [row.stored for row in report.rows] == [True] * 4 + [False] * 8
    out, report = run({"mc": fileset["mc"]}, checkpoint=tmp_path / "cp")
    assert all(row.stored for row in report.rows)
    assert same(out, run({"mc": fileset["mc"]})[0])


def test_checkpoints_of_computed_things(fileset, tmp_path):
    """Of datasets that have no names, and of arrays in memory, as of filesets."""

    def lazy(weights=(1.0, 2.0, 3.0)):
        events = [hg.open(files, schema="nanoaod", step_size=10) for files in fileset.values()]
        values = hg.from_awkward(ak.Array({"w": list(weights)}), npartitions=3)
        outputs = [{"pt": x.MET.pt, "sum": ak.sum(x.weight)} for x in events]
        return {"files": outputs, "memory": ak.sum(values.w), "ones": ak.sum(values.w[:, None] / values.w[:, None])}

    plain = hg.compute(lazy(), executor="serial")
    options = {"checkpoint": tmp_path / "cp", "executor": "serial", "progress": False, "report": True}
    assert same(hg.compute(lazy(), **options)[0], plain)
    with reads() as seen:
        out, report = hg.compute(lazy(), **options)
    assert seen == []
    assert same(out, plain)
    assert all(row.stored for row in report.rows)
    assert len(report.rows) == 12 + 3
    out, report = hg.compute(lazy((1.0, 2.0, 30.0)), **options)
    assert out["memory"] == 33.0
    assert sum(not row.stored for row in report.rows) == 3, "an array that was changed"
    with pytest.raises(CheckpointError, match="the outputs, the schema or the types of the columns are others"):
        hg.compute({"other": ak.max(lazy()["files"][0]["pt"])}, **options)


def test_files_that_moved_are_known_by_their_content(fileset, tmp_path):
    run(fileset, checkpoint=tmp_path / "cp")
    moved = tmp_path / "moved.parquet"
    shutil.copy2(fileset["mc"][0], moved)  # with its time: of a Parquet file, the footer alone does not tell it
    _, report = run({"data": fileset["data"], "mc": [moved]}, checkpoint=tmp_path / "cp")
    assert all(row.stored for row in report.rows)
    assert {row.path for row in report.rows if row.dataset == "mc"} == {str(moved)}


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"MET_pt": [10.0, 20.0], "weight": [1.0, 1.0]}), path)
    run({"a": [path]}, checkpoint=tmp_path / "cp")
    pq.write_table(pa.table({"MET_pt": [10.0, 30.0], "weight": [1.0, 1.0]}), path)
    os.utime(path, ns=(1, 1))
    out, report = run({"a": [path]}, checkpoint=tmp_path / "cp")
    assert out["a"].to_list() == [10.0, 30.0]
    assert not any(row.stored for row in report.rows)


def test_damaged_entries_are_computed_again_and_said_to_be(fileset, tmp_path):
    plain, _ = run(fileset, checkpoint=tmp_path / "cp")
    one, two, three, *_ = parts(tmp_path / "cp")
    one.write_bytes(one.read_bytes()[:-3])
    data = bytearray(two.read_bytes())
    data[len(data) // 2] ^= 1
    two.write_bytes(data)
    three.write_bytes(b"")
    parts(tmp_path / "cp")[4].replace(parts(tmp_path / "cp")[5])  # a whole file under another's name
    out, report = run(fileset, checkpoint=tmp_path / "cp")
    assert same(out, plain)
    assert sum(not row.stored for row in report.rows) == 5
    assert len(report.notes) == 4
    assert all("was damaged, and is computed again" in note for note in report.notes)
    _, report = run(fileset, checkpoint=tmp_path / "cp")
    assert report.notes == []
    assert all(row.stored for row in report.rows)


# what is refused


SAYS = Path(__file__).parent / "snapshots" / "error_checkpoints.txt"
BREAK = "\n----\n\n"


def said(error, tmp_path):
    text = f"{type(error).__name__}: {error}".replace(str(tmp_path), "<tmp>")
    return re.sub(r"process \d+ on \S+, since [-\d: ]+", "process N on HOST, since TIME", text) + "\n"


class Faulty(MemoryFileSystem):
    """Files in memory; writing fails as `fault` says once so many files were written."""

    protocol = "faulty"
    cachable = False
    store: dict = {}
    pseudo_dirs = [""]
    fault, left = None, 0

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if Faulty.fault is not None and not path.endswith("lock"):
            Faulty.left -= 1
            if Faulty.left < 0:
                super().pipe_file(path, value[: len(value) // 2], mode=mode, **kwargs)
                raise Faulty.fault
        super().pipe_file(path, value, mode=mode, **kwargs)


fsspec.register_implementation("faulty", Faulty, clobber=True)


@pytest.fixture
def faulty():
    Faulty.store.clear()
    Faulty.pseudo_dirs[:] = [""]
    yield Faulty
    Faulty.fault = None


FULL = OSError(28, "No space left on device")
READ_ONLY = OSError(30, "Read-only file system")


def test_refusals(fileset, tmp_path, faulty):
    seen = []

    def says(call, *args, **options):
        with pytest.raises(CheckpointError) as caught:
            call(*args, **options)
        seen.append(said(caught.value, tmp_path))

    cp = tmp_path / "cp"
    run(fileset, checkpoint=cp)
    before = {path: path.read_bytes() for path in parts(cp)}
    says(run, fileset, Met(6.0), checkpoint=cp)
    says(run, fileset, Eager(), checkpoint=cp)
    says(run, {"ttbar": fileset["mc"]}, Eager(), checkpoint=cp)
    text = json.loads((cp / "analysis.json").read_text())
    (cp / "analysis.json").write_text(json.dumps({**text, "plans": {"data": "x"}, "versions": {"hepgraph": "0.0.1"}}))
    says(run, fileset, checkpoint=cp)
    (cp / "analysis.json").write_text(json.dumps({**text, "plans": {"data": "x"}, "code": "other"}))
    says(run, fileset, checkpoint=cp)
    (cp / "analysis.json").write_text(json.dumps({**text, "plans": {"data": "x"}}))
    says(run, fileset, checkpoint=cp)
    (cp / "analysis.json").write_text(json.dumps(text))
    assert {path: path.read_bytes() for path in parts(cp)} == before, "nothing was changed"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    says(run, fileset, checkpoint=tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["thesis.tex"]
    holder = Store(cp)
    holder.lock()
    says(run, fileset, checkpoint=cp)
    holder.unlock()
    (tmp_path / "file").touch()
    says(run, fileset, checkpoint=tmp_path / "file")
    says(run, fileset, checkpoint="nosuch://there")
    faulty.fault, faulty.left = READ_ONLY, 0
    says(run, fileset, checkpoint="faulty://cp")
    faulty.fault, faulty.left = FULL, 4
    says(run, fileset, checkpoint="faulty://cp")
    assert run(fileset, checkpoint=cp)[1].complete
    text = BREAK.join(seen)
    if os.environ.get("HEPGRAPH_UPDATE_SNAPSHOTS"):
        SAYS.write_text(text)
    assert text == SAYS.read_text()


def test_a_damaged_description_is_written_anew(fileset, tmp_path):
    run(fileset, checkpoint=tmp_path / "cp")
    (tmp_path / "cp" / "analysis.json").write_text("{")
    _, report = run(fileset, checkpoint=tmp_path / "cp")
    assert all(row.stored for row in report.rows)
    assert "analysis.json was damaged, and is written anew" in report.notes[0]


@pytest.mark.parametrize("fault", [FULL, READ_ONLY, TimeoutError("no answer")])
def test_a_disk_that_fills_up_loses_nothing(fileset, faulty, fault):
    plain, _ = run(fileset)
    for left in (1, 2, 5, 12):
        faulty.store.clear()
        faulty.pseudo_dirs[:] = [""]
        faulty.fault, faulty.left = fault, left
        with pytest.raises(CheckpointError, match="cannot be written to") as caught:
            run(fileset, checkpoint="faulty://cp")
        done = caught.value.report.events
        assert done == 10 * (left - 1)
        kept = (
            f"{done} of 120 events are done, and kept in the checkpoint faulty://cp: run again with it to do the rest."
        )
        assert getattr(caught.value, "__notes__", []) == [kept] * bool(done)
        assert not [name for name in faulty.store if ".part-" in name], "no half of a file is left"
        faulty.fault = None
        out, report = run(fileset, checkpoint="faulty://cp")
        assert same(out, plain)
        assert 10 * sum(row.stored for row in report.rows) == done
        out, report = run(fileset, resume=caught.value.report)
        assert same(out, plain), "the report of the error is as good"


def test_a_disk_that_is_full(fileset, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root can make a small disk here")
    try:
        with pytest.raises(CheckpointError, match="No space left on device") as caught:
            run(fileset, checkpoint=small / "cp", step_size=1)
        stored = len(parts(small / "cp"))
        assert 0 < stored < 120
        assert caught.value.report.events == stored
        subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
        out, report = run(fileset, checkpoint=small / "cp", step_size=1)
        assert sum(row.stored for row in report.rows) == stored
        assert same(out, run(fileset, step_size=1)[0])
    finally:
        subprocess.run(["umount", small], check=True)


# elsewhere


def test_a_checkpoint_by_url(fileset, faulty):
    plain, _ = run(fileset, checkpoint="faulty://deep/in/there")
    with reads() as seen:
        out, _ = run(fileset, checkpoint="faulty://deep/in/there")
    assert seen == []
    assert same(out, plain)


def test_the_lock_of_a_file_system_without_locks(faulty, limit):
    one, two = Store("faulty://locked"), Store("faulty://locked")
    one.lock()
    with pytest.raises(BusyError):
        two.lock()
    one.unlock()
    two.lock()
    gone = Holder("somewhere-else", 1, "long ago", "token", 0.0)
    assert gone.gone
    two.system.pipe_file(two._path("lock"), json.dumps(vars(gone)).encode())
    one.lock()  # a stale one is taken over
    limit(renew=0)
    one.write("name", b"data")
    assert one.read("name") == b"data"
    two._mine = Holder.me()
    with pytest.raises(BusyError):  # the one that was silent for too long finds out
        two.write("other", b"data")


def test_a_process_that_ended_holds_no_lock():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert Holder(Holder.me().host, child.pid, "now", "t", 1e18).gone
    assert not Holder.me().gone


def test_names_that_were_half_written_are_removed(tmp_path):
    store = Store(tmp_path / "s")
    store.write("folder/whole", b"1")
    (tmp_path / "s" / "folder" / ".part-half-123").write_bytes(b"ha")
    assert store.names("folder") == ["whole"]
    assert os.listdir(tmp_path / "s" / "folder") == ["whole"]


# killed


SCRIPT = """
import os, signal, sys
sys.path.insert(0, os.environ["TESTS"])
import hepgraph as hg
import test_runner_checkpoint as t
from hepgraph.io.access import store

count = 0
def killed(real, *args):
    global count
    count += 1
    if count == int(os.environ["AT"]):
        if os.environ["WHEN"] == "half":
            with open(args[0], "r+b") as file:
                file.truncate(os.path.getsize(args[0]) // 2)
        if os.environ["WHEN"] == "after":
            real(*args)
        os.kill(os.getpid(), signal.SIGKILL)
    real(*args)

real = os.replace
store.os.replace = lambda *args: killed(real, *args)
a, b, c = (os.environ["FILES"] + f"/{name}.parquet" for name in "abc")
fileset = {"data": [a, b], "mc": [c]}
t.run(fileset, t.Met(), checkpoint=os.environ["CP"], executor=os.environ["HOW"])
"""


@pytest.mark.parametrize(
    ("at", "when", "how"),
    [(1, "before", "serial"), (4, "half", "threads"), (9, "after", "threads"), (13, "before", "serial")],
)
def test_a_killed_run_goes_on(folder, fileset, tmp_path, at, when, how):
    env = {**os.environ, "AT": str(at), "WHEN": when, "HOW": how, "FILES": str(folder), "CP": str(tmp_path / "cp"),
           "TESTS": str(Path(__file__).parent)}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    stored = len(parts(tmp_path / "cp"))
    assert stored == max(0, at - 2 + (when == "after"))
    plain, _ = run(fileset)
    sys.modules.setdefault("test_runner_checkpoint", sys.modules[__name__])
    out, report = run(fileset, checkpoint=tmp_path / "cp", executor="threads")
    assert same(out, plain)
    assert sum(row.stored for row in report.rows) == stored
    assert not list((tmp_path / "cp").rglob(".part-*"))

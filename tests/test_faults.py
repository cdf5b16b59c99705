"""Runs in which things go wrong: the result is as if nothing had, or lacks exactly what the report says.

HEPGRAPH_FAULTS says how many faults are drawn, HEPGRAPH_SEED from which number.
"""

import functools
import os
import random
import shutil
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.attempt import Policy, halves
from hepgraph.compute import passes
from hepgraph.course import Course, Running
from hepgraph.errors import (
    AccessError,
    ChangedFileError,
    DamagedFileError,
    DisagreementError,
    IncompleteWarning,
    LedgerError,
    MissingColumnError,
    MissingFileError,
    MissingTreeError,
    ResumeError,
    SourceError,
)
from hepgraph.io.parquet import ParquetSource
from hepgraph.io.source import Partition
from hepgraph.io.trees import UprootSource
from hepgraph.ledger import Row, Rows

FAULTS = int(os.environ.get("HEPGRAPH_FAULTS", "30"))
SEED = int(os.environ.get("HEPGRAPH_SEED", "0"))
QUIET = {"executor": "serial", "progress": False, "step_size": 10}
RNG = np.random.default_rng(11)
DATA = {name: {"MET_pt": RNG.exponential(20, 40), "weight": RNG.uniform(0.1, 1, 40)} for name in "abc"}


def write(folder):
    for name, columns in DATA.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=20)
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("Events", {"MET_pt": "f8", "weight": "f8"})
            for start in range(0, 40, 20):
                file["Events"].extend({key: values[start : start + 20] for key, values in columns.items()})
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Files that stay as they are."""
    return write(tmp_path_factory.mktemp("sound"))


def fileset_in(folder, suffix="parquet"):
    return {"data": [f"{folder}/a.{suffix}", f"{folder}/b.{suffix}"], "mc": [f"{folder}/c.{suffix}"]}


@pytest.fixture
def fileset(sound):
    return fileset_in(sound)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("hepgraph.attempt.WAIT", 0.0)


def analysis(events):
    h = hg.Hist.new.Reg(8, 0, 80, name="met").Double()
    weighted = hg.Hist.new.Reg(8, 0, 80, name="met").Weight().fill(events.MET.pt, weight=events.weight)
    return {"h": h.fill(events.MET.pt), "weighted": weighted, "pt": events.MET.pt, "n": ak.num(events, axis=0)}


def run(fileset, processor=analysis, **options):
    return hg.run(processor, fileset, **{**QUIET, "report": True, **options})


def same(a, b):
    """Whether two results are the same to the last bit."""
    return list(a) == list(b) and all(
        ak.array_equal(a[key], b[key]) if isinstance(a[key], ak.Array) else a[key] == b[key] for key in a
    )


def check_short(out, report):
    """That a result is what numpy makes of the ranges that the report says are in it."""
    done = [row for row in report.rows if row.status == "done"]
    parts = [DATA[Path(row.path).stem]["MET_pt"][row.start : row.stop] for row in done]
    values = np.concatenate(parts)
    assert out["pt"].to_list() == values.tolist()
    assert out["h"].values().tolist() == np.histogram(values, 8, (0, 80))[0].tolist()
    assert report.events == len(values) == out["n"]
    assert not report.complete
    assert report.events + sum(row.lost for row in report.failed) == report.expected


class Faults:
    """Errors to be raised where ranges are read: by file and first entry, so many times."""

    def __init__(self, monkeypatch):
        self.plan, self.calls, self.at, self.lock = {}, [], {}, threading.Lock()
        for kind in (ParquetSource, UprootSource):
            monkeypatch.setattr(kind, "read", self.wrapped(kind.read))

    def wrapped(self, real):
        def read(source, partition, needs):
            with self.lock:
                self.calls.append((Path(partition.path).stem, partition.start, partition.stop))
                action = self.at.pop(len(self.calls), None)
                times, error, longest = self.plan.get(self.calls[-1][:2], (0, None, 0))
                if times and len(partition) > longest:
                    self.plan[self.calls[-1][:2]] = (times - 1, error, longest)
                else:
                    error = None
            if action is not None:
                action()
            if error is not None:
                raise error
            return real(source, partition, needs)

        return read

    def add(self, name, start, error, times=10**9, longer_than=0):
        self.plan[name, start] = (times, error, longer_than)


@pytest.fixture
def faults(monkeypatch):
    return Faults(monkeypatch)


# tries


@pytest.mark.parametrize("error", [TimeoutError("slow"), OSError(5, "I/O"), AccessError("x"), ConnectionError("gone")])
def test_trouble_that_passes_is_tried_again(fileset, faults, error):
    plain, _ = run(fileset)
    faults.add("a", 10, error, times=3)
    out, report = run(fileset)
    assert same(out, plain)
    assert [row.tries for row in report.rows] == [1, 4] + [1] * 10
    assert report.complete


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (TimeoutError("slow"), 4),
        (AccessError("busy"), 4),
        (DamagedFileError("bad"), 2),
        (MissingFileError("gone"), 1),
        (PermissionError(13, "no"), 1),
        (ChangedFileError("other"), 1),
        (SourceError("not so"), 1),
        (DisagreementError("other"), 1),
        (MissingColumnError("none"), 1),
    ],
)
def test_how_often_what_is_tried(fileset, faults, error, tries):
    faults.add("a", 10, error)
    with pytest.raises(type(error)) as caught:
        run(fileset)
    assert caught.value is error
    assert faults.calls.count(("a", 10, 20)) == tries
    notes = caught.value.__notes__
    assert any("a.parquet[10:20]" in note for note in notes)
    assert (f"after {tries} tries" in notes) == (tries > 1)
    (row,) = caught.value.report.failed
    assert (row.status, row.start, row.stop, row.tries) == ("failed", 10, 20, tries)
    assert row.error == f"{type(error).__name__}: {error}"
    assert not caught.value.report.complete


def test_waits_grow_and_differ(monkeypatch):
    waits = []
    monkeypatch.setattr("hepgraph.attempt.time.sleep", waits.append)
    for tried in (1, 2, 3):
        Policy(wait=1.0).pause(tried, "here")
    Policy(wait=1.0).pause(1, "there")
    assert 1 <= waits[0] <= 1.25
    assert waits[1] == 4 * waits[0]
    assert waits[2] == 16 * waits[0]
    assert waits[3] != waits[0]


def test_retries_can_be_none(fileset, faults):
    faults.add("a", 10, TimeoutError("slow"), times=1)
    with pytest.raises(TimeoutError):
        run(fileset, retries=0)
    assert faults.calls.count(("a", 10, 20)) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip', not 'ignore'"),
        ({"retries": -1}, "retries must be a whole number, 0 or more, not -1"),
        ({"retries": True}, "retries must be a whole number, 0 or more, not True"),
    ],
)
def test_wrong_settings(fileset, options, says):
    with pytest.raises(ValueError, match=says):
        run(fileset, **options)


# skipping


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_skipping_is_loud(fileset, faults, executor):
    faults.add("a", 10, DamagedFileError("bad basket"))
    faults.add("c", 30, TimeoutError("no answer"))
    with pytest.warns(IncompleteWarning) as caught:
        out, report = run(fileset, on_error="skip", executor=executor)
    check_short(out, report)
    (warning,) = caught
    assert warning.filename == __file__
    folder = Path(fileset["mc"][0]).parent
    assert str(warning.message).replace(str(folder), "<folder>") == (
        "The result is INCOMPLETE. Not in it: 20 of 120 events (2 ranges); the first is <folder>/a.parquet[10:20]: "
        "DamagedFileError: bad basket\nreport.failed lists all. To do what is missing, run again with resume=report, "
        "the report that report=True gives."
    )
    assert [(row.dataset, row.start, row.stop, row.status, row.tries) for row in report.failed] == [
        ("data", 10, 20, "skipped", 2),
        ("mc", 30, 40, "skipped", 4),
    ]
    assert "INCOMPLETE" in repr(report)
    assert "bad basket" in repr(report)


def test_what_is_no_trouble_of_reading_is_never_skipped(fileset, faults):
    for error in (DisagreementError("other"), MissingColumnError("none")):
        faults.add("a", 10, error)
        with pytest.raises(type(error)):
            run(fileset, on_error="skip")


def test_no_file_at_all_is_an_error(fileset, faults, tmp_path):
    for start in range(0, 40, 10):
        faults.add("c", start, DamagedFileError("bad"))
    with (
        pytest.raises(SourceError, match="Nothing of dataset 'mc' could be read") as caught,
        pytest.warns(IncompleteWarning),
    ):
        run(fileset, on_error="skip")
    assert caught.value.report.events == 80
    with pytest.raises(MissingFileError) as caught:
        run({"x": [tmp_path / "a.root", tmp_path / "b.root"]}, on_error="skip")
    assert "none of the 2 files of dataset 'x' can be opened" in caught.value.__notes__


def test_a_wrong_tree_is_never_skipped(sound):
    with pytest.raises(MissingTreeError):
        run(fileset_in(sound, "root"), tree="Event", on_error="skip")


@pytest.mark.parametrize("suffix", ["root", "parquet"])
def test_a_file_that_cannot_be_opened(tmp_path, suffix):
    fileset = fileset_in(write(tmp_path), suffix)
    plain, _ = run(fileset)
    path = Path(fileset["data"][0])
    path.rename(tmp_path / "away")
    with pytest.raises(MissingFileError):
        run(fileset)
    with pytest.warns(
        IncompleteWarning, match="all events of 1 file that could not be opened; the first is .*MissingFileError"
    ):
        out, report = run(fileset, on_error="skip")
    check_short(out, report)
    assert report.failed[0].path == str(path)
    with pytest.warns(IncompleteWarning):
        out, again = run(fileset, on_error="skip", resume=report)  # still not there
    check_short(out, again)
    (tmp_path / "away").rename(path)
    out, again = run(fileset, resume=again)
    assert again.complete
    assert again.events == 120
    assert all(ak.all(out[key] == plain[key]) if key == "pt" else out[key] == plain[key] for key in ("h", "pt", "n"))
    assert np.allclose(out["weighted"].values(), plain["weighted"].values(), rtol=1e-14)


def test_a_file_that_cannot_be_opened_where_events_are_numbered(tmp_path):
    fileset = fileset_in(write(tmp_path))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(SourceError, match="cannot be opened, and this analysis numbers the events of all files"):
        run(fileset, lambda events: {"i": ak.local_index(events.MET.pt, axis=0)}, on_error="skip")


# the user's errors


CALLS = []


def picky(pt):
    """Fails on the second range."""
    CALLS.append(len(pt))
    if abs(pt[0] - DATA["a"]["MET_pt"][10]) < 1e-12:
        return pt * {"known": 1}["unknown"]  # the line
    return pt


@pytest.mark.parametrize("kind", [KeyError, OSError, FileNotFoundError, TimeoutError, MemoryError])
@pytest.mark.parametrize("eager", [False, True])
def test_the_users_errors_stop_at_once(fileset, kind, eager):
    calls = []

    def fails(pt):
        calls.append(len(pt))
        if len(calls) == (3 if not eager else 2):
            raise kind("mine")
        return pt

    def process(events):
        if eager:
            assert len(events)
            return {"x": [float(np.sum(fails(events.MET.pt)))]}
        return {"x": hg.map_partitions(fails, events.MET.pt)}

    with pytest.raises(kind, match="mine") as caught:
        run(
            fileset,
            process,
            on_error="raise" if kind is MemoryError else "skip",
            step_size=1 if kind is MemoryError else 10,
        )
    assert len(calls) == (3 if not eager else 2), "once, and nothing after it"
    (row,) = caught.value.report.failed
    assert row.status == "failed"
    assert row.tries == 1
    assert row.line.startswith(f"{__file__}:")


def test_the_line_of_the_user(fileset):
    with pytest.raises(KeyError) as caught:
        run(fileset, lambda events: {"x": hg.map_partitions(picky, events.MET.pt)})
    (row,) = caught.value.report.failed
    number = next(i for i, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith("# the line"))
    assert row.line == f"{__file__}:{number}"
    with pytest.raises(KeyError, match="unknown"):
        caught.value.report.replay(row)


def test_an_error_of_reading_that_a_processor_swallows(fileset, faults):
    def process(events):
        assert len(events)
        try:
            return {"n": [float(np.sum(events.MET.pt))]}
        except OSError:
            return {"n": [0.0]}

    faults.add("a", 10, DamagedFileError("bad"))
    with pytest.raises(DamagedFileError, match="bad"):
        run(fileset, process)
    with pytest.warns(IncompleteWarning):
        out, report = run(fileset, process, on_error="skip")
    assert len(out["n"]) == 11
    assert [row.start for row in report.failed] == [10]


# memory


def test_a_range_that_does_not_fit_is_cut(fileset, faults):
    plain, _ = run(fileset)
    faults.add("a", 10, MemoryError("too much"), longer_than=3)
    faults.add("a", 15, MemoryError("too much"), longer_than=3)
    out, report = run(fileset)
    assert [(row.start, row.stop) for row in report.rows[:7]] == [
        (0, 10), (10, 12), (12, 15), (15, 17), (17, 20), (20, 30), (30, 40),
    ]  # fmt: skip
    assert out["pt"].to_list() == plain["pt"].to_list()
    assert out["h"] == plain["h"]
    assert report.complete


def test_an_event_that_does_not_fit(fileset, faults):
    for start, stop in ((10, 20), (15, 20), (17, 20), (18, 20)):
        faults.add("a", start, MemoryError("too much"), longer_than=0 if start == 18 else 1 if stop - start > 2 else 0)
    faults.add("a", 10, MemoryError("too much"), longer_than=5)
    faults.add("a", 15, MemoryError("too much"), longer_than=2)
    faults.add("a", 17, MemoryError("too much"), longer_than=1)
    with pytest.raises(MemoryError) as caught:
        run(fileset)
    assert "in the range" in caught.value.__notes__[-1]
    with pytest.warns(IncompleteWarning):
        out, report = run(fileset, on_error="skip")
    check_short(out, report)
    assert [(row.start, row.stop) for row in report.failed] == [(18, 19)]
    faults.plan.clear()
    again, report = run(fileset, resume=report)
    assert report.complete
    assert again["pt"].to_list() == run(fileset)[0]["pt"].to_list()


def test_halves():
    one, two = halves(Partition("f", "t", 10, 15, 110))
    assert (one, two) == (Partition("f", "t", 10, 12, 110), Partition("f", "t", 12, 15, 112))


def test_a_range_that_no_worker_survives(fileset):
    """The executor says so; the run cuts the range until the guilty event is alone."""

    class Deadly(hg.executors.Serial):
        def run(self, work, tasks):
            for index, task in enumerate(tasks):
                part = task.partition
                dies = part.path.endswith("a.parquet") and part.start <= 17 < part.stop
                yield index, work.lost(task, RuntimeError("killed by SIGKILL")) if dies else work(task)

    plain, _ = run(fileset)
    with pytest.warns(IncompleteWarning):
        out, report = run(fileset, executor=Deadly(), on_error="skip")
    check_short(out, report)
    assert [(row.start, row.stop, row.error) for row in report.failed] == [(17, 18, "RuntimeError: killed by SIGKILL")]
    with pytest.raises(RuntimeError, match="killed by SIGKILL") as caught:
        run(fileset, executor=Deadly())
    assert [(row.start, row.stop) for row in caught.value.report.failed] == [(17, 18)]
    again, report = run(fileset, resume=report)
    assert again["pt"].to_list() == plain["pt"].to_list()


# going on


RANGES = [(name, start) for name in "abc" for start in range(0, 40, 10)]


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.sampled_from(RANGES), max_size=11),
    st.sets(st.sampled_from(RANGES)),
    st.sampled_from(["serial", "threads"]),
)
def test_any_ranges_may_fail_and_be_done_later(sound, bad, still, executor):
    fileset = {"all": fileset_in(sound)["data"] + fileset_in(sound)["mc"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hepgraph.attempt.WAIT", 0.0)
        faults = Faults(patch)
        plain, _ = run(fileset)
        for place in bad:
            faults.add(*place, DamagedFileError("bad"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            out, report = run(fileset, on_error="skip", executor=executor)
        assert len(caught) == bool(bad)
        if not bad:
            assert same(out, plain)
            return
        check_short(out, report)
        assert {(Path(row.path).stem, row.start) for row in report.failed} == bad
        faults.plan = {place: fault for place, fault in faults.plan.items() if place in still}
        faults.calls.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out, second = run(fileset, on_error="skip", executor=executor, resume=report)
        assert {call[:2] for call in faults.calls} == bad, "only what is missing is read"
        if bad & still:
            check_short(out, second)
            faults.plan.clear()
            out, second = run(fileset, executor=executor, resume=second)
        assert same(out, plain)
        assert second.complete


def test_what_cannot_be_resumed(fileset, faults, tmp_path):
    def says(words, report, other=fileset, processor=analysis):
        with pytest.raises(ResumeError) as caught:
            run(other, processor, resume=report)
        assert str(caught.value).replace(str(tmp_path), "<tmp>") == words

    _, whole = run(fileset)
    says("Nothing is missing from the run to be resumed: its result is whole.", whole)
    says("resume= takes the report of a run (report=True), not a bool.", True)
    faults.add("a", 10, DamagedFileError("bad"))
    with pytest.warns(IncompleteWarning):
        _, report = run(fileset, on_error="skip")
    faults.plan.clear()
    says(
        "The report to resume from is of another analysis: its code, its parameters, the datasets or the types of "
        "their columns have changed. Run it again without resume=.",
        report,
        processor=lambda events: {"n": ak.num(events, axis=0)},
    )
    says(
        "The files of dataset 'data' are not those of the report to resume from. Give the same fileset, or use "
        "checkpoint=, which goes by the content of files.",
        report,
        {**fileset, "data": fileset["data"][:1]},
    )
    report.save(tmp_path / "report.json")
    says(
        "This report was read from a file, which holds no results to go on from; a run with checkpoint= keeps them.",
        hg.Report.load(tmp_path / "report.json"),
    )
    assert run(fileset, resume=report)[1].complete


def test_a_file_that_changed_cannot_be_added_to(tmp_path, faults):
    fileset = fileset_in(write(tmp_path))
    faults.add("a", 10, DamagedFileError("bad"))
    with pytest.warns(IncompleteWarning):
        _, report = run(fileset, on_error="skip")
    pq.write_table(pa.table({"MET_pt": np.ones(40), "weight": np.ones(40)}), tmp_path / "b.parquet")
    with pytest.raises(ResumeError, match=r"b\.parquet has changed since the run that is to be resumed"):
        run(fileset, resume=report)


def test_a_saved_report_of_a_run_with_a_checkpoint(fileset, faults, tmp_path):
    plain, _ = run(fileset)
    faults.add("a", 10, DamagedFileError("bad"))
    with pytest.warns(IncompleteWarning, match="run again with the same checkpoint"):
        _, report = run(fileset, on_error="skip", checkpoint=tmp_path / "cp")
    report.save(tmp_path / "report.parquet")
    faults.plan.clear()
    faults.calls.clear()
    out, again = run(fileset, resume=hg.Report.load(tmp_path / "report.parquet"))
    assert same(out, plain)
    assert faults.calls == [("a", 10, 20)]
    assert again.complete


def test_an_interrupted_run_goes_on_from_the_error(fileset, faults):
    plain, _ = run(fileset)
    faults.add("b", 20, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        run(fileset)
    report = caught.value.report
    assert report.events == 60
    faults.plan.clear()
    faults.calls.clear()
    out, report = run(fileset, resume=report)
    assert len(faults.calls) == 6
    assert same(out, plain)


# files that change while they are read


def test_replicas(tmp_path):
    fileset = fileset_in(write(tmp_path), "root")
    plain, _ = run(fileset)
    copies = {
        name: [f"{tmp_path}/none/{name}.root", f"{tmp_path}/copy/{name}.root", f"{tmp_path}/{name}.root"]
        for name in "abc"
    }
    (tmp_path / "copy").mkdir()
    for name in "abc":
        shutil.copy(tmp_path / f"{name}.root", tmp_path / "copy")
    many = {"data": [copies["a"], copies["b"]], "mc": [copies["c"]]}
    out, report = run(many)
    assert same(out, plain)
    assert {row.path for row in report.rows} == {paths[0] for paths in copies.values()}
    known = hg.preprocess(many, cache=False, executor="serial")
    shutil.rmtree(tmp_path / "copy")
    assert same(run(known)[0], plain)
    (tmp_path / "a.root").unlink()
    with pytest.raises(MissingFileError) as caught:
        run(known)
    assert sum("another place of the same file" in note for note in caught.value.__notes__) == 2


def test_a_replica_of_other_content_is_not_read(tmp_path):
    write(tmp_path)
    known = hg.preprocess({"x": [[f"{tmp_path}/a.root", f"{tmp_path}/b.root"]]}, cache=False, executor="serial")
    (tmp_path / "a.root").unlink()
    with pytest.raises(SourceError):
        run(known)


# drawn at random


@pytest.mark.parametrize("seed", range(SEED, SEED + FAULTS))
def test_faults_drawn_at_random(tmp_path, seed, monkeypatch):
    rng = random.Random(seed)
    suffix = rng.choice(["root", "parquet"])
    options = {"executor": rng.choice(["serial", "threads"]), "step_size": rng.choice([5, 10, 20])}
    fileset = fileset_in(write(tmp_path), suffix)
    keep = tmp_path / "keep"
    shutil.copytree(tmp_path, keep, ignore=shutil.ignore_patterns("keep"))
    plain, _ = run(fileset, executor="serial", step_size=options["step_size"])
    if rng.random() < 0.5:
        options["checkpoint"] = tmp_path / "cp"
    faults = Faults(monkeypatch)
    victim = tmp_path / f"{rng.choice('abc')}.{suffix}"
    starts = range(0, 40, options["step_size"])
    kind = rng.choice(["deleted", "truncated", "replaced", "passing", "stuck", "interrupted", "memory"])
    when = rng.randint(1, 120 // options["step_size"])
    match kind:
        case "deleted":
            faults.at[when] = victim.unlink
        case "truncated":
            faults.at[when] = lambda: os.truncate(victim, rng.randint(0, victim.stat().st_size - 1))
        case "replaced":
            faults.at[when] = lambda: shutil.copy(
                tmp_path / f"{rng.choice('abc'.replace(victim.stem, ''))}.{suffix}", victim
            )
        case "passing":
            for name in "abc":
                faults.add(name, rng.choice(starts), TimeoutError("slow"), times=rng.randint(1, 3))
        case "stuck":
            for name in "abc":
                faults.add(name, rng.choice(starts), rng.choice([DamagedFileError("bad"), AccessError("busy")]))
        case "interrupted":
            faults.add(victim.stem, rng.choice(starts), KeyboardInterrupt())
        case "memory":
            faults.add(victim.stem, rng.choice(starts), MemoryError(), longer_than=rng.randint(1, 9))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteWarning)
            out, report = run(fileset, on_error="skip", **options)
    except KeyboardInterrupt as error:
        report = error.report
    except SourceError as error:
        if "Nothing of dataset" not in str(error):
            raise
        report = error.report
    else:
        if report.complete:
            assert out["pt"].to_list() == plain["pt"].to_list()
            assert out["h"] == plain["h"]
            if kind != "memory":
                assert same(out, plain)
            return
        check_short(out, report)
    faults.plan.clear()
    faults.at.clear()
    shutil.copy2(keep / victim.name, victim)
    if "checkpoint" not in options:
        options["resume"] = report
    out, again = run(fileset, **options)
    assert again.complete
    assert again.events == 120
    assert same(out, plain)


def spoil(pt, path, how):
    """Deletes or truncates a file, from the worker that comes first."""
    if len(pt) > 3 and os.path.exists(path) and os.path.getsize(path) > 100:
        os.unlink(path) if how == "deleted" else os.truncate(path, 100)
    return pt


@pytest.mark.parametrize("how", ["deleted", "truncated"])
def test_a_file_that_goes_away_under_real_processes(tmp_path, how):
    fileset = fileset_in(write(tmp_path))

    def process(events):
        pt = hg.map_partitions(spoil, events.MET.pt, str(tmp_path / "c.parquet"), how)
        return {**analysis(events), "pt": pt, "h": hg.Hist.new.Reg(8, 0, 80, name="met").Double().fill(pt)}

    fileset = {"all": fileset["data"] + fileset["mc"]}
    with pytest.warns(IncompleteWarning):
        out, report = run(fileset, process, on_error="skip", executor=hg.executors.Processes(1))
    check_short(out, report)
    assert {Path(row.path).stem for row in report.failed} == {"c"}
    assert len({row.worker for row in report.rows}) == 1
    assert str(os.getpid()) not in report.rows[0].worker


def test_results_may_be_joined_before_they_come(fileset):
    """As a cluster does: whatever was joined on the way, the results and the report are those of one by one."""
    outputs = [analysis(hg.open(files, schema="nanoaod", step_size=10)) for files in fileset.values()]
    plain, plain_report = hg.compute(outputs, executor="serial", report=True)
    made, _ = passes(outputs)
    rng = random.Random(1)
    running = Running(made, hg.Report(), Course())
    with running.on():
        work = running.work_on(running.tasks)
        assert running.so_far(0) is None
        for tree, number in enumerate(work.numbers):
            mine = [(task, *work(task)) for task in running.tasks if task.number == number]
            rng.shuffle(mine)
            for some in (mine[:3], mine[3:]):
                value = functools.reduce(work.combine(tree), [value for _, value, _ in some])
                running.take(value, [(task, rows) for task, _, rows in some])
                assert running.so_far(number) is not None
        results = running.results()
    assert [row.range for row in running.ledger.rows] == [row.range for row in plain_report.rows]
    one, two = ([part for part in found if isinstance(part, ak.Array)] for found in results)
    assert one[0].to_list() == plain[0]["pt"].to_list()
    assert two[0].to_list() == plain[1]["pt"].to_list()


def test_a_wrong_count_is_an_error(fileset, monkeypatch):
    real = Running.take

    def miscounted(self, value, told):
        wrong = [(task, Rows(tuple(replace(row, events=row.events - 1) for row in rows.rows))) for task, rows in told]
        real(self, value, wrong)

    monkeypatch.setattr(Running, "take", miscounted)
    with pytest.raises(LedgerError, match="9 events were read in "):
        run(fileset)


def test_a_range_that_comes_twice_is_an_error():
    report = hg.Report()
    row = Row("d", "f", 0, 10, 10)
    report.add((0, 0, 0), row)
    with pytest.raises(LedgerError, match=r"f\[0:10\] came twice; its events would be counted twice"):
        report.add((0, 0, 0), row)
    report.add((0, 0, 5), Row("d", "f", 5, 10, 5))
    report.expect(15)
    with pytest.raises(LedgerError, match=r"f\[0:10\] and f\[5:10\] overlap"):
        report.check()

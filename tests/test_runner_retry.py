"""One range on a worker: tried again, stopped by the user's errors, cut where it does not fit into memory."""

import time
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from faulting import DATA, check_short, run, same

import hepgraph as hg
from hepgraph.errors import (
    AccessError,
    ChangedFileError,
    DamagedFileError,
    DisagreementError,
    IncompleteWarning,
    MissingColumnError,
    MissingFileError,
    SourceError,
)
from hepgraph.io.source import Partition
from hepgraph.runner.retry import Policy, halves

pytestmark = pytest.mark.usefixtures("no_waiting")


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
    monkeypatch.setattr(time, "sleep", waits.append)
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
    calls = SimpleQueue()  # not picklable, so that a recorded function uses this one, not a copy

    def fails(pt):
        calls.put(len(pt))
        if calls.qsize() == (3 if not eager else 2):
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
            eager=eager,
        )
    assert calls.qsize() == (3 if not eager else 2), "once, and nothing after it"
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
        run(fileset, process, eager=True)
    with pytest.warns(IncompleteWarning):
        out, report = run(fileset, process, on_error="skip", eager=True)
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

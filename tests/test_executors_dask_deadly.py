"""Ranges that end every worker that works on them, on a real cluster: found, named, and nothing else is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from clusters import CLOSING
from hypothesis import example, given
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import IncompleteWarning, KilledError
from hepgraph.executors.dask_reduce import Fold, WorkerPatience
from hepgraph.executors.dask_sums import NodeSum, merge
from hepgraph.executors.interface import Tree, Work

distributed = pytest.importorskip("distributed")

STEP, COUNT = 4, 20  # events in a range, and in a file
EXITS, KILLED = 7, range(108, 112)  # events that end their worker: one of a, and all of the third range of b

pytestmark = CLOSING


@pytest.fixture(scope="module")
def cluster():
    """Two workers with nannies; all that a worker dies with has to show at once that it is innocent."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        yield cluster


@pytest.fixture
def fileset(tmp_path):
    """Two files of events with a number, 0 to 19 and 100 to 119, and something to be added up."""
    random = np.random.default_rng(7)
    for name, first in (("a", 0), ("b", 100)):
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            file.mktree("Events", {"n": "i8", "x": "f8"})
            file["Events"].extend({"n": first + np.arange(COUNT), "x": random.normal(0, 10, COUNT)})
    (tmp_path / "deadly").touch()
    return {"data": [str(tmp_path / "a.root"), str(tmp_path / "b.root")]}


def deadly(n, switch):
    """Gives what it gets, or ends its process, as long as there is a file."""
    numbers = np.asarray(n)
    if Path(switch).exists():
        if EXITS in numbers:
            os._exit(7)
        if np.isin(KILLED, numbers).any():
            os.kill(os.getpid(), signal.SIGKILL)
    return n


def analysis(switch):
    def process(events):
        n = hg.map_partitions(deadly, events.n, switch)
        new = hg.Hist.new
        return {
            "each": new.Reg(30, 0, 120, name="n")
            .Reg(7, -20, 20, name="x")
            .Weight()
            .fill(n=n, x=events.x, weight=events.x),
            "n": new.Reg(120, 0, 120, name="n").Double().fill(n=n),
            "sum": ak.sum(events.n),
            "all": n,
        }

    return process


def run(fileset, tmp_path, executor, **options):
    process = analysis(str(tmp_path / "deadly"))
    return hg.run(process, fileset, executor=executor, step_size=STEP, report=True, progress=False, **options)


def whole(fileset, tmp_path):
    """The result of a run in this process in which nothing is deadly."""
    (tmp_path / "deadly").unlink()
    return run(fileset, tmp_path, "serial")[0]


@pytest.mark.timeout(240)
def test_the_rest_is_as_if_nothing_had_happened(cluster, fileset, tmp_path):
    """The run finds the event to blame, leaves out what the ledger names, and says so."""
    with pytest.warns(IncompleteWarning) as said:
        out, report = run(fileset, tmp_path, cluster, on_error="skip")
    plain = whole(fileset, tmp_path)
    a, b = fileset["data"]
    left_out = [(row.path, row.start, row.stop) for row in report.failed]
    assert left_out == [(a, EXITS, EXITS + 1), (b, 8, 10), (b, 10, 12)], "one event, and two halves that both kill"
    assert all(row.status == "skipped" and row.events == 0 for row in report.failed)
    for path, start, stop in left_out:
        (row,) = (row for row in report.failed if (row.path, row.start) == (path, start))
        assert f"The range {path}:Events[{start}:{stop}] ended every dask worker that worked on it" in row.error
    assert (report.complete, report.events, report.expected) == (False, 35, 40)
    assert sum(len(range(row.start, row.stop)) for row in report.rows) == 40, "every event has one row"
    (warning,) = said
    assert str(warning.message).startswith(
        f"The result is INCOMPLETE. Not in it: 5 of 40 events (3 ranges); the first is {a}:Events[7:8]: KilledError: "
    )
    assert "resume=report" in str(warning.message)
    assert warning.filename == __file__

    lost = {EXITS, *KILLED}
    rest = [n for n in plain["all"].to_list() if n not in lost]
    assert out["all"].to_list() == rest
    assert out["sum"] == sum(rest)
    assert np.array_equal(out["n"].values(), np.isin(np.arange(120), rest))
    touched = {n // STEP for n in lost}
    for i in set(range(30)) - touched:  # the bins of one range each
        assert out["each"][i, ...] == plain["each"][i, ...], "the same bits"
    assert np.count_nonzero(out["each"].values() != plain["each"].values()) > 0

    out, report = run(fileset, tmp_path, "serial", resume=report)
    assert report.complete
    assert out["n"] == plain["n"]
    assert out["sum"] == plain["sum"]
    assert out["all"].to_list() == plain["all"].to_list()
    np.testing.assert_allclose(out["each"].view(flow=True).value, plain["each"].view(flow=True).value, rtol=1e-14)


@pytest.mark.timeout(240)
def test_an_error_that_names_file_and_range(cluster, fileset, tmp_path):
    b = fileset["data"][1]
    with pytest.raises(KilledError) as caught:
        run({"data": [b]}, tmp_path, cluster)
    assert str(caught.value).startswith(f"The range {b}:Events[8:10] ended every dask worker that worked on it (")
    assert isinstance(caught.value.__cause__, distributed.KilledWorker)
    assert caught.value.__notes__ == [
        "16 of 20 events are done, and held by the report of this error: run again with resume=error.report to do the "
        "rest."
    ]
    report = caught.value.report
    assert [(row.path, row.start, row.stop, row.status) for row in report.failed] == [(b, 8, 10, "failed")]
    plain = whole({"data": [b]}, tmp_path)
    out, report = run({"data": [b]}, tmp_path, "serial", resume=report)
    assert report.complete
    assert out["sum"] == plain["sum"]
    assert out["n"] == plain["n"]


class Deadly:
    """A Client whose tasks are done when they are submitted; some numbers end all workers, with all that lies there."""

    status = "running"

    class scheduler:
        address = "nowhere"

    def __init__(self, numbers):
        self.numbers, self.there, self.alone, self.asked = numbers, set(), [], 0

    def nthreads(self):
        return {"nowhere": 2}

    def submit(self, function, plan, place, first, tasks, *, key, **options):
        future = Answer(key, self.there)
        self.there.add(future)
        rows = [(first + i, None) for i in range(len(tasks))]
        if function is merge:
            rows = [row for each in tasks for row in each.made.rows]
            future.status = "error" if any(each.lost for each in tasks) else "finished"
            self.there.difference_update(tasks)
        elif self.numbers & set(tasks):
            self.alone.append(self.there == {future})
            for each in self.there:
                each.lost = True
            self.there.clear()
            future.status = "error"
        future.made = NodeSum(place.level, place.index, b"N.", rows, 1.0)  # pickled None
        return future

    def gather(self, futures):
        self.asked += 1
        assert self.asked < 1000
        if any(future.lost for future in futures):
            raise futures[0].exception()
        return [future.result() for future in futures]

    def cancel(self, futures):
        """Nothing is under way."""


class Answer:
    def __init__(self, key, there):
        self.key, self.there, self.status, self.lost, self.made = key, there, "finished", False, None

    def add_done_callback(self, function):
        function(self)

    def exception(self):
        return distributed.KilledWorker(self.key, Deadly.scheduler, 1)

    def result(self):
        if self.lost:
            raise self.exception()
        self.there.discard(self)
        return self.made


class Lost(Work):
    """Work that says what stands for a range that is lost."""

    def __call__(self, task):
        raise AssertionError("nobody works here")

    def lost(self, task, error):
        return None, f"{task}: {error}"


@given(st.integers(1, 80).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1)))))
@example((20, {3, 12}))
@example((52, {3, 11, 40}))
def test_sums_that_die_with_a_worker_are_made_again(drawn):
    """Whatever dies beside a deadly range is done again, and comes; the verdict falls on what was alone there."""
    count, numbers = drawn
    client = Deadly(numbers)
    plan = type("Plan", (), {"client": client, "token": "0", "name": "deadly", "send": lambda self: None})()
    fold = Fold(plan, Lost(), range(count), [Tree(0, count)], 0.1, WorkerPatience())
    rows = [row for part in fold.parts() for row in part.rows]
    assert sorted(number for number, _ in rows) == list(range(count)), "each comes once"
    said = {number: row for number, row in rows if row is not None}
    assert set(said) == numbers
    for number, row in said.items():
        assert row.startswith(f"{number}: The range {number} ended every dask worker that worked on it (")
    assert all(client.alone[len(client.alone) - len(numbers) :])

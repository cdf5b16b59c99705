"""The course of a run: what is skipped is named, what is missing can be added, what comes is counted."""

import functools
import random
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import examples
from faulting import Faults, analysis, check_short, fileset_in, run, same, write
from hypothesis import given, settings
from hypothesis import strategies as st
from limiting import limited

import hepgraph as hg
from hepgraph.errors import (
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
from hepgraph.executors import Serial
from hepgraph.plan.rows import Row, Rows
from hepgraph.runner.compute import passes
from hepgraph.runner.options import Options
from hepgraph.runner.run import Run

pytestmark = pytest.mark.usefixtures("no_waiting")


# skipping


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_skipping_is_loud(fileset, faults, executor):
    faults.add("a", 10, DamagedFileError("bad basket"))
    faults.add("c", 30, TimeoutError("no answer"))
    with pytest.warns(IncompleteWarning) as caught:
        out, report = hg.run(
            analysis, fileset, on_error="skip", executor=executor, report=True, progress=False, step_size=10
        )
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


def test_a_dataset_of_which_nothing_can_be_read(fileset, faults, tmp_path):
    """It is skipped, and said so; with nothing of any dataset there is no result."""
    plain, _ = run({"data": fileset["data"]})
    for start in range(0, 40, 10):
        faults.add("c", start, DamagedFileError("bad"))
    with pytest.warns(IncompleteWarning, match="40 of 120 events"):
        out, report = run(fileset, on_error="skip")
    assert same(out, plain)
    assert not report.complete
    assert [(row.dataset, row.start) for row in report.failed] == [("mc", start) for start in range(0, 40, 10)]
    with (
        pytest.raises(SourceError, match="Nothing of dataset 'mc' could be read") as caught,
        pytest.warns(IncompleteWarning),
    ):
        run({"mc": fileset["mc"]}, on_error="skip")
    assert caught.value.report.events == 0
    with pytest.raises(MissingFileError) as caught:
        run({"x": [tmp_path / "a.root", tmp_path / "b.root"]}, on_error="skip")
    assert "none of the 2 files of dataset 'x' can be opened" in caught.value.__notes__


@pytest.mark.parametrize("eager", [False, True])
def test_a_dataset_of_which_no_file_is_there(tmp_path, eager):
    fileset = fileset_in(write(tmp_path))
    fileset = {"x": [tmp_path / "none.parquet", f"{tmp_path}/*.gone"], **fileset}
    fileset = {"mc": fileset.pop("mc"), **fileset}

    def process(events):
        return {events.metadata["dataset"]: ak.sum(events.MET.pt > 20)}

    plain, _ = run({name: fileset[name] for name in ("mc", "data")}, process, eager=eager)
    with pytest.raises(MissingFileError):
        run(fileset, process, eager=eager)
    with pytest.warns(IncompleteWarning, match="all events of 2 files that could not be opened"):
        out, report = run(fileset, process, on_error="skip", eager=eager)
    assert out == plain
    assert not report.complete
    assert [(row.dataset, row.status) for row in report.failed] == [("x", "skipped")] * 2
    assert "none.parquet" in report.failed[0].path
    assert "MissingFileError" in report.failed[0].error
    shutil.copy(tmp_path / "a.parquet", tmp_path / "none.parquet")
    shutil.copy(tmp_path / "b.parquet", tmp_path / "b.gone")
    whole, _ = run(fileset, process, eager=eager)
    again, resumed = run(fileset, process, resume=report, eager=eager)
    assert again == whole
    assert resumed.complete
    assert sum(row.stored for row in resumed.rows) == len(report.rows) - 2


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


def test_computed_things_skip_and_go_on_as_well(fileset, faults):
    lazy = {name: analysis(hg.open(files, schema="nanoaod", step_size=10)) for name, files in fileset.items()}
    options = {"executor": "serial", "progress": False, "report": True}
    plain, _ = hg.compute(lazy, **options)
    faults.add("a", 10, DamagedFileError("bad"))
    with pytest.raises(DamagedFileError):
        hg.compute(lazy, **options)
    faults.calls.clear()
    with pytest.warns(IncompleteWarning, match="10 of 120 events"):
        out, report = hg.compute(lazy, on_error="skip", retries=0, **options)
    assert faults.calls.count(("a", 10, 20)) == 1, "no tries"
    assert out["data"]["n"] == 70
    faults.plan.clear()
    out, report = hg.compute(lazy, resume=report, **options)
    assert report.complete
    assert all(same(out[name], plain[name]) for name in plain)


# going on


RANGES = [(name, start) for name in "abc" for start in range(0, 40, 10)]


@settings(max_examples=examples(15), deadline=None)
@given(
    st.sets(st.sampled_from(RANGES), max_size=11),
    st.sets(st.sampled_from(RANGES)),
    st.sampled_from(["serial", "threads"]),
)
def test_any_ranges_may_fail_and_be_done_later(sound, bad, still, executor):
    fileset = {"all": fileset_in(sound)["data"] + fileset_in(sound)["mc"]}
    with pytest.MonkeyPatch.context() as patch, limited(wait=0):
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
    assert caught.value.__notes__[-1] == (
        "60 of 120 events are done, and held by the report of this error: run again with resume=error.report to do the "
        "rest."
    )
    faults.plan.clear()
    faults.calls.clear()
    out, report = run(fileset, resume=report)
    assert len(faults.calls) == 6
    assert same(out, plain)


# what comes


def test_results_may_be_joined_before_they_come(fileset):
    """As a cluster does: whatever was joined on the way, the results and the report are those of one by one."""
    outputs = [analysis(hg.open(files, schema="nanoaod", step_size=10)) for files in fileset.values()]
    plain, plain_report = hg.compute(outputs, executor="serial", report=True)
    made, _ = passes(outputs)
    rng = random.Random(1)
    run = Run(Options())
    with run.planned(made):
        work = run.work_on(range(len(made)), run.tasks)
        assert run.gathered[0].so_far(run.add(0)) is None
        for tree, number in enumerate(work.numbers):
            mine = [(task, *work(task)) for task in run.tasks if task.number == number]
            rng.shuffle(mine)
            for some in (mine[:3], mine[3:]):
                value = functools.reduce(work.combine(tree), [value for _, value, _ in some])
                run.merge(value, [(task, rows) for task, _, rows in some])
                assert run.gathered[number].so_far(run.add(number)) is not None
        results = run.finish()
    assert [row.range for row in run.report.rows] == [row.range for row in plain_report.rows]
    one, two = ([part for part in found if isinstance(part, ak.Array)] for found in results)
    assert one[0].to_list() == plain[0]["pt"].to_list()
    assert two[0].to_list() == plain[1]["pt"].to_list()


class Miscounting(Serial):
    """An executor that loses count of an event of each task."""

    def run(self, work, tasks):
        for index, (value, rows) in super().run(work, tasks):
            yield index, (value, Rows(tuple(replace(row, events=row.events - 1) for row in rows.rows)))


def test_a_wrong_count_is_an_error(fileset):
    with pytest.raises(LedgerError, match="9 events were read in "):
        run(fileset, executor=Miscounting())


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

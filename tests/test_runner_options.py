"""Every way to run has the same options with the same meaning: a report, further tries, a checkpoint, a policy."""

from __future__ import annotations

import warnings

import awkward as ak
import pytest
from faulting import DATA

import hepgraph as hg
from hepgraph.errors import CheckpointError, IncompleteWarning, ResumeError, SourceError, UnsupportedError
from hepgraph.runner.options import Options

dask = pytest.importorskip("dask")
pytestmark = pytest.mark.usefixtures("no_waiting")
WHOLE = [*DATA["a"]["MET_pt"], *DATA["b"]["MET_pt"]]
OPENING = {"schema": "nanoaod", "step_size": 10}


def lazy(files):
    return hg.open(files, **OPENING).MET.pt


def process(events):
    return {"pt": events.MET.pt}


def of_run(found):
    out, report = found
    return out["pt"], report


def run(files, **options):
    return of_run(hg.run(process, {"data": files}, **OPENING, executor="serial", **options))


def runner(files, **options):
    made = hg.Runner(executor="serial", chunksize=10, progress=False, options=options)
    return of_run(made({"data": files}, processor_instance=process))


def runner_called(files, **options):
    made = hg.Runner(executor="serial", chunksize=10, progress=False)
    return of_run(made({"data": files}, processor_instance=process, **options))


def eager(files, **options):
    def plain(events):
        return {"pt": ak.Array(ak.to_numpy(events.MET.pt))}

    return of_run(hg.run(plain, {"data": files}, **OPENING, executor="serial", eager=True, trust=True, **options))


def submit(files, **options):
    handle = hg.submit(lazy(files), executor="serial", **options)
    return handle.result(60), handle.report


def submit_run(files, **options):
    handle = hg.submit(process, {"data": files}, **OPENING, executor="serial", **options)
    return handle.result(60)["pt"], handle.report


def persist(files, **options):
    kept, report = lazy(files).persist(executor="serial", **options)
    return kept.compute(executor="serial"), report


def head(files, **options):
    return lazy(files).head(7, **options)


def head_after_a_cut(files, **options):
    x = lazy(files)
    return x[x > -1].head(7, **options)


def to_dask(files, **options):
    return lazy(files).to_dask(**options).compute(scheduler="synchronous")


def to_delayed(files, **options):
    parts, report = dask.compute(*lazy(files).to_delayed(**options), scheduler="synchronous")
    return ak.concatenate(parts), report


FACES = {
    "compute": lambda files, **options: hg.compute(lazy(files), executor="serial", **options),
    "array.compute": lambda files, **options: lazy(files).compute(executor="serial", **options),
    "run": run,
    "eager run": eager,
    "Runner": runner,
    "Runner()": runner_called,
    "submit": submit,
    "submit of a run": submit_run,
    "persist": persist,
    "head": head,
    "head after a cut": head_after_a_cut,
    "to_dask": to_dask,
    "to_delayed": to_delayed,
}
HEADS = ("head", "head after a cut")
each_face = pytest.mark.parametrize("face", FACES)


def computed(face, files, **options):
    return FACES[face](files, report=True, **options)


def expected(face):
    return WHOLE[:7] if face in HEADS else WHOLE


@each_face
def test_a_range_that_fails_once_is_tried_again_and_the_report_says_so(face, fileset, faults):
    faults.add("a", 0, TimeoutError("slow"), times=1)
    found, report = computed(face, fileset["data"])
    assert found.to_list() == expected(face)
    assert report.complete
    assert [row.tries for row in report.rows] == [2] + [1] * (len(report.rows) - 1)
    assert report.events == {"head": 7, "head after a cut": 10}.get(face, 80)
    assert {"versions", "plans"} <= set(report.provenance)


@each_face
def test_retries(face, fileset, faults):
    faults.add("a", 0, TimeoutError("slow"), times=1)
    with pytest.raises(TimeoutError, match="slow"):
        computed(face, fileset["data"], retries=0)
    assert [start for name, start, _ in faults.calls if name == "a"].count(0) == 1
    faults.add("a", 0, TimeoutError("slow"), times=5)
    found, report = computed(face, fileset["data"], retries=5)
    assert found.to_list() == expected(face)
    assert report.rows[0].tries == 6


@each_face
def test_a_checkpoint(face, fileset, faults, tmp_path):
    found, report = computed(face, fileset["data"], checkpoint=tmp_path / "cp")
    assert found.to_list() == expected(face)
    assert not any(row.stored for row in report.rows)
    assert report.provenance["checkpoint"] == str(tmp_path / "cp")
    faults.calls.clear()
    again, report = computed(face, fileset["data"], checkpoint=tmp_path / "cp")
    assert again.to_list() == expected(face)
    assert all(row.stored for row in report.rows)
    assert report.complete
    assert not faults.calls


@each_face
def test_a_checkpoint_of_a_run_that_failed(face, fileset, faults, tmp_path):
    faults.add("a", 0, PermissionError(13, "no"), times=1)
    with pytest.raises(PermissionError):
        computed(face, fileset["data"], checkpoint=tmp_path / "cp")
    found, report = computed(face, fileset["data"], checkpoint=tmp_path / "cp")
    assert found.to_list() == expected(face)
    assert report.complete


@each_face
def test_what_cannot_be_read_may_be_left_out(face, fileset, faults):
    faults.add("a", 0, PermissionError(13, "no"))
    if face in HEADS:
        with pytest.warns(IncompleteWarning), pytest.raises(SourceError, match="could be read, so there is no result"):
            computed(face, fileset["data"], on_error="skip")
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", IncompleteWarning)
        found, report = computed(face, fileset["data"], on_error="skip")
    told = face != "to_delayed"  # of which each part is a result
    assert len([one for one in caught if one.category is IncompleteWarning]) == told
    assert found.to_list() == WHOLE[10:]
    assert [(row.start, row.stop, row.status) for row in report.failed] == [(0, 10, "skipped")]
    assert not report.complete


@each_face
def test_options_that_there_are_not(face, fileset):
    with pytest.raises(TypeError, match=r"(compute|run)\(\) has no argument retrys=\. Nearest names: retries"):
        computed(face, fileset["data"], retrys=3)
    with pytest.raises(ValueError, match="retries must be a whole number, 0 or more, not -1"):
        computed(face, fileset["data"], retries=-1)
    with pytest.raises(ValueError, match="engine must be one of auto, interpreter, kernel, not 'fast'"):
        computed(face, fileset["data"], engine="fast")
    with pytest.raises(ResumeError, match="resume= takes the report of a run"):
        FACES["compute"](fileset["data"], resume=3)
    with pytest.raises(CheckpointError, match="checkpoint= takes a directory or an URL, not 3"):
        computed(face, fileset["data"], checkpoint=3)


def test_without_a_report_there_is_the_result_alone(fileset):
    x = lazy(fileset["data"])
    assert x.head(7).to_list() == WHOLE[:7]
    assert isinstance(x.persist(executor="serial"), hg.Lazy)
    assert x.to_dask().compute(scheduler="synchronous").to_list() == WHOLE
    assert isinstance(hg.Runner(executor="serial", progress=False)({"d": fileset["data"]}, None, process), dict)


def test_persist_of_a_number(fileset):
    for options in ({}, {"report": True}):
        with pytest.raises(hg.errors.LazyError, match=r"is one number; use \.compute\(\)"):
            ak.sum(lazy(fileset["data"])).persist(**options)


def test_a_number_has_no_first_rows_and_a_report(fileset):
    total, report = ak.sum(lazy(fileset["data"])).head(executor="serial", report=True)
    assert total == pytest.approx(sum(WHOLE))
    assert report.complete


# what is of some faces alone


def test_the_head_of_a_checkpoint_is_that_of_the_whole(fileset, faults, tmp_path):
    """A run takes from there what the first rows took, and the first rows what a run has done."""
    x = lazy(fileset["data"])
    x = x[x > -1]
    x.head(7, checkpoint=tmp_path / "cp")
    faults.calls.clear()
    found, report = x.compute(executor="serial", checkpoint=tmp_path / "cp", report=True)
    assert found.to_list() == WHOLE
    assert [row.stored for row in report.rows] == [True] + [False] * 7
    assert ("a", 0, 10) not in faults.calls


def test_the_report_of_first_rows_is_not_that_of_all(fileset, faults):
    """Missing ranges cannot stand for a missing dataset."""
    faults.add("a", 0, TimeoutError("slow"))
    x = lazy(fileset["data"])
    with pytest.raises(TimeoutError) as caught:
        x.head(7, retries=0)
    faults.plan.clear()
    assert x.head(7, resume=caught.value.report).to_list() == WHOLE[:7]
    with pytest.raises(ResumeError, match="of another analysis"):
        x.compute(resume=caught.value.report)
    with pytest.raises(ResumeError, match="of another analysis"):
        x.head(8, resume=caught.value.report)


def test_a_histogram_as_a_collection(fileset, faults):
    def h():
        return hg.Hist.new.Reg(8, 0, 80, name="met").Double().fill(lazy(fileset["data"]))

    plain = h().compute(executor="serial")
    faults.add("b", 20, TimeoutError("slow"), times=2)
    found, report = dask.compute(h().to_dask(report=True), scheduler="synchronous")[0]
    assert found == plain
    assert sorted(row.tries for row in report.rows) == [1] * 7 + [3]


def test_what_a_collection_lacks_is_told_by_its_report_and_can_be_added(fileset, faults):
    x = lazy(fileset["data"])
    faults.add("a", 0, PermissionError(13, "no"))
    with pytest.warns(IncompleteWarning):
        _, report = x.to_dask(on_error="skip", report=True).compute(scheduler="synchronous")
    faults.plan.clear()
    assert x.compute(executor="serial", resume=report).to_list() == WHOLE


@pytest.mark.parametrize("made", ["to_dask", "to_delayed", "to_dask_bag"])
def test_what_a_collection_does_not_take(fileset, made):
    make = getattr(lazy(fileset["data"]), made)
    with pytest.raises(UnsupportedError, match=r"takes no executor=: dask has its own for executor="):
        make(executor="serial")
    with pytest.raises(UnsupportedError, match=r"takes no resume=: resume= is one of hg\.compute"):
        make(resume=hg.Report())
    with pytest.raises(UnsupportedError, match=r'\(on_error="skip"\) needs report=True'):
        make(on_error="skip")
    if made == "to_dask_bag":
        with pytest.raises(UnsupportedError, match=r"has no report=; to_delayed\(report=True\) has one"):
            make(report=True)


def test_parts_that_dask_puts_together(fileset, faults, tmp_path):
    """Tried again, and kept in a checkpoint, as all others."""
    x = lazy(fileset["data"])
    faults.add("a", 0, TimeoutError("slow"), times=1)
    with pytest.raises(TimeoutError):
        x.to_dask_bag(retries=0).compute(scheduler="synchronous")
    faults.add("a", 0, TimeoutError("slow"), times=1)
    options = {"checkpoint": tmp_path / "cp", "retries": 1}
    assert x.to_dask_bag(**options).compute(scheduler="synchronous") == WHOLE
    faults.calls.clear()
    assert x.to_dask_array(**options).compute(scheduler="synchronous").tolist() == WHOLE
    assert not faults.calls
    other = hg.open(fileset["data"], schema="nanoaod", step_size=20).MET.pt.to_dask_array(**options)
    assert other.chunks == ((10,) * 8,), "the ranges that are stored"
    assert other.compute(scheduler="synchronous").tolist() == WHOLE


@pytest.mark.parametrize("face", ["array.compute", "persist", "head", "to_dask", "to_delayed", "submit"])
def test_arguments_of_other_functions(face, fileset):
    with pytest.raises(TypeError, match="tree"):
        computed(face, fileset["data"], tree="Events")
    if face != "array.compute":
        with pytest.raises(TypeError, match=r"compute\(\) has no argument memory=\. It is an argument of hg\.run\."):
            computed(face, fileset["data"], memory="1 GB")


def test_options_are_a_value():
    options = Options(retries=2)
    with pytest.raises(AttributeError):
        options.retries = 3
    assert options.policy.retries == 2

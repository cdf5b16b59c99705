"""Dependencies that cannot be tracked: a checkpoint asks, trust= and depends= answer, and the report tells them."""

import threading

import awkward as ak
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hepgraph as hg
from hepgraph.errors import CheckpointError, ResumeError
from hepgraph.runner.dependencies import Dependencies

QUIET = {"executor": "serial", "progress": False}


class Corrected(hg.Processor):
    """Runs eagerly, and reads its factor from a file when it runs."""

    def __init__(self, path):
        self.path = path

    def process(self, events):
        assert len(events) >= 0
        return {"sum": float(ak.sum(events.MET.pt)) * self.factor()}

    def factor(self):
        with open(self.path) as file:
            return float(file.read())


class Locked(Corrected):
    """Has something that has no content, too."""

    def __init__(self, path):
        super().__init__(path)
        self.lock = threading.Lock()


@pytest.fixture
def files(tmp_path):
    pq.write_table(pa.table({"MET_pt": [10.0, 20.0, 30.0]}), tmp_path / "a.parquet", row_group_size=1)
    (tmp_path / "factor.txt").write_text("2")
    return tmp_path


def run(files, kind=Corrected, **options):
    options = {**QUIET, "report": True, "step_size": 1, "eager": True, **options}
    return hg.run(kind(str(files / "factor.txt")), {"a": [files / "a.parquet"]}, **options)


def test_a_checkpoint_asks(files):
    with pytest.raises(CheckpointError) as caught:
        run(files, checkpoint=files / "cp")
    where, line = f"{__name__}.Corrected.factor", Corrected.factor.__code__.co_firstlineno + 1
    assert str(caught.value) == (
        f"The checkpoint {files}/cp cannot track all that its results depend on:\n"
        f"  {where} opens a file whose name is known only when it runs ({__file__}:{line})\n"
        "Name the files that functions open, so that their content counts: depends=[path, ...]. Or open them in "
        "__init__, and keep what they hold.\n"
        f"If it does not change between runs, say so: trust=['{where}'], or trust=True for all."
    )
    assert not (files / "cp" / "analysis.json").exists(), "nothing was written"


@pytest.mark.parametrize("trust", [True, [f"{__name__}.Corrected.factor"], f"{__name__}.Corrected", (__name__,)])
def test_what_is_trusted_is_not_asked_about(files, trust):
    for stored in (False, True):
        out, report = run(files, checkpoint=files / "cp", trust=trust)
        assert out == {"sum": 120.0}
        assert [row.stored for row in report.rows] == [stored] * 3
    assert len(report.untracked) == 1


def test_other_names_are_not_trusted(files):
    name = f"{__name__}.Corrected.faktor"
    with pytest.raises(CheckpointError, match=rf"trust= has '{name}', which none .* nearest: {name[:-6]}factor\."):
        run(files, checkpoint=files / "cp", trust=[name])
    with pytest.raises(CheckpointError, match=r"Locked\.lock \(lock\) has no content"):
        run(files, Locked, checkpoint=files / "cp", trust=[f"{__name__}.Corrected"])
    with pytest.raises(CheckpointError, match=r"Locked\.lock \(lock\) has no content"):
        run(files, Locked, checkpoint=files / "cp", depends=[files / "factor.txt"])
    run(files, Locked, checkpoint=files / "cp", depends=[files / "factor.txt"], trust=[f"{__name__}.Locked.lock"])


def test_files_that_results_depend_on(files):
    options = {"checkpoint": files / "cp", "depends": [files / "factor.txt", ("tag", 3)]}
    assert not any(row.stored for row in run(files, **options)[1].rows)
    _, report = run(files, **options)
    assert all(row.stored for row in report.rows)
    assert set(report.provenance["depends"]) == {str(files / "factor.txt"), "value 1"}
    (files / "factor.txt").write_text("3")
    with pytest.raises(CheckpointError, match="is of another analysis") as caught:
        run(files, **options)
    assert f"{files}/factor.txt, of depends=, has changed (dataset 'a')" in str(caught.value)
    (files / "factor.txt").write_text("2")
    with pytest.raises(CheckpointError, match="value 1, of depends=, has changed"):
        run(files, **{**options, "depends": [files / "factor.txt", ("tag", 4)]})
    assert all(row.stored for row in run(files, **options)[1].rows)


def test_folders_and_urls(files):
    (files / "jec" / "deep").mkdir(parents=True)
    (files / "jec" / "deep" / "a.txt").write_text("1")
    here, there = Dependencies.of(False, [files / "jec"]), Dependencies.of(False, [f"file://{files}/factor.txt"])
    before = here.hashes(), there.hashes()
    assert before == (here.hashes(), there.hashes())
    (files / "jec" / "deep" / "a.txt").write_text("2")
    (files / "factor.txt").write_text("3")
    assert here.hashes() != before[0]
    assert there.hashes() != before[1]


def test_what_depends_and_trust_take(files):
    with pytest.raises(CheckpointError) as caught:
        run(files, checkpoint=files / "cp", depends=[files / "faktor.txt"])
    assert f"depends= names '{files}/faktor.txt', which cannot be read: FileNotFoundError" in str(caught.value)
    assert "Nearest names there: factor.txt. A text that is no path goes into a tuple: depends=[(" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"depends= takes a list of files and values .* depends=\['a.txt'\]"):
        run(files, checkpoint=files / "cp", depends="a.txt")
    with pytest.raises(CheckpointError, match=r"depends\[0\] cannot tell whether it is as it was: .*\(lock\).*pickled"):
        run(files, checkpoint=files / "cp", depends=[threading.Lock()])
    with pytest.raises(CheckpointError, match=r"trust= takes True, or a list of names .* not 3"):
        run(files, checkpoint=files / "cp", trust=3)


def test_the_report_tells_it(files):
    _, report = run(files)
    assert report.untracked == report.provenance["untracked"]
    assert len(report.untracked) == 1
    assert f"A checkpoint cannot track: {report.untracked[0]}" in repr(report)
    assert "A checkpoint cannot track: " in report._repr_html_()
    report.save(files / "report.json")
    assert hg.Report.load(files / "report.json").untracked == report.untracked
    _, report = run(files, Locked)
    assert repr(report).endswith("(and 1 more: report.untracked)")


def test_a_report_to_resume_from_asks_too(files):
    (files / "factor.txt").write_text("none")
    with pytest.raises(ValueError, match="could not convert") as caught:
        run(files)
    (files / "factor.txt").write_text("2")
    with pytest.raises(ResumeError, match="The report to resume from cannot track all that its results depend on"):
        run(files, resume=caught.value.report)
    assert run(files, resume=caught.value.report, trust=True)[0] == {"sum": 120.0}


TABLE = {"up": 2.0}


def scaled(x):
    return x * TABLE["up"]


def from_a_file(x, path):
    with open(path) as file:
        return x * float(file.read())


def test_of_recorded_functions(files, monkeypatch):
    """With `hg.compute`, `hg.submit` and `hg.Runner` as with `hg.run`."""

    def total(function, *args):
        events = hg.open(files / "a.parquet", schema="nanoaod")
        return ak.sum(hg.map_partitions(function, events.MET.pt, *args))

    options = {**QUIET, "checkpoint": files / "cp"}
    assert hg.compute(total(scaled), **options) == 120.0
    monkeypatch.setitem(TABLE, "up", 3.0)
    with pytest.raises(CheckpointError, match="is of another analysis"):
        hg.compute(total(scaled), **options)
    opened, options = total(from_a_file, str(files / "factor.txt")), {**options, "checkpoint": files / "other"}
    with pytest.raises(CheckpointError, match=r"(?s)from_a_file opens a file .* trust="):
        hg.compute(opened, **options)
    assert hg.compute(opened, depends=[files / "factor.txt"], **options) == 120.0
    handle = hg.submit(opened, depends=[files / "factor.txt"], **{**options, "executor": "threads"})
    assert handle.result() == 120.0
    assert all(row.stored for row in handle.report.rows)
    options = {"checkpoint": files / "third", "trust": True}
    runner = hg.Runner(executor="serial", options=options, progress=False, eager=True)
    fileset = {"a": [files / "a.parquet"]}
    assert runner(fileset, processor_instance=Corrected(str(files / "factor.txt"))) == {"sum": 120.0}


def test_nothing_is_asked_about_what_is_traced(files):
    """A value that `process` reads while it is traced is in the graph, by its value."""

    class Traced(Corrected):
        def process(self, events):
            return {"sum": ak.sum(events.MET.pt * self.factor(), axis=0)}

    out, report = run(files, Traced, checkpoint=files / "cp", eager=False)
    assert (out["sum"], report.untracked) == (120.0, [])
    (files / "factor.txt").write_text("3")
    with pytest.raises(CheckpointError, match="is of another analysis"):
        run(files, Traced, checkpoint=files / "cp", eager=False)


def test_functions_that_make_the_data(files, monkeypatch):
    """They are pickled by their name, but their code and what they use counts."""

    def total():
        return ak.sum(hg.from_map(ones, [2, 3]).x)

    options = {**QUIET, "checkpoint": files / "cp"}
    assert hg.compute(total(), **options) == 10.0
    monkeypatch.setitem(TABLE, "up", 3.0)
    with pytest.raises(CheckpointError, match="is of another analysis"):
        hg.compute(total(), **options)
    monkeypatch.undo()
    assert hg.compute(total(), **options) == 10.0
    paths = [str(files / "factor.txt")] * 2
    with pytest.raises(CheckpointError, match=r"(?s)read opens a file whose name is known only when it runs"):
        hg.compute(ak.sum(hg.from_map(read, paths).x), **{**options, "checkpoint": files / "other"})


def ones(n):
    return ak.Array({"x": [TABLE["up"]] * n})


def read(path):
    with open(path) as file:
        return ak.Array({"x": [float(file.read())]})

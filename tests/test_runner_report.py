"""The report: what it holds, shows and keeps; provenance; the estimate of memory."""

import json
import os
import pickle
import subprocess
import sys

import awkward as ak
import hist
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import DamagedFileError, IncompleteWarning, MemoryBudgetError, ResumeError
from hepgraph.plan.rows import Row
from hepgraph.processor.memory_budget import check_budget, estimate, readable
from hepgraph.runner.compute import passes
from hepgraph.runner.provenance import git_state
from hepgraph.runner.report import Report

SAMPLE = "data/sample.root"


class Met(hg.Processor):
    """A small analysis."""

    def __init__(self, cut=20):
        self.cut = cut

    def process(self, events):
        met = events.MET.pt[events.MET.pt > self.cut]
        return {"h": hg.Hist.new.Reg(10, 0, 100, name="met").Double().fill(met)}


def run(**options):
    options = {"executor": "serial", "progress": False, "step_size": 500, "report": True, **options}
    return hg.run(Met(), {"a": [SAMPLE]}, **options)


@pytest.fixture(scope="module")
def report():
    return run()[1]


def test_a_report_is_a_sequence_of_its_rows(report):
    assert len(report) == 16
    assert list(report) == report.rows
    assert report[0] is report.rows[0]
    assert report[-2:] == report.rows[-2:]
    assert Report()
    assert list(Report()) == []


def test_as_a_dataframe(report):
    pytest.importorskip("pandas", reason="needs pandas")
    frame = report.to_pandas()
    assert list(frame["start"]) == [row.start for row in report]
    assert {"dataset", "path", "status", "bytes", "line"} <= set(frame.columns)


def test_rows(report):
    assert [(row.start, row.stop, row.events, row.status, row.tries) for row in report.rows] == [
        (start, start + 500, 500, "done", 1) for start in range(0, 8000, 500)
    ]
    for row in report.rows:
        assert row.dataset == "a"
        assert row.names == ("MET_pt",)
        assert row.bytes == 500 * 4
        assert row.tree == "Events"
        assert row.memory > 10_000_000
        assert f":{os.getpid()}/MainThread" in row.worker
        assert min(row.open_seconds, row.read_seconds, row.compute_seconds, row.merge_seconds) >= 0
        assert row.range.endswith(f"sample.root:Events[{row.start}:{row.stop}]")
    assert report.failed == []
    assert report.summary() == ""


def test_provenance(report):
    about = report.provenance
    assert about["processor"] == "Met"
    assert about["parameters"] == {"cut": "20"}
    assert len(about["code"]) == 40
    assert list(about["plans"]) == ["a"]
    assert len(about["plans"]["a"]) == 40
    assert {"hepgraph", "awkward", "numpy", "uproot"} <= set(about["versions"])
    assert about["python"] == ".".join(map(str, sys.version_info[:3]))
    assert run()[1].provenance["plans"] == about["plans"]


def test_the_state_of_git(tmp_path):
    def git(*words):
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e", *words], check=True, capture_output=True
        )

    assert git_state(tmp_path) == {}
    git("init", "-b", "main")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-m", "one")
    state = git_state(tmp_path)
    assert (state["branch"], state["changed"]) == ("main", [])
    assert len(state["commit"]) == 40
    (tmp_path / "a.py").write_text("2")
    assert git_state(tmp_path)["changed"] == ["a.py"]


def incomplete():
    rows = [
        Row("a", "/data/x.root", 0, 10, 10, ("MET_pt",), 80, 0.1, 0.2, tree="Events"),
        Row("a", "/data/x.root", 10, 20, 0, how="", status="skipped", tries=4, error="SourceError: no <answer>"),
        Row("b", "/data/y.root", 0, 0, 0, how="", status="skipped", error="MissingFileError: No such file"),
    ]
    return Report(rows, 20, ["a note & more"], {"processor": "Met"}, [(0, 0, 0), (0, 1, 10), (1, 0, 0)])


def test_an_incomplete_report():
    report = incomplete()
    report.check()
    assert not report.complete
    assert [row.lost for row in report.failed] == [10, 0]
    assert report.summary() == (
        "The result is INCOMPLETE. Not in it: 10 of 20 events (1 range) and all events of 1 file that could not be "
        "opened; the first is /data/x.root[10:20]: SourceError: no <answer>"
    )
    assert repr(report) == (
        "<hepgraph.Report 10 events (INCOMPLETE, 20 expected), 3 ranges, 0.30 s>\n"
        "skipped: /data/x.root[10:20]: SourceError: no <answer>\n"
        "skipped: /data/y.root: MissingFileError: No such file\n"
        "a note & more"
    )
    assert report.table(failed=True).splitlines()[1].split() == (
        [
            "a",
            "x.root",
            "10:20",
            "0",
            "0",
            "0.0",
            "0.000",
            "0.000",
            "skipped,",
            "4",
            "tries:",
            "SourceError:",
            "no",
            "<answer>",
        ]
    )
    page = report._repr_html_()
    assert "no &lt;answer&gt;" in page
    assert "a note &amp; more" in page
    assert page.count("<tr") == 4
    assert "#b00020" in page
    assert "#b00020" not in run()[1]._repr_html_()


@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_on_disk(report, tmp_path, suffix):
    for each in (report, incomplete()):
        path = tmp_path / f"report.{suffix}"
        each.save(path)
        again = Report.load(path)
        assert again.rows == each.rows
        assert again.notes == each.notes
        assert again.complete == each.complete
        assert again.provenance == json.loads(json.dumps(each.provenance))
        assert repr(again) == repr(each)
    with pytest.raises(ResumeError, match="comes from a file or another process, without the analysis"):
        again.replay(again.rows[0])


def test_pickles(report):
    again = pickle.loads(pickle.dumps(report))
    assert again.rows == report.rows
    assert again.complete


def test_on_disk_elsewhere(report):
    report.save("memory://reports/report.json")
    assert Report.load("memory://reports/report.json").rows == report.rows


def test_no_report(report, tmp_path):
    with pytest.raises(ValueError, match=r"written to a \.json or a \.parquet file, not to 'report\.txt'"):
        report.save("report.txt")
    (tmp_path / "a.json").write_text('{"rows": 3}')
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    for name in ("a.json", "a.parquet"):
        with pytest.raises(ResumeError, match="holds no report of hepgraph"):
            Report.load(tmp_path / name)


def test_replay(report):
    (partial,) = report.replay(report.rows[1])
    assert sum(h.sum(flow=True) for h in partial.values()) > 0


# memory


def big(events):
    axes = hg.Hist.new.Reg(998, 0, 200, name="met").Reg(998, 0, 200, name="sumet")
    return {"h": axes.Double().fill(events.MET.pt, events.MET.pt), "pt": events.Muon.pt}


def test_a_budget_that_will_not_do():
    calls = []

    def process(events):
        x = hg.map_partitions(lambda pt: calls.append(1) or pt, events.MET.pt, meta=ak.Array(np.zeros(0, "f4")))
        axes = hg.Hist.new.Reg(998, 0, 200, name="met").Reg(998, 0, 200, name="sumet")
        return {"h": axes.Double().fill(x, x)}

    with pytest.raises(MemoryBudgetError) as caught:
        hg.run(
            process, {"a": [SAMPLE]}, memory="10 MB", executor=hg.executors.Threads(4), progress=False, step_size=100
        )
    assert not calls
    assert isinstance(caught.value, MemoryError)
    assert str(caught.value) == (
        "This run would take about 160 MB, and memory= allows 10 MB. It was not begun.\n"
        "  160 MB = 20 x 8 MB: the histogram of met, sumet\n"
        "  4.84 kB = 4 x 1.21 kB: the columns of the longest range, and what is made of them\n"
        "What helps: fewer bins or axes, fewer than 4 workers."
    )


def test_a_budget_that_will_do():
    out, report = run(memory="100 MB")
    assert out["h"].sum() > 0
    assert 0 < report.provenance["memory"]["estimated"] < 100_000
    with pytest.raises(ValueError, match="not an amount of memory"):
        run(memory="much")


CHUNKS = []


class Loops(hg.Processor):
    """What cannot be recorded: a histogram, an array of all events, a list of one number a chunk."""

    def process(self, events):
        CHUNKS.append(len(events))
        axes = hist.Hist.new.Reg(998, 0, 200, name="met").Reg(998, -4, 4, name="phi")
        h = axes.Double().fill(np.asarray(events.MET.pt), np.asarray(events.MET.phi))
        return {"h": h, "more": (events.MET.pt, [float(len(events))])}


def test_a_processor_that_runs_eagerly_is_tried_on_a_few_events():
    CHUNKS.clear()
    process, options = Loops(), {"progress": False, "executor": "serial", "eager": True}
    with pytest.raises(MemoryBudgetError) as caught:
        hg.run(process, {"a": [SAMPLE]}, memory="10 MB", step_size=2000, **options)
    trial = [1000, 250, 250, 250, 250]  # all at once, and whether the parts add up to that
    assert trial == CHUNKS
    assert str(caught.value) == (
        "This run would take about 24.1 MB, and memory= allows 10 MB. It was not begun.\n"
        "  24 MB = 3 x 8 MB: what adds up in the output for a, as its first 1,000 events have it\n"
        "  64 kB = 2 x 32 kB: what grows with the events in the output for a, as its first 1,000 events have it\n"
        "  48 kB: the columns of the longest range, and what is made of them\n"
        "What helps: fewer bins or axes."
    )
    out, report = hg.run(process, {"a": [SAMPLE]}, memory="100 MB", step_size=2000, report=True, **options)
    assert [*trial, *trial, 2000, 2000, 2000, 2000] == CHUNKS
    assert out["h"].sum(flow=True) == report.events == 8000
    assert out["more"][0].nbytes == 32_000


def test_first_events_that_cannot_be_read(fileset, faults, no_waiting):
    """They are an error as in the run; where they are to be skipped, what they give is not known."""

    def process(events):
        return {"n": len(events), "sum": float(np.sum(events.MET.pt))}

    options = {"executor": "serial", "progress": False, "step_size": 10, "memory": "1 GB", "report": True}
    options["eager"] = True
    faults.add("a", 0, DamagedFileError("bad"))
    with pytest.raises(DamagedFileError, match="bad"):
        hg.run(process, fileset, **options)
    with pytest.warns(IncompleteWarning):
        out, report = hg.run(process, fileset, on_error="skip", **options)
    assert out["n"] == 110
    assert report.provenance["memory"]["estimated"] > 0


def test_estimates_are_of_the_right_size():
    events = hg.open(SAMPLE)
    made, _ = passes(big(events))
    parts = {part.what.split()[1]: part for part in estimate(made, 1)}
    assert parts["histogram"].bytes == 1000 * 1000 * 8
    actual = ak.to_packed(events.Muon.pt.compute()).nbytes
    assert actual / 3 < parts["array"].bytes < 3 * actual
    assert check_budget(made, 1, 10**9)[1] == sum(part.total for part in parts.values())
    assert readable(999) == "999 B"
    assert readable(2_500_000_000_000_000) == "2.5e+03 TB"

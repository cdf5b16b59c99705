"""Batch systems: the job scripts that dask-jobqueue makes, and runs on its clusters, without a queue."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import pytest
from clusters import CLOSING
from hepgraph.processors import adl
from queueing import queue_in

import hepgraph as hg

pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue")

ROOT = Path(__file__).resolve().parents[1]
FILESET = {"sample": [str(ROOT / "data" / "sample.root")]}
SAYS = ROOT / "tests" / "snapshots" / "job_scripts.txt"

pytestmark = [
    *CLOSING,
    pytest.mark.filterwarnings("ignore:Port 8787 is already in use"),
]


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A machine with batch systems, whose workers find what this process does."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{queue_in(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    return tmp_path / "bin"


def blocks(heading):
    """The Python code of one section of the README."""
    section = (ROOT / "README.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_readme_from_top_to_bottom(queue, monkeypatch, tmp_path, capsys):
    """Local, LocalCluster, SLURM and HTCondor in ten lines each; all give the same, and say what a job is."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    (analysis,) = blocks("An analysis")
    scope = {"__name__": "__main__"}
    exec("import awkward as ak\nimport hepgraph as hg\n" + analysis.replace('"processes"', '"serial"'), scope)
    plain, found = scope["out"], blocks("Anywhere")
    assert [next(iter(re.findall(r"(\w+)Cluster\(", code)), "") for code in found] == ["", "Local", "SLURM", "HTCondor"]
    scripts = []
    for code in found:
        assert len(code.splitlines()) <= 10
        scope["out"] = scope["report"] = None
        exec(code, scope)
        assert scope["report"].complete
        assert scope["out"]["mass"] == plain["mass"]
        assert scope["out"]["n"] == plain["n"]
        scripts.append(capsys.readouterr().out)
        for path in (tmp_path / "checkpoint").glob("*/*.part"):
            path.unlink()  # so that the next one has something to do
    text = "----\n".join(map(told, scripts[2:]))
    if os.environ.get("HEPGRAPH_UPDATE_SNAPSHOTS"):
        SAYS.write_text(text)
    assert text == SAYS.read_text()


def told(script):
    """A job script without what differs from machine to machine."""
    script = re.sub(r"[^\s']+/python[\d.]*", "<python>", script)
    return re.sub(r"tcp://\S+", "<scheduler>", script)


def test_jobs_of_dask_jobqueue_to_the_last_bit():
    """Its own local jobs: two workers, started by their job scripts."""
    from dask_jobqueue.local import LocalCluster

    plain = hg.run(adl.AllQueries(), FILESET, executor="serial", step_size=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what dask-jobqueue uses
        cluster = LocalCluster(cores=1, memory="1 GB", scheduler_options={"dashboard_address": ":0"})
    with cluster:
        cluster.scale(jobs=2)
        out, report = hg.run(adl.AllQueries(), FILESET, executor=cluster, step_size=2000, report=True)
    assert report.complete
    assert all(out[name] == plain[name] for name in plain)

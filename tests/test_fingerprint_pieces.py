"""The names of what was changed, where an analysis is another one: functions, classes, globals, attributes, modules."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import CheckpointError
from hepgraph.fingerprint import changed, pieces

SAMPLE = str(Path(__file__).resolve().parents[1] / "data" / "sample.root")
ANALYSIS = """
import functools
import awkward as ak
import numpy as np
import helping
from helping import scale

K = 2.0
WORKING_POINTS = {"loose": 0.1, "tight": 0.5}
EDGES = [10, 20]

def own(x):
    return x * K

def deep(x):
    return helping.inner(x)

class Base:
    cut = 20

    def passing(self, x):
        return x > self.cut - EDGES[0]

class Mine(Base):
    def __init__(self):
        self.shift, self.table = 1, np.ones(3)

    def process(self, events):
        x = events.MET.pt[self.passing(events.MET.pt)]
        y = own(x) + scale(x) + deep(x) + WORKING_POINTS["loose"] + helping.T + self.shift
        return {"sum": ak.sum(y)}
"""
HELPING = """
T = 5
U = 7

def scale(x):
    return x * U

def inner(x):
    return scale(x) + 1
"""
EDITS = {
    "K = 2.0|K = 3.0": "analysing.K",
    "x * K|x / K": "analysing.own",
    "cut = 20|cut = 30": "analysing.Base.cut",
    "x > self.cut|x < self.cut": "analysing.Base.passing",
    '"loose": 0.1|"loose": 0.2': "analysing.WORKING_POINTS['loose']",
    "[10, 20]|[10, 30]": "analysing.EDGES",
    "own(x) +|own(x) -": "analysing.Mine.process",
    "own(x) +|": "analysing.Mine.process",
    "def process|def more(self):\n        pass\n\n    def process": "analysing.Mine",
    "self.shift, self.table = 1|self.shift, self.table = 2": "analysing.Mine.__init__, analysing.Mine.shift",
    "T = 5|T = 6": "helping.T",
    "U = 7|U = 8": "helping.U",
    "+ 1|+ 2": "helping.inner",
    "K = 2.0|K = 2.0  # as it was": "",
    "import functools|": "",
}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Imports the analysis anew, edited."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def loaded(edit="|"):
        before, after = edit.split("|")
        for name, text in (("helping", HELPING), ("analysing", ANALYSIS)):
            sys.modules.pop(name, None)
            (tmp_path / f"{name}.py").write_text(text.replace(before, after, 1) if before else text)
        importlib.invalidate_caches()
        return importlib.import_module("analysing").Mine()

    yield loaded
    for name in ("helping", "analysing"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("edit", "named"), EDITS.items())
def test_the_names_of_edits(load, edit, named):
    before = pieces(load())
    assert changed(before, pieces(load())) == ""
    assert changed(before, pieces(load(edit))) == named


def test_another_process_has_the_same(load, tmp_path):
    here = pieces(load())
    code = (
        "import json, analysing; from hepgraph.fingerprint import pieces as of; print(json.dumps(of(analysing.Mine())))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert changed(here, json.loads(done.stdout)) == ""


def test_what_came_and_went_and_versions():
    assert changed({"a": "1"}, {"a": "1", "b": "2"}) == "b is new"
    assert changed({"a": "1", "b": "2"}, {"a": "1"}) == "b is gone"
    assert changed(dict.fromkeys("abcdef", "1"), dict.fromkeys("abcdef", "2")) == "a, b, c, d and 2 more"
    assert {"the version of Python", "the version of numpy"} <= set(pieces(lambda x: np.sum(len(x))))


@pytest.mark.parametrize("eager", [False, True])
def test_a_checkpoint_says_what_was_changed(load, tmp_path, eager):
    def run(edit="|"):
        fileset = {"a": [SAMPLE]}
        options = {"executor": "serial", "progress": False, "checkpoint": tmp_path / "cp", "eager": eager}
        return hg.run(load(edit), fileset, **options)

    assert run() == run("K = 2.0|K = 2.0  # as it was")
    with pytest.raises(CheckpointError, match=r"the code of the processor has changed, or what it uses: helping\.U \("):
        run("U = 7|U = 8")
    with pytest.raises(CheckpointError, match=r"or what it uses: analysing\.own \("):
        run("x * K|x / K")

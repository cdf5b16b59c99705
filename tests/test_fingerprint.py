"""Hashes of analyses: the same in another process, another after an edit that may matter."""

import functools
import subprocess
import sys
import textwrap
import threading

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import CheckpointError
from hepgraph.fingerprint import digest
from hepgraph.functions.packages import users_own
from hepgraph.processor.eager import EagerPass
from hepgraph.runner.checkpoint import print_of, uses_place
from hepgraph.runner.compute import passes

HEAD = """
import numpy as np, awkward as ak, hepgraph as hg
from hepgraph.runner.checkpoint import print_of
from hepgraph.runner.compute import passes
from hepgraph.fingerprint import digest
"""
ANALYSIS = """
SCALE = {"up": 1.1, "down": 0.9}
class Cut:
    low = 20
    def apply(self, x):
        return x > self.low
def scaled(pt, by=1.0):
    names = {"b", "a", "c", "dd"}
    return pt * SCALE["up"] * by * len(names)
class Analysis(hg.Processor):
    def __init__(self, cut):
        self.cut, self.tools = cut, [Cut(), np.arange(3)]
    def process(self, events):
        pt = hg.map_partitions(scaled, events.MET.pt)
        return {"h": hg.Hist.new.Reg(10, 0, 100, name="pt").Weight().fill(pt[pt > self.cut])}
"""
TAIL = """
events = hg.open("data/sample.root")
(each,), _ = passes(Analysis(20).process(events))
print(print_of(each).key, digest(Analysis(20)))
"""


def hashes(analysis, seed="0"):
    done = subprocess.run(
        [sys.executable, "-c", HEAD + analysis + TAIL],
        capture_output=True, text=True, env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"}, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_the_same_in_other_processes():
    assert hashes(ANALYSIS, "1") == hashes("\n\n# moved down\n" + ANALYSIS, "2")


def in_here(text):
    """The hashes of an analysis in this process."""
    space = {"__name__": "__main__"}
    exec(HEAD + text, space)
    events = hg.open("data/sample.root")
    (each,), _ = passes(space["Analysis"](20).process(events))
    return print_of(each).key, digest(space["Analysis"](20))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("* by", "/ by"),
        ('"up": 1.1', '"up": 1.2'),
        ("by=1.0", "by=2.0"),
        ('SCALE["up"]', 'SCALE["down"]'),
        ("pt > self.cut", "pt >= self.cut"),
        ("Reg(10", "Reg(11"),
        ("Weight()", "Double()"),
        ('name="pt"', 'name="met"'),
    ],
)
def test_edits_that_change_the_plan(old, new):
    assert in_here(ANALYSIS)[0] != in_here(ANALYSIS.replace(old, new))[0]


@pytest.mark.parametrize(
    ("old", "new"), [("low = 20", "low = 21"), ("x > self.low", "x < self.low"), ("arange(3)", "arange(4)")]
)
def test_edits_that_change_the_processor_alone(old, new):
    before, after = in_here(ANALYSIS), in_here(ANALYSIS.replace(old, new))
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_another_parameter_is_another_plan():
    space = {"__name__": "__main__"}
    exec(HEAD + ANALYSIS, space)
    events = hg.open("data/sample.root")
    keys = [print_of(passes(space["Analysis"](cut).process(events))[0][0]).key for cut in (20, 20.0, 20.5, 21)]
    assert keys[0] == keys[1], "one mask"
    assert len(set(keys)) == 3


def test_other_files_and_other_ranges_are_the_same_plan():
    events = hg.open("data/sample.root")
    other = hg.open(["data/sample.root"], step_size=10, metadata={"dataset": "b"})
    assert print_of(passes(ak.sum(events.MET.pt))[0][0]).key == print_of(passes(ak.sum(other.MET.pt))[0][0]).key
    keys = [print_of(passes(ak.sum(events.MET.pt), engine)[0][0]).key for engine in ("auto", "kernel", "interpreter")]
    assert keys[0] == keys[1] != keys[2]


def test_what_counts_events_of_all_files_says_so():
    events = hg.open("data/sample.root")
    beside = ak.Array(np.arange(events.source.entries))
    assert not uses_place(passes(ak.sum(events.MET.pt))[0][0])
    assert uses_place(passes(ak.sum(events.MET.pt * beside))[0][0])
    assert uses_place(passes(ak.local_index(events.MET.pt, axis=0))[0][0])


def test_eager_passes_go_by_the_code():
    events = hg.open("data/sample.root")

    def one(events):
        return {"n": len(events)}

    def two(events):
        return {"n": len(events) + 1}

    keys = [print_of(EagerPass(events, each)).key for each in (one, two, functools.partial(one))]
    assert len(set(keys)) == 3
    again = hg.open("data/sample.root", metadata={"year": 2018})
    assert print_of(EagerPass(again, one)).key != keys[0]


def test_functions_of_other_modules_of_the_user_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "corrections_for_test.py"
    text = textwrap.dedent("""
    factor = 2
    def inner(x): return factor * x
    def outer(x): return inner(x) + 1
    """)

    def digested(source):
        path.write_text(source)
        sys.modules.pop("corrections_for_test", None)
        import corrections_for_test

        users_own.cache_clear()
        assert users_own("corrections_for_test")

        def process(x):
            return corrections_for_test.outer(x)

        return digest(process)

    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        assert digested(text) == digested(text + "\n# a comment\n")
        assert digested(text) != digested(text.replace("factor = 2", "factor = 3 "))
        assert digested(text) != digested(text.replace("+ 1", "+ 22"))
    finally:
        sys.dont_write_bytecode = before


def test_things_that_lead_back_to_themselves():
    loop = {"a": 1}
    loop["self"] = loop
    assert digest(loop) == digest(loop)

    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert digest(even) != digest(odd)


def test_what_has_no_content_says_where(tmp_path):
    with pytest.raises(CheckpointError, match=r"Holder\.lock \(lock\) has no content that tells it from"):
        digest(Holder())


class Holder:
    """Holds a lock."""

    def __init__(self):
        self.lock = threading.Lock()

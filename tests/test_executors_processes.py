"""Processes: no guard in a script, nothing lost when a child dies, errors as they were raised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import KilledError, ShippingError
from hepgraph.executors import Processes
from hepgraph.executors.interface import Work

ARRAY = ak.Array({"x": np.arange(40.0), "n": np.arange(40)})


class Numbers(Work):
    """Squares; kills its process on some numbers, as often as told."""

    def __init__(self, folder, deadly=()):
        self.folder, self.deadly = str(folder), dict(deadly)

    def __call__(self, task):
        for i in range(self.deadly.get(task, 0)):
            try:
                os.close(os.open(f"{self.folder}/{task}-{i}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task


KILLED = (
    "The range 7 ended the process that worked on it 3 times: it was ended by SIGKILL, as the system does when "
    "memory runs out."
)


def test_a_child_that_dies_costs_nothing_but_its_range(tmp_path):
    work = Numbers(tmp_path, deadly={3: 1, 7: 99})
    work.lost = lambda task, error: (task, str(error))
    done = dict(Processes(2).run(work, range(12)))
    assert done == {i: i * i for i in range(12)} | {7: (7, KILLED)}
    assert len(list(tmp_path.iterdir())) == 1 + 3, "tried three times"


def test_a_range_that_always_kills_is_named(tmp_path, limit):
    limit(tries=1)
    with pytest.raises(KilledError) as caught:
        list(Processes(1).run(Numbers(tmp_path, deadly={7: 99}), [7, 8]))
    assert str(caught.value) == KILLED.replace("3 times", "1 times")


def test_the_child_of_a_computation_killed_from_outside(tmp_path):
    """The sum is that of the serial run, to the last bit, with a child killed while it is at work."""

    def slow(x, folder):
        try:
            os.close(os.open(f"{folder}/once", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return x * 0.1
        os.kill(os.getpid(), signal.SIGKILL)
        return x

    events = hg.from_awkward(ARRAY, npartitions=6)
    x = hg.map_partitions(slow, events.x, str(tmp_path), meta=ARRAY.x[:0])
    tree = {"sum": ak.sum(x), "h": hg.Hist.new.Reg(5, 0, 4, name="x").Weight().fill(x, weight=x)}
    out, report = hg.compute(tree, executor=Processes(2), report=True)
    plain = hg.compute(tree, executor="serial")
    assert out["sum"] == plain["sum"]
    assert out["h"] == plain["h"]
    assert report.complete


def test_errors_of_the_user_come_as_they_were():
    def bad(x):
        raise KeyError("mine")

    events = hg.from_awkward(ARRAY, npartitions=2)
    with pytest.raises(KeyError, match="mine") as caught:
        hg.map_partitions(bad, events.x, meta=ARRAY.x[:0]).compute(executor=Processes(1))
    assert any("[0:20]" in note or "[20:40]" in note for note in caught.value.__notes__)
    assert "in bad" in str(caught.value.__cause__), "the traceback of the other process"


def test_an_exception_that_does_not_pickle():
    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    def work(task):
        raise Odd("this", "that")

    with pytest.raises(hg.errors.ExecutorError, match="Odd: this and that"):
        list(Processes(1).run(Work.of(work), [1]))


def test_stopping_early_ends_the_children(tmp_path):
    results = Processes(2).run(Numbers(tmp_path), range(1000))
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("hepgraph-process")]


def test_no_tasks():
    assert list(Processes(2).run(Work.of(len), [])) == []


def test_a_script_without_a_guard(tmp_path):
    """No `if __name__ == "__main__"`, a class of its own, a module beside it that is not installed."""
    (tmp_path / "beside.py").write_text("FACTOR = 3\ndef times(x):\n    return x * FACTOR\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import awkward as ak, hepgraph as hg, beside\n"
        "class Mine:\n"
        "    def __init__(self, n): self.n = n\n"
        "    def __add__(self, other): return Mine(self.n + other.n)\n"
        "def process(events):\n"
        "    total = float(ak.sum(events.x))\n"
        "    return {'mine': Mine(len(events)), 'sum': beside.times(total)}\n"
        "ak.to_parquet(ak.Array({'x': [1.0, 2.0, 3.0, 4.0]}), 'four.parquet')\n"
        "out = hg.run(process, {'a': ['four.parquet']}, schema='base', step_size=2, executor='processes')\n"
        "print(out['mine'].n, out['sum'], isinstance(out['mine'], Mine))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "4 30.0 True\n", done.stderr


class Locked(hg.Processor):
    """A processor with an attribute that cannot be pickled, and that cannot be recorded."""

    def __init__(self):
        self.lock = threading.Lock()

    def process(self, events):
        return {"n": float(ak.sum(events.nMuon))}


def test_what_cannot_be_pickled_is_named():
    sample = Path(__file__).resolve().parents[1] / "data" / "sample.root"
    with pytest.raises(ShippingError) as caught:
        hg.run(Locked(), {"a": [str(sample)]}, executor="processes", progress=False, eager=True)
    assert str(caught.value) == (
        "Locked.lock cannot be sent to another process: it is a _thread.lock (cannot pickle '_thread.lock' object).\n"
        "For a function of hg.map_partitions, make it in another, setup=make: make() is called once in each process, "
        "and the function gets what it returned first. Else make it inside of process(), or leave it out of what is "
        "pickled with __getstate__."
    )
    handle = threading.Lock()

    def uses(x):
        return handle, x

    with pytest.raises(ShippingError, match=r"the variable 'handle' of .*uses cannot be sent"):
        list(Processes(1).run(Work.of(uses), [1]))
    with pytest.raises(ShippingError, match="the global 'GLOBAL' that with_global uses cannot be sent"):
        list(Processes(1).run(Work.of(with_global), [1]))
    with pytest.raises(ShippingError, match=r"\['deep'\].*cannot be sent"):
        list(Processes(1).run(Numbers("x", deadly={"deep": handle}), [1]))


GLOBAL = threading.Lock()


def with_global(x):
    return GLOBAL

"""A client that is killed with -9 in the middle: nothing is left of its workers, and the run goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from hepgraph.processors import adl

import hepgraph as hg

pytest.importorskip("distributed")

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample.root"

# The client kills itself just before it stores its n-th result, after it has said what its workers are.
SCRIPT = """
import json, os, signal, psutil
import hepgraph as hg
from hepgraph.io.access import store
from hepgraph.processors import adl

if __name__ == "__main__":
    real, count = os.replace, 0

    def killed(old, new):
        global count
        count += str(new).endswith(".part")
        if count == int(os.environ["AT"]):
            workers = [[each.pid, each.create_time()] for each in psutil.Process().children(recursive=True)]
            with open(os.environ["WORKERS"], "w") as file:
                json.dump(workers, file)
            os.kill(os.getpid(), signal.SIGKILL)
        real(old, new)

    store.os.replace = killed
    hg.run(adl.AllQueries(), **json.loads(os.environ["OPTIONS"]))
"""


def is_there(pid: int, born: float) -> bool:
    """Whether a process runs; not one that has ended, and that nobody has asked about yet."""
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def check_gone(workers: list[list[float]]) -> None:
    """That processes end by themselves within half a minute."""
    for _ in range(300):
        left = [pid for pid, born in workers if is_there(int(pid), born)]
        if not left:
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"{len(left)} of {len(workers)} workers are left")


@pytest.mark.parametrize(("how", "at"), [("processes", 6), ("dask", 4)])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_killed_in_the_middle(tmp_path, how, at):
    options = {"fileset": {"sample": [str(SAMPLE)]}, "step_size": 1000, "progress": False}
    kept = {**options, "checkpoint": str(tmp_path / "cp")}
    env = {**os.environ, "AT": str(at), "OPTIONS": json.dumps({**kept, "executor": how}),
           "WORKERS": str(tmp_path / "workers"), "PYTHONWARNINGS": "ignore"}  # fmt: skip
    (tmp_path / "script.py").write_text(SCRIPT)
    with open(tmp_path / "log", "w") as log:  # a pipe would be held by the workers
        done = subprocess.run([sys.executable, tmp_path / "script.py"], env=env, stdout=log, stderr=log, check=False)
    assert done.returncode == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert len(list((tmp_path / "cp").glob("*/*.part"))) == at - 1
    workers = json.loads((tmp_path / "workers").read_text())
    assert workers
    check_gone(workers)
    plain = hg.run(adl.AllQueries(), executor="serial", **options)
    out, report = hg.run(adl.AllQueries(), executor="serial", report=True, **kept)
    assert report.complete
    assert sum(row.stored for row in report.rows) == at - 1
    assert len(report.rows) > at
    assert list(out) == list(plain)
    assert all(out[name] == plain[name] for name in plain)


STUCK = """
import os, time
import awkward as ak
import hepgraph as hg

def stuck(x):
    with open(os.environ["WORKERS"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)
    return x

hg.map_partitions(stuck, hg.from_awkward(ak.Array([1.0, 2.0])), meta=ak.Array([1.0])).compute(
    executor="processes", progress=False
)
"""


def test_a_child_in_the_middle_of_something_long(tmp_path):
    """It does not wait for the end of its range to see that its parent has gone."""
    (tmp_path / "script.py").write_text(STUCK)
    env = {**os.environ, "WORKERS": str(tmp_path / "pid")}
    client = subprocess.Popen([sys.executable, tmp_path / "script.py"], env=env)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert client.poll() is None
        threading.Event().wait(0.05)
    child = psutil.Process(int((tmp_path / "pid").read_text()))
    worker = [child.pid, child.create_time()]
    assert child.ppid() == client.pid
    client.kill()
    client.wait()
    check_gone([worker])

"""Faults in real processes, drawn at random: the ADL histograms are as if nothing had happened, or lack what is named.

Workers are killed with -9, files deleted, truncated and replaced by the workers themselves, in the middle of a run.
HEPGRAPH_REAL_FAULTS says how many faults are drawn, HEPGRAPH_SEED from which number.
"""

import os
import random
import shutil
import signal
import warnings
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from clusters import CLOSING
from hepgraph.processors import adl

import hepgraph as hg
from hepgraph.errors import IncompleteWarning

distributed = pytest.importorskip("distributed")

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample.root"
FAULTS = int(os.environ.get("HEPGRAPH_REAL_FAULTS", "3"))
SEED = int(os.environ.get("HEPGRAPH_SEED", "0"))
NAMES = ("a", "b")

pytestmark = [
    *CLOSING,
    pytest.mark.usefixtures("no_waiting"),
]


class Faulty(adl.AllQueries):
    """The ADL queries, and an accident at one of the ranges, by the order in which they come."""

    def __init__(self, folder, kind, when, victim):
        self.folder, self.kind, self.when, self.victim = str(folder), kind, when, str(victim)

    def process(self, events):
        x = hg.map_partitions(accident, events.MET.pt, self.folder, self.kind, self.when, self.victim)
        return {**super().process(events), "pt": ak.sum(x)}


def accident(pt, folder, kind, when, victim):
    """What happens when so many ranges have been worked on."""
    if len(pt) < 3:  # the one on which functions are tried
        return pt
    for i in range(1000):
        try:
            os.close(os.open(f"{folder}/{i}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        if i in when:
            if kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif kind == "deleted":
                os.unlink(victim)
            elif kind == "truncated":
                os.truncate(victim, 1000)
            else:
                os.replace(f"{folder}-other", victim)
        return pt
    raise AssertionError("it does not end")


@pytest.fixture(scope="module")
def cluster():
    """Two workers with nannies."""
    import dask

    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The result of a serial run of each engine, of ranges of each size."""
    made = {}

    def of(engine, step):
        if (engine, step) not in made:
            folder = tmp_path_factory.mktemp("plain")
            made[engine, step] = run(folder, Faulty(folder, "", (), ""), "serial", engine, step)[0]
        return made[engine, step]

    return of


def run(folder, processor, executor, engine, step, **options):
    """A run over copies of the sample in a folder, all in one dataset."""
    for name in NAMES:
        if not (folder / f"{name}.root").exists():
            shutil.copy2(SAMPLE, folder / f"{name}.root")
    fileset = {"all": [folder / f"{name}.root" for name in NAMES]}
    options = {"report": True, "progress": False, **options}
    return hg.run(processor, fileset, executor=executor, engine=engine, step_size=step, **options)


def histograms(rows):
    """The ADL histograms of some ranges of copies of the sample."""
    events = hg.open(SAMPLE, schema="nanoaod")
    at = ak.local_index(events.MET.pt, axis=0)
    whole = hg.compute([adl.AllQueries().process(events[(at >= row.start) & (at < row.stop)]) for row in rows])
    return {name: sum(part[name].values(flow=True) for part in whole) for name in whole[0]} if whole else {}


@pytest.mark.parametrize("seed", range(SEED, SEED + FAULTS))
def test_faults_of_real_processes(tmp_path, seed, cluster, plain):
    rng = random.Random(seed)
    engine, step = rng.choice(["auto", "kernel"]), rng.choice([1000, 2000])
    where = ["processes", "dask"][seed % 2]
    executor = hg.executors.Processes(2) if where == "processes" else hg.executors.Dask(cluster, seconds=0.2)
    kind = rng.choice(["killed", "killed", "deleted", "truncated", "replaced"])
    victim = tmp_path / f"{rng.choice(NAMES)}.root"
    when = tuple(rng.sample(range(2, 8), 2 if kind == "killed" else 1))
    (tmp_path / "done").mkdir()
    (tmp_path / "done-other").write_bytes((SAMPLE.parent / "sample.parquet").read_bytes())
    processor = Faulty(tmp_path / "done", kind, when, victim)
    trusted = {"trust": "tests.test_faults_real.accident"}  # it counts its calls by files
    options = {"checkpoint": tmp_path / "cp", **trusted} if rng.random() < 0.5 else trusted
    wanted = plain(engine, step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        out, report = run(tmp_path, processor, executor, engine, step, on_error="skip", **options)
    if report.complete:
        assert out == wanted, (where, kind)
        return
    assert kind != "killed", "nothing is lost with a worker"
    for name, lost in histograms(report.failed).items():
        np.testing.assert_array_equal(out[name].values(flow=True) + lost, wanted[name].values(flow=True), name)
    assert {row.path for row in report.failed} == {str(victim)}
    assert report.events + sum(row.lost for row in report.failed) == report.expected == 16000
    shutil.copy2(SAMPLE, victim)
    options = options if "checkpoint" in options else {"resume": report, **options}
    out, report = run(tmp_path, processor, executor, engine, step, **options)
    assert report.complete
    assert out == wanted, (where, kind)


def test_a_range_that_always_kills_its_process(tmp_path, limit):
    """The event to blame is left out, alone, and named."""
    limit(tries=1)

    def deadly(x):
        if 13 in np.asarray(x):
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    numbers = hg.from_awkward(ak.Array({"n": np.arange(24)}), npartitions=6)
    n = hg.map_partitions(deadly, numbers.n, meta=ak.Array([1]))
    with pytest.warns(IncompleteWarning, match="1 of 24 events"):
        out, report = hg.compute(
            {"n": n, "sum": ak.sum(n)}, executor=hg.executors.Processes(2), on_error="skip", report=True, progress=False
        )
    assert out["n"].to_list() == [i for i in range(24) if i != 13]
    assert out["sum"] == sum(range(24)) - 13
    assert [(row.start, row.stop, row.status) for row in report.failed] == [(13, 14, "skipped")]
    assert "ended the process that worked on it" in report.failed[0].error

"""Workers of dask that die at any moment, fall silent, or come and go: the same bits, and the report says what was."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from unittest import mock

import awkward as ak
import numpy as np
import pytest
from clusters import CLOSING
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.executors import Dask
from hepgraph.executors.dask_workers import SILENT, Workers

distributed = pytest.importorskip("distributed")

ARRAY = ak.Array({"x": np.random.default_rng(5).normal(0, 1, 400) * 10.0 ** np.arange(400) ** 0.25})
MOST = 2.5  # seconds into a run at which a worker is killed

pytestmark = CLOSING


@pytest.fixture(scope="module")
def cluster():
    """Two workers with nannies, which start anew what is killed."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 3, "distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        yield cluster


def slow(x, seconds):
    time.sleep(seconds)
    return x


def tree(parts, seconds):
    """A sum of floats that depends on the order, and an array, of ranges that take so long."""
    events = hg.from_awkward(ARRAY, npartitions=parts)
    x = hg.map_partitions(slow, events.x, seconds, meta=ARRAY.x[:0])
    return {"sum": ak.sum(x), "all": x}


def processes(client):
    """The process of each of the two workers, by its address, as soon as both answer."""
    while True:
        client.wait_for_workers(2, timeout=60)
        with suppress(OSError):  # one was killed a moment ago
            found = client.run(os.getpid)
            if len(found) == 2:
                return found
        time.sleep(0.05)


def same(out, plain):
    assert out["sum"] == plain["sum"]
    assert ak.array_equal(out["all"], plain["all"])


@pytest.fixture(scope="module")
def plain():
    return hg.compute(tree(20, 0.0), executor="serial", progress=False)


@given(st.floats(0, MOST), st.integers(0, 1))
@settings(max_examples=examples(4), deadline=None)
def test_no_death_of_a_worker_ends_a_run(cluster, plain, moment, which):
    """One of two workers is killed at a drawn moment, from the first message to the last."""
    with distributed.Client(cluster, set_as_default=False) as client:
        victim = sorted(processes(client).values())[which]
        killer = threading.Timer(moment, os.kill, (victim, signal.SIGKILL))
        killer.start()
        try:
            same(hg.compute(tree(20, 0.1), executor=client, progress=False), plain)
        finally:
            killer.join()


def test_the_ranges_of_a_silent_worker_go_to_others(cluster, plain, caplog):
    with distributed.Client(cluster, set_as_default=False) as client:
        address, frozen = min(processes(client).items())
        freezer = threading.Timer(1.0, os.kill, (frozen, signal.SIGSTOP))
        freezer.start()
        try:
            with caplog.at_level(logging.WARNING, "hepgraph"):
                out, report = hg.compute(tree(20, 0.3), executor=Dask(client, seconds=0.5), report=True, progress=False)
        finally:
            freezer.join()
            os.kill(frozen, signal.SIGCONT)
    same(out, plain)
    assert report.complete
    note = next(note for note in report.notes if address in note)  # a busy machine may keep the other silent, too
    assert note.startswith(f"The dask worker {address} has been silent for 8 s, with ")
    assert note.endswith("; others get them as well.")
    assert f"hepgraph: {note}" in caplog.messages


def test_workers_that_come_and_go(cluster, plain):
    """A worker dies each second, and another comes."""
    stop = threading.Event()

    def kill():
        while not stop.wait(1.0):
            if found := [nanny.pid for nanny in cluster.workers.values() if nanny.pid]:
                os.kill(found[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    with distributed.Client(cluster, set_as_default=False) as client:
        processes(client)
        killer.start()
        try:
            out, report = hg.compute(tree(100, 0.06), executor=client, report=True, progress=False)
        finally:
            stop.set()
            killer.join()
    assert report.complete
    assert ak.array_equal(out["all"], plain["all"])
    assert out["sum"] == hg.compute(tree(100, 0.0), executor="serial", progress=False)["sum"]


class Scheduled:
    """A Client that has the workers and heartbeats that it is told."""

    def __init__(self):
        self.beats = {}

    def nthreads(self):
        return dict.fromkeys(self.beats, 2)

    def scheduler_info(self, n_workers):
        return {"workers": {address: {"last_seen": beat} for address, beat in self.beats.items()}}


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["comes", "goes", "beats", "waits"])), max_size=60))
def test_who_is_there(drawn):
    """Against a slow record of all that happened, a second at a time."""
    client, now, born, heard, lives = Scheduled(), 1000.0, {}, {}, []
    workers = Workers(client)
    with mock.patch("time.monotonic", return_value=now) as clock:
        for who, what in drawn:
            now += 1.0
            clock.return_value = now
            name = f"tcp://{who}"
            if what == "comes" and name not in born:
                born[name] = heard[name] = now
            elif what == "goes" and name in born:
                lives.append((now, now - born.pop(name)))
            elif what == "beats" and name in born:
                heard[name] = now
            client.beats = {name: heard[name] for name in born}
            workers.look(oldest=100.0)
            assert workers.silent == {name for name in born if now - heard[name] > SILENT}
            assert workers.threads == 2 * sum(now - heard[name] <= SILENT for name in born)
            assert set(workers.others) == set(born) - workers.silent
            assert workers.churning == (sum(now - at < 10 for at, _ in lives) >= 3)
            recent = [life for at, life in lives if now - at < 10]
            assert not recent or workers.life <= 2 * max(life for _, life in lives)
            if not any(now - at < 20 for at, _ in lives):
                assert workers.life == float("inf"), "what was lost long ago is forgotten"

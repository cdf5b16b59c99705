"""A real dask cluster: the same bits as in this process, whatever happens to its workers."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from clusters import CLOSING
from hepgraph.processors import adl

import hepgraph as hg
from hepgraph.errors import ExecutorError, KilledError, ShippingError, UnreachableError, VersionError
from hepgraph.executors import Dask, pick
from hepgraph.executors.interface import Tree, Work

distributed = pytest.importorskip("distributed")

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample.root"
ARRAY = ak.Array(
    {"x": np.random.default_rng(5).normal(0, 1, 400) * 10.0 ** np.arange(400) ** 0.25, "n": np.arange(400)}
)

pytestmark = CLOSING


@pytest.fixture(scope="module")
def cluster():
    """Two workers with nannies, which start anew what is killed."""
    import dask

    with (
        # a LocalCluster gives a worker up for good that is not there 15 s after it died, dead once more
        dask.config.set({"distributed.scheduler.allowed-failures": 1, "distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        yield client


def tree_of(x):
    """A sum of floats that depends on the order, a histogram, a growing one, an array."""
    return {
        "sum": ak.sum(x.x),
        "h": hg.Hist.new.Reg(10, -100, 100, name="x").Weight().fill(x.x, weight=x.x),
        "grown": hg.Hist.new.IntCat([], growth=True, name="n").Double().fill(x.n % 7),
        "array": x.x[x.n % 3 == 0],
    }


def same(out, plain):
    assert out["sum"] == plain["sum"]
    assert out["h"] == plain["h"]
    assert out["grown"] == plain["grown"]
    assert list(out["grown"].axes[0]) == list(plain["grown"].axes[0])
    assert ak.array_equal(out["array"], plain["array"])


def slowly(events, action, *args):
    """The events with a function that does something on the way; what it gives is what it gets."""

    def through(x):
        time.sleep(0.02)
        action(x, *args)
        return x

    x = hg.map_partitions(through, events.x, meta=ARRAY.x[:0])
    return tree_of(ak.zip({"x": x, "n": events.n}))


@pytest.fixture
def plain():
    return hg.compute(tree_of(hg.from_awkward(ARRAY, npartitions=37)), executor="serial")


# the same result


def test_the_adl_queries_to_the_last_bit(client):
    events = hg.open(SAMPLE, schema="nanoaod").repartition(9)
    lazy = adl.AllQueries().process(events)
    out, report = hg.compute(lazy, executor=client, report=True)
    assert report.complete
    assert [row.start for row in report.rows] == sorted(row.start for row in report.rows)
    for name, h in hg.compute(lazy, executor="serial").items():
        assert out[name] == h, name


def test_any_size_of_batches_and_merges_on_the_workers(client, plain, limit):
    x = hg.from_awkward(ARRAY, npartitions=37)
    same(hg.compute(tree_of(x), executor=client), plain)
    same(hg.compute(tree_of(x), executor=Dask(client, seconds=0.01)), plain)
    limit(sum_large=0)  # sums stay on the workers, up to the top
    n = ak.sum(hg.from_awkward(ARRAY, npartitions=200).x)
    assert n.compute(executor=client) == n.compute(executor="serial")


def test_a_run_over_several_datasets(client):
    fileset = {"one": {"files": [str(SAMPLE)]}, "two": {"files": [str(SAMPLE)], "metadata": {"more": 1}}}

    def count(events):
        return {events.metadata["dataset"]: ak.num(events, axis=0), "met": ak.sum(events.MET.pt)}

    out, report = hg.run(count, fileset, executor=client, step_size=900, report=True)
    plain = hg.run(count, fileset, executor="serial", step_size=900)
    assert out == plain
    assert report.complete


def test_names_for_the_dashboard(client):
    from dask.utils import key_split

    names = []
    work = Numbers()
    fold_of(client, work, 30, names=names)
    assert {key_split(name) for name in names} == {"SingleMu_2012-ranges", "SingleMu_2012-merge"}


class Numbers(Work):
    """Work that adds up to text which shows how."""

    def __call__(self, task):
        return str(task), task

    def combine(self, tree):
        return lambda a, b: f"({a}+{b})"


def fold_of(client, work, count, names=None, **options):
    """The parts of one fold; every key that it submits goes to `names`."""
    submit = client.submit

    def noted(*args, key, **kwargs):
        names.append(key)
        return submit(*args, key=key, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        if names is not None:
            patch.setattr(client, "submit", noted)
        return list(Dask(client, **options).fold(work, range(count), [Tree(0, count, "SingleMu_2012")]))


def test_few_tasks_and_all_are_forgotten(client, cluster):
    names = []
    parts = fold_of(client, Numbers(), 20_000, names=names)
    assert sum(len(part.rows) for part in parts) == 20_000
    assert len(names) < 1000, "batches grow while they are quick"
    deadline = time.monotonic() + 10
    while cluster.scheduler.tasks and time.monotonic() < deadline:
        client.nthreads()  # lets the scheduler do its work
    assert not cluster.scheduler.tasks


# workers that go and come


def at_work(client, tree, disturb, folder):
    """The result of a tree whose functions write into a folder; `disturb` is called as soon as one has."""
    found = {}

    def run():
        found["out"] = hg.compute(tree, executor=Dask(client, seconds=0.1), report=True)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and len(list(folder.iterdir())) < 12:
        thread.join(0.02)
    assert thread.is_alive(), "the run is over before it is disturbed"
    disturb()
    thread.join(60)
    out, report = found["out"]
    assert report.complete
    return out


def marked(x, folder):
    (Path(folder) / f"{float(x[0])}").touch()


def test_a_worker_killed_in_the_middle(client, tmp_path, plain):
    tree = slowly(hg.from_awkward(ARRAY, npartitions=37), marked, str(tmp_path))

    def kill():
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    same(at_work(client, tree, kill, tmp_path), plain)


def test_workers_restarted_by_somebody(client, tmp_path, plain):
    tree = slowly(hg.from_awkward(ARRAY, npartitions=37), marked, str(tmp_path))
    same(at_work(client, tree, lambda: client.restart(wait_for_workers=False), tmp_path), plain)


def test_a_range_that_always_kills_its_worker(client):
    def deadly(x):
        if 15 in np.asarray(x):
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    n = hg.map_partitions(deadly, hg.from_awkward(ARRAY[:40], npartitions=40).n, meta=ARRAY.n[:0])
    with pytest.raises(KilledError, match=r"The range <memory>\[15:16\] ended every dask worker that worked on it"):
        ak.sum(n).compute(executor=client)


def test_zero_workers_then_some_that_come_and_go(tmp_path, plain, caplog, monkeypatch):
    tree = slowly(hg.from_awkward(ARRAY, npartitions=37), marked, str(tmp_path))
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        caplog.at_level(logging.WARNING, "hepgraph"),
    ):
        with pytest.raises(ExecutorError, match=r"No dask worker came to the scheduler .* within 0\.1 s: start some"):
            hg.compute(tree, executor=Dask(cluster, patience=0.1))
        caplog.clear()
        found = {}
        thread = threading.Thread(target=lambda: found.update(hg.compute(tree, executor=client)))
        thread.start()
        while not caplog.messages:
            thread.join(0.05)
        assert caplog.messages[0].startswith("hepgraph: waiting for a dask worker; the scheduler inproc://")
        cluster.scale(1)
        while thread.is_alive() and len(list(tmp_path.iterdir())) < 8:
            thread.join(0.02)
        cluster.scale(2)
        client.wait_for_workers(2)
        client.retire_workers([next(iter(client.nthreads()))])
        thread.join(60)
        same(found, plain)


def test_all_workers_go_and_none_comes_back(tmp_path, plain):
    """What is done by then is not lost."""
    tree = slowly(hg.from_awkward(ARRAY, npartitions=37), marked, str(tmp_path))
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
    ):
        handle = hg.submit(tree, executor=Dask(cluster.scheduler_address, seconds=0.05, comeback=0.5))
        while handle.progress.ranges < 8 and not handle.done():
            threading.Event().wait(0.02)
        cluster.scale(0)
        with pytest.raises(ExecutorError) as caught:
            handle.result(60)
        done = handle.progress
    assert 8 <= done.ranges < 37
    assert str(caught.value) == (
        f"All dask workers of the scheduler {cluster.scheduler_address} have gone, and none came back within 0.5 s: "
        f"{done.ranges} of 37 ranges were done. Look at the logs of the workers, and start some (dask worker, "
        "cluster.scale, cluster.adapt), or wait longer with hg.executors.Dask(..., comeback=)."
    )
    assert caught.value.__notes__ == [
        f"{done.events} of 400 events are done, and held by the report of this error: run again with "
        "resume=error.report to do the rest."
    ]
    assert caught.value.report.events == done.events


def test_a_local_cluster_gets_back_what_it_gave_up(tmp_path, plain):
    """Nannies give up a worker that dies while it starts; nobody else would start one."""
    import dask

    tree = slowly(hg.from_awkward(ARRAY, npartitions=37), marked, str(tmp_path))
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        first = list(client.nthreads())
        out = at_work(client, tree, lambda: cluster.sync(cluster.workers[0].close), tmp_path)
        assert not set(first) & set(client.nthreads()), "another one has come"
        same(out, plain)


def test_jobs_in_a_queue_are_waited_for(caplog):
    """A cluster that still asks for workers may get them in hours."""

    class Batch(distributed.SpecCluster):
        requested = {"job-1"}

    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as local:
        for target in (local, local.scheduler_address):
            with Dask(target).connected() as there:
                assert not there.expects()
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False, "dashboard_address": ":0", "port": 0}}
    with Batch(scheduler=scheduler) as batch, Dask(batch).connected() as there:
        assert there.expects()
        with caplog.at_level(logging.WARNING, "hepgraph"), pytest.raises(ExecutorError, match="No dask worker came"):
            hg.compute(hg.from_awkward(ARRAY).x, executor=Dask(batch, patience=2.5))
        address = batch.scheduler_address
        assert [text for text in caplog.messages if text.startswith("hepgraph")] == [
            f"hepgraph: waiting for a dask worker; the scheduler {address} has none; its jobs wait in the queue, or "
            "have ended, and their logs say why"
        ]
        batch.requested = set()
        assert not there.expects()


# code that the workers do not have


def test_code_of_a_local_module_travels(client, tmp_path, monkeypatch):
    (tmp_path / "beside_the_script.py").write_text("import numpy as np\nPOWER = 2\ndef up(x):\n    return x**POWER\n")
    monkeypatch.syspath_prepend(tmp_path)
    import beside_the_script  # type: ignore[import-not-found]

    n = hg.from_awkward(ARRAY, npartitions=3).n
    total = ak.sum(hg.map_partitions(beside_the_script.up, n))
    assert total.compute(executor=client) == sum(i * i for i in range(400))


def test_errors_of_the_user_come_as_they_were(client):
    def bad(x):
        raise KeyError("mine")

    x = hg.from_awkward(ARRAY, npartitions=2).x
    with pytest.raises(KeyError, match="mine") as caught:
        hg.map_partitions(bad, x, meta=ARRAY.x[:0]).compute(executor=client)
    assert any("[0:200]" in note or "[200:400]" in note for note in caught.value.__notes__)


# what executor= may be


def test_what_dask_may_be_called(client, cluster):
    for executor in (client, cluster, cluster.scheduler_address, Dask(client)):
        found = pick(executor)
        assert isinstance(found, Dask)
    assert repr(Dask("tcp://host:8786")) == "Dask('tcp://host:8786')"
    assert pick("dask").target is None
    assert pick(None).name == "threads"
    with client.as_current():
        assert pick(None).target is client
    total = ak.sum(hg.from_awkward(ARRAY, npartitions=2).n)
    for executor in (cluster, cluster.scheduler_address):
        assert total.compute(executor=executor) == 400 * 399 / 2


def test_plain_tasks(client):
    assert dict(Dask(client).run(Work.of(lambda task: -task), range(9))) == {i: -i for i in range(9)}


# bad input, word for word


def test_a_scheduler_that_does_not_answer():
    with pytest.raises(UnreachableError) as caught:
        hg.compute(hg.from_awkward(ARRAY).x, executor=Dask("tcp://127.0.0.1:9", timeout=0.3))
    assert str(caught.value) == (
        "The dask scheduler at tcp://127.0.0.1:9 did not answer within 0.3 s. Is it running, and is this its address "
        "(dask scheduler prints it)?"
    )


class Locked(hg.Processor):
    """A processor with an attribute that cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()

    def process(self, events):
        return {"n": float(ak.sum(events.nMuon))}


def test_what_cannot_be_pickled_is_named_before_anything_is_started():
    with pytest.raises(ShippingError) as caught:
        hg.run(Locked(), {"a": [str(SAMPLE)]}, executor=Dask("tcp://127.0.0.1:9", timeout=60), eager=True)
    assert str(caught.value).startswith("Locked.lock cannot be sent to another process: it is a _thread.lock")


def test_other_versions_on_the_workers(client, monkeypatch):
    real = hg.executors.shipped.versions()
    monkeypatch.setattr(hg.executors.shipped, "versions", lambda: {**real, "awkward": "1.10.5", "python": "2.7"})
    with pytest.raises(VersionError) as caught:
        hg.compute(hg.from_awkward(ARRAY).x, executor=client)
    first = min(client.nthreads())
    other = max(client.nthreads())
    message = str(caught.value)
    assert message.replace(first, "<worker>").replace(other, "<worker>") == (
        "The dask worker <worker> has other versions than the process that asked:\n"
        f"  python: 2.7 here, {real['python']} there\n"
        f"  awkward: 1.10.5 here, {real['awkward']} there\n"
        "Results could differ, or not come at all: start the workers from the same environment."
    )


def test_a_scheduler_with_another_hepgraph(client, plain, monkeypatch, caplog):
    """It does not know what takes a plan back when its client is killed: the run says so, and goes on."""
    register = client.register_plugin

    def unknown(plugin, name):
        if isinstance(plugin, distributed.SchedulerPlugin):
            raise ModuleNotFoundError("No module named 'hepgraph.executors.dask_cleanup'")
        register(plugin, name=name)

    monkeypatch.setattr(client, "register_plugin", unknown)
    with caplog.at_level(logging.WARNING, "hepgraph"):
        same(hg.compute(tree_of(hg.from_awkward(ARRAY, npartitions=37)), executor=client), plain)
    assert [text for text in caplog.messages if text.startswith("hepgraph")] == [
        "hepgraph: the scheduler has another hepgraph (No module named 'hepgraph.executors.dask_cleanup'): if this "
        "process is killed, the run's plan stays in the memory of the scheduler"
    ]


def test_a_client_that_is_closed(cluster):
    client = distributed.Client(cluster, set_as_default=False)
    client.close()
    with pytest.raises(UnreachableError) as caught:
        hg.compute(hg.from_awkward(ARRAY).x, executor=Dask(client))
    assert str(caught.value) == "This Client is closed: it has no scheduler any more. Make a new one."


def test_what_is_recorded_on_a_cluster(client, tmp_path):
    """The values of when the line ran; what cannot be sent is made once in each worker."""
    folder, events, out = str(tmp_path), hg.from_awkward(ARRAY, npartitions=8), {}

    def make():
        Path(folder, f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return threading.Lock()

    for name, k in (("up", 2), ("down", 3)):
        out[name] = ak.sum(hg.map_partitions(lambda lock, n: n * k * (not lock.locked()), events.n, setup=make))
    found = hg.compute(out, executor=client, progress=False)
    assert found == {"up": 2 * ak.sum(ARRAY.n), "down": 3 * ak.sum(ARRAY.n)}
    made = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert len(made) == len(set(made)) >= 2, "here, and once in each worker"
    held = threading.Lock()
    x = hg.map_partitions(lambda n: n * (not held.locked()), events.n)
    assert ak.sum(x).compute(executor="threads") == ak.sum(ARRAY.n)
    with pytest.raises(ShippingError, match=r"the variable 'held' of .* cannot be sent to another.*\n.*setup=make"):
        x.compute(executor=client)

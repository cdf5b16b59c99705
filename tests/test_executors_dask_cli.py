"""A scheduler and workers started by hand, with TLS; a scheduler that dies and comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import UnreachableError
from hepgraph.executors import Dask

distributed = pytest.importorskip("distributed")

ARRAY = ak.Array({"x": np.random.default_rng(5).normal(0, 1, 100), "n": np.arange(100)})
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample.root"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONWARNINGS": "ignore"}

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def start(tmp_path):
    """Starts dask's own commands, and ends them."""
    running = []

    def start(*arguments):
        command = [sys.executable, "-m", "dask", *map(str, arguments)]
        with open(tmp_path / f"log{len(running)}", "w") as log:
            running.append(subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=log, stderr=log))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def answers(address):
    """Waits until somebody listens at an address."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    while True:
        with socket.socket() as tried:
            if tried.connect_ex((host, int(port))) == 0:
                return
        threading.Event().wait(0.05)


def certificates(folder):
    """A key and a certificate that signs itself, by the openssl command; skips where there is none."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make certificates")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=hepgraph-test",
            "-keyout",
            str(folder / "key.pem"),
            "-out",
            str(folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def security(cert, key):
    files = dict.fromkeys(("tls_ca_file", "tls_client_cert"), str(cert)) | {"tls_client_key": str(key)}
    return distributed.security.Security(**files, require_encryption=True)


def started(start, *tls):
    """The address of a scheduler and a worker, started by hand."""
    protocol, port = "tls" if tls else "tcp", free_port()
    address = f"{protocol}://127.0.0.1:{port}"
    start("scheduler", "--protocol", protocol, "--host", "127.0.0.1", "--port", port, "--no-dashboard", *tls)
    start("worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard", *tls)
    return address


def test_a_scheduler_by_hand_over_tls(start, tmp_path):
    cert, key = certificates(tmp_path)
    address = started(start, "--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    x = hg.from_awkward(ARRAY, npartitions=20).x
    plain = ak.sum(x).compute(executor="serial")
    executor = Dask(address, security=security(cert, key), timeout=30)
    assert ak.sum(x).compute(executor=executor) == plain
    with distributed.Client(address, security=security(cert, key), set_as_default=False) as client:
        assert ak.sum(x).compute(executor=client) == plain
    with pytest.raises(UnreachableError) as caught:
        ak.sum(x).compute(executor=Dask(address, timeout=1))
    assert str(caught.value) == (
        f"The dask scheduler at {address} wants certificates, and none were given: hg.executors.Dask(address, "
        "security=distributed.security.Security(tls_ca_file=..., tls_client_cert=..., tls_client_key=...)), or dask's "
        "configuration."
    )


SCRIPT = """
import hashlib
import sys

import awkward as ak
from distributed import Client

import hepgraph as hg


class Mass(hg.Processor):
    def process(self, events):
        pair = ak.combinations(events.Muon, 2, fields=["a", "b"])
        h = hg.Hist.new.Reg(50, 0, 150, name="mass").Weight().fill((pair.a + pair.b).mass, weight=pair.a.pt)
        return {"mass": h, "sum": ak.sum(events.MET.pt), "n": ak.num(events, axis=0)}


if __name__ == "__main__":
    out, report = hg.run(
        Mass(), {"a": [sys.argv[1]]}, executor=eval(sys.argv[2]), step_size=1000, report=True, progress=False
    )
    bits = hashlib.sha256(out["mass"].view(flow=True).tobytes()).hexdigest()
    print(report.complete, report.events, bits, float(out["sum"]).hex())
"""


@pytest.mark.timeout(480)
def test_the_same_script_everywhere(start, tmp_path):
    """Unchanged; over TLS with the certificates of dask's configuration."""
    cert, key = certificates(tmp_path)
    plain = started(start)
    secret = started(start, "--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    names = {"CA_FILE": cert, "CLIENT__CERT": cert, "CLIENT__KEY": key}
    env = {**ENVIRONMENT, **{f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in names.items()}}
    (tmp_path / "script.py").write_text(SCRIPT)
    said = {}
    for where in ("serial", "threads", "processes", "dask", f"Client {plain}", secret):
        executor = f"Client({where.removeprefix('Client ')!r})" if where.startswith("Client") else repr(where)
        command = [sys.executable, tmp_path / "script.py", SAMPLE, executor]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{where}: {done.stderr}"
        said[where] = done.stdout
    assert said["serial"].startswith("True 8000 ")
    assert said == dict.fromkeys(said, said["serial"])


def slow(x, folder):
    """Says where it was made; the sum of what it gives depends on the order."""
    time.sleep(0.02)
    (Path(folder) / f"{float(x[0])}-{os.getpid()}").touch()
    return x


@pytest.fixture
def slowly(tmp_path):
    """A sum over 50 ranges that leaves a file for each, in a folder."""
    (tmp_path / "done").mkdir()
    events = hg.from_awkward(ARRAY, npartitions=50)
    return ak.sum(hg.map_partitions(slow, events.x, str(tmp_path / "done"), meta=ARRAY.x[:0]))


@pytest.fixture
def plain():
    return ak.sum(hg.from_awkward(ARRAY, npartitions=50).x).compute(executor="serial")


SCHEDULER = ("scheduler", "--host", "127.0.0.1", "--no-dashboard", "--port")
WORKER = ("worker", "--nthreads", 1, "--no-nanny", "--no-dashboard")


def in_the_middle(lazy, executor, **options):
    """A run that is at work, and how many ranges it has done."""
    handle = hg.submit(lazy, executor=executor, **options)
    while handle.progress.ranges < 16 and not handle.done():
        threading.Event().wait(0.02)
    done = handle.progress.ranges
    assert not handle.done()
    return handle, done


@pytest.mark.parametrize("kept", [False, True])
def test_a_scheduler_that_dies_and_comes_back(start, tmp_path, slowly, plain, kept):
    """What it knew is lost, what has come in is not; the run goes on, with a checkpoint or without."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    first = start(*SCHEDULER, port)
    start(*WORKER, address)
    options = {"checkpoint": tmp_path / "cp"} if kept else {}
    handle, before = in_the_middle(slowly, Dask(address, timeout=30, seconds=0.05), **options)
    first.send_signal(signal.SIGKILL)
    first.wait()
    start(*SCHEDULER, port)
    start(*WORKER, address)  # the old one may give up
    assert handle.result(60) == plain
    assert handle.report.complete
    assert len(list((tmp_path / "done").iterdir())) <= 50 + 50 - before, "what had come in was not done again"
    assert len(list((tmp_path / "cp").glob("*/*.part"))) == 50 * kept


def test_a_scheduler_that_dies_for_good(start, tmp_path, slowly, plain):
    """The run says what is done and how to go on; it goes on with another scheduler, from its checkpoint."""
    import dask

    addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    first = start(*SCHEDULER, addresses[0].rpartition(":")[2])
    start(*WORKER, addresses[0])
    options = {"checkpoint": tmp_path / "cp", "report": True}
    answers(addresses[0])
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        handle, _ = in_the_middle(slowly, Dask(addresses[0], timeout=5, seconds=0.05), checkpoint=tmp_path / "cp")
        first.send_signal(signal.SIGKILL)
        first.wait()
        with pytest.raises(UnreachableError) as caught:
            handle.result(60)
    done = handle.progress
    assert str(caught.value) == (
        f"The dask scheduler {addresses[0]} went away, and did not come back: {done.ranges} of 50 ranges were done."
    )
    assert caught.value.__notes__ == [
        f"{done.events} of 100 events are done, and kept in the checkpoint {tmp_path / 'cp'}: run again with it to do "
        "the rest."
    ]
    start(*SCHEDULER, addresses[1].rpartition(":")[2])
    start(*WORKER, addresses[1])
    out, report = hg.compute(slowly, executor=Dask(addresses[1], timeout=30), **options)
    assert out == plain
    assert sum(row.stored for row in report.rows) == done.ranges


def test_a_scheduler_that_does_not_come_back():
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        distributed.LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address=":0") as cluster,
    ):
        address = cluster.scheduler_address
        handle = hg.submit(hg.from_awkward(ARRAY, npartitions=50).x, executor=Dask(address, timeout=3))
        while not cluster.scheduler.tasks:
            threading.Event().wait(0.02)
        cluster.close()
        with pytest.raises(UnreachableError) as caught:
            handle.result(60)
    assert str(caught.value) == (
        f"The dask scheduler {address} went away, and did not come back: 0 of 50 ranges were done."
    )


ENDLESS = """
import sys
import threading

import awkward as ak
import numpy as np

import hepgraph as hg


def slowly(x, folder):
    if len(x) > 3:  # not the few on which functions are tried
        with open(f"{folder}/{x[0]}", "w"):
            threading.Event().wait(0.1)
    return x


array = ak.Array({"x": np.arange(1_000_000)})  # 8 MB that the plan holds
x = hg.map_partitions(slowly, hg.from_awkward(array, npartitions=2000).x, sys.argv[2])
hg.compute(ak.sum(x), executor=hg.executors.Dask(sys.argv[1], seconds=0.2), progress=False)
"""


def look(client):
    """The state of a scheduler: tasks, our plans and plugins, bytes of our plans."""

    def kept(dask_scheduler):
        known = dask_scheduler.get_metadata(keys=["hepgraph-plans"], default={})
        plans = {name: plan for name, plan in known.items() if plan is not None}
        guards = [name for name in dask_scheduler.plugins if name.startswith("hepgraph")]
        size = sum(len(plan["body"]) for plan in plans.values())
        return len(dask_scheduler.tasks), sorted([*plans, *guards]), size

    return client.run_on_scheduler(kept)


@pytest.mark.parametrize("killed", [True, False])
def test_nothing_is_left_of_a_client(start, tmp_path, request, killed, plain):
    """The scheduler and its workers forget the plan of one that was killed, as of one that has come to its end."""
    address = started(start)
    (tmp_path / "done").mkdir()
    (tmp_path / "script.py").write_text(ENDLESS)
    with distributed.Client(address, timeout=30, set_as_default=False) as watching:
        watching.wait_for_workers(1)
        before = look(watching)
        assert before == (0, [], 0)
        if killed:
            command = [sys.executable, tmp_path / "script.py", address, tmp_path / "done"]
            client = subprocess.Popen(command, env=ENVIRONMENT)
            request.addfinalizer(client.wait)
            request.addfinalizer(client.kill)
            while len(list((tmp_path / "done").iterdir())) < 5:
                assert client.poll() is None
                threading.Event().wait(0.05)
            tasks, names, size = look(watching)
            assert tasks > 0
            assert names == [names[0], f"{names[0]}-guard"]
            assert size > 8_000_000
            client.kill()
            client.wait()
        else:
            assert ak.sum(hg.from_awkward(ARRAY, npartitions=50).x).compute(executor=address) == plain
        deadline = time.monotonic() + 60
        while look(watching) != before:
            assert time.monotonic() < deadline, look(watching)
            threading.Event().wait(0.05)
        assert ak.sum(hg.from_awkward(ARRAY, npartitions=50).x).compute(executor=address) == plain, "it goes on working"

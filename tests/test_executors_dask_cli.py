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
        process.terminate()
    for process in running:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


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


def test_a_scheduler_by_hand_over_tls(start, tmp_path):
    cert, key = certificates(tmp_path)
    port = free_port()
    address = f"tls://127.0.0.1:{port}"
    tls = ["--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key]
    start("scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", port, "--no-dashboard", *tls)
    start("worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard", *tls)
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


def test_a_scheduler_that_dies_and_comes_back(start, tmp_path):
    """What it knew is lost, what has come in is not."""
    done = tmp_path / "done"
    done.mkdir()

    def slow(x, folder):
        time.sleep(0.02)
        (Path(folder) / f"{float(x[0])}-{os.getpid()}").touch()
        return x

    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    first = start(*scheduler)
    start("worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard")
    x = hg.map_partitions(slow, hg.from_awkward(ARRAY, npartitions=50).x, str(done), meta=ARRAY.x[:0])
    plain = ak.sum(hg.from_awkward(ARRAY, npartitions=50).x).compute(executor="serial")
    handle = hg.submit(ak.sum(x), executor=Dask(address, timeout=30, seconds=0.05))
    while handle.progress.ranges < 16 and not handle.done():
        threading.Event().wait(0.02)
    before = handle.progress.ranges
    assert not handle.done()
    first.send_signal(signal.SIGKILL)
    first.wait()
    start(*scheduler)
    start("worker", address, "--nthreads", 1, "--no-nanny", "--no-dashboard")  # the old one may give up
    assert handle.result(60) == plain
    assert handle.report.complete
    assert len(list(done.iterdir())) <= 50 + 50 - before, "what had come in was not done again"


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

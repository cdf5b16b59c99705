"""Files behind XRootD, from a server on this machine; where the server `xrootd` and fsspec-xrootd are installed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from serving import free_port, running

pytest.importorskip("fsspec_xrootd", reason="fsspec-xrootd is not installed")
if shutil.which("xrootd") is None:
    pytest.skip("there is no server called xrootd", allow_module_level=True)
from hepgraph.processors.adl import AllQueries

import hepgraph as hg
from hepgraph.errors import MissingFileError

DATA = Path(__file__).resolve().parent.parent / "data"
CONFIGURATION = """
xrd.port {port}
oss.localroot {root}
all.export /data r/o
all.adminpath {admin}
all.pidpath {admin}
"""


@pytest.fixture(scope="module")
def server():
    """A server that has the samples, and the URL of their directory."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        root, admin = Path(folder) / "root", Path(folder) / "admin"
        shutil.copytree(DATA, root / "data", ignore=lambda _, names: set(names) - {"sample.root", "sample.parquet"})
        admin.mkdir()
        (admin / "a.cfg").write_text(CONFIGURATION.format(port=port, root=root, admin=admin))
        command = ["xrootd", "-c", admin / "a.cfg", "-l", admin / "log"]
        if os.getuid() == 0:  # as which it does not run
            Path(folder).chmod(0o755)
            shutil.chown(admin, "nobody")
            command += ["-R", "nobody"]
        with running(command, port) as process:
            yield process, f"root://127.0.0.1:{port}//data/"


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
@pytest.mark.parametrize("name", ["sample.root", "sample.parquet", "samp*.root"])
def test_the_queries_through_xrootd(server, name, executor):
    def histograms(path):
        return hg.compute(AllQueries().process(hg.open(path, schema="nanoaod")), executor=executor)

    here, there = histograms(str(DATA / name)), histograms(server[1] + name)
    assert here.keys() == there.keys()
    assert all(here[query] == there[query] for query in here)


def test_what_is_not_there(server):
    missing = server[1] + "none.root"
    with pytest.raises(MissingFileError) as caught:
        hg.open(missing)
    assert str(caught.value) == f"No such file: {missing}."
    with pytest.raises(MissingFileError, match=r"^No file matches root:.*//data/none\*\.root\.$"):
        hg.open(server[1] + "none*.root")


# in a process of its own: the time-outs of the client are settings of the process
READING = """
import sys
import awkward as ak
import hepgraph as hg
patience = {"hepgraph": {"timeout": 2, "tries": 2, "wait": 0.1}}
try:
    events = hg.open(sys.argv[1], schema="nanoaod", storage_options=patience)
    print("open", flush=True)
    sys.stdin.readline()
    ak.sum(events.MET.pt).compute()
except hg.errors.AccessError as error:
    print(error)
"""


def test_a_server_that_says_no_more(server):
    process, url = server
    command = [sys.executable, "-c", READING, f"{url}sample.root"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "open\n"
        process.send_signal(signal.SIGSTOP)
        try:
            said, _ = reader.communicate("\n", timeout=100)
        finally:
            process.send_signal(signal.SIGCONT)
            reader.kill()
    assert re.match(rf"Cannot read bytes \d+ to \d+ of {url}sample\.root: OSError: .*, 2 times\.\n", said)


def test_a_server_that_is_not_there():
    url = "root://127.0.0.1:9//data/sample.root"
    said = subprocess.run([sys.executable, "-c", READING, url], capture_output=True, text=True, timeout=100).stdout
    assert said == f"Cannot open {url}: OSError: XRootD error: [FATAL] Connection error\n"

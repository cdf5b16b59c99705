"""Remote files: the ADL queries over HTTP from a local server that answers late, with and without fetching ahead.

usage: python benchmarks/remote.py [FILE...] [--latency MS] [--bandwidth MB/S] [--repeat N] [--queries 2,5]

The files are ROOT files of the same events, a TTree and an RNTuple for instance; the events of the first are also
written as Parquet, in row groups of 100 000, and read as such. The server, in a process of its own, waits so many ms
before each answer and gives so many MB/s. For each query, in ms of wall time on one thread with the kernel: `local`,
the file itself; `plain`, over HTTP, one thing after the other; `ahead`, with the next range fetched while one is worked
on. All are run in turn, the best of N. `asked` is the number of requests for data of one run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import awkward as ak
import pyarrow.parquet
import uproot
from hepgraph.processors.adl import QUERIES

import hepgraph as hg
from hepgraph.io.access import prefetch

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.root"


def serve(path: str, latency: float, bandwidth: float, told: Any) -> None:
    """Serves one file until it is ended; `told` gets the port, and counts the requests."""
    size = Path(path).stat().st_size
    port, asked = told

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            return

        def do_HEAD(self) -> None:
            self._begin(200, size)

        def do_GET(self) -> None:
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start, stop = (int(match[1]), min(int(match[2] or size - 1) + 1, size)) if match else (0, size)
            with asked.get_lock():
                asked.value += 1
            time.sleep(latency + (stop - start) / bandwidth)
            self._begin(206, stop - start)
            with open(path, "rb") as file:
                file.seek(start)
                self.wfile.write(file.read(stop - start))

        def _begin(self, status: int, length: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.value = server.server_address[1]
    server.serve_forever()


def timed(query: Any, path: str) -> float:
    """The seconds of one run."""
    events = hg.open(path, schema="nanoaod")
    found = query().process(events)
    start = time.perf_counter()
    hg.compute(found, executor="serial", engine="kernel", progress=False)
    return time.perf_counter() - start


def as_parquet(path: str, folder: str) -> str:
    """The path of a Parquet file with the events of a ROOT file."""
    made = f"{folder}/{Path(path).stem}.parquet"
    with uproot.open(path) as file:
        table = ak.to_arrow_table(file["Events"].arrays(), extensionarray=False)
    pyarrow.parquet.write_table(table, made, row_group_size=100_000, compression="zstd")
    return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", default=[str(SAMPLE)])
    parser.add_argument("--latency", type=float, default=20)
    parser.add_argument("--bandwidth", type=float, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--queries", default="2,5,6,8")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in [*args.files, as_parquet(args.files[0], folder)]:
            compared(path, args)


def compared(path: str, args: argparse.Namespace) -> None:
    """Prints the times of one file."""
    port, asked = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
    told = (port, asked)
    process = multiprocessing.Process(
        target=serve, args=(path, args.latency / 1e3, args.bandwidth * 1e6, told), daemon=True
    )
    process.start()
    while port.value == 0:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{port.value}/{Path(path).name}"
    print(f"{Path(path).name}: {args.latency:g} ms, {args.bandwidth:g} MB/s")
    print(f"{'':5}{'local':>9}{'plain':>9}{'ahead':>9}{'plain/ahead':>13}{'asked':>7}")
    for number in map(int, args.queries.split(",")):
        query = QUERIES[number - 1]
        best = [float("inf")] * 3
        timed(query, url)  # compiles, and finds the baskets
        for _ in range(args.repeat):
            best[0] = min(best[0], timed(query, path))
            for place, most in ((1, 0), (2, prefetch.MOST)):
                prefetch.ahead.most = most
                before = asked.value
                best[place] = min(best[place], timed(query, url))
        times = "".join(f"{1e3 * each:9.0f}" for each in best)
        print(f"q{number:<4}{times}{best[1] / best[2]:12.2f}x{asked.value - before:7}", flush=True)
    process.terminate()


if __name__ == "__main__":
    main()

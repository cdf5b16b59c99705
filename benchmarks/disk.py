"""Reading from the disk: a run over a file that is not in memory, with the system told what comes next, and without.

usage: python benchmarks/disk.py [FILE...]

Sums of five columns of jets, in one thread, of NanoAOD-like files; without one, of the RNTuple that `reader_rntuple.py`
writes. Before each run the file is dropped from the page cache (`posix_fadvise`), but for `warm`. Runs take turns; each
time is the median, in ms: `wall`, the CPU time `cpu`, and their difference `wait`. `ratio` is the median of those of
neighbours.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import awkward as ak
import reader_rntuple

import hepgraph as hg
from hepgraph.io.access import prefetch
from hepgraph.plan.passes import Pass

ROUNDS = 9
FIELDS = ("pt", "eta", "phi", "mass", "btag")


def sums(path: str) -> list[Any]:
    """What to compute of a file."""
    events = hg.open(path, schema=None)
    if "Jet_pt" in events.source.columns:
        return [ak.sum(events[f"Jet_{field}"], axis=None) for field in FIELDS]
    return [ak.sum(events["Jet"][field], axis=None) for field in FIELDS]


def drop(path: str) -> None:
    """Drops a file from the page cache."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall time and CPU time of a call, in ms."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def main() -> None:
    print(f"{'':42}{'wall':>8}{'cpu':>8}{'wait':>8}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        compare(sys.argv[1:] or [str(reader_rntuple.write(Path(folder), 1_000_000, ["ZSTD"])["ZSTD, by uproot"])])


def compare(paths: list[str]) -> None:
    """Prints three lines on each file."""
    for path in paths:
        made = sums(path)

        def run(made: list[Any] = made) -> None:
            hg.compute(made, executor="serial", progress=False)

        run()
        rows: dict[str, list[tuple[float, float]]] = {"untold": [], "told": [], "warm": []}
        for _ in range(ROUNDS):
            drop(path)
            with mock.patch.object(Pass, "ahead"):
                rows["untold"].append(timed(run))
            drop(path)
            prefetch.found.clear()
            rows["told"].append(timed(run))
            rows["warm"].append(timed(run))
        for title, times in rows.items():
            wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
            ratio = statistics.median(a[0] / b[0] for a, b in zip(times, rows["untold"], strict=True))
            name = f"{os.path.basename(path)}, {title}"
            print(f"{name:42}{wall:8.0f}{cpu:8.0f}{wall - cpu:8.0f}{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()

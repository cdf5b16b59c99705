"""What recording costs: tracing query 8, one operation, and long chains; nothing is read but metadata.

usage: python benchmarks/trace.py [FILE ...]      (NanoAOD-like ROOT or Parquet files; default: the embedded sample)
"""

from __future__ import annotations

import pickle
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from hepgraph.processors.adl import Query8

import hepgraph as hg

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.root"


def milliseconds(work: Callable[[], Any], repeat: int = 7) -> tuple[float, float]:
    """The first and the median of the later wall times of a call, in ms."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return times[0], statistics.median(times[1:])


def operations(events: Any) -> list[tuple[str, Callable[[int], Any]]]:
    """Single operations that give a new node each time."""
    pt, muons = events.Muon.pt, events.Muon
    return [
        ("x * number", lambda i: pt * (i + 0.5)),
        ("x > number", lambda i: pt > i + 0.5),
        ("np.sqrt(x * number)", lambda i: np.sqrt(pt * (i + 0.25))),
        ("records[mask]", lambda i: muons[pt > i + 0.75]),
        ("ak.sum(x > number, axis=1)", lambda i: ak.sum(pt > i + 0.125, axis=1)),
        ("ak.combinations(records[mask], 2)", lambda i: ak.combinations(muons[pt > i + 0.375], 2)),
        ("(a + b).mass of masked pairs", lambda i: _mass(muons[pt > i + 0.625])),
    ]


def _mass(muons: Any) -> Any:
    a, b = ak.unzip(ak.combinations(muons, 2))
    return (a + b).mass


def main() -> None:
    files = sys.argv[1:] or [str(SAMPLE)]
    for file in files:
        start = time.perf_counter()
        events = hg.open(file, schema="nanoaod")
        opened = 1e3 * (time.perf_counter() - start)
        source = events.source
        kept: list[Any] = []

        def query8(source: Any = source, kept: list[Any] = kept) -> None:
            kept[:] = [Query8().process(hg.from_source(source, "nanoaod"))]

        first, later = milliseconds(query8)
        print(f"{Path(file).name}: {len(source.columns)} columns, opened in {opened:.0f} ms; ", end="")
        print(f"query 8 traced in {first:.1f} ms the first time, {later:.1f} ms later (graph in memory)")
    print("\none operation, a new one each time, median of 200 (us):")
    for name, make in operations(events):
        held, times = [], []
        for i in range(200):
            start = time.perf_counter()
            held.append(make(i))
            times.append(1e6 * (time.perf_counter() - start))
        print(f"  {name:<36}{statistics.median(times):8.1f}")
    print("\na chain of operations:")
    for n in (1000, 2000, 5000, 10000):
        start = time.perf_counter()
        x = events.Muon.pt
        for i in range(n):
            x = x * 1.0000001 + i
        traced = time.perf_counter() - start
        start = time.perf_counter()
        size = len(pickle.dumps(x))
        packed = time.perf_counter() - start
        each = 1e6 * traced / (2 * n)
        print(f"  {2 * n:6d} operations: {each:6.1f} us each, pickled in {1e3 * packed:.0f} ms, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

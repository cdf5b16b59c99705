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
    """Single operations, and a few together, that give new nodes each time."""
    pt, muons, other = events.Muon.pt, events.Muon, [events.Muon.eta * (i + 1.5) for i in range(200)]
    masks = [pt > i + 0.75 for i in range(200)]
    return [
        ("x * number", lambda i: pt * (i + 0.5)),
        ("x > number", lambda i: pt > i + 0.5),
        ("x + y", lambda i: pt + other[i]),
        ("np.sqrt(x)", lambda i: np.sqrt(other[i])),
        ("mask & mask", lambda i: masks[i] & masks[i - 1]),
        ("records[mask]", lambda i: muons[masks[i]]),
        ("x[mask]", lambda i: pt[masks[i]]),
        ("ak.sum(x, axis=1)", lambda i: ak.sum(other[i], axis=1)),
        ("ak.num(records[mask]): 2 operations", lambda i: ak.num(muons[masks[i] & (pt < 0)])),
        ("ak.combinations(records[mask], 2): 2", lambda i: ak.combinations(muons[masks[-i]], 2)),
        ("(a + b).mass of pairs: 60 operations", lambda i: _mass(muons[masks[i] & (pt < 1)])),
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
    medians = []
    for name, make in operations(events):
        held: list[Any] = []
        times = []
        for i in range(200):
            start = time.perf_counter()
            held.append(make(i))
            times.append(1e6 * (time.perf_counter() - start))
        print(f"  {name:<40}{statistics.median(times):8.1f}")
        medians.append(statistics.median(times))
    print(f"  {'median of the rows':<40}{statistics.median(medians):8.1f}")
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

"""The kernel next to eager awkward on the same arrays in memory: the ADL queries, and a large analysis with variations.

usage: python benchmarks/kernel.py [FILE [EVENTS]]   (NanoAOD-like ROOT or Parquet file; default: the embedded sample)

Columns, in ms: trace (recording the query), schedule (loop tree and LLVM text), compile (LLVM, nothing cached), cached
(the object from disk), then per 1M events in memory, the least of several in turn: kernel, eager awkward with
hepgraph's own behaviors, and eager awkward with those of scikit-hep's vector; and eager / kernel, vector / kernel.
Times are those of the processor, so that what else runs on the machine counts less. That a partition's histograms are
copied, some 0.1 ms each, is within the kernel's.
"""

from __future__ import annotations

import copy
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
from hepgraph.processors import adl
from hepgraph.processors.adl import QUERIES, AllQueries

import hepgraph as hg
from hepgraph.io.required import Loaded
from hepgraph.kernel import native
from hepgraph.runner.compute import passes

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.root"
NEEDED = {
    "Jet": ["pt", "eta", "phi", "mass", "btag"],
    "Muon": ["pt", "eta", "phi", "mass", "charge"],
    "Electron": ["pt", "eta", "phi", "mass", "charge"],
    "MET": ["pt", "phi"],
}
CHUNK = 100_000
COLUMNS = {"lines": 7, "trace": 9, "schedule": 10, "compile": 9, "cached": 8, "kernel": 10, "eager": 10, "vector": 10}
COLUMNS |= {"ratio": 8, "vector's": 9}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The processor's time for a call in ms, and what it gave."""
    start = time.thread_time()
    result = work()
    return 1e3 * (time.thread_time() - start), result


class _Momenta:
    """What the queries ask of four-vectors and vector's do not have by these names."""

    def metric_table(self: Any, others: Any) -> Any:
        a, b = ak.unzip(ak.cartesian([self, others], nested=True))
        return a.deltaR(b)

    def delta_phi(self: Any, other: Any) -> Any:
        return self.deltaphi(other)


def with_vector(data: Any) -> Any:
    """The same events with vector's behaviors."""
    from vector.backends import awkward as own

    class Flat(_Momenta, own.MomentumArray2D): ...

    class Full(_Momenta, own.MomentumArray4D): ...

    class One(_Momenta, own.MomentumRecord2D): ...

    more = {("*", "Momentum2D"): Flat, ("*", "Momentum4D"): Full, "Momentum2D": One}
    names = {name: "Momentum2D" if name == "MET" else "Momentum4D" for name in data.fields}
    parts = {name: ak.with_name(ak.without_parameters(data[name]), kind) for name, kind in names.items()}
    return ak.with_name(ak.zip(parts, depth_limit=1), None, behavior={**own.behavior, **more})


def variations(events: Any, shifts: int, axes: int) -> Any:
    """Up to twelve histograms of jets and dijets for each of several shifts of the jet energy."""
    out = []
    for shift in range(shifts):
        scale = 1 + 0.005 * (shift - shifts // 2)
        jets = ak.with_field(events.Jet, events.Jet.pt * scale, "pt")
        jets = jets[(jets.pt > 30) & (abs(jets.eta) < 2.4)]
        pairs = ak.combinations(jets, 2, fields=["a", "b"])
        mass = (pairs.a + pairs.b).mass
        some = ak.num(jets) >= 2
        values = [
            *(
                jets.pt,
                jets.eta,
                jets.phi,
                mass,
                (pairs.a + pairs.b).pt,
                pairs.a.delta_r(pairs.b),
                ak.max(mass, axis=1),
            ),
            *(ak.sum(jets.pt, axis=1)[some], ak.num(jets)[some], events.MET.pt[some]),
            *(jets.mass, ak.max(jets.pt, axis=1)),
        ]
        out += [hg.Hist.new.Reg(50, 0, 300).Double().fill(value) for value in values[:axes]]
    return out


class Flat:
    """An eager histogram that is filled with the numbers of an array, however deep; None is left out."""

    def __init__(self, bins: int, low: float, high: float, *_: Any) -> None:
        self.h = hist.Hist.new.Reg(bins, low, high).Double()

    def fill(self, values: Any) -> Any:
        return self.h.fill(ak.to_numpy(ak.drop_none(ak.flatten(values, axis=None))))


def eagerly(work: Callable[[Any], Any], events: Any) -> Any:
    """A query on eager arrays."""
    lazy, adl.histogram = adl.histogram, Flat
    try:
        return work(copy.copy(events))
    finally:
        adl.histogram = lazy


def _reading(text: str) -> float:
    """The time that it takes to load an object from disk."""
    level = native.level_of(text)
    return timed(lambda: native.Native(native.name_of(text, level), text, level))[0]


class Case:
    """One analysis: its kernel on columns in memory, and eager awkward on the same."""

    def __init__(self, name: str, events: Any, work: Callable[[Any], Any]) -> None:
        self.name, self.work = name, work
        self.trace, tree = timed(lambda: work(copy.copy(events)))
        self.schedule = self.cached = self.cold = math.inf
        for _ in range(3):
            (self.each,) = passes(tree, "kernel")[0]
            with tempfile.TemporaryDirectory() as folder:
                os.environ["HEPGRAPH_CACHE"] = folder
                native._known.clear()
                self.each.__dict__.pop("compiled", None)
                both, compiled = timed(self.each.ready)
                assert compiled.kernel is not None
                assert not compiled.plain, compiled.plain
                text = compiled.kernel.text
                self.lines = text.count("\n")
                compiled.kernel._native = None
                del compiled
                self.each.__dict__.pop("compiled", None)
                native._known.clear()
                loaded, _compiled = timed(self.each.ready)
                read = _reading(text)
            self.schedule = min(self.schedule, loaded - read)
            self.cold, self.cached = min(self.cold, both - loaded + read), min(self.cached, read)
        self.loaded = Loaded(self.each.origin, self.each.partitions()[0], self.each.needs())
        self.kernel = self.eager = self.vector = self.last = math.inf

    def once(self, chunks: list[Any], other: Any = None) -> None:
        """One more measurement of the kernel, of eager awkward, and of that with vector on one chunk."""
        kernel = self.each.compiled.kernel
        assert kernel is not None
        self.last = min(timed(lambda: kernel.run(self.loaded))[0] for _ in range(3))
        self.kernel = min(self.kernel, self.last)
        if chunks:
            with np.errstate(all="ignore"):
                self.eager = min(self.eager, timed(lambda: [eagerly(self.work, chunk) for chunk in chunks])[0])
        if other is not None:
            with np.errstate(all="ignore"):
                self.vector = timed(lambda: eagerly(self.work, other))[0]

    def row(self, million: float) -> str:
        times = "".join(f"{x / million:10.1f}" if x < math.inf else " " * 10 for x in (self.eager, self.vector))
        ratios = (self.eager / self.kernel, self.vector / self.kernel)
        return (
            f"{self.name:14}{self.lines:7}{self.trace:9.1f}{self.schedule:10.1f}{self.cold:9.1f}{self.cached:8.1f}"
            f"{self.kernel / million:10.2f}{times}"
            + "".join(f"{x:{width}.1f}" if x < math.inf else "" for x, width in zip(ratios, (8, 9), strict=True))
        )


def main() -> None:
    file = sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE)
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 300_000
    lazy = hg.open(file, schema="nanoaod")
    parts = {
        name: ak.zip({f: lazy[name][f] for f in fields}, with_name="PtEtaPhiMCandidate")
        for name, fields in NEEDED.items()
    }
    together = hg.compute(parts, engine="kernel", progress=False)
    data = ak.zip({name: ak.to_packed(part[:most]) for name, part in together.items()}, depth_limit=1)
    million = len(data) / 1e6
    events = hg.from_awkward(data)
    from hepgraph.lazy.behavior import behaved

    whole = behaved(data.layout)
    chunks = [whole[i : i + CHUNK] for i in range(0, len(whole), CHUNK)]
    print(f"{len(data)} events of {file}; kernel, eager and vector in ms per 1M events")
    print(" " * 14 + "".join(f"{name:>{width}}" for name, width in COLUMNS.items()))
    cases = [Case(f"q{i + 1}", events, query().process) for i, query in enumerate(QUERIES)]
    other = with_vector(data[:CHUNK])
    for k in range(3):
        for case in cases:
            case.once(chunks, None if k else other)
    for case in cases:
        case.vector *= len(data) / len(other)
        print(case.row(million))
    for name in ("eager", "vector"):
        ratios = [getattr(case, name) / case.kernel for case in cases]
        mean = math.exp(sum(map(math.log, ratios)) / len(cases))
        print(f"geometric mean of the ratios to {name} {mean:.1f}; least {min(ratios):.1f}")
    together = Case("all eight", events, AllQueries().process)
    large = Case("240 hist., 20", events, lambda e: variations(e, 20, 12))
    ten = Case("10 variations", events, lambda e: variations(e, 10, 10))
    one = Case("1 variation", events, lambda e: variations(e, 1, 10))
    of_eight, of_one = [], []  # each round by itself: the machine may change its pace between rounds
    for _ in range(9):
        for case in (*cases, together, ten, one):
            case.once([])
        of_eight.append(together.last / sum(case.last for case in cases))
        of_one.append(ten.last / one.last)
    large.once([])
    for case in (together, large, ten, one):
        print(case.row(million))
    print(f"a fill of query 2: {1e6 * cases[1].kernel / int(ak.sum(ak.num(data.Jet))):.1f} ns, all told")
    print(f"eight in one kernel: {_spread(of_eight)} of the sum of the eight")
    print(f"ten variations in one pass: {_spread(of_one)} times one")
    print(f"two threads, each all eight: {scaling(together):.2f} of the time of one after the other")


def _spread(ratios: list[float]) -> str:
    """The median of some ratios, with the least and the most."""
    return f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def scaling(case: Case) -> float:
    """The wall time of two threads that run a kernel at once, over that of one thread that runs it twice."""
    kernel = case.each.compiled.kernel
    best = [math.inf, math.inf]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            ways: tuple[Callable[..., Any], ...] = (map, pool.map)
            for k, way in enumerate(ways):
                start = time.perf_counter()
                list(way(kernel.run, (case.loaded, case.loaded)))
                best[k] = min(best[k], time.perf_counter() - start)
    return best[1] / best[0]


if __name__ == "__main__":
    main()

"""1, 10, 40 and 120 variations of the jets: recording, planning, compiling, memory and running grow linearly.

usage: python benchmarks/variations.py [--events N] [--counts 1,10,40,120]

The analysis is that of a top quark: jets above a threshold, regions by the number of b-tags, the sum of transverse
momenta in one and the mass of the hardest trijet in the other; a variation scales the transverse momenta of all jets
before that. The events are made in memory. Each count runs in a Python of its own, without cached objects.
CPU seconds: `trace` is recording, the second time; `plan` the loops; `compile` machine code, cold; `run` the least of
three; `peak` is the memory of the process beside what it has before. The last lines are what one variation more costs,
between neighbouring counts: a constant if all is linear.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from typing import Any

import awkward as ak
import numpy as np

import hepgraph as hg
from hepgraph.graph.node import Node, ordered
from hepgraph.runner.compute import passes

COLUMNS = ("trace", "plan", "compile", "run", "peak")


def made(n: int) -> Any:
    """Events with jets."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(3.5, n)
    total = int(counts.sum())
    fields = {
        "pt": rng.exponential(30, total) + 15,
        "eta": rng.normal(0, 1.5, total),
        "phi": rng.uniform(-np.pi, np.pi, total),
        "mass": rng.exponential(5, total),
        "btag": rng.uniform(0, 1, total),
    }
    jets = ak.zip({name: ak.unflatten(values, counts) for name, values in fields.items()}, with_name="Momentum4D")
    return ak.zip({"jets": jets, "one_lepton": rng.uniform(0, 1, n) < 0.08}, depth_limit=1)


def analysis(events: Any, count: int) -> Any:
    """Two histograms with so many variations beside the nominal."""
    events = events[events.one_lepton]
    jets = events.jets
    shifts = {f"v{i}": {"pt": jets.pt * (1 + (i + 1) / (20 * count))} for i in range(count)}
    jets = hg.vary(jets, shifts)
    good = jets[(jets.pt > 30) & (abs(jets.eta) < 2.4)]
    tags = ak.sum(good.btag > 0.7, axis=1)
    few, many = good[(ak.num(good) >= 4) & (tags == 1)], good[(ak.num(good) >= 4) & (tags >= 2)]
    a, b, c = ak.unzip(ak.combinations(many, 3))
    top = a + b + c
    best = ak.argmax(top.pt, axis=1, keepdims=True)
    return {
        "4j1b": hg.Hist.new.Reg(25, 50, 550, name="x").Weight().fill(ak.sum(few.pt, axis=1)),
        "4j2b": hg.Hist.new.Reg(25, 50, 550, name="x").Weight().fill(ak.flatten(top[best].mass)),
    }


def measured(count: int, n: int) -> dict[str, float]:
    """All figures of one count, in this process."""
    events = hg.from_awkward(made(n))
    hg.compute(analysis(events, count + 1), executor="serial", progress=False)
    analysis(events, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    results = analysis(events, count)
    traced = time.process_time()
    ((only,), _) = passes(results)
    compiled = only.compiled
    planned = time.process_time()
    only.ready()
    built = time.process_time()
    assert compiled.kernel is not None
    runs = []
    for _ in range(3):
        begin = time.process_time()
        for part in only.partitions():
            only.run(part)
        runs.append(time.process_time() - begin)
    return {
        "operations": sum(isinstance(item, Node) for item in ordered(only.wants)),
        "trace": traced - start,
        "plan": planned - traced,
        "compile": built - planned,
        "run": min(runs),
        "peak": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--counts", default="1,10,40,120")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(measured(args.one, args.events)))
        return
    counts = [int(count) for count in args.counts.split(",")]
    rows = {}
    print(
        f"{'variations':>10} {'operations':>10}" + "".join(f"{name:>10}" for name in COLUMNS) + "   s; MB", flush=True
    )
    for count in counts:
        with tempfile.TemporaryDirectory() as empty:
            found = subprocess.run(
                [sys.executable, __file__, "--one", str(count), "--events", str(args.events)],
                env={**os.environ, "XDG_CACHE_HOME": empty},
                check=True,
                capture_output=True,
                text=True,
            )
        row = rows[count] = json.loads(found.stdout.splitlines()[-1])
        print(
            f"{count:>10} {row['operations']:>10.0f}" + "".join(f"{row[name]:>10.3f}" for name in COLUMNS), flush=True
        )
    print("one variation more, ms; MB:")
    for few, more in pairwise(counts):
        step = {name: (rows[more][name] - rows[few][name]) / (more - few) for name in COLUMNS}
        cells = "".join(f"{value if name == 'peak' else 1e3 * value:>10.2f}" for name, value in step.items())
        print(f"{f'{few} to {more}':>21}{cells}")


if __name__ == "__main__":
    main()

"""What the ledger, checkpoints and preprocessing cost: per range and per file, against the same without them.

    python benchmarks/ledger.py [--ranges 2000] [--files 50]

Every figure is a median of runs that take turns.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

import hepgraph as hg
from hepgraph.datasets.fileset import datasets
from hepgraph.executors import Serial
from hepgraph.executors.tree import Merger
from hepgraph.io.parquet.source import handles
from hepgraph.plan.passes import combine_all
from hepgraph.runner.compute import passes
from hepgraph.runner.opening import opened
from hepgraph.runner.options import Options
from hepgraph.runner.retry import Policy
from hepgraph.runner.run import Run

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample.parquet"


def small(events: Any) -> Any:
    """One histogram."""
    return {"h": hg.Hist.new.Reg(100, 0, 200, name="met").Double().fill(events.MET.pt)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranges", type=int, default=2000)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ranges(args.ranges, args.rounds, folder)
        files(args.files, args.rounds, folder)


def ranges(count: int, rounds: int, folder: Path) -> None:
    """A run in so many ranges: the bare loop, with the ledger, with a checkpoint, and out of a checkpoint."""
    events = hg.from_awkward(ak.Array({"MET_pt": np.arange(count) % 200.0}), count, schema="nanoaod")
    ((each,), _) = passes(small(events))

    def bare() -> None:
        merger = Merger(count, combine_all(each.sinks))
        for i, partition in enumerate(each.partitions()):
            merger.add(i, each.run(partition)[0])

    def ledger() -> None:
        hg.compute(small(events), executor=Serial(), progress=False)

    def checkpoint() -> None:
        Run(Options(Serial(), progress=False, checkpoint=folder / "cp")).results([each])

    def first() -> None:
        shutil.rmtree(folder / "cp", ignore_errors=True)
        checkpoint()

    took = in_turn({"bare loop": bare, "with ledger": ledger, "storing": first, "stored": checkpoint}, rounds)
    print(f"{count} ranges, microseconds a range")
    for name, seconds in took.items():
        more = seconds - took["bare loop"]
        print(f"  {name:<12} {seconds / count * 1e6:8.1f}  {more / count * 1e6:+8.1f}")


def files(count: int, rounds: int, folder: Path) -> None:
    """Opening so many files, preprocessing them, the same again, and opening what was preprocessed."""
    paths = [folder / f"{i}.parquet" for i in range(count)]
    for path in paths:
        shutil.copy(SAMPLE, path)
    fileset = {"all": [str(path) for path in paths]}
    known = hg.preprocess(fileset, executor="serial", cache=folder / "cache", progress=False)

    def fresh(work: Callable[[], Any]) -> Callable[[], None]:
        def call() -> None:
            handles.clear()
            work()

        return call

    def opening(what: Any) -> Callable[[], Any]:
        return lambda: [opened(each, None, 100_000, None, Policy()) for each in datasets(what)]

    took = in_turn(
        {
            "opening": fresh(opening(fileset)),
            "preprocessing": fresh(lambda: hg.preprocess(fileset, executor="serial", cache=False, progress=False)),
            "cached": fresh(lambda: hg.preprocess(fileset, executor="serial", cache=folder / "cache", progress=False)),
            "opening known": fresh(opening(known)),
        },
        rounds,
    )
    print(f"{count} files, milliseconds a file")
    for name, seconds in took.items():
        print(f"  {name:<14} {seconds / count * 1e3:8.3f}")


def in_turn(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median seconds of each, taking turns."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


if __name__ == "__main__":
    main()

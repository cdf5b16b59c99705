"""Masks first, then the rest: runs with late materialisation against the same runs without, for both formats of ROOT.

usage: python benchmarks/late.py [--events N] [--repeat N] [--folder DIR] [--only NAMES]

Events are drawn from data/sample.root (see reader_rntuple.py), 2500 in a basket or cluster, 100 000 in a range, into a
TTree and an RNTuple in DIR, if they are not there yet. Of each query: CPU times in ms, the least of several runs in
turn with and without; the median of the ratios of neighbours; and the share of the bytes that was passed over. The ADL
queries should not become slower; those below them choose few events, by lists, and should become faster.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from hepgraph.processors.adl import QUERIES, AllQueries
from reader_rntuple import batches

import hepgraph as hg
from hepgraph.io.rntuple.source import RNTupleSource
from hepgraph.io.ttree.source import RootSource

BASKET, RANGE = 2500, 100_000


def chosen(mask: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A query that looks at the muons and jets of the events that pass a mask."""

    def query(events: Any) -> Any:
        some = events[mask(events)]
        momenta = ak.sum(some.Muon.pt * np.cosh(some.Muon.eta), axis=1) + ak.sum(some.Muon.mass, axis=1)
        jets = (some.Jet.pt * np.cos(some.Jet.phi) + some.Jet.mass)[some.Jet.eta < 2]
        return [hg.Hist.new.Reg(50, 0, 200).Double().fill(x) for x in (momenta, jets, some.MET.pt)]

    return query


CHOSEN = {
    "numbers": chosen(lambda e: e.event % 50_000 == 1),
    "7 muons": chosen(lambda e: ak.num(e.Muon) >= 7),
    "3 muons": chosen(lambda e: ak.num(e.Muon) >= 3),
    "hard muons": chosen(lambda e: ak.sum(e.Muon.pt > 60, axis=1) >= 2),
    "very hard": chosen(lambda e: ak.sum(e.Muon.pt > 150, axis=1) >= 2),
}


def write(folder: Path, events: int) -> dict[str, Path]:
    """The same events as a TTree and as an RNTuple."""
    paths = {kind: folder / f"{kind}-{events}.root" for kind in ("TTree", "RNTuple")}
    if all(path.exists() for path in paths.values()):
        return paths
    made: dict[str, Any] = {}
    with (
        uproot.recreate(paths["TTree"], compression=uproot.ZSTD(5)) as tree,
        uproot.recreate(paths["RNTuple"], compression=uproot.ZSTD(5)) as ntuple,
    ):
        for large in batches(events):
            for start in range(0, len(large), BASKET):
                step = large[start : start + BASKET]
                fields = {name: step[name] for name in step.fields}
                if not made:
                    kinds = {name: each.type.content for name, each in fields.items()}
                    made = {"TTree": tree.mktree("Events", kinds), "RNTuple": ntuple.mkrntuple("Events", step[:0])}
                for each, what in (("TTree", fields), ("RNTuple", step)):
                    made[each].extend(what)
    return paths


def cpu(query: Callable[[Any], Any], path: Path, late: bool) -> tuple[float, float]:
    """The CPU time of a run, in ms, and the share of bytes passed over."""
    RootSource.skips_masked = RNTupleSource.skips_masked = late
    start = time.process_time()
    events = hg.open(str(path), schema="nanoaod", step_size=RANGE)
    _, report = hg.compute(query(events), executor="serial", progress=False, report=True)
    took = 1e3 * (time.process_time() - start)
    columns = {name for row in report.rows for name in row.names}
    stored = sum(events.source.columns[name].bytes for name in columns)
    return took, report.skipped / stored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", default="", help="names of queries, with commas between them")
    given = parser.parse_args()
    adl = {f"q{number}": query().process for number, query in enumerate(QUERIES, start=1)}
    queries = adl | {"all eight": AllQueries().process} | CHOSEN
    for kind, path in write(given.folder, given.events).items():
        print(f"{kind} of {given.events} events in ranges of {RANGE}: CPU times in ms")
        print(f"{'':12}{'late':>9}{'not':>9}{'ratio':>8}{'passed over':>13}")
        for name, query in queries.items():
            if given.only and name not in given.only.split(","):
                continue
            pairs = []
            for number in range(given.repeat + 1):
                order = (True, False) if number % 2 else (False, True)
                pair = {late: cpu(query, path, late) for late in order}
                pairs += [pair] if number else []  # the first run makes the machine code
            late, plain = (np.array([pair[each][0] for pair in pairs]) for each in (True, False))
            share = pairs[0][True][1]
            ratio = np.median(late / plain)
            print(f"{name:12}{late.min():9.1f}{plain.min():9.1f}{ratio:8.3f}{share:13.0%}", flush=True)


if __name__ == "__main__":
    main()

"""The eight ADL queries from a closed file to histograms, with the peers in turn.

usage: python benchmarks/adl.py [FILE] [--threads N] [--repeat N] [--engine NAME] [--peers DIR]

Columns, in ms, the best of several runs after the first: open (metadata), trace (recording the query), plan (ranges and
checks), build (schedule, and machine code out of the cache), read (columns into memory), run (the kernel), and the
whole; `cold` is the whole of the first run in a fresh Python, imports excluded. In a run on several threads, read and
run add up over the threads; `gain` is how many times faster a run is than the one on one thread beside it (the median),
and the last line says how many times more as many processes do at once than one alone: no more can be gained here.

DIR may hold, each in an environment of its own: `rdf`, the program that ../shared/peers/build_rdf.sh builds; `coffea`
and `graphed`, virtual environments for ../shared/peers/coffea_adl.py and graphed_adl.py. Whatever is there runs in turn
with ours, query by query, and the ratio of its time to ours is printed.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hepgraph.processors.adl import QUERIES, AllQueries

import hepgraph as hg
from hepgraph.runner.compute import passes

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT.parent / "shared" / "peers"
PARTS = ("open", "trace", "plan", "build", "read", "run", "whole")
LINE = re.compile(r"^(q\d)\s+best ([\d.]+)", re.MULTILINE)


@dataclass
class Case:
    """One query, its best times in ms, and those of the peers."""

    name: str
    work: Callable[[Any], Any]
    best: dict[str, float] = field(default_factory=dict)
    cold: float = math.nan
    gains: list[float] = field(default_factory=list)
    peers: dict[str, float] = field(default_factory=dict)

    def once(self, file: str, options: dict[str, Any]) -> None:
        """One run from the closed file; the first counts as the cold one."""
        times = one_run(self.work, file, options)
        if not self.best:
            self.cold, self.best = times["whole"], dict.fromkeys(PARTS, math.inf)
            return
        if times["whole"] < self.best["whole"]:
            self.best = times
        if options["executor"] != "serial":
            alone, several = (whole(self.work, file, each) for each in (options | {"executor": "serial"}, options))
            self.gains.append(alone / several)

    def row(self) -> str:
        """The case as a line of the table."""
        numbers = "".join(f"{self.best[part]:9.1f}" for part in PARTS) + f"{self.cold:9.1f}"
        gain = f"{statistics.median(self.gains):9.2f}" if self.gains else ""
        return f"{self.name:11}{numbers}{gain}" + "".join(
            f"{1e3 * peer:11.0f}{1e3 * peer / self.best['whole']:7.1f}x" for peer in self.peers.values()
        )


def whole(work: Callable[[Any], Any], file: str, options: dict[str, Any]) -> float:
    """The wall time of a run as users begin it, in ms."""
    start = time.perf_counter()
    hg.compute(work(hg.open(file, schema="nanoaod")), progress=False, **options)
    return 1e3 * (time.perf_counter() - start)


def one_run(work: Callable[[Any], Any], file: str, options: dict[str, Any]) -> dict[str, float]:
    """The wall time of a run as users begin it, and those of the parts of another one, with a report of them."""
    marks = [time.perf_counter()]

    def mark() -> float:
        marks.append(time.perf_counter())
        return 1e3 * (marks[-1] - marks[-2])

    times = {"whole": whole(work, file, options)}
    mark()
    events = hg.open(file, schema="nanoaod")
    times["open"] = mark()
    tree = work(events)
    times["trace"] = mark()
    (each,) = passes(tree, options["engine"])[0]
    each.partitions()
    times["plan"] = mark()
    _ = each.ready()
    times["build"] = mark()
    _, report = hg.compute(tree, report=True, progress=False, **options)
    times["read"] = 1e3 * sum(row.read_seconds for row in report.rows)
    times["run"] = 1e3 * sum(row.compute_seconds for row in report.rows)
    return times


ALONE = """
import sys, statistics
from hepgraph.processors.adl import AllQueries
sys.path.insert(0, {here!r})
from adl import whole
options = {{"engine": {engine!r}, "executor": "serial"}}
times = [whole(AllQueries().process, {file!r}, options) for _ in range({repeat} + 1)]
print(statistics.median(times[1:]))
"""


def ceiling(file: str, engine: str, repeat: int, processes: int) -> float:
    """How many times more of the work on one thread several processes do at once than one does alone."""
    names = {"here": str(Path(__file__).parent), "file": file, "engine": engine, "repeat": repeat}
    code = [sys.executable, "-c", ALONE.format(**names)]

    def at_once(many: int) -> float:
        children = [subprocess.Popen(code, stdout=subprocess.PIPE, text=True) for _ in range(many)]
        return statistics.mean(float(child.communicate()[0]) for child in children)

    return statistics.median(processes * at_once(1) / at_once(processes) for _ in range(3))


def peer_commands(folder: Path, file: str, threads: int) -> dict[str, list[str]]:
    """How to run each peer that is there, for one query."""
    found = {}
    if (folder / "rdf").exists():
        found["RDataFrame"] = [str(folder / "rdf"), file, str(threads), "3"]
    if (folder / "coffea").exists() and threads == 1:
        found["coffea"] = [
            str(folder / "coffea/bin/python"), str(SCRIPTS / "coffea_adl.py"), file, "--repeat", "2", "--queries"
        ]  # fmt: skip
    if (folder / "graphed").exists() and threads == 1:
        found["graphed"] = [
            str(folder / "graphed/bin/python"), str(SCRIPTS / "graphed_adl.py"), file, "--repeat", "2", "--queries"
        ]  # fmt: skip
    return found


def peer_time(command: list[str], query: str) -> float:
    """The best time of a peer, in seconds."""
    done = subprocess.run([*command, query], capture_output=True, text=True, check=False)
    line = LINE.search(done.stdout)
    if line is None:
        raise SystemExit(f"{command[0]} printed no time for {query}:\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
    return float(line[2])


def geometric(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(math.log(value) for value in values) / len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", default=str(ROOT / "data" / "sample.root"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--engine", default="kernel")
    parser.add_argument("--peers", type=Path, default=None)
    given = parser.parse_args()
    pool = ThreadPoolExecutor(given.threads)
    options = {"engine": given.engine, "executor": "serial" if given.threads == 1 else pool}
    commands = peer_commands(given.peers, given.file, given.threads) if given.peers else {}
    cases = [Case(f"q{i + 1}", query().process) for i, query in enumerate(QUERIES)]
    together = Case("all eight", AllQueries().process)
    for case in [*cases, together]:
        case.once(given.file, options)
    for case in cases:  # ours, the peers, ours again: nobody gets the quiet minutes
        for _ in range(given.repeat):
            case.once(given.file, options)
        for name, command in commands.items():
            case.peers[name] = peer_time(command, case.name)
        for _ in range(given.repeat):
            case.once(given.file, options)
    for _ in range(2 * given.repeat):
        together.once(given.file, options)
    columns = [*PARTS, "cold", "gain"] if given.threads > 1 else [*PARTS, "cold"]
    print(f"{given.file}: {hg.open(given.file).source.entries} events, {given.threads} thread(s), ms")
    print(" " * 11 + "".join(f"{part:>9}" for part in columns) + "".join(f"{n:>11}  ratio" for n in commands))
    for case in [*cases, together]:
        print(case.row())
    for name in commands:
        ratios = [1e3 * case.peers[name] / case.best["whole"] for case in cases]
        print(f"{name}: {geometric(ratios):.1f} times our time in the geometric mean, at least {min(ratios):.1f}")
    total = sum(case.best["whole"] for case in cases)
    if given.threads > 1:
        gains = [statistics.median(case.gains) for case in cases]
        limit = ceiling(given.file, given.engine, given.repeat, given.threads)
        print(f"{given.threads} threads: {geometric(gains):.2f} times as fast as one in the geometric mean;")
        print(f"as many processes at once, each on one thread, do {limit:.2f} times the work of one alone")
    print(f"all eight in one pass: {together.best['whole'] / total:.2f} of the sum of the eight apart")


if __name__ == "__main__":
    main()

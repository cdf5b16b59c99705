"""The ttbar analysis of the AGC from a closed file to histograms, with RDataFrame and coffea in turn.

usage: python benchmarks/agc.py [FILE] [--peers DIR] [--sets none,agc,all] [--rounds N] [--threads N] [--process NAME]

FILE is one of ../shared/bench/make_agc_data.py (500 000 events are usual; without it, 20 000 are made). Each program
runs in a process of its own, one after the other, `--rounds` times: its first run there is the cold one, then come warm
ones. Printed are, of ours, the best wall and the least CPU seconds of a warm run, those of the cold run, the CPU
seconds of recording and planning in them, and the peak memory of the process; of each peer its CPU seconds, and how
many times ours they are: the least of all rounds for both, which on a noisy machine is the better measure. On several
threads wall times are compared. The histograms of all programs must be equal: the same entries in each bin, sums of
weights up to 1e-9. The last line tells the CPU time of a further shape (there are 20 between agc and all) and of a
further weight (8 of agc, which is run without them as well), and how much more memory all variations take than none.

DIR may hold, each in an environment of its own: `agc_rdf`, the program that ../shared/peers/build_rdf.sh builds of
agc_rdf.cxx; `coffea`, a virtual environment for ../shared/peers/agc_coffea.py.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hepgraph.processors.ttbar import CROSS_SECTIONS, LUMINOSITY, Ttbar

import hepgraph as hg
from hepgraph.runner.compute import passes

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT.parent / "shared" / "peers"
LINE = re.compile(r"^(?P<set>\w+)\s+best (?P<wall>[\d.]+).*\bcpu (?P<cpu>[\d.]+)", re.MULTILINE)
WEIGHTS = re.compile(r"btag_var|scale_var")  # variations of the weight: sums are compared, not entries


class Shapes(Ttbar):
    """The analysis without variations of weights."""

    leading = 0


def analysis(which: str) -> Ttbar:
    """The analysis with a set of variations; `shapes` are those of agc without its weights."""
    return Shapes("agc") if which == "shapes" else Ttbar(which)


def once(file: str, which: str, process: str, events: int, executor: Any) -> Any:
    """The histograms, as users begin it: from the closed file."""
    fileset = {process: {"files": [file], "metadata": {"events": events}}}
    return hg.run(analysis(which), fileset, executor=executor, progress=False)


def planned(file: str, which: str, process: str, events: int) -> float:
    """CPU seconds of recording the analysis and planning its passes, with the machine code at hand."""
    metadata = {"dataset": process, "events": events}
    opened = hg.from_root(file, tree="Events", schema="nanoaod", metadata=metadata)
    start = time.process_time()
    for each in passes(analysis(which).process(opened))[0]:
        each.partitions()
        each.ready()
    return time.process_time() - start


def ours(given: argparse.Namespace) -> None:
    """One round of ours, in this process: prints a line as the peers do, with more, and writes the histograms."""
    events = hg.from_root(given.file, tree="Events", schema="nanoaod").source.entries
    executor = "serial" if given.threads == 1 else hg.executors.Threads(given.threads)
    wall, cpu = [], []
    for _ in range(given.repeat + 1):
        start, busy = time.perf_counter(), time.process_time()
        hists = once(given.file, given.sets, given.process, events, executor)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    plan = min(planned(given.file, given.sets, given.process, events) for _ in range(3))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{given.sets}  best {min(wall[1:]):.3f}  cold {wall[0]:.3f}  cold cpu {cpu[0]:.3f}  plan {plan:.3f}  "
        f"memory {memory:.0f}  cpu {min(cpu[1:]):.3f}"
    )
    found = {r: {v: h[:, v].values(flow=True).tolist() for v in h.axes["variation"]} for r, h in hists.items()}
    Path(given.out).write_text(json.dumps(found))


@dataclass
class Program:
    """A command, the numbers that it printed in each round, and its histograms."""

    name: str
    command: list[str]
    rounds: list[dict[str, float]] = field(default_factory=list)
    bins: Any = None

    def run(self, which: str) -> None:
        """One more round."""
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            words = [word.format(which=which, out=out.name) for word in self.command]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            line = LINE.search(done.stdout)
            if line is None or line["set"] != which:
                raise SystemExit(f"{' '.join(words)}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
            told = dict(re.findall(r"(cold cpu|cold|plan|memory) ([\d.]+)", line[0]))
            numbers = {name: float(value) for name, value in told.items()}
            self.rounds.append(numbers | {"wall": float(line["wall"]), "cpu": float(line["cpu"])})
            self.bins = json.loads(Path(out.name).read_text())

    def least(self, what: str) -> float:
        """The least of the rounds."""
        return min(each[what] for each in self.rounds)


def programs(given: argparse.Namespace) -> list[Program]:
    """Ours, and the peers that are there."""
    here = [sys.executable, __file__, given.file, "--sets", "{which}", "--out", "{out}", "--process", given.process]
    found = [Program("hepgraph", [*here, "--threads", str(given.threads), "--repeat", str(given.repeat)])]
    if given.peers and (rdf := given.peers / "agc_rdf").exists():
        words = [given.file, str(given.threads), str(given.repeat), "{which}", given.process, "agc", "{out}"]
        found.append(Program("RDataFrame", [str(rdf), *words]))
    if given.peers and (python := given.peers / "coffea" / "bin" / "python").exists() and given.threads == 1:
        words = [given.file, "--variations", "{which}", "--process", given.process, "--repeat", "1", "--out", "{out}"]
        found.append(Program("coffea", [str(python), str(SCRIPTS / "agc_coffea.py"), *words]))
    return found


def differences(mine: Any, other: Any, nominal: float) -> list[str]:
    """The bins in which two programs differ, in words."""
    found = []
    for region, each in mine.items():
        if each.keys() != other[region].keys():
            found.append(f"{region}: other variations: {sorted(each.keys() ^ other[region].keys())}")
        for name in each.keys() & other[region].keys():
            for i, (a, b) in enumerate(zip(each[name], other[region][name], strict=True)):
                a, b = a / nominal, b / nominal
                close = abs(a - b) <= 1e-9 * max(abs(a), 1)
                if not (close if WEIGHTS.match(name) else close or (round(a) == round(b) and abs(b - round(b)) < 1e-6)):
                    found.append(f"{region} {name} bin {i}: {a:.9g} and {b:.9g}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", default="")
    parser.add_argument("--peers", type=Path, default=None)
    parser.add_argument("--sets", default="none,agc,all")
    parser.add_argument("--process", default="ttbar", choices=CROSS_SECTIONS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help=argparse.SUPPRESS)  # one round of ours
    given = parser.parse_args()
    if given.out:
        ours(given)
        return 0
    if given.file:
        return measured(given)
    maker = SCRIPTS.parent / "bench" / "make_agc_data.py"
    if not maker.exists():
        print("give a FILE: there is no ../shared/bench/make_agc_data.py to make one")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        words = [str(maker), folder, "--process", given.process, "--events", "20000"]
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        given.file = f"{folder}/agc_{given.process}.root"
        return measured(given)


def measured(given: argparse.Namespace) -> int:
    """Measures all programs for each set of variations; gives 1 if some histograms are not equal."""
    events = hg.from_root(given.file, tree="Events", schema="nanoaod").source.entries
    nominal = CROSS_SECTIONS[given.process] * LUMINOSITY / events
    measure, different = ("cpu" if given.threads == 1 else "wall"), False
    print(f"{given.file}: {events} events, {given.threads} thread(s)")
    mine: dict[str, Program] = {}
    for which in given.sets.split(","):
        first, *others = programs(given)
        mine[which] = first
        turns = [(program, which) for program in (first, *others)]
        if which == "agc":
            mine["shapes"] = programs(given)[0]
            turns.append((mine["shapes"], "shapes"))
        for _ in range(given.rounds):
            for program, analysed in turns:
                program.run(analysed)
        print(
            f"{which}: best {first.least('wall'):.3f} s, cpu {first.least('cpu'):.3f}; cold {first.least('cold'):.3f}, "
            f"cpu {first.least('cold cpu'):.3f}; recorded and planned {first.least('plan'):.3f}; "
            f"{first.least('memory'):.0f} MB",
            flush=True,
        )
        for program in others:
            bad = differences(first.bins, program.bins, nominal)
            different |= bool(bad)
            ratio = program.least(measure) / first.least(measure)
            print(
                f"  {program.name:11} best {program.least('wall'):.3f} s, cpu {program.least('cpu'):.3f}: {ratio:.2f} "
                f"times ours; histograms {'equal' if not bad else 'DIFFER: ' + '; '.join(bad[:3])}",
                flush=True,
            )
    if mine.keys() >= {"none", "agc", "all"}:
        cpu = {which: 1e3 * program.least("cpu") for which, program in mine.items()}
        shape = (cpu["all"] - cpu["agc"]) / 20
        weight = (cpu["agc"] - cpu["shapes"]) / 8
        memory = mine["all"].least("memory") / mine["none"].least("memory")
        print(f"a further shape {shape:.1f} ms, a further weight {weight:.1f} ms; memory of all {memory:.2f} of none")
    return int(different)


if __name__ == "__main__":
    sys.exit(main())

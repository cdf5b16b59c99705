"""What running on dask costs: chunks that compute nothing, two workers against one, and a model of a large cluster.

usage: python benchmarks/scale.py [FILE...] [--chunks N] [--small N] [--peers PYTHON] [--engine NAME] [--rounds N]

The ADL queries run over FILE..., of a million events if it is to say something; without, over copies of the sample.
--chunks (100000) is the number of chunks that compute nothing, --small (1000) that for those who make a task of each.
--peers is the Python of an environment that has coffea and dask-awkward (python -m venv P; P/bin/pip install coffea
dask-awkward distributed), to measure them; `client.map` is always measured. --engine (kernel) and --rounds (7) are for
the queries. All of it takes some three minutes on two idle cores.

Strong scaling is the median over the rounds of what one worker takes to what two take, one after the other. Beside it
is the machine's own ceiling, from the same rounds: one process with a worker alone, then two such processes, which know
nothing of each other, at the same time: 2 * alone / both. Cores that share caches, or belong to others, do not give 2.

The cluster is a LocalCluster of two workers with one thread each. Its scheduler lives in this process: time and memory
are those of client and scheduler together. CPU time is printed beside wall time, for it says more on a busy machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from distributed import Client, LocalCluster, as_completed

from hepgraph.executors.interface import Work

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.root"
PATIENCE = 90  # seconds for a peer
PARTS = 12  # ranges that the queries have at least, so that two workers can share them
LINE = "{:<46}{:>9}{:>12}{:>12}{:>12}"


@dataclass
class Cost:
    """What n chunks took, in this process."""

    chunks: int
    wall: float
    cpu: float
    memory: int  # bytes more than before, at the worst

    def line(self, name: str) -> str:
        each = (1e6 * self.wall / self.chunks, 1e6 * self.cpu / self.chunks, self.memory / self.chunks)
        return LINE.format(name, self.chunks, *(f"{value:.1f}" for value in each))


def cost(chunks: int, work: Callable[[], Any]) -> Cost:
    """Wall and CPU seconds of a call, and by how much this process grew meanwhile."""
    me, stop, most = psutil.Process(), threading.Event(), [0]
    gc.collect()
    before = me.memory_info().rss

    def look() -> None:
        while not stop.wait(0.02):
            most[0] = max(most[0], me.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        work()
    finally:
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        stop.set()
        watcher.join()
    return Cost(chunks, wall, cpu, max(0, most[0] - before))


@contextmanager
def cluster(workers: int = 2) -> Iterator[Any]:
    """A Client of a fresh LocalCluster."""
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR
        ) as there,
        Client(there) as client,
    ):
        client.wait_for_workers(workers)
        yield client


def nothing(chunk: Any) -> int:
    """The work of a chunk, for those who make a task of each."""
    return 1


class Nothing(Work):
    """The same as work that adds up."""

    def __call__(self, task: Any) -> tuple[int, None]:
        return 1, None

    def combine(self, tree: int) -> Callable[[int, int], int]:
        return int.__add__


# who is compared


def hepgraph(client: Any, chunks: int) -> Cost:
    """The sum of so many ones by hepgraph's executor."""
    from hepgraph.executors import Dask
    from hepgraph.executors.interface import Tree
    from hepgraph.executors.tree import Merger

    def run() -> None:
        merger = Merger(chunks, int.__add__)
        for part in Dask(client).fold(Nothing(), range(chunks), [Tree(0, chunks, "nothing")]):
            merger.add(part.index, part.value, part.level)
        assert merger.result == chunks

    return cost(chunks, run)


def futures(client: Any, chunks: int) -> Cost:
    """A future for each chunk, added up as they come."""

    def run() -> None:
        total = 0
        for batch in as_completed(client.map(nothing, range(chunks), pure=False), with_results=True).batches():
            total += sum(value for _, value in batch)
        assert total == chunks

    return cost(chunks, run)


def coffea(client: Any, chunks: int) -> Cost:
    """coffea's DaskExecutor, adding up sets of one number."""
    from coffea.processor import DaskExecutor

    def run() -> None:
        executor = DaskExecutor(client=client, status=False, compression=None)
        out, _ = executor(range(chunks), lambda item: {"n": 1}, None)
        assert out["n"] == chunks

    return cost(chunks, run)


def dask_awkward(client: Any, chunks: int) -> Cost:
    """A sum over a dask-awkward collection with so many partitions."""
    import awkward as ak
    import dask_awkward as dak

    def run() -> None:
        meta = ak.Array(ak.Array([1]).layout.to_typetracer(forget_length=True))
        ones = dak.from_map(lambda i: ak.Array([1]), range(chunks), meta=meta)
        assert dak.sum(ones, axis=0).compute(scheduler=client) == chunks

    return cost(chunks, run)


PEERS = {"coffea": coffea, "dask_awkward": dask_awkward}


def peer(python: str, name: str, chunks: int) -> Cost | str:
    """What a peer costs, measured in an environment of its own; or why it was not."""
    command = [python, __file__, "--peer", name, str(chunks)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"{chunks} chunks took more than {PATIENCE} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it failed"])[-1][:100]
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


# a million, with workers that are not there


class Imagined:
    """A Client with threads that are not there: a task is done when it is submitted, and took as long as it says."""

    status = "running"
    scheduler = SimpleNamespace(address="nowhere")

    def __init__(self, threads: int, seconds: float) -> None:
        self.threads, self.seconds, self.tasks = threads, seconds, 0

    def nthreads(self) -> dict[str, int]:
        return {"nowhere": self.threads}

    def submit(self, function: Any, plan: str, place: Any, *arguments: Any, key: str, **_: Any) -> Any:
        from hepgraph.executors.dask_sums import NodeSum, add_up

        self.tasks += 1
        if function is add_up:
            first, tasks = arguments
            made = NodeSum(
                place.level, place.index, self.sum(len(tasks)), [(first + i, None) for i in range(len(tasks))], 0
            )
            made.seconds = self.seconds * len(tasks)
        else:
            count, parts = arguments
            rows = [row for part in parts for row in part.made.rows]
            made = NodeSum(place.level, place.index, self.sum(count), rows, sum(part.made.seconds for part in parts))
        done: Any = SimpleNamespace(key=key, status="finished", made=made)
        done.add_done_callback = lambda call: call(done)
        return done

    def sum(self, count: int) -> bytes:
        import pickle

        return pickle.dumps(count)

    def gather(self, futures: list[Any]) -> list[Any]:
        return [future.made for future in futures]

    def cancel(self, futures: list[Any]) -> None:
        """Nothing is under way."""


def imagined(chunks: int, threads: int, seconds: float) -> tuple[Cost, int]:
    """What a run costs this process with workers that are not there, and the tasks that a scheduler would get."""
    from hepgraph.executors.dask_reduce import Fold, WorkerPatience
    from hepgraph.executors.interface import Tree
    from hepgraph.executors.tree import Merger

    client = Imagined(threads, seconds)
    plan: Any = SimpleNamespace(client=client, token="0", name="imagined", send=lambda: None)

    def run() -> None:
        merger = Merger(chunks, int.__add__)
        for part in Fold(plan, Nothing(), range(chunks), [Tree(0, chunks)], 2.0, WorkerPatience()).parts():
            merger.add(part.index, part.value, part.level)
        assert merger.result == chunks

    return cost(chunks, run), client.tasks


# the ADL queries


def copies(folder: Path, count: int = 8) -> list[str]:
    """So many copies of the sample, in a folder."""
    return [str(shutil.copy(SAMPLE, folder / f"{i:02}.root")) for i in range(count)]


def queries_of(files: list[str]) -> tuple[Any, Any]:
    """The events of the files, in enough ranges, and all eight ADL queries of them."""
    from hepgraph.processors import adl

    import hepgraph as hg

    events = hg.open(files, schema="nanoaod")
    if events.npartitions < PARTS:
        events = events.repartition(PARTS)
    return events, adl.AllQueries().process(events)


def lone(engine: str, files: list[str]) -> None:
    """What a lone process does: the queries on a worker of its own, whenever it is told; it says how long they took."""
    import hepgraph as hg

    _, lazy = queries_of(files)
    with cluster(1) as client:
        hg.compute(lazy, executor=client, engine=engine)  # imports, and compiles
        print("ready", flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            hg.compute(lazy, executor=client, engine=engine)
            print(time.perf_counter() - start, flush=True)


@contextmanager
def loners(engine: str, files: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Two lone processes, ready to be told."""
    command = [sys.executable, __file__, "--lone", engine, *files]
    made = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for each in made:
            if answer(each) != "ready":
                raise RuntimeError("a lone process has not come up; what it said is above")
        yield made
    finally:
        for each in made:
            with each:  # it ends when nothing more can come
                pass


def answer(process: subprocess.Popen[str]) -> str:
    """The next line that a lone process says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def at_once(processes: list[subprocess.Popen[str]]) -> float:
    """Seconds that lone processes take for the queries at the same time: those of the one that takes longest."""
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    return max(float(answer(each)) for each in processes)


def queries(files: list[str], engine: str, rounds: int) -> dict[str, float]:
    """Median seconds of all eight ADL queries in this process, on one and on two workers, and by lone processes.

    All in turn, and the median ratios of what ran in the same round: "scaling", and the "ceiling" of the machine.
    """
    import hepgraph as hg

    events, lazy = queries_of(files)
    took: dict[str, list[float]] = {}
    sums: dict[str, Any] = {}
    with cluster(1) as one, cluster(2) as two, loners(engine, files) as both:
        where = {"serial": "serial", "1 worker": one, "2 workers": two}
        for i in range(rounds + 1):
            seconds = {}
            for name, executor in where.items():
                start = time.perf_counter()
                sums[name] = hg.compute(lazy, executor=executor, engine=engine)
                seconds[name] = time.perf_counter() - start
            seconds["alone"], seconds["two at once"] = at_once(both[:1]), at_once(both)
            seconds["scaling"] = seconds["1 worker"] / seconds["2 workers"]
            seconds["ceiling"] = 2 * seconds["alone"] / seconds["two at once"]
            if i:  # the first does not count: workers import, and compile
                for name, value in seconds.items():
                    took.setdefault(name, []).append(value)
    assert all(sums[name][q] == h for name in sums for q, h in sums["serial"].items()), "not the same bits"
    found = {name: statistics.median(values) for name, values in took.items()}
    for name in ("scaling", "ceiling"):
        found[f"least {name}"], found[f"most {name}"] = min(took[name]), max(took[name])
    found["events"], found["ranges"] = events.source.entries, events.npartitions
    found["bytes"] = sum(hg.necessary_columns(lazy).values())
    return found


def told(found: dict[str, float], engine: str, rounds: int) -> None:
    """Prints what the queries took."""
    print(
        f"\nthe ADL queries on {found['events']:,.0f} events in {found['ranges']:.0f} ranges, engine={engine!r}, "
        f"medians of {rounds} rounds, in turn"
    )
    for name in ("serial", "1 worker", "2 workers", "alone", "two at once"):
        print(f"  {name:<12}{found[name]:7.2f} s")
    for name, what in (("scaling", "two workers against one"), ("ceiling", "of the machine: two lone runs at once")):
        spread = f"{found[f'least {name}']:.2f} to {found[f'most {name}']:.2f}"
        print(f"  {name:<12}{found[name]:7.2f}   {what} ({spread})")
    print(f"  two workers reach {100 * found['scaling'] / found['ceiling']:.0f} % of what the machine gives")


def model(task: float, client: float, found: dict[str, float]) -> None:
    """Says what 200 Gbit/s on 2000 cores asks of each part."""
    from hepgraph.executors.dask_reduce import SCHEDULER_SECONDS

    rate, cores, step, merge = 25e9, 2000, 100_000, 8
    size = found["bytes"] / found["events"] * step
    chunks = rate / size
    speed = found["events"] / found["serial"]
    batch = max(2.0, SCHEDULER_SECONDS * cores)
    second = chunks / cores  # chunks that a core has to do in a second
    ranges = 2 ** max(0, int(batch * second).bit_length() - 1)
    tasks = chunks / ranges * (1 + 1 / merge)
    print(f"\nA model, from the figures above: 200 Gbit/s (25 GB/s, compressed) on {cores} cores")
    print(f"  a chunk of {step:,} events is {size / 1e6:.1f} MB on disk: {chunks:,.0f} chunks/s, {second:.2f} a core")
    print(f"  a core must do {step * second / 1e6:.2f}M events/s; measured here, one core: {speed / 1e6:.2f}M events/s")
    print(f"    so {cores} cores like this one do {cores * speed / step * size * 8 / 1e9:,.0f} Gbit/s of these queries")
    print(
        f"  batches of {batch:g} s are {ranges} chunks; with a merge for {merge} of them, {tasks:,.0f} tasks of dask/s,"
    )
    print(f"    each {1e6 * task:.0f} us of CPU of client and scheduler: {100 * tasks * task:.0f} % of a core")
    print(f"  this process alone: {1e6 * client:.1f} us a chunk, {100 * chunks * client:.1f} % of a core")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--engine", action="append", choices=("interpreter", "kernel"))
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        with cluster() as client:
            PEERS[sys.argv[2]](client, 10)
            print(json.dumps(PEERS[sys.argv[2]](client, int(sys.argv[3])).__dict__))
        return
    if sys.argv[1:2] == ["--lone"]:
        lone(sys.argv[2], sys.argv[3:])
        return
    given = arguments()
    chunks, small = given.chunks, given.small
    print(LINE.format("chunks that compute nothing", "chunks", "wall us", "CPU us", "bytes each"))
    plain = []
    with cluster() as client:
        hepgraph(client, 1000)  # imports
        futures(client, 100)
        for _ in range(2):
            print(hepgraph(client, chunks).line("hepgraph, executor=Client"))
            plain.append(futures(client, small))
            print(plain[-1].line("a future for each (client.map, as_completed)"))
    for name in PEERS:
        cost = peer(given.peers, name, small) if given.peers else "no environment was given (--peers)"
        print(f"{name}: not measured: {cost}" if isinstance(cost, str) else cost.line(name))
    task = min(each.cpu / each.chunks for each in plain)
    print(f"\nworkers that are not there (of {1e6 * task:.0f} us of CPU for each task of dask, as measured above)")
    print(LINE.format("this process alone", "chunks", "wall us", "CPU us", "bytes each"))
    for threads, seconds in ((2, 1e-5), (2000, 1.0)):
        alone, tasks = imagined(1_000_000, threads, seconds)
        print(alone.line(f"{threads} threads, {seconds:g} s a chunk"))
        per = tasks / alone.chunks
        length = alone.chunks * seconds / threads
        print(f"  {tasks:,} tasks of dask: {1e6 * per * task:.1f} us a chunk; {tasks * task:,.0f} s of {length:,.0f} s")
    for engine in given.engine or ("kernel",):
        with tempfile.TemporaryDirectory() as folder:
            found = queries(given.files or copies(Path(folder)), engine, given.rounds)
        told(found, engine, given.rounds)
        model(task, alone.cpu / alone.chunks, found)


if __name__ == "__main__":
    main()

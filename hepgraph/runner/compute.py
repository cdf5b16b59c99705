"""Computing: any nest of lazy things, in one pass over each dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.arguments import spoken
from hepgraph.errors import LazyError
from hepgraph.executors import Executor, pick
from hepgraph.io.source import Origin, Partition
from hepgraph.lazy.array import HOOKS, Lazy
from hepgraph.lazy.varied import Variations, Varied
from hepgraph.plan.passes import AnyPass, ArraySink, Pass, Sink, sink_of
from hepgraph.runner.dependencies import Dependencies
from hepgraph.runner.progress import progress_bar
from hepgraph.runner.provenance import provenance
from hepgraph.runner.report import Report
from hepgraph.runner.retry import Policy
from hepgraph.runner.runner import Course, Running, course_of

ENGINES = ("auto", "interpreter", "kernel")
# kinds of lazy results other than arrays: how they split into sinks, and how they come back
KINDS: dict[type, Callable[[Any], list[tuple[Origin, Sink]]]] = {}
FINISH: dict[type, Callable[[Any, list[Any]], Any]] = {}


def leaves(tree: Any) -> list[Any]:
    """The lazy things in a nest of dicts, lists and tuples."""
    found: list[Any] = []

    def walk(part: Any) -> None:
        if isinstance(part, Lazy) or type(part) in KINDS or isinstance(part, tuple(KINDS)):
            found.append(part)
        elif isinstance(part, Mapping):
            for value in part.values():
                walk(value)
        elif isinstance(part, list | tuple | set):
            for value in part:
                walk(value)

    walk(tree)
    return found


def rebuilt(tree: Any, new: Mapping[int, Any]) -> Any:
    """The nest with its lazy things replaced, by their identity."""
    if id(tree) in new:
        return new[id(tree)]
    if isinstance(tree, Mapping):
        made = {key: rebuilt(value, new) for key, value in tree.items()}
        return made if type(tree) is dict else _like(tree, made)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuilt(value, new) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(rebuilt(value, new) for value in tree)
    return tree


def _like(old: Mapping[Any, Any], made: dict[Any, Any]) -> Any:
    import copy

    other: Any = copy.copy(old)
    for key, value in made.items():
        other[key] = value
    return other


def passes(tree: Any, engine: str = "auto") -> tuple[list[Pass], list[tuple[Any, list[tuple[int, int]]]]]:
    """One pass for each dataset, and where each lazy thing finds its parts: (pass, sink)."""
    sinks: dict[Origin, list[Sink]] = {}
    places: list[tuple[Any, list[tuple[Origin, int]]]] = []
    for leaf in leaves(tree):
        parts = _split(leaf) if type(leaf) is not Lazy else [(leaf._origin, sink_of(leaf))]
        where = []
        for origin, sink in parts:
            mine = sinks.setdefault(origin, [])
            mine.append(sink)
            where.append((origin, len(mine) - 1))
        places.append((leaf, where))
    made = [Pass(origin, tuple(each), engine) for origin, each in sinks.items()]
    number = {p.origin: i for i, p in enumerate(made)}
    return made, [(leaf, [(number[origin], i) for origin, i in where]) for leaf, where in places]


def _split(leaf: Any) -> list[tuple[Origin, Sink]]:
    for kind, split in KINDS.items():
        if isinstance(leaf, kind):
            return split(leaf)
    raise AssertionError(f"no sink for {type(leaf).__name__}")


def finished(leaf: Any, values: list[Any]) -> Any:
    """The result of a lazy thing, from the finished results of its sinks."""
    if type(leaf) is Lazy:
        return values[0]
    for kind, finish in FINISH.items():
        if isinstance(leaf, kind):
            return finish(leaf, values)
    raise AssertionError(f"no finish for {type(leaf).__name__}")


@spoken("Several go in one list or dict: compute([a, b]).")
def compute(
    tree: Any,
    *,
    executor: Any = None,
    engine: str = "auto",
    progress: bool | None = None,
    report: bool = False,
    on_error: str = "raise",
    retries: int = 3,
    checkpoint: str | Path | None = None,
    trust: bool | Sequence[str] = False,
    depends: Sequence[Any] = (),
    resume: Report | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Any:
    """Computes everything lazy in a nest of dicts, lists and tuples, in one pass over each dataset.

    What is varied (`hg.vary`) becomes a dict of results by variation, a histogram one with an axis for them.

    `executor`: "serial", "threads", "processes", "dask", a dask Client, Cluster or address, an object of
    `hg.executors`, or a `concurrent.futures.Executor`; the current dask Client, if there is one, else threads.
    `engine`: "auto", which is "kernel", compiles histograms, reductions and arrays to native code, and takes from the
    interpreter the parts that the kernel does not know (`hg.explain` names them); "interpreter" takes the plain path.
    `progress`: shown in a terminal or notebook unless False.
    With `report=True`, gives (results, report); the report has a row for each range.

    `on_error`, `retries`, `checkpoint`, `trust`, `depends` and `resume` are those of `hg.run`: what becomes of ranges
    that cannot be read, and how to go on with a run that was stopped. `storage_options` are for a checkpoint by URL.

    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0, 3.0]), npartitions=2)
    >>> out = hg.compute({"twice": 2 * x, "n": ak.num(x, axis=0)}, executor="serial")
    >>> out["twice"].to_list(), out["n"]
    ([2.0, 4.0, 6.0], np.int64(3))
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    runner = pick(executor)
    made, places = passes(tree, engine)
    course = course_of(Policy(on_error, retries), checkpoint, resume, storage_options, Dependencies.of(trust, depends))
    ledger = Report(provenance=provenance() if report or course.checkpoint is not None else {})

    def assembled(results: list[list[Any]]) -> Any:
        new = {id(leaf): finished(leaf, [results[p][i] for p, i in where]) for leaf, where in places}
        return rebuilt(tree, new)

    if runner.watch is not None:
        runner.watch.then(assembled)
    out = assembled(run_passes(made, runner, progress, ledger, course))
    return (out, ledger) if report else out


def run_passes(
    made: Sequence[AnyPass], runner: Executor, progress: bool | None, ledger: Report, course: Course | None = None
) -> list[Any]:
    """The finished results of each pass; rows go to the ledger."""
    running = Running(made, ledger, course or Course())
    runner.notes = ()
    with running.on():
        tasks = running.tasks
        if runner.watch is not None:
            runner.watch.begin(running, ledger, len(tasks))
        with progress_bar(len(tasks), progress, runner.name) as tick:
            while tasks:
                for part in running.parts(runner, tasks):
                    running.take(part.value, [(tasks[index], told) for index, told in part.rows])
                    tick(sum(told.events for _, told in part.rows))
                tasks = running.again()
        ledger.notes += runner.notes
        return running.results()


def persist(x: Lazy, **options: Any) -> Lazy:
    """The array computed and kept in memory, as a lazy array in as many partitions."""
    from hepgraph.datasets.events import from_awkward

    parts = x.npartitions
    result = compute(x, **options)
    if not isinstance(result, ak.Array):
        raise LazyError("a reduction over the whole dataset is one number; use .compute()")
    return from_awkward(result, npartitions=parts, metadata=x.metadata)


def head(x: Lazy, n: int = 5) -> Any:
    """The first n rows of the first partition, reading as few entries as will do."""
    if not isinstance(n, int | np.integer) or n < 0:
        raise ValueError(f"head(n) takes the number of rows, from the first one, not {n!r}")
    sink = sink_of(x)
    if not isinstance(sink, ArraySink):
        return compute(x, progress=False)
    each = Pass(x._origin, (sink,))
    whole = each.partitions()[0]
    size = n if not x._guard and x._rows.kind == "events" else max(200, 20 * n)
    while True:
        stop = min(whole.start + size, whole.stop)
        part = Partition(whole.path, whole.tree, whole.start, stop, whole.first)
        partials, _ = each.run(part)
        found = sink.finish(partials[0])
        if len(found) >= n or stop == whole.stop:
            return found[:n]
        size *= 10


def necessary_columns(tree: Any) -> dict[str, int]:
    """The columns that a lazy thing, or a nest of them, needs, and their size on disk in bytes; reads nothing.

    >>> import hepgraph as hg
    >>> events = hg.from_root("data/sample.root", schema="nanoaod")
    >>> sorted(hg.necessary_columns(events.Muon.pt[events.Muon.charge > 0]))
    ['Muon_charge', 'Muon_pt', 'nMuon']
    """
    found: dict[str, int] = {}
    for each in passes(lazy_things(tree))[0]:
        for name in each.columns():
            found[name] = found.get(name, 0) + each.origin.source.columns[name].bytes
    return dict(sorted(found.items()))


def lazy_things(tree: Any) -> Any:
    """The same nest; raises LazyError for what is run, and has lazy results only then."""
    if not isinstance(tree, Lazy) and (callable(tree) or hasattr(tree, "process")) and not leaves(tree):
        name = getattr(tree, "__name__", type(tree).__name__)
        call = f"{name}().process(events)" if hasattr(tree, "process") else f"{name}(events)"
        raise LazyError(f"{name} itself has nothing lazy in it; what it makes of events has: {call}.")
    return tree


def _compute_one(x: Any, **options: Any) -> Any:
    return compute(x, **options)


def _varied_sinks(x: Varied) -> list[tuple[Origin, Sink]]:
    return [(each._origin, sink_of(each)) for each in x._each.values()]


KINDS[Varied] = _varied_sinks
FINISH[Varied] = lambda x, values: Variations(zip(x.variations, values, strict=True))
HOOKS["compute"] = _compute_one
HOOKS["persist"] = persist
HOOKS["head"] = head

"""Computing: any nest of lazy things, in one pass over each dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.arguments import checks_arguments
from hepgraph.errors import LazyError
from hepgraph.io.source import Origin
from hepgraph.lazy.array import HOOKS, Lazy
from hepgraph.lazy.call import mapped
from hepgraph.lazy.results import Variations
from hepgraph.lazy.varied import Varied
from hepgraph.plan.passes import ArraySink, Pass, Sink, sink_of
from hepgraph.runner.options import Options
from hepgraph.runner.report import Report
from hepgraph.runner.run import Run

# kinds of lazy results other than arrays: how they split into sinks, and how they come back
Sinks = list[tuple[Origin, Sink]]  # of one result, in the passes of its datasets
KINDS: dict[type, Callable[[Any], Sinks]] = {}
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
    return mapped(tree, lambda part: new.get(id(part), part))


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


def _split(leaf: Any) -> Sinks:
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


@checks_arguments("Several go in one list or dict: compute([a, b]).")
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

    A run that goes on from a checkpoint or report gives the result of one that was not interrupted: see `hg.run`. A
    varied array (`hg.vary`) becomes a dict of results by variation, a histogram one with an axis for them.

    Parameters
    ----------
    tree : Any
        Nest of dicts, lists and tuples of lazy arrays, lazy histograms and plain values.
    executor : str or object, default None
        Place to run: "serial", "threads", "processes", "dask", a dask Client, Cluster or address, an object of
        `hg.executors`, or a `concurrent.futures.Executor`. None: the current dask Client if there is one, else threads.
    engine : {"auto", "kernel", "interpreter"}, default "auto"
        "auto", which is "kernel", compiles histograms, reductions and arrays, and takes from the interpreter the parts
        that the kernel does not know (`hg.explain` names them); "interpreter" is the plain path.
    progress : bool, default None
        Progress is shown in a terminal or notebook, unless this is False.
    report : bool, default False
        True gives (result, report), of which the `hg.Report` has a row for each range.
    on_error : {"raise", "skip"}, default "raise"
        "skip" goes on without a file or range that cannot be read, with a warning; `report.failed` names them.
    retries : int, default 3
        Further tries at what cannot be read, after longer and longer waits.
    checkpoint : str or Path, default None
        Directory or URL that keeps the result of each range as it is done.
    trust : bool or list of str, default False
        Names of functions (`"module.function"`), True for all, of which nothing changes that a checkpoint cannot track.
    depends : sequence, default ()
        Files (folders, URLs) that functions open, whose content counts for a checkpoint, and other values; a text goes
        into a tuple.
    resume : Report, default None
        Report of an incomplete run in this process, which is gone on with.
    storage_options : dict, default None
        Options of fsspec for URLs.

    Returns
    -------
    Any
        The nest with arrays, numbers and histograms in the place of lazy things; (nest, report) with `report=True`.

    Raises
    ------
    SourceError
        If a file cannot be read, unless `on_error="skip"`; the error carries its `report`.
    CheckpointError, ResumeError
        If there is no going on from what is given.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0, 3.0]), npartitions=2)
    >>> out = hg.compute({"twice": 2 * x, "n": ak.num(x, axis=0)}, executor="serial")
    >>> out["twice"].to_list(), out["n"]
    ([2.0, 4.0, 6.0], np.int64(3))
    """
    options = Options(
        executor, engine, progress, report, on_error, retries, checkpoint, trust, depends, resume, storage_options
    )
    return computed(tree, Run(options))


def computed(tree: Any, run: Run) -> Any:
    """The nest, computed by a run."""
    made, places = passes(tree, run.options.engine)

    def assembled(results: list[list[Any]]) -> Any:
        new = {id(leaf): finished(leaf, [results[p][i] for p, i in where]) for leaf, where in places}
        return rebuilt(tree, new)

    return run(made, assembled)


def persist(x: Lazy, **options: Any) -> Any:
    """The array computed and kept in memory, as a lazy array in as many partitions.

    Parameters
    ----------
    x : Lazy
        Array to compute.
    **options : Any
        Arguments of `hg.compute`, by name.

    Returns
    -------
    Lazy
        The same array, for which no file is read again.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.persist(hg.from_awkward(ak.Array([1.0, 2.0, 3.0]), npartitions=2) * 2, executor="serial")
    >>> x.npartitions, x.compute().to_list()
    (2, [2.0, 4.0, 6.0])
    """
    from hepgraph.datasets.events import from_awkward

    if isinstance(x, Varied):
        return x.persist()  # which says to take one variation
    parts, run = x.npartitions, Run(Options.of(compute, **options))
    found = computed(x, run)
    result = found[0] if run.options.report else found
    if not isinstance(result, ak.Array):
        raise LazyError("a reduction over the whole dataset is one number; use .compute()")
    return run.with_report(from_awkward(result, npartitions=parts, metadata=x.metadata))


def head(x: Lazy, n: int = 5, **options: Any) -> Any:
    """The first n rows of the first partition, reading as few entries as will do.

    The options are those of `hg.compute`; with `report=True`, gives (rows, report).
    """
    if not isinstance(n, int | np.integer) or n < 0:
        raise ValueError(f"head(n) takes the number of rows, from the first one, not {n!r}")
    sink = sink_of(x)
    if not isinstance(sink, ArraySink):
        return compute(x, **{"progress": False, **options})
    wanted = Options.of(compute, **{"executor": "serial", "progress": False, **options})
    each = Pass(x._origin, (sink,), wanted.engine)
    whole = each.partitions()[0]
    size = n if not x._guard and x._rows.kind == "events" else max(200, 20 * n)
    while True:
        run, part = Run(wanted), replace(whole, stop=min(whole.start + size, whole.stop))
        each = each.over((part,))
        ((found,),) = run.results([each])
        if len(found) >= n or part.stop == whole.stop:
            return run.with_report(found[:n])
        size *= 10


def necessary_columns(tree: Any) -> dict[str, int]:
    """The columns that a lazy thing, or a nest of them, needs, and their size on disk; reads nothing.

    Parameters
    ----------
    tree : Any
        Lazy array or histogram, or a nest of dicts, lists and tuples of them.

    Returns
    -------
    dict of str to int
        The bytes on disk of each column, by name.

    Examples
    --------
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


def _varied_sinks(x: Varied) -> Sinks:
    return [(each._origin, sink_of(each)) for each in x._each.values()]


KINDS[Varied] = _varied_sinks
FINISH[Varied] = lambda x, values: Variations(zip(x.variations, values, strict=True))
HOOKS["compute"] = compute
HOOKS["persist"] = persist
HOOKS["head"] = head

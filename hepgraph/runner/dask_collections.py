"""Lazy things as dask's collections, and dask's collections as lazy events.

`dask.compute(h)`, `client.compute(h)`, `dask.persist`, `dask.delayed(f)(h)` work with lazy arrays and histograms, in
graphs with others' collections; `h.to_dask(report=True, checkpoint=...)` has options of `hg.compute`.
The graph is small, final, and adds up in the same tree as every other run, so the result is the same to the last bit,
and what cannot be read is tried again; but each collection is a pass over the data of its own, and a worker that dies
costs what dask makes of it. `hg.compute(..., executor=client)` is the better way to run a lot.

dask is imported when it is used.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.datasets.events import Optional, from_source
from hepgraph.datasets.schema import Schema
from hepgraph.errors import UnsupportedError
from hepgraph.executors.dask_sums import NodeSum, merged_sum, summed
from hepgraph.executors.interface import Tree, Work
from hepgraph.executors.shipped import Shipped, packed
from hepgraph.executors.tree import TreeNode, height_of
from hepgraph.graph.form import List, Record, Scalar
from hepgraph.io.mapped import open_mapped
from hepgraph.lazy.array import Lazy
from hepgraph.plan.rows import Rows
from hepgraph.runner.compute import compute, finished, passes
from hepgraph.runner.options import Options
from hepgraph.runner.partial_sums import Sum, Task
from hepgraph.runner.report import Report
from hepgraph.runner.run import Run
from hepgraph.runner.run import finished as results_of

_BATCHES = 8  # a graph has at most 2**8 batches for each dataset


class Collected(Work):
    """A run that is planned here: dask's workers do its ranges, and finish it in one of dask's tasks."""

    def __init__(self, x: Any, options: Options) -> None:
        self.run = Run(options)
        made, ((self.leaf, self.where),) = passes(x, options.engine)
        with self.run.planned(made, stored=False):
            numbers, self.trees = self.run.trees(self.run.tasks)
            self.work = self.run.work_on(numbers, self.run.tasks)
        self.tasks = self.run.tasks

    def __call__(self, task: Task) -> tuple[Sum, Rows]:
        """The result of one range, as in every other run; out of the checkpoint, or kept there."""
        found = self.run.stored(task)
        if found is None:
            found = self.work(task)
            self.run.store(task, *found)
        return found

    def combine(self, tree: int) -> Callable[[Sum, Sum], Sum]:
        return self.work.combine(tree)

    def ahead(self, task: Task) -> None:
        self.work.ahead(task)

    def finish(self, sums: Sequence[NodeSum]) -> Any:
        """The result, from the sum of each tree."""
        run = self.run.unstarted_copy()
        for each in sums:
            run.merge(pickle.loads(each.body), [(self.tasks[i], rows) for i, rows in each.rows])
        results = run.finish()
        return run.with_report(finished(self.leaf, [results[number][i] for number, i in self.where]))

    def part(self, index: int) -> tuple[Any, Rows]:
        """The result of one range by itself, and its rows."""
        task = self.tasks[index]
        value, rows = self(task)
        parts = value.in_order() or [self.run.empty_partials(task.number)]
        (result,) = results_of(self.run.passes[task.number], reduce(self.run.add(task.number), parts))
        return result, rows

    def report(self, rows: Sequence[Rows]) -> Report:
        """The report of all ranges."""
        run = self.run.unstarted_copy()
        for task, made in zip(self.tasks, rows, strict=True):
            for row in made.rows:
                run.report.add((task.number, task.leaf, row.start), row)
        run.report.check()
        return run.report


def _options(name: str, options: dict[str, Any]) -> Options:
    """The options of a collection. Raises UnsupportedError for what is dask's to say, or would not be told."""
    for option in ("executor", "progress", "resume"):
        if options.get(option) is not None:
            instead = "resume= is one of hg.compute" if option == "resume" else f"dask has its own for {option}="
            raise UnsupportedError(f"{name}() makes a collection of dask, and takes no {option}=: {instead}.")
    found = Options.of(compute, **{**options, "executor": "serial", "progress": False})
    if found.policy.skips and not found.report:
        raise UnsupportedError(
            f'{name}(on_error="skip") needs report=True: what is missing would be told on dask\'s workers alone.'
        )
    return found


@dataclass(frozen=True)
class Batch:
    """The subject of one task of a graph: a node of a tree, and the ranges below it."""

    node: TreeNode
    start: int = 0
    stop: int = 0


def run_batch(plan: Shipped, batch: Batch) -> NodeSum:
    """A task: the ranges of one node."""
    work = plan.work()
    return summed(work, batch.node, batch.start, work.tasks[batch.start : batch.stop])


def run_merge(plan: Shipped, batch: Batch, sums: Sequence[NodeSum]) -> NodeSum:
    """A task: adds up what lies below one node."""
    return merged_sum(plan.work(), batch.node, batch.stop - batch.start, sums)


def run_finish(plan: Shipped, sums: Sequence[NodeSum]) -> Any:
    """A task: the result."""
    return plan.work().finish(sums)


def run_part(plan: Shipped, index: int, told: bool) -> Any:
    """A task: the result of one range by itself; and its rows."""
    result, rows = plan.work().part(index)
    return (result, rows) if told else result


def run_report(plan: Shipped, parts: Sequence[tuple[Any, Rows]]) -> Report:
    """A task: the report of all ranges."""
    return plan.work().report([rows for _, rows in parts])  # type: ignore[no-any-return]


# the protocol


@lru_cache(maxsize=32)
def _usual(packed: bytes) -> tuple[dict[Any, Any], str]:
    """The graph of a pickled lazy thing without options: dask asks for it several times."""
    return _graph(pickle.loads(packed), _options("to_dask", {}))


def _graph(x: Any, options: Options) -> tuple[dict[Any, Any], str]:
    """The graph of a lazy thing, and the key of its result."""
    work = Collected(x, options)
    plan = Shipped.of(work)
    token = f"0{plan.key[:24]}"
    held = f"hepgraph-plan-{token}"
    graph: dict[Any, Any] = {held: plan}
    tops: list[str] = []
    for number, tree in enumerate(work.trees):

        def batch(node: TreeNode, tree: Tree = tree) -> Batch:
            start, stop = node.span(tree.count)
            return Batch(node, tree.first + start, tree.first + stop)

        level = max(0, height_of(tree.count) - _BATCHES)
        nodes = [TreeNode(number, level, index) for index in range(-(-tree.count >> level))]
        names = {}
        for node in nodes:
            names[node] = f"{tree.name}-ranges-{token}-{number}-{node.level}-{node.index}"
            graph[names[node]] = (run_batch, held, batch(node))
        while len(names) > 1:
            above: dict[TreeNode, list[str]] = {}
            for node, name in names.items():
                above.setdefault(node.above(), []).append(name)
            names = {}
            for node, below in above.items():
                names[node] = f"{tree.name}-merge-{token}-{number}-{node.level}-{node.index}"
                graph[names[node]] = (run_merge, held, batch(node), below)
        tops += names.values()
    result = f"hepgraph-result-{token}"
    graph[result] = (run_finish, held, tops)
    return graph, result


def graph_of(x: Any, **options: Any) -> tuple[dict[Any, Any], str]:
    """The graph of a lazy thing, with options of `hg.compute`, and the key of its result there."""
    return _graph(x, _options("to_dask", options)) if options else _usual(packed(x))


# by parts


def to_delayed(x: Lazy, **options: Any) -> Any:
    """The array as one `dask.delayed` value for each of its partitions, each an awkward array.

    The options are those of `hg.compute`; with `report=True`, gives (values, report), which is delayed as well.

    >>> import hepgraph as hg, awkward as ak
    >>> parts = hg.from_awkward(ak.Array([1, 2, 3]), npartitions=3).to_delayed()
    >>> [part.compute().to_list() for part in parts]
    [[1], [2], [3]]
    """
    import dask

    work, plan, parts = _parts("to_delayed", x, options)
    if not work.run.options.report:
        return parts
    return [part[0] for part in parts], dask.delayed(run_report)(plan, parts, dask_key_name=f"{plan.key}-report")


def _parts(name: str, x: Lazy, options: dict[str, Any]) -> tuple[Collected, Any, list[Any]]:
    """The work on an array, its delayed plan, and its delayed parts; with their rows, for a report."""
    import dask

    if not isinstance(x, Lazy) or x.ndim == 0:
        raise UnsupportedError("Only a lazy array has partitions; use dask.delayed(x) for a number or a histogram.")
    if options.get("report") and name != "to_delayed":  # dask would read for the collection, and once more for that
        raise UnsupportedError(f"{name}() has no report=; to_delayed(report=True) has one.")
    work = Collected(x, _options(name, options))
    shipped = Shipped.of(work)
    token = f"0{shipped.key[:24]}"
    plan = dask.delayed(shipped, name=f"hepgraph-plan-{token}", traverse=False)
    make = dask.delayed(run_part, pure=True, traverse=False)
    rows, title = work.run.options.report, work.trees[0].name
    keys = [f"{title}-part-{token}-{i}" for i in range(len(work.tasks))]
    return work, plan, [make(plan, i, rows, dask_key_name=key) for i, key in enumerate(keys)]


def to_dask_array(x: Lazy, **options: Any) -> Any:
    """The numbers of a flat array as a `dask.array`; its chunks are the partitions, of unknown length after a cut."""
    import dask
    import dask.array

    form = x._form
    if not isinstance(form, Scalar) or form.node.dtype.kind not in "biufc":
        raise UnsupportedError(
            f"A dask.array holds plain numbers, not {x.type}; use ak.flatten, ak.fill_none, or fields."
        )
    whole = not x._guard and x._rows.kind == "events"
    work, _, parts = _parts("to_dask_array", x, options)
    chunks = [
        dask.array.from_delayed(
            dask.delayed(ak.to_numpy)(part), (len(task.partition) if whole else np.nan,), form.node.dtype
        )
        for part, task in zip(parts, work.tasks, strict=True)
    ]
    return dask.array.concatenate(chunks, allow_unknown_chunksizes=True)


def to_dask_bag(x: Lazy, **options: Any) -> Any:
    """The array as a `dask.bag` of Python objects, one for each row."""
    import dask
    import dask.bag

    return dask.bag.from_delayed([dask.delayed(ak.to_list)(part) for part in _parts("to_dask_bag", x, options)[2]])


def to_dask_dataframe(x: Lazy, **options: Any) -> Any:
    """An array of flat records as a `dask.dataframe`, with a column for each field."""
    import dask
    import dask.dataframe

    if not isinstance(x._form, Record) or any(isinstance(x._form[name], List | Record) for name in x._form):
        raise UnsupportedError(f"A data frame has columns of numbers, not {x.type}; choose fields without lists.")

    frames = [dask.delayed(_frame)(part) for part in _parts("to_dask_dataframe", x, options)[2]]
    return dask.dataframe.from_delayed(frames, meta=_frame(x.head(0)), verify_meta=False)


def _frame(array: Any) -> Any:
    import pandas

    return pandas.DataFrame({name: ak.to_numpy(array[name]) for name in array.fields})


def from_map(
    function: Callable[..., Any],
    *inputs: Iterable[Any],
    lengths: Sequence[int] | None = None,
    meta: Any = None,
    schema: str | Path | Schema = "base",
    optional: Optional = None,
    metadata: dict[str, Any] | None = None,
) -> Lazy:
    """Lazy events out of a function that makes an awkward array of each input (as `map(function, *inputs)` would).

    Parameters
    ----------
    function : callable
        Function that gives the awkward array of a partition.
    *inputs : iterable
        Arguments of the function, of which each iterable gives one a partition.
    lengths : sequence of int, default None
        Numbers of entries of the arrays; without them, each is made once, to be counted and to see its type.
    meta : ak.Array, default None
        Array like those of the function, which saves making the first.
    schema : str, Path or Schema, default "base"
        Naming of the columns: "nanoaod", "base" (as they are), or the path of a TOML file.
    optional : str, list or dict, default None
        Columns that some arrays may lack, by name or pattern, and what stands for them there: {"HLT_*": False}.
    metadata : dict, default None
        Metadata of the dataset, which is `events.metadata`.

    Returns
    -------
    Lazy
        The events.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak, numpy as np
    >>> x = hg.from_map(lambda n: ak.Array({"x": np.arange(n)}), [2, 3])
    >>> x.npartitions, ak.sum(x.x).compute()
    (2, np.int64(4))
    """
    rows = list(zip(*inputs, strict=True))
    return from_source(open_mapped(function, rows, lengths, meta, metadata), schema, optional=optional)


def from_delayed(parts: Iterable[Any], **options: Any) -> Lazy:
    """Lazy events out of `dask.delayed` values that give awkward arrays, one a partition.

    Each is computed by the worker that needs it, with dask's synchronous scheduler.

    Parameters
    ----------
    parts : iterable of Delayed
        Values that give awkward arrays.
    **options : Any
        Arguments of `hg.from_map`, by name: `lengths`, `meta`, `schema`, `optional`, `metadata`.

    Returns
    -------
    Lazy
        The events.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak, dask
    >>> parts = [dask.delayed(ak.Array)([{"x": float(i)}]) for i in range(3)]
    >>> hg.from_delayed(parts).x.compute(executor="serial").to_list()
    [0.0, 1.0, 2.0]
    """
    return from_map(_computed, list(parts), **options)


def _computed(part: Any) -> Any:
    return part.compute(scheduler="synchronous")

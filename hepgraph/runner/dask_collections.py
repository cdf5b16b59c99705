"""Lazy things as dask's collections, and dask's collections as lazy events.

`dask.compute(h)`, `client.compute(h)`, `dask.persist`, `dask.delayed(f)(h)` work with lazy arrays and histograms, in
graphs with others' collections. The graph is small, final, and adds up in the same tree as every other run, so the
result is the same to the last bit, and what cannot be read is tried again; but each collection is a pass over the data
of its own, there is no report, and a worker that dies costs what dask makes of it. `hg.compute(..., executor=client)`
is the better way to run a lot.

dask is imported when it is used.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.datasets.events import from_source
from hepgraph.datasets.schema import Schema
from hepgraph.errors import HepgraphError, UnsupportedError
from hepgraph.executors.dask_sums import PlaceSum, merged_sum, summed
from hepgraph.executors.shipped import Shipped, packed
from hepgraph.executors.tree import Merger, Place, height_of
from hepgraph.graph.form import List, Record, Scalar
from hepgraph.io.mapped import open_mapped
from hepgraph.io.source import Partition
from hepgraph.lazy.array import Lazy
from hepgraph.plan.passes import combine_all
from hepgraph.plan.rows import Rows
from hepgraph.runner.compute import finished, passes
from hepgraph.runner.retry import Policy, attempt

_BATCHES = 8  # a graph has at most 2**8 batches for each dataset


class Collected:
    """The work behind one collection: passes over ranges, and how its result is put together."""

    def __init__(self, leaf: Any) -> None:
        made, ((self.leaf, self.where),) = passes(leaf)
        self.passes = tuple(made)

    def __call__(self, task: tuple[int, Partition]) -> tuple[Any, Rows]:
        """The result of one range, as in every other run: reading is tried again, what does not fit is cut."""
        number, partition = task
        pieces = attempt(self.passes[number].run, partition, Policy()).pieces
        merger = Merger(len(pieces), self.combine(number))
        for i, (_, partials, _) in enumerate(pieces):
            merger.add(i, partials)
        return merger.result, Rows(tuple(row for _, _, row in pieces))

    def combine(self, number: int) -> Callable[[Any, Any], Any]:
        """How two partial results of one pass add up."""
        return combine_all(self.passes[number].sinks)

    def finish(self, sums: Sequence[PlaceSum]) -> Any:
        """The result, from the sum of each pass; raises if it lacks some events."""
        results = []
        for each, made in zip(self.passes, sums, strict=True):
            expected, found = sum(map(len, each.partitions())), sum(row.events for _, row in made.rows)
            if expected != found:
                raise HepgraphError(f"{found} events were read where {expected} were expected")
            parts = pickle.loads(made.body)
            results.append([sink.finish(part) for sink, part in zip(each.sinks, parts, strict=True)])
        return finished(self.leaf, [results[number][i] for number, i in self.where])


@dataclass(frozen=True)
class Batch:
    """The subject of one task of a graph: a place of a tree, and the ranges below it; dask does not look inside."""

    place: Place
    count: int
    first: int = 0
    tasks: tuple[Any, ...] = ()


def run_batch(plan: Shipped, batch: Batch) -> PlaceSum:
    """A task: the ranges of one place."""
    return summed(plan.work(), batch.place, batch.first, batch.tasks)


def run_merge(plan: Shipped, batch: Batch, sums: Sequence[PlaceSum]) -> PlaceSum:
    """A task: adds up what lies below one place."""
    return merged_sum(plan.work(), batch.place, batch.count, sums)


def run_finish(plan: Shipped, sums: Sequence[PlaceSum]) -> Any:
    """A task: the result."""
    return plan.work().finish(sums)


def run_one(plan: Shipped, batch: Batch) -> Any:
    """A task: the result of one range by itself."""
    work = plan.work()
    (part,), _ = work(batch.tasks[0])
    return work.passes[0].sinks[0].finish(part)


# the protocol


@lru_cache(maxsize=32)
def _graph(packed: bytes) -> tuple[dict[Any, Any], str]:
    """The graph of a pickled lazy thing, and the key of its result."""
    work = Collected(pickle.loads(packed))
    plan = Shipped.of(work)
    token = f"0{plan.key[:24]}"
    held = f"hepgraph-plan-{token}"
    graph: dict[Any, Any] = {held: plan}
    tops: list[str] = []
    for tree, each in enumerate(work.passes):
        ranges = each.partitions()
        level = max(0, height_of(len(ranges)) - _BATCHES)
        places = [Place(tree, level, index) for index in range(-(-len(ranges) >> level))]
        names = {}
        for place in places:
            start, stop = place.span(len(ranges))
            batch = Batch(place, stop - start, start, tuple((tree, part) for part in ranges[start:stop]))
            names[place] = f"{each.title}-ranges-{token}-{tree}-{place.level}-{place.index}"
            graph[names[place]] = (run_batch, held, batch)
        while len(names) > 1:
            above: dict[Place, list[str]] = {}
            for place, name in names.items():
                above.setdefault(place.above(), []).append(name)
            names = {}
            for place, below in above.items():
                start, stop = place.span(len(ranges))
                names[place] = f"{each.title}-merge-{token}-{tree}-{place.level}-{place.index}"
                graph[names[place]] = (run_merge, held, Batch(place, stop - start), below)
        tops += names.values()
    result = f"hepgraph-result-{token}"
    graph[result] = (run_finish, held, tops)
    return graph, result


def graph_of(x: Any) -> tuple[dict[Any, Any], str]:
    """The graph of a lazy thing, and the key of its result there."""
    return _graph(packed(x))


# by parts


def to_delayed(x: Lazy) -> list[Any]:
    """The array as one `dask.delayed` value for each of its partitions, each an awkward array.

    >>> import hepgraph as hg, awkward as ak
    >>> parts = hg.from_awkward(ak.Array([1, 2, 3]), npartitions=3).to_delayed()
    >>> [part.compute().to_list() for part in parts]
    [[1], [2], [3]]
    """
    import dask

    if not isinstance(x, Lazy) or x.ndim == 0:
        raise UnsupportedError("Only a lazy array has partitions; use dask.delayed(x) for a number or a histogram.")
    work = Collected(x)
    shipped = Shipped.of(work)
    token, ranges = f"0{shipped.key[:24]}", work.passes[0].partitions()
    plan = dask.delayed(shipped, name=f"hepgraph-plan-{token}", traverse=False)
    make = dask.delayed(run_one, pure=True, traverse=False)
    title = work.passes[0].title
    return [
        make(plan, Batch(Place(0, 0, i), 1, i, ((0, part),)), dask_key_name=f"{title}-part-{token}-{i}")
        for i, part in enumerate(ranges)
    ]


def to_dask_array(x: Lazy) -> Any:
    """The numbers of a flat array as a `dask.array`; its chunks are the partitions, of unknown length after a cut."""
    import dask
    import dask.array

    form = x._form
    if not isinstance(form, Scalar) or form.node.dtype.kind not in "biufc":
        raise UnsupportedError(
            f"A dask.array holds plain numbers, not {x.type}; use ak.flatten, ak.fill_none, or fields."
        )
    whole = not x._guard and x._rows.kind == "events"
    lengths = [len(p) if whole else np.nan for p in Collected(x).passes[0].partitions()]
    chunks = [
        dask.array.from_delayed(dask.delayed(ak.to_numpy)(part), shape=(length,), dtype=form.node.dtype)
        for part, length in zip(to_delayed(x), lengths, strict=True)
    ]
    return dask.array.concatenate(chunks, allow_unknown_chunksizes=True)


def to_dask_bag(x: Lazy) -> Any:
    """The array as a `dask.bag` of Python objects, one for each row."""
    import dask
    import dask.bag

    return dask.bag.from_delayed([dask.delayed(ak.to_list)(part) for part in to_delayed(x)])


def to_dask_dataframe(x: Lazy) -> Any:
    """An array of flat records as a `dask.dataframe`, with a column for each field."""
    import dask
    import dask.dataframe

    if not isinstance(x._form, Record) or any(isinstance(x._form[name], List | Record) for name in x._form):
        raise UnsupportedError(f"A data frame has columns of numbers, not {x.type}; choose fields without lists.")
    frames = [dask.delayed(_frame)(part) for part in to_delayed(x)]
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
    metadata: dict[str, Any] | None = None,
) -> Lazy:
    """Lazy events out of a function that makes an awkward array of each input (as `map(function, *inputs)` would).

    `lengths` are the numbers of entries of the arrays; without them, each is made once to be counted. `meta`, an array
    like them, saves making the first.

    >>> import hepgraph as hg, awkward as ak, numpy as np
    >>> x = hg.from_map(lambda n: ak.Array({"x": np.arange(n)}), [2, 3])
    >>> x.npartitions, ak.sum(x.x).compute()
    (2, np.int64(4))
    """
    rows = list(zip(*inputs, strict=True))
    return from_source(open_mapped(function, rows, lengths, meta, metadata), schema)


def from_delayed(parts: Iterable[Any], **options: Any) -> Lazy:
    """Lazy events out of `dask.delayed` values that give awkward arrays, one a partition; options as for `from_map`.

    Each is computed by the worker that needs it, with dask's synchronous scheduler.
    """
    return from_map(_computed, list(parts), **options)


def _computed(part: Any) -> Any:
    return part.compute(scheduler="synchronous")

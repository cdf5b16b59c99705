"""Processors: an analysis as a class with a `process` method, run over a fileset."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hepgraph.arguments import spoken
from hepgraph.datasets.events import Cache, from_source, usual_schema
from hepgraph.datasets.fileset import datasets
from hepgraph.datasets.schema import Schema
from hepgraph.errors import ProcessorError, SourceError
from hepgraph.executors import pick
from hepgraph.io.cache.columns import cache_of
from hepgraph.io.source import check_step_size
from hepgraph.plan.passes import AnyPass
from hepgraph.plan.rows import SKIPPED, Row
from hepgraph.processor.accumulate import accumulate, alone, apart
from hepgraph.processor.memory_budget import check_budget
from hepgraph.processor.state import fresh
from hepgraph.processor.tracing import Traced
from hepgraph.runner.compute import ENGINES, passes, rebuilt, run_passes
from hepgraph.runner.compute import finished as finish_leaf
from hepgraph.runner.dependencies import Dependencies
from hepgraph.runner.opening import opened as open_dataset
from hepgraph.runner.provenance import provenance
from hepgraph.runner.report import Report
from hepgraph.runner.retry import Policy
from hepgraph.runner.runner import course_of, dataset_of


class Processor:
    """An analysis: subclass it, write `process`, and run it with `hg.run`.

    `process(events)` is called once a dataset with lazy events (`events.metadata["dataset"]` tells which) and returns a
    dict, nested as you like, of lazy or plain values that add up. `postprocess(output)` is called once with the sum; it
    returns the result, or changes the sum in place.

    Each call has a copy of the processor as it was before the run, as in coffea.
    """

    def process(self, events: Any) -> Any:
        """The results of one dataset, from its events."""
        raise NotImplementedError(f"{type(self).__name__} must define process(self, events)")

    def postprocess(self, accumulator: Any) -> Any:
        """The last step, on the sum of all results."""
        return accumulator


def _check_processor(processor: Any) -> None:
    """Raises ProcessorError for what is neither an object with `process` nor a function of events."""
    if isinstance(processor, type):
        raise ProcessorError(f"{processor.__name__} is a class; give an object, {processor.__name__}().")
    if not hasattr(processor, "process") and not callable(processor):
        raise ProcessorError(
            f"{type(processor).__name__} is no processor: it has no process(events) and cannot be called."
        )


@spoken()
def run(
    processor: Any,
    fileset: Any,
    *,
    schema: str | Path | Schema | None = "nanoaod",
    tree: str | None = None,
    executor: Any = None,
    step_size: int | str | None = None,
    engine: str = "auto",
    strict: bool = False,
    eager: bool = False,
    progress: bool | None = None,
    report: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    on_error: str = "raise",
    retries: int = 3,
    checkpoint: str | Path | None = None,
    trust: bool | Sequence[str] = False,
    depends: Sequence[Any] = (),
    resume: Report | None = None,
    memory: str | int | None = None,
    cache: Cache = None,
) -> Any:
    """Runs a processor (or a plain function of events) over a fileset and gives the sum of its results.

    Each dataset is traced once; all are read in one go. A processor that cannot be traced runs eagerly, chunk by chunk,
    on awkward arrays that read what they are asked for: a FallbackWarning says at once which line is to blame, and the
    report says so, too. `eager=True` asks for it, without a warning; with `strict=True` it is an error. With
    `report=True`, gives (result, report).

    Each dataset, and each chunk of an eager run, gets the processor as it was before the run: what `process` puts into
    `self` is gone afterwards, and what it adds up outside of `self` is an error. What an eager run returns must add up
    from chunk to chunk, which is tried on the first events: sums and counts do, a maximum or a mean does not.

    What cannot be read is tried `retries` times more, after longer and longer waits. Then the run stops, or with
    `on_error="skip"` goes on without that file or range: with a warning, and with `report.complete` false and
    `report.failed` naming what is not in the result. A dataset of which nothing can be read adds nothing to the result.
    Errors of the processor itself always stop the run. A range that does not fit into memory is cut in halves.

    With `checkpoint`, a directory or URL, the result of each range is stored there as it is done, and a run of the same
    analysis takes from there what it finds, and computes the rest: after a crash, with more files, or with another
    `step_size`. `resume=report` goes on from the report of an incomplete run in this process. The result is the same
    as that of a run that was not interrupted, to the last bit if the ranges are the same. An error that stops a run
    carries its `report` too.

    A checkpoint notices every edit of the user's code that its results depend on: functions and classes, the globals
    that they name, their modules, objects and parameters; and other versions of packages. It cannot track files that
    functions open by a name that they make up, code that is made when it runs, environments, open files and sessions:
    `report.untracked` lists them, and a run with a checkpoint raises CheckpointError, which asks. `depends=` is then a
    list of the files (folders, URLs) that functions open, all of them, whose content counts, and of other values (a
    text goes into a tuple). `trust=["module.function", ...]`, or True for all, says that the rest does not change.

    With `cache`, a directory on a local disk (or an `hg.ColumnCache`, with a size), the columns that are read are kept
    there decoded, and are not read from the files again; `report.cached` tells how many bytes came from there. Files
    that change are noticed. Workers on other machines use a directory of that name there.

    `memory` ("2 GB") is what this process and its workers on this machine may take, beside the programs themselves:
    ranges are made shorter to keep to it, unless `step_size` says how long they are. Raises MemoryBudgetError before
    the run if that will not do; for this, a processor that runs eagerly is tried on its first thousand events. Raises
    CheckpointError and ResumeError for what cannot be gone on from.

    >>> import hepgraph as hg
    >>> def count(events):
    ...     return {events.metadata["dataset"]: hg.Hist.new.Reg(3, 0, 3, name="n").Double().fill(events.nMuon)}
    >>> hg.run(count, {"a": ["data/sample.root"]}, executor="serial")["a"].sum() > 0
    True
    """
    _check_processor(processor)
    if strict and eager:
        raise ValueError("strict=True forbids what eager=True asks for; give only one of the two.")
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    named = datasets(fileset, tree)
    policy = Policy(on_error, retries)
    course = course_of(policy, checkpoint, resume, storage_options, Dependencies.of(trust, depends))
    check_step_size(step_size)
    kept = cache_of(cache)
    course.whole = False
    opened, absent = [], []
    for dataset in named:
        try:
            source = open_dataset(dataset, tree, step_size, storage_options, policy)
        except SourceError as error:
            if not error.absent:
                raise
            absent.append((dataset, error))
            continue
        source.cache = kept
        source.run = "" if memory is None else secrets.token_hex(8)
        opened.append((dataset, from_source(source, schema or usual_schema(source))))
    if absent and not opened:
        raise absent[0][1]
    ledger = Report(provenance=provenance(processor) if report or course.checkpoint is not None else {})
    runner = pick(executor)
    traced = Traced(processor, policy, strict, eager)
    for dataset, events in opened:
        traced.add(dataset.name, events)
    ledger.notes += traced.notes
    made, places = passes(traced.outputs, engine)
    every: list[AnyPass] = [*made, *traced.passes.values()]
    for number, (dataset, missing) in enumerate(absent, start=len(every)):
        for i, gone in enumerate(missing.absent):
            row = Row(dataset.name, gone.path, 0, 0, 0, how="", status=SKIPPED, tries=gone.tries, error=gone.error)
            ledger.add((number, i, 0), row)
    if memory is not None:
        needed = check_budget(every, getattr(runner, "n", 1), memory, policy)
        ledger.provenance["memory"] = {"estimated": needed, "allowed": memory}

    def summed(finished: list[Any]) -> Any:
        unread = {dataset_of(each) for each, found in zip(every, finished, strict=True) if found is None}
        known = {name: output for name, output in traced.outputs.items() if name not in unread}
        new = {
            id(leaf): apart(leaf, finish_leaf(leaf, [finished[p][i] for p, i in where]))
            for leaf, where in places
            if all(finished[p] is not None for p, _ in where)
        }
        results = rebuilt(known, new)
        for name, found in zip(traced.passes, finished[len(made) :], strict=True):
            results[name] = None if found is None else found[0]
        total: Any = None
        for dataset, _ in opened:
            total = accumulate(total, results.get(dataset.name))
        own = alone(new.values())
        return _finished(processor, rebuilt(total, own) if own else total)

    if runner.watch is not None:
        runner.watch.then(summed)
    total = summed(run_passes(every, runner, progress, ledger, course))
    return (total, ledger) if report else total


def _finished(processor: Any, total: Any) -> Any:
    """The sum of all results after the last step, which may change it in place and return nothing."""
    last = getattr(fresh(processor), "postprocess", None)
    result = None if last is None else last(total)
    return total if result is None else result


@dataclass
class Runner:
    """Runs processors in coffea's call shape: `Runner(...)(fileset, "Events", processor_instance=P())`.

    With `savemetrics`, a call gives (output, metrics), a dict of entries, bytesread, columns, processtime, chunks.
    """

    executor: Any = None
    schema: str | Path | Schema | None = "nanoaod"
    chunksize: int | str | None = None
    savemetrics: bool = False
    progress: bool | None = None
    strict: bool = False
    eager: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, fileset: Any, treename: str | None = None, processor_instance: Any = None, **kwargs: Any) -> Any:
        """The result over the fileset (and the metrics)."""
        if processor_instance is None:
            raise ProcessorError("Runner needs processor_instance=, the processor to run.")
        out, report = run(
            processor_instance,
            fileset,
            tree=treename,
            schema=self.schema,
            executor=self.executor,
            step_size=self.chunksize,
            strict=self.strict,
            eager=self.eager,
            progress=self.progress,
            report=True,
            **{**self.options, **kwargs},
        )
        if not self.savemetrics:
            return out
        metrics = {
            "entries": report.events,
            "bytesread": report.bytes,
            "columns": sorted({name for row in report.rows for name in row.names}),
            "processtime": report.seconds,
            "chunks": len(report.rows),
        }
        return out, metrics


Runner.__init__ = spoken(name="Runner")(Runner.__init__)  # type: ignore[method-assign]

"""Processors: an analysis as a class with a `process` method, run over a fileset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hepgraph.arguments import checks_arguments
from hepgraph.datasets.events import Cache, Optional, from_source
from hepgraph.datasets.fileset import Dataset, datasets
from hepgraph.datasets.guess import usual
from hepgraph.datasets.schema import Schema
from hepgraph.errors import ProcessorError, SourceError
from hepgraph.io.source import Access
from hepgraph.lazy.array import Lazy
from hepgraph.plan.passes import AnyPass
from hepgraph.plan.rows import Row
from hepgraph.processor.accumulate import alone, apart, check_combinations, total
from hepgraph.processor.memory_budget import check_budget
from hepgraph.processor.state import fresh
from hepgraph.processor.tracing import Traced, check_datasets
from hepgraph.runner.compute import finished as finish_leaf
from hepgraph.runner.compute import passes, rebuilt
from hepgraph.runner.opening import opened as open_dataset
from hepgraph.runner.options import Options
from hepgraph.runner.report import Report
from hepgraph.runner.run import Run
from hepgraph.runner.work import dataset_of


class Processor:
    """An analysis: subclass it, write `process`, and run it with `hg.run`.

    `process(events)` is called once a dataset with lazy events (`events.metadata["dataset"]` tells which) and returns a
    dict, nested as you like, of lazy or plain values that add up. `postprocess(output)` is called once with the sum; it
    returns the result, or changes the sum in place.

    Each call has a copy of the processor as it was before the run, as in coffea.
    """

    def process(self, events: Any) -> Any:
        """The results of one dataset, from its events.

        Parameters
        ----------
        events : Lazy or ak.Array
            Events of a dataset, lazy where the processor is traced; `events.metadata` tells which.

        Returns
        -------
        Any
            Dict, nested as you like, of lazy or plain values that add up.
        """
        raise NotImplementedError(f"{type(self).__name__} must define process(self, events)")

    def postprocess(self, accumulator: Any) -> Any:
        """The last step, on the sum of all results.

        Parameters
        ----------
        accumulator : Any
            Sum of the results of `process`.

        Returns
        -------
        Any
            The result of the run; None if the sum was changed in place.
        """
        return accumulator


def check_processor(processor: Any) -> None:
    """Raises ProcessorError for what is neither an object with `process` nor a function of events."""
    if isinstance(processor, type):
        raise ProcessorError(f"{processor.__name__} is a class; give an object, {processor.__name__}().")
    if not hasattr(processor, "process") and not callable(processor):
        raise ProcessorError(
            f"{type(processor).__name__} is no processor: it has no process(events) and cannot be called."
        )


@checks_arguments()
def run(
    processor: Any,
    fileset: Any,
    *,
    schema: str | Path | Schema | None = "nanoaod",
    optional: Optional = None,
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
    report says so, too.

    Each dataset, and each chunk of an eager run, gets the processor as it was before the run: what `process` puts into
    `self` is gone afterwards. Numbers, arrays and histograms that it adds up outside of `self` are an error; lists,
    sets and dicts may grow there, as notes of the calls. What an eager run returns must add up from chunk to chunk,
    which is tried on the first events: sums and counts do, a maximum or a mean does not.

    A range that does not fit into memory is cut in halves. A dataset of which nothing can be read adds nothing to the
    result. Errors of the processor itself always stop the run. An error that stops a run carries its `report`.

    A run of the same analysis takes from `checkpoint` what it finds, and computes the rest: after a crash, with more
    files, or with another `step_size`. The result is the same as that of a run that was not interrupted, to the last
    bit if the ranges are the same. A checkpoint notices every edit of the user's code that its results depend on:
    functions and classes, the globals that they name, their modules, objects and parameters; and other versions of
    packages. It cannot track files that functions open by a name that they make up, code that is made when it runs,
    environments, open files and sessions: `report.untracked` lists them, and a run with a checkpoint raises
    CheckpointError, which asks for `depends` or `trust`.

    Parameters
    ----------
    processor : Processor or callable
        Analysis: an object with `process(events)`, or a function of events.
    fileset : str, Path or dict
        Files of each dataset: {"name": ["a.root", "b.root:Events"]} or {"name": {"files": ..., "metadata": ...}}; or
        the path of a JSON or YAML file that holds this.
    schema : str, Path or Schema, default "nanoaod"
        Naming of the columns: "nanoaod", "base" (as they are), or the path of a TOML file; None guesses it.
    optional : str, list or dict, default None
        Columns that some files may lack, by name or pattern, and what stands for them there: {"HLT_*": False}; None, as
        for names without a value, is None; "nominal", of stored variations ({"*": "nominal"}), what the file has of the
        nominal. Lists that a file lacks altogether are empty.
    tree : str, default None
        Name of the tree, if not "Events" or the only one.
    executor : str or object, default None
        Place to run: "serial", "threads", "processes", "dask", a dask Client, Cluster or address, an object of
        `hg.executors`, or a `concurrent.futures.Executor`. None: the current dask Client if there is one, else threads.
    step_size : int or str, default None
        Length of a partition: entries, or the memory of the needed columns ("50 MB"). None: some 100 000 entries (of
        RNTuples twice as many), cut where clusters end.
    engine : {"auto", "kernel", "interpreter"}, default "auto"
        "auto", which is "kernel", compiles histograms, reductions and arrays, and takes from the interpreter the parts
        that the kernel does not know (`hg.explain` names them); "interpreter" is the plain path.
    strict : bool, default False
        A processor that cannot be traced is an error.
    eager : bool, default False
        The processor is not traced but runs eagerly, chunk by chunk, without a warning.
    progress : bool, default None
        Progress is shown in a terminal or notebook, unless this is False.
    report : bool, default False
        True gives (result, report), of which the `hg.Report` has a row for each range.
    storage_options : dict, default None
        Options of fsspec for URLs.
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
    memory : str or int, default None
        Memory that this process and its workers on this machine may take, beside the programs themselves, in bytes or
        as "2 GB": ranges are made shorter to keep to it, unless `step_size` says how long they are.
    cache : str, Path or ColumnCache, default None
        Directory on a local disk where the columns that are read are kept decoded, and are not read from the files
        again; `report.cached` tells how many bytes came from there. Workers on other machines use a directory of that
        name there.

    Returns
    -------
    Any
        The sum of the results of all datasets, after `postprocess`; (result, report) with `report=True`.

    Raises
    ------
    SourceError
        If a file cannot be opened or read, unless `on_error="skip"`.
    MemoryBudgetError
        Before the run, if `memory` will not do; a processor that runs eagerly is tried on its first thousand events.
    CheckpointError, ResumeError
        If there is no going on from what is given.

    Examples
    --------
    >>> import hepgraph as hg
    >>> def count(events):
    ...     return {events.metadata["dataset"]: hg.Hist.new.Reg(3, 0, 3, name="n").Double().fill(events.nMuon)}
    >>> hg.run(count, {"a": ["data/sample.root"]}, executor="serial")["a"].sum() > 0
    True
    """
    check_processor(processor)
    options = Options(
        executor, engine, progress, report, on_error, retries, checkpoint, trust, depends, resume, storage_options,
        schema, optional, tree, step_size, strict, eager, memory, cache, whole=False,
    )  # fmt: skip
    return processed(processor, fileset, Run(options, processor))


def processed(processor: Any, fileset: Any, run: Run) -> Any:
    """The output of a processor over a fileset, computed by a run."""
    options = run.options
    opened, absent = _opened(datasets(fileset, options.tree), options)
    traced = Traced(processor, options.policy, options.strict, options.eager)
    for dataset, events in opened:
        traced.add(dataset.name, events)
    check_combinations(traced.outputs.values())
    run.report.notes += traced.notes
    made, places = passes(traced.outputs, options.engine)
    owners = {events._origin: dataset.name for dataset, events in opened}
    if len(owners) == len(opened):  # else they are told apart by nothing
        check_datasets(traced.outputs, owners, {id(leaf): [made[p].origin for p, _ in where] for leaf, where in places})
    every: list[AnyPass] = [*made, *traced.passes.values()]
    for number, (dataset, missing) in enumerate(absent, start=len(every)):
        for i, gone in enumerate(missing.absent):
            run.report.add((number, i, 0), Row.absent(dataset.name, gone))
    if options.memory is not None:
        every, needed = check_budget(every, getattr(run.executor, "n", 1), options.memory, options.policy)
        run.report.provenance["memory"] = {"estimated": needed, "allowed": options.memory}

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
        whole = total(results.get(dataset.name) for dataset, _ in opened)
        own = alone(new.values())
        return _finished(processor, rebuilt(whole, own) if own else whole)

    return run(every, summed)


def _opened(named: Sequence[Dataset], options: Options) -> tuple[list[tuple[Dataset, Lazy]], list[Any]]:
    """The events of each dataset; and those of which no file could be opened, if these may be skipped."""
    opened, absent, access = [], [], Access(options.columns)
    for dataset in named:
        try:
            source = open_dataset(dataset, options.tree, options.step_size, options.storage_options, options.policy)
        except SourceError as error:
            if not error.absent:
                raise
            absent.append((dataset, error))
            continue
        schema = options.schema or usual({**source.columns, **source.late})
        opened.append((dataset, from_source(source, schema, optional=options.optional, access=access)))
    if absent and not opened:
        raise absent[0][1]
    return opened, absent


def _finished(processor: Any, total: Any) -> Any:
    """The sum of all results after the last step, which may change it in place and return nothing."""
    last = getattr(fresh(processor), "postprocess", None)
    result = None if last is None else last(total)
    return total if result is None else result


@dataclass
class Runner:
    """Runs processors in coffea's call shape: `Runner(...)(fileset, "Events", processor_instance=P())`.

    Parameters
    ----------
    executor : str or object, default None
        Place to run: "serial", "threads", "processes", "dask", a dask Client, Cluster or address, an object of
        `hg.executors`, or a `concurrent.futures.Executor`. None: the current dask Client if there is one, else threads.
    schema : str, Path or Schema, default "nanoaod"
        Naming of the columns: "nanoaod", "base" (as they are), or the path of a TOML file; None guesses it.
    chunksize : int or str, default None
        Length of a partition: entries, or the memory of the needed columns ("50 MB").
    savemetrics : bool, default False
        A call gives (output, metrics), a dict of entries, bytesread, columns, processtime, chunks.
    progress : bool, default None
        Progress is shown in a terminal or notebook, unless this is False.
    strict : bool, default False
        A processor that cannot be traced is an error.
    eager : bool, default False
        Processors are not traced but run eagerly, chunk by chunk, without a warning.
    options : dict, optional
        Further arguments of `hg.run`.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> class Count(hg.Processor):
    ...     def process(self, events):
    ...         return {"n": ak.num(events, axis=0)}
    >>> runner = hg.Runner(executor="serial")
    >>> int(runner({"a": ["data/sample.root"]}, "Events", processor_instance=Count())["n"])
    8000
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
        """The result over a fileset (and the metrics).

        Parameters
        ----------
        fileset : str, Path or dict
            Files of each dataset: {"name": ["a.root", "b.root:Events"]} or {"name": {"files": ..., "metadata": ...}};
            or the path of a JSON or YAML file that holds this.
        treename : str, default None
            Name of the tree, if not "Events" or the only one.
        processor_instance : Processor or callable, default None
            Analysis to run.
        **kwargs : Any
            Further arguments of `hg.run`, by name.

        Returns
        -------
        Any
            The sum of all results; (result, metrics) with `savemetrics`.
        """
        if processor_instance is None:
            raise ProcessorError("Runner needs processor_instance=, the processor to run.")
        mine = {name: getattr(self, name) for name in ("schema", "executor", "strict", "eager", "progress")}
        options = {"tree": treename, "step_size": self.chunksize, **mine, **self.options, **kwargs}
        wanted = options.pop("report", False)
        out, report = run(processor_instance, fileset, **options, report=True)
        if wanted:
            return out, report
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


Runner.__init__ = checks_arguments(name="Runner")(Runner.__init__)  # type: ignore[method-assign]

"""One run: passes are planned, executed and finished; every way to compute something is a face of it."""

from __future__ import annotations

import copy
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from hepgraph.disk.trust import usable
from hepgraph.errors import CheckpointError, ExecutorError, IncompleteWarning, ResumeError, SourceError
from hepgraph.executors import pick
from hepgraph.executors.interface import Part, Tree
from hepgraph.fingerprint import Fingerprint, Untracked, pieces
from hepgraph.functions.lines import users_level
from hepgraph.io.source import Partition
from hepgraph.plan.passes import AnyPass, combine_all
from hepgraph.plan.rows import FAILED, SKIPPED, Row, Rows
from hepgraph.runner.checkpoint import Checkpoint, print_of, uses_place
from hepgraph.runner.options import Options
from hepgraph.runner.partial_sums import Gathered, Sum, SumLeaf, Task
from hepgraph.runner.progress import progress_bar
from hepgraph.runner.provenance import provenance
from hepgraph.runner.report import Report
from hepgraph.runner.resume import Incomplete, called
from hepgraph.runner.retry import halves
from hepgraph.runner.work import RangeWork, dataset_of

COARSEST, FINEST = 8, 64  # parts that a deadly range is cut into at most, before it is an error or skipped


class Run:
    """One run, as its options say. A call runs passes, and gives what `assembled` makes of their results.

    The report has a row for each range; an error that ends the run carries it, to resume from. `watch` is called now
    and then, by the thread of the run, while it waits.
    """

    def __init__(self, options: Options, processor: Any = None) -> None:
        self.options, self.executor = options, pick(options.executor)
        self.checkpoint = None
        if options.checkpoint is not None:
            self.checkpoint = Checkpoint(options.checkpoint, options.storage_options)
        self.processor = processor
        self.depends = options.dependencies.hashes(options.storage_options)
        told = options.report or self.checkpoint is not None
        self.report = Report(provenance=provenance(processor) if told else {}, _replay=self._replay)
        self.watch: Callable[[], None] | None = None
        self.passes: tuple[AnyPass, ...] = ()
        self.assembled: Callable[[list[Any]], Any] = list
        self.gathered: list[Gathered] = []
        self.tasks: list[Task] = []
        self._dead: list[tuple[Task, Row]] = []  # whose worker died, since the last round
        self._parent: dict[Task, tuple[Task, int]] = {}  # what a half was split from, and the size of the first range
        self.begun = self._finishing = False  # whether tasks are worked on; whether sums are used up

    def __call__(self, passes: Sequence[AnyPass], assembled: Callable[[list[Any]], Any] = list) -> Any:
        """The results of all passes as `assembled` puts them together; with the report, if the options ask for it."""
        self.assembled = assembled
        return self.with_report(assembled(self.results(passes)))

    def results(self, passes: Sequence[AnyPass]) -> list[Any]:
        """The finished results of each pass."""
        with self.planned(passes):
            self.execute()
            return self.finish()

    def with_report(self, result: Any) -> Any:
        """A result, with the report if the options ask for it."""
        return (result, self.report) if self.options.report else result

    def so_far(self) -> Any:
        """The result of the ranges that are in; what follows does not depend on it."""
        results = []
        for number, each in enumerate(self.passes):
            found = self.gathered[number].so_far(self.add(number))
            results.append(finished(each, self.empty_partials(number) if found is None else found))
        return self.assembled(results)

    def add(self, number: int) -> Callable[[Any, Any], Any]:
        """How partial results of a pass add up."""
        return combine_all(self.passes[number].sinks)

    def empty_partials(self, number: int) -> list[Any]:
        """The partial results of no events of a pass."""
        first = self.passes[number].partitions()[0]
        return self.passes[number].run(replace(first, stop=first.start))[0]

    def unstarted_copy(self) -> Run:
        """The run as it was planned, for whoever finishes it elsewhere; results are in the checkpoint already."""
        other = copy.copy(self)
        other.checkpoint, other.gathered = None, copy.deepcopy(self.gathered)
        other.report = copy.deepcopy(self.report)
        return other

    def wait(self) -> None:
        """Called now and then while the run waits for results; what it raises ends the run."""
        if self.watch is not None:
            self.watch()

    def note(self, text: str) -> None:
        """Keeps a sentence for the report."""
        self.report.notes.append(text)

    # the plan

    @contextmanager
    def planned(self, passes: Sequence[AnyPass], stored: bool = True) -> Iterator[None]:
        """Plans these passes, for the length of a `with`: the checkpoint is held, an error carries the report.

        Results in the checkpoint are taken, unless whoever works on the tasks looks for them there (`stored` is False).
        """
        self.passes = tuple(passes)
        checkpoint, report = self.checkpoint, self.report
        usable()  # if object code is not kept, this process says so, for all workers
        if report.provenance:
            self._identify()
        self._ask()
        if checkpoint is not None:
            about = report.provenance | {"pieces": {} if self.processor is None else pieces(self.processor)}
            checkpoint.open(self.passes, [made.key for made in self.prints], about)
            report.provenance["checkpoint"] = checkpoint.where
        try:
            self._plan(stored)
            yield
        except BaseException as error:
            self._stopped(error)
            raise
        finally:
            if checkpoint is not None:
                report.notes += [note for note in checkpoint.notes if note not in report.notes]
                checkpoint.close()

    @cached_property
    def prints(self) -> list[Fingerprint]:
        """The fingerprint of each pass, as it was when it was first asked for."""
        return [print_of(each, self.depends) for each in self.passes]

    def _untracked(self) -> list[Untracked]:
        return list(dict.fromkeys(found for made in self.prints for found in made.untracked))

    def _identify(self) -> None:
        """Puts the fingerprints of the passes, and their untracked dependencies, into the report."""
        names = [dataset_of(each) or each.origin.source.name for each in self.passes]
        about = self.report.provenance
        about["plans"] = dict(zip(names, [made.key for made in self.prints], strict=True))
        about["untracked"] = [str(each) for each in self._untracked()]
        if self.depends:
            about["depends"] = dict(self.depends)

    @property
    def _resumed(self) -> Incomplete | None:
        """The incomplete result to go on from, if a report of this process is given."""
        return None if self.options.resume is None else self.options.resume._resume

    def _ask(self) -> None:
        """Raises if stored results would be used while dependencies of the analysis are untracked."""
        if self.checkpoint is None and self._resumed is None:
            return
        dependencies = self.options.dependencies
        left = dependencies.unanswered(self._untracked())
        if left and self.checkpoint is not None:
            raise CheckpointError(dependencies.question(left, f"The checkpoint {self.checkpoint.where}"))
        if left:
            raise ResumeError(dependencies.question(left, "The report to resume from"))

    def _plan(self, stored: bool) -> None:
        if self._resumed is not None:
            self._resume(self._resumed)
        else:
            self.gathered = [Gathered.of(self._leaves(i, each)) for i, each in enumerate(self.passes)]
        for gathered in self.gathered:
            self.report.expect(sum(len(part) for leaf in gathered.leaves for part in leaf.planned))
        for number, gathered in enumerate(self.gathered):
            for task in list(gathered.missing(number)):
                found = self.stored(task) if stored else None
                if found is None:
                    self.tasks.append(task)
                else:
                    self.add_sum(task.number, found[0], [(task, row) for row in found[1].rows])

    def _leaves(self, number: int, each: AnyPass) -> list[SumLeaf]:
        """The leaves of a pass in the order of the data, with places for files that could not be opened."""
        ranges = self._ranges(number, each)
        source = each.origin.source
        if not source.absent:
            return [SumLeaf((partition,)) for partition in ranges]
        if uses_place(each):
            raise SourceError(
                f"{source.absent[0].path} cannot be opened, and this analysis numbers the events of all files: it "
                f"cannot be left out.\n{source.absent[0].error}"
            )
        by_file: dict[tuple[str, str], list[SumLeaf]] = {}
        for partition in ranges:
            by_file.setdefault((partition.path, partition.tree), []).append(SumLeaf((partition,)))
        absent = sorted(source.absent, key=lambda gone: gone.before)
        leaves: list[SumLeaf] = []
        for i, file in enumerate([*source.files, None]):
            for gone in [a for a in absent if a.before == i]:
                self.report.add((number, len(leaves), 0), Row.absent(dataset_of(each), gone))
                leaves.append(SumLeaf(()))
            leaves += by_file.get((file.path, file.tree), []) if file is not None else []
        return leaves

    def _ranges(self, number: int, each: AnyPass) -> tuple[Partition, ...]:
        ranges = each.partitions()
        return ranges if self.checkpoint is None else self.checkpoint.ranges(number, each, ranges)

    def stored(self, task: Task) -> tuple[Sum, Rows] | None:
        """The result of a range in the checkpoint, if it is there."""
        each, part = self.passes[task.number], task.partition
        found = None if self.checkpoint is None else self.checkpoint.load(task.number, each, part)
        if found is None:
            return None
        partials, row = found
        row = replace(row, dataset=dataset_of(each), path=part.path, tree=part.tree, stored=True)
        count = len(self.gathered[task.number].leaves)
        if task.whole:
            return Sum.of(count, task.leaf, partials), Rows((row,))
        return Sum(count, pieces={task.leaf: {(part.start, part.stop): partials}}), Rows((row,))

    def store(self, task: Task, value: Sum, done: Rows) -> None:
        """Stores the result of a range in the checkpoint, if there is one."""
        if self.checkpoint is None:
            return
        for row in done.rows:
            if row.status not in (FAILED, SKIPPED):
                pieces = value.pieces.get(task.leaf) or {}
                partials = next(iter(value.nodes.values())) if value.nodes else pieces[row.start, row.stop]
                part = _part(task.partition, row)
                self.checkpoint.keep(task.number, self.passes[task.number], part, partials, row)

    def _resume(self, before: Incomplete) -> None:
        """Starts from the sums of an earlier run."""
        report: Any = self.options.resume
        # datasets of which no file could be opened had no pass
        places = list(zip(report._order, report.rows, strict=True))
        lost = {row.dataset for place, row in places if place[0] >= len(before.keys)}
        old = [number for number, each in enumerate(self.passes) if dataset_of(each) not in lost]
        before.check([self.passes[number] for number in old], [self.prints[number] for number in old])
        found = dict(zip(old, before.unpacked(), strict=True))
        self.gathered = [
            found[number] if number in found else Gathered.of(self._leaves(number, each))
            for number, each in enumerate(self.passes)
        ]
        for place, row in places:
            if row.events or row.status not in (FAILED, SKIPPED):
                self.report.add((old[place[0]], *place[1:]), replace(row, stored=True))
        for number, files in zip(old, before.files, strict=True):
            each, gathered = self.passes[number], self.gathered[number]
            empty = [i for i, leaf in enumerate(gathered.leaves) if not leaf.planned]
            still = {a.path: a for a in each.origin.source.absent}
            for leaf, path in zip(empty, [path for path, _, uuid in files if uuid == ""], strict=True):
                if path in still:
                    self.report.add((number, leaf, 0), Row.absent(dataset_of(each), still[path]))
                    continue
                ranges = tuple(p for p in self._ranges(number, each) if p.path == path)
                gathered.leaves[leaf] = SumLeaf(ranges or (Partition(path, "", 0, 0),))

    # what is executed

    def execute(self) -> None:
        """Runs the tasks on the executor, and merges their results as they come."""
        self.begun, tasks = True, self.tasks
        with progress_bar(len(tasks), self.options.progress, self.executor.name) as tick:
            while tasks:
                for part in self._parts(tasks):
                    self.merge(part.value, [(tasks[index], rows) for index, rows in part.rows])
                    tick(sum(rows.events for _, rows in part.rows))
                tasks = self.retries()

    def _parts(self, tasks: Sequence[Task]) -> Iterator[Part]:
        """Sums from the executor; where each result is to be kept, each is a sum by itself."""
        numbers, trees = self.trees(tasks, self.checkpoint is not None)
        return self.executor.fold(self.work_on(numbers, tasks), tasks, trees)

    def trees(self, tasks: Sequence[Task], alone: bool = False) -> tuple[list[int], list[Tree]]:
        """The sums of tasks, and which pass each is of: one of all its tasks, or one of each task."""
        numbers = [task.number for task in tasks]
        counts = [(number, 1) for number in numbers] if alone else list(Counter(numbers).items())
        trees, first = [], 0
        for number, count in counts:
            trees.append(Tree(first, count, self.passes[number].title))
            first += count
        return [number for number, _ in counts], trees

    def work_on(self, numbers: Sequence[int], tasks: Sequence[Task]) -> RangeWork:
        """The work on these tasks; each sum is of one pass: `numbers`, in the order of the sums."""
        counts = tuple(len(each.leaves) for each in self.gathered)
        return RangeWork(self.passes, counts, self.options.policy, tuple(numbers), tasks, self)

    def merge(self, value: Sum, done: Sequence[tuple[Task, Rows]]) -> None:
        """Merges completed tasks of one pass into the result: the sum of their results, and the rows of each.

        With a checkpoint, tasks come one by one.
        """
        rows: list[tuple[Task, Row]] = []
        for task, completed in done:
            self._dead += [(task, row) for row in completed.rows if row.cause is not None]
            if len(completed.rows) > 1:
                parts = tuple(_part(task.partition, row) for row in completed.rows)
                self.gathered[task.number].split(task.leaf, task.partition, parts)
            self.store(task, value, completed)
            for row in completed.rows:
                if row.status not in (FAILED, SKIPPED):
                    rows.append((task, row))
                elif row.cause is None:
                    self.report.add((task.number, task.leaf, row.start), row)
        self.add_sum(done[0][0].number, value, rows)

    def add_sum(self, number: int, value: Sum, rows: Sequence[tuple[Task, Row]]) -> None:
        """Adds a sum to those of its pass, and the rows of its ranges to the report."""
        start = time.perf_counter()
        self.gathered[number].merge(value, self.add(number))
        seconds = (time.perf_counter() - start) / max(1, len(rows))
        for task, row in rows:
            self.gathered[number].done.add((task.leaf, row.start))
            self.report.add((number, task.leaf, row.start), row if row.stored else replace(row, merge_seconds=seconds))

    def retries(self) -> list[Task]:
        """The halves of ranges whose worker died: smaller ones may fit its memory, or show the events that it dies of.

        A range whose halves both died is not split further: it is not single events that are to blame.
        """
        dead, self._dead = sorted(self._dead, key=lambda each: (*each[0][:2], each[1].start)), []
        families = Counter(self._parent[task][0] for task, _ in dead if task in self._parent)
        tasks: list[Task] = []
        for task, row in dead:
            parent, size = self._parent.get(task, (None, len(task.partition)))
            least = max(1, size // (FINEST if self.options.policy.skips else COARSEST))
            if len(task.partition) > least and (parent is None or families[parent] < 2):
                parts = halves(task.partition)
                self.gathered[task.number].split(task.leaf, task.partition, parts)
                halved = [Task(task.number, task.leaf, False, part) for part in parts]
                self._parent |= dict.fromkeys(halved, (task, size))
                tasks += halved
            else:
                self._given_up(task, row)
        return sorted(tasks, key=lambda task: (*task[:2], task.partition.start))

    def _given_up(self, task: Task, row: Row) -> None:
        """Skips a range, or raises its error, as the policy says."""
        if self.options.policy.skips:
            self.report.add((task.number, task.leaf, row.start), replace(row, cause=None))
            return
        with suppress(AttributeError):
            row.cause.report_row = replace(row, cause=None, status=FAILED)
        raise row.cause

    # what is left

    def finish(self) -> list[Any]:
        """The finished results of each pass; warns if something is missing, and has None where all is (see Options)."""
        self.report.check()
        for each in self.passes:
            each.unchanged()
        if not self.report.complete:
            self.report._resume = Incomplete.of(self.passes, self.prints, self.gathered).packed()
            self._warn()
        self._finishing = True
        totals = [gathered.total(self.add(number)) for number, gathered in enumerate(self.gathered)]
        for each, total in zip(self.passes, totals, strict=True):
            if total is None and (self.options.whole or not any(totals)):
                first = next((row.error for row in self.report.failed if row.dataset == dataset_of(each)), "")
                error = SourceError(f"Nothing of {called(each)} could be read, so there is no result of it.\n{first}")
                error.report = self.report
                raise error
        pairs = zip(self.passes, totals, strict=True)
        return [None if total is None else finished(each, total) for each, total in pairs]

    def _stopped(self, error: BaseException) -> None:
        """Adds the failed range to the report, and attaches the report to the error."""
        row = getattr(error, "report_row", None)
        if isinstance(row, Row):
            place = self._place(row)
            if place is not None:
                self.report.add(place, row)
        if self.gathered and not self._finishing and isinstance(error, Exception | KeyboardInterrupt):
            self.report._resume = Incomplete.of(self.passes, self.prints, self.gathered)
            if isinstance(error, ExecutorError | CheckpointError | KeyboardInterrupt) and self.report.events:
                error.add_note(self._saved())
        with suppress(AttributeError):
            error.report = self.report  # type: ignore[attr-defined]

    def _saved(self) -> str:
        """A sentence on how much of the result is done, and how to go on from there."""
        done = f"{self.report.events:,} of {self.report.expected:,} events are done"
        if self.checkpoint is not None:
            return f"{done}, and kept in the checkpoint {self.checkpoint.where}: run again with it to do the rest."
        return f"{done}, and held by the report of this error: run again with resume=error.report to do the rest."

    def _place(self, row: Row) -> tuple[int, int, int] | None:
        for number, gathered in enumerate(self.gathered):
            if dataset_of(self.passes[number]) != row.dataset:
                continue
            for i, leaf in enumerate(gathered.leaves):
                for part in leaf.planned:
                    if (part.path, part.tree) == (row.path, row.tree) and part.start <= row.start < max(
                        part.stop, part.start + 1
                    ):
                        return number, i, row.start
        return None

    def _replay(self, row: Row) -> Any:
        place = self._place(row)
        if place is None:
            raise ResumeError(f"This run has no range {row.range}.")
        leaf = self.gathered[place[0]].leaves[place[1]]
        part = next(part for part in leaf.planned if part.start <= row.start)
        each = self.passes[place[0]]
        return finished(each, each.run(_part(part, row))[0])

    def _warn(self) -> None:
        checkpoint = self.report.provenance.get("checkpoint")
        with_what = "the same checkpoint" if checkpoint else "resume=report, the report that report=True gives"
        text = f"{self.report.summary()}\nreport.failed lists all. To do what is missing, run again with {with_what}."
        warnings.warn(IncompleteWarning(text), stacklevel=users_level())


def finished(each: AnyPass, partials: Sequence[Any]) -> list[Any]:
    """The results of a pass, from the sums of its partial results."""
    return [sink.finish(part) for sink, part in zip(each.sinks, partials, strict=True)]


def _part(whole: Partition, row: Row) -> Partition:
    """The range of a row, as a part of the one that it was split from."""
    return replace(whole, start=row.start, stop=row.stop, first=whole.first + row.start - whole.start)

"""The course of one run: what is there already, what is to be done, what to do when it fails, and what is left.

`compute.run_passes` hands the tasks to an executor; all the rest of a run is here.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

from hepgraph.disk.trust import usable
from hepgraph.errors import CheckpointError, ExecutorError, IncompleteWarning, ResumeError, SourceError
from hepgraph.executors.interface import Executor, Part, Tree
from hepgraph.fingerprint import Fingerprint, Untracked
from hepgraph.io.access.files import is_remote
from hepgraph.io.source import Partition
from hepgraph.plan.passes import AnyPass, combine_all
from hepgraph.plan.rows import FAILED, SKIPPED, Row, Rows
from hepgraph.runner.checkpoint import Checkpoint, packed, print_of, unpacked, uses_place
from hepgraph.runner.dependencies import Dependencies
from hepgraph.runner.partial_sums import Gathered, Sum, SumLeaf, Task
from hepgraph.runner.report import Place, Report
from hepgraph.runner.retry import Outcome, Policy, attempt, failure, halves

COARSEST, FINEST = 8, 64  # parts that a deadly range is cut into at most, before it is an error or skipped


@dataclass
class Course:
    """Options of a run: what to do about failures, and where to keep or find results.

    With `whole`, it is an error if nothing of a dataset could be read; else its results are None.
    """

    policy: Policy = field(default_factory=Policy)
    checkpoint: Checkpoint | None = None
    resume: Report | None = None
    whole: bool = True
    dependencies: Dependencies = field(default_factory=Dependencies)
    depends: Mapping[str, str] = field(default_factory=dict)  # hashes of what results depend on, as the user says


FAR = 3  # ranges of remote files that are fetched ahead: an answer may take longer than the work on a range


class Coming:
    """Tasks in the order in which they will be begun, by threads of this process."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._waiting, self._hinted = dict.fromkeys(tasks), set[Task]()
        self._lock = threading.Lock()

    def begun(self, task: Task, hint: Callable[[Task], None]) -> None:
        """Says that a task is begun; `hint` is called once with each of the next few, and with the first if it is near.

        If one is far away, no thread begins it before that.
        """
        near: list[Task] = []
        with self._lock:
            self._waiting.pop(task, None)
            following = list(islice(self._waiting, FAR))
            for each in following:
                if each not in self._hinted and is_remote(each.partition.path):
                    self._hinted.add(each)
                    hint(each)
            for each in [task, *following[:1]]:
                if each not in self._hinted and not is_remote(each.partition.path):
                    self._hinted.add(each)
                    near.append(each)
        for each in near:
            hint(each)


class Work:
    """The work of one task: one pass over one range; results are sums that can be joined.

    In the process of the run it also knows what is `coming`: when a range is begun, the next one is fetched meanwhile.
    Elsewhere the executor says what comes next (`ahead`). If some of the data are `far` away, that should be so.
    """

    def __init__(
        self, made: tuple[AnyPass, ...], counts: tuple[int, ...], policy: Policy, numbers: tuple[int, ...]
    ) -> None:
        self.passes, self.counts, self.policy, self.numbers = made, counts, policy, numbers
        self.coming: Coming | None = None
        self.far = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "coming": None}

    def __call__(self, task: Task) -> tuple[Sum, Rows]:
        each = self.passes[task.number]
        dataset = dataset_of(each)
        if self.coming is not None:
            self.coming.begun(task, self.ahead)
        return self._told(task, attempt(each.run, task.partition, self.policy, dataset))

    def ahead(self, task: Task) -> None:
        """Begins to fetch what a task needs, which will be begun soon."""
        self.passes[task.number].ahead(task.partition)

    def combine(self, tree: int) -> Callable[[Sum, Sum], Sum]:
        """How two results are joined in the `tree`-th sum."""
        add = combine_all(self.passes[self.numbers[tree]].sinks)
        return lambda a, b: a.join(b, add)

    def lost(self, task: Task, error: Exception) -> tuple[Sum, Rows]:
        """A placeholder for a range that no worker survives: the run splits it, and tries the halves."""
        row = failure(task.partition, dataset_of(self.passes[task.number]), error, 1, SKIPPED)
        return Sum(self.counts[task.number]), Rows((replace(row, cause=error),))

    def _told(self, task: Task, outcome: Outcome) -> tuple[Sum, Rows]:
        count = self.counts[task.number]
        rows = [row for _, _, row in outcome.pieces] + [row for _, row in outcome.failures]
        rows.sort(key=lambda row: row.start)
        if task.whole and len(rows) == 1 and outcome.pieces:
            return Sum.of(count, task.leaf, outcome.pieces[0][1]), Rows(tuple(rows))
        pieces = {(part.start, part.stop): partials for part, partials, _ in outcome.pieces}
        return Sum(count, pieces={task.leaf: pieces} if pieces else {}), Rows(tuple(rows))


@dataclass
class Held:
    """An incomplete result: for each pass its key, its files, and what was gathered."""

    keys: list[str]
    files: list[list[tuple[str, str, str]]]
    gathered: list[Gathered] | bytes

    def unpacked(self) -> list[Gathered]:
        """A copy of what was gathered, to go on with."""
        return unpacked(self.gathered if isinstance(self.gathered, bytes) else packed(self.gathered))  # type: ignore[no-any-return]


class Running:
    """One run on its course."""

    def __init__(self, made: Sequence[AnyPass], ledger: Report, course: Course) -> None:
        self.passes, self.ledger, self.course = tuple(made), ledger, course
        self.add = [combine_all(each.sinks) for each in self.passes]
        self.gathered: list[Gathered] = []
        self.tasks: list[Task] = []
        self._dead: list[tuple[Task, Row]] = []  # whose worker died, since the last round
        self._parent: dict[Task, tuple[Task, int]] = {}  # what a half was split from, and the size of the first range
        self._finishing = False  # sums are used up
        ledger._replay = self._replay

    def work_on(self, numbers: Sequence[int], tasks: Sequence[Task]) -> Work:
        """The work on these tasks; each sum is of one pass: `numbers`, in the order of the sums."""
        counts = tuple(len(each.leaves) for each in self.gathered)
        work = Work(self.passes, counts, self.course.policy, tuple(numbers))
        work.far = any(is_remote(task.partition.path) for task in tasks)
        work.coming = Coming(tasks)
        return work

    def so_far(self, number: int) -> Any:
        """The sum of what is there of one pass, None if nothing is; what follows does not depend on it."""
        return self.gathered[number].so_far(self.add[number])

    def _told(self) -> None:
        """Keeps with the report what tells this plan from others, and what of it cannot be tracked."""
        names = [dataset_of(each) or each.origin.source.name for each in self.passes]
        keys = [made.key for made in self.prints]
        self.ledger.provenance["plans"] = dict(zip(names, keys, strict=True))
        self.ledger.provenance["untracked"] = [str(each) for each in self._untracked()]
        if self.course.depends:
            self.ledger.provenance["depends"] = dict(self.course.depends)

    @cached_property
    def prints(self) -> list[Fingerprint]:
        """The fingerprint of each pass, as it was when it was first asked for."""
        return [print_of(each, self.course.depends) for each in self.passes]

    def _untracked(self) -> list[Untracked]:
        return list(dict.fromkeys(found for made in self.prints for found in made.untracked))

    def _ask(self) -> None:
        """Raises if results are to be used of which it cannot be told whether they are those of this analysis."""
        course = self.course
        resumed = course.resume is not None and course.resume._resume is not None
        if course.checkpoint is None and not resumed:
            return
        left = course.dependencies.unanswered(self._untracked())
        if not left:
            return
        if course.checkpoint is not None:
            raise CheckpointError(course.dependencies.question(left, f"The checkpoint {course.checkpoint.where}"))
        raise ResumeError(course.dependencies.question(left, "The report to resume from"))

    @contextmanager
    def on(self) -> Iterator[None]:
        """Around the run: the checkpoint is held; an error that ends it carries the report, to resume from."""
        checkpoint = self.course.checkpoint
        usable()  # if object code is not kept, this process says so, for all workers
        if self.ledger.provenance:
            self._told()
        self._ask()
        if checkpoint is not None:
            checkpoint.open(self.passes, [made.key for made in self.prints], self.ledger.provenance)
            self.ledger.provenance["checkpoint"] = checkpoint.where
        try:
            self._plan()
            yield
        except BaseException as error:
            self._stopped(error)
            raise
        finally:
            if checkpoint is not None:
                self.ledger.notes += [note for note in checkpoint.notes if note not in self.ledger.notes]
                checkpoint.close()

    # what is to be done

    def _plan(self) -> None:
        held = self.course.resume
        if held is not None and held._resume is not None:
            self._resumed(held)
        else:
            self.gathered = [Gathered.of(self._leaves(i, each)) for i, each in enumerate(self.passes)]
        for gathered in self.gathered:
            self.ledger.expect(sum(len(part) for leaf in gathered.leaves for part in leaf.planned))
        for number, gathered in enumerate(self.gathered):
            for task in list(gathered.missing(number)):
                if not self._stored(task):
                    self.tasks.append(task)

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
                row = Row(dataset_of(each), gone.path, 0, 0, 0, how="", status=SKIPPED, tries=gone.tries,
                          error=gone.error, tree=gone.tree)  # fmt: skip
                self.ledger.add((number, len(leaves), 0), row)
                leaves.append(SumLeaf(()))
            leaves += by_file.get((file.path, file.tree), []) if file is not None else []
        return leaves

    def _ranges(self, number: int, each: AnyPass) -> tuple[Partition, ...]:
        ranges = each.partitions()
        checkpoint = self.course.checkpoint
        return ranges if checkpoint is None else checkpoint.ranges(number, each, ranges)

    def _stored(self, task: Task) -> bool:
        """Takes the result of a range from the checkpoint, if it is there."""
        checkpoint = self.course.checkpoint
        each = self.passes[task.number]
        found = checkpoint.load(task.number, each, task.partition) if checkpoint is not None else None
        if found is None:
            return False
        partials, row = found
        part = task.partition
        row = replace(row, dataset=dataset_of(each), path=part.path, tree=part.tree, stored=True)
        self._add(task, part, partials, row)
        return True

    def _resumed(self, report: Report) -> None:
        held: Held = report._resume
        keys = [made.key for made in self.prints]
        # datasets of which no file could be opened had no pass
        lost = {
            row.dataset for place, row in zip(report._order, report.rows, strict=True) if place[0] >= len(held.keys)
        }
        old = [number for number, each in enumerate(self.passes) if dataset_of(each) not in lost]
        if [keys[number] for number in old] != held.keys:
            raise ResumeError(
                "The report to resume from is of another analysis: its code, its parameters, the datasets or the types "
                "of their columns have changed. Run it again without resume=."
            )
        for number, files in zip(old, held.files, strict=True):
            _same_files(self.passes[number], files)
        found = dict(zip(old, held.unpacked(), strict=True))
        self.gathered = [
            found[number] if number in found else Gathered.of(self._leaves(number, each))
            for number, each in enumerate(self.passes)
        ]
        for place, row in zip(report._order, report.rows, strict=True):
            if row.events or row.status not in (FAILED, SKIPPED):
                self.ledger.add((old[place[0]], *place[1:]), replace(row, stored=True))
        for number, files in zip(old, held.files, strict=True):
            each, gathered = self.passes[number], self.gathered[number]
            paths = [path for path, _, _ in files]
            empty = [i for i, leaf in enumerate(gathered.leaves) if not leaf.planned]
            gone = [path for path, _, uuid in files if uuid == ""]
            still = {a.path: a for a in each.origin.source.absent}
            assert len(empty) == len(gone), paths
            for leaf, path in zip(empty, gone, strict=True):
                if path in still:
                    row = Row(dataset_of(each), path, 0, 0, 0, how="", status=SKIPPED, error=still[path].error,
                              tries=still[path].tries, tree=still[path].tree)  # fmt: skip
                    self.ledger.add((number, leaf, 0), row)
                    continue
                ranges = tuple(p for p in self._ranges(number, each) if p.path == path)
                gathered.leaves[leaf] = SumLeaf(ranges or (Partition(path, "", 0, 0),))

    # what comes

    def parts(self, runner: Executor, tasks: Sequence[Task]) -> Iterator[Part]:
        """Sums from an executor; where each result is to be kept, each is a sum by itself."""
        if self.course.checkpoint is not None:
            counts = [(task.number, 1) for task in tasks]
        else:
            counts = list(Counter(task.number for task in tasks).items())
        trees, first = [], 0
        for number, count in counts:
            trees.append(Tree(first, count, self.passes[number].title))
            first += count
        return runner.fold(self.work_on([number for number, _ in counts], tasks), tasks, trees)

    def take(self, value: Sum, told: Sequence[tuple[Task, Rows]]) -> None:
        """Takes in what became of tasks of one pass: the sum of their results, and the rows of each.

        With a checkpoint, tasks come one by one.
        """
        done: list[tuple[Place, Row]] = []
        for task, rows in told:
            done += self._rows(task, value, rows)
        start = time.perf_counter()
        number = told[0][0].number
        self.gathered[number].take(value, self.add[number])
        seconds = (time.perf_counter() - start) / max(1, len(done))
        for place, row in done:
            self.gathered[number].done.add(place[1:])
            self.ledger.add(place, replace(row, merge_seconds=seconds))

    def _rows(self, task: Task, value: Sum, told: Rows) -> list[tuple[Place, Row]]:
        """The rows of what is done, after what there was of it is stored, and what failed is in the report."""
        self._lost(task, told)
        each, checkpoint = self.passes[task.number], self.course.checkpoint
        done = {row.start: row for row in told.rows if row.status not in (FAILED, SKIPPED)}
        if len(told.rows) > 1:
            made = tuple(_part(task.partition, row) for row in told.rows)
            self.gathered[task.number].split(task.leaf, task.partition, made)
        for row in told.rows:
            part = _part(task.partition, row)
            if row.start in done:
                if checkpoint is not None:
                    pieces = value.pieces.get(task.leaf) or {}
                    partials = next(iter(value.nodes.values())) if value.nodes else pieces[row.start, row.stop]
                    checkpoint.keep(task.number, each, part, partials, row)
            elif row.cause is None:
                self.ledger.add((task.number, task.leaf, row.start), row)
        return [((task.number, task.leaf, start), row) for start, row in done.items()]

    def _add(self, task: Task, part: Partition, partials: Any, row: Row) -> None:
        gathered = self.gathered[task.number]
        count = len(gathered.leaves)
        value = Sum.of(count, task.leaf, partials)
        if not task.whole:
            value = Sum(count, pieces={task.leaf: {(part.start, part.stop): partials}})
        gathered.take(value, self.add[task.number])
        gathered.done.add((task.leaf, part.start))
        self.ledger.add((task.number, task.leaf, part.start), row)

    def _lost(self, task: Task, told: Rows) -> None:
        """Notes a range whose worker died every time."""
        self._dead += [(task, row) for row in told.rows if row.cause is not None]

    def again(self) -> list[Task]:
        """The halves of ranges whose worker died: smaller ones may fit its memory, or show the events that it dies of.

        A range whose halves both died is not split further: it is not single events that are to blame.
        """
        dead, self._dead = sorted(self._dead, key=lambda each: (*each[0][:2], each[1].start)), []
        families = Counter(self._parent[task][0] for task, _ in dead if task in self._parent)
        tasks: list[Task] = []
        for task, row in dead:
            parent, size = self._parent.get(task, (None, len(task.partition)))
            least = max(1, size // (FINEST if self.course.policy.skips else COARSEST))
            if len(task.partition) > least and (parent is None or families[parent] < 2):
                parts = halves(task.partition)
                self.gathered[task.number].split(task.leaf, task.partition, parts)
                made = [Task(task.number, task.leaf, False, part) for part in parts]
                self._parent |= dict.fromkeys(made, (task, size))
                tasks += made
            else:
                self._given_up(task, row)
        return sorted(tasks, key=lambda task: (*task[:2], task.partition.start))

    def _given_up(self, task: Task, row: Row) -> None:
        """Leaves a range out, or raises."""
        if self.course.policy.skips:
            self.ledger.add((task.number, task.leaf, row.start), replace(row, cause=None))
            return
        with suppress(AttributeError):
            row.cause.ledger_row = replace(row, cause=None, status=FAILED)
        raise row.cause

    # what is left

    def results(self) -> list[Any]:
        """The finished results of each pass; warns if something is missing, and has None where all is (see Course)."""
        self.ledger.check()
        for each in self.passes:
            each.unchanged()
        if not self.ledger.complete:
            self._hold(pack=True)
            self._warn()
        self._finishing = True
        totals = [gathered.total(add) for gathered, add in zip(self.gathered, self.add, strict=True)]
        results: list[Any] = []
        for each, total in zip(self.passes, totals, strict=True):
            if total is None and (self.course.whole or not any(totals)):
                first = next((row.error for row in self.ledger.failed if row.dataset == dataset_of(each)), "")
                error = SourceError(f"Nothing of {_called(each)} could be read, so there is no result of it.\n{first}")
                error.report = self.ledger
                raise error
            nothing = total is None
            results.append(
                None if nothing else [sink.finish(part) for sink, part in zip(each.sinks, total, strict=True)]
            )
        return results

    def _hold(self, pack: bool) -> None:
        files = [files_of(each) for each in self.passes]
        keys = [made.key for made in self.prints]
        self.ledger._resume = Held(keys, files, packed(self.gathered) if pack else self.gathered)

    def _stopped(self, error: BaseException) -> None:
        """Puts what is known about an error into the report, and the report on the error."""
        row = getattr(error, "ledger_row", None)
        if isinstance(row, Row):
            place = self._place(row)
            if place is not None:
                self.ledger.add(place, row)
        if self.gathered and not self._finishing and isinstance(error, Exception | KeyboardInterrupt):
            self._hold(pack=False)
            if isinstance(error, ExecutorError | CheckpointError | KeyboardInterrupt) and self.ledger.events:
                error.add_note(self._saved())
        with suppress(AttributeError):
            error.report = self.ledger  # type: ignore[attr-defined]

    def _saved(self) -> str:
        """A sentence on how much of the result is done, and how to go on from there."""
        done = f"{self.ledger.events:,} of {self.ledger.expected:,} events are done"
        if self.course.checkpoint is not None:
            where = self.course.checkpoint.where
            return f"{done}, and kept in the checkpoint {where}: run again with it to do the rest."
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
        partials, _ = each.run(_part(part, row))
        return [sink.finish(part) for sink, part in zip(each.sinks, partials, strict=True)]

    def _warn(self) -> None:
        checkpoint = self.ledger.provenance.get("checkpoint")
        with_what = "the same checkpoint" if checkpoint else "resume=report, the report that report=True gives"
        text = f"{self.ledger.summary()}\nreport.failed lists all. To do what is missing, run again with {with_what}."
        warnings.warn(IncompleteWarning(text), stacklevel=users_level())


def course_of(
    policy: Policy, checkpoint: Any, resume: Any, storage_options: Any = None, dependencies: Dependencies | None = None
) -> Course:
    """The course that a user means: `checkpoint` is a directory or URL, `resume` the report of a run.

    A report that was read from a file, of a run with a checkpoint, means that checkpoint. Raises ResumeError.
    """
    if resume is not None:
        if not isinstance(resume, Report):
            raise ResumeError(f"resume= takes the report of a run (report=True), not a {type(resume).__name__}.")
        if resume._resume is None and checkpoint is None:
            checkpoint = resume.provenance.get("checkpoint")
            if checkpoint is None and resume.complete:
                raise ResumeError("Nothing is missing from the run to be resumed: its result is whole.")
            if checkpoint is None:
                raise ResumeError(
                    "This report was read from a file, which holds no results to go on from; a run with checkpoint= "
                    "keeps them."
                )
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise CheckpointError(f"checkpoint= takes a directory or an URL, not {checkpoint!r}.")
    where = None if checkpoint is None else Checkpoint(checkpoint, storage_options)
    said = dependencies or Dependencies()
    return Course(policy, where, resume, dependencies=said, depends=said.hashes(storage_options))


def dataset_of(each: AnyPass) -> str:
    """The name of the dataset of a pass; empty if it has none."""
    return str(each.origin.source.metadata.get("dataset", ""))


def files_of(each: AnyPass) -> list[tuple[str, str, str]]:
    """The files of a pass in order: path, tree, identity; without the last, where the file could not be opened."""
    source = each.origin.source
    found: list[tuple[str, str, str]] = []
    for i, file in enumerate([*source.files, None]):
        found += [(gone.path, gone.tree, "") for gone in source.absent if gone.before == i]
        found += [(file.path, file.tree, source.identity(file) or "unknown")] if file is not None else []
    return found


def _same_files(each: AnyPass, before: Iterable[tuple[str, str, str]]) -> None:
    """Raises ResumeError if a file is not the one that an earlier run has read."""
    now = files_of(each)
    if [path for path, _, _ in now] != [path for path, _, _ in before]:
        raise ResumeError(
            f"The files of {_called(each)} are not those of the report to resume from. Give the same fileset, or use "
            "checkpoint=, which goes by the content of files."
        )
    for (path, _, old), (_, _, new) in zip(before, now, strict=True):
        if old and new and old != new:
            raise ResumeError(
                f"{path} has changed since the run that is to be resumed, whose result has events of the old file in "
                "it. Run it again without resume=."
            )


def _called(each: AnyPass) -> str:
    name = dataset_of(each)
    return f"dataset {name!r}" if name else str(each.origin.source.name)


def _part(whole: Partition, row: Row) -> Partition:
    """The range of a row, as a part of the one that it was split from."""
    return replace(whole, start=row.start, stop=row.stop, first=whole.first + row.start - whole.start)


def users_level() -> int:
    """How far up the stack the user's own call is."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("hepgraph", "contextlib")):
        level, frame = level + 1, frame.f_back
    return level

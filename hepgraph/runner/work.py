"""The work on ranges: read, computed, tried again; and the prefetching of the next while one is worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from hepgraph.executors.interface import Work
from hepgraph.io.access.files import is_remote
from hepgraph.plan.passes import AnyPass, combine_all
from hepgraph.plan.rows import SKIPPED, Rows
from hepgraph.runner.partial_sums import Sum, Task
from hepgraph.runner.retry import Policy, attempt, failure

FAR = 3  # ranges of remote files that are fetched ahead: an answer may take longer than the work on a range


class PrefetchQueue:
    """The tasks that threads of this process will start, in order, so that their data are fetched ahead."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._waiting, self._hinted = dict.fromkeys(tasks), set[Task]()
        self._lock = threading.Lock()

    def started(self, task: Task, hint: Callable[[Task], None]) -> None:
        """Notes that a task is started, and calls `hint` once for each of the tasks to prefetch.

        These are the remote ones of the next FAR, and of local ones the next and, at the start, the first. No thread
        starts a remote task before its hint.
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


class RangeWork(Work):
    """One pass over one range for each task; results are sums that can be joined.

    In the process of the run it has a `queue`: when a range is started, the next one is fetched meanwhile. Elsewhere
    the executor says which comes next (`ahead`). `run` is told while it waits for results.
    """

    def __init__(
        self,
        passes: tuple[AnyPass, ...],
        counts: tuple[int, ...],
        policy: Policy,
        numbers: tuple[int, ...],
        tasks: Sequence[Task],
        run: Any = None,
    ) -> None:
        self.passes, self.counts, self.policy, self.numbers, self.run = passes, counts, policy, numbers, run
        self.queue: PrefetchQueue | None = PrefetchQueue(tasks)
        self.far = any(is_remote(task.partition.path) for task in tasks)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "queue": None, "run": None}

    def __call__(self, task: Task) -> tuple[Sum, Rows]:
        each = self.passes[task.number]
        if self.queue is not None:
            self.queue.started(task, self.ahead)
        outcome = attempt(each.run, task.partition, self.policy, dataset_of(each))
        count = self.counts[task.number]
        rows = sorted([row for _, _, row in outcome.pieces] + outcome.failures, key=lambda row: row.start)
        if task.whole and len(rows) == 1 and outcome.pieces:
            return Sum.of(count, task.leaf, outcome.pieces[0][1]), Rows(tuple(rows))
        pieces = {(part.start, part.stop): partials for part, partials, _ in outcome.pieces}
        return Sum(count, pieces={task.leaf: pieces} if pieces else {}), Rows(tuple(rows))

    def ahead(self, task: Task) -> None:
        """Begins to fetch the data of a task that will be started soon."""
        self.passes[task.number].ahead(task.partition)

    def combine(self, tree: int) -> Callable[[Sum, Sum], Sum]:
        """How two results are joined in the `tree`-th sum."""
        add = combine_all(self.passes[self.numbers[tree]].sinks)
        return lambda a, b: a.join(b, add)

    def lost(self, task: Task, error: Exception) -> tuple[Sum, Rows]:
        """A placeholder for a range that no worker survives: the run splits it, and tries the halves."""
        row = failure(task.partition, dataset_of(self.passes[task.number]), error, 1, SKIPPED)
        return Sum(self.counts[task.number]), Rows((replace(row, cause=error),))

    def wait(self) -> None:
        if self.run is not None:
            self.run.wait()

    def note(self, text: str) -> None:
        super().note(text)
        if self.run is not None:
            self.run.note(text)


def dataset_of(each: AnyPass) -> str:
    """The name of the dataset of a pass; empty if it has none."""
    return str(each.origin.source.metadata.get("dataset", ""))

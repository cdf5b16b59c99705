"""How a sum over many ranges is made by a dask cluster: batches in a window, added up on the workers, node by node.

A *node* of a tree stands above consecutive ranges (see `tree.py`). A task of dask works through all ranges of one
node, seconds of work; as soon as the nodes below one of the next third level are done, a task that runs before all
others adds them up where they lie, and the sum comes to this process: what a lost worker can cost is small, and the
scheduler never knows more than a window of tasks. Sums that are large, and smaller than what goes into them, stay on
the workers and go further up. The batches, and who works on them, leave no trace in the result.
"""

from __future__ import annotations

import logging
import pickle
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hepgraph.errors import ExecutorError, KilledError, PlanGoneError, UnreachableError, many
from hepgraph.executors.dask_plan import Plan
from hepgraph.executors.dask_sums import NodeSum, add_up, merge
from hepgraph.executors.dask_workers import CHECK, SILENT, Workers
from hepgraph.executors.interface import Part, Tree, Work
from hepgraph.executors.processes import described
from hepgraph.executors.tree import STEP, TreeNode, height_of
from hepgraph.limits import limits

LOG = logging.getLogger("hepgraph")
HIGHEST = 12  # no batch has more than 2**12 ranges
SCHEDULER_SECONDS = 0.01  # how much time of the scheduler a batch is worth, with its share of a merge


@dataclass(frozen=True)
class WorkerPatience:
    """How long to wait while there is no worker, in seconds, None for ever: for the first, and after all have gone.

    `expects` says whether workers are on their way: while they are, nobody who was there before is given up. `call` is
    called now and then while there is none; it may bring some back.
    """

    first: float | None = None
    comeback: float | None = 600.0
    expects: Callable[[], bool] = lambda: False
    call: Callable[[], object] = lambda: None


@dataclass
class _Below:
    """Sums below one node that are done, as (node, future); without a future for one that is in this process."""

    parts: list[tuple[TreeNode, Any]] = field(default_factory=list)
    ranges: int = 0


@dataclass
class _Sent:
    """A task of dask that is under way: a batch, or a merge of `inputs`; `since` when it was sent."""

    node: TreeNode
    future: Any
    inputs: list[tuple[TreeNode, Any]]
    since: float = field(default_factory=time.monotonic)


class Fold:
    """One run: nodes to submit, tasks under way, sums that are done."""

    def __init__(
        self,
        plan: Plan,
        work: Work,
        tasks: Sequence[Any],
        trees: Sequence[Tree],
        seconds: float,
        patience: WorkerPatience,
    ) -> None:
        self.plan, self.client, self.work, self.tasks, self.trees = plan, plan.client, work, tasks, trees
        self.seconds, self.patience, self.address = seconds, patience, _address(plan.client)
        self.at = (0, 0)  # the next range: (tree, range)
        self.total = self.left = sum(tree.count for tree in trees)
        self.delivered = 0
        self.again: deque[TreeNode] = deque()  # to be done anew
        self.suspects: deque[TreeNode] = deque()  # single ranges whose worker was lost: done last, one at a time
        self.suspect: TreeNode | None = None
        self.tries: Counter[TreeNode] = Counter()
        self.under_way: dict[str, _Sent] = {}  # by key, the oldest first
        self.batches = self.sent = 0
        self.below: dict[TreeNode, _Below] = {}
        self.done: queue.Queue[str] = queue.Queue()
        self.pace: dict[int, float] = {}  # seconds for one range of a tree
        self.large: set[int] = set()
        self.workers, self.silent = Workers(plan.client), frozenset[str]()
        self.copied: set[TreeNode] = set()  # batches that several workers have, as one of them fell silent
        self.stale = False  # the scheduler may not know the plan any more
        self.looked, self.alone, self.said, self.called = 0.0, time.monotonic(), 0.0, 0.0
        self.had = False  # whether there ever was a worker

    def parts(self) -> Iterator[Part]:
        """The sums, as they come in."""
        while self.delivered < self.total:
            self._look()
            ready = [] if self.stale else self._submit()
            for key in [] if ready else self._finished():
                ready += self._settle(key)
            while ready:
                here, ready = self._gathered(ready), []
                for node, each in here:
                    yield self._taken(node, each)
                    ready += self._arrived(node, None)

    def end(self) -> None:
        """Cancels the tasks under way."""
        futures = [sent.future for sent in self.under_way.values()]
        self.under_way.clear()
        self.below.clear()
        if futures and self.client.status == "running":
            with suppress(OSError, TimeoutError):  # the scheduler is gone, and they with it
                self.client.cancel(futures)

    # what goes out

    def _submit(self) -> list[tuple[TreeNode, Any]]:
        """Keeps the workers busy, with no more tasks than they need for that; gives sums that had better come here.

        When all else is done, suspects are tried, each alone: what ends a worker ends all that lies or waits there too.
        """
        window = max(8, 3 * self.workers.threads)
        while self.batches < window:
            node = self.again.popleft() if self.again else self._next_node()
            if node is None:
                break
            self._batch(node)
        if self.under_way or not self.suspects:
            return []
        there = [part for below in self.below.values() for part in self._emptied(below)]
        if not there:
            self.suspect = self.suspects.popleft()
            self._batch(self.suspect)
        return there

    def _next_node(self) -> TreeNode | None:
        tree, start = self.at
        while tree < len(self.trees) and start >= self.trees[tree].count:
            tree, start = tree + 1, 0
        if tree == len(self.trees):
            return None
        count = self.trees[tree].count
        level = min(self._level(tree), height_of(count))
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        node = TreeNode(tree, level, start >> level)
        stop = node.span(count)[1]
        self.left -= stop - start
        self.at = (tree, stop)
        return node

    def _level(self, tree: int) -> int:
        """How high a batch may stand: seconds of work, while enough batches are left for everybody."""
        if not self.pace:
            return 0
        pace = self.pace.get(tree, next(reversed(self.pace.values())))  # what others took, to begin with
        seconds = min(self.seconds, self.workers.life / 4)  # what a worker that leaves takes along is small
        wanted = max(seconds, SCHEDULER_SECONDS * self.workers.threads) / max(pace, 1e-7)
        share = self.left / (3 * max(1, self.workers.threads))
        return min(HIGHEST, max(0, int(min(wanted, share)).bit_length() - 1))

    def _batch(self, node: TreeNode) -> None:
        first, tasks = self._ranges(node)
        self.batches += 1
        self._send("ranges", add_up, (self.plan.name, node, first, tasks), node, [])

    def _ranges(self, node: TreeNode) -> tuple[int, Sequence[Any]]:
        """The number of the first range below a node, and all of them."""
        tree = self.trees[node.tree]
        start, stop = node.span(tree.count)
        return tree.first + start, self.tasks[tree.first + start : tree.first + stop]

    def _merge(self, node: TreeNode, parts: list[tuple[TreeNode, Any]]) -> None:
        futures = [future for _, future in parts]
        if any(future.status != "finished" for future in futures):
            self._forget()
            self._redo(node)
            return
        self._send("merge", merge, (self.plan.name, node, self._size(node), futures), node, parts)

    def _send(
        self, what: str, function: Any, arguments: tuple[Any, ...], node: TreeNode, inputs: list[tuple[TreeNode, Any]]
    ) -> None:
        self.sent += 1
        name = self.trees[node.tree].name
        key = f"{name}-{what}-{self.plan.token}-{node.tree}-{node.level}-{node.index}-{self.sent}"
        options: dict[str, Any] = {"key": key, "priority": 10 if inputs else 0, "pure": False}
        if self.silent and self.workers.others:  # any worker may have it after those that answer
            options |= {"workers": self.workers.others, "allow_other_workers": True}
        future = self.client.submit(function, *arguments, **options)
        self.under_way[key] = _Sent(node, future, inputs)
        done = self.done
        future.add_done_callback(lambda future: done.put(future.key))

    # what comes in

    def _finished(self) -> list[str]:
        """The keys of tasks that have finished; waits a moment at most."""
        self.work.wait()
        try:
            found = [self.done.get(timeout=CHECK)]
        except queue.Empty:
            return []
        with suppress(queue.Empty):
            while True:
                found.append(self.done.get_nowait())
        return [key for key in found if key in self.under_way]

    def _settle(self, key: str) -> list[tuple[TreeNode, Any]]:
        """Handles a finished task; gives the sums to fetch into this process."""
        sent = self._dropped(key)
        node, future, inputs = sent.node, sent.future, sent.inputs
        if node in self.copied:
            twins = [other for other, each in self.under_way.items() if each.node == node]
            if future.status != "finished" and twins:  # another worker has the same, and goes on
                return []
            self.copied.discard(node)
            self.client.cancel([self._dropped(twin).future for twin in twins])
        match future.status:
            case "finished":
                if self.suspect == node:
                    self.suspect = None
                return self._risen(node, future) if inputs else self._arrived(node, future)
            case "error":
                return self._failed(node, future, bool(inputs))
        self._forget()  # cancelled or lost: the scheduler was started anew, or somebody restarted its workers
        self._redo(node)
        return []

    def _dropped(self, key: str) -> _Sent:
        """A task that is not waited for any more."""
        sent = self.under_way.pop(key)
        self.batches -= not sent.inputs
        return sent

    def _forget(self) -> None:
        """Has everything done again that a scheduler knew before it was started anew."""
        self.stale = True
        self._lose(lambda future: future.status != "finished")

    def _lose(self, lost: Callable[[Any], bool]) -> None:
        """Has sums that lie on workers done again, those that are lost."""
        for above, below in list(self.below.items()):
            gone = [node for node, future in below.parts if future is not None and lost(future)]
            below.parts = [part for part in below.parts if part[0] not in gone]
            for node in gone:
                below.ranges -= self._size(node)
                self._redo(node)
            if not below.parts:
                del self.below[above]

    def _failed(self, node: TreeNode, future: Any, inputs: bool) -> list[tuple[TreeNode, Any]]:
        """Resubmits the work of a lost worker in smaller batches; raises errors of the analysis."""
        from distributed import KilledWorker

        error = future.exception()
        if isinstance(error, PlanGoneError):
            self._forget()
            self._redo(node)
            return []
        if not isinstance(error, KilledWorker):
            future.result()
        self.tries[node] += 1
        name = self.trees[node.tree].name
        if inputs and self.tries[node] > 2:
            raise KilledError(
                f"Adding up the results of {name} ended every dask worker that tried it; they may not fit into its "
                f"memory ({error})."
            ) from error
        if inputs:
            self._redo(node)
        elif node.level > 0:
            LOG.warning("hepgraph: a batch of %s ended its workers; its ranges are tried in smaller batches", name)
            self._redo(node, max(0, node.level - STEP))
        elif node != self.suspect:
            self.suspects.append(node)
        else:
            self.suspect = None
            return [(node, self._lost(node, error))]
        return []

    def _lost(self, node: TreeNode, error: BaseException) -> NodeSum:
        """A placeholder for a range that ends its worker whenever it is tried; raises if there is none."""
        number = self.trees[node.tree].first + node.index
        task = self.tasks[number]
        killed = KilledError(f"The range {described(task)} ended every dask worker that worked on it ({error}).")
        killed.__cause__ = error
        value, row = self.work.lost(task, killed)
        return NodeSum(0, node.index, pickle.dumps(value), [(number, row)], 0.0)

    def _redo(self, node: TreeNode, level: int | None = None) -> None:
        """Has the ranges of a node done again, in nodes of no level above `level`."""
        level = min(node.level, self._level(node.tree) if level is None else level)
        start, stop = node.span(self.trees[node.tree].count)
        self.again.extend(
            TreeNode(node.tree, level, index) for index in range(start >> level, ((stop - 1) >> level) + 1)
        )
        if self.suspect == node:
            self.suspect = None

    def _arrived(self, node: TreeNode, future: Any) -> list[tuple[TreeNode, Any]]:
        """A sum lies on a worker, or has come here (without a future): adds it to its neighbours when all are there."""
        count = self.trees[node.tree].count
        if node.level >= height_of(count):
            return [(node, future)] if future is not None else []
        above = node.above()
        below = self.below.setdefault(above, _Below())
        below.parts.append((node, future))
        below.ranges += self._size(node)
        if below.ranges < self._size(above):
            return []
        if any(each is None for _, each in below.parts):  # one has come here already: so do the others
            there = self._emptied(below)
            if there:
                return there
            del self.below[above]
            return self._arrived(above, None)
        del self.below[above]
        parts = sorted(below.parts, key=lambda part: part[0].span(count))
        if len(parts) == 1:
            return self._risen(above, parts[0][1])
        self._merge(above, parts)
        return []

    def _emptied(self, below: _Below) -> list[tuple[TreeNode, Any]]:
        """The sums below one node that lie on workers; each arrives again when it has come here, or was redone."""
        there = [part for part in below.parts if part[1] is not None]
        below.parts = [part for part in below.parts if part[1] is None]
        below.ranges -= sum(self._size(node) for node, _ in there)
        return there

    def _size(self, node: TreeNode) -> int:
        start, stop = node.span(self.trees[node.tree].count)
        return stop - start

    def _risen(self, node: TreeNode, future: Any) -> list[tuple[TreeNode, Any]]:
        """All below a node has been added up: it comes here, or stays on the workers to go further up."""
        top = node.level >= height_of(self.trees[node.tree].count)
        return self._arrived(node, future) if node.tree in self.large and not top else [(node, future)]

    def _gathered(self, ready: list[tuple[TreeNode, Any]]) -> list[tuple[TreeNode, NodeSum]]:
        """The sums themselves; those that were lost on the way are made again."""
        here = [(node, each) for node, each in ready if isinstance(each, NodeSum)]
        there = [(node, each) for node, each in ready if not isinstance(each, NodeSum)]
        try:
            sums = self._fetched([future for _, future in there])
        except Exception:  # one of them is to blame: which one shows when each is asked for
            for node, future in there:
                here += self._one(node, future)
            return here
        for node, future in there:
            if future.key in sums:
                here.append((node, sums[future.key]))
            else:
                self._redo(node)
        return here

    def _fetched(self, futures: Sequence[Any]) -> dict[str, NodeSum]:
        """The sums that futures hold, by key, without those that only silent workers have."""
        lost: set[str] = set()
        while True:
            wanted = {future.key: future for future in futures if future.key not in lost}
            waiting = _in_background(self.client.gather, list(wanted.values()))
            while not waiting.done():
                wait([waiting], CHECK)
                self.work.wait()
                self._look()
                if not waiting.done() and (more := self._on_silent(wanted.values())):
                    lost |= more
                    break
            else:
                return dict(zip(wanted, waiting.result(), strict=True))

    def _on_silent(self, futures: Iterable[Any]) -> set[str]:
        """The keys of results that only silent workers have."""
        if not self.silent:
            return set()
        where = self.client.who_has([future for future in futures if future.status == "finished"])
        return {key for key, workers in where.items() if workers and self.silent.issuperset(workers)}

    def _one(self, node: TreeNode, future: Any) -> list[tuple[TreeNode, NodeSum]]:
        from distributed import CancelledError, KilledWorker

        try:
            if found := list(self._fetched([future]).values()):
                return [(node, found[0])]
        except CancelledError:
            self.stale = True
        except (OSError, TimeoutError):
            self.tries[node] += 1
            if self.tries[node] > 2:
                raise
        except KilledWorker as error:  # it was made, and died with its worker: of what was beside it, or of itself
            self.tries[node] += 1
            if self.tries[node] > 4 and node.level == 0:
                return [(node, self._lost(node, error))]
            if self.tries[node] > 2:
                start, stop = node.span(self.trees[node.tree].count)
                self.suspects.extend(TreeNode(node.tree, 0, index) for index in range(start, stop))
                return []
        self._redo(node)
        return []

    def _taken(self, node: TreeNode, each: NodeSum) -> Part:
        """A sum that has come here as a part of the result."""
        if each.seconds:
            pace = each.seconds / len(each.rows)
            self.pace[node.tree] = (self.pace.pop(node.tree, pace) + pace) / 2  # moves it to the end
        if each.inputs and limits().sum_large < len(each.body) < 0.7 * each.inputs:
            self.large.add(node.tree)
        self.delivered += len(each.rows)
        value = pickle.loads(each.body)
        return Part(node.tree, node.level, node.index, value, each.rows, each.seconds)

    # who is there

    def _look(self) -> None:
        """Looks at the scheduler and its workers, from time to time."""
        client = self.client
        if client.status not in ("running", "connecting"):
            raise UnreachableError(
                f"The dask scheduler {self.address} went away, and did not come back: {self.delivered} of "
                f"{self.total} ranges were done."
            )
        now = time.monotonic()
        if now - self.looked < CHECK:
            return
        self.looked = now
        if client.status == "running":
            with suppress(OSError, TimeoutError):  # the client tries to find it again, or gives up
                if self.stale:
                    self.plan.send()
                    self.stale = False
                oldest = next(iter(self.under_way.values()), None)
                self.workers.look(0.0 if oldest is None else now - oldest.since)
                self._attend()
        if self.workers.threads or self.silent:
            if self.said:
                LOG.warning("hepgraph: %d threads of dask workers are there", self.workers.threads)
            self.alone, self.said, self.had = now, 0.0, True
            return
        self._wait(now)

    def _attend(self) -> None:
        """Gives the tasks of silent workers to others, and shrinks batches where workers come and go."""
        before, self.silent = self.silent, self.workers.silent
        for address in before - self.silent:
            if address in self.workers.others:
                self.work.note(f"The dask worker {address} answers again.")
        if self.silent:
            self._relieve(self.silent - before)
        if self.workers.churning:
            for key, sent in list(self.under_way.items()):
                if not sent.inputs and sent.node.level > self._level(sent.node.tree) + 1:
                    self.client.cancel([self._dropped(key).future])
                    self._redo(sent.node)

    def _relieve(self, fell: frozenset[str]) -> None:
        """Submits the tasks of silent workers again (the first result counts), and redoes the sums that they hold."""
        processing = self.client.processing(list(self.silent))
        for address in fell:
            self._say_silent(address, {str(key) for key in processing.get(address, ())})
        if not self.workers.others:
            return
        stuck = {str(key) for keys in processing.values() for key in keys}
        for key, sent in list(self.under_way.items()):
            if sent.inputs and (key in stuck or self._on_silent(future for _, future in sent.inputs)):
                self._without(key)
        safe = {sent.node for key, sent in self.under_way.items() if key not in stuck}
        for node in {sent.node for sent in self.under_way.values() if not sent.inputs} - safe:
            self.copied.add(node)
            self._batch(node)
        below = [future for each in self.below.values() for _, future in each.parts if future is not None]
        lost = self._on_silent(below)
        self._lose(lambda future: future.key in lost)

    def _say_silent(self, address: str, keys: set[str]) -> None:
        held = [sent for key, sent in self.under_way.items() if key in keys and not sent.inputs]
        ranges = [described(task) for sent in held for task in self._ranges(sent.node)[1]]
        named = f" ({', '.join(ranges[:3])}{', ...' * (len(ranges) > 3)})" if ranges else ""
        now = "others get them as well" if self.workers.others else "there is no other worker"
        has = f"{many(len(ranges), 'range')}{named}"
        self.work.note(f"The dask worker {address} has been silent for {SILENT:g} s, with {has}; {now}.")

    def _without(self, key: str) -> None:
        """Gives up a merge that waits for a silent worker: its inputs arrive again, or are done again."""
        sent = self._dropped(key)
        lost = self._on_silent(future for _, future in sent.inputs)
        self.client.cancel([sent.future])
        for node, future in sent.inputs:
            if future.key in lost:
                self._redo(node)
            else:
                self._arrived(node, future)

    def _wait(self, now: float) -> None:
        """Says that there is no worker, calls for some, and loses patience."""
        alone, start = now - self.alone, "start some (dask worker, cluster.scale, cluster.adapt)"
        first, comeback = self.patience.first, self.patience.comeback
        if not self.had and first is not None and alone > first:
            raise ExecutorError(
                f"No dask worker came to the scheduler {self.address} within {first:g} s: {start}, or wait longer with "
                "hg.executors.Dask(..., patience=)."
            )
        if self.had and comeback is not None and alone > comeback and not self.patience.expects():
            raise ExecutorError(
                f"All dask workers of the scheduler {self.address} have gone, and none came back within {comeback:g} "
                f"s: {self.delivered} of {self.total} ranges were done. Look at the logs of the workers, and {start}, "
                "or wait longer with hg.executors.Dask(..., comeback=)."
            )
        if alone > 1 and now - self.called > 5:
            self.patience.call()
            self.called = now
        if alone > 1 and now - self.said > 60:
            jobs = (
                "; its jobs wait in the queue, or have ended, and their logs say why" if self.patience.expects() else ""
            )
            LOG.warning("hepgraph: waiting for a dask worker; the scheduler %s has none%s", self.address, jobs)
            self.said = now


def _in_background(function: Callable[..., Any], *args: Any) -> Future[Any]:
    """A call in a daemon thread."""
    future: Future[Any] = Future()

    def called() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:  # raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=called, name="hepgraph-gather", daemon=True).start()
    return future


def _address(client: Any) -> str:
    return str(getattr(client.scheduler, "address", "")) or "?"


__all__ = ["Fold", "WorkerPatience"]

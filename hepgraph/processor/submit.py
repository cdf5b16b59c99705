"""Runs in the background: a handle that tells how far one is, what it has so far, and that can give it up."""

from __future__ import annotations

import copy
import html
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from hepgraph.errors import CancelledError, ExecutorError
from hepgraph.executors import pick
from hepgraph.functions.snapshot import Snapshot
from hepgraph.processor.processor import run
from hepgraph.processor.state import fresh
from hepgraph.runner.compute import compute, leaves, rebuilt
from hepgraph.runner.report import Report

_NO_FILESET = object()


@dataclass(frozen=True)
class Progress:
    """How far a run is: ranges and events that are in, of how many; seconds since it began."""

    ranges: int = 0
    all_ranges: int = 0
    events: int = 0
    all_events: int = 0
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """The share of the events that are in, from 0 to 1."""
        return self.events / self.all_events if self.all_events else 0.0


class Watch:
    """Messages between a run and its handle, exchanged between two of its results."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.cancelled = threading.Event()
        self._steps: list[Callable[[Any], Any]] = []
        self._asked: list[Future[Any]] = []
        self._lock = threading.Lock()
        self._over = False
        self._running: Any = None
        self.ranges = 0
        self.ledger: Report | None = None

    def then(self, step: Callable[[Any], Any]) -> None:
        """Says what becomes of the results of all passes; a later step is made first."""
        self._steps.append(step)

    def begin(self, running: Any, ledger: Report, ranges: int) -> None:
        """Says what the run is about to do."""
        self._running, self.ledger, self.ranges = running, ledger, ranges

    def serve(self) -> None:
        """Answers, in the run's own thread; raises CancelledError if the run is not wanted any more."""
        self.check()
        with self._lock:
            asked, self._asked = self._asked, []
        for each in asked:
            self._answer(each)

    def check(self) -> None:
        """Raises CancelledError if the run is not wanted any more."""
        if self.cancelled.is_set():
            raise CancelledError(f"The run was cancelled: {_words(self.progress)}.")

    def _answer(self, each: Future[Any]) -> None:
        try:
            each.set_result(self._partial())
        except Exception as error:  # it is raised where it was asked for
            each.set_exception(error)

    def _partial(self) -> Any:
        results: Any = []
        for number, each in enumerate(self._running.passes):
            found = self._running.so_far(number)
            if found is None:  # nothing yet: the results of no events
                first = each.partitions()[0]
                found, _ = each.run(replace(first, stop=first.start))
            results.append([sink.finish(part) for sink, part in zip(each.sinks, found, strict=True)])
        for step in reversed(self._steps):
            results = step(results)
        return results

    def ask(self) -> Future[Any]:
        """Asks for what there is so far."""
        asked: Future[Any] = Future()
        with self._lock:
            if self._over:
                asked.cancel()
            else:
                self._asked.append(asked)
        return asked

    def end(self) -> None:
        """Says that the run is over."""
        with self._lock:
            self._over = True
            asked, self._asked = self._asked, []
        for each in asked:
            each.cancel()

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        ledger = self.ledger
        seconds = time.monotonic() - self.started
        if ledger is None:
            return Progress(seconds=seconds)
        return Progress(len(ledger.rows), self.ranges, ledger.events, ledger.expected, seconds)


class Handle:
    """A run in the background.

    `progress` tells how far it is, `report` has a row for each range that is in, `partial()` gives the result of these,
    `cancel()` gives the run up, `result()` waits for it.
    """

    def __init__(self, call: Callable[[Any], tuple[Any, Report]], executor: Any) -> None:
        runner = copy.copy(pick(executor))
        self._watch = runner.watch = Watch()
        self._future: Future[tuple[Any, Report]] = Future()
        self._future.set_running_or_notify_cancel()
        self._thread = threading.Thread(target=self._run, args=(call, runner), name="hepgraph-run", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[Any], tuple[Any, Report]], runner: Any) -> None:
        try:
            found = call(runner)
            self._watch.check()  # what was cancelled is cancelled, even if it was at its end
        except BaseException as error:  # it is raised where the result is asked for
            self._watch.end()
            self._future.set_exception(error)
        else:
            self._watch.end()
            self._future.set_result(found)

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        return self._watch.progress

    @property
    def report(self) -> Report:
        """The report: while the run goes on, with the ranges that are in."""
        if self.done() and self._future.exception() is None:
            return self._future.result()[1]
        return self._watch.ledger or Report()

    def done(self) -> bool:
        """Whether the run is over, one way or another."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> Any:
        """The result, as `hg.compute` or `hg.run` would give it, or their exception; waits for it.

        Raises TimeoutError after `timeout` seconds; the run goes on.
        """
        try:
            return self._future.result(timeout)[0]
        except TimeoutError:
            if self.done():
                raise
            raise TimeoutError(f"The run is not over after {timeout:g} s: {_words(self.progress)}.") from None

    def partial(self, timeout: float | None = 60.0) -> Any:
        """The result of the ranges that are in: of none, at the beginning.

        The run itself answers, between two of its results. Raises TimeoutError if it does not within `timeout` seconds.
        """
        if self.done():
            return self.result()
        if self._watch.ledger is None:
            raise ExecutorError("The run has not begun yet: its files are being opened. Ask again in a moment.")
        asked = self._watch.ask()
        try:
            return asked.result(timeout)
        except TimeoutError:
            raise TimeoutError(f"The run did not answer within {timeout:g} s: {_words(self.progress)}.") from None
        except Exception:
            if asked.cancelled():  # it was over before it could answer
                return self.result(timeout)
            raise

    def cancel(self) -> bool:
        """Gives the run up, within a moment or after the range it is at; says whether there was anything to give up.

        `result()` then raises CancelledError; what was in by then is in `report`.
        """
        if self.done():
            return False
        self._watch.cancelled.set()
        return True

    def __repr__(self) -> str:
        if not self.done():
            state = "running"
        elif (error := self._future.exception()) is None:
            state = "done"
        else:
            state = "cancelled" if isinstance(error, CancelledError) else f"failed ({type(error).__name__})"
        return f"<hepgraph.Handle {state}: {_words(self.progress)}>"

    def _repr_html_(self) -> str:
        share = 100 * self.progress.share
        return f'<progress value="{share:.0f}" max="100"></progress> <code>{html.escape(repr(self))}</code>'


def _words(progress: Progress) -> str:
    return (
        f"{progress.ranges} of {progress.all_ranges} ranges, {progress.events} of {progress.all_events} events "
        f"in {progress.seconds:.1f} s"
    )


def submit(what: Any, fileset: Any = _NO_FILESET, *, executor: Any = None, **options: Any) -> Handle:
    """Starts `hg.compute(what)`, or `hg.run(what, fileset)` if there is a fileset, and gives a handle at once.

    `executor` and the options are theirs. What is run is what there was at this line: changes that are made to a
    processor, a histogram or a dict afterwards change nothing.

    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0, 3.0]), npartitions=3)
    >>> handle = hg.submit({"sum": ak.sum(x)}, executor="threads")
    >>> float(handle.result()["sum"]), handle.progress.ranges, handle.report.complete
    (6.0, 3, True)
    """
    options = {"progress": False, **options, "report": True}
    if fileset is _NO_FILESET:
        what = rebuilt(what, {id(leaf): copy.copy(leaf) for leaf in leaves(what)})
        return Handle(lambda runner: compute(what, executor=runner, **options), executor)
    taken, fileset = Snapshot.of(what), fresh(fileset)

    def call(runner: Any) -> Any:
        found = run(taken.value, fileset, executor=runner, **options)
        taken.check("the processor", {})
        return found

    return Handle(call, executor)

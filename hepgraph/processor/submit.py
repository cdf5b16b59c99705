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
from hepgraph.functions.snapshot import Snapshot
from hepgraph.processor.processor import check_processor, processed, run
from hepgraph.processor.state import fresh
from hepgraph.runner.compute import compute, computed, leaves, rebuilt
from hepgraph.runner.options import Options
from hepgraph.runner.report import Report
from hepgraph.runner.run import Run

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


class Handle:
    """A run in the background.

    `progress` tells how far it is, `report` has a row for each range that is in, `partial()` gives the result of these,
    `cancel()` gives the run up, `result()` waits for it.
    """

    def __init__(self, run: Run, call: Callable[[Run], tuple[Any, Report]]) -> None:
        self._run, self._started = run, time.monotonic()
        self._cancelled, self._over = threading.Event(), False
        self._asked: list[Future[Any]] = []  # for what there is so far
        self._lock = threading.Lock()
        self._future: Future[tuple[Any, Report]] = Future()
        self._future.set_running_or_notify_cancel()
        run.watch = self._serve
        self._thread = threading.Thread(target=self._work, args=(call,), name="hepgraph-run", daemon=True)
        self._thread.start()

    def _work(self, call: Callable[[Run], tuple[Any, Report]]) -> None:
        try:
            found = call(self._run)
            self._check()  # what was cancelled is cancelled, even if it was at its end
        except BaseException as error:  # it is raised where the result is asked for
            self._end()
            self._future.set_exception(error)
        else:
            self._end()
            self._future.set_result(found)

    def _serve(self) -> None:
        """Answers, in the run's own thread, between two of its results."""
        self._check()
        with self._lock:
            asked, self._asked = self._asked, []
        for each in asked:
            try:
                each.set_result(self._run.so_far())
            except Exception as error:  # it is raised where it was asked for
                each.set_exception(error)

    def _check(self) -> None:
        """Raises CancelledError if the run is not wanted any more."""
        if self._cancelled.is_set():
            raise CancelledError(f"The run was cancelled: {_words(self.progress)}.")

    def _end(self) -> None:
        with self._lock:
            self._over = True
            asked, self._asked = self._asked, []
        for each in asked:
            each.cancel()

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        run, seconds = self._run, time.monotonic() - self._started
        if not run.begun:
            return Progress(seconds=seconds)
        report = run.report
        return Progress(len(report.rows), len(run.tasks), report.events, report.expected, seconds)

    @property
    def report(self) -> Report:
        """The report: while the run goes on, with the ranges that are in."""
        return self._run.report

    def done(self) -> bool:
        """Whether the run is over, one way or another."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> Any:
        """The result, as `hg.compute` or `hg.run` would give it, or their exception; waits for it.

        Parameters
        ----------
        timeout : float, default None
            Seconds to wait; None: for ever.

        Returns
        -------
        Any
            The result.

        Raises
        ------
        TimeoutError
            If the run is not over in time; it goes on.
        CancelledError
            If it was cancelled.
        """
        try:
            return self._future.result(timeout)[0]
        except TimeoutError:
            if self.done():
                raise
            raise TimeoutError(f"The run is not over after {timeout:g} s: {_words(self.progress)}.") from None

    def partial(self, timeout: float | None = 60.0) -> Any:
        """The result of the ranges that are in: of none, at the beginning.

        The run itself answers, between two of its results.

        Parameters
        ----------
        timeout : float, default 60.0
            Seconds to wait for it; None: for ever.

        Returns
        -------
        Any
            As `hg.compute` or `hg.run` would give it for these ranges.

        Raises
        ------
        TimeoutError
            If it does not answer in time.
        ExecutorError
            If the run has not begun yet.
        """
        if self.done():
            return self.result()
        if not self._run.begun:
            raise ExecutorError("The run has not begun yet: its files are being opened. Ask again in a moment.")
        asked: Future[Any] = Future()
        with self._lock:
            if self._over:
                asked.cancel()
            else:
                self._asked.append(asked)
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
        self._cancelled.set()
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


def submit(what: Any, fileset: Any = _NO_FILESET, **options: Any) -> Handle:
    """Starts `hg.compute(what)`, or `hg.run(what, fileset)` if there is a fileset, and gives a handle at once.

    Changes that are made to a processor, a histogram or a dict afterwards change nothing.

    Parameters
    ----------
    what : Any
        Lazy thing or a nest of them; with a fileset, a processor.
    fileset : str, Path or dict, optional
        Files of each dataset, as for `hg.run`.
    **options : Any
        Further arguments of `hg.compute` or `hg.run`, by name.

    Returns
    -------
    Handle
        The run, in the background.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0, 3.0]), npartitions=3)
    >>> handle = hg.submit({"sum": ak.sum(x)}, executor="threads")
    >>> float(handle.result()["sum"]), handle.progress.ranges, handle.report.complete
    (6.0, 3, True)
    """
    options = {"progress": False, **options, "report": True}
    if fileset is _NO_FILESET:
        what = rebuilt(what, {id(leaf): copy.copy(leaf) for leaf in leaves(what)})
        return Handle(Run(Options.of(compute, **options)), lambda run: computed(what, run))
    check_processor(what)
    taken, fileset = Snapshot.of(what), fresh(fileset)

    def call(run: Run) -> Any:
        found = processed(taken.value, fileset, run)
        taken.check("the processor", {})
        return found

    return Handle(Run(replace(Options.of(run, **options), whole=False), taken.value), call)

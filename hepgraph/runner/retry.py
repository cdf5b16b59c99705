"""One range on a worker: tried again when reading fails, split when memory is short, stopped by the user's own errors.

An error of reading carries `read_from` (see `Source.fetch`); any other error is one of the analysis, and is never tried
again, nor skipped. Of the errors of reading, time-outs and other troubles of access are tried `retries` times more,
each after a longer wait; a damaged file is read once more, as what came over the network may have been; a file that is
not there, may not be read, or is another one than was opened, is not waited for. Where a file has replicas, each try
goes through all.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from hepgraph.errors import AccessError, DamagedFileError, DisagreementError, HepgraphError, MissingColumnError
from hepgraph.functions.lines import line_of, place
from hepgraph.io.access.handles import opening_seconds
from hepgraph.io.access.remote import AnswerError
from hepgraph.io.source import Partition
from hepgraph.limits import limits
from hepgraph.plan.rows import FAILED, SKIPPED, Row

LONGEST_WAIT = 30.0  # seconds between two tries

Ranges = Callable[[Partition], tuple[list[Any], Row]]  # what runs one range


@dataclass(frozen=True)
class Policy:
    """The policy for a range that cannot be read: to raise or to skip, after so many further tries."""

    on_error: str = "raise"
    retries: int = 3
    wait: float = field(default_factory=lambda: limits().wait)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', not {self.on_error!r}")
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"retries must be a whole number, 0 or more, not {self.retries!r}")

    @property
    def skips(self) -> bool:
        """Whether ranges that cannot be read are left out of the result."""
        return self.on_error == "skip"

    def tries(self, error: BaseException) -> int:
        """How often a range is tried in all that fails like this."""
        if isinstance(error, DamagedFileError):
            return 1 + min(self.retries, 1)
        lasting = (PermissionError, IsADirectoryError, NotADirectoryError, FileNotFoundError, AnswerError)
        if isinstance(error, lasting) or isinstance(error.__cause__, lasting):
            return 1
        passing = isinstance(error, AccessError) or not isinstance(error, HepgraphError)
        return 1 + (self.retries if passing else 0)

    def pause(self, tried: int, what: str) -> None:
        """Waits before the next try, a little differently for each range, so that they do not all come back at once."""
        share = 1 + zlib.crc32(what.encode()) / 2**34  # 1 to 1.25
        time.sleep(min(self.wait * 4 ** (tried - 1), LONGEST_WAIT) * share)


@dataclass
class Outcome:
    """The outcome of one range: the pieces of it that were read, with their partial results, and those that were not.

    A range is one piece, unless memory was short.
    """

    pieces: list[tuple[Partition, list[Any], Row]] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)


def attempt(run: Ranges, partition: Partition, policy: Policy, dataset: str = "") -> Outcome:
    """The outcome of one range; raises the user's errors, and what cannot be read unless that is to be skipped."""
    outcome = Outcome()
    waiting = [partition]
    while waiting:
        part = waiting.pop()
        try:
            outcome.pieces.append((part, *_tried(run, part, policy)))
        except MemoryError as error:
            if len(part) > 1:
                waiting += reversed(halves(part))
                continue
            _refused(error, part, policy, dataset, outcome)
        except Exception as error:
            _refused(error, part, policy, dataset, outcome)
    return outcome


def halves(partition: Partition) -> tuple[Partition, Partition]:
    """The two halves of a range."""
    middle = (partition.start + partition.stop) // 2
    first = replace(partition, stop=middle)
    return first, replace(partition, start=middle, first=partition.first + len(first))


def _refused(error: Exception, part: Partition, policy: Policy, dataset: str, outcome: Outcome) -> None:
    """Records the range as skipped, or raises its error with notes on range and tries."""
    tries = getattr(error, "tries", 1)
    cause = reading(error)
    short = isinstance(error, MemoryError)
    skipped = policy.skips and (short or (cause is not None and can_skip(cause)))
    row = failure(part, dataset, error, tries, SKIPPED if skipped else FAILED)
    if skipped:
        outcome.failures.append(row)
        return
    where = f"in the range {part}"
    if not any(note.startswith("in the range") for note in getattr(error, "__notes__", ())):
        error.add_note(where)
    if tries > 1:
        error.add_note(f"after {tries} tries")
    with suppress(AttributeError):
        error.report_row = row  # type: ignore[attr-defined]
    raise error


def _tried(run: Ranges, part: Partition, policy: Policy) -> tuple[list[Any], Row]:
    tried = 0
    while True:
        tried += 1
        opening = opening_seconds()
        try:
            partials, row = run(part)
        except Exception as error:
            cause = reading(error)
            if cause is None or isinstance(cause, MemoryError) or tried >= policy.tries(cause):
                with suppress(AttributeError):
                    error.tries = tried  # type: ignore[attr-defined]
                raise
            policy.pause(tried, str(part))
            continue
        opened = opening_seconds() - opening
        return partials, replace(
            row,
            tries=tried,
            worker=worker(),
            memory=most_memory(),
            open_seconds=opened,
            read_seconds=max(0.0, row.read_seconds - opened),
        )


def reading(error: BaseException | None) -> BaseException | None:
    """The error of reading that an error is, or comes from; None if reading had no part in it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if hasattr(error, "read_from"):
            return error
        error = error.__cause__ or error.__context__
    return None


def can_skip(error: BaseException) -> bool:
    """Whether `on_error="skip"` may skip a file with this error: not one that is sound but lacks a column."""
    return not isinstance(error, MissingColumnError | DisagreementError)


def failure(part: Partition, dataset: str, error: BaseException, tries: int, status: str) -> Row:
    """The row of a range that is not in the result."""
    return Row(
        dataset, part.path, part.start, part.stop, 0, how="", status=status, tries=tries, error=one_line(error),
        line=user_line_of(error), worker=worker(), memory=most_memory(), tree=part.tree,
    )  # fmt: skip


def one_line(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def user_line_of(error: BaseException) -> str:
    """The last line of the user's own in the traceback of an error, in words."""
    line = line_of(error)
    return "" if line is None else place(line)


def worker() -> str:
    """The host, process and thread that this is."""
    return f"{_host()}:{os.getpid()}/{threading.current_thread().name}"


@cache
def _host() -> str:
    return socket.gethostname()


_memory: list[float] = [float("-inf"), 0]  # when it was last asked for, and the answer


def most_memory() -> int:
    """The most memory that this process has held so far, in bytes; 0 where the system does not say.

    Asked for once a second at most: some systems take milliseconds to answer.
    """
    now = time.monotonic()
    if now - _memory[0] > 1:
        _memory[:] = [now, _most_memory()]
    return int(_memory[1])


def _most_memory() -> int:
    try:
        import resource
    except ImportError:  # pragma: no cover
        return 0
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

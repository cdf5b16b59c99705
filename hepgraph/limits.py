"""Sizes, counts and waits by which memory, requests and time are traded for each other.

None of them changes a result. The environment variable HEPGRAPH_LIMITS sets others, for tests, measurements and unusual
machines, as in `HEPGRAPH_LIMITS="block=4096 wait=1"`; the processes that a run starts have them, too.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from hepgraph.errors import nearest

# all others may be 0
_POSITIVE = {"batch", "block", "budget", "kept", "late_block", "late_blocks", "room", "step", "tries"}


class Limits(NamedTuple):
    """One row each, with its unit, in the order of the rooms that look at it."""

    # disk
    mapped_least: int = 1 << 16  # bytes of a file that is mapped into memory rather than read
    mapped_most: int = 256  # files that are mapped at a time: each is kept open
    own_most: int = 256 << 20  # bytes of compiled code, of metadata, and of what `preprocess` finds, that are kept
    # io
    basket_shared: int = 32 << 10  # bytes of a basket in the file, from which it is decompressed once for all ranges
    gap: int = 64 << 10  # bytes between two ranges of a remote file that are read rather than asked for apart
    libraries: int = 1  # 0: the system's libraries of the codecs are left alone
    native_least: int = 20_000  # numbers of a column in a range, from which it pays to compile a loop for them
    page_alone: int = 64 << 10  # bytes of a page, from which it pays to read it without those beside it
    page_largest: int = 32 << 20  # bytes of a page that native code decompresses
    page_shared: int = 128 << 10  # bytes of a page, from which it is decoded once for all ranges
    remember: int = 1  # 0: what was found out about files is not kept on disk
    renew: float = 60.0  # seconds after which a cache looks again at what others did to its files
    shared_stay: float = 60.0  # seconds without a range that asks, after which nothing decoded is kept any more
    # kernel
    batch: int = 256  # entries of a histogram that are binned at once
    batched: int = 128  # fills of a kernel; the batches of more do not fit the caches, and take long to compile
    block: int = 16_384  # events that a kernel runs over in one call
    budget: int = 1000  # values and fills in one function, which are some four lines each
    found: float = 0.9  # the guessed share of events with a best element, where one is looked for
    guess: int = 12  # operations that are done sooner than a branch is taken that was guessed wrong
    kept: int = 16  # kernels of a process that are kept for the same analysis again
    length: float = 3.0  # the guessed length of a list of which nothing is known
    level: int = 2  # how much LLVM optimises
    marks: int = 1 << 22  # bytes that tell for which events functions are to be evaluated
    passing: float = 0.5  # the guessed share of a list, or of events, that passes a mask
    room: int = 1024  # elements for which an array has memory at first
    sparse: float = 0.5  # of some elements, below which functions are evaluated for the wanted ones alone
    step: int = 2048  # events that one function sees before the next one does: the cache holds their columns
    worth: float = 4.0  # times its own operations, what a disjunction of conditions must save
    # executors
    thread_late: float = 0.05  # seconds that a result may wait for the thread of the run
    thread_patience: float = 5.0  # seconds in which threads may end after an error
    sum_large: int = 4_000_000  # bytes of a sum that had better stay on the workers of dask
    thread_stay: float = 20.0  # seconds without a run, after which threads end
    tries: int = 3  # processes that a task may end before it is the reason
    # plan
    late: int = 1  # 0: all columns of a range are read at once
    late_block: int = 512  # events that stand for a basket in an estimate of how many baskets a mask leaves unread
    late_blocks: int = 8  # such looked at before a whole range is
    late_least: int = 1 << 20  # bytes on disk of a range, from which masks of lists may leave others of it unread
    pushdown: int = 1  # 0: row groups that a cut excludes are read all the same
    # runner
    wait: float = 0.25  # seconds before the second try at reading; four times as long before each later one


def limits() -> Limits:
    """The limits, as they are now.

    >>> limits().block
    16384
    """
    return _given(os.environ.get("HEPGRAPH_LIMITS", ""))


@lru_cache(maxsize=64)
def _given(text: str) -> Limits:
    """The limits of a text, such as "block=4096 wait=1"."""
    found: dict[str, float] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name not in Limits._field_defaults:
            raise ValueError(
                f"HEPGRAPH_LIMITS names {name!r}, which is no limit. Nearest names: "
                f"{', '.join(nearest(name, Limits._fields) or Limits._fields)}."
            )
        found[name] = _number(name, value)
    return Limits(**found)  # type: ignore[arg-type]


def _number(name: str, text: str) -> float:
    """The value of a limit."""
    usual, least = Limits._field_defaults[name], int(name in _POSITIVE)
    with suppress(ValueError):
        if (value := type(usual)(text)) >= least:
            return value  # type: ignore[no-any-return]
    wanted = "a whole number" if isinstance(usual, int) else "a number"
    raise ValueError(f"HEPGRAPH_LIMITS has {name}={text}: {name} is {wanted}, {least} or more, and usually {usual}.")

"""Late materialisation: the columns of masks of events first, then of the others only what some event passes needs.

Masks of flat columns are always looked at first. Masks made of lists (`ak.num(events.Muon) >= 2`) cost more, and
whether they save anything depends on the data: where one event of a basket passes, the basket is read. So they are
looked at only where there is much to read and most of it could be saved, and then in turns: a range is tried, on some
of its events before all of them; if that saves nothing, the next range to be tried is the second after it, then the
fourth, and so on. Where it does, all ranges that follow are read this way, until one gains nothing. Results are the
same either way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from hepgraph.graph.interpreter import Interpreter
from hepgraph.graph.node import Node, ordered
from hepgraph.graph.offsets import offsets_of
from hepgraph.io.access.files import is_remote
from hepgraph.io.required import Loaded, Needs, needs_of
from hepgraph.io.source import Access, Column, Data, Need, Partition
from hepgraph.limits import limits
from hepgraph.plan.analysis import Analysis, events_of
from hepgraph.plan.pushdown import early_masks

Array = np.ndarray[Any, Any]

LEAST_SAVABLE = 0.5  # of the bytes, that must not be the masks' own, for masks of lists to be tried
LEAST_GAIN = 0.25  # of the bytes, that must have been saved for the next range to be read late
OPERATIONS = 4  # in masks of lists, for each column that may be left out


class Turn(Enum):
    """Whether the masks of lists are looked at first in a range."""

    NO = "no"
    TRY = "try"
    YES = "yes"


@dataclass(frozen=True)
class ReadStage:
    """Masks that are evaluated together, and the columns to read for them."""

    masks: tuple[Node, ...]
    needs: Needs


@dataclass
class Turns:
    """Which ranges of a run are read late; those tried in vain grow rare."""

    trusted: bool = False
    _wait: int = 0
    _pause: int = 1
    _told: dict[Partition, Turn] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, part: Partition) -> Turn:
        """The turn of a range, said before it is read: it stays so."""
        with self._lock:
            if part not in self._told:
                self._told[part] = self._next()
            return self._told[part]

    def take(self, part: Partition) -> Turn:
        """The turn of a range that is read now."""
        with self._lock:
            return self._told.pop(part) if part in self._told else self._next()

    def _next(self) -> Turn:
        if self.trusted:
            return Turn.YES
        if self._wait:
            self._wait -= 1
            return Turn.NO
        self._wait = self._pause  # other threads need not try at the same time
        return Turn.TRY

    def judge(self, gained: bool) -> None:
        """Whether a range that was read late was worth it."""
        with self._lock:
            self.trusted = gained
            self._pause = 1 if gained else 2 * self._pause
            self._wait = 0 if gained else self._pause - 1


class Late:
    """How the ranges of one pass are loaded, in one process."""

    def __init__(self, found: Analysis, access: Access | None = None) -> None:
        self._origin, self._needs, self._access = found.origin, found.needs, access or found.origin.access
        self._columns = self._needs[self._origin]
        self._bytes = self._bytes_of(self._columns)
        self.flat = self.lists = None
        self.turns = Turns()
        source = self._origin.source
        if (
            limits().late
            and source.skips_masked
            and self._access.cache is None
            and any(map(self._savable, self._columns))
        ):
            flat, lists = early_masks(self._origin, found.masks)
            self.flat = self._flat(flat) if flat else None
            self.lists = self._lists(lists) if lists else None

    def first(self, part: Partition) -> dict[str, Need]:
        """The columns that a range will ask for first; of a local one, as it looks now."""
        if self.flat is not None:
            return self.flat.needs[self._origin]
        if self.lists is not None and self._is_long(part):
            late = self.turns.tell(part) is Turn.YES if is_remote(part.path) else self.turns.trusted
            if late:
                return self.lists.needs[self._origin]
        return self._columns

    def load(self, part: Partition) -> Loaded:
        """The needed columns of a range; values are zeros where they were not read, as no event passes there."""
        turn = self.turns.take(part) if self.lists is not None and self._is_long(part) else Turn.NO
        if self.flat is None and turn is Turn.NO:
            return Loaded(self._origin, part, self._needs, self._access)
        loaded = Loaded(self._origin, part, {}, self._access)
        passing = np.ones(len(part), np.bool_)
        if self.flat is not None:
            loaded.add(self.flat.needs)
            passing = _passing(loaded, self.flat.masks, passing)
        if self.lists is None or turn is Turn.NO or not passing.any():
            loaded.add(self._needs, _some(passing))
            return loaded
        before = _empty(passing)
        together = turn is Turn.TRY and is_remote(part.path)  # to ask twice for what may be of no use takes long
        loaded.add(self._needs if together else self.lists.needs, _some(passing))
        if turn is Turn.TRY and not self._promising(loaded, self.lists, passing):
            self.turns.judge(False)
            loaded.add(self._needs, _some(passing))
            return loaded
        passing = _passing(loaded, self.lists.masks, passing)
        loaded.add(self._needs, _some(passing))
        saved = _empty(passing) if together else self._saved(loaded)
        self.turns.judge(saved - before >= LEAST_GAIN)
        return loaded

    def _flat(self, masks: tuple[Node, ...]) -> ReadStage | None:
        stage = self._stage(masks)
        return stage if len(stage.needs[self._origin]) < len(self._columns) else None

    def _lists(self, masks: tuple[Node, ...]) -> ReadStage | None:
        """The masks of lists, if they cost little beside what they may save."""
        stage = self._stage(masks)
        first = stage.needs[self._origin]
        others = [name for name in self._columns if first.get(name) is not Need.DATA and self._savable(name)]
        savable = self._bytes_of(others)
        work = sum(
            1 for item in ordered(masks) if isinstance(item, Node) and item.op not in ("load", "literal", "take")
        )
        if not savable or savable < LEAST_SAVABLE * self._bytes or work > OPERATIONS * len(others):
            return None
        return stage

    def _stage(self, masks: tuple[Node, ...]) -> ReadStage:
        needs = needs_of(ordered([*masks, events_of(self._origin)]), self._needs)
        for name, need in needs[self._origin].items():
            if need is Need.COUNTS and not self._savable(name):  # lengths alone would cost as much
                needs[self._origin][name] = self._columns[name]
        return ReadStage(masks, needs)

    def _savable(self, name: str) -> bool:
        """Whether some of the values of a column that is needed may be left out."""
        return self._columns[name] is Need.DATA and self._origin.source.may_skip(self._column(name))

    def _column(self, name: str) -> Column:
        return self._origin.source.columns[name]

    def _bytes_of(self, names: Iterable[str]) -> int:
        return sum([self._column(name).bytes for name in names if self._columns[name] is Need.DATA])

    def _share(self, part: Partition) -> float:
        """The bytes on disk that a range needs, if they are evenly spread."""
        return self._bytes * len(part) / max(1, sum([file.entries for file in self._origin.source.files]))

    def _is_long(self, part: Partition) -> bool:
        """Whether a range has enough bytes for masks of lists to be tried."""
        return self._share(part) >= limits().late_least

    def _saved(self, loaded: Loaded) -> float:
        """The part of the bytes of a range that was not read."""
        skipped = sum([data.skipped for data in loaded.data[self._origin].values()])
        return skipped / self._share(loaded.partition)

    def _promising(self, loaded: Loaded, stage: ReadStage, passing: Array) -> bool:
        """Whether there is a stretch of events in which none passes, as far as some of the events tell."""
        size = len(loaded.partition)
        block, many = limits().late_block, limits().late_blocks
        if size <= 2 * block * many:
            return True
        blocks = [(start, start + block) for start in np.linspace(0, size - block, many, dtype=np.int64).tolist()]
        inside = np.concatenate([passing[start:stop] for start, stop in blocks])
        passing = _passing(excerpt(loaded, stage.needs, blocks), stage.masks, inside)
        return _empty(passing) >= LEAST_GAIN


def _some(passing: Array) -> Array | None:
    return None if passing.all() else passing


def _passing(loaded: Loaded, masks: Sequence[Node], passing: Array) -> Array:
    """Those of the passing events that pass masks as well."""
    try:
        for mask in Interpreter(loaded).run(masks):
            passing = passing & mask
    except Exception as error:
        error.add_note(f"in the range {loaded.partition}")
        raise
    return passing


def _empty(passing: Array) -> float:
    """The share of stretches of events in which none passes."""
    block = limits().late_block
    whole = len(passing) // block * block
    if not whole:
        return float(not passing.any())
    return float(np.mean(~passing[:whole].reshape(-1, block).any(axis=1)))


def excerpt(loaded: Loaded, needs: Needs, blocks: Sequence[tuple[int, int]]) -> Loaded:
    """Some stretches of the events that were loaded, one after the other, as if these were all."""
    part = loaded.partition
    size = sum([stop - start for start, stop in blocks])
    found = Loaded(loaded.main, Partition(part.path, part.tree, 0, size, part.first), {})
    found.numbers = part.start + np.concatenate([np.arange(start, stop) for start, stop in blocks])
    for origin, names in needs.items():
        found.data[origin] = {name: _stretches(loaded.data[origin][name], blocks) for name in names}
    return found


def _stretches(data: Data, blocks: Sequence[tuple[int, int]]) -> Data:
    offsets = []
    for level in data.offsets:
        offsets.append(offsets_of(np.concatenate([np.diff(level[start : stop + 1]) for start, stop in blocks])))
        blocks = [(int(level[start]), int(level[stop])) for start, stop in blocks]
    values = None if data.values is None else np.concatenate([data.values[start:stop] for start, stop in blocks])
    return Data(values, tuple(offsets), None, (None,) * len(offsets))

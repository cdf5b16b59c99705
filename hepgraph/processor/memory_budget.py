"""How much memory a run will take, before it runs: outputs, their copies on the way up the tree, and what is read.

What a processor that runs eagerly gives, and reads, is not known before: it is tried on its first events. Histograms
that grow, of whatever kind, may become larger than what is seen there. Where the user did not say how long ranges are,
they are made so short that the run fits into the memory it may take.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from hepgraph.arguments import parse_bytes
from hepgraph.errors import MemoryBudgetError
from hepgraph.graph.node import ordered
from hepgraph.hist.histogram import HistSink
from hepgraph.io.access.files import is_remote
from hepgraph.io.required import needs_of
from hepgraph.plan.passes import AnyPass, ArraySink, Pass
from hepgraph.processor.eager import FEW, EagerPass, sizes
from hepgraph.runner.retry import Policy, attempt
from hepgraph.runner.work import FAR

_NONE: Mapping[int, Any] = MappingProxyType({})
WORK = 3  # a range takes about so many times the memory of its columns while it is worked on
AHEAD = 2  # and its bytes in a remote file: of the one that is read, and of the next, in each process
LEAST = 500  # entries in a range, below which none is cut for the sake of memory
SHARED = 4  # of what it may take, this part at most is for baskets and pages that several ranges have a part of
SHORTER = "a smaller step_size"
GROUPS = "smaller row groups in the files"


@dataclass(frozen=True)
class BudgetPart:
    """Something that takes memory: what it is, the bytes of one, and how many there are at a time."""

    what: str
    bytes: int
    copies: int
    advice: str

    @property
    def total(self) -> int:
        """The bytes of all."""
        return self.bytes * self.copies

    def __str__(self) -> str:
        times = f" = {self.copies} x {readable(self.bytes)}" if self.copies > 1 else ""
        return f"{readable(self.total)}{times}: {self.what}"


@dataclass(frozen=True)
class Trial:
    """A trial of a processor that runs eagerly on its first `events`: bytes that add up, that grow, that it reads."""

    events: int = 0
    stays: int = 0
    grows: int = 0
    read: int = 0


def tried(made: Sequence[AnyPass], policy: Policy) -> dict[int, Trial]:
    """The trials of the passes that run eagerly, by number; raises the errors of their processors."""
    return {number: _tried(each, policy) for number, each in enumerate(made) if isinstance(each, EagerPass)}


def _tried(each: EagerPass, policy: Policy) -> Trial:
    """Nothing, if its first events cannot be read and are to be skipped."""
    first = next((partition for partition in each.partitions() if len(partition)), None)
    if first is None:
        return Trial()
    few = replace(first, stop=min(first.stop, first.start + FEW))
    pieces = attempt(each.run, few, policy, each.title).pieces
    found = [sizes(output, len(part)) for part, (output,), _ in pieces]
    return Trial(
        sum(len(part) for part, _, _ in pieces),
        max((one for one, _ in found), default=0),
        sum(two for _, two in found),
        sum(row.bytes for _, _, row in pieces),
    )


def _outputs(trial: Trial, each: AnyPass, copies: int) -> list[BudgetPart]:
    name = f"the output for {each.title}, as its first {trial.events:,} events have it"
    parts = [BudgetPart(f"what adds up in {name}", trial.stays, copies, "fewer bins or axes")] if trial.stays else []
    if trial.grows:
        whole = int(trial.grows / trial.events * each.origin.source.entries)
        parts.append(
            BudgetPart(f"what grows with the events in {name}", whole, 2, "a histogram instead of an array or list")
        )
    return parts


def estimate(made: Sequence[AnyPass], workers: int, trials: Mapping[int, Trial] = _NONE) -> list[BudgetPart]:
    """Demands on memory in a run, the largest first; with the `trials` of the passes that run eagerly, by number.

    >>> import hepgraph as hg
    >>> from hepgraph.runner.compute import passes
    >>> events = hg.from_root("data/sample.root", schema="nanoaod")
    >>> h = hg.Hist.new.Reg(98, 0, 200, name="met").Double().fill(events.MET.pt)
    >>> str(estimate(passes(h)[0], workers=1)[1])
    '800 B: the histogram of met'
    """
    parts: list[BudgetPart] = []
    largest = coming = 0
    shorter = SHORTER  # what makes less come
    for number, each in enumerate(made):
        source = each.origin.source
        ranges = each.partitions()
        copies = max(1, (len(ranges) - 1).bit_length() + 1) + (3 * workers if workers > 1 else 0)
        copies = min(copies, max(1, len(ranges)))
        longest = max((len(partition) for partition in ranges), default=0)
        columns = each.columns() if isinstance(each, Pass) else {}
        trial = trials.get(number, Trial())
        if trial.events:
            parts += _outputs(trial, each, copies)
        largest = max(largest, int(_per_event(each, trial) * longest))
        if any(is_remote(file.path) for file in source.files):
            stored = sum(source.columns[name].bytes for name in columns)
            whole = max((source.fetched(partition) for partition in ranges), default=0)
            if (size := int(stored / max(1, source.entries) * whole)) > coming:
                coming, shorter = size, GROUPS if whole > longest else SHORTER
        for sink in each.sinks:
            if isinstance(sink, HistSink):
                axes = ", ".join(axis.name or axis.label or "?" for axis in sink.empty.axes)
                parts.append(BudgetPart(f"the histogram of {axes}", _size(sink), copies, "fewer bins or axes"))
            elif isinstance(sink, ArraySink):
                own = needs_of(ordered(sink.wants)).get(each.origin, {})
                whole = sum(source.columns[name].memory for name in own)
                parts.append(
                    BudgetPart(f"an array of all of {source.name}", whole, 2, "a histogram instead of an array")
                )
    parts.append(
        BudgetPart("the columns of the longest range, and what is made of them", largest * WORK, workers, SHORTER)
    )
    if coming:
        copies = max(AHEAD * workers, workers + FAR)
        parts.append(BudgetPart("the bytes of the longest range, read ahead", coming, copies, shorter))
    return sorted(parts, key=lambda part: -part.total)


def _per_event(each: AnyPass, trial: Trial) -> float:
    """The bytes of what is read of an event."""
    if trial.events:
        return trial.read / trial.events
    source = each.origin.source
    columns = each.columns() if isinstance(each, Pass) else {}
    return sum(source.columns[name].memory for name in columns) / max(1, source.entries)


def _shared(each: AnyPass, trial: Trial) -> int:
    """The bytes of what is read of the longest cluster within which ranges end."""
    source, longest = each.origin.source, 0
    ends: dict[tuple[str, str], list[int]] = {}
    for part in source.partitions(access=each.access):
        ends.setdefault((part.path, part.tree), []).append(part.stop)
    for file in source.files:
        stops = sorted(ends.get((file.path, file.tree), ()))
        for start, stop in pairwise((*file.edges, file.wanted)):
            if bisect_right(stops, start) < bisect_left(stops, stop):
                longest = max(longest, stop - start)
    return int(_per_event(each, trial) * longest)


def shortened(
    made: Sequence[AnyPass], workers: int, allowed: int, trials: Mapping[int, Trial] = _NONE
) -> list[AnyPass]:
    """The passes with shorter ranges if the run would not fit, where the user did not say how long they are."""

    def cut(each: AnyPass, share: float) -> AnyPass:
        source = each.origin.source
        if source.step_size is not None or source.npartitions is not None:
            return each
        longest = max(len(partition) for partition in source.partitions(access=each.access))
        most = max(LEAST, int(longest * share)) if share else None
        return each.within(replace(each.access, entries=most))

    found = [cut(each, 0.0) for each in made]
    for _ in range(4):  # more ranges mean a few more copies of outputs
        parts = estimate(found, workers, trials)
        total = sum(part.total for part in parts)
        ranges = sum(part.total for part in parts if part.advice == SHORTER)
        room = allowed - (total - ranges)
        if total <= allowed or room <= 0 or not ranges:
            break
        found = [cut(each, room / ranges) for each in found]
    return found


def check_budget(
    made: Sequence[AnyPass], workers: int, memory: str | int, policy: Policy | None = None
) -> tuple[list[AnyPass], int]:
    """The passes as they fit into memory, and the estimated bytes of the run.

    Ranges are made shorter if that helps and the user did not say how long they are. Raises MemoryBudgetError if the
    run takes more than `memory` all the same, saying what takes it.
    """
    allowed = parse_bytes(memory)
    trials = tried(made, policy or Policy())
    found = shortened(made, workers, allowed, trials)
    if any(_shared(each, trials.get(number, Trial())) for number, each in enumerate(found)):
        found = shortened(found, workers, allowed - allowed // SHARED, trials)
    parts = estimate(found, workers, trials)
    total = sum(part.total for part in parts)
    room = min(max(allowed - total, 0), allowed // SHARED)
    found = [each.within(replace(each.access, shared=room // workers)) for each in found]
    total += min(room, sum(_shared(each, trials.get(number, Trial())) for number, each in enumerate(found)))
    if total <= allowed:
        return found, total
    shown = [part for part in parts if part.total][:5]
    advice = list(dict.fromkeys(part.advice for part in shown if part.total > allowed / 10))
    if workers > 1:
        advice.append(f"fewer than {workers} workers")
    lines = "\n".join(f"  {part}" for part in shown)
    raise MemoryBudgetError(
        f"This run would take about {readable(total)}, and memory= allows {readable(allowed)}. It was not begun.\n"
        f"{lines}\nWhat helps: {', '.join(advice)}."
    )


def readable(count: int) -> str:
    """A number of bytes for people.

    >>> readable(1234567)
    '1.23 MB'
    """
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _size(sink: Any) -> int:
    """The bytes of a histogram, with its flow bins, as often as its fills are kept apart."""
    view = sink.empty.view(flow=True)
    return int(view.nbytes) * (len(sink.fills) if any(axis.traits.growth for axis in sink.empty.axes) else 1)

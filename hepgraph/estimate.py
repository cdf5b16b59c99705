"""How much memory a run will take, before it runs: outputs, their copies on the way up the tree, and what is read.

What a processor that runs eagerly gives, and reads, is not known before: it is tried on its first events. Histograms
that grow, of whatever kind, may become larger than what is seen there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hepgraph.attempt import Policy, attempt
from hepgraph.eager import EagerPass, sizes
from hepgraph.errors import MemoryBudgetError
from hepgraph.graph.node import ordered
from hepgraph.hist import HistSink
from hepgraph.io.source import Partition, parse_bytes
from hepgraph.load import needs_of
from hepgraph.plan import AnyPass, ArraySink, Pass

WORK = 3  # a range takes about so many times the memory of its columns while it is worked on
FEW = 1000  # events on which a processor that runs eagerly is tried


@dataclass(frozen=True)
class Part:
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


def estimate(made: Sequence[AnyPass], workers: int, policy: Policy | None = None) -> list[Part]:
    """What takes memory in a run, the most first; runs what runs eagerly on a few events, and raises its errors.

    >>> import hepgraph as hg
    >>> from hepgraph.compute import passes
    >>> events = hg.from_root("data/sample.root", schema="nanoaod")
    >>> h = hg.Hist.new.Reg(98, 0, 200, name="met").Double().fill(events.MET.pt)
    >>> str(estimate(passes(h)[0], workers=1)[1])
    '800 B: the histogram of met'
    """
    parts: list[Part] = []
    largest = 0
    for each in made:
        source = each.origin.source
        ranges = each.partitions()
        copies = max(1, (len(ranges) - 1).bit_length() + 1) + (3 * workers if workers > 1 else 0)
        copies = min(copies, max(1, len(ranges)))
        longest = max((len(partition) for partition in ranges), default=0)
        if isinstance(each, EagerPass):
            outputs, memory = _tried(each, ranges, copies, policy or Policy())
            parts += outputs
        else:
            columns = each.columns() if isinstance(each, Pass) else {}
            memory = sum(source.columns[name].memory for name in columns) / max(1, source.entries)
        largest = max(largest, int(memory * longest))
        for sink in each.sinks:
            if isinstance(sink, HistSink):
                axes = ", ".join(axis.name or axis.label or "?" for axis in sink.empty.axes)
                parts.append(Part(f"the histogram of {axes}", _size(sink), copies, "fewer bins or axes"))
            elif isinstance(sink, ArraySink):
                own = needs_of(ordered(sink.wants)).get(each.origin, {})
                whole = sum(source.columns[name].memory for name in own)
                parts.append(Part(f"an array of all of {source.name}", whole, 2, "a histogram instead of an array"))
    parts.append(
        Part(
            "the columns of the longest range, and what is made of them", largest * WORK, workers, "a smaller step_size"
        )
    )
    return sorted(parts, key=lambda part: -part.total)


def _tried(each: EagerPass, ranges: Sequence[Partition], copies: int, policy: Policy) -> tuple[list[Part], float]:
    """What the outputs of a processor that runs eagerly take, and the bytes that it reads of an event.

    Nothing, if its first events cannot be read and are to be skipped.
    """
    first = next((partition for partition in ranges if len(partition)), None)
    if first is None:
        return [], 0.0
    few = replace(first, stop=min(first.stop, first.start + FEW))
    pieces = attempt(each.run, few, policy, each.title).pieces
    count = sum(len(part) for part, _, _ in pieces)
    if not count:
        return [], 0.0
    found = [sizes(output, len(part)) for part, (output,), _ in pieces]
    stays, grows = max(one for one, _ in found), sum(two for _, two in found)
    entries = each.origin.source.entries
    name = f"the output for {each.title}, as its first {count:,} events have it"
    parts = [Part(f"what adds up in {name}", stays, copies, "fewer bins or axes")] if stays else []
    if grows:
        whole = int(grows / count * entries)
        parts.append(Part(f"what grows with the events in {name}", whole, 2, "a histogram instead of an array or list"))
    return parts, sum(row.bytes for _, _, row in pieces) / count


def check_budget(made: Sequence[AnyPass], workers: int, memory: str | int, policy: Policy | None = None) -> int:
    """The estimated bytes of a run. Raises MemoryBudgetError if that is more than `memory`, saying what takes it."""
    allowed = parse_bytes(memory) if isinstance(memory, str) else int(memory)
    parts = estimate(made, workers, policy)
    total = sum(part.total for part in parts)
    if total <= allowed:
        return total
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

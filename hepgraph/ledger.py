"""The report of a run: a row for each range, and whether all events that were expected are in the result."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hepgraph.errors import HepgraphError


@dataclass
class Report:
    """What a run did: `rows` in the order of the data, `events`, `bytes`, `seconds`, `complete`."""

    rows: list[Any] = field(default_factory=list)
    expected: int = 0
    notes: list[str] = field(default_factory=list)
    _order: list[int] = field(default_factory=list)

    def expect(self, events: int) -> None:
        """Says how many events there are."""
        self.expected += events

    def add(self, index: int, row: Any) -> None:
        """Takes in the row of a range, in any order."""
        import bisect

        at = bisect.bisect(self._order, index)
        self._order.insert(at, index)
        self.rows.insert(at, row)

    def check(self) -> None:
        """Raises if the events that were read are not those that were expected."""
        if not self.complete:
            raise HepgraphError(f"{self.events} events were read where {self.expected} were expected; this is a bug")

    @property
    def events(self) -> int:
        """The number of events that were read."""
        return sum(row.events for row in self.rows)

    @property
    def skipped(self) -> int:
        """How many of the events were not read, as the statistics of their file prove that they fail a cut."""
        return sum(row.skipped for row in self.rows)

    @property
    def bytes(self) -> int:
        """The bytes of the columns that were read, in memory."""
        return sum(row.bytes for row in self.rows)

    @property
    def seconds(self) -> float:
        """Seconds of reading and computing, added over all workers."""
        return float(sum(row.read_seconds + row.compute_seconds for row in self.rows))

    @property
    def complete(self) -> bool:
        """Whether all expected events are in the result."""
        return self.events == self.expected

    def table(self) -> str:
        """The rows as text."""
        head = ["dataset", "file", "range", "events", "columns", "MB", "read s", "compute s", "how"]
        lines = [
            [r.dataset, r.path.rsplit("/", 1)[-1], f"{r.start}:{r.stop}", str(r.events), str(len(r.names)),
             f"{r.bytes / 1e6:.1f}", f"{r.read_seconds:.3f}", f"{r.compute_seconds:.3f}", r.how]
            for r in self.rows
        ]  # fmt: skip
        return _aligned([head, *lines])

    def __repr__(self) -> str:
        state = "complete" if self.complete else f"INCOMPLETE, {self.expected} expected"
        unread = f", {self.skipped} of them excluded by statistics" if self.skipped else ""
        text = (
            f"<hepgraph.Report {self.events} events ({state}{unread}), {len(self.rows)} ranges, {self.seconds:.2f} s>"
        )
        return "\n".join([text, *self.notes])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}\n{html.escape(self.table())}</pre>"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)

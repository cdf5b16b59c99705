"""The report of a run: a row for each range, what made the result, and whether every expected event is in it."""

from __future__ import annotations

import bisect
import html
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from hepgraph.disk.files import parsed
from hepgraph.errors import LedgerError, ResumeError, many
from hepgraph.plan.rows import DONE, Row

RowKey = tuple[int, int, int]  # pass, leaf of its tree, first entry


@dataclass
class Report:
    """The report of a run: `rows` in the order of the data, `events`, `bytes`, `seconds`, `complete`, `failed`.

    It is a sequence of its rows: `len(report)`, `report[0]`, `for row in report`.

    `provenance` tells what made the result: hashes of the plan of each dataset and of the processor's code, its
    parameters, the versions of packages, and the state of the git repository that the processor is in. `untracked`
    are sentences on what these hashes do not cover: files that functions open, code that is made when it runs.

    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0, 3.0]), npartitions=2)
    >>> total, report = hg.compute(ak.sum(x), executor="serial", report=True)
    >>> report.complete, report.events, [(row.start, row.stop, row.status) for row in report]
    (True, 3, [(0, 1, 'done'), (1, 3, 'done')])
    """

    rows: list[Row] = field(default_factory=list)
    expected: int = 0
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    _order: list[RowKey] = field(default_factory=list, repr=False)
    _resume: Any = field(default=None, repr=False)  # what is held of an incomplete result
    _replay: Callable[[Row], Any] | None = field(default=None, repr=False)

    def expect(self, events: int) -> None:
        """Says how many events there are.

        Parameters
        ----------
        events : int
            Number of events, added to those expected before.
        """
        self.expected += events

    def add(self, key: RowKey, row: Row) -> None:
        """Adds the row of a range, in any order.

        Parameters
        ----------
        key : tuple of int
            The key of the range: its pass, its leaf, its first entry.
        row : Row
            Its row.

        Raises
        ------
        LedgerError
            If the range is there already.
        """
        at = bisect.bisect_left(self._order, key)
        if at < len(self._order) and self._order[at] == key:
            if self.rows[at].status == DONE and self.rows[at].events:
                raise LedgerError(f"{row.range} came twice; its events would be counted twice. This is a bug.")
            self.rows[at] = row
            return
        self._order.insert(at, key)
        self.rows.insert(at, row)

    def check(self) -> None:
        """Raises LedgerError if the events read, and those named as lost, are not those that were expected."""
        lost = sum(row.lost for row in self.rows if row.status != DONE)
        short = [row for row in self.rows if row.status == DONE and row.lost]
        overlap = [
            (one, two)
            for (key, one), (other, two) in zip(
                zip(self._order, self.rows, strict=True), zip(self._order[1:], self.rows[1:], strict=True), strict=False
            )
            if key[:2] == other[:2] and one.stop > two.start
        ]
        if short:
            raise LedgerError(f"{short[0].events} events were read in {short[0].range}. This is a bug.")
        if overlap:
            raise LedgerError(f"{overlap[0][0].range} and {overlap[0][1].range} overlap. This is a bug.")
        if self.events + lost != self.expected:
            named = f" and {lost} are named as lost" if lost else ""
            raise LedgerError(
                f"{self.events} events were read{named} where {self.expected} were expected; this is a bug"
            )

    @property
    def events(self) -> int:
        """The number of events that were read and are in the result."""
        return sum(row.events for row in self.rows)

    @property
    def failed(self) -> list[Row]:
        """The rows whose events are not in the result: of ranges that failed or were skipped."""
        return [row for row in self.rows if row.status != DONE]

    @property
    def excluded(self) -> int:
        """How many of the events were not read, as the statistics of their file prove that they fail a cut."""
        return sum(row.excluded for row in self.rows)

    @property
    def bytes(self) -> int:
        """The bytes of the columns that were read, in memory."""
        return sum(row.bytes for row in self.rows)

    @property
    def cached(self) -> int:
        """How many of these bytes came from the column cache."""
        return sum(row.cached for row in self.rows)

    @property
    def skipped(self) -> int:
        """How many bytes of the files were not read, as all their events fail a cut on other columns."""
        return sum(row.skipped for row in self.rows)

    @property
    def untracked(self) -> list[str]:
        """Sentences on dependencies that the hashes do not cover: files that functions open, code made when it runs."""
        return list(self.provenance.get("untracked", ()))

    @property
    def seconds(self) -> float:
        """Seconds of reading and computing, added over all workers."""
        return float(sum(row.read_seconds + row.compute_seconds for row in self.rows))

    @property
    def complete(self) -> bool:
        """Whether all expected events are in the result."""
        return self.events == self.expected and not self.failed

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, which: Any) -> Any:
        return self.rows[which]

    def __bool__(self) -> bool:
        return True  # a report without rows is one

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_replay": None}

    def replay(self, row: Row) -> Any:
        """Runs one range again, here and now, so that a debugger sees it fail.

        Parameters
        ----------
        row : Row
            Row of the range, one of `report.rows`.

        Returns
        -------
        Any
            Its partial results.
        """
        if self._replay is None:
            raise ResumeError("This report comes from a file or another process, without the analysis; run it again.")
        return self._replay(row)

    # to look at

    def table(self, failed: bool = False) -> str:
        """The rows as text.

        Parameters
        ----------
        failed : bool, default False
            True gives those of what failed alone.

        Returns
        -------
        str
            A line for each row.
        """
        chosen = self.failed if failed else self.rows
        head = ["dataset", "file", "range", "events", "columns", "MB", "read s", "compute s", "how", "status"]
        lines = [
            [r.dataset, r.path.rsplit("/", 1)[-1], f"{r.start}:{r.stop}", str(r.events), str(len(r.names)),
             f"{r.bytes / 1e6:.1f}", f"{r.read_seconds:.3f}", f"{r.compute_seconds:.3f}", r.how, _status(r)]
            for r in chosen
        ]  # fmt: skip
        return _aligned([head, *lines])

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each range, and a column for each attribute of `report.rows`; needs pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from error
        return pandas.DataFrame(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        return {
            each.name: [getattr(row, each.name) for row in self.rows] for each in fields(Row) if each.name != "cause"
        }

    def summary(self) -> str:
        """A sentence on missing events and how to add them; empty if there are none."""
        failed = self.failed
        if not failed:
            return ""
        unknown = sum(row.stop == row.start for row in failed)
        lost = sum(row.lost for row in failed)
        parts = [f"{lost:,} of {self.expected:,} events ({many(len(failed) - unknown, 'range')})"] * (
            len(failed) > unknown
        ) + [f"all events of {many(unknown, 'file')} that could not be opened"] * bool(unknown)
        first = failed[0]
        return f"The result is INCOMPLETE. Not in it: {' and '.join(parts)}; the first is {first.range}: {first.error}"

    def __repr__(self) -> str:
        state = "complete" if self.complete else f"INCOMPLETE, {self.expected} expected"
        unread = f", {self.excluded} of them excluded by statistics" if self.excluded else ""
        kept = f", {self.cached / 1e6:.1f} of {self.bytes / 1e6:.1f} MB from the column cache" if self.cached else ""
        kept += f", {self.skipped / 1e6:.1f} MB of the files passed over" if self.skipped else ""
        text = (
            f"<hepgraph.Report {self.events} event{'s' * (self.events != 1)} ({state}{unread}), "
            f"{many(len(self.rows), 'range')}, {self.seconds:.2f} s{kept}>"
        )
        failed = [f"{row.status}: {row.range}: {row.error}" for row in self.failed[:5]]
        more = [f"... and {len(self.failed) - 5} more in report.failed"] if len(self.failed) > 5 else []
        return "\n".join([text, *failed, *more, *self._remarks()])

    def _remarks(self) -> list[str]:
        """The notes, and the first of the dependencies that cannot be tracked."""
        first, *rest = self.untracked or [""]
        more = f" (and {len(rest)} more: report.untracked)" * bool(rest)
        return [*self.notes, *([f"A checkpoint cannot track: {first}{more}"] if first else [])]

    def _repr_html_(self) -> str:
        shown = [*self.failed, *(row for row in self.rows if row.status == DONE)][:50]
        head = ["dataset", "file", "range", "events", "status", "tries", "MB", "open s", "read s", "compute s",
                "worker"]  # fmt: skip
        cells = [
            [r.dataset, r.path.rsplit("/", 1)[-1], f"{r.start}:{r.stop}", f"{r.events:,}", _status(r), str(r.tries),
             f"{r.bytes / 1e6:.1f}", f"{r.open_seconds:.3f}", f"{r.read_seconds:.3f}", f"{r.compute_seconds:.3f}",
             r.worker]
            for r in shown
        ]  # fmt: skip
        color = "inherit" if self.complete else "#b00020"
        lines = [f'<p style="color:{color}"><b>{html.escape(repr(self).splitlines()[0].strip("<>"))}</b></p>']
        lines += [f"<p>{html.escape(note)}</p>" for note in self._remarks()]
        lines.append("<table><tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>")
        for row, texts in zip(shown, cells, strict=True):
            style = "" if row.status == DONE else ' style="color:#b00020"'
            lines.append(f"<tr{style}>" + "".join(f"<td>{html.escape(text)}</td>" for text in texts) + "</tr>")
        lines.append("</table>")
        if len(self.rows) > len(shown):
            lines.append(f"<p>... and {len(self.rows) - len(shown)} more rows: report.table()</p>")
        return "\n".join(lines)

    # on disk

    def save(self, path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> None:
        """Writes the report to a `.json` or `.parquet` file, local or remote; `Report.load` reads it.

        Parameters
        ----------
        path : str or Path
            Path or URL of the file.
        storage_options : dict, default None
            Options of fsspec for a URL.
        """
        from hepgraph.io.access import store
        from hepgraph.io.parquet import tables

        about = {"expected": self.expected, "notes": self.notes, "provenance": self.provenance}
        columns = self._columns()
        columns["names"] = ["\n".join(names) for names in columns["names"]]
        if _is_parquet(path):
            data = tables.to_parquet(columns, {"hepgraph.report": json.dumps(about)})
        else:
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            data = json.dumps({"hepgraph.report": 1, **about, "rows": rows}, indent=1).encode()
        store.write_bytes(path, data, storage_options)

    @classmethod
    def load(cls, path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Report:
        """The report that was written to a file.

        Parameters
        ----------
        path : str or Path
            Path or URL of the file.
        storage_options : dict, default None
            Options of fsspec for a URL.

        Returns
        -------
        Report
            The report.

        Raises
        ------
        ResumeError
            If the file holds none.
        """
        from hepgraph.io.access import store
        from hepgraph.io.parquet import tables

        data = store.read_bytes(path, storage_options)
        try:
            if _is_parquet(path):
                columns, texts = tables.from_parquet(data)
                about = parsed(texts["hepgraph.report"])
                rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            else:
                about = parsed(data)
                rows = about["rows"]
            made = [Row(**{**row, "names": tuple(row["names"].splitlines())}) for row in rows]
            return cls(made, about["expected"], about["notes"], about["provenance"])
        except (KeyError, TypeError, ValueError) as error:
            raise ResumeError(f"{os.fspath(path)} holds no report of hepgraph: {error}") from error


def _status(row: Row) -> str:
    text = row.status + (", stored" if row.stored else "") + (f", {row.tries} tries" if row.tries > 1 else "")
    return f"{text}: {row.error.splitlines()[0][:80]}" if row.error else text


def _is_parquet(path: str | os.PathLike[str]) -> bool:
    suffix = os.path.splitext(os.fspath(path))[1]
    if suffix not in (".json", ".parquet"):
        raise ValueError(f"A report is written to a .json or a .parquet file, not to {os.fspath(path)!r}.")
    return suffix == ".parquet"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)

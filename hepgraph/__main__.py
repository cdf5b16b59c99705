"""The command line: `python -m hepgraph adl FILE...` and `python -m hepgraph columns FILE`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from hepgraph.errors import HepgraphError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; 0 if it went well, 2 after a message on stderr."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "command"):
        parser.print_help()
        return 0
    try:
        args.command(args)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  so that the flush at exit does not fail again
        return 0
    except (HepgraphError, OSError, ValueError) as error:
        if args.debug:
            raise
        print(f"hepgraph: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hepgraph", description="HEP columnar analysis on lazy awkward arrays.")
    commands = parser.add_subparsers(title="commands")
    adl = commands.add_parser("adl", help="run the eight ADL benchmark queries on NanoAOD files, in one pass")
    adl.add_argument("files", nargs="+", metavar="FILE", help="ROOT or Parquet files, globs or URLs")
    adl.add_argument("--plot", metavar="PNG", help="draw the histograms into a picture")
    adl.add_argument("--json", metavar="FILE", help="write entries and means as JSON")
    adl.add_argument("--queries", default="1,2,3,4,5,6,7,8", help="which queries, such as 1,5,8")
    adl.add_argument("--executor", default="threads", help="serial, threads, processes, dask, or tcp://scheduler:port")
    adl.add_argument("--step-size", help="entries in a partition, or an amount such as '50 MB'")
    adl.add_argument("--tree", help="the name of the tree, if not Events")
    adl.set_defaults(command=_adl)
    columns = commands.add_parser("columns", help="list the columns of a file")
    columns.add_argument("file", metavar="FILE")
    columns.add_argument("--tree", help="the name of the tree, if not Events")
    columns.set_defaults(command=_columns)
    for each in (adl, columns):
        each.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _adl(args: argparse.Namespace) -> None:
    import hepgraph as hg
    from hepgraph.hist.plot import Panel, entries, grid, mean, save
    from hepgraph.processors.adl import QUERIES, WIDE, Query6

    wanted = _numbers(args.queries, len(QUERIES))
    step: int | str | None = int(args.step_size) if (args.step_size or "").isdigit() else args.step_size
    start = time.perf_counter()
    files = args.files[0] if len(args.files) == 1 else args.files
    events = hg.open(files, tree=args.tree, schema="nanoaod", step_size=step)
    recorded: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for number in wanted:
        query = QUERIES[number - 1]()
        if isinstance(query, Query6):
            query.pt = WIDE
        try:
            found = query.process(events[:])
        except HepgraphError as error:
            error.add_note(f"Query {number} needs columns as in NanoAOD; --queries 1,2 runs some of them.")
            raise
        recorded |= found
        texts |= dict.fromkeys(found, " ".join((type(query).__doc__ or "").split()))
    needed = {name: len(hg.necessary_columns(h)) for name, h in recorded.items()}
    out, report = hg.compute(recorded, executor=args.executor, report=True)
    seconds = time.perf_counter() - start
    rows = [(name, texts[name], f"{entries(h):,.0f}", f"{mean(h):.2f}", str(needed[name])) for name, h in out.items()]
    _table(["", "query", "entries", "mean", "columns"], rows)
    many = len(events.source.files)
    print(
        f"\n{report.events:,} events of {events.source.files[0].path}{f' and {many - 1} more' if many > 1 else ''}: "
        f"{len(set(report.rows[0].names))} of {len(events.source.columns)} columns read, one pass, {seconds:.2f} s "
        f"({args.executor})"
    )
    names = sorted({name for row in report.rows for name in row.names if "MET_pt" in name or "btag" in name})
    print(f"missing transverse energy and b-tag: {', '.join(names) or 'in no query'}")
    if args.plot:
        panels = [Panel(h, f"{name}: {texts[name]}") for name, h in out.items()]
        save(grid(panels, title=f"ADL benchmark queries, {report.events:,} events"), args.plot)
        print(f"drawn in {args.plot}")
    if args.json:
        values = {name: {"entries": float(entries(h)), "mean": float(mean(h))} for name, h in out.items()}
        with open(args.json, "w") as file:
            json.dump(values, file, indent=2)


def _numbers(text: str, most: int) -> list[int]:
    found = []
    for part in text.split(","):
        name = part.strip().lower().removeprefix("q")
        if not name.isdigit() or not 1 <= int(name) <= most:
            raise ValueError(f"{part!r} is no query; they are 1 to {most}")
        found.append(int(name))
    return sorted(set(found))


def _columns(args: argparse.Namespace) -> None:
    import hepgraph as hg

    source = hg.open(args.file, tree=args.tree, schema="base").source
    rows = [(c.name, c.type, f"{c.bytes / 1e3:,.1f}", c.title[:60]) for c in source.columns.values()]
    _table(["column", "type", "kB on disk", "title"], rows)
    print(f"\n{source.entries:,} entries, {len(source.columns)} columns")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: by rich in a terminal, in plain columns elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*head)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    lines: list[Sequence[str]] = [head]
    for row in rows:
        folded = [textwrap.wrap(cell, 72) or [""] for cell in row]
        lines += zip_longest(*folded, fillvalue="")
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for row in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())

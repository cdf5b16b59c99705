"""Progress: a bar in a terminal or notebook, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, wanted: bool | None, where: str) -> Iterator[Callable[[int], None]]:
    """Calls to what this gives move the bar by one range of so many events."""
    if wanted is None:
        wanted = total > 1 and (sys.stderr.isatty() or _in_notebook())
    if not wanted:
        yield lambda events: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = None if _in_notebook() else Console(stderr=True)
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(f"hepgraph, {where}", total=total, events=0)
        seen = 0

        def tick(events: int) -> None:
            nonlocal seen
            seen += events
            bar.update(task, advance=1, events=seen)

        yield tick


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"

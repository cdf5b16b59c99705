"""Lines of the user's code: which one called us, and how it is told: `cell In[12], line 3` in a notebook.

The one place that knows whose a frame is, and what a cell is called.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TypeAlias

from hepgraph.functions.packages import users_own

Line: TypeAlias = tuple[str, int, str]  # file, line number, function

_RUNS = ("hepgraph.plan", "hepgraph.kernel", "hepgraph.runner", "hepgraph.executors", "hepgraph.datasets.page")
_USER, _OURS, _RUNNING = 0, 1, 2
_whose: dict[str, int] = {}  # by the file that code is in
_recording = [""]  # the file or cell that entered a lazy array last
_one_line: ContextVar[tuple[Line | None] | None] = ContextVar(
    "_one_line", default=None
)  # what is recorded several times
_CELL = re.compile(r"[/\\]ipykernel_\d+[/\\]\d+\.py$|^<ipython-input-(\d+)-")
_SCRIPTS = sysconfig.get_path("scripts") + os.sep
_LIBRARIES = ("site-packages", "dist-packages")


def user_line(recording: bool = False) -> Line | None:
    """Where the user's code called us: the nearest frame outside of hepgraph, of Python's library and of packages.

    None where no code of the user's is at work, as when a notebook shows an array; with `recording`, also while
    results are planned, made or shown.
    """
    known = _one_line.get()
    if known is not None:
        return known[0]
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        whose = _whose.get(code.co_filename)
        if whose is None:
            whose = _looked_up(frame)
        if whose == _USER:
            return code.co_filename, frame.f_lineno, code.co_name
        if recording and whose == _RUNNING:
            return None
        frame = frame.f_back
    return None


def enter() -> None:
    """Notes which file or cell of the user's records something: lazy arrays say so where they are entered."""
    line = user_line(recording=True)
    if line is not None:
        _recording[0] = line[0]


@contextmanager
def on_one_line() -> Iterator[None]:
    """While inside, all that is recorded is on the line that called us, which is looked for once."""
    token = _one_line.set((user_line(),))
    try:
        yield
    finally:
        _one_line.reset(token)


def elsewhere(line: Line | None) -> bool:
    """Whether a line is in another file or cell than the one that records something."""
    return line is None or line[0] != _recording[0]


def _looked_up(frame: FrameType) -> int:
    file = frame.f_code.co_filename
    whose = _kind(frame.f_globals.get("__name__", ""), file)
    if file[:1] != "<":
        _whose[file] = whose
    return whose


def _kind(module: str, file: str) -> int:
    """Whose code it is: the user's, cells of a notebook among it; a library's or ours; ours that runs or shows."""
    if module.startswith(_RUNS):
        return _RUNNING
    library = any(f"{os.sep}{name}{os.sep}" in file for name in _LIBRARIES) or file.startswith(_SCRIPTS)
    return _OURS if (library and module == "__main__") or not users_own(module) else _USER


def user_code() -> str:
    """The line of the user's code that called us, as it is written; empty if it is not known."""
    line = user_line()
    return code_at(line) if line else ""


def code_at(line: Line) -> str:
    """The code of a line, as it is written; empty if it is not known."""
    return linecache.getline(line[0], line[1]).strip()


def line_of(error: BaseException) -> Line | None:
    """The last line of the user's own in the traceback of an error."""
    found = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if _looked_up(frame) == _USER:
            found = frame.f_code.co_filename, number, frame.f_code.co_name
    return found


def place(line: Line, short: bool = False) -> str:
    """A line as it is told: of a cell of a notebook by its number, else by its file, `short` without the folder.

    >>> place(("/home/me/analysis.py", 12, "process"), short=True)
    'analysis.py:12'
    >>> place(("<ipython-input-7-0123456789ab>", 3, "<module>"))
    'cell In[7], line 3'
    """
    name = cell(line[0])
    if name:
        return f"{name}, line {line[1]}"
    return f"{os.path.basename(line[0]) if short else line[0]}:{line[1]}"


def cell(file: str) -> str:
    """The notebook's name of the cell that is compiled as this file; empty if it is none.

    The number is the one that the cell had when it ran last; another process does not know it.
    """
    if file.startswith("cell In["):  # told by the process that has the notebook
        return file
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    told = shell.compile.format_code_name(file) if shell is not None else None
    if told is not None:
        return " ".join(told).replace("Cell", "cell", 1)
    match = _CELL.search(file)
    return "" if match is None else f"cell In[{match[1]}]" if match[1] else "a cell of the notebook"

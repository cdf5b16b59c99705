"""Lines of the user's code: which one called us, and how it is told: `cell In[12], line 3` in a notebook.

The one place that knows whose a frame is, and what a cell is called.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Literal, ParamSpec, TypeAlias, TypeVar

from hepgraph.functions.packages import users_own

P = ParamSpec("P")
T = TypeVar("T")
Line: TypeAlias = tuple[str, int, str]  # file, line number, function

_RUNS = ("hepgraph.plan", "hepgraph.kernel", "hepgraph.runner", "hepgraph.executors", "hepgraph.datasets.page")
_USER, _OURS, _RUNNING = 0, 1, 2
_whose: dict[str, int] = {}  # by the file that code is in
_CELL = re.compile(r"[/\\]ipykernel_\d+[/\\]\d+\.py$|^<ipython-input-(\d+)-")
_SCRIPTS = sysconfig.get_path("scripts") + os.sep
_LIBRARIES = ("site-packages", "dist-packages")


class Entered(threading.local):
    """Where this thread has entered lazy arrays: what they record is of one line of the user's, who waits for it."""

    at: FrameType | Line | Literal[False] | None = False  # the user's frame; its line once that is asked for


entered = Entered()
recording = [""]  # the file or cell that entered a lazy array last


def begins() -> bool:
    """Notes the user's line that records something, from here until `entered.at` is False again.

    False, and nothing to be ended, where that is noted already: our own code records something for it.
    """
    if entered.at is not False:
        return False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file is recording[0]:
            break
        whose = _whose.get(file)
        if whose is None:
            whose = _looked_up(frame)
        if whose == _USER:
            if _nearest(sys._getframe(2), recording=True) is not None:
                recording[0] = file
            break
        frame = frame.f_back
    entered.at = frame
    return True


def as_one(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function that records many things for one line of the user's, which is looked for once."""
    began = begins()
    try:
        return function(*args, **kwargs)
    finally:
        if began:
            entered.at = False


def call_users(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function of the user's on the way: what that records, it records at lines of its own."""
    at, entered.at = entered.at, False
    try:
        return function(*args, **kwargs)
    finally:
        entered.at = at


def user_line() -> Line | None:
    """Where the user's code called us: the nearest frame outside of hepgraph, of Python's library and of packages.

    None where no code of the user's is at work, as when a notebook shows an array.
    """
    at = entered.at
    if at is False:
        at = _nearest(sys._getframe(2))
        return None if at is None else (at.f_code.co_filename, at.f_lineno, at.f_code.co_name)
    if isinstance(at, FrameType):
        at = entered.at = at.f_code.co_filename, at.f_lineno, at.f_code.co_name
    return at


def newer(line: Line | None) -> Line | None:
    """The line that records anew what another file or cell recorded at a line; None if it is the same.

    None also while results are planned, made or shown: that is no recording.
    """
    if (line is not None and line[0] == recording[0]) or _nearest(sys._getframe(2), recording=True) is None:
        return None
    now = user_line()
    return None if now is None or (line is not None and line[0] == now[0]) else now


def _nearest(frame: FrameType | None, recording: bool = False) -> FrameType | None:
    """The user's frame nearest to one; with `recording`, none where it lets us plan, make or show results."""
    while frame is not None:
        file = frame.f_code.co_filename
        whose = _whose.get(file)
        if whose is None:
            whose = _looked_up(frame)
        if whose == _USER:
            return frame
        if recording and whose == _RUNNING:
            return None
        frame = frame.f_back
    return None


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


def users_level() -> int:
    """How far up the stack the user's own call is, for a warning that is made where this is asked."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("hepgraph", "contextlib")):
        level, frame = level + 1, frame.f_back
    return level

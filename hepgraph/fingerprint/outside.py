"""Which uses of names lead out of the code: files, the environment, code and modules that are named when it runs."""

from __future__ import annotations

import builtins
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
import os
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType
from typing import Any

from hepgraph.fingerprint.bytecode import Use
from hepgraph.fingerprint.untracked import CODE, FILE, STATE

_CODE = "runs code that is made when it runs"
_NAMES = "looks up variables by names that are made when it runs"
_TOLD: tuple[tuple[Any, str], ...] = (
    (builtins.exec, f"{_CODE}, with exec"),
    (builtins.eval, f"{_CODE}, with eval"),
    (builtins.compile, f"{_CODE}, with compile"),
    (runpy.run_path, f"{_CODE}, with runpy"),
    (runpy.run_module, f"{_CODE}, with runpy"),
    (importlib.metadata.entry_points, "loads what is installed by names, with entry_points"),
    (os.system, "asks another program, with os.system"),
    (os.popen, "asks another program, with os.popen"),
    (builtins.globals, f"{_NAMES}, with globals"),
    (sys.modules, f"{_NAMES}, in sys.modules"),
    (sys._getframe, f"{_NAMES}, in the frames of what calls it"),
    (inspect.currentframe, f"{_NAMES}, in the frames of what calls it"),
    (inspect.stack, f"{_NAMES}, in the frames of what calls it"),
)
_IMPORTS = (builtins.__import__, importlib.import_module)
_ENVIRONMENT = (os.environ, os.environb, os.getenv)

# Functions of installed packages that open a file by its name; those that begin with read_ do, too.
_OPENING = {
    "ExcelFile", "File", "HDFStore", "InferenceSession", "LumiData", "LumiMask", "Open", "from_feather", "from_file",
    "from_parquet", "from_root", "fromfile", "genfromtxt", "get_data", "load", "load_model", "load_npz", "loadmat",
    "loadtxt", "memmap", "open", "open_memmap", "urlopen", "urlretrieve",
}  # fmt: skip
_OF_ANYTHING = {"from_file", "load_model", "open", "parse_file", "read_bytes", "read_text"}  # methods of whatever it is
_ASKED = {"aiohttp", "httpx", "requests", "socket", "sqlite3", "_socket", "_sqlite3", "subprocess"}
_OPENING_OF = {"uproot": {"concatenate", "dask", "iterate", "lazy"}}  # called as other packages call what opens none
LARGEST = 1 << 28  # bytes of a file whose content is looked at
_OF_OPEN_FILES = {"json", "marshal", "pickle", "cloudpickle", "dill", "tomllib", "yaml"}  # their load() takes one


@dataclass(frozen=True)
class Outside:
    """The goal of a use: the reason why it cannot be tracked, and its kind; or a file, a variable, a module by name."""

    why: str = ""
    kind: str = ""
    files: tuple[str, ...] = ()
    variable: str = ""
    module: str = ""


def outside(steps: Sequence[Any], use: Use, given: tuple[Any, ...] | None, own: bool) -> Outside | None:
    """Where a use leads; `steps` are the values of its name and attributes, as far as they are known; None if nowhere.

    `given` is what it is called with, if that is known; `own` says that the last value is the user's own.
    """
    for value in steps:
        for each, why in _TOLD:
            if value is each:
                return Outside(why, CODE)
        if any(value is each for each in _IMPORTS):
            names = given if given and all(isinstance(part, str) for part in given) else None
            if names is None:
                return Outside("imports a module whose name is made when it runs", CODE)
            return Outside(module=importlib.util.resolve_name(*names) if len(names) == 2 else names[0])
        if any(value is each for each in _ENVIRONMENT):
            if given and isinstance(given[0], str):
                return Outside(variable=given[0])
            return Outside("reads the environment by names that are made when it runs", CODE)
    for value in steps[-1:]:
        module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if callable(value) and isinstance(module, str) and module.partition(".")[0] in _ASKED and not own:
            return Outside(f"asks another program or server, with {module.partition('.')[0].strip('_')}", STATE)
    files = tuple(str(part) for part in given or () if _is_file(part))
    path, opens = _opened(steps, use, given or ()) if not own else (None, False)
    if isinstance(path, PurePath) and _is_file(path):
        files = (*files, str(path))
    large = [file for file in files if os.path.getsize(file) > LARGEST]
    if large:
        return Outside(f"opens {large[0]!r}, which is too large to be read each time", FILE)
    if files:
        return Outside(files=files)
    if opens and isinstance(path, str | PurePath):
        return Outside(f"opens {os.fspath(path)!r}, which is no file here", FILE)
    return Outside("opens a file whose name is known only when it runs", FILE) if opens else None


def _is_file(part: Any) -> bool:
    """Whether an argument is the path of a file that is there."""
    return isinstance(part, str | PurePath) and (os.sep in str(part) or "." in str(part)) and os.path.isfile(part)


def _opened(steps: Sequence[Any], use: Use, given: Sequence[Any]) -> tuple[Any, bool]:
    """The path that a use opens, None if it is not known; and whether it opens a file at all, to read it."""
    if not _opens(steps, use):
        return None, False
    last = steps[-1] if steps else None
    rest = (use.attribute,) if use.name is None else use.name.attributes[max(0, len(steps) - 1) :]
    called = rest[-1] if rest else getattr(last, "__name__", "")
    of_path = bool(rest) and called in ("open", "read_bytes", "read_text")  # as pathlib has it
    mode = given[0 if of_path else 1 :][:1] if called == "open" else ()
    if mode and isinstance(mode[0], str) and mode[0].startswith(("a", "w", "x")):
        return None, False  # written, not read
    if of_path:
        return last if isinstance(last, PurePath) else None, True
    return next(iter(given), None), True


def _opens(steps: Sequence[Any], use: Use) -> bool:
    """Whether a use opens a file: by what is called, or of something unknown by its name."""
    rest = () if use.name is None else use.name.attributes[max(0, len(steps) - 1) :]
    if use.name is None:
        return not use.own and use.attribute in _OF_ANYTHING
    if not steps:  # of a package that is not imported yet
        root = use.name.root
        return not isinstance(root, str) and bool(rest) and _opening(rest[-1], root.name)
    last = steps[-1]
    if last is builtins.open or last is io.open:
        return True
    if rest:  # an attribute of an object or class that is there
        return rest[0] in _OF_ANYTHING or (isinstance(last, type) and rest[0] in _OPENING)
    module, name = getattr(last, "__module__", None) or "", getattr(last, "__name__", None) or ""
    return callable(last) and not isinstance(last, ModuleType) and isinstance(name, str) and _opening(name, module)


def _opening(name: str, module: str) -> bool:
    """Whether a function of an installed package opens a file by its name, as far as it is called like one."""
    top = module.partition(".")[0]
    known = name in _OPENING or name.startswith("read_") or name in _OPENING_OF.get(top, ())
    return known and top not in _OF_OPEN_FILES

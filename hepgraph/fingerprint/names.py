"""The values of the names that a function reads, before it runs; modules of the user's own are imported for that."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterable
from typing import Any

from hepgraph.fingerprint.bytecode import Import, Local, Name, Use
from hepgraph.functions.lookups import ADDING, LOGS
from hepgraph.functions.packages import users_own
from hepgraph.functions.snapshot import Namespace

_NONE = object()
MODULES = (types.ModuleType, Namespace)  # as they are, and as they were when a function was recorded


class Scope:
    """The names of one function."""

    def __init__(self, function: types.FunctionType) -> None:
        self.globals = function.__globals__
        self.cells = dict(zip(function.__code__.co_freevars, map(content_of, function.__closure__ or ()), strict=True))
        self.module = self.globals.get("__name__") or function.__module__ or ""
        self.title = f"{function.__module__}.{function.__qualname__}".removeprefix("__main__.")
        self.file = function.__code__.co_filename

    def steps(self, name: Name) -> list[Any]:
        """The values of a name and of its attributes, as far as these are of modules; none if there is no such name.

        Raises what the import of a module of the user's own raises.
        """
        value: Any = _NONE
        if isinstance(name.root, Import):
            value = self._imported(name.root)
        elif name.cell:
            value = self.cells.get(name.root, _NONE)
        else:
            value = self.globals.get(name.root, getattr(builtins, name.root, _NONE))
        found = []
        for each in (*name.attributes, None):
            if value is _NONE:
                break
            found.append(value)
            if each in (None, "__dict__") or not isinstance(value, MODULES):
                break
            value = _attribute(value, str(each))
        return found

    def logs(self, uses: Iterable[Use]) -> set[str]:
        """The lists, sets and dicts to which a function does nothing but add: what is in them does not matter to it."""
        added, read = set[str](), set[str]()
        for name in [use.name for use in uses if use.name is not None]:
            if isinstance(name.root, str):
                (added if name.attributes and name.attributes[0] in ADDING else read).add(name.root)
        return {name for name in added - read if type(self.cells.get(name, self.globals.get(name))) in LOGS}

    def given(self, use: Use) -> tuple[Any, ...] | None:
        """The arguments of a use: constants, the values of names, and None for other variables."""
        if use.given is None:
            return None
        values = []
        for each in use.given:
            if isinstance(each, Name):
                steps = self.steps(each)
                values.append(steps[-1] if len(steps) == len(each.attributes) + 1 else None)
            else:
                values.append(None if isinstance(each, Local) else each)
        return tuple(values)

    def _imported(self, what: Import) -> Any:
        name = self.absolute(what)
        if name not in sys.modules and not users_own(name):
            return _NONE  # by its name and version alone
        module = module_called(name)
        return sys.modules[name.partition(".")[0]] if what.top and module is not None else module or _NONE

    def absolute(self, what: Import) -> str:
        """The whole name of a module that is imported in the function."""
        package = self.globals.get("__package__") or (
            self.module if "__path__" in self.globals else self.module.rpartition(".")[0]
        )
        return importlib.util.resolve_name("." * what.level + what.name, package) if what.level else what.name


def module_called(name: str) -> types.ModuleType | None:
    """The module of a name, imported if it is not yet; None if there is none, or it needs something that is not there.

    Functions may go on without it; whatever else it raises is raised.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _attribute(module: types.ModuleType | Namespace, name: str) -> Any:
    """An attribute of a module, or a module inside of it that is not imported yet."""
    found = getattr(module, name, _NONE)
    if found is _NONE and hasattr(module, "__path__") and users_own(name_of(module)):
        found = module_called(f"{name_of(module)}.{name}") or _NONE
    return found


def name_of(module: types.ModuleType | Namespace) -> str:
    """The name of a module."""
    return str(vars(module).get("__name__", ""))


def content_of(cell: Any) -> Any:
    """The value in a cell of a closure."""
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return "empty"

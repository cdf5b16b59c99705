"""Names that a function's code reads from outside of it, with the attributes that follow at once, and its imports.

It is read from the bytecode, which is there for every function, in notebooks and without sources too.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

from hepgraph.functions.lookups import codes

_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_CELLS = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_CONSTANTS = {"LOAD_CONST", "LOAD_SMALL_INT"}
_NOTHING = {"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "KW_NAMES", "NOT_TAKEN"}
_STACK = {"SWAP", "ROT_TWO", "POP_TOP"}
_CALLS = {"CALL", "CALL_KW"}


class Import(NamedTuple):
    """A module that is imported inside of a function: the dots before its name, and the name.

    With `top`, what is meant is the package that it is in: `import a.b` gives a.
    """

    level: int
    name: str
    top: bool = False


class Local(NamedTuple):
    """A variable of the function itself, of which nothing is known before it runs."""

    name: str


class Name(NamedTuple):
    """Where a value comes from: a global, a variable of an enclosing function, an import; and the attributes read."""

    root: str | Import
    attributes: tuple[str, ...]
    cell: bool = False


@dataclass(frozen=True)
class Use:
    """A name that is read, on which line, and what it is called with (or indexed by) if these are constants and names.

    `first` is the first of these even if the others are more than that. Without a name, it is the attribute of
    something unknown; `own` if that is `self` or `cls`.
    """

    name: Name | None
    line: int
    given: tuple[Any, ...] | None = None
    attribute: str = ""
    own: bool = False
    first: Any = None


@dataclass(frozen=True)
class Reads:
    """All that code reads; `mentioned` are the words in it that may be names of attributes."""

    uses: tuple[Use, ...]
    mentioned: frozenset[str]


@lru_cache(maxsize=4096)
def reads(code: types.CodeType) -> Reads:
    """The names that a function, with the functions and classes inside of it, reads from outside.

    >>> import math
    >>> def area(r): return math.pi * r * r
    >>> [(use.name.root, use.name.attributes) for use in reads(area.__code__).uses]
    [('math', ('pi',))]
    """
    uses: list[Use] = []
    mentioned: set[str] = set()
    for each in codes(code):
        uses += _Scan(each).uses
        mentioned.update(each.co_names)
        mentioned.update(const for const in each.co_consts if isinstance(const, str) and const.isidentifier())
    return Reads(tuple(uses), frozenset(mentioned))


class _Scan:
    """One walk along the instructions of a function."""

    def __init__(self, code: types.CodeType) -> None:
        self.code = code
        self.steps = list(_steps(code))
        self.uses: list[Use] = []
        self.imported = self._imported()
        at = 0
        while at < len(self.steps):
            at = self._step(at)

    def _step(self, at: int) -> int:
        step = self.steps[at]
        if step.name == "IMPORT_NAME":
            self._import(at)
        name, after = self._name(at)
        if name is not None:
            given, first = self._given(after)
            self.uses.append(Use(name, step.line, given, first=first))
            return after
        if step.name in _ATTRIBUTES:
            own = self.steps[at - 1].name == "LOAD_FAST" and self.steps[at - 1].value in ("self", "cls")
            self.uses.append(Use(None, step.line, self._given(at + 1)[0], step.value, own))
        return at + 1

    def _name(self, at: int) -> tuple[Name | None, int]:
        """The name that is read by an instruction, and where what follows it begins."""
        step = self.steps[at]
        if step.name in _GLOBALS:
            root, cell = step.value, False
        elif step.name in _CELLS and step.value in self.code.co_freevars:
            root, cell = step.value, True
        elif step.name == "LOAD_FAST" and step.value in self.imported:
            root, cell = self.imported[step.value], False
        else:
            return None, at
        first = root if isinstance(root, Name) else Name(root, (), cell)
        after = at + 1
        while after < len(self.steps) and self.steps[after].name in _ATTRIBUTES:
            after += 1
        found = tuple(each.value for each in self.steps[at + 1 : after])
        return Name(first.root, first.attributes + found, first.cell), after

    def _given(self, at: int) -> tuple[tuple[Any, ...] | None, Any]:
        """The arguments of a call or index at an instruction, if all are constants and names; and the first of them."""
        given: list[Any] = []
        while at < len(self.steps):
            step = self.steps[at]
            name, after = self._name(at)
            if step.name in _CALLS or step.name == "BINARY_SUBSCR":
                size = step.size if step.name in _CALLS else 1
                return (tuple(given[:size]) if size <= len(given) else None), next(iter(given), None)
            if step.name in _CONSTANTS:
                given.append(step.value)
            elif step.name == "LOAD_FAST" and name is None:
                given.append(Local(step.value))
            elif name is not None:
                given.append(name)
            else:
                break
            at = max(after, at + 1)
        return None, next(iter(given), None)

    # imports

    def _imports_at(self, at: int) -> tuple[Import, Sequence[str]]:
        """The module of an import, and the names that are taken from it."""
        level, names = self.steps[at - 2].value, self.steps[at - 1].value
        return Import(level, self.steps[at].value), names or ()

    def _imported(self) -> dict[str, Name]:
        """The variables that hold something imported, and nothing else."""
        found: dict[str, Name | None] = {}
        module, names = Import(0, ""), cast(Sequence[str], ())
        target: Name | None = None
        for at, step in enumerate(self.steps):
            if step.name == "IMPORT_NAME":
                module, names = self._imports_at(at)
                target = None if names else Name(module._replace(top=True), ())
            elif step.name == "IMPORT_FROM":  # "import a.b as c" takes b from a, which is the module a.b
                target = Name(module, (step.value,) if names else ())
            elif step.name == "STORE_FAST":
                found[step.value] = target if found.get(step.value, target) == target else None
                target = None
            elif step.name not in _STACK:
                target = None
        return {variable: name for variable, name in found.items() if name is not None}

    def _import(self, at: int) -> None:
        """Counts what is imported into variables that are not known to be used by their names alone."""
        module, names = self._imports_at(at)
        targets = {Name(module, (each,)) for each in names} or {Name(module._replace(top=True), ()), Name(module, ())}
        known = targets & set(self.imported.values())
        if names or not known:
            self.uses += [Use(each, self.steps[at].line) for each in sorted(targets - known)]


class _Step(NamedTuple):
    """An instruction: its name, its argument, how many arguments it calls with, and its line."""

    name: str
    value: Any
    size: int
    line: int


def _steps(code: types.CodeType) -> Iterator[_Step]:
    """The instructions that matter, as they were before they were joined to larger ones."""
    line = code.co_firstlineno
    for each in dis.get_instructions(code):
        line = (each.positions.lineno if each.positions else None) or line
        name, count = each.opname, each.arg or 0
        if name in _NOTHING:
            continue
        if name == "BINARY_OP" and each.argrepr == "[]":
            name = "BINARY_SUBSCR"
        joined = [part for part in ("STORE_FAST", "LOAD_FAST") if part in name]
        if isinstance(each.argval, tuple) and joined:  # LOAD_FAST_LOAD_FAST, STORE_FAST_LOAD_FAST ...
            first = "LOAD_FAST" if name.startswith("LOAD_FAST") else "STORE_FAST"
            yield _Step(first, each.argval[0], count, line)
            yield _Step(joined[-1], each.argval[1], count, line)
        else:
            yield _Step(joined[0] if joined else name, each.argval, count, line)

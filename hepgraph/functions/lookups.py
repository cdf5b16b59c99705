"""Lookups of a function's code, as far as a snapshot has to know them: read from the bytecode."""

from __future__ import annotations

import dis
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

LOGS = (list, set, dict, deque)
ADDING = {"append", "appendleft", "extend", "extendleft", "add", "update"}  # which tell nothing of what is there


@dataclass(frozen=True)
class Lookups:
    """The lookups of code: globals, any names (attributes, too), and the variables to which it does nothing but add.

    `bare` are the variables that it uses otherwise than by their attributes, `texts` the words in its constants,
    `changed` the names that it assigns and, with True, those whose content it may change, `imports` the modules that it
    imports: the dots before the name, and the name.
    """

    globals: tuple[str, ...]
    names: frozenset[str]
    logs: frozenset[str]
    bare: frozenset[str]
    texts: frozenset[str]
    changed: frozenset[tuple[str, bool]]
    imports: frozenset[tuple[int, str]]

    @property
    def asks(self) -> bool:
        """Whether it may look up attributes by names that it makes up."""
        return not self.names.isdisjoint({"getattr", "vars", "__dict__", "attrgetter"})

    @property
    def evaluates(self) -> bool:
        """Whether it may look up globals by names that it makes up, or by those in a text."""
        return not self.names.isdisjoint({"globals", "eval", "exec"})


_CHANGING = ADDING | {"setdefault", "setattr", "pop", "insert", "fill"}
_ASSIGNS = {"STORE_GLOBAL", "STORE_ATTR", "STORE_DEREF"}
_WORD = re.compile(r"[A-Za-z_]\w*")
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}


@lru_cache(maxsize=4096)
def reads_of(code: CodeType) -> Lookups:
    """All that a function, with the functions inside of it, looks up.

    >>> import math
    >>> def area(r): return math.pi * r * r
    >>> reads_of(area.__code__).globals
    ('math',)
    """
    used, names, read, added, bare, texts = (set[str]() for _ in range(6))
    changed = set[tuple[str, bool]]()
    imports = set[tuple[int, str]]()
    for each in codes(code):
        names |= {*each.co_names, *(const for const in each.co_consts if isinstance(const, str))}
        texts |= {word for const in each.co_consts if isinstance(const, str) for word in _WORD.findall(const)}
        steps = [step for step in dis.get_instructions(each) if step.opname != "PRECALL"]
        levels = iter([steps[at - 2].argval for at, step in enumerate(steps) if step.opname == "IMPORT_NAME"])
        changed |= {(step.argval, False) for step in steps if step.opname in _ASSIGNS}
        if any(step.opname == "STORE_SUBSCR" or step.argval in _CHANGING for step in steps):
            changed |= {(name, True) for name in (*each.co_names, *each.co_freevars)}
        for step, after in zip(steps, [*steps[1:], None], strict=True):
            if step.opname == "IMPORT_NAME":
                imports.add((next(levels), step.argval))
            if step.opname in _GLOBAL:
                used.add(step.argval)
            if step.opname in _LOADS:
                attribute = after.argval if after is not None and after.opname in ("LOAD_METHOD", "LOAD_ATTR") else None
                bare |= {step.argval} if attribute in (None, "__dict__") else set()
                (added if attribute in ADDING else read).add(step.argval)
            elif step.opname.startswith(("STORE_GLOBAL", "STORE_DEREF", "DELETE_")):
                read.add(step.argval)
    return Lookups(
        tuple(sorted(used)),
        frozenset(names),
        frozenset(added - read),
        frozenset(bare),
        frozenset(texts),
        frozenset(changed),
        frozenset(imports),
    )


def codes(code: CodeType) -> Iterator[CodeType]:
    """Code, and that of the functions and classes inside of it."""
    waiting = [code]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += [const for const in each.co_consts if isinstance(const, CodeType)]

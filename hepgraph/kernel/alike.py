"""Functions that differ in nothing but their arguments and constants: the code of one serves all, which pass theirs.

So alternatives of one analysis, which differ by a factor and by what they fill, are compiled once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

ARGUMENT = "\N{BULLET}"  # stands for what may differ, in a text of which nothing else does
_ARGUMENT = re.compile(r"%p\d+\b")
_TOKEN = re.compile(
    r"(?P<pointer>%p\d+\b)|(?P<table>@(?:axes|edges)\d+\b)"
    r"|(?P<number>(?<![\w.%@!-])-?(?:0x[0-9A-F]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.]|\s+x\s))"
)
_TYPE = re.compile(r"\b(?:double|float|i\d+)\b")
_FIXED = ("alloca", "align", "@llvm.", "extractvalue", "insertvalue")  # lines whose numbers LLVM must know


@dataclass(frozen=True)
class Body:
    """The code of a function: the pointers that it looks at, by their names, and its lines."""

    names: Sequence[str]
    lines: Sequence[str]


@dataclass(frozen=True)
class SharedBody:
    """The common part of functions: parameters with their types, and lines."""

    params: Sequence[str]
    lines: Sequence[str]


@dataclass(frozen=True)
class _Taken:
    """A text without what may differ, and that: a type and a value for each place; pointers have numbers."""

    text: str
    values: Sequence[tuple[str, str]]
    pointers: Sequence[str]


def merged(bodies: Sequence[Body]) -> tuple[list[SharedBody], list[tuple[int, list[str]]]]:
    """The different functions, and for each body the number of its own, and what it passes.

    >>> one, two = Body(["%p0"], ["store i64 1, ptr %p0"]), Body(["%p3"], ["store i64 2, ptr %p3"])
    >>> shapes, calls = merged([one, two])
    >>> shapes
    [SharedBody(params=['ptr noalias %p0', 'i64 %c0'], lines=['store i64 %c0, ptr %p0'])]
    >>> calls
    [(0, ['ptr %p0', 'i64 1']), (0, ['ptr %p3', 'i64 2'])]
    """
    taken = [_taken(body) for body in bodies]
    members: dict[str, list[int]] = {}
    for k, each in enumerate(taken):
        members.setdefault(each.text, []).append(k)
    shapes: list[SharedBody] = []
    calls: dict[int, tuple[int, list[str]]] = {}
    for text, same in members.items():
        columns = [tuple(value for _, value in each) for each in zip(*(taken[k].values for k in same), strict=True)]
        kinds = [kind for kind, _ in taken[same[0]].values]
        differing = dict.fromkeys(
            (kind, column) for kind, column in zip(kinds, columns, strict=True) if len(set(column)) > 1
        )
        names = {each: f"%c{j}" for j, each in enumerate(differing)}
        filled = iter([names.get(each, each[1][0]) for each in zip(kinds, columns, strict=True)])
        lines = re.sub(ARGUMENT, lambda _, filled=filled: next(filled), text).split("\n")  # type: ignore[misc]
        pointers = [f"ptr noalias %p{j}" for j in range(len(taken[same[0]].pointers))]
        for row, k in enumerate(same):
            own = [f"{kind} {column[row]}" for kind, column in differing]
            calls[k] = len(shapes), [*(f"ptr {name}" for name in taken[k].pointers), *own]
        shapes.append(SharedBody([*pointers, *(f"{kind} {names[kind, column]}" for kind, column in differing)], lines))
    return shapes, [calls[k] for k in range(len(bodies))]


def _taken(body: Body) -> _Taken:
    numbers = {name: f"%p{k}" for k, name in enumerate(body.names)}
    values: list[tuple[str, str]] = []

    def renamed(found: re.Match[str]) -> str:
        return numbers[found[0]]

    def argument(found: re.Match[str]) -> str:
        if found["pointer"]:
            return renamed(found)
        kind = "ptr"
        if found["number"]:
            kinds = _TYPE.findall(found.string, 0, found.start())
            if not kinds:
                return found[0]
            kind = kinds[-1]
        values.append((kind, found[0]))
        return ARGUMENT

    lines = [
        _ARGUMENT.sub(renamed, line) if any(word in line for word in _FIXED) else _TOKEN.sub(argument, line)
        for line in body.lines
    ]
    return _Taken("\n".join(lines), values, body.names)

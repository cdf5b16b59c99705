"""Pickles in which code travels by value, with the name of its file and the lines that it was written on.

cloudpickle names all code that it writes out "<dynamic-code>" since its version 3.1.3, and never had the lines of a
notebook's cell: without both, an error in another process does not show the user's own line.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import linecache
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

import cloudpickle

from hepgraph.functions.lookups import reads_of
from hepgraph.functions.packages import users_own


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A cloudpickle pickler that writes file, first line and source beside every code object."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._told: dict[str, set[int]] = {}  # the lines that are written already, by file

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is CodeType:
            make, args = self.dispatch_table[CodeType](thing)
            return _restored, (make, args, "".join(thing.co_filename), thing.co_firstlineno, self._source(thing))
        found = special(thing)
        if found is None:
            found = super().reducer_override(thing)
            if type(thing) is FunctionType and found is not NotImplemented and (more := _made_up(thing)):
                make, args, state, _, _, fill = found
                return make, args, (fill, state, more), None, None, _fill_more
        return found

    def _source(self, code: CodeType) -> dict[int, str]:
        """The lines of a function that this pickle does not have yet, by number."""
        told, file = self._told.setdefault(code.co_filename, set()), linecache.getlines(code.co_filename)
        span = range(code.co_firstlineno, min(_last(code), len(file)) + 1)
        lines = {number: file[number - 1] for number in span if number > 0 and number not in told}
        told |= set(lines)
        return lines


def dumps(thing: Any) -> bytes:
    """Anything as bytes that `pickle.loads` reads, code that other processes cannot import written out in full."""
    body = io.BytesIO()
    Pickler(body).dump(thing)
    return body.getvalue()


def _made_up(function: FunctionType) -> dict[str, Any]:
    """The globals of a function that was copied, if it may look them up by names that are not in its code."""
    space = function.__globals__
    module = sys.modules.get(space.get("__name__", ""))
    if not reads_of(function.__code__).evaluates or (module is not None and vars(module) is space):
        return {}
    return {name: value for name, value in space.items() if not name.startswith("__")}


def _fill_more(function: FunctionType, state: tuple[Any, ...]) -> None:
    fill, inner, more = state
    fill(function, inner)
    function.__globals__.update(more)


def _last(code: CodeType) -> int:
    """The last line of a function, those inside of it included."""
    ends = [end for _, end, _, _ in code.co_positions() if end is not None]  # none of them with -X no_debug_ranges
    ends += [line for _, _, line in code.co_lines() if line is not None]
    return max([code.co_firstlineno, *ends, *map(_last, _inner(code))])


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (const for const in code.co_consts if isinstance(const, CodeType))


def _restored(
    make: Callable[..., CodeType], args: tuple[Any, ...], file: str, first: int, lines: dict[int, str]
) -> CodeType:
    """A code object where it was sent to; `linecache`, from which tracebacks are written, learns its lines."""
    with _learning:
        known = linecache.getlines(file)
        if any(len(known) < number or known[number - 1] != line for number, line in lines.items()):
            known = known + ["\n"] * (max(lines) - len(known))
            for number, line in lines.items():
                known[number - 1] = line
            linecache.cache[file] = (sum(map(len, known)), None, known, file)  # no time: it is not looked for on disk
    return make(*args).replace(co_filename=file, co_firstlineno=first)


_learning = threading.Lock()


# what cloudpickle does not know


def special(thing: Any) -> Any:
    """How to pickle what holds a lock, a weak dictionary or its identity though it need not; None if it is not such.

    These are `functools.cached_property`, `cache` and `singledispatch` of the user's own functions, and the marks of
    `dataclasses`.
    """
    kind = type(thing)
    if kind in _MARKS:
        return _MARKS[kind]
    if kind is functools.cached_property:
        return _cached_property, (thing.func, thing.attrname)
    if kind is _CACHED and users_own(thing.__module__ or ""):
        return _cached, (thing.__wrapped__, thing.cache_parameters())
    if kind is FunctionType and {"registry", "dispatch", "_clear_cache"} <= thing.__dict__.keys():
        return (_dispatching, (), dict(thing.registry), None, None, _fill_dispatching)
    return None


_MARKS: dict[type, str] = {type(getattr(dataclasses, name)): name for name in ("MISSING", "KW_ONLY")}
_CACHED: type = type(functools.cache(len))


def _cached_property(function: Callable[..., Any], name: str | None) -> Any:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _cached(function: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _dispatching() -> Any:
    return functools.singledispatch(_cached)  # replaced when the functions are there, which may call it


def _fill_dispatching(made: Any, functions: dict[type, Callable[..., Any]]) -> None:
    for kind, function in functions.items():
        made.register(kind, function)
    functools.update_wrapper(made, functions[object])

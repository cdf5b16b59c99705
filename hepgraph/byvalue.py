"""Pickles in which code travels by value, with the name of its file and the lines that it was written on.

cloudpickle names all code that it writes out "<dynamic-code>" since its version 3.1.3, and never had the lines of a
notebook's cell: without both, an error in another process does not show the user's own line.
"""

from __future__ import annotations

import io
import linecache
import threading
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import cloudpickle


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """A cloudpickle pickler that writes file, first line and source beside every code object."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._told: dict[str, set[int]] = {}  # the lines that are written already, by file

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is CodeType:
            make, args = self.dispatch_table[CodeType](thing)
            return _restored, (make, args, "".join(thing.co_filename), thing.co_firstlineno, self._source(thing))
        return super().reducer_override(thing)

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


def _last(code: CodeType) -> int:
    """The last line of a function, those inside of it included."""
    ends = [end for _, end, _, _ in code.co_positions() if end is not None]
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

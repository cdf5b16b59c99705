"""A user's `numba.njit` function of numbers, for each element: called by kernels, and by the interpreter.

numba compiles the function for the types that come. Whatever it raises inside of a kernel becomes a sign that something
is wrong; the interpreter then calls it in order, and raises the error itself. Only numba's public interface is used.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from hepgraph.functions.snapshot import HOOKS, Snapshot

DType = np.dtype[Any]
_NUMBERS = "?bBhHiIqQfd"

_TEXT = """
def once(place, ARGS):
    try:
        carray(place, 1)[0] = function(ARGS)
        return 0
    except Exception:
        return 1

def each(out, ARGS):
    for i in range(len(out)):
        out[i] = function(ITEMS)
"""


def jitted(function: Any) -> bool:
    """Whether numba compiles a function; does not import numba to see it."""
    if "numba" not in sys.modules:
        return False
    from numba.extending import is_jitted

    return bool(is_jitted(function))


def is_numbas(error: Exception) -> bool:
    """Whether an error says that numba cannot compile something."""
    from numba.core.errors import NumbaError

    return isinstance(error, NumbaError | TypeError)


class NumberFunction:
    """A compiled function of numbers as an operation on arrays: all as long as each other, or single numbers.

    Two with the same key do the same.
    """

    def __init__(self, taken: Snapshot) -> None:
        self.taken, self.function, self.key = taken, taken.value, taken.key
        self.native = lru_cache(maxsize=None)(self._native)
        self._loop = lru_cache(maxsize=None)(self._compiled_loop)

    def __repr__(self) -> str:
        return str(self.function.__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumberFunction) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> Any:
        return number_function, (self.taken,)

    def check(self, seen: dict[int, bytes]) -> None:
        """Raises ChangedError if something that the function uses by reference was changed since."""
        self.taken.check(repr(self), seen)

    def content(self) -> tuple[Any, ...]:
        """Its content, the same in another process (see `hepgraph.fingerprint`)."""
        return "each", self.function.py_func, sorted(map(repr, self.function.targetoptions.items()))

    def dtype(self, kinds: Sequence[DType]) -> DType:
        """The type of the result for arguments of some types; raises TypeError where numba cannot compile it."""
        import numba
        from numba.core.errors import NumbaError

        signature = tuple(numba.from_dtype(kind) for kind in kinds)
        try:
            self.function.compile(signature)
        except NumbaError as error:
            told = next((line for line in str(error).splitlines()[1:] if line.strip()), str(error))
            raise TypeError(
                f"{self!r} is not compiled by numba for numbers of type {', '.join(map(str, kinds))}: {told.strip()}"
            ) from error
        given = next(s.return_type for s in self.function.nopython_signatures if s.args == signature)
        for kind in map(np.dtype, _NUMBERS):
            if numba.from_dtype(kind) == given:
                return kind
        raise TypeError(f"{self!r} gives {given} for numbers of type {', '.join(map(str, kinds))}, not a number")

    def unknown(self, kinds: Sequence[DType]) -> str:
        """Why a kernel cannot call it with numbers of some types; empty if it can."""
        return f"{self!r} of truth values is not compiled" if any(kind.kind == "b" for kind in kinds) else ""

    def __call__(self, *args: Any) -> Any:
        """The results for arrays."""
        arrays = [np.asarray(arg) for arg in args]
        kinds = tuple(array.dtype for array in arrays)
        size = max((len(array) for array in arrays if array.ndim), default=1)
        out = np.empty(size, self.dtype(kinds))
        self._loop(kinds)(out, *(array if array.ndim else np.full(size, array) for array in arrays))
        return out

    def _compiled_loop(self, kinds: tuple[DType, ...]) -> Any:
        import numba

        return numba.njit(self._written(len(kinds))["each"])

    def _native(self, kinds: tuple[DType, ...]) -> Any:
        """The function that a kernel calls: `i32 f(place of the result, numbers...)`, with a public `address`."""
        import numba

        out = numba.from_dtype(self.dtype(kinds))
        signature = numba.types.int32(numba.types.CPointer(out), *(numba.from_dtype(kind) for kind in kinds))
        return numba.cfunc(signature, nopython=True)(self._written(len(kinds))["once"])

    def _written(self, n: int) -> dict[str, Callable[..., Any]]:
        """The two callers of the function with so many arguments."""
        import numba

        names = [f"x{k}" for k in range(n)]
        text = _TEXT.replace("ARGS", ", ".join(names)).replace("ITEMS", ", ".join(f"{name}[i]" for name in names))
        found: dict[str, Any] = {"function": self.function, "carray": numba.carray}
        exec(text, found)
        return found


def number_function(taken: Snapshot) -> NumberFunction:
    """The operation of a function; one with the same key that is there, so that nothing is compiled twice."""
    return _same(NumberFunction(taken))


@lru_cache(maxsize=256)
def _same(function: NumberFunction) -> NumberFunction:
    return function


# as they were when they were recorded

_copying: list[Any] = []


def _copied(function: Any, pickler: Any) -> Any:
    """How a snapshot takes a compiled function: itself, if it uses only code; else to be compiled anew.

    numba takes the values of globals and of what is closed over when it compiles: here, in another process, or before.
    """
    if any(each is function for each in _copying):  # it calls itself
        return pickler.ref(function).__reduce__()
    _copying.append(function)
    python = function.py_func if jitted(function) else function.__wrapped__
    try:
        taken = Snapshot.of((python, function.targetoptions, getattr(function, "types", None)))
    finally:
        _copying.pop()
    if taken.constant:
        return pickler.ref(function).__reduce__()
    pickler.values = True
    return _compiled_again, (pickler.ref(taken, taken.key), pickler.ref(function))


def _compiled_again(taken: Snapshot, before: Any) -> Any:
    with _compiling:
        if taken.key not in _again:
            import numba

            function, options, loops = taken.value
            if loops is None:
                made = numba.jit(**options)(function)
            else:
                made = numba.vectorize(**options)(function)
                for kinds in loops:
                    takes, gives = ([numba.from_dtype(np.dtype(c)) for c in part] for part in kinds.split("->"))
                    made.add(gives[0](*takes))
            _again[taken.key] = made
            for name, value in function.__globals__.items():
                if value is before:
                    function.__globals__[name] = made
            while len(_again) > 256:
                _again.popitem(last=False)
        return _again[taken.key]


_compiling = threading.RLock()
_again: OrderedDict[str, Any] = OrderedDict()
HOOKS["compiled"] = _copied

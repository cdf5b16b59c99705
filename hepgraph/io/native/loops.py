"""Native loops of the readers: a few lines each, compiled once in a process, run without the GIL."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from hepgraph.graph.offsets import offsets_of
from hepgraph.io.native.buffers import pool
from hepgraph.jit import compiler
from hepgraph.jit.translate import assembly

Array: TypeAlias = np.ndarray[Any, Any]

MANY = 1000  # numbers, from which a compiled loop pays
STEPS = tuple(np.dtype(kind) for kind in ("u1", "i4", "u4", "i8", "u8"))

_lock = threading.Lock()
_engines: dict[str, Any] = {}  # they own the code of the functions
_functions: dict[str, Any] = {}
_KINDS = {"void": None, "ptr": ctypes.c_void_p, "i64": ctypes.c_int64}


def compiled(name: str, text: Callable[[], str], signature: str, level: int = 1) -> Any:
    """The function of this name in a text, as "i64(ptr, i64)" says it is called; compiled when first asked for.

    That takes some 10 ms, and 2 where the object code of an earlier process is on disk. The text is assembly for LLVM;
    nothing in it is made better than it is written, but at level 2, for loops over numbers, which takes three times as
    long. At level 0 it is compiled four times as quickly, for what is not a loop over numbers.
    """
    found = _functions.get(name)
    if found is not None:
        return found
    with _lock:
        if name not in _functions:
            made = text()
            make = compiler.parsed if level < 2 else compiler.optimised
            engine, _ = compiler.loaded(compiler.name_of(made, f"{level}"), level, lambda: make(made, level))
            _engines[name] = engine
            result, _, arguments = signature.rstrip(")").partition("(")
            kinds: list[Any] = [_KINDS[kind] for kind in (result, *arguments.split(", "))]
            _functions[name] = ctypes.CFUNCTYPE(*kinds)(engine.get_function_address(name))
        return _functions[name]


def loop(name: str, source: str, arguments: int) -> Any:
    """The function of this name in a source: a loop over numbers, called with so many of them or addresses."""
    return compiled(name, lambda: assembly(source), f"i64({', '.join(['i64'] * arguments)})", level=2)


def address(function: Any) -> int:
    """Where a function is in memory, for other native code to call."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def add_up(steps: Array, skip: int, out: Array, begin: int = 0) -> bool:
    """Fills the int64 `out` with the running sums of `steps` (of a type in STEPS), without the first `skip` of them.

    They are counted from `begin`. Says whether they never decrease.

    >>> out = np.empty(3, np.int64)
    >>> add_up(np.array([5, 1, 0, 2], np.int32), 1, out)
    True
    >>> out
    array([6, 6, 8])
    """
    if not (steps.flags.c_contiguous and out.flags.c_contiguous and out.dtype == np.int64):
        raise ValueError("the steps and the place for the sums must each be contiguous")
    if steps.dtype not in STEPS:
        raise ValueError(f"steps of {steps.dtype} are not added up")
    if not 0 <= skip <= skip + len(out) <= len(steps):
        raise ValueError(f"{len(steps)} steps do not give sums {skip} to {skip + len(out)}")
    return not adder(steps.dtype)(steps.ctypes.data, out.ctypes.data, skip, skip + len(out), begin)


def summed(counts: Array) -> Array:
    """As `offsets_of`: the running sums of counts, from 0, or of what is true; other threads run on.

    >>> summed(np.array([True, False, True]))
    array([0, 1, 1, 2])
    """
    offsets = pool.take(len(counts) + 1, np.dtype(np.int64))
    steps = counts.view(np.uint8) if counts.dtype == np.bool_ else counts
    if len(steps) < MANY or steps.dtype not in STEPS or not steps.flags.c_contiguous:
        return offsets_of(counts, offsets)
    offsets[0] = 0
    add_up(steps, 0, offsets[1:])
    return offsets


def adder(dtype: np.dtype[Any]) -> Any:
    """The function of `add_up` for steps of one type, which gives 0 where the sums never decrease."""
    name, kind = f"add_up_{dtype.str[1:]}", f"{dtype.kind}{8 * dtype.itemsize}".replace("u64", "i64")
    return loop(name, _SUM.format(name=name, kind=kind), 5)


def follows(table: Array, offsets: Array, width: int) -> bool:
    """Whether numbers as ROOT stores them (big-endian, 32 bits) are offsets in bytes of items of `width` bytes.

    They may be counted from anywhere: `table[i] - table[0]` must be `(offsets[i] - offsets[0]) * width`, in 32 bits.

    >>> follows(np.array([7, 15, 15], ">i4"), np.array([3, 5, 5]), 4)
    True
    >>> follows(np.array([7, 15, 16], ">i4"), np.array([3, 5, 5]), 4)
    False
    """
    if not (table.flags.c_contiguous and offsets.flags.c_contiguous):
        raise ValueError("the table and the offsets must each be contiguous")
    if len(table) != len(offsets) or table.dtype != np.dtype(">i4") or offsets.dtype != np.int64:
        raise ValueError(f"{len(table)} of {table.dtype.str} do not compare with {len(offsets)} of {offsets.dtype.str}")
    if len(table) == 0:
        return True
    return not follower()(table.ctypes.data, offsets.ctypes.data, len(table), width)


def follower() -> Any:
    """The function of `follows`, which gives 0 where numbers are such offsets."""
    return loop("follows", _FOLLOWS, 4)


def slow_follows(table: Array, offsets: Array, width: int) -> bool:
    """The definition of `follows`, by NumPy."""
    wanted = ((offsets - offsets[:1]) * width).astype(np.int32)
    return bool((table.astype(np.int32) - table[:1].astype(np.int32) == wanted).all())


# The running sums without those of the first `skip` steps; 1 if a step after the first that is wanted is negative.
_SUM = """
def {name}(steps, out, skip, stop, begin):
    total, signs = begin, 0
    for k in range(0, skip):
        total += steps.{kind}[k]
    if skip < stop:
        total += steps.{kind}[skip]
        out.i64[0] = total
    for k in range(skip + 1, stop):
        step = steps.{kind}[k]
        total, signs = total + step, signs | step
        out.i64[k - skip] = total
    return signs < 0
"""

_FOLLOWS = """
def follows(table, offsets, count, width):
    begin, first, same = table.big32[0], offsets.i64[0], 0
    for k in range(0, count):
        same += (table.big32[k] - begin ^ (offsets.i64[k] - first) * width) & 0xffffffff == 0
    return same != count
"""

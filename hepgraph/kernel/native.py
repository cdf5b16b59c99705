"""LLVM, through llvmlite: text to machine code that can be called without the GIL."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any

import llvmlite.binding as llvm

from hepgraph.jit import compiler
from hepgraph.limits import limits

_lock = threading.Lock()
_known: weakref.WeakValueDictionary[str, Native] = weakref.WeakValueDictionary()
compiled = 0  # how many modules this process gave to LLVM; tests count them
loaded = 0  # and how many came from disk


LARGE = 4000  # lines of text, of which LLVM optimises less: half the time, for code that runs some 10 % longer
# what is done at level 1: the passes that matter here, once, where LLVM's own level 1 makes many of them several times
QUICK = ("always_inliner", "sroa", "simplify_cfg", "instruction_combine", "loop_rotate", "simplify_cfg")


def name_of(text: str, level: int) -> str:
    """The key of object code in the cache."""
    return compiler.name_of(text, f"{level} plain loops, {QUICK}")


def optimised(text: str, level: int = 2) -> Any:
    """The module after LLVM's passes, with the machine that it is for."""
    if level == 1:
        module, maker = compiler.parsed(text, level)
        passes = llvm.create_new_module_pass_manager()
        for name in QUICK:
            getattr(passes, f"add_{name}_pass")()
        passes.run(module, llvm.create_pass_builder(maker, llvm.create_pipeline_tuning_options()))
        return module, maker
    # lists have a few elements: vectors of loops take twice as long to compile, and no less to run
    return compiler.optimised(text, level, vectors=False)


def level_of(text: str) -> int:
    """How much LLVM optimises a text."""
    level = limits().level
    return level if text.count("\n") < LARGE else min(level, 1)


def native(text: str, level: int | None = None) -> Native:
    """The compiled module: one that this process has, one from disk, or a fresh one."""
    level = level_of(text) if level is None else level
    with _lock:
        name = name_of(text, level)
        found = _known.get(name)
        if found is None:
            found = _known[name] = Native(name, text, level)
        return found


class Native:
    """A compiled module; keep it as long as its function may be called."""

    def __init__(self, name: str, text: str, level: int) -> None:
        global compiled, loaded
        self._engine, fresh = compiler.loaded(name, level, lambda: optimised(text, level))
        compiled += fresh
        loaded += not fresh
        number, pointer = ctypes.c_int64, ctypes.c_void_p
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, number, number, number, pointer, pointer)
        found = {name: self._engine.get_function_address(name) for name in ("early", "kernel", "marked")}
        self.early, self.kernel, self.marked = (kind(at) if at else None for at in found.values())  # what there is

    def address(self, name: str) -> int:
        """Where a function is."""
        found = self._engine.get_function_address(name)
        assert found, name
        return int(found)

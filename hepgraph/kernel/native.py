"""LLVM, through llvmlite: text to machine code that can be called without the GIL."""

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from functools import lru_cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from hepgraph.kernel import cache

_lock = threading.Lock()
_known: weakref.WeakValueDictionary[str, Native] = weakref.WeakValueDictionary()
compiled = 0  # how many modules this process gave to LLVM; tests count them
loaded = 0  # and how many came from disk


@lru_cache(maxsize=1)
def _target() -> tuple[Any, str, str]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


LEVEL = 2  # how much LLVM optimises
LARGE = 4000  # lines of text, of which LLVM optimises less: half the time, for code that runs some 10 % longer
# what is done at level 1: the passes that matter here, once, where LLVM's own level 1 makes many of them several times
QUICK = ("always_inliner", "sroa", "simplify_cfg", "instruction_combine", "loop_rotate", "simplify_cfg")


def _machine(level: int) -> Any:
    """A target machine; the engine that uses it owns it."""
    target, cpu, features = _target()
    return target.create_target_machine(cpu=cpu, features=features, opt=level, jit=True)


def name_of(text: str, level: int) -> str:
    """What object code is kept under: the text, the machine, and the versions of all that made it."""
    target, cpu, features = _target()
    own = getattr(sys.modules.get("hepgraph"), "__version__", "")
    versions = f"{llvmlite.__version__} {'.'.join(map(str, llvm.llvm_version_info))} {own} {level} plain loops, {QUICK}"
    return cache.key(text, target.triple, cpu, features, versions)


def optimised(text: str, level: int = 2) -> Any:
    """The module after LLVM's passes, with the machine that it is for."""
    machine = _machine(level)
    module = llvm.parse_assembly(text)
    module.triple = _target()[0].triple
    module.data_layout = str(machine.target_data)
    if level == 1:
        passes = llvm.create_new_module_pass_manager()
        for name in QUICK:
            getattr(passes, f"add_{name}_pass")()
        passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
        return module, machine
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    # lists have a few elements: unrolled or vectorised loops take twice as long to compile, and no less to run
    options.loop_unrolling = options.loop_vectorization = options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module, machine


def assembly(text: str, level: int = 2) -> str:
    """The machine code to read."""
    with _lock:
        module, machine = optimised(text, level)
        return machine.emit_assembly(module)  # type: ignore[no-any-return]


def level_of(text: str) -> int:
    """How much LLVM optimises a text."""
    return LEVEL if text.count("\n") < LARGE else min(LEVEL, 1)


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
        data = cache.read(name)
        if data is None:
            compiled += 1
            module, machine = optimised(text, level)
            data = machine.emit_object(module)
            cache.write(name, data)
        else:
            loaded += 1
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(level))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        self._engine.finalize_object()
        number, pointer = ctypes.c_int64, ctypes.c_void_p
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, number, number, number, pointer, pointer)
        self.kernel = kind(self.address("kernel"))

    def address(self, name: str) -> int:
        """Where a function is."""
        found = self._engine.get_function_address(name)
        assert found, name
        return int(found)

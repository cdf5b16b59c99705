"""LLVM, through llvmlite: text to machine code that can be called without the GIL."""

from __future__ import annotations

import ctypes
import threading
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm

_lock = threading.Lock()


@lru_cache(maxsize=1)
def _target() -> tuple[Any, str, str]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _machine() -> Any:
    """A target machine; the engine that uses it owns it."""
    target, cpu, features = _target()
    return target.create_target_machine(cpu=cpu, features=features, opt=2)


class Native:
    """A compiled module; keep it as long as its function may be called."""

    def __init__(self, text: str, level: int = 2) -> None:
        with _lock:
            machine = _machine()
            module = llvm.parse_assembly(text)
            module.verify()
            options = llvm.create_pipeline_tuning_options(speed_level=level)
            builder = llvm.create_pass_builder(machine, options)
            builder.getModulePassManager().run(module, builder)
            self._engine = llvm.create_mcjit_compiler(module, machine)
            self._engine.finalize_object()
            address = self._engine.get_function_address("kernel")
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        self.kernel = kind(address)

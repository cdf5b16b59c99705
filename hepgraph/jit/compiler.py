"""LLVM, through llvmlite: the machine that code is made for, and object code that is loaded from disk or made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from hepgraph.jit import object_cache

_BEGINS = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\x64\x86", b"\x64\xaa")  # object files; LLVM crashes on anything else


@lru_cache(maxsize=1)
def target() -> tuple[Any, str, str]:
    """The target of this process, its processor, and what that can do."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def machine(level: int) -> Any:
    """A target machine that optimises so much; the engine that uses it owns it."""
    kind, cpu, features = target()
    return kind.create_target_machine(cpu=cpu, features=features, opt=level, jit=True)


def parsed(text: str, level: int) -> tuple[Any, Any]:
    """The module of a text, as it is written, and a machine to make code of it."""
    made, module = machine(level), llvm.parse_assembly(text)
    module.triple = target()[0].triple
    module.data_layout = str(made.target_data)
    return module, made


def optimised(text: str, level: int, vectors: bool = True) -> tuple[Any, Any]:
    """As `parsed`, after LLVM's passes for this level, with `vectors` made of loops or not."""
    module, made = parsed(text, level)
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_vectorization = vectors
    options.loop_unrolling = options.loop_interleaving = False  # they take as long as all others, and gain little
    builder = llvm.create_pass_builder(made, options)
    builder.getModulePassManager().run(module, builder)
    return module, made


def name_of(text: str, how: str) -> str:
    """The key of object code: the text, how it is made, the machine, and the versions of all that made it."""
    kind, cpu, features = target()
    own = getattr(sys.modules.get("hepgraph"), "__version__", "")
    versions = f"{llvmlite.__version__} {'.'.join(map(str, llvm.llvm_version_info))} {own} {how}"
    return object_cache.key(text, kind.triple, cpu, features, versions)


def loaded(name: str, level: int, make: Callable[[], tuple[Any, Any]]) -> tuple[Any, bool]:
    """The owner of the code under a key, and whether it had to be compiled: of a module, by a machine."""
    data = object_cache.read(name)
    fresh = data is None or not data.startswith(_BEGINS)
    if data is None or fresh:
        module, maker = make()
        data = maker.emit_object(module)
        object_cache.write(name, data)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine(level))
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return engine, fresh

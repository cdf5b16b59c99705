"""The C libraries of the codecs, where the system has them: their functions, to be called from native loops.

The Python packages that decompress (see `codecs`) must be called for each block, and Python's lock is given back and
taken again around it. The same libraries have a C interface, stable and public, which a native loop calls for many
blocks; most systems have them. Where one is missing, blocks are decompressed through Python.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import cache
from typing import Any

from hepgraph.io.native.loops import address
from hepgraph.limits import limits

OLDEST_ZSTD = 10_400  # 1.4.0; older ones decompress more slowly than the package does
LIBRARIES = {
    "zstd": ("libzstd.so.1", "libzstd.1.dylib"),
    "deflate": ("libdeflate.so.0", "libdeflate.0.dylib"),
    "lz4": ("liblz4.so.1", "liblz4.1.dylib"),
    "xxhash": ("libxxhash.so.0", "libxxhash.0.dylib"),
}
NAMES = ("pread", "zstd", "zstd_context", "zlib", "deflate", "deflate_context", "lz4", "xxhash", "xxh3")


class Tools:
    """The addresses of what a thread calls, in the order of NAMES, 0 for what is missing; the contexts are its own."""

    def __init__(self, system: Any) -> None:
        self._contexts: list[tuple[Any, int]] = []  # and what frees each
        found = dict.fromkeys(NAMES, 0) | {"pread": address(system.pread)}
        zstd, deflate, lz4, xxhash = map(library, LIBRARIES) if limits().libraries else (None,) * 4
        if zstd is not None and zstd.ZSTD_versionNumber() >= OLDEST_ZSTD:
            found["zstd"] = address(zstd.ZSTD_decompressDCtx)
            found["zstd_context"] = self._context(zstd.ZSTD_createDCtx, zstd.ZSTD_freeDCtx)
        if deflate is not None:
            found["zlib"] = address(deflate.libdeflate_zlib_decompress)
            found["deflate"] = address(deflate.libdeflate_deflate_decompress)
            make, free = deflate.libdeflate_alloc_decompressor, deflate.libdeflate_free_decompressor
            found["deflate_context"] = self._context(make, free)
        if lz4 is not None and xxhash is not None:
            found |= {"lz4": address(lz4.LZ4_decompress_safe), "xxhash": address(xxhash.XXH64)}
        for name in ("XXH3_64bits", "XXH3_64bits_dispatch"):  # since 0.8; the latter uses what the processor has
            if xxhash is not None and hasattr(xxhash, name):
                found["xxh3"] = address(getattr(xxhash, name))
        self.addresses = [found[name] for name in NAMES]

    def _context(self, make: Any, free: Any) -> int:
        make.restype, make.argtypes, free.argtypes = ctypes.c_void_p, (), (ctypes.c_void_p,)
        context = make()
        if context is None:
            raise MemoryError("there is no memory to decompress with")
        self._contexts.append((free, context))
        return int(context)

    def __del__(self) -> None:
        for free, context in self._contexts:
            free(context)


class _Mine(threading.local):
    tools: Tools | None = None


_mine = _Mine()


def tools() -> Tools | None:
    """The tools of this thread; None on a system whose `pread` is not known here."""
    if _mine.tools is None and sys.platform in ("linux", "darwin") and ctypes.sizeof(ctypes.c_void_p) == 8:
        _mine.tools = Tools(ctypes.CDLL(None))
    return _mine.tools


@cache
def library(name: str) -> Any:
    """A library of the system, one of LIBRARIES; None if it is not there."""
    for file in LIBRARIES[name]:
        try:
            return ctypes.CDLL(file)
        except OSError:
            continue  # the next name, or none
    return None

"""The bytes of files that are kept, mapped into memory where that is safe."""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

from hepgraph.limits import limits

_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def content_of(handle: int) -> Any:
    """The bytes of an open file, to be changed without changing it: mapped where that is safe, else read.

    Files on a disk of this machine are mapped, and stay whole when they are deleted; those of other machines could be
    gone.
    """
    status = os.fstat(handle)
    size = status.st_size
    if size >= limits().mapped_least and os.major(status.st_dev) != 0 and len(_mapped) < limits().mapped_most:
        made = mmap.mmap(handle, size, access=mmap.ACCESS_COPY)
        _mapped.add(made)
        return made
    content = bytearray(size)
    got = os.preadv(handle, [content], 0) if size else 0
    while 0 < got < size and (more := os.preadv(handle, [memoryview(content)[got:]], got)):
        got += more
    return content if got == size else content[:got]

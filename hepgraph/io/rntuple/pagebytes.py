"""The bytes of RNTuple pages: read, decompressed, and the elements that they hold put in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from io import FileIO
from typing import Any, Protocol, TypeAlias

import numpy as np

from hepgraph.io.access import ranges as ranged
from hepgraph.io.native.codecs import blocks_of, joined
from hepgraph.io.native.loops import add_up
from hepgraph.io.rntuple.encodings import Encoding, packed_reals
from hepgraph.io.rntuple.pagelist import PageError
from hepgraph.io.rntuple.unsplit import unsplit

Array: TypeAlias = np.ndarray[Any, Any]
Range: TypeAlias = tuple[int, int]

BATCH = 512 << 10  # bytes read at once from a local file: what the processor's own cache can hold until it is used
GAP = {True: 256 << 10, False: 16 << 10}  # bytes between two ranges that are read rather than left out, by remoteness
KEPT = 8 << 20  # bytes that a thread keeps for the next page; more is given back


class PageBytes(Protocol):
    """Where the bytes of a file come from."""

    remote: bool

    @property
    def file(self) -> int | None:
        """The number of the open file, if it is a local one."""

    def read(self, ranges: Sequence[Range]) -> Sequence[memoryview]:
        """The bytes of some ranges, for use until the next call; fewer if the file ends before."""


class Scratch(threading.local):
    """Memory that a thread uses for one page after the other: fresh memory costs as much as to unpack into it."""

    def __init__(self) -> None:
        self._places: dict[str, Array] = {}

    def place(self, use: str, size: int) -> Array:
        """So many bytes, which hold anything; the same for every call with this use."""
        found = self._places.get(use)
        if found is None or len(found) < size:
            found = np.empty(max(size, 1 << 16), np.uint8)
            if size <= KEPT:
                self._places[use] = found
        return found[:size]


scratch = Scratch()


class LocalPages:
    """The bytes of a local file, into memory that is used again and again."""

    remote = False

    def __init__(self, file: FileIO, size: int) -> None:
        self._file, self._size, self.file = file, size, file.fileno()

    def read(self, ranges: Sequence[Range]) -> Sequence[memoryview]:
        sizes = [max(0, min(stop, self._size) - start) for start, stop in ranges]
        buffer = scratch.place("packed", sum(sizes)).data
        found, at = [], 0
        for (start, _), size in zip(ranges, sizes, strict=True):
            place, filled = buffer[at : at + size], 0
            self._file.seek(start)
            while filled < size and (more := self._file.readinto(place[filled:])):
                filled += more
            found.append(place[:filled])
            at += size
        return found


class RemotePages:
    """The bytes of a remote file, all ranges of a call at once."""

    remote = True
    file = None

    def __init__(self, data: ranged.Bytes) -> None:
        self._data = data

    def read(self, ranges: Sequence[Range]) -> Sequence[memoryview]:
        return self._data.fetch(list(ranges))


def room(target: Array | None, size: int) -> Array:
    """A place for so many bytes: the target, or memory that is used for the next page."""
    return scratch.place("unpacked", size) if target is None else target


def unpacked(packed: memoryview, size: int, place: Callable[[int], Array]) -> Array:
    """The `size` bytes of a page, to be read before the next page is: where `place(size)` says, or elsewhere."""
    if len(packed) == size:
        return np.frombuffer(packed, np.uint8)
    if len(packed) > size:
        raise PageError(f"{len(packed)} bytes are too many for the {size} that it holds")
    blocks = blocks_of(packed, size)
    found = joined(packed, blocks, size, place)
    taken = blocks[-1][2] if blocks else 0
    if taken != len(packed):
        raise PageError(f"{len(packed) - taken} bytes follow its compressed blocks")
    return found


def ordered(encoding: Encoding, data: Array, first: int, out: Array, begin: int) -> bool:
    """Places elements from `first` on of a page, of which `data` are the bytes, counted from `begin`.

    Says whether they are known never to decrease.
    """
    if encoding.delta:
        steps = scratch.place("steps", (first + len(out)) * encoding.dtype.itemsize).view(encoding.dtype)
        unsplit(data, 0, steps)
        return add_up(steps, first, out, begin)
    if encoding.plain(out.dtype):
        out.view(np.uint8)[...] = data[first * out.itemsize : (first + len(out)) * out.itemsize]
    elif encoding.split and encoding.dtype == out.dtype:
        unsplit(data, first, out, encoding.zigzag)
    elif encoding.split:
        numbers = np.empty(len(out), encoding.dtype)
        unsplit(data, first, numbers, encoding.zigzag)
        out[...] = numbers
    elif encoding.dtype.kind == "b":
        bits = np.unpackbits(data[first // 8 : (first + len(out) + 7) // 8], bitorder="little")
        out[...] = bits[first % 8 : first % 8 + len(out)].view(np.bool_)
    elif encoding.real:
        out[...] = packed_reals(encoding, data, first, len(out))
    else:
        out[...] = data.view(encoding.dtype)[first : first + len(out)]
    if begin:
        out += begin
    return False

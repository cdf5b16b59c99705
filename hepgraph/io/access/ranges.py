"""Byte ranges of a file, local or remote: near ones are read together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import fsspec
import numpy as np

from hepgraph.io.access.files import edge, is_remote
from hepgraph.io.access.handles import Stamp
from hepgraph.io.access.remote import Patience, answers, system_options

Array: TypeAlias = np.ndarray[Any, Any]
Range: TypeAlias = tuple[int, int]

LOCAL_GAP = 16 * 1024
REMOTE_GAP = 256 * 1024
LONGEST = 64 * 1024 * 1024


NOWHERE: Array = np.empty(0, np.uint8)
Allocate: TypeAlias = Callable[[int], Array]


def nowhere(size: int) -> Array:
    """No memory to be used again: each range gets its own."""
    return NOWHERE


class ShortFile(ValueError):
    """A file that ends before, or does not give, the range of this index."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class Bytes(Protocol):
    """An open file of which ranges can be read."""

    together: bool  # whether a reader should ask for all that it needs at once
    stamp: Stamp  # what tells this file from one that replaces it

    @property
    def file(self) -> int | None:
        """The number of the open file, if it is a local one."""

    def read(self, start: int, stop: int, room: Array) -> memoryview:
        """The bytes of one range, in `room` if there is enough; raises ShortFile if the file ends before."""

    def fetch(self, ranges: Sequence[Range], allocate: Allocate = nowhere) -> list[memoryview]:
        """The bytes of each (start, stop), in order; raises ShortFile if the file ends before.

        Those of a local file are in memory that `allocate` gives for so many bytes.
        """


def remote(path: str, options: Mapping[str, Any]) -> Bytes:
    """The bytes of a remote file; nothing is asked for yet."""
    with edge(path):
        system, inner = fsspec.core.url_to_fs(path, **system_options(path, options))
        return RemoteBytes(system, inner, path, Patience.of(options))


@contextmanager
def opened(path: str, options: Mapping[str, Any]) -> Iterator[Bytes]:
    """The bytes of a file, for the length of a `with`."""
    if is_remote(path):
        yield remote(path, options)
        return
    with edge(path):
        file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        yield LocalBytes(file)
    finally:
        os.close(file)


class LocalBytes:
    """A local file; any number of threads may read it."""

    together = False

    def __init__(self, file: int) -> None:
        self.file = file
        status = os.fstat(file)
        self.size = status.st_size
        self.stamp: Stamp = (status.st_mtime_ns, status.st_size, status.st_ino)

    def read(self, start: int, stop: int, room: Array) -> memoryview:
        self._check(0, start, stop)
        size = stop - start
        data = (room[:size] if size <= len(room) else np.empty(size, np.uint8)).data
        got = os.preadv(self.file, [data], start)
        while got < size:
            more = os.preadv(self.file, [data[got:]], start + got)
            if more == 0:
                raise ShortFile(0, f"the file ended at byte {start + got} while it was read")
            got += more
        return data

    def _check(self, index: int, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.size:
            raise ShortFile(index, f"bytes {start} to {stop} are wanted, and the file has {self.size}")

    def fetch(self, ranges: Sequence[Range], allocate: Allocate = nowhere) -> list[memoryview]:
        for index, (start, stop) in enumerate(ranges):
            self._check(index, start, stop)
        found: list[memoryview] = [memoryview(b"")] * len(ranges)
        pieces = coalesced(ranges, LOCAL_GAP)
        room = allocate(sum([piece.stop - piece.start for piece in pieces]))
        for piece in pieces:
            try:
                data = self.read(piece.start, piece.stop, room)
            except ShortFile as error:
                raise ShortFile(piece.parts[-1][0], str(error)) from None
            for index, start, stop in piece.parts:
                found[index] = data[start:stop]
            room = room[len(data) :]
        return found


class RemoteBytes:
    """A file behind fsspec: one request for many ranges, where the protocol knows them."""

    together = True
    stamp: Stamp = None
    file = None

    def __init__(self, system: Any, inner: str, path: str = "", patience: Patience | None = None) -> None:
        self._system, self._inner = system, inner
        self._path, self._patience = path or inner, patience or Patience()

    def read(self, start: int, stop: int, room: Array) -> memoryview:
        return self.fetch([(start, stop)])[0]

    def _ask(self, ranges: list[Range]) -> Sequence[Any]:
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        found: Sequence[Any] = self._system.cat_ranges([self._inner] * len(ranges), starts, stops, on_error="return")
        return found

    def fetch(self, ranges: Sequence[Range], allocate: Allocate = nowhere) -> list[memoryview]:
        for index, (start, stop) in enumerate(ranges):
            if not 0 <= start <= stop:
                raise ShortFile(index, f"bytes {start} to {stop} are wanted")
        pieces = coalesced(ranges, REMOTE_GAP)
        places = [(piece.start, piece.stop) for piece in pieces]
        found: list[memoryview] = [memoryview(b"")] * len(ranges)
        for piece, answer in zip(pieces, answers(self._ask, places, self._path, self._patience), strict=True):
            wanted = piece.stop - piece.start
            if len(answer) != wanted:
                raise ShortFile(
                    piece.parts[0][0], f"{len(answer)} bytes came from byte {piece.start}, and {wanted} were asked for"
                )
            for index, start, stop in piece.parts:
                found[index] = memoryview(answer)[start:stop]
        return found


@dataclass(slots=True)
class Piece:
    """Bytes to be read at once, and which ranges (index, start and stop within the piece) they serve."""

    start: int
    stop: int
    parts: list[tuple[int, int, int]]


def coalesced(ranges: Sequence[Range], gap: int, longest: int = LONGEST) -> list[Piece]:
    """The fewest pieces that hold all ranges, bridging gaps of at most `gap` bytes, up to `longest` bytes each.

    >>> [(piece.start, piece.stop) for piece in coalesced([(90, 95), (0, 10), (12, 20)], gap=2)]
    [(0, 20), (90, 95)]
    """
    pieces: list[Piece] = []
    piece = Piece(0, -gap - 1, [])
    for index in sorted(range(len(ranges)), key=ranges.__getitem__):
        start, stop = ranges[index]
        if start > piece.stop + gap or max(stop, piece.stop) - piece.start > longest:
            piece = Piece(start, stop, [])
            pieces.append(piece)
        elif stop > piece.stop:
            piece.stop = stop
        piece.parts.append((index, start - piece.start, stop - piece.start))
    return pieces

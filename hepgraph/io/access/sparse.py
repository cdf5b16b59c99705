"""A remote file of which some ranges were fetched in a few requests, as a file that others read from."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from hepgraph.io.access.ranges import Bytes, Range, coalesced
from hepgraph.limits import limits


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes of a file, and where they begin and end in it."""

    places: list[Range]
    found: list[memoryview]


def fetched(data: Bytes, ranges: Sequence[Range]) -> Fetched:
    """The bytes of some ranges of a file, fetched at once."""
    places = [(piece.start, piece.stop) for piece in coalesced(ranges, limits().gap)]
    return Fetched(places, data.fetch(places))


class SparseFile(io.RawIOBase):
    """The bytes of a file: some that were fetched before, others are fetched when they are asked for."""

    def __init__(self, data: Bytes, size: int, before: Fetched) -> None:
        super().__init__()
        self._data, self._size, self._at = data, size, 0
        self._places, self._found = before.places, before.found

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def size(self) -> int:
        """The bytes of the file."""
        return self._size

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._at + size, self._size)
        start, self._at = self._at, max(self._at, stop)
        if start >= stop:
            return b""
        index = bisect_right(self._places, (start, self._size)) - 1
        if index >= 0 and stop <= self._places[index][1]:
            begin = self._places[index][0]
            return bytes(self._found[index][start - begin : stop - begin])
        return bytes(self._data.fetch([(start, stop)])[0])

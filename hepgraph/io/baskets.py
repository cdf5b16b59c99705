"""The baskets of a branch: where they are, what their keys say, and their content, decompressed.

A basket holds the entries of a range, one after the other. Where entries have no fixed size, a table of where each one
starts follows, unless the lengths can be told from another branch. uproot parses the table of baskets of each branch;
the baskets themselves are taken apart here (TKey and TBasket in ROOT's `TBasket::Streamer`).
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.codecs import Block, BlockError, blocks_of, decompress
from hepgraph.io.ranges import Bytes, Range, ShortFile

Array: TypeAlias = np.ndarray[Any, Any]


class BasketError(ValueError):
    """A basket that cannot be read; the message says which one, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A basket kept within the metadata of its branch: its content and where each entry starts, if told."""

    content: Array
    offsets: Array | None


@dataclass(frozen=True, slots=True)
class Baskets:
    """Where the baskets of a branch are: `edges` are the entries at which they begin and end.

    The first are in the file, `ranges` of bytes; those that follow are `embedded` in the metadata.
    """

    edges: tuple[int, ...]
    ranges: tuple[Range, ...]
    embedded: tuple[Embedded, ...] = ()

    @classmethod
    def of(cls, branch: Any) -> Baskets:
        """The baskets of a branch of uproot's; raises ValueError if their table makes no sense."""
        edges = tuple(int(edge) for edge in branch.entry_offsets)
        if edges[0] != 0 or any(edges[i] > edges[i + 1] for i in range(len(edges) - 1)):
            raise ValueError("the entries of its baskets do not follow each other")
        embedded = tuple(Embedded(basket.data, basket.byte_offsets) for basket in branch.embedded_baskets)
        count = len(edges) - 1 - len(embedded)
        seeks = branch.member("fBasketSeek")[:count].tolist()
        sizes = branch.member("fBasketBytes")[:count].tolist()
        if len(seeks) != count or len(sizes) != count:
            raise ValueError(f"it has {count} baskets in the file, but {min(len(seeks), len(sizes))} places of them")
        return cls(edges, tuple((seek, seek + size) for seek, size in zip(seeks, sizes, strict=True)), embedded)

    def overlapping(self, start: int, stop: int) -> range:
        """The numbers of the baskets that hold any of the entries from `start` to `stop`."""
        if start >= stop:
            return range(0)
        return range(bisect_right(self.edges, start) - 1, bisect_left(self.edges, stop))


@dataclass(frozen=True, slots=True)
class Key:
    """What the key of a basket says: its bytes without the key, their size when decompressed, where the data end.

    `blocks` are those of the payload, none if it is not compressed.
    """

    length: int
    payload: memoryview
    size: int
    border: int
    blocks: tuple[Block, ...]


_START = struct.Struct(">ihiIh")  # bytes with key, version, bytes of the object, date, bytes of the key
_END = struct.Struct(">iib")  # entries, where the data end (counted from the start of the key), a flag


def key_of(data: memoryview, entries: int) -> Key:
    """The key at the start of a basket of so many entries; raises BasketError if it cannot be right."""
    if len(data) < _START.size + _END.size:
        raise BasketError(f"its {len(data)} bytes have no room for a key")
    total, _, size, _, length = _START.unpack_from(data)
    if not _START.size + _END.size <= length <= total <= len(data):
        raise BasketError(f"its key of {length} bytes and its total of {total} do not fit in the {len(data)} it has")
    found, last, _ = _END.unpack_from(data, length - _END.size)
    if found != entries:
        raise BasketError(f"it has {found} entries, but should have {entries}")
    border = last - length
    if not 0 <= border <= size:
        raise BasketError(f"its data end at byte {border} of {size}")
    payload = data[length:total]
    return Key(length, payload, size, border, () if len(payload) == size else blocks_of(payload, size))


@dataclass(slots=True)
class Basket:
    """The content of a basket: bytes, where each entry starts in them (or None), which entries are wanted.

    `entry` is the number of its first entry, `first` to `last` are those wanted, counted from there. The arrays may be
    overwritten when the next basket is made.
    """

    entry: int
    entries: int
    content: Array
    offsets: Array | None
    first: int
    last: int


class Column:
    """The baskets of one branch that overlap a range of entries, as read: compressed.

    Together they hold `entries` entries, in `most` bytes when decompressed.
    """

    def __init__(self, baskets: Baskets, start: int, stop: int, data: Mapping[int, memoryview]) -> None:
        if baskets.edges[-1] < stop:
            raise BasketError(f"its baskets hold {baskets.edges[-1]} entries; {stop} are wanted")
        self.baskets, self.start, self.stop = baskets, start, stop
        self.numbers = baskets.overlapping(start, stop)
        self._keys: dict[int, Key] = {}
        for number, raw in data.items():
            with naming(baskets, number):
                self._keys[number] = key_of(raw, baskets.edges[number + 1] - baskets.edges[number])
        self.most = sum(self._border(number) for number in self.numbers)
        self.entries = baskets.edges[self.numbers.stop] - baskets.edges[self.numbers.start] if self.numbers else 0

    def _border(self, number: int) -> int:
        if number in self._keys:
            return self._keys[number].border
        return len(self.baskets.embedded[number - len(self.baskets.ranges)].content)

    def __iter__(self) -> Iterator[tuple[int, Basket]]:
        """The number and the content of each basket, in order."""
        scratch = np.empty(max((key.size for key in self._keys.values() if key.blocks), default=0), np.uint8)
        for number in self.numbers:
            entry, after = self.baskets.edges[number], self.baskets.edges[number + 1]
            with naming(self.baskets, number):
                if number in self._keys:
                    content, offsets = _content(self._keys[number], after - entry, scratch)
                else:
                    embedded = self.baskets.embedded[number - len(self.baskets.ranges)]
                    content, offsets = embedded.content, _checked(embedded.offsets, after - entry, embedded.content)
            first, last = max(self.start - entry, 0), min(self.stop, after) - entry
            yield number, Basket(entry, after - entry, content, offsets, first, last)


class naming:
    """A context in which errors of a basket say which basket it is, and where."""

    def __init__(self, baskets: Baskets, number: int) -> None:
        self._baskets, self._number = baskets, number

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BlockError | BasketError | ShortFile):
            raise BasketError(f"{place(self._baskets, self._number)}: {error}") from error


def place(baskets: Baskets, number: int) -> str:
    """The words for a basket in messages."""
    where = f" at byte {baskets.ranges[number][0]}" if number < len(baskets.ranges) else " in the metadata"
    return f"basket {number}{where}"


def _content(key: Key, entries: int, scratch: Array) -> tuple[Array, Array | None]:
    """The data and the table of offsets, counted from the start of the data."""
    if key.blocks:
        whole = scratch[: key.size]
        decompress(key.payload, key.blocks, whole)
    else:
        whole = np.frombuffer(key.payload, np.uint8)
    content = whole[: key.border]
    if key.border == key.size:
        return content, None
    if key.size - key.border != 4 * (entries + 2):
        raise BasketError(
            f"{key.size - key.border} bytes follow its data; a table of {entries} entries has another size"
        )
    table = whole[key.border :].view(">i4").astype(np.int32)
    if table[0] != entries + 1:
        raise BasketError(f"its table has {table[0]} offsets for {entries} entries")
    offsets = table[1:]
    offsets -= key.length
    offsets[-1] = key.border
    return content, _checked(offsets, entries, content)


def _checked(offsets: Array | None, entries: int, content: Array) -> Array | None:
    if offsets is None:
        return None
    if len(offsets) != entries + 1:
        raise BasketError(f"its table has {len(offsets)} offsets for {entries} entries")
    if offsets[0] != 0 or offsets[-1] != len(content) or (offsets[1:] < offsets[:-1]).any():
        raise BasketError("the offsets of its entries do not follow each other")
    return offsets


def fetch(data: Bytes, wanted: Sequence[tuple[Baskets, range]]) -> list[dict[int, memoryview]]:
    """The bytes of these baskets of some branches, by number, for each branch; near ones are read at once."""
    places = [
        (which, number) for which, (baskets, numbers) in enumerate(wanted) for number in numbers
        if number < len(baskets.ranges)
    ]  # fmt: skip
    found: list[dict[int, memoryview]] = [{} for _ in wanted]
    try:
        pieces = data.fetch([wanted[which][0].ranges[number] for which, number in places])
    except ShortFile as error:
        which, number = places[error.index]
        raise BasketError(f"{place(wanted[which][0], number)}: {error}") from error
    for (which, number), piece in zip(places, pieces, strict=True):
        found[which][number] = piece
    return found

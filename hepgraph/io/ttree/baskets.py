"""The baskets of a branch: where they are, what their keys say, and their content, decompressed.

A basket holds the entries of a range, one after the other. Where entries have no fixed size, a table of where each one
starts follows, unless the lengths can be told from another branch. uproot parses the table of baskets of each branch;
the baskets themselves are taken apart here (TKey and TBasket in ROOT's `TBasket::Streamer`).
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from hepgraph.disk.plain import plain
from hepgraph.io.access.ranges import NOWHERE, Bytes, Range, ShortFile
from hepgraph.io.native.buffers import LARGEST_ROOM, Scratch
from hepgraph.io.native.codecs import blocks_of, decompress
from hepgraph.io.native.libraries import tools
from hepgraph.io.native.loops import MANY, follows, slow_follows
from hepgraph.io.native.shared import Share
from hepgraph.io.ttree.fused_baskets import read_baskets
from hepgraph.limits import limits

Array: TypeAlias = np.ndarray[Any, Any]


STORED = np.dtype(">i4")
LARGEST_BLOCK = 2**24
LIKELY_ROOM = 2**20
LIKELY_RATIO = 256


class BasketError(ValueError):
    """A basket that cannot be read; the message says which one, and what is wrong with it."""


@plain
@dataclass(frozen=True, slots=True)
class Embedded:
    """A basket kept within the metadata of its branch: its content and where each entry starts, if told."""

    content: Array
    offsets: Array | None


@plain
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
        if len(seeks) != count or len(sizes) != count or any(size < 0 for size in sizes):
            raise ValueError(f"it has {count} baskets in the file, but {min(len(seeks), len(sizes))} places of them")
        return cls(edges, tuple((seek, seek + size) for seek, size in zip(seeks, sizes, strict=True)), embedded)

    def overlapping(self, start: int, stop: int) -> range:
        """The numbers of the baskets that hold any of the entries from `start` to `stop`."""
        if start >= stop:
            return range(0)
        return range(bisect_right(self.edges, start) - 1, bisect_left(self.edges, stop))

    def places(self, start: int, stop: int) -> Sequence[Range]:
        """Where these baskets are in the file."""
        numbers = self.overlapping(start, stop)
        return self.ranges[numbers.start : numbers.stop]

    def bytes(self, start: int, stop: int) -> int:
        """The bytes that these baskets take in the file."""
        return sum(last - first for first, last in self.places(start, stop))


_START = struct.Struct(">ihiIh")  # bytes with key, version, bytes of the object, date, bytes of the key
_END = struct.Struct(">iib")  # entries, where the data end (counted from the start of the key), a flag
_LEAST = _START.size + _END.size


def key_of(data: memoryview, entries: int) -> tuple[int, int, int, int]:
    """The key of a basket of so many entries; raises BasketError if it cannot be right.

    That is: bytes of the key, bytes of the basket, bytes when decompressed without key, and where in these the data
    end.
    """
    if len(data) < _LEAST:
        raise BasketError(f"its {len(data)} bytes have no room for a key")
    total, _, size, _, length = _START.unpack_from(data)
    if not _LEAST <= length <= total <= len(data):
        raise BasketError(f"its key of {length} bytes and its total of {total} do not fit in the {len(data)} it has")
    found, last, _ = _END.unpack_from(data, length - _END.size)
    if found != entries:
        raise BasketError(f"it has {found} entries, but should have {entries}")
    if not length <= last <= length + size:
        raise BasketError(f"its data end at byte {last - length} of {size}")
    return length, total, size, last - length


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a basket, decompressed: the data, then the table of offsets; `length` is that of its key.

    `border` is where the data end: `fLast` of the TBasket, counted from behind the key.
    """

    bytes: Array
    border: int
    length: int

    @property
    def nbytes(self) -> int:
        return self.bytes.nbytes


@dataclass(slots=True)
class Basket:
    """The content of a basket: bytes, and which of its entries are wanted.

    `entry` is the number of its first entry; `first` to `last` are wanted, counted from there. `table` tells where each
    entry starts, counted from `shift` bytes before the content, but for its last number, which should be where the
    content ends; None if there is no table. The arrays may be overwritten when the next basket is made. A basket that
    is `skipped` was not read, and has no content.
    """

    entry: int
    entries: int
    content: Array
    table: Array | None
    shift: int
    first: int = 0
    last: int = 0
    skipped: bool = False

    def starts(self) -> Array:
        """Where the wanted entries start in the content, and where the last one ends; raises BasketError."""
        if self.table is None:
            raise BasketError("it does not tell where its entries start")
        starts: Array = self.table[self.first : self.last + 1].astype(np.int32) - np.int32(self.shift)
        if self.last == self.entries:  # the last number of a table is not kept in it
            starts[-1] = len(self.content)
        if starts[0] < 0 or starts[-1] > len(self.content) or (starts[1:] < starts[:-1]).any():
            raise BasketError("the offsets of its entries do not follow each other")
        if self.first == 0 and starts[0] != 0:
            raise BasketError(f"its first entry starts at byte {starts[0]}, not at 0")
        return starts

    def begins_as(self, offsets: Array, width: int) -> int | None:
        """Where the first wanted entry starts, if the table says so much of each as these offsets of items; else None.

        An item has `width` bytes.
        """
        if self.table is None:
            raise BasketError("it does not tell where its entries start")
        begin = int(self.table[self.first]) - self.shift if self.first < self.entries else len(self.content)
        end = begin + int(offsets[-1] - offsets[0]) * width
        if begin < 0 or end > len(self.content) or (self.first == 0 and begin != 0):
            return None
        last = self.last + 1
        if self.last == self.entries:
            last -= 1
            if end != len(self.content):
                return None
        table = self.table[self.first : last]
        check = follows if len(table) >= MANY else slow_follows
        if table.dtype != STORED:  # as uproot gives those of baskets within the metadata
            table = table.astype(STORED)
        return begin if check(table, offsets[: len(table)], width) else None


class BasketColumn:
    """The baskets of one branch that overlap a range of entries: together they hold `entries` entries.

    They are taken from those `fetched` before, by number, or read from `data`. `scratch` is used again for each basket.
    `selected_before` has the number of selected entries before each one of the range, where an entry mask selects some;
    a basket without any is skipped, and `skipped_bytes` counts its bytes. Large baskets that the range has only a part
    of are shared with other ranges if there is a `share`.
    """

    def __init__(
        self,
        baskets: Baskets,
        start: int,
        stop: int,
        data: Bytes,
        scratch: Scratch,
        fetched: Mapping[int, memoryview] | None = None,
        selected_before: Array | None = None,
        share: Share | None = None,
    ) -> None:
        if baskets.edges[-1] < stop:
            raise BasketError(f"its baskets hold {baskets.edges[-1]} entries; {stop} are wanted")
        self.baskets, self.start, self.stop, self._data, self._scratch = baskets, start, stop, data, scratch
        self.numbers = baskets.overlapping(start, stop)
        self.entries = baskets.edges[self.numbers.stop] - baskets.edges[self.numbers.start] if self.numbers else 0
        self.number = self.numbers.start  # the basket that is being read
        self._fetched = fetched
        self._selected_before = selected_before
        self._share = share
        self._known: dict[int, Content] = {}  # of those that are shared
        self.skipped_bytes = 0

    def is_skipped(self, number: int) -> bool:
        """Whether a basket is not read, as all its entries in the range are masked out."""
        if self._selected_before is None or number >= len(self.baskets.ranges):
            return False
        first, last = (
            min(max(edge, self.start), self.stop) - self.start for edge in self.baskets.edges[number : number + 2]
        )
        return bool(self._selected_before[first] == self._selected_before[last])

    def share_key(self, number: int) -> tuple[int, int]:
        """The key of a basket among shared data, which is its place in the file, and the number of its entries."""
        return self.baskets.ranges[number][0], self.baskets.edges[number + 1] - self.baskets.edges[number]

    def skip_none(self) -> None:
        """Has all baskets read from here on."""
        if self._selected_before is not None:
            self._selected_before, self._fetched, self.skipped_bytes = None, None, 0

    def content_bytes(self) -> int:
        """The bytes of data in all baskets, by their keys; reads and keeps them all."""
        if self._fetched is None:
            self._fetched = fetch(self._data, [(self.baskets, [n for n in self.numbers if not self.is_shared(n)])])[0]
        found = 0
        for number in self.numbers:
            self.number = number
            if number >= len(self.baskets.ranges):
                found += len(self._embedded().content)
                continue
            if self.is_shared(number):
                found += self._content(number).border
                continue
            data = self._fetched[number]
            length, total, size, border = key_of(data, self.baskets.edges[number + 1] - self.baskets.edges[number])
            if total - length != size:
                blocks_of(data[length:total], size)
            found += border
        return found

    def may_hold(self, size: int) -> bool:
        """Whether baskets of these compressed sizes may hold so many bytes, so that allocating them is safe."""
        ranges = self.baskets.ranges[self.numbers.start : self.numbers.stop]
        stored = sum([stop - start for start, stop in ranges])
        return size <= LIKELY_RATIO * stored + LARGEST_BLOCK * len(self.numbers)

    def read_fused(self, out: Array, stored: np.dtype[Any], many: int, offsets: Array | None = None) -> bool:
        """Reads, decompresses and copies the numbers of all wanted entries to `out` in one native call.

        An item is `many` numbers, `stored` so in the file. An entry is one item, or as many as its `offsets` say, which
        must be what the baskets say. Returns False where that cannot be done or fails: `out` is undefined then.
        """
        numbers, width = self.numbers, stored.itemsize
        file = self._data.file if self._fetched is None else None
        if file is None or self.stop - self.start < limits().native_least or numbers.stop > len(self.baskets.ranges):
            return False
        if stored.newbyteorder("=") != out.dtype or (width > 1 and stored.isnative) or (mine := tools()) is None:
            return False
        if offsets is not None and (offsets[0] or offsets.dtype != np.int64 or not offsets.flags.c_contiguous):
            return False
        rows, longest, skipped = self._rows(offsets, len(out) // many)
        if rows is None or longest > LARGEST_ROOM:
            return False
        if skipped:
            out[...] = 0
        wanted = LIKELY_ROOM
        while 0 < wanted <= LARGEST_ROOM:
            packed, inside = self._scratch.room("packed", longest), self._scratch.room("unpacked", wanted)
            frame = {
                "file": file,
                "packed": packed.ctypes.data,
                "unpacked": inside.ctypes.data,
                "room": len(inside),
                "number": width,
                "item": width * many,
                "offsets": 0 if offsets is None else offsets.ctypes.data,
                "out": out.ctypes.data,
            }
            wanted = read_baskets(rows, frame, mine)
        if wanted == 0:
            self.skipped_bytes = skipped
        return wanted == 0

    def _rows(self, offsets: Array | None, items: int) -> tuple[list[int] | None, int, int]:
        """The rows of baskets for `read_baskets`, the bytes of the longest, and of those that are skipped.

        None if the offsets of the entries are not those of so many items.
        """
        rows: list[int] = []
        longest = skipped = 0
        edges, ranges = self.baskets.edges, self.baskets.ranges
        for number in self.numbers:
            place, end = ranges[number]
            if self._selected_before is not None and self.is_skipped(number):
                skipped += end - place
                continue
            before, after = edges[number], edges[number + 1]
            begin, stop = max(before, self.start), min(after, self.stop)
            entry, last = begin - self.start, stop - self.start
            item, behind = (entry, last) if offsets is None else (int(offsets[entry]), int(offsets[last]))
            if not 0 <= item <= behind <= items:
                return None, 0, 0
            rows += place, end - place, after - before, begin - before, stop - before, entry, item, behind - item
            if self.is_shared(number):
                whole = self._content(number)
                rows += whole.bytes.ctypes.data, len(whole.bytes), whole.border, whole.length
            else:
                rows += 0, 0, 0, 0
                longest = max(longest, end - place)
        return rows, longest, skipped

    def __iter__(self) -> Iterator[Basket]:
        """The content of each basket, in order."""
        edges, ranges = self.baskets.edges, self.baskets.ranges
        for number in self.numbers:
            self.number = number
            entry, after = edges[number], edges[number + 1]
            if number >= len(ranges):
                embedded = self._embedded()
                _check_table(embedded.offsets, after - entry)
                basket = Basket(entry, after - entry, embedded.content, embedded.offsets, 0)
            elif self.is_skipped(number):
                self.skipped_bytes += ranges[number][1] - ranges[number][0]
                basket = Basket(entry, after - entry, NOWHERE, None, 0, skipped=True)
            else:
                basket = _basket(self._content(number), entry, after - entry)
            basket.first = self.start - entry if entry < self.start else 0
            basket.last = (self.stop if self.stop < after else after) - entry
            yield basket

    def _content(self, number: int) -> Content:
        """The content of a basket, which may be overwritten by that of the next unless it is shared."""
        self.number = number
        entry, after = self.baskets.edges[number : number + 2]
        if self._share is None or not self.is_shared(number):
            start, stop = self.baskets.ranges[number]
            data = self._read(number, self._scratch.take("packed", stop - start if self._fetched is None else 0))
            return _content(data, after - entry, partial(self._scratch.take, "unpacked"))
        if number not in self._known:
            place = self.baskets.ranges[number][0]

            def decode() -> Content:
                told = self._share.promised(place) if self._share and self._data.together else None
                data = self._read(number, NOWHERE) if told is None else memoryview(told)
                found = _content(data, after - entry, lambda size: np.empty(size, np.uint8))
                return replace(found, bytes=found.bytes.copy()) if self._fetched is not None else found  # and no more

            asked = min(after, self.stop) - max(entry, self.start)
            self._known[number] = self._share.get(place, (asked, after - entry), decode)
        return self._known[number]

    def _read(self, number: int, room: Array) -> memoryview:
        if self._fetched is not None and number in self._fetched:
            return self._fetched[number]
        return self._data.read(*self.baskets.ranges[number], room)

    def is_shared(self, number: int) -> bool:
        """Whether a basket is decoded for other ranges too: it has entries outside this one, and is large."""
        if self._share is None or number >= len(self.baskets.ranges):
            return False
        start, stop = self.baskets.ranges[number]
        entry, after = self.baskets.edges[number : number + 2]
        return (entry < self.start or after > self.stop) and stop - start >= limits().basket_shared

    def label(self) -> str:
        """The name in messages of the basket that is being read."""
        return label(self.baskets, self.number)

    def _embedded(self) -> Embedded:
        return self.baskets.embedded[self.number - len(self.baskets.ranges)]


def label(baskets: Baskets, number: int) -> str:
    """The name of a basket in messages."""
    where = f" at byte {baskets.ranges[number][0]}" if number < len(baskets.ranges) else " in the metadata"
    return f"basket {number}{where}"


def _content(data: memoryview, entries: int, allocate: Callable[[int], Array]) -> Content:
    length, total, size, border = key_of(data, entries)
    if total - length == size:
        return Content(np.frombuffer(data, np.uint8, size, length), border, length)
    return Content(decompress(data[length:total], size, allocate), border, length)


def _basket(content: Content, entry: int, entries: int) -> Basket:
    whole, border = content.bytes, content.border
    size = len(whole)
    if border == size:
        return Basket(entry, entries, whole, None, 0)
    if (size - border) % 4:
        raise BasketError(f"{size - border} bytes follow its data, which is no table")
    table = whole[border:].view(STORED)
    if len(table) != entries + 2:
        _check_table(table[1:], entries)
    if table[0] != entries + 1:
        raise BasketError(f"its table says that it has {table[0]} offsets, but {entries} entries have {entries + 1}")
    return Basket(entry, entries, whole[:border], table[1:], content.length)


def _check_table(table: Array | None, entries: int) -> None:
    if table is not None and len(table) != entries + 1:
        raise BasketError(f"its table has {len(table)} offsets, but {entries} entries have {entries + 1}")


def fetch(data: Bytes, wanted: Sequence[tuple[Baskets, Sequence[int]]]) -> list[dict[int, memoryview]]:
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
        raise BasketError(f"{label(wanted[which][0], number)}: {error}") from error
    for (which, number), piece in zip(places, pieces, strict=True):
        found[which][number] = piece
    return found

"""The elements of RNTuple columns: pages read, checked, unpacked and decoded into the final array.

A *physical* column is a sequence of elements in each cluster: numbers, bits, or the ends of lists. It may be stored in
several encodings (its *representations*), one in each cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import xxhash

from hepgraph.io.access.ranges import Bytes, Range, ShortFile
from hepgraph.io.native.buffers import pool, scratch
from hepgraph.io.native.codecs import BlockError
from hepgraph.io.native.libraries import tools
from hepgraph.io.native.loops import adder, address
from hepgraph.io.native.shared import Promises, Share
from hepgraph.io.rntuple.encodings import BYTE, Encoding
from hepgraph.io.rntuple.fused_pages import WantedPages, read_pages, rows_of
from hepgraph.io.rntuple.pagebytes import BATCH, decompressed_page, ordered, target_or_scratch
from hepgraph.io.rntuple.pagelist import CHECKSUM, PageError, PageList, Pages
from hepgraph.io.rntuple.unsplit import unsplitter
from hepgraph.limits import limits

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Physical:
    """A column of a field: its representations by their index in the file, the default one first.

    `first` is the first element that was written, more than 0 if the column was added to the RNTuple later.
    """

    representations: Mapping[int, Encoding]
    first: int = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        return next(iter(self.representations.values())).dtype


@dataclass(frozen=True, slots=True)
class PagePart:
    """Elements of a column in one cluster; `total` is the number that it should have, `before` that of earlier ones.

    Both are known of elements that are not inside lists: only of those may a column miss some, which are then zero.
    `final` elements of lists are the last ones that the cluster has of them, by the ends of the lists.
    """

    cluster: int
    first: int
    last: int
    total: int | None = None
    before: int = 0
    final: bool = False

    def __len__(self) -> int:
        return self.last - self.first


@dataclass(slots=True)
class SelectedElements:
    """The elements of the entries that an entry mask selects; `skipped_bytes` counts the bytes of pages without any.

    `selected_before` has the number of selected entries before each one; `lists` lead from entries to elements.
    """

    selected_before: Array
    lists: Sequence[Array] = ()
    skipped_bytes: int = 0
    _bounds: Array | None = None

    def skip(self, ranges: Sequence[Range]) -> None:
        """Counts the bytes of pages that are not read."""
        self.skipped_bytes += sum([stop - start for start, stop in ranges])

    def any(self, first: int, last: int) -> bool:
        """Whether any of the entries that the elements from `first` to `last` belong to is selected."""
        if self.lists:
            if self._bounds is None:
                self._bounds = self.lists[0]
                for offsets in self.lists[1:]:
                    self._bounds = offsets[self._bounds]
            first = int(np.searchsorted(self._bounds, first, side="right")) - 1
            last = int(np.searchsorted(self._bounds, last, side="left"))
        return bool(self.selected_before[first] != self.selected_before[last])


class Destination(NamedTuple):
    """The array that the elements of a part are copied to; the first is the `at`-th of all that are wanted.

    Ends of lists are counted from `begin`; the first `again` of them were read for the range before, too.
    """

    out: Array
    at: int = 0
    begin: int = 0
    again: int = 0


PageKey: TypeAlias = tuple[int, int, int]  # of a cluster, the index of a representation, and a page
Stored: TypeAlias = tuple[int, Pages, Encoding]  # the index of a representation, its pages in a cluster, its encoding


@dataclass(slots=True)
class PageReader:
    """Reads elements of physical columns; for one thread at a time.

    Large pages that a range has only a part of are shared with other ranges, if there is a `share`.
    """

    lists: PageList
    bytes: Bytes
    share: Share | None = None
    fetched: dict[int, memoryview] = field(default_factory=dict)
    _known: dict[tuple[int, int], Stored | None] = field(default_factory=dict)

    def prefetch(self, wanted: Sequence[tuple[Physical, Sequence[PagePart], SelectedElements | None]]) -> None:
        """Reads the pages of several columns with selected elements in one go, if the file is remote.

        Those that another range reads for all of them are left out.
        """
        if not self.bytes.together:
            return
        ranges: set[Range] = set()
        promised: dict[PageKey, int] = {}
        with Promises(self.share) as promises:
            for column, parts, selection in wanted:
                at = 0
                for part in parts:
                    stored = self._stored(column, part.cluster)
                    if stored is not None:
                        index, pages, encoding = stored
                        low = part.first - self._missing(column, part)
                        high = low + len(part)
                        every = WantedPages(
                            part.cluster, index, encoding, pages, _between(pages, low, high), low, high, 0
                        )
                        for page in _selected(every, at, selection):
                            place, key = _range(pages, page), (part.cluster, index, page)
                            if self._is_shared(every, page):
                                if not promises.claim(key, int(pages.starts[page + 1] - pages.starts[page])):
                                    continue
                                promised[key] = place[0]
                            ranges.add(place)
                    at += len(part)
            missing = sorted((start, stop) for start, stop in ranges if start not in self.fetched)
            if missing:
                self.fetched |= {start: data for (start, _), data in zip(missing, self._fetch(missing), strict=True)}
            for key, start in promised.items():
                promises.fulfil(key, self.fetched[start])

    def about(self, column: Physical, part: PagePart) -> list[Range]:
        """Where the elements of some entries would be if all entries of the cluster had equally many."""
        stored = self._stored(column, part.cluster)
        if stored is None or not part.total:
            return []
        _, pages, _ = stored
        low, high = pages.elements * part.first // part.total, -(-pages.elements * part.last // part.total)
        return [_range(pages, page) for page in _between(pages, low, high)]

    def all_of(self, column: Physical, cluster: int) -> PagePart:
        """All elements that a cluster has of a column."""
        stored = self._stored(column, cluster)
        return PagePart(cluster, 0, 0 if stored is None else stored[1].elements)

    def elements(
        self,
        column: Physical,
        parts: Sequence[PagePart],
        dtype: np.dtype[Any] | None = None,
        selection: SelectedElements | None = None,
    ) -> Array:
        """The elements of some parts, one part after the other; zeros for those of pages without selected ones."""
        dtype = column.dtype if dtype is None else dtype
        self._check(column, parts)
        out = pool.take(sum(map(len, parts)), dtype)
        at, others = 0, []
        for part in parts:
            to = Destination(out[at : at + len(part)], at)
            wanted = self._wanted(column, part, to, selection)
            if wanted is not None:
                own, _, _ = self._read_shared(column, wanted, to)
                others += [own._replace(at=own.at + at)] if own.numbers else []
            at += len(part)
        if len({each.encoding for each in others}) == 1 and not others[0].encoding.delta:
            self._read_pages(column, others, out)  # of all clusters at once
        else:
            for each in others:
                self._read_pages(column, [each], out)
        return out

    def offsets(self, column: Physical, parts: Sequence[PagePart]) -> tuple[Array, list[PagePart]]:
        """The offsets of the lists in some parts, from 0 and through all parts, and the elements that they hold."""
        self._check(column, parts)
        out = pool.take(sum(map(len, parts)) + 1, np.dtype(np.int64))
        out[0] = 0
        inside, at = [], 1
        for part in parts:
            before, start, place = int(out[at - 1]), 0, out[at - 1 : at + len(part)]
            if part.first and len(part):  # the last end before them is where they start
                more = PagePart(part.cluster, part.first - 1, part.last, part.total, part.before)
                rising = self._read_ends(column, more, Destination(place, again=1))
                start = int(place[0])
                place += before - start
            else:
                rising = self._read_ends(column, part, Destination(place[1:], begin=before)) and before <= place[1]
            if start < 0 or not (rising or (place[:-1] <= place[1:]).all()):
                raise PageError(f"the ends of lists decrease in {self._name(column, part.cluster)}")
            final = len(part) > 0 and (part.final or part.last == part.total)
            inside.append(PagePart(part.cluster, start, start + int(place[-1]) - before, final=final))
            at += len(part)
        return out, inside

    def same(self, column: Physical, parts: Sequence[PagePart]) -> tuple[object, ...]:
        """A key that is equal for two columns only if they are in the same pages of the file.

        ROOT writes equal pages once: the offsets of `Jet_pt` and `Jet_eta` may be different columns in the same place.
        """
        found: list[object] = [column.first]
        for part in parts:
            stored = self._stored(column, part.cluster)
            if stored is not None:
                _, pages, encoding = stored
                found += [encoding, pages.offsets.tobytes(), pages.sizes.tobytes(), pages.starts.tobytes()]
            found.append(part.cluster)
        return tuple(found)

    def check(self, column: Physical, cluster: int) -> None:
        """Raises if a page of a column in a cluster does not have the checksum that it should have."""
        stored = self._stored(column, cluster)
        if stored is not None:
            for _ in self._pages(column, cluster, stored[1], _between(stored[1], 0, stored[1].elements)):
                pass

    def _name(self, column: Physical, cluster: int) -> str:
        stored = self._stored(column, cluster)
        index, encoding = next(iter(column.representations.items())) if stored is None else (stored[0], stored[2])
        return f"cluster {cluster}, column {index} ({encoding.name})"

    def _stored(self, column: Physical, cluster: int) -> Stored | None:
        """The representation that is used in a cluster; None if the column was added after it."""
        key = next(iter(column.representations)), cluster
        if key not in self._known:
            self._known[key] = self._used(column, cluster)
        return self._known[key]

    def _used(self, column: Physical, cluster: int) -> Stored | None:
        found = []
        for index, encoding in column.representations.items():
            pages = self.lists.pages(cluster, index)
            if pages is not None and not pages.suppressed:
                found.append((index, pages, encoding))
        if len(found) == 1:
            return found[0]
        if not found and all(self.lists.pages(cluster, index) is None for index in column.representations):
            return None
        which = ", ".join(map(str, column.representations))
        raise PageError(f"cluster {cluster} has {len(found)} representations in use, of columns {which}, not one")

    def _missing(self, column: Physical, part: PagePart) -> int:
        """The number of elements of a cluster that come before the first that was written."""
        stored = self._stored(column, part.cluster)
        if part.total is None:
            return 0
        missing = part.total - (0 if stored is None else stored[1].elements)
        expected = min(max(column.first - part.before, 0), part.total)
        if missing != expected:
            raise PageError(
                f"{part.total - missing} elements in {self._name(column, part.cluster)}, not {part.total - expected}"
            )
        return missing

    def _check(self, column: Physical, parts: Sequence[PagePart]) -> None:
        """Raises if the elements are not there, or cannot be held, before a place for them is made."""
        for part in parts:
            stored, missing = self._stored(column, part.cluster), self._missing(column, part)
            there = missing + (0 if stored is None else stored[1].elements)
            if not 0 <= part.first <= part.last <= there:
                raise PageError(
                    f"elements {part.first} to {part.last} wanted of the {there} in {self._name(column, part.cluster)}"
                )
            if part.final and part.last != there:
                raise PageError(
                    f"{self._name(column, part.cluster)} has {there} elements, and its lists have {part.last} of them"
                )

    def _read_ends(self, column: Physical, part: PagePart, to: Destination) -> bool:
        """Reads the ends of lists of a part; whether they are known never to decrease."""
        wanted = self._wanted(column, part, to)
        if wanted is None:
            return False
        others, shared, rising = self._read_shared(column, wanted, to)
        if others.numbers:
            rising = self._read_pages(column, [others], to.out, to.begin) and rising
        seams = {edge for place in shared for edge in (place.start, place.stop)}
        return rising and not wanted.at and all(to.out[at - 1] <= to.out[at] for at in seams if 0 < at < len(to.out))

    def _wanted(
        self, column: Physical, part: PagePart, to: Destination, selection: SelectedElements | None = None
    ) -> WantedPages | None:
        """The pages with selected elements of a part, None if there are none; fills in all that is on no page."""
        missing = self._missing(column, part)
        low, high = part.first - missing, part.last - missing
        unwritten = min(max(-low, 0), len(to.out))
        to.out[:unwritten] = to.begin
        stored, low = self._stored(column, part.cluster), max(low, 0)
        if stored is None or low >= high:
            return None
        index, pages, encoding = stored
        if not np.can_cast(encoding.dtype, to.out.dtype):
            raise NotImplementedError(f"{self._name(column, part.cluster)}: not stored as {to.out.dtype} as elsewhere")
        every = WantedPages(part.cluster, index, encoding, pages, _between(pages, low, high), low, high, unwritten)
        numbers = _selected(every, to.at + unwritten, selection)
        if selection is not None and len(numbers) < len(every.numbers):
            to.out[unwritten:] = 0
            selection.skip([_range(pages, page) for page in set(every.numbers).difference(numbers)])
        return every._replace(numbers=numbers)

    def _read_shared(
        self, column: Physical, wanted: WantedPages, to: Destination
    ) -> tuple[WantedPages, list[slice], bool]:
        """Reads the pages that are shared with other ranges.

        Gives the other pages, the places of those that were read, and whether each is known never to decrease.
        """
        shared = [page for page in wanted.numbers if self._is_shared(wanted, page, to.again)]
        rising = [self._read_shared_page(column, wanted, page, to) for page in shared]
        others = [page for page in wanted.numbers if page not in shared]
        return wanted._replace(numbers=others), [wanted.target(page) for page in shared], all(rising)

    def _read_shared_page(self, column: Physical, wanted: WantedPages, page: int, to: Destination) -> bool:
        """Copies what is wanted of a page that is decompressed once for all ranges, as `ordered` does."""
        assert self.share is not None
        start, stop = int(wanted.pages.starts[page]), int(wanted.pages.starts[page + 1])
        first, last = max(wanted.low, start), min(wanted.high, stop)
        asked = last - max(first, wanted.low + to.again)
        key = wanted.cluster, wanted.representation, page
        decode = partial(self._unpacked_page, column, wanted.cluster, page)
        data = self.share.get(key, (asked, stop - start), decode)
        return ordered(wanted.encoding, data, first - start, to.out[wanted.target(page)], to.begin)

    def _is_shared(self, wanted: WantedPages, page: int, again: int = 0) -> bool:
        """Whether a page is decoded for other ranges too: it is large, and has elements that are not wanted here.

        One of which no more than the first elements, `again`, are wanted is left to the ranges before.
        """
        start, stop = wanted.pages.starts[page], wanted.pages.starts[page + 1]
        whole = start >= wanted.low and stop <= wanted.high
        if self.share is None or whole or stop <= wanted.low + again:
            return False
        return bool((stop - start) * wanted.encoding.bits >= 8 * limits().page_shared)

    def _unpacked_page(self, column: Physical, cluster: int, page: int) -> Array:
        """The bytes of a page, decompressed, in memory of their own."""
        stored = self._stored(column, cluster)
        assert stored is not None
        _, pages, encoding = stored
        size = encoding.bytes(int(pages.starts[page + 1] - pages.starts[page]))
        out = pool.take(size, np.dtype(np.uint8))
        whole = WantedPages(cluster, stored[0], BYTE, pages.bytes_of(page, size), [0], 0, size, 0)
        if size >= limits().native_least and self._read_fused([whole], out):
            return out
        start = int(pages.offsets[page])
        if self.bytes.together and self.share is not None and start not in self.fetched:
            told = self.share.promised((cluster, stored[0], page))
            if told is not None:
                self.fetched[start] = memoryview(told)
        ((_, packed),) = self._pages(column, cluster, pages, [page])
        with self._naming(column, cluster, page):
            data = decompressed_page(packed, size, lambda wanted: np.empty(wanted, np.uint8))
        return data.copy() if len(packed) == size else data

    @contextmanager
    def _naming(self, column: Physical, cluster: int, page: int) -> Iterator[None]:
        try:
            yield
        except (BlockError, PageError) as error:
            raise PageError(f"page {page} of {self._name(column, cluster)}: {error}") from None

    def _read_pages(self, column: Physical, wanted: Sequence[WantedPages], out: Array, begin: int = 0) -> bool:
        """Reads pages of one encoding, in one native call if possible; whether they are known never to decrease."""
        encoding = wanted[0].encoding
        if sum([each.high - each.low for each in wanted]) >= limits().native_least and self._read_fused(
            wanted, out, begin
        ):
            if encoding.delta or not begin:
                return encoding.delta
            for each in wanted:
                out[each.target(each.numbers[0]).start : each.target(each.numbers[-1]).stop] += begin
            return False
        for each in wanted:
            self._read_one_by_one(column, each, out, begin)
        return False

    def _read_one_by_one(self, column: Physical, wanted: WantedPages, out: Array, begin: int) -> None:
        starts, encoding = wanted.pages.starts, wanted.encoding
        for page, packed in self._pages(column, wanted.cluster, wanted.pages, wanted.numbers):
            place, size = out[wanted.target(page)], encoding.bytes(int(starts[page + 1] - starts[page]))
            target = place.view(np.uint8) if encoding.plain(place.dtype) and place.nbytes == size else None
            with self._naming(column, wanted.cluster, page):
                data = decompressed_page(packed, size, partial(target_or_scratch, target))
            if data is not target:
                ordered(encoding, data, max(wanted.low - int(starts[page]), 0), place, begin)
            elif begin:
                place += begin

    def _read_fused(self, wanted: Sequence[WantedPages], out: Array, begin: int = 0) -> bool:
        """Reads, decompresses and decodes pages of one encoding in one native call.

        Ends of lists are counted from `begin`, and never decrease then. Returns False where that cannot be done or
        fails: `out` is undefined then.
        """
        encoding = wanted[0].encoding
        made = np.dtype(np.int64) if encoding.delta else encoding.dtype
        if self.bytes.file is None or made != out.dtype or encoding.real or encoding.bits == 1:
            return False
        if (mine := tools()) is None:
            return False
        width = encoding.dtype.itemsize
        rows, most, longest = rows_of(wanted, encoding.plain(out.dtype))
        if max(most, longest) > limits().page_largest:
            return False
        packed, inside = scratch.take("packed", max(most, CHECKSUM)), scratch.take("unpacked", longest)
        steps = scratch.take("steps", longest if encoding.delta else 0)
        frame = {
            "file": self.bytes.file,
            "packed": packed.ctypes.data,
            "unpacked": inside.ctypes.data,
            "out": out.ctypes.data,
            "width": width,
            "loop": address(unsplitter(width, encoding.zigzag)) if encoding.split else 0,
            "steps": steps.ctypes.data,
            "add_up": address(adder(encoding.dtype)) if encoding.delta else 0,
            "begin": begin,
        }
        return read_pages(rows, frame, mine)

    def _pages(
        self, column: Physical, cluster: int, pages: Pages, wanted: Sequence[int]
    ) -> Iterator[tuple[int, memoryview]]:
        """Some pages, as they are in the file, each found to be as its checksum says."""
        for some in self._batches(pages, wanted):
            ranges = [_range(pages, page) for page in some]
            try:
                found = self._fetch(ranges)
            except ShortFile as error:
                raise PageError(f"page {some[error.index]} of {self._name(column, cluster)}: {error}") from error
            for page, data in zip(some, found, strict=True):
                if pages.checked[page]:
                    data, checksum = data[:-CHECKSUM], data[-CHECKSUM:]
                    if xxhash.xxh3_64_intdigest(data) != int.from_bytes(checksum, "little"):
                        raise PageError(f"page {page} of {self._name(column, cluster)}: its checksum is wrong")
                yield page, data

    def _batches(self, pages: Pages, some: Sequence[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        size = 0
        for page in some:
            if batch and page != batch[-1] + 1 and not self.bytes.together:  # what is between them is passed over
                yield batch
                batch, size = [], 0
            batch.append(page)
            size += int(pages.sizes[page])
            if size >= BATCH and not self.bytes.together:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _fetch(self, ranges: Sequence[Range]) -> list[memoryview]:
        """The bytes of some ranges, which may be the same or overlap (equal pages are written once)."""
        if all(start in self.fetched for start, _ in ranges):
            return [self.fetched[start][: stop - start] for start, stop in ranges]
        return self.bytes.fetch(ranges, partial(scratch.take, "packed"))


def _range(pages: Pages, page: int) -> Range:
    start = int(pages.offsets[page])
    return start, start + int(pages.sizes[page]) + (CHECKSUM if pages.checked[page] else 0)


def _between(pages: Pages, low: int, high: int) -> range:
    """The pages with elements `low` to `high`."""
    low, high = max(low, 0), min(high, pages.elements)
    if low >= high:
        return range(0)
    first = int(pages.starts.searchsorted(low, side="right")) - 1
    return range(first, int(pages.starts.searchsorted(high)))


def _selected(wanted: WantedPages, at: int, selection: SelectedElements | None) -> Sequence[int]:
    """Those of the wanted pages with selected elements; element `low`, or 0, is the `at`-th of all that are wanted."""
    if selection is None:
        return wanted.numbers
    shift, starts = at - wanted.low, wanted.pages.starts.tolist()
    return [
        page for page in wanted.numbers
        if selection.any(max(starts[page], wanted.low) + shift, min(starts[page + 1], wanted.high) + shift)
    ]  # fmt: skip

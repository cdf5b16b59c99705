"""Pages of a column in one native call: read from a local file, checked, decompressed, decoded, copied into place.

What it does, and what it leaves to it, is defined by `pages`; see `native.fused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hepgraph.io.access.ranges import LOCAL_GAP
from hepgraph.io.native.fused import call_rows
from hepgraph.io.native.libraries import Tools
from hepgraph.io.rntuple.encodings import Encoding
from hepgraph.io.rntuple.pagebytes import BATCH
from hepgraph.io.rntuple.pagelist import CHECKSUM, Pages
from hepgraph.limits import limits

NOWHERE = 1 << 62  # a place in a file that nothing follows
DIRECT = -1  # where a page is that need not be in what was read

# The numbers of a row, for one page: the bytes to be read for it and for pages that follow, none if they were read
# before, and where these are in the file; where it is in what was read, its bytes, whether a checksum follows them, and
# its bytes decompressed; its elements, the first that is wanted, the number of those wanted, and that of others before
# them. `at` is DIRECT for a page that is stored as its elements are in memory, and is read into their place: all of it,
# or, where no checksum follows, what is wanted.
ROW = ("more", "place", "at", "bytes", "checked", "size", "elements", "first", "number", "before")


class WantedPages(NamedTuple):
    """Pages of a column in a cluster, by their `numbers`: elements `low` to `high` are wanted, the first at `at`."""

    cluster: int
    representation: int
    encoding: Encoding
    pages: Pages
    numbers: Sequence[int]
    low: int
    high: int
    at: int

    def target(self, page: int) -> slice:
        """Where the wanted elements of a page go."""
        start, stop = int(self.pages.starts[page]), int(self.pages.starts[page + 1])
        return slice(self.at + max(start, self.low) - self.low, self.at + min(stop, self.high) - self.low)


def rows_of(wanted: Sequence[WantedPages], plain: bool) -> tuple[list[int], int, int]:
    """A row for each page of some parts of one encoding; the most that is read at once, and the longest page.

    It is `plain` if its elements are stored as they are wanted in memory.
    """
    width = wanted[0].encoding.dtype.itemsize
    rows: list[int] = []
    run = most = longest = head = 0
    end, alone = NOWHERE, limits().page_alone
    for each in wanted:
        pages, low, high = each.pages, each.low, each.high
        for page in each.numbers:
            start, stop, place = int(pages.starts[page]), int(pages.starts[page + 1]), int(pages.offsets[page])
            stored, checked = int(pages.sizes[page]), bool(pages.checked[page])
            first = max(low - start, 0)
            number, size = min(high, stop) - start - first, (stop - start) * width
            after = place + stored + CHECKSUM * checked
            if plain and stored == size >= alone and (number == stop - start or not checked):
                more, at, end = 0, DIRECT, NOWHERE
            elif 0 <= place - end <= LOCAL_GAP and after - run <= BATCH:
                rows[head] = after - run
                more, at, end = 0, place - run, after
            else:
                head, run, more, at, end = len(rows), place, after - place, 0, after
            if at != DIRECT:
                most, longest = max(most, after - run), max(longest, size)
            rows += more, place, at, stored, checked, size
            rows += stop - start, first, number, each.at + start + first - low
    return rows, most, longest


def read_pages(rows: list[int], frame: dict[str, int], tools: Tools) -> bool:
    """Reads some pages, checks and decodes them, and copies what is wanted into place; a row of ROW for each.

    Returns False where that cannot be done or fails.

    The frame has the number of the open file; where the most that is read at once and the longest page when
    decompressed can go to, and all elements in the end. `loop` puts numbers of `width` bytes in order, as `unsplit`
    does; it is 0 where they are stored as they are in memory. Where `add_up` is not 0, it adds up what that makes, for
    which there is room in `steps`, and begins with `begin`; ends that decrease are a failure.
    """
    return call_rows("read_pages", _READ_PAGE, rows, ROW, frame, tools) == 0


# As `PageReader._pages` and `ordered`.
_READ_PAGE = f"""
def sound(frame, data, size, checksum):
    return invoke("i64 i64 i64", frame.xxh3, data, size) == checksum.i64[0]

def filled(frame, row, to, begin, stretch):
    if not read(frame, row.place + begin, stretch, to):
        return 0
    if not row.checked:
        return 1
    behind = row.place + row.bytes
    return read(frame, behind, {CHECKSUM}, frame.packed) and sound(frame, to, row.bytes, frame.packed)

def summed(frame, row, content):
    last = row.first + row.number
    invoke("i64 i64 i64 i64 i64", frame.loop, content, frame.steps, row.elements, last)
    ends = frame.out + 8 * row.before
    if invoke("i64 i64 i64 i64 i64 i64", frame.add_up, frame.steps, ends, row.first, last, frame.begin):
        return 0
    return row.before == 0 or ends.i64[-1] <= ends.i64[0]

def read_one(frame, row):
    if row.checked and not frame.xxh3:
        return -1
    stretch, begin, to = row.number * frame.width, row.first * frame.width, frame.out + row.before * frame.width
    if row.at == {DIRECT}:
        return 0 if filled(frame, row, to, begin, stretch) else -1
    if row.more and not read(frame, row.place, row.more, frame.packed):
        return -1
    content = frame.packed + row.at
    if row.checked and not sound(frame, content, row.bytes, content + row.bytes):
        return -1
    if row.bytes != row.size:
        direct = not frame.loop and row.number == row.elements
        target = to if direct else frame.unpacked
        if row.bytes > row.size or blocks(frame, content, 0, row.bytes, target, row.size) != row.bytes:
            return -1
        if direct:
            return 0
        content = target
    if not frame.loop:
        copy(to, content + begin, stretch)
    elif frame.add_up:
        return 0 if summed(frame, row, content) else -1
    else:
        invoke("i64 i64 i64 i64 i64", frame.loop, content + row.first, to, row.elements, row.number)
    return 0
"""

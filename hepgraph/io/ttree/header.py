"""TTrees whose branches are all plain: what these are, and where their baskets are, off the bytes of the metadata.

uproot, which makes some twenty objects of a branch, defines it: what is not known here is left to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from struct import error as StructError
from typing import Any

import numpy as np

from hepgraph.io.source import Column, Level
from hepgraph.io.trees import Opened
from hepgraph.io.ttree.baskets import Baskets
from hepgraph.io.ttree.leaves import FixedLeaf, Jagged, Leaf, Number

COUNTED, NEW_CLASS, CLASS, OFFSET = 0x40000000, 0xFFFFFFFF, 0x80000000, 2  # of ROOT's TBufferFile
REFERENCED = 0x10  # a bit of TObject, after which there are two bytes more
TREE, BRANCH, LEAF, ARRAY = 20, 13, 2, 3  # versions of classes

_START, _OBJECT, _TAG, _SIZES = Struct(">IH"), Struct(">HII"), Struct(">I"), Struct(">ii")
_TREE, _BRANCH, _BASKETS, _LEAF = Struct(">qqqqqdiiiiIqqqqqq"), Struct(">iiiiq"), Struct(">iIiqqqq"), Struct(">iii??")
# with a sign and without; by sizes, as awkward knows no long long beside NumPy's int64
_TYPES = {
    b"TLeafO": ("?", "?"), b"TLeafB": ("i1", "u1"), b"TLeafS": ("i2", "u2"), b"TLeafI": ("i4", "u4"),
    b"TLeafL": ("i8", "u8"), b"TLeafG": ("i8", "u8"), b"TLeafF": ("f4", "f4"), b"TLeafD": ("f8", "f8"),
}  # fmt: skip
_LISTS = re.compile(r"[^\[\]]*(\[[^\[\]]+\])+")
_LIST = re.compile(r"\[([1-9][0-9]*)\]")


class UnknownHeader(ValueError):
    """Metadata that are left to uproot."""


@dataclass(eq=False, slots=True)
class PlainLeaf:
    """The leaf of a plain branch: its type, the sizes of its items, and the leaf with the lengths of its lists."""

    number: Number
    counter: PlainLeaf | None


@dataclass(frozen=True, slots=True)
class PlainBranch:
    """A plain branch, at a place in the metadata: the entries at which its baskets begin and end, and where these are.

    `places` and `lengths` are those of the baskets, `bytes` and `memory` what they take in the file and decompressed.
    """

    place: int
    name: str
    title: str
    leaf: PlainLeaf
    edges: tuple[int, ...]
    places: Any
    lengths: Any
    bytes: int
    memory: int

    def column(self, counts: str | None) -> Column:
        """The column that it is."""
        levels = (Level(),) * (self.leaf.counter is not None) + tuple(map(Level, self.leaf.number.sizes))
        title = "" if self.title == self.name else self.title
        dtype = self.leaf.number.native
        return Column(self.name, dtype, levels, counts=counts, title=title, bytes=self.bytes, memory=self.memory)

    @property
    def reader(self) -> Leaf:
        """The reader of its entries."""
        return FixedLeaf(self.leaf.number) if self.leaf.counter is None else Jagged(self.leaf.number)

    @property
    def baskets(self) -> Baskets | None:
        """Where its baskets are; None if their table makes no sense."""
        starts, sizes, edges = self.places.tolist(), self.lengths.tolist(), self.edges
        if edges[0] != 0 or any(a > b for a, b in pairwise(edges)) or min(sizes, default=0) < 0:
            return None
        return Baskets(edges, tuple((start, start + size) for start, size in zip(starts, sizes, strict=True)))


class Header:
    """The metadata of a TTree of plain branches, from the bytes of the object, without its key.

    Raises UnknownHeader where there are other branches.
    """

    def __init__(self, data: bytes, key_length: int) -> None:
        self._data, self._shift = data, key_length
        self._seen: dict[int, Any] = {}  # classes and leaves by their place, as references have it
        try:
            self.entries, self.branches = self._tree()
        except (
            StructError,
            LookupError,
            ValueError,
            RecursionError,
        ) as error:  # bytes that make no sense
            raise UnknownHeader(str(error)) from error
        flat = {name: each.leaf for name, each in self.branches.items() if FixedLeaf(each.leaf.number).counts}
        self._names = {leaf: name for name, leaf in flat.items() if leaf.counter is None}

    def columns(self) -> list[Column]:
        """The columns of the tree."""
        return [branch.column(self.counter(branch)) for branch in self.branches.values()]

    def edges(self) -> list[int]:
        """The entries at which baskets of all branches end together."""
        each = [set(branch.edges) for branch in self.branches.values() if len(branch.edges) > 1]
        return sorted(set.intersection(*each)) if each else [0]

    def counter(self, branch: PlainBranch) -> str | None:
        """The name of the branch with the lengths of the lists of another."""
        return None if branch.leaf.counter is None else self._names.get(branch.leaf.counter)

    def _tree(self) -> tuple[int, dict[str, PlainBranch]]:
        at, _, _ = self._named(self._begins(0, TREE)[0])
        for _ in range(3):  # how lines, areas and markers are drawn
            at = self._begins(at)[1]
        numbers = _TREE.unpack_from(self._data, at)
        entries, clusters = int(numbers[0]), int(numbers[10])
        at = self._begins(at + _TREE.size + 2 * (1 + 8 * clusters))[1]
        count, at = self._array(at)
        found: dict[str, PlainBranch] = {}
        totals = set()
        for _ in range(count):
            branch, total, at = self._branch(at)
            if branch.name in found or branch.name.isdigit():
                raise UnknownHeader(f"the name {branch.name!r}")
            found[branch.name] = branch
            totals.add(total)
        if totals and entries not in totals:
            raise UnknownHeader(f"{entries} entries")
        return entries, found

    def _branch(self, at: int) -> tuple[PlainBranch, int, int]:
        """A branch, the number of its entries, and where it ends."""
        place, (kind, at) = at, self._class(at)
        if kind != b"TBranch":
            raise UnknownHeader(f"a {kind!r}")
        at, end = self._begins(at, BRANCH)
        at, name, title = self._named(at)
        at = self._begins(at)[1]
        written = _BRANCH.unpack_from(self._data, at)[3]
        at = self._begins(at + _BRANCH.size)[1]
        _, room, _, entries, _, memory, stored = _BASKETS.unpack_from(self._data, at)
        inner, at = self._array(at + _BASKETS.size)
        leaves, at = self._array(at)
        if inner or leaves != 1:
            raise UnknownHeader(f"{name} of {inner} branches and {leaves} leaves")
        leaf, at = self._leaf(at)
        at = self._begins(at, ARRAY)[1] + 1
        tables = at, at + 4 * room + 1, at + 12 * room + 2
        if tables[2] + 8 * room > end:
            raise UnknownHeader(f"the length of {name}")
        kinds = zip((">i4", ">i8", ">i8"), tables, strict=True)
        lengths, edges, places = (np.frombuffer(self._data, kind, room, where) for kind, where in kinds)
        nowhere = np.flatnonzero(places[:written] == 0)
        full = int(nowhere[0]) if len(nowhere) else min(room, max(written, 0))
        ends = tuple(edges[: full + 1].tolist())
        if len(ends) <= full or ends[-1] != entries:  # some baskets are in the metadata
            raise UnknownHeader(f"the baskets of {name}")
        branch = PlainBranch(place, name, title, leaf, ends, places[:full], lengths[:full], stored, memory)
        return branch, int(entries), end

    def _leaf(self, at: int) -> tuple[PlainLeaf, int]:
        """A leaf, here or one that was met before, and where it ends."""
        begin, tag = at, _TAG.unpack_from(self._data, at)[0]
        if not tag & COUNTED:
            leaf = self._seen.get(tag)
            if not isinstance(leaf, PlainLeaf):
                raise UnknownHeader("a reference")
            return leaf, at + 4
        kind, at = self._class(at)
        if kind not in _TYPES:
            raise UnknownHeader(f"a {kind!r}")
        at, end = self._begins(at, 1)
        at, base = self._begins(at, LEAF)
        at, _, title = self._named(at)
        length, _, _, _, unsigned = _LEAF.unpack_from(self._data, at)
        at += _LEAF.size
        counter, at = self._leaf(at) if _TAG.unpack_from(self._data, at)[0] else (None, at + 4)
        if at != base:
            raise UnknownHeader(f"the length of {title}")
        sizes: tuple[int, ...] = ()
        if "[" in title and _LISTS.match(title):
            sizes = tuple(map(int, _LIST.findall(title))) or ((length,) if length > 1 else ())
        native = np.dtype(_TYPES[kind][unsigned])
        leaf = PlainLeaf(Number(native.newbyteorder(">"), native, sizes), counter)
        self._seen[begin + self._shift + OFFSET] = leaf
        return leaf, end

    def _class(self, at: int) -> tuple[bytes, int]:
        """The class of an object that is written here, and where what it holds begins."""
        count, tag = _TAG.unpack_from(self._data, at)[0], _TAG.unpack_from(self._data, at + 4)[0]
        if not count & COUNTED or count == NEW_CLASS:
            raise UnknownHeader("an object of no length")
        if tag == NEW_CLASS:
            end = self._data.index(b"\0", at + 8)
            new = self._seen[at + 4 + self._shift + OFFSET] = self._data[at + 8 : end]
            return new, end + 1
        kind = self._seen.get(tag & ~CLASS) if tag & CLASS else None
        if not isinstance(kind, bytes):
            raise UnknownHeader("a reference")
        return kind, at + 8

    def _begins(self, at: int, wanted: int | None = None) -> tuple[int, int]:
        """Where the members of a class begin, after its version, and where they end."""
        count, version = _START.unpack_from(self._data, at)
        if not count & COUNTED or (wanted is not None and version != wanted):
            raise UnknownHeader(f"version {version}")
        return at + _START.size, at + 4 + (count & ~COUNTED)

    def _named(self, at: int) -> tuple[int, str, str]:
        """Where a TNamed ends, its name and its title."""
        at, end = self._begins(at, 1)
        name, at = self._text(self._object(at))
        title, at = self._text(at)
        if at != end:
            raise UnknownHeader(f"the length of {name}")
        return end, name, title

    def _object(self, at: int) -> int:
        """Where a TObject ends."""
        version, _, bits = _OBJECT.unpack_from(self._data, at)
        if version != 1:
            raise UnknownHeader(f"version {version}")
        return at + _OBJECT.size + 2 * bool(bits & REFERENCED)

    def _text(self, at: int) -> tuple[str, int]:
        size, at = self._data[at], at + 1
        if size == 255:
            size, at = _TAG.unpack_from(self._data, at)[0], at + 4
        return self._data[at : at + size].decode(errors="surrogateescape"), at + size

    def _array(self, at: int) -> tuple[int, int]:
        """The number of objects in a TObjArray, and where they begin."""
        at = self._text(self._object(self._begins(at, ARRAY)[0]))[1]
        return int(_SIZES.unpack_from(self._data, at)[0]), at + _SIZES.size


def header_of(opened: Opened) -> Header | None:
    """The metadata of an open tree, read once; None if they are left to uproot."""
    if opened.header is ...:
        opened.header = None
        if opened.kind == "TTree":
            key = opened.file.key(opened.name)
            chunk, _ = key.get_uncompressed_chunk_cursor()
            try:
                opened.header = Header(bytes(chunk.raw_data), key.fKeylen)
            except UnknownHeader:  # uproot reads it
                return None
    return opened.header  # type: ignore[no-any-return]

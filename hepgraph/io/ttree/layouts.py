"""Layouts of trees, worked out once and kept for every later range of the same file, in any thread.

A layout holds, for each branch that was asked for, the places of its baskets and how they are laid out. With it, a
local file is read without uproot and without a handle of uproot's.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from hepgraph.disk.plain import plain
from hepgraph.errors import MissingColumnError
from hepgraph.io.access.handles import Known, Stamp
from hepgraph.io.trees import Opened
from hepgraph.io.ttree.baskets import Baskets
from hepgraph.io.ttree.header import Header, header_of
from hepgraph.io.ttree.leaves import FixedLeaf, Leaf
from hepgraph.io.ttree.nested import nested_of


@plain
@dataclass(frozen=True, slots=True)
class Branch:
    """A branch that hepgraph reads itself; `counter` is the branch with the lengths of its lists, if there is one."""

    name: str
    baskets: Baskets
    leaf: Leaf
    counter: Branch | None = None


@plain
@dataclass(slots=True)
class Layout:
    """The branches of a tree that were asked for, by column: None for one that only uproot can read.

    `known` are the same by their place in the metadata, and those that count them.
    """

    stamp: Stamp
    uuid: str
    entries: int
    branches: dict[str, Branch | None] = field(default_factory=dict)
    known: dict[int, Branch | None] = field(default_factory=dict)

    def add(self, columns: Iterable[str], opened: Opened) -> None:
        """Works out the branches of these columns from an open tree."""
        if (header := header_of(opened)) is not None:
            for column in columns:
                if column not in header.branches:
                    raise MissingColumnError(f"No branch for column {column!r} in tree {opened.name!r}.")
                self.branches[column] = self._plain(column, header)
            return
        if opened.layout is None:
            opened.layout = leaf_branches(opened.tree)
        for column in columns:
            name = branch_name(column, opened.layout, opened.name)
            self.branches[column] = self._branch(name, opened.layout[name]) if name == column else None

    def _plain(self, name: str, header: Header) -> Branch | None:
        """A plain branch, made once: it may count several others."""
        branch = header.branches[name]
        if branch.place not in self.known:
            baskets, counts = branch.baskets, header.counter(branch)
            self.known[branch.place] = None
            if baskets is not None and baskets.edges[-1] == self.entries:
                counter = None if counts is None else self._plain(counts, header)
                self.known[branch.place] = Branch(name, baskets, branch.reader, counter)
        return self.known[branch.place]

    def _branch(self, name: str, branch: Any) -> Branch | None:
        """A branch, made once: it may count several others."""
        place = int(branch.cursor.index)
        if place not in self.known:
            self.known[place] = None  # also to branches that it counts, in a damaged file
            leaf = nested_of(branch)
            if leaf is not None and (baskets := self._baskets(branch)) is not None:
                self.known[place] = Branch(name, baskets, leaf, self._counter(leaf, branch.count_branch))
        return self.known[place]

    def _counter(self, leaf: Leaf, counter: Any) -> Branch | None:
        """The branch that counts the lists of another, if there are lists and it does."""
        found = None if isinstance(leaf, FixedLeaf) or counter is None else self._branch(counter.name, counter)
        return found if found is not None and isinstance(found.leaf, FixedLeaf) and found.leaf.counts else None

    def _baskets(self, branch: Any) -> Baskets | None:
        try:
            baskets = Baskets.of(branch)
        except ValueError:
            return None  # uproot says what is wrong with it
        return baskets if baskets.edges[-1] == self.entries else None


class Layouts:
    """The layouts of the files met last, at most `limit` of them."""

    def __init__(self, limit: int = 256) -> None:
        self._files: Known[tuple[threading.Lock, list[Layout]]] = Known(limit)

    def of(
        self,
        key: Hashable,
        stamp: Stamp,
        columns: Sequence[str],
        borrow: Callable[[], AbstractContextManager[Opened]],
        known: Callable[[Callable[[], Layout]], Layout],
    ) -> Layout:
        """The layout of a file with at least these columns; a handle is borrowed only for what is not known yet.

        `known` gives a layout with these columns that another process has made, or makes one.
        """
        lock, slot = self._files.first(key, lambda: (threading.Lock(), []))
        with lock:  # one thread opens the file, the others wait for what it finds
            before = slot[0] if slot and slot[0].stamp == stamp else None
            if before is None:
                slot[:] = [known(lambda: _made(None, stamp, columns, borrow))]
                slot[0].stamp = stamp
            elif not before.branches.keys() >= set(columns):
                slot[:] = [_made(before, stamp, columns, borrow)]
            return slot[0]

    def clear(self) -> None:
        """Forgets every layout."""
        self._files.clear()


def _made(
    before: Layout | None, stamp: Stamp, columns: Sequence[str], borrow: Callable[[], AbstractContextManager[Opened]]
) -> Layout:
    """A layout with these columns: the one from before with more of them, if it is of the same tree."""
    with borrow() as opened:
        header = header_of(opened)
        uuid, entries = opened.uuid, int(opened.tree.num_entries) if header is None else header.entries
        if before is None or (before.uuid, before.entries) != (uuid, entries):
            before = Layout(stamp, uuid, entries)
        before.add([column for column in columns if column not in before.branches], opened)
        return before


def branch_name(column: str, branches: dict[str, Any], tree: str) -> str:
    """The branch that a column comes from: of the same name, or the record that the column is a field of."""
    name = column
    while name not in branches:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise MissingColumnError(f"No branch for column {column!r} in tree {tree!r}.")
    return name


def leaf_branches(tree: Any) -> dict[str, Any]:
    """The branches that hold data, by the name of their column.

    That is the branch's own name where only one has it, and its path through the branches it is in where not.
    """
    leaves = [(path, branch) for path, branch in tree.iteritems(recursive=True) if not branch.branches]
    often = Counter(branch.name for _, branch in leaves)
    found: dict[str, Any] = {}
    for path, branch in leaves:
        name = branch.name if often[branch.name] == 1 else path
        if name in found:  # not even the paths differ
            name = next(numbered for i in range(2, len(leaves) + 2) if (numbered := f"{name}#{i}") not in found)
        found[name] = branch
    return found

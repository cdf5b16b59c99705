"""Layouts of trees, worked out once and kept for every later range of the same file, in any thread.

A layout holds, for each branch that was asked for, the places of its baskets and how they are laid out. With it, a
local file is read without uproot and without a handle of uproot's.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from hepgraph.disk.plain import plain
from hepgraph.errors import MissingColumnError
from hepgraph.io.access.handles import Stamp
from hepgraph.io.trees import Opened
from hepgraph.io.ttree.baskets import Baskets
from hepgraph.io.ttree.leaves import FixedLeaf, Leaf, leaf_of
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

    `known` are those that may count others, by their place in the metadata.
    """

    stamp: Stamp
    uuid: str
    entries: int
    branches: dict[str, Branch | None] = field(default_factory=dict)
    known: dict[int, Branch | None] = field(default_factory=dict)

    def add(self, columns: Iterable[str], opened: Opened) -> None:
        """Works out the branches of these columns from a handle of uproot's."""
        if opened.layout is None:
            opened.layout = leaf_branches(opened.tree)
        for column in columns:
            name = branch_name(column, opened.layout, opened.name)
            self.branches[column] = self._branch(name, opened.layout[name]) if name == column else None

    def _branch(self, name: str, branch: Any) -> Branch | None:
        place = int(branch.cursor.index)
        if (known := self.known.get(place)) is not None:
            return known
        leaf = nested_of(branch)
        baskets = None if leaf is None else self._baskets(branch)
        if leaf is None or baskets is None:
            return None
        made = Branch(name, baskets, leaf, None if isinstance(leaf, FixedLeaf) else self._counter(branch))
        if isinstance(leaf, FixedLeaf) and leaf.counts:
            self.known[place] = made
        return made

    def _baskets(self, branch: Any) -> Baskets | None:
        try:
            baskets = Baskets.of(branch)
        except ValueError:
            return None  # uproot says what is wrong with it
        return baskets if baskets.edges[-1] == self.entries else None

    def _counter(self, branch: Any) -> Branch | None:
        """The branch that counts another: made once for all that it counts."""
        counter = branch.count_branch
        if counter is None:
            return None
        place = int(counter.cursor.index)
        if place not in self.known:
            leaf = leaf_of(counter)
            baskets = self._baskets(counter) if isinstance(leaf, FixedLeaf) and leaf.counts else None
            self.known[place] = None if leaf is None or baskets is None else Branch(counter.name, baskets, leaf)
        return self.known[place]


class Memory(Protocol):
    """Layouts of one file that other processes have made."""

    def recall(self, columns: Iterable[str]) -> Layout | None:
        """A layout with these columns, if there is one."""

    def remember(self, columns: Iterable[str], layout: Layout) -> None:
        """Keeps a layout with these columns."""


class Layouts:
    """The layouts of the files met last, at most `limit` of them."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[threading.Lock, list[Layout]]] = OrderedDict()

    def of(
        self,
        key: Hashable,
        stamp: Stamp,
        columns: Iterable[str],
        borrow: Callable[[], AbstractContextManager[Opened]],
        memory: Memory | None = None,
    ) -> Layout:
        """The layout of a file with at least these columns; a handle is borrowed only for what is not known yet.

        What is not known in this process may be in `memory`, which gets what was found out.
        """
        if self._process != os.getpid():  # a lock may have been held when the process was forked
            self._begin()
        with self._lock:
            lock, slot = self._kept.setdefault(key, (threading.Lock(), []))
            self._kept.move_to_end(key)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        with lock:  # one thread opens the file, the others wait for what it finds
            layout = slot[0] if slot and slot[0].stamp == stamp else None
            missing = [column for column in columns if layout is None or column not in layout.branches]
            if layout is not None and not missing:
                return layout
            if layout is None and memory is not None and (told := memory.recall(columns)) is not None:
                told.stamp = stamp
                slot[:] = [told]
                return told
            with borrow() as opened:
                uuid, entries = opened.uuid, int(opened.tree.num_entries)
                if layout is None or (layout.uuid, layout.entries) != (uuid, entries):
                    layout, missing = Layout(stamp, uuid, entries), list(columns)
                layout.add(missing, opened)
                slot[:] = [layout]
            if memory is not None:
                memory.remember(columns, layout)
            return layout

    def clear(self) -> None:
        """Forgets every layout."""
        self._begin()


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

"""Consistency of a file: how long its lists are, and where its indices point. Interpreter, kernel and eager
runs check it by the same functions, where columns are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from hepgraph.errors import DisagreementError, many
from hepgraph.graph.node import Node, Space, as_node, as_space

Array = np.ndarray[Any, Any]


class Read(Protocol):
    """The columns that were read of one partition."""

    def place(self, origin: Any, entry: int) -> str:
        """Where an entry of the partition is, in words."""

    def valid(self, origin: Any, column: str, level: int | None) -> Array | None:
        """Which values (level None) or lists of a column are not None; None if all are."""

    def entries_read(self, origin: Any, column: str) -> Array | None:
        """The entries whose values of a column were read; None if all were."""


def check_lists(of: Space, column: str, own: Array, known: Array, read: Read) -> None:
    """Raises DisagreementError if the lists of a column are not those of its collection."""
    origin, name, level = of.param
    outermost = of.parent is not None and of.parent.kind == "events"

    def place(k: int) -> str:
        return read.place(origin, k) if outermost else f"in list {k} of the partition"

    if isinstance(level, int):
        check_lengths(name, known, column, own, place, "has")
    else:
        check_lengths(name, known, column, own, place)


def check_lengths(
    name: str, known: Array, column: str, own: Array, place: Callable[[int], str], says: str = "says"
) -> None:
    """Raises DisagreementError if the lists of a column have other lengths than a count, or another column, says."""
    if own is known or np.array_equal(own, known):
        return
    if len(own) != len(known):
        raise DisagreementError(f"column {column!r} has {len(own) - 1} lists where {name!r} has {len(known) - 1}")
    mine, its = np.diff(own), np.diff(known)
    first = int(np.flatnonzero(mine != its)[0])
    raise DisagreementError(
        f"{column!r} and {name!r} are of one collection, but do not agree on the lengths of its lists: {place(first)}, "
        f"{column!r} has {many(int(mine[first]), 'element')}, and {name!r} {says} {its[first]}."
    )


def check_index(item: Node, values: Array, offsets: Callable[[Space], Array], read: Read) -> None:
    """Raises DisagreementError if an index of an entry that was read is beyond the end of the list that it is for."""
    if not len(values) or values.max() < 0:
        return
    load, target = as_node(item.args[0]), as_space(item.args[1])
    origin, column = load.param
    counts = np.diff(offsets(target))
    ends: Array | None = None  # where the elements of each entry end
    at = as_space(item.space)
    while at is not target.parent:
        above = offsets(at)
        ends = above if ends is None else ends[above]
        at = as_space(at.parent)
    sizes = None if ends is None else np.diff(ends)
    wrong = values >= (counts if sizes is None else np.repeat(counts, sizes))
    if not wrong.any():
        return
    valid, entries = read.valid(origin, column, None), read.entries_read(origin, column)
    if valid is not None:
        wrong &= valid
    if entries is not None:
        wrong &= entries if sizes is None else np.repeat(entries, sizes)
    if not wrong.any():
        return
    first = int(np.flatnonzero(wrong)[0])
    entry = first if ends is None else int(np.searchsorted(ends, first, side="right")) - 1
    collection, index, to, name = item.param
    there = f"{to} has {many(int(counts[entry]), 'element')}, {read.place(origin, entry)}"
    raise DisagreementError(
        f"{column!r} is {values[first]} where {there}: it points at nothing. "
        f"If {to} was skimmed, a schema may say that what is gone is None:\n"
        f'    [[references]]\n    from = "{collection}"\n    index = "{index}"\n    to = "{to}"\n    name = "{name}"\n'
        '    beyond = "none"'
    )

"""Consistency of a file: how long its lists are, and where its indices point. Interpreter, kernel and eager
runs check it by the same functions, where columns are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Pointer:
    """A reference as an `index` node has it: whose index it is, and into which collections.

    With several collections, or one that is told by a key, `numbers` are their keys, and `known` all keys that there
    are, with the names that they stand for, where the file says so. Where elements may be gone (`skimmed`), an index
    beyond the end is no error.
    """

    collection: str
    index: str
    name: str
    into: tuple[str, ...]
    key: str = ""
    numbers: tuple[int, ...] = ()
    known: tuple[tuple[int, str], ...] | None = None
    inverse: bool = False
    skimmed: bool = False


def check_index(item: Node, values: Array, keys: Array | None, offsets: Callable[[Space], Array], read: Read) -> None:
    """Raises DisagreementError if an index of an entry that was read is beyond the end of the list that it is for.

    With keys, the list is that of the collection whose key stands beside the index; those of no collection at all are
    an error too, where it is known which there are.
    """
    if not len(values) or values.max() < 0:
        return
    told: Pointer = item.param
    targets = [arg for arg in item.args if isinstance(arg, Space)]
    ends: Array | None = None  # where the elements of each entry end
    at = as_space(item.space)
    while at is not targets[0].parent:
        above = offsets(at)
        ends = above if ends is None else ends[above]
        at = as_space(at.parent)
    sizes = None if ends is None else np.diff(ends)

    def each(of_entries: Array) -> Array:
        return of_entries if sizes is None else np.repeat(of_entries, sizes)

    loads = [as_node(arg) for arg in item.args if not isinstance(arg, Space)]

    def first(wrong: Array) -> int | None:
        """The first that is wrong, of those that are there and were read."""
        if not wrong.any():
            return None
        for load in loads:
            origin, column = load.param
            valid, entries = read.valid(origin, column, None), read.entries_read(origin, column)
            wrong = wrong if valid is None else wrong & valid
            wrong = wrong if entries is None else wrong & each(entries)
        return int(np.flatnonzero(wrong)[0]) if wrong.any() else None

    def place(k: int) -> tuple[int, str]:
        entry = k if ends is None else int(np.searchsorted(ends, k, side="right")) - 1
        return entry, read.place(loads[0].param[0], entry)

    if keys is not None and told.known is not None:
        unknown = (values >= 0) & (keys.astype(np.int64) >= 0) & ~np.isin(keys, [key for key, _ in told.known])
        if (k := first(unknown)) is not None:
            raise DisagreementError(
                f"{loads[1].param[1]!r} is {keys[k]}, {place(k)[1]}: that is the number of no collection. "
                f"The file has {', '.join(f'{key} for {name}' for key, name in told.known)}."
            )
    for number, target in enumerate(() if told.skimmed else targets):
        counts = np.diff(offsets(target))
        wrong = values >= each(counts)
        if keys is not None:
            wrong &= keys == np.array(told.numbers[number]).astype(keys.dtype)
        if (k := first(wrong)) is None:
            continue
        entry, where = place(k)
        to = told.into[number]
        raise DisagreementError(
            f"{loads[0].param[1]!r} is {values[k]} where {to} has {many(int(counts[entry]), 'element')}, {where}: it "
            f"points at nothing. If {to} was skimmed, a schema may say that what is gone is None:\n{_entry(told)}"
        )


def _entry(told: Pointer) -> str:
    """The entry of a schema by which such a reference is None."""
    start, to = told.collection, told.into
    if told.inverse:
        start, to = told.into[0], (told.collection,)
    into = ", ".join(f'"{name}"' for name in to)
    lines = ["[[references]]", f'from = "{start}"', f'index = "{told.index}"']
    lines += [f"to = {into}" if len(to) == 1 else f"to = [{into}]"]
    lines += [f'key = "{told.key}"'] if told.key else []
    lines += [f'name = "{told.name}"', *(["inverse = true"] if told.inverse else []), 'beyond = "none"']
    return "\n".join(f"    {line}" for line in lines)


def first_copies(item: Node, index: Array, key: Array, offsets: Array, read: Read) -> Array:
    """The place in its list of the last element with the same key on the way that an index leads from each.

    Ways of 2, 4, 8, ... steps are made of two of half of the length. Raises DisagreementError where a way has no end.
    """
    counts = np.diff(offsets)
    starts, sizes = np.repeat(offsets[:-1], counts), np.repeat(counts, counts)
    local = index.astype(np.int64)
    at = np.arange(len(local))
    further = (local >= 0) & (local < sizes)
    way = np.where(further, starts + local, at)
    further &= key[way] == key
    way = np.where(further, way, at)
    step = way
    for _ in range(int(counts.max(initial=0)).bit_length()):
        way = way[way]
    if further[way].any():
        _check_ends(item, further[way], step, offsets, read)
    found: Array = way - starts
    return found


def _check_ends(item: Node, endless: Array, step: Array, offsets: Array, read: Read) -> None:
    """Raises DisagreementError if a way of an entry that was read has no end."""
    load = as_node(item.args[0])
    origin, column = (load if load.op == "load" else as_node(load.args[0])).param
    entries = read.entries_read(origin, column)
    if entries is not None:
        endless = endless & np.repeat(entries, np.diff(offsets))
    if not endless.any():
        return
    first = int(np.flatnonzero(endless)[0])
    entry = int(np.searchsorted(offsets, first, side="right")) - 1
    circle = [first]
    while step[circle[-1]] not in circle:
        circle.append(int(step[circle[-1]]))
    back = int(step[circle[-1]])
    circle = [*circle[circle.index(back) :], back]
    places = " -> ".join(str(k - offsets[entry]) for k in (circle if len(circle) < 8 else [*circle[:3], *circle[-2:]]))
    raise DisagreementError(
        f"{column!r} leads in a circle, {places}, {read.place(origin, entry)}. All of these have the same "
        f"{item.param[1]}, so that there is no first copy for {item.param[0]} to begin from."
    )

"""Kinds of spaces and maps: one row a kind, all its meanings side by side.

A row has the meaning of a space or map in one partition (offsets; positions), its names and descriptions, and what
holds of it by construction. `kernel/spaces.py` and `kernel/maps.py` have the rule of each in a kernel.

| space     | elements, per element of the parent                | own maps                         |
|-----------|----------------------------------------------------|----------------------------------|
| `total`   | one                                                |                                  |
| `events`  | the entries of the partition                       |                                  |
| `leaf`    | the list of a column                               |                                  |
| `filter`  | those of `base` whose mask is true                 | `inc` to base                    |
| `comb`    | i < j < ... of base                                | 0, 1, ... to base                |
| `cart`    | the product of several spaces of the same parent   | 0, 1, ... to each                |
| `pull`    | those of `base` that belong to where a map leads   | `inc` to base                    |
| `back`    | those of `base` whose index leads to it            | `inc` to base                    |
| `one`     | exactly one                                        |                                  |
| `concat`  | those of all parts, one part after the other       |                                  |
| `perm`    | those of base, ordered by a key                    | `inc` to base                    |
| `flat`    | those of base, under an earlier ancestor           | `inc` to base                    |
| `pad`     | those of base, and empty places up to a length     | `inc` to base, partial           |
| `split`   | those of base, cut into lists of given lengths     | `inc` to base                    |
| `ranged`  | those of base from one given place to another      | `inc` to base                    |
| `result`  | the list of what an opaque function returned       |                                  |
| `table`   | the numbers of a table, one list for all (`total`) |                                  |

Every space but `total` has the map `up` to its parent. Partial maps between existing spaces: `pick` (the minimum, the
maximum, the k-th element of each list), `gather` (by index), `part` (from a concatenation to one of its parts). `align`
goes between two lists that have the same lengths by construction, `match` between two whose lengths are compared while
running (in the rows where its mask is true), `only` from a space to its lists of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

from hepgraph.errors import DisagreementError, RangeError, ShapeError
from hepgraph.graph.node import Item, Map, Space, ancestors, as_map, as_node, as_space
from hepgraph.graph.offsets import offsets_of

if TYPE_CHECKING:
    from hepgraph.graph.interpreter import Interpreter

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Extent:
    """A space of one partition: `offsets` of the elements of each parent element."""

    offsets: Array
    inc: Array | None = None
    legs: Sequence[Array] = ()
    _parents: Array | None = None

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def counts(self) -> Array:
        return np.diff(self.offsets)

    @property
    def parents(self) -> Array:
        """For each element, the position of the parent element."""
        if self._parents is None:
            self._parents = np.repeat(np.arange(len(self.offsets) - 1), self.counts)
        return self._parents


# spaces in one partition


def _events(i: Interpreter, item: Space) -> Extent:
    return Extent(np.array([0, i.provider.entries(item.param)[0]]))


def _leaf(i: Interpreter, item: Space) -> Extent:
    origin, column, level = item.param
    offsets = i.provider.offsets(origin, column, level)
    above = i.size(item.parent)  # type: ignore[arg-type]
    if len(offsets) != above + 1:
        raise DisagreementError(f"column {column!r} has {len(offsets) - 1} lists where {above} were expected")
    return Extent(offsets)


def _filter(i: Interpreter, item: Space) -> Extent:
    base, mask = i.values[item.args[0]], i.values[item.args[1]]
    passed = offsets_of(mask)
    return Extent(passed[base.offsets], inc=np.flatnonzero(mask))


def lists_of(extent: Extent, content: Any = None) -> Any:
    """An awkward array of the lists of a space; without content, of the numbers of elements."""
    content = np.arange(len(extent)) if content is None else content
    inner = content.layout if isinstance(content, ak.Array) else ak.contents.NumpyArray(content)
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(extent.offsets), inner))


def _from_lists(lists: Any, fields: int) -> Extent:
    offsets = offsets_of(ak.to_numpy(ak.num(lists, axis=1)))
    flat = ak.flatten(lists, axis=1)
    return Extent(offsets, legs=[ak.to_numpy(flat[str(k)]) for k in range(fields)])


def _comb(i: Interpreter, item: Space) -> Extent:
    n, replacement = item.param
    lists = lists_of(i.values[item.args[0]])
    return _from_lists(ak.combinations(lists, n, replacement=replacement, axis=1), n)


def _cart(i: Interpreter, item: Space) -> Extent:
    lists = [lists_of(i.values[part]) for part in item.args]
    return _from_lists(ak.cartesian(lists, axis=1), len(lists))


def _pull(i: Interpreter, item: Space) -> Extent:
    base, where = i.values[item.args[0]], i.values[item.args[1]]
    counts = np.where(where < 0, 0, base.counts[where]) if len(base.counts) else np.zeros(len(where), np.int64)
    offsets = offsets_of(counts)
    starts = base.offsets[np.maximum(where, 0)]
    return Extent(offsets, inc=np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts))


def _back(i: Interpreter, item: Space) -> Extent:
    base, index = i.values[item.args[0]], i.values[item.args[1]].astype(np.int64)
    lists = i.values[as_space(item.parent)]
    row = base.parents
    there = (index >= 0) & (index < lists.counts[row])
    if len(item.args) > 2:
        there &= i.values[item.args[2]]
    places = np.flatnonzero(there)
    led_to = lists.offsets[:-1][row[places]] + index[places]
    offsets = offsets_of(np.bincount(led_to, minlength=len(lists)))
    return Extent(offsets, inc=places[np.argsort(led_to, kind="stable")])


def _concat(i: Interpreter, item: Space) -> Extent:
    parts = [i.values[part] for part in item.args]
    offsets = np.sum([part.offsets for part in parts], axis=0)
    begin, places = offsets[:-1].copy(), []
    for part in parts:
        places.append(np.arange(len(part)) + np.repeat(begin - part.offsets[:-1], part.counts))
        begin = begin + part.counts
    return Extent(offsets, legs=places)


def _perm(i: Interpreter, item: Space) -> Extent:
    base, key = i.values[item.args[0]], i.values[item.args[1]]
    ascending, stable = item.param
    content: Any = ak.Array(key)
    if len(item.args) > 2:
        content = ak.mask(content, i.values[item.args[2]])
    order = ak.argsort(lists_of(base, content), axis=1, ascending=ascending, stable=stable)
    local = ak.to_numpy(ak.flatten(order, axis=1))
    return Extent(base.offsets, inc=local + np.repeat(base.offsets[:-1], base.counts))


def _flat(i: Interpreter, item: Space) -> Extent:
    base = item.args[0]
    assert isinstance(base, Space)
    at: Space | None
    offsets, at = i.values[base].offsets, base.parent
    while at is not item.parent:
        assert at is not None
        offsets, at = offsets[i.values[at].offsets], at.parent
    return Extent(offsets, inc=np.arange(len(i.values[base])))


def _pad(i: Interpreter, item: Space) -> Extent:
    target, clip = item.param
    base = i.values[item.args[0]]
    counts = np.full(len(base.counts), target) if clip else np.maximum(base.counts, target)
    offsets = offsets_of(counts)
    local = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    there = local < np.repeat(base.counts, counts)
    return Extent(offsets, inc=np.where(there, local + np.repeat(base.offsets[:-1], counts), -1))


def _split(i: Interpreter, item: Space) -> Extent:
    assert item.parent is not None
    base, counts = i.values[item.args[0]], i.values[item.args[1]]
    above = i.values[item.parent].offsets
    offsets = offsets_of(counts)
    if np.any(counts < 0) or not np.array_equal(offsets[above], base.offsets):
        who = item.param or "ak.unflatten"
        raise ShapeError(f"{who}: the counts do not add up to the number of elements that there are")
    return Extent(offsets, inc=np.arange(len(base)))


def _slice(i: Interpreter, item: Space) -> Extent:
    base, begin, end = (i.values[arg] for arg in item.args)
    assert item.parent is not None
    above = as_space(item.args[0]).parent
    assert above is not None
    row = i.up_to(item.parent, above)
    begin, end = begin.astype(np.int64), end.astype(np.int64)
    wrong = (begin > end) | (begin < 0) | (end > base.counts[row] if len(base.counts) else end > 0)
    wrong &= begin != end  # nothing, wherever that is
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise RangeError(
            f"{item.param or 'a range'}: {int(np.count_nonzero(wrong))} ranges are beyond their lists: the first is "
            f"from {begin[k]} to {end[k]}, of {int(base.counts[row[k]])} elements"
        )
    counts = end - begin
    offsets = offsets_of(counts)
    starts = base.offsets[:-1][row] + begin if len(base.counts) else begin
    return Extent(offsets, inc=np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts))


def _positions(i: Interpreter, item: Space) -> Array:
    extent: Extent = i.values[item]
    local: Array = np.arange(len(extent)) - np.repeat(extent.offsets[:-1], extent.counts)
    return local


def _entry_numbers(i: Interpreter, item: Space) -> Array:
    entries, first = i.provider.entries(item.param)
    return np.arange(first, first + entries)


# maps in one partition


def _must(i: Interpreter, item: Map, masks: Sequence[Item], found: Array, message: str) -> None:
    """Raises where something is missing in a row that passes all the masks."""
    wrong = ~found
    for mask in masks:
        wrong &= i.values[mask]
    if wrong.any():
        raise RangeError(message.format(int(np.count_nonzero(wrong))))


def _pick(i: Interpreter, item: Map) -> Array:
    kind, keys, k = item.param
    base = i.values[item.dst]
    if kind == "at":
        local = np.full(len(base.counts), k) if k >= 0 else base.counts + k
        found = (local >= 0) & (local < base.counts)
        message = f"index {k} is out of range for {{}} of the lists; filter them first, or use ak.firsts or ak.pad_none"
        if item.args[keys:]:
            _must(i, item, [m for m in item.args[keys:] if m.op != "literal"], found, message)  # type: ignore[union-attr]
        return np.where(found, base.offsets[:-1] + local, -1)
    content: Any = ak.Array(i.values[item.args[0]])
    if keys > 1:
        content = ak.mask(content, i.values[item.args[1]])
    local = (ak.argmin if kind == "argmin" else ak.argmax)(lists_of(base, content), axis=1)
    local = ak.to_numpy(ak.fill_none(local, -1))
    return np.where(local >= 0, base.offsets[:-1] + local, -1)


def _gather(i: Interpreter, item: Map) -> Array:
    index = i.values[item.args[0]].astype(np.int64)
    base = i.values[item.dst]
    assert item.dst.parent is not None
    row = i.up_to(item.src, item.dst.parent)
    counts = base.counts[row] if len(base.counts) else np.zeros(len(row), np.int64)
    local = np.where(index < 0, index + counts, index) if item.param else index
    found = (local >= 0) & (local < counts)
    if item.args[1:]:
        masks = [m for m in item.args[1:] if m.op != "literal"]  # type: ignore[union-attr]
        where = "the lists that they point into"
        if item.dst.kind == "table":
            where = f"the table of shape {item.dst.param.values.shape}; cut their elements away, or clip them"
        _must(i, item, masks, found, "{} indices are out of range of " + where)
    starts = base.offsets[:-1][row] if len(base.counts) else np.zeros(len(row), np.int64)
    return np.where(found, starts + local, -1)


def _match(i: Interpreter, item: Map) -> Array:
    src, dst = i.values[item.src], i.values[item.dst]
    if np.array_equal(src.offsets, dst.offsets):
        return np.arange(len(src))
    wrong = src.counts != dst.counts
    for mask in item.args:
        wrong &= i.values[mask]
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ShapeError(_other_lengths(i, item, first, int(src.counts[first]), int(dst.counts[first])))
    local = np.arange(len(src)) - np.repeat(src.offsets[:-1], src.counts)
    return np.where(local < dst.counts[src.parents], local + dst.offsets[:-1][src.parents], -1)


def _other_lengths(i: Interpreter, item: Map, place: int, here: int, there: int) -> str:
    """That two lists that were to go together have other lengths, with the function that one comes from, if any."""
    parent = item.src.parent
    assert parent is not None
    rows = next(s for s in ancestors(parent) if s.parent is not None and s.parent.kind == "total")
    where = f"at entry {int(i.up_to(parent, rows)[place])} of the partition"
    names = [returned_by(item.src), returned_by(item.dst)]
    if not any(names):
        return f"cannot broadcast nested lists: {where} one has {there} elements and the other {here}"
    (name, made), (other, beside) = sorted(zip(names, (here, there), strict=True), key=lambda pair: pair[0] is None)
    what = "the list that it is used with" if other is None else f"what {other} returned"
    return (
        f"cannot broadcast nested lists: {where} {name} returned {made} elements, and {what} has {beside}. What a "
        "function returns goes with the lists that it was given as long as it has one element for each of theirs, in "
        "their order."
    )


def _part_of(i: Interpreter, item: Map) -> Array:
    where = np.full(i.size(item.src), -1)
    places = i.values[item.src].legs[item.param]
    where[places] = np.arange(len(places))
    return where


# in words

Naming = Callable[[Item], str]
Words = Callable[[Any, Naming], str]  # of an item, given names of what it is made of


class _Parts(list[str]):
    """Names; as a format, `{parts: and }` puts the words between them."""

    def __format__(self, between: str) -> str:
        return between.join(self)


def _base_name(x: Space | Map, name: Naming) -> str:
    return next((name(arg) for arg in x.args if isinstance(arg, Space)), "")


def _above(x: Item, name: Naming) -> str:
    above = x.src if isinstance(x, Map) else x.parent if isinstance(x, Space) else x.space
    return "" if above is None else name(above)


_FIELDS: dict[str, Callable[[Any, Naming], Any]] = {
    "x": lambda x, _: x,
    "parts": lambda x, name: _Parts(map(name, x.args)),
    "unique": lambda x, name: _Parts(dict.fromkeys(map(name, x.args))),
    "base": _base_name,
    "root": lambda x, name: _base_name(x, name).removeprefix("filter "),
    "up": _above,
}


def text(template: str) -> Words:
    """Words by a template of `_FIELDS`; those that it has are looked up, and no others."""
    used = {key: _FIELDS[key] for key in re.findall(r"{(\w+)", template)}
    return lambda x, name: template.format(**{key: field(x, name) for key, field in used.items()})


_KIND_OF_BASE, _KIND_FROM = text("{x.kind} {root}"), text("{x.kind} from {up}")
_REARRANGED = text("{base}, rearranged")


def _of_column(s: Space, _: Naming) -> str:
    name = str(s.param[1])
    counted = not isinstance(s.param[2], int) and name[:1] == "n"
    return (name[1:] if counted else name) or "lists"


def _collection(s: Space, _: Naming) -> str:
    name = str(s.param[1])
    return name[1:] if len(name) > 1 and name[0] == "n" and name[1].isupper() else name


def _combinations(s: Space, name: Naming) -> str:
    k, again = s.param
    return f"{k}-combinations of {name(s.args[0])}" + (", with replacement" if again else "")


def short_title(s: Item) -> str:
    """A space in a word or two, for messages."""
    return SPACES[s.kind].short(s, short_title) if isinstance(s, Space) else "?"


def _picked(m: Map, name: Naming) -> str:
    kind, _, k = m.param
    return f"element {k}" if kind == "at" else f"{kind} of {name(m.args[0])}"


def returned_by(s: Space) -> str | None:
    """The name of the function that lists come from, cut or not; None if they come from none."""
    while SPACES[s.kind].arranged:
        s = as_space(s.args[0])
    return as_node(s.args[0]).param.title if s.kind == "result" else None


# whether elements stay below an ancestor


def stays(m: Map, top: Space) -> bool:
    """Whether a map leads from each element to one of the same element of `top`, an ancestor of both ends."""
    return top in ancestors(m.src) and top in ancestors(m.dst) and map_kind(m).stays(m, top)


def _below_target(m: Map, top: Space) -> bool:
    return m.dst.parent is not None and top in ancestors(m.dst.parent)


def _below_source(m: Map, top: Space) -> bool:
    return m.src.parent is not None and top in ancestors(m.src.parent)


def _below_base(m: Map, top: Space) -> bool:
    return m.dst.parent is not None and top in ancestors(m.dst.parent) and top in ancestors(m.src)


# the tables


@dataclass(frozen=True, slots=True)
class SpaceKind:
    """A kind of space: its offsets in one partition, its words, and what is known of it by construction."""

    extent: Callable[[Interpreter, Space], Extent]
    name: Words = _KIND_OF_BASE
    step: Words = lambda s, name: ", ".join(map(name, s.args)) or s.kind  # as one step of a printed graph
    title: Words = _REARRANGED  # in a message
    short: Words = lambda s, name: _base_name(s, name) or s.kind
    drawn: bool = True  # whether the picture of a graph has it
    positions: Callable[[Interpreter, Space], Array] = _positions  # of elements in their lists
    partial: bool = False  # whether its `inc` leads nowhere from some elements
    stays: Callable[[Map, Space], bool] = lambda m, top: m.src.parent is m.dst.parent  # of its `inc`
    selects: bool = False  # whether its elements are those of its base, or some of them, in their order
    of_base: bool = False  # whether an event with an element of it has one of its base
    masked: bool = False  # whether its second part is true of all its elements
    arranged: bool = False  # whether each of its lists is made of one list of its base
    positional: bool = False  # whether only places tell which elements its lists have
    across: bool = False  # whether one event's lists may depend on other events


SPACES: dict[str, SpaceKind] = {
    "total": SpaceKind(lambda i, s: Extent(np.array([0, 1])), text("{x.kind}"), title=text("the events"), drawn=False),
    "events": SpaceKind(
        _events, text("{x.kind}"), text("the entries"), text("the events"), drawn=False, positions=_entry_numbers
    ),
    "leaf": SpaceKind(
        _leaf, _of_column, text("lists of {x.param[1]}"), lambda s, name: f"the lists of {name(s)}", _collection,
        positional=True,
    ),
    "filter": SpaceKind(
        _filter, step=text("{parts[0]} where {parts[1]}"), title=text("a selection of {base}"),
        short=text("selected {base}"), selects=True, of_base=True, masked=True, arranged=True,
    ),
    "comb": SpaceKind(
        _comb, text("{root}^{x.param[0]}"), _combinations, text("the combinations of {base}"),
        text("combinations of {base}"), of_base=True,
    ),
    "cart": SpaceKind(_cart, text("{parts: x }"), text("all of {parts: with all of }"), text("{parts: times }")),
    "pull": SpaceKind(
        _pull, step=text("all of {parts[0]} for each of {up}"), arranged=True,
        stays=lambda m, top: stays(as_map(m.src.args[1]), top),
    ),
    "back": SpaceKind(
        _back, step=text("{parts[0]} whose {parts[1]} leads to each of {up}"),
        title=text("those of {base} that lead back"), stays=_below_target, of_base=True,
    ),
    "one": SpaceKind(
        lambda i, s: Extent(np.arange(i.size(as_space(s.parent)) + 1)), text("one a {up}"),
        title=text("lists of one element"), drawn=False,
    ),
    "concat": SpaceKind(_concat, text("{unique: + }"), text("{parts: then }"), text("{parts: and }")),
    "perm": SpaceKind(
        _perm, step=text("{parts[0]} sorted by {parts[1]}"), title=text("{base}, sorted"),
        short=text("sorted {base}"), of_base=True, arranged=True,
    ),
    "flat": SpaceKind(_flat, drawn=False, stays=_below_source, selects=True, of_base=True),
    "pad": SpaceKind(_pad, partial=True, arranged=True, positional=True),
    "split": SpaceKind(_split, title=text("{base}, cut into lists"), stays=_below_target, across=True),
    "ranged": SpaceKind(_slice, step=text("ranges of {parts[0]}"), title=text("ranges of {base}"), stays=_below_base),
    "result": SpaceKind(
        lambda i, s: Extent(i.values[s.args[0]].offsets(*s.param)),
        lambda s, _: f"lists of {returned_by(s)}", text("lists of {parts[0]}"),
        lambda s, _: f"the lists that {returned_by(s)} returned", across=True, positional=True,
    ),
    "table": SpaceKind(lambda i, s: Extent(np.array([0, s.param.values.size])), title=text("the numbers of a table")),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MapKind:
    """A kind of map: its positions in one partition, its words, and what is known of it by construction."""

    positions: Callable[[Interpreter, Map], Array]
    name: Words = _KIND_FROM
    drawn: bool = False  # whether the picture of a graph has it
    partial: bool = False  # whether it leads nowhere from some elements
    stays: Callable[[Map, Space], bool] = lambda m, top: m.src.parent is m.dst.parent
    checks: Callable[[Map], tuple[Item, ...]] = lambda _: ()  # masks of where it is an error that it leads nowhere


MAPS: dict[str, MapKind] = {
    "up": MapKind(lambda i, m: i.values[m.src].parents, stays=lambda m, top: True),
    "inc": MapKind(lambda i, m: i.values[m.src].inc, stays=lambda m, top: SPACES[m.src.kind].stays(m, top)),
    "leg": MapKind(lambda i, m: i.values[m.src].legs[m.kind], text("leg {x.kind} of {up}")),
    "pick": MapKind(
        _pick, _picked, drawn=True, partial=True, stays=lambda m, top: True,
        checks=lambda m: m.args[m.param[1] :] if m.param[0] == "at" else (),
    ),
    "gather": MapKind(
        _gather, text("index {parts[0]}"), drawn=True, partial=True, stays=_below_target,
        checks=lambda m: m.args[1:],
    ),
    "part": MapKind(_part_of, partial=True),
    "align": MapKind(lambda i, m: np.arange(i.size(m.src))),
    "match": MapKind(_match, partial=True, checks=lambda m: m.args),
    "only": MapKind(lambda i, m: np.arange(i.size(m.src)), stays=lambda m, top: True),
}  # fmt: skip


def map_kind(m: Map) -> MapKind:
    """The row of a map; the members of combinations and products are numbered, and have one."""
    return MAPS[m.kind if isinstance(m.kind, str) else "leg"]


def is_partial(m: Map) -> bool:
    """Whether some elements may lead nowhere."""
    return map_kind(m).partial or (m.kind == "inc" and SPACES[m.src.kind].partial)

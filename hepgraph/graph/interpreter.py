"""The meaning of a graph: every space, map and node evaluated with NumPy and awkward, one partition at a time.

This is the specification: whatever is faster must agree with it. A space becomes offsets into its elements, ordered by
parent; a map becomes positions (-1 where it is undefined); a node becomes a flat array, which is dropped after its last
use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

import awkward as ak
import numpy as np

from hepgraph.errors import DisagreementError, RangeError, ShapeError
from hepgraph.functions.lines import cell, code_at, place
from hepgraph.graph.canonical import TEXT, TOTAL, TRUE
from hepgraph.graph.consistency import Read, check_index, check_lists
from hepgraph.graph.form import Form, List, Option, Record, Scalar
from hepgraph.graph.node import Item, Map, Node, Space, ancestors, ordered, returned_by
from hepgraph.graph.offsets import offsets_of
from hepgraph.graph.ops import MOMENTS, OPS

Array = np.ndarray[Any, Any]


class Provider(Read, Protocol):
    """Where the columns of one partition come from."""

    def entries(self, origin: Any) -> tuple[int, int]:
        """The number of entries of the partition, and how many of the dataset come before it."""

    def offsets(self, origin: Any, column: str, level: Any) -> Array:
        """The offsets of a list level of a column; without a number, from the column's values, which are lengths.

        There may be names of columns in place of the number: the lists of one of them must have these lengths.
        """

    def values(self, origin: Any, column: str) -> Array:
        """The flat values of a column."""

    def record_valid(self, origin: Any, name: str) -> Array | None:
        """Which records of this name are not None; None if all are."""

    def levels(self, origin: Any, column: str) -> Sequence[Array]:
        """The offsets of all list levels that the column itself has, outermost first."""


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


class Interpreter:
    """Evaluates items of a graph over one partition; `values` holds what is still needed."""

    def __init__(self, provider: Provider, seeds: Mapping[Item, Any] | None = None) -> None:
        self.provider = provider
        self.values: dict[Item, Any] = dict(seeds or {})

    def run(self, roots: Iterable[Item]) -> list[Any]:
        """The values of the roots, in their order; keeps no others."""
        wanted = list(roots)
        keep = set(wanted)
        order = ordered(wanted, until=lambda item: item in self.values)
        uses: dict[Item, int] = {}
        for item in order:
            for below in item.inputs:
                uses[below] = uses.get(below, 0) + 1
        with np.errstate(all="ignore"):
            for item in order:
                if item not in self.values:
                    try:
                        self.values[item] = self.value(item)
                    except Exception as error:
                        say_where(error, item)
                        raise
                for below in item.inputs:
                    uses[below] -= 1
                    if not uses[below] and below not in keep and not isinstance(below, Space):
                        self.values.pop(below, None)
        return [self.values[item] for item in wanted]

    def value(self, item: Item) -> Any:
        """One item, whose inputs are known."""
        match item:
            case Space():
                return _SPACES[item.kind](self, item)
            case Map():
                kind = item.kind if isinstance(item.kind, str) else "leg"
                return _MAPS[kind](self, item)
            case Node():
                rule = _NODES.get(item.op)
                return rule(self, item) if rule else self.operation(item)

    def operation(self, item: Node) -> Array:
        """A row of the table of operations."""
        args = [arg.param.value if arg.op == "literal" else self.values[arg] for arg in item.args]  # type: ignore[union-attr]
        result: Array = OPS[item.op].meaning(*args, *item.param)
        return result if result.dtype == item.dtype else result.astype(item.dtype)

    def size(self, space: Space) -> int:
        """The number of elements of a space."""
        return len(self.values[space])

    def up_to(self, space: Space, ancestor: Space) -> Array:
        """For each element of a space, the position of the element of an ancestor that it belongs to."""
        position = np.arange(self.size(space))
        at = space
        while at is not ancestor:
            position = self.values[at].parents[position]
            assert at.parent is not None
            at = at.parent
        return position


# spaces


def _total(_: Interpreter, item: Space) -> Extent:
    return Extent(np.array([0, 1]))


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


def _lists(extent: Extent, content: Any = None) -> Any:
    content = np.arange(len(extent)) if content is None else content
    inner = content.layout if isinstance(content, ak.Array) else ak.contents.NumpyArray(content)
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(extent.offsets), inner))


def _from_lists(lists: Any, fields: int) -> Extent:
    offsets = offsets_of(ak.to_numpy(ak.num(lists, axis=1)))
    flat = ak.flatten(lists, axis=1)
    return Extent(offsets, legs=[ak.to_numpy(flat[str(k)]) for k in range(fields)])


def _comb(i: Interpreter, item: Space) -> Extent:
    n, replacement = item.param
    lists = _lists(i.values[item.args[0]])
    return _from_lists(ak.combinations(lists, n, replacement=replacement, axis=1), n)


def _cart(i: Interpreter, item: Space) -> Extent:
    lists = [_lists(i.values[part]) for part in item.args]
    return _from_lists(ak.cartesian(lists, axis=1), len(lists))


def _pull(i: Interpreter, item: Space) -> Extent:
    base, where = i.values[item.args[0]], i.values[item.args[1]]
    counts = np.where(where < 0, 0, base.counts[where]) if len(base.counts) else np.zeros(len(where), np.int64)
    offsets = offsets_of(counts)
    starts = base.offsets[np.maximum(where, 0)]
    return Extent(offsets, inc=np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts))


def _one(i: Interpreter, item: Space) -> Extent:
    return Extent(np.arange(i.size(item.parent) + 1))  # type: ignore[arg-type]


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
    order = ak.argsort(_lists(base, content), axis=1, ascending=ascending, stable=stable)
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
        raise ShapeError("ak.unflatten: the counts do not add up to the number of elements that there are")
    return Extent(offsets, inc=np.arange(len(base)))


def _result(i: Interpreter, item: Space) -> Extent:
    path, level = item.param
    return Extent(i.values[item.args[0]].offsets(path, level))


def _table(_: Interpreter, item: Space) -> Extent:
    return Extent(np.array([0, item.param.values.size]))


_SPACES: dict[str, Callable[[Interpreter, Space], Extent]] = {
    "total": _total, "events": _events, "leaf": _leaf, "filter": _filter, "comb": _comb, "cart": _cart, "pull": _pull,
    "one": _one, "concat": _concat, "perm": _perm, "flat": _flat, "pad": _pad, "split": _split, "result": _result,
    "table": _table,
}  # fmt: skip


# maps


def _up(i: Interpreter, item: Map) -> Array:
    return i.values[item.src].parents  # type: ignore[no-any-return]


def _inc(i: Interpreter, item: Map) -> Array:
    return i.values[item.src].inc  # type: ignore[no-any-return]


def _leg(i: Interpreter, item: Map) -> Array:
    return i.values[item.src].legs[item.kind]  # type: ignore[no-any-return]


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
    local = (ak.argmin if kind == "argmin" else ak.argmax)(_lists(base, content), axis=1)
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
    (mask,) = item.args
    wrong = src.counts != dst.counts
    if mask is not TRUE:
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
    rows = next(s for s in ancestors(parent) if s.parent is TOTAL)
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


def _same_places(i: Interpreter, item: Map) -> Array:
    return np.arange(i.size(item.src))


def _part_of(i: Interpreter, item: Map) -> Array:
    where = np.full(i.size(item.src), -1)
    places = i.values[item.src].legs[item.param]
    where[places] = np.arange(len(places))
    return where


_MAPS: dict[str, Callable[[Interpreter, Map], Array]] = {
    "up": _up, "inc": _inc, "leg": _leg, "pick": _pick, "gather": _gather, "match": _match,
    "align": _same_places, "only": _same_places, "part": _part_of,
}  # fmt: skip


# nodes


def _literal(_: Interpreter, item: Node) -> Any:
    return item.param.value


def _full(i: Interpreter, item: Node) -> Array:
    assert item.space is not None
    return np.full(i.size(item.space), item.param.value, item.dtype)


def _table_values(_: Interpreter, item: Node) -> Array:
    return item.param.values.ravel()  # type: ignore[no-any-return]


def _load(i: Interpreter, item: Node) -> Array:
    origin, column = item.param
    assert item.space is not None
    values = i.provider.values(origin, column)
    levels = i.provider.levels(origin, column)
    for at, own in zip(reversed([*islice(ancestors(item.space), len(levels))]), levels, strict=True):
        check_lists(at, column, own, i.values[at].offsets, i.provider)
    if len(values) != i.size(item.space):
        raise DisagreementError(f"column {column!r} has {len(values)} values where {i.size(item.space)} were expected")
    return values


def _index(i: Interpreter, item: Node) -> Array:
    values: Array = i.values[item.args[0]]
    check_index(item, values, lambda space: i.values[space].offsets, i.provider)
    return values


def _load_valid(i: Interpreter, item: Node) -> Array:
    origin, column, level = item.param
    valid = i.provider.valid(origin, column, level)
    assert item.space is not None
    return np.ones(i.size(item.space), bool) if valid is None else valid


def _record_valid(i: Interpreter, item: Node) -> Array:
    origin, name = item.param
    assert item.space is not None
    valid, size = i.provider.record_valid(origin, name), i.size(item.space)
    if valid is not None and len(valid) != size:
        raise DisagreementError(f"there are {len(valid)} records {name!r} where {size} were expected")
    return np.ones(size, bool) if valid is None else valid


def _take(i: Interpreter, item: Node) -> Array:
    m, x = item.args
    where, values = i.values[m], i.values[x]
    if isinstance(m, Map) and m.partial:
        if not len(values):
            return np.zeros(len(where), item.dtype)
        return values[np.maximum(where, 0)]  # type: ignore[no-any-return]
    return values[where]  # type: ignore[no-any-return]


def _defined(i: Interpreter, item: Node) -> Array:
    return i.values[item.args[0]] >= 0  # type: ignore[no-any-return]


def _ordinal(i: Interpreter, item: Node) -> Array:
    assert item.space is not None
    if item.space.kind == "events":
        entries, first = i.provider.entries(item.space.param)
        return np.arange(first, first + entries)
    extent: Extent = i.values[item.space]
    local: Array = np.arange(len(extent)) - np.repeat(extent.offsets[:-1], extent.counts)
    return local


def _count(i: Interpreter, item: Node) -> Array:
    return i.values[item.args[0]].counts  # type: ignore[no-any-return]


REDUCERS: dict[str, Callable[..., Any]] = {
    "sum": ak.sum, "prod": ak.prod, "any": ak.any, "all": ak.all, "min": ak.min, "max": ak.max,
    "count_nonzero": ak.count_nonzero,
}  # fmt: skip


def _moments(lists: Extent, values: Array) -> Array:
    """The number, mean and sum of squared deviations of each list."""
    out = np.zeros(len(lists.counts), MOMENTS)
    x = values.astype(np.float64, copy=False)
    out["n"] = n = lists.counts
    sums = ak.to_numpy(ak.sum(_lists(lists, x), axis=1))
    out["mean"] = mean = np.divide(sums, n, out=np.zeros(len(n)), where=n > 0)
    away = x - mean[lists.parents]
    out["m2"] = ak.to_numpy(ak.sum(_lists(lists, away * away), axis=1))
    return out


def _reduce(i: Interpreter, item: Node) -> Array:
    x = item.args[0]
    assert isinstance(x, Node)
    if item.param == "moments":
        return _moments(i.values[x.space], i.values[x])  # type: ignore[index]
    if item.param in ("min", "max") and item.space is TOTAL and x.dtype.kind == "f" and np.isnan(i.values[x]).any():
        return np.full(1, np.nan, item.dtype)  # over everything awkward does as NumPy does; in lists it ignores NaN
    if item.param == "sum" and item.space is TOTAL and item.dtype.kind == "f":  # rounded once, after all partitions
        return np.cumsum(np.append(np.longdouble(0), i.values[x]))[-1:]
    result = REDUCERS[item.param](_lists(i.values[x.space], i.values[x]), axis=1, mask_identity=False)  # type: ignore[index]
    return ak.to_numpy(result).astype(item.dtype, copy=False)  # type: ignore[no-any-return]


@lru_cache(maxsize=1024)
def reduced_dtype(kind: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that awkward gives to a reduction, asked on an empty array."""
    lists = ak.Array(
        ak.contents.ListOffsetArray(ak.index.Index64(np.array([0, 0])), ak.contents.NumpyArray(np.empty(0, dtype)))
    )
    return np.asarray(ak.to_numpy(REDUCERS[kind](lists, axis=1, mask_identity=False))).dtype


def _merge(i: Interpreter, item: Node) -> Array:
    assert item.space is not None
    result = np.zeros(i.size(item.space), item.dtype)
    for leg, part in zip(i.values[item.space].legs, item.args, strict=True):
        result[leg] = i.values[part]
    return result


def _call(i: Interpreter, item: Node) -> Any:
    return item.param.call([i.values[arg] for arg in item.args])


def _output(i: Interpreter, item: Node) -> Array:
    result: Array = i.values[item.args[0]].values(item.param)
    assert item.space is not None
    if len(result) != i.size(item.space):
        raise ShapeError(f"an opaque function returned {len(result)} values where {i.size(item.space)} were expected")
    return result


def _output_valid(i: Interpreter, item: Node) -> Array:
    path, level = item.param
    assert item.space is not None
    valid: Array | None = i.values[item.args[0]].valid(path, level)
    return np.ones(i.size(item.space), bool) if valid is None else valid


_NODES: dict[str, Callable[[Interpreter, Node], Any]] = {
    "literal": _literal, "full": _full, "load": _load, "load_valid": _load_valid, "list_valid": _load_valid,
    "record_valid": _record_valid, "index": _index, "table": _table_values,
    "take": _take, "defined": _defined,
    "ordinal": _ordinal, "count": _count, "reduce": _reduce, "merge": _merge, "call": _call, "output": _output,
    "output_valid": _output_valid,
}  # fmt: skip


def build(form: Form, value: Callable[[Item], Any], size: int) -> Any:
    """The awkward layout of a form over `size` elements, given the value of each space and node in it."""
    match form:
        case Scalar(x):
            return _number_layout(value(x), size)
        case Option(valid, content):
            inner = build(content, value, size)
            return ak.contents.ByteMaskedArray(
                ak.index.Index8(value(valid).view(np.int8)), inner, valid_when=True
            ).to_IndexedOptionArray64()
        case List(space, content, length):
            extent = value(space)
            inner = build(content, value, len(extent))
            if length is not None and len(extent) == length * size:
                return ak.contents.RegularArray(inner, length, size)
            return ak.contents.ListOffsetArray(ak.index.Index64(np.asarray(extent.offsets, np.int64)), inner)
        case Record():
            parts = [build(form[name], value, size) for name in form]
            names = None if form.tuple else list(form)
            parameters = {"__record__": form.name} if form.name else None
            return ak.contents.RecordArray(parts, names, size, parameters=parameters)


def _number_layout(values: Any, size: int) -> Any:
    values = np.broadcast_to(np.asarray(values), (size,)) if np.ndim(values) == 0 else values
    if values.dtype == TEXT:
        raw = [text.encode() for text in values.tolist()]
        offsets = offsets_of([len(text) for text in raw])
        chars = ak.contents.NumpyArray(np.frombuffer(b"".join(raw), np.uint8), parameters={"__array__": "char"})
        return ak.contents.ListOffsetArray(ak.index.Index64(offsets), chars, parameters={"__array__": "string"})
    return ak.contents.NumpyArray(np.ascontiguousarray(values))


def say_where(error: BaseException, item: Item) -> None:
    """Notes the user's line that recorded an item, unless some line was noted."""
    if item.line is not None and not any("recorded at" in note for note in getattr(error, "__notes__", [])):
        code = code_at(item.line)
        inside = "" if cell(item.line[0]) and item.line[2] == "<module>" else f", in {item.line[2]}"
        error.add_note(f"recorded at {place(item.line)}{inside}" + (f"\n    {code}" if code else ""))

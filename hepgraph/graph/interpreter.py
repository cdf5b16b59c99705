"""The meaning of a graph: every space, map and node evaluated with NumPy and awkward, one partition at a time.

This is the specification: whatever is faster must agree with it. A space becomes offsets into its elements, ordered by
parent; a map becomes positions (-1 where it is undefined); a node becomes a flat array, which is dropped after its last
use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

import awkward as ak
import numpy as np

from hepgraph.errors import DisagreementError, ShapeError
from hepgraph.functions.lines import cell, code_at, place
from hepgraph.graph.canonical import TEXT, TOTAL
from hepgraph.graph.consistency import Read, check_index, check_lists, first_copies
from hepgraph.graph.form import Form, List, Option, Record, Scalar
from hepgraph.graph.kinds import SPACES, Extent, is_partial, lists_of, map_kind
from hepgraph.graph.node import Item, Map, Node, Space, ancestors, as_space, ordered
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
                return SPACES[item.kind].extent(self, item)
            case Map():
                return map_kind(item).positions(self, item)
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


# nodes


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
    keys = None if isinstance(item.args[1], Space) else i.values[item.args[1]]
    check_index(item, values, keys, lambda space: i.values[space].offsets, i.provider)
    return values


def _first_copy(i: Interpreter, item: Node) -> Array:
    index, key, *valid = (i.values[arg] for arg in item.args)
    index = np.where(valid[0], index, -1) if valid else index
    return first_copies(item, index, key, i.values[as_space(item.space)].offsets, i.provider)


def _record_valid(i: Interpreter, item: Node) -> Array:
    origin, name = item.param
    valid, size = i.provider.record_valid(origin, name), i.size(as_space(item.space))
    if valid is not None and len(valid) != size:
        raise DisagreementError(f"there are {len(valid)} records {name!r} where {size} were expected")
    return np.ones(size, bool) if valid is None else valid


def _take(i: Interpreter, item: Node) -> Array:
    m, x = item.args
    where, values = i.values[m], i.values[x]
    if isinstance(m, Map) and is_partial(m):
        if not len(values):
            return np.zeros(len(where), item.dtype)
        return values[np.maximum(where, 0)]  # type: ignore[no-any-return]
    return values[where]  # type: ignore[no-any-return]


REDUCERS: dict[str, Callable[..., Any]] = {
    "sum": ak.sum, "prod": ak.prod, "any": ak.any, "all": ak.all, "min": ak.min, "max": ak.max,
    "count_nonzero": ak.count_nonzero,
}  # fmt: skip


def _moments(lists: Extent, values: Array) -> Array:
    """The number, mean and sum of squared deviations of each list."""
    out = np.zeros(len(lists.counts), MOMENTS)
    x = values.astype(np.float64, copy=False)
    out["n"] = n = lists.counts
    sums = ak.to_numpy(ak.sum(lists_of(lists, x), axis=1))
    out["mean"] = mean = np.divide(sums, n, out=np.zeros(len(n)), where=n > 0)
    away = x - mean[lists.parents]
    out["m2"] = ak.to_numpy(ak.sum(lists_of(lists, away * away), axis=1))
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
    result = REDUCERS[item.param](lists_of(i.values[x.space], i.values[x]), axis=1, mask_identity=False)  # type: ignore[index]
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


def _output(i: Interpreter, item: Node) -> Array:
    result: Array = i.values[item.args[0]].values(item.param)
    assert item.space is not None
    if len(result) != i.size(item.space):
        raise ShapeError(f"an opaque function returned {len(result)} values where {i.size(item.space)} were expected")
    return result


def _none_missing(valid: Callable[[Interpreter, Node], Array | None]) -> Callable[[Interpreter, Node], Array]:
    """The mask that something tells, all true where it tells of none."""

    def rule(i: Interpreter, item: Node) -> Array:
        found = valid(i, item)
        return np.ones(i.size(as_space(item.space)), bool) if found is None else found

    return rule


_VALID = _none_missing(lambda i, item: i.provider.valid(*item.param))
_NODES: dict[str, Callable[[Interpreter, Node], Any]] = {
    "literal": lambda i, item: item.param.value,
    "full": lambda i, item: np.full(i.size(as_space(item.space)), item.param.value, item.dtype),
    "load": _load, "load_valid": _VALID, "list_valid": _VALID,
    "record_valid": _record_valid, "index": _index, "first_copy": _first_copy,
    "table": lambda i, item: item.param.values.ravel(),
    "take": _take, "defined": lambda i, item: i.values[item.args[0]] >= 0,
    "ordinal": lambda i, item: SPACES[as_space(item.space).kind].positions(i, as_space(item.space)),
    "count": lambda i, item: i.values[item.args[0]].counts, "reduce": _reduce, "merge": _merge,
    "call": lambda i, item: item.param.call([i.values[arg] for arg in item.args]), "output": _output,
    "output_valid": _none_missing(lambda i, item: i.values[item.args[0]].valid(*item.param)),
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

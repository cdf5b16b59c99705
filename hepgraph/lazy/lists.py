"""Functions that rearrange lists: firsts, flatten, pad, sort, and their like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.graph.canonical import (
    TEXT,
    TOTAL,
    TRUE,
    apply,
    conjunction,
    conjuncts,
    filtered,
    flattened,
    full,
    inc,
    lift,
    ordinal,
    take,
    up,
)
from hepgraph.graph.form import Form, List, Record, Scalar, move, moved_option, option, unwrap
from hepgraph.graph.node import Space, literal, map_, space
from hepgraph.lazy.array import NUMPY_FUNCTIONS, Lazy
from hepgraph.lazy.broadcast import single, sole
from hepgraph.lazy.missing import drop_none
from hepgraph.lazy.reduce import NotInnermost, at_axis, at_level, function, level_of
from hepgraph.lazy.rows import different_masks, different_rows
from hepgraph.lazy.rules import Opaque


@function(ak.local_index)
def local_index(array: Lazy, axis: Any = -1) -> Lazy:
    """The position of each element in its list."""
    level = level_of(array, axis)
    if level == 0:
        if array._rows.kind != "events" or array._guard:
            raise UnsupportedError(
                "the position of a selected row depends on the whole dataset; use ak.local_index before cuts"
            )
        return Lazy(Scalar(ordinal(array._rows)), array._rows)

    def lists(inner: List, at: Space) -> Form:
        return List(inner.space, Scalar(ordinal(inner.space)), inner.size)

    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


@function(ak.firsts)
def firsts(array: Lazy, axis: Any = 1) -> Lazy:
    """The first element of each list, None where it is empty."""
    level = level_of(array, axis)
    if level == 0:
        raise UnsupportedError("the first row of a dataset (axis=0) is .head(1)[0]")

    def lists(form: List, at: Space) -> Form:
        return moved_option(form.content, map_("pick", at, form.space, (), ("at", 0, 0)))

    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


@function(ak.singletons)
def singletons(array: Lazy, axis: Any = 0) -> Lazy:
    """A list of one element for each value, an empty one for each None."""

    def single(form: Form, at: Space) -> Form:
        valid, inner = unwrap(form)
        if valid is TRUE and isinstance(inner, Record) and not inner.optional:
            raise UnsupportedError("no record here is None; ak.singletons(x.pt) of a field, or x[:, np.newaxis]")
        one = space("one", at)
        some = filtered(one, take(up(one), valid)) if valid is not TRUE else one
        moved = move(inner, up(one))
        return List(some, move(moved, inc(some)) if some is not one else moved)

    return at_axis(array, axis, single)


@function(ak.flatten)
def flatten(array: Lazy, axis: Any = 1) -> Lazy:
    """One list level less; with axis=None none at all, and no None."""
    if axis is None:
        return drop_none(_flat(array))
    level = level_of(array, axis)
    if level == 0:
        return drop_none(array, axis=0)
    if level == 1:
        valid, inner = unwrap(array._form)
        if not isinstance(inner, List):
            raise ShapeError("only lists can be flattened; this record holds its lists in its fields")
        if (inner.size == 1 or single(inner.space)) and inner.space.parent is array._rows:  # the rows stay
            content = move(inner.content, sole(inner.space, array._rows))
            return Lazy(content, array._rows, tuple(dict.fromkeys([*array._guard, *conjuncts(valid)])))
        masks = [lift(mask, inner.space) for mask in (*array._guard, *conjuncts(valid))]
        return Lazy(inner.content, inner.space, conjuncts(conjunction(masks, inner.space)))

    def lists(form: List, at: Space) -> Form:
        valid, inner = unwrap(form.content)
        if not isinstance(inner, List):
            raise ShapeError(f"axis={axis} exceeds the depth of this array")
        s, content = inner.space, inner.content
        if valid is not TRUE:
            s = filtered(s, lift(valid, s))
            content = move(content, inc(s))
        flat = flattened(s, at)
        return List(flat, move(content, inc(flat)))

    return Lazy(at_level(array._form, array._rows, level - 1, lists), array._rows, array._guard)


@function(ak.ravel)
def ravel(array: Lazy) -> Lazy:
    """All numbers as one flat array."""
    return _flat(array)


def _flat(array: Lazy) -> Lazy:
    result = array
    if result.fields and len(result.fields) > 1:
        raise UnsupportedError("the fields of records would follow one another; take one field first")
    while isinstance(unwrap(result._form)[1], List):
        result = flatten(result, axis=1)
    return result


@function(ak.pad_none)
def pad_none(array: Lazy, target: int, axis: Any = 1, *, clip: bool = False) -> Lazy:
    """Lists of at least (with clip: exactly) `target` elements, padded with None."""
    level = level_of(array, axis)
    if level == 0:
        raise UnsupportedError("a dataset cannot be padded; use axis=1")

    def lists(form: List, at: Space) -> Form:
        pad = space("pad", at, (form.space,), (int(target), bool(clip)))
        size = int(target) if clip else None if form.size is None else max(form.size, int(target))
        return List(pad, moved_option(form.content, inc(pad)), size)

    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


def _ordered(array: Lazy, axis: Any, name: str, ascending: bool, stable: bool, content: Callable[[List], Form]) -> Lazy:
    """The lists ordered by their numbers, with what `content` says in the places of these."""

    def lists(form: List, at: Space) -> Form:
        valid, key = unwrap(form.content)
        if isinstance(key, List):
            raise NotInnermost
        if not isinstance(key, Scalar):
            raise UnsupportedError("only numbers can be sorted; sort records by x[ak.argsort(x.pt, axis=1)]")
        if key.node.dtype == TEXT:
            raise Opaque
        args = (form.space, key.node) if valid is TRUE else (form.space, key.node, valid)
        order = space("perm", at, args, (bool(ascending), bool(stable)))
        return List(order, move(content(form), inc(order)))  # never of fixed length, as awkward has it

    level = level_of(array, axis)
    if level == 0:
        raise UnsupportedError(f"{name} of the rows needs the whole dataset at once; use axis=1, or compute first")
    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


@function(ak.argsort)
def argsort(array: Lazy, axis: Any = -1, *, ascending: bool = True, stable: bool = True) -> Lazy:
    """The positions that would sort each list."""
    return _ordered(array, axis, "ak.argsort", ascending, stable, lambda form: Scalar(ordinal(form.space)))


@function(ak.sort)
def sort(array: Lazy, axis: Any = -1, *, ascending: bool = True, stable: bool = True) -> Lazy:
    """Each list sorted."""
    return _ordered(array, axis, "ak.sort", ascending, stable, lambda form: form.content)


@function(ak.unflatten)
def unflatten(array: Any, counts: Any, axis: Any = 0) -> Lazy:
    """A flat array as lists of the given lengths, or lists as lists of lists; they must add up to what there is."""
    if not isinstance(array, Lazy) or not isinstance(counts, Lazy):
        raise UnsupportedError("ak.unflatten needs a lazy array and lazy counts, such as ak.num(jets) for each event")
    level = level_of(array, axis)
    lengths = unwrap(counts._form)[1]
    if level == 0:
        if not isinstance(lengths, Scalar):
            raise ShapeError("ak.unflatten with axis=0 needs one number for each event")
        if lengths is not counts._form:
            raise UnsupportedError("ak.unflatten needs a length for each event; there are None among these")
        n = lengths.node
        rows = array._rows
        if n.op == "count" and n.args[0] is rows and set(array._guard) == {lift(g, array._rows) for g in counts._guard}:
            return Lazy(List(array._rows, array._form), counts._rows, counts._guard)
        if n is full(1, rows) and set(array._guard) == set(counts._guard):  # the best of each event, flattened before
            one = space("one", rows)
            return Lazy(List(one, move(array._form, up(one))), rows, counts._guard)
        some = filtered(array._rows, conjunction(array._guard, array._rows))
        flat = flattened(some, TOTAL)
        form = move(array._form, inc(some)) if some is not array._rows else array._form
        if flat is not some:  # rows that are the events' are flat
            form = move(form, inc(flat))
        if counts._guard:
            n = apply("where", [conjunction(counts._guard, counts._rows), n, literal(np.int64(0))])
        split = space("split", counts._rows, (flat, n))
        return Lazy(List(split, move(form, inc(split))), counts._rows, counts._guard)
    if level != 1:
        raise UnsupportedError("ak.unflatten is recorded for axis 0 and 1 only; use hg.map_partitions")
    return _unflattened_lists(array, flatten(counts, axis=1) if isinstance(lengths, List) else counts)


def _unflattened_lists(array: Lazy, counts: Lazy) -> Lazy:
    """The lists of each event as lists of lists, of the given lengths: one number for each list that is to be."""
    valid, inner = unwrap(array._form)
    if not isinstance(inner, List) or not isinstance(counts._form, Scalar):
        raise ShapeError("ak.unflatten with axis=1 needs a list of numbers for each event, and lengths without None")
    rows, n, outer = array._rows, counts._form.node, counts._rows
    if n.dtype.kind not in "iu":
        raise ShapeError(f"ak.unflatten: the counts must be integers, not {n.dtype}")
    if outer is rows:  # one list for each event
        outer = space("one", rows)
        counts = Lazy(Scalar(take(up(outer), n)), outer, tuple(take(up(outer), mask) for mask in counts._guard))
        n = take(up(outer), n)
    if outer.parent is not rows:
        raise different_rows(array, counts)
    masks = [lift(mask, outer) for mask in array._guard]
    if not set(masks) <= set(counts._guard):
        raise different_masks(array, Lazy(array._form, rows, ()))
    own = [mask for mask in counts._guard if mask not in masks]
    kept = filtered(outer, conjunction(own, outer))
    passed = conjunction([*array._guard, valid], rows)
    some = filtered(inner.space, lift(passed, inner.space))
    if kept is not outer:
        n = take(inc(kept), n)
    if array._guard:
        n = apply("where", [lift(conjunction(array._guard, rows), kept), n, literal(np.int64(0))])
    split = space("split", kept, (some, n))
    content = move(inner.content, inc(some)) if some is not inner.space else inner.content
    return Lazy(option(valid, List(kept, List(split, move(content, inc(split))))), rows, array._guard)


NUMPY_FUNCTIONS[np.sort] = lambda a, axis=-1: ak.sort(a, axis=axis)
NUMPY_FUNCTIONS[np.argsort] = lambda a, axis=-1: ak.argsort(a, axis=axis)
NUMPY_FUNCTIONS[np.ravel] = lambda a: ak.ravel(a)

"""Functions that put arrays together: zip, fields of records, concatenate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, ShapeError, UnsupportedError, suggestion
from hepgraph.graph.canonical import TEXT, TOTAL, TRUE, both, filtered, inc, lift
from hepgraph.graph.form import Form, List, Option, Record, Scalar, change, items, move, option, unwrap
from hepgraph.graph.node import Node, Space, space
from hepgraph.lazy.array import NUMPY_FUNCTIONS, Lazy, together
from hepgraph.lazy.broadcast import broadcast
from hepgraph.lazy.index import with_field
from hepgraph.lazy.join import joined, settled
from hepgraph.lazy.reduce import at_level, function, level_of, record_name

# records


@function(ak.zip)
def zip_(
    arrays: Any,
    depth_limit: int | None = None,
    *,
    parameters: Any = None,
    with_name: str | None = None,
    optiontype_outside_record: bool = False,
) -> Lazy:
    """A record of several arrays, lists matched level by level."""
    named = isinstance(arrays, Mapping)
    names = list(arrays) if named else [str(i) for i in range(len(arrays))]
    forms, rows, guard = together(list(arrays.values()) if named else list(arrays))
    name = record_name(parameters, with_name)

    def leaf(parts: list[Form], at: Space) -> Form:
        valid, inner = TRUE, []
        for part in parts:
            if optiontype_outside_record and isinstance(part, Option):
                valid, part = both(valid, part.valid), part.content
            inner.append(settled(part, at))
        return option(valid, Record(dict(zip(names, inner, strict=True)), name, not named))

    depth = None if depth_limit is None else depth_limit - 1
    return Lazy(broadcast(forms, rows, leaf, options=False, depth=depth, guard=guard), rows, guard)


@function(ak.unzip)
def unzip(array: Lazy, *, how: Any = tuple) -> Any:
    """The fields, as a tuple, list or dict of arrays."""
    if how is dict:
        return {name: array[name] for name in array.fields} or {"0": array}
    if how not in (tuple, list):
        raise UnsupportedError(f"ak.unzip: how={how!r} is none of tuple, list and dict")
    return how(array[name] for name in array.fields) or how([array])


@function(ak.with_field)
def with_field_(array: Any, what: Any, where: Any = None) -> Lazy:
    """A record with one more field, or another value for one."""
    forms, rows, guard = together([array, what])
    if where is None:
        raise UnsupportedError("ak.with_field needs the name of the field (where=)")
    path = [where] if isinstance(where, str) else list(where)
    return Lazy(with_field(forms[0], forms[1], path, rows, guard), rows, guard)


@function(ak.without_field)
def without_field(array: Lazy, where: Any) -> Lazy:
    """A record without one field."""
    path = [where] if isinstance(where, str) else list(where)

    def drop(form: Form, names: Sequence[str]) -> Form:
        def leaf(record: Form) -> Form:
            if not isinstance(record, Record) or names[0] not in record:
                known = list(record) if isinstance(record, Record) else []
                raise FieldError(f"No field {names[0]!r} to remove.\n{suggestion(names[0], known)}")
            if len(names) > 1:
                return record.with_fields({names[0]: drop(record[names[0]], names[1:])})
            return record.only([name for name in record if name != names[0]])

        return change(form, leaf)

    return Lazy(drop(array._form, path), array._rows, array._guard)


@function(ak.with_name)
def with_name(array: Lazy, name: str | None) -> Lazy:
    """The same records under another name."""

    def leaf(form: Form) -> Form:
        if not isinstance(form, Record):
            return form
        return Record(form.fields, name, form.tuple, form.maps)

    return Lazy(change(array._form, leaf), array._rows, array._guard)


@function(ak.to_packed, ak.copy)
def same(array: Lazy) -> Lazy:
    """The array as it is."""
    return array


@function(ak.to_backend)
def to_backend(array: Lazy, backend: str) -> Lazy:
    """The array as it is, in the memory of the CPU."""
    if backend != "cpu":
        raise UnsupportedError(f"ak.to_backend: backend={backend!r} cannot be recorded; use .compute() first")
    return array


@function(ak.without_parameters)
def without_parameters(array: Lazy) -> Lazy:
    """The same records without a name."""
    if any(isinstance(item, Node) and item.dtype == TEXT for item in items(array._form)):
        raise UnsupportedError("ak.without_parameters would make bytes of strings; use .compute() first")
    return Lazy(_nameless(array._form), array._rows, array._guard)


def _nameless(form: Form) -> Form:
    return change(form, lambda part: replace(part.plain(_nameless), name=None) if isinstance(part, Record) else part)


@function(ak.from_regular)
def from_regular(array: Lazy, axis: Any = 1) -> Lazy:
    """Lists of a fixed length become lists of any length."""

    def loose(form: Form) -> Form:
        match form:
            case Option(valid, content):
                return option(valid, loose(content))
            case List(s, content, _):
                return List(s, loose(content))
            case _:
                return form

    if axis is None:
        return Lazy(loose(array._form), array._rows, array._guard)
    form = at_level(array._form, array._rows, level_of(array, axis), lambda lists, at: List(lists.space, lists.content))
    return Lazy(form, array._rows, array._guard)


@function(ak.to_regular)
def to_regular(array: Lazy, axis: Any = 1) -> Lazy:
    """Lists that have a fixed length by construction, as they are."""

    def fixed(lists: List, at: Space) -> Form:
        if lists.size is None:
            raise UnsupportedError(
                "ak.to_regular: whether these lists have one length, and which, is known only after they were read. "
                "Give them one with ak.pad_none(x, n, axis=1, clip=True), or use .compute() first."
            )
        return lists

    for level in range(1, array.ndim) if axis is None else [level_of(array, axis)]:
        if level:
            at_level(array._form, array._rows, level, fixed)
    return array


# concatenation


@function(ak.concatenate)
def concatenate(arrays: Any, axis: Any = 0, *, mergebool: bool = True) -> Lazy:
    """The lists of several arrays, one after the other (axis=1); booleans and numbers are never mixed."""
    if isinstance(arrays, Lazy):
        raise UnsupportedError("ak.concatenate needs a list of arrays")
    arrays = list(arrays)
    forms, rows, guard = together(arrays) if axis != 0 else ([], TOTAL, ())
    lazy = next(a for a in arrays if isinstance(a, Lazy))
    level = level_of(lazy, axis)
    if level == 0:
        raise UnsupportedError(
            "Datasets cannot be concatenated lazily (axis=0). Open them together, hg.from_root([a, b]), or fill the "
            "same histogram from each."
        )

    if any(isinstance(a, Lazy) and level_of(a, axis) != level for a in arrays):
        raise ShapeError(f"axis={axis} is not the same level in all of these arrays; give a positive axis")

    def leaf(parts: list[Form], at: Space) -> Form:
        return joined([_as_list(part, at, level) for part in parts], at)

    return Lazy(broadcast(forms, rows, leaf, depth=level - 1, guard=guard), rows, guard)


def _as_list(form: Form, at: Space, axis: int) -> List:
    """A part of a concatenation: a missing list is empty, a plain number a list of one."""
    valid, inner = unwrap(form)
    if isinstance(inner, Scalar) and inner.node.space is None:
        return List(space("one", at), settled(inner, space("one", at)), 1)
    if not isinstance(inner, List):
        raise ShapeError(f"ak.concatenate with axis={axis} needs lists at that depth in every array")
    if valid is TRUE:
        return inner
    some = filtered(inner.space, lift(valid, inner.space))
    return List(some, move(inner.content, inc(some)))


NUMPY_FUNCTIONS[np.concatenate] = lambda arrays, axis=0: ak.concatenate(arrays, axis=axis)

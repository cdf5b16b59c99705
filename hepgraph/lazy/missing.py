"""None: found, dropped, filled, and made by masks."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.graph.canonical import BOOL, TRUE, apply, conjuncts, filtered, full, inc
from hepgraph.graph.form import Form, List, Option, Record, Scalar, move, option, unwrap
from hepgraph.graph.node import Node, Space, literal
from hepgraph.lazy.array import Lazy, together
from hepgraph.lazy.broadcast import broadcast
from hepgraph.lazy.join import settled
from hepgraph.lazy.reduce import at_axis, function, level_of
from hepgraph.lazy.rules import Opaque


@function(ak.is_none)
def is_none(array: Lazy, axis: Any = 0) -> Lazy:
    """Whether each element at an axis is None."""

    def mark(form: Form, at: Space) -> Form:
        valid, inner = unwrap(form)
        if valid is TRUE and isinstance(inner, Record) and not inner.optional:
            raise UnsupportedError("no record here is None; ask one of its fields: ak.is_none(x.pt, axis=...)")
        return Scalar(full(False, at) if valid is TRUE else apply("logical_not", [valid]))

    return at_axis(array, axis, mark)


@function(ak.drop_none)
def drop_none(array: Lazy, axis: Any = None) -> Lazy:
    """Without what is None, at one axis or (None) at all."""
    form, rows, guard = array._form, array._rows, array._guard
    level = None if axis is None else level_of(array, axis)
    if level in (None, 0) and isinstance(form, Option):
        guard = tuple(dict.fromkeys([*guard, *conjuncts(form.valid)]))
        form = form.content

    def without(form: Form, depth: int) -> Form:
        valid, inner = unwrap(form)
        if isinstance(inner, Record):
            return option(valid, inner.plain(lambda field: without(field, depth)))
        if isinstance(inner, List):
            s, content = inner.space, inner.content
            plain = level == depth and isinstance(content, Record) and not content.optional
            if plain and any(isinstance(content[n], Option) for n in content):  # type: ignore[index, union-attr]
                raise UnsupportedError("None in the fields of a record cannot be dropped; drop them from one field")
            if level in (None, depth) and isinstance(content, Option):
                some = filtered(s, content.valid)
                return option(valid, List(some, without(move(content.content, inc(some)), depth + 1)))
            return option(valid, List(s, without(content, depth + 1), inner.size))
        return form

    return Lazy(without(form, 1), rows, guard)


@function(ak.fill_none)
def fill_none(array: Any, value: Any, axis: Any = -1) -> Any:
    """None replaced by a number."""
    if not isinstance(value, bool | int | float | complex | np.generic | str) and np.ndim(value) != 0:
        raise Opaque
    if isinstance(value, Lazy):
        raise UnsupportedError("ak.fill_none needs a plain number; use ak.where(ak.is_none(x), other, x)")
    level = None if axis is None else level_of(array, axis)

    def fill(form: Form, depth: int) -> Form:
        valid, inner = unwrap(form)
        if isinstance(inner, List):
            if valid is not TRUE and level in (None, depth):
                raise UnsupportedError("a missing list cannot be filled with a number; use ak.drop_none or axis=-1")
            return option(valid, List(inner.space, fill(inner.content, depth + 1), inner.size))
        if isinstance(inner, Record):
            if valid is not TRUE and level in (None, depth):
                raise UnsupportedError("a missing record cannot be filled with a number; fill its fields")
            return option(valid, inner.plain(lambda field: fill(field, depth)))
        if valid is TRUE or level not in (None, depth):
            return form
        assert isinstance(inner, Scalar)
        return Scalar(apply("where", [valid, inner.node, typed(value)]))

    return Lazy(fill(array._form, 0), array._rows, array._guard)


def typed(value: Any) -> Node:
    """A literal with the dtype that awkward gives it."""
    return literal(value if isinstance(value, str) else np.asarray(value))


@function(ak.mask)
def mask(array: Any, mask: Any, *, valid_when: bool = True) -> Lazy:
    """None where the mask is false; the lengths stay."""
    forms, rows, guard = together([array, mask])

    def leaf(parts: list[Form], at: Space) -> Form:
        content, keep = parts
        if not isinstance(keep, Scalar) or keep.node.dtype != BOOL:
            raise ShapeError("a mask must be boolean")
        test = settled(keep, at)
        assert isinstance(test, Scalar)
        node = test.node if valid_when else apply("logical_not", [test.node])
        return option(node, settled(content, at))

    masked = broadcast(forms, rows, leaf, stop=lambda parts: isinstance(parts[1], Scalar), guard=guard)
    return Lazy(masked, rows, guard)

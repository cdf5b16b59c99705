"""Slices: `x[...]` and `x[...] = y` on lazy arrays, with awkward's rules.

Rows are cut by adding a mask to the guard; lists are cut by a filter space; integers move values along a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, LazyError, RangeError, ShapeError, UnsupportedError
from hepgraph.graph.canonical import (
    BOOL,
    TRUE,
    apply,
    both,
    conjunction,
    conjuncts,
    count,
    filtered,
    inc,
    lift,
    ordinal,
    up,
)
from hepgraph.graph.form import Form, List, Option, Record, Scalar, change, deepest, leads_into, move, option, unwrap
from hepgraph.graph.kinds import stays
from hepgraph.graph.node import Map, Node, Space, as_map, as_node, literal, map_, space
from hepgraph.lazy.array import HOOKS, Lazy, attached, together
from hepgraph.lazy.broadcast import broadcast, realigned
from hepgraph.lazy.join import joined, settled
from hepgraph.lazy.rows import different_masks


def getitem(x: Lazy, where: Any) -> Any:
    """`x[where]`."""
    match where:
        case str():
            whole = leads_into(x._form, where)
            if whole is not None:
                return HOOKS["referred"](x, where, whole)
            return Lazy(_field(x._form, where), x._rows, x._guard)
        case list() if where and all(isinstance(name, str) for name in where):
            return Lazy(change(x._form, lambda form: _project(form, where)), x._rows, x._guard)
        case tuple():
            if any(isinstance(part, Lazy) and part._varies for part in where):
                return HOOKS["follow"](getitem, x, where)
            return _by_axes(x, where)
        case Lazy():
            return HOOKS["follow"](getitem, x, where) if where._varies else _by_array(x, where)
        case slice():
            return _rows_slice(x, where)
        case bool() | np.bool_():
            raise UnsupportedError("a single True or False is no slice of a lazy array")
        case int() | np.integer():
            raise LazyError(
                f"Row {where} of a lazy array is not known before it is computed; look at rows with "
                f".eager()[{where}] or .head(n)[{where}], or take the element {where} of each list with x[:, {where}]."
            )
        case None:
            raise UnsupportedError("a new axis before the rows cannot be recorded; x[:, np.newaxis] can")
        case e if e is Ellipsis:
            return x
        case _:
            if isinstance(where, (list, np.ndarray)) and len(where) and np.asarray(where).dtype.kind in "iu":
                raise UnsupportedError(
                    "Rows cannot be picked by their numbers: which partition holds them depends on the whole dataset. "
                    "Cut with a mask, look at .eager(), or use .compute() first."
                )
            return _by_array(x, attached(where, x))


def _field(form: Form, name: str) -> Form:
    if isinstance(form, Option):
        return option(form.valid, _field(form.content, name))
    if isinstance(form, List):
        return List(form.space, _field(form.content, name), form.size)
    if isinstance(form, Record):
        return form[name]
    raise FieldError(f"No field {name!r}: this is an array of numbers, without fields.")


def _project(form: Form, names: Sequence[str]) -> Form:
    if not isinstance(form, Record):
        raise FieldError(f"No fields {list(names)!r}: this is an array of numbers, without fields.")
    return form.only(list(names))


# by a lazy array


def _by_array(x: Lazy, index: Lazy) -> Lazy:
    if index._rows is not x._rows:
        forms, rows, guard = together([x, index])
        index = Lazy(forms[1], rows, guard)
    depth = deepest(index._form)
    if depth == 0:
        return _by_rows(x, index)
    if set(x._guard) != set(index._guard):
        raise different_masks(x, index)
    if _is_regular(index._form):
        raise UnsupportedError(
            "All lists of this slice have the same fixed length, and awkward takes such a slice as NumPy does: for "
            "whole rows. Say that it is one of lists: x[ak.from_regular(index)]."
        )
    return Lazy(_by_lists(x._form, index._form, x._rows, x._guard), x._rows, x._guard)


def _is_regular(form: Form) -> bool:
    """Whether a form is a plain array of several dimensions, without options."""
    while isinstance(form, List) and form.size is not None:
        form = form.content
    return isinstance(form, Scalar)


def _by_rows(x: Lazy, index: Lazy) -> Lazy:
    valid, content = unwrap(index._form)
    if not isinstance(content, Scalar):
        raise UnsupportedError("records cannot be used as a slice")
    if content.node.dtype != BOOL:
        raise UnsupportedError(
            "An array with one integer per event picks whole events, in an order that depends on the whole "
            "dataset. To take "
            "one element of each list, keep the list: ak.argmax(x, axis=1, keepdims=True) or ak.singletons(index)."
        )
    if set(x._guard) != set(index._guard):
        raise different_masks(x, index)
    if valid is TRUE:
        return Lazy(x._form, x._rows, _with_masks(x._guard, conjuncts(content.node)))
    keep = apply("bitwise_or", [apply("logical_not", [valid]), content.node])
    return Lazy(option(valid, x._form), x._rows, _with_masks(x._guard, (keep,)))


def _with_masks(guard: tuple[Node, ...], masks: Sequence[Node]) -> tuple[Node, ...]:
    new = tuple(mask for mask in masks if mask not in guard)
    return (*guard, *new) if new else guard


def _by_lists(form: Form, index: Form, at: Space, guard: tuple[Node, ...]) -> Form:
    """The lists of a form, cut or picked by the lists of an index."""
    valid, inner = unwrap(index)
    if not isinstance(inner, List):
        raise ShapeError("the slice has fewer list levels here than elsewhere")
    own, lists = unwrap(form)
    if not isinstance(lists, List):
        raise ShapeError("the slice has more list levels than the array that it is to cut")
    both_there = both(own, valid)
    if both_there is not TRUE:
        guard = (*guard, both_there)
    return option(both_there, _cut(lists, inner, at, guard))


def _cut(lists: List, index: List, at: Space, guard: tuple[Node, ...]) -> Form:
    present, values = unwrap(index.content)
    if isinstance(values, List):  # one level deeper
        content = realigned(List(lists.space, lists.content), index.space, guard)
        deeper = _by_lists(content, index.content, index.space, guard)
        return List(index.space, deeper)
    if not isinstance(values, Scalar):
        raise UnsupportedError("records cannot be used as a slice; use one of their fields")
    if values.node.dtype == BOOL:
        target = lists.space
        moved = realigned(List(index.space, index.content), target, guard)
        present, values = unwrap(moved)
        assert isinstance(values, Scalar)
        if present is TRUE:
            kept = filtered(target, values.node)
            return List(kept, move(lists.content, inc(kept)))
        kept = filtered(target, apply("bitwise_or", [apply("logical_not", [present]), values.node]))
        return List(kept, move(option(present, lists.content), inc(kept)))
    if values.node.dtype.kind not in "iu":
        raise UnsupportedError(f"a slice must hold booleans or integers, not {values.node.dtype}")
    if lists.space.parent is not at:
        raise ShapeError("this index does not belong to these lists")
    picked = _pointed(lists, values.node, present, guard)
    return List(index.space, option(present, picked))


def _pointed(lists: List, index: Node, present: Node, guard: tuple[Node, ...]) -> Form:
    """The elements of a list that an integer per element of another space points to."""
    maps: list[Map] = []
    at = index
    while at.op == "take":
        maps.append(as_map(at.args[0]))
        at = as_node(at.args[1])
    top = lists.space.parent
    if at.op == "ordinal" and at.space is lists.space and top is not None and all(stays(m, top) for m in maps):
        form = lists.content
        for m in reversed(maps):
            form = move(form, m)
        return form
    assert index.space is not None
    must = both(conjunction(guard, index.space), present)
    m = map_("gather", index.space, lists.space, (index, must), True)
    return move(lists.content, m)


# by several axes


def _by_axes(x: Lazy, where: tuple[Any, ...]) -> Any:
    if len(where) == 2 and type(where[1]) is int and isinstance(where[0], slice) and where[0] == slice(None):
        return Lazy(_below(x._form, where[1:], x._rows, x._guard), x._rows, x._guard)
    names = [i for i, part in enumerate(where) if _is_names(part)]
    if names:
        for i in names:
            x = getitem(x, where[i])
        where = tuple(part for part in where if not _is_names(part))
    if sum(part is Ellipsis for part in where) > 1:
        raise UnsupportedError("a slice can hold only one ellipsis")
    if where and where[-1] is Ellipsis:
        where = where[:-1]
    if not where:
        return x
    if Ellipsis in [part for part in where if not isinstance(part, (ak.Array, np.ndarray))]:
        i = next(i for i, part in enumerate(where) if part is Ellipsis)
        used = sum(part is not None for part in where) - 1
        fill = (slice(None),) * max(0, x.ndim - used)
        where = (*where[:i], *fill, *where[i + 1 :])
    _plain_axes(where)
    first, *rest = where
    if isinstance(first, (Lazy, ak.Array, np.ndarray, list, slice)):
        x = getitem(x, first)
    else:
        getitem(x, first)  # raises with the right words
    if not rest:
        return x
    return Lazy(_below(x._form, rest, x._rows, x._guard), x._rows, x._guard)


def _plain_axes(where: tuple[Any, ...]) -> None:
    """Refuses what NumPy pairs up: an axis picked by a list or array, and others beside it."""
    arrays = [part for part in where if isinstance(part, (ak.Array, np.ndarray, list))]
    if not arrays:
        return
    if len(arrays) > 1 or (isinstance(arrays[0], Lazy) and deepest(arrays[0]._form) > 0 and len(where) > 1):
        raise UnsupportedError("a slice can hold only one array or list, in two steps: x[a][:, b]")
    picks = [i for i, part in enumerate(where) if isinstance(part, (int, np.integer, ak.Array, np.ndarray, list))]
    if picks[-1] - picks[0] >= len(picks) or (isinstance(arrays[0], Lazy) and any(part is None for part in where)):
        raise UnsupportedError("indices on both sides of a slice cannot be recorded; slice in two steps, x[a][:, b]")


def _is_names(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, list) and bool(part) and all(isinstance(p, str) for p in part))


def _below(form: Form, where: Sequence[Any], at: Space, guard: tuple[Node, ...]) -> Form:
    """The rest of a slice, applied to what each row holds."""
    if not where:
        return form
    if where[0] is None:
        one = space("one", at)
        return List(one, _below(move(form, up(one)), where[1:], one, guard), 1)
    valid, inner = unwrap(form)
    must = both(conjunction(guard, at), valid)
    return option(valid, _axis(inner, where, at, guard, must))


def _axis(form: Form, where: Sequence[Any], at: Space, guard: tuple[Node, ...], must: Node) -> Form:
    first, rest = where[0], where[1:]
    if isinstance(form, Record):
        return form.plain(lambda field: _below(field, where, at, guard))
    if not isinstance(form, List):
        raise ShapeError("the slice has more axes than the array has list levels")
    match first:
        case bool():
            raise UnsupportedError("a single True or False is no slice of a lazy array")
        case int() | np.integer():
            return _below(_element(form, int(first), at, must), rest, at, guard)
        case slice():
            content = List(form.space, _below(form.content, rest, form.space, guard), form.size)
            return _sliced(content, first, at)
        case list() | np.ndarray() if np.asarray(first).dtype.kind in "iu" and np.asarray(first).ndim == 1:
            return _listed(form, [int(k) for k in first], rest, at, guard, must)
        case Lazy():
            raise UnsupportedError(
                "an array inside of a tuple of slices cannot be recorded; slice in two steps, x[:, a][b]"
            )
        case _:
            raise UnsupportedError(f"{first!r} cannot be used to slice a lazy array")


def _sliced(form: List, cut: slice, at: Space) -> Form:
    """The lists of a form, sliced from start to stop by step."""
    step = 1 if cut.step is None else int(cut.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if cut.start is None and cut.stop is None and step == 1:
        return form
    position = ordinal(form.space)
    length = lift(count(form.space), form.space)
    if step < 0:
        order = space("perm", at, (form.space, position), (False, True))
        reverse = List(order, move(form.content, inc(order)), form.size)
        start = None if cut.start is None else (-1 - int(cut.start))
        stop = None if cut.stop is None else (-1 - int(cut.stop))
        return _sliced(reverse, slice(start, stop, -step), at)
    mask = TRUE
    begin: Node = literal(0)
    if cut.start is not None and cut.start != 0:
        begin = literal(int(cut.start))
        if cut.start < 0:
            begin = apply("maximum", [apply("add", [length, begin]), literal(0)])
        mask = both(mask, apply("greater_equal", [position, begin]))
    if cut.stop is not None:
        end = literal(int(cut.stop))
        if cut.stop < 0:
            end = apply("add", [length, end])
        mask = both(mask, apply("less", [position, end]))
    mask = both(mask, _every(step, position, begin))
    kept = filtered(form.space, mask)
    size = None if form.size is None else len(range(*cut.indices(form.size)))
    return List(kept, move(form.content, inc(kept)), size)


def _every(step: int, position: Node, begin: Node) -> Node:
    """The mask of every so-manieth place, from some place on."""
    if step == 1:
        return TRUE
    return apply("equal", [apply("remainder", [apply("subtract", [position, begin]), literal(step)]), literal(0)])


def _element(form: List, k: int, at: Space, must: Node) -> Form:
    """The element at a place of each list, which must be there."""
    if form.size is not None and not -form.size <= k < form.size:
        raise RangeError(f"index {k} is out of range: these lists have {form.size} elements")
    return move(form.content, map_("pick", at, form.space, (must,), ("at", 0, k)))


def _listed(form: List, chosen: list[int], rest: Sequence[Any], at: Space, guard: Any, must: Node) -> Form:
    """The elements at fixed positions of each list, which must all be there."""
    parts = []
    for k in chosen:
        one = space("one", at)
        parts.append(List(one, move(_element(form, k, at, must), up(one)), 1))
    whole = joined(parts, at) if parts else List(filtered(form.space, literal(False)), form.content)
    return List(whole.space, _below(whole.content, rest, whole.space, guard), len(chosen))


# rows


def _rows_slice(x: Lazy, cut: slice) -> Lazy:
    if cut == slice(None):
        return x
    if x._rows.kind != "events" or x._guard:
        raise UnsupportedError(
            "Which rows a slice of a selection holds depends on the whole dataset. Slice the events before the "
            "selection, look at them with .eager()[start:stop], or compute first."
        )
    start, stop, step = cut.indices(x.source.entries)
    if step < 0:
        raise UnsupportedError("rows cannot be reversed lazily; reverse after .compute()")
    entry = ordinal(x._rows)
    mask = both(
        TRUE if start == 0 else apply("greater_equal", [entry, literal(start)]),
        TRUE if stop >= x.source.entries else apply("less", [entry, literal(stop)]),
    )
    return Lazy(x._form, x._rows, conjuncts(both(mask, _every(step, entry, literal(start)))))


# assignment


def setitem(x: Lazy, where: Any, what: Any) -> None:
    """`x[where] = what`: a new field, or another value for one, of this handle alone."""
    path = (where,) if isinstance(where, str) else where
    if not (isinstance(path, (tuple, list)) and path and all(isinstance(name, str) for name in path)):
        raise LazyError(
            "Only fields can be assigned: x['field'] = value or x['Muon', 'field'] = value. To change some elements, "
            "use ak.where(mask, new, old)."
        )
    if isinstance(what, Lazy) and what._varies:
        HOOKS["assign"](x, where, what)
        return
    forms, rows, guard = together([x, what])
    object.__setattr__(x, "_form", with_field(x._form, forms[1], list(path), rows, guard))


def with_field(form: Form, value: Form, path: list[str], at: Space, guard: tuple[Node, ...] = ()) -> Form:
    """A form with one field set, at the end of a path of names, through lists and options."""
    name, *below = path

    def leaf(parts: list[Form], where: Space) -> Form:
        record, new = parts
        if not isinstance(record, Record):
            raise FieldError(f"Field {name!r} can be set on records only, not on an array of numbers.")
        if below:
            new = with_field(record[name] if name in record else Record({}), new, below, where, guard)
        return record.with_fields({name: settled(new, where)})

    return broadcast([form, value], at, leaf, stop=lambda forms: isinstance(forms[0], Record), guard=guard)


HOOKS["getitem"] = getitem
HOOKS["setitem"] = setitem

"""Functions that rearrange: zip, concatenate, firsts, flatten, sort, pad, fill, and their like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, ShapeError, UnsupportedError, suggestion
from hepgraph.graph.canonical import (
    BOOL,
    TOTAL,
    TRUE,
    apply,
    both,
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
from hepgraph.graph.form import Form, List, Option, Record, Scalar, change, deepest, move, moved_option, option, unwrap
from hepgraph.graph.node import Node, Space, literal, map_, space
from hepgraph.lazy.array import FUNCTIONS, HOOKS, NUMPY_FUNCTIONS, Lazy, together
from hepgraph.lazy.broadcast import broadcast, elementwise
from hepgraph.lazy.index import with_field
from hepgraph.lazy.join import joined, settled
from hepgraph.lazy.reduce import at_level, function, level_of

# records


@function(ak.zip)
def zip_(
    arrays: Any,
    depth_limit: int | None = None,
    *,
    parameters: Any = None,
    with_name: str | None = None,
    right_broadcast: bool = False,
    optiontype_outside_record: bool = False,
    **_: Any,
) -> Lazy:
    """A record of several arrays, lists matched level by level."""
    named = isinstance(arrays, Mapping)
    names = list(arrays) if named else [str(i) for i in range(len(arrays))]
    forms, rows, guard = together(list(arrays.values()) if named else list(arrays))
    name = with_name or (parameters or {}).get("__record__")

    def leaf(parts: list[Form], at: Space) -> Form:
        valid, inner = TRUE, []
        for part in parts:
            if optiontype_outside_record and isinstance(part, Option):
                valid, part = both(valid, part.valid), part.content
            inner.append(settled(part, at))
        return option(valid, Record(dict(zip(names, inner, strict=True)), name, not named))

    depth = None if depth_limit is None else depth_limit - 1
    return Lazy(broadcast(forms, rows, leaf, options=False, depth=depth), rows, guard)


@function(ak.unzip)
def unzip(array: Lazy, **_: Any) -> tuple[Lazy, ...]:
    """The fields, as a tuple of arrays."""
    if not array.fields:
        return (array,)
    return tuple(array[name] for name in array.fields)


@function(ak.with_field)
def with_field_(array: Any, what: Any, where: Any = None, **_: Any) -> Lazy:
    """A record with one more field, or another value for one."""
    forms, rows, guard = together([array, what])
    if where is None:
        raise UnsupportedError("ak.with_field needs the name of the field (where=)")
    path = [where] if isinstance(where, str) else list(where)
    return Lazy(with_field(forms[0], forms[1], path, rows), rows, guard)


@function(ak.without_field)
def without_field(array: Lazy, where: Any, **_: Any) -> Lazy:
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
def with_name(array: Lazy, name: str | None = None, **_: Any) -> Lazy:
    """The same records under another name."""

    def leaf(form: Form) -> Form:
        if not isinstance(form, Record):
            return form
        return Record(form.fields, name, form.tuple, form.maps)

    return Lazy(change(array._form, leaf), array._rows, array._guard)


def _same(array: Lazy, *args: Any, **kwargs: Any) -> Lazy:
    return array


for _identity in (ak.to_packed, ak.copy, ak.without_parameters, ak.enforce_type, ak.to_backend):
    if _identity not in (ak.enforce_type,):
        FUNCTIONS[_identity] = _same


@function(ak.from_regular)
def from_regular(array: Lazy, axis: Any = 1, **_: Any) -> Lazy:
    """Lists of a fixed length become lists of any length."""

    def loose(form: Form) -> Form:
        match form:
            case Option(valid, content):
                return option(valid, loose(content))
            case List(s, content, _):
                return List(s, loose(content) if axis is None else content)
            case _:
                return form

    if axis is None:
        return Lazy(loose(array._form), array._rows, array._guard)
    form = at_level(array._form, array._rows, level_of(array, axis), lambda lists, at: List(lists.space, lists.content))
    return Lazy(form, array._rows, array._guard)


# concatenation


@function(ak.concatenate)
def concatenate(arrays: Any, axis: Any = 0, **_: Any) -> Lazy:
    """The lists of several arrays, one after the other (axis=1)."""
    if isinstance(arrays, Lazy):
        raise UnsupportedError("ak.concatenate needs a list of arrays")
    arrays = list(arrays)
    forms, rows, guard = together(arrays) if axis != 0 else ([], TOTAL, ())
    lazy = next(a for a in arrays if isinstance(a, Lazy))
    level = level_of(lazy, axis)
    if level == 0:
        raise UnsupportedError(
            "Datasets cannot be concatenated lazily (axis=0). Open them together, hg.from_root([a, b]), or fill the same "
            "histogram from each."
        )

    def join(parts: Sequence[Form], at: Space, level: int) -> Form:
        valid = TRUE
        lists: list[List] = []
        for part in parts:
            own, inner = unwrap(part)
            valid = both(valid, own)
            if not isinstance(inner, List):
                raise ShapeError(f"ak.concatenate with axis={axis} needs lists at that depth in every array")
            lists.append(inner)
        if level == 1:
            return option(valid, joined(lists, at))
        from hepgraph.lazy.broadcast import realigned

        target = lists[0].space
        below = [realigned(item, target) for item in lists]
        return option(valid, List(target, join(below, target, level - 1)))

    return Lazy(join(forms, rows, level), rows, guard)


# None


@function(ak.is_none)
def is_none(array: Lazy, axis: Any = 0, **_: Any) -> Lazy:
    """Whether each element at an axis is None."""

    def mark(form: Form, at: Space) -> Form:
        valid, _ = unwrap(form)
        return Scalar(full(False, at) if valid is TRUE else apply("logical_not", [valid]))

    level = level_of(array, axis)
    if level == 0:
        return Lazy(mark(array._form, array._rows), array._rows, array._guard)

    def lists(form: List, at: Space) -> Form:
        return List(form.space, mark(form.content, form.space), form.size)

    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


@function(ak.drop_none)
def drop_none(array: Lazy, axis: Any = None, **_: Any) -> Lazy:
    """Without what is None, at one axis or (None) at all."""
    form, rows, guard = array._form, array._rows, array._guard
    level = None if axis is None else level_of(array, axis)
    if level in (None, 0) and isinstance(form, Option):
        guard = tuple(dict.fromkeys([*guard, *conjuncts(form.valid)]))
        form = form.content

    def without(form: Form, depth: int) -> Form:
        valid, inner = unwrap(form)
        if isinstance(inner, List):
            s, content = inner.space, inner.content
            if level in (None, depth) and isinstance(content, Option):
                some = filtered(s, content.valid)
                return option(valid, List(some, without(move(content.content, inc(some)), depth + 1)))
            return option(valid, List(s, without(content, depth + 1), inner.size))
        return form

    return Lazy(without(form, 1), rows, guard)


@function(ak.fill_none)
def fill_none(array: Any, value: Any, axis: Any = -1, **_: Any) -> Any:
    """What is None replaced by a number."""
    if not isinstance(value, bool | int | float | complex | np.generic | str) and np.ndim(value) != 0:
        return HOOKS["opaque"](ak.fill_none, (array, value), {"axis": axis})
    if isinstance(value, Lazy):
        raise UnsupportedError("ak.fill_none needs a plain number; use ak.where(ak.is_none(x), other, x)")
    level = None if axis is None else level_of(array, axis)

    def fill(form: Form, depth: int, at: Space) -> Form:
        valid, inner = unwrap(form)
        if isinstance(inner, List):
            if valid is not TRUE and level in (None, depth):
                raise UnsupportedError("a missing list cannot be filled with a number; use ak.drop_none or axis=-1")
            return option(valid, List(inner.space, fill(inner.content, depth + 1, inner.space), inner.size))
        if isinstance(inner, Record):
            if valid is not TRUE and level in (None, depth):
                raise UnsupportedError("a missing record cannot be filled with a number; fill its fields")
            return option(
                valid, Record({name: fill(inner[name], depth, at) for name in inner}, inner.name, inner.tuple)
            )
        if valid is TRUE or level not in (None, depth):
            return form
        return Scalar(apply("where", [valid, inner.node, _typed(value)]))

    return Lazy(fill(array._form, 0, array._rows), array._rows, array._guard)


def _typed(value: Any) -> Node:
    """A literal with the dtype that awkward gives it."""
    if isinstance(value, bool | int | float | complex):
        return literal(np.asarray(value)[()])
    return literal(value)


@function(ak.mask)
def mask(array: Any, mask: Any, *, valid_when: bool = True, **_: Any) -> Lazy:
    """None where the mask is false; the lengths stay."""
    forms, rows, guard = together([array, mask])

    def leaf(parts: list[Form], at: Space) -> Form:
        present, keep = unwrap(parts[1])
        if not isinstance(keep, Scalar) or keep.node.dtype != BOOL:
            raise ShapeError("a mask must be boolean")
        node = lift(keep.node, at) if valid_when else apply("logical_not", [lift(keep.node, at)])
        return option(both(present, node), parts[0])

    return Lazy(broadcast(forms, rows, leaf, options=False, depth=deepest(forms[1])), rows, guard)


# choices and constants


@function(ak.where)
def where(condition: Any, *args: Any, **_: Any) -> Lazy:
    """One value or the other for each element."""
    if len(args) != 2:
        raise UnsupportedError("ak.where needs three arguments; positions of true elements are ak.local_index(x)[x]")
    forms, rows, guard = together([condition, *args])
    return Lazy(choose(forms, rows), rows, guard)


def choose(forms: Sequence[Form], rows: Space) -> Form:
    """A condition, and two forms to choose from."""

    def leaf(parts: list[Form], at: Space) -> Form:
        present, test = unwrap(parts[0])
        (va, a), (vb, b) = unwrap(parts[1]), unwrap(parts[2])
        if not isinstance(test, Scalar):
            raise ShapeError("the condition of ak.where must be an array of booleans")
        yes = test.node if test.node.dtype == BOOL else apply("not_equal", [test.node, literal(0)])
        valid = TRUE
        if va is not TRUE or vb is not TRUE:
            valid = apply("where", [yes, va, vb])
        valid = both(present, valid)
        if isinstance(a, Record) and isinstance(b, Record):
            names = [name for name in a if name in b]
            fields = {name: choose([Scalar(yes), a[name], b[name]], at) for name in names}
            return option(valid, Record(fields, a.name if a.name == b.name else None, a.tuple))
        if not (isinstance(a, Scalar) and isinstance(b, Scalar)):
            raise UnsupportedError("ak.where cannot choose between records and numbers, or lists of other depths")
        return option(valid, Scalar(apply("where", [yes, _strong(a.node), _strong(b.node)])))

    return broadcast(forms, rows, leaf, options=False)


def _strong(node: Node) -> Node:
    return _typed(node.param.value) if node.op == "literal" else node


def _constant(value: Any) -> Any:
    def rule(array: Lazy, *, dtype: Any = None, **_: Any) -> Lazy:
        return full_like(array, value, dtype=dtype)

    return rule


@function(ak.full_like)
def full_like(array: Lazy, fill_value: Any, *, dtype: Any = None, **_: Any) -> Lazy:
    """The same value everywhere, with the shape (and dtype) of another array."""

    def leaf(form: Form, at: Space) -> Form:
        match form:
            case Option(valid, content):
                return option(valid, leaf(content, at))
            case List(s, content, size):
                return List(s, leaf(content, s), size)
            case Record():
                return Record({name: leaf(form[name], at) for name in form}, form.name, form.tuple)
            case Scalar(x):
                kind = np.dtype(dtype) if dtype is not None else x.dtype
                return Scalar(full(np.asarray(fill_value).astype(kind)[()], at))

    return Lazy(leaf(array._form, array._rows), array._rows, array._guard)


FUNCTIONS[ak.zeros_like] = _constant(0)
FUNCTIONS[ak.ones_like] = _constant(1)


@function(ak.values_astype)
def values_astype(array: Lazy, to: Any, **_: Any) -> Lazy:
    """The numbers with another dtype."""
    kind = np.dtype(to)

    def leaf(form: Form) -> Form:
        if isinstance(form, Record):
            return Record({name: change(form[name], leaf) for name in form}, form.name, form.tuple)
        assert isinstance(form, Scalar)
        return form if form.node.dtype == kind else Scalar(apply("astype", [form.node], (kind.str,)))

    return Lazy(change(array._form, leaf), array._rows, array._guard)


def _unary(op: str) -> Any:
    def rule(array: Lazy, *args: Any, **kwargs: Any) -> Lazy:
        forms, rows, guard = together([array])
        return Lazy(elementwise(op, forms, rows, args), rows, guard)

    return rule


FUNCTIONS[ak.real], FUNCTIONS[ak.imag] = _unary("real"), _unary("imag")


@function(ak.angle)
def angle(val: Lazy, deg: bool = False, **_: Any) -> Lazy:
    """The angle of complex numbers in radians (or degrees)."""
    result = _unary("angle")(val)
    return result * (180 / np.pi) if deg else result  # type: ignore[no-any-return]


@function(ak.round)
def round_(array: Lazy, decimals: int = 0, **_: Any) -> Lazy:
    """The numbers rounded to some decimals."""
    return _unary("round")(array, decimals)  # type: ignore[no-any-return]


@function(ak.nan_to_num)
def nan_to_num(
    array: Lazy, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None, **_: Any
) -> Lazy:
    """NaN and infinities replaced by numbers."""
    return _unary("nan_to_num")(array, nan, posinf, neginf)  # type: ignore[no-any-return]


@function(ak.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False, **_: Any) -> Lazy:
    """Whether two arrays agree within tolerances."""
    forms, rows, guard = together([a, b])
    return Lazy(elementwise("isclose", forms, rows, (rtol, atol, equal_nan)), rows, guard)


@function(ak.broadcast_arrays)
def broadcast_arrays(*arrays: Any, depth_limit: int | None = None, **_: Any) -> list[Lazy]:
    """Each array with the lists of all."""
    forms, rows, guard = together(arrays)
    results = []
    for i in range(len(forms)):

        def leaf(parts: list[Form], at: Space, i: int = i) -> Form:
            return settled(parts[i], at)

        depth = None if depth_limit is None else depth_limit - 1
        results.append(Lazy(broadcast(forms, rows, leaf, options=False, depth=depth), rows, guard))
    return results


# lists


@function(ak.local_index)
def local_index(array: Lazy, axis: Any = -1, **_: Any) -> Lazy:
    """The position of each element in its list."""
    level = level_of(array, axis)
    if level == 0:
        if array._rows.kind != "events" or array._guard:
            raise UnsupportedError(
                "the position of a selected row depends on the whole dataset; use ak.local_index before cuts"
            )
        return Lazy(Scalar(ordinal(array._rows)), array._rows)
    form = _first_field(array._form)

    def lists(inner: List, at: Space) -> Form:
        return List(inner.space, Scalar(ordinal(inner.space)), inner.size)

    return Lazy(at_level(form, array._rows, level, lists), array._rows, array._guard)


def _first_field(form: Form) -> Form:
    """The form without a record above the lists that a position is asked for."""
    if isinstance(form, Record) and all(deepest(form[name]) for name in form):
        raise UnsupportedError("positions differ from field to field; take a field first")
    return form


@function(ak.firsts)
def firsts(array: Lazy, axis: Any = 1, **_: Any) -> Lazy:
    """The first element of each list, None where it is empty."""
    level = level_of(array, axis)
    if level == 0:
        raise UnsupportedError("the first row of a dataset is .head(1)[0]")

    def lists(form: List, at: Space) -> Form:
        return moved_option(form.content, map_("pick", at, form.space, (), ("at", 0, 0)))

    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


@function(ak.singletons)
def singletons(array: Lazy, axis: Any = 0, **_: Any) -> Lazy:
    """A list of one element for each value, an empty one for each None."""

    def single(form: Form, at: Space) -> Form:
        valid, inner = unwrap(form)
        one = space("one", at)
        some = filtered(one, take(up(one), valid)) if valid is not TRUE else one
        moved = move(inner, up(one))
        return List(some, move(moved, inc(some)) if some is not one else moved)

    level = level_of(array, axis)
    if level == 0:
        return Lazy(single(array._form, array._rows), array._rows, array._guard)

    def lists(form: List, at: Space) -> Form:
        return List(form.space, single(form.content, form.space), form.size)

    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


@function(ak.flatten)
def flatten(array: Lazy, axis: Any = 1, **_: Any) -> Lazy:
    """One list level less; with axis=None none at all, and no None."""
    if axis is None:
        return ravel(array, drop=True)
    level = level_of(array, axis)
    if level == 0:
        return drop_none(array, axis=0)
    if level == 1:
        valid, inner = unwrap(array._form)
        if not isinstance(inner, List):
            raise ShapeError("only lists can be flattened; this record holds its lists in its fields")
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
def ravel(array: Lazy, drop: bool = False, **_: Any) -> Lazy:
    """All numbers as one flat array."""
    result = array
    if result.fields and len(result.fields) > 1:
        raise UnsupportedError("the fields of records would follow one another; take one field first")
    while isinstance(unwrap(result._form)[1], List):
        result = flatten(result, axis=1)
    return drop_none(result) if drop else result


@function(ak.pad_none)
def pad_none(array: Lazy, target: int, axis: Any = 1, *, clip: bool = False, **_: Any) -> Lazy:
    """Lists of at least (with clip: exactly) `target` elements, padded with None."""
    level = level_of(array, axis)
    if level == 0:
        raise UnsupportedError("a dataset cannot be padded; use axis=1")

    def lists(form: List, at: Space) -> Form:
        pad = space("pad", at, (form.space,), (int(target), bool(clip)))
        return List(pad, moved_option(form.content, inc(pad)), int(target) if clip else None)

    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


def _order(lists: List, at: Space, ascending: bool, stable: bool) -> Space:
    valid, key = unwrap(lists.content)
    if not isinstance(key, Scalar):
        raise UnsupportedError("only numbers can be sorted; sort records by x[ak.argsort(x.pt, axis=1)]")
    args = (lists.space, key.node) if valid is TRUE else (lists.space, key.node, valid)
    return space("perm", at, args, (bool(ascending), bool(stable)))


def _needs_lists(array: Lazy, axis: Any, name: str) -> int:
    level = level_of(array, axis)
    if level == 0:
        raise UnsupportedError(f"{name} of the rows needs the whole dataset at once; use axis=1, or compute first")
    return level


@function(ak.argsort)
def argsort(array: Lazy, axis: Any = -1, *, ascending: bool = True, stable: bool = True, **_: Any) -> Lazy:
    """The positions that would sort each list."""

    def lists(form: List, at: Space) -> Form:
        order = _order(form, at, ascending, stable)
        return List(order, Scalar(take(inc(order), ordinal(form.space))), form.size)

    level = _needs_lists(array, axis, "ak.argsort")
    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


@function(ak.sort)
def sort(array: Lazy, axis: Any = -1, *, ascending: bool = True, stable: bool = True, **_: Any) -> Lazy:
    """Each list sorted."""

    def lists(form: List, at: Space) -> Form:
        order = _order(form, at, ascending, stable)
        return List(order, move(form.content, inc(order)), form.size)

    level = _needs_lists(array, axis, "ak.sort")
    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


@function(ak.unflatten)
def unflatten(array: Any, counts: Any, axis: Any = 0, **_: Any) -> Lazy:
    """A flat array as lists of the given lengths; they must add up to what there is."""
    if not isinstance(counts, Lazy):
        raise UnsupportedError("ak.unflatten needs lazy counts, one for each event, such as ak.num(jets)")
    level = level_of(array, axis)
    lengths = unwrap(counts._form)[1]
    if level == 0:
        if not isinstance(lengths, Scalar):
            raise ShapeError("ak.unflatten with axis=0 needs one number for each event")
        n = lengths.node
        if (
            n.op == "count"
            and n.args[0] is array._rows
            and set(array._guard) == {lift(g, array._rows) for g in counts._guard}
        ):
            return Lazy(List(array._rows, array._form), counts._rows, counts._guard)
        some = filtered(array._rows, conjunction(array._guard, array._rows))
        flat = flattened(some, TOTAL)
        form = move(move(array._form, inc(some)) if some is not array._rows else array._form, inc(flat))
        if counts._guard:
            n = apply("where", [conjunction(counts._guard, counts._rows), n, literal(np.int64(0))])
        split = space("split", counts._rows, (flat, n))
        return Lazy(List(split, move(form, inc(split))), counts._rows, counts._guard)
    if level != 1 or not isinstance(lengths, List):
        raise UnsupportedError("ak.unflatten is recorded for axis 0 and 1 only; use hg.map_partitions")
    inner, present = unwrap(array._form)[1], unwrap(lengths.content)[1]
    if not isinstance(inner, List) or not isinstance(present, Scalar):
        raise ShapeError("ak.unflatten with axis=1 needs a list of numbers for each event")
    split = space("split", lengths.space, (inner.space, present.node))
    return Lazy(List(lengths.space, List(split, move(inner.content, inc(split)))), array._rows, array._guard)


NUMPY_FUNCTIONS[np.where] = where
NUMPY_FUNCTIONS[np.concatenate] = concatenate
NUMPY_FUNCTIONS[np.round] = lambda a, decimals=0: round_(a, decimals)
NUMPY_FUNCTIONS[np.around] = NUMPY_FUNCTIONS[np.round]
NUMPY_FUNCTIONS[np.clip] = lambda a, a_min=None, a_max=None, **k: np.minimum(
    np.maximum(a, a_min if a_min is not None else k.get("min", -np.inf)),
    a_max if a_max is not None else k.get("max", np.inf),
)
NUMPY_FUNCTIONS[np.ones_like] = FUNCTIONS[ak.ones_like]
NUMPY_FUNCTIONS[np.zeros_like] = FUNCTIONS[ak.zeros_like]
NUMPY_FUNCTIONS[np.full_like] = FUNCTIONS[ak.full_like]
NUMPY_FUNCTIONS[np.sort] = FUNCTIONS[ak.sort]
NUMPY_FUNCTIONS[np.argsort] = FUNCTIONS[ak.argsort]
NUMPY_FUNCTIONS[np.ravel] = FUNCTIONS[ak.ravel]
NUMPY_FUNCTIONS[np.broadcast_arrays] = broadcast_arrays

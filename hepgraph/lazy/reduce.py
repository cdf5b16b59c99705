"""Reductions: over the lists of each event, or over the whole dataset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import awkward as ak
import numpy as np

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.graph.canonical import (
    BOOL,
    INT,
    TEXT,
    TOTAL,
    TRUE,
    apply,
    conjunction,
    count,
    defined,
    filtered,
    flattened,
    full,
    inc,
    lift,
    ordinal,
    pulled,
    reduce,
    take,
    up,
)
from hepgraph.graph.form import Form, List, Option, Record, Scalar, leaves, lengths, move, option, uneven, unwrap
from hepgraph.graph.interpreter import reduced_dtype
from hepgraph.graph.node import Item, Node, Space, as_map, as_node, as_space, literal, map_, ordered, space
from hepgraph.graph.ops import MOMENTS, OPS
from hepgraph.lazy.array import FUNCTIONS, NUMPY_FUNCTIONS, Lazy
from hepgraph.lazy.rules import Opaque, taking

Level = Callable[[List, Space], Form]
Over = Callable[[Space, Node], Form]


Rule = TypeVar("Rule", bound=Callable[..., Any])


def function(*names: Any) -> Callable[[Rule], Rule]:
    """Registers what an awkward function does to lazy arrays."""

    def register(rule: Rule) -> Rule:
        for name in names:
            FUNCTIONS[name] = rule
        return rule

    return register


def record_name(parameters: Any, with_name: str | None) -> str | None:
    """The name of the records of a result, as awkward's functions are told it."""
    if unknown := set(parameters or {}) - {"__record__"}:
        raise UnsupportedError(
            f"parameters={parameters!r}: lazy records have a name (__record__), and no other parameters "
            f"({', '.join(map(repr, sorted(unknown)))})"
        )
    return with_name or (parameters or {}).get("__record__")


def level_of(x: Lazy, axis: Any) -> int:
    """The axis counted from the rows (0), for a lazy array; raises if there is no such axis."""
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise UnsupportedError(f"axis={axis!r} is not supported for lazy arrays; give a number")
    if axis < 0 and uneven(x._form):
        raise UnsupportedError(
            f"axis={axis} is another level in each field of these records, whose fields differ in depth; give a "
            "positive axis or take a field first"
        )
    level = int(axis) if axis >= 0 else x.ndim + int(axis)
    if not 0 <= level < max(x.ndim, 1):
        raise ShapeError(f"axis={axis} exceeds the depth of this array ({x.ndim})")
    return level


def at_level(form: Form, at: Space, level: int, change: Level) -> Form:
    """The form with `change` applied to its lists at a level (1 is the first below the rows)."""
    valid, inner = unwrap(form)
    if isinstance(inner, Record):
        return option(valid, inner.plain(lambda field: at_level(field, at, level, change)))
    if not isinstance(inner, List):
        raise ShapeError("this axis exceeds the depth of the array")
    if level == 1:
        return option(valid, change(inner, at))
    deeper = at_level(inner.content, inner.space, level - 1, change)
    return option(valid, List(inner.space, deeper, inner.size))


def at_axis(array: Lazy, axis: Any, change: Callable[[Form, Space], Form]) -> Lazy:
    """The array with `change` applied to its elements at an axis."""
    level = level_of(array, axis)
    if level == 0:
        return Lazy(change(array._form, array._rows), array._rows, array._guard)

    def lists(form: List, at: Space) -> Form:
        return List(form.space, change(form.content, form.space), form.size)

    return Lazy(at_level(array._form, array._rows, level, lists), array._rows, array._guard)


def kept(form: Form, at: Space, keepdims: bool) -> Form:
    """A result for each list, as a list of one element if dimensions are kept."""
    if not keepdims:
        return form
    one = space("one", at)
    return List(one, move(form, up(one)), 1)


def present(lists: List) -> tuple[Space, Node]:
    """The elements of a list of numbers that are not None: their space, and their value there."""
    valid, content = unwrap(lists.content)
    if isinstance(content, Record):
        raise UnsupportedError(
            f"records cannot be reduced; reduce one of their fields ({', '.join(list(content)[:6])}), or for "
            "four-vectors use .sum(axis=1)"
        )
    if isinstance(content, List):
        raise NotInnermost
    assert isinstance(content, Scalar)
    _no_text(content.node)
    if valid is TRUE:
        return lists.space, content.node
    some = filtered(lists.space, valid)
    return some, take(inc(some), content.node)


def turned(lists: List) -> List | None:
    """A nested product the other way round: for each element of the second list all of the first; None of other lists.

    Raises NotInnermost where its values are not made of those of the two lists alone.
    """
    valid, inner = unwrap(lists.content)
    if valid is not TRUE or not isinstance(inner, List):
        return None
    pair, (own, content) = inner.space, unwrap(inner.content)
    if pair.kind != "pull" or pair.args[1] is not up(lists.space) or not isinstance(content, Scalar):
        return None
    second = as_space(pair.args[0])
    new = pulled(lists.space, up(second))
    value = Scalar(_turned(content.node, pair, new))
    form = value if own is TRUE else option(_turned(own, pair, new), value)
    return List(second, List(new, form))


def _turned(x: Node, pair: Space, new: Space) -> Node:
    """A value of the pairs of a product, for those of the same product the other way round."""
    moves = {up(pair): inc(new), inc(pair): up(new)}
    found: dict[Item, Node] = {}
    for item in ordered([x], until=lambda item: not isinstance(item, Node) or item.space is not pair):
        if not isinstance(item, Node) or item.space is not pair:
            continue
        if item.op == "take" and item.args[0] in moves:
            found[item] = take(moves[as_map(item.args[0])], as_node(item.args[1]))
        elif item.op == "ordinal":
            found[item] = take(up(new), ordinal(as_space(pair.args[0])))
        elif item.op == "full":
            found[item] = full(item.param.value, new)
        elif item.op in OPS:
            found[item] = apply(item.op, [found.get(arg, as_node(arg)) for arg in item.args], item.param or ())
        else:
            raise NotInnermost
    return found.get(x, x)


def _no_text(x: Node) -> None:
    if x.dtype == TEXT:
        raise UnsupportedError(
            "strings cannot be reduced; compare them first, as in ak.any(x == 'mu', axis=1), or count them with ak.num"
        )


class NotInnermost(Opaque):
    """A reduction over lists of lists, which awkward does by columns of positions."""


def everything(x: Lazy) -> tuple[Space, Node]:
    """All numbers of an array that are not None, as one list of the whole dataset."""
    form, at = x._form, x._rows
    masks: list[Node] = list(x._guard)
    while True:
        match form:
            case Option(valid, content):
                masks.append(valid)
                form = content
            case List(s, content, _):
                masks = [lift(mask, s) for mask in masks]
                form, at = content, s
            case Record():
                if len(list(form)) == 1:
                    form = form[next(iter(form))]
                    continue
                raise UnsupportedError("records cannot be reduced; take one of their fields first")
            case Scalar(x_node):
                _no_text(x_node)
                break
    some = filtered(at, conjunction(masks, at))
    node = take(inc(some), x_node) if some is not at else x_node
    flat = flattened(some, TOTAL)
    return flat, take(inc(flat), node) if flat is not some else node


def _over_rows(x: Lazy, axis: Any, name: str) -> bool:
    """Whether a reduction goes over the whole dataset; refuses the one that goes by position in each list."""
    if axis is None:
        return True
    if level_of(x, axis) > 0:
        return False
    if x.ndim == 1:
        return True
    raise UnsupportedError(
        f"ak.{name}(..., axis=0) of lists adds up what stands at the same place in different events. Use axis=1 for "
        "each event, or axis=None for everything."
    )


def reduced(name: str, over: Over, array: Lazy, axis: Any, options: Mapping[str, bool]) -> Lazy:
    """A reduction of lists of numbers, or of the whole dataset; `options` are keepdims and mask_identity.

    Raises Opaque for lists of lists that are reduced by what stands at the same place in each.
    """
    keepdims, mask_identity = options["keepdims"], options["mask_identity"]
    if _over_rows(array, axis, name):
        if keepdims:
            raise UnsupportedError(f"ak.{name} over the whole dataset gives one number; leave out keepdims=True")
        some, node = everything(array)
        return Lazy(_with_identity(over(some, node), mask_identity, some), TOTAL)

    def each(lists: List) -> Form:
        some, node = present(lists)
        return _with_identity(over(some, node), mask_identity, some)

    def change(lists: List, at: Space) -> Form:
        product = turned(lists)
        if product is None:
            return kept(each(lists), at, keepdims)
        assert isinstance(product.content, List)
        some = filtered(product.space, lift(_some(lists.space), product.space))  # of no lists there are no columns
        return kept(List(some, move(each(product.content), inc(some))), at, keepdims)

    return Lazy(at_level(array._form, array._rows, level_of(array, axis), change), array._rows, array._guard)


def _reducer(name: str, over: Over, plain: Any) -> Callable[..., Lazy]:
    def rule(array: Lazy, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False) -> Lazy:
        return reduced(name, over, array, axis, {"keepdims": keepdims, "mask_identity": mask_identity})

    FUNCTIONS[plain] = rule
    return rule


def _with_identity(form: Form, mask_identity: bool, some: Space) -> Form:
    if mask_identity and not isinstance(form, Option):
        return option(_some(some), form)
    if not mask_identity and isinstance(form, Option):
        return form.content
    return form


def _some(s: Space) -> Node:
    return apply("greater", [count(s), literal(0)])


def _plain(kind: str) -> Over:
    return lambda s, x: Scalar(reduce(kind, x, reduced_dtype(kind, x.dtype)))


def _extreme(kind: str, plain: Any) -> None:
    def rule(
        array: Lazy, axis: Any = None, *, keepdims: bool = False, initial: Any = None, mask_identity: bool = True
    ) -> Lazy:
        def over(s: Space, x: Node) -> Form:
            found = reduce(kind, x, reduced_dtype(kind, x.dtype))
            return option(_some(s), Scalar(found if initial is None else _begun(kind, found, initial)))

        return reduced(kind, over, array, axis, {"keepdims": keepdims, "mask_identity": mask_identity})

    FUNCTIONS[plain] = rule


def _begun(kind: str, found: Node, initial: Any) -> Node:
    """An extreme value that is found by beginning with a number, which takes the type of the others."""
    whole, dtype = found.space is TOTAL, found.dtype
    if dtype == BOOL and not whole:
        return found  # awkward begins with none
    if not isinstance(initial, (bool, int, float, np.number, np.bool_)) or (
        dtype.kind in "iu" and not (np.iinfo(dtype).min <= initial <= np.iinfo(dtype).max and initial == int(initial))
    ):
        raise UnsupportedError(f"ak.{kind}: initial={initial!r} is no number of the type of these, {dtype}")
    begin = literal(dtype.type(initial))
    if whole:
        return apply("maximum" if kind == "max" else "minimum", [found, begin])
    better = apply("greater" if kind == "max" else "less", [found, begin])  # NaN to begin with stays
    return apply("where", [better, found, begin])


def truth(x: Node) -> Node:
    """The value as a boolean: whether it is not zero."""
    return x if x.dtype == BOOL else apply("not_equal", [x, literal(0)])


def _double(x: Node) -> Node:
    return apply("astype", [x], ("complex128" if x.dtype.kind == "c" else "float64",))


def mean_of(s: Space, x: Node) -> Node:
    """The mean of each list, in double precision."""
    return apply("divide", [reduce("sum", _double(x), reduced_dtype("sum", _double(x).dtype)), count(s)])


def variance_of(s: Space, x: Node, ddof: int) -> Node:
    """The variance of each list, in double precision."""
    if x.dtype.kind == "c":
        raise UnsupportedError("the variance of complex numbers cannot be recorded; use hg.map_partitions")
    if s.parent is TOTAL:  # the mean is not known before all was read
        squares = apply("m2", [reduce("moments", x, MOMENTS)])
    else:
        away = apply("subtract", [_double(x), take(up(s), mean_of(s, x))])
        squares = reduce("sum", apply("multiply", [away, away]), np.dtype(float))
    n = count(s)
    result = apply("divide", [squares, n])
    if ddof:
        result = apply("multiply", [result, apply("divide", [n, apply("subtract", [n, literal(ddof)])])])
    return result


sum_of_numbers = _reducer("sum", _plain("sum"), ak.sum)
_reducer("prod", _plain("prod"), ak.prod)
_reducer("any", lambda s, x: Scalar(reduce("any", truth(x), BOOL)), ak.any)
_reducer("all", lambda s, x: Scalar(reduce("all", truth(x), BOOL)), ak.all)
_reducer("count", lambda s, x: Scalar(count(s)), ak.count)
_reducer(
    "count_nonzero", lambda s, x: Scalar(reduce("sum", apply("astype", [truth(x)], ("int64",)), INT)), ak.count_nonzero
)
_extreme("min", ak.min)
_extreme("max", ak.max)


@function(ak.ptp)
def ptp(array: Lazy, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = True) -> Lazy:
    """The largest minus the smallest."""
    kept = keepdims or not (
        mask_identity or axis is None
    )  # zeros are filled into lists of one, not where whole lists are None
    result: Lazy = ak.max(array, axis=axis, keepdims=kept) - ak.min(array, axis=axis, keepdims=kept)
    if mask_identity:
        return result
    if result._rows is TOTAL:
        return ak.fill_none(result, 0, axis=None)  # type: ignore[no-any-return]
    result = ak.fill_none(result, 0, axis=-1)
    return result if keepdims else result[(*[slice(None)] * level_of(array, axis), 0)]


@function(ak.nan_to_none)
def nan_to_none(array: Lazy) -> Lazy:
    """NaN becomes None."""

    def leaf(form: Scalar) -> Form:
        if form.node.dtype.kind != "f":
            return form
        return option(apply("logical_not", [apply("isnan", [form.node])]), form)

    return Lazy(leaves(array._form, leaf), array._rows, array._guard)


def _nan_version(nan: Any, plain: Any) -> None:
    def rule(*args: Any, **kwargs: Any) -> Any:
        array, *rest = args
        named = defaults | dict(zip(list(wanted)[1:], rest, strict=False)) | kwargs
        if isinstance(named.get("weight"), Lazy):
            named["weight"] = nan_to_none(named["weight"])
        return plain(nan_to_none(array), **named)

    wanted = taking(rule, nan)
    defaults = {name: p.default for name, p in list(wanted.items())[1:]}
    FUNCTIONS[nan] = rule


for _nan, _usual in {
    ak.nansum: ak.sum, ak.nanprod: ak.prod, ak.nanmin: ak.min, ak.nanmax: ak.max, ak.nanmean: ak.mean,
    ak.nanvar: ak.var, ak.nanstd: ak.std, ak.nanargmin: ak.argmin, ak.nanargmax: ak.argmax,
}.items():  # fmt: skip
    _nan_version(_nan, _usual)


def _arg(kind: str, plain: Any) -> None:
    def rule(array: Lazy, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = True) -> Lazy:
        if axis is None or level_of(array, axis) == 0:
            raise UnsupportedError(
                f"ak.arg{kind[3:]} over the whole dataset gives a position in all of it; use axis=1 for each event"
            )

        def change(lists: List, at: Space) -> Form:
            some, key = present(lists)
            m = map_("pick", at, some, (key,), (kind, 1, None))
            place = ordinal(lists.space)
            chosen = take(m, take(inc(some), place) if some is not lists.space else place)
            form = option(defined(m), Scalar(chosen))
            if not mask_identity:
                form = Scalar(apply("where", [defined(m), chosen, literal(np.int64(-1))]))
            return kept(form, at, keepdims)

        return Lazy(at_level(array._form, array._rows, level_of(array, axis), change), array._rows, array._guard)

    FUNCTIONS[plain] = rule


_arg("argmin", ak.argmin)
_arg("argmax", ak.argmax)


@function(ak.num)
def num(array: Lazy, axis: Any = 1) -> Lazy:
    """The length of each list at an axis; with axis=0, the number of rows."""
    if array._rows is not TOTAL and isinstance(axis, int) and axis == 0:
        some = filtered(array._rows, conjunction(array._guard, array._rows))
        return Lazy(Scalar(count(flattened(some, TOTAL))), TOTAL)
    level = level_of(array, axis)
    if level == 0:
        return num(array, 0)
    form = at_level(array._form, array._rows, level, lambda lists, at: Scalar(lengths(lists, at)))
    return Lazy(form, array._rows, array._guard)


_NUMPY_REDUCTIONS = {
    np.sum: ak.sum, np.prod: ak.prod, np.any: ak.any, np.all: ak.all, np.min: ak.min, np.max: ak.max, np.mean: ak.mean,
    np.std: ak.std, np.var: ak.var, np.count_nonzero: ak.count_nonzero, np.argmin: ak.argmin, np.argmax: ak.argmax,
    np.nansum: ak.nansum, np.nanprod: ak.nanprod, np.nanmean: ak.nanmean, np.nanmin: ak.nanmin, np.nanmax: ak.nanmax,
    np.nanstd: ak.nanstd, np.nanvar: ak.nanvar, np.nanargmin: ak.nanargmin, np.nanargmax: ak.nanargmax, np.ptp: ak.ptp,
}  # fmt: skip


def _numpy_reduction(numpys: Any, plain: Any) -> None:
    def rule(a: Any, axis: Any = None, **rest: Any) -> Any:
        return plain(a, axis=axis, **rest)

    taking(rule, numpys, ("a", "axis"), set(inspect.signature(plain).parameters) & {"keepdims", "ddof", "initial"})
    NUMPY_FUNCTIONS[numpys] = rule


for _np, _ak in _NUMPY_REDUCTIONS.items():
    _numpy_reduction(_np, _ak)

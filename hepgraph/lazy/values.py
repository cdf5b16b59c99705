"""Values element by element: choices, constants, other types, rounding."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.graph.canonical import BOOL, TRUE, apply, both, filtered, full, inc, lift
from hepgraph.graph.form import Form, List, Option, Record, Scalar, leaves, move, option, unwrap
from hepgraph.graph.node import Literal, Node, Space, literal
from hepgraph.lazy.array import FUNCTIONS, NUMPY_FUNCTIONS, Lazy, each, together
from hepgraph.lazy.broadcast import broadcast, matched, not_as_numpy
from hepgraph.lazy.join import joined, settled
from hepgraph.lazy.missing import typed
from hepgraph.lazy.reduce import function


@function(ak.where)
def where(condition: Any, *args: Any) -> Lazy:
    """One value or the other for each element."""
    if len(args) != 2 or any(arg is None for arg in args):
        raise UnsupportedError("ak.where needs three arguments; positions of true elements are ak.local_index(x)[x]")
    forms, rows, guard = together([condition, *args])
    not_as_numpy(forms)
    test, yes, no = forms
    return Lazy(choose(test, yes, no, rows, guard), rows, guard)


def choose(condition: Form, a: Form, b: Form, at: Space, guard: tuple[Node, ...]) -> Form:
    """One form or the other, as a condition says: whole lists where it has no lists itself."""
    valid, test = unwrap(condition)
    if isinstance(test, Scalar):
        yes = test.node if test.node.dtype == BOOL else apply("not_equal", [test.node, literal(0)])
        return _chosen(valid, yes, a, b, at)
    if not isinstance(test, List):
        raise ShapeError("the condition of ak.where must be an array of booleans")
    forms = [condition, a, b]
    if any(isinstance(form, Option) and (form is condition or isinstance(form.content, List)) for form in forms):
        raise UnsupportedError("ak.where cannot choose between missing lists; use ak.drop_none or ak.mask")
    target, size, (condition, a, b) = matched(forms, at, guard)
    return List(target, choose(condition, a, b, target, guard), size)


def _chosen(valid: Node, yes: Node, first: Form, second: Form, at: Space) -> Form:
    (va, a), (vb, b) = unwrap(first), unwrap(second)
    sure = valid is TRUE  # where a condition is None, awkward makes None of each field, and of each element of a list
    if not (va is TRUE and vb is TRUE):
        valid = both(valid, apply("where", [yes, va, vb]))
    valid = _everywhere(valid, at)
    if isinstance(a, Scalar) and isinstance(b, Scalar):
        return option(valid, Scalar(apply("where", [yes, _strong(a.node), _strong(b.node)])))
    if isinstance(a, List) and isinstance(b, List) and sure:
        no = apply("logical_not", [yes])
        return option(valid, joined([_where_true(a, yes), _where_true(b, no)], at, booleans=True))
    if isinstance(a, Record) and isinstance(b, Record) and sure and set(a) == set(b) and a.tuple == b.tuple:
        fields = {name: _chosen(TRUE, yes, a[name], b[name], at) for name in a}
        return option(valid, Record(fields, a.name if a.name == b.name else None, a.tuple))
    raise UnsupportedError(
        "ak.where would mix numbers, lists or records of different kinds (a union), or lists or records by a "
        "condition that may be None; choose between arrays of the same type, field by field for records, by "
        "ak.fill_none(condition, False)"
    )


def _where_true(lists: List, test: Node) -> List:
    kept = filtered(lists.space, lift(test, lists.space))
    return List(kept, move(lists.content, inc(kept)))


def _everywhere(valid: Node, at: Space) -> Node:
    return full(valid.param.value, at) if valid.space is None and valid is not TRUE else valid


def _strong(node: Node) -> Node:
    return typed(node.param.value) if node.op == "literal" else node


def _constant(value: Any) -> Any:
    def rule(array: Lazy, *, dtype: Any = None, including_unknown: bool = False) -> Lazy:
        return full_like(array, value, dtype=dtype)

    return rule


@function(ak.full_like)
def full_like(array: Lazy, fill_value: Any, *, dtype: Any = None, including_unknown: bool = False) -> Lazy:
    """The same value everywhere, with the shape (and dtype) of another array; no type of a lazy array is unknown."""

    def leaf(form: Form, at: Space) -> Form:
        match form:
            case Option(valid, content):
                return option(valid, leaf(content, at))
            case List(s, content, size):
                return List(s, leaf(content, s), size)
            case Record():
                return form.plain(lambda field: leaf(field, at))
            case Scalar(x):
                kind = np.dtype(dtype) if dtype is not None else x.dtype
                return Scalar(full(np.asarray(fill_value).astype(kind)[()], at))

    return Lazy(leaf(array._form, array._rows), array._rows, array._guard)


FUNCTIONS[ak.zeros_like] = _constant(0)
FUNCTIONS[ak.ones_like] = _constant(1)


@function(ak.values_astype)
def values_astype(array: Lazy, to: Any, *, including_unknown: bool = False) -> Lazy:
    """The numbers with another dtype; no type of a lazy array is unknown."""
    kind = np.dtype(to)

    def leaf(form: Scalar) -> Form:
        return form if form.node.dtype == kind else Scalar(apply("astype", [form.node], (kind.str,)))

    return Lazy(leaves(array._form, leaf), array._rows, array._guard)


FUNCTIONS[ak.real] = lambda array: each("real", [array])
FUNCTIONS[ak.imag] = lambda val: each("imag", [val])


@function(ak.angle)
def angle(val: Lazy, deg: bool = False) -> Lazy:
    """The angle of complex numbers in radians (or degrees)."""
    result: Any = each("angle", [val])
    return result * (180 / np.pi) if deg else result  # type: ignore[no-any-return]


@function(ak.round)
def round_(array: Lazy, decimals: int = 0) -> Lazy:
    """The numbers rounded to some decimals."""
    return each("round", [array], decimals)


def _keyed(value: float | None) -> Literal | None:
    """A parameter that is another for 0.0 and -0.0, and the same for every NaN."""
    return None if value is None else Literal(float(value), ("float", repr(float(value))))


@function(ak.nan_to_num)
def nan_to_num(array: Lazy, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Lazy:
    """NaN and infinities replaced by numbers."""
    return each("nan_to_num", [array], *(_keyed(x) for x in (nan, posinf, neginf)))


@function(ak.isclose)
def isclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Lazy:
    """Whether two arrays agree within tolerances."""
    return each("isclose", [a, b], _keyed(rtol), _keyed(atol), bool(equal_nan))


@function(ak.broadcast_arrays)
def broadcast_arrays(*arrays: Any, depth_limit: int | None = None) -> list[Lazy]:
    """Each array with the lists of all."""
    forms, rows, guard = together(arrays)
    not_as_numpy(forms)
    depth = None if depth_limit is None else depth_limit - 1

    def alone(i: int) -> Form:
        return broadcast(forms, rows, lambda parts, at: settled(parts[i], at), depth=depth, guard=guard)

    return [Lazy(alone(i), rows, guard) for i in range(len(forms))]


def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Lazy:
    """The numbers, none below the one bound or above the other; whole numbers stay whole."""
    bounds = {"min": min if a_min is None else a_min, "max": max if a_max is None else a_max}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return each("clip", [a, *given.values()], tuple(given))


NUMPY_FUNCTIONS[np.clip] = clip
NUMPY_FUNCTIONS[np.where] = lambda condition, x=None, y=None: ak.where(condition, x, y)
NUMPY_FUNCTIONS[np.round] = NUMPY_FUNCTIONS[np.around] = lambda a, decimals=0: ak.round(a, decimals)
NUMPY_FUNCTIONS[np.ones_like] = lambda a, dtype=None: ak.ones_like(a, dtype=dtype)
NUMPY_FUNCTIONS[np.zeros_like] = lambda a, dtype=None: ak.zeros_like(a, dtype=dtype)
NUMPY_FUNCTIONS[np.full_like] = lambda a, fill_value, dtype=None: ak.full_like(a, fill_value, dtype=dtype)
NUMPY_FUNCTIONS[np.broadcast_arrays] = lambda *args: ak.broadcast_arrays(*args)
NUMPY_FUNCTIONS[np.copy] = lambda a: ak.copy(a)
NUMPY_FUNCTIONS[np.real] = lambda val: ak.real(val)
NUMPY_FUNCTIONS[np.imag] = lambda val: ak.imag(val)
NUMPY_FUNCTIONS[np.angle] = lambda z, deg=False: ak.angle(z, deg)
NUMPY_FUNCTIONS[np.nan_to_num] = lambda x, copy=True, nan=0.0, posinf=None, neginf=None: ak.nan_to_num(
    x, nan=nan, posinf=posinf, neginf=neginf
)
NUMPY_FUNCTIONS[np.isclose] = lambda a, b, rtol=1e-05, atol=1e-08, equal_nan=False: ak.isclose(
    a, b, rtol, atol, equal_nan
)

"""How graphs are built: every constructor gives the canonical form, which is also the optimiser.

An operation on values that were moved along the same map is made where the values come from, and its result is moved:
`op(take(m, x), take(m, y))` becomes `take(m, op(x, y))`. So the `px` of the three legs of a trijet is computed once per
jet; with hash-consing this is common sub-expression elimination and hoisting at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.functions.lines import recording, user_code
from hepgraph.graph.kinds import is_partial
from hepgraph.graph.node import (
    Literal,
    Map,
    Node,
    Space,
    ancestors,
    as_map,
    as_node,
    as_space,
    literal,
    map_,
    node,
    space,
)
from hepgraph.graph.ops import OPS, result_dtype

BOOL = np.dtype(bool)
INT = np.dtype(np.int64)
TEXT = np.dtypes.StringDType()

TOTAL = space("total", None)
TRUE = literal(True)

TOO_EARLY = (
    "A reduction over the whole dataset is known only after all of it was read, so it cannot be used in the same pass "
    "with arrays of events. Compute it first: value = reduction.compute(), then use value."
)


# spaces and their maps


def up(s: Space) -> Map:
    """The map from the elements of a space to those of its parent that they belong to."""
    if s.parent is None:
        raise ShapeError("the total has no parent")
    return map_("up", s, s.parent)


def inc(s: Space) -> Map:
    """The map from a filter, pull, back, perm, flat or pad space to the space that it was made from."""
    return map_("inc", s, _base(s))


def leg(s: Space, i: int) -> Map:
    """The map from a combination or product to its i-th member's space."""
    base = s.args[0] if s.kind == "comb" else s.args[i]
    return map_(i, s, as_space(base))


def _base(s: Space) -> Space:
    return as_space(s.args[0])


def filtered(base: Space, mask: Node) -> Space:
    """The elements of base where the mask, a boolean node in base, is true."""
    if mask.dtype != BOOL:
        raise ShapeError(f"a mask must be boolean, not {mask.dtype}")
    if mask is TRUE:
        return base
    return space("filter", base.parent, (base, lift(mask, base)))


def pulled(base: Space, m: Map) -> Space:
    """For each element of m.src, the elements of base that belong to where m leads; base's parent is m.dst."""
    if base.parent is not m.dst:
        raise ShapeError("a list can be pulled only along a map to its parent")
    return space("pull", m.src, (base, m))


def led_back(base: Space, at: Space, valid: Node, index: Node) -> Space:
    """For each element of `at`, the elements of base whose index, one into its list, leads to it."""
    if base.parent is not at.parent:
        raise ShapeError("an index leads back only to lists of the same elements")
    return space("back", at, (base, lift(index, base), *(() if valid is TRUE else (lift(valid, base),))))


def flattened(base: Space, parent: Space) -> Space:
    """The elements of base, under an earlier ancestor."""
    return base if base.parent is parent else space("flat", parent, (base,))


def lift(x: Node, to: Space) -> Node:
    """A node of an ancestor of `to`, as a node of `to`."""
    if x.space is to or x.space is None:
        return x
    chain = []
    for s in ancestors(to):
        if s is x.space:
            break
        chain.append(s)
    else:
        raise ShapeError("a value can be broadcast only into lists below it")
    for s in reversed(chain):
        x = take(up(s), x)
    return x


# nodes


def take(m: Map, x: Node) -> Node:
    """The value, at each element of m.src, of x at where m leads (anything where m is undefined)."""
    if x.space is None:
        return x
    if x.space is not m.dst:
        raise ShapeError(f"cannot move a value of {x.space!r} along {m!r}")
    if x.op == "take":
        inner: Any = x.args[0]
        if inner.kind == "up":
            value = as_node(x.args[1])
            if m.kind == "only":
                return value
            if m.kind not in ("up", "gather", "match") and m.src.parent is m.dst.parent:
                return take(up(m.src), value)
            if m.src.kind == "pull" and m.kind == "inc":
                return take(up(m.src), take(as_map(m.src.args[1]), value))
            if m.kind == "pick" and not m.args[m.param[1] :]:
                return value
    if x.op == "full" and m.kind != "match":  # which is kept for its check of the lengths
        return node("full", (), m.src, x.dtype, x.param)
    if m.dst is TOTAL and m.kind == "up":
        raise UnsupportedError(TOO_EARLY)
    return node("take", (m, x), m.src, x.dtype)


def defined(m: Map) -> Node:
    """Whether a partial map leads anywhere, for each element of m.src."""
    if not is_partial(m):
        return TRUE
    return node("defined", (m,), m.src, BOOL)


_COMPARISON = re.compile(r"(?<![<>=!-])(?:[<>]=?|[=!]=)(?![<>=])")


def comparisons(code: str) -> int:
    """How many comparisons there are in a line of code."""
    return len(_COMPARISON.findall(code))


_SIGNS = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}


def apply(op: str, args: Sequence[Node], param: tuple[Any, ...] = ()) -> Node:
    """An operation of the table on nodes of one space and literals.

    Raises UnsupportedError if NumPy has no such operation for these types.
    """
    if op in _COMPARISONS:
        args = _as_whole(args)
    dtype = _result_dtype(op, args, param)
    at: Space | None = None
    for arg in args:
        if arg.space is not None and arg.space is not at:
            if at is not None:
                raise ShapeError("an operation needs values of one index space")
            at = arg.space
    if at is None:
        with np.errstate(all="ignore"):
            return literal(np.asarray(OPS[op].meaning(*(_literal(arg).value for arg in args), *param)))
    moves: list[Map] = []
    while m := _shared_map(args, at):
        if op == "where" and args[0].op in ("full", "literal") and is_partial(m):
            break  # its result is there where the map leads nowhere, if it is the other value
        moves.append(m)
        args, at = [_before(m, arg) for arg in args], m.dst
    result = node(op, tuple(args), at, dtype, param)
    for m in reversed(moves):
        result = take(m, result)
    return result


def _result_dtype(op: str, args: Sequence[Node], param: tuple[Any, ...]) -> np.dtype[Any]:
    """The dtype of an operation, known by the dtypes of its arguments; raises UnsupportedError if there is none."""
    kinds = tuple([_kind(arg.param) if arg.op == "literal" else arg.dtype for arg in args])
    try:
        return result_dtype(op, kinds, param)
    except (TypeError, ValueError, OverflowError) as error:
        if (said := _too_large(args)) is not None:
            raise UnsupportedError(f"{op} has no meaning for {said}") from error
        types = ", ".join(str(arg.dtype) for arg in args)
        hint = ""
        if op in _SIGNS and comparisons(user_code()):
            sign = _SIGNS[op]
            hint = (
                f"\nPython takes {sign} before comparisons: a > 30 {sign} b < 2 means a > (30 {sign} b) < 2. Write "
                f"(a > 30) {sign} (b < 2), with parentheses around each comparison."
            )
        raise UnsupportedError(f"{op} has no meaning for {types}: {error}{hint}") from error


def _too_large(args: Sequence[Node]) -> str | None:
    """How to speak of a Python integer that the type of the integers beside it does not hold, if there is one."""
    numbers = [_literal(arg).value for arg in args if arg.op == "literal"]
    for number in [each for each in numbers if type(each) is int]:
        for dtype in [arg.dtype for arg in args if arg.op != "literal" and arg.dtype.kind in "iu"]:
            limits = np.iinfo(dtype)
            if not limits.min <= number <= limits.max:
                wide = "np.int64" if abs(number) < 2**63 else "float"
                return (
                    f"{dtype} and {number}: NumPy keeps {dtype}, which holds no {number}. Convert the array first: "
                    f"ak.values_astype(x, {wide})."
                )
    return None


def _kind(given: Literal) -> Literal | np.dtype[Any]:
    """The key of a literal's dtype: of a NumPy scalar its dtype, of an integer the types that it fits in."""
    value = given.value
    if type(value) is float:
        return _FLOAT
    if isinstance(value, str):
        return TEXT
    if type(value) is int:
        return _edge(value) or given
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return value.dtype
    return given


_FLOAT = Literal(1.0, ("float", "1.0"))
_EDGES = [  # the greatest and the least of each integer type
    Literal(edge, ("int", repr(edge)))
    for bits in (8, 16, 32, 64)
    for edge in (2 ** (bits - 1) - 1, 2**bits - 1, -(2 ** (bits - 1)))
]


@lru_cache(maxsize=1024)
def _edge(value: int) -> Literal | None:
    """The nearest edge beyond an integer; None if it fits in no type."""
    return next((edge for edge in _EDGES if abs(value) <= abs(edge.value) and (value < 0) == (edge.value < 0)), None)


_COMPARISONS = frozenset({"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"})


def _as_whole(args: Sequence[Node]) -> Sequence[Node]:
    """The arguments of a comparison with a number: `> 20.0`, and of NumPy's 20s, is `> 20`, where that is exact."""
    a, b = args
    x, other = (a, b) if a.op == "literal" else (b, a)
    if x.op != "literal" or other.op == "literal" or other.dtype.kind not in "iuf":
        return args
    value = _literal(x).value
    if isinstance(value, np.generic) and value.dtype.kind in "iuf":
        value = value.item()
    elif type(value) is not float:
        return args
    if not abs(value) < 2**53 or value != int(value):  # beyond, a float is not any integer
        return args
    limits = np.iinfo(other.dtype) if other.dtype.kind in "iu" else None
    exact = limits.min <= value <= limits.max if limits else abs(value) <= 2 ** (np.finfo(other.dtype).nmant + 1)
    if not exact:
        return args
    whole = literal(int(value))
    return [whole, other] if x is a else [other, whole]


def _shared_map(args: Sequence[Node], at: Space) -> Map | None:
    """The one map along which all arguments came here, some perhaps from the common parent."""
    found: Map | None = None
    above = False
    for arg in args:
        op = arg.op
        if op == "take":
            m: Any = arg.args[0]
            if m.kind == "up":
                above = True
            elif found is None:
                found = m
            elif found is not m:
                return None
        elif op != "full" and arg.space is not None:
            return None
    if found is None:
        return up(at) if above else None
    if above and (is_partial(found) or found.dst.parent is not at.parent):
        return None
    return found


def _before(m: Map, arg: Node) -> Node:
    if arg.space is None:
        return arg
    if arg.op == "full":
        return node("full", (), m.dst, arg.dtype, arg.param)
    value = as_node(arg.args[1])
    return value if arg.args[0] is m else take(up(m.dst), value)


def full(value: Any, at: Space) -> Node:
    """The same value, with the dtype that NumPy gives it, for each element of a space."""
    fixed = value if isinstance(value, (np.generic, str)) else np.asarray(value)[()]
    dtype = TEXT if isinstance(fixed, str) else np.dtype(fixed.dtype)
    return node("full", (), at, dtype, literal(fixed).param)


def ordinal(s: Space) -> Node:
    """The position of each element in its list; for entries, in the dataset."""
    return node("ordinal", (), s, INT)


def count(s: Space) -> Node:
    """How many elements each element of the parent has."""
    if s.kind == "perm":
        return count(_base(s))
    if s.kind == "pull":
        m = as_map(s.args[1])
        size = take(m, count(_base(s)))
        return apply("where", [defined(m), size, literal(np.int64(0))]) if is_partial(m) else size
    assert s.parent is not None
    if s.kind == "one":
        return full(1, s.parent)
    return node("count", (s,), s.parent, INT)


def reduce(kind: str, x: Node, dtype: np.dtype[Any]) -> Node:
    """One of sum, prod, any, all, min, max over the list of each element of the parent of x's space."""
    assert x.space is not None
    assert x.space.parent is not None
    return node("reduce", (x,), x.space.parent, dtype, kind)


def merged(s: Space, parts: Sequence[Node], dtype: np.dtype[Any]) -> Node:
    """The values of each part of a concatenation, one part after the other in each list."""
    return node("merge", tuple(parts), s, dtype)


def conjunction(masks: Sequence[Node], at: Space) -> Node:
    """All masks at once, as one node (a literal True if there are none)."""
    key = (tuple(masks), at, recording[0])
    result = _conjunctions.get(key)
    if result is None:
        result = TRUE
        for mask in masks:
            result = both(result, lift(mask, at))
        if result is not TRUE and result not in masks:  # a key that holds its value would keep it for ever
            _conjunctions[key] = result
    return result


_conjunctions: WeakValueDictionary[tuple[Any, ...], Node] = WeakValueDictionary()  # a guard is asked for many times


def both(a: Node, b: Node) -> Node:
    """a and b, for boolean nodes of one space, without needless operations."""
    if a is TRUE or a is b:
        return b
    if b is TRUE:
        return a
    return apply("bitwise_and", [a, b])


def conjuncts(mask: Node) -> tuple[Node, ...]:
    """The parts of a mask that is made of others by `&`."""
    found: list[Node] = []
    stack = [mask]
    while stack:
        part = stack.pop()
        moves = []
        inner = part
        while inner.op == "take":
            moves.append(as_map(inner.args[0]))
            inner = as_node(inner.args[1])
        if inner.op in ("bitwise_and", "logical_and") and all(as_node(arg).dtype == BOOL for arg in inner.args):
            for arg in reversed(inner.args):
                moved = as_node(arg)
                for m in reversed(moves):
                    moved = take(m, moved)
                stack.append(moved)
        elif part not in found and part is not TRUE:
            found.append(part)
    return tuple(found)


def _literal(item: Node) -> Literal:
    assert isinstance(item.param, Literal)
    return item.param

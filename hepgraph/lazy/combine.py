"""Combinations and products of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import awkward as ak

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.graph.canonical import TRUE, filtered, inc, leg, lift, ordinal, pulled, up
from hepgraph.graph.form import Form, List, Option, Record, Scalar, move, option, unwrap
from hepgraph.graph.node import Space, space
from hepgraph.lazy.array import FUNCTIONS, Lazy, together
from hepgraph.lazy.reduce import at_level, level_of, record_name
from hepgraph.lazy.rules import Opaque


def _combinations(
    array: Lazy, n: int, replacement: bool, axis: Any, fields: Any, name: str | None, index: bool
) -> Lazy:
    level = level_of(array, axis)
    if level == 0:
        raise UnsupportedError("combinations of events are not possible; use axis=1")
    names = [str(i) for i in range(n)] if fields is None else list(fields)
    if len(names) != n:
        raise ValueError(f"combinations of {n} need {n} field names, not {len(names)}")

    def lists(form: List, at: Space) -> Form:
        s = space("comb", at, (form.space,), (int(n), bool(replacement)))
        content = Scalar(ordinal(form.space)) if index else form.content
        parts: dict[str, Form] = {field: move(content, leg(s, i)) for i, field in enumerate(names)}
        size = None if form.size is None else comb(form.size + (n - 1 if replacement else 0), n)
        return List(s, Record(parts, name, fields is None), size)

    form = array._form
    if isinstance(unwrap(form)[1], Record):
        raise ShapeError("combinations need lists of records, not a record of lists; zip its fields first (ak.zip)")
    return Lazy(at_level(form, array._rows, level, lists), array._rows, array._guard)


def _combining(plain: Any, index: bool) -> None:
    """All ways to choose n elements of each list, in order; with `index`, their positions."""

    def rule(
        array: Lazy,
        n: int,
        *,
        replacement: bool = False,
        axis: Any = 1,
        fields: Any = None,
        parameters: Any = None,
        with_name: str | None = None,
    ) -> Lazy:
        return _combinations(array, n, replacement, axis, fields, record_name(parameters, with_name), index)

    FUNCTIONS[plain] = rule


_combining(ak.combinations, index=False)
_combining(ak.argcombinations, index=True)


def _cartesian(arrays: Any, axis: Any, nested: Any, name: str | None, index: bool) -> Lazy:
    named = isinstance(arrays, Mapping)
    names = list(arrays) if named else [str(i) for i in range(len(arrays))]
    given = list(arrays.values()) if named else list(arrays)
    if axis == 0:
        raise UnsupportedError("a product of events is not possible; use axis=1")
    if axis != 1:
        raise Opaque
    ends = _ends(nested, list(arrays) if named else list(range(len(arrays))))
    forms, rows, guard = together(given)
    valid, lists = unwrap(forms[0])[0], []
    if ends and any(isinstance(form, Option) for form in forms):
        raise Opaque
    for number, form in enumerate(forms):
        own, inner = unwrap(form)
        if not isinstance(inner, List):
            raise ShapeError("ak.cartesian needs a list for each event in every array (axis=1)")
        if number and own is not TRUE:  # only a missing first list makes the product missing; others make it empty
            some = filtered(inner.space, lift(own, inner.space))
            inner = List(some, move(inner.content, inc(some)))
        lists.append(List(inner.space, Scalar(ordinal(inner.space)) if index else inner.content, inner.size))
    product = _nested(_blocks(lists, ends, rows), names, not named, name)
    return Lazy(option(valid, product), rows, guard)


def _ends(nested: Any, names: Sequence[Any]) -> list[int]:
    """The arrays of a product after which the lists are nested: all but the last, or those of the given names."""
    if nested is True:
        return list(range(len(names) - 1))
    wanted = list(nested or ())
    if unknown := [name for name in wanted if name not in names or isinstance(name, bool)]:
        raise UnsupportedError(f"nested={nested!r}: the arrays of this product are {names}, not {unknown}")
    return [i for i, name in enumerate(names[:-1]) if name in wanted]


def _blocks(lists: Sequence[List], ends: Sequence[int], at: Space) -> list[tuple[List, list[Form]]]:
    """The lists of a product, those of one level of nesting as one list, and what each of them holds."""
    blocks: list[tuple[List, list[Form]]] = []
    begin = 0
    for end in [*ends, len(lists) - 1]:
        some = lists[begin : end + 1]
        begin = end + 1
        if len(some) == 1 and ends:
            blocks.append((some[0], [some[0].content]))
        else:
            s = space("cart", at, tuple(form.space for form in some))
            blocks.append((List(s, some[0].content), [move(form.content, leg(s, i)) for i, form in enumerate(some)]))
    return blocks


def _nested(blocks: Sequence[tuple[List, list[Form]]], names: Sequence[str], is_tuple: bool, name: str | None) -> Form:
    """For each element of the first list, all of the second, and so on."""
    chain = [blocks[0][0].space]
    contents = list(blocks[0][1])
    for form, inside in blocks[1:]:
        at, base = chain[-1], form.space
        steps = [up(at)]
        while steps[-1].dst is not base.parent:
            steps.append(up(steps[-1].dst))
        below = base
        parts: list[Space] = []
        for m in reversed(steps):
            below = pulled(below, m)
            parts.append(below)
        contents = [move(one, up(below)) for one in contents]
        for content in inside:
            for s in parts:
                content = move(content, inc(s))
            contents.append(content)
        chain.append(below)
    record: Form = Record(dict(zip(names, contents, strict=True)), name, is_tuple)
    for s, (each, _) in zip(reversed(chain), reversed(blocks), strict=True):
        record = List(s, record, each.size)
    return record


def _multiplying(plain: Any, index: bool) -> None:
    """All pairs (triples, ...) of elements of several lists; nested: a list for each element of the first."""

    def rule(
        arrays: Any, axis: Any = 1, *, nested: Any = None, parameters: Any = None, with_name: str | None = None
    ) -> Lazy:
        return _cartesian(arrays, axis, nested, record_name(parameters, with_name), index)

    FUNCTIONS[plain] = rule


_multiplying(ak.cartesian, index=False)
_multiplying(ak.argcartesian, index=True)

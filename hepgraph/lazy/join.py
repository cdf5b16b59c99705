"""Concatenation: one list out of the lists of several forms, field by field where they hold records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hepgraph.errors import UnsupportedError, either
from hepgraph.graph.canonical import BOOL, TEXT, TRUE, full, inc, merged, pulled
from hepgraph.graph.form import (
    Fields,
    Form,
    Formula,
    List,
    Option,
    Record,
    Scalar,
    Whole,
    formula_of,
    move,
    option,
    unwrap,
)
from hepgraph.graph.node import Space, map_, space


def settled(form: Form, at: Space) -> Form:
    """The form, with a bare literal turned into a value for each element."""
    if isinstance(form, Scalar) and form.node.space is None:
        return Scalar(full(form.node.param.value, at))
    return form


def joined(parts: Sequence[List], at: Space, booleans: bool = False) -> List:
    """The lists of several forms of one space, one after the other; `booleans` may become numbers."""
    if len(parts) == 1:
        return parts[0]
    s = space("concat", at, tuple(part.space for part in parts))
    sizes = [part.size for part in parts]
    size = None if None in sizes else sum(size or 0 for size in sizes)
    return List(s, _merged([part.content for part in parts], s, booleans), size)


def _merged(contents: Sequence[Form], s: Space, booleans: bool) -> Form:
    """One content out of those of all parts of a concatenation."""
    if any(isinstance(content, Option) for content in contents):
        pairs = [unwrap(content) for content in contents]
        masks = [full(True, _part(s, i)) if valid is TRUE else valid for i, (valid, _) in enumerate(pairs)]
        return option(merged(s, masks, BOOL), _merged([inner for _, inner in pairs], s, booleans))
    if all(isinstance(content, Scalar) for content in contents):
        nodes = [settled(content, _part(s, i)).node for i, content in enumerate(contents)]  # type: ignore[union-attr]
        dtypes = {node.dtype for node in nodes}
        if TEXT in dtypes and len(dtypes) > 1:
            raise UnsupportedError("strings and numbers cannot be in the same lists")
        if BOOL in dtypes and len(dtypes) > 1 and not booleans:
            raise UnsupportedError("booleans and numbers cannot be in the same lists; use ak.values_astype first")
        dtype = next(iter(dtypes)) if len(dtypes) == 1 else np.result_type(*dtypes)
        return Scalar(merged(s, nodes, dtype))
    if all(isinstance(content, List) for content in contents):
        inner = []
        for i, content in enumerate(contents):
            assert isinstance(content, List)
            m = map_("part", s, content.space.parent, (), i)  # type: ignore[arg-type]
            below = pulled(content.space, m)
            inner.append(List(below, move(content.content, inc(below)), content.size))
        whole = joined(inner, s, booleans)
        sizes = {content.size for content in contents if isinstance(content, List)}
        return List(whole.space, whole.content, sizes.pop() if len(sizes) == 1 else None)
    if all(isinstance(content, Record) for content in contents):
        records = [content for content in contents if isinstance(content, Record)]
        names = {record.name for record in records}
        is_tuple = all(record.tuple for record in records)
        return Record(_Common(records, s, booleans), names.pop() if len(names) == 1 else None, is_tuple)
    raise UnsupportedError("records and numbers cannot be in the same lists")


def _part(s: Space, i: int) -> Space:
    part = s.args[i]
    assert isinstance(part, Space)
    return part


@dataclass(frozen=True)
class _Several(Formula):
    """A field that several formulas make."""

    name: str
    needs: frozenset[str]

    def form(self, record: Record) -> Form:
        """Raises UnsupportedError."""
        raise UnsupportedError(
            f"{self.name} is made of {either(sorted(self.needs))}, which was set after records were put together that "
            f"make it in different ways. Set it before they are put together, or set {self.name} as well."
        )

    def values(self, records: Any) -> Any:
        """Raises UnsupportedError."""
        return self.form(records)


class _Common(Fields):
    """The fields that all records of a concatenation have; each is merged when it is read."""

    __slots__ = ("booleans", "names", "records", "space")

    def __init__(self, records: Sequence[Record], s: Space, booleans: bool) -> None:
        self.records, self.space, self.booleans = tuple(records), s, booleans
        self.names = [name for name in records[0] if all(name in record for record in records[1:])]

    def __getitem__(self, name: str) -> Form:
        return _merged([record[name] for record in self.records], self.space, self.booleans)

    def __contains__(self, name: object) -> bool:
        return all(name in record.fields for record in self.records)

    def formula(self, name: str) -> Formula | None:
        """The formula of a field that all make alike; where they do not, it cannot be made anew."""
        found = [formula_of(record.fields, name) for record in self.records]
        if all(each == found[0] for each in found):
            return found[0]
        return _Several(name, frozenset().union(*(each.needs for each in found if each is not None)))

    @property
    def optional(self) -> bool:
        """Whether any of the records may be None."""
        return any(record.optional for record in self.records)

    @property
    def links(self) -> Collection[str]:  # type: ignore[override]
        """The references that all have."""
        links = [set(getattr(record.fields, "links", ())) for record in self.records]
        return set.intersection(*links)

    @property
    def whole(self) -> Whole | None:  # type: ignore[override]
        """That of the records, if they have one and the same; that of all variations, if some have one of these."""
        wholes = [getattr(record.fields, "whole", None) for record in self.records]
        first = wholes[0]
        joint = None if first is None else first.joint
        if first is None or any(whole is not first and (whole is None or whole.joint is not joint) for whole in wholes):
            return None
        return joint if any(whole is joint for whole in wholes) else first

    def within(self, whole: Whole) -> _Common:
        """The same of records of another whole."""
        return _Common([record.within(whole) for record in self.records], self.space, self.booleans)

"""The shape of a lazy array: lists, records and options around nodes. None of it reaches the graph.

A form belongs to a space and mirrors awkward's own layouts: `Scalar` is one node; `Option` a boolean node beside a
form; `List` a child space with the form of its elements; `Record` named forms. A record is moved by remembering the
map: its
fields are moved when they are read, so that a jet of 500 fields costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from hepgraph.errors import FieldError, suggestion
from hepgraph.graph.canonical import TRUE, both, count, defined, full, inc, pulled, take
from hepgraph.graph.kinds import is_partial
from hepgraph.graph.node import Item, Map, Node, Space

Maps: TypeAlias = tuple[Map, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value for each element."""

    node: Node


@dataclass(frozen=True, slots=True)
class Option:
    """A form that counts only where `valid` is true; elsewhere the value is None."""

    valid: Node
    content: Form


@dataclass(frozen=True, slots=True)
class List:
    """A list for each element; `size` if all lists are known to have that length."""

    space: Space
    content: Form
    size: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Named forms for each element, and the maps along which they are still to be moved.

    `name` says what the record is. `fields` may answer to more names than it lists: references to other collections and
    constants are there without being counted among the fields. `about` keeps what was worked out about the fields and
    stays true wherever the record is moved.
    """

    fields: Mapping[str, Form]
    name: str | None = None
    tuple: bool = False
    maps: Maps = ()
    about: dict[str, Any] = field(default_factory=dict)
    _moved: dict[Any, Form] = field(default_factory=dict)
    _before: Record | None = None

    def __getitem__(self, name: str) -> Form:
        found = self._moved.get(name)
        if found is None:
            if name not in self.fields:
                raise FieldError(f"No field {name!r} in {self.title}.\n{self.hint(name)}")
            before = self._before
            while before is not None and name not in before._moved:
                before = before._before
            found = self.fields[name] if before is None else before._moved[name]
            for m in self.maps[0 if before is None else len(before.maps) :]:
                found = move(found, m)
            self._moved[name] = found
        return found

    def derived(self, key: Any, make: Callable[[Record], Form | None]) -> Form | None:
        """A form that `make` makes of the fields, once, before the record was moved; or nothing if it makes nothing."""
        at, later = self, []
        while key not in at._moved and at._before is not None:
            later.append(at)
            at = at._before
        found = at._moved.get(key)
        if found is None:
            found = None if at.maps else make(at)
            if found is None:
                return None
            at._moved[key] = found
        for record in reversed(later):
            for m in record.maps[len(at.maps) :]:
                found = move(found, m)
            record._moved[key] = found
            at = record
        return found

    def moved(self, m: Map) -> Record:
        """The record along one more map."""
        return Record(self.fields, self.name, self.tuple, (*self.maps, m), self.about, _before=self)

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    @property
    def optional(self) -> bool:
        """Whether the data allow that records like this are None, even where it is known that none is."""
        return getattr(self.fields, "optional", False)

    @property
    def title(self) -> str:
        """The name of the record in a message."""
        return getattr(self.fields, "title", None) or f"this {self.name or 'record'}"

    def hint(self, name: str, more: Iterable[str] = ()) -> str:
        """Help with a field that is not there: a note of the data on it, or the nearest names."""
        advice = getattr(self.fields, "advice", None)
        said = "" if advice is None else advice(name)
        return said or suggestion(name, self.fields, [*getattr(self.fields, "hidden", ()), *more])

    def plain(self, new: Callable[[Form], Form]) -> Record:
        """The record with each of its fields changed."""
        return Record({name: new(self[name]) for name in self}, self.name, self.tuple)

    def with_fields(self, new: Mapping[str, Form]) -> Record:
        """The record with more fields, or others; those that stay are not touched."""
        if isinstance(self.fields, Overlay) and not self.maps:  # one layer, however often fields are set
            over = self.fields
            only = None if over.only is None else tuple(dict.fromkeys([*over.only, *new]))
            return Record(Overlay(over.below, {**over.own, **new}, only), self.name)
        return Record(Overlay(self, dict(new)), self.name)

    def only(self, names: list[str]) -> Record:
        """The record with these fields alone."""
        for name in names:
            if name not in self.fields:
                self[name]
        if isinstance(self.fields, Overlay) and not self.maps:
            kept = set(names)
            own = {name: form for name, form in self.fields.own.items() if name in kept}
            return Record(Overlay(self.fields.below, own, tuple(names)), self.name, self.tuple)
        return Record(Overlay(self, {}, tuple(names)), self.name, self.tuple)


class Fields(Mapping[str, "Form"]):
    """Base of the fields of a record: by `names`, each form made when it is asked for."""

    __slots__ = ()
    names: Collection[str]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.names)


class Overlay(Fields):
    """The fields of a record, some replaced or added, perhaps only some of them."""

    __slots__ = ("_listed", "below", "names", "only", "own")

    def __init__(self, below: Record, own: dict[str, Form], only: tuple[str, ...] | None = None) -> None:
        self.below, self.own, self.only = below, own, only
        self._listed = frozenset(only or ())
        self.names = only if only is not None else tuple(dict.fromkeys([*below.fields, *own]))

    def __getitem__(self, name: str) -> Form:
        if name not in self:
            raise KeyError(name)
        return self.own[name] if name in self.own else self.below[name]

    def __contains__(self, name: object) -> bool:
        if self.only is not None:
            return name in self._listed
        return name in self.own or name in self.below.fields

    @property
    def optional(self) -> bool:
        """Whether the record below may be None."""
        return self.below.optional

    def advice(self, name: str) -> str:
        """The note of the record below on a field that is not there."""
        said: str = getattr(self.below.fields, "advice", lambda _: "")(name)
        return said


Form: TypeAlias = Scalar | Option | List | Record


def move(form: Form, m: Map) -> Form:
    """The form of `m.dst` as seen from each element of `m.src`, along the map (anything where it is undefined)."""
    match form:
        case Scalar(x):
            return Scalar(take(m, x))
        case Option(valid, content):
            return option(take(m, valid), move(content, m))
        case List(s, content, size):
            below = pulled(s, m)
            return List(below, move(content, inc(below)), None if is_partial(m) else size)
        case Record():
            return form.moved(m)


def moved_option(form: Form, m: Map) -> Form:
    """The form moved along a map that may be partial: None where it leads nowhere."""
    return option(defined(m), move(form, m))


def option(valid: Node, content: Form) -> Form:
    """An option, flat and without needless masks."""
    if valid is TRUE:
        return content
    if isinstance(content, Option):
        return option(both(valid, content.valid), content.content)
    return Option(valid, content)


def unwrap(form: Form) -> tuple[Node, Form]:
    """Where a form is valid, and what it is there."""
    return (form.valid, form.content) if isinstance(form, Option) else (TRUE, form)


def deepest(form: Form) -> int:
    """How many list levels a form has (the most, over the fields of a record)."""
    match form:
        case Option(_, content):
            return deepest(content)
        case List(_, content, _):
            return 1 + deepest(content)
        case Record():
            depth = form.about.get("depth")
            if depth is None:
                depth = form.about["depth"] = max((deepest(below) for below in form.fields.values()), default=0)
            return depth
        case _:
            return 0


def innermost(form: Form) -> Scalar | Record:
    """The numbers or the record at the heart of a form: below all of its lists and options."""
    while isinstance(form, (Option, List)):
        form = form.content
    return form


def uneven(form: Form) -> bool:
    """Whether there are records whose fields have different depths."""
    record = record_of(form)
    fields = [] if record is None else [record[name] for name in record]
    return len(set(map(deepest, fields))) > 1 or any(map(uneven, fields))


def record_of(form: Form) -> Record | None:
    """The record at the heart of a form, None if there is none."""
    while isinstance(form, (Option, List)):
        form = form.content
    return form if isinstance(form, Record) else None


def leaves(form: Form, at: Callable[[Scalar], Form]) -> Form:
    """The form with `at` applied to all numbers in it, those in the fields of records included."""
    return change(form, lambda part: part.plain(lambda f: leaves(f, at)) if isinstance(part, Record) else at(part))


def change(form: Form, at: Callable[[Scalar | Record], Form]) -> Form:
    """The form with `at` applied to what is below all of its lists and options."""
    match form:
        case Option(valid, content):
            return option(valid, change(content, at))
        case List(s, content, size):
            return List(s, change(content, at), size)
        case _:
            return at(form)


def items(form: Form) -> Iterator[Item]:
    """The spaces and nodes that are needed to build an array of this form, all fields of records included."""
    match form:
        case Scalar(x):
            yield x
        case Option(valid, content):
            yield valid
            yield from items(content)
        case List(s, content, _):
            yield s
            yield from items(content)
        case Record():
            for name in form:
                yield from items(form[name])


def replaced(form: Form, new: Callable[[Item], Any]) -> Form:
    """The form with every space and node replaced; its records are made plain."""
    match form:
        case Scalar(x):
            return Scalar(new(x))
        case Option(valid, content):
            return option(new(valid), replaced(content, new))
        case List(s, content, size):
            return List(new(s), replaced(content, new), size)
        case Record():
            return form.plain(lambda part: replaced(part, new))


def same(a: Form, b: Form) -> bool:
    """Whether two forms are the same graph; fields that are not made yet are the same if their mapping is."""
    if a is b:
        return True
    match a, b:
        case Scalar(), Scalar():
            return a.node is b.node
        case Option(), Option():
            return a.valid is b.valid and same(a.content, b.content)
        case List(), List():
            return a.space is b.space and a.size == b.size and same(a.content, b.content)
        case Record(), Record() if (a.name, a.tuple) == (b.name, b.tuple):
            return (a.maps == b.maps and _same_fields(a.fields, b.fields)) or _set_again(a, b) or _set_again(b, a)
    return False


def _set_again(a: Record, b: Record) -> bool:
    """Whether a record is another with some fields set to what they were."""
    over = a.fields
    if not isinstance(over, Overlay) or a.maps or over.only is not None or not same(over.below, b):
        return False
    return all(name in b and same(form, b[name]) for name, form in over.own.items())


def _same_fields(a: Mapping[str, Form], b: Mapping[str, Form]) -> bool:
    if a is b:
        return True
    if isinstance(a, Overlay) and isinstance(b, Overlay):
        return a.only == b.only and same(a.below, b.below) and _same_fields(a.own, b.own)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    return False


def lengths(form: List, at: Space) -> Node:
    """The length of each list of a form, in the space that the form belongs to."""
    if form.size is not None:
        return full(np.int64(form.size), at)
    return count(form.space)


def type_of(form: Form, deep: int = 6) -> str:
    """The type as awkward prints it; the fields of records are left out past some depth."""
    match form:
        case Scalar(x):
            return "string" if isinstance(x.dtype, np.dtypes.StringDType) else str(x.dtype)
        case Option(_, List() as content):
            return f"option[{type_of(content, deep)}]"
        case Option(_, content):
            return f"?{type_of(content, deep)}"
        case List(_, content, size):
            return f"{'var' if size is None else size} * {type_of(content, deep)}"
        case Record():
            if deep == 0 and not form.tuple:
                inside = "..." if len(form.fields) else ""
                return f"{form.name or ''}{{{inside}}}"
            if form.tuple:
                inside = ", ".join(type_of(form[name], deep - 1) for name in form)
                return f"{form.name or ''}({inside})"
            inside = ", ".join(f"{name}: {type_of(form[name], deep - 1)}" for name in form)
            return f"{form.name}[{inside}]" if form.name else f"{{{inside}}}"

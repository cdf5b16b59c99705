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
from hepgraph.graph.node import Item, Map, Node, Space, by_slots

Maps: TypeAlias = tuple[Map, ...]


@by_slots
@dataclass(frozen=True, slots=True)
class Scalar:
    """One value for each element."""

    node: Node


@by_slots
@dataclass(frozen=True, slots=True)
class Option:
    """A form that counts only where `valid` is true; elsewhere the value is None."""

    valid: Node
    content: Form


@by_slots
@dataclass(frozen=True, slots=True)
class List:
    """A list for each element; `size` if all lists are known to have that length."""

    space: Space
    content: Form
    size: int | None = None


@by_slots
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

    def noted(self, *names: str) -> str:
        """The note of the data on the first of some fields that it has one on, on a line of its own; or nothing."""
        advice = getattr(self.fields, "advice", lambda _: "")
        return next((f"\n{said}" for name in names if name not in self and (said := advice(name))), "")

    def plain(self, new: Callable[[Form], Form]) -> Record:
        """The record with each of its fields changed."""
        return Record({name: new(self[name]) for name in self}, self.name, self.tuple)

    def with_fields(self, new: Mapping[str, Form]) -> Record:
        """The record with more fields, or others; those that stay are not touched."""
        if isinstance(self.fields, Overlay) and not self.maps:  # one layer, however often fields are set
            over = self.fields
            only = None if over.only is None else tuple(dict.fromkeys([*over.only, *new]))
            return Record(Overlay(*_followed(over.below, {**over.own, **new}), only), self.name)
        below, own = _followed(self, dict(new))
        return Record(Overlay(below, own), self.name) if own else below

    def within(self, whole: Whole) -> Record:
        """The same record, its references leading into `whole`."""
        fields = self.fields.within(whole) if isinstance(self.fields, Fields) else self.fields
        return self if fields is self.fields else self._led(fields)

    def _led(self, fields: Mapping[str, Form]) -> Record:
        if isinstance(fields, Whole):
            return Record(fields, self.name, self.tuple, self.maps)
        links = fields.links if isinstance(fields, Fields) else ()
        moved = {name: form for name, form in self._moved.items() if name not in links}
        before = None if self._before is None else self._before._led(fields)
        return Record(fields, self.name, self.tuple, self.maps, self.about, moved, before)

    def only(self, names: list[str]) -> Record:
        """The record with these fields alone."""
        for name in names:
            if name not in self.fields:
                self[name]
        made = {name: self[name] for name in names if formula_of(self.fields, name) is not None}  # as it is now
        if isinstance(self.fields, Overlay) and not self.maps:
            kept = set(names)
            own = {name: form for name, form in self.fields.own.items() if name in kept}
            return Record(Overlay(self.fields.below, own | made, tuple(names)), self.name, self.tuple)
        return Record(Overlay(self, made, tuple(names)), self.name, self.tuple)


def _followed(below: Record, own: dict[str, Form]) -> tuple[Record, dict[str, Form]]:
    """A record of which fields are set, and these fields: where it is a whole, references lead to what was set."""
    if not isinstance(below.fields, Whole):
        return below, own
    whole = below.fields.setting(own, below.maps)
    return below._led(whole), {name: whole[name] for name in own}


class Formula:
    """Base of how a field is made of others of its record, whose names are its `needs`."""

    needs: frozenset[str]

    def form(self, record: Record) -> Form:
        """The field, made of those of a record."""
        raise NotImplementedError

    def values(self, records: Any) -> Any:
        """The field, made of those of an array of records, as an array."""
        raise NotImplementedError


class Fields(Mapping[str, "Form"]):
    """Base of the fields of a record: by `names`, each form made when it is asked for.

    `links` are names of fields that are made of others of the `whole`: references.
    """

    __slots__ = ()
    names: Collection[str]
    links: Collection[str] = ()
    whole: Whole | None = None

    def within(self, whole: Whole) -> Fields:
        """The same fields as part of another whole."""
        return self

    def formula(self, name: str) -> Formula | None:
        """The formula that makes a field of others; None where it is not made so."""
        return None

    def equals(self, other: Fields, top: bool) -> bool:
        """Whether these are the same fields; at the top of an array references may lead to what varies together."""
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.names)


class Whole(Fields):
    """Fields between which references lead: those of the events.

    Where some were set to varied arrays, there is one whole for each variation, in `worlds`, and one that stands for
    all of them, `joint`: a reference of it leads into each of them.
    """

    worlds: Mapping[str, Whole] | None = None
    joint: Whole | None = None
    crossed: Mapping[str, tuple[str, ...]]

    def setting(self, new: Mapping[str, Form], moved: Maps) -> Whole:
        """The whole with some fields set, to which references lead from now on."""
        raise NotImplementedError

    def together(self, worlds: Mapping[str, Whole], crossed: Mapping[str, tuple[str, ...]]) -> None:
        """Notes the wholes of all variations, of which this is the nominal."""
        joint = self.setting({}, ())
        for each in (joint, *worlds.values()):
            each.worlds, each.joint, each.crossed = worlds, joint, crossed


class Overlay(Fields):
    """The fields of a record, some replaced or added, perhaps only some of them.

    What a formula makes of a field that was replaced is made anew. So `own` may have fields that `only` leaves out.
    """

    __slots__ = ("_listed", "_names", "below", "only", "own")

    def __init__(self, below: Record, own: dict[str, Form], only: tuple[str, ...] | None = None) -> None:
        self.below, self.own, self.only = below, own, only
        self._listed = frozenset(only or ())
        self._names = only

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The fields: some, or those below and the new ones."""
        if self._names is None:
            self._names = tuple(dict.fromkeys([*self.below.fields, *self.own]))
        return self._names

    @property
    def adds_none(self) -> bool:
        """Whether its fields have the names of those below."""
        return self.only is None and all(name in self.below.fields for name in self.own)

    def __getitem__(self, name: str) -> Form:
        if name not in self:
            raise KeyError(name)
        if name in self.own:
            return self.own[name]
        formula = self.formula(name) if self.follows(name) else None
        if formula is None:
            return self.below[name]
        return formula.form(Record(self if self.only is None else Overlay(self.below, self.own), self.below.name))

    def formula(self, name: str) -> Formula | None:
        """The formula of a field, unless it was set to something else."""
        return None if name in self.own else formula_of(self.below.fields, name)

    def rests_on(self, names: Iterable[str]) -> set[str]:
        """Some fields, and all that formulas make them of."""
        found, waiting = set(names), list(names)
        while waiting:
            formula = self.formula(waiting.pop())
            more = formula.needs - found if formula is not None else ()
            found.update(more)
            waiting += more
        return found

    def keeps(self, names: Iterable[str]) -> bool:
        """Whether some fields are those of the record below."""
        return not any(name in self.own or self.follows(name) for name in names)

    def follows(self, name: str) -> bool:
        """Whether a formula makes a field of one that was set."""
        return formula_of(self.below.fields, name) is not None and not self.rests_on([name]).isdisjoint(self.own)

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

    @property
    def links(self) -> Collection[str]:  # type: ignore[override]
        """The references of the record below."""
        links = getattr(self.below.fields, "links", ())
        return [name for name in links if name not in self.own] if links else ()

    @property
    def whole(self) -> Whole | None:  # type: ignore[override]
        """That of the record below."""
        return getattr(self.below.fields, "whole", None)

    def within(self, whole: Whole) -> Overlay:
        """The same over a record of another whole."""
        below = self.below.within(whole)
        return self if below is self.below else Overlay(below, self.own, self.only)


Form: TypeAlias = Scalar | Option | List | Record


def formula_of(fields: Mapping[str, Form], name: str) -> Formula | None:
    """The formula that makes a field of others; None where there is none."""
    return fields.formula(name) if isinstance(fields, Fields) else None


def underlying(record: Record) -> tuple[Mapping[str, Form], Maps, bool]:
    """The fields of a record before any were set, the maps along which they were moved, and whether all were kept."""
    maps, whole = record.maps, True
    while isinstance(over := record.fields, Overlay):
        record, whole = over.below, whole and over.only is None
        maps = (*record.maps, *maps)
    return record.fields, maps, whole


def move(form: Form, m: Map) -> Form:
    """The form of `m.dst` as seen from each element of `m.src`, along the map (anything where it is undefined)."""
    match form:
        case Scalar():
            return Scalar(take(m, form.node))
        case Record():
            return form.moved(m)
        case List(s, content, size):
            below = pulled(s, m)
            return List(below, move(content, inc(below)), None if is_partial(m) else size)
        case Option(valid, content):
            return option(take(m, valid), move(content, m))


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
        case Scalar() | Record():
            return at(form)
        case List(s, content, size):
            return List(s, change(content, at), size)
        case Option(valid, content):
            return option(valid, change(content, at))


def within(form: Form, whole: Whole) -> Form:
    """The form, the references of its records leading into `whole`."""
    return change(form, lambda part: part.within(whole) if isinstance(part, Record) else part)


def whole_of(form: Form) -> Whole | None:
    """The whole into which references of the records of a form lead; None where there are none."""
    record = record_of(form)
    return None if record is None else getattr(record.fields, "whole", None)


def leads_into(form: Form, name: str) -> Whole | None:
    """The events of all variations into which a field of records leads, if it is a reference and they vary."""
    record = record_of(form)
    whole = None if record is None else getattr(record.fields, "whole", None)
    if record is None or whole is None or whole.joint is not whole or name not in record.fields.links:  # type: ignore[attr-defined]
        return None
    return whole  # type: ignore[no-any-return]


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


def same(a: Form, b: Form, top: bool = False) -> bool:
    """Whether two forms are the same graph; fields that are not made yet are the same if their mapping is.

    With `top`, references of the record itself may lead into different worlds of one whole (`Whole`).
    """
    if a is b:
        return True
    match a, b:
        case Scalar(), Scalar():
            return a.node is b.node
        case Option(), Option():
            return a.valid is b.valid and same(a.content, b.content, top)
        case List(), List():
            return a.space is b.space and a.size == b.size and same(a.content, b.content, top)
        case Record(), Record() if (a.name, a.tuple) == (b.name, b.tuple):
            return (
                (a.maps == b.maps and _same_fields(a.fields, b.fields, top))
                or _set_again(a, b, top)
                or _set_again(b, a, top)
            )
    return False


def _set_again(a: Record, b: Record, top: bool) -> bool:
    """Whether a record is another with some fields set to what they were."""
    over = a.fields
    if not isinstance(over, Overlay) or a.maps or over.only is not None or not same(over.below, b, top):
        return False
    return all(name in b and same(form, b[name]) for name, form in over.own.items())


def _same_fields(a: Mapping[str, Form], b: Mapping[str, Form], top: bool) -> bool:
    if a is b:
        return True
    if isinstance(a, Overlay) and isinstance(b, Overlay):
        return a.only == b.only and same(a.below, b.below, top) and _same_fields(a.own, b.own, False)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    return isinstance(a, Fields) and isinstance(b, Fields) and a.equals(b, top)


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

"""Variations that are stored as columns: `Jet_pt_jesTotalUp` beside `Jet_pt`, as the schema says how they are named."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from hepgraph.datasets.grouping import Grouping
from hepgraph.datasets.patterns import fits
from hepgraph.datasets.schemafile import AS_NOMINAL, Schema, Stored
from hepgraph.errors import SchemaError, VariationWarning, suggestion
from hepgraph.functions.lines import users_level
from hepgraph.io.agreement import whole
from hepgraph.io.source import Origin, Source
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.results import NOMINAL
from hepgraph.lazy.varied import Varied, linked

Place = tuple[str, ...]  # a field of the events, by its path: ("Jet", "pt")
SHOWN = 5  # columns that a warning names


@dataclass
class StoredVariations:
    """The columns that are alternatives of others.

    `fields` has, by the name of the variation, the field that stands for each field. `bases` has, by columns that are
    alternatives, the column of which they are one, or None of a field that no column holds. `loose` are columns that
    are named as alternatives while there is no such field, each with the collection and its name there. `columns` has
    the columns of `fields`, and `unnamed` those that a collection needs a name for, to have them as its fields.
    """

    fields: dict[str, dict[Place, Place]] = field(default_factory=dict)
    bases: dict[str, str | None] = field(default_factory=dict)
    loose: dict[str, tuple[str, str]] = field(default_factory=dict)
    columns: dict[str, dict[Place, str]] = field(default_factory=dict)
    unnamed: dict[str, dict[str, str]] = field(default_factory=dict)


def stored(events: Lazy) -> dict[str, dict[Place, Place]]:
    """The variations that the columns of a dataset hold, by name: for each field, the one that stands for it."""
    fields = getattr(events._form, "fields", None)
    layout = getattr(fields, "layout", None)
    return stored_variations(layout).fields if isinstance(layout, Grouping) else {}


def stored_variations(layout: Grouping) -> StoredVariations:
    """The columns of a dataset, sorted into collections, that are alternatives of others."""
    found = StoredVariations()
    told = layout.schema.variations
    if told is None or not all(layout.groups[0]):
        return found
    places: dict[str, list[Place]] = {}
    collections = [*_collections(layout)]
    for one in collections:
        for column, path in one.paths:
            places.setdefault(column, []).append(path)
    for one in collections:
        for text, path, column in one.told:
            variation = _variation(text, one.bases, told)
            if variation is not None:
                full, base = variation
                _note(found, layout, places, full, one.bases[base], path, column)
            elif column not in found.bases and any(_generally(pattern, told, text) for pattern in told.patterns):
                found.loose[column] = one.name, text
    found.loose = {name: at for name, at in found.loose.items() if name not in found.bases}
    return found


def bases_of(origin: Origin, schema: Schema) -> Mapping[str, str | None]:
    """The columns that are alternatives, in any file of a dataset, and of which column each is one."""
    if schema.variations is None:
        return {}
    return stored_variations(Grouping(Origin.of(whole(origin.source), origin.access), schema)).bases


def lacking(source: Source, schema: Schema, bases: Mapping[str, str | None]) -> tuple[dict[str, Any], dict[str, str]]:
    """The columns that some files lack and, as the schema says, may lack.

    Their values there, or None; and those that are the nominal there, each with the column that has it. A pattern that
    says "nominal" speaks of variations alone. Raises SchemaError where that is said of another column.
    """
    every = {**source.columns, **source.late}
    for name, value in schema.optional.items():
        if value == AS_NOMINAL and (schema.variations is None or (name in every and bases.get(name) is None)):
            raise SchemaError(_no_variation(name, schema, bases))
    values: dict[str, Any] = {}
    copied: dict[str, str] = {}
    for name in sorted({name for file in source.files for name in file.lacks}):
        base = bases.get(name)
        told = [v for pattern, v in schema.optional.items() if fits(pattern, name) and (v != AS_NOMINAL or base)]
        if told and told[0] == AS_NOMINAL:
            assert base is not None
            copied[name] = base
        elif told:
            values[name] = told[0]
    return values, copied


def _no_variation(name: str, schema: Schema, bases: Mapping[str, str | None]) -> str:
    said = f'optional= says "nominal" of {name!r}'
    if schema.variations is None:
        return f"{said}, and the schema {schema.name} tells of no variations that are columns: it has no [variations]."
    if name in bases:
        return f"{said}, and no column holds the nominal of it: say which value stands for it."
    known = [each for each, base in bases.items() if base is not None]
    return f"{said}, which is no variation that is stored as a column.\n{suggestion(name, known)}"


@dataclass
class _Collection:
    """A collection, or the columns that are in none.

    `told` has texts that may be those of alternatives, each with the path of the field and its column; `bases` what
    they may be alternatives of, a column or the path of a field that has none; `paths` the fields that columns are.
    """

    name: str
    told: list[tuple[str, Place, str]] = field(default_factory=list)
    bases: dict[str, str | Place] = field(default_factory=dict)
    paths: list[tuple[str, Place]] = field(default_factory=list)


def _collections(layout: Grouping) -> Iterator[_Collection]:
    columns, raw = layout.origin.source.columns, layout.claims.told
    found: dict[str, _Collection] = {}
    counts = {layout.count_column(name) for name in layout.groups[1]} | layout.counters
    for column in columns:
        if column in layout.left or column in counts:
            continue
        head, path = layout.home.get(column) or _parts(layout.head(column), column)
        one = found.setdefault(head if path else "", _Collection(head if path else ""))
        place = (head, *path.split(".")) if path else (head,)
        one.told.append((raw.get(column) or path or head, place, column))
        one.paths.append((column, place))
    for name in [name for name in layout.names if name in found or layout.told(name).fields]:
        one = found.setdefault(name, _Collection(name))
        for new, column in layout.told(name).fields.items():
            if column in columns and all(new != known[1] for _, known in one.paths):
                one.told.append((new, (name, new), column))
                one.paths.append((column, (name, new)))
    for name, one in found.items():
        one.bases = {text: column for text, _, column in reversed(one.told)}
        for column, place in one.paths:
            one.bases.setdefault(".".join(place[1:] if name else place), column)
        part = layout.told(name) if name else None
        for new in (
            (*part.constants, *part.derived, *(bit for some in part.bits.values() for bit in some)) if part else ()
        ):
            one.bases.setdefault(new, (name, new))
    yield from found.values()


def _parts(head: str, column: str) -> tuple[str, str]:
    return head, column[len(head) + 1 :]


def _note(
    found: StoredVariations,
    layout: Grouping,
    places: Mapping[str, list[Place]],
    full: str,
    base: str | Place,
    path: Place,
    column: str,
) -> None:
    """Notes that a column is an alternative: of all fields that another column is, wherever they are."""
    found.bases[column] = base if isinstance(base, str) else None
    fields = found.fields.setdefault(full, {})
    for place in places[base] if isinstance(base, str) else [base]:
        if place[:-1] == path[:-1]:
            other = path
        else:
            own = [each for each in places[column] if each[:1] == place[:1]]
            other = own[0] if own else (place[0], column)
            if not own:
                found.unnamed.setdefault(place[0], {})[column] = column
        known = found.columns.setdefault(full, {}).setdefault(place, column)
        if known != column:
            raise SchemaError(
                f"Schema {layout.schema.name}: {known!r} and {column!r} would both be the variation {full!r} of "
                f"{'.'.join(place)}. Leave one out by a [[leave]] entry, or change the patterns of [variations]."
            )
        fields[place] = other


def _variation(text: str, bases: Mapping[str, Any], told: Stored) -> tuple[str, str] | None:
    """The name of the variation that a name tells, and what it is an alternative of: the longest, if several fit."""
    best: tuple[str, str] | None = None
    for pattern in told.patterns:
        if not _fits(pattern, told, None, text):
            continue
        starts = (0,) if pattern.startswith("{field}") else range(len(text))
        parts = {text[i:j] for i in starts for j in range(i + 1, len(text) + 1)}
        for base in sorted(parts & bases.keys(), key=lambda part: (-len(part), part)):
            if best is not None and len(base) <= len(best[1]):
                break
            match = _fits(pattern, told, base, text)
            if match is not None:
                direction = told.directions[match["direction"]] if "{direction}" in pattern else ""
                best = "_".join(part for part in (match["name"], direction) if part), base
                break
    return best


def _fits(pattern: str, told: Stored, base: str | None, text: str) -> re.Match[str] | None:
    return _compiled(pattern, tuple(told.directions), base).fullmatch(text)


@lru_cache(maxsize=4096)
def _compiled(pattern: str, directions: tuple[str, ...], base: str | None) -> re.Pattern[str]:
    parts = re.split(r"\{(field|name|direction)\}", pattern)
    kinds = {
        "field": ".+?" if base is None else re.escape(base),
        "name": "(?P<name>.+?)",
        "direction": f"(?P<direction>{'|'.join(map(re.escape, directions))})",
    }
    return re.compile("".join(kinds[part] if i % 2 else re.escape(part) for i, part in enumerate(parts)))


def _generally(pattern: str, told: Stored, text: str) -> bool:
    """Whether a name is told to be that of an alternative by its pattern alone, by a direction or letters of it."""
    letters = re.sub(r"\{(field|name)\}", "", pattern)
    return any(map(str.isalnum, letters)) and _fits(pattern, told, None, text) is not None


def with_alternatives(layout: Grouping) -> Grouping:
    """The same, with a name for each alternative in the collections whose fields vary by it."""
    unnamed = stored_variations(layout).unnamed
    if not unnamed:
        return layout
    collections = dict(layout.schema.collections)
    for name, columns in unnamed.items():
        told = layout.told(name)
        collections[name] = replace(told, fields={**told.fields, **columns})
    return Grouping(layout.origin, replace(layout.schema, collections=collections))


def with_stored(events: Lazy) -> Lazy:
    """The events, varied by what their columns hold; warns of columns that are named so and vary nothing."""
    fields = getattr(events._form, "fields", None)
    layout = getattr(fields, "layout", None)
    if not isinstance(layout, Grouping):
        return events
    found, every = stored_variations(layout), layout
    if layout.origin.source.late and layout.schema.variations is not None:
        every = Grouping(Origin.of(whole(layout.origin.source)), layout.schema)
    told = found if every is layout else stored_variations(every)
    if told.loose:
        warnings.warn(VariationWarning(_said(every, told)), stacklevel=users_level())
    each: dict[str, Any] = {NOMINAL: events}
    for name, places in found.fields.items():
        each[name] = replaced(events.__copy__(), places)
    return linked(Varied(each)) if len(each) > 1 else events


def _said(layout: Grouping, found: StoredVariations) -> str:
    loose, apart = found.loose, found.loose.keys() | found.bases.keys()
    names = {one.name: [text for text, base in one.bases.items() if base not in apart] for one in _collections(layout)}
    what = "1 column is named as a variation, and there is no field that it varies"
    if len(loose) > 1:
        what = f"{len(loose)} columns are named as variations, and there is no field that they vary"
    lines = [f"Schema {layout.schema.name}: {what}, in {layout.origin.source.name}:"]
    for column, (head, text) in list(loose.items())[:SHOWN]:
        where = f"no field of {head}" if head else "no column beside the collections"
        near = f" {suggestion(text, names[head])}" if names[head] else ""
        lines.append(f"  {column}: {text!r} begins with {where}.{near}")
    if len(loose) > SHOWN:
        lines.append(f"  and {len(loose) - SHOWN} more")
    lines.append(
        "Give the field that is varied such a name, by a [[columns]] entry or by columns = [...] of its collection; or "
        "leave these columns out, by a [[leave]] entry."
    )
    return "\n".join(lines)


def replaced(events: Any, fields: Mapping[Place, Place]) -> Any:
    """Events with some fields replaced by others; changes this handle."""
    for place, other in fields.items():
        found = events
        for part in other:
            found = found[part]
        events[place if len(place) > 1 else place[0]] = found
    return events

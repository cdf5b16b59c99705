"""Variations that are stored as columns: `Jet_pt_jesTotalUp` beside `Jet_pt`, as the schema says how they are named."""

from __future__ import annotations

import re
from typing import Any

from hepgraph.datasets.grouping import Grouping
from hepgraph.datasets.schemafile import Stored
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.results import NOMINAL
from hepgraph.lazy.varied import Varied, linked

Place = tuple[str, ...]  # a field of the events, or of a collection of theirs


def stored(events: Lazy) -> dict[str, dict[Place, str]]:
    """The variations that the columns of a dataset hold, by name: for each field, the one that stands for it."""
    fields = getattr(events._form, "fields", None)
    layout = getattr(fields, "layout", None)
    if not isinstance(layout, Grouping) or layout.schema.variations is None:
        return {}
    return of_columns(layout, layout.schema.variations)


def of_columns(layout: Grouping, told: Stored) -> dict[str, dict[Place, str]]:
    """The same for the columns of a dataset, sorted into collections."""
    known: dict[Place, set[str]] = {}
    for column in layout.origin.source.columns:
        *collection, name = layout.home.get(column, (column,))
        known.setdefault(tuple(collection), set()).add(name)
    for place in [place for place in known if place]:
        known[place] |= set(layout.schema.told(place[0]).fields)
    found: dict[str, dict[Place, str]] = {}
    for place, names in known.items():
        for name in sorted(names):
            variation = _told(name, names, told)
            if variation is not None:
                field, full = variation
                found.setdefault(full, {})[(*place, field)] = name
    return found


def _told(name: str, names: set[str], told: Stored) -> tuple[str, str] | None:
    """The field that a column is an alternative of, and the name of the variation; the longest field if there are
    several."""
    best: tuple[str, str] | None = None
    for field in names:
        if field == name or not name.startswith(field) or (best is not None and len(field) < len(best[0])):
            continue
        for pattern in told.patterns:
            parts = re.split(r"\{(field|name|direction)\}", pattern)
            kinds = {
                "field": re.escape(field),
                "name": "(?P<name>.+?)",
                "direction": f"(?P<direction>{'|'.join(map(re.escape, told.directions))})",
            }
            text = "".join(kinds[part] if i % 2 else re.escape(part) for i, part in enumerate(parts))
            match = re.fullmatch(text, name)
            if match is not None:
                direction = told.directions[match["direction"]] if "{direction}" in pattern else ""
                best = field, "_".join(part for part in (match["name"], direction) if part)
    return best


def with_stored(events: Lazy) -> Lazy:
    """The events, varied by what their columns hold."""
    each: dict[str, Any] = {NOMINAL: events}
    for name, fields in stored(events).items():
        each[name] = replaced(events.__copy__(), fields)
    return linked(Varied(each)) if len(each) > 1 else events


def replaced(events: Any, fields: dict[Place, str]) -> Any:
    """Events with some fields replaced by others; changes this handle."""
    for (*collection, field), other in fields.items():
        if collection:
            events[collection[0], field] = events[collection[0]][other]
        else:
            events[field] = events[other]
    return events

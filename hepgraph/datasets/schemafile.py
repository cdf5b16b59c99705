"""Schema files: TOML that says how flat columns become collections.

A schema file has these keys, all optional but `name`:

    name = "mine"                 # the name of the schema
    extends = "nanoaod"           # start from another one: a name, or a file (its path from this file)
    separator = "_"               # Jet_pt is field pt of Jet; without it, columns stay as they are
    counts = "n{name}"            # the column with the lengths of a collection
    [collections.Jet]             # about one collection
    counts = "nJet"               # its lengths; must be there
    record = "Jet"                # the name of its records
    fields = { rawPt = "Jet_pt_raw" }     # more fields, from any column
    constants = { charge = 0 }    # fields with the same value everywhere, where the file has none
    bits = { jetId = ["isLoose", "isTight"] }   # names for the bits of a field of integers, the lowest first
    indices = { jetIdx = "FatJet" }       # what indices point into, where their names could mean several collections
    [[references]]                # an index that points into another collection: muon.matched_jet
    from = "Muon"
    index = "jetIdx"              # or several; inverse = true: the index is in `to` and points back at `from`
    to = "Jet"
    name = "matched_jet"
    beyond = "none"               # None where no such element is left; without it, that is an error
    [variations]                  # columns that are alternatives of others: the events are varied by them
    columns = "{field}_{name}{direction}"     # their names, as of Jet_pt_jesTotalUp; or a list of such
    directions = { Up = "up", Down = "down" } # what a direction is called: jesTotal_up

An index `jetIdx` that is told of nowhere points into `Jet` if that is the only collection with `jet` in its name.
Nothing overwrites a column of the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from hepgraph.errors import SchemaError, suggestion


@dataclass(frozen=True)
class Collection:
    """The part of a schema on one collection."""

    counts: str | None = None
    record: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)
    bits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    indices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """An index column, or several, that point into a collection; `inverse` for those that point back at an element.

    Of a skim (`skimmed`) it is known that elements may be gone: what points at them is None, and no error.
    """

    to: str
    name: str
    indices: tuple[str, ...] = ()
    inverse: bool = False
    skimmed: bool = False


@dataclass(frozen=True)
class Stored:
    """The names of columns that are alternatives of others, and what their directions are called."""

    patterns: tuple[str, ...]
    directions: Mapping[str, str]


@dataclass(frozen=True)
class Schema:
    """How columns become collections."""

    name: str
    separator: str | None = None
    counts: str | None = None
    collections: Mapping[str, Collection] = field(default_factory=dict)
    references: Mapping[str, tuple[Reference, ...]] = field(default_factory=dict)
    variations: Stored | None = None

    def told(self, collection: str) -> Collection:
        """The part of the schema on a collection, if there is any."""
        return self.collections.get(collection, _NOTHING)


_NOTHING = Collection()

# the keys of each table, what each must be, and how that is said
_TEXT = (lambda x: isinstance(x, str) and x != "", "a string")
_TABLE = (lambda x: isinstance(x, dict), "a table")
_TEXTS = (lambda x: isinstance(x, dict) and all(isinstance(v, str) for v in x.values()), "a table of column names")
_NUMBERS = (
    lambda x: isinstance(x, dict) and all(isinstance(v, bool | int | float) for v in x.values()),
    "a table of numbers",
)
_BITS = (
    lambda x: (
        isinstance(x, dict)
        and all(isinstance(v, list) and len(v) <= 64 and all(isinstance(n, str) for n in v) for v in x.values())
    ),
    "a table of lists of names, at most 64 each",
)
Rule = tuple[Callable[[Any], bool], str]
_TOP: dict[str, Rule] = {
    "name": _TEXT,
    "title": _TEXT,
    "extends": _TEXT,
    "separator": _TEXT,
    "counts": (lambda x: isinstance(x, str) and "{name}" in x, "a string with {name} in it, like 'n{name}'"),
    "collections": _TABLE,
    "references": (lambda x: isinstance(x, list) and all(isinstance(v, dict) for v in x), "a list, [[references]]"),
    "variations": _TABLE,
}
_COLLECTION: dict[str, Rule] = {
    "counts": _TEXT,
    "record": _TEXT,
    "fields": _TEXTS,
    "constants": _NUMBERS,
    "bits": _BITS,
    "indices": (_TEXTS[0], "a table of names of collections"),
}
_REFERENCE: dict[str, Rule] = {
    "from": _TEXT,
    "index": (
        lambda x: isinstance(x, str) or (isinstance(x, list) and bool(x) and all(isinstance(v, str) for v in x)),
        "the name of a field, or a list of them",
    ),
    "to": _TEXT,
    "name": _TEXT,
    "inverse": (lambda x: isinstance(x, bool), "true or false"),
    "beyond": (lambda x: x == "none", "'none' (or not there at all, for an error)"),
}


_PART = re.compile(r"\{\w+\}")
_VARIATIONS: dict[str, Rule] = {
    "columns": (
        lambda x: all(isinstance(v, str) and {"{field}", "{name}"} <= set(_PART.findall(v)) for v in _listed(x)),
        "a name with {field}, {name} and perhaps {direction} in it, or a list of such",
    ),
    "directions": (_TEXTS[0], "a table of names"),
}


def _listed(x: Any) -> list[Any]:
    return x if isinstance(x, list) else [x]


def load(name: str | Path | Schema) -> Schema:
    """A schema by its name (`nanoaod`, `base`) or by the path of a TOML file; raises SchemaError."""
    if isinstance(name, Schema):
        return name
    if not isinstance(name, str | Path):
        raise SchemaError(
            f"A schema is given by its name ({', '.join(available())}) or by the path of a TOML file, not by {name!r}."
        )
    return _load(str(name), ())


def _load(name: str, above: tuple[Path, ...]) -> Schema:
    if Path(name).suffix != ".toml":
        return _included(name)
    path = (above[-1].parent if above else Path()).joinpath(Path(name).expanduser()).resolve()
    if path in above:
        raise SchemaError(f"The schema {above[-1]} extends itself.")
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        asked = f", which {above[-1]} extends" if above else ""
        raise SchemaError(f"No schema file {name!r}{asked}.") from error
    except UnicodeDecodeError as error:
        raise SchemaError(f"The schema {path} is not a text file: {error}") from error
    return _read(text, str(path), (*above, path))


@lru_cache(maxsize=16)
def _included(name: str) -> Schema:
    known = available()
    if name not in known:
        raise SchemaError(f"No schema {name!r}.\n{suggestion(name, known)} Or give the path of a TOML file.")
    return _read(resources.files("hepgraph.schemas").joinpath(f"{name}.toml").read_text(encoding="utf-8"), name, ())


def available() -> list[str]:
    """The names of the schemas that come with hepgraph.

    >>> available()
    ['base', 'nanoaod']
    """
    found = resources.files("hepgraph.schemas").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in found if entry.name.endswith(".toml"))


def _read(text: str, where: str, above: tuple[Path, ...]) -> Schema:
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise SchemaError(f"The schema {where} is not valid TOML: it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"The schema {where} is not valid TOML: {error}") from error
    _check(table, _TOP, where, "")
    if "name" not in table:
        raise SchemaError(f"The schema {where} has no name; write name = '...' at its top.")
    below = _load(table["extends"], above) if "extends" in table else Schema(table["name"])
    collections = dict(below.collections)
    for name, entry in table.get("collections", {}).items():
        if not isinstance(entry, dict):
            raise SchemaError(f"The schema {where}: collections.{name} must be a table, [collections.{name}].")
        _check(entry, _COLLECTION, where, f"[collections.{name}]")
        old = below.told(name)
        collections[name] = Collection(
            entry.get("counts", old.counts),
            entry.get("record", old.record),
            {**old.fields, **entry.get("fields", {})},
            {**old.constants, **entry.get("constants", {})},
            {**old.bits, **{name: tuple(names) for name, names in entry.get("bits", {}).items()}},
            {**old.indices, **entry.get("indices", {})},
        )
    references = dict(below.references)
    for entry in table.get("references", []):
        _check(entry, _REFERENCE, where, "[[references]]")
        if missing := {"from", "index", "to", "name"} - set(entry):
            raise SchemaError(f"The schema {where} has a reference without {', '.join(sorted(missing))}: {entry}.")
        indices = (entry["index"],) if isinstance(entry["index"], str) else tuple(entry["index"])
        made = Reference(entry["to"], entry["name"], indices, entry.get("inverse", False), "beyond" in entry)
        references[entry["from"]] = (*references.get(entry["from"], ()), made)
    variations = below.variations
    if "variations" in table:
        _check(table["variations"], _VARIATIONS, where, "[variations]")
        known = below.variations or Stored((), {"Up": "up", "Down": "down"})
        patterns = tuple(_listed(table["variations"].get("columns", list(known.patterns))))
        variations = Stored(patterns, table["variations"].get("directions", known.directions))
    return Schema(
        table["name"],
        table.get("separator", below.separator),
        table.get("counts", below.counts),
        collections,
        references,
        variations,
    )


def _check(table: Mapping[str, Any], rules: Mapping[str, Rule], where: str, part: str) -> None:
    inside = f" in {part}" if part else ""
    for key, value in table.items():
        if key not in rules:
            raise SchemaError(
                f"The schema {where} has an unknown key {key!r}{inside}.\n{suggestion(key, sorted(rules))}"
            )
        fits, wanted = rules[key]
        if not fits(value):
            raise SchemaError(f"The schema {where}: {key!r}{inside} must be {wanted}, not {value!r}.")

"""Schema files: TOML that says how flat columns become collections. `schemas/README.md` has all keys, with examples.

Nothing overwrites a column of the file, and none is lost: it is a field, or named as left out, with the reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hepgraph.datasets.patterns import fits
from hepgraph.datasets.schemarules import check, listed
from hepgraph.errors import SchemaError, suggestion


@dataclass(frozen=True)
class Collection:
    """The part of a schema on one collection."""

    doc: str | None = None
    counts: str | None = None
    record: str | None = None
    singleton: bool = False
    once: bool = False
    columns: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    bits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    indices: Mapping[str, str] = field(default_factory=dict)
    lengths: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    docs: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def over(self, old: Collection) -> Collection:
        """This part where another one was said before: what it does not say stays."""
        made: dict[str, Any] = {}
        for each in fields(Collection):
            mine, its = getattr(self, each.name), getattr(old, each.name)
            made[each.name] = {**its, **mine} if isinstance(mine, Mapping) else mine or its
        return Collection(**made)


@dataclass(frozen=True)
class Reference:
    """An index column, or several, that point into a collection; `inverse` for those that point back at an element.

    Of a skim (`skimmed`) it is known that elements may be gone: what points at them is None, and no error. With a `key`
    the index is one into that of several collections (`into`, or all of some `kinds`) whose key it is; `numbers` are
    their keys in a file, and `known` those of all collections, where it says so. `of`: the kind of those that have it.
    With `until` it is followed until that field is another (see `hepgraph.datasets.copies`).
    """

    to: str
    name: str
    indices: tuple[str, ...] = ()
    inverse: bool = False
    skimmed: bool = False
    key: str | None = None
    into: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    ranged: bool = False
    numbers: tuple[int, ...] = ()
    known: tuple[tuple[int, str], ...] | None = None
    of: str | None = None
    until: str | None = None
    deep: bool = False
    first: bool = False


@dataclass(frozen=True)
class KeyTable:
    """The place where a file says which number stands for which collection: a tree, and two of its columns."""

    tree: str
    numbers: str
    names: str


@dataclass(frozen=True)
class ColumnRule:
    """Which branches are which fields: a pattern, and a template of collection and field."""

    match: str
    to: str
    key: str | None = None


@dataclass(frozen=True)
class CollectionKind:
    """A kind of collections, told by fields that they have, or by their names; the number of its class."""

    has: tuple[str, ...] = ()
    number: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """Another schema, for files that have some branches and lack others."""

    use: str
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


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
    title: str = ""
    detect: tuple[str, ...] = ()
    keys: str | KeyTable | None = None
    columns: tuple[ColumnRule, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    leave: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, CollectionKind] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, Any] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    variations: Stored | None = None
    unreadable: str | None = None
    place: str | None = None  # of the file

    def told(self, collection: str) -> Collection:
        """The part of the schema on a collection, if there is any: by its name, and by patterns that it fits."""
        found = self.collections.get(collection, _NOTHING)
        for pattern in self._patterns:
            if fits(pattern, collection):
                found = found.over(self.collections[pattern])
        return found

    @property
    def _patterns(self) -> list[str]:
        return [name for name in self.collections if "*" in name]

    def refers(self, collection: str) -> tuple[Reference, ...]:
        """The references from a collection, by its name or by a pattern."""
        own = self.references.get(collection, ())
        more = [self.references[name] for name in self.references if "*" in name and fits(name, collection)]
        return own + tuple(each for some in more for each in some)

    def suits(self, columns: Mapping[str, Any]) -> bool:
        """Whether a file with these columns has all that the schema says such a file has."""
        return bool(self.detect) and all(_some(pattern, columns) for pattern in self.detect)

    def version(self, columns: Mapping[str, Any]) -> Schema:
        """The schema for a file with these columns: this one, or the one that it names for them."""
        found, passed = self, [self.place or self.name]
        while use := found._used(columns):
            found = _load(use, (Path(found.place),) if found.place else ())
            if (place := found.place or found.name) in passed:
                raise SchemaError(f"The schema {passed[-1]} uses {use} for this file, which leads back to {place}.")
            passed.append(place)
        return found

    def _used(self, columns: Mapping[str, Any]) -> str | None:
        """The schema that this one names for a file with these columns, if it names one."""
        for each in self.versions:
            if all(_some(one, columns) for one in each.has) and not any(_some(one, columns) for one in each.lacks):
                return each.use
        return None

    def of_computed(self, references: Mapping[str, Sequence[Reference]]) -> Schema:
        """The schema of collections that were made by this one, and computed: all is in its place, references apart."""
        bare: dict[str, Any] = {
            "columns": (),
            "counts": None,
            "lengths": {},
            "ranges": {},
            "singleton": False,
            "once": False,
        }
        return Schema(
            self.name,
            self.separator,
            self.counts,
            {name: replace(told, **bare) for name, told in self.collections.items()},
            {name: tuple(some) for name, some in references.items()},
            self.title,
            aliases=self.aliases,
        )


def _some(pattern: str, columns: Mapping[str, Any]) -> bool:
    if "*" not in pattern and "{" not in pattern:
        return pattern in columns
    return any(fits(pattern, name) for name in columns)


_NOTHING = Collection()
AS_NOMINAL = "nominal"  # of columns that are variations, what stands for them: the column that they are one of


def load(name: str | Path | Schema) -> Schema:
    """A schema by its name (`nanoaod`, `base`) or by the path of a TOML file; raises SchemaError."""
    if isinstance(name, Schema):
        return name
    if not isinstance(name, str | Path):
        raise SchemaError(
            f"A schema is given by its name ({', '.join(available())}) or by the path of a TOML file, not by {name!r}."
        )
    return _load(str(name), ())


def with_optional(schema: Schema, optional: Any) -> Schema:
    """The schema for files that may lack these columns: a name or pattern, several, or a dict with their values there.

    Raises SchemaError for anything else.
    """
    named = [optional] if isinstance(optional, str) else optional
    told = dict.fromkeys(named) if isinstance(named, list | tuple) else named
    if not isinstance(told, Mapping) or not all(isinstance(k, str) and _is_value(v) for k, v in told.items()):
        raise SchemaError(
            "optional= takes names or patterns of columns, and numbers or None for what stands where a file lacks "
            'them, such as {"HLT_*": False}; of columns that are stored variations "nominal" as well: '
            f'{{"*": "nominal"}}. It does not take {optional!r}.'
        )
    return replace(schema, optional={**told, **{name: v for name, v in schema.optional.items() if name not in told}})


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return value == AS_NOMINAL
    return value is None or isinstance(value, bool | int | float | np.number | np.bool_)


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

    >>> available()[:3]
    ['base', 'delphes', 'edm4hep']
    """
    found = resources.files("hepgraph.schemas").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in found if entry.name.endswith(".toml"))


def read_text(text: str, where: str) -> Schema:
    """The schema that a text says, as a schema file would; `where` stands for the file in messages."""
    return _read(text, where, ())


def _read(text: str, where: str, above: tuple[Path, ...]) -> Schema:
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise SchemaError(f"The schema {where} is not valid TOML: it is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"The schema {where} is not valid TOML: {error}") from error
    check(table, where, text)
    if "name" not in table:
        raise SchemaError(f"The schema {where} has no name; write name = '...' at its top.")
    below = _load(table["extends"], above) if "extends" in table else Schema(table["name"])
    collections = dict(below.collections)
    for name, entry in table.get("collections", {}).items():
        collections[name] = _collection(entry).over(below.collections.get(name, _NOTHING))
    references: dict[str, tuple[Reference, ...]] = {}
    for entry in table.get("references", []):  # of two with one name, that of the schema that extends the other
        told, start = _reference(entry, where), entry.get("from", "*")
        references[start] = (*references.get(start, ()), told)
    for name, some in below.references.items():
        references[name] = (*references.get(name, ()), *some)
    kinds = {name: _kind(entry) for name, entry in table.get("kinds", {}).items()}
    keys = table.get("keys", below.keys)
    keys = KeyTable(**keys) if isinstance(keys, dict) else keys
    for each in (each for some in references.values() for each in some):
        if each.key is not None and keys is None:
            raise SchemaError(
                f"The schema {where}: reference {each.name!r} has a key, and nothing says which is that of which "
                'collection; a schema says it by keys = "podio", "athena" or { tree, numbers, names }.'
            )
    return Schema(
        table["name"],
        table.get("separator", below.separator),
        table.get("counts", below.counts),
        collections,
        references,
        table.get("title", ""),
        tuple(table.get("detect", below.detect)),
        keys,
        (*(ColumnRule(**entry) for entry in table.get("columns", [])), *below.columns),
        {**below.names, **table.get("names", {})},
        {**below.leave, **{entry["match"]: entry["reason"] for entry in table.get("leave", [])}},
        {**below.kinds, **kinds},
        {**below.aliases, **table.get("aliases", {})},
        _optional(table.get("optional", {}), below.optional),
        tuple(_version(entry) for entry in table.get("versions", [])),
        _stored(table["variations"], below.variations) if "variations" in table else below.variations,
        table.get("unreadable", below.unreadable),
        str(above[-1]) if above else None,
    )


def _optional(entry: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """The values of columns that files may lack, by pattern: what a schema says goes before what it extends."""
    own = {pattern: None if value == "none" else value for pattern, value in entry.items()}
    return {**own, **{pattern: value for pattern, value in below.items() if pattern not in own}}


def _collection(entry: Mapping[str, Any]) -> Collection:
    made = dict(entry)
    columns = made.get("columns", ())
    made["columns"] = (columns,) if isinstance(columns, str) else tuple(columns)
    for key in ("bits", "ranges"):
        made[key] = {name: tuple(names) for name, names in made.get(key, {}).items()}
    return Collection(**made)


def _reference(entry: Mapping[str, Any], where: str) -> Reference:
    indices = (entry["index"],) if isinstance(entry["index"], str) else tuple(entry["index"])
    if "to" not in entry and "kind" not in entry:
        raise SchemaError(f"The schema {where}: a reference without to: {dict(entry)}.")
    if "from" not in entry and "of" not in entry:
        raise SchemaError(f"The schema {where}: a reference without from: {dict(entry)}.")
    to = entry.get("to", ())
    into = (to,) if isinstance(to, str) else tuple(to)
    if entry.get("range", False) and len(indices) != 2:
        raise SchemaError(f"The schema {where}: a range has two indices, the first and the last: {dict(entry)}.")
    if "key" in entry and (len(indices) > 1 or entry.get("inverse", False)):
        raise SchemaError(f"The schema {where}: a reference with a key has one index, and no inverse: {dict(entry)}.")
    if "until" in entry and (into != (entry["from"],) or len(indices) > 1 or "key" in entry or "range" in entry):
        raise SchemaError(
            f"The schema {where}: until is for one index of a collection into itself, without key or range: "
            f"{dict(entry)}."
        )
    if "deep" in entry and not ("until" in entry and entry.get("inverse", False)):
        raise SchemaError(f"The schema {where}: deep is for references with inverse and until: {dict(entry)}.")
    if (len(into) > 1 or "kind" in entry) and "key" not in entry:
        raise SchemaError(
            f"The schema {where}: reference {entry['name']!r} may lead to several collections; name the field with "
            "the key that tells which: key = '...'."
        )
    kinds = tuple(listed(entry.get("kind", [])))
    return Reference(
        into[0] if into else kinds[0],
        entry["name"],
        indices,
        entry.get("inverse", False),
        "beyond" in entry,
        entry.get("key"),
        into,
        kinds,
        entry.get("range", False),
        until=entry.get("until"),
        deep=entry.get("deep", False),
        first=entry.get("first", False),
        of=entry.get("of"),
    )


def _stored(entry: Mapping[str, Any], below: Stored | None) -> Stored:
    known = below or Stored((), {"Up": "up", "Down": "down"})
    return Stored(tuple(listed(entry.get("columns", list(known.patterns)))), entry.get("directions", known.directions))


def _kind(entry: Mapping[str, Any]) -> CollectionKind:
    return CollectionKind(tuple(entry.get("has", ())), entry.get("number", 0), tuple(entry.get("names", ())))


def _version(entry: Mapping[str, Any]) -> Version:
    return Version(entry["use"], tuple(entry.get("has", ())), tuple(entry.get("lacks", ())))

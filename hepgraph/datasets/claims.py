"""Columns that a schema claims by pattern: the collection and the field of each, and no two in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hepgraph.datasets.patterns import filled, matched
from hepgraph.datasets.schemafile import Schema
from hepgraph.errors import SchemaError
from hepgraph.io.source import Column

_SIZE = re.compile(r"(\[\d+\])+$")


@dataclass(frozen=True)
class Claims:
    """Where patterns of a schema put columns: the collection and the field of each.

    `keys` are the names that references know collections by, where they are others; `told` the fields of columns by the
    names that patterns gave them, before the schema gave them others.
    """

    places: Mapping[str, tuple[str, str]]
    keys: Mapping[str, str]
    told: Mapping[str, str]


def claimed(schema: Schema, columns: Mapping[str, Column], left: Mapping[str, str]) -> Claims:
    """Where patterns of a schema put columns.

    The patterns of a collection come first, and no two collections may claim a column; of `[[columns]]`, the first that
    fits decides. Raises SchemaError if two columns are to be one field.
    """
    own = [(name, pattern) for name, told in schema.collections.items() for pattern in told.columns]
    found: dict[str, tuple[str, str]] = {}
    places: dict[tuple[str, str], str] = {}
    keys: dict[str, str] = {}
    told_names: dict[str, str] = {}
    counters = {column.counts for column in columns.values()}
    counters.update(told.counts for told in schema.collections.values())
    for name in columns if own or schema.columns else ():
        if name in left or name in counters:
            continue
        claim = _of_collection(schema, own, name) or _of_rules(schema, name, keys)
        if claim is None:
            continue
        collection, told_names[name] = claim[0], _SIZE.sub("", claim[1])
        home = collection, _named(schema, claim[1])
        if home in places:
            raise SchemaError(
                f"Schema {schema.name}: {places[home]!r} and {name!r} would both be field {home[1]} of {home[0]}. Give "
                "one of them another name by a [[columns]] entry before the one that both fit, or leave one out by a "
                "[[leave]] entry."
            )
        found[name], places[home] = home, name
    paths = set(found.values())
    for name, (collection, path) in found.items():
        head = path.rpartition(".")[0]
        while head:
            if (collection, head) in paths:
                raise SchemaError(
                    f"Schema {schema.name}: {places[collection, head]!r} would be field {head} of {collection}, and "
                    f"{name!r} a field inside of it. Give one of them another name."
                )
            head = head.rpartition(".")[0]
    return Claims(found, keys, told_names)


def _of_collection(schema: Schema, own: list[tuple[str, str]], name: str) -> tuple[str, str] | None:
    claims: dict[str, str] = {}
    for collection, pattern in own:
        texts = matched(pattern, name)
        if texts is not None:
            claims.setdefault(collection, texts["field"])
    if len(claims) > 1:
        raise SchemaError(
            f"Schema {schema.name}: {name!r} is claimed by {' and by '.join(claims)}. A column belongs to one "
            'collection; another one may have it too by name: fields = { some_name = "' + name + '" }.'
        )
    return next(iter(claims.items()), None)


def _named(schema: Schema, path: str) -> str:
    """The path of a field, by the names that the schema gives its parts."""
    parts = _SIZE.sub("", path).split(".")
    return ".".join(schema.names.get(part, part) for part in parts)


def _of_rules(schema: Schema, name: str, keys: dict[str, str]) -> tuple[str, str] | None:
    for rule in schema.columns:
        texts = matched(rule.match, name)
        if texts is None:
            continue
        collection, _, path = filled(rule.to, texts).partition(".")
        if not path:
            return None
        key = collection if rule.key is None else filled(rule.key, texts)
        if schema.keys is not None and keys.setdefault(collection, key) != key:
            raise SchemaError(
                f"Schema {schema.name}: {name!r} would be in {collection}, of which references know other columns by "
                f"the name {keys[collection]}, and this one by {key}. Put it elsewhere by a [[columns]] entry before "
                f"{rule.match!r}, or leave it out by a [[leave]] entry."
            )
        return collection, path
    return None

"""The keys of schema files: what each must be, in words, for errors, and for the JSON Schema that editors read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hepgraph.datasets.patterns import names_of
from hepgraph.datasets.recipes import KEYS
from hepgraph.errors import SchemaError, suggestion


@dataclass(frozen=True, slots=True)
class Rule:
    """A key of a table: whether a value fits, how that is said, its JSON Schema, and what it is for."""

    fits: Callable[[Any], bool]
    wanted: str
    json: Mapping[str, Any]
    doc: str = ""

    def about(self, doc: str, wanted: str | None = None) -> Rule:
        """The rule of a key, with what the key is for."""
        return Rule(self.fits, wanted or self.wanted, self.json, doc)


def _texts(x: Any) -> bool:
    return isinstance(x, dict) and all(isinstance(v, str) for v in x.values())


def _is_list(x: Any) -> bool:
    return isinstance(x, list) and bool(x) and all(isinstance(v, str) and v for v in x)


def _number(x: Any) -> bool:
    return isinstance(x, bool | int | float)


_S = {"type": "string"}
TEXT = Rule(lambda x: isinstance(x, str) and x != "", "a string", _S)
FLAG = Rule(lambda x: isinstance(x, bool), "true or false", {"type": "boolean"})
TABLE = Rule(lambda x: isinstance(x, dict), "a table", {"type": "object"})
TEXTS = Rule(_texts, "a table of column names", {"type": "object", "additionalProperties": _S})
NUMBERS = Rule(
    lambda x: isinstance(x, dict) and all(map(_number, x.values())), "a table of numbers",
    {"type": "object", "additionalProperties": {"type": ["number", "boolean"]}},
)  # fmt: skip
BITS = Rule(
    lambda x: isinstance(x, dict)
    and all(isinstance(v, list) and len(v) <= 64 and all(isinstance(n, str) for n in v) for v in x.values()),
    "a table of lists of names, at most 64 each",
    {"type": "object", "additionalProperties": {"type": "array", "items": _S, "maxItems": 64}},
)  # fmt: skip
PAIRS = Rule(
    lambda x: isinstance(x, dict) and all(_is_list(v) and len(v) == 2 for v in x.values()),
    "a table of pairs of fields, [begin, end]",
    {"type": "object", "additionalProperties": {"type": "array", "items": _S, "minItems": 2, "maxItems": 2}},
)  # fmt: skip
LIST = Rule(_is_list, "a list of strings", {"type": "array", "items": _S, "minItems": 1})
NAMES = Rule(
    lambda x: (isinstance(x, str) and x != "") or _is_list(x), "the name of a field, or a list of them",
    {"oneOf": [_S, {"type": "array", "items": _S, "minItems": 1}]},
)  # fmt: skip
TABLES = Rule(
    lambda x: isinstance(x, list) and all(isinstance(v, dict) for v in x), "a list of tables",
    {"type": "array", "items": {"type": "object"}},
)  # fmt: skip


def _one_of(*names: str) -> Rule:
    return Rule(lambda x: x in names, " or ".join(map(repr, names)), {"enum": list(names)})


_TABLE = {"tree", "numbers", "names"}
TOP: dict[str, Rule] = {
    "name": TEXT.about("the name of the schema"),
    "title": TEXT.about("one line on what files it is for"),
    "extends": TEXT.about("the schema to start from: a name, or a path from this file"),
    "detect": LIST.about("branches, by name or pattern, that a file of this format has: all of them"),
    "separator": TEXT.about("Jet_pt is field pt of Jet; without it, columns stay as they are"),
    "counts": Rule(
        lambda x: isinstance(x, str) and "{name}" in x, "a string with {name} in it, like 'n{name}'",
        {"type": "string", "pattern": r"\{name\}"}, "the column with the lengths of a collection",
    ),
    "keys": Rule(
        lambda x: x in KEYS if isinstance(x, str) else _texts(x) and set(x) == _TABLE,
        f"{', '.join(map(repr, sorted(KEYS)))} or a table of {', '.join(sorted(_TABLE))}",
        {"oneOf": [{"enum": sorted(KEYS)}, {**TEXTS.json, "required": sorted(_TABLE)}]},
        "how a collection's name becomes the number that references have of it, or the tree and columns that say it",
    ),
    "names": TEXTS.about("fields that get other names, wherever patterns put them", "a table of names"),
    "columns": TABLES.about("which branches are which fields, by pattern; the first that fits", "a list, [[columns]]"),
    "leave": TABLES.about("branches that are in no collection, and why", "a list, [[leave]]"),
    "unreadable": _one_of("leave").about("'leave': columns that cannot be read are left out, with the reason"),
    "versions": TABLES.about("other schemas for files that hold other branches", "a list, [[versions]]"),
    "kinds": TABLE.about("kinds of collections, told by the fields that they have"),
    "aliases": TEXTS.about("more names of collections", "a table of names of collections"),
    "optional": Rule(
        lambda x: isinstance(x, dict) and all(_number(v) or v in ("none", "nominal") for v in x.values()),
        "a table of numbers, 'none' or 'nominal'",
        {"type": "object", "additionalProperties": {"type": ["number", "boolean", "string"]}},
        "branches, by name or pattern, that files may lack: their value there, or 'none'; of variations 'nominal'",
    ),
    "collections": TABLE.about("collections, by name or by pattern"),
    "references": TABLES.about("indices that point into other collections", "a list, [[references]]"),
    "variations": TABLE.about("columns that are alternatives of others: the events are varied by them"),
}  # fmt: skip

COLLECTION: dict[str, Rule] = {
    "doc": TEXT.about("one line on what is in it"),
    "columns": NAMES.about("its branches, by patterns with {field}", "a pattern, or a list of them"),
    "counts": TEXT.about("the branch with its lengths; must be there"),
    "record": TEXT.about("the name of its records"),
    "singleton": FLAG.about("each list has one element, which stands for itself"),
    "once": FLAG.about("one record for each event, some of whose fields may be lists"),
    "fields": TEXTS.about("more fields, from any column"),
    "constants": NUMBERS.about("fields with the same value everywhere, where the file has none"),
    "derived": TEXTS.about("fields that are computed from others", "a table of expressions"),
    "bits": BITS.about("names for the bits of a field of integers, the lowest first"),
    "indices": TEXTS.about("what indices point into, if their names do not tell", "a table of names of collections"),
    "lengths": TEXTS.about("fields whose elements are dealt out by the numbers in another", "a table of field names"),
    "ranges": PAIRS.about("fields of which each element has those from one number to another"),
    "docs": TEXTS.about("what fields are", "a table of texts"),
    "units": TEXTS.about("the units of fields", "a table of units"),
}

REFERENCE: dict[str, Rule] = {
    "from": TEXT.about("the collection, by name or pattern, that has the index"),
    "index": NAMES.about("the field with the index, or several; a path like `links.index`"),
    "to": NAMES.about("the collection that it points into, or several, told apart by a key", "a name, or a list"),
    "kind": NAMES.about("the kind of collections that it points into, in place of `to`", "a kind, or a list of them"),
    "of": TEXT.about("the kind of collections that have the index, in place of `from`, or with it"),
    "name": TEXT.about("the name of the reference"),
    "key": TEXT.about("the field with the key of the collection"),
    "inverse": FLAG.about("the index is in `to`, and points back"),
    "range": FLAG.about("the two indices are the first and the last of those that it leads to"),
    "until": TEXT.about("the field by which elements are copies of one: the index is followed until it is another"),
    "deep": FLAG.about("with `inverse` and `until`: of the first copy, what its later copies lead to"),
    "first": FLAG.about("of a list of elements, the first; None where there is none"),
    "beyond": Rule(
        lambda x: x == "none", "'none' (or not there at all, for an error)", {"const": "none"},
        "None where no such element is left",
    ),
}  # fmt: skip

COLUMN: dict[str, Rule] = {
    "match": TEXT.about("a pattern of branch names"),
    "to": TEXT.about("the collection and the field, with a dot between; a dot alone: it stays as it is"),
    "key": TEXT.about("the name that references know the collection by, where it is another"),
}
LEAVE: dict[str, Rule] = {
    "match": TEXT.about("a pattern of branch names"),
    "reason": TEXT.about("why they are in no collection"),
}
VERSION: dict[str, Rule] = {
    "has": LIST.about("branches, by name or pattern, that such a file has"),
    "lacks": LIST.about("branches that it does not have"),
    "use": TEXT.about("the schema of such a file"),
}
KIND: dict[str, Rule] = {
    "has": LIST.about("fields that such a collection has"),
    "names": LIST.about("the names that such a collection has, or patterns"),
    "number": Rule(lambda x: isinstance(x, int), "an integer", {"type": "integer"}, "the number of its class"),
}
_PART = re.compile(r"\{\w+\}")


def listed(x: Any) -> list[Any]:
    """A list, or the one element that is given in its place."""
    return x if isinstance(x, list) else [x]


VARIATIONS: dict[str, Rule] = {
    "columns": Rule(
        lambda x: all(isinstance(v, str) and {"{field}", "{name}"} <= set(_PART.findall(v)) for v in listed(x)),
        "a name with {field}, {name} and perhaps {direction} in it, or a list of such", NAMES.json, "their names",
    ),
    "directions": TEXTS.about("what a direction is called", "a table of names"),
}  # fmt: skip

PARTS: dict[str, tuple[str, dict[str, Rule], frozenset[str]]] = {  # the word for it, its keys, those that must be there
    "collections": ("[collections.{}]", COLLECTION, frozenset()),
    "kinds": ("[kinds.{}]", KIND, frozenset()),
    "references": ("[[references]]", REFERENCE, frozenset({"index", "name"})),
    "columns": ("[[columns]]", COLUMN, frozenset({"match", "to"})),
    "leave": ("[[leave]]", LEAVE, frozenset({"match", "reason"})),
    "versions": ("[[versions]]", VERSION, frozenset({"use"})),
}


def check(table: Mapping[str, Any], where: str, text: str) -> None:
    """Raises SchemaError if a schema file has a key that there is not, or a value that does not fit."""
    _check(table, TOP, where, "", text, 0)
    _check(table.get("variations", {}), VARIATIONS, where, "[variations]", text, 0)
    for part, (header, rules, must) in PARTS.items():
        entries = table.get(part, {})
        pairs = entries.items() if isinstance(entries, dict) else enumerate(entries)
        for number, (name, entry) in enumerate(pairs):
            title = header.format(name)
            at = number if isinstance(entries, list) else 0
            if not isinstance(entry, dict):
                raise SchemaError(f"The schema {_place(where, text, name)}: {part}.{name} must be a table, {title}.")
            _check(entry, rules, where, title, text, at)
            if missing := must - set(entry):
                raise SchemaError(
                    f"The schema {_place(where, text, '', title, at)}: a {title.strip('[]').removesuffix('s')} "
                    f"without {', '.join(sorted(missing))}: {entry}."
                )
            _patterns(entry, part, where, title, text, at)


def _check(table: Mapping[str, Any], rules: Mapping[str, Rule], where: str, part: str, text: str, at: int) -> None:
    inside = f" in {part}" if part else ""
    for key, value in table.items():
        if key not in rules:
            place = _place(where, text, key, part, at)
            near = suggestion(key, sorted(rules))
            raise SchemaError(f"The schema {place}: unknown key {key!r}{inside}.\n{near}")
        rule = rules[key]
        if not rule.fits(value):
            place = _place(where, text, key, part, at)
            raise SchemaError(f"The schema {place}: {key!r}{inside} must be {rule.wanted}, not {value!r}.")


def _patterns(entry: Mapping[str, Any], part: str, where: str, title: str, text: str, at: int) -> None:
    """Raises SchemaError if a pattern of an entry is none, or lacks a place."""
    found = {"collections": entry.get("columns", []), "versions": [*entry.get("has", []), *entry.get("lacks", [])]}
    patterns = found.get(part, entry.get("match", []))
    wanted = {"field"} if part == "collections" else set()
    key = "columns" if part == "collections" else "match"
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        try:
            names = names_of(pattern)
        except SchemaError as error:
            raise SchemaError(f"The schema {_place(where, text, key, title, at)}: {error}.") from None
        if missing := wanted - names:
            places = ", ".join(f"{{{name}}}" for name in sorted(missing))
            raise SchemaError(f"The schema {_place(where, text, key, title, at)}: {pattern!r} has no {places}.")
        if part == "columns" and (unknown := names_of(entry["to"]) - names):
            raise SchemaError(
                f"The schema {_place(where, text, 'to', title, at)}: {entry['to']!r} has {{{min(unknown)}}}, and "
                f"{pattern!r} has not.\n{suggestion(min(unknown), sorted(names))}"
            )


def _place(where: str, text: str, key: str, part: str = "", at: int = 0) -> str:
    """The file, and the line of a key of a table, if it is found."""
    table, seen, header = "", -1, 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("["):
            table = re.sub(r"[\s\"']", "", bare.partition("#")[0])
            seen += table == part
            header = number if table == part and seen == at else header
        inside = (table == "" and not part) or (table == part and (seen == at or not part.startswith("[[")))
        if inside and key and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*=", bare):
            return f"{where}, line {number}"
    return f"{where}, line {header}" if header else where


def json_schema() -> dict[str, Any]:
    """The JSON Schema of schema files, for editors that complete and check TOML."""

    def keys(rules: Mapping[str, Rule], must: frozenset[str]) -> dict[str, Any]:
        made: dict[str, Any] = {
            "type": "object",
            "properties": {key: {**rule.json, "description": rule.doc} for key, rule in rules.items()},
            "additionalProperties": False,
        }
        return {**made, "required": sorted(must)} if must else made

    whole = keys(TOP, frozenset({"name"}))
    whole["properties"]["variations"] = {**keys(VARIATIONS, frozenset()), "description": TOP["variations"].doc}
    for part, (_, rules, must) in PARTS.items():
        inner, doc = keys(rules, must), TOP[part].doc
        if TOP[part].json.get("type") == "array":
            whole["properties"][part] = {"type": "array", "items": inner, "description": doc}
        else:
            whole["properties"][part] = {"type": "object", "additionalProperties": inner, "description": doc}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "A schema file of hepgraph", **whole}

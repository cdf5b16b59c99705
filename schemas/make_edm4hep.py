"""The data types of EDM4hep as a schema file: `make_edm4hep.py 00-10.yaml 00-99.yaml ... > edm4hep_types.toml`.

Each argument is the definition of one version (`edm4hep.yaml`, or the JSON that podio puts into files). What is taken
from them: which relation of which type leads to which, and which branches each type has, by which it is known. Types
that have the same branches as others (links, associations) are known by the names of their collections.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import yaml

MOST = 3  # fields by which a type is known


@dataclass
class DataType:
    """One type of one version: the fields of its collections, the types that its relations lead to."""

    fields: list[str] = field(default_factory=list)
    relations: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, bool] = field(default_factory=dict)  # members, and whether these have fields


@dataclass
class Version:
    """The types of one version, and those that stand for several."""

    types: dict[str, DataType] = field(default_factory=dict)
    interfaces: dict[str, list[str]] = field(default_factory=dict)


def bare(name: str) -> str:
    """A type without its namespace.

    >>> bare("edm4hep::Track")
    'Track'
    """
    return name.strip().rpartition("::")[2]


def member(text: str) -> tuple[str, str]:
    """The type and the name of a member, without its unit, its default and what is said of it.

    >>> member("std::array<float, 6> covMatrix [mm^2] // covariance"), member("int32_t helicity{9} // 9 if unset")
    (('std::array<float, 6>', 'covMatrix'), ('int32_t', 'helicity'))
    """
    kind, _, name = re.sub(r"(\[[^\]]*\]|\{[^}]*\})\s*$", "", text.partition("//")[0].strip()).strip().rpartition(" ")
    return kind.strip(), name


def version(told: Mapping[str, Any]) -> Version:
    """The types of a definition."""
    made = Version()
    components = {bare(name) for name in told.get("components") or {}}
    for name, entry in (told.get("datatypes") or {}).items():
        one = made.types[bare(name)] = DataType()
        one.fields += [member(text)[1] for text in entry.get("Members") or []]
        for text in entry.get("VectorMembers") or []:
            kind, vector = member(text)
            one.fields += [vector, f"{vector}_begin"]
            one.vectors[vector] = bare(kind) in components
        for key in ("OneToManyRelations", "OneToOneRelations"):
            for text in entry.get(key) or []:
                kind, relation = member(text)
                one.relations[relation] = bare(kind)
                one.fields += [f"{relation}_begin"] if key.startswith("OneToMany") else []
                one.fields.append(f"{relation}_links")
    for name, entry in (told.get("links") or {}).items():
        relations = {"from": bare(entry["From"]), "to": bare(entry["To"])}
        made.types[bare(name)] = DataType(["weight", "from_links", "to_links"], relations)
    for name, entry in (told.get("interfaces") or {}).items():
        made.interfaces[bare(name)] = [bare(kind) for kind in entry["Types"]]
    return made


def known_by(name: str, versions: Sequence[Version]) -> tuple[list[str], bool]:
    """The fewest fields that a type has in every version and no other one beside it; whether it is the last to ask for.

    That is one of which another type has all fields, and more: what is of that one is not of this.
    """
    mine = [each for each in versions if name in each.types]
    fields = [f for f in mine[0].types[name].fields if all(f in each.types[name].fields for each in mine)]
    others = [
        (set(one.fields), set(one.fields) > set(each.types[name].fields))
        for each in mine
        for other, one in each.types.items()
        if other != name
    ]
    for last in (False, True):
        for count in range(1, MOST + 1):
            for some in combinations(fields, count):
                if not any(other.issuperset(some) and not (last and more) for other, more in others):
                    return list(some), last
    return [], True


def found_as(one: DataType, kinds: Mapping[str, Sequence[str]]) -> str | None:
    """The kind by which collections of a type are known: the first that fits."""
    return next((kind for kind, fields in kinds.items() if set(fields) <= set(one.fields)), None)


def table(versions: Sequence[Version]) -> str:
    """The schema file of some versions."""
    names = dict.fromkeys(chain.from_iterable(each.types for each in versions))
    found = {name: known_by(name, versions) for name in names}
    known = {name: fields for end in (False, True) for name, (fields, last) in found.items() if fields and last == end}
    references: dict[tuple[str, str, str], list[str]] = {}
    for each in versions:
        for name, one in each.types.items():
            kind = found_as(one, known)
            start = ("from", f"*{name}*") if kind is None else ("of", kind)
            for relation, to in one.relations.items():
                targets = references.setdefault((*start, relation), [])
                into = [found_as(each.types[target], known) for target in each.interfaces.get(to, [to])]
                targets += [target for target in into if target is not None and target not in targets]
    used = {kind for targets in references.values() for kind in targets} | {name for _, name, _ in references}
    columns = [{"match": match, "to": f"{{collection}}.{to}"} for match, to in _columns(versions).items()]
    told = [
        {start: name, "index": f"{relation}_links.index", "key": f"{relation}_links.collectionID",
         "kind": targets[0] if len(targets) == 1 else targets, "name": relation}
        for (start, name, relation), targets in references.items()
    ]  # fmt: skip
    lines = [
        "# Made of the definitions of EDM4hep by make_edm4hep.py, which says how: change that, or edm4hep.toml.",
        'name = "edm4hep_types"', 'title = "Data types of EDM4hep, for the schema edm4hep"', 'keys = "podio"',
        "columns = [", *map(_inline, columns), "]", "references = [", *map(_inline, told), "]", "", "[kinds]",
        *(f"{name} = {{ has = {json.dumps(known[name])} }}" for name in known if name in used),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _inline(entry: Mapping[str, Any]) -> str:
    """An entry of a list of tables, on one line."""
    return f"  {{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in entry.items())} }},"


def _columns(versions: Iterable[Version]) -> dict[str, str]:
    """Where branches go: those of relations and of vector members, by their names, as collections have `_` in theirs;
    then those of other data models, whose collections must have none."""
    places = {}
    for one in chain.from_iterable(each.types.values() for each in versions):
        places |= {f"_{{collection*}}_{name}.{{field*}}": f"{name}_links.{{field}}" for name in one.relations}
        for name, has_fields in one.vectors.items():
            match, to = f"_{{collection*}}_{name}", name
            places |= {f"{match}.{{field*}}": f"{to}.{{field}}"} if has_fields else {match: to}
    places |= {f"_{{collection}}_{{relation}}.{end}": f"{{relation}}_links.{end}" for end in ("index", "collectionID")}
    return places | {"_{collection}_{field*}": "{field}", "{collection}.{field*}": "{field}"}


def main(paths: Sequence[str]) -> None:
    """Prints the table of the versions in some files."""
    print(table([version(yaml.safe_load(Path(path).read_text(encoding="utf-8"))) for path in paths]), end="")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Columns sorted into collections, by their names and a schema: which field of which one a column is, what counts it,
and which collection an index points into. No data is read, and no form is made.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from hepgraph.datasets.claims import Claims, claimed
from hepgraph.datasets.numbers import numbers_of
from hepgraph.datasets.patterns import filled, fits
from hepgraph.datasets.patterns import matched as matched_pattern
from hepgraph.datasets.recipes import KEYS
from hepgraph.datasets.schemafile import Collection as Told
from hepgraph.datasets.schemafile import KeyTable, Reference, Schema
from hepgraph.errors import HepgraphError, SchemaError, either, suggestion
from hepgraph.io.agreement import whole
from hepgraph.io.source import Column, Origin


class Grouping:
    """The columns of a dataset, sorted into collections; worked out once, in the order of the file."""

    def __init__(self, origin: Origin, schema: Schema, numbers: Mapping[str, int] | None = None) -> None:
        self.origin, self.schema = origin, schema
        self._told: dict[str, Told] = {}
        if numbers is not None:
            self.numbers = numbers

    def told(self, collection: str) -> Told:
        """The part of the schema on a collection."""
        if collection not in self._told:
            self._told[collection] = self.schema.told(collection)
        return self._told[collection]

    def __reduce__(self) -> Any:
        return Grouping, (self.origin, self.schema, self._known_numbers)

    @cached_property
    def home(self) -> dict[str, tuple[str, str]]:
        """The collection and the field that the separator makes of a name: `Jet_pt` is `pt` of `Jet`.

        A collection may have separators in its own name where the file counts it (`nProton_multiRP`), but not where the
        count is that of a column (uproot counts each: `nElectron_mvaIso` is the lengths of `Electron_mvaIso`, which has
        nothing to do with `Electron_mvaIso_WP80`). Columns that have the name of a collection, or hold one value where
        the others hold lists, stay what they are.
        """
        separator, columns = self.schema.separator, self.origin.source.columns
        found = dict(self.claimed)
        if separator:
            heads = {name.partition(".")[0] for name in columns}
            for name in columns:
                head = name.partition(".")[0]
                if head != name or separator not in name or name.startswith(separator) or self._counted(name):
                    continue
                if name in found or name in self.left:
                    continue
                collection, rest = self._split(name)
                if rest and collection not in heads:
                    found[name] = collection, rest
        jagged = {
            collection
            for name, (collection, _) in found.items()
            if is_list(columns[name]) and not self.told(collection).once
        }
        return {name: home for name, home in found.items() if home[0] not in jagged or is_list(columns[name])}

    @cached_property
    def claims(self) -> Claims:
        """The places of columns by the patterns of the schema."""
        return claimed(self.schema, self.origin.source.columns, self.left)

    @property
    def claimed(self) -> Mapping[str, tuple[str, str]]:
        """The collection and the field that patterns of the schema make of a name."""
        return self.claims.places

    @property
    def keys(self) -> Mapping[str, str]:
        """The names that references know collections by, where they are others."""
        return self.claims.keys

    @property
    def shared(self) -> dict[str, str]:
        """The columns of collections that patterns claim and nothing counts: their lists are one, under one name.

        So that of a collection no column is read but those that are used; whether their lists agree is checked then.
        """
        columns = self.origin.source.columns
        taken = {level.name for column in columns.values() for level in column.levels} if self.claimed else set()
        parts: dict[str, list[Column]] = {}
        for collection, paths in self.groups[1].items() if self.claimed and not self.origin.source.shares else ():
            if self.count_column(collection) is None:
                parts[collection] = [column for column in self.lists(collection) if column.name in self.claimed]
            dealt = self.dealt(collection)
            for path, column in paths.items() if dealt else ():
                head = path.partition(".")[0]
                if head in dealt and column.levels:
                    parts.setdefault(f"{collection}.{head}", []).append(column)
        found: dict[str, str] = {}
        for name, members in parts.items():
            if len(members) > 1 and not any(column.optional_list(0) for column in members):
                free = name not in columns and name not in taken
                found |= {column.name: name if free else f"{name}." for column in members}
        return found

    @cached_property
    def left(self) -> dict[str, str]:
        """The columns that the schema leaves out, and why."""
        leave, found = self.schema.leave, dict[str, str]()
        for name, column in self.origin.source.columns.items():
            reason = next((leave[pattern] for pattern in leave if fits(pattern, name)), None)
            if reason is None and self.schema.unreadable is not None and column.problem:
                reason = column.problem
            if reason is not None:
                found[name] = reason
        return found

    @cached_property
    def late(self) -> dict[tuple[str, str], str]:
        """The columns that the first file lacks, by the collection and the field that they would be."""
        source = self.origin.source
        if not source.late:
            return {}
        layout = Grouping(Origin.of(whole(source)), self.schema)
        places = {name: layout.home.get(name) or (layout.head(name), "") for name in source.late}
        return {(head, rest or name.removeprefix(f"{head}.")): name for name, (head, rest) in places.items()}

    @cached_property
    def aliases(self) -> dict[str, str]:
        """More names of collections that are there."""
        told = self.schema.aliases
        return {new: old for new, old in told.items() if old in self.names and new not in self.names}

    def _split(self, name: str) -> tuple[str, str]:
        assert self.schema.separator
        for collection in self._long:
            if name.startswith(collection):
                return collection[: -len(self.schema.separator)], name[len(collection) :]
        collection, _, rest = name.partition(self.schema.separator)
        return collection, rest

    @cached_property
    def _long(self) -> list[str]:
        """The collections with separators in their names, each with one more behind it; the longest first."""
        separator, columns = self.schema.separator or "", self.origin.source.columns
        known = {name for name in self.schema.collections if separator in name}
        if self.schema.counts:
            before, _, after = self.schema.counts.partition("{name}")
            ends = ((name, len(name) - len(after)) for name in columns if separator in name and name.startswith(before))
            counted = {name[len(before) : end] for name, end in ends if name.endswith(after)}
            known |= {name for name in counted if separator in name and name not in columns}
        return sorted((f"{name}{separator}" for name in known), key=len, reverse=True)

    def _count_name(self, collection: str) -> str | None:
        return self.schema.counts.replace("{name}", collection) if self.schema.counts else None

    def _counted(self, name: str) -> bool:
        """Whether a column has the name of the lengths of others: it is no field of a collection."""
        if not self.schema.counts:
            return False
        before, _, after = self.schema.counts.partition("{name}")
        if not (name.startswith(before) and name.endswith(after)):
            return False
        counted = name[len(before) : len(name) - len(after)]
        columns, separator = self.origin.source.columns, self.schema.separator
        return bool(counted) and (
            (counted in columns and bool(columns[counted].levels))
            or any(other.startswith(f"{counted}{separator}") for other in columns)
        )

    @cached_property
    def counters(self) -> frozenset[str]:
        """The columns that are the lengths of one column of a collection alone (`nJet_pt`): known, but not listed."""
        columns = self.origin.source.columns
        names = {self._count_name(name) for name in self.home if is_list(columns[name])}
        names.update(columns[name].counts for name in self.claimed)
        return frozenset(name for name in names if name in columns and _holds_counts(columns[name]))

    @cached_property
    def groups(self) -> tuple[dict[str, dict[str, Column]], dict[str, dict[str, Column]]]:
        """Columns by their first name: nested ones (`Muon.pt`), and those that the separator splits (`Muon_pt`)."""
        columns = self.origin.source.columns
        if "" in columns or _outer_lists(columns):
            return {"": dict(columns)}, {}
        nested: dict[str, dict[str, Column]] = {}
        split: dict[str, dict[str, Column]] = {}
        for name, column in columns.items():
            if name in self.home:
                collection, rest = self.home[name]
                split.setdefault(collection, {})[rest] = column
            elif name not in self.left:
                nested.setdefault(self.head(name), {})[name] = column
        for collection, told in self.schema.collections.items():  # those that are made of nothing but told fields
            if collection not in nested and any(column in columns for column in told.fields.values()):
                split.setdefault(collection, {})
        return nested, split

    @cached_property
    def names(self) -> dict[str, str]:
        """The top-level fields, in the order of the file, and what each is: `nested` or `split`; counts come last."""
        nested, split = self.groups
        counts = {self.count_column(name) for name in split}
        found: dict[str, str] = {}
        for name in self.origin.source.columns:
            if name in self.home:
                found.setdefault(self.home[name][0], "split")
            elif name not in counts and name not in self.counters and name not in self.left:
                found.setdefault(self.head(name), "nested")
        for name in split:
            found.setdefault(name, "split")
        for name in nested:
            if name not in self.counters:
                found.setdefault(name, "nested")
        return found

    def head(self, name: str) -> str:
        """The field that a column is in: the first part of a dotted name, unless that is empty or another column."""
        head = name.partition(".")[0]
        return name if not head or head in self.origin.source.columns else head

    def count_column(self, collection: str) -> str | None:
        """The column with the lengths of a collection, if the file has one; raises if the schema says it must."""
        columns = self.origin.source.columns
        told = self.told(collection).counts
        name = told or self._count_name(collection) or self._own_count(collection)
        column = columns.get(name) if name else None
        if column is not None and name in self.origin.source.optional:  # where a file lacks it, it is made of lists
            column = replace(column, nullable=False)
        if column is not None and _holds_counts(column):
            return name
        if told is None:
            return None
        if column is None:
            raise SchemaError(
                f"Schema {self.schema.name}: the count branch {told!r} of collection {collection} is not in "
                f"{self.origin.source.name}.\n{suggestion(told, columns)}"
            )
        raise SchemaError(
            f"Schema {self.schema.name}: the count branch {told!r} of collection {collection} must hold integers, "
            f"one an event; in {self.origin.source.name} it holds {column.type}."
        )

    def _own_count(self, collection: str) -> str | None:
        """The counter that the file has for all columns of a collection that a schema claims."""
        claimed = [name for name, home in self.claimed.items() if home[0] == collection]
        known = {self.origin.source.columns[name].counts for name in claimed}
        return known.pop() if len(known) == 1 else None

    def dealt(self, collection: str) -> dict[str, tuple[str, ...]]:
        """Fields with lists of their own, and the fields that say which elements go to which: lengths, or two ends."""
        told = self.told(collection)
        if not told.lengths and not told.ranges:
            return {}
        heads = dict.fromkeys(path.partition(".")[0] for path in self.groups[1][collection])
        found: dict[str, tuple[str, ...]] = {}
        for pattern, by in [*((k, (v,)) for k, v in told.lengths.items()), *told.ranges.items()]:
            for head in heads:
                texts = matched_pattern(pattern, head)
                fields = None if texts is None else tuple(filled(each, texts) for each in by)
                if fields is not None and head not in found and all(each in heads for each in fields):
                    found[head] = fields
        return found

    def lists(self, collection: str) -> list[Column]:
        """The columns of a collection that is spread over columns which have its lists."""
        if self.told(collection).once:
            return []
        known, dealt = self.origin.source.columns, self.dealt(collection)
        told = self.told(collection).fields.values()
        own = [column for path, column in self.groups[1][collection].items() if path.partition(".")[0] not in dealt]
        more = [known[name] for name in told if name in known]
        return [column for column in (*own, *more) if is_list(column)]

    @property
    def companions(self) -> dict[str, list[str]]:
        """The columns that files may lack, each with those that have its outermost lists, or their lengths."""
        source = self.origin.source
        lacking = {name for file in source.files for name in file.lacks}
        found: dict[str, list[str]] = {}
        for collection, paths in self.groups[1].items():
            for head in self.dealt(collection):
                names = [column.name for path, column in paths.items() if path.partition(".")[0] == head]
                found |= {name: names for name in names if name in source.optional}
            names = [column.name for column in self.lists(collection) if not column.problem]
            some = [name for name in names if name in source.optional]
            counts = self.count_column(collection) or self._count_name(collection)
            if counts in source.columns or (counts in source.late and _holds_counts(source.late[counts])):
                names.append(counts)
                some += [counts] if counts in source.optional or (some and counts in lacking) else []
            found |= dict.fromkeys(some, names)
        return found

    def lengths(self, collection: str) -> tuple[Any, ...]:
        """The key of the space of a collection's lists: its count column, or else its first column.

        Where the file does not itself read the lists by the count, one of these columns says whether it is right.
        """
        lists, counts = self.lists(collection), self.count_column(collection)
        if counts is None:
            return self.origin, lists[0].level_name(0), 0
        if self.origin.source.authoritative_counts and any(column.counts == counts for column in lists):
            return self.origin, counts, None
        return self.origin, counts, tuple(column.name for column in lists if not column.problem) or None

    # references

    def references(self, collection: str, own: Collection[str]) -> dict[str, Reference]:
        """References of a collection with these fields by name: those of the schema, and indices that name another."""
        found: dict[str, Reference] = {}
        for told in self.schema.refers(collection):
            must = (told.until,) if told.inverse else (*told.indices, told.key, told.until)
            here = all(self.has(collection, own, each) for each in must if each)
            here = here and (told.of is None or self.kind(collection) == told.of)
            into = self._into(told) if here and told.name not in own and told.name not in found else ()
            if into:
                found[told.name] = replace(told, to=into[0], into=into, of=None)
        for index in own:
            if (name := matched(index)) is not None and name not in own and name not in found:
                reference = self._target(collection, index)
                if reference is not None and reference.to in self.names:
                    found[name] = replace(reference, name=name, indices=(index,), into=(reference.to,))
        return found

    def has(self, collection: str, own: Collection[str], path: str) -> bool:
        """Whether a collection with these fields has one of this path (`links.index`)."""
        if path in own:
            return True
        fields = self.paths(collection)
        if self.names.get(collection) == "nested" and collection not in self._collections:
            return False  # lengths of others, by names with dots
        return path in fields or any(name.startswith(f"{path}.") for name in fields)

    def paths(self, collection: str) -> dict[str, str]:
        """The columns of a collection by the paths of their fields."""
        nested, split = self.groups
        if self.names.get(collection) == "split":
            return {path: column.name for path, column in split[collection].items()}
        return {name.partition(".")[2] or name: name for name in nested.get(collection, ())}

    def _into(self, told: Reference) -> tuple[str, ...]:
        """The collections of the file that a reference leads into."""
        if told.into:
            return tuple(name for name in told.into if name in self.names)
        return tuple(name for name, kind in self.names.items() if kind == "split" and self.kind(name) in told.kinds)

    def kind(self, collection: str) -> str | None:
        """The kind of a collection: the first of the schema that it is of."""
        fields, name = self.groups[1].get(collection, {}), self.keys.get(collection, collection)
        for kind, told in self.schema.kinds.items():
            named = not told.names or any(fits(pattern, name) for pattern in told.names)
            if named and all(self.has(collection, fields, each) for each in told.has):
                return kind
        return None

    def keyed(self, collection: str, reference: Reference) -> Reference:
        """A reference of a collection with the keys of those that it leads into, if it has a key."""
        if reference.key is None or reference.numbers:
            return reference
        if not isinstance(self.schema.keys, KeyTable):
            return replace(reference, numbers=tuple(map(self.key, reference.into)))
        try:
            known = self.numbers
        except SchemaError as error:
            raise SchemaError(
                f"{collection}.{reference.name} cannot be followed, as its key may be that of any collection. {error}\n"
                f'If you know where it leads, say so in a schema of your own, with extends = "{self.schema.name}":\n'
                f'    [[references]]\n    from = "{collection}"\n    index = "{reference.indices[0]}"\n'
                f'    to = "{reference.to}"\n    name = "{reference.name}_"'
            ) from error
        into = {to: known[name] for to in reference.into if (name := self.keys.get(to, to)) in known}
        if not into:
            raise SchemaError(
                f"{collection}.{reference.name} leads into {either(reference.into)}, and {self.origin.source.name} has "
                f"numbers of other collections alone: {', '.join(known)}."
            )
        table = tuple((number, name) for name, number in known.items())
        return replace(reference, to=next(iter(into)), into=tuple(into), numbers=tuple(into.values()), known=table)

    def key(self, collection: str) -> int:
        """The number that a collection has by its name."""
        kind = self.schema.kinds.get(self.kind(collection) or "")
        assert isinstance(self.schema.keys, str)
        return KEYS[self.schema.keys](self.keys.get(collection, collection), kind.number if kind else 0)

    @property
    def _known_numbers(self) -> Mapping[str, int] | None:
        """The numbers that the files say, so that who gets these events opens no file for them; None if they do not."""
        if not isinstance(self.schema.keys, KeyTable):
            return None
        try:
            return self.numbers
        except (HepgraphError, OSError):  # said where a reference is followed
            return None

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The numbers of collections that the files say; raises SchemaError if one does not, or says another."""
        assert isinstance(self.schema.keys, KeyTable)
        return numbers_of(self.origin.source, self.schema.keys)

    def _target(self, collection: str, index: str) -> Reference | None:
        """Where an index points: as the schema says, or into the one collection that its name is found in."""
        told = self.told(collection).indices.get(index)
        if told is not None:
            return Reference(told, "")
        for reference in self.schema.refers(collection):
            if index in reference.indices and not reference.inverse:
                return reference
        fits = self._fits(index)
        return Reference(fits[0], "") if len(fits) == 1 and fits[0].lower() == _stem(index) else None

    def _fits(self, index: str) -> list[str]:
        """The collections that an index may point into by its name: `jetIdx` may mean Jet, FatJet and GenJetAK8."""
        return [name for name in self._collections if _stem(index) in name.lower()]

    @cached_property
    def _collections(self) -> list[str]:
        """The collections that are lists."""
        nested, split = self.groups
        return [
            name
            for name, kind in self.names.items()
            if any(map(is_list, (split if kind == "split" else nested).get(name, {}).values()))
        ]

    def unclear(self, collection: str, own: Collection[str], name: str) -> str:
        """Why there is no reference of this name, if an index here could be meant; else nothing."""
        for index in own:
            if matched(index) != name:
                continue
            target = self._target(collection, index)
            if target is not None:
                return f"{collection}.{index} points into {target.to}, which is not in {self.origin.source.name}."
            if fits := self._fits(index):
                return (
                    f"{collection}.{index} may point into {either(fits)}: its name does not tell. A schema may say:\n"
                    f'    [collections.{collection}]\n    indices = {{ {index} = "{fits[0]}" }}'
                )
        return ""


_INDEX = re.compile(r"(\w+?)Idx(G?)(\d*(?:SJ)?)")


def matched(index: str) -> str | None:
    """The name of the reference that an index column makes.

    >>> matched("jetIdx"), matched("electronIdx2"), matched("pt")
    ('matched_jet', 'matched_electron2', None)
    """
    match = _INDEX.fullmatch(index)
    return None if match is None else f"matched_{match[1]}{match[3]}"


def _stem(index: str) -> str:
    match = _INDEX.fullmatch(index)
    assert match is not None
    return match[1].lower()


def _holds_counts(column: Column) -> bool:
    return not (column.levels or column.optional or column.text) and column.dtype.kind in "iu"


def is_list(column: Column) -> bool:
    """Whether a column holds lists of any length."""
    return bool(column.levels) and column.levels[0].size is None


def _outer_lists(columns: Mapping[str, Column]) -> bool:
    """Whether all columns are inside of one list that has no name: an array of lists of records."""
    return bool(columns) and all(n and c.levels and c.level_name(0) == "" for n, c in columns.items())

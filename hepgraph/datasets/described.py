"""Which schema events have, and where it put each column of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hepgraph.datasets.grouping import Grouping, matched
from hepgraph.datasets.schema import EventFields
from hepgraph.datasets.schemafile import Reference
from hepgraph.datasets.variations import stored_variations
from hepgraph.errors import UnsupportedError, either, many
from hepgraph.graph.form import Record, underlying
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.results import NOMINAL


@dataclass(frozen=True)
class SchemaReport:
    """The schema of some events: which columns are which fields, and which are left out, with the reason.

    `collections` has the columns of each collection by the paths of their fields; `alone` those that stay as they are;
    `counts` those that are the lengths of others; `left` the reason for each that is in none of them. `references` has
    the collections that each reference leads into, and `unresolved` the reason for each index that no reference uses.
    `variations` has, by the name of each stored variation, the column that stands for each field (`Jet.pt`); what
    formulas make of these fields follows. `unvaried` are columns that are named as variations, and vary no field.
    """

    name: str
    title: str
    collections: Mapping[str, Mapping[str, str]] = field(repr=False)
    alone: tuple[str, ...] = field(repr=False)
    counts: tuple[str, ...] = field(repr=False)
    left: Mapping[str, str] = field(repr=False)
    docs: Mapping[str, Mapping[str, str]] = field(repr=False)
    references: Mapping[str, Mapping[str, tuple[str, ...]]] = field(repr=False)
    unresolved: Mapping[str, str] = field(repr=False)
    variations: Mapping[str, Mapping[str, str]] = field(repr=False, default_factory=dict)
    unvaried: tuple[str, ...] = field(repr=False, default=())

    def __str__(self) -> str:
        lines = [f"schema {self.name}" + (f": {self.title}" if self.title else "")]
        for name, fields in self.collections.items():
            lines.append(f"  {name}: {', '.join(list(fields)[:8])}{', ...' * (len(fields) > 8)}")
        if self.alone:
            lines.append(f"  {len(self.alone)} columns as they are")
        if self.left:
            lines.append(f"  {len(self.left)} columns left out: {next(iter(self.left.values()))}")
        if self.unresolved:
            lines.append(f"  {many(len(self.unresolved), 'index leads', 'indices lead')} nowhere:")
            lines += [f"    {name}: {reason}" for name, reason in [*self.unresolved.items()][:SHOWN]]
            lines += [f"    ... and {len(self.unresolved) - SHOWN} more: .unresolved"] * (len(self.unresolved) > SHOWN)
        if self.variations:
            lines.append(f"  {many(len(self.variations), 'variation')} of columns:")
            lines += [
                f"    {name}: {', '.join([*fields][:SHOWN])}{', ...' * (len(fields) > SHOWN)}"
                for name, fields in [*self.variations.items()][:SHOWN]
            ]
            lines += [f"    ... and {len(self.variations) - SHOWN} more: .variations"] * (len(self.variations) > SHOWN)
        if self.unvaried:
            lines.append(f"  named as variations, of no field: {', '.join(self.unvaried[:SHOWN])}")
        return "\n".join(lines)


def schema_of(events: Lazy) -> SchemaReport:
    """The schema that events were opened with, and where it put each column.

    Parameters
    ----------
    events : Lazy
        Lazy events as `hg.open` gives them, with or without fields that were added.

    Returns
    -------
    SchemaReport
        Name of the schema, columns of each collection, columns that are left out, with the reason, and those that are
        variations, with the fields that they stand for.

    Raises
    ------
    UnsupportedError
        For other arrays.

    Examples
    --------
    >>> import hepgraph as hg
    >>> hg.schema_of(hg.open("data/sample.root")).name
    'nanoaod'
    """
    form = events._at(NOMINAL)._form if isinstance(events, Lazy) else None
    fields = underlying(form)[0] if isinstance(form, Record) else None
    if not isinstance(fields, EventFields):
        raise UnsupportedError("hg.schema_of needs lazy events, as hg.open gives them")
    layout = fields.layout
    collections: dict[str, dict[str, str]] = {}
    for name, (collection, path) in layout.home.items():
        collections.setdefault(collection, {})[path] = name
    alone: list[str] = []
    counts = list(layout.counters)
    for name in layout.origin.source.columns:
        if name not in layout.home and name not in layout.left and name not in layout.counters:
            (alone if layout.head(name) in layout.names else counts).append(name)
    docs = {}
    for name in collections:
        told = layout.told(name)
        units = {each: f"[{unit}]" for each, unit in told.units.items()}
        docs[name] = {
            each: f"{told.docs.get(each, '')} {units.get(each, '')}".strip()
            for each in dict.fromkeys([*told.docs, *units])
        }
    schema = layout.schema
    known = {name: _references(layout, name) for name in layout.names}
    references = {name: {each: to.into for each, to in some.items()} for name, some in known.items() if some}
    left = {**layout.left, **dict.fromkeys(layout.origin.source.late, "the first file lacks it")}
    stored = stored_variations(layout)
    variations = {
        name: {".".join(place): column for place, column in columns.items()} for name, columns in stored.columns.items()
    }
    return SchemaReport(
        schema.name, schema.title, collections, tuple(alone), tuple(counts), left, docs, references,
        _unresolved(layout, known), variations, tuple(stored.loose),
    )  # fmt: skip


def _references(layout: Grouping, collection: str) -> Mapping[str, Reference]:
    return layout.references(collection, dict.fromkeys(path.partition(".")[0] for path in layout.paths(collection)))


def _unresolved(layout: Grouping, known: Mapping[str, Mapping[str, Reference]]) -> dict[str, str]:
    """The reason for each index that no reference uses: what has `Idx` in its name, or ends as indices here do."""
    told = [each for some in layout.schema.references.values() for each in some]
    ends = {index.rpartition(".")[2] for each in told for index in each.indices if "." in index}
    used = {
        (reference.to if reference.inverse else collection, index)
        for collection, some in known.items()
        for reference in some.values()
        for index in reference.indices
    }
    found = {}
    for collection in layout.names:
        paths = layout.paths(collection)
        for path, name in paths.items():
            index_like = "Idx" in path or ("." in path and path.rpartition(".")[2] in ends)
            if index_like and (collection, path) not in used:
                found[name] = _reason(layout, collection, path)
    return found


def _reason(layout: Grouping, collection: str, path: str) -> str:
    if path in layout.home:
        return f"it is {'.'.join(layout.home[path])} as well, of a collection that the file gives no name"
    for reference in layout.schema.refers(collection):
        mine = reference.of is None or layout.kind(collection) == reference.of
        if path in reference.indices and not reference.inverse and mine:
            if reference.name in {each.partition(".")[0] for each in layout.paths(collection)}:
                return f"the reference would be {reference.name}, which is a field of the file"
            to = either(reference.into) if reference.into else f"collections of kind {either(reference.kinds)}"
            return f"it leads into {to}, and the file has none"
    return layout.unclear(collection, [path], matched(path) or "") or "the schema does not say where it leads"


SHOWN = 5

"""Which schema events have, and where it put each column of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hepgraph.datasets.schema import EventFields
from hepgraph.errors import UnsupportedError
from hepgraph.graph.form import Overlay, Record
from hepgraph.lazy.array import Lazy


@dataclass(frozen=True)
class SchemaReport:
    """The schema of some events: which columns are which fields, and which are left out, with the reason.

    `collections` has the columns of each collection by the paths of their fields; `alone` those that stay as they are;
    `counts` those that are the lengths of others; `left` the reason for each that is in none of them.
    """

    name: str
    title: str
    collections: Mapping[str, Mapping[str, str]] = field(repr=False)
    alone: tuple[str, ...] = field(repr=False)
    counts: tuple[str, ...] = field(repr=False)
    left: Mapping[str, str] = field(repr=False)
    docs: Mapping[str, Mapping[str, str]] = field(repr=False)

    def __str__(self) -> str:
        lines = [f"schema {self.name}" + (f": {self.title}" if self.title else "")]
        for name, fields in self.collections.items():
            lines.append(f"  {name}: {', '.join(list(fields)[:8])}{', ...' * (len(fields) > 8)}")
        if self.alone:
            lines.append(f"  {len(self.alone)} columns as they are")
        if self.left:
            lines.append(f"  {len(self.left)} columns left out: {next(iter(self.left.values()))}")
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
        Name of the schema, columns of each collection, and columns that are left out, with the reason.

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
    form = events._form if isinstance(events, Lazy) else None
    fields = form.fields if isinstance(form, Record) else None
    while isinstance(fields, Overlay):
        fields = fields.below.fields
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
    return SchemaReport(schema.name, schema.title, collections, tuple(alone), tuple(counts), dict(layout.left), docs)

"""The schema of a file for which none is named: one that comes with hepgraph, or one that is guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hepgraph.datasets.grouping import is_list
from hepgraph.datasets.schemafile import Schema, available, load, read_text
from hepgraph.io.source import Column


def usual(columns: Mapping[str, Column]) -> str:
    """The name of the schema that fits the columns of a file best.

    Of those that say what a file of theirs has (`detect`), the one that says most; else `nanoaod` for columns like
    `nMuon` and `Muon_pt`, and `base` for all others.
    """
    fitting = [schema for schema in map(load, available()) if schema.suits(columns)]
    if fitting:
        return max(fitting, key=lambda schema: len(schema.detect)).name
    counted = any(f"n{name.partition('_')[0]}" in columns for name in columns if "_" in name)
    return "nanoaod" if counted else "base"


_SEPARATORS = ("_", ".")


def guess(columns: Mapping[str, Column], name: str = "guessed") -> str:
    """A schema file for columns that no schema is known for: collections by what names have in common before a `_`.

    >>> import numpy as np
    >>> from hepgraph.io.source import Column, Level
    >>> jagged = lambda name: Column(name, np.dtype("f4"), (Level(),))
    >>> print(guess({name: jagged(name) for name in ("jet_pt", "jet_eta", "weights")}))
    name = "guessed"
    <BLANKLINE>
    [collections.jet]
    columns = "jet_{field}"
    """
    lines = [f"name = {json.dumps(name)}"]
    for separator in _SEPARATORS:
        groups: dict[str, list[Column]] = {}
        for column in columns.values():
            head, found, rest = column.name.partition(separator)
            if found and head and rest and head not in columns and is_list(column):
                groups.setdefault(head, []).append(column)
        for head, members in groups.items():
            if len(members) < 2 or not all(map(str.isidentifier, (head,))):
                continue
            lines += ["", f"[collections.{head}]", f'columns = "{head}{separator}{{field}}"']
            if counts := _counts(head, separator, columns):
                lines.append(f"counts = {json.dumps(counts)}")
    return "\n".join(lines)


def _counts(head: str, separator: str, columns: Mapping[str, Column]) -> str | None:
    """The column with the lengths of a collection, by the names that such columns have."""
    names = (f"n{head}", f"n_{head}", f"{head}_n", f"{head}_size", f"N{head}", f"num_{head}")
    for name in names:
        column = columns.get(name)
        if column is not None and not column.levels and column.dtype.kind in "iu" and not column.optional:
            return name
    return None


def guessed(columns: Mapping[str, Column]) -> Schema:
    """The schema that is guessed for the columns of a file; it is printed, so that it can be kept and changed."""
    text = guess(columns)
    print(text)
    return read_text(text, "guessed")

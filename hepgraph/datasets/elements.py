"""Forms of columns: lists where they have them, records where their names say so, lists that another field deals out.

All of it is forms: nothing is read.
"""

from __future__ import annotations

from collections.abc import Mapping

from hepgraph.errors import SchemaError
from hepgraph.graph.canonical import BOOL, TEXT, TRUE, inc
from hepgraph.graph.form import Fields, Form, List, Record, Scalar, move, moved_option, option, type_of, unwrap
from hepgraph.graph.node import Node, Space, map_, node, space
from hepgraph.io.source import Column, Origin, RecordLevel


def nullable(origin: Origin, column: Column, at: Space, form: Form) -> Form:
    """The lists of a column, None where the column says so."""
    if not column.optional_list(0):
        return form
    return option(node("list_valid", (), at, BOOL, (origin, column.level_name(0), 0)), form)


def column_form(origin: Origin, column: Column, at: Space, level: int, inside: bool = False) -> Form:
    """The form of one column, from some list level on; `inside` of the records that it is in, or by itself."""
    if level < len(column.levels):
        known = column.levels[level]
        key = (origin, column.level_name(level), level)
        s = space("leaf", at, (), key)
        form: Form = List(s, column_form(origin, column, s, level + 1, inside), known.size)
        optional = known.nullable if inside else column.optional_list(level)
        return option(node("list_valid", (), at, BOOL, key), form) if optional else form
    _readable(origin, column)
    dtype = TEXT if column.text else column.dtype
    form = Scalar(node("load", (), at, dtype, (origin, column.name)))
    if column.nullable if inside else column.optional:
        return option(node("load_valid", (), at, BOOL, (origin, column.name, None)), form)
    return form


def _readable(origin: Origin, column: Column) -> None:
    if column.problem:
        origin.source.check([column.name])


def nested_form(origin: Origin, columns: Mapping[str, Column], path: str, at: Space, level: int) -> Form:
    """The form of columns with dotted names below a path, lists where the file has them."""
    first = next(iter(columns.values()))
    if level < len(first.levels) and first.level_name(level) == path:
        known = first.levels[level]
        key = (origin, path, level)
        s = space("leaf", at, (), key)
        form: Form = List(s, nested_form(origin, columns, path, s, level + 1), known.size)
        missing = all(column.levels[level].nullable for column in columns.values())
        return option(node("list_valid", (), at, BOOL, key), form) if missing else form
    if list(columns) == [path]:
        return column_form(origin, first, at, level, inside=True)
    inside: dict[str, dict[str, Column]] = {}
    prefix = f"{path}." if path else ""
    for name, column in columns.items():
        rest = name.removeprefix(prefix)
        inside.setdefault(rest.partition(".")[0], {})[name] = column
    return option(there(origin, columns, path, level, at), Record(NestedFields(origin, inside, prefix, at, level)))


def _record_levels(columns: Mapping[str, Column], path: str, level: int) -> tuple[RecordLevel, ...]:
    """The levels of the record that some columns are all in; empty if any of them is in none."""
    key = (path, level)
    found = [[each for each in column.records if (each.name, each.level) == key] for column in columns.values()]
    return tuple(each for levels in found for each in levels) if all(found) else ()


def there(origin: Origin, columns: Mapping[str, Column], path: str, level: int, at: Space) -> Node:
    """Where a record is not None, as far as its columns say that it may be."""
    levels = _record_levels(columns, path, level)
    some = levels and all(each.nullable for each in levels)
    return node("record_valid", (), at, BOOL, (origin, path)) if some else TRUE


class NestedFields(Fields):
    """The fields of a nested record, each made when it is used."""

    def __init__(
        self,
        origin: Origin,
        inside: dict[str, dict[str, Column]],
        prefix: str,
        at: Space,
        level: int,
    ) -> None:
        self.origin, self.inside, self.prefix, self.at, self.level = origin, inside, prefix, at, level
        self.names = inside

    @property
    def optional(self) -> bool:
        """Whether the file allows that the record is None."""
        columns = {name: column for inner in self.inside.values() for name, column in inner.items()}
        return bool(_record_levels(columns, self.prefix.removesuffix("."), self.level))

    def __getitem__(self, name: str) -> Form:
        return nested_form(self.origin, self.inside[name], f"{self.prefix}{name}", self.at, self.level)


def tree(origin: Origin, columns: Mapping[str, Column], at: Space, level: int) -> Form:
    """The form of columns by their paths in a record, from some list level on; a list of records if they share one."""
    if list(columns) == [""]:
        return column_form(origin, columns[""], at, level)
    names = {column.level_name(level) if len(column.levels) > level else None for column in columns.values()}
    if len(columns) > 1 and len(names) == 1 and None not in names:
        first = next(iter(columns.values()))
        s = space("leaf", at, (), (origin, first.level_name(level), level))
        return List(s, tree(origin, columns, s, level + 1), first.levels[level].size)
    return Record(TreeFields(origin, heads(columns), at, level))


def heads(columns: Mapping[str, Column]) -> dict[str, dict[str, Column]]:
    """Columns by the first part of their paths, each with the rest."""
    found: dict[str, dict[str, Column]] = {}
    for path, column in columns.items():
        head, _, rest = path.partition(".")
        found.setdefault(head, {})[rest] = column
    return found


class TreeFields(Fields):
    """The fields of a record, each made when it is used."""

    def __init__(self, origin: Origin, inside: Mapping[str, Mapping[str, Column]], at: Space, level: int) -> None:
        self.origin, self.inside, self.at, self.level = origin, inside, at, level
        self.names = inside

    def __getitem__(self, name: str) -> Form:
        return tree(self.origin, self.inside[name], self.at, self.level)


class DealtFields(TreeFields):
    """The fields of a collection of which some have lists of their own, in which others say what belongs to which."""

    def __init__(self, inner: TreeFields, dealt: Mapping[str, tuple[str, ...]], events: Space, title: str) -> None:
        super().__init__(inner.origin, inner.inside, inner.at, inner.level)
        self.dealt, self.events, self.title = dealt, events, title

    def __getitem__(self, name: str) -> Form:
        if name not in self.dealt:
            return super().__getitem__(name)
        columns = self.inside[name]
        first = next(iter(columns.values()))
        if not first.levels:
            raise SchemaError(f"{self.title}.{name} cannot be dealt out: {first.name!r} holds no lists.")
        flat = space("leaf", self.events, (), (self.origin, first.level_name(0), 0))
        by = [self._number(name, field) for field in self.dealt[name]]
        kind, title = "split" if len(by) == 1 else "ranged", f"{self.title}.{name}, by {' and '.join(self.dealt[name])}"
        s = space(kind, self.at, (flat, *by), title)
        return List(s, move(tree(self.origin, columns, flat, 1), inc(s)))

    def _number(self, name: str, field: str) -> Node:
        valid, form = unwrap(super().__getitem__(field))
        if valid is not TRUE or not isinstance(form, Scalar) or form.node.dtype.kind not in "iu":
            raise SchemaError(
                f"{self.title}.{name} cannot be dealt out by {field}: that holds {type_of(form)}, not one integer for "
                "each element."
            )
        return form.node


def at_path(form: Form, path: str) -> Form:
    """A field inside of a form by its path (`links.index`), with the lists and options around it."""
    if not path:
        return form
    match form:
        case Record():
            head, _, rest = path.partition(".")
            return at_path(form[head], rest)
        case List(s, content, size):
            return List(s, at_path(content, path), size)
        case Scalar():
            raise SchemaError(f"there is no field {path!r} in {type_of(form)}")
    valid, content = unwrap(form)
    return option(valid, at_path(content, path))


def first_of(form: Form, at: Space) -> Form:
    """The first element of each list of a form; None where there is none. What is no list is as it is."""
    valid, lists = unwrap(form)
    if not isinstance(lists, List):
        return form
    return option(valid, moved_option(lists.content, map_("pick", at, lists.space, (), ("at", 0, 0))))

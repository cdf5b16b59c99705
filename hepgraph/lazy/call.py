"""Opaque calls as they run: a function of awkward arrays, called once a partition with what was recorded of it."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.functions.snapshot import Snapshot
from hepgraph.functions.sources import check_repeatable
from hepgraph.graph.form import Form, List, Option, Record
from hepgraph.graph.interpreter import build
from hepgraph.graph.kinds import Extent
from hepgraph.graph.offsets import offsets_of
from hepgraph.io.forms import columns_of_form, data_of_layout
from hepgraph.io.required import has_level, texts_of
from hepgraph.io.source import Column, Data
from hepgraph.lazy.array import HOOKS

RECORD = "record"  # in the place of a list level, where the validity of records is meant


@dataclass(frozen=True)
class Slot:
    """Stands for an item among the arguments of a call, and for a lazy array among those of its function."""

    index: int


@dataclass(frozen=True, eq=False)
class Call:
    """An opaque call: the function, its arguments with slots for the lazy ones, and the forms to build those from.

    Function and arguments are `taken`: as they were when the call was recorded. `setup` makes what the function gets
    first, once in a process. The first argument of the node is the space of the rows that pass the masks; where there
    are masks, the second is that of all rows, over which the result is spread.
    """

    taken: Snapshot
    setup: Snapshot | None
    forms: tuple[Form, ...]
    columns: dict[str, Column]
    title: str
    masked: bool
    key: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and bool(self.key) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def content(self) -> tuple[Any, ...]:
        """Its content, the same in another process (see `hepgraph.fingerprint`)."""
        setup = [] if self.setup is None else [self.setup.value]
        return *self.taken.value, self.forms, list(self.columns.values()), self.masked, *setup

    def lists(self, level: int) -> list[int]:
        """Which arguments of the node are the lists at a level of what the function gets; 0 is the first."""
        found: list[int] = []
        waiting = [(form, 0) for form in self.forms]
        while waiting:
            form, depth = waiting.pop()
            match form:
                case Option(_, content):
                    waiting.append((content, depth))
                case Record():
                    waiting += [(form[name], depth) for name in form]
                case List(slot, content, _) if depth < level:
                    waiting.append((content, depth + 1))
                case List(slot, _, _):
                    found.append(slot.index)  # type: ignore[attr-defined]
        return list(dict.fromkeys(found))

    def check(self, seen: dict[int, bytes]) -> None:
        """Raises ChangedError if something that the function uses by reference was changed since."""
        for each in (self.taken, self.setup):
            if each is not None:
                each.check(self.title, seen)

    def call(self, values: Sequence[Any]) -> Returned:
        """Calls the function on one partition; `values` are those of the node's arguments."""
        passed = values[0]
        arrays = []

        def value_of(slot: Any) -> Any:
            value = values[slot.index]
            return read_only(value) if isinstance(value, np.ndarray) else Extent(read_only(value.offsets))

        for form in self.forms:
            layout = build(form, value_of, len(passed))
            arrays.append(as_awkward(layout))
        result = as_array(called(self.taken, self.setup, arrays, self.title), self.title)
        if len(result) != len(passed):
            raise ShapeError(
                f"{self.title} returned {len(result)} entries for {len(passed)} rows; it must return one a row"
            )
        data = data_of_layout("", ak.to_layout(result), set(self.columns))
        found = {c.name: c.type for c in columns_of_form("", ak.to_layout(result).form)}
        for name, column in self.columns.items():
            if name not in data:
                raise ShapeError(
                    f"{self.title} returned {ak.type(result)}, not what it returned when it was recorded "
                    f"({column.type} at {name or 'the top'}); give an example with meta="
                )
            if not _fits(found[name], column) or (
                found[name].count("?") + found[name].count("option") and _new_none(data[name], found[name], column)
            ):
                raise ShapeError(
                    f"{self.title} returned {found[name]}, but {column.type} when it was recorded; give an "
                    "example with meta="
                )
        where = passed.inc if self.masked else None
        return Returned(data, self.columns, where, len(values[1]) if self.masked else len(passed))


def called(taken: Snapshot, setup: Snapshot | None, arrays: Sequence[Any], title: str) -> Any:
    """The result of the function for some arrays in the places of the lazy ones."""
    function, *template = taken.value
    args, kwargs = mapped(template, lambda part: arrays[part.index] if isinstance(part, Slot) else part)
    if setup is not None:
        args = (once(setup, title), *args)
    try:
        return function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        if "read-only" in str(error) or "readonly" in str(error):
            error.add_note(
                f"{title} gets the data as they are, which other results share, so it cannot write into them: copy "
                "first, x = np.array(x)"
            )
        raise


def read_only(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A view of an array through which nobody writes into it."""
    view = values.view()
    view.flags.writeable = False
    return view


_MADE_MOST = 64
_made: OrderedDict[str, Any] = OrderedDict()
_making: dict[str, threading.Lock] = {}
_making_one = threading.Lock()


def once(setup: Snapshot, title: str) -> Any:
    """The result of a function `setup`: it is called once in each process, and its result is used from then on."""
    with _making_one:
        lock = _making.setdefault(setup.key, threading.Lock())
    with lock:
        if setup.key not in _made:
            try:
                made = setup.value()
                check_repeatable(title, {"what setup= made": made})
            except Exception as error:
                error.add_note(f"in the setup= of {title}, which is called once in each process")
                raise
            with _making_one:
                _made[setup.key] = made
                while len(_made) > _MADE_MOST:
                    _making.pop(_made.popitem(last=False)[0], None)
                return made
        return _made[setup.key]


def _fits(found: str, column: Column) -> bool:
    """Whether a type that came can be used as the recorded one: the same, or without the options."""
    one, other = (kind.replace("?", "").replace("option[", "").replace("]", "") for kind in (found, column.type))
    return found == column.type or one == other


def _new_none(data: Data, found: str, column: Column) -> bool:
    """Whether there is a None in a result that had no options there when it was recorded."""
    if "?" in found and "?" not in column.type and data.valid is not None and not data.valid.all():
        return True
    known, there = {record.name for record in column.records}, np.ones(0, bool)
    for name, mask in data.records.items():  # outermost first; what is in a record that is None is None, too
        if name not in known and not mask[there if len(there) == len(mask) else ...].all():
            return True
        there = mask
    some = any(mask is not None and not mask.all() for mask in data.level_valid)
    return some and found.count("option") > column.type.count("option")


@dataclass
class Returned:
    """The result of an opaque call in one partition, spread over all rows."""

    data: dict[str, Data]
    columns: dict[str, Column]
    where: np.ndarray[Any, Any] | None
    rows: int

    def offsets(self, path: str, level: int) -> Any:
        """The offsets of a list level of the result."""
        data = self._of(path, level)
        offsets = data.offsets[level]
        if level > 0 or self.where is None:
            return offsets
        counts = np.zeros(self.rows, np.int64)
        counts[self.where] = np.diff(offsets)
        return offsets_of(counts)

    def _of(self, path: str, level: int) -> Data:
        return next(data for name, data in self.data.items() if has_level(self.columns[name], path, level))

    def values(self, path: str) -> Any:
        """The flat values of one leaf of the result."""
        data, column = self.data[path], self.columns[path]
        values = data.values
        assert values is not None
        if column.text:
            try:
                values = texts_of(data)
            except ValueError as error:
                raise UnsupportedError(f"In the result of a function, {error}.") from error
        elif values.dtype != column.dtype:
            values = values.astype(column.dtype)
        return self._spread(values, len(column.levels))

    def _spread(self, values: Any, levels: int) -> Any:
        if levels or self.where is None:
            return values
        full_size = np.zeros(self.rows, values.dtype)
        full_size[self.where] = values
        return full_size

    def valid(self, path: str, level: int | str | None) -> Any:
        """Which values (or lists, or records: level RECORD) of the result are not None."""
        if level == RECORD:
            return self._records(path)
        if level is None:
            valid = self.data[path].valid
            return None if valid is None else self._spread(valid, len(self.columns[path].levels))
        assert isinstance(level, int)
        valid = self._of(path, level).mask(level)
        return None if valid is None else self._spread(valid, level)

    def _records(self, path: str) -> Any:
        for name, column in self.columns.items():
            for record in column.records:
                if record.name == path:
                    valid = self.data[name].records.get(path)
                    return None if valid is None else self._spread(valid, record.level)
        raise AssertionError(path)


def mapped(nest: Any, change: Callable[[Any], Any]) -> Any:
    """A nest of dicts, lists and tuples with what it holds changed; containers keep their types.

    >>> mapped({"a": [1, (2,)]}, lambda x: 10 * x)
    {'a': [10, (20,)]}
    """
    match nest:
        case Mapping():
            made = {key: mapped(value, change) for key, value in nest.items()}
            if type(nest) is dict:
                return made
            other: Any = copy.copy(nest)
            for key, value in made.items():
                other[key] = value
            return other
        case tuple() if hasattr(nest, "_fields"):
            return type(nest)(*(mapped(value, change) for value in nest))
        case list() | tuple():
            return type(nest)(mapped(value, change) for value in nest)
    return change(nest)


def as_awkward(layout: Any) -> ak.Array:
    """A layout as an awkward array whose records have vector's behavior."""
    if HOOKS.get("behavior") is not None:
        return HOOKS["behavior"](layout)
    return ak.Array(layout)


def as_array(result: Any, title: str) -> ak.Array:
    """The result of a function, as an awkward array."""
    if isinstance(result, ak.Array):
        return result
    if isinstance(result, np.ndarray) and result.ndim > 0:
        return ak.Array(result)
    if isinstance(result, dict) and result and all(isinstance(v, ak.Array | np.ndarray) for v in result.values()):
        return ak.zip(result, depth_limit=1)
    raise UnsupportedError(
        f"{title} returned {type(result).__name__}; a recorded function must return one array (of records for "
        "several values)"
    )

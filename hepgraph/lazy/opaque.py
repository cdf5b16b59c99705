"""Functions that the graph does not know: the partition is cut there, the function gets awkward arrays.

What such a function returns must have one entry for each row that it was given; its type is found by trying it on a few
empty rows when it is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import LazyError, ShapeError, UnsupportedError
from hepgraph.graph.canonical import TEXT, TOTAL, conjunction, filtered, inc
from hepgraph.graph.form import Form, List, Option, Record, Scalar, items, move, option, replaced
from hepgraph.graph.node import Item, Node, Space, node, space
from hepgraph.interpret import build
from hepgraph.io.forms import columns_of_form, data_of_layout
from hepgraph.io.source import Column, Data
from hepgraph.kernel.functions import is_numbas, jitted, number_function
from hepgraph.lazy.array import FUNCTIONS, HOOKS, Lazy, together
from hepgraph.lazy.broadcast import elementwise
from hepgraph.load import level_name, texts_of
from hepgraph.offsets import offsets_of

_CONVERSIONS = {
    "to_list", "to_numpy", "to_buffers", "to_json", "to_arrow", "to_arrow_table", "to_parquet", "to_feather",
    "to_dataframe", "to_torch", "to_jax", "to_cupy", "to_cudf", "to_tensorflow", "to_raggedtensor", "to_rdataframe",
    "to_safetensors", "to_parquet_row_groups", "to_layout", "materialize",
}  # fmt: skip
RECORD = "record"  # in the place of a list level, where the validity of records is meant
_WHOLE = {"almost_equal", "array_equal", "is_valid", "validity_error", "categories"}
_ELEMENTWISE = {"merge_option_of_records", "merge_union_of_records"}  # whatever the axis


@dataclass(frozen=True)
class Slot:
    """Stands for an item among the arguments of a call, and for a lazy array among those of its function."""

    index: int


@dataclass(frozen=True, eq=False)
class Call:
    """An opaque call: the function, its arguments with slots for the lazy ones, and the forms to build those from.

    The first argument of the node is the space of the rows that pass the masks; where there are masks, the second is
    that of all rows, over which the result is spread.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
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
        """What makes it the same call in another process (see `hepgraph.content`)."""
        return self.function, self.args, self.kwargs, self.forms, list(self.columns.values()), self.masked

    def call(self, values: Sequence[Any]) -> Returned:
        """Calls the function on one partition; `values` are those of the node's arguments."""
        passed = values[0]
        arrays = []

        def value_of(slot: Any) -> Any:
            return values[slot.index]

        for form in self.forms:
            layout = build(form, value_of, len(passed))
            arrays.append(as_awkward(layout))
        args = _fill(self.args, arrays)
        kwargs = _fill(self.kwargs, arrays)
        result = as_array(self.function(*args, **kwargs), self.title)
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


def _fits(found: str, column: Column) -> bool:
    """Whether a type that came can be used as the recorded one: the same, or without the options."""
    plain = column.type.replace("?", "").replace("option[", "").replace("]", "")
    return found in (column.type, plain) or found.replace("?", "").replace("option[", "").replace("]", "") == plain


def _new_none(data: Data, found: str, column: Column) -> bool:
    """Whether there is a None in a result that had no options there when it was recorded."""
    if "?" in found and "?" not in column.type and data.valid is not None and not data.valid.all():
        return True
    known = {record.name for record in column.records}
    if any(name not in known and not mask.all() for name, mask in data.records.items()):
        return True
    some = any(mask is not None and not mask.all() for mask in data.level_valid)
    return some and found.count("option") > column.type.count("option")


@dataclass
class Returned:
    """What an opaque call returned in one partition, spread over all rows."""

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
        for name, data in self.data.items():
            column = self.columns[name]
            if len(column.levels) > level and level_name(column, level) == path:
                return data
        raise ShapeError(f"the result has no lists at {path!r}")

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
        masks = self._of(path, level).level_valid
        valid = masks[level] if level < len(masks) else None
        return None if valid is None else self._spread(valid, level)

    def _records(self, path: str) -> Any:
        for name, column in self.columns.items():
            for record in column.records:
                if record.name == path:
                    valid = self.data[name].records.get(path)
                    return None if valid is None else self._spread(valid, record.level)
        raise ShapeError(f"the result has no records at {path!r} that may be None")


def _fill(part: Any, arrays: Sequence[Any]) -> Any:
    match part:
        case Slot(i):
            return arrays[i]
        case tuple():
            return tuple(_fill(p, arrays) for p in part)
        case list():
            return [_fill(p, arrays) for p in part]
        case dict():
            return {k: _fill(v, arrays) for k, v in part.items()}
        case _:
            return part


def as_awkward(layout: Any) -> ak.Array:
    """A layout as an awkward array whose records have vector's behavior."""
    if HOOKS.get("behavior") is not None:
        return HOOKS["behavior"](layout)
    return ak.Array(layout)


def as_array(result: Any, title: str) -> ak.Array:
    """What a function returned, as an awkward array."""
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


def record(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], meta: Any = None) -> Any:
    """Records the call of a function that the graph does not know."""
    title = _title(function)
    lazies: list[Lazy] = []
    template = _emptied((tuple(args), dict(kwargs)), lazies)
    if not lazies:
        raise UnsupportedError(f"{title} was called without a lazy array")
    forms, rows, guard = together(lazies)
    if rows is TOTAL:
        raise UnsupportedError(
            f"{title} of a reduction over the whole dataset cannot be recorded; use .compute() first"
        )
    some = filtered(rows, conjunction(guard, rows))
    moved = [move(form, inc(some)) if some is not rows else form for form in forms]
    needed: dict[Item, int] = {some: 0, rows: 0 if some is rows else 1}
    for form in moved:
        for item in items(form):
            needed.setdefault(item, len(needed))
    order = sorted(needed, key=lambda item: needed[item])
    slotted = tuple(replaced(form, lambda item: Slot(needed[item])) for form in moved)
    example = _example(function, template, moved, title) if meta is None else ak.to_layout(meta)
    columns = {column.name: column for column in columns_of_form("", example.form)}
    for column in columns.values():
        if column.problem:
            raise UnsupportedError(f"{title} returns {example.form.type}, which cannot be recorded: {column.problem}")
    key = _key(function, template, slotted)
    spec = Call(function, template[0], template[1], slotted, columns, title, some is not rows, key)
    made = node("call", tuple(order), rows, np.dtype(object), spec)
    return Lazy(_form_of(example.form, made, "", rows, 0), rows, guard)


def _key(function: Any, template: Any, forms: Any) -> str:
    """A call is the same as another if its function is, with the same plain arguments; else it is its own."""
    import hashlib

    import cloudpickle

    body = cloudpickle.dumps((function, template, [repr(f) for f in forms]))
    return hashlib.sha256(body).hexdigest()


def _title(function: Any) -> str:
    module, name = getattr(function, "__module__", "") or "", getattr(function, "__name__", type(function).__name__)
    return f"ak.{name}" if module.startswith("awkward") else name


def _emptied(part: Any, lazies: list[Lazy]) -> Any:
    match part:
        case Lazy():
            lazies.append(part)
            return Slot(len(lazies) - 1)
        case tuple():
            return tuple(_emptied(p, lazies) for p in part)
        case list():
            return [_emptied(p, lazies) for p in part]
        case dict():
            return {k: _emptied(v, lazies) for k, v in part.items()}
        case _:
            return part


def _example(function: Any, template: Any, forms: Sequence[Form], title: str) -> Any:
    """What the function returns for three rows of empty lists and zeros."""
    arrays = [as_awkward(_zeros(form, 3)) for form in forms]
    args, kwargs = _fill(template, arrays)
    with np.errstate(all="ignore"):
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            if title.startswith("ak."):
                raise UnsupportedError(
                    f"{title} fails on rows of empty lists and zeros, on which it is tried to learn what it "
                    f"returns: {error}\n"
                    "Use hg.map_partitions(function, ..., meta=array), with an example of the result, or "
                    ".compute() first."
                ) from error
            error.add_note(
                f"while trying {title} on three rows of empty lists and zeros, to learn what it returns; "
                "give an example of its result with hg.map_partitions(..., meta=array) if it cannot take those"
            )
            raise
    result = as_array(result, title)
    if title.startswith("ak.") and len(result) != 3:
        raise UnsupportedError(
            f"{title} does not give one entry for each event, so its result would depend on how the data are "
            "partitioned. "
            "Use .compute() first."
        )
    return ak.to_layout(result)


def _zeros(form: Form, size: int) -> Any:
    """A layout of a form with zeros, and empty lists."""
    match form:
        case Scalar(x):
            if x.dtype == TEXT:
                return ak.to_layout(ak.Array([""] * size)) if size else ak.to_layout(ak.Array([""]))[:0]
            return ak.contents.NumpyArray(np.zeros(size, x.dtype))
        case Option(_, content):
            index = ak.index.Index64(np.arange(size))
            return ak.contents.IndexedOptionArray.simplified(index, _zeros(content, size))
        case List(_, content, length):
            if length is not None:
                return ak.contents.RegularArray(_zeros(content, size * length), length, size)
            offsets = ak.index.Index64(np.zeros(size + 1, np.int64))
            return ak.contents.ListOffsetArray(offsets, _zeros(content, 0))
        case Record():
            names = None if form.tuple else list(form)
            parameters = {"__record__": form.name} if form.name else None
            return ak.contents.RecordArray([_zeros(form[n], size) for n in form], names, size, parameters=parameters)


def _form_of(form: Any, call: Node, path: str, at: Space, level: int) -> Form:
    """The lazy form of what a call returns."""
    if form.is_option:
        content = form.content
        inner = _form_of(content, call, path, at, level)
        if content.is_list and content.parameter("__array__") != "string":
            valid = node("output_valid", (call,), at, np.dtype(bool), (path, level))
            return option(valid, inner)
        if content.is_record and content.contents:
            return option(node("output_valid", (call,), at, np.dtype(bool), (path, RECORD)), inner)
        return _optional(inner, call, at)
    if form.is_indexed:
        return _form_of(form.content, call, path, at, level)
    if form.is_record:
        fields = {}
        for name, content in zip(form.fields, form.contents, strict=True):
            fields[name] = _form_of(content, call, f"{path}.{name}" if path else name, at, level)
        return Record(fields, form.parameter("__record__"), form.is_tuple)
    if form.parameter("__array__") == "string":
        return Scalar(node("output", (call,), at, TEXT, path))
    if form.is_regular or form.is_list:
        below = space("result", at, (call,), (path, level))
        return List(below, _form_of(form.content, call, path, below, level + 1), form.size if form.is_regular else None)
    if form.is_numpy and not form.is_unknown:
        result: Form
        spaces = []
        for size in form.inner_shape:
            at = space("result", at, (call,), (path, level))
            spaces.append((at, size))
            level += 1
        result = Scalar(node("output", (call,), at, np.dtype(form.primitive), path))
        for s, size in reversed(spaces):
            result = List(s, result, size)
        return result
    return Scalar(node("output", (call,), at, np.dtype(float), path))


def _optional(form: Form, call: Node, at: Space) -> Form:
    """A form whose leaves may be None."""
    match form:
        case Scalar(x):
            return option(node("output_valid", (call,), at, np.dtype(bool), (x.param, None)), form)
        case _:
            return form


def of_awkward(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """An `ak.*` function outside of the graph."""
    name = getattr(function, "__name__", "")
    if name in _CONVERSIONS:
        raise LazyError(
            f"ak.{name} needs computed values; use .compute() first, or hg.map_partitions for a lazy function."
        )
    if name in _WHOLE:
        raise LazyError(f"ak.{name} looks at the whole array at once; use .compute() first.")
    import inspect

    known = inspect.signature(function).parameters
    given = dict(zip(known, args, strict=False)) | kwargs
    axis = given.get("axis", known["axis"].default if "axis" in known else 1)
    lazy = next((a for a in given.values() if isinstance(a, Lazy)), None)
    deep = lazy.ndim if lazy is not None else 2
    if name in _ELEMENTWISE:
        axis = 1
    if axis is None or axis == 0 or (isinstance(axis, int) and axis < 0 and axis + deep <= 0):
        raise UnsupportedError(
            f"ak.{name} with axis={axis} depends on the whole dataset at once, and cannot be recorded; use axis=1 "
            "for each "
            "event, or .compute() first."
        )
    return record(function, args, kwargs)


def map_partitions(function: Callable[..., Any], *args: Any, meta: Any = None, **kwargs: Any) -> Any:
    """Any Python function of awkward arrays, recorded: called once a partition, its result is lazy again.

    The function must return one entry for each row, as an awkward or NumPy array (or a dict of such). Its type is found
    by trying it on three rows of empty lists and zeros; `meta`, an array like its result, saves the trial.

    Given computed arrays, as a processor that runs eagerly has them, it calls the function with them at once.

    A function of numbers compiled by `numba.njit` is applied to each element instead, where the kernel is there anyway:
    the graph is not cut. What it raises is raised; with `engine="interpreter"` also for elements that are cut away.

    >>> import hepgraph as hg, awkward as ak, numpy as np
    >>> events = hg.from_awkward(ak.Array([{"pt": 3.0}, {"pt": 4.0}]))
    >>> hg.map_partitions(lambda pt: np.hypot(pt.to_numpy(), 4.0), events.pt).compute().to_list()
    [5.0, 5.656854249492381]
    """
    lazies: list[Lazy] = []
    _emptied((args, kwargs), lazies)
    arrays = [] if lazies else _computed((args, kwargs))
    if arrays:
        return _called(function, args, kwargs, arrays)
    if meta is None and not kwargs and jitted(function):
        return _of_numbers(function, args)
    return record(function, args, kwargs, meta)


def _computed(part: Any) -> list[Any]:
    """The computed arrays among the arguments of a call."""
    if isinstance(part, ak.Array) or (isinstance(part, np.ndarray) and part.ndim):
        return [part]
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else ()
    return [array for each in inner for array in _computed(each)]


def _called(function: Any, args: Sequence[Any], kwargs: dict[str, Any], arrays: Sequence[Any]) -> Any:
    """What a function returns for computed arrays, with the checks of a recorded call."""
    title = _title(function)
    if not kwargs and jitted(function):
        found = _of_each(function, args)
        if found is not None:
            return found
    result = as_array(function(*args, **kwargs), title)
    if len(result) != len(arrays[0]):
        raise ShapeError(f"{title} returned {len(result)} entries for {len(arrays[0])} rows; it must return one a row")
    return result


def _of_each(function: Any, args: Sequence[Any]) -> Any:
    """A compiled function applied to each element of computed arrays, if it takes numbers; else None."""
    each = number_function(function, _key((function, function.targetoptions), (), ()))
    kinds = [np.asarray(arg).dtype if isinstance(arg, _NUMBER) else _numbers_in(ak.to_layout(arg).form) for arg in args]
    if any(kind is None for kind in kinds):
        return None
    try:
        each.dtype(kinds)
    except TypeError:
        return None
    places = [i for i, arg in enumerate(args) if not isinstance(arg, _NUMBER)]

    def apply(layouts: Any, **_: Any) -> Any:
        layouts = layouts if isinstance(layouts, tuple) else (layouts,)
        if not all(layout.is_numpy for layout in layouts):
            return None
        values = dict(zip(places, (np.asarray(layout.data) for layout in layouts), strict=True))
        return ak.contents.NumpyArray(each(*(values.get(i, arg) for i, arg in enumerate(args))))

    return ak.transform(apply, *(args[i] for i in places))


def _numbers_in(form: Any) -> Any:
    """The type of the numbers in an array that has no records."""
    while form.is_option or form.is_indexed or form.is_list:
        form = form.content
    return np.dtype(form.primitive) if form.is_numpy and not form.is_unknown else None


def _of_numbers(function: Any, args: Sequence[Any]) -> Any:
    """A compiled function applied to each element, if it takes numbers; else to the arrays."""
    each = number_function(function, _key((function, function.targetoptions), (), ()))
    forms, rows, guard = together(args) if all(isinstance(arg, (Lazy, _NUMBER)) for arg in args) else ((), None, ())
    kinds = [_number_type(form) for form in forms]
    if rows is None or any(kind is None for kind in kinds):
        return record(function, args, {})
    try:
        each.dtype(kinds)
    except TypeError as error:
        try:
            return record(function, args, {})
        except Exception as other:
            if not is_numbas(other):
                raise
            raise UnsupportedError(f"{error}, nor for arrays") from other
    return Lazy(elementwise("ufunc", forms, rows, guard, (each,)), rows, guard)


_NUMBER = int | float | np.integer | np.floating


def _number_type(form: Form) -> Any:
    """The type of the numbers that a form has, if it has no records."""
    match form:
        case Scalar(x):
            return np.asarray(x.param.value).dtype if x.op == "literal" else x.dtype
        case Option(_, content) | List(_, content, _):
            return _number_type(content)
    return None


HOOKS["opaque"] = of_awkward
FUNCTIONS[ak.backend] = lambda *arrays: "cpu"
FUNCTIONS[ak.fields] = lambda array: array.fields
FUNCTIONS[ak.is_tuple] = lambda array: array.is_tuple
FUNCTIONS[ak.type] = lambda array: array.type
FUNCTIONS[ak.parameters] = lambda array: {}

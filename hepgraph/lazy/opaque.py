"""Functions that the graph does not know: the partition is cut there, the function gets awkward arrays.

What such a function returns must have one entry for each row that it was given; its type is found by trying it on a few
empty rows when it is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import LazyError, ShapeError, UnsupportedError
from hepgraph.functions.compiled import is_numbas, jitted, number_function
from hepgraph.functions.snapshot import REDUCERS, Snapshot
from hepgraph.functions.sources import check_repeatable
from hepgraph.graph.canonical import TEXT, TOTAL, conjunction, filtered, inc
from hepgraph.graph.form import Form, List, Option, Record, Scalar, innermost, items, move, option, replaced
from hepgraph.graph.node import Item, Node, Space, node, space
from hepgraph.io.forms import columns_of_form
from hepgraph.lazy.array import FUNCTIONS, HOOKS, Lazy, together
from hepgraph.lazy.broadcast import elementwise
from hepgraph.lazy.call import RECORD, Call, Slot, as_array, as_awkward, called, mapped, once, read_only

_CONVERSIONS = {
    "to_list", "to_numpy", "to_buffers", "to_json", "to_arrow", "to_arrow_table", "to_parquet", "to_feather",
    "to_dataframe", "to_torch", "to_jax", "to_cupy", "to_cudf", "to_tensorflow", "to_raggedtensor", "to_rdataframe",
    "to_safetensors", "to_parquet_row_groups", "to_layout", "materialize",
}  # fmt: skip
_WHOLE = {"almost_equal", "array_equal", "is_valid", "validity_error", "categories"}
_ELEMENTWISE = {"merge_option_of_records", "merge_union_of_records"}  # whatever the axis


def record(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], meta: Any = None, setup: Any = None
) -> Any:
    """Records the call of a function that the graph does not know, as it is now."""
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
    made_before = None if setup is None else Snapshot.of(setup)
    more = (repr(slotted), None if made_before is None else made_before.key)
    taken = Snapshot.of((function, *template), title, *more)
    example = _example(taken, made_before, moved, title) if meta is None else ak.to_layout(meta)
    columns = {column.name: column for column in columns_of_form("", example.form)}
    for column in columns.values():
        if column.problem:
            raise UnsupportedError(f"{title} returns {example.form.type}, which cannot be recorded: {column.problem}")
    key = f"{taken.key} {[(name, column.type) for name, column in columns.items()]}"
    spec = Call(taken, made_before, slotted, columns, title, some is not rows, key)
    made = node("call", tuple(order), rows, np.dtype(object), spec)
    return Lazy(_form_of(example.form, made, "", rows, 0), rows, guard)


def _title(function: Any) -> str:
    module, name = getattr(function, "__module__", "") or "", getattr(function, "__name__", type(function).__name__)
    return f"ak.{name}" if module.startswith("awkward") else name


def _emptied(nest: Any, lazies: list[Lazy]) -> Any:
    def slot(part: Any) -> Any:
        if not isinstance(part, Lazy):
            return part
        lazies.append(part)
        return Slot(len(lazies) - 1)

    return mapped(nest, slot)


def _example(taken: Snapshot, setup: Snapshot | None, forms: Sequence[Form], title: str) -> Any:
    """The result of the function for three rows of empty lists and zeros."""
    arrays = [as_awkward(_zeros(form, 3)) for form in forms]
    with np.errstate(all="ignore"):
        try:
            result = called(taken, setup, arrays, title)
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
            "partitioned. Use .compute() first."
        )
    return ak.to_layout(result)


def _zeros(form: Form, size: int) -> Any:
    """A layout of a form with zeros, and empty lists."""
    match form:
        case Scalar(x):
            if x.dtype == TEXT:
                return ak.to_layout(ak.Array([""] * size)) if size else ak.to_layout(ak.Array([""]))[:0]
            return ak.contents.NumpyArray(read_only(np.zeros(size, x.dtype)))
        case Option(_, content):
            index = ak.index.Index64(np.arange(size))
            return ak.contents.IndexedOptionArray.simplified(index, _zeros(content, size))
        case List(_, content, length):
            if length is not None:
                return ak.contents.RegularArray(_zeros(content, size * length), length, size)
            offsets = ak.index.Index64(read_only(np.zeros(size + 1, np.int64)))
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
        of: Any = (path, level)
        if content.is_record and content.contents:
            of = (path, RECORD)
        elif not content.is_list or content.parameter("__array__") == "string":
            if not isinstance(inner, Scalar):
                return inner
            of = (inner.node.param, None)
        return option(node("output_valid", (call,), at, np.dtype(bool), of), inner)
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
            f"ak.{name} with axis={axis} depends on the whole dataset at once, and cannot be recorded; use axis=1 for "
            "each event, or .compute() first."
        )
    return record(function, args, kwargs)


def map_partitions(
    function: Callable[..., Any], *args: Any, meta: Any = None, setup: Callable[[], Any] | None = None, **kwargs: Any
) -> Any:
    """Any Python function of awkward arrays, recorded: called once a partition, its result is lazy again.

    What runs later is the function as it is now, with the values that it reads now: variables, globals, attributes. It
    gets arrays that cannot be written into. Arrays of more than 1 MiB that it uses are not copied: changing one in
    place before the run is an error. Locks, sessions and open files stay what they are, in this process.

    Given computed arrays, as a processor that runs eagerly has them, it calls the function with them at once.

    A function of numbers compiled by `numba.njit` is applied to each element instead, where the kernel is there anyway:
    the graph is not cut. What it raises is raised; with `engine="interpreter"` also for elements that are cut away.

    Parameters
    ----------
    function : callable
        Function that returns one entry for each row, as an awkward or NumPy array (or a dict of such).
    *args : Any
        Its arguments: lazy arrays, and anything else.
    meta : array-like, default None
        Array like its result. Without it, the function is tried on three rows of empty lists and zeros.
    setup : callable, default None
        Function without arguments that makes what cannot be sent to other processes: a session of onnxruntime, the
        corrections of correctionlib, a connection. It is called once in each process, and `function` gets what it
        returned as its first argument, before the others.
    **kwargs : Any
        Its arguments by name.

    Returns
    -------
    Lazy
        The result, with the rows of the arguments.

    Raises
    ------
    UnsupportedError
        If the function returns what cannot be recorded, or there is no lazy array among its arguments.
    RandomError
        If the function takes from a random generator or an iterator that was made outside of it: what an event got
        would depend on how the run is done. Make random numbers from the number of the event.
    ChangedError
        When it is computed, if something that the function uses, and that is not copied, was changed.
    ShippingError
        When it is computed in other processes, if something that the function uses cannot be sent there.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak, numpy as np
    >>> events = hg.from_awkward(ak.Array([{"pt": 3.0}, {"pt": 4.0}]))
    >>> hg.map_partitions(lambda pt: np.hypot(pt.to_numpy(), 4.0), events.pt).compute().to_list()
    [5.0, 5.656854249492381]
    >>> table = hg.map_partitions(lambda sf, pt: sf[0] * pt, events.pt, setup=lambda: np.array([1.1]))
    >>> table.compute().to_list()
    [3.3000000000000003, 4.4]
    """
    lazies: list[Lazy] = []
    _emptied((args, kwargs), lazies)
    given = {"its object": function, "an argument": (args, kwargs), "setup=": setup}
    check_repeatable(_title(function), given)
    if any(each._varies for each in lazies):
        return HOOKS["follow"](map_partitions, function, *args, meta=meta, setup=setup, **kwargs)
    arrays = [] if lazies else _computed((args, kwargs))
    if arrays:
        return _at_once(function, args, kwargs, arrays, setup)
    if meta is None and setup is None and not kwargs and jitted(function):
        return _of_numbers(function, args)
    return record(function, args, kwargs, meta, setup)


def _computed(part: Any) -> list[Any]:
    """The computed arrays among the arguments of a call."""
    if isinstance(part, ak.Array) or (isinstance(part, np.ndarray) and part.ndim):
        return [part]
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else ()
    return [array for each in inner for array in _computed(each)]


def _at_once(
    function: Any, args: Sequence[Any], kwargs: dict[str, Any], arrays: Sequence[Any], setup: Any = None
) -> Any:
    """The result of a function for computed arrays, with the checks of a recorded call."""
    title = _title(function)
    if setup is not None:
        args = (once(Snapshot.of(setup), title), *args)
    elif not kwargs and jitted(function):
        found = _of_each(function, args)
        if found is not None:
            return found
    result = as_array(function(*args, **kwargs), title)
    if len(result) != len(arrays[0]):
        raise ShapeError(f"{title} returned {len(result)} entries for {len(arrays[0])} rows; it must return one a row")
    return result


def _of_each(function: Any, args: Sequence[Any]) -> Any:
    """A compiled function applied to each element of computed arrays, if it takes numbers; else None."""
    each = number_function(Snapshot.of(function, "each"))
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
    each = number_function(Snapshot.of(function, "each"))
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
    found = innermost(form)
    if isinstance(found, Record):
        return None
    return np.asarray(found.node.param.value).dtype if found.node.op == "literal" else found.node.dtype


HOOKS["opaque"] = of_awkward
REDUCERS[Lazy] = lambda x, pickler: (Lazy, tuple(map(pickler.ref, (x._form, x._rows, x._guard))))
FUNCTIONS[ak.backend] = lambda *arrays: "cpu"
FUNCTIONS[ak.fields] = lambda array: array.fields
FUNCTIONS[ak.is_tuple] = lambda array: array.is_tuple
FUNCTIONS[ak.type] = lambda array: array.type
FUNCTIONS[ak.parameters] = lambda array: {}

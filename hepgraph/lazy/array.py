"""The lazy array: a subclass of `ak.Array` that records what is done to it.

It holds a form, the space of its rows, and the masks that its rows must pass (the guard). It is immutable but for
`x["field"] = value`, which rebinds this handle and no other.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, HepgraphError, LazyError, MissingColumnError, ShapeError, UnsupportedError
from hepgraph.functions import behaviors
from hepgraph.functions.lines import as_one, begins, call_users, entered, user_code
from hepgraph.functions.snapshot import Snapshot, is_compiled
from hepgraph.graph.canonical import TOTAL, apply, comparisons, take, up
from hepgraph.graph.form import Form, List, Option, Record, Scalar, deepest, innermost, move, record_of, type_of
from hepgraph.graph.node import Node, Space, as_node, dumps, literal, loads
from hepgraph.graph.ops import OUTPUTS, names_of
from hepgraph.io.source import Origin, Source
from hepgraph.lazy.broadcast import alignment, elementwise
from hepgraph.lazy.rows import different_masks, different_rows, origin_of
from hepgraph.lazy.rules import Rules
from hepgraph.lazy.running import HOOKS as HOOKS
from hepgraph.lazy.running import Runnable
from hepgraph.lazy.typed import NO_LAYOUT, LazyArrayType, LazyType, Listed

# filled in by the modules above: functions of awkward, methods and properties of records
FUNCTIONS = Rules("ak", lambda function, args, kwargs: HOOKS["opaque"](function, args, kwargs))
NUMPY_FUNCTIONS = Rules("numpy", lambda function, args, kwargs: HOOKS["opaque"](function, args, kwargs))
UFUNCS: dict[str, Callable[..., Any]] = {}
ATTRIBUTES: dict[str, Callable[[Lazy, str], Any]] = {}


class Lazy(Runnable, ak.Array, metaclass=Listed):  # type: ignore[misc]
    """An awkward array that is not there yet: what is done to it is recorded, and runs on `.compute()`.

    >>> import hepgraph as hg, awkward as ak
    >>> jets = hg.from_awkward(ak.Array([{"pt": [50.0, 20.0]}, {"pt": []}])).pt
    >>> jets[jets > 30].compute().to_list()
    [[50.0], []]
    """

    _form: Form
    _rows: Space
    _guard: tuple[Node, ...]
    _varies = False  # whether it holds alternatives (see `hepgraph.lazy.varied`)

    def __init__(self, form: Form, rows: Space, guard: tuple[Node, ...] = ()) -> None:
        held = self.__dict__
        held["_form"], held["_rows"], held["_guard"] = form, rows, guard

    # what the array is

    @property
    def fields(self) -> list[str]:
        """The names of the fields of the records, empty for an array of numbers."""
        record = record_of(self._form)
        return [] if record is None else list(record)

    @property
    def is_tuple(self) -> bool:
        """Whether the records are tuples."""
        record = record_of(self._form)
        return record is not None and record.tuple

    @property
    def ndim(self) -> int:
        """The number of dimensions: the rows, and the list levels below."""
        return deepest(self._form) + (0 if self._rows is TOTAL else 1)

    @property
    def type(self) -> LazyType:
        """The type: `.show()` prints it over several lines; the number of rows is not known (`##`)."""
        return (LazyType if self._rows is TOTAL else LazyArrayType)(type_of(self._form))

    @property
    def typestr(self) -> str:
        """The type on one line."""
        return str(self.type)

    @property
    def source(self) -> Source:
        """The dataset that the array comes from."""
        return self._origin.source

    @property
    def _origin(self) -> Origin:
        return origin_of(self._rows, self._form)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the dataset: `dataset` and what the user put there."""
        return self.source.metadata

    @property
    def variations(self) -> tuple[str, ...]:
        """The names of the variations, "nominal" first; empty for what is not varied (see `hg.vary`)."""
        return ()

    def _at(self, name: str) -> Lazy:
        return self  # in a variation that it does not know

    @property
    def npartitions(self) -> int:
        """The number of ranges that a run over this array would take."""
        if isinstance(self.source.step_size, str) and self.source.npartitions is None:
            return len(self.source.partitions(HOOKS["needed"](self)))
        return len(self.source.partitions())

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Always empty: what is known about the dataset is in `metadata`."""
        return {}

    @property
    def behavior(self) -> Mapping[str, Any] | None:
        """None: lazy records find their behavior by their fields."""
        return None

    @property
    def named_axis(self) -> Mapping[str, int]:
        """Always empty: lazy arrays have no named axes."""
        return {}

    @property
    def positional_axis(self) -> tuple[int, ...]:
        """The axes by number."""
        return tuple(range(self.ndim))

    # getting and setting

    def __getitem__(self, where: Any) -> Any:
        began = begins()
        try:
            found = HOOKS["getitem"](self, where)
            return self.__copy__() if found is self else found
        finally:
            if began:
                entered.at = False

    def __setitem__(self, where: Any, what: Any) -> None:
        as_one(HOOKS["setitem"], self, where, what)

    def __delitem__(self, where: Any) -> None:
        new = FUNCTIONS[ak.without_field](self, where)
        object.__setattr__(self, "_form", new._form)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_repr_", "_ipython")):
            raise AttributeError(name)
        began = begins()
        try:
            return self._attribute(name)
        finally:
            if began:
                entered.at = False

    def _attribute(self, name: str) -> Any:
        record = record_of(self._form)
        if record is not None:
            users = behaviors.attribute(self, record.name, name)
            if users is not behaviors.MISSING:
                return users
            if name in record:
                return self[name]
            found = ATTRIBUTES.get(name)
            if found is not None:
                return found(self, name)
            raise FieldError(f"No field or method {name!r} in {record.title}.\n{record.hint(name, ATTRIBUTES)}")
        raise FieldError(f"No attribute {name!r}: this is an array of {type_of(self._form)}, without fields.")

    def __setattr__(self, name: str, value: Any) -> None:
        record = record_of(self._form)
        if record is not None and name in record:
            raise FieldError(f"Fields cannot be assigned as attributes; write x[{name!r}] = ... instead.")
        raise AttributeError(f"a lazy array has no attribute {name!r} that can be set")

    def __dir__(self) -> Iterable[str]:
        """Public names of what this array has; those that awkward has for computed arrays alone left aside."""
        own = {name for name in dir(type(self)) if name[0] != "_"}
        return sorted({*own, *self.fields, *HOOKS["attributes"](self)})

    def _ipython_key_completions_(self) -> list[str]:
        return self.fields

    @property
    def mask(self) -> Any:
        """`x.mask[m]` keeps the length and puts None where m is false, like `ak.mask(x, m)`."""
        return _Mask(self)

    # NumPy and awkward

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        began = begins()
        try:
            return self._operation(ufunc, method, inputs, kwargs)
        finally:
            if began:
                entered.at = False

    def _operation(self, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if method != "__call__":
            if method == "reduce" and ufunc in _REDUCTIONS:
                return FUNCTIONS[_REDUCTIONS[ufunc]](*inputs, **{"axis": 0, **kwargs})
            raise UnsupportedError(f"numpy.{ufunc.__name__}.{method} cannot be recorded; use ak.* functions")
        if kwargs.pop("out", None) is not None:
            raise LazyError("A lazy array cannot be written into (out=); bind the result to a name instead.")
        if kwargs:
            raise UnsupportedError(f"numpy.{ufunc.__name__}: the arguments {', '.join(kwargs)} cannot be recorded")
        names = OUTPUTS.get(ufunc, ())
        if len(names) == 1 and (found := _side_by_side(names[0], inputs)) is not None:
            return found
        if any(record_of(x._form) is not None for x in inputs if isinstance(x, Lazy)):
            custom = behaviors.overload(ufunc, [_kind(x) for x in inputs])
            if custom is not None:
                return call_users(custom, *inputs)
            special = UFUNCS.get(ufunc.__name__)
            result = NotImplemented if special is None else special(*inputs)
            if result is not NotImplemented:
                return result
        forms, rows, guard = together(inputs)
        if names_of(ufunc) is None:
            if is_compiled(ufunc):
                elementwise("ufunc", forms, rows, guard, (ufunc,))  # numba compiles it for these types, as it would now
                ufunc = Snapshot.of(ufunc).value
            return Lazy(elementwise("ufunc", forms, rows, guard, (ufunc,)), rows, guard)
        results = [Lazy(elementwise(op, forms, rows, guard), rows, guard) for op in names]
        return results[0] if len(results) == 1 else tuple(results)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        found = NUMPY_FUNCTIONS.get(func)
        if found is not None:
            return _handed_out(as_one(found, *args, **kwargs))
        raise UnsupportedError(
            f"numpy.{func.__name__} cannot be recorded. Use the ak.* function that does the same, "
            "hg.map_partitions(function, ...) for any function of arrays, or .compute() first."
        )

    def __awkward_function__(self, func: Any, array_likes: Any, args: Any, kwargs: Any) -> Any:
        for each in array_likes:
            if getattr(type(each), "_varies", False):
                return each.__awkward_function__(func, array_likes, args, kwargs)
        began = begins()
        try:
            found = FUNCTIONS.get(func)
            return _handed_out(FUNCTIONS.without(func, args, kwargs) if found is None else found(*args, **kwargs))
        finally:
            if began:
                entered.at = False

    # what only a computed array can answer

    def __bool__(self) -> NoReturn:
        raise LazyError(
            "A lazy value is neither true nor false before it is computed. In a selection, combine masks with & | ~ or "
            f"ak.where; to branch in Python, use .compute() first.{_chained()}"
        )

    def __len__(self) -> NoReturn:
        raise LazyError(
            "The length of a lazy array is not known before it is computed; use ak.num(x, axis=0).compute()."
        )

    def __iter__(self) -> NoReturn:
        raise LazyError(
            "A lazy array cannot be iterated over. Write the loop as operations on whole arrays, look at .head() or "
            ".eager(), or use .compute() first."
        )

    def __contains__(self, element: object) -> NoReturn:
        raise LazyError("`in` needs computed values; use ak.any(x == value) or .compute() first.")

    def __float__(self) -> NoReturn:
        raise LazyError("A lazy value is no number before it is computed; use .compute() first.")

    __int__ = __complex__ = __float__

    def __index__(self) -> NoReturn:
        raise LazyError(
            "A lazy value is no number before it is computed; use .compute() first. To look it up in a table, write "
            "hg.lookup(table, x) instead of table[x]."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LazyError(
            "A lazy array cannot become a NumPy array before it is computed; use .compute(), or "
            "hg.map_partitions(function, x) to apply a function of NumPy arrays lazily. Instead of table[x] write "
            "hg.lookup(table, x); of a list of arrays, functools.reduce(operator.or_, masks) instead of "
            "np.any(masks, axis=0), and sum(arrays) instead of np.sum(arrays, axis=0)."
        )

    def __arrow_array__(self, type: Any = None) -> NoReturn:
        self.__array__()

    def _no_values(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LazyError("A lazy array has no values before it is computed; use .compute(), or .head() to look at some.")

    to_list = tolist = to_numpy = __bytes__ = __dlpack__ = __dlpack_device__ = __cast_cpp__ = _no_values

    @property
    def _layout(self) -> NoReturn:
        raise LazyError(
            "A lazy array cannot become part of a computed one. Use ak.zip({'name': x, ...}) for records of lazy "
            "arrays, ak.concatenate for longer lists, or .compute() first."
        )

    @property
    def layout(self) -> Any:
        """Nothing to use: awkward's error messages ask it for its backend; anybody else gets an error."""
        if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] not in ("awkward", "hepgraph"):
            NO_LAYOUT.none("")
        return NO_LAYOUT

    @property
    def nbytes(self) -> Any:
        """Raises: a lazy array has no size before it is computed."""
        self._no_values()

    @property
    def numba_type(self) -> Any:
        """Raises: compiled functions need computed arrays."""
        raise LazyError("A compiled function needs computed arrays; use hg.map_partitions(function, x) or .compute().")

    cpp_type = numba_type

    # showing, copying, pickling

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str) -> str:
        if spec:
            raise LazyError(f"A lazy value cannot be written as {spec!r} before it is computed; use .compute() first.")
        return str(self)

    def __repr__(self) -> str:
        try:
            text = str(self.type)
        except MissingColumnError:  # a column that cannot be read has no type
            text = f"## * {{{len(self.fields)} fields}}"
        text = text if len(text) <= 100 else text[:97] + "..."
        return f"<hepgraph.Lazy {text}>"

    def _repr(self, limit_cols: int) -> str:
        """The text in awkward's error messages."""
        return repr(self)

    def _repr_html_(self) -> str:
        return str(HOOKS["page"](self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def show(self, *args: Any, **kwargs: Any) -> None:
        """Prints the first rows.

        Parameters
        ----------
        *args : Any
            Arguments of `ak.Array.show`.
        **kwargs : Any
            Arguments of `ak.Array.show`, by name.
        """
        self.head().show(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _thawed, (dumps((self._form, self._rows, self._guard)),)

    __reduce__ = None  # type: ignore[assignment]

    def __copy__(self) -> Lazy:
        return Lazy(self._form, self._rows, self._guard)

    def __deepcopy__(self, memo: Any) -> Lazy:
        return self.__copy__()

    def __hash__(self) -> int:
        return id(self)

    def _update_class(self) -> None:
        """ak.Array's hook for behaviors; a lazy array keeps its class."""


def _kind(x: Any) -> Any:
    """The key of awkward's overloads of ufuncs: the name of a record, the type of a number."""
    if not isinstance(x, Lazy):
        return type(x)
    found = innermost(x._form)
    return found.name if isinstance(found, Record) else found.node.dtype.type


def _handed_out(result: Any) -> Any:
    """The result of a function, never one of the handles that it got: an assignment to it is to no other array."""
    if isinstance(result, Lazy):
        return result.__copy__()
    if type(result) in (list, tuple):
        return type(result)(_handed_out(each) for each in result)
    return result


_REDUCTIONS = {
    np.add: ak.sum, np.multiply: ak.prod, np.logical_and: ak.all, np.logical_or: ak.any, np.minimum: ak.min,
    np.maximum: ak.max,
}  # fmt: skip


class _Mask:
    def __init__(self, array: Lazy) -> None:
        self._array = array

    def __getitem__(self, where: Any) -> Lazy:
        if self._array._varies or getattr(type(where), "_varies", False):
            return HOOKS["follow"](FUNCTIONS[ak.mask], self._array, where)  # type: ignore[no-any-return]
        return FUNCTIONS[ak.mask](self._array, where)  # type: ignore[no-any-return]


def _thawed(data: bytes) -> Lazy:
    return Lazy(*loads(data))


_NUMBERS = (float, int, bool, complex, str, np.generic)


def together(inputs: Sequence[Any]) -> tuple[list[Form], Space, tuple[Node, ...]]:
    """The forms of several arguments of one operation, and the rows that they share.

    Plain numbers become literals, eager arrays columns beside the dataset. Raises ShapeError if lazy ones were cut by
    different masks.
    """
    first = next(arg for arg in inputs if isinstance(arg, Lazy))
    rows, guard = first._rows, first._guard
    forms: list[Form] = []
    others: list[tuple[int, Any]] = []  # the errors of lazy ones come first
    for i, arg in enumerate(inputs):
        if isinstance(arg, Lazy):
            if arg._rows is not rows:
                arg = _beside(arg, first)
            if rows is TOTAL and origin_of(rows, arg._form) != origin_of(rows, first._form):
                raise different_rows(first, arg)
            if arg._guard is not guard and set(arg._guard) != set(guard):
                raise different_masks(first, arg)
            forms.append(arg._form)
        elif isinstance(arg, _NUMBERS) or (isinstance(arg, np.ndarray) and arg.ndim == 0):
            forms.append(Scalar(literal(arg)))
        else:
            others.append((i, arg))
    for i, arg in others:
        forms.insert(i, attached(arg, first)._form)
    return forms, rows, guard


def each(op: str, inputs: Sequence[Any], *param: Any) -> Lazy:
    """An operation of the table on arrays and numbers, element by element."""
    if not param and (found := _side_by_side(op, inputs)) is not None:
        return found
    forms, rows, guard = together(inputs)
    return Lazy(elementwise(op, forms, rows, guard, param), rows, guard)


def _side_by_side(op: str, inputs: Sequence[Any]) -> Lazy | None:
    """The result of `elementwise` for arrays of the same rows, lists and masks, as most are; None for others."""
    rows: Space | None = None
    guard: tuple[Node, ...] = ()
    lists: List | None = None
    some: Option | None = None
    nodes: list[Node] = []
    for x in inputs:
        kind = type(x)
        if kind is Lazy:
            if rows is None:
                rows, guard = x._rows, x._guard
            elif x._rows is not rows or x._guard is not guard:
                return None
            form = x._form
            if type(form) is List:
                if form.space.parent is not rows or (lists is not None and lists.space is not form.space):
                    return None
                lists, form = form, form.content
            if type(form) is Option:
                if some is not None and some.valid is not form.valid:
                    return None
                some, form = form, form.content
            if type(form) is not Scalar:
                return None
            nodes.append(form.node)
        elif kind is float or kind is int:
            nodes.append(literal(x))
        else:
            return None
    if rows is None or rows is TOTAL:
        return None
    if lists is not None and not {node.space for node in nodes} <= {lists.space, None}:
        return None
    result: Form = Scalar(apply(op, nodes))
    if some is not None:
        result = Option(some.valid, result)
    return Lazy(result if lists is None else List(lists.space, result, lists.size), rows, guard)


def _beside(x: Lazy, like: Lazy) -> Lazy:
    """A flat array of elements, beside one of elements of other lists, if those lists go together."""
    rows = like._rows
    if rows.parent is not x._rows.parent or rows.parent in (None, TOTAL):
        raise different_rows(like, x)
    whole = {mask: as_node(mask.args[1]) for mask in (*like._guard, *x._guard) if _of_whole_lists(mask)}
    try:
        m = alignment(rows, x._rows, tuple(whole[mask] for mask in like._guard if mask in whole))
    except ShapeError:
        raise different_rows(like, x) from None
    guard = [take(up(rows), whole[mask]) if mask in whole else take(m, mask) for mask in x._guard]
    return Lazy(move(x._form, m), rows, tuple(guard))


def _of_whole_lists(mask: Node) -> bool:
    return mask.op == "take" and mask.space is not None and mask.args[0] is up(mask.space)


def attached(arg: Any, like: Lazy) -> Lazy:
    """An eager array beside the events of a lazy one."""
    if not isinstance(arg, (ak.Array, np.ndarray, list, tuple)):
        raise UnsupportedError(
            f"{arg!r} ({type(arg).__name__}) does not go together with a lazy array; numbers, strings and arrays with "
            "one entry for each event do"
        )
    try:
        return HOOKS["attach"](arg, like)  # type: ignore[no-any-return]
    except HepgraphError:
        raise
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"this {type(arg).__name__} cannot become an array: {error}") from error


def _chained() -> str:
    """A hint, where the user's line has several comparisons that Python ties together."""
    code = user_code()
    if comparisons(code) < 2 or re.search(r"\b(and|or|not|if|while)\b", code):
        return ""
    how = "& and | before comparisons, and then " if re.search("[&|]", code) else ""
    return (
        f"\nIn `{code}`, Python takes {how}a < b < c as (a < b) and (b < c). Write (a < b) & (b < c), with parentheses "
        "around each comparison."
    )

"""Numbers beside a table: NumPy's digitize, searchsorted, isin, interp and select, and looking up by index.

Tables are plain arrays, the same for the whole dataset; they are copied when a call is recorded. Lists are kept, and
what is None stays None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.graph.canonical import BOOL, TEXT, TOTAL, conjunction, take
from hepgraph.graph.form import Form, List, Option, Scalar, innermost, option
from hepgraph.graph.node import Literal, Node, Space, map_, node, space
from hepgraph.graph.ops import Table
from hepgraph.lazy.array import FUNCTIONS, HOOKS, NUMPY_FUNCTIONS, Lazy, attached, each, together
from hepgraph.lazy.broadcast import elementwise


def _table(values: Any, name: str, what: str) -> Table:
    """A plain array of a call as a table of one dimension."""
    if isinstance(values, Lazy):
        raise UnsupportedError(
            f"{name} is recorded with {what} that are the same for all events, a NumPy array or a list, not a lazy "
            "array. If they are another in each event, use hg.map_partitions(function, ...)."
        )
    array = _plain(values, name)
    if array.ndim != 1:
        raise ShapeError(f"{name}: {what} must have one dimension, not {array.ndim}")
    return Table(array)


def _plain(values: Any, name: str) -> Any:
    try:
        array = ak.to_numpy(values, allow_missing=False) if isinstance(values, ak.Array) else np.asarray(values)
    except ValueError as error:
        raise ShapeError(
            f"{name}: a table must have the same number of values everywhere, and no None: {error}"
        ) from error
    if array.dtype.kind not in "biufcUT":
        raise UnsupportedError(f"{name}: a table must hold numbers or strings, not {array.dtype}")
    return array


def digitize(x: Any, bins: Any, right: bool = False) -> Lazy:
    """The number of the bin that each value is in."""
    table = _table(bins, "numpy.digitize", "bins")
    np.digitize(0, table.values)  # raises if they are not in order
    return each("digitize", [x], table, bool(right))


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Lazy:
    """The place of each value in a sorted table."""
    table = _table(a, "numpy.searchsorted", "sorted values")
    if sorter is not None:
        table = Table(table.values[np.asarray(sorter)])
    return each("searchsorted", [v], table, side)


def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> Lazy:
    """Whether each value is one of some."""
    if isinstance(test_elements, set | frozenset):
        raise UnsupportedError("numpy.isin takes a set for one object, which nothing equals; write list(values)")
    if not isinstance(test_elements, Lazy):
        test_elements = np.ravel(_plain(test_elements, "numpy.isin"))
    return each("isin", [element], _table(test_elements, "numpy.isin", "values"), bool(invert))


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Lazy:
    """The function through some points, linear between them, at each value."""
    points = [_table(part, "numpy.interp", "points") for part in (xp, fp)]
    np.interp(0.0, points[0].values, points[1].values)  # raises if they do not belong together
    ends = (None if end is None else Literal(end, (type(end).__name__, repr(end))) for end in (left, right, period))
    return each("interp", [x], *points, *ends)


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Lazy:
    """The choice of the first condition that is true, for each element; None where any of them is."""
    conditions, choices = list(condlist), list(choicelist)
    if len(conditions) != len(choices) or not conditions:
        raise ValueError("list of cases must be same length as list of conditions")  # as NumPy says it
    lazy = next(part for part in [*conditions, *choices] if isinstance(part, Lazy))

    def known(part: Any) -> Any:
        return attached(part, lazy) if _is_array(part) and not isinstance(part, Lazy) else part

    conditions, choices = [known(part) for part in conditions], [known(part) for part in [*choices, default]]
    for i, part in enumerate(conditions):
        if _dtype(part) != BOOL:
            raise TypeError(f"invalid entry {i} in condlist: should be boolean ndarray")
    kinds = [part if type(part) in (int, float, complex) else _dtype(part) for part in choices]
    dtype = TEXT if TEXT in kinds else np.result_type(*kinds)
    *values, result = [_typed(part, dtype) for part in choices]
    for test, value in zip(reversed(conditions), reversed(values), strict=True):
        forms, rows, guard = together([lazy, test, value, result])
        result = Lazy(elementwise("where", forms[1:], rows, guard), rows, guard)
    return result  # type: ignore[no-any-return]


def _is_array(part: Any) -> bool:
    return isinstance(part, ak.Array | list | tuple) or (isinstance(part, np.ndarray) and part.ndim > 0)


def _dtype(part: Any) -> np.dtype[Any]:
    if not isinstance(part, Lazy):
        return TEXT if isinstance(part, str) else np.asarray(part).dtype
    form = innermost(part._form)
    if not isinstance(form, Scalar):
        raise UnsupportedError("numpy.select chooses between numbers or strings, not records; use ak.where")
    return form.node.dtype


def _typed(part: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(part, Lazy):
        return part if _dtype(part) == dtype else FUNCTIONS[ak.values_astype](part, dtype)
    return part if dtype == TEXT else np.asarray(part).astype(dtype)[()]


def lookup(table: Any, *index: Any) -> Any:
    """The values of a table at the places that integers say: `table[index]`, or `table[i, j]`, for lazy integers.

    Lists are kept, so that each jet gets its scale factor. Negative integers count from the end, as in NumPy. The place
    of a number in a table with bins is `np.clip(np.digitize(x, edges) - 1, 0, len(edges) - 2)`, where the first and the
    last bin also stand for what is below and above.

    Parameters
    ----------
    table : array-like
        NumPy array, awkward array without lists of different lengths, or list: one for the whole dataset.
    *index : array of int
        Array of integers for each dimension of the table; numbers per event go with those of its jets.

    Returns
    -------
    Lazy or ak.Array
        The values, None where an index is None; computed at once if no index is lazy.

    Raises
    ------
    UnsupportedError
        For an index that has no integers.
    RangeError
        While running, if an index that is not cut away is outside of the table.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak, numpy as np
    >>> flavour = hg.from_awkward(ak.Array([[0, 2], [], [-1]]))
    >>> hg.lookup(np.array([1.0, 0.9, 0.8]), flavour).compute().to_list()
    [[1.0, 0.8], [], [0.8]]
    >>> pt, edges = hg.from_awkward(ak.Array([[15.0, 35.0], [250.0]])), [20.0, 30.0, 50.0, 100.0]
    >>> place = np.clip(np.digitize(pt, edges) - 1, 0, len(edges) - 2)
    >>> hg.lookup(np.array([0.9, 1.0, 1.1]), place).compute().to_list()
    [[0.9, 1.0], [1.1]]
    """
    values = _plain(table, "hg.lookup")
    if len(index) != values.ndim:
        raise ShapeError(f"hg.lookup: a table of {values.ndim} dimensions needs as many indices, not {len(index)}")
    if any(isinstance(part, Lazy) and part._varies for part in index):
        return HOOKS["follow"](lookup, table, *index)
    for part in index:
        _check_integers(part)
    if not any(isinstance(part, Lazy) for part in index):
        return _at_once(values, index)
    place = _place(index, values.shape)
    own = Table(values)
    contents = node("table", (), space("table", TOTAL, (), own), own.values.dtype, own)
    return Lazy(_looked_up(place._form, place._rows, contents, place._guard), place._rows, place._guard)


def _check_integers(part: Any) -> None:
    """Raises UnsupportedError for an index of other numbers."""
    flat = ak.to_numpy(ak.flatten(part, axis=None)) if _is_array(part) and not isinstance(part, Lazy) else part
    dtype = _dtype(flat)
    if dtype.kind in "iu" or (isinstance(flat, np.ndarray) and not flat.size):
        return
    advice = ""
    if dtype.kind == "f":
        advice = " The bins that numbers are in are integers: np.clip(np.digitize(x, edges) - 1, 0, len(edges) - 2)."
    raise UnsupportedError(f"hg.lookup: an index must be of integers, not {dtype}.{advice}")


def _at_once(values: Any, index: Sequence[Any]) -> Any:
    """The values of a table at the places that eager arrays say."""
    if not any(map(_is_array, index)):
        return values[tuple(index)]

    def leaf(layouts: Sequence[Any], **_: Any) -> Any:
        if all(layout.is_numpy for layout in layouts):
            places = [np.asarray(layout.data) for layout in layouts[1:]]
            return ak.contents.NumpyArray(values[tuple(each if each.size else each.astype(int) for each in places)])
        return None

    arrays = ak.broadcast_arrays(*index)
    return ak.transform(leaf, arrays[0], *arrays)


def _place(index: Sequence[Any], shape: Sequence[int]) -> Any:
    """One index into the flattened table; beyond its end where one of them is out of its own range."""
    first, *others = [_signed(part, size) for part, size in zip(index, shape, strict=True)]
    if not others:
        return first
    place = first + (first < 0) * np.int64(shape[0])
    inside = (place >= 0) & (place < shape[0])
    for part, size in zip(others, shape[1:], strict=True):
        own = part + (part < 0) * np.int64(size)
        inside = inside & (own >= 0) & (own < size)
        place = place * size + own
    end = np.prod(shape, dtype=np.int64)
    return (place - end) * inside + end


def _signed(part: Any, size: int) -> Any:
    """Integers that may be negative; unsigned ones that are too large for that are out of range anyway."""
    if not isinstance(part, Lazy):
        return ak.values_astype(part, np.int64) if _is_array(part) else int(part)
    if _dtype(part).kind == "u":
        part = np.minimum(part, np.asarray(size).astype(_dtype(part))) if size <= np.iinfo(_dtype(part)).max else part
    return FUNCTIONS[ak.values_astype](part, np.int64)


def _looked_up(form: Form, at: Space, contents: Node, guard: tuple[Node, ...]) -> Form:
    """The values where the integers of a form lead, which must be inside in rows that pass the guard."""
    match form:
        case Option(valid, content):
            return option(valid, _looked_up(content, at, contents, (*guard, valid)))
        case List(s, content, size):
            return List(s, _looked_up(content, s, contents, guard), size)
        case Scalar(x):
            assert contents.space is not None
            must = conjunction(guard, at)
            return Scalar(take(map_("gather", at, contents.space, (x, must), True), contents))
    raise UnsupportedError("hg.lookup: an index must be of integers, not of records")


for _numpy, _rule in ((np.digitize, digitize), (np.searchsorted, searchsorted), (np.isin, isin), (np.interp, interp),
                      (np.select, select)):  # fmt: skip
    NUMPY_FUNCTIONS[_numpy] = _rule

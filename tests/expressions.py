"""Random programs of single operations on arrays: the values there are, and each operation as text and function.

An operation is done twice by who runs the program: to an eager array and to its lazy twins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np
from drawing import Tape

import hepgraph as hg


@dataclass
class Value:
    """An eager array and its lazy twins, one for each partitioning; `rows` tells which cuts were applied."""

    eager: Any
    lazy: tuple[Any, ...]
    rows: int
    text: str

    @property
    def depth(self) -> int:
        return shape_of(self.eager.layout)[0]

    @property
    def leaf(self) -> str:
        return shape_of(self.eager.layout)[1]


def shape_of(layout: Any) -> tuple[int, str]:
    """The list levels of a layout, and what is below: b, i, u, f, or `rec`."""
    depth = 0
    while True:
        if layout.is_record:
            return depth, "rec"
        if layout.is_numpy:
            return depth, layout.dtype.kind
        if layout.is_union or layout.is_unknown:
            return depth, "?"
        depth += layout.is_list
        layout = layout.content


def has_missing_lists(layout: Any) -> bool:
    """Whether there may be None in the place of a list below the rows."""
    found = []
    ak.transform(
        lambda part, depth, **_: found.append(depth > 1 and part.is_option and shape_of(part)[0] > 0) or None,
        ak.Array(layout),
        return_value="none",
    )
    return any(found)


@dataclass
class Program:
    """The values that there are so far, and the choices still to be made."""

    tape: Tape
    values: list[Value]
    totals: list[Value] = field(default_factory=list)
    cuts: int = 0
    log: list[str] = field(default_factory=list)

    def pick(self, test: Callable[[Value], bool] = lambda v: True, rows: int | None = None) -> Value | None:
        """A value that passes a test; the newest are the likeliest."""
        found = [v for v in self.values if (rows is None or v.rows == rows) and test(v)]
        if not found:
            return None
        recent = found[-6:] if self.tape.below(3) else found
        return self.tape.of(recent)  # type: ignore[no-any-return]


Made = tuple[str, list[Value], Callable[..., Any]] | None
OPERATIONS: list[Callable[[Program], Made]] = []


def operation(rule: Callable[[Program], Made]) -> Callable[[Program], Made]:
    OPERATIONS.append(rule)
    return rule


def kw(options: dict[str, Any]) -> str:
    return "".join(f", {k}={v}" for k, v in options.items())


def is_number(v: Value) -> bool:
    return v.leaf in "biuf"


def is_list(v: Value) -> bool:
    return v.depth > 0


@operation
def field_of(p: Program) -> Made:
    a = p.pick(lambda v: v.leaf == "rec")
    if a is None:
        return None
    name = p.tape.of(ak.fields(a.eager))
    return f"{{}}[{name!r}]", [a], lambda x: x[name]


@operation
def unary(p: Program) -> Made:
    a = p.pick(is_number)
    if a is None:
        return None
    names = ["negative", "absolute", "sqrt", "floor", "isnan", "sign", "square", "logical_not", "invert", "isfinite"]
    f = getattr(np, p.tape.of(names))
    return f"np.{f.__name__}({{}})", [a], f


LITERALS: list[Any] = [2, 0, -1, 1.5, True, np.float32(2.5), np.int8(3), 0.0, 300, np.uint8(1)]
BINARY = [
    "add", "subtract", "multiply", "true_divide", "floor_divide", "remainder", "maximum", "minimum", "less", "greater",
    "less_equal", "greater_equal", "equal", "not_equal", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and",
    "logical_or", "hypot", "copysign",
]  # fmt: skip


@operation
def binary(p: Program) -> Made:
    a = p.pick(is_number)
    if a is None:
        return None
    f = getattr(np, p.tape.of(BINARY))
    b = p.pick(is_number, a.rows if p.tape.below(16) else None) if p.tape.below(3) else None
    if b is None:
        value = p.tape.of(LITERALS)
        if p.tape.below(2):
            return f"np.{f.__name__}({value!r}, {{}})", [a], lambda x: f(value, x)
        return f"np.{f.__name__}({{}}, {value!r})", [a], lambda x: f(x, value)
    return f"np.{f.__name__}({{}}, {{}})", [a, b], f


@operation
def compare(p: Program) -> Made:
    a = p.pick(is_number)
    if a is None:
        return None
    value = p.tape.of([0, 1, -0.5, 1.0, np.float32(1)])
    return f"({{}} > {value})", [a], lambda x: x > value


@operation
def astype(p: Program) -> Made:
    a = p.pick(lambda v: v.leaf in "biu")
    if a is None:
        return None
    kind = p.tape.of(["float32", "float64", "int8", "uint16", "int64", "bool"])
    return f"ak.values_astype({{}}, {kind!r})", [a], lambda x: ak.values_astype(x, kind)


@operation
def power(p: Program) -> Made:
    a = p.pick(is_number)
    if a is None:
        return None
    k = p.tape.of([2, 0.5, 3])
    return f"({{}} ** {k})", [a], lambda x: x**k


@operation
def mask_rows(p: Program) -> Made:
    m = p.pick(lambda v: v.leaf == "b" and v.depth == 0)
    if m is None:
        return None
    a = p.pick(lambda v: True, m.rows)
    assert a is not None
    return "{}[{}]", [a, m], lambda x, y: x[y]


@operation
def mask_lists(p: Program) -> Made:
    m = p.pick(lambda v: v.leaf == "b" and v.depth > 0)
    a = m and p.pick(lambda v: v.depth >= m.depth, m.rows)
    return None if a is None else ("{}[{}]", [a, m], lambda x, y: x[y])


@operation
def cut_by_own(p: Program) -> Made:
    a = p.pick(lambda v: v.depth > 0 and v.leaf in "iuf")
    if a is None:
        return None
    value = p.tape.of([0, 1, -1])
    return f"{{}}[{{}} > {value}]", [a, a], lambda x, y: x[y > value]


@operation
def sliced(p: Program) -> Made:
    a = p.pick(is_list)
    if a is None:
        return None
    cuts = [np.s_[:, :2], np.s_[:, 1:], np.s_[:, ::-1], np.s_[:, -2:], np.s_[:, :-1], np.s_[:, ::2], np.s_[:, 1:-1],
            np.s_[:, -3:2], np.s_[:, -2::-1], np.s_[:, 5:1:-2], np.s_[..., :1], np.s_[:, :0], np.s_[:, np.newaxis],
            np.s_[:, 2::2], np.s_[:, -3::2], np.s_[:, :, 1:], np.s_[:, 1:, ::-1], np.s_[::, 1:2]]  # fmt: skip
    cut = p.tape.of(cuts)
    return f"{{}}[{cut}]", [a], lambda x: x[cut]


@operation
def element(p: Program) -> Made:
    a = p.pick(is_list)
    if a is None:
        return None
    k = p.tape.of([0, -1, 1])
    need = k + 1 if k >= 0 else -k
    if p.tape.below(8) == 0:
        return f"{{}}[:, {k}]", [a], lambda x: x[:, k]
    return f"{{0}}[ak.num({{0}}) >= {need}][:, {k}]", [a], lambda x: x[ak.num(x) >= need][:, k]


AXES = [1, -1, 1, 2, None, -2, 0]
REDUCERS = ["sum", "prod", "any", "all", "min", "max", "argmin", "argmax", "count", "count_nonzero", "mean", "std",
            "var", "ptp"]  # fmt: skip


@operation
def reduction(p: Program) -> Made:
    a = p.pick(is_number)
    if a is None:
        return None
    name, axis = p.tape.of(REDUCERS), p.tape.of(AXES)
    options: dict[str, Any] = {}
    if axis is not None and p.tape.below(3) == 0:
        options["keepdims"] = True
    if p.tape.below(5) == 0 and not (axis is None and a.leaf == "b"):  # awkward's identity of booleans is wrong there
        options["mask_identity"] = bool(p.tape.below(2))
    if name in ("std", "var") and p.tape.below(2):
        options["ddof"] = 1
    f = getattr(ak, name)
    return f"ak.{name}({{}}, axis={axis}{kw(options)})", [a], lambda x: f(x, axis=axis, **options)


@operation
def num(p: Program) -> Made:
    a = p.pick()
    if a is None:
        return None
    axis = p.tape.of([1, -1, 2, 0])
    return f"ak.num({{}}, axis={axis})", [a], lambda x: ak.num(x, axis=axis)


@operation
def combinations(p: Program) -> Made:
    a = p.pick(is_list)
    if a is None:
        return None
    n, axis, replacement = p.tape.of([2, 3]), p.tape.of([1, 1, 2, -1]), p.tape.below(4) == 0
    f = p.tape.of([ak.combinations, ak.argcombinations])
    fields = p.tape.of([None, ["a", "b", "c"][:n]])
    text = f"ak.{f.__name__}({{}}, {n}, axis={axis}, replacement={replacement}, fields={fields})"
    return text, [a], lambda x: f(x, n, axis=axis, replacement=replacement, fields=fields)


@operation
def cartesian(p: Program) -> Made:
    a = p.pick(is_list)
    b = a and p.pick(is_list, a.rows)
    if a is None or b is None:
        return None
    f = p.tape.of([ak.cartesian, ak.cartesian, ak.argcartesian])
    nested = p.tape.of([None, True])
    return (
        f"ak.{f.__name__}({{{{'a': {{}}, 'b': {{}}}}}}, nested={nested})",
        [a, b],
        (lambda x, y: f({"a": x, "b": y}, nested=nested)),
    )


@operation
def zipped(p: Program) -> Made:
    a = p.pick()
    b = a and p.pick(rows=a.rows)
    if a is None or b is None:
        return None
    limit = p.tape.of([None, 1, 2])
    outside = bool(p.tape.below(2))
    return (
        f"ak.zip({{{{'p': {{}}, 'q': {{}}}}}}, depth_limit={limit}, optiontype_outside_record={outside})",
        [a, b],
        (lambda x, y: ak.zip({"p": x, "q": y}, depth_limit=limit, optiontype_outside_record=outside)),
    )


@operation
def with_field(p: Program) -> Made:
    a = p.pick(lambda v: v.leaf == "rec")
    b = a and p.pick(is_number, a.rows)
    if a is None or b is None:
        return None
    name = p.tape.of(["new", *ak.fields(a.eager)])
    return f"ak.with_field({{}}, {{}}, {name!r})", [a, b], lambda x, y: ak.with_field(x, y, name)


def drops_deeper(layout: Any, axis: int) -> bool:
    """Whether awkward's drop_none, a fault of its own, drops what is None further in: at the axis nothing may be."""
    while axis > 0 and hasattr(layout, "content"):
        axis -= layout.is_list
        layout = layout.content
    return axis == 0 and not layout.is_option and has_options(layout)


def has_options(layout: Any) -> bool:
    """Whether there may be None anywhere in a layout."""
    if layout.is_option:
        return True
    contents = layout.contents if layout.is_record else [] if layout.is_numpy or layout.is_unknown else [layout.content]
    return any(map(has_options, contents))


@operation
def simple(p: Program) -> Made:
    """Functions of one array."""
    a = p.pick()
    if a is None:
        return None
    axis = p.tape.of([1, 0, -1, 2])
    name = p.tape.of(["firsts", "singletons", "flatten", "local_index", "is_none", "drop_none"])
    f = getattr(ak, name)
    if name == "drop_none" and drops_deeper(a.eager.layout, axis):
        return None
    return f"ak.{name}({{}}, axis={axis})", [a], lambda x: f(x, axis=axis)


@operation
def sorting(p: Program) -> Made:
    a = p.pick(lambda v: is_number(v) and is_list(v) and not has_missing_lists(v.eager.layout))  # awkward moves those
    if a is None:
        return None
    axis, ascending = p.tape.of([1, -1, 2]), bool(p.tape.below(2))
    f = p.tape.of([ak.sort, ak.argsort])
    return (
        f"ak.{f.__name__}({{}}, axis={axis}, ascending={ascending})",
        [a],
        (lambda x: f(x, axis=axis, ascending=ascending)),
    )


@operation
def padded(p: Program) -> Made:
    a = p.pick(is_list)
    if a is None:
        return None
    n, axis, clip = p.tape.of([2, 3, 0, 1]), p.tape.of([1, -1, 2]), bool(p.tape.below(2))
    return f"ak.pad_none({{}}, {n}, axis={axis}, clip={clip})", [a], lambda x: ak.pad_none(x, n, axis=axis, clip=clip)


@operation
def filled(p: Program) -> Made:
    a = p.pick()
    if a is None:
        return None
    value, axis = p.tape.of([0, -1.5, True, np.float32(1.5)]), p.tape.of([-1, None, 0, 1])
    return f"ak.fill_none({{}}, {value!r}, axis={axis})", [a], lambda x: ak.fill_none(x, value, axis=axis)


@operation
def masked(p: Program) -> Made:
    m = p.pick(lambda v: v.leaf == "b")
    a = m and p.pick(lambda v: True, m.rows)
    if m is None or a is None:
        return None
    when = bool(p.tape.below(2))
    return f"ak.mask({{}}, {{}}, valid_when={when})", [a, m], lambda x, y: ak.mask(x, y, valid_when=when)


@operation
def where(p: Program) -> Made:
    m = p.pick(lambda v: v.leaf in "bif")
    a = m and p.pick(is_number, m.rows)
    if m is None or a is None:
        return None
    b = p.pick(is_number, m.rows) if p.tape.below(2) else None
    if b is None:
        value = p.tape.of(LITERALS)
        return f"ak.where({{}}, {{}}, {value!r})", [m, a], lambda c, x: ak.where(c, x, value)
    return "ak.where({}, {}, {})", [m, a, b], ak.where


@operation
def constant(p: Program) -> Made:
    a = p.pick(is_number)
    if a is None:
        return None
    f, dtype = p.tape.of([ak.ones_like, ak.zeros_like]), p.tape.of(["bool", "bool", "int64", "float32"])
    return f"ak.{f.__name__}({{}}, dtype={dtype!r})", [a], lambda x: f(x, dtype=dtype)


@operation
def joined(p: Program) -> Made:
    a = p.pick(is_list)
    b = a and p.pick(lambda v: (v.leaf == "rec") == (a.leaf == "rec") and v.depth >= 1, a.rows)
    if a is None or b is None:
        return None
    axis = p.tape.of([1, 1, 2, -1])
    return f"ak.concatenate([{{}}, {{}}], axis={axis})", [a, b], lambda x, y: ak.concatenate([x, y], axis=axis)


@operation
def best(p: Program) -> Made:
    """The element of each list where a key is largest."""
    a = p.pick(lambda v: v.depth == 1)
    key = a and p.pick(lambda v: v.depth == 1 and is_number(v), a.rows)
    if a is None or key is None:
        return None
    f = p.tape.of([ak.argmax, ak.argmin])
    return f"{{}}[ak.{f.__name__}({{}}, axis=1, keepdims=True)]", [a, key], lambda x, y: x[f(y, axis=1, keepdims=True)]


@operation
def ordered(p: Program) -> Made:
    a = p.pick(lambda v: v.depth == 1)
    key = a and p.pick(lambda v: v.depth == 1 and is_number(v), a.rows)
    return None if key is None else ("{}[ak.argsort({}, axis=1)]", [a, key], lambda x, y: x[ak.argsort(y, axis=1)])


@operation
def indexed(p: Program) -> Made:
    index = p.pick(lambda v: v.depth > 0 and v.leaf in "iu")
    a = index and p.pick(lambda v: v.depth >= index.depth, index.rows)
    return None if a is None else ("{}[{}]", [a, index], lambda x, y: x[y])


@operation
def by_local_index(p: Program) -> Made:
    a = p.pick(is_list)
    if a is None:
        return None
    makers = [lambda y: y[:, ::-1], lambda y: y[:, 1:], lambda y: ak.argcombinations(y, 2)["0"]]
    if a.eager.layout.is_regular:  # eager lists of one size stay so when cut, and then index as NumPy does
        del makers[1]
    f = p.tape.of(makers)
    return "{0}[g(ak.local_index({0}, axis=1))]", [a], lambda x: x[f(ak.local_index(x, axis=1))]


@operation
def broadcast(p: Program) -> Made:
    a = p.pick(is_number)
    b = a and p.pick(is_number, a.rows)
    if b is None:
        return None
    k = p.tape.below(2)
    return f"ak.broadcast_arrays({{}}, {{}})[{k}]", [a, b], lambda x, y: ak.broadcast_arrays(x, y)[k]


@operation
def rows_slice(p: Program) -> Made:
    a = p.pick(lambda v: v.rows == 0)
    cut = p.tape.of([np.s_[1:], np.s_[:3], np.s_[::2], np.s_[-3:], np.s_[1:-1:2]])
    return None if a is None else (f"{{}}[{cut}]", [a], lambda x: x[cut])


def outside_of(f: Callable[..., Any], x: Any) -> Any:
    """The result of a function of arrays: recorded for a lazy one."""
    return hg.map_partitions(f, x) if isinstance(x, hg.Lazy) else f(x)


def by_element(f: Callable[..., Any], x: Any) -> Any:
    """The result of a function of NumPy's for each number, in whatever lists."""
    if isinstance(x, hg.Lazy):
        return f(x)
    return ak.transform(lambda layout, **_: ak.contents.NumpyArray(f(layout.data)) if layout.is_numpy else None, x)


def _scaled(x: Any) -> Any:
    return x * 2 + 1


@operation
def outside(p: Program) -> Made:
    """A function that the graph does not know, alone and beside the lists that it was given."""
    a = p.pick(lambda v: v.leaf in "iuf")
    if a is None:
        return None
    uses: list[tuple[str, Callable[..., Any]]] = [
        ("g({0})", lambda x: outside_of(_scaled, x)),
        ("({0} * g({0}))", lambda x: x * outside_of(_scaled, x)),
        ("(g({0}) - {0})", lambda x: outside_of(_scaled, x) - x),
        ("ak.zip({{'p': {0}, 'q': g({0})}})", lambda x: ak.zip({"p": x, "q": outside_of(_scaled, x)})),
    ]
    text, f = p.tape.of(uses)
    return text, [a], f


@operation
def cut_by_outside(p: Program) -> Made:
    """A selection of lists by what a function returned for one of their fields."""
    a = p.pick(lambda v: v.depth == 1 and v.leaf in "iuf")
    lengths = a and ak.num(a.eager).to_list()  # by masks of other lengths, awkward slices doubtfully
    b = a and p.pick(lambda v: v.depth > 0 and ak.num(v.eager).to_list() == lengths, a.rows)
    return None if b is None else ("{}[g({}) > 1]", [b, a], lambda x, y: x[outside_of(_scaled, y) > 1])


@operation
def slices_of_two(p: Program) -> Made:
    a = p.pick(lambda v: is_list(v) and is_number(v) and v.leaf != "b")
    b = a and p.pick(lambda v: is_list(v) and is_number(v) and v.leaf != "b", a.rows)
    if a is None or b is None:
        return None
    how = p.tape.below(3)
    if how == 0:
        return "({0}[:, 1:] - {0}[:, :-1])", [a], lambda x: x[:, 1:] - x[:, :-1]
    if how == 1:
        return "({}[:, :1] + {}[:, :1])", [a, b], lambda x, y: x[:, :1] + y[:, :1]
    return "({}[:, ::2] - {}[:, ::2])", [a, b], lambda x, y: x[:, ::2] - y[:, ::2]


@operation
def by_table(p: Program) -> Made:
    """NumPy's functions of numbers and a table."""
    a = p.pick(is_number)
    if a is None:
        return None
    uses: list[tuple[str, Callable[..., Any]]] = [
        ("np.digitize({}, [0, 1, 2])", lambda x: np.digitize(x, [0, 1, 2])),
        ("np.searchsorted([0, 1, 2], {}, 'right')", lambda x: np.searchsorted([0, 1, 2], x, "right")),
        ("np.isin({}, [0, 1, 2])", lambda x: np.isin(x, [0, 1, 2])),
        ("np.interp({}, [0, 1, 3], [1, 5, 2])", lambda x: np.interp(x, [0, 1, 3], [1, 5, 2])),
        ("np.select([{0} > 1, {0} < 0], [{0}, 2], 0.5)", lambda x: np.select([x > 1, x < 0], [x, 2], 0.5)),
    ]
    text, f = p.tape.of(uses)
    return text, [a], lambda x: by_element(f, x)


@operation
def looked_up(p: Program) -> Made:
    a = p.pick(lambda v: v.leaf in "iu")
    if a is None:
        return None
    table = np.array([1.5, -2.0, 4.0, 0.0])
    if p.tape.below(8) == 0:
        return "hg.lookup(t, {})", [a], lambda x: hg.lookup(table, x)
    return "hg.lookup(t, {} % 4)", [a], lambda x: hg.lookup(table, x % 4)


@operation
def runs(p: Program) -> Made:
    """Lists as lists of the numbers that follow one another and are equal."""
    a = p.pick(lambda v: v.depth == 1 and v.leaf in "iu" and "?" not in str(ak.type(v.eager)))
    if a is None or "option" in str(ak.type(a.eager)):
        return None
    return (
        "ak.unflatten({0}, ak.flatten(ak.run_lengths({0})), axis=1)",
        [a],
        lambda x: ak.unflatten(x, ak.flatten(ak.run_lengths(x)), axis=1),
    )

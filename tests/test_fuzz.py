"""Random programs on random data: a lazy array must give what eager awkward gives, in any partitioning, or refuse.

A program is drawn as bytes (a `Tape`): each byte chooses the next operation or operand, so that a failing example
shrinks to a short one. Every operation is done twice, to an eager array and to its lazy twin. HEPGRAPH_FUZZ multiplies
the number of examples.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np
from agreement import check
from drawing import Tape, everything
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import HepgraphError
from hepgraph.kernel import native

EXAMPLES = int(250 * float(os.environ.get("HEPGRAPH_FUZZ", "1")))
PARTITIONS = (1, 2, 7)
# what NumPy and the C library give differs by some ulp; of 0.0 and -0.0, NumPy's maximum is one or the other
ROUGH = r"hypot|\*\* (0\.5|3)"
LEVELS = (0, 2)  # how much a kernel is optimised, in turn

# Where a lazy array may refuse although eager awkward has an answer: the operation, the message, the reason in a word.
REFUSALS = [
    (".*", "cut by different masks|rows of these arrays are not the same", "rows do not correspond"),
    (".*", "These lists do not go together", "elements do not correspond"),
    (".*", "whole dataset|same place in different events", "needs all partitions at once"),
    ("ak.concatenate", "booleans and numbers", "awkward mixes them only if there is a None"),
    ("ak.firsts", "first row of a dataset", "one row of the whole dataset"),
    (r"\[", "same fixed length, and awkward takes", "such a slice would pick rows"),
    (".*", "leave out keepdims", "one number of the whole dataset"),
    (".*", "whose fields differ in depth", "the axis is another level in each field"),
    ("is_none|singletons", "no record here is None", "awkward looks at how the records are stored"),
    (".*", "every row with every row", "every row would be paired with every row"),
    ("ak.concatenate", "needs lists at that depth", "lists in the fields of records"),
    ("drop_none", "in the fields of a record", "records would be torn apart"),
    ("ak.where", "missing lists", "awkward looks at what is stored below a None"),
]
# Where a lazy array has an answer although eager awkward has none.
PERMITTED: list[tuple[str, str, str]] = [
    (".*", "cannot slice RegularArray .of length .*index out of range", "awkward fails on no elements"),
    (r"\[", "negative dimensions", "awkward fails to slice lists of a fixed length"),
    ("ak.mask", "cannot broadcast NumpyArray", "awkward fails on masks with lists of a fixed length"),
    ("ak.zip", "cannot broadcast .*Array of length", "awkward fails to zip lists of a fixed length and values"),
    ("broadcast_arrays", "cannot broadcast nested list", "nothing looks at the other array"),
    (r"\[", "boolean index did not match", "awkward forgets where a slice of an array begins"),
    ("drop_none", r"stops.i. > len.content", "awkward fails on lists that are missing"),
    (r"\[", "cannot fit jagged slice with length . into .* of size 0", "awkward fails on no events"),
]

refused: Counter[str] = Counter()


# programs


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
    value = p.tape.of([0, 1, -0.5])
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


@operation
def simple(p: Program) -> Made:
    """Functions of one array."""
    a = p.pick()
    if a is None:
        return None
    axis = p.tape.of([1, 0, -1, 2])
    name = p.tape.of(["firsts", "singletons", "flatten", "local_index", "is_none", "drop_none"])
    f = getattr(ak, name)
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
    f = p.tape.of([lambda y: y[:, ::-1], lambda y: y[:, 1:], lambda y: ak.argcombinations(y, 2)["0"]])
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


# running


def step(p: Program) -> None:
    """One operation, on the eager array and on its lazy twins."""
    made = p.tape.of(OPERATIONS)(p)
    if made is None:
        return
    text, operands, f = made
    text = text.format(*(v.text for v in operands), *("?" for _ in range(2)))
    if len(text) > 400:
        return
    eager, error = None, None
    try:
        eager = f(*(v.eager for v in operands))
    except Exception as e:
        error = e
    if isinstance(eager, ak.Array) and (has_union(eager.layout) or ak.validity_error(eager)):
        return  # a union has no lazy form, and some functions of awkward give arrays that are not valid
    if text.endswith("]") and len(operands) == 2 and doubtful(operands[0].eager, operands[1].eager):
        return
    try:
        lazy = [f(*(v.lazy[i] for v in operands)) for i in range(len(PARTITIONS))]
    except HepgraphError as refusal:
        if error is None:
            allowed(REFUSALS, text, refusal, f"refused: {text}\n eager gives {ak.type(eager)} {eager}")
        return
    except Exception as e:
        if error is None or type(e) is not type(error):
            raise AssertionError(f"internal error in {text}: {e!r}\neager: {error!r}") from e
        return
    if error is not None:
        for x in lazy:
            try:
                got = x.compute(executor="serial", engine="interpreter", progress=False)
            except Exception:
                return
        allowed(PERMITTED, text, error, f"eager raises where lazy gives {got}: {text}\n{error!r}")
        return
    if lazy[0]._rows.kind == "total":
        p.totals.append(Value(eager, tuple(lazy), -1, text))
        return
    if not isinstance(eager, ak.Array):
        raise AssertionError(f"{text}: eager gives {eager!r}, lazy {lazy[0]!r}")
    rows = operands[0].rows
    if lazy[0]._guard != operands[0].lazy[0]._guard or lazy[0]._rows is not operands[0].lazy[0]._rows:
        p.cuts += 1
        rows = p.cuts
    p.values.append(Value(eager, tuple(lazy), rows, text))
    if rows == p.cuts and rows and p.tape.below(2):  # others cut in the same way
        same = [v for v in p.values[:-1] if v.rows == operands[-1].rows][-4:]
        if len(operands) == 2 and text.endswith(f"[{operands[1].text}]"):
            m = operands[1]
            for v in same if m.depth == 0 else []:
                cut = [a[b] for a, b in zip(v.lazy, m.lazy, strict=True)]
                p.values.append(Value(v.eager[m.eager], tuple(cut), rows, f"{v.text}[{m.text}]"))


def doubtful(array: ak.Array, index: ak.Array) -> bool:
    """Whether awkward itself slices doubtfully: by masks of other lengths, or by None where lists are missing."""
    x, i = array.layout, index.layout
    if shape_of(x)[0] == 0 or shape_of(i)[0] == 0:
        return False
    optional, missing = False, False
    while True:
        optional |= i.is_option
        if i.is_option or i.is_indexed:
            i = i.content
        elif not i.is_list:
            break
        else:
            while x.is_option or x.is_indexed:
                missing |= x.is_option
                x = x.content
            if not x.is_list:
                break
            missing |= optional
            x, i = x.content, i.content
    uneven = ak.num(array).to_list() != ak.num(index).to_list()
    return (optional and missing) or ((optional or missing or shape_of(index.layout)[1] == "b") and uneven)


def has_missing_lists(layout: Any) -> bool:
    """Whether there may be None in the place of a list below the rows."""
    found = []
    ak.transform(
        lambda part, depth, **_: found.append(depth > 1 and part.is_option and shape_of(part)[0] > 0) or None,
        ak.Array(layout),
        return_value="none",
    )
    return any(found)


def has_union(layout: Any) -> bool:
    """Whether there is a union in a layout."""
    found = []
    ak.transform(lambda layout, **_: found.append(layout.is_union) or None, ak.Array(layout), return_value="none")
    return any(found)


def allowed(table: list[tuple[str, str, str]], text: str, error: Exception, message: str) -> None:
    """Passes if an error is one of those of a table, and counts it."""
    for call, pattern, reason in table:
        if re.search(call, text) and re.search(pattern, str(error)):
            refused[reason] += 1
            return
    raise AssertionError(f"{message}\n{error!r}")


def close(eager: Any, lazy: Any) -> bool:
    """Whether two numbers agree up to the order of a sum."""
    if isinstance(eager, ak.Array | ak.Record) or isinstance(lazy, ak.Array | ak.Record):
        return repr(eager) == repr(lazy)
    if eager is None or lazy is None:
        return eager is lazy
    a, b = np.asarray(eager), np.asarray(lazy)
    scale = 1e-4 if a.dtype == np.float32 else 1e-9
    return a.dtype == b.dtype and bool(np.isclose(a, b, rtol=scale, atol=scale, equal_nan=True))


def run(seed: int, n: int, tape: bytes) -> None:
    """One program on one dataset, in several partitionings, and every second time by the kernel, too."""
    with np.errstate(all="ignore"):
        data = everything(seed, n)
        events = [hg.from_awkward(data, npartitions=k) for k in PARTITIONS]
        values = [Value(data[name], tuple(e[name] for e in events), 0, name) for name in data.fields]
        p = Program(Tape(tape), values)
        while not p.tape.done:
            step(p)
        new = p.values[len(data.fields) :]
        places = range(len(PARTITIONS))
        kernel = [(seed % len(PARTITIONS), "kernel")] if seed % 2 == 0 else []
        for i, engine in [*((i, "interpreter") for i in places), *kernel]:
            tree = [[v.lazy[i] for v in new], [v.lazy[i] for v in p.totals]]
            try:
                arrays, totals = hg.compute(tree, executor="serial", engine=engine, progress=False)
            except Exception as error:
                error.add_note("\n".join(v.text for v in new))
                raise
            for v, got in zip(new, arrays, strict=True):
                if engine == "kernel" and re.search(ROUGH, v.text):
                    continue
                try:
                    check(v.eager.layout, got.layout, v.text, signs=engine != "kernel" or "imum" not in v.text)
                except AssertionError as error:
                    raise AssertionError(
                        f"{v.text}, {PARTITIONS[i]} partitions, {engine}\n{error}\n"
                        f"eager {v.eager.type} {v.eager.to_list()}\n"
                        f"lazy  {got.type} {got.to_list()}"
                    ) from None
            for v, got in zip(p.totals, totals, strict=True):
                if engine == "kernel" and re.search(ROUGH, v.text):
                    continue
                assert close(v.eager, got), f"{v.text}: eager {v.eager!r}, lazy {got!r}"


@settings(max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1000), st.sampled_from([5, 0, 1, 2, 9]), st.binary(min_size=8, max_size=80))
def test_random_programs(seed: int, n: int, tape: bytes) -> None:
    native.LEVEL = LEVELS[seed // 2 % len(LEVELS)]
    try:
        run(seed, n, tape)
    finally:
        native.LEVEL = LEVELS[-1]

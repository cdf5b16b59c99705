"""Random programs for the kernel: cuts, combinations, reductions, picks, histograms of what comes out.

A program is drawn as bytes, as in `test_fuzz`. `programs_more` has the rules for options, deep lists and functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import hist
import numpy as np
from drawing import Tape

import hepgraph as hg
from hepgraph.graph.form import List, Record, Scalar


@dataclass
class World:
    """What there is of the events that passed some cuts: numbers of events, collections, numbers of their elements."""

    events: list[Any] = field(default_factory=list)
    collections: list[Any] = field(default_factory=list)
    elements: list[tuple[Any, Any]] = field(default_factory=list)  # with the collection that they are of


def kind(x: Any) -> str:
    """The kind of the numbers of a lazy array, or an empty string."""
    form = getattr(x, "_form", None)
    while isinstance(form, List):
        form = form.content
    return form.node.dtype.kind if isinstance(form, Scalar) else ""


def depth(x: Any) -> int:
    form, deep = x._form, 0
    while isinstance(form, List):
        form, deep = form.content, deep + 1
    return deep


class Program:
    """A program under way."""

    def __init__(self, tape: Tape, events: Any) -> None:
        self.tape = tape
        self.sinks: list[Any] = []
        self.log: list[str] = []
        self.grown: Counter[str] = Counter()
        world = World([events[name] for name in "xyiukqsb"], [events.jet, events.mu, events.el])
        self.worlds = [world]
        self.nested, self.text, self.deep = events.nn, events.t, events.nj
        self.missing = [events.o, events.oi]
        self.missing_lists = events.ol

    def paths(self, c: Any) -> list[tuple[str, ...]]:
        """The names of the numbers in the records of a collection."""
        found: list[tuple[str, ...]] = []

        def walk(form: Any, path: tuple[str, ...]) -> None:
            if isinstance(form, Record):
                for name in form:
                    walk(form[name], (*path, name))
            elif isinstance(form, Scalar):
                found.append(path)

        form = c._form
        while isinstance(form, List):
            form = form.content
        walk(form, ())
        return found

    def number_of(self, w: World, c: Any) -> Any:
        """A number of the elements of a collection."""
        own = [x for x, of in w.elements if of is c]
        if own and self.tape.below(2):
            return self.tape.of(own[-4:])
        paths = self.paths(c)
        if not paths:
            return self.tape.of(own) if own else None
        x = c
        for name in self.tape.of(paths):
            x = x[name]
        return x

    def any_number(self, w: World) -> tuple[Any, Any]:
        """A number of events, or of the elements of a collection."""
        if self.tape.below(3) == 0:
            return self.tape.of(w.events[-6:] if self.tape.below(2) else w.events), None
        c = self.tape.of(w.collections[-4:])
        return self.number_of(w, c), c

    def grows(self, what: str, most: int) -> bool:
        """Whether lists may be made longer once more; combinations of combinations of combinations fill the memory."""
        self.grown[what] += 1
        return self.grown[what] <= most

    def perhaps(self, x: Any, w: World, c: Any) -> Any:
        """The same number, or one that is None here and there."""
        return ak.mask(x, self.mask(w, c)) if self.tape.below(6) == 0 else x

    def add(self, w: World, x: Any, c: Any) -> None:
        if kind(x):
            (w.events.append(x) if c is None else w.elements.append((x, c)))

    def mask(self, w: World, c: Any) -> Any:
        """Booleans of the elements of a collection (or of events)."""
        x = self.number_of(w, c) if c is not None else self.tape.of(w.events[-8:])
        for _ in range(4):
            if x is None or kind(x) == "b":
                return x
            f = self.tape.of([np.greater, np.less, np.greater_equal, np.less_equal, np.not_equal])
            m = f(x, self.tape.of([0, 1, 2, -1.5, 4]))
            if self.tape.below(3):
                return m
            other = self.number_of(w, c) if c is not None else self.tape.of(w.events)
            x = m & other if kind(other) == "b" else m | (other > 1)
        return x


UNARY = [
    "negative",
    "absolute",
    "sqrt",
    "floor",
    "isnan",
    "square",
    "logical_not",
    "isfinite",
    "ceil",
    "rint",
    "invert",
    "trunc",
    "sign",
    "positive",
    "isinf",
]
ROUGH = ["sin", "exp", "cosh", "log", "arctan"]
BINARY = [
    "add",
    "subtract",
    "multiply",
    "true_divide",
    "floor_divide",
    "remainder",
    "maximum",
    "minimum",
    "less",
    "greater",
    "less_equal",
    "greater_equal",
    "equal",
    "not_equal",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "logical_and",
    "logical_or",
    "logical_xor",
    "copysign",
    "fmax",
    "fmin",
]
LITERALS: list[Any] = [2, 0, -1, 1.5, True, np.float32(2.5), np.int8(3), 0.0, 300, np.uint8(1), np.int64(-7), 1e-3]
STEPS: list[Callable[[Program, World], None]] = []


def rule(f: Callable[[Program, World], None]) -> Callable[[Program, World], None]:
    STEPS.append(f)
    return f


@rule
def unary(p: Program, w: World) -> None:
    x, c = p.any_number(w)
    p.add(w, getattr(np, p.tape.of(UNARY))(x), c)


@rule
def binary(p: Program, w: World) -> None:
    x, c = p.any_number(w)
    f = getattr(np, p.tape.of(BINARY))
    how = p.tape.below(4)
    y = p.tape.of(LITERALS) if how == 0 else p.tape.of(w.events) if how == 1 or c is None else p.number_of(w, c)
    p.add(w, f(x, y) if p.tape.below(2) else f(y, x), c)


@rule
def sums(p: Program, w: World) -> None:
    binary(p, w)


@rule
def where(p: Program, w: World) -> None:
    x, c = p.any_number(w)
    m = p.mask(w, c)
    y = p.number_of(w, c) if c is not None else p.tape.of(w.events)
    p.add(w, ak.where(m, x, y), c)


@rule
def casts(p: Program, w: World) -> None:
    x, c = p.any_number(w)
    to = p.tape.of(["float32", "float64", "int8", "uint16", "int64", "bool", "int32", "uint32"])
    if kind(x) == "f" and to not in ("float32", "float64", "bool"):
        x = np.where(abs(x) < 100, x, 0)  # beyond, C leaves the result open
        if to.startswith("u"):
            x = abs(x)
    p.add(w, ak.values_astype(x, to), c)


@rule
def cut_elements(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    m = p.mask(w, c)
    new = c[m]
    w.collections.append(new)
    for x, of in w.elements[-3:]:
        if of is c:
            w.elements.append((x[m], new))


@rule
def cut_again(p: Program, w: World) -> None:
    cut_elements(p, w)


@rule
def cut_events(p: Program, w: World) -> None:
    if len(p.worlds) > 4:
        return
    m = p.mask(w, None)
    new = World([x[m] for x in w.events[-5:]], [c[m] for c in w.collections[-4:]])
    at = {id(old): made for old, made in zip(w.collections[-4:], new.collections, strict=True)}
    new.elements = [(x[m], at[id(c)]) for x, c in w.elements[-4:] if id(c) in at]
    p.worlds.append(new)


@rule
def reduced(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-5:])
    x = p.number_of(w, c)
    name = p.tape.of(["sum", "any", "all", "min", "max", "prod", "count", "num", "count_nonzero"])
    if name == "num":
        w.events.append(ak.num(c, axis=1))
    elif name in ("min", "max"):
        p.add(w, getattr(ak, name)(x, axis=1, mask_identity=False), None)
    else:
        p.add(w, getattr(ak, name)(x, axis=1), None)


@rule
def reduced_again(p: Program, w: World) -> None:
    reduced(p, w)


@rule
def optional(p: Program, w: World) -> None:
    """The first, the least, or the average, with something in the place of None."""
    c = p.tape.of(w.collections[-4:])
    x = p.number_of(w, c)
    how = p.tape.below(4)
    found = [lambda: ak.firsts(x), lambda: ak.max(x, axis=1), lambda: ak.min(x, axis=1), lambda: ak.mean(x, axis=1)][
        how
    ]()
    p.add(w, ak.fill_none(found, p.tape.of([0, -1, 2.5])), None)


@rule
def best(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    key = p.number_of(w, c)
    f = p.tape.of([ak.argmax, ak.argmin])
    w.collections.append(c[f(key, axis=1, keepdims=True)])


@rule
def sliced(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    cut = p.tape.of([np.s_[:, :2], np.s_[:, 1:], np.s_[:, :1], np.s_[:, -1:], np.s_[:, ::2]])
    w.collections.append(c[cut])


@rule
def element(p: Program, w: World) -> None:
    if len(p.worlds) > 5:
        return
    c = p.tape.of(w.collections[-4:])
    k = p.tape.of([0, -1, 1])
    m = ak.num(c, axis=1) >= (k + 1 if k >= 0 else -k)
    one = c[m][:, k]
    new = World([x[m] for x in w.events[-3:]], [d[m] for d in w.collections[-3:]])
    for path in p.paths(c)[:5]:
        x = one
        for name in path:
            x = x[name]
        new.events.append(x)
    p.worlds.append(new)


@rule
def combinations(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    n = p.tape.of([2, 2, 3])
    if depth(c) == 1 and p.grows("pairs", 2):
        again = p.tape.below(5) == 0
        w.collections.append(ak.combinations(c, n, replacement=again, fields=["a", "b", "c"][:n]))


@rule
def products(p: Program, w: World) -> None:
    a, b = p.tape.of(w.collections[-4:]), p.tape.of(w.collections)
    if p.grows("pairs", 2):
        w.collections.append(ak.cartesian({"a": a, "b": b}))


@rule
def nested(p: Program, w: World) -> None:
    """A value for each element of one collection out of its pairs with those of another."""
    a, b = p.tape.of(w.collections[-4:]), p.tape.of(w.collections)
    pairs = ak.cartesian({"a": a, "b": b}, nested=True)
    x, y = pairs.a, pairs.b
    for path in (p.tape.of(p.paths(a) or [()]),):
        for name in path:
            x = x[name]
    for name in p.tape.of(p.paths(b) or [()]):
        y = y[name]
    if not kind(x) or not kind(y):
        return
    f = p.tape.of([np.subtract, np.equal, np.greater, np.maximum]) if "b" not in (kind(x), kind(y)) else np.not_equal
    z = f(x, y)
    how = p.tape.of(["any", "all", "sum", "min"])
    got = ak.min(z, axis=2, mask_identity=False) if how == "min" else getattr(ak, how)(z, axis=2)
    p.add(w, got, a)
    if kind(got) == "b":
        w.collections.append(a[got])


@rule
def joined(p: Program, w: World) -> None:
    a, b = p.tape.of(w.collections[-4:]), p.tape.of(w.collections[-5:])
    names = [name for name in a.fields if name in b.fields and name in ("pt", "eta", "mass", "charge", "id")]
    if len(names) > 1 and depth(a) == depth(b) == 1 and p.grows("parts", 1):
        parts = [ak.zip({name: x[name] for name in names}) for x in (a, b)]
        w.collections.append(ak.concatenate(parts, axis=1))


@rule
def looked_up(p: Program, w: World) -> None:
    """Elements of one collection at the places that numbers of another say."""
    a, b = p.tape.of(w.collections[-5:]), p.tape.of(w.collections[-5:])
    index = p.number_of(w, a)
    if index is None or kind(index) not in "iu":
        return
    n = ak.num(b, axis=1)
    ok = (index >= (-n if p.tape.below(2) else 0)) & (index < n)
    if p.tape.below(12):
        index = index[ok]
    w.collections.append(b[ak.values_astype(index, "int64")])


@rule
def added(p: Program, w: World) -> None:
    """A collection with one more field."""
    c = p.tape.of(w.collections[-4:])
    own = [x for x, of in w.elements if of is c]
    if own:
        w.collections.append(ak.with_field(c, p.tape.of(own), "new"))


@rule
def added_again(p: Program, w: World) -> None:
    added(p, w)


@rule
def positions(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    p.add(w, ak.local_index(c, axis=1), c)


@rule
def by_position(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    if not p.grows("pairs", 2):
        return
    pairs = ak.argcombinations(c, 2, fields=["a", "b"])
    w.collections.append(ak.zip({"a": c[pairs.a], "b": c[pairs.b]}))


@rule
def doubly(p: Program, w: World) -> None:
    x = p.nested
    if w is not p.worlds[0]:
        return
    how = p.tape.below(4)
    inner = x[x > 0] if how == 1 else x
    w.collections.append(inner) if how == 0 else None
    f = p.tape.of([ak.sum, ak.any, ak.max])
    got = f(inner, axis=2, mask_identity=False) if f is ak.max else f(inner, axis=2)
    w.events.append(ak.sum(got, axis=1) if kind(got) != "b" else ak.any(got, axis=1))


# results


def axes(p: Program, x: Any) -> Any:
    """An axis that takes a value."""
    if kind(x) == "b" and p.tape.below(2):
        return hist.axis.Boolean()
    real = [
        lambda: hist.axis.Regular(5, -2.5, 7.5), lambda: hist.axis.Variable([-10, -1.25, 0, 0.5, 3, 1e4]),
        lambda: hist.axis.Regular(3, 0, 1), lambda: hist.axis.Variable([-1, 0, 2]),
        lambda: hist.axis.Regular(4, -2, 6, flow=False), lambda: hist.axis.Variable([-1, 0, 2], overflow=False),
        lambda: hist.axis.Regular(4, -2, 6, circular=True),
    ]  # fmt: skip
    whole = [
        lambda: hist.axis.Integer(-2, 4), lambda: hist.axis.IntCategory([0, 1, -1, 4]),
        lambda: hist.axis.Integer(-2, 4, underflow=False), lambda: hist.axis.IntCategory([0, 2], overflow=False),
        lambda: hist.axis.IntCategory([], growth=True),
    ]  # fmt: skip
    return p.tape.of(real if kind(x) == "f" else real + whole + whole)()


def fill(p: Program, w: World) -> None:
    """A histogram, of up to three numbers and a string, perhaps with a weight, in any storage."""
    x, c = p.any_number(w)
    if not kind(x):
        return
    dims = [(axes(p, x), p.perhaps(x, w, c))]
    for _ in range(p.tape.of([0, 0, 1, 2])):
        y = p.tape.of(w.events) if c is None or p.tape.below(2) else p.number_of(w, c)
        if kind(y):
            dims.append((axes(p, y), y))
    if p.tape.below(5) == 0:
        name = p.tape.of(["one", "two", "other"])
        some = p.tape.of([["zero", "one", "two"], []])
        axis = hist.axis.StrCategory(some, growth=not some)
        dims.insert(p.tape.below(len(dims) + 1), (axis, name))
    elif p.text is not None and w is p.worlds[0] and p.tape.below(6) == 0:
        dims.append((hist.axis.StrCategory(["mu"], growth=bool(p.tape.below(2))), p.text))
    kinds = [hist.storage.Double, hist.storage.Weight, hist.storage.Int64, hist.storage.Double, hist.storage.Mean,
             hist.storage.WeightedMean]  # fmt: skip
    storage = p.tape.of(kinds)

    def number() -> Any:
        how = p.tape.below(3)
        return 0.25 if how == 0 else p.tape.of(w.events) if how == 1 or c is None else p.number_of(w, c)

    options = {}
    if storage is not hist.storage.Int64 and p.tape.below(2):
        options["weight"] = number()
    if storage in (hist.storage.Mean, hist.storage.WeightedMean):
        options["sample"] = number()
    h = hg.Hist(*(axis for axis, _ in dims), storage=storage())
    h.fill(*(value for _, value in dims), **options)
    p.sinks.append(h)


def total(p: Program, w: World) -> None:
    """A reduction over the dataset."""
    x, _c = p.any_number(w)
    if not kind(x):
        return
    name = p.tape.of(["sum", "any", "all", "min", "max", "num", "count_nonzero", "std"])
    p.sinks.append(ak.num(x, axis=0) if name == "num" else getattr(ak, name)(x, axis=None))


def array(p: Program, w: World) -> None:
    """Numbers, or a collection, as they are."""
    x, c = p.any_number(w)
    if not kind(x):
        return
    p.sinks.append(c if c is not None and p.tape.below(4) == 0 else p.perhaps(x, w, c))

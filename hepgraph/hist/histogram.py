"""Histograms: `hist.Hist` whose fills with lazy arrays are recorded.

Fills with eager arrays work as in hist. Fills with lazy ones wait until `.compute()`, which gives a plain `hist.Hist`
with all fills in it, as often as it is asked; nothing that looks at the histogram loses a fill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import getattr_static
from types import FunctionType
from typing import Any

import awkward as ak
import boost_histogram as bh
import hist
import numpy as np

from hepgraph.disk.plain import plain
from hepgraph.errors import FillError, HepgraphError, LazyError, suggestion
from hepgraph.functions.lines import Line, as_one, place, user_line
from hepgraph.graph.canonical import TEXT, TOTAL, TRUE, conjunction, count, filtered, flattened, inc, lift, take
from hepgraph.graph.form import Form, List, Option, Record, Scalar, innermost, unwrap
from hepgraph.graph.node import Item, Node, Space, dumps, loads
from hepgraph.hist.merge import averaged, averages, counting, fill_averages, merged, moments, narrowed
from hepgraph.io.source import Origin
from hepgraph.kernel.output import Bins, Moments, Output
from hepgraph.lazy.array import HOOKS, Lazy, together
from hepgraph.lazy.broadcast import broadcast
from hepgraph.lazy.collection import DaskCollection
from hepgraph.lazy.join import settled
from hepgraph.plan.passes import Sink, TotalSink, Value
from hepgraph.runner.compute import FINISH, KINDS, compute


@dataclass(frozen=True)
class Fill:
    """One recorded fill: the space of its entries, and a node, a string or a number for each argument.

    `must` are boolean nodes that say where the weight and the sample are not None.
    """

    origin: Origin
    entries: Space
    args: tuple[Any, ...]
    weight: Any
    sample: Any
    must: tuple[Node, ...]
    line: Line | None

    @property
    def wants(self) -> tuple[Item, ...]:
        """The items whose values the fill looks up."""
        nodes = [part for part in (*self.args, self.weight, self.sample, *self.must) if isinstance(part, Node)]
        return (self.entries, *nodes)

    def __deepcopy__(self, memo: Any) -> Fill:
        return self

    def into(self, h: Any, value: Value) -> None:
        """Fills a histogram with one partition."""
        args, options = self.arguments(value)
        if not all(_takes_all(axis) for axis in h.axes):  # boost loses entries where one value is given for all
            size = next(len(part) for part in (*args, *options.values()) if not isinstance(part, str))
            args = [[part] * size if isinstance(part, str) else part for part in args]
        add_entries(h, args, options)

    def arguments(self, value: Value) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of `hist.Hist.fill` for one partition."""
        size = len(value(self.entries))
        for mask in self.must:
            missing = int(size - np.count_nonzero(value(mask)))
            if missing:
                where = f"\nfilled at {place(self.line)}" if self.line else ""
                raise FillError(
                    f"The weight or sample of {missing} entries is None. Say what it should be with ak.fill_none, or "
                    f"drop the entries with a mask.{where}"
                )
        args = [_filling(part, value, size) for part in self.args]
        options = {}
        if self.weight is not None:
            options["weight"] = _filling(self.weight, value, size)
        if self.sample is not None:
            options["sample"] = _filling(self.sample, value, size)
        return args, options


def add_entries(h: Any, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Fills a histogram, its averages as sums."""
    if averages(h):
        fill_averages(h, args, options)
    else:
        h.fill(*args, **options)


def _takes_all(axis: Any) -> bool:
    """Whether every value has a bin on an axis."""
    traits = axis.traits
    apart = isinstance(axis, (bh.axis.StrCategory, bh.axis.IntCategory))
    return bool(traits.growth or isinstance(axis, bh.axis.Boolean) or (traits.overflow and (apart or traits.underflow)))


def _filling(part: Any, value: Value, size: int) -> Any:
    if isinstance(part, str):
        return part
    if not isinstance(part, Node):
        return np.full(size, part)
    values = value(part)
    return values.tolist() if part.dtype == TEXT else values


@dataclass(frozen=True)
class HistSink:
    """All fills of one histogram from one dataset; `places` are their numbers among all fills of the histogram.

    A partial result has, by the number of the first fill in it, a histogram, or the entries of a fill as they are.
    """

    empty: Any
    fills: tuple[Fill, ...]
    places: tuple[int, ...]

    @property
    def wants(self) -> tuple[Item, ...]:
        return tuple(item for fill in self.fills for item in fill.wants)

    def collect(self, value: Value) -> dict[int, Any]:
        if _grows(self.empty, bh.axis.Variable):  # where its edges come to lie depends on the order of the entries
            return {i: [fill.arguments(value)] for i, fill in zip(self.places, self.fills, strict=True)}
        apart = _grows(self.empty, bh.axis.StrCategory | bh.axis.IntCategory)  # so does the order of new categories
        out: dict[int, Any] = {}
        h = self.empty.copy()
        for i, fill in zip(self.places, self.fills, strict=True):
            h = self.empty.copy() if apart and out else h
            fill.into(h, value)
            out[i if apart else self.places[0]] = h
        return out

    def content(self) -> tuple[Any, ...]:
        fills = [(f.entries, f.args, f.weight, f.sample, f.must) for f in self.fills]
        return "hist", self.empty, fills, self.places

    def output(self) -> Output | str:
        return Output("hist", self.empty, self.fills)

    def from_kernel(self, made: Any) -> dict[int, Any]:
        if isinstance(made, dict):  # the entries, for axes and storages that only boost fills
            return self.collect(made.__getitem__)
        return {self.places[0]: made}

    def combine(self, a: dict[int, Any], b: dict[int, Any]) -> dict[int, Any]:
        return {i: self._sum(a[i], b[i]) for i in a}

    def _sum(self, a: Any, b: Any) -> Any:
        if isinstance(a, Moments) and isinstance(b, Moments):
            return a.plus(b)
        if isinstance(a, list) or (isinstance(a, Bins) and isinstance(b, Bins)):
            return a + b
        return merged(self._whole(a), self._whole(b))

    def finish(self, partial: Any) -> Any:
        return {i: self._whole(part) for i, part in partial.items()}

    def _whole(self, part: Any) -> Any:
        """A part as a histogram, or as entries."""
        if isinstance(part, Moments):
            return averaged(self.empty.copy(), part)
        if not isinstance(part, Bins):
            return part
        from hepgraph.kernel.fills import histogram

        return counting(histogram(self.empty, part), part.counts)


def _grows(h: Any, kind: Any) -> bool:
    return any(isinstance(axis, kind) and axis.traits.growth for axis in h.axes)


@plain
class Hist(DaskCollection, hist.Hist, family=hist):  # type: ignore[call-arg, misc]
    """A histogram of lazy arrays: made and filled like `hist.Hist`, filled for real by `.compute()`.

    Axis values may be jagged: each element is an entry, and event-level values and weights are repeated for the
    elements of their event. An entry whose value on some axis is None is not filled; a None weight is an error.

    >>> import hepgraph as hg, awkward as ak
    >>> pt = hg.from_awkward(ak.Array([[50.0, 20.0], [], [10.0]]), npartitions=2)
    >>> h = hg.Hist.new.Reg(3, 0, 60, name="pt", label="$p_T$ [GeV]").Double().fill(pt)
    >>> h.compute().values().tolist()
    [1.0, 1.0, 1.0]
    """

    @property
    def fills(self) -> tuple[Fill, ...]:
        """The fills that wait for `.compute()`."""
        return self.__dict__.get("_fills", ())  # type: ignore[no-any-return]

    def fill(
        self, *args: Any, weight: Any = None, sample: Any = None, threads: int | None = None, **kwargs: Any
    ) -> Hist:
        """Fills with eager arrays at once, with lazy arrays on `.compute()`; arguments by place or by axis name.

        Raises FillError if the arguments do not fit the axes, or each other.
        """
        given = [*args, *kwargs.values(), weight, sample]
        if not any(isinstance(part, Lazy) for part in given):
            if any(isinstance(part, ak.Array) for part in given):
                *args, weight, sample = _entries([*_by_axis(self, args, kwargs), weight, sample])  # type: ignore[assignment]
                kwargs = {}
            if sample is None or not averages(self):
                super().fill(*args, weight=weight, sample=sample, threads=threads, **kwargs)
                return self
            options = {"sample": sample} if weight is None else {"sample": sample, "weight": weight}
            return fill_averages(self, _by_axis(self, args, kwargs), options)  # type: ignore[no-any-return]
        ordered = _by_axis(self, args, kwargs)
        _check_storage(self, weight, sample)
        _check_kinds(self, ordered, weight, sample)
        self.__dict__["_fills"] = (*self.fills, as_one(recorded, ordered, weight, sample))
        return self

    def fill_flattened(
        self, *args: Any, weight: Any = None, sample: Any = None, threads: int | None = None, **kwargs: Any
    ) -> Hist:
        """As `fill`; a single array of records fills the axes that have the names of its fields."""
        if len(args) == 1 and isinstance(args[0], Lazy) and args[0].fields and not kwargs:
            names = [axis.name for axis in self.axes]
            kwargs = {name: args[0][name] for name in names if name in args[0].fields}
            args = ()
        if not any(isinstance(part, Lazy) for part in (*args, *kwargs.values(), weight, sample)):
            super().fill_flattened(*args, weight=weight, sample=sample, threads=threads, **kwargs)
            return self
        return self.fill(*args, weight=weight, sample=sample, **kwargs)

    def compute(self, **options: Any) -> Any:
        """The filled `hist.Hist`; the options are those of `hg.compute`."""
        return compute(self, **options)

    def visualize(self, filename: str | None = None) -> Any:
        """The graph of the fills as a picture."""
        return HOOKS["visualize"](self, filename)

    def _dask_graph(self, **options: Any) -> tuple[dict[Any, Any], str]:
        return HOOKS["graph_of"](self, **options)  # type: ignore[no-any-return]

    def reset(self) -> Hist:
        """Empty again, without recorded fills."""
        self.__dict__.pop("_fills", None)
        super().reset()
        return self

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Hist) and (self.fills or other.fills):
            total = Hist(merged(settled_part(self), settled_part(other)))
            total.__dict__["_fills"] = (*self.fills, *other.fills)
            return total
        if self.fills and isinstance(other, int) and other == 0:
            return self
        if self.fills and isinstance(other, bh.Histogram):
            total = Hist(merged(settled_part(self), hist.Hist(other)))
            total.__dict__["_fills"] = self.fills
            return total
        _refuse(self, "+")
        return super().__add__(other)

    __radd__ = __add__

    def __iadd__(self, other: Any) -> Any:
        if not isinstance(other, bh.Histogram):
            _refuse(self, "+=")
            return super().__iadd__(other)
        theirs = other.fills if isinstance(other, Hist) else ()
        before = settled_part(self) if averages(self) else None
        super().__iadd__(settled_part(other) if theirs else other)
        if before is not None:
            averaged(self, moments(merged(before, settled_part(other))))
        if theirs:
            self.__dict__["_fills"] = (*self.fills, *theirs)
        return self

    def __repr__(self) -> str:
        if not self.fills:
            return super().__repr__()  # type: ignore[no-any-return]
        axes = ", ".join(repr(axis) for axis in self.axes)
        n = len(self.fills)
        return f"<hepgraph.Hist ({axes}) {self.storage_type.__name__}, {n} lazy fill{'s' if n > 1 else ''}: .compute()>"

    __str__ = __repr__

    def _repr_html_(self) -> str | None:
        import html

        if self.fills:
            return f"<pre>{html.escape(repr(self))}</pre>"
        return super()._repr_html_()  # type: ignore[no-any-return]

    def _export_bh_(self, new: Any) -> None:
        if not isinstance(new, Hist):
            _refuse(self, f"{type(new).__module__.partition('.')[0]}.{type(new).__name__}(...)")
        super()._export_bh_(new)

    @property
    def T(self) -> Any:
        """The axes the other way round."""
        _refuse(self, "T")
        return super().T

    def __getstate__(self) -> Any:
        version, state = super().__getstate__()
        if self.fills:
            state["_fills"] = dumps(self.fills)
        return version, state

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        packed = self.__dict__.get("_fills")
        if isinstance(packed, bytes):
            self.__dict__["_fills"] = loads(packed)

    def __eq__(self, other: object) -> bool:
        if self.fills or getattr(other, "fills", ()):
            same = settled_part(self) == settled_part(other) if isinstance(other, Hist) else False
            return bool(same) and self.fills == getattr(other, "fills", ())
        return bool(super().__eq__(other))

    __hash__ = None  # type: ignore[assignment]


def settled_part(h: Any) -> Any:
    """A histogram's eager content, as a plain `hist.Hist` of its own."""
    own = h.copy()
    own.__dict__.pop("_fills", None)
    return hist.Hist(own)


def _entries(parts: Sequence[Any]) -> list[Any]:
    """Eager arguments of a fill (the last two are weight and sample) as flat arrays, by the rules of lazy ones."""
    arrays = (ak.Array, np.ndarray, list, tuple)
    places = [i for i, part in enumerate(parts) if isinstance(part, arrays) and getattr(part, "ndim", 1) > 0]
    values = [ak.Array(parts[i]) for i in places]
    sure = [~ak.is_none(x, axis=-1) for x, i in zip(values, places, strict=True) if i >= len(parts) - 2]
    values = [x if i < len(parts) - 2 else ak.fill_none(x, 0, axis=-1) for x, i in zip(values, places, strict=True)]
    try:
        flat = ak.broadcast_arrays(*values, *sure)
    except ValueError as error:
        raise FillError(f"The arguments of this fill do not go together.\n{error}") from error
    while any(array.ndim > 1 for array in flat):
        flat = [ak.flatten(array, axis=1) for array in flat]
    flat = [array[~ak.is_none(flat[0])] for array in flat]  # None in one is None in all, after broadcasting
    if missing := sum(int(ak.sum(~known)) for known in flat[len(values) :]):
        raise FillError(f"The weight or sample of {missing} entries is None; say what it should be with ak.fill_none.")
    out = list(parts)
    for i, array in zip(places, flat, strict=False):
        kept = ak.drop_none(array)
        out[i] = kept.to_list() if "string" in str(kept.type) else ak.to_numpy(kept)
    return out


def _refuse(h: Any, name: str) -> None:
    if h.fills:
        n = len(h.fills)
        name = _SPELLED.get(name, name)
        raise LazyError(
            f"{name} of a histogram with {n} lazy fill{'s' if n > 1 else ''} would show it without "
            f"{'them' if n > 1 else 'it'}; use h.compute() first, and then what it gives."
        )


_SPELLED = {
    "__getitem__": "h[...]", "__setitem__": "h[...] = ...", "__array__": "np.asarray", "__mul__": "*", "__rmul__": "*",
    "__truediv__": "/", "__itruediv__": "/=", "__imul__": "*=", "__sub__": "-", "__isub__": "-=", "__rsub__": "-",
    "__rtruediv__": "/",
}  # fmt: skip
_SAFE = {
    "axes", "ndim", "shape", "size", "name", "label", "metadata", "storage_type", "storage", "fill", "fill_flattened",
    "copy", "reset", "compute", "visualize", "fills", "new",
}  # fmt: skip


def _guard_all() -> None:
    """Makes every public member of hist.Hist that would show the content refuse while fills are waiting."""
    operators = [*_SPELLED, "_to_uhi_", "_to_boost_histogram_", "_compute_uhi_"]
    names = [name for name in dir(hist.Hist) if not name.startswith("_") and name not in _SAFE]
    for name in [*names, *(op for op in operators if hasattr(hist.Hist, op))]:
        member = getattr_static(hist.Hist, name)
        if isinstance(member, FunctionType):
            setattr(Hist, name, _guarded(name, member))


def _guarded(name: str, member: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(member)
    def method(self: Hist, *args: Any, **kwargs: Any) -> Any:
        _refuse(self, name)
        return member(self, *args, **kwargs)

    return method


_guard_all()


# recording a fill


def _by_axis(h: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments in the order of the axes."""
    names = [axis.name for axis in h.axes]
    if len(args) > h.ndim:
        raise FillError(f"{len(args)} values for {h.ndim} axes ({', '.join(n or '?' for n in names)}).")
    found: dict[int, Any] = dict(enumerate(args))
    for name, value in kwargs.items():
        if name not in names:
            raise FillError(f"This histogram has no axis {name!r}.\n{suggestion(name, [n for n in names if n])}")
        place = names.index(name)
        if place in found:
            raise FillError(f"Axis {name!r} was given twice, by place and by name.")
        found[place] = value
    if missing := [names[i] or f"number {i}" for i in range(h.ndim) if i not in found]:
        raise FillError(f"No values for axis {', '.join(missing)}; the axes are {', '.join(n or '?' for n in names)}.")
    return [found[i] for i in range(h.ndim)]


def _check_storage(h: Any, weight: Any, sample: Any) -> None:
    kind = h.storage_type
    if issubclass(kind, bh.storage.Mean | bh.storage.WeightedMean):
        if sample is None:
            raise FillError(f"A {kind.__name__} storage averages a value: give it as sample=.")
    elif sample is not None:
        raise FillError(f"A {kind.__name__} storage takes no sample=; Mean and WeightedMean do.")
    if weight is not None and issubclass(kind, bh.storage.Int64):
        raise FillError("An Int64 storage counts entries and takes no weights; use Double or Weight.")


def _check_kinds(h: Any, args: Sequence[Any], weight: Any, sample: Any) -> None:
    """Strings belong on string axes, whole numbers on integer axes, and real numbers on the others."""
    for i, (axis, value) in enumerate(zip(h.axes, args, strict=True)):
        name = f"Axis {axis.name!r}" if axis.name else f"Axis number {i}"
        dtype = _dtype(name, value)
        if dtype is None:
            continue
        if isinstance(axis, bh.axis.StrCategory):
            right, wants = dtype == TEXT, "strings"
        elif isinstance(axis, (bh.axis.Integer, bh.axis.IntCategory, bh.axis.Boolean)):
            right, wants = dtype.kind in "iub", "whole numbers or booleans; make them with ak.values_astype(x, int)"
        else:
            right, wants = dtype.kind in "iubf", "real numbers"
        if not right:
            raise FillError(f"{name} ({type(axis).__name__}) takes {wants}, not {_said(dtype)}.")
    for name, value in (("weight=", weight), ("sample=", sample)):
        dtype = None if value is None else _dtype(name, value)
        if dtype is not None and dtype.kind not in "iubf":
            raise FillError(f"{name} takes real numbers, not {_said(dtype)}.")


def _said(dtype: np.dtype[Any]) -> str:
    return "strings" if dtype == TEXT else str(dtype)


def _dtype(name: str, value: Any) -> np.dtype[Any] | None:
    """The dtype of the values of one argument; None if it is to be found out later."""
    if value is None:
        raise FillError(f"{name} was given None.")
    if isinstance(value, str):
        return TEXT
    if _is_number(value):
        return np.asarray(value).dtype
    if isinstance(value, Lazy):
        if value.fields:
            raise FillError(f"{name} was given records ({', '.join(value.fields[:6])}); fill with one of their fields.")
        form = innermost(value._form)
        return form.node.dtype if isinstance(form, Scalar) else None
    return None


def recorded(args: Sequence[Any], weight: Any, sample: Any) -> Fill:
    """A fill with the arguments brought to one flat list of entries."""
    parts = [*args, weight, sample]
    plain = [part is None or isinstance(part, str) or _is_number(part) for part in parts]
    arrays = {i: part for i, part in enumerate(parts) if not plain[i]}
    try:
        forms, rows, guard = together(list(arrays.values()))
        whole = broadcast(forms, rows, _entry, options=False, guard=guard)
    except HepgraphError as error:
        raise FillError(f"The arguments of this fill do not go together.\n{error}") from error
    masks: list[Node] = list(guard)
    at = rows
    while not isinstance(whole, Record):
        assert isinstance(whole, (List, Option))
        if isinstance(whole, Option):
            masks.append(whole.valid)
        else:
            at = whole.space
            masks = [lift(mask, at) for mask in masks]
        whole = whole.content
    nodes: dict[int, Node] = {}
    must: list[Node] = []
    for i, name in zip(arrays, whole, strict=True):
        valid, content = unwrap(whole[name])
        if not isinstance(content, Scalar):
            raise FillError("A histogram is filled with numbers, not with records; take a field first.")
        nodes[i] = content.node
        if valid is not TRUE:
            (masks if i < len(args) else must).append(valid)
    entries = filtered(at, conjunction(masks, at))

    def brought(node: Node) -> Node:
        return take(inc(entries), node) if entries is not at else node

    values = [brought(nodes[i]) if i in nodes else part for i, part in enumerate(parts)]
    origin = next(part for part in arrays.values() if isinstance(part, Lazy))._origin
    checks = tuple(brought(mask) for mask in must)
    return Fill(origin, entries, tuple(values[: len(args)]), values[-2], values[-1], checks, user_line())


def _entry(parts: list[Form], at: Space) -> Form:
    return Record({str(i): settled(part, at) for i, part in enumerate(parts)}, None, True)


def _is_number(part: Any) -> bool:
    return isinstance(part, (bool, int, float, np.generic)) or (isinstance(part, np.ndarray) and part.ndim == 0)


# as a result of compute


def _split(h: Hist) -> list[tuple[Origin, Sink]]:
    """A sink for the fills from each dataset; those of a new category have one of their own, and one that counts them.

    Where all growing axes have a constant in a fill, the axes that it needs are known, and a kernel can fill them; a
    category that no entry was filled into is not there in the end, as with boost.
    """
    sinks: list[tuple[Origin, Sink]] = []
    empty = settled_part(h)
    empty.reset()
    for (origin, known), places in _groups(h).items():
        fills = tuple(h.fills[i] for i in places)
        sinks.append((origin, HistSink(narrowed(empty, dict(known)) if known else empty, fills, tuple(places))))
        if known:
            counts = {str(i): Scalar(count(flattened(fill.entries, TOTAL))) for i, fill in enumerate(fills)}
            sinks.append((origin, TotalSink.of(Lazy(Record(counts, None, True), TOTAL))))
    return sinks


def _groups(h: Hist) -> dict[tuple[Origin, Any], list[int]]:
    """The numbers of the fills that are made together: of one dataset, and of the same new categories."""
    groups: dict[tuple[Origin, Any], list[int]] = {}
    for i, fill in enumerate(h.fills):
        groups.setdefault((fill.origin, _new_categories(h, fill)), []).append(i)
    return groups


def _new_categories(h: Any, fill: Fill) -> tuple[tuple[int, Any], ...]:
    """The constants on the growing axes of a histogram, by their places; none if there is one without a constant."""
    growing = [i for i, axis in enumerate(h.axes) if axis.traits.growth]
    kinds = bh.axis.StrCategory | bh.axis.IntCategory
    if not all(isinstance(h.axes[i], kinds) and not isinstance(fill.args[i], Node) for i in growing):
        return ()
    return tuple((i, fill.args[i] if isinstance(fill.args[i], str) else int(fill.args[i])) for i in growing)


def _finished(h: Hist, values: list[Any]) -> Any:
    total = settled_part(h)
    parts: dict[int, Any] = {}
    made = iter(values)
    for (_, known), places in _groups(h).items():
        value = next(made)
        if known:  # what was filled first says where its category comes
            entries = next(made)
            some = [place for i, place in enumerate(places) if entries[str(i)]]
            value = {some[0]: value[places[0]]} if some and len(value) == 1 else {i: value[i] for i in some}
        parts.update(value)
    for _, part in sorted(parts.items()):
        if isinstance(part, list):
            for args, options in part:
                add_entries(total, args, options)
        else:
            total = merged(total, part)
    return total


KINDS[Hist] = _split
FINISH[Hist] = _finished

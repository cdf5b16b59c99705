"""Histograms: `hist.Hist` whose fills with lazy arrays are recorded.

Fills with eager arrays work as in hist. Fills with lazy ones wait until `.compute()`, which gives a plain `hist.Hist`
with all fills in it, as often as it is asked; nothing that looks at the histogram loses a fill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from hepgraph.errors import LazyError, many
from hepgraph.functions.lines import as_one
from hepgraph.graph.canonical import TOTAL, count, flattened
from hepgraph.graph.form import Record, Scalar
from hepgraph.graph.node import Item, Node, dumps, loads
from hepgraph.hist import variations
from hepgraph.hist.merge import averaged, averages, counting, fill_averages, merged, moments, narrowed, with_axes
from hepgraph.hist.recording import (
    Fill,
    Weighed,
    add_entries,
    by_axis,
    check_storage,
    eager_entries,
    for_each_entry,
    loses_entries,
)
from hepgraph.io.source import Origin
from hepgraph.kernel.output import Bins, Moments, Output
from hepgraph.lazy.array import HOOKS, Lazy
from hepgraph.lazy.collection import DaskCollection
from hepgraph.lazy.results import NOMINAL
from hepgraph.plan.passes import Sink, TotalSink, Value
from hepgraph.runner.compute import FINISH, KINDS, compute
from hepgraph.runner.variations import WANTS, ByName


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
        out = self._collected(value)
        if self._unsound(out):
            for fill in self.fills:
                fill.check(value)
        return out

    def _collected(self, value: Value) -> dict[int, Any]:
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
        fills = [(f.entries, f.args, f.weight, f.sample, f.must, f.checks) for f in self.fills]
        return "hist", self.empty, fills, self.places

    def output(self) -> Output | str:
        return Output("hist", self.empty, self.fills)

    def from_kernel(self, made: Any) -> dict[int, Any] | None:
        entries = isinstance(made, dict)  # for axes and storages that only boost fills
        out = self._collected(made.__getitem__) if entries else {self.places[0]: made}
        return None if self._unsound(out) else out

    def _unsound(self, out: dict[int, Any]) -> bool:
        """Whether a bin is not finite although weights are checked: then the interpreter looks at them, and raises."""
        return any(fill.checks for fill in self.fills) and not all(map(_finite, out.values()))

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


def _finite(part: Any) -> bool:
    """Whether all numbers of a partial result are finite."""
    if isinstance(part, list):
        return all(np.all(np.isfinite(options["weight"])) for _, options in part if "weight" in options)
    if isinstance(part, Moments):
        return bool(np.all(np.isfinite(part.weights)))
    view = part.fields if isinstance(part, Bins) else bh.Histogram.view(part, flow=True)
    fields = view if isinstance(view, tuple) else [view[name] for name in view.dtype.names or ()] or [view]
    return all(np.all(np.isfinite(field)) for field in fields)


def _grows(h: Any, kind: Any) -> bool:
    return any(isinstance(axis, kind) and axis.traits.growth for axis in h.axes)


@plain
class Hist(DaskCollection, hist.Hist, family=hist):  # type: ignore[call-arg, misc]
    """A histogram of lazy arrays: made and filled like `hist.Hist`, filled for real by `.compute()`.

    Axis values may be jagged: each element is an entry, and event-level values and weights are repeated for the
    elements of their event. An entry whose value on some axis is None is not filled; a None weight is an error.

    Filled with varied arrays (`hg.vary`), it has an axis `variation`, "nominal" first: its own, wherever that stands,
    which gets no values then, or one at the end. A fill that does not know a variation is in it as in the nominal.

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
        """Fills with eager arrays at once, with lazy arrays on `.compute()`.

        Parameters
        ----------
        *args : array-like
            Values for each axis in order: numbers, arrays or lists of them for each event.
        weight : array-like or Weights, default None
            Weights of the entries; None: 1.
        sample : array-like, default None
            Values that a `Mean` or `WeightedMean` storage averages.
        threads : int, default None
            Threads that fill eager arrays, as in boost-histogram.
        **kwargs : array-like
            Values of axes by their names.

        Returns
        -------
        Hist
            This histogram.

        Raises
        ------
        FillError
            If the arguments do not fit the axes, or each other.

        Examples
        --------
        >>> import hepgraph as hg, awkward as ak
        >>> events = hg.from_awkward(ak.Array([{"pt": [10.0, 30.0], "w": 2.0}, {"pt": [], "w": 1.0}]))
        >>> h = hg.Hist.new.Reg(2, 0, 40, name="pt").Double().fill(pt=events.pt, weight=events.w)
        >>> h.compute(executor="serial").values().tolist()
        [2.0, 2.0]
        """
        if hasattr(type(weight), "beside"):
            weight = weight.beside([*args, *kwargs.values()])
            if isinstance(weight, Mapping):
                return variations.fill_each(self, args, kwargs, weight, sample)  # type: ignore[no-any-return]
        given = [*args, *kwargs.values(), Weighed.of(weight).weight, sample]
        own = variations.own_axis(self, args, kwargs)
        if not any(isinstance(part, Lazy) for part in given):
            if own is not None:
                args = variations.with_name(by_axis(variations.others(self, own), args, kwargs), own, NOMINAL)
                kwargs = {}
            variations.mark(self, own)
            if any(isinstance(part, ak.Array) for part in given):
                *args, weight, sample = eager_entries([*by_axis(self.axes, args, kwargs), weight, sample])  # type: ignore[assignment]
                kwargs = {}
            options = {name: part for name, part in (("weight", weight), ("sample", sample)) if part is not None}
            if averages(self) or loses_entries(self.axes):
                args, kwargs = (*for_each_entry(self.axes, by_axis(self.axes, args, kwargs), options),), {}
            if sample is None or not averages(self):
                super().fill(*args, weight=weight, sample=sample, threads=threads, **kwargs)
                return self
            return fill_averages(self, args, options)  # type: ignore[no-any-return]
        ordered = by_axis(variations.others(self, own), args, kwargs)
        check_storage(self, weight, sample)
        self.__dict__["_fills"] = (*self.fills, as_one(variations.record, self, ordered, weight, sample, own))
        return self

    @property
    def variations(self) -> tuple[str, ...]:
        """The names of the variations of the fills that wait, "nominal" first; empty if none of them is varied."""
        return variations.names_in(self)

    def fill_flattened(
        self, *args: Any, weight: Any = None, sample: Any = None, threads: int | None = None, **kwargs: Any
    ) -> Hist:
        """As `fill`; a single array of records fills the axes that have the names of its fields.

        Parameters
        ----------
        *args : array-like
            Values for each axis in order, or one array of records.
        weight : array-like, default None
            Weights of the entries; None: 1.
        sample : array-like, default None
            Values that a `Mean` or `WeightedMean` storage averages.
        threads : int, default None
            Threads that fill eager arrays, as in boost-histogram.
        **kwargs : array-like
            Values of axes by their names.

        Returns
        -------
        Hist
            This histogram.
        """
        if len(args) == 1 and isinstance(args[0], Lazy) and args[0].fields and not kwargs:
            names = [axis.name for axis in self.axes]
            kwargs = {name: args[0][name] for name in names if name in args[0].fields}
            args = ()
        if not any(isinstance(part, Lazy) for part in (*args, *kwargs.values(), weight, sample)):
            super().fill_flattened(*args, weight=weight, sample=sample, threads=threads, **kwargs)
            return self
        return self.fill(*args, weight=weight, sample=sample, **kwargs)

    def compute(self, **options: Any) -> Any:
        """The filled `hist.Hist`.

        Parameters
        ----------
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        hist.Hist
            The histogram; (histogram, report) with `report=True`.

        Examples
        --------
        >>> import hepgraph as hg, awkward as ak
        >>> h = hg.Hist.new.Reg(2, 0, 4).Double().fill(hg.from_awkward(ak.Array([1.0, 3.0, 3.5])))
        >>> h.compute(executor="serial").values().tolist()
        [1.0, 2.0]
        """
        return compute(self, **options)

    def visualize(self, filename: str | None = None) -> Any:
        """The graph of the fills as a picture.

        Parameters
        ----------
        filename : str, default None
            SVG file to write.

        Returns
        -------
        Picture
            The picture, which notebooks show.
        """
        return HOOKS["visualize"](self, filename)

    def _dask_graph(self, **options: Any) -> tuple[dict[Any, Any], str]:
        return HOOKS["graph_of"](self, **options)  # type: ignore[no-any-return]

    def reset(self) -> Hist:
        """Empty again, without recorded fills."""
        self.__dict__.pop("_fills", None)
        super().reset()
        return self

    def __add__(self, other: Any) -> Any:
        if isinstance(other, bh.Histogram) and (
            self.fills or getattr(other, "fills", None) or variations.marked(other)
        ):
            return self._with(other)
        if self.fills and isinstance(other, int) and other == 0:
            return self
        _refuse(self, "+")
        return super().__add__(other)

    __radd__ = __add__

    def _with(self, other: Any) -> Any:
        """The sum with another histogram, of their contents and of the fills that wait."""
        total = variations.added([settled_part(self), settled_part(other)])
        fills = (*self.fills, *(getattr(other, "fills", None) or ()))
        if not fills:
            return total
        whole = Hist(total)
        whole.__dict__["_fills"] = variations.fitting(whole, fills)
        return whole

    def __iadd__(self, other: Any) -> Any:
        if not isinstance(other, bh.Histogram):
            _refuse(self, "+=")
            return super().__iadd__(other)
        theirs = other.fills if isinstance(other, Hist) else ()
        content = settled_part(other) if theirs else other
        if variations.marked(self) or variations.marked(content):
            variations.add_in_place(self, content)
        else:
            before = settled_part(self) if averages(self) else None
            super().__iadd__(content)
            if before is not None:
                averaged(self, moments(merged(before, settled_part(other))))
        if theirs:
            self.__dict__["_fills"] = variations.fitting(self, (*self.fills, *theirs))
        return self

    def __repr__(self) -> str:
        if not self.fills:
            return super().__repr__()  # type: ignore[no-any-return]
        axes = ", ".join(repr(axis) for axis in self.axes)
        n = len(self.fills)
        varied = f", {many(len(self.variations) - 1, 'variation')}" if len(self.variations) > 1 else ""
        return (
            f"<hepgraph.Hist ({axes}) {self.storage_type.__name__}, {n} lazy fill{'s' if n > 1 else ''}{varied}: "
            ".compute()>"
        )

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
        if self.fills or getattr(other, "fills", None):
            same = settled_part(self) == settled_part(other) if isinstance(other, Hist) else False
            return bool(same) and self.fills == getattr(other, "fills", None)
        return bool(super().__eq__(other))

    __hash__ = None  # type: ignore[assignment]


def settled_part(h: Any) -> Any:
    """A histogram's eager content, as a plain `hist.Hist` of its own."""
    own = h.copy()
    own.__dict__.pop("_fills", None)
    return hist.Hist(own)


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


# as a result of compute


def _split(h: Hist) -> list[tuple[Origin, Sink]]:
    """A sink for the fills from each dataset; those of a new category have one of their own, and one that counts them.

    Where all growing axes have a constant in a fill, the axes that it needs are known, and a kernel can fill them; a
    category that no entry was filled into is not there in the end, as with boost.
    """
    h = _unfolded(h)
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


def _unfolded(h: Hist) -> Hist:
    """A histogram with plain fills alone: of varied ones there is one for each variation, on an axis of its own."""
    names = h.variations
    if not names:
        return h
    axes, fills = variations.unfolded(h, names)
    new = Hist(with_axes(settled_part(h), axes))
    new.__dict__["_fills"] = tuple(fills)
    return new


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
    plain = _unfolded(h)
    return _summed(h, values) if plain is h else variations.folded(h, _summed(plain, values), settled_part(h))


def _summed(h: Hist, values: list[Any]) -> Any:
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


def _by_variation(h: Hist) -> ByName:
    """The items that the fills look at, by variation."""
    names = h.variations
    _, fills = variations.unfolded(h, names) if names else ([], [])
    by_name: ByName = {}
    for i, fill in enumerate(fills):
        name = names[i // len(h.fills)]
        by_name.setdefault(name, []).extend((fill.origin, item) for item in fill.wants)
    return by_name


KINDS[Hist] = _split
FINISH[Hist] = _finished
WANTS[Hist] = _by_variation

"""Histograms added up, also where their axes grew in different ways, and averages as sums.

What boost adds up of an average, the mean, is lost where weights cancel. So a histogram of a mean storage carries the
sums that it was calculated from, and they are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import boost_histogram as bh
import hist
import numpy as np

from hepgraph.kernel.output import Moments

_SUMS = "@moments"  # in a histogram; what begins like this is not written into files


def merged(a: Any, b: Any) -> Any:
    """The sum of two histograms; axes that grew differently are brought together first. May change a."""
    if averages(a) and averages(b):
        return _averages_merged(a, b)
    grown = [
        i
        for i, (one, two) in enumerate(zip(a.axes, b.axes, strict=True))
        if isinstance(one, bh.axis.Regular | bh.axis.Integer) and one.traits.growth and not _same_edges(one, two)
    ]
    known = counts_only(a) and counts_only(b)
    if not grown:
        return counting(hist.Hist.__iadd__(a, b), known)
    wider = {i: _joined_axis(a.axes[i], b.axes[i]) for i in grown}
    return counting(_placed(a, wider) + _placed(b, wider), known)


def counts_only(h: Any) -> bool:
    """Whether the bins of a histogram of plain numbers are known to be numbers of entries, each its own variance."""
    return bool(h.__dict__.get("_variance_known", True))


def counting(h: Any, known: bool) -> Any:
    """The histogram, saying whether its bins are numbers of entries.

    boost-histogram keeps this to itself, and forgets it in every sum: without it, a sum of counts has no variances.
    """
    h.__dict__["_variance_known"] = known
    return h


def _same_edges(one: Any, two: Any) -> bool:
    return len(one) == len(two) and bool(np.array_equal(one.edges, two.edges))


def _joined_axis(one: Any, two: Any) -> Any:
    """A growing axis that covers both."""
    low, high = min(one.edges[0], two.edges[0]), max(one.edges[-1], two.edges[-1])
    if isinstance(one, bh.axis.StrCategory | bh.axis.IntCategory):
        return _categories(one, list(dict.fromkeys([*one, *two])))
    if isinstance(one, bh.axis.Integer):
        new = hist.axis.Integer(int(low), int(high), growth=True)
    else:
        width = (one.edges[-1] - one.edges[0]) / len(one)
        new = hist.axis.Regular(round((high - low) / width), low, high, growth=True)
    new.__dict__.update(one.__dict__)
    return new


def _categories(axis: Any, names: list[Any]) -> Any:
    """A growing axis like another, with these categories."""
    kind = hist.axis.StrCategory if isinstance(axis, bh.axis.StrCategory) else hist.axis.IntCategory
    new = kind(names, growth=True)
    new.__dict__.update(axis.__dict__)
    return new


def _placed(h: Any, wider: Mapping[int, Any]) -> Any:
    """The content of a histogram in one with some axes wider."""
    wide = with_axes(h, [wider.get(i, axis) for i, axis in enumerate(h.axes)])
    wide.view(flow=True)[_places(h.axes, wide.axes)] = h.view(flow=True)
    return wide


def _places(old: Sequence[Any], new: Sequence[Any]) -> Any:
    """Where the bins of a histogram are in one with wider axes."""
    return np.ix_(*(_axis_places(one, two) for one, two in zip(old, new, strict=True)))


def _axis_places(old: Any, new: Any) -> Any:
    if isinstance(old, bh.axis.StrCategory | bh.axis.IntCategory) and old.traits.growth:
        known = {category: i for i, category in enumerate(new)}
        return np.array([known[category] for category in old], np.int64)
    if old.extent == new.extent:
        return np.arange(new.extent)
    under = 1 if new.traits.underflow else 0
    if isinstance(old, bh.axis.Variable):
        shift = int(np.searchsorted(new.edges, old.edges[0]))
    else:
        shift = round((old.edges[0] - new.edges[0]) * len(new) / (new.edges[-1] - new.edges[0]))
    inside = (np.arange(len(old)) + shift + under).tolist()
    return np.array([*([0] if under else []), *inside, *([new.extent - 1] if new.traits.overflow else [])])


def with_axes(h: Any, axes: Sequence[Any]) -> Any:
    """A histogram like another, without content, on other axes."""
    new = hist.Hist(*axes, storage=h.storage_type())
    new.__dict__.update({key: value for key, value in h.__dict__.items() if key not in ("_hist", "axes", _SUMS)})
    return new


def narrowed(h: Any, known: Mapping[int, Any]) -> Any:
    """A histogram like another, without content, whose growing categories at some places are one each."""
    axes = list(h.axes)
    for i, category in known.items():
        axes[i] = _categories(axes[i], [category])
    return with_axes(h, axes)


# averages


def averages(h: Any) -> bool:
    """Whether the bins of a histogram average a sample."""
    return issubclass(h.storage_type, bh.storage.Mean | bh.storage.WeightedMean)


def averaged(h: Any, sums: Moments) -> Any:
    """A histogram with these bins, which carries what they were calculated from; changes h."""
    found, view = sums.fields(), hist.Hist.view(h, flow=True)
    for name, of in _fields(h).items():
        view[name] = found[of]
    h.__dict__[_SUMS] = sums
    return h


def _fields(h: Any) -> dict[str, str]:
    if issubclass(h.storage_type, bh.storage.Mean):
        return {"count": "weights", "value": "mean", "_sum_of_deltas_squared": "spread"}
    return {
        "sum_of_weights": "weights",
        "sum_of_weights_squared": "squares",
        "value": "mean",
        "_sum_of_weighted_deltas_squared": "spread",
    }


def moments(h: Any) -> Moments:
    """The sums that a histogram of averages was calculated from; if it was changed since, those that its bins tell."""
    view, names = hist.Hist.view(h, flow=True), _fields(h)
    sums = h.__dict__.get(_SUMS)
    if isinstance(sums, Moments) and sums.weights.shape == view.shape:
        found = sums.fields()
        if all(np.array_equal(view[name], found[of], equal_nan=True) for name, of in names.items()):
            return sums
    own = {of: np.array(view[name]) for name, of in names.items()}
    weights = own["weights"]
    squares = own.get("squares", np.abs(weights))
    pivot = np.where((weights != 0) | (squares != 0), own["mean"], np.nan)
    return Moments(weights, squares, np.zeros_like(weights), own["spread"], pivot)


def _averages_merged(a: Any, b: Any) -> Any:
    axes = [_joined_axis(x, y) if _apart(x, y) else x for x, y in zip(a.axes, b.axes, strict=True)]
    parts = []
    for h in (a, b):
        own = moments(h)
        wide = Moments.nothing([axis.extent for axis in axes])
        for old, new in zip(own, wide, strict=True):
            new[_places(h.axes, axes)] = old
        parts.append(wide)
    if any(x is not y for x, y in zip(a.axes, axes, strict=True)):
        a = with_axes(a, axes)
    return averaged(a, parts[0].plus(parts[1]))


def _apart(x: Any, y: Any) -> bool:
    """Whether two axes have grown in different ways."""
    if not x.traits.growth or isinstance(x, bh.axis.Variable):
        return False
    return list(x) != list(y) if isinstance(x, bh.axis.StrCategory | bh.axis.IntCategory) else not _same_edges(x, y)


def fill_averages(h: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Fills a histogram of averages; `options` has the sample, and the weight if there is one."""
    before, axes = moments(h), hist.Hist.copy(h).axes
    hist.Hist.fill(h, *args, **options)  # boost checks what comes, and lets axes grow; its averages are not kept
    total = Moments.nothing([axis.extent for axis in h.axes])
    for old, new in zip(before, total, strict=True):
        new[_places(axes, h.axes)] = old
    (size,) = np.broadcast_shapes((1,), *(np.shape(part) for part in (*args, *options.values())))
    places, inside = np.zeros(size, np.int64), np.ones(size, bool)
    for axis, value in zip(h.axes, args, strict=True):
        at = _indices(axis, value) + axis.traits.underflow
        inside &= (at >= 0) & (at < axis.extent)
        places = places * axis.extent + at
    weights = np.broadcast_to(np.asarray(options.get("weight", 1.0), float), size)
    samples = np.broadcast_to(np.asarray(options["sample"], float), size)
    some = inside & (weights != 0)
    shape = total.weights.shape
    added = Moments.of(places[some], weights[some], samples[some], total.weights.size)
    return averaged(h, total.plus(Moments._make([part.reshape(shape) for part in added])))


def _indices(axis: Any, value: Any) -> Any:
    """The bins of values on an axis; categories that it does not have are one past its last."""
    if not isinstance(axis, bh.axis.StrCategory | bh.axis.IntCategory):
        return np.asarray(axis.index(value), np.int64)
    known = {category: i for i, category in enumerate(axis)}
    values = [value] if isinstance(value, str) else np.atleast_1d(value).tolist()
    return np.array([known.get(each, len(known)) for each in values], np.int64)

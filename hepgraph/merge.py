"""Histograms added up, also where their axes grew in different ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boost_histogram as bh
import hist
import numpy as np


def merged(a: Any, b: Any) -> Any:
    """The sum of two histograms; axes that grew differently are brought together first. May change a."""
    grown = [
        i
        for i, (one, two) in enumerate(zip(a.axes, b.axes, strict=True))
        if isinstance(one, bh.axis.Regular | bh.axis.Integer) and one.traits.growth and not _same_edges(one, two)
    ]
    known = _counts_only(a) and _counts_only(b)
    if not grown:
        a += b
        return counting(a, known)
    wider = {i: _joined_axis(a.axes[i], b.axes[i]) for i in grown}
    return counting(_placed(a, wider) + _placed(b, wider), known)


def _counts_only(h: Any) -> bool:
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
    if isinstance(one, bh.axis.Integer):
        new = hist.axis.Integer(int(low), int(high), growth=True)
    else:
        width = (one.edges[-1] - one.edges[0]) / len(one)
        new = hist.axis.Regular(round((high - low) / width), low, high, growth=True)
    new.__dict__.update(one.__dict__)
    return new


def _placed(h: Any, wider: Mapping[int, Any]) -> Any:
    """The content of a histogram in one with some axes wider."""
    wide = hist.Hist(*(wider.get(i, axis) for i, axis in enumerate(h.axes)), storage=h.storage_type())
    where = []
    for i, old in enumerate(h.axes):
        new = wide.axes[i]
        if i not in wider:
            where.append(np.arange(new.extent))
            continue
        under = 1 if new.traits.underflow else 0
        width = (new.edges[-1] - new.edges[0]) / len(new)
        shift = round((old.edges[0] - new.edges[0]) / width)
        inside = (np.arange(len(old)) + shift + under).tolist()
        where.append(np.array([*([0] if under else []), *inside, *([new.extent - 1] if new.traits.overflow else [])]))
    wide.view(flow=True)[np.ix_(*where)] = h.view(flow=True)
    return wide

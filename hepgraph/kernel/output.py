"""Outputs of a kernel: requests and results; light, for those who may never need a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hepgraph.disk.plain import plain
from hepgraph.graph.node import Item, Node


@dataclass(frozen=True)
class Output:
    """One result of a kernel: a histogram with its fills, the parts of a reduction over the dataset, or an array.

    `items` is what an array is built of.
    """

    kind: str
    empty: Any
    fills: tuple[Any, ...] = ()
    parts: tuple[Node, ...] = ()
    items: tuple[Item, ...] = ()


@plain
@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of a histogram, with those of the flow, without the histogram: partial results that add up quickly.

    `fields` are the arrays of a storage in the order of its fields, one for plain numbers; `counts` says whether they
    are numbers of entries.
    """

    fields: tuple[np.ndarray[Any, Any], ...]
    counts: bool

    def __add__(self, other: Bins) -> Bins:
        sums = tuple(a + b for a, b in zip(self.fields, other.fields, strict=True))
        return Bins(sums, self.counts and other.counts)


@plain
class Moments(NamedTuple):
    """The bins of a histogram that averages, as sums, which add up whatever the signs of the weights.

    They are those of the weights, of their squares, and of the weighted samples and their squares, counted from a pivot
    of each bin: its first finite sample, NaN where there is none.
    """

    weights: np.ndarray[Any, Any]
    squares: np.ndarray[Any, Any]
    first: np.ndarray[Any, Any]
    second: np.ndarray[Any, Any]
    pivot: np.ndarray[Any, Any]

    @classmethod
    def nothing(cls, shape: Sequence[int]) -> Moments:
        """Empty bins."""
        return cls._make([*(np.zeros(shape) for _ in range(4)), np.full(shape, np.nan)])

    @classmethod
    def of(cls, places: Any, weights: Any, samples: Any, size: int) -> Moments:
        """The sums of entries with a weight and a sample, by the numbers of their bins."""
        finite = np.isfinite(samples)
        pivot = np.full(size, np.nan)
        pivot[places[finite][::-1]] = samples[finite][::-1]  # of several at one place, the first is written last
        away = samples - np.nan_to_num(pivot)[places]
        amounts = weights, weights * weights, weights * away, weights * away * away
        return cls._make([*(np.bincount(places, amount, size).astype(float) for amount in amounts), pivot])

    def plus(self, other: Moments) -> Moments:
        """The sums of both."""
        pivot = np.where(np.isnan(self.pivot), other.pivot, self.pivot)
        parts = zip(self._about(pivot), other._about(pivot), strict=True)
        return Moments._make([*(a + b for a, b in parts), pivot])

    def _about(self, pivot: Any) -> tuple[Any, Any, Any, Any]:
        """The sums, counted from another pivot."""
        moved = np.where(np.isnan(self.pivot), 0.0, self.pivot - pivot)
        at = moved != 0
        first, second = self.first.copy(), self.second.copy()
        w, m, by = self.weights[at], first[at], moved[at]
        second[at] += 2 * by * m + by * by * w
        first[at] += by * w
        return self.weights, self.squares, first, second

    def fields(self) -> dict[str, Any]:
        """The content of boost's bins: sums of weights and of their squares, mean, sum of squared deviations."""
        some = (self.weights != 0) | (self.squares != 0)
        with np.errstate(all="ignore"):
            away = np.where(some, self.first / self.weights, 0.0)
            mean = np.where(some, np.nan_to_num(self.pivot) + away, 0.0)
            spread = np.where(some, self.second - self.first * away, 0.0)
        rounding = 4 * np.finfo(float).eps * np.abs(self.second)
        spread = np.where(np.abs(spread) <= rounding, 0.0, spread)
        return {"weights": self.weights, "squares": self.squares, "mean": mean, "spread": spread}


@dataclass(frozen=True)
class Compiled:
    """How the results of a pass are made: by a kernel, or, for the given reasons, by the interpreter."""

    kernel: Any
    native: tuple[int, ...]
    plain: Mapping[int, str]

"""Statistics of weights: sums, extremes and counts of each, as results that add up."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.disk.plain import plain
from hepgraph.errors import LazyError, WeightError, suggestion
from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.form import Record
from hepgraph.kit.table import TextTable, frame, number
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.results import NOMINAL, ByVariation
from hepgraph.plan.passes import TotalSink
from hepgraph.runner.compute import FINISH, KINDS, Sinks, compute

SUMS = ("entries", "sumw", "sumw2", "negative", "zero", "nan")
_STARTS = {"min": np.inf, "max": -np.inf}


@plain
@dataclass(frozen=True, eq=False, repr=False)
class WeightStatistics(ByVariation):
    """Statistics of weights, by name; those of several datasets or chunks add up.

    `rows` has, for each weight, its number of `entries`; `sumw` and `sumw2`, the sums of those that are finite and of
    their squares; their `min` and `max`, infinities of none; the numbers that are `negative`, `zero`, and not finite
    (`nan`).

    >>> import hepgraph as hg, numpy as np
    >>> weights = hg.Weights(np.zeros(3)).add("gen", np.array([1.0, -1.0, 2.0]))
    >>> weights.statistics()["gen"]["sumw2"], weights.statistics()["gen"]["negative"]
    (6.0, 1)
    """

    rows: Mapping[str, Mapping[str, Any]]

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in self.rows:
            raise WeightError(f"There are no statistics of {name!r}.\n{suggestion(str(name), self.rows)}")
        return self.rows[name]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """`{name: {"entries": ..., "sumw": ..., ...}}`."""
        return {name: dict(row) for name, row in self.rows.items()}

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each weight; needs pandas."""
        return frame({"weight": list(self.rows)}, {key: np.array(self._column(key)) for key in (*SUMS, *_STARTS)})

    def __add__(self, other: Any) -> WeightStatistics:
        if isinstance(other, int) and other == 0:  # with which Python's sum() begins
            return self
        if not isinstance(other, WeightStatistics):
            return NotImplemented
        rows = self.to_dict()
        for name, row in other.rows.items():
            mine = rows.get(name)
            rows[name] = dict(row) if mine is None else _added(mine, row)
        return WeightStatistics(rows)

    __radd__ = __add__

    @classmethod
    def _stacked(cls, each: Mapping[str, WeightStatistics]) -> WeightStatistics:
        """The statistics of a processor that ran once for each variation: those of the nominal."""
        return each[NOMINAL]

    @classmethod
    def _total(cls, parts: Sequence[WeightStatistics]) -> WeightStatistics:
        """The sum of several statistics."""
        return reduce(operator.add, parts)

    def _nothing(self) -> WeightStatistics:
        """Statistics of the same weights, of no events."""
        return WeightStatistics({name: dict.fromkeys(SUMS, 0) | _STARTS for name in self.rows})

    def __eq__(self, other: object) -> bool:
        return self.rows == other.rows if isinstance(other, WeightStatistics) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _column(self, key: str) -> list[Any]:
        return [row[key] for row in self.rows.values()]

    def _table(self) -> TextTable:
        keys = ("entries", "sumw", "sumw2", "min", "max", "negative", "zero", "nan")
        rows = [[name, *(number(row[key]) for key in keys)] for name, row in self.rows.items()]
        return TextTable("Statistics of weights", ["weight", *keys], rows)

    def __repr__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()


def _added(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    row = {key: one[key] + two[key] for key in SUMS}
    return row | {"min": min(one["min"], two["min"]), "max": max(one["max"], two["max"])}


@dataclass(frozen=True)
class LazyWeightStatistics:
    """Statistics of recorded weights, before they are computed."""

    parts: Mapping[str, Mapping[str, Any]]  # recorded reductions

    def compute(self, **options: Any) -> Any:
        """The WeightStatistics; the options are those of `hg.compute`."""
        return compute(self, **options)

    def __getattr__(self, name: str) -> Any:
        if hasattr(WeightStatistics, name) and not name.startswith("__"):
            raise LazyError(f"Statistics have no {name} before they are computed; use .compute() first.")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __getitem__(self, name: str) -> Any:
        raise LazyError("Statistics are not known before they are computed; use .compute() first.")

    def __add__(self, other: Any) -> Any:
        raise LazyError("Statistics add up after they are computed; use .compute() first.")

    def __repr__(self) -> str:
        return f"<hepgraph.WeightStatistics of {', '.join(self.parts)}: .compute()>"

    def __deepcopy__(self, memo: Any) -> LazyWeightStatistics:
        return self

    def lazy(self) -> Lazy:
        """All reductions, in one record."""
        values = [value for row in self.parts.values() for value in row.values()]
        return Lazy(Record({str(i): value._form for i, value in enumerate(values)}, None, True), TOTAL)

    def finished(self, values: Any) -> WeightStatistics:
        """The statistics, from the record of computed reductions."""
        found = iter(values.tolist())
        return WeightStatistics({name: _settled({key: next(found) for key in row}) for name, row in self.parts.items()})


def statistics_of(weights: Mapping[str, Any]) -> WeightStatistics | LazyWeightStatistics:
    """The statistics of arrays by name, recorded if the arrays are."""
    rows = {name: _reductions(values) for name, values in weights.items()}
    if any(isinstance(values, Lazy) for values in weights.values()):
        return LazyWeightStatistics(rows)
    return WeightStatistics({name: _settled(row) for name, row in rows.items()})


def _reductions(x: Any) -> dict[str, Any]:
    finite = np.isfinite(x)
    good = x[finite]
    return {
        "entries": ak.count(x),
        "sumw": ak.sum(good),
        "sumw2": ak.sum(good * good),
        "negative": ak.sum(good < 0),
        "zero": ak.sum(good == 0),
        "nan": ak.sum(~finite),
        "min": ak.min(good),
        "max": ak.max(good),
    }


def _settled(row: Mapping[str, Any]) -> dict[str, Any]:
    """Plain numbers; None, of no weights at all, as the number with which a minimum or maximum starts."""
    found = {key: _STARTS[key] if value is None else value for key, value in row.items()}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in found.items()}


def _split(statistics: LazyWeightStatistics) -> Sinks:
    first = next(value for row in statistics.parts.values() for value in row.values())
    return [(first._origin, TotalSink.of(statistics.lazy()))]


def _finished(statistics: LazyWeightStatistics, values: list[Any]) -> WeightStatistics:
    return statistics.finished(values[0])


KINDS[LazyWeightStatistics] = _split
FINISH[LazyWeightStatistics] = _finished

"""Cutflows: how many events pass cut after cut, or all cuts but one, as results that add up."""

from __future__ import annotations

import html
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, NoReturn

import hist
import numpy as np

from hepgraph.arguments import no_attribute
from hepgraph.disk.plain import plain
from hepgraph.errors import LazyError, SelectionError, suggestion
from hepgraph.hist.histogram import Hist
from hepgraph.kit.per_event import PerEvent
from hepgraph.kit.table import TextTable, frame, listed, nested, number, percent
from hepgraph.kit.weights import Weights
from hepgraph.lazy.results import NOMINAL, ByVariation, known_as
from hepgraph.runner.compute import FINISH, KINDS, Sinks, compute
from hepgraph.runner.variations import WANTS, ByName

ALL = "all events"  # the first row
VARIATION = "variation"


@plain
@dataclass(frozen=True, eq=False, repr=False)
class Cutflow(ByVariation):
    """Numbers of events that pass a cut and all cuts before it, by category and variation; cutflows add up.

    `axes` has the labels of each axis: `cut`, categories, and `variation` if something varied, `"nominal"` first. The
    arrays have these axes: `raw` the numbers of events; `sumw` and `sumw2` the sums of weights and of their squares,
    None without weights. `alone` has, if it was asked for, those that pass each cut, whatever the others say.

    >>> import hepgraph as hg, awkward as ak
    >>> events = hg.from_awkward(ak.Array({"n": [1, 2, 3, 4]}))
    >>> selection = hg.Selection(events, two=events.n >= 2, even=events.n % 2 == 0)
    >>> flow = selection.cutflow().compute()
    >>> flow
    Cutflow
    cut         events  efficiency  of the last
    all events       4    100.00 %            -
    two              3     75.00 %      75.00 %
    even             2     50.00 %      66.67 %
    >>> (flow + flow)["even"]
    {'raw': 4}
    """

    axes: Mapping[str, Sequence[str]]
    raw: Any
    sumw: Any = None
    sumw2: Any = None
    alone: Cutflow | None = None

    _RELATIVE = "of the last"

    @property
    def labels(self) -> list[str]:
        """The labels of the rows."""
        return list(self.axes["cut"])

    @property
    def categories(self) -> dict[str, list[str]]:
        """The labels of the categories, by axis."""
        return {name: list(labels) for name, labels in self.axes.items() if name not in ("cut", VARIATION)}

    @property
    def variations(self) -> tuple[str, ...]:
        """The names of the variations, `"nominal"` first; none if nothing varied."""
        return tuple(self.axes.get(VARIATION, ()))

    @property
    def columns(self) -> dict[str, Any]:
        """The arrays that there are, by name."""
        found = {"raw": self.raw, "sumw": self.sumw, "sumw2": self.sumw2}
        return {name: values for name, values in found.items() if values is not None}

    @property
    def efficiency(self) -> Any:
        """The share of all events, by weight if there are weights, NaN of none."""
        return _share(self._yield, self._yield[:1])

    @property
    def relative(self) -> Any:
        """The share of the events of the row before, NaN of none."""
        return _share(self._yield, np.concatenate([self._yield[:1], self._yield[:-1]]))

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(int(x.nbytes) for x in self.columns.values()) + (self.alone.nbytes if self.alone else 0)

    @property
    def _yield(self) -> Any:
        return self.raw if self.sumw is None else self.sumw

    def select(self, **labels: str) -> Cutflow:
        """The cutflow of one label on some axes: `select(lepton="e", variation="JES_up")`.

        Without variations it is that of the nominal. Raises SelectionError for axes and labels that there are not.
        """
        if not self.variations and VARIATION in labels:
            if labels[VARIATION] != NOMINAL:
                raise SelectionError(
                    "This cutflow has no variations: none reached it, or none changed anything. For "
                    f"{labels[VARIATION]!r}, take it as it is."
                )
            labels = {name: label for name, label in labels.items() if name != VARIATION}
        places: list[Any] = [slice(None)] * len(self.axes)
        for name, label in labels.items():
            if name == "cut" or name not in self.axes:
                others = [axis for axis in self.axes if axis != "cut"]
                raise SelectionError(f"This cutflow has no axis {name!r}.\n{suggestion(name, others)}")
            if label not in self.axes[name]:
                raise SelectionError(f"Axis {name!r} has no {label!r}.\n{suggestion(str(label), self.axes[name])}")
            places[list(self.axes).index(name)] = list(self.axes[name]).index(label)
        axes = {name: list(known) for name, known in self.axes.items() if name not in labels}
        columns = {name: np.asarray(values[tuple(places)]) for name, values in self.columns.items()}
        return type(self)(axes, **columns, alone=self.alone.select(**labels) if self.alone else None)

    def __getattr__(self, name: str) -> NoReturn:
        raise no_attribute(type(self).__name__, name, dir(self))

    def __getitem__(self, label: str) -> Any:
        if label not in self.labels:
            raise SelectionError(f"There is no row {label!r}.\n{suggestion(str(label), self.labels)}")
        return self.to_dict()[label]

    def to_dict(self) -> dict[str, Any]:
        """`{label: {"raw": ..., "sumw": ..., "sumw2": ...}}`; with categories and variations, nested by them below."""
        columns = self.columns

        def value(at: tuple[int, ...]) -> dict[str, Any]:
            return {name: values[at].item() for name, values in columns.items()}

        return nested(list(self.axes.values()), value)  # type: ignore[no-any-return]

    def to_pandas(self) -> Any:
        """A DataFrame of the columns raw, sumw and sumw2, indexed by cut, categories and variation; needs pandas."""
        return frame(self.axes, self.columns)

    def plot(self, **options: Any) -> Any:
        """A matplotlib figure with the nominal numbers of each category; the options are `ncols`, `logy`, `title`."""
        from hepgraph.hist.plot import grid

        panels = {}
        for title, part in self._parts():
            h = hist.Hist.new.StrCat(part.labels, name="cut", label=" ").Weight()
            h.view()["value"] = part._yield
            h.view()["variance"] = part.raw if part.sumw2 is None else part.sumw2
            panels[title] = h
        return grid(panels, **options)

    # adding up

    def __add__(self, other: Any) -> Cutflow:
        if isinstance(other, int) and other == 0:  # with which Python's sum() begins
            return self
        if not isinstance(other, Cutflow):
            return NotImplemented
        return self._total([self, other])

    __radd__ = __add__

    @classmethod
    def _total(cls, parts: Sequence[Cutflow]) -> Cutflow:
        """The sum of several cutflows, each with all variations that one of them has."""
        first = parts[0]
        for other in parts[1:]:
            _check_alike(first._shape, other._shape)
        names = list(dict.fromkeys(name for part in parts for name in part.variations))
        each = [part._spread(names) for part in parts]
        columns = {name: reduce(operator.add, [columns[name] for columns in each]) for name in first.columns}
        alone = cls._total([part.alone for part in parts if part.alone is not None]) if first.alone else None
        axes = {name: list(labels) for name, labels in first.axes.items() if name != VARIATION}
        return type(first)(axes | ({VARIATION: names} if names else {}), **columns, alone=alone)

    def _nothing(self) -> Cutflow:
        """A cutflow like this one, of no events."""
        columns = {name: np.zeros_like(values) for name, values in self.columns.items()}
        return type(self)(self.axes, **columns, alone=self.alone._nothing() if self.alone else None)

    @property
    def _shape(self) -> Shape:
        axes = {name: list(labels) for name, labels in self.axes.items() if name != VARIATION}
        return Shape(type(self), axes, self.sumw is not None, self.alone is not None)

    def _spread(self, names: Sequence[str]) -> dict[str, Any]:
        """The columns for these variations; one that is not known here has changed nothing, and is the nominal.

        Of a combination that is not known here, the part that is.
        """
        if not names:
            return self.columns
        if not self.variations:
            return {name: np.repeat(values[..., None], len(names), axis=-1) for name, values in self.columns.items()}
        known = self.variations
        at = [known.index(known_as(name, known)) for name in names]
        return {name: values[..., at] for name, values in self.columns.items()}

    @classmethod
    def _stacked(cls, each: Mapping[str, Cutflow]) -> Cutflow:
        """The cutflows of a processor that ran once for each variation as one; one alone if they are the same."""
        nominal = each[NOMINAL]
        if nominal.variations or all(flow == nominal for flow in each.values()):
            return nominal
        return cls._stack(each)

    @classmethod
    def _stack(cls, each: Mapping[str, Cutflow]) -> Cutflow:
        nominal = each[NOMINAL]
        columns = {name: np.stack([flow.columns[name] for flow in each.values()], axis=-1) for name in nominal.columns}
        alone = {name: flow.alone for name, flow in each.items() if flow.alone is not None}
        axes = {**nominal.axes, VARIATION: list(each)}
        return cls(axes, **columns, alone=Cutflow._stack(alone) if alone else None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cutflow) or type(self) is not type(other):
            return NotImplemented
        if self._shape != other._shape:
            return False
        names = list(dict.fromkeys([*self.variations, *other.variations]))
        mine, theirs = self._spread(names), other._spread(names)
        same = all(np.array_equal(values, theirs[name], equal_nan=True) for name, values in mine.items())
        return same and self.alone == other.alone

    __hash__ = None  # type: ignore[assignment]

    # showing

    def _parts(self) -> list[tuple[str, Cutflow]]:
        """The nominal cutflow of each combination of categories, with a title."""
        nominal = self.select(variation=NOMINAL) if self.variations else self
        axes = self.categories
        found = []
        for labels in product(*axes.values()):
            chosen = dict(zip(axes, labels, strict=True))
            title = ", ".join(f"{name} {label}" for name, label in chosen.items())
            found.append((title or type(self).__name__, nominal.select(**chosen)))
        return found

    def _tables(self) -> list[TextTable]:
        return [part._table(title) for title, part in self._parts()]

    def _table(self, title: str) -> TextTable:
        shares = self._yield
        before = self._compared()
        columns: dict[str, list[str]] = {"cut": self.labels, "events": [number(n) for n in self.raw]}
        if self.sumw is not None:
            columns["sumw"] = [number(w) for w in self.sumw]
            columns["±"] = [number(w) for w in np.sqrt(self.sumw2)]
        columns["efficiency"] = [percent(part, shares[0]) for part in shares]
        columns[self._RELATIVE] = ["-" if other is None else percent(*other) for other in before]
        if self.alone is not None:
            columns["alone"] = [number(n) for n in self.alone.raw]
        return TextTable(title, list(columns), list(zip(*columns.values(), strict=True)))

    def _compared(self) -> list[tuple[Any, Any] | None]:
        """For each row, the part and the whole whose share says how much the cut takes away."""
        return [None, *((part, whole) for whole, part in zip(self._yield[:-1], self._yield[1:], strict=True))]

    def _more(self) -> str:
        if len(self.variations) < 2:
            return ""
        return f"nominal; .select(variation=...) has {listed(self.variations[1:])}"

    def __repr__(self) -> str:
        tables = [table.text() for table in self._tables()]
        return "\n\n".join([*tables, self._more()] if self._more() else tables)

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self._tables()) + f"<p>{html.escape(self._more())}</p>"


@plain
@dataclass(frozen=True, eq=False, repr=False)
class NminusOne(Cutflow):
    """Numbers of events that pass all cuts but one, as those of a Cutflow; the last row has those that pass all."""

    _RELATIVE = "all cuts of these"

    @property
    def relative(self) -> Any:
        """The share of events that pass all cuts among those that pass all others: what each cut keeps."""
        return _share(np.broadcast_to(self._yield[-1:], self._yield.shape), self._yield)

    def _compared(self) -> list[tuple[Any, Any] | None]:
        return [None, *((self._yield[-1], whole) for whole in self._yield[1:-1]), None]


def _share(part: Any, whole: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole == 0, np.nan, part / whole)


@dataclass(frozen=True)
class Shape:
    """The kind of a cutflow, the labels of its axes, and which numbers it has: what is alike where cutflows add up."""

    kind: type[Cutflow]
    axes: Mapping[str, Sequence[str]]
    weighted: bool
    alone: bool


def _check_alike(one: Shape, two: Shape) -> None:
    """Raises SelectionError, with the first difference, for cutflows that do not add up."""
    problem = ""
    if one.kind is not two.kind:
        problem = f"one is a {one.kind.__name__}, the other a {two.kind.__name__}"
    elif names := [name for name in {**one.axes, **two.axes} if one.axes.get(name) != two.axes.get(name)]:
        told = [listed(each.axes.get(names[0], ())) or "not there" for each in (one, two)]
        problem = f"axis {names[0]!r} is {told[0]} in one, {told[1]} in the other"
    elif one.weighted != two.weighted:
        problem = "one has weights, the other has none"
    elif one.alone != two.alone:
        problem = "one was made with alone=True, the other was not"
    if problem:
        raise SelectionError(f"These cutflows do not add up: {problem}.")


# counting

_RESULTS = {name for name in (*vars(Cutflow), *Cutflow.__dataclass_fields__) if not name.startswith("_")} - {"axes"}


@dataclass(frozen=True)
class CutRow:
    """The masks that the events of one row of a cutflow pass, and those of its cut alone."""

    label: str
    masks: tuple[Any, ...]
    alone: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class LazyCutflow:
    """A cutflow of recorded masks, before it is computed."""

    kind: type[Cutflow]
    labels: tuple[str, ...]
    alone: bool
    counts: Hist
    sums: Hist | None

    def compute(self, **options: Any) -> Any:
        """The Cutflow; the options are those of `hg.compute`."""
        return compute(self, **options)

    def __add__(self, other: Any) -> LazyCutflow:
        if isinstance(other, int) and other == 0:
            return self
        if not isinstance(other, LazyCutflow):
            return NotImplemented
        _check_alike(self._shape, other._shape)
        sums = None if self.sums is None or other.sums is None else self.sums + other.sums
        return LazyCutflow(self.kind, self.labels, self.alone, self.counts + other.counts, sums)

    __radd__ = __add__

    @property
    def _shape(self) -> Shape:
        axes = {axis.name: list(axis) for axis in list(self.counts.axes)[1:] if axis.name != VARIATION}
        return Shape(self.kind, {"cut": list(self.labels), **axes}, self.sums is not None, self.alone)

    def __getattr__(self, name: str) -> Any:
        if name in _RESULTS:
            raise LazyError(f"A cutflow has no {name} before it is computed; use .compute() first.")
        raise no_attribute(type(self).__name__, name, [*_RESULTS, *dir(type(self))])

    def __getitem__(self, label: str) -> Any:
        raise LazyError("A cutflow has no rows before it is computed; use .compute() first.")

    def __repr__(self) -> str:
        return f"<hepgraph.{self.kind.__name__} of {listed(self.labels[1:])}: .compute()>"

    def __deepcopy__(self, memo: Any) -> LazyCutflow:
        return self

    def hists(self) -> list[Hist]:
        """The histograms that count."""
        return [self.counts] if self.sums is None else [self.counts, self.sums]

    def finished(self, counts: Any, sums: Any = None) -> Cutflow:
        """The cutflow of filled histograms."""
        n = len(self.labels)
        axes: dict[str, list[str]] = {"cut": list(self.labels)}
        axes |= {axis.name: list(axis) for axis in list(counts.axes)[1:] if axis.name != VARIATION}
        columns, names = _columns(counts, sums)
        axes |= {VARIATION: names} if names else {}
        alone = Cutflow(axes, **{name: values[n:] for name, values in columns.items()}) if self.alone else None
        return self.kind(axes, **{name: values[:n] for name, values in columns.items()}, alone=alone)


def _columns(counts: Any, sums: Any) -> tuple[dict[str, Any], list[str]]:
    """The arrays of a cutflow, and the names of its variations; where masks do not vary, the counts do not."""
    axes = [axis.name for axis in counts.axes]
    columns = {"raw": np.asarray(counts.view()).astype(np.int64)}
    names = list(counts.axes[VARIATION]) if VARIATION in axes else []
    if sums is not None:
        weighted = [axis.name for axis in sums.axes]
        if VARIATION in weighted and not names:
            names = list(sums.axes[VARIATION])
            columns["raw"] = np.repeat(columns["raw"][..., None], len(names), axis=-1)
        elif VARIATION in weighted and list(sums.axes[VARIATION]) != names:
            known, names = names, list(sums.axes[VARIATION])
            at = [known.index(known_as(name, known)) for name in names]
            columns["raw"] = columns["raw"][..., at]
        columns["sumw"] = np.array(sums.view()["value"])
        columns["sumw2"] = np.array(sums.view()["variance"])
    return columns, names


def counted(
    kind: type[Cutflow],
    table: Sequence[CutRow],
    categories: Mapping[str, Mapping[str, Any]],
    weight: Any,
    rows: PerEvent,
) -> Cutflow | LazyCutflow:
    """The cutflow of some rows of events: computed, or recorded if their masks are.

    `categories` has, by axis and label, the masks of categories; `weight` has one value for each event, is a dict of
    such by variation, lazy Weights, or None.
    """
    parts = [row.masks for row in table] + [row.alone for row in table if row.alone is not None]
    axes = [hist.axis.Integer(0, len(parts), name="cut", flow=False)]
    axes += [hist.axis.StrCategory(list(masks), name=name, flow=False) for name, masks in categories.items()]
    counts = Hist(*axes, storage=hist.storage.Int64())
    each: Mapping[str | None, Any] = weight if isinstance(weight, Mapping) else {None: weight}
    if isinstance(weight, Mapping):
        axes.append(hist.axis.StrCategory(list(weight), name=VARIATION, flow=False))
    sums = None if weight is None else Hist(*axes, storage=hist.storage.Weight())
    for i, masks in enumerate(parts):
        index = rows.full(np.int64(i))
        for labels in product(*categories.values()):
            sorting = [categories[name][label] for name, label in zip(categories, labels, strict=True)]
            some = reduce(operator.and_, [*masks, *sorting]) if masks or sorting else None
            counts.fill(index if some is None else index[some], *labels)
            if sums is None:
                continue
            for name, values in each.items():
                own = labels if name is None else (*labels, name)
                alike = some is None or isinstance(values, Weights)  # which follow what is filled
                sums.fill(index if some is None else index[some], *own, weight=values if alike else values[some])
    alone = len(parts) > len(table)
    flow = LazyCutflow(kind, tuple(row.label for row in table), alone, counts, sums)
    return flow if rows.lazy else flow.finished(*flow.hists())


def _split(flow: LazyCutflow) -> Sinks:
    return [part for h in flow.hists() for part in KINDS[Hist](h)]


def _finished(flow: LazyCutflow, values: list[Any]) -> Cutflow:
    first = len(KINDS[Hist](flow.counts))
    parts = [values[:first], values[first:]]
    return flow.finished(*(FINISH[Hist](h, part) for h, part in zip(flow.hists(), parts, strict=False)))


def _by_variation(flow: LazyCutflow) -> ByName:
    """The items that each variation looks at; those of a histogram that is not varied are the nominal's."""
    found: ByName = {}
    for h in flow.hists():
        plain = {NOMINAL: [(origin, item) for origin, sink in KINDS[Hist](h) for item in sink.wants]}
        for name, items in (WANTS[Hist](h) or plain).items():
            found.setdefault(name, []).extend(items)
    return found if len(found) > 1 else {}


WANTS[LazyCutflow] = _by_variation
KINDS[LazyCutflow] = _split
FINISH[LazyCutflow] = _finished

"""Histograms of varied arrays: one fill for each variation, on an axis called `variation`.

The axis is the user's own, wherever it stands, or one is added at the end. A name that a fill does not know is filled
with its nominal, so that the bins of a variation are those of a run in which it is the nominal.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from typing import Any

import boost_histogram as bh
import hist
import numpy as np

from hepgraph.errors import FillError, LazyError, VariationWarning, suggestion
from hepgraph.hist.merge import averaged, averages, counting, counts_only, merged, moments, with_axes
from hepgraph.hist.recording import Fill, Weighed, by_axis, check_kinds, recorded
from hepgraph.kernel.output import Moments
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.results import NOMINAL, Variations, known_as
from hepgraph.lazy.varied import chosen, mapped

AXIS = "variation"
# in a histogram; what begins like this is not written into files
_NAMES = "@variations"
_BY_HAND = "@variations by hand"


@dataclass(frozen=True)
class VariedFill:
    """One call of `fill`, as it is in each variation; the histogram is to get an axis for them."""

    names: tuple[str, ...]
    fills: tuple[Fill, ...]
    crossed: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def _each(self) -> dict[str, Fill]:
        return dict(zip(self.names, self.fills, strict=True))


def own_axis(h: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """The place of the histogram's axis for variations, if this fill has no value for it."""
    place = next((i for i, axis in enumerate(h.axes) if axis.name == AXIS), None)
    if place is None or AXIS in kwargs or len(args) + len(kwargs) >= h.ndim:
        return None
    if not isinstance(h.axes[place], bh.axis.StrCategory):
        raise FillError(f"The axis {AXIS!r} takes the names of variations: StrCat([], growth=True, name={AXIS!r}).")
    return place


def mark(h: Any, own: int | None) -> None:
    """Notes whether a histogram with an axis for variations was filled with the nominal without being told so."""
    if own is not None:
        h.__dict__.setdefault(_NAMES, (NOMINAL,))
    elif _has_axis(h):
        h.__dict__[_BY_HAND] = True


def _by_hand(h: Any) -> bool | None:
    """Whether the arrays that were filled at once came with names of variations; None if there were none."""
    return True if _BY_HAND in h.__dict__ else False if _NAMES in h.__dict__ else None


_MIXED = (
    f"This histogram has fills with a value for the axis {AXIS!r}, and others without one, that get the names of "
    f"variations. Leave {AXIS}= out of all of them: what does not vary is in each variation as in the nominal."
)


def others(h: Any, own: int | None) -> list[Any]:
    """The axes that a fill has values for."""
    return [axis for i, axis in enumerate(h.axes) if i != own]


def with_name(values: Sequence[Any], own: int | None, name: str) -> tuple[Any, ...]:
    """The values of a fill, with the name of a variation on its axis, which is the last where there is none yet."""
    place = len(values) if own is None else own
    return (*values[:place], name, *values[place:])


def record(h: Any, values: Sequence[Any], weight: Any, sample: Any, own: int | None) -> Fill | VariedFill:
    """A fill as it is recorded, in each variation if there are some."""
    axes = others(h, own)
    weighed = Weighed.of(weight)

    def one(values: Sequence[Any], weight: Any, sample: Any, factors: Mapping[str, Any]) -> Fill:
        check_kinds(axes, values, weight, sample)
        like = next((x for x in values if isinstance(x, Lazy)), weight)
        return recorded(values, weight, sample, weighed.checks(factors, like))

    results, crossed = mapped(one, values, weighed.weight, sample, weighed.factors)
    alike = own is not None
    if _has_axis(h) and (any(isinstance(fill, VariedFill) != alike for fill in h.fills) or _by_hand(h) == alike):
        raise FillError(_MIXED)
    if len(results) == 1 and own is None:
        plain: Fill = results[NOMINAL]
        return plain
    if _has_axis(h):
        _check_own(h, own, list(results))
    return VariedFill(tuple(results), tuple(results.values()), tuple(crossed.items()))


def fill_each(h: Any, args: Sequence[Any], kwargs: Mapping[str, Any], weights: Mapping[str, Any], sample: Any) -> Any:
    """Fills a histogram with computed arrays, once for each of some weights by variation; it has an axis for them."""
    own = own_axis(h, args, kwargs)
    if own is None:
        raise FillError(
            f"These weights have variations ({', '.join(list(weights)[1:5])}), and the histogram has no axis for them: "
            f'give it StrCat([], growth=True, name="{AXIS}"), or write weight=weights.weight("{NOMINAL}").'
        )
    _check_own(h, own, list(weights))
    values = by_axis(others(h, own), args, kwargs)
    for name, weight in weights.items():
        h.fill(*with_name(values, own, name), weight=weight, sample=sample)
    return h


def _check_own(h: Any, own: int | None, names: Sequence[str]) -> None:
    """Raises FillError for a histogram with an axis for variations that cannot hold these."""
    if own == h.ndim:  # it gets one
        return
    if own is None:
        raise FillError(
            f"This fill has a value for the axis {AXIS!r}, and is varied by {', '.join(names[1:5])} as well. Leave "
            f"{AXIS}= out: the axis gets the names of the variations."
        )
    axis = next(axis for axis in h.axes if axis.name == AXIS)
    known = list(axis)
    if not axis.traits.growth and (unknown := [name for name in names if name not in known]):
        raise FillError(
            f"The axis {AXIS!r} has no category {unknown[0]!r}; let it grow: StrCat([], growth=True, name={AXIS!r}).\n"
            f"{suggestion(unknown[0], known)}"
        )


def names_in(h: Any) -> tuple[str, ...]:
    """The names of all fills of a histogram; empty if none is varied."""
    names: dict[str, None] = {}
    for fill in h.fills:
        if isinstance(fill, VariedFill):
            names |= dict.fromkeys(fill.names)
    return tuple(names)


def unfolded(h: Any, names: Sequence[str]) -> tuple[list[Any], list[Fill]]:
    """The axes of a histogram, with a fixed one for the variations, and a plain fill for each call and name."""
    place = _place(h)
    own = h.axes[place] if place < h.ndim else None
    crossed = {name: members for fill in h.fills if isinstance(fill, VariedFill) for name, members in fill.crossed}
    known = [*dict.fromkeys([*(own or ()), *names])]
    axes = others(h, place)
    axes.insert(place, hist.axis.StrCategory(known, name=AXIS))
    fills = []
    for name in names:
        for fill in h.fills:
            if isinstance(fill, VariedFill):
                fill = chosen(fill, name, crossed)
            fills.append(replace(fill, args=with_name(fill.args, place, name)))
    return axes, fills


def _place(h: Any) -> int:
    return next((i for i, axis in enumerate(h.axes) if axis.name == AXIS), h.ndim)


def folded(h: Any, made: Any, before: Any) -> Any:
    """The result: what was made with a fixed axis, on the user's own, or on one that grows.

    What was filled before, with eager arrays, is the same in all variations.
    """
    place = _place(h)
    if place < h.ndim:
        own = h.axes[place]
        axis = hist.axis.StrCategory(list(made.axes[place]), growth=own.traits.growth, overflow=own.traits.overflow)
        axis.__dict__.update(own.__dict__)
    else:
        axis = hist.axis.StrCategory(list(made.axes[place]), growth=True, name=AXIS)
    axes = list(made.axes)
    axes[place] = axis
    keep = [slice(None)] * len(axes)
    keep[place] = slice(0, axis.extent)
    new = _filled(made, axes, lambda part, _: part[tuple(keep)])
    new.__dict__[_NAMES] = h.variations
    return new if is_empty(before) else added([before, new])


class VariedHist(hist.Hist, family=hist):  # type: ignore[call-arg, misc]
    """A computed histogram with variations: where it is added to another, each has all variations of the other.

    One that it does not know, it has as in its nominal.
    """

    def __add__(self, other: Any) -> Any:
        if getattr(other, "fills", None):  # which it adds itself
            return NotImplemented
        return added([self, other]) if isinstance(other, bh.Histogram) else super().__add__(other)

    def __radd__(self, other: Any) -> Any:
        return added([other, self]) if isinstance(other, bh.Histogram) else super().__radd__(other)

    def __iadd__(self, other: Any) -> Any:
        if not isinstance(other, bh.Histogram):
            return super().__iadd__(other)
        if getattr(other, "fills", None):
            raise LazyError("A computed histogram cannot take fills that wait in place; write h = h + other.")
        add_in_place(self, other)
        return self

    def __mul__(self, other: Any) -> Any:
        return self._scaled(operator.mul, other) if isinstance(other, Variations) else super().__mul__(other)

    def __rmul__(self, other: Any) -> Any:
        return self._scaled(operator.mul, other) if isinstance(other, Variations) else super().__rmul__(other)

    def __truediv__(self, other: Any) -> Any:
        return self._scaled(operator.truediv, other) if isinstance(other, Variations) else super().__truediv__(other)

    def _scaled(self, op: Callable[[Any, Any], Any], by: Variations) -> Any:
        """Each variation, scaled by the number that is its own."""
        names = tuple(dict.fromkeys([*_names_of(self), *by]))
        new = _with_all(self, names, self)
        place = _place(new)
        plain = with_axes(new, others(new, place))
        for name in names:
            at: list[Any] = [slice(None)] * new.ndim
            at[place] = list(new.axes[place]).index(name)
            one = plain.copy()
            one.view(flow=True)[...] = new.view(flow=True)[tuple(at)]
            new.view(flow=True)[tuple(at)] = op(one, by[known_as(name, by)]).view(flow=True)
        return new


def marked(h: Any) -> bool:
    """Whether a histogram with an axis for variations was filled without names for it."""
    return bool(_names_of(h))


def fitting(h: Any, fills: Sequence[Any]) -> tuple[Any, ...]:
    """Fills of a histogram that got an axis for variations: those without a value for it are of the nominal."""
    if not _has_axis(h):
        return tuple(fills)
    return tuple(
        VariedFill((NOMINAL,), (fill,)) if isinstance(fill, Fill) and len(fill.args) < h.ndim else fill
        for fill in fills
    )


def added(parts: Sequence[Any], check: Callable[[Any, Any], None] | None = None) -> Any:
    """The sum of histograms, each with all variations that one of them has.

    `check` looks at the first beside each of the others, once they have these.
    """
    names = dict.fromkeys(name for h in parts for name in _names_of(h))
    first, *rest = aligned(parts)
    if check is not None:
        for other in rest:
            check(first, other)
    found = reduce(merged, rest, first.copy())
    if not names:
        return found
    found = found if isinstance(found, VariedHist) else VariedHist(found)
    found.__dict__[_NAMES] = tuple(dict.fromkeys([NOMINAL, *names]))
    return found


def add_in_place(h: Any, other: Any) -> None:
    """Adds a histogram to one with an axis for variations, which gets all variations of the other.

    Raises FillError where other axes would be needed.
    """
    mine = _names_of(h)
    names = tuple(dict.fromkeys([*mine, *_names_of(other)]))
    if not _has_axis(h) or averages(h):
        raise FillError(
            f"A histogram cannot get other variations ({', '.join(names[1:5])}) in place; write h = h + other."
        )
    place, known = _place(h), counts_only(h) and counts_only(other)
    aligned_other = aligned([h, other])[1]
    hist.Hist.__iadd__(h, aligned_other.copy().reset())  # the axes grow, and nothing is added
    at, parts = list(h.axes[place]), np.moveaxis(hist.Hist.view(h, flow=True), place, 0)
    for name in names if mine else ():
        if name not in mine:
            parts[at.index(name)] = parts[at.index(known_as(name, mine))]
    counting(hist.Hist.__iadd__(h, aligned_other), known)
    if mine or not _by_hand(h):
        h.__dict__[_NAMES] = names


def _names_of(h: Any) -> tuple[str, ...]:
    """The names of the variations that a result was filled with; none where they were cut away."""
    names = h.__dict__.get(_NAMES, ())
    there = list(h.axes[_place(h)]) if names and _has_axis(h) else []
    return tuple(name for name in names if name in there) if NOMINAL in there else ()


def aligned(parts: Sequence[Any]) -> Sequence[Any]:
    """Results with the same variations: what one of them does not know, it has as in its nominal.

    Of a combination that it does not know, it has the part that it knows.
    """
    known = [_names_of(h) for h in parts]
    if len(set(known)) == 1 or len({h.ndim - _has_axis(h) for h in parts}) > 1:
        return parts
    places = {_place(h) for h in parts if _has_axis(h)}
    if len(places) > 1:
        raise FillError(
            f"Histograms are added up whose axes {AXIS!r} are at different places, {sorted(places)}. Declare it at the "
            "same place in each; one that is not declared is the last."
        )
    names = tuple(dict.fromkeys([NOMINAL, *chain.from_iterable(known)]))
    like = next(h for h, own in zip(parts, known, strict=True) if own)
    return [_with_all(h, names, like) for h in parts]


_ABSENT = (
    f"A histogram whose axis {AXIS!r} was filled by hand is added to one with variations: it adds nothing to {{}}. If "
    f"it is to be there as in the nominal, as data are, leave {AXIS}= out of its fills."
)


def _has_axis(h: Any) -> bool:
    return any(axis.name == AXIS for axis in h.axes)


def _with_all(h: Any, names: Sequence[str], like: Any) -> Any:
    """A result with all of these variations, on an axis like that of another."""
    known = _names_of(h)
    if not known and _has_axis(h):  # filled by hand: it means what it says
        there = list(h.axes[_place(h)])
        if there and (absent := [name for name in names if name not in there]):
            warnings.warn(VariationWarning(_ABSENT.format(", ".join(absent[:4]))), stacklevel=2)
        return h
    place = _place(like)
    own = like.axes[place]
    old = list(h.axes[place]) if known else []
    wanted = list(dict.fromkeys([*old, *own, *names]))
    axis = hist.axis.StrCategory(wanted, growth=own.traits.growth, overflow=own.traits.overflow)
    axis.__dict__.update(own.__dict__)
    places: list[int | None] = []
    for name in wanted:
        if name in names:
            places.append(old.index(known_as(name, known)) if known else 0)
        else:  # a category that is no variation
            places.append(old.index(name) if name in old else None)
    if axis.traits.overflow:
        places.append(len(old) if known else None)
    return _on_axis(h, place, axis, places, names)


def _on_axis(h: Any, place: int, axis: Any, places: Sequence[int | None], names: Sequence[str]) -> Any:
    """A histogram with another axis for variations, or one if it has none.

    `places` has, for each category and overflow, the number of the old one whose content it has, or None of nothing.
    """
    has = _has_axis(h)
    axes = others(h, place) if has else list(h.axes)
    axes.insert(place, axis)

    def change(part: Any, nothing: float) -> Any:
        old = np.moveaxis(part if has else np.expand_dims(part, place), place, 0)
        new = np.full((len(places), *old.shape[1:]), nothing, part.dtype)
        for i, k in enumerate(places):
            if k is not None:
                new[i] = old[k]
        return np.moveaxis(new, 0, place)

    found = _filled(h, axes, change)
    found.__dict__[_NAMES] = tuple(names)
    return found


def stacked(each: Mapping[str, Any]) -> Any:
    """A histogram that was filled once for each variation, as one with an axis for them; itself if it is not varied."""
    nominal = each[NOMINAL]
    place, marks = _place(nominal), _NAMES in nominal.__dict__
    if marks and _BY_HAND in nominal.__dict__:
        raise FillError(_MIXED)
    if not marks and all(_same_bins(h, nominal) for h in each.values()):
        return nominal
    if not marks:
        _check_own(nominal, None if _has_axis(nominal) else place, [*each])
    own = nominal.axes[place] if marks else None
    names = list(dict.fromkeys([*(own or ()), *each]))
    axis = hist.axis.StrCategory(names, growth=own is None or own.traits.growth, name=AXIS)
    if own is not None:
        axis.__dict__.update(own.__dict__)
    parts = []
    for name, h in each.items():
        at = list(h.axes[place]) if marks else [NOMINAL]
        here = at.index(NOMINAL) if NOMINAL in at else None
        places = [here if other == name else None for other in names] + [None] * axis.traits.overflow
        parts.append(_on_axis(h, place, axis, places, [*each]))
    return added(parts)


def _same_bins(a: Any, b: Any) -> bool:
    if any(x != y for x, y in zip(a.axes, b.axes, strict=True)):
        return False
    one, two = hist.Hist.view(a, flow=True), hist.Hist.view(b, flow=True)
    fields = one.dtype.names
    pairs = [(one[name], two[name]) for name in fields] if fields else [(one, two)]
    return all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in pairs)


def is_empty(h: Any) -> bool:
    """Whether nothing was filled into a histogram."""
    view = hist.Hist.view(h, flow=True)
    return not any(np.any(view[name]) for name in view.dtype.names) if view.dtype.names else not np.any(view)


def _filled(h: Any, axes: Sequence[Any], change: Callable[[Any, float], Any]) -> Any:
    """A histogram like another on other axes, with its bins changed; `change` gets what an empty bin holds, too."""
    new = VariedHist(with_axes(h, axes))
    if averages(h):
        nothing = (0.0, 0.0, 0.0, 0.0, np.nan)
        pairs = zip(moments(h), nothing, strict=True)
        return averaged(new, Moments._make(np.array(change(part, empty)) for part, empty in pairs))
    view, own = new.view(flow=True), hist.Hist.view(h, flow=True)
    for name in view.dtype.names or ():
        view[name] = change(own[name], 0.0)
    if not view.dtype.names:
        view[...] = change(own, 0.0)
    return new

"""Weights of events: named factors with alternatives, each applied once."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

import awkward as ak
import numpy as np

from hepgraph.arguments import checks_arguments, no_attribute
from hepgraph.errors import WeightError, many, suggestion
from hepgraph.functions.lines import Line, place, user_line
from hepgraph.graph.form import Scalar
from hepgraph.hist.recording import Weighed
from hepgraph.kit.per_event import Kind, PerEvent
from hepgraph.kit.statistics import LazyWeightStatistics, WeightStatistics, statistics_of
from hepgraph.kit.table import listed
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.results import NOMINAL
from hepgraph.lazy.varied import crossing, follow, only_in
from hepgraph.lazy.vary import once_each, vary

WEIGHTS = Kind(
    noun="Weight",
    error=WeightError,
    dtype=np.float64,
    kinds="biuf",
    no_list="make one number of it for each event: ak.prod(weight, axis=1), or weight[:, 0] for one of a fixed number.",
    no_none="say what None is: ak.fill_none(weight, 1.0).",
    no_dtype="a weight has real numbers.",
)
ALL_WEIGHTS = "all weights"


@dataclass(frozen=True)
class Factor:
    """One weight, its alternatives by the names of their variations, and the line that added it.

    `varied` is the weight with its alternatives, or where a processor runs once for each variation, the one of them.
    """

    nominal: Any
    alternatives: Mapping[str, Any]
    varied: Any
    line: Line | None

    def at(self, variation: str) -> Any:
        """The weight under one variation: the nominal, if it does not know it."""
        if variation in self.alternatives:
            return self.alternatives[variation]
        return _plain(self.nominal, variation)

    def known(self) -> tuple[str, ...]:
        """The names of its variations, also of those that it got from what it was calculated from."""
        own = self.varied.variations if isinstance(self.varied, Lazy) else ()
        return tuple(dict.fromkeys([*own, *self.alternatives]))


def _plain(x: Any, variation: str) -> Any:
    return x._at(variation) if isinstance(x, Lazy) else x


class Weights:
    """Named weights of events, which multiply; each has one number for each event, lazy or computed.

    A histogram takes them all, `fill(x, weight=weights)`; where x is lazy and some of the events, they are of the same.
    Numbers are converted to float64, and no array is changed in place.

    Parameters
    ----------
    events : array, optional
        The events, any array with an entry for each; without it, the first weight says which they are.
    nan : {"raise", "ignore"}, default "raise"
        Weights that are not finite: an error, at once of computed arrays, while running of lazy ones; or used as any.
    negative : {"raise", "ignore"}, default "ignore"
        The same for weights below zero.
    zero : {"raise", "ignore"}, default "ignore"
        The same for zeros.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> events = hg.from_awkward(ak.Array({"pt": [10.0, 60.0, 90.0], "gen": [1.0, -1.0, 2.0]}))
    >>> weights = hg.Weights(events).add("gen", events.gen).add("lumi", 0.5)
    >>> weights
    <hepgraph.Weights gen, lumi>
    >>> h = hg.Hist.new.Reg(1, 0, 100, name="pt").Weight().fill(events.pt[events.pt > 50], weight=weights)
    >>> h.compute().values().tolist(), h.compute().variances().tolist()
    ([0.5], [1.25])
    """

    @checks_arguments("The events come first: hg.Weights(events).", name="Weights")
    def __init__(
        self, events: Any = None, *, nan: str = "raise", negative: str = "ignore", zero: str = "ignore"
    ) -> None:
        self._rows = PerEvent(WEIGHTS, events)
        self._factors: dict[str, Factor] = {}
        self._asked = {"nan": nan, "negative": negative, "zero": zero}
        for kind, what in self._asked.items():
            if what not in ("raise", "ignore"):
                raise WeightError(f'{kind}= is "raise" or "ignore", not {what!r}.')

    @property
    def names(self) -> list[str]:
        """The names of the weights, in the order in which they were added."""
        return list(self._factors)

    @property
    def variations(self) -> tuple[str, ...]:
        """The names of the variations, `"nominal"` first; none if no weight has an alternative."""
        found = dict.fromkeys(name for factor in self._factors.values() for name in factor.known() if name != NOMINAL)
        return (NOMINAL, *found) if found else ()

    @checks_arguments("An alternative is the whole weight, up=weight + x.", name="Weights.add")
    def add(self, name: str, weight: Any, up: Any = None, down: Any = None) -> Weights:
        """Multiplies by a weight, and gives the weights.

        Parameters
        ----------
        name : str
            Its name, which no other weight has.
        weight : array or number
            One number for each event, or the same for all.
        up : array or number, optional
            The whole weight under the variation `NAME_up` (coffea's `weightUp`).
        down : array or number, optional
            The same under `NAME_down`. One that is not given is not made up, as coffea does it (`weight**2 / up`); a
            mirrored one is `2 * weight - up`.

        Raises
        ------
        WeightError
            If there is a weight or variation of the name, or an array is of other events, has lists, or may be None.
        """
        sides = {f"{name}_up": up, f"{name}_down": down}
        return self._added(name, weight, {side: values for side, values in sides.items() if values is not None})

    def add_many(self, name: str, weight: Any, alternatives: Mapping[str, Any] | Sequence[Any]) -> Weights:
        """Multiplies by a weight with many alternatives (replicas of a PDF, scales), and gives the weights.

        Parameters
        ----------
        name : str
            Its name, which no other weight has.
        weight : array or number
            One number for each event, or the same for all.
        alternatives : dict of str to array, or list of arrays
            The whole weight under other variations, by their names, or under `NAME_0`, `NAME_1`, ...

        Raises
        ------
        WeightError
            As `add`.
        """
        if isinstance(alternatives, Mapping):
            return self._added(name, weight, alternatives)
        if not isinstance(alternatives, list | tuple):
            raise WEIGHTS.refused(
                name,
                f"has one {type(alternatives).__name__} of alternatives; give a list of arrays: "
                "[x[:, i] for i in range(n)].",
            )
        return self._added(name, weight, {f"{name}_{i}": values for i, values in enumerate(alternatives)})

    @checks_arguments(name="Weights.weight")
    def weight(self, variation: str | None = None) -> Any:
        """The product of all weights, one number for each event.

        Parameters
        ----------
        variation : str, optional
            The variation, `"nominal"` for none. Without it, the product is a varied array, if the weights are lazy and
            have alternatives, and else the nominal.

        Raises
        ------
        WeightError
            For a variation that there is not.
        """
        factors = self._factors.values()
        if variation is None:
            return self._product([each.varied for each in factors])
        if variation != NOMINAL and variation not in self.variations:
            raise WeightError(f"No weight has the variation {variation!r}.\n{suggestion(variation, self.variations)}")
        return self._product([each.at(variation) for each in factors])

    def partial(self, include: Iterable[str] = (), *, exclude: Iterable[str] = ()) -> Weights:
        """Some of the weights, as Weights of their own.

        Parameters
        ----------
        include : list of str, optional
            The names of those that are taken.
        exclude : list of str, optional
            The names of those that are left out, in place of `include`.

        Raises
        ------
        WeightError
            For weights that there are not; the message gives the nearest names.
        """
        include, exclude = _names("include", include), _names("exclude", exclude)
        if bool(include) == bool(exclude):
            raise WeightError("partial() takes include=[...] or exclude=[...], one of the two.")
        for name in (*include, *exclude):
            self._known(name)
        kept = [name for name in self.names if (name in include if include else name not in exclude)]
        return self._like(self._rows, {name: self._factors[name] for name in kept})

    def statistics(self) -> WeightStatistics | LazyWeightStatistics:
        """Sums, extremes and counts of each weight and alternative, and of the nominal product (`"all weights"`).

        They add up; lazy ones are computed with `.compute()`, or returned from `process`.
        """
        arrays: dict[str, Any] = {}
        for name, factor in self._factors.items():
            arrays[name] = factor.at(NOMINAL)
            arrays |= {variation: factor.at(variation) for variation in factor.alternatives}
        return statistics_of({**arrays, ALL_WEIGHTS: self.weight(NOMINAL)})

    def beside(self, values: Sequence[Any]) -> Any:
        """The weight of each event that a fill with these values has entries of.

        Histograms ask for it. Lazy values know by which masks they were cut, and so are the weights. Computed weights
        with alternatives are a dict of them, by variation.

        Parameters
        ----------
        values : list of arrays
            The values on the axes.

        Raises
        ------
        WeightError
            For computed values of other events, and for lazy values beside weights of computed ones.
        """
        weight = self.weight()
        if isinstance(weight, Lazy):
            like = next((x for x in values if isinstance(x, Lazy)), weight)
            factors = {name: factor.varied for name, factor in self._factors.items()}
            return Weighed(follow(_cut_alike, self._refusing(weight), like), factors, self._checks)
        if any(isinstance(x, Lazy) for x in values):
            raise WeightError(
                "These are weights of computed arrays, and a fill of lazy ones. Begin with hg.Weights(events) of the "
                "lazy events, and add to them what is computed."
            )
        for x in values:
            if isinstance(x, ak.Array | np.ndarray | list | tuple) and len(x) != len(weight):
                raise WeightError(
                    f"There are weights of {len(weight)} events, and a fill of {len(x)}; of the events that pass a "
                    "mask write weight=weights[mask]."
                )
        if self.variations and not once_each():
            return {name: self.weight(name) for name in self.variations}
        return weight

    def __getitem__(self, mask: Any) -> Weights:
        """The weights of the events that pass a mask."""
        if isinstance(mask, str):
            return self.partial([mask])

        def cut(factor: Factor) -> Factor:
            others = {name: values[_plain(mask, NOMINAL)] for name, values in factor.alternatives.items()}
            return Factor(factor.nominal[mask], others, factor.varied[mask], factor.line)

        return self._like(self._rows.cut(mask), {name: cut(factor) for name, factor in self._factors.items()})

    def __copy__(self) -> Weights:
        made = object.__new__(type(self))
        made.__dict__ |= vars(self) | {"_rows": copy.copy(self._rows), "_factors": dict(self._factors)}
        return made

    def __deepcopy__(self, memo: Any) -> Weights:
        return copy.copy(self)  # nothing changes the arrays

    def __getattr__(self, name: str) -> NoReturn:
        raise no_attribute("Weights", name, dir(type(self)))

    def __mul__(self, other: Any) -> NoReturn:
        raise WeightError(
            'Weights are multiplied by what is added to them: weights.add("name", x). Their product as an array is '
            "weights.weight()."
        )

    __rmul__ = __truediv__ = __rtruediv__ = __mul__
    __array_ufunc__ = None  # so that arrays leave it to these

    def __contains__(self, name: object) -> bool:
        return name in self._factors

    def __len__(self) -> int:
        return len(self._factors)

    def __repr__(self) -> str:
        varied = len(self.variations) - 1
        more = f", {many(varied, 'variation')}" if varied > 0 else ""
        return f"<hepgraph.Weights {listed(self.names) or 'of none'}{more}>"

    def _added(self, name: str, weight: Any, alternatives: Mapping[str, Any]) -> Weights:
        if not isinstance(name, str) or not name or name == ALL_WEIGHTS:
            raise WeightError(f"A weight cannot have the name {name!r}: it is a string, and not {ALL_WEIGHTS!r}.")
        if name in self._factors:
            line = self._factors[name].line
            where = f", at {place(line)}" if line else ""
            raise WeightError(f"Weight {name!r} was applied before{where}; twice would be once too often.")
        if NOMINAL in alternatives:
            raise WeightError(f"Weight {name!r} has an alternative called {NOMINAL!r}; that is the weight itself.")
        nominal = self._checked(self._rows, name, weight)
        names = {NOMINAL, *crossing(nominal)}  # an alternative is one of the nominal, unless it is crossed with others
        rows = self._rows.only(names)
        others = {each: self._checked(rows, each, only_in(values, names)) for each, values in alternatives.items()}
        varied = vary(nominal, others) if others and (isinstance(nominal, Lazy) or once_each()) else nominal
        plain = {each: _plain(values, NOMINAL) for each, values in others.items()}
        self._factors[name] = Factor(nominal, plain, varied, user_line())
        return self

    def _checked(self, rows: PerEvent, name: str, values: Any) -> Any:
        """A weight as an array; raises for numbers that are refused, unless they are not known yet."""
        array = rows.checked(name, values)
        if isinstance(array, Lazy) and isinstance(values, Lazy):
            return array  # while running
        computed = np.atleast_1d(np.array(ak.to_numpy(values) if isinstance(values, ak.Array) else values, np.float64))
        for kind, bad in _kinds(computed).items():
            if self._asked[kind] == "raise" and bad.any():
                (first, *_), n = np.flatnonzero(bad), int(np.count_nonzero(bad))
                where = (
                    f"for {many(n, 'event')}, first for event {first}: {computed[first]}"
                    if computed.ndim
                    else "for all"
                )
                raise WEIGHTS.refused(name, f"is {_SAID[kind]} {where}. {_ADVICE.format(kind)}")
        return array

    def _checks(self, factors: Mapping[str, Lazy], like: Lazy) -> dict[tuple[str, str], Lazy]:
        """Where each factor is not what is refused, by what is said of it where it is; constants were looked at."""
        return {
            (f"Weight {name!r} is {_SAID[kind]}", _ADVICE.format(kind)): _cut_alike(~_KINDS[kind](factor), like)
            for name, factor in factors.items()
            if not _is_constant(factor)
            for kind in self._refused()
        }

    def _refusing(self, weight: Lazy) -> Any:
        """A weight that is None where it is negative or zero and that is refused: NaN is seen in what it fills."""
        asked = [kind for kind in self._refused() if kind != "nan"]
        return follow(_refusing, weight, [each.varied for each in self._factors.values()], asked) if asked else weight

    def _refused(self) -> list[str]:
        return [kind for kind, what in self._asked.items() if what == "raise"]

    def _product(self, factors: Sequence[Any]) -> Any:
        if factors:
            return reduce(operator.mul, factors)
        if not self._rows.known:
            raise WeightError("There are no weights, and no events to begin with: hg.Weights(events).")
        return self._rows.full(1.0)

    def _known(self, name: Any) -> Factor:
        if name not in self._factors:
            raise WeightError(f"There is no weight {name!r}.\n{suggestion(str(name), self._factors)}")
        return self._factors[name]

    def _like(self, rows: PerEvent, factors: dict[str, Factor]) -> Weights:
        made = Weights(**self._asked)
        made._rows, made._factors = rows, factors
        return made


def _refusing(weight: Lazy, factors: Sequence[Lazy], asked: Sequence[str]) -> Any:
    """A weight that is None where one of its factors is what is asked for; constants were looked at before."""
    bad = [_KINDS[kind](x) for x in factors if not _is_constant(x) for kind in asked]
    return ak.mask(weight, ~reduce(operator.or_, bad)) if bad else weight


def _is_constant(x: Lazy) -> bool:
    return isinstance(x._form, Scalar) and x._form.node.op == "full"


def _cut_alike(weight: Lazy, like: Lazy) -> Lazy:
    """A weight of those of its events that another array was cut to."""
    if weight._rows is like._rows and set(weight._guard) <= set(like._guard):
        return Lazy(weight._form, weight._rows, like._guard)
    return weight


_ADVICE = 'hg.Weights(..., {}="ignore") uses it all the same; statistics() counts such weights.'
_SAID = {"nan": "not finite", "negative": "negative", "zero": "zero"}


_KINDS: dict[str, Callable[[Any], Any]] = {
    "nan": lambda x: ~np.isfinite(x), "negative": lambda x: x < 0, "zero": lambda x: x == 0,
}  # fmt: skip


def _kinds(x: Any) -> dict[str, Any]:
    """Where an array is not finite, negative, zero."""
    return {kind: is_one(x) for kind, is_one in _KINDS.items()}


def _names(of: str, names: Any) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise WeightError(f"partial({of}={names!r}): give a list of names.")
    return list(names)


def weight_of(weights: Any, rows: PerEvent) -> Any:
    """Weights of some events: lazy Weights as they are, or an array, or a dict where `Weights.beside` gives one.

    Raises WeightError if they are of other events.
    """
    events = rows.as_kind(WEIGHTS)
    if not isinstance(weights, Weights):
        return events.checked("weights", weights)
    if isinstance(weights.weight(NOMINAL), Lazy):
        return weights
    found = weights.beside([])
    if isinstance(found, Mapping):
        return {name: events.checked("weights", values) for name, values in found.items()}
    return events.checked("weights", found)

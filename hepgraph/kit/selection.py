"""Selections: named cuts on events, combined, counted, and sorted into categories."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import product
from typing import Any, NoReturn

from hepgraph.arguments import checks_arguments, no_attribute
from hepgraph.errors import SelectionError, suggestion
from hepgraph.functions.lines import Line, place, user_line
from hepgraph.kit.cutflow import ALL, VARIATION, Cutflow, CutRow, LazyCutflow, NminusOne, counted
from hepgraph.kit.per_event import Kind, PerEvent
from hepgraph.kit.table import listed
from hepgraph.kit.weights import weight_of

MASKS = Kind(
    noun="Cut",
    error=SelectionError,
    dtype=bool,
    kinds="b",
    no_list="make one value of it for each event: ak.any(mask, axis=1), or ak.all(mask, axis=1).",
    no_none="say what None is: ak.fill_none(mask, False).",
    no_dtype="a mask has booleans: write a comparison, such as x > 0.",
)
ALL_CUTS = "all cuts"
_BY_PLACE = 'Write selection.{}("a", "~b") with the names of cuts, or selection.require(a=True, b=False).'
NOT = "~"


class Categories(Mapping[tuple[str, ...], Any]):
    """The masks of categories: products of the labels of named axes.

    >>> import hepgraph as hg, awkward as ak
    >>> events = hg.from_awkward(ak.Array({"e": [1, 0, 0], "j": [4, 4, 5]}))
    >>> selection = hg.Selection(events, e=events.e == 1, mu=events.e == 0, j4=events.j == 4)
    >>> for labels, mask in selection.categories(lepton=["e", "mu"], jets=["j4", "~j4"]).items():
    ...     print(labels, int(ak.sum(mask).compute()))
    ('e', 'j4') 1
    ('e', '~j4') 0
    ('mu', 'j4') 1
    ('mu', '~j4') 1
    """

    def __init__(self, axes: Mapping[str, Mapping[str, Any]]) -> None:
        self.masks = axes  # by axis and label

    @property
    def axes(self) -> dict[str, list[str]]:
        """The labels of each axis."""
        return {name: list(masks) for name, masks in self.masks.items()}

    def __getitem__(self, labels: tuple[str, ...]) -> Any:
        given = (labels,) if isinstance(labels, str) else labels
        if len(given) != len(self.masks):
            raise SelectionError(f"A category has a label for each of the axes {listed(self.masks)}, not {labels!r}.")
        found = []
        for label, (name, masks) in zip(given, self.masks.items(), strict=True):
            if label not in masks:
                raise SelectionError(f"Axis {name!r} has no {label!r}.\n{suggestion(str(label), masks)}")
            found.append(masks[label])
        return reduce(operator.and_, found)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return product(*self.masks.values())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        axes = "; ".join(f"{name}: {listed(masks)}" for name, masks in self.masks.items())
        return f"<hepgraph.Categories {axes}>"


class Selection:
    """Named cuts, as many as you like: masks with one boolean for each event, lazy or computed.

    Parameters
    ----------
    events : array, optional
        The events, any array with an entry for each; without it, the first cut says which they are.
    cuts : dict of str to mask, optional
        Cuts by name, for names that are no words of Python.
    **named : mask
        Cuts by name.

    Raises
    ------
    SelectionError
        If a mask is of other events, has lists, may be None, or a name is used twice.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> events = hg.from_awkward(ak.Array({"met": [10.0, 40.0, 90.0], "n": [1, 2, 1]}))
    >>> selection = hg.Selection(events, met=events.met > 20)
    >>> selection.add("one lepton", events.n == 1)
    <hepgraph.Selection of 2 cuts: met, one lepton>
    >>> events.met[selection.all("met", "~one lepton")].compute().to_list()
    [40.0]
    >>> selection.cutflow().compute()["one lepton"]
    {'raw': 1}
    """

    def __init__(self, events: Any = None, cuts: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        self._rows = PerEvent(MASKS, events)
        self._masks: dict[str, Any] = {}
        self._lines: dict[str, Line | None] = {}
        self.add_multiple({**(cuts or {}), **named})

    @property
    def names(self) -> list[str]:
        """The names of the cuts, in the order in which they were added."""
        return list(self._masks)

    @checks_arguments(name="Selection.add")
    def add(self, name: str, mask: Any) -> Selection:
        """Adds a cut, and gives the selection.

        Parameters
        ----------
        name : str
            Its name, which does not begin with `~`.
        mask : array of bool
            One value for each event; of lists, `ak.any(mask, axis=1)`, for None, `ak.fill_none(mask, False)`.

        Raises
        ------
        SelectionError
            If the name is used already, or the mask is no mask of the events.
        """
        if not isinstance(name, str) or not name or name.startswith(NOT) or name in (ALL, ALL_CUTS):
            raise SelectionError(
                f"A cut cannot have the name {name!r}: a name is a string, does not begin with {NOT!r}, and is not "
                f"that of a row of every cutflow ({ALL!r}, {ALL_CUTS!r})."
            )
        if name in self._masks:
            line = self._lines[name]
            where = f", at {place(line)}" if line else ""
            raise SelectionError(f"Cut {name!r} was added before{where}; a cut has a name of its own.")
        self._masks[name] = self._rows.checked(name, mask)
        self._lines[name] = user_line()
        return self

    def add_multiple(self, cuts: Mapping[str, Any]) -> Selection:
        """Adds several cuts, and gives the selection.

        Parameters
        ----------
        cuts : dict of str to array of bool
            Masks by name, as for `add`.

        Raises
        ------
        SelectionError
            As `add`.
        """
        for name, mask in cuts.items():
            self.add(name, mask)
        return self

    @checks_arguments(_BY_PLACE.format("all"), name="Selection.all")
    def all(self, *names: str) -> Any:
        """The mask of events that pass all of some cuts.

        Parameters
        ----------
        *names : str
            The cuts, `"~name"` for a negation; all of them if none is named.

        Raises
        ------
        SelectionError
            For cuts that there are not; the message gives the nearest names.

        Examples
        --------
        >>> import hepgraph as hg, numpy as np
        >>> selection = hg.Selection(a=np.array([True, True]), b=np.array([True, False]))
        >>> selection.all().tolist(), selection.all("a", "~b").tolist()
        ([True, False], [False, True])
        """
        return self._combined(operator.and_, True, names)

    @checks_arguments(_BY_PLACE.format("any"), name="Selection.any")
    def any(self, *names: str) -> Any:
        """The mask of events that pass any of some cuts.

        Parameters
        ----------
        *names : str
            The cuts, `"~name"` for a negation; all of them if none is named.

        Raises
        ------
        SelectionError
            For cuts that there are not; the message gives the nearest names.
        """
        return self._combined(operator.or_, False, names)

    def require(self, cuts: Mapping[str, bool] | None = None, /, **named: bool) -> Any:
        """The mask of events that pass some cuts, and fail others.

        Parameters
        ----------
        cuts : dict of str to bool, optional
            Cuts that are passed (True) or failed (False), by names that are no words of Python.
        **named : bool
            The same by name.

        Raises
        ------
        SelectionError
            For cuts that there are not, and for values that are not True or False.

        Examples
        --------
        >>> import hepgraph as hg, numpy as np
        >>> selection = hg.Selection(a=np.array([True, True]), b=np.array([True, False]))
        >>> selection.require(a=True, b=False).tolist()
        [False, True]
        """
        wanted = {**(cuts or {}), **named}
        for name, value in wanted.items():
            self._known(name)
            if value not in (True, False):
                raise SelectionError(f"require({name}={value!r}): a cut is passed (True) or failed (False).")
        if not wanted:
            raise SelectionError("require() needs a cut: require(name=True), or require(name=False) for its negation.")
        return self.all(*(name if value else NOT + name for name, value in wanted.items()))

    def without(self, *names: str) -> Any:
        """The mask of events that pass all cuts but some: for a plot of what these are made of.

        Parameters
        ----------
        *names : str
            The cuts that are left out.

        Raises
        ------
        SelectionError
            For cuts that there are not; the message gives the nearest names.
        """
        for name in names:
            self._known(name)
        return self._combined(operator.and_, True, [name for name in self._masks if name not in names], some=True)

    def categories(self, **axes: Any) -> Categories:
        """The masks of categories, the products of named axes.

        Parameters
        ----------
        **axes : list of str, or dict of str to str or list of str
            The labels of each axis: cuts, or `"~cut"`; or labels with the cuts that an event passes there.

        Returns
        -------
        Categories
            A mapping of tuples of labels to masks, which `cutflow` and `nminusone` take as well.

        Raises
        ------
        SelectionError
            For cuts that there are not, and axes called `cut` or `variation`.

        Examples
        --------
        >>> import hepgraph as hg, numpy as np
        >>> selection = hg.Selection(e=np.array([True, False]), b=np.array([True, True]))
        >>> selection.categories(lepton={"electron": "e", "other": "~e"}, jets=["b"])["other", "b"].tolist()
        [False, True]
        """
        found: dict[str, dict[str, Any]] = {}
        for axis, labels in axes.items():
            if axis in ("cut", VARIATION):
                raise SelectionError(f"An axis of categories cannot be called {axis!r}; cutflows have one already.")
            wanted = labels if isinstance(labels, Mapping) else {label: label for label in _names(axis, labels)}
            found[axis] = {label: self.all(*_names(label, cuts)) for label, cuts in wanted.items()}
            if not found[axis]:
                raise SelectionError(f"Axis {axis!r} has no categories.")
        if not found:
            raise SelectionError("categories() needs an axis: categories(lepton=['e', 'mu']).")
        return Categories(found)

    @checks_arguments(name="Selection.cutflow")
    def cutflow(
        self, *names: str, weights: Any = None, categories: Any = None, alone: bool = False
    ) -> Cutflow | LazyCutflow:
        """The numbers of events that pass cut after cut.

        Parameters
        ----------
        *names : str
            The cuts, in this order; all of them, in the order in which they were added, if none is named.
        weights : Weights or array, optional
            Weights of the events, also by place: `cutflow(weights)`.
        categories : Categories or dict, optional
            What `categories` gave or takes: the numbers are counted in each category, too.
        alone : bool, default False
            Counts those that pass each cut on its own as well, for which every cut is evaluated for every event.

        Returns
        -------
        Cutflow
            Lazy if the cuts are: `.compute()`, or return it from `process`.

        Raises
        ------
        SelectionError
            For cuts that there are not, or named twice.

        Examples
        --------
        >>> import hepgraph as hg, numpy as np
        >>> selection = hg.Selection(a=np.array([True, True, False]), b=np.array([True, False, False]))
        >>> selection.cutflow(weights=np.array([2.0, 3.0, 5.0])).to_dict()["a"]
        {'raw': 2, 'sumw': 5.0, 'sumw2': 13.0}
        """
        cuts, weight = self._chosen(names, weights)
        masks = [self[name] for name in cuts]
        table = [CutRow(ALL, (), () if alone else None)]
        for i, name in enumerate(cuts):
            table.append(CutRow(name, tuple(masks[: i + 1]), (masks[i],) if alone else None))
        return counted(Cutflow, table, self._sorted(categories), weight, self._rows)

    @checks_arguments(name="Selection.nminusone")
    def nminusone(self, *names: str, weights: Any = None, categories: Any = None) -> Cutflow | LazyCutflow:
        """The numbers of events that pass all cuts but one.

        Parameters
        ----------
        *names : str
            The cuts; all of them if none is named.
        weights : Weights or array, optional
            Weights of the events, also by place: `nminusone(weights)`.
        categories : Categories or dict, optional
            What `categories` gave or takes: the numbers are counted in each category, too.

        Returns
        -------
        NminusOne
            PerEvent `all events`, `without NAME` for each cut, and `all cuts`; lazy if the cuts are.

        Examples
        --------
        >>> import hepgraph as hg, numpy as np
        >>> selection = hg.Selection(a=np.array([True, True, False]), b=np.array([True, False, False]))
        >>> selection.nminusone()["without b"]
        {'raw': 2}
        """
        cuts, weight = self._chosen(names, weights)
        masks = {name: self[name] for name in cuts}
        others = {name: tuple(mask for other, mask in masks.items() if other != name) for name in cuts}
        table = [CutRow(ALL, ()), *(CutRow(f"without {name}", those) for name, those in others.items())]
        table.append(CutRow(ALL_CUTS, tuple(masks.values())))
        return counted(NminusOne, table, self._sorted(categories), weight, self._rows)

    def __getattr__(self, name: str) -> NoReturn:
        raise no_attribute("Selection", name, dir(type(self)))

    def __getitem__(self, name: str) -> Any:
        if isinstance(name, str) and name.startswith(NOT):
            return ~self._known(name[len(NOT) :])
        return self._known(name)

    def __copy__(self) -> Selection:
        made = object.__new__(type(self))
        own = {"_rows": copy.copy(self._rows), "_masks": dict(self._masks), "_lines": dict(self._lines)}
        made.__dict__ |= vars(self) | own
        return made

    def __deepcopy__(self, memo: Any) -> Selection:
        return copy.copy(self)  # nothing changes the masks

    def __contains__(self, name: object) -> bool:
        return name in self._masks

    def __len__(self) -> int:
        return len(self._masks)

    def __repr__(self) -> str:
        n = len(self._masks)
        return f"<hepgraph.Selection of {n} cut{'' if n == 1 else 's'}{': ' if n else ''}{listed(self._masks)}>"

    def _known(self, name: Any) -> Any:
        if name not in self._masks:
            raise SelectionError(f"There is no cut {name!r}.\n{suggestion(str(name).lstrip(NOT), self._masks)}")
        return self._masks[name]

    def _combined(self, how: Any, nothing: bool, names: Any, some: bool = False) -> Any:
        """Cuts combined: all of them if none is named, unless `some` says that none is meant."""
        masks = [self[name] for name in names] if names or some else list(self._masks.values())
        if masks:
            return reduce(how, masks)
        self._check_known()
        return self._rows.full(nothing)

    def _check_known(self) -> None:
        if not self._rows.known:
            raise SelectionError("This selection has no cuts, and no events to begin with: hg.Selection(events).")

    def _chosen(self, names: tuple[Any, ...], weights: Any) -> tuple[list[str], Any]:
        """The names of cuts, and the weight of each event, which may have come as the last of the names."""
        if names and not isinstance(names[-1], str) and weights is None:
            *names, weights = names  # type: ignore[assignment]
        cuts = list(names) or self.names
        for name in cuts:
            self[name]
        if twice := [name for name in cuts if cuts.count(name) > 1]:
            raise SelectionError(f"Cut {twice[0]!r} is named twice.")
        self._check_known()
        return cuts, None if weights is None else weight_of(weights, self._rows)

    def _sorted(self, categories: Any) -> Mapping[str, Mapping[str, Any]]:
        if categories is None:
            return {}
        return (categories if isinstance(categories, Categories) else self.categories(**categories)).masks


def _names(of: str, names: Any) -> list[str]:
    """Names of cuts, one or several."""
    if isinstance(names, str):
        return [names]
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise SelectionError(f'{of!r} has {names!r} instead of names of cuts; ["a", "~b"] are such.')
    return list(names)

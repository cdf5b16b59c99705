"""Results by variation: how they add up, where one of them lacks a variation that another has."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hepgraph.errors import VariationError

NOMINAL = "nominal"


class Variations(dict[str, Any]):
    """Results by the name of the variation, "nominal" first; a name that is not there is that of the nominal.

    >>> a, b = Variations(nominal=1, JES_up=2), Variations(nominal=10, b_up=20)
    >>> a + b, 2 * a
    ({'nominal': 11, 'JES_up': 12, 'b_up': 21}, {'nominal': 2, 'JES_up': 4})
    """

    __array_ufunc__ = None  # so that NumPy's numbers leave their products to this class

    def __reduce__(self) -> Any:
        return Variations, (dict(self),)

    def _with(self, op: Callable[[Any, Any], Any], other: Any) -> Any:
        if hasattr(other, "axes") and not isinstance(other, Variations):  # a histogram, which scales each of its own
            return NotImplemented
        theirs = other if isinstance(other, Variations) else {NOMINAL: other}
        names = dict.fromkeys([*self, *theirs])
        return Variations({name: op(self[known_as(name, self)], theirs[known_as(name, theirs)]) for name in names})

    def __add__(self, other: Any) -> Any:
        return self._with(operator.add, other)

    def __sub__(self, other: Any) -> Any:
        return self._with(operator.sub, other)

    def __mul__(self, other: Any) -> Any:
        return self._with(operator.mul, other)

    def __truediv__(self, other: Any) -> Any:
        return self._with(operator.truediv, other)

    def __radd__(self, other: Any) -> Any:
        return self._with(lambda mine, theirs: theirs + mine, other)

    def __rsub__(self, other: Any) -> Any:
        return self._with(lambda mine, theirs: theirs - mine, other)

    def __rmul__(self, other: Any) -> Any:
        return self._with(lambda mine, theirs: theirs * mine, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with(lambda mine, theirs: theirs / mine, other)


class ByVariation:
    """Base of results that know their variations, and so how those of several variations or datasets are one."""

    @classmethod
    def _stacked(cls, each: Mapping[str, Any]) -> Any:
        """The results of a processor that ran once for each variation as one; one alone if they are the same."""
        raise NotImplementedError

    @classmethod
    def _total(cls, parts: Sequence[Any]) -> Any:
        """The sum of several results, each with all variations that one of them has."""
        raise NotImplementedError

    def _nothing(self) -> Any:
        """A result like this one, of no events."""
        raise NotImplementedError


def known_as(name: str, known: Collection[str]) -> str:
    """The variation among those of a result that it is in another: of a combination (`hg.cross`), the part it knows.

    Raises VariationError if it knows several parts, and not together.

    >>> known_as("JES_up", ["nominal", "btag_up"]), known_as("JES_up+btag_up", ["nominal", "btag_up"])
    ('nominal', 'btag_up')
    """
    if name in known:
        return name
    wanted = set(name.split("+"))
    parts = {other: set(other.split("+")) for other in known}
    parts = {other: own for other, own in parts.items() if own <= wanted}
    covered = set().union(*parts.values())
    for other, own in parts.items():
        if own == covered:
            return other
    if not parts:
        return NOMINAL
    raise VariationError(
        f"Results are added up of which one has {name!r}, and another {' and '.join(map(repr, parts))} without their "
        "combination. Ask for it where these are declared as well, with hg.cross, whatever the dataset."
    )

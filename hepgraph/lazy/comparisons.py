"""Comparisons of vectors: equal and close ones, directions, and what is time-like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import and_, or_
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.lazy.coordinates import dimension, same_dimension, system
from hepgraph.lazy.kinematics import eta, of_two, p, phi, rho, t, tau, tau2, theta, x, y, z

_INSTEAD = "a.like(b) or b.like(a) is in the dimensions of the other"
Formula = Callable[[Any], Any]


def inner(a: Any, b: Any) -> Any:
    """The scalar product in two or three dimensions."""
    product = x(a) * x(b) + y(a) * y(b)
    return product if dimension(a) == 2 else product + z(a) * z(b)


def _length(v: Any) -> Any:
    return rho(v) if dimension(v) == 2 else p(v)


# directions


@of_two(2)
def is_parallel(a: Any, b: Any, tolerance: Any = 1e-5) -> Any:
    """Whether the cosine of the angle between them is 1, but for `tolerance`; of four-vectors, of their momenta."""
    same_dimension(a, b, "comparison of the directions", _INSTEAD)
    return inner(a, b) > (1 - np.absolute(tolerance)) * _length(a) * _length(b)


@of_two(2)
def is_antiparallel(a: Any, b: Any, tolerance: Any = 1e-5) -> Any:
    """Whether the cosine of the angle between them is -1, but for `tolerance`; of four-vectors, of their momenta."""
    same_dimension(a, b, "comparison of the directions", _INSTEAD)
    return inner(a, b) < (np.absolute(tolerance) - 1) * _length(a) * _length(b)


@of_two(2)
def is_perpendicular(a: Any, b: Any, tolerance: Any = 1e-5) -> Any:
    """Whether the cosine of the angle between them is 0, but for `tolerance`; of four-vectors, of their momenta."""
    same_dimension(a, b, "comparison of the directions", _INSTEAD)
    return np.absolute(inner(a, b)) < np.absolute(tolerance) * _length(a) * _length(b)


# intervals: by the mass where that is a coordinate, which scikit-hep vector takes from the energy again


def is_timelike(v: Any, tolerance: Any = 0) -> Any:
    """Whether the square of the mass is above `tolerance` (GeV^2)."""
    return tau2(v) > np.absolute(tolerance)


def is_spacelike(v: Any, tolerance: Any = 0) -> Any:
    """Whether the square of the mass is below minus `tolerance` (GeV^2)."""
    return tau2(v) < -np.absolute(tolerance)


def is_lightlike(v: Any, tolerance: Any = 1e-5) -> Any:
    """Whether the square of the mass is nearer to 0 than `tolerance` (GeV^2)."""
    return np.absolute(tau2(v)) < np.absolute(tolerance)


# equality


def _compared(a: Any, b: Any) -> Iterator[tuple[Any, Any]]:
    """The coordinates in which two vectors are compared: those that both have, else x, y, z, t, as scikit-hep vector
    does."""
    one, two, d = system(a), system(b), dimension(a)
    formulas: list[Formula] = [rho, phi] if "rho" in one and "rho" in two else [x, y]
    if d > 2:
        formulas.append(z if "z" in one or "z" in two else theta if "theta" in one and "theta" in two else eta)
    if d > 3:
        formulas.append(tau if "tau" in one and "tau" in two else t)
    return ((f(a), f(b)) for f in formulas)


@of_two(2)
def equal(a: Any, b: Any) -> Any:
    """Whether all coordinates are the same."""
    same_dimension(a, b, "equality", _INSTEAD)
    return reduce(and_, (q == r for q, r in _compared(a, b)))


@of_two(2)
def not_equal(a: Any, b: Any) -> Any:
    """Whether some coordinate is not the same."""
    same_dimension(a, b, "equality", _INSTEAD)
    return reduce(or_, (q != r for q, r in _compared(a, b)))


@of_two(2)
def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Whether all coordinates are the same to so much of the second, and so much more, as in `numpy.isclose`."""
    same_dimension(a, b, "equality", _INSTEAD)

    def near(q: Any, r: Any) -> Any:
        within = (np.absolute(q - r) <= atol + rtol * np.absolute(r)) & np.isfinite(r) | (q == r)
        return within | np.isnan(q) & np.isnan(r) if equal_nan else within

    return reduce(and_, (near(q, r) for q, r in _compared(a, b)))


@of_two(2)
def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Whether all vectors are close, in all events."""
    return ak.all(isclose(a, b, rtol, atol, equal_nan))

"""Kinematic quantities: what follows from the coordinates of one vector, and of two.

The formulas are those of scikit-hep vector (`vector._compute`), so that float32 rounding agrees, and so does what they
give for vectors of zeros. But sinh(eta) is tanh(eta) cosh(eta), of the cosh that the energy has too: right to three
units in the last place, and several times as fast where NumPy has no vector instructions for sinh. And theta is
arctan2, which is right near the beam and knows what is not a number. They are written with NumPy's ufuncs and
awkward's functions only, so they serve eager arrays as well as lazy ones, and single vectors of numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.functions.lines import recording
from hepgraph.graph.form import Form, Overlay, Record, Scalar, change, record_of
from hepgraph.graph.node import Space, as_map
from hepgraph.lazy.array import Lazy, each
from hepgraph.lazy.coordinates import constant, coordinates, dimension, need, own

OF_TWO: set[Callable[..., Any]] = set()


def of_two(least: int, word: str = "other") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function of two vectors, the second of which is checked, or may be one vector of numbers (`vector.obj`).

    `word` is its keyword.
    """

    def made(f: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(f)
        def called(a: Any, *args: Any, called_as: str = f.__name__, **kwargs: Any) -> Any:
            if not args and word not in kwargs:
                raise TypeError(f"{called_as}() needs a second vector, {word}=")
            b = constant(args[0] if args else kwargs.pop(word))
            need(b, least, f".{called_as}")
            return f(a, b, *args[1:], **kwargs)

        OF_TWO.add(called)
        return called

    return made


def where(condition: Any, a: Any, b: Any) -> Any:
    """One number or the other, for single numbers too; None where one is, also whole lists.

    `ak.where` of lists of which some are None raises, or gives lists of None of any length.
    """
    if isinstance(condition, Lazy):
        return each("where", [condition, a, b])
    if isinstance(condition, ak.Array):
        return ak.transform(_where, condition, a, b)
    return np.where(condition, a, b) if isinstance(condition, np.ndarray) else (a if condition else b)


def _where(layouts: Any, **_: Any) -> Any:
    if not all(layout.is_numpy for layout in layouts):
        return None
    return ak.contents.NumpyArray(np.where(*(np.asarray(layout.data) for layout in layouts)))


def nan_to(value: float, x: Any) -> Any:
    """Where x is not a number, a value that is not negative, in the type of x."""
    return where(x != x, np.absolute(np.copysign(value, x)), x)


def once(*uses: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """A quantity of one vector that is made of these coordinates, as far as there are some, alone.

    Of lazy records that were cut, combined or varied in other fields, it is recorded for those that they were made of:
    an operation of what is taken along a map is the operation taken along it, so that the graph is the same.
    """

    def made(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @wraps(f)
        def called(v: Any) -> Any:
            if not isinstance(v, Lazy) or v._varies:
                return f(v)
            record = record_of(v._form)
            found = None if record is None else _derived(record, f, uses)
            return f(v) if found is None else Lazy(change(v._form, lambda _: found), v._rows, v._guard)

        return called

    return made


def _derived(record: Record, f: Callable[[Any], Any], uses: tuple[str, ...]) -> Form | None:
    """The quantity of each element of a record; nothing if its coordinates are not numbers of its own elements."""

    def make(base: Record) -> Form | None:
        known = coordinates(base)
        names = [known[c] for c in uses if c in known]
        over = base.fields
        if isinstance(over, Overlay) and over.keeps(names) and coordinates(over.below) == known:
            return _derived(over.below, f, uses)
        spaces = {_space_of_its_own(base[name]) for name in names}
        at = spaces.pop() if len(spaces) == 1 else None
        if at is None:
            return None
        return f(Lazy(base, at, ()))._form  # type: ignore[no-any-return]

    return record.derived((f, recording[0]), make)


def _space_of_its_own(form: Form) -> Space | None:
    """The space of a number; None if it is that of a whole list, or the same for all: such are moved in other ways."""
    if not isinstance(form, Scalar) or form.node.op in ("full", "literal"):
        return None
    x = form.node
    return None if x.op == "take" and as_map(x.args[0]).kind == "up" else x.space


# coordinates


@once("x", "rho", "phi")
def x(v: Any) -> Any:
    """The x component of the momentum (GeV)."""
    mine = own(v, "x")
    return mine if mine is not None else own(v, "rho") * _cos_phi(v)


@once("y", "rho", "phi")
def y(v: Any) -> Any:
    """The y component of the momentum (GeV)."""
    mine = own(v, "y")
    return mine if mine is not None else own(v, "rho") * _sin_phi(v)


@once("phi")
def _cos_phi(v: Any) -> Any:
    return np.cos(own(v, "phi"))


@once("phi")
def _sin_phi(v: Any) -> Any:
    return np.sin(own(v, "phi"))


@once("rho", "x", "y")
def rho2(v: Any) -> Any:
    """The square of the transverse momentum (GeV^2)."""
    mine = own(v, "rho")
    if mine is not None:
        return mine * mine
    a, b = own(v, "x"), own(v, "y")
    return a * a + b * b


@once("rho", "x", "y")
def rho(v: Any) -> Any:
    """The transverse momentum (GeV)."""
    mine = own(v, "rho")
    return mine if mine is not None else np.sqrt(rho2(v))


def phi(v: Any) -> Any:
    """The azimuth, -pi to pi (rad)."""
    mine = own(v, "phi")
    return mine if mine is not None else np.arctan2(own(v, "y"), own(v, "x"))


@once("rho", "x", "y", "z", "eta", "theta")
def z(v: Any) -> Any:
    """The z component of the momentum (GeV)."""
    mine = own(v, "z")
    if mine is not None:
        return mine
    if own(v, "eta") is not None:
        return rho(v) * _sinh_eta(v)
    return nan_to(0, rho(v) / np.tan(own(v, "theta")))


def _cosh(eta: Any) -> Any:
    """The momentum over the transverse momentum; as vector has it, but that no negative number overflows."""
    decay = np.exp(-np.absolute(eta))
    return 0.5 * (1 + decay * decay) / decay


@once("eta")
def _sinh_eta(v: Any) -> Any:
    mine = own(v, "eta")
    return np.tanh(mine) * _cosh(mine)


@once("eta")
def _cosh2_eta(v: Any) -> Any:
    over = _cosh(own(v, "eta"))
    return over * over


def eta(v: Any) -> Any:
    """The pseudorapidity."""
    mine = own(v, "eta")
    if mine is not None:
        return mine
    mine = own(v, "theta")
    if mine is not None:
        return nan_to(0, -np.log(np.tan(0.5 * mine)))
    along = own(v, "z")
    return where(along == 0, along * 0, np.arcsinh(along / rho(v)))


def theta(v: Any) -> Any:
    """The polar angle, 0 to pi (rad)."""
    mine = own(v, "theta")
    if mine is not None:
        return mine
    mine = own(v, "eta")
    if mine is not None:
        return 2.0 * np.arctan(np.exp(-mine))
    return np.arctan2(rho(v), own(v, "z") + 0.0)  # 0, not pi, for zeros of any sign


def costheta(v: Any) -> Any:
    """The cosine of the polar angle; 1 for a vector of zeros."""
    along = own(v, "z")
    return np.cos(theta(v)) if along is None else nan_to(1, along / p(v))


def cottheta(v: Any) -> Any:
    """The cotangent of the polar angle; infinite for a vector of zeros."""
    along = own(v, "z")
    if along is not None:
        return nan_to(np.inf, along / rho(v))
    mine = own(v, "eta")
    return 1 / np.tan(own(v, "theta")) if mine is None else _sinh_eta(v)


@once("rho", "x", "y", "z", "eta", "theta")
def p2(v: Any) -> Any:
    """The square of the momentum (GeV^2)."""
    along = own(v, "z")
    if along is not None:
        return rho2(v) + along * along
    if own(v, "eta") is not None:
        return rho2(v) * _cosh2_eta(v)
    over = 1 / np.sin(own(v, "theta"))
    return rho2(v) * (over * over)


def p(v: Any) -> Any:
    """The momentum (GeV)."""
    if own(v, "z") is not None:
        return np.sqrt(p2(v))
    mine = own(v, "eta")
    return rho(v) / np.absolute(np.sin(own(v, "theta"))) if mine is None else rho(v) * _cosh(mine)


def t2(v: Any) -> Any:
    """The square of the energy (GeV^2), never below zero."""
    mine = own(v, "t")
    if mine is not None:
        return mine * mine
    mass = own(v, "tau")
    return np.maximum(np.copysign(mass * mass, mass) + p2(v), 0)


@once("rho", "x", "y", "z", "eta", "theta", "tau", "t")
def t(v: Any) -> Any:
    """The energy (GeV)."""
    mine = own(v, "t")
    return mine if mine is not None else np.sqrt(t2(v))


@once("rho", "x", "y", "z", "eta", "theta", "tau", "t")
def tau2(v: Any) -> Any:
    """The square of the mass, with the sign of a negative mass (GeV^2)."""
    mine = own(v, "tau")
    if mine is not None:
        return np.copysign(mine * mine, mine)
    energy = own(v, "t")
    return energy * energy - p2(v)


@once("rho", "x", "y", "z", "eta", "theta", "tau", "t")
def tau(v: Any) -> Any:
    """The invariant mass (GeV), negative for space-like vectors."""
    mine = own(v, "tau")
    if mine is not None:
        return mine
    squared = tau2(v)
    return np.copysign(np.sqrt(np.absolute(squared)), squared)


def rapidity(v: Any) -> Any:
    """The rapidity along z."""
    energy, along = t(v), z(v)
    return 0.5 * np.log((energy + along) / (energy - along))


def mt2(v: Any) -> Any:
    """The square of the transverse mass (GeV^2)."""
    mine = own(v, "t")
    if mine is None:
        return tau2(v) + rho2(v)
    along = z(v)
    return mine * mine - along * along


def mt(v: Any) -> Any:
    """The transverse mass (GeV)."""
    squared = mt2(v)
    return np.copysign(np.sqrt(np.absolute(squared)), squared)


def et2(v: Any) -> Any:
    """The square of the transverse energy (GeV^2)."""
    if own(v, "z") is not None:
        return t2(v) * rho2(v) / p2(v)
    across = et(v)
    return across * across


def et(v: Any) -> Any:
    """The transverse energy (GeV), of the sign of the energy."""
    energy = t(v)
    mine = own(v, "eta")
    if mine is not None:
        return energy / _cosh(mine)
    mine = own(v, "theta")
    if mine is not None:
        return energy * np.sin(mine)
    mine = own(v, "rho")
    return np.copysign(np.sqrt(et2(v)), energy) if mine is None else energy * mine / p(v)


def beta(v: Any) -> Any:
    """The velocity (unit c); 0 for a vector of zeros."""
    return nan_to(0, p(v) / t(v))


def gamma(v: Any) -> Any:
    """The energy over the mass; infinite for a vector of zeros."""
    return nan_to(np.inf, t(v) / tau(v))


def magnitude(v: Any) -> Any:
    """The length of a vector: of a four-vector, its mass."""
    return {2: rho, 3: p, 4: tau}[dimension(v)](v)


def magnitude2(v: Any) -> Any:
    """The square of the length of a vector: of a four-vector, that of its mass, with its sign."""
    return {2: rho2, 3: p2, 4: tau2}[dimension(v)](v)


Named = tuple[
    Callable[..., Any], int, tuple[str, ...]
]  # a function, the least dimension, and its names in both dialects
QUANTITIES: list[Named] = [
    (x, 2, ("px", "x")),
    (y, 2, ("py", "y")),
    (z, 3, ("pz", "z")),
    (rho, 2, ("pt", "rho", "r")),
    (rho2, 2, ("pt2", "rho2", "r2")),
    (phi, 2, ("phi",)),
    (eta, 3, ("eta", "pseudorapidity")),
    (theta, 3, ("theta",)),
    (costheta, 3, ("costheta",)),
    (cottheta, 3, ("cottheta",)),
    (p, 3, ("p", "mag")),
    (p2, 3, ("p2", "mag2")),
    (t, 4, ("E", "energy", "e", "t")),
    (t2, 4, ("E2", "energy2", "e2", "t2")),
    (tau, 4, ("mass", "m", "M", "tau", "invariant_mass")),
    (tau2, 4, ("mass2", "m2", "M2", "tau2")),
    (rapidity, 4, ("rapidity",)),
    (mt, 4, ("mt", "Mt", "transverse_mass")),
    (mt2, 4, ("mt2", "Mt2", "transverse_mass2")),
    (et, 4, ("et", "Et", "transverse_energy")),
    (et2, 4, ("et2", "Et2", "transverse_energy2")),
    (beta, 4, ("beta",)),
    (gamma, 4, ("gamma",)),
]


# two vectors


def delta_phi(a: Any, b: Any) -> Any:
    """The signed difference in azimuth, -pi to pi (rad)."""
    return (phi(a) - phi(b) + np.pi) % (2 * np.pi) - np.pi


def delta_eta(a: Any, b: Any) -> Any:
    """The signed difference in pseudorapidity."""
    return eta(a) - eta(b)


def delta_r2(a: Any, b: Any) -> Any:
    """The square of the distance in eta and phi."""
    along, around = delta_eta(a, b), delta_phi(a, b)
    return around * around + along * along


def delta_r(a: Any, b: Any) -> Any:
    """The distance in eta and phi."""
    return np.sqrt(delta_r2(a, b))


def delta_rapidity_phi2(a: Any, b: Any) -> Any:
    """The square of the distance in rapidity and phi."""
    along, around = rapidity(a) - rapidity(b), delta_phi(a, b)
    return around * around + along * along


def delta_rapidity_phi(a: Any, b: Any) -> Any:
    """The distance in rapidity and phi."""
    return np.sqrt(delta_rapidity_phi2(a, b))


def delta_angle(a: Any, b: Any) -> Any:
    """The angle between three-momenta, 0 to pi (rad)."""
    product = x(a) * x(b) + y(a) * y(b) + z(a) * z(b)
    return np.arccos(np.minimum(np.maximum(product / p(a) / p(b), -1), 1))


BETWEEN: list[Named] = [
    (delta_phi, 2, ("delta_phi", "deltaphi")),
    (delta_eta, 3, ("delta_eta", "deltaeta")),
    (delta_r, 3, ("delta_r", "deltaR")),
    (delta_r2, 3, ("delta_r2", "deltaR2")),
    (delta_angle, 3, ("deltaangle",)),
    (delta_rapidity_phi, 4, ("deltaRapidityPhi",)),
    (delta_rapidity_phi2, 4, ("deltaRapidityPhi2",)),
]

"""Four-vectors, three-vectors and vectors in the plane: any record with the coordinates is one.

Coordinates are found by their names: `pt, phi` or `x, y` (px, py); `eta`, `theta` or `z` (pz); `mass` (m, M, tau) or
`E` (energy, e, t). Energies, momenta and masses are in GeV as the files have them, lengths in cm, angles in radians.
Both dialects of names are understood: scikit-hep vector's (deltaR, px, E) and NanoEvents' (delta_r, nearest,
metric_table).

The formulas are those of scikit-hep vector (`vector._compute`), term by term, so that float32 rounding agrees, with two
exceptions. Sums are kept in x, y, z, t, where vector converts back and forth. And sinh(eta) is tanh(eta) cosh(eta), of
the cosh that the energy has too: right to three units in the last place, and several times as fast where NumPy has no
vector instructions for sinh. They are written with NumPy's ufuncs and awkward's functions only, so they serve eager
arrays as well as lazy ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, UnsupportedError
from hepgraph.graph.form import record_of
from hepgraph.lazy.array import ATTRIBUTES, UFUNCS, Lazy

SPELLINGS = {
    "x": ("x", "px"),
    "y": ("y", "py"),
    "rho": ("pt", "rho"),
    "phi": ("phi",),
    "z": ("z", "pz"),
    "eta": ("eta",),
    "theta": ("theta",),
    "t": ("E", "energy", "e", "t"),
    "tau": ("mass", "m", "M", "tau"),
}


def system(v: Any) -> dict[str, str]:
    """The coordinates that a record is a vector in, and the fields that hold them; empty for what is no vector.

    A record may have more: a secondary vertex has a position x, y, z beside its momentum pt, eta, phi. Momenta win, and
    pt, phi go with eta and mass, x, y with z and energy, where there is a choice.
    """
    if isinstance(v, Lazy):
        record = record_of(v._form)
        if record is None:
            return {}
        if "vector" not in record.about:
            record.about["vector"] = _system(record.__contains__)
        return record.about["vector"]  # type: ignore[no-any-return]
    return _system(set(ak.fields(v)).__contains__) if isinstance(v, ak.Array | ak.Record) else {}


def _system(has: Callable[[str], bool]) -> dict[str, str]:
    found = {c: name for c, spellings in SPELLINGS.items() if (name := next(filter(has, spellings), None)) is not None}
    if "rho" in found and "phi" in found:
        order = ("rho", "phi"), ("eta", "theta", "z"), ("tau", "t")
    elif "x" in found and "y" in found:
        order = ("x", "y"), ("z", "eta", "theta"), ("t", "tau")
    else:
        return {}
    across, along, inside = order
    chosen = [*across, *[c for c in along if c in found][:1]]
    if len(chosen) == 3:
        chosen += [c for c in inside if c in found][:1]
    return {c: found[c] for c in chosen}


def own(v: Any, coordinate: str) -> Any:
    """A coordinate that is a field of the record, else None."""
    name = system(v).get(coordinate)
    return None if name is None else v[name]


def dimension(v: Any) -> int:
    """2, 3 or 4 by the coordinates that there are; 0 for what is no vector."""
    return len(system(v))


def _need(v: Any, least: int, what: str) -> None:
    if dimension(v) < least:
        kind = {2: "a vector in the plane (pt and phi, or x and y)", 3: "a three-vector", 4: "a four-vector"}[least]
        if not v.fields:
            raise FieldError(f"{what} needs {kind}; this is an array of numbers, without fields.")
        names = ", ".join(ak.fields(v)[:10]) if not isinstance(v, Lazy) else ", ".join(v.fields[:10])
        raise FieldError(f"{what} needs {kind}; this record has the fields {names or 'none'}.")


def _where(condition: Any, a: Any, b: Any) -> Any:
    """`ak.where`, for single numbers too."""
    return ak.where(condition, a, b) if isinstance(condition, ak.Array) else (a if condition else b)


# coordinates


def x(v: Any) -> Any:
    """The x component of the momentum (GeV)."""
    mine = own(v, "x")
    return mine if mine is not None else own(v, "rho") * np.cos(own(v, "phi"))


def y(v: Any) -> Any:
    """The y component of the momentum (GeV)."""
    mine = own(v, "y")
    return mine if mine is not None else own(v, "rho") * np.sin(own(v, "phi"))


def rho2(v: Any) -> Any:
    """The square of the transverse momentum (GeV^2)."""
    mine = own(v, "rho")
    if mine is not None:
        return mine * mine
    a, b = own(v, "x"), own(v, "y")
    return a * a + b * b


def rho(v: Any) -> Any:
    """The transverse momentum (GeV)."""
    mine = own(v, "rho")
    return mine if mine is not None else np.sqrt(rho2(v))


def phi(v: Any) -> Any:
    """The azimuth, -pi to pi (rad)."""
    mine = own(v, "phi")
    return mine if mine is not None else np.arctan2(own(v, "y"), own(v, "x"))


def z(v: Any) -> Any:
    """The z component of the momentum (GeV)."""
    mine = own(v, "z")
    if mine is not None:
        return mine
    mine = own(v, "eta")
    return rho(v) * (np.tanh(mine) * _cosh(mine)) if mine is not None else rho(v) / np.tan(own(v, "theta"))


def _cosh(eta: Any) -> Any:
    """The momentum over the transverse momentum; as vector has it, but that no negative number overflows."""
    decay = np.exp(-np.absolute(eta))
    return 0.5 * (1 + decay * decay) / decay


def eta(v: Any) -> Any:
    """The pseudorapidity."""
    mine = own(v, "eta")
    if mine is not None:
        return mine
    mine = own(v, "theta")
    if mine is not None:
        return -np.log(np.tan(0.5 * mine))
    along = own(v, "z")
    return _where(along == 0, along * 0, np.arcsinh(along / rho(v)))


def theta(v: Any) -> Any:
    """The polar angle, 0 to pi (rad)."""
    mine = own(v, "theta")
    if mine is not None:
        return mine
    mine = own(v, "eta")
    return 2.0 * np.arctan(np.exp(-mine)) if mine is not None else np.arctan2(rho(v), own(v, "z"))


def p2(v: Any) -> Any:
    """The square of the momentum (GeV^2)."""
    mine = own(v, "eta")
    if own(v, "z") is not None or mine is None:
        along = z(v)
        return rho2(v) + along * along
    over = _cosh(mine)
    return rho2(v) * (over * over)


def p(v: Any) -> Any:
    """The momentum (GeV)."""
    return np.sqrt(p2(v))


def t2(v: Any) -> Any:
    """The square of the energy (GeV^2), never below zero."""
    mine = own(v, "t")
    if mine is not None:
        return mine * mine
    mass = own(v, "tau")
    return np.maximum(np.copysign(mass * mass, mass) + p2(v), 0)


def t(v: Any) -> Any:
    """The energy (GeV)."""
    mine = own(v, "t")
    return mine if mine is not None else np.sqrt(t2(v))


def tau2(v: Any) -> Any:
    """The square of the mass, with the sign of a negative mass (GeV^2)."""
    mine = own(v, "tau")
    if mine is not None:
        return np.copysign(mine * mine, mine)
    energy = own(v, "t")
    return energy * energy - p2(v)


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
    return t2(v) * rho2(v) / p2(v)


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


def dot(a: Any, b: Any) -> Any:
    """The scalar product, with the metric +--- for four-vectors."""
    least = min(dimension(a), dimension(b))
    space = x(a) * x(b) + y(a) * y(b)
    if least > 2:
        space = space + z(a) * z(b)
    return t(a) * t(b) - space if least == 4 else space


def cross(a: Any, b: Any) -> Any:
    """The vector product of three-momenta."""
    ax, ay, az, bx, by, bz = x(a), y(a), z(a), x(b), y(b), z(b)
    return vector3(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


def delta_angle(a: Any, b: Any) -> Any:
    """The angle between three-momenta, 0 to pi (rad)."""
    product = x(a) * x(b) + y(a) * y(b) + z(a) * z(b)
    return np.arccos(np.minimum(np.maximum(product / (p(a) * p(b)), -1), 1))


# making vectors


def vector2(a: Any, b: Any) -> Any:
    """A vector in the plane from x and y."""
    return ak.zip({"x": a, "y": b}, with_name="Momentum2D", optiontype_outside_record=True)


def vector3(a: Any, b: Any, c: Any) -> Any:
    """A three-vector from x, y and z."""
    return ak.zip({"x": a, "y": b, "z": c}, with_name="Momentum3D", optiontype_outside_record=True)


def vector4(a: Any, b: Any, c: Any, d: Any, *, charge: Any = None) -> Any:
    """A four-vector from x, y, z and t, perhaps with a charge."""
    fields = {"x": a, "y": b, "z": c, "t": d}
    if charge is not None:
        fields["charge"] = charge
    return ak.zip(fields, with_name="Momentum4D", optiontype_outside_record=True)


def _charge(v: Any) -> Any:
    record = record_of(v._form) if isinstance(v, Lazy) else set(ak.fields(v))
    return v["charge"] if record is not None and "charge" in record else None


def add(a: Any, b: Any, sign: int = 1) -> Any:
    """The sum (or difference) of two vectors of the same dimension; charges add up too."""
    d = dimension(a)
    if d == 0 or dimension(b) == 0:
        return NotImplemented
    if d != dimension(b):
        names = {2: "a vector in the plane", 3: "a three-vector", 4: "a four-vector"}
        raise UnsupportedError(
            f"The sum of {names[d]} and {names[dimension(b)]} is ambiguous. Give both the same coordinates: "
            'ak.zip({"pt": v.pt, "phi": v.phi}) is a vector in the plane.'
        )
    combine: Callable[[Any, Any], Any] = np.add if sign > 0 else np.subtract
    parts = [combine(f(a), f(b)) for f in (x, y, z, t)[:d]]
    if d == 2:
        return vector2(*parts)
    if d == 3:
        return vector3(*parts)
    qa, qb = _charge(a), _charge(b)
    charge = None if qa is None or qb is None else combine(qa, qb)
    return vector4(*parts, charge=charge)


def scaled(a: Any, factor: Any) -> Any:
    """A vector times a number."""
    d = dimension(a)
    if d == 0:
        return NotImplemented
    parts = [f(a) * factor for f in (x, y, z, t)[:d]]
    return (vector2, vector3, vector4)[d - 2](*parts)


def total(v: Any, axis: int = 1, **_: Any) -> Any:
    """The sum of the vectors of each list; zero for an empty one."""
    _need(v, 2, "sum")
    d = dimension(v)
    parts = [ak.sum(f(v), axis=axis) for f in (x, y, z, t)[:d]]
    if d < 4:
        return (vector2, vector3)[d - 2](*parts)
    charge = _charge(v)
    return vector4(*parts, charge=None if charge is None else ak.sum(charge, axis=axis))


def pvec(v: Any) -> Any:
    """The three-momentum."""
    return vector3(x(v), y(v), z(v))


def boostvec(v: Any) -> Any:
    """The velocity, as the three-vector that boosts from the rest frame (unit c)."""
    energy = t(v)
    return vector3(x(v) / energy, y(v) / energy, z(v) / energy)


def boost(v: Any, by: Any) -> Any:
    """The four-vector boosted by a velocity (a three-vector) or by the velocity of a four-vector."""
    if dimension(by) == 4:
        by = boostvec(by)
    bx, by_, bz = x(by), y(by), z(by)
    b2 = bx * bx + by_ * by_ + bz * bz
    gamma = 1 / np.sqrt(1 - b2)
    along = bx * x(v) + by_ * y(v) + bz * z(v)
    energy = t(v)
    factor = _where(b2 > 0, (gamma - 1) / b2, 0.0) * along + gamma * energy
    return vector4(x(v) + factor * bx, y(v) + factor * by_, z(v) + factor * bz, gamma * (energy + along))


def unit(v: Any) -> Any:
    """The vector divided by its length."""
    d = dimension(v)
    return scaled(v, 1 / {2: rho, 3: p, 4: tau}[d](v))


# many with many


def metric_table(
    v: Any, other: Any, axis: int | None = 1, metric: Any = None, return_combinations: bool = False
) -> Any:
    """For each of these, the distance to each of the others: lists of lists (delta R unless a metric is given)."""
    measure = metric or delta_r
    if axis is None:
        a, b = v, other
    else:
        a, b = ak.unzip(ak.cartesian([v, other], axis=axis, nested=True))
    distances = measure(a, b)
    return (distances, (a, b)) if return_combinations else distances


def nearest(
    v: Any,
    other: Any,
    axis: int | None = 1,
    metric: Any = None,
    return_metric: bool = False,
    threshold: float | None = None,
) -> Any:
    """For each of these, the nearest of the others (delta R unless a metric is given); None where there is none.

    With `threshold`, None too where the nearest is not within it.
    """
    if axis is None:
        distances = metric_table(v, other, None, metric)
        deep, axis = other, 0
    else:
        distances, (_, deep) = metric_table(v, other, axis, metric, True)
    best = ak.argmin(distances, axis=axis + 1, keepdims=True)
    found = ak.firsts(deep[best], axis=axis + 1)
    distance = ak.firsts(distances[best], axis=axis + 1)
    if threshold is not None:
        found = ak.mask(found, distance <= threshold)
    return (found, distance) if return_metric else found


# the names, in both dialects: what, the least dimension, the spellings

PROPERTIES: list[tuple[Callable[[Any], Any], int, tuple[str, ...]]] = [
    (x, 2, ("px", "x")),
    (y, 2, ("py", "y")),
    (z, 3, ("pz", "z")),
    (rho, 2, ("pt", "rho")),
    (rho2, 2, ("pt2", "rho2")),
    (phi, 2, ("phi",)),
    (eta, 3, ("eta",)),
    (theta, 3, ("theta",)),
    (lambda v: np.cos(theta(v)), 3, ("costheta",)),
    (p, 3, ("p", "mag")),
    (p2, 3, ("p2", "mag2")),
    (t, 4, ("E", "energy", "e", "t")),
    (t2, 4, ("E2", "energy2", "e2", "t2")),
    (tau, 4, ("mass", "m", "M", "tau", "invariant_mass")),
    (tau2, 4, ("mass2", "m2", "M2", "tau2")),
    (rapidity, 4, ("rapidity",)),
    (mt, 4, ("mt", "Mt", "transverse_mass")),
    (mt2, 4, ("mt2", "Mt2", "transverse_mass2")),
    (lambda v: np.sqrt(et2(v)), 4, ("et", "Et", "transverse_energy")),
    (et2, 4, ("et2", "Et2", "transverse_energy2")),
    (lambda v: p(v) / t(v), 4, ("beta",)),
    (lambda v: t(v) / tau(v), 4, ("gamma",)),
    (pvec, 3, ("pvec",)),
    (boostvec, 4, ("boostvec",)),
]


def has_flags(v: Any, *names: Any) -> Any:
    """Whether all of these boolean fields are true: `GenPart.hasFlags("isLastCopy", "fromHardProcess")`."""
    flat = [name for given in names for name in ([given] if isinstance(given, str) else given)]
    if not flat:
        raise TypeError("hasFlags() needs the name of a flag, or several")
    found = v[flat[0]]
    for name in flat[1:]:
        found = found & v[name]
    return found


METHODS: list[tuple[Callable[..., Any], int, tuple[str, ...]]] = [
    (delta_phi, 2, ("delta_phi", "deltaphi")),
    (delta_eta, 3, ("delta_eta", "deltaeta")),
    (delta_r, 3, ("delta_r", "deltaR")),
    (delta_r2, 3, ("delta_r2", "deltaR2")),
    (delta_angle, 3, ("deltaangle",)),
    (dot, 2, ("dot",)),
    (cross, 3, ("cross",)),
    (total, 2, ("sum",)),
    (boost, 4, ("boost", "boost_p4", "boost_beta3")),
    (unit, 2, ("unit",)),
    (metric_table, 0, ("metric_table",)),
    (nearest, 0, ("nearest",)),
    (add, 2, ("add",)),
    (lambda a, b: add(a, b, -1), 2, ("subtract",)),
    (scaled, 2, ("scale",)),
    (has_flags, 0, ("has_flags", "hasFlags")),
]


def _property(f: Callable[[Any], Any], least: int) -> Callable[[Lazy, str], Any]:
    def found(v: Lazy, name: str) -> Any:
        _need(v, least, f".{name}")
        return f(v)

    return found


def _method(f: Callable[..., Any], least: int) -> Callable[[Lazy, str], Any]:
    def found(v: Lazy, name: str) -> Any:
        _need_record(v, name) if least == 0 else _need(v, least, f".{name}")
        return lambda *args, **kwargs: f(v, *args, **kwargs)

    return found


def _need_record(v: Lazy, name: str) -> None:
    if not v.fields:
        raise FieldError(f".{name} needs records with coordinates; this is an array of numbers.")


for _f, _least, _names in PROPERTIES:
    for _name in _names:
        ATTRIBUTES[_name] = _property(_f, _least)
for _f, _least, _names in METHODS:
    for _name in _names:
        ATTRIBUTES[_name] = _method(_f, _least)


# operators


def _is_vector(a: Any) -> bool:
    return isinstance(a, ak.Array | ak.Record) and bool(dimension(a))


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, int) and a == 0:  # sum([a, b, c]) starts at 0
        return b if _is_vector(b) else NotImplemented
    return add(a, b) if _is_vector(a) and _is_vector(b) else NotImplemented


def _subtract(a: Any, b: Any) -> Any:
    return add(a, b, -1) if _is_vector(a) and _is_vector(b) else NotImplemented


def _multiply(a: Any, b: Any) -> Any:
    if _is_vector(a) and _is_vector(b):
        raise UnsupportedError("The product of two vectors is ambiguous; write a.dot(b) or a.cross(b).")
    if _is_vector(a):
        return scaled(a, b)
    return scaled(b, a) if _is_vector(b) else NotImplemented


def _divide(a: Any, b: Any) -> Any:
    return scaled(a, 1 / b) if _is_vector(a) and not _is_vector(b) else NotImplemented


def _negative(a: Any) -> Any:
    return scaled(a, -1) if _is_vector(a) else NotImplemented


def _absolute(a: Any) -> Any:
    if not _is_vector(a):
        return NotImplemented
    return {2: rho, 3: p, 4: tau}[dimension(a)](a)


def _guarded(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The rule, tried only where a record is among the inputs."""

    def tried(*inputs: Any) -> Any:
        if not any(isinstance(a, Lazy) and record_of(a._form) is not None for a in inputs):
            return NotImplemented
        return rule(*inputs)

    return tried


OPERATORS: dict[str, Callable[..., Any]] = {
    "add": _add, "subtract": _subtract, "multiply": _multiply, "divide": _divide, "negative": _negative,
    "absolute": _absolute,
}  # fmt: skip

for _name, _rule in OPERATORS.items():
    UFUNCS[_name] = _guarded(_rule)

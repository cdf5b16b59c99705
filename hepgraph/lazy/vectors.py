"""Four-vectors, three-vectors and vectors in the plane: any record with the coordinates is one.

Both dialects of names are understood: scikit-hep vector's (deltaR, px, E) and NanoEvents' (delta_r, nearest,
metric_table). The coordinates, and the quantities of one vector and of two, are in `hepgraph.lazy.kinematics`; here are
the vectors that are made of others, and the names.

A sum is kept in x, y, z, t, where scikit-hep vector converts back and forth. A multiple keeps the coordinates that the
vector has, and a boost its mass: what float32 has of the mass of a light particle does not survive the energy. Boosts
and velocities are float64 whatever the coordinates are, for in float32 nothing is left of 1 - beta^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, UnsupportedError
from hepgraph.functions.lines import as_one, call_users
from hepgraph.graph.form import List, Option, record_of
from hepgraph.lazy import behaviors, kinematics
from hepgraph.lazy.array import ATTRIBUTES, HOOKS, UFUNCS, Lazy
from hepgraph.lazy.kinematics import constant, delta_r, dimension, nan_to, need, own, system, t, tau2, x, y, z

__all__ = ["METHODS", "OPERATORS", "PROPERTIES", "dimension", "own", "total"]


_OF_TWO: set[Callable[..., Any]] = set()


def of_two(least: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function of two vectors, the second of which is checked, or may be one vector of numbers (`vector.obj`)."""

    def made(f: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(f)
        def called(a: Any, b: Any, *args: Any, called_as: str = f.__name__, **kwargs: Any) -> Any:
            b = constant(b)
            need(b, least, f".{called_as}")
            return f(a, b, *args, **kwargs)

        _OF_TWO.add(called)
        return called

    return made


def _same_dimension(a: Any, b: Any, what: str, instead: str) -> None:
    one, other = (kinematics.NAMES.get(dimension(v)) for v in (a, b))
    if one != other:
        raise UnsupportedError(
            f"The {what} of {one} and {other} is ambiguous. Give both the same coordinates: {instead}."
        )


@of_two(2)
def dot(a: Any, b: Any) -> Any:
    """The scalar product, with the metric +--- for four-vectors."""
    _same_dimension(a, b, "scalar product", "a.pvec.dot(b.pvec) is that of three-momenta")
    space = x(a) * x(b) + y(a) * y(b)
    if dimension(a) > 2:
        space = space + z(a) * z(b)
    return t(a) * t(b) - space if dimension(a) == 4 else space


@of_two(3)
def cross(a: Any, b: Any) -> Any:
    """The vector product of three-momenta."""
    ax, ay, az, bx, by, bz = x(a), y(a), z(a), x(b), y(b), z(b)
    return _cartesian(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


# making vectors


def _vector(fields: dict[str, Any], d: int | None = None) -> Any:
    """A vector of the named coordinates, and perhaps more."""
    return ak.zip(fields, with_name=f"Momentum{d or len(fields)}D", optiontype_outside_record=True)


def _cartesian(*parts: Any) -> Any:
    """A vector of x, y, perhaps z, and perhaps t."""
    return _vector(dict(zip("xyzt", parts, strict=False)))


def _summed(parts: list[Any], charge: Any) -> Any:
    """A sum of x, y, perhaps z, perhaps t, and of the charges if there are some."""
    if charge is None:
        return _cartesian(*parts)
    return _vector({**dict(zip("xyzt", parts, strict=True)), "charge": charge}, 4)


def _charge(v: Any) -> Any:
    """The charges of four-vectors, if they have some."""
    if dimension(v) < 4 or isinstance(v, dict):
        return None
    record = record_of(v._form) if isinstance(v, Lazy) else set(ak.fields(v))
    return v["charge"] if record is not None and "charge" in record else None


@of_two(2)
def add(a: Any, b: Any, sign: int = 1) -> Any:
    """The sum (or difference) of two vectors of the same dimension; charges add up too."""
    instead = 'ak.zip({"pt": v.pt, "phi": v.phi}) is a vector in the plane'
    _same_dimension(a, b, "sum" if sign > 0 else "difference", instead)
    combine: Callable[[Any, Any], Any] = np.add if sign > 0 else np.subtract
    qa, qb = _charge(a), _charge(b)
    charge = None if qa is None or qb is None else combine(qa, qb)
    return _summed([combine(f(a), f(b)) for f in (x, y, z, t)[: dimension(a)]], charge)


def scaled(a: Any, factor: Any) -> Any:
    """A vector times a number, in its own coordinates: a negative number turns it around, as in scikit-hep vector.

    So the mass stays positive where the mass is a coordinate, and the energy changes its sign where that is one. The
    azimuth that a negative number turns is float64: -v is opposite to v to more than float32 has.
    """
    if isinstance(factor, list | tuple):
        factor = ak.Array(factor)
    single = type(factor) in (bool, int, float)
    size, sign = abs(factor), math.copysign(1, factor) if single else np.copysign(1, factor)
    turn = 0.5 * (1 - sign)  # numbers, not ak.where, which chooses between whole lists
    change: dict[str, Callable[[Any], Any]] = {"rho": lambda q: q * size, "tau": lambda q: q * size}
    for c in ("phi", "eta", "theta"):
        change[c] = lambda q: q
    if not single or sign < 0:
        change["phi"] = lambda q: _turned(_float64(q) if single else q, turn)
        change["eta"] = lambda q: q * sign
        change["theta"] = lambda q: np.absolute(q - np.pi * turn)
    return _vector({name: change.get(c, lambda q: q * factor)(a[name]) for c, name in system(a).items()})


def _turned(phi: Any, turn: Any) -> Any:
    """The azimuth, turned by so much of a half-turn (0 or 1) into the same range."""
    return phi - np.copysign(np.pi, phi) * turn


def total(v: Any, axis: int | None = -1, keepdims: bool = False, mask_identity: bool = False) -> Any:
    """The sum of the vectors of each list, the innermost one unless an axis is given; zero for an empty one."""
    need(v, 2, "sum")

    def summed(q: Any) -> Any:
        return ak.sum(q, axis=axis, keepdims=keepdims, mask_identity=mask_identity)

    charge = _charge(v)
    return _summed([summed(f(v)) for f in (x, y, z, t)[: dimension(v)]], None if charge is None else summed(charge))


def pvec(v: Any) -> Any:
    """The three-momentum."""
    return _cartesian(x(v), y(v), z(v))


def unit(v: Any) -> Any:
    """The vector divided by its length; zeros stay."""
    norm = np.absolute(kinematics.magnitude(v))

    def divided(c: str, q: Any) -> Any:
        if c in ("phi", "eta", "theta"):
            return q
        return np.copysign(1, q) if c == "tau" else nan_to(0, q / norm)

    return _vector({name: divided(c, v[name]) for c, name in system(v).items()})


def _wide(v: Any) -> dict[str, Any]:
    """The coordinates of a vector in float64."""
    return {c: _float64(own(v, c)) for c in system(v)}


def _float64(q: Any) -> Any:
    return ak.values_astype(q, np.float64) if isinstance(q, ak.Array) else np.float64(q)


def boostvec(v: Any) -> Any:
    """The velocity, as the three-vector that boosts from the rest frame (unit c), in float64."""
    v = _wide(v)
    energy = t(v)
    if "rho" not in v:
        return _cartesian(x(v) / energy, y(v) / energy, z(v) / energy)
    return _vector({c: q / energy if c in ("rho", "z") else q for c, q in v.items() if c not in ("t", "tau")})


def velocity(v: Any) -> Any:
    """The velocity, as scikit-hep vector calls it: a method."""
    return boostvec(v)


@of_two(3)
def boost(v: Any, by: Any) -> Any:
    """The four-vector boosted by a velocity (a three-vector) or by the velocity of a four-vector, in float64."""
    v, by = _wide(v), _wide(by)
    px, py, pz, energy = x(v), y(v), z(v), t(v)
    bx, by_, bz = x(by), y(by), z(by)
    if len(by) == 4:  # gamma and gamma times the velocity are right however near to 1 that is
        mass = np.sqrt(tau2(by))
        g, ux, uy, uz = t(by) / mass, bx / mass, by_ / mass, bz / mass
    else:
        g = 1 / np.sqrt(1 - (bx * bx + by_ * by_ + bz * bz))
        ux, uy, uz = g * bx, g * by_, g * bz
    along = ux * px + uy * py + uz * pz
    more = along / (g + 1) + energy
    parts = {"x": px + more * ux, "y": py + more * uy, "z": pz + more * uz}
    return _vector({**parts, "tau": v["tau"]} if "tau" in v else {**parts, "t": g * energy + along})


# many with many


def _depth(v: Any) -> int:
    """The list levels of an array of records, its rows among them."""
    if not isinstance(v, Lazy):
        return int(v.layout.purelist_depth)
    form, depth = v._form, 1
    while isinstance(form, Option | List):
        depth += isinstance(form, List)
        form = form.content
    return depth


def _collections(what: str, *vectors: Any) -> None:
    """Raises UnsupportedError for single vectors, which are near to all."""
    for v in vectors:
        if not isinstance(v, ak.Array):
            raise UnsupportedError(
                f"{what} needs a collection, not a single {type(v).__name__}; the distance to one vector is "
                "x.delta_r(vector)."
            )


def metric_table(
    v: Any, other: Any, axis: int | None = 1, metric: Any = None, return_combinations: bool = False
) -> Any:
    """For each of these, the distance to each of the others: lists of lists (delta R unless a metric is given)."""
    _collections("metric_table()", v, other)
    if axis is None:
        a, b = v, other
    else:
        a, b = ak.unzip(ak.cartesian([v, other], axis=axis, nested=True))
    distances = delta_r(a, b) if metric is None else call_users(metric, a, b)
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

    With `threshold`, None too where the nearest is not within it. With `axis=None`, the others are the innermost lists
    of what goes with each of these already, as in a pair of arrays from `ak.cartesian(..., nested=True)`.
    """
    distances, (_, deep) = metric_table(v, other, axis, metric, True)
    if axis is None:
        axis = _depth(other) - 2
    best = ak.argmin(distances, axis=axis + 1, keepdims=True)
    found = ak.firsts(deep[best], axis=axis + 1)
    distance = ak.firsts(distances[best], axis=axis + 1)
    if threshold is not None:
        found = ak.mask(found, distance <= threshold)
    return (found, distance) if return_metric else found


# the names, in both dialects: what, the least dimension, the spellings

PROPERTIES: list[kinematics.Named] = [*kinematics.QUANTITIES, (pvec, 3, ("pvec",)), (boostvec, 4, ("boostvec",))]


def has_flags(v: Any, *names: Any) -> Any:
    """Whether all of these boolean fields are true: `GenPart.hasFlags("isLastCopy", "fromHardProcess")`."""
    flat = [name for given in names for name in ([given] if isinstance(given, str) else given)]
    if not flat:
        raise TypeError("hasFlags() needs the name of a flag, or several")
    found = v[flat[0]]
    for name in flat[1:]:
        found = found & v[name]
    return found


METHODS: list[kinematics.Named] = [
    *((of_two(least)(f), least, names) for f, least, names in kinematics.BETWEEN),
    (dot, 2, ("dot",)),
    (cross, 3, ("cross",)),
    (total, 2, ("sum",)),
    (velocity, 4, ("to_beta3",)),
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
        need(v, least, f".{name}")
        return f(v)

    return found


def _method(f: Callable[..., Any], least: int) -> Callable[[Lazy, str], Any]:
    def found(v: Lazy, name: str) -> Any:
        _need_record(v, name) if least == 0 else need(v, least, f".{name}")
        more = {"called_as": name} if f in _OF_TWO else {}

        def call(*args: Any, **kwargs: Any) -> Any:
            for other in (*args, *kwargs.values()):
                if getattr(type(other), "_varies", False):
                    return HOOKS["follow"](f, v, *args, **more, **kwargs)
            return as_one(f, v, *args, **more, **kwargs)

        return call

    return found


def _need_record(v: Lazy, name: str) -> None:
    if not v.fields:
        raise FieldError(f".{name} needs records with coordinates; this is an array of numbers.")


def attributes(v: Lazy) -> list[str]:
    """The names of what an array has beside its fields: of vectors as far as its coordinates go, references, flags,
    and what the user registered."""
    record = record_of(v._form)
    if record is None:
        return []
    known = dimension(v)
    rows = [(max(least, 2), names) for _, least, names in (*PROPERTIES, *METHODS) if "has_flags" not in names]
    found = [name for least, names in rows if least <= known for name in names]
    if record.name is not None:  # of a collection, not of the events
        found += [*getattr(record.fields, "hidden", ()), "has_flags", "hasFlags", *behaviors.names(record.name)]
    return found


HOOKS["attributes"] = attributes

for _f, _least, _names in PROPERTIES:
    for _name in _names:
        ATTRIBUTES[_name] = _property(_f, _least)
for _f, _least, _names in METHODS:
    for _name in _names:
        ATTRIBUTES[_name] = _method(_f, _least)


# operators


def _is_vector(a: Any) -> bool:
    return bool(dimension(constant(a)))


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, int) and a == 0:  # sum([a, b, c]) starts at 0
        return b if _is_vector(b) else NotImplemented
    return add(constant(a), b) if _is_vector(a) and _is_vector(b) else NotImplemented


def _subtract(a: Any, b: Any) -> Any:
    return add(constant(a), b, -1) if _is_vector(a) and _is_vector(b) else NotImplemented


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
    return kinematics.magnitude(a) if _is_vector(a) else NotImplemented


OPERATORS: dict[str, Callable[..., Any]] = {
    "add": _add, "subtract": _subtract, "multiply": _multiply, "divide": _divide, "negative": _negative,
    "absolute": _absolute,
}  # fmt: skip

UFUNCS.update(OPERATORS)

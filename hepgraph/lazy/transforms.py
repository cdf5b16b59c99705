"""Vectors made of one vector: multiples, rotations, linear transformations, boosts, and other coordinates.

The results have the coordinates that scikit-hep vector gives them, and the other fields of the record; but for fields
with the name of a quantity (`et`, `beta`), which would be that of the vector before. A multiple keeps the coordinates
that the vector has, and a boost its mass: what float32 has of the mass of a light particle does not survive the energy.

Rotated, transformed and boosted vectors, and velocities, are float64 whatever the coordinates are: in float32 nothing
is left of 1 - beta^2, and a rotation and its inverse would not cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import product
from operator import add
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import UnsupportedError
from hepgraph.graph.form import Form, Overlay, Record
from hepgraph.graph.node import Space
from hepgraph.lazy.array import FUNCTIONS, Lazy, together
from hepgraph.lazy.broadcast import broadcast
from hepgraph.lazy.coordinates import NAMES, constant, dimension, exactly, named, own, system
from hepgraph.lazy.hidden import with_own
from hepgraph.lazy.join import settled
from hepgraph.lazy.kinematics import QUANTITIES, eta, magnitude, nan_to, of_two, phi, rho, t, tau, tau2, theta, x, y, z

_TOLD = frozenset(name for *_, names in QUANTITIES for name in names) | {"pvec", "boostvec"}  # of the vector before
_TIME = ("t", "tau")
_ALONG = ("z", "eta", "theta")


def vector(fields: dict[str, Any], name: str) -> Any:
    """A record of the named coordinates, and perhaps more."""
    zipped = FUNCTIONS[ak.zip] if any(type(q) is Lazy for q in fields.values()) else ak.zip  # without its dispatch
    return zipped(fields, with_name=name, optiontype_outside_record=True)


def remade(v: Any, new: dict[str, Any], stay: Iterable[str] = (), by: Any = None) -> Any:
    """The vector with new coordinates, those of its own that stay, and its fields that are no quantity of vectors.

    `by` is another vector that makes it a momentum if it is one.
    """
    mine = system(v)
    kept = [mine[c] for c in stay if c in mine]
    name = named(len(new) + len(kept), v, *([] if by is None else [by]))
    if isinstance(v, dict):
        return vector({**new, **{c: v[c] for c in kept}}, name)
    kept += [field for field in v.fields if field not in _TOLD and field not in new and field not in kept]
    if isinstance(v, Lazy) or any(isinstance(q, Lazy) for q in new.values()):
        return _lazily(v, new, kept, name)
    if not isinstance(v, ak.Record):
        return _beside(v, new, kept, name)
    several = any(isinstance(q, ak.Array) for q in new.values())
    one = ak.Array(v.layout.array[v.layout.at : v.layout.at + 1], behavior=v.behavior, attrs=v.attrs)
    made = _beside(one, {c: q if isinstance(q, ak.Array) else ak.Array([q]) for c, q in new.items()}, kept, name)
    return made if several else made[0]


def _lazily(v: Any, new: dict[str, Any], kept: Sequence[str], name: str) -> Lazy:
    forms, rows, guard = together([*new.values(), v])

    def leaf(parts: list[Form], at: Space) -> Form:
        *values, record = parts
        assert isinstance(record, Record)
        own_ = dict(zip(new, (settled(q, at) for q in values), strict=True))
        return Record(Overlay(record, own_, (*new, *kept)), name)

    return Lazy(broadcast(forms, rows, leaf, guard=guard), rows, guard)


def _beside(v: Any, new: dict[str, Any], kept: Sequence[str], name: str) -> Any:
    """An array of records of new fields and some of the old, which are not read for it."""

    def joined(layouts: Sequence[Any], **_: Any) -> Any:
        *numbers, record = layouts
        if not record.is_record or not all(layout.is_numpy for layout in numbers):
            return None
        parts = [*numbers, *(record[field] for field in kept)]
        return ak.contents.RecordArray(parts, [*new, *kept], record.length, parameters={"__record__": name})

    v = with_own(v, kept)
    first = next(q for q in new.values() if isinstance(q, ak.Array))
    numbers = [q if isinstance(q, ak.Array) else ak.broadcast_arrays(first, q)[1] for q in new.values()]
    return ak.transform(joined, *numbers, v)


def float64(q: Any) -> Any:
    """A number, or an array of some, in float64."""
    return ak.values_astype(q, np.float64) if isinstance(q, ak.Array) else np.float64(q)


def _wide(v: Any) -> dict[str, Any]:
    """The coordinates of a vector in float64."""
    return {c: float64(own(v, c)) for c in system(v)}


def _parts(v: Any, names: str = "xyz") -> dict[str, Any]:
    """Some of x, y, z, t of a vector, in float64."""
    v = _wide(v)
    return {c: _FORMULAS[c](v) for c in names}


# multiples


def scaled(v: Any, factor: Any) -> Any:
    """A vector times a number, in its own coordinates: a negative number turns it around, as in scikit-hep vector.

    So the mass stays positive where the mass is a coordinate, and the energy changes its sign where that is one. The
    angles that a negative number turns are float64: -v is opposite to v to more than float32 has.
    """
    return _multiple(v, factor, 4)


def _multiple(v: Any, factor: Any, d: int) -> Any:
    """A vector with its first `d` coordinates multiplied."""
    if isinstance(factor, list | tuple):
        factor = ak.Array(factor)
    v = constant(v)
    single = type(factor) in (bool, int, float)
    size, sign = abs(factor), math.copysign(1, factor) if single else np.copysign(1, factor)
    turn = 0.5 * (1 - sign)  # numbers, not ak.where, which chooses between whole lists
    change: dict[str, Callable[[Any], Any]] = {"rho": lambda q: q * size, "tau": lambda q: q * size}
    for c in ("phi", "eta", "theta"):
        change[c] = lambda q: q
    if not single or sign < 0:
        change["phi"] = lambda q: _opposite(float64(q) if single else q, turn)
        change["eta"] = lambda q: q * sign
        change["theta"] = lambda q: np.absolute((float64(q) if single else q) - np.pi * turn)
    mine = system(v)
    some = list(mine)[:d]
    new = {mine[c]: change.get(c, lambda q: q * factor)(v[mine[c]]) for c in some}
    return remade(v, new, [c for c in mine if c not in some])


def _opposite(azimuth: Any, turn: Any) -> Any:
    """The azimuth, turned by so much of a half-turn (0 or 1) into the same range."""
    return azimuth - np.copysign(np.pi, azimuth) * turn


def scaled2(v: Any, factor: Any) -> Any:
    """The vector with its part in the plane times a number."""
    return _multiple(v, factor, 2)


def scaled3(v: Any, factor: Any) -> Any:
    """The vector with its three-momentum times a number."""
    return _multiple(v, factor, 3)


def scaled4(v: Any, factor: Any) -> Any:
    """The four-vector times a number."""
    return scaled(v, factor)


def minus(v: Any) -> Any:
    """The opposite vector."""
    return scaled(v, -1)


def minus2(v: Any) -> Any:
    """The vector with its part in the plane turned around."""
    return _multiple(v, -1, 2)


def minus3(v: Any) -> Any:
    """The vector with its three-momentum turned around."""
    return _multiple(v, -1, 3)


def unit(v: Any) -> Any:
    """The vector divided by its length; zeros stay."""
    norm = np.absolute(magnitude(v))

    def divided(c: str, q: Any) -> Any:
        if c in ("phi", "eta", "theta"):
            return q
        return np.copysign(1, q) if c == "tau" else nan_to(0, q / norm)

    return remade(v, {name: divided(c, v[name]) for c, name in system(v).items()})


# rotations


def _rotated(axis: str, angle: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """Components turned about one axis, counterclockwise as seen from its tip."""
    a, b = _CYCLE[axis]
    c, s = np.cos(angle), np.sin(angle)
    return {**parts, a: c * parts[a] - s * parts[b], b: s * parts[a] + c * parts[b]}


def rotate_x(v: Any, angle: Any) -> Any:
    """The vector turned about the x axis by an angle (rad)."""
    return remade(v, _rotated("x", float64(angle), _parts(v)), _TIME)


def rotate_y(v: Any, angle: Any) -> Any:
    """The vector turned about the y axis by an angle (rad)."""
    return remade(v, _rotated("y", float64(angle), _parts(v)), _TIME)


def rotate_z(v: Any, angle: Any) -> Any:
    """The vector turned about the z axis by an angle (rad)."""
    mine = own(v, "rho")
    if mine is None:
        return remade(v, _rotated("z", float64(angle), _parts(v, "xy")), (*_ALONG, *_TIME))
    turned = (float64(own(v, "phi")) + angle + np.pi) % (2 * np.pi) - np.pi
    return remade(v, {"rho": mine, "phi": turned}, (*_ALONG, *_TIME))


@of_two(3, "axis")
def rotate_axis(v: Any, axis: Any, angle: Any) -> Any:
    """The vector turned about a three-vector by an angle (rad)."""
    exactly(axis, (3,), ".rotate_axis", ": axis.to_Vector3D()")
    one, along, angle = _parts(v), _parts(axis), float64(angle)
    norm = np.sqrt(reduce(add, (q * q for q in along.values())))
    u = {c: q / norm for c, q in along.items()}
    c, s = np.cos(angle), np.sin(angle)
    more = reduce(add, (u[k] * one[k] for k in "xyz")) * (1 - c)
    return remade(v, {
        k: c * one[k] + s * (u[i] * one[j] - u[j] * one[i]) + more * u[k] for k, (i, j) in _CYCLE.items()
    }, _TIME)  # fmt: skip


_CYCLE = {"x": ("y", "z"), "y": ("z", "x"), "z": ("x", "y")}  # the two axes after each
_ORDERS = frozenset(a + b + c for a, b, c in product("xyz", repeat=3) if a != b != c)


def rotate_euler(v: Any, phi: Any, theta: Any, psi: Any, order: str = "zxz") -> Any:
    """The vector turned by Euler's angles (rad), in the sense and order of ROOT and scikit-hep vector."""
    order = order.lower()
    if order not in _ORDERS:
        raise UnsupportedError(f"rotate_euler: order={order!r} is none of {', '.join(sorted(_ORDERS))}")
    parts = _parts(v)
    for axis, angle in zip(reversed(order), (phi, theta, psi), strict=True):
        parts = _rotated(axis, -float64(angle), parts)
    return remade(v, parts, _TIME)


def rotate_nautical(v: Any, yaw: Any, pitch: Any, roll: Any) -> Any:
    """The vector turned by the angles of ships (rad), as scikit-hep vector has them."""
    return rotate_euler(v, roll, pitch, yaw, "zyx")


def rotate_quaternion(v: Any, u: Any, i: Any, j: Any, k: Any) -> Any:
    """The vector turned by a quaternion, and multiplied by its square if that is not 1."""
    u, i, j, k = map(float64, (u, i, j, k))
    matrix = {
        "xx": u * u + i * i - j * j - k * k, "xy": 2 * (i * j - u * k), "xz": 2 * (u * j + i * k),
        "yx": 2 * (i * j + u * k), "yy": u * u - i * i + j * j - k * k, "yz": 2 * (j * k - u * i),
        "zx": 2 * (i * k - u * j), "zy": 2 * (j * k + u * i), "zz": u * u - i * i - j * j + k * k,
    }  # fmt: skip
    return remade(v, _product(matrix, _parts(v)), _TIME)


# linear transformations


def _product(matrix: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """A matrix, with elements called xx, xy, ..., times a vector."""
    return {a: reduce(add, (float64(matrix[a + b]) * parts[b] for b in parts)) for a in parts}


def _transformed(v: Any, matrix: Any, axes: str, stay: Iterable[str]) -> Any:
    wanted = [a + b for a, b in product(axes, repeat=2)]
    missing = [name for name in wanted if name not in (matrix if isinstance(matrix, dict) else ak.fields(matrix))]
    if missing:
        raise UnsupportedError(
            f"transform{len(axes)}D needs the elements {', '.join(wanted)}, in a dict or in records; there is no "
            f"{', '.join(missing)}."
        )
    return remade(v, _product(matrix, _parts(v, axes)), stay)


def transform2d(v: Any, obj: Any) -> Any:
    """The vector with x and y multiplied by a matrix: its elements xx, xy, yx, yy in a dict or in records."""
    return _transformed(v, obj, "xy", (*_ALONG, *_TIME))


def transform3d(v: Any, obj: Any) -> Any:
    """The vector with x, y, z multiplied by a matrix: its elements xx, xy, ... in a dict or in records."""
    return _transformed(v, obj, "xyz", _TIME)


def transform4d(v: Any, obj: Any) -> Any:
    """The four-vector multiplied by a matrix: its elements xx, xy, ..., tt in a dict or in records."""
    return _transformed(v, obj, "xyzt", ())


# boosts


def _velocity(v: Any) -> dict[str, Any]:
    v = _wide(v)
    energy = t(v)
    if "rho" not in v:
        return {"x": x(v) / energy, "y": y(v) / energy, "z": z(v) / energy}
    return {c: q / energy if c in ("rho", "z") else q for c, q in v.items() if c not in _TIME}


def boostvec(v: Any) -> Any:
    """The velocity, as the three-vector that boosts from the rest frame (unit c), in float64."""
    return vector(_velocity(v), named(3, v))


def velocity(v: Any) -> Any:
    """The velocity, as scikit-hep vector calls it: a method, and with the other fields."""
    return remade(v, _velocity(v))


def _boosted(v: Any, other: Any, sense: int = 1) -> Any:
    mine, by = _wide(v), _wide(other)
    px, py, pz, energy = x(mine), y(mine), z(mine), t(mine)
    bx, by_, bz = (sense * f(by) for f in (x, y, z)) if sense != 1 else (x(by), y(by), z(by))
    if len(by) == 4:  # gamma and gamma times the velocity are right however near to 1 that is
        mass = np.sqrt(tau2(by))
        g, ux, uy, uz = t(by) / mass, bx / mass, by_ / mass, bz / mass
    else:
        g = 1 / np.sqrt(1 - (bx * bx + by_ * by_ + bz * bz))
        ux, uy, uz = g * bx, g * by_, g * bz
    along = ux * px + uy * py + uz * pz
    more = along / (g + 1) + energy
    parts = {"x": px + more * ux, "y": py + more * uy, "z": pz + more * uz}
    time = {"tau": mine["tau"]} if "tau" in mine else {"t": g * energy + along}
    return remade(v, {**parts, **time}, by=other)


@of_two(3, "booster")
def boost(v: Any, by: Any) -> Any:
    """The four-vector boosted by a velocity (a three-vector) or by the velocity of a four-vector, in float64."""
    return _boosted(v, by)


@of_two(3, "beta3")
def boost_beta3(v: Any, by: Any) -> Any:
    """The four-vector boosted by a velocity, a three-vector (unit c), in float64."""
    exactly(by, (3,), ".boost_beta3", "; .boost_p4 takes its velocity")
    return _boosted(v, by)


@of_two(3, "p4")
def boost_p4(v: Any, by: Any) -> Any:
    """The four-vector boosted by the velocity of a four-vector, in float64."""
    exactly(by, (4,), ".boost_p4", "; .boost_beta3 takes a velocity")
    return _boosted(v, by)


@of_two(3, "booster")
def rest(v: Any, by: Any) -> Any:
    """The four-vector in the rest frame of another, or of what has some velocity, in float64."""
    return _boosted(v, by, -1)


@of_two(3, "beta3")
def rest_beta3(v: Any, by: Any) -> Any:
    """The four-vector in the frame that has some velocity, a three-vector (unit c), in float64."""
    exactly(by, (3,), ".boostCM_of_beta3", "; .boostCM_of_p4 takes its rest frame")
    return _boosted(v, by, -1)


@of_two(3, "p4")
def rest_p4(v: Any, by: Any) -> Any:
    """The four-vector in the rest frame of another, in float64."""
    exactly(by, (4,), ".boostCM_of_p4", "; .boostCM_of_beta3 takes a velocity")
    return _boosted(v, by, -1)


def _along(axis: str) -> Callable[..., Any]:
    def boosted(v: Any, beta: Any = None, gamma: Any = None) -> Any:
        if (beta is None) == (gamma is None):
            raise UnsupportedError(f"boost{axis.upper()}: give either beta= or gamma=, not both or neither.")
        if gamma is None:
            beta = float64(beta)
            g = 1 / np.sqrt(1 - beta * beta)
            u = beta * g
        else:
            gamma = float64(gamma)
            g = np.absolute(gamma)
            u = np.copysign(np.sqrt(g * g - 1), gamma)
        mine = _wide(v)
        q, energy = _FORMULAS[axis](mine), t(mine)
        across = [c for c in (("rho", "phi") if axis == "z" and "rho" in mine else "xy") if c != axis]
        new = {c: _FORMULAS[c](mine) for c in (*across, *("z" if axis != "z" else ""))}
        new[axis] = g * q + u * energy
        time = {"tau": mine["tau"]} if "tau" in mine else {"t": u * q + g * energy}
        return remade(v, {**{c: new[c] for c in ("rho", "phi", "x", "y", "z") if c in new}, **time})

    boosted.__name__ = f"boost_{axis}"
    boosted.__doc__ = (
        f"The four-vector boosted along {axis}, by beta= (unit c) or by gamma= with the sign of the velocity."
    )
    return boosted


boost_x, boost_y, boost_z = map(_along, "xyz")

# other coordinates

_FORMULAS: dict[str, Callable[[Any], Any]] = {
    "x": x, "y": y, "rho": rho, "phi": phi, "z": z, "eta": eta, "theta": theta, "t": t, "tau": tau,
}  # fmt: skip
_LEAST = {"z": 3, "eta": 3, "theta": 3, "t": 4, "tau": 4}  # the dimension of vectors that have a coordinate


def _conversion(coordinates: tuple[str, ...], words: tuple[str, ...]) -> Callable[..., Any]:
    keywords = dict(zip(words[2:], coordinates[2:], strict=True))
    name = f"to_{''.join(words)}"

    def converted(v: Any, **given: Any) -> Any:
        if unknown := given.keys() - keywords:
            takes = " and ".join(f"{word}=" for word in keywords) or "nothing"
            raise TypeError(f"{name}() takes {takes}, not {', '.join(sorted(unknown))}=")
        more = {coordinate: given.get(word, 0.0) for word, coordinate in keywords.items()}
        d = dimension(v)
        return remade(v, {c: _FORMULAS[c](v) if _LEAST.get(c, 2) <= d else more[c] for c in coordinates})

    converted.__name__ = name
    converted.__doc__ = f"The vector in {', '.join(coordinates)}; keywords give those that it lacks, 0 unless given."
    return converted


_MOMENTUM = {"x": "px", "y": "py", "rho": "pt", "z": "pz", "t": "energy", "tau": "mass"}
CONVERSIONS: dict[str, Callable[..., Any]] = {}
for _across, _along_, _time in product((("x", "y"), ("rho", "phi")), ((), *zip(_ALONG)), ((), *zip(_TIME))):
    if _along_ or not _time:
        _all = (*_across, *_along_, *_time)
        for _words in (_all, tuple(_MOMENTUM.get(c, c) for c in _all)):
            CONVERSIONS[f"to_{''.join(_words)}"] = _conversion(_all, _words)

_LONGITUDINAL = {"z": "z", "pz": "z", "theta": "theta", "eta": "eta"}
_TEMPORAL = {"t": "t", "e": "t", "E": "t", "energy": "t", "tau": "tau", "m": "tau", "M": "tau", "mass": "tau"}


def _embedded(v: Any, d: int, given: dict[str, Any]) -> Any:
    """The vector in so many dimensions, in its own coordinates and those that are given; else z and t, which are 0."""
    has = dimension(v)
    new = {c: own(v, c) for c in list(system(v))[:d]}
    allowed: dict[str, str] = {}
    for level, choice in ((3, _LONGITUDINAL), (4, _TEMPORAL)):
        if not has < level <= d:
            continue
        allowed |= choice
        chosen = {word: value for word, value in given.items() if word in choice and value is not None}
        if len(chosen) > 1:
            kind = "longitudinal" if level == 3 else "temporal"
            raise UnsupportedError(f"to_Vector{d}D: give one {kind} coordinate, not {' and '.join(chosen)}.")
        word, value = next(iter(chosen.items()), ("z" if level == 3 else "t", 0.0))
        new[choice[word]] = value
    if unknown := [word for word in given if word not in allowed]:
        takes = f"takes {', '.join(allowed)}" if allowed else "takes no coordinates"
        raise UnsupportedError(f"to_Vector{d}D of {NAMES[has]} {takes}; not {', '.join(unknown)}.")
    return v if has == d else remade(v, new)


def to_2d(v: Any) -> Any:
    """The part of the vector in the plane."""
    return _embedded(v, 2, {})


def to_3d(v: Any, **given: Any) -> Any:
    """The three-vector: of one in the plane with z=, eta= or theta=, 0 unless given."""
    return _embedded(v, 3, given)


def to_4d(v: Any, **given: Any) -> Any:
    """The four-vector: of one in fewer dimensions with a mass or an energy, and z, eta or theta; 0 unless given."""
    return _embedded(v, 4, given)


@of_two(2)
def like(v: Any, other: Any) -> Any:
    """The vector in as many dimensions as another: what it lacks is 0."""
    return _embedded(v, dimension(other), {})


FLOAT64 = frozenset({
    boost, boost_beta3, boost_p4, boost_x, boost_y, boost_z, rest, rest_beta3, rest_p4, rotate_axis, rotate_euler,
    rotate_nautical, rotate_quaternion, rotate_x, rotate_y, rotate_z, transform2d, transform3d, transform4d, velocity,
})  # fmt: skip

"""Four-vectors, three-vectors and vectors in the plane: any record with the coordinates is one.

Both dialects of names are understood: scikit-hep vector's (deltaR, px, E), all of them, and NanoEvents' (delta_r,
nearest, metric_table). Coordinates are in `hepgraph.lazy.coordinates`, the quantities of one vector and of two in
`hepgraph.lazy.kinematics`, what is made of one vector in `hepgraph.lazy.transforms`, comparisons in
`hepgraph.lazy.comparisons`; here are sums and products, many vectors with many, and the table of all names.

A sum is kept in x, y, z, t, where scikit-hep vector converts back and forth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, UnsupportedError
from hepgraph.functions import behaviors
from hepgraph.functions.lines import as_one, call_users
from hepgraph.graph.form import List, Option, record_of
from hepgraph.lazy import comparisons, coordinates, kinematics, transforms
from hepgraph.lazy.array import ATTRIBUTES, FUNCTIONS, HOOKS, UFUNCS, Lazy
from hepgraph.lazy.coordinates import constant, dimension, exactly, named, need, own, same_dimension
from hepgraph.lazy.kinematics import OF_TWO, delta_r, of_two, t, x, y, z
from hepgraph.lazy.reduce import sum_of_numbers
from hepgraph.lazy.transforms import CONVERSIONS, scaled, vector

__all__ = ["METHODS", "OPERATORS", "PROPERTIES", "dimension", "own", "total"]


# sums and products


@of_two(2)
def dot(a: Any, b: Any) -> Any:
    """The scalar product, with the metric +--- for four-vectors."""
    instead = "a.pvec.dot(b.pvec) is that of three-momenta, a.like(b) has the dimensions of b"
    same_dimension(a, b, "scalar product", instead)
    return t(a) * t(b) - comparisons.inner(a, b) if dimension(a) == 4 else comparisons.inner(a, b)


@of_two(2)
def cross(a: Any, b: Any) -> Any:
    """The vector product of three-vectors."""
    for v in (a, b):
        exactly(
            v, (3,), ".cross", ". Of four-vectors, a.pvec.cross(b.pvec) is that of three-momenta" * (dimension(v) > 3)
        )
    ax, ay, az, bx, by, bz = x(a), y(a), z(a), x(b), y(b), z(b)
    return _cartesian([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], a, b)


def _cartesian(parts: list[Any], *of: Any) -> Any:
    """A vector of x, y, perhaps z, and perhaps t."""
    return vector(dict(zip("xyzt", parts, strict=False)), named(len(parts), *of))


def _summed(parts: list[Any], charge: Any, *of: Any) -> Any:
    """A sum of x, y, perhaps z, perhaps t, and of the charges if there are some."""
    if charge is None:
        return _cartesian(parts, *of)
    return vector({**dict(zip("xyzt", parts, strict=True)), "charge": charge}, named(4, *of))


def _charge(v: Any) -> Any:
    """The charges of four-vectors, if they have some."""
    if dimension(v) < 4 or isinstance(v, dict):
        return None
    record = record_of(v._form) if isinstance(v, Lazy) else HOOKS["named"](v)
    return v["charge"] if record is not None and "charge" in record else None


@of_two(2)
def add(a: Any, b: Any, sign: int = 1) -> Any:
    """The sum (or difference) of two vectors of the same dimension; charges add up too."""
    instead = 'a.like(b) has the dimensions of b, ak.zip({"pt": v.pt, "phi": v.phi}) is a vector in the plane'
    same_dimension(a, b, "sum" if sign > 0 else "difference", instead)
    combine: Callable[[Any, Any], Any] = np.add if sign > 0 else np.subtract
    qa, qb = _charge(a), _charge(b)
    charge = None if qa is None or qb is None else combine(qa, qb)
    return _summed([combine(f(a), f(b)) for f in (x, y, z, t)[: dimension(a)]], charge, a, b)


@of_two(2)
def subtract(a: Any, b: Any) -> Any:
    """The difference of two vectors of the same dimension, and of their charges."""
    return add(a, b, -1)


def total(v: Any, axis: int | None = -1, keepdims: bool = False, mask_identity: bool = False) -> Any:
    """The sum of the vectors of each list, the innermost one unless an axis is given; zero for an empty one."""
    need(v, 2, "sum")

    def summed(q: Any) -> Any:
        return ak.sum(q, axis=axis, keepdims=keepdims, mask_identity=mask_identity)

    charge = _charge(v)
    return _summed([summed(f(v)) for f in (x, y, z, t)[: dimension(v)]], None if charge is None else summed(charge), v)


def pvec(v: Any) -> Any:
    """The three-momentum."""
    return _cartesian([x(v), y(v), z(v)], v)


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

PROPERTIES: list[kinematics.Named] = [
    *kinematics.QUANTITIES,
    (pvec, 3, ("pvec",)),
    (transforms.boostvec, 4, ("boostvec",)),
    (transforms.minus2, 2, ("neg2D",)),
    (transforms.minus3, 3, ("neg3D",)),
    (transforms.minus, 4, ("neg4D",)),
    (coordinates.azimuthal, 2, ("azimuthal",)),
    (coordinates.longitudinal, 3, ("longitudinal",)),
    (coordinates.temporal, 4, ("temporal",)),
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


METHODS: list[kinematics.Named] = [
    *((of_two(least)(f), least, names) for f, least, names in kinematics.BETWEEN),
    (dot, 2, ("dot",)),
    (cross, 3, ("cross",)),
    (add, 2, ("add",)),
    (subtract, 2, ("subtract",)),
    (total, 2, ("sum",)),
    (transforms.unit, 2, ("unit",)),
    (scaled, 2, ("scale",)),
    (transforms.scaled2, 2, ("scale2D",)),
    (transforms.scaled3, 3, ("scale3D",)),
    (transforms.scaled4, 4, ("scale4D",)),
    (transforms.rotate_x, 3, ("rotateX",)),
    (transforms.rotate_y, 3, ("rotateY",)),
    (transforms.rotate_z, 2, ("rotateZ",)),
    (transforms.rotate_axis, 3, ("rotate_axis",)),
    (transforms.rotate_euler, 3, ("rotate_euler",)),
    (transforms.rotate_nautical, 3, ("rotate_nautical",)),
    (transforms.rotate_quaternion, 3, ("rotate_quaternion",)),
    (transforms.transform2d, 2, ("transform2D",)),
    (transforms.transform3d, 3, ("transform3D",)),
    (transforms.transform4d, 4, ("transform4D",)),
    (transforms.velocity, 4, ("to_beta3",)),
    (transforms.boost, 4, ("boost",)),
    (transforms.boost_p4, 4, ("boost_p4",)),
    (transforms.boost_beta3, 4, ("boost_beta3",)),
    (transforms.rest, 4, ("boostCM_of",)),
    (transforms.rest_p4, 4, ("boostCM_of_p4",)),
    (transforms.rest_beta3, 4, ("boostCM_of_beta3",)),
    (transforms.boost_x, 4, ("boostX",)),
    (transforms.boost_y, 4, ("boostY",)),
    (transforms.boost_z, 4, ("boostZ",)),
    (comparisons.is_parallel, 2, ("is_parallel",)),
    (comparisons.is_antiparallel, 2, ("is_antiparallel",)),
    (comparisons.is_perpendicular, 2, ("is_perpendicular",)),
    (comparisons.is_timelike, 4, ("is_timelike",)),
    (comparisons.is_spacelike, 4, ("is_spacelike",)),
    (comparisons.is_lightlike, 4, ("is_lightlike",)),
    (comparisons.equal, 2, ("equal",)),
    (comparisons.not_equal, 2, ("not_equal",)),
    (comparisons.isclose, 2, ("isclose",)),
    (comparisons.allclose, 2, ("allclose",)),
    (transforms.like, 2, ("like",)),
    (transforms.to_2d, 2, ("to_Vector2D", "to_2D")),
    (transforms.to_3d, 2, ("to_Vector3D", "to_3D")),
    (transforms.to_4d, 2, ("to_Vector4D", "to_4D")),
    *((f, 2, (name,)) for name, f in CONVERSIONS.items()),
    (metric_table, 0, ("metric_table",)),
    (nearest, 0, ("nearest",)),
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
        more = {"called_as": name} if f in OF_TWO else {}

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


# sums by awkward's own name


def _sum(array: Lazy, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False) -> Any:
    f = sum_of_numbers if axis is None or not dimension(array) else total
    return f(array, axis=axis, keepdims=keepdims, mask_identity=mask_identity)


FUNCTIONS[ak.sum] = _sum


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


def _square(a: Any) -> Any:
    return kinematics.magnitude2(a) if _is_vector(a) else NotImplemented


def _power(a: Any, exponent: Any) -> Any:
    if not _is_vector(a) or not isinstance(exponent, int | float):
        return NotImplemented
    return _square(a) if exponent == 2 else _absolute(a) ** exponent


def _root(exponent: float) -> Callable[[Any], Any]:
    return lambda a: _square(a) ** exponent if _is_vector(a) else NotImplemented


def _of_vectors(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: f(constant(a), b) if _is_vector(a) and _is_vector(b) else NotImplemented


OPERATORS: dict[str, Callable[..., Any]] = {
    "add": _add, "subtract": _subtract, "multiply": _multiply, "divide": _divide, "negative": _negative,
    "positive": lambda a: a if _is_vector(a) else NotImplemented, "absolute": _absolute, "square": _square,
    "power": _power, "sqrt": _root(1 / 4), "cbrt": _root(1 / 6), "matmul": _of_vectors(dot),
    "equal": _of_vectors(comparisons.equal), "not_equal": _of_vectors(comparisons.not_equal),
}  # fmt: skip

UFUNCS.update(OPERATORS)

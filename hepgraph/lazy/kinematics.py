"""Coordinates and what follows from them: which fields of a record make it a vector, and its kinematic quantities.

Coordinates are found by their names: `pt, phi` or `x, y` (px, py); `eta`, `theta` or `z` (pz); `mass` (m, M, tau) or
`E` (energy, e, t). Energies, momenta and masses are in GeV as the files have them, lengths in cm, angles in radians.

The formulas are those of scikit-hep vector (`vector._compute`), so that float32 rounding agrees, and so does what they
give for vectors of zeros. But sinh(eta) is tanh(eta) cosh(eta), of the cosh that the energy has too: right to three
units in the last place, and several times as fast where NumPy has no vector instructions for sinh. And theta is
arctan2, which is right near the beam and knows what is not a number. They are written with NumPy's ufuncs and
awkward's functions only, so they serve eager arrays as well as lazy ones, and single vectors of numbers.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, UnsupportedError
from hepgraph.functions.lines import recording
from hepgraph.graph.form import Form, Overlay, Record, Scalar, change, record_of
from hepgraph.graph.node import Space, as_map
from hepgraph.lazy.array import HOOKS, Lazy, each

# What a coordinate may be called beside pt, or px and py; and beside x and y, or rho. A jet with pt may have a time t,
# a lifetime tau or a rho, which are coordinates only in a record whose name says that it is a vector.
_MASS, _ENERGY = ("mass", "m", "M"), ("E", "energy", "e")
MOMENTA = {"z": ("pz",), "eta": ("eta",), "theta": ("theta",), "tau": _MASS, "t": _ENERGY}
GENERIC = {"z": ("z",), "eta": ("eta",), "theta": ("theta",), "tau": (*_MASS, "tau"), "t": (*_ENERGY, "t")}
EITHER = {c: tuple(dict.fromkeys([*MOMENTA[c], *GENERIC[c]])) for c in MOMENTA}
ACROSS = {("pt", "phi"): MOMENTA, ("px", "py"): MOMENTA, ("x", "y"): GENERIC, ("rho", "phi"): GENERIC}
VECTORS = frozenset(
    f"{kind}{d}D" for kind in ("Momentum", "Vector") for d in (2, 3, 4)
) | {"LorentzVector", "PtEtaPhiMLorentzVector", "PtEtaPhiELorentzVector", "PtEtaPhiMCandidate", "PtEtaPhiECandidate",
     "ThreeVector", "SphericalThreeVector", "TwoVector", "PolarTwoVector"}  # fmt: skip
PLAIN = frozenset(f"Vector{d}D" for d in (2, 3, 4))  # names of vectors that are no momenta
NAMES = {2: "a vector in the plane", 3: "a three-vector", 4: "a four-vector"}


class Constant(dict[str, Any]):
    """The coordinates of a single vector of numbers."""

    plain = True  # no momentum


def system(v: Any) -> dict[str, str]:
    """The coordinates that a record is a vector in, and the fields that hold them; empty for what is no vector.

    A record may have more: a secondary vertex has a position x, y, z beside its momentum pt, eta, phi. Momenta win, and
    pt, phi go with eta and mass, x, y with z and energy, where there is a choice.
    """
    if isinstance(v, Lazy):
        return {} if (record := record_of(v._form)) is None else coordinates(record)
    if isinstance(v, dict):  # a single vector of numbers
        return {c: c for c in v}
    if not isinstance(v, (ak.Array, ak.Record)):
        return {}
    layout = v.layout.array if isinstance(v, ak.Record) else v.layout
    return _system(HOOKS["named"](v).__contains__, layout.purelist_parameter("__record__") in VECTORS)


def coordinates(record: Record) -> dict[str, str]:
    """The coordinates of a lazy record."""
    if "vector" not in record.about:
        over = record.fields
        if isinstance(over, Overlay) and over.adds_none and over.below.name == record.name:
            record.about["vector"] = coordinates(over.below)
        else:
            record.about["vector"] = _system(record.__contains__, record.name in VECTORS)
    return record.about["vector"]  # type: ignore[no-any-return]


def _system(has: Callable[[str], bool], named: bool) -> dict[str, str]:
    both = next((both for both in ACROSS if all(map(has, both))), None)
    if both is None:
        return {}
    polar = both[1] == "phi"
    spellings = EITHER if named else ACROSS[both]
    names = {c: name for c, spelled in spellings.items() if (name := next(filter(has, spelled), None)) is not None}
    found = dict(zip(("rho", "phi") if polar else ("x", "y"), both, strict=True))
    for choice in (("eta", "theta", "z"), ("tau", "t")) if polar else (("z", "eta", "theta"), ("t", "tau")):
        chosen = next(filter(names.__contains__, choice), None)
        if chosen is None:
            break
        found[chosen] = names[chosen]
    return found


def own(v: Any, coordinate: str) -> Any:
    """A coordinate that is a field of the record, else None."""
    name = system(v).get(coordinate)
    return None if name is None else v[name]


def dimension(v: Any) -> int:
    """2, 3 or 4 by the coordinates that there are; 0 for what is no vector."""
    return len(system(v))


def constant(v: Any) -> Any:
    """A single vector of scikit-hep vector (`vector.obj`) as its coordinates; anything else as it is."""
    if isinstance(v, (ak.Array, ak.Record)) or not hasattr(type(v), "azimuthal"):
        return v
    parts: list[Any] = [getattr(v, name, None) for name in ("azimuthal", "longitudinal", "temporal")]
    found = Constant((c, value) for part in parts if hasattr(part, "_asdict") for c, value in part._asdict().items())
    found.plain = not hasattr(v, "px")
    return found or v


def named(d: int, *vectors: Any) -> str:
    """The name of what is made of some vectors: a momentum if one of them is one, or says not what it is."""
    return f"{'Vector' if all(map(_is_plain, vectors)) else 'Momentum'}{d}D"


def _is_plain(v: Any) -> bool:
    if isinstance(v, Lazy):
        record = record_of(v._form)
        return record is not None and record.name in PLAIN
    if isinstance(v, Constant):
        return v.plain
    layout = v.layout.array if isinstance(v, ak.Record) else v.layout
    return layout.purelist_parameter("__record__") in PLAIN


def need(v: Any, least: int, what: str) -> None:
    """Raises FieldError if something is no vector, or one of too few dimensions."""
    if dimension(v) >= least:
        return
    wanted = f"{what} needs {NAMES[least]}{' (pt and phi, or x and y)' * (least == 2)}"
    if isinstance(v, dict):
        raise FieldError(f"{wanted}; this vector has the coordinates {', '.join(v)}.")
    if not isinstance(v, (ak.Array, ak.Record)):
        raise FieldError(
            f"{wanted}, not {v!r} ({type(v).__name__}). One vector for all is vector.obj(pt=..., eta=..., phi=...), "
            "one for each event or object ak.zip({'pt': ..., 'eta': ..., 'phi': ...})."
        )
    if not v.fields:
        raise FieldError(f"{wanted}; this is an array of numbers, without fields.")
    message = f"{wanted}; this record has the fields {', '.join(v.fields[:10])}."
    named = _system(set(v.fields).__contains__, True)
    if len(named) >= least:
        doubtful = [name for name in named.values() if name not in system(v).values()]
        fields = ", ".join(f"{name!r}: x[{name!r}]" for name in named.values())
        message += (
            f" Beside {next(iter(named.values()))}, {' and '.join(doubtful)} may mean something else; say that it is a "
            f"coordinate: ak.zip({{{fields}}}, with_name='Momentum{len(named)}D')."
        )
    record = record_of(v._form) if isinstance(v, Lazy) else None
    raise FieldError(message + ("" if record is None else record.noted("pt", "phi", "eta", "mass", "px", "py", "pz")))


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


def same_dimension(a: Any, b: Any, what: str, instead: str) -> None:
    """Raises UnsupportedError, which says what to write instead, if vectors are of different dimensions."""
    if dimension(a) != dimension(b):
        raise UnsupportedError(
            f"The {what} of {NAMES[dimension(a)]} and {NAMES[dimension(b)]} is ambiguous. Give both the same "
            f"coordinates: {instead}."
        )


def exactly(v: Any, dimensions: tuple[int, ...], what: str, instead: str = "") -> None:
    """Raises UnsupportedError if a vector has none of some dimensions."""
    if dimension(v) not in dimensions:
        wanted = " or ".join(NAMES[d] for d in dimensions)
        raise UnsupportedError(f"{what} needs {wanted}; this is {NAMES[dimension(v)]}{instead}.")


def azimuthal(v: Any) -> Any:
    """The azimuthal coordinates: x and y, or rho and phi."""
    return _elements(v, ("x", "y", "rho", "phi"))


def longitudinal(v: Any) -> Any:
    """The longitudinal coordinate: z, eta or theta."""
    return _elements(v, ("z", "eta", "theta"))


def temporal(v: Any) -> Any:
    """The temporal coordinate: t or tau."""
    return _elements(v, ("t", "tau"))


def _elements(v: Any, choice: tuple[str, ...]) -> Any:
    names = tuple(c for c in choice if c in system(v))
    return _tuple(names)(*(own(v, c) for c in names))


@lru_cache
def _tuple(names: tuple[str, ...]) -> Any:
    return type("Coordinates", (namedtuple("Coordinates", names),), {"elements": property(tuple)})


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
        if isinstance(over, Overlay) and over.own.keys().isdisjoint(names) and coordinates(over.below) == known:
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

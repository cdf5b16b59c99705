"""Coordinates: which fields of a record make it a vector, by their names.

They are `pt, phi` or `x, y` (px, py); `eta`, `theta` or `z` (pz); `mass` (m, M, tau) or `E` (energy, e, t). Energies,
momenta and masses are in GeV as the files have them, lengths in cm, angles in radians.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import awkward as ak

from hepgraph.errors import FieldError, UnsupportedError
from hepgraph.graph.form import Overlay, Record, record_of
from hepgraph.lazy.array import HOOKS, Lazy

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

"""Four-vectors: float32 keeps its precision, special vectors are scikit-hep vector's, the user's names come first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.lazy.behavior import particles
from hepgraph.lazy.vectors import PROPERTIES
from hepgraph.processor.chunk import eager_events

vector = pytest.importorskip("vector")

ENGINES = ["kernel", "interpreter"]
QUIET = {"executor": "serial", "progress": False}


def everywhere(program: Callable[[Any], Any], array: ak.Array, schema: str = "base") -> Iterator[tuple[str, Any]]:
    """The results of a program of events by both engines, and on the awkward arrays of an eager run."""
    events = hg.from_awkward(array, schema=schema)
    for engine in ENGINES:
        yield engine, hg.compute(program(events), engine=engine, **QUIET)
    chunk = eager_events(events, events.source.partitions()[0])
    with np.errstate(all="ignore"):
        yield "eager", program(chunk)


# precision

EPS = float(np.finfo(np.float32).eps)


def light(seed: int, n: int) -> ak.Array:
    """Vectors in float32, from soft to hard, many of them light beside their energy."""
    rng = np.random.default_rng(seed)
    fields = {"pt": 10 ** rng.uniform(-3, 4, n), "eta": rng.uniform(-6, 6, n), "phi": rng.uniform(-np.pi, np.pi, n),
              "mass": rng.choice([0, 5e-4, 0.1057, 4.2, 1e3], n) * rng.uniform(0.5, 1, n)}  # fmt: skip
    return ak.zip({name: values.astype(np.float32) for name, values in fields.items()})


def exact(v: ak.Array) -> dict[str, Any]:
    """The components of vectors in extended precision."""
    pt, eta, phi, mass = (ak.to_numpy(v[name]).astype(np.longdouble) for name in ("pt", "eta", "phi", "mass"))
    p = pt * np.cosh(eta)
    return {"x": pt * np.cos(phi), "y": pt * np.sin(phi), "z": pt * np.sinh(eta), "t": np.sqrt(p * p + mass * mass),
            "mass": mass}  # fmt: skip


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1.01, 2, 0.5, -1, -1.03, 1e-3]), st.sampled_from(["*", "/", "each"]))
def test_a_multiple_keeps_the_mass_of_float32(seed: int, factor: float, how: str) -> None:
    v = light(seed, 40)
    each = np.full(40, factor, np.float32) * np.random.default_rng(seed).choice([-1, 1], 40).astype(np.float32)

    def program(e: Any) -> Any:
        scaled = {"*": lambda: e.v * factor, "/": lambda: e.v / (1 / factor), "each": lambda: e.v * e.f}[how]()
        return {name: scaled[name] for name in scaled.fields} | {"E": scaled.energy, "x": scaled.px}

    f = each.astype(float) if how == "each" else np.full(40, factor)
    was = exact(v)
    for where, got in everywhere(program, ak.zip({"v": v, "f": each}, depth_limit=1)):
        assert list(got) == ["pt", "phi", "eta", "mass", "E", "x"], where
        got = {name: ak.to_numpy(values) for name, values in got.items()}
        wide = {"phi", "x"} if how != "each" and factor < 0 else set()  # the azimuth of what is turned around
        assert {name: values.dtype.name for name, values in got.items()} == {
            name: "float64" if name in wide else "float32" for name in got
        }, where
        for name in ("pt", "mass"):
            np.testing.assert_allclose(got[name], ak.to_numpy(v[name]) * abs(f), rtol=2 * EPS, err_msg=where)
        np.testing.assert_array_equal(got["eta"], ak.to_numpy(v.eta) * np.sign(f).astype(np.float32), where)
        np.testing.assert_array_equal(got["phi"][f > 0], ak.to_numpy(v.phi)[f > 0], where)
        np.testing.assert_allclose(got["E"], was["t"] * abs(f), rtol=16 * EPS, err_msg=where)
        np.testing.assert_allclose(got["x"], was["x"] * f, rtol=0, atol=8 * EPS * np.max(ak.to_numpy(v.pt * abs(f))))
        assert np.all(np.abs(got["phi"]) <= np.float32(np.pi) + 1e-6), where


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["four", "rest", "cartesian"]))
def test_a_boost_in_float32_is_right(seed: int, how: str) -> None:
    """By a four-vector to the precision of float64, whatever its velocity; in the rest frame the energy is the mass."""
    a, b = light(seed, 40), light(seed + 1, 40)
    b["mass"] = np.maximum(b.mass, np.float32(1e-3))
    if how == "cartesian":
        a = ak.zip({name: exact(a)[name].astype(np.float32) for name in ("x", "y", "z", "t")})

    def program(e: Any) -> Any:
        boosted = e.b.boost(-e.b) if how == "rest" else e.a.boost_p4(e.b)
        parts = {"x": boosted.px, "y": boosted.py, "z": boosted.pz, "t": boosted.E, "mass": boosted.mass}
        return {name: parts[name] for name in (parts if how != "cartesian" else ("x", "y", "z", "t"))}

    by, v = exact(b), exact(a) if how != "cartesian" else {c: ak.to_numpy(a[c]).astype(np.longdouble) for c in "xyzt"}
    if how == "rest":
        v, by = by, {name: values if name in ("t", "mass") else -values for name, values in by.items()}
    g, u = by["t"] / by["mass"], {c: by[c] / by["mass"] for c in "xyz"}
    along = sum(u[c] * v[c] for c in "xyz")
    right = {c: v[c] + u[c] * (along / (g + 1) + v["t"]) for c in "xyz"} | {"t": g * v["t"] + along}
    size = np.asarray((g * v["t"]).astype(float)) * 1e-14
    for where, got in everywhere(program, ak.zip({"a": a, "b": b}, depth_limit=1)):
        for name, values in got.items():
            values = ak.to_numpy(values)
            assert values.dtype == np.float64, where
            if name == "mass":  # as it was, to the bit
                np.testing.assert_array_equal(values, ak.to_numpy(b.mass if how == "rest" else a.mass), where)
            else:
                assert np.all(np.abs(values - right[name]) <= size), (where, name)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_velocities_are_float64(seed: int) -> None:
    """By a velocity as well as 1 - beta^2 is known in float64."""
    v = light(seed, 40)
    v["mass"] = np.maximum(v.mass, v.pt * np.cosh(v.eta) * np.float32(1e-4))

    def program(e: Any) -> Any:
        there = e.v.boost(e.v.boostvec)
        back = there.boost(-e.v.to_beta3())
        return {"x": back.px, "y": back.py, "z": back.pz, "t": back.energy, "beta": e.v.boostvec.x}

    right = exact(v)
    for where, got in everywhere(program, ak.zip({"v": v}, depth_limit=1)):
        for name in ("x", "y", "z", "t"):
            values = ak.to_numpy(got[name])
            assert values.dtype == np.float64, where
            gamma = right["t"] / right["mass"]
            bound = np.asarray((1e-14 * gamma**4 * right["t"]).astype(float))
            assert np.all(np.abs(values - right[name]) <= bound), (where, name)
        np.testing.assert_allclose(ak.to_numpy(got["beta"]), (right["x"] / right["t"]).astype(float), rtol=1e-12)


def test_boosts_of_what_was_computed() -> None:
    """Arrays of scikit-hep vector's class, as sums are, are boosted as when traced."""
    v = light(3, 50)
    events = hg.from_awkward(ak.zip({"v": v}, depth_limit=1))
    total = events.v + events.v
    computed = hg.compute(total, **QUIET)
    for by in (lambda x: x, lambda x: x.boostvec, lambda x: vector.obj(x=0.1, y=-0.2, z=0.3)):
        wanted = hg.compute(total.boost(by(total)).pt, **QUIET)
        got = computed.boost(by(computed))
        assert got.x.type.content.primitive == "float64"
        np.testing.assert_allclose(got.pt, wanted, rtol=1e-12)


# special vectors

nan, inf = np.nan, np.inf
VALUES = {
    "x": [0, 3, -2, nan, inf], "y": [0.0, -1], "rho": [0, 5, nan, inf], "phi": [0, 2.5, -1],
    "z": [0, -0.0, 2, -7, nan, inf, -inf], "eta": [0, -0.0, 1.5, -3, nan, inf], "theta": [0, 1.2, np.pi / 2, nan],
    "t": [0, 9, -3, nan, inf], "tau": [0, -0.0, 2, -0.7, nan, inf],
}  # fmt: skip
SYSTEMS = [
    (*across, *along, *inside)
    for across in (("x", "y"), ("rho", "phi"))
    for along in ((), ("z",), ("eta",), ("theta",))
    for inside in (((), ("t",), ("tau",)) if along else ((),))
]
Columns = dict[str, Any]
# what is not vector's, where, and why
OTHER: list[tuple[str, str, Callable[[Columns], Any]]] = [
    ("theta", "arctan2 is right near the beam; what is no number stays so, and -inf is backwards",
     lambda c: ~np.isfinite(c["z"]) | ~np.isfinite(c["x"] if "x" in c else c["rho"])),
    ("zero.phi", "a vector times zero keeps its direction, where vector turns it by a quarter", lambda c: "phi" in c),
    ("zero.eta", "the same; vector gives 0, or half of theta", lambda c: "eta" in c or "theta" in c),
    ("zero.t", "the same, which may be that of the beam: zero over zero", lambda c: "theta" in c),
    ("zero.tau", "the same", lambda c: "theta" in c),
    ("velocity.eta", "x, y, z where x and y are coordinates: a velocity of zero has no direction", lambda c: "x" in c),
    ("velocity.z", "the same; vector loses the sign of a negative energy", lambda c: "x" in c),
    ("minus", "vector's cosh overflows at a negative pseudorapidity", lambda c: "eta" in c and np.isinf(c["eta"])),
    ("half", "the same", lambda c: "eta" in c and np.isinf(c["eta"])),
]  # fmt: skip


def special(system: tuple[str, ...]) -> ak.Array:
    """All vectors of some coordinates out of numbers that are special."""
    rows = np.array(list(itertools.product(*(VALUES[c] for c in system))))
    v = ak.zip({c: rows[:, i] for i, c in enumerate(system)}, with_name=f"Momentum{len(system)}D")
    v["also"] = rows[:, 0]  # any other field
    return v


NO_NUMBERS = {"neg2D", "neg3D", "neg4D", "azimuthal", "longitudinal", "temporal"}


def quantities(v: Any, d: int) -> dict[str, Any]:
    """Properties that hepgraph and scikit-hep vector both have."""
    made = {}
    for _, least, names in PROPERTIES:
        for name in names:
            if least <= d and hasattr(getattr(vector, f"MomentumObject{d}D"), name) and name not in NO_NUMBERS:
                made[name] = getattr(v, name)
    parts = ["x", "y", "z", "t"][:d] + ["rho", "phi", "eta", "tau"][:d]
    for name, other in {"minus": -v, "zero": v * 0, "half": v / -2, "unit": v.unit()}.items():
        made.update({f"{name}.{part}": getattr(other, part) for part in parts})
    if d == 4:
        made.update({f"velocity.{part}": getattr(v.to_beta3(), part) for part in ("x", "y", "z", "rho", "phi", "eta")})
    return made


@pytest.mark.parametrize("system", SYSTEMS, ids=" ".join)
def test_special_vectors_are_those_of_vector(system: tuple[str, ...]) -> None:
    from vector.backends.awkward import behavior

    v, d = special(system), len(system)
    with np.errstate(all="ignore"):
        right = quantities(ak.Array(v, behavior=behavior), d)
        ours = quantities(ak.Array(v, behavior=particles([])), d)
    lazy = quantities(hg.from_awkward(ak.zip({"v": v}, depth_limit=1)).v, d)
    found = {engine: hg.compute(lazy, engine=engine, **QUIET) for engine in ENGINES} | {"eager": ours}
    columns = {c: ak.to_numpy(v[c]) for c in system}
    assert len(right) > 15
    for name, wanted in right.items():
        for where, got in found.items():
            a, b = ak.to_numpy(got[name]), ak.to_numpy(wanted)
            with np.errstate(all="ignore"):
                same = np.isclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)
            for what, _, there in OTHER:
                if not same.all() and (name == what or name.startswith(f"{what}.")):
                    same = same | there(columns)
            assert same.all(), (where, name, v[~same][:3].to_list(), a[~same][:3], b[~same][:3])


@pytest.mark.parametrize("coordinates", [{"px": 0.0, "py": 0.0, "pz": 0.0, "E": 0.0},
                                         {"pt": 0.0, "eta": 0.0, "phi": 0.0, "mass": 0.0}])  # fmt: skip
def test_vectors_of_zeros(coordinates: dict[str, float]) -> None:
    """The examples: Et is that of vector (0 / 0 in x, y, z, t), beta is 0."""
    v = ak.zip({name: np.array([value]) for name, value in coordinates.items()})
    wanted = vector.Array(v)
    for where, got in everywhere(lambda e: {"Et": e.v.Et, "beta": e.v.beta}, ak.zip({"v": v}, depth_limit=1)):
        for name, value in got.items():
            np.testing.assert_array_equal(ak.to_numpy(value), ak.to_numpy(getattr(wanted, name)), f"{where} {name}")

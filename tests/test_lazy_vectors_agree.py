"""Four-vectors agree with scikit-hep vector, whose behaviors are given to single arrays here, never registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg

vector = pytest.importorskip("vector")

RNG = np.random.default_rng(7)
COUNTS = np.array([3, 0, 1, 2, 4, 0, 2])


def objects(counts: np.ndarray[Any, Any], *, cartesian: bool = False) -> ak.Array:
    """Lists of four-vectors of ordinary sizes, in float32."""
    n = int(counts.sum())
    pt, eta, phi = RNG.uniform(20, 100, n), RNG.uniform(-2, 2, n), RNG.uniform(-np.pi, np.pi, n)
    mass = RNG.uniform(0.1, 5, n)
    parts = {"pt": pt, "eta": eta, "phi": phi, "mass": mass}
    if cartesian:
        px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
        parts = {"px": px, "py": py, "pz": pz, "E": np.sqrt(px**2 + py**2 + pz**2 + mass**2)}
    return ak.unflatten(ak.zip({name: values.astype(np.float32) for name, values in parts.items()}), counts)


DATA = ak.zip(
    {"jet": objects(COUNTS), "mu": objects(COUNTS[::-1]), "el": objects(COUNTS, cartesian=True)}, depth_limit=1
)


def eager(name: str) -> ak.Array:
    """A collection with vector's behavior."""
    from vector.backends.awkward import behavior

    return ak.Array(ak.with_name(DATA[name], "Momentum4D"), behavior=behavior)


def pairs(a: Any, b: Any) -> tuple[Any, Any]:
    """All pairs of two collections."""
    both = ak.cartesian({"a": a, "b": b})
    return both.a, both.b


UNARY = ["px", "py", "pz", "E", "p", "pt", "eta", "phi", "theta", "mass", "rapidity", "mt", "et", "pt2", "p2", "mass2"]
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "deltaR": lambda a, b: a.deltaR(b),
    "deltaphi": lambda a, b: a.deltaphi(b),
    "deltaeta": lambda a, b: a.deltaeta(b),
    "deltaangle": lambda a, b: a.deltaangle(b),
    "dot": lambda a, b: a.dot(b),
    "mass of sum": lambda a, b: (a + b).mass,
    "pt of sum": lambda a, b: (a + b).pt,
    "eta of sum": lambda a, b: (a + b).eta,
    "pz of difference": lambda a, b: (a - b).pz,  # vector loses the sign of the energy of a difference
    "twice": lambda a, b: (a * 2).pt,
    "boost": lambda a, b: a.boost((a + b).to_beta3() if not isinstance(a, hg.Lazy) else a + b).pt,
}


def agree(a: ak.Array, b: ak.Array) -> None:
    """The same up to rounding in float32."""
    assert ak.num(a).to_list() == ak.num(b).to_list()
    np.testing.assert_allclose(ak.to_numpy(ak.flatten(a)), ak.to_numpy(ak.flatten(b)), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("collection", ["jet", "el"])
def test_property(name: str, collection: str) -> None:
    events = hg.from_awkward(DATA, npartitions=3)
    got = getattr(events[collection], name).compute(executor="serial", progress=False)
    agree(got, getattr(eager(collection), name))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("second", ["mu", "el"])
def test_two_vectors(name: str, second: str) -> None:
    events = hg.from_awkward(DATA, npartitions=2)
    got = BINARY[name](*pairs(events.jet, events[second])).compute(executor="serial", progress=False)
    if name == "boost":
        a, b = pairs(eager("jet"), eager(second))
        agree(got, a.boost_p4(a + b).pt)
    else:
        agree(got, BINARY[name](*pairs(eager("jet"), eager(second))))


def test_sum_of_lists() -> None:
    events = hg.from_awkward(DATA, npartitions=2)
    got = events.jet.sum(axis=1).mass.compute(executor="serial", progress=False)
    jets = eager("jet")
    e, px, py, pz = (ak.sum(ak.values_astype(getattr(jets, c), "float64"), axis=1) for c in ("E", "px", "py", "pz"))
    np.testing.assert_allclose(got, np.sqrt(np.maximum(e**2 - px**2 - py**2 - pz**2, 0)), rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_momentum_from_pseudorapidity(engine: str) -> None:
    """Right to a few units in the last place, and what files mark as absent is not NaN."""
    sizes = np.concatenate([np.geomspace(1e-20, 80, 3000), np.linspace(0, 6, 3000)])
    odd = [0, -0.0, np.inf, -np.inf, -99, -999, 999]
    for dtype in (np.float32, np.float64):
        eta = np.concatenate([sizes, -sizes, odd]).astype(dtype)
        one, no = np.ones_like(eta), np.zeros_like(eta)
        v = hg.from_awkward(ak.zip({"pt": one, "eta": eta, "phi": no, "mass": no}), 3)
        got = hg.compute({"z": v.pz, "p": v.p}, executor="serial", progress=False, engine=engine)
        with np.errstate(over="ignore"):
            exact = {"z": np.sinh(eta.astype(np.longdouble)), "p": np.cosh(eta.astype(np.longdouble))}
            for name, right in exact.items():
                assert got[name].type.content.primitive == dtype.__name__
                mine = ak.to_numpy(got[name])
                np.testing.assert_array_equal(np.signbit(mine), np.signbit(right))
                finite = np.abs(right) < 0.9 * np.finfo(dtype).max
                np.testing.assert_allclose(mine[finite], right[finite], rtol=6 * np.finfo(dtype).eps, atol=0)
                assert np.isinf(mine[~finite]).all()

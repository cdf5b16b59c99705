"""Vectors' names: the user's fields and behaviors come first, and what methods take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import FieldError, UnsupportedError
from hepgraph.functions.behaviors import class_of
from hepgraph.lazy.behavior import TABLE
from hepgraph.lazy.vectors import METHODS, PROPERTIES
from hepgraph.processor.chunk import eager_events

vector = pytest.importorskip("vector")

QUIET = {"executor": "serial", "progress": False}


def everywhere(program: Callable[[Any], Any], array: ak.Array) -> Iterator[tuple[str, Any]]:
    """The results of a program of events by both engines, on the arrays of an eager run, and on computed events."""
    events = hg.from_awkward(array)
    for engine in ("kernel", "interpreter"):
        yield engine, hg.compute(program(events), engine=engine, **QUIET)
    yield "eager", program(eager_events(events, events.source.partitions()[0]))
    if "Jet" in program.__code__.co_names:  # the record has a name when computed, too: awkward goes by names
        yield "computed", program(hg.compute(events, **QUIET))


def same(got: Any, wanted: Any, where: str = "") -> None:
    """The same numbers, with the same lists and the same None."""
    assert ak.almost_equal(got, wanted, rtol=1e-5, atol=1e-6, dtype_exact=False), (where, got, wanted)
    assert ak.to_list(ak.is_none(got, axis=-1)) == ak.to_list(ak.is_none(wanted, axis=-1)), where


def jets(**more: Any) -> ak.Array:
    """Lists of jets, with more fields."""
    fields = {"pt": [30.0, 50, 20], "eta": [0.5, -1.0, 2.0], "phi": [1.0, 2, -3], "mass": [4.0, 6, 5], **more}
    return ak.zip({"Jet": ak.unflatten(ak.zip({k: np.array(v) for k, v in fields.items()}), [2, 0, 1])}, depth_limit=1)


# fields

COORDINATES = [
    ("pt", "eta", "phi", "mass"),
    ("px", "py", "pz", "E"),
    ("x", "y", "z", "t"),
    ("rho", "phi", "eta", "tau"),
]
NAMES = sorted(TABLE.keys() - {"nearest", "metric_table"})


@settings(deadline=None)
@given(
    st.sampled_from(COORDINATES), st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True), st.booleans()
)
def test_a_field_is_what_its_name_gives(coordinates: tuple[str, ...], more: set[str], named: bool) -> None:
    """Whatever a field is called, it is what is asked for by its name; it is a coordinate only where none is meant."""
    numbers = dict(zip(coordinates, [[30.0, 50, 20], [0.5, -1.0, 2.0], [1.0, 2, -3], [400.0, 600, 500]], strict=True))
    added = {name: [1000.0 + i, 2000 + i, 3000 + i] for i, name in enumerate(sorted(more)) if name not in coordinates}
    record = ak.zip({k: np.array(v) for k, v in {**added, **numbers}.items()},
                    with_name="Momentum4D" if named else "Jet")  # fmt: skip
    events = ak.zip({"Jet": ak.unflatten(record, [2, 0, 1])}, depth_limit=1)
    for name, wanted in added.items():
        for where, got in everywhere(lambda e, name=name: getattr(e.Jet, name), events):
            assert ak.to_list(ak.flatten(got)) == wanted, (where, name)


OWN: dict[str, dict[str, Any]] = {
    "an energy density": {"rho": [11.0, 12, 13]},
    "a probability": {"p": [0.1, 0.2, 0.3]},
    "a time": {"t": [1.0, 2, 3]},
    "a lifetime": {"tau": [1.0, 2, 3]},
    "a position": {"x": [1.0, 2, 3], "y": [4.0, 5, 6], "z": [7.0, 8, 9]},
    "all": {"rho": [1.0] * 3, "p": [2.0] * 3, "t": [3.0] * 3, "tau": [4.0] * 3, "x": [5.0] * 3, "y": [6.0] * 3,
            "beta": [7.0] * 3, "theta": [8.0] * 3, "z": [9.0] * 3, "E2": [1.0] * 3},
}  # fmt: skip


@pytest.mark.parametrize("what", OWN)
def test_coordinates_are_what_is_meant(what: str) -> None:
    """The energy, the angles and the sums of a jet are those of its pt, eta, phi and mass, whatever else it holds."""

    def program(e: Any) -> Any:
        return {"E": e.Jet.energy, "px": e.Jet.px, "pt": (e.Jet * 2).pt, "m": (e.Jet + e.Jet).mass, "mt": e.Jet.mt,
                "r": e.Jet.delta_r(ak.firsts(e.Jet)), "g": e.Jet.gamma}  # fmt: skip

    wanted = dict(next(everywhere(program, jets()))[1])
    for where, got in everywhere(program, jets(**OWN[what])):
        for name in wanted:
            same(got[name], wanted[name], f"{where} {name}")


@pytest.mark.parametrize(("name", "held"), [("t", "energy"), ("tau", "mass")])
def test_what_is_no_coordinate_is_not_guessed(name: str, held: str) -> None:
    """A track with a time has no mass; the message says how to say that it is one."""
    v = ak.zip({"pt": np.array([30.0]), "eta": np.array([1.0]), "phi": np.array([2.0]), name: np.array([40.0])})
    events = hg.from_awkward(ak.zip({"v": v}, depth_limit=1))
    with pytest.raises(FieldError, match="needs a four-vector") as caught:
        _ = events.v.mass2
    assert f"Beside pt, {name} may mean something else" in str(caught.value)
    line = str(caught.value).partition("coordinate: ")[2].removesuffix(".")
    vectors = eval(line, {"ak": ak, "x": events.v})
    wanted = vector.obj(pt=30.0, eta=1.0, phi=2.0, **{held: 40.0}).mass2
    np.testing.assert_allclose(hg.compute(vectors.mass2, **QUIET), [wanted])


def test_a_sum_takes_the_names_of_vectors_as_fields() -> None:
    """Corrected quantities beside a sum: scikit-hep vector would refuse to be its class."""
    events = hg.from_awkward(jets())
    pair = events.Jet + events.Jet
    pair["mass"], pair["pt"] = pair.mass * 2, pair.pt * 3
    got = hg.compute(pair, **QUIET)
    for each in (got, got[:, :1], pair):
        assert each.fields == ["x", "y", "z", "t", "mass", "pt"]
    same(got.mass, hg.compute((events.Jet + events.Jet).mass * 2, **QUIET))
    same(got.pt, hg.compute(events.Jet.pt * 6, **QUIET))
    same(got.px, hg.compute(events.Jet.px * 2, **QUIET))


# behaviors


@pytest.fixture
def behavior() -> Iterator[dict[Any, Any]]:
    """The behaviors that are registered, as they were afterwards."""
    before = dict(ak.behavior)
    yield ak.behavior
    ak.behavior.clear()
    ak.behavior.update(before)


def register(behavior: dict[Any, Any]) -> None:
    """Registers what a user may: a property with the name of one of vectors', a field, an operator, a method."""

    @ak.mixin_class(behavior)
    class Jet:
        @property
        def rho(self) -> Any:
            return self.pt * 100

        @property
        def mass(self) -> Any:
            return self["mass"] * 10

        def delta_r(self, other: Any) -> Any:
            return self.eta - other.eta

        def from_beam(self, power: int = 1) -> Any:
            return self.theta**power

        @ak.mixin_class_method(np.add, {"Jet"})
        def plus(self, other: Any) -> Any:
            return self.pt * 1000 + other.pt


BEHAVED: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "property": (lambda j: j.rho, lambda j: j.pt * 100),
    "before a field": (lambda j: j.mass, lambda j: j["mass"] * 10),
    "method": (lambda j: j.from_beam(power=2), lambda j: j.theta**2),
    "before a method": (lambda j: j.delta_r(j), lambda j: j.pt * 0),
    "operator": (lambda j: j + j, lambda j: j.pt * 1001),
    "cut": (lambda j: j[j.pt > 25].rho, lambda j: j.pt[j.pt > 25] * 100),
    "the rest": (lambda j: j.px, lambda j: j.pt * np.cos(j.phi)),
    "other operators": (lambda j: (j * 2).pt, lambda j: j.pt * 2),
}


@pytest.mark.parametrize("name", BEHAVED)
def test_behaviors_of_the_user_come_first(name: str, behavior: dict[Any, Any]) -> None:
    program, right = BEHAVED[name]
    wanted = dict(everywhere(lambda e: right(e.Jet), jets()))["interpreter"]
    register(behavior)
    for where, got in everywhere(lambda e: program(e.Jet), jets()):
        same(got, wanted, where)


def test_behaviors_of_the_user_travel(behavior: dict[Any, Any], tmp_path: Any) -> None:
    """Functions and eager processors see them in other processes, too."""
    register(behavior)
    events = hg.from_awkward(jets())
    away = {"executor": hg.executors.Processes(1), "progress": False}
    recorded = ak.sum(hg.map_partitions(lambda j: j.rho, events.Jet))
    assert hg.compute(recorded, **away) == 10000
    ak.to_parquet(jets(), tmp_path / "jets.parquet")
    files = {"a": [str(tmp_path / "jets.parquet")]}
    out = hg.run(lambda e: {"n": len(e), "rho": ak.sum(e.Jet.rho)}, files, eager=True, **away)
    assert out["n"] == 3
    assert out["rho"] == 10000


def test_a_behavior_that_only_the_array_has_is_told() -> None:
    own: dict[Any, Any] = {}
    register(own)
    array = ak.Array(ak.zip({"Jet": ak.with_name(jets().Jet, "Jet")}, depth_limit=1), behavior=own)
    with pytest.raises(UnsupportedError, match=r"records called 'Jet'.*ak\.behavior\.update\(array\.behavior\)"):
        hg.from_awkward(array)
    hg.from_awkward(ak.Array(array, behavior=vector.backends.awkward.behavior))


def test_behaviors_of_other_packages_are_not_the_users(behavior: dict[Any, Any]) -> None:
    """`vector.register_awkward` registers classes that need arrays of data."""
    vector.register_awkward()
    for where, got in everywhere(lambda e: ak.with_name(e.Jet, "Momentum4D").rho, jets()):
        same(got, jets().Jet.pt, where)
    assert class_of("Momentum4D") is None
    register(behavior)
    assert class_of("Jet") is behavior["*", "Jet"]


# sums, products, and what goes with one vector


def nested() -> ak.Array:
    """Jets with their constituents: lists of lists of vectors."""
    rng = np.random.default_rng(5)
    flat = ak.zip({"pt": rng.uniform(1, 50, 12), "eta": rng.uniform(-2, 2, 12), "phi": rng.uniform(-3, 3, 12),
                   "mass": rng.uniform(0, 1, 12)})  # fmt: skip
    parts = ak.unflatten(ak.unflatten(flat, [2, 0, 3, 1, 4, 2]), [3, 0, 1, 2])
    four = ak.zip({name: np.array(rng.uniform(0, 2, 6)) for name in ("pt", "eta", "phi", "mass")})
    return ak.zip({"Jet": ak.unflatten(four, [3, 0, 1, 2]), "parts": parts}, depth_limit=1)


def test_sums_are_over_the_innermost_lists() -> None:
    """As in NanoEvents: lists of lists become lists of vectors; an axis may be given."""
    data = nested()
    wanted = {axis: ak.sum(data.parts.pt * np.cos(data.parts.phi), axis=axis) for axis in (1, 2)}
    for where, got in everywhere(lambda e: {"all": e.parts.sum().px, "2": e.parts.sum(axis=2).px}, data):
        same(got["all"], wanted[2], where)
        same(got["2"], wanted[2], where)
    for where, got in everywhere(lambda e: e.Jet.sum().px, data):
        same(got, ak.sum(data.Jet.pt * np.cos(data.Jet.phi), axis=1), where)
    for where, got in everywhere(lambda e: e.Jet.sum(keepdims=True).px, data):
        same(got, ak.sum(data.Jet.pt * np.cos(data.Jet.phi), axis=1, keepdims=True), where)
    for where, got in everywhere(lambda e: e.Jet.sum(mask_identity=True).px, data):
        same(got, ak.sum(data.Jet.pt * np.cos(data.Jet.phi), axis=1, mask_identity=True), where)


def test_products_are_of_the_same_dimension() -> None:
    """As in scikit-hep vector, which refuses four.dot(three)."""
    events = hg.from_awkward(jets())
    chunk = eager_events(events, events.source.partitions()[0])
    for e in (events, chunk):
        for product in (lambda j: j.dot(j.pvec), lambda j: j.pvec.dot(j), lambda j: j - j.pvec):
            with pytest.raises(UnsupportedError, match=r"a four-vector|a three-vector") as caught:
                product(e.Jet)
            assert "is ambiguous" in str(caught.value)
            assert "Give both the same coordinates" in str(caught.value)
    for where, got in everywhere(lambda e: e.Jet.pvec.dot(e.Jet.pvec), jets()):
        same(got, jets().Jet.pt ** 2 * np.cosh(jets().Jet.eta) ** 2, where)


def closest(jet: Any, parts: Any) -> Any:
    """The nearest of some parts, in a loop."""

    def r(p: Any) -> float:
        return float(np.hypot(jet.eta - p.eta, (jet.phi - p.phi + np.pi) % (2 * np.pi) - np.pi))

    return min(parts, key=r).pt if len(parts) else None


def test_nearest_of_what_goes_with_each() -> None:
    """`axis=None` of lists of lists: the nearest of the innermost lists, as `metric_table` gives their distances."""
    data = nested()
    wanted = [
        [closest(j, parts) for j, parts in zip(*pair, strict=True)] for pair in zip(data.Jet, data.parts, strict=True)
    ]
    for where, got in everywhere(lambda e: e.Jet.nearest(e.parts, axis=None).pt, data):
        assert ak.to_list(got) == wanted, where
    for where, got in everywhere(lambda e: ak.min(e.Jet.metric_table(e.parts, axis=None), axis=2), data):
        assert ak.num(got).to_list() == [3, 0, 1, 2], where
    flat = [closest(j, parts) for j, parts in zip(ak.firsts(data.Jet), data.Jet, strict=True) if j is not None]
    for where, got in everywhere(lambda e: ak.firsts(e.Jet).nearest(e.Jet, axis=None).pt, data):
        assert ak.to_list(ak.drop_none(got)) == flat, where


SINGLE = {
    "pt eta phi mass": vector.obj(pt=20.0, eta=0.3, phi=-1.0, mass=2.0),
    "px py pz E": vector.obj(px=10.0, py=5.0, pz=-3.0, E=30.0),
    "x y z": vector.obj(x=0.1, y=-0.2, z=0.3),
}
WITH_ONE: dict[str, Callable[[Any, Any], Any]] = {
    "deltaR": lambda j, v: j.deltaR(v),
    "delta_r2": lambda j, v: j.delta_r2(v),
    "deltaphi": lambda j, v: j.deltaphi(v),
    "deltaeta": lambda j, v: j.deltaeta(v),
    "deltaangle": lambda j, v: j.deltaangle(v),
    "dot": lambda j, v: (j if hasattr(v, "t") else j.pvec).dot(v),
    "sum": lambda j, v: ((j if hasattr(v, "t") else j.pvec) + v).pz,
    "difference": lambda j, v: ((j if hasattr(v, "t") else j.pvec) - v).pz,
    "boost": lambda j, v: j.boost(v).px,
}


@pytest.mark.parametrize("single", SINGLE)
@pytest.mark.parametrize("name", WITH_ONE)
def test_a_single_vector_is_the_same_for_all(name: str, single: str) -> None:
    """`vector.obj` is a constant; the oracle has it once for each jet."""
    program, v = WITH_ONE[name], SINGLE[single]
    names = ("x", "y", "z", "t")[: 4 if hasattr(v, "t") else 3]
    each = ak.zip({c: jets().Jet.pt * 0 + getattr(v, c) for c in names})
    wanted = program(next(iter(everywhere_computed(jets())))[1], each)
    for where, got in everywhere(lambda e: program(e.Jet, v), jets()):
        same(got, wanted, where)


def everywhere_computed(array: ak.Array) -> Iterator[tuple[str, Any]]:
    """The jets of an eager run."""
    events = hg.from_awkward(array)
    yield "eager", eager_events(events, events.source.partitions()[0]).Jet


def test_one_vector_first() -> None:
    v = SINGLE["pt eta phi mass"]
    for where, got in everywhere(lambda e: (v + e.Jet).pz, jets()):
        same(got, jets().Jet.pt * np.sinh(jets().Jet.eta) + v.pz, where)
    for where, got in everywhere(lambda e: (v - e.Jet).pz, jets()):
        same(got, v.pz - jets().Jet.pt * np.sinh(jets().Jet.eta), where)


def test_what_is_no_vector_is_told() -> None:
    events = hg.from_awkward(jets())
    with pytest.raises(FieldError, match=r"delta_r needs a three-vector, not 3 \(int\)\. One vector for all is vector"):
        events.Jet.delta_r(3)
    with pytest.raises(FieldError, match="deltaR needs a three-vector; this vector has the coordinates x, y"):
        events.Jet.deltaR(vector.obj(x=1, y=2))
    with pytest.raises(FieldError, match="deltaR needs a three-vector; this is an array of numbers"):
        events.Jet.deltaR(events.Jet.pt)
    for method in (events.Jet.nearest, events.Jet.metric_table):
        with pytest.raises(UnsupportedError, match=r"needs a collection, not a single Momentum.*x\.delta_r\(vector\)"):
            method(SINGLE["pt eta phi mass"])


def test_every_name_is_in_one_table() -> None:
    names = [name for rows in (PROPERTIES, METHODS) for *_, names in rows for name in names]
    assert len(names) == len(set(names))
    assert set(names) == set(TABLE)

"""Vectors made of one vector: float32 keeps its precision, other fields stay, nothing is read for them, and errors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import HepgraphError
from hepgraph.processor.chunk import eager_events

vector = pytest.importorskip("vector")
backend = pytest.importorskip("vector.backends.awkward")

QUIET = {"executor": "serial", "progress": False}
EPS = float(np.finfo(np.float32).eps)
N = 200


def light(seed: int, names: tuple[str, ...]) -> ak.Array:
    """Vectors in float32, from soft to hard, many of them light beside their energy."""
    rng = np.random.default_rng(seed)
    pt, eta, phi = 10 ** rng.uniform(-1, 3, N), rng.uniform(-4, 4, N), rng.uniform(-np.pi, np.pi, N)
    tau = rng.choice([0.1057, 4.2, 91.0], N) * rng.uniform(0.5, 1, N)
    z = pt * np.sinh(eta)
    parts = {"x": pt * np.cos(phi), "y": pt * np.sin(phi), "rho": pt, "phi": phi, "z": z, "eta": eta,
             "theta": 2 * np.arctan(np.exp(-eta)), "t": np.sqrt(pt * pt + z * z + tau * tau), "tau": tau}  # fmt: skip
    return ak.zip({c: parts[c].astype(np.float32) for c in names}, with_name=f"Momentum{len(names)}D")


PRECISE: dict[str, Callable[[Any, Any], Any]] = {
    "rotateX": lambda v, w: v.rotateX(0.3),
    "rotateY": lambda v, w: v.rotateY(w.phi),
    "rotateZ": lambda v, w: v.rotateZ(w.phi),
    "rotate_axis": lambda v, w: v.rotate_axis(w.to_Vector3D(), 0.3),
    "rotate_euler": lambda v, w: v.rotate_euler(w.phi, 0.3, -2.0),
    "rotate_quaternion": lambda v, w: v.rotate_quaternion(0.1, 0.7, -0.5, 0.5),
    "boostX": lambda v, w: v.boostX(beta=0.999),
    "boostZ": lambda v, w: v.boostZ(gamma=-30.0),
    "boost_p4": lambda v, w: v.boost_p4(w),
    "rest frame": lambda v, w: v.boostCM_of_p4(w),
    "scale3D": lambda v, w: v.scale3D(-1.3),
    "to_xyzt": lambda v, w: v.to_xyzt(),
    "to_ptphietaenergy": lambda v, w: v.to_ptphietaenergy(),
    "to_xythetatau": lambda v, w: v.to_xythetatau(),
}
FOUR = [("rho", "phi", "eta", "tau"), ("x", "y", "z", "t"), ("rho", "phi", "theta", "t"), ("x", "y", "z", "tau")]


@pytest.mark.parametrize("names", FOUR, ids=" ".join)
@settings(deadline=None, max_examples=3)
@given(seed=st.integers(0, 2**32))
def test_float32_is_as_right_as_vectors(seed: int, names: tuple[str, ...]) -> None:
    """The largest error of each component, beside the energy, is no larger, but for a tenth; float64 is the truth."""
    array = ak.zip({"v": light(seed, names), "w": light(seed + 1, FOUR[0])}, depth_limit=1)
    wide = ak.values_astype(array, np.float64)
    events = hg.from_awkward(array)

    def components(v: Any, w: Any) -> dict[str, Any]:
        made = {name: f(v, w) for name, f in PRECISE.items()}
        return {name: {c: getattr(q, c) for c in "xyzt"} for name, q in made.items()}

    with np.errstate(all="ignore"):
        true, theirs = (components(e.v, e.w) for e in (ak.Array(a, behavior=backend.behavior) for a in (wide, array)))
    ours = hg.compute(components(events.v, events.w), **QUIET)
    for name, right in true.items():
        size = ak.to_numpy(np.abs(right["t"])) + 1e-30
        for c in right:
            off, off_theirs = (np.max(np.abs(ak.to_numpy(q[name][c]) - ak.to_numpy(right[c])) / size)
                               for q in (ours, theirs))  # fmt: skip
            assert off <= max(1.1 * off_theirs, 4 * EPS), (name, c, off / EPS, off_theirs / EPS)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from(FOUR))
def test_rotations_and_boosts_have_an_inverse(seed: int, names: tuple[str, ...]) -> None:
    """To the precision of float64, out of float32."""
    events = hg.from_awkward(ak.zip({"v": light(seed, names), "w": light(seed + 1, FOUR[0])}, depth_limit=1))
    v, w = events.v, events.w
    axis = w.to_Vector3D()
    back = {
        "axis": v.rotate_axis(axis, w.phi).rotate_axis(axis, -w.phi),
        "euler": v.rotate_euler(0.1, 0.2, w.phi, "xyz").rotate_euler(-w.phi, -0.2, -0.1, "zyx"),
        "z": v.rotateZ(3.0).rotateZ(-3.0),
        "boostY": v.boostY(beta=0.9).boostY(beta=-0.9),
    }
    wide = ak.values_astype(v, np.float64)
    want = {c: getattr(wide, c) for c in "xyzt"}
    got = hg.compute({"want": want, **{name: {c: getattr(q, c) for c in "xyz"} for name, q in back.items()}}, **QUIET)
    size = ak.to_numpy(got["want"]["t"])
    for name in back:
        for c in "xy" if name == "z" else "xyz":  # of which z is not touched
            assert np.max(np.abs(ak.to_numpy(got[name][c] - got["want"][c])) / size) < 1e-12, (name, c)


# fields


COORDINATES = {"x", "y", "z", "t", "rho", "pt", "phi", "eta", "mass", "tau"}


def jets() -> ak.Array:
    """Lists of jets with other fields: numbers, lists, missing ones, and one with the name of a quantity."""
    fields = {"pt": [30.0, 50, 20, 25], "eta": [0.5, -1.0, 2.0, 0.1], "phi": [1.0, 2, -3, 0], "mass": [4.0, 6, 5, 5],
              "btag": [0.1, 0.9, 0.5, 0.2], "et": [1.0, 2, 3, 4], "rho": [7.0, 8, 9, 10]}  # fmt: skip
    made = ak.zip({k: np.array(v) for k, v in fields.items()})
    made["hits"] = ak.Array([[1, 2], [], [3], [4, 5, 6]])
    made["index"] = ak.Array([None, 3, None, 1])
    return ak.zip({"Jet": ak.unflatten(made, [2, 0, 1, 1]), "MET": ak.zip({"pt": [9.0] * 4, "phi": [1.0] * 4})},
                  depth_limit=1)  # fmt: skip


def test_other_fields_stay() -> None:
    """Also lists and what is None, but for those of quantities, which are those of the new vector."""
    events = hg.from_awkward(jets(), npartitions=2)
    chunk = hg.from_awkward(jets())
    for program in (lambda j: j.rotateX(0.5), lambda j: j.boostZ(0.5), lambda j: -j, lambda j: j.to_xyzt(),
                    lambda j: j.unit(), lambda j: j.scale2D(2), lambda j: j.to_Vector3D()):  # fmt: skip
        eager = program(eager_events(chunk, chunk.source.partitions()[0]).Jet)
        for got in (hg.compute(program(events.Jet), **QUIET), eager):
            assert {"btag", "hits", "index"} == set(got.fields) - COORDINATES
            for name in ("btag", "hits", "index"):
                assert ak.to_list(got[name]) == ak.to_list(jets().Jet[name])
    boosted = hg.compute({"et": events.Jet.boostZ(0.5).et, "same": events.Jet.et}, **QUIET)
    assert ak.to_list(boosted["same"]) == ak.to_list(jets().Jet["et"])
    assert ak.all(boosted["et"] > 19)


def test_nothing_is_read_for_other_fields() -> None:
    events = hg.from_awkward(jets())
    turned = events.Jet.rotateZ(0.5)
    assert set(hg.necessary_columns(ak.num(turned.x[turned.x > 0]))) == {"Jet.pt", "Jet.phi"}
    assert set(hg.necessary_columns(turned.eta)) == {"Jet.eta"}
    assert set(hg.necessary_columns(turned.btag)) == {"Jet.btag"}


def test_an_eager_run_reads_no_other_field() -> None:
    """Fields that go along stay on virtual buffers."""
    chunk = hg.from_awkward(jets())
    jet = eager_events(chunk, chunk.source.partitions()[0]).Jet
    layout = jet.rotateZ(0.5).layout.content
    read = {name for name in layout.fields if layout[name].is_all_materialized}
    assert read == {"rho", "phi"}
    assert {"btag", "hits"} < set(layout.fields)


def test_vectors_of_events_beside_lists() -> None:
    """A vector for each event, turned by the angles of a list: a list of vectors with the event's fields."""
    events = hg.from_awkward(jets(), npartitions=3)
    chunk = hg.from_awkward(jets())
    eager = eager_events(chunk, chunk.source.partitions()[0])
    first = [ak.firsts(e.Jet).rotateZ(e.Jet.phi) for e in (events, eager)]
    for got in (hg.compute(first[0], **QUIET), first[1]):
        assert ak.to_list(got.btag) == [[0.1, 0.1], None, [0.5], [0.2]]
        np.testing.assert_allclose(ak.flatten(got.pt), [30, 30, 20, 25])


def test_given_coordinates_may_be_arrays() -> None:
    events = hg.from_awkward(jets())
    got = hg.compute(events.MET.to_Vector4D(eta=ak.firsts(events.Jet.eta), mass=1.5), **QUIET)
    assert ak.to_list(got.eta) == [0.5, None, 2.0, 0.1]
    assert ak.to_list(got.mass) == [1.5, None, 1.5, 1.5]


# errors

REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "rotate_axis about a four-vector": lambda v, w: v.rotate_axis(w, 0.1),
    "boost_p4 by a three-vector": lambda v, w: v.boost_p4(w.to_Vector3D()),
    "boost_beta3 by a four-vector": lambda v, w: v.boost_beta3(w),
    "boostCM_of_p4 by a three-vector": lambda v, w: v.boostCM_of_p4(w.to_Vector3D()),
    "boostCM_of_beta3 by a four-vector": lambda v, w: v.boostCM_of_beta3(w),
    "boost by one in the plane": lambda v, w: v.boost(w.to_Vector2D()),
    "boost of a three-vector": lambda v, w: v.to_Vector3D().boost(w),
    "boostX by nothing": lambda v, w: v.boostX(),
    "boostX by both": lambda v, w: v.boostX(beta=0.1, gamma=2.0),
    "cross of four-vectors": lambda v, w: v.cross(w),
    "cross of others": lambda v, w: v.to_Vector3D().cross(w.to_Vector2D()),
    "deltaR to one in the plane": lambda v, w: v.deltaR(w.to_Vector2D()),
    "deltaRapidityPhi to a three-vector": lambda v, w: v.deltaRapidityPhi(w.to_Vector3D()),
    "sum of others": lambda v, w: v + w.to_Vector3D(),
    "product of others": lambda v, w: v.to_Vector2D().dot(w),
    "equality of others": lambda v, w: v == w.to_Vector3D(),
    "closeness of others": lambda v, w: v.isclose(w.to_Vector3D()),
    "direction of others": lambda v, w: v.is_parallel(w.to_Vector3D()),
    "no order": lambda v, w: v.rotate_euler(0.1, 0.2, 0.3, order="xxz"),
    "two longitudinal": lambda v, w: v.to_Vector2D().to_Vector3D(z=1.0, eta=2.0),
    "two temporal": lambda v, w: v.to_Vector3D().to_Vector4D(t=1.0, mass=2.0),
    "a coordinate that is there": lambda v, w: v.to_Vector3D().to_Vector3D(eta=2.0),
    "a coordinate that is unknown": lambda v, w: v.to_Vector2D().to_xyz(eta=2.0),
    "matrix without elements": lambda v, w: v.transform3D({"xx": 1.0}),
    "time of a three-vector": lambda v, w: v.to_Vector3D().is_timelike(),
    "rotation of one in the plane": lambda v, w: v.to_Vector2D().rotateX(1.0),
    "a vector twice": lambda v, w: v * w,
    "like a number": lambda v, w: v.like(3.0),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_vector_refuses_is_refused(what: str) -> None:
    """On the user's line, with a message of its own."""
    array = ak.zip({"v": light(1, FOUR[0]), "w": light(2, FOUR[1])}, depth_limit=1)
    known = ak.Array(array, behavior=backend.behavior)
    with pytest.raises((TypeError, AttributeError, KeyError, ValueError)):
        REFUSED[what](known.v, known.w)
    events = hg.from_awkward(array)
    eager = eager_events(events, events.source.partitions()[0])
    for e in (events, eager):
        with pytest.raises((TypeError, AttributeError)) as caught:
            REFUSED[what](e.v, e.w)
        assert isinstance(caught.value, HepgraphError) or "takes z=" in str(caught.value)


def test_a_constant_is_a_momentum_or_not() -> None:
    """The type of a result is that of the two: a momentum if one of them is one, `vector.obj` among them."""
    array = ak.zip({"v": ak.zip({"x": [1.0], "y": [2.0], "z": [3.0]})}, depth_limit=1)
    v = ak.with_name(hg.from_awkward(array).v, "Vector3D")
    for one, name in ((vector.obj(x=1, y=2, z=3), "Vector3D"), (vector.obj(px=1, py=2, pz=3), "Momentum3D")):
        got = hg.compute({"+": v + one, "x": v.cross(one)}, **QUIET)
        assert {q.layout.purelist_parameter("__record__") for q in got.values()} == {name}


def test_a_chain_is_one_graph() -> None:
    """Many transformations, one after the other, in one kernel."""
    events = hg.from_awkward(jets(), npartitions=2)
    turned = functools.reduce(lambda v, k: v.rotate_axis(vector.obj(x=1.0, y=k, z=0.5), 0.1 * k), range(12), events.Jet)
    kernel, plain = (hg.compute(turned.px, engine=engine, **QUIET) for engine in ("kernel", "interpreter"))
    np.testing.assert_allclose(ak.flatten(kernel), ak.flatten(plain), rtol=1e-12)
    assert "interpreter" not in str(hg.explain(turned.px))

"""A quantity that is recorded once for a collection is the graph that each of its members records for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.graph.form import record_of, same
from hepgraph.graph.node import Node, ordered
from hepgraph.lazy import kinematics
from hepgraph.lazy.coordinates import system

COUNTS = [2, 0, 3, 1]
PARTS = {name: np.linspace(0.5, 3, 6) for name in ("pt", "eta", "phi", "mass", "x", "y", "z", "pz", "theta", "E")}
SYSTEMS = [("pt", "eta", "phi", "mass"), ("x", "y", "z", "E"), ("pt", "theta", "phi", "E"), ("pt", "phi", "pz", "mass")]
QUANTITIES = [f for f, *_ in kinematics.QUANTITIES]

MOVES: list[Callable[[Any, str], Any]] = [
    lambda v, c: v[v[c] > 1],
    lambda v, c: ak.unzip(ak.combinations(v, 2))[1] if v.ndim == 2 else v,
    lambda v, c: v[:, :1] if v.ndim > 1 else v,
    lambda v, c: v[:, 0] if v.ndim > 1 else v,
    lambda v, c: ak.pad_none(v, 3) if v.ndim > 1 else v,
    lambda v, c: ak.mask(v, v[c] > 2),
    lambda v, c: ak.cartesian([v, v], nested=True)["1"] if v.ndim == 2 else v,
    lambda v, c: v[ak.argsort(v[c], axis=-1)] if v.ndim > 1 else v,
    lambda v, c: ak.flatten(v) if v.ndim == 2 else v,
    lambda v, c: v[ak.argmax(v[c], axis=-1, keepdims=True)] if v.ndim > 1 else v,
    lambda v, c: ak.with_field(v, v[c] * 1.5, c),
    lambda v, c: ak.with_field(v, ak.mask(v[c], v[c] > 1), c),
    lambda v, c: ak.with_field(v, 2.0, c),
    lambda v, c: ak.with_field(v, ak.max(v[c], axis=-1), c) if v.ndim > 1 else v,
    lambda v, c: ak.with_field(v, v[c], "other"),
]


def collection(coordinates: tuple[str, ...]) -> Any:
    """Lists of four-vectors."""
    objects = ak.zip({c: PARTS[c] for c in coordinates}, with_name="Momentum4D")
    return hg.from_awkward(ak.unflatten(objects, COUNTS))


def recorded(f: Callable[[Any], Any], v: Any) -> Any:
    """A quantity recorded of the coordinates where they are: a dict of them is made of nothing."""
    return f({c: v[name] for c, name in system(v).items()})


@settings(deadline=None, max_examples=examples(60))
@given(st.sampled_from(SYSTEMS), st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 3)), max_size=5))
def test_quantities_are_the_same_graph(coordinates: tuple[str, ...], moves: Any) -> None:
    v = collection(coordinates)
    for move, which in moves:
        for f in QUANTITIES:
            f(v)  # what is made of these is there for what follows
        try:
            v = move(v, coordinates[which])
        except hg.errors.HepgraphError:
            continue
        for f in QUANTITIES:
            found = f(v)
            wanted = recorded(f, v)
            assert found._rows is wanted._rows, f.__name__
            assert same(found._form, wanted._form), f.__name__


@pytest.mark.parametrize("coordinate", ["pt", "phi", "eta", "mass"])
def test_a_change_of_any_coordinate_is_seen(coordinate: str) -> None:
    v = collection(SYSTEMS[0])
    before = [f(v) for f in (kinematics.x, kinematics.y, kinematics.z, kinematics.t)]
    changed = ak.with_field(v, v[coordinate] + 1, coordinate)
    uses = {"x": {"pt", "phi"}, "y": {"pt", "phi"}, "z": {"pt", "eta"}, "t": {"pt", "eta", "mass"}}
    for f, old in zip((kinematics.x, kinematics.y, kinematics.z, kinematics.t), before, strict=True):
        assert same(f(changed)._form, old._form) == (coordinate not in uses[f.__name__])


def test_what_is_made_of_a_collection_is_not_made_again() -> None:
    v = collection(SYSTEMS[0])
    a, b = ak.unzip(ak.combinations(v[v.pt > 1], 2))
    record = record_of(a._form)
    assert record is not None
    kinematics.t(a)
    known = set(record_of(v._form)._moved)  # type: ignore[union-attr]
    kinematics.t(b)
    assert any(key[0] is kinematics.t.__wrapped__ for key in known if isinstance(key, tuple))  # type: ignore[attr-defined]
    assert set(record_of(v._form)._moved) == known  # type: ignore[union-attr]


def test_the_cosine_of_an_angle_is_there_once_for_all_variations() -> None:
    v = collection(SYSTEMS[0])
    v = hg.vary(v, "scale", up={"pt": 1.1 * v.pt}, down={"pt": 0.9 * v.pt})
    parts = [part.px._form.content.node for part in v._each.values()]
    assert len(set(parts)) == 3
    assert sum(isinstance(item, Node) and item.op == "cos" for item in ordered(parts)) == 1

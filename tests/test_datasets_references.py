"""References lead to what the collections of the events were set to, in each variation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referring import drawn

import hepgraph as hg
from hepgraph.errors import FieldError, VariationError
from hepgraph.processor.chunk import eager_events

QUIET = {"executor": "serial", "progress": False}
ENGINES = ["auto", "interpreter"]

Rows = list[list[tuple[int, float]]]  # the elements of each event: where they stood in the file, and their pt


def _harder(x: Any) -> Any:
    x["pt"] = x.pt * 2
    return x


# what a collection may be set to: recorded, and of the elements of one event
CHANGES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "nothing": (lambda x: x, lambda row: row),
    "new pt": (_harder, lambda row: [(i, 2 * pt) for i, pt in row]),
    "cut": (lambda x: x[x.pt > 50], lambda row: [(i, pt) for i, pt in row if pt > 50]),
    "sorted": (lambda x: x[ak.argsort(x.pt)], lambda row: sorted(row, key=lambda each: each[1])),
    "masked": (lambda x: ak.mask(x, x.pt > 50), lambda row: [(i, pt if pt > 50 else None) for i, pt in row]),
    "cut, sorted and new": (
        lambda x: _harder(x[x.pt > 20][ak.argsort(x[x.pt > 20].pt, ascending=False)]),
        lambda row: [(i, 2 * pt) for i, pt in sorted(row, key=lambda each: -each[1]) if pt > 20],
    ),
}


DRAWN = given(  # a seed, events, partitions, what a collection is set to, and how a program runs
    st.integers(0, 2**32),
    st.integers(0, 9),
    st.integers(1, 3),
    st.sampled_from(sorted(CHANGES)),
    st.sampled_from([*ENGINES, "eager"]),
)


def elements(data: ak.Array, name: str, change: str, scale: float = 1.0) -> Rows:
    """The elements of a collection after it was set, by event."""
    return [
        CHANGES[change][1]([(i, scale * each["pt"]) for i, each in enumerate(event[name])]) for event in data.to_list()
    ]


def sought(rows: Rows, data: ak.Array, of: str, index: str) -> Any:
    """The pt of what an index of the file leads to: by the place that the element had."""
    return [[dict(row).get(each[index]) for each in event[of]] for row, event in zip(rows, data.to_list(), strict=True)]


def ran(events: Any, program: Callable[[Any], Any], engine: str) -> Any:
    """The rows of what a program makes of events: recorded and computed, or of computed ones, range by range."""
    if engine == "eager":
        parts = [program(eager_events(events, part)) for part in events.source.partitions()]
        return [row for part in parts for row in part.to_list()]
    return program(events).compute(engine=engine, **QUIET).to_list()


def near(a: Any, b: Any) -> bool:
    """Whether two lists of numbers of single precision are the same."""
    return bool(ak.almost_equal(ak.Array(a), ak.Array(b), rtol=1e-6)) if str(a) != str(b) else True


@settings(deadline=None)
@DRAWN
def test_a_collection_that_was_set(seed: int, n: int, npartitions: int, change: str, engine: str) -> None:
    data = drawn(seed, n)
    rows = elements(data, "Jet", change)
    programs: dict[str, Callable[[Any], Any]] = {
        "of all": lambda e: e.Muon.matched_jet.pt,
        "of some": lambda e: e.Muon[e.Muon.pt > 40].matched_jet.pt,
        "of pairs": lambda e: ak.cartesian({"m": e.Muon, "e": e.Electron}).m.matched_jet.pt,
        "of lists": lambda e: e.Muon.matched_jet.matched_electrons.pt,
    }

    def with_jets(events: Any, program: Callable[[Any], Any]) -> Any:
        events["Jet"] = CHANGES[change][0](events.Jet)
        return program(events)

    found = {}
    for name, program in programs.items():
        events = hg.from_awkward(data, npartitions=npartitions, schema="nanoaod")
        found[name] = ran(events, lambda e, program=program: with_jets(e, program), engine)  # type: ignore[misc]
    wanted = sought(rows, data, "Muon", "jetIdx")
    assert near(found["of all"], wanted)
    masks = [[each["pt"] > 40 for each in event["Muon"]] for event in data.to_list()]
    assert near(
        found["of some"],
        [[x for x, m in zip(row, mask, strict=True) if m] for row, mask in zip(wanted, masks, strict=True)],
    )
    electrons = [len(event["Electron"]) for event in data.to_list()]
    assert near(
        found["of pairs"], [[x for x in row for _ in range(k)] for row, k in zip(wanted, electrons, strict=True)]
    )
    for row, event, jets, got in zip(rows, data.to_list(), wanted, found["of lists"], strict=True):
        for muon, jet, two in zip(event["Muon"], jets, got, strict=True):
            if jet is None:
                assert two is None or dict(row)[muon["jetIdx"]] is None
            else:
                own = event["Jet"][muon["jetIdx"]]
                indices = own["electronIdx1"], own["electronIdx2"]
                assert near([two], [[event["Electron"][i]["pt"] if i >= 0 else None for i in indices]])


@settings(deadline=None)
@DRAWN
def test_particles_that_were_set(seed: int, n: int, npartitions: int, change: str, engine: str) -> None:
    """References within a collection, and those that point back."""
    data = drawn(seed, n)
    rows = elements(data, "GenPart", change)

    def followed(name: str) -> Any:
        def program(events: Any) -> Any:
            events["GenPart"] = CHANGES[change][0](events.GenPart)
            return getattr(events.GenPart, name).pt

        return ran(hg.from_awkward(data, npartitions=npartitions, schema="nanoaod"), program, engine)

    mothers = [[each["genPartIdxMother"] for each in event["GenPart"]] for event in data.to_list()]
    parents = [
        [None if pt is None else dict(row).get(mother[i]) for i, pt in row]
        for row, mother in zip(rows, mothers, strict=True)
    ]
    children = [
        [None if pt is None else [x for j, x in row if mother[j] == i and x is not None] for i, pt in row]
        for row, mother in zip(rows, mothers, strict=True)
    ]
    assert near(followed("parent"), parents)
    got = followed("children")
    assert [[x and [y for y in x if y is not None] for x in row] for row in got] == [
        [x and np.float32(x).tolist() for x in row] for row in children
    ]


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda e: e.Muon.matched_jet.pt,
    "cut": lambda e: e.Muon[e.Muon.pt > 30].matched_jet.pt,
    "chain": lambda e: e.Electron.matched_jet.matched_electron1.pt,
    "joined": lambda e: ak.concatenate([e.Muon, e.Electron], axis=1).matched_jet.pt,
    "pairs": lambda e: ak.cartesian([e.Muon, e.Electron])["1"].matched_jet.pt,
    "first": lambda e: ak.firsts(e.Muon).matched_jet.pt,
    "vector": lambda e: e.Muon.delta_r(e.Muon.matched_jet),
    "mask": lambda e: e.Muon[ak.fill_none(e.Muon.matched_jet.pt > 60, False)].pt,
    "rows": lambda e: e[ak.num(e.Jet[e.Jet.pt > 50]) > 0].Muon.matched_jet.pt,
    "two collections": lambda e: e[["Muon", "Jet"]].Muon.matched_jet.pt,
    "in a record": lambda e: ak.zip({"a": e.Muon, "b": e.Muon.matched_jet}, depth_limit=2).a.matched_jet.pt,
}


@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 9),
    st.sampled_from(sorted(CHANGES)),
    st.sampled_from(sorted(PROGRAMS)),
    st.sampled_from(ENGINES),
)
def test_each_variation_is_what_it_is_alone(seed: int, n: int, change: str, name: str, engine: str) -> None:
    data, program = drawn(seed, n), PROGRAMS[name]

    def events(*names: str) -> Any:
        e = hg.from_awkward(data, npartitions=2, schema="nanoaod")
        scales = {"nominal": 1.0, "up": 1.5, "down": 0.5}
        muons = {"nominal": 0.0, "up": 0.0, "down": 0.0, "mu": 3.0}
        if names:
            return _set(e, scales.get(names[0], 1.0), muons[names[0]], change)
        jets = hg.vary(e.Jet, {"up": {"pt": e.Jet.pt * 1.5}, "down": {"pt": e.Jet.pt * 0.5}})
        e["Jet"] = CHANGES[change][0](jets)
        e["Muon"] = hg.vary(e.Muon, {"mu": {"pt": e.Muon.pt + 3.0}})
        return e

    def _set(e: Any, scale: float, more: float, change: str) -> Any:
        jets, muons = e.Jet, e.Muon
        if scale != 1:
            jets["pt"] = e.Jet.pt * scale
        if more:
            muons["pt"] = e.Muon.pt + more
        e["Jet"], e["Muon"] = CHANGES[change][0](jets), muons
        return e

    found = program(events())
    results = found.compute(engine=engine, **QUIET)
    results = results if found.variations else {"nominal": results}
    for variation in ("nominal", "up", "down", "mu"):
        alone = program(events(variation)).compute(engine=engine, **QUIET)
        here = results.get(variation, results["nominal"])
        assert repr(here.to_list()) == repr(alone.to_list()), variation


def test_what_does_not_vary_is_recorded_once() -> None:
    events = hg.from_awkward(drawn(3, 9), schema="nanoaod")
    events["Jet"] = hg.vary(events.Jet, "JES", up={"pt": events.Jet.pt * 2}, down={"pt": events.Jet.pt / 2})
    muons = events.Muon[events.Muon.pt > 20]
    assert muons.variations == muons.matched_gen.variations == muons.matched_gen.parent.variations == ()
    assert muons.matched_jet.variations == ("nominal", "JES_up", "JES_down")
    assert muons.matched_jet.eta.variations == ()
    up = hg.variation(muons, "JES_up").matched_jet.pt
    assert up.variations == ()
    assert up.compute(**QUIET).to_list() == muons.matched_jet.pt.compute(**QUIET)["JES_up"].to_list()
    with pytest.raises(VariationError, match="JES_upp"):
        hg.variation(muons, "JES_upp")


def test_taken_before_and_after() -> None:
    """An array leads to what the events that it was taken from had."""
    events = hg.from_awkward(drawn(4, 9), schema="nanoaod")
    before, wanted = events.Muon, events.Muon.matched_jet.pt.compute(**QUIET)
    events["Jet", "pt"] = events.Jet.pt * 2
    assert before.matched_jet.pt.compute(**QUIET).to_list() == wanted.to_list()
    assert events.Muon.matched_jet.pt.compute(**QUIET).to_list() == (2 * wanted).to_list()
    events["Muon"] = before[before.pt > 10]
    found = events.Muon.matched_jet.pt.compute(**QUIET)
    assert found.to_list() == (2 * wanted[before.pt.compute(**QUIET) > 10]).to_list()


@pytest.mark.parametrize("eager", [False, True])
def test_lists_in_which_nobody_knows_which_is_which(eager: bool) -> None:
    events = hg.from_awkward(drawn(5, 9), schema="nanoaod")
    events = eager_events(events, events.source.partitions()[0]) if eager else events
    jets = events.Muon.matched_jet
    events["Jet"] = ak.concatenate([events.Jet, events.Electron], axis=1)
    with pytest.raises(FieldError) as caught:
        _ = events.Muon.matched_jet
    assert str(caught.value) == (
        "Muon.matched_jet counts in the Jet of the file, and these were replaced by others, in which it is not known "
        "which is which. Take it before: x = events.Muon.matched_jet, and then events['Jet'] = ..."
    )
    assert (jets.pt if eager else jets.pt.compute(**QUIET)).to_list()

"""References are the same in lazy arrays, in computed events and in an eager run; where they cannot be, they raise."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import pytest
from formats import FORMATS
from hypothesis import given, settings
from hypothesis import strategies as st
from referring import drawn, looked_up

import hepgraph as hg
from hepgraph.errors import FieldError, HepgraphError
from hepgraph.processor.chunk import eager_events

QUIET = {"executor": "serial", "progress": False, "engine": "interpreter"}


def pairs(e: Any) -> Any:
    """Pairs of a muon and an electron."""
    return ak.cartesian({"m": e.Muon, "e": e.Electron})


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda e: e.Muon.matched_jet.pt,
    "cut": lambda e: e.Muon[e.Muon.pt > 40].matched_jet.pt,
    "events": lambda e: e[e.run % 3 != 1].Muon.matched_jet.eta,
    "events and cut": lambda e: cut(e[ak.num(e.Muon) > 0]).matched_gen.pt,
    "sorted": lambda e: e.Muon[ak.argsort(e.Muon.pt, axis=1)].matched_jet.pt,
    "first": lambda e: ak.firsts(e.Muon).matched_jet.pt,
    "slice": lambda e: e.Muon[:, 1:].matched_jet.phi,
    "pairs": lambda e: pairs(e).m.matched_jet.pt,
    "other of pairs": lambda e: pairs(e).e.matched_jet.pt,
    "combinations": lambda e: ak.combinations(e.Muon, 2, fields=["a", "b"]).b.matched_jet.pt,
    "there and back": lambda e: e.Muon.matched_jet.matched_electron1.pt,
    "several": lambda e: e.Jet.matched_electrons.pt,
    "parent": lambda e: e.GenPart.parent.pt,
    "grandparent": lambda e: e.GenPart.parent.parent.pt,
    "children": lambda e: e.GenPart.children.pt,
    "parents of children": lambda e: e.GenPart.children.parent.pt,
    "of one of two": lambda e: ak.concatenate([e.Muon, e.Electron], axis=1).matched_jet.pt,
    "as a vector": lambda e: e.Muon.delta_r(e.Muon.matched_jet),
    "nearest": lambda e: e.Electron.nearest(e.Muon).matched_jet.pt,
    "masked": lambda e: ak.mask(e.Muon, e.Muon.pt > 30).matched_jet.pt,
}


def cut(e: Any) -> Any:
    """The hard muons."""
    return e.Muon[e.Muon.pt > 30]


def result(make: Callable[[], Any]) -> Any:
    """The result of a call, or the error that it raises."""
    try:
        return ak.to_list(make())
    except HepgraphError as error:
        return type(error)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 9), st.integers(1, 3), st.sampled_from(sorted(PROGRAMS)), st.booleans())
def test_computed_and_eager_are_as_traced(seed: int, n: int, npartitions: int, name: str, beyond: bool) -> None:
    data = drawn(seed, n, 0.1 if beyond else 0.0)
    program = PROGRAMS[name]
    events = hg.from_awkward(data, npartitions=npartitions, schema="nanoaod")
    wanted = result(lambda: program(events).compute(**QUIET))
    computed = events.compute(**QUIET)
    if isinstance(wanted, type):
        assert result(lambda: program(computed)) in (wanted, ak.to_list(computed.run))
        return
    assert repr(result(lambda: program(computed))) == repr(wanted)
    parts = [result(lambda part=part: program(eager_events(events, part))) for part in events.source.partitions()]
    assert repr([row for part in parts for row in part]) == repr(wanted)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_they_are_what_a_loop_finds(seed: int, n: int) -> None:
    data = drawn(seed, n)
    events = hg.from_awkward(data, npartitions=2, schema="nanoaod")
    for e in (events, events.compute(**QUIET)):
        for got, loop in (
            (e.Muon.matched_jet.pt, looked_up(data, "Muon", "jetIdx", "Jet")),
            (e.Muon.matched_gen.pt, looked_up(data, "Muon", "genPartIdx", "GenPart")),
            (e.GenPart.parent.pt, looked_up(data, "GenPart", "genPartIdxMother", "GenPart")),
        ):
            assert ak.to_list(got.compute(**QUIET) if e is events else got) == loop


JETS = {"Muon.matched_jet", "Electron.matched_jet"}
CHANGED: dict[str, tuple[Callable[[Any], None], set[str]]] = {
    "cut target": (lambda e: e.__setitem__("Jet", e.Jet[e.Jet.pt > 50]), JETS),
    "new pt of the target": (lambda e: e.__setitem__(("Jet", "pt"), e.Jet.pt * 2), JETS),
    "sorted target": (lambda e: e.__setitem__("Jet", e.Jet[ak.argsort(e.Jet.pt)]), JETS),
    "no target": (lambda e: e.__delitem__("Jet"), JETS),
    "cut source": (lambda e: e.__setitem__("Muon", e.Muon[e.Muon.pt > 50]), set()),
    "new pt of the source": (lambda e: e.__setitem__(("Muon", "pt"), e.Muon.pt * 2), set()),
    "another index": (lambda e: e.__setitem__(("Muon", "jetIdx"), e.Muon.jetIdx * 0), {"Muon.matched_jet"}),
    "cut particles": (lambda e: e.__setitem__("GenPart", e.GenPart[e.GenPart.pt > 50]),
                      {"GenPart.parent", "GenPart.children", "Muon.matched_gen"}),
    "another name": (lambda e: e.__setitem__("Good", e.Muon[e.Muon.pt > 50]), set()),
    "particles by another name": (lambda e: e.__setitem__("Late", e.GenPart[e.GenPart.pt > 50]),
                                  {"Late.parent", "Late.children"}),
    "nothing": (lambda e: None, set()),
}  # fmt: skip
REFERENCES = ["Muon.matched_jet", "Electron.matched_jet", "Muon.matched_gen", "GenPart.parent", "GenPart.children",
              "Good.matched_jet", "Late.parent", "Late.children"]  # fmt: skip


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(sorted(CHANGED)), st.booleans())
def test_what_was_changed_before_computing_is_never_another_element(seed: int, name: str, rows: bool) -> None:
    """The same as in lazy mode, or an error that says what to write; which one is known."""
    change, lost = CHANGED[name]
    events = hg.from_awkward(drawn(seed, 8), npartitions=2, schema="nanoaod")
    change(events)
    if rows:
        events = events[ak.num(events.Muon) != 1]
    computed = events.compute(**QUIET)
    for reference in REFERENCES:
        collection, _, what = reference.partition(".")
        if collection not in events.fields:
            continue
        wanted = getattr(events[collection], what).eta.compute(**QUIET)
        if reference in lost:
            with pytest.raises(FieldError) as caught:
                getattr(computed[collection], what)
            assert f"{reference} leads to" in str(caught.value)
            assert f"events.{reference}.compute()" in str(caught.value)
        else:
            assert getattr(computed[collection], what).eta.to_list() == wanted.to_list(), reference


def events_of(seed: int = 3) -> tuple[Any, Any]:
    """Lazy events, and computed ones."""
    events = hg.from_awkward(drawn(seed, 20), npartitions=2, schema="nanoaod")
    return events, events.compute(**QUIET)


def test_some_of_the_fields() -> None:
    events, _ = events_of()
    both = events[["Muon", "Jet"]].compute(**QUIET)
    assert both.Muon.matched_jet.pt.to_list() == events.Muon.matched_jet.pt.compute(**QUIET).to_list()
    with pytest.raises(FieldError, match=r"Muon\.matched_gen leads to GenPart, and GenPart was not computed with it"):
        _ = both.Muon.matched_gen
    alone = events.Muon.compute(**QUIET)
    with pytest.raises(FieldError, match=r"(?s)References lead to other collections.*events\.Muon\.matched_jet"):
        _ = alone.matched_jet


def test_nothing_more_is_read() -> None:
    """A collection by itself reads its own columns."""
    events, _ = events_of()
    assert all(name.startswith("Muon") for name in hg.necessary_columns(events.Muon))


def test_hidden_fields_are_not_shown(tmp_path: Any) -> None:
    events, computed = events_of()
    both = ak.cartesian({"m": computed.Muon, "j": computed.Jet})
    chunk = eager_events(events, events.source.partitions()[0])
    for each in (computed, computed.Muon, computed[3], computed.Muon[computed.Muon.pt > 1], both, chunk, chunk.Muon):
        assert "@" not in str(each.type) + str(each.to_list()) + str(ak.to_list(each)) + str(ak.type(each))
        assert "@" not in str(ak.fields(each)) + each.typestr
    for each in (computed, both):
        again = pickle.loads(pickle.dumps(each))
        assert "@" not in str(again.layout.form)
        assert again.to_list() == each.to_list()
        ak.to_parquet(each, tmp_path / "x.parquet")
        assert ak.from_parquet(tmp_path / "x.parquet").to_list() == each.to_list()
        assert "@" not in str(hg.from_awkward(each).type)
        assert ak.array_equal(each, ak.Array(each.to_list()), check_parameters=False, dtype_exact=False)
    assert computed.fields == events.fields
    assert computed.Muon.fields == events.Muon.fields
    assert both.fields == ["m", "j"]


def test_copies_and_pickles() -> None:
    _, computed = events_of()
    wanted = computed.Muon.matched_jet.pt.to_list()
    for again in (copy.copy(computed), copy.deepcopy(computed), ak.copy(computed), computed[:]):
        assert again.Muon.matched_jet.pt.to_list() == wanted
    again = pickle.loads(pickle.dumps(computed))
    assert again.to_list() == computed.to_list()
    with pytest.raises(FieldError, match="and not pickled since"):
        _ = again.Muon.matched_jet


def test_arrays_of_several_computations() -> None:
    """Never an element of the other one."""
    _, one = events_of(3)
    _, two = events_of(4)
    whole = ak.concatenate([one, two])
    for muons in (whole.Muon, ak.concatenate([one.Muon, two.Muon]), ak.concatenate([two.Muon[:3], one.Muon], axis=0)):
        with pytest.raises(FieldError, match="come from several computations or chunks"):
            _ = muons.matched_jet
    assert len(whole) == 40
    assert ak.num(two.Muon.matched_jet).to_list() == ak.num(whole.Muon[20:]).to_list()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(sorted(CHANGED)))
def test_persisted_events_have_what_computed_ones_have(seed: int, name: str) -> None:
    """An array that is computed and made lazy again counts in the lists of the file, or has no such reference."""
    events = hg.from_awkward(drawn(seed, 8), npartitions=2, schema="nanoaod")
    CHANGED[name][0](events)
    again = events.persist(**QUIET)
    assert "@" not in str(again.type)
    for reference in ("Muon.matched_jet", "Electron.matched_jet"):
        collection, _, what = reference.partition(".")
        wanted = getattr(events[collection], what).eta.compute(**QUIET)
        for e in (again, pickle.loads(pickle.dumps(again))):
            if reference in CHANGED[name][1]:
                with pytest.raises(FieldError, match="No field or method 'matched_jet'") as caught:
                    getattr(e[collection], what)
                assert name == "no target" or "Jet, and one of them was cut or changed" in str(caught.value)
            else:
                assert getattr(e[collection], what).eta.compute(**QUIET).to_list() == wanted.to_list()


def test_names_in_brackets() -> None:
    """A reference of one record that leads to nothing is None, and what is neither field nor reference is an error."""
    events = hg.from_awkward(drawn(5, 20), schema="nanoaod")
    for some in (events.compute(**QUIET), eager_events(events, events.source.partitions()[0]), events.eager()):
        row, k = next((i, j) for i, muons in enumerate(some.Muon.jetIdx) for j, x in enumerate(muons) if x < 0)
        assert some.Muon["matched_jet"].pt.to_list() == some.Muon.matched_jet.pt.to_list()
        assert some.Muon[row, k]["matched_jet"] is None
        for muons in (some.Muon, some.Muon[row, k]):
            with pytest.raises(LookupError, match="matched_jett"):
                _ = muons["matched_jett"]


# of other formats


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("delphes", "nanoaod", "pdune")])
def test_of_every_format_computed_is_as_traced(tmp_path: Any, name: str) -> None:
    """Lists that are dealt out, links with keys, and collections that references know by other names."""
    events = hg.open(FORMATS[name](tmp_path / "a.root", 2))
    computed = events.compute(**QUIET)
    asked = 0
    for collection, names in hg.schema_of(events).references.items():
        for each in names:
            traced = events[collection][each]
            field = next(field for field in traced.fields if "_" not in field or name == "treemaker")
            got, wanted = getattr(computed[collection], each)[field], traced[field].compute(**QUIET)
            assert repr(ak.to_list(got)) == repr(ak.to_list(wanted)), (collection, each)
            asked += 1
    assert asked >= 2


def test_of_several_targets_all_must_be_there(tmp_path: Any) -> None:
    events = hg.open(FORMATS["fcc"](tmp_path / "a.root", 2))
    assert ak.to_list(events.compute(**QUIET).Electron.particle.goodnessOfPID)
    few = events[["Electron", "ReconstructedParticles"]].compute(**QUIET)
    with pytest.raises(FieldError, match="leads to ReconstructedParticles or Jet, and Jet was not computed with it"):
        few.Electron.particle
    events["Electron", "particle_links"] = events.Electron.particle_links
    with pytest.raises(FieldError, match="its index particle_links was changed"):
        events.compute(**QUIET).Electron.particle


def test_fields_that_a_schema_adds() -> None:
    """They are not computed with the collection, and are there by name; vectors of them are vectors."""
    columns = {f"{c}_{q}": [[40.0, 20.0], [], [30.0]] for c in ("Photon", "Jet", "SV") for q in ("pt", "eta", "phi")}
    columns |= {"Jet_mass": columns["Jet_pt"], "SV_mass": columns["SV_pt"], "Jet_jetId": [[6, 1], [], [2]]}
    columns |= {f"SV_{q}": [[3.0, 6.0], [], [1.0]] for q in "xyz"} | {"Photon_cutBased": [[3, 1], [], [0]]}
    events = hg.from_awkward(ak.zip(columns, depth_limit=1), schema="nanoaod")
    whole = events.compute(**QUIET)
    uses = [
        lambda e: e.Jet.isTight,
        lambda e: e.Jet[e.Jet.pt > 25].isTightLeptonVeto,
        lambda e: e.Photon.isMedium,
        lambda e: e.Photon["mass"],
        lambda e: e.Photon.energy,
        lambda e: (e.Photon + e.Photon).mass,
        lambda e: (e.Photon + e.Jet).charge,
        lambda e: e.SV.pos.mag,
        lambda e: ak.firsts(e.SV).p4.mass,
        lambda e: ak.sum(e.Photon, axis=1).charge,
    ]
    for f in uses:
        assert f(whole).to_list() == f(events).compute(**QUIET).to_list()
    with pytest.raises(FieldError, match="No field or method 'isLose' in this Jet"):
        _ = whole.Jet.isLose


def test_lists_that_a_schema_deals_out_are_not_dealt_out_again(tmp_path: Path) -> None:
    events = hg.open(str(FORMATS["edm4hep"](tmp_path / "drawn.root", 3)))
    particles = next(name for name in events.fields if name.startswith("MCParticle"))
    whole = events[[particles]].compute(**QUIET)
    for f in (lambda e: e[particles].daughters.pt, lambda e: e[particles].parents.px, lambda e: e[particles].sum().px):
        assert f(whole).to_list() == f(events).compute(**QUIET).to_list()

"""hg.behavior: what users add to collections, in every mode and of all that becomes of a collection."""

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.processor.chunk import eager_events

MODES = ["auto", "interpreter", "eager", "computed"]
QUIETLY = {"executor": "serial", "progress": False}
PT = [[30.0, 5.0, 20.0], [], [40.0]]


@pytest.fixture(autouse=True)
def clean():
    """The behaviors that are registered are those of before, afterwards."""
    before = dict(ak.behavior)
    yield
    ak.behavior.clear()
    ak.behavior.update(before)
    hg.functions.behaviors._added.clear()


@pytest.fixture
def events():
    muons = {"Muon_pt": PT, "Muon_charge": [[1, -1, 1], [], [-1]], "Muon_jetIdx": [[1, -1, 0], [], [0]]}
    jets = {"Jet_pt": [[60.0, 70.0], [], [80.0]], "Jet_eta": [[0.5, 1.5], [], [-2.0]], "Jet_phi": [[1.0, 2.0], [], [3]]}
    return hg.from_awkward(ak.zip({**muons, **jets}, depth_limit=1), npartitions=2, schema="nanoaod")


def computed(f, events, how):
    if how == "eager":
        return f(eager_events(events, events.source.repartition(1).partitions()[0])).to_list()
    if how == "computed":
        return f(hg.compute(events, **QUIETLY)).to_list()
    return hg.compute(f(events), engine=how, **QUIETLY).to_list()


def add():
    """Something of each kind."""

    @hg.behavior("Muon", "Electron")
    class Lepton:
        least = 10

        @property
        def is_hard(self):
            return self.pt > self.least

        def above(self, number, of="pt"):
            return self[of] > number

        @property
        def jet_pt(self):
            return self.matched_jet.pt

        @property
        def wrong(self):
            return self.nothing

    @hg.behavior("Muon")
    def curvature(muon):
        return muon.charge / muon.pt

    @hg.behavior("Jet")
    def scaled(jet, factor):
        return jet.pt * factor

    return Lepton, curvature


CURVATURE = [[q / pt for q, pt in zip(*row, strict=True)] for row in zip([[1, -1, 1], [], [-1]], PT, strict=True)]
HARD = [[30.0, 20.0], [], [40.0]]
USES = {
    "a property": (lambda e: e.Muon.is_hard, [[True, False, True], [], [True]]),
    "a method": (lambda e: e.Muon.above(25), [[True, False, False], [], [True]]),
    "by keyword": (lambda e: e.Muon.above(number=0, of="charge"), [[True, False, True], [], [False]]),
    "a function of the array": (lambda e: e.Muon.curvature, CURVATURE),
    "a function of more": (lambda e: e.Jet.scaled(2), [[120.0, 140.0], [], [160.0]]),
    "a reference": (lambda e: e.Muon.jet_pt, [[70.0, None, 60.0], [], [80.0]]),
    "of a reference": (lambda e: e.Muon.matched_jet.scaled(2), [[140.0, None, 120.0], [], [160.0]]),
    "as a mask": (lambda e: e.Muon[e.Muon.is_hard].pt, HARD),
    "of what was cut": (
        lambda e: e.Muon[e.Muon.pt > 10].curvature,
        [[c for c in r if abs(c) < 0.1] for r in CURVATURE],
    ),
    "of what was masked": (
        lambda e: ak.mask(e.Muon, e.Muon.pt > 10).is_hard,
        [[True, None, True], [], [True]],
    ),
    "by brackets": (lambda e: e.Muon.mask[e.Muon.is_hard].pt, [[30.0, None, 20.0], [], [40.0]]),
    "of what was put together": (
        lambda e: ak.concatenate([e.Muon[e.Muon.pt < 10], e.Muon], axis=1).is_hard,
        [[False, True, False, True], [], [True]],
    ),
    "of the first": (lambda e: ak.firsts(e.Muon).is_hard, [True, None, True]),
    "of pairs": (lambda e: ak.combinations(e.Muon, 2)["0"].is_hard, [[True, True, False], [], []]),
    "of some fields": (lambda e: e.Muon[["pt", "charge"]].curvature, CURVATURE),
    "of other fields": (
        lambda e: ak.with_field(e.Muon, e.Muon.pt * 3, "pt").is_hard,
        [[True, True, True], [], [True]],
    ),
}


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("use", USES)
def test_what_a_user_adds(use, how, events):
    add()
    f, wanted = USES[use]
    assert computed(f, events, how) == wanted


def test_what_is_decorated_stays_what_it_is(events):
    lepton, curvature = add()
    assert lepton.__mro__ == (lepton, object)
    assert curvature(events.Muon).compute(**QUIETLY).to_list() == CURVATURE
    assert {"is_hard", "above", "curvature"} <= set(dir(events.Muon))
    assert "curvature" not in dir(events.Jet)


def test_one_record_has_it_too(events):
    add()
    muon = hg.compute(events.Muon, **QUIETLY)[0, 1]
    assert muon.curvature == -1 / 5
    assert not muon.is_hard
    assert muon.above(1)


@pytest.mark.parametrize("how", MODES)
def test_an_error_inside_is_that_of_the_user(how, events):
    add()
    with pytest.raises(hg.errors.FieldError, match="'nothing' in this Muon"):
        computed(lambda e: e.Muon.wrong, events, how)


def test_registered_again(events):
    """As a cell of a notebook that runs twice: the new one counts, and nothing stays of the old."""

    def cell(number):
        @hg.behavior("Muon")
        class Mine:
            @property
            def number(self):
                return self.pt * 0 + number

        if number == 1:
            Mine.old = 1
        return Mine

    cell(1)
    assert events.Muon.old == 1
    cell(2)
    assert computed(lambda e: e.Muon.number, events, "auto") == [[2.0, 2.0, 2.0], [], [2.0]]
    with pytest.raises(hg.errors.FieldError, match="old"):
        _ = events.Muon.old


def test_below_what_another_class_says(events):
    """Of two classes, the later one; one that another is made of does not hide it."""

    @hg.behavior("Muon")
    class Base:
        @property
        def which(self):
            return self.pt * 0 + 1

    @hg.behavior("Muon")
    class Later(Base):
        @property
        def which(self):
            return self.pt * 0 + 2

    hg.behavior("Muon")(Base)
    assert computed(lambda e: e.Muon.which, events, "auto") == [[2.0, 2.0, 2.0], [], [2.0]]


def test_beside_what_was_registered_with_awkward(events):
    @ak.mixin_class(ak.behavior)
    class Muon:
        @property
        def tenfold(self):
            return self.pt * 10

    add()
    for how in MODES:
        assert computed(lambda e: e.Muon.tenfold[e.Muon.is_hard], events, how) == [[300.0, 200.0], [], [400.0]]


def test_what_is_varied(events):
    add()
    muons = hg.vary(events.Muon, "scale", up={"pt": events.Muon.pt * 3})
    out = hg.compute(ak.num(muons[muons.is_hard]), **QUIETLY)
    assert {name: x.to_list() for name, x in out.items()} == {"nominal": [2, 0, 1], "scale_up": [3, 0, 1]}


def processor(events):
    return {"sum": np.float64(ak.sum(events.Muon[events.Muon.is_hard].curvature))}


def test_in_processors_here_and_in_other_processes(events, tmp_path):
    add()
    ak.to_parquet(ak.zip({"Muon": ak.zip({"pt": PT, "charge": [[1, -1, 1], [], [-1]]})}, depth_limit=1), tmp_path / "a")
    files = {"a": [str(tmp_path / "a")]}
    wanted = pytest.approx(1 / 30 + 1 / 20 - 1 / 40)
    for executor in ("serial", hg.executors.Processes(1)):
        for eager in (False, True):
            run = {"eager": eager, "executor": executor, "progress": False}
            f = processor if eager else (lambda e: {"sum": ak.sum(e.Muon[e.Muon.is_hard].curvature)})
            assert hg.run(f, files, **run)["sum"] == wanted


def test_what_cannot_be_added(says):
    says(hg.behavior)
    says(hg.behavior, 3)
    says(hg.behavior("Muon"), lambda muon: muon.pt)
    says(hg.behavior("Muon"), "pt")
    says(hg.behavior("Muon"), type("Own", (ak.Array,), {}))

"""Variations: each of them is, to the last bit, a run in which it alone is the nominal."""

from __future__ import annotations

import copy
import pickle

import awkward as ak
import numpy as np
import pytest
from agreement import check
from drawing import Tape, examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import HepgraphError, LazyError, ShapeError, UnsupportedError, VariationError, VariationWarning
from hepgraph.lazy.varied import Varied

N = 40


def data(seed, n=N):
    """Events with jets and leptons; some have none, some all."""
    rng = np.random.default_rng(seed)

    def some(**fields):
        counts = rng.integers(0, 5, n)
        total = int(counts.sum())
        return ak.zip({name: ak.unflatten(make(total), counts) for name, make in fields.items()})

    vector = {
        "pt": lambda k: rng.exponential(30, k),
        "eta": lambda k: rng.normal(0, 1.5, k),
        "phi": lambda k: rng.uniform(-3, 3, k),
        "mass": lambda k: rng.uniform(0, 10, k),
    }
    fields = {"jets": some(**vector), "leps": some(**vector), "met": rng.exponential(40, n), "w": rng.normal(1, 0.3, n)}
    return ak.zip(fields, depth_limit=1)


class Analysis:
    """An analysis drawn from some bytes: steps on the events, and results.

    `declare(x, name, alternatives)` stands for `hg.vary`.
    """

    def __init__(self, tape):
        self.tape = tape

    def __call__(self, events, declare, hists=hg.Hist):
        tape, results = copy.copy(self.tape), {}
        events = copy.copy(events)
        for step in range(8):
            getattr(self, tape.of(STEPS))(tape, events, declare, step)
            if tape.below(3) == 0:
                events = events[self.passing(tape, events)]
        for step in range(4):
            results[f"{step}"] = getattr(self, tape.of(RESULTS))(tape, events, hists)
        return results

    def passing(self, tape, events):
        """A mask of events."""
        match tape.below(4):
            case 0:
                return ak.num(events.jets) >= tape.below(3)
            case 1:
                return ak.any(events.jets.pt > 10 + tape.below(40), axis=1)
            case 2:
                return events.met > 10 + tape.below(30)
        return ak.sum(events.leps.pt, axis=1) < 40 + tape.below(60)

    # steps

    def vary_jets(self, tape, events, declare, step):
        name, f = tape.of(NAMES), 1 + (1 + tape.below(10)) / 20
        jets = events.jets
        events["jets"] = declare(
            jets, f"{name}{step}", {"up": {"pt": jets.pt * f}, "down": {"pt": jets.pt / f, "mass": jets.mass / f}}
        )

    def vary_with_met(self, tape, events, declare, step):
        name, f = f"{tape.of(NAMES)}{step}", 1 + tape.below(10) / 20 + 0.1
        jets = events.jets
        events["jets"] = declare(jets, name, {"up": {"pt": jets.pt + f}})
        met = events.met
        events["met"] = declare(met, name, {"up": met * f})

    def vary_weight(self, tape, events, declare, step):
        w = events.w
        events["w"] = declare(w, f"{tape.of(NAMES)}{step}", {f"{k}": w * (1 + 0.1 * k) for k in range(1, 3)})

    def vary_which(self, tape, events, declare, step):
        """The alternative is another choice of jets."""
        jets = events.jets
        events["jets"] = declare(jets, f"{tape.of(NAMES)}{step}", {"other": jets[jets.eta > -0.5]})

    def cut_jets(self, tape, events, declare, step):
        events["jets"] = events.jets[events.jets.pt > 5 + tape.below(30)]

    def cut_by_met(self, tape, events, declare, step):
        events["jets"] = events.jets[(events.jets.pt > 10) & (events.met > 20)]

    def recoil(self, tape, events, declare, step):
        events["met"] = events.met + ak.sum(events.jets.pt, axis=1) / 2

    def clean(self, tape, events, declare, step):
        near = ak.any(events.jets.metric_table(events.leps) < 0.8, axis=2)
        events["jets"] = events.jets[~near]

    def by_function(self, tape, events, declare, step):
        events["w"] = hg.map_partitions(_smooth, events.w, events.met)

    def sorted_jets(self, tape, events, declare, step):
        jets = events.jets
        events["jets"] = jets[ak.argsort(jets.pt, axis=1, ascending=False, stable=True)]

    def looked_up(self, tape, events, declare, step):
        table = np.array([0.5, 0.9, 1.1, 1.3])
        events["w"] = events.w * hg.lookup(table, np.minimum(ak.num(events.jets), 3))

    # results

    def fill_met(self, tape, events, hists):
        h = hists.new.Reg(8, 0, 120, name="x")
        if tape.below(2):
            h = h.StrCat([], growth=True, name="variation")
        return h.Weight().fill(events.met, weight=events.w)

    def fill_jets(self, tape, events, hists):
        h = hists.new.StrCat([], growth=True, name="variation") if tape.below(2) else hists.new
        return h.Reg(8, 0, 120, name="x").Reg(4, -2, 2, name="y").Double().fill(x=events.jets.pt, y=events.jets.eta)

    def fill_twice(self, tape, events, hists):
        h = hists.new.Reg(8, 0, 120, name="x").Double()
        return h.fill(events.met).fill(ak.flatten(events.jets.pt))

    def fill_pairs(self, tape, events, hists):
        a, b = ak.unzip(ak.combinations(events.jets, 2))
        return hists.new.Reg(8, 0, 200, name="m").Double().fill((a + b).mass)

    def fill_near(self, tape, events, hists):
        near = events.leps.nearest(events.jets)
        return hists.new.Reg(8, 0, 200, name="pt").Mean().fill(near.pt, sample=events.leps.pt)

    def count(self, tape, events, hists):
        return ak.num(events, axis=0)

    def total(self, tape, events, hists):
        return ak.sum(events.w)

    def leading(self, tape, events, hists):
        return ak.max(events.jets.pt, axis=1)

    def all_jets(self, tape, events, hists):
        return events.jets[["pt", "eta"]]


def _smooth(w, met):
    return w * np.tanh(met / 50)


NAMES = ("a", "b", "c")
STEPS = tuple(
    name for name in vars(Analysis) if name.startswith(("vary", "cut", "recoil", "clean", "by", "sort", "look"))
)
RESULTS = tuple(name for name in vars(Analysis) if name.startswith(("fill", "count", "total", "leading", "all")))


class Alone:
    """Stands for `hg.vary` in a run in which one variation is the nominal."""

    def __init__(self, *active):
        self.active, self.names = active, []

    def __call__(self, x, name, alternatives):
        given = {f"{name}_{key}": what for key, what in alternatives.items()}
        self.names += [full for full in given if full not in self.names]
        what = next((what for full, what in given.items() if full in self.active), x)
        if not isinstance(what, dict):
            return what
        made = copy.copy(x)
        for field, value in what.items():
            made[field] = value
        return made


def together(x, name, alternatives):
    return hg.vary(x, name, alternatives)


def of(result, name):
    """A result in one variation."""
    if isinstance(result, dict):
        return result.get(name, result["nominal"])
    if hasattr(result, "axes"):
        found = [i for i, axis in enumerate(result.axes) if axis.name == "variation"]
        if found:
            known = list(result.axes[found[0]])
            return np.take(result.view(flow=True), known.index(name if name in known else "nominal"), axis=found[0])
        return result.view(flow=True)
    return result


def same(a, b, text):
    if isinstance(a, ak.Array):
        check(a.layout, b.layout, text)
    else:
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype, text
        assert a.tobytes() == b.tobytes(), f"{text}\n{a}\n{b}"


def compute(made, engine, executor="serial"):
    return hg.compute(made, engine=engine, executor=executor, progress=False)


@settings(max_examples=examples(25), deadline=None)
@given(
    st.binary(min_size=40, max_size=40),
    st.integers(0, 1 << 30),
    st.integers(1, 4),
    st.sampled_from(("auto", "interpreter")),
)
@pytest.mark.filterwarnings("ignore::hepgraph.errors.VariationWarning")
def test_each_variation_is_a_run_in_which_it_is_the_nominal(tape, seed, parts, engine):
    analysis, array = Analysis(Tape(tape)), data(seed)
    varied = compute(analysis(hg.from_awkward(array, npartitions=parts), together), engine)
    look = Alone()
    analysis(hg.from_awkward(array), look)
    for name in ["nominal", *look.names]:
        alone = compute(analysis(hg.from_awkward(array, npartitions=parts), Alone(name)), engine)
        for key, value in alone.items():
            same(of(varied[key], name), of(value, "nominal"), f"{key} in {name}")


class Crossed:
    """`hg.vary`, asking each time that two variations be combined."""

    def __init__(self, one, two):
        self.names = one, two

    def __call__(self, x, name, alternatives):
        x = hg.vary(x, name, alternatives)
        return hg.cross(x, *self.names) if set(self.names) & set(x.variations) else x


def known(result):
    """The names of the variations of a result."""
    if hasattr(result, "axes"):
        return [name for axis in result.axes if axis.name == "variation" for name in axis]
    return list(result) if isinstance(result, dict) else []


@settings(max_examples=examples(12), deadline=None)
@given(st.binary(min_size=40, max_size=40), st.integers(0, 1 << 30), st.integers(0, 100), st.integers(0, 100))
@pytest.mark.filterwarnings("ignore::hepgraph.errors.VariationWarning")
def test_two_variations_crossed_are_a_run_with_both(tape, seed, first, second):
    analysis, array = Analysis(Tape(tape)), data(seed)
    look = Alone()
    analysis(hg.from_awkward(array), look)
    names = look.names or ["a_up"]
    one, two = names[first % len(names)], names[second % len(names)]
    assume(one.rpartition("_")[0] != two.rpartition("_")[0])  # of one declaration, they are alternatives
    varied = compute(analysis(hg.from_awkward(array), Crossed(one, two)), "auto")
    alone = compute(analysis(hg.from_awkward(array), Alone(one, two)), "auto")
    for key, value in alone.items():
        found = [name for name in (f"{one}+{two}", one, two, "nominal") if name in known(varied[key])]
        same(of(varied[key], found[0] if found else "nominal"), of(value, "nominal"), f"{key} in {one}+{two}")


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_other_executors(executor):
    analysis = Analysis(Tape(bytes(range(0, 200, 5))))
    array = data(3)
    events = hg.from_awkward(array, npartitions=3)
    one = compute(analysis(events, together), "auto")
    two = compute(analysis(events, together), "auto", executor)
    look = Alone()
    analysis(events, look)
    assert look.names
    for key in one:
        for name in ["nominal", *look.names]:
            same(of(one[key], name), of(two[key], name), key)


@pytest.fixture
def events():
    return hg.from_awkward(data(1), npartitions=2)


@pytest.fixture
def jets(events):
    jets = events.jets
    return hg.vary(jets, "JES", up={"pt": jets.pt * 1.1}, down={"pt": jets.pt * 0.9})


def test_names(events, jets):
    assert events.variations == ()
    assert jets.variations == ("nominal", "JES_up", "JES_down")
    assert hg.vary(events.met, {"a": events.met * 2, "b": events.met * 3}).variations == ("nominal", "a", "b")
    assert hg.vary(events.met, "MET", {"up": events.met * 2}, down=events.met / 2).variations == (
        "nominal", "MET_up", "MET_down",
    )  # fmt: skip
    assert hg.vary(events.met, up=events.met * 2).variations == ("nominal", "up")
    both = hg.vary(jets, "JER", up={"pt": jets.pt + 1})
    assert both.variations == ("nominal", "JES_up", "JES_down", "JER_up")
    same(hg.variation(both, "JER_up").pt.compute(), (events.jets.pt + 1).compute(), "nominal JES in JER")


def test_what_does_not_follow_is_not_varied(events, jets):
    events["jets"] = jets
    assert isinstance(events, hg.Lazy)
    assert events.variations == ("nominal", "JES_up", "JES_down")
    for plain in (
        events.met,
        events.leps,
        events.jets.eta,
        events.leps.pt > 3,
        ak.num(events.jets),
        events[events.met > 3].leps,
    ):
        assert plain.variations == ()
    assert events[ak.num(events.jets[events.jets.pt > 20]) > 1].met.variations == events.variations
    assert (events.jets.pt - events.jets.pt).variations == events.variations
    assert (events.jets.pt * 1.0).variations == events.variations


def test_an_assignment_is_to_one_handle(events, jets):
    other = copy.copy(events)
    events["jets"] = jets
    third = copy.copy(events)
    assert other.variations == ()
    assert third.variations == events.variations
    events["jets"] = other.jets
    assert events.variations == ()
    assert third.variations
    assert type(events) is hg.Lazy
    del third["jets"]
    assert third.variations == ()
    varied = hg.vary(other, "A", up={"met": other.met * 2})
    whole = hg.variation(varied, "nominal")
    other["met"] = other.met * 0
    whole["met"] = whole.met * 0
    assert varied.met.compute()["nominal"].to_list() == data(1).met.to_list()


def test_the_same_name_moves_together(events, jets):
    met = hg.vary(events.met, "JES", up=events.met + 5)
    both = ak.sum(jets.pt, axis=1) + met
    assert both.variations == jets.variations
    same(
        hg.variation(both, "JES_up").compute(),
        (ak.sum(events.jets.pt * 1.1, axis=1) + (events.met + 5)).compute(),
        "up",
    )
    same(
        hg.variation(both, "JES_down").compute(), (ak.sum(events.jets.pt * 0.9, axis=1) + events.met).compute(), "down"
    )


def test_nothing_is_made_twice(events, jets):
    """Nodes that several variations have in common are one."""
    h = hg.Hist.new.Reg(3, 0, 9, name="x").Double()
    one = hg.variation(jets, "JES_up").phi
    assert one._form.content.node is events.jets.phi._form.content.node
    h.fill(jets.eta)
    assert h.variations == ()


def test_crossed(events, jets):
    jets = hg.cross(jets, "JES_up", "b_up")
    w = hg.vary(events.w, "b", up=events.w * 2)
    x = ak.sum(jets.pt, axis=1) * w
    assert x.variations == ("nominal", "JES_up", "JES_down", "b_up", "JES_up+b_up")
    same(
        hg.variation(x, "JES_up+b_up").compute(), (ak.sum(events.jets.pt * 1.1, axis=1) * (events.w * 2)).compute(), "x"
    )
    assert (ak.sum(jets.pt, axis=1) * events.w).variations == ("nominal", "JES_up", "JES_down")
    own = hg.vary(jets, "b", up={"pt": jets.pt + 3})
    same(hg.variation(own, "JES_up+b_up").pt.compute(), (events.jets.pt * 1.1 + 3).compute(), "of one array")
    late = ak.sum(hg.vary(jets, "c", up={"pt": jets.pt + 1}).pt, axis=1) + hg.vary(events.met, "d", up=events.met + 1)
    with pytest.raises(VariationError, match=r"before hg\.cross"):
        hg.cross(late, "c_up", "d_up")


def test_copies_and_pickles(jets):
    for other in (copy.copy(jets), copy.deepcopy(jets), pickle.loads(pickle.dumps(jets)), jets[:], jets[...]):
        assert isinstance(other, Varied)
        assert other is not jets
        assert other.variations == jets.variations
        same(other.pt.compute()["JES_up"], jets.pt.compute()["JES_up"], "")


def test_captured_by_a_function(events, jets):
    """A varied array in a recorded function is refused, as a plain one is."""
    for x in (events.met, hg.vary(events.met, "a", up=events.met * 2)):
        with pytest.raises(HepgraphError):
            hg.map_partitions(lambda w: w * x, events.w)


def test_repartition_and_head(jets):
    assert jets.repartition(4).npartitions == 4
    assert jets.repartition(4).variations == jets.variations
    assert {name: len(part) for name, part in jets.head(3).items()} == dict.fromkeys(jets.variations, 3)
    assert jets.npartitions == 2


def test_shown(jets, events):
    assert repr(jets.pt) == "<hepgraph.Lazy ## * var * float64, 2 variations: JES_up, JES_down>"
    many = hg.vary(events.met, {f"n{i}": events.met + i for i in range(1, 9)})
    assert repr(many) == "<hepgraph.Lazy ## * float64, 8 variations: n1, n2, n3, n4, ...>"
    assert "2 variations beside the nominal: JES_up, JES_down" in jets._repr_html_()
    assert "pt" in dir(jets)
    jets.pt.show()


def test_several_results_of_one_call(jets, events):
    pt, eta = ak.unzip(jets[["pt", "eta"]])
    assert pt.variations
    assert eta.variations == ()
    met = hg.vary(events.met, "a", up=events.met + 0.5)
    fraction, whole = np.modf(met)
    assert fraction.variations == whole.variations == ("nominal", "a_up")


def test_methods_of_either_side(events, jets):
    assert jets.nearest(events.leps).variations == ()  # by direction, which does not vary
    assert events.leps.nearest(jets).eta.variations == ()
    assert events.leps.nearest(other=jets).pt.variations == jets.variations
    assert events.leps.nearest(jets).pt.variations == jets.variations
    assert (events.leps.nearest(jets, threshold=1.0) + events.leps).mass.variations == jets.variations
    assert jets.mask[jets.pt > 20].eta.variations == jets.variations
    assert events.jets.eta.mask[jets.pt > 20].variations == jets.variations


def test_a_variation_that_changes_nothing(events):
    with pytest.warns(VariationWarning, match=r"'JES_up' is the nominal(.|\n)*test_lazy_vary.py:\d+: same_again ="):
        same_again = hg.vary(events.jets, "JES", up={"pt": events.jets.pt})
    assert same_again.variations == ()


def test_twice(events, jets):
    assert hg.vary(jets, "JES", up={"pt": events.jets.pt * 1.1}).variations == jets.variations
    with pytest.raises(VariationError, match="'JES_up' is declared twice"):
        hg.vary(jets, "JES", up={"pt": events.jets.pt * 1.2})


def test_other_rows(events, jets):
    with pytest.raises(ShapeError, match="'a_up' has other rows"):
        hg.vary(events.met, "a", up=events[events.met > 10].met)
    with pytest.raises(ShapeError, match="no array like the nominal"):
        hg.vary(events.met, "a", up=events.jets.pt)
    with pytest.raises(VariationError, match="takes lazy arrays"):
        hg.vary(ak.Array([1.0]), "a", up=ak.Array([2.0]))


def test_no_rule_takes_the_nominal_alone(jets):
    """Functions that are not mapped over the names refuse varied arrays, instead of leaving the alternatives out."""
    for name in ("_form", "_guard"):
        with pytest.raises(UnsupportedError, match=f"no one {name[1:]} of an array varied by JES_up, JES_down"):
            getattr(jets, name)
    for name in ("to_delayed", "to_dask_array", "to_dask_bag", "to_dask_dataframe"):
        with pytest.raises(LazyError, match="give dask one variation"):
            getattr(jets.pt, name)()


def test_lists_of_alternatives():
    """A whole array may have lists of its own, a field has those of the records; the rows are the same."""
    events = hg.from_awkward(ak.Array({"pt": [[10.0, 40.0], [], [30.0]], "met": [1.0, 2.0, 3.0]}))
    pt = hg.vary(events.pt, "S", up=events.pt[events.pt > 20])
    assert pt.compute()["S_up"].to_list() == [[40.0], [], [30.0]]
    h = hg.Hist.new.Reg(2, 0, 50, name="pt").Double().fill(pt).compute()
    assert h[:, "S_up"].values().tolist() == [0.0, 2.0]
    with pytest.raises(ShapeError, match="do not go together"):
        hg.vary(ak.zip({"pt": events.pt}), "S", up={"pt": events.pt[events.pt > 20]})
    with pytest.raises(ShapeError, match="other rows"):
        hg.vary(events.met, "S", up=events.met[events.met > 1])
    with pytest.raises(ShapeError, match="no array like the nominal"):
        hg.vary(events.met, "S", up=events.pt)

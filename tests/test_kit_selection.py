"""Selections: cuts combined, negated, sorted into categories, lazy and computed, against plain Python."""

import copy

import awkward as ak
import numpy as np
import pytest
from cuts import NAMES, drawn, passes, ways
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import SelectionError

CUTS = st.lists(st.sampled_from([*NAMES, *(f"~{name}" for name in NAMES)]), min_size=1, max_size=5)


def selection_of(events):
    return hg.Selection(events, {name: events[name] for name in NAMES})


@settings(deadline=None)
@given(drawn(), CUTS, st.integers(1, 4))
def test_combinations(events, names, npartitions):
    every = [all(passes(e, name) for name in names) for e in events]
    some = [any(passes(e, name) for name in names) for e in events]
    named = {name.removeprefix("~"): not name.startswith("~") for name in names}
    required = [all(e[name] == value for name, value in named.items()) for e in events]
    others = [all(e[name] for name in NAMES if name not in named) for e in events]
    for array, computed in ways(events, npartitions):
        selection = selection_of(array)
        found = computed(
            [
                selection.all(*names),
                selection.any(*names),
                selection.require(named),
                selection.without(*named),
                selection.all(),
                selection.any(),
            ]
        )
        wanted = [every, some, required, others]
        wanted += [[how(e[name] for name in NAMES) for e in events] for how in (all, any)]
        assert [x.tolist() for x in found] == wanted


@settings(deadline=None)
@given(drawn(), st.integers(1, 3))
def test_categories(events, npartitions):
    for array, computed in ways(events, npartitions):
        selection = selection_of(array)
        categories = selection.categories(one=["a", "~a"], two={"both": ["b", "c"], "none": ["~b", "~c"]})
        assert categories.axes == {"one": ["a", "~a"], "two": ["both", "none"]}
        assert list(categories) == [("a", "both"), ("a", "none"), ("~a", "both"), ("~a", "none")]
        assert len(categories) == 4
        for (one, two), mask in computed(dict(categories.items())).items():
            sign = "" if two == "both" else "~"
            wanted = [all(passes(e, n) for n in (one, f"{sign}b", f"{sign}c")) for e in events]
            assert mask.tolist() == wanted


def test_there_is_no_limit_of_cuts():
    """A bit for each cut would end at 64."""
    n = np.arange(200)
    events = hg.from_awkward(ak.Array({"n": n}), npartitions=3)
    selection = hg.Selection(events, {f"cut {i}": events.n != i for i in range(100)})
    assert len(selection) == 100
    flow = selection.cutflow().compute()
    assert flow["cut 99"] == {"raw": 100}
    assert selection.all().compute().to_list() == (n >= 100).tolist()


def test_a_selection_without_cuts():
    eager = hg.Selection(np.zeros(3))
    assert eager.all().tolist() == [True, True, True]
    assert eager.any().tolist() == [False, False, False]
    lazy = hg.Selection(hg.from_awkward(ak.Array({"x": [1, 2, 3]}), npartitions=2))
    assert lazy.all().compute().to_list() == [True, True, True]
    assert lazy.cutflow().compute().to_dict() == {"all events": {"raw": 3}}
    with pytest.raises(SelectionError, match="no events to begin with"):
        hg.Selection().all()


def test_one_value_for_all_events():
    events = hg.from_awkward(ak.Array({"x": [1, 2, 3]}))
    selection = hg.Selection(events, trigger=False, good=events.x > 1)
    assert selection.any().compute().to_list() == [False, True, True]


def test_a_cut_is_a_copy():
    """Later changes of the user's array are not seen, and masks that are handed out cannot be changed."""
    mask = np.array([True, False])
    selection = hg.Selection(a=mask)
    mask[:] = False
    assert selection.all().tolist() == [True, False]
    with pytest.raises(ValueError, match="read-only"):
        selection.all()[0] = False
    selection.add("b", np.array([True, True]))
    selection.all()[0] = False
    assert selection.all().tolist() == [True, False]


def test_looking_at_a_selection():
    selection = hg.Selection(a=np.array([True]), b=np.array([False]))
    assert repr(selection) == "<hepgraph.Selection of 2 cuts: a, b>"
    assert repr(hg.Selection()) == "<hepgraph.Selection of 0 cuts>"
    assert selection.names == ["a", "b"]
    assert "a" in selection
    assert "c" not in selection
    assert selection["~b"].tolist() == [True]
    assert repr(selection.categories(x=["a", "b"])) == "<hepgraph.Categories x: a, b>"


def test_cut_events(events_of_two_jets):
    """A selection of events that were cut, and an eager mask beside lazy events."""
    events = events_of_two_jets
    some = events[events.n > 1]
    selection = hg.Selection(some, last=some.n == 3)
    assert some.n[selection.all()].compute().to_list() == [3]
    assert selection.cutflow().compute().to_dict() == {"all events": {"raw": 2}, "last": {"raw": 1}}
    beside = hg.Selection(events, known=np.array([True, False, True]))
    assert events.n[beside.all()].compute().to_list() == [1, 3]


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_is_added_to_a_copy_is_not_added_to_the_first(how, lazy):
    array = ak.Array({"n": [1, 2, 3]})
    array = hg.from_awkward(array) if lazy else array
    first = hg.Selection(array, a=array.n > 1)
    other = how(first).add("b", array.n > 2)
    first.add("c", array.n < 3)
    assert (first.names, other.names) == (["a", "c"], ["a", "b"])
    found = hg.compute([first.all(), other.all()], executor="serial", progress=False)
    assert [np.asarray(x).tolist() for x in found] == [[False, True, False], [False, False, True]]
    with pytest.raises(SelectionError, match=r"added before, at .*test_kit_selection\.py"):
        other.add("a", array.n > 2)
    empty = hg.Selection()
    how(empty).add("a", array.n > 1)
    with pytest.raises(SelectionError, match="no events to begin with"):
        empty.all()


@pytest.fixture
def events_of_two_jets():
    return hg.from_awkward(ak.Array({"n": [1, 2, 3], "pt": [[1.0, 2.0], [], [3.0]]}), npartitions=2)


def test_selections(says, events_of_two_jets):
    events = events_of_two_jets
    pt = ak.Array([[1.0, 2.0], [], [3.0]])
    for array, jets, n in ((events, events.pt, events.n), (np.zeros(3), pt, np.array([1, 2, 3]))):
        selection = hg.Selection(array)
        selection.add("trigger", n > 1)
        says(selection.add, "jets", jets > 2)
        says(selection.add, "first", ak.firsts(jets) > 2)
        says(selection.add, "number", n)
        says(selection.add, "records", ak.zip({"x": n, "y": n}))
        says(selection.add, "trigger", n > 2)
        says(selection.add, "~trigger", n > 2)
        says(selection.add, "text", "n > 2")
        says(selection.all, "triger")
        says(selection.any, "~triger")
        says(selection.require, trigger=True, jet=False)
        says(selection.require, trigger=3)
        says(selection.require)
        says(selection.cutflow, "trigger", "trigger")
        says(selection.nminusone, "jets")
        says(selection.without, "jets")
        says(selection.categories, lepton=["e", "trigger"])
        says(selection.categories, cut=["trigger"])
        says(selection.categories, lepton=[])
        says(selection.categories)
        says(selection.categories(x=["trigger"]).__getitem__, "b")
        says(selection.all, trigger=True)
        says(selection.any, trigger=False)
        says(selection.add, "filled", n > 1, fill_value=False)
        says(selection.cutflow, "trigger", commonmasked=True)
        says(selection.nminusone, weightsmodifier="w_up")
        says(selection.cutflow, weigths=n)
        says(lambda selection=selection: selection.allfalse("trigger"))
        says(lambda selection=selection: selection.requires(trigger=True))
        for flow in (selection.cutflow(), selection.nminusone()):
            says(lambda flow=flow: flow.yieldhist())
            says(lambda flow=flow: flow.print())
            says(lambda flow=flow: flow.plot_vars({"n": n}))
            says(lambda flow=flow: flow.to_panda())
    says(hg.Selection(np.zeros(3)).add, "short", np.array([True]))
    says(hg.Selection(events).add, "short", np.array([True]))
    says(hg.Selection(np.zeros(3)).add, "lazy", events.n > 1)
    says(hg.Selection(events).add, "cut", events.n[events.n >= 2] > 2)
    says(hg.Selection(events).add, "total", ak.sum(events.n) > 2)
    says(hg.Selection().add, "constant", True)
    says(hg.Selection, 3)

"""Weights: products, parts of them, and histograms that are filled with them, against plain Python."""

import copy
import operator
import pickle

import awkward as ak
import numpy as np
import pytest
from cuts import SCALES, WEIGHTS, columns, drawn, in_variation, varied, ways
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import FillError, WeightError

EVENTS = ak.Array({"w": [2.0, 4.0]})


def weights_of(events, **options):
    weights = hg.Weights(events, **options)
    weights.add("w", events.w, up=2 * events.w, down=events.w - 1)
    weights.add("lumi", 0.5)
    return weights.add_many("pdf", events.v, [events.v + i for i in range(3)])


VARIED = {
    "nominal": lambda e: e["w"] * 0.5 * e["v"],
    "w_up": lambda e: 2 * e["w"] * 0.5 * e["v"],
    "w_down": lambda e: (e["w"] - 1) * 0.5 * e["v"],
    **{f"pdf_{i}": lambda e, i=i: e["w"] * 0.5 * (e["v"] + i) for i in range(3)},
}


@settings(deadline=None)
@given(drawn(), st.integers(1, 4))
def test_products(events, npartitions):
    for array, computed in ways(events, npartitions):
        weights = weights_of(array)
        assert weights.variations == tuple(VARIED)
        found = computed({name: weights.weight(name) for name in weights.variations})
        assert {name: x.tolist() for name, x in found.items()} == {
            name: [weight(e) for e in events] for name, weight in VARIED.items()
        }
        half, whole = computed([weights.partial(["lumi"]).weight("nominal"), hg.Weights(array).weight("nominal")])
        assert half.tolist() == [0.5 for _ in events]
        assert whole.tolist() == [1.0 for _ in events]
        some = computed(weights.partial(exclude=["w"]).weight("pdf_1"))
        assert some.tolist() == [0.5 * (e["v"] + 1) for e in events]
        cut = computed(weights[array.a].weight("w_up"))
        assert cut.tolist() == [VARIED["w_up"](e) for e in events if e["a"]]


@settings(deadline=None)
@given(drawn(), st.integers(1, 4))
def test_filling(events, npartitions):
    """A fill takes the weights of the events that it has, and repeats them for the elements of lists."""
    wanted = {"all": [0.0, 0.0], "some": [0.0, 0.0], "jets": [0.0, 0.0]}
    for e in events:
        w = e["w"] * e["v"]
        for name, times in {"all": 1, "some": int(e["a"] and e["b"]), "jets": len(e["pt"]) * e["a"]}.items():
            wanted[name][0] += times * w
            wanted[name][1] += times * w * w
    for array, computed in ways(events, npartitions):
        weights = hg.Weights(array).add("w", array.w).add("v", array.v)
        lazy = isinstance(array, hg.Lazy)
        some = array[array.a]
        more = some[some.b]
        filled = {
            "all": histogram().fill(array.w, weight=weights),
            "some": histogram().fill(more.w, weight=weights if lazy else weights[array.a][some.b]),
            "jets": histogram().fill(some.pt, weight=weights[array.a]),
        }
        for name, h in computed(filled).items():
            total = h.sum(flow=True)
            assert [total.value, total.variance] == wanted[name], name


@settings(deadline=None)
@given(drawn(), st.integers(1, 3))
def test_variations(events, npartitions):
    """Shapes and weights on one axis; a fill knows which events it has in each of them."""
    _, *found = ways(events, npartitions)
    for array, computed in found:
        selection, weights = varied(array)
        assert set(weights.variations) == set(SCALES)
        some = selection.all("a", "hard")
        ones = ak.ones_like(array.w)
        filled = [
            histogram().fill(ones[some], weight=weights),
            histogram().fill(ones[some], weight=weights[some]),
            histogram().fill(ones[some], weight=weights.partial(exclude=["w"])),
        ]
        first, second, without = computed(filled)
        assert (first == second) or not events
        for name in SCALES:
            those = [e["weight"] for e in in_variation(events, name) if e["a"] and e["hard"]]
            total = first[:, name].sum(flow=True)
            assert [total.value, total.variance] == [sum(those), sum(w * w for w in those)]
        assert [*without.axes["variation"]] == ["nominal", "JES_up", "JES_down"]
        product = computed(weights.weight())
        assert {name: x.tolist() for name, x in product.items()} == {
            name: [e["weight"] for e in in_variation(events, name)] for name in product
        }
        assert computed(weights.weight("JES_up")).tolist() == [e["weight"] for e in in_variation(events, "JES_up")]


def test_computed_weights_fill_an_axis_of_variations():
    """In a notebook, where nothing runs once for each variation."""
    x, w = np.array([0.1, 0.2, 0.7]), np.array([1.0, 2.0, 4.0])
    weights = hg.Weights(x).add("w", w, up=2 * w)
    new = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(2, 0, 1, name="x").Weight()
    h = new.fill(x[:2], weight=weights[x < 0.5])
    assert list(h.axes[0]) == ["nominal", "w_up"]
    assert h["w_up", :].values().tolist() == [6.0, 0.0]
    assert h["nominal", :].variances().tolist() == [5.0, 0.0]
    flow = hg.Selection(low=x < 0.5).cutflow(weights=weights)
    assert flow.to_dict()["low"] == {
        "nominal": {"raw": 2, "sumw": 3.0, "sumw2": 5.0},
        "w_up": {"raw": 2, "sumw": 6.0, "sumw2": 20.0},
    }
    with pytest.raises(FillError, match="no axis for them"):
        histogram().fill(x, weight=weights)


def test_the_same_name_moves_together():
    events = hg.from_awkward(ak.Array({"w": [1.0, 2.0]}))
    weights = hg.Weights(events).add_many("a", events.w, {"scale": 2 * events.w})
    weights.add_many("b", 1.0, {"scale": 3.0})
    assert weights.variations == ("nominal", "scale")
    assert weights.weight().compute()["scale"].to_list() == [6.0, 12.0]


def test_up_and_down_by_place():
    for array in (EVENTS, hg.from_awkward(EVENTS)):
        weights = hg.Weights(array).add("w", array.w, 2 * array.w, array.w / 2)
        found = hg.compute([weights.weight("w_up"), weights.weight("w_down")], executor="serial", progress=False)
        assert [x.tolist() for x in found] == [(2 * EVENTS.w).tolist(), (EVENTS.w / 2).tolist()]
        assert hg.Weights(array).add("w", array.w, array.w + 1).variations == ("nominal", "w_up")


def test_asking_for_attributes_does_no_harm():
    weights = hg.Weights(EVENTS).add("w", EVENTS.w)
    selection = hg.Selection(EVENTS, a=EVENTS.w > 0)
    for each in (weights, selection, selection.cutflow(), selection.nminusone()):
        assert not hasattr(each, "nothing_of_the_kind")
        assert repr(pickle.loads(pickle.dumps(each))) == repr(each)


def histogram():
    return hg.Hist.new.Reg(2, 0, 1, name="x").Weight()


SAID = {"nan": "not finite", "negative": "negative", "zero": "zero"}


@settings(deadline=None)
@given(st.lists(st.one_of(WEIGHTS, st.sampled_from([float("nan"), float("inf")])), min_size=1, max_size=5))
def test_weights_that_are_refused(values):
    """Refused weights raise: of computed arrays at once, of lazy ones while running, if they would be filled."""
    array = ak.Array({"x": np.zeros(len(values)), "w": values})
    lazy = hg.from_awkward(array, npartitions=2)
    faults = {
        "nan": [not np.isfinite(w) for w in values],
        "negative": [w < 0 for w in values],
        "zero": [w == 0 for w in values],
    }
    for kind, bad in faults.items():
        options = {"nan": "ignore"} | {kind: "raise"}
        h = histogram().fill(lazy.x, weight=hg.Weights(lazy, **options).add("w", lazy.w))
        good = lazy[~ak.is_none(ak.mask(lazy.w, ~np.array(bad)))]
        clean = histogram().fill(good.x, weight=hg.Weights(lazy, **options).add("w", lazy.w))
        for engine in ("kernel", "interpreter"):
            run = {"executor": "serial", "progress": False, "engine": engine}
            if any(bad):
                with pytest.raises(FillError, match=f"Weight 'w' is {SAID[kind]} for"):
                    h.compute(**run)
            else:
                h.compute(**run)
            assert clean.compute(**run).sum(flow=True).value == pytest.approx(
                sum(w for w, wrong in zip(values, bad, strict=True) if not wrong), nan_ok=True
            )
        if any(bad):
            with pytest.raises(WeightError, match=f"for {sum(bad)} event"):
                hg.Weights(array, **options).add("w", array.w)
        else:
            assert hg.Weights(array, **options).add("w", array.w).weight("nominal").tolist() == pytest.approx(
                values, nan_ok=True
            )


@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
@pytest.mark.parametrize("name", ["weight", "double", "growing", "categories", "variable", "mean"])
def test_nan_is_found_in_every_kind_of_histogram(name, engine):
    new = hg.Hist.new
    h = {
        "weight": new.Reg(2, 0, 1).Weight(),
        "double": new.Reg(2, 0, 1).Double(),
        "growing": new.Reg(2, 0, 1, growth=True).Weight(),
        "categories": new.IntCat([], growth=True).Weight(),
        "variable": new.Var([0, 0.5, 1], growth=True).Weight(),
        "mean": new.Reg(2, 0, 1).WeightedMean(),
    }[name]
    events = hg.from_awkward(ak.Array({"x": [0, 1, 0], "w": [1.0, float("nan"), 2.0]}), npartitions=2)
    sample = {"sample": events.x} if name == "mean" else {}
    run = {"executor": "serial", "progress": False, "engine": engine}
    good = h.copy().fill(events.x, weight=hg.Weights(events, nan="ignore").add("w", events.w), **sample)
    assert np.isnan(
        good.compute(**run).sum(flow=True).sum_of_weights if sample else np.sum(good.compute(**run).values(flow=True))
    )
    some = events[events.w > 0]
    fine = h.copy().fill(some.x, weight=hg.Weights(events).add("w", events.w), **({"sample": some.x} if sample else {}))
    fine.compute(**run)
    bad = h.fill(events.x, weight=hg.Weights(events).add("w", events.w), **sample)
    with pytest.raises(FillError, match="Weight 'w' is not finite for 1 entry"):
        bad.compute(**run)


def test_nan_in_one_variation():
    """The nominal is filled by a run without it; together, the weight is named."""
    events = hg.from_awkward(ak.Array({"x": [0.1, 0.2], "w": [1.0, 2.0], "up": [1.0, float("nan")]}), npartitions=2)
    weights = hg.Weights(events).add("one", 2.0).add("w", events.w, up=events.up)
    with pytest.raises(FillError, match="Weight 'w' is not finite for 1 entry"):
        histogram().fill(events.x, weight=weights).compute(progress=False)
    alone = histogram().fill(events.x, weight=weights.weight("nominal")).compute(progress=False)
    assert alone.values().tolist() == [6.0, 0.0]


def test_no_array_is_changed():
    gen, up = np.array([1.0, 2.0]), np.array([2.0, 3.0])
    weights = hg.Weights(gen).add("gen", gen, up=up).add("other", gen)
    assert weights.weight("nominal").tolist() == [1.0, 4.0]
    gen[:] = up[:] = 7.0
    assert weights.weight("gen_up").tolist() == [2.0, 6.0]
    with pytest.raises(ValueError, match="read-only"):
        weights.partial(["gen"]).weight("nominal")[0] = 3.0


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_is_added_to_a_copy_is_not_added_to_the_first(how, lazy):
    array = hg.from_awkward(EVENTS) if lazy else EVENTS
    first = hg.Weights(array, negative="raise").add("w", array.w, up=2 * array.w)
    other = how(first).add("lumi", 10.0)
    first.add("half", 0.5)
    assert (first.names, other.names) == (["w", "half"], ["w", "lumi"])
    found = hg.compute([first.weight("w_up"), other.weight("w_up")], executor="serial", progress=False)
    assert [np.asarray(x).tolist() for x in found] == [[2.0, 4.0], [40.0, 80.0]]
    with pytest.raises(WeightError, match="negative"):
        other.add("minus", -1.0)
    empty = hg.Weights()
    how(empty).add("w", array.w)
    with pytest.raises(WeightError, match="no events to begin with"):
        empty.weight()


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_copies_hand_out_nothing_that_changes_them(how):
    with pytest.raises(ValueError, match="read-only"):
        how(hg.Weights(np.zeros(2)).add("w", np.ones(2))).weight()[0] = 2.0
    with pytest.raises(ValueError, match="read-only"):
        how(hg.Selection(np.zeros(2)).add("a", np.ones(2, bool))).all()[0] = False


def test_numbers_become_float64():
    """The product of single precision would be rounded."""
    single = np.array([0.1, 0.2], np.float32)
    for events in (ak.Array({"w": single}), hg.from_awkward(ak.Array({"w": single}))):
        weights = hg.Weights(events).add("w", events.w).add("again", events.w)
        product = weights.weight("nominal")
        product = product.compute() if isinstance(product, hg.Lazy) else product
        assert ak.to_numpy(product).dtype == np.float64
        assert product.tolist() == (single.astype(np.float64) ** 2).tolist()


def test_looking_at_weights():
    weights = hg.Weights(np.zeros(2)).add("gen", 1).add("btag", 1.0, up=1.1, down=0.9)
    assert repr(weights) == "<hepgraph.Weights gen, btag, 2 variations>"
    assert repr(weights.partial(exclude=["btag"])) == "<hepgraph.Weights gen>"
    assert weights.names == ["gen", "btag"]
    assert "gen" in weights
    assert len(weights) == 2
    assert hg.Weights(np.zeros(2)).variations == ()


def test_weights(says):
    array = columns([{**dict.fromkeys("abcd", True), "w": 1.0, "v": float("nan"), "pt": [1.0]}] * 3)
    lazy = hg.from_awkward(array, npartitions=2)
    for events in (array, lazy):
        weights = hg.Weights(events).add("gen", events.w, up=2.0)
        says(weights.add, "gen", events.w)
        says(operator.mul, events.w, weights)
        says(weights.add, "all weights", events.w)
        says(weights.add, "jets", events.pt)
        says(weights.add, "jet", ak.firsts(events.pt))
        says(weights.add, "text", "w")
        says(weights.add, "btag", events.w, up=events.pt)
        says(weights.add_many, "btag", events.w, {"nominal": events.w})
        says(weights.add_many, "pdf", events.w, events.pt)
        says(weights.weight, "btag_up")
        says(weights.partial, ["gne"])
        says(weights.partial, "gen")
        says(weights.partial)
        says(weights.add, "w", events.w, weightUp=events.w, weightDown=events.w)
        says(weights.add, "w", events.w, weightDown=events.w)
        says(weights.add, "w", events.w, events.w, events.w, True)
        says(weights.add, "w", events.w, events.w, shift=True)
        says(weights.weight, modifier="gen_up")
        says(weights.weight, "genUp")
        says(lambda weights=weights: weights.partial_weight(include=["gen"]))
        says(lambda weights=weights: weights.add_multivariation("w", 1.0, ["a"], [2.0], [0.5]))
        says(lambda weights=weights: weights.weightStatistics)
        says(lambda weights=weights: weights.statistic)
    says(hg.Weights, 3)
    says(hg.Weights, None, storeIndividual=True)
    says(hg.Weights, None, True)
    says(hg.Weights, size=None)
    says(hg.Weights(array).statistics().__getitem__, "gen")
    says(hg.Weights(array).add, "v", array.v)
    says(hg.Weights(array).add, "short", [1.0])
    says(hg.Weights(array, negative="raise").add, "w", -array.w)
    says(hg.Weights(array).add, "lazy", lazy.w)
    says(hg.Weights().weight)
    says(hg.Weights, array, nan="zero")
    says(lambda: histogram().fill(array.w[:2], weight=hg.Weights(array).add("w", array.w)))
    says(lambda: histogram().fill(lazy.w, weight=hg.Weights(lazy).add("v", lazy.v)).compute(executor="serial"))
    says(lambda: histogram().fill(lazy.w, weight=hg.Weights(array).add("w", array.w)))


def factors(e):
    """Jets with two energies, cut; a mask; and a weight of them whose alternatives are made of the varied jets, too."""
    jets = hg.vary(e.pt, "JES", up=2 * e.pt, down=e.pt / 2)
    return ak.num(jets[jets > 25]), ak.any(jets > 40, axis=1), ak.sum(jets, axis=1)


@pytest.mark.parametrize("crossed", [False, True])
@settings(deadline=None, max_examples=10)
@given(drawn(), st.integers(1, 3))
def test_alternatives_made_of_what_varies(crossed, events, npartitions):
    """Each is one of the nominal, unless it is crossed: as `hg.vary` has it; also after a cut by what varies."""
    array = hg.from_awkward(columns(events), npartitions=npartitions)
    n, some, ht = factors(array)
    if crossed:
        n = hg.cross(n, "JES_up", "n_up")
    weights = hg.Weights(array).add("n", n, up=n + ht, down=0.5 * ht).add("lumi", 2.0, up=ht)
    right = hg.vary(ak.values_astype(n, float), "n", up=n + ht, down=0.5 * ht)
    right = right * hg.vary(2.0 * ak.ones_like(array.w), "lumi", up=ht)
    pairs = {"all": (weights, right), "varied": (weights[some], right[some]), "cut": (weights[array.a], right[array.a])}
    names = ("n_up", "lumi_up", "JES_down")
    found, one_by_one, by_hand, h, h_by_hand = hg.compute(
        [
            {key: got.weight() for key, (got, _) in pairs.items()},
            {key: {name: got.weight(name) for name in names} for key, (got, _) in pairs.items()},
            {key: wanted for key, (_, wanted) in pairs.items()},
            histogram().fill(ht[some], weight=weights),
            histogram().fill(ht[some], weight=right[some]),
        ],
        executor="serial",
        engine="interpreter",
        progress=False,
    )
    for key, wanted in by_hand.items():
        assert ("JES_up+n_up" in wanted) == crossed
        assert {name: x.to_list() for name, x in found[key].items()} == {
            name: x.to_list() for name, x in wanted.items()
        }
        assert {name: x.to_list() for name, x in one_by_one[key].items()} == {
            name: wanted[name].to_list() for name in names
        }
    assert list(h.axes[-1]) == list(h_by_hand.axes[-1])
    assert np.array_equal(h.view(flow=True), h_by_hand.view(flow=True))

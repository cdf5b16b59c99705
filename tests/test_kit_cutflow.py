"""Cutflows and counts of all cuts but one, against events counted one by one in plain Python."""

import math

import awkward as ak
import numpy as np
import pytest
from cuts import HARD, NAMES, SCALES, columns, cutflow, drawn, in_variation, nminusone, passes, row, varied, ways
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.disk.plain import read, written
from hepgraph.errors import LazyError
from hepgraph.kit.cutflow import Cutflow, NminusOne

CUTS = st.permutations(NAMES).flatmap(lambda names: st.integers(1, 4).map(lambda n: names[:n]))


def selection_of(events):
    return hg.Selection(events, {name: events[name] for name in NAMES})


def weight(event):
    return event["w"] * event["v"]


def weights_of(events, **options):
    return hg.Weights(events, **options).add("w", events.w).add("v", events.v)


def same(one, two):
    """Equal nests of numbers; NaN is NaN."""
    assert one.keys() == two.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            same(value, two[key])
        else:
            assert value == two[key] or (math.isnan(value) and math.isnan(two[key])), key


@settings(deadline=None)
@given(drawn(), CUTS, st.integers(1, 4))
def test_cut_after_cut(events, names, npartitions):
    wanted = cutflow(events, names, weight)
    for array, computed in ways(events, npartitions):
        flow = selection_of(array).cutflow(*names, weights=weights_of(array), alone=True)
        plain = selection_of(array).cutflow(*names, weights=array.w * array.v)
        unweighted = selection_of(array).cutflow(*names)
        flow, plain, unweighted = computed([flow, plain, unweighted])
        assert type(flow) is Cutflow
        assert flow.to_dict() == plain.to_dict() == wanted
        assert unweighted.to_dict() == {name: {"raw": row["raw"]} for name, row in wanted.items()}
        alone = {name: row([e for e in events if passes(e, name)], weight) for name in names}
        assert flow.alone.to_dict() == {"all events": wanted["all events"], **alone}


@settings(deadline=None)
@given(drawn(HARD), CUTS, st.integers(1, 3))
def test_weights_that_are_not_finite(events, names, npartitions):
    """Events that do not come to a row leave it clean."""
    for array, computed in ways(events, npartitions):
        with np.errstate(invalid="ignore"):
            weights = weights_of(array, nan="ignore")
            flow = computed(selection_of(array).cutflow(*names, weights=weights))
            other = computed(selection_of(array).nminusone(*names, weights=weights))
        same(flow.to_dict(), cutflow(events, names, weight))
        same(other.to_dict(), nminusone(events, names, weight))


@settings(deadline=None)
@given(drawn(), CUTS, st.integers(1, 4))
def test_all_cuts_but_one(events, names, npartitions):
    for array, computed in ways(events, npartitions):
        flow = computed(selection_of(array).nminusone(*names, weights=weights_of(array)))
        assert type(flow) is NminusOne
        assert flow.to_dict() == nminusone(events, names, weight)


@settings(deadline=None)
@given(drawn(), st.integers(1, 3))
def test_categories(events, npartitions):
    """Categories that overlap count an event in each."""
    axes = {"one": {"c": ["c"], "not c": ["~c"], "d": "d"}, "two": ["d", "~d"]}
    for array, computed in ways(events, npartitions):
        flow = computed(selection_of(array).cutflow("a", "b", weights=array.w, categories=axes))
        assert flow.categories == {"one": ["c", "not c", "d"], "two": ["d", "~d"]}
        for label, one in {"c": "c", "not c": "~c", "d": "d"}.items():
            for two in ("d", "~d"):
                some = [e for e in events if passes(e, one) and passes(e, two)]
                part = flow.select(one=label, two=two)
                assert part.to_dict() == cutflow(some, ["a", "b"], lambda e: e["w"])
                assert {name: rows[label][two] for name, rows in flow.to_dict().items()} == part.to_dict()


@settings(deadline=None)
@given(drawn(), st.integers(0, 12), CUTS)
def test_adding_up(events, cut, names):
    """The cutflows of parts of the events add up to that of all of them, computed or lazy."""
    parts = [columns(events[:cut]), columns(events[cut:])]

    def flows(arrays):
        made = (selection_of(array).cutflow(*names, weights=weights_of(array), alone=True) for array in arrays)
        return sum(made)

    assert flows(parts) == flows([columns(events)])
    lazy = flows([hg.from_awkward(part, npartitions=2) for part in parts])
    assert lazy.compute(executor="serial", progress=False) == flows(parts)


@settings(deadline=None)
@given(drawn(), st.integers(1, 3))
def test_variations(events, npartitions):
    """Each variation is counted as if it were the nominal, in both; nothing that does not vary has an axis for them."""
    names = ["a", "~hard", "soft"]
    _, *found = ways(events, npartitions)
    for array, computed in found:
        selection, weights = varied(array)
        flow = selection.cutflow(*names, weights=weights, alone=True, categories={"x": ["hard", "~hard"]})
        other, raw, plain = selection.nminusone(*names, weights=weights), selection.cutflow(), selection.cutflow("a")
        flow, other, raw, plain = computed([flow, other, raw, plain])
        assert set(flow.variations) == set(other.variations) == set(SCALES)
        assert raw.variations == ("nominal", "JES_up", "JES_down")
        assert plain.variations == ()
        for name in SCALES:
            those = in_variation(events, name)
            for label in ("hard", "~hard"):
                part, some = flow.select(x=label, variation=name), [e for e in those if passes(e, label)]
                assert part.to_dict() == cutflow(some, names, lambda e: e["weight"])
                assert part.alone["soft"] == row([e for e in some if e["soft"]], lambda e: e["weight"])
            assert other.select(variation=name).to_dict() == nminusone(those, names, lambda e: e["weight"])
        assert raw.select(variation="JES_up")["hard"] == {
            "raw": sum(e["a"] and e["hard"] for e in in_variation(events, "JES_up"))
        }


def test_variations_that_one_dataset_does_not_know():
    """It adds its nominal, in any order of adding up."""
    one, two, three = toy(), toy()[:3], toy()[3:5]
    flows = [
        toy_selection(one).cutflow(weights=hg.Weights(one).add("w", one.w)),
        toy_selection(two).cutflow(weights=hg.Weights(two).add("w", two.w, up=3.0 * two.w)),
        toy_selection(three).cutflow(weights=hg.Weights(three).add("w", three.w, down=0.0)),
    ]
    total = flows[0] + flows[1] + flows[2]
    assert total == flows[2] + flows[1] + flows[0] == flows[1] + (flows[2] + flows[0])
    assert total.variations == ("nominal", "w_up", "w_down")
    sums = [flow["half"]["nominal"]["sumw"] if flow.variations else flow["half"]["sumw"] for flow in flows]
    assert total["half"]["w_up"] == {**total["half"]["w_up"], "raw": 7, "sumw": sums[0] + 3 * sums[1] + sums[2]}
    assert total["half"]["w_down"]["sumw"] == sums[0] + sums[1]
    assert "nominal; .select(variation=...) has w_up, w_down" in repr(total)
    assert total != flows[0]


def toy():
    """Events of which half pass, and a quarter, with weights of both signs."""
    n = np.arange(8)
    return ak.Array({"half": n % 2 == 0, "quarter": n % 4 == 0, "w": np.where(n % 3 == 0, -1.0, 2.0)})


def toy_selection(events):
    return hg.Selection(events, half=events.half, quarter=events.quarter)


def test_printing():
    events = toy()
    flow = toy_selection(events).cutflow(weights=events.w, alone=True)
    assert repr(flow) == (
        "Cutflow\n"
        "cut         events  sumw     ±  efficiency  of the last  alone\n"
        "all events       8     7  4.80    100.00 %            -      8\n"
        "half             4     2  3.16     28.57 %      28.57 %      4\n"
        "quarter          2     1  2.24     14.29 %      50.00 %      2"
    )
    other = toy_selection(events).nminusone(categories={"x": ["half", "~half"]})
    assert repr(other) == (
        "x half\n"
        "cut              events  efficiency  all cuts of these\n"
        "all events            4    100.00 %                  -\n"
        "without half          2     50.00 %           100.00 %\n"
        "without quarter       4    100.00 %            50.00 %\n"
        "all cuts              2     50.00 %                  -\n"
        "\n"
        "x ~half\n"
        "cut              events  efficiency  all cuts of these\n"
        "all events            4    100.00 %                  -\n"
        "without half          0      0.00 %                  -\n"
        "without quarter       0      0.00 %                  -\n"
        "all cuts              0      0.00 %                  -"
    )
    page = hg.Selection(events, {"<b>": events.half}).cutflow()._repr_html_()
    assert "&lt;b&gt;" in page
    assert page.count("<tr>") == 3
    np.testing.assert_allclose(flow.efficiency, [1, 2 / 7, 1 / 7])
    np.testing.assert_allclose(flow.relative, [1, 2 / 7, 1 / 2])
    np.testing.assert_allclose(other.select(x="half").relative, [0.5, 1, 0.5, 1])
    assert np.isnan(other.select(x="~half").relative[1])


def test_before_it_is_computed():
    events = hg.from_awkward(toy(), npartitions=2)
    flow = toy_selection(events).cutflow(weights=events.w)
    assert repr(flow) == "<hepgraph.Cutflow of half, quarter: .compute()>"
    for use in (lambda: flow.raw, lambda: flow.to_pandas(), lambda: flow.plot(), lambda: flow["half"]):
        with pytest.raises(LazyError, match="before it is computed"):
            use()
    computed = flow.compute(progress=False)
    assert hg.compute({"x": computed}, progress=False) == {"x": computed}  # what is computed stays so


def test_a_plan_of_a_cutflow():
    """`explain` and `visualize` tell what it reads, and what its variations add."""
    events = hg.from_awkward(columns([{**dict.fromkeys(NAMES, True), "w": 1.0, "v": 2.0, "pt": [30.0]}]))
    selection, weights = varied(events)
    flow = selection.cutflow(weights=weights)
    assert set(hg.necessary_columns(flow)) == {"a", "pt", "w"}
    told = str(hg.explain({"flow": flow}))
    assert "JES_up" in told
    assert "w_up" in told
    assert "JES_up" in hg.visualize({"flow": flow}).svg
    assert hg.visualize(toy_selection(hg.from_awkward(toy())).cutflow()).svg.startswith("<svg")


def test_weights_by_place():
    events = toy()
    selection = toy_selection(events)
    weights = hg.Weights(events).add("w", events.w)
    assert selection.cutflow(weights) == selection.cutflow(weights=weights)
    assert selection.cutflow("half", weights)["half"] == {"raw": 4, "sumw": 2.0, "sumw2": 10.0}


def test_a_plot():
    events = toy()
    selection = toy_selection(events)
    figure = selection.cutflow(weights=events.w, categories={"x": ["half", "~half"]}).plot(ncols=2)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["x half", "x ~half"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["all events", "half", "quarter"]


def test_pandas():
    pytest.importorskip("pandas", reason="needs pandas")
    events = toy()
    flow = toy_selection(events).cutflow(weights=events.w, categories={"x": ["half", "~half"]})
    frame = flow.to_pandas()
    assert list(frame.columns) == ["raw", "sumw", "sumw2"]
    assert frame.loc[("half", "half"), "sumw"] == 2.0
    assert toy_selection(events).cutflow().to_pandas().loc["quarter", "raw"] == 2


def test_storing():
    """A cutflow is data, not a pickle, in a checkpoint."""
    events = toy()
    for flow in (
        toy_selection(events).cutflow(weights=events.w, alone=True),
        toy_selection(events).nminusone(categories={"x": ["half"]}),
    ):
        data, pickled = written({"flow": flow})
        assert pickled == []
        assert read(data) == {"flow": flow}


def analysis(events):
    """A processor that gives back what selections and weights give."""
    weights = hg.Weights(events).add("w", events.w)
    selection = toy_selection(events)
    return {
        "flow": selection.cutflow(weights=weights),
        "but one": {"x": selection.nminusone(weights=weights)},
        "weights": weights.statistics(),
    }


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_processors(tmp_path, executor):
    """Results of several datasets and chunks add up, traced and eager, and with a checkpoint."""
    array = toy()
    files = {}
    for name, part in {"one": array[:3], "two": array[3:]}.items():
        files[name] = [str(tmp_path / f"{name}.parquet")]
        ak.to_parquet(part, files[name][0])
    wanted = analysis(array)
    options = {"schema": None, "executor": executor, "progress": False, "step_size": 2}
    for eager in (False, True):
        assert hg.run(analysis, files, eager=eager, **options) == wanted
        for _ in range(2):
            kept = hg.run(analysis, files, eager=eager, checkpoint=tmp_path / f"{eager}", **options)
            assert kept == wanted
    assert kept["flow"]["quarter"] == {"raw": 2, "sumw": 1.0, "sumw2": 5.0}


def varied_analysis(events):
    selection, weights = varied(events)
    return {
        "flow": selection.cutflow(weights=weights, alone=True),
        "but one": selection.nminusone(categories={"x": ["a", "~a"]}),
        "weights": weights.statistics(),
        "h": hg.Hist.new.Reg(3, 0, 60, name="pt")
        .Weight()
        .fill(events.pt[selection.all("a", "hard")], weight=weights[selection.all("a", "hard")]),
    }


def test_processors_with_variations(tmp_path):
    """Recorded, or run once for each variation, chunk by chunk: the same."""
    rng = np.random.default_rng(3)
    n = rng.integers(0, 4, 50)
    events = {name: rng.random(50) < 0.6 for name in NAMES} | {"w": rng.integers(-8, 9, 50) / 4, "v": np.ones(50)}
    array = ak.zip(events | {"pt": ak.unflatten(rng.integers(0, 60, n.sum()) * 1.0, n)}, depth_limit=1)
    ak.to_parquet(array, tmp_path / "toy.parquet")
    wanted = hg.compute(varied_analysis(hg.from_awkward(array)), progress=False)
    assert wanted["flow"].variations
    for eager in (False, True):
        options = {"schema": None, "executor": "serial", "progress": False, "step_size": 20, "eager": eager}
        found = hg.run(varied_analysis, {"toy": [str(tmp_path / "toy.parquet")]}, **options)
        for name in ("flow", "but one", "weights"):
            assert found[name] == wanted[name], name
        for name in SCALES:
            np.testing.assert_array_equal(found["h"][:, name].view(flow=True), wanted["h"][:, name].view(flow=True))


def test_cutflows(says):
    events = toy()
    selection = toy_selection(events)
    flow, weighted = selection.cutflow(), selection.cutflow(weights=events.w)
    says(lambda: flow + weighted)
    says(lambda: flow + selection.cutflow("half"))
    says(lambda: flow + selection.nminusone())
    says(lambda: flow + selection.cutflow(alone=True))
    says(lambda: flow + selection.cutflow(categories={"x": ["half"]}))
    says(lambda: flow["haf"])
    says(lambda: flow.select(lepton="e"))
    says(lambda: flow.select(variation="JES_up"))
    assert flow.select(variation="nominal") == flow
    says(lambda: selection.cutflow(categories={"lepton": ["half"]}).select(lepton="hal"))
    says(selection.cutflow, weights=np.array([1.0]))
    says(selection.cutflow, weights=events.half[events.half])
    lazy = hg.from_awkward(events)
    lazy_selection = toy_selection(lazy)
    says(lambda: lazy_selection.cutflow() + lazy_selection.cutflow("half"))
    says(lambda: lazy_selection.cutflow().raw)
    says(lazy_selection.cutflow, weights=lazy.w[lazy.half])
    says(lazy_selection.cutflow, weights=hg.Weights(lazy[lazy.half]).add("w", lazy.w[lazy.half]))


def test_a_crossed_cutflow_counts_what_the_crossed_mask_passes():
    events = hg.from_awkward(ak.Array({"x": [1.0, 5.0, 9.0]}))
    x = hg.cross(hg.vary(events.x, "JES", up=events.x * 2), "JES_up", "btag_up")
    weights = hg.Weights(events).add("btag", 1.0, up=3.0)
    selection = hg.Selection(events, c=x > 6)
    for flow in (selection.cutflow(weights=weights, alone=True), selection.nminusone(weights=weights)):
        done = flow.compute(progress=False)
        last = done.labels[-1]
        for name, raw, sumw in (("nominal", 1, 1), ("btag_up", 1, 3), ("JES_up", 2, 2), ("JES_up+btag_up", 2, 6)):
            assert done.select(variation=name)[last] == {"raw": raw, "sumw": sumw, "sumw2": sumw**2 / raw}
            if done.alone is not None:
                assert done.alone.select(variation=name)["c"]["raw"] == raw

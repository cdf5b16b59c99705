"""Variations in processors: recorded and eager runs give the same, datasets without a variation add their nominal."""

from __future__ import annotations

from itertools import permutations

import awkward as ak
import numpy as np
import pytest
from drawing import Tape, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lazy_vary import Alone, Analysis, data, of, same, together

import hepgraph as hg
from hepgraph.errors import FillError, ProcessorError, VariationError, VariationWarning
from hepgraph.io.source import reads


class Drawn(hg.Processor):
    """A drawn analysis."""

    def __init__(self, tape, declare=together):
        self.tape, self.declare = tape, declare

    def process(self, events):
        return {"out": Analysis(Tape(self.tape))(events, self.declare)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("varied")


def stored(folder, seed):
    path = folder / f"{seed}.parquet"
    if not path.exists():
        ak.to_parquet(data(seed), str(path))
    return str(path)


def run(processor, fileset, **options):
    return hg.run(processor, fileset, schema="base", executor="serial", progress=False, **options)


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=40, max_size=40), st.integers(0, 5), st.sampled_from((None, 15)))
@pytest.mark.filterwarnings("ignore::hepgraph.errors.VariationWarning")
def test_eager_runs_give_the_same(folder, tape, seed, step):
    fileset = {"a": [stored(folder, seed)]}
    lazily = run(Drawn(tape), fileset, strict=True)["out"]
    eagerly = run(Drawn(tape), fileset, eager=True, step_size=step)["out"]
    look = Alone()
    Analysis(Tape(tape))(hg.from_awkward(data(seed)), look)
    for name in ["nominal", *look.names]:
        for key in lazily:
            a, b = of(lazily[key], name), of(eagerly[key], name)
            if isinstance(a, ak.Array):
                assert a.to_list() == b.to_list()
            elif a.dtype.names:
                for field in a.dtype.names:
                    np.testing.assert_allclose(a[field], b[field], rtol=1e-12, atol=1e-9)
            else:
                np.testing.assert_allclose(a, b, rtol=1e-12)


def branching(events):
    """A processor that cannot be recorded."""
    jets = events.jets
    events["jets"] = hg.vary(jets, "JES", up={"pt": jets.pt * 1.2}, down={"pt": jets.pt * 0.8})
    w = hg.vary(events.w, {"B_up": events.w * 2})
    good = events.jets[events.jets.pt > 20]
    if len(good) < 0:
        return None
    many = ak.num(good) >= 2
    own = hg.Hist.new.Reg(4, 0, 100, name="x").StrCat([], growth=True, name="variation").Weight()
    added = hg.Hist.new.Reg(4, 0, 100, name="x").Double()
    plain = hg.Hist.new.Reg(4, 0, 100, name="x").Double()
    return {
        "own": own.fill(events.met[many], weight=w[many]),
        "added": added.fill(ak.flatten(good.pt)),
        "plain": plain.fill(events.met),
        "n": {"events": len(events), "many": ak.sum(many)},
        "met": events.met[many],
    }


def by_hand(array, name):
    pt = array.jets.pt * {"JES_up": 1.2, "JES_down": 0.8}.get(name, 1)
    pt = pt[pt > 20]
    return pt, ak.num(pt) >= 2


@pytest.mark.parametrize("step", [None, 7])
def test_what_cannot_be_recorded(folder, step):
    array = data(2)
    out = run(branching, {"a": [stored(folder, 2)]}, eager=True, step_size=step)
    names = ["nominal", "JES_up", "JES_down", "B_up"]
    assert list(out["own"].axes["variation"]) == list(out["added"].axes["variation"]) == names
    assert out["plain"].ndim == 1
    assert out["n"]["events"] == len(array)
    for name in names:
        pt, many = by_hand(array, name)
        assert out["n"]["many"][name] == ak.sum(many)
        assert out["met"][name].to_list() == array.met[many].to_list()
        weights = np.asarray(array.w[many]) * (2 if name == "B_up" else 1)
        want = hg.Hist.new.Reg(4, 0, 100, name="x").Weight().fill(np.asarray(array.met[many]), weight=weights)
        np.testing.assert_allclose(
            out["own"][{"variation": name}].values(flow=True), want.values(flow=True), rtol=1e-12
        )
        want = hg.Hist.new.Reg(4, 0, 100, name="x").Double().fill(np.asarray(ak.flatten(pt)))
        assert np.array_equal(out["added"][{"variation": name}].values(flow=True), want.values(flow=True))


def only_simulated(events):
    """Data have no variations."""
    met = events.met
    if events.metadata["dataset"] != "data":
        met = hg.vary(met, "S", up=met * 2)
    own = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(4, 0, 100, name="x").Double()
    return {
        "own": own.fill(met),
        "added": hg.Hist.new.Reg(4, 0, 100, name="x").Double().fill(met),
        "n": ak.sum(met > 30),
    }


@pytest.mark.parametrize("eager", [False, True])
def test_datasets_without_a_variation_add_their_nominal(folder, eager):
    one, two = data(0).met, data(1).met
    fileset = {"mc": [stored(folder, 0)], "data": [stored(folder, 1)]}
    for order in (fileset, dict(reversed(fileset.items()))):
        out = run(only_simulated, order, eager=eager, strict=not eager)
        for name, f in (("nominal", 1), ("S_up", 2)):
            want = hg.Hist.new.Reg(4, 0, 100, name="x").Double().fill(np.concatenate([f * np.asarray(one), two]))
            for key in ("own", "added"):
                assert np.array_equal(out[key][{"variation": name}].values(flow=True), want.values(flow=True))
            assert out["n"][name] == ak.sum(one * f > 30) + ak.sum(two > 30)


def test_a_maximum_of_several_datasets_is_refused(folder):
    def most(events):
        return {"most": ak.max(hg.vary(events.met, "S", up=events.met * 2))}

    with pytest.raises(ProcessorError, match=r"\['most'\].*does not add up: several datasets have it"):
        run(most, {"a": [stored(folder, 0)], "b": [stored(folder, 1)]}, strict=True)
    alone = run(most, {"a": [stored(folder, 0)]}, strict=True)["most"]
    assert alone == {"nominal": ak.max(data(0).met), "S_up": 2 * ak.max(data(0).met)}


def test_crossed_eagerly(folder):
    def analysis(events):
        met = hg.cross(hg.vary(events.met, "S", up=events.met * 2), "S_up", "T_up")
        met = hg.vary(met, "T", up=met + 7)
        return {"met": met}

    fileset = {"a": [stored(folder, 0)]}
    lazily, eagerly = run(analysis, fileset, strict=True)["met"], run(analysis, fileset, eager=True)["met"]
    assert set(lazily) == set(eagerly) == {"nominal", "S_up", "T_up", "S_up+T_up"}
    for name in lazily:
        same(lazily[name], eagerly[name], name)


@pytest.mark.parametrize("shift", [1000, -1000, 0.0])
def test_keys_that_some_variations_lack(folder, shift):
    """A key that is not there is nothing: no events, no entries."""

    def analysis(events):
        met = hg.vary(events.met, "S", up=events.met + shift)
        out = {"n": len(met), "by": {}}
        if ak.any(met > 500):
            out["more"] = len(met)
            out["h"] = hg.Hist.new.Reg(2, 0, 2000, name="x").Weight().fill(met, weight=2.0)
            out["flow"] = hg.Selection(events, far=met > 500).cutflow()
            out["by"]["far"] = {"met": met, "pair": (1, [2.0]), "counts": np.ones(2)}
        if ak.any(met < -500):
            out["by"]["low"] = {"n": 1.5}
        return out

    whole = data(0).met
    n = len(whole)
    out = run(analysis, {"a": [stored(folder, 0)]}, eager=True)
    assert out["n"] == n
    if shift > 0:
        assert out["more"] == {"nominal": 0, "S_up": n}
        assert list(out["h"].axes["variation"]) == ["nominal", "S_up"]
        assert out["h"][{"variation": "nominal"}].sum(flow=True).value == 0
        assert out["h"][{"variation": "S_up"}].sum(flow=True).variance == 4 * n
        assert out["flow"].select(variation="nominal").raw.tolist() == [0, 0]
        assert out["flow"].select(variation="S_up").raw.tolist() == [n, n]
        far = out["by"]["far"]
        assert far["met"]["nominal"].to_list() == []
        assert far["met"]["S_up"].to_list() == (whole + shift).to_list()
        assert far["pair"] == ({"nominal": 0, "S_up": 1}, {"nominal": [], "S_up": [2.0]})
        assert {name: x.tolist() for name, x in far["counts"].items()} == {"nominal": [0, 0], "S_up": [1, 1]}
    elif shift < 0:
        assert out["by"] == {"low": {"n": {"nominal": 0.0, "S_up": 1.5}}}
        assert "more" not in out
    else:
        assert out["by"] == {}


def test_a_key_that_some_variations_lack_and_nobody_knows_empty(folder):
    class Largest:
        def __init__(self, x):
            self.x = x

        def __add__(self, other):
            return Largest(max(self.x, other.x))

    def analysis(events):
        met = hg.vary(events.met, "S", up=events.met + 1000)
        return {"n": len(met), **({"most": Largest(ak.max(met))} if ak.min(met) > 900 else {})}

    with pytest.raises(ProcessorError, match=r"output\['most'\], a Largest, is there in some variations"):
        run(analysis, {"a": [stored(folder, 0)]}, eager=True)


AXES = {
    "StrCat": lambda new: new.StrCat([], growth=True, name="n"),
    "IntCat": lambda new: new.IntCat([], growth=True, name="n"),
    "Integer": lambda new: new.Integer(0, 2, growth=True, name="n"),
    "Regular": lambda new: new.Reg(2, 0, 4, growth=True, name="n"),
}


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([*AXES]),
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.tuples(*[st.lists(st.integers(-7, 7), min_size=6, max_size=6)] * 2),
    st.sampled_from(["Double", "Weight", "Mean"]),
    st.booleans(),
    st.sampled_from([None, 3]),
)
def test_axes_that_grow_in_each_variation(tmp_path_factory, kind, numbers, tables, storage, own, step):
    """Eager runs know the categories and ranges of each variation; their bins are those of entries one by one."""
    path = str(tmp_path_factory.mktemp("grows") / "x.parquet")
    ak.to_parquet(ak.zip({"n": np.array(numbers)}), path, row_group_size=2)

    def analysis(events):
        n = hg.vary(
            events.n, {f"v{i}": ak.Array(np.array(table)[np.asarray(events.n)]) for i, table in enumerate(tables)}
        )
        new = hg.Hist.new.StrCat([], growth=True, name="variation") if own else hg.Hist.new
        h = getattr(AXES[kind](new), storage)()
        values = [f"c{i}" for i in n] if kind == "StrCat" else n
        return {"h": h.fill(n=values, **({"sample": np.asarray(n) * 2.0} if storage == "Mean" else {}))}

    h = run(analysis, {"a": [path]}, eager=True, step_size=step)["h"]
    for name, table in {"nominal": range(6), "v0": tables[0], "v1": tables[1]}.items():
        moved = [table[n] for n in numbers]
        one = h[{"variation": name}] if "variation" in h.axes.name else h
        view = one.view(flow=False)
        counts = view["count"] if storage == "Mean" else one.values()
        axis = one.axes["n"]
        expected = [0.0] * len(axis)
        for n in moved:
            at = list(axis).index(f"c{n}" if kind == "StrCat" else n) if kind.endswith("Cat") else axis.index(n)
            expected[at] += 1
        assert counts.tolist() == expected


PARTS = {"JXW": "JES and W, crossed", "J": "JES", "W": "W", "data": "nothing"}


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("names", [*permutations(PARTS, 4), *permutations(PARTS, 2)])
def test_a_dataset_knows_a_part_of_a_combination(folder, names, eager):
    """`JES_up+W_up` is JES_up of what knows no W, and W_up of what knows no JES, whatever comes first."""
    paths = {name: stored(folder, i) for i, name in enumerate(PARTS)}

    def analysis(events):
        name, met = events.metadata["dataset"], events.met
        weights = hg.Weights(events).add("n", 1.0)
        if "J" in name:
            met = hg.vary(met, "JES", up=met * 2)
        if "X" in name:
            met = hg.cross(met, "JES_up", "W_up")
        if "W" in name:
            weights.add("W", 1.0, up=3.0)
        return {
            "h": hg.Hist.new.Reg(3, 0, 100, name="met").Weight().fill(met, weight=weights),
            "flow": hg.Selection(events, far=met > 20).cutflow(weights=weights),
            "n": ak.sum(met > 20),
        }

    out = run(analysis, {name: [paths[name]] for name in names}, eager=eager, strict=not eager)

    def met_of(name, variation):
        return np.asarray(data(list(PARTS).index(name)).met) * (2 if "J" in name and "JES_up" in variation else 1)

    if any(len(name) < 4 for name in names):
        for variation in out["h"].axes["variation"] if "variation" in out["h"].axes.name else ["nominal"]:
            mets = {name: met_of(name, variation) for name in names}
            scale = {name: 3 if "W" in name and "W_up" in variation else 1 for name in names}
            counts = sum(scale[n] * np.histogram(mets[n], bins=3, range=(0, 100))[0] for n in names)
            h = out["h"][{"variation": variation}] if "variation" in out["h"].axes.name else out["h"]
            assert h.values().tolist() == counts.tolist()
            row = out["flow"].select(variation=variation)["far"]
            assert row["raw"] == sum(int(np.sum(mets[n] > 20)) for n in names)
            assert row["sumw"] == sum(scale[n] * int(np.sum(mets[n] > 20)) for n in names)
            if isinstance(out["n"], dict) and variation in out["n"]:
                assert out["n"][variation] == sum(int(np.sum(mets[n] > 20)) for n in names)


@pytest.mark.parametrize("eager", [False, True])
def test_a_combination_that_one_dataset_was_not_asked_for(folder, eager):
    def analysis(events):
        met = hg.vary(events.met, "JES", up=events.met * 2)
        if events.metadata["dataset"] == "a":
            met = hg.cross(met, "JES_up", "W_up")
        met = hg.vary(met, "W", up=events.met * 3)
        return {"by": {"h": hg.Hist.new.Reg(3, 0, 100, name="met").Double().fill(met)}}

    for names in ("ab", "ba"):
        fileset = {name: [stored(folder, i)] for i, name in enumerate(names)}
        with reads() as seen, pytest.raises(VariationError, match=r"hg\.cross, whatever the dataset") as error:
            run(analysis, fileset, eager=eager, strict=not eager)
        assert error.value.__notes__ == ["in output['by']['h']"]
        assert eager or not seen


def test_a_fill_by_hand_with_what_varies(folder):
    """Eager runs refuse it as recorded ones do; what does not vary may have any names."""

    def analysis(events):
        met = hg.vary(events.met, "JES", up=events.met * 2)
        h = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(3, 0, 100, name="met").Double()
        return {"h": h.fill(variation="nominal", met=met if events.metadata["dataset"] == "a" else events.met)}

    for eager in (False, True):
        with pytest.raises(FillError, match="Leave variation= out"):
            run(analysis, {"a": [stored(folder, 0)]}, eager=eager)
        assert list(run(analysis, {"b": [stored(folder, 0)]}, eager=eager)["h"].axes["variation"]) == ["nominal"]


def test_a_list_of_histograms_of_each_chunk(folder):
    """It would have as many as there are chunks."""

    def analysis(events):
        return {"l": [hg.Hist.new.Reg(3, 0, 100, name="met").Double().fill(events.met)]}

    with pytest.raises(ProcessorError, match=r"output\['l'\] is a list with histograms.*a dict or a tuple"):
        run(analysis, {"a": [stored(folder, 0)]}, eager=True)
    assert len(run(analysis, {"a": [stored(folder, 0)]}, strict=True)["l"]) == 1


def test_data_filled_by_hand_beside_simulation(folder):
    def analysis(events):
        h = hg.Hist.new.StrCat([], growth=True, name="variation").Reg(3, 0, 100, name="met").Double()
        if events.metadata["dataset"] == "data":
            return {"h": h.fill(variation="nominal", met=events.met)}
        return {"h": h.fill(met=hg.vary(events.met, "JES", up=events.met * 2))}

    fileset = {"mc": [stored(folder, 0)], "data": [stored(folder, 1)]}
    with pytest.warns(VariationWarning, match="adds nothing to JES_up. If it is to be there as in the nominal"):
        out = run(analysis, fileset, strict=True)["h"]
    assert out[{"variation": "JES_up"}].sum(flow=True) == len(data(0))
    assert out[{"variation": "nominal"}].sum(flow=True) == len(data(0)) + len(data(1))


def test_errors_of_the_user_are_told(folder):
    def analysis(events):
        return {"met": hg.variation(hg.vary(events.met, "S", up=events.met * 2), "S_upp")}

    with pytest.raises(VariationError, match="Nearest names: S_up"):
        run(analysis, {"a": [stored(folder, 0)]})


def test_whether_it_adds_up_is_looked_at_for_the_nominal(folder, tmp_path):
    """An alternative runs once a chunk: it adds up as the nominal does."""
    ak.to_parquet(ak.Array({"x": np.arange(1.0, 101.0)}), folder / "hundred.parquet")
    calls = tmp_path / "calls.txt"

    def process(events):
        x = hg.vary(events.x, "s", up=2 * events.x)
        with calls.open("a") as file:
            file.write("up\n" if ak.any(x != events.x) else "nominal\n")
        return {"n": ak.sum(x > 50), "h": hg.Hist.new.Reg(2, 0, 100, name="x").Double().fill(x)}

    out = run(process, {"a": [str(folder / "hundred.parquet")]}, eager=True, step_size=50)
    assert out["n"] == {"nominal": 50, "s_up": 75}
    lines = calls.read_text().split()
    assert lines.count("up") == 2
    assert lines.count("nominal") > 2  # looked at in parts

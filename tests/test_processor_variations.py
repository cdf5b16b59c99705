"""Variations in processors: recorded and eager runs give the same, datasets without a variation add their nominal."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from drawing import Tape, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lazy_vary import Alone, Analysis, data, of, same, together

import hepgraph as hg
from hepgraph.errors import ProcessorError, VariationError


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


def test_keys_of_the_nominal(folder):
    def analysis(events):
        met = hg.vary(events.met, "S", up=events.met + 1000)
        return {"n": len(met), **({"more": len(met)} if ak.min(met) > 900 else {})}

    with pytest.raises(ProcessorError, match="'more' in the variation 'S_up' alone"):
        run(analysis, {"a": [stored(folder, 0)]}, eager=True)


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

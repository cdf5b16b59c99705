"""Masks of flat columns are looked at first; baskets in which no event passes are not read."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.compute import passes
from hepgraph.errors import SourceError
from hepgraph.io.root import RootSource

CYCLES, LENGTH = 8, 50


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Baskets of 50 events, of which `run` is the number; noise does not compress."""
    path = str(tmp_path_factory.mktemp("late") / "a.root")
    rng = np.random.default_rng(4)
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        for cycle in range(CYCLES):
            counts = rng.integers(0, 4, LENGTH)
            pt, eta = (ak.unflatten(rng.random(counts.sum()).astype("f4"), counts) for _ in range(2))
            data = {
                "run": np.full(LENGTH, cycle, np.int32),
                "met": (rng.random(LENGTH) + cycle).astype(np.float32),
                "good": rng.random(LENGTH) < 0.5,
                "xyz": rng.random((LENGTH, 3)),
                "weight": rng.random(LENGTH),
                "Jet": ak.zip({"pt": pt, "eta": eta}),
            }
            if cycle == 0:
                kinds = {
                    name: (value.dtype, value.shape[1:]) if isinstance(value, np.ndarray) else value.type.content
                    for name, value in data.items()
                }
                tree = file.mktree("Events", kinds)
            tree.extend(data)
    return path


def results(events):
    jets = events.Jet[events.Jet.pt > 0.3]
    return {
        "pt": hg.Hist.new.Reg(20, 0, 1, name="pt").Weight().fill(jets.pt, weight=events.weight),
        "n": ak.num(events, axis=0),
        "sum": ak.sum(jets.eta),
        "jets": jets.pt,
        "xyz": events.xyz,
        "first": ak.firsts(events.Jet.eta),
        "good": events.good,
    }


def computed(tree, **options):
    return hg.compute(tree, executor="serial", progress=False, report=True, **options)


def same(one, two):
    assert list(one) == list(two)
    for name in one:
        equal = ak.array_equal(one[name], two[name]) if isinstance(one[name], ak.Array) else one[name] == two[name]
        assert equal, name


MASKS = {
    "a run": lambda e: e.run == 3,
    "a range": lambda e: (e.met > 2.5) & (e.met < 3.5),
    "either": lambda e: (e.run < 1) | (e.run > 6),
    "calculated": lambda e: np.sqrt(e.met * e.met + 1) > 7,
    "none": lambda e: e.met > 100,
    "all": lambda e: e.met > -1,
    "by flag": lambda e: (e.run == 2) & e.good,
}


@pytest.mark.parametrize("engine", ["auto", "interpreter"])
@pytest.mark.parametrize("name", MASKS)
def test_the_result_is_that_of_reading_all(path, name, engine, monkeypatch):
    def run():
        events = hg.from_root(path, schema="nanoaod", step_size=130)
        return computed(results(events[MASKS[name](events)]), engine=engine)

    late, report = run()
    monkeypatch.setattr(RootSource, "skips", False)
    plain, all_of_it = run()
    same(late, plain)
    assert all_of_it.skipped == 0
    assert (report.skipped > 0) == (name != "all")
    assert report.complete
    assert report.bytes == all_of_it.bytes
    assert ("passed over" in repr(report)) == (name != "all")


@given(
    runs=st.sets(st.integers(0, CYCLES)),
    step=st.integers(20, 500),
    cut=st.floats(0, 1),
    engine=st.sampled_from(["auto", "interpreter"]),
)
@settings(deadline=None, max_examples=25)
def test_any_runs_in_any_ranges(path, runs, step, cut, engine):
    events = hg.from_root(path, schema="nanoaod", step_size=step)
    mask = events.run == 99
    for run in runs:
        mask = mask | (events.run == run)
    chosen = events[mask]
    late, _ = computed({"pt": chosen.Jet[chosen.Jet.pt > cut].pt, "w": ak.sum(chosen.weight)}, engine=engine)
    with uproot.open(path) as file:
        eager = file["Events"].arrays()
    eager = eager[np.isin(eager.run, list(runs))]
    assert ak.array_equal(late["pt"], eager.Jet_pt[eager.Jet_pt > cut])
    assert late["w"] == pytest.approx(float(np.sum(eager.weight)), rel=1e-12)


def test_what_is_not_read_is_counted(path):
    events = hg.from_root(path, schema="nanoaod", step_size=CYCLES * LENGTH)
    with uproot.open(path) as file:
        keys = {name: file["Events"][name].member("fBasketBytes")[:CYCLES] for name in ("weight", "Jet_pt")}
    _, report = computed(hg.Hist.new.Reg(2, 0, 1).Double().fill(events[events.run == 5].Jet.pt))
    assert report.skipped == sum(keys["Jet_pt"]) - keys["Jet_pt"][5]
    _, report = computed(ak.sum(events[(events.run == 5) | (events.run == 6)].weight))
    assert report.skipped == sum(keys["weight"]) - sum(keys["weight"][5:7])


@pytest.mark.parametrize(
    "what",
    [
        lambda e: {"cut": ak.sum(e[e.run == 3].weight), "all": ak.sum(e.weight)},  # somebody looks at every event
        lambda e: ak.sum(e[ak.num(e.Jet) > 2].weight),  # the mask is not of flat columns
        lambda e: ak.sum(e[ak.sum(e.Jet.pt, axis=1) > 2].weight),
        lambda e: ak.sum(hg.map_partitions(lambda x: x * 2, e[e.run == 3].weight)),  # a function of all at once
        lambda e: ak.sum(e[e.run == 3].run),  # there is nothing more to read
    ],
)
def test_where_all_is_read_at_once(path, what):
    events = hg.from_root(path, schema="nanoaod")
    (each,) = passes(what(events))[0]
    assert each.masks == ()
    assert computed(what(events))[1].skipped == 0


def test_damage_where_nobody_looks(path, tmp_path):
    """A basket that is not read is not checked; one that is read is."""
    copy = tmp_path / "bad.root"
    data = bytearray(Path(path).read_bytes())
    with uproot.open(path) as file:
        seek = int(file["Events"]["weight"].member("fBasketSeek")[2])
    data[seek : seek + 4] = b"\xff\xff\xff\xff"
    copy.write_bytes(data)
    events = hg.from_root(str(copy), schema="nanoaod", step_size=CYCLES * LENGTH)
    assert computed(ak.sum(events[events.run == 5].weight))[0] > 0
    with pytest.raises(SourceError, match="'weight'"):
        computed(ak.sum(events[events.run == 2].weight))


def test_a_column_cache_gets_all(path, tmp_path):
    events = hg.from_root(path, schema="nanoaod", cache=tmp_path / "cache", step_size=200)
    first, one = computed(results(events[events.run == 3]))
    second, two = computed(results(events[events.run == 4]))
    plain = hg.from_root(path, schema="nanoaod", step_size=200)
    same(first, computed(results(plain[plain.run == 3]))[0])
    same(second, computed(results(plain[plain.run == 4]))[0])
    assert (one.skipped, two.skipped) == (0, 0)
    assert two.cached > 0

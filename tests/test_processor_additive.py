"""Outputs of a processor that runs eagerly add up from chunk to chunk, or are refused."""

import math

import awkward as ak
import hist
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import FallbackWarning, ProcessorError
from hepgraph.processor.additive import amounts

RNG = np.random.default_rng(3)
COUNT = 40
DATA = {"x": RNG.exponential(20, COUNT), "k": RNG.integers(0, 5, COUNT), "y": RNG.normal(0, 1, COUNT)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    pq.write_table(pa.table(DATA), folder / "a.parquet", row_group_size=COUNT)
    return folder


def run(process, path, **options):
    options = {"executor": "serial", "progress": False, "schema": "base", "eager": True, **options}
    return hg.run(process, path if isinstance(path, dict) else {"a": [str(path)]}, **options)


def same(one, two):
    if one is None or two is None:
        return one is two
    if isinstance(one, float | np.floating) and math.isnan(one):
        return math.isnan(two)
    return bool(np.all(np.isclose(np.asarray(one, float), np.asarray(two, float), rtol=1e-9, atol=1e-12)))


def loop(x):
    best = 0.0
    for each in x.to_list():
        best = max(best, each)
    return best


# What users return of an array of numbers, one for each event: sums and counts, what can be recorded, what cannot.
SUMS = {
    "ak.sum": ak.sum,
    "float(ak.sum)": lambda x: float(ak.sum(x)),
    "np.sum": lambda x: np.sum(np.asarray(x)),
    "len": len,
    "len of some": lambda x: len(x[x > 3]),
    "int": lambda x: int(ak.sum(x > 3)),
    "loop": lambda x: sum(1 for each in x.to_list() if each > 3),
    "twice": lambda x: 2 * ak.sum(x) - ak.count(x, axis=None),
    "counts": lambda x: np.histogram(np.asarray(x), 40, (0, 10))[0],
    "0-d": lambda x: np.asarray(np.sum(np.asarray(x))),
    "nothing": lambda x: 0,
    "dict": lambda x: float(ak.sum(x)) if len(x) else 0,
}
OTHERS = {
    "ak.max": ak.max,
    "float(ak.max)": lambda x: float(ak.max(x, initial=0)),
    "ak.min": ak.min,
    "np.max": lambda x: np.max(np.asarray(x)),
    "max of floats": lambda x: max([0.0, *np.asarray(x).tolist()]),
    "loop": loop,
    "ak.mean": ak.mean,
    "np.mean": lambda x: np.mean(np.asarray(x)) if len(x) else 0.0,
    "ak.std": ak.std,
    "ak.var": lambda x: float(ak.var(x)),
    "ratio": lambda x: float(ak.sum(x > 3)) / len(x) if len(x) else 0.0,
    "square": lambda x: float(ak.sum(x)) ** 2,
    "root": lambda x: math.sqrt(float(ak.sum(x * x))),
    "constant": lambda x: 1,
    "more": lambda x: ak.sum(x) + 5,
    "first": lambda x: float(x[0]) if len(x) else 0.0,
    "numbers": lambda x: x.to_numpy(),
    "some numbers": lambda x: np.asarray(x)[np.asarray(x) > 3],
    "bincount": lambda x: np.bincount(np.asarray(x, int)),
    "highest": lambda x: np.maximum.reduce(np.histogram(np.asarray(x), 4, (0, 10))[0], initial=0),
}
numbers = st.lists(
    st.sampled_from([0.0, 0.0, 0.0, 1.0, 3.5, 4.0, 9.0]) | st.floats(0, 10, width=32), min_size=1, max_size=40
)


@example([0.0, 0.0, 3.5, 0.0, 0.0, 0.0], ["highest"], 1)  # any two, three, four parts of these add up
@settings(deadline=None)
@given(numbers, st.lists(st.sampled_from([*SUMS, *OTHERS]), min_size=1, max_size=3, unique=True), st.integers(1, 41))
def test_the_same_as_all_at_once_or_refused(tmp_path_factory, values, names, step):
    """Whatever a processor returns, and however the events are cut; sums and counts are never refused."""
    path = tmp_path_factory.mktemp("drawn") / "a.parquet"
    pq.write_table(pa.table({"x": values}), path, row_group_size=len(values))
    rules = {name: (SUMS.get(name) or OTHERS[name]) for name in names}
    try:
        wanted = {name: rule(ak.Array(values)) for name, rule in rules.items()}
        out = run(lambda events: {name: rule(events.x) for name, rule in rules.items()}, path, step_size=step)
    except ProcessorError:
        assert not set(names) <= set(SUMS)
        return
    for name in names:
        assert same(out[name], wanted[name]), name


@settings(deadline=None)
@given(
    numbers,
    st.sampled_from(["ak.sum", "ak.max", "ak.mean", "ak.std", "twice", "ak.min"]),
    st.booleans(),
    st.integers(1, 41),
)
def test_recorded_or_not(tmp_path_factory, values, name, untraceable, step):
    """One line that cannot be recorded does not change a number: it is the same, or refused."""
    path = tmp_path_factory.mktemp("drawn") / "a.parquet"
    pq.write_table(pa.table({"x": values}), path, row_group_size=len(values))
    rule = SUMS.get(name) or OTHERS[name]

    def process(events):
        return {"n": len(events) if untraceable else ak.num(events, axis=0), "value": rule(events.x)}

    def out():
        return run(process, path, step_size=step, eager=False)

    try:
        if untraceable:
            with pytest.warns(FallbackWarning):
                found = out()
        else:
            found = out()
    except ProcessorError:
        assert untraceable
        assert name not in SUMS
        return
    assert found["n"] == len(values)
    assert same(found["value"], rule(ak.Array(values)))


def test_what_is_said(folder):
    path = folder / "a.parquet"
    with pytest.raises(ProcessorError) as caught:
        run(lambda events: {"cut": {"best": float(np.max(events.x, initial=0))}}, path, step_size=10)
    assert "output['cut']['best'] does not add up: " in str(caught.value)
    assert "for the events" in str(caught.value)
    assert f"{np.max(DATA['x']):.6g} for the events" in str(caught.value)
    assert "in a list, [ak.max(x)], of which postprocess takes the maximum" in str(caught.value)
    for step in (10, 100):
        with pytest.raises(
            ProcessorError, match=r"output\['x'\] does not add up: a NumPy array of the shape \(40,\)"
        ) as caught:
            run(lambda events: {"x": events.x.to_numpy()}, path, step_size=step)
        assert "return ak.Array(x) to have them joined, or fill a histogram" in str(caught.value)


def test_what_to_write(folder):
    """The advice of the messages works."""
    path = folder / "a.parquet"

    class Advised(hg.Processor):
        def process(self, events):
            return {"x": ak.Array(events.x.to_numpy()), "most": [float(ak.max(events.x, initial=0))], "n": len(events)}

        def postprocess(self, accumulator):
            accumulator["most"] = max(accumulator["most"])

    out = run(Advised(), path, step_size=7)
    assert out["x"].to_list() == DATA["x"].tolist()
    assert out["most"] == DATA["x"].max()
    assert out["n"] == COUNT


def test_histograms_add_up_or_not(folder):
    def filled(x):
        return hist.Hist.new.Reg(4, 0, 80, name="x").Double().fill(np.asarray(x))

    path = folder / "a.parquet"
    assert run(lambda events: {"h": filled(events.x)}, path, step_size=7)["h"] == filled(DATA["x"])
    with pytest.raises(ProcessorError, match=r"output\['h'\] does not add up: in all bins 1 for"):
        run(lambda events: {"h": filled(events.x) / max(len(events), 1)}, path, step_size=7)
    means = hist.Hist.new.Reg(4, 0, 80, name="x").Mean()
    out = run(lambda events: {"h": means.copy().fill(events.x, sample=events.y)}, path, step_size=7)
    assert np.allclose(out["h"].values(), means.copy().fill(DATA["x"], sample=DATA["y"]).values())
    grown = hist.Hist.new.IntCat([], growth=True, name="k").Weight()
    out = run(lambda events: {"h": grown.copy().fill(np.asarray(events.k))}, path, step_size=3)
    assert out["h"].sum().value == COUNT


def test_numbers_that_are_drawn(folder):
    """Parts draw other numbers than all events at once; that is no reason to refuse."""

    def smeared(events):
        factor = np.random.default_rng(5).normal(1, 0.1, len(events))
        return {"n": int(np.sum(np.asarray(events.x) * factor > 18)), "sum": float(np.sum(events.x * factor))}

    assert 0 < run(smeared, folder / "a.parquet", step_size=10)["n"] < COUNT

    def mean(events):
        return {"mean": float(np.mean(events.x * np.random.default_rng().normal(1, 0.1, len(events))))}

    def constant(events):
        return {"n": 1, "random": int(np.random.default_rng().integers(2) * 0)}

    def best(events):
        return {"best": float(np.max(events.x * np.random.default_rng().normal(1, 0.1, len(events)), initial=0))}

    for process in (mean, constant, best):
        with pytest.raises(ProcessorError, match=r"output\['(mean|n|best)'\] does not add up"):
            run(process, folder / "a.parquet", step_size=10)


def test_parts_that_fail_are_made_larger(folder):
    def process(events):
        assert len(events) > 12
        return {"n": len(events), "best": float(ak.max(events.x)) if best else 0.0}

    best = False
    assert run(process, folder / "a.parquet", step_size=20)["n"] == COUNT
    best = True
    with pytest.raises(ProcessorError, match=r"output\['best'\] does not add up: .* sum of 2 parts"):
        run(process, folder / "a.parquet", step_size=20)


def test_what_fails_on_parts_is_no_error_of_the_whole(folder):
    def process(events):
        assert len(events) > 20
        return {"n": len(events)}

    assert run(process, folder / "a.parquet") == {"n": COUNT}


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_wherever_it_runs(folder, executor):
    path = folder / "a.parquet"
    assert run(lambda events: {"n": len(events)}, path, step_size=5, executor=executor) == {"n": COUNT}
    with pytest.raises(ProcessorError, match=r"output\['n'\] does not add up"):
        run(lambda events: {"n": float(ak.mean(events.x))}, path, step_size=5, executor=executor)


def test_several_datasets(folder):
    """A recorded number that is no sum is one of its dataset; so it is, by the name of that."""
    fileset = {name: [str(folder / "a.parquet")] for name in "ab"}
    options = {"eager": False, "step_size": 7}

    def by_name(events):
        return {events.metadata["dataset"]: {"max": ak.max(events.x), "mean": ak.mean(events.x)}}

    out = run(by_name, fileset, **options)
    for name in "ab":
        assert same(out[name]["max"], DATA["x"].max())
        assert same(out[name]["mean"], DATA["x"].mean())
    sums = run(lambda e: {"n": 3 * ak.num(e, axis=0), "s": (ak.sum(e.x) - ak.sum(e.y)) / 2}, fileset, **options)
    assert sums["n"] == 6 * COUNT
    assert same(sums["s"], DATA["x"].sum() - DATA["y"].sum())
    for name in ("ak.max", "ak.mean", "ak.std", "more"):
        rule = OTHERS[name]
        assert same(
            run(lambda e, rule=rule: {"v": rule(e.x)}, {"a": fileset["a"]}, **options)["v"], rule(ak.Array(DATA["x"]))
        )
        with pytest.raises(ProcessorError, match=r"output\['v'\] does not add up: several datasets have it") as caught:
            run(lambda e, rule=rule: {"v": rule(e.x)}, fileset, **options)
        assert "events.metadata['dataset']" in str(caught.value)
        assert "test_processor_additive.py" in str(caught.value)


def test_amounts():
    found = amounts(
        {"a": (1, np.ones(2)), "l": [3], "s": {4}, "h": hist.Hist.new.Reg(2, 0, 1).Int64(), "x": ak.Array([1])}
    )
    assert {place: value.shape for place, value in found.items()} == {"['a'][0]": (), "['a'][1]": (2,), "['h']": (4,)}

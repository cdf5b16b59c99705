"""Row groups that statistics exclude are not read, and nothing else changes: results, counts of events, errors."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.graph.canonical import apply
from hepgraph.graph.node import literal
from hepgraph.graph.ops import OPS
from hepgraph.graph.predicate import Predicate
from hepgraph.io.parquet import source as parquet
from hepgraph.io.source import reads
from hepgraph.runner.compute import passes

COMPARE = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
DTYPES = {
    np.dtype(kind): st.integers(np.iinfo(kind).min, np.iinfo(kind).max) | st.integers(0, 5)
    for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
} | {
    np.dtype("float32"): st.floats(width=32) | st.sampled_from([0.0, -0.0, 0.1, 1.0]).map(np.float32).map(float),
    np.dtype("float64"): st.floats() | st.sampled_from([0.0, -0.0, 0.1, 1.0]),
}


def run(x):
    return hg.compute(x, executor="serial", progress=False, report=True)


def same(a, b):
    if isinstance(a, ak.Array):
        return ak.array_equal(a, b, equal_nan=True)
    return a == b if hasattr(a, "axes") else np.array_equal(a, b, equal_nan=True)


@st.composite
def compared(draw):
    dtype = draw(st.sampled_from(sorted(DTYPES, key=str)))
    values = np.array(draw(st.lists(DTYPES[dtype], min_size=1, max_size=12)), dtype)
    value = draw(st.sampled_from(values.tolist()) | st.integers(-(2**70), 2**70) | st.floats() | st.just(0.1))
    kinds = [kind for kind in ("int64", "float32", "float64") if kind != "int64" or isinstance(value, int)]
    if abs(value) < 2**62 and draw(st.booleans()):
        value = np.dtype(draw(st.sampled_from(kinds))).type(value)
    return values, value, draw(st.sampled_from(sorted(COMPARE))), draw(st.booleans())


@settings(max_examples=examples(40), deadline=None)
@given(compared(), st.integers(1, 4), st.integers(1, 5), st.booleans())
@example((np.array([np.nan, 1.0]), 5.0, "<", False), 2, 2, False)
@example((np.array([0.1], np.float32), 0.1, "==", False), 1, 1, False)
@example((np.array([0.0], np.float32), 3.4028235677973366e38, "!=", False), 1, 1, False)
def test_one_comparison(tmp_path_factory, case, group, step, ordered):
    values, value, op, turned = case
    values = np.sort(values) if ordered else values
    path = str(tmp_path_factory.mktemp("c") / "x.parquet")
    schema = pa.schema([pa.field("x", pa.from_numpy_dtype(values.dtype), False), pa.field("y", pa.int64(), False)])
    pq.write_table(pa.table({"x": values, "y": np.arange(len(values))}, schema), path, row_group_size=group)
    events = hg.from_parquet(path, step_size=step)
    with np.errstate(all="ignore"):
        mask = COMPARE[op](value, values) if turned else COMPARE[op](values, value)
    cut = events[COMPARE[op](value, events.x) if turned else COMPARE[op](events.x, value)]
    out, report = run({"rows": cut.y, "n": ak.num(cut, axis=0), "sum": ak.sum(cut.y), "place": cut.x})
    assert out["rows"].to_list() == np.arange(len(values))[mask].tolist()
    assert out["n"] == np.count_nonzero(mask)
    assert out["sum"] == np.arange(len(values))[mask].sum()
    np.testing.assert_array_equal(out["place"], values[mask])
    assert report.complete
    assert report.events == len(values)
    assert report.excluded == 0 or op != "!="
    assert report.excluded <= len(values) - np.count_nonzero(mask)


@settings(max_examples=examples(200), deadline=None)
@given(compared())
def test_extremes_tell_what_is_possible(case):
    values, value, op, turned = case
    name = {"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal", "==": "equal"}.get(op)
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if name is None or not len(known):
        return
    test = OPS[name].meaning
    with np.errstate(all="ignore"):
        passed = test(value, values) if turned else test(values, value)
    possible = Predicate("x", name, value, turned).possible(values.dtype, known.min().item(), known.max().item())
    assert possible or not passed.any()


# expressions of every kind, on data in which the cut column grows, so that many row groups fail

JETS = pa.list_(pa.field("item", pa.struct([pa.field("pt", pa.float64(), False)]), False))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(5)
    n = 60
    jets = [[{"pt": float(pt)} for pt in rng.integers(0, 50, rng.integers(0, 4))] for _ in range(n)]
    met = np.sort(rng.uniform(0, 100, n)).astype(np.float32)
    met[[3, 40]] = np.nan
    columns = {
        "met": pa.array(met),
        "run": pa.array(np.repeat([1, 2, 3], n // 3)),
        "weight": pa.array(rng.uniform(0, 1, n)),
        "maybe": pa.array([None if k % 7 == 0 else float(k) for k in range(n)]),
        "Jet": pa.array(jets, JETS),
    }
    fields = [pa.field(name, array.type, name == "maybe") for name, array in columns.items()]
    path = tmp_path_factory.mktemp("cuts") / "x.parquet"
    pq.write_table(pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields)), path, row_group_size=7)
    return str(path)


def predicates_of(x):
    (each,) = passes(x)[0]
    return [f"{cut.column} {cut.op} {cut.value}" for cut in each.predicates]


def histogram(e):
    jets = e.Jet[e.Jet.pt > 10]
    return hg.Hist.new.Reg(10, 0, 50, name="pt").Weight().fill(ak.flatten(jets.pt), weight=1.0)


GOOD = {
    "rows": lambda e: e[e.met > 80].weight,
    "both ends": lambda e: e[(e.met > 30) & (e.met <= 60)].Jet.pt,
    "in two steps": lambda e: (lambda a: a[a.run == 3])(e[e.weight < 0.9]).met,
    "records": lambda e: e[e.met >= 90][["met", "Jet"]],
    "sum": lambda e: ak.sum(e[e.run == 2].Jet.pt, axis=None),
    "sum of each": lambda e: ak.sum(e[e.met > 80].Jet.pt, axis=1),
    "number": lambda e: ak.num(e[e.met < 10], axis=0),
    "mean": lambda e: ak.mean(e[e.met > 70].weight),
    "largest": lambda e: ak.max(e[e.met > 70].Jet.pt, axis=None),
    "pairs": lambda e: ak.combinations(e[e.met > 70].Jet, 2, fields=["a", "b"]).b.pt,
    "first, checked after the cut": lambda e: (
        lambda a: a[ak.num(a.Jet) > 0].Jet.pt[:, 0]  # the cut is among the masks of the check
    )(e[e.met > 80]),
    "place": lambda e: ak.local_index(e.met, axis=0)[e.met > 80],
    "cut jets": lambda e: (lambda a: a.Jet[a.Jet.pt > 20].pt)(e[e.run == 3]),
    "flat": lambda e: ak.flatten(e[e.met > 80].Jet.pt),
    "sorted": lambda e: ak.sort(e[e.met > 80].Jet.pt, axis=1),
    "turned": lambda e: e[e.met < 20].Jet.pt,
    "histogram": lambda e: histogram(e[e.met > 80]),
    "with None beside": lambda e: e[e.met > 80].maybe,
}
NOT = {
    "no cut": lambda e: e.met,
    "not equal": lambda e: e[e.run != 1].met,
    "negated": lambda e: e[~(e.met < 80)].met,
    "either": lambda e: e[(e.met > 80) | (e.run == 1)].met,
    "two columns": lambda e: e[e.met > e.weight * 100].met,
    "a list": lambda e: e.Jet[e.Jet.pt > 40].pt,
    "may be None": lambda e: e[e.maybe > 50].met,
    "a function": lambda e: hg.map_partitions(lambda x: x * 2, e.met)[e.met > 80],
    "masked": lambda e: ak.mask(e.weight, e.met > 80),
    "spread": lambda e: (lambda a: ak.unflatten(ak.flatten(a.Jet.pt), ak.num(a.Jet) + 0))(e[e.met > 80]),
}


@pytest.mark.parametrize("name", [*GOOD, *NOT])
@pytest.mark.parametrize("step", [5, 7, 20, 100])
def test_results_are_those_of_reading_everything(path, limit, name, step):
    work = GOOD.get(name) or NOT[name]
    got, report = run(work(hg.from_parquet(path, step_size=step)))
    limit(pushdown=0)
    wanted, whole = run(work(hg.from_parquet(path, step_size=step)))
    assert same(got, wanted)
    assert report.complete
    assert (report.events, whole.excluded) == (60, 0)
    assert (report.excluded > 0) == (name in GOOD)
    assert report.bytes < whole.bytes or name in NOT


def test_which_cuts_are_found(path):
    e = hg.from_parquet(path)
    assert predicates_of(GOOD["both ends"](e)) == ["met greater 30", "met less_equal 60"]
    assert predicates_of(GOOD["in two steps"](e)) == ["run equal 3", "weight less 0.9"]
    assert all(predicates_of(work(e)) == [] for name, work in NOT.items())
    both = {"a": e[e.met > 80].run, "b": ak.sum(e[(e.met > 80) & (e.run == 3)].weight)}
    assert predicates_of(both) == ["met greater 80"]
    assert predicates_of(both | {"c": e.run}) == []
    assert predicates_of({"h": histogram(e[e.met > 80]), "n": ak.num(e[e.met > 80], axis=0)}) == ["met greater 80"]


def test_explain_tells_the_cuts(path):
    e = hg.from_parquet(path)
    said = "leaves out row groups in which, by their statistics, no event has met > 30 and met <= 60"
    assert said in str(hg.explain(GOOD["both ends"](e))).splitlines()
    assert "leaves out" not in str(hg.explain(NOT["either"](e)))
    assert str(Predicate("met", "less", 20, turned=True)) == "20 < met"


def test_a_number_may_come_first(path):
    e = hg.from_parquet(path)
    turned = type(e)(e.run._form, e._rows, (apply("greater", [literal(20), e.met._form.node]),))
    assert predicates_of(turned) == ["met greater 20"]
    (each,) = passes(turned)[0]
    assert each.predicates[0].turned
    out, report = run(turned)
    assert out.to_list() == run(e.run[e.met < 20])[0].to_list()
    assert report.excluded > 0


def test_a_check_that_excluded_events_would_fail_still_fails(path):
    """`x[:, 0]` before the cut looks at all events."""
    e = hg.from_parquet(path)
    first = e.Jet.pt[:, 0]
    assert predicates_of(first[e.met > 80]) == []
    with pytest.raises(errors.RangeError, match="index 0 is out of range"):
        run(first[e.met > 80])


def test_nothing_is_read_of_ranges_that_are_excluded(path):
    e = hg.from_parquet(path, step_size=7)
    out, report = run(ak.sum(e[e.met > 1000].weight))
    assert out == 0
    assert report.excluded == report.events == 60
    assert report.bytes == 0
    assert repr(report).startswith("<hepgraph.Report 60 events (complete, 60 of them excluded by statistics), 9 ranges")
    parquet.kept.clear()
    with reads() as seen:
        run(e[e.met > 1000].weight)
    assert {reading.column for reading in seen} == {"met", "weight"}


def test_files_without_statistics_and_changed_files(tmp_path):
    path = tmp_path / "x.parquet"
    table = pa.table(
        {"x": pa.array(range(10)), "y": range(10)}, pa.schema([pa.field(n, pa.int64(), False) for n in "xy"])
    )
    pq.write_table(table, path, row_group_size=2, write_statistics=False)
    e = hg.from_parquet(path, step_size=2)
    out, report = run(e[e.x > 7].y)
    assert out.to_list() == [8, 9]
    assert report.excluded == 0
    pq.write_table(table, path, row_group_size=5)
    with pytest.raises(errors.SourceError, match="changed after it was opened"):
        run(e[e.x > 7].y)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_every_executor_skips_the_same(path, executor):
    e = hg.from_parquet(path, step_size=7)
    out, report = hg.compute(ak.sum(e[e.run == 2].weight), executor=executor, progress=False, report=True)
    assert out == run(ak.sum(e[e.run == 2].weight))[0]
    assert report.excluded == 60 - 28  # the row groups from 14 to 42 have events of run 2

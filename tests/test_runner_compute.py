"""Computing: nests of results, one pass over the data, reports, heads, plans in words and pictures."""

from __future__ import annotations

import collections
import concurrent.futures
import html
import math
import pickle
import xml.etree.ElementTree as ET
from collections import Counter, namedtuple

import awkward as ak
import hist
import numpy as np
import pytest
import uproot

import hepgraph as hg
from hepgraph.errors import LazyError
from hepgraph.io.source import Need, reads
from hepgraph.plan import analysis
from hepgraph.runner.compute import passes

ARRAY = ak.Array(
    {
        "x": np.arange(10.0),
        "y": np.arange(10) % 3,
        "j": [[1.0, 2.0], [], [3.0], [4.0, 5.0, 6.0], [], [7.0], [], [8.0], [9.0], [10.0]],
    }
)
Pair = namedtuple("Pair", "one two")


def lazy(npartitions=3):
    return hg.from_awkward(ARRAY, npartitions=npartitions)


@pytest.fixture
def root_file(tmp_path):
    """A ROOT file with 100 events, jets in lists of nJet."""
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 4, 100)
    jets = ak.zip({"pt": ak.unflatten(rng.exponential(30, counts.sum()), counts)})
    jets["eta"] = ak.unflatten(rng.normal(0, 2, counts.sum()), counts)
    path = tmp_path / "small.root"
    with uproot.recreate(path) as file:
        arrays = {"Jet": jets, "MET_pt": rng.exponential(20, 100), "MET_phi": rng.uniform(-3, 3, 100)}
        file.mktree(
            "Events",
            {name: ak.type(array).content for name, array in arrays.items() if name == "Jet"}
            | {"MET_pt": "f8", "MET_phi": "f8"},
        ).extend(arrays)
    return str(path)


def events_of(path, npartitions=1):
    return hg.from_root(path, schema="nanoaod").repartition(npartitions)


# nests


def test_nests_keep_their_shape():
    events = lazy()
    h = hg.Hist.new.Reg(3, 0, 3, name="x").Double().fill(events.x)
    tree = {
        "list": [events.x, 1, "text", None],
        "tuple": (ak.sum(events.x), [h]),
        "named": Pair(events.y, {"deep": ak.num(events.j, axis=0)}),
        "ordered": collections.OrderedDict(b=ak.max(events.x), a=2),
        "default": collections.defaultdict(list, one=events.y + 1),
        "counter": Counter("aab"),
        "eager": ARRAY.x,
        3: {"h": h},
    }
    out = hg.compute(tree)
    assert list(out) == list(tree)
    assert out["list"][0].to_list() == ARRAY.x.to_list()
    assert out["list"][1:] == [1, "text", None]
    assert out["tuple"][0] == 45.0
    assert type(out["tuple"][1][0]) is hist.Hist
    assert type(out["named"]) is Pair
    assert out["named"].one.to_list() == ARRAY.y.to_list()
    assert out["named"].two == {"deep": 10}
    assert list(out["ordered"].items()) == [("b", 9.0), ("a", 2)]
    assert type(out["ordered"]) is collections.OrderedDict
    assert out["default"]["one"].to_list() == (ARRAY.y + 1).to_list()
    assert out["default"].default_factory is list
    assert out["counter"] == Counter("aab")
    assert out["eager"] is ARRAY.x or out["eager"].to_list() == ARRAY.x.to_list()
    assert out[3]["h"] == out["tuple"][1][0]
    assert isinstance(tree["list"][0], hg.Lazy), "the caller's nest is left alone"


def test_nothing_lazy():
    assert hg.compute({"a": [1, 2]}) == {"a": [1, 2]}
    assert hg.compute(None) is None
    out, report = hg.compute([1], report=True)
    assert out == [1]
    assert report.rows == []
    assert report.complete


def test_a_tuple_in_a_tuple_and_the_same_thing_twice():
    x = lazy().x
    one, (two,) = hg.compute((x, (x,)))
    assert one.to_list() == two.to_list() == ARRAY.x.to_list()


def test_several_datasets_at_once():
    other = hg.from_awkward(ak.Array({"x": [100.0, 200.0]}), npartitions=2)
    out, report = hg.compute({"a": ak.sum(lazy().x), "b": ak.sum(other.x), "c": other.x}, report=True)
    assert (out["a"], out["b"], out["c"].to_list()) == (45.0, 300.0, [100.0, 200.0])
    assert (report.events, report.expected, len(report.rows)) == (12, 12, 5)


# one pass


@pytest.mark.parametrize("npartitions", [1, 2, 5])
def test_each_column_of_each_partition_is_read_once(root_file, npartitions):
    events = events_of(root_file, npartitions)
    h = hg.Hist.new.Reg(3, 0, 90, name="pt").Double().fill(events.Jet.pt)
    central = events.Jet[abs(events.Jet.eta) < 1]
    tree = {"h": h, "n": ak.sum(ak.num(central)), "pt": central.pt, "met": ak.max(events.MET.pt)}
    with reads() as seen:
        hg.compute(tree, executor="serial")
    times = Counter(reading.column for reading in seen)
    assert set(times) == set(hg.necessary_columns(tree)) == {"Jet_pt", "Jet_eta", "nJet", "MET_pt"}
    assert set(times.values()) == {npartitions}


def test_what_is_not_asked_for_is_not_read(root_file):
    events = events_of(root_file)
    with reads() as seen:
        x = events.Jet.pt * events.MET.phi
        h = hg.Hist.new.Reg(3, 0, 90, name="pt").Double().fill(x)
        hg.necessary_columns(h)
        str(hg.explain(h, events=0))
        hg.visualize(h)
        assert seen == []
        hg.compute(ak.num(events.Jet))
    assert {reading.column for reading in seen} <= {"nJet", "Jet_pt", "Jet_eta"}
    assert [reading.need for reading in seen if reading.column != "nJet"] in ([], [Need.COUNTS])


def test_necessary_columns(root_file):
    events = events_of(root_file)
    sizes = hg.necessary_columns([events.MET.pt, events.Jet.eta])
    assert list(sizes) == ["Jet_eta", "MET_pt", "nJet"]
    assert all(size > 0 for size in sizes.values())
    assert hg.necessary_columns({}) == {}


# executors


EXECUTORS = [
    "serial",
    "threads",
    "processes",
    hg.executors.Serial(),
    hg.executors.Threads(2),
    hg.executors.Processes(1),
]


@pytest.mark.parametrize("executor", EXECUTORS, ids=lambda e: e if isinstance(e, str) else f"{e!r} object")
def test_executors_agree_to_the_last_bit(root_file, executor):
    events = events_of(root_file, 7)
    tree = {
        "sum": ak.sum(events.Jet.pt),
        "array": events.Jet.pt * np.sin(events.MET.phi),
        "h": hg.Hist.new.Reg(10, 0, 90, name="pt").Weight().fill(events.Jet.pt, weight=events.MET.pt),
    }
    plain = hg.compute(tree, executor="serial")
    out = hg.compute(tree, executor=executor)
    assert out["sum"] == plain["sum"]
    assert ak.array_equal(out["array"], plain["array"])
    assert out["h"] == plain["h"]


def test_pools_of_the_user(root_file):
    x = events_of(root_file, 7).Jet.pt
    expected = x.compute(executor="serial")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert ak.array_equal(x.compute(executor=pool), expected)
        assert ak.array_equal(x.compute(executor=hg.executors.Futures(pool)), expected)
        assert pool.submit(int, 3).result() == 3, "the pool stays open"


def test_engine_by_name():
    assert ak.sum(lazy().x).compute(engine="interpreter") == 45.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"executor": "thread"}, ValueError, "executor must be one of serial, threads, processes.*not 'thread'"),
        ({"executor": 3}, TypeError, "int is no executor"),
        ({"engine": "fast"}, ValueError, "engine must be one of auto, interpreter.*not 'fast'"),
        ({"scheduler": "sync"}, TypeError, "no argument scheduler=. Use executor="),
        ({"optimize_graph": True}, TypeError, "no argument optimize_graph="),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        hg.compute(lazy().x, **options)
    with pytest.raises(error, match=message):
        lazy().x.compute(**options)


def test_errors_name_the_range(root_file):
    def bad(x):
        raise KeyError("mine")

    events = events_of(root_file, 2)
    with pytest.raises(KeyError, match="mine") as caught:
        hg.map_partitions(bad, events.MET.pt, meta=events.MET.pt.head(0)).compute(executor="serial")
    assert any("small.root" in note and "[0:50]" in note for note in caught.value.__notes__)


# the report


def test_report(root_file):
    events = events_of(root_file, 4)
    out, report = hg.compute(ak.sum(events.MET.pt), executor="threads", report=True)
    assert out > 0
    assert (report.events, report.expected, report.complete) == (100, 100, True)
    assert [(row.start, row.stop, row.events) for row in report.rows] == [(i, i + 25, 25) for i in (0, 25, 50, 75)]
    assert {row.path for row in report.rows} == {root_file}
    assert {row.names for row in report.rows} == {("MET_pt",)}
    assert report.bytes == 100 * 8
    assert report.seconds > 0
    assert repr(report).startswith("<hepgraph.Report 100 events (complete), 4 ranges")
    assert "small.root" in report.table()
    assert "75:100" in report._repr_html_()


# heads, persisted arrays, other ranges


def test_head_reads_the_beginning_alone(root_file):
    events = events_of(root_file, 4)
    eager = events.Jet.pt.compute()
    with reads() as seen:
        assert ak.array_equal(events.Jet.pt.head(3), eager[:3])
    assert {reading.column for reading in seen} == {"Jet_pt", "nJet"}
    assert len(events.MET.pt.head(1000)) == 25, "no more than the first partition"
    assert len(events.MET.pt.head(0)) == 0
    assert events.head(2).MET.pt.to_list() == events.MET.pt.head(2).to_list()


def test_head_with_cuts(root_file):
    events = events_of(root_file, 2)
    chosen = events[events.MET.pt > 20].MET.pt
    expected = chosen.compute()
    assert chosen.head(4).to_list() == expected[:4].to_list()
    rare = events[events.MET.pt > 1e9].MET.pt
    assert len(rare.head(4)) == 0
    assert ak.sum(events.MET.pt).head() == ak.sum(events.MET.pt).compute()


def test_persist(root_file):
    x = events_of(root_file, 3).Jet
    kept = x[x.pt > 20].persist()
    assert isinstance(kept, hg.Lazy)
    assert kept.npartitions == 3
    with reads() as seen:
        assert ak.array_equal(kept.pt.compute(), x[x.pt > 20].pt.compute())
    assert root_file not in {reading.path for reading in seen[:1]}
    with pytest.raises(LazyError, match="one number"):
        ak.sum(x.pt).persist()


@pytest.mark.parametrize("npartitions", [1, 2, 7, 100, 130])
def test_repartition(root_file, npartitions):
    events = events_of(root_file)
    other = events.repartition(npartitions)
    assert (events.npartitions, other.npartitions) == (1, npartitions)
    assert ak.array_equal(other.Jet.pt.compute(), events.Jet.pt.compute())
    cut = events.Jet.pt[events.MET.pt > 10]
    again = cut.repartition(npartitions)
    assert again.npartitions == npartitions
    assert ak.array_equal(again.compute(), cut.compute())
    _, report = hg.compute(again, report=True)
    assert len(report.rows) == npartitions


def test_repartition_by_step_size(root_file):
    events = events_of(root_file)
    assert events.repartition(step_size=30).npartitions == 3
    assert 9 <= events.MET.pt.repartition(step_size="80 B").npartitions <= 12
    with pytest.raises(ValueError, match="step_size"):
        events.repartition(step_size=0)
    with pytest.raises(ValueError, match="npartitions"):
        events.repartition(0)


# the plan, in words and as a picture


def test_explain(root_file):
    events = events_of(root_file, 4)
    central = events.Jet[abs(events.Jet.eta) < 1]
    h = hg.Hist.new.Reg(3, 0, 90, name="pt").Double().fill(central.pt)
    lines = str(hg.explain({"h": h, "n": ak.sum(ak.num(central))})).splitlines()
    assert lines[0] == "1 dataset, 2 results, 1 pass over the data"
    assert f"{root_file}: 100 entries in 4 partitions" in lines[2]
    assert lines[3].startswith("engine: the kernel (2 results); ")
    reading = next(i for i, line in enumerate(lines) if line.startswith("reads 3 of "))
    described = {line.split()[0]: line for line in lines[reading + 1 : reading + 4]}
    assert set(described) == {"Jet_eta", "Jet_pt", "nJet"}
    assert "test_runner_compute.py:" in described["Jet_eta"]
    assert "steps:" in lines
    assert hg.explain(h)._repr_html_().startswith("<pre>")
    assert str(hg.explain(h)) == repr(hg.explain(h))


def test_one_of_a_kind_is_no_plural(root_file):
    """What pages and texts say of one partition, one entry, one range."""
    events = events_of(root_file, 4)
    one = hg.from_awkward(ak.Array({"x": [1.0]}))
    name = one.source.name
    assert f"<b>lazy array</b> of {root_file}: 4 partitions<pre>" in events.MET.pt._repr_html_()
    assert one.x._repr_html_().startswith(f"<b>lazy array</b> of {html.escape(name)}: 1 partition<pre>")
    cut = one[one.x > 0]
    assert f"{html.escape(name)}: 1 partition, 1 cut<pre>" in cut.x._repr_html_()
    assert ": 1 partition, 2 cuts<pre>" in cut[cut.x < 2].x._repr_html_()
    _, report = hg.compute(ak.sum(one.x), executor="serial", report=True)
    assert repr(report).startswith("<hepgraph.Report 1 event (complete), 1 range, ")
    lines = str(hg.explain(ak.sum(one.x))).splitlines()
    assert lines[2] == f"dataset {name}: 1 entry in 1 partition"
    assert str(hg.explain(one.x)).splitlines()[3].endswith("; 1 operation")
    assert any(line.startswith("reads 1 of 1 column, ") for line in lines)


def test_explain_shows_the_loops_and_why_the_interpreter_is_used(root_file):
    events = events_of(root_file)
    h = hg.Hist.new.Reg(3, 0, 90, name="pt").Double().fill(events.Jet.pt[events.Jet.pt > 20])
    text = str(hg.explain([h, ak.sum(events.MET.pt * 1j, axis=None)], kernel=True))
    assert "the kernel (1 result) and the interpreter (1 result: the sum of complex" in text
    assert "for each of Jet:" in text[text.index("loops, for each event:") :]


def test_explain_says_what_is_opaque(root_file):
    def half(x):
        return x / 2

    events = events_of(root_file)
    made = hg.map_partitions(half, events.MET.pt)
    text = str(hg.explain(made))
    assert "opaque: " in text
    assert "half" in text


def test_explain_several_datasets():
    text = str(hg.explain([lazy(1).x, lazy(2).x]))
    assert text.startswith("2 datasets, 2 results, 2 passes over the data")


def _boxes(svg):
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    return "".join(root.itertext())


def test_visualize(root_file, tmp_path):
    events = events_of(root_file)
    central = events.Jet[abs(events.Jet.eta) < 1]
    h = hg.Hist.new.Reg(3, 0, 90, name="pt").Double().fill(central.pt, weight=events.MET.pt)
    path = tmp_path / "graph.svg"
    picture = hg.visualize({"pt <all> & more": h, "n": ak.sum(ak.num(central))}, path)
    assert path.read_text() == picture.svg == picture._repr_svg_()
    text = _boxes(picture.svg)
    for word in ("Jet_pt", "Jet_eta", "MET_pt"):
        assert word in text
    assert "hepgraph picture" in repr(picture)
    for thing in (h, central.pt, events, ak.sum(central.pt), [h, h]):
        _boxes(hg.visualize(thing).svg)
    _boxes(h.visualize().svg)
    _boxes(central.pt.visualize().svg)
    with pytest.raises(ValueError, match=r"graph\.svg"):
        hg.visualize(h, tmp_path / "graph.png")


# progress


def test_progress_is_silent_when_told_or_unseen(capfd):
    for progress in (False, None):
        lazy(5).x.compute(progress=progress)
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_when_asked(capfd):
    lazy(5).x.compute(progress=True, executor="serial")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "hepgraph, serial" in captured.err
    assert "10 events" in captured.err


def test_what_a_pass_needs_is_found_out_once_in_each_process(monkeypatch):
    calls = []
    real = analysis.needs_of
    monkeypatch.setattr(analysis, "needs_of", lambda order: calls.append(1) or real(order))
    events = hg.from_awkward(ak.Array({"x": [1.0, 2.0, 3.0], "y": [1, 2, 3]}), npartitions=3)
    ((each,), _) = passes(ak.sum(events.x))
    size = len(pickle.dumps(each))
    assert [each.run(partition)[1].names for partition in each.partitions()] == [("x",)] * 3
    assert each.columns() == each.needs()[each.origin]
    assert len(calls) == 1
    assert len(pickle.dumps(each)) == size, "it does not travel"
    pickle.loads(pickle.dumps(each)).needs()
    assert len(calls) == 2


@pytest.mark.parametrize("npartitions", [1, 2, 7])
@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_sums_of_the_dataset_are_rounded_once(npartitions, engine):
    """Whatever the partitions: float32 numbers, added up in float32, would depend on them from the fifth digit on."""
    numbers = np.random.default_rng(0).random(3000).astype(np.float32)
    x = hg.from_awkward(ak.unflatten(numbers, [3] * 1000), npartitions=npartitions)
    total = ak.sum(x).compute(engine=engine, progress=False)
    assert total.dtype == np.float32
    assert total == np.float32(math.fsum(numbers.tolist()))

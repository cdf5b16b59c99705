"""Masks are looked at first; baskets and pages in which no event passes are not read."""

from itertools import count
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pytest
import uproot
from baskets import extended
from columns import to_awkward
from drawing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limiting import limited
from ntuple_writer import BY_NAME, COLLECTION, ColumnOf, FieldOf, Written, write

import hepgraph as hg
from hepgraph.errors import ShapeError, SourceError
from hepgraph.io.required import Loaded
from hepgraph.io.source import Need, Partition
from hepgraph.io.trees import handles
from hepgraph.plan.late_materialisation import Turn, Turns, excerpt
from hepgraph.runner.compute import passes

CYCLES, LENGTH = 8, 50
BUSY = (2, 5)  # the cycles with events of several muons


def steps():
    """Baskets, or clusters, of 50 events, of which `run` is the number; noise does not compress."""
    rng = np.random.default_rng(4)
    for cycle in range(CYCLES):
        counts = rng.integers(0, 4, LENGTH)
        pt, eta = (ak.unflatten(rng.random(counts.sum()).astype("f4"), counts) for _ in range(2))
        muons = rng.integers(0, 4 if cycle in BUSY else 2, LENGTH)
        muon = {name: ak.unflatten(rng.random(muons.sum()) + (cycle in BUSY), muons) for name in ("pt", "eta", "phi")}
        yield {
            "run": np.full(LENGTH, cycle, np.int32),
            "met": (rng.random(LENGTH) + cycle).astype(np.float32),
            "good": rng.random(LENGTH) < 0.5,
            "xyz": rng.random((LENGTH, 3)),
            "weight": rng.random(LENGTH),
            "Jet": ak.zip({"pt": pt, "eta": eta}),
            "Muon": ak.zip(muon),
        }


def as_ntuple(path, branches):
    """The same as `baskets.extended`, as an RNTuple, with a cluster for each step."""
    made = None
    with uproot.recreate(path, compression=None) as file:
        for each in branches:
            step = ak.Array({name: ak.Array(values) for name, values in each.items()})
            if made is None:
                made = file.mkrntuple("Events", step)
            else:
                made.extend(step)
    return str(path)


WRITERS = {"TTree": extended, "RNTuple": as_ntuple}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("late")
    return {kind: writer(folder / f"{kind}.root", steps()) for kind, writer in WRITERS.items()}


@pytest.fixture(autouse=True)
def little_is_enough(limit):
    """Masks of lists are tried in small files, too."""
    limit(late_least=0)


@pytest.fixture(params=WRITERS)
def path(request, paths):
    return paths[request.param]


@pytest.fixture(scope="module")
def tree(paths):
    return paths["TTree"]


@pytest.fixture
def all_read(limit):
    """Turns late materialisation off."""
    return lambda: limit(late=0)


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
    "two muons": lambda e: ak.num(e.Muon) >= 2,
    "hard muons": lambda e: ak.sum(e.Muon.pt > 1, axis=1) >= 2,
    "any muon": lambda e: ak.any((e.Muon.pt > 1.5) & (e.Muon.eta < 1.9), axis=1),
    "chosen muons": lambda e: ak.num(e.Muon[e.Muon.pt > 1]) > 1,
    "a run with muons": lambda e: (ak.num(e.Muon) >= 2) & (e.run == 2),
    "no muons there": lambda e: (ak.num(e.Muon) >= 2) & (e.run == 3),
    "highest": lambda e: ak.max(e.Muon.pt, axis=1, mask_identity=False) > 1.5,
    "by every event": lambda e: ak.num(e.Muon) >= 0,
}


@pytest.mark.parametrize("engine", ["auto", "interpreter"])
@pytest.mark.parametrize("name", MASKS)
def test_the_result_is_that_of_reading_all(path, name, engine, all_read):
    def run():
        events = hg.from_root(path, schema="nanoaod", step_size=130)
        return computed(results(events[MASKS[name](events)]), engine=engine)

    late, report = run()
    all_read()
    plain, all_of_it = run()
    same(late, plain)
    assert all_of_it.skipped == 0
    assert (report.skipped > 0) == (name not in ("all", "by every event"))
    assert report.complete
    assert report.bytes == all_of_it.bytes
    assert ("passed over" in repr(report)) == (report.skipped > 0)


@given(
    runs=st.sets(st.integers(0, CYCLES)),
    step=st.integers(20, 500),
    cut=st.floats(0, 1),
    engine=st.sampled_from(["auto", "interpreter"]),
    kind=st.sampled_from(list(WRITERS)),
)
@settings(deadline=None, max_examples=examples(25))
def test_any_runs_in_any_ranges(paths, runs, step, cut, engine, kind):
    events = hg.from_root(paths[kind], schema="nanoaod", step_size=step)
    mask = events.run == 99
    for run in runs:
        mask = mask | (events.run == run)
    chosen = events[mask]
    late, _ = computed({"pt": chosen.Jet[chosen.Jet.pt > cut].pt, "w": ak.sum(chosen.weight)}, engine=engine)
    with uproot.open(paths["TTree"]) as file:
        eager = file["Events"].arrays()
    eager = eager[np.isin(eager.run, list(runs))]
    assert ak.array_equal(late["pt"], eager.Jet_pt[eager.Jet_pt > cut])
    assert late["w"] == pytest.approx(float(np.sum(eager.weight)), rel=1e-12)


@st.composite
def drawn_steps(draw):
    """Steps of drawn sizes; in some there are many muons."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    sizes = draw(st.lists(st.integers(1, 25), min_size=1, max_size=8))
    found = []
    for number, size in enumerate(sizes):
        muons = rng.integers(0, 5 if draw(st.booleans()) else 2, size)
        jets = rng.integers(0, 4, size)
        found.append(
            {
                "run": np.full(size, number, np.int32),
                "met": rng.random(size) * 3,
                "Muon": ak.zip({name: ak.unflatten(rng.random(muons.sum()) * 3, muons) for name in ("pt", "eta")}),
                "Jet": ak.zip({name: ak.unflatten(rng.random(jets.sum()) * 3, jets) for name in ("pt", "mass")}),
            }
        )
    return found


PARTS = {
    "count": lambda e, n, x: ak.num(e.Muon) >= n,
    "count of chosen": lambda e, n, x: ak.num(e.Muon[e.Muon.pt > x]) == n,
    "sum": lambda e, n, x: ak.sum(e.Muon.pt > x, axis=1) >= n,
    "any": lambda e, n, x: ak.any(e.Muon.eta > x, axis=1),
    "all": lambda e, n, x: ak.all(e.Muon.pt > x, axis=1),
    "highest": lambda e, n, x: ak.max(e.Muon.pt, axis=1, mask_identity=False) > x,
    "both": lambda e, n, x: ak.num(e.Muon) + ak.num(e.Jet) > 2 * n,
    "flat": lambda e, n, x: e.met < x,
    "run": lambda e, n, x: e.run == n,
}
numbers = count()  # of remote files: their names are not used again
parts = st.tuples(st.sampled_from(list(PARTS)), st.integers(0, 4), st.floats(0, 3))


@given(
    steps=drawn_steps(),
    masks=st.lists(parts, min_size=1, max_size=3),
    kind=st.sampled_from(list(WRITERS)),
    step=st.integers(5, 120),
    block=st.integers(1, 8),
    remote=st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_masks_of_lists(steps, masks, kind, step, block, remote, tmp_path):
    """By the interpreter: each other mask is another kernel to compile."""
    path = WRITERS[kind](tmp_path / "a.root", steps)
    if remote:
        away = f"memory://late-{next(numbers)}.root"
        with open(path, "rb") as file, fsspec.open(away, "wb") as copy:
            copy.write(file.read())
        path = away

    def run():
        events = hg.from_root(path, schema="nanoaod", step_size=step)
        for name, n, x in masks:
            events = events[PARTS[name](events, n, x)]
        jets = events.Jet[events.Jet.pt > 1]
        made = {"jets": jets.mass, "muons": events.Muon.pt, "all": ak.sum(events.Muon.eta), "met": events.met}
        made |= {"both": hg.Hist.new.Reg(5, 0, 3).Reg(5, 0, 3).Weight().fill(jets.pt, jets.mass, weight=events.met)}
        return computed(made, engine="interpreter")

    with limited(late_block=block, late_blocks=2):
        late, report = run()
    with limited(late=0):
        plain, all_of_it = run()
    if remote:
        fsspec.filesystem("memory").rm(path)
    same(late, plain)
    assert report.bytes == all_of_it.bytes
    assert all_of_it.skipped == 0
    handles.clear()


def basket_bytes(tree, name):
    with uproot.open(tree) as file:
        return file["Events"][name].member("fBasketBytes")[:CYCLES].tolist()


def test_what_is_not_read_is_counted(tree):
    events = hg.from_root(tree, schema="nanoaod", step_size=CYCLES * LENGTH)
    weight, jets, etas = (basket_bytes(tree, name) for name in ("weight", "Jet_pt", "Muon_eta"))
    _, report = computed(hg.Hist.new.Reg(2, 0, 1).Double().fill(events[events.run == 5].Jet.pt))
    assert report.skipped == sum(jets) - jets[5]
    _, report = computed(ak.sum(events[(events.run == 5) | (events.run == 6)].weight))
    assert report.skipped == sum(weight) - sum(weight[5:7])
    some = events[ak.num(events.Muon) >= 2]
    _, report = computed({"weight": ak.sum(some.weight), "eta": ak.sum(some.Muon.eta)})
    assert report.skipped == sum(weight) + sum(etas) - sum(weight[at] + etas[at] for at in BUSY)


def test_what_is_not_read_of_an_rntuple_is_counted(paths):
    events = hg.from_root(paths["RNTuple"], schema="nanoaod", step_size=CYCLES * LENGTH)
    page = 8 * LENGTH  # of weights, which are not compressed
    _, report = computed(ak.sum(events[events.run == 5].weight))
    assert report.skipped == (CYCLES - 1) * page
    _, report = computed(ak.sum(events[ak.num(events.Muon) >= 2].weight))
    assert report.skipped == (CYCLES - len(BUSY)) * page


def test_where_there_is_little_to_read_masks_of_lists_are_not_tried(path, limit):
    events = hg.from_root(path, schema="nanoaod", step_size=CYCLES * LENGTH)
    some = events[ak.num(events.Muon) >= 2]
    (each,) = passes({"xyz": some.xyz, "weight": some.weight})[0]
    stored = sum(events.source.columns[name].bytes for name, need in each.columns().items() if need is Need.DATA)
    limit(late_least=stored + 1)
    assert computed(some.xyz)[1].skipped == 0
    assert computed({"xyz": some.xyz, "weight": some.weight})[1].skipped == 0
    limit(late_least=stored)
    assert computed({"xyz": some.xyz, "weight": some.weight})[1].skipped > 0


def test_without_a_schema_too(tree):
    """Where the branch that counts is not asked for, it is read all the same."""
    events = hg.from_root(tree, step_size=CYCLES * LENGTH)
    jets = basket_bytes(tree, "Jet_pt")
    _, report = computed(ak.sum(events[events.run == 5].Jet_pt))
    assert report.skipped == sum(jets) - jets[5]


@pytest.mark.parametrize("kind", WRITERS)
def test_one_event_in_each_basket_is_enough(kind, tmp_path):
    """Nothing is passed over; and masks of lists are not looked at everywhere then."""

    def step(at):
        counts = np.where(np.arange(20) == at, 3, 1)
        muon = {name: ak.unflatten(np.ones(counts.sum()), counts) for name in ("pt", "eta", "phi")}
        return {"x": 1.0 * (np.arange(20) == at), "weight": np.ones(20), "Muon": ak.zip(muon)}

    path = WRITERS[kind](tmp_path / "a.root", map(step, range(16)))
    events = hg.from_root(path, schema="nanoaod", step_size=20)
    for mask in (events.x == 1, ak.num(events.Muon) >= 3, ak.sum(events.Muon.pt, axis=1) > 2):
        some = events[mask]
        found, report = computed({"w": ak.sum(some.weight), "eta": ak.sum(some.Muon.eta), "phi": ak.sum(some.Muon.phi)})
        assert found == {"w": 16, "eta": 48, "phi": 48}
        assert report.skipped == 0


WHERE_NOT = {
    "somebody looks at every event": lambda e: {"cut": ak.sum(e[e.run == 3].weight), "all": ak.sum(e.weight)},
    "a function of all at once": lambda e: ak.sum(hg.map_partitions(lambda x: x * 2, e[e.run == 3].weight)),
    "there is nothing more to read": lambda e: ak.sum(e[e.run == 3].run),
    "most bytes are the mask's": lambda e: ak.sum(e[ak.sum(e.Jet.pt * e.Jet.eta, axis=1) > 2].weight),
    "pairs": lambda e: ak.sum(e[ak.num(ak.combinations(e.Muon, 2)) > 1].weight),
    "much work": lambda e: ak.sum(e[ak.sum(sum(e.Jet.pt > i / 9 for i in range(9)), axis=1) > 2].xyz),
}


@pytest.mark.parametrize("name", WHERE_NOT)
def test_where_all_is_read_at_once(path, name):
    what = WHERE_NOT[name]
    events = hg.from_root(path, schema="nanoaod")
    (each,) = passes(what(events))[0]
    assert each.late.flat is None
    assert each.late.lists is None
    assert computed(what(events))[1].skipped == 0


def test_which_masks_are_of_what(path):
    events = hg.from_root(path, schema="nanoaod")
    some = events[(events.run == 3) & (ak.num(events.Muon) > 1)]
    (each,) = passes({"w": ak.sum(some.weight), "pt": ak.sum(some.Muon.pt)})[0]
    assert [node.op for node in each.late.flat.masks] == ["equal"]
    assert [node.op for node in each.late.lists.masks] == ["greater"]
    assert set(each.late.flat.needs[each.origin]) == {"run"}
    assert set(each.late.lists.needs[each.origin].values()) <= {Need.COUNTS, Need.DATA}
    assert set(each.late.lists.needs[each.origin]) <= set(each.columns())


def tried(turns, count, gained):
    """The turns of so many ranges, which gain by what `gained` says of their number."""
    found = []
    for number in range(count):
        turn = turns.take(Partition("a", "t", number, number + 1))
        found.append(turn.value)
        if turn is not Turn.NO:
            turns.judge(gained(number))
    return found


def test_what_gains_nothing_is_tried_ever_more_rarely():
    found = tried(Turns(), 100, lambda number: False)
    assert [number for number, turn in enumerate(found) if turn == "try"] == [0, 2, 6, 14, 30, 62]
    assert "yes" not in found


def test_what_gains_is_done_until_it_does_not():
    found = tried(Turns(), 9, lambda number: number in (2, 3, 4))
    assert found == ["try", "no", "try", "yes", "yes", "yes", "no", "try", "no"]


def test_a_turn_that_was_told_stays():
    turns, one, two = Turns(), Partition("a", "t", 0, 5), Partition("a", "t", 5, 9)
    assert (turns.tell(one), turns.tell(two)) == (Turn.TRY, Turn.NO)
    turns.judge(True)
    assert (turns.tell(two), turns.take(two), turns.take(two)) == (Turn.NO, Turn.NO, Turn.YES)
    assert turns.take(one) is Turn.TRY


def test_stretches_of_what_was_loaded(path):
    """What is looked at for a start is some of the events, with all that is in them."""
    events = hg.from_root(path, schema="nanoaod")
    (each,) = passes({"a": events.Muon.pt, "b": events.xyz, "c": events.weight})[0]
    loaded = Loaded(each.origin, each.partitions()[0], each.needs())
    blocks = [(3, 10), (200, 201), (201, 230), (399, 400)]
    some = excerpt(loaded, each.needs(), blocks)
    at = np.concatenate([np.arange(start, stop) for start, stop in blocks])
    assert len(some.partition) == len(at)
    for name, data in loaded.data[each.origin].items():
        column = each.origin.source.columns[name]
        mine = to_awkward(column, some.data[each.origin][name])
        assert ak.array_equal(mine, to_awkward(column, data)[at])


def test_an_error_in_a_mask_names_the_range(tmp_path):
    muons = [[1.0], [2.0, 3.0]]
    other = {"Muon_eta": ak.Array([[1.0, 1.0], [2.0]]), "Muon_phi": ak.Array(muons), "Muon_mass": ak.Array(muons)}
    path = extended(tmp_path / "a.root", [{"Muon_pt": ak.Array(muons), **other}])
    events = hg.from_root(path)
    some = events[ak.any((events.Muon_pt > 1) & (events.Muon_eta > 1), axis=1)]
    with pytest.raises(ShapeError, match="cannot broadcast nested lists") as caught:
        computed({"phi": ak.sum(some.Muon_phi), "mass": ak.sum(some.Muon_mass)})
    assert any(note.startswith("in the range") for note in caught.value.__notes__)


def test_damage_where_nobody_looks(paths, tmp_path):
    """A basket that is not read is not checked; one that is read is."""
    copy = tmp_path / "bad.root"
    data = bytearray(Path(paths["TTree"]).read_bytes())
    with uproot.open(paths["TTree"]) as file:
        seek = int(file["Events"]["weight"].member("fBasketSeek")[2])
    data[seek : seek + 4] = b"\xff\xff\xff\xff"
    copy.write_bytes(data)
    damaged(copy, ["weight", "xyz"])


def test_damage_in_a_page_where_nobody_looks(tmp_path):
    """As in a TTree: here the checksum of the page tells."""
    rows = [np.full(10, number) for number in range(4)]
    muons = [np.cumsum(np.full(10, 2 if number in (1, 2) else 1)) for number in range(4)]
    fields = [FieldOf("run", "std::int32_t"), FieldOf("weight", "double")]
    fields += [FieldOf("Muon", "std::vector<float>", role=COLLECTION), FieldOf("_0", parent=2)]
    columns = [
        ColumnOf(BY_NAME["Int32"], 0, [[row] for row in rows]),
        ColumnOf(BY_NAME["Real64"], 1, [[row + 1.0] for row in rows]),
        ColumnOf(BY_NAME["Index64"], 2, [[ends] for ends in muons]),
        ColumnOf(BY_NAME["Real32"], 3, [[np.ones(ends[-1])] for ends in muons]),
    ]
    path = tmp_path / "bad.root"
    what = Written(fields, columns, [10] * 4)
    write(path, what)
    (place,) = (offset for cluster, column, offset, _ in what.places if (cluster, column) == (2, 1))
    data = bytearray(path.read_bytes())
    data[place + 7] ^= 1
    path.write_bytes(data)
    damaged(path, ["weight", "Muon"])


def damaged(path, columns):
    """A file with damage in the weights of run 2; in run 1 there are events with two muons, too."""
    events = hg.from_root(str(path), schema="nanoaod", step_size=CYCLES * LENGTH)

    def summed(mask):
        return computed([ak.sum(events[mask][name]) for name in columns])[0]

    many = ak.num(events.Muon, axis=1) >= 2
    assert summed(events.run == 1)
    assert summed(many & (events.run == 1))
    with pytest.raises(SourceError, match="'weight'"):
        summed(events.run == 2)
    with pytest.raises(SourceError, match="'weight'"):
        summed(many)


def test_a_column_cache_gets_all(path, tmp_path):
    events = hg.from_root(path, schema="nanoaod", cache=tmp_path / "cache", step_size=200)
    first, one = computed(results(events[events.run == 3]))
    second, two = computed(results(events[events.run == 4]))
    plain = hg.from_root(path, schema="nanoaod", step_size=200)
    same(first, computed(results(plain[plain.run == 3]))[0])
    same(second, computed(results(plain[plain.run == 4]))[0])
    assert (one.skipped, two.skipped) == (0, 0)
    assert two.cached > 0

"""RNTuples and Parquet files are fetched ahead as TTrees are: the same results, other requests."""

import pickle
import time
from functools import cache
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet
import pytest
import uproot
from baskets import same
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from serving import forget, serving

import hepgraph as hg
from hepgraph import errors
from hepgraph.graph.predicate import Predicate
from hepgraph.io.access.prefetch import ahead
from hepgraph.io.parquet import source as parquet
from hepgraph.io.parquet.source import open_parquet
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition
from hepgraph.io.trees import handles
from hepgraph.processor.memory_budget import estimate
from hepgraph.runner.compute import passes

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
QUICK = {"hepgraph": {"timeout": 5, "tries": 2, "wait": 0.01}}
GROUP, GROUPS = 100, 6  # entries in a cluster or row group, and how many there are
ENTRIES = GROUP * GROUPS
KINDS = ["rntuple", "parquet"]
OPEN = {"rntuple": open_root, "parquet": open_parquet}
NAMES = {"rntuple": "a.root", "parquet": "a.parquet"}
COLUMNS = {"x": Need.DATA, "jets.pt": Need.DATA, "jets.id": Need.DATA}


def events(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, ENTRIES)
    jets = ak.zip({"pt": rng.random(counts.sum()), "id": rng.integers(0, 9, counts.sum())})
    return ak.Array({"x": np.arange(ENTRIES) + 1000 * seed, "jets": ak.unflatten(jets, counts)})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of each kind with the same columns, by their names, 0 and 1, as paths."""
    folder = tmp_path_factory.mktemp("formats")
    for seed in (0, 1):
        array = events(seed)
        (folder / str(seed)).mkdir()
        with uproot.recreate(folder / str(seed) / "a.root") as file:
            writer = file.mkrntuple("Events", array[:GROUP])
            for start in range(GROUP, ENTRIES, GROUP):
                writer.extend(array[start : start + GROUP])
        table = ak.to_arrow_table(array, extensionarray=False)
        pyarrow.parquet.write_table(table, folder / str(seed) / "a.parquet", row_group_size=GROUP)
    return lambda name, seed=0: folder / str(seed) / name


@pytest.fixture
def server(files):
    with serving({name: files(name).read_bytes() for name in NAMES.values()}) as mine:
        yield mine
    forget()


def opened(server, kind):
    return OPEN[kind](f"{server.url}/{NAMES[kind]}", storage_options=QUICK)


def part(source, start, stop):
    file = source.files[0]
    return Partition(file.path, file.tree, start, stop, start)


def arrived():
    """Waits for all that is under way, and for what that begins."""
    waited = set()
    while coming := [fetch for fetch in list(ahead._fetches.values()) if fetch not in waited]:
        for fetch in coming:
            fetch.thread.join()
            waited.add(fetch)


def agree(found, local, start, stop, needs):
    parquet.kept.clear()
    for name, data in local.read(part(local, start, stop), needs).items():
        if data.values is None:
            assert found[name].values is None
            assert [each.tolist() for each in found[name].offsets] == [each.tolist() for each in data.offsets]
        else:
            assert same(found[name], data)


edges = st.integers(0, ENTRIES)
ranges = st.tuples(edges, edges).map(sorted) | st.integers(0, GROUPS - 1).map(lambda i: [GROUP * i, GROUP * (i + 1)])
wanted = st.dictionaries(st.sampled_from(sorted(COLUMNS)), st.sampled_from(list(Need)), min_size=1)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_fetched_ahead_the_results_are_the_same(files, kind):
    local = OPEN[kind](str(files(NAMES[kind])))
    with serving({NAMES[kind]: files(NAMES[kind]).read_bytes()}) as server:
        source = opened(server, kind)

        # few, as each asks a server many times; to shrink one would take many minutes
        @settings(phases=[Phase.generate], deadline=None, max_examples=settings().max_examples // 2)
        @given(
            st.lists(st.tuples(ranges, wanted), min_size=1, max_size=5),
            st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6),
            st.lists(st.sampled_from([None, "503", "drop", "cut", "404"]), max_size=4),
            st.sampled_from([0, 2000, 1 << 20]),
            st.sampled_from([False, False, False, True]),
        )
        def check(places, hints, troubles, most, fresh):
            if fresh:
                forget()
            parquet.kept.clear()
            ahead.most = most
            before = len(server.asked)
            server.trouble = lambda number, where: dict(enumerate(troubles, before)).get(number)
            for index, wait in hints:
                (start, stop), needs = places[index % len(places)]
                source.ahead(part(source, start, stop), needs)
                if wait:
                    arrived()
            arrived()
            assert ahead.bytes <= most
            server.trouble = lambda number, where: None
            for (start, stop), needs in places:
                agree(source.fetch(part(source, start, stop), needs), local, start, stop, needs)

        try:
            check()
        finally:
            ahead.__init__()
            forget()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "stop"), [(100, 200), (100, 300), (130, 180), (50, 250)])
def test_what_was_fetched_ahead_is_not_asked_for_again(server, files, kind, start, stop):
    source, local = opened(server, kind), OPEN[kind](str(files(NAMES[kind])))
    source.fetch(part(source, 0, 10), COLUMNS)  # so that there is a handle
    parquet.kept.clear()
    server.asked.clear()
    source.ahead(part(source, start, stop), COLUMNS)
    arrived()
    asked = list(server.asked)
    assert asked
    assert len(asked) <= (1 if start % GROUP == stop % GROUP == 0 else 3)
    assert ahead.bytes == sum(end - begin for begin, end in asked)
    found = source.fetch(part(source, start, stop), COLUMNS)
    assert server.asked == asked
    assert (ahead.bytes, len(ahead._fetches)) == (0, 0)
    agree(found, local, start, stop, COLUMNS)
    source.fetch(part(source, start, stop), COLUMNS)  # it was taken, and the row groups let go of
    assert len(server.asked) > len(asked)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trouble", ["503", "drop", "cut", "404"])
def test_a_failure_ahead_is_read_again(server, files, kind, trouble):
    source = opened(server, kind)
    server.trouble = lambda number, where: trouble
    source.ahead(part(source, 100, 200), COLUMNS)
    arrived()
    assert ahead.bytes == 0
    server.trouble = lambda number, where: None
    agree(source.fetch(part(source, 100, 200), COLUMNS), OPEN[kind](str(files(NAMES[kind]))), 100, 200, COLUMNS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_said_by_who_reads(server, kind):
    source = opened(server, kind)
    server.trouble = lambda number, where: "503"
    source.ahead(part(source, 100, 200), COLUMNS)
    arrived()
    with pytest.raises(errors.AccessError, match=r"503 Service Unavailable, 2 times\.$"):
        source.fetch(part(source, 100, 200), COLUMNS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_replaced_is_not_served_from_what_was_fetched_ahead(server, files, kind):
    old = opened(server, kind)
    old.ahead(part(old, 100, 200), COLUMNS)
    arrived()
    assert ahead.bytes
    server.files[NAMES[kind]] = files(NAMES[kind], 1).read_bytes()
    handles.clear()
    parquet.handles.clear()
    new = opened(server, kind)
    found = new.fetch(part(new, 100, 200), COLUMNS)
    agree(found, OPEN[kind](str(files(NAMES[kind], 1))), 100, 200, COLUMNS)
    assert found["x"].values[0] == 1100
    old.ahead(part(old, 200, 300), COLUMNS)
    arrived()
    with pytest.raises(errors.ChangedFileError, match="changed after it was opened"):
        old.fetch(part(old, 200, 300), COLUMNS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_opened_ahead_is_opened_once(server, kind):
    source = pickle.loads(pickle.dumps(opened(server, kind)))
    forget()
    kept = {"rntuple": handles, "parquet": parquet.handles}[kind]
    before, heads = kept.opened, len(server.asked)
    source.ahead(part(source, 100, 200), COLUMNS)
    source.fetch(part(source, 0, 100), COLUMNS)
    arrived()
    source.fetch(part(source, 100, 200), COLUMNS)
    assert kept.opened == before + 1
    once = len(server.asked) - heads
    forget()
    source.fetch(part(source, 0, 100), COLUMNS)
    source.fetch(part(source, 100, 200), COLUMNS)
    assert len(server.asked) - heads == 2 * once  # no more than one after the other


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_opened_ahead_is_an_error_of_who_reads(server, kind):
    source = pickle.loads(pickle.dumps(opened(server, kind)))
    forget()
    content = server.files.pop(NAMES[kind])
    source.ahead(part(source, 100, 200), COLUMNS)
    with pytest.raises(errors.MissingFileError, match="No such file"):
        source.fetch(part(source, 0, 100), COLUMNS)
    server.files[NAMES[kind]] = content
    assert source.fetch(part(source, 100, 200), COLUMNS)["x"].values[0] == 100


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_more_than_there_is_room_for(server, kind):
    source = opened(server, kind)
    server.asked.clear()
    ahead.most = 10
    try:
        source.ahead(part(source, 100, 200), COLUMNS)
        arrived()
    finally:
        ahead.__init__()
    assert not server.asked


@pytest.mark.parametrize("kind", KINDS)
def test_local_files_and_nothing_are_not_fetched_ahead(server, files, kind):
    local, source = OPEN[kind](str(files(NAMES[kind]))), opened(server, kind)
    local.ahead(part(local, 0, 100), COLUMNS)
    source.ahead(part(source, 100, 100), COLUMNS)
    assert not ahead._fetches


@pytest.mark.parametrize("name", ["nano_dy_rntuple.root", "nano_dy.parquet", "Run2012B_SingleMu-1000.parquet"])
def test_real_files_are_the_same_fetched_ahead(name):
    if not DATA.exists():
        pytest.skip("the shared data are not here")
    opener = open_parquet if name.endswith(".parquet") else open_root
    local = opener(str(DATA / name), step_size=16)
    needs = dict.fromkeys(list(local.columns)[::20], Need.DATA)  # each request takes the server its time
    try:
        with serving({name: (DATA / name).read_bytes()}) as server:
            source = opener(f"{server.url}/{name}", storage_options=QUICK)
            source.fetch(part(source, 0, 1), needs)
            for start, stop in [(3, 17), (0, local.entries), (20, 40)]:
                parquet.kept.clear()
                source.ahead(part(source, start, stop), needs)
                arrived()
                size, asked = ahead.bytes, len(server.asked)
                found = source.fetch(part(source, start, stop), needs)
                assert size > 0
                assert len(server.asked) == asked
                agree(found, local, start, stop, needs)
    finally:
        forget()


# in use


def reading(server, kind, **more):
    return hg.open(f"{server.url}/{NAMES[kind]}", storage_options=QUICK, **more)


class Shared:
    """Lists of which a recorded function uses these, not a copy, as they cannot be pickled."""

    def __init__(self, *lists):
        self.lists = lists

    def __reduce__(self):
        raise TypeError("not to be copied")


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_range_is_fetched_while_one_is_worked_on(server, kind):
    data = reading(server, kind, step_size=GROUP)
    expected = hg.compute(ak.sum(data.x), executor="serial", progress=False)
    asked, begun = server.asked, []
    shared = Shared(asked, begun)

    def waits(x):  # until the next range was asked for
        asked, begun = shared.lists
        begun.append(len(x))
        end = time.monotonic() + 20
        while len(asked) < min(len(begun) + 1, GROUPS):
            assert time.monotonic() < end
            time.sleep(0.001)
        return x

    found = hg.map_partitions(waits, data.x, meta=ak.Array(np.zeros(0, np.int64)))
    begun.clear()
    server.asked.clear()
    assert hg.compute(ak.sum(found), executor="serial", progress=False) == expected
    assert begun == [GROUP] * GROUPS
    assert len(server.asked) == len(set(server.asked)) == GROUPS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_range_is_asked_for_once(server, files, kind, threads):
    data, local = reading(server, kind, step_size=GROUP), hg.open(str(files(NAMES[kind])))
    executor = hg.executors.Threads(threads)
    server.asked.clear()
    made = [ak.sum(each.x) + ak.sum(each.jets.pt) for each in (data, local)]
    found, expected = (hg.compute(each, executor=executor, progress=False) for each in made)
    assert found == pytest.approx(expected, rel=1e-12)
    if threads == 1:
        assert len(server.asked) == GROUPS  # with more, each thread opens the file
    assert not [fetch for fetch in ahead._fetches.values() if fetch.size]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cached_range_is_not_fetched_ahead(server, kind, tmp_path):
    data = reading(server, kind, step_size=GROUP, cache=tmp_path / "cache")
    first = hg.compute(ak.sum(data.x), executor="serial", progress=False)
    server.asked.clear()
    assert hg.compute(ak.sum(data.x), executor="serial", progress=False) == first
    assert not server.asked


def test_a_row_group_that_is_cut_is_fetched_once(server):
    data = reading(server, "parquet", step_size=GROUP // 4)
    server.asked.clear()
    total = hg.compute(ak.sum(data.x), executor="serial", progress=False)
    assert total == ENTRIES * (ENTRIES - 1) // 2
    assert len(server.asked) == GROUPS
    assert not ahead._fetches


def test_row_groups_that_a_cut_excludes_are_not_fetched_ahead(server):
    data = reading(server, "parquet", step_size=2 * GROUP)
    server.asked.clear()
    high = data.x[data.x >= 350]
    assert hg.compute(ak.sum(high), executor="serial", progress=False) == sum(range(350, ENTRIES))
    assert len(server.asked) == 2  # half of the second range, and the third
    assert not ahead._fetches


def test_statistics_that_cannot_be_compared_are_left_to_who_reads(server, monkeypatch):
    source = opened(server, "parquet")
    monkeypatch.setattr(parquet.Footer, "extremes", lambda *args: 1 / 0)
    source.ahead(part(source, 100, 200), COLUMNS, [Predicate("x", "greater", 5)])
    assert not ahead._fetches
    with pytest.raises(errors.DamagedFileError, match="read the statistics of"):
        source.trimmed(part(source, 100, 200), [Predicate("x", "greater", 5)])


def test_row_groups_that_are_cut_count_as_a_whole_in_the_budget(files):
    @cache
    def ahead_of(step_size):
        source = hg.open(str(files("a.parquet"))).source
        there = [type(f)("http://x", f.tree, f.entries, f.uuid, f.edges) for f in source.files]
        made, _ = passes(ak.sum(hg.from_source(type(source)(source.columns.values(), there, step_size)).x))
        (found,) = [each for each in estimate(made, 1) if "ahead" in each.what]
        return found

    assert ahead_of(GROUP // 4).bytes == ahead_of(GROUP).bytes > 0
    assert ahead_of(2 * GROUP).bytes == pytest.approx(2 * ahead_of(GROUP).bytes, abs=2)
    assert ahead_of(GROUP).advice == ahead_of(2 * GROUP).advice == "a smaller step_size"
    assert ahead_of(GROUP // 4).advice == "smaller row groups in the files"

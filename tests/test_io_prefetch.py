"""What is fetched ahead: taken once, given up when there is too much, never the cause of an error."""

import threading
import time

import awkward as ak
import numpy as np
import pytest
import uproot
from baskets import write
from hypothesis import given
from hypothesis import strategies as st
from serving import serving

import hepgraph as hg
from hepgraph.io.access.prefetch import AT_ONCE, Ahead, Allowed, NoRoom, ahead
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition
from hepgraph.io.trees import handles
from hepgraph.io.ttree.source import layouts

QUICK = {"hepgraph": {"timeout": 0.5, "tries": 2, "wait": 0.01}}


def giving(value, size=1):
    return lambda allowed: value if allowed(size) else None


def test_what_came_is_taken_once():
    mine = Ahead()
    mine.begin("a", giving(1))
    assert (mine.take("a"), mine.take("a"), mine.take("b")) == (1, None, None)
    assert mine.bytes == 0


def test_it_is_waited_for():
    mine, go = Ahead(), threading.Event()
    mine.begin("a", lambda allowed: go.wait(20) and "came")
    threading.Timer(0.05, go.set).start()
    assert mine.take("a") == "came"


def test_what_is_under_way_is_not_begun_again():
    mine, begun = Ahead(), []
    for _ in range(3):
        mine.begin("a", lambda allowed: begun.append(1) or 5)
    assert mine.take("a") == 5
    assert len(begun) == 1


def test_an_error_is_left_to_who_reads():
    mine = Ahead()

    def fails(allowed):
        raise OSError("lost")

    mine.begin("a", fails)
    assert mine.take("a") is None


def test_the_oldest_are_given_up():
    mine = Ahead()
    for number in range(AT_ONCE + 2):
        mine.begin(number, giving(number))
    assert [mine.take(number) for number in range(AT_ONCE + 2)] == [None, None, *range(2, AT_ONCE + 2)]


def test_what_is_too_large_is_not_fetched():
    mine = Ahead()
    mine.most = 10
    mine.begin("a", giving(1, 11))
    assert mine.take("a") is None
    mine.begin("b", giving(2, 6))
    mine._fetches["b"].thread.join()
    mine.begin("c", giving(3, 6))
    mine._fetches["c"].thread.join()
    assert mine.bytes == 6
    assert (mine.take("b"), mine.take("c")) == (None, 3)


def test_without_threads_nothing_is_fetched_ahead(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    mine = Ahead()
    mine.begin("a", giving(1))
    assert not mine._fetches
    assert mine.take("a") is None


def test_what_failed_takes_no_room():
    mine = Ahead()
    mine.most = 10

    def fails(allowed):
        assert allowed(8)
        raise OSError("lost")

    mine.begin("a", fails)
    mine._fetches["a"].thread.join()
    assert mine.bytes == 0
    mine.begin("b", giving(2, 8))
    mine._fetches["b"].thread.join()
    assert list(mine._fetches) == ["a", "b"]
    assert mine.take("b") == 2


@given(st.lists(st.integers(0, 6), max_size=6), st.integers(0, 20))
def test_bytes_come_as_far_as_there_is_room(sizes, most):
    class Whole:
        def fetch(self, ranges):
            return [memoryview(bytes(stop - start)) for start, stop in ranges]

    data, came = Allowed(Whole(), lambda size: size <= most), 0
    for size in sizes:
        came += size
        if came > most:
            with pytest.raises(NoRoom, match=f"^{came} bytes$"):
                data.fetch([(5, 5 + size)])
            return
        assert [len(each) for each in data.fetch([(5, 5 + size)])] == [size]


# in use


@pytest.fixture
def server(tmp_path):
    path = write(tmp_path / "a.root", uproot.ZSTD(1))
    with open(path, "rb") as file, serving({"a.root": file.read()}) as mine:
        mine.path = path
        yield mine
    layouts.clear()
    handles.clear()
    ahead._clear()


def part(url, start, stop):
    return Partition(url, "Events", start, stop, start)


def test_a_range_that_was_fetched_ahead_is_not_asked_for_again(server):
    url = f"{server.url}/a.root"
    source, local = open_root(url, storage_options=QUICK), open_root(server.path)
    needs = {"noise": Need.DATA, "Jet_pt": Need.DATA, "Jet_id": Need.COUNTS}
    source.read(part(url, 0, 40), needs)
    server.asked.clear()
    source.ahead(part(url, 40, 80), needs)
    found = source.fetch(part(url, 40, 80), needs)
    assert len(server.asked) == 1
    for name, data in local.read(part(server.path, 40, 80), needs).items():
        assert (data.values is None) == (found[name].values is None)
        assert data.values is None or np.array_equal(data.values, found[name].values)
    source.fetch(part(url, 40, 80), needs)  # it was taken
    assert len(server.asked) == 2


def test_what_was_fetched_of_another_layout_is_not_used(server):
    url = f"{server.url}/a.root"
    source = open_root(url, storage_options=QUICK)
    source.ahead(part(url, 40, 80), {"noise": Need.DATA})
    ahead._fetches[next(iter(ahead._fetches))].thread.join()
    layouts.clear()
    found = source.fetch(part(url, 40, 80), {"noise": Need.DATA})
    assert np.array_equal(
        found["noise"].values,
        open_root(server.path).read(part(server.path, 40, 80), {"noise": Need.DATA})["noise"].values,
    )


def test_a_failure_ahead_is_read_again(server):
    url = f"{server.url}/a.root"
    source = open_root(url, storage_options=QUICK)
    source.read(part(url, 0, 40), {"noise": Need.DATA})
    server.trouble = lambda number, where: "503"
    source.ahead(part(url, 40, 80), {"noise": Need.DATA})
    ahead._fetches[next(iter(ahead._fetches))].thread.join()
    server.trouble = lambda number, where: None
    assert len(source.fetch(part(url, 40, 80), {"noise": Need.DATA})["noise"].values) == 40


def test_local_files_are_not_fetched_ahead(server):
    source = open_root(server.path)
    source.ahead(part(server.path, 0, 40), {"noise": Need.DATA})
    assert not ahead._fetches


class Live(list):
    """A list that a recorded function shares, as it does not pickle."""

    def __reduce__(self):
        raise TypeError("it stays here")


def test_the_next_range_is_fetched_while_one_is_worked_on(server):
    asked, begun = server.asked, Live()

    def waits(run):  # until the next range was asked for
        begun.append(len(run))
        if len(begun) > 1:  # the first call, of no events, is to know the type
            end = time.monotonic() + 20
            while len(server.asked) < min(len(begun), 12):
                assert time.monotonic() < end
                time.sleep(0.001)
        return run

    def total(path, **more):
        events = hg.from_root(path, step_size=10, **more)
        found = hg.map_partitions(waits, events.run, meta=ak.Array(np.zeros(0, np.uint32)))
        begun[:] = [0]
        asked.clear()
        return hg.compute(ak.sum(events.noise * found), executor="serial", progress=False)

    asked += [0] * 12
    plain = hg.compute(ak.sum(hg.from_root(f"{server.url}/a.root", step_size=10, storage_options=QUICK).noise))
    assert plain
    assert total(f"{server.url}/a.root", storage_options=QUICK) > 0
    assert len(begun) == 13
    assert len(asked) == 12


@pytest.mark.parametrize("threads", [1, 3])
def test_every_range_is_asked_for_once(server, threads):
    url = f"{server.url}/a.root"
    executor = hg.executors.Threads(threads)

    def total(path):
        events = hg.from_root(path, step_size=10, storage_options=QUICK)
        return hg.compute(ak.sum(events.noise), executor=executor, progress=False)

    total(url)  # so that its layout is known
    server.asked.clear()
    assert total(url) == total(server.path)
    baskets = [where for where in server.asked if server.asked.count(where) > 1]  # of which each holds four ranges
    assert (len(baskets), len(set(baskets))) == (12, 3)
    assert not ahead._fetches


def test_a_cached_range_is_not_fetched_ahead(server, tmp_path):
    events = hg.from_root(f"{server.url}/a.root", step_size=10, storage_options=QUICK, cache=tmp_path / "cache")
    first = hg.compute(ak.sum(events.noise), executor="serial")
    server.asked.clear()
    assert hg.compute(ak.sum(events.noise), executor="serial") == first
    assert not server.asked

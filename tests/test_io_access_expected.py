"""What the system is told will soon be read of local files: all of that, little else; it never causes an error."""

import os
from itertools import pairwise

import awkward as ak
import numpy as np
import pyarrow.parquet
import pytest
import uproot
from hypothesis import example, given
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.executors import Processes, Threads
from hepgraph.executors.processes import _Crew
from hepgraph.io.access import prefetch as module
from hepgraph.io.access.prefetch import LOCAL_GAP, MOST_TIMES, STRETCH, _PageCache, _stretches, expect
from hepgraph.io.access.prefetch import found as found_there
from hepgraph.io.source import Partition
from hepgraph.runner.partial_sums import Task
from hepgraph.runner.work import PrefetchQueue

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system cannot be told")

GROUP, GROUPS = 3000, 5
SUM = "x", "lists"


@pytest.fixture(autouse=True)
def _forgotten():
    found_there.clear()
    yield
    found_there.clear()


@pytest.fixture
def told(monkeypatch):
    """What the system is told, of files of which nothing is in memory; the numbers of all bytes, by the file's path."""
    places = {}

    def advise(file, start, size, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        assert 0 < size <= STRETCH
        places.setdefault(os.readlink(f"/proc/self/fd/{file}"), []).append((start, start + size))

    monkeypatch.setattr(module, "_is_there", lambda file, place: False)
    monkeypatch.setattr(os, "posix_fadvise", advise)
    return places


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same events in each format, column after column in each cluster, with more than a gap between two of them."""
    folder, rng = tmp_path_factory.mktemp("expected"), np.random.default_rng(5)
    counts = rng.integers(0, 4, GROUP * GROUPS)
    lists = ak.unflatten(rng.random(counts.sum()), counts)
    flat = {name: rng.random(GROUP * GROUPS) for name in ("x", "y", "z")}
    events = ak.Array({"x": flat["x"], "y": flat["y"], "lists": lists, "z": flat["z"]})
    with uproot.recreate(folder / "t.root", compression=None) as file:
        tree = file.mktree("Events", {"x": "f8", "y": "f8", "lists": "var * float64", "z": "f8"})
        for start in range(0, len(events), GROUP):
            part = slice(start, start + GROUP)
            tree.extend({**{name: values[part] for name, values in flat.items()}, "lists": lists[part]})
    with uproot.recreate(folder / "n.root", compression=None) as file:
        ntuple = file.mkrntuple("Events", events[:GROUP])
        for start in range(GROUP, len(events), GROUP):
            ntuple.extend(events[start : start + GROUP])
    table = ak.to_arrow_table(events, extensionarray=False)
    pyarrow.parquet.write_table(table, folder / "p.parquet", row_group_size=GROUP, compression="none")
    return {"ttree": folder / "t.root", "rntuple": folder / "n.root", "parquet": folder / "p.parquet"}


def baskets(path, names):
    """Where the baskets of some branches of a TTree are, by uproot."""
    with uproot.open(f"{path}:Events") as tree:
        found = []
        for name in names:
            branch = tree[name]
            sizes = branch.member("fBasketBytes")[: branch.num_baskets]
            found += zip(branch.member("fBasketSeek"), sizes, strict=False)
    return [(int(seek), int(seek + size)) for seek, size in found]


def chunks(path, names):
    """Where the chunks of some columns of a Parquet file are."""
    found = []
    metadata = pyarrow.parquet.read_metadata(path)
    for group in range(metadata.num_row_groups):
        for leaf in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(leaf)
            if chunk.path_in_schema.split(".")[0] in names:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                found.append((start, start + chunk.total_compressed_size))
    return found


def pages(path, names):
    """Where the pages of some fields of an RNTuple are."""
    with uproot.open(f"{path}:Events") as ntuple:
        found = []
        for name in names:
            field = next(each for each in ntuple.fields if each.name == name)
            wanted = {field.field_id, *(each.field_id for each in field.fields)}
            columns = [i for i, record in enumerate(ntuple.column_records) if record.field_id in wanted]
            for lists in ntuple.page_link_list:
                found += [
                    (page.locator.offset, page.locator.offset + page.locator.num_bytes)
                    for column in columns
                    for page in lists[column].pages
                ]
    return found


WHERE = {"ttree": baskets, "rntuple": pages, "parquet": chunks}


def covered(places):
    return {byte for start, stop in places for byte in range(start, stop)}


def total(path, cut=None, **more):
    events = hg.open(path, step_size=GROUP, **more)
    if cut is not None:
        events = events[events.x > cut]
    return [ak.sum(getattr(events, name), axis=None) for name in SUM]


@pytest.mark.parametrize("kind", WHERE)
@pytest.mark.parametrize("executor", ["serial", Threads(1), Threads(3)])
def test_the_system_is_told_what_a_run_will_read(files, told, kind, executor):
    path = files[kind]
    wanted = covered(WHERE[kind](path, SUM))
    others = covered(WHERE[kind](path, ["y", "z"])) - wanted
    hg.compute(total(path), executor=executor, progress=False)
    (places,) = told.values()
    assert list(told) == [str(path)]
    assert wanted <= covered(places)
    assert len(others & covered(places)) < len(others) / 10  # short gaps


@pytest.mark.parametrize("kind", ["ttree", "rntuple"])
def test_of_what_is_read_after_masks_it_is_told_only_of_those(files, told, kind):
    path = files[kind]
    hg.compute(total(path, cut=0.999), executor="serial", progress=False)
    (places,) = told.values()
    first, later = covered(WHERE[kind](path, ["x"])), covered(WHERE[kind](path, ["lists"]))
    assert first <= covered(places)
    assert len((later - first) & covered(places)) < len(later - first) / 2


def test_it_is_told_of_row_groups_that_statistics_do_not_exclude(tmp_path, told):
    x = np.repeat(np.arange(GROUPS), GROUP).astype("f8")
    table = ak.to_arrow_table(ak.Array({"x": x, "lists": ak.unflatten(x, np.ones(len(x), int))}), extensionarray=False)
    path = tmp_path / "p.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=GROUP, compression="none", use_dictionary=False)
    hg.compute(total(path, cut=2.5), executor="serial", progress=False)
    (places,) = told.values()
    each = sorted(chunks(path, SUM))
    assert covered(each[2 * 3 :]) <= covered(places)
    assert len(covered(each[: 2 * 3]) & covered(places)) <= LOCAL_GAP


@pytest.mark.parametrize("kind", WHERE)
def test_processes_are_told_what_is_likely_to_be_next(files, kind, monkeypatch):
    notes, following = [], _Crew._next

    def noted(self, me):
        notes.append(following(self, me))
        return notes[-1]

    monkeypatch.setattr(_Crew, "_next", noted)
    expected = hg.compute(total(files[kind]), executor="serial", progress=False)
    assert hg.compute(total(files[kind]), executor=Processes(1), progress=False) == expected
    assert notes == [(0, 1), (1, 2), (2, 3), (3, 4), (4, None), None]


@pytest.mark.parametrize("kind", WHERE)
def test_of_what_the_column_cache_holds_it_is_told_nothing(files, told, tmp_path, kind):
    made = total(files[kind], cache=tmp_path / "cache")
    sums = hg.compute(made, executor="serial", progress=False)
    assert told
    told.clear()
    assert hg.compute(made, executor="serial", progress=False) == sums
    assert not told


def test_an_error_is_left_to_who_reads(files, tmp_path, told):
    expect(str(tmp_path / "nothing"), lambda: [(0, 10)])
    for error in (OSError, ValueError, MemoryError):

        def fails(error=error):
            raise error("lost")

        expect(str(files["ttree"]), fails)
    assert not told
    for path in files.values():
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        made = total(copy)
        copy.unlink()
        with pytest.raises(errors.SourceError):
            hg.compute(made, executor="serial", progress=False)


def test_of_files_in_memory_it_is_told_nothing(files, told, monkeypatch):
    looks = []
    monkeypatch.setattr(module, "_is_there", lambda file, place: looks.append(place) or True)
    path = str(files["ttree"])
    asked = []
    for number in range(100):
        expect(path, lambda number=number: asked.append(number) or [(5, 9)])
    assert not told
    assert asked == [0, 2, 5, 10, 19, 36, 53, 70, 87]  # each time twice as many are passed by, up to sixteen
    monkeypatch.setattr(module, "_is_there", lambda file, place: False)
    for _ in range(3 * MOST_TIMES):
        expect(path, lambda: [(5, 9)])
    assert told[path] == [(5, 9)] * (3 * MOST_TIMES - 4)  # four more were taken to be there


def test_whether_a_byte_is_in_memory_can_be_asked(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(100_000))
    with path.open("rb") as file:
        file.read()
        assert module._is_there(file.fileno(), 0) in (True, False)
    assert not module._is_there(file.fileno() if not file.closed else 10**6, 0)


@given(st.lists(st.booleans(), max_size=200))
def test_what_was_found_holds_for_so_many_times(answers):
    """One that is not in memory: for many; one that is: for one, and then for twice as many each time."""
    mine, left, times, before = _PageCache(), 0, 0, False
    for answer in answers:
        told = mine.known("a")
        if left:
            assert told is before
            left -= 1
            continue
        assert told is None
        times = MOST_TIMES if not answer else min(2 * times, MOST_TIMES) if before else 1
        left, before = times, answer
        mine.note("a", answer)


RANGES = st.lists(st.tuples(st.integers(0, 10 * STRETCH), st.integers(0, 3 * STRETCH)), max_size=30)


@given(RANGES)
@example([(0, 0)])
@example([(LOCAL_GAP + 1, 5)])
def test_stretches_cover_ranges(drawn):
    ranges = sorted((start, start + size) for start, size in drawn)
    found = list(_stretches(ranges))
    assert all(0 < stop - start <= STRETCH for start, stop in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    inside = [(a, b) for a, b in ranges if a < b]
    for start, stop in inside:
        at = start
        for begin, end in found:
            if begin <= at < end:
                at = end
        assert at >= stop
    union = at = 0
    for start, stop in inside:
        union, at = union + max(0, stop - max(start, at)), max(at, stop)
    assert 0 <= sum(stop - start for start, stop in found) - union <= LOCAL_GAP * len(ranges)


def test_the_next_range_is_told_of_and_the_first_or_several_that_are_far():
    for path, expected in (
        ("a.root", [[0, 1], [2], [3], [4], [5], []]),
        ("https://there/a.root", [[1, 2, 3], [4], [5], [], [], []]),
    ):
        tasks = [Task(0, leaf, True, Partition(path, "", leaf, leaf + 1)) for leaf in range(6)]
        coming, hints = PrefetchQueue(tasks), []
        for each in tasks:
            hints.append([])
            coming.started(each, hints[-1].append)
        assert hints == [[tasks[i] for i in some] for some in expected]

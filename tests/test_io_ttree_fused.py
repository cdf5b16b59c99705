"""All baskets of a column in one native call: that it is made where it can be, and what it leaves to the slow code."""

import gc
import struct
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from baskets import on_disk, written
from limiting import anew

from hepgraph.io.access.ranges import LocalBytes
from hepgraph.io.native import libraries
from hepgraph.io.root import open_root
from hepgraph.io.source import Need
from hepgraph.io.ttree import baskets
from hepgraph.io.ttree.baskets import BasketError, Baskets
from hepgraph.io.ttree.layouts import Branch
from hepgraph.io.ttree.leaves import FixedLeaf, Jagged, Number
from hepgraph.io.ttree.reader import Reader

COUNTS = Number(np.dtype(">i4"), np.dtype("i4"))
NEEDS = {"ZS": ["zstd"], "ZL": ["deflate"], "CS": ["deflate"], "L4": ["lz4", "xxhash"], None: []}


@pytest.fixture
def asked(answers):
    """Answers of `read_fused`, each time that it is asked."""
    return answers(baskets.BasketColumn, "read_fused")


def numbers(stored, codec, cuts=(3, 7), n=12):
    values = np.arange(n).astype(stored)
    content, places = written([values[i : i + 1].tobytes() for i in range(n)], list(cuts), [(codec, 1)], False)
    return Branch("x", places, FixedLeaf(Number(values.dtype, values.dtype.newbyteorder("=")))), content, values


def lists(counts, codec, table=True, stored=">f4"):
    """A branch of lists that another branch counts."""
    content, places = written([struct.pack(">i", count) for count in counts], [2], [(codec, 1)], False)
    counter = Branch("n", places, FixedLeaf(COUNTS))
    flat = np.arange(sum(counts)).astype(stored)
    entries = [each.tobytes() for each in np.split(flat, np.cumsum(counts)[:-1])]
    more, places = written(entries, [1, 4], [(codec, 1)], table)
    ranges = tuple((start + len(content), stop + len(content)) for start, stop in places.ranges)
    leaf = Jagged(Number(flat.dtype, flat.dtype.newbyteorder("=")))
    return counter, Branch("x", Baskets(places.edges, ranges), leaf, counter), content + more, flat


def missing(codec):
    return [name for name in NEEDS[codec] if libraries.library(name) is None]


@pytest.mark.parametrize("codec", NEEDS)
@pytest.mark.parametrize("stored", ["?", "u1", ">i2", ">u4", ">f8"])
def test_numbers_are_read_in_one_call(asked, codec, stored):
    branch, content, values = numbers(stored, codec)
    with on_disk(content) as data:
        found = Reader(data, 2, 11).read(branch)
    assert found.values.tolist() == values[2:11].tolist()
    assert asked == [not missing(codec)]


@pytest.mark.parametrize("codec", NEEDS)
@pytest.mark.parametrize("table", [True, False])
def test_lists_are_read_in_one_call_once_their_lengths_are_known(asked, codec, table):
    counter, branch, content, flat = lists([1, 0, 3, 2, 0, 4], codec, table)
    with on_disk(content) as data:
        reader = Reader(data, 0, 6)
        reader.read(counter)
        found = reader.read(branch)
    assert found.values.tolist() == flat.tolist()
    assert asked == [not missing(codec)] * 2


def test_without_the_libraries_all_is_read_through_python(asked, limit):
    limit(libraries=0)
    for codec in NEEDS:
        branch, content, values = numbers(">i4", codec)
        with on_disk(content) as data:
            assert anew(Reader(data, 0, 12).read, branch).values.tolist() == values.tolist()
    assert asked == [codec is None for codec in NEEDS]


def test_on_other_systems_all_is_read_through_python(asked, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    branch, content, values = numbers(">i4", "ZS")
    with on_disk(content) as data:
        assert anew(Reader(data, 0, 12).read, branch).values.tolist() == values.tolist()
    assert asked == [False]


def test_baskets_that_nobody_looks_at_are_passed_over(asked):
    branch, content, values = numbers(">f4", None)
    alive = np.array([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], bool)
    with on_disk(content) as data:
        found = Reader(data, 0, 12, alive).read(branch)
    assert found.values.tolist() == [0, 0, 0, *values[3:7].tolist(), 0, 0, 0, 0, 0]
    assert found.skipped == sum(stop - start for start, stop in (branch.baskets.ranges[0], branch.baskets.ranges[2]))
    assert asked == [True]


def test_room_grows_to_what_a_basket_needs(asked, tmp_path):
    values = np.arange(600_000, dtype=">i8") // 1000  # 4.8 MB, more than there is room for at first
    content, places = written([values.tobytes()], [], [("ZS", 1)], False)
    baskets_ = Baskets((0, len(values)), places.ranges)
    content = bytearray(content)
    start = places.ranges[0][0]
    length = struct.unpack_from(">h", content, start + 14)[0]
    struct.pack_into(">i", content, start + length - 9, len(values))
    branch = Branch("x", baskets_, FixedLeaf(Number(values.dtype, np.dtype("i8"))))
    with on_disk(content) as data, ThreadPoolExecutor(1) as fresh:  # a thread that has no room yet
        found = fresh.submit(lambda: Reader(data, 0, len(values)).read(branch)).result()
    assert np.array_equal(found.values, values)
    assert asked == ([True] if not missing("ZS") else [False])


def test_what_is_wrong_is_said_by_the_slow_code(asked):
    branch, content, _ = numbers(">i4", None)
    cut = content[: branch.baskets.ranges[1][1] - 3]
    with on_disk(cut) as data, pytest.raises(BasketError, match=r"basket 1 at byte \d+: bytes \d+ to \d+ are wanted"):
        Reader(data, 0, 12).read(branch)
    wrong = Branch("x", Baskets((0, 4, 7, 12), branch.baskets.ranges), branch.leaf)
    with on_disk(content) as data, pytest.raises(BasketError, match="it has 3 entries, but should have 4"):
        Reader(data, 0, 12).read(wrong)
    assert asked == [False, False]


def test_lists_that_depart_from_their_counter_are_left_to_the_slow_code(asked):
    counter, branch, content, flat = lists([1, 0, 3, 2, 0, 4], None)
    other, _, more, _ = lists([1, 3, 0, 2, 0, 4], None)  # as many in each basket
    ranges = tuple((start + len(content), stop + len(content)) for start, stop in other.baskets.ranges)
    other = Branch("n", Baskets(other.baskets.edges, ranges), other.leaf)
    with on_disk(content + more) as data:
        reader = Reader(data, 0, 6)
        reader.read(other)
        found = reader.read(Branch("x", branch.baskets, branch.leaf, other))
    assert np.diff(found.offsets[0]).tolist() == [1, 0, 3, 2, 0, 4]
    assert found.values.tolist() == flat.tolist()
    assert asked == [True, False]
    assert counter is not other


def test_a_short_range_is_read_through_python(asked, tmp_path):
    """To compile would take longer."""
    branch, content, values = numbers(">i4", None)
    path = tmp_path / "a"
    path.write_bytes(content)
    with path.open("rb") as file:
        assert Reader(LocalBytes(file.fileno()), 0, 12).read(branch).values.tolist() == values.tolist()
    assert asked == [False]


def test_each_thread_has_tools_of_its_own_and_gives_them_back():
    if libraries.tools() is None:
        pytest.skip("no pread here")
    gone = []

    def work():
        mine = libraries.tools()
        assert mine is libraries.tools()
        weakref.finalize(mine, gone.append, mine.addresses)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    del thread
    gc.collect()
    theirs, ours = (dict(zip(libraries.NAMES, each, strict=True)) for each in (*gone, libraries.tools().addresses))
    for name in libraries.NAMES:
        assert (theirs[name] == ours[name]) == (not name.endswith("_context") or ours[name] == 0)


def test_threads_read_the_same_file(tmp_path, limit, asked):
    import uproot

    limit(native_least=0)
    rng = np.random.default_rng(1)
    values = {"x": rng.integers(0, 9, 40_000), "y": rng.random(40_000).astype(np.float32)}
    with uproot.recreate(tmp_path / "a.root", compression=uproot.ZSTD(1)) as file:
        tree = file.mktree("Events", {name: value.dtype for name, value in values.items()})
        for start in range(0, 40_000, 1000):
            tree.extend({name: value[start : start + 1000] for name, value in values.items()})
    source = open_root(tmp_path / "a.root", step_size=1700)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda part: source.read(part, dict.fromkeys(values, Need.DATA)), source.partitions()))
    for name, value in values.items():
        assert np.array_equal(np.concatenate([part[name].values for part in parts]), value)
    assert all(asked) == (not missing("ZS"))

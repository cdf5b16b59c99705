"""Pages and baskets that several ranges have a part of are decoded once, for all of them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pytest
import uproot
from ntuple_writer import BY_NAME, CODECS, COLLECTION, ColumnOf, FieldOf, Written, write

import hepgraph as hg
from hepgraph import errors
from hepgraph.io.access import ranges
from hepgraph.io.native.shared import DecodedCache, Promises, Share, shared
from hepgraph.io.root import open_root
from hepgraph.io.source import Need
from hepgraph.io.trees import handles

ENTRIES = 60_000
FIELDS = [FieldOf("x"), FieldOf("v", "std::vector<float>", role=COLLECTION), FieldOf("_0", parent=1)]
COUNTS = np.arange(ENTRIES) // 7 % 4 * 2
ENDS = np.cumsum(COUNTS)
DRAWN = np.random.default_rng(1).normal(size=ENTRIES + ENDS[-1]).round(3)
VALUES = {"x": DRAWN[:ENTRIES], "v": DRAWN[ENTRIES:].astype("f4")}


@pytest.fixture(autouse=True)
def _closed():
    shared.clear()
    yield
    handles.clear()
    shared.clear()


def ntuple(path: Path, times: float = 1.0) -> Written:
    """One cluster: two large pages of numbers, two of the ends of lists, three of what is in the lists."""
    x, v = VALUES["x"] * times, VALUES["v"]
    columns = [
        ColumnOf(BY_NAME["SplitReal64"], 0, [[x[:25_000], x[25_000:]]]),
        ColumnOf(BY_NAME["SplitIndex64"], 1, [[ENDS[:21_000], ENDS[21_000:]]]),
        ColumnOf(BY_NAME["SplitReal32"], 2, [[v[:60_000], v[60_000:130_000], v[130_000:]]]),
    ]
    what = Written(FIELDS, columns, [ENTRIES], CODECS["zstd"])
    write(path, what)
    return what


def read(source, parts):
    """The numbers, and what is in the lists, of all parts; the offsets are looked at."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: source.read(part, dict.fromkeys(["x", "v"], Need.DATA)), parts))
    for part, each in zip(parts, found, strict=True):
        assert np.array_equal(np.diff(each["v"].offsets[0]), COUNTS[part.start : part.stop])
    return {name: np.concatenate([each[name].values for each in found]) for name in VALUES}


def tree(path: Path, times: float = 1.0, codec: object = CODECS["zstd"]) -> None:
    """A tree with two large baskets of each branch, as uproot writes what it is given at once."""
    lists = ak.unflatten(VALUES["v"], COUNTS)
    with uproot.recreate(path, compression=codec) as file:
        made = file.mktree("Events", {"x": "f8", "v": "var * float32"})
        for start, stop in ((0, 25_000), (25_000, ENTRIES)):
            made.extend({"x": times * VALUES["x"][start:stop], "v": lists[start:stop]})


FORMATS = {"rntuple": ntuple, "tree": tree}


@pytest.mark.parametrize(("step", "cut"), [(7_000, 7), (9_999, 7), (30_000, 3)])
@pytest.mark.parametrize("straight", [True, False])
def test_a_page_is_decoded_once_for_all_ranges(tmp_path, limit, step, cut, straight):
    limit(native_least=0 if straight else ENTRIES * 10)
    ntuple(tmp_path / "n.root")
    source = open_root(tmp_path / "n.root", step_size=step)
    before = shared.decoded
    found = read(source, source.partitions())
    assert all(np.array_equal(found[name], VALUES[name]) for name in VALUES)
    assert shared.decoded - before == cut


@pytest.mark.parametrize("step", [7_000, 9_999])
@pytest.mark.parametrize("straight", [True, False])
@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_basket_is_decompressed_once_for_all_ranges(tmp_path, limit, step, straight, codec):
    limit(native_least=0 if straight else ENTRIES * 10, basket_shared=10_000)
    tree(tmp_path / "t.root", codec=CODECS[codec])
    source = open_root(tmp_path / "t.root", step_size=step)
    before = shared.decoded
    found = read(source, source.partitions())
    assert all(np.array_equal(found[name], VALUES[name]) for name in VALUES)
    assert shared.decoded - before == 4  # two of x, two of v, which tell the lengths themselves
    assert len(shared) == 0


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_held_on_to_once_all_was_read(tmp_path, form):
    FORMATS[form](tmp_path / "n.root")
    source = open_root(tmp_path / "n.root", step_size=10_000)
    for number, part in enumerate(source.partitions()):
        source.read(part, {"x": Need.DATA})
        assert len(shared) == (1 if number < 5 else 0)


@pytest.mark.parametrize("form", FORMATS)
def test_small_ones_and_those_that_a_range_has_all_of_are_not_shared(tmp_path, limit, form):
    FORMATS[form](tmp_path / "n.root")
    before = shared.decoded
    source = open_root(tmp_path / "n.root")
    source.read(source.partitions()[0], dict.fromkeys(VALUES, Need.DATA))
    limit(page_shared=1 << 21, basket_shared=1 << 21)
    source = open_root(tmp_path / "n.root", step_size=10_000)
    read(source, source.partitions())
    assert shared.decoded == before


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_was_replaced_is_read_anew(tmp_path, form):
    FORMATS[form](tmp_path / "n.root")
    FORMATS[form](tmp_path / "new.root", 3.0)
    source = open_root(tmp_path / "n.root", step_size=10_000)
    source.read(source.partitions()[0], {"x": Need.DATA})
    assert len(shared) == 1
    (tmp_path / "new.root").replace(tmp_path / "n.root")
    source = open_root(tmp_path / "n.root", step_size=10_000)
    found = source.read(source.partitions()[1], {"x": Need.DATA})["x"].values
    assert np.array_equal(found, 3 * VALUES["x"][10_000:20_000])


def place_of_second(path, form):
    """Where the second page, or basket, of x is."""
    if form == "tree":
        with uproot.open({path: None}) as file:
            return int(file["Events"]["x"].member("fBasketSeek")[1])
    return ntuple(path).places[1][2]


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_one_is_an_error_for_every_range(tmp_path, form):
    path = tmp_path / "n.root"
    FORMATS[form](path)
    at = place_of_second(path, form) + 90
    data = bytearray(path.read_bytes())
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    source = open_root(path, step_size=10_000)
    said = {"rntuple": r"page 1 of cluster 0, .*: its checksum is wrong", "tree": r"basket 1 at byte"}[form]
    for number, part in enumerate(source.partitions()):
        if number < 2:
            source.read(part, {"x": Need.DATA})
            continue
        with pytest.raises(errors.DamagedFileError, match=said):
            source.read(part, {"x": Need.DATA})


def test_a_page_of_a_remote_file_is_fetched_once(tmp_path, monkeypatch):
    what = ntuple(tmp_path / "n.root")
    asked = remote(tmp_path / "n.root", monkeypatch)
    pages_of_x = [(place, place + size + 8) for _, column, place, size in what.places if column == 0]
    assert sorted(asked) == sorted(pages_of_x)


def test_a_basket_of_a_remote_file_is_fetched_once(tmp_path, monkeypatch):
    tree(tmp_path / "t.root")
    with uproot.open(tmp_path / "t.root") as file:
        branch = file["Events"]["x"]
        places = [(int(branch.member("fBasketSeek")[i]), int(branch.member("fBasketBytes")[i])) for i in range(2)]
    asked = remote(tmp_path / "t.root", monkeypatch)
    assert sorted(asked) == sorted((place, place + size) for place, size in places)


def remote(path, monkeypatch):
    """What is asked of a remote file when all ranges of x are read, which are checked, after it was opened."""
    source, parts = far(path, "a", {"v": Need.DATA})
    asked, ask = [], ranges.RemoteBytes.fetch
    monkeypatch.setattr(ranges.RemoteBytes, "fetch", lambda self, some, *_: asked.extend(some) or ask(self, some))
    found = [source.read(part, {"x": Need.DATA})["x"].values for part in parts]
    assert np.array_equal(np.concatenate(found), VALUES["x"])
    return asked


def far(path, name, needs):
    """A source of a copy of a file that is far away, and its ranges; it was opened, and nothing is kept of it."""
    fsspec.filesystem("memory").pipe(f"/shared/{name}.root", path.read_bytes())
    source = open_root(f"memory://shared/{name}.root", step_size=10_000)
    parts = source.partitions()
    source.read(parts[0], needs)
    shared.clear()
    return source, parts


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("order", ["one", "two", "reversed", "threads"])
def test_what_several_ranges_have_a_part_of_is_fetched_ahead_once(tmp_path, monkeypatch, form, order):
    FORMATS[form](tmp_path / "n.root")
    needs = dict.fromkeys(["x", "v"], Need.DATA)
    source, parts = far(tmp_path / "n.root", f"{form}{order}", needs)
    asked, ask = [], ranges.RemoteBytes.fetch
    monkeypatch.setattr(ranges.RemoteBytes, "fetch", lambda self, some, *_: asked.extend(some) or ask(self, some))
    if order == "threads":
        for part in parts[:4]:
            source.ahead(part, needs)
        found = read(source, parts)
    else:
        depth, found = {"one": 1, "two": 2, "reversed": 1}[order], {}
        parts = parts[::-1] if order == "reversed" else parts
        source.ahead(parts[0], needs)
        for i, part in enumerate(parts):
            for after in parts[i + 1 : i + 1 + depth]:
                source.ahead(after, needs)
            found[part] = source.read(part, needs)
        found = {name: np.concatenate([found[part][name].values for part in source.partitions()]) for name in VALUES}
    assert all(np.array_equal(found[name], VALUES[name]) for name in VALUES)
    large = [place for place in asked if place[1] - place[0] >= 40_000]
    assert len(large) == len(set(large)) > 0


@pytest.mark.parametrize("form", FORMATS)
def test_what_could_not_be_fetched_ahead_is_fetched_by_who_reads(tmp_path, monkeypatch, form):
    FORMATS[form](tmp_path / "n.root")
    needs = dict.fromkeys(["x", "v"], Need.DATA)
    source, parts = far(tmp_path / "n.root", form, needs)
    broken, ask = [], ranges.RemoteBytes.fetch

    def fails(self, some, *_):
        if threading.current_thread().name == "hepgraph-ahead":
            broken.append(some)
            raise OSError("lost")
        return ask(self, some)

    monkeypatch.setattr(ranges.RemoteBytes, "fetch", fails)
    for part in parts[:2]:
        source.ahead(part, needs)
    found = read(source, parts)
    assert broken
    assert all(np.array_equal(found[name], VALUES[name]) for name in VALUES)


def test_a_promise_is_given_once_and_waited_for():
    kept = DecodedCache(most=500)
    promise = kept.promise("a", 10)
    assert promise is not None
    assert kept.promise("a", 10) is None
    assert kept.has("a")
    threading.Timer(0.05, promise.fulfil, [b"bytes"]).start()
    assert kept.promised("a") == b"bytes"
    assert kept.promised("b") is None
    assert kept.get("a", (5, 10), lambda: np.frombuffer(kept.promised("a"), np.uint8)).tobytes() == b"bytes"
    assert kept.promise("a", 10) is None  # it is there
    assert kept.promised("a") is None
    kept.get("a", (5, 10), lambda: pytest.fail("it is there"))
    assert (len(kept), kept.bytes) == (0, 0)


def test_a_promise_that_is_not_kept_is_taken_back(limit):
    kept = DecodedCache(most=500)
    promise = kept.promise("a", 10)
    threading.Timer(0.05, kept.cancel, ["a", promise]).start()
    assert kept.promised("a") is None
    assert not kept.has("a")
    assert kept.promise("a", 10) is not promise
    assert kept.bytes == 0
    limit(shared_stay=0.01)
    assert kept.promised("a") is None  # nobody waits for ever


def test_what_one_range_could_not_promise_to_the_end_another_may():
    share = Share("content")

    def fails():
        with Promises(share) as promises:
            assert promises.claim("kept", 10)
            assert promises.claim("broken", 10)
            promises.fulfil("kept", memoryview(b"bytes"))
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        fails()
    with Promises(share) as promises:
        assert not promises.claim("kept", 10)
        assert share.promised("kept") == b"bytes"
        assert promises.claim("broken", 10)
    assert share.promised("broken") is None


def test_of_more_than_can_be_kept_some_is_found():
    """Ranges ask for the same columns in turn: if the one not used for longest went first, none would be found."""
    kept = DecodedCache(most=500)
    for _ in range(10):
        for column in range(10):
            kept.get(column, (1, 10), lambda: np.zeros(100, np.uint8))
            assert kept.bytes <= 500
    assert kept.decoded < 90
    kept.get("small", (1, 10), lambda: np.zeros(10, np.uint8), most=100)
    assert kept.bytes <= 100


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_that_may_take_little_memory_keeps_little(tmp_path, form, monkeypatch, limit):
    FORMATS[form](tmp_path / "n.root")
    limit(page_shared=100, basket_shared=100)
    most, get = [], DecodedCache.get

    def seen(self, *args):
        found = get(self, *args)
        most.append(self.bytes)
        return found

    monkeypatch.setattr(DecodedCache, "get", seen)
    options = {"schema": "base", "executor": "serial", "progress": False}
    events = {"a": [str(tmp_path / "n.root")]}
    out = hg.run(lambda events: {"x": ak.sum(events.x), "v": ak.sum(events.v)}, events, memory="2 MB", **options)
    assert out["x"] == pytest.approx(VALUES["x"].sum())
    assert 0 < max(most) <= 500_000
    assert len(most) > 3


def test_what_nobody_asks_for_is_not_kept_for_long(limit):
    limit(shared_stay=0.2)
    kept = DecodedCache(most=500)
    start = time.monotonic()
    while time.monotonic() < start + 0.5:
        assert kept.get("often", (1, 1000), lambda: np.zeros(100, np.uint8)).nbytes == 100
        time.sleep(0.01)
    assert kept.decoded == 1
    assert len(kept) == 1
    while len(kept) and time.monotonic() < start + 30:
        time.sleep(0.01)
    assert (len(kept), kept.bytes) == (0, 0)
    kept.get("often", (1, 1000), lambda: np.zeros(100, np.uint8))
    assert (len(kept), kept.bytes, kept.decoded) == (1, 100, 2)

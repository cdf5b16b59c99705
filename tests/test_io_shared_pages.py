"""Pages that ranges have a part of each are decoded once, for all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from ntuple_writer import BY_NAME, CODECS, COLLECTION, ColumnOf, FieldOf, Written, write

from hepgraph import errors
from hepgraph.io import pages
from hepgraph.io.pages import RemoteBytes
from hepgraph.io.root import open_root
from hepgraph.io.source import Need
from hepgraph.io.trees import handles

ENTRIES = 60_000
FIELDS = [FieldOf("x"), FieldOf("v", "std::vector<float>", role=COLLECTION), FieldOf("_0", parent=1)]
COUNTS = np.arange(ENTRIES) // 7 % 4 * 2
ENDS = np.cumsum(COUNTS)
VALUES = {"x": np.arange(ENTRIES) * 0.5, "v": np.arange(ENDS[-1]).astype("f4") // 10}


@pytest.fixture(autouse=True)
def _closed():
    pages.shared.clear()
    yield
    handles.clear()
    pages.shared.clear()


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


@pytest.mark.parametrize(("step", "cut"), [(7_000, 7), (9_999, 7), (30_000, 3)])
@pytest.mark.parametrize("straight", [True, False])
def test_a_page_is_decoded_once_for_all_ranges(tmp_path, monkeypatch, step, cut, straight):
    monkeypatch.setattr(pages, "ENOUGH", 0 if straight else ENTRIES * 10)
    ntuple(tmp_path / "n.root")
    source = open_root(tmp_path / "n.root", step_size=step)
    before = pages.shared.decoded
    found = read(source, source.partitions())
    assert all(np.array_equal(found[name], VALUES[name]) for name in VALUES)
    assert pages.shared.decoded - before == cut


def test_nothing_is_held_on_to_once_all_was_read(tmp_path):
    ntuple(tmp_path / "n.root")
    source = open_root(tmp_path / "n.root", step_size=10_000)
    for part in source.partitions():
        source.read(part, {"x": Need.DATA})
    assert len(pages.shared) == 0


def test_small_pages_and_those_that_a_range_has_all_of_are_not_shared(tmp_path, monkeypatch):
    ntuple(tmp_path / "n.root")
    before = pages.shared.decoded
    source = open_root(tmp_path / "n.root")
    source.read(source.partitions()[0], dict.fromkeys(VALUES, Need.DATA))
    monkeypatch.setattr(pages, "LARGE", 1 << 20)
    source = open_root(tmp_path / "n.root", step_size=10_000)
    read(source, source.partitions())
    assert pages.shared.decoded == before


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    ntuple(tmp_path / "n.root")
    ntuple(tmp_path / "new.root", 3.0)
    source = open_root(tmp_path / "n.root", step_size=10_000)
    source.read(source.partitions()[0], {"x": Need.DATA})
    assert len(pages.shared) == 1
    (tmp_path / "new.root").replace(tmp_path / "n.root")
    source = open_root(tmp_path / "n.root", step_size=10_000)
    found = source.read(source.partitions()[1], {"x": Need.DATA})["x"].values
    assert np.array_equal(found, 3 * VALUES["x"][10_000:20_000])


def test_a_damaged_page_is_an_error_for_every_range(tmp_path):
    what = ntuple(tmp_path / "n.root")
    data = bytearray((tmp_path / "n.root").read_bytes())
    data[what.places[1][2] + 30] ^= 1
    (tmp_path / "n.root").write_bytes(data)
    source = open_root(tmp_path / "n.root", step_size=10_000)
    for number, part in enumerate(source.partitions()):
        if number < 2:
            source.read(part, {"x": Need.DATA})
            continue
        with pytest.raises(errors.DamagedFileError, match=r"page 1 of cluster 0, .*: its checksum is wrong"):
            source.read(part, {"x": Need.DATA})


def test_a_page_of_a_remote_file_is_fetched_once(tmp_path, monkeypatch):
    what = ntuple(tmp_path / "n.root")
    fsspec.filesystem("memory").pipe("/shared/n.root", (tmp_path / "n.root").read_bytes())
    source = open_root("memory://shared/n.root", step_size=10_000)
    asked, ask = [], RemoteBytes.read
    monkeypatch.setattr(RemoteBytes, "read", lambda self, ranges: asked.extend(ranges) or ask(self, ranges))
    found = [source.read(part, {"x": Need.DATA})["x"].values for part in source.partitions()]
    assert np.array_equal(np.concatenate(found), VALUES["x"])
    pages_of_x = [(place, place + size + 8) for _, column, place, size in what.places if column == 0]
    assert sorted(asked) == sorted(pages_of_x)

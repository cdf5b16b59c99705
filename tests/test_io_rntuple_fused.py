"""Pages of a column in one native call: that it is made where it can be, and what it leaves to the slow code."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from limiting import anew
from ntuple_writer import BY_NAME, CODECS, COLLECTION, ColumnOf, FieldOf, Written, write

from hepgraph import errors
from hepgraph.io.native import libraries
from hepgraph.io.rntuple import pages
from hepgraph.io.rntuple.encodings import ENCODINGS
from hepgraph.io.rntuple.fused_pages import DIRECT, ROW, read_pages
from hepgraph.io.root import open_root
from hepgraph.io.source import Access, Need, Partition
from hepgraph.io.trees import handles

NEEDS = {"none": [], "zstd": ["zstd"], "lz4": ["lz4", "xxhash"], "zlib": ["deflate"], "lzma": ["nothing"]}
ELSEWHERE = {"Bit", "Index32"}  # bits are left to the slow code, and so are offsets of another width


@pytest.fixture
def asked(answers, limit):
    """Answers of `_read_fused`, each time that it is asked; it is for any number of elements."""
    limit(native_least=0)
    yield answers(pages.PageReader, "_read_fused")
    handles.clear()


def possible(codec, checksums):
    wanted = [*NEEDS[codec], *(["xxhash"] if checksums else [])]
    return all(name != "nothing" and libraries.library(name) is not None for name in wanted)


def read(path, start=0, stop=None, name="x"):
    source = open_root(path)
    partition = Partition(source.files[0].path, "Events", start, source.entries if stop is None else stop)
    return source.read(partition, {name: Need.DATA})[name]


def numbers(path, encoding, codec="none", checksums=True):
    """Two pages in one cluster and one in another, all of which any codec makes smaller."""
    values = (np.arange(4000) // 100).astype(np.dtype(ENCODINGS[BY_NAME[encoding]].dtype))
    parts = [[values[:1800], values[1800:2600]], [values[2600:]]]
    what = Written([FieldOf("x")], [ColumnOf(BY_NAME[encoding], 0, parts)], [2600, 1400], CODECS[codec], checksums)
    return write(path, what), values, what


@pytest.mark.parametrize("codec", NEEDS)
@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("encoding", ["Bit", "UInt8", "Int16", "Real64", "SplitInt16", "SplitUInt32", "SplitReal64"])
def test_numbers_are_read_in_one_call(tmp_path, asked, encoding, codec, checksums):
    path, values, _ = numbers(tmp_path / "n.root", encoding, codec, checksums)
    found = read(path, 3, 3600)
    assert found.values.tobytes() == values[3:3600].tobytes()
    assert asked == [encoding not in ELSEWHERE and possible(codec, checksums)]  # of both clusters at once


@pytest.mark.parametrize("encoding", ["Index32", "Index64", "SplitIndex32", "SplitIndex64"])
@pytest.mark.parametrize("codec", NEEDS)
def test_lists_are_read_in_one_call(tmp_path, asked, encoding, codec):
    counts = np.arange(4000) // 100 % 4
    ends = np.cumsum(counts)
    flat = (np.arange(counts.sum()) // 100).astype("f4")
    columns = [
        ColumnOf(BY_NAME[encoding], 0, [[ends[:1000], ends[1000:2400], ends[2400:]]]),
        ColumnOf(BY_NAME["SplitReal32"], 1, [[flat[:3100], flat[3100:]]]),
    ]
    fields = [FieldOf("x", "std::vector<float>", role=COLLECTION), FieldOf("_0", parent=0)]
    path = write(tmp_path / "n.root", Written(fields, columns, [4000], CODECS[codec]))
    found = read(path, 1200, 2600)
    assert np.diff(found.offsets[0]).tolist() == counts[1200:2600].tolist()
    assert found.values.tolist() == flat[ends[1199] : ends[2599]].tolist()
    assert asked == [encoding not in ELSEWHERE and possible(codec, True), possible(codec, True)]


def test_pages_that_nobody_looks_at_are_passed_over(tmp_path, asked):
    path, values, what = numbers(tmp_path / "n.root", "SplitReal32")
    source, alive = open_root(path), np.zeros(4000, bool)
    alive[[1900, 2800]] = True
    found = source.read(Partition(source.files[0].path, "Events", 0, 4000), {"x": Need.DATA}, Access(entry_mask=alive))[
        "x"
    ]
    assert found.values.tolist() == [0] * 1800 + values[1800:].tolist()
    assert found.skipped == what.places[0][3] + 8
    assert asked == [possible("none", True)]


@pytest.mark.parametrize("codec", ["none", "zlib"])
def test_pages_that_are_the_same_are_read_from_one_place(tmp_path, asked, codec):
    parts = [np.zeros(500), np.ones(500), np.zeros(500), np.zeros(500)]
    what = Written([FieldOf("x")], [ColumnOf(BY_NAME["SplitInt32"], 0, [parts])], [2000], CODECS[codec], once=True)
    path = write(tmp_path / "n.root", what)
    first, second, third, fourth = [place for *_, place, _ in what.places]
    assert first == third == fourth < second
    assert read(path).values.tolist() == np.concatenate(parts).tolist()
    assert asked == [possible(codec, True)]


def test_without_the_libraries_all_is_read_through_python(tmp_path, asked, limit):
    limit(libraries=0)
    for codec in NEEDS:
        path, values, _ = numbers(tmp_path / f"{codec}.root", "SplitInt32", codec, checksums=False)
        assert anew(read, path).values.tolist() == values.tolist()
    assert asked == [codec == "none" for codec in NEEDS]


def test_on_other_systems_all_is_read_through_python(tmp_path, asked, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    path, values, _ = numbers(tmp_path / "n.root", "SplitInt32")
    assert anew(read, path).values.tolist() == values.tolist()
    assert asked == [False]


def test_very_long_pages_are_read_through_python(tmp_path, asked, limit):
    limit(page_largest=6000)
    path, values, _ = numbers(tmp_path / "n.root", "Int32")
    assert read(path).values.tolist() == values.tolist()
    assert asked == [False]


@pytest.mark.parametrize("checksums", [True, False])
def test_pages_as_they_are_in_memory_are_read_into_their_place(tmp_path, asked, monkeypatch, limit, checksums):
    path, values, what = numbers(tmp_path / "n.root", "Int32", "none", checksums)
    limit(page_alone=4000)
    ways = []

    def noted(rows, frame, tools):
        ways.append([at == DIRECT for at in rows[ROW.index("at") :: len(ROW)]])
        return read_pages(rows, frame, tools)

    monkeypatch.setattr(pages, "read_pages", noted)
    assert read(path, 3).values.tobytes() == values[3:].tobytes()
    assert ways == [[not checksums, False, True]]  # a part of a page with a checksum, a short one, and a whole one
    assert asked == [True]
    data = bytearray((tmp_path / "n.root").read_bytes())
    data[what.places[2][2] + 12] ^= 1
    (tmp_path / "n.root").write_bytes(data)
    handles.clear()
    if checksums:
        with pytest.raises(errors.DamagedFileError, match=r"page 0 of cluster 1, .*: its checksum is wrong"):
            read(path)
        assert asked == [True, False]
    else:
        assert read(path).values.tobytes() != values.tobytes()


def test_what_is_wrong_is_said_by_the_slow_code(tmp_path, asked):
    path, values, what = numbers(tmp_path / "n.root", "SplitReal32", "zstd")
    data = bytearray((tmp_path / "n.root").read_bytes())
    data[what.places[1][2] + 12] ^= 1
    (tmp_path / "n.root").write_bytes(data)
    with pytest.raises(errors.DamagedFileError, match=r"page 1 of cluster 0, .*: its checksum is wrong"):
        read(path)
    assert asked == [False]
    handles.clear()
    assert read(path, 0, 800).values.tolist() == values[:800].tolist()

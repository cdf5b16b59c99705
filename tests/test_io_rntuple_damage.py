"""Damaged RNTuples: where there are checksums, an error that says where, or the same data; never other data."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from drawing import examples
from limiting import limited
from ntuple_writer import BY_NAME, CODECS, COLLECTION, ColumnOf, FieldOf, Written, write

from hepgraph import errors
from hepgraph.io.access import ranges
from hepgraph.io.rntuple import pages
from hepgraph.io.rntuple.encodings import TRUNCATED
from hepgraph.io.rntuple.source import layout_of
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition
from hepgraph.io.trees import borrowed, handles

pytestmark = pytest.mark.fuzz
MUTATIONS = examples(40)  # of each of five files


def events(path: Path, codec: str = "zstd", checksums: bool = True) -> str:
    """Two clusters of numbers, lists and text, in several pages."""
    rng = np.random.default_rng(1)
    entries = [30, 20]
    fields = [FieldOf("x"), FieldOf("i"), FieldOf("b"), FieldOf("v", "std::vector<float>", role=COLLECTION)]
    fields += [FieldOf("_0", parent=3), FieldOf("s", "std::string"), FieldOf("t")]
    reals = [rng.normal(size=n).astype("f4") for n in entries]
    lengths = [rng.integers(0, 4, n) for n in entries]
    ends = [np.cumsum(n) for n in lengths]
    inside = [rng.normal(size=e[-1]) for e in ends]
    letters = [rng.integers(97, 123, e[-1]) for e in ends]
    columns = [
        ColumnOf(BY_NAME["SplitReal32"], 0, [[part[:11], part[11:]] for part in reals]),
        ColumnOf(BY_NAME["SplitInt64"], 1, [[rng.integers(-50, 50, n)] for n in entries]),
        ColumnOf(BY_NAME["Bit"], 2, [[rng.integers(0, 2, n)] for n in entries]),
        ColumnOf(BY_NAME["SplitIndex64"], 3, [[part[:9], part[9:]] for part in ends]),
        ColumnOf(BY_NAME["Real32"], 4, [[part] for part in inside]),
        ColumnOf(BY_NAME["Index64"], 5, [[part] for part in ends]),
        ColumnOf(BY_NAME["Char"], 5, [[part] for part in letters]),
        ColumnOf(TRUNCATED, 6, [[part] for part in reals], bits=13),
    ]
    return write(path, Written(fields, columns, entries, CODECS[codec], checksums))


def content(path: str) -> dict[str, tuple[object, ...]] | str:
    """Types and bytes of all columns, or the error."""
    found = read(path)
    with limited(native_least=0):  # of so few numbers too, native code places pages where it can
        assert read(path) == found
        with limited(page_alone=0):  # and reads those that need no more into their place
            assert read(path) == found
    return found


def read(path: str) -> dict[str, tuple[object, ...]] | str:
    try:
        source = open_root(path)
        partition = Partition(source.files[0].path, "Events", 0, source.entries)
        found = source.read(partition, dict.fromkeys(source.columns, Need.DATA))
    except errors.SourceError as error:
        return str(error)
    finally:
        handles.clear()
    return {
        name: (source.columns[name].type, data.values.tobytes(), *(offsets.tobytes() for offsets in data.offsets))
        for name, data in found.items()
    }


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Some of the bytes are others."""
    changed, at = bytearray(data), rng.randrange(len(data))
    match rng.choice(["bits", "bits", "byte", "zeros", "copy", "cut"]):
        case "bits":
            for _ in range(rng.choice([1, 1, 2, 5])):
                changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case "byte":
            changed[at] = rng.randrange(256)
        case "zeros":
            stop = min(len(data), at + rng.choice([1, 4, 8, 64]))
            changed[at:stop] = bytes(stop - at)
        case "copy":
            size = min(rng.choice([4, 8, 40]), len(data) - at)
            there = rng.randrange(len(data) - size + 1)
            changed[at : at + size] = data[there : there + size]
        case "cut":
            del changed[at:]
    return bytes(changed)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_any_damage(tmp_path, codec):
    good = content(events(tmp_path / "good.root", codec))
    data = (tmp_path / "good.root").read_bytes()
    rng = random.Random(codec)
    seen = set()
    for _ in range(MUTATIONS):
        (tmp_path / "bad.root").write_bytes(mutate(rng, data))
        found = content(str(tmp_path / "bad.root"))
        assert found == good or "bad.root" in found
        seen.add(found == good)
    assert False in seen


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_every_tenth_of_a_file(tmp_path, codec):
    path = Path(events(tmp_path / "n.root", codec))
    data = path.read_bytes()
    assert isinstance(content(str(path)), dict)
    for tenth in range(10):
        path.write_bytes(data[: len(data) * tenth // 10])
        assert "n.root" in content(str(path))


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_damage_without_checksums_is_no_crash(tmp_path, codec):
    names = content(events(tmp_path / "good.root", codec, checksums=False)).keys()
    data = (tmp_path / "good.root").read_bytes()
    rng = random.Random(codec)
    for _ in range(MUTATIONS):
        (tmp_path / "bad.root").write_bytes(mutate(rng, data))
        found = content(str(tmp_path / "bad.root"))
        assert "bad.root" in found if isinstance(found, str) else found.keys() == names


# what the messages say


def message(path: str) -> str:
    """The error of reading a file, without the name of the directory."""
    found = content(path)
    assert isinstance(found, str)
    return found.replace(str(Path(path).parent) + "/", "")


def changed(path: str, at: int, new: bytes) -> str:
    data = bytearray(Path(path).read_bytes())
    data[at : at + len(new)] = new
    Path(path).write_bytes(data)
    return path


def one_column(path: Path, *columns: ColumnOf, checksums: bool = True, fields: list[FieldOf] | None = None) -> str:
    return write(path, Written(fields or [FieldOf("x")], list(columns), [10, 10], CODECS["zstd"], checksums))


COUNTED = np.arange(10)
READING = "Cannot read field 'x' of tree 'Events', entries 0 to 20, in n.root: PageError: "
OPENING = "Cannot read where the pages of tree 'Events' are in n.root: PageError: "


def test_a_page_whose_checksum_is_wrong(tmp_path):
    what = Written(
        [FieldOf("x")], [ColumnOf(BY_NAME["SplitReal32"], 0, [[COUNTED], [COUNTED[:4], COUNTED[4:]]])], [10, 10]
    )
    path = write(tmp_path / "n.root", what)
    *_, offset, size = what.places[2]
    assert what.places[2][:2] == (1, 0)
    changed(path, offset + size - 1, b"!")
    assert message(path) == READING + "page 1 of cluster 1, column 0 (SplitReal32): its checksum is wrong"
    source = open_root(path)  # what is not damaged can be read
    part = Partition(source.files[0].path, "Events", 0, 14)
    assert source.read(part, {"x": Need.DATA})["x"].values.tolist() == [*range(10), *range(4)]
    handles.clear()


def test_a_page_that_the_file_does_not_have(tmp_path, monkeypatch):
    what = Written(
        [FieldOf("x")], [ColumnOf(BY_NAME["Int32"], 0, [[COUNTED], [COUNTED]])], [10, 10], CODECS["zstd"], True
    )
    path = write(tmp_path / "n.root", what)
    *_, place, size = what.places[0]
    made = ranges.LocalBytes.__init__

    def shorter(self, file):
        made(self, file)
        self.size = place + 3

    monkeypatch.setattr(ranges.LocalBytes, "__init__", shorter)
    monkeypatch.setattr(pages, "read_pages", lambda *_: False)
    wanted = f"bytes {place} to {place + size + 8} are wanted, and the file has {place + 3}"
    assert message(path) == f"{READING}page 0 of cluster 0, column 0 (Int32): {wanted}"


def test_a_page_that_cannot_be_unpacked(tmp_path):
    values = np.zeros(1000)
    what = Written([FieldOf("x")], [ColumnOf(BY_NAME["Real64"], 0, [[values]])], [1000], CODECS["zlib"], False)
    path = changed(write(tmp_path / "n.root", what), what.places[0][2], b"QQ")
    expected = "page 0 of cluster 0, column 0 (Real64): no compression is called b'QQ'; ROOT knows ZS, L4, ZL, XZ, CS"
    assert message(path) == READING.replace("20", "1000") + expected


VECTOR = [FieldOf("x", "std::vector<float>", role=COLLECTION), FieldOf("_0", parent=0)]
LISTS = {
    "the ends of lists decrease in cluster 1, column 0 (SplitIndex64)": ([*range(9), 3], 10),
    "elements 0 to 9 wanted of the 7 in cluster 1, column 1 (Real32)": (range(10), 7),
}


@pytest.mark.parametrize("expected", LISTS)
def test_lists_that_contradict_themselves(tmp_path, expected):
    ends, elements = LISTS[expected]
    index = ColumnOf(BY_NAME["SplitIndex64"], 0, [[COUNTED], [np.array(ends)]])
    values = ColumnOf(BY_NAME["Real32"], 1, [[COUNTED[:9]], [COUNTED[:elements]]])
    assert message(one_column(tmp_path / "n.root", index, values, fields=VECTOR)) == READING + expected


COLUMNS = {
    "9 elements in cluster 1, column 0 (Int8), not 10": [ColumnOf(3, 0, [[COUNTED], [COUNTED[:9]]])],
    "12 elements in cluster 0, column 0 (Int8), not 10": [ColumnOf(3, 0, [[np.arange(12)], [COUNTED]])],
    "0 elements in cluster 0, column 0 (Int8), not 5": [ColumnOf(3, 0, [[COUNTED]], first=5, missing_clusters=1)],
    "cluster 0 has 2 representations in use, of columns 0, 1, not one": [
        ColumnOf(3, 0, [[COUNTED], [COUNTED]]),
        ColumnOf(5, 0, [[COUNTED], None], representation=1),
    ],
    "cluster 1 has 0 representations in use, of columns 0, 1, not one": [
        ColumnOf(5, 0, [[COUNTED], None]),
        ColumnOf(3, 0, [None, None], representation=1),
    ],
}


@pytest.mark.parametrize("expected", COLUMNS)
def test_columns_that_contradict_themselves(tmp_path, expected):
    assert message(one_column(tmp_path / "n.root", *COLUMNS[expected])) == READING + expected


def test_a_representation_that_loses_digits_is_refused(tmp_path):
    narrow = ColumnOf(BY_NAME["Real16"], 0, [[COUNTED], None])
    wide = ColumnOf(BY_NAME["SplitReal32"], 0, [None, [COUNTED]], representation=1)
    expected = READING.replace("PageError", "NotImplementedError")
    expected += "cluster 1, column 1 (SplitReal32): not stored as float16 as elsewhere"
    assert message(one_column(tmp_path / "n.root", narrow, wide)) == expected


def test_envelopes(tmp_path):
    path = one_column(tmp_path / "n.root", ColumnOf(BY_NAME["Int32"], 0, [[COUNTED], [COUNTED]]))
    data = Path(path).read_bytes()
    header = data.rindex(b"Events")
    changed(path, header, b"events")
    assert message(path) == OPENING + "the header of the RNTuple is damaged: its checksum is wrong"
    changed(path, header, b"Events")
    changed(path, len(data) - 20, b"\xff" * 4)
    assert message(path) == OPENING + "the footer of the RNTuple is damaged: its checksum is wrong"


def test_uproot_is_not_given_pages_whose_checksum_is_wrong(tmp_path):
    what = Written([FieldOf("x")], [ColumnOf(BY_NAME["Real32"], 0, [[COUNTED], [COUNTED]])], [10, 10])
    path = write(tmp_path / "n.root", what)
    changed(path, what.places[1][2], b"!")
    source = open_root(path)
    source.plain = True
    with pytest.raises(
        errors.DamagedFileError, match=r"page 0 of cluster 1, column 0 \(Real32\): its checksum is wrong"
    ):
        source.read(Partition(path, "Events", 0, 20), {"x": Need.DATA})
    assert source.read(Partition(path, "Events", 2, 8), {"x": Need.DATA})["x"].values.tolist() == [*range(2, 8)]
    handles.clear()


def test_a_file_that_is_replaced_between_its_page_list_and_its_pages(tmp_path):
    path = one_column(tmp_path / "n.root", ColumnOf(BY_NAME["Int32"], 0, [[COUNTED], [COUNTED]]))
    source = open_root(path)
    with borrowed(path, "Events", {}) as opened:
        layout_of(opened, path).stamp = (0, 0)
    with pytest.raises(errors.ChangedFileError) as caught:
        source.read(Partition(path, "Events", 0, 20), {"x": Need.DATA})
    assert str(caught.value) == f"{path} changed while it was read. Open the dataset again."
    handles.clear()

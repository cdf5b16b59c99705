"""Files of the column cache: what is written comes back; what contradicts itself, or is of something else, does not."""

import json
import struct

import numpy as np
import pytest
import xxhash

from hepgraph.io.cache.columnfile import FileError, OpenedColumn, written
from hepgraph.io.source import Column, Data, Level, Need, RecordLevel

F4 = np.dtype(np.float32)
LISTS = Column("x", F4, (Level(),))
TEXTS = Column("t", np.dtype(np.uint8), text=True)
DEEP = Column("y", F4, (Level(nullable=True), Level()), nullable=True, records=(RecordLevel("r", 1),))


def numbers(count):
    return np.arange(count, dtype=np.float32)


def ends(*values):
    return np.array(values, np.int64)


def flags(count):
    return np.arange(count) % 2 == 0


def read(column, data, entries, need=Need.DATA, about="x", change=None):
    content = b"".join(written("x", data))
    content = content if change is None else change(content)
    return OpenedColumn(content, {}).read(about, column, need, entries)


SOUND = [
    (LISTS, Data(numbers(3), (ends(0, 2, 2, 3),), None, (None,)), 3),
    (LISTS, Data(numbers(0), (ends(0),), None, (None,)), 0),
    (LISTS, Data(numbers(70_000), (ends(0, 70_000),), None, (None,)), 1),
    (TEXTS, Data(np.frombuffer(b"abc", np.uint8), (ends(0, 1, 3),)), 2),
    (DEEP, Data(numbers(4), (ends(0, 1, 3), ends(0, 0, 1, 4)), flags(4), (flags(2), flags(3)), {"r": flags(3)}), 2),
]


@pytest.mark.parametrize(("column", "data", "entries"), SOUND)
@pytest.mark.parametrize("need", Need)
def test_what_was_written_comes_back(column, data, entries, need):
    found = read(column, data, entries, need)
    wanted = data.offsets if need is Need.DATA else data.offsets[: len(column.levels)]
    assert [each.tolist() for each in found.offsets] == [each.tolist() for each in wanted]
    assert all(each.dtype == np.int64 for each in found.offsets)
    assert (found.values is None) == (need is Need.COUNTS)
    if need is Need.DATA:
        assert found.values.dtype == data.values.dtype
        assert found.values.tobytes() == data.values.tobytes()
        assert (found.valid is None) == (data.valid is None)
    assert [mask is None for mask in found.level_valid] == [mask is None for mask in data.level_valid]
    assert {name: mask.tolist() for name, mask in found.records.items()} == {
        name: mask.tolist() for name, mask in data.records.items()
    }


def test_lengths_take_few_bytes():
    data = Data(numbers(10_000), (np.arange(10_001, dtype=np.int64),), None, (None,))
    assert sum(map(len, written("x", data))) < 10_000 * 5 + 1000


@pytest.mark.parametrize(
    ("column", "data", "entries", "message"),
    [
        (LISTS, Data(numbers(3), (ends(0, 2, 2, 3),), None, (None,)), 4, "its arrays do not go together"),
        (LISTS, Data(numbers(2), (ends(0, 2, 3),), None, (None,)), 2, "its arrays do not go together"),
        (LISTS, Data(numbers(3).astype(float), (ends(0, 3),), None, (None,)), 1, "its values are of another type"),
        (LISTS, Data(numbers(3)), 3, "it has other arrays than its column"),
        (LISTS, Data(None, (ends(0, 3),), None, (None,)), 1, "it has other arrays than its column"),
        (TEXTS, Data(np.frombuffer(b"abc", np.uint8), (ends(0, 1, 9),)), 2, "its arrays do not go together"),
        (DEEP, Data(numbers(4), (ends(0, 1, 3), ends(0, 0, 4)), flags(4), (flags(2), flags(3)), {"r": flags(3)}), 2,
         "its arrays do not go together"),
        (DEEP, Data(numbers(4), (ends(0, 1, 3), ends(0, 0, 1, 4)), flags(3), (flags(2), flags(3)), {"r": flags(3)}), 2,
         "its arrays do not go together"),
        (DEEP, Data(numbers(4), (ends(0, 1, 3), ends(0, 0, 1, 4)), flags(4), (flags(1), flags(3)), {"r": flags(3)}), 2,
         "its arrays do not go together"),
        (DEEP, Data(numbers(4), (ends(0, 1, 3), ends(0, 0, 1, 4)), flags(4), (flags(2), flags(3)), {"r": flags(2)}), 2,
         "its arrays do not go together"),
        (DEEP, Data(numbers(4), (ends(0, 1, 3), ends(0, 0, 1, 4)), flags(4), (flags(2), flags(3)), {"s": flags(3)}), 2,
         "its arrays do not go together"),
    ],
)  # fmt: skip
def test_arrays_that_contradict_each_other(column, data, entries, message):
    with pytest.raises(FileError, match=message):
        read(column, data, entries)


def told(rows, size=64):
    """A file whose header says so, with the right checksum."""
    header = json.dumps({"about": "x", "records": [], "arrays": rows}).encode()
    begin = 24 + len(header)
    return (
        struct.pack("<8sQQ", b"hepcol1\n", xxhash.xxh3_64_intdigest(header), len(header))
        + header
        + bytes(-begin % 64 + size)
    )


NOTHING = xxhash.xxh3_128_hexdigest(b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has only 0 bytes"),
        (b"?" * 100, "it does not begin like"),
        (struct.pack("<8sQQ", b"hepcol1\n", 0, 2**60), "it does not begin like"),
        (struct.pack("<8sQQ", b"hepcol1\n", 0, 2) + b"{}", "the checksum of its header is wrong"),
        (told([["values", "<f4", 2**40, 0, NOTHING]]), "it is too short"),
        (told([["values", "<f4", 4, -8000, NOTHING]]), "it is too short"),
        (told([["values", "|O", 1, 0, NOTHING]]), "it is too short"),
        (told([["values", "<f4", 4, 0, NOTHING]]), "a checksum is wrong"),
        (told([["offsets", "<i8", 0, 0, NOTHING]]), "its lengths of lists are of another type"),
    ],
)
def test_files_that_others_made_up(content, message):
    with pytest.raises(FileError, match=message):
        OpenedColumn(content, {}).read("x", LISTS, Need.DATA, 1)


def test_a_file_of_something_else():
    column, data, entries = SOUND[0]
    with pytest.raises(FileError, match="it is of something else"):
        read(column, data, entries, about="y")


@pytest.mark.parametrize(("column", "data", "entries"), SOUND)
def test_every_flipped_byte_is_found_or_does_not_matter(column, data, entries):
    content = b"".join(written("x", data))
    wanted = read(column, data, entries)
    found = 0
    for at in range(0, len(content), max(1, len(content) // 400)):
        changed = bytearray(content)
        changed[at] ^= 1
        try:
            got = OpenedColumn(bytes(changed), {}).read("x", column, Need.DATA, entries)
        except FileError:
            found += 1
            continue
        assert got.values.tobytes() == wanted.values.tobytes()  # in the gaps between arrays
        assert [each.tolist() for each in got.offsets] == [each.tolist() for each in wanted.offsets]
    assert found > 50

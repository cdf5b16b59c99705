"""RNTuple pages: every encoding, paging and structure reads as it was written, and as uproot reads it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pytest
import uproot
from columns import to_awkward
from drawing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from limiting import limited
from ntuple_writer import BY_NAME, CODECS, COLLECTION, ColumnOf, FieldOf, Written, write

from hepgraph.io.native.loops import add_up
from hepgraph.io.native.shared import shared
from hepgraph.io.rntuple.encodings import ENCODINGS, QUANTISED, TRUNCATED, Encoding
from hepgraph.io.rntuple.source import layout_of
from hepgraph.io.rntuple.unsplit import unsplit
from hepgraph.io.root import open_root
from hepgraph.io.source import Data, Need, Partition, Source
from hepgraph.io.trees import borrowed, handles

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
INDEX64, SPLIT_INDEX64, SPLIT_INDEX32 = 0x0F, 0x1B, 0x1A


# reading, and what uproot says


def data_of(path: str, start: int = 0, stop: int | None = None, plain: bool = False) -> tuple[Source, dict[str, Data]]:
    """All columns that can be read; with `plain`, by uproot."""
    source = open_root(path)
    source.plain = plain
    names = [name for name, column in source.columns.items() if not column.problem]
    partition = Partition(source.files[0].path, "Events", start, source.entries if stop is None else stop)
    return source, source.read(partition, dict.fromkeys(names, Need.DATA))


def read(path: str, start: int = 0, stop: int | None = None) -> dict[str, ak.Array]:
    """All columns as awkward arrays."""
    source, found = data_of(path, start, stop)
    return {name: to_awkward(source.columns[name], data) for name, data in found.items()}


def equal(mine: np.ndarray | None, theirs: np.ndarray | None) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes()


def same(mine: Data, theirs: Data) -> bool:
    """Whether type, structure and all bits are the same, but those of values that are missing."""
    here = slice(None) if mine.valid is None or len(mine.valid) != len(mine.values) else mine.valid
    return (
        equal(mine.valid, theirs.valid)
        and equal(mine.values[here], theirs.values[here])
        and all(map(equal, mine.offsets, theirs.offsets))
        and all(map(equal, mine.level_valid, theirs.level_valid))
        and len(mine.offsets) == len(theirs.offsets)
    )


def agrees(path: str, ranges: list[tuple[int, int]]) -> None:
    """Checks that nothing is left to uproot, and that it reads the same; counts alone agree with the data."""
    for start, stop in ranges:
        (source, mine), (_, theirs) = data_of(path, start, stop), data_of(path, start, stop, plain=True)
        with limited(native_least=0):  # of so few numbers too, native code places pages where it can
            _, straight = data_of(path, start, stop)
            with limited(page_alone=0):  # and reads those that need no more into their place
                _, direct = data_of(path, start, stop)
        with limited(page_shared=0):  # so short pages too are shared with other ranges
            (_, half), (_, other) = data_of(path, start, stop), data_of(path, start, stop)
        for name in theirs:
            assert same(mine[name], theirs[name]), (name, start, stop)
            assert same(straight[name], mine[name]), (name, start, stop)
            assert same(direct[name], mine[name]), (name, start, stop)
            assert same(half[name], mine[name]), (name, start, stop)
            assert same(other[name], mine[name]), (name, start, stop)
    partition = Partition(source.files[0].path, "Events", start, stop)
    with borrowed(partition.path, "Events", {}) as opened:
        assert not [name for name in mine if layout_of(opened, partition.path).chain(name) is None]
    counts = source.read(partition, dict.fromkeys(mine, Need.COUNTS))
    for name, data in mine.items():
        depth = len(source.columns[name].levels)
        assert counts[name].values is None
        assert all(map(np.array_equal, counts[name].offsets[:depth], data.offsets[:depth]))


@pytest.fixture(autouse=True)
def _closed():
    yield
    handles.clear()
    shared.clear()


def ranges_of(draw: st.DrawFn, entries: int) -> list[tuple[int, int]]:
    pair = st.tuples(st.integers(0, entries), st.integers(0, entries)).map(lambda both: tuple(sorted(both)))
    return [(0, entries), *draw(st.lists(pair, max_size=2))]


def cut(draw: st.DrawFn, values: np.ndarray) -> list[np.ndarray]:
    """The values in pieces, none of them empty."""
    edges = sorted({0, len(values), *draw(st.lists(st.integers(0, len(values)), max_size=3))})
    return [values[a:b] for a, b in pairwise(edges)]


# bytes back in order


def slow_unsplit(split: np.ndarray, first: int, out: np.ndarray, zigzag: bool) -> None:
    """The definition of `unsplit`, by NumPy."""
    planes = split.reshape(out.dtype.itemsize, -1)[:, first : first + len(out)]
    out.view(np.uint8).reshape(-1, out.dtype.itemsize)[...] = planes.T
    if zigzag:
        numbers = out.view(f"u{out.dtype.itemsize}")
        numbers[...] = (numbers >> 1) ^ (np.zeros_like(numbers) - (numbers & 1))


@given(data=st.data(), width=st.sampled_from([2, 4, 8]), zigzag=st.booleans(), count=st.integers(0, 100))
@settings(deadline=None)
def test_the_compiled_loops_are_the_slow_ones(data, width, zigzag, count):
    split = data.draw(nps.arrays(np.uint8, count * width))
    first = data.draw(st.integers(0, count))
    numbers = data.draw(st.integers(0, count - first))
    place = np.zeros(numbers * width + 200, np.uint8)
    shift = data.draw(st.integers(0, 130))  # on a line of a cache or not
    fast, slow = place[shift : shift + numbers * width].view(f"i{width}"), np.zeros(numbers, f"i{width}")
    unsplit(split, first, fast, zigzag)
    slow_unsplit(split, first, slow, zigzag)
    assert np.array_equal(fast, slow)
    assert not place[:shift].any()
    assert not place[shift + numbers * width :].any()


@given(steps=nps.arrays(st.sampled_from([np.int32, np.uint32, np.int64]), st.integers(0, 50)), data=st.data())
@settings(deadline=None)
def test_running_sums(steps, data):
    skip = data.draw(st.integers(0, len(steps)))
    count, shift = data.draw(st.integers(0, len(steps) - skip)), data.draw(st.integers(0, 70))
    place = np.zeros(8 * count + 80, np.uint8)
    out = place[shift : shift + 8 * count].view(np.int64)  # on a line of a cache or not
    begin = data.draw(st.integers(-9, 2**40))
    rising = add_up(steps, skip, out, begin)
    assert np.array_equal(out, begin + np.cumsum(steps, dtype=np.int64)[skip : skip + count])
    assert not place[:shift].any()
    assert not place[shift + 8 * count :].any()
    assert rising == (steps[skip + 1 : skip + count] >= 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: unsplit(np.zeros(9, np.uint8), 0, np.zeros(2, "f4")), "9 bytes do not hold numbers 0 to 2 of 4 bytes"),
        (lambda: unsplit(np.zeros(8, np.uint8), 1, np.zeros(2, "f4")), "8 bytes do not hold numbers 1 to 3 of 4 bytes"),
        (
            lambda: unsplit(np.zeros(16, np.uint8)[::2], 0, np.zeros(2, "f4")),
            "the bytes and the place for the numbers must each be contiguous",
        ),
        (lambda: add_up(np.zeros(3, "i4"), 2, np.zeros(2, "i8")), "3 steps do not give sums 2 to 4"),
        (
            lambda: add_up(np.zeros(3, "i4"), 0, np.zeros(2, "i4")),
            "the steps and the place for the sums must each be contiguous",
        ),
    ],
)
def test_the_compiled_loops_never_go_beyond_an_array(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


def test_encodings_are_those_that_uproot_knows():
    const = uproot.const
    for number, encoding in ENCODINGS.items():
        dtype = const.rntuple_col_num_to_dtype_dict[number]
        assert encoding.name.lower() == {v: k for k, v in const.rntuple_col_type_to_num_dict.items()}[number]
        assert encoding == Encoding(
            encoding.name,
            np.dtype("bool" if dtype == "bit" else dtype),
            const.rntuple_col_num_to_size_dict[number],
            number in const.rntuple_split_types,
            number in const.rntuple_zigzag_types,
            number in const.rntuple_delta_types,
            number in const.rntuple_index_types,
        )
    left = {"switch", "real32trunc", "real32quant"}
    assert len(ENCODINGS) == len(const.rntuple_col_num_to_dtype_dict) - len(left)


# any file


FLAT = [number for number, encoding in ENCODINGS.items() if not encoding.index] + [TRUNCATED, QUANTISED]
EXAMPLES = settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def flat_tuples(draw: st.DrawFn) -> tuple[Written, list[np.ndarray]]:
    """An RNTuple of numbers, every column of them in pages of its own, and the numbers."""
    clusters = draw(st.lists(st.integers(0, 40), min_size=1, max_size=3))
    what = Written([], [], clusters, CODECS[draw(st.sampled_from(sorted(CODECS)))], draw(st.booleans()))
    truth = []
    for number in draw(st.lists(st.sampled_from(FLAT), min_size=1, max_size=4)):
        bits, limits = 0, None
        dtype = ENCODINGS[number].dtype if number in ENCODINGS else np.dtype(np.float32)
        elements = nps.from_dtype(dtype)
        if number == TRUNCATED:
            bits = draw(st.integers(10, 31))
        if number == QUANTISED:
            bits, limits = draw(st.integers(1, 32)), (-3.0, 5.0)
            elements = st.floats(-3, 5, width=32)
        values = draw(nps.arrays(dtype, sum(clusters), elements=elements, fill=st.nothing()))
        parts = np.split(values, np.cumsum(clusters)[:-1])
        pages = [cut(draw, part) for part in parts]
        what.columns.append(ColumnOf(number, len(what.fields), pages, bits, limits=limits))
        what.fields.append(FieldOf(f"x{len(what.fields)}"))
        truth.append(values)
    return what, truth


@given(drawn=flat_tuples(), data=st.data())
@EXAMPLES
def test_numbers_in_every_encoding(tmp_path, drawn, data):
    what, truth = drawn
    path = write(tmp_path / "n.root", what)
    found = read(path)
    for column, values in zip(what.columns, truth, strict=True):
        mine = np.asarray(found[f"x{column.field}"])
        if column.number in ENCODINGS:
            assert mine.tobytes() == values.tobytes()
        elif column.number == QUANTISED:
            assert np.all(np.abs(mine - values) <= 8 / ((1 << column.bits) - 1))
        else:
            assert np.array_equal(mine.view("u4"), values.view("u4") >> (32 - column.bits) << (32 - column.bits))
    agrees(path, ranges_of(data.draw, sum(what.clusters)))


def ends_of(lengths: np.ndarray) -> np.ndarray:
    return np.cumsum(lengths, dtype=np.int64)


@given(data=st.data(), codec=st.sampled_from(sorted(CODECS)), checksums=st.booleans())
@EXAMPLES
def test_lists_in_every_encoding(tmp_path, data, codec, checksums):
    """Lists of lists of pairs of bits, each column in pages of its own."""
    draw = data.draw
    clusters = draw(st.lists(st.integers(0, 12), min_size=1, max_size=3))
    outer = [draw(nps.arrays(np.int64, n, elements=st.integers(0, 4), fill=st.nothing())) for n in clusters]
    inner = [draw(nps.arrays(np.int64, int(n.sum()), elements=st.integers(0, 4), fill=st.nothing())) for n in outer]
    bits = [draw(nps.arrays(np.bool_, 2 * int(n.sum()), fill=st.nothing())) for n in inner]
    kinds = [draw(st.sampled_from([n for n, encoding in ENCODINGS.items() if encoding.index])) for _ in range(2)]
    pages = [[cut(draw, ends_of(part)) for part in parts] for parts in (outer, inner)]
    fields = [
        FieldOf("v", "std::vector<std::vector<std::bitset<2>>>", role=COLLECTION),
        FieldOf("_0", "std::vector<std::bitset<2>>", 0, COLLECTION),
        FieldOf("_0", "std::bitset<2>", 1, size=2),
    ]
    columns = [ColumnOf(kinds[0], 0, pages[0]), ColumnOf(kinds[1], 1, pages[1])]
    columns.append(ColumnOf(0, 2, [cut(draw, part) for part in bits]))
    path = write(tmp_path / "n.root", Written(fields, columns, clusters, CODECS[codec], checksums))
    flat = ak.unflatten(np.concatenate(bits).reshape(-1, 2), np.concatenate(inner))
    assert read(path)["v"].to_list() == ak.unflatten(flat, np.concatenate(outer)).to_list()
    agrees(path, ranges_of(draw, sum(clusters)))


TYPES = [
    "5 * int32", "var * float32", "var * var * int64", "var * {a: float32, b: int8}", "?float64", "?int16", "bool",
    "var * ?bool", "{p: float32, q: {r: var * uint8}}", "option[var * float32]", "string", "var * string", "?string",
    "2 * 3 * uint16", "{p: ?float32, q: option[2 * int32]}", "(float32, int64)", "var * option[var * ?int32]",
    "option[{a: float32, b: var * int8}]", "var * 2 * bool",
]  # fmt: skip


def content_of(draw: st.DrawFn, kind: ak.types.Type, n: int) -> ak.contents.Content:
    """Any content of a type."""
    match kind:
        case ak.types.OptionType():
            there = draw(nps.arrays(np.bool_, n, fill=st.nothing()))
            index = np.where(there, np.cumsum(there) - 1, -1)
            content = content_of(draw, kind.content, int(there.sum()))
            return ak.contents.IndexedOptionArray(ak.index.Index64(index), content)
        case ak.types.RecordType():
            contents = [content_of(draw, content, n) for content in kind.contents]
            return ak.contents.RecordArray(contents, kind.fields if not kind.is_tuple else None, n)
        case ak.types.RegularType():
            return ak.contents.RegularArray(content_of(draw, kind.content, n * kind.size), kind.size, n)
        case ak.types.ListType():
            lengths = draw(nps.arrays(np.int64, n, elements=st.integers(0, 3), fill=st.nothing()))
            content = content_of(draw, kind.content, int(lengths.sum()))
            is_text = kind.parameter("__array__") == "string"
            offsets = ak.index.Index64(np.concatenate([[0], np.cumsum(lengths)]))
            return ak.contents.ListOffsetArray(
                offsets, content, parameters={"__array__": "string"} if is_text else None
            )
    if kind.parameter("__array__") == "char":
        letters = draw(nps.arrays(np.uint8, n, elements=st.integers(97, 122), fill=st.nothing()))
        return ak.contents.NumpyArray(letters, parameters={"__array__": "char"})
    return ak.contents.NumpyArray(draw(nps.arrays(np.dtype(kind.primitive), n)))


@given(data=st.data(), codec=st.sampled_from(sorted(CODECS)))
@EXAMPLES
def test_what_uproot_writes(tmp_path, data, codec):
    kinds = data.draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
    lengths = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=3))

    def events(n: int) -> ak.Array:
        contents = [content_of(data.draw, ak.types.from_datashape(kind, highlevel=False), n) for kind in kinds]
        return ak.Array(ak.contents.RecordArray(contents, [f"f{i}" for i in range(len(kinds))], n))

    with uproot.recreate(tmp_path / "n.root", compression=CODECS[codec]) as file:
        ntuple = file.mkrntuple("Events", events(0))
        for n in lengths:
            ntuple.extend(events(n))
    agrees(str(tmp_path / "n.root"), ranges_of(data.draw, sum(lengths)))


def test_every_field_of_a_real_file():  # of the other one: test_datasets_nanoaod.py
    if not DATA.exists():
        pytest.skip("the shared data are not here")
    agrees(str(DATA / "nano_dimuon_rntuple.root"), [(3, 40)])  # uproot takes a minute for 1900 fields


def test_a_page_of_several_blocks(tmp_path):
    values = (np.arange(5_000_000) // 100).astype(np.float32)  # 20 MB: two blocks
    what = Written([FieldOf("x")], [ColumnOf(BY_NAME["SplitReal32"], 0, [[values]])], [len(values)], CODECS["zstd"])
    assert np.array_equal(np.asarray(read(write(tmp_path / "n.root", what))["x"]), values)


# columns that are not in all clusters, or not always in the same way


def late(first: int) -> tuple[Written, np.ndarray, np.ndarray]:
    """Numbers, pairs of them and lists that begin with entry `first` of 10 + 10 + 10."""
    number, pair, flat = BY_NAME["SplitReal32"], BY_NAME["Int16"], BY_NAME["UInt8"]
    entry = np.arange(30)
    gone, within = first // 10, first % 10
    parts = [entry[max(first, 10 * k) : 10 * k + 10] for k in range(gone, 3)]
    fields = [FieldOf("n"), FieldOf("x"), FieldOf("p", size=2), FieldOf("_0", parent=2)]
    fields += [FieldOf("v", "std::vector<float>", role=COLLECTION), FieldOf("_0", parent=4)]
    columns = [ColumnOf(flat, 0, [[entry[:10]], [entry[10:20]], [entry[20:]]])]
    columns.append(ColumnOf(number, 1, [[part] for part in parts], first=first, missing_clusters=gone))
    pairs = [[np.repeat(part, 2)] for part in parts]
    columns.append(ColumnOf(pair, 3, pairs, first=2 * first, missing_clusters=gone))
    ends = [[ends_of(part % 3)] for part in parts]
    columns.append(ColumnOf(SPLIT_INDEX64, 4, ends, first=first, missing_clusters=gone))
    columns.append(ColumnOf(number, 5, [[np.repeat(part, part % 3)] for part in parts], missing_clusters=gone))
    assert within == 0 or gone < 3
    return Written(fields, columns, [10, 10, 10]), entry, np.where(entry >= first, entry, 0)


@pytest.mark.parametrize("first", [0, 1, 9, 10, 13, 20, 29])
def test_columns_that_were_added_later(tmp_path, first):
    what, entry, known = late(first)
    path = write(tmp_path / "n.root", what)
    for start, stop in [(0, 30), (5, 25), (13, 14), (12, 30), (20, 30), (0, 1)]:
        found = read(path, start, stop)
        assert found["n"].to_list() == entry[start:stop].tolist()
        assert found["x"].to_list() == known[start:stop].tolist()
        assert found["p"].to_list() == [[k, k] for k in known[start:stop]]  # uproot does not read these right
        assert found["v"].to_list() == [[k] * (k % 3) for k in known[start:stop]]
        mine, theirs = data_of(path, start, stop)[1], data_of(path, start, stop, plain=True)[1]
        assert all(same(mine[name], theirs[name]) for name in "nxv")


@pytest.mark.parametrize(
    ("default", "other"), [("Real32", "Real16"), ("SplitReal64", "Real32"), ("Real32", "SplitReal32")]
)
def test_a_column_in_two_representations(tmp_path, default, other):
    values = np.arange(30, dtype=np.float32)
    parts = [[values[:10]], None, [values[20:]]], [None, [values[10:15], values[15:20]], None]
    columns = [ColumnOf(BY_NAME[default], 0, parts[0]), ColumnOf(BY_NAME[other], 0, parts[1], representation=1)]
    path = write(tmp_path / "n.root", Written([FieldOf("x")], columns, [10, 10, 10]))
    for start, stop in [(0, 30), (5, 17), (12, 14), (10, 20)]:  # uproot reads some of these wrong
        assert np.asarray(read(path, start, stop)["x"]).tolist() == values[start:stop].tolist()


def test_text_in_two_representations(tmp_path):
    letters, ends = np.frombuffer(b"abcdef", np.uint8), np.array([1, 3])
    columns = [ColumnOf(INDEX64, 0, [[ends], None]), ColumnOf(BY_NAME["Char"], 0, [[letters[:3]], None])]
    columns += [ColumnOf(SPLIT_INDEX32, 0, [None, [ends]], representation=1)]
    columns += [ColumnOf(BY_NAME["Char"], 0, [None, [letters[3:]]], representation=1)]
    path = write(tmp_path / "n.root", Written([FieldOf("s", "std::string")], columns, [2, 2]))
    with borrowed(path, "Events", {}) as opened:
        assert len(opened.tree.column_records) == 4
    assert read_text(path, 0, 4) == ["a", "bc", "d", "ef"]
    assert read_text(path, 1, 3) == ["bc", "d"]


def read_text(path: str, start: int, stop: int) -> list[str]:
    return read(path, start, stop)["s"].to_list()


# remote files


def test_a_remote_file_is_asked_once_for_whole_clusters_and_once_a_level_for_parts(tmp_path, monkeypatch):
    what = nested()
    path = write(tmp_path / "n.root", what)
    fsspec.filesystem("memory").pipe("/pages/n.root", Path(path).read_bytes())
    url = "memory://pages/n.root"
    read(url)  # opened
    asked: list[list[tuple[int, int]]] = []
    system = fsspec.filesystem("memory")
    ask = system.cat_ranges

    def noted(paths, starts, stops, **options):
        asked.append(list(zip(starts, stops, strict=True)))
        return ask(paths, starts, stops, **options)

    monkeypatch.setattr(system, "cat_ranges", noted)
    for start, stop, times in [(0, 20, 1), (0, 10, 1), (10, 20, 1), (3, 17, 3), (12, 13, 3), (5, 5, 0)]:
        del asked[:]
        found = read(url, start, stop)
        assert len(asked) == times
        expected = read(path, start, stop)
        assert {name: array.to_list() for name, array in found.items()} == {
            name: array.to_list() for name, array in expected.items()
        }
    del asked[:]
    read(url)
    assert len(asked[0]) == 1  # all pages lie close together, and come as one range
    size = sum(size + 8 for _, _, _, size in what.places)
    assert asked[0][0][1] - asked[0][0][0] == size
    del asked[:]
    source = open_root(url)
    source.read(Partition(source.files[0].path, "Events", 0, 20), {"v": Need.COUNTS, "s": Need.COUNTS})
    ends = sum(size + 8 for _, column, _, size in what.places if column in (1, 2))
    assert 0 < ends <= sum(stop - start for ranges in asked for start, stop in ranges) < size


def nested() -> Written:
    """Two clusters of numbers, lists of lists, and text."""
    lengths = np.arange(10) % 3
    inner = np.arange(lengths.sum()) % 2
    fields = [FieldOf("x"), FieldOf("v", "std::vector<std::vector<float>>", role=COLLECTION)]
    fields += [FieldOf("_0", "std::vector<float>", 1, COLLECTION), FieldOf("_0", parent=2), FieldOf("s", "std::string")]
    columns = [
        ColumnOf(BY_NAME["SplitReal32"], 0, [[np.arange(10)[:4], np.arange(10)[4:]]] * 2),
        ColumnOf(BY_NAME["SplitIndex64"], 1, [[ends_of(lengths)]] * 2),
        ColumnOf(BY_NAME["SplitIndex32"], 2, [[ends_of(inner)]] * 2),
        ColumnOf(BY_NAME["Real32"], 3, [[np.arange(inner.sum())]] * 2),
        ColumnOf(BY_NAME["Index64"], 4, [[ends_of(lengths)]] * 2),
        ColumnOf(BY_NAME["Char"], 4, [[np.full(lengths.sum(), 97)]] * 2),
    ]
    return Written(fields, columns, [10, 10], CODECS["none"])

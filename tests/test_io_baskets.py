"""Baskets: every branch of every real file as uproot reads it; drawn baskets against a slow decoder; damage.

HEPGRAPH_FUZZ multiplies the number of examples and of mutations.
"""

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import awkward as ak
import cramjam
import fsspec
import numpy as np
import pytest
import uproot
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgraph import errors
from hepgraph.io import root, trees
from hepgraph.io.baskets import BasketError, Baskets, Embedded
from hepgraph.io.codecs import BlockError, blocks_of, unpacked
from hepgraph.io.forms import data_of_layout
from hepgraph.io.layouts import Branch, Layout, leaf_branches
from hepgraph.io.leaves import Fixed, Jagged, Number, divided, leaf_of, trimmed
from hepgraph.io.nested import Nested
from hepgraph.io.ranges import NOWHERE, ShortFile, coalesced, opened
from hepgraph.io.reader import Reader
from hepgraph.io.root import open_root
from hepgraph.io.shelf import MOST, Shelf
from hepgraph.io.source import Need, Partition

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FUZZ = int(os.environ.get("HEPGRAPH_FUZZ", "1"))

# How many columns of each tree hepgraph takes from the baskets itself, and how many uproot reads.
PATHS = {
    "HZZ-lz4.root:events": (51, 0),
    "HZZ-lzma.root:events": (51, 0),
    "HZZ-zlib.root:events": (51, 0),
    "HZZ-zstd.root:events": (51, 0),
    "PHYSLITE_example.root:CollectionTree": (766, 389),
    "edm4hep.root:events": (293, 1),
    "edm4hep.root:podio_metadata": (11, 2),
    "nano_dimuon.root:Events": (1601, 0),
    "nano_dimuon.root:Runs": (1, 0),
    "nano_dy.root:Events": (1499, 0),
    "nano_dy.root:Runs": (8, 0),
    "nano_tt_v12.root:Events": (654, 0),
    "pfnano.root:Events": (1802, 0),
    "pfnano.root:LuminosityBlocks": (2, 0),
    "pfnano.root:MetaData": (0, 4),
    "pfnano.root:Runs": (8, 0),
    "test_FCC_Spring2021.root:col_metadata": (1, 6),
    "test_FCC_Spring2021.root:events": (242, 0),
    "test_FCC_Spring2021.root:metadata": (2, 0),
    "test_FCC_Spring2021.root:run_metadata": (1, 6),
    "treemaker.root:PreSelection": (391, 0),
}


def same(mine, theirs):
    """Whether two data are equal to the last bit."""
    return (
        mine.values.dtype == theirs.values.dtype
        and mine.values.tobytes() == theirs.values.tobytes()
        and len(mine.offsets) == len(theirs.offsets)
        and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(mine.offsets, theirs.offsets, strict=True))
    )


def as_uproot(branch, name, start, stop):
    return data_of_layout(name, branch.array(entry_start=start, entry_stop=stop).layout, {name})[name]


@pytest.mark.parametrize("place", PATHS)
def test_real_files_bit_for_bit(place):
    if not DATA.exists():
        pytest.skip("the shared data are not here")
    path, _, tree = place.partition(":")
    path = str(DATA / path)
    source = open_root(path, tree=tree)
    fast = slow = 0
    with uproot.open({path: None}, array_cache=None, object_cache=None) as file:
        branches = leaf_branches(file[tree])
        entries = source.entries
        layout = Layout(None, "", entries)
        handle = trees.Opened(file, file[tree], tree, branches)
        for index, (name, column) in enumerate(source.columns.items()):
            if column.problem:
                continue
            layout.add([name], handle)
            if layout.branches[name] is None:
                slow += 1
                continue
            fast += 1
            ranges = [(0, entries), (entries // 3, entries - entries // 4)]
            for start, stop in ranges if index % 5 == 0 else ranges[:1]:
                mine = source.read(Partition(path, tree, start, stop), {name: Need.DATA})[name]
                assert same(mine, as_uproot(branches[name], name, start, stop)), name
    print(f"{place}: {fast} columns from the baskets, {slow} through uproot")
    assert (fast, slow) == PATHS[place]


@pytest.mark.parametrize("path", ["nano_dy.root", "nano_tt_v12.root", "treemaker.root", "test_FCC_Spring2021.root"])
def test_real_collections_in_one_read(path):
    if not DATA.exists():
        pytest.skip("the shared data are not here")
    source = open_root(
        DATA / path, tree={"treemaker.root": "PreSelection", "test_FCC_Spring2021.root": "events"}.get(path)
    )
    names = [name for name, column in source.columns.items() if not column.problem][::3]
    part = Partition(source.files[0].path, source.files[0].tree, 1, source.entries - 1)
    alone = {name: source.read(part, {name: Need.DATA})[name] for name in names}
    for name, data in source.read(part, dict.fromkeys(names, Need.DATA)).items():
        assert same(data, alone[name]), name
    lengths = source.read(part, dict.fromkeys(names, Need.COUNTS))
    for name in names:
        pairs = zip(lengths[name].offsets, alone[name].offsets, strict=True)
        assert all(np.array_equal(mine, theirs) for mine, theirs in pairs), name


# baskets made here, and decoded slowly


def block(codec, data):
    """One compressed block, with its header."""
    if codec == "ZS":
        text = bytes(cramjam.zstd.compress(data))
    elif codec == "L4":
        text = bytes(cramjam.lz4.compress_block(data, store_size=False))
        text = xxhash.xxh64_digest(text) + text
    elif codec == "ZL":
        text = zlib.compress(data)
    elif codec == "XZ":
        text = bytes(cramjam.xz.compress(data))
    else:
        text = zlib.compress(data)[2:-4]
    sizes = len(text).to_bytes(3, "little") + len(data).to_bytes(3, "little")
    return codec.encode() + b"\x08" + sizes + text


def packed(codec, data, pieces=1):
    """Compressed data; as they are where that is as long, which would mean that they are not compressed."""
    if codec is None or not data:
        return data
    step = -(-len(data) // pieces)
    text = b"".join(block(codec, data[at : at + step]) for at in range(0, len(data), step))
    return text if len(text) != len(data) else data


def basket_bytes(contents, codec=None, pieces=1, table=True, title=b"x", features=False):
    """A basket of entries (bytes each) as ROOT writes it."""
    head = b"\0" + title + b"\0" * (1 if features else 0)
    length = 18 + 8 + len(head) + 18 + 1
    data = b"".join(contents)
    starts = np.cumsum([length] + [len(content) for content in contents])
    last = int(starts[-1])
    if table:
        starts[-1] = 0
        data += struct.pack(">i", len(starts)) + starts.astype(">i4").tobytes()
    payload = packed(codec, data, pieces)
    key = struct.pack(">ihiIhh", length + len(payload), 4, len(data), 0, length, 0) + bytes(8) + head
    return key + struct.pack(">hiiiib", 3, 32000, 4, len(contents), last, 0) + payload


class Memory:
    """The bytes of a file, in memory."""

    together = False
    stamp = None

    def __init__(self, content):
        self.content = content

    def read(self, start, stop, room):
        if not 0 <= start <= stop <= len(self.content):
            raise ShortFile(0, f"bytes {start} to {stop} are wanted, and the file has {len(self.content)}")
        return memoryview(self.content)[start:stop]

    def fetch(self, ranges):
        return [self.read(start, stop, NOWHERE) for start, stop in ranges]


def written(entries, cuts, codecs, table=True, embedded=0, gap=7):
    """A file with these entries (bytes each) in baskets, the last ones in the metadata, and where they are."""
    edges = (0, *cuts, len(entries))
    content, ranges, kept = b"root" * 30, [], []
    for number in range(len(edges) - 1):
        inside = entries[edges[number] : edges[number + 1]]
        if number >= len(edges) - 1 - embedded:
            starts = np.cumsum([0] + [len(entry) for entry in inside]).astype(np.int32)
            kept.append(Embedded(np.frombuffer(b"".join(inside), np.uint8), starts if table else None))
            continue
        codec, pieces = codecs[number % len(codecs)]
        text = basket_bytes(inside, codec, pieces, table, features=number % 2 == 1)
        ranges.append((len(content), len(content) + len(text)))
        content += text + b"?" * gap
    return content, Baskets(edges, tuple(ranges), tuple(kept))


NUMBERS = [
    Number(np.dtype(stored), np.dtype(stored).newbyteorder("="), sizes)
    for stored in ("?", "i1", "u1", ">i2", ">u2", ">i4", ">u4", ">i8", ">u8", ">f4", ">f8")
    for sizes in ((), (3,), (2, 2))
]
CODECS = [(None, 1), *[(codec, pieces) for codec in ("ZS", "L4", "ZL", "XZ", "CS") for pieces in (1, 3)]]


@st.composite
def branches(draw):
    """A branch of drawn entries, its counter, the file they are in, and a range of entries."""
    number = draw(st.sampled_from(NUMBERS))
    kind = draw(st.sampled_from(["fixed", "table", "both", "counted", "header"]))
    n = draw(st.integers(0, 12))
    counts = [1] * n if kind == "fixed" else draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    size = number.width * sum(counts)
    flat = draw(st.binary(min_size=size, max_size=size))
    if number.stored.kind == "b":
        flat = bytes(byte & 1 for byte in flat)
    ends = np.cumsum([0, *counts]) * number.width
    header = bytes(range(65, 75)) if kind == "header" else b""
    entries = [header + flat[ends[i] : ends[i + 1]] for i in range(n)]

    def shape():
        cuts = sorted(draw(st.lists(st.integers(0, n), max_size=3)))
        return (
            cuts,
            draw(st.lists(st.sampled_from(CODECS), min_size=1, max_size=4)),
            draw(st.integers(0, len(cuts) + 1)),
        )

    cuts, codecs, embedded = shape()
    content, baskets = written(entries, cuts, codecs, kind in ("table", "both", "header"), embedded)
    counter = None
    if kind in ("both", "counted"):
        cuts, codecs, embedded = shape()
        more, places = written([struct.pack(">i", count) for count in counts], cuts, codecs, False, embedded)
        ranges = tuple((start + len(content), stop + len(content)) for start, stop in places.ranges)
        counter = Branch(
            "n", Baskets(places.edges, ranges, places.embedded), Fixed(Number(np.dtype(">i4"), np.dtype("i4")))
        )
        content += more
    leaf = Fixed(number) if kind == "fixed" else Jagged(number, len(header))
    start = draw(st.integers(0, n))
    stop = draw(st.integers(start, n))
    expected = flat[ends[start] : ends[stop]]
    return Branch("x", baskets, leaf, counter), content, start, stop, counts[start:stop], expected


@settings(max_examples=300 * FUZZ, deadline=None)
@given(branches(), st.booleans(), st.booleans())
def test_drawn_baskets_against_a_slow_decoder(drawn, counter_first, ahead):
    branch, content, start, stop, counts, expected = drawn
    number = branch.leaf.number
    reader = Reader(Memory(content), start, stop)
    if ahead:
        reader.fetch([branch] if branch.counter is None else [branch, branch.counter])
    if counter_first and branch.counter is not None:
        assert reader.read(branch.counter).values.tolist() == counts
    for values in (False, True, True):
        data = reader.read(branch, values)
        assert (data.values is not None) == values
        offsets = list(data.offsets)
        if isinstance(branch.leaf, Jagged):
            assert offsets.pop(0).tolist() == np.cumsum([0, *counts]).tolist()
        items = sum(counts) if isinstance(branch.leaf, Jagged) else len(counts)
        for size in number.sizes:
            assert offsets.pop(0).tolist() == [i * size for i in range(items + 1)]
            items *= size
        assert not offsets
    assert data.values.dtype == number.native
    wanted = np.frombuffer(expected, number.stored).astype(number.native)
    assert data.values.tobytes() == wanted.tobytes()


def test_branches_of_one_counter_share_their_offsets():
    counts = [2, 0, 3, 1]
    lists = [b"\0\0\0\1" * count for count in counts]
    numbers, places = written([struct.pack(">i", count) for count in counts], [1], [("ZS", 1)], False)
    counter = Branch("n", places, Fixed(Number(np.dtype(">i4"), np.dtype("i4"))))
    content, made = numbers, []
    for cuts, table in (([], True), ([2], True), ([1, 3], False)):
        more, places = written(lists, cuts, [("L4", 1)], table)
        ranges = tuple((start + len(content), stop + len(content)) for start, stop in places.ranges)
        made.append(
            Branch("x", Baskets(places.edges, ranges), Jagged(Number(np.dtype(">i4"), np.dtype("i4"))), counter)
        )
        content += more
    for first in (made, [counter, *made]):
        reader = Reader(Memory(content), 1, 4)
        offsets = [data.offsets[0] for data in map(reader.read, first) if data.offsets]
        assert all(each is offsets[0] for each in offsets)
        assert offsets[0].tolist() == [0, 0, 3, 4]


def test_lists_that_depart_from_their_counter_keep_their_own_lengths():
    """As uproot reads them: whether that matters is checked where the two meet."""
    numbers, places = written([struct.pack(">i", count) for count in (1, 2)], [], [("ZS", 1)], False)
    counter = Branch("n", places, Fixed(Number(np.dtype(">i4"), np.dtype("i4"))))
    number = Number(np.dtype("u1"), np.dtype("u1"))
    for lists in ([b"ab", b"c"], [b"a", b"bcd"], [b"", b"a"]):
        more, places = written(lists, [], [("ZS", 1)])
        ranges = tuple((start + len(numbers), stop + len(numbers)) for start, stop in places.ranges)
        reader = Reader(Memory(numbers + more), 0, 2)
        reader.read(counter)
        data = reader.read(Branch("x", Baskets(places.edges, ranges), Jagged(number), counter))
        assert np.diff(data.offsets[0]).tolist() == [len(each) for each in lists]
        assert data.values.tobytes() == b"".join(lists)


def vector_of(inner):
    """An entry: a vector of what each of these bytes holds, with its header."""
    text = struct.pack(">hi", 9, len(inner)) + b"".join(inner)
    return struct.pack(">I", 0x40000000 | len(text)) + text


def text_of(word):
    return bytes([len(word)]) + word if len(word) < 255 else b"\xff" + struct.pack(">i", len(word)) + word


@settings(max_examples=100 * FUZZ, deadline=None)
@given(st.data())
def test_drawn_vectors_of_vectors_and_of_texts(data):
    kind = data.draw(st.sampled_from([None, ">f4", ">i8", "u1", ">u2"]))
    dtype = np.dtype("u1" if kind is None else kind)
    item = st.integers(0, 100)
    short = st.lists(item, max_size=3)
    inner = short | st.integers(253, 258).map(lambda n: [n % 7] * n) if kind is None else short
    entries = data.draw(st.lists(st.lists(inner, max_size=3), max_size=7))
    n = len(entries)
    texts = []
    for entry in entries:
        made = [np.array(each, dtype).tobytes() for each in entry]
        texts.append(vector_of([text_of(word) for word in made] if kind is None else [
            struct.pack(">i", len(each)) + word for each, word in zip(entry, made, strict=True)
        ]))  # fmt: skip
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    codecs = data.draw(st.lists(st.sampled_from(CODECS), min_size=1, max_size=3))
    content, baskets = written(texts, cuts, codecs, True, data.draw(st.integers(0, 1)))
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    leaf = Nested(None if kind is None else Number(dtype, dtype.newbyteorder("=")))
    wanted = entries[start:stop]
    flat = [each for entry in wanted for each in entry]
    for values in (True, False):
        found = Reader(Memory(content), start, stop).read(Branch("x", baskets, leaf), values)
        assert [offsets.dtype for offsets in found.offsets] == [np.int64, np.int64]
        assert found.offsets[0].tolist() == np.cumsum([0] + [len(entry) for entry in wanted]).tolist()
        assert found.offsets[1].tolist() == np.cumsum([0] + [len(each) for each in flat]).tolist()
        if values:
            assert found.values.dtype == dtype.newbyteorder("=")
            assert found.values.tolist() == [value for each in flat for value in each]
        else:
            assert found.values is None


def test_messages_of_vectors_of_vectors():
    whole = vector_of([struct.pack(">ii", 1, 7)])
    one = Nested(Number(np.dtype(">i4"), np.dtype("i4")))

    def message(entry, leaf=one):
        content, places = written([entry], [], [("ZL", 1)])
        with pytest.raises(BasketError) as caught:
            Reader(Memory(content), 0, 1).read(Branch("x", places, leaf))
        return str(caught.value).removeprefix("basket 0 at byte 120: ")

    longer = "the lists in some of its entries are longer than the entries"
    assert message(whole[:9]) == longer
    assert message(whole + b"abcd") == "the headers of some of its entries tell other lengths than its table"
    assert message(whole[:6] + b"\x7f\xff\xff\xff" + whole[10:]) == longer
    assert message(whole[:13] + b"\2" + whole[14:]) == longer
    assert message(whole[:9] + b"\3" + whole[10:]) == longer
    assert message(whole[:13] + b"\0" + whole[14:]) == (
        "the lists in some of its entries are not as long as the entries"
    )
    for words in (b"\3ab", b"\xff\0\0", b"\xff\0\0\1\0" + b"a" * 255):
        assert message(vector_of([words]), Nested(None)) == longer


# files written by uproot


COMPRESSIONS = {
    "zstd": uproot.ZSTD(3),
    "lz4": uproot.LZ4(4),
    "zlib": uproot.ZLIB(1),
    "lzma": uproot.LZMA(1),
    "none": None,
}


def write(path, compression, cycles=3, n=40, seed=1):
    """A file of several baskets with branches of many kinds, compressible and not."""
    rng = np.random.default_rng(seed)
    with uproot.recreate(path, compression=compression) as file:
        for cycle in range(cycles):
            counts = rng.integers(0, 5, n)
            lists = ak.unflatten(rng.integers(0, 3, counts.sum()).astype(np.int16), counts)
            branches = {
                "run": np.full(n, cycle, np.uint32),
                "good": rng.random(n) < 0.5,
                "noise": rng.random(n),
                "xyz": rng.integers(0, 4, (n, 3)).astype(np.float32),
                "Jet": ak.zip({"id": lists, "pt": ak.values_astype(lists * 3, np.float32)}),
            }
            if cycle == 0:
                kinds = {
                    name: (value.dtype, value.shape[1:]) if isinstance(value, np.ndarray) else value.type.content
                    for name, value in branches.items()
                }
                tree = file.mktree("Events", kinds)
            tree.extend(branches)
    return str(path)


@pytest.mark.parametrize("codec", COMPRESSIONS)
def test_files_of_every_codec(tmp_path, codec):
    path = write(tmp_path / "a.root", COMPRESSIONS[codec], n=400)
    source = open_root(path)
    with uproot.open(path) as file:
        for start, stop in ((0, 1200), (399, 401), (400, 800), (500, 500), (1199, 1200), (7, 1100)):
            found = source.read(Partition(path, "Events", start, stop), dict.fromkeys(source.columns, Need.DATA))
            for name, data in found.items():
                assert same(data, as_uproot(file["Events"][name], name, start, stop)), name
            assert found["Jet_pt"].offsets[0] is found["Jet_id"].offsets[0] or start == stop


def test_a_block_may_be_as_large_as_its_header_allows(tmp_path):
    """Baskets of more than 16 MB are kept in several blocks."""
    path = tmp_path / "big.root"
    values = np.arange(5_000_000, dtype=np.int32) // 100
    with uproot.recreate(path, compression=uproot.LZ4(1)) as file:
        file.mktree("Events", {"x": values.dtype}).extend({"x": values})
    source = open_root(path)
    (part,) = source.repartition(npartitions=1).partitions()
    assert np.array_equal(source.read(part, {"x": Need.DATA})["x"].values, values)
    assert len(blocks_of(*first_payload(path, "x"))) > 1


def first_payload(path, name):
    with uproot.open({str(path): None}) as file:
        branch = file["Events"][name]
        key = branch.basket(0)
        seek, size = int(branch.member("fBasketSeek")[0]), int(branch.member("fBasketBytes")[0])
    with open(path, "rb") as file:
        file.seek(seek)
        raw = file.read(size)
    return memoryview(raw)[key.member("fKeylen") :], key.member("fObjlen")


def test_what_only_uproot_reads_is_left_to_it(tmp_path):
    with uproot.recreate(tmp_path / "t.root") as file:
        file.mktree("Events", {"x": np.int64, "text": "string"}).extend({"x": np.arange(3), "text": ["a", "", "bc"]})
    with uproot.open(tmp_path / "t.root") as file:
        branches = leaf_branches(file["Events"])
        assert leaf_of(branches["x"]) == Fixed(Number(np.dtype(">i8"), np.dtype("i8")))
        assert leaf_of(branches["text"]) is None
    source = open_root(tmp_path / "t.root")
    found = source.read(source.partitions()[0], dict.fromkeys(source.columns, Need.DATA))
    assert found["text"].values.tobytes() == b"abc"
    assert found["x"].values.tolist() == [0, 1, 2]


# once a file


def test_a_known_file_is_read_without_uproot(tmp_path, monkeypatch):
    path = write(tmp_path / "a.root", uproot.ZSTD(1))
    source = open_root(path, step_size=30)
    names = dict.fromkeys(source.columns, Need.DATA)
    first = [source.read(part, names) for part in source.partitions()]
    monkeypatch.setattr(root, "borrowed", lambda *args: pytest.fail("a handle was borrowed"))
    again = [source.read(part, names) for part in source.partitions()]
    for before, after in zip(first, again, strict=True):
        assert all(same(after[name], before[name]) for name in names)


def test_threads_open_a_file_once(tmp_path):
    path = write(tmp_path / "a.root", uproot.ZSTD(1))
    source = open_root(path, step_size=10)
    trees.handles.clear()
    root.layouts.clear()
    before = trees.handles.opened
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: source.read(part, {"run": Need.DATA}), source.partitions() * 5))
    assert trees.handles.opened == before + 1
    assert np.concatenate([data["run"].values for data in found]).tolist() == ([0] * 40 + [1] * 40 + [2] * 40) * 5


def test_a_remote_file_is_read_in_one_request(tmp_path, monkeypatch):
    path = write(tmp_path / "a.root", uproot.ZSTD(1))
    system = fsspec.filesystem("memory")
    system.pipe("/baskets/a.root", Path(path).read_bytes())
    local, remote = open_root(path), open_root("memory://baskets/a.root")
    names = dict.fromkeys(local.columns, Need.DATA)
    remote.read(Partition("memory://baskets/a.root", "Events", 0, 1), names)
    calls = []
    original = system.cat_ranges
    monkeypatch.setattr(system, "cat_ranges", lambda *args, **more: calls.append(1) or original(*args, **more))
    theirs = remote.read(Partition("memory://baskets/a.root", "Events", 30, 100), names)
    mine = local.read(Partition(path, "Events", 30, 100), names)
    assert len(calls) == 1
    assert all(same(theirs[name], mine[name]) for name in names)


# damage


def error_of(path, name, start=0, stop=120):
    source = open_root(path)
    with pytest.raises(errors.DamagedFileError) as caught:
        source.read(Partition(str(path), "Events", start, stop), {name: Need.DATA})
    return str(caught.value)


def damaged(path, name, number, change):
    """Changes a basket of a file in place: `change` gets the bytes of the basket and where the data begin."""
    with uproot.open({str(path): None}) as file:
        branch = file["Events"][name]
        seek, size = int(branch.member("fBasketSeek")[number]), int(branch.member("fBasketBytes")[number])
        length = branch.basket(number).member("fKeylen")
    content = bytearray(path.read_bytes())
    inside = content[seek : seek + size]
    change(inside, length)
    content[seek : seek + size] = inside
    path.write_bytes(content)
    return seek


def put(at, value, relative=False):
    def change(inside, length):
        begin = at + length if relative else at
        inside[begin : begin + len(value)] = value

    return change


DAMAGE = {
    "entries": ("Jet_pt", put(-9, struct.pack(">i", 41), True), "it has 41 entries, but should have 40"),
    "end": ("Jet_pt", put(-5, struct.pack(">i", 9), True), "its data end at byte -66 of"),
    "total": (
        "Jet_pt",
        put(0, struct.pack(">i", 2**30)),
        "its key of 75 bytes and its total of 1073741824 do not fit in",
    ),
    "size": ("Jet_pt", put(6, struct.pack(">i", 2**30)), "the compressed blocks hold"),
    "codec": ("Jet_pt", put(0, b"??", True), "no compression is called b'??'; ROOT knows ZS, L4, ZL, XZ, CS"),
    "block": ("Jet_pt", put(3, b"\xff\xff\xff", True), "a block of 16777215 bytes (LZ4) for"),
    "checksum": ("Jet_pt", put(9, bytes(8), True), "the checksum of an LZ4 block is"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_names_file_tree_branch_and_basket(tmp_path, kind):
    name, change, message = DAMAGE[kind]
    path = tmp_path / "d.root"
    write(path, uproot.LZ4(1))
    seek = damaged(path, name, 1, change)
    found = error_of(path, name)
    assert found.startswith(
        f"Cannot read branch {name!r} of tree 'Events', entries 0 to 120, in {path}: BasketError: "
        f"basket 1 at byte {seek}: {message}"
    )
    source = open_root(path)
    source.read(Partition(str(path), "Events", 0, 40), {name: Need.DATA})  # the other baskets are sound
    source.read(Partition(str(path), "Events", 0, 120), {"run": Need.DATA})


def test_damage_messages_of_tables_and_counts():
    number = Number(np.dtype(">i2"), np.dtype("i2"))

    def message(entries, leaf, table=True, change=None, counter=None, n=2):
        content, places = written(entries, [], [(None, 1)], table)
        if change:
            content = bytearray(content)
            change(content, places.ranges[0][0] + 47)
        with pytest.raises(BasketError) as caught:
            Reader(Memory(bytes(content)), 0, n).read(Branch("x", places, leaf, counter))
        return str(caught.value)

    where = "basket 0 at byte 120: "
    two = [b"ab", b"cdef"]
    assert message(two, Fixed(number)) == where + "2 entries of 2 bytes are not 6 bytes"
    assert message([b"ab", b"c"], Jagged(number)) == where + "the lengths of its entries are not multiples of 2 bytes"
    assert message([b"ab", b"c"], Jagged(number, 10)) == (
        where + "some of its entries are shorter than their header of 10 bytes"
    )
    none = where + "it does not tell where its entries start, and no branch counts them"
    assert message(two, Jagged(number), table=False) == none
    assert message(two, Jagged(number), n=3) == "its baskets hold 2 entries; 3 are wanted"

    def table(index, value):
        def change(content, begin):
            at = begin + 6 + 4 * index
            content[at : at + 4] = struct.pack(">i", value)

        return change

    assert message(two, Jagged(number), change=table(0, 4)) == (
        where + "its table says that it has 4 offsets, but 2 entries have 3"
    )
    assert message(two, Jagged(number), change=table(1, 47 + 1)) == where + "its first entry starts at byte 1, not at 0"
    assert message(two, Jagged(number), change=table(2, 47 + 7)) == (
        where + "the offsets of its entries do not follow each other"
    )
    counts, places = written([struct.pack(">i", count) for count in (1, 3)], [], [(None, 1)], False)
    more, lists = written(two, [], [(None, 1)], False)
    ranges = tuple((start + len(counts), stop + len(counts)) for start, stop in lists.ranges)
    counter = Branch("n", places, Fixed(Number(np.dtype(">i4"), np.dtype("i4"))))
    with pytest.raises(
        BasketError, match="the branch that counts its entries tells 4 items of 2 bytes, but it has 6 bytes"
    ):
        Reader(Memory(counts + more), 0, 2).read(Branch("x", Baskets(lists.edges, ranges), Jagged(number), counter))


def test_messages_of_blocks():
    def message(data, size):
        with pytest.raises(BlockError) as caught:
            unpacked(memoryview(data), size, lambda size: np.empty(size, np.uint8))
        return str(caught.value)

    good = block("ZS", b"abc")
    assert message(good, 4) == "the compressed blocks hold 3 bytes, but 4 are expected"
    assert message(good[:5], 4) == "the compressed blocks hold 0 bytes, but 4 are expected"
    assert message(b"ZS\1" + bytes(6), 4) == "a block of 0 bytes (ZSTD) for 0 is not all there"
    wrong = good[:6] + (5).to_bytes(3, "little") + good[9:]
    assert message(wrong, 5) == "a block of ZSTD should hold 5 bytes and holds 3"
    for codec in ("ZS", "ZL", "XZ", "CS"):
        text = block(codec, bytes(range(200)))
        assert "cannot decompress" in message(text[:9] + b"\xff" * (len(text) - 9), 200)
    assert message(block("L4", b"abcd" * 9)[:-1] + b"!", 36).startswith("the checksum of an LZ4 block is ")


def test_a_file_cut_at_every_tenth(tmp_path):
    path = tmp_path / "cut.root"
    write(path, uproot.ZSTD(1))
    content = path.read_bytes()
    source = open_root(path)
    names = dict.fromkeys(source.columns, Need.DATA)
    part = Partition(str(path), "Events", 0, 120)
    source.read(part, names)
    for tenth in range(10):
        path.write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(errors.SourceError, match=r"cut\.root"):
            source.read(part, names)
        with pytest.raises(errors.SourceError, match=r"cut\.root"):
            open_root(path)


def test_a_file_that_shrinks_while_it_is_open(tmp_path):
    path = tmp_path / "s.root"
    path.write_bytes(bytes(100))
    with opened(str(path), {}) as data:
        path.write_bytes(bytes(50))
        for get in (lambda: data.read(10, 90, NOWHERE), lambda: data.fetch([(0, 5), (10, 90)])):
            with pytest.raises(ShortFile, match="the file ended at byte 50 while it was read"):
                get()
        with pytest.raises(ShortFile, match="bytes 10 to 101 are wanted, and the file has 100"):
            data.fetch([(0, 5), (10, 101)])


@pytest.mark.parametrize("codec", COMPRESSIONS)
def test_mutations_give_errors_or_what_was_written(tmp_path, codec):
    """No crash, no other exception; and where the codec has a checksum, no other numbers than were written."""
    path = tmp_path / "m.root"
    write(path, COMPRESSIONS[codec], n=30)
    content = path.read_bytes()
    source = open_root(path)
    names = dict.fromkeys(source.columns, Need.DATA)
    part = Partition(str(path), "Events", 0, 90)
    good = source.read(part, names)
    with trees.borrowed(str(path), "Events", {}) as handle:
        layout = Layout(None, "", 90)
        layout.add(names, handle)
    ranges = [each for name in names for each in layout.branches[name].baskets.ranges]
    rng = np.random.default_rng(FUZZ)
    raised = 0
    for _ in range(200 * FUZZ):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            start, stop = ranges[rng.integers(len(ranges))]
            at = int(rng.integers(start, min(stop, start + 120) if rng.random() < 0.5 else stop))
            changed[at] = int(rng.integers(256)) if rng.random() < 0.5 else changed[at] ^ (1 << int(rng.integers(8)))
        for name in names:
            branch = layout.branches[name]
            try:
                data = Reader(Memory(bytes(changed)), 0, 90).read(branch)
            except BasketError:
                raised += 1
                continue
            assert data.values.dtype == good[name].values.dtype
            if isinstance(branch.leaf, Jagged):
                assert len(data.offsets[0]) == 91
                assert data.offsets[0][0] == 0
                assert (np.diff(data.offsets[0]) >= 0).all()
                assert data.offsets[0][-1] == len(data.values)
            else:
                assert len(data.values) == len(good[name].values)
            if codec in ("lz4", "zlib", "lzma") and len(ranges) and compressed(changed, branch):
                assert same(data, good[name]), name
    assert raised > 20


def compressed(content, branch):
    """Whether all baskets of a branch are compressed: what is not has no checksum."""
    return all(
        stop - start - struct.unpack_from(">h", content, start + 14)[0]
        != struct.unpack_from(">i", content, start + 6)[0]
        for start, stop in branch.baskets.ranges
    )


# memory that is used again


@settings(max_examples=60 * FUZZ, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["hold", "view", "buffer", "awkward", "drop"])), max_size=30)
)
def test_memory_is_used_again_only_when_nobody_holds_it(steps):
    """Whatever still leads to an array that was taken keeps its content, however many are taken afterwards."""
    shelf = Shelf()
    held = []
    for number, (size, how) in enumerate(steps):
        array = shelf.take(size * 10_000, np.dtype(np.int32))
        assert (array.dtype, array.shape) == (np.dtype(np.int32), (size * 10_000,))
        array[:] = number
        if how == "drop" and held:
            held.pop(0)
        holders = {
            "hold": lambda x: x,
            "view": lambda x: x[1::2].view(np.uint32),
            "buffer": memoryview,
            "awkward": ak.Array,
        }
        if how in holders:
            held.append((number, holders[how](array)))
        del array
        assert all((np.asarray(holder) == mark).all() for mark, holder in held)


def test_memory_is_used_again():
    shelf = Shelf()
    first = shelf.take(100_000, np.dtype(np.float32))
    place = first.ctypes.data
    assert shelf.take(100_000, np.dtype(np.float32)).ctypes.data != place
    del first
    assert place in {shelf.take(length, np.dtype(np.float32)).ctypes.data for length in (100_000, 90_000)}
    for _ in range(40):
        shelf.take(MOST // 3, np.dtype(np.uint8))
    kept = [shelf.take(MOST // 3, np.dtype(np.uint8)) for _ in range(5)]
    assert len({each.ctypes.data for each in kept}) == 5
    assert sum(len(owner) for owner in shelf._owners) <= MOST


# small parts


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=12), st.integers(0, 30), st.integers(1, 100)
)
def test_coalesced_pieces_hold_all_ranges(drawn, gap, longest):
    ranges = [(start, start + size) for start, size in drawn]
    found = {}
    for piece in coalesced(ranges, gap, longest):
        assert piece.stop - piece.start <= max(longest, max(stop - start for start, stop in ranges))
        for index, start, stop in piece.parts:
            assert index not in found
            found[index] = (piece.start + start, piece.start + stop)
            assert piece.start + stop <= piece.stop
    assert [found[index] for index in range(len(ranges))] == ranges


@given(st.lists(st.integers(0, 9), max_size=9), st.sampled_from([1, 2, 3, 4, 8, 12]), st.integers(0, 3))
def test_offsets_in_items(counts, width, off):
    offsets = np.cumsum([0, *counts]).astype(np.int32)
    assert divided(offsets * np.int32(width), width).tolist() == offsets.tolist()
    if off % width and len(offsets):
        assert divided(offsets * np.int32(width) + np.int32(off), width) is None


def test_trimmed_arrays_do_not_keep_much_more():
    values = np.arange(100)
    assert trimmed(values, 90).base is values
    assert trimmed(values, 10).base is None
    assert trimmed(values, 10).tolist() == list(range(10))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 40), st.integers(0, 40))
def test_overlapping_baskets(sizes, start, stop):
    edges = tuple(int(edge) for edge in np.cumsum([0, *sizes]))
    start, stop = min(start, edges[-1]), min(stop, edges[-1])
    found = Baskets(edges, ()).overlapping(start, stop)
    wanted = [i for i in range(len(sizes)) if max(edges[i], start) < min(edges[i + 1], stop)]
    assert [i for i in found if edges[i] < edges[i + 1]] == wanted

"""Damaged baskets: an error that names file, tree, branch and basket, never a wrong array where there is a checksum."""

import struct
from contextlib import nullcontext

import numpy as np
import pytest
import uproot
from baskets import COMPRESSIONS, Memory, block, on_disk, same, write, written
from drawing import examples
from limiting import limited

from hepgraph import errors
from hepgraph.io import trees
from hepgraph.io.access.ranges import NOWHERE, ShortFile, opened
from hepgraph.io.forms import from_counts
from hepgraph.io.native.codecs import BlockError, decompress
from hepgraph.io.native.shared import Share
from hepgraph.io.root import open_root
from hepgraph.io.source import Data, Need, Partition
from hepgraph.io.ttree.baskets import BasketError, Baskets
from hepgraph.io.ttree.layouts import Branch, Layout
from hepgraph.io.ttree.leaves import FixedLeaf, Jagged, Number
from hepgraph.io.ttree.reader import Reader

pytestmark = pytest.mark.fuzz


@pytest.fixture(autouse=True)
def _read_fused(limit):
    """Columns are placed by native code wherever they can be; what is damaged, by the code that says so."""
    limit(native_least=0)


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
    assert message(two, FixedLeaf(number)) == where + "2 entries of 2 bytes are not 6 bytes"
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
    counter = Branch("n", places, FixedLeaf(Number(np.dtype(">i4"), np.dtype("i4"))))
    with pytest.raises(
        BasketError, match="the branch that counts its entries tells 4 items of 2 bytes, but it has 6 bytes"
    ):
        Reader(Memory(counts + more), 0, 2).read(Branch("x", Baskets(lists.edges, ranges), Jagged(number), counter))


def test_messages_of_blocks():
    def message(data, size):
        with pytest.raises(BlockError) as caught:
            decompress(memoryview(data), size, lambda size: np.empty(size, np.uint8))
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


def part_of(content, branch, share):
    """A part of a column, by the codecs of Python, or what is wrong; with other ranges' help where there is a share."""
    with limited(basket_shared=0):
        try:
            return Reader(Memory(content), 5, 77, None, share).read(branch)
        except BasketError as error:
            return str(error)


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
    rng = np.random.default_rng(examples(1))
    raised = 0
    for turn in range(examples(200)):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            start, stop = ranges[rng.integers(len(ranges))]
            at = int(rng.integers(start, min(stop, start + 120) if rng.random() < 0.5 else stop))
            changed[at] = int(rng.integers(256)) if rng.random() < 0.5 else changed[at] ^ (1 << int(rng.integers(8)))
        for name in names:
            branch = layout.branches[name]
            if turn % 4 == 0:
                one, other = (part_of(bytes(changed), branch, how) for how in (None, Share(object())))
                said = isinstance(one, str), isinstance(other, str)  # of two damaged baskets, either may be named
                assert said == (True, True) or (said == (False, False) and same(one, other)), (name, one, other)
            try:
                with on_disk(changed) if turn % 2 else nullcontext(Memory(bytes(changed))) as file:
                    data = Reader(file, 0, 90).read(branch)
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


@pytest.mark.parametrize("number", [2**56 + 77, 76, 0])
def test_a_tree_and_its_branches_have_as_many_entries(tmp_path, number):
    path = tmp_path / "n.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "f4", "n": "i8"}).extend({"x": np.zeros(77, "f4"), "n": np.arange(77)})
    content, said = path.read_bytes(), []
    places = [at for at in range(len(content)) if content.startswith(struct.pack(">q", 77), at)]
    for at in places:  # the entries of the tree, of its branches, and where the baskets end
        path.write_bytes(content[:at] + struct.pack(">q", number) + content[at + 8 :])
        try:
            source = open_root(path)
            found = source.read(Partition(str(path), "Events", 0, 77), {"n": Need.DATA})["n"].values
        except errors.SourceError as error:
            said.append(str(error))
        else:
            assert source.entries == 77
            assert found.tolist() == list(range(77))
    assert all("n.root" in each for each in said)
    assert any(f"the tree states {number} entries, and its branches have 77" in each for each in said)


def test_lengths_that_are_negative(tmp_path):
    write(tmp_path / "n.root", None)
    source = open_root(tmp_path / "n.root")
    name = next(column.name for column in source.columns.values() if column.counts and len(column.levels) == 1)
    counts = Data(np.array([2, -1, 3], np.int32))
    with pytest.raises(ValueError, match=f"says that lists of '{name}' have -1 elements"):
        from_counts(counts, source.columns[name])

"""Baskets made byte by byte against a slow decoder; their vectors, counters and tables."""

import struct
from contextlib import nullcontext

import numpy as np
import pytest
from baskets import CODECS, NUMBERS, Memory, on_disk, written
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from limiting import limited

from hepgraph.io.access.ranges import coalesced
from hepgraph.io.native.shared import Share
from hepgraph.io.ttree.baskets import BasketError, Baskets
from hepgraph.io.ttree.layouts import Branch
from hepgraph.io.ttree.leaves import FixedLeaf, Jagged, Number, divided, trimmed
from hepgraph.io.ttree.nested import Nested
from hepgraph.io.ttree.reader import Reader


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
            "n", Baskets(places.edges, ranges, places.embedded), FixedLeaf(Number(np.dtype(">i4"), np.dtype("i4")))
        )
        content += more
    leaf = FixedLeaf(number) if kind == "fixed" else Jagged(number, len(header))
    start = draw(st.integers(0, n))
    stop = draw(st.integers(start, n))
    expected = flat[ends[start] : ends[stop]]
    return Branch("x", baskets, leaf, counter), content, start, stop, counts[start:stop], expected


@settings(max_examples=examples(300), deadline=None)
@given(branches(), st.booleans(), st.sampled_from(["as asked", "ahead", "on disk"]), st.booleans())
def test_drawn_baskets_against_a_slow_decoder(drawn, counter_first, how, share):
    with on_disk(drawn[1]) if how == "on disk" else nullcontext(Memory(drawn[1])) as data:
        file = Share(object()) if share else None
        with limited(basket_shared=0):
            if share and drawn[2]:  # of a basket that is cut, another range may have the content already
                Reader(data, 0, drawn[2], None, file).read(drawn[0])
            as_drawn(drawn, counter_first, data, how == "ahead", file)


def as_drawn(drawn, counter_first, data, ahead, file):
    branch, _, start, stop, counts, expected = drawn
    number = branch.leaf.number
    reader = Reader(data, start, stop, None, file)
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
    counter = Branch("n", places, FixedLeaf(Number(np.dtype(">i4"), np.dtype("i4"))))
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
    counter = Branch("n", places, FixedLeaf(Number(np.dtype(">i4"), np.dtype("i4"))))
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


@settings(max_examples=examples(100), deadline=None)
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
    content, places = written(texts, cuts, codecs, True, data.draw(st.integers(0, 1)))
    file = Share(object()) if data.draw(st.booleans()) else None  # large baskets, here any, are shared with others
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    leaf = Nested(None if kind is None else Number(dtype, dtype.newbyteorder("=")))
    wanted = entries[start:stop]
    flat = [each for entry in wanted for each in entry]
    for values in (True, False):
        with limited(basket_shared=0):
            found = Reader(Memory(content), start, stop, None, file).read(Branch("x", places, leaf), values)
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

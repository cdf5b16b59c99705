"""Arrays in memory: any awkward layout as flat columns, in any partitioning, and back."""

import pickle

import awkward as ak
import numpy as np
import pytest
from columns import to_awkward
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgraph import errors
from hepgraph.io.memory import open_awkward
from hepgraph.io.source import Data, Need

KINDS = st.recursive(
    st.sampled_from(["int", "float", "bool", "text"]),
    lambda inner: st.one_of(
        st.tuples(st.just("list"), inner),
        st.tuples(st.just("option"), inner),
        st.tuples(st.just("record"), st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2)),
    ),
    max_leaves=4,
)


def values_of(kind):
    match kind:
        case "int":
            return st.integers(-(2**40), 2**40)
        case "float":
            return st.floats(allow_nan=False, width=32)
        case "bool":
            return st.booleans()
        case "text":
            return st.text(max_size=4)
        case ("list", inner):
            return st.lists(values_of(inner), max_size=3)
        case ("option", inner):
            return st.none() | values_of(inner)
        case ("record", fields):
            return st.fixed_dictionaries({name: values_of(inner) for name, inner in fields.items()})
    raise AssertionError(kind)


def leaf(value, path):
    """The plain meaning of a dotted column: a missing record is a missing leaf."""
    match value:
        case None:
            return None
        case list():
            return [leaf(item, path) for item in value]
        case dict():
            return leaf(value[path[0]], path[1:])
    return value


def check_data(column, data, length):
    lengths = [length]
    assert len(data.offsets) == len(column.levels) + column.text
    assert len(data.level_valid) == len(column.levels)
    parts = zip(column.levels, data.offsets, data.level_valid, strict=False)
    for index, (level, offsets, valid) in enumerate(parts):
        assert offsets.dtype == np.int64
        assert offsets[0] == 0
        assert len(offsets) == lengths[-1] + 1
        assert (valid is not None) == column.optional_list(index)
        if valid is not None:
            assert valid.dtype == np.bool_
            assert not np.diff(offsets)[~valid].any()
        if level.size is not None:
            assert (np.diff(offsets) == (level.size if valid is None else valid * level.size)).all()
        lengths.append(int(offsets[-1]))
    if data.values is not None:
        assert data.values.dtype == column.dtype
        assert data.values.dtype.isnative
        assert data.values.flags.c_contiguous
        assert len(data.values) == (data.offsets[-1][-1] if column.text else lengths[-1])
        assert (data.valid is not None) == column.optional
    for record in column.records:
        if record.name in data.records:
            assert len(data.records[record.name]) == lengths[record.level]


def read_all(source, partitions=None):
    names = [name for name, column in source.columns.items() if not column.problem]
    found = {name: [] for name in names}
    for part in source.partitions() if partitions is None else partitions:
        for name, data in source.read(part, dict.fromkeys(names, Need.DATA)).items():
            check_data(source.columns[name], data, len(part))
            found[name] += to_awkward(source.columns[name], data).to_list()
    return found


@settings(max_examples=examples(150), deadline=None)
@given(st.data(), KINDS, st.integers(1, 4))
def test_every_leaf_comes_back_in_any_partitioning(draw, kind, npartitions):
    events = draw.draw(st.lists(st.fixed_dictionaries({"x": values_of(kind), "n": st.integers(0, 9)}), max_size=6))
    source = open_awkward(ak.from_iter(events), npartitions)
    for name, values in read_all(source).items():
        assert values == [leaf(event, name.split(".")) for event in events]


def numpy(*values):
    return ak.contents.NumpyArray(np.array(values))


LAYOUTS = {
    "list array": ak.contents.ListArray(
        ak.index.Index64([3, 0, 0]), ak.index.Index64([5, 0, 2]), numpy(0.0, 1.1, 2.2, 3.3, 4.4)
    ),
    "offsets not from 0": ak.contents.ListOffsetArray(ak.index.Index32([1, 3, 3, 4]), numpy(9, 1, 2, 3, 9)),
    "regular": ak.contents.RegularArray(numpy(1, 2, 3, 4, 5, 6, 7), 2),
    "regular of size 0": ak.contents.RegularArray(numpy(), 0, zeros_length=3),
    "nested numpy": ak.contents.NumpyArray(np.arange(24, dtype="i4").reshape(3, 2, 4)),
    "strided": ak.contents.NumpyArray(np.arange(10)[::3]),
    "indexed": ak.contents.IndexedArray(ak.index.Index64([2, 0, 2]), numpy(1, 2, 3)),
    "indexed option": ak.contents.IndexedOptionArray(ak.index.Index64([2, -1, 0]), numpy(1, 2, 3)),
    "all none": ak.contents.IndexedOptionArray(ak.index.Index64([-1, -1, -1]), numpy()),
    "none of nothing": ak.contents.IndexedOptionArray(ak.index.Index64([-1, -1]), ak.contents.EmptyArray()),
    "byte masked": ak.contents.ByteMaskedArray(ak.index.Index8([0, 1, 0]), numpy(1, 2, 3, 4), valid_when=False),
    "bit masked": ak.contents.BitMaskedArray(
        ak.index.IndexU8([0b10110101, 1]), numpy(*range(12)), valid_when=True, length=9, lsb_order=True
    ),
    "unmasked": ak.contents.UnmaskedArray(numpy(1, 2, 3)),
    "lists under a mask": ak.contents.ByteMaskedArray(
        ak.index.Index8([1, 0, 1]),
        ak.contents.ListOffsetArray(ak.index.Index64([0, 2, 3, 4]), numpy(1, 2, 3, 4)),
        valid_when=True,
    ),
    "fixed lists under a mask": ak.contents.ByteMaskedArray(
        ak.index.Index8([1, 0, 1]), ak.contents.RegularArray(numpy(1, 2, 3, 4, 5, 6), 2), valid_when=True
    ),
    "records under a mask": ak.contents.IndexedOptionArray(
        ak.index.Index64([1, -1]), ak.contents.RecordArray([ak.Array([[1], [2, 3]]).layout, numpy(1, 2)], ["x", "y"])
    ),
    "tuples": ak.contents.RecordArray([numpy(1, 2, 3), numpy(1.0, 2.0)], None),
    "empty": ak.contents.EmptyArray(),
    "lists of nothing": ak.Array([[], []]).layout,
    "text": ak.Array(["a", "", "µµ"]).layout,
    "no text": ak.Array([None, "b", [None]][:2]).layout,
    "categories": ak.str.to_categorical(ak.Array(["a", "b", "a"])).layout,
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("npartitions", [1, 2, 5])
def test_every_kind_of_layout(name, wrap, npartitions):
    array = ak.Array(LAYOUTS[name])
    if wrap:
        array = ak.Array({"x": array})
    source = open_awkward(array, npartitions)
    found = read_all(source)
    assert found
    for column, values in found.items():
        fields = column.split(".") if column else []
        expected = array
        for field in fields:
            expected = expected[field]
        assert values == expected.to_list(), column


def test_types_survive():
    array = ak.Array({"x": np.array([[1, 2]], np.int16), "y": [[1.5, None]], "z": ["t"], "b": [[[True]]]})
    source = open_awkward(array)
    types = {name: column.type for name, column in source.columns.items()}
    assert types == {"x": "2 * int16", "y": "var * ?float64", "z": "string", "b": "var * var * bool"}
    data = source.read(source.partitions()[0], dict.fromkeys("xyzb", Need.DATA))
    for name, column in source.columns.items():
        assert to_awkward(column, data[name]).type == array[name].type


def test_counts_leave_the_values_alone():
    source = open_awkward(ak.Array({"x": [[[1, 2], []], []], "n": [1, 2], "t": [["a"], []]}))
    data = source.read(source.partitions()[0], dict.fromkeys("xnt", Need.COUNTS))
    assert [offsets.tolist() for offsets in data["x"].offsets] == [[0, 2, 2], [0, 2, 2]]
    assert [offsets.tolist() for offsets in data["t"].offsets] == [[0, 1, 1]]
    assert data["n"] == Data(None)
    assert data["x"].values is None
    with pytest.raises(ValueError, match="only the counts"):
        to_awkward(source.columns["x"], data["x"])


def test_unions_bytes_dates_and_clashing_names_are_problems():
    array = ak.Array(
        {
            "u": ak.Array([1, "a"]),
            "b": ak.Array([b"a", b"b"]),
            "d": np.array(["2020-01-01", "2020-01-02"], "datetime64[s]"),
            "r.x": [1, 2],
            "r": [{"x": 1}, {"x": 2}],
            "e": ak.Array([{}, {}]),
            "fine": [1, 2],
        }
    )
    source = open_awkward(array)
    assert {name for name, column in source.columns.items() if column.problem} == {"u", "b", "d", "r.x", "e"}
    assert read_all(source) == {"fine": [1, 2]}
    with pytest.raises(errors.MissingColumnError, match="several types"):
        source.read(source.partitions()[0], {"u": Need.DATA})


def test_pickles_with_its_data_and_keeps_its_identity():
    array = ak.Array({"x": [[1, 2], [], [3]]})
    source = open_awkward(array[1:], 2, metadata={"dataset": "toy"})
    other = pickle.loads(pickle.dumps(source))
    assert read_all(other) == {"x": [[], [3]]}
    assert other.metadata == {"dataset": "toy"}
    assert other.npartitions == 2
    (file,) = source.files
    assert other.identity(file) == source.identity(file)
    assert open_awkward(ak.Array({"x": [[], [3]]})).identity(file) == source.identity(file)
    assert open_awkward(ak.Array({"x": [[], [4]]})).identity(file) != source.identity(file)


def test_a_number_of_partitions_is_kept_even_where_some_are_empty():
    assert len(open_awkward(ak.Array({"x": [1]}), 3).partitions()) == 3
    with pytest.raises(ValueError, match="at least 1"):
        open_awkward(ak.Array([1]), 0)
    with pytest.raises(TypeError, match="single record"):
        open_awkward(ak.Record({"x": 1}))

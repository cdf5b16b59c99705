"""The metadata of trees of plain branches are what uproot makes of them, or are left to uproot."""

import warnings
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.io.trees import borrowed, handles
from hepgraph.io.ttree.header import Header, UnknownHeader, header_of
from hepgraph.io.ttree.layouts import Layout
from hepgraph.io.ttree.source import of_tree, tree_columns, tree_edges

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample.root"
TYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def by_uproot(path, tree=None):
    """The tree, read by uproot alone."""
    with borrowed(str(path), tree, {}) as opened:
        opened.header = None
        return int(opened.tree.num_entries), tree_edges(opened.tree), tree_columns(opened.tree)


def layout(path, names, plain):
    """The branches as their baskets are read, by the header or by uproot."""
    handles.clear()
    with borrowed(str(path), None, {}) as opened:
        assert header_of(opened) is not None
        opened.header = opened.header if plain else None
        made = Layout(None, opened.uuid, int(opened.tree.num_entries))
        made.add(names, opened)
        return made.branches


def same(path, tree=None):
    """Checks that a tree is read without uproot, and is the same."""
    handles.clear()
    with borrowed(str(path), tree, {}) as opened:
        assert header_of(opened) is not None
        found = of_tree(opened)
        assert opened._tree is None, "uproot has read it"
    handles.clear()
    assert found == by_uproot(path, tree)
    names = [column.name for column in found[2]]
    assert layout(path, names, True) == layout(path, names, False)


def drawn(seed, path):
    """A tree with branches of all types, single, of fixed sizes and of lists, in some baskets, with titles."""
    rng = np.random.default_rng(seed)
    kinds = {}
    for number in range(rng.integers(1, 8)):
        dtype = np.dtype(str(rng.choice(TYPES)))
        match rng.integers(4):
            case 0:
                kinds[f"flat{number}"] = dtype
            case 1:
                kinds[f"sized{number}"] = np.dtype((dtype, (3,) if rng.random() < 0.5 else (2, 3)))
            case 2:
                kinds[f"lists{number}"] = ak.types.ListType(ak.types.NumpyType(str(dtype)))
            case 3:
                parts, names = [ak.types.NumpyType(str(dtype))] * 2, ["pt", "x" * int(rng.integers(1, 300))]
                kinds[f"Jet{number}"] = ak.types.ListType(ak.types.RecordType(parts, names))
    with uproot.recreate(path) as file:
        tree = file.mktree("Events", kinds, title="t" * int(rng.integers(0, 300)))
        for _ in range(rng.integers(0, 5)):
            size = int(rng.integers(1, 5))
            tree.extend({name: values(rng, kind, size) for name, kind in kinds.items()})


def values(rng, kind, size):
    if isinstance(kind, np.dtype):
        base, shape = kind.subdtype or (kind, ())
        return rng.integers(0, 2, (size, *shape)).astype(base)
    counts = rng.integers(1, 4, size)
    content = kind.content
    if isinstance(content, ak.types.RecordType):
        numbers = {n: rng.integers(0, 2, counts.sum()).astype(content.contents[0].primitive) for n in content.fields}
        return ak.unflatten(ak.zip(numbers), counts)
    return ak.unflatten(rng.integers(0, 2, counts.sum()).astype(content.primitive), counts)


@settings(max_examples=examples(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_tree_of_plain_branches_is_as_uproot_has_it(seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("tree") / "drawn.root"
    drawn(seed, path)
    same(path)


KINDS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def test_types_are_those_that_awkward_knows(tmp_path):
    """A long long is equal to an int64, and awkward's reductions look up the one and not the other."""
    path = str(tmp_path / "a.root")
    with uproot.recreate(path) as file:
        file["Events"] = {f"x{kind}": np.ones(3, kind) for kind in KINDS if kind != "?"} | {"x?": np.ones(3, bool)}
    events = hg.open(path, schema="base")
    for kind in KINDS:
        x = events[f"x{kind}"]
        assert x._form.node.dtype.num == np.dtype(kind).num
        assert x.compute(progress=False).layout.dtype.num == np.dtype(kind).num
        assert ak.sum(x).compute(progress=False) == 3
    assert np.asarray(events.eager()["xi8"]).dtype.num == np.dtype("i8").num


def test_the_sample():
    same(SAMPLE)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data, which is not there")
@pytest.mark.parametrize("name", ["nano_tt_v12.root"])
def test_real_files(name):
    same(DATA / name, "Events")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data, which is not there")
@pytest.mark.parametrize("name", ["HZZ-zlib.root", "test_FCC_Spring2021.root"])
def test_other_trees_are_left_to_uproot(name):
    source = hg.open(DATA / name, schema="base").source
    handles.clear()
    with borrowed(str(DATA / name), source.files[0].tree, {}) as opened:
        assert header_of(opened) is None
        assert of_tree(opened)[2] == list(source.columns.values())


def test_an_rntuple_has_no_such_header(tmp_path):
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mkrntuple("Events", {"x": np.arange(3)})
    with borrowed(str(tmp_path / "a.root"), None, {}) as opened:
        assert header_of(opened) is None


@settings(max_examples=examples(60), deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3), cut=st.booleans()
)
def test_damaged_metadata_are_left_to_uproot_or_are_metadata(changes, cut):
    """No other error than the one that leaves them to uproot."""
    data, length = damaged.setdefault("sample", _bytes())
    found = bytearray(data)
    for place, byte in changes:
        found[place % len(found)] = byte
    if cut:
        del found[changes[0][0] % len(found) :]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            header = Header(bytes(found), length)
            assert header.edges()
            assert len(header.columns()) == len(header.branches)
            for branch in header.branches.values():
                branch.baskets
    except UnknownHeader:
        pass


damaged = {}


def _bytes():
    with uproot.open({str(SAMPLE): None}) as file:
        key = file.key("Events")
        return bytes(key.get_uncompressed_chunk_cursor()[0].raw_data), key.fKeylen

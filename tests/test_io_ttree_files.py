"""Baskets in files: every branch of every real file as uproot reads it; files of every codec; one look at each file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import uproot
from baskets import COMPRESSIONS, as_uproot, first_payload, same, write

from hepgraph.io import trees
from hepgraph.io.native.codecs import blocks_of
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition
from hepgraph.io.ttree.layouts import Layout, leaf_branches
from hepgraph.io.ttree.leaves import FixedLeaf, Number, leaf_of
from hepgraph.io.ttree.source import layouts

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

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


@pytest.mark.parametrize("place", PATHS)
def test_real_files_bit_for_bit(place, limit):
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
            native, shared = 0 if index % 2 else 20_000, 0 if index % 3 else 32_768
            limit(native_least=native, basket_shared=shared)  # placed by native code or not; shared with others or not
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


# files written by uproot


@pytest.mark.parametrize("least", [0, 20_000])
@pytest.mark.parametrize("codec", COMPRESSIONS)
def test_files_of_every_codec(tmp_path, codec, least, limit):
    limit(native_least=least)
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


def test_what_only_uproot_reads_is_left_to_it(tmp_path):
    with uproot.recreate(tmp_path / "t.root") as file:
        file.mktree("Events", {"x": np.int64, "text": "string"}).extend({"x": np.arange(3), "text": ["a", "", "bc"]})
    with uproot.open(tmp_path / "t.root") as file:
        branches = leaf_branches(file["Events"])
        assert leaf_of(branches["x"]) == FixedLeaf(Number(np.dtype(">i8"), np.dtype("i8")))
        assert leaf_of(branches["text"]) is None
    source = open_root(tmp_path / "t.root")
    found = source.read(source.partitions()[0], dict.fromkeys(source.columns, Need.DATA))
    assert found["text"].values.tobytes() == b"abc"
    assert found["x"].values.tolist() == [0, 1, 2]


# once a file


def test_a_known_file_is_read_without_uproot(tmp_path):
    path = write(tmp_path / "a.root", uproot.ZSTD(1))
    source = open_root(path, step_size=30)
    names = dict.fromkeys(source.columns, Need.DATA)
    first = [source.read(part, names) for part in source.partitions()]
    trees.handles.clear()
    before = trees.handles.opened
    again = [source.read(part, names) for part in source.partitions()]
    assert trees.handles.opened == before
    for before, after in zip(first, again, strict=True):
        assert all(same(after[name], before[name]) for name in names)


def test_threads_open_a_file_once(tmp_path):
    path = write(tmp_path / "a.root", uproot.ZSTD(1))
    source = open_root(path, step_size=10)
    trees.handles.clear()
    layouts.clear()
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

"""TTrees: columns without reading data, all types of the real files, what is read, and what damaged files say."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from columns import to_awkward

import hepgraph as hg
from hepgraph import errors
from hepgraph.io import trees
from hepgraph.io.forms import columns_of_form
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition, reads
from hepgraph.io.ttree.layouts import leaf_branches
from hepgraph.io.ttree.reader import Reader
from hepgraph.io.ttree.source import RootSource

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
JETS = ak.Array([[1.5, 2.5], [], [3.5], [4.5, 5.5, 6.5], []])


def write(path, trees=("Events",), compression=None, cycles=1, **branches):
    branches = branches or {
        "run": np.arange(5, dtype=np.uint32),
        "good": np.array([True, False, True, True, False]),
        "xyz": np.arange(15, dtype=np.float32).reshape(5, 3),
        "Jet": ak.zip({"pt": JETS, "id": ak.values_astype(JETS, np.int16)}),
    }
    with uproot.recreate(path, compression=compression) as file:
        for name in trees:
            tree = file.mktree(name, _types(branches))
            for _ in range(cycles):
                tree.extend(branches)
    return str(path)


def _types(branches):
    def kind(value):
        return (value.dtype, value.shape[1:]) if isinstance(value, np.ndarray) else value.type.content

    return {name: kind(value) for name, value in branches.items()}


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "a.root", cycles=3)


def read(source, need=Need.DATA, names=None):
    names = [name for name, column in source.columns.items() if not column.problem] if names is None else names
    (part,) = source.partitions() if len(source.partitions()) == 1 else (None,)
    assert part is not None
    return source.read(part, dict.fromkeys(names, need))


def spied(monkeypatch):
    """A list that fills with the names of the branches that are read."""
    asked = []
    mine, theirs = Reader.read, uproot.behaviors.TBranch.TBranch.array
    monkeypatch.setattr(
        Reader, "read", lambda self, branch, *rest: asked.append(branch.name) or mine(self, branch, *rest)
    )
    monkeypatch.setattr(
        uproot.behaviors.TBranch.TBranch,
        "array",
        lambda self, *args, **kwargs: asked.append(self.name) or theirs(self, *args, **kwargs),
    )
    return asked


def test_columns_of_a_tree(path):
    source = open_root(path)
    assert isinstance(source, RootSource)
    assert {name: (column.type, column.counts) for name, column in source.columns.items()} == {
        "run": ("uint32", None),
        "good": ("bool", None),
        "xyz": ("3 * float32", None),
        "nJet": ("int32", None),
        "Jet_pt": ("var * float64", "nJet"),
        "Jet_id": ("var * int16", "nJet"),
    }
    (file,) = source.files
    assert (file.tree, file.entries, file.edges) == ("Events", 15, (0, 5, 10, 15))
    assert all(column.bytes > 0 and column.memory > 0 for column in source.columns.values())


@pytest.mark.parametrize(("start", "stop"), [(0, 15), (0, 1), (3, 12), (5, 10), (14, 15), (7, 7)])
def test_data(path, start, stop):
    source = open_root(path)
    part = Partition(source.files[0].path, "Events", start, stop)
    found = source.read(part, dict.fromkeys(source.columns, Need.DATA))
    with uproot.open(path) as file:
        for name, column in source.columns.items():
            expected = file["Events"][name].array(entry_start=start, entry_stop=stop)
            mine = to_awkward(column, found[name])
            assert mine.type == expected.type
            assert mine.to_list() == expected.to_list()
            assert found[name].values.dtype == column.dtype
            assert all(offsets.dtype == np.int64 and offsets[0] == 0 for offsets in found[name].offsets)


def test_counts_come_from_the_counting_branch(path, monkeypatch):
    source = open_root(path)
    asked = spied(monkeypatch)
    found = read(source, Need.COUNTS, ["Jet_pt", "Jet_id", "run", "xyz"])
    assert asked == ["nJet", "xyz"]
    assert np.diff(found["Jet_pt"].offsets[0]).tolist() == [2, 0, 1, 3, 0] * 3
    assert found["Jet_pt"].values is None
    assert np.diff(found["xyz"].offsets[0]).tolist() == [3] * 15
    assert found["run"].offsets == ()


def test_only_the_branches_in_need_are_read(path, monkeypatch):
    source = open_root(path)
    asked = spied(monkeypatch)
    with reads() as seen:
        read(source, Need.DATA, ["Jet_pt"])
    assert asked == ["Jet_pt"]
    assert [(note.column, note.need) for note in seen] == [("Jet_pt", Need.DATA)]


def test_a_remote_file_is_asked_once_for_all_branches(path, monkeypatch):
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/hg/a.root", Path(path).read_bytes())
    remote, local = open_root("memory://hg/a.root:Events"), open_root(path)
    calls = []
    original = system.cat_ranges
    monkeypatch.setattr(system, "cat_ranges", lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs))
    theirs, mine = read(remote), read(local)
    assert len(calls) == 1
    for name, column in local.columns.items():
        assert to_awkward(column, theirs[name]).to_list() == to_awkward(column, mine[name]).to_list()


def test_a_tree_without_entries(tmp_path):
    source = open_root(write(tmp_path / "e.root", cycles=0))
    (part,) = source.partitions()
    found = source.read(part, dict.fromkeys(source.columns, Need.DATA))
    for name, column in source.columns.items():
        assert len(to_awkward(column, found[name])) == 0


def test_which_tree(tmp_path):
    several = write(tmp_path / "s.root", ["A", "dir/B"])
    with pytest.raises(errors.MissingTreeError, match=r"several trees; say which with tree=. Trees: A, dir/B"):
        open_root(several)
    assert open_root(several, tree="dir/B").files[0].tree == "dir/B"
    assert open_root(f"{several}:A", tree="dir/B").files[0].tree == "A"
    assert open_root({several: "A;1"}).entries == 5
    with pytest.raises(errors.MissingTreeError, match=r"(?s)No tree 'dir/C' in .*s.root.*Nearest names: dir/B"):
        open_root(several, tree="dir/C")
    assert open_root(write(tmp_path / "only.root", ["only"])).files[0].tree == "only"
    assert open_root(write(tmp_path / "two.root", ["Runs", "Events"])).files[0].tree == "Events"
    with uproot.recreate(tmp_path / "h.root") as file:
        file["h"] = np.histogram([1, 2])
    with pytest.raises(errors.MissingTreeError, match="no TTree and no RNTuple"):
        open_root(tmp_path / "h.root")
    with pytest.raises(errors.MissingTreeError, match=r"'h' in .* is a TH1D, not a tree"):
        open_root(tmp_path / "h.root", tree="h")


def test_several_files(tmp_path):
    for name in "abc":
        x = np.arange(2, dtype=np.float32)
        more = {"y": np.arange(2)} if name != "b" else {}
        write(tmp_path / f"{name}.root", x=x if name != "c" else ak.Array([[1.0], []]), **more)
    source = open_root(f"{tmp_path}/*.root", metadata={"dataset": "dy"})
    assert source.entries == 6
    assert source.metadata == {"dataset": "dy"}
    assert [dict(file.differs) for file in source.files] == [{}, {}, {"x": "var * float64"}]
    assert [file.lacks for file in source.files] == [("nx",), ("y", "nx"), ()]
    assert [part.first for part in source.partitions()] == [0, 2, 4]
    assert source.columns["x"].bytes == 2 * open_root(tmp_path / "a.root").columns["x"].bytes
    with pytest.raises(errors.DisagreementError, match=r"(?s)'x'.*a.root: float32.*c.root: var \* float64"):
        source.check(["x"])
    source.read(source.partitions()[1], {"x": Need.DATA})
    with pytest.raises(errors.DisagreementError, match=r"(?s)'y' in 1 of the 3 files.*b.root"):
        source.read(source.partitions()[1], {"y": Need.DATA})


def test_pickles_small_and_reads_in_another_process(path):
    source = open_root(path)
    read(source)
    text = pickle.dumps(source)
    assert len(text) < 2500
    code = (
        "import pickle, sys; from hepgraph.io.source import Need; s = pickle.loads(sys.stdin.buffer.read());"
        "print(s.read(s.partitions()[0], {'run': Need.DATA})['run'].values.sum())"
    )
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, check=True)
    assert int(done.stdout) == 30


def test_a_file_is_opened_once(path):
    trees.handles.clear()
    before = trees.handles.opened
    source = open_root(path, step_size=2)
    for part in source.partitions():
        source.read(part, {"run": Need.DATA})
    assert trees.handles.opened == before + 1


def test_threads_read_the_same_file(path):
    source = open_root(path, step_size=1)
    parts = source.partitions() * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: source.read(part, {"Jet_pt": Need.DATA, "run": Need.DATA}), parts))
    assert [data["run"].values.tolist() for data in found] == [[i % 5] for i in range(15)] * 4
    assert [data["Jet_pt"].values.tolist() for data in found] == JETS.to_list() * 12


def test_a_file_that_changed_is_refused(tmp_path):
    path = write(tmp_path / "a.root")
    source = open_root(path)
    read(source)
    write(tmp_path / "a.root", cycles=2)
    with pytest.raises(errors.ChangedFileError, match="changed after it was opened"):
        read(source, names=["run"])
    assert open_root(path).entries == 10


def test_a_file_that_is_replaced_between_its_layout_and_its_baskets(tmp_path, monkeypatch):
    path = write(tmp_path / "a.root")
    source = open_root(path)
    read(source)
    monkeypatch.setattr("hepgraph.io.ttree.source.stamp_of", lambda path: (0, 0, 0))
    with pytest.raises(errors.ChangedFileError) as caught:
        read(source, names=["run"])
    assert str(caught.value) == f"{source.files[0].path} changed while it was read. Open the dataset again."


def test_records_and_texts(tmp_path):
    with uproot.recreate(tmp_path / "t.root") as file:
        file["Events"] = {"word": ak.Array(["a", "", "bc"]), "x": np.arange(3)}
    source = open_root(tmp_path / "t.root")
    if source.columns["word"].text:
        assert to_awkward(source.columns["word"], read(source)["word"]).to_list() == ["a", "", "bc"]


def test_not_a_root_file(tmp_path):
    (tmp_path / "x.root").write_bytes(b"<html>please log in</html>")
    with pytest.raises(errors.DamagedFileError, match=r"x\.root is neither a ROOT nor a Parquet file") as caught:
        open_root(tmp_path / "x.root")
    assert caught.value.__cause__ is not None
    (tmp_path / "e.root").write_bytes(b"")
    with pytest.raises(errors.DamagedFileError, match=r"e\.root"):
        open_root(tmp_path / "e.root")
    with pytest.raises(errors.MissingFileError):
        open_root(tmp_path / "none.root")


def test_a_truncated_file(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "t.root"
    write(path, x=rng.random(10_000), y=rng.random(10_000))
    content = path.read_bytes()
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(errors.DamagedFileError, match=r"t\.root"):
            open_root(path)


def test_a_damaged_basket_names_file_tree_and_branch(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "t.root"
    write(path, compression=uproot.ZLIB(1), x=rng.integers(0, 9, 10_000), y=rng.integers(0, 9, 10_000))
    with uproot.open(path) as file:
        seek = int(file["Events"]["y"].member("fBasketSeek")[0])
    content = bytearray(path.read_bytes())
    content[seek + 200 : seek + 1200] = b"\xff" * 1000
    path.write_bytes(content)
    source = open_root(path)
    assert read(source, names=["x"])["x"].values is not None
    with pytest.raises(
        errors.DamagedFileError, match=r"branch 'y' of tree 'Events', entries 0 to 10000, in .*t\.root"
    ) as c:
        read(source, names=["x", "y"])
    assert c.value.__cause__ is not None


def real_trees():
    wanted = ["HZZ-zlib", "HZZ-lz4", "HZZ-lzma", "HZZ-zstd", "PHYSLITE_example", "edm4hep", "nano_dimuon", "nano_dy"]
    wanted += ["nano_tt_v12", "pfnano", "test_FCC_Spring2021", "treemaker"]
    return [f"{name}.root" for name in wanted]


@pytest.mark.parametrize("name", real_trees())
def test_real_files_read_as_uproot_reads_them(name):
    if not DATA.exists():
        pytest.skip("the shared data are not here")
    with uproot.open(DATA / name) as file:
        all_trees = [tree for tree, kind in file.classnames(cycle=False).items() if kind == "TTree"]
        for tree in all_trees:
            if tree != "ParameterSets":  # 2 MB of blobs that uproot cannot decode
                check_tree(file, DATA / name, tree)


def check_tree(file, path, tree):
    source = open_root(path, tree=tree)
    branches = leaf_branches(file[tree])
    names = list(branches)[:: 1 if len(branches) < 400 else 8]  # reading and comparing 1500 branches takes long
    part = Partition(str(path), tree, 0, min(source.entries, 20))
    for name in names:
        mine = [column for column in source.columns if column == name or column.startswith(f"{name}.")]
        columns = [source.columns[column] for column in mine if column == name or column not in branches]
        assert columns, name
        if any(column.problem for column in columns):
            continue
        form = branches[name].interpretation.awkward_form(branches[name].file)
        assert [column.type for column in columns] == [column.type for column in columns_of_form(name, form)]
        try:
            expected = branches[name].array(entry_stop=part.stop)
        except NotImplementedError:
            with pytest.raises(errors.MissingColumnError, match=f"branch {name!r}"):
                source.read(part, {columns[0].name: Need.DATA})
            continue
        found = source.read(part, {column.name: Need.DATA for column in columns})
        for column in columns:
            inner = tuple(field for field in column.name[len(name) + 1 :].split(".") if field)
            wanted = expected[inner] if inner else expected
            assert repr(to_awkward(column, found[column.name]).to_list()) == repr(wanted.to_list()), column.name
            if column.counts:
                counts = source.read(part, {column.name: Need.COUNTS})[column.name]
                assert np.diff(counts.offsets[0]).tolist() == ak.num(wanted).to_list()


def test_names_that_are_not_unique_are_paths():
    if not DATA.exists():
        pytest.skip("the shared data are not here")
    source = open_root(DATA / "edm4hep.root", tree="podio_metadata")
    assert "PodioBuildVersion/major" in source.columns
    assert "EDMDefinitions._0" in source.columns


def test_a_wide_file_opens_in_few_calls(tmp_path, monkeypatch):
    path = write(tmp_path / "wide.root", **{f"b{i}": np.arange(2, dtype=np.float32) for i in range(200)})
    built = []
    original = uproot.AsDtype.awkward_form
    monkeypatch.setattr(
        uproot.AsDtype, "awkward_form", lambda self, *args, **kwargs: built.append(1) or original(self, *args, **kwargs)
    )
    source = open_root(path)
    assert len(source.columns) == 200
    assert not built  # forms are for what is not plain numbers


def test_a_cycle_that_is_not_there(tmp_path):
    path = str(tmp_path / "a.root")
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "f8"}).extend({"x": np.arange(3.0)})
    assert hg.from_root(f"{path}:Events;1").source.entries == 3
    for ask in (lambda: hg.from_root(f"{path}:Events;7"), lambda: hg.from_root(path, tree="Events;7")):
        with pytest.raises(errors.MissingTreeError) as caught:
            ask()
        assert str(caught.value) == (
            f"No cycle 7 of tree 'Events' in {path}; there is 1. Without a cycle ('Events'), the newest is read."
        )

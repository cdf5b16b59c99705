"""What every source shares: partitions, checks, sizes, files as users write them, errors at the edge."""

import os
import pickle
import threading
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

import hepgraph as hg
from hepgraph import errors
from hepgraph.arguments import parse_bytes
from hepgraph.io.access.files import edge, resolve, sniff, split_tree
from hepgraph.io.access.handles import Handles
from hepgraph.io.agreement import agreed
from hepgraph.io.formats import FORMATS, PARQUET, ROOT, rebuilt_source
from hepgraph.io.memory import open_awkward
from hepgraph.io.source import STEP_SIZE, USUAL, Access, Column, File, Level, Need, Partition, Source, reads

F8, F4 = np.dtype("float64"), np.dtype("float32")


class Fake(Source):
    def read(self, partition, needs, access=USUAL):
        self.begin(partition, needs)
        return {}


def fake(*entries, columns=(Column("x", F8),), **settings):
    return Fake(columns, [File(f"f{i}.root", "Events", n) for i, n in enumerate(entries)], **settings)


@pytest.mark.parametrize("entries", [(0,), (10,), (3, 0, 7), (1, 1, 1), (100, 5)])
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize("npartitions", [None, 1, 2, 5, 13])
def test_partitions_cover_every_entry_once(entries, step, npartitions):
    source = fake(*entries, step_size=step)
    if npartitions is not None:
        source = source.repartition(npartitions)
    seen = [(part.path, i) for part in source.partitions() for i in range(part.start, part.stop)]
    assert seen == [(file.path, i) for file in source.files for i in range(file.entries)]
    firsts = [part.first + i for part in source.partitions() for i in range(len(part))]
    assert firsts == list(range(source.entries))


def test_a_source_without_entries_has_one_empty_partition():
    (only,) = fake(0, 0).partitions()
    assert len(only) == 0


def test_step_size_in_bytes_counts_what_is_needed():
    columns = [Column("x", F8, memory=800), Column("y", F8, memory=800_000)]
    source = fake(100, columns=columns, step_size="400 B")
    assert len(source.partitions(["x"])) == 2
    assert len(source.partitions(["y"])) == 100


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "many", "0 MB"])
def test_wrong_step_sizes(wrong):
    with pytest.raises(ValueError):
        fake(1, step_size=wrong)


def test_ranges_follow_clusters_unless_a_step_size_was_asked_for():
    edges = (0, 70_000, 140_000, 200_000)
    files = [File("f.root", "Events", 200_000, edges=edges)]
    assert [len(part) for part in Fake([Column("x", F8)], files).partitions()] == [70_000, 70_000, 60_000]
    asked = Fake([Column("x", F8)], files, step_size=STEP_SIZE)
    assert [len(part) for part in asked.partitions()] == [100_000, 100_000]


def test_parse_bytes():
    assert parse_bytes("2 kiB") == 2048


def test_types_print_as_awkward_prints_them():
    column = Column("x", F4, (Level(None, True), Level(3)), nullable=True)
    assert column.type == "option[var * 3 * ?float32]"


def test_reading_a_column_that_is_not_there_names_the_nearest():
    source = fake(5, columns=[Column("Muon_pt", F4)])
    with pytest.raises(errors.MissingColumnError, match=r"No column 'Muon_pT' in f0.root.\nNearest names: Muon_pt"):
        source.read(source.partitions()[0], {"Muon_pT": Need.DATA})


def test_reading_a_column_with_a_problem_says_which():
    source = fake(5, columns=[Column("x", F4, problem="it is a map")])
    with pytest.raises(errors.MissingColumnError, match="it is a map"):
        source.read(source.partitions()[0], {"x": Need.DATA})


def test_partitions_of_another_source_are_refused():
    source = fake(5)
    with pytest.raises(errors.MissingFileError):
        source.read(Partition("other.root", "Events", 0, 1), {"x": Need.DATA})
    with pytest.raises(errors.DisagreementError):
        source.read(Partition("f0.root", "Events", 0, 6), {"x": Need.DATA})


def test_files_that_disagree_are_found_for_the_columns_in_need_only():
    first = [Column("x", F4, bytes=1), Column("y", F4), Column("z", F4, (Level(),))]
    second = [Column("x", F4, bytes=2, nullable=True), Column("y", F8, (Level(),))]
    columns, files = agreed([(first, File("a", "", 3)), (second, File("b", "", 3))])
    assert (files[1].differs, files[1].lacks) == ({"y": "var * float64"}, ("z",))
    source = Fake(columns, files)
    source.check(["x"])
    assert source.columns["x"].bytes == 3
    assert source.columns["x"].nullable  # None in one file is no disagreement
    with pytest.raises(errors.DisagreementError, match=r"(?s)First file: a: float32.*This file:  b: var \* float64"):
        source.check(["y"])
    source.read(Partition("a", "", 0, 1), {"y": Need.DATA})  # this file is as announced
    with pytest.raises(errors.DisagreementError):
        source.read(Partition("b", "", 0, 1), {"z": Need.COUNTS})


def test_reads_are_recorded_in_every_thread():
    source = open_awkward(ak.Array({"x": [1, 2], "y": [[1], []]}))
    (part,) = source.partitions()
    with reads() as seen:
        thread = threading.Thread(target=source.read, args=(part, {"x": Need.DATA}))
        thread.start()
        thread.join()
        source.read(part, {"y": Need.COUNTS})
    source.read(part, {"y": Need.DATA})
    assert [(note.column, note.need) for note in seen] == [("x", Need.DATA), ("y", Need.COUNTS)]


@pytest.mark.parametrize(
    ("text", "path", "tree"),
    [
        ("a.root", "a.root", None),
        ("a.root:Events", "a.root", "Events"),
        ("a.root:dir/Events;2", "a.root", "dir/Events;2"),
        ("/d/*.root:Events", "/d/*.root", "Events"),
        ("https://host/a.root", "https://host/a.root", None),
        ("https://host:443/a.root", "https://host:443/a.root", None),
        ("https://host:443/a.root:Events", "https://host:443/a.root", "Events"),
        ("https://host/a.root?key=a:b", "https://host/a.root?key=a:b", None),
        ("root://host:1094//path/a.root", "root://host:1094//path/a.root", None),
        ("root://host:1094//path/a.root:dir/t", "root://host:1094//path/a.root", "dir/t"),
        ("simplecache::root://host//a.root:t", "simplecache::root://host//a.root", "t"),
        ("a.root:", "a.root:", None),
    ],
)
def test_split_tree(text, path, tree):
    assert split_tree(text) == (path, tree)


def test_split_tree_leaves_a_local_name_with_a_colon_alone(tmp_path):
    (tmp_path / "a:b.root").touch()
    assert split_tree(str(tmp_path / "a:b.root")) == (str(tmp_path / "a:b.root"), None)


@pytest.fixture
def folder(tmp_path):
    for name in ["a.root", "b.root", "c.parquet", "notes.txt", "odd[1].root"]:
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_resolve_what_users_write(folder, monkeypatch):
    a, b, c, odd = (str(folder / name) for name in ["a.root", "b.root", "c.parquet", "odd[1].root"])
    assert resolve(a) == resolve(Path(a)) == resolve([a]) == resolve((Path(a),)) == resolve({a: None}) == [(a, None)]
    assert resolve(f"{folder}/*.root") == [(a, None), (b, None), (odd, None)]
    assert resolve(f"{folder}/[ab].root:T") == [(a, "T"), (b, "T")]
    assert resolve(folder) == [(a, None), (b, None), (c, None), (odd, None)]
    assert resolve({a: "T", Path(b): None}) == [(a, "T"), (b, None)]
    assert resolve([f"{a}:T", b]) == [(a, "T"), (b, None)]
    assert resolve(f"file://{a}") == [(a, None)]
    assert resolve(odd) == [(odd, None)]
    monkeypatch.chdir(folder)
    assert resolve("a.root") == [(a, None)]


def test_resolve_remote(folder):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/hg/b.root", b"root")
    memory.pipe("/hg/a.root", b"root")
    assert resolve("memory://hg/*.root:T") == [("memory:///hg/a.root", "T"), ("memory:///hg/b.root", "T")]
    assert sniff("memory://hg/a.root") is ROOT
    with pytest.raises(errors.MissingFileError, match="No file matches"):
        resolve("memory://hg/*.none")
    with pytest.raises(errors.MissingFileError):
        sniff("memory://hg/none.root")


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("{}/A.root", errors.MissingFileError, "No such file: .*A.root.\nIn .*: Nearest names: a.root"),
        ("{}/none/a.root", errors.MissingFileError, "directory .*none does not exist"),
        ("{}/z*.root", errors.MissingFileError, "No file matches"),
        ("{}/empty", errors.MissingFileError, "has no ROOT or Parquet files"),
        ([], errors.FilesetError, "empty"),
        ({}, errors.FilesetError, "empty"),
        (["{}/a.root", "{}/[a].root"], errors.FilesetError, "listed twice"),
        (3, errors.FilesetError, "not by 3"),
        ([3], errors.FilesetError, "not by 3"),
        ({"{}/a.root": 3}, errors.FilesetError, "name or None"),
    ],
)
def test_resolve_says_what_is_wrong(folder, what, error, says):
    def put(value):
        match value:
            case str():
                return value.format(folder)
            case list():
                return [put(item) for item in value]
            case dict():
                return {put(key): item for key, item in value.items()}
        return value

    with pytest.raises(error, match=f"(?s){says}"):
        resolve(put(what))


def test_sniff(tmp_path):
    for name, content in {"r": b"root123", "p": b"PAR1....", "e": b"", "h": b"<html>login"}.items():
        (tmp_path / name).write_bytes(content)
    assert sniff(str(tmp_path / "r")) is ROOT
    assert sniff(str(tmp_path / "p")) is PARQUET
    with pytest.raises(errors.DamagedFileError, match="is empty"):
        sniff(str(tmp_path / "e"))
    with pytest.raises(
        errors.DamagedFileError, match=r"neither a ROOT nor a Parquet file \(it starts with b'<html>lo'"
    ):
        sniff(str(tmp_path / "h"))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_format_is_one_row(form):
    """Its first bytes, suffixes, opener and classes are those of the sample in this format."""
    path = next(path for path in (Path(__file__).parents[1] / "data").glob("sample*") if path.suffix in form.suffixes)
    assert sniff(str(path)) is form
    source = form.open([path], None, 100, {"year": 2018}, None)
    assert source.kind in form.kinds
    again = rebuilt_source(source.kind, list(source.columns.values()), source.files)
    assert (type(again), again.columns, again.files) == (type(source), source.columns, source.files)
    with pytest.raises(errors.FilesetError, match="Files are of kind TTree, RNTuple or Parquet, not 'CSV'"):
        rebuilt_source("CSV", [], [])


@pytest.mark.parametrize(
    ("raised", "path", "expected"),
    [
        (ValueError("bad"), "a", errors.DamagedFileError),
        (OSError("short chunk"), "a", errors.DamagedFileError),
        (OSError(5, "input/output error"), "a", errors.AccessError),
        (OSError("reset"), "root://h//a", errors.AccessError),
        (TimeoutError(), "a", errors.AccessError),
        (FileNotFoundError("a"), "a", errors.MissingFileError),
        (NotImplementedError("memberwise"), "a", errors.MissingColumnError),
    ],
)
def test_errors_at_the_edge_name_the_file_and_keep_their_cause(raised, path, expected):
    with pytest.raises(expected) as caught, edge(path):
        raise raised
    assert type(caught.value) is expected
    assert caught.value.__cause__ is raised
    assert path in str(caught.value)


@pytest.mark.parametrize("raised", [MemoryError(), KeyboardInterrupt(), errors.MissingTreeError("t")])
def test_errors_that_pass_the_edge(raised):
    with pytest.raises(type(raised)) as caught, edge("a"):
        raise raised
    assert caught.value is raised


def test_handles_are_kept_used_by_one_at_a_time_and_dropped_when_the_file_changes(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"1")
    closed, made = [], iter(range(100))
    pool = Handles(close=closed.append, limit=2)

    def borrow(key="k"):
        return pool.borrow(key, str(path), lambda: next(made))

    with borrow() as first, borrow() as second:
        assert (first, second) == (0, 1)
    with borrow() as again:
        assert again in (0, 1)
    assert pool.opened == 2
    path.write_bytes(b"22")
    with borrow() as fresh:
        assert fresh == 2
    assert sorted(closed) == [0, 1]
    with pytest.raises(ZeroDivisionError), borrow():
        raise ZeroDivisionError
    assert sorted(closed) == [0, 1, 2]
    for key in "abc":
        with borrow(key):
            pass
    assert sorted(closed) == [0, 1, 2, 3]
    pool.clear()
    assert sorted(closed) == [0, 1, 2, 3, 4, 5]


def test_handles_of_a_parent_process_are_not_used(tmp_path, monkeypatch):
    pool = Handles(close=lambda handle: None)
    with pool.borrow("k", str(tmp_path), object) as mine:
        pass
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pool.borrow("k", str(tmp_path), object) as theirs:
        assert theirs is not mine


def test_sources_pickle():
    source = fake(3, 4, metadata={"dataset": "dy"})
    other = pickle.loads(pickle.dumps(source))
    assert (other.columns, other.files, other.metadata) == (source.columns, source.files, source.metadata)


@pytest.mark.parametrize(
    "files",
    [
        ["d.root", "d.root:Events"],
        ["d.root", "d.root:Events;1"],
        ["d.root:/Events", "d.root:Events"],
        ["d.root:dir/t;1", "d.root:dir/t"],
        ["d.root", "link.root"],
        ["hard.root", "d.root"],
        {"d.root": "Events", "link.root": None},
    ],
)
def test_one_tree_by_several_names_is_not_counted_twice(tmp_path, monkeypatch, files):
    monkeypatch.chdir(tmp_path)
    with uproot.recreate("d.root") as file:
        for name in ("Events", "dir/t"):
            file.mktree(name, {"x": np.int64}).extend({"x": np.arange(5)})
    os.symlink("d.root", "link.root")
    os.link("d.root", "hard.root")
    with pytest.raises(errors.FilesetError, match="listed twice; its events would be counted twice"):
        hg.from_root(files)
    with pytest.raises(errors.FilesetError, match="listed twice; its events would be counted twice"):
        hg.run(lambda events: {"n": ak.num(events, axis=0)}, {"a": files}, executor="serial", progress=False)
    assert hg.from_root(["d.root:Events", "link.root:dir/t"]).x.compute(progress=False).to_list() == [0, 1, 2, 3, 4] * 2


def test_a_branch_that_uproot_cannot_interpret_leaves_the_others(tmp_path, monkeypatch):
    with uproot.recreate(tmp_path / "x.root") as file:
        words = ak.Array(["a", "b", "c", "d", "e"])  # so that uproot is asked for the types of all branches
        tree = file.mktree("Events", {"x": np.int64, "y": np.int64, "words": "string"})
        tree.extend({"x": np.arange(5), "y": np.arange(5), "words": words})
    usual = uproot.TBranch.interpretation.fget

    def some(branch):
        if branch.name == "x":
            raise UnboundLocalError("low")
        return usual(branch)

    monkeypatch.setattr(uproot.TBranch, "interpretation", property(some))
    events = hg.from_root(tmp_path / "x.root")
    assert events.y.compute(progress=False).to_list() == [0, 1, 2, 3, 4]
    with pytest.raises(errors.SourceError, match=r"uproot cannot read a branch of type TLeafL: low"):
        events.x.compute(progress=False)


def test_a_source_is_a_value(tmp_path):
    """Options of a run are arguments of a read: nothing of a source is set from outside."""
    memory = open_awkward(ak.Array({"x": [1, 2, 3]}), 3)
    for source in (fake(10), memory, memory.repartition(2)):
        for name in ("step_size", "npartitions", "columns", "files", "metadata", "storage_options", "absent", "lost"):
            with pytest.raises(AttributeError, match=f"cannot assign to field '{name}'"):
                setattr(source, name, getattr(source, name))
    assert (memory.npartitions, memory.repartition(2).npartitions, memory.repartition(step_size=1).npartitions) == (
        3, 2, None,
    )  # fmt: skip


def test_how_it_is_read_is_said_to_a_read():
    source = fake(1000, 300)
    assert [len(part) for part in source.partitions()] == [1000, 300]
    assert max(len(part) for part in source.partitions(access=Access(entries=100))) == 100
    asked = fake(1000, step_size=400).partitions(access=Access(entries=100))
    assert [len(part) for part in asked] == [500, 500], "the user said how long ranges are"
    assert [len(part) for part in source.partitions()] == [1000, 300]

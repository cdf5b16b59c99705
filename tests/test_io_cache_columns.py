"""The column cache: whatever is in it, in whatever state, the data are those of the file."""

import os
import random
import shutil
import stat
import time
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pytest
import uproot
from baskets import write
from caching import ENTRIES, cached, kept, part_of, written
from drawing import examples
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limiting import limited

import hepgraph as hg
from hepgraph.disk import files as files_on_disk
from hepgraph.disk import mapped, trust
from hepgraph.errors import CacheWarning, ChangedFileError, DisagreementError, MissingColumnError
from hepgraph.io.access import identity
from hepgraph.io.cache.columns import ColumnCache
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, reads


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data"))


@pytest.fixture
def source(files, tmp_path):
    return cached(files["tree"], tmp_path / "cache")


def assert_same(mine, theirs):
    """Two columns, equal to the last bit and in what is None."""

    def equal(one, two):
        assert (one is None) == (two is None)
        if one is not None:
            assert one.dtype == two.dtype
            assert one.tobytes() == two.tobytes()

    equal(mine.values, theirs.values)
    equal(mine.valid, theirs.valid)
    for one, two in zip(mine.offsets, theirs.offsets, strict=True):
        equal(one, two)
    for one, two in zip(mine.level_valid, theirs.level_valid, strict=True):
        equal(one, two)
    for name in mine.records | theirs.records:  # all are there where it is not told
        one, two = (each.records.get(name, np.bool_(True)) for each in (mine, theirs))
        assert np.array_equal(*np.broadcast_arrays(one, two))


@pytest.mark.parametrize("kind", ["tree", "ntuple", "parquet"])
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_comes_is_what_the_file_holds(files, tmp_path_factory, kind, data):
    plain = files[kind]
    where = tmp_path_factory.mktemp("cache")
    size = data.draw(st.sampled_from([2_000, 20_000, 10**9]))
    source = cached(plain, where, size=size)
    names = sorted(plain.columns)
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, ENTRIES))
        stop = data.draw(st.integers(start, ENTRIES))
        some = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
        needs = {name: data.draw(st.sampled_from(Need)) for name in some}
        found = source.fetch(part_of(plain, start, stop), needs)
        expected = plain.fetch(part_of(plain, start, stop), needs)
        assert list(found) == list(expected)
        for name in needs:
            assert_same(found[name], expected[name])
        damage(where, random.Random(data.draw(st.integers(0, 2**32))))


def damage(where, rng):
    """Does something to some files of a cache."""
    for path in kept(where):
        content = bytearray(path.read_bytes())
        match rng.choice(["leave"] * 6 + ["delete", "cut", "flip", "empty", "foreign"]):
            case "delete":
                path.unlink()
            case "cut":
                path.write_bytes(content[:-1])
            case "flip" if content:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
                path.write_bytes(content)
            case "empty":
                path.write_bytes(b"")
            case "foreign":  # of another range, or column
                path.write_bytes(rng.choice(kept(where)).read_bytes())


@pytest.mark.parametrize("kind", ["tree", "ntuple", "parquet"])
def test_what_is_there_is_not_read_again(files, tmp_path, kind):
    source = cached(files[kind], tmp_path / "cache")
    names = dict.fromkeys(source.columns, Need.DATA)
    first = source.fetch(part_of(source), names)
    assert not any(data.cached for data in first.values())
    with reads() as seen:
        again = source.fetch(part_of(source), names)
        source.fetch(part_of(source), dict.fromkeys(source.columns, Need.COUNTS))
        inside = source.fetch(part_of(source, 13, 41), names)
    assert not seen
    for name, data in again.items():
        assert_same(data, first[name])
        assert data.cached == data.values.nbytes + sum(offsets.nbytes for offsets in data.offsets)
        assert inside[name].cached


def test_ranges_are_put_together_and_only_gaps_are_read(source):
    names = {"Jet_pt": Need.DATA, "run": Need.DATA, "Jet_id": Need.COUNTS}
    source.fetch(part_of(source, 10, 20), names)
    source.fetch(part_of(source, 15, 30), {"run": Need.DATA})
    asked = []
    read = source.read
    source.source.read = lambda part, needs, *how: (
        asked.append((part.start, part.stop, part.first, list(needs))) or read(part, needs, *how)
    )
    found = source.fetch(part_of(source, 5, 40), names)
    del source.source.read
    assert sorted(asked) == [
        (5, 10, 5, ["Jet_pt", "run", "Jet_id"]), (20, 40, 20, ["Jet_pt", "Jet_id"]), (30, 40, 30, ["run"])
    ]  # fmt: skip
    for name, data in source.read(part_of(source, 5, 40), names).items():
        assert_same(found[name], data)
    assert 0 < found["run"].cached < found["run"].values.nbytes


def test_columns_of_one_collection_share_their_offsets(source):
    names = {"Jet_pt": Need.DATA, "Jet_id": Need.DATA}
    for start, stop in ((0, 30), (30, ENTRIES)):
        source.fetch(part_of(source, start, stop), names)
    for start, stop in ((0, 30), (7, 22), (10, 50)):
        found = source.fetch(part_of(source, start, stop), names)
        assert found["Jet_pt"].offsets[0] is found["Jet_id"].offsets[0]


def test_what_is_changed_in_place_does_not_change_the_cache(source):
    name = {"noise": Need.DATA}
    source.fetch(part_of(source), name)
    for least in (1, 1 << 16):  # mapped, and read
        with limited(mapped_least=least):
            values = source.fetch(part_of(source), name)["noise"].values
            wanted = values.copy()
            values *= 2
            assert np.array_equal(source.fetch(part_of(source), name)["noise"].values, wanted)


def test_a_mapping_outlives_its_file(source, limit):
    limit(mapped_least=1)
    source.fetch(part_of(source), {"noise": Need.DATA})
    values = source.fetch(part_of(source), {"noise": Need.DATA})["noise"].values
    for path in kept(source.cache.directory):
        path.unlink()
    assert np.array_equal(values, source.read(part_of(source), {"noise": Need.DATA})["noise"].values)


def test_only_so_many_files_are_kept_open(source, limit):
    limit(mapped_least=1, mapped_most=2)
    names = dict.fromkeys(source.columns, Need.DATA)
    source.fetch(part_of(source), names)
    found = source.fetch(part_of(source), names)
    assert len(mapped._mapped) <= 2
    for name, data in source.read(part_of(source), names).items():
        assert_same(found[name], data)


# files of data that change


def rewritten(path, seed):
    write(path, uproot.ZSTD(1), n=ENTRIES // 3, seed=seed)
    os.utime(path, (seed, seed))


def test_a_file_that_was_replaced_is_read(tmp_path):
    path = tmp_path / "a.root"
    columns = {"noise": Need.DATA}
    for seed in (1, 2, 1):
        rewritten(path, seed)
        source = cached(open_root(path), tmp_path / "cache")
        assert_same(source.fetch(part_of(source), columns)["noise"], source.read(part_of(source), columns)["noise"])


def test_a_file_that_was_changed_in_place_is_read(tmp_path):
    """With the same UUID, entries, size and place on the disk."""
    path = tmp_path / "a.root"
    write(path, None, n=ENTRIES // 3)
    os.utime(path, (5, 5))
    source = cached(open_root(path), tmp_path / "cache")
    before = source.fetch(part_of(source), {"noise": Need.DATA})["noise"].values
    with uproot.open({str(path): None}) as file:
        basket = file["Events"]["noise"].basket(0)
        at = int(file["Events"]["noise"].member("fBasketSeek")[0]) + basket.member("fKeylen")
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(np.array([17.0], ">f8").tobytes())
    os.utime(path, (6, 6))
    source = cached(open_root(path), tmp_path / "cache")
    after = source.fetch(part_of(source), {"noise": Need.DATA})["noise"].values
    assert after[0] == 17
    assert np.array_equal(after[1:], before[1:])


def test_a_file_that_changes_while_it_is_read_is_refused_and_not_kept(tmp_path):
    path = tmp_path / "a.root"
    rewritten(path, 1)
    source = cached(open_root(path), tmp_path / "cache")
    read = source.read

    def slow(part, needs, *how):
        found = read(part, needs, *how)
        os.utime(path, (7, 7))
        return found

    source.source.read = slow
    with pytest.raises(ChangedFileError) as caught:
        source.fetch(part_of(source), {"noise": Need.DATA})
    assert str(caught.value) == f"{path} changed while it was read. Open the dataset again."
    assert not kept(tmp_path / "cache")


def test_what_was_written_this_very_moment_is_not_kept(tmp_path):
    path = tmp_path / "a.root"
    rewritten(path, 1)
    os.utime(path, (time.time() + 60, time.time() + 60))  # a clock that is ahead, too
    source = cached(open_root(path), tmp_path / "cache")
    source.fetch(part_of(source), {"noise": Need.DATA})
    assert not kept(tmp_path / "cache")


def test_what_cannot_be_read_is_said_as_without_a_cache(source):
    with pytest.raises(MissingColumnError, match="Nearest names: noise"):
        source.fetch(part_of(source), {"noize": Need.DATA})
    with pytest.raises(DisagreementError, match="goes beyond the 60 entries"):
        source.fetch(part_of(source, 0, ENTRIES + 1), {"noise": Need.DATA})


# the directory


def test_what_was_not_used_for_longest_goes_first(files, tmp_path):
    where = tmp_path / "cache"
    source = cached(files["tree"], where)
    wanted = {"noise": Need.DATA}
    for number in range(6):
        source.fetch(part_of(source, 10 * number, 10 * number + 10), wanted)
    (folder,) = {path.parent for path in kept(where)}
    each = kept(where)[0].stat().st_size
    for number in range(6):
        os.utime(folder / f"{10 * number}-{10 * number + 10}", (number + 1, number + 1))
    source.fetch(part_of(source, 0, 10), wanted)  # the oldest is used
    small = cached(files["tree"], where, size=6 * each)
    small.fetch(part_of(source, 5, 55), {"run": Need.DATA})
    assert {path.name for path in kept(where) if path.parent == folder} >= {"0-10", "50-60"}
    assert "10-20" not in {path.name for path in kept(where)}
    assert sum(path.stat().st_size for path in kept(where)) <= 6 * each


def test_the_cache_keeps_to_its_size(files, tmp_path):
    source = cached(files["tree"], tmp_path / "cache", size=20_000)
    rng = random.Random(1)
    for _ in range(60):
        start = rng.randrange(ENTRIES)
        source.fetch(part_of(source, start, rng.randrange(start, ENTRIES) + 1), {"xyz": Need.DATA, "noise": Need.DATA})
        assert sum(path.stat().st_size for path in kept(tmp_path / "cache")) <= 20_000


def test_what_is_larger_than_the_cache_is_not_kept(files, tmp_path):
    source = cached(files["tree"], tmp_path / "cache", size=500)
    source.fetch(part_of(source), {"noise": Need.DATA})
    assert not kept(tmp_path / "cache")


def test_what_was_left_half_written_goes(files, tmp_path):
    where = tmp_path / "cache"
    (where / "a" / "b").mkdir(parents=True)
    old, new = where / "a" / "b" / ".part-1-old", where / "a" / "b" / ".part-1-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    os.chmod(where, 0o700)
    source = cached(files["tree"], where)
    source.fetch(part_of(source), {"noise": Need.DATA})
    assert (old.exists(), new.exists()) == (False, True)


def test_a_directory_that_others_may_write_to_is_not_used(files, tmp_path):
    where = tmp_path / "cache"
    where.mkdir()
    os.chmod(where, 0o777)
    path = files["tree"].files[0].path
    with pytest.warns(CacheWarning) as seen:
        assert hg.compute(ak.sum(hg.from_root(path, cache=where).run), executor="serial") > 0
    assert [str(each.message) for each in seen] == [
        f"The column cache {where} is not used: others could write to it, and what they write would be taken for data; "
        f"chmod go-w {where}."
    ]
    assert not kept(where)


@pytest.mark.parametrize(
    ("owner", "group", "mode", "wanted"),
    [
        (0, 0, 0o755, True), ("me", "mine", 0o700, True), ("me", "mine", 0o770, True), ("me", "theirs", 0o750, True),
        ("me", "theirs", 0o770, False), ("other", "mine", 0o770, True), ("other", "mine", 0o755, False),
        ("me", "mine", 0o777, False), (0, 0, 0o1777, False),
    ],
)  # fmt: skip
def test_whose_directory_is_used(owner, group, mode, wanted, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 100)
    monkeypatch.setattr(os, "getgroups", lambda: [100, 101])
    user = {"me": 1000, "other": 2000}.get(owner, owner)
    owns = {"mine": 101, "theirs": 300}.get(group, group)
    status = os.stat_result((stat.S_IFDIR | mode, 1, 1, 1, user, owns, 0, 0, 0, 0))
    assert (not trust.distrust(status, shared=True)) == wanted


def test_a_cache_may_be_deleted_at_any_time(source):
    shutil.rmtree(source.cache.directory, ignore_errors=True)
    for expected in (0, 480, 0):
        found = source.fetch(part_of(source), {"noise": Need.DATA})["noise"]
        assert found.cached == expected
        if expected:
            shutil.rmtree(source.cache.directory)


def test_a_group_may_share_a_cache(source):
    where = Path(source.cache.directory)
    where.mkdir(0o770)
    os.chmod(where, 0o770)
    source.fetch(part_of(source), {"noise": Need.DATA})
    folders = [path for path in where.rglob("*") if path.is_dir()]
    assert len(folders) == 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o770 for path in folders)


def test_a_cache_that_cannot_be_made_is_said_once(files, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    path = files["tree"].files[0].path

    def twice():
        for _ in range(2):
            events = hg.from_root(path, cache=tmp_path / "file" / "cache")
            hg.compute(ak.sum(events.run), executor="threads")

    with pytest.warns(CacheWarning) as seen:
        twice()
    assert [str(each.message) for each in seen] == [
        f"The column cache {tmp_path}/file/cache is not used: Not a directory."
    ]


def test_a_full_disk_is_said_once_and_nothing_more_is_written(files, tmp_path, monkeypatch):
    tried = []

    def full(path, parts, mode):
        tried.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_on_disk, "write", full)
    source = cached(files["tree"], tmp_path / "cache")
    names = dict.fromkeys(source.columns, Need.DATA)
    with pytest.warns(CacheWarning) as seen:
        first, second = (source.fetch(part_of(source), names) for _ in range(2))
    assert [str(each.message) for each in seen] == [
        f"The column cache {tmp_path}/cache cannot be written, so columns are not kept: No space left on device."
    ]
    assert len(tried) == 1
    for name in names:
        assert_same(first[name], second[name])


def test_a_folder_that_goes_while_it_is_written_to(files, tmp_path, monkeypatch):
    """Another process deletes folders that are empty."""
    source = cached(files["tree"], tmp_path / "cache")
    gone = []

    def vanishing(path, parts, mode):
        if not gone:
            gone.append(path)
            os.rmdir(os.path.dirname(path))
        write(path, parts, mode)

    write = files_on_disk.write
    monkeypatch.setattr(files_on_disk, "write", vanishing)
    source.fetch(part_of(source), {"noise": Need.DATA})
    assert len(kept(tmp_path / "cache")) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "cache= takes a directory or a hg.ColumnCache, not 3"),
        ("s3://bucket/cache", "cache= takes a directory of this machine, not 's3://bucket/cache'"),
    ],
)
def test_wrong_caches(files, wrong, message):
    with pytest.raises(ValueError) as caught:
        hg.from_root(files["tree"].files[0].path, cache=wrong)
    assert str(caught.value) == message


@pytest.mark.parametrize("size", [0, -1, True, 1.5])
def test_wrong_sizes(size):
    with pytest.raises(ValueError) as caught:
        ColumnCache("x", size)
    assert str(caught.value) == f"the size of a cache is a number of bytes or an amount like '20 GB', not {size!r}"


class Tagged(MemoryFileSystem):
    """Files in memory, of which nothing is told but their tag, if they have one."""

    protocol = "tagged"
    store: dict = {}
    tag = None

    def info(self, path, **options):
        told = super().info(path, **options)
        return {key: told[key] for key in ("name", "size", "type")} | {"ETag": Tagged.tag}


def test_a_remote_file_without_a_version_is_not_kept(files, tmp_path):
    fsspec.register_implementation("tagged", Tagged, clobber=True)
    fsspec.filesystem("tagged").pipe("tagged://cache/a.root", Path(files["tree"].files[0].path).read_bytes())
    source = cached(open_root("tagged://cache/a.root"), tmp_path / "cache")
    for tag, some in ((None, False), ("tag", True)):
        Tagged.tag = tag
        identity._asked.clear()
        source.fetch(part_of(source), {"noise": Need.DATA})
        assert bool(kept(tmp_path / "cache")) == some
    identity._asked.clear()
    Tagged.tag = "another tag"
    assert source.fetch(part_of(source), {"noise": Need.DATA})["noise"].cached == 0
    identity._asked.clear()

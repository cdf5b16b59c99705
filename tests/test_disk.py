"""Caches and checkpoints: whatever umask, modes, owners and kinds of files, it is used, or refused with one note.

It never hangs, never runs code that others could have written, and the results are right. HEPGRAPH_FUZZ multiplies the
number of examples.
"""

import collections
import gc
import os
import stat
import warnings

import awkward as ak
import pytest
from executing import Noting
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import KINDS, ROOT, folder, hostile, replace, run, written
from limiting import limited

import hepgraph as hg
from hepgraph.datasets.schemafile import load
from hepgraph.disk import files, trust
from hepgraph.disk.folder import LOOKED, _own_folders
from hepgraph.errors import CacheWarning, CheckpointError, FilesetError, ResumeError, SchemaError, SourceError
from hepgraph.io import root
from hepgraph.io.cache import columns as columncache
from hepgraph.io.cache.columns import ColumnCache
from hepgraph.io.root import open_root
from hepgraph.io.source import Access, Need, Partition
from hepgraph.io.trees import handles
from hepgraph.io.ttree.source import layouts
from hepgraph.kernel import native

OTHER = 12345  # another user
only_root = pytest.mark.skipif(not ROOT, reason="only root can give files to other users")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data"))


# the places: each gives its result, and whether it came from the disk

TEXT = """define i32 @kernel(i64 %a, i64 %b, i64 %c, ptr %t, ptr %s) {
  %r = trunc i64 %a to i32
  %x = add i32 %r, 41
  ret i32 %x
}"""


def use_objects(where, data):
    os.environ["HEPGRAPH_CACHE"] = str(where)
    gc.collect()
    before = native.loaded
    made = native.native(TEXT)
    return made.kernel(1, 0, 0, None, None), native.loaded > before


def use_known(where, data):
    os.environ["HEPGRAPH_CACHE"] = str(where)
    layouts.clear()
    handles.clear()
    root._seen.clear()
    _own_folders.clear()
    before = handles.opened
    with limited(remember=1):
        source = open_root(data / "a.root")
        part = Partition(source.files[0].path, "Events", 0, 40)
        found = source.read(part, dict.fromkeys(["noise", "Jet_pt"], Need.DATA))
    return found["noise"].values.tobytes() + found["Jet_pt"].offsets[0].tobytes(), handles.opened == before


def use_files(where, data):
    executor = Noting()
    found = hg.preprocess({"a": [data / "a.parquet"]}, executor=executor, cache=where, progress=False)
    return dict(found), not executor.tasks


def use_own_files(where, data):
    os.environ["HEPGRAPH_CACHE"] = str(where)
    return use_files(True, data)


def use_columns(where, data):
    columncache._disks.clear()
    source = open_root(data / "a.root")
    access = Access(ColumnCache(str(where)))
    part = Partition(source.files[0].path, "Events", 0, 40)
    found = source.fetch(part, {"noise": Need.DATA}, access=access)["noise"]
    return found.values.tobytes(), found.cached > 0


def use_checkpoint(where, data):
    try:
        out, report = run(data, where)
    except CheckpointError as error:
        warnings.warn(CacheWarning(str(error)), stacklevel=1)
        out, report = run(data, None)
    return (out["sum"], out["n"], out["h"].view(flow=True).tobytes()), all(row.stored for row in report.rows)


PLACES = {
    "objects": use_objects, "known": use_known, "files": use_files, "own files": use_own_files,
    "columns": use_columns, "checkpoint": use_checkpoint,
}  # fmt: skip
OWN = ("objects", "known", "own files")  # what others may not even share with a group
PARTS = {"objects": "objects", "known": "known", "own files": "files"}


def used(place, where, data):
    """The result, whether it came from the disk, and what was said."""
    trust._said.clear()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found, stored = PLACES[place](where, data)
    return found, stored, [str(each.message) for each in seen if each.category is CacheWarning]


def kept(where, place):
    """The files that are kept, without those that only say who works there."""
    return sorted(
        path for path in where.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name not in ("lock", LOOKED, "analysis.json")
    )  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_no_pickle_runs_whatever_its_checksum(place, data, tmp_path):
    plainly, _, _ = used(place, tmp_path / "other", data)
    touched, count = tmp_path / "touched", 1
    for number in range(4):
        with folder() as where:
            used(place, where / "c", data)
            assert kept(where, place)
            for path in kept(where, place):
                choices = hostile(place, path, where / "c", touched)
                count = max(count, len(choices))
                path.write_bytes(choices[number % len(choices)])
            found, stored, _ = used(place, where / "c", data)
            assert found == plainly
            assert not touched.exists()
            assert not stored
            assert used(place, where / "c", data) == (plainly, True, []), "it is kept anew"
    assert count <= 4


@settings(deadline=None)
@given(
    st.sampled_from(sorted(PLACES)),
    st.sampled_from([0o000, 0o002, 0o007, 0o022, 0o027, 0o077, 0o277]),
    st.none() | st.sampled_from(KINDS),
    st.booleans(),
)
def test_what_is_made_is_used_whatever_the_umask(data, place, umask, kind, every):
    """Nothing that hepgraph has made is refused; what something else stands in place of is made anew."""
    with folder() as where:
        os.umask(umask)
        plainly, stored, said = used(place, where / "a" / "c", data)
        assert (stored, said) == (False, [])
        made = [where / "a", *(path for path in (where / "a").rglob("*") if path.is_dir())]
        assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
        assert {stat.S_IMODE(path.stat().st_mode) for path in kept(where / "a", place)} == {0o600}
        if kind is None:
            assert used(place, where / "a" / "c", data) == (plainly, True, [])
            return
        os.umask(0o022)
        for path in kept(where / "a", place)[: None if every else 1]:
            replace(place, path, kind, where, where / "touched")
        found, stored, said = used(place, where / "a" / "c", data)
        assert found == plainly
        assert not (where / "touched").exists()
        assert not stored
        assert len(said) == (kind == "folder"), said  # which no file can replace
        if kind != "folder":
            assert used(place, where / "a" / "c", data) == (plainly, True, [])


@settings(deadline=None)
@given(
    st.sampled_from(sorted(PLACES)),
    st.sampled_from(["it", "above", "file"]),
    st.sampled_from([0o700, 0o755, 0o750, 0o770, 0o775, 0o777, 0o1777, 0o1770]),
    st.sampled_from([None, OTHER] if ROOT else [None]),
    st.sampled_from([None, 54321] if ROOT else [None]),
)
def test_what_others_could_have_written_is_refused_with_one_note(data, place, which, mode, owner, group):
    with folder() as where:
        plainly, _, _ = used(place, where / "a" / "c", data)
        chosen = {"it": where / "a" / "c", "above": where / "a"}.get(which) or kept(where, place)[0]
        chosen /= PARTS.get(place, "") if which == "it" else ""
        os.chmod(chosen, mode & ~0o111 if which == "file" else mode)
        os.chown(chosen, -1 if owner is None else owner, -1 if group is None else group)
        found, stored, said = used(place, where / "a" / "c", data)
        assert found == plainly
        sticky = which == "above" and mode & 0o1000
        if which == "file" and place not in OWN:
            fine = True
        elif place in OWN:
            fine = owner is None and (not mode & 0o022 or sticky)
        elif which == "it":
            fine = not mode & 0o002 and (owner is None if not mode & 0o020 else group is None)
        else:
            fine = not mode & 0o002 or bool(sticky)
        if which == "file":
            assert (stored, said) == (fine if place != "known" else stored and fine, [])
        elif fine:
            assert (stored, said) == (True, [])
        else:
            assert not stored
            assert len(said) == 1, said
            assert "chmod go-w" in said[0] or "take a folder of your own" in said[0]
            assert str(chosen) in said[0]


@only_root
def test_a_link_that_somebody_else_made_is_not_followed(data):
    with folder() as where:
        (where / "real").mkdir(mode=0o700)
        (where / "link").symlink_to(where / "real")
        plainly, _, said = used("objects", where / "link", data)
        assert said == []
        assert used("objects", where / "link", data) == (plainly, True, [])
        os.chown(where / "link", OTHER, -1, follow_symlinks=False)
        _, stored, (said,) = used("objects", where / "link", data)
        assert not stored
        assert f"the link {where}/link belongs to user {OTHER}; take a folder of your own" in said


def test_a_group_of_the_users_own_may_write(data, monkeypatch):
    """Where each user has one, of the same name, the umask is 002, and what they make is writable for that group."""
    found = os.stat_result((stat.S_IFDIR | 0o770, 1, 1, 1, 1000, 1000, 0, 0, 0, 0))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    User, Group = collections.namedtuple("User", "pw_name pw_gid"), collections.namedtuple("Group", "gr_name gr_mem")
    monkeypatch.setattr("pwd.getpwuid", lambda user: User("me", 1000))
    for name, members, fine in (
        ("me", [], True),
        ("me", ["me"], True),
        ("me", ["me", "you"], False),
        ("us", [], False),
    ):
        monkeypatch.setattr("grp.getgrgid", lambda group, name=name, members=members: Group(name, members))
        trust._alone.cache_clear()
        assert (not trust.distrust(found)) == fine
    trust._alone.cache_clear()


def test_a_refused_cache_is_said_once_in_a_run_with_workers(data, capfd):
    with folder() as where:
        (where / "c").mkdir()
        os.chmod(where / "c", 0o777)
        os.environ["HEPGRAPH_CACHE"] = str(where / "c")
        trust._said.clear()

        def twice():
            for step_size in (10, 20):
                hg.run(count, {"a": [data / "a.parquet"]}, executor="processes", progress=False, schema="base",
                       step_size=step_size)  # fmt: skip

        def count(events):
            return {"n": ak.sum(events.x, axis=0)}

        with pytest.warns(CacheWarning) as seen:
            twice()
        assert [str(each.message) for each in seen] == [
            f"The cache {where}/c is not used: others could write to {where}/c (mode 0777); chmod go-w {where}/c. "
            "HEPGRAPH_CACHE=FOLDER names another folder, and an empty one keeps nothing."
        ]
    assert "CacheWarning" not in capfd.readouterr().err


DEEP = "[" * 200_000


@pytest.mark.parametrize(
    ("name", "text", "read", "error", "message"),
    [
        ("f.json", DEEP, hg.Fileset, FilesetError, "The fileset {} is not valid JSON: it is nested too deeply"),
        ("f.yaml", DEEP, hg.Fileset, FilesetError, "The fileset {} is not valid YAML: it is nested too deeply"),
        ("f.toml", "x = " + DEEP, load, SchemaError, "The schema {} is not valid TOML: it is nested too deeply"),
        ("f.json", DEEP, hg.Report.load, ResumeError, "{} holds no report of hepgraph: it is nested too deeply"),
    ],
)  # fmt: skip
def test_files_of_the_users_that_are_nested_too_deeply(tmp_path, name, text, read, error, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(error) as caught:
        read(str(path))
    assert str(caught.value) == message.format(path)


def test_a_pipe_is_no_file_of_data(tmp_path):
    os.mkfifo(tmp_path / "a.root")
    with pytest.raises(SourceError) as caught:
        hg.open(tmp_path / "a.root")
    assert str(caught.value) == f"{tmp_path}/a.root is a pipe, not a file: it cannot be read from any place in it."


# the reader and the writer


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write(path, [b"one"])

    def half(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", half)
    with pytest.raises(OSError, match="No space"):
        files.write(path, [b"two"])
    assert files.read(path) == b"one"
    assert os.listdir(tmp_path) == ["x"]

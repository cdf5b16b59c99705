"""What other processes found out about files: used while files and code stay as they were, and only if it is ours."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import uproot
from baskets import same, write

from hepgraph.disk import trust
from hepgraph.disk.folder import LOOKED, _own_folders
from hepgraph.errors import CacheWarning
from hepgraph.io import root
from hepgraph.io.cache import metadata as remembered
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition
from hepgraph.io.trees import handles
from hepgraph.io.ttree.source import layouts


@pytest.fixture
def path(tmp_path, monkeypatch, limit):
    """A file, written some time ago, and a place to remember what is in it."""
    (tmp_path / "home").mkdir(mode=0o700)
    limit(remember=1)
    monkeypatch.setenv("HEPGRAPH_CACHE", str(tmp_path / "home"))
    found = write(tmp_path / "a.root", uproot.ZSTD(1))
    os.utime(found, (5, 5))
    forget()
    yield found
    forget()


def forget():
    """As in another process."""
    layouts.clear()
    handles.clear()
    root._seen.clear()
    _own_folders.clear()


def kept(path):
    return sorted(each for each in (Path(path).parent / "home").rglob("*") if each.is_file() and each.name != LOOKED)


def read(source):
    return source.read(Partition(source.files[0].path, "Events", 10, 90), dict.fromkeys(source.columns, Need.DATA))


def opens(path):
    """How many files are opened by uproot, and what is read."""
    before = handles.opened
    found = read(open_root(path))
    return handles.opened - before, found


def test_another_process_opens_no_file(path):
    first, expected = opens(path)
    assert first > 0
    assert len(kept(path)) == 2
    forget()
    again, found = opens(path)
    assert again == 0
    assert all(same(found[name], expected[name]) for name in expected)


def test_columns_that_were_not_asked_for_before_are_found_out(path):
    source = open_root(path)
    part = Partition(path, "Events", 0, 120)
    source.read(part, {"Jet_pt": Need.DATA, "nJet": Need.DATA})
    forget()
    found = source.read(part, {"Jet_pt": Need.DATA, "nJet": Need.DATA})
    assert handles.opened
    both = source.read(part, {"Jet_pt": Need.DATA, "noise": Need.DATA, "Jet_id": Need.DATA})
    assert same(both["Jet_pt"], found["Jet_pt"])
    assert both["Jet_id"].offsets[0] is both["Jet_pt"].offsets[0]


def test_a_file_that_changed_is_opened(path):
    opens(path)
    for when, n in ((6, 40), (5, 30)):  # another time, and another size
        write(path, uproot.ZSTD(1), n=n, seed=2)
        os.utime(path, (when, when))
        forget()
        count, found = opens(path)
        assert count > 0
        with uproot.open(path) as file:
            assert np.array_equal(found["noise"].values, file["Events"]["noise"].array(library="np")[10:90])


def test_what_was_written_this_very_moment_is_not_remembered(path):
    write(path, uproot.ZSTD(1))
    later = time.time() + 60  # opening may take seconds where other tests run
    os.utime(path, (later, later))
    opens(path)
    assert not kept(path)


def test_other_code_finds_out_for_itself(path, monkeypatch):
    opens(path)
    forget()
    monkeypatch.setattr(remembered, "_code", lambda: "other")
    assert opens(path)[0] > 0


@pytest.mark.parametrize("change", ["cut", "flip", "empty", "writable", "link"])
def test_what_is_damaged_or_not_ours_is_not_used(path, change, monkeypatch):
    _, expected = opens(path)
    forget()
    monkeypatch.setattr(pickle, "loads", lambda data: pytest.fail("it was unpickled"))
    for each in kept(path):
        content = bytearray(each.read_bytes())
        if change == "cut":
            each.write_bytes(content[:-1])
        elif change == "flip":
            content[-9] ^= 4
            each.write_bytes(content)
        elif change == "empty":
            each.write_bytes(b"")
        elif change == "writable":
            each.chmod(0o666)
        else:
            each.rename(each.with_suffix(".moved"))
            each.symlink_to(each.with_suffix(".moved"))
    count, found = opens(path)
    assert count > 0
    assert all(same(found[name], expected[name]) for name in expected)


def test_a_directory_that_others_may_write_to_is_not_used(path):
    home = Path(path).parent / "home" / "known"
    home.mkdir()
    home.chmod(0o777)
    with pytest.warns(CacheWarning) as seen:
        opens(path)
    assert [str(each.message) for each in seen] == [
        f"The cache {home.parent} is not used: others could write to {home} (mode 0777); chmod go-w {home}. "
        "HEPGRAPH_CACHE=FOLDER names another folder, and an empty one keeps nothing."
    ]
    assert not kept(path)


def test_nowhere_to_keep_it(path, monkeypatch):
    monkeypatch.setenv("HEPGRAPH_CACHE", "")
    opens(path)
    monkeypatch.setenv("HEPGRAPH_CACHE", path + "/inside")  # a file is there
    forget()
    with pytest.warns(CacheWarning) as seen:
        opens(path)
    assert [str(each.message) for each in seen] == [
        f"The cache {path}/inside is not used: Not a directory. HEPGRAPH_CACHE=FOLDER names another folder, and an "
        "empty one keeps nothing."
    ]
    assert not kept(path)


def test_where_it_is_kept(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("HEPGRAPH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert trust.directory("known") == Path("/somewhere/hepgraph/known")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert trust.directory("known") == Path("/home/me/.cache/hepgraph/known")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert trust.directory("known") == Path("/home/me/Library/Caches/hepgraph/known")


def test_ntuples_are_remembered_too(path, tmp_path):
    other = tmp_path / "n.root"
    with uproot.recreate(other) as file:
        file.mkrntuple("Events", {"x": np.arange(9)})
    os.utime(other, (5, 5))
    first = open_root(other)
    forget()
    before = handles.opened
    again = open_root(other)
    assert handles.opened == before
    assert (again.columns, again.files) == (first.columns, first.files)


def test_fresh_processes_agree(path):
    code = (
        "import sys, hashlib\n"
        "from hepgraph.io.root import open_root\n"
        "from hepgraph.io.source import Need\n"
        "from hepgraph.io.trees import handles\n"
        "source = open_root(sys.argv[1])\n"
        "found = source.read(source.partitions()[0], dict.fromkeys(source.columns, Need.DATA))\n"
        "print(hashlib.sha256(b''.join(data.values.tobytes() for data in found.values())).hexdigest())\n"
    )
    runs = [subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True) for _ in range(2)]
    assert [each.returncode for each in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    assert runs[0].stdout == runs[1].stdout

"""Object code on disk: found again, never trusted, never in the way."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from limiting import Limit

from hepgraph.disk import trust
from hepgraph.disk.folder import LOOKED, _own_folders
from hepgraph.errors import CacheWarning
from hepgraph.jit import object_cache
from hepgraph.kernel import native

TEXT = """define i32 @kernel(i64 %a, i64 %b, i64 %c, ptr %t, ptr %s) {
  %r = trunc i64 %a to i32
  %x = add i32 %r, NUMBER
  ret i32 %x
}"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    where = tmp_path / "cache"
    monkeypatch.setenv("HEPGRAPH_CACHE", str(where))
    return where


def run(number: int) -> tuple[int, int, int]:
    """What a module gives, and how many were compiled and loaded for it."""
    gc.collect()
    before = native.compiled, native.loaded
    made = native.native(TEXT.replace("NUMBER", str(number)))
    result = made.kernel(1, 0, 0, None, None)
    return result - number, native.compiled - before[0], native.loaded - before[1]


def test_compiled_once_then_loaded(folder: Path) -> None:
    assert run(100) == (1, 1, 0)
    (file,) = folder.rglob("*.o")
    assert file.suffix == ".o"
    assert not file.stat().st_mode & 0o077
    assert not folder.stat().st_mode & 0o077
    assert run(100) == (1, 0, 1)
    assert run(101) == (1, 1, 0)


def test_one_module_serves_a_process(folder: Path) -> None:
    text = TEXT.replace("NUMBER", "7")
    first = native.native(text)
    assert native.native(text) is first


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign", "renamed"])
def test_damaged_files_are_compiled_again_and_rewritten(folder: Path, damage: str) -> None:
    run(102)
    (file,) = folder.rglob("*.o")
    good = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(good[:-5])
        case "flip":
            file.write_bytes(good[:-5] + bytes([good[-5] ^ 1]) + good[-4:])
        case "empty":
            file.write_bytes(b"")
        case "foreign":
            file.write_bytes(b"\x7fELF" + good[4:])
        case "renamed":  # an object of another name is another's
            run(103)
            (other,) = (each for each in folder.rglob("*.o") if each != file)
            file.write_bytes(other.read_bytes())
    assert run(102) == (1, 1, 0)
    assert file.read_bytes()[:18] == object_cache.MAGIC
    assert run(102) == (1, 0, 1)


@pytest.mark.parametrize("what", ["file", "folder", "parent"])
def test_what_others_can_write_is_not_executed(folder: Path, what: str) -> None:
    run(104)
    (file,) = folder.rglob("*.o")
    path = {"file": file, "folder": folder, "parent": folder.parent}[what]
    mode = path.stat().st_mode
    path.chmod(mode | 0o022)
    with nullcontext([]) if what == "file" else pytest.warns(CacheWarning) as seen:
        assert run(104) == (1, 1, 0)
        assert run(1104) == (1, 1, 0)
    inside = ", which it is in"
    assert [str(each.message) for each in seen] == [
        f"The cache {folder} is not used: others could write to {path}{inside} (mode {mode & 0o7777 | 0o022:04o}); "
        f"chmod go-w {path}. HEPGRAPH_CACHE=FOLDER names another folder, and an empty one keeps nothing."
    ] * (what != "file"), "said once"
    path.chmod(mode)
    assert run(104)[0] == 1


def test_files_of_other_users_are_not_executed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(105)
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.warns(CacheWarning, match=f"^The cache {folder} is not used: .* belongs to user"):
        assert run(105) == (1, 1, 0)


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    run(106)
    (file,) = folder.rglob("*.o")
    moved = tmp_path / "elsewhere.o"
    file.rename(moved)
    file.symlink_to(moved)
    assert run(106) == (1, 1, 0)


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = tmp_path / "file"
    taken.write_text("not a directory")
    monkeypatch.setenv("HEPGRAPH_CACHE", str(taken / "below"))
    with pytest.warns(CacheWarning, match=f"^The cache {taken}/below is not used: Not a directory. HEP"):
        assert run(107) == (1, 1, 0)
    assert run(107) == (1, 1, 0)
    monkeypatch.setenv("HEPGRAPH_CACHE", "")
    assert run(107) == (1, 1, 0)

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("HEPGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(CacheWarning, match=f"^The cache {tmp_path}/cache cannot be written: No space left on device."):
        assert run(107) == (1, 1, 0)
    assert [file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()] == [LOOKED]


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEPGRAPH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    if sys.platform != "darwin":
        assert trust.directory() == Path("/some/where/hepgraph")
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "/home/me")
        assert trust.directory() == Path("/home/me/.cache/hepgraph")


def test_many_writers(folder: Path) -> None:
    """Threads that write and read one name see all of an object or nothing."""
    data = [bytes([k]) * 50_000 for k in range(4)]

    def work(k: int) -> bool:
        for _ in range(30):
            object_cache.write("same", data[k % 4])
            found = object_cache.read("same")
            if found is not None and found not in data:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert [file.name for file in folder.rglob("*.o")] == ["same.o"]


SCRIPT = """
import sys, warnings
import numpy as np, awkward as ak, hepgraph as hg
from hepgraph.runner.compute import passes
events = hg.open("data/sample.root", schema="nanoaod")
kept = [events.Jet.pt[events.Jet.pt > k] for k in range(int(sys.argv[1]))]
others = [ak.sum(events.Muon.pt * k, axis=1) for k in range(int(sys.argv[1]))]
from hepgraph.processors.adl import AllQueries
import hashlib
(each,) = passes(AllQueries().process(events), "kernel")[0]
from hepgraph.kernel import native
kernel = each.ready().kernel
print(hashlib.sha256(kernel.text.encode()).hexdigest(), native.compiled, native.loaded)
"""


def test_the_text_does_not_depend_on_the_process(folder: Path) -> None:
    """Whatever was traced before, and however hashes fall: the same analysis is one object."""
    found = []
    for k in range(3):
        environment = {**os.environ, "PYTHONHASHSEED": str(k)}
        command = [sys.executable, "-c", SCRIPT, str(5 * k)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=ROOT)
        found.append(done.stdout.split())
    assert len({text for text, _, _ in found}) == 1
    assert [(compiled, loaded) for _, compiled, loaded in found] == [("1", "0"), ("0", "1"), ("0", "1")]


ROOT = Path(__file__).resolve().parent.parent


def test_the_oldest_are_deleted(folder: Path, limit: Limit) -> None:
    """Objects are deleted in the order of their last use, until there are well under the limit."""
    size = len(object_cache.MAGIC) + 32 + 1000
    limit(own_most=10 * size)
    for k in range(10):
        object_cache.write(f"{k}", bytes(1000))
        os.utime(folder / "objects" / f"{k}.o", ns=(k, k))
    assert len(list(folder.rglob("*.o"))) == 10
    assert object_cache.read("1") == bytes(1000)  # was used just now
    (folder / "objects" / "notes.txt").write_text("is no object, and stays")
    object_cache.write("new", bytes(1000))
    kept = ["1.o", *(f"{k}.o" for k in range(3, 10)), "new.o"]
    assert sorted(file.name for file in folder.rglob("*.o")) == kept
    assert (folder / "objects" / "notes.txt").exists()


def test_what_is_there_is_looked_at_now_and_then(folder: Path, limit: Limit) -> None:
    """Not at each writing: it takes a tenth of a second where there are very many."""
    size = len(object_cache.MAGIC) + 32 + 1000
    limit(own_most=10 * size)
    objects = folder / "objects"

    def written(name: str) -> int:
        """How many objects there are after another one was written by another process."""
        _own_folders.clear()
        object_cache.write(name, bytes(1000))
        return len(list(objects.rglob("*.o")))

    assert written("first") == 1
    for k in range(20):  # which this process did not write
        (objects / f"{k}.o").write_bytes(bytes(size))
    assert written("second") == 22
    os.utime(objects / LOOKED, (0, 0))
    assert written("later") <= 10


def test_deleting_does_not_mind_other_processes(folder: Path, limit: Limit) -> None:
    limit(own_most=3000)

    def work(k: int) -> bool:
        for i in range(40):
            object_cache.write(f"{k} {i}", bytes([k]) * 700)
            found = object_cache.read(f"{k} {i}")
            if found is not None and found != bytes([k]) * 700:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    object_cache.write("last", bytes(700))
    assert sum(file.stat().st_size for file in folder.rglob("*.o")) <= 3000

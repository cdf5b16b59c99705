"""Every kind of edit gives another fingerprint; what cannot be tracked is told, and nothing else is."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from edits import MARK, Package, forget, imported, packages
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hepgraph.fingerprint import digester, fingerprint
from hepgraph.functions.packages import users_own
from hepgraph.functions.snapshot import Snapshot

EDITS = packages("edits.txt")
TOLD = packages("untracked.txt")
OPENS = "opens a file whose name is known only when it runs"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Packages are written here, and imported from here; what they register is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "argv", sys.argv)
    yield tmp_path
    forget()


def made(package, folder, edited=False):
    package.write(folder, edited)
    return fingerprint(imported())


def both(package, folder, edited=False):
    """Of what there is, and of what is taken of it when it is recorded."""
    package.write(folder, edited)
    it = imported()
    return fingerprint(it), fingerprint(Snapshot.of(it).value)


def of(text, folder):
    return made(Package("", {"__init__": "", "main": text}), folder)


@pytest.mark.parametrize("edit", EDITS, ids=[edit.kind for edit in EDITS])
def test_an_edit_is_noticed(edit, here):
    if edit.needs:
        pytest.importorskip(edit.needs)
    assert len(MARK.findall("".join(edit.files.values()))) == 1
    before, again, after = both(edit, here), both(edit, here), both(edit, here, edited=True)
    assert before == again
    for i in range(1 if edit.kind == "annotation" else 2):  # copies of classes have no annotations
        assert before[i].key != after[i].key
        assert before[i].untracked == (), "it is followed, so there is nothing to ask"


SCRIPT = """
import json, os, sys
sys.path[:0] = [os.environ["TESTS"], os.getcwd()]
from edits import imported, packages
from hepgraph.fingerprint import fingerprint
from hepgraph.functions.packages import users_own
found, folder = {}, os.getcwd()
for number, package in enumerate(packages("edits.txt")):
    if not package.needs:
        os.chdir(str(number))
        sys.path[1] = os.getcwd()
        found[package.kind] = fingerprint(imported()).key
        os.chdir(folder)
print(json.dumps(found))
"""


def test_the_same_in_other_processes_with_other_seeds(here):
    for number, edit in enumerate(EDITS):
        edit.write(here / str(number))
    found = []
    for seed in ("1", "2"):
        env = {"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1",
               "TESTS": str(Path(__file__).parent)}  # fmt: skip
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=env, check=True)
        found.append(json.loads(done.stdout))
    here_too = {edit.kind: made(edit, here).key for edit in EDITS if not edit.needs}
    for there in found:
        assert [kind for kind in here_too if there[kind] != here_too[kind]] == []


@pytest.mark.parametrize("package", TOLD, ids=[package.kind for package in TOLD])
def test_what_cannot_be_tracked_is_told_and_nothing_else(here, package):
    found = [str(each) for each in made(package, here).untracked]
    assert len(found) == bool(package.told), found
    assert package.told in "".join(found)


def test_it_is_told_with_its_name_and_line(here):
    text = """
class A:
    def f(self, x):
        return open(x)
    def process(self, x):
        return self.f(x)
it = A()
"""
    assert [str(each) for each in of(text, here).untracked] == [f"stale.main.A.f {OPENS} ({here}/stale/main.py:4)"]
    text = "import threading\nclass A: pass\nit = A()\nit.lock = threading.Lock()"
    assert [str(each) for each in of(text, here).untracked] == [
        "stale.main.A.lock (lock) has no content that tells it from another: cannot pickle '_thread.lock' object"
    ]
    with open(here / "stale" / "main.py") as file:
        (found,) = fingerprint({"table": file}).untracked
    assert str(found).startswith("the analysis['table'] (TextIOWrapper) has no content that tells it from another")


def test_variables_of_the_environment_count(here, monkeypatch):
    text = "import os\nfrom os import getenv\ndef it(x): return os.environ['STALE_A'], getenv('STALE_B')"
    keys = {of(text, here).key}
    for name in ("STALE_A", "STALE_B"):
        monkeypatch.setenv(name, "2")
        keys.add(of(text, here).key)
    assert len(keys) == 3
    assert "STALE_A" in os.environ


def test_what_was_worked_out_meanwhile_is_no_edit(here):
    """Values of cached functions and properties, of dispatch, and of vectorized functions; lists that are added to."""
    text = """
import numpy as np
from functools import cache, cached_property, singledispatch
LOG = []
@cache
def f(x):
    LOG.append(x)
    return x
def adding(log):
    def add(x):
        log.update({x: 1})
        return x
    return add
add = adding({})
@singledispatch
def g(x): return x
h = np.vectorize(lambda x: x, otypes=[float])
class A:
    @cached_property
    def k(self): return 2
    def __call__(self, x): return self.k + f(x) + g(x) + h(x) + add(x)
it = A()
"""
    Package("", {"__init__": "", "main": text}).write(here)
    it = imported()
    before = fingerprint(it)
    assert it(1) == 6
    assert fingerprint(it) == before


def test_files_of_compiled_modules_count(here):
    """Of functions and classes that have no code to look at."""
    keys = set()
    for data in (b"1", b"2"):
        (here / "native.so").write_bytes(data)
        Package("", {"__init__": "", "main": """
import sys, types
native = types.ModuleType("stale.native")
native.__file__ = "native.so"
sys.modules["stale.native"] = native
class C:
    __slots__ = ()
    def __reduce__(self): return "c"
C.__module__ = "stale.native"
it = C()
"""}).write(here)  # fmt: skip
        it = imported()
        users_own.cache_clear()
        keys |= {fingerprint(each).key for each in (it, type(it), sys.modules["stale.native"])}
    assert len(keys) == 6


def test_large_files_are_told(here):
    with open(here / "large.txt", "wb") as file:
        file.truncate((1 << 28) + 1)
    text = "def it(x):\n    with open('large.txt') as f: return f.read()"
    (found,) = of(text, here).untracked
    assert "stale.main.it opens 'large.txt', which is too large to be read each time" in str(found)


def test_versions_of_packages_count(here, monkeypatch):
    before = of("import awkward as ak\ndef it(x): return ak.num(x)", here)
    monkeypatch.setattr(digester, "version_of", lambda name: "99")
    assert of("import awkward as ak\ndef it(x): return ak.num(x)", here).key != before.key


# drawn ways from a function to one that it uses, of which a constant is edited

TEXTS = [(package.kind, package.needs, package.files["main"]) for package in packages("ways.txt")]
LEAVES = {kind: text for kind, needs, text in TEXTS if needs}
WAYS = {kind: text for kind, needs, text in TEXTS if not needs}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(LEAVES)), st.lists(st.sampled_from(list(WAYS)), min_size=1, max_size=4))
def test_what_runs_otherwise_has_another_fingerprint(here, leaf, ways):
    """Whatever way leads from a function to the edit; running it, and moving it down by a line, are no edits."""
    assume(("names made when asked", "all of a module") not in pairwise(ways))  # a star import asks for none of them
    files = {"__init__": ""}
    for i, text in enumerate([LEAVES[leaf], *(WAYS[way] for way in ways)]):
        files[f"m{i}"] = text.replace("{p}", f"m{i - 1}").replace("{f}", f"f{i - 1}").replace("{g}", f"f{i}")
    files["main"] = f"from stale import m{len(ways)} as last\nit = last.f{len(ways)}"
    package, found, taken = Package("", files), [], []
    for edited in (False, True):
        package.write(here, edited)
        it = imported()
        found.append(fingerprint(it))
        assert it(1) == 2 + edited
        assert fingerprint(it) == found[-1]
        taken.append(fingerprint(Snapshot.of(it).value))
    assert found[0].key != found[1].key
    assert taken[0].key != taken[1].key
    assert found[0].untracked == taken[0].untracked == ()
    moved = Package("", {name: f"# moved down\n\n{text}\n" for name, text in files.items()})
    assert made(moved, here) == found[0]

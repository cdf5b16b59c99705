"""Memory: ranges are made to fit into what a run may take, and it keeps to that."""

import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

import hepgraph as hg
from hepgraph.arguments import parse_bytes
from hepgraph.errors import MemoryBudgetError
from hepgraph.processor.memory_budget import check_budget, estimate, shortened
from hepgraph.runner.compute import passes

COLUMNS, ENTRIES = 60, 150_000


def write(path, times=1):
    values = np.arange(ENTRIES, dtype=np.int64) % 1000
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        tree = file.mktree("Events", {f"x{i}": np.int64 for i in range(COLUMNS)})
        for _ in range(times):
            tree.extend({f"x{i}": values + i for i in range(COLUMNS)})
    return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("wide") / "a.root")


def sums(events):
    return {"total": ak.sum(sum(events[f"x{i}"] for i in range(1, COLUMNS)) + events.x0)}


def passes_of(path, **options):
    return passes(sums(hg.open(path, **options)))[0]


def test_ranges_are_made_to_fit(path):
    for allowed in (1_000_000, 10_000_000, 100_000_000, 10**9):
        for workers in (1, 4):
            made = passes_of(path)
            try:
                made, needed = check_budget(made, workers, allowed)
            except MemoryBudgetError:
                made = shortened(made, workers, allowed)
                assert max(len(part) for part in made[0].partitions()) <= 500
                continue
            assert needed <= allowed
            longest = max(len(part) for part in made[0].partitions())
            per_entry = 8 * COLUMNS * 3 * workers
            assert longest * per_entry > 0.7 * min(allowed, ENTRIES // 2 * per_entry)


def test_sizes_that_the_user_gave_are_kept(path):
    with pytest.raises(MemoryBudgetError) as caught:
        check_budget(passes_of(path, step_size=100_000), 1, "10 MB")
    assert "What helps: a smaller step_size." in str(caught.value)
    assert check_budget(passes_of(path, step_size="1 MB"), 1, "10 MB")[1] < 10_000_000


def test_other_runs_keep_their_ranges(path):
    """What is equal is one object in a graph, so that the ranges of one run must not be those of another."""
    events = hg.open(path, schema="nanoaod")
    total = ak.sum(events.x0)
    options = {"executor": "serial", "progress": False, "report": True, "schema": "nanoaod"}
    _, free = hg.run(sums, {"a": [path]}, **options)
    _, small = hg.run(sums, {"a": [path]}, memory="10 MB", **options)
    assert len(small.rows) > len(free.rows)
    assert len(hg.run(sums, {"a": [path]}, **options)[1].rows) == len(free.rows)
    assert len(hg.run(sums, {"a": [path]}, memory="1 GB", **options)[1].rows) == len(free.rows)
    assert total.npartitions == len(free.rows)


def test_bytes_that_are_read_ahead_count(path):
    made = passes_of(path)
    source = made[0].origin.source
    assert not any("ahead" in part.what for part in estimate(made, 1))
    files = [type(file)(f"http://x/{i}", *_rest(file)) for i, file in enumerate(source.files)]
    source = type(source)(source.columns.values(), files)
    made = passes(sums(hg.from_source(source)))[0]
    (ahead,) = [part for part in estimate(made, 2) if "ahead" in part.what]
    longest = max(len(part) for part in made[0].partitions())
    stored = sum(source.columns[f"x{i}"].bytes for i in range(COLUMNS)) / ENTRIES
    assert ahead.bytes == pytest.approx(stored * longest, rel=0.01)
    assert ahead.total == 5 * ahead.bytes  # of two that are read, and of three that come
    assert str(ahead).endswith("the bytes of the longest range, read ahead")


def _rest(file):
    return file.tree, file.entries, file.uuid, file.edges


CODE = """
import re, sys
import awkward as ak, hepgraph as hg
small, path, memory = sys.argv[1:]
def sums(events):
    return {"total": ak.sum(sum(events[f"x{i}"] for i in range(1, 60)) + events.x0)}
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read())[1])
options = {"schema": "base", "executor": "serial", "progress": False, "report": True}
hg.run(sums, {"a": [small]}, **options)
before = peak()
out, report = hg.run(sums, {"a": [path]}, memory=memory or None, **options)
assert report.events > 1000
print(peak() - before, len(report.rows))
"""


def peak(small, path, memory):
    """How much more memory a run takes than one over next to nothing, and its number of ranges."""
    command = [sys.executable, "-c", CODE, small, path, memory]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_budget_is_kept(path, tmp_path):
    small = tmp_path / "small.root"
    with uproot.recreate(small) as file:
        file["Events"] = {f"x{i}": np.arange(10) for i in range(COLUMNS)}
    free, ranges = peak(str(small), path, "")
    assert free > 60_000_000  # so that there is something to keep
    kept, more = peak(str(small), path, "40 MB")
    assert more > ranges
    assert kept <= 1.2 * 40_000_000
    larger = write(tmp_path / "larger.root", 4)
    kept, _ = peak(str(small), larger, "40 MB")
    assert kept <= 1.2 * 40_000_000


@pytest.mark.parametrize("memory", [0, -1, True, float("nan"), float("inf"), Path("x"), None, "2 gigs", "0 GB"])
def test_what_is_no_amount_of_memory(memory):
    with pytest.raises(ValueError, match=r"is not an amount of memory; write for example '50 MB'"):
        parse_bytes(memory)

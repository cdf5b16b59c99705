"""Runs with a column cache: every executor, eager runs, threads and processes that share one."""

import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import awkward as ak
import numpy as np
import pytest
from caching import ENTRIES, cached, part_of, written

import hepgraph as hg
from hepgraph.io.source import Need


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data"))


def analysis(events):
    jets = events.Jet[events.Jet.pt > 0]
    return {"n": ak.sum(ak.num(jets)), "noise": ak.sum(events.noise[events.good])}


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_runs_with_every_executor(files, tmp_path, executor):
    path = files["tree"].files[0].path
    options = {"schema": "nanoaod", "executor": executor, "progress": False, "report": True, "step_size": 25}
    plain, report = hg.run(analysis, {"a": [path]}, **options)
    assert report.cached == 0
    assert "cache" not in repr(report)
    first, report = hg.run(analysis, {"a": [path]}, cache=tmp_path / "cache", **options)
    assert report.cached == 0
    second, report = hg.run(analysis, {"a": [path]}, cache=tmp_path / "cache", **options)
    assert plain == first == second
    assert report.cached == report.bytes > 0
    assert f"{report.bytes / 1e6:.1f} of {report.bytes / 1e6:.1f} MB from the column cache" in repr(report)
    options["step_size"] = 7
    third, report = hg.run(analysis, {"a": [path]}, cache=tmp_path / "cache", **options)
    assert third["n"] == plain["n"]
    assert report.cached == report.bytes


def test_an_eager_run_uses_it_too(files, tmp_path):
    def process(events):
        return {"n": int(sum(len(each) for each in events.Jet.pt.to_list()))}

    options = {"schema": "nanoaod", "executor": "serial", "progress": False, "report": True, "cache": tmp_path / "c"}
    options["eager"] = True
    first, _ = hg.run(process, {"a": [files["tree"].files[0].path]}, **options)
    second, report = hg.run(process, {"a": [files["tree"].files[0].path]}, **options)
    assert first == second
    assert report.cached == report.bytes > 0


def test_a_dataset_with_a_cache_is_not_one_without(files, tmp_path):
    path = files["tree"].files[0].path
    plain = hg.from_root(path)
    kept_too = hg.from_root(path, cache=hg.ColumnCache(tmp_path / "cache", "1 MB"))
    assert plain._origin != kept_too._origin
    for turn in (False, True):
        _, report = hg.compute(ak.sum(kept_too.run), executor="serial", report=True)
        assert bool(report.cached) == turn
    assert hg.compute(ak.sum(plain.run), executor="serial", report=True)[1].cached == 0


def test_it_travels_with_the_events(files, tmp_path):
    cache = hg.ColumnCache(tmp_path / "cache", "1 MB")
    events = hg.from_root(files["tree"].files[0].path, cache=cache)
    hg.compute(ak.sum(events.run), executor="serial")
    again = pickle.loads(pickle.dumps(events))
    assert again._origin.access.cache == cache
    assert hg.compute(ak.sum(again.run), executor="serial", report=True)[1].cached > 0


def test_threads_share_a_cache(files, tmp_path):
    source = cached(files["tree"], tmp_path / "cache", size=6_000)  # so that there is something to delete
    names = dict.fromkeys(source.columns, Need.DATA)
    expected = source.read(part_of(source), names)

    def work(seed):
        rng = random.Random(seed)
        for _ in range(15):
            start = rng.randrange(0, ENTRIES, 5)
            stop = rng.randrange(start, ENTRIES, 5) + 5
            found = source.fetch(part_of(source, start, stop), names)
            for name in ("noise", "run", "good"):
                assert np.array_equal(found[name].values, expected[name].values[start:stop])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_processes_share_a_cache(files, tmp_path):
    path = files["tree"].files[0].path
    code = (
        "import sys, random, numpy as np\n"
        "from hepgraph.io.root import open_root\n"
        "from hepgraph.io.cache.columns import ColumnCache\n"
        "from hepgraph.io.source import Access, Need, Partition\n"
        "path, where, seed = sys.argv[1:]\n"
        "source = open_root(path)\n"
        "names = dict.fromkeys(source.columns, Need.DATA)\n"
        "whole = source.read(Partition(path, 'Events', 0, 60), names)\n"
        "access = Access(ColumnCache(where, 6_000))\n"
        "rng = random.Random(int(seed))\n"
        "for _ in range(60):\n"
        "    start = rng.randrange(0, 60, 5)\n"
        "    stop = rng.randrange(start, 60, 5) + 5\n"
        "    found = source.fetch(Partition(path, 'Events', start, stop), names, access=access)\n"
        "    for name in ('noise', 'run', 'good'):\n"
        "        assert np.array_equal(found[name].values, whole[name].values[start:stop])\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, path, str(tmp_path / "cache")]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in range(4)]
    for each in running:
        _, said = each.communicate(timeout=200)
        assert each.returncode == 0, said.decode()

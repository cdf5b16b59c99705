"""A third format, registered as a row: it opens, runs, is preprocessed, checkpointed and pickled like the others."""

import json
import os
import pickle

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.io.access.files import edge, resolve
from hepgraph.io.agreement import agreed
from hepgraph.io.formats import FORMATS, Format, format_with, suffixes
from hepgraph.io.forms import empty_data, fitted
from hepgraph.io.source import USUAL, Column, Data, File, Level, Source, reads


def open_npz(files, tree, step_size, metadata, storage_options):
    """The dataset of .npz files: a flat array for each column, and `nX` beside it where X is a list."""

    def look(path):
        with edge(path), np.load(path) as arrays:
            columns = [
                Column(name, arrays[name].dtype, (Level(),), counts=f"n{name}")
                if f"n{name}" in arrays
                else Column(name, arrays[name].dtype)
                for name in arrays
            ]
            return columns, File(path, "", len(arrays["MET"]), uuid=str(arrays["MET"].sum()))

    columns, found = agreed([look(path) for path, _ in resolve(files, storage_options)])
    return NumpySource(columns, found, step_size, metadata, storage_options)


class NumpySource(Source):
    """A dataset of .npz files."""

    kind = "Arrays"

    def read(self, partition, needs, access=USUAL):
        columns = self.begin(partition, needs)
        if len(partition) == 0 or not columns:
            return {column.name: empty_data(column, need) for column, need in columns}
        entries = slice(partition.start, partition.stop)
        found = {}
        with edge(partition.path, "read"), np.load(partition.path) as arrays:
            for column, need in columns:
                values = arrays[column.name]
                if column.levels:
                    ends = np.r_[0, np.cumsum(arrays[column.counts])]
                    offsets = ends[partition.start : partition.stop + 1]
                    found[column.name] = Data(
                        values[offsets[0] : offsets[-1]], (offsets - offsets[0],), level_valid=(None,)
                    )
                else:
                    found[column.name] = Data(values[entries])
                found[column.name] = fitted(column, found[column.name], need)
        return found


NPZ = Format("NPZ", b"PK\x03\x04", (".npz",), f"{__name__}:open_npz", {"Arrays": f"{__name__}:NumpySource"})


@pytest.fixture
def registered():
    FORMATS.append(NPZ)
    yield
    FORMATS.remove(NPZ)


@pytest.fixture
def paths(tmp_path, registered):
    """Two files of 300 events each."""
    made = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, 4, 300)
        made.append(str(tmp_path / f"{seed}.npz"))
        np.savez(made[-1], MET=rng.exponential(50, 300), nJet=counts, Jet=rng.exponential(30, counts.sum()))
        os.utime(made[-1], (1e9, 1e9))  # what is a few seconds old may still change, and is not cached
    return made


def eager(paths):
    """All events as awkward arrays, without the format."""
    files = [np.load(path) for path in paths]
    arrays = [ak.Array({"MET": file["MET"], "Jet": ak.unflatten(file["Jet"], file["nJet"])}) for file in files]
    return ak.concatenate(arrays)


class Jets(hg.Processor):
    def process(self, events):
        kept = events[events.MET > 40]
        h = hg.Hist.new.Reg(20, 0, 100, name="pt").Int64()
        return {"h": h.fill(ak.flatten(kept.Jet)), "n": ak.num(kept, axis=0)}


def check(out, paths):
    kept = eager(paths)
    kept = kept[kept.MET > 40]
    assert out["n"] == len(kept)
    expected, _ = np.histogram(ak.flatten(kept.Jet), 20, (0, 100))
    assert out["h"].values().tolist() == expected.tolist()


@pytest.mark.parametrize("executor", ["serial", "threads"])
@pytest.mark.parametrize("engine", ["auto", "interpreter"])
def test_it_is_opened_and_run(paths, executor, engine):
    events = hg.open(paths, step_size=70)
    assert events.npartitions == 8
    out = hg.compute(Jets().process(events), executor=executor, engine=engine, progress=False)
    check(out, paths)
    assert ak.array_equal(events.Jet.compute(progress=False), eager(paths).Jet)


@given(step=st.integers(1, 400), entries=st.integers(0, 50))
def test_any_partitioning_gives_what_the_arrays_say(tmp_path_factory, step, entries):
    rng = np.random.default_rng(entries)
    counts = rng.integers(0, 4, entries)
    path = str(tmp_path_factory.mktemp("npz") / "a.npz")
    np.savez(path, MET=rng.random(entries), nJet=counts, Jet=rng.random(counts.sum()))
    events = hg.from_source(open_npz([path], None, step, None, None))
    jets = events.Jet.compute(executor="serial", progress=False)
    assert jets.tolist() == eager([path]).Jet.tolist()


def test_it_is_found_in_a_directory_and_told_from_others(tmp_path, paths):
    assert suffixes() == (".root", ".parquet", ".parq", ".pq", ".npz")
    assert hg.open(tmp_path).source.entries == 600
    (tmp_path / "page").write_bytes(b"<html>")
    with pytest.raises(errors.DamagedFileError, match="neither a ROOT nor a Parquet nor a NPZ file"):
        hg.open(tmp_path / "page")
    with pytest.raises(errors.DamagedFileError, match="is a NPZ file, not a ROOT file"):
        hg.from_root(paths[0])


def test_it_is_preprocessed(paths, tmp_path):
    known = hg.preprocess({"toy": paths}, executor="serial", cache=tmp_path / "cache", progress=False)
    dataset = json.loads(json.dumps(known))["toy"]
    assert dataset["format"] == "npz", "not that of another format"
    assert format_with("Arrays") is NPZ
    again = hg.preprocess({"toy": paths}, executor="serial", cache=tmp_path / "cache", progress=False)
    assert again == known
    out = hg.run(Jets(), known, schema="base", executor="serial", progress=False)
    check(out, paths)


def test_it_is_checkpointed(paths, tmp_path):
    settings = {"schema": "base", "executor": "serial", "progress": False, "checkpoint": tmp_path / "checkpoint"}
    out = hg.run(Jets(), {"toy": paths}, **settings)
    check(out, paths)
    with reads() as seen:
        check(hg.run(Jets(), {"toy": paths}, **settings), paths)
    assert seen == []


def test_it_is_pickled(paths):
    events = pickle.loads(pickle.dumps(hg.open(paths)))
    assert type(events.source) is NumpySource
    assert events.source.files == hg.open(paths).source.files
    check(hg.compute(Jets().process(events), executor="serial", progress=False), paths)


def test_its_columns_are_cached(paths, tmp_path):
    first = hg.open(paths, cache=tmp_path / "columns").Jet.compute(executor="serial", progress=False)
    with reads() as seen:
        again = hg.open(paths, cache=tmp_path / "columns").Jet.compute(executor="serial", progress=False)
    assert seen == []
    assert ak.array_equal(first, again)

"""Variations that some files of a dataset lack: an error in any order, or the nominal where the user says so."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import DisagreementError, VariationWarning

SCHEMA = """
name = "mine"
[names]
e = "energy"
[collections.Jet]
columns = ["jet_{field}_NOSYS", "jet_{field}"]
derived = { ratio = "energy / pt" }
[[columns]]
match = "weight_{x}_NOSYS"
to = "weight.{x}"
[[columns]]
match = "weight_{x}"
to = "weight.{x}"
[variations]
columns = "{field}_{name}__{direction}"
directions = { 1up = "up", 1down = "down" }
"""
ALTERNATIVES = {
    "jet_pt_JER__1up": "jet_pt_NOSYS",
    "jet_pt_JES__1up": "jet_pt_NOSYS",
    "jet_e_JES__1up": "jet_e_NOSYS",
    "weight_pu_PRW__1down": "weight_pu_NOSYS",
}
PLACES = {("pt", "JER_up"): 0, ("pt", "JES_up"): 1, ("energy", "JES_up"): 2, ("pu", "PRW_down"): 3}


def drawn_file(rng, kinds):
    """The columns of a file: all nominal ones, and some of the alternatives."""
    counts = rng.integers(0, 4, rng.integers(0, 6))

    def lists(kind):
        return ak.unflatten(rng.integers(20, 100, counts.sum()).astype(kind), counts)

    columns = {"jet_pt_NOSYS": lists(kinds[0]), "jet_e_NOSYS": lists("float64"), "jet_eta": lists("float32")}
    columns["weight_pu_NOSYS"] = rng.integers(1, 9, len(counts)).astype(kinds[0])
    for name in ALTERNATIVES:
        if rng.random() < 0.6:
            more = rng.integers(1, 9, len(counts)).astype(kinds[1])
            columns[name] = more if name.startswith("weight") else lists(kinds[1])
    return columns


def written(path, columns):
    if path.suffix == ".parquet":
        ak.to_parquet(ak.Array(ak.zip(columns, depth_limit=1)), path)
        return str(path)
    with uproot.recreate(path) as file:
        file.mktree("Events", {n: x.dtype if isinstance(x, np.ndarray) else x.type.content for n, x in columns.items()})
        file["Events"].extend(columns)
    return str(path)


def analysis(events):
    h = hg.Hist.new.Reg(20, 0, 600, name="x").StrCat([], growth=True, name="variation").Weight()
    h.fill(ak.sum(events.Jet.pt, axis=1) + ak.sum(events.Jet.energy, axis=1), weight=events.weight.pu)
    return h


@pytest.mark.parametrize("suffix", ["parquet", "root"])
@settings(max_examples=examples(10), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kinds=st.sampled_from(["ff", "dd", "fd", "df"]))
def test_any_files_in_any_order(suffix, seed, kinds, tmp_path_factory):
    """A variation is what the file has, or the nominal; without a word on it, an error that names column and file."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("files")
    files = [drawn_file(rng, kinds) for _ in range(rng.integers(1, 4))]
    paths = [written(folder / f"{number}.{suffix}", columns) for number, columns in enumerate(files)]
    (folder / "mine.toml").write_text(SCHEMA)
    options = {"schema": str(folder / "mine.toml"), "optional": {"*": "nominal"}}
    events = hg.open(paths, step_size=2, **options)
    there = {name for columns in files for name in columns}
    named = {"JER_up": [0], "JES_up": [1, 2], "PRW_down": [3]}
    alternatives = list(ALTERNATIVES)
    names = {name for name, some in named.items() if any(alternatives[i] in there for i in some)}
    assert set(events.variations or ["nominal"]) == {"nominal", *names}

    def wanted(name, field, base):
        alternative = alternatives[PLACES[field, name]] if (field, name) in PLACES else base
        parts = [columns.get(alternative, columns[base]) for columns in files]
        return ak.concatenate([ak.values_astype(part, "float64") for part in parts])

    expected = {}
    for name in ["nominal", *names]:
        pt, energy, pu = (
            wanted(name, *each)
            for each in (("pt", "jet_pt_NOSYS"), ("energy", "jet_e_NOSYS"), ("pu", "weight_pu_NOSYS"))
        )
        here = hg.variation(events, name) if names else events
        assert here.Jet.pt.compute().to_list() == pt.to_list()
        assert here.Jet.energy.compute(engine="interpreter").to_list() == energy.to_list()
        assert np.allclose(ak.flatten(here.Jet.ratio.compute()), ak.flatten(energy / pt), rtol=1e-6)
        sums = ak.to_numpy(ak.sum(pt, axis=1) + ak.sum(energy, axis=1))
        expected[name] = np.histogram(sums, 20, (0, 600), weights=ak.to_numpy(pu))[0]
    options |= {"executor": "serial", "progress": False}
    for eager in (False, True) if sum(len(columns["weight_pu_NOSYS"]) for columns in files) else ():
        h = hg.run(analysis, {"a": paths}, eager=eager, strict=not eager, step_size=3, **options)
        for name, values in expected.items():
            assert np.array_equal(h[{"variation": name}].values() if len(h.axes["variation"]) else h.values(), values)
    options = {"schema": options["schema"]}
    for order in (paths, paths[::-1]):
        events = hg.open(order, **options)
        assert set(events.variations or ["nominal"]) == {"nominal", *names}
        for name, base in ALTERNATIVES.items():
            if name in there and any(name not in columns for columns in files):
                record = events.Jet if name.startswith("jet") else events.weight
                field = {"jet_pt_NOSYS": "pt", "jet_e_NOSYS": "energy", "weight_pu_NOSYS": "pu"}[base]
                with pytest.raises(DisagreementError, match=rf"No column '.*__1(up|down)'(.|\n)*'{base}'") as told:
                    record[field].compute()
                assert '"nominal"' in str(told.value)
                assert any(path in str(told.value) for path in paths)


def test_a_nominal_that_is_lacking_too(tmp_path):
    """The nominal may itself be one that a value stands for."""
    one = {"x": np.array([1.0, 2.0]), "x_JER__1up": np.array([3.0, 4.0]), "y": np.array([0.0, 0.0])}
    paths = [written(tmp_path / "a.parquet", one), written(tmp_path / "b.parquet", {"y": np.array([5.0])})]
    (tmp_path / "mine.toml").write_text(SCHEMA)
    for order, known in ((paths, [1.0, 2.0, 7.0]), (paths[::-1], [7.0, 1.0, 2.0])):
        x = hg.open(order, schema=tmp_path / "mine.toml", optional={"x": 7.0, "*": "nominal"}).x.compute()
        assert x["nominal"].to_list() == known
        assert sorted(x["JER_up"].to_list()) == [3.0, 4.0, 7.0]
    with pytest.raises(DisagreementError, match="No column 'x' in 1 of the 2 files"):
        hg.open(paths, schema=tmp_path / "mine.toml", optional={"*": "nominal"}).x.compute()


def test_lengths_that_a_file_lacks(tmp_path):
    """Where each branch has a counter, that of the variation is that of the nominal."""
    lists = ak.Array([[1.0, 2.0], []])
    one = {"jet_pt_NOSYS": lists, "jet_pt_JER__1up": 2 * lists}
    paths = [written(tmp_path / "a.root", one), written(tmp_path / "b.root", {"jet_pt_NOSYS": lists})]
    (tmp_path / "mine.toml").write_text(SCHEMA)
    events = hg.open(paths, schema=tmp_path / "mine.toml", optional={"jet_pt_*": "nominal"})
    assert events.Jet.pt.compute()["JER_up"].to_list() == [[2.0, 4.0], [], [1.0, 2.0], []]
    assert hg.variation(events, "nominal").njet_pt_JER__1up.compute().to_list() == [2, 0, 2, 0]


def test_a_schema_may_say_so(tmp_path):
    one = {"x": np.array([1.0]), "x_JER__1up": np.array([3.0])}
    paths = [written(tmp_path / "b.parquet", {"x": np.array([5.0])}), written(tmp_path / "a.parquet", one)]
    (tmp_path / "mine.toml").write_text(f'{SCHEMA}[optional]\n"*" = "nominal"\n')
    assert hg.open(paths, schema=tmp_path / "mine.toml").x.compute()["JER_up"].to_list() == [5.0, 3.0]


def test_columns_that_vary_nothing_in_a_later_file(tmp_path):
    paths = [
        written(tmp_path / "b.parquet", {"x": np.array([5.0])}),
        written(tmp_path / "a.parquet", {"x": np.array([1.0]), "z_JER__1up": np.array([3.0])}),
    ]
    (tmp_path / "mine.toml").write_text(SCHEMA)
    for order in (paths, paths[::-1]):
        with pytest.warns(VariationWarning, match="z_JER__1up"):
            hg.open(order, schema=tmp_path / "mine.toml")

"""RNTuples: collections of records as dotted columns, projected NanoAOD fields, counts, several clusters."""

import pickle
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from columns import to_awkward

import hepgraph as hg
from hepgraph import errors
from hepgraph.io import trees
from hepgraph.io.rntuple.source import RNTupleSource, layout_of
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

EVENTS = ak.Array(
    [
        {"run": 1, "Muon": [{"pt": 1.5, "hits": [1, 2]}, {"pt": 2.5, "hits": []}], "word": "a", "w": [1.0]},
        {"run": 2, "Muon": [], "word": "", "w": []},
        {"run": 3, "Muon": [{"pt": 3.5, "hits": [3]}], "word": "bc", "w": [2.0, 3.0]},
    ]
)


@pytest.fixture
def path(tmp_path):
    with uproot.recreate(tmp_path / "n.root") as file:
        ntuple = file.mkrntuple("Events", EVENTS)
        ntuple.extend(EVENTS)
    return str(tmp_path / "n.root")


def test_columns(path):
    source = open_root(path)
    assert isinstance(source, RNTupleSource)
    assert {name: column.type for name, column in source.columns.items()} == {
        "run": "int64",
        "Muon.pt": "var * float64",
        "Muon.hits": "var * var * int64",
        "word": "string",
        "w": "var * float64",
    }
    assert source.entries == 6
    assert source.files[0].edges == (0, 3, 6)
    assert all(column.bytes > 0 and column.memory > 0 for column in source.columns.values())


@pytest.mark.parametrize("step", [1, 2, 4, 6])
def test_data_in_any_partitioning(path, step):
    source = pickle.loads(pickle.dumps(open_root(path, step_size=step)))
    twice = ak.concatenate([EVENTS, EVENTS])
    for part in source.partitions():
        found = source.read(part, dict.fromkeys(source.columns, Need.DATA))
        for name, column in source.columns.items():
            expected = twice[part.start : part.stop][tuple(name.split("."))]
            assert to_awkward(column, found[name]).to_list() == expected.to_list()


def test_counts(path):
    source = open_root(path)
    (part,) = source.partitions()
    found = source.read(part, {"Muon.pt": Need.COUNTS, "Muon.hits": Need.COUNTS, "run": Need.COUNTS})
    assert [offsets.tolist() for offsets in found["Muon.hits"].offsets] == [
        [0, 2, 2, 3, 5, 5, 6],
        [0, 2, 2, 3, 5, 5, 6],
    ]
    assert found["Muon.pt"].values is None
    assert found["run"].offsets == ()


def test_trees_and_ntuples_do_not_mix(path, tmp_path):
    with uproot.recreate(tmp_path / "t.root") as file:
        file.mktree("Events", {"run": np.int64})
    with pytest.raises(errors.DisagreementError, match=r"n\.root holds an RNTuple, but .*t\.root holds a TTree"):
        open_root([path, tmp_path / "t.root"])


def test_a_missing_ntuple(path):
    with pytest.raises(errors.MissingTreeError, match="Nearest names: Events"):
        open_root(path, tree="events")


@pytest.mark.parametrize("name", ["nano_dy", "nano_dimuon"])
def test_nanoaod_keeps_its_names_and_reads_as_the_ttree_does(name):
    if not DATA.exists():
        pytest.skip("the shared data are not here")
    source, tree = open_root(DATA / f"{name}_rntuple.root"), open_root(DATA / f"{name}.root", tree="Events")
    assert not [column for column in source.columns.values() if column.problem]
    assert set(tree.columns) <= set(source.columns)
    assert {name for name, column in source.columns.items() if column.counts} == {
        name for name, column in tree.columns.items() if column.counts
    }
    mine, theirs = (Partition(each.files[0].path, "Events", 5, 25) for each in (source, tree))
    names = ["run", "Jet_pt", "nJet", "Muon_isGlobal", "HLT_IsoMu24", "Jet_cleanmask", "MET_pt", "GenPart_pdgId"]
    names = [name for name in names if name in tree.columns]
    found = source.read(mine, dict.fromkeys(names, Need.DATA))
    expected = tree.read(theirs, dict.fromkeys(names, Need.DATA))
    for name in names:
        theirs_list = to_awkward(tree.columns[name], expected[name]).to_list()
        assert to_awkward(source.columns[name], found[name]).to_list() == theirs_list
    counts = source.read(mine, {"Jet_eta": Need.COUNTS})["Jet_eta"]
    assert counts.offsets[0].tolist() == found["Jet_pt"].offsets[0].tolist()


OPTIONAL = {
    "records in lists": ak.Array([[(1, 2.0), None], [], [(3, 4.0)]]),
    "records": ak.Array([(1, [2.0]), None, (3, [])]),
    "lists in records": ak.Array([[(1, [2.0, 3.0]), None, (2, [])], [], [None]]),
    "records in records": ak.Array([((1, 2.0), 3), None, ((4, 5.0), 6)]),
    "None in records": ak.Array([[(1, None), None], [], [(3, 4.0)]]),
}


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("plain", [False, True])
def test_records_that_are_none(tmp_path, name, plain):
    array = OPTIONAL[name]
    with uproot.recreate(tmp_path / "n.root") as file:
        file.mkrntuple("Events", {"z": array}).extend({"z": array})
    twice = ak.concatenate([array, array]).to_list()
    with uproot.open(tmp_path / "n.root") as file:
        assert file["Events"].arrays()["z"].to_list() == twice
    source = open_root(tmp_path / "n.root", step_size=2)
    source.plain = plain
    for part in source.partitions():
        found = source.read(part, dict.fromkeys(source.columns, Need.DATA))
        counted = source.read(part, dict.fromkeys(source.columns, Need.COUNTS))
        for column in source.columns.values():
            nullable = {record.name for record in column.records if record.nullable}
            assert nullable == set(found[column.name].records) == set(counted[column.name].records)
            assert all(
                (counted[column.name].records[each] == found[column.name].records[each]).all() for each in nullable
            )
    events = hg.from_root(tmp_path / "n.root", step_size=2)
    mine = hg.compute({"z": events.z, "none": ak.is_none(events.z, axis=array.ndim - 1)}, progress=False)
    assert as_tuples(mine["z"].to_list()) == as_tuples(twice)
    assert mine["none"].to_list() == ak.is_none(ak.concatenate([array, array]), axis=array.ndim - 1).to_list()


def as_tuples(nest):
    if isinstance(nest, dict):
        return tuple(map(as_tuples, nest.values()))
    return type(nest)(map(as_tuples, nest)) if isinstance(nest, list | tuple) else nest


def test_elements_that_no_list_has_are_an_error(tmp_path):
    """uproot writes such files: all values of an optional field, and offsets that count those that are there."""
    values = ak.mask(np.arange(6.0), np.array([1, 0, 1, 0, 0, 1], bool))
    with uproot.recreate(tmp_path / "n.root") as file:
        file.mkrntuple("Events", {"o": values, "x": np.arange(6.0)}).extend({"o": values, "x": np.arange(6.0)})
    events = hg.from_root(tmp_path / "n.root")
    assert events.x.compute(progress=False).to_list() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] * 2
    with uproot.open(tmp_path / "n.root") as file:
        lists = layout_of(trees.Opened(file, "n.root", "Events", "ROOT::RNTuple"), "n.root").lists
    table = lists.table(0)
    stored = np.diff(np.append(0, np.cumsum(table.elements))[table.bounds])
    if sorted(stored)[0] == 3:  # uproot has been mended
        assert events.o.compute(progress=False).to_list() == values.to_list() * 2
        return
    with pytest.raises(errors.DamagedFileError, match=r"field 'o'.*n\.root.* has 6 elements, and its lists have 3"):
        events.o.compute(progress=False)

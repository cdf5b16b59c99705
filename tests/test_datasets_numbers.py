"""Files that number their collections as they like, and say how: references by them against a slow loop."""

import pickle
from functools import lru_cache

import awkward as ak
import numpy as np
import pytest
import uproot
from drawing import examples
from formats import fcc
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.processor.chunk import eager_events

QUIETLY = {"executor": "serial", "progress": False}

KNOWN = {"Electron": 9, "Jet": 2, "ReconstructedParticles": 31, "EFlowTrack": 4, "Gone": 17}
COLUMNS = {
    "ReconstructedParticles.momentum.x": [[1.0, 2.0], [3.0], []],
    "ReconstructedParticles.goodnessOfPID": [[0.0, 0.0], [0.0], []],
    "Jet.momentum.x": [[10.0], [20.0, 30.0], [40.0]],
    "Jet.goodnessOfPID": [[0.0], [0.0, 0.0], [0.0]],
    "EFlowTrack.radiusOfInnermostHit": [[5.0], [], []],
    "Electron#0.index": [[1, 0], [1], [-2]],
    "Electron#0.collectionID": [[31, 2], [2], [-2]],
}


def written(path, known=KNOWN, repeat=1, **changes):
    """A file with the collections of `COLUMNS`, and what its numbers mean, `repeat` times, as hadd puts them."""
    names = {"index": "Electron#0.index", "number": "Electron#0.collectionID"}
    columns = COLUMNS | {names[key]: values for key, values in changes.items()}
    arrays = {name: ak.Array(rows) for name, rows in columns.items()}
    for name in names.values():
        arrays[name] = ak.values_astype(arrays[name], np.int32)
    with uproot.recreate(path) as file:
        file.mktree("events", {name: rows.type.content for name, rows in arrays.items()})
        file["events"].extend(arrays)
        if known is not None:
            table = {"m_collectionIDs": [list(known.values())] * repeat, "m_names": [list(known)] * repeat}
            file.mkrntuple("metadata", ak.Array(table))
    return str(path)


def compute(x, **options):
    return hg.compute(x, **QUIETLY, **options)


@lru_cache(maxsize=8)
def read(path):
    """All branches of a file, as uproot reads them, and what its numbers mean."""
    with uproot.open(path) as file:
        table = file["metadata"].arrays()
        known = dict(zip(table.m_collectionIDs[0].to_list(), table.m_names[0].to_list(), strict=True))
        return {name: branch.array().to_list() for name, branch in file["events"].items()}, known


def by_loop(path, branch, into, field="momentum.x", ranges=None):
    """For each element, that of the collection whose number stands beside its index; None for all others."""
    branches, known = read(path)
    index, number = (branches[f"{branch}.{part}"] for part in ("index", "collectionID"))
    values = {name: branches[f"{name}.{field}"] for name in into}
    ends = ranges and [branches[f"{ranges}_{end}"] for end in ("begin", "end")]
    found = []
    for event, pairs in enumerate(zip(index, number, strict=True)):
        mine = []
        for i, k in zip(*pairs, strict=True):
            there = known.get(k) in into and i >= 0
            mine.append(values[known[k]][event][i] if there else None)
        cuts = ends and zip(ends[0][event], ends[1][event], strict=True)
        found.append([mine[a:b] for a, b in cuts] if ends else mine)
    return found


@settings(max_examples=examples(2), deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 2), st.integers(1, 5), st.sampled_from(["auto", "interpreter"]))
def test_references_by_numbers_equal_a_slow_loop(tmp_path_factory, seed, files, parts, engine):
    where = tmp_path_factory.mktemp("drawn")
    paths = [fcc(where / f"{i}.root", seed, drawn=seed + i) for i in range(files)]
    events = hg.open(paths).repartition(parts)
    reco = ("ReconstructedParticles", "Jet")
    got = compute(
        {
            "electrons": events.Electron.particle.px,
            "muons": events.Muon[events.Muon.particle_links.index > 0].particle.px,
            "sum": ak.sum(events.Electron.particle.px, axis=1),
            "reco": events.MCRecoAssociations.reco.px,
            "mc": events.MCRecoAssociations.mc.px,
            "inside": events.Jet.particles.px,
            "clusters": events.Jet.clusters.iTheta,
        },
        engine=engine,
    )

    def wanted(*args, **more):
        return [row for path in paths for row in by_loop(path, *args, **more)]

    electrons = wanted("Electron#0", reco)
    assert got["electrons"].to_list() == electrons
    assert got["sum"].to_list() == pytest.approx([sum(x for x in row if x is not None) for row in electrons], abs=1e-5)
    index = [row for path in paths for row in read(path)[0]["Muon#0.index"]]
    pairs = [zip(row, places, strict=True) for row, places in zip(wanted("Muon#0", reco), index, strict=True)]
    assert got["muons"].to_list() == [[x for x, i in some if i > 0] for some in pairs]
    assert got["reco"].to_list() == wanted("MCRecoAssociations#0", reco)
    assert got["mc"].to_list() == wanted("MCRecoAssociations#1", ("Particle",))
    assert got["inside"].to_list() == wanted("Jet#2", reco, ranges="Jet.particles")
    assert got["clusters"].to_list() == wanted("Jet#0", ("EFlowPhoton",), field="iTheta", ranges="Jet.clusters")


@pytest.mark.parametrize("how", ["auto", "interpreter", "eager"])
def test_the_number_tells_the_collection(tmp_path, how):
    """Of another collection that is known there is nothing to refer to; two copies of a table are one."""
    lazy = hg.open(written(tmp_path / "a.root", repeat=2, number=[[31, 2], [17], [-2]]))
    events = eager_events(lazy, lazy.source.partitions()[0]) if how == "eager" else lazy
    found = events.Electron.particle.momentum.x
    found = found if how == "eager" else compute(found, engine=how)
    assert found.to_list() == [[2.0, 10.0], [None], [None]]


def test_the_numbers_travel_with_the_events(tmp_path):
    path = written(tmp_path / "a.root")
    events = pickle.loads(pickle.dumps(hg.open(path)))
    written(path, known=None)  # as it was when the events were opened, but for the table
    made = events.Electron.particle.px
    assert set(hg.necessary_columns(made)) >= {"Electron#0.collectionID", "Jet.momentum.x"}


@pytest.mark.parametrize("how", ["auto", "interpreter", "eager"])
def test_numbers_and_places_that_are_wrong(tmp_path, says, how):
    def run(x):
        try:
            return ak.to_list(x(events)) if how == "eager" else compute(x(events), engine=how)
        except errors.HepgraphError as error:
            error.__notes__ = []
            raise

    for changes in ({"number": [[31, 2], [3], [-2]]}, {"index": [[2, 0], [1], [-2]]}, {"index": [[1, 0], [2], [-2]]}):
        events = hg.open(written(tmp_path / "a.root", **changes))
        events = eager_events(events, events.source.partitions()[0]) if how == "eager" else events
        says(run, lambda e: e.Electron.particle.momentum.x)
    assert ak.to_list(compute(events.Electron.particle_links.index) if how != "eager" else [[1, 0], [2], [-2]])


def test_files_that_do_not_say(tmp_path, says):
    says(lambda: hg.open(written(tmp_path / "a.root", known=None)).Electron.particle)
    says(lambda: hg.open(written(tmp_path / "b.root", known={"Electron": 9})).Electron.particle)
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'name = "mine"\nextends = "fcc"\n[[references]]\nfrom = "Electron"\nindex = "particle_links.index"\n'
        'to = "Jet"\nname = "jet"\n'
    )
    events = hg.open(written(tmp_path / "c.root", known=None, index=[[0, -2], [1], [-2]]), schema=mine)
    assert compute(events.Electron.jet.px).to_list() == [[10.0, None], [30.0], [None]]


def test_files_that_number_in_other_ways(tmp_path, says):
    """An error, and never the element of another collection; files that agree may lack some of the numbers."""
    other = {**KNOWN, "Jet": 31, "ReconstructedParticles": 2}
    first = written(tmp_path / "a.root")
    says(lambda: hg.open([first, written(tmp_path / "b.root", known=other)]).Electron.particle)
    says(lambda: hg.open([first, written(tmp_path / "c.root", known={**KNOWN, "Jet": 3})]).Electron.particle)
    says(lambda: hg.open([first, written(tmp_path / "d.root", known={"New": 31})]).Electron.particle)
    fewer = written(tmp_path / "e.root", known={"Jet": 2, "New": 50})
    got = compute(hg.open([first, fewer]).Electron.particle.px)
    assert got.to_list() == [[2.0, 10.0], [30.0], [None]] * 2


@pytest.mark.parametrize("newer", [False, True])
def test_vector_members_by_the_version_of_the_file(tmp_path, newer):
    """The second vector of a cluster in newer files is the third of older ones."""
    names = ["shapeParameters", *["hitContributions"] * (not newer), "subdetectorEnergies"]
    arrays = {"EFlowPhoton.iTheta": ak.Array([[0.5, 0.25], []])}
    for number, name in enumerate(names):
        for edge, values in (("begin", [0, 1]), ("end", [1, 3])):
            arrays[f"EFlowPhoton.{name}_{edge}"] = ak.values_astype(ak.Array([values, []]), np.uint32)
        arrays[f"EFlowPhoton_{number}"] = ak.Array([[10.0 * number + i for i in range(3)], []])
    arrays |= {
        f"Electron#0.{part}": ak.values_astype(ak.Array([[-2], []]), np.int32) for part in ("index", "collectionID")
    }
    arrays["ReconstructedParticles.goodnessOfPID"] = ak.Array([[1.0], []])
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("events", {name: rows.type.content for name, rows in arrays.items()})
        file["events"].extend(arrays)
    events = hg.open(tmp_path / "a.root", schema="fcc")
    assert hg.schema_of(events).name == ("fcc_2023" if newer else "fcc")
    got = compute({name: events.EFlowPhoton[name] for name in names})
    for number, name in enumerate(names):
        assert got[name].to_list() == [[[10.0 * number], [10.0 * number + 1, 10.0 * number + 2]], []]

"""Columns sorted into collections: files that count each branch, and indices whose names are not enough."""

from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

import hepgraph as hg
from hepgraph import errors
from hepgraph.processor.chunk import eager_events

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
QUIETLY = {"executor": "serial", "progress": False}


def compute(x, **options):
    return hg.compute(x, **QUIETLY, **options)


def flat(path, **branches):
    pq.write_table(pa.table(branches), path)
    return str(path)


def jagged(path, **branches):
    """A file as uproot writes it: with a leaf for each list that counts it."""
    arrays = {name: ak.Array(rows) for name, rows in branches.items()}
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: str(x.type).split(" * ", 1)[1] for name, x in arrays.items()})
        file["Events"].extend(arrays)
    return str(path)


# a count for each branch

SKIM = {
    "Electron_pt": [[10.0, 20.0], [], [30.0]],
    "Electron_mvaIso": [[0.5, 0.25], [], [0.75]],
    "Electron_mvaIso_WP80": [[True, False], [], [True]],
    "Electron_cutBased": [[1, 2], [], [3]],
    "Electron_cutBased_HEEP": [[False, True], [], [False]],
    "Photon_mvaID": [[0.1], [0.2], []],
    "Photon_mvaID_WP90": [[True], [False], []],
    "MET_pt": [1.0, 2.0, 3.0],
    "LHEPdfWeight": [[1.0], [], [2.0]],
}


@pytest.fixture
def skim(tmp_path):
    return hg.from_root(jagged(tmp_path / "a.root", **SKIM), schema="nanoaod")


def test_a_counter_for_each_branch(skim):
    """`nElectron_mvaIso` counts `Electron_mvaIso`, and makes no collection of `Electron_mvaIso_WP80`."""
    assert skim.fields == ["Electron", "Photon", "MET", "nLHEPdfWeight", "LHEPdfWeight"]
    assert skim.Electron.fields == ["pt", "mvaIso", "mvaIso_WP80", "cutBased", "cutBased_HEEP"]
    assert skim.Photon.fields == ["mvaID", "mvaID_WP90"]
    tight = skim.Electron[skim.Electron.mvaIso_WP80]
    good = skim.Photon[skim.Photon.mvaID_WP90]
    for engine in ("auto", "interpreter"):
        got = compute({"e": tight.pt, "p": good.mvaID, "n": ak.num(skim.Electron)}, engine=engine)
        assert got["e"].to_list() == [[10.0], [], [30.0]]
        assert got["p"].to_list() == [[0.1], [], []]
        assert got["n"].to_list() == [2, 0, 1]


def test_what_is_not_listed_is_not_lost(skim):
    """Every branch is there by its full name, those that count others too."""
    with uproot.open(skim.source.files[0].path) as file:
        wanted = file["Events"].arrays()
    got = compute({name: skim[name] for name in wanted.fields})
    assert {name: x.to_list() for name, x in got.items()} == {name: wanted[name].to_list() for name in wanted.fields}
    chunk = eager_events(skim, skim.source.partitions()[0])
    assert chunk["Electron_mvaIso_WP80"].to_list() == SKIM["Electron_mvaIso_WP80"]
    with pytest.raises(errors.FieldError, match=r"Nearest names: .*mvaIso_WP80"):
        skim.Electron.mvaIso_WP8


@pytest.mark.parametrize("how", ["auto", "interpreter", "eager"])
def test_equal_counters_are_one_list(tmp_path, how):
    """Lists of one collection that differ are an error that names both branches, wherever they meet."""
    path = jagged(tmp_path / "a.root", Jet_pt=[[1.0], [2.0, 3.0]], Jet_eta=[[0.1], [0.2, 0.3]], Jet_id=[[1], [2]])
    lazy = hg.from_root(path, schema="nanoaod")
    events = eager_events(lazy, lazy.source.partitions()[0]) if how == "eager" else lazy

    def values(x):
        return x if how == "eager" else compute(x, engine=how)

    assert values(events.Jet.pt * events.Jet.eta > 0.5).to_list() == [[False], [False, True]]
    said = (
        "'Jet_id' and 'Jet_pt' are of one collection, but do not agree on the lengths of its lists: "
        f"at entry 1 of {path}, 'Jet_id' has 1 element, and 'Jet_pt' has 2."
    )
    for f in (lambda e: e.Jet.id, lambda e: e.Jet[e.Jet.id > 1].pt, lambda e: e.Jet.pt * e.Jet.id):
        with pytest.raises(errors.DisagreementError) as caught:
            values(f(events))
        assert str(caught.value) == said


def test_collections_with_an_underscore_that_nothing_counts(tmp_path):
    path = jagged(
        tmp_path / "a.root",
        Proton_multiRP_xi=[[0.1], []],
        Proton_multiRP_t=[[1.0], []],
        Proton_singleRP_xi=[[0.2, 0.3], [0.4]],
    )
    events = hg.from_root(path, schema="nanoaod")
    assert events.fields == ["Proton_multiRP", "Proton_singleRP"]
    got = compute({"m": events.Proton_multiRP.xi, "s": events.Proton_singleRP.xi, "t": events.Proton_multiRP_t})
    assert {name: x.to_list() for name, x in got.items()} == {
        "m": [[0.1], []],
        "s": [[0.2, 0.3], [0.4]],
        "t": [[1.0], []],
    }
    chunk = eager_events(events, events.source.partitions()[0])
    assert chunk["Proton_multiRP_xi"].to_list() == [[0.1], []]


def test_a_real_file_with_a_counter_for_each_branch():
    path = DATA / "nano_tt_v12.root"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    events = hg.from_root(path, schema="nanoaod")
    assert len(events.source.columns) == 654
    assert len(events.fields) == 61
    assert not [name for name in events.fields if "_" in name]


# references


TARGETS = {  # of indices with one name, and no name that would tell
    "FatJetPFCand": {"jetIdx": "FatJet", "pfCandIdx": "PFCand"},
    "JetPFCands": {"jetIdx": "Jet", "pFCandsIdx": "PFCands"},
    "FatJetPFCands": {"jetIdx": "FatJet", "pFCandsIdx": "PFCands"},
    "GenJetCands": {"jetIdx": "GenJet", "pFCandsIdx": "GenCands"},
    "GenFatJetCands": {"jetIdx": "GenJetAK8", "pFCandsIdx": "GenCands"},
    "JetSVs": {"jetIdx": "Jet", "sVIdx": "SV"},
    "FatJetSVs": {"jetIdx": "FatJet", "sVIdx": "SV"},
    "GenJetSVs": {"jetIdx": "GenJet", "sVIdx": "SV"},
    "GenFatJetSVs": {"jetIdx": "GenJetAK8", "sVIdx": "SV"},
    "Electron": {"jetIdx": "Jet", "photonIdx": "Photon", "fsrPhotonIdx": "FsrPhoton", "svIdx": "SV"},
    "Muon": {"jetIdx": "Jet", "svIdx": "SV", "fsrPhotonIdx": "FsrPhoton"},
    "Tau": {"jetIdx": "Jet", "svIdx1": "SV", "svIdx2": "SV"},
    "Photon": {"jetIdx": "Jet", "electronIdx": "Electron"},
    "LowPtElectron": {"electronIdx": "Electron", "photonIdx": "Photon"},
    "FsrPhoton": {"muonIdx": "Muon", "electronIdx": "Electron"},
    "boostedTau": {"jetIdx": "Jet", "genPartIdx": "GenPart"},
    "Jet": {"electronIdx1": "Electron", "muonIdx2": "Muon", "svIdx1": "SV", "genJetIdx": "GenJet"},
    "SubJet": {"subGenJetAK8Idx": "SubGenJetAK8"},
}


def test_known_indices_point_where_cms_says(tmp_path):
    """In a file that has every collection, so that none is found for lack of another."""
    names = sorted({*TARGETS, *(to for told in TARGETS.values() for to in told.values())})
    columns = {}
    for number, name in enumerate(names):
        columns[f"{name}_pt"] = [[100.0 * number, 100.0 * number + 1]]
        for index in TARGETS.get(name, ()):
            columns[f"{name}_{index}"] = [[1, -1]]
    events = hg.from_parquet(flat(tmp_path / "a.parquet", **columns), schema="nanoaod")
    wanted, asked = {}, {}
    for name, told in TARGETS.items():
        for index, to in told.items():
            reference = index.replace("Idx", "")
            asked[name, index] = events[name][f"matched_{reference}"].pt
            wanted[name, index] = [[100.0 * names.index(to) + 1, None]]
    got = compute(asked)
    assert {key: x.to_list() for key, x in got.items()} == wanted


def test_pfnano_candidates_against_a_slow_loop():
    path = DATA / "pfnano.root"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    events = hg.from_root(path, schema="nanoaod")
    with uproot.open(path) as file:
        tree = file["Events"]
        for name in ("FatJetPFCands", "FatJetSVs", "GenJetCands", "GenFatJetCands", "GenJetSVs", "GenFatJetSVs"):
            to = TARGETS[name]["jetIdx"]
            index, pts = tree[f"{name}_jetIdx"].array().to_list(), tree[f"{to}_pt"].array().to_list()
            wanted = [[row[i] if i >= 0 else None for i in each] for each, row in zip(index, pts, strict=True)]
            assert compute(events[name].matched_jet.pt).to_list() == wanted, name


def test_a_name_that_fits_several_collections_makes_no_reference(tmp_path):
    columns = {"Thing_jetIdx": [[0]], "Thing_pt": [[1.0]], "Jet_pt": [[2.0]], "FatJet_pt": [[3.0]]}
    path = flat(tmp_path / "a.parquet", **columns)
    things = hg.from_parquet(path, schema="nanoaod").Thing
    assert compute(things.jetIdx).to_list() == [[0]]
    with pytest.raises(errors.FieldError) as caught:
        things.matched_jet
    said = str(caught.value)
    head, _, schema = said.partition("A schema may say:\n")
    assert head == (
        "No field or method 'matched_jet' in this Thing.\n"
        "Thing.jetIdx may point into Jet or FatJet: its name does not tell. "
    )
    with pytest.raises(errors.FieldError, match=r"Thing\.jetIdx may point into Jet or FatJet"):
        things["matched_jet"]
    events = hg.from_parquet(path, schema="nanoaod")
    chunk = eager_events(events, events.source.partitions()[0])
    assert chunk.Thing.fields == ["jetIdx", "pt"]
    with pytest.raises(errors.FieldError, match=r"Thing\.jetIdx may point into Jet or FatJet"):
        chunk.Thing.matched_jet
    mine = tmp_path / "mine.toml"
    mine.write_text(f'name="m"\nextends="nanoaod"\n{schema.replace("Jet", "FatJet")}')
    assert compute(hg.from_parquet(path, schema=mine).Thing.matched_jet.pt).to_list() == [[3.0]]
    del columns["FatJet_pt"]  # where no other collection could be meant, a name is enough
    alone = hg.from_parquet(flat(tmp_path / "b.parquet", **columns), schema="nanoaod")
    assert compute(alone.Thing.matched_jet.pt).to_list() == [[2.0]]


def test_a_known_index_never_points_into_another_collection(tmp_path):
    path = flat(tmp_path / "a.parquet", FatJetPFCand_jetIdx=[[0]], Jet_pt=[[2.0]])
    events = hg.from_parquet(path, schema="nanoaod")
    with pytest.raises(errors.FieldError, match=r"FatJetPFCand\.jetIdx points into FatJet, which is not in"):
        events.FatJetPFCand.matched_jet


def test_an_index_is_a_whole_number(tmp_path):
    path = flat(tmp_path / "a.parquet", Muon_jetIdx=[[0.0]], Jet_pt=[[2.0]])
    with pytest.raises(errors.SchemaError, match=r"Muon\.jetIdx is not an index: it holds float64"):
        hg.from_parquet(path, schema="nanoaod").Muon.matched_jet


def test_references_to_several_have_as_many_as_indices(tmp_path):
    """As in NanoEvents, where ported code takes `[:, :, 0]` for the first index, not for the first that is there."""
    path = flat(
        tmp_path / "a.parquet",
        Jet_electronIdx1=[[-1, 0], [1]],
        Jet_electronIdx2=[[1, -1], [-1]],
        Electron_pt=[[10.0, 20.0], [30.0, 40.0]],
    )
    lazy = hg.from_parquet(path, schema="nanoaod")
    for how in ("auto", "interpreter", "eager"):
        events = eager_events(lazy, lazy.source.partitions()[0]) if how == "eager" else lazy
        two = events.Jet.matched_electrons
        asked = {
            "all": two.pt,
            "first": two[:, :, 0].pt,
            "there": ak.drop_none(two, axis=2).pt,
            "number": ak.num(two, axis=2),
            "sum": ak.sum(two.pt, axis=2),
        }
        got = asked if how == "eager" else compute(asked, engine=how)
        assert {name: ak.to_list(x) for name, x in got.items()} == {
            "all": [[[None, 20.0], [10.0, None]], [[40.0, None]]],
            "first": [[None, 10.0], [40.0]],
            "there": [[[20.0], [10.0]], [[40.0]]],
            "number": [[2, 2], [2]],
            "sum": [[20.0, 10.0], [40.0]],
        }


# what a default must not hide, and what is said without a schema


def test_a_default_hides_no_column(tmp_path):
    """v15 has `CorrT1METJet_rawMass`, which is the mass; without it, there is none."""
    path = flat(tmp_path / "a.parquet", CorrT1METJet_rawPt=[[1.0]], CorrT1METJet_rawMass=[[0.5]])
    assert compute(hg.from_parquet(path, schema="nanoaod").CorrT1METJet.mass).to_list() == [[0.5]]
    path = flat(tmp_path / "b.parquet", CorrT1METJet_rawPt=[[1.0]])
    assert compute(hg.from_parquet(path, schema="nanoaod").CorrT1METJet.mass).to_list() == [[0.0]]
    chunk = hg.from_parquet(path, schema="nanoaod")
    assert eager_events(chunk, chunk.source.partitions()[0]).CorrT1METJet.mass.to_list() == [[0.0]]


@pytest.mark.parametrize("how", ["attribute", "item", "cut", "eager"])
def test_without_a_schema_the_message_names_it(tmp_path, how):
    path = jagged(tmp_path / "a.root", Jet_eta=[[1.0]], Jet_pt=[[1.0]], Jet_phi=[[1.0]], Jet_m=[[1.0]], MET_pt=[1.0])
    events = hg.from_root(path)
    asks = {
        "attribute": lambda: events.Jet,
        "item": lambda: events["Jet"],
        "cut": lambda: events[events.MET_pt > 0].Jet,
        "eager": lambda: eager_events(events, events.source.partitions()[0]).Jet,
    }
    with pytest.raises(errors.FieldError) as caught:
        asks[how]()
    assert str(caught.value).endswith(
        "There are the columns Jet_pt, Jet_eta, Jet_phi, ...: "
        'open the dataset with schema="nanoaod" to have them as .Jet.pt.'
    )
    with pytest.raises(errors.FieldError, match="Nearest names: Jet_pt"):
        events.Jet_p


def test_unequal_lists_of_an_old_writer(tmp_path):
    """A count beside the counters of each branch is no more than a number: the lists say whether it is right."""
    path = jagged(tmp_path / "a.root", nJet=np.array([1, 2], np.int32), Jet_pt=[[1.0], [2.0]], Jet_eta=[[1.0], [2.0]])
    events = hg.from_root(path, schema="nanoaod")
    with pytest.raises(errors.DisagreementError, match=r"'Jet_pt' has 1 element, and 'nJet' says 2\."):
        compute(ak.num(events.Jet))

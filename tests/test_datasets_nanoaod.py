"""Schemas on real NanoAOD files: every field of every collection, and cross-references against slow loops."""

from functools import lru_cache
from itertools import combinations
from pathlib import Path
from unittest import mock

import awkward as ak
import pytest
import uproot

import hepgraph as hg
from hepgraph.datasets.schema import RecordFields
from hepgraph.io.source import reads

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NANO = ["nano_dy.root", "nano_dimuon.root", "nano_tt_v12.root", "nano_dy.parquet", "nano_dy_rntuple.root"]


def data(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def compute(tree):
    return hg.compute(tree, executor="serial", progress=False)


def same(a, b):
    return ak.array_equal(a, b, equal_nan=True, dtype_exact=True, check_parameters=False)


# the files of the project


@lru_cache(maxsize=8)
def nano(name):
    return hg.open(data(name), schema="nanoaod")


@lru_cache(maxsize=8)
def branches_of(path):
    if path.suffix == ".parquet":
        return ak.from_parquet(path)
    with uproot.open(path) as file:
        return file["Events"].arrays()


@pytest.mark.parametrize("name", NANO)
def test_every_field_of_every_collection(name):
    path = data(name)
    wanted = branches_of(path)
    events = nano(name)
    fields = {}
    for collection in events.fields:
        if collection.startswith("_"):  # collections of RNTuple files without names of their own
            continue
        held = events[collection]
        if held.fields:
            fields.update({f"{collection}_{field}": held[field] for field in held.fields})
        else:
            fields[collection] = held
    aliased = fields.pop("CorrT1METJet_pt", None)
    for branch in wanted.fields:  # what counts one branch alone is known, though not listed
        if branch not in fields and not branch.startswith("_"):
            assert branch.removeprefix("n") in fields
            fields[branch] = events[branch]
    assert set(fields) == {branch for branch in wanted.fields if not branch.startswith("_")}
    if aliased is not None:
        assert same(compute(aliased), wanted["CorrT1METJet_rawPt"])
    got = compute(fields)
    wrong = [branch for branch in fields if not same(got[branch], wanted[branch])]
    assert not wrong


@pytest.mark.parametrize("name", NANO)
def test_collections_as_a_whole(name):
    path = data(name)
    wanted = branches_of(path)
    muons = compute(nano(name).repartition(3).Muon)
    assert all(same(muons[field], wanted[f"Muon_{field}"]) for field in muons.fields)
    assert muons.layout.content.parameter("__record__") == "Muon"


def test_nameless_collections_of_an_rntuple_do_not_disturb():
    events = nano("nano_dy_rntuple.root")
    odd = [name for name in events.fields if name.startswith("_")]
    assert odd
    assert events.Muon.fields == nano("nano_dy.root").Muon.fields
    assert same(compute(events[odd[0]][events[odd[0]].fields[0]]), compute(events[events[odd[0]].fields[0]]))


@pytest.mark.parametrize("name", ["nano_dy.root", "nano_dy.parquet", "nano_dy_rntuple.root"])
def test_the_full_names_of_branches_work_beside_collections(name):
    events = nano(name)
    assert "Jet_pt" not in events.fields
    got = compute({"a": events.Jet_pt, "b": events.Jet.pt, "c": events["Jet_pt"], "n": events.nJet, "m": events.MET_pt})
    assert same(got["a"], got["b"])
    assert same(got["a"], got["c"])
    assert got["n"].to_list() == ak.num(got["b"]).to_list()
    assert compute(events.Jet_pt[events.Jet.eta > 0]).to_list() == compute(events.Jet.pt[events.Jet_eta > 0]).to_list()
    assert list(hg.necessary_columns(events.Jet_pt)) == list(hg.necessary_columns(events.Jet.pt))


def test_tracing_reads_nothing_and_makes_what_is_used():
    """Of a file of many branches, the collections that query 8 does not use are left as they are."""
    from hepgraph.processors import adl

    path = data("nano_dimuon.root")
    made = []
    real = RecordFields.__init__

    def noted(self, events, name, at, own):
        made.append(name)
        real(self, events, name, at, own)

    with reads() as seen, mock.patch.object(RecordFields, "__init__", noted):
        events = hg.open(path, schema="nanoaod")
        needed = hg.necessary_columns(adl.Query8().process(events))
    assert not seen
    assert set(made) == {"Electron", "MET", "Muon"}
    assert {name.partition("_")[0].removeprefix("n") for name in needed} == {"Electron", "MET", "Muon"}
    assert len(needed) < len(events.source.columns) / 10


# cross-references, against slow loops


@pytest.fixture(params=["nano_dy.root", "nano_dy.parquet", "nano_dy_rntuple.root"])
def events(request):
    return nano(request.param).repartition(3)


@pytest.fixture(scope="module")
def eager():
    return branches_of(data("nano_dy.root"))


def pointed(eager, collection, index, target, field):
    """For each element, the field of the element that its index points to, None for -1 and beyond the end."""
    values = eager[f"{target}_{field}"].to_list()
    return [
        [values[event][i] if 0 <= i < len(values[event]) else None for i in indices]
        for event, indices in enumerate(eager[f"{collection}_{index}"].to_list())
    ]


DIRECT = [
    ("Muon", "matched_jet", "jetIdx", "Jet"),
    ("Muon", "matched_gen", "genPartIdx", "GenPart"),
    ("Muon", "matched_fsrPhoton", "fsrPhotonIdx", "FsrPhoton"),
    ("Electron", "matched_photon", "photonIdx", "Photon"),
    ("Electron", "matched_jet", "jetIdx", "Jet"),
    ("Electron", "matched_gen", "genPartIdx", "GenPart"),
    ("Photon", "matched_electron", "electronIdx", "Electron"),
    ("Photon", "matched_jet", "jetIdx", "Jet"),
    ("Photon", "matched_gen", "genPartIdx", "GenPart"),
    ("Tau", "matched_jet", "jetIdx", "Jet"),
    ("Tau", "matched_gen", "genPartIdx", "GenPart"),
    ("Jet", "matched_gen", "genJetIdx", "GenJet"),
    ("Jet", "matched_electron1", "electronIdx1", "Electron"),
    ("GenPart", "parent", "genPartIdxMother", "GenPart"),
    ("GenVisTau", "parent", "genPartIdxMother", "GenPart"),
]


def test_references_to_one_element(events, eager):
    got = compute({(c, name): getattr(events[c], name).pt for c, name, _, _ in DIRECT})
    for collection, name, index, target in DIRECT:
        assert got[collection, name].to_list() == pointed(eager, collection, index, target, "pt"), (collection, name)


def test_references_that_only_newer_files_have():
    eager, events = branches_of(data("nano_tt_v12.root")), nano("nano_tt_v12.root")
    more = [
        ("FatJet", "matched_gen", "genJetAK8Idx", "GenJetAK8"),
        ("Jet", "matched_gen", "genJetIdx", "GenJet"),
        ("Muon", "matched_gen", "genPartIdx", "GenPart"),
    ]
    there = [row for row in more if f"{row[0]}_{row[2]}" in eager.fields]
    got = compute({row[:2]: getattr(events[row[0]], row[1]).pt for row in there})
    for collection, name, index, target in there:
        assert got[collection, name].to_list() == pointed(eager, collection, index, target, "pt"), (collection, name)
    assert there


SEVERAL = [
    ("Jet", "matched_electrons", ["electronIdx1", "electronIdx2"], "Electron"),
    ("Jet", "matched_muons", ["muonIdx1", "muonIdx2"], "Muon"),
    ("FatJet", "subjets", ["subJetIdx1", "subJetIdx2"], "SubJet"),
]


def test_references_to_several_elements(events, eager):
    all_ = {(c, name): getattr(events[c], name) for c, name, _, _ in SEVERAL}
    few = {(c, f"{name}, none dropped"): ak.drop_none(x, axis=2).pt for (c, name), x in all_.items()}
    first = {(c, f"{name}, first"): x[:, :, 0].pt for (c, name), x in all_.items()}
    got = compute({key: x.pt for key, x in all_.items()} | few | first)
    for collection, name, indices, target in SEVERAL:
        each = [pointed(eager, collection, index, target, "pt") for index in indices]
        wanted = [[list(row) for row in zip(*rows, strict=True)] for rows in zip(*each, strict=True)]
        assert got[collection, name].to_list() == wanted, (collection, name)
        assert got[collection, f"{name}, none dropped"].to_list() == [
            [[v for v in row if v is not None] for row in rows] for rows in wanted
        ]
        assert got[collection, f"{name}, first"].to_list() == [[row[0] for row in rows] for rows in wanted]


def children(eager, field):
    out = []
    for mothers, values in zip(
        eager["GenPart_genPartIdxMother"].to_list(), eager[f"GenPart_{field}"].to_list(), strict=True
    ):
        out.append([[v for m, v in zip(mothers, values, strict=True) if m == i] for i in range(len(mothers))])
    return out


def test_children_and_parents(events, eager):
    gen = events.GenPart
    got = compute(
        {
            "children": gen.children.pdgId,
            "grand": gen.parent.parent.pdgId,
            "back": gen.children.parent.pdgId,
            "up": gen.parent.children.pdgId,
        }
    )
    assert got["children"].to_list() == children(eager, "pdgId")
    mothers, ids = eager["GenPart_genPartIdxMother"].to_list(), eager["GenPart_pdgId"].to_list()
    grand = []
    for m, v in zip(mothers, ids, strict=True):
        above = [m[i] if i >= 0 else -1 for i in m]
        grand.append([v[i] if i >= 0 else None for i in above])
    assert got["grand"].to_list() == grand
    own = [
        [[v] * len(c) for v, c in zip(a, b, strict=True)] for a, b in zip(ids, children(eager, "pdgId"), strict=True)
    ]
    assert got["back"].to_list() == own
    kids = children(eager, "pdgId")
    wanted = [[kids[e][i] if i >= 0 else None for i in m] for e, m in enumerate(mothers)]
    assert got["up"].to_list() == wanted


def test_references_after_cuts(events, eager):
    """References still point at the elements of the whole collection."""
    few = events[ak.num(events.Electron) >= 1]
    mu = few.Muon[few.Muon.pt > 5]
    good = events.Jet[events.Jet.pt > 20]
    got = compute(
        {
            "mu": mu.matched_jet.pt,
            "el": few.Electron[few.Electron.pt > 5].matched_photon.eta,
            "jets": good.matched_electrons.pt,
            "gen": good[ak.num(good) >= 2].matched_gen.pt,
            "kids": events.GenPart[events.GenPart.pt > 5].children.pt,
            "sorted": good[ak.argsort(good.eta)].matched_gen.pt,
            "leading": ak.firsts(good).matched_gen.pt,
        }
    )
    keep = (ak.num(eager["Electron_pt"]) >= 1).to_list()

    def cut(rows, masks):
        return [[v for v, m in zip(row, mask, strict=True) if m] for row, mask in zip(rows, masks, strict=True)]

    def some(rows, which):
        return [row for row, k in zip(rows, which, strict=True) if k]

    full = pointed(eager, "Muon", "jetIdx", "Jet", "pt")
    assert got["mu"].to_list() == some(cut(full, (eager["Muon_pt"] > 5).to_list()), keep)
    full = pointed(eager, "Electron", "photonIdx", "Photon", "eta")
    assert got["el"].to_list() == some(cut(full, (eager["Electron_pt"] > 5).to_list()), keep)
    hard = (eager["Jet_pt"] > 20).to_list()
    a, b = (pointed(eager, "Jet", f"electronIdx{i}", "Electron", "pt") for i in (1, 2))
    pairs = [[list(x) for x in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]
    assert got["jets"].to_list() == cut(pairs, hard)
    full = cut(pointed(eager, "Jet", "genJetIdx", "GenJet", "pt"), hard)
    assert got["gen"].to_list() == some(full, [sum(h) >= 2 for h in hard])
    assert got["kids"].to_list() == cut(children(eager, "pt"), (eager["GenPart_pt"] > 5).to_list())
    etas = cut(eager["Jet_eta"].to_list(), hard)
    assert got["sorted"].to_list() == [
        [v for _, v in sorted(zip(e, f, strict=True), key=lambda pair: pair[0])]
        for e, f in zip(etas, full, strict=True)
    ]
    assert got["leading"].to_list() == [f[0] if f else None for f in full]


def test_references_in_combinations(events, eager):
    pair = ak.combinations(events.Jet, 2, fields=["a", "b"])
    cross = ak.cartesian({"m": events.Muon, "j": events.Jet})
    got = compute(
        {
            "a": pair.a.matched_gen.pt,
            "el": pair.b.matched_electrons.pt,
            "mass": (pair.a.matched_gen + pair.b.matched_gen).mass,
            "same": ak.sum(cross.m.matched_jet.pt == cross.j.pt, axis=1),
            "near": events.Muon.nearest(events.Jet).matched_gen.pt,
        }
    )
    gen = pointed(eager, "Jet", "genJetIdx", "GenJet", "pt")
    assert got["a"].to_list() == [[x for x, _ in combinations(row, 2)] for row in gen]
    a, b = (pointed(eager, "Jet", f"electronIdx{i}", "Electron", "pt") for i in (1, 2))
    pairs = [[list(x) for x in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]
    assert got["el"].to_list() == [[y for _, y in combinations(row, 2)] for row in pairs]
    known = [[x is not None and y is not None for x, y in combinations(row, 2)] for row in gen]
    assert ak.is_none(got["mass"], axis=1).to_list() == [[not k for k in row] for row in known]
    jets = pointed(eager, "Muon", "jetIdx", "Jet", "pt")
    wanted = [
        sum(m == j for m in mine for j in all_ if m is not None)
        for mine, all_ in zip(jets, eager["Jet_pt"].to_list(), strict=True)
    ]
    assert got["same"].to_list() == wanted


def test_references_read_what_they_need(events):
    assert set(hg.necessary_columns(events.Muon.matched_jet.pt)) <= {"Muon_jetIdx", "nMuon", "Jet_pt", "nJet"}
    assert "Jet_phi" not in hg.necessary_columns(events.Muon.matched_jet.pt)

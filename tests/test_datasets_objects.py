"""Objects of NanoAOD by its schemas: identification by version, masses and charges, positions, candidates
of jets; in every mode, on small events of each kind.
"""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import FieldError
from hepgraph.processor.chunk import eager_events

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MODES = ["auto", "interpreter", "eager"]
QUIETLY = {"executor": "serial", "progress": False}
SIZES = np.array([3, 0, 2])


def opened(columns, schema="nanoaod"):
    """Events of these columns, of five elements in three events, but for those that are of events."""
    made = {name: np.asarray(x) if len(x) == 3 else ak.unflatten(np.asarray(x), SIZES) for name, x in columns.items()}
    names = {name.split("_")[0] for name, x in columns.items() if len(x) == 5}
    return hg.from_awkward(ak.zip({**made, **{f"n{name}": SIZES for name in names}}, depth_limit=1), schema=schema)


def computed(f, events, how):
    if how == "eager":
        return f(eager_events(events, events.source.repartition(1).partitions()[0])).to_list()
    return hg.compute(f(events), engine=how, **QUIETLY).to_list()


def vectors(name, **more):
    whole = np.array([50.0, 20, 30, 40, 10], np.float32)
    fields = {"pt": whole, "eta": whole / 30, "phi": whole / 20, "mass": whole / 40, **more}
    return {f"{name}_{field}": x for field, x in fields.items()}


def lists(values):
    return [values[:3], [], values[3:]]


@pytest.mark.parametrize("how", MODES)
def test_electrons_and_muons(how):
    whole = np.array([4, 0, 1, 2, 3])
    for dtype in (np.int32, np.uint8):  # until v14, since v15
        events = opened(vectors("Electron", cutBased=whole.astype(dtype)))
        for least, name in enumerate(("isVeto", "isLoose", "isMedium", "isTight"), 1):
            wanted = lists([bool(x >= least) for x in whole])
            assert computed(lambda e, name=name: e.Electron[name], events, how) == wanted
            assert computed(lambda e, name=name: getattr(e.Electron, name), events, how) == wanted
    ids = {f"{name}Id": np.array(x, bool) for name, x in
           (("loose", [1, 1, 1, 0, 1]), ("medium", [1, 0, 1, 0, 1]), ("tight", [0, 0, 1, 0, 1]))}  # fmt: skip
    events = opened(vectors("Muon", **ids))
    for name, field in (("isLoose", "looseId"), ("isMedium", "mediumId"), ("isTight", "tightId")):
        assert computed(lambda e, name=name: e.Muon[name], events, how) == lists(ids[field].tolist())
    cut = computed(lambda e: e.Muon[e.Muon.isLoose].isTight, events, how)
    assert cut == [[False, False, True], [], [True]]


@pytest.mark.parametrize("how", MODES)
def test_photons_by_integer_or_bitmap(how):
    level = np.array([0, 1, 2, 3, 3])
    bitmap = (1 << level) - 1  # all that are passed
    wanted = {
        name: lists([bool(x >= k) for x in level]) for k, name in enumerate(("isLoose", "isMedium", "isTight"), 1)
    }
    both = {"cutBased": level, "cutBasedBitmap": np.zeros(5, np.int32)}  # the integer counts where both are there
    for columns in ({"cutBased": level}, {"cutBasedBitmap": bitmap.astype(np.int32)}, both):
        events = opened(vectors("Photon", **columns))
        assert {name: computed(lambda e, name=name: e.Photon[name], events, how) for name in wanted} == wanted


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("collection", ["Jet", "FatJet"])
def test_jets_by_bits(collection, how):
    bits = np.array([0, 2, 6, 7, 1], np.int32)
    events = opened(vectors(collection, jetId=bits))
    for bit, name in enumerate(("isLoose", "isTight", "isTightLeptonVeto")):
        wanted = lists([bool(x >> bit & 1) for x in bits])
        assert computed(lambda e, name=name: e[collection][name], events, how) == wanted


@pytest.mark.parametrize("how", MODES)
def test_what_a_version_lacks_is_said(how):
    events = opened(vectors("Jet", electronIdx1=np.full(5, -1)) | vectors("Electron", jetIdx=np.full(5, -1)))
    with pytest.raises(FieldError, match=r"Jet.isTight is made of jetId, which .* does not have.\n.*jetid.json"):
        computed(lambda e: e.Jet.isTight, events, how)
    with pytest.raises(FieldError, match=r"Electron.isTight is made of cutBased, which"):
        computed(lambda e: e.Electron.isTight, events, how)


LEFT_OUT = {  # the fields that formats leave out, which are 0
    "Photon": ("mass", "charge"), "FsrPhoton": ("mass", "charge"), "TrigObj": ("mass",), "IsoTrack": ("mass",),
    "Jet": ("charge",), "FatJet": ("charge",), "GenJet": ("charge",), "GenJetAK8": ("charge",), "SubJet": ("charge",),
    "SubGenJetAK8": ("charge",), "SoftActivityJet": ("mass", "charge"), "GenIsolatedPhoton": ("charge",),
}  # fmt: skip


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("collection", LEFT_OUT)
def test_masses_and_charges_that_are_left_out(collection, how):
    fields = LEFT_OUT[collection]
    columns = {name: x for name, x in vectors(collection).items() if name.rpartition("_")[2] not in fields}
    for name in fields:
        assert computed(lambda e, name=name: e[collection][name], opened(columns), how) == lists([0] * 5)
        there = opened(columns | {f"{collection}_{name}": np.arange(5) + 0.5})
        assert computed(lambda e, name=name: e[collection][name], there, how) == lists([0.5, 1.5, 2.5, 3.5, 4.5])
    energies = computed(lambda e: e[collection].energy > e[collection].pt * 0.99, opened(columns), how)
    assert energies == lists([True] * 5)


@pytest.mark.parametrize("how", MODES)
def test_charges_add_up(how):
    charge = [1, -1, 1, -1, -1]
    muons = vectors("Muon", charge=np.array(charge, np.int32))
    events = opened(muons | vectors("Jet") | {f"Lepton_{q}": muons[f"Muon_{q}"] for q in ("pt", "eta", "phi", "mass")})
    pairs = [[(0, 1), (0, 2), (1, 2)], [], [(3, 4)]]

    def of(e, f, **more):
        pair = ak.combinations(e.Muon, 2, fields=["a", "b"])
        return f(pair.a, pair.b, **more)

    sums = [[charge[i] + charge[k] for i, k in row] for row in pairs]
    assert computed(lambda e: of(e, lambda a, b: a + b).charge, events, how) == sums
    assert computed(lambda e: of(e, lambda a, b: a.add(b)).charge, events, how) == sums
    differences = [[charge[i] - charge[k] for i, k in row] for row in pairs]
    assert computed(lambda e: of(e, lambda a, b: a - b).charge, events, how) == differences
    for total in (
        lambda e: e.Muon.sum(),
        lambda e: e.Muon.sum(axis=1),
        lambda e: ak.sum(e.Muon, axis=1),
        lambda e: np.sum(e.Muon, axis=-1),
    ):
        assert computed(lambda e, total=total: total(e).charge, events, how) == [1, 0, -2]
    wanted = computed(lambda e: e.Muon.sum().mass, events, how)
    assert computed(lambda e: ak.sum(e.Muon, axis=1).mass, events, how) == wanted
    with_jets = computed(lambda e: (e.Muon + e.Jet).charge, events, how)
    assert with_jets == lists(charge)
    with pytest.raises(FieldError, match="charge"):  # of what has none there is none
        computed(lambda e: (e.Muon + e.Lepton).charge, events, how)


@pytest.mark.parametrize("how", MODES)
def test_vertices(how):
    places = {f"SV_{c}": np.array([1.0, 2, 3, 4, 5], np.float32) * k for c, k in (("x", 3), ("y", 4), ("z", 12))}
    events = opened(
        vectors("SV") | places | {"PV_x": [3.0] * 3, "PV_y": [4.0] * 3, "PV_z": [12.0] * 3, "PV_npvs": [1] * 3}
    )
    assert computed(lambda e: e.PV.pos.mag, events, how) == [13.0] * 3
    assert computed(lambda e: e.SV.pos.mag, events, how) == lists([13.0, 26.0, 39.0, 52.0, 65.0])
    assert computed(lambda e: e.SV.pos.rho, events, how) == lists([5.0, 10.0, 15.0, 20.0, 25.0])
    assert computed(lambda e: (e.SV.pos - e.PV.pos).mag, events, how) == lists([0.0, 13.0, 26.0, 39.0, 52.0])
    assert computed(lambda e: e.SV.p4.pt, events, how) == lists([50.0, 20.0, 30.0, 40.0, 10.0])
    assert computed(lambda e: e.SV.p4.sum().pz, events, how) == computed(lambda e: e.SV.sum().pz, events, how)
    cut = computed(lambda e: e.SV[e.SV.pt > 25].pos.x, events, how)
    assert cut == [[3.0, 9.0], [], [12.0]]


CANDIDATES = {  # of jets: the table beside them, the candidates, and the schema
    "Jet": ("JetPFCands", "pFCandsIdx", "PFCands", "pfnano"),
    "FatJet": ("FatJetPFCands", "pFCandsIdx", "PFCands", "pfnano"),
    "GenJet": ("GenJetCands", "pFCandsIdx", "GenCands", "pfnano"),
    "GenJetAK8": ("GenFatJetCands", "pFCandsIdx", "GenCands", "pfnano"),
    "Jet ": ("JetPFCand", "pfCandIdx", "PFCand", "nanoaod"),
    "FatJet ": ("FatJetPFCand", "pfCandIdx", "PFCand", "nanoaod"),
}


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("jets", CANDIDATES)
def test_constituents(jets, how):
    table, index, candidates, schema = CANDIDATES[jets]
    jets = jets.strip()
    beside = {f"{table}_jetIdx": np.array([2, 0, 0, 1, -1]), f"{table}_{index}": np.array([0, 1, 0, 1, 0])}
    events = opened(vectors(jets) | vectors(candidates) | beside, schema)
    assert computed(lambda e: e[jets].constituents.pf.pt, events, how) == [[[20.0, 50.0], [], [50.0]], [], [[], [10.0]]]
    assert computed(lambda e: e[jets][e[jets].pt < 45].constituents.pf.pt, events, how) == [
        [[], [50.0]],
        [],
        [[], [10.0]],
    ]
    assert computed(lambda e: e[table].jet.pt, events, how) == [[30.0, 50.0, 50.0], [], [10.0, None]]
    assert computed(lambda e: e[jets].constituents.pf.sum().pt > 0, events, how) == [
        [True, False, True],
        [],
        [False, True],
    ]


@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not there")
@pytest.mark.parametrize("how", MODES)
def test_files(how):
    events = hg.open(str(DATA / "pfnano.root"))
    raw = hg.compute(
        {n: events[n] for n in ("JetPFCands_jetIdx", "JetPFCands_pFCandsIdx", "PFCands_pt", "nJet")}, **QUIETLY
    )
    wanted = [
        [[pt[c] for j, c in zip(jets, cands, strict=True) if j == k] for k in range(n)]
        for jets, cands, pt, n in zip(*(x.to_list() for x in raw.values()), strict=True)
    ]
    assert computed(lambda e: e.Jet.constituents.pf.pt, events, how) == wanted
    counted = computed(lambda e: ak.num(e.Jet.constituents, axis=2) == e.Jet.nConstituents, events, how)
    assert all(map(all, counted))
    events = hg.open(str(DATA / "nano_dy.root"))
    assert computed(lambda e: ak.num(e.Electron[e.Electron.isTight]), events, how) == [
        sum(x >= 4 for x in row) for row in computed(lambda e: e.Electron.cutBased, events, "interpreter")
    ]

"""The schemas that come with hepgraph, on the samples: columns are fields that read equal, references lead right."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from drawing import FUZZ
from formats import FORMATS

import hepgraph as hg
from hepgraph.datasets.recipes import podio
from hepgraph.datasets.schema import RecordFields
from hepgraph.graph.form import List, Record, unwrap

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
QUIETLY = {"executor": "serial", "progress": False}
SAMPLES = {
    "treemaker": ("treemaker.root", "PreSelection"),
    "edm4hep": ("edm4hep.root", "events"),
    "fcc": ("test_FCC_Spring2021.root", "events"),
    "pfnano": ("pfnano.root", "Events"),
    "physlite": ("PHYSLITE_example.root", "CollectionTree"),
    "nanoaod": ("nano_dy.root", "Events"),
}


def compute(x):
    return hg.compute(x, **QUIETLY)


GENERATED = [f"{name} {seed}" for name in FORMATS for seed in range(2)]


@pytest.fixture(scope="module", params=[*SAMPLES, *GENERATED])
def sample(request, tmp_path_factory):
    """The events of a sample, or of a file that is drawn; its schema, and its tree as uproot reads it."""
    name, _, seed = request.param.partition(" ")
    if seed:
        path = FORMATS[name](tmp_path_factory.mktemp(name) / "drawn.root", int(seed))
        tree = uproot.open(path).keys(cycle=False)[0]
    elif DATA.exists():
        file, tree = SAMPLES[name]
        path = str(DATA / file)
    else:
        pytest.skip("the samples are not here")
    with uproot.open(path) as opened:
        yield request.param, hg.open(path), opened[tree]


def at(array, path):
    for part in path.split("."):
        array = array[part]
    return array


def flat(array):
    """All numbers of an array, as one list; the lists around them are compared apart."""
    return ak.flatten(array, axis=None)


def by_uproot(tree, branches, name):
    """A column as uproot reads it: a branch, or a field of the branch that it is in."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        branch = branches.get(".".join(parts[:cut]))
        if branch is not None:
            array = branch.array()
            return at(array, ".".join(parts[cut:])) if parts[cut:] else array
    raise KeyError(name)


def test_no_column_is_lost_and_every_field_equals_its_branch(sample):
    name, events, tree = sample
    told = hg.schema_of(events)
    assert told.name == name.partition(" ")[0]
    columns = events.source.columns
    inside = {full: (c, path) for c, fields in told.collections.items() for path, full in fields.items()}
    assert set(inside) | set(told.alone) | set(told.counts) | set(told.left) == set(columns)
    assert not set(inside) & set(told.alone)
    assert not set(told.left) & (set(inside) | set(told.alone))
    assert all(told.left.values())
    wanted = {full: at(events, f"{c}.{path}") for full, (c, path) in inside.items()}
    found = dict(zip(wanted, compute(list(wanted.values())), strict=True))
    branches = {key.rpartition("/")[2]: branch for key, branch in tree.items(recursive=True)}
    dealt = {c: events._form.fields.layout.dealt(c) for c in told.collections}
    single = {c for c in told.collections if events._form.fields.layout.told(c).singleton}
    seen = 0
    for full, array in found.items():
        collection, path = inside[full]
        theirs = by_uproot(tree, branches, full)
        seen += 1
        assert len(array) == len(theirs)
        if path.partition(".")[0] in dealt[collection]:
            array = array if collection in single else ak.flatten(array, axis=2)  # all is there, in its order
        elif collection in single:
            assert ak.all(ak.num(theirs, axis=1) == 1)
            theirs = theirs[:, 0]
        assert ak.num(array, axis=0) == ak.num(theirs, axis=0)
        assert array.ndim == theirs.ndim, full
        if array.ndim > 1:
            assert ak.all(ak.num(array, axis=1) == ak.num(theirs, axis=1)), full
        mine, its = np.asarray(flat(array)), np.asarray(flat(theirs))
        assert mine.dtype == its.dtype.newbyteorder("="), full
        assert np.array_equal(mine, its, equal_nan=mine.dtype.kind == "f"), full
    assert seen == len(inside)


def references(events):
    """Every reference of every collection, as it was resolved."""
    for name in events.fields:
        inner = unwrap(events._form[name])[1]
        record = unwrap(inner.content)[1] if isinstance(inner, List) else inner
        if isinstance(record, Record) and isinstance(record.fields, RecordFields):
            for reference in record.fields.references.values():
                if reference.until is None and not reference.first:  # these have tests of their own
                    yield name, reference


def test_references_equal_a_slow_loop(sample):
    """Event by event, element by element; a place in the target stands for the element that is there."""
    name, events, _ = sample
    layout = events._form.fields.layout
    asked, number = [], numbers_of(layout)
    for collection, reference in references(events):
        marker = mark(layout, reference)
        if marker is None or (collection.startswith("TrigMatch_") and len(asked) > 60):  # there are 70 such collections
            continue
        own = events[collection]
        asked.append(
            {
                "reference": (collection, reference),
                "got": at(own[reference.name], marker),
                "lists": [at(events[to], marker) for to in reference.into],
                "indices": [] if reference.inverse else [at(own, index) for index in reference.indices],
                "keys": [at(own, reference.key)] if reference.key else [],
                "back": [at(events[reference.to], reference.indices[0])] if reference.inverse else [],
                "size": ak.num(at(own, mark_of(layout, collection)), axis=1) if reference.inverse else [],
            }
        )
    for each in compute(asked[:: 1 if FUZZ > 1 else 3]):  # the others in `make fuzz`
        collection, reference = each["reference"]
        into = layout.keyed(collection, reference).into
        each["lists"] = [x for to, x in zip(reference.into, each["lists"], strict=True) if to in into]
        numbers = [number(to) if reference.key else None for to in into]
        for event in range(len(each["got"])):
            lists = [ak.to_list(some[event]) for some in each["lists"]]
            if reference.inverse:
                pointing, mine = ak.to_list(each["back"][0][event]), range(int(each["size"][event]))
                wanted = [[x for x, i in zip(lists[0], pointing, strict=True) if i == k] for k in mine]
            else:
                columns = [ak.to_list(index[event]) for index in each["indices"]]
                keys = ak.to_list(each["keys"][0][event]) if reference.key else None
                wanted = slow(columns, keys, lists, numbers)
                if reference.ranged:
                    wanted = [lists[0][i : j + 1] if i >= 0 else [] for i, j in zip(*columns, strict=True)]
            assert same(ak.to_list(each["got"][event]), wanted), (collection, reference.name, event)
    wanted = {"treemaker": 4, "edm4hep": 20, "fcc": 8, "pfnano": 40, "physlite": 20, "nanoaod": 8}
    assert len(asked) >= wanted.get(name, 0 if name.startswith("pdune") else 1)


def numbers_of(layout):
    """The number of a collection in a file: what that says, or what podio or Athena make of the name."""
    with uproot.open(layout.origin.source.files[0].path) as file:
        for name in {"metadata", "podio_metadata"} & set(file.keys(cycle=False)):
            table = {key.rpartition("/")[2].rpartition(".")[2]: branch for key, branch in file[name].items()}
            names, numbers = (table[key].array()[0].to_list() for key in ("m_names", "m_collectionIDs"))
            return dict(zip(names, numbers, strict=True)).get
        return podio if "events" in file else layout.key


def slow(columns, keys, lists, numbers):
    """The elements at some indices, in plain Python; of several indices, a list of them."""
    if len(columns) > 1:
        return [[one(i, None, lists, numbers) for i in some] for some in zip(*columns, strict=True)]
    keys = keys if keys is not None else columns[0]
    return [one(i, k, lists, numbers) for i, k in zip(columns[0], keys, strict=True)]


def one(index, key, lists, numbers):
    if isinstance(index, list):
        return [one(i, k, lists, numbers) for i, k in zip(index, key if isinstance(key, list) else index, strict=True)]
    for elements, number in zip(lists, numbers, strict=True):
        if number is None or number == key:
            return elements[index] if 0 <= index < len(elements) else None
    return None


def same(a, b):
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def mark(layout, reference):
    """A field that all targets have, with numbers that tell their elements apart."""
    fields = [set(layout.groups[1][to]) for to in reference.into]
    shared = set.intersection(*fields)
    columns = layout.origin.source.columns
    home = {(c, path): columns[full] for full, (c, path) in layout.home.items()}
    dealt = {head for to in reference.into for head in layout.dealt(to)}
    plain = [
        path
        for path in shared
        if path.partition(".")[0] not in dealt
        and all(len(home[to, path].levels) == 1 for to in reference.into if (to, path) in home)
        and all((to, path) in home for to in reference.into)
    ]
    order = ("pt", "eta", "phi", "energy", "mass", "momentum.x", "position.x", "fUniqueID", "chi2", "x")
    return min(plain, key=lambda path: (order.index(path) if path in order else 99, path), default=None)


def mark_of(layout, collection):
    return next(path for path in layout.groups[1][collection] if path.partition(".")[0] not in layout.dealt(collection))


# columns that are needed


@pytest.mark.parametrize(
    ("name", "expression", "columns"),
    [
        ("treemaker", "Jets.pt", "Jets.fCoordinates.fPt"),
        ("treemaker", "JetsAK8.subjets.ptD", "JetsAK8_subjetsCounts JetsAK8_subjets_ptD"),
        ("edm4hep", "MCParticles.px", "MCParticles.momentum.x"),
        ("edm4hep", "MCParticles.momentum.y", "MCParticles.momentum.y"),
        ("edm4hep", "RecoMCParticleLinks.from.momentum.x", "Reco_Particles.momentum.x _RecoMCParticleLinks_from.index "
         "_RecoMCParticleLinks_from.collectionID"),
        ("edm4hep", "Si_Tracks_Refitted.trackStates.D0", "Si_Tracks_Refitted.trackStates_begin "
         "Si_Tracks_Refitted.trackStates_end _Si_Tracks_Refitted_trackStates.D0"),
        ("fcc", "Electron.particle.momentum.z", "Electron#0.index Electron#0.collectionID "
         "ReconstructedParticles.momentum.z Jet.momentum.z"),
        ("fcc", "Jet.clusters.iTheta", "Jet.clusters_begin Jet.clusters_end Jet#0.index Jet#0.collectionID "
         "EFlowPhoton.iTheta"),
        ("physlite", "InDetTrackParticles.pt", "InDetTrackParticlesAuxDyn.qOverP InDetTrackParticlesAuxDyn.theta"),
        ("physlite", "InDetTrackParticles.eta", "InDetTrackParticlesAuxDyn.theta"),
        ("physlite", "EventInfo.mcEventWeights", "EventInfoAuxDyn.mcEventWeights"),
        ("physlite", "Muons.inDetTrackParticle.d0", "AnalysisMuonsAuxDyn.inDetTrackParticleLink.m_persIndex "
         "AnalysisMuonsAuxDyn.inDetTrackParticleLink.m_persKey InDetTrackParticlesAuxDyn.d0"),
        ("pfnano", "JetPFCands.pf.pt", "JetPFCands_pFCandsIdx PFCands_pt nJetPFCands nPFCands"),
        ("delphes", "Jet.pt", "Jet.PT Jet_size"),
        ("delphes", "MissingET.pt", "MissingET.MET MissingET_size"),
    ],
)  # fmt: skip
def test_needed_columns_are_those_that_the_definition_names(tmp_path, name, expression, columns):
    events = hg.open(FORMATS[name](tmp_path / "drawn.root", 0))
    needed = set(hg.necessary_columns(at(events, expression)))
    wanted = set(columns.split())
    counters = {column.counts for column in events.source.columns.values()}
    assert needed - counters == wanted - counters


def test_scouting_objects_are_candidates_with_the_mass_of_the_file(tmp_path):
    for seed in range(4):
        events = hg.open(FORMATS["scouting"](tmp_path / f"{seed}.root", seed))
        photons, jets = events.ScoutingPhoton, events.ScoutingPFJet
        mass = photons.m if "m" in photons.fields else 0 * photons.pt
        found = compute({"photon": photons.mass, "m": mass, "jet": jets.mass, "jet m": jets.m, "charge": jets.charge})
        assert found["photon"].to_list() == found["m"].to_list()
        assert found["jet"].to_list() == found["jet m"].to_list()
        assert set(flat(found["charge"])) <= {0}


def test_points_of_protodune_are_vectors(tmp_path):
    path = FORMATS["pdune"](tmp_path / "p.root", 3)
    events = hg.open(path)
    assert hg.schema_of(events).name == "pdune"
    flight = events.RecoBeam.end3D - events.RecoBeam.start3D
    tracks = (events.Tracks.end3D - events.Tracks.start3D).mag
    found = compute({"beam": flight.mag, "tracks": tracks, "hits": ak.sum(events.RecoBeam.calibrated_dEdX, axis=1)})
    with uproot.open(path) as file:
        tree = file["beamana"].arrays()

    def length(of):
        parts = (tree[f"{of}_end{axis}"] - tree[f"{of}_start{axis}"] for axis in "XYZ")
        return sum(part**2 for part in parts) ** 0.5

    assert np.allclose(found["beam"], length("reco_beam"))
    assert np.allclose(flat(found["tracks"]), flat(length("reco_daughter_allTrack")))
    assert np.allclose(found["hits"], ak.sum(tree.reco_beam_calibrated_dEdX, axis=1))

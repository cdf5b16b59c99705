"""Small files of each format, drawn at random: any number of elements, also none; references lead somewhere or not."""

import awkward as ak
import numpy as np
import uproot

from hepgraph.datasets.recipes import athena, podio


class Drawn:
    """Branches of a file with `n` events, written as uproot does it."""

    def __init__(self, seed, n=7):
        self.random, self.n, self.branches, self.beside = np.random.default_rng(seed), n, {}, {}

    def lengths(self, most=4):
        return self.random.integers(0, most, self.n)

    def floats(self, name, lengths, dtype="f4"):
        self.put(name, self.random.normal(size=int(np.sum(lengths))).astype(dtype), lengths)

    def integers(self, name, lengths, low=0, high=10, dtype="i4"):
        self.put(name, self.random.integers(low, high, int(np.sum(lengths))).astype(dtype), lengths)

    def put(self, name, values, lengths):
        self.branches[name] = ak.unflatten(ak.Array(np.asarray(values)), lengths)

    def single(self, name, dtype="f4"):
        self.branches[name] = self.random.integers(0, 100, self.n).astype(dtype)

    def indices(self, name, lengths, into, dtype="i4", missing=True):
        """An index into lists of some lengths for each element; -1 where there is nothing to lead to, or by chance."""
        found = []
        for mine, its in zip(lengths, into, strict=True):
            low = -1 if missing or not its else 0
            found += list(self.random.integers(low, its, mine)) if its else [-1] * int(mine)
        self.put(name, np.array(found, dtype), lengths)
        return np.array(found)

    def write(self, path, tree):
        with uproot.recreate(path) as file:
            file.mktree(tree, {name: ak.type(x).content if x.ndim > 1 else x.dtype for name, x in self.types()})
            file[tree].extend(self.branches)
            for name, columns in self.beside.items():
                file.mkrntuple(name, ak.Array(columns))  # uproot writes no lists of texts to trees
        return str(path)

    def types(self):
        return [(name, ak.Array(x) if not isinstance(x, np.ndarray) else x) for name, x in self.branches.items()]


def treemaker(path, seed):
    d = Drawn(seed)
    for name in ("RunNum", "LumiBlockNum", "EvtNum"):
        d.single(name, "u4")
    for name in ("Jets", "JetsAK8"):
        n = d.lengths()
        for part in ("fPt", "fEta", "fPhi", "fE"):
            d.floats(f"{name}.fCoordinates.{part}", n, "f8")
        d.floats(f"{name}_axismajor", n, "f8")
    counts = d.random.integers(0, 3, int(np.sum(n)))
    d.put("JetsAK8_subjetsCounts", counts.astype("i4"), n)
    each = [int(x) for x in ak.sum(ak.unflatten(counts, n), axis=1)]
    for part in ("fPt", "fEta", "fPhi", "fE"):
        d.floats(f"JetsAK8_subjets.fCoordinates.{part}", each, "f8")
    d.floats("JetsAK8_subjets_ptD", each, "f8")
    n = d.lengths(6)
    d.floats("GenParticles.fCoordinates.fPt", n, "f8")
    d.integers("GenParticles_PdgId", n)
    d.indices("GenParticles_ParentIdx", n, n)
    d.single("MET", "f8")
    return d.write(path, "PreSelection")


class Podio(Drawn):
    """Collections of podio: relations are places in any of some collections, with their numbers."""

    def __init__(self, seed, sizes, numbers, n=7, dtype="u4"):
        super().__init__(seed, n)
        self.sizes = {name: self.lengths(most) for name, most in sizes.items()}
        self.numbers, self.dtype = numbers, dtype

    def link(self, branch, lengths, into):
        """A relation to one, for each element; some lead to none, or into a collection that is not there."""
        index, number = [], []
        for event in np.repeat(np.arange(self.n), lengths):
            to = str(self.random.choice([*into, "", "Dropped"]))
            size = int(self.sizes[to][event]) if to in self.sizes else 3
            there = bool(to and size)
            index.append(int(self.random.integers(size)) if there else -2)
            number.append(self.numbers(to) if there else -2)
        self.put(f"{branch}.index", np.array(index, "i4"), lengths)
        self.put(f"{branch}.collectionID", np.array(number).astype(self.dtype), lengths)

    def range(self, collection, name):
        """How many of a vector member, or of a relation to many, each element has, in each event."""
        mine = self.sizes[collection]
        many = self.random.integers(0, 3, int(np.sum(mine)))
        ends = np.concatenate([np.cumsum(x) for x in ak.to_list(ak.unflatten(many, mine))])
        self.put(f"{collection}.{name}_begin", (ends - many).astype("u4"), mine)
        self.put(f"{collection}.{name}_end", ends.astype("u4"), mine)
        return ak.to_numpy(ak.sum(ak.unflatten(many, mine), axis=1))

    def momenta(self, *names):
        for name in names:
            for part in ("x", "y", "z"):
                self.floats(f"{name}.momentum.{part}", self.sizes[name])


def edm4hep(path, seed):
    """With names of collections that have underscores, also where their branches have more of them."""
    sizes = {"MCParticles": 6, "Reco_Particles": 4, "Si_Tracks_Refitted": 4, "Hits": 4, "Planes": 4}
    d = Podio(seed, sizes, podio)
    d.momenta("MCParticles", "Reco_Particles")
    for name in ("generatorStatus", "simulatorStatus", "PDG"):
        d.integers(f"MCParticles.{name}", d.sizes["MCParticles"])
    for name in ("parents", "daughters"):
        d.link(f"_MCParticles_{name}", d.range("MCParticles", name), ["MCParticles"])
    d.floats("Reco_Particles.referencePoint.x", d.sizes["Reco_Particles"])
    d.link("_Reco_Particles_tracks", d.range("Reco_Particles", "tracks"), ["Si_Tracks_Refitted", "MCParticles"])
    for name in ("Hits", "Planes"):
        d.floats(f"{name}.eDep", d.sizes[name])
    d.floats("Planes.u.a", d.sizes["Planes"])
    tracks = d.sizes["Si_Tracks_Refitted"]
    d.floats("Si_Tracks_Refitted.chi2", tracks)
    d.integers("_Si_Tracks_Refitted_subdetectorHitNumbers", d.range("Si_Tracks_Refitted", "subdetectorHitNumbers"))
    n = d.range("Si_Tracks_Refitted", "trackStates")
    for part in ("D0", "referencePoint.x"):
        d.floats(f"_Si_Tracks_Refitted_trackStates.{part}", n)
    d.link("_Si_Tracks_Refitted_trackerHits", d.range("Si_Tracks_Refitted", "trackerHits"), ["Hits", "Planes"])
    n = d.lengths()
    d.floats("RecoMCParticleLinks.weight", n)
    d.link("_RecoMCParticleLinks_from", n, ["Reco_Particles"])
    d.link("_RecoMCParticleLinks_to", n, ["MCParticles", "Reco_Particles"])
    return d.write(path, "events")


def fcc(path, seed, drawn=None):
    """Of podio before 0.17: each file numbers its collections as it likes, and says how in a tree of its own."""
    sizes = {"ReconstructedParticles": 4, "Jet": 4, "EFlowPhoton": 4, "EFlowTrack": 4, "Particle": 6}
    names = [*sizes, "Electron", "Muon", "MCRecoAssociations", "ParticleIDs", "Dropped"]
    numbers = dict(zip(names, np.random.default_rng(seed).permutation(40)[: len(names)].tolist(), strict=True))
    d = Podio(seed if drawn is None else drawn, sizes, numbers.__getitem__, dtype="i4")
    d.momenta("ReconstructedParticles", "Jet", "Particle")
    for name in ("ReconstructedParticles", "Jet"):
        d.floats(f"{name}.goodnessOfPID", d.sizes[name])
        d.link(f"{name}#0", d.range(name, "clusters"), ["EFlowPhoton"])
        d.link(f"{name}#1", d.range(name, "tracks"), ["EFlowTrack"])
        d.link(f"{name}#2", d.range(name, "particles"), ["ReconstructedParticles", "Jet"])
    d.floats("EFlowPhoton.iTheta", d.sizes["EFlowPhoton"])
    d.floats("EFlowTrack.radiusOfInnermostHit", d.sizes["EFlowTrack"])
    for name in ("generatorStatus", "simulatorStatus"):
        d.integers(f"Particle.{name}", d.sizes["Particle"])
    d.link("Particle#0", d.range("Particle", "parents"), ["Particle"])
    d.link("Particle#1", d.range("Particle", "daughters"), ["Particle"])
    for name in ("Electron", "Muon"):
        d.link(f"{name}#0", d.lengths(), ["ReconstructedParticles", "Jet", "EFlowPhoton"])
    n = d.lengths()
    d.floats("MCRecoAssociations.weight", n)
    d.link("MCRecoAssociations#0", n, ["ReconstructedParticles", "Particle"])
    d.link("MCRecoAssociations#1", n, ["Particle", "Jet"])
    d.beside["metadata"] = {"m_collectionIDs": [list(numbers.values())], "m_names": [list(numbers)]}
    return d.write(path, "events")


def physlite(path, seed):
    d = Drawn(seed)
    for name in ("eventNumber", "runNumber"):
        d.single(f"EventInfoAuxDyn.{name}", "u4")
    d.floats("EventInfoAuxDyn.mcEventWeights", d.lengths())
    sizes = {}
    for name in ("AnalysisJets", "AnalysisElectrons", "AnalysisMuons", "TruthElectrons", "TruthMuons"):
        sizes[name] = d.lengths()
        for part in ("pt", "eta", "phi", "m"):
            d.floats(f"{name}AuxDyn.{part}", sizes[name])
    tracks = d.lengths(6)
    for part in ("phi", "theta", "qOverP", "d0", "z0"):
        d.floats(f"InDetTrackParticlesAuxDyn.{part}", tracks)
    n = sizes["AnalysisMuons"]
    place = d.indices("AnalysisMuonsAuxDyn.inDetTrackParticleLink.m_persIndex", n, tracks, missing=False)
    key = np.where(place < 0, 0, athena("InDetTrackParticles", 1287425431))
    d.put("AnalysisMuonsAuxDyn.inDetTrackParticleLink.m_persIndex", place.astype("u4"), n)
    d.put("AnalysisMuonsAuxDyn.inDetTrackParticleLink.m_persKey", key.astype("u4"), n)
    n, keys, places = sizes["AnalysisElectrons"], [], []
    for event, mine in enumerate(n):
        for _ in range(mine):
            to = str(d.random.choice(["TruthElectrons", "TruthMuons", "TruthParticles"]))
            size = int(sizes[to][event]) if to in sizes else 1000
            keys.append(athena(to, 1237340765) if size else 0)
            places.append(int(d.random.integers(size)) if size else 2**32 - 1)
    d.put("AnalysisElectronsAuxDyn.TruthLink.m_persIndex", np.array(places, "u4"), n)
    d.put("AnalysisElectronsAuxDyn.TruthLink.m_persKey", np.array(keys, "u4"), n)
    return d.write(path, "CollectionTree")


def pfnano(path, seed):
    d = Drawn(seed)
    d.single("run", "u4")
    jets, cands = d.lengths(), d.lengths(8)
    n = d.lengths(8)
    for name, each in (("Jet", jets), ("PFCands", cands), ("JetPFCands", n)):
        d.branches[f"n{name}"] = each.astype("u4")
    for name, each in (("Jet", jets), ("PFCands", cands)):
        for part in ("pt", "eta", "phi", "mass"):
            d.floats(f"{name}_{part}", each)
    d.indices("JetPFCands_jetIdx", n, jets)
    d.indices("JetPFCands_pFCandsIdx", n, cands)
    d.floats("JetPFCands_pt", n)
    return d.write(path, "Events")


INDICES = {  # of CMS's files: where each leads, and None for two of which nobody knows
    "Muon": {"jetIdx": "Jet", "genPartIdx": "GenPart", "fsrPhotonIdx": "FsrPhoton", "svIdx": "SV"},
    "Electron": {"jetIdx": "Jet", "genPartIdx": "GenPart"},
    "FsrPhoton": {"muonIdx": "Muon"},
    "Jet": {"electronIdx1": "Electron", "electronIdx2": "Electron", "muonIdx1": "Muon", "genJetIdx": "GenJet"},
    "FatJet": {"genJetAK8Idx": "GenJetAK8", "subJetIdx1": "SubJet", "electronIdx3SJ": "Electron", "trackIdx": None},
    "SubJet": {"jetIdx": None},
    "GenPart": {"genPartIdxMother": "GenPart"},
    "FatJetPFCand": {"jetIdx": "FatJet", "pfCandIdx": "PFCand"},
    "SV": {}, "GenJet": {}, "GenJetAK8": {}, "PFCand": {},
}  # fmt: skip


def nanoaod(path, seed):
    d = Drawn(seed)
    d.single("run", "u4")
    sizes = {name: d.lengths() for name in INDICES}
    for name, n in sizes.items():
        d.branches[f"n{name}"] = n.astype("i4")
        d.floats(f"{name}_pt", n)
        for index, to in INDICES[name].items():
            d.indices(f"{name}_{index}", n, sizes[to or "SV"], dtype="i2")
    return d.write(path, "Events")


def delphes(path, seed):
    d = Drawn(seed)
    one = np.ones(d.n, int)
    d.branches["Event_size"] = one.astype("i4")
    d.integers("Event.Number", one, dtype="i8")
    d.branches["MissingET_size"] = one.astype("i4")
    for part in ("MET", "Eta", "Phi"):
        d.floats(f"MissingET.{part}", one)
    for name in ("Jet", "Electron", "Particle"):
        n = d.lengths()
        d.branches[f"{name}_size"] = n.astype("i4")
        d.integers(f"{name}.fUniqueID", n, dtype="u4")
        for part in ("PT", "Eta", "Phi") + (("Mass",) if name != "Electron" else ()):
            d.floats(f"{name}.{part}", n)
    d.indices("Particle.M1", n, n)
    first = d.indices("Particle.D1", n, n)
    last = [f if f < 0 else int(d.random.integers(f, size)) for f, size in zip(first, np.repeat(n, n), strict=True)]
    d.put("Particle.D2", np.array(last, "i4"), n)
    return d.write(path, "Delphes")


def scouting(path, seed):
    d = Drawn(seed)
    d.single("run", "u4")
    d.single("ScoutingMET_pt")
    d.single("ScoutingMET_phi")
    with_mass = bool(d.random.integers(2))
    for name in ("ScoutingPFJet", "ScoutingMuonVtx", "ScoutingElectron", "ScoutingPhoton"):
        n = d.lengths()
        d.branches[f"n{name}"] = n.astype("u4")
        for part in ("pt", "eta", "phi", *(["m"] if with_mass or name != "ScoutingPhoton" else [])):
            d.floats(f"{name}_{part}", n)
        if name in ("ScoutingMuonVtx", "ScoutingElectron"):
            d.integers(f"{name}_charge", n, -1, 2)
    n = d.lengths()
    d.branches["nScoutingPrimaryVertex"] = n.astype("u4")
    for part in ("x", "y", "z"):
        d.floats(f"ScoutingPrimaryVertex_{part}", n)
    n = d.lengths(6)
    d.branches["nGenPart"] = n.astype("u4")
    for part in ("pt", "eta", "phi", "mass"):
        d.floats(f"GenPart_{part}", n)
    d.indices("GenPart_genPartIdxMother", n, n)
    return d.write(path, "Events")


def pdune(path, seed):
    d = Drawn(seed)
    for name in ("run", "event"):
        d.single(name, "i4")
    for name, points in (("reco_beam", ("start", "end", "trackDir")), ("true_beam", ("start", "end"))):
        for point in points:
            for axis in "XYZ":
                d.single(f"{name}_{point}{axis}", "f8")
    d.single("reco_beam_type", "i4")
    d.single("true_beam_PDG", "i4")
    hits = d.lengths(6)
    d.floats("reco_beam_calibrated_dEdX", hits, "f8")
    d.floats("beam_inst_P", d.lengths(2), "f8")
    n = d.lengths()
    for name, points in (("allTrack", ("start", "end")), ("allShower", ("start",))):
        d.integers(f"reco_daughter_{name}_ID", n)
        for point in points:
            for axis in "XYZ":
                d.floats(f"reco_daughter_{name}_{point}{axis}", n, "f8")
    d.floats("reco_daughter_PFP_trackScore", n, "f8")
    n = d.lengths()
    d.integers("true_beam_daughter_PDG", n)
    for axis in "XYZ":
        d.floats(f"true_beam_daughter_start{axis}", n, "f8")
    return d.write(path, "beamana")


DRAWN = (treemaker, edm4hep, fcc, physlite, nanoaod, pfnano, delphes, scouting, pdune)
FORMATS = {each.__name__: each for each in DRAWN}

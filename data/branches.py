"""The branches of the sample: the column list of the CMS outreach file Run2012B_SingleMu, with its TTree's types."""

_P4 = {"pt": "f4", "eta": "f4", "phi": "f4", "mass": "f4", "charge": "i4"}
VERTEX = {"dxy": "f4", "dxyErr": "f4", "dz": "f4", "dzErr": "f4"}
_LINKS = {"jetIdx": "i4", "genPartIdx": "i4"}
TAU_IDS = ("idIsoVLoose", "idIsoLoose", "idIsoMedium", "idIsoTight")
TAU_VETOES = tuple(f"idAnti{what}{level}" for what in ("Ele", "Mu") for level in ("Loose", "Medium", "Tight"))

BRANCHES: dict[str, str | dict[str, str]] = {
    "run": "i4",
    "luminosityBlock": "u4",
    "event": "u8",
    "HLT_IsoMu24_eta2p1": "?",
    "HLT_IsoMu24": "?",
    "HLT_IsoMu17_eta2p1_LooseIsoPFTau20": "?",
    "PV_npvs": "i4",
    "PV_x": "f4",
    "PV_y": "f4",
    "PV_z": "f4",
    "Muon": _P4 | {"pfRelIso03_all": "f4", "pfRelIso04_all": "f4", "tightId": "?", "softId": "?"} | VERTEX | _LINKS,
    "Electron": _P4 | {"pfRelIso03_all": "f4"} | VERTEX | {"cutBasedId": "?", "pfId": "?"} | _LINKS,
    "Tau": _P4
    | {"decayMode": "i4", "relIso_all": "f4"}
    | _LINKS
    | {"idDecayMode": "?", "idIsoRaw": "f4"}
    | dict.fromkeys(TAU_IDS + TAU_VETOES, "?"),
    "Photon": _P4 | {"pfRelIso03_all": "f4"} | _LINKS,
    "MET_pt": "f4",
    "MET_phi": "f4",
    "MET_sumet": "f4",
    "MET_significance": "f4",
    "MET_CovXX": "f4",
    "MET_CovXY": "f4",
    "MET_CovYY": "f4",
    "Jet": {"pt": "f4", "eta": "f4", "phi": "f4", "mass": "f4", "puId": "?", "btag": "f4"},
}

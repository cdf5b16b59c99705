"""The ttbar task of IRIS-HEP's Analysis Grand Challenge (https://github.com/iris-hep/analysis-grand-challenge).

Without its machine learning, with a smearing of jets that can be repeated, and ten more jet energy scales. Momenta,
masses and HT are in GeV, angles in radians.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

import hepgraph as hg

LUMINOSITY = 3378  # 1/pb
CROSS_SECTIONS = {  # pb
    "ttbar": 396.87 + 332.97,
    "single_top_s_chan": 2.0268 + 1.2676,
    "single_top_t_chan": (36.993 + 22.175) / 0.252,
    "single_top_tW": 37.936 + 37.906,
    "wjets": 61457 * 0.252,
}
CUTS = {  # loose ones for small files
    "agc": {"leptons": (1, 1), "lepton_pt": 30, "jet_pt": 30, "btag": 0.5},
    "loose": {"leptons": (0, 1), "lepton_pt": 15, "jet_pt": 16, "btag": 0.1875},
}


def shapes(events: Any, which: str) -> dict[str, Any]:
    """The factors of the pt of all jets, by variation."""
    out: dict[str, Any] = {}
    if which != "none":
        jet = ak.local_index(events.Jet.pt, axis=1)
        a = (ak.values_astype(events.event, np.int64) % 65521 * 31 + jet) * 40503 % 65536
        b = (25173 * a + 13849) % 65536
        c = (25173 * b + 13849) % 65536
        out |= {"pt_scale_up": 1.03, "pt_res_up": (655360 + (a + b + c - 98304)) / 655360}
    if which == "all":
        eta = abs(events.Jet.eta)
        region = sum(ak.values_astype(eta >= edge, np.int64) for edge in (0.75, 1.25, 1.875, 2.5, 3.0))
        for k in range(10):
            shift = 5 + (3 * k + 5 * region) % 16
            out |= {f"JES_{k}_up": (1000 + shift) / 1000, f"JES_{k}_down": (1000 - shift) / 1000}
    return out


def trijet_mass(jets: Any, btag: float) -> Any:
    """The mass of the three jets, at least one of them tagged, that have the highest pt together."""
    a, b, c = ak.unzip(ak.combinations(jets, 3))
    tagged = np.maximum(np.maximum(a.btagCSVV2, b.btagCSVV2), c.btagCSVV2) > btag
    top = (a + b + c)[tagged]
    return top[ak.argmax(top.pt, axis=1, keepdims=True)].mass


class Ttbar(hg.Processor):
    """HT where one jet is tagged, the mass of the top quark where two are or more, with their variations.

    `which` is "none", "agc" (2 shapes, 8 weights), or "all" (22 shapes); `cuts` is "agc" or "loose". The metadata of a
    dataset has the number of its `events`, and its name is that of a process.
    """

    leading = 4  # jets whose b-tagging has a weight each

    def __init__(self, which: str = "agc", cuts: str = "agc") -> None:
        self.which, self.cuts = which, CUTS[cuts]

    def process(self, events: Any) -> Any:
        cuts, dataset = self.cuts, events.metadata["dataset"]
        for name in ("pt", "eta", "phi", "mass", "btagCSVV2"):
            events["Jet", name] = ak.values_astype(events.Jet[name], np.float64)
        if factors := shapes(events, self.which):
            pt = events.Jet.pt
            events["Jet"] = hg.vary(events.Jet, {name: {"pt": pt * factor} for name, factor in factors.items()})

        e, mu, jets = events.Electron, events.Muon, events.Jet
        e = e[(e.pt > cuts["lepton_pt"]) & (abs(e.eta) < 2.1) & (e.cutBased == 4) & (e.sip3d < 4)]
        good = mu.tightId & (mu.sip3d < 4) & (mu.pfRelIso04_all < 0.15)
        mu = mu[good & (mu.pt > cuts["lepton_pt"]) & (abs(mu.eta) < 2.1)]
        leptons = ak.num(e) + ak.num(mu)
        jets = jets[(jets.pt > cuts["jet_pt"]) & (abs(jets.eta) < 2.4) & (jets.jetId & 4 != 0)]
        tagged = ak.sum(jets.btagCSVV2 > cuts["btag"], axis=1)
        selection = hg.Selection(events)
        selection.add("leptons", (leptons >= cuts["leptons"][0]) & (leptons <= cuts["leptons"][1]))
        selection.add("four jets", ak.num(jets) >= 4)
        selection.add_multiple({"4j1b": tagged == 1, "4j2b": tagged >= 2})

        hists = {}
        for region in ("4j1b", "4j2b"):
            here = selection.all("leptons", "four jets", region)
            there = jets[here]
            weights = hg.Weights(events[here])
            weights.add("process", CROSS_SECTIONS[dataset] * LUMINOSITY / events.metadata["events"])
            for i in range(self.leading) if self.which != "none" else ():
                shift = there.pt[:, i] * 0.075 / 50
                weights.add(f"btag_var_{i}", 1.0, up=1 + shift, down=1 - shift)
            if self.which != "none" and dataset == "wjets":
                weights.add("scale_var", 1.0, up=1.025, down=0.975)
            observable = ak.sum(there.pt, axis=1) if region == "4j1b" else trijet_mass(there, cuts["btag"])
            h = hg.Hist.new.Reg(25, 50, 550, name="observable", label="HT or trijet mass [GeV]")
            hists[region] = h.StrCat([], growth=True, name="variation").Weight().fill(observable, weight=weights)
        return hists

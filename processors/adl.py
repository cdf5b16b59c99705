"""The eight ADL benchmark queries (https://github.com/iris-hep/adl-benchmarks-index), one Processor each.

Masses, momenta and missing transverse energy are in GeV, angles in radians. Each gives a dict of histograms.
"""

from __future__ import annotations

import copy
from typing import Any

import awkward as ak
import numpy as np

import hepgraph as hg


def histogram(bins: int, low: float, high: float, name: str, label: str) -> Any:
    """An empty histogram of `bins` equal bins from `low` to `high`."""
    return hg.Hist.new.Reg(bins, low, high, name=name, label=label).Double()


# what the versions of NanoAOD call it, that of the published queries first
MET = ("MET", "PFMET", "PuppiMET")
BTAG = (
    "btag",
    "btagDeepFlavB",
    "btagPNetB",
    "btagUParTAK4B",
    "btagRobustParTAK4B",
    "btagDeepB",
    "btagCSVV2",
    "btagCMVA",
)
WIDE = (100, 0, 250, "pt", "Trijet $p_T$ [GeV]")  # for Query6: two thirds of the entries lie above the published axis


def named(record: Any, names: tuple[str, ...]) -> Any:
    """The first of these fields that there is.

    Raises FieldError, which names all of them, where there is none.
    """
    for name in names:
        if name in record.fields:
            return record[name]
    try:
        return getattr(record, names[0])
    except hg.errors.FieldError as error:
        error.add_note(f"Other versions of NanoAOD call it {', '.join(names[1:])}; none of these is there.")
        raise


class Query1(hg.Processor):
    """Plot the missing transverse energy of all events."""

    met = (100, 0, 200, "met", "Missing $E_T$ [GeV]")

    def process(self, events: Any) -> Any:
        return {"q1": histogram(*self.met).fill(named(events, MET).pt)}


class Query2(hg.Processor):
    """Plot the transverse momentum of all jets."""

    pt = (100, 15, 60, "pt", "Jet $p_T$ [GeV]")

    def process(self, events: Any) -> Any:
        return {"q2": histogram(*self.pt).fill(events.Jet.pt)}


class Query3(Query2):
    """Plot the transverse momentum of jets with |eta| < 1."""

    def process(self, events: Any) -> Any:
        central = events.Jet[abs(events.Jet.eta) < 1]
        return {"q3": histogram(*self.pt).fill(central.pt)}


class Query4(Query1):
    """Plot the missing transverse energy of events that have at least two jets with pt > 40 GeV."""

    def process(self, events: Any) -> Any:
        hard = events.Jet[events.Jet.pt > 40]
        chosen = events[ak.num(hard) >= 2]
        return {"q4": histogram(*self.met).fill(named(chosen, MET).pt)}


class Query5(Query1):
    """Plot the missing transverse energy of events with an opposite-charge muon pair of mass 60 to 120 GeV."""

    def process(self, events: Any) -> Any:
        pair = ak.combinations(events.Muon, 2, fields=["a", "b"])
        mass = (pair.a + pair.b).mass
        good = (pair.a.charge != pair.b.charge) & (mass > 60) & (mass < 120)
        return {"q5": histogram(*self.met).fill(named(events, MET).pt[ak.any(good, axis=1)])}


class Query6(hg.Processor):
    """For the three-jet system with mass closest to 172.5 GeV, plot its transverse momentum and its highest b-tag."""

    pt = (100, 15, 40, "pt", "Trijet $p_T$ [GeV]")
    btag = (100, 0, 1, "btag", "Highest b-tag of the trijet")

    def process(self, events: Any) -> Any:
        jets = ak.combinations(events.Jet, 3, fields=["a", "b", "c"])
        top = jets.a + jets.b + jets.c
        best = ak.argmin(abs(top.mass - 172.5), axis=1, keepdims=True)
        a, b, c = (named(jet, BTAG) for jet in (jets.a, jets.b, jets.c))
        btag = np.maximum(np.maximum(a, b), c)
        return {
            "q6a": histogram(*self.pt).fill(top[best].pt),
            "q6b": histogram(*self.btag).fill(btag[best]),
        }


class Query7(hg.Processor):
    """Plot the summed transverse momentum of jets with pt > 30 GeV and no lepton with pt > 10 GeV within 0.4."""

    ht = (100, 15, 200, "ht", "Sum of jet $p_T$ [GeV]")

    def process(self, events: Any) -> Any:
        jets = events.Jet[events.Jet.pt > 30]
        for leptons in (events.Muon, events.Electron):
            near = jets.metric_table(leptons[leptons.pt > 10]) < 0.4
            jets = jets[~ak.any(near, axis=2)]
        return {"q7": histogram(*self.ht).fill(ak.sum(jets.pt, axis=1)[ak.num(jets) > 0])}


class Query8(hg.Processor):
    """In events with three leptons, plot the transverse mass of the missing energy and the hardest lepton not in the
    same-flavour opposite-charge pair closest to the Z mass."""

    mt = (100, 15, 250, "mt", "Lepton-MET transverse mass [GeV]")

    def process(self, events: Any) -> Any:
        events["Electron", "pdgId"] = -11 * events.Electron.charge
        events["Muon", "pdgId"] = -13 * events.Muon.charge
        events["leptons"] = ak.concatenate([events.Electron, events.Muon], axis=1)
        events = events[ak.num(events.leptons) >= 3]

        pair = ak.argcombinations(events.leptons, 2, fields=["l1", "l2"])
        pair = pair[events.leptons[pair.l1].pdgId == -events.leptons[pair.l2].pdgId]
        mass = (events.leptons[pair.l1] + events.leptons[pair.l2]).mass
        pair = pair[ak.singletons(ak.argmin(abs(mass - 91.2), axis=1))]
        events = events[ak.num(pair) > 0]
        pair = pair[ak.num(pair) > 0][:, 0]

        other = ak.local_index(events.leptons)
        other = other[(other != pair.l1) & (other != pair.l2)]
        third = events.leptons[other[ak.argmax(events.leptons[other].pt, axis=1, keepdims=True)]][:, 0]
        met = named(events, MET)
        mt = np.sqrt(2 * third.pt * met.pt * (1 - np.cos(met.delta_phi(third))))
        return {"q8": histogram(*self.mt).fill(mt)}


QUERIES: tuple[type[hg.Processor], ...] = (Query1, Query2, Query3, Query4, Query5, Query6, Query7, Query8)


class AllQueries(hg.Processor):
    """All eight queries in one pass over the data."""

    def process(self, events: Any) -> Any:
        out: dict[str, Any] = {}
        for query in QUERIES:
            out.update(query().process(copy.copy(events)))
        return out

"""The committed sample of made-up collisions: data/sample.root and data/sample.parquet, the same events in both.

    python data/make_sample.py [--out DIR] [--events N]

The events look like CMS single-muon data of 2012 in a NanoAOD-like layout of 86 branches, but no event was ever
recorded: they are drawn from a fixed seed by two-body kinematics and a few lines of detector. Events come in batches of
2500 (a period of data taking each, one basket in ROOT and one row group in Parquet), and each batch has a seed of its
own, so a smaller N gives the first N of the same events. Needs numpy, awkward, uproot and pyarrow. Units: GeV, cm, rad.

The order of the file: the branches, drawing and kinematics, the processes, the detector, the files.
"""

import argparse
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

SEED = 20120516
EVENTS = 7500
BATCH = 2500
MAX_EVENTS = 100_000  # event numbers are unique up to here

Array = np.ndarray
Random = np.random.RandomState  # NEP 19 freezes its streams; those of Generator may change with NumPy's version

# --- The branches: the column list of the CMS outreach file Run2012B_SingleMu, with the types of its TTree. -----------

_P4 = {"pt": "f4", "eta": "f4", "phi": "f4", "mass": "f4", "charge": "i4"}
_VERTEX = {"dxy": "f4", "dxyErr": "f4", "dz": "f4", "dzErr": "f4"}
_LINKS = {"jetIdx": "i4", "genPartIdx": "i4"}
_TAU_IDS = ("idIsoVLoose", "idIsoLoose", "idIsoMedium", "idIsoTight")
_TAU_VETOES = tuple(f"idAnti{what}{level}" for what in ("Ele", "Mu") for level in ("Loose", "Medium", "Tight"))

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
    "Muon": _P4
    | {"pfRelIso03_all": "f4", "pfRelIso04_all": "f4", "tightId": "?", "softId": "?"}
    | _VERTEX
    | _LINKS,
    "Electron": _P4 | {"pfRelIso03_all": "f4"} | _VERTEX | {"cutBasedId": "?", "pfId": "?"} | _LINKS,
    "Tau": _P4
    | {"decayMode": "i4", "relIso_all": "f4"}
    | _LINKS
    | {"idDecayMode": "?", "idIsoRaw": "f4"}
    | dict.fromkeys(_TAU_IDS + _TAU_VETOES, "?"),
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

RUNS = (
    *(193834, 194050, 194076, 194115, 194223, 194315, 194428, 194480, 194533, 194644, 194711, 194912),
    *(195016, 195099, 195147, 195265, 195304, 195397, 195530, 195552, 195633, 195655, 195774, 195915),
    *(195950, 196027, 196090, 196197, 196218, 196239, 196364, 196453),
)

M_W, W_W = 80.385, 2.085
M_Z, W_Z = 91.1876, 2.4952
M_TOP, W_TOP = 172.5, 1.4
M_MU, M_B = 0.10565837, 4.8
MISSING = -999.0  # a quantity that reconstruction could not compute

# --- Drawing and kinematics. A four-momentum is an array whose last axis is (E, px, py, pz). --------------------------


def four(pt: Array, eta: Array, phi: Array, mass: Array | float) -> Array:
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([np.sqrt(px**2 + py**2 + pz**2 + mass**2), px, py, pz], axis=-1)


def with_rapidity(px: Array, py: Array, rapidity: Array, mass: Array) -> Array:
    transverse = np.sqrt(px**2 + py**2 + mass**2)
    return np.stack([transverse * np.cosh(rapidity), px, py, transverse * np.sinh(rapidity)], axis=-1)


def pt_of(p: Array) -> Array:
    return np.hypot(p[..., 1], p[..., 2])


def phi_of(p: Array) -> Array:
    return np.arctan2(p[..., 2], p[..., 1])


def eta_of(p: Array) -> Array:
    return np.arcsinh(p[..., 3] / np.maximum(pt_of(p), 1e-9))


def mass_of(p: Array) -> Array:
    return np.sqrt(np.maximum(p[..., 0] ** 2 - (p[..., 1:] ** 2).sum(axis=-1), 0))


def distance(eta1: Array, phi1: Array, eta2: Array, phi2: Array) -> Array:
    return np.hypot(eta1 - eta2, (phi1 - phi2 + np.pi) % (2 * np.pi) - np.pi)


def boost(p: Array, frame: Array) -> Array:
    """`p`, given in the rest frame of `frame`, as seen in the laboratory."""
    mass = mass_of(frame)
    along = (p[:, 1:] * frame[:, 1:]).sum(axis=1)
    energy = (p[:, 0] * frame[:, 0] + along) / mass
    momentum = p[:, 1:] + frame[:, 1:] * ((p[:, 0] + energy) / (frame[:, 0] + mass))[:, None]
    return np.concatenate([energy[:, None], momentum], axis=1)


def decay(rng: Random, parent: Array, mass1: Array | float = 0.0, mass2: Array | float = 0.0) -> tuple[Array, Array]:
    """The two daughters of an isotropic decay of `parent`."""
    mass, n = mass_of(parent), len(parent)
    cosine, phi = rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)
    energy1 = (mass**2 + mass1**2 - mass2**2) / (2 * mass)
    size = np.sqrt(np.maximum(energy1**2 - mass1**2, 0))
    sine = np.sqrt(1 - cosine**2)
    unit = np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)
    first = np.concatenate([energy1[:, None], size[:, None] * unit], axis=1)
    second = np.concatenate([(mass - energy1)[:, None], -size[:, None] * unit], axis=1)
    return boost(first, parent), boost(second, parent)


def breit_wigner(rng: Random, n: int, peak: float, width: float, reach: float) -> Array:
    """Masses around `peak`, cut off at `reach` on both sides."""
    edge = np.arctan(2 * reach / width)
    return peak + width / 2 * np.tan(rng.uniform(-edge, edge, n))


def power_law(rng: Random, size: tuple[int, ...], low: float, slope: float, high: float = 600.0) -> Array:
    """Values from `low` to `high` with a density like x^-(slope + 1)."""
    return low * rng.uniform((low / high) ** slope, 1, size) ** (-1 / slope)


def signs(rng: Random, size: int | tuple[int, ...], plus: float = 0.5) -> Array:
    return np.where(rng.uniform(size=size) < plus, 1, -1)


# --- The processes: each gives the particles of n events, before the detector. ----------------------------------------

NONE, MUON, ELECTRON, PHOTON, NEUTRINO, LIGHT, CHARM, BOTTOM = range(8)


class Particles(NamedTuple):
    """Particles of n events: arrays of shape (n, slots), and (n, slots, 4) for the four-momenta."""

    kind: Array
    charge: Array
    p4: Array

    def push(self) -> tuple[Array, Array]:
        """The transverse momentum that balances these particles."""
        return -self.p4[..., 1].sum(axis=1), -self.p4[..., 2].sum(axis=1)


def particle(kind: Array | int, p4: Array, charge: Array | int = 0) -> Particles:
    n = len(p4)
    return Particles(np.broadcast_to(kind, n)[:, None], np.broadcast_to(charge, n)[:, None], p4[:, None])


def together(*parts: Particles) -> Particles:
    return Particles(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))


def radiation(rng: Random, n: int, mean: float) -> Particles:
    """Jets (and now and then a photon) radiated by the incoming partons."""
    slots = 7
    alive = np.arange(slots) < rng.poisson(mean, n)[:, None]
    pt = power_law(rng, (n, slots), 14.0, 1.7)
    eta = rng.normal(0, 1.9, (n, slots))
    eta = np.where(np.abs(eta) < 4.4, eta, eta / 2.5)
    dice = rng.uniform(size=(n, slots))
    kind = np.select([dice < 0.04, dice < 0.12, dice < 0.17], [BOTTOM, CHARM, PHOTON], LIGHT)
    p4 = four(pt, eta, rng.uniform(-np.pi, np.pi, (n, slots)), 0.0) * alive[..., None]
    return Particles(np.where(alive, kind, NONE), np.zeros((n, slots), int), p4)


def boson(rng: Random, mass: Array, recoil: Particles, spread: float = 1.5) -> Array:
    """A boson that balances `recoil`, with the few GeV of its own that soft radiation gives."""
    n = len(mass)
    kick, phi = rng.gamma(1.6, 4.5, n), rng.uniform(-np.pi, np.pi, n)
    px, py = recoil.push()
    return with_rapidity(px + kick * np.cos(phi), py + kick * np.sin(phi), rng.normal(0, spread, n), mass)


def w_jets(rng: Random, n: int) -> Particles:
    jets = radiation(rng, n, 1.6)
    lepton, neutrino = decay(rng, boson(rng, breit_wigner(rng, n, M_W, W_W, 30), jets), M_MU)
    return together(particle(MUON, lepton, signs(rng, n, 0.57)), particle(NEUTRINO, neutrino), jets)


def drell_yan(rng: Random, n: int) -> Particles:
    jets = radiation(rng, n, 1.6)
    continuum = power_law(rng, (n,), 12.0, 1.6, 300.0)
    mass = np.where(rng.uniform(size=n) < 0.93, breit_wigner(rng, n, M_Z, W_Z, 35), continuum)
    minus, plus = decay(rng, boson(rng, mass, jets), M_MU, M_MU)
    return together(particle(MUON, minus, -1), particle(MUON, plus, +1), jets)


def z_electrons(rng: Random, n: int) -> Particles:
    """Z to electrons, in this data because of a muon from a heavy-flavour jet or a second boson."""
    jets = radiation(rng, n, 2.0)
    minus, plus = decay(rng, boson(rng, breit_wigner(rng, n, M_Z, W_Z, 35), jets))
    return together(particle(ELECTRON, minus, -1), particle(ELECTRON, plus, +1), jets, _w_to_muon(rng, n))


def w_z(rng: Random, n: int) -> Particles:
    jets = radiation(rng, n, 1.2)
    pair = _w_to_muon(rng, n)
    total = together(jets, pair)
    minus, plus = decay(rng, boson(rng, breit_wigner(rng, n, M_Z, W_Z, 35), total), M_MU, M_MU)
    return together(particle(MUON, minus, -1), particle(MUON, plus, +1), total)


def _w_to_muon(rng: Random, n: int) -> Particles:
    pt, phi = rng.gamma(2.0, 25.0, n), rng.uniform(-np.pi, np.pi, n)
    mass = breit_wigner(rng, n, M_W, W_W, 30)
    parent = with_rapidity(pt * np.cos(phi), pt * np.sin(phi), rng.normal(0, 1.2, n), mass)
    lepton, neutrino = decay(rng, parent, M_MU)
    return together(particle(MUON, lepton, signs(rng, n, 0.57)), particle(NEUTRINO, neutrino))


def top_pairs(rng: Random, n: int) -> Particles:
    """t tbar, one W to muon and neutrino, the other to two quarks (half of them with a charm quark)."""
    jets = radiation(rng, n, 1.0)
    pt, phi, rapidity = rng.gamma(2.2, 55.0, n), rng.uniform(-np.pi, np.pi, n), rng.normal(0, 0.9, n)
    x, y = jets.push()
    px, py = pt * np.cos(phi), pt * np.sin(phi)
    leptonic = with_rapidity(px, py, rapidity, breit_wigner(rng, n, M_TOP, W_TOP, 15))
    hadronic = with_rapidity(x - px, y - py, rapidity + rng.normal(0, 0.9, n), breit_wigner(rng, n, M_TOP, W_TOP, 15))
    bottom1, w1 = decay(rng, leptonic, M_B, breit_wigner(rng, n, M_W, W_W, 20))
    bottom2, w2 = decay(rng, hadronic, M_B, breit_wigner(rng, n, M_W, W_W, 20))
    lepton, neutrino = decay(rng, w1, M_MU)
    quark1, quark2 = decay(rng, w2)
    return together(
        particle(MUON, lepton, signs(rng, n)),
        particle(NEUTRINO, neutrino),
        particle(BOTTOM, bottom1),
        particle(BOTTOM, bottom2),
        particle(np.where(rng.uniform(size=n) < 0.5, CHARM, LIGHT), quark1),
        particle(LIGHT, quark2),
        jets,
    )


def heavy_flavour(rng: Random, n: int) -> Particles:
    """Two back-to-back b or c jets; their muons are made with those of every other jet, in `jet_muons`."""
    jets = radiation(rng, n, 0.8)
    pt, phi, eta = power_law(rng, (n,), 25.0, 2.6), rng.uniform(-np.pi, np.pi, n), rng.normal(0, 1.2, n)
    kind = np.where(rng.uniform(size=n) < 0.7, BOTTOM, CHARM)
    x, y = jets.push()
    first = four(pt, eta, phi, 0.0)
    px, py = x - first[:, 1], y - first[:, 2]
    second = with_rapidity(px, py, eta + rng.normal(0, 1.0, n), np.zeros(n))
    return together(particle(kind, first), particle(kind, second), jets)


def quarkonia(rng: Random, n: int) -> Particles:
    """J/psi and Upsilon(1S) to muons."""
    jets = radiation(rng, n, 1.3)
    mass = np.where(rng.uniform(size=n) < 0.65, 3.0969, 9.4603)
    pt, phi = power_law(rng, (n,), 15.0, 2.5), rng.uniform(-np.pi, np.pi, n)
    parent = with_rapidity(pt * np.cos(phi), pt * np.sin(phi), rng.normal(0, 1.2, n), mass)
    minus, plus = decay(rng, parent, M_MU, M_MU)
    return together(particle(MUON, minus, -1), particle(MUON, plus, +1), jets)


# Parts of a batch, after the trigger.
PROCESSES: dict[Callable[[Random, int], Particles], float] = {
    w_jets: 0.32,
    drell_yan: 0.26,
    top_pairs: 0.22,
    heavy_flavour: 0.13,
    w_z: 0.03,
    z_electrons: 0.02,
    quarkonia: 0.02,
}

# --- The detector: particles in, the columns of reconstructed objects out. --------------------------------------------

Columns = dict[str, Array]  # of shape (n, slots); "alive" tells which slots are filled


def resolution(rng: Random, p4: Array, relative: Array | float) -> Array:
    return p4 * np.maximum(1 + relative * rng.normal(size=p4.shape[:-1]), 0.2)[..., None]


def jet_muons(rng: Random, event: Particles) -> tuple[Columns, Array, Array]:
    """Muons of b and c decays inside jets, the jets without muon and neutrino, and the neutrinos' (x, y) sum."""
    chance = np.select([event.kind == BOTTOM, event.kind == CHARM], [0.20, 0.09], 0.0)
    alive = rng.uniform(size=chance.shape) < chance
    share = rng.beta(1.8, 3.0, chance.shape)
    lost = rng.beta(1.5, 6.0, chance.shape) * (1 - share)
    pt = np.where(alive, pt_of(event.p4) * share, 0)
    angle = np.minimum(rng.rayleigh(0.9, chance.shape) / np.maximum(pt, 1.0), 0.35)
    around = rng.uniform(-np.pi, np.pi, chance.shape)
    muons = {
        "pt": pt,
        "eta": eta_of(event.p4) + angle * np.cos(around),
        "phi": phi_of(event.p4) + angle * np.sin(around),
        "charge": signs(rng, chance.shape),
        "iso": (1 - share - lost) / np.maximum(share, 0.02) * rng.uniform(0.3, 1.0, chance.shape),
        "prompt": np.zeros(chance.shape, int),
        "alive": alive & (pt > 3),
    }
    neutrinos = (event.p4[..., 1:3] * np.where(alive, lost, 0)[..., None]).sum(axis=1)
    return muons, event.p4 * np.where(alive, 1 - lost, 1)[..., None], neutrinos


def make_muons(rng: Random, event: Particles, inside: Columns) -> Columns:
    n, slots = event.kind.shape
    p4 = resolution(rng, event.p4, 0.013)
    prompt = {
        "pt": pt_of(p4),
        "eta": eta_of(p4),
        "phi": phi_of(p4),
        "charge": event.charge,
        "iso": np.where(rng.uniform(size=(n, slots)) < 0.35, 0, rng.exponential(0.07, (n, slots))),
        "prompt": np.ones((n, slots), int),
        "alive": (event.kind == MUON) & (rng.uniform(size=(n, slots)) < 0.97),
    }
    extra = 2  # what punches through or is matched by accident: soft, forward, without a good track
    fake = {
        "pt": 3 + rng.exponential(2.5, (n, extra)),
        "eta": signs(rng, (n, extra)) * rng.triangular(0.8, 2.4, 2.4, (n, extra)),
        "phi": rng.uniform(-np.pi, np.pi, (n, extra)),
        "charge": signs(rng, (n, extra)),
        "iso": rng.exponential(2.0, (n, extra)),
        "prompt": np.full((n, extra), -1),
        "alive": rng.uniform(size=(n, extra)) < 0.09,
    }
    out = join(prompt, inside, fake)
    shape = out["pt"].shape
    out["alive"] &= (np.abs(out["eta"]) < 2.4) & (out["pt"] > 3)
    is_prompt, is_fake = out["prompt"] == 1, out["prompt"] == -1
    dice = rng.uniform(size=shape)
    out["tightId"] = np.select([is_prompt, is_fake], [dice < 0.96, dice < 0.02], dice < 0.7)
    out["softId"] = np.select([is_prompt, is_fake], [dice < 0.98, dice < 0.10], dice < 0.9)
    out |= vertex(rng, shape, 0.0014 * (1 + 6 / np.maximum(out["pt"], 3)), np.where(is_prompt, 0.0, 0.02))
    trackless = is_fake & (rng.uniform(size=shape) < 0.8)
    isolation = np.where(trackless, MISSING, out.pop("iso"))
    out["pfRelIso03_all"] = isolation
    out["pfRelIso04_all"] = np.where(trackless, MISSING, isolation * 1.15 + rng.exponential(0.03, shape))
    for name in _VERTEX:
        out[name] = np.where(trackless, MISSING, out[name])
    out["mass"] = np.full(shape, M_MU)
    return out


def vertex(rng: Random, shape: tuple[int, ...], error: Array, flight: Array | float) -> Columns:
    """Impact parameters and their errors, for tracks that come from `flight` cm beside the primary vertex."""
    dxy_error = error * np.exp(rng.normal(0, 0.35, shape))
    dz_error = 2.4 * error * np.exp(rng.normal(0, 0.4, shape))
    return {
        "dxy": rng.normal(size=shape) * np.hypot(1.4 * dxy_error, flight),
        "dxyErr": dxy_error,
        "dz": rng.normal(size=shape) * np.hypot(1.4 * dz_error, 2 * flight),
        "dzErr": dz_error,
    }


def make_jets(rng: Random, event: Particles, p4: Array, bottoms: Array) -> tuple[Columns, Array]:
    """Jets, and the (x, y) sum of what their resolution adds: electrons and photons are jets too, muons are not."""
    n, _ = event.kind.shape
    hadronic = event.kind >= LIGHT
    kind = np.where(hadronic | (event.kind == ELECTRON) | (event.kind == PHOTON), event.kind, NONE)
    pt = np.maximum(pt_of(p4), 1e-3)
    measured = resolution(rng, p4, np.where(hadronic, np.sqrt(0.6 / np.maximum(pt, 10) + 0.05**2), 0.03))
    noise = ((measured - p4) * (kind != NONE)[..., None])[..., 1:3].sum(axis=1)
    pileup = 2
    soft = four(
        power_law(rng, (n, pileup), 14.0, 5.0),
        np.clip(rng.normal(0, 2.6, (n, pileup)), -4.5, 4.5),
        rng.uniform(-np.pi, np.pi, (n, pileup)),
        0.0,
    )
    kind = np.concatenate([kind, np.where(rng.uniform(size=(n, pileup)) < 0.18, LIGHT, NONE)], axis=1)
    measured = np.concatenate([measured, soft], axis=1)
    of_pileup = np.arange(kind.shape[1]) >= kind.shape[1] - pileup
    measured, kind = merge(measured, kind)

    shape, energy, eta = kind.shape, measured[..., 0], eta_of(measured)
    momentum = np.maximum(pt_of(measured), 1e-3)
    hadronic = kind >= LIGHT
    mass = 0.26 * momentum**0.9 * np.exp(rng.normal(0, 0.35, shape)) * np.where(hadronic, 1, 0.3)
    mass = np.maximum(np.minimum(mass, 0.35 * energy), mass_of(measured))
    # The calorimeter measures the energy: a jet of some mass has that much less momentum.
    momentum *= np.sqrt(np.maximum(energy**2 - mass**2, 0)) / np.maximum(energy, 1e-3)
    score = np.select(
        [kind == BOTTOM, kind == CHARM],
        [rng.beta(2.2, 0.45, shape), rng.beta(1.1, 1.5, shape)],
        rng.beta(1.6, 6.0, shape),
    )
    dice = rng.uniform(size=shape)
    score = np.where(dice < np.where(kind == BOTTOM, 0.02, 0.12), -1.0, score)
    score = np.where(dice > np.where(np.abs(eta) > 2.4, 0.12, 0.998), -10.0, score)
    jets = {
        "pt": momentum,
        "eta": eta,
        "phi": phi_of(measured),
        "mass": mass,
        "puId": rng.uniform(size=shape) > np.where(of_pileup, 0.15, 0.002),
        "btag": score,
        "kind": kind,
        "alive": (kind != NONE) & (momentum > 15) & (np.abs(eta) < 4.5),
    }
    return jets, noise


def merge(p4: Array, kind: Array) -> tuple[Array, Array]:
    """Jets nearer than 0.4 become one, as heavy as its heaviest flavour."""
    p4, kind = p4.copy(), kind.copy()
    slots = kind.shape[1]
    for j in range(1, slots):
        for i in range(j):
            near = distance(eta_of(p4[:, i]), phi_of(p4[:, i]), eta_of(p4[:, j]), phi_of(p4[:, j])) < 0.4
            near &= (kind[:, i] != NONE) & (kind[:, j] != NONE)
            p4[near, i] += p4[near, j]
            kind[near, i] = np.maximum(kind[near, i], kind[near, j])
            kind[near, j] = NONE
    return p4, kind


def make_electrons(rng: Random, event: Particles, jets: Columns) -> Columns:
    shape = event.kind.shape
    p4 = resolution(rng, event.p4, 0.02)
    real = {
        "pt": pt_of(p4),
        "eta": eta_of(p4),
        "phi": phi_of(p4),
        "charge": event.charge * signs(rng, shape, 0.99),
        "iso": rng.exponential(0.12, shape),
        "prompt": np.ones(shape, int),
        "alive": (event.kind == ELECTRON) & (rng.uniform(size=shape) < 0.92),
    }
    share = rng.beta(1.2, 2.5, jets["pt"].shape)
    fake = {
        "pt": jets["pt"] * share,
        "eta": jets["eta"] + rng.normal(0, 0.05, share.shape),
        "phi": jets["phi"] + rng.normal(0, 0.05, share.shape),
        "charge": signs(rng, share.shape),
        "iso": (1 - share) / share,
        "prompt": np.zeros(share.shape, int),
        "alive": jets["alive"] & (jets["kind"] >= LIGHT) & (rng.uniform(size=share.shape) < 0.09),
    }
    out = join(real, fake)
    shape = out["pt"].shape
    out["alive"] &= (out["pt"] > 5) & (np.abs(out["eta"]) < 2.5)
    good = out["prompt"] == 1
    out["pfId"] = rng.uniform(size=shape) < np.where(good, 0.93, 0.30)
    out["cutBasedId"] = rng.uniform(size=shape) < 0.99
    out["pfRelIso03_all"] = np.where(out["pfId"], out.pop("iso"), MISSING)
    out |= vertex(rng, shape, np.where(good, 0.003, 0.008), np.where(good, 0.0, 0.03))
    lost = rng.uniform(size=shape) < 0.01
    for name in ("dxy", "dxyErr"):
        out[name] = np.where(lost, MISSING, out[name])
    out["mass"] = rng.standard_t(4, shape) * 0.006
    return out


def make_photons(rng: Random, event: Particles, jets: Columns) -> Columns:
    """Radiated photons, and the neutral pions of jets."""
    shape = event.kind.shape
    p4 = resolution(rng, event.p4, 0.02)
    real = {
        "pt": pt_of(p4),
        "eta": eta_of(p4),
        "phi": phi_of(p4),
        "pfRelIso03_all": rng.exponential(0.1, shape),
        "alive": (event.kind == PHOTON) & (rng.uniform(size=shape) < 0.85),
    }
    share = rng.beta(2.0, 2.5, jets["pt"].shape)
    fake = {
        "pt": jets["pt"] * share,
        "eta": jets["eta"] + rng.normal(0, 0.05, share.shape),
        "phi": jets["phi"] + rng.normal(0, 0.05, share.shape),
        "pfRelIso03_all": (1 - share) / share * rng.uniform(size=share.shape),
        "alive": jets["alive"] & (rng.uniform(size=share.shape) < 0.2),
    }
    out = join(real, fake)
    out["alive"] &= (out["pt"] > 10) & (np.abs(out["eta"]) < 2.7)
    out["mass"] = rng.standard_t(4, out["pt"].shape) * 8e-7
    out["charge"] = np.zeros(out["pt"].shape)
    return out


def make_taus(rng: Random, jets: Columns, muons: Columns, electrons: Columns) -> Columns:
    """Hadronic tau candidates: as in real data, nearly all are jets and muons."""
    sources = []
    for code, source, chance in ((0, jets, 0.6), (1, muons, 0.98), (2, electrons, 0.2)):
        columns = {name: source[name] for name in ("pt", "eta", "phi", "mass")}
        sources.append(
            columns
            | {
                "charge": source.get("charge", signs(rng, source["pt"].shape)),
                "source": np.full(source["pt"].shape, code),
                "alive": source["alive"] & (rng.uniform(size=source["pt"].shape) < chance),
            }
        )
    out = join(*sources)
    shape = out["pt"].shape
    of_jet, of_muon = out["source"] == 0, out["source"] == 1
    out["pt"] = out["pt"] * np.where(of_jet, rng.uniform(0.75, 1.02, shape), 1.0)
    for name in ("eta", "phi"):
        out[name] = out[name] + rng.normal(0, np.where(of_jet, 0.02, 0.002), shape)
    out["alive"] &= (out["pt"] > 15) & ~(of_muon & (muon_share(out, muons) > 0.3))
    dice = rng.uniform(size=shape)
    mode = np.select([dice < 0.52, dice < 0.68, dice < 0.84, dice < 0.88], [-1, 0, 1, 2], 10)
    mode = np.where(of_jet, mode, np.where(dice < 0.98, 0, 1))
    known = mode >= 0
    pronged = np.select([mode == 0, mode == 10], [0.13957, rng.uniform(0.8, 1.5, shape)], rng.uniform(0.4, 1.3, shape))
    out["mass"] = np.select([of_muon, known], [np.full(shape, 0.1057), pronged], out["mass"])
    out["charge"] = np.where(known, out["charge"], 0)
    out["decayMode"] = mode
    raw = rng.exponential(np.where(of_jet, 14.0, 0.5), shape)
    raw = np.where(known & (dice > 0.05), raw, 0)
    # 0/0 where no decay mode was found, as in the real files; a few were never computed.
    out["relIso_all"] = np.where(known, raw / np.maximum(out["pt"], 15), np.nan)
    out["relIso_all"] = np.where(known & (rng.uniform(size=shape) < 0.01), MISSING, out["relIso_all"])
    out["idDecayMode"] = known & (rng.uniform(size=shape) < 0.93)
    out["idIsoRaw"] = raw
    for name, limit in zip(_TAU_IDS, (4.0, 2.0, 1.0, 0.8), strict=True):
        out[name] = known & (raw < limit)
    electron, muon = rng.uniform(size=shape), rng.uniform(size=shape)
    for name, chance in zip(_TAU_VETOES, (0.95, 0.87, 0.45, 0.995, 0.985, 0.98), strict=True):
        out[name] = known & (muon < chance) & ~(of_muon & (muon > 0.05)) if "Mu" in name else known & (electron < chance)
    return out


def muon_share(taus: Columns, muons: Columns) -> Array:
    """The isolation of the muon that a tau candidate was made of, else 0: a muon in a jet gives no candidate."""
    share = np.zeros(taus["pt"].shape)
    share[taus["source"] == 1] = muons["pfRelIso03_all"].ravel()
    return share


def join(*parts: Columns) -> Columns:
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


def ordered(columns: Columns) -> Columns:
    """The slots of each event, filled ones first, by falling pt, without the slots that no event fills."""
    order = np.argsort(np.where(columns["alive"], -columns["pt"], np.inf), axis=1, kind="stable")
    order = order[:, : max(int(columns["alive"].sum(axis=1).max()), 1)]
    return {name: np.take_along_axis(array, order, axis=1) for name, array in columns.items()}


def links(objects: Columns, jets: Columns) -> Columns:
    """The index of the nearest jet within 0.4, or -1; and no generated particle, for this plays data."""
    angles = [objects[name][:, :, None] for name in ("eta", "phi")] + [jets[name][:, None, :] for name in ("eta", "phi")]
    far = np.where(jets["alive"][:, None, :], distance(*angles), np.inf)
    nearest = np.where(far.min(axis=2) < 0.4, far.argmin(axis=2), -1)
    return {"jetIdx": nearest, "genPartIdx": np.full(nearest.shape, -1)}


def make_met(rng: Random, neutrinos: Array, visible: Array, vertices: Array) -> Columns:
    n = len(visible)
    sumet = visible + np.maximum(vertices * 42.0 + 90 * rng.normal(size=n), 40)
    xx, yy = (0.29 * sumet * np.exp(rng.normal(0, 0.15, n)) for _ in range(2))
    xy = np.sqrt(xx * yy) * np.clip(rng.normal(0, 0.12, n), -0.8, 0.8)
    one, two = rng.normal(size=n), rng.normal(size=n)
    x = neutrinos[:, 0] + np.sqrt(xx) * one
    y = neutrinos[:, 1] + xy / np.sqrt(xx) * one + np.sqrt(yy - xy**2 / xx) * two
    significance = (yy * x**2 - 2 * xy * x * y + xx * y**2) / (xx * yy - xy**2)
    names = ("pt", "phi", "sumet", "significance", "CovXX", "CovXY", "CovYY")
    values = (np.hypot(x, y), np.arctan2(y, x), sumet, significance, xx, xy, yy)
    return {f"MET_{name}": value for name, value in zip(names, values, strict=True)}


def trigger(rng: Random, muons: Columns, taus: Columns) -> tuple[Columns, Array]:
    """The three HLT bits, and the decision of them with the paths that are not stored."""
    n = len(muons["pt"])
    isolated = muons["alive"] & (muons["pfRelIso03_all"] < 0.2) & (muons["pfRelIso03_all"] >= 0) & muons["tightId"]
    dice = rng.uniform(size=muons["pt"].shape)
    central = np.abs(muons["eta"]) < 2.1
    fires = isolated & (dice < turn_on(muons["pt"], 24.0))
    single = fires.any(axis=1)
    single_central = (fires & central).any(axis=1) & (rng.uniform(size=n) < 0.98)
    leg = (isolated & central & (dice < turn_on(muons["pt"], 17.0))).any(axis=1)
    tau = taus["alive"] & taus["idIsoVLoose"] & taus["idAntiMuLoose"] & (taus["pt"] > 20) & (np.abs(taus["eta"]) < 2.3)
    cross = leg & tau.any(axis=1) & (rng.uniform(size=n) < 0.8)
    hardest = np.where(muons["alive"], muons["pt"], 0).max(axis=1)
    other = (rng.uniform(size=n) < 0.25 * (hardest > 12)) | (rng.uniform(size=n) < 0.004)
    bits = dict(zip([name for name in BRANCHES if "HLT" in name], (single_central, single, cross), strict=True))
    return bits, single | cross | other


def turn_on(pt: Array, threshold: float) -> Array:
    return 0.93 / (1 + np.exp(np.clip(-(pt - threshold) / 0.45, -50, 50)))


def detect(rng: Random, event: Particles) -> ak.Array:
    """The reconstructed events among `event` that a trigger has kept."""
    n = len(event.kind)
    inside, visible, lost = jet_muons(rng, event)
    muons = make_muons(rng, event, inside)
    jets, noise = make_jets(rng, event, visible, event.kind == BOTTOM)
    electrons = make_electrons(rng, event, jets)
    photons = make_photons(rng, event, jets)
    taus = make_taus(rng, jets, muons, electrons)
    neutrinos = (event.p4[..., 1:3] * (event.kind == NEUTRINO)[..., None]).sum(axis=1) + lost - noise
    transverse = (pt_of(visible) * (event.kind != NEUTRINO)).sum(axis=1)
    vertices = np.maximum(rng.poisson(rng.gamma(14.0, 0.77, n)), 1)
    bits, kept = trigger(rng, muons, taus)
    scalars = bits | make_met(rng, neutrinos, transverse, vertices)
    scalars |= {"PV_npvs": vertices, "PV_x": rng.normal(0.0721, 0.0025, n), "PV_y": rng.normal(0.0627, 0.0024, n)}
    scalars["PV_z"] = rng.normal(-0.25, 5.2, n)
    jets = ordered(jets)
    found = {"Muon": muons, "Electron": electrons, "Tau": taus, "Photon": photons}
    found = {name: ordered(columns) for name, columns in found.items()}
    found = {name: columns | links(columns, jets) for name, columns in found.items()} | {"Jet": jets}
    fields = {name: stored(name, array[kept], str(BRANCHES[name])) for name, array in scalars.items()}
    for name, columns in found.items():
        alive = columns["alive"][kept]
        types = dict(BRANCHES[name])
        flat = {key: stored(key, columns[key][kept][alive], dtype) for key, dtype in types.items()}
        fields[name] = ak.unflatten(ak.zip(flat), alive.sum(axis=1))
    return ak.zip(fields, depth_limit=1)


def stored(name: str, values: Array, dtype: str) -> Array:
    """`values` as the branch keeps them: a float loses the mantissa bits that carry no information, as in NanoAOD."""
    if dtype != "f4":
        return values.astype(dtype)
    if name == "phi" or name.endswith("_phi"):
        values = (values + np.pi) % (2 * np.pi) - np.pi
    out = values.astype("f4")
    if name == "mass" and np.all(out == np.float32(M_MU)):
        return out
    drop = 23 - (12 if name in ("pt", "eta", "phi", "MET_pt", "MET_phi") else 8)
    bits = out.view("u4").copy()
    if "phi" not in name:  # phi is cut, not rounded: it must not pass pi
        bits = np.where(np.isnan(out), bits, bits + np.uint32(1 << (drop - 1)))
    out = (bits & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view("f4")
    return np.where(values == MISSING, np.float32(MISSING), out)


# --- The events, and the files. ---------------------------------------------------------------------------------------


def make_batch(number: int) -> ak.Array:
    """The 2500 events of one batch, in the order in which they were taken."""
    rng = np.random.RandomState([SEED, number])
    parts = []
    for process, share in PROCESSES.items():
        wanted = round(BATCH * share)
        chunks: list[ak.Array] = []
        while sum(map(len, chunks)) < wanted:
            chunks.append(detect(rng, process(rng, 2 * wanted)))
        parts.append(ak.concatenate(chunks)[:wanted])
    events = ak.concatenate(parts)[rng.permutation(BATCH)]
    first = (3 * number) % (len(RUNS) - 2)
    place = np.sort(rng.uniform(0, 3, BATCH))  # three runs a batch, one after the other
    lumi = 40 + ((place % 1) * 360).astype(int)
    counter = (np.arange(BATCH) + BATCH * number) * 61_583 % 100_003  # a prime: no number comes twice
    events["run"] = np.asarray(RUNS, "i4")[first + place.astype(int)]
    events["luminosityBlock"] = lumi.astype("u4")
    events["event"] = ((lumi * 9 + rng.randint(0, 9, BATCH)) * 100_003 + counter).astype("u8")
    return events[list(BRANCHES)]


def make_events(events: int = EVENTS) -> list[ak.Array]:
    """The first `events` events, in batches: records with a field a branch, collections as lists of records."""
    if not 0 < events <= MAX_EVENTS:
        raise ValueError(f"--events wants a number from 1 to {MAX_EVENTS}, got {events}")
    starts = range(0, events, BATCH)
    return [make_batch(start // BATCH)[: events - start] for start in starts]


def columns_of(batch: ak.Array) -> dict[str, ak.Array]:
    """A flat list of the 86 branches, counts included."""
    out = {}
    for name, kind in BRANCHES.items():
        if isinstance(kind, str):
            out[name] = batch[name]
            continue
        out[f"n{name}"] = ak.values_astype(ak.num(batch[name], axis=1), "int32")
        out |= {f"{name}_{field}": batch[name, field] for field in kind}
    return out


def write_root(path: pathlib.Path, batches: list[ak.Array]) -> None:
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        tree = None
        for batch in batches:
            data = {name: batch[name] for name in BRANCHES}
            if tree is None:
                types = {name: ak.type(array).content for name, array in data.items()}
                tree = file.mktree("Events", types, title="Made-up single-muon events")
            tree.extend(data)


def write_parquet(path: pathlib.Path, batches: list[ak.Array]) -> None:
    tables = [pa.table({name: to_arrow(array) for name, array in columns_of(batch).items()}) for batch in batches]
    pq.write_table(pa.concat_tables(tables), path, row_group_size=BATCH, compression="zstd", compression_level=9)


def to_arrow(array: ak.Array) -> pa.Array:
    if array.ndim == 1:
        return pa.array(ak.to_numpy(array))
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(array, axis=1)))]).astype("i4")
    return pa.ListArray.from_arrays(offsets, pa.array(ak.to_numpy(ak.flatten(array)), from_pandas=False))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make sample.root and sample.parquet from a fixed seed.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent, help="folder of the files")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"how many, at most {MAX_EVENTS} (default: %(default)s)")
    options = parser.parse_args(arguments)
    batches = make_events(options.events)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, write in (("sample.root", write_root), ("sample.parquet", write_parquet)):
        write(options.out / name, batches)
        print(f"{options.out / name}: {options.events} events, {(options.out / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()

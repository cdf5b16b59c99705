"""What a detector makes of the sample's collisions: particles in, the columns of reconstructed objects out.

Units: GeV, cm, rad.
"""

import awkward as ak
import numpy as np
from branches import BRANCHES, TAU_IDS, TAU_VETOES, VERTEX
from collisions import (
    BOTTOM,
    CHARM,
    ELECTRON,
    LIGHT,
    M_MU,
    MUON,
    NEUTRINO,
    NONE,
    PHOTON,
    Array,
    Particles,
    Random,
    distance,
    eta_of,
    four,
    mass_of,
    phi_of,
    power_law,
    pt_of,
    signs,
)

MISSING = -999.0  # a quantity that reconstruction could not compute
FINE = ("pt", "eta", "phi", "mass", "btag", "MET_pt", "MET_phi")  # 10 bits of mantissa; 7 for the others

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
    for name in VERTEX:
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


def make_jets(rng: Random, event: Particles, p4: Array) -> tuple[Columns, Array]:
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
    eta, phi = eta_of(p4), phi_of(p4)
    for j in range(1, kind.shape[1]):
        for i in range(j):
            both = np.flatnonzero((kind[:, i] != NONE) & (kind[:, j] != NONE))
            near = both[distance(eta[both, i], phi[both, i], eta[both, j], phi[both, j]) < 0.4]
            p4[near, i] += p4[near, j]
            eta[near, i], phi[near, i] = eta_of(p4[near, i]), phi_of(p4[near, i])
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
    for name, limit in zip(TAU_IDS, (4.0, 2.0, 1.0, 0.8), strict=True):
        out[name] = known & (raw < limit)
    electron, muon = rng.uniform(size=shape), rng.uniform(size=shape)
    for name, chance in zip(TAU_VETOES, (0.95, 0.87, 0.45, 0.995, 0.985, 0.98), strict=True):
        passed = (muon < np.where(of_muon, 0.05, chance)) if "Mu" in name else (electron < chance)
        out[name] = known & passed
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
    eta, phi, jet_eta, jet_phi = objects["eta"], objects["phi"], jets["eta"], jets["phi"]
    angle = distance(eta[:, :, None], phi[:, :, None], jet_eta[:, None, :], jet_phi[:, None, :])
    far = np.where(jets["alive"][:, None, :], angle, np.inf)
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
    jets, noise = make_jets(rng, event, visible)
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
    drop = 23 - (10 if name in FINE else 7)
    bits = out.view("u4")
    if "phi" not in name:  # phi is cut, not rounded: it must not pass pi
        bits = np.where(np.isnan(out), bits, bits + np.uint32(1 << (drop - 1)))
    out = (bits & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view("f4")
    return np.where(values == MISSING, np.float32(MISSING), out)

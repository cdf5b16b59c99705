"""What happens in the sample's collisions: two-body kinematics, and the processes that it is a mixture of.

A four-momentum is an array whose last axis is (E, px, py, pz). Units: GeV, rad.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Random = np.random.RandomState  # NEP 19 freezes its streams; those of Generator may change with NumPy's version

M_W, W_W = 80.385, 2.085
M_Z, W_Z = 91.1876, 2.4952
M_TOP, W_TOP = 172.5, 1.4
M_MU, M_B = 0.10565837, 4.8


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
    jets = radiation(rng, n, 2.2)
    lepton, neutrino = decay(rng, boson(rng, breit_wigner(rng, n, M_W, W_W, 30), jets), M_MU)
    return together(particle(MUON, lepton, signs(rng, n, 0.57)), particle(NEUTRINO, neutrino), jets)


def drell_yan(rng: Random, n: int) -> Particles:
    jets = radiation(rng, n, 2.2)
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
    jets = radiation(rng, n, 1.8)
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
    jets = radiation(rng, n, 1.3)
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
    jets = radiation(rng, n, 1.3)
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

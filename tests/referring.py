"""Events with references between their collections, drawn at random, and references followed in plain loops."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np


def drawn(seed: int, n: int, beyond: float = 0.0) -> ak.Array:
    """Events with indices into other collections and their own: -1, or an element, or now and then beyond the list."""
    rng = np.random.default_rng(seed)
    counts = {name: rng.integers(0, 4, n) for name in ("Muon", "Electron", "Jet", "GenPart")}

    def index(of: str, to: str) -> Any:
        most = np.repeat(counts[to], counts[of])
        found = rng.integers(-1, most)
        wrong = rng.random(len(found)) < beyond
        return np.where(wrong, rng.choice([1, 7], len(found)) + most, found).astype(np.int32)

    def collection(name: str, **more: Any) -> Any:
        size = int(counts[name].sum())
        fields = {
            "pt": rng.uniform(1, 99, size).round(1),
            "eta": rng.normal(0, 1, size),
            "phi": rng.uniform(-3, 3, size),
        }
        record = ak.zip({**{k: v.astype(np.float32) for k, v in fields.items()}, **more})
        return ak.unflatten(record, counts[name])

    mother = ak.local_index(ak.unflatten(np.zeros(int(counts["GenPart"].sum())), counts["GenPart"]), axis=1)
    mothers = rng.integers(-1, np.maximum(ak.to_numpy(ak.flatten(mother)), 0)).astype(np.int32)
    return ak.zip(
        {
            "run": np.arange(n),
            "Muon": collection("Muon", jetIdx=index("Muon", "Jet"), genPartIdx=index("Muon", "GenPart")),
            "Electron": collection("Electron", jetIdx=index("Electron", "Jet")),
            "Jet": collection("Jet", electronIdx1=index("Jet", "Electron"), electronIdx2=index("Jet", "Electron")),
            "GenPart": collection("GenPart", genPartIdxMother=mothers),
        },
        depth_limit=1,
    )


def looked_up(data: ak.Array, of: str, index: str, to: str) -> Any:
    """A reference, in a loop."""
    found = []
    for event in data.to_list():
        row = []
        for each in event[of]:
            k = each[index]
            row.append(event[to][k]["pt"] if 0 <= k < len(event[to]) else None)
        found.append(row)
    return found

"""Computed arrays: their records get scikit-hep vector's behavior where they have the coordinates."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import awkward as ak

from hepgraph.lazy.array import HOOKS


@lru_cache(maxsize=1)
def _behavior() -> dict[Any, Any]:
    import vector.backends.awkward as backend

    return dict(backend.behavior)


def behaved(layout: Any) -> Any:
    """A layout as an array (or record) on which `.mass`, `.deltaR`, `a + b` work as in scikit-hep vector."""
    return ak.Array(layout, behavior=_behavior())


HOOKS["behavior"] = behaved

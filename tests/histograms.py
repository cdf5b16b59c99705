"""Events to fill histograms with, and when two histograms are the same."""

from __future__ import annotations

import awkward as ak
import boost_histogram as bh
import hist
import numpy as np

import hepgraph as hg

N = 60
RNG = np.random.default_rng(7)
COUNTS = RNG.integers(0, 4, N)
EVENTS = ak.Array(
    {
        "x": RNG.normal(0, 2, N),
        "u": RNG.exponential(3, N) + 0.01,
        "n": RNG.integers(-3, 8, N),
        "b": RNG.random(N) < 0.4,
        "s": RNG.choice(["ee", "mumu", "emu"], N).tolist(),
        "w": RNG.integers(-2, 6, N) / 4,
        "v": RNG.integers(1, 6, N) / 4,
        "q": RNG.integers(0, 5, N) / 2,
        "j": ak.unflatten(RNG.normal(0, 2, COUNTS.sum()), COUNTS),
        "jw": ak.unflatten(RNG.integers(0, 9, COUNTS.sum()) / 8, COUNTS),
        "o": ak.Array([None if i % 7 == 3 else i / 10 for i in range(N)]),
        "ow": ak.Array([None if i % 11 == 3 else 2.0 for i in range(N)]),
    }
)


def lazy(npartitions=1, array=EVENTS):
    return hg.from_awkward(array, npartitions=npartitions)


def same(got, expected):
    """Both histograms have the same axes, in the same order of categories, and the same bins, flow included."""
    assert type(got) is hist.Hist
    assert got.storage_type is expected.storage_type
    for mine, theirs in zip(got.axes, expected.axes, strict=True):
        assert type(mine) is type(theirs)
        assert mine.name == theirs.name
        assert mine.label == theirs.label
        if isinstance(theirs, bh.axis.Regular | bh.axis.Variable):
            np.testing.assert_allclose(mine.edges, theirs.edges, atol=1e-12)
            assert mine.traits == theirs.traits
        else:
            assert list(mine) == list(theirs)
    assert (got.variances() is None) == (expected.variances() is None)
    mine, theirs = got.view(flow=True), expected.view(flow=True)
    if theirs.dtype.names is None:
        np.testing.assert_array_equal(mine, theirs)
    for name in theirs.dtype.names or ():
        exact = expected.storage_type is hist.storage.Weight  # means are rounded
        np.testing.assert_allclose(mine[name], theirs[name], rtol=0 if exact else 1e-12, atol=0 if exact else 1e-14)

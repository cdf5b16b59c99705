"""The native check of indices gives what NumPy gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgraph.graph.offsets import offsets_of
from hepgraph.kernel.within import within


def slow(index, own, target):
    limits = np.repeat(np.diff(target), np.diff(own))
    return all(int(i) < int(limit) for i, limit in zip(index, limits, strict=True))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]), st.booleans())
def test_as_numpy_says(seed, dtype, sound):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(1000, 2000))
    own = offsets_of(np.append(rng.integers(0, 4, rows), 1000))
    target = offsets_of(rng.integers(1, 100, rows + 1))
    least = 0 if dtype[0] == "u" else -3
    index = rng.integers(least, np.repeat(np.diff(target), np.diff(own)), dtype=np.int64).astype(dtype)
    if not sound:
        k = rng.integers(len(index))
        limit = np.repeat(np.diff(target), np.diff(own))[k]
        index[k] = (
            np.iinfo(dtype).max if rng.random() < 0.3 else min(int(limit) + rng.integers(0, 2), np.iinfo(dtype).max)
        )
    assert within(index, own, target) == slow(index, own, target) == sound


@pytest.mark.parametrize("wrong", ["few", "float", "strided", "short"])
def test_the_rest_is_left_to_numpy(wrong):
    rows = np.arange(2001)
    index = np.zeros(2000, np.int16)
    assert within(index, rows, rows)
    index = {"few": index[:10], "float": index.astype(float), "strided": np.zeros(4000, np.int16)[::2]}.get(
        wrong, index
    )
    own = rows[:11] if wrong == "few" else rows
    assert not within(index, own, rows[:-1] if wrong == "short" else own)

"""Memory for results is used again only when nobody holds it."""

import awkward as ak
import numpy as np
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgraph.io.native.buffers import MOST, BufferPool


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["hold", "view", "buffer", "awkward", "drop"])), max_size=30)
)
def test_memory_is_used_again_only_when_nobody_holds_it(steps):
    """Whatever still leads to an array that was taken keeps its content, however many are taken afterwards."""
    pool = BufferPool()
    held = []
    for number, (size, how) in enumerate(steps):
        array = pool.take(size * 10_000, np.dtype(np.int32))
        assert (array.dtype, array.shape) == (np.dtype(np.int32), (size * 10_000,))
        array[:] = number
        if how == "drop" and held:
            held.pop(0)
        holders = {
            "hold": lambda x: x,
            "view": lambda x: x[1::2].view(np.uint32),
            "buffer": memoryview,
            "awkward": ak.Array,
        }
        if how in holders:
            held.append((number, holders[how](array)))
        del array
        assert all((np.asarray(holder) == mark).all() for mark, holder in held)


def test_memory_is_used_again():
    pool = BufferPool()
    first = pool.take(100_000, np.dtype(np.float32))
    place = first.ctypes.data
    assert pool.take(100_000, np.dtype(np.float32)).ctypes.data != place
    del first
    assert place in {pool.take(length, np.dtype(np.float32)).ctypes.data for length in (100_000, 90_000)}
    for _ in range(40):
        pool.take(MOST // 3, np.dtype(np.uint8))
    kept = [pool.take(MOST // 3, np.dtype(np.uint8)) for _ in range(5)]
    assert len({each.ctypes.data for each in kept}) == 5
    assert sum(len(owner) for owner in pool._owners) <= MOST

"""Native loops of the readers against their definitions by NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from hepgraph.graph.offsets import offsets_of
from hepgraph.io.native.loops import add_up, compiled, follows, slow_follows, summed


@given(
    counts=nps.arrays(np.int64, st.integers(1, 80), elements=st.integers(-3, 2**33)),
    width=st.sampled_from([1, 2, 4, 8, 12, 2**31]),
    shift=st.integers(-(2**31), 2**31 - 1),
    data=st.data(),
)
@settings(deadline=None)
def test_tables_that_follow_offsets(counts, width, shift, data):
    offsets = np.cumsum(counts)
    table = (offsets * width + shift).astype(np.int32).astype(">i4")
    assert follows(table, offsets, width)
    assert slow_follows(table, offsets, width)
    at, bit = data.draw(st.integers(0, len(table) - 1)), data.draw(st.integers(0, 31))
    table.view(np.uint32)[at] ^= np.uint32(1 << bit)
    assert follows(table, offsets, width) == slow_follows(table, offsets, width) == (len(table) == 1)


@given(
    table=nps.arrays(np.dtype(">i4"), 40, elements=st.integers(0, 2)),
    offsets=nps.arrays(np.int64, 40, elements=st.integers(0, 2)),
    length=st.integers(0, 40),
)
@settings(deadline=None)
def test_tables_of_any_numbers(table, offsets, length):
    assert follows(table[:length], offsets[:length], 1) == slow_follows(table[:length], offsets[:length], 1)


@given(
    some=nps.arrays(st.sampled_from(["?", "u1", "i2", "i4", "u4", "i8"]), 40, elements=st.integers(0, 1)),
    times=st.sampled_from([0, 1, 24, 25, 30]),
    every=st.sampled_from([1, 2]),
)
@settings(deadline=None)
def test_sums_of_few_and_of_many(some, times, every):
    counts = np.tile(some, times)[::every]
    assert np.array_equal(summed(counts), offsets_of(counts))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: follows(np.zeros(3, ">i4"), np.zeros(2, "i8"), 1), "3 of >i4 do not compare with 2 of <i8"),
        (lambda: follows(np.zeros(2, "<i4"), np.zeros(2, "i8"), 1), "2 of <i4 do not compare with 2 of <i8"),
        (
            lambda: follows(np.zeros(4, ">i4")[::2], np.zeros(2, "i8"), 1),
            "the table and the offsets must each be contiguous",
        ),
        (lambda: add_up(np.zeros(2, "f4"), 0, np.zeros(2, "i8")), "steps of float32 are not added up"),
    ],
)
def test_what_loops_refuse(call, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()


def test_each_is_compiled_once():
    calls = []

    def text():
        calls.append(1)
        return "define i64 @twice(i64 %x) {\n  %y = add i64 %x, %x\n  ret i64 %y\n}\n"

    assert compiled("twice", text, "i64(i64)")(4) == 8
    assert compiled("twice", text, "i64(i64)")(-5) == -10
    assert len(calls) == 1

"""The table of operations: names, dtypes, meanings."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import HepgraphError, UnsupportedError
from hepgraph.graph.node import literal
from hepgraph.graph.ops import MOMENTS, OPS, add_moments, names_of, result_dtype


def test_every_ufunc_of_numpy_has_a_row() -> None:
    ufuncs = [f for name in dir(np) if isinstance(f := getattr(np, name), np.ufunc) and f.signature is None]
    assert len(ufuncs) > 80
    assert all(name in OPS for f in ufuncs for name in names_of(f) or [""])
    assert names_of(np.divmod) == ("divmod.0", "divmod.1")
    with pytest.raises(UnsupportedError, match="whole axes"):
        names_of(np.matmul)
    assert names_of(np.frompyfunc(lambda x: x, 1, 1)) is None


@pytest.mark.parametrize(
    ("op", "kinds", "expected"),
    [
        ("add", (np.dtype("float32"), literal(1).param), "float32"),
        ("add", (np.dtype("float32"), literal(1.5).param), "float32"),
        ("add", (np.dtype("float32"), literal(np.float64(1)).param), "float64"),
        ("add", (np.dtype("int8"), literal(1).param), "int8"),
        ("divide", (np.dtype("int32"), np.dtype("int32")), "float64"),
        ("greater", (np.dtype("int32"), literal(1).param), "bool"),
        ("where", (np.dtype(bool), np.dtype("int32"), np.dtype("float32")), "float64"),
    ],
)
def test_dtypes_are_numpys(op: str, kinds: tuple[object, ...], expected: str) -> None:
    assert result_dtype(op, kinds, ()) == np.dtype(expected)


def test_dtypes_that_there_are_not() -> None:
    with pytest.raises(OverflowError):
        result_dtype("add", (np.dtype("uint8"), literal(300).param), ())
    with pytest.raises(TypeError):
        result_dtype("bitwise_and", (np.dtype("float32"), literal(1).param), ())


def test_moments_add_up() -> None:
    def moments(x: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        mean = x.mean() if len(x) else 0.0
        return np.array([(len(x), mean, ((x - mean) ** 2).sum())], MOMENTS)

    x = np.random.default_rng(1).normal(1e6, 1, 1000)
    parts = [moments(p) for p in (x[:10], x[10:10], x[10:400], x[400:])]
    whole = parts[0]
    for part in parts[1:]:
        whole = add_moments(whole, part)
    assert whole["n"][0] == 1000
    assert whole["m2"][0] / 1000 == pytest.approx(x.var(), rel=1e-9)


BOUNDS = [
    None,
    0,
    3,
    -2,
    300,
    -(2**40),
    2**63,
    1.5,
    np.nan,
    np.inf,
    np.int8(-1),
    np.float32(2.5),
    np.uint64(2**60),
    True,
]


@settings(deadline=None)
@given(
    st.sampled_from(["?", "i1", "i4", "i8", "u1", "u8", "f4", "f8"]), st.sampled_from(BOUNDS), st.sampled_from(BOUNDS)
)
def test_clip_is_numpys(kind: str, low: Any, high: Any) -> None:
    hard = {"i8": [2**53 + 1, -(2**62) - 1], "u8": [2**53 + 1, 2**64 - 1], "f8": [np.nan, -0.0], "f4": [np.inf]}
    flat = np.array([0, 1, 2, 5, 100, *hard.get(kind, [])], kind)
    with np.errstate(all="ignore"):
        try:
            expected = np.clip(flat, low, high)
        except (OverflowError, TypeError) as error:
            with pytest.raises((HepgraphError, type(error))):
                np.clip(hg.from_awkward(ak.Array(flat)), low, high)
            return
        got = np.clip(hg.from_awkward(ak.Array(flat)), low, high)
        for engine in ("kernel", "interpreter"):
            # one of more operations, so that a kernel makes it
            value = ak.where(got == got, got, got).compute(executor="serial", engine=engine, progress=False).to_numpy()
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value, expected)


def test_clip_of_event_numbers() -> None:
    event = hg.from_awkward(ak.Array({"event": [2**53 + 1, 7], "low": [2**53 + 3, 0]}))
    assert np.clip(event.event, 0, 2**62).compute(progress=False).to_list() == [2**53 + 1, 7]
    assert np.clip(event.event, event.low, None).compute(progress=False).to_list() == [2**53 + 3, 7]
    assert np.clip(event.event, min=8).compute(progress=False).to_list() == [2**53 + 1, 8]
    assert str(np.clip(event.event, 0, 2**62).type) == "## * int64"
    with pytest.raises(HepgraphError, match=r"numpy\.clip: dtype='float32' cannot be recorded; use ak\.values_astype"):
        np.clip(event.event, 0, 1, dtype="float32")

"""The table of operations: names, dtypes, meanings."""

from __future__ import annotations

import numpy as np
import pytest

from hepgraph.errors import UnsupportedError
from hepgraph.graph.node import literal
from hepgraph.ops import MOMENTS, OPS, add_moments, is_numpys, names_of, result_dtype


def test_every_ufunc_of_numpy_has_a_row() -> None:
    ufuncs = [f for name in dir(np) if isinstance(f := getattr(np, name), np.ufunc) and f.signature is None]
    assert len(ufuncs) > 80
    assert all(name in OPS for f in ufuncs for name in names_of(f))
    assert names_of(np.divmod) == ("divmod.0", "divmod.1")
    with pytest.raises(UnsupportedError, match="whole axes"):
        names_of(np.matmul)
    assert is_numpys(np.add)
    assert not is_numpys(np.frompyfunc(lambda x: x, 1, 1))


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

"""Functions of numbers that numba compiles: called by kernels, with the interpreter's bits and the user's errors."""

from __future__ import annotations

import pickle
from typing import Any

import awkward as ak
import cloudpickle
import hist
import numba
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import UnsupportedError
from hepgraph.kernel import native
from hepgraph.runner.compute import passes


@numba.njit
def calibrated(pt: Any, eta: Any) -> Any:
    """A formula with loops, branches and a function of mathematics."""
    scale = 1.0
    for k in range(3):
        scale += 0.01 * np.sin(eta + k)
    return pt * scale if pt > 1 else pt / (eta - 100)


@numba.njit
def central(eta: Any) -> Any:
    return abs(eta) < 1


@numba.njit
def steps(n: Any, by: Any) -> Any:
    return n // by


@numba.njit
def careful(x: Any) -> Any:
    if x > 3:
        raise ValueError("more than three")
    return 2 * x


def events(dtype: str = "f4", npartitions: int = 3) -> Any:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 5, 200)
    n = counts.sum()
    jets = {
        "pt": rng.exponential(2, n).astype(dtype),
        "eta": rng.normal(0, 2, n).astype("f4"),
        "n": rng.integers(-9, 9, n),
    }
    data = {"Jet": ak.zip({k: ak.unflatten(v, counts) for k, v in jets.items()}), "x": rng.normal(2, 0.3, 200)}
    return hg.from_awkward(ak.zip(data, depth_limit=1), npartitions)


def both(tree: list[Any], helped: bool = False) -> list[Any]:
    """The results of the kernel, after a look that they are the interpreter's, to the bit."""
    (each,) = passes(tree)[0]
    assert not each.compiled.plain
    assert bool(each.compiled.kernel.asked) is helped
    out = hg.compute(tree, executor="serial", progress=False)
    wanted = hg.compute(tree, executor="serial", progress=False, engine="interpreter")
    for a, b in zip(out, wanted, strict=True):
        assert ak.array_equal(a, b, equal_nan=True) if isinstance(a, ak.Array) else a == b
    return out


@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_the_bits_of_the_interpreter(dtype: str) -> None:
    e = events(dtype)
    pt = hg.map_partitions(calibrated, e.Jet.pt, e.Jet.eta)
    some = e.Jet[hg.map_partitions(central, e.Jet.eta)]
    a, b = ak.unzip(ak.combinations(e.Jet, 2))
    out = both([
        pt,
        some.n,
        hg.map_partitions(calibrated, e.x, 0.5),
        hg.map_partitions(calibrated, some.pt, e.x),
        hg.map_partitions(calibrated, a.pt, b.eta),
        hg.map_partitions(steps, e.Jet.n, 2) + 1,
        hg.Hist(hist.axis.Regular(20, 0, 9)).fill(pt[pt > 1]),
        ak.max(pt, axis=1),
        hg.map_partitions(calibrated, ak.firsts(e.Jet.pt), 1.0),
    ])  # fmt: skip
    jets = e.Jet.compute()
    eager = [[calibrated(x, y) for x, y in zip(*row, strict=True)] for row in zip(jets.pt, jets.eta, strict=True)]
    assert ak.almost_equal(out[0], eager, rtol=1e-6, dtype_exact=False)
    assert out[5].to_list() == (jets.n // 2 + 1).to_list()


def test_truth_values_go_to_the_interpreter() -> None:
    e = events()
    flags = hg.map_partitions(numba.njit(lambda x, y: x and y > 1), e.Jet.eta > 0, e.Jet.pt)
    both([flags], helped=True)
    assert "<lambda> of truth values is not compiled" in str(hg.explain(flags))


def test_the_same_function_is_one_step_and_the_kernel_is_kept(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEPGRAPH_CACHE", str(tmp_path / "cache"))
    e = events()
    assert hg.map_partitions(careful, e.x)._form.node is hg.map_partitions(careful, e.x)._form.node
    y = hg.map_partitions(careful, e.x / 9)
    assert "ufunc(%2, careful)" in str(hg.explain(y))
    again = hg.map_partitions(careful, e.Jet.eta)._form.content.node.param[0]
    assert again is y._form.node.param[0]
    assert pickle.loads(cloudpickle.dumps(again)) is again
    before = native.compiled, native.loaded
    first = y.compute(executor="serial", progress=False)
    native._known.clear()
    other = hg.map_partitions(numba.njit(lambda x: 3 * x), e.x / 9)  # the text is the same, what is called is not
    assert ak.all(other.compute(executor="serial", progress=False) == first * 1.5)
    assert (native.compiled, native.loaded) == (before[0] + 1, before[1] + 1)


def test_what_the_function_raises_is_raised_only_for_what_is_asked() -> None:
    e = hg.from_awkward(ak.Array({"x": [1.0, 2.0, 5.0]}))
    with pytest.raises(ValueError, match=r"(?s)^more than three.*recorded at .*test_functions_compiled.py"):
        hg.map_partitions(careful, e.x).compute(executor="serial", progress=False)
    small = e[e.x < 3]
    assert ak.sum(hg.map_partitions(careful, small.x)).compute(executor="serial", progress=False) == 6
    with pytest.raises(ZeroDivisionError):
        hg.map_partitions(steps, e.x, e.x * 0).compute(executor="serial", progress=False)


def test_processes() -> None:
    e = events(npartitions=2)
    y = hg.map_partitions(calibrated, e.Jet.pt, e.Jet.eta)
    got = y.compute(executor="processes", progress=False)
    assert ak.array_equal(got, y.compute(executor="serial", progress=False), equal_nan=True)


def test_what_numba_does_not_compile_is_an_error_where_it_is_written() -> None:
    e = events()

    @numba.njit
    def strange(x: Any) -> Any:
        return x.foo

    wanted = r"^strange is not compiled by numba for numbers of type float32: .*foo.*, nor for arrays$"
    with pytest.raises(UnsupportedError, match=wanted):
        hg.map_partitions(strange, e.Jet.pt)
    wanted = r"<lambda> gives UniTuple.float64 x 2. for numbers of type float64, not a number"
    with pytest.raises(UnsupportedError, match=wanted):
        hg.map_partitions(numba.njit(lambda x: (x, x)), e.x)


def test_ufuncs_of_numba_are_told_on_the_users_line() -> None:
    e = hg.from_awkward(ak.Array({"x": [1.0, 2.0, 5.0]}))
    twice = numba.vectorize(lambda x: 2 * x)(e.x)
    assert "for ufunc at test_functions_compiled.py:" in str(hg.explain(twice))
    assert twice.compute(executor="serial", progress=False).to_list() == [2, 4, 10]


def test_functions_of_arrays_still_get_arrays() -> None:
    @numba.njit
    def total(rows: Any) -> Any:
        out = np.zeros(len(rows))
        for i in range(len(rows)):
            for x in rows[i]:
                out[i] += x
        return out

    e = events()
    got = hg.map_partitions(total, e.Jet.pt).compute(executor="serial", progress=False)
    assert np.allclose(got, ak.sum(e.compute().Jet.pt, axis=1))

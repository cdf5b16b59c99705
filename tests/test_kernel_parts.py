"""What the kernel makes beside histograms: arrays, sorted lists, arguments of functions."""

from __future__ import annotations

from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from agreement import check
from limiting import Limit

import hepgraph as hg
from hepgraph.kernel.sorting import FEW
from hepgraph.runner.compute import passes


def both(tree: Any, helped: bool = False) -> Any:
    """What the kernel makes, after a look that the interpreter makes the same; `helped` if that has a part in it."""
    for each in passes(tree, "kernel")[0]:
        assert not each.compiled.plain, each.compiled.plain
        assert bool(each.compiled.kernel.asked) is helped, each.compiled.kernel.asked
    got = hg.compute(tree, engine="kernel", executor="serial", progress=False)
    wanted = hg.compute(tree, engine="interpreter", executor="serial", progress=False)
    for a, b in zip(wanted, got, strict=True):
        if isinstance(a, ak.Array):
            check(a.layout, b.layout, "")
        else:
            assert a == b
    return got


def jets(n: int, most: int, seed: int = 0, dtype: str = "f4") -> Any:
    """Events with lists of up to so many numbers, with ties, NaN and None among them."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most + 1, n)
    pt = rng.integers(0, 9, counts.sum()).astype(dtype)
    if dtype[0] == "f":
        pt[rng.random(len(pt)) < 0.1] = np.nan
        pt[rng.random(len(pt)) < 0.1] = -0.0
    elif dtype != "?":
        pt[::7] = np.iinfo(dtype).max
        pt[::5] = np.iinfo(dtype).min
    o = ak.mask(ak.Array(pt), rng.random(len(pt)) < 0.8)
    return ak.zip(
        {"pt": ak.unflatten(pt, counts), "o": ak.unflatten(o, counts), "k": ak.unflatten(np.arange(len(pt)), counts)}
    )


@pytest.mark.parametrize("checks", ["", "1"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i8", "u1", "u8", "?"])
def test_sorting(dtype: str, checks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEPGRAPH_KERNEL_CHECK", checks)
    for most in (3, FEW, FEW + 1, 5 * FEW, 400):
        j = hg.from_awkward(jets(6, most, most, dtype), npartitions=2)
        order = [ak.argsort(j[key], axis=1, ascending=up) for key in ("pt", "o") for up in (True, False)]
        both([*order, *(j.k[o] for o in order), j[order[0]].pt[:, :2], ak.firsts(j[order[1]].k)])


def test_sorting_that_is_not_stable_is_awkwards() -> None:
    j = hg.from_awkward(jets(6, 100))
    both([ak.argsort(j.pt, axis=1, stable=False) * 2], helped=True)


def test_long_arrays(limit: Limit) -> None:
    limit(block=512)
    j = hg.from_awkward(jets(3000, 6, dtype="i8"), npartitions=2)
    pairs = ak.combinations(j.k, 2, fields=["a", "b"])
    got = both([j.k * 2, pairs.a + pairs.b, j[j.pt > 3].k, ak.num(j.pt), ak.any(j.pt > 7, axis=1), j.o + 1])
    assert len(ak.flatten(got[1])) > 8 * 1024


def test_no_memory_is_said(limit: Limit) -> None:

    limit(room=2**60)
    j = hg.from_awkward(jets(30, 6))
    with pytest.raises(MemoryError, match="no memory for more than 0 entries"):
        (j.k * 2).compute(engine="kernel", executor="serial", progress=False)


def test_arrays_of_cut_events_and_columns_as_they_are() -> None:
    data = jets(50, 4)
    events = hg.from_awkward(ak.Array({"j": data, "x": np.arange(50) % 5, "t": ["a", "bc"] * 25}), npartitions=3)
    some = events[events.x > 1]
    got = both(
        [some.j.k, some.j.pt, some.t, events.j, some[some.x != 3].j.o, some.t[some.x == 2], some.x[:, np.newaxis]]
    )
    assert len(got[0]) == 30
    assert (
        both([events.x[events.x > 9], ak.flatten(events.j.k), ak.flatten(events.j.k[events.j.k > 3])])[0].to_list()
        == []
    )


def test_lists_of_pairs_of_cut_lists() -> None:
    events = hg.from_awkward(ak.zip({"nn": ak.Array([[[1.0, 2.0], []], [], [[3.0]]])}, depth_limit=1), npartitions=2)
    x = events.nn
    y = ak.concatenate([x, x[ak.num(x, axis=2) > 0]], axis=1)
    both(
        [y, ak.sum(y, axis=2), y[:, :1], ak.cartesian({"a": x, "b": y}, nested=True).b, ak.num(y, axis=2)], helped=True
    )


def test_a_result_that_is_not_compiled_does_not_hold_back_the_others() -> None:
    data = ak.Array({"x": np.arange(9.0), "c": np.arange(9) * 1j, "s": ["a"] * 9})
    events = hg.from_awkward(data, npartitions=2)
    h = hg.Hist(hist.axis.Regular(3, 0, 9)).fill(events.x)
    tree = [h, ak.sum(events.c, axis=None), events.s == "a"]
    (each,) = passes(tree, "kernel")[0]
    assert each.compiled.native == (0, 2)
    assert each.compiled.plain == {1: "the sum of complex128 is not compiled"}
    out, report = hg.compute(tree, engine="kernel", executor="serial", progress=False, report=True)
    assert out[0].values().tolist() == [3, 3, 3]
    assert out[1] == 36j
    assert out[2].to_list() == [True] * 9
    assert {row.how for row in report.rows} == {"kernel + interpreter"}
    text = str(hg.explain(tree, kernel=True))
    assert (
        "engine: the kernel (2 results; the interpreter makes parts: equal of StringDType()) and the interpreter "
        "(1 result: the sum of complex128 is not compiled); " in text
    )


def test_a_function_is_called_once_with_what_a_kernel_made() -> None:
    calls: list[list[Any]] = []

    def double(pt: Any, x: Any) -> Any:
        calls.append(pt.to_list())
        return pt * 2 + x

    data = ak.Array({"j": jets(40, 4).pt, "x": np.arange(40) % 7})
    events = hg.from_awkward(ak.nan_to_num(data), npartitions=4)
    some = events[events.x > 2]
    y = hg.map_partitions(double, some.j[some.j * 2 > 3], some.x, meta=ak.Array([[1.0]]))
    z = hg.map_partitions(double, y[y > 5] + 1, some.x * 2, meta=ak.Array([[1.0]]))
    tree = [hg.Hist(hist.axis.Regular(9, 0, 90)).fill(w) for w in (y, z, z[z > 20])] + [ak.sum(z, axis=None), y, z + 1]
    (each,) = passes(tree, "kernel")[0]
    assert [feeder.call.param.title for feeder in each.compiled.kernel.feeders] == ["double", "double"]
    calls.clear()
    both(tree, helped=True)
    assert len(calls) == 2 * 2 * 4  # two functions, two engines, four partitions
    assert calls[:8] == calls[8:]
    assert "for what double gets:" in str(hg.explain(tree, kernel=True))


def test_errors_of_functions_and_of_their_arguments_are_the_interpreters() -> None:
    def fail(x: Any) -> Any:
        raise RuntimeError("in the function")

    events = hg.from_awkward(ak.Array({"j": [[1.0], []], "i": [3, 0]}))
    y = hg.map_partitions(fail, events.i * 2, meta=ak.Array([1.0]))
    with pytest.raises(RuntimeError, match="in the function"):
        y.compute(engine="kernel", executor="serial", progress=False)
    y = hg.map_partitions(lambda x: x, events.j[:, 0] * 2)
    with pytest.raises(hg.errors.RangeError, match="index 0 is out of range for 1 of the lists"):
        (y + 1).compute(engine="kernel", executor="serial", progress=False)


def test_lists_of_different_lengths_are_an_error() -> None:
    data = ak.Array({"a": [[1.0], [2.0, 3.0]], "b": [[1.0], [2.0]], "ok": [True, False]})
    events = hg.from_awkward(data)
    z = hg.map_partitions(lambda x: x, events.b)
    h = hg.Hist(hist.axis.Regular(9, 0, 9)).fill(events.a + z)
    for engine_ in ("kernel", "interpreter"):
        with pytest.raises(hg.errors.ShapeError, match="cannot broadcast nested lists: at entry 1"):
            h.compute(engine=engine_, executor="serial", progress=False)
    some = events[events.ok]
    both([hg.Hist(hist.axis.Regular(9, 0, 9)).fill(some.a + z[events.ok])], helped=True)


def test_spread_of_everything() -> None:
    rng = np.random.default_rng(3)
    x = hg.from_awkward(ak.Array(rng.normal(1e6, 1, 5000)), npartitions=3)
    got = hg.compute([ak.std(x, axis=None), ak.var(x, axis=None)], engine="kernel", executor="serial", progress=False)
    wanted = hg.compute([ak.std(x, axis=None), ak.var(x, axis=None)], executor="serial", progress=False)
    assert np.allclose(got, wanted, rtol=1e-9)


def test_deep_and_wide_expressions() -> None:
    """Longer than Python's own stack is deep, and with more ways through them than could be walked."""
    data = ak.zip({"x": [[1.0, 2.0], [], [40.0]], "e": [1.0, 2.0, 3.0]}, depth_limit=1)
    events = hg.from_awkward(data)
    long, wide = events.x, events.x
    for k in range(1100):
        long = long + k % 3
    for _ in range(60):
        wide = wide + wide
    axis = hist.axis.Regular(5, 0, 2000)
    both([long, ak.sum(long[long > 1100]), hg.Hist(axis).fill(long[long > 1100]), hg.Hist(axis).fill(wide[wide > 3])])


# errors


WRONG = {
    "lists of other lengths": lambda e: e.x + e.y,
    "an index beyond a list": lambda e: e.x[:, 1],
    "an index beyond a list, from its end": lambda e: e[e.n < 3].x[:, -2],
    "an array of indices": lambda e: e.x[e.i],
    "in a histogram": lambda e: hg.Hist(hist.axis.Regular(3, 0, 1)).fill(e.x[:, 0]),
    "in a reduction": lambda e: ak.sum(ak.sum(e.x * e.y, axis=1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_the_data_is_told_as_by_the_interpreter(name: str) -> None:
    data = {"x": [[1.0, 2.0], [3.0], []], "y": [[1.0], [2.0], []], "i": [[0, 1], [1], []], "n": [1, 2, 3]}
    events = hg.from_awkward(ak.zip({k: ak.Array(v) for k, v in data.items()}, depth_limit=1))
    tree = WRONG[name](events)
    (each,) = passes(tree)[0]
    assert each.compiled.kernel is not None
    told = []
    for engine_ in ("auto", "interpreter"):
        with pytest.raises((ValueError, IndexError)) as caught:
            hg.compute(tree, engine=engine_, executor="serial", progress=False)
        told.append((type(caught.value), str(caught.value), getattr(caught.value, "__notes__", [])))
    assert told[0] == told[1]
    assert "test_kernel_parts.py" in str(told[0])


def test_a_kernel_that_cannot_be_built_is_an_error_with_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    from hepgraph.kernel import native

    def refused(text: str, level: int = 2) -> Any:
        raise RuntimeError("LLVM says no")

    monkeypatch.setattr(native, "optimised", refused)
    monkeypatch.setenv("HEPGRAPH_CACHE", "")
    x = hg.from_awkward(ak.Array([1.0, 2.0]))
    with pytest.raises(RuntimeError, match="LLVM says no") as caught:
        ak.sum(x * 1.7182818).compute(executor="serial", progress=False)
    loops, graph, where = caught.value.__notes__
    assert loops.startswith("the loops, for each event:\nresult 0 <- ")
    assert graph.startswith('while compiling this graph, which is an error of hepgraph\'s (engine="interpreter" does')
    assert "* 1.7182818" in graph
    assert where.startswith("in the range <memory>")
    assert ak.sum(x * 1.7182818).compute(engine="interpreter", executor="serial", progress=False) > 5


def test_columns_alone_need_no_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from hepgraph.kernel import native

    monkeypatch.setattr(native, "native", None)
    events = hg.from_awkward(jets(30, 4))
    assert ak.array_equal(events.pt.compute(executor="serial", progress=False), jets(30, 4).pt, equal_nan=True)
    assert events.k.head(2).to_list() == jets(30, 4).k[:2].to_list()

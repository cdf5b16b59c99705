"""The cache of schedules: one for the same files and for others, and never for another analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from drawing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.kernel import native, schedule_cache
from hepgraph.limits import limits
from hepgraph.runner.compute import passes


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two files of the same columns."""
    made = []
    for k in range(2):
        rng = np.random.default_rng(k)
        counts = rng.integers(0, 5, 300 + 50 * k)
        pt = ak.unflatten(np.round(rng.exponential(30, counts.sum()), 1), counts)
        phi = ak.unflatten(rng.uniform(-3, 3, counts.sum()), counts)
        made.append(str(tmp_path / f"{k}.parquet"))
        word = ak.Array(rng.choice(["a", "bc"], len(counts)).tolist())
        ak.to_parquet(
            ak.zip({"pt": pt, "phi": phi, "met": rng.integers(0, 90, len(counts)), "word": word}, 1), made[-1]
        )
    return made


def analysis(file: str, cut: float = 20.0, weight: float = 1.0) -> list[Any]:
    """Results of all kinds: histograms, sums, arrays, deferred functions, parts that the interpreter makes."""
    events = hg.from_parquet(file)
    good = events.pt > cut
    some = (events.met > 40) & (ak.num(events.pt[good]) > 1)
    px = ak.sum(events.pt[good] * np.cos(events.phi[good]), axis=1)
    pairs = ak.combinations(events.pt[good], 2, fields=["a", "b"])
    best = pairs[ak.argmax(pairs.a * pairs.b, axis=1, keepdims=True)]
    return [
        hg.Hist(hist.axis.Regular(9, -90, 90)).fill(px[some], weight=weight),
        hg.Hist(hist.axis.Regular(9, 0, 90)).fill(ak.flatten(best.a[some])),
        hg.Hist(hist.axis.Regular(9, 0, 90, circular=True)).fill(events.pt[some][:, 0]),
        ak.sum(events.pt[good]),
        events.pt[good] * 2,
        px[some],
        events.pt[events.word == "a"],
    ]


def kernel_of(tree: Any) -> Any:
    (each,) = passes(tree, "kernel")[0]
    return each.compiled.kernel


def same(a: Any, b: Any) -> bool:
    if isinstance(a, ak.Array):
        return bool(ak.array_equal(a, b))
    return bool(np.isclose(a, b)) if isinstance(a, np.floating) else bool(a == b)


def agree(tree: Any) -> None:
    got = hg.compute(tree, engine="kernel", executor="serial", progress=False)
    wanted = hg.compute(tree, engine="interpreter", executor="serial", progress=False)
    assert all(map(same, got, wanted))


def test_the_same_files_again(files: list[str]) -> None:
    first = kernel_of(analysis(files[0]))
    assert kernel_of(analysis(files[0])) is first
    agree(analysis(files[0]))


def test_other_files(files: list[str]) -> None:
    first = kernel_of(analysis(files[0]))
    second = kernel_of(analysis(files[1]))
    assert second is not first
    assert second.text is first.text
    assert second.functions is first.functions
    for file in (files[1], files[0], files[1]):
        agree(analysis(file))


@pytest.mark.parametrize("checks", ["", "1"])
def test_checks_are_part_of_a_kernel(files: list[str], checks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = kernel_of(analysis(files[0])).text
    monkeypatch.setenv("HEPGRAPH_KERNEL_CHECK", checks)
    assert (kernel_of(analysis(files[0])).text is text) == (not checks)
    agree(analysis(files[1]))


def test_another_analysis_is_another_kernel(files: list[str]) -> None:
    text = kernel_of(analysis(files[0])).text
    for other in (analysis(files[1], 30.0), analysis(files[1], weight=2), analysis(files[1])[:-1]):
        assert kernel_of(other).text != text
        agree(other)
    whole, real = (
        kernel_of([hg.Hist(hist.axis.Regular(3, 0, 1)).fill(hg.from_parquet(files[0]).met * x)]) for x in (1, 1.0)
    )
    assert whole is not real


def weighed(file: str, one: float, two: float, factor: float, cut: float) -> list[Any]:
    """Results that rest on real numbers: weights of one fill and of several, factors, terms."""
    events = hg.from_parquet(file)
    some = (events.met > 40) & (ak.num(events.pt) > 1)
    x = ak.sum(events.pt * np.cos(events.phi), axis=1)[some] * factor
    y = events.pt[events.pt * factor + two > cut] / two - one
    h = hg.Hist.new.Reg(9, -90, 90).StrCat(["a", "b", "c"], growth=True).Weight()
    for name, weight in (("a", one), ("b", two), ("c", one * x)):
        h.fill(x, name, weight=weight)
    whole = ak.full_like(x, two)
    x = ak.where(x > whole, whole - x, ak.full_like(x, factor))
    return [h, hg.Hist(hist.axis.Regular(9, -90, 90)).fill(ak.flatten(y), weight=one), y, ak.sum(x), x + np.float32(2)]


def fields(h: Any) -> list[Any]:
    """The bins of a histogram, for each field of its storage."""
    view = h.view(flow=True)
    return [view[name] for name in view.dtype.names] if view.dtype.names else [view]


REALS = [1.0, 2.0, -0.0, 0.0, 0.1, -3.5, 1e300, 5e-324, float("inf"), float("nan")]


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.sampled_from(REALS)] * 3), min_size=2, max_size=4), st.booleans())
def test_real_numbers_are_parameters(files: list[str], drawn: list[Any], cached: bool) -> None:
    """The same analysis with other numbers has a kernel, or one of its own, and its own results in any case."""
    if not cached:
        schedule_cache._same.clear()
        schedule_cache._alike.clear()
    with np.errstate(all="ignore"):
        for k, each in enumerate(drawn):
            tree = weighed(files[k % 2], *each, cut=10.0)
            got = hg.compute(tree, engine="kernel", executor="serial", progress=False)
            wanted = hg.compute(tree, engine="interpreter", executor="serial", progress=False)
            for one, two in zip(got[:2], wanted[:2], strict=True):
                for mine, other in zip(fields(one), fields(two), strict=True):
                    assert np.array_equal(mine, other, equal_nan=True)
            assert ak.array_equal(got[2], wanted[2], equal_nan=True)
            assert np.isclose(got[3], wanted[3], rtol=1e-12, equal_nan=True)
            assert ak.array_equal(got[4], wanted[4], equal_nan=True)


def test_another_cross_section_takes_no_schedule_and_no_compiling(files: list[str]) -> None:
    first = kernel_of(weighed(files[0], 1.5, 2.5, 0.1, 10.0))
    agree(weighed(files[0], 1.5, 2.5, 0.1, 10.0))
    compiled, loaded = native.compiled, native.loaded
    second = kernel_of(weighed(files[1], 7.5, 0.25, 1e3, 10.0))
    assert second.text is first.text
    agree(weighed(files[1], 7.5, 0.25, 1e3, 10.0))
    assert (native.compiled, native.loaded) == (compiled, loaded)
    for other in ((1.5, 1.5, 0.1, 10.0), (1.5, 2.5, 0.1, 11.0), (1, 2.5, 0.1, 10.0)):  # one number, a cut, a type
        assert kernel_of(weighed(files[1], *other)).text != first.text


def test_what_is_printed_has_the_numbers_of_its_own_dataset(files: list[str]) -> None:
    kernel_of(weighed(files[0], 1.5, 2.5, 0.125, 10.0))
    told = str(hg.explain(weighed(files[1], 1.5, 2.5, 0.375, 10.0), kernel=True))
    assert "0.375" in told
    assert "0.125" not in told


def test_axes_are_part_of_it(files: list[str]) -> None:
    edges = [0.0, 1.0, 2.0], [0.0, np.nextafter(1.0, 2), 2.0]  # which are the same when they are printed
    a, b = (kernel_of([hg.Hist(hist.axis.Variable(e)).fill(hg.from_parquet(files[0]).met)]) for e in edges)
    assert a is not b
    assert a.text != b.text


def test_errors_are_those_of_the_file_that_is_read(files: list[str]) -> None:
    told = []
    for file in files:
        first = hg.from_parquet(file).pt[:, 0] * 1.25
        with pytest.raises(hg.errors.RangeError) as caught:
            ak.sum(first).compute(engine="kernel", executor="serial", progress=False)
        with pytest.raises(hg.errors.RangeError) as wanted:
            ak.sum(first).compute(engine="interpreter", executor="serial", progress=False)
        assert str(caught.value) == str(wanted.value)
        assert caught.value.__notes__ == wanted.value.__notes__
        told.append(caught.value.__notes__[-1])
    assert Path(files[1]).name in told[1]
    assert Path(files[0]).name in told[0]


def test_arrays_in_memory_are_not_kept() -> None:
    array = hg.from_awkward(ak.Array({"x": np.arange(9.0)}))
    before = len(schedule_cache._same)
    kernel_of([ak.sum(array.x * 3)])
    assert len(schedule_cache._same) == before


def test_a_function_outside_the_graph_is_called_for_each_file(files: list[str]) -> None:
    for file in files:
        x = hg.map_partitions(lambda met: met * 2, hg.from_parquet(file).met, meta=ak.Array([1]))
        agree([ak.sum(x), x])


def test_no_more_are_kept_than_a_few(files: list[str]) -> None:
    for k in range(limits().kept + 3):
        kernel_of([ak.sum(hg.from_parquet(files[0]).met * k)])
    assert len(schedule_cache._same) == limits().kept
    assert len(schedule_cache._alike) <= limits().kept

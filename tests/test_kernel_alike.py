"""Functions that differ in constants and arguments alone: compiled once, and each still does its own."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from limiting import limited

import hepgraph as hg
from hepgraph.kernel.alike import Body, merged
from hepgraph.runner.compute import passes


def events_of(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, n)
    size = counts.sum()
    jet = ak.zip({"pt": rng.exponential(40, size), "phi": rng.uniform(-3, 3, size), "id": rng.integers(0, 9, size)})
    whole = ak.zip({"jet": ak.unflatten(jet, counts), "met": rng.integers(0, 100, n)}, depth_limit=1)
    return hg.from_awkward(whole, npartitions=2)


def alternative(events: Any, factor: float, shift: int, cut: float, down: bool) -> Any:
    """A sum over pairs of the jets of some events, which takes transcendental functions."""
    scale = (100 - shift) / 100 if down else (100 + shift) / 100
    jets = ak.zip({"pt": events.jet.pt * factor * scale, "phi": events.jet.phi, "id": events.jet.id})
    jets = jets[jets.pt > cut]
    pairs = ak.combinations(jets[(events.met > 30) & (ak.num(jets) >= 2)], 2, fields=["a", "b"])
    pairs = pairs[(pairs.a.id + pairs.b.id) % 5 != shift % 5]
    x = pairs.a.pt * np.cos(pairs.a.phi) + pairs.b.pt * np.cos(pairs.b.phi)
    return ak.sum(x, axis=1)[ak.num(pairs) > 0]


def bodies(tree: Any) -> tuple[int, int]:
    """How many functions a kernel has, and how many it has the code of."""
    (each,) = passes(tree, "kernel")[0]
    assert not each.compiled.plain
    kernel = each.compiled.kernel
    return len(kernel.functions), len(re.findall("define internal i32 @body", kernel.text))


def test_alternatives_are_compiled_once() -> None:
    """Those that subtract where others add are of another kind."""
    events = events_of(50, 0)
    drawn = [(1.0 + k / 10, k, 20.0 + k, down) for k in range(1, 5) for down in (False, True)]
    h = hg.Hist(hist.axis.Regular(20, -100, 100))
    functions, codes = bodies([h.copy().fill(alternative(events, *each)) for each in drawn])
    assert functions == 1 + len(drawn)
    assert codes == 1 + 2


def test_the_place_on_an_axis_of_names_is_an_argument() -> None:
    """As that of a variation: fills that differ in it alone are those of one function."""
    events = events_of(50, 0)
    names = [f"v{k}" for k in range(70)]
    h = hg.Hist(hist.axis.StrCategory(names), hist.axis.Regular(20, -100, 100), storage=hist.storage.Weight())
    for k, name in enumerate(names):
        h.fill(name, alternative(events, 1.1 + k / 100, 1, 20.0 + k, False))
    with limited(batched=0):
        functions, codes = bodies(h)
        assert functions > 70
        assert codes < 10
        ((each,), _) = passes(h, "kernel")
        assert len(re.findall("define internal void @fill", each.compiled.kernel.text)) == 1


@settings(max_examples=examples(12), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1.0, -0.0, 0.5, 1e300, -2.0, float("inf"), float("nan"), 1.1]),
            st.integers(-40, 40),
            st.sampled_from([0.0, -5.0, 20.0, 50.5]),
            st.booleans(),
        ),
        min_size=2,
        max_size=5,
    ),
    st.integers(0, 99),
    st.sampled_from(["kernel", "checked", "level 2"]),
)
def test_each_alternative_has_its_own_constants(drawn: list[Any], seed: int, how: str) -> None:
    events = events_of(120, seed)
    h = hg.Hist(hist.axis.Regular(20, -100, 100), storage=hist.storage.Weight())
    sums = [alternative(events, *each) for each in drawn]
    tree = [h.copy().fill(x, weight=x * 0 + k) for k, x in enumerate(sums)] + sums
    with pytest.MonkeyPatch.context() as patch, limited(level=2 if how == "level 2" else 1), np.errstate(all="ignore"):
        if how == "checked":
            patch.setenv("HEPGRAPH_KERNEL_CHECK", "1")
        got = hg.compute(tree, engine="kernel", executor="serial", progress=False)
        wanted = hg.compute(tree, engine="interpreter", executor="serial", progress=False)
    for k, (one, other) in enumerate(zip(got, wanted, strict=True)):
        if k < len(drawn):
            assert one.view(flow=True).tobytes() == other.view(flow=True).tobytes()
        else:
            assert np.array_equal(ak.to_numpy(one), ak.to_numpy(other), equal_nan=True)


def test_only_what_may_be_an_argument_is_one() -> None:
    """Numbers that LLVM must know tell functions apart, and so does the order in which pointers are looked at."""

    def told(*lines: str) -> int:
        names = count()
        return len(merged([Body([f"%p{next(names)}", f"%p{next(names)}"], [line]) for line in lines])[0])

    assert told("store double 0x3FF0000000000000, ptr %p0", "store double 0xBFF0000000000000, ptr %p2") == 1
    assert told("%v1 = add i64 %a2, 5", "%v1 = add i64 %a2, -6") == 1
    assert told("%v1 = alloca [4 x i64]", "%v1 = alloca [5 x i64]") == 2
    assert told("%v1 = load i64, ptr %p0, align 8", "%v1 = load i64, ptr %p2, align 4") == 2
    assert told("%v1 = fadd <4 x double> %a, %b", "%v1 = fadd <8 x double> %a, %b") == 2
    assert told("%v1 = call i64 @llvm.abs.i64(i64 3, i1 0)", "%v1 = call i64 @llvm.abs.i64(i64 3, i1 1)") == 2
    assert told("br label %then4", "br label %then5") == 2
    assert told("%v1 = add i64 %a2, 5", "%v1 = sub i64 %a2, 5") == 2
    assert told("store ptr %p0, ptr %p1", "store ptr %p3, ptr %p2") == 2


def test_constants_that_are_the_same_for_all_stay_where_they_are() -> None:
    lines = [["%v1 = add i64 %a, 7", f"%v2 = mul i64 %v1, {k}", f"store i64 {k}, ptr %p{k}"] for k in (3, 4)]
    (shape,), calls = merged([Body([f"%p{k}"], each) for k, each in zip((3, 4), lines, strict=True)])
    assert shape.params == ["ptr noalias %p0", "i64 %c0"]
    assert shape.lines == ["%v1 = add i64 %a, 7", "%v2 = mul i64 %v1, %c0", "store i64 %c0, ptr %p0"]
    assert calls == [(0, ["ptr %p3", "i64 3"]), (0, ["ptr %p4", "i64 4"])]

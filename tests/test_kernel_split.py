"""Large passes as several functions: the same results, nothing costly made twice, and a reading that says so."""

from __future__ import annotations

from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from limiting import Limit

import hepgraph as hg
from hepgraph.kernel import native
from hepgraph.runner.compute import passes


def analysis(n: int) -> list[Any]:
    """So many sums of lists, each with a cut of its own on them, and a histogram of the lists."""
    rng = np.random.default_rng(0)
    x = hg.from_awkward(ak.unflatten(rng.normal(size=9000), rng.multinomial(9000, [1 / 5000] * 5000)), npartitions=2)
    out: list[Any] = []
    for k in range(n):
        kept = x[x > 0.01 * k]
        total = ak.sum(kept, axis=1)
        out.append(hg.Hist(hist.axis.Regular(10, 0, 4)).fill(total[ak.num(kept) > 1]))
        out.append(hg.Hist(hist.axis.Regular(10, 0, 4)).fill(total, weight=total))
        out.append(hg.Hist(hist.axis.Regular(10, 0, 4)).fill(kept))
    return out


def kernel_of(tree: Any) -> Any:
    (each,) = passes(tree, "kernel")[0]
    assert not each.compiled.plain
    return each.compiled.kernel


@pytest.mark.parametrize("step", [1, 7, 2048])
def test_the_results_are_those_of_one_function(limit: Limit, step: int) -> None:
    limit(step=step)
    one = hg.compute(analysis(4), engine="kernel", executor="serial", progress=False)
    limit(budget=10)
    assert len(kernel_of(analysis(4)).trees) > 3
    assert hg.compute(analysis(4), engine="kernel", executor="serial", progress=False) == one
    assert hg.compute(analysis(4), engine="interpreter", executor="serial", progress=False) == one


def test_what_shares_a_need_stays_together(limit: Limit) -> None:
    limit(budget=1)
    kernel = kernel_of(analysis(5))
    assert len(kernel.trees) == 10  # sums and counts of each selection in one, histograms of lists on their own
    text = str(kernel)
    assert text.startswith("function 1:\n")
    assert text.count("begin reduce") == 5


def test_a_few_results_are_one_function() -> None:
    kernel = kernel_of(analysis(3))
    assert len(kernel.trees) == 1
    assert "function" not in str(kernel)


def test_large_texts_are_optimised_less() -> None:
    text = "\n" * native.LARGE
    assert native.level_of(text) == 1
    assert native.level_of(text[1:]) == 2


def test_the_text_grows_with_the_results() -> None:
    """Twice the analysis is not more than twice the text, and then some."""
    lines = [kernel_of(analysis(n)).text.count("\n") for n in (20, 40, 80)]
    assert lines[2] - lines[1] < 2.2 * (lines[1] - lines[0])

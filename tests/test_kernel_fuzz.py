"""Random analyses on random data: the kernel must give what the interpreter gives, bin by bin.

A program is drawn as bytes, as in `test_fuzz`: it cuts, combines, reduces and picks, and fills histograms.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import awkward as ak
import numpy as np
import programs
import programs_more  # noqa: F401  (adds its rules to those of programs)
import pytest
from agreement import check
from drawing import Tape, collisions, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limiting import limited
from programs import array, fill, total

import hepgraph as hg
from hepgraph.errors import HepgraphError
from hepgraph.runner.compute import finished, passes
from hepgraph.runner.options import Options
from hepgraph.runner.run import Run

EXAMPLES = examples(100)
made: Counter[str] = Counter()
reasons: Counter[str] = Counter()


# programs


def program(tape: bytes, events: Any) -> programs.Program:
    """The sinks of a random program."""
    p = programs.Program(Tape(tape), events)
    steps = programs.STEPS
    while not p.tape.done and len(p.sinks) < 12:
        w = p.worlds[-1] if p.tape.below(3) else p.tape.of(p.worlds)
        which = p.tape.below(256)
        todo = (
            fill
            if which % 4 == 0
            else total
            if which % 31 == 0
            else array
            if which % 13 == 0
            else steps[which % len(steps)]
        )
        try:
            todo(p, w)
        except (HepgraphError, TypeError, ValueError, IndexError, AttributeError, KeyError) as refusal:
            made[f"refused: {type(refusal).__name__}"] += 1
        else:
            p.log.append(todo.__name__)
    for _ in range(3):
        fill(p, p.worlds[-1])
    return p


# running


def computed(sinks: list[Any], how: str) -> tuple[Any, int, int]:
    """The results, and how many of them a kernel made."""
    passes_, places = passes(sinks, how)
    try:
        results = Run(Options(executor="serial", progress=False)).results(passes_)
    except Exception as error:
        if how == "kernel" and not isinstance(error, HepgraphError | ValueError | KeyError | MemoryError):
            raise
        return type(error), 0, 0
    native = plain = 0
    for each in passes_:
        native += len(each.compiled.native)
        plain += len(each.compiled.plain)
        if how == "kernel":
            reasons.update(each.compiled.plain.values())
    return [finished(leaf, [results[p][i] for p, i in where]) for leaf, where in places], native, plain


def same(a: Any, b: Any) -> bool:
    """Whether two results are the same: counts to the bit, sums up to their order."""
    if isinstance(a, hg_base()):
        x, y = a.view(flow=True), b.view(flow=True)
        if a.axes != b.axes:
            return False
        if x.dtype.names:
            return all(np.allclose(x[n], y[n], rtol=1e-9, atol=1e-9, equal_nan=True) for n in x.dtype.names)
        return bool(np.allclose(x, y, rtol=1e-9, atol=1e-9, equal_nan=True)) and a.storage_type is b.storage_type
    if a is None or b is None:
        return a is b
    if isinstance(a, ak.Array):
        check(a.layout, b.layout, "", signs=False)
        return True
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype:
        return False
    with np.errstate(all="ignore"):
        scale, least = (1e-4, 0.1) if a.dtype == np.float32 else (1e-9, 1e-9)  # large numbers cancel
        return bool(np.isclose(a, b, rtol=scale, atol=least, equal_nan=True)) or bool(abs(a) > 1e18 and abs(b) > 1e18)


def hg_base() -> Any:
    import boost_histogram as bh

    return bh.Histogram


def run(seed: int, n: int, parts: int, block: int, tape: bytes) -> None:
    """One program on one dataset, both ways."""
    limits: dict[str, float] = {"block": block, "level": (0, 2, 1, 2)[seed % 4]}
    if seed % 3 == 0:  # batches that are often full
        limits["batch"] = 8
    if seed % 5 == 0:  # branches wherever there can be some, or nowhere
        limits["guess"] = (0, 1000)[seed % 2]
    limits["worth"] = (4.0, 0.0, 1e9)[seed % 7 % 3]  # disjunctions wherever they can be, or nowhere
    limits["passing"] = (0.5, 1e-3, 0.99)[seed % 11 % 3]  # other guesses, other orders
    limits["sparse"] = (0.5, 2.0)[seed % 2]
    limits["marks"] = (1 << 22, 0)[seed % 13 % 2]
    with limited(**limits), np.errstate(all="ignore"):
        p = program(tape, hg.from_awkward(collisions(seed, n), npartitions=parts))
        expected, _, _ = computed(p.sinks, "interpreter")
        got, native, plain = computed(p.sinks, "kernel")
    made["programs"] += 1
    made["native"] += native
    made["plain"] += plain
    if isinstance(expected, type) and issubclass(expected, MemoryError):
        return  # too many combinations for NumPy
    if isinstance(expected, type) or isinstance(got, type):
        assert expected is got, f"{expected} and {got}"
        return
    for sink, a, b in zip(p.sinks, expected, got, strict=True):
        if not same(a, b):
            wrong = f"{a.view(flow=True)}\n{b.view(flow=True)}" if isinstance(a, hg_base()) else f"{a!r} {b!r}"
            raise AssertionError(f"{p.log}\n{hg.explain(sink)}\n{wrong}")


@settings(max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 1000),
    st.sampled_from([5, 0, 1, 2, 9, 30]),
    st.sampled_from([1, 2, 7]),
    st.sampled_from([16384, 3, 1]),
    st.binary(min_size=20, max_size=240),
)
def test_random_analyses(seed: int, n: int, parts: int, block: int, tape: bytes) -> None:
    run(seed, n, parts, block, tape)


def test_most_of_them_were_compiled() -> None:
    if made["programs"] < 50:
        pytest.skip("needs the examples")
    assert made["native"] > made["plain"], (made, reasons.most_common(12))

"""Transcendental functions of some events alone: the same numbers, and for no more elements than are asked for."""

from __future__ import annotations

from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limiting import Limit, limited

import hepgraph as hg
from hepgraph.graph.ops import OPS
from hepgraph.runner.compute import passes

FUNCTIONS = sorted(
    name for name, op in OPS.items() if op.cost > 1 and isinstance(op.meaning, np.ufunc) and op.meaning.nin == 1
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(FUNCTIONS),
    st.sampled_from(["f4", "f8"]),
    st.integers(0, 9999),
    st.integers(0, 70),
    st.integers(0, 9),
)
def test_numpy_gives_the_same_bits_at_any_place_of_any_array(
    name: str, dtype: str, seed: int, n: int, shift: int
) -> None:
    """The kernel rests on it: the interpreter asks for all elements at once."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=200) * 10.0 ** rng.integers(-3, 4)).astype(dtype)
    x[rng.integers(0, 200, 5)] = [0.0, -0.0, np.nan, np.inf, 1.0]
    chosen = rng.choice(200 - shift, n) + shift
    f = OPS[name].meaning
    with np.errstate(all="ignore"):
        assert f(x)[chosen].tobytes() == f(x[chosen]).tobytes()
        assert f(x)[shift:].tobytes() == f(x[shift:]).tobytes()


def events_of(n: int = 3000) -> Any:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 6, n)
    jet = ak.zip({"pt": rng.exponential(30, counts.sum()), "phi": rng.uniform(-3, 3, counts.sum())})
    return hg.from_awkward(
        ak.zip({"jet": ak.unflatten(jet, counts), "met": rng.integers(0, 100, n)}, depth_limit=1), npartitions=2
    )


def momenta(events: Any) -> Any:
    x, y = events.jet.pt * np.cos(events.jet.phi), events.jet.pt * np.sin(events.jet.phi)
    return ak.sum(x, axis=1) + ak.sum(y, axis=1)


def filled(x: Any) -> Any:
    return hg.Hist(hist.axis.Regular(20, -100, 100)).fill(x)


def kernel_of(tree: Any) -> Any:
    (each,) = passes(tree, "kernel")[0]
    assert not each.compiled.plain
    return each.compiled.kernel


def test_only_where_an_event_passes() -> None:
    """The first function marks them; the second one runs over these, and has no conditions to look at again."""
    events = events_of()
    total = momenta(events)
    kernel = kernel_of([filled(total[(events.met > 90) & (ak.num(events.jet) > 2)]), filled(events.met)])
    assert [f.title for f in kernel.functions if f.title] == [
        "before transcendental functions are evaluated",
        "for marked events",
    ]
    (marks,) = kernel.stages
    assert marks == kernel.functions[-1].marks
    assert len(kernel.stages[marks]) == 2
    assert "met" not in str(kernel.trees[-1])


def test_for_all_events_where_one_result_is_of_all() -> None:
    events = events_of()
    total = momenta(events)
    kernel = kernel_of([filled(total[events.met > 90]), filled(total)])
    assert list(kernel.stages) == [()]
    assert len(kernel.functions) == 1


def test_conditions_that_need_them_themselves_cannot_come_first() -> None:
    events = events_of()
    total = momenta(events)
    assert list(kernel_of(filled(total[total > 10])).stages) == [()]
    assert list(kernel_of(filled(total[(total > 10) & (events.met > 50)])).stages) != [()]


def test_what_shares_the_work_goes_along() -> None:
    """Pairs are gone through once, though only one of two results needs their angles."""
    events = events_of()
    pairs = ak.combinations(events.jet, 2, fields=["a", "b"])
    best = pairs[ak.argmax(pairs.a.pt * pairs.b.pt, axis=1, keepdims=True)]
    some = events.met > 90
    kernel = kernel_of(
        [filled(ak.flatten(best.a.pt[some])), filled(ak.flatten(np.cos(best.a.phi)[some] * best.b.pt[some]))]
    )
    assert str(kernel).count("for each of jet^2") == 1


@pytest.mark.parametrize(("sparse", "marks"), [(0.0, 1 << 22), (0.5, 0), (2.0, 600), (2.0, 1 << 22)])
@pytest.mark.parametrize("cut", [-1, 50, 90, 1000])
def test_the_same_numbers_however_many_pass(
    sparse: float, marks: int, cut: int, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(sparse=sparse, marks=marks, block=256)
    monkeypatch.setenv("HEPGRAPH_KERNEL_CHECK", "1")
    events = events_of()
    some = (events.met > cut) & (ak.num(events.jet) > 1)
    hard = events.jet[some & (events.jet.pt > 20)]
    total = momenta(events)[some]
    first = np.exp(events.jet.phi)[some][:, 0]
    tree = [
        filled(total),
        total,
        filled(np.cos(hard.phi) * 50),
        ak.sum(np.tanh(hard.phi)),
        first,
        np.cos(events.met)[some],
    ]
    got = hg.compute(tree, engine="kernel", executor="serial", progress=False)
    wanted = hg.compute(tree, engine="interpreter", executor="serial", progress=False)
    assert got[0] == wanted[0]
    assert got[2] == wanted[2]
    for k in (1, 4, 5):
        assert ak.to_numpy(got[k]).tobytes() == ak.to_numpy(wanted[k]).tobytes()
    assert np.isclose(got[3], wanted[3], rtol=1e-12)


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from([1, 2, 7, 64, 2048]),
    st.sampled_from([50, 256, 16384]),
    st.lists(st.integers(-1, 101), min_size=2, max_size=4),
)
def test_functions_for_marked_events_take_turns(step: int, block: int, cuts: list[int]) -> None:
    """Each sees the events of a step before the next one does; each event is seen once by those that it is for."""
    events = events_of(500)
    tree = []
    for k, cut in enumerate(cuts):
        some = (events.met > cut) & (ak.num(events.jet) > k % 2)
        total = ak.sum(events.jet.pt * (np.cos, np.sin, np.tanh, np.exp)[k](events.jet.phi), axis=1)
        tree += [filled(total[some]), total[some]]
    with limited(step=step, block=block, sparse=2.0):
        kernel = kernel_of(tree)
        assert sum(bool(f.marks) for f in kernel.functions) > 1
        got = hg.compute(tree, engine="kernel", executor="serial", progress=False)
    wanted = hg.compute(tree, engine="interpreter", executor="serial", progress=False)
    assert got[::2] == wanted[::2]
    for a, b in zip(got[1::2], wanted[1::2], strict=True):
        assert ak.to_numpy(a).tobytes() == ak.to_numpy(b).tobytes()


def test_functions_of_some_events_and_of_all_together(limit: Limit) -> None:
    """One function of a column is for all events, another for marked ones, and one result needs both."""
    limit(sparse=2.0, block=256)
    events = events_of()
    some = (events.met > 60) & (ak.num(events.jet) > 1)
    x = np.cos(events.jet.phi)
    both = ak.sum(x * np.exp(events.jet.phi), axis=1)[some]
    tree = [filled(x * 50), filled(both), both, ak.sum(np.exp(events.jet.phi), axis=1)[some & (events.met < 80)]]
    kernel = kernel_of(tree[:2])
    assert {bool(marks) for marks in kernel.stages} == {False, True}
    got = hg.compute(tree, engine="kernel", executor="serial", progress=False)
    wanted = hg.compute(tree, engine="interpreter", executor="serial", progress=False)
    assert got[:2] == wanted[:2]
    for k in (2, 3):
        assert ak.to_numpy(got[k]).tobytes() == ak.to_numpy(wanted[k]).tobytes()


def test_checks_that_awkward_makes_are_made_once_more() -> None:
    """An index beyond a list is an error for events that pass, and for no others."""
    events = events_of()
    first = np.cos(events.jet.phi[ak.num(events.jet) > 0][:, 0])
    filled(first).compute(engine="kernel", executor="serial", progress=False)
    for how in ("kernel", "interpreter"):
        with pytest.raises(hg.errors.RangeError, match="index 0 is out of range"):
            filled(np.cos(events.jet.phi[events.met > 50][:, 0])).compute(engine=how, executor="serial", progress=False)

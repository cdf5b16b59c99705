"""Which conditions come first: where loops stand, and that results and errors do not depend on it."""

from __future__ import annotations

from itertools import product
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from drawing import Tape, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limiting import limited

import hepgraph as hg
from hepgraph.graph.node import map_
from hepgraph.kernel.guards import surely_there
from hepgraph.runner.compute import passes


def data(n: int = 200, seed: int = 0) -> ak.Array:
    """Events with many jets and few leptons."""
    rng = np.random.default_rng(seed)

    def lists(most: int) -> Any:
        counts = rng.integers(0, most + 1, n)
        pt = np.round(rng.exponential(40, counts.sum()), 1).astype("f4")
        eta = np.round(rng.normal(0, 2, counts.sum()), 1).astype("f4")
        return ak.zip({"pt": ak.unflatten(pt, counts), "eta": ak.unflatten(eta, counts)})

    return ak.zip({"jet": lists(9), "el": lists(2), "mu": lists(2), "met": rng.integers(0, 90, n)}, depth_limit=1)


def histogram() -> Any:
    return hg.Hist(hist.axis.Regular(10, 0, 300))


def outline(tree: Any) -> list[str]:
    """The loops and results by the events that they are made for."""
    (each,) = passes(tree, "kernel")[0]
    assert not each.compiled.plain
    return [line.text for line in each.compiled.kernel.outline()]


def test_regions_that_share_jets_look_at_them_only_where_there_is_one_lepton(tmp_path: Any) -> None:
    """The condition of all results comes before loops over more and longer lists, whoever shares them."""
    array = data()
    flat = {"jet": array.jet.pt, "el": array.el.pt, "mu": array.mu.pt}
    ak.to_parquet(ak.zip(flat, depth_limit=1), str(tmp_path / "f.parquet"))
    events = hg.from_parquet(str(tmp_path / "f.parquet"))
    jets = events.jet[events.jet > 30]
    tagged = ak.sum(jets > 60, axis=1)
    leptons = ak.num(events.el[events.el > 20]) + ak.num(events.mu[events.mu > 20])
    some = (ak.num(jets) >= 3) & (leptons == 1)
    tree = [
        histogram().fill(ak.sum(jets[some & (tagged == 1)], axis=1)),
        histogram().fill(ak.max(jets[some & (tagged >= 2)], axis=1, mask_identity=False)),
    ]
    before, jets_of_some, *_ = outline(tree)
    assert before == "every event: el, mu"
    assert jets_of_some.startswith("  if ")
    assert jets_of_some.endswith(" == 1: jet")
    agree(tree)


def test_what_two_channels_share_is_made_where_either_is() -> None:
    """Neither condition is of both, so their disjunction stands around the pairs of jets."""
    events = hg.from_awkward(data())
    pairs = ak.combinations(events.jet, 2, fields=["a", "b"])
    mass = ak.max(pairs.a.pt * pairs.b.pt * np.cosh(pairs.a.eta - pairs.b.eta), axis=1, mask_identity=False)
    tree = [histogram().fill(mass[events.met > 80]), histogram().fill(mass[events.met < 10])]
    (each,) = passes(tree, "kernel")[0]
    lines = [line.text for line in each.compiled.kernel.outline()]
    assert lines[0].startswith("if ")
    assert " or " in lines[0]
    assert lines[0].endswith("jet^2")
    assert [line.split(":")[1] for line in lines[1:]] == [" result 0", " result 1"]
    assert "or" in str(each.compiled.kernel).splitlines()[0]
    agree(tree)


def test_inside_of_a_loop_too() -> None:
    """A jet that fails a cut is not asked for what takes a loop over its pairs."""
    events = hg.from_awkward(data())
    pairs = ak.cartesian({"a": events.jet, "b": events.mu}, nested=True)
    alone = ak.all(abs(pairs.a.eta - pairs.b.eta) > 0.4, axis=2)
    hard = events.jet.pt > 50
    tree = [
        histogram().fill(events.jet.pt[alone & hard & (events.jet.eta > 0)]),
        histogram().fill(events.jet.pt[alone & hard & (events.jet.eta < -1)]),
    ]
    (each,) = passes(tree, "kernel")[0]
    lines = str(each.compiled.kernel).splitlines()
    first = next(i for i, line in enumerate(lines) if "for each of jet" in line)
    assert "if " in lines[first + 1]
    assert not any("begin" in line for line in lines[: first + 2])
    agree(tree)


NUMBERS = {0: int, 1: np.int64, 2: float}
COMPARISONS = (np.greater_equal, np.greater, np.equal, np.less_equal, np.less, np.not_equal)


@settings(max_examples=examples(15), deadline=None)
@given(st.sampled_from(COMPARISONS), st.integers(-3, 4), st.integers(-3, 3), st.booleans(), st.integers(0, 2))
def test_an_index_is_checked_where_no_condition_says_that_it_is_there(
    compare: Any, number: int, k: int, swapped: bool, kind: int
) -> None:
    """An error where awkward has one, and no work for what cannot fail."""
    events = hg.from_awkward(data())
    size, literal = ak.num(events.jet), NUMBERS[kind](number)
    some = (compare(literal, size) if swapped else compare(size, literal)) & (events.met > 5)
    h = histogram().fill(events.jet[some].pt[:, k])
    counts = np.arange(10)
    passing = counts[compare(literal, counts) if swapped else compare(counts, literal)]
    never = bool((passing < (k + 1 if k >= 0 else -k)).any())
    found = []
    for engine in ("interpreter", "kernel"):
        try:
            found.append(h.compute(engine=engine, executor="serial", progress=False))
        except hg.errors.RangeError as error:
            found.append(str(error))
    assert found[0] == found[1]
    assert isinstance(found[1], str) == never


def test_a_condition_says_that_an_element_is_there_or_leaves_it_open() -> None:
    """Never for a list that passes and lacks it; always if it says so with a whole number."""
    jets = hg.from_awkward(data()).jet
    size, counts = ak.num(jets), np.arange(12)
    for compare, number, swapped in product(COMPARISONS, range(-3, 6), (False, True)):
        mask = (compare(number, size) if swapped else compare(size, number))._form.node
        passing = counts[compare(number, counts) if swapped else compare(counts, number)]
        for k in range(-4, 5):
            pick = map_("pick", mask.space, jets._form.space, (mask,), ("at", 0, k))
            told = surely_there(pick, [mask])
            if told or (compare is not np.not_equal and passing.any()):
                assert told == (passing >= (k + 1 if k >= 0 else -k)).all(), (compare, number, swapped, k)


def test_an_index_that_a_condition_covers_is_not_looked_at_again() -> None:
    events = hg.from_awkward(data())
    jets = events.jet[events.jet.pt > 20]
    four = jets[(ak.num(jets) >= 4) & (events.met > 5)]
    assert "a check" not in str(hg.explain(histogram().fill(four.pt[:, 3])))
    assert "a check" not in str(hg.explain(histogram().fill(four.pt[:, -4])))
    assert "a check" in str(hg.explain(histogram().fill(four.pt[:, 4])))
    assert "a check" in str(hg.explain(histogram().fill(four[four.eta > 0].pt[:, 0])))


def test_explain_says_what_is_done_for_which_events() -> None:
    events = hg.from_awkward(data())
    pairs = ak.combinations(events.jet, 2, fields=["a", "b"])
    some = events.met > 80
    tree = [
        histogram().fill(ak.sum((pairs.a.pt * np.cos(pairs.b.eta))[some], axis=1)),
        ak.sum(events.jet[some][:, 0].pt),
        histogram().fill(events.met),
        histogram().fill(events.met[some]),
    ]
    _, after = str(hg.explain(tree)).split("loops and results, by the events that they are made for:\n")
    passing = f"{100 * np.mean(data().met > 80):.3g} %"
    assert after.splitlines() == [
        f"  {share:<8}{line}"
        for share, line in [
            ("", "function 1, before transcendental functions are evaluated:"),
            (passing, "if %1 > 80: a mark"),
            ("", "function 2:"),
            ("100 %", "every event: result 2"),
            (passing, "  if %1 > 80: results 1, 3, a check"),
            ("", "function 3, for marked events:"),
            (passing, "if %1 > 80: jet^2, result 0"),
        ]
    ]


def agree(tree: Any) -> list[Any]:
    """Results of the kernel, which must be those of the interpreter, errors included."""
    made: list[Any] = []
    for how in ("kernel", "interpreter"):
        try:
            made.append(hg.compute(tree, engine=how, executor="serial", progress=False))
        except (ValueError, IndexError) as error:
            made.append([type(error), str(error), getattr(error, "__notes__", [])])
    assert made[0] == made[1]
    return made[0]  # type: ignore[no-any-return]


def analysis(tape: Tape, events: Any) -> list[Any]:
    """Results that share loops, each under conditions that others have too, or not."""
    good = events.jet[events.jet.pt > tape.of([0, 30, 60])]
    central = good[abs(good.eta) < 2]
    masks = [
        events.met > 40,
        events.met < 20,
        ak.num(events.el[events.el.pt > 20]) == 1,
        ak.num(good) >= tape.of([1, 3]),
        ak.num(central) == 2,
        ak.any(good.pt > 80, axis=1),
        ak.sum(central.pt, axis=1) > 90,
        np.cos(events.met) > 0.3,
        ak.any(np.sinh(central.eta) > 2, axis=1),
    ]
    pairs = ak.combinations(central, 2, fields=["a", "b"])
    best = pairs[ak.argmax(pairs.a.pt * pairs.b.pt, axis=1, keepdims=True)]
    tree: list[Any] = []
    for _ in range(2 + tape.below(6)):
        some = masks[tape.below(len(masks))]
        for _ in range(tape.below(4)):
            some = some & masks[tape.below(len(masks))]
        shared = [
            lambda c: ak.sum(c[1].pt, axis=1),
            lambda c: ak.max(c[1].eta, axis=1, mask_identity=False),
            lambda c: ak.flatten(c[2].a.pt - c[2].b.pt),
            lambda c: ak.flatten(c[1].pt * 2),
            lambda c: c[0][:, 0].pt,  # an error where a list is empty
            lambda c: c[1].pt[:, -2],
            lambda c: ak.sum(c[3].b.pt > 40, axis=1),
            lambda c: ak.sum(c[1].pt * np.cos(c[1].eta), axis=1),
            lambda c: ak.flatten(c[2].a.pt * np.sin(c[2].a.eta) + c[2].b.pt * np.exp(c[2].b.eta)),
            lambda c: ak.flatten(np.tanh(c[1].eta[c[1].pt > 50]) * 100),
        ]
        cut = [x[some] for x in (good, central, best, pairs)]
        tree.append(histogram().fill(tape.of(shared)(cut)))
    tree.append(ak.sum(ak.num(central[masks[tape.below(len(masks))]])))
    return tree


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 99),
    st.sampled_from([0, 1, 7, 60]),
    st.integers(1, 3),
    st.booleans(),
    st.binary(min_size=4, max_size=60),
)
def test_the_order_of_conditions_changes_no_result_and_no_error(
    seed: int, n: int, parts: int, checks: bool, tape: bytes
) -> None:
    guesses = {
        "block": 16,
        "worth": (4.0, 0.0, 1e9)[seed % 3],
        "length": (3.0, 0.01, 1e3)[seed % 5 % 3],
        "passing": (0.5, 0.01, 0.99)[seed % 7 % 3],
        "sparse": (0.5, 0.0, 2.0)[seed % 11 % 3],
        "marks": (1 << 22, 0, 100)[seed % 13 % 3],
    }
    with pytest.MonkeyPatch.context() as patch, limited(**guesses):
        if checks:
            patch.setenv("HEPGRAPH_KERNEL_CHECK", "1")
        agree(analysis(Tape(tape), hg.from_awkward(data(n, seed), npartitions=parts)))

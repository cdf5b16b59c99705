"""The share of events that reaches each result, variation and branch, in `hg.explain`."""

from __future__ import annotations

import re
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.runner.compute import passes
from hepgraph.runner.shares import measured, reaching

EVENTS = 240


def data(events: int = EVENTS) -> ak.Array:
    rng = np.random.default_rng(7)
    counts = rng.poisson(1.5, events)
    jets = {"pt": rng.exponential(40, counts.sum()), "eta": rng.normal(0, 2, counts.sum())}
    lists = ak.zip({name: ak.unflatten(x, counts) for name, x in jets.items()})
    return ak.zip({"met": rng.exponential(30, events), "w": rng.normal(1, 0.1, events), "jet": lists}, depth_limit=1)


def histogram() -> Any:
    return hg.Hist.new.Reg(10, 0, 300, name="x").Weight()


def told(tree: Any, **options: Any) -> list[str]:
    """The lines from the results on, without the steps."""
    lines = str(hg.explain(tree, **options)).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("results"))
    steps = lines.index("steps:")
    loops = next((i for i, line in enumerate(lines) if line.startswith("loops and results")), len(lines))
    return lines[at:steps] + lines[loops:]


def percent(mask: Any) -> str:
    return f"{100 * np.sum(np.asarray(mask)) / len(mask):.3g} %"


def central(jets: Any) -> Any:
    return jets[abs(jets.eta) < 1]


# conditions on events, the same words for lazy and eager ones
CUTS = {
    "met": lambda e: e.met > 25,
    "weight": lambda e: e.w < 1,
    "some": lambda e: ak.num(e.jet) >= 1,
    "two": lambda e: ak.num(central(e.jet)) == 2,
    "hard": lambda e: ak.any(e.jet.pt > 60, axis=1),
    "ht": lambda e: np.cos(ak.sum(e.jet.pt, axis=1)) > 0.2,
    "called": lambda e: hg.map_partitions(lambda x: x * 2, e.met) > 30 if isinstance(e, hg.Lazy) else e.met * 2 > 30,
}
# results of selected events
RESULTS = {
    "flat": lambda e, at: histogram().fill(e.met[at]),
    "lists": lambda e, at: histogram().fill(ak.flatten(e.jet.pt[at])),
    "filtered": lambda e, at: histogram().fill(ak.flatten(central(e.jet[at]).pt), weight=2.0),
    "weighted": lambda e, at: histogram().fill(e.met[at], weight=e.w[at]),
    "array": lambda e, at: e.met[at] * 2,
    "jagged": lambda e, at: central(e[at].jet).pt,
    "sum": lambda e, at: ak.sum(e.w[at], axis=None),
    "sum of lists": lambda e, at: ak.sum(central(e.jet[at]).pt, axis=None),
    "first": lambda e, at: histogram().fill(ak.fill_none(ak.firsts(e[at].jet.pt), 0)),
    "pairs": lambda e, at: histogram().fill(ak.max(ak.combinations(e.jet[at].pt, 2)["0"], axis=1, mask_identity=False)),
}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([*RESULTS]), st.sets(st.sampled_from([*CUTS]))), min_size=1, max_size=4),
    st.integers(1, EVENTS + 10),
    st.integers(1, 3),
)
def test_shares_are_those_of_plain_arrays(drawn: list[tuple[str, set[str]]], most: int, ranges: int) -> None:
    whole = data()
    events = hg.from_awkward(whole, npartitions=ranges)
    looked_at = whole[: min(most, len(events.source.partitions([])[0]))]
    tree, wanted = {}, []
    for i, (result, cuts) in enumerate(drawn):
        at, expected = events.met > -1, np.ones(len(looked_at), bool)
        for cut in sorted(cuts):
            at = at & CUTS[cut](events)
            expected = expected & ak.to_numpy(CUTS[cut](looked_at))
        tree[f"r{i}"] = RESULTS[result](events, at)
        wanted.append(percent(expected))
    lines = told(tree, events=most)
    many = f"{len(looked_at)} event{'s' * (len(looked_at) != 1)}"
    assert lines[0] == f"results, and the share of the first {many} that reaches each:"
    found = [re.fullmatch(r"  .*, r\d+: ([\d.e+-]+ %); .*", line).group(1) for line in lines[1 : 1 + len(drawn)]]
    assert found == wanted
    masks = {reaching(events._origin, result.wants) for result in passes(tree)[0][0].sinks}
    kernel, interpreter = (measured(passes(tree, engine)[0][0], masks, most) for engine in ("kernel", "interpreter"))
    assert kernel == interpreter


def test_several_fills_are_reached_by_the_events_of_any() -> None:
    whole = data()
    events = hg.from_awkward(whole)
    low, high = events.met < 10, events.met > 50
    h = histogram().fill(events.met[low]).fill(events.met[high])
    assert told(h)[1].startswith(
        f"  result 0, histogram of x: {percent((whole.met < 10) | (whole.met > 50))}; 1 column; "
    )
    assert ": 100 %; " in told(histogram().fill(events.met[low]).fill(events.met))[1]
    assert ": 0 %; " in told(histogram().fill(events.met[events.met < -1]))[1]


def test_branches_have_the_share_of_all_conditions_on_the_way() -> None:
    whole = data()
    events = hg.from_awkward(whole)
    one, two = (ak.num(events.jet) >= 1) & (events.met > 20), ak.num(events.jet) >= 2
    tree = [
        histogram().fill(events.w),
        histogram().fill(ak.sum(events.jet[one].pt, axis=1)),
        histogram().fill(ak.sum(np.cos(events.jet.eta)[one & two], axis=1)),
    ]
    lines = told(tree)
    at = lines.index("loops and results, by the events that they are made for:") + 1
    loose = (ak.num(whole.jet) >= 1) & (whole.met > 20)
    tight = loose & (ak.num(whole.jet) >= 2)
    shares = [re.split(r"  +", line.strip())[0] for line in lines[at:] if "%" in line[:9]]
    assert set(shares) == {"100 %", percent(loose), percent(tight)}
    for line in lines[at:]:
        if line.endswith(("result 1", "result 2")):
            assert line.split("  ")[1] == percent(loose if line.endswith("1") else tight), line


def test_variations_of_one_share_are_on_a_line() -> None:
    whole = data()
    events = hg.from_awkward(whole)
    factors = {"A_up": 1.2, "A_down": 0.8}
    events["jet"] = hg.vary(events.jet, {name: {"pt": events.jet.pt * factor} for name, factor in factors.items()})
    hard = ak.any(events.jet.pt > 60, axis=1)
    weights = hg.Weights(events[hard]).add("w", events.w[hard], up=events.w[hard] * 2, down=events.w[hard] / 2)
    lines = told({"h": histogram().fill(events.met[hard], weight=weights), "met": events.met})
    shares = {name: percent(ak.any(whole.jet.pt * f > 60, axis=1)) for name, f in {"nominal": 1.0, **factors}.items()}
    assert len(set(shares.values())) == 3
    assert lines[1].startswith("  result 0, h: 3 columns; lists jet; ")
    assert lines[2:5] == [
        f"    {shares['nominal']:<8}nominal, w_up, w_down",
        f"    {shares['A_up']:<8}A_up",
        f"    {shares['A_down']:<8}A_down",
    ]
    assert lines[5].startswith("  result 1, met: 100 %; 1 column; 1 operation (0 for it alone)")


def test_many_variations_of_one_share_are_wrapped() -> None:
    events = hg.from_awkward(data())
    met = hg.vary(events.met, {f"n{i}": events.met + i for i in range(1, 41)})
    lines = told(met[events.w > 1])
    names = re.findall(r"nominal|n\d+", " ".join(lines[2:]).split("loops and results")[0])
    assert names == ["nominal", *(f"n{i}" for i in range(1, 41))]
    assert max(map(len, lines)) <= 116


def test_each_dataset_has_its_own(tmp_path: Any) -> None:
    """Though the kernel of one is that of the other, whose items its loops are written with."""
    parts = data()[:200], data()[200:]
    for k, part in enumerate(parts):
        ak.to_parquet(part, str(tmp_path / f"{k}.parquet"))
    all_events = [hg.from_parquet(str(tmp_path / f"{k}.parquet")) for k in range(2)]
    text = str(hg.explain([histogram().fill(events.met[events.met > 25]) for events in all_events]))
    for k, (section, part) in enumerate(zip(text.split("\n\n")[1:], parts, strict=True)):
        share = percent(part.met > 25)
        assert f"  result 0, [{k}]: {share}; " in section
        assert f"  {share:<8}if %1 > 25: result 0" in section


def test_one_file_of_several_has_no_events(tmp_path: Any) -> None:
    for name, part in {"a": data()[:0], "b": data()[:100]}.items():
        ak.to_parquet(part, str(tmp_path / f"{name}.parquet"))
    events = hg.from_parquet(str(tmp_path / "*.parquet"))
    assert told(events.met, events=7)[:2] == [
        "results, and the share of the first 7 events that reaches each:", "  result 0: 100 %; 1 column; 1 operation",
    ]  # fmt: skip


@pytest.mark.parametrize(("whole", "options"), [(data()[:0], {}), (data(), {"events": 0})])
def test_without_events_there_are_no_shares(whole: ak.Array, options: dict[str, int]) -> None:
    events = hg.from_awkward(whole)
    lines = told(events.met[events.met > 5], **options)
    assert lines == [
        "results:",
        "  result 0: 1 column; 3 operations",
        "loops and results, by the events that they are made for:",
        "  if %1 > 5: result 0",
    ]


def test_the_plan_is_told_though_the_first_events_give_an_error() -> None:
    def broken(x: Any) -> Any:
        if len(x) == EVENTS:
            raise RuntimeError("not for so many\nand more")
        return x * 2

    events = hg.from_awkward(data())
    tree = events.met[hg.map_partitions(broken, events.met) > 5]
    lines = told(tree)
    assert lines[0] == "results, of unknown shares, as the first events give RuntimeError: not for so many"
    assert lines[1:] == told(tree, events=0)[1:]
    assert told(events.met[events.jet.pt[:, 0] > 5])[0].startswith("results, of unknown shares, as the first events ")


def test_a_plan_of_nothing_says_so() -> None:
    events = hg.from_awkward(data())
    weights = hg.Weights(events).add("w", events.w)
    assert str(hg.explain(weights)) == ("nothing is computed: in this Weights is no lazy array, histogram or cutflow")
    assert "in this dict" in str(hg.explain({"a": 3}))

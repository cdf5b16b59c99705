"""The canonical form: what means the same is the same object."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.graph.canonical import (
    TOTAL,
    TRUE,
    apply,
    both,
    conjunction,
    count,
    filtered,
    full,
    inc,
    leg,
    lift,
    ordinal,
    pulled,
    take,
    up,
)  # fmt: skip
from hepgraph.graph.form import List, Record, Scalar
from hepgraph.graph.kinds import stays
from hepgraph.graph.node import Item, Node, dumps, literal, loads, map_, ordered, space
from hepgraph.lazy.array import Lazy

DATA = ak.Array(
    [
        {"x": 1.0, "b": True, "jet": [{"pt": 50.0, "eta": 1.0}, {"pt": 20.0, "eta": 0.0}], "mu": [{"pt": 5.0}]},
        {"x": -1.0, "b": False, "jet": [], "mu": [{"pt": 9.0}, {"pt": 3.0}]},
        {"x": 3.0, "b": True, "jet": [{"pt": 30.0, "eta": -2.0}], "mu": []},
    ]
)


@pytest.fixture(scope="module")
def events() -> Lazy:
    return hg.from_awkward(DATA, npartitions=2)


def node_of(x: Lazy) -> Node:
    """The one node of an array of numbers."""
    form = x._form
    while isinstance(form, List):
        form = form.content
    assert isinstance(form, Scalar)
    return form.node


def same(a: Lazy, b: Lazy) -> bool:
    """Whether two arrays are the same graph with the same cuts."""
    return node_of(a) is node_of(b) and a._rows is b._rows and set(a._guard) == set(b._guard)


def test_what_is_written_twice_is_one_node(events: Lazy) -> None:
    assert node_of(events.x > 0) is node_of(events.x > 0)
    assert node_of(np.sqrt(events.jet.pt)) is node_of(np.sqrt(events["jet", "pt"]))
    assert node_of(ak.sum(events.jet.pt, axis=1)) is node_of(ak.sum(events.jet["pt"], axis=-1))
    assert node_of(ak.combinations(events.jet, 2)["0"].pt) is node_of(ak.combinations(events.jet, 2)["0"].pt)


def test_a_named_mask_changes_nothing(events: Lazy) -> None:
    pt, eta = events.jet.pt, events.jet.eta
    named = pt > 25
    assert same(eta[pt > 25] + pt[pt > 25], eta[named] + pt[named])
    assert same(events.jet[named].pt, pt[named])
    assert same(eta[named] + pt[named], (eta + pt)[named])


def test_operations_are_made_where_values_come_from(events: Lazy) -> None:
    pairs = ak.combinations(events.jet, 2, fields=["a", "b"])
    legs = node_of(np.cos(pairs.a.eta))
    assert legs.op == "take"
    assert legs.args[1] is node_of(np.cos(events.jet.eta))
    assert node_of(pairs.a.pt + pairs.a.eta) is take(leg(legs.space, 0), node_of(events.jet.pt + events.jet.eta))
    assert node_of(pairs.a.pt + pairs.b.pt).op == "add"


def test_a_value_of_the_event_goes_the_shortest_way(events: Lazy) -> None:
    jets = events.jet[events.jet.pt > 25]
    pairs = ak.combinations(jets, 2, fields=["a", "b"])
    x = ak.broadcast_arrays(events.x, pairs.a.pt)[0]
    assert node_of(x) is take(up(node_of(x).space), node_of(events.x))
    scaled = node_of(pairs.a.pt * events.x)
    assert scaled is take(leg(scaled.space, 0), node_of(jets.pt * events.x))
    assert node_of(jets.pt * events.x).args[1] is node_of(events.jet.pt * events.x)


def test_event_masks_one_by_one_or_together(events: Lazy) -> None:
    a, b = events.x > 0, events.b
    assert same(events[a][b[a]].x, events[a & b].x)
    assert same(events[a & b].x, events[b & a].x)
    assert same(events[a & a].x, events[a].x)
    assert same(events[a].x + 1, (events.x + 1)[a])
    assert node_of(ak.num(events[a][b[a]], axis=0)) is node_of(ak.num(events[a & b], axis=0))


def test_masks_of_masks(events: Lazy) -> None:
    jets = events.jet
    once = jets[jets.pt > 25]
    twice = once[once.eta > 0]
    base = node_of(jets.pt)
    assert node_of(twice.pt).op == "take"
    value: Any = node_of(twice.pt)
    while value.op == "take":
        value = value.args[1]
    assert value is base


def test_combinations_commute_with_cuts_of_events(events: Lazy) -> None:
    cut = events.x > 0
    assert same(ak.combinations(events[cut].jet, 2)["0"].pt, ak.combinations(events.jet, 2)["0"].pt[cut])


def test_partitioning_is_not_in_the_graph(events: Lazy) -> None:
    assert node_of(events.repartition(3).x) is not None
    one = (events.x > 0).repartition(3)
    two = events.repartition(3).x > 0
    assert node_of(one) is node_of(two) or one._origin != two._origin


def test_take_keeps_its_meaning(events: Lazy) -> None:
    jets = events.jet._form
    assert isinstance(jets, List)
    s, at = jets.space, events._rows
    x, pt = node_of(events.x), node_of(events.jet.pt)
    kept = filtered(s, apply("greater", [pt, literal(0)]))
    assert take(inc(kept), take(up(s), x)) is take(up(kept), x)
    one = space("one", at)
    assert take(map_("only", at, one), take(up(one), x)) is x
    below = pulled(s, up(s))
    assert take(inc(below), take(up(s), x)) is take(up(below), take(up(s), x))
    assert count(below) is take(up(s), count(s))
    assert count(one) is full(1, at)
    assert filtered(s, TRUE) is s
    first = map_("pick", at, s, (), ("at", 0, 0))
    assert take(first, take(up(s), x)) is x
    checked = map_("pick", at, s, (TRUE,), ("at", 0, 0))
    assert take(checked, take(up(s), x)) is not x  # it still has to find out whether there is a first
    with pytest.raises(ShapeError):
        take(inc(kept), x)
    with pytest.raises(ShapeError):
        lift(pt, at)


def test_checked_alignments_stay(events: Lazy) -> None:
    jets, mu = events.jet._form, events.mu._form
    assert isinstance(jets, List)
    assert isinstance(mu, List)
    m = map_("match", jets.space, mu.space, (TRUE,))
    moved = take(m, take(up(mu.space), node_of(events.x)))
    assert moved.op == "take"
    assert moved.args[0] is m


NUMBERS = [0, 1, -1, 20, 127, 128, 255, -128, 2048, 2049, 65504, 2**24, 2**24 + 1, 2**31, 2**53 - 1, 2**53, 2**53 + 1,
           2**62, 2**63 - 1, 2**63]  # fmt: skip


COMPARISONS = [np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal]


def column_of(kind: str) -> Any:
    """The numbers that a type holds, as near as it does."""
    with np.errstate(all="ignore"):
        some = [x for x in NUMBERS if kind in "efd" or np.iinfo(kind).min <= x <= np.iinfo(kind).max]
        return np.array(some).astype(kind)


@pytest.mark.parametrize("of", [int, float, np.float64, np.float32, np.float16, np.int64, np.uint64])
@pytest.mark.parametrize("kind", list("bBhHiIqQefd"))
def test_comparison_with_equal_numbers_is_one(kind: str, of: Any) -> None:
    values = column_of(kind)
    x = hg.from_awkward(ak.Array(values))
    for value in [*NUMBERS, -0.0, 20.5, np.inf, np.nan]:
        with np.errstate(all="ignore"):
            try:
                number = of(value)
            except (OverflowError, ValueError):
                continue
            fits = kind in "efd" or np.iinfo(kind).min <= value <= np.iinfo(kind).max
            same = fits and abs(value) < 2048 and value == int(value)
            for op in COMPARISONS:
                for args in ((number, x), (x, number)):
                    made = node_of(op(*args))
                    meant = [arg.param.value if arg.op == "literal" else values for arg in made.args]  # type: ignore[union-attr]
                    eager = op(*(values if arg is x else arg for arg in args))
                    np.testing.assert_array_equal(op(*meant), eager, err_msg=f"{op} {value} {args}")
                    if same:
                        assert made is node_of(op(*(int(value) if arg is number else arg for arg in args)))


@settings(deadline=None)
@given(st.sampled_from("bBhHiIqQefd"), st.sampled_from([*NUMBERS, 20.5]), st.sampled_from(COMPARISONS), st.booleans())
def test_comparison_in_the_kernel(kind: str, value: Any, op: Any, first: bool) -> None:
    values = column_of(kind)
    x = hg.from_awkward(ak.Array(values))
    with np.errstate(all="ignore"):  # a half float that the number does not fit in
        lazy, eager = (op(float(value), a) if first else op(a, float(value)) for a in (x, values))
    for engine in ("interpreter", "kernel"):
        assert lazy.compute(engine=engine, executor="serial", progress=False).to_list() == eager.tolist()


def test_lists_cut_by_equal_numbers_go_together(events: Lazy) -> None:
    a, b = events.jet[events.jet.pt > 20], events.jet[events.jet.pt > 20.0]
    assert (a.pt - b.pt).compute().to_list() == [[0.0], [], [0.0]]
    assert events[events.x > 1].jet.pt._guard == events[events.x > 1.0].jet.pt._guard
    with pytest.raises(ShapeError):
        a.pt - events.jet[events.jet.pt > 20.5].pt


def test_literals_are_kept_apart() -> None:
    ones = [literal(1), literal(1.0), literal(True), literal(np.float32(1)), literal(np.int64(1)), literal("1")]
    assert len(set(ones)) == 6
    assert literal(0.0) is not literal(-0.0)
    assert literal(float("nan")) is literal(float("nan"))


def test_maps_that_stay_under_an_ancestor(events: Lazy) -> None:
    jets = events.jet._form
    assert isinstance(jets, List)
    s, at = jets.space, events._rows
    kept = filtered(s, apply("greater", [node_of(events.jet.pt), literal(0)]))
    assert stays(inc(kept), at)
    assert stays(up(s), at)
    index = take(inc(kept), ordinal(s))
    other = map_("gather", s, s, (ordinal(s),), True)
    mothers = pulled(s, up(s))
    assert stays(inc(mothers), at)
    assert stays(other, at)
    assert not stays(other, s)
    assert index.space is kept


def test_a_total_cannot_go_down(events: Lazy) -> None:
    with pytest.raises(UnsupportedError, match=r"compute"):
        take(up(events._rows), node_of(ak.sum(events.x)))
    with pytest.raises(UnsupportedError, match=r"compute"):
        events.x - ak.mean(events.x)


def test_indices_of_other_lists_are_not_taken_for_these() -> None:
    data = ak.Array([[1.0, 2.0, 3.0], [4.0], [5.0, 6.0]])
    x = hg.from_awkward(data)
    i = ak.local_index(x)
    moved = ak.unflatten(ak.flatten(i), ak.num(x) * 1)
    assert x[moved].compute(progress=False).to_list() == data.to_list()


def test_ten_thousand_operations() -> None:
    x = hg.from_awkward(ak.Array([1.0, 2.0, 3.0]), npartitions=2)
    times = []
    y = x
    for _ in range(2):
        start = time.perf_counter()
        for i in range(5000):
            y = y + (i % 7)
        times.append(time.perf_counter() - start)
    print(f"{times[0] / 5000 * 1e6:.0f} and {times[1] / 5000 * 1e6:.0f} us an operation")
    expected = np.array([1.0, 2.0, 3.0])
    for _ in range(2):
        for i in range(5000):
            expected = expected + (i % 7)
    assert y.compute(executor="serial", progress=False).to_list() == expected.tolist()
    again = pickle.loads(pickle.dumps(y))
    assert node_of(again) is node_of(y)
    assert len(ordered([node_of(y)])) > 10_000
    del again, y
    gc.collect()


def test_deep_in_other_ways() -> None:
    events = hg.from_awkward(DATA)
    jets = events.jet
    for i in range(200):
        jets = jets[jets.pt > i % 3]
    assert jets.pt.compute(progress=False).to_list() == DATA.jet.pt.to_list()
    for i in range(1100):
        events["new"] = events.x + i
        events["jet", "new"] = events.jet.pt + i
    assert events.new.compute(progress=False).to_list() == (DATA.x + 1099).to_list()
    assert events.jet.new.compute(progress=False).to_list() == (DATA.jet.pt + 1099).to_list()
    assert pickle.loads(pickle.dumps(events)).fields == events.fields
    names = [f"f{i}" for i in range(300)]
    for name in names:
        events[name] = events.x
    for name in names:
        del events[name]
    assert events.fields == [*DATA.fields, "new"]


def test_pickle_in_another_process(tmp_path: Any, events: Lazy) -> None:
    y = ak.combinations(events.jet[events.jet.pt > 25], 2)["0"].pt + events.x
    (tmp_path / "y").write_bytes(pickle.dumps([y, y + 1]))
    code = (
        "import pickle, sys; a, b = pickle.load(open(sys.argv[1], 'rb'))\n"
        "from hepgraph.graph.node import ordered\n"
        "assert (a + 1)._form.content.node is b._form.content.node\n"
        "open(sys.argv[2], 'wb').write(pickle.dumps(a)); print(a.compute(progress=False).to_list())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "y"), str(tmp_path / "z")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(y.compute(progress=False).to_list())
    back = pickle.loads((tmp_path / "z").read_bytes())
    assert node_of(back) is node_of(y)


def test_dumps_keeps_sharing(events: Lazy) -> None:
    a = node_of(events.x + 1)
    b = apply("multiply", [a, a])
    assert loads(dumps({"a": a, "b": [b]})) == {"a": a, "b": [b]}
    assert Record({}).fields == {}
    assert ordered([b])[-1] is b
    assert TOTAL in ordered([b])


@pytest.mark.parametrize("which", [(0, 1, 2), (0, 0), (0,), (3, 1), (0, 1, 0)])
def test_a_conjunction_is_made_once_and_goes_with_what_asked_for_it(which: tuple[int, ...]) -> None:
    x = hg.from_awkward(DATA)
    n = ak.num(x.jet)
    masks = [n > 10, n < 90, n != 50]
    guard = tuple([*map(node_of, masks), TRUE][i] for i in which)
    found, folded = conjunction(guard, x._rows), TRUE
    for mask in guard:
        folded = both(folded, mask)
    assert conjunction(guard, x._rows) is found is folded
    gone = weakref.ref(found)
    del x, n, masks, guard, found, folded, mask
    gc.collect()
    assert gone() is None


SPELLED = [
    kind(value)
    for kind in (bool, int, float, np.bool_, np.int8, np.uint8, np.int64, np.uint64, np.float32, np.float64)
    for value in (0, 1, 2, 100)
] + [
    -0.0,
    np.float64(-0.0),
    np.float32(-0.0),
    0.5,
    np.float32(0.1),
    np.float64(0.1),
    float("nan"),
    2**70,
    -1,
    np.int8(-1),
]


@given(st.sampled_from(SPELLED), st.sampled_from(SPELLED))
def test_literals_are_known_by_type_and_spelling(one: Any, two: Any) -> None:
    """Also those that are looked up by their values, of which 1, 1.0 and True, or 0.0 and -0.0, are equal."""
    alike = type(one) is type(two) and repr(one) == repr(two)
    assert (literal(one) is literal(two)) == alike
    assert repr(literal(one).param.value) == repr(one)
    assert type(literal(one).param.value) is type(one)


@given(st.integers(0, 2**32), st.integers(1, 12), st.booleans())
def test_the_order_is_that_of_a_recursion(events: Lazy, seed: int, size: int, some: bool) -> None:
    rng = np.random.default_rng(seed)
    nodes = [node_of(events.x), node_of(events.jet.pt), node_of(events.jet.eta)]
    for _ in range(size):
        a, b = (nodes[k] for k in rng.integers(0, len(nodes), 2))
        nodes.append(apply("add", [a, b]) if a.space is b.space else apply("multiply", [b, literal(float(seed))]))
    roots = [nodes[k] for k in rng.integers(0, len(nodes), 3)]
    ends = {nodes[k] for k in rng.integers(0, len(nodes), 2)} if some else set()
    order: list[Item] = []
    seen: set[Item] = set()

    def visit(item: Item) -> None:
        if item not in seen:
            seen.add(item)
            for below in () if item in ends else item.inputs:
                visit(below)
            order.append(item)

    for root in roots:
        visit(root)
    assert ordered(roots, until=ends.__contains__) == order
    assert some or ordered(roots) == order


def test_threads_that_make_the_same_make_one(events: Lazy) -> None:
    x = node_of(events.x)

    def made(k: int) -> list[Node]:
        return [apply("multiply", [apply("add", [x, literal(i + 0.125)]), literal(3.5)]) for i in range(200)]

    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(made, range(8))
    assert all(a is b for other in others for a, b in zip(first, other, strict=True))
    gone = weakref.ref(first[0])
    del first, others
    gc.collect()
    assert gone() is None
    assert node_of(events.x + 0.125).dtype == np.float64


def test_values_are_frozen(events: Lazy) -> None:
    for part in (node_of(events.x), events._rows, up(events._rows), events.x._form, events.jet._form):
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, None)


def test_integers_that_a_type_does_not_hold(says):
    """NumPy takes the type of the array; the message has the user's own number."""
    small = hg.from_awkward(ak.Array(np.array([1, 255], np.uint8)))
    says(lambda: small + 300)
    says(lambda: -1 * small)
    says(lambda: ak.values_astype(small, np.int16) - 2**70)
    says(lambda: small & 1000)
    assert (ak.values_astype(small, np.int64) + 300).compute(executor="serial").to_list() == [301, 555]

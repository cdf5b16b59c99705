"""Lists that go together with a check while running: what functions return, slices by position, elements in rows."""

from __future__ import annotations

import functools
from typing import Any

import awkward as ak
import numpy as np
import pytest
from agreement import check
from drawing import everything
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import HepgraphError, ShapeError
from hepgraph.graph.ops import names_of
from hepgraph.lazy.array import Lazy, together
from hepgraph.lazy.broadcast import elementwise
from hepgraph.lazy.varied import same_array

WAYS = [(1, "kernel"), (3, "interpreter"), (3, "kernel")]


def called(f: Any, *arrays: Any) -> Any:
    """A function of arrays, recorded if they are lazy."""
    return hg.map_partitions(f, *arrays) if isinstance(arrays[0], Lazy) else f(*arrays)


def agree(data: ak.Array, program: Any, text: str = "") -> None:
    """A program gives on lazy events, in any partitioning and engine, what it gives on eager ones, or both raise."""
    with np.errstate(all="ignore"):
        try:
            eager = program(data)
        except ValueError:
            fails(data, program)
            return
    for parts, engine in WAYS:
        found = computed(program(hg.from_awkward(data, npartitions=parts)), engine)
        check(ak.to_layout(eager), ak.to_layout(found), text, signs=False)


def fails(data: ak.Array, program: Any) -> None:
    """A program is recorded, and raises while it runs."""
    for parts, engine in WAYS:
        got = program(hg.from_awkward(data, npartitions=parts))
        with pytest.raises(ShapeError, match=r"lengths|broadcast|add up"):
            computed(got, engine)


def computed(got: Any, engine: str) -> Any:
    return hg.compute(got, executor="serial", engine=engine, progress=False)


def drawn(seed: int, n: int) -> ak.Array:
    data = everything(seed, n)
    return data[["x", "i", "b", "jet", "mu", "nn", "ni"]]


# what a function returned, beside the lists that it was given

CUTS: dict[str, Any] = {
    "as they are": lambda e, c: c,
    "by values": lambda e, c: c[c.pt > 0],
    "by two masks": lambda e, c: c[c.pt > -2][c[c.pt > -2].charge >= 0],
    "by position": lambda e, c: c[:, :2],
    "sorted": lambda e, c: c[ak.argsort(c.charge, axis=1)],
    "sorted and cut": lambda e, c: c[ak.argsort(c.charge, axis=1)][:, 1:],
    "the best": lambda e, c: c[ak.argmax(c.charge, axis=1, keepdims=True)][:, :1],
    "by the event": lambda e, c: c[e.x > 0],
    "pairs": lambda e, c: ak.combinations(c, 2, fields=["a", "pt"]).a,
}
FUNCTIONS: dict[str, Any] = {
    "twice": lambda x: x * 2 + 1,
    "reversed": lambda x: x[:, ::-1],
    "shorter": lambda x: x[:, :1],
    "cut": lambda x: x[x > 0],
    "of a function": lambda x: called(lambda y: y - 1, called(lambda y: y * 2, x)),
}
USES: dict[str, Any] = {
    "times": lambda c, f: c.pt * f,
    "times, the other way": lambda c, f: f * c.pt,
    "mask": lambda c, f: c[f > 0].charge,
    "cut both": lambda c, f: c[c.charge > 0].pt * f[c.charge > 0],
    "cut both by both": lambda c, f: c[(c.charge > 0) & (f > 0)].pt - f[(c.charge > 0) & (f > 0)],
    "cut both twice": lambda c, f: c[c.charge >= 0][f[c.charge >= 0] > 0].pt * f[c.charge >= 0][f[c.charge >= 0] > 0],
    "where": lambda c, f: ak.where(c.charge > 0, c.pt, f),
    "zip": lambda c, f: ak.zip({"a": c.pt, "b": f}),
    "with_field": lambda c, f: ak.with_field(c, f, "sf").sf,
    "pairs of each": lambda c, f: ak.combinations(c, 2)["0"].pt * ak.combinations(f, 2)["1"],
    "padded": lambda c, f: ak.fill_none(ak.pad_none(c.pt, 2) + ak.pad_none(f, 2), 7),
    "slices": lambda c, f: c.pt[:, 1:] - f[:, :-1],
    "sorted by it": lambda c, f: c[ak.argsort(f, axis=1)].charge,
    "flat": lambda c, f: ak.flatten(c.pt) * ak.flatten(f),
    "flat and cut": lambda c, f: ak.flatten(c.pt)[ak.flatten(f) > 1],
    "sum": lambda c, f: ak.sum(c.pt * f, axis=1),
    "another function": lambda c, f: f - called(lambda x: x * 3, c.pt),
}
COMPARED = {"times", "times, the other way", "where", "zip", "with_field", "padded", "slices", "sum"}


@settings(deadline=None)
@given(
    st.integers(0, 500),
    st.sampled_from([6, 0, 1, 3]),
    st.sampled_from(["jet", "mu"]),
    st.sampled_from(sorted(CUTS)),
    st.sampled_from(sorted(FUNCTIONS)),
    st.sampled_from(sorted(USES)),
    st.booleans(),
)
def test_function_beside_its_lists(seed: int, n: int, name: str, cut: str, f: str, use: str, late: bool) -> None:
    def program(e: Any) -> Any:
        c = CUTS[cut](e, e[name])
        made = USES[use](c, called(FUNCTIONS[f], c.pt))
        return made[e.b] if late else made

    late = late and cut != "by the event" and "flat" not in use
    if f in ("shorter", "cut") and (late or use not in COMPARED):
        return  # eager awkward compares events that are cut away later, of flat arrays the size alone, of masks little
    agree(drawn(seed, n), program, use)


@settings(deadline=None)
@given(st.integers(0, 500), st.sampled_from([6, 0, 1]), st.booleans(), st.booleans(), st.booleans())
def test_function_beside_its_lists_of_lists(seed: int, n: int, cut: bool, inner: bool, first: bool) -> None:
    def program(e: Any) -> Any:
        x = e.ni[ak.num(e.ni, axis=2) > 1] if cut else e.ni
        x = x[x > 0] if inner else x
        y = called(lambda x: x * 2, x)
        return ak.flatten((y - x) if first else (x - y)[y > 4], axis=2)

    agree(drawn(seed, n), program)


def test_function_of_other_lists() -> None:
    e = hg.from_awkward(drawn(1, 5))
    soft, hard = e.jet[e.jet.pt > -5], e.jet[e.jet.pt > 1]
    with pytest.raises(ShapeError, match="do not go together") as caught:
        hard.pt * hg.map_partitions(np.abs, soft.pt)
    assert "one is the lists that absolute returned" in str(caught.value)
    with pytest.raises(ShapeError, match="do not go together"):
        soft[soft.charge > 0].pt * hg.map_partitions(np.abs, soft.pt)[soft.charge > 1]


@pytest.mark.parametrize("executor", ["serial", "threads", "processes", "dask"])
@pytest.mark.parametrize("engine", ["interpreter", "kernel"])
def test_function_with_other_lengths(executor: str, engine: str) -> None:
    def leading(pt: Any) -> Any:
        return pt[:, :1]

    if executor == "dask":
        pytest.importorskip("distributed")
    data = ak.Array({"pt": [[1.0, 5.0], [], [3.0, 4.0, 5.0]], "keep": [True, True, False]})
    e = hg.from_awkward(data, npartitions=3)
    jets = e.pt[e.pt > 2]
    scaled = jets * hg.map_partitions(leading, jets)
    words = "at entry 0 of the partition leading returned 1 elements, and the list that it is used with has 3"
    with pytest.raises(ShapeError, match=words) as caught:
        scaled.compute(executor=executor, engine=engine, progress=False)
    assert any("scaled = jets * hg.map_partitions(leading, jets)" in note for note in caught.value.__notes__)
    kept = (jets[e.keep] * hg.map_partitions(leading, jets)[e.keep]).compute(engine=engine, executor="serial")
    assert kept.to_list() == [[25.0], []]  # what is cut away is not looked at


# slices by position

SLICES = [np.s_[:, 1:], np.s_[:, :-1], np.s_[:, :1], np.s_[:, -1:], np.s_[:, ::2], np.s_[:, 1::2], np.s_[:, :2],
          np.s_[:, -2:], np.s_[:, -2::-1], np.s_[:, 1:-1]]  # fmt: skip


@settings(deadline=None)
@given(
    st.integers(0, 500), st.sampled_from([5, 0, 1]), st.sampled_from(SLICES), st.sampled_from(SLICES), st.booleans(),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_slices_by_position(seed: int, n: int, a: Any, b: Any, cut: bool, other: bool, function: bool) -> None:
    def program(e: Any) -> Any:
        x = e.jet.pt[e.jet.pt > 0] if cut else e.jet.pt
        y = e.mu.pt if other else called(lambda x: x + 1, x) if function else x
        return x[a] - y[b]

    agree(drawn(seed, n), program)


@settings(deadline=None)
@given(st.integers(0, 500), st.sampled_from([5, 0, 1]), st.sampled_from(SLICES), st.sampled_from(SLICES))
def test_slices_of_lists_of_lists(seed: int, n: int, a: Any, b: Any) -> None:
    agree(drawn(seed, n), lambda e: e.ni[:, :, a[1]] - e.ni[:, :, b[1]])


@settings(deadline=None)
@given(st.integers(0, 500), st.sampled_from([5, 0, 1]), st.integers(1, 3), st.integers(1, 3))
def test_padded_lists(seed: int, n: int, a: int, b: int) -> None:
    def program(e: Any) -> Any:
        x, y = (ak.pad_none(c.pt, k, clip=True) for c, k in ((e.jet[e.jet.pt > 0], a), (e.mu, b)))
        return ak.from_regular(x) - ak.from_regular(y)

    agree(drawn(seed, n), program, "pad_none")


# one element for each row

ONES: dict[str, Any] = {
    "the largest": lambda e: e.jet[ak.argmax(e.jet.pt, axis=1, keepdims=True)].pt,
    "the first": lambda e: ak.pad_none(e.jet.pt, 1, clip=True),
    "the sum": lambda e: ak.sum(e.jet.pt, axis=1, keepdims=True),
    "the event's": lambda e: e.x[:, np.newaxis],
}


@settings(deadline=None)
@given(st.integers(0, 500), st.sampled_from([6, 0, 1]), st.booleans(), st.sampled_from(sorted(ONES)))
def test_picked_and_flattened(seed: int, n: int, cut: bool, how: str) -> None:
    def program(e: Any) -> Any:
        e = e[e.b] if cut else e
        return ak.flatten(ONES[how](e)) * e.i

    agree(drawn(seed, n), program, "pad_none")


@pytest.mark.parametrize("engine", ["interpreter", "kernel"])
def test_picked_and_filled_beside_a_weight(engine: str) -> None:
    e = hg.from_awkward(ak.Array({"pt": [[50.0, 20.0], [], [30.0]], "w": [1.0, 2.0, 4.0]}), npartitions=2)
    best = ak.flatten(e.pt[ak.argmax(e.pt, axis=1, keepdims=True)])
    h = hg.Hist.new.Reg(2, 0, 80).Weight().fill(best, weight=e.w)
    assert h.compute(engine=engine, executor="serial").values().tolist() == [4.0, 1.0]


# lists as lists of lists


@st.composite
def parted(draw: Any) -> ak.Array:
    """Lists, and the lengths of the lists that they are to be cut into."""
    counts = draw(st.lists(st.lists(st.integers(1, 3), max_size=3), max_size=6))
    rows = [draw(st.lists(st.integers(0, 2), min_size=sum(c), max_size=sum(c))) for c in counts]
    cut = draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    x, c = (ak.values_astype(ak.Array([[9], *lists])[1:], int) for lists in (rows, counts))
    return ak.zip({"x": x, "c": c, "cut": np.array(cut, bool), "w": np.arange(len(rows))}, depth_limit=1)


@settings(deadline=None)
@given(parted(), st.booleans(), st.booleans(), st.sampled_from(["runs", "counts", "not all"]))
def test_unflattened_lists(data: ak.Array, cut: bool, some: bool, how: str) -> None:
    def given_to(e: Any) -> Any:
        e = e[e.cut] if cut else e
        return e, ak.sort(e.x[e.x > 0] if some else e.x, axis=1), e.c if how == "counts" else e.c[:, 1:]

    def program(e: Any) -> Any:
        e, x, counts = given_to(e)
        if how == "runs":
            lengths = ak.run_lengths(x)
            parts = ak.unflatten(x, ak.flatten(lengths), axis=1)
            return ak.zip({"value": ak.firsts(parts, axis=2), "many": lengths, "sum": ak.sum(parts, axis=2), "w": e.w})
        return ak.unflatten(x, ak.flatten(counts), axis=1)

    _, x, counts = given_to(data)
    if how == "runs" or ak.all(ak.sum(counts, axis=1) == ak.num(x)):
        agree(data, program)
    else:
        fails(data, program)  # where eager awkward may take the lengths of one event for another


def test_unflattened_lists_of_no_elements() -> None:
    """Each length is that of a list of its own event; eager awkward puts empty lists into the event after it."""
    e = hg.from_awkward(ak.Array({"x": [[], [1, 2], [3]], "c": [[0], [0, 2, 0], [1]], "n": [0, 2, 1]}), npartitions=2)
    for counts in (e.c, ak.flatten(e.c)):
        assert ak.unflatten(e.x, counts, axis=1).compute().to_list() == [[[]], [[], [1, 2], []], [[3]]]
    assert ak.unflatten(e.x, e.n, axis=1).compute().to_list() == [[[]], [[1, 2]], [[3]]]


def test_unflattened_by_what_does_not_fit() -> None:
    e = hg.from_awkward(ak.Array({"x": [[1, 2], [3]], "c": [[1, 1], [1]], "w": [1.0, 2.0], "nn": [[[1]], [[2], [3]]]}))
    with pytest.raises(ShapeError, match="must be integers, not float64"):
        ak.unflatten(e.x, ak.flatten(e.c * 1.0), axis=1)
    with pytest.raises(ShapeError, match="lengths without None"):
        ak.unflatten(e.x, ak.flatten(ak.mask(e.c, e.c > 0)), axis=1)
    with pytest.raises(ShapeError, match="different masks"):
        ak.unflatten(e.x[e.w > 1], ak.flatten(e.c), axis=1)
    with pytest.raises(ShapeError, match="rows of these arrays are not the same"):
        ak.unflatten(e.x, ak.flatten(ak.flatten(e.nn)), axis=1)
    for wrong in (e.c * 2, ak.concatenate([e.c * 0 - 1, e.c, e.c[:, :1]], axis=1)):  # the latter has a length of -1
        with pytest.raises(ShapeError, match="do not add up"):
            ak.unflatten(e.x, ak.flatten(wrong), axis=1).compute(progress=False)


def test_unflattened_lists_that_are_none() -> None:
    e = hg.from_awkward(ak.Array({"x": [[1, 2], None, [3]], "c": [[1, 1], [], [1]]}), npartitions=2)
    for counts in (e.c, ak.flatten(e.c)):
        assert ak.unflatten(e.x, counts, axis=1).compute().to_list() == [[[1], [2]], None, [[3]]]


BEST: dict[str, Any] = {
    "the best": lambda e: e.x[ak.argmax(e.x, axis=1, keepdims=True)],
    "singletons": lambda e: ak.singletons(e.w),
    "sums": lambda e: ak.sum(e.x, axis=1, keepdims=True),
}


@pytest.mark.parametrize("name", BEST)
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_lists_of_one_element_flattened_and_cut_into_lists_again(name: str, cut: bool, engine: str) -> None:
    """A factor of the best of each event, by the flat numbers, goes beside it."""
    data = ak.Array({"x": [[1.0, 4.0], [], [9.0], [16.0, 2.0]], "w": [1.0, -1.0, 4.0, 9.0]})

    def factors(e: Any, root: Any) -> Any:
        best = BEST[name](e[e.w > 0] if cut else e)
        again = ak.unflatten(root(abs(ak.flatten(best))), ak.num(best))
        return {"beside": best * again, "alone": again}

    lazy = factors(hg.from_awkward(data, npartitions=2), functools.partial(hg.map_partitions, np.sqrt))
    got = hg.compute(lazy, executor="serial", engine=engine, progress=False)
    assert {k: x.to_list() for k, x in got.items()} == {k: x.to_list() for k, x in factors(data, np.sqrt).items()}


def test_rows_cut_into_lists() -> None:
    data = ak.Array({"w": [1.0, -1.0, 4.0, 9.0]})
    e = hg.from_awkward(data, npartitions=2)
    got = ak.unflatten(e.w[e.w > 0], ak.values_astype(e.w > 0, int)).compute(progress=False)
    assert got.to_list() == [[1.0], [], [4.0], [9.0]]
    with pytest.raises(ShapeError, match="do not add up"):
        ak.unflatten(e.w, ak.values_astype(e.w > 0, int)).compute(progress=False)


# what stands side by side is recorded without being matched


def best(e: Any) -> Any:
    return ak.argmax(e.jet.pt, axis=1, keepdims=True)


SIDES: dict[str, Any] = {
    "row": lambda e: e.x, "whole": lambda e: e.i, "list": lambda e: e.jet.pt, "same list": lambda e: e.jet.charge,
    "other list": lambda e: e.mu.pt, "deep": lambda e: e.nn, "cut": lambda e: e.jet.pt[e.jet.pt > 0],
    "cut alike": lambda e: e.jet.eta[e.jet.pt > 0], "None": lambda e: e.o, "None in lists": lambda e: e.of,
    "some rows": lambda e: e.x[e.b], "some lists": lambda e: e.jet.pt[e.b], "again": lambda e: e.jet.eta[e.b],
    "of both": lambda e: e.jet.pt * e.x, "moved": lambda e: e.jet.pt[:, :1], "fixed": lambda e: e.jet.pt[:, np.newaxis],
    "element": lambda e: ak.firsts(e.jet.pt), "total": lambda e: ak.sum(e.x),
    "constant": lambda e: ak.ones_like(e.jet.pt),
    "1": lambda e: 1, "0.5": lambda e: 0.5, "float32": lambda e: np.float32(3), "True": lambda e: True,
    "sum": lambda e: ak.sum(e.jet.pt, axis=1), "text": lambda e: "a",
    "element alike": lambda e: ak.firsts(e.jet.eta), "other element": lambda e: ak.firsts(e.mu.pt),
    "best": lambda e: e.jet.pt[best(e)], "best alike": lambda e: e.jet.eta[best(e)],
    "padded": lambda e: ak.pad_none(e.jet.pt, 2), "padded alike": lambda e: ak.pad_none(e.jet.eta, 2),
    "masked": lambda e: ak.mask(e.jet.pt, e.jet.eta > 0), "masked alike": lambda e: ak.mask(e.jet.eta, e.jet.eta > 0),
    "masked otherwise": lambda e: ak.mask(e.jet.pt, e.jet.pt > 1), "masked lists": lambda e: ak.mask(e.jet.pt, e.b),
}  # fmt: skip
UFUNCS = [np.add, np.multiply, np.greater, np.logical_and, np.arctan2, np.bitwise_or, np.divide]


@settings(deadline=None)
@given(st.sampled_from(list(SIDES)), st.sampled_from(list(SIDES)), st.sampled_from(UFUNCS))
def test_what_stands_side_by_side_is_what_matching_gives(one: str, two: str, ufunc: np.ufunc) -> None:
    """The same graph as by the rule for all that goes together, or the same error."""
    events = hg.from_awkward(everything(3, 4), npartitions=2)
    inputs = [SIDES[name](events) for name in (one, two)]
    if not any(isinstance(x, Lazy) for x in inputs):
        return
    (op,) = names_of(ufunc) or ("",)

    def matched() -> Lazy:
        forms, rows, guard = together(inputs)
        return Lazy(elementwise(op, forms, rows, guard), rows, guard)

    got, wanted = (found_or_error(make) for make in (lambda: ufunc(*inputs), matched))
    if isinstance(wanted, Lazy):
        assert same_array(got, wanted)
    else:
        assert got == wanted


def found_or_error(make: Any) -> Any:
    try:
        return make()
    except HepgraphError as error:
        return type(error), str(error).splitlines()[0]

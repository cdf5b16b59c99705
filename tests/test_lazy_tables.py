"""NumPy's functions of numbers and a table, looking up, and strings by event: as NumPy does it element by element."""

from __future__ import annotations

import functools
import operator
import pickle
from typing import Any

import awkward as ak
import numpy as np
import pytest
from agreement import check
from drawing import everything
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import HepgraphError, LazyError, RangeError, ShapeError, UnsupportedError
from hepgraph.fingerprint import digest
from hepgraph.graph.ops import Table

WAYS = [(1, "kernel"), (3, "interpreter"), (3, "kernel")]


def computed(got: Any, engine: str = "kernel") -> Any:
    return hg.compute(got, executor="serial", engine=engine, progress=False)


def each(f: Any, x: ak.Array) -> ak.Array:
    """A function of NumPy arrays, applied to the numbers of an eager array."""
    return ak.transform(lambda layout, **_: ak.contents.NumpyArray(f(layout.data)) if layout.is_numpy else None, x)


FUNCTIONS: dict[str, Any] = {
    "digitize": lambda x: np.digitize(x, [-1, 0.5, 1, 3]),
    "digitize down": lambda x: np.digitize(x, np.array([3.0, 1.0, 0.0]), right=True),
    "searchsorted": lambda x: np.searchsorted([-1.0, 0, 0, 2.5], x),
    "searchsorted right": lambda x: np.searchsorted(np.array([3, 1, 2]), x, side="right", sorter=[1, 2, 0]),
    "isin": lambda x: np.isin(x, [0, 1, 2.5]),
    "not in": lambda x: np.isin(x, np.array([[0, 1], [2, 3]]), invert=True),
    "interp": lambda x: np.interp(x, [0, 1, 2.5], [5.0, -1.0, 2.0]),
    "interp ends": lambda x: np.interp(x, [0, 1], [5, 6], left=-0.0, right=np.nan),
    "interp period": lambda x: np.interp(np.nan_to_num(x, posinf=2, neginf=1), [0, 1, 3], [5, 6, 7], period=4),
    "select": lambda x: np.select([x > 1, x < 0], [x, x * 2], -1),
    "select types": lambda x: np.select([x > 1, x < 0, x == 0], [np.int8(3), 2, x > 0], np.float32(0.5)),
}
ARRAYS = ["x", "i", "u", "k", "f", "h", "nn", "ni", "o", "of", "ol", "nol", "jet.pt", "jet.charge"]


@settings(deadline=None)
@given(st.integers(0, 500), st.sampled_from([5, 0, 1]), st.sampled_from(sorted(FUNCTIONS)), st.sampled_from(ARRAYS),
       st.sampled_from(["", "by the event", "by values", "the largest"]))  # fmt: skip
def test_functions_of_numbers(seed: int, n: int, name: str, field: str, cut: str) -> None:
    def given_to(e: Any) -> Any:
        x = e
        for part in field.split("."):
            x = x[part]
        if cut == "by the event":
            return x[e.x > 0]
        if cut == "by values" and field not in ("ol", "nol"):
            return x[x > 0]
        if cut == "the largest" and x.ndim == 2 and field != "ol":
            return ak.max(x, axis=1, mask_identity=False)
        return x

    with np.errstate(all="ignore"):
        data = everything(seed, n)
        expected = each(FUNCTIONS[name], given_to(data))
        for parts, engine in WAYS:
            got = FUNCTIONS[name](given_to(hg.from_awkward(data, npartitions=parts)))
            check(ak.to_layout(expected), ak.to_layout(computed(got, engine)), name, signs=False)


def test_select_of_arrays_of_other_depths_and_lengths() -> None:
    data = ak.Array({"x": [1.0, 5.0, 2.0], "f": [[1.0, 2.0], [], [3.0]]})
    e = hg.from_awkward(data, npartitions=2)
    got = np.select([e.f > 1.5, e.x > 1.5], [e.f * 10, e.x], default=e.f)
    assert computed(got).to_list() == [[1.0, 20.0], [], [30.0]]
    got = np.select([e.x > 1.5, np.array([True, False, False])], [np.array([7, 8, 9]), e.x], default=0)
    assert computed(got).to_list() == [1.0, 8.0, 9.0]
    assert computed(got).type.content.primitive == "float64"


def test_wrong_arguments() -> None:
    e = hg.from_awkward(ak.Array({"x": [1.0, 5.0], "f": [[1.0, 2.0], []]}))
    with pytest.raises(
        UnsupportedError, match=r"numpy\.digitize is recorded with bins that are the same for all events"
    ):
        np.digitize(e.x, e.x)
    with pytest.raises(UnsupportedError, match=r"another in each event, use hg\.map_partitions"):
        np.searchsorted(e.x, e.x)
    with pytest.raises(UnsupportedError, match=r"write list\(values\)"):
        np.isin(e.x, {1, 2})
    with pytest.raises(ValueError, match="monotonically"):
        np.digitize(e.x, [1, 0, 2])
    with pytest.raises(ShapeError, match=r"numpy\.digitize: bins must have one dimension, not 2"):
        np.digitize(e.x, [[1, 2]])
    with pytest.raises(ValueError, match="same length"):
        np.interp(e.x, [0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="same length as list of conditions"):
        np.select([e.x > 1], [e.x, e.x])
    with pytest.raises(TypeError, match="invalid entry 0 in condlist: should be boolean"):
        np.select([e.x], [e.x])


# looking up


@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_the_bins_that_numbers_are_in(engine: str) -> None:
    """As the docstring and the error have it; what is outside is in the first or the last bin."""
    edges, factors = [20.0, 30.0, 50.0, 100.0], np.array([0.9, 1.0, 1.1])
    pt = ak.Array([[5.0, 20.0, 29.9], [], [30.0, 50.0, 100.0, 1e6]])
    x = hg.from_awkward(pt)
    place = np.clip(np.digitize(x, edges) - 1, 0, len(edges) - 2)
    got = hg.lookup(factors, place).compute(engine=engine, executor="serial")
    assert got.to_list() == [[0.9, 0.9, 0.9], [], [1.0, 1.1, 1.1, 1.1]]


@pytest.mark.parametrize("lazy", [False, True])
def test_places_are_integers(lazy: bool) -> None:
    events = ak.Array({"x": [1.0, 5.0], "f": [[1.0, 2.0], []], "b": [True, False]})
    e = hg.from_awkward(events) if lazy else events
    for x in (e.x, e.f):
        with pytest.raises(
            UnsupportedError, match=r"not float64\. The bins .* np\.clip\(np\.digitize\(x, edges\) - 1, 0,"
        ):
            hg.lookup([1.0, 2.0], x)
    with pytest.raises(UnsupportedError, match="must be of integers, not bool"):
        hg.lookup([1.0, 2.0], e.b)
    assert hg.lookup([1.0, 2.0], ak.Array([[], []])).to_list() == [[], []]


@st.composite
def looked_up(draw: Any) -> tuple[Any, ak.Array, int]:
    """A table of one to three dimensions, and integers of events and of lists for each, now and then outside."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    table = np.arange(np.prod(shape)).reshape(shape).astype(draw(st.sampled_from(["i4", "f8", "f4", "?"])))
    n = draw(st.sampled_from([0, 1, 3, 5]))
    counts = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    outside = draw(st.sampled_from([0, 0, 1]))
    columns: dict[str, Any] = {"keep": draw(st.lists(st.booleans(), min_size=n, max_size=n))}
    kind = draw(st.sampled_from(["i8", "i2", "u1"]))
    for k, size in enumerate(shape):
        number = st.integers(0 if kind == "u1" else -size - outside, size - 1 + outside)
        flat = draw(st.lists(number, min_size=n, max_size=n))
        deep = draw(st.lists(number, min_size=sum(counts), max_size=sum(counts)))
        columns[f"e{k}"] = np.array(flat, kind)
        columns[f"j{k}"] = ak.unflatten(np.array(deep, kind), counts) if n else ak.Array([np.zeros(1, kind)])[1:]
    columns["keep"] = np.array(columns["keep"], bool)
    return table, ak.zip(columns, depth_limit=1), len(shape)


@settings(deadline=None)
@given(looked_up(), st.data())
def test_lookup(drawn: tuple[Any, ak.Array, int], more: Any) -> None:
    table, data, dims = drawn
    names = [more.draw(st.sampled_from([f"e{k}", f"j{k}"])) for k in range(dims)]
    cut, late = more.draw(st.booleans()), more.draw(st.booleans())

    def numbers(e: Any) -> Any:
        e = e[e.keep] if cut else e
        return [e[name] for name in names]

    def oracle() -> Any:
        wide = ak.broadcast_arrays(*numbers(data))
        flat = [ak.to_numpy(ak.flatten(x, axis=None)) for x in wide]
        values = table[tuple(flat)]
        return ak.unflatten(values, ak.num(wide[0])) if wide[0].ndim == 2 and len(wide[0]) else ak.Array(values)

    try:
        expected, error = oracle(), None
    except IndexError as raised:
        expected, error = None, raised
    if error is None:
        assert hg.lookup(table, *numbers(data)).to_list() == expected.to_list()
    else:
        with pytest.raises(IndexError):
            hg.lookup(table, *numbers(data))
    for parts, engine in WAYS:
        e = hg.from_awkward(data, npartitions=parts)
        got = hg.lookup(table, *numbers(e))
        got = ak.sum(got) if late else got
        if error is not None:
            with pytest.raises(RangeError, match="out of range of the table of shape"):
                computed(got, engine)
        elif late:
            assert computed(got, engine) == ak.sum(expected)
        else:
            found = computed(got, engine)
            assert found.to_list() == expected.to_list()
            assert not len(found) or ak.type(found).content == ak.type(ak.values_astype(expected, table.dtype)).content


def test_lookup_where_it_is_none_or_cut_away() -> None:
    e = hg.from_awkward(ak.Array({"i": [[0, None], None, [2], [7]], "x": [1, 2, 3, 4]}), npartitions=2)
    table = ak.Array([10.0, 20.0, 30.0])
    for engine in ("interpreter", "kernel"):
        assert computed(hg.lookup(table, e.i[e.x < 4]), engine).to_list() == [[10.0, None], None, [30.0]]
        with pytest.raises(RangeError, match=r"1 indices are out of range of the table of shape \(3,\)") as caught:
            computed(hg.lookup(table, e.i) * 2, engine)
        assert any("hg.lookup(table, e.i) * 2" in note for note in caught.value.__notes__)
        few = hg.lookup(table, e.i[e.i < 3])
        assert computed(few, engine).to_list() == [[10.0, None], None, [30.0], []]


def test_lookup_of_scale_factors_in_a_histogram() -> None:
    """The factor of each jet by its flavour and the bin of its momentum, beside the jets that were cut."""
    data = ak.Array(
        {"pt": [[30.0, 55.0, 90.0], [], [20.0, 60.0]], "flavour": [[0, 1, 0], [], [1, 1]], "w": [1.0, 2, 3]}
    )
    factors = np.array([[1.0, 1.5, 2.0], [0.5, 0.25, 4.0]])

    def filled(e: Any, lookup: Any) -> Any:
        jets = ak.zip({"pt": e.pt, "flavour": e.flavour})
        jets = jets[jets.pt > 25]
        return jets.pt, lookup(factors, jets.flavour, lookup.bins(jets.pt)) * e.w

    class Eager:
        bins = staticmethod(lambda pt: each(lambda x: np.digitize(x, [50, 80]), pt))

        def __call__(self, table: Any, *index: Any) -> Any:
            return hg.lookup(table, *index)

    class Recorded(Eager):
        bins = staticmethod(lambda pt: np.digitize(pt, [50, 80]))

    pt, weight = filled(data, Eager())
    expected = np.histogram(ak.flatten(pt), bins=4, range=(0, 100), weights=ak.flatten(weight))[0]
    for parts, engine in WAYS:
        got = filled(hg.from_awkward(data, npartitions=parts), Recorded())
        h = hg.Hist.new.Reg(4, 0, 100).Double().fill(got[0], weight=got[1])
        np.testing.assert_array_equal(computed(h, engine).values(), expected)


def test_table_is_copied_and_counts_by_its_content() -> None:
    table = np.array([1.0, 2.0])
    e = hg.from_awkward(ak.Array({"i": [0, 1], "x": [0.5, 1.5]}))
    looked, placed = hg.lookup(table, e.i), np.digitize(e.x, table)
    again = hg.lookup([1.0, 2.0], e.i)
    assert again._form.node is looked._form.node
    table[:] = 0
    assert computed(looked).to_list() == [1.0, 2.0]
    assert computed(placed).to_list() == [0, 1]
    other = hg.lookup(table, e.i)
    assert digest(looked._form.node) == digest(again._form.node) != digest(other._form.node)
    assert computed(pickle.loads(pickle.dumps(looked))).to_list() == [1.0, 2.0]
    assert Table(["a", "b"]) == Table(np.array(["a", "b"]))


def test_wrong_lookups() -> None:
    e = hg.from_awkward(ak.Array({"i": [0, 1], "x": [0.5, 1.5], "b": [True, False], "r": [{"a": 1}, {"a": 2}]}))
    with pytest.raises(ShapeError, match="a table of 2 dimensions needs as many indices, not 1"):
        hg.lookup([[1, 2], [3, 4]], e.i)
    for wrong in (e.x, e.b):
        with pytest.raises(UnsupportedError, match="an index must be of integers, not"):
            hg.lookup([1, 2], wrong)
    with pytest.raises(ShapeError, match="same number of values everywhere, and no None"):
        hg.lookup(ak.Array([[1], []]), e.i, e.i)
    with pytest.raises(UnsupportedError, match="must hold numbers or strings, not object"):
        hg.lookup(np.array([None, 1]), e.i)
    with pytest.raises(HepgraphError, match="records"):
        hg.lookup([1, 2], e.r)


def test_what_to_write_where_no_library_asks() -> None:
    """Python and NumPy call nothing of ours that could answer these with a lazy array."""
    e = hg.from_awkward(ak.Array({"i": [0, 1], "b": [True, False]}))
    with pytest.raises(LazyError, match=r"Instead of table\[x\] write hg\.lookup\(table, x\)"):
        np.array([1.0, 2.0])[e.i]
    with pytest.raises(LazyError, match=r"hg\.lookup\(table, x\) instead of table\[x\]"):
        ak.Array([1.0, 2.0])[e.i]
    for wrong in (lambda: np.any([e.b, e.b], axis=0), lambda: np.logical_or.reduce([e.b, e.b])):
        with pytest.raises(LazyError, match=r"functools\.reduce\(operator\.or_, masks\) instead of np\.any"):
            wrong()
    with pytest.raises(LazyError, match=r"sum\(arrays\) instead of np\.sum\(arrays, axis=0\)"):
        np.sum([e.i, e.i], axis=0)
    masks, arrays = [e.b, e.i > 0], [e.i, e.i * 2, e.b]
    assert computed(functools.reduce(operator.or_, masks)).to_list() == [True, True]
    assert computed(functools.reduce(operator.and_, masks)).to_list() == [False, False]
    assert computed(sum(arrays)).to_list() == [1, 3]


def test_of_the_whole_dataset() -> None:
    e = hg.from_awkward(ak.Array({"i": [0, 1, 2, 3], "x": [1.0, 2.0, 3.0, 4.0]}), npartitions=2)
    for engine in ("interpreter", "kernel"):
        total = ak.sum(e.x)
        parts = [hg.lookup([10.0, 20.0, 30.0], ak.sum(e.i) % 3 - 1), np.digitize(total, [1, 5, 20]),
                 np.interp(ak.mean(e.x), [0, 10], [0, 1]), np.select([total > 3], ["many"], "few")]  # fmt: skip
        assert computed(parts, engine) == [30.0, 2, 0.25, "many"]


# strings by event

WORDS = st.sampled_from(["ee", "mumu", "", "emu"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), WORDS), max_size=6), WORDS, WORDS, st.booleans())
def test_strings_by_event(rows: list[Any], one: str, other: str, selected: bool) -> None:
    a, b, text = ([row[k] for row in rows] for k in range(3))
    data = ak.zip({"a": np.array(a, bool), "b": np.array(b, bool), "t": ak.Array([*text, "x"])[:-1]}, depth_limit=1)
    chosen = [one if x else other if y else t for x, y, t in zip(a, b, text, strict=True)]
    for parts, engine in WAYS:
        e = hg.from_awkward(data, npartitions=parts)
        got = np.select([e.a, e.b], [one, other], e.t) if selected else ak.where(e.a, one, np.where(e.b, other, e.t))
        h = hg.Hist.new.StrCat(["ee", "mumu"]).Double().fill(got)
        grown = hg.Hist.new.StrCat([], growth=True).Double().fill(got[e.a])
        equal, found, filled, grew, member = computed([got == "ee", got, h, grown, np.isin(got, ["ee", "emu"])], engine)
        assert found.to_list() == chosen
        assert equal.to_list() == [word == "ee" for word in chosen]
        assert member.to_list() == [word in ("ee", "emu") for word in chosen]
        assert filled.values().tolist() == [chosen.count("ee"), chosen.count("mumu")]
        assert dict(zip(grew.axes[0], grew.values(), strict=True)) == {word: n for word in [one] if (n := sum(a))}


def test_strings_of_elements() -> None:
    data = ak.Array({"pt": [[30.0, 10.0], [], [50.0]], "w": [1.0, 2.0, 3.0]})
    for parts, engine in WAYS:
        e = hg.from_awkward(data, npartitions=parts)
        kind = ak.where(e.pt > 20, "hard", "soft")
        h = hg.Hist.new.StrCat(["soft", "hard"]).Reg(2, 0, 60).Double().fill(kind, e.pt, weight=e.w)
        words, filled, cut = computed([kind, h, e.pt[kind == "hard"]], engine)
        assert words.to_list() == [["hard", "soft"], [], ["hard"]]
        assert filled.values().tolist() == [[1.0, 0.0], [0.0, 4.0]]
        assert cut.to_list() == [[30.0], [], [50.0]]

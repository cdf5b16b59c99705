"""How results add up."""

from collections import Counter, defaultdict, namedtuple
from types import MappingProxyType

import awkward as ak
import boost_histogram as bh
import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepgraph.errors import ProcessorError
from hepgraph.processor.accumulate import accumulate, check


def filled(*values, growth=False):
    return hist.Hist.new.StrCat(["a"], name="c", growth=growth).Reg(4, 0, 4, name="x").Double().fill("a", list(values))


def test_numbers_and_arrays():
    assert accumulate(1, 2) == 3
    assert accumulate(1, 0.5) == 1.5
    assert accumulate(np.float32(1), 2) == 3
    assert accumulate(1 + 2j, 1) == 2 + 2j
    assert accumulate(np.array([1, 2]), np.array([3, 4])).tolist() == [4, 6]
    assert accumulate(ak.Array([[1], []]), ak.Array([[2, 3]])).to_list() == [[1], [], [2, 3]]


def test_dicts_key_by_key():
    assert accumulate({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}, "d": 4}) == {"a": {"b": 3, "c": 3}, "d": 4}
    assert list(accumulate({"z": 1}, {"a": 1})) == ["z", "a"]
    assert accumulate({}, {"a": 1}) == {"a": 1}
    assert accumulate(Counter(a=1), Counter(a=2, b=1)) == Counter(a=3, b=1)
    assert accumulate(MappingProxyType({"a": 1}), {"a": 2}) == {"a": 3}
    both = accumulate(defaultdict(int, a=1), {"a": 2})
    assert both == {"a": 3}
    assert both["new"] == 0


def test_nothing_is_changed_in_place():
    a, b = defaultdict(int, n=1), {"n": 2, "h": filled(1)}
    nested = {"d": a, "l": [1], "s": {1}, "h": filled(1), "x": np.ones(2)}
    before = nested["h"].copy()
    accumulate(nested, {"d": b, "l": [2], "s": {2}, "h": filled(2), "x": np.ones(2)})
    assert a == {"n": 1}
    assert nested["l"] == [1]
    assert nested["s"] == {1}
    assert nested["h"] == before
    assert nested["x"].tolist() == [1, 1]


def test_lists_sets_and_tuples():
    assert accumulate([1], [2, 3]) == [1, 2, 3]
    assert accumulate({1}, {1, 2}) == {1, 2}
    assert accumulate((1, {"a": 2}), (3, {"a": 4})) == (4, {"a": 6})
    pair = namedtuple("pair", "a b")
    assert accumulate(pair(1, 2), pair(3, 4)) == pair(4, 6)
    assert type(accumulate(pair(1, 2), pair(3, 4))) is pair


def test_histograms():
    total = accumulate(filled(1, 2), filled(2))
    assert total["a", :].values().tolist() == [0, 1, 2, 0]
    grown = hist.Hist.new.StrCat([], name="c", growth=True).Double()
    both = accumulate(grown.copy().fill(["x"]), grown.copy().fill(["y"]))
    assert list(both.axes[0]) == ["x", "y"]
    assert accumulate(bh.Histogram(bh.axis.Regular(2, 0, 1)), bh.Histogram(bh.axis.Regular(2, 0, 1))).sum() == 0


def test_growing_axes_that_do_not_fit():
    def grown(bins, stop, value):
        return hist.Hist.new.Reg(bins, 0, stop, growth=True).Double().fill([value])

    total = accumulate(grown(10, 100, 150.0), grown(10, 100, -50.0))
    assert total.sum() == 2
    assert total.axes[0].edges[0] == -50
    with pytest.raises(ProcessorError, match="different axes"):
        accumulate(grown(10, 100, 50.0), grown(10, 50, 50.0))
    with pytest.raises(ProcessorError, match="different axes"):
        accumulate(
            hist.Hist.new.StrCat([], growth=True, name="a").Double(),
            hist.Hist.new.StrCat([], growth=True, name="b").Double(),
        )


def test_none_is_nothing():
    assert accumulate(None, {"a": 1}) == {"a": 1}
    assert accumulate({"a": 1}, None) == {"a": 1}


class Summed:
    def __init__(self, n):
        self.n = n

    def __add__(self, other):
        return Summed(self.n + other.n)


def test_objects_of_ones_own():
    assert accumulate({"a": Summed(1)}, {"a": Summed(2)})["a"].n == 3


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ({"a": "x"}, {"a": "x"}, r"output\['a'\] does not add up: str and str"),
        ({"a": {"b": True}}, {"a": {"b": True}}, r"output\['a'\]\['b'\] does not add up: bool and bool"),
        ({"a": 1}, {"a": [1]}, "int and list"),
        ({"a": 1}, 1, "dict and int"),
        (np.ones(2), np.ones(3), "ndarray and ndarray"),
        (np.ones(2), 1, "ndarray and int"),
        ((1, 2), (1, 2, 3), "tuple and tuple"),
        (filled(1), hist.Hist.new.Reg(4, 0, 5, name="x").Double(), "different axes"),
        (hist.Hist.new.Reg(4, 0, 4).Double(), hist.Hist.new.Reg(4, 0, 4).Weight(), "different axes or storages"),
        (hist.Hist.new.Reg(4, 0, 4).Double(), hist.Hist.new.Reg(4, 0, 5).Double(), "different axes"),
        (filled(1), 1, "Hist and int"),
        (object(), object(), "object and object"),
    ],
)
def test_what_does_not_add_up(a, b, says):
    with pytest.raises(ProcessorError, match=says):
        accumulate(a, b)


@pytest.mark.parametrize(
    "bad", [None, "a", b"a", True, object(), {"a": None}, {"a": {"b": "c"}}, {"a": np.bool_(True)}]
)
def test_check_says_what_can_never_add_up(bad):
    with pytest.raises(ProcessorError):
        check(bad)


@pytest.mark.parametrize(
    "good", [{}, 1, {"a": 1.5, "b": [None]}, [1], (1,), {1}, filled(1), ak.Array([1]), np.ones(2), Summed(1)]
)
def test_check_lets_pass_what_adds_up(good):
    check(good)


nests = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=3) | st.sets(st.integers(), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abc"), st.integers()), st.data())
def test_sums_do_not_depend_on_the_grouping(a, data):
    b, c = (data.draw(st.dictionaries(st.sampled_from("abc"), st.integers())) for _ in range(2))
    assert accumulate(accumulate(a, b), c) == accumulate(a, accumulate(b, c))


@given(nests)
def test_a_nest_adds_up_with_itself(nest):
    check(nest)
    assert type(accumulate(nest, nest)) is type(nest)

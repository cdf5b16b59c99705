"""Results as bytes without pickles: they come back as they were, and damaged bytes are an error."""

import collections
import ctypes
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import awkward as ak
import boost_histogram as bh
import hist
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hepgraph as hg
from hepgraph.disk import axes, plain

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None))
    | st.complex_numbers(allow_nan=False) | st.binary(max_size=9)
)  # fmt: skip
ARRAYS = hnp.arrays(
    hnp.scalar_dtypes() | hnp.array_dtypes(hnp.integer_dtypes() | hnp.floating_dtypes(), min_size=1, max_size=3),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
)
NESTS = st.recursive(
    SCALARS | ARRAYS | ARRAYS.filter(lambda x: x.size).map(lambda x: x.flat[0]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(SCALARS, inner, max_size=3) | st.sets(SCALARS, max_size=3)
        | st.dictionaries(SCALARS, inner, max_size=3).map(collections.OrderedDict)
        | st.dictionaries(SCALARS, inner, max_size=3).map(lambda x: collections.defaultdict(list, x))
    ),
    max_leaves=8,
)  # fmt: skip


def same(a, b):
    if type(a) is not type(b):
        return False
    match a:
        case np.ndarray() | np.generic():
            return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        case dict():
            return len(a) == len(b) and all(
                same(p, q) and same(x, y) for (p, x), (q, y) in zip(a.items(), b.items(), strict=True)
            )
        case list() | tuple():
            return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b) or a == b


@settings(deadline=None)
@given(NESTS)
@example([0.1, -0.0] * 40)
@example((1, -(2**63)) * 40)
@example([2**63, 1] * 40)
@example([True, 1] * 40)
@example([1.0, 1] * 40)
def test_values_come_back_as_they_were(thing):
    data, names = plain.written(thing)
    assert names == []
    assert same(plain.read(data), thing)


AWKWARD = [
    [], [[1, 2], []], [{"x": 1, "y": [None, 2.5]}], ["a", None, "bc"], [1, "a", [2]], [None], [(1, 2), (3, 4)],
    [b"ab"], [[[True]], []],
]  # fmt: skip


@pytest.mark.parametrize("rows", AWKWARD, ids=str)
def test_awkward_arrays_come_back_as_they_were(rows):
    array = ak.with_name(ak.Array(rows), "Point") if rows and isinstance(rows[0], dict) else ak.Array(rows)
    data, names = plain.written([array, array.layout])
    one, two = plain.read(data)
    assert names == []
    assert one.type == array.type
    assert one.to_list() == array.to_list()
    assert two.is_equal_to(array.layout, all_parameters=True)
    regular = ak.to_regular(ak.Array([[1, 2], [3, 4]]))
    assert plain.read(plain.written(regular)[0]).type == regular.type
    record = ak.Array([{"x": 1}, {"x": 2}])[1]
    assert plain.read(plain.written(record)[0]).to_list() == {"x": 2}


EDGE = st.floats(-1e6, 1e6)


@st.composite
def drawn_axes(draw):
    package = draw(st.sampled_from([bh, hist]))
    kinds, more = package.axis, {}
    if package is hist:
        more = {"name": draw(st.sampled_from(["", "x"])), "label": draw(st.sampled_from(["", "é"]))}
    else:
        more = {"metadata": draw(st.sampled_from([None, "m", {"a": [1]}]))}
    flow = draw(st.sampled_from([{}, {"growth": True}, {"circular": True}, {"underflow": False}, {"overflow": False}]))
    low, high = draw(EDGE), draw(EDGE)
    bins = draw(st.integers(1, 9))
    if low == high:
        high = low + 1
    match draw(st.sampled_from(["regular", "log", "sqrt", "pow", "variable", "integer", "ints", "texts", "bool"])):
        case "regular":
            return kinds.Regular(bins, low, high, **flow, **more)
        case "log" | "sqrt" as name:
            transform = getattr(bh.axis.transform, name)
            return kinds.Regular(bins, abs(low) + 1e-3, abs(low) + abs(high) + 1, transform=transform, **more)
        case "pow":
            return kinds.Regular(
                bins, 1 + abs(low), 3 + abs(low) + abs(high), transform=bh.axis.transform.Pow(1.7), **more
            )
        case "variable":
            flow = {key: flow[key] for key in flow if key != "circular"}  # of which boost tells other edges than it has
            return kinds.Variable(sorted({low, high, 0.1, 7.0}), **flow, **more)
        case "integer":
            return kinds.Integer(int(min(low, high)), int(min(low, high)) + bins, **flow, **more)
        case "ints":
            return kinds.IntCategory(list(range(bins)), growth=bool(draw(st.booleans())), **more)
        case "texts":
            return kinds.StrCategory(["a", "é"][: draw(st.integers(1, 2))], growth=bool(draw(st.booleans())), **more)
    return kinds.Boolean(**more)


@settings(deadline=None)
@given(
    st.lists(drawn_axes(), min_size=1, max_size=2),
    st.sampled_from(plain._STORAGES),
    st.sampled_from([bh.Histogram, hist.Hist, hg.Hist]),
    st.integers(0, 2**32),
)
def test_histograms_come_back_equal_to_the_last_bit(drawn, storage, kind, seed):
    if len({getattr(axis, "name", None) or number for number, axis in enumerate(drawn)}) < len(drawn):
        return
    h = kind(*drawn, storage=getattr(bh.storage, storage)())
    bins = np.asarray(h.view(flow=True))
    random = np.random.default_rng(seed)
    for name in bins.dtype.names or (None,):
        part = bins if name is None else bins[name]
        part[...] = (
            random.integers(0, 99, part.shape) if storage in ("Int64", "AtomicInt64") else random.random(part.shape)
        )
    data, names = plain.written(h)
    again = plain.read(data)
    assert names == []
    assert type(again) is type(h)
    assert again.axes == h.axes
    assert again.storage_type is h.storage_type
    assert again.__dict__ == h.__dict__
    assert np.asarray(again.view(flow=True)).tobytes() == bins.tobytes()
    again += h  # which it would not if an edge were another


@settings(deadline=None)
@given(
    st.binary(max_size=40), st.integers(0, 10**6), st.sampled_from([[1, [2.5, "a"]], np.arange(9), ak.Array([[1], []])])
)
def test_damaged_bytes_are_an_error_of_values(noise, at, thing):
    good, _ = plain.written({"a": thing, "h": hist.Hist.new.Reg(3, 0, 1).Double()})
    at %= len(good)
    for bad in (noise, good[:at], good[:at] + noise + good[at + len(noise) :]):
        try:
            plain.read(bad)
        except (ValueError, plain.Pickled):
            continue


@pytest.mark.parametrize(
    "told",
    [
        ["ours", "os.system", "ls"], ["hist", "os.system", "Double", [], None, 0, 0], ["nothing"],
        ["array", "O", [1], "C", 0, 8], ["layout", "{}", 1], ["same", 3], ["dict", [["list"]], 1],
        ["hist", "hist.hist.Hist", "system", [], None, 0, 0], ["array", "<i8", [2], "C", 0, 999],
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_result_is_an_error_of_values(told):
    text = json.dumps(told).encode()
    with pytest.raises(ValueError):
        plain.read(plain._HEAD.pack(plain._MAGIC, len(text)) + text + bytes(32))


@plain.plain
class Pair(NamedTuple):
    one: Any
    two: Any


@plain.plain
@dataclass(frozen=True, slots=True)
class Both:
    left: Any
    right: Any = None


def test_classes_that_are_told_by_their_parts():
    """One that is there twice comes back as one."""
    shared = Both(np.arange(3))
    thing = {"pair": Pair(shared, [shared]), "both": Both(1, Pair(2, None))}
    data, names = plain.written(thing)
    again = plain.read(data)
    assert names == []
    assert again["both"] == thing["both"]
    assert type(again["pair"]) is Pair
    assert again["pair"].one is again["pair"].two[0]
    assert again["pair"].one.left.tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="Other"):
        plain.written(NamedTuple("Other", [("x", int)])(1))


def test_an_axis_that_cannot_be_told_exactly_is_not_told():
    real = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
    twice, half = real(lambda x: 2 * x), real(lambda x: x / 2)
    axis = bh.axis.Regular(3, 1, 10, transform=bh.axis.transform.Function(twice, half))
    assert axes.axis_to_json(axis) is None
    assert axes.axis_to_json(bh.axis.Variable([-30972.9, -0.1, 0.1, 0.104, 7], circular=True)) is None  # told wrongly
    with pytest.raises(TypeError, match="Histogram"):
        plain.written(bh.Histogram(axis))

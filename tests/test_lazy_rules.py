"""No argument of a call is dropped: every keyword of every function is honoured, or refused by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector
from test_lazy_dispatch import CALLS, DATA, REFUSED, dispatching, lazy, listed

import hepgraph as hg
from hepgraph.errors import HepgraphError, UnsupportedError
from hepgraph.lazy.array import ATTRIBUTES, FUNCTIONS, NUMPY_FUNCTIONS, Lazy
from hepgraph.lazy.rules import Opaque, Rules

BOOLEANS = [True, False]


class Of:
    """A value that is made of the events."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make


# what is drawn for a keyword, wherever it occurs
VALUES: dict[str, list[Any]] = {
    "axis": [0, 1, -1, 2, -2, None, "jet"], "keepdims": BOOLEANS, "mask_identity": BOOLEANS,
    "initial": [0, 2, -1, 2.5, True, np.nan, np.float32(7), "many"], "highlevel": BOOLEANS,
    "behavior": [None, {}, {"Jet": int}, ak.behavior, vector.backends.awkward.behavior], "attrs": [None, {}, {"a": 1}],
    "weight": [None, 2, Of(lambda e: e.x), Of(lambda e: abs(e.f)), Of(lambda e: e.f > 0)], "ddof": [0, 1, 2],
    "nan": [0.0, -1.5], "posinf": [None, 3.0], "neginf": [None, -3.0], "copy": BOOLEANS, "rtol": [1e-5, 1.0],
    "atol": [1e-8, 2.0], "equal_nan": BOOLEANS, "ascending": BOOLEANS, "stable": BOOLEANS, "clip": BOOLEANS,
    "n": [1, 2, 3], "replacement": BOOLEANS, "fields": [None, ["a", "b"], ["a"]],
    "parameters": [None, {}, {"__record__": "Pair"}, {"unit": "GeV"}], "with_name": [None, "Pair"],
    "nested": [None, True, False, ["a"], [0], ["b"]], "depth_limit": [None, 1, 2], "right_broadcast": BOOLEANS,
    "left_broadcast": BOOLEANS, "broadcast_parameters_rule": ["one_to_one", "intersect", "none"],
    "optiontype_outside_record": BOOLEANS, "how": [tuple, list, dict, set], "dtype": [None, "int32", np.float32],
    "including_unknown": BOOLEANS, "mergebool": BOOLEANS, "valid_when": BOOLEANS, "decimals": [0, 1, -1],
    "out": [None, np.zeros(3)], "deg": BOOLEANS, "backend": ["cpu", "typetracer"], "target": [0, 1, 2, 3],
    "value": [0.0, 1, True, np.float32(3)], "to": ["float32", np.int8, bool], "name": ["Jet", None, "new"],
    "fill_value": [3, 0.5, True, np.int8(2)], "where": ["new", ["new"], "pt", None],
    "counts": [Of(lambda e: ak.num(e.f)), 1],
"function": [np.sqrt], "what": [Of(lambda e: e.jet.pt)],
    "depth_context": [None], "lateral_context": [None], "allow_records": BOOLEANS, "numpy_to_regular": BOOLEANS,
    "regular_to_jagged": BOOLEANS, "return_value": ["simplified", "original", "none"], "expect_return_value": BOOLEANS,
    # ak.str
    "pattern": ["(?P<v>a)", "b"], "ignore_case": BOOLEANS, "max_splits": [None, 1], "reverse": BOOLEANS,
    "width": [1, 3], "padding": [" ", "*"], "characters": ["a", "b c"], "skip_nones": BOOLEANS, "separator": ["-", ","],
    "start": [0, 1], "stop": [None, 1, 2], "step": [1, 2], "max_replacements": [None, 1], "num_repeats": [0, 2],
    "value_set": [["a"], ["bc", ""]],
}  # fmt: skip
GIVEN = {
    "array",
    "arrays",
    "x",
    "y",
    "a",
    "b",
    "val",
    "condition",
    "mask",
    "transformation",
    "more_arrays",
    "named_axis",
}
# functions whose result is another thing than awkward's, whatever the keyword: lazy arrays have no parameters
OTHERS = {"type", "parameters", "with_parameter", "with_named_axis", "without_named_axis", "str.to_categorical"}


def functions() -> Iterator[tuple[str, Any, Any]]:
    """The functions of awkward that are recorded, with a call of each."""
    for name in dispatching():
        call = CALLS.get(name, lambda f, e: f(e.f))
        if call is not None and name not in {*REFUSED, *OTHERS} and name != "metadata_from_parquet":
            yield name, getattr(ak, name), call
    for name in dir(ak.str):
        f = getattr(ak.str, name)
        if inspect.isfunction(f) and hasattr(f, "__wrapped__") and f"str.{name}" not in OTHERS:
            yield f"str.{name}", f, STRINGS.get(name, lambda f, e: f(e.s))


STRINGS: dict[str, Any] = {
    name: (lambda f, e, more=more: f(e.s, *more))
    for name, more in {
        "center": (5,), "count_substring": ("a",), "count_substring_regex": ("a",), "ends_with": ("a",),
        "extract_regex": ("(?P<v>[ab])",), "find_substring": ("a",), "find_substring_regex": ("a",),
        "index_in": (["a"],),
        "is_in": (["a"],), "ljust": (5,), "lpad": (5,), "match_like": ("a%",), "match_substring": ("a",),
        "match_substring_regex": ("a",), "repeat": (2,), "replace_slice": (0, 1, "z"), "replace_substring": ("a", "z"),
        "replace_substring_regex": ("a", "z"), "rjust": (5,), "rpad": (5,), "slice": (1,), "split_pattern": ("b",),
        "split_pattern_regex": ("b",), "starts_with": ("a",), "trim": ("a",), "ltrim": ("a",), "rtrim": ("a",),
        "join_element_wise": (), "join": ("-",),
    }.items()
}  # fmt: skip


def keywords() -> list[tuple[str, Any, Any, str]]:
    return [
        (name, function, call, keyword)
        for name, function, call in functions()
        for keyword, p in inspect.signature(function).parameters.items()
        if keyword not in GIVEN and p.kind is not inspect.Parameter.VAR_POSITIONAL
    ]


def calling(function: Any, keyword: str, value: Any) -> Any:
    """The function with one argument set, whatever the call says of it."""
    signature = inspect.signature(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments[keyword] = value
        return function(*bound.args, **bound.kwargs)

    return call


def computed(x: Any) -> Any:
    return x.compute(executor="serial", engine="interpreter", progress=False) if isinstance(x, Lazy) else x


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal, floating numbers up to rounding, whatever records are called."""
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(b, Lazy):
        b = computed(b)
    if isinstance(a, ak.Record) and isinstance(b, ak.Record):
        return a.fields == b.fields and all(same(a[name], b[name]) for name in a.fields)
    if not isinstance(a, ak.Array):
        return a is b or (
            str(np.asarray(a).dtype) == str(np.asarray(b).dtype)
            and repr(np.asarray(a).tolist()) == repr(np.asarray(b).tolist())
        )
    if not isinstance(b, ak.Array) or a.attrs != b.attrs or kind(a) != kind(b):
        return False
    return repr(listed(a)) == repr(listed(b)) or all(map(near, *(ak.unzip(x) for x in (a, b))))


def kind(x: ak.Array) -> str:
    """The type of the elements; a question mark may be there in one and not in the other."""
    return re.sub(r"\?|option\[|\]|(?<=[ ,?])[a-z]+\[(?=[a-z0-9]+:)|[{}]", "", f" {x.type.content}")


def near(a: Any, b: Any) -> bool:
    one, two = (ak.nan_to_num(x, nan=-99.0) for x in (a, b))
    return bool(ak.almost_equal(one, two, rtol=1e-9, dtype_exact=False))


def refused(call: Any) -> bool:
    """Whether a call on lazy arrays is refused."""
    try:
        computed(call(lazy()))
    except (HepgraphError, TypeError, ValueError, ImportError):
        return True
    return False


@pytest.mark.parametrize(
    ("name", "function", "call", "keyword"), keywords(), ids=lambda part: part if isinstance(part, str) else ""
)
def test_every_keyword_is_honoured_or_refused_by_name(name: str, function: Any, call: Any, keyword: str) -> None:
    assert keyword in VALUES, f"ak.{name} has a keyword {keyword}, for which nothing is drawn here"
    for drawn in VALUES[keyword]:
        check(name, function, call, keyword, drawn)


def check(name: str, function: Any, call: Any, keyword: str, drawn: Any) -> None:
    events = lazy()
    eager_value, lazy_value = (drawn.make(e) if isinstance(drawn, Of) else drawn for e in (DATA, events))
    try:
        with np.errstate(all="ignore"):
            eager = call(calling(function, keyword, eager_value), DATA)
    except Exception:
        return  # what a lazy array makes of an argument that is wrong is tested elsewhere
    try:
        got = call(calling(function, keyword, lazy_value), events)
        if keyword in ("behavior", "highlevel", "attrs"):  # how the result is shown
            assert drawn in (None, True, {}) or "vector" in str(drawn), f"ak.{name} drops {keyword}={drawn!r}"
            return
        agrees = same(eager, got)
    except (HepgraphError, TypeError, ValueError, ImportError) as refusal:
        told = (
            keyword in str(refusal)
            or refused(lambda e: call(function, e)) is not None
            or "whole dataset" in str(refusal)
        )
        assert told, f"ak.{name}({keyword}={drawn!r}): {refusal}"  # noqa: PT017
        return
    assert agrees, f"ak.{name}({keyword}={drawn!r}): eager {eager}, lazy {computed(got)}"


# the mechanism


def test_every_rule_fits_its_function() -> None:
    assert not FUNCTIONS.unfit
    assert not NUMPY_FUNCTIONS.unfit


def table(rule: Any, function: Any) -> Any:
    rules = Rules("ak", lambda function, args, kwargs: ("opaque", args, kwargs))
    rules[function] = rule
    return rules[function]


def test_a_keyword_of_a_newer_version_is_refused_by_name() -> None:
    def newer(
        array: Any, axis: Any = None, *, keepdims: bool = False, rounding: str = "down", unit: Any = None
    ) -> Any: ...

    call = table(lambda array, axis=None, *, keepdims=False: (array, axis, keepdims), newer)
    assert call([1], 2, keepdims=True, rounding="down", unit=None) == ([1], 2, True)
    with pytest.raises(
        UnsupportedError, match=r"ak\.newer: rounding='up' cannot be recorded; leave it out, use hg\.map"
    ):
        call([1], rounding="up")
    with pytest.raises(UnsupportedError, match=r"unit=\[\] cannot"):
        call([1], unit=[])


def test_a_default_that_changed_is_that_of_the_function() -> None:
    def newer(array: Any, axis: Any = -1, *, keepdims: bool = True) -> Any: ...

    call = table(lambda array, axis=None, *, keepdims=False: (axis, keepdims), newer)
    assert call([1]) == (-1, True)
    assert call([1], 2) == (2, True)
    assert call([1], keepdims=False) == (-1, False)


@pytest.mark.parametrize(
    "rule",
    [lambda array, **_: 1, lambda x, axis=None: 1, lambda axis, array: 1, lambda array, depth=1: 1],
    ids=["takes what it does not know", "another name", "another order", "an argument that is none"],
)
def test_a_rule_that_does_not_fit_is_none(rule: Any) -> None:
    def function(array: Any, axis: Any = None) -> Any: ...

    with pytest.raises(UnsupportedError, match=r"ak\.function has other arguments in the installed version"):
        table(rule, function)([1])


def test_opaque_calls_have_the_very_arguments() -> None:
    def function(array: Any, axis: Any = None, *, keepdims: bool = False, unit: Any = None) -> Any: ...

    def rule(array: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        raise Opaque

    assert table(rule, function)([1], keepdims=True, unit=None) == ("opaque", ([1],), {"keepdims": True, "unit": None})


def test_presentation() -> None:
    e = lazy()
    with pytest.raises(
        UnsupportedError, match=r"ak\.num: highlevel=False cannot be recorded; a lazy array has no layout"
    ):
        ak.num(e.f, highlevel=False)
    with pytest.raises(UnsupportedError, match=r"ak\.run_lengths: attrs=\{'a': 1\} cannot be recorded"):
        ak.run_lengths(e.i, attrs={"a": 1})
    with pytest.raises(UnsupportedError, match=r"behavior=.*register yours in ak\.behavior"):
        ak.zip({"a": e.f}, behavior={"Jet": int})
    with pytest.raises(UnsupportedError, match=r"parameters=\{'unit': 'GeV'\}.*'unit'"):
        ak.zip({"a": e.f}, parameters={"unit": "GeV"})
    pair = ak.zip({"pt": e.f, "phi": e.f}, with_name="Momentum2D", behavior=vector.backends.awkward.behavior)
    assert computed(pair.px).to_list() == [[np.cos(1.0), -2 * np.cos(-2.0)], [], [3 * np.cos(3.0)]]


# NumPy's functions

NUMPY_VALUES: dict[str, list[Any]] = {
    **VALUES, "dtype": [None, "float32"], "where": [True, Of(lambda e: e.f > 0)], "mean": [0.0], "correction": [0, 1],
    "kind": [None, "stable"], "order": [None, "C", "pt"], "stable": [None, True], "subok": BOOLEANS, "shape": [None, 3],
    "casting": ["same_kind", "unsafe"], "device": [None, "cpu"], "a_min": [0, 0.5, None, Of(lambda e: e.x)],
    "bins": [[0.0, 2.0]], "right": [True, False, 7.0], "left": [None, -7.0], "period": [None, 3.0],
    "side": ["left", "right"],
    "v": [Of(lambda e: e.x)], "sorter": [None, [2, 1, 0]], "test_elements": [[1, 2]], "assume_unique": BOOLEANS,
    "invert": BOOLEANS, "xp": [[0.0, 1.0, 3.0]], "fp": [[1.0, 2.0, 3.0]], "default": [0, -1.5],
    "condlist": [Of(lambda e: [e.b, e.x > 0])], "choicelist": [Of(lambda e: [e.x, e.x])],
    "a_max": [2, 1.5, None], "min": [-1, None, Of(lambda e: e.x)], "max": [2, None], "fill_value": [3, np.int8(2)],
}  # fmt: skip
NUMPY_CALLS: dict[Any, Any] = {
    np.concatenate: lambda f, e: f([e.f, e.i], axis=1), np.clip: lambda f, e: f(e.f),
    np.isclose: lambda f, e: f(e.f, e.x),
    np.full_like: lambda f, e: f(e.f, 3), np.real: lambda f, e: f(e.c), np.imag: lambda f, e: f(e.c),
    np.angle: lambda f, e: f(e.c), np.any: lambda f, e: f(e.f > 0, axis=1), np.all: lambda f, e: f(e.f > 0, axis=1),
    np.where: lambda f, e: f(e.b, e.x, 0), np.broadcast_arrays: lambda f, e: f(e.f, e.x)[0],
    np.digitize: lambda f, e: f(e.x, [0.0, 1.0, 2.0]), np.searchsorted: lambda f, e: f([0.0, 1.0, 2.0], e.x),
    np.isin: lambda f, e: f(e.n, [0, 2]), np.interp: lambda f, e: f(e.x, [0.0, 1.0, 2.0], [5.0, 6.0, 9.0]),
    np.select: lambda f, e: f([e.x > 2, e.b], [e.x, e.n]),
}  # fmt: skip
PLAIN = {np.nan_to_num, np.round, np.around, np.ravel, np.sort, np.argsort, np.zeros_like, np.ones_like, np.copy}


def numpys() -> list[tuple[Any, str]]:
    about = {"a", "b", "x", "y", "z", "val", "arrays", "args", "condition", "kwargs", "out", "copy", "element"}
    return [
        (f, keyword) for f in NUMPY_FUNCTIONS for keyword in keywords(f) if keyword not in about and f is not np.where
    ]


def keywords(function: Any) -> list[str]:
    """The parameters of a function; none of those in C, of which NumPy before 2.4 does not tell them."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return []


@pytest.mark.parametrize(("function", "keyword"), numpys(), ids=lambda p: p if isinstance(p, str) else p.__name__)
def test_every_keyword_of_numpys_is_honoured_or_refused_by_name(function: Any, keyword: str) -> None:
    call = NUMPY_CALLS.get(function, (lambda f, e: f(e.f)) if function in PLAIN else (lambda f, e: f(e.f, axis=1)))
    for drawn in NUMPY_VALUES[keyword]:
        check("np." + function.__name__, function, call, keyword, drawn)


# methods of records


def test_methods_of_records_take_no_argument_that_they_do_not_know() -> None:
    p4 = {"pt": [[2.0, 1.0], []], "eta": [[0.5, 1.0], []], "phi": [[0.1, 1.0], []], "mass": [[0.1, 0.2], []]}
    jets = hg.from_awkward(ak.zip(p4))
    methods = 0
    for name in ATTRIBUTES:
        try:
            method = getattr(jets, name)
        except HepgraphError:
            continue  # of other vectors
        if isinstance(method, Lazy) or not callable(method):
            continue
        methods += 1
        told = []
        for args in ((), (jets,), (1,), (1, 1)):
            with pytest.raises((TypeError, HepgraphError)) as caught:
                method(*args, surprise=1)
            told.append(str(caught.value))
        assert any("surprise" in text for text in told), told
    assert methods > 10

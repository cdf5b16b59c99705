"""Every function of awkward on a lazy array: it gives what eager awkward gives, or says what to do."""

from __future__ import annotations

import inspect
from typing import Any

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import HepgraphError, LazyError, ShapeError, UnsupportedError
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.collection import DaskCollection
from hepgraph.lazy.running import Runnable

DATA = ak.Array(
    [
        {"x": 1.5, "n": 2, "b": True, "o": None, "s": "a", "f": [1.0, -2.0], "i": [0, 1], "of": [None, 1.0],
         "nn": [[1.0], []],
         "jet": [{"pt": 50.0, "q": 1}, {"pt": 20.0, "q": -1}], "mu": [{"pt": 5.0, "z": 1}], "c": 1 + 2j},
        {"x": -0.5, "n": 0, "b": False, "o": 2.5, "s": "bc", "f": [], "i": [], "of": [], "nn": [],
         "jet": [], "mu": [], "c": 2j},
        {"x": 2.5, "n": 1, "b": True, "o": 1.0, "s": "", "f": [3.0], "i": [0], "of": [None], "nn": [[2.0, 3.0]],
         "jet": [{"pt": 30.0, "q": 1}], "mu": [{"pt": 7.0, "z": 2}, {"pt": 1.0, "z": 3}], "c": 0j},
    ]
)  # fmt: skip

# a call for each function; the default is func(e.f)
CALLS: dict[str, Any] = {
    "almost_equal": lambda f, e: f(e.f, e.f),
    "array_equal": lambda f, e: f(e.f, e.f),
    "angle": lambda f, e: f(e.c),
    "any": lambda f, e: f(e.f > 0, axis=1),
    "all": lambda f, e: f(e.f > 0, axis=1),
    "argcartesian": lambda f, e: f([e.f, e.i]),
    "argcombinations": lambda f, e: f(e.f, 2),
    "argmax": lambda f, e: f(e.f, axis=1),
    "argmin": lambda f, e: f(e.f, axis=1),
    "argsort": lambda f, e: f(e.f),
    "broadcast_arrays": lambda f, e: f(e.x, e.f)[0],
    "broadcast_fields": lambda f, e: f(e.jet, e.jet)[0],
    "cartesian": lambda f, e: f({"a": e.f, "b": e.i}),
    "combinations": lambda f, e: f(e.f, 2),
    "concatenate": lambda f, e: f([e.f, e.i], axis=1),
    "corr": lambda f, e: f(e.f, e.f, axis=1),
    "covar": lambda f, e: f(e.f, e.f, axis=1),
    "count": lambda f, e: f(e.f, axis=1),
    "count_nonzero": lambda f, e: f(e.f, axis=1),
    "drop_none": lambda f, e: f(e.of),
    "fill_none": lambda f, e: f(e.of, 0.0),
    "firsts": lambda f, e: f(e.f),
    "flatten": lambda f, e: f(e.nn, axis=2),
    "from_regular": lambda f, e: f(e.f),
    "full_like": lambda f, e: f(e.f, 3),
    "imag": lambda f, e: f(e.c),
    "is_none": lambda f, e: f(e.of, axis=1),
    "isclose": lambda f, e: f(e.f, e.x),
    "linear_fit": lambda f, e: f(e.f, e.f, axis=1),
    "mask": lambda f, e: f(e.f, e.f > 0),
    "max": lambda f, e: f(e.f, axis=1),
    "mean": lambda f, e: f(e.f, axis=1),
    "merge_option_of_records": lambda f, e: f(ak.firsts(e.jet)),
    "merge_union_of_records": lambda f, e: f(e.jet),
    "min": lambda f, e: f(e.f, axis=1),
    "moment": lambda f, e: f(e.f, 2, axis=1),
    "num": lambda f, e: f(e.f),
    "pad_none": lambda f, e: f(e.f, 2),
    "prod": lambda f, e: f(e.f, axis=1),
    "ptp": lambda f, e: f(e.f, axis=1),
    "ravel": lambda f, e: f(e.nn),
    "real": lambda f, e: f(e.c),
    "run_lengths": lambda f, e: f(e.i),
    "singletons": lambda f, e: f(e.o),
    "softmax": lambda f, e: f(e.f, axis=1),
    "sort": lambda f, e: f(e.f),
    "std": lambda f, e: f(e.f, axis=1),
    "strings_astype": lambda f, e: f(e.s, np.float64),
    "sum": lambda f, e: f(e.f, axis=1),
    "to_regular": lambda f, e: f(ak.pad_none(e.f, 2, clip=True), axis=1),
    "unflatten": lambda f, e: f(ak.flatten(e.f), ak.num(e.f)),
    "unzip": lambda f, e: f(e.jet)[0],
    "values_astype": lambda f, e: f(e.f, "float32"),
    "var": lambda f, e: f(e.f, axis=1),
    "where": lambda f, e: f(e.b, e.x, 0),
    "with_field": lambda f, e: f(e.jet, e.jet.pt, "new"),
    "with_name": lambda f, e: f(e.jet, "Jet"),
    "with_named_axis": lambda f, e: f(e.f, ("event", "jet")),
    "with_parameter": lambda f, e: f(e.f, "a", 1),
    "without_field": lambda f, e: f(e.jet, "pt"),
    "without_parameters": lambda f, e: f(e.f),
    "zeros_like": lambda f, e: f(e.f),
    "ones_like": lambda f, e: f(e.f),
    "zip": lambda f, e: f({"a": e.f, "b": e.x}),
    "zip_no_broadcast": lambda f, e: f({"a": e.f, "b": e.f}),
    "enforce_type": lambda f, e: f(e.f, "var * float32"),
    "to_backend": lambda f, e: f(e.f, "cpu"),
    "nan_to_num": lambda f, e: f(e.f),
    "nan_to_none": lambda f, e: f(e.f),
    "local_index": lambda f, e: f(e.f),
    "round": lambda f, e: f(e.f),
    "to_parquet": lambda f, e: f(e.f, "/nowhere"),
    "to_feather": lambda f, e: f(e.f, "/nowhere"),
    "to_json": lambda f, e: f(e.f),
    "without_named_axis": lambda f, e: f(e.f),
    "to_parquet_row_groups": lambda f, e: f([e.f], "/nowhere"),
    "to_buffers": lambda f, e: f(e.f),
    "to_parquet_dataset": None,
    "to_safetensors": lambda f, e: f(e.f, "/nowhere"),
    "transform": lambda f, e: f(lambda layout, **_: None, e.f),
    "to_rdataframe": lambda f, e: f({"a": e.x}),
    "type": lambda f, e: f(e.f),
}
for _nan in ("nansum", "nanprod", "nanmin", "nanmax", "nanmean", "nanvar", "nanstd", "nanargmin", "nanargmax"):
    CALLS[_nan] = lambda f, e: f(e.f, axis=1)

# what a lazy array refuses on these calls, and a part of what it says instead
REFUSED = {
    "almost_equal": "compute", "array_equal": "compute", "broadcast_fields": "", "categories": "compute",
    "is_valid": "compute", "validity_error": "compute", "is_categorical": "", "to_layout": "compute",
    "to_list": "compute", "to_numpy": "compute", "to_json": "compute", "to_buffers": "compute", "to_arrow": "compute",
    "to_arrow_table": "compute", "to_parquet": "compute", "to_feather": "compute", "to_dataframe": "compute",
    "to_torch": "compute", "to_jax": "compute", "to_cupy": "compute", "to_cudf": "compute", "to_tensorflow": "compute",
    "to_raggedtensor": "compute", "to_rdataframe": "compute", "to_parquet_row_groups": "compute",
    "materialize": "compute",
    "to_safetensors": "compute", "strings_astype": "meta",
    "enforce_type": "compute",
}  # fmt: skip


def dispatching() -> list[str]:
    """The functions of awkward that ask their arguments for `__awkward_function__`."""
    found = []
    for name in sorted(dir(ak)):
        f = getattr(ak, name)
        if inspect.isfunction(f) and f.__module__.startswith("awkward.operations") and hasattr(f, "__wrapped__"):
            if name.startswith("from_") and name != "from_regular":
                continue
            found.append(name)
    return found


def lazy(n: int = 2) -> Lazy:
    return hg.from_awkward(DATA, npartitions=n)


def listed(x: Any) -> Any:
    return x.to_list() if isinstance(x, ak.Array | ak.Record) else x


def computed(x: Any) -> Any:
    return x.compute(executor="serial", progress=False) if isinstance(x, Lazy) else x


def test_all_functions_are_known() -> None:
    assert len(dispatching()) > 100


@pytest.mark.parametrize("name", dispatching())
def test_function(name: str) -> None:
    function = getattr(ak, name)
    call = CALLS.get(name, lambda f, e: f(e.f))
    if call is None:
        pytest.skip("takes no arrays")
    try:
        eager, failed = call(function, DATA), None
    except Exception as error:
        eager, failed = None, error
    try:
        got = call(function, lazy())
    except HepgraphError as error:
        refusal = str(error)
    except ImportError as error:
        refusal = f"{error}, which .compute() needs too"
        assert type(error) is type(failed)  # noqa: PT017
    else:
        refusal = ""
    if refusal:
        assert name in REFUSED or failed is not None, f"ak.{name} refused: {refusal}"
        assert REFUSED.get(name, "") in refusal
        assert len(refusal) > 20
        return
    assert name not in REFUSED
    assert failed is None, f"lazy gives {got!r}, eager raises {failed!r}"
    if name in ("type", "fields", "is_tuple", "parameters"):
        return
    if name == "softmax":
        assert ak.almost_equal(computed(got), eager)
        return
    assert repr(listed(computed(got))) == repr(listed(eager))


# members


def test_members_of_awkward_arrays_are_meaningful() -> None:
    """Everything public that Lazy inherits is its own, or an operator, which goes through `__array_ufunc__`."""
    operators = set(vars(ak.Array.__mro__[1])) | set(vars(Runnable)) | set(vars(DaskCollection))
    inherited = {
        name
        for name in dir(ak.Array)
        if name not in vars(Lazy) and name not in vars(object) and name not in operators and name != "Mask"
    }
    assert inherited <= {
        "__class_getitem__",
        "__slots__",
        "__setstate__",
        "_histogram_module_",
        "__dict__",
        "__weakref__",
    }


@pytest.mark.parametrize("name", [n for n in dir(ak.Array) if not n.startswith("_") and n not in ("Mask",)])
def test_member(name: str) -> None:
    x = lazy().f
    try:
        value = getattr(x, name)
        if callable(value) and not isinstance(value, ak.Array):
            value()
    except HepgraphError as error:
        assert "compute" in str(error)  # noqa: PT017
    except TypeError:
        assert name in ("show",)


# eager and lazy together


MIXED: dict[str, Any] = {
    "eager + lazy": lambda d, e: d.x + e.x,
    "lazy + eager": lambda d, e: e.x + d.x,
    "jagged + jagged": lambda d, e: d.f * e.f,
    "jagged + flat": lambda d, e: e.f * d.x,
    "flat + jagged": lambda d, e: d.x - e.f,
    "numpy + lazy": lambda d, e: np.array([1.0, 2.0, 3.0]) + e.x,
    "lazy + numpy": lambda d, e: e.f + np.array([1.0, 2.0, 3.0]),
    "lazy > numpy scalar": lambda d, e: np.float32(1.0) < e.f,
    "np.add": lambda d, e: np.add(d.x, e.n),
    "ak.where": lambda d, e: ak.where(e.b, d.x, 0),
    "ak.where eager condition": lambda d, e: ak.where(d.b, e.x, e.n),
    "mask by eager": lambda d, e: e.f[d.b],
    "mask by numpy": lambda d, e: e.x[np.array([True, False, True])],
    "mask by eager lists": lambda d, e: e.f[d.f > 0],
    "mask by list": lambda d, e: e.x[[True, False, True]],
    "concatenate": lambda d, e: ak.concatenate([d.f, e.i], axis=1),
    "concatenate records": lambda d, e: ak.concatenate([e.jet, d.jet], axis=1),
    "zip": lambda d, e: ak.zip({"a": d.f, "b": e.f}),
    "with_field": lambda d, e: ak.with_field(e.jet, d.n, "n"),
    "cartesian": lambda d, e: ak.cartesian([d.f, e.i]),
    "eager records": lambda d, e: ak.with_field(e.mu, d.mu.pt * 2, "twice"),
    "mask": lambda d, e: ak.mask(d.f, e.b),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_eager_and_lazy(name: str, partitions: int) -> None:
    got = MIXED[name](DATA, lazy(partitions))
    assert isinstance(got, Lazy)
    eager = MIXED[name](DATA, DATA)
    assert listed(computed(got)) == listed(eager)
    assert str(computed(got).type.content).replace("mu[", "{").replace("jet[", "{").replace("]", "}") == str(
        eager.type.content
    ).replace("]", "}") or "union" in str(eager.type)


def test_eager_arrays_must_fit() -> None:
    e = lazy()
    with pytest.raises(ShapeError, match="2 entries, the dataset 3"):
        e.x + np.array([1.0, 2.0])
    with pytest.raises(UnsupportedError, match="before any are cut"):
        e.x[e.b] + np.array([1.0, 2.0])
    with pytest.raises(HepgraphError):
        e.x + None
    with pytest.raises(HepgraphError):
        e.x + {"a": 1}


NUMPY: dict[str, Any] = {
    "where": lambda e: np.where(e.b, e.x, 0),
    "concatenate": lambda e: np.concatenate([e.f, e.i], axis=1),
    "sum": lambda e: np.sum(e.f, axis=1),
    "any": lambda e: np.any(e.f > 0, axis=1),
    "all": lambda e: np.all(e.f > 0, axis=1),
    "min": lambda e: np.min(e.f, axis=1),
    "max": lambda e: np.max(e.f, axis=-1),
    "mean": lambda e: np.mean(e.f, axis=1),
    "mean of all": lambda e: np.mean(e.x),
    "std": lambda e: np.std(e.f, axis=1),
    "var of all": lambda e: np.var(e.f),
    "sqrt": lambda e: np.sqrt(e.f),
    "clip": lambda e: np.clip(e.f, 0, 2),
    "clip one side": lambda e: np.clip(e.f, None, 2),
    "abs": lambda e: np.abs(e.f),
    "builtin abs": lambda e: abs(e.f),
    "round": lambda e: np.round(e.f),
    "add.reduce": lambda e: np.add.reduce(e.f, axis=1),
    "maximum.reduce": lambda e: np.maximum.reduce(e.f, axis=1),
    "modf": lambda e: np.modf(e.f)[0],
    "divmod": lambda e: divmod(e.n, 2)[1],
    "hypot": lambda e: np.hypot(e.f, e.x),
    "nan_to_num": lambda e: np.nan_to_num(e.f),
    "isclose": lambda e: np.isclose(e.f, 1.0),
    "zeros_like": lambda e: np.zeros_like(e.f),
    "full_like": lambda e: np.full_like(e.f, 2),
    "count_nonzero": lambda e: np.count_nonzero(e.f, axis=1),
    "power": lambda e: 2**e.n,
    "invert": lambda e: ~e.b,
    "neg": lambda e: -e.f,
    "real": lambda e: np.real(e.c),
    "argmax": lambda e: np.argmax(e.f, axis=1),
    "sort": lambda e: np.sort(e.f, axis=1),
    "nansum": lambda e: np.nansum(e.f, axis=1),
    "nanmean": lambda e: np.nanmean(e.f, axis=1),
}


@pytest.mark.parametrize("name", NUMPY)
def test_numpy_function(name: str) -> None:
    try:
        eager = NUMPY[name](DATA)
    except Exception:
        eager = None  # awkward has no such function; the lazy one may
    got = computed(NUMPY[name](lazy()))
    if eager is None:
        assert isinstance(got, ak.Array)
        return
    assert repr(listed(got)) == repr(listed(eager))
    if isinstance(eager, ak.Array):
        assert str(got.type) == str(eager.type)


def test_numpy_refuses_the_rest() -> None:
    x = lazy().x
    for call in (np.histogram, np.fft.fft, np.cumsum, np.interp):
        with pytest.raises(HepgraphError, match=r"compute|map_partitions"):
            call(x, x, x) if call is np.interp else call(x)
    with pytest.raises(HepgraphError):
        np.add.accumulate(x)
    with pytest.raises(HepgraphError):
        np.matmul(x, x)
    with pytest.raises(LazyError, match="written into"):
        x += 1


# slices


SLICES: dict[str, Any] = {
    "mask and element": lambda e: e.f[ak.num(e.f) > 0, 0],
    "mask and slice": lambda e: e.f[e.b, :1],
    "list": lambda e: e.f[ak.num(e.f) > 1][:, [0, 1]],
    "list backwards": lambda e: e.f[ak.num(e.f) > 1][:, [1, 0, -1]],
    "field and slice": lambda e: e["jet", "pt"],
    "two fields": lambda e: e[["x", "n"]],
    "fields of records": lambda e: e.jet[["pt", "q"]][["q"]],
    "slice of nested": lambda e: e.nn[:, :, :1],
    "newaxis": lambda e: e.x[:, np.newaxis],
    "ellipsis": lambda e: e.nn[..., 0:1],
    "rows": lambda e: e.f[1:],
    "last rows": lambda e: e.f[-2:],
    "step": lambda e: e.f[::2],
    "mask of events by its own": lambda e: e[e.x > 0].jet[:, ::-1],
    "option mask": lambda e: e.f[e.o > 2],
    "option jagged mask": lambda e: e.of[e.of > 0],
    "argmax": lambda e: e.jet[ak.argmax(e.jet.pt, axis=1, keepdims=True)],
    "argsort": lambda e: e.jet[ak.argsort(e.jet.pt, axis=1)],
    "attribute mask": lambda e: (lambda f: f.mask[f > 0])(e.f),
}


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("partitions", [1, 3])
def test_slice(name: str, partitions: int) -> None:
    assert listed(computed(SLICES[name](lazy(partitions)))) == listed(SLICES[name](DATA))


def test_slices_that_are_refused() -> None:
    e = lazy()
    refused: list[Any] = [
        lambda: e.f[0], lambda: e.f[[0, 2]], lambda: e.f[e.n], lambda: e.f[None], lambda: e.f[True], lambda: e.f["a"],
        lambda: e.f[e.b, [0]], lambda: e.f[e.f > 0, 0], lambda: e.nn[:, [0], [0]], lambda: e.nn[0, :, 0],
        lambda: e.f[:, :, 0], lambda: e.f[..., ..., 0], lambda: e.f[e.jet], lambda: e.f[e.f], lambda: e.jet["ptt"],
        lambda: e.f[::-1], lambda: e[e.b][1:], lambda: e.f[:, 1.5], lambda: e.x[:, 0], lambda: e.f[1j],
    ]  # fmt: skip
    for i, call in enumerate(refused):
        with pytest.raises(HepgraphError):
            pytest.fail(f"number {i} gave {call()!r}")


# what only computed arrays can answer


def test_lazy_errors() -> None:
    x = lazy().x
    for ask in (bool, len, list, float, int, complex, iter, np.asarray, lambda v: 1 in v, np.array, lambda v: [*v]):
        with pytest.raises(LazyError, match=r"compute"):
            ask(x)
    with pytest.raises(LazyError, match=r"ak\.where"):
        x.x = 1 if x > 0 else 2
    with pytest.raises(LazyError, match=r"ak\.num"):
        len(x)
    with pytest.raises(LazyError):
        sorted(x)
    with pytest.raises(LazyError):
        range(3)[x]


def test_misspelt_fields() -> None:
    e = lazy()
    for ask in (lambda: e.jett, lambda: e["jett"], lambda: e["jet", "ptt"], lambda: e.jet.ptt, lambda: e[["jett"]],
                lambda: ak.without_field(e, "jett")):  # fmt: skip
        with pytest.raises(hg.errors.FieldError, match=r"jet|pt") as caught:
            ask()
        assert "Nearest names" in str(caught.value)
    assert getattr(e, "jett", "default") == "default"
    assert not hasattr(e, "jett")


def test_other_cuts_are_named_with_their_lines() -> None:
    e = lazy()
    a = e.x[e.x > 0]
    b = e.x[e.n > 0]
    for combine in (lambda: a + b, lambda: ak.zip({"a": a, "b": b}), lambda: a[b > 0], lambda: ak.where(a > 0, a, b),
                    lambda: a + e.x):  # fmt: skip
        with pytest.raises(ShapeError) as caught:
            combine()
        assert "different masks" in str(caught.value)
        assert "test_lazy_dispatch.py:" in str(caught.value)
    with pytest.raises(ShapeError) as caught:
        e.f[e.f > 0] + e.f[e.f < 2]
    assert str(caught.value).count("test_lazy_dispatch.py:") == 2
    other = hg.from_awkward(DATA)
    with pytest.raises(ShapeError, match="different"):
        e.x + other.x
    with pytest.raises(UnsupportedError, match="Compute them first"):
        ak.sum(e.x) + ak.sum(hg.from_awkward(DATA[:2]).x)


# assignment and copies


def test_assignment_is_of_this_handle_alone() -> None:
    import copy

    e = lazy()
    other, twin = e, copy.copy(e)
    e["new"] = e.x * 2
    e["jet", "new"] = e.jet.pt * e.x
    assert "new" in e.fields
    assert "new" in other.fields
    assert "new" not in twin.fields
    assert computed(e.jet.new).to_list() == (DATA.jet.pt * DATA.x).to_list()
    assert computed(e.jet).fields == ["pt", "q", "new"]
    del e["new"]
    assert "new" not in e.fields
    e["jet"] = e.jet[e.jet.pt > 25]
    assert listed(computed(e.jet.pt)) == [[50.0], [], [30.0]]
    with pytest.raises(hg.errors.FieldError, match=r"x\['jet'\]"):
        e.jet = 1
    with pytest.raises(LazyError):
        e[0] = 1
    with pytest.raises(LazyError):
        e[e.x > 0] = 1


# whole datasets


TOTALS: dict[str, Any] = {
    "sum": lambda e: ak.sum(e.f), "var": lambda e: ak.var(e.f), "std": lambda e: ak.std(e.x, ddof=1),
    "mean": lambda e: ak.mean(e.of), "max": lambda e: ak.max(e.f), "ratio": lambda e: ak.sum(e.x) / ak.num(e.x, axis=0),
    "none": lambda e: ak.max(e.f[e.f > 100]), "any": lambda e: ak.any(e.b), "num": lambda e: ak.num(e[e.b], axis=0),
    "count": lambda e: ak.count(e.of), "flat": lambda e: ak.sum(ak.flatten(e.f), axis=0),
    "min": lambda e: ak.min(e.x, axis=0),
}  # fmt: skip


@pytest.mark.parametrize("name", TOTALS)
@pytest.mark.parametrize("partitions", [1, 2, 3, 7])
def test_whole_dataset(name: str, partitions: int) -> None:
    got, eager = computed(TOTALS[name](lazy(partitions))), TOTALS[name](DATA)
    assert (got is None and eager is None) or got == pytest.approx(eager, rel=1e-12)


# messages


def test_a_lazy_array_in_a_computed_one() -> None:
    e = lazy()
    with pytest.raises(LazyError, match=r"cannot become part of a computed one.*ak\.zip.*\.compute\(\) first"):
        ak.Array({"a": e.x})
    with pytest.raises(LazyError, match=r"no values before it is computed"):
        ak.Array([e.x])


def test_parentheses_that_are_missing() -> None:
    e = lazy()
    with pytest.raises(UnsupportedError) as caught:
        e.jet.pt > 30 & abs(e.jet.pt) < 2
    assert "Python takes & before comparisons: a > 30 & b < 2 means a > (30 & b) < 2." in str(caught.value)
    assert "Write (a > 30) & (b < 2), with parentheses around each comparison." in str(caught.value)
    with pytest.raises(LazyError) as also:
        e.n > 30 | abs(e.n) < 2
    assert "In `e.n > 30 | abs(e.n) < 2" in str(also.value)
    assert "Python takes & and | before comparisons, and then a < b < c as (a < b) and (b < c). Write" in str(
        also.value
    )
    with pytest.raises(
        LazyError, match=r"Python takes a < b < c as \(a < b\) and \(b < c\)\. Write \(a < b\) & \(b < c\)"
    ):
        0 < e.x < 2
    with pytest.raises(LazyError) as plain:
        bool(e.x > 2)
    assert "Write" not in str(plain.value)
    with pytest.raises(UnsupportedError) as other:
        e.x + e.s
    assert "parentheses" not in str(other.value)


def test_lists_that_cannot_be_told_regular() -> None:
    e = lazy()
    fixed = ak.pad_none(e.f, 2, clip=True)
    assert ak.to_regular(fixed)._form is fixed._form
    for axis in (1, None, -1):
        with pytest.raises(
            UnsupportedError, match=r"known only after they were read.*ak\.pad_none\(x, n, axis=1, clip=True\)"
        ):
            ak.to_regular(e.f, axis=axis)


def test_strings_are_sorted_but_not_reduced() -> None:
    data = ak.Array([["mu", "e", ""], [], ["tau", "e"]])
    e = hg.from_awkward(data, npartitions=2)
    for options in ({}, {"ascending": False}, {"axis": 1}):
        for f in (ak.sort, ak.argsort):
            assert computed(f(e, **options)).to_list() == f(data, **options).to_list()
    for f in (ak.max, ak.sum, ak.argmax, ak.count):
        with pytest.raises(
            UnsupportedError, match=r"strings cannot be reduced; compare them first, as in ak\.any\(x == 'mu'"
        ):
            f(e, axis=1)
    assert computed(ak.any(e == "e", axis=1)).to_list() == [True, False, True]


@pytest.mark.parametrize("engine", ["kernel", "interpreter"])
def test_the_best_of_each_event_beside_an_event_weight(engine: str) -> None:
    def best(d: Any) -> Any:
        return ak.flatten(d.jet.pt[ak.argmax(d.jet.pt, axis=1, keepdims=True)])

    e = lazy()
    assert computed(best(e)).to_list() == best(DATA).to_list() == [50.0, None, 30.0]
    assert computed(best(e) * e.x).to_list() == (best(DATA) * DATA.x).to_list()
    cut = lambda d: d[d.x > 0]  # noqa: E731
    assert computed(best(cut(e)) + cut(e).n).to_list() == (best(cut(DATA)) + cut(DATA).n).to_list()
    h = hg.Hist.new.Reg(4, 0, 80, name="pt").Weight().fill(best(e), weight=e.x)
    wanted = hg.Hist.new.Reg(4, 0, 80, name="pt").Weight().fill(best(DATA), weight=DATA.x)
    got = h.compute(executor="serial", engine=engine, progress=False)
    assert got.view(flow=True).tolist() == wanted.view(flow=True).tolist()

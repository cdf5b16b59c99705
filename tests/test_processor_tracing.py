"""Processors that cannot be recorded run eagerly, whoever caught the error, and say so at once; real errors stay so."""

import contextlib
import copy
import operator
import pickle
import sys
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import awkward as ak
import hist
import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.errors import FallbackWarning, FieldError, LazyError, ProcessorError, ShapeError, UnsupportedError

X = np.arange(1.0, 31.0)
LISTS = [[float(i)] * (i % 3) for i in range(30)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "a.parquet"
    pq.write_table(pa.table({"x": X, "lists": LISTS}), path, row_group_size=30)
    return str(path)


def run(processor, path, **options):
    options = {"executor": "serial", "progress": False, "schema": "base", "step_size": 10, **options}
    return hg.run(processor, path if isinstance(path, dict) else {"a": [path]}, **options)


# a library that wants computed arrays, as coffea's analysis tools do, and one that takes whatever works

LIBRARY = """
import awkward as ak
import numpy as np

class PackedSelection:
    def __init__(self):
        self.masks = {}

    def add(self, name, mask):
        if not isinstance(mask, ak.Array | np.ndarray):
            raise ValueError(f"Expected a numpy or awkward array, received: {mask!r}")
        kind = ak.type(mask)
        if not isinstance(kind, ak.types.ArrayType):
            raise ValueError(f"Expected an array type, received: {kind!r}")
        if not isinstance(kind.content, ak.types.NumpyType):
            raise ValueError(f"Expected an array of type N * primitive, received: {kind!r}")
        self.masks[name] = mask if isinstance(mask, np.ndarray) else ak.to_numpy(mask)

    def all(self, *names):
        return np.logical_and.reduce([self.masks[name] for name in names])

def best_of(function, array, other):
    try:
        return function(array)
    except Exception:
        return other
"""


@pytest.fixture(autouse=True)
def library(monkeypatch, tmp_path):
    """An installed package."""
    made = types.ModuleType("coffealike")
    exec(compile(LIBRARY, f"{sys.prefix}/lib/site-packages/coffealike.py", "exec"), made.__dict__)
    made.__file__ = f"{sys.prefix}/lib/site-packages/coffealike.py"
    monkeypatch.setitem(sys.modules, "coffealike", made)
    return made


def interpolated(events, w):
    try:  # noqa: SIM105 (what is tested)
        w = w * np.sinc(events.x)
    except Exception:
        pass
    return w


def by_length(events, w):
    try:
        return w / len(events) * len(events) * 2
    except TypeError:
        return w


def suppressed(events, w):
    with contextlib.suppress(TypeError, ValueError):
        w = w * float(ak.sum(events.x) > 0) * 3
    return w


def branching(events, w):
    try:
        if ak.all(events.x > 0):
            w = w * 5
    except (LazyError, KeyError):
        w = w * 7
    return w


def helped(events, w):
    def loop():
        try:
            return np.array([each * 2 for each in events.x])
        except BaseException:
            return None

    found = loop()
    return w if found is None else w * found


def finally_returned(events, w):
    def never():
        try:
            return w * np.asarray(events.x)
        finally:
            return w * 2  # noqa: SIM107 (what is tested)

    return never()


def by_a_library(events, w):
    return w * sys.modules["coffealike"].best_of(lambda x: np.asarray(x) * 2, events.x, 1.0)


def filled(events, w):
    try:
        hg.Hist.new.Reg(2, 0, 1).Double().fill(hist.Hist, weight=events.x)
    except Exception:
        w = w * 1
    try:
        hg.Hist.new.Reg(2, 0, 40, name="x").Double().fill(events.x, weight=dict)
    except TypeError:
        w = w * 3
    return w


def selected_or_not(events, w):
    selection = sys.modules["coffealike"].PackedSelection()
    try:
        selection.add("low", events.x > 3)
    except ValueError:
        pass
    except TypeError:
        pass
    return w * (selection.masks.get("low", 0) + 1)


def by_layout(events, w):
    try:
        flat = isinstance(events.x.layout, ak.contents.NumpyArray)
    except TypeError:
        flat = False
    return w * 2 if flat else w


def raised_again(events, w):
    try:
        try:
            return w * len(events)
        except TypeError as error:
            raise RuntimeError("no length") from error
    except RuntimeError:
        return w * 3


def in_a_generator(events, w):
    def values():
        try:
            yield from events.x
        except TypeError:
            yield 1.0

    return w * sum(values())


SWALLOWED = [
    interpolated, by_length, suppressed, branching, helped, finally_returned, by_a_library, raised_again,
    in_a_generator, selected_or_not, by_layout,
]  # fmt: skip


class Shown:
    """The calls of notebooks and prompts on a value that is shown."""

    def ipython(x):
        formatters = pytest.importorskip("IPython.core.formatters")
        return formatters.DisplayFormatter().format(x)

    def rich(x):
        from rich.pretty import pretty_repr

        return pretty_repr({"a": [x]})


def absent(x):
    try:
        return x.nothing
    except AttributeError:
        return None


ASKED = {
    "hasattr": lambda x: hasattr(x, "nothing") or hasattr(x, "__wrapped__") or hasattr(x, "__len__"),
    "getattr": lambda x: getattr(x, "nothing", None),
    "field": absent,
    "repr": lambda x: (repr(x), str(x), f"{x}", getattr(x, "_repr_html_", str)(), x._repr_mimebundle_()),
    "dir": dir,
    "copy": lambda x: (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))),
    "hint": lambda x: operator.length_hint(x, 3),
    "kinds": lambda x: (isinstance(x, ak.Array), callable(x), x.ndim, ak.fields(x), ak.type(x)),
    "ipython": Shown.ipython,
    "rich": Shown.rich,
    "library": lambda x: sys.modules["coffealike"].best_of(lambda y: y * 2, x, 1.0),
    "reductions": lambda x: (ak.max(x), np.sum(x), sum([x, x]), np.sqrt(x), ak.where(x > 1, x, 0)),
    "map_partitions": lambda x: hg.map_partitions(np.sqrt, x),
    "none": lambda x: None,
}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(SWALLOWED), max_size=3, unique=True), st.lists(st.sampled_from(sorted(ASKED)), max_size=4)
)
def test_errors_that_are_swallowed(path, swallowed, asked):
    """The result is that of eager awkward; what merely asks a lazy array keeps it recorded."""

    def process(events):
        w = events.x * 1.0
        for name in asked:
            ASKED[name](events.x)
        for step in swallowed:
            w = step(events, w)
        return {"w": w if isinstance(w, ak.Array) else ak.Array(w)}

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        out = run(process, path, step_size=30)
    assert [each.category for each in told] == [FallbackWarning] * bool(swallowed)
    plain = process(ak.Array({"x": X, "lists": LISTS}))
    assert ak.almost_equal(out["w"], plain["w"])
    if swallowed:
        assert "This error was caught in process()" in str(told[0].message)
        with pytest.raises((LazyError, UnsupportedError, RuntimeError)):
            run(process, path, strict=True)


def test_a_swallowed_fill(path):
    with pytest.warns(FallbackWarning, match="caught in process"), contextlib.suppress(Exception):
        run(lambda events: {"w": filled(events, events.x)}, path)


# errors of libraries, and those of the user


def selected(events, order):
    selection = sys.modules["coffealike"].PackedSelection()
    h = hg.Hist.new.Reg(3, 0, 30, name="x").Double()
    steps = {
        "low": lambda: selection.add("low", events.x > 3),
        "high": lambda: selection.add("high", events.x < 20),
        "sum": lambda: ak.sum(events.x, axis=0),
        "fill": lambda: hg.Hist.new.Reg(3, 0, 30, name="x").Double().fill(events.x),
        "kept": lambda: events[ak.num(events.lists) > 1].x,
    }
    for name in order:
        steps[name]()
    return {"h": h.fill(events.x[selection.all("low", "high")])}


@given(st.permutations(["low", "high", "sum", "fill", "kept"]))
@settings(deadline=None)
def test_a_library_that_wants_computed_arrays(path, order):
    """Whatever the order of the lines, the result is there, and the user's line is named."""
    with pytest.warns(FallbackWarning) as told:
        out = run(lambda events: selected(events, order), path)
    assert out["h"].sum(flow=True) == np.count_nonzero((X > 3) & (X < 20))
    text = str(told[0].message)
    assert "ValueError: " in text or "LazyError: " in text
    assert "selection.add" in text
    assert "test_processor_tracing.py" in text


def test_a_check_of_types(path):
    """The error is none of hepgraph's: nothing but the trial on computed events tells whose it is."""

    def checked(x):
        if type(x) is not ak.Array:
            raise ValueError(f"Expected an array type, received: {x.type}")
        return x

    with pytest.warns(
        FallbackWarning, match=r"ValueError: Expected an array type, received: ## \* double|float64"
    ) as told:
        out = run(lambda events: {"sum": ak.sum(checked(events.x))}, path)
    assert out["sum"] == X.sum()
    assert "hg.map_partitions(function, array, ...) calls a function with computed arrays" in str(told[0].message)


class Mine(Exception):
    """An error of the user's own."""


@pytest.mark.parametrize(
    "kind", [NameError, KeyError, ValueError, TypeError, AttributeError, OSError, Mine, ZeroDivisionError]
)
@pytest.mark.parametrize("eager", [False, True])
def test_errors_of_the_user_are_theirs(path, kind, eager):
    calls = []

    def process(events):
        calls.append(type(events))
        raise kind("mine")

    with pytest.raises(kind, match="mine") as caught:
        run(process, path, eager=eager)
    assert caught.traceback[-1].name == "process"
    if not eager:
        assert calls[0] is hg.Lazy
        assert caught.value.__cause__ is None


def test_misspelt_names(path):
    for process, kind in (
        (lambda events: {"n": events.y}, FieldError),
        (lambda events: {"n": nothing}, NameError),  # noqa: F821 (what is tested)
        (lambda events: {"n": {}["y"]}, KeyError),
        (lambda events: {"n": events.x[events.x > 1] + events.x[events.x > 2]}, ShapeError),
    ):
        with pytest.raises(kind):
            run(process, path)


def test_another_error_with_computed_arrays_is_the_runs(path):
    def process(events):
        if type(events) is hg.Lazy:
            raise ValueError("lazy")
        raise KeyError("computed")

    with pytest.warns(FallbackWarning, match="ValueError: lazy"), pytest.raises(KeyError, match="computed") as caught:
        run(process, path)
    assert caught.value.report.failed[0].start == 0


# how it is told


def test_it_is_told_at_once_and_once(path, tmp_path):
    """Before anything runs, on the user's line of hg.run; a second dataset says nothing new."""
    order = []

    def process(events):
        n = len(events)
        order.append(n)
        return {"n": n}

    fileset = {"a": [path], "b": [path]}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warnings.showwarning = lambda *args: (order.append("told"), told.append(args))
        out, report = run(process, fileset, report=True)
    assert order[0] == "told"
    assert order.count("told") == 1
    assert out == {"n": 60}
    text = str(told[0][0])
    assert (
        "process() cannot be recorded for dataset 'a'. It runs eagerly, chunk by chunk, which takes longer.\n" in text
    )
    assert f"{__file__}:" in text
    assert ": n = len(events)\n" in text
    assert "LazyError: The length of a lazy array is not known" in text
    assert "ak.num(x, axis=0)" in text
    assert "eager=True asks for that without this warning; strict=True makes it an error." in text
    assert told[0][2] == __file__
    assert [note.partition(":")[0] for note in report.notes] == ["a", "b"]


def test_it_is_asked_for(path):
    def process(events):
        return {"n": len(events), "eager": {type(events).__name__}}

    for out in (
        run(process, path, eager=True),
        hg.Runner("serial", schema="base", progress=False, eager=True)({"a": [path]}, processor_instance=process),
        hg.submit(process, {"a": [path]}, executor="serial", schema="base", eager=True).result(),
    ):
        assert out == {"n": 30, "eager": {"EventsArray"}}
    assert run(lambda e: {"n": ak.num(e, axis=0)}, path, eager=True, report=True)[1].rows[0].how == "eager"
    with pytest.raises(ValueError, match="strict=True forbids what eager=True asks for"):
        run(process, path, eager=True, strict=True)
    with pytest.raises(TypeError, match=r"compute\(\) has no argument eager=\. It is an argument of hg\.run"):
        hg.compute(1, eager=True)


# one language


@numba.njit
def number(x):
    return x * 2 + 1


def doubled(x):
    return x * 2


def fields(x):
    return {"one": x, "two": ak.to_numpy(x) * 2}


@pytest.mark.parametrize("untraceable", [False, True])
def test_functions_of_arrays(path, untraceable):
    """The same processor with hg.map_partitions, recorded and not."""

    def process(events):
        n = len(events) if untraceable else ak.num(events, axis=0)
        both = hg.map_partitions(fields, events.x)
        return {
            "n": n,
            "sum": ak.sum(hg.map_partitions(doubled, events.lists)),
            "number": ak.sum(hg.map_partitions(number, events.lists)),
            "flat": hg.map_partitions(number, events.x),
            "two": ak.sum(both.two - both.one),
            "named": ak.sum(hg.map_partitions(lambda x, factor: x * factor, x=events.x, factor=2)),
            "nested": ak.sum(hg.map_partitions(lambda both: both[0] + both[1], [events.x, events.x])),
        }

    out = run(process, path, eager=untraceable)
    flat = [x for each in LISTS for x in each]
    assert out["n"] == 30
    assert out["sum"] == 2 * sum(flat)
    assert out["number"] == sum(2 * x + 1 for x in flat)
    assert out["flat"].to_list() == (2 * X + 1).tolist()
    assert out["two"] == X.sum()
    assert out["named"] == out["nested"] == 2 * X.sum()


def test_functions_of_computed_arrays():
    x = ak.Array([[1.0, None], None, [3.0]])
    assert hg.map_partitions(number, x).to_list() == [[3.0, None], None, [7.0]]
    assert hg.map_partitions(numba.njit(lambda x, y: x + y), x, 2).to_list() == [[3.0, None], None, [5.0]]
    assert hg.map_partitions(np.sqrt, np.array([4.0])).to_list() == [2.0]
    with pytest.raises(ShapeError, match="returned 2 entries for 3 rows; it must return one a row"):
        hg.map_partitions(lambda x: x[:2], x)
    with pytest.raises(UnsupportedError, match="returned float; a recorded function must return one array"):
        hg.map_partitions(lambda x: 1.0, x)
    with pytest.raises(UnsupportedError, match="was called without a lazy array"):
        hg.map_partitions(lambda x: x, 1.0)


def test_outputs_are_checked_as_ever(path):
    with pytest.raises(ProcessorError, match="returned None"):
        run(lambda events: None, path)


def test_errors_that_a_thread_of_process_kept_to_itself(path):
    def process(events):
        with ThreadPoolExecutor(1) as pool:
            doubled = pool.submit(lambda: np.asarray(events.x) * 2)
        return {"s": ak.sum(events.x if doubled.exception() else doubled.result())}

    with pytest.warns(FallbackWarning, match="A lazy array"):
        assert run(process, path)["s"] == 2 * X.sum()

"""Values that recorded functions hold without a copy, arrays that they may not change, and set-up once in a process."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import ChangedError, ShippingError
from hepgraph.functions.snapshot import SMALL, Snapshot

# what is not copied

EVENTS = ak.Array({"x": np.arange(1.0, 9.0), "y": np.ones(8)})
LARGE = SMALL // 8 + 1


def events(npartitions=2):
    return hg.from_awkward(EVENTS, npartitions=npartitions)


def large():
    return ak.Array({"x": np.ones(LARGE), "y": np.ones(LARGE)})


TOO_LARGE = np.ones(LARGE)


def weighted(x):
    return x * TOO_LARGE[0]


class Holds:
    def __init__(self):
        self.table = np.ones(LARGE)

    def apply(self, x):
        return x * self.table[0]


def in_place():
    """Ways to hand over a large array, each with the array, and how the error speaks of it."""
    data = large()
    yield "from_awkward", ak.sum(hg.from_awkward(data).x), np.asarray(data.x), "An array of 131,073 entries, given to"
    w = np.ones(LARGE)
    yield (
        "beside",
        ak.sum(hg.from_awkward(large()).x * w),
        w,
        "An array of 131,073 entries, given to from_awkward or used",
    )
    w = ak.Array(np.ones(LARGE))
    yield (
        "awkward beside",
        ak.sum(hg.from_awkward(large()).x * w),
        np.asarray(w),
        "An array of 131,073 entries, given to",
    )
    yield "global", hg.map_partitions(weighted, events().x), TOO_LARGE, "The global 'TOO_LARGE' of weighted was changed"
    w = np.ones(LARGE)
    yield "closure", hg.map_partitions(lambda x: x * w[0], events().x), w, r"The variable 'w' of .*<lambda> was changed"
    yield (
        "argument",
        hg.map_partitions(lambda x, w: x * w[0], events().x, w),
        w,
        "An array of 131,073 entries was changed",
    )
    w = ak.Array(np.ones(LARGE))
    yield "awkward closure", hg.map_partitions(lambda x: x * w[0], events().x), np.asarray(w), r"The variable 'w' of"
    h = Holds()
    yield "attribute", hg.map_partitions(h.apply, events().x), h.table, "The attribute 'table' of the Holds was changed"


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_large_array_that_was_changed_in_place(executor):
    for name, x, array, words in in_place():
        if executor == "processes" and name not in ("from_awkward", "global"):
            continue
        before = x.compute(progress=False)
        array *= 2
        with pytest.raises(ChangedError, match=words) as caught:
            x.compute(executor=executor, progress=False)
        assert "instead of changing it" in str(caught.value), name
        array /= 2
        again = x.compute(executor=executor, progress=False)
        assert np.all(again == before), name


def test_a_column_that_is_not_used_may_change():
    data = large()
    x = hg.from_awkward(data).x
    np.asarray(data.y)[:] = 2
    assert ak.sum(x).compute() == LARGE


def test_a_large_array_that_was_changed_while_a_run_was_under_way():
    gate, told = threading.Event(), threading.Event()

    def waits(x):
        told.set()
        gate.wait(30)
        return x

    w = np.ones(LARGE)
    lazy = hg.from_awkward(large())
    handle = hg.submit(ak.sum(hg.map_partitions(waits, lazy.x, meta=np.ones(0)) * w), executor="serial")
    assert told.wait(30)
    w *= 2
    gate.set()
    with pytest.raises(ChangedError, match="was changed in place since"):
        handle.result(60)


class Caught(Exception):
    limit = 1.0


class OfItsOwn(ak.Array):
    scale = 1.0


def test_classes_that_cannot_be_copied_are_looked_at_again(monkeypatch):
    def raises(x):
        if len(x) > 3:
            raise Caught("mine")
        return x * Caught.limit

    def uses(x):
        return x * Caught.limit

    with pytest.raises(Caught, match="mine"):
        hg.map_partitions(raises, events().x).compute(executor="serial")
    x = hg.map_partitions(uses, events().x)
    y = hg.map_partitions(lambda x: x * OfItsOwn.scale, events().x)
    assert x.compute(executor="serial").to_list() == EVENTS.x.to_list()
    monkeypatch.setattr(Caught, "limit", 2.0)
    with pytest.raises(ChangedError, match=r"Caught.limit was changed after uses was recorded"):
        x.compute(executor="serial")
    monkeypatch.setattr(OfItsOwn, "scale", 2.0)
    with pytest.raises(ChangedError, match=r"OfItsOwn.scale was changed"):
        y.compute(executor="serial")


def held(file):
    """Functions that use what cannot be copied, each with how an error speaks of it in other processes."""
    lock = threading.Lock()
    condition, raw = threading.Condition(), object()

    class Session:
        def __init__(self):
            self.lock, self.scale = threading.RLock(), 2.0

        def run(self, x):
            with self.lock:
                return x * self.scale

    session = Session()

    def locked(x):
        with lock:
            return x * 2

    def opened(x):
        return x * 2 if not file.closed else x

    def conditioned(x):
        with condition:
            condition.notify_all()
        return x * (2 if raw is raw else 1)

    yield locked, r"the variable 'lock' of .*locked cannot be sent to another process: it is a _thread.lock"
    yield opened, r"the variable 'file' of .*opened cannot be sent to another process: it is a _io.BufferedRandom"
    yield session.run, r"Session.lock cannot be sent to another process: it is a _thread.RLock"
    yield conditioned, r"cannot be sent to another process: it is a _thread.RLock"


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "numbers").open("w+b") as file:
        yield file


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_locks_files_and_sessions_stay_what_they_are(file, executor):
    for function, _ in held(file):
        x = hg.map_partitions(function, events().x)
        assert x.compute(executor=executor, progress=False).to_list() == (EVENTS.x * 2).to_list()
        handle = hg.submit(x, executor=executor)
        assert handle.result(60).to_list() == (EVENTS.x * 2).to_list()


def test_what_cannot_be_sent_is_named_with_what_to_do(file, tmp_path):
    for function, words in held(file):
        x = hg.map_partitions(function, events().x)
        for call in (lambda: x.compute(executor="processes"), lambda: hg.submit(x, executor="processes").result(60),
                     lambda: x._dask_graph()):  # fmt: skip
            with pytest.raises(ShippingError, match=words) as caught:
                call()
            assert "setup=make: make() is called once in each process" in str(caught.value)
        with pytest.raises(hg.errors.CheckpointError, match=r"setup= of hg\.map_partitions"):
            x.compute(executor="serial", checkpoint=tmp_path / "checkpoint")


def test_half_a_copy_of_a_packages_object_is_not_made():
    pool = threading.Semaphore(1)  # a Python object of the standard library around a lock
    taken = Snapshot.of(lambda: pool)
    assert taken.value() is pool


class Strict:
    """Pickles, but cannot be made again of that."""

    def __new__(cls, scale):
        return super().__new__(cls)

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return x * self.scale


def test_what_cannot_be_made_again_is_looked_at_again():
    strict = Strict(2.0)
    x = hg.map_partitions(strict, events().x)
    assert x.compute(executor="serial").to_list() == (EVENTS.x * 2).to_list()
    strict.scale = 3.0
    with pytest.raises(ChangedError, match=r"An object of .*Strict was changed after Strict was recorded"):
        x.compute(executor="serial")


def test_what_a_function_only_adds_to_is_the_users_own():
    seen, names, count = [], set(), {"calls": 0}

    def notes(x):
        seen.append(len(x))
        names.add(type(x).__name__)
        count["calls"] += 1  # read, too: this is a copy's
        return x

    hg.map_partitions(notes, events().x, meta=np.ones(0)).compute(executor="serial")
    assert (seen, names, count) == ([4, 4], {"Array"}, {"calls": 0})


def test_what_one_function_adds_to_and_another_reads_is_copied():
    seen = [2.0]

    def adds(x):
        seen.append(len(x))
        return x * reads()

    def reads():
        return seen[0]

    x = hg.map_partitions(adds, events().x)
    seen[0] = 3.0
    assert x.compute(executor="serial").to_list() == (EVENTS.x * 2).to_list()


def test_lines_of_errors_are_the_users(tmp_path):
    def fails(x):
        return x * {}["nothing"]  # the line of the user

    with pytest.raises(KeyError) as caught:
        hg.map_partitions(fails, events().x, meta=np.ones(0)).compute(executor="serial")
    frames = [frame for frame in caught.traceback if frame.name == "fails"]
    assert [str(frame.path) for frame in frames] == [__file__]
    assert "# the line of the user" in str(frames[0].statement)


def test_sources_made_by_functions():
    scale, inputs = 1.0, [[2], [3]]

    def make(n):
        return ak.Array({"x": np.ones(n[0]) * scale})

    x = hg.from_map(make, inputs, lengths=[2, 3], meta=ak.Array({"x": np.ones(1)})).x
    scale = 7.0
    inputs[0][0] = 5
    assert x.compute(executor="serial").to_list() == [1.0] * 5
    lock = threading.Lock()
    y = hg.from_map(lambda n: ak.Array({"x": np.ones(n) * (not lock.locked())}), [2, 3]).x
    assert y.compute(executor="threads").to_list() == [1.0] * 5
    with pytest.raises(ShippingError, match=r"the variable 'lock' of .* cannot be sent"):
        y.compute(executor="processes")


# in place


SAMPLE = Path(__file__).resolve().parents[1] / "data"
SHARED = {
    "x": lambda **_: events(),
    "root": lambda **more: hg.open(str(SAMPLE / "sample.root"), **more)["MET"],
    "parquet": lambda **more: hg.open(str(SAMPLE / "sample.parquet"), **more)["MET"],
}


@pytest.mark.parametrize("engine", ["auto", "interpreter"])
def test_functions_cannot_write_into_what_others_read(tmp_path, engine):
    def doubles(x):
        x = np.asarray(x)
        x *= 2
        return x

    def copies(x):
        x = np.array(x)
        x *= 2
        return x

    for kind, source in SHARED.items():
        for cache in (None, tmp_path / kind, tmp_path / kind):  # none, one to be filled, a filled one
            data = source(cache=cache)
            name = "x" if kind == "x" else "pt"
            meta = np.zeros(0, data[name].compute(progress=False).layout.dtype)
            for x in (data[name], data[name] * 1, data[data[name] > 0][name]):
                with pytest.raises(ValueError, match="read-only") as caught:
                    hg.map_partitions(doubles, x, meta=meta).compute(executor="serial", engine=engine)
                assert any("copy first, x = np.array(x)" in note for note in caught.value.__notes__)
                with pytest.raises(ValueError, match="read-only"):
                    hg.map_partitions(doubles, x)
                both = [hg.map_partitions(copies, x, meta=meta), x]
                twice, once = hg.compute(both, executor="serial", engine=engine)
                assert np.all(np.asarray(twice) == 2 * np.asarray(once))


# once in each process


def test_setup_is_called_once_in_each_process(tmp_path):
    folder = str(tmp_path)

    def make():
        import os
        import tempfile

        tempfile.mkstemp(prefix=f"{os.getpid()}-", dir=folder)
        return threading.Lock()

    def uses(lock, x, k, *, plus):
        with lock:
            return x * k + plus

    x = hg.map_partitions(uses, events(8).x, 2, plus=1.0, setup=make)
    y = hg.map_partitions(uses, events(8).y, 3, plus=1.0, setup=make)
    for executor in ("serial", hg.executors.Threads(2), hg.executors.Processes(2)):
        one, two = hg.compute([x, y], executor=executor, progress=False)
        assert one.to_list() == (EVENTS.x * 2 + 1).to_list()
        assert two.to_list() == (EVENTS.y * 3 + 1).to_list()
    made = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert len(made) == len(set(made)), "once in each"
    assert str(os.getpid()) in made
    assert 2 <= len(made) <= 3
    other = hg.map_partitions(uses, events(1).x, 2, plus=1.0, setup=lambda: make())
    other.compute(executor="serial")
    assert len(list(tmp_path.iterdir())) == len(made) + 1, "another function, another session"


def test_setup_that_fails_says_so():
    def make():
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model") as caught:
        hg.map_partitions(lambda model, x: x, events().x, setup=make)
    assert any("in the setup= of <lambda>, which is called once in each process" in n for n in caught.value.__notes__)


def test_setup_counts_for_a_checkpoint(tmp_path):
    def of(k):
        return hg.map_partitions(lambda made, x: x * made, events().x, setup=lambda: k)

    assert ak.sum(of(2)).compute(executor="serial", checkpoint=tmp_path / "a") == 2 * ak.sum(EVENTS.x)
    with pytest.raises(hg.errors.CheckpointError, match="another"):
        ak.sum(of(3)).compute(executor="serial", checkpoint=tmp_path / "a")


# the examples of the issue


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_loop_over_systematics(executor):
    data, out = events(), {}
    for name, k in (("up", 1.5), ("down", 0.5)):
        out[name] = ak.sum(hg.map_partitions(lambda x: x * 0 + k, data.x))

        def scaled(x):
            return x * 0 + k

        out[f"{name} by def"] = ak.sum(hg.map_partitions(scaled, data.x))
    assert hg.compute(out, executor=executor) == {"up": 12, "up by def": 12, "down": 4, "down by def": 4}


class Scaled(hg.Processor):
    def corr(self, x):
        return x * self.sf

    def process(self, events):
        self.sf = events.metadata["sf"]
        return {events.metadata["dataset"]: ak.sum(hg.map_partitions(self.corr, events.x))}


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_processor_that_keeps_a_factor_of_its_dataset(tmp_path, executor):
    path = str(tmp_path / "data.parquet")
    ak.to_parquet(EVENTS, path)
    fileset = {name: {"files": [path], "metadata": {"sf": sf}} for name, sf in (("a", 1.0), ("b", 10.0))}
    out = hg.run(Scaled(), fileset, schema="base", executor=executor, progress=False)
    assert out == {"a": 36.0, "b": 360.0}


def test_weights_that_are_changed_in_place():
    w = np.ones(8)
    data = events()
    a = ak.sum(data.x * w)
    w *= 2
    b = ak.sum(data.x * w)
    assert hg.compute([a, b], executor="serial") == [36.0, 72.0]


def test_another_array_with_the_same_content_may_change():
    one, two = np.ones(LARGE), np.ones(LARGE)
    data = hg.from_awkward(large())
    a, b = ak.sum(data.x * one), ak.sum(data.x * two)
    both = [hg.map_partitions(lambda x, w: x * w[0], events().x, w) for w in (one, two)]
    one *= 2
    assert b.compute() == LARGE
    assert both[1].compute().to_list() == EVENTS.x.to_list()
    for changed in (a, both[0]):
        with pytest.raises(ChangedError):
            changed.compute()


def test_compiled_functions_have_the_values_of_when_the_line_ran():
    numba = pytest.importorskip("numba")
    offset = 1.0
    table = np.array([1.0, 2.0])

    @numba.njit
    def inner(x):
        return x + table[0]

    @numba.njit
    def outer(x):
        return inner(x) * offset

    def by_hand(x):
        return np.array([outer(each) for each in x])

    @numba.vectorize
    def vectorized(x, y):
        return x * offset + y

    @numba.vectorize(["float64(float64)"])
    def for_one_type(x):
        return x * offset

    data, found = events(), []
    for offset, table[0] in ((1.0, 1.0), (2.0, 5.0)):
        found += [hg.map_partitions(outer, data.x), hg.map_partitions(by_hand, data.x), vectorized(data.x, data.y)]
        found += [for_one_type(data.x), hg.map_partitions(lambda x: for_one_type(x) + vectorized(x, 1), data.x)]
    offset, table[0] = 100.0, 100.0
    x = np.arange(1.0, 9.0)
    expected = [[x + 1, x + 1, x + 1, x, 2 * x + 1], [2 * (x + 5), 2 * (x + 5), 2 * x + 1, 2 * x, 4 * x + 1]]
    expected = [each.tolist() for part in expected for each in part]
    for executor, every in (("serial", 1), ("processes", 2)):  # in other processes all is compiled once more
        out = hg.compute(found[::every], executor=executor, progress=False)
        assert [each.to_list() for each in out] == expected[::every]


def test_setup_with_computed_arrays():
    made = []

    def make():
        made.append(1)
        return 3.0

    assert hg.map_partitions(lambda k, x: x * k, EVENTS.x, setup=make).to_list() == (EVENTS.x * 3).to_list()
    assert hg.map_partitions(lambda k, x: x * k, EVENTS.x, setup=make).to_list() == (EVENTS.x * 3).to_list()
    assert made == [1]

"""Recorded code means what it meant when the line ran: drawn programs that change things between their lines.

Eager awkward, which runs each line at once, is the oracle.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import operator
import sys

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.fingerprint import digest
from hepgraph.functions.snapshot import Snapshot

DATA = ak.Array(
    [
        {"met": 10.0, "jets": [{"pt": 50.0, "eta": 0.5}, {"pt": 20.0, "eta": -1.0}]},
        {"met": 20.0, "jets": []},
        {"met": 40.0, "jets": [{"pt": 30.0, "eta": 2.0}]},
        {"met": 5.0, "jets": [{"pt": 25.0, "eta": -0.5}, {"pt": 35.0, "eta": 0.1}, {"pt": 15.0, "eta": 1.5}]},
    ]
)
HELPERS = """\
import functools
FACTOR = 1.0
TABLE = {"deep": [1.0]}

def scaled(x):
    return x * FACTOR * TABLE["deep"][0]

@functools.cache
def known():
    return FACTOR

class Scale:
    offset = 0.0
    def __call__(self, x):
        return scaled(x) + self.offset
"""


@pytest.fixture(scope="module", autouse=True)
def helpers(tmp_path_factory):
    """A module of the user's own, beside the script."""
    folder = tmp_path_factory.mktemp("beside")
    (folder / "snapshot_helpers.py").write_text(HELPERS)
    sys.path.insert(0, str(folder))
    globals()["beside"] = importlib.import_module("snapshot_helpers")
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("snapshot_helpers")


beside = None
K = 1.0
TABLE = {"k": 1.0, "deep": [{"k": 1.0}]}
WEIGHT = np.ones(4)
PAIR = (1.0, [1.0])


class Correction:
    bias = 0.0
    steps = [1.0]

    def __init__(self):
        self.sf, self.table = 1.0, {"sf": [1.0]}

    def factor(self):
        return K * self.steps[0]

    def apply(self, x):
        return x * self.sf * self.table["sf"][0] * self.factor() + self.bias

    def __call__(self, x):
        return self.apply(x) + 1

    @classmethod
    def common(cls, x):
        return x + cls.bias

    @staticmethod
    def fixed(x):
        return x * K

    @functools.cached_property
    def twice(self):
        return 2 * self.sf


class Derived(Correction):
    def apply(self, x):
        return super().apply(x) * 2


@dataclasses.dataclass
class Settings:
    scale: float = 1.0
    rows: list = dataclasses.field(default_factory=lambda: [1.0])

    @functools.cached_property
    def both(self):
        return self.scale * self.rows[0]


@functools.singledispatch
def chosen(value):
    return 1.0


@chosen.register
def _(value: int):
    return K * value


def with_default(x, given=PAIR, *, more=TABLE):
    return x * given[1][0] + more["k"]


def with_attribute(x):
    return x * with_attribute.k


with_attribute.k = 1.0


def recursive(x, n=2):
    return x * K if n == 0 else recursive(x, n - 1)


@functools.cache
def remembered(n):
    return K + n


def layouts(layout, **_):
    if layout.is_numpy:
        return ak.contents.NumpyArray(layout.data * K * TABLE["deep"][0]["k"])
    return None


def closing():
    """A function, and another that changes what it closes over."""
    k = 1.0

    def inner(x):
        return x * k

    def change(value):
        nonlocal k
        k = value

    return inner, change


class World:
    """All that a program can use and change, the lazy and the eager data, and what it has recorded."""

    def __init__(self, npartitions):
        global K
        K = 1.0
        TABLE.update(k=1.0, deep=[{"k": 1.0}])
        WEIGHT[:] = 1.0
        PAIR[1][0] = with_attribute.k = 1.0
        Correction.bias, Correction.steps[0] = 0.0, 1.0
        beside.FACTOR, beside.Scale.offset, beside.TABLE["deep"][0] = 1.0, 0.0, 1.0
        beside.known.cache_clear()
        remembered.cache_clear()
        self.correction, self.derived, self.settings, self.scale = Correction(), Derived(), Settings(), beside.Scale()
        self.inner, self.change = closing()
        self.jagged = ak.Array([[1.0, 2.0], [], [3.0], [1.0, 1.0, 1.0]])
        self.handles = [(hg.from_awkward(DATA, npartitions=npartitions), ak.Array(DATA.layout))]
        self.found = []

    def both(self, record, handle):
        """Runs a line, lazily and at once; what was remembered of earlier values is forgotten before."""
        remembered.cache_clear()
        lazy, eager = self.handles[handle % len(self.handles)]
        self.found.append(
            (record(lazy, hg.map_partitions), record(eager, lambda f, *args, **kwargs: f(*args, **kwargs)))
        )


def changed_globals(world, value):
    global K
    K = value


CHANGES = {
    "global": changed_globals,
    "dict": lambda world, value: TABLE.update(k=value),
    "deep": lambda world, value: TABLE["deep"][0].update(k=value),
    "array": lambda world, value: np.multiply(WEIGHT, value, out=WEIGHT),
    "awkward": lambda world, value: np.multiply(w := ak.to_numpy(world.jagged.layout.content), value, out=w),
    "default": lambda world, value: PAIR[1].__setitem__(0, value),
    "function's attribute": lambda world, value: setattr(with_attribute, "k", value),
    "attribute": lambda world, value: setattr(world.correction, "sf", value),
    "derived": lambda world, value: setattr(world.derived, "sf", value),
    "inside an attribute": lambda world, value: world.correction.table["sf"].__setitem__(0, value),
    "class": lambda world, value: setattr(Correction, "bias", value),
    "inside a class": lambda world, value: Correction.steps.__setitem__(0, value),
    "dataclass": lambda world, value: setattr(world.settings, "scale", value),
    "inside a dataclass": lambda world, value: world.settings.rows.__setitem__(0, value),
    "closure": lambda world, value: world.change(value),
    "module": lambda world, value: setattr(beside, "FACTOR", value),
    "inside a module": lambda world, value: beside.TABLE["deep"].__setitem__(0, value),
    "class of a module": lambda world, value: setattr(beside.Scale, "offset", value),
}

LINES = {
    "lambda": lambda w, v: lambda e, call: call(lambda x: x * K * v, e.met),
    "dict": lambda w, v: lambda e, call: call(lambda x: x * TABLE["k"] * TABLE["deep"][0]["k"], e.met),
    "array": lambda w, v: lambda e, call: e.met * WEIGHT,
    "list": lambda w, v: lambda e, call: e.met * [v, 1.0, v, 2.0],
    "awkward": lambda w, v: lambda e, call: ak.sum(e.jets.pt * w.jagged, axis=1),
    "argument": lambda w, v: lambda e, call: call(lambda x, t, *, d: x * t["k"] * d[0]["k"], e.met, TABLE,
                                                  d=TABLE["deep"]),
    "default": lambda w, v: lambda e, call: call(with_default, e.met),
    "function's attribute": lambda w, v: lambda e, call: call(with_attribute, e.met),
    "method": lambda w, v: lambda e, call: call(w.correction.apply, e.met),
    "method of derived": lambda w, v: lambda e, call: call(w.derived.apply, e.met),
    "object": lambda w, v: lambda e, call: call(w.correction, e.met),
    "class method": lambda w, v: lambda e, call: call(Correction.common, e.met),
    "static method": lambda w, v: lambda e, call: call(Correction.fixed, e.met),
    "dataclass": lambda w, v: lambda e, call: call(
        lambda x: x * w.settings.scale * dataclasses.replace(w.settings, scale=v).both * len(Settings().rows), e.met),
    "closure": lambda w, v: lambda e, call: call(w.inner, e.met),
    "partial": lambda w, v: lambda e, call: call(functools.partial(with_default, given=PAIR), e.met),
    "recursion": lambda w, v: lambda e, call: call(recursive, e.met),
    "single dispatch": lambda w, v: lambda e, call: call(lambda x: x * chosen(2) * chosen("a"), e.met),
    "cache": lambda w, v: lambda e, call: call(lambda x: x * remembered(int(v)), e.met),
    "builtin": lambda w, v: lambda e, call: call(operator.neg, e.met),
    "ufunc": lambda w, v: lambda e, call: call(np.hypot, e.met, e.met),
    "module": lambda w, v: lambda e, call: call(lambda x: x * beside.FACTOR + beside.scaled(x), e.met),
    "function of a module": lambda w, v: lambda e, call: call(beside.scaled, e.met),
    "object of a module": lambda w, v: lambda e, call: call(w.scale, e.met),
    "transform": lambda w, v: lambda e, call: ak.transform(layouts, e.met),
    "inner": lambda w, v: lambda e, call: call(lambda x: (lambda: x * K)(), e.met),
}  # fmt: skip

COPIES = {
    "slice": lambda x: x[:],
    "ellipsis": lambda x: x[...],
    "copy": ak.copy,
    "fields": lambda x: x[x.fields],
    "with_field": lambda x: ak.with_field(x, x.met, "met"),
    "same": lambda x: x,
}


@st.composite
def programs(draw):
    """Lines of (what, which, value): changes between records, copies, assignments to them."""
    value = st.sampled_from([0.5, 2.0, 3.0, 0.25])
    line = st.one_of(
        st.tuples(st.just("change"), st.sampled_from(sorted(CHANGES)), value),
        st.tuples(st.just("record"), st.sampled_from(sorted(LINES)), value),
        st.tuples(st.just("copy"), st.sampled_from(sorted(COPIES)), value),
        st.tuples(st.just("assign"), st.sampled_from(["met", "new", "jets"]), value),
    )
    lines = draw(st.lists(line, min_size=2, max_size=12))
    which, last = draw(st.sampled_from(sorted(LINES))), draw(value)
    return [*lines, ("record", which, 2.0), *((("change", name, last)) for name in sorted(CHANGES))]


def run(program, npartitions):
    world = World(npartitions)
    for number, (what, which, value) in enumerate(program):
        lazy, eager = world.handles[number % len(world.handles)]
        if what == "change":
            CHANGES[which](world, value)
        elif what == "record":
            world.both(LINES[which](world, value), number)
        elif what == "copy":
            world.handles.append((COPIES[which](lazy), COPIES[which](eager)))
        else:
            for x in (lazy, eager):
                x[("jets", "pt") if which == "jets" else which] = (x.jets.pt if which == "jets" else x.met) * value
    world.found += [(lazy, eager) for lazy, eager in world.handles]
    return world.found


def check(program, npartitions, executor):
    found = run(program, npartitions)
    computed = hg.compute([lazy for lazy, _ in found], executor=executor, progress=False)
    for (_, eager), mine in zip(found, computed, strict=True):
        assert ak.almost_equal(mine, eager, check_parameters=False), (mine.to_list(), eager.to_list())


@settings(deadline=None)
@given(programs(), st.integers(1, 2))
def test_programs_that_change_things_between_their_lines(program, npartitions):
    check(program, npartitions, "serial")


@settings(deadline=None, max_examples=max(2, settings().max_examples // 15))
@given(programs(), st.integers(1, 2))
def test_such_programs_in_other_processes(program, npartitions):
    check(program, npartitions, "processes")


def every_line():
    return [line for name in sorted(LINES) for line in (("record", name, 2.0),
            *(("change", each, 1.5) for each in sorted(CHANGES)))]  # fmt: skip


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_every_line_and_every_change(executor):
    """All that programs are drawn from, in one; what is recorded twice is changed between."""
    check([*every_line(), *(("change", each, 3.0) for each in sorted(CHANGES)), *every_line()], 2, executor)


# where the copies agree with what was copied


def test_the_content_of_a_copy_is_that_of_the_original():
    """A checkpoint goes by the user's code, with the values of the snapshot."""
    world = World(1)
    for function in (with_default, with_attribute, recursive, world.inner, beside.scaled, world.scale, closing):
        taken = Snapshot.of(function)
        assert digest(taken.value) == digest(function), function
        assert digest(taken.value) != digest(lambda x: x)
    before = digest(Snapshot.of(recursive).value)
    changed_globals(world, 7.0)
    assert digest(Snapshot.of(recursive).value) != before


def test_the_same_function_with_the_same_values_is_the_same_call():
    def twice(k):
        return hg.map_partitions(lambda x: x * k, data.x)

    data = hg.from_awkward(ak.Array({"x": np.arange(1.0, 9.0)}), npartitions=2)
    assert twice(1.0)._form is not twice(2.0)._form
    assert twice(1.0)._form.node is twice(1.0)._form.node
    assert twice(1.0)._form.node is not twice(2.0)._form.node
    assert Snapshot.of(with_default).key == Snapshot.of(with_default).key

"""Functions that reach things by unusual ways: classes that cannot be copied, modules in dicts, names made up."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
import types
import typing

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import ChangedError

X = np.arange(1.0, 5.0)
EVENTS = hg.from_awkward(ak.Array({"x": X}), npartitions=2)


# what cannot be copied, or is found by a name that is made up


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """A module of the user's own, beside the script."""
    (tmp_path / "their_factors.py").write_text(
        "K = 2.0\nTABLE = {'k': 2.0}\n_loaded = None\n_cache = {}\n"
        "def scaled(x): return x * K\n"
        "def by_name(x, name='K'): return x * globals()[name]\n"
        "def evaluator():\n    global _loaded\n    if _loaded is None:\n        _loaded = [2.0]\n"
        "    _cache['n'] = len(_cache)\n    return _loaded[0] + 0 * len(_cache)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_factors", raising=False)
    yield importlib.import_module("their_factors")
    sys.modules.pop("their_factors", None)


FACTOR = 2.0


class Meta(type):
    pass


class WithMeta(metaclass=Meta):
    table = {"k": 2.0}

    def __call__(self, x):
        return x * FACTOR

    def looked_up(self, x):
        return x * self.table["k"]


class Registering:
    def __init_subclass__(cls):
        pass


class Registered(Registering):
    def __call__(self, x):
        return x * FACTOR


class Failure(Exception):
    @staticmethod
    def scaled(x):
        return x * FACTOR


@dataclasses.dataclass(slots=True)
class Slotted:
    k: float = 1.0

    def __call__(self, x):
        return x * self.k * FACTOR


@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    k: float = 1.0

    def __call__(self, x):
        return x * self.k * FACTOR


class Calling(typing.Protocol):
    def __call__(self, x): ...


class Implementing(Calling):
    def __call__(self, x):
        return x * FACTOR


class Narrow:
    __slots__ = ("k",)
    table = {"k": 2.0}

    def __init__(self):
        self.k = 1.0

    def __call__(self, x):
        return x * self.k * self.table["k"]


T = typing.TypeVar("T")


class Of(typing.Generic[T]):
    def __call__(self, x):
        return x * FACTOR


def _factor(monkeypatch):
    monkeypatch.setitem(globals(), "FACTOR", 3.0)


@pytest.mark.parametrize("made", [Slotted, Frozen, Implementing, Of], ids=lambda made: made.__name__)
def test_classes_with_slots_protocols_and_parameters_are_copied(made, monkeypatch):
    before = hg.map_partitions(made(), EVENTS.x)
    _factor(monkeypatch)
    after = hg.map_partitions(made(), EVENTS.x)
    for executor in ("serial", "processes"):
        both = hg.compute([before, after], executor=executor, progress=False)
        assert [each.to_list() for each in both] == [(2 * X).tolist(), (3 * X).tolist()]


def test_the_attributes_of_a_class_with_slots_are_copied(monkeypatch):
    before = hg.map_partitions(Narrow(), EVENTS.x)
    monkeypatch.setitem(Narrow.table, "k", 3.0)
    after = hg.map_partitions(Narrow(), EVENTS.x)
    assert [each.to_list() for each in hg.compute([before, after])] == [(2 * X).tolist(), (3 * X).tolist()]


def throwing(x):
    try:
        return Failure.scaled(x)
    except Failure:
        return x


@pytest.mark.parametrize("made", [WithMeta(), Registered(), throwing], ids=["metaclass", "registered", "exception"])
def test_what_the_methods_of_shared_classes_use_is_looked_at_again(made, monkeypatch):
    before = hg.map_partitions(made, EVENTS.x)
    assert before.compute().to_list() == (2 * X).tolist()
    _factor(monkeypatch)
    after = hg.map_partitions(made, EVENTS.x)
    assert after.compute().to_list() == (3 * X).tolist()
    with pytest.raises(ChangedError, match=r"The class \w+, or what its methods use, was changed after"):
        before.compute()


def test_a_dict_of_a_shared_class_is_looked_at_again(monkeypatch):
    before = hg.map_partitions(WithMeta().looked_up, EVENTS.x)
    monkeypatch.setitem(WithMeta.table, "k", 3.0)
    with pytest.raises(ChangedError, match="The class WithMeta"):
        before.compute()


class Counting(metaclass=Meta):
    calls = 0
    cache = {}

    def __call__(self, x):
        Counting.calls += 1
        self.cache["n"] = Counting.calls
        return x * 2


def test_what_a_shared_class_changes_itself_is_its_own():
    made = hg.map_partitions(Counting(), EVENTS.x)
    for _ in range(2):
        assert made.compute(executor="serial").to_list() == (2 * X).tolist()


def module_ways(module):
    """Functions that look something up in a module by other ways than its name and a dot."""
    name, inside = "K", {"module": module}
    holder = types.SimpleNamespace(module=module)
    return {
        "getattr": lambda x: x * getattr(module, name),
        "vars": lambda x: x * vars(module)[name],
        "dict": lambda x: x * inside["module"].K,
        "object": lambda x: x * holder.module.K,
        "partial": functools.partial(lambda given, x: x * given.K, module),
        "function by name": lambda x: getattr(module, "scal" + "ed")(x),
        "globals": module.by_name,
    }


def test_modules_are_copied_however_they_are_reached(user_module, monkeypatch):
    before = {name: hg.map_partitions(way, EVENTS.x) for name, way in module_ways(user_module).items()}
    monkeypatch.setattr(user_module, "K", 3.0)
    after = {name: hg.map_partitions(way, EVENTS.x) for name, way in module_ways(user_module).items()}
    for executor in ("serial", "processes"):
        for calls, factor in ((before, 2), (after, 3)):
            for name, found in hg.compute(calls, executor=executor, progress=False).items():
                assert found.to_list() == (factor * X).tolist(), (name, executor)


def test_a_module_imported_inside_is_looked_at_again(user_module, monkeypatch):
    def scaled(x):
        from their_factors import K

        return x * K

    def cached(x):
        import their_factors

        return x * their_factors.evaluator()

    before, own = hg.map_partitions(scaled, EVENTS.x), hg.map_partitions(cached, EVENTS.x)
    for _ in range(2):  # what its functions change themselves is no change
        assert own.compute(executor="serial").to_list() == before.compute().to_list() == (2 * X).tolist()
    monkeypatch.setattr(user_module, "K", 3.0)
    with pytest.raises(ChangedError, match="Something in the module their_factors was changed after"):
        before.compute()


def test_a_module_that_is_imported_by_the_first_call(tmp_path, monkeypatch):
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("K = 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)

    def scaled(x):
        from their_package import inner

        return x * inner.K

    importlib.import_module("their_package")
    try:
        made = hg.map_partitions(scaled, EVENTS.x)
        for executor in ("serial", "processes"):
            assert made.compute(executor=executor, progress=False).to_list() == (2 * X).tolist()
    finally:
        for name in ("their_package", "their_package.inner"):
            sys.modules.pop(name, None)


KEY = "FACTOR"


@pytest.mark.parametrize(
    "function",
    [lambda x: x * globals()["FACTOR"], lambda x: x * globals()[KEY], lambda x: eval("x * FACTOR")],
    ids=["globals", "a name that is made up", "eval"],
)
def test_globals_that_are_looked_up_by_their_names(function, monkeypatch):
    before = hg.map_partitions(function, EVENTS.x)
    _factor(monkeypatch)
    after = hg.map_partitions(function, EVENTS.x)
    for executor in ("serial", "processes"):
        both = hg.compute([before, after], executor=executor, progress=False)
        assert [each.to_list() for each in both] == [(2 * X).tolist(), (3 * X).tolist()]


class Restored:
    __slots__ = ("k",)

    def __init__(self, k=2.0):
        self.k = k

    def __getstate__(self):
        return {"k": self.k}

    def __setstate__(self, state):
        self.k = state["k"]

    def __call__(self, x):
        return x * USUAL.k


USUAL = Restored()


def test_an_object_that_its_own_class_uses():
    assert hg.map_partitions(Restored(), EVENTS.x).compute().to_list() == (2 * X).tolist()

"""Every kind of callable, and of what it may use: a snapshot of it does what it does, here and in other processes."""

from __future__ import annotations

import abc
import collections
import contextvars
import dataclasses
import enum
import functools
import logging
import operator
import pathlib
import re
import types
import typing
import weakref

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.functions.snapshot import Snapshot

X = np.arange(1.0, 5.0)
EVENTS = hg.from_awkward(ak.Array({"x": X}), npartitions=2)
CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


space = {}
exec("k=2.\ndef f(x): return x*k", space)
CASES["exec without module"] = space["f"]


def scaled(v):
    return v * 2.0


CASES["np.vectorize"] = np.vectorize(scaled)


def decorator(f):
    @functools.wraps(f)
    def inner(*a):
        return f(*a)

    return inner


@case
@decorator
def decorated(x):
    return x * 2


@dataclasses.dataclass(frozen=True)
class Frozen:
    k: float = 2.0

    def __call__(self, x):
        return x * self.k


CASES["frozen"] = Frozen()


@dataclasses.dataclass(slots=True)
class Slotted:
    k: float = 2.0

    def __call__(self, x):
        return x * self.k


CASES["slots"] = Slotted()


class Named(typing.NamedTuple):
    k: float = 2.0

    def __call__(self, x):
        return x * self.k


CASES["namedtuple"] = Named()


class Mode(enum.Enum):
    UP = 1
    DOWN = 2


mode = Mode.UP


@case
def enumed(x):
    return x * (2 if mode is Mode.UP else 3)


MARK = object()


@case
def sentinel(x, s=MARK):
    return x * (2 if s is MARK else 3)


class Meta(type):
    def __call__(cls, *a):
        return super().__call__(*a)


class OfMeta(metaclass=Meta):
    k = 2.0

    def __call__(self, x):
        return x * self.k


CASES["metaclass"] = OfMeta()
T = typing.TypeVar("T")


class OfGeneric(typing.Generic[T]):
    k = 2.0

    def __call__(self, x):
        return x * self.k


CASES["generic"] = OfGeneric()
CASES["generic2"] = OfGeneric[int]()


class Called(typing.Protocol):
    def __call__(self, x): ...


class OfProtocol(Called):
    def __call__(self, x):
        return x * 2


CASES["protocol"] = OfProtocol()


class Abstract(abc.ABC):
    @abc.abstractmethod
    def k(self): ...
    def __call__(self, x):
        return x * self.k()


class Concrete(Abstract):
    def k(self):
        return 2.0


CASES["abc"] = Concrete()


class OfDict(dict):
    def __call__(self, x):
        return x * self["k"]


CASES["dict sub"] = OfDict(k=2.0)


class OfArray(np.ndarray):
    def __call__(self, x):
        return x * np.asarray(self)[0]


CASES["ndarray sub"] = np.ones(3).view(OfArray) * 2


class Cyclic:
    def __init__(self):
        self.k = 2.0
        self.me = self
        self.w = weakref.ref(self)
        self.l = [self]

    def __call__(self, x):
        return x * self.l[0].me.k


CASES["cyclic weak"] = Cyclic()


class AnyAttribute:
    def __getattr__(self, n):
        return 2.0

    def __call__(self, x):
        return x * self.anything


@case
def any_attribute(x):
    return AnyAttribute()(x)


class Methods:
    @property
    def k(self):
        return 2.0

    @functools.cached_property
    def c(self):
        return self.k

    @classmethod
    def m(cls, x):
        return x * cls().c

    @staticmethod
    def s(x):
        return x * 2

    def __init_subclass__(cls, **k):
        super().__init_subclass__(**k)


CASES["chain"] = Methods.m
CASES["sm"] = Methods.s
CASES["bound"] = Methods().m


class Sub(Methods):
    pass


CASES["init_subclass"] = Sub.m


def even(x, n):
    return x if n == 0 else odd(x, n - 1)


def odd(x, n):
    return x * 2 if n <= 1 else even(x, n - 1)


@case
def mutual(x):
    return even(x, 2)


log = logging.getLogger("x")
pattern = re.compile("a+")
default = collections.defaultdict(lambda: 2.0)
ordered = collections.OrderedDict(k=2.0)
chain = collections.ChainMap({"k": 2.0})
path = pathlib.Path("/tmp")
variable = contextvars.ContextVar("variable", default=2.0)
proxy = types.MappingProxyType({"k": 2.0})
keys = {"k": 2}.keys()
caller = operator.methodcaller("__mul__", 2)
simple = types.SimpleNamespace(k=2.0)


@case
def many_kinds(x):
    log.debug("hi")
    assert pattern.match("aa")
    assert path.name
    return x * default["q"] * ordered["k"] * chain["k"] * proxy["k"] * simple.k / 16 * (1 if "k" in keys else 0)


CASES["methodcaller"] = caller


@case
def context(x):
    return x * variable.get()


class TwoArguments(Exception):
    def __init__(self, a, b):
        super().__init__(a)


@case
def caught(x):
    try:
        raise TwoArguments(1, 2)
    except TwoArguments:
        return x * 2


count = 0


@case
def writes_a_global(x):
    global count
    count += 1
    return x * 2


@case
def evalled(x):
    return eval("x*2")


@case
def imports(x):
    import math

    return x * math.sqrt(4.0)


def generator():
    yield from (2.0, 2.0)


@case
def generates(x):
    return x * next(generator())


CASES["partialmethod-like"] = functools.partial(functools.partial(lambda k, x: x * k), 2.0)


class LazyHold:
    def __init__(self):
        self.events = EVENTS
        self.h = hg.Hist.new.Reg(3, 0, 1, name="x").Double()
        self.k = 2.0

    def __call__(self, x):
        return x * self.k


CASES["holds lazy"] = LazyHold()


class Dispatching:
    @functools.singledispatchmethod
    def f(self, a):
        return 1.0

    @f.register
    def _(self, a: int):
        return 2.0

    def __call__(self, x):
        return x * self.f(1)


CASES["singledispatchmethod"] = Dispatching()
CASES["lambda in list"] = [lambda x: x * 2][0]
CASES["ufunc"] = functools.partial(np.multiply, 2.0)


class Described:
    def __set_name__(self, o, n):
        self.n = n

    def __get__(self, o, t):
        return 2.0 if self.n == "k" else 3.0


class OfDescriptor:
    k = Described()

    def __call__(self, x):
        return x * self.k


CASES["descriptor"] = OfDescriptor()


class NewArguments:
    def __new__(cls, k):
        o = super().__new__(cls)
        o.k = k
        return o

    def __getnewargs__(self):
        return (self.k,)

    def __call__(self, x):
        return x * self.k


CASES["getnewargs"] = NewArguments(2.0)


class OwnState:
    def __init__(self):
        self.k = 2.0

    def __getstate__(self):
        return (self.k,)

    def __setstate__(self, s):
        (self.k,) = s

    def __call__(self, x):
        return x * self.k


CASES["setstate"] = OwnState()


class Registered:
    registry = {}

    def __init__(self):
        self.k = 2.0
        Registered.registry["a"] = self

    def __call__(self, x):
        return x * Registered.registry["a"].k


CASES["registry"] = Registered()


class Single:
    inst = None

    def __call__(self, x):
        return x * (2 if type(self).inst is self else 3)


Single.inst = Single()
CASES["singleton"] = Single.inst

STAYING = {"cyclic weak", "context"}  # they use what cannot be sent


@pytest.mark.parametrize("name", CASES)
def test_a_snapshot_does_what_the_function_does(name):
    assert np.array_equal(np.asarray(CASES[name](X)), 2 * X)
    assert np.array_equal(np.asarray(Snapshot.of(CASES[name]).value(X)), 2 * X)
    assert np.array_equal(np.asarray(hg.map_partitions(CASES[name], EVENTS.x).compute(executor="serial")), 2 * X)


def test_in_other_processes():
    calls = {name: hg.map_partitions(function, EVENTS.x) for name, function in CASES.items() if name not in STAYING}
    for name, found in hg.compute(calls, executor="processes", progress=False).items():
        assert np.array_equal(np.asarray(found), 2 * X), name

"""Functions that take from random generators and iterators made outside of them are refused where they are recorded."""

import collections
import functools
import itertools
import random
import re
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg
from hepgraph.errors import RandomError
from hepgraph.functions.sources import check_repeatable

EVENTS = ak.Array({"x": np.arange(8.0), "event": np.arange(8), "j": [[1.0, 2.0], []] * 4})
RNG = np.random.default_rng(1)
SAMPLE = str(Path(__file__).resolve().parents[1] / "data" / "sample.root")


class Smears:
    """An object of the user's own, of which some methods draw."""

    again = random.Random(1)

    def __init__(self):
        self.rng, self.scale = np.random.default_rng(1), 2.0

    def __call__(self, x):
        return self.draw(len(x)) * x

    def draw(self, n):
        return self.rng.normal(size=n)

    def scaled(self, x):
        return self.scale * x

    def by_class(self, x):
        return self.again.random() * x

    @property
    def drawn(self):
        return self.rng.normal()

    @classmethod
    def of_class(cls, x):
        return cls.again.random() * x


class CallsAGlobal:
    def __call__(self, x):
        return through_another(x)


def through_a_global(x):
    return x + RNG.normal(size=len(x))


def through_another(x):
    return through_a_global(x) * 2


@functools.wraps(through_another)
def decorated(*args):
    return through_another(*args)


def drawing():
    rng, seeds, one = np.random.RandomState(1), [np.random.default_rng(2)], {"a": {"b": random.Random(3)}}
    smears, numbers = Smears(), (i for i in range(100))
    count, zipped = itertools.count(), zip([1.0], [2.0], strict=True)

    def default(x, rng=RNG):
        return x

    def inside(x):
        def inner():
            return rng.normal(size=len(x))

        return inner()

    yield lambda x: rng.normal(size=len(x)), "rng, a RandomState"
    yield lambda x: seeds[0].normal(size=len(x)), "seeds, a Generator"
    yield lambda x: one["a"]["b"].random() * x, "one, a Random"
    yield inside, "rng, a RandomState"
    yield default, "a default value of default, a Generator"
    yield through_a_global, "RNG, a Generator"
    yield through_another, "RNG, a Generator"
    yield decorated, "RNG, a Generator"
    yield functools.partial(through_another), "RNG, a Generator"
    yield smears, "Smears.rng, a Generator"
    yield lambda x: x * smears.drawn, "Smears.rng, a Generator"
    yield smears.by_class, "Smears.again, a Random"
    yield Smears.of_class, "Smears.again, a Random"
    yield lambda x: Smears.again.random() * x, "Smears.again, a Random"
    yield CallsAGlobal(), "RNG, a Generator"
    yield rng.normal, "its object, a RandomState"
    yield lambda x: np.random.normal(size=len(x)), "np.random.normal, a RandomState"
    yield lambda x: [random.gauss(0, 1) for _ in x], "random.gauss, a Random"
    yield random.gauss, "its object, a Random"
    yield lambda x: x * next(numbers), "numbers, a generator"
    yield lambda x: x * next(count), "count, a count"
    yield lambda x: x * next(zipped)[0], "zipped, a zip"


@pytest.mark.parametrize(("function", "named"), list(drawing()))
def test_what_goes_on_from_call_to_call_is_refused(function, named):
    for array in (EVENTS.x, hg.from_awkward(EVENTS).x):
        with pytest.raises(RandomError, match=re.escape(f"from {named}, which goes on from call to call")):
            hg.map_partitions(function, array)


def test_arguments_and_setup_are_looked_at():
    x = hg.from_awkward(EVENTS).x
    with pytest.raises(RandomError, match="draws from an argument, a Generator"):
        hg.map_partitions(lambda x, rng: x, x, RNG)
    with pytest.raises(RandomError, match="takes from an argument, a list_iterator"):
        hg.map_partitions(lambda x, each: x, x, each=iter([1]))
    with pytest.raises(RandomError, match="draws from what setup= made, a Generator"):
        hg.map_partitions(lambda rng, x: x, x, setup=lambda: np.random.default_rng(1))
    with pytest.raises(RandomError, match="draws from RNG, a Generator"):
        hg.map_partitions(lambda rng, x: x, x, setup=lambda: RNG)


def test_a_function_that_makes_arrays_is_looked_at():
    """It is called again for each column that is read."""
    with pytest.raises(RandomError, match="draws from RNG, a Generator"):
        hg.from_map(lambda n: ak.Array({"x": RNG.normal(size=n), "y": np.ones(n)}), [2, 3])
    made = hg.from_map(lambda n: ak.Array({"x": np.random.default_rng(n).normal(size=n)}), [2, 3])
    assert made.x.compute().to_list() == made.x.compute().to_list()


def own(x):
    rng = np.random.default_rng(int(x[0]) if len(x) else 0)
    return x + rng.normal(size=len(x))


def own_of_python(x):
    return x * random.Random(len(x)).random()


def yields(x):
    return x * sum(i for i in iter([1, 2]))


def test_what_begins_anew_in_each_call_is_not():
    smears, log, words, plain = Smears(), [], collections.deque(), {"rng": 1.0}
    functions = [
        own,
        own_of_python,
        yields,
        smears.scaled,
        lambda x: x * plain["rng"],
        lambda x: log.append(len(x)) or x,
    ]
    for function in [*functions, lambda x: x * smears.scale, lambda x: x * len(words), np.sqrt, len, str.upper]:
        check_repeatable("f", {"its object": function})


def test_objects_of_packages_are_not_looked_into():
    """Models that were trained often keep the generator that they were trained with."""
    kind = type("Model", (), {"__module__": "numpy.linalg", "predict": lambda self, x: x})
    model = kind()
    model.rng = RNG
    check_repeatable("f", {"its object": lambda x: model.predict(x) * len(str(model.rng))})


@pytest.mark.parametrize("eager", [False, True])
def test_a_processor_that_draws_does_not_run_eagerly_instead(eager):
    def smeared(events):
        return {"sum": ak.sum(hg.map_partitions(through_a_global, events.MET.pt))}

    with pytest.raises(RandomError, match="draws from RNG"):
        hg.run(smeared, {"a": [SAMPLE]}, executor="serial", progress=False, eager=eager)


def test_sources_that_go_on(says):
    events = hg.from_awkward(EVENTS)
    rng, numbers = np.random.default_rng(1), iter([1.0, 2.0])
    says(lambda: hg.map_partitions(lambda x: x + rng.normal(size=len(x)), hg.vary(events.x, "s", up=2 * events.x)))
    says(lambda: hg.map_partitions(lambda x: x * next(numbers), events.x))

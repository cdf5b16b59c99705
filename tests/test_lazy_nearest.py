"""nearest and metric_table against slow loops: over every axis, with thresholds and metrics, in every mode."""

import math

import awkward as ak
import numpy as np
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.processor.chunk import eager_events

MODES = ["auto", "interpreter", "eager"]
QUIETLY = {"executor": "serial", "progress": False}
SEEDS = st.integers(0, 2**32 - 1)


def delta_r(a, b):
    phi = (a["phi"] - b["phi"] + math.pi) % (2 * math.pi) - math.pi
    return math.sqrt(phi * phi + (a["eta"] - b["eta"]) ** 2)


def apart(a, b):
    return abs(a["eta"] - b["eta"])


METRICS = {"": (None, delta_r), "eta": (lambda a, b: abs(a.eta - b.eta), apart)}


def some(rng, n):
    return ak.zip({"pt": np.arange(n) + 1.0, "eta": rng.integers(-2, 3, n) / 4, "phi": rng.uniform(-3, 3, n)})


def in_lists(rng, outer):
    """Particles in lists, which are in lists of these lengths, if there are any."""
    sizes = rng.integers(0, 4, int(outer[-1].sum()))
    made = some(rng, int(sizes.sum()))
    for size in (sizes, *reversed(outer[1:])):
        made = ak.unflatten(made, size)
    return made


def pair(seed, depth):
    """Two collections with the same lists but for the innermost ones, some of whose particles are None."""
    rng = np.random.default_rng(seed)
    events = int(rng.integers(1, 5))
    outer = [np.array([events])] + ([rng.integers(0, 3, events)] if depth == 2 else [])
    a, b = (in_lists(rng, outer) for _ in range(2))
    if rng.random() < 0.3:
        a = ak.mask(a, a.pt % 3 != 1)
    return ak.zip({"a": a, "b": b}, depth_limit=1)


def computed(f, array, how, parts):
    events = hg.from_awkward(array, npartitions=min(parts, len(array)))
    if how == "eager":
        return ak.to_list(f(eager_events(events, events.source.repartition(1).partitions()[0])))
    return ak.to_list(hg.compute(f(events), engine=how, **QUIETLY))


def each_list(f, a, b, depth):
    """A function of two innermost lists, of all of them."""
    if depth == 0:
        return f(a, b)
    return [each_list(f, x, y, depth - 1) for x, y in zip(a, b, strict=True)]


def nearest(ours, others, metric, threshold):
    """For each of one list, the nearest of the other, and how far that is."""
    found = []
    for mine in ours:
        distances = [metric(mine, other) for other in others] if mine is not None else []
        best = min(range(len(distances)), key=distances.__getitem__, default=None)
        near = None if best is None or (threshold is not None and distances[best] > threshold) else others[best]["pt"]
        found.append((near, None if best is None else distances[best]))
    return found


def close(got, wanted):
    if isinstance(wanted, list | tuple):
        return len(got) == len(wanted) and all(map(close, got, wanted))
    return got == wanted or (got is not None and wanted is not None and math.isclose(got, wanted, rel_tol=1e-9))


@settings(deadline=None, max_examples=examples(30))
@given(
    SEEDS,
    st.sampled_from(MODES),
    st.sampled_from([1, 2]),
    st.sampled_from(sorted(METRICS)),
    st.sampled_from([None, 0.0, 0.25, 0.5, 1.3]),
    st.integers(1, 2),
)
def test_nearest_is_that_of_slow_loops(seed, how, depth, name, threshold, parts):
    array = pair(seed, depth)
    metric, slow = METRICS[name]
    more = {} if metric is None else {"metric": metric}

    def both(e):
        found, distance = e.a.nearest(e.b, axis=depth, return_metric=True, threshold=threshold, **more)
        alone = e.a.nearest(e.b, axis=depth, threshold=threshold, **more)
        return ak.zip({"pt": found.pt, "distance": distance, "alone": alone.pt}, depth_limit=1)

    wanted = each_list(lambda a, b: nearest(a, b, slow, threshold), array.a.to_list(), array.b.to_list(), depth)
    got = computed(both, array, how, parts)
    pts = each_list(lambda rows, _: [near for near, _ in rows], wanted, wanted, depth)
    far = each_list(lambda rows, _: [distance for _, distance in rows], wanted, wanted, depth)
    assert [row["pt"] for row in got] == pts
    assert [row["alone"] for row in got] == pts
    assert close([row["distance"] for row in got], far)


@settings(deadline=None, max_examples=examples(20))
@given(SEEDS, st.sampled_from(MODES), st.sampled_from([1, 2]), st.sampled_from(sorted(METRICS)))
def test_a_table_has_all_distances(seed, how, depth, name):
    array = pair(seed, depth)
    array = ak.zip({"a": ak.drop_none(array.a, axis=depth), "b": array.b}, depth_limit=1)
    metric, slow = METRICS[name]
    more = {} if metric is None else {"metric": metric}

    def table(e):
        distances, (a, b) = e.a.metric_table(e.b, axis=depth, return_combinations=True, **more)
        alone = e.a.metric_table(e.b, axis=depth, **more)
        return ak.zip({"d": distances, "alone": alone, "a": a.pt, "b": b.pt}, depth_limit=1)

    got = computed(table, array, how, 1)
    ours, others = array.a.to_list(), array.b.to_list()
    wanted = each_list(lambda a, b: [[slow(x, y) for y in b] for x in a], ours, others, depth)
    assert close([row["d"] for row in got], wanted)
    assert close([row["alone"] for row in got], wanted)
    assert [row["a"] for row in got] == each_list(lambda a, b: [[x["pt"] for _ in b] for x in a], ours, others, depth)
    assert [row["b"] for row in got] == each_list(lambda a, b: [[y["pt"] for y in b] for _ in a], ours, others, depth)


@settings(deadline=None, max_examples=examples(20))
@given(SEEDS, st.sampled_from(MODES))
def test_without_an_axis_what_goes_together_is_compared(seed, how):
    """The others are the innermost lists that each has already."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, int(rng.integers(1, 5)))
    n = int(counts.sum())
    sizes = rng.integers(0, 4, n)
    others = ak.unflatten(ak.unflatten(some(rng, int(sizes.sum())), sizes), counts)
    array = ak.zip({"a": ak.unflatten(some(rng, n), counts), "b": others}, depth_limit=1)
    wanted = [
        [nearest([mine], others, delta_r, 1.0)[0][0] for mine, others in zip(a, b, strict=True)]
        for a, b in zip(array.a.to_list(), array.b.to_list(), strict=True)
    ]
    assert computed(lambda e: e.a.nearest(e.b, axis=None, threshold=1.0).pt, array, how, 1) == wanted

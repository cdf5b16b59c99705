"""Random events with masks and weights, and cutflows of them in plain Python."""

import awkward as ak
import numpy as np
from hypothesis import strategies as st

import hepgraph as hg

NAMES = ("a", "b", "c", "d")
# quarters add up exactly, in any order
WEIGHTS = st.integers(-20, 20).map(lambda n: n / 4)
HARD = st.one_of(WEIGHTS, st.sampled_from([0.0, -0.0, float("nan"), float("inf")]))


def drawn(weights=WEIGHTS):
    """Lists of events, each with a boolean for each of four masks, two weights, and a list."""
    event = st.fixed_dictionaries(
        {name: st.booleans() for name in NAMES}
        | {"w": weights, "v": weights, "pt": st.lists(st.integers(0, 60).map(float), max_size=3)}
    )
    return st.lists(event, max_size=12)


def columns(events):
    """The events as an awkward array, with the right types where there are none."""
    made = {name: np.array([e[name] for e in events], bool) for name in NAMES}
    made |= {name: np.array([e[name] for e in events], float) for name in ("w", "v")}
    lists = ak.values_astype(ak.Array([e["pt"] for e in events]), np.float64) if events else np.zeros(0)
    made["pt"] = lists if events else ak.unflatten(np.zeros(0), np.zeros(0, np.int64))
    return ak.zip(made, depth_limit=1)


def ways(events, npartitions):
    """The events, computed and lazy, each with how its results are computed."""
    array = columns(events)
    yield array, lambda x: x
    lazy = hg.from_awkward(array, npartitions=npartitions)
    for options in ({"engine": "kernel"}, {"engine": "interpreter"}):
        yield lazy, lambda x, options=options: hg.compute(x, executor="serial", progress=False, **options)


def passes(event, name):
    """Whether an event passes a cut, or its negation."""
    return not event[name[1:]] if name.startswith("~") else event[name]


def row(events, weight):
    """A row of a cutflow: the events there, counted one by one."""
    raw, sumw, sumw2 = 0, 0.0, 0.0
    for event in events:
        w = weight(event)
        raw, sumw, sumw2 = raw + 1, sumw + w, sumw2 + w * w
    return {"raw": raw, "sumw": sumw, "sumw2": sumw2}


def cutflow(events, names, weight):
    """The rows of a cutflow, event by event."""
    rows = {"all events": row(events, weight)}
    for i, name in enumerate(names):
        rows[name] = row([e for e in events if all(passes(e, n) for n in names[: i + 1])], weight)
    return rows


def nminusone(events, names, weight):
    """The rows of all cuts but one, event by event."""
    rows = {"all events": row(events, weight)}
    for name in names:
        rows[f"without {name}"] = row([e for e in events if all(passes(e, n) for n in names if n != name)], weight)
    rows["all cuts"] = row([e for e in events if all(passes(e, n) for n in names)], weight)
    return rows


def varied(events):
    """A selection and weights of events whose jets have two energies more, and a weight with alternatives."""
    jets = hg.vary(events.pt, "JES", up=2 * events.pt, down=events.pt / 2)
    hard = jets[jets > 25]
    selection = hg.Selection(events, a=events.a, hard=ak.num(hard) > 0, soft=ak.any(jets < 10, axis=1))
    weights = hg.Weights(events, nan="ignore").add("w", events.w, up=2 * events.w, down=0.5)
    weights.add("n", ak.num(hard)).add("lumi", 4.0)
    return selection, weights


SCALES = {"nominal": 1.0, "JES_up": 2.0, "JES_down": 0.5, "w_up": 1.0, "w_down": 1.0}


def in_variation(events, name):
    """The events as `varied` has them in one variation, with their cuts, and the weight."""

    def one(event):
        jets = [SCALES[name] * pt for pt in event["pt"]]
        hard = sum(pt > 25 for pt in jets)
        w = {"w_up": 2 * event["w"], "w_down": 0.5}.get(name, event["w"])
        return {"a": event["a"], "hard": hard > 0, "soft": any(pt < 10 for pt in jets), "weight": w * hard * 4.0}

    return [one(event) for event in events]

"""References that pass over copies of a particle (distinctParent and its like), against slow loops, in every mode."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.graph.canonical import TRUE, full, inc, led_back
from hepgraph.graph.form import List, move
from hepgraph.lazy.array import Lazy
from hepgraph.processor.chunk import eager_events

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

MODES = ["auto", "interpreter", "eager"]
SEEDS = st.integers(0, 2**32 - 1)


# the slow definitions, of one event


def parent(pdg, mothers, i):
    """The first of the mothers that is another particle; -1 if there is none."""
    at = mothers[i]
    while at >= 0 and pdg[at] == pdg[i]:
        at = mothers[at]
    return at


def is_first(pdg, mothers, i):
    return mothers[i] < 0 or pdg[mothers[i]] != pdg[i]


def children(mothers, i):
    return [k for k, mother in enumerate(mothers) if mother == i]


def deep(pdg, mothers, i):
    """The elements that a first copy and its copies lead to, and copies that lead nowhere, in event order."""
    found, waiting = [], [i] if is_first(pdg, mothers, i) else []
    while waiting:
        for k in children(mothers, waiting.pop()):
            if pdg[k] != pdg[i] or not children(mothers, k):
                found.append(k)
            else:
                waiting.append(k)
    return sorted(found)


def loops(pdg, mothers):
    """For each particle of an event, where the three references lead."""
    every = range(len(pdg))
    parents = [parent(pdg, mothers, i) for i in every]
    return {
        "distinctParent": parents,
        "distinctChildren": [[k for k in every if parents[k] == i] for i in every],
        "distinctChildrenDeep": [deep(pdg, mothers, i) for i in every],
    }


# drawn events


def drawn(seed, most=9):
    """Kinds and mothers of particles of some events, a few of them empty; a mother may come after her children."""
    rng = np.random.default_rng(seed)
    events = []
    for n in rng.integers(0, most + 1, rng.integers(1, 7)):
        order, mothers = rng.permutation(n), np.full(n, -1)
        for place, k in enumerate(order):
            mothers[k] = rng.choice([-1, *order[:place], *order[:place][-2:]])
        events.append((rng.choice([21, 6, -6], n).tolist(), mothers.tolist()))
    return events


def opened(events, parts=1, **changes):
    """Lazy events, with two electrons an event at most that refer to the particles."""
    rng = np.random.default_rng(len(events))
    sizes = [len(pdg) for pdg, _ in events]
    whole = {
        "GenPart_pdgId": [x for pdg, _ in events for x in pdg],
        "GenPart_genPartIdxMother": [x for _, mothers in events for x in mothers],
        "GenPart_pt": rng.random(sum(sizes)).astype(np.float32),
        "GenPart_statusFlags": rng.integers(0, 1 << 15, sum(sizes)),
    }
    types = {"GenPart_pdgId": np.int32, "GenPart_genPartIdxMother": np.int16} | changes
    jagged = {name: ak.unflatten(np.array(x, types.get(name)), sizes) for name, x in whole.items()}
    pointed = [rng.integers(-1, n, 2).tolist() if n else [] for n in sizes]
    flat = {"nGenPart": np.array(sizes, np.uint32), "nElectron": np.array([len(x) for x in pointed], np.uint32)}
    index = ak.unflatten(np.array([x for row in pointed for x in row], np.int16), flat["nElectron"])
    arrays = ak.zip({**jagged, **flat, "Electron_genPartIdx": index}, depth_limit=1)
    return hg.from_awkward(arrays, npartitions=parts, schema="nanoaod")


def computed(f, events, how):
    if how == "eager":
        return f(eager_events(events, events.source.repartition(1).partitions()[0])).to_list()
    return hg.compute(f(events), engine=how, executor="serial", progress=False).to_list()


def place(tree, values):
    """The values at some places: of None where there is none, of lists in lists."""
    if isinstance(tree, list):
        return [place(each, values) for each in tree]
    return None if tree is None or tree < 0 else values[tree]


@settings(deadline=None, max_examples=examples(25))
@given(SEEDS, st.sampled_from(MODES), st.integers(1, 3), st.sampled_from([np.int16, np.int32, np.int64]))
def test_references_pass_over_copies(seed, how, parts, index):
    events = drawn(seed)
    lazy = opened(events, parts, GenPart_genPartIdxMother=index)
    pts = computed(lambda e: e.GenPart.pt, lazy, "interpreter")
    slow = [loops(*event) for event in events]
    for name in ("distinctParent", "distinctChildren", "distinctChildrenDeep"):
        wanted = [place(each[name], values) for each, values in zip(slow, pts, strict=True)]
        assert computed(lambda e, name=name: e.GenPart[name].pt, lazy, how) == wanted


def set_to_some(events):
    """Events whose particles are those of high momentum alone."""
    events["GenPart"] = events.GenPart[events.GenPart.pt > 0.5]
    return events


def high(found):
    """The rest of a reference into these."""
    if isinstance(found, list):
        return [x for x in found if x > 0.5]
    return found if found is not None and found > 0.5 else None


USES = {  # an expression, and what it does to the references of one event, given what is wanted of each particle
    "cut": (lambda e, r: r(e.GenPart[e.GenPart.pt > 0.5]).pt, lambda w, e: [w[i] for i in e.high]),
    "masked": (
        lambda e, r: r(ak.mask(e.GenPart, e.GenPart.pt > 0.5)).pt,
        lambda w, e: [w[i] if i in e.high else None for i in e.every],
    ),
    "sorted": (
        lambda e, r: r(e.GenPart[ak.argsort(e.GenPart.pt, axis=1)]).pt,
        lambda w, e: [w[i] for i in sorted(e.every, key=e.pts.__getitem__)],
    ),
    "put together": (
        lambda e, r: r(ak.concatenate([e.GenPart[e.GenPart.pt > 0.5], e.GenPart], axis=1)).pt,
        lambda w, e: [w[i] for i in [*e.high, *e.every]],
    ),
    "referred to": (
        lambda e, r: r(e.Electron.matched_gen).pt,
        lambda w, e: [w[i] if i >= 0 else None for i in e.pointed],
    ),
    "with another field": (
        lambda e, r: r(ak.with_field(e.GenPart, e.GenPart.pt * 2, "twice")).pt,
        lambda w, e: [w[i] for i in e.every],
    ),
    "in pairs": (
        lambda e, r: r(ak.combinations(e.GenPart, 2, fields=["a", "b"]).b).pt,
        lambda w, e: [w[k] for i in e.every for k in e.every if i < k],
    ),
    "of parents": (
        lambda e, r: r(e.GenPart.parent).pt,
        lambda w, e: [w[i] if i >= 0 else None for i in e.mothers],
    ),
    "of what was set": (lambda e, r: r(set_to_some(e).GenPart).pt, lambda w, e: [high(w[i]) for i in e.high]),
    "of events": (lambda e, r: r(e[ak.num(e.GenPart) > 3].GenPart).pt, None),
    "of children": (
        lambda e, r: r(e.GenPart.children).pt,
        lambda w, e: [[w[k] for k in children(e.mothers, i)] for i in e.every],
    ),
}


class Event:
    """One event, for the slow expressions."""

    def __init__(self, pdg, mothers, pts, pointed):
        self.pdg, self.mothers, self.pts, self.pointed = pdg, mothers, pts, pointed
        self.every = range(len(pdg))
        self.high = [i for i in self.every if pts[i] > 0.5]


@settings(deadline=None, max_examples=examples(25))
@given(
    SEEDS,
    st.sampled_from(MODES),
    st.sampled_from(sorted(USES)),
    st.sampled_from(["distinctParent", "distinctChildren", "distinctChildrenDeep"]),
)
def test_references_of_what_was_made_of_particles(seed, how, use, name):
    events = drawn(seed, 7)
    lazy = opened(events, 2 if len(events) > 1 else 1)
    pts = computed(lambda e: e.GenPart.pt, lazy, "interpreter")
    pointed = computed(lambda e: e.Electron.genPartIdx, lazy, "interpreter")
    f, slow = USES[use]
    wanted = []
    for (pdg, mothers), values, pointing in zip(events, pts, pointed, strict=True):
        each = place(loops(pdg, mothers)[name], values)
        event = Event(pdg, mothers, values, pointing)
        if slow is not None:
            wanted.append(slow(each, event))
        elif len(pdg) > 3:
            wanted.append(each)
    assert computed(lambda e: f(e, lambda x: getattr(x, name)), lazy, how) == wanted


@settings(deadline=None, max_examples=examples(10))
@given(SEEDS, st.sampled_from(MODES))
def test_flags_of_particles_that_references_lead_to(seed, how):
    events = drawn(seed)
    lazy = opened(events)
    flags = computed(lambda e: e.GenPart.statusFlags, lazy, "interpreter")
    has = [[x >> 8 & 1 and x >> 13 & 1 for x in row] for row in flags]
    slow = [loops(*event) for event in events]
    wanted = [place(each["distinctParent"], [bool(x) for x in row]) for each, row in zip(slow, has, strict=True)]
    for call in (
        lambda x: x.hasFlags(["fromHardProcess", "isLastCopy"]),
        lambda x: x.hasFlags("fromHardProcess", "isLastCopy"),
    ):
        assert computed(lambda e, call=call: call(e.GenPart.distinctParent), lazy, how) == wanted


@settings(deadline=None, max_examples=examples(20))
@given(SEEDS, st.sampled_from(["auto", "interpreter"]), st.booleans())
def test_elements_of_another_collection_that_lead_back(seed, how, cut):
    lazy = opened(drawn(seed, 4), 2 if seed % 2 else 1)
    particles, electrons = lazy.GenPart._form, lazy.Electron._form
    index = electrons.content["genPartIdx"].node
    some = full(True, electrons.space) if seed % 3 else TRUE
    s = led_back(electrons.space, particles.space, some, index)
    back = Lazy(List(particles.space, List(s, move(electrons.content, inc(s)))), lazy._rows)
    back = back[lazy.GenPart.pt > 0.5] if cut else back
    got = hg.compute(
        {"place": back.genPartIdx, "n": ak.num(back, axis=2)}, engine=how, executor="serial", progress=False
    )
    pointed = computed(lambda e: e.Electron.genPartIdx, lazy, "interpreter")
    pts = computed(lambda e: e.GenPart.pt, lazy, "interpreter")
    wanted = [
        [[x for x in row if x == i] for i, pt in enumerate(each) if pt > 0.5 or not cut]
        for row, each in zip(pointed, pts, strict=True)
    ]
    assert got["place"].to_list() == wanted
    assert got["n"].to_list() == [[len(x) for x in row] for row in wanted]


# circles


@pytest.mark.parametrize("how", MODES)
def test_mothers_in_a_circle(how):
    one = ([21, 21, 6], [-1, 0, 1])
    two = opened([one, ([21, 6, 6, 6, 6], [-1, 3, 0, 4, 1])])
    for name in ("distinctParent", "distinctChildren", "distinctChildrenDeep"):
        with pytest.raises(errors.DisagreementError, match="1 -> 3 -> 4 -> 1, at entry 1"):
            computed(lambda e, name=name: e.GenPart[name].pt, two, how)
    with pytest.raises(errors.DisagreementError, match="2 -> 2, at entry 0"):
        computed(lambda e: e.GenPart.distinctParent.pt, opened([([21, 21, 6], [-1, 0, 2])]), how)
    other = opened([one, ([6, -6], [1, 0])])  # of other particles: each has a parent
    assert computed(lambda e: e.GenPart.distinctParent.pdgId, other, how) == [[None, None, 21], [-6, 6]]


def test_a_circle_of_mothers(says):
    circle = opened([([21], [-1]), ([21, 6, 6, 6, 6], [-1, 3, 0, 4, 1])])
    says(computed, lambda e: e.GenPart.distinctParent.pt, circle, "auto")


def test_schemas_that_pass_over_copies(tmp_path, says):
    def refers(more):
        head = 'name = "mine"\nseparator = "_"\ncounts = "n{name}"\n[[references]]\nfrom = "GenPart"\nname = "it"\n'
        (tmp_path / "my.toml").write_text(head + more)
        events = hg.from_awkward(
            ak.zip({
                "nGenPart": [1, 2], "GenPart_pt": [[1.0], [2.0, 3.0]], "GenPart_mother": [[-1], [-1, 0]],
                "GenPart_dad": [[-1.0], [-1.0, 0.0]], "Other_x": [[1], []],
            }, depth_limit=1), schema=tmp_path / "my.toml",
        )  # fmt: skip
        return hg.compute(events.GenPart["it"].pt, executor="serial", progress=False).to_list()

    itself = 'index = "mother"\nto = "GenPart"\n'
    assert refers(itself + 'until = "pt"') == [[None], [None, 2.0]]
    says(refers, 'index = "mother"\nto = "Other"\nuntil = "pt"')
    says(refers, itself + 'until = "pt"\ndeep = true')
    says(refers, 'index = ["mother", "dad"]\nto = "GenPart"\nuntil = "pt"')
    says(refers, itself + 'until = "pdgId"')
    says(refers, 'index = "dad"\nto = "GenPart"\nuntil = "pt"')


# files


@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not there")
@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("file", ["nano_tt_v12.root", "nano_dy.root", "nano_dy.parquet", "pfnano.root"])
def test_files(file, how):
    events = hg.open(str(DATA / file))
    known = [computed(lambda e, f=f: e.GenPart[f], events, "interpreter") for f in ("pdgId", "genPartIdxMother")]
    pts = computed(lambda e: e.GenPart.pt, events, "interpreter")
    slow = [loops(*event) for event in zip(*known, strict=True)]
    for name in ("distinctParent", "distinctChildren", "distinctChildrenDeep"):
        wanted = [place(each[name], values) for each, values in zip(slow, pts, strict=True)]
        assert computed(lambda e, name=name: e.GenPart[name].pt, events, how) == wanted

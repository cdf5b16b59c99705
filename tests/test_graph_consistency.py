"""Consistency of files: references and counts of drawn files like NanoAOD, against slow loops."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.processor.chunk import eager_events

QUIETLY = {"executor": "serial", "progress": False}
COLLECTIONS = ("Jet", "FatJet", "GenJet", "Electron", "Muon", "GenPart", "PFCand", "FatJetPFCand")
INDICES = {  # each index, and where it points: of two that have one name, into two collections
    ("Muon", "jetIdx"): "Jet",
    ("Jet", "electronIdx1"): "Electron",
    ("Jet", "electronIdx2"): "Electron",
    ("FatJetPFCand", "jetIdx"): "FatJet",
    ("FatJetPFCand", "pfCandIdx"): "PFCand",
    ("GenPart", "genPartIdxMother"): "GenPart",
}


# files


def written(path, kind, columns, counts):
    """Flat columns as a file of some kind, and events of it."""
    name = str(path / ("a.root" if kind in ("counted", "each", "ntuple") else "a.parquet"))
    match kind:
        case "counted":  # as CMS has it: a leaf that counts several others
            with uproot.recreate(name) as file:
                held = {c: ak.zip({f: lists(v, f) for f, v in fields.items()}) for c, fields in columns.items()}
                file.mktree("Events", {c: f"var * {x.type.content.content}" for c, x in held.items()})
                file["Events"].extend(held)
        case "each":  # as uproot writes what was flat: a leaf for each branch, and nX beside them, if at all
            flat = {f"{c}_{f}": lists(v, f) for c, x in columns.items() for f, v in x.items()}
            types = {n: f"var * {x.type.content.content}" for n, x in flat.items()} | dict.fromkeys(counts, "int32")
            with uproot.recreate(name) as file:
                file.mktree("Events", types)
                file["Events"].extend(flat | {n: np.array(v, np.int32) for n, v in counts.items()})
        case "ntuple":
            with uproot.recreate(name) as file:
                flat = {f"{c}_{f}": lists(v, f) for c, x in columns.items() for f, v in x.items()}
                file.mkrntuple("Events", flat | {n: np.array(v, np.int32) for n, v in counts.items()})
        case "memory":
            flat = {f"{c}_{f}": lists(v, f) for c, x in columns.items() for f, v in x.items()}
            array = ak.zip(flat | {n: np.array(v, np.int32) for n, v in counts.items()}, depth_limit=1)
            return hg.from_awkward(array, schema="nanoaod")
        case "flat":
            flat = {
                f"{c}_{f}": pa.array(v, pa.list_(pa.int16() if "Idx" in f else pa.float64()))
                for c, x in columns.items()
                for f, v in x.items()
            }
            table = pa.table(flat | {n: pa.array(v, pa.int32()) for n, v in counts.items()})
            pq.write_table(table, name, row_group_size=3)
        case "nested":
            rows = {
                c: [
                    [dict(zip(fields, row, strict=True)) for row in zip(*each, strict=True)]
                    for each in zip(*fields.values(), strict=True)
                ]
                for c, fields in columns.items()
            }
            kinds = {
                c: pa.list_(pa.struct([(f, pa.float64() if f == "pt" else pa.int16()) for f in fields]))
                for c, fields in columns.items()
            }
            pq.write_table(pa.table({c: pa.array(v, kinds[c]) for c, v in rows.items()}), name, row_group_size=3)
    return hg.open(name, schema="nanoaod")


def lists(rows, field):
    values = np.array([v for row in rows for v in row], np.int16 if "Idx" in field else np.float64)
    return ak.unflatten(values, [len(row) for row in rows])


SEEDS = st.integers(0, 2**32 - 1)
KINDS = ("counted", "each", "ntuple", "flat", "memory", "nested")


def drawn(seed):
    """Columns of random multiplicities, with random indices: negative, valid, and in one of the columns perhaps beyond.

    Beside them the multiplicities, and collection, index, event and value of what is beyond.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    sizes = {c: rng.integers(0, 4, n).tolist() for c in COLLECTIONS}
    columns = {
        c: {"pt": [[100.0 * number + 10 * event + k for k in range(size)] for event, size in enumerate(sizes[c])]}
        for number, c in enumerate(COLLECTIONS)
    }
    for (c, index), to in INDICES.items():
        columns[c][index] = [
            rng.integers(-2, most, size).tolist() for size, most in zip(sizes[c], sizes[to], strict=True)
        ]
    c, index = beyond = list(INDICES)[rng.integers(len(INDICES))]
    places = [(event, k) for event, size in enumerate(sizes[c]) for k in range(size)]
    if not places or rng.random() < 0.5:
        return columns, sizes, None
    event, k = places[rng.integers(len(places))]
    columns[c][index][event][k] = value = sizes[INDICES[beyond]][event] + int(rng.choice([0, 1, 100]))
    return columns, sizes, (*beyond, event, value)


# references, and what they are by slow loops


def pointed(columns, c, index, to):
    pts = columns[to]["pt"]
    return [
        [pts[event][i] if 0 <= i < len(pts[event]) else None for i in row]
        for event, row in enumerate(columns[c][index])
    ]


def both(columns):
    parts = [pointed(columns, "Jet", f"electronIdx{i}", "Electron") for i in (1, 2)]
    return [[list(pair) for pair in zip(*rows, strict=True)] for rows in zip(*parts, strict=True)]


def children(columns):
    mothers, pts = columns["GenPart"]["genPartIdxMother"], columns["GenPart"]["pt"]
    return [
        [[v for m, v in zip(row, values, strict=True) if m == i] for i in range(len(row))]
        for row, values in zip(mothers, pts, strict=True)
    ]


MOTHER = ("GenPart", "genPartIdxMother")
PAIR = {("Jet", "electronIdx1"), ("Jet", "electronIdx2")}
REFERENCES = {  # the expression, the slow loop, and the indices that it rests on
    "jet": (
        lambda e: e.Muon.matched_jet.pt,
        lambda c: pointed(c, "Muon", "jetIdx", "Jet"),
        {("Muon", "jetIdx")},
    ),
    "cut": (
        lambda e: e.Muon[e.Muon.pt % 2 < 1].matched_jet.pt,
        lambda c: [
            [v for v, pt in zip(row, pts, strict=True) if pt % 2 < 1]
            for row, pts in zip(pointed(c, "Muon", "jetIdx", "Jet"), c["Muon"]["pt"], strict=True)
        ],
        {("Muon", "jetIdx")},
    ),
    "two": (lambda e: e.Jet.matched_electrons.pt, both, PAIR),
    "first of two": (
        lambda e: e.Jet.matched_electrons[:, :, 0].pt,
        lambda c: pointed(c, "Jet", "electronIdx1", "Electron"),
        PAIR,
    ),
    "none dropped": (
        lambda e: ak.drop_none(e.Jet.matched_electrons, axis=2).pt,
        lambda c: [[[v for v in pair if v is not None] for pair in row] for row in both(c)],
        PAIR,
    ),
    "one of two": (
        lambda e: e.Jet.matched_electron2.pt,
        lambda c: pointed(c, "Jet", "electronIdx2", "Electron"),
        {("Jet", "electronIdx2")},
    ),
    "fat": (
        lambda e: e.FatJetPFCand.matched_jet.pt,
        lambda c: pointed(c, "FatJetPFCand", "jetIdx", "FatJet"),
        {("FatJetPFCand", "jetIdx")},
    ),
    "candidate": (
        lambda e: e.FatJetPFCand.matched_pfCand.pt,
        lambda c: pointed(c, "FatJetPFCand", "pfCandIdx", "PFCand"),
        {("FatJetPFCand", "pfCandIdx")},
    ),
    "parent": (lambda e: e.GenPart.parent.pt, lambda c: pointed(c, *MOTHER, "GenPart"), {MOTHER}),
    "children": (lambda e: e.GenPart.children.pt, children, {MOTHER}),
}


def computed(expressions, lazy, how):
    """The values of expressions, lazy or of a chunk of eager arrays."""
    if how == "eager":
        chunk = eager_events(lazy, lazy.source.repartition(1).partitions()[0])
        return {name: f(chunk) for name, f in expressions.items()}
    return hg.compute({name: f(lazy) for name, f in expressions.items()}, engine=how, **QUIETLY)


@settings(deadline=None)
@given(SEEDS, st.sampled_from(KINDS), st.sampled_from(["auto", "interpreter", "eager"]), st.integers(1, 3))
def test_references_are_those_of_slow_loops(tmp_path_factory, seed, kind, how, parts):
    columns, sizes, wrong = drawn(seed)
    counts = {f"n{c}": sizes[c] for c in COLLECTIONS}
    lazy = written(tmp_path_factory.mktemp("drawn"), kind, columns, counts)
    lazy = lazy if kind == "memory" else lazy.repartition(parts)
    sound = {name: f for name, (f, _, rests) in REFERENCES.items() if wrong is None or wrong[:2] not in rests}
    got = computed(sound, lazy, how)
    for name in sound:
        assert got[name].to_list() == REFERENCES[name][1](columns), name
    for name in REFERENCES.keys() - sound.keys():
        collection, index, event, value = wrong
        to = INDICES[collection, index]
        branch = f"{collection}.{index}" if kind == "nested" else f"{collection}_{index}"
        with pytest.raises(errors.DisagreementError) as caught:
            computed({name: REFERENCES[name][0]}, lazy, how)
        size = sizes[to][event]
        said = f"{branch!r} is {value} where {to} has {size} element{'s' * (size != 1)}, at entry {event} of "
        assert str(caught.value).startswith(said), name


COUNTED = {
    "num": lambda e: ak.num(e.Jet),
    "count": lambda e: ak.count(e.Jet.pt, axis=1),
    "in all": lambda e: ak.sum(ak.num(e.Jet)),
    "events": lambda e: e.Muon.pt[ak.num(e.Jet) >= 2],
    "values": lambda e: e.Jet.pt[ak.num(e.Jet) >= 2],
    "histogram": lambda e: hg.Hist.new.Reg(5, 0, 5).Double().fill(ak.num(e.Jet)),
}


@settings(deadline=None)
@given(SEEDS, st.sampled_from(["each", "ntuple", "flat", "memory"]), st.integers(0, 6), st.sampled_from([-1, 1, 2]))
def test_a_stale_count_is_noticed_where_the_file_does_not_read_by_it(tmp_path_factory, seed, kind, at, shift):
    columns, sizes, _ = drawn(seed)
    counts = {f"n{c}": list(sizes[c]) for c in COLLECTIONS}
    event = at % len(counts["nJet"])
    counts["nJet"][event] = max(0, counts["nJet"][event] + shift)
    lazy = written(tmp_path_factory.mktemp("drawn"), kind, columns, counts)
    for name, f in COUNTED.items():
        for engine in ("auto", "interpreter"):
            if counts["nJet"] == sizes["Jet"]:
                hg.compute(f(lazy), engine=engine, **QUIETLY)
                continue
            with pytest.raises(
                errors.DisagreementError, match=rf"(?s)(?=.*'nJet').*'Jet_.*at entry {event} of"
            ) as caught:
                hg.compute(f(lazy), engine=engine, **QUIETLY)
            assert f"says {counts['nJet'][event]}" in str(caught.value), name


MEET = {  # how columns of one collection meet, and which they are, with the first of the file
    "a": (lambda e: e.Jet.a, "a"),
    "c": (lambda e: e.Jet.c, "ac"),
    "b and c": (lambda e: e.Jet.b + e.Jet.c, "abc"),
    "cut": (lambda e: ak.sum(e.Jet[e.Jet.b > 0].c), "abc"),
    "events": (lambda e: e.Jet.b[ak.num(e.Jet) > 1], "ab"),
    "histogram": (lambda e: hg.Hist.new.Reg(5, 0, 5).Double().fill(ak.flatten(e.Jet.b)), "ab"),
}


@settings(deadline=None)
@given(SEEDS, st.sampled_from(["each", "ntuple", "flat"]), st.sampled_from(["auto", "interpreter"]))
def test_lists_of_one_collection_are_equal_or_an_error_names_both(tmp_path_factory, seed, kind, engine):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    sizes = {field: rng.integers(0, 3, n) for field in "abc"}
    odd = rng.choice([*"abc", ""])  # of the other columns the lists are equal
    sizes |= {field: sizes["c" if odd == "a" else "a"] for field in "abc" if field != odd}
    rows = {
        field: [[float(event + k) for k in range(size)] for event, size in enumerate(sizes[field])] for field in "abc"
    }
    lazy = written(tmp_path_factory.mktemp("drawn"), kind, {"Jet": rows}, {})
    for name, (f, fields) in MEET.items():
        wrong = [x for x in fields if not np.array_equal(sizes[x], sizes["a"])]
        if not wrong:
            hg.compute(f(lazy), engine=engine, **QUIETLY)
            continue
        with pytest.raises(errors.DisagreementError) as caught:
            hg.compute(f(lazy), engine=engine, **QUIETLY)
        at = int(np.flatnonzero(sizes[wrong[0]] != sizes["a"])[0])
        assert any(str(caught.value).startswith(f"'Jet_{x}' and 'Jet_a' are of one collection") for x in wrong), name
        assert f"at entry {at} of " in str(caught.value), name


# the examples


def flat(path, **branches):
    pq.write_table(pa.table(branches), path)
    return str(path)


def test_a_count_is_read_alone_where_the_file_reads_by_it(tmp_path):
    columns, sizes, _ = drawn(4)
    counts = {f"n{c}": sizes[c] for c in COLLECTIONS}
    tied = written(tmp_path, "counted", columns, counts)
    assert list(hg.necessary_columns(ak.num(tied.Jet))) == ["nJet"]
    assert list(hg.necessary_columns(tied.Muon.pt[ak.num(tied.Jet) >= 2])) == ["Muon_pt", "nJet", "nMuon"]
    named = written(tmp_path, "flat", columns, counts)
    assert list(hg.necessary_columns(ak.num(named.Jet))) == ["Jet_electronIdx1", "nJet"]  # the smallest of its columns
    assert "Jet_electronIdx1  lengths to check nJet" in str(hg.explain(ak.num(named.Jet)))
    assert list(hg.necessary_columns(ak.sum(named.Jet.pt, axis=1))) == ["Jet_pt", "nJet"]


@pytest.mark.parametrize("how", ["auto", "interpreter", "eager"])
def test_a_stale_count_is_named(tmp_path, how):
    path = flat(tmp_path / "a.parquet", nJet=[1, 3], Jet_pt=[[1.0], [2.0]], Jet_eta=[[1.0], [2.0]])
    lazy = hg.from_parquet(path, schema="nanoaod")

    def process(events):
        if how == "eager":
            len(events)
        return {"n": ak.sum(ak.num(events.Jet) >= 2)}

    engine = {"engine": how} if how != "eager" else {"eager": True}
    said = (
        f"'Jet_eta' and 'nJet' are of one collection, but do not agree on the lengths of its lists: at entry 1 of "
        f"{path}, 'Jet_eta' has 1 element, and 'nJet' says 3."
    )
    with pytest.raises(errors.DisagreementError) as caught:
        hg.run(process, {"a": [path]}, schema="nanoaod", **engine, **QUIETLY)
    assert str(caught.value) == said
    assert hg.compute(ak.num(lazy.nJet, axis=0), **QUIETLY) == 2


@pytest.mark.parametrize("cut", [True, False])
def test_what_was_not_read_is_not_checked(tmp_path, cut):
    """In events that fail a cut an index is wrong, but its basket is not read; without the cut it is an error."""
    path = str(tmp_path / "a.root")
    one = np.ones(1000, np.int64)
    with uproot.recreate(path) as file:
        types = {"MET_pt": "float32", "Muon_jetIdx": "var * int16", "Jet_pt": "var * float32"}
        file.mktree("Events", types)
        for met, index, jets in ((0, 5, 0 * one), (2000, 0, one)):
            file["Events"].extend(
                {
                    "MET_pt": np.full(1000, met, np.float32),
                    "Muon_jetIdx": ak.unflatten(np.full(1000, index, np.int16), one),
                    "Jet_pt": ak.unflatten(np.arange(np.sum(jets), dtype=np.float32), jets),
                }
            )
    events = hg.from_root(path, schema="nanoaod", step_size=2000)
    some = events[events.MET.pt > 1000] if cut else events
    if not cut:
        with pytest.raises(
            errors.DisagreementError, match="'Muon_jetIdx' is 5 where Jet has 0 elements, at entry 0 of"
        ):
            hg.compute(some.Muon.matched_jet.pt, **QUIETLY)
        return
    got, report = hg.compute(some.Muon.matched_jet.pt, report=True, **QUIETLY)
    assert report.rows[0].skipped > 0
    assert got.to_list() == [[float(k)] for k in range(1000)]


def test_nested_and_nullable_indices(tmp_path):
    """An index that is None points nowhere, whatever is stored in its place."""
    muon = pa.list_(pa.struct([("jetIdx", pa.int16())]))
    rows = [[{"jetIdx": 0}, None, {"jetIdx": None}], None, [{"jetIdx": 0}]]
    jets = pa.array([[{"pt": 1.0}], [], [{"pt": 2.0}]], pa.list_(pa.struct([("pt", pa.float64())])))
    path = flat(tmp_path / "a.parquet", Muon=pa.array(rows, muon), Jet=jets)
    for engine in ("auto", "interpreter"):
        got = hg.compute(hg.from_parquet(path, schema="nanoaod").Muon.matched_jet.pt, engine=engine, **QUIETLY)
        assert got.to_list() == [[1.0, None, None], None, [2.0]]
    gone = flat(tmp_path / "b.parquet", Muon=pa.array(rows, muon), Jet=pa.array([[{"pt": 1.0}], [], None], jets.type))
    with pytest.raises(errors.DisagreementError, match=r"'Muon.jetIdx' is 0 where Jet has 0 elements, at entry 2 of"):
        hg.compute(hg.from_parquet(gone, schema="nanoaod").Muon.matched_jet.pt, **QUIETLY)

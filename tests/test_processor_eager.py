"""The eager fallback: what cannot be traced runs chunk by chunk, reads what it touches, and gives the same numbers."""

import pickle
import traceback

import awkward as ak
import hist
import numba
import numpy as np
import pytest
import uproot
import vector
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.io.source import reads
from hepgraph.processor.chunk import eager_events
from hepgraph.processor.eager import EagerPass

RNG = np.random.default_rng(7)
PARTICLE = {"pt": 40.0, "eta": 1.2, "phi": 1.5, "mass": 2.0}


def collection(n, **more):
    counts = RNG.integers(0, 4, n)
    total = int(counts.sum())
    fields = {name: RNG.normal(0, scale, total).astype(np.float32) for name, scale in PARTICLE.items()}
    fields["pt"], fields["mass"] = abs(fields["pt"]) + 1, abs(fields["mass"])
    fields["charge"] = RNG.choice([-1, 1], total).astype(np.int32)
    fields.update({name: make(total) for name, make in more.items()})
    return ak.zip({name: ak.unflatten(values, counts) for name, values in fields.items()})


def write(path, n=90):
    jets = collection(n)
    count = ak.to_numpy(ak.num(jets))

    def points(muons):  # an index into the jets of the same event, or -1
        counts = np.repeat(count, ak.num(muons))
        return ak.unflatten((RNG.integers(-1, 3, len(counts)) % (counts + 1) - 1).astype(np.int32), ak.num(muons))

    muons, electrons = collection(n), collection(n)
    muons["jetIdx"] = points(muons)
    muons["tight"] = muons.pt > 20
    electrons["jetIdx"] = points(electrons)
    gen = collection(n)
    gen["genPartIdxMother"] = ak.values_astype(ak.local_index(gen) - 1, np.int32)
    gen["pdgId"] = ak.values_astype(ak.local_index(gen) + 11, np.int32)
    photons = collection(n)[["pt", "eta", "phi"]]
    arrays = {
        "run": np.arange(n, dtype=np.int32), "MET_pt": abs(RNG.normal(0, 30, n)).astype(np.float32),
        "MET_phi": RNG.uniform(-3, 3, n).astype(np.float32),
        "Muon": muons, "Electron": electrons, "Jet": jets, "GenPart": gen, "Photon": photons,
    }  # fmt: skip
    flat = {}
    for name, array in arrays.items():
        if ak.fields(array):
            flat[f"n{name}"] = ak.to_numpy(ak.num(array)).astype(np.int32)
            flat.update({f"{name}_{each}": array[each] for each in array.fields})
        else:
            flat[name] = array
    with uproot.recreate(path) as file:
        file.mktree(
            "Events",
            {
                name: str(ak.type(array)).split(" * ", 1)[-1]
                for name, array in flat.items()
                for array in [ak.Array(array)]
            },
        )
        file["Events"].extend(flat)
    return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("eager") / "a.root")


@pytest.fixture
def lazy(path):
    return hg.from_root(path, schema="nanoaod", metadata={"dataset": "a"})


@pytest.fixture
def events(lazy):
    return eager_events(lazy, lazy.source.partitions()[0])


def pt_hist():
    return hg.Hist.new.Reg(20, 0, 100, name="pt").Double()


class Traced(hg.Processor):
    def process(self, events):
        return {"pt": pt_hist().fill(ak.flatten(events.Muon.pt)), "n": ak.num(events, axis=0)}


class Loop(hg.Processor):
    def process(self, events):
        h, n = pt_hist(), 0
        for event in events:
            n += 1
            for muon in event.Muon:
                h.fill(float(muon.pt))
        return {"pt": h, "n": n}


class ByNumpy(hg.Processor):
    def process(self, events):
        values = np.asarray(ak.flatten(events.Muon.pt))
        return {"pt": pt_hist().fill(values), "n": len(events)}


class Branching(hg.Processor):
    def process(self, events):
        h = pt_hist()
        if ak.any(events.Muon.pt > 0):
            h.fill(ak.flatten(events.Muon.pt))
        return {"pt": h, "n": len(events.run)}


@numba.njit
def flat(lists, out):
    i = 0
    for numbers in lists:
        for x in numbers:
            out[i] = x
            i += 1
    return i


class Compiled(hg.Processor):
    def process(self, events):
        out = np.zeros(4 * len(events))
        return {"pt": pt_hist().fill(out[: flat(events.Muon.pt, out)]), "n": len(events)}


@numba.njit
def fill_all(muons, out):
    i = 0
    for each in muons:
        for muon in each:
            out[i] = muon.pt
            i += 1
    return i


class CompiledRecords(hg.Processor):
    def process(self, events):
        out = np.zeros(4 * len(events))
        return {"pt": pt_hist().fill(out[: fill_all(events.Muon[["pt", "eta"]], out)]), "n": len(events)}


UNTRACEABLE = [Loop, ByNumpy, Branching, Compiled]


def run(processor, path, **options):
    options = {"executor": "serial", "progress": False, "step_size": 30, **options}
    return hg.run(processor, {"a": [path]} if isinstance(path, str) else path, **options)


def fallen(processor, path, **options):
    """The result of a processor that cannot be recorded."""
    with pytest.warns(errors.FallbackWarning, match=r"process\(\) cannot be recorded for dataset 'a'"):
        return run(processor, path, **options)


# the same as traced


@pytest.mark.parametrize("processor", UNTRACEABLE)
def test_same_as_traced_over_three_partitions(processor, path):
    wanted = run(Traced(), path)
    with reads() as seen:
        out, report = fallen(processor(), path, report=True)
    assert {each.column for each in seen} <= {"nMuon", "Muon_pt", "run"}
    assert out["n"] == 90 == int(wanted["n"])
    assert isinstance(out["pt"], hist.Hist)
    assert not isinstance(out["pt"], hg.Hist)
    assert np.array_equal(out["pt"].values(flow=True), wanted["pt"].values(flow=True))
    assert [row.how for row in report.rows] == ["eager"] * 3
    assert report.complete
    assert set(report.rows[0].names) >= {"Muon_pt", "nMuon"}
    assert report.bytes > 0
    assert any("not traced" in note for note in report.notes)


def test_compiled_functions_of_records(path):
    first = fallen(CompiledRecords(), path)
    compiled = len(fill_all.signatures)
    assert np.array_equal(fallen(CompiledRecords(), path)["pt"].values(), first["pt"].values())
    assert len(fill_all.signatures) == compiled <= 1
    assert np.array_equal(first["pt"].values(), run(Traced(), path)["pt"].values())


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_executors(executor, path):
    options = {"executor": hg.executors.Processes(2)} if executor == "processes" else {"executor": executor}
    out = fallen(ByNumpy(), path, **options)
    assert out["n"] == 90
    assert np.array_equal(out["pt"].values(), run(Traced(), path)["pt"].values())


def test_a_processor_of_a_notebook_travels(path):
    class Local(hg.Processor):
        def process(self, events):
            return {
                "n": int(np.asarray(events.run).size),
                "mu": events.Muon[events.Muon.pt > 20],
                "ds": {events.metadata["dataset"]},
            }

    out = fallen(Local(), path, executor=hg.executors.Processes(2))
    assert out["n"] == 90
    assert out["ds"] == {"a"}
    assert out["mu"].fields == hg.from_root(path, schema="nanoaod").Muon.fields
    assert ak.all(out["mu"].delta_r(out["mu"]) == 0)
    assert len(out["mu"]) == 90


def test_plain_function(path):
    assert fallen(lambda events: {"n": len(events)}, path)["n"] == 90


def test_strict_raises(path):
    with pytest.raises(errors.LazyError, match="compute"):
        run(Loop(), path, strict=True)


def test_traced_and_eager_datasets_together(path, tmp_path):
    other = write(tmp_path / "b.root", 20)

    def process(events):
        if events.metadata["dataset"] == "b":
            return {"n": {events.metadata["dataset"]: len(events)}}
        return {"n": {events.metadata["dataset"]: ak.num(events, axis=0)}}

    with pytest.warns(errors.FallbackWarning, match="dataset 'b'") as told:
        out, report = run(process, {"a": [path], "b": [other]}, report=True)
    assert len(told) == 1
    assert out["n"] == {"a": 90, "b": 20}
    assert {(row.dataset, row.how == "eager") for row in report.rows} == {("a", False), ("b", True)}
    assert len(report.notes) == 1


def test_no_events(tmp_path):
    empty = str(tmp_path / "empty.root")
    with uproot.recreate(empty) as file:
        file.mktree("Events", {"nMuon": "int32", "Muon_pt": "var * float32", "MET_pt": "float32"})
    out, report = fallen(Loop(), empty, report=True)
    assert out["n"] == 0
    assert out["pt"].sum() == 0
    assert len(report.rows) == 1


# errors


class Broken(hg.Processor):
    def process(self, events):
        float(len(events))
        if events.run[0] >= 30:
            raise KeyError("mine")  # the line of the user
        return {"n": len(events)}


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_errors_keep_their_type_line_and_range(executor, path):
    with pytest.raises(KeyError) as caught:
        run(Broken(), path, eager=True, executor=executor)
    assert type(caught.value) is KeyError
    assert any("[30:60]" in note or "[60:90]" in note for note in caught.value.__notes__)
    assert "the line of the user" in "".join(traceback.format_exception(caught.value))


def test_output_that_does_not_add_up(path):
    with pytest.raises(errors.ProcessorError, match=r"output\['name'\].*str"):
        run(lambda events: {"n": len(events), "name": "text"}, path, eager=True)
    with pytest.raises(errors.ProcessorError, match="returned None"):
        run(lambda events: print(end=str(len(events))[:0]), path, eager=True)


class Keeps(hg.Processor):
    def __init__(self):
        self.h = pt_hist()

    def process(self, events):
        for event in events:
            self.h.fill(event.MET.pt)
        return {"h": self.h}


def test_a_histogram_that_is_kept_counts_once(path):
    processor, wanted = Keeps(), run(Traced(), path, step_size=90)
    for _ in range(2):
        out = run(processor, path, eager=True)
        assert out["h"].sum(flow=True) == 90 == wanted["n"]
    assert processor.h.sum(flow=True) == 0


def test_lists_that_disagree(tmp_path):
    wrong = str(tmp_path / "wrong.root")
    with uproot.recreate(wrong) as file:
        lists = {"a": ak.Array([[1.0], [2.0, 3.0]]), "b": ak.Array([[1.0, 2.0], [3.0]])}
        file.mktree("Events", {"nX": "int32", "X_a": "var * float64", "X_b": "var * float64"})
        file["Events"].extend({"nX": np.array([1, 2], np.int32), "X_a": lists["a"], "X_b": lists["b"]})
    lazy = hg.from_root(wrong, schema="nanoaod")
    events = eager_events(lazy, lazy.source.partitions()[0])
    assert events.X.a.to_list() == [[1], [2, 3]]
    with pytest.raises(errors.DisagreementError, match="X_b"):
        events.X.b.to_list()


# reading


def read_by(lazy, touch):
    events = eager_events(lazy, lazy.source.partitions()[0])
    with reads() as seen:
        touch(events)
    assert len(seen) == len({each.column for each in seen})
    return {each.column for each in seen}


@pytest.mark.parametrize(
    ("touch", "columns"),
    [
        (len, set()),
        (lambda e: e.metadata, set()),
        (lambda e: repr(e.Muon), set()),
        (lambda e: ak.num(e.Muon), {"nMuon"}),
        (lambda e: ak.sum(e[e.MET.pt > 10].Muon.pt), {"MET_pt", "nMuon", "Muon_pt"}),
        (lambda e: ak.sum(e.Muon[e.Muon.tight].eta), {"nMuon", "Muon_tight", "Muon_eta"}),
        (lambda e: ak.to_list(e.Muon.delta_phi(e.MET)), {"nMuon", "Muon_phi", "MET_phi"}),
        (lambda e: ak.to_list(e.Muon.matched_jet.pt), {"nMuon", "Muon_jetIdx", "nJet", "Jet_pt"}),
        (lambda e: [float(m.pt) for x in e[:3] for m in x.Muon], {"nMuon", "Muon_pt"}),
    ],
)
def test_reads_only_what_is_touched(lazy, touch, columns):
    assert read_by(lazy, touch) == columns


def test_a_column_is_read_once(lazy):
    events = eager_events(lazy, lazy.source.partitions()[0])
    with reads() as seen:
        (
            ak.sum(events.Jet.pt),
            ak.sum(events.Muon.matched_jet.pt),
            ak.sum(events.Muon.matched_jet.pt),
            ak.num(events.Jet.eta),
        )
    assert sorted(each.column for each in seen) == ["Jet_eta", "Jet_pt", "Muon_jetIdx", "nJet", "nMuon"]


def test_every_kind_of_column():
    array = ak.Array(
        [
            {
                "x": 1,
                "s": "one",
                "lists": [[1.5], []],
                "fixed": [1, 2],
                "maybe": None,
                "r": [{"a": 1, "t": "x"}],
                "o": [1],
            },
            {"x": 2, "s": "", "lists": [], "fixed": [3, 4], "maybe": 2.5, "r": [], "o": None},
            {
                "x": 3,
                "s": "äß",
                "lists": [[2.5, 3.5]],
                "fixed": [5, 6],
                "maybe": None,
                "r": [{"a": 2, "t": "yz"}] * 2,
                "o": [],
            },
        ]
    )
    array["fixed"] = ak.to_regular(array.fixed)
    for whole in (array, array.r, array.x, array.lists):
        lazy = hg.from_awkward(whole, npartitions=2)
        parts = [eager_events(lazy, part) for part in lazy.source.partitions()]
        assert [row for part in parts for row in part.to_list()] == whole.to_list()
        types = {str(ak.type(part)).split(" * ", 1)[1].removeprefix("Events[") for part in parts}
        assert len(types) == 1


def test_steps_in_bytes(path):
    lazy = hg.from_root(path, schema="nanoaod", step_size="1 kB")
    assert len(EagerPass(lazy, len).partitions()) == 1  # never below 1000 events
    assert len(EagerPass(lazy.repartition(5), len).partitions()) == 5


def test_pass_pickles(lazy):
    again = pickle.loads(pickle.dumps(EagerPass(lazy, Traced())))
    [out], row = again.run(again.partitions()[0])
    assert out["n"] == 90
    assert row.dataset == "a"


# vectors and references, as when traced

SAME = {
    "fields": lambda e: e.Muon[e.Muon.pt > 20].eta,
    "mass of a sum": lambda e: pair_mass(e),
    "three dialects": lambda e: e.Muon.deltaR(ak.firsts(e.Jet)),
    "nearest": lambda e: e.Muon.nearest(e.Jet).pt,
    "threshold": lambda e: e.Muon.nearest(e.Jet, threshold=0.5).eta,
    "metric table": lambda e: e.Muon.metric_table(e.Jet),
    "sum": lambda e: e.Jet.sum(axis=1).mass,
    "met and leptons": lambda e: e.MET.delta_phi(ak.firsts(leptons(e))),
    "leptons and met": lambda e: leptons(e).delta_phi(e.MET),
    "pairs of leptons": lambda e: pair_mass({"Muon": leptons(e)}),
    "chosen fields": lambda e: e.Jet[["pt", "eta", "phi", "mass"]].px,
    "scaled": lambda e: (2 * e.Jet - e.Jet / 2).pt,
    "negative": lambda e: (-e.Jet).px,
    "absolute": lambda e: abs(e.Jet + e.Jet),
    "constant": lambda e: (e.Photon + e.Photon).mass,
    "mass is a field": lambda e: e.Muon.mass,
    "zip": lambda e: ak.zip({n: e.Jet[n] for n in PARTICLE}, with_name="PtEtaPhiMLorentzVector").energy,
    "whole column": lambda e: e.Jet_pt,
    "reference": lambda e: e.Muon[e.Muon.pt > 10].matched_jet.pt,
    "reference of what is both": lambda e: leptons(e).matched_jet.eta,
    "reference as a vector": lambda e: e.Muon.delta_r(e.Muon.matched_jet),
    "parents": lambda e: e.GenPart.parent.parent.pdgId,
    "children": lambda e: e.GenPart.children.pdgId,
    "event mask": lambda e: e[e.MET.pt > 20].GenPart.parent.pdgId,
}


def leptons(events):
    return ak.concatenate([events.Electron, events.Muon], axis=1)


def pair_mass(events):
    pair = ak.combinations(events["Muon"], 2, fields=["a", "b"])
    return (pair.a + pair.b).mass


@pytest.mark.parametrize("name", SAME)
def test_expressions_are_the_same_as_traced(name, lazy, events):
    wanted = SAME[name](lazy).compute(executor="serial", progress=False)
    found = SAME[name](events)
    assert ak.almost_equal(
        ak.drop_none(wanted), ak.drop_none(found), rtol=1e-4, dtype_exact=True
    )  # sines of concatenations
    wanted = SAME[name](lazy).compute(executor="serial", progress=False, engine="interpreter")
    assert ak.array_equal(ak.drop_none(wanted), ak.drop_none(found), equal_nan=True, dtype_exact=True)
    assert ak.to_list(ak.is_none(wanted, axis=-1)) == ak.to_list(ak.is_none(found, axis=-1))


def test_single_records(events):
    pairs = [(a, b) for event in events for a in event.Muon for b in event.Jet][:20]
    a, b = ak.zip({n: [float(p[0][n]) for p in pairs] for n in PARTICLE}), [p[1] for p in pairs]
    masses = [(x + y).mass for x, y in pairs]
    assert np.all(np.isfinite(masses))
    assert len(a) == len(b) == 20
    x, y = pairs[0]
    assert x.delta_r(y) == x.deltaR(y) > 0
    assert (sum([x, y])).pt == (x + y).pt
    assert next(g for event in events for g in event.GenPart[1:]).parent.pdgId == 11


def test_metadata_survives(events):
    assert (
        events.metadata["dataset"]
        == events[events.MET.pt > 20].metadata["dataset"]
        == events[0].metadata["dataset"]
        == "a"
    )


def test_hidden_fields_are_not_listed(lazy, events):
    assert events.Muon.fields == lazy.Muon.fields
    assert events.fields == lazy.fields


def test_names_that_are_not_there(events):
    with pytest.raises(AttributeError, match="Muon"):
        _ = events.Moun
    with pytest.raises(AttributeError, match="Nearest names: pt"):
        _ = events.Muon.ptt
    with pytest.raises(KeyError, match="Jet_pt"):
        events["Jet_ptt"]


def test_assigning_a_field(events):
    events["Muon", "twice"] = events.Muon.pt * 2
    assert ak.all(events.Muon.twice == events.Muon.pt * 2)
    assert ak.all(events.Muon.delta_r(events.Muon) == 0)


def test_registers_nothing(events):
    _ = (events.Jet + events.Jet).mass
    assert not {"Jet", "Muon", "Events", "Momentum4D"} & set(ak.behavior)


# what compute() gives


def test_computed_arrays_speak_both_dialects(lazy):
    mu, jet = hg.compute([lazy.Muon, lazy.Jet], executor="serial", progress=False)
    total = (lazy.Jet + lazy.Jet).compute(executor="serial", progress=False)
    first = ak.firsts(jet)
    assert ak.array_equal(mu.delta_r(first), mu.deltaR(first))
    assert mu.nearest(jet).fields == jet.fields
    assert ak.all(mu.mass == mu["mass"])
    # vector's own class, with the other dialect, and together with named records
    assert total.to_xyzt().fields == ["x", "y", "z", "t", "charge"]
    assert ak.all(total.delta_r(total) == 0)
    assert ak.all(abs(total.deltaR(jet)) < 1e-3)
    assert ak.all(abs((total + jet).pt - 3 * jet.pt) < 1e-2)
    assert ak.all(abs((jet + total).pt - 3 * jet.pt) < 1e-2)
    vectors = ak.Array(ak.to_layout(mu), with_name="Momentum4D", behavior=vector.backends.awkward.behavior)
    assert mu.to_Vector3D().fields == vectors.to_Vector3D().fields == ["rho", "phi", "eta", "charge", "jetIdx", "tight"]
    again = pickle.loads(pickle.dumps(total))
    assert ak.all(again.delta_r(total) == 0)


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.booleans(), max_size=6), st.integers(0, 3), st.booleans(), st.booleans(), st.integers(1, 3))
def test_lists_of_a_fixed_length_may_be_none(there, size, record, outer, parts):
    def masked(layout, mask):
        return ak.contents.ByteMaskedArray(ak.index.Index8(np.asarray(mask, np.int8)), layout, valid_when=True)

    rows = [there, *([] if not outer else [there[::-1]])]
    flat = [valid for row in rows for valid in row]
    numbers = ak.contents.NumpyArray(np.arange(size * len(flat), dtype=np.float32))
    lists = ak.contents.RegularArray(numbers, size, len(flat))
    inner = masked(ak.contents.RecordArray([lists], ["x"]) if record else lists, flat)
    offsets = ak.index.Index64(np.cumsum([0, *map(len, rows)]))
    data = ak.contents.ListOffsetArray(offsets, inner) if outer else inner
    array = ak.Array(ak.contents.RecordArray([data], ["a"]))
    events = hg.from_awkward(array, npartitions=parts)
    chunks = [eager_events(events, part).a.to_list() for part in events.source.partitions()]
    assert [row for chunk in chunks for row in chunk] == array.a.to_list() == events.a.compute().to_list()

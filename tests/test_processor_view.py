"""Eager views: what is computed lazily and what is touched in a view are the same, and nothing else is read."""

import copy
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from agreement import check
from drawing import everything, examples
from formats import FORMATS
from hypothesis import given, settings
from hypothesis import strategies as st
from test_processor_crossrefs import PROGRAMS, drawn, result

import hepgraph as hg
from hepgraph import errors
from hepgraph.graph.form import record_of
from hepgraph.io.source import reads

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
QUIET = {"executor": "serial", "progress": False, "engine": "interpreter"}
SIZES = (5, 0, 7, 4)  # entries of the files
KINDS = ["memory", "TTree", "RNTuple", "Parquet"]


def branches(events):
    """The branches of NanoAOD for some collections and columns."""
    found = {}
    for name in events.fields:
        if events[name].fields:
            found[f"n{name}"] = ak.to_numpy(ak.num(events[name])).astype(np.int32)
            found.update({f"{name}_{field}": events[name, field] for field in events[name].fields})
        else:
            found[name] = ak.to_numpy(events[name])
    return found


def write(folder, events):
    """The events in files of each format; the paths by format."""
    found, ends = {kind: [] for kind in KINDS[1:]}, np.cumsum([0, *SIZES])
    for number, (start, stop) in enumerate(pairwise(ends)):
        some = events[start:stop]
        whole, flat = {name: some[name] for name in some.fields}, branches(some)
        for kind in found:
            path = str(folder / f"{number}.{kind}")
            found[kind].append(path)
            if kind == "Parquet":
                columns = {name: ak.to_arrow(x, extensionarray=False) for name, x in flat.items()}
                pq.write_table(pa.table(columns), path, row_group_size=3)
                continue
            with uproot.recreate(path) as file:
                if kind == "RNTuple":
                    file.mkrntuple("Events", flat)
                    continue
                file.mktree("Events", {name: ak.type(x).content for name, x in whole.items()})
                if stop > start:
                    file["Events"].extend(whole)
    return found


@pytest.fixture(scope="module")
def data():
    return drawn(5, sum(SIZES))


@pytest.fixture(scope="module")
def files(tmp_path_factory, data):
    return write(tmp_path_factory.mktemp("view"), data)


@pytest.fixture(scope="module")
def opened(files, data):
    """Lazy events in each kind of source."""
    found = {kind: hg.open(paths, schema="nanoaod", step_size=2) for kind, paths in files.items()}
    return found | {"memory": hg.from_awkward(data, npartitions=3, schema="nanoaod")}


@pytest.fixture
def events(files):
    return hg.open(files["TTree"], schema="nanoaod", metadata={"dataset": "a"})


MASKS = {
    "": lambda e: e,
    "events": lambda e: e[e.run % 3 != 1],
    "twice": lambda e: e[e.run % 3 != 1][ak.num(e[e.run % 3 != 1].Muon) > 0],
    "new field": lambda e: with_field(e),
    "cut": lambda e: with_cut(e),
}


CHANGING = ("new field", "cut")  # which what is pickled does not have any more


def with_field(e):
    e = copy.copy(e)
    e["Muon", "twice"] = 2 * e.Muon.pt
    return e


def with_cut(e):
    e = copy.copy(e)
    e["Jet"] = e.Jet[e.Jet.pt > 30]
    return e


@settings(deadline=None)
@given(
    st.sampled_from(KINDS), st.integers(0, 16), st.integers(0, 16), st.sampled_from(sorted(PROGRAMS)),
    st.sampled_from(sorted(MASKS)), st.booleans(), st.booleans(),
)  # fmt: skip
def test_programs_of_views_are_as_computed(opened, kind, start, stop, name, mask, before, again):
    """The same programs, cut before or after, on a view, and on what was pickled of it."""
    lazy, program, cut = opened[kind], PROGRAMS[name], MASKS[mask]
    wanted = result(lambda: program(cut(lazy[start:stop])).compute(**QUIET))
    view = cut(lazy).eager(slice(start, stop)) if before else cut(lazy.eager(slice(start, stop)))
    if again and (before or mask not in CHANGING):
        view = pickle.loads(pickle.dumps(view))
    assert repr(result(lambda: program(view))) == repr(wanted)


@settings(deadline=None, max_examples=examples(15))
@given(st.integers(0, 2**32), st.integers(0, 9), st.integers(1, 4), st.integers(0, 9), st.integers(0, 9))
def test_every_kind_of_column(seed, n, npartitions, start, stop):
    """Lists of lists, None at every level, NaN: to the bit what the array in memory has."""
    array = everything(seed, n)
    view = hg.from_awkward(array, npartitions=npartitions).eager(slice(start, stop))
    for name in array.fields:
        check(array[name][start : max(start, stop)].layout, ak.to_packed(view[name]).layout, "", name)


MAYBE = {"o": [1.5, None, 2.5], "ol": [[1, 2], None, []], "lo": [[1, None], [], [3]], "s": ["a", None, "bc"],
         "r": [{"x": 1}, None, {"x": None}], "lr": [[{"x": 1, "y": [2]}, None], [], [{"x": 3, "y": None}]]}  # fmt: skip


def test_files_with_none_and_without(tmp_path):
    """Of a column that may hold None, a file without any comes before, after, and between those with some."""
    table = pa.table(MAYBE)
    for number, rows in enumerate([[0], [0, 1, 2], [2, 0], [0], [1], [2, 2]]):
        pq.write_table(table.take(rows), tmp_path / f"{number}.parquet")
    lazy = hg.open(tmp_path, schema="base")
    whole = lazy.compute(**QUIET)
    for start, stop in [(0, 10), (2, 9), (4, 7), (0, 1)]:
        view = lazy.eager(slice(start, stop))
        for name in MAYBE:
            assert ak.to_list(view[name]) == whole[name][start:stop].to_list()


def test_a_column_that_some_files_lack(tmp_path):
    """None where it is not there, in a view over such a file and others."""
    for number, flags in enumerate([[True, False], [], [True, False]]):
        columns = {"run": np.arange(3 * number, 3 * number + 2)} | ({"flag": np.array(flags)} if flags else {})
        with uproot.recreate(tmp_path / f"{number}.root") as file:
            file.mktree("Events", {name: x.dtype for name, x in columns.items()})
            file["Events"].extend(columns)
    (tmp_path / "my.toml").write_text('name = "my"\n[optional]\nflag = "none"\n')
    view = hg.open(sorted(tmp_path.glob("*.root")), schema=tmp_path / "my.toml").eager(slice(1, 6))
    for each in (view, pickle.loads(pickle.dumps(view))):
        assert each.flag.to_list() == [False, None, None, True, False]


def test_arrays_beside_and_functions(opened):
    """A whole array beside the files, and a function that is called on what it is given."""
    for lazy in (opened["TTree"], opened["memory"]):
        events = copy.copy(lazy)
        events["weight"] = np.arange(16) / 4
        events["Jet", "half"] = hg.map_partitions(lambda pt: pt / 2, events.Jet.pt)
        view = events.eager(slice(3, 14))
        assert view.weight.to_list() == (np.arange(3, 14) / 4).tolist()
        again = pickle.loads(pickle.dumps(view[2:]))
        assert again.Jet.half.to_list() == (view.Jet.pt / 2)[2:].to_list()
        assert again.Muon.matched_jet.pt.to_list() == view.Muon.matched_jet.pt[2:].to_list()


def test_several_threads(events):
    """All that is read is there once, and whole."""
    view, names = events.eager(), [f"{c}.{f}" for c in ("Muon", "Jet", "Electron") for f in ("pt", "eta", "phi")]

    def read(name):
        collection, field = name.split(".")
        return view[collection][field].to_list()

    with reads() as seen, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, names * 3))
    assert found == [read(name) for name in names] * 3
    assert len(seen) == len({(each.path, each.column) for each in seen})


# one event, one particle, other names


def test_single_events_and_particles(events, data):
    view, jets = events.eager(), data.Jet.pt
    found = [[None if k < 0 else jets[i, k] for k in ks] for i, ks in enumerate(data.Muon.jetIdx)]
    assert [event.Muon.matched_jet.pt.to_list() for event in view] == found
    each = [[muon.matched_jet for muon in event.Muon] for event in view]
    assert [[None if jet is None else jet.pt for jet in event] for event in each] == found
    some = view[ak.num(view.Muon) > 0]
    muon, event = some.Muon[0, 0], some[0]
    assert (muon.delta_r(event.Muon[0]), event.run, event.metadata) == (0, some.run[0], {"dataset": "a"})
    assert event.GenPart.parent.pt.to_list() == some.GenPart.parent.pt[0].to_list()


def test_names_that_are_not_listed(events, data):
    """Columns that went into collections, and lengths, also of some of the events, and of one."""
    view = events.eager(slice(2, 12))
    some = view[view.run % 2 == 0]
    for each, rows in ((view, slice(2, 12)), (some, slice(2, 12, 2)), (view[::-1], slice(11, 1, -1))):
        assert each.nMuon.to_list() == ak.num(data.Muon)[rows].to_list()
        assert each.Muon_pt.to_list() == data.Muon.pt[rows].to_list()
    assert view[3].nMuon == len(data.Muon[5])
    assert view.fields == events.fields
    with pytest.raises(errors.FieldError, match="Nearest names: nMuon"):
        _ = view.nMuom


def test_fields_of_a_schema(tmp_path):
    """Constants, bits, derived fields and other names are there, and may be computed with."""
    (tmp_path / "my.toml").write_text(
        """name = "my"
[aliases]
Jets = "Jet"
[collections.Jet]
constants = { mass = 0.0 }
bits = { id = ["loose", "tight"] }
[collections.Jet.derived]
twice = "2 * pt"
"""
    )
    array = ak.Array(
        [
            {"Jet": [{"pt": 1.5, "eta": 0.1, "phi": 0.2, "id": 2}]},
            {"Jet": []},
            {"Jet": [{"pt": 3.5, "eta": 1.1, "phi": 0.2, "id": 1}]},
        ]
    )
    lazy = hg.from_awkward(array, schema=tmp_path / "my.toml", npartitions=2)
    view = lazy.eager()[::2]
    for name in ("mass", "loose", "tight", "twice", "pz"):
        assert getattr(view.Jet, name).to_list() == getattr(lazy.Jet, name).compute(**QUIET)[::2].to_list()
    assert view.Jets.pt.to_list() == [[1.5], [3.5]]


# what is taken


ENTRIES = [
    None,
    0,
    3,
    99,
    np.int64(2),
    *(slice(*ends) for ends in [(None,), (4, 9), (-3, None), (8, 2), (5, 99), (12, 13)]),
]


@pytest.mark.parametrize("entries", ENTRIES, ids=str)
def test_entries(opened, data, entries):
    rows = entries if isinstance(entries, slice) else slice(entries)
    for lazy in opened.values():
        assert lazy.eager(entries).run.to_list() == data.run[rows].to_list()


def test_arrays_of_any_kind(opened, data):
    """Collections, columns, cuts, lists without their events; not numbers of the whole dataset."""
    for lazy in (opened["TTree"], opened["memory"]):
        some = lazy[lazy.run > 3]
        pairs = ak.combinations(some.Muon, 2, fields=["a", "b"])
        for x in (lazy.Muon, lazy.Jet.pt, some.Jet, ak.flatten(some.Jet.pt), pairs, lazy.Muon.matched_jet,
                  ak.flatten(some.Muon), ak.zip({"x": lazy.run, "y": lazy.run}), lazy[["Muon", "run"]]):  # fmt: skip
            view, computed = x.eager(), x.compute(**QUIET)
            listed = view if set(view.fields) <= set(computed.fields) else view[computed.fields]  # no constants
            assert ak.to_list(listed) == computed.to_list()
            assert "@" not in str(view.type)
        assert pairs.eager().b.matched_jet.pt.to_list() == pairs.b.matched_jet.pt.compute(**QUIET).to_list()
        assert (
            ak.flatten(some.Muon).eager().matched_jet.pt.to_list()
            == ak.flatten(some.Muon.matched_jet.pt).compute(**QUIET).to_list()
        )
        assert (
            lazy[["Muon", "run"]].eager().Muon.matched_jet.pt.to_list()
            == lazy.Muon.matched_jet.pt.compute(**QUIET).to_list()
        )
        hard = lazy.Muon[lazy.Muon.pt > 30]
        hard["twice"] = 2 * hard.pt
        assert hard.eager().matched_jet.pt.to_list() == hard.matched_jet.pt.compute(**QUIET).to_list()
        with pytest.raises(errors.FieldError, match="No field 'Jet_pt'"):
            _ = lazy[["Muon", "run"]].eager().Jet_pt


def test_variations(events):
    varied = hg.vary(events, "scale", up={("Jet", "pt"): 2 * events.Jet.pt})
    view = varied.eager(slice(3, 7))
    assert list(view) == ["nominal", "scale_up"]
    assert view["scale_up"].Jet.pt.to_list() == (2 * view["nominal"].Jet.pt).to_list()


# reading


def seen_by(view, touch):
    with reads() as seen:
        touch(view)
    return {each.column for each in seen}, {Path(each.path).name[0] for each in seen}


@pytest.mark.parametrize(
    ("touch", "columns"),
    [
        (len, set()),
        (repr, set()),
        (lambda e: (e.metadata, e.fields, e.Muon.fields, e.type), set()),
        (lambda e: e[e.fields][3:9].Muon.fields, set()),
        (pickle.dumps, set()),
        (lambda e: pickle.dumps(e[3:9]), set()),
        (lambda e: e.Muon.pt, {"nMuon", "Muon_pt"}),
        (lambda e: ak.sum(e[e.run > 10].Muon.pt), {"run", "nMuon", "Muon_pt"}),
        (lambda e: ak.to_list(e.Muon.matched_jet.pt), {"nMuon", "Muon_jetIdx", "nJet", "Jet_pt"}),
        (lambda e: [float(m.pt) for x in e[:3] for m in x.Muon], {"nMuon", "Muon_pt"}),
    ],
)  # fmt: skip
def test_nothing_is_read_that_is_not_touched(events, touch, columns):
    assert seen_by(events.eager(), touch)[0] == columns


def test_what_is_read_is_what_is_needed(events):
    """Of every field, the columns that a lazy run over it reads."""
    for name in events.fields:
        for field in events[name].fields or [""]:
            lazy = events[name, field] if field else events[name]
            columns, _ = seen_by(events.eager(), lambda e, n=name, f=field: e[n][f] if f else e[n])
            assert columns == set(hg.necessary_columns(lazy))


def test_lengths_are_compared_with_those_of_a_column(opened):
    events = opened["Parquet"]
    columns, _ = seen_by(events.eager(), lambda e: ak.num(e.Muon))
    assert columns == set(hg.necessary_columns(ak.num(events.Muon))) > {"nMuon"}


def test_files_that_are_not_asked_for_stay_closed(events):
    assert seen_by(events.eager(slice(5, 9)), lambda e: e.Muon.pt)[1] == {"2"}
    assert seen_by(events.eager(slice(4, 13)), lambda e: e.Muon.pt)[1] == {"0", "2", "3"}


def test_a_column_is_read_once(events):
    view = events.eager()
    with reads() as seen:
        _ = view.Jet.pt, view[2:].Jet.pt, view.Muon.matched_jet.pt, view[3].Jet.pt, view.Jet.pt
    assert len(seen) == len({(each.path, each.column) for each in seen})
    assert repr(view).endswith(" 4 of 23 columns read>")


def test_values_are_in_memory_for_compiled_functions(events):
    assert events.eager().Muon.pt.layout.is_all_materialized


# pickles


def test_a_view_is_pickled_as_what_it_is_made_of(opened):
    for kind in KINDS[1:]:
        view = opened[kind].eager()
        before = pickle.dumps(view)
        wanted = view.Muon.matched_jet.pt.to_list()
        assert before == pickle.dumps(view)
        assert len(before) < 2500
        again = pickle.loads(before)
        assert type(again) is type(view)
        assert repr(again).endswith(" 0 of 23 columns read>")
        assert again.Muon.matched_jet.pt.to_list() == wanted


def test_parts_of_a_view_are_pickled_as_such(events, data):
    view = events.eager(slice(3, 14))
    for part in (
        view[2:6],
        copy.copy(view),
        view[:],
        view[5:5],
        view[::-2],
        view[view.run % 3 == 0],
        view[[7, 2, 2]],
        view[4],
        view[1:][3],
    ):
        again = pickle.loads(pickle.dumps(part))
        assert type(again) is type(part)
        assert again.Muon.pt.to_list() == part.Muon.pt.to_list()
        assert again.Muon.matched_jet.pt.to_list() == part.Muon.matched_jet.pt.to_list()
        assert len(pickle.dumps(again)) == len(pickle.dumps(part)) < 3000


def test_what_was_changed_is_pickled_as_it_is(events):
    view = events.eager(slice(3, 6))
    some = view[["run", "Muon"]]
    assert some.metadata == {"dataset": "a"}
    some["more"] = some.run + 1
    again = pickle.loads(pickle.dumps(some))
    assert again.to_list() == some.to_list()
    assert again.more.to_list() == [4, 5, 6]
    view["run"] = view.run * 2
    assert pickle.loads(pickle.dumps(view)).run.to_list() == [6, 8, 10]
    for part in (events[events.run % 2 == 0].eager(slice(3, 14))[2:], events[events.run > 5].eager()[::-2]):
        assert pickle.loads(pickle.dumps(part)).run.to_list() == part.run.to_list()
    again = pickle.loads(pickle.dumps(view.Muon.pt))
    assert again.to_list() == view.Muon.pt.to_list()


def test_a_view_is_opened_in_another_process(events, tmp_path):
    (tmp_path / "view").write_bytes(pickle.dumps(events.eager(slice(2, 9))))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).Muon.matched_jet.pt.to_list())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "view")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(events.Muon.matched_jet.pt[2:9].compute(**QUIET).to_list())


def test_a_view_of_some_partitions_and_with_metadata(files):
    lazy = hg.open(files["RNTuple"], schema="nanoaod", metadata={"dataset": "a", "f": lambda x: x + 1}).repartition(3)
    again = pickle.loads(pickle.dumps(lazy.eager(9)))
    assert again.metadata["f"](1) == 2
    assert again.run.to_list() == list(range(9))


# errors


@pytest.fixture
def own(files, tmp_path):
    """Files of the test alone."""
    paths = [shutil.copy(path, tmp_path / f"{number}.root") for number, path in enumerate(files["TTree"])]
    return hg.open(paths, schema="nanoaod")


def test_views_refuse(own, says):
    for entries in (-1, True, slice(0, 10, 2), "all", 2.5):
        assert isinstance(says(own.eager, entries), ValueError)
    says(ak.num(own, axis=0).eager)
    view = own.eager()
    says(lambda: view.Moun)
    says(lambda: view.Muon.matched_jets)
    view = own.eager(memory=400)
    _ = view.run
    assert isinstance(says(lambda: view.Muon.pt), MemoryError)
    says(lambda: pickle.loads(pickle.dumps(view[2:])).GenPart.pt)
    says(own.eager, memory="much")
    assert own.eager(2, memory=400).Muon.pt.to_list() == own.Muon.pt[:2].compute(**QUIET).to_list()


def test_views_of_files_that_are_gone(own, tmp_path, files, says):
    view = own.eager()
    pickled = pickle.dumps(view)
    (tmp_path / "2.root").unlink()
    assert isinstance(says(lambda: view.run), FileNotFoundError)
    says(pickle.loads, pickled)
    assert view[:5].fields == own.fields
    shutil.copy(files["TTree"][3], tmp_path / "2.root")
    for read in (lambda: view.run, lambda: pickle.loads(pickled)):
        with pytest.raises(errors.ChangedFileError, match=r"2\.root"):
            read()


def test_the_place_of_what_is_wrong(tmp_path, says):
    """An index beyond its list, and lists that disagree, in the third file."""
    for number in range(3):
        array = drawn(number, 5)
        flat = branches(array)
        if number == 2:
            flat["Muon_jetIdx"] = ak.values_astype(ak.where(flat["Muon_jetIdx"] < 0, 77, flat["Muon_jetIdx"]), np.int32)
            flat["nElectron"] = np.flip(flat["nElectron"]).copy()
        columns = {name: ak.to_arrow(x, extensionarray=False) for name, x in flat.items()}
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    view = hg.open(tmp_path, schema="nanoaod").eager()
    says(lambda: view.Muon.matched_jet.pt)
    says(lambda: view.Electron.pt)
    says(lambda: ak.num(view.Electron))
    assert hg.open(tmp_path, schema="nanoaod").eager().Muon.pt.ndim == 2


# real files


def told(events):
    """All fields and references of all collections, those that are not listed as well."""
    for collection in events.fields:
        record = record_of(events[collection]._form)
        names = [] if record is None else dict.fromkeys([*record, *getattr(record.fields, "hidden", ())])
        yield from [(collection, name) for name in names] or [(collection,)]


def compare(events, some, most):
    """Compares fields and references, `most` of them or some more, of a view with those that are computed lazily."""
    view, lazy, paths = pickle.loads(pickle.dumps(events.eager(some))), {}, list(told(events))
    for path in paths[:: max(1, len(paths) // most)]:
        x = events[path]
        lazy[path if not x.fields else (*path, x.fields[0])] = x[x.fields[0]] if x.fields else x
    for path, wanted in hg.compute(lazy, **QUIET).items():
        got = view
        for part in path:
            got = got[part] if part in got.fields else getattr(got, part)
        names = wanted.fields
        got, wanted = (ak.to_list(x[names] if names else x) for x in (got, wanted[some]))
        assert repr(got) == repr(wanted), path


@pytest.mark.parametrize("name", FORMATS)
def test_fields_and_references_of_drawn_files(name, tmp_path):
    """All of them, in each schema; over the border between two files."""
    numbers = {"drawn": 1} if name == "fcc" else {}  # collections have the same numbers in both files
    paths = [FORMATS[name](tmp_path / "0.root", 0), FORMATS[name](tmp_path / "1.root", 0 if numbers else 1, **numbers)]
    compare(hg.open(paths, schema=name), slice(3, 12), 10_000)


ROOT = [
    "nano_tt_v12",
    "nano_dimuon_rntuple",
    "PHYSLITE_example",
    "edm4hep",
    "pfnano",
    "test_FCC_Spring2021",
    "treemaker",
]
REAL = [*(f"{name}.root" for name in (*ROOT, "HZZ-zstd")), "nano_dy.parquet", "Run2012B_SingleMu-1000.parquet"]


@pytest.mark.parametrize("name", REAL)
def test_fields_and_references_of_real_files(name):
    """Some of them; ten times as many in make fuzz."""
    if not (DATA / name).exists():
        pytest.skip("../shared/data is not there")
    compare(hg.open(DATA / name), slice(1, 4), examples(25))

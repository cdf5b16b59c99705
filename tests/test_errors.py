"""Bad input: what each mistake says, word for word, against files in `snapshots/`.

HEPGRAPH_UPDATE_SNAPSHOTS=1 writes the files again.
"""

import os
import warnings
from pathlib import Path

import awkward as ak
import hist
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

import hepgraph as hg
from hepgraph import errors
from hepgraph.errors import nearest, suggestion

COLUMNS = {
    "nMuon": np.array([2, 0, 1], np.uint32),
    "Muon_pt": ak.Array([[50.0, 20.0], [], [10.0]]),
    "Muon_eta": ak.Array([[1.0, 2.0], [], [0.5]]),
    "Muon_phi": ak.Array([[1.0, 2.0], [], [0.5]]),
    "Muon_mass": ak.Array([[0.1, 0.1], [], [0.1]]),
    "Muon_charge": ak.Array([[1, -1], [], [1]]),
    "nJet": np.array([1, 1, 0], np.uint32),
    "Jet_pt": ak.Array([[30.0], [40.0], []]),
    "MET_pt": np.array([10.0, 20.0, 30.0]),
    "MET_phi": np.array([1.0, 2.0, 3.0]),
}


def parquet(path, **changes):
    columns = {name: values for name, values in {**COLUMNS, **changes}.items() if values is not None}
    pq.write_table(pa.table({name: ak.to_list(values) for name, values in columns.items()}), path)
    return path


def root(path, trees=("Events",), **changes):
    columns = {name: values for name, values in {**COLUMNS, **changes}.items() if values is not None}
    flat = {k: v for k, v in columns.items() if isinstance(v, np.ndarray) and not k.startswith("n")}
    jagged = {}
    for name, values in columns.items():
        if not isinstance(values, np.ndarray):
            jagged.setdefault(name.split("_")[0], {})[name.split("_")[1]] = values
    with uproot.recreate(path) as file:
        for tree in trees:
            data = {**flat, **{name: ak.zip(fields) for name, fields in jagged.items()}}
            file.mktree(tree, {k: v.dtype if isinstance(v, np.ndarray) else v.type.content for k, v in data.items()})
            file[tree].extend(data)
    return path


@pytest.fixture
def events(tmp_path):
    return hg.from_parquet(parquet(tmp_path / "events.parquet"), schema="nanoaod")


def compute(x):
    return hg.compute(x, executor="serial", progress=False)


def run(processor, fileset, **options):
    return hg.run(processor, fileset, executor="serial", progress=False, **options)


# files


def test_no_such_file(tmp_path, says):
    (tmp_path / "data.root").touch()
    error = says(hg.from_root, tmp_path / "date.root")
    assert isinstance(error, FileNotFoundError)
    says(hg.open, tmp_path / "none" / "a.root")
    says(hg.from_parquet, [tmp_path / "a.parquet"])
    says(hg.open, f"{tmp_path}/data.roo:Events")


def test_no_file_matches(tmp_path, says):
    error = says(hg.open, f"{tmp_path}/*.root")
    assert isinstance(error, FileNotFoundError)
    (tmp_path / "a.parquet").touch()
    says(hg.from_root, f"{tmp_path}/*.root")
    says(hg.open, f"{tmp_path}/none/**/*.root")


def test_an_empty_directory(tmp_path, says):
    says(hg.open, tmp_path)


def test_not_a_root_or_parquet_file(tmp_path, says):
    (tmp_path / "a.txt").write_text("pt,eta\n1,2\n")
    (tmp_path / "b.root").touch()
    assert isinstance(says(hg.open, tmp_path / "a.txt"), errors.DamagedFileError)
    says(hg.from_root, tmp_path / "a.txt")
    says(hg.from_parquet, tmp_path / "a.txt")
    says(hg.open, tmp_path / "b.root")


def test_the_other_format(tmp_path, says):
    says(hg.from_root, parquet(tmp_path / "a.parquet"))
    says(hg.from_parquet, root(tmp_path / "a.root"))


def test_a_truncated_file(tmp_path, says):
    path = root(tmp_path / "a.root")
    path.write_bytes(path.read_bytes()[:-1000])
    assert isinstance(says(hg.from_root, path), OSError)
    path = parquet(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    assert isinstance(says(hg.from_parquet, path), OSError)


def test_a_file_that_changed(tmp_path, says):
    path = parquet(tmp_path / "a.parquet")
    events = hg.from_parquet(path)
    parquet(path, MET_pt=np.array([3.0, 2.0, 1.0]), more=np.array([1, 2, 3]))
    os.utime(path, ns=(1, 1))
    says(lambda: compute(events.MET_pt))


def test_no_such_tree(tmp_path, says):
    path = root(tmp_path / "a.root", trees=("Events", "Runs"))
    assert isinstance(says(hg.from_root, path, "Event"), KeyError)
    says(hg.from_root, f"{path}:nothing")
    says(hg.from_root, root(tmp_path / "b.root", trees=("tree1", "tree2")))
    with uproot.recreate(tmp_path / "c.root") as file:
        file["h"] = np.histogram([1.0, 2.0])
    says(hg.from_root, tmp_path / "c.root")
    says(hg.from_root, tmp_path / "c.root", "h")


def test_zero_entries_give_empty_histograms(tmp_path):
    nothing = {name: values[:0] for name, values in COLUMNS.items()}
    for path in (root(tmp_path / "a.root", **nothing), typed_parquet(tmp_path / "a.parquet", nothing)):
        for parts in (1, 3):
            events = hg.open(path, schema="nanoaod").repartition(parts)
            pair = ak.combinations(events.Muon, 2, fields=["a", "b"])
            h = hg.Hist.new.Reg(3, 0, 100, name="m").Double().fill(ak.flatten((pair.a + pair.b).mass))
            out = compute(
                {"h": h, "n": ak.num(events, axis=0), "pt": events.Muon.pt, "sum": ak.sum(events.MET.pt, axis=0)}
            )
            assert out["h"].sum(flow=True) == 0
            assert out["n"] == 0
            assert out["pt"].to_list() == []
            assert out["sum"] == 0


def typed_parquet(path, columns):
    whole = pa.table({name: ak.to_list(values) for name, values in COLUMNS.items()})
    pq.write_table(whole.slice(0, 0).select(list(columns)), path)
    return path


def test_files_that_disagree(tmp_path, says):
    a, b = parquet(tmp_path / "a.parquet"), parquet(tmp_path / "b.parquet", MET_pt=None)
    error = says(lambda: compute(hg.from_parquet([a, b], schema="nanoaod").MET.pt))
    assert isinstance(error, errors.DisagreementError)
    c = parquet(tmp_path / "c.parquet", MET_pt=ak.Array(["1", "2", "3"]))
    says(lambda: compute(hg.from_parquet([a, c], schema="nanoaod").MET.pt))
    d = parquet(tmp_path / "d.parquet", Muon_pt=np.array([1.0, 2.0, 3.0]))
    says(lambda: compute(hg.from_parquet([a, d], schema="nanoaod").Muon.pt))
    r, s = root(tmp_path / "a.root"), root(tmp_path / "b.root", MET_phi=None, MET_pt=ak.Array([[1.0], [], []]))
    says(lambda: compute(hg.from_root([r, s], schema="nanoaod").MET.phi))
    says(lambda: run(lambda e: {"n": ak.sum(e.MET.pt, axis=0)}, {"data": [str(r), str(s)]}))
    assert compute(hg.from_parquet([a, b], schema="nanoaod").Jet.pt).to_list() == [[30.0], [40.0], []] * 2


def test_columns_that_some_files_lack(tmp_path, says):
    a, b = parquet(tmp_path / "a.parquet"), parquet(tmp_path / "b.parquet", MET_pt=None, Muon_eta=None)
    more = [parquet(tmp_path / f"{name}.parquet", MET_pt=None) for name in "cdef"]
    error = says(lambda: compute(hg.open([a, b, *more]).MET.pt))
    assert isinstance(error, errors.DisagreementError)
    says(lambda: compute(hg.open([a, b]).Muon.eta))
    assert isinstance(says(lambda: hg.open([b, a]).MET.pt), errors.FieldError)  # the first file lacks it
    says(lambda: hg.open([b, a]).Muon.eta)
    says(lambda: hg.open([b, a]).MET_pt)
    says(hg.open, [a, b], optional={"MET_pt": "none"})
    says(hg.open, [a, b], optional=-1)
    says(hg.open, [a, parquet(tmp_path / "g.parquet", Muon_charge=None)], optional={"Muon_*": 0.5})


def test_types_that_files_store(tmp_path, says):
    """NumPy has no integers that hold both; most numbers are the same as floats."""
    small, large = [[np.array([1, 2, 2**k + 1], kind) for kind in (np.int64, np.uint64)] for k in (52, 53)]
    for name, event in zip("abcd", [*small, *large], strict=True):
        root(tmp_path / f"{name}.root", event=event)
    with pytest.warns(errors.PromotionWarning) as told:
        fine, lossy = (hg.open([tmp_path / "a.root", tmp_path / f"{name}.root"]) for name in "bd")
    assert compute(fine.event).to_list() == [1, 2, 2**52 + 1] * 2
    assert [os.path.basename(each.filename) for each in told] == ["test_errors.py"] * 2
    message = str(told[0].message).replace(str(tmp_path), "<tmp>")
    assert message == (
        "The files of this dataset store 1 column in several types, united by NumPy's rule:\n"
        "  event is read as float64: int64 in 1 file (<tmp>/a.root), uint64 in 1 file (<tmp>/b.root)"
    )
    says(lambda: compute(lossy.event))


def test_a_file_listed_twice(tmp_path, says):
    path = parquet(tmp_path / "a.parquet")
    says(hg.open, [path, path])


# names


def test_no_such_branch_or_field(events, says):
    assert isinstance(says(lambda: events.Moun), AttributeError)
    assert isinstance(says(lambda: events["Moun"]), KeyError)
    says(lambda: events.Muon.pT)
    says(lambda: events.Muon["ptt"])
    says(lambda: events.Muon.delta_phy(events.MET))
    says(lambda: events[["Muon", "Jets"]])
    says(lambda: events.Muon.pt.eta)
    says(lambda: events.Muon.pt["eta"])
    says(lambda: events.Muon_ptt)
    says(lambda: ak.zip({"a": events.Muon.pt}).b)
    says(lambda: events["Muon", "ptt"])


def test_vectors_of_other_dimensions(events, says):
    muon, three = events.Muon, events.Muon.to_Vector3D()
    says(lambda: muon.cross(muon))
    says(lambda: muon + three)
    says(lambda: muon.isclose(three))
    says(lambda: muon.boost_p4(three))
    says(lambda: muon.rotate_axis(muon, 0.1))
    says(lambda: muon.boostX())
    says(lambda: muon.boost())
    says(lambda: muon.rotate_euler(0.1, 0.2, 0.3, order="xxz"))
    says(lambda: three.to_Vector4D(t=1.0, mass=2.0))
    says(lambda: three.to_Vector3D(eta=1.0))
    says(lambda: three.to_xyzt(eta=1.0))
    says(lambda: muon.transform2D({"xx": 1.0}))
    says(lambda: three.is_timelike())


def test_fields_that_are_no_vector(events, says):
    says(lambda: events.Jet.mass)
    says(lambda: events.Jet.delta_r(events.Muon))
    says(lambda: events.MET.eta)
    says(lambda: events.Muon * events.Muon)
    says(lambda: events.Muon + events.MET)


def test_setting_fields(events, says):
    def attribute():
        events.Muon = 1

    def element():
        events[0] = 1

    says(attribute)
    says(element)


# filesets


def test_filesets(tmp_path, says):
    path = str(parquet(tmp_path / "a.parquet"))
    assert isinstance(says(run, len, {}), ValueError)
    says(run, len, {"data": []})
    says(run, len, {"data": {"files": []}})
    says(run, len, {"data": {"file": [path], "metadata": {}}})
    says(run, len, {"data": {"metadata": {}}})
    says(run, len, [path])
    says(run, len, {1: [path]})
    says(run, len, {"data": 3})
    says(run, len, {"data": {"files": {path: 3}}})
    says(run, len, {"data": [str(tmp_path / "none.root")]})
    says(run, len, {"data": {"files": [path], "metadata": 3}})
    says(run, len, {"data": [3]})


def test_fileset_files(tmp_path, says):
    says(run, len, str(tmp_path / "none.json"))
    (tmp_path / "a.json").write_text("{'data': []}")
    says(run, len, str(tmp_path / "a.json"))
    (tmp_path / "a.yaml").write_text("data: [\n")
    says(run, len, str(tmp_path / "a.yaml"))
    (tmp_path / "b.yaml").write_text("")
    says(run, len, str(tmp_path / "b.yaml"))


# schemas


def test_schema_files(tmp_path, says):
    path, mine = parquet(tmp_path / "a.parquet"), tmp_path / "my.toml"
    for text in [
        'name="m"\nseperator="_"',
        'name="m"\n[collections.Jet]\ncount="nJet"',
        'name="m"\n[[references]]\nfrom="a"\nindex="b"\nto="c"',
        "name = \nseparator = '_'",
        'separator="_"',
        'name="m"\nextends="nanoaot"',
        'name="m"\nextends="nanoaod"\n[collections.Jet]\nconstants={mass="heavy"}',
        'name="m"\nextends="nanoaod"\n[collections.Jet]\ncounts="nJets"',
        'name="m"\nextends="nanoaod"\n[collections.Jet]\ncounts="MET_pt"',
    ]:
        mine.write_text(text)
        assert isinstance(says(hg.from_parquet, path, schema=mine), ValueError)


def test_schemas(tmp_path, says):
    path = parquet(tmp_path / "a.parquet")
    says(hg.from_parquet, path, schema="nanoaot")
    says(hg.from_parquet, path, schema=str(tmp_path / "none.toml"))
    (tmp_path / "my.toml").write_text('name="m"\nextends="nanoaod"\n[collections.Jet]\nfields={p="Jet_Pt"}')
    says(lambda: hg.from_parquet(path, schema=tmp_path / "my.toml").Jet.p)
    says(hg.from_parquet, path, schema=3)


# arrays that do not go together


def test_arrays_cut_by_different_masks(events, says):
    hard = events[events.MET.pt > 15]
    assert isinstance(says(lambda: hard.MET.pt + events.MET.pt), ValueError)
    says(lambda: events.MET.pt[events.MET.pt > 15] + events.MET.phi[events.MET.phi > 1.5])
    says(lambda: ak.zip({"a": hard.MET.pt, "b": events.MET.phi}))
    says(lambda: hard[events.MET.pt > 20])


def test_lists_cut_by_different_masks(events, says):
    mu = events.Muon
    assert isinstance(says(lambda: mu[mu.pt > 15].pt + mu[mu.eta > 0.7].pt), ValueError)
    says(lambda: mu[mu.pt > 15].pt + mu.pt)
    says(lambda: mu.pt[mu[mu.pt > 15].eta > 0])
    says(lambda: ak.combinations(mu, 2, fields=["a", "b"]).a.pt + mu.pt)


def test_lists_of_different_lengths(events, says):
    says(lambda: compute(events.Muon.pt + events.Jet.pt))


def test_another_dataset(tmp_path, events, says):
    other = hg.from_parquet(parquet(tmp_path / "other.parquet"), schema="nanoaod")
    says(lambda: events.MET.pt + other.MET.pt)
    says(lambda: events.MET.pt + events.repartition(3).MET.pt)
    says(lambda: events.MET.pt + np.array([1.0, 2.0]))
    says(lambda: events[events.MET.pt > 0].MET.pt + np.array([1.0, 2.0, 3.0]))


def test_a_reduction_in_the_same_pass(events, says):
    says(lambda: events.MET.pt - ak.mean(events.MET.pt, axis=None))
    says(lambda: events[events.MET.pt > ak.max(events.MET.pt, axis=0)])


def test_rows_by_number(events, says):
    assert isinstance(says(lambda: events[0]), TypeError)
    says(lambda: events.Muon.pt[1])
    says(lambda: events.Muon[0, 0])
    says(lambda: events.MET.pt[[0, 2]])
    says(lambda: events[events.MET.pt > 15][:2])
    says(lambda: events.Muon[ak.argmax(events.Muon.pt, axis=1)])


def test_an_element_that_is_not_there(events, says):
    assert isinstance(says(lambda: compute(events.Muon.pt[:, 1])), IndexError)


def test_operations_without_meaning(events, says):
    says(lambda: events.Muon + 1)
    says(lambda: events.Muon.pt & events.Muon.eta)
    says(lambda: np.linalg.norm(events.MET.pt))
    says(lambda: events.Muon[events.Muon])


# lazy things are not there yet


def test_what_lazy_arrays_refuse(events, says):
    x = events.MET.pt

    def iterate():
        for _ in x:
            pass

    def branch():
        if x > 3:
            pass

    assert isinstance(says(lambda: bool(x)), TypeError)
    says(branch)
    says(lambda: (x > 1) and (x < 3))
    says(lambda: len(x))
    says(iterate)
    says(lambda: np.asarray(x))
    says(lambda: np.array(x))
    says(lambda: float(ak.sum(x, axis=None)))
    says(lambda: int(ak.num(events, axis=0)))
    says(lambda: range(ak.num(events, axis=0)))
    says(lambda: x.to_list())
    says(lambda: x.to_numpy())
    says(lambda: ak.to_numpy(x))
    says(lambda: ak.to_list(x))
    says(lambda: 3 in x)
    says(lambda: x.layout.content)
    says(lambda: min(x))
    says(lambda: f"{ak.sum(x, axis=None):.2f}")
    says(lambda: hist.Hist.new.Reg(2, 0, 1).Double().fill(x))


def test_what_lazy_histograms_refuse(events, says):
    h = hg.Hist.new.Reg(2, 0, 100, name="met").Double().fill(events.MET.pt)
    says(lambda: h.values())
    says(lambda: h.plot())
    says(lambda: h.plot1d())
    says(lambda: h.sum())
    says(lambda: h[0])
    says(lambda: np.asarray(h))
    says(lambda: h * 2)
    says(lambda: h.view())
    says(lambda: h.project("met"))


# histograms


def test_fills(events, says):
    def h(kind="Double"):
        return getattr(hg.Hist.new.Reg(2, 0, 100, name="met").Reg(2, 0, 10, name="pt"), kind)()

    assert isinstance(says(lambda: h().fill(met=events.MET.pt, p=events.MET.phi)), ValueError)
    says(lambda: h().fill(events.MET.pt))
    says(lambda: h().fill(events.MET.pt, events.MET.phi, events.MET.pt))
    says(lambda: h().fill(events.MET.pt, events.MET.phi, met=events.MET.pt))
    says(lambda: h().fill(events.Muon.pt, events.Jet.pt[events.Jet.pt > 1]))
    says(lambda: h().fill(events.Muon, events.MET.pt))
    says(lambda: h().fill("a", events.MET.pt))
    says(lambda: h().fill(events.MET.pt, events.MET.pt, sample=events.MET.pt))
    says(lambda: h("Mean").fill(events.MET.pt, events.MET.pt))
    says(lambda: h("Int64").fill(events.MET.pt, events.MET.pt, weight=events.MET.pt))
    says(lambda: h().fill(events.MET.pt[events.MET.pt > 15], events.MET.phi))
    says(lambda: compute(h().fill(events.MET.pt, events.MET.pt, weight=ak.firsts(events.Muon.pt))))
    says(lambda: compute(h().fill(events.Muon.pt, events.Jet.pt)))
    says(lambda: h().fill(events.MET.pt, np.array([1.0, 2.0])))
    says(lambda: h().fill(events.MET.pt, events.MET.pt, weight="a"))


# processors


def test_what_does_not_add_up(tmp_path, says):
    a, b = str(parquet(tmp_path / "a.parquet")), str(parquet(tmp_path / "b.parquet"))
    one, two = {"data": [a]}, {"data": [a], "mc": [b]}

    def axes(events):
        edge = 100 if events.metadata["dataset"] == "data" else 200
        return {"h": hg.Hist.new.Reg(10, 0, edge, name="met").Double().fill(events.MET.pt)}

    def kinds(events):
        return {"n": ak.num(events, axis=0) if events.metadata["dataset"] == "data" else [1]}

    assert isinstance(says(run, lambda events: None, one), TypeError)
    says(run, lambda events: {"sample": "data"}, one)
    says(run, lambda events: {"a": {"b": None}}, one)
    says(run, lambda events: {"good": True}, one)
    says(run, lambda events: {"what": object()}, one)
    says(run, axes, two)
    says(run, kinds, two)
    says(run, lambda events: "done", one)
    says(run, lambda events: {"n": events.metadata["dataset"] == "mc" or 1}, two)


def test_what_is_no_processor(tmp_path, says):
    fileset = {"data": [str(parquet(tmp_path / "a.parquet"))]}

    class Analysis(hg.Processor):
        pass

    says(run, Analysis, fileset)
    says(run, 3, fileset)
    says(run, Analysis(), fileset)
    says(hg.Runner(executor="serial"), fileset)


def test_an_exception_inside_process(tmp_path, says):
    """It comes as it is, with its own type; the traceback ends on the user's own line."""
    fileset = {"data": [str(parquet(tmp_path / "a.parquet"))]}

    class Analysis(hg.Processor):
        def process(self, events):
            return {"pt": {"a": 1}["b"]}  # the line

    class Misspelt(hg.Processor):
        def process(self, events):
            return {"pt": events.Muon.ptt}

    error = says(run, Analysis(), fileset)
    assert type(error) is KeyError
    last = error.__traceback__
    while last.tb_next:
        last = last.tb_next
    assert last.tb_frame.f_code.co_filename == __file__
    assert Path(__file__).read_text().splitlines()[last.tb_lineno - 1].endswith("# the line")
    says(run, Misspelt(), fileset)


def test_an_exception_inside_a_function_at_run_time(events, says):
    def broken(pt):
        if len(pt) and pt[0] > 0:
            raise ValueError("no such working point")
        return pt

    x = hg.map_partitions(broken, events.MET.pt)
    error = says(lambda: compute(x))
    assert type(error) is ValueError
    error = says(lambda: hg.compute(x, executor="threads", progress=False))
    assert type(error) is ValueError


def test_functions_that_return_the_wrong_thing(events, says):
    says(lambda: compute(hg.map_partitions(lambda x: x[x > 15], events.MET.pt)))
    says(lambda: hg.map_partitions(lambda x: None, events.MET.pt))
    says(lambda: compute(hg.map_partitions(lambda x: ak.Array(["a"] * len(x)) if ak.sum(x) > 50 else x, events.MET.pt)))
    says(lambda: hg.map_partitions(lambda x: x.nothing, events.MET))


# settings


def test_settings(events, says):
    x = events.MET.pt
    assert isinstance(says(lambda: x.compute(executor="thread")), ValueError)
    says(lambda: x.compute(executor=3))
    says(lambda: x.compute(scheduler="threads"))
    says(lambda: x.compute(exector="threads"))
    says(lambda: x.compute(engine="compiler"))
    says(lambda: events.repartition(0))
    says(lambda: events.repartition(step_size="many"))
    says(lambda: hg.from_awkward(x))
    says(lambda: x.head(-1))
    says(lambda: x.compute(checkpoint=5))
    says(lambda: hg.from_awkward(ak.Array([1]), metadata="zmumu"))
    says(lambda: hg.from_root("data/sample.root", storage_options="anonymous"))


def test_words_of_other_libraries(says):
    """What is typed first by those who know coffea, dask, dask-awkward or uproot."""
    sample, fileset, processor = "data/sample.root", {"zmumu": ["data/sample.root"]}, CountEvents()
    x = hg.from_awkward(ak.Array([1.0, 2.0]))
    assert isinstance(says(lambda: hg.compute(x, x + 1)), TypeError)
    says(lambda: hg.from_root(sample, treepath="Events"))
    says(lambda: hg.from_root(sample, "Events", "nanoaod"))
    says(lambda: hg.open(sample, schemaclass="NanoAODSchema"))
    says(lambda: hg.from_root(sample, entry_stop=100))
    says(lambda: hg.from_parquet("data/sample.parquet", columns=["MET_pt"]))
    says(lambda: hg.from_parquet("data/sample.parquet", tree="Events"))
    says(lambda: hg.run(processor, fileset, chunksize=100_000))
    says(lambda: hg.run(processor, fileset, executor="futures"))
    says(lambda: hg.run(processor, fileset, stepsize=100_000))
    says(lambda: hg.Runner(executor="threads", skipbadfiles=True))
    says(lambda: hg.Runner(executor="threads", maxchunks=1))
    says(lambda: hg.compute(x, step_size=100))
    says(lambda: hg.compute(x, chunksize=100))
    says(lambda: hg.open(fileset))
    says(lambda: hg.from_root(f"{sample}:Events", tree="Runs"))
    says(lambda: hg.explain(processor))
    says(lambda: hg.necessary_columns(processor.process))


class CountEvents(hg.Processor):
    def process(self, events):
        return ak.num(events, axis=0)


def test_no_mistake_is_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nearest("Muon_pT", ["Muon_pt"]) == ["Muon_pt"]


# the tree of errors


def test_every_error_is_also_a_builtin():
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HepgraphError)
    ]
    for kind in kinds:
        if kind is not errors.HepgraphError:
            assert any(
                base.__module__ == "builtins" and base not in (Exception, BaseException, object)
                for base in kind.__mro__
            )
            assert str(kind("a message")) == "a message"


def test_suggestions():
    assert suggestion("Moun", ["Muon", "Jet"]) == "Nearest names: Muon."
    assert suggestion("zzz", []) == "There are no names at all."
    assert suggestion("zzz", map(str, range(20))).endswith("... (20 in all).")
    assert nearest("jet_PT", ["Jet_pt", "jet_pt"])[:2] == ["Jet_pt", "jet_pt"]

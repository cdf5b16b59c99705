"""Files of one dataset that store columns in several types, in another order, or lack some."""

import warnings

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from agreement import check
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from limiting import limited

import hepgraph as hg
from hepgraph.errors import DisagreementError, FieldError, PromotionWarning
from hepgraph.processor.chunk import eager_events

KINDS = ("bool", "uint8", "int16", "int32", "uint32", "int64", "float32", "float64")
FLAT = {"x": (), "y": (), "A.u": ("A",), "A.v": ("A",), "A.w": ("A",), "B.u": ("B",)}  # with the lists around each
DEEP = {**FLAT, "A.hits.p": ("A", "A.hits"), "A.hits.q": ("A", "A.hits"), "A.tags.t": ("A", "A.tags")}
SCHEMA = 'name = "drawn"\nseparator = "_"\ncounts = "n{name}"\n'


class DrawnFile:
    """One file: the lengths of its lists, and the values of the columns that it has, in some order."""

    def __init__(self, rng, columns):
        self.size = int(rng.integers(0, 9))
        self.lengths = {"A": rng.integers(0, 4, self.size), "B": rng.integers(0, 3, self.size)}
        self.lengths |= {f"A.{name}": rng.integers(0, 3, self.lengths["A"].sum()) for name in ("hits", "tags")}
        gone = {name for name in self.lengths if rng.random() < 0.2}
        names = [name for name, lists in columns.items() if not gone.intersection(lists)]
        names = [name for name in rng.permutation(names).tolist() if name == "x" or rng.random() < 0.75]
        self.values = {name: self._numbers(rng, columns[name]) for name in names}
        self.types = {name: values.dtype for name, values in self.values.items()}
        self.told = {each for name in names for each in columns[name]}  # the lists that the file tells

    def _numbers(self, rng, lists):
        size = int(self.lengths[lists[-1]].sum()) if lists else self.size
        return rng.integers(0, 2 if rng.random() < 0.3 else 100, size).astype(rng.choice(KINDS))

    def lists(self, name, content):
        """Lists with the lengths of this name."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths[name])])
        return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content)

    def nested(self, prefix=""):
        """The columns below a prefix, as records with lists of records."""
        found = {}
        for name in self.values:
            head, _, rest = name.removeprefix(prefix).partition(".")
            if not name.startswith(prefix) or head in found:
                continue
            found[head] = ak.contents.NumpyArray(self.values[name])
            if rest:
                found[head] = self.lists(f"{prefix}{head}", self.nested(f"{prefix}{head}."))
        return ak.contents.RecordArray(list(found.values()), list(found), None if prefix else self.size)

    def column(self, name, lists, dtype, value):
        """A column as the dataset has it."""
        there = name in self.values
        size = self.size
        for each in lists:
            size = int(self.lengths[each].sum()) if each in self.told else 0
        numbers = self.values[name].astype(dtype) if there else np.full(size, value or 0, dtype)
        layout = ak.contents.NumpyArray(numbers)
        if value is None:
            layout = ak.contents.ByteMaskedArray(ak.index.Index8(np.full(size, there, np.int8)), layout, True)
        for each in reversed(lists):
            told = each in self.told
            above = lists[: lists.index(each)]
            size = (int(self.lengths[above[-1]].sum()) if above[-1] in self.told else 0) if above else self.size
            lengths = self.lengths[each] if told else np.zeros(size, int)
            layout = ak.contents.ListOffsetArray(ak.index.Index64(np.cumsum([0, *lengths])), layout)
        return layout


def ttree(path, drawn, rng):
    array = ak.Array(drawn.nested())
    data = {name: array[name] if name in drawn.lengths else ak.to_numpy(array[name]) for name in array.fields}
    with uproot.recreate(path) as file:
        file.mktree("Events", {k: v.dtype if isinstance(v, np.ndarray) else v.type.content for k, v in data.items()})
        for part in (slice(None, drawn.size // 2), slice(drawn.size // 2, None)):
            file["Events"].extend({name: ak.to_packed(values[part]) for name, values in data.items()})


def rntuple(path, drawn, rng):
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", ak.Array(drawn.nested()))


def nested_parquet(path, drawn, rng):
    ak.to_parquet(ak.Array(drawn.nested()), path, row_group_size=3)


def flat_parquet(path, drawn, rng):
    """Lists by themselves, and perhaps their lengths, also where there are no lists."""
    array = ak.Array(drawn.nested())
    told = {name.replace(".", "_"): ak.to_list(array[tuple(name.split("."))]) for name in drawn.values}
    kinds = {name.replace(".", "_"): pa.from_numpy_dtype(values.dtype) for name, values in drawn.values.items()}
    columns = {n: pa.array(v, pa.list_(kinds[n]) if "_" in n else kinds[n]) for n, v in told.items()}
    for name in ("A", "B"):
        if rng.random() < 0.7:
            counts = drawn.lengths[name].astype(rng.choice(["int32", "uint32"]))
            columns[f"n{name}"] = pa.array(counts)
            drawn.types[f"n{name}"] = counts.dtype
            drawn.told.add(name)
    pq.write_table(pa.table({name: columns[name] for name in rng.permutation(list(columns))}), path, row_group_size=3)


WRITERS = {
    "ttree": (ttree, "root", FLAT, "_"),
    "rntuple": (rntuple, "root", FLAT, "."),
    "flat_parquet": (flat_parquet, "parquet", FLAT, "_"),
    "nested_parquet": (nested_parquet, "parquet", DEEP, "."),
}


def opened(paths, folder, **options):
    """The events, and the warnings of opening them."""
    (folder / "drawn.toml").write_text(SCHEMA)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        events = hg.open(paths, schema=str(folder / "drawn.toml"), **options)
    return events, [each.message for each in told]


@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=examples(6), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), step=st.sampled_from([None, 1, 3, 5]))
def test_any_files_are_as_their_concatenation(kind, seed, step, tmp_path_factory):
    """Columns are united by NumPy's rule, and what a file lacks is stood in for, in every mode and any ranges."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("files")
    write, suffix, columns, separator = WRITERS[kind]
    drawn = [DrawnFile(rng, columns) for _ in range(rng.integers(1, 5))]
    for number, each in enumerate(drawn):
        write(folder / f"{number}.{suffix}", each, rng)
    paths = [folder / f"{number}.{suffix}" for number in range(len(drawn))]
    values = {name: [None, 0, 1][rng.integers(3)] for name in columns}
    optional = {name.replace(".", separator): value for name, value in values.items()}
    optional |= {"nA": None, "nB": 0}
    events, told = opened(paths, folder, optional=optional, step_size=step)
    mixed = [name for name in [*columns, "nA", "nB"] if len({x.types[name] for x in drawn if name in x.types}) > 1]
    assert [type(each) for each in told] == [PromotionWarning] * bool(mixed)
    expected = {}
    for name, lists in columns.items():
        types = {each.types[name] for each in drawn if name in each.types}
        if not types:
            assert name.replace(".", separator) not in events.source.columns
            continue
        value = values[name] if any(name not in each.values for each in drawn) else 0
        parts = [each.column(name, lists, np.result_type(*types), value) for each in drawn]
        expected[name] = ak.concatenate([ak.Array(part) for part in parts], mergebool=False)
    wanted = {name: events[tuple(name.split("."))] for name in expected}
    large = events.x >= 50
    wanted |= {f"{name} cut": array[large] for name, array in wanted.items() if name[0] in "xA"}
    mask = ak.to_numpy(expected["x"] >= 50)
    expected |= {name: expected[name.removesuffix(" cut")][mask] for name in wanted if name not in expected}
    for engine in ("kernel", "interpreter"):
        with limited(late_least=0):
            found = hg.compute(wanted, engine=engine, executor="serial")
        for name, array in expected.items():
            check(array.layout, found[name].layout, "", f"{engine}: {name}")
    chunks = [eager_events(events, part) for part in events.source.partitions()]
    for name in columns.keys() & expected.keys():
        eager = ak.concatenate([chunk[tuple(name.split("."))] for chunk in chunks])
        check(expected[name].layout, ak.materialize(eager).layout, "", f"eager: {name}")


# other ways to the same data


def three(folder):
    """Three files: the first lacks a trigger and a collection, the second stores a column in another type."""
    taus = [[{"pt": 1.5, "charge": 1}], []]
    content = {
        "a": {"x": np.array([1, 2], np.float32)},
        "b": {"x": np.array([3, 4], np.float64), "HLT_a": [True, False], "Tau": taus},
        "c": {"x": np.array([5, 6], np.float32), "HLT_a": [True, True], "Tau": [[{"charge": -1}], []]},
    }
    for name, columns in content.items():
        with uproot.recreate(folder / f"{name}.root") as file:
            data = {k: ak.Array(v) if k == "Tau" else np.asarray(v) for k, v in columns.items()}
            file.mktree("Events", {k: v.type.content if k == "Tau" else v.dtype for k, v in data.items()})
            file["Events"].extend(data)
    return [f"{folder}/{name}.root" for name in "abc"]


OPTIONAL = {"HLT_*": False, "Tau_*": None}
EXPECTED = {
    "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "HLT_a": [False, False, True, False, True, True],
    "n": [0, 0, 1, 0, 1, 0],
    "pt": [[], [], [1.5], [], [None], []],
    "charge": [[], [], [1], [], [-1], []],
}


def quantities(events):
    return {
        "x": events.x, "HLT_a": events.HLT_a, "n": events.nTau, "pt": events.Tau.pt, "charge": events.Tau.charge
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::hepgraph.errors.PromotionWarning")
@pytest.mark.parametrize("eager", [False, True])
def test_a_run_over_files_that_differ(eager, tmp_path):
    def run(fileset, **options):
        out = hg.run(quantities, fileset, eager=eager, executor="serial", progress=False, **options)
        return {name: array.to_list() for name, array in out.items()}

    files = {"data": three(tmp_path)}
    assert run(files, optional=OPTIONAL) == EXPECTED
    known = hg.preprocess(files, executor="serial", cache=False, progress=False)
    known.save(tmp_path / "known.json")
    assert run(tmp_path / "known.json", optional=OPTIONAL, step_size=1) == EXPECTED
    first = known.first_files(1)
    assert run(first, optional=OPTIONAL) == {name: values[:2] for name, values in EXPECTED.items()}
    second = known.filter_files(lambda path: path.endswith("b.root"))
    assert run(second) == {name: values[2:4] for name, values in EXPECTED.items()}
    with pytest.raises((DisagreementError, FieldError), match="In others it is bool"):
        run(first)
    for _ in range(2):  # the second one from the cache
        assert run(files, optional=OPTIONAL, cache=str(tmp_path / "cache")) == EXPECTED
    schema = tmp_path / "my.toml"
    schema.write_text('name = "my"\nextends = "nanoaod"\n[optional]\n"HLT_*" = true\n"Tau_*" = "none"\n')
    assert run(files, schema=str(schema))["HLT_a"] == [True, True, *EXPECTED["HLT_a"][2:]]
    assert run(files, schema=str(schema), optional={"HLT_a": False}) == EXPECTED, "the call goes before the file"
    with pytest.raises((DisagreementError, FieldError), match=r"No column '\w+' in . of the 3 files"):
        run(files)


@pytest.mark.filterwarnings("ignore::hepgraph.errors.PromotionWarning")
def test_counts_of_lists_that_a_file_lacks_are_none(tmp_path):
    events = hg.open(three(tmp_path), schema="base", optional=OPTIONAL)
    assert hg.compute(events.nTau).to_list() == EXPECTED["n"]
    assert hg.compute(events.Tau_charge).to_list() == EXPECTED["charge"]


@pytest.mark.filterwarnings("ignore::hepgraph.errors.PromotionWarning")
def test_the_first_file_does_not_choose_the_schema_alone(tmp_path):
    told = hg.schema_of(hg.open(three(tmp_path)))
    assert told.name == "nanoaod"
    assert told.left == dict.fromkeys(("HLT_a", "nTau", "Tau_pt", "Tau_charge"), "the first file lacks it")
    assert set(hg.schema_of(hg.open(three(tmp_path), optional=OPTIONAL)).collections) == {"HLT", "Tau"}


def test_inner_lists_that_no_column_tells_are_empty(tmp_path):
    hits, tags = {"hits": [{"p": 1, "q": 2}]}, {"tags": [{"t": 7}, {"t": 8}]}
    for name, muon in (("a", {**hits, **tags}), ("b", tags), ("c", {"hits": [{"q": 3}], **tags})):
        ak.to_parquet(ak.Array([{"Muon": [{"pt": 1.5, **muon}]}, {"Muon": []}]), tmp_path / f"{name}.parquet")
    events = hg.open([tmp_path / f"{name}.parquet" for name in "abc"], optional={"Muon.hits.*": None})
    found = hg.compute({"p": events.Muon.hits.p, "q": events.Muon.hits.q})
    assert found["p"].to_list() == [[[1]], [], [[]], [], [[None]], []]
    assert found["q"].to_list() == [[[2]], [], [[]], [], [[3]], []]


@pytest.mark.filterwarnings("ignore::hepgraph.errors.PromotionWarning")
def test_a_stored_result_is_of_one_value(tmp_path):
    """The stand-in for a column counts for a checkpoint, as does the type to which other files promote it."""
    files, where = {"data": three(tmp_path)}, tmp_path / "checkpoint"

    def total(events):
        return {"n": ak.sum(events.HLT_a, axis=0)}

    def run(value):
        return hg.run(
            total, files, optional={"HLT_a": value}, checkpoint=where, executor="serial", progress=False
        )["n"]  # fmt: skip

    assert run(False) == 3
    with pytest.raises(hg.errors.CheckpointError):
        run(True)


@pytest.mark.filterwarnings("ignore::hepgraph.errors.PromotionWarning")
def test_a_strict_preprocessing_unites_nothing(tmp_path):
    def strict(*files):
        return hg.preprocess({"data": files}, strict=True, executor="serial", cache=False, progress=False)

    a, b, c = three(tmp_path)
    with uproot.recreate(tmp_path / "d.root") as file:
        file.mktree("Events", {"x": np.float64}).extend({"x": np.zeros(2)})
    with pytest.raises(DisagreementError, match=r"'x': it is float32 in .*a.root, and all of them .* as float64"):
        strict(a, f"{tmp_path}/d.root")
    with pytest.raises(DisagreementError, match=r"No column 'Tau_pt' in 1 of the 2 files .*c.root"):
        strict(b, c)
    assert strict(c).entries == {"data": 2}


def test_another_order_of_columns_is_no_difference(tmp_path):
    columns = {"x": [1, 2], "Jet_pt": [[1.0], []], "Jet_eta": [[0.5], []], "nJet": [1, 0]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    pq.write_table(pa.table(dict(reversed(columns.items()))), tmp_path / "b.parquet")
    events = hg.open(f"{tmp_path}/*.parquet")
    assert not any(file.differs or file.lacks or file.stored for file in events.source.files)
    assert hg.compute(events.Jet[["pt", "eta"]]).to_list() == 2 * [[{"pt": 1.0, "eta": 0.5}], []]


def test_no_constant_is_taken_where_only_the_first_file_lacks_a_column(tmp_path):
    (tmp_path / "my.toml").write_text(
        'name = "my"\n[collections.Jet]\ncolumns = "Jet_{field}"\nconstants = { mass = 0.0 }'
    )
    pq.write_table(pa.table({"Jet_pt": [[1.0], []]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"Jet_pt": [[1.0], []], "Jet_mass": [[5.0], []]}), tmp_path / "b.parquet")
    a, b = (tmp_path / f"{name}.parquet" for name in "ab")
    assert hg.compute(hg.open(a, schema=tmp_path / "my.toml").Jet.mass).to_list() == [[0.0], []]
    with pytest.raises(DisagreementError, match="No column 'Jet_mass' in 1 of the 2 files"):
        hg.open([a, b], schema=tmp_path / "my.toml").Jet.mass
    events = hg.open([a, b], schema=tmp_path / "my.toml", optional={"Jet_mass": 0.0})
    assert hg.compute(events.Jet.mass).to_list() == [[0.0], [], [5.0], []]

"""Parquet: nested and nullable columns of any shape, only the row groups and leaves in need, damaged files."""

import datetime
import decimal
import io
import math
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from columns import to_awkward
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph import errors
from hepgraph.io.parquet import source as parquet
from hepgraph.io.parquet.source import ParquetSource, open_parquet
from hepgraph.io.source import File, Need

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

LEAVES = {
    "int32": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float": (pa.float32(), st.floats(allow_nan=False, width=32)),
    "half": (pa.float16(), st.floats(allow_nan=False, width=16).map(np.float16)),
    "bool": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.text(st.characters(codec="utf-8"), max_size=3)),
    "long text": (pa.large_string(), st.text(st.characters(codec="utf-8"), max_size=3)),
    "category": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b", "c"])),
}
KINDS = st.recursive(
    st.sampled_from(list(LEAVES)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["list", "large", "fixed"]), inner, st.booleans()),
        st.tuples(st.just("record"), st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2)),
    ),
    max_leaves=4,
)


def arrow_of(kind):
    match kind:
        case str():
            return LEAVES[kind][0]
        case ("record", fields):
            return pa.struct([pa.field(name, arrow_of(inner)) for name, inner in fields.items()])
        case (size, inner, nullable):
            item = pa.field("item", arrow_of(inner), nullable)
            return {"list": pa.list_, "large": pa.large_list, "fixed": lambda it: pa.list_(it, 2)}[size](item)


def fixed_may_be_none():
    """Whether pyarrow reads what it wrote itself where a list of fixed length is None; older ones do not."""
    file = io.BytesIO()
    pq.write_table(pa.table({"x": pa.array([None], pa.list_(pa.int32(), 2))}), file)
    try:
        pq.read_table(file)
    except pa.ArrowInvalid:
        return False
    return True


FIXED_MAY_BE_NONE = fixed_may_be_none()


def values_of(kind, nullable=True):
    match kind:
        case str():
            values = LEAVES[kind][1]
        case ("record", fields):
            values = st.fixed_dictionaries({name: values_of(inner) for name, inner in fields.items()})
        case (size, inner, items):
            bounds = {"min_size": 2, "max_size": 2} if size == "fixed" else {"max_size": 3}
            values = st.lists(values_of(inner, items), **bounds)
    nullable &= FIXED_MAY_BE_NONE or "fixed" not in repr(kind)
    return st.none() | values if nullable else values


def leaf(value, path):
    match value:
        case None:
            return None
        case list():
            return [leaf(item, path) for item in value]
        case dict():
            return leaf(value[path[0]], path[1:])
    return value


def read_all(source, names=None):
    names = [name for name, column in source.columns.items() if not column.problem] if names is None else names
    found = {name: [] for name in names}
    for part in source.partitions():
        for name, data in source.read(part, dict.fromkeys(names, Need.DATA)).items():
            found[name] += to_awkward(source.columns[name], data).to_list()
    return found


@settings(max_examples=examples(150), deadline=None)
@given(st.data(), KINDS, st.booleans(), st.integers(1, 4), st.integers(1, 4))
def test_round_trip(tmp_path_factory, draw, kind, nullable, group, step):
    values = draw.draw(st.lists(values_of(kind, nullable), min_size=1, max_size=7))
    skip = draw.draw(st.integers(0, len(values)))
    path = str(tmp_path_factory.mktemp("p") / "x.parquet")
    table = pa.table(
        {"x": pa.array(values, arrow_of(kind)), "n": pa.array(range(len(values)))},
        pa.schema([pa.field("x", arrow_of(kind), nullable), pa.field("n", pa.int64(), False)]),
    )
    pq.write_table(table.slice(skip), path, row_group_size=group)
    source = open_parquet(path, step_size=step)
    for name, found in read_all(source).items():
        rows = [{"x": value, "n": i} for i, value in enumerate(values)][skip:]
        assert found == [leaf(row, name.split(".")) for row in rows]


@pytest.fixture
def nested(tmp_path):
    path = tmp_path / "nested.parquet"
    muon = pa.list_(pa.field("item", pa.struct([pa.field("pt", pa.float32(), False), pa.field("q", pa.int8())]), False))
    rows = [[{"pt": 1.0, "q": None}], [], [{"pt": 2.0, "q": 1}, {"pt": 3.0, "q": -1}]]
    schema = pa.schema([pa.field("Muon", muon, False), pa.field("run", pa.uint32()), pa.field("none", pa.float64())])
    table = pa.table({"Muon": rows, "run": [1, 2, 3], "none": [1.0, None, math.nan]}, schema)
    pq.write_table(table, path, row_group_size=2)
    return str(path)


def test_types_follow_the_schema_and_the_statistics(nested):
    source = open_parquet(nested)
    assert {name: column.type for name, column in source.columns.items()} == {
        "Muon.pt": "var * float32",
        "Muon.q": "var * ?int8",
        "run": "uint32",  # nullable by the schema, but no row group has a null
        "none": "?float64",
    }
    assert source.files[0].edges == (0, 2, 3)
    assert all(column.bytes > 0 and column.memory > 0 for column in source.columns.values())


def test_only_the_leaves_and_row_groups_in_need_are_read(nested, monkeypatch):
    asked = []
    read = pq.ParquetFile.read_row_groups

    def spy(self, groups, columns, **options):
        asked.append((groups, columns))
        return read(self, groups, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    source = open_parquet(nested, step_size=1)
    parts = source.partitions()
    data = source.read(parts[2], {"Muon.pt": Need.DATA, "run": Need.COUNTS})
    assert asked == [([1], ["Muon.list.element.pt"])]
    assert data["Muon.pt"].values.tolist() == [2, 3]
    assert data["Muon.pt"].offsets[0].tolist() == [0, 2]
    counts = source.read(parts[0], {"Muon.q": Need.COUNTS})["Muon.q"]
    assert counts.values is None
    assert counts.offsets[0].tolist() == [0, 1]


def test_nanoaod_counts_by_name(tmp_path):
    schema = [("nJet", pa.int32()), ("Jet_pt", pa.list_(pa.float32())), ("nSub_Jet", pa.float32())]
    schema += [("Sub_Jet_pt", pa.list_(pa.float32())), ("Jet_n", pa.int32())]
    pq.write_table(pa.schema(schema).empty_table(), tmp_path / "x.parquet")
    source = open_parquet(tmp_path / "x.parquet")
    assert source.columns["Jet_pt"].counts == "nJet"
    assert source.columns["Sub_Jet_pt"].counts is None  # its number is not an integer
    assert source.columns["Jet_n"].counts is None


def test_what_cannot_be_read_is_a_problem_of_its_leaf_alone(tmp_path):
    when = datetime.datetime(2020, 1, 1)
    table = pa.table(
        {
            "when": [when],
            "cost": [decimal.Decimal("1.2")],
            "raw": [b"a"],
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
            "r": [{"cost": decimal.Decimal("1.2"), "x": 1}],
            "no": pa.nulls(1),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    source = open_parquet(tmp_path / "x.parquet")
    problems = {name for name, column in source.columns.items() if column.problem}
    assert problems == {"when", "cost", "raw", "map.key", "map.value", "r.cost"}
    assert read_all(source) == {"r.x": [1], "no": [None]}


def test_files_written_by_awkward(tmp_path):
    array = ak.Array([{"x": [{"y": 1, "z": [None, "a"]}]}, {"x": None}, {"x": []}])
    for extension in (True, False):
        path = tmp_path / f"{extension}.parquet"
        ak.to_parquet(array, path, extensionarray=extension)
        expected = {"x.y": [[1], None, []], "x.z": [[[None, "a"]], None, []]}
        assert read_all(open_parquet(path, step_size=1)) == expected


def test_null_in_one_file_is_no_disagreement(tmp_path):
    pq.write_table(pa.table({"x": [1, 2], "y": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [None, 2], "y": ["1", "2"]}), tmp_path / "b.parquet")
    source = open_parquet(tmp_path)
    assert read_all(source, ["x"]) == {"x": [1, 2, None, 2]}
    with pytest.raises(errors.DisagreementError, match=r"(?s)'y'.*int64.*b\.parquet: string"):
        read_all(source, ["y"])


def test_a_file_without_rows(tmp_path):
    pq.write_table(pa.schema([("x", pa.list_(pa.int32()))]).empty_table(), tmp_path / "x.parquet")
    source = open_parquet(tmp_path / "x.parquet")
    (part,) = source.partitions()
    assert source.read(part, {"x": Need.DATA})["x"].offsets[0].tolist() == [0]


def test_pickles_small_and_reads_again(nested):
    source = open_parquet(nested)
    text = pickle.dumps(source)
    parquet.handles.clear()
    assert len(text) < 2000
    assert read_all(pickle.loads(text), ["run"]) == {"run": [1, 2, 3]}


def test_a_file_is_opened_once_and_a_changed_one_is_refused(nested):
    parquet.handles.clear()
    before = parquet.handles.opened
    source = open_parquet(nested, step_size=1)
    read_all(source)
    assert parquet.handles.opened == before + 1
    pq.write_table(pa.table({"run": [7, 8, 9]}), nested)
    with pytest.raises(errors.SourceError, match="changed after it was opened"):
        read_all(source, ["run"])


def test_remote(nested):
    fsspec.filesystem("memory").pipe("/hg/nested.parquet", Path(nested).read_bytes())
    assert read_all(open_parquet("memory://hg/nested.parquet"), ["run"]) == {"run": [1, 2, 3]}


def test_damaged_files(nested, tmp_path):
    content = Path(nested).read_bytes()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(errors.DamagedFileError, match=r"cut.parquet") as caught:
        open_parquet(cut)
    assert isinstance(caught.value.__cause__, pa.ArrowInvalid)
    (tmp_path / "r.root").write_bytes(b"root....")
    with pytest.raises(errors.DamagedFileError, match="is a ROOT file, not a Parquet file"):
        open_parquet(tmp_path / "r.root")
    with pytest.raises(errors.SourceError, match="has no trees"):
        open_parquet(f"{nested}:Events")
    broken = bytearray(content)
    broken[4:60] = b"\xff" * 56
    (tmp_path / "broken.parquet").write_bytes(broken)
    source = open_parquet(tmp_path / "broken.parquet")
    with pytest.raises(errors.DamagedFileError, match=r"Muon\.pt, entries 0 to 3, of .*broken\.parquet"):
        read_all(source, ["Muon.pt"])


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("where", ["here", "far away"])
def test_pages_with_checksums_are_checked(tmp_path, version, where):
    path, values = tmp_path / "x.parquet", np.arange(1000)
    options = {"use_dictionary": False, "compression": "none", "data_page_version": version}
    pq.write_table(pa.table({"x": values}), path, write_page_checksum=True, **options)
    content = path.read_bytes()
    begin = content.index(values.tobytes())
    for at in (0, 1, 4001, 7999):
        changed = bytearray(content)
        changed[begin + at] ^= 1
        path.write_bytes(changed)
        url = str(path)
        if where == "far away":
            url = f"memory://hg/checked-{version}-{at}/x.parquet"
            fsspec.filesystem("memory").pipe(url.removeprefix("memory:/"), bytes(changed))
        with pytest.raises(errors.SourceError, match=r"Cannot read x, entries 0 to 1000, of .*x\.parquet.* CRC "):
            read_all(open_parquet(url), ["x"])


def test_text_that_is_not_utf_8_is_an_error_of_reading(tmp_path):
    path = str(tmp_path / "x.parquet")
    raw = pa.array([b"good", b"b\xe9", b""])
    pq.write_table(pa.table({"t": pa.Array.from_buffers(pa.string(), 3, raw.buffers()), "n": [1, 2, 3]}), path)
    events = hg.from_parquet(path)
    wanted = r"Cannot read 't' of .*x\.parquet\[0:3\]: text number 1, b'b\\xe9', is not UTF-8"
    with pytest.raises(errors.DamagedFileError, match=wanted):
        events.t.compute(progress=False)
    assert events.n.compute(progress=False).to_list() == [1, 2, 3]
    one_by_one = hg.from_parquet(path, step_size=1)
    with pytest.warns(errors.IncompleteWarning, match="1 of 3 events .*is not UTF-8"):
        assert hg.compute(one_by_one.t, progress=False, on_error="skip").to_list() == ["good", ""]
    with pytest.raises(errors.UnsupportedError, match=r"In the result of a function, text number 0, b'\\xe9', is not"):
        hg.map_partitions(_latin, events.n).compute(progress=False)


def _latin(numbers):
    layout = ak.from_iter(["e"] * len(numbers), highlevel=False)
    layout.content.data[:] = 0xE9
    return ak.Array(layout)


@pytest.mark.parametrize("name", ["nano_dy.parquet", "Run2012B_SingleMu-1000.parquet"])
def test_real_files_read_as_awkward_reads_them(name):
    if not DATA.exists():
        pytest.skip("the shared data are not here")
    source = open_parquet(DATA / name, step_size=300)
    expected = ak.from_parquet(DATA / name)
    assert not [column for column in source.columns.values() if column.problem]
    assert source.columns["Muon_pt"].counts == "nMuon"
    for part in source.partitions():
        found = source.read(part, dict.fromkeys(source.columns, Need.DATA))
        for column in source.columns.values():
            mine, theirs = to_awkward(column, found[column.name]), expected[column.name][part.start : part.stop]
            assert mine.type == theirs.type
            assert not column.levels or ak.all(ak.num(mine) == ak.num(theirs))
            np.testing.assert_array_equal(ak.ravel(mine), ak.ravel(theirs))


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 40))
def test_ranges_follow_row_groups(sizes, step):
    edges = tuple(np.cumsum([0, *sizes]).tolist())
    source = ParquetSource([], [File("x", "", edges[-1], edges=edges)], step)
    cuts = source.split_points(source.files[0], step)
    assert cuts[0] == 0
    assert cuts[-1] == edges[-1]
    assert cuts == sorted(cuts)
    for start, stop in pairwise(cuts):
        assert stop - start <= 1.5 * step
        inside = [group for group in pairwise(edges) if group[0] < stop and start < group[1]]
        whole = start in edges and stop in edges
        assert whole or len(inside) == 1  # a range of parts of row groups is in one
    for start, stop in pairwise(edges):
        assert stop - start >= 1.5 * step or not any(start < cut < stop for cut in cuts)


def test_a_row_group_that_is_read_in_several_ranges_is_decoded_once(tmp_path):
    pq.write_table(pa.table({"x": range(1000), "y": range(1000)}), tmp_path / "x.parquet", row_group_size=500)
    source = open_parquet(tmp_path / "x.parquet", step_size=50)
    parquet.kept.clear()
    before = parquet.kept.decoded
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda part: source.read(part, {"x": Need.DATA})["x"].values, source.partitions()))
    assert len(parts) == 20
    assert np.concatenate(parts).tolist() == list(range(1000))
    assert parquet.kept.decoded == before + 2
    assert len(parquet.kept) == 0  # nothing is held on to once all was read
    source.read(source.partitions()[0], {"x": Need.DATA})
    source.read(source.partitions()[0], {"y": Need.DATA})
    assert len(parquet.kept) == 2
    whole = source.repartition(step_size=500)
    assert read_all(whole, ["y"])["y"] == list(range(1000))
    assert parquet.kept.decoded == before + 4


def test_no_more_than_so_much_is_kept():
    table = pa.table({"x": range(100)})
    kept = parquet.DecodedCache(most=2 * table.nbytes)
    for key in range(5):
        assert kept.get(key, (10, 100), lambda: table) is table
    assert len(kept) == 2
    kept.get(4, (10, 100), lambda: pytest.fail("it is there"))
    large = parquet.DecodedCache(most=1)
    large.get(0, (10, 100), lambda: table)
    large.get(0, (90, 100), lambda: pytest.fail("the last one stays"))
    assert len(large) == 0

    def fails():
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        kept.get("bad", (10, 100), fails)
    assert kept.get("bad", (10, 100), lambda: table) is table


def test_another_file_with_the_same_footer(tmp_path):
    path, numbers = tmp_path / "x.parquet", np.arange(1000)
    turned = np.concatenate([numbers[:1], numbers[-2:0:-1], numbers[-1:]])

    def put(values, when):
        pq.write_table(pa.table({"x": values}), tmp_path / "new", compression="none", use_dictionary=False)
        os.utime(tmp_path / "new", (when, when))
        os.replace(tmp_path / "new", path)

    def found(events, **options):
        return hg.compute(events.x, executor="serial", progress=False, **options).to_list()

    put(numbers, 10)
    events = hg.from_parquet(path, step_size=100)
    assert found(events, checkpoint=tmp_path / "done") == numbers.tolist()
    put(turned, 20)
    with pytest.raises(errors.ChangedFileError, match=r"x\.parquet changed after it was opened"):
        found(events)
    again = hg.from_parquet(path, step_size=100)
    assert again._origin.source.files[0].uuid == events._origin.source.files[0].uuid
    assert found(again) == turned.tolist()
    assert found(again, checkpoint=tmp_path / "done") == turned.tolist()


def test_the_footer_of_a_file_is_parsed_once_for_all_handles(tmp_path, monkeypatch):
    pq.write_table(pa.table({"x": range(100)}), tmp_path / "x.parquet", row_group_size=10)
    source = open_parquet(tmp_path / "x.parquet", step_size=10)
    footers = []
    open_ = parquet._open

    def spy(*args):
        opened = open_(*args)
        footers.append(opened.footer)
        return opened

    monkeypatch.setattr(parquet, "_open", spy)
    parquet.handles.clear()
    barrier = threading.Barrier(3)

    def work(part):
        with parquet._borrowed(part.path, None):
            barrier.wait(timeout=60)
            return source.read(part, {"x": Need.DATA})["x"].values.tolist()

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(work, source.partitions()[:3]))
    assert list(chain(*found)) == list(range(30))
    assert len(footers) >= 3
    assert len({id(footer) for footer in footers}) == 1


def test_columns_of_a_collection_share_their_offsets(tmp_path):
    lists = pa.list_(pa.field("item", pa.float32(), False))
    rows = {"J_a": [[1.0], [2.0, 3.0]], "J_b": [[4.0], [5.0, 6.0]], "K_a": [[7.0, 8.0], [9.0]]}
    schema = pa.schema([pa.field(name, lists, False) for name in rows])
    pq.write_table(pa.table(rows, schema), tmp_path / "x.parquet")
    source = open_parquet(tmp_path / "x.parquet")
    data = source.read(source.partitions()[0], dict.fromkeys(rows, Need.DATA))
    assert data["J_a"].offsets[0] is data["J_b"].offsets[0]
    assert data["K_a"].offsets[0].tolist() == [0, 2, 3]


def test_lists_of_records_that_awkward_saves(tmp_path):
    muons = ak.Array([[{"pt": 1.0, "hits": [1, 2]}], [], [{"pt": 2.0, "hits": []}, {"pt": 3.0, "hits": [3]}]])
    ak.to_parquet(muons, tmp_path / "m.parquet")
    mine = hg.from_parquet(tmp_path / "m.parquet", step_size=2)
    assert mine.fields == ["pt", "hits"]
    assert mine.compute(progress=False).to_list() == muons.to_list()
    assert mine[mine.pt > 1.5].hits.compute(progress=False).to_list() == muons[muons.pt > 1.5].hits.to_list()
    assert hg.necessary_columns(ak.num(mine)).keys() <= {"pt", "hits"}


@pytest.mark.parametrize("names", [["a", "a.b"], ["a.b", "a"], [".a", "b"], [".", "b"], ["a.b.c", "a.b", "a"]])
def test_names_that_begin_with_a_dot_or_with_another_name(tmp_path, names):
    columns = {name: [number, number + 1] for number, name in enumerate(names)}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    events = hg.from_parquet(tmp_path / "x.parquet")
    found = events.compute(progress=False)
    for name, values in columns.items():
        if name in events.fields:
            assert found[name].to_list() == events[name].compute(progress=False).to_list() == values
        else:
            assert name == "a.b"
            assert set(names) == {"a.b.c", "a.b", "a"}


def test_statistics_of_half_floats_are_left_alone(tmp_path):
    values = np.array([np.frombuffer(b"01", "<f2")[0], 0.3, np.frombuffer(b"89", "<f2")[0]], np.float16)
    pq.write_table(pa.table({"x": values, "y": [1, 2, 3]}), tmp_path / "x.parquet", row_group_size=2)
    events = hg.from_parquet(tmp_path / "x.parquet")
    assert events[events.x < 0.9].y.compute(progress=False).to_list() == [1, 2, 3]
    assert events[events.x < 0.2].y.compute(progress=False).to_list() == [1]

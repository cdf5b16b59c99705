"""Baskets and pages of entries that nobody looks at are not read, and everything else is as if all were read."""

from itertools import pairwise
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pytest
import uproot
from baskets import extended
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ntuple_writer import BY_NAME, COLLECTION, ColumnOf, FieldOf, Written, write

from hepgraph.io.root import open_root
from hepgraph.io.source import Access, Need, Partition
from hepgraph.io.trees import handles

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
EXAMPLES = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _closed():
    yield
    handles.clear()


def pieces(draw, values):
    """The values in pieces, none of them empty."""
    edges = sorted({0, len(values), *draw(st.lists(st.integers(0, len(values)), max_size=4))})
    return [values[a:b] for a, b in pairwise(edges)]


class Kept:
    """An RNTuple with pages of drawn sizes, and the entries that each page of numbers has something of."""

    def __init__(self, draw, path):
        rng = np.random.default_rng(draw(st.integers(0, 1000)))
        self.clusters = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
        fields = [FieldOf("x"), FieldOf("good", "bool"), FieldOf("p", size=2), FieldOf("_0", parent=2)]
        fields += [FieldOf("n", "std::int32_t"), FieldOf("v", "std::vector<float>", role=COLLECTION)]
        fields += [FieldOf("_0", parent=5), FieldOf("w", "std::vector<std::vector<float>>", role=COLLECTION)]
        fields += [FieldOf("_0", "std::vector<float>", 7, COLLECTION), FieldOf("_0", parent=8)]
        fields += [FieldOf("o", "std::optional<float>", role=COLLECTION), FieldOf("_0", parent=10)]
        kinds = {0: "SplitReal32", 1: "Bit", 3: "Real32", 4: "SplitInt32", 6: "SplitReal32", 9: "Real32", 11: "Real32"}
        kinds |= {5: "SplitIndex64", 7: "SplitIndex32", 8: "Index64", 10: "SplitIndex64"}
        columns = {field: ColumnOf(BY_NAME[kind], field, []) for field, kind in sorted(kinds.items())}
        self.pages = []  # name of the column, the entries of a page, bytes
        of_page = []
        start = 0
        for size in self.clusters:
            entry = np.arange(start, start + size)
            outer = rng.integers(0, 4, size)
            inner = rng.integers(0, 3, outer.sum())
            there = rng.integers(0, 2, size)
            owners = {0: entry, 1: entry, 3: np.repeat(entry, 2), 4: entry, 6: np.repeat(entry, outer)}
            owners |= {9: np.repeat(np.repeat(entry, outer), inner), 11: np.repeat(entry, there)}
            ends = {5: outer, 7: outer, 8: inner, 10: there}
            for field, column in columns.items():
                if field in ends:
                    column.clusters.append(pieces(draw, np.cumsum(ends[field])))
                    continue
                values = rng.integers(0, 2, len(owners[field])) if field == 1 else rng.random(len(owners[field])) * 99
                parts = pieces(draw, np.arange(len(values)))
                column.clusters.append([values.astype("f4" if field != 4 else "i4")[part] for part in parts])
                of_page += [(field, owners[field][part]) for part in parts]
            start += size
        self.entries = start
        what = Written(fields, list(columns.values()), self.clusters, None, draw(st.booleans()))
        self.path = write(path, what)
        names = {0: "x", 1: "good", 3: "p", 4: "n", 6: "v", 9: "w", 11: "o"}
        sizes = {}  # of the pages of each column, in order
        for _, index, _, size in what.places:
            sizes.setdefault(list(columns)[index], []).append(size + 8 * what.checksums)
        for field, owners in of_page:
            self.pages.append((names[field], set(owners.tolist()), sizes[field].pop(0)))

    def passed_over(self, name, start, stop, alive):
        """The bytes of the pages that have something of the range, but of no entry that is alive."""
        looked = {start + int(at) for at in np.flatnonzero(alive)}
        return sum(
            size for of, inside, size in self.pages
            if of == name and inside & set(range(start, stop)) and not spanned(inside, start, stop) & looked
        )  # fmt: skip


def spanned(inside, start, stop):
    """The entries of a range from the first to the last that a page has something of."""
    within = [entry for entry in inside if start <= entry < stop]
    return set(range(min(within), max(within) + 1))


def same_where_alive(late, plain, alive):
    """All but values is equal; values are where they are looked at, and elsewhere they are the same or zero."""
    assert late.values.dtype == plain.values.dtype
    for mine, theirs in zip(
        (*late.offsets, late.valid, *late.level_valid), (*plain.offsets, plain.valid, *plain.level_valid), strict=True
    ):
        assert (mine is None) == (theirs is None)
        assert mine is None or (mine.dtype == theirs.dtype and np.array_equal(mine, theirs))
    looked = alive
    for offsets in plain.offsets:
        looked = np.repeat(looked, np.diff(offsets))
    assert late.values[looked].tobytes() == plain.values[looked].tobytes()
    rest, there = late.values[~looked], plain.values[~looked]
    assert ((rest == there) | (rest == 0) | ((rest != rest) & (there != there))).all()


def reading(source, data):
    """A drawn range of a source, and which of its entries are alive."""
    start = data.draw(st.integers(0, source.entries - 1))
    stop = data.draw(st.integers(start + 1, source.entries))
    alive = np.array(data.draw(st.lists(st.booleans(), min_size=stop - start, max_size=stop - start)))
    if data.draw(st.booleans()):  # most are not
        alive &= np.arange(start, stop) % 7 == 0
    return Partition(source.files[0].path, "Events", start, stop), alive


@given(data=st.data(), remote=st.booleans())
@EXAMPLES
def test_pages_that_nobody_looks_at(data, remote, tmp_path):
    kept = Kept(data.draw, tmp_path / "n.root")
    path = kept.path
    if remote:
        path = "memory://late.root"
        with open(kept.path, "rb") as file, fsspec.open(path, "wb") as copy:
            copy.write(file.read())
    source = open_root(path)
    part, alive = reading(source, data)
    needs = dict.fromkeys(source.columns, Need.DATA)
    late, plain = source.read(part, needs, Access(entry_mask=alive)), source.read(part, needs)
    for name in needs:
        same_where_alive(late[name], plain[name], alive)
        assert plain[name].skipped == 0
        skips = kept.passed_over(name, part.start, part.stop, alive) if name != "n" else 0
        assert late[name].skipped == skips, name
    first = data.draw(st.sampled_from(list(needs)))
    known = source.read(part, {first: data.draw(st.sampled_from(Need))})
    again = source.read(part, needs, Access(entry_mask=alive, already_read=known))
    for name in needs:
        same_where_alive(again[name], plain[name], alive)
        assert again[name].skipped == late[name].skipped
    lengths = source.read(part, dict.fromkeys(source.columns, Need.COUNTS), Access(entry_mask=alive))
    for name in needs:
        assert all(map(np.array_equal, lengths[name].offsets, plain[name].offsets))
    handles.clear()


@given(data=st.data())
@EXAMPLES
def test_baskets_that_nobody_looks_at(data, tmp_path):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    sizes = data.draw(st.lists(st.integers(1, 15), min_size=1, max_size=5))
    edges = np.cumsum([0, *sizes]).tolist()

    def branches(size):
        counts = rng.integers(0, 4, size)
        lists = ak.unflatten(rng.random(counts.sum()), counts)
        return {
            "n": rng.integers(1, 9, size),
            "x": rng.random(size),
            "p": rng.random((size, 2)),
            "Jet": ak.zip({"pt": lists, "eta": lists * 2}),
        }

    source = open_root(extended(tmp_path / "t.root", map(branches, sizes)))
    part, alive = reading(source, data)
    needs = dict.fromkeys(source.columns, Need.DATA)
    late, plain = source.read(part, needs, Access(entry_mask=alive)), source.read(part, needs)
    first = data.draw(st.sampled_from(["Jet_pt", "nJet", "x"]))
    known = {first: plain[first]}
    again = source.read(
        part, {name: Need.DATA for name in needs if name != first}, Access(entry_mask=alive, already_read=known)
    )
    with uproot.open(tmp_path / "t.root") as file:
        bytes_of = {name: file["Events"][name].member("fBasketBytes") for name in needs}
    for name in needs:
        same_where_alive(late[name], plain[name], alive)
        numbers = [
            number for number, (low, high) in enumerate(pairwise(edges))
            if low < part.stop and high > part.start
            and not alive[max(low - part.start, 0) : max(high - part.start, 0)].any()
        ]  # fmt: skip
        skips = 0 if name in ("n", "nJet") else sum(int(bytes_of[name][number]) for number in numbers)
        assert late[name].skipped == skips, name
        if name != first:
            same_where_alive(again[name], plain[name], alive)
            assert again[name].skipped == skips
    handles.clear()


def test_a_reader_that_knows_the_offsets_reads_no_counter(tmp_path):
    path = extended(tmp_path / "t.root", [{"Jet": ak.zip({"pt": [[1.0], [2.0, 3.0]], "eta": [[1.0], [2.0, 3.0]]})}])
    source = open_root(path)
    part = Partition(source.files[0].path, "Events", 0, 2)
    first = source.read(part, {"Jet_pt": Need.DATA})
    shared = source.read(part, {"Jet_eta": Need.DATA}, Access(entry_mask=np.array([True, False]), already_read=first))
    assert shared["Jet_eta"].offsets[0] is first["Jet_pt"].offsets[0]


def test_pages_of_offsets_are_read_once(tmp_path):
    with uproot.recreate(tmp_path / "n.root") as file:
        file.mkrntuple("Events", ak.Array({"Jet": ak.zip({"pt": [[1.0], [2.0, 3.0]], "eta": [[1.0], [2.0, 3.0]]})}))
    source = open_root(str(tmp_path / "n.root"))
    part = Partition(source.files[0].path, "Events", 0, 2)
    first = source.read(part, {"Jet.pt": Need.COUNTS})
    shared = source.read(part, dict.fromkeys(source.columns, Need.DATA), Access(already_read=first))
    assert all(data.offsets[0] is first["Jet.pt"].offsets[0] for data in shared.values())


def test_offsets_that_do_not_fit_are_not_taken(tmp_path):
    """What a reader is told is checked against the tables of the baskets."""
    path = extended(tmp_path / "t.root", [{"Jet": ak.zip({"pt": [[1.0], [2.0, 3.0]], "eta": [[1.0], [2.0, 3.0]]})}])
    source = open_root(path)
    part = Partition(source.files[0].path, "Events", 0, 2)
    first = source.read(part, {"Jet_pt": Need.DATA})
    first["Jet_pt"].offsets[0][:] = [0, 2, 3]
    found = source.read(part, {"Jet_eta": Need.DATA}, Access(already_read=first))
    assert found["Jet_eta"].offsets[0].tolist() == [0, 1, 3]
    assert found["Jet_eta"].values.tolist() == [1, 2, 3]


def test_which_columns_may_be_left_out(tmp_path):
    path = extended(tmp_path / "t.root", [{"n": np.arange(2), "x": np.ones(2), "Jet": ak.zip({"pt": [[1.0], []]})}])
    tree = open_root(path)
    assert [name for name, column in tree.columns.items() if tree.may_skip(column)] == ["x", "Jet_pt"]
    with uproot.recreate(tmp_path / "n.root") as file:
        fields = {"n": np.arange(2), "x": np.ones(2), "Jet": ak.zip({"pt": [[1.0], []]}), "s": ["a", "b"]}
        file.mkrntuple("Events", ak.Array(fields))
    ntuple = open_root(str(tmp_path / "n.root"))
    assert [name for name, column in ntuple.columns.items() if ntuple.may_skip(column)] == ["x", "Jet.pt"]


@pytest.mark.parametrize("name", ["nano_dy.root", "nano_dy_rntuple.root", "treemaker.root", "HZZ-lzma.root"])
def test_real_files(name):
    if not (DATA / name).exists():
        pytest.skip("the shared data are not here")
    source = open_root(str(DATA / name))
    columns = [column for column in source.columns.values() if not (column.problem or column.text)]
    needs = dict.fromkeys([column.name for column in columns], Need.DATA)
    alive = np.zeros(source.entries, np.bool_)
    part = Partition(source.files[0].path, source.files[0].tree, 0, source.entries)
    plain, late = source.read(part, needs), source.read(part, needs, Access(entry_mask=alive))
    alive[source.entries // 2] = True
    again = source.read(part, needs, Access(entry_mask=alive))
    assert sum(data.skipped for data in late.values()) > 0
    for each in needs:
        same_where_alive(late[each], plain[each], np.zeros_like(alive))
        same_where_alive(again[each], plain[each], alive)

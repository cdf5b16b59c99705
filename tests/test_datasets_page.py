"""Events and other lazy arrays in a notebook: one small page, from metadata alone."""

import base64
import html
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hepgraph as hg
from hepgraph.datasets.page import LIMIT
from hepgraph.io.source import Column, File, Level, Source

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
PATHS = ["Mu", "Ele", "PFJet", "DoubleEle", "HT", "AK8", "Tau"]


class Told(Source):
    """A dataset of which nothing is known but its metadata."""

    def read(self, partition, needs):
        raise AssertionError("a page reads no data")

    @property
    def name(self):
        return "wide.root"


def events_of(columns):
    return hg.from_source(Told(columns, [File("wide.root", "Events", 1000)]), "nanoaod")


def wide():
    """The 2,656 branches of a NanoAOD: objects, triggers, and what is in no collection."""
    columns = [Column("run", np.dtype("uint32"), title="run/i", bytes=600)]
    for name, many in (("Muon", 80), ("Electron", 90), ("Jet", 130), ("FatJet", 110), ("Tau", 70), ("GenPart", 9)):
        columns.append(Column(f"n{name}", np.dtype("int32"), title=f"n{name}/I", bytes=1500))
        for i in range(many):
            field = ("pt", "eta", "phi", "mass", "charge")[i] if i < 5 else f"{'abcdefgh'[i % 8]}Score{i}VsAll"
            title = f"Score number {i} of the {name} by the tagger of {2016 + i % 9}, for selections with |eta| < 2.{i}"
            columns.append(Column(f"{name}_{field}", np.dtype("float32"), (Level(),), title=title, bytes=8000 + 77 * i))
    for i in range(2656 - len(columns)):
        words = [f"{PATHS[i * k % 7]}{i * k % 97}" for k in (1, 5, 11)]
        name = f"{'HLT' if i % 3 else 'L1'}_{'_'.join(words)}_v{i}"
        columns.append(Column(name, np.dtype("bool"), title="Trigger/flag bit (process: HLT)", bytes=200 + i % 50))
    return events_of(columns)


def whole(page):
    """A page as a browser shows it: with what was packed unpacked."""
    packed = re.search(r"s='([^']*)',o=\[\]", page)
    size = re.search(r"slice\(0,(\d+)\)", page)
    return page if packed is None else zlib.decompress(base64.b85decode(packed[1])[: int(size[1])]).decode()


def rows(page):
    """Each field as a list of name, type, size and title, by collection."""
    found = {}
    for name, table in re.findall(r"<summary>([^<]*)<i>.*?<table>(.*?)</table>", whole(page)):
        found[name] = [html.unescape(row).split("<td>") for row in table.split("<tr><td>")[1:]]
    return found


def test_a_wide_nanoaod_is_a_small_page():
    events = wide()
    assert len(events.source.columns) == 2656
    page = events._repr_html_()
    assert len(page.encode()) < 30_000
    assert "1,000 entries in 1 file; 2,656 fields in 9 collections" in page
    assert "wide.root: 1 partition" in page
    assert "<details><summary>HLT</summary>" in page, "names of collections are there without JavaScript"
    assert "type=search" in page
    told = rows(page)
    assert list(told) == ["Muon", "Electron", "Jet", "FatJet", "Tau", "GenPart", "L1", "HLT", "columns"]
    assert {f"{c}_{row[0]}" if c != "columns" else row[0] for c in told for row in told[c]} == {*events.source.columns}
    assert told["Muon"][0][:3] == ["pt", "float32", "8 kB"]
    assert told["Muon"][0][3].startswith("Score number")
    assert told["columns"][0] == ["run", "uint32", "0.6 kB", ""], "a title that is the name and type says nothing"


def test_a_file_of_some_columns_needs_no_javascript_to_be_read():
    page = hg.open(ROOT / "data" / "sample.root")._repr_html_()
    assert "<script>" not in page
    assert next(row for row in rows(page)["Muon"] if row[0] == "charge")[:2] == ["charge", "int32"]


def test_a_collection_and_what_was_added():
    events = events_of(
        [
            Column("nMuon", np.dtype("int32")),
            Column("Muon_pt", np.dtype("float32"), (Level(),), title="<b>pt & more</b>"),
            Column("Muon_eta", np.dtype("float32"), (Level(),)),
        ]
    )
    muons = events.Muon
    assert rows(muons._repr_html_()) == {
        "Muon": [["pt", "float32", "", "<b>pt & more</b>"], ["eta", "float32", "", ""]]
    }
    page = muons._repr_html_()
    assert "<details open>" in page
    assert "<b>pt & more" not in page
    muons["hard"] = muons.pt > 20
    assert rows(muons[["pt", "hard"]]._repr_html_())["Muon"][0][:2] == ["hard", "bool"]

    events["ht"] = muons.pt * 2
    assert rows(events._repr_html_())["added"] == [["ht", "var * float32", "", ""]]


def test_other_arrays_say_their_type_shortly():
    array = hg.from_awkward([{f"field{i}": float(i) for i in range(500)}])
    page = hg.open(ROOT / "data" / "sample.root").Muon.pt._repr_html_()
    assert page.endswith("partition<pre>## * var * float32</pre>")
    assert len(array._repr_html_().encode()) < LIMIT


@given(st.lists(st.tuples(st.integers(0, 2**30), st.integers(0, 200)), max_size=40), st.integers(1, 60), st.data())
def test_any_page_is_small(parts, times, data):
    """However many columns, collections and titles, of whatever letters."""
    title = data.draw(st.text(max_size=50))
    names = [f"C{n}_{i}x{n * i % 7919}" for n, many in parts for i in range(many)][: 100 * times]
    columns = [Column(name, np.dtype("bool"), title=title, bytes=5) for name in dict.fromkeys(names)]
    page = events_of(columns)._repr_html_()
    assert len(page.encode()) < LIMIT


def test_a_column_that_cannot_be_read_does_not_hide_the_others():
    events = events_of([Column("a", np.dtype("int32")), Column("b", np.dtype("uint8"), problem="uproot cannot")])
    assert rows(events._repr_html_())["columns"][1][1] == "unreadable"
    assert repr(events) == "<hepgraph.Lazy ## * {2 fields}>"


@pytest.mark.parametrize("name", ["nano_tt_v12.root", "pfnano.root", "PHYSLITE_example.root", "edm4hep.root"])
def test_pages_of_real_files(name):
    if not (DATA / name).exists():
        pytest.skip("needs ../shared/data")
    page = hg.open(DATA / name)._repr_html_()
    assert len(page.encode()) < 30_000
    assert sum(map(len, rows(page).values())) > 200

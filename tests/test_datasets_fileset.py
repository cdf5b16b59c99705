"""Filesets: every shape that users write, and coffea's preprocessed one."""

import gzip
import json
from pathlib import Path

import pytest
import yaml

from hepgraph.datasets.fileset import Dataset, datasets
from hepgraph.errors import FilesetError, MissingFileError


def test_a_dict_of_lists():
    (a,) = datasets({"zmumu": ["a.root", "b.root:Events"]})
    assert a == Dataset("zmumu", ["a.root", "b.root:Events"], None, {"dataset": "zmumu"})


def test_one_path_alone():
    assert datasets({"a": "x.root"})[0].files == ["x.root"]
    assert datasets({"a": Path("x.root")})[0].files == [Path("x.root")]
    assert datasets({"a": {"files": "x.root"}})[0].files == ["x.root"]


def test_files_with_trees():
    assert datasets({"a": {"x.root": "Events", "y.root": None}})[0].files == {"x.root": "Events", "y.root": None}
    assert datasets({"a": {"files": {"x.root": "Events"}}})[0].files == {"x.root": "Events"}


def test_metadata():
    (a,) = datasets({"a": {"files": ["x.root"], "metadata": {"xsec": 6225.42, "is_mc": True}}})
    assert a.metadata == {"dataset": "a", "xsec": 6225.42, "is_mc": True}
    assert datasets({"a": {"files": ["x.root"], "metadata": None}})[0].metadata == {"dataset": "a"}
    assert datasets({"a": {"files": ["x.root"], "metadata": {"dataset": "b"}}})[0].metadata == {"dataset": "b"}


def test_the_callers_fileset_is_left_alone():
    given = {"a": {"files": {"x.root": {"object_path": "Events", "steps": None}}, "metadata": {"x": 1}}}
    before = json.dumps(given)
    datasets(given)[0].metadata["more"] = 1
    assert json.dumps(given) == before


def test_trees():
    assert datasets({"a": {"files": ["x.root"], "treename": "T"}, "b": ["y.root"]}, "Events")[0].tree == "T"
    assert datasets({"a": {"files": ["x.root"], "tree": "T"}})[0].tree == "T"
    one, two = datasets({"a": {"files": ["x.root"], "tree": "T"}, "b": ["y.root"]})
    assert (one.tree, two.tree) == ("T", None)
    assert datasets({"a": {"files": ["x.root"]}}, "Events")[0].tree == "Events"


PREPROCESSED = {
    "ZJets": {
        "files": {
            "a.root": {
                "object_path": "Events",
                "steps": [[0, 500], [500, 1000]],
                "num_entries": 1000,
                "uuid": "a9490124-3648-11ea-89e9-f5b55c90beef",
            },
            "b.root": {"object_path": "Events", "steps": None, "num_entries": None, "uuid": None},
        },
        "metadata": {"year": 2018},
        "form": None,
        "format": "root",
    }
}


def test_coffeas_preprocessed_shape():
    (a,) = datasets(PREPROCESSED)
    assert a.files == {"a.root": "Events", "b.root": "Events"}
    assert a.metadata == {"dataset": "ZJets", "year": 2018}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"steps": [[0, 10]]}, "has steps and no num_entries"),
        ({"steps": [[0, 10], [10, 20]], "num_entries": None}, "has steps and no num_entries"),
        ({"steps": [0, 10, 20], "num_entries": 20}, r"must be a list of \[start, stop\].*not \[0, 10, 20\]"),
    ],
)
def test_steps_of_which_nothing_tells_whether_they_are_all(told, says):
    with pytest.raises(FilesetError, match=says):
        datasets({"a": {"files": {"x.root": {"object_path": "Events", **told}}}})


@pytest.mark.parametrize("steps", [[[0, 500]], [[500, 1000]], [[0, 500], [600, 1000]], [[0, 1000], [0, 1000]]])
def test_steps_that_leave_entries_out_are_an_error(steps):
    entry = {"object_path": "Events", "steps": steps, "num_entries": 1000}
    with pytest.raises(FilesetError, match=r"a\.root in dataset 'x' leave some of its entries out"):
        datasets({"x": {"files": {"a.root": entry}}})


@pytest.mark.parametrize("kind", ["json", "yaml", "yml"])
def test_files_that_hold_a_fileset(tmp_path, kind):
    path = tmp_path / f"fileset.{kind}"
    path.write_text(json.dumps(PREPROCESSED) if kind == "json" else yaml.safe_dump(PREPROCESSED))
    assert datasets(path) == datasets(PREPROCESSED)
    assert datasets(str(path)) == datasets(PREPROCESSED)


def test_a_fileset_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="No fileset"):
        datasets(tmp_path / "none.json")


@pytest.mark.parametrize(
    "bad", [{}, [], None, ["a.root"], 3, {"a": []}, {"a": {}}, {1: ["a.root"]}, {"a": {"files": {}}}]
)
def test_what_is_no_fileset(bad):
    with pytest.raises(FilesetError):
        datasets(bad)


def test_the_order_is_kept():
    assert [d.name for d in datasets({"z": ["z.root"], "a": ["a.root"], "m": ["m.root"]})] == ["z", "a", "m"]


def test_filesets_that_are_compressed_and_files_that_are_none(tmp_path):
    (tmp_path / "f.json.gz").write_bytes(gzip.compress(b'{"a": ["x.root"]}'))
    assert list(datasets(tmp_path / "f.json.gz")) == list(datasets({"a": ["x.root"]}))
    (tmp_path / "g.json.gz").write_bytes(b'{"a": ["x.root"]}')
    with pytest.raises(FilesetError, match=r"g\.json\.gz is not readable as text: Not a gzipped file"):
        datasets(tmp_path / "g.json.gz")
    (tmp_path / "x.root").write_bytes(b"root\xf1")
    with pytest.raises(FilesetError, match=r"x\.root is a file of data, not a fileset: give \{'its dataset': \['"):
        datasets(tmp_path / "x.root")

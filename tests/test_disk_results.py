"""Results in checkpoints: kept without pickles, and as pickles only in folders of the user's own."""

import json
import os
import pickle
import zlib

import awkward as ak
import boost_histogram as bh
import hist
import pytest
from keeping import Counts, Touch, folder, process_own, replace, run, written

import hepgraph as hg
from hepgraph.disk import plain
from hepgraph.disk.files import sealed
from hepgraph.errors import CheckpointError
from hepgraph.runner import checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data"))


class Everything(hg.Processor):
    """Every kind of result that a traced processor has."""

    def process(self, events):
        x = events.x
        new = hg.Hist.new
        fills = {}
        for name in plain._STORAGES:
            h = hg.Hist(hist.axis.Regular(4, 0, 20, name="x"), storage=getattr(bh.storage, name)())
            fills[name] = h.fill(x, sample=x) if "Mean" in name else h.fill(x)
        grown = {
            "texts": new.StrCat([], growth=True, name="c").Reg(4, 0, 20, name="x").Double().fill("a", x),
            "edges": new.Var([0, 1, 2], growth=True, name="x").Double().fill(x),
            "ints": new.IntCat([], growth=True, name="x").Double().fill(ak.values_astype(x, int)),
        }
        return {"array": events[x > 5], "mean": ak.mean(x), "max": ak.max(x), **fills, **grown}


@pytest.mark.parametrize("engine", ["auto", "interpreter"])
def test_results_of_hepgraph_are_kept_anywhere_without_pickles(data, engine, monkeypatch):
    where = f"memory://{engine}"
    plainly, _ = run(data, None, Everything(), engine=engine)
    first, _ = run(data, where, Everything(), engine=engine)
    monkeypatch.setattr(checkpoint, "_unpickled", lambda body: pytest.fail("a pickle was loaded"))
    again, report = run(data, where, Everything(), engine=engine)
    assert all(row.stored for row in report.rows)
    assert not report.notes
    for name, one in plainly.items():
        for other in (first[name], again[name]):
            assert bool(ak.array_equal(one, other) if isinstance(one, ak.Array) else one == other), name


def test_objects_of_the_users_classes_are_loaded_from_folders_of_their_own(data):
    with folder() as where:
        run(data, where / "c", process_own)
        out, report = run(data, where / "c", process_own)
        assert out["n"].n == 20
        assert all(row.stored for row in report.rows)
        assert not [note for note in report.notes if "checkpoint" in note]
        os.chmod(where / "c", 0o770)
        said = f"others could write to {where}/c, which it is in (mode 0770); chmod go-w {where}/c"
        out, report = run(data, where / "c", process_own)
        assert out["n"].n == 20
        assert not any(row.stored for row in report.rows)
        name = f"{Counts.__module__}.Counts"
        assert [note for note in report.notes if "checkpoint" in note] == [
            f"checkpoint {where}/c: results with a {name} are not read back, but computed again: {said}",
            f"checkpoint {where}/c: results with a {name} will not be read back, but computed again: {said}",
        ]
        os.chmod(where / "c", 0o700)
        assert all(row.stored for row in run(data, where / "c", process_own)[1].rows)


def test_objects_of_the_users_classes_are_not_kept_at_an_url(data):
    with pytest.raises(CheckpointError) as caught:
        run(data, "memory://own", process_own)
    (first,) = str(caught.value).splitlines()
    assert first.replace(str(data), "DATA") == (
        f"The checkpoint memory://own cannot keep a {Counts.__module__}.Counts, which is in the result of "
        "DATA/a.parquet[0:10]: only a pickle holds it, and pickles run code when they are read, so that they are not "
        "read from an URL. Return histograms, arrays, numbers, texts, and lists and dicts of them, or give checkpoint= "
        "a directory of this machine."
    )


def test_pickles_that_somebody_put_at_an_url_are_not_loaded(data, tmp_path):
    import fsspec

    plainly, _ = run(data, "memory://put")
    system = fsspec.filesystem("memory")
    for path in system.glob("/put/*/*.part"):
        name = path.removeprefix("/put/")
        told = json.dumps(["pickle", "x.Y", 0, 9999]).encode()
        body = pickle.dumps(Touch(tmp_path / "touched"))
        told = json.dumps(["pickle", "x.Y", 0, len(body)]).encode()
        packed = plain._HEAD.pack(plain._MAGIC, len(told)) + told + bytes(-(16 + len(told)) % 16) + body
        packed = zlib.compress(packed)
        system.pipe_file(path, b"".join(sealed(checkpoint.MAGIC, name, packed)))
    out, report = run(data, "memory://put")
    assert out["sum"] == plainly["sum"]
    assert not (tmp_path / "touched").exists()
    assert not any(row.stored for row in report.rows)
    assert [note for note in report.notes if "checkpoint" in note] == [
        "checkpoint memory://put: results with a x.Y are not read back, but computed again: what comes from an URL "
        "could run any code; give checkpoint= a directory of this machine"
    ]


def test_checkpoints_of_other_formats_are_refused_not_misread(data, tmp_path):
    run(data, tmp_path / "c")
    about = json.loads((tmp_path / "c" / "analysis.json").read_text())
    (tmp_path / "c" / "analysis.json").write_text(json.dumps({**about, "hepgraph.checkpoint": 1}))
    with pytest.raises(CheckpointError) as caught:
        run(data, tmp_path / "c")
    assert str(caught.value) == (
        f"The checkpoint {tmp_path}/c has another format (1) than this version of hepgraph writes (2). Nothing was "
        "changed there. Give another directory, or remove that one."
    )


def test_a_checkpoint_that_others_could_write_to_is_an_error(data, tmp_path):
    (tmp_path / "c").mkdir()
    os.chmod(tmp_path / "c", 0o777)
    with pytest.raises(CheckpointError) as caught:
        run(data, tmp_path / "c")
    assert str(caught.value) == (
        f"The checkpoint {tmp_path}/c is not used: others could write to it, and what they write would be taken for "
        f"data; chmod go-w {tmp_path}/c."
    )


@pytest.mark.parametrize("name", ["lock", "analysis.json"])
@pytest.mark.parametrize("kind", ["pipe", "dangling", "deep", "folder"])
def test_what_a_checkpoint_has_beside_its_results(data, tmp_path, name, kind):
    where = tmp_path / "c"
    plainly, _ = run(data, where)
    replace("checkpoint", where / name, kind, tmp_path, tmp_path / "touched")
    if kind == "folder" or (name == "lock" and kind != "deep"):
        with pytest.raises(CheckpointError, match=f"^The checkpoint {where} .*{where}/{name}"):
            run(data, where)
        return
    out, report = run(data, where)
    assert out["sum"] == plainly["sum"]
    assert all(row.stored for row in report.rows)
    assert any("analysis.json was damaged" in note for note in report.notes) == (name != "lock")


@pytest.mark.parametrize(
    "about", [5, [], {"plans": 3}, {"plans": {}, "hepgraph.checkpoint": 2, "parameters": 5}], ids=str
)
def test_a_description_that_is_none_is_written_anew(data, tmp_path, about):
    run(data, tmp_path / "c")
    (tmp_path / "c" / "analysis.json").write_text(json.dumps(about))
    _, report = run(data, tmp_path / "c")
    assert all(row.stored for row in report.rows)
    assert f"checkpoint {tmp_path}/c: analysis.json was damaged, and is written anew" in report.notes

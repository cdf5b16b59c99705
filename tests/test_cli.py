"""The command line: a table, a picture, one clear message for what goes wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hepgraph.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = str(ROOT / "data" / "sample.root")


def test_adl_prints_a_table_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, values = tmp_path / "adl.png", tmp_path / "adl.json"
    assert main(["adl", SAMPLE, "--plot", str(picture), "--json", str(values), "--executor", "serial"]) == 0
    out = capsys.readouterr().out
    assert "Plot the missing transverse energy of all events." in out
    assert "8,000 events" in out
    assert "20 of 86 columns" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(values.read_text())["q1"]["entries"] == 8000


def test_adl_of_some_queries_in_small_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adl", SAMPLE, "--queries", "q1,8", "--step-size", "50 kB"]) == 0
    out = capsys.readouterr().out
    assert "q8" in out
    assert "q5" not in out


def test_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["columns", SAMPLE]) == 0
    out = capsys.readouterr().out
    assert "Muon_pt" in out
    assert "var * float32" in out
    assert "8,000 entries, 86 columns" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["adl", "nowhere.root"], "No such file"),
        (["adl", str(ROOT / "README.md")], "neither a ROOT nor a Parquet file"),
        (["adl", SAMPLE, "--queries", "9"], "'9' is no query; they are 1 to 8"),
        (["adl", SAMPLE, "--executor", "cloud"], "executor must be one of"),
        (["adl", SAMPLE, "--tree", "Evens"], "Evens"),
    ],
)
def test_one_message_and_no_traceback(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_debug_raises() -> None:
    with pytest.raises(FileNotFoundError):
        main(["adl", "nowhere.root", "--debug"])


def test_alone_it_helps() -> None:
    done = subprocess.run([sys.executable, "-m", "hepgraph"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "columns" in done.stdout


@pytest.mark.parametrize("sample", ["sample.root", "sample.parquet"])
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_formats_and_executors_give_the_same(sample: str, executor: str, tmp_path: Path) -> None:
    values, plain = tmp_path / "some.json", tmp_path / "plain.json"
    assert main(["adl", SAMPLE, "--queries", "5,8", "--executor", "serial", "--json", str(plain)]) == 0
    path = str(ROOT / "data" / sample)
    options = ["--queries", "5,8", "--executor", executor, "--step-size", "3000", "--json", str(values)]
    assert main(["adl", path, *options]) == 0
    assert json.loads(values.read_text()) == json.loads(plain.read_text())


def test_several_files_are_one_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copy(SAMPLE, tmp_path / "other.root")
    assert main(["adl", SAMPLE, str(other), "--queries", "1"]) == 0
    out = capsys.readouterr().out
    assert "16,000 events" in out
    assert "and 1 more" in out
    assert main(["adl", SAMPLE, SAMPLE]) == 2
    assert "listed twice" in capsys.readouterr().err


def test_columns_that_are_not_nanoaod(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import awkward as ak

    path = tmp_path / "other.parquet"
    ak.to_parquet(ak.Array({"energy": [1.0, 2.0]}), path)
    assert main(["adl", str(path)]) == 2
    err = capsys.readouterr().err
    assert "No field or method 'MET'" in err
    assert "Query 1 needs columns as in NanoAOD" in err
    assert "Traceback" not in err


def test_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.root"
    path.write_bytes((ROOT / "data" / "sample.root").read_bytes()[:4000])
    assert main(["adl", str(path)]) == 2
    err = capsys.readouterr().err
    assert "cut.root" in err
    assert "Traceback" not in err


def test_a_terminal_gets_a_drawn_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["adl", SAMPLE, "--queries", "1"]) == 0
    assert "┃" in capsys.readouterr().out


def test_a_wrong_option_is_said_by_argparse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["adl"])
    assert caught.value.code == 2
    assert "FILE" in capsys.readouterr().err


def renamed(path: Path, names: dict[str, str]) -> str:
    """The sample with columns called otherwise, as other versions of NanoAOD do; left out where the name is empty."""
    import pyarrow.parquet as pq

    table = pq.read_table(ROOT / "data" / "sample.parquet").slice(0, 2000)
    for name in table.column_names:
        old = next((old for old in names if name == old or name.startswith(f"{old}_")), None)
        if old is not None and not names[old]:
            table = table.drop_columns(name)
        elif old is not None:
            table = table.rename_columns({name: names[old] + name.removeprefix(old)})
    pq.write_table(table, path)
    return str(path)


@pytest.mark.parametrize(("met", "btag"), [("PFMET", "btagUParTAK4B"), ("PuppiMET", "btagPNetB"), ("MET", "btagCSVV2")])
def test_any_version_of_nanoaod(met: str, btag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = renamed(tmp_path / "plain.parquet", {})
    other = renamed(tmp_path / "other.parquet", {"MET": met, "Jet_btag": f"Jet_{btag}"})
    for path in (plain, other):
        assert main(["adl", path, "--executor", "serial", "--json", f"{path}.json"]) == 0
    assert f"missing transverse energy and b-tag: Jet_{btag}, {met}_pt" in capsys.readouterr().out
    assert Path(f"{plain}.json").read_text() == Path(f"{other}.json").read_text()


def test_a_version_that_nobody_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = renamed(tmp_path / "other.parquet", {"Jet_btag": "Jet_btagOfTomorrow"})
    assert main(["adl", path]) == 2
    err = capsys.readouterr().err
    assert "No field or method 'btag'" in err
    assert "Other versions of NanoAOD call it btagDeepFlavB, btagPNetB," in err
    assert "Query 6 needs columns as in NanoAOD; --queries 1,2 runs some of them." in err
    assert main(["adl", path, "--queries", "1,2,3,4,5,7,8"]) == 0


@pytest.mark.parametrize("name", ["nano_tt_v12.root", "pfnano.root", "nano_dy.root", "nano_dy_rntuple.root"])
def test_real_files_of_several_versions(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT.parent / "shared" / "data" / name
    if not path.exists():
        pytest.skip("needs ../shared/data")
    assert main(["adl", str(path), "--executor", "serial"]) == 0
    assert "Jet_btagDeepFlavB, MET_pt" in capsys.readouterr().out


def test_the_picture_shows_the_entries_of_query_6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hepgraph.hist import plot

    shown = []
    monkeypatch.setattr(plot, "grid", lambda panels, title: shown.extend(panels))
    monkeypatch.setattr(plot, "save", lambda figure, path: None)
    assert main(["adl", SAMPLE, "--queries", "6", "--plot", str(tmp_path / "x.png"), "--executor", "serial"]) == 0
    h = shown[0].hist
    assert h.sum() > 0.95 * h.sum(flow=True)

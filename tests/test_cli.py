"""The command line: a table, a picture, one clear message for what goes wrong."""

from __future__ import annotations

import json
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

"""The notebooks run from top to bottom, show pictures, and are stored with what they show.

HEPGRAPH_UPDATE_SNAPSHOTS=1 stores it anew.
"""

from __future__ import annotations

import base64
import io
import os
import re
import socket
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own machinery warns about its own future


def outputs_of(name: str) -> list[nbformat.NotebookNode]:
    """The outputs of a notebook's cells, none of them an error, and as it is stored but for numbers.

    With HEPGRAPH_UPDATE_SNAPSHOTS=1, stores it.
    """
    path = NOTEBOOKS / name
    notebook, stored = (nbformat.read(path, as_version=4) for _ in range(2))
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", record_timing=False, resources={"metadata": {"path": NOTEBOOKS}}
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    noise = [output.text for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    assert not [part for part in noise if "Error" in part or "Traceback" in part]
    for cell in cells:
        cell.outputs = [small(output) for output in cell.outputs if not is_noise(output)]
    if os.environ.get("HEPGRAPH_UPDATE_SNAPSHOTS"):
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, path)
        stored = notebook
    known = [cell for cell in stored.cells if cell.cell_type == "code"]
    for cell, old in zip(cells, known, strict=True):
        assert list(map(told, cell.outputs)) == list(map(told, old.outputs)), f"{name}, {cell.source}"
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    return outputs


def is_noise(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a bar of progress that has come and gone, or what a library warns about."""
    return (output.output_type == "stream" and output.name == "stderr") or (
        output.output_type == "display_data" and ("image/png" not in output.data)
    )


def small(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output without what differs from machine to machine, its pictures with few colours."""
    if output.output_type == "stream":
        output.text = clean(output.text)
    for kind, value in output.get("data", {}).items():
        if kind == "image/png":
            made = io.BytesIO()
            Image.open(io.BytesIO(base64.b64decode(value))).convert("RGB").quantize(32).save(made, "PNG", optimize=True)
            output.data[kind] = base64.b64encode(made.getvalue()).decode()
        else:
            output.data[kind] = clean(value)
    return output


def clean(text: str) -> str:
    """A text without paths and addresses of this machine."""
    text = re.sub(r"tcp://[\w.:]+", "tcp://scheduler:8786", text.replace(str(NOTEBOOKS.parent), ".."))
    text = re.sub(rf"{re.escape(socket.gethostname())}:\d+/", "host:1/", text)
    return re.sub(r"[^\s']+/python[\d.]*", "python", text)


def told(output: nbformat.NotebookNode) -> object:
    """An output but for numbers: times differ, and so may pictures."""
    if output.output_type == "stream":
        return re.sub(r"[\d.,]+", "#", output.text)
    return sorted(output.data), re.sub(r"[\d.,]+", "#", output.data.get("text/plain", ""))


def printed(outputs: list[nbformat.NotebookNode]) -> str:
    """All that was printed."""
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def test_adl_notebook() -> None:
    outputs = outputs_of("adl.ipynb")
    shown = [output.data for output in outputs if output.output_type in ("display_data", "execute_result")]
    assert sum("image/png" in data for data in shown) >= 10, "a picture for each query, and one of all"
    assert sum("image/svg+xml" in data for data in shown) == 1, "the graph of query 8"
    assert "MET_phi MET_pt Muon_charge" in printed(outputs), "the columns of query 8"


def test_anywhere_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    outputs = outputs_of("anywhere.ipynb")
    text = printed(outputs)
    assert text.count("16000 events (complete)") == 1, "the report of the cluster"
    assert sum("16000 events (complete)" in str(output.get("data")) for output in outputs) == 1, "that of processes"
    assert "#SBATCH -t 04:00:00" in text
    assert "RequestDisk = floor(MY.DaskWorkerDisk / 1024)" in text
    assert text.count("--lifetime 230m") == 2


def test_notebooks_are_stored_with_small_outputs() -> None:
    """Each cell that shows something, with nothing of the machine that it ran on."""
    paths = list(NOTEBOOKS.glob("*.ipynb"))
    assert sum(path.stat().st_size for path in paths) < 300_000
    for path in paths:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert all(cell.outputs for cell in cells), "run with HEPGRAPH_UPDATE_SNAPSHOTS=1"
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        assert not re.search(r"/(home|root|tmp|work|Users)/", path.read_text())


def test_a_notebook_says_what_it_needs() -> None:
    text = (NOTEBOOKS / "anywhere.ipynb").read_text()
    assert "pip install 'hepgraph[batch]'" in text.partition("from dask.distributed")[0]

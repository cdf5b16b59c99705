"""The notebook runs from top to bottom, and shows pictures."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's own machinery warns about its own future


def outputs_of(name: str) -> list[nbformat.NotebookNode]:
    """What the cells of a notebook give, none of them an error."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": NOTEBOOKS}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    return outputs


def printed(outputs: list[nbformat.NotebookNode]) -> str:
    """All that was printed."""
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def test_adl_notebook() -> None:
    outputs = outputs_of("adl.ipynb")
    shown = [output.data for output in outputs if output.output_type in ("display_data", "execute_result")]
    assert sum("image/png" in data for data in shown) >= 10, "a picture for each query, and one of all"
    assert sum("image/svg+xml" in data for data in shown) == 1, "the graph of query 8"
    assert "MET_phi MET_pt Muon_charge" in printed(outputs), "the columns of query 8"
    noise = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not [part for part in noise if "Error" in part or "Traceback" in part]


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


def test_notebooks_are_stored_without_outputs() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert cell.cell_type != "code" or not cell.outputs, f"{path.name} holds outputs; clear them"

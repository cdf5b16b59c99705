"""The notebook runs from top to bottom, and shows pictures."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.mark.filterwarnings("default")  # Jupyter's own machinery warns about its own future
def test_adl_notebook() -> None:
    notebook = nbformat.read(NOTEBOOKS / "adl.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": NOTEBOOKS}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    shown = [output.data for output in outputs if output.output_type in ("display_data", "execute_result")]
    assert sum("image/png" in data for data in shown) >= 10, "a picture for each query, and one of all"
    assert sum("image/svg+xml" in data for data in shown) == 1, "the graph of query 8"
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "MET_phi MET_pt Muon_charge" in text, "the columns of query 8"
    noise = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not [part for part in noise if "Error" in part or "Traceback" in part]


def test_notebooks_are_stored_without_outputs() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert cell.cell_type != "code" or not cell.outputs, f"{path.name} holds outputs; clear them"

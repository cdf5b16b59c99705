"""The user's own line, in scripts and notebooks: never a library's, never that of an older analysis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import awkward as ak
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import hepgraph as hg
from hepgraph.functions.lines import cell, place

ROOT = Path(__file__).resolve().parents[1]


def told(*cells: str) -> list[str]:
    """The output of each cell of a notebook: text, pictures, or its error."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    NotebookClient(notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": ROOT}}).execute()
    return [
        "".join(str(out.get("text") or out.get("data") or "\n".join(out.get("traceback", []))) for out in each.outputs)
        for each in notebook.cells
    ]


@pytest.mark.filterwarnings("default")  # Jupyter's own machinery warns about its own future
def test_a_notebook_names_its_cells() -> None:
    said = told(
        "import awkward as ak\nimport hepgraph as hg\nevents = hg.open('data/sample.root')",
        "events.Muon",  # Jupyter asks for its type, and so makes all nodes that the next cell uses
        "old = ak.num(events.Jet[events.Jet.pt > 30])",
        "\n\nnew = ak.num(events.Jet[events.Jet.pt > 30])\nmuons = events.Muon.pt + 1\nprint(hg.explain([new, muons]))",
        "events.MET.pt[events.MET.pt > 5] \\\n  + events.MET.pt",
        "def bad(x):\n    return x[:-1]\nhg.map_partitions(bad, events.MET.pt).compute()",
        "hg.map_partitions(lambda x: x[:-1], events.MET.pt,\n).compute(executor='processes')",
    )
    assert "Jet_pt   data    for greater at cell In[4], line 1" in said[3]
    assert "Muon_pt  data    for add at cell In[4], line 2" in said[3]
    assert said[3].count("for ") == said[3].count("at cell In[4], line ") == 4, "Jupyter leaves out empty lines"
    assert "formatters.py" not in said[3]
    assert "In[3]" not in said[3], "the line of an older analysis"
    assert "In[2]" not in said[3], "the line that showed the muons"
    assert "the first was cut by the mask of `events.MET.pt[events.MET.pt > 5] \\`  (cell In[5], line 1)" in said[4]
    assert "recorded at cell In[6], line 3\n    hg.map_partitions(bad, events.MET.pt).compute()" in said[5]
    assert "recorded at cell In[7], line 1" in said[6], "said by a worker process, which does not have the notebook"


def test_the_newest_file_that_records_something_is_told() -> None:
    """Not that of an earlier analysis, and not one that computes, explains or shows it."""
    events = hg.from_root(ROOT / "data" / "sample.root", schema="nanoaod")
    found = {}
    for name in ("first.py", "second.py"):
        exec(compile("\n\nx = events.MET.pt * 7", name, "exec"), scope := {"__name__": "__main__", "events": events})
        found[name] = scope["x"]
        assert f"for multiply at {name}:3" in str(hg.explain(found[name]))
    new = found["second.py"]
    new.compute(executor="serial", progress=False)
    repr(new), new._repr_html_(), hg.visualize(new), hg.necessary_columns(new)
    exec(compile("print(hg.explain(x)); x.compute(executor='serial', progress=False); str(x)", "third.py", "exec"),
         {"__name__": "__main__", "x": new, "hg": hg})  # fmt: skip
    assert "for multiply at second.py:3" in str(hg.explain(new))


@pytest.mark.parametrize("code", ["v * 9", "9 * v", "v[v > 9]", "ak.num(v[v > 9], axis=0)", "np.add(v, 9)", "-v"])
def test_whatever_way_into_an_array(code: str) -> None:
    """With a variable that another file made."""
    v = hg.from_root(ROOT / "data" / "sample.root", schema="nanoaod").MET.pt
    kept = []
    for name in ("one.py", "two.py", "three.py"):
        exec(compile(f"\nx = {code}", name, "exec"), scope := {"__name__": "__main__", "v": v, "ak": ak, "np": np})
        kept.append(scope["x"])
        assert f"at {name}:2" in str(hg.explain(scope["x"]))


def test_what_a_package_records_is_told_at_the_line_that_calls_it(tmp_path: Path) -> None:
    """Wherever packages are installed."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "physicslib.py").write_text("def twice(x):\n    return x * 2\n")
    script = tmp_path / "mine.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path / 'site-packages')!r})\nimport physicslib\n"
        f"import hepgraph as hg\nevents = hg.open({str(ROOT / 'data' / 'sample.root')!r})\n"
        "print(hg.explain(physicslib.twice(events.MET.pt)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert "for multiply at mine.py:6" in done.stdout


def test_names_of_cells_without_their_notebook() -> None:
    assert cell("/tmp/ipykernel_123/456.py") == "a cell of the notebook"
    assert place(("cell In[3]", 4, "f")) == "cell In[3], line 4"
    assert cell("/home/me/ipykernel_tools/a.py") == ""

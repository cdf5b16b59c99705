"""The user's own line, in scripts and notebooks: never a library's, never that of an older analysis."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import awkward as ak
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import hepgraph as hg
from hepgraph.functions.lines import cell, place
from hepgraph.graph.form import items
from hepgraph.graph.node import ordered

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
    assert said[3].count("  for ") == said[3].count("at cell In[4], line ") == 4, "Jupyter leaves out empty lines"
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


def lines_of(x, op):
    """The files and lines at which an array's operations of some name were recorded."""
    return {f"{item.line[0]}:{item.line[1]}" for item in ordered(items(x._form)) if getattr(item, "op", "") == op}


def run_file(name, code, **names):
    """Runs code as a file of the user's, and gives its variables."""
    exec(compile(code, name, "exec"), scope := {"__name__": "__main__", "ak": ak, "np": np, **names})
    return scope


def test_functions_of_the_users_that_are_called_on_the_way_have_lines_of_their_own():
    """Properties, operators and metrics; what follows them is on the line that called for it all."""
    events = hg.from_root(ROOT / "data" / "sample.root", schema="nanoaod")
    mine = run_file(
        "mine.py",
        "class MuonArray(ak.Array):\n"
        "    @property\n"
        "    def twice(self):\n"
        "        return self.pt * 2.25\n"
        "def plus(a, b):\n"
        "    return a.pt + b.pt\n"
        "def metric(a, b):\n"
        "    return abs(a.pt - b.pt) * 3.75\n",
    )
    registered = {("*", "Muon"): mine["MuonArray"], (np.true_divide, "Muon", "Muon"): mine["plus"]}
    ak.behavior.update(registered)
    try:
        found = run_file(
            "analysis.py",
            "muons = events.Muon[events.Muon.pt > 3.5]\n"
            "twice = muons.twice\n"
            "more = twice + 1.5\n"
            "plus = muons / muons\n"
            "near = events.Muon.nearest(events.Jet, metric=metric, threshold=0.625)\n",
            events=events,
            metric=mine["metric"],
        )
    finally:
        for key in registered:
            del ak.behavior[key]
    assert lines_of(found["twice"], "multiply") == {"mine.py:4"}
    assert lines_of(found["more"], "add") == {"analysis.py:3"}
    assert lines_of(found["plus"], "add") == {"mine.py:6"}
    assert lines_of(found["near"].pt, "multiply") == {"mine.py:8"}
    assert lines_of(found["near"].pt, "less_equal") == {"analysis.py:5"}


def test_an_error_on_the_way_leaves_no_line_behind():
    v = hg.from_root(ROOT / "data" / "sample.root", schema="nanoaod").MET
    for code in ("v.nothing", "np.sort(v)", "v['nothing']", "v.pt @ v.pt", "ak.zip({'a': v, 'b': v['nothing']})"):
        with pytest.raises(hg.errors.HepgraphError):
            run_file("wrong.py", f"\n\n{code}", v=v)
        right = run_file("right.py", "x = np.hypot(v.pt, 2.125)", v=v)["x"]
        assert lines_of(right, "hypot") == {"right.py:1"}
        del right


def test_threads_have_lines_of_their_own():
    events = hg.from_root(ROOT / "data" / "sample.root", schema="nanoaod")
    inner = []

    def record():
        """Another thread records something while this one does."""
        inner.append(pool.submit(run_file, "inner.py", "\nx = events.MET.pt * 5.25", events=events).result()["x"])

    metric = "def f(a, b):\n    record()\n    return abs(a.pt - b.pt) * 4.75"
    with ThreadPoolExecutor(1) as pool:
        f = run_file("outer.py", metric, record=record)["f"]
        x = run_file("analysis.py", "x = events.Muon.nearest(events.Jet, metric=f)", events=events, f=f)["x"]
    assert lines_of(inner[0], "multiply") == {"inner.py:2"}
    assert lines_of(x.pt, "multiply") == {"outer.py:3"}


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

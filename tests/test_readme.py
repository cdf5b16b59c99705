"""The README's first example and its recipes run, each on its own; what needs another package is skipped without it."""

import ast
import json
import re
from importlib.util import find_spec
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgraph as hg

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
RECIPES = {
    heading.strip().partition("\n\n```")[0].rpartition("\n\n")[2]: code
    for heading, code in re.findall(
        r"(?s)(.*?```python\n)(.*?)```", README.partition("\n## Recipes\n")[2].partition("\n## ")[0]
    )
}


def packages(code):
    """The packages that a recipe imports."""
    return {name.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import) for name in node.names}


def run(code, monkeypatch, tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "__main__", "ak": ak, "hg": hg, "events": hg.open("data/sample.root")}
    exec(compile(code, "README.md", "exec"), scope)
    return scope


@pytest.fixture
def recipe(monkeypatch, tmp_path, request):
    """Runs the recipe that has a word, among files that it wants."""

    def named(word, files):
        (code,) = [code for code in RECIPES.values() if word in code]
        for package in packages(code):
            if find_spec(package) is None:
                pytest.skip(f"needs {package}")
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return run(code, monkeypatch, tmp_path)

    return named


def test_there_is_a_recipe_for_each_of_these():
    words = ["correctionlib", "xgboost", "golden", "hg.vary", "splitmix64", "xsec", "mine.toml"]
    assert len(RECIPES) == len(words)
    assert all(sum(word in code for code in RECIPES.values()) == 1 for word in words)


def test_the_first_example(monkeypatch, tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    scope = run(code, monkeypatch, tmp_path)
    assert scope["h"].compute().sum() > 1000


def test_corrections(recipe, tmp_path):
    axis = {
        "nodetype": "multibinning",
        "inputs": ["eta", "pt"],
        "edges": [[0.0, 1.2, 2.5], [20.0, 40.0, 100.0]],
        "flow": "clamp",
    }
    muon_sf = {
        "name": "muon_sf", "version": 1, "data": {**axis, "content": [0.9, 0.95, 1.05, 1.1]},
        "inputs": [{"name": "eta", "type": "real"}, {"name": "pt", "type": "real"}],
        "output": {"name": "weight", "type": "real"},
    }  # fmt: skip
    scope = recipe("correctionlib", {"muon_sf.json": json.dumps({"schema_version": 2, "corrections": [muon_sf]})})
    pt, eta = scope["events"].Muon.pt.compute(), scope["events"].Muon.eta.compute()
    eta, pt = eta[pt > 20], pt[pt > 20]
    by_hand = ak.where(abs(eta) < 1.2, ak.where(pt < 40, 0.9, 0.95), ak.where(pt < 40, 1.05, 1.1))
    assert scope["corrected"].sum(flow=True).value == pytest.approx(ak.sum(ak.prod(by_hand, axis=1)))


def test_a_model(recipe, tmp_path):
    xgboost = pytest.importorskip("xgboost")
    pt = np.linspace(10, 200, 400)
    matrix = xgboost.DMatrix(np.stack([pt, np.zeros(400)], axis=1), label=pt > 50)
    xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, 3).save_model(tmp_path / "model.json")
    scope = recipe("xgboost", {})
    hardest = ak.max(scope["events"].Jet.pt.compute(), axis=1)
    clear = ak.fill_none(abs(hardest - 50) > 5, False)  # the model cuts there in steps
    assert ak.all((scope["best"] > 0.5)[clear] == (hardest > 50)[clear])
    assert 0 < ak.sum(hardest[clear] > 50) < ak.sum(clear)


def test_certified_sections(recipe, capsys):
    events = hg.open(ROOT / "data" / "sample.root")
    run, section = events.run.compute().to_numpy(), events.luminosityBlock.compute().to_numpy()
    middle = int(np.median(section))
    ranges = [[0, middle // 2], [middle, middle + 1]]
    recipe("golden", {"golden.json": json.dumps({str(run[0]): ranges})})
    wanted = np.sum((run == run[0]) & ((section <= middle // 2) | (section == middle) | (section == middle + 1)))
    assert capsys.readouterr().out == f"{wanted} of 8000 events are certified\n"
    assert 0 < wanted < 8000


def test_variations(recipe):
    result = recipe("hg.vary", {})["result"]
    names = list(result["ht"].axes["variation"])
    assert names == ["nominal", "JES_up", "JES_down", "pileup_up", "pileup_down"]
    values = result["ht"].values(flow=True)
    mean = (values * np.arange(values.shape[0])[:, None]).sum(axis=0)[:3] / values.sum(axis=0)[:3]
    assert mean[1] > mean[0] > mean[2], "up, nominal, down"
    assert result["cutflow"]["one muon"] is not None


def test_random_numbers(recipe):
    scope = recipe("splitmix64", {})
    uniform, event, index = scope["uniform"], scope["events"].event, scope["index"]
    one, two = hg.compute([uniform(event, index, 1), uniform(event, index, 2)], executor="threads")
    mean, width = ak.mean(one), ak.std(one)
    assert (mean, width) == (pytest.approx(0.5, abs=0.01), pytest.approx(12**-0.5, abs=0.01))
    assert abs(np.corrcoef(ak.flatten(one), ak.flatten(two))[0, 1]) < 0.02
    assert abs(np.corrcoef(ak.flatten(one)[:-1], ak.flatten(one)[1:])[0, 1]) < 0.02
    few = scope["events"].eager(slice(100, 200))
    assert uniform(few.event, ak.local_index(few.Jet.pt), 1).to_list() == one[100:200].to_list()
    pull = ak.flatten((scope["smeared"] / scope["pt"]).compute())
    assert (np.mean(pull), np.std(pull)) == (pytest.approx(1, abs=0.005), pytest.approx(0.1, abs=0.003))
    assert scope["hard"] == ak.sum(scope["smeared"].compute() > 30)


def test_cross_sections(recipe):
    stacked = recipe("xsec", {})["stacked"]
    assert stacked.sum(flow=True).value == pytest.approx(59_830 * 6077.22)


def test_a_schema(recipe):
    scope = recipe("mine.toml", {})
    mine = scope["mine"]
    assert ak.all(mine.Muon.isolation.compute() == mine.Muon.pfRelIso04_all.compute())
    momentum = mine.Muon.pt.compute() * np.cosh(mine.Muon.eta.compute())
    assert scope["hardest"] == pytest.approx(np.sqrt(ak.max(momentum) ** 2 + 0.13957**2))

"""What starting costs: `import hepgraph` and the first plot of a cold Python, beside `import awkward` and hist alone.

usage: python benchmarks/startup.py [REPEAT]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# as users have it: byte code is kept from the first run, which does not count
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
MASS = """
import awkward as ak, hepgraph as hg
events = hg.from_root({sample!r}, schema="nanoaod")
a, b = ak.unzip(ak.combinations(events.Muon, 2))
h = hg.Hist.new.Reg(60, 60, 120, name="mass", label="Dimuon mass [GeV]").Double().fill((a + b).mass)
"""
PAGE = """
from hepgraph.hist.plot import grid
grid({{"Dimuons": h.compute()}}, ncols=1).savefig({out!r})
"""
PYPLOT = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
h.compute().plot()
plt.savefig({out!r})
"""
HIST = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import hist
hist.Hist.new.Reg(60, 60, 120, name="mass").Double().fill([90.0, 91.0]).plot()
plt.savefig({out!r})
"""


def seconds(code: str) -> tuple[float, float]:
    """The wall times from starting a fresh Python until it has run some code, and until its process is gone."""
    start = time.time()
    code += "\nimport time; print(time.time())"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE)
    return float(done.stdout) - start, time.time() - start


def main() -> None:
    repeat = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        names = {"sample": str(ROOT / "data" / "sample.root"), "out": str(Path(folder) / "first.png")}
        plots = {
            "first picture (hepgraph.hist.plot)": (MASS + PAGE).format(**names),
            "first h.compute().plot()": (MASS + PYPLOT).format(**names),
            "hist alone: h.plot()": HIST.format(**names),
        }
        imports = {f"import {name}": f"import {name}" for name in ("awkward", "hepgraph")}
        cases = {"python": "pass", **imports, **plots}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(repeat + 1):
            for name, code in cases.items():
                times[name].append(seconds(code))
    medians = {
        name: [statistics.median(each) for each in zip(*found[1:], strict=True)] for name, found in times.items()
    }
    print(
        f"seconds from the start of Python, median of {repeat} in turn; ratio to import awkward, less an empty Python"
    )
    print(f"  {'':<32}{'done':>8}{'process gone':>16}{'ratio of done':>16}")
    empty, base = medians["python"][0], medians["import awkward"][0] - medians["python"][0]
    for name, (done, gone) in medians.items():
        print(f"  {name:<32}{done:8.2f}{gone:16.2f}{(done - empty) / base:16.2f}")


if __name__ == "__main__":
    main()

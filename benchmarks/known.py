"""What a file of many branches costs before its first event, in a process that has not met it.

usage: python benchmarks/known.py [FILE] [--repeat N]

In ms, the median of N new processes each, in turn: opening the file (types of all columns), and reading one entry of
six columns as a worker does that was sent the source. `new`: nothing is remembered of it; `known`: another process
has met it. Imports are not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.root"
CODE = """
import pickle, sys, time
import uproot
from hepgraph.io import root
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition
from hepgraph.io.trees import handles
start = time.perf_counter()
source = open_root(sys.argv[1])
opened = time.perf_counter() - start
sent = pickle.dumps(source.narrow([name for name, column in source.columns.items() if column.type == "float32"][:6]))
root.layouts.clear(); handles.clear()
worker = pickle.loads(sent)
start = time.perf_counter()
worker.read(Partition(worker.files[0].path, worker.files[0].tree, 0, 1), dict.fromkeys(worker.columns, Need.DATA))
print(1e3 * opened, 1e3 * (time.perf_counter() - start))
"""


def once(path: str, folder: str) -> list[float]:
    """The times of one new process, in ms."""
    environment = {**os.environ, "HEPGRAPH_CACHE": folder}
    done = subprocess.run(
        [sys.executable, "-c", CODE, path], env=environment, capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", default=str(SAMPLE))
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    new, known = [], []
    with tempfile.TemporaryDirectory() as folder:
        once(args.file, folder)
        for _ in range(args.repeat):
            new.append(once(args.file, ""))
            known.append(once(args.file, folder))
    print(f"{'':8}{'open':>9}{'6 columns':>11}")
    for name, times in (("new", new), ("known", known)):
        print(f"{name:8}{np.median(times, axis=0)[0]:9.1f}{np.median(times, axis=0)[1]:11.1f}")


if __name__ == "__main__":
    main()

"""What a file of many branches costs before its first event, in a process that has not met it.

usage: python benchmarks/known.py [FILE] [--repeat N]

In ms of this process, the median of N new processes each, in turn: opening the file with a schema (types of all
columns, collections), reading one entry of six columns as a worker does that was sent the source; and, beside them,
uproot alone, opening the tree. `new`: nothing is remembered of it; `known`: another process has met it. Imports are not
counted.
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
import hepgraph as hg, uproot
from hepgraph.io.source import Need, Partition
from hepgraph.io.trees import handles
from hepgraph.io.ttree.source import layouts
path, sample = sys.argv[1:]
hg.open(sample).source.files
start = time.process_time()
source = hg.open(path, schema="nanoaod").source
opened = time.process_time() - start
columns = [name for name, column in source.columns.items() if column.type == "float32"][:6]
sent = pickle.dumps(source)
layouts.clear(); handles.clear()
worker = pickle.loads(sent)
start = time.process_time()
worker.read(Partition(worker.files[0].path, worker.files[0].tree, 0, 1), dict.fromkeys(columns, Need.DATA))
read = time.process_time() - start
start = time.process_time()
with uproot.open({path: None}) as file:
    file[worker.files[0].tree]
print(1e3 * opened, 1e3 * read, 1e3 * (time.process_time() - start))
"""


def once(path: str, folder: str) -> list[float]:
    """The times of one new process, in ms."""
    environment = {**os.environ, "HEPGRAPH_CACHE": folder}
    done = subprocess.run(
        [sys.executable, "-c", CODE, path, str(SAMPLE)], env=environment, capture_output=True, text=True, check=True
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
    print(f"{'':8}{'open':>9}{'6 columns':>11}{'uproot':>9}")
    for name, times in (("new", new), ("known", known)):
        opened, read, alone = np.median(times, axis=0)
        print(f"{name:8}{opened:9.1f}{read:11.1f}{alone:9.1f}")


if __name__ == "__main__":
    main()

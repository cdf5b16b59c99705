"""The column cache: the ADL queries on a compressed file, the first and the second time, beside an uncompressed file.

usage: python benchmarks/cache.py [FILE] [--repeat N] [--folder DIR]   (default: the embedded sample, as LZMA)

For each query, in ms of wall time on one thread with the kernel, from the closed file to the histogram: `plain` without
a cache; `first` with an empty one; `again` with what the first run left there; `raw` without a cache on a copy of the
file with the same branches, not compressed, in baskets that end with the clusters of the original. All are run in
turn; `again` and `raw` are the best of N. Last, what writing costs (first / plain), what the second run gains (first /
again) and how far it is from a file that was never compressed (again / raw), of the sums over all queries.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from hepgraph.processors.adl import QUERIES

import hepgraph as hg

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.root"


def copied(path: str, target: Path, compression: Any, times: int = 1) -> None:
    """The branches that the queries read, some times over, in another compression."""
    source = hg.open(path, schema="nanoaod").source
    needed: dict[str, Any] = {}
    for query in QUERIES:
        needed |= hg.necessary_columns(query().process(hg.open(path, schema="nanoaod")))
    counters = {column.counts for name in needed if (column := source.columns[name]).counts}
    edges = source.files[0].edges
    with uproot.open(path) as file, uproot.recreate(target, compression=compression) as made:
        branches = file[source.files[0].tree]
        tree = None
        for start, stop in list(pairwise(edges)) * times:
            arrays: dict[str, Any] = {}
            for name in sorted(needed.keys() - counters):
                array = branches[name].array(entry_start=start, entry_stop=stop)
                collection, _, rest = name.partition("_")
                if array.ndim > 1:
                    arrays.setdefault(collection, {})[rest] = array
                else:
                    arrays[name] = ak.to_numpy(array)
            whole = {name: ak.zip(value) if isinstance(value, dict) else value for name, value in arrays.items()}
            if tree is None:
                tree = made.mktree(
                    "Events",
                    {n: v.dtype if isinstance(v, np.ndarray) else v.type.content for n, v in whole.items()},
                )
            tree.extend(whole)


def timed(query: Any, path: str, cache: Any = None) -> tuple[float, Any]:
    """The seconds of one run from the closed file, and its report."""
    start = time.perf_counter()
    _, report = hg.run(
        query(), {"a": [path]}, executor="serial", engine="kernel", report=True, progress=False, cache=cache
    )
    return time.perf_counter() - start, report


def compare(path: str, raw: str, folder: Path, repeat: int) -> None:
    """Prints the table."""
    print(
        f"{Path(path).name}\n{'':5}{'plain':>9}{'first':>9}{'again':>9}{'raw':>9}{'first/again':>13}{'again/raw':>11}"
    )
    total = np.zeros(4)
    for query in QUERIES:
        timed(query, raw)  # compiles
        shutil.rmtree(folder, ignore_errors=True)
        plain, _ = timed(query, path)
        first, report = timed(query, path, hg.ColumnCache(str(folder)))
        assert not report.cached
        again = other = np.inf
        for _ in range(repeat):
            seconds, report = timed(query, path, hg.ColumnCache(str(folder)))
            assert report.cached == report.bytes
            again, other = min(again, seconds), min(other, timed(query, raw)[0])
        times = 1e3 * np.array([plain, first, again, other])
        total += times
        print(f"q{QUERIES.index(query) + 1:<4}" + _line(times), flush=True)
    print(f"{'sum':5}" + _line(total))
    print(f"first / plain: {total[1] / total[0]:.2f}")


def _line(times: Any) -> str:
    numbers = "".join(f"{each:9.1f}" for each in times)
    return f"{numbers}{times[1] / times[2]:12.1f}x{times[2] / times[3]:10.2f}x"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the copy and the cache are kept for the time of the run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        path = args.file
        if path is None:
            path = str(folder / "lzma.root")
            copied(str(SAMPLE), folder / "lzma.root", uproot.LZMA(5), times=40)
        copied(path, folder / "raw.root", None)
        time.sleep(0.2)  # what was written this very moment is not kept
        compare(path, str(folder / "raw.root"), folder / "cache", args.repeat)


if __name__ == "__main__":
    main()

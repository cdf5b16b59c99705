"""Files of each format, and sources that are read through a column cache."""

import os
import time
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow
import pyarrow.parquet
import uproot
from baskets import write

from hepgraph.io.cache.columns import ColumnCache
from hepgraph.io.parquet.source import open_parquet
from hepgraph.io.root import open_root
from hepgraph.io.source import Access, Partition

ENTRIES = 60


def written(folder):
    """A source of each format, with lists, fixed sizes, texts, lists of lists, and what may be None."""
    rng = np.random.default_rng(1)
    write(folder / "plain.root", uproot.LZMA(1), n=ENTRIES // 3)
    counts = rng.integers(0, 4, ENTRIES)
    lists = ak.unflatten(rng.random(counts.sum()), counts)
    words = ["" if i % 5 == 0 else "abc"[: i % 4] for i in range(ENTRIES)]
    with uproot.recreate(folder / "n.root") as file:
        file.mkrntuple("Events", {"x": lists, "flat": np.arange(ENTRIES), "word": ak.Array(words)})
    rows = [
        None if i % 7 == 0 else [{"x": None if i % 3 == 0 else i / 2, "in": [[j] * j for j in range(i % 4)]}] * (i % 3)
        for i in range(ENTRIES)
    ]
    some = [None if i % 4 == 0 else {"a": i, "b": words[i]} for i in range(ENTRIES)]
    array = ak.Array({"rows": rows, "some": some, "flat": np.arange(ENTRIES), "word": words})
    table = ak.to_arrow_table(array, extensionarray=False)
    pyarrow.parquet.write_table(table, folder / "p.parquet", row_group_size=25)
    past = time.time() - 10
    for path in folder.iterdir():
        os.utime(path, (past, past))
    found = {
        "tree": open_root(folder / "plain.root"),
        "ntuple": open_root(folder / "n.root"),
        "parquet": open_parquet(folder / "p.parquet"),
    }
    assert all(source.entries == ENTRIES for source in found.values())
    return found


class Cached:
    """A source that is read through a cache."""

    def __init__(self, source, cache):
        self.source, self.cache = source, cache

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.source, name)

    def fetch(self, partition, needs):
        return self.source.fetch(partition, needs, Access(self.cache))


def cached(source, where, **more):
    return Cached(source, ColumnCache(str(where), **more))


def part_of(source, start=0, stop=ENTRIES):
    file = source.files[0]
    return Partition(file.path, file.tree, start, stop, start)


def kept(where):
    return sorted(path for path in Path(where).rglob("*") if path.is_file())

"""Reading TTrees next to decompression alone and to uproot: same files and columns, in turn, in CPU time of a thread.

usage: python benchmarks/reader.py [FILE ...] [--repeat N]   (default: the embedded sample, repeated, in every codec)

For each file: one flat column, the columns of ADL query 6, and 40 columns. `alone` decompresses the baskets of these
columns, read before, into one buffer that stays in the cache, by the library that reading takes; `read` is
`Source.read`: from the file to flat native arrays and offsets; `uproot` is `TBranch.array` of each branch. MB are of
decompressed baskets. Ratios: of the minimum and of the median; there is none to `alone` where nothing is compressed.
Last, what a chunk costs before the first event: one entry of all columns of the widest set, when the file is known.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from hepgraph.io.access.ranges import opened
from hepgraph.io.native.codecs import CHECKSUM, blocks_of, decompress
from hepgraph.io.native.libraries import NAMES, tools
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition
from hepgraph.io.ttree.baskets import Baskets, fetch, key_of
from hepgraph.io.ttree.layouts import leaf_branches
from hepgraph.io.ttree.leaves import leaf_of

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.root"
CODECS = {"zstd": uproot.ZSTD(5), "lz4": uproot.LZ4(4), "zlib": uproot.ZLIB(1), "lzma": uproot.LZMA(7)}
QUERY6 = ["nJet", "Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_btag"]
EVENTS = 30_000


def sample(folder: Path) -> list[Path]:
    """The embedded sample, repeated and smeared by 1 % so that it compresses as data do, in every codec."""
    source = open_root(SAMPLE)
    rng = np.random.default_rng(1)
    with uproot.open(SAMPLE) as file:
        tree = file["Events"]
        counters = {branch.name for branch in tree.branches if branch.name.startswith("n")}
        names = [branch.name for branch in tree.branches if branch.name not in counters]
        arrays = {name: tree[name].array() for name in names}
    times = max(1, EVENTS // source.entries)
    branches: dict[str, Any] = {}
    for name, array in arrays.items():
        array = ak.concatenate([array] * times)
        if np.issubdtype(np.dtype(ak.type(ak.flatten(array, axis=None)).content.primitive), np.floating):
            flat = ak.to_numpy(ak.flatten(array, axis=None))
            flat = (flat * (1 + 0.01 * rng.standard_normal(len(flat)))).astype(flat.dtype)
            array = ak.unflatten(flat, ak.num(array)) if array.ndim > 1 else flat
        collection, _, field = name.partition("_")
        if f"n{collection}" in counters and field:
            branches.setdefault(collection, {})[field] = array
        else:
            branches[name] = array if isinstance(array, np.ndarray) else ak.to_numpy(array)
    whole = {name: ak.zip(value) if isinstance(value, dict) else value for name, value in branches.items()}
    kinds = {
        name: value.dtype if isinstance(value, np.ndarray) else value.type.content for name, value in whole.items()
    }
    found = []
    for codec, compression in CODECS.items():
        found.append(folder / f"sample_{codec}.root")
        with uproot.recreate(found[-1], compression=compression) as file:
            tree = file.mktree("Events", kinds)
            for start in range(0, EVENTS, 10_000):
                tree.extend({name: value[start : start + 10_000] for name, value in whole.items()})
    return found


def sets(source: Any, tree: Any) -> dict[str, list[str]]:
    """The columns to read, of those that are read without uproot."""
    branches = leaf_branches(tree)
    names = [name for name in source.columns if name in branches and leaf_of(branches[name]) is not None]
    floats = [name for name in names if source.columns[name].type in ("float32", "float64")]
    found = {"one": floats[:1] or names[:1]}
    if set(QUERY6) <= set(names):
        found["query 6"] = QUERY6
    lists = [name for name in names if source.columns[name].levels]
    found["40"] = (lists[:30] + [name for name in names if name not in lists])[:40]
    return found


def blocks_by_c(blocks: list[tuple[bytes, Any]]) -> Callable[[int], None] | None:
    """What decompresses blocks of one codec to an address, by the C library that reading calls, if it calls one."""
    codec, mine = blocks[0][0], tools()
    if mine is None or {other for other, _ in blocks} != {codec}:
        return None
    own = dict(zip(NAMES, mine.addresses, strict=True))
    size, there = ctypes.c_size_t, ctypes.c_void_p
    packed = [(data.ctypes.data, len(data), wanted, data) for _, (data, wanted) in blocks]  # data: to keep it

    def right(good: bool) -> None:
        if not good:
            raise ValueError(f"a block of {codec!r} could not be decompressed")

    if codec == b"ZS" and own["zstd"]:
        zstd = ctypes.CFUNCTYPE(size, there, there, size, there, size)(own["zstd"])

        def work(room: int) -> None:
            for at, length, wanted, _ in packed:
                right(zstd(own["zstd_context"], room, wanted, at, length) == wanted)
    elif codec == b"ZL" and own["zlib"]:
        zlib = ctypes.CFUNCTYPE(ctypes.c_int, there, there, size, there, size, there)(own["zlib"])

        def work(room: int) -> None:
            for at, length, wanted, _ in packed:
                right(zlib(own["deflate_context"], at, length, room, wanted, None) == 0)
    elif codec == b"L4" and own["lz4"]:
        lz4 = ctypes.CFUNCTYPE(ctypes.c_int, there, there, ctypes.c_int, ctypes.c_int)(own["lz4"])
        xxhash = ctypes.CFUNCTYPE(ctypes.c_uint64, there, size, ctypes.c_uint64)(own["xxhash"])

        def work(room: int) -> None:
            for at, length, wanted, _ in packed:
                xxhash(at + CHECKSUM, length - CHECKSUM, 0)
                right(lz4(at + CHECKSUM, room, length - CHECKSUM, wanted) == wanted)
    else:
        return None
    return work


def alone_of(path: str, branches: list[Any]) -> tuple[Callable[[], None], int]:
    """What decompresses the baskets of some branches, and how many bytes they hold."""
    payloads = []
    with opened(path, {}) as data:
        for branch in branches:
            baskets = Baskets.of(branch)
            for number, raw in fetch(data, [(baskets, range(len(baskets.ranges)))])[0].items():
                length, total, size, _ = key_of(raw, baskets.edges[number + 1] - baskets.edges[number])
                payloads.append((raw[length:total], size))
    room = np.empty(max(size for _, size in payloads), np.uint8)
    total = sum(size for _, size in payloads)
    packed = [(payload, size) for payload, size in payloads if len(payload) != size]
    blocks = [
        (codec, (np.frombuffer(payload, np.uint8)[start:stop], wanted))
        for payload, size in packed
        for codec, start, stop, wanted in blocks_of(payload, size)
    ]
    if blocks and (work := blocks_by_c(blocks)) is not None:
        return lambda: work(room.ctypes.data), total

    def alone() -> None:
        for payload, size in packed:
            decompress(payload, size, lambda wanted: room[:wanted])

    return alone, total


def measure(works: list[Callable[[], Any]], repeat: int) -> np.ndarray[Any, Any]:
    """The CPU time of each work, in s, in turn: shape (works, repeat)."""
    found = np.empty((len(works), repeat))
    for work in works:
        work()
    gc.collect()
    for turn in range(repeat):
        for index, work in enumerate(works):
            start = time.process_time()
            work()
            found[index, turn] = time.process_time() - start
    return found


def row(label: str, times: np.ndarray[Any, Any], size: int) -> str:
    """The line of one set of columns."""
    least, median = times.min(axis=1), np.median(times, axis=1)
    speeds = [f"{size / 1e6 / each:8.0f}" if each > 1e-5 else f"{'-':>8}" for each in least]
    ratios = [
        f"{over[a] / over[b]:6.2f}" if over[b] > 1e-4 else f"{'-':>6}"
        for a, b in ((1, 0), (2, 1))
        for over in (least, median)
    ]
    return f"  {label:8s} {size / 1e6:7.1f}  {'  '.join(speeds)}   {' '.join(ratios[:2])}   {' '.join(ratios[2:])}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--repeat", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in args.files or sample(Path(folder)):
            compare(str(path), args.repeat)


def compare(path: str, repeat: int) -> None:
    source = open_root(path)
    file = source.files[0]
    part = Partition(file.path, file.tree, 0, file.entries)
    with uproot.open({path: None}, array_cache=None, object_cache=None) as handle:
        tree = handle[file.tree]
        branches = leaf_branches(tree)
        print(f"{Path(path).name}: {file.entries} entries, {len(source.columns)} columns")
        print(f"{'':20s} MB/s:{'':26s}read/alone      uproot/read")
        print("  columns       MB     alone      read    uproot      min median      min median")
        for label, names in sets(source, tree).items():
            alone, size = alone_of(path, [branches[name] for name in names])
            needs = dict.fromkeys(names, Need.DATA)

            def read(needs: dict[str, Need] = needs) -> Any:
                return source.read(part, needs)

            def theirs(names: list[str] = names) -> Any:
                return [branches[name].array() for name in names]

            print(row(label, measure([alone, read, theirs], repeat), size), flush=True)
        one = Partition(file.path, file.tree, 0, 1)
        before = measure([lambda: source.read(one, needs)], repeat)
        print(f"  one entry of {len(needs)} columns, the file known: {1e3 * np.median(before):.2f} ms\n", flush=True)


if __name__ == "__main__":
    main()

"""Reading RNTuples: hepgraph, uproot, and the decompression of the same pages by the same library and nothing else.

usage: python benchmarks/reader_rntuple.py [--events N] [--repeat N] [FILE...]

Without files, uproot writes one of each codec, of events drawn from data/sample.root with their numbers smeared by 1 %
and kept to ten bits of mantissa, as in NanoAOD. Its pages are whole columns, neither split into bytes nor with
checksums; files by ROOT, with both, are taken as arguments. Each line has the least CPU times of several runs in turn,
from files in the page cache: `read`, hepgraph from the open file to arrays and offsets, all in one range; `ranges`, in
those of a run, one after the other; `alone`, decompression of the same pages, which are in memory already, by the
library that reading calls, into one buffer that stays in the processor's cache; `fresh`, the same by the Python package
into memory for all of them; and uproot's arrays of the same columns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from reader import blocks_by_c

from hepgraph.io.native.codecs import blocks_of, decompress
from hepgraph.io.rntuple.source import layout_of
from hepgraph.io.root import open_root
from hepgraph.io.source import Need, Partition, Source
from hepgraph.io.trees import borrowed

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample.root"
CODECS = {
    "none": None,
    "LZ4": uproot.LZ4(4),
    "ZSTD": uproot.ZSTD(5),
    "ZLIB": uproot.ZLIB(1),
    "LZMA": uproot.LZMA(7),
}
STEP = 100_000
COLLECTIONS = ("Muon", "Electron", "Tau", "Photon", "Jet")
QUERY_6 = ("Jet{}pt", "Jet{}eta", "Jet{}phi", "Jet{}mass", "Jet{}btag")
WANTED = "wanted, of read: at most 1.35 times decompression for ZSTD, ZLIB and LZMA, 1.5 times as fast as uproot"


def smeared(numbers: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Floats times 1 within 1 %, with ten bits of mantissa; special values and other types as they are."""
    if numbers.dtype != np.float32:
        return numbers
    real = np.isfinite(numbers) & (numbers != 0) & (numbers > -10)
    noise = (1 + 0.01 * rng.standard_normal(len(numbers))).astype(np.float32)
    return (np.where(real, numbers * noise, numbers).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def batches(events: int) -> Iterator[ak.Array]:
    """Events in steps: records with a field a column, collections as lists of records."""
    rng = np.random.default_rng(1)
    with uproot.open(f"{SAMPLE}:Events") as tree:
        sample = tree.arrays()
    for start in range(0, events, STEP):
        drawn = sample[rng.integers(0, len(sample), min(STEP, events - start))]
        fields: dict[str, Any] = {}
        for name in sample.fields:
            collection, _, field = name.partition("_")
            if name[:1] == "n" and name[1:] in COLLECTIONS:
                continue
            if collection in COLLECTIONS:
                lists = drawn[name]
                flat = smeared(ak.to_numpy(ak.flatten(lists)), rng)
                fields.setdefault(collection, {})[field] = ak.unflatten(flat, ak.num(lists))
            else:
                fields[name] = smeared(ak.to_numpy(drawn[name]), rng)
        yield ak.Array({name: ak.zip(each) if isinstance(each, dict) else each for name, each in fields.items()})


def write(folder: Path, events: int, codecs: Sequence[str] = tuple(CODECS)) -> dict[str, Path]:
    """One file of each of these codecs, with the same events."""
    steps = list(batches(events))
    found = {}
    for name in codecs:
        found[f"{name}, by uproot"] = path = folder / f"{name}.root"
        with uproot.recreate(path, compression=CODECS[name]) as file:
            ntuple = file.mkrntuple("Events", steps[0])
            for step in steps[1:]:
                ntuple.extend(step)
    return found


def cpu(work: Callable[[], Any]) -> float:
    """The CPU time of a call, in ms."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def packed(path: str, tree: str, names: list[str]) -> list[tuple[bytes, int]]:
    """The pages of some columns as they are in the file, each once, and their sizes in memory."""
    found: dict[int, tuple[int, int]] = {}
    with borrowed(path, tree, {}) as opened:
        layout = layout_of(opened, path)
        for name in names:
            chain = layout.chain(name)
            assert chain is not None, f"{name} is left to uproot"
            for column in chain.columns(Need.DATA):
                for index, encoding in column.representations.items():
                    for cluster in range(len(layout.lists.clusters)):
                        pages = layout.lists.pages(cluster, index)
                        if pages is not None:
                            sizes = (np.diff(pages.starts) * encoding.bits + 7) // 8
                            found |= zip(pages.offsets, zip(pages.sizes, sizes, strict=True), strict=True)
    data = Path(path).read_bytes()
    return [(data[at : at + stored], int(size)) for at, (stored, size) in sorted(found.items())]


def _first(room: Any, size: int) -> Any:
    return room[:size]


def unpack(pages: list[tuple[bytes, int]], size: int) -> None:
    """What cannot be left out: every compressed page is decompressed, into memory of the size of all."""
    out, at = np.empty(size, np.uint8), 0
    for data, stop in pages:
        if len(data) < stop:
            room = out[at:]
            made = decompress(memoryview(data), stop, partial(_first, room))
            if not np.shares_memory(made, room):
                room[:stop] = made
        at += stop


def alone_of(pages: list[tuple[bytes, int]]) -> Callable[[], None]:
    """What decompresses all pages into one buffer: by the C library that reading calls, else by the Python package."""
    packed = [(data, size) for data, size in pages if len(data) < size]
    blocks = [
        (codec, (np.frombuffer(data, np.uint8)[start:stop], wanted))
        for data, size in packed
        for codec, start, stop, wanted in blocks_of(memoryview(data), size)
    ]
    buffer = np.empty(max((size for _, size in pages), default=0), np.uint8)
    work = blocks_by_c(blocks) if blocks else None
    if work is not None:
        return lambda: work(buffer.ctypes.data)

    def alone() -> None:
        for data, size in packed:
            decompress(memoryview(data), size, lambda wanted: buffer[:wanted])

    return alone


def measure(source: Source, names: list[str], repeat: int) -> str:
    """One line on some columns."""
    path, tree = source.files[0].path, source.files[0].tree
    partition = Partition(path, tree, 0, source.entries)
    pages = packed(path, tree, names)
    size = sum(size for _, size in pages)
    compressed = sum(size for data, size in pages if len(data) < size)
    with uproot.open({path: None}, array_cache=None, object_cache=None) as file:
        ntuple = file[tree]
        contenders = [
            lambda: source.read(partition, dict.fromkeys(names, Need.DATA)),
            lambda: [len(source.read(each, dict.fromkeys(names, Need.DATA))) for each in source.partitions()],
            alone_of(pages),
            lambda: unpack(pages, size),
            lambda: ntuple.arrays(filter_name=names),
        ]
        times = np.array([[cpu(work) for work in contenders] for _ in range(repeat + 1)])
    mine, _, alone, fresh, theirs = least = times[1:].min(axis=0)
    over = f"{mine / alone:8.2f}{mine / fresh:8.2f}" if compressed else f"{'-':>8}{'-':>8}"
    return (
        f"{len(names):8}{size / 1e6:8.1f}{size / mine / 1e3:8.0f}{''.join(f'{each:9.1f}' for each in least)}"
        f"{over}{theirs / mine:9.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--events", type=int, default=2 * STEP)
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {path.name: path for path in args.files} or write(Path(folder), args.events)
        times = "".join(f"{title:>9}" for title in ("read", "ranges", "alone", "fresh", "uproot"))
        print(f"{'columns':>8}{'MB':>8}{'MB/s':>8}{times}{'/alone':>8}{'/fresh':>8}{'uproot/':>9}")
        for name, path in files.items():
            source = open_root(path)
            known = [column.name for column in source.columns.values() if not column.problem]
            dot = "." if "Jet.pt" in source.columns else "_"
            jets = [jet.format(dot) for jet in QUERY_6]
            print(f"{name}, {source.entries} events, {len(source.files[0].edges) - 1} clusters")
            for names in (jets[:1], jets, known[:40]):
                print(measure(source, names, args.repeat), flush=True)
    print(f"times in ms; {WANTED}")


if __name__ == "__main__":
    main()

"""Reading Parquet: hepgraph's reader next to pyarrow on the same leaves, side by side in one run.

usage: python benchmarks/reader_parquet.py [EVENTS]      (default: 400000)

It writes its own files, of NanoAOD-like columns, in a temporary folder. Each is read in the ranges of hepgraph's reader
by `ParquetFile.read_row_groups(columns=...)` of pyarrow and by `Source.read`, which also gives flat arrays and offsets
from 0; runs alternate, and the ratio is the median of those of neighbours. Columns: ours and pyarrow, in ms (best), of
wall time with all threads of pyarrow, of wall time with one thread each, and of CPU time with one thread each. The last
lines: what a cut on a sorted column saves when statistics tell which row groups fail it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import hepgraph as hg
from hepgraph.io.parquet import source as parquet
from hepgraph.io.source import Need, Partition

ROUNDS = 7
QUERY_6 = ["nJet", *(f"Jet_{field}" for field in ("pt", "eta", "phi", "mass", "btag"))]


def table_of(events: int, nullable: bool) -> pa.Table:
    """Scalars, and two collections of twenty float columns each, at the precision that NanoAOD keeps."""
    rng = np.random.default_rng(11)
    columns: dict[str, Any] = {
        "run": np.sort(rng.integers(1, 100, events).astype(np.uint32)),
        "MET_pt": rng.exponential(30, events).astype(np.float32),
        "MET_phi": rng.uniform(-3.14, 3.14, events).astype(np.float32),
    }
    fields = {"Jet": ["pt", "eta", "phi", "mass", "btag"], "Muon": ["pt", "eta", "phi", "mass", "charge"]}
    for collection, mean in (("Jet", 5), ("Muon", 2)):
        counts = rng.poisson(mean, events).astype(np.int32)
        columns[f"n{collection}"] = counts
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        for name in [*fields[collection], *(f"more{i}" for i in range(15))]:
            values = np.round(rng.exponential(30, counts.sum()) * 64) / 64
            columns[f"{collection}_{name}"] = (offsets, values.astype(np.float32))
    arrays, schema = [], []
    item = pa.list_(pa.field("item", pa.float32(), nullable))
    for name, value in columns.items():
        array = pa.ListArray.from_arrays(*value, type=item) if isinstance(value, tuple) else pa.array(value)
        arrays.append(array)
        schema.append(pa.field(name, array.type, nullable))
    return pa.Table.from_arrays(arrays, schema=pa.schema(schema))


class Both:
    """The two readers of one file, over the same ranges and leaves."""

    def __init__(self, path: Path) -> None:
        self.source = parquet.open_parquet(path)
        self.file = pq.ParquetFile(path)
        schema = self.file.schema
        leaves = [schema.column(i).path for i in range(self.file.metadata.num_columns)]
        self.paths = {path.partition(".")[0]: path for path in leaves}
        self.edges = self.source.files[0].edges

    def groups(self, part: Partition) -> list[int]:
        """The row groups of a range."""
        pairs = list(zip(self.edges, self.edges[1:], strict=False))
        return [i for i, (a, b) in enumerate(pairs) if a < part.stop and part.start < b]

    def pyarrow(self, names: list[str], threads: bool) -> None:
        """Reads every row group once, those of a range of ours at a time."""
        done: set[int] = set()
        for part in self.source.partitions(names):
            groups = [group for group in self.groups(part) if group not in done]
            done.update(groups)
            if groups:
                self.file.read_row_groups(groups, columns=[self.paths[name] for name in names], use_threads=threads)

    def ours(self, names: list[str]) -> None:
        """Reads every range."""
        for part in self.source.partitions(names):
            self.source.read(part, dict.fromkeys(names, Need.DATA))


def side_by_side(ours: Callable[[], None], theirs: Callable[[], None], clock: Callable[[], float]) -> str:
    """The best times in ms, and the median ratio of neighbours, runs alternating."""

    def timed(work: Callable[[], None]) -> float:
        start = clock()
        work()
        return 1e3 * (clock() - start)

    pairs = []
    for turn in range(ROUNDS):
        if turn % 2:
            one = timed(ours)
            pairs.append((one, timed(theirs)))
        else:
            other = timed(theirs)
            pairs.append((timed(ours), other))
    ratio = statistics.median(a / b for a, b in pairs)
    return f"{min(a for a, _ in pairs):8.1f}{min(b for _, b in pairs):9.1f}{ratio:7.2f}"


def main() -> None:
    """Prints the table."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
    print(f"{events:,} events; ms, ours / pyarrow / ratio")
    print(f"{'file':<34}{'columns':>8}" + "".join(f"{title:>24}" for title in ("all threads", "one thread", "CPU")))
    with tempfile.TemporaryDirectory() as folder:
        for title, nullable, size, codec in (
            ("row groups of 100,000, zstd", False, 100_000, "zstd"),
            ("the same, nullable by the schema", True, 100_000, "zstd"),
            ("one row group, snappy", False, events, "snappy"),
        ):
            path = Path(folder) / f"{nullable}{size}{codec}.parquet"
            table = table_of(events, nullable)
            pq.write_table(table, path, row_group_size=size, compression=codec)
            both = Both(path)
            for names in (["MET_pt"], QUERY_6, table.column_names[3:43]):

                def ours(names: list[str] = names, both: Both = both) -> None:
                    both.ours(names)

                def alone(names: list[str] = names, both: Both = both) -> None:
                    both.pyarrow(names, True)

                def single(names: list[str] = names, both: Both = both) -> None:
                    both.pyarrow(names, False)

                parts = [side_by_side(ours, alone, time.perf_counter)]
                with parquet.readers.reading():  # as one of several readers, each keeps to one thread
                    parts.append(side_by_side(ours, single, time.perf_counter))
                    parts.append(side_by_side(ours, single, time.process_time))
                print(f"{title:<34}{len(names):>8}" + "".join(parts))
        skipping(Path(folder) / f"{False}{100_000}zstd.parquet")


def skipping(path: Path) -> None:
    """A cut on a sorted column, with and without statistics."""
    events = hg.from_parquet(path, step_size=100_000)
    cut = events[events.run > 90]
    total = ak.sum(cut.Jet_pt, axis=None)

    def run() -> Any:
        return hg.compute(total, executor="serial", progress=False, report=True)

    def whole(source: Any, partition: Any, cuts: Any) -> Any:
        return partition

    trimmed = parquet.ParquetSource.trimmed
    times: dict[bool, list[float]] = {True: [], False: []}
    reports = {}
    for _ in range(ROUNDS):
        for used in (True, False):
            parquet.ParquetSource.trimmed = trimmed if used else whole  # type: ignore[method-assign,assignment]
            start = time.perf_counter()
            reports[used] = run()
            times[used].append(1e3 * (time.perf_counter() - start))
    parquet.ParquetSource.trimmed = trimmed  # type: ignore[method-assign]
    assert reports[True][0] == reports[False][0]
    ratio = statistics.median(a / b for a, b in zip(times[True], times[False], strict=True))
    print(
        f"sum of jet pt where run > 90: {min(times[True]):.1f} ms with statistics, {min(times[False]):.1f} ms without"
    )
    print(f"ratio {ratio:.2f}; {reports[True][1].excluded:,} of {events.source.entries:,} events not read")


if __name__ == "__main__":
    main()

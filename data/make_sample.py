"""The committed sample of made-up collisions: data/sample.root and data/sample.parquet, the same events in both.

    python data/make_sample.py [--out DIR] [--events N]

The events look like CMS single-muon data of 2012 in a NanoAOD-like layout of 86 branches, but no event was ever
recorded: they are drawn from a fixed seed by two-body kinematics (collisions.py) and a few lines of detector
(detector.py). Events come in batches of 2500: a period of data taking each, one basket in ROOT and one row group in
Parquet. Each batch has a seed of its own, so a smaller N gives the first N of the same events. Needs numpy, awkward,
uproot and pyarrow.
"""

import argparse
import pathlib

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from branches import BRANCHES
from collisions import PROCESSES
from detector import detect

SEED = 20120516
EVENTS = 8000
BATCH = 2500
MAX_EVENTS = 100_000  # event numbers are unique up to here

RUNS = (
    *(193834, 194050, 194076, 194115, 194223, 194315, 194428, 194480, 194533, 194644, 194711, 194912),
    *(195016, 195099, 195147, 195265, 195304, 195397, 195530, 195552, 195633, 195655, 195774, 195915),
    *(195950, 196027, 196090, 196197, 196218, 196239, 196364, 196453),
)


def make_batch(number: int) -> ak.Array:
    """The 2500 events of one batch, in the order in which they were taken."""
    rng = np.random.RandomState([SEED, number])
    parts = []
    for process, share in PROCESSES.items():
        wanted = round(BATCH * share)
        chunks: list[ak.Array] = []
        while sum(map(len, chunks)) < wanted:
            chunks.append(detect(rng, process(rng, 2 * wanted)))
        parts.append(ak.concatenate(chunks)[:wanted])
    events = ak.concatenate(parts)[rng.permutation(BATCH)]
    first = (9 * number) % (len(RUNS) - 2)
    place = np.sort(rng.uniform(0, 3, BATCH))  # three runs a batch, one after the other
    lumi = 40 + ((place % 1) * 360).astype(int)
    counter = (np.arange(BATCH) + BATCH * number) * 61_583 % 100_003  # a prime: no number comes twice
    events["run"] = np.asarray(RUNS, "i4")[first + place.astype(int)]
    events["luminosityBlock"] = lumi.astype("u4")
    events["event"] = ((lumi * 9 + rng.randint(0, 9, BATCH)) * 100_003 + counter).astype("u8")
    return events[list(BRANCHES)]


def make_events(events: int = EVENTS) -> list[ak.Array]:
    """The first `events` events, in batches: records with a field a branch, collections as lists of records."""
    if not 0 < events <= MAX_EVENTS:
        raise ValueError(f"--events wants a number from 1 to {MAX_EVENTS}, got {events}")
    starts = range(0, events, BATCH)
    return [make_batch(start // BATCH)[: events - start] for start in starts]


def columns_of(batch: ak.Array) -> dict[str, ak.Array]:
    """A flat list of the 86 branches, counts included."""
    out = {}
    for name, kind in BRANCHES.items():
        if isinstance(kind, str):
            out[name] = batch[name]
            continue
        out[f"n{name}"] = ak.values_astype(ak.num(batch[name], axis=1), "int32")
        out |= {f"{name}_{field}": batch[name, field] for field in kind}
    return out


def write_root(path: pathlib.Path, batches: list[ak.Array]) -> None:
    with uproot.recreate(path, compression=uproot.ZSTD(19)) as file:
        tree = None
        for batch in batches:
            data = {name: batch[name] for name in BRANCHES}
            if tree is None:
                types = {name: ak.type(array).content for name, array in data.items()}
                tree = file.mktree("Events", types, title="Made-up single-muon events")
            tree.extend(data)


def write_parquet(path: pathlib.Path, batches: list[ak.Array]) -> None:
    tables = [pa.table({name: to_arrow(array) for name, array in columns_of(batch).items()}) for batch in batches]
    pq.write_table(
        pa.concat_tables(tables),
        path,
        row_group_size=BATCH,
        compression="zstd",
        compression_level=19,
        use_dictionary=False,
    )


def to_arrow(array: ak.Array) -> pa.Array:
    if array.ndim == 1:
        return pa.array(ak.to_numpy(array))
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(array, axis=1)))]).astype("i4")
    return pa.ListArray.from_arrays(offsets, pa.array(ak.to_numpy(ak.flatten(array)), from_pandas=False))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make sample.root and sample.parquet from a fixed seed.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent, help="folder of the files")
    parser.add_argument("--events", type=int, default=EVENTS, help="how many (default: %(default)s)")
    options = parser.parse_args(arguments)
    batches = make_events(options.events)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, write in (("sample.root", write_root), ("sample.parquet", write_parquet)):
        write(options.out / name, batches)
        print(f"{options.out / name}: {options.events} events, {(options.out / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()

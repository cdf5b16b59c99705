"""Files, an analysis of them, and errors that come up while they are read."""

import threading
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

import hepgraph as hg
from hepgraph.io.parquet.source import ParquetSource
from hepgraph.io.rntuple.source import RNTupleSource
from hepgraph.io.ttree.source import RootSource

QUIET = {"executor": "serial", "progress": False, "step_size": 10}
RNG = np.random.default_rng(11)
DATA = {name: {"MET_pt": RNG.exponential(20, 40), "weight": RNG.uniform(0.1, 1, 40)} for name in "abc"}


def write(folder):
    for name, columns in DATA.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=20)
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("Events", {"MET_pt": "f8", "weight": "f8"})
            for start in range(0, 40, 20):
                file["Events"].extend({key: values[start : start + 20] for key, values in columns.items()})
    return folder


def fileset_in(folder, suffix="parquet"):
    return {"data": [f"{folder}/a.{suffix}", f"{folder}/b.{suffix}"], "mc": [f"{folder}/c.{suffix}"]}


def analysis(events):
    h = hg.Hist.new.Reg(8, 0, 80, name="met").Double()
    weighted = hg.Hist.new.Reg(8, 0, 80, name="met").Weight().fill(events.MET.pt, weight=events.weight)
    return {"h": h.fill(events.MET.pt), "weighted": weighted, "pt": events.MET.pt, "n": ak.num(events, axis=0)}


def run(fileset, processor=analysis, **options):
    return hg.run(processor, fileset, **{**QUIET, "report": True, **options})


def same(a, b):
    """Whether two results are the same to the last bit."""
    return list(a) == list(b) and all(
        ak.array_equal(a[key], b[key]) if isinstance(a[key], ak.Array) else a[key] == b[key] for key in a
    )


def check_short(out, report):
    """That a result is what numpy makes of the ranges that the report says are in it."""
    done = [row for row in report.rows if row.status == "done"]
    parts = [DATA[Path(row.path).stem]["MET_pt"][row.start : row.stop] for row in done]
    values = np.concatenate(parts)
    assert out["pt"].to_list() == values.tolist()
    assert out["h"].values().tolist() == np.histogram(values, 8, (0, 80))[0].tolist()
    assert report.events == len(values) == out["n"]
    assert not report.complete
    assert report.events + sum(row.lost for row in report.failed) == report.expected


class Faults:
    """Errors to be raised where ranges are read: by file and first entry, so many times."""

    def __init__(self, monkeypatch):
        self.plan, self.calls, self.at, self.lock = {}, [], {}, threading.Lock()
        for kind in (ParquetSource, RootSource, RNTupleSource):
            monkeypatch.setattr(kind, "read", self.wrapped(kind.read))

    def wrapped(self, real):
        def read(source, partition, needs, *how):
            with self.lock:
                self.calls.append((Path(partition.path).stem, partition.start, partition.stop))
                action = self.at.pop(len(self.calls), None)
                times, error, longest = self.plan.get(self.calls[-1][:2], (0, None, 0))
                if times and len(partition) > longest:
                    self.plan[self.calls[-1][:2]] = (times - 1, error, longest)
                else:
                    error = None
            if action is not None:
                action()
            if error is not None:
                raise error
            return real(source, partition, needs, *how)

        return read

    def add(self, name, start, error, times=10**9, longer_than=0):
        self.plan[name, start] = (times, error, longer_than)

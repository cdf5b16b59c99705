"""Analyses whose results are kept, folders to keep them in, and what others may have put there."""

import json
import os
import pickle
import shutil
import socket
import stat
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import hist
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from baskets import write

import hepgraph as hg
from hepgraph.disk import plain
from hepgraph.disk.files import sealed
from hepgraph.io.cache import columnfile
from hepgraph.io.cache import metadata as remembered
from hepgraph.jit import object_cache
from hepgraph.runner import checkpoint

ROOT = os.getuid() == 0


def written(folder):
    """A folder with a file of each format, of some time ago."""
    write(folder / "a.root", uproot.ZSTD(1), n=40)
    pq.write_table(pa.table({"x": np.arange(20.0)}), folder / "a.parquet", row_group_size=10)
    for path in folder.iterdir():
        os.utime(path, (5, 5))
    return folder


class Counts:
    """A result of a class of the user's own."""

    def __init__(self, n):
        self.n = n

    def __add__(self, other):
        return Counts(self.n + other.n)


def process(events):
    return {"sum": float(np.sum(events.x)), "n": len(events), "h": hist.Hist.new.Reg(4, 0, 20).Weight().fill(events.x)}


def process_own(events):
    return {"n": Counts(len(events))}


def run(data, where, processor=process, **options):
    options = {"executor": "serial", "progress": False, "step_size": 10, "report": True, "schema": "base", **options}
    options["eager"] = processor in (process, process_own)
    return hg.run(processor, {"a": [data / "a.parquet"]}, checkpoint=where, **options)


@contextmanager
def folder():
    """A folder of the user's own, and the environment as it was afterwards."""
    before, mask = os.environ.get("HEPGRAPH_CACHE"), os.umask(0o022)
    os.umask(mask)
    where = Path(tempfile.mkdtemp())
    try:
        yield where
    finally:
        os.umask(mask)
        os.environ.pop("HEPGRAPH_CACHE", None)
        if before is not None:
            os.environ["HEPGRAPH_CACHE"] = before
        shutil.rmtree(where)


class Touch:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def hostile(place, path, where, touched):
    """Bytes with right checksums, and pickles in every place where something could load one."""
    body = pickle.dumps(Touch(touched))
    name = path.name if place != "checkpoint" else path.relative_to(where).as_posix()
    told = json.dumps(["pickle", "x", 0, len(body)]).encode()
    begin = 16 + len(told)
    tagged = plain._HEAD.pack(plain._MAGIC, len(told)) + told + bytes(-begin % 16) + body
    match place:
        case "objects":
            return [b"".join(sealed(object_cache.MAGIC, path.stem, body))]
        case "known":
            return [b"".join(sealed(remembered.MAGIC, name, each)) for each in (body, tagged)]
        case "files" | "own files":
            return [body, zlib.compress(body), zlib.compress(tagged)]
        case "columns":
            import xxhash

            head = columnfile._HEAD.pack(columnfile.MAGIC, xxhash.xxh3_64_intdigest(body), len(body))
            return [body, head + body]
    packed = [zlib.compress(each, 1) for each in (b"P" + body, b"C" + body, body)]
    return [b"".join(sealed(checkpoint.MAGIC, name, each)) for each in packed]


KINDS = ("pipe", "folder", "dangling", "link", "socket", "device", "empty", "deep", "hostile")


def replace(place, path, kind, where, touched):
    """Something else in place of a file."""
    content = path.read_bytes()
    path.unlink()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "dangling":
            path.symlink_to(where / "nowhere")
        case "link":
            (where / "moved").write_bytes(content)
            path.symlink_to(where / "moved")
        case "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                here = os.getcwd()
                os.chdir(path.parent)  # the name of a socket is short
                try:
                    bound.bind(path.name[:100])
                    if path.name != path.name[:100]:
                        os.rename(path.name[:100], path.name)
                finally:
                    os.chdir(here)
        case "device":
            if ROOT:
                os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # zeros without end
        case "empty":
            path.touch()
        case "deep":
            deep = b"[" * 200_000
            if place == "columns":
                import xxhash

                deep = columnfile._HEAD.pack(columnfile.MAGIC, xxhash.xxh3_64_intdigest(deep), len(deep)) + deep
            path.write_bytes(zlib.compress(deep) if place.endswith("files") else deep)
        case "hostile":
            path.write_bytes(content)
            path.write_bytes(hostile(place, path, where / "a" / "c", touched)[0])

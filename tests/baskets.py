"""Baskets as ROOT writes them, made byte by byte, and small files of every codec; what two data have to be equal in."""

import struct
import tempfile
import zlib
from contextlib import contextmanager

import awkward as ak
import cramjam
import numpy as np
import uproot
import xxhash
from limiting import limited

from hepgraph.io.access.ranges import NOWHERE, LocalBytes, ShortFile
from hepgraph.io.forms import data_of_layout
from hepgraph.io.ttree.baskets import Baskets, Embedded
from hepgraph.io.ttree.leaves import Number


def same(mine, theirs):
    """Whether two data are equal to the last bit."""
    return (
        mine.values.dtype == theirs.values.dtype
        and mine.values.tobytes() == theirs.values.tobytes()
        and len(mine.offsets) == len(theirs.offsets)
        and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(mine.offsets, theirs.offsets, strict=True))
    )


def as_uproot(branch, name, start, stop):
    return data_of_layout(name, branch.array(entry_start=start, entry_stop=stop).layout, {name})[name]


def block(codec, data):
    """One compressed block, with its header."""
    if codec == "ZS":
        text = bytes(cramjam.zstd.compress(data))
    elif codec == "L4":
        text = bytes(cramjam.lz4.compress_block(data, store_size=False))
        text = xxhash.xxh64_digest(text) + text
    elif codec == "ZL":
        text = zlib.compress(data)
    elif codec == "XZ":
        text = bytes(cramjam.xz.compress(data))
    else:
        text = zlib.compress(data)[2:-4]
    sizes = len(text).to_bytes(3, "little") + len(data).to_bytes(3, "little")
    return codec.encode() + b"\x08" + sizes + text


def packed(codec, data, pieces=1):
    """Compressed data; as they are where that is as long, which would mean that they are not compressed."""
    if codec is None or not data:
        return data
    step = -(-len(data) // pieces)
    text = b"".join(block(codec, data[at : at + step]) for at in range(0, len(data), step))
    return text if len(text) != len(data) else data


def basket_bytes(contents, codec=None, pieces=1, table=True, title=b"x", features=False):
    """A basket of entries (bytes each) as ROOT writes it."""
    head = b"\0" + title + b"\0" * (1 if features else 0)
    length = 18 + 8 + len(head) + 18 + 1
    data = b"".join(contents)
    starts = np.cumsum([length] + [len(content) for content in contents])
    last = int(starts[-1])
    if table:
        starts[-1] = 0
        data += struct.pack(">i", len(starts)) + starts.astype(">i4").tobytes()
    payload = packed(codec, data, pieces)
    key = struct.pack(">ihiIhh", length + len(payload), 4, len(data), 0, length, 0) + bytes(8) + head
    return key + struct.pack(">hiiiib", 3, 32000, 4, len(contents), last, 0) + payload


class Memory:
    """The bytes of a file, in memory."""

    together = False
    stamp = None
    file = None

    def __init__(self, content):
        self.content = content

    def read(self, start, stop, room):
        if not 0 <= start <= stop <= len(self.content):
            raise ShortFile(0, f"bytes {start} to {stop} are wanted, and the file has {len(self.content)}")
        return memoryview(self.content)[start:stop]

    def fetch(self, ranges):
        return [self.read(start, stop, NOWHERE) for start, stop in ranges]


@contextmanager
def on_disk(content):
    """The bytes of a file, on disk: baskets in it are placed by native code wherever they can be."""
    with tempfile.TemporaryFile() as file, limited(native_least=0):
        file.write(content)
        file.flush()
        yield LocalBytes(file.fileno())


def written(entries, cuts, codecs, table=True, embedded=0, gap=7):
    """A file with these entries (bytes each) in baskets, the last ones in the metadata, and where they are."""
    edges = (0, *cuts, len(entries))
    content, ranges, kept = b"root" * 30, [], []
    for number in range(len(edges) - 1):
        inside = entries[edges[number] : edges[number + 1]]
        if number >= len(edges) - 1 - embedded:
            starts = np.cumsum([0] + [len(entry) for entry in inside]).astype(np.int32)
            kept.append(Embedded(np.frombuffer(b"".join(inside), np.uint8), starts if table else None))
            continue
        codec, pieces = codecs[number % len(codecs)]
        text = basket_bytes(inside, codec, pieces, table, features=number % 2 == 1)
        ranges.append((len(content), len(content) + len(text)))
        content += text + b"?" * gap
    return content, Baskets(edges, tuple(ranges), tuple(kept))


NUMBERS = [
    Number(np.dtype(stored), np.dtype(stored).newbyteorder("="), sizes)
    for stored in ("?", "i1", "u1", ">i2", ">u2", ">i4", ">u4", ">i8", ">u8", ">f4", ">f8")
    for sizes in ((), (3,), (2, 2))
]
CODECS = [(None, 1), *[(codec, pieces) for codec in ("ZS", "L4", "ZL", "XZ", "CS") for pieces in (1, 3)]]


COMPRESSIONS = {
    "zstd": uproot.ZSTD(3),
    "lz4": uproot.LZ4(4),
    "zlib": uproot.ZLIB(1),
    "lzma": uproot.LZMA(1),
    "none": None,
}


def write(path, compression, cycles=3, n=40, seed=1):
    """A file of several baskets with branches of many kinds, compressible and not."""
    rng = np.random.default_rng(seed)

    def branches(cycle):
        counts = rng.integers(0, 5, n)
        lists = ak.unflatten(rng.integers(0, 3, counts.sum()).astype(np.int16), counts)
        return {
            "run": np.full(n, cycle, np.uint32),
            "good": rng.random(n) < 0.5,
            "noise": rng.random(n),
            "xyz": rng.integers(0, 4, (n, 3)).astype(np.float32),
            "Jet": ak.zip({"id": lists, "pt": ak.values_astype(lists * 3, np.float32)}),
        }

    return extended(path, map(branches, range(cycles)), compression)


def extended(path, steps, compression=None):
    """A file with a TTree `Events` of some steps of branches; each step is a basket of every branch."""
    tree = None
    with uproot.recreate(path, compression=compression) as file:
        for branches in steps:
            if tree is None:
                kinds = {
                    name: (value.dtype, value.shape[1:]) if isinstance(value, np.ndarray) else value.type.content
                    for name, value in branches.items()
                }
                tree = file.mktree("Events", kinds)
            tree.extend(branches)
    return str(path)


def first_payload(path, name):
    with uproot.open({str(path): None}) as file:
        branch = file["Events"][name]
        key = branch.basket(0)
        seek, size = int(branch.member("fBasketSeek")[0]), int(branch.member("fBasketBytes")[0])
    with open(path, "rb") as file:
        file.seek(seek)
        raw = file.read(size)
    return memoryview(raw)[key.member("fKeylen") :], key.member("fObjlen")

"""What is inside a compressed ROOT object: blocks, each with a header of nine bytes, in any of ROOT's codecs.

A header is two letters of the codec, one byte of its method, and the sizes of the block, compressed and not, in three
bytes each, the lowest first. An LZ4 block starts with the xxhash64 of the rest, highest byte first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import cramjam
import numpy as np
import xxhash

Array: TypeAlias = np.ndarray[Any, Any]
Bytes: TypeAlias = bytes | bytearray | memoryview | Array

HEADER = 9
CHECKSUM = 8


class BlockError(ValueError):
    """Compressed bytes that are not what their headers say."""


def _lz4(data: memoryview, out: Any) -> int:
    stated, found = int.from_bytes(data[:CHECKSUM], "big"), xxhash.xxh64_intdigest(data[CHECKSUM:])
    if stated != found:
        raise BlockError(f"the checksum of an LZ4 block is {found:016x}, but should be {stated:016x}")
    return int(cramjam.lz4.decompress_block_into(data[CHECKSUM:], out))


CODECS: dict[bytes, tuple[str, Callable[[Any, Any], int]]] = {
    b"ZS": ("ZSTD", cramjam.zstd.decompress_into),
    b"L4": ("LZ4", _lz4),
    b"ZL": ("ZLIB", cramjam.zlib.decompress_into),
    b"XZ": ("LZMA", cramjam.xz.decompress_into),
    b"CS": ("old ZLIB", cramjam.deflate.decompress_into),
}


Block: TypeAlias = tuple[bytes, int, int, int]  # codec, start and stop without the header, size when decompressed

_HEADER = struct.Struct("<2sxHBHB")


def unpacked(data: memoryview, size: int, room: Array) -> Array:
    """The `size` bytes that all blocks of compressed data hold, in `room` if there is enough; other threads run on.

    Raises BlockError if the blocks are damaged or hold another number of bytes; nothing is allocated then.

    >>> import zlib
    >>> text = zlib.compress(b"muons")
    >>> block = b"ZL\\x08" + len(text).to_bytes(3, "little") + (5).to_bytes(3, "little") + text
    >>> unpacked(memoryview(block + block), 10, np.empty(10, np.uint8)).tobytes()
    b'muonsmuons'
    """
    blocks = blocks_of(data, size)
    out = room[:size] if size <= len(room) else np.empty(size, np.uint8)
    _fill(data, blocks, out)
    return out


def decompress(data: Bytes, out: Bytes) -> int:
    """Fills `out` with what the first blocks of compressed data hold; gives the number of bytes that these take.

    What follows them is for the caller to judge. Raises BlockError as `unpacked` does; `out` then holds anything.

    >>> packed = bytes(cramjam.zstd.compress(b"muon" * 9))
    >>> block = b"ZS" + bytes([1, len(packed), 0, 0, 36, 0, 0]) + packed
    >>> place = bytearray(36)
    >>> decompress(block, place) == len(block), bytes(place[:8])
    (True, b'muonmuon')
    """
    source = memoryview(data).cast("B")  # type: ignore[arg-type]  # an array has a buffer, which its type does not say
    target = np.frombuffer(out, np.uint8)
    blocks = blocks_of(source, len(target))
    _fill(source, blocks, target)
    return blocks[-1][2] if blocks else 0


def _fill(data: memoryview, blocks: list[Block], out: Array) -> None:
    if len(blocks) == 1:
        _decompress(data, blocks[0], out)
        return
    at = 0
    for block in blocks:
        _decompress(data, block, out[at : at + block[3]])
        at += block[3]


def blocks_of(data: memoryview, wanted: int) -> list[Block]:
    """The blocks of compressed data, from their headers; raises BlockError unless they make `wanted` bytes."""
    found, at, total, length = [], 0, 0, len(data)
    while total < wanted and at + HEADER <= length:
        codec, low, high, small, large = _HEADER.unpack_from(data, at)
        if codec not in CODECS:
            raise BlockError(f"no compression is called {codec!r}; ROOT knows {', '.join(map(bytes.decode, CODECS))}")
        start = at + HEADER
        at = start + low + (high << 16)
        size = small + (large << 16)
        if at > length or size == 0 or (codec == b"L4" and at - start < CHECKSUM):
            raise BlockError(f"a block of {at - start} bytes ({CODECS[codec][0]}) for {size} is not all there")
        found.append((codec, start, at, size))
        total += size
    if total != wanted:
        raise BlockError(f"the compressed blocks hold {total} bytes, but {wanted} are expected")
    return found


def _decompress(data: memoryview, block: Block, out: Array) -> None:
    codec, start, stop, size = block
    name, function = CODECS[codec]
    try:
        found = function(data[start:stop], out)
    except cramjam.DecompressionError as error:
        raise BlockError(f"{name} cannot decompress {stop - start} bytes ({error})") from error
    if found != size:
        raise BlockError(f"a block of {name} should hold {size} bytes and holds {found}")

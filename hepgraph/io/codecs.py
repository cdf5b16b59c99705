"""What is inside a compressed ROOT object: blocks, each with a header of nine bytes, in any of ROOT's codecs.

A header is two letters of the codec, one byte of its method, and the sizes of the block, compressed and not, in three
bytes each, the lowest first. An LZ4 block starts with the xxhash64 of the rest, highest byte first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cramjam
import numpy as np
import xxhash

Array: TypeAlias = np.ndarray[Any, Any]

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


@dataclass(frozen=True, slots=True)
class Block:
    """One block of compressed data: its codec, where it is without its header, its size when decompressed."""

    codec: bytes
    start: int
    stop: int
    size: int


def blocks_of(data: memoryview, wanted: int) -> tuple[Block, ...]:
    """The blocks of compressed data, from their headers; raises BlockError unless they make `wanted` bytes."""
    found, at, total = [], 0, 0
    while total < wanted:
        header = bytes(data[at : at + HEADER])
        if len(header) < HEADER:
            break
        codec = header[:2]
        if codec not in CODECS:
            raise BlockError(f"no compression is called {codec!r}; ROOT knows {', '.join(map(bytes.decode, CODECS))}")
        start = at + HEADER
        at = start + int.from_bytes(header[3:6], "little")
        size = int.from_bytes(header[6:9], "little")
        if at > len(data) or size == 0 or (codec == b"L4" and at - start < CHECKSUM):
            raise BlockError(f"a {CODECS[codec][0]} block of {at - start} bytes for {size} is not all there")
        found.append(Block(codec, start, at, size))
        total += size
    if total != wanted:
        raise BlockError(f"the compressed blocks hold {total} bytes, but {wanted} are expected")
    return tuple(found)


def decompress(data: memoryview, blocks: Sequence[Block], out: Array) -> None:
    """Fills `out`, an array of bytes, with the content of the blocks; other threads run meanwhile.

    Raises BlockError if that cannot be done.

    >>> import zlib
    >>> text = zlib.compress(b"muons")
    >>> block = b"ZL\\x08" + len(text).to_bytes(3, "little") + (5).to_bytes(3, "little") + text
    >>> data, out = memoryview(block + block), np.empty(10, np.uint8)
    >>> decompress(data, blocks_of(data, 10), out)
    >>> out.tobytes()
    b'muonsmuons'
    """
    at = 0
    for block in blocks:
        name, function = CODECS[block.codec]
        try:
            found = int(function(data[block.start : block.stop], out[at : at + block.size]))
        except cramjam.DecompressionError as error:
            raise BlockError(f"{name} cannot decompress {block.stop - block.start} bytes ({error})") from error
        if found != block.size:
            raise BlockError(f"a block of {name} should hold {block.size} bytes and holds {found}")
        at += block.size

"""Compressed ROOT objects: blocks, each with a header of nine bytes, in any of ROOT's codecs.

A header is two letters of the codec, one byte of its method, and the sizes of the block, compressed and not, in three
bytes each, the lowest first. An LZ4 block starts with the xxhash64 of the rest, highest byte first.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeAlias

import cramjam
import deflate
import numpy as np
import xxhash
import zstandard

Array: TypeAlias = np.ndarray[Any, Any]

HEADER = 9
CHECKSUM = 8


class BlockError(ValueError):
    """Compressed bytes that are not what their headers say."""


class _Mine(threading.local):
    """The memory that decompressing takes: it serves one block at a time, and costs as much to make as some blocks."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


_mine = _Mine()


def _zstd(data: memoryview, size: int) -> bytes:
    stated = zstandard.frame_content_size(data)
    if stated not in (-1, size):  # -1: the frame does not say
        raise BlockError(f"a block of ZSTD should hold {size} bytes and holds {stated}")
    return _mine.zstd.decompress(data, max_output_size=size, allow_extra_data=False)


def _lz4(data: memoryview, out: Any) -> int:
    stated, found = int.from_bytes(data[:CHECKSUM], "big"), xxhash.xxh64_intdigest(data[CHECKSUM:])
    if stated != found:
        raise BlockError(f"the checksum of an LZ4 block is {found:016x}, but should be {stated:016x}")
    return int(cramjam.lz4.decompress_block_into(data[CHECKSUM:], out))


def _lzma(data: memoryview, size: int) -> bytes | bytearray:
    import imagecodecs  # takes a tenth of a second

    packed = bytes(data)
    if not packed.endswith(b"YZ"):  # imagecodecs takes a stream without its end, and of a longer one what fits
        raise cramjam.DecompressionError("the stream has no end")
    try:
        return imagecodecs.lzma_decode(packed, out=size + 1)
    except imagecodecs.LzmaError as error:
        raise cramjam.DecompressionError(str(error)) from error


# Each codec decompresses a block to bytes of its own, or into a place: whichever its fastest library can do.
WHOLE: dict[bytes, Callable[[memoryview, int], bytes | bytearray]] = {
    b"ZS": _zstd,
    b"ZL": deflate.zlib_decompress,
    b"CS": deflate.deflate_decompress,
}
INTO: dict[bytes, Callable[[Any, Any], int]] = {b"L4": _lz4, b"XZ": cramjam.xz.decompress_into}
if find_spec("imagecodecs"):  # whose liblzma is newer than that of cramjam, and up to 1.7 times as fast
    WHOLE[b"XZ"] = _lzma
CODECS = {b"ZS": "ZSTD", b"L4": "LZ4", b"ZL": "ZLIB", b"XZ": "LZMA", b"CS": "old ZLIB"}
_ERRORS = (cramjam.DecompressionError, zstandard.ZstdError, deflate.DeflateError)


Block: TypeAlias = tuple[bytes, int, int, int]  # codec, start and stop without the header, size when decompressed

_HEADER = struct.Struct("<2sxHBHB")


def unpacked(data: memoryview, size: int, place: Callable[[int], Array]) -> Array:
    """The `size` bytes that all blocks of compressed data hold, to be read only; other threads run on.

    They are where `place(size)` says, or in memory of their own. Raises BlockError if the blocks are damaged or hold
    another number of bytes; nothing is allocated then.

    >>> import zlib
    >>> text = zlib.compress(b"muons")
    >>> block = b"ZL\\x08" + len(text).to_bytes(3, "little") + (5).to_bytes(3, "little") + text
    >>> unpacked(memoryview(block + block), 10, lambda size: np.empty(size, np.uint8)).tobytes()
    b'muonsmuons'
    """
    return joined(data, blocks_of(data, size), size, place)


def joined(data: memoryview, blocks: list[Block], size: int, place: Callable[[int], Array]) -> Array:
    """As `unpacked`, where the blocks are known."""
    if len(blocks) == 1 and blocks[0][0] in WHOLE:
        return np.frombuffer(_whole(data, blocks[0]), np.uint8)
    out = place(size)
    _fill(data, blocks, out)
    return out


def _fill(data: memoryview, blocks: list[Block], out: Array) -> None:
    at = 0
    for block in blocks:
        part = out[at : at + block[3]]
        if block[0] in WHOLE:
            part[:] = np.frombuffer(_whole(data, block), np.uint8)
        else:
            _into(data, block, part)
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
            raise BlockError(f"a block of {at - start} bytes ({CODECS[codec]}) for {size} is not all there")
        found.append((codec, start, at, size))
        total += size
    if total != wanted:
        raise BlockError(f"the compressed blocks hold {total} bytes, but {wanted} are expected")
    return found


def _whole(data: memoryview, block: Block) -> bytes | bytearray:
    codec, start, stop, size = block
    try:
        made = WHOLE[codec](data[start:stop], size)
    except _ERRORS as error:
        raise BlockError(_fault(block, str(error))) from error
    _check(block, len(made))
    return made


def _into(data: memoryview, block: Block, out: Array) -> None:
    codec, start, stop, _ = block
    try:
        found = INTO[codec](data[start:stop], out)
    except _ERRORS as error:
        raise BlockError(_fault(block, str(error))) from error
    _check(block, found)


def _fault(block: Block, reason: str) -> str:
    return f"{CODECS[block[0]]} cannot decompress {block[2] - block[1]} bytes ({reason})"


def _check(block: Block, found: int) -> None:
    if found != block[3]:
        raise BlockError(f"a block of {CODECS[block[0]]} should hold {block[3]} bytes and holds {found}")

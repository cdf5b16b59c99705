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


def _lz4(data: memoryview, size: int) -> Array:
    stated, found = int.from_bytes(data[:CHECKSUM], "big"), xxhash.xxh64_intdigest(data[CHECKSUM:])
    if stated != found:
        raise BlockError(f"the checksum of an LZ4 block is {found:016x}, but should be {stated:016x}")
    out: Any = np.empty(size, np.uint8)
    return out[: cramjam.lz4.decompress_block_into(data[CHECKSUM:], out)]  # type: ignore[no-any-return]


def _xz(data: memoryview, size: int) -> Array:
    out: Any = np.empty(size, np.uint8)
    return out[: cramjam.xz.decompress_into(data, out)]  # type: ignore[no-any-return]


def _lzma(data: memoryview, size: int) -> bytes | bytearray:
    import imagecodecs  # takes a tenth of a second

    packed = bytes(data)
    if not packed.endswith(b"YZ"):  # imagecodecs takes a stream without its end, and of a longer one what fits
        raise cramjam.DecompressionError("the stream has no end")
    try:
        return imagecodecs.lzma_decode(packed, out=size + 1)
    except imagecodecs.LzmaError as error:
        raise cramjam.DecompressionError(str(error)) from error


# The name of each codec, and what decompresses a block of it to so many bytes: the fastest library that there is. The
# liblzma of imagecodecs is newer than that of cramjam, and up to 1.7 times as fast.
CODECS: dict[bytes, tuple[str, Callable[[memoryview, int], bytes | bytearray | Array]]] = {
    b"ZS": ("ZSTD", _zstd),
    b"L4": ("LZ4", _lz4),
    b"ZL": ("ZLIB", deflate.zlib_decompress),
    b"XZ": ("LZMA", _lzma if find_spec("imagecodecs") else _xz),
    b"CS": ("old ZLIB", deflate.deflate_decompress),
}
_ERRORS = (cramjam.DecompressionError, zstandard.ZstdError, deflate.DeflateError)


Block: TypeAlias = tuple[bytes, int, int, int]  # codec, start and stop without the header, size when decompressed

_HEADER = struct.Struct("<2sxHBHB")


def decompress(data: memoryview, size: int, allocate: Callable[[int], Array]) -> Array:
    """The `size` bytes that all blocks of compressed data hold, to be read only; other threads run on.

    They are in memory that `allocate(size)` gives, or in their own. Raises BlockError if the blocks are damaged or hold
    another number of bytes; nothing is allocated then.

    >>> import zlib
    >>> text = zlib.compress(b"muons")
    >>> block = b"ZL\\x08" + len(text).to_bytes(3, "little") + (5).to_bytes(3, "little") + text
    >>> decompress(memoryview(block + block), 10, lambda size: np.empty(size, np.uint8)).tobytes()
    b'muonsmuons'
    """
    return decompress_blocks(data, blocks_of(data, size), size, allocate)


def decompress_blocks(data: memoryview, blocks: list[Block], size: int, allocate: Callable[[int], Array]) -> Array:
    """As `decompress`, where the blocks are known."""
    if len(blocks) == 1:
        return _decompressed(data, blocks[0])
    out, at = allocate(size), 0
    for block in blocks:
        out[at : at + block[3]] = _decompressed(data, block)
        at += block[3]
    return out


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


def _decompressed(data: memoryview, block: Block) -> Array:
    """The content of one block."""
    codec, start, stop, size = block
    name, decompress = CODECS[codec]
    try:
        made = np.frombuffer(decompress(data[start:stop], size), np.uint8)
    except _ERRORS as error:
        raise BlockError(f"{name} cannot decompress {stop - start} bytes ({error})") from error
    if len(made) != size:
        raise BlockError(f"a block of {name} should hold {size} bytes and holds {len(made)}")
    return made

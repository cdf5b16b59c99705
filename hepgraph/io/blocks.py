"""ROOT's compressed blocks, decompressed into memory that is already there.

A compressed buffer is a chain of blocks, each with a header of nine bytes: two letters for the codec, one for its
version, the sizes packed and unpacked in three bytes each. No block unpacks to more than 16 MiB, so that a long buffer
has several. Nothing is allocated for what a header claims: the place for the result comes from the caller, and a block
that does not fit what is left of it is an error. All codecs run without the GIL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import cramjam
import numpy as np
import xxhash

Bytes: TypeAlias = bytes | bytearray | memoryview | np.ndarray[Any, Any]

HEADER = 9
LZ4_CHECKSUM = 8


class BlockError(ValueError):
    """Compressed blocks that cannot be unpacked; the message says why, and nothing of where."""


def decompress(blocks: Bytes, out: Bytes) -> int:
    """Unpacks a chain of blocks until `out` is full, and gives the number of bytes of `blocks` that it took.

    Bytes that follow are for the caller to judge. Raises BlockError if the chain ends early, a header or a checksum is
    wrong, or a block does not unpack to the size that it claims; `out` then holds anything.

    >>> packed = bytes(cramjam.zstd.compress(b"muon" * 9))
    >>> block = b"ZS" + bytes([1, len(packed), 0, 0, 36, 0, 0]) + packed
    >>> place = bytearray(36)
    >>> decompress(block, place) == len(block), bytes(place[:8])
    (True, b'muonmuon')
    """
    source, target = _view(blocks), _view(out)
    at = filled = number = 0
    while filled < len(target):
        number += 1
        head = bytes(source[at : at + HEADER])
        if len(head) < HEADER:
            raise BlockError(
                f"the data end after {number - 1} blocks, which give {filled} of the {len(target)} bytes wanted"
            )
        packed, unpacked = int.from_bytes(head[3:6], "little"), int.from_bytes(head[6:9], "little")
        codec = _CODECS.get(head[:2])
        if codec is None:
            raise BlockError(f"block {number} is of an unknown codec, {head[:2]!r}")
        name, unpack = codec
        at += HEADER
        if packed > len(source) - at:
            raise BlockError(f"block {number} ({name}) has {packed} bytes, but only {len(source) - at} are left")
        if not 0 < unpacked <= len(target) - filled:
            raise BlockError(
                f"block {number} ({name}) claims to hold {unpacked} bytes, where {len(target) - filled} are wanted"
            )
        try:
            found = unpack(source[at : at + packed], target[filled : filled + unpacked])
        except cramjam.DecompressionError as error:
            raise BlockError(f"block {number} ({name}) cannot be unpacked: {error}") from None
        if found != unpacked:
            raise BlockError(f"block {number} ({name}) gives {found} bytes, not the {unpacked} that it claims to hold")
        at += packed
        filled += unpacked
    return at


def _view(data: Bytes) -> memoryview:
    return memoryview(data).cast("B")  # type: ignore[arg-type]  # an array has a buffer, which its type does not say


def _lz4(block: memoryview, out: memoryview) -> int:
    checksum = int.from_bytes(block[:LZ4_CHECKSUM], "big")
    if len(block) < LZ4_CHECKSUM or xxhash.xxh64_intdigest(block[LZ4_CHECKSUM:]) != checksum:
        raise cramjam.DecompressionError("its checksum is wrong")
    return int(cramjam.lz4.decompress_block_into(block[LZ4_CHECKSUM:], out, output_len=len(out)))


_CODECS: dict[bytes, tuple[str, Callable[[memoryview, memoryview], int]]] = {
    b"ZS": ("ZSTD", cramjam.zstd.decompress_into),
    b"L4": ("LZ4", _lz4),
    b"ZL": ("ZLIB", cramjam.zlib.decompress_into),
    b"XZ": ("LZMA", cramjam.xz.decompress_into),
    b"CS": ("old ZLIB", cramjam.deflate.decompress_into),
}

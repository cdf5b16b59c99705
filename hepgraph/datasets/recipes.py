"""Numbers that formats write in place of the name of a collection: how each is made of the name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

_32, _64 = (1 << 32) - 1, (1 << 64) - 1


def podio(name: str, kind: int = 0) -> int:
    """The collection ID of podio (since 0.17): MurmurHash3 of the name, 32 bits, seed 0.

    >>> podio("EventHeader")
    3616779153
    """
    data = name.encode()
    hashed, whole = 0, len(data) // 4 * 4
    for start in range(0, whole, 4):
        hashed ^= _mixed(int.from_bytes(data[start : start + 4], "little"))
        hashed = (_turned(hashed, 13) * 5 + 0xE6546B64) & _32
    hashed ^= _mixed(int.from_bytes(data[whole:], "little")) ^ len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashed = ((hashed ^ hashed >> shift) * factor) & _32
    return hashed ^ hashed >> 16


def _turned(x: int, by: int) -> int:
    return (x << by | x >> 32 - by) & _32


def _mixed(x: int) -> int:
    return _turned(x * 0xCC9E2D51 & _32, 15) * 0x1B873593 & _32


def athena(name: str, kind: int = 0) -> int:
    """The key of ATLAS's StoreGate: CRC-64 (Jones) of the name and the number of the class, of which 30 bits are kept.

    >>> hex(athena("InDetTrackParticles", 1287425431))
    '0x1d3890db'
    """
    table, crc = _crc_table(), _64
    for byte in name.encode():
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    while kind > 0:
        crc = table[(crc ^ kind) & 0xFF] ^ crc >> 8
        kind >>= 8
    return crc & 0x3FFFFFFF


@cache
def _crc_table() -> list[int]:
    made = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ 0x95AC9329AC4BC9B5 if byte & 1 else byte >> 1
        made.append(byte)
    return made


KEYS: dict[str, Callable[[str, int], int]] = {"athena": athena, "podio": podio}

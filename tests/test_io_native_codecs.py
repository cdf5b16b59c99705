"""ROOT's compressed blocks: any bytes come back from any chain, and damage is an error that says what is wrong."""

import zlib
from importlib.util import find_spec

import cramjam
import numpy as np
import pytest
import uproot
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgraph.io.native import codecs
from hepgraph.io.native.codecs import BlockError, blocks_of, decompress_blocks


@pytest.fixture(params=["imagecodecs", "cramjam"], scope="module", autouse=True)
def lzma(request):
    """Every test with each of the libraries that may read LZMA."""
    if not find_spec(request.param):
        pytest.skip(f"{request.param} is not installed")
    was = codecs.CODECS[b"XZ"]
    codecs.CODECS[b"XZ"] = "LZMA", codecs._lzma if request.param == "imagecodecs" else codecs._xz
    yield
    codecs.CODECS[b"XZ"] = was


def decompress(data, out):
    """Fills `out` with what the first blocks hold; gives the number of bytes that these take."""
    source, target = memoryview(data).cast("B"), np.frombuffer(out, np.uint8)
    blocks = blocks_of(source, len(target))
    made = decompress_blocks(source, blocks, len(target), lambda _: target)
    if made is not target:
        target[...] = made
    return blocks[-1][2] if blocks else 0


def old_zlib(data):
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


def with_checksum(packed):
    return xxhash.xxh64_intdigest(packed).to_bytes(8, "big") + packed


CODECS = {
    b"ZS\x01": lambda data: bytes(cramjam.zstd.compress(data)),
    b"L4\x01": lambda data: with_checksum(bytes(cramjam.lz4.compress_block(data, store_size=False))),
    b"ZL\x08": zlib.compress,
    b"XZ\x00": lambda data: bytes(cramjam.xz.compress(data)),
    b"CS\x08": old_zlib,
}


def size(number):
    return number.to_bytes(3, "little")


def block(codec, data):
    packed = CODECS[codec](data)
    return codec + size(len(packed)) + size(len(data)) + packed


@given(parts=st.lists(st.tuples(st.sampled_from(sorted(CODECS)), st.binary(min_size=1, max_size=300)), max_size=4))
@settings(deadline=None)
def test_any_chain_of_any_codecs(parts):
    chain = b"".join(block(codec, data) for codec, data in parts)
    expected = b"".join(data for _, data in parts)
    out = bytearray(len(expected))
    assert decompress(chain + b"what follows", out) == len(chain)
    assert out == expected


@pytest.mark.parametrize("codec", [uproot.ZSTD(3), uproot.LZ4(4), uproot.ZLIB(1), uproot.LZMA(1)])
def test_what_uproot_writes_in_several_blocks(codec):
    data = np.arange(9_000_000, dtype=np.uint32) // 7  # 36 MB: three blocks
    chain = uproot.compression.compress(data.tobytes(), codec)
    out = np.zeros(len(data), np.uint32)
    assert decompress(np.frombuffer(chain, np.uint8), out) == len(chain)
    assert np.array_equal(out, data)


TEXT = b"forty-two bytes of something, and no more."
MESSAGES = {
    "the compressed blocks hold 0 bytes, but 42 are expected": b"",
    "the compressed blocks hold 42 bytes, but 84 are expected": block(b"ZS\x01", TEXT),
    "no compression is called b'QQ'; ROOT knows ZS, L4, ZL, XZ, CS": b"QQ" + block(b"ZS\x01", TEXT)[2:],
    "a block of 16777215 bytes (old ZLIB) for 16777215 is not all there": b"CS\x08" + b"\xff" * 6,
    "the compressed blocks hold 16777215 bytes, but 42 are expected": b"ZL\x08" + size(0) + b"\xff" * 3,
    "a block of 0 bytes (ZLIB) for 0 is not all there": b"ZL\x08" + size(0) + size(0),
    "a block of ZSTD should hold 43 bytes and holds 42": (
        block(b"ZS\x01", TEXT)[:6] + size(43) + block(b"ZS\x01", TEXT)[9:]
    ),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_damage(message):
    wanted = 84 if "84" in message else 43 if "43" in message else 42
    with pytest.raises(BlockError) as caught:
        decompress(MESSAGES[message], bytearray(wanted))
    assert str(caught.value) == message


PACKED = CODECS[b"XZ\x00"](TEXT)
CUT = {
    "its end": PACKED[:-1],
    "its end and index": PACKED[:-12],
    "half of it": PACKED[: len(PACKED) // 2],
    "all but a byte": PACKED[:1],
    "nothing, but more follows": PACKED + b"more",
}


@pytest.mark.parametrize("missing", CUT)
def test_an_lzma_block_without_something(missing):
    packed = CUT[missing]
    with pytest.raises(BlockError, match="LZMA"):
        decompress(b"XZ\x00" + size(len(packed)) + size(len(TEXT)) + packed, bytearray(len(TEXT)))


@pytest.mark.parametrize("wanted", [1, 41, 43, 100])
def test_an_lzma_block_of_another_size(wanted):
    with pytest.raises(BlockError, match="LZMA"):
        decompress(b"XZ\x00" + size(len(PACKED)) + size(wanted) + PACKED, bytearray(wanted))


@given(
    codec=st.sampled_from(sorted(CODECS)),
    data=st.binary(min_size=1, max_size=200),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4),
)
@settings(deadline=None)
def test_flipped_bytes_give_an_error_or_an_array(codec, data, flips):
    chain = bytearray(block(codec, data))
    for place, byte in flips:
        chain[place % len(chain)] ^= byte
    out = bytearray(len(data))
    try:
        decompress(chain, out)
    except BlockError:
        return
    assert codec[:2] != b"L4" or out == data  # LZ4 blocks have a checksum

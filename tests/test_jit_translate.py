"""Functions in a small part of Python, as native code against what Python makes of them."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgraph.io.native.loops import address, compiled, loop
from hepgraph.jit.translate import assembly

SOURCE = """
def decided(x, y):
    if x < y <= 2 * x or x == LIMIT:
        return 1
    elif not (x and y > 3):
        y = x + 5
    else:
        x, y = y, x - 1
        if x & 1:
            return x ^ y
    return -y if x != y else 0

def collatz(x):
    steps = 0
    while x > 1:
        x = x // 2 if x % 2 == 0 else 3 * x + 1
        steps += 1
    return steps

def summed(x, y):
    total, last = 0, 0
    for k in range(x, y):
        if k & 3 == 0 and k != 8:
            total += decided(k, last)
        for inner in range(0, k & 1):
            total -= inner + (k << 2 | 1)
        last = collatz(k & 63)
    return total + (last << 3)

def {name}(which, x, y):
    if which == 0:
        return decided(x, y)
    return collatz(x & 0xffff) if which == 1 else summed(x, y)
"""
PYTHON = {"LIMIT": 7}
exec(SOURCE.format(name="reference"), PYTHON)
NUMBERS = {"i8": "i1", "i16": "<i2", "i32": "<i4", "i64": "<i8", "u8": "u1", "u16": "<u2", "u32": "<u4"}
NUMBERS |= {"big16": ">i2", "big32": ">i4", "big64": ">i8"}


def native(level):
    name = f"as_python_{level}"
    text = assembly(SOURCE.format(name=name), {"LIMIT": 7})
    return compiled(name, lambda: text, "i64(i64, i64, i64)", level)


@pytest.mark.parametrize("level", [0, 1, 2])
@given(which=st.integers(0, 2), x=st.integers(-40, 100), y=st.integers(-40, 100))
@settings(deadline=None)
def test_control_flow_is_that_of_python(level, which, x, y):
    assert native(level)(which, x, y) == PYTHON["reference"](which, x, y)


@pytest.mark.parametrize("kind", NUMBERS)
@given(data=st.binary(min_size=32, max_size=40), shift=st.integers(0, 3), index=st.integers(0, 3))
@settings(deadline=None)
def test_numbers_in_memory_are_those_of_numpy(kind, data, shift, index):
    load = loop(f"load_{kind}", f"def load_{kind}(start, shift, index): return (start + shift).{kind}[index]", 3)
    bytes_ = np.frombuffer(data + bytes(8), np.uint8)
    dtype = np.dtype(NUMBERS[kind])
    values = bytes_[shift : shift + 4 * dtype.itemsize].view(dtype)
    assert load(bytes_.ctypes.data, shift, index) == values[index]


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@given(number=st.integers(-(2**63), 2**63 - 1), shift=st.integers(0, 3), index=st.integers(0, 3))
@settings(deadline=None)
def test_stored_numbers_are_those_of_numpy(bits, number, shift, index):
    store = loop(f"store_{bits}", f"def store_{bits}(start, k, number):\n    start.i{bits}[k] = number", 3)
    found, wanted = np.zeros(40, np.uint8), np.zeros(40, np.uint8)
    store(found.ctypes.data + shift, index, number)
    wanted[shift : shift + bits // 2].view(f"i{bits // 8}")[index] = np.array([number]).astype(f"i{bits // 8}")[0]
    assert found.tolist() == wanted.tolist()


def test_tables_copies_and_calls_by_address():
    seen = []
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int32)
    function = kind(lambda x, y: seen.append((x, y)) or -3)
    source = """
def told(table, out):
    copy(out, table, 8)
    return invoke("i32 i64 i32", table.function, table.second, table.second + (1 << 32)) + table.first
"""
    text = assembly(source, tables={"table": ("first", "second", "function")})
    table, out = np.array([40, 2, address(function)]), np.zeros(2, np.int64)
    assert compiled("told", lambda: text, "i64(i64, i64)", 0)(table.ctypes.data, out.ctypes.data) == 37
    assert seen == [(2, 2)]
    assert out.tolist() == [40, 0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(x): return x / 2", "there is no way to translate 'x / 2'"),
        ("def f(x): return y", "there is no way to translate 'y'"),
        ("def f(x): return 1.5", "there is no way to translate '1.5'"),
        ("def f(x): return x.f4[0]", "there are no numbers 'x.f4[0]'"),
        ("def f(x): x.y = 1", "there is no way to assign to 'x.y'"),
        ("def f(x): x.big16[0] = 1", "big-endian numbers are read only: 'x.big16[0]'"),
        ("def f(x):\n    with x: return 1", "there is no way to translate 'with x:"),
    ],
)
def test_what_is_not_in_the_language_is_refused(source, message):
    with pytest.raises(SyntaxError, match="^" + message.replace("[", r"\[").replace("]", r"\]")):
        assembly(source)

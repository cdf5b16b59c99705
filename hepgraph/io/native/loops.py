"""Native loops of the readers: a few lines of LLVM each, compiled once in a process, run without the GIL."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from hepgraph.graph.offsets import offsets_of
from hepgraph.io.native.buffers import shelf
from hepgraph.jit import compiler

Array: TypeAlias = np.ndarray[Any, Any]

LANES = 16
MANY = 1000  # numbers, from which a compiled loop pays
STEPS = tuple(np.dtype(kind) for kind in ("u1", "i4", "u4", "i8", "u8"))

_lock = threading.Lock()
_engines: dict[str, Any] = {}  # they own the code of the functions
_functions: dict[str, Any] = {}
_KINDS = {"void": None, "ptr": ctypes.c_void_p, "i64": ctypes.c_int64}


def compiled(name: str, text: Callable[[], str], signature: str, level: int = 1) -> Any:
    """The function of this name in a text, as "i64(ptr, i64)" says it is called; compiled when first asked for.

    That takes some 10 ms, and 2 where the object code of an earlier process is on disk. The text is assembly for LLVM;
    nothing in it is made better than it is written. At level 0 it is compiled four times as quickly, for what is not
    a loop over numbers.
    """
    found = _functions.get(name)
    if found is not None:
        return found
    with _lock:
        if name not in _functions:
            made = text()
            engine, _ = compiler.loaded(compiler.name_of(made, f"{level}"), level, lambda: compiler.parsed(made, level))
            _engines[name] = engine
            result, _, arguments = signature.rstrip(")").partition("(")
            kinds: list[Any] = [_KINDS[kind] for kind in (result, *arguments.split(", "))]
            _functions[name] = ctypes.CFUNCTYPE(*kinds)(engine.get_function_address(name))
        return _functions[name]


def address(function: Any) -> int:
    """Where a function is in memory, for other native code to call."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def add_up(steps: Array, skip: int, out: Array, begin: int = 0) -> bool:
    """Fills the int64 `out` with the running sums of `steps` (of a type in STEPS), without the first `skip` of them.

    They are counted from `begin`. Says whether they never decrease.

    >>> out = np.empty(3, np.int64)
    >>> add_up(np.array([5, 1, 0, 2], np.int32), 1, out)
    True
    >>> out
    array([6, 6, 8])
    """
    if not (steps.flags.c_contiguous and out.flags.c_contiguous and out.dtype == np.int64):
        raise ValueError("the steps and the place for the sums must each be contiguous")
    if steps.dtype not in STEPS:
        raise ValueError(f"steps of {steps.dtype} are not added up")
    if not 0 <= skip <= skip + len(out) <= len(steps):
        raise ValueError(f"{len(steps)} steps do not give sums {skip} to {skip + len(out)}")
    return not adder(steps.dtype)(steps.ctypes.data, out.ctypes.data, skip, skip + len(out), begin)


def summed(counts: Array) -> Array:
    """As `offsets_of`: the running sums of counts, from 0, or of what is true; other threads run on.

    >>> summed(np.array([True, False, True]))
    array([0, 1, 1, 2])
    """
    offsets = shelf.take(len(counts) + 1, np.dtype(np.int64))
    steps = counts.view(np.uint8) if counts.dtype == np.bool_ else counts
    if len(steps) < MANY or steps.dtype not in STEPS or not steps.flags.c_contiguous:
        return offsets_of(counts, offsets)
    offsets[0] = 0
    add_up(steps, 0, offsets[1:])
    return offsets


def adder(dtype: np.dtype[Any]) -> Any:
    """The function of `add_up` for steps of one type, which gives 0 where the sums never decrease."""
    return compiled(f"add_up_{dtype.str[1:]}", lambda: _sum(dtype), "i64(ptr, ptr, i64, i64, i64)")


def follows(table: Array, offsets: Array, width: int) -> bool:
    """Whether numbers as ROOT stores them (big-endian, 32 bits) are offsets in bytes of items of `width` bytes.

    They may be counted from anywhere: `table[i] - table[0]` must be `(offsets[i] - offsets[0]) * width`, in 32 bits.

    >>> follows(np.array([7, 15, 15], ">i4"), np.array([3, 5, 5]), 4)
    True
    >>> follows(np.array([7, 15, 16], ">i4"), np.array([3, 5, 5]), 4)
    False
    """
    if not (table.flags.c_contiguous and offsets.flags.c_contiguous):
        raise ValueError("the table and the offsets must each be contiguous")
    if len(table) != len(offsets) or table.dtype != np.dtype(">i4") or offsets.dtype != np.int64:
        raise ValueError(f"{len(table)} of {table.dtype.str} do not compare with {len(offsets)} of {offsets.dtype.str}")
    if len(table) == 0:
        return True
    return not follower()(table.ctypes.data, offsets.ctypes.data, len(table), width & 0xFFFFFFFF)


def follower() -> Any:
    """The function of `follows`, which gives 0 where numbers are such offsets."""
    return compiled("follows", _follows, "i64(ptr, ptr, i64, i64)")


def slow_follows(table: Array, offsets: Array, width: int) -> bool:
    """The definition of `follows`, by NumPy."""
    wanted = ((offsets - offsets[:1]) * width).astype(np.int32)
    return bool((table.astype(np.int32) - table[:1].astype(np.int32) == wanted).all())


def looped(name: str, bits: int, many: list[str], one: list[str], result: str, single: str) -> str:
    """The text of a function that fills `%out` with numbers of so many bits: LANES at a time, or one at a time.

    It is called with `%in`, `%out`, `%stride` and `%count`. The instructions `many` make `result` of numbers `%i` and
    those that follow, the instructions `one` make `single` of number `%k`. What is stored LANES at a time goes past the
    processor's caches, in which there is no room for a column: the first of these begins where a line of them does.
    """
    vector, more, last = f"<{LANES} x i{bits}>", "\n  ".join(many), "\n  ".join(one)
    line = LANES * bits // 8
    return f"""
define void @{name}(ptr noalias %in, ptr noalias %out, i64 %stride, i64 %count) {{
entry:
  {_to_line("%out", bits // 8, line)}
  %few = icmp sgt i64 %numbers, %count
  %alone = or i1 %never, %few
  %lead = select i1 %alone, i64 %count, i64 %numbers
  %rest = sub i64 %count, %lead
  %left = srem i64 %rest, {LANES}
  %whole = sub i64 %count, %left
  br label %tail
head:
  %i = phi i64 [%lead, %stop], [%inext, %body]
  %more = icmp slt i64 %i, %whole
  br i1 %more, label %body, label %tail
body:
  {more}
  %to = getelementptr i{bits}, ptr %out, i64 %i
  store {vector} {result}, ptr %to, align {line}, !nontemporal !0
  %inext = add i64 %i, {LANES}
  br label %head
tail:
  %k = phi i64 [0, %entry], [%i, %head], [%knext, %single]
  %end = phi i64 [%lead, %entry], [%count, %head], [%end, %single]
  %again = icmp slt i64 %k, %end
  br i1 %again, label %single, label %stop
single:
  {last}
  %place = getelementptr i{bits}, ptr %out, i64 %k
  store i{bits} {single}, ptr %place, align 1
  %knext = add i64 %k, 1
  br label %tail
stop:
  %all = icmp eq i64 %end, %count
  br i1 %all, label %done, label %head
done:
  ret void
}}
!0 = !{{i32 1}}
"""


def _to_line(place: str, width: int, line: int) -> str:
    """Text that loads the `%numbers` of so many bytes from a place to where a line begins, unless that is `%never`."""
    return f"""%address = ptrtoint ptr {place} to i64
  %negative = sub i64 0, %address
  %short = and i64 %negative, {line - 1}
  %odd = srem i64 %short, {width}
  %never = icmp ne i64 %odd, 0
  %numbers = sdiv i64 %short, {width}"""


def _sum(dtype: np.dtype[Any]) -> str:
    """One step at a time up to the first that is wanted, and to a line of the caches; then eight at a time."""
    return _sum_up_to_a_line(dtype) + _sum_of_eights(dtype) + _sum_one_by_one(dtype)


def _widened(dtype: np.dtype[Any], new: str, stored: str, vector: str = "{}") -> str:
    """A number, or a vector of some, as 64 bits."""
    bits = 8 * dtype.itemsize
    old, wide = vector.format(f"i{bits}"), vector.format("i64")
    if bits == 64:
        return f"%{new} = bitcast {old} %{stored} to {wide}"
    return f"%{new} = {'sext' if dtype.kind == 'i' else 'zext'} {old} %{stored} to {wide}"


def _sum_up_to_a_line(dtype: np.dtype[Any]) -> str:
    """The bytes skipped, the first number that is wanted, and how many come before the next line of the caches."""
    bits = 8 * dtype.itemsize
    return f"""
declare i64 @llvm.vector.reduce.or.v8i64(<8 x i64>)
define i64 @add_up_{dtype.str[1:]}(ptr noalias %in, ptr noalias %out, i64 %skip, i64 %stop, i64 %begin) {{
entry:
  %zero = sub i64 0, %skip
  %start = getelementptr i64, ptr %out, i64 %zero
  br label %passed
passed:
  %i = phi i64 [0, %entry], [%next, %pass]
  %sum = phi i64 [%begin, %entry], [%new, %pass]
  %before = icmp slt i64 %i, %skip
  br i1 %before, label %pass, label %first
pass:
  %from = getelementptr i{bits}, ptr %in, i64 %i
  %x = load i{bits}, ptr %from, align 1
  {_widened(dtype, "w", "x")}
  %new = add i64 %sum, %w
  %next = add i64 %i, 1
  br label %passed
first:
  %any = icmp slt i64 %i, %stop
  br i1 %any, label %one, label %none
none:
  ret i64 0
one:
  %first.from = getelementptr i{bits}, ptr %in, i64 %i
  %first.x = load i{bits}, ptr %first.from, align 1
  {_widened(dtype, "first.w", "first.x")}
  %first.sum = add i64 %sum, %first.w
  store i64 %first.sum, ptr %out, align 1
  %second = add i64 %i, 1
  %second.to = getelementptr i64, ptr %out, i64 1
  {_to_line("%second.to", 8, 64)}
  %line = add i64 %second, %numbers
  %beyond = icmp sgt i64 %line, %stop
  %alone = or i1 %never, %beyond
  %lead = select i1 %alone, i64 %stop, i64 %line
  %rest = sub i64 %stop, %lead
  %left = srem i64 %rest, 8
  %whole = sub i64 %stop, %left
  br label %tail
"""


def _sum_of_eights(dtype: np.dtype[Any]) -> str:
    """Eight numbers at a time, from line to line."""
    bits, many = 8 * dtype.itemsize, "<8 x i64>"
    doubled, sums = [], "v"
    for distance in (1, 2, 4):  # sums of the two, four and eight that end at each one
        lanes = ", ".join(f"i32 {8 - distance + lane}" for lane in range(8))
        new = f"d{distance}"
        doubled.append(f"%{new}s = shufflevector {many} zeroinitializer, {many} %{sums}, <8 x i32> <{lanes}>")
        doubled.append(f"%{new} = add {many} %{sums}, %{new}s")
        sums = new
    vectors = "\n  ".join(doubled)
    return f"""\
head:
  %j = phi i64 [%lead, %end], [%jnext, %body]
  %total = phi i64 [%now, %end], [%last, %body]
  %signs = phi {many} [zeroinitializer, %end], [%seen, %body]
  %more = icmp slt i64 %j, %whole
  br i1 %more, label %body, label %reduce
body:
  %vector.from = getelementptr i{bits}, ptr %in, i64 %j
  %stored = load <8 x i{bits}>, ptr %vector.from, align 1
  {_widened(dtype, "v", "stored", "<8 x {}>")}
  %seen = or {many} %signs, %v
  {vectors}
  %carry = insertelement {many} zeroinitializer, i64 %total, i32 0
  %carried = shufflevector {many} %carry, {many} zeroinitializer, <8 x i32> zeroinitializer
  %result = add {many} %{sums}, %carried
  %last = extractelement {many} %result, i32 7
  %vector.to = getelementptr i64, ptr %start, i64 %j
  store {many} %result, ptr %vector.to, align 64, !nontemporal !0
  %jnext = add i64 %j, 8
  br label %head
reduce:
  %found = call i64 @llvm.vector.reduce.or.v8i64({many} %signs)
  %both = or i64 %found, %sign
  br label %tail
"""


def _sum_one_by_one(dtype: np.dtype[Any]) -> str:
    """The numbers before the first line, and behind the last whole eight."""
    bits = 8 * dtype.itemsize
    return f"""\
tail:
  %k = phi i64 [%second, %one], [%j, %reduce], [%knext, %keep]
  %now = phi i64 [%first.sum, %one], [%total, %reduce], [%larger, %keep]
  %sign = phi i64 [0, %one], [%both, %reduce], [%worse, %keep]
  %until = phi i64 [%lead, %one], [%stop, %reduce], [%until, %keep]
  %again = icmp slt i64 %k, %until
  br i1 %again, label %keep, label %end
keep:
  %here = getelementptr i{bits}, ptr %in, i64 %k
  %y = load i{bits}, ptr %here, align 1
  {_widened(dtype, "z", "y")}
  %worse = or i64 %sign, %z
  %larger = add i64 %now, %z
  %to = getelementptr i64, ptr %start, i64 %k
  store i64 %larger, ptr %to, align 1
  %knext = add i64 %k, 1
  br label %tail
end:
  %all = icmp eq i64 %until, %stop
  br i1 %all, label %done, label %head
done:
  %answer = lshr i64 %sign, 63
  ret i64 %answer
}}
!0 = !{{i32 1}}
"""


def _follows() -> str:
    """Sixteen numbers at a time, whose differences are gathered, then one at a time."""
    few, many = f"<{LANES} x i32>", f"<{LANES} x i64>"

    def splat(value: str) -> str:
        return (
            f"%{value}1 = insertelement {few} zeroinitializer, i32 %{value}, i32 0\n"
            f"  %{value}s = shufflevector {few} %{value}1, {few} zeroinitializer, <{LANES} x i32> zeroinitializer"
        )

    return f"""
declare {few} @llvm.bswap.v{LANES}i32({few})
declare i32 @llvm.bswap.i32(i32)
declare i32 @llvm.vector.reduce.or.v{LANES}i32({few})
define i64 @follows(ptr noalias %table, ptr noalias %offsets, i64 %count, i64 %width) {{
entry:
  %w = trunc i64 %width to i32
  %t0 = load i32, ptr %table, align 1
  %t = call i32 @llvm.bswap.i32(i32 %t0)
  %o0 = load i64, ptr %offsets, align 1
  %o = trunc i64 %o0 to i32
  {splat("w")}
  {splat("t")}
  {splat("o")}
  %left = srem i64 %count, {LANES}
  %whole = sub i64 %count, %left
  br label %head
head:
  %i = phi i64 [0, %entry], [%inext, %body]
  %sum = phi {few} [zeroinitializer, %entry], [%wrong, %body]
  %more = icmp slt i64 %i, %whole
  br i1 %more, label %body, label %middle
body:
  %ta = getelementptr i32, ptr %table, i64 %i
  %tb = load {few}, ptr %ta, align 1
  %tc = call {few} @llvm.bswap.v{LANES}i32({few} %tb)
  %td = sub {few} %tc, %ts
  %oa = getelementptr i64, ptr %offsets, i64 %i
  %ob = load {many}, ptr %oa, align 1
  %oc = trunc {many} %ob to {few}
  %od = sub {few} %oc, %os
  %oe = mul {few} %od, %ws
  %differ = xor {few} %td, %oe
  %wrong = or {few} %sum, %differ
  %inext = add i64 %i, {LANES}
  br label %head
middle:
  %start = call i32 @llvm.vector.reduce.or.v{LANES}i32({few} %sum)
  br label %tail
tail:
  %k = phi i64 [%whole, %middle], [%knext, %single]
  %found = phi i32 [%start, %middle], [%worse, %single]
  %again = icmp slt i64 %k, %count
  br i1 %again, label %single, label %done
single:
  %ka = getelementptr i32, ptr %table, i64 %k
  %kb = load i32, ptr %ka, align 1
  %kc = call i32 @llvm.bswap.i32(i32 %kb)
  %kd = sub i32 %kc, %t
  %la = getelementptr i64, ptr %offsets, i64 %k
  %lb = load i64, ptr %la, align 1
  %lc = trunc i64 %lb to i32
  %ld = sub i32 %lc, %o
  %le = mul i32 %ld, %w
  %kdiffer = xor i32 %kd, %le
  %worse = or i32 %found, %kdiffer
  %knext = add i64 %k, 1
  br label %tail
done:
  %result = zext i32 %found to i64
  ret i64 %result
}}
"""

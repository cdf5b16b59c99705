"""A native loop that says whether all indices are within the lists that they point into."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from hepgraph.io.native.loops import MANY, compiled

Array: TypeAlias = np.ndarray[Any, Any]

FEW = 4  # elements of each row


def within(index: Array, own: Array, target: Array) -> bool:
    """Whether each index is less than the length of the list, of the same row, that it points into; negative ones are.

    `own` and `target` are the offsets of the indices and of the lists. Few numbers are left to the slow code, as if one
    were not.

    >>> rows = np.arange(2001)
    >>> within(np.zeros(2000, np.int16), rows, rows), within(np.ones(2000, np.int16), rows, rows)
    (True, False)
    """
    if len(index) < MANY or index.dtype.kind not in "iu" or len(own) != len(target):
        return False
    if not all(x.flags.c_contiguous for x in (index, own, target)) or not own.dtype == target.dtype == np.int64:
        return False
    kind = index.dtype.str[1:]
    loop = compiled(f"within_{kind}", lambda: _within(index.dtype), "i64(ptr, ptr, ptr, i64)")
    return bool(loop(index.ctypes.data, own.ctypes.data, target.ctypes.data, len(own) - 1))


def _within(dtype: np.dtype[Any]) -> str:
    """The first few of each row without a branch, which would be guessed wrong as lengths differ; then the rest."""
    bits = 8 * dtype.itemsize
    least = "sge" if dtype.kind == "i" else "uge"

    def beyond(name: str, place: str) -> str:
        extended = "bitcast i64" if bits == 64 else f"{'sext' if dtype.kind == 'i' else 'zext'} i{bits}"
        return f"""%{name}.place = getelementptr i{bits}, ptr %index, i64 {place}
  %{name}.x = load i{bits}, ptr %{name}.place, align 1
  %{name}.wide = {extended} %{name}.x to i64
  %{name} = icmp {least} i64 %{name}.wide, %size"""

    first, seen = [], "%wrong"
    for k in range(FEW):
        first.append(f"""%at{k} = add i64 %start, {k}
  %there{k} = icmp slt i64 %at{k}, %stop
  %safe{k} = select i1 %there{k}, i64 %at{k}, i64 0
  {beyond(f"beyond{k}", f"%safe{k}")}
  %both{k} = and i1 %there{k}, %beyond{k}
  %seen{k} = or i1 {seen}, %both{k}""")
        seen = f"%seen{k}"
    few = "\n  ".join(first)
    return f"""
define i64 @within_{dtype.str[1:]}(ptr noalias %index, ptr noalias %own, ptr noalias %target, i64 %rows) {{
entry:
  %begin = load i64, ptr %own
  %low = load i64, ptr %target
  br label %row
row:
  %i = phi i64 [0, %entry], [%next, %done]
  %wrong = phi i1 [false, %entry], [%bad, %done]
  %start = phi i64 [%begin, %entry], [%stop, %done]
  %head = phi i64 [%low, %entry], [%last, %done]
  %more = icmp slt i64 %i, %rows
  br i1 %more, label %enter, label %end
enter:
  %next = add i64 %i, 1
  %own.place = getelementptr i64, ptr %own, i64 %next
  %stop = load i64, ptr %own.place
  %target.place = getelementptr i64, ptr %target, i64 %next
  %last = load i64, ptr %target.place
  %size = sub i64 %last, %head
  {few}
  %rest = add i64 %start, {FEW}
  br label %element
element:
  %k = phi i64 [%rest, %enter], [%knext, %check]
  %bad = phi i1 [{seen}, %enter], [%either, %check]
  %inside = icmp slt i64 %k, %stop
  br i1 %inside, label %check, label %done
check:
  {beyond("beyond", "%k")}
  %either = or i1 %bad, %beyond
  %knext = add i64 %k, 1
  br label %element
done:
  br label %row
end:
  %right = xor i1 %wrong, true
  %result = zext i1 %right to i64
  ret i64 %result
}}
"""

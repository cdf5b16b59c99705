"""Sorting as LLVM: the positions of a list, ordered by keys, stable, NaN first, as awkward does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from hepgraph.kernel.types import stored_type

FEW = 24  # runs of so many are sorted by insertion, and then merged


def sort_function(functions: dict[str, str], key: np.dtype[Any], ascending: bool) -> str:
    """The name of the function that sorts positions by keys of a type; written into `functions` if it is new.

    It is `void sort(keys, order, spare, n)`: `order` has the positions to be sorted, `spare` room for as many.
    """
    t = stored_type(key)
    first = _INSERT.replace("BEFORE", _before(t, key, ascending, "i"))
    text = first + _MERGE.replace("BEFORE", _before(t, key, ascending, "m"))
    body = text.replace("KEY", t).replace("FEW", str(FEW))
    return functions.setdefault(body, f"sort{len(functions)}")


def _before(t: str, key: np.dtype[Any], ascending: bool, at: str) -> str:
    """Whether the key at position %one comes strictly before that at %other."""
    lines = [
        f"%xp.{at} = getelementptr inbounds {t}, ptr %keys, i64 %one.{at}",
        f"%x.{at} = load {t}, ptr %xp.{at}",
        f"%yp.{at} = getelementptr inbounds {t}, ptr %keys, i64 %other.{at}",
        f"%y.{at} = load {t}, ptr %yp.{at}",
    ]
    if key.kind == "f":
        lines += [
            f"%less.{at} = fcmp {'olt' if ascending else 'ogt'} {t} %x.{at}, %y.{at}",
            f"%odd.{at} = fcmp uno {t} %x.{at}, 0.0",
            f"%fine.{at} = fcmp ord {t} %y.{at}, 0.0",
            f"%nan.{at} = and i1 %odd.{at}, %fine.{at}",
            f"%before.{at} = or i1 %less.{at}, %nan.{at}",
        ]
    else:
        sign = "s" if key.kind == "i" else "u"
        lines.append(f"%before.{at} = icmp {sign}{'lt' if ascending else 'gt'} {t} %x.{at}, %y.{at}")
    return "\n".join("  " + line for line in lines)


# each run of FEW by insertion: an element goes down as long as it comes before the one below it
_INSERT = """(ptr noalias %keys, ptr noalias %order, ptr noalias %spare, i64 %n) noinline nounwind {
entry:
  br label %next
next:
  %k = phi i64 [0, %entry], [%k.more, %put]
  %some = icmp slt i64 %k, %n
  br i1 %some, label %take, label %sorted
take:
  %p.k = getelementptr inbounds i64, ptr %order, i64 %k
  %one.i = load i64, ptr %p.k
  %run = srem i64 %k, FEW
  %start = sub i64 %k, %run
  br label %down
down:
  %j = phi i64 [%k, %take], [%j.less, %move]
  %inside = icmp sgt i64 %j, %start
  br i1 %inside, label %look, label %put
look:
  %j.less = sub i64 %j, 1
  %p.below = getelementptr inbounds i64, ptr %order, i64 %j.less
  %other.i = load i64, ptr %p.below
BEFORE
  br i1 %before.i, label %move, label %put
move:
  %p.up = getelementptr inbounds i64, ptr %order, i64 %j
  store i64 %other.i, ptr %p.up
  br label %down
put:
  %p.put = getelementptr inbounds i64, ptr %order, i64 %j
  store i64 %one.i, ptr %p.put
  %k.more = add i64 %k, 1
  br label %next
"""

# then runs are merged, two and two, into %spare and copied back, until one is as long as all
_MERGE = """sorted:
  br label %wider
wider:
  %width = phi i64 [FEW, %sorted], [%double, %copied]
  %apart = icmp slt i64 %width, %n
  br i1 %apart, label %pairs, label %done
pairs:
  %double = shl i64 %width, 1
  br label %pair
pair:
  %low = phi i64 [0, %pairs], [%low.more, %merged]
  %left = icmp slt i64 %low, %n
  br i1 %left, label %both, label %copy
both:
  %mid.far = add i64 %low, %width
  %mid.in = icmp slt i64 %mid.far, %n
  %mid = select i1 %mid.in, i64 %mid.far, i64 %n
  %high.far = add i64 %low, %double
  %high.in = icmp slt i64 %high.far, %n
  %high = select i1 %high.in, i64 %high.far, i64 %n
  br label %step
step:
  %a = phi i64 [%low, %both], [%a.next, %set]
  %b = phi i64 [%mid, %both], [%b.next, %set]
  %to = phi i64 [%low, %both], [%to.more, %set]
  %a.there = icmp slt i64 %a, %mid
  %b.there = icmp slt i64 %b, %high
  %any = or i1 %a.there, %b.there
  br i1 %any, label %which, label %merged
which:
  %two = and i1 %a.there, %b.there
  br i1 %two, label %compare, label %set
compare:
  %p.b = getelementptr inbounds i64, ptr %order, i64 %b
  %one.m = load i64, ptr %p.b
  %p.a = getelementptr inbounds i64, ptr %order, i64 %a
  %other.m = load i64, ptr %p.a
BEFORE
  %second = xor i1 %before.m, true
  br label %set
set:
  %from.a = phi i1 [%a.there, %which], [%second, %compare]
  %from = select i1 %from.a, i64 %a, i64 %b
  %a.more = add i64 %a, 1
  %a.next = select i1 %from.a, i64 %a.more, i64 %a
  %b.more = add i64 %b, 1
  %b.next = select i1 %from.a, i64 %b, i64 %b.more
  %p.from = getelementptr inbounds i64, ptr %order, i64 %from
  %value = load i64, ptr %p.from
  %p.to = getelementptr inbounds i64, ptr %spare, i64 %to
  store i64 %value, ptr %p.to
  %to.more = add i64 %to, 1
  br label %step
merged:
  %low.more = add i64 %low, %double
  br label %pair
copy:
  %c = phi i64 [0, %pair], [%c.more, %copying]
  %c.there = icmp slt i64 %c, %n
  br i1 %c.there, label %copying, label %copied
copying:
  %p.c = getelementptr inbounds i64, ptr %spare, i64 %c
  %c.value = load i64, ptr %p.c
  %p.back = getelementptr inbounds i64, ptr %order, i64 %c
  store i64 %c.value, ptr %p.back
  %c.more = add i64 %c, 1
  br label %copy
copied:
  br label %wider
done:
  ret void
}"""

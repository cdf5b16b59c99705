"""Fills of histograms that average a sample, as sums: boost's averages are lost where weights cancel."""

from __future__ import annotations

import math
from typing import Any

import boost_histogram as bh

from hepgraph.kernel.output import Moments

FIRST = 10  # the number of the first part
PARTS = range(FIRST, FIRST + len(Moments._fields))


def averages(storage: Any) -> bool:
    """Whether the bins of a storage average a sample."""
    return issubclass(storage, bh.storage.WeightedMean | bh.storage.Mean)


def start_of(part: int) -> float:
    """The initial moments: no bin has a pivot."""
    return math.nan if part == PARTS[-1] else 0.0


def write_mean(f: Any, place: str, weighted: bool) -> None:
    """The code that adds a sample %s, with a weight %w if it has one, to the bin at a place."""

    def at(k: int) -> str:
        return str(f.emit(f"getelementptr inbounds double, ptr %bins{FIRST + k}, i64 {place}"))

    def add(k: int, x: str) -> None:
        pointer = at(k)
        old = f.emit(f"load double, ptr {pointer}")
        f.do(f"store double {f.emit(f'fadd double {old}, {x}')}, ptr {pointer}")

    w = "%w" if weighted else "1.0"
    pointer = at(4)
    old = f.emit(f"load double, ptr {pointer}")
    new = f.emit(f"fcmp uno double {old}, 0.0")
    size = f.emit("call double @llvm.fabs.f64(double %s)")
    finite = f.emit(f"fcmp olt double {size}, 0x7FF0000000000000")
    begins = f.emit(f"and i1 {new}, {finite}")
    pivot = f.emit(f"select i1 {begins}, double %s, double {old}")
    f.do(f"store double {pivot}, ptr {pointer}")
    known = f.emit(f"fcmp ord double {pivot}, 0.0")
    away = f.emit(f"fsub double %s, {f.emit(f'select i1 {known}, double {pivot}, double 0.0')}")
    scaled = f.emit(f"fmul double {w}, {away}") if weighted else away
    add(0, w)
    add(1, f.emit(f"fmul double {w}, {w}") if weighted else w)
    add(2, scaled)
    add(3, f.emit(f"fmul double {scaled}, {away}"))


def skip_weightless(f: Any) -> None:
    """Leaves the function for an entry without weight, whatever its sample."""
    f.lines += [
        "  %nothing = fcmp oeq double %w, 0.0",
        "  br i1 %nothing, label %leave, label %go",
        "leave:",
        "  ret void",
        "go:",
    ]

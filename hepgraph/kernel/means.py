"""Fills of histograms that average a sample, with boost's own recurrences."""

from __future__ import annotations

from typing import Any

import boost_histogram as bh

# the fields of a bin, in the order of their parts
MEAN = ("count", "value", "_sum_of_deltas_squared")
WEIGHTED = ("sum_of_weights", "sum_of_weights_squared", "value", "_sum_of_weighted_deltas_squared")
FIRST = 10  # the number of the first part


def fields_of(storage: Any) -> tuple[str, ...]:
    """The fields of a bin of a storage that averages; none for others."""
    if issubclass(storage, bh.storage.WeightedMean):
        return WEIGHTED
    return MEAN if issubclass(storage, bh.storage.Mean) else ()


def write_mean(f: Any, fields: tuple[str, ...], place: str, weighted: bool) -> None:
    """The code that adds a sample %s, with a weight %w if it has one, to the bin at a place."""

    def at(k: int) -> str:
        return str(f.emit(f"getelementptr inbounds double, ptr %bins{FIRST + k}, i64 {place}"))

    def add(pointer: str, x: str) -> str:
        new = f.emit(f"fadd double {f.emit(f'load double, ptr {pointer}')}, {x}")
        f.do(f"store double {new}, ptr {pointer}")
        return str(new)

    w = "%w" if weighted else "1.0"
    total = add(at(0), w)
    if len(fields) == 4:
        add(at(1), f.emit(f"fmul double {w}, {w}"))
    value = at(len(fields) - 2)
    old = f.emit(f"load double, ptr {value}")
    away = f.emit(f"fsub double %s, {old}")
    scaled = f.emit(f"fmul double {w}, {away}") if weighted else away
    mean = f.emit(f"fadd double {old}, {f.emit(f'fdiv double {scaled}, {total}')}")
    f.do(f"store double {mean}, ptr {value}")
    add(at(len(fields) - 1), f.emit(f"fmul double {scaled}, {f.emit(f'fsub double %s, {mean}')}"))


def skip_weightless(f: Any) -> None:
    """Leaves the function for an entry without weight: boost's means become NaN if the first of a bin has none."""
    f.lines += [
        "  %nothing = fcmp oeq double %w, 0.0",
        "  br i1 %nothing, label %leave, label %go",
        "leave:",
        "  ret void",
        "go:",
    ]

"""Fills in batches: values are collected, and binned several at a time when there are enough of them.

A fill as it comes pays for a division, for choices, and for the wait for a bin that was changed a moment ago. So a
fill only appends its values to a batch; when that is full, and at the end of a block, a function that all fills of
such axes share turns the batch into bins, with boost's own arithmetic on vectors, and adds them up. Counts of small
histograms are kept in a few copies, so that entries of one bin do not wait for each other; weights are added in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hepgraph.graph.node import Node
from hepgraph.kernel.fills import DOUBLE, INT, Axis, Target, axis_value, edge_table, halved, weight_of
from hepgraph.kernel.writer import FunctionText, checked, number_of
from hepgraph.limits import limits

SPARE = 8  # entries between the columns of batches: powers of two apart, they would crowd one part of the cache
COPIES = 4
SMALL = 1 << 10  # bins of a histogram whose counts are kept in copies
WIDE = 4  # values that are binned at a time


def batched(target: Target, fills: int) -> bool:
    """Whether the entries of one of so many fills are collected first; 32 bits must do for a bin, which all have."""
    every = all(axis.flow == (True, True) or (axis.kind == "category" and axis.flow[1]) for axis in target.axes)
    return fills <= limits().batched and target.size < 2**31 and every and not target.average


def copies(size: int, part: int) -> int:
    """How many copies of an array of bins are filled: of sums of weights only one, as their order matters."""
    return COPIES if part == 2 and size <= SMALL else 1


def alike(fills: Sequence[Any], targets: Sequence[Target]) -> list[tuple[Any, list[Target]]]:
    """The fills of a histogram, those together that differ by their weights and constants alone: their bins are found
    once. One of each, and the targets of all."""
    found: dict[Any, tuple[Any, list[Target]]] = {}
    for number, (fill, target) in enumerate(zip(fills, targets, strict=True)):
        values = tuple(
            None if axis.takes is None else value if isinstance(value, Node) else (type(value), value)
            for axis, value in zip(target.axes, target.values, strict=True)
        )
        alone = number if target.average else (target.weight is None, fill.must)
        found.setdefault((fill.entries, values, alone), (fill, []))[1].append(target)
    return list(found.values())


@dataclass(frozen=True)
class Push:
    """The action of fills whose entries are collected; where one of `must` is false, something is wrong.

    Several differ by their weights and constants alone.
    """

    targets: tuple[Target, ...]
    must: tuple[Node, ...]

    def __call__(self, e: Any, action: Any, env: Any) -> None:
        for mask in self.must:
            e.fail(e.emit(f"xor i1 {e.value(mask, env)}, true"))
        e.batches.push(e, self.targets, env)


class Batches:
    """The batches of a function: where each begins, and how many entries are in it; `sizes` is of all functions."""

    def __init__(self, sizes: dict[np.dtype[Any], int]) -> None:
        self.sizes = sizes
        self.once: list[tuple[str, str]] = []  # those of the strip under way: no more than one entry for each element
        self.open: list[tuple[str, str]] = []  # those that may be full at any time

    def column(self, e: Any, dtype: np.dtype[Any]) -> tuple[str, int, np.dtype[Any]]:
        """Room for the values of one axis, or weights: an argument, and where it begins."""
        at = self.sizes.get(dtype, 0)
        self.sizes[dtype] = at + limits().batch + SPARE
        return e.pointer("batch", None, dtype), at, dtype

    def push(self, e: Any, targets: Sequence[Target], env: Any) -> None:
        """The code of some fills: their values are appended, and a full batch is binned."""
        target = targets[0]
        values: list[tuple[str, np.dtype[Any]]] = []
        for axis, value in zip(target.axes, target.values, strict=True):
            if axis.takes is not None:
                values.append((axis_value(e, axis, value, env), axis.takes))
        axes = len(values)
        weights: dict[Any, int] = {}  # the columns of different weights, one after the other
        for weight in [each.weight for each in targets if each.weight is not None]:
            weights.setdefault(_weight_key(weight), len(weights))
            if len(weights) > len(values) - axes:
                values.append((weight_of(e, weight, env), DOUBLE))
        columns = [self.column(e, dtype) for _, dtype in values]
        args = [
            _top(e, f"getelementptr inbounds {_kind(dtype)}, ptr {pointer}, i64 {at}")
            for pointer, at, dtype in columns[: axes + 1]
        ]
        bins = [e.pointer("bins", target.number, dtype, part) for part, dtype in target.parts()]
        args += bins
        several = len(targets) > 1
        args.append(_axes(e, _without_constants(target) if several else target))
        passed = [f"ptr {arg}" for arg in args]
        if several:
            apart = limits().batch + SPARE
            rows = [(weights.get(_weight_key(each.weight), 0) * apart, each.constant_bin) for each in targets]
            passed += [f"ptr {_table(e, rows)}", f"i64 {len(rows)}"]
        if e.check:
            passed += ["ptr %report", f"i64 {number_of(bins[0])}"]
        name = _function(e, target, several)
        call = f"call void @{name}({', '.join(passed)}, i64 "
        count = e.variable("i64")
        e.top.append(f"  store i64 0, ptr {count}")
        at = e.emit(f"load i64, ptr {count}")
        for (value, dtype), (pointer, start, _) in zip(values, columns, strict=True):
            e.store(pointer, e.emit(f"add nuw nsw i64 {at}, {start}") if start else at, value, dtype)
        more = e.emit(f"add nuw nsw i64 {at}, {e.one()}")  # what does not count is written over by the next
        e.do(f"store i64 {more}, ptr {count}")
        if e.depth == 1:
            self.once.append((count, call))
            return
        full, after = e.block("full"), e.block("after")
        e.do(f"br i1 {e.emit(f'icmp eq i64 {more}, {limits().batch}')}, label %{full}, label %{after}")
        e.start(full)
        e.do(f"{call}{limits().batch})")
        e.do(f"store i64 0, ptr {count}")
        e.do(f"br label %{after}")
        e.start(after)
        self.open.append((count, call))

    def finish(self, e: Any, which: list[tuple[str, str]]) -> None:
        """Bins what is left in some batches."""
        for count, call in which:
            e.do(f"{call}{e.emit(f'load i64, ptr {count}')})")
            e.do(f"store i64 0, ptr {count}")
        which.clear()


def _weight_key(weight: Any) -> Any:
    return weight if isinstance(weight, Node) else (type(weight), repr(weight))


def _without_constants(target: Target) -> Target:
    """A target whose constants are the first of their axes."""
    pairs = zip(target.axes, target.values, strict=True)
    return replace(target, values=tuple(0 if axis.takes is None else value for axis, value in pairs))


def _table(e: Any, rows: Sequence[tuple[int, int]]) -> str:
    """The name of a table of the fills of one batch: where the weights begin, and what is added to the bin."""
    cells = [str(cell) for row in rows for cell in row]
    text = f"[{len(cells)} x i64] [{', '.join(f'i64 {cell}' for cell in cells)}]"
    name: str = e.constants.setdefault(text, f"@axes{len(e.constants)}")
    return name


def _kind(dtype: np.dtype[Any]) -> str:
    return "double" if dtype == DOUBLE else "i32"


def _top(e: Any, text: str) -> str:
    """A value that is there from the start."""
    e.number += 1
    name = f"%t{e.number}"
    e.top.append(f"  {name} = {text}")
    return name


def _axes(e: Any, target: Target) -> str:
    """The name of the constants that tell one histogram from another with axes of the same kinds."""
    cells: list[str] = []
    for axis, value in zip(target.axes, target.values, strict=True):
        match axis.kind:
            case "constant":
                cells.append(str(value * axis.stride))
                continue
            case "regular":
                numbers = np.array([axis.low, axis.delta, axis.bins], DOUBLE).view(INT)
                cells += [*map(str, numbers), str(axis.bins + 1)]
            case "integer":
                cells += [str(int(axis.low)), str(axis.bins)]
        cells.append(str(axis.stride))
    cells.append(str(target.size))
    text = f"[{len(cells)} x i64] [{', '.join(f'i64 {cell}' for cell in cells)}]"
    name: str = e.constants.setdefault(text, f"@axes{len(e.constants)}")
    return name


class _Function(FunctionText):
    """The code of a function on vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.params: list[str] = []
        self.cells = 0

    def param(self, kind: str) -> str:
        """A fresh parameter."""
        name = f"%x{len(self.params)}"
        self.params.append(f"{kind} {name}")
        return name

    def cell(self, kind: str) -> str:
        """The next of the constants that tell the axes."""
        x = f"%c{self.cells}"
        self.top.append(f"  {x}p = getelementptr inbounds i64, ptr %axes, i64 {self.cells}")
        self.top.append(f"  {x} = load {kind}, ptr {x}p")
        self.cells += 1
        return x

    def spread(self, kind: str) -> str:
        """The next of the constants, in all places of a vector."""
        x = self.cell(kind)
        self.top.append(f"  {x}o = insertelement <{WIDE} x {kind}> poison, {kind} {x}, i64 0")
        self.top.append(
            f"  {x}v = shufflevector <{WIDE} x {kind}> {x}o, <{WIDE} x {kind}> poison, <{WIDE} x i32> zeroinitializer"
        )
        return f"{x}v"


REALS, SHORTS, TESTS = f"<{WIDE} x double>", f"<{WIDE} x i32>", f"<{WIDE} x i1>"


def _all(kind: str, value: Any) -> str:
    """A constant vector."""
    return f"<{', '.join([f'{kind} {value}'] * WIDE)}>"


def _function(e: Any, target: Target, several: bool) -> str:
    """The name of the function that bins such a batch, which is written if it is new."""
    f = _Function()
    columns = [f.param("ptr") if axis.takes is not None else "" for axis in target.axes]
    weights = f.param("ptr") if target.weight is not None else ""
    bins = [f.param("ptr noalias") for _ in target.parts()]
    flat = ""
    for axis, column in zip(target.axes, columns, strict=True):
        scaled = _scaled_bin(e, f, axis, column)
        flat = f.emit(f"add {SHORTS} {flat}, {scaled}") if flat else scaled
    binning, f.lines = f.lines, []
    count = 1 if several else copies(target.size, target.parts()[0][0])
    size = f.cell("i64") if count > 1 else str(target.size)
    f.params.append("ptr %axes")
    if several:
        f.params += ["ptr %table", "i64 %m"]
    if e.check:
        f.params += ["ptr noalias %report", "i64 %argument"]
    f.params.append("i64 %n")
    if several:
        _add_entries_of_each(f, target, weights, bins, size, e.check)
    else:
        _add_entries(f, target, weights, bins, (count, size), e.check)
    lines = [
        "entry:",
        f"  %flats = alloca [{limits().batch} x i32], align 64",
        *f.top,
        "  %some = icmp sgt i64 %n, 0",
        "  br i1 %some, label %binning, label %done",
        "binning:",
        "  %at = phi i64 [ 0, %entry ], [ %next, %binning ]",
        *binning,
        "  %to = getelementptr inbounds i32, ptr %flats, i64 %at",
        f"  store {SHORTS} {flat}, ptr %to, align {4 * WIDE}",
        f"  %next = add nuw nsw i64 %at, {WIDE}",
        "  %again = icmp slt i64 %next, %n",
        "  br i1 %again, label %binning, label %counting",
        *f.lines,
        "done:",
        "  ret void",
    ]
    body = "\n".join([f"({', '.join(f.params)}) noinline nounwind {{", *lines, "}"])
    name: str = e.functions.setdefault(body, f"fill{len(e.functions)}")
    return name


def _scaled_bin(e: Any, f: _Function, axis: Axis, column: str) -> str:
    """The bins of some values on an axis, counted with the underflow bin if there is one, times the stride."""
    if axis.takes is None:
        return f.spread("i32")
    kind = REALS if axis.takes == DOUBLE else SHORTS
    one = "double" if axis.takes == DOUBLE else "i32"
    at = f.emit(f"getelementptr inbounds {one}, ptr {column}, i64 %at")
    x = f.emit(f"load {kind}, ptr {at}, align {np.dtype(axis.takes).itemsize}")
    index = _bins(e, f, axis, x)
    return f.emit(f"mul {SHORTS} {index}, {f.spread('i32')}")


def _bins(e: Any, f: _Function, axis: Axis, x: str) -> str:
    ones, zeros = _all("i32", 1), "zeroinitializer"
    match axis.kind:
        case "regular":
            low, delta, size, above_all = (f.spread(kind) for kind in ("double", "double", "double", "i32"))
            z = f.emit(f"fdiv {REALS} {f.emit(f'fsub {REALS} {x}, {low}')}, {delta}")
            inside = f.emit(f"fcmp olt {REALS} {z}, {_all('double', '1.0')}")
            above = f.emit(f"fcmp oge {REALS} {z}, {zeros}")
            scaled = f.emit(f"fmul {REALS} {z}, {size}")
            good = f.emit(f"and {TESTS} {inside}, {above}")
            clean = f.emit(f"select {TESTS} {good}, {REALS} {scaled}, {REALS} {zeros}")
            index = f.emit(f"add {SHORTS} {f.emit(f'fptosi {REALS} {clean} to {SHORTS}')}, {ones}")
            low_or = f.emit(f"select {TESTS} {above}, {SHORTS} {index}, {SHORTS} {zeros}")
            return f.emit(f"select {TESTS} {inside}, {SHORTS} {low_or}, {SHORTS} {above_all}")
        case "variable":
            return _search(e, f, axis.edges, x)
        case "boolean":
            return x
        case "integer":
            low, size = f.spread("i32"), f.spread("i32")
            z = f.emit(f"sub {SHORTS} {x}, {low}")  # wraps, as in boost
            below = f.emit(f"icmp slt {SHORTS} {z}, {zeros}")
            high = f.emit(f"icmp sge {SHORTS} {z}, {size}")
            index = f.emit(f"select {TESTS} {high}, {SHORTS} {size}, {SHORTS} {z}")
            index = f.emit(f"add {SHORTS} {index}, {ones}")
            return f.emit(f"select {TESTS} {below}, {SHORTS} {zeros}, {SHORTS} {index}")
        case "category":
            index = _all("i32", axis.bins)
            for i, known in enumerate(axis.edges):
                same = f.emit(f"icmp eq {SHORTS} {x}, {_all('i32', int(known))}")
                index = f.emit(f"select {TESTS} {same}, {SHORTS} {_all('i32', i)}, {SHORTS} {index}")
            return index
    raise AssertionError(axis.kind)


def _search(e: Any, f: _Function, edges: Sequence[float], x: str) -> str:
    """How many edges are not above each value, by halving without branches; NaN is above all."""
    table = edge_table(e, edges)
    gather = f"@llvm.masked.gather.v{WIDE}f64.v{WIDE}p0"
    e.declare(f"declare {REALS} {gather}(<{WIDE} x ptr>, i32, {TESTS}, {REALS})")

    def step(base: str, ahead: int, by: int) -> str:
        at = f.emit(f"add nsw {SHORTS} {base}, {_all('i32', ahead)}")
        places = f.emit(f"getelementptr inbounds double, ptr {table}, {SHORTS} {at}")
        edge = f.emit(
            f"call {REALS} {gather}(<{WIDE} x ptr> {places}, i32 8, {TESTS} {_all('i1', 'true')}, {REALS} poison)"
        )
        beyond = f.emit(f"fcmp olt {REALS} {x}, {edge}")
        further = f.emit(f"add nsw {SHORTS} {base}, {_all('i32', by)}")
        return f.emit(f"select {TESTS} {beyond}, {SHORTS} {base}, {SHORTS} {further}")

    return halved(len(edges), "zeroinitializer", step)


def _add_entries(
    f: _Function, target: Target, weights: str, bins: list[str], kept: tuple[int, str], check: bool
) -> None:
    """Adds entries to the bins whose numbers are known: counts to one copy after the other, weights in order."""
    count, size = kept
    f.start("counting")
    if count > 1:
        f.do(f"%whole = and i64 %n, {-count}")
        f.do("%any = icmp sgt i64 %whole, 0")
        f.do("br i1 %any, label %together, label %left")
        f.start("together")
        f.do("%k = phi i64 [ 0, %counting ], [ %k2, %together ]")
        for copy in range(count):
            _add_entry(f, target, f.emit(f"add nuw nsw i64 %k, {copy}"), "", bins, (copy, size), check)
        f.do(f"%k2 = add nuw nsw i64 %k, {count}")
        f.do("%more = icmp slt i64 %k2, %whole")
        f.do("br i1 %more, label %together, label %left")
        f.start("left")
        f.do("%begun = phi i64 [ 0, %counting ], [ %k2, %together ]")
        f.do("%rest = icmp slt i64 %begun, %n")
        f.do("br i1 %rest, label %alone, label %done")
    else:
        f.do("%begun = add i64 0, 0")
        f.do("br label %left")
        f.start("left")
        f.do("br label %alone")
    f.start("alone")
    f.do("%j = phi i64 [ %begun, %left ], [ %j2, %alone ]")
    _add_entry(f, target, "%j", weights, bins, (0, size), check)
    f.do("%j2 = add nuw nsw i64 %j, 1")
    f.do("%on = icmp slt i64 %j2, %n")
    f.do("br i1 %on, label %alone, label %done")


def _add_entries_of_each(f: _Function, target: Target, weights: str, bins: list[str], size: str, check: bool) -> None:
    """Adds entries to the bins of one fill after the other, with the weights of each in order."""
    f.start("counting")
    f.do("br label %each")
    f.start("each")
    f.do("%k = phi i64 [ 0, %counting ], [ %k2, %after ]")
    f.do("%row = shl i64 %k, 1")
    f.do("%column = getelementptr inbounds i64, ptr %table, i64 %row")
    f.do("%moved = getelementptr inbounds i64, ptr %column, i64 1")
    f.do("%begin = load i64, ptr %column")
    f.do("%more = load i64, ptr %moved")
    if weights:
        f.do(f"%own = getelementptr inbounds double, ptr {weights}, i64 %begin")
    f.do("br label %alone")
    f.start("alone")
    f.do("%j = phi i64 [ 0, %each ], [ %j2, %alone ]")
    _add_entry(f, target, "%j", "%own" if weights else "", bins, (0, size), check, "%more")
    f.do("%j2 = add nuw nsw i64 %j, 1")
    f.do("%on = icmp slt i64 %j2, %n")
    f.do("br i1 %on, label %alone, label %after")
    f.start("after")
    f.do("%k2 = add nuw nsw i64 %k, 1")
    f.do("%again2 = icmp slt i64 %k2, %m")
    f.do("br i1 %again2, label %each, label %done")


def _add_entry(
    f: _Function,
    target: Target,
    k: str,
    weights: str,
    bins: list[str],
    copy: tuple[int, str],
    check: bool,
    more: str = "",
) -> None:
    """Adds one entry, to the bin so many more further."""
    number, size = copy
    at = f.emit(f"getelementptr inbounds i32, ptr %flats, i64 {k}")
    flat = f.emit(f"zext i32 {f.emit(f'load i32, ptr {at}')} to i64")
    if more:
        flat = f.emit(f"add nuw nsw i64 {flat}, {more}")
    if check:
        flat = checked(f, flat, "0", size, "%argument")
    if number:
        flat = f.emit(f"add nuw nsw i64 {flat}, {f.emit(f'mul nuw nsw i64 {size}, {number}')}")
    w = ""
    if weights:
        w = f.emit(f"load double, ptr {f.emit(f'getelementptr inbounds double, ptr {weights}, i64 {k}')}")
    for (part, dtype), pointer in zip(target.parts(), bins, strict=True):
        kind = "i64" if dtype == INT else "double"
        amount = {0: w, 1: "", 2: "1"}[part] or f.emit(f"fmul double {w}, {w}")
        to = f.emit(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {flat}")
        old = f.emit(f"load {kind}, ptr {to}")
        new = f.emit(f"{'add' if dtype == INT else 'fadd'} {kind} {old}, {amount}")
        f.do(f"store {kind} {new}, ptr {to}")

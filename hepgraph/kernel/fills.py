"""Histogram fills as LLVM: boost's own arithmetic on regular, variable, boolean, integer and category axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boost_histogram as bh
import numpy as np

from hepgraph.graph.node import Node
from hepgraph.kernel.means import PARTS, averages, skip_weightless, write_mean
from hepgraph.kernel.output import Bins, Moments
from hepgraph.kernel.tree import NotLowered
from hepgraph.kernel.types import cast, constant
from hepgraph.kernel.writer import FunctionText, checked, number_of

DOUBLE = np.dtype(np.float64)
INT = np.dtype(np.int64)
SHORT = np.dtype(np.int32)
MANY = 12  # so many fills share functions; fewer are written in place


@dataclass(frozen=True)
class Axis:
    """One axis of a histogram as the kernel fills it: kinds regular, variable, integer, boolean, category, constant."""

    kind: str
    bins: int
    stride: int
    low: float = 0.0
    delta: float = 1.0
    edges: tuple[float, ...] = ()
    flow: tuple[bool, bool] = (True, True)

    @property
    def takes(self) -> np.dtype[Any] | None:
        """The type of the values that it is filled with."""
        match self.kind:
            case "constant":
                return None
            case "regular" | "variable":
                return DOUBLE
        return SHORT


@dataclass(frozen=True)
class Target:
    """A fill: the number of its histogram, its axes, what fills them, the weight, and how much is stored."""

    number: int
    axes: tuple[Axis, ...]
    values: tuple[Any, ...]
    weight: Any
    squares: bool
    size: int
    sample: Any = None
    average: bool = False

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The values that are computed for each entry."""
        return tuple(part for part in (*self.values, self.weight, self.sample) if isinstance(part, Node))

    @property
    def constants(self) -> bool:
        """Whether there are axes that all entries fill alike."""
        return any(axis.takes is None for axis in self.axes)

    @property
    def constant_bin(self) -> int:
        """The share of what is the same for all entries in the numbers of the bins."""
        pairs = zip(self.axes, self.values, strict=True)
        return sum(int(value) * axis.stride for axis, value in pairs if axis.takes is None)

    def parts(self) -> tuple[tuple[int, np.dtype[Any]], ...]:
        """The arrays of bins that are filled: counts (2), sums of weights (0), their squares (1), or those of means."""
        if self.average:
            return tuple((part, DOUBLE) for part in PARTS)
        if self.weight is None:
            return ((2, INT),)
        return ((0, DOUBLE), (1, DOUBLE)) if self.squares else ((0, DOUBLE),)


def target_of(number: int, empty: Any, fill: Any) -> Target:
    """The fill of a histogram; raises NotLowered where boost must do it."""
    storage = empty.storage_type
    squares = issubclass(storage, bh.storage.Weight)
    average = averages(storage)
    if not (average or squares or issubclass(storage, bh.storage.Int64 | bh.storage.Double)):
        raise NotLowered(f"{storage.__name__} storage is not compiled")
    axes = axes_of(empty)
    values = [_axis_value(*each) for each in zip(axes, fill.args, empty.axes, strict=True)]
    size = math.prod(axis.extent for axis in empty.axes)
    return Target(number, axes, tuple(values), fill.weight, squares, size, fill.sample, average)


def axes_of(h: Any) -> tuple[Axis, ...]:
    """The axes of a histogram as the kernel fills them; raises NotLowered for those that it does not."""
    made: list[Axis] = []
    stride = 1
    for axis in h.axes:
        traits = axis.traits
        grows = traits.growth and not isinstance(axis, bh.axis.StrCategory | bh.axis.IntCategory)
        if grows or traits.circular:
            raise NotLowered("growing and circular axes are not compiled")
        flow = (traits.underflow, traits.overflow)
        match axis:
            case bh.axis.Regular() if axis.transform is None:
                low = float(axis.edges[0])
                made.append(Axis("regular", len(axis), stride, low, _width(axis, low), flow=flow))
            case bh.axis.Variable():
                made.append(Axis("variable", len(axis), stride, edges=tuple(map(float, axis.edges)), flow=flow))
            case bh.axis.Boolean():
                made.append(Axis("boolean", 2, stride))
            case bh.axis.Integer():
                made.append(Axis("integer", len(axis), stride, float(axis.edges[0]), flow=flow))
            case bh.axis.IntCategory() if not traits.growth:
                known = tuple(axis.bin(i) for i in range(len(axis)))
                made.append(Axis("category", len(axis), stride, edges=known, flow=flow))
            case bh.axis.StrCategory() | bh.axis.IntCategory():
                made.append(Axis("constant", len(axis), stride))
            case _:
                raise NotLowered(f"an axis like {axis!r} is not compiled")
        stride *= axis.extent
    return tuple(made)


def _width(axis: Any, low: float) -> float:
    """The width that boost divides by, which an axis does not tell to the bit: the one that gives its own bins."""
    edges = np.asarray(axis.edges)
    probes = np.concatenate(
        [edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), [np.nan, np.inf, -np.inf]]
    )
    wanted = axis.index(probes)
    width = float(edges[-1] - edges[0])
    for guess in (width, float(np.nextafter(width, np.inf)), float(np.nextafter(width, 0))):
        with np.errstate(all="ignore"):
            z = (probes - low) / guess
            inside = (z >= 0) & (z < 1)
            got = np.where(inside, np.where(inside, z, 0) * len(axis), np.where(z < 0, -1, len(axis))).astype(np.int64)
            if not axis.traits.overflow:  # the upper edge then belongs to the last bin
                got = np.where(z == 1, len(axis) - 1, got)
        if np.array_equal(got, wanted):
            return guess
    raise NotLowered(f"the bins of {axis!r} are not compiled")


def _axis_value(axis: Axis, value: Any, real: Any) -> Any:
    """The filling of an axis: a node, a number, or the number of the bin for a string."""
    if axis.kind == "constant":
        if isinstance(value, Node):
            raise NotLowered("categories from columns are not compiled on such an axis")
        if value not in list(real) and not real.traits.overflow:
            raise NotLowered(f"{value!r} is none of the categories, and there is no bin for the others")
        return list(real).index(value) if value in list(real) else len(real)
    if isinstance(value, str):
        raise NotLowered("a string on a number axis")
    kind = (value.dtype if isinstance(value, Node) else np.asarray(value).dtype).kind
    if kind not in {"regular": "iubf", "variable": "iubf", "boolean": "b"}.get(axis.kind, "iub"):
        raise NotLowered(f"{kind!r} on an axis of kind {axis.kind} is not compiled")
    return value


def write_fill(e: Any, target: Target, env: Any, many: bool) -> None:
    """The code of one fill: a call of a function, which all fills of such axes share, whatever bins are constants."""
    args = [f"i64 {target.constant_bin}"] if target.constants else []
    for axis, value in zip(target.axes, target.values, strict=True):
        if axis.takes is not None:
            args.append(f"{'double' if axis.takes == DOUBLE else 'i32'} {axis_value(e, axis, value, env)}")
    if target.weight is not None:
        args.append(f"double {weight_of(e, target.weight, env)}")
    if isinstance(target.sample, Node):
        args.append(f"double {cast(e, e.value(target.sample, env), target.sample.dtype, DOUBLE)}")
    elif target.sample is not None:
        args.append(f"double {constant(float(target.sample), DOUBLE)}")
    bins = [e.pointer("bins", target.number, dtype, part) for part, dtype in target.parts()]
    args += [f"ptr {pointer}" for pointer in bins]
    if e.check:
        args += ["ptr %report", f"i64 {number_of(bins[0])}"]
    e.do(f"call void @{_function(e, target, many)}({', '.join(args)})")


def weight_of(e: Any, weight: Any, env: Any) -> str:
    """A weight, as a double."""
    if isinstance(weight, Node):
        return cast(e, e.value(weight, env), weight.dtype, DOUBLE)
    return e.parameter(weight) or constant(float(weight), DOUBLE)


def axis_value(e: Any, axis: Axis, value: Any, env: Any) -> str:
    """The value of an axis, as the type that the axis takes."""
    if isinstance(value, Node):
        x, dtype = e.value(value, env), value.dtype
    else:
        dtype = np.asarray(value).dtype
        x = constant(value, dtype)
    assert axis.takes is not None
    if axis.takes == SHORT and dtype.kind in "iu" and (dtype.itemsize > 4 or dtype == np.uint32):
        kind = f"i{8 * dtype.itemsize}"
        wrong = e.emit(f"icmp ugt {kind} {x}, {2**31 - 1}")
        if dtype.kind == "i":
            wrong = e.emit(f"icmp ugt {kind} {e.emit(f'add {kind} {x}, {2**31}')}, {2**32 - 1}")
        e.fail(wrong)
    return cast(e, x, dtype, axis.takes)


def _function(e: Any, target: Target, many: bool) -> str:
    """The name of the function that fills such a histogram, which is written if it is new."""
    f = FunctionText()
    params, flat = (["i64 %constant"], "%constant") if target.constants else ([], "0")
    if target.average and target.weight is not None:
        skip_weightless(f)
    for i, axis in enumerate(target.axes):
        if axis.takes is None:
            continue
        params.append(f"{'double' if axis.takes == DOUBLE else 'i32'} %x{i}")
        index = _inside(f, axis, _bin(e, f, axis, f"%x{i}"))
        scaled = index if axis.stride == 1 else f.emit(f"mul nsw i64 {index}, {axis.stride}")
        flat = scaled if flat == "0" else f.emit(f"add nsw i64 {flat}, {scaled}")
    if target.weight is not None:
        params.append("double %w")
    if target.average:
        params.append("double %s")
    params += [f"ptr noalias %bins{part}" for part, _ in target.parts()]
    if e.check:
        params += ["ptr noalias %report", "i64 %argument"]
        flat = checked(f, flat, "0", str(target.size), "%argument")
    if target.average:
        e.declare("declare double @llvm.fabs.f64(double)")
        write_mean(f, flat, target.weight is not None)
    for part, dtype in () if target.average else target.parts():
        kind = "i64" if dtype == INT else "double"
        amount = {0: "%w", 1: "", 2: "1"}[part] or f.emit("fmul double %w, %w")
        at = f.emit(f"getelementptr inbounds {kind}, ptr %bins{part}, i64 {flat}")
        old = f.emit(f"load {kind}, ptr {at}")
        new = f.emit(f"{'add' if dtype == INT else 'fadd'} {kind} {old}, {amount}")
        f.do(f"store {kind} {new}, ptr {at}")
    how = "noinline nounwind" if many else "alwaysinline nounwind"
    body = "\n".join([f"({', '.join(params)}) {how} {{", *f.lines, "  ret void", "}"])
    name: str = e.functions.setdefault(body, f"fill{len(e.functions)}")
    return name


def _inside(f: FunctionText, axis: Axis, index: str) -> str:
    """The bin on an axis that may lack bins for what is below or above; the function is left for such entries."""
    if axis.kind not in ("regular", "variable", "integer", "category"):
        return index
    under, over = (axis.kind == "category") or axis.flow[0], axis.flow[1]
    last = axis.bins if axis.kind == "category" else axis.bins + 1
    tests = [f.emit(f"icmp eq i64 {index}, {end}") for end, has in ((0, under), (last, over)) if not has]
    if tests:
        test = tests[0] if len(tests) == 1 else f.emit(f"or i1 {tests[0]}, {tests[1]}")
        n = len(f.lines)
        f.lines += [f"  br i1 {test}, label %leave{n}, label %go{n}", f"leave{n}:", "  ret void", f"go{n}:"]
    return index if under else f.emit(f"sub nsw i64 {index}, 1")


def _bin(e: Any, f: FunctionText, axis: Axis, x: str) -> str:
    """The bin of a value on an axis, counted with the underflow bin if there is one."""
    match axis.kind:
        case "regular":
            z = f.emit(f"fsub double {x}, {constant(axis.low, DOUBLE)}")
            z = f.emit(f"fdiv double {z}, {constant(axis.delta, DOUBLE)}")
            inside = f.emit(f"fcmp olt double {z}, 1.0")
            above = f.emit(f"fcmp oge double {z}, 0.0")
            scaled = f.emit(f"fmul double {z}, {constant(float(axis.bins), DOUBLE)}")
            good = f.emit(f"and i1 {inside}, {above}")
            clean = f.emit(f"select i1 {good}, double {scaled}, double 0.0")
            index = f.emit(f"add i64 {f.emit(f'fptosi double {clean} to i64')}, 1")
            low = f.emit(f"select i1 {above}, i64 {index}, i64 0")
            index = f.emit(f"select i1 {inside}, i64 {low}, i64 {axis.bins + 1}")
            return index if axis.flow[1] else _last(f, axis, z, 1.0, index)
        case "variable":
            index = _search(e, f, axis.edges, x)
            return index if axis.flow[1] else _last(f, axis, x, axis.edges[-1], index)
        case "boolean":
            return f.emit(f"zext i32 {x} to i64")
        case "integer":
            z = f.emit(f"sub i32 {x}, {int(axis.low)}")  # wraps, as in boost
            low = f.emit(f"icmp slt i32 {z}, 0")
            high = f.emit(f"icmp sge i32 {z}, {axis.bins}")
            wide = f.emit(f"add i64 {f.emit(f'sext i32 {z} to i64')}, 1")
            index = f.emit(f"select i1 {high}, i64 {axis.bins + 1}, i64 {wide}")
            return f.emit(f"select i1 {low}, i64 0, i64 {index}")
        case "category":
            index = str(axis.bins)
            for i, known in enumerate(axis.edges):
                same = f.emit(f"icmp eq i32 {x}, {int(known)}")
                index = f.emit(f"select i1 {same}, i64 {i}, i64 {index}")
            return index
    raise AssertionError(axis.kind)


def _last(f: FunctionText, axis: Axis, x: str, edge: float, index: str) -> str:
    """Without a bin for what is above, the upper edge belongs to the last bin."""
    test = f.emit(f"fcmp oeq double {x}, {constant(edge, DOUBLE)}")
    return f.emit(f"select i1 {test}, i64 {axis.bins}, i64 {index}")


def _search(e: Any, f: FunctionText, edges: Sequence[float], x: str) -> str:
    """How many edges are not above x, by halving without branches; NaN is above all."""
    name = edge_table(e, edges)

    def step(base: str, ahead: int, by: int) -> str:
        at = f.emit(f"add nsw i64 {base}, {ahead}")
        edge = f.emit(f"load double, ptr {f.emit(f'getelementptr inbounds double, ptr {name}, i64 {at}')}")
        beyond = f.emit(f"fcmp olt double {x}, {edge}")
        return f.emit(f"select i1 {beyond}, i64 {base}, i64 {f.emit(f'add nsw i64 {base}, {by}')}")

    return halved(len(edges), "0", step)


def halved(size: int, first: str, step: Callable[[str, int, int], str]) -> str:
    """The place that a search by halving ends at; a step looks some places ahead, and goes on by some if it must."""
    base = first
    while size > 1:
        half = size // 2
        base = step(base, half, half)
        size -= half
    return step(base, 0, 1)


def edge_table(e: Any, edges: Sequence[float]) -> str:
    """The name of a constant array, which is written if it is new."""
    text = f"[{len(edges)} x double] [{', '.join(f'double {constant(v, DOUBLE)}' for v in edges)}]"
    name: str = e.constants.setdefault(text, f"@edges{len(e.constants)}")
    return name


@dataclass(frozen=True)
class Filled:
    """A histogram as a kernel makes it: its bins."""

    shape: tuple[int, ...]
    average: bool
    fields: int
    dtype: np.dtype[Any]
    counts: bool

    @classmethod
    def of(cls, output: Any) -> Filled:
        """For one result; boost takes its time to tell what a histogram is, so it is asked once."""
        storage = output.empty.storage_type
        return cls(
            tuple(axis.extent for axis in output.empty.axes),
            averages(storage),
            2 if issubclass(storage, bh.storage.Weight) else 1,
            INT if issubclass(storage, bh.storage.Int64) else DOUBLE,
            all(fill.weight is None for fill in output.fills),
        )

    def __call__(self, parts: Mapping[int, Any]) -> Any:
        found = {part: array.reshape(self.shape, order="F") for part, array in parts.items()}
        if self.average:
            return Moments(*(found[part] for part in PARTS)) if found else Moments.nothing(self.shape)
        fields = [np.zeros(self.shape, self.dtype) for _ in range(self.fields)]
        for part, which in ((0, fields[:1]), (1, fields[1:]), (2, fields)):
            if part in found:
                for field in which:
                    field += found[part].astype(self.dtype, copy=False)
        return Bins(tuple(fields), self.counts)


def histogram(empty: Any, bins: Bins) -> Any:
    """The histogram that has these bins."""
    h = empty.copy()
    view = h.view(flow=True)
    if names := view.dtype.names:
        for name, field in zip(names, bins.fields, strict=True):
            view[name] = field
    else:
        view[...] = bins.fields[0]
    if not bins.counts and issubclass(h.storage_type, bh.storage.Double):
        h.fill(*(_none(axis) for axis in h.axes), weight=np.zeros(0))  # variances are no longer those of counts
    return h


def _none(axis: Any) -> Any:
    """No values at all, of a type that an axis takes."""
    if isinstance(axis, bh.axis.StrCategory):
        return np.zeros(0, "U1")
    return np.zeros(0, np.int64 if isinstance(axis, bh.axis.Integer | bh.axis.IntCategory | bh.axis.Boolean) else float)

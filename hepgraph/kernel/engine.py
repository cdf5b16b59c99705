"""The native engine: results of a pass that the kernel can make, made by it, block after block of events."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boost_histogram as bh
import numpy as np

from hepgraph.errors import RangeError
from hepgraph.graph.canonical import TOTAL, filtered
from hepgraph.graph.node import Item, Map, Node, Space, ordered
from hepgraph.kernel.lower import Axis, Cursor, Env, Lowered, Slot, Target
from hepgraph.kernel.scalar import cast, constant, llvm_type
from hepgraph.kernel.schedule import _DEAR, Action, Need, NotLowered, Step, _Scheduler, printed, schedule
from hepgraph.load import Loaded
from hepgraph.ops import OPS

BLOCK = 16_384
DOUBLE = np.dtype(np.float64)
INT = np.dtype(np.int64)


@dataclass(frozen=True)
class Output:
    """One result of a kernel: a histogram with its fills, or the parts of a reduction over the dataset."""

    kind: str
    empty: Any
    fills: tuple[Any, ...] = ()
    parts: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Compiled:
    """How the results of a pass are made: by a kernel, or, for the given reasons, by the interpreter."""

    kernel: Kernel | None
    native: tuple[int, ...]
    plain: Mapping[int, str]


def compile_outputs(origin: Any, outputs: Sequence[Output | str], events: Space) -> Compiled:
    """One kernel for all results that can be lowered; a string in the place of an output says why it cannot.

    Whatever else goes wrong while building is a bug, and raised.
    """
    plain: dict[int, str] = {}
    native: list[int] = []
    for i, output in enumerate(outputs):
        if isinstance(output, str):
            plain[i] = output
            continue
        try:
            Kernel(origin, [output], events)
        except NotLowered as reason:
            plain[i] = str(reason)
        else:
            native.append(i)
    if not native:
        return Compiled(None, (), plain)
    kernel = Kernel(origin, [o for i in native if isinstance(o := outputs[i], Output)], events)
    kernel.build()
    return Compiled(kernel, tuple(native), plain)


class Kernel:
    """Some results of one dataset as a loop tree and LLVM text; `build` compiles it."""

    def __init__(self, origin: Any, outputs: Sequence[Output], events: Space) -> None:
        self.origin, self.outputs, self.events = origin, outputs, events
        actions: list[Action] = []
        self.targets: list[Callable[[Lowered, Action, Env], None]] = []
        self.bins: list[tuple[int, int, np.dtype[Any]]] = []
        roots: list[Item] = []
        for number, output in enumerate(outputs):
            if output.kind == "hist":
                for fill in output.fills:
                    actions.append(self._fill_action(number, output, fill))
                    roots += fill.wants
            else:
                for part in output.parts:
                    actions.append(self._part_action(part))
                    roots.append(part)
        order = ordered(roots)
        for item in order:
            if isinstance(item, Map) and item.kind in ("pick", "gather"):
                actions += self._checks(item)
            elif isinstance(item, Map) and item.kind == "align":
                raise NotLowered("lists that are compared while running are not compiled")
        self.staged = _staged(order)
        scheduler = _Scheduler(self.staged)
        self.steps: list[Step] = schedule(actions, self.staged, events)
        lowered = Lowered(self.steps, self.staged, scheduler.in_scratch, self.targets)
        self.text = lowered.text()
        self.slots = list(lowered.slots)
        self.roots = roots
        self._native: Any = None

    def build(self) -> None:
        """Compiles the text."""
        from hepgraph.kernel.native import Native

        self._native = Native(self.text)

    # actions

    def _fill_action(self, number: int, output: Output, fill: Any) -> Action:
        if fill.must:
            raise NotLowered("weights that may be None are not compiled")
        axes = _axes(output.empty)
        storage = output.empty.storage_type
        squares = issubclass(storage, bh.storage.Weight)
        counts = issubclass(storage, bh.storage.Int64)
        if not (squares or counts or issubclass(storage, bh.storage.Double)):
            raise NotLowered(f"{storage.__name__} storage is not compiled")
        values = []
        for axis, value, real in zip(axes, fill.args, output.empty.axes, strict=True):
            values.append(_axis_value(axis, value, real))
        target = Target(axes, values, fill.weight, (number, fill), squares, counts)
        self.targets.append(lambda e, action, env: _fill(e, number, target, env))
        uses = tuple(v for v in (*values, fill.weight) if isinstance(v, Node))
        return Action(fill.entries, uses, None, 0, len(self.targets) - 1)

    def _part_action(self, part: Node) -> Action:
        if part.op == "count":
            (s,) = part.args
            assert isinstance(s, Space)
            self.targets.append(lambda e, action, env: _count(e, part))
            return Action(s, (), None, 0, len(self.targets) - 1)
        (x,) = part.args
        assert isinstance(x, Node)
        assert x.space is not None
        if part.dtype.kind not in "biuf" or part.param not in ("sum", "prod", "any", "all", "min", "max"):
            raise NotLowered(f"the {part.param} of {part.dtype} is not compiled")
        self.targets.append(lambda e, action, env: e.accumulate(part, e.value(x, env), x.dtype))
        return Action(x.space, (x,), None, 0, len(self.targets) - 1)

    def _checks(self, m: Map) -> list[Action]:
        """Where awkward would raise for an index out of range, so must we."""
        masks = m.args[m.param[1] :] if m.kind == "pick" else m.args[1:]  # type: ignore[index]
        masks = tuple(mask for mask in masks if not (isinstance(mask, Node) and mask.op == "literal"))
        asked = m.kind == "gather" and bool(m.param) or m.kind == "pick" and len(m.args) > m.param[1]  # type: ignore[index]
        if not asked:
            return []
        at = m.src
        for mask in masks:
            assert isinstance(mask, Node)
            at = filtered(at, mask)
        from hepgraph.graph.canonical import defined

        found = defined(m)

        def check(e: Lowered, action: Action, env: Env) -> None:
            there = e.value(found, env)
            old = e.emit(f"load i32, ptr {e.error}")
            new = e.emit(f"select i1 {there}, i32 {old}, i32 1")
            e.do(f"store i32 {new}, ptr {e.error}")

        self.targets.append(check)
        return [Action(at, (found,), None, 0, len(self.targets) - 1)]

    # running

    def __str__(self) -> str:
        return printed(self.steps, self.roots)

    def run(self, loaded: Loaded) -> list[Any] | None:
        """The partial results of one partition; None where an index was out of range."""
        entries, first = loaded.entries(self.origin)
        offsets = _Offsets(loaded)
        keep: list[Any] = []
        table = (ctypes.c_void_p * max(1, len(self.slots)))()
        bins: dict[tuple[int, int], Any] = {}
        totals: dict[Node, Any] = {}
        moving: list[tuple[int, Slot]] = []
        for k, slot in enumerate(self.slots):
            match slot.kind:
                case "offsets":
                    array = offsets.of(slot.item)
                case "values" if slot.item in self.staged:
                    moving.append((k, slot))
                    continue
                case "values":
                    array = _values(loaded, slot.item, offsets)
                case "spare":
                    moving.append((k, slot))
                    continue
                case "scratch":
                    array = np.zeros(1 + offsets.capacity(_scratch_space(slot.item)), slot.dtype)
                case "bins":
                    array = bins.setdefault((slot.item, slot.part), np.zeros(_size(self.outputs[slot.item].empty), slot.dtype))
                case "total":
                    array = totals.setdefault(slot.item, _total_start(slot.item))
                case _:
                    raise AssertionError(slot.kind)
            if not array.size:
                array = np.zeros(1, array.dtype)
            keep.append(array)
            table[k] = array.ctypes.data
        status = 0
        for start in range(0, entries, BLOCK):
            stop = min(start + BLOCK, entries)
            stage = _Stage(loaded, offsets, start, stop, self.staged)
            for k, slot in moving:
                if slot.kind == "spare":
                    array = np.array([stage.spare(slot.item)])
                    keep.append(array)
                    table[k] = array.ctypes.data
                else:
                    array, shift = stage.buffer(slot.item)
                    keep.append(array)
                    table[k] = array.ctypes.data - shift * array.itemsize
            status |= self._native.kernel(start, stop, first, ctypes.addressof(table))
            del keep[len(self.slots) :]
        if status:
            return None
        return [self._result(number, output, bins, totals) for number, output in enumerate(self.outputs)]

    def _result(self, number: int, output: Output, bins: Any, totals: Any) -> Any:
        if output.kind == "total":
            return [totals[part] if part in totals else _total_start(part) for part in output.parts]
        h = output.empty.copy()
        view = h.view(flow=True)
        shape = view.shape

        def shaped(part: int) -> Any:
            found = bins.get((number, part))
            return 0 if found is None else found.reshape(shape, order="F")

        if issubclass(h.storage_type, bh.storage.Weight):
            view["value"] += shaped(0) + shaped(2)
            view["variance"] += shaped(1) + shaped(2)
        else:
            view += (shaped(0) + shaped(2)).astype(view.dtype) if not np.isscalar(shaped(0) + shaped(2)) else 0
        if any(fill.weight is not None for fill in output.fills) and issubclass(h.storage_type, bh.storage.Double):
            h.fill(*([] for _ in h.axes), weight=[])
        return h


# columns


class _Offsets:
    """The offsets of the lists of one partition."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.known: dict[Space, Any] = {}

    def of(self, leaf: Space) -> Any:
        """The offsets of a leaf."""
        if leaf not in self.known:
            origin, column, level = leaf.param  # type: ignore[misc]
            self.known[leaf] = np.ascontiguousarray(self.loaded.offsets(origin, column, level), np.int64)
        return self.known[leaf]

    def capacity(self, s: Space) -> int:
        """The most elements that a list of a space can have."""
        match s.kind:
            case "leaf":
                offsets = self.of(s)
                return int(np.diff(offsets).max()) if len(offsets) > 1 else 0
            case "filter":
                base = s.args[0]
                assert isinstance(base, Space)
                return self.capacity(base)
            case "concat":
                return sum(self.capacity(part) for part in s.args if isinstance(part, Space))
        raise NotLowered(f"scratch for {s.kind} is not compiled")

    def edges(self, s: Space, start: int, stop: int) -> tuple[int, int]:
        """The first and last element of a space that belong to a range of events."""
        if s.kind == "events":
            return start, stop
        above = self.edges(s.parent, start, stop)  # type: ignore[arg-type]
        offsets = self.of(s)
        return int(offsets[above[0]]), int(offsets[above[1]])


def _scratch_space(need: Need) -> Space:
    match need.item:
        case Node(space=Space() as s):
            return s
        case Space() as s:
            return s
    raise AssertionError(need)


def _values(loaded: Loaded, item: Node, offsets: _Offsets) -> Any:
    origin, column = item.param
    values = loaded.values(origin, column)
    _check(loaded, item, values, offsets)
    return np.ascontiguousarray(values)


def _check(loaded: Loaded, item: Node, values: Any, offsets: _Offsets) -> None:
    """The same check that the interpreter makes: the lists of a column are those of its collection."""
    from hepgraph.errors import DisagreementError

    origin, column = item.param
    at = item.space
    for own in reversed(loaded.levels(origin, column)):
        if at is None or at.kind != "leaf" or not np.array_equal(offsets.of(at), own):
            raise DisagreementError(f"the lists of column {column!r} have other lengths than those of its collection")
        at = at.parent
    assert item.space is not None
    expected = loaded.entries(origin)[0] if item.space.kind == "events" else int(offsets.of(item.space)[-1])
    if len(values) != expected:
        raise DisagreementError(f"column {column!r} has {len(values)} values where {expected} were expected")


# the vectorised stage


def _staged(order: Sequence[Item]) -> frozenset[Node]:
    """Transcendental functions of columns, which NumPy evaluates for a block at once: quicker, and to its own bits."""
    plain: set[Node] = set()
    found: set[Node] = set()
    for item in order:
        if not isinstance(item, Node) or item.space is None or item.space.kind not in ("leaf", "events"):
            continue
        if item.op in ("load", "full"):
            plain.add(item)
        elif item.op in OPS and all(arg in plain or (isinstance(arg, Node) and arg.op == "literal") for arg in item.args):
            plain.add(item)
            if item.op in _DEAR:
                found.add(item)
    return frozenset(found)


class _Stage:
    """The vectorised stage of one block."""

    def __init__(self, loaded: Loaded, offsets: _Offsets, start: int, stop: int, staged: frozenset[Node]) -> None:
        self.loaded, self.offsets, self.start, self.stop = loaded, offsets, start, stop
        self.values: dict[Node, Any] = {}
        with np.errstate(all="ignore"):
            for item in ordered(staged):
                if isinstance(item, Node) and item.op != "literal":
                    self.values[item] = self._value(item)

    def _value(self, item: Node) -> Any:
        assert item.space is not None
        low, high = self.offsets.edges(item.space, self.start, self.stop)
        if item.op == "load":
            return self.loaded.values(*item.param)[low:high]
        if item.op == "full":
            return np.full(high - low, item.param.value, item.dtype)
        args = [arg.param.value if arg.op == "literal" else self.values[arg] for arg in item.args]  # type: ignore[union-attr,index]
        result = OPS[item.op].meaning(*args, *(item.param or ()))
        return result if result.dtype == item.dtype else result.astype(item.dtype)

    def buffer(self, item: Node) -> tuple[Any, int]:
        """A staged array, with one spare element in front, and the number of the element at its start."""
        assert item.space is not None
        low, _ = self.offsets.edges(item.space, self.start, self.stop)
        values = self.values[item]
        padded = np.empty(len(values) + 1, values.dtype)
        padded[0] = 0
        padded[1:] = values
        return padded, low - 1

    def spare(self, leaf: Space) -> int:
        """An element of a leaf that can be read in this block even where there is none of its own."""
        low, _ = self.offsets.edges(leaf, self.start, self.stop)
        size = int(self.offsets.of(leaf)[-1])
        return max(0, min(low, size - 1))


# histograms


def _axes(h: Any) -> list[Axis]:
    """The axes of a histogram as the kernel fills them; raises NotLowered for those that it does not."""
    made: list[Axis] = []
    stride = 1
    for axis in h.axes:
        traits = axis.traits
        if traits.growth or traits.circular:
            raise NotLowered("growing and circular axes are not compiled")
        under = 1 if traits.underflow else 0
        match axis:
            case bh.axis.Regular() if axis.transform is None and traits.overflow and traits.underflow:
                low, high = axis.edges[0], axis.edges[-1]
                made.append(Axis("regular", len(axis), float(low), float(high), under, stride))
            case bh.axis.Variable() if traits.overflow and traits.underflow:
                made.append(Axis("variable", len(axis), under=under, stride=stride, edges=np.asarray(axis.edges)))
            case bh.axis.Boolean():
                made.append(Axis("boolean", 2, under=0, stride=stride))
            case bh.axis.Integer() if traits.overflow and traits.underflow:
                made.append(Axis("integer", len(axis), float(axis.edges[0]), under=under, stride=stride))
            case bh.axis.IntCategory() if traits.overflow:
                made.append(Axis("category", len(axis), under=0, stride=stride, edges=[int(axis.bin(i)) for i in range(len(axis))]))
            case bh.axis.StrCategory():
                made.append(Axis("constant", len(axis), under=0, stride=stride))
            case _:
                raise NotLowered(f"an axis like {axis!r} is not compiled")
        stride *= axis.extent
    return made


def _axis_value(axis: Axis, value: Any, real: Any) -> Any:
    """What fills an axis: a node, or the number of the bin for a string."""
    if axis.kind == "constant":
        if not isinstance(value, str):
            raise NotLowered("strings from columns are not compiled")
        return int(real.index(value)) if value in list(real) else len(real)
    if isinstance(value, str):
        raise NotLowered("a string on a number axis")
    if not isinstance(value, Node):
        return value
    if axis.kind in ("integer", "category") and value.dtype.kind not in "iub":
        raise NotLowered("floats on an integer axis are not compiled")
    if axis.kind == "boolean" and value.dtype != bool:
        raise NotLowered("numbers on a boolean axis are not compiled")
    return value


def _size(h: Any) -> int:
    return int(np.prod([axis.extent for axis in h.axes]))


def _fill(e: Lowered, number: int, target: Target, env: Env) -> None:
    """The code of one fill, with boost's own arithmetic."""
    place = "0"
    for axis, value in zip(target.axes, target.values, strict=True):
        index = _bin(e, axis, value, env)
        scaled = index if axis.stride == 1 else e.emit(f"mul nsw i64 {index}, {axis.stride}")
        place = scaled if place == "0" else e.emit(f"add nsw i64 {place}, {scaled}")
    if target.weight is None:
        pointer = e.slot(Slot("bins", number, INT, 2))
        old = e.load(pointer, place, INT)
        e.store(pointer, place, e.emit(f"add i64 {old}, 1"), INT)
        return
    if isinstance(target.weight, Node):
        weight = cast(e, e.value(target.weight, env), target.weight.dtype, DOUBLE)
    else:
        weight = constant(float(target.weight), DOUBLE)
    for part, amount in ((0, weight), (1, e.emit(f"fmul double {weight}, {weight}") if target.squares else "")):
        if amount:
            pointer = e.slot(Slot("bins", number, DOUBLE, part))
            e.store(pointer, place, e.emit(f"fadd double {e.load(pointer, place, DOUBLE)}, {amount}"), DOUBLE)


def _bin(e: Lowered, axis: Axis, value: Any, env: Env) -> str:
    """The bin of a value on an axis, counted with the underflow bin."""
    if axis.kind == "constant":
        return str(value)
    if isinstance(value, Node):
        x, dtype = e.value(value, env), value.dtype
    else:
        dtype = np.asarray(value).dtype
        x = constant(value, dtype)
    match axis.kind:
        case "regular":
            x = cast(e, x, dtype, DOUBLE)
            z = e.emit(f"fsub double {x}, {constant(axis.low, DOUBLE)}")
            z = e.emit(f"fdiv double {z}, {constant(axis.high - axis.low, DOUBLE)}")
            inside = e.emit(f"fcmp olt double {z}, 1.0")
            above = e.emit(f"fcmp oge double {z}, 0.0")
            scaled = e.emit(f"fmul double {z}, {constant(float(axis.bins), DOUBLE)}")
            good = e.emit(f"and i1 {inside}, {above}")
            clean = e.emit(f"select i1 {good}, double {scaled}, double 0.0")
            index = e.emit(f"add i64 {e.emit(f'fptosi double {clean} to i64')}, 1")
            low = e.emit(f"select i1 {above}, i64 {index}, i64 0")
            return e.emit(f"select i1 {inside}, i64 {low}, i64 {axis.bins + 1}")
        case "variable":
            x = cast(e, x, dtype, DOUBLE)
            return _search(e, axis, x)
        case "boolean":
            return cast(e, x, dtype, INT)
        case "integer":
            x = cast(e, x, dtype, INT)
            z = e.emit(f"sub i64 {x}, {int(axis.low)}")
            low = e.emit(f"icmp slt i64 {z}, 0")
            high = e.emit(f"icmp sge i64 {z}, {axis.bins}")
            index = e.emit(f"add i64 {z}, 1")
            index = e.emit(f"select i1 {high}, i64 {axis.bins + 1}, i64 {index}")
            return e.emit(f"select i1 {low}, i64 0, i64 {index}")
        case "category":
            x = cast(e, x, dtype, INT)
            index = str(axis.bins)
            for i, known in enumerate(axis.edges):
                same = e.emit(f"icmp eq i64 {x}, {known}")
                index = e.emit(f"select i1 {same}, i64 {i}, i64 {index}")
            return index
    raise AssertionError(axis.kind)


def _search(e: Lowered, axis: Axis, x: str) -> str:
    """The bin on a variable axis: how many edges are not above x; NaN is above all."""
    edges = [constant(float(edge), DOUBLE) for edge in axis.edges]
    name = f"@edges{len(e.constants)}"
    e.constants.append(f"{name} = private constant [{len(edges)} x double] [{', '.join(f'double {v}' for v in edges)}]")
    low, size = "0", len(edges)
    while size > 0:  # halving without branches
        half = size // 2
        at = e.emit(f"add nsw i64 {low}, {half}")
        edge = e.load(name, at, DOUBLE)
        beyond = e.emit(f"fcmp olt double {x}, {edge}")
        after = e.emit(f"add nsw i64 {at}, 1")
        if size % 2 == 0:
            # the upper part has half - 1 elements: looking at one more below it does no harm
            low = e.emit(f"select i1 {beyond}, i64 {low}, i64 {at}") if half > 1 else e.emit(
                f"select i1 {beyond}, i64 {low}, i64 {after}"
            )
        else:
            low = e.emit(f"select i1 {beyond}, i64 {low}, i64 {after}")
        size = half
    return low


def _count(e: Lowered, part: Node) -> None:
    pointer = e.slot(Slot("total", part, INT))
    e.store(pointer, "0", e.emit(f"add i64 {e.load(pointer, '0', INT)}, 1"), INT)


def _total_start(part: Node) -> Any:
    from hepgraph.kernel.lower import _start

    if part.op == "count":
        return np.zeros(1, np.int64)
    if part.param == "sum" and part.dtype.kind == "f":
        return np.zeros(1, np.longdouble)
    return np.array([_start(part)], part.dtype)


"""The native engine: results of a pass that the kernel can make, made by it, block after block of events."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hepgraph.graph.canonical import filtered
from hepgraph.graph.node import Item, Map, Node, Space, ordered
from hepgraph.kernel.batches import batched, copies
from hepgraph.kernel.columns import Offsets, Stage, bounded, staged_of, values_of
from hepgraph.kernel.fills import MANY, Target, filled, target_of, write_fill
from hepgraph.kernel.lower import Lowered, start_value
from hepgraph.kernel.module import module
from hepgraph.kernel.output import Compiled, Output
from hepgraph.kernel.schedule import Action, Need, NotLowered, Scheduler, Step, printed
from hepgraph.kernel.split import split
from hepgraph.kernel.writer import Env, Slot
from hepgraph.load import Loaded

BLOCK = 16_384
INT = np.dtype(np.int64)


def compile_outputs(origin: Any, outputs: Sequence[Output | str], events: Space) -> Compiled:
    """One kernel for all results that can be lowered; a string in the place of an output says why it cannot.

    Whatever else goes wrong while building is a bug, and raised.
    """
    plain = {i: output for i, output in enumerate(outputs) if isinstance(output, str)}
    wanted = {i: output for i, output in enumerate(outputs) if isinstance(output, Output)}
    try:
        kernel = Kernel(origin, list(wanted.values()), events)
    except NotLowered:
        for i, output in list(wanted.items()):
            try:
                Kernel(origin, [output], events)
            except NotLowered as reason:
                plain[i] = str(reason)
                del wanted[i]
        try:
            kernel = Kernel(origin, list(wanted.values()), events)
        except NotLowered as reason:
            return Compiled(None, (), plain | dict.fromkeys(wanted, f"together with the other results: {reason}"))
    if not wanted:
        return Compiled(None, (), plain)
    kernel.build()
    return Compiled(kernel, tuple(wanted), plain)


class Kernel:
    """Some results of one dataset as a loop tree and LLVM text; `build` compiles it."""

    def __init__(self, origin: Any, outputs: Sequence[Output], events: Space) -> None:
        self.origin, self.outputs, self.events = origin, outputs, events
        self.check = bool(os.environ.get("HEPGRAPH_KERNEL_CHECK"))
        actions: list[Action] = []
        self.targets: list[Callable[[Lowered, Action, Env], None]] = []
        self.sizes: dict[int, int] = {}
        roots: list[Item] = []
        parts: set[Node] = set()
        self.fills = sum(len(output.fills) for output in outputs)
        for number, output in enumerate(outputs):
            if output.kind == "hist":
                for fill in output.fills:
                    actions.append(self._fill_action(number, output, fill))
                    roots += fill.wants
            else:
                for part in output.parts:
                    if part not in parts:  # several results may share it
                        parts.add(part)
                        actions.append(self._part_action(part))
                        roots.append(part)
        order = ordered(roots)
        for item in order:
            if isinstance(item, Map) and item.kind in ("pick", "gather"):
                actions += self._checks(item)
            elif isinstance(item, Map) and item.kind == "match":
                raise NotLowered("lists that are compared while running are not compiled")
        self.staged = staged_of(order)
        scheduler = Scheduler(self.staged, order)
        self.trees: list[list[Step]] = [scheduler.schedule(part, events) for part in split(scheduler, actions)]
        self.text, shared = module(self.trees, scheduler, self.targets, self.check)
        self.slots, self.areas = list(shared.slots), shared.areas
        for slot in self.slots:
            if slot.kind == "scratch":
                bounded(_scratch_space(slot.item))
        self.roots = roots
        self._native: Any = None

    def build(self) -> None:
        """Compiles the text."""
        from hepgraph.kernel.native import native

        self._native = native(self.text)

    # actions

    def _fill_action(self, number: int, output: Output, fill: Any) -> Action:
        target = target_of(number, output.empty, fill)
        self.sizes[number] = target.size
        self.targets.append(lambda e, action, env: self._fill(e, target, env))
        return Action(fill.entries, target.nodes, None, 0, len(self.targets) - 1)

    def _fill(self, e: Lowered, target: Target, env: Env) -> None:
        if batched(target, self.fills):
            e.batches.push(e, target, env)
        else:
            write_fill(e, target, env, self.fills > MANY)

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
        if part.param in ("min", "max") and part.dtype.kind == "f":
            raise NotLowered("the extremes of all floats, where NaN wins, are not compiled")
        self.targets.append(lambda e, action, env: e.accumulate(part, e.value(x, env), x.dtype))
        return Action(x.space, (x,), None, 0, len(self.targets) - 1)

    def _checks(self, m: Map) -> list[Action]:
        """Where awkward would raise for an index out of range, so must we."""
        masks = m.args[m.param[1] :] if m.kind == "pick" else m.args[1:]
        masks = tuple(mask for mask in masks if not (isinstance(mask, Node) and mask.op == "literal"))
        asked = (m.kind == "gather" and bool(m.param)) or (m.kind == "pick" and len(m.args) > m.param[1])
        if not asked:
            return []
        at = m.src
        for mask in masks:
            assert isinstance(mask, Node)
            at = filtered(at, mask)
        from hepgraph.graph.canonical import defined

        found = defined(m)

        def check(e: Lowered, action: Action, env: Env) -> None:
            e.fail(e.emit(f"xor i1 {e.value(found, env)}, true"))

        self.targets.append(check)
        return [Action(at, (found,), None, 0, len(self.targets) - 1)]

    # running

    def __str__(self) -> str:
        texts = [printed(tree, self.roots) for tree in self.trees]
        if len(texts) > 1:
            texts = [f"function {k + 1}:\n{text}" for k, text in enumerate(texts)]
        return "\n".join(texts)

    def run(self, loaded: Loaded) -> list[Any] | None:
        """The partial results of one partition; None where an index was out of range."""
        entries, first = loaded.entries(self.origin)
        offsets = Offsets(loaded)
        bins: dict[tuple[int, int], Any] = {}
        totals: dict[Node, Any] = {}
        table = np.zeros(max(1, len(self.slots)), np.uintp)
        sizes = np.zeros((1 + len(self.slots), 2), np.int64)  # the report, then first index and length of each slot
        sizes[0] = -1
        keep: list[Any] = []
        moving: list[tuple[int, Slot]] = []

        def point(k: int, array: Any, shift: int = 0) -> None:
            table[k] = array.ctypes.data - shift * array.itemsize
            sizes[k + 1] = shift, len(array)

        for k, slot in enumerate(self.slots):
            if slot.kind == "spare" or slot.item in self.staged:
                moving.append((k, slot))
                continue
            array = self._array(slot, loaded, offsets, bins, totals)
            if not array.size:
                array = np.zeros(1, array.dtype)
            keep.append(array)
            point(k, array)
        spare = {k: np.zeros(1, np.int64) for k, slot in moving if slot.kind == "spare"}
        stage = Stage(loaded, offsets, self.staged)
        status = 0
        for start in range(0, entries, BLOCK):
            stop = min(start + BLOCK, entries)
            stage.move(start, stop)
            for k, slot in moving:
                if slot.kind == "spare":
                    spare[k][0] = stage.spare(slot.item)
                    point(k, spare[k])
                else:
                    point(k, *stage.buffer(slot.item))
            status |= self._native.kernel(start, stop, first, table.ctypes.data, sizes.ctypes.data + 16)
        if sizes[0, 0] >= 0:
            slot, at = self.slots[sizes[0, 0]], sizes[0, 1]
            low, size = sizes[1 + sizes[0, 0]]
            raise AssertionError(f"the kernel looked at {at} of {slot}, which has {size} from {low}\n{self}")
        if status:
            return None
        return [self._result(number, output, bins, totals) for number, output in enumerate(self.outputs)]

    def _array(self, slot: Slot, loaded: Loaded, offsets: Offsets, bins: Any, totals: Any) -> Any:
        """What an argument of the kernel points to."""
        match slot.kind:
            case "offsets":
                return offsets.of(slot.item)
            case "values":
                return values_of(loaded, slot.item, offsets)
            case "scratch":
                return np.zeros(offsets.capacity(_scratch_space(slot.item)), slot.dtype)
            case "bins":
                size = self.sizes[slot.item]
                return bins.setdefault((slot.item, slot.part), np.zeros(size * copies(size, slot.part), slot.dtype))
            case "batch":
                return np.zeros(self.areas[slot.dtype], slot.dtype)
            case "total":
                return totals.setdefault(slot.item, _total_start(slot.item))
        raise AssertionError(slot.kind)

    def _result(self, number: int, output: Output, bins: Any, totals: Any) -> Any:
        if output.kind == "total":
            return [totals[part].copy() if part in totals else _total_start(part) for part in output.parts]
        size = self.sizes.get(number, 0)
        own = {key: array.reshape(-1, size).sum(axis=0) for key, array in bins.items() if key[0] == number}
        return filled(output, number, own)


def _scratch_space(need: Need) -> Space:
    match need.item:
        case Node(space=Space() as s):
            return s
        case Space() as s:
            return s
    raise AssertionError(need)


# reductions over the dataset


def _count(e: Lowered, part: Node) -> None:
    pointer = e.slot(Slot("total", part, INT))
    e.store(pointer, "0", e.emit(f"add i64 {e.load(pointer, '0', INT)}, 1"), INT)


def _total_start(part: Node) -> Any:
    if part.op == "count":
        return np.zeros(1, np.int64)
    if part.param == "sum" and part.dtype.kind == "f":
        return np.zeros(1, np.longdouble)
    return np.array([start_value(part)], part.dtype)

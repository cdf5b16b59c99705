"""The native engine: results of a pass that the kernel can make, made by it, block after block of events."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from hepgraph.graph.canonical import count, filtered, inc, take
from hepgraph.graph.node import Item, Map, Node, Space, as_node, ordered
from hepgraph.graph.ops import MOMENTS
from hepgraph.graph.show import OutlineLine
from hepgraph.io.required import Loaded
from hepgraph.kernel.arrays import Streams, as_it_is, collected, place_of, write_append
from hepgraph.kernel.batches import Push, alike, batched, copies
from hepgraph.kernel.blocks import ANY, MOVING, Arguments, Loops
from hepgraph.kernel.columns import Offsets, bounded, ranks, staged_of, values_of
from hepgraph.kernel.deferred import functions, stages_of
from hepgraph.kernel.fallback import closed, without_rule
from hepgraph.kernel.fills import DOUBLE, MANY, Filled, Target, target_of, write_fill
from hepgraph.kernel.guards import surely_there
from hepgraph.kernel.lower import Lowered
from hepgraph.kernel.means import start_of
from hepgraph.kernel.module import module
from hepgraph.kernel.opaque_calls import Feeder, feeders
from hepgraph.kernel.output import Compiled, Output
from hepgraph.kernel.parameters import Parameters
from hepgraph.kernel.reductions import start_value
from hepgraph.kernel.schedule import Scheduler
from hepgraph.kernel.schedule_cache import compiled_once
from hepgraph.kernel.tree import Action, LoopNeed, NotLowered, Step, outlined, printed
from hepgraph.kernel.types import cast
from hepgraph.kernel.writer import Argument, Env

BOOL = np.dtype(bool)
INT = np.dtype(np.int64)
MARK = -2  # the number of a result that is a mark
_NOTHING: Mapping[Item, Any] = MappingProxyType({})
Line = TypeVar("Line")


def compile_outputs(origin: Any, outputs: Sequence[Output | str], events: Space) -> Compiled:
    """One kernel for all results that can be lowered; a string in the place of an output says why it cannot.

    Whatever else goes wrong while building is a bug, and raised.
    """
    return compiled_once(origin, outputs, lambda: _compiled(origin, outputs, events))


def _compiled(origin: Any, outputs: Sequence[Output | str], events: Space) -> Compiled:
    plain = {i: output for i, output in enumerate(outputs) if isinstance(output, str)}
    wanted = {i: output for i, output in enumerate(outputs) if isinstance(output, Output)}
    try:
        kernel = lowered(origin, list(wanted.values()), events)
    except NotLowered:
        for i, output in list(wanted.items()):
            try:
                lowered(origin, [output], events)
            except NotLowered as reason:
                plain[i] = str(reason)
                del wanted[i]
        try:
            kernel = lowered(origin, list(wanted.values()), events)
        except NotLowered as reason:
            return Compiled(None, (), plain | dict.fromkeys(wanted, f"together with the other results: {reason}"))
    if not wanted:
        return Compiled(None, (), plain)
    return Compiled(kernel, tuple(wanted), plain)


def lowered(origin: Any, outputs: Sequence[Output], events: Space, first: bool = False) -> Kernel:
    """A kernel, not yet built, in which the interpreter makes what has no rule; `first` if it feeds another.

    Raises NotLowered if that is not enough.
    """
    asked: dict[Item, str] = {}
    while True:
        try:
            kernel = Kernel(origin, outputs, events, asked)
            if not first:
                kernel.feeders = feeders(kernel.given, lambda output: lowered(origin, [output], events, True))
            return kernel
        except NotLowered as reason:
            if reason.item is None or reason.item in asked:
                raise
            asked[reason.item] = str(reason)


class Kernel:
    """Some results of one dataset as a loop tree and LLVM text; `build` compiles it.

    `asked` says what the interpreter is to make, and why; the kernel adds what no rule makes. `given` is what the
    kernel then reads of it.
    """

    def __init__(self, origin: Any, outputs: Sequence[Output], events: Space, asked: dict[Item, str]) -> None:
        self.origin, self.outputs, self.events = origin, outputs, events
        self.check = bool(os.environ.get("HEPGRAPH_KERNEL_CHECK"))
        self.items: dict[int, tuple[Item, ...]] = {}
        self.targets: list[Callable[[Lowered, Action, Env], None]] = []
        self.numbers: list[int] = []  # of the result of each target; -1 for a check
        self.sizes: dict[int, int] = {}
        self.filled: dict[int, Filled] = {}
        self.fills = 0  # those that are collected apart
        self.feeders: tuple[Feeder, ...] = ()  # what makes the arguments of opaque functions, before each run
        self.moved_from: Kernel | None = None  # one of another dataset
        self._native: Any = None
        actions, self.roots = self._outputs()
        written = dict.fromkeys(item for items in self.items.values() for item in items)
        self.roots += [root for item in written if not as_it_is(item) for root in (item, *place_of(item)[1])]
        whole = ordered(self.roots)
        self.asked = without_rule(whole) | asked
        given = closed(self.asked, whole) if self.asked else frozenset()
        order = ordered(self.roots, until=given.__contains__)
        copied = [item for item in written if as_it_is(item) or item in given]
        actions += [self._append_action(item) for item in written if not (as_it_is(item) or item in given)]
        actions += self._guards(order, given)
        self.staged = staged_of(order, given)
        scheduler = Scheduler(self.staged, order, given)
        self.functions = functions(scheduler, actions, events, self._mark)
        self.trees: list[list[Step]] = [function.steps for function in self.functions]
        self.stages = stages_of(self.functions)
        self.parameters = Parameters.of(whole, outputs)
        self.text, shared = module(self.functions, self.targets, self.stages, self.parameters, self.check)
        self.arguments = [_with_space(argument) for argument in shared.arguments]
        self.areas = shared.areas
        self.given = self._needed(copied, given, scheduler)

    def _outputs(self) -> tuple[list[Action], list[Item]]:
        """The actions of results that are no arrays, and the items that they look at; `items` gets those of arrays."""
        actions: list[Action] = []
        roots: list[Item] = []
        parts: set[Node] = set()
        fills: list[tuple[Any, list[Target]]] = []
        for number, output in enumerate(self.outputs):
            if output.kind == "array":
                self.items[number] = output.items
            elif output.kind == "hist":
                try:
                    targets = [target_of(number, output.empty, fill) for fill in output.fills]
                except NotLowered:  # boost fills it, with arrays
                    self.items[number] = tuple(item for fill in output.fills for item in fill.wants)
                    continue
                fills += alike(output.fills, targets)
                roots += [item for fill in output.fills for item in fill.wants]
            else:
                new = [part for part in output.parts if part not in parts]  # several results may share one
                parts.update(new)
                actions += [self._part_action(part, number) for part in new]
                roots += new
        self.fills = len(fills)
        return [self._fill_action(fill, targets) for fill, targets in fills] + actions, roots

    def _guards(self, order: Sequence[Item], given: frozenset[Item]) -> list[Action]:
        """Where awkward would raise while running, so must we."""
        actions: list[Action] = []
        for item in order:
            if isinstance(item, Map) and item.kind in ("pick", "gather") and item not in given:
                actions += self._checks(item)
            elif isinstance(item, Map) and item.kind == "match" and item not in given:
                actions.append(self._lengths(item))
        return actions

    def _needed(self, copied: Sequence[Item], given: frozenset[Item], scheduler: Scheduler) -> tuple[Item, ...]:
        """The items that the interpreter makes before each run."""
        needed = dict.fromkeys(item for item in copied if not (isinstance(item, Node) and item.op == "literal"))
        for argument in self.arguments:
            if argument.kind == "scratch":
                needed |= dict.fromkeys(bounded(argument.item, given))
            elif argument.kind == "rank":
                needed |= dict.fromkeys(scheduler.chain(argument.item)[:-1])
            elif argument.kind in ("given", "offsets") and (argument.kind == "given" or argument.item in given):
                needed[argument.item] = None
        return tuple(needed)

    def build(self) -> None:
        """Compiles the text, if that was not done, and if there is anything to be done by it."""
        if self._native is None and any(self.trees):
            from hepgraph.kernel.native import native  # llvmlite takes a while to import

            try:
                self._native = native(self.text)
            except Exception as error:
                error.add_note(f"the loops, for each event:\n{self}")
                raise
        for feeder in self.feeders:
            feeder.kernel.build()

    def moved(self, origin: Any, outputs: Sequence[Output], new: Mapping[Item, Item]) -> Kernel | None:
        """The same kernel for a graph that differs in nothing but the dataset, with the items of that one.

        None if it looks at items that have no counterpart. It may have other parameters.
        """
        found = copy.copy(self)
        try:
            found.origin, found.outputs, found.events = origin, outputs, new[self.events]  # type: ignore[assignment]
            found.items = {k: tuple(new[item] for item in items) for k, items in self.items.items()}
            found.staged = frozenset(new[node] for node in self.staged)  # type: ignore[misc]
            found.stages = {
                marks: frozenset(new[node] for node in nodes)  # type: ignore[misc]
                for marks, nodes in self.stages.items()
            }
            found.arguments = [
                replace(each, item=new[each.item])
                if isinstance(each.item, Space | Map | Node) and each.kind != "mark"
                else each
                for each in self.arguments
            ]
            found.given = tuple(new[item] for item in self.given)
            found.asked = {new[item]: reason for item, reason in self.asked.items()}
            found.parameters = self.parameters.moved(new, outputs)
            found.moved_from = self.moved_from or self
        except KeyError:
            return None
        return found

    # actions

    def _action(self, space: Space, uses: tuple[Node, ...], target: Any, number: int = -1) -> Action:
        """The action that does what a target says, for a result or as a check."""
        self.targets.append(target)
        self.numbers.append(number)
        return Action(space, uses, None, 0, len(self.targets) - 1)

    def _append_action(self, item: Item) -> Action:
        number = next(number for number, items in self.items.items() if item in items)
        return self._action(*place_of(item), lambda e, action, env: write_append(e, item, env), number)

    def _mark(self, at: Space, condition: Node) -> Action:
        """Marks the events at which something is done later."""

        def mark(e: Lowered, action: Action, env: Env) -> None:
            for which in (condition, ANY):
                e.store(e.pointer("mark", which, BOOL), str(e.cursor(self.events, env).id), "true", BOOL)

        return self._action(at, (), mark, MARK)

    def _fill_action(self, fill: Any, targets: Sequence[Target]) -> Action:
        """The action of a fill, or of several that differ by their weights and constants alone."""
        self.sizes[targets[0].number] = targets[0].size

        def write(e: Lowered, action: Action, env: Env) -> None:
            for mask in fill.must:  # a weight that is None
                e.fail(e.emit(f"xor i1 {e.value(mask, env)}, true"))
            for target in targets:
                write_fill(e, target, env, self.fills > MANY)

        made = Push(tuple(targets), fill.must) if batched(targets[0], self.fills) else write
        nodes = dict.fromkeys(node for target in targets for node in target.nodes)
        return self._action(fill.entries, (*nodes, *fill.must), made, targets[0].number)

    def _part_action(self, part: Node, number: int) -> Action:
        if part.op == "count":
            (s,) = part.args
            assert isinstance(s, Space)
            return self._action(s, (), lambda e, action, env: _count(e, part), number)
        (x,) = part.args
        assert isinstance(x, Node)
        assert x.space is not None
        if part.param == "moments" and x.dtype.kind in "biuf":
            return self._action(
                x.space, (x,), lambda e, action, env: write_moments(e, part, e.value(x, env), x.dtype), number
            )
        if part.dtype.kind not in "biuf" or part.param not in ("sum", "prod", "any", "all", "min", "max"):
            raise NotLowered(f"the {part.param} of {part.dtype} is not compiled")
        return self._action(x.space, (x,), lambda e, action, env: e.accumulate(part, e.value(x, env), x.dtype), number)

    def _checks(self, m: Map) -> list[Action]:
        """Where awkward would raise for an index out of range, so must we."""
        masks = m.args[m.param[1] :] if m.kind == "pick" else m.args[1:]
        masks = tuple(mask for mask in masks if not (isinstance(mask, Node) and mask.op == "literal"))
        asked = (m.kind == "gather" and bool(m.param)) or (m.kind == "pick" and len(m.args) > m.param[1])
        if not asked or surely_there(m, map(as_node, masks)):
            return []
        at = m.src
        for mask in masks:
            at = filtered(at, as_node(mask))
        from hepgraph.graph.canonical import defined

        found = defined(m)

        def check(e: Lowered, action: Action, env: Env) -> None:
            e.fail(e.emit(f"xor i1 {e.value(found, env)}, true"))

        return [self._action(at, (found,), check)]

    def _lengths(self, m: Map) -> Action:
        """Where awkward would raise for lists of different lengths, so must we."""
        (mask,) = m.args
        assert isinstance(mask, Node)
        at = m.src.parent
        if at is None or at is not m.dst.parent:
            raise NotLowered("lists of different parents that are compared while running are not compiled", m)
        if mask.op != "literal":
            at = filtered(at, mask)
        both = tuple(take(inc(at), count(s)) if at is not s.parent else count(s) for s in (m.src, m.dst))

        def check(e: Lowered, action: Action, env: Env) -> None:
            e.fail(e.emit(f"icmp ne i64 {e.length(m.src, env)}, {e.length(m.dst, env)}"))

        return self._action(at, both, check)

    # running

    def as_written(self) -> Kernel:
        """The same, with loops over its own items, to be printed."""
        return self if self.moved_from is None else lowered(self.origin, self.outputs, self.events)

    def __str__(self) -> str:
        if (own := self.as_written()) is not self:
            return str(own)
        before = []
        for feeder in self.feeders:
            text = "\n".join(printed(tree, self.roots) for tree in feeder.kernel.trees)
            inside = "".join(f"  {line}\n" for line in text.splitlines())
            before.append(f"for what {feeder.call.param.title} gets:\n{inside}")
        loops = [printed(tree, self.roots).splitlines() for tree in self.trees]
        return "".join(before) + "\n".join(self._titled(loops, str))

    def outline(self) -> list[OutlineLine]:
        """The loops and results under their conditions on events, for each function."""
        if (own := self.as_written()) is not self:
            return own.outline()
        parts = [outlined(tree, self.roots, self.numbers) for tree in self.trees]
        return self._titled(parts, lambda title: OutlineLine(title, None))

    def _titled(self, parts: Sequence[Sequence[Line]], line: Callable[[str], Line]) -> list[Line]:
        """The lines of all functions, with titles if there are several."""
        if len(parts) < 2:
            return [*parts[0]] if parts else []
        titles = [f"function {k + 1}" + f", {f.title}" * bool(f.title) for k, f in enumerate(self.functions)]
        return [each for title, part in zip(titles, parts, strict=True) for each in (line(f"{title}:"), *part)]

    def seeds(self, loaded: Loaded) -> dict[Item, Any]:
        """Results of the opaque functions for a partition, of those whose arguments a kernel makes."""
        found: dict[Item, Any] = {}
        for feeder in self.feeders:
            returned = feeder.fed(loaded, found)
            if returned is None:  # the interpreter says what is wrong
                break
            found[feeder.call] = returned
        return found

    def run(self, loaded: Loaded, given: Mapping[Item, Any] = _NOTHING) -> list[Any] | None:
        """The partial results of one partition, out of what the interpreter gives; None where something is wrong."""
        self.build()
        with Streams() as streams:
            return self._run(loaded, given, streams)

    def _run(self, loaded: Loaded, given: Mapping[Item, Any], streams: Streams) -> list[Any] | None:
        offsets = Offsets(loaded, given)
        bins: dict[tuple[int, int], Any] = {}
        totals: dict[Node, Any] = {}
        arguments = Arguments(len(self.arguments))
        moving: list[tuple[int, Argument]] = []
        for k, argument in enumerate(self.arguments):
            match argument.kind:
                case "function":
                    function, kinds = argument.item
                    arguments.point_to(k, function.native(kinds))
                case "given":
                    arguments.keep(k, np.ascontiguousarray(given[argument.item], argument.dtype))
                case "rank":
                    arguments.keep(k, ranks(argument.item, given, len(loaded.partition)))
                case "stream":
                    arguments.keep(k, streams.array(argument.item))
                case _ if argument.kind in MOVING or (argument.kind == "values" and argument.item in self.staged):
                    moving.append((k, argument))
                case kind:
                    least = 2 if kind == "offsets" else 1
                    arguments.keep(k, self._array(argument, loaded, offsets, bins, totals), least)
        if self._native is not None and self._wrong(Loops(self, self._native, offsets, arguments, moving)):
            return None
        return [
            collected(self.items[number], streams, given)
            if number in self.items
            else self._result(number, output, bins, totals)
            for number, output in enumerate(self.outputs)
        ]

    def _wrong(self, loops: Loops) -> bool:
        """Runs the loops; whether something was wrong."""
        status = loops.run()
        report = loops.arguments.report
        if report[0] >= 0:
            low, size = loops.arguments.bounds[report[0]]
            raise AssertionError(
                f"the kernel looked at {report[1]} of {self.arguments[report[0]]}, which has {size} from {low}\n{self}"
            )
        return bool(status)

    def _array(self, argument: Argument, loaded: Loaded, offsets: Offsets, bins: Any, totals: Any) -> Any:
        """The memory that an argument of the kernel points to."""
        match argument.kind:
            case "offsets":
                return offsets.of(argument.item)
            case "values":
                return values_of(loaded, argument.item, offsets)
            case "scratch":
                return np.zeros(offsets.capacity(argument.item), argument.dtype)
            case "bins":
                size = self.sizes[argument.item]
                shape = size * copies(size, argument.part)
                return bins.setdefault(
                    (argument.item, argument.part), np.full(shape, start_of(argument.part), argument.dtype)
                )
            case "batch":
                return np.zeros(self.areas[argument.dtype], argument.dtype)
            case "parameters":
                return self.parameters.values()
            case "total":
                return totals.setdefault(argument.item, _total_start(argument.item))
        raise AssertionError(argument.kind)

    def _result(self, number: int, output: Output, bins: Any, totals: Any) -> Any:
        if output.kind == "total":
            made = [totals[part].copy() if part in totals else _total_start(part) for part in output.parts]
            return [
                x.view(MOMENTS) if part.param == "moments" else x for part, x in zip(output.parts, made, strict=True)
            ]
        size = self.sizes.get(number, 0)
        own = {part: array.reshape(-1, size).sum(axis=0) for (which, part), array in bins.items() if which == number}
        if number not in self.filled:
            self.filled[number] = Filled.of(output)
        return self.filled[number](own)


def _with_space(argument: Argument) -> Argument:
    """An argument as it is looked at when the loops run: of scratch, only its space matters."""
    if argument.kind != "scratch":
        return argument
    need: LoopNeed = argument.item
    return replace(argument, item=need.item.space if isinstance(need.item, Node) else need.item)


# reductions over the dataset


def write_moments(e: Lowered, part: Node, x: str, dtype: np.dtype[Any]) -> None:
    """Adds a value to a number, a mean and a sum of squared deviations, by Welford's recurrence."""
    x = cast(e, x, dtype, DOUBLE)
    place = e.pointer("total", part, DOUBLE)
    n, mean, m2 = (e.load(place, str(k), DOUBLE) for k in range(3))
    n = e.emit(f"fadd double {n}, 1.0")
    away = e.emit(f"fsub double {x}, {mean}")
    mean = e.emit(f"fadd double {mean}, {e.emit(f'fdiv double {away}, {n}')}")
    more = e.emit(f"fmul double {away}, {e.emit(f'fsub double {x}, {mean}')}")
    for k, value in enumerate((n, mean, e.emit(f"fadd double {m2}, {more}"))):
        e.store(place, str(k), value, DOUBLE)


def _count(e: Lowered, part: Node) -> None:
    pointer = e.pointer("total", part, INT)
    e.store(pointer, "0", e.emit(f"add i64 {e.load(pointer, '0', INT)}, 1"), INT)


def _total_start(part: Node) -> Any:
    if part.op == "count":
        return np.zeros(1, np.int64)
    if part.param == "moments":
        return np.zeros(1, MOMENTS).view(DOUBLE)
    if part.param == "sum" and part.dtype.kind == "f":
        return np.zeros(1, np.longdouble)
    return np.array([start_value(part)], part.dtype)

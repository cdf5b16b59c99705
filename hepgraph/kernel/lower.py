"""From the loop tree to LLVM: one function over a range of events, no Python object touched.

What is called (`module.py`) is `i32 kernel(start, stop, first, arguments, sizes)`; `Slot` says what an argument is. It
returns 0, or 1 where something was out of range (the interpreter then says what). `sizes` is looked at only by code
with checks: the first index and the length of each argument; before it, a report of what was out of bounds. Values are
named once in the innermost block that needs them; LLVM hoists what does not change out of loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.node import Item, Map, Node, Space, as_map, as_node, as_space, ordered
from hepgraph.kernel.batches import Batches, Push
from hepgraph.kernel.deferred import LoopFunction
from hepgraph.kernel.reductions import combined, start_value, stored
from hepgraph.kernel.sorting import sort_function
from hepgraph.kernel.tree import (
    Action,
    Begin,
    Bind,
    Finish,
    If,
    Loop,
    LoopNeed,
    NotLowered,
    Step,
    binds,
    event_spaces,
    is_flat,
    only_any_or_all,
)
from hepgraph.kernel.types import cast, llvm_type, stored_type
from hepgraph.kernel.values import Values
from hepgraph.kernel.writer import BOOL, INT, Cursor, Env, Shared, Winner
from hepgraph.limits import limits

COLLECTED = 3  # what it takes to collect an entry


class Lowered(Values):
    """The code of one loop tree, and its arguments."""

    def __init__(
        self, function: LoopFunction, targets: Sequence[Any], packed: Mapping[Node, int], shared: Shared, check: bool
    ) -> None:
        super().__init__(function.scheduler, packed, shared, check)
        self.steps, self.targets, self.marked = function.steps, targets, function.marks
        self.counters: dict[Space, str] = {}
        self.batches = Batches(shared.areas)
        self.depth = 0  # of loops
        self.settled: Node | None = None  # the any or all that the loop under way is for, and for nothing else

    def write(self) -> list[str]:
        """The code of the tree."""
        self.do(f"store i32 0, ptr {self.error}")
        flat = [step for step in self.steps if isinstance(step, Loop) and is_flat(step)]
        rest = [step for step in self.steps if not any(step is other for other in flat)]
        for step in flat:
            self.flat(step)
        spaces = event_spaces(rest)

        def event(at: str) -> None:
            self.event = at
            cursor = Cursor(id=at)
            self.walk(rest, {TOTAL: Cursor(), **dict.fromkeys(spaces, cursor)})

        if self.marked:
            entries = self.pointer("marked", self.marked, INT)  # where those of each step begin, and they
            low, high = self.load(entries, "%start", INT), self.load(entries, "%stop", INT)
            self.strips(low, high, lambda at: event(self.load(entries, at, INT)))
        elif rest:
            self.strips("%start", "%stop", event)
        self.batches.finish(self, self.batches.open)
        self.do(f"ret i32 {self.emit(f'load i32, ptr {self.error}')}")
        return self.lines

    def flat(self, step: Loop) -> None:
        """A loop over all elements of the block at once, where it does not matter to which event they belong."""
        pointer = self.pointer("offsets", step.space, INT)
        low, high = self.load(pointer, "%start", INT), self.load(pointer, "%stop", INT)
        together = not self.check and _side_by_side(step, self.targets)
        self.strips(low, high, lambda at: self.walk(step.body, {TOTAL: Cursor(), step.space: Cursor(id=at)}), together)

    def strips(self, low: str, high: str, inside: Any, together: bool = False) -> None:
        """A loop over numbers in strips; after each, the batches of fills made once for each number are binned.

        If `together`, LLVM is told to take several numbers at a time.
        """
        i = self.variable("i64")
        self.do(f"store i64 {low}, ptr {i}")
        head, body, done = self.block("head"), self.block("body"), self.block("done")
        self.do(f"br label %{head}")
        self.start(head)
        at = self.emit(f"load i64, ptr {i}")
        self.do(f"br i1 {self.emit(f'icmp slt i64 {at}, {high}')}, label %{body}, label %{done}")
        self.start(body)
        limit = self.emit(f"add nsw i64 {at}, {limits().batch}")
        near = self.emit(f"icmp slt i64 {high}, {limit}")
        end = self.emit(f"select i1 {near}, i64 {high}, i64 {limit}")
        self.range(at, end, inside, self.vector_loop() if together else "")
        self.batches.finish(self, self.batches.once)
        self.do(f"store i64 {end}, ptr {i}")
        self.do(f"br label %{head}")
        self.start(done)

    def walk(self, steps: Sequence[Step], env: Env) -> None:
        """Writes steps in order."""
        for step in steps:
            match step:
                case Begin(need):
                    self.begin(need)
                case Finish(need):
                    self.sort(as_space(need.item), env)
                case If(mask, body) if self.only is not None or self.cheap(body, env):
                    self.counted_if(self.value(mask, env), body, env)
                case If(mask, body):
                    self.under(self.value(mask, env), partial(self.walk, body, env))
                case Loop(space, body):
                    self.loop(space, body, env)
                case Bind(space):
                    env = self.bind(space, env)
                case Action():
                    self.act(step, env)

    def cheap(self, body: Sequence[Step], env: Env) -> bool:
        """Whether what is under a condition only collects entries that cost less than a branch guessed wrong."""
        own, cost = set(env), 0
        stack = list(reversed(body))
        while stack:
            match stack.pop():
                case Bind(space) if space.kind == "filter":
                    own.add(space)
                    nodes: tuple[Node, ...] = ()
                case If(mask, inside):
                    stack += reversed(inside)
                    nodes = (mask,)
                case Action(need=None, uses=nodes, result=result) if isinstance(self.targets[result], Push):
                    cost += COLLECTED
                case _:
                    return False
            cost += sum(self.cost(node) for node in nodes)
            if cost > limits().guess or not all(self.at_hand(node, own) for node in nodes):
                return False
        return True

    def at_hand(self, node: Node, spaces: set[Space]) -> bool:
        """Whether a node is calculated from what is known or can be read at the current elements, whatever they are."""
        seen: set[Node] = set()
        stack = [node]
        while stack:
            each = stack.pop()
            if each.space is None or each in seen:
                continue
            seen.add(each)
            if each.space not in spaces:
                return False
            if each in self.staged or each in self.marks:
                continue
            if each in self.given or each.op in ("ordinal", "defined", "merge", "ufunc"):
                return False
            if each.op == "count" and not self.rule(as_space(each.args[0])).at_hand:
                return False
            if each.op == "take":
                m = as_map(each.args[0])
                if self.located(m) or not (m.kind == "up" or (m.kind == "inc" and m.src.kind == "filter")):
                    return False
                stack.append(as_node(each.args[1]))
            elif each.op not in ("reduce", "count", "index"):
                stack += [as_node(arg) for arg in each.args]
        return True

    def counted_if(self, test: str, body: Sequence[Step], env: Env) -> None:
        """Code that is run in any case, and counts under a condition."""
        outer = self.only
        self.only = test if outer is None else self.emit(f"and i1 {outer}, {test}")
        self.walk(body, env)
        self.only = outer

    def under(self, test: str, inner: Callable[[], None]) -> None:
        """Code under a condition."""
        inside, after = self.block("then"), self.block("after")
        self.do(f"br i1 {test}, label %{inside}, label %{after}")
        self.start(inside)
        self.scopes.append({})
        inner()
        self.scopes.pop()
        self.do(f"br label %{after}")
        self.start(after)

    def loop(self, space: Space, body: Sequence[Step], env: Env) -> None:
        """Steps for each element of a space under the current element of its parent."""
        settled = self.settled
        self.settled = only_any_or_all(body)
        for bound in binds(body):
            counter = self.counters.get(bound) or self.variable("i64")
            self.counters[bound] = counter
            self.do(f"store i64 0, ptr {counter}")
        self.each(space, env, lambda inner: self.walk(body, inner))
        self.settled = settled

    def each(self, space: Space, env: Env, inside: Callable[[Env], None]) -> None:
        """Code for each element of a space under the current element of its parent."""
        self.rule(space).each(self, space, env, inside)

    def range(self, low: str, high: str, inside: Any, how: str = "") -> None:
        """A loop over numbers; `how` is what LLVM is told of it."""
        i = self.variable("i64")
        self.do(f"store i64 {low}, ptr {i}")
        head, body, done = self.block("head"), self.block("body"), self.block("done")
        self.do(f"br label %{head}")
        self.start(head)
        at = self.emit(f"load i64, ptr {i}")
        more = self.emit(f"icmp slt i64 {at}, {high}")
        if self.settled is not None:  # nothing that follows can change it
            old = self.emit(f"load i8, ptr {self.state[LoopNeed('reduce', self.settled)]}")
            open_ = self.emit(f"icmp eq i8 {old}, {stored(start_value(self.settled), BOOL)}")
            more = self.emit(f"and i1 {more}, {open_}")
        self.do(f"br i1 {more}, label %{body}, label %{done}")
        self.start(body)
        self.scopes.append({})
        self.depth += 1
        inside(at)
        self.depth -= 1
        self.scopes.pop()
        self.do(f"store i64 {self.emit(f'add nsw i64 {at}, 1')}, ptr {i}")
        self.do(f"br label %{head}{how}")
        self.start(done)

    def bind(self, space: Space, env: Env) -> Env:
        """The current element as one of a filter, or of a space with the same elements."""
        return self.rule(space).bind(self, space, env)

    def begin(self, need: LoopNeed) -> None:
        """Sets a need to its starting value."""
        match need.kind, need.item:
            case "reduce", Node() as node:
                if node.space is TOTAL:
                    return
                t = stored_type(node.dtype)
                place = self.state.setdefault(need, self.variable(t))
                self.do(f"store {t} {stored(start_value(node), node.dtype)}, ptr {place}")
            case "count", _:
                place = self.state.setdefault(need, self.variable("i64"))
                self.do(f"store i64 0, ptr {place}")
            case "pick", Map() as m:
                if m not in self.state:
                    self.state[m] = Winner(self.variable("i1"), None, [])
                self.do(f"store i1 false, ptr {self.state[m].found}")
            case "order", Space() as s:
                self.state[need] = [self.variable("i64") for _ in s.args[1:]]  # how many there are, how many None
                for place in self.state[need]:
                    self.do(f"store i64 0, ptr {place}")
            case (("scratch" | "pos"), _):
                pass

    def act(self, action: Action, env: Env) -> None:
        """Does what an action says, for the current element."""
        need = action.need
        if need is None:
            self.targets[action.result](self, action, env)
            return
        match need.kind, need.item:
            case "reduce", Node() as node:
                self.accumulate(node, self.value(action.uses[0], env), action.uses[0].dtype)
            case "count", _:
                place = self.state[need]
                self.up(place)
            case "pick", Map() as m:
                self.consider(m, action, env)
            case "scratch", Node(op="merge") as node:
                value = cast(self, self.value(action.uses[0], env), action.uses[0].dtype, node.dtype)
                at = self.position(action.space, env)
                whole = as_space(node.space)
                for part in whole.args[: action.part]:
                    at = self.emit(f"add nsw i64 {at}, {self.length(as_space(part), env)}")
                self.store(self.pointer("scratch", need, node.dtype), at, value, node.dtype)
            case "scratch", Node() as node:
                at = self.position(action.space, env)
                self.store(self.pointer("scratch", need, node.dtype), at, self.value(node, env), node.dtype)
            case "pos", Space():
                cursor = env[action.space]
                self.store(self.pointer("scratch", need, INT), self.position(action.space, env), str(cursor.id), INT)
            case "order", Space() as s:
                self.put_in_order(s, need, action, env)

    def put_in_order(self, s: Space, need: LoopNeed, action: Action, env: Env) -> None:
        """Stores the key and position of an element that is to be sorted; those without a key apart."""
        key, *rest = action.uses
        at = self.position(action.space, env)
        self.store(self.pointer("scratch", need, key.dtype), at, self.value(key, env), key.dtype)
        order = self.pointer("scratch", need, INT, 1)
        if not rest:
            self.store(order, self.up(self.state[need][0]), at, INT)
            return
        there = self.value(rest[0], env)
        counts = [self.emit(f"load i64, ptr {place}") for place in self.state[need]]
        for pointer, count in zip((order, self.pointer("scratch", need, INT, 2)), counts, strict=True):
            self.store(pointer, count, at, INT)  # at most one stays: the other is written over, or never looked at
        for place, count, test in zip(self.state[need], counts, (there, None), strict=True):
            step = self.emit(f"zext i1 {test or self.emit(f'xor i1 {there}, true')} to i64")
            self.do(f"store i64 {self.emit(f'add nsw i64 {count}, {step}')}, ptr {place}")

    def sort(self, s: Space, env: Env) -> None:
        """Sorts a list: the positions with a key by it, then those without."""
        need = LoopNeed("order", s)
        key = as_node(s.args[1])
        keys = self.pointer("scratch", need, key.dtype)
        order, spare = (self.pointer("scratch", need, INT, part) for part in (1, 2))
        counts = [self.emit(f"load i64, ptr {place}") for place in self.state[need]]
        if len(counts) > 1:  # what has no key waits in the spare array, which sorting uses: it goes to its place first

            def behind(at: str) -> None:
                value = self.load(spare, at, INT)
                self.store(order, self.emit(f"add nsw i64 {counts[0]}, {at}"), value, INT)

            self.range("0", counts[1], behind)
        name = sort_function(self.functions, key.dtype, s.param[0])
        self.do(f"call void @{name}(ptr {keys}, ptr {order}, ptr {spare}, i64 {counts[0]})")

    def up(self, place: str) -> str:
        """Adds one to a counter; gives what it was before."""
        at = self.emit(f"load i64, ptr {place}")
        more = self.emit(f"add nsw i64 {at}, {self.one()}")
        self.do(f"store i64 {more}, ptr {place}")
        return at

    def accumulate(self, node: Node, x: str, dtype: np.dtype[Any]) -> None:
        """Adds a value to a reduction."""
        x = cast(self, x, dtype, node.dtype)
        t = stored_type(node.dtype)
        if node.space is TOTAL:
            self.accumulate_total(node, x)
            return
        place = self.state[LoopNeed("reduce", node)]
        old = self.emit(f"load {t}, ptr {place}")
        if node.dtype == BOOL:
            old = self.emit(f"icmp ne i8 {old}, 0")
        new = combined(self, node, old, x)
        if node.dtype == BOOL:
            new = self.emit(f"zext i1 {new} to i8")
        self.do(f"store {t} {new}, ptr {place}")

    def accumulate_total(self, node: Node, x: str) -> None:
        """Adds a value to a reduction over the dataset: sums of floats in extended precision."""
        pointer = self.pointer("total", node, node.dtype)
        if node.param == "sum" and node.dtype.kind == "f":
            if np.finfo(np.longdouble).nmant != 63:
                raise NotLowered("sums of floats over the dataset need the extended precision of x86")
            wide = self.emit(f"fpext {llvm_type(node.dtype)} {x} to x86_fp80")
            old = self.emit(f"load x86_fp80, ptr {pointer}")
            self.do(f"store x86_fp80 {self.emit(f'fadd x86_fp80 {old}, {wide}')}, ptr {pointer}")
            return
        old = self.load(pointer, "0", node.dtype)
        self.store(pointer, "0", combined(self, node, old, x), node.dtype)

    def consider(self, m: Map, action: Action, env: Env) -> None:
        """Keeps the current element if it is the best so far."""
        kind, keys, k = m.param
        winner = self.state[m]
        if kind == "at":
            if k == -1:
                test = "true"
            elif k >= 0:
                test = self.emit(f"icmp eq i64 {self.position(action.space, env)}, {k}")
            else:
                raise AssertionError("a position from the end is looked up")
            self.keep(winner, test, env[action.space], None, None)
            return
        key = action.uses[0]
        value = self.value(key, env)
        if winner.best is None:
            winner.best = self.variable(stored_type(key.dtype))
        t = stored_type(key.dtype)
        if key.dtype == BOOL:
            value = self.emit(f"zext i1 {value} to i8")
        best = self.emit(f"load {t}, ptr {winner.best}")
        down = kind == "argmin"
        if key.dtype.kind == "f":
            better = self.emit(f"fcmp {'olt' if down else 'ogt'} {t} {value}, {best}")
        else:
            sign = "s" if key.dtype.kind == "i" else "u"
            better = self.emit(f"icmp {sign}{'lt' if down else 'gt'} {t} {value}, {best}")
        first = self.emit(f"xor i1 {self.emit(f'load i1, ptr {winner.found}')}, true")
        test = self.emit(f"or i1 {first}, {better}")
        if keys > 1:  # None is never the best
            test = self.emit(f"and i1 {test}, {self.value(action.uses[1], env)}")
        self.keep(winner, test, env[action.space], value, t)

    def keep(self, winner: Winner, test: str, cursor: Cursor, value: str | None, kind: str | None) -> None:
        """Stores the winner's cursor under a condition."""
        flat = _flat(cursor)
        if not winner.places:
            winner.shape = cursor
            winner.places = [self.variable("i64") for _ in flat]
        inside, after = self.block("then"), self.block("after")
        self.do(f"br i1 {test}, label %{inside}, label %{after}")
        self.start(inside)
        self.do(f"store i1 true, ptr {winner.found}")
        if value is not None:
            self.do(f"store {kind} {value}, ptr {winner.best}")
        for place, part in zip(winner.places, flat, strict=True):
            self.do(f"store i64 {part}, ptr {place}")
        self.do(f"br label %{after}")
        self.start(after)


def _flat(cursor: Cursor) -> list[str]:
    found = [part for part in (cursor.id, cursor.ordinal) if part is not None]
    for leg in cursor.legs:
        found += _flat(leg)
    return found


def _side_by_side(loop: Loop, targets: Sequence[Any]) -> bool:
    """Whether a flat loop only collects what simple operations make, for every element, so that vectors can."""
    nodes: list[Item] = []
    for step in loop.body:
        if not isinstance(step, Action) or not isinstance(targets[step.result], Push) or targets[step.result].must:
            return False
        nodes += step.uses
    made = [item for item in ordered(nodes) if isinstance(item, Node)]
    return len(made) <= limits().guess and all(
        x.op in _SIMPLE and x.dtype.kind in "fb" for x in made if x.op != "literal"
    )


_SIMPLE = frozenset({
    "load", "add", "subtract", "multiply", "divide", "negative", "absolute", "square", "sqrt", "where", "logical_and",
    "logical_or", "logical_not", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "astype",
})  # fmt: skip

"""From the loop tree to LLVM: one function over a range of events, no Python object touched.

The function is `i32 kernel(start, stop, first, arguments, sizes)`; `Slot` says what each argument points to. It returns
0, or 1 where something was out of range (the interpreter then says what). `sizes` is looked at only by code with checks:
the first index and the length of each argument; before it, a report of what was out of bounds. Values are named once in the innermost block that
needs them; LLVM hoists what does not change out of loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.node import Item, Map, Node, Space
from hepgraph.kernel.fills import checked
from hepgraph.kernel.scalar import cast, constant, literal, llvm_type, operation, stored_type
from hepgraph.kernel.schedule import Action, Begin, Bind, If, Loop, Need, NotLowered, Scheduler, Step

INT = np.dtype(np.int64)
BOOL = np.dtype(bool)


@dataclass(frozen=True)
class Slot:
    """What an argument of the kernel points to: kinds offsets, values, scratch, total, bins."""

    kind: str
    item: Any
    dtype: np.dtype[Any]
    part: int = 0


@dataclass(eq=False)
class Cursor:
    """The current element of a space: its number in its column (or scratch), its position in its list, its members."""

    id: str | None = None
    ordinal: str | None = None
    legs: tuple[Cursor, ...] = ()
    found: str | None = None


Env = dict[Space, Cursor]


class Lowered:
    """The code of one loop tree, and its arguments."""

    def __init__(
        self, steps: Sequence[Step], scheduler: Scheduler, targets: Sequence[Any], check: bool = False
    ) -> None:
        self.steps, self.targets, self.check = steps, targets, check
        self.staged, self.in_scratch = scheduler.staged, scheduler.in_scratch
        self.lines: list[str] = []
        self.top: list[str] = []
        self.declared: dict[str, None] = {}
        self.slots: dict[Slot, str] = {}
        self.constants: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.number = 0
        self.scopes: list[dict[Any, Any]] = [{}]
        self.state: dict[Any, Any] = {}
        self.counters: dict[Space, str] = {}
        self.label = "entry"

    # writing

    def emit(self, text: str) -> str:
        """Writes an instruction that gives a value."""
        self.number += 1
        name = f"%v{self.number}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Writes an instruction that gives none."""
        self.lines.append(f"  {text}")

    def declare(self, text: str) -> None:
        """Declares an external function, once."""
        self.declared[text] = None

    def block(self, name: str) -> str:
        """A fresh label."""
        self.number += 1
        return f"{name}{self.number}"

    def start(self, label: str) -> None:
        """Begins a block."""
        self.lines.append(f"{label}:")
        self.label = label

    def variable(self, kind: str) -> str:
        """A place on the stack; LLVM makes a register of it."""
        self.number += 1
        name = f"%a{self.number}"
        self.top.append(f"  {name} = alloca {kind}")
        return name

    def slot(self, slot: Slot) -> str:
        """The pointer of an argument."""
        return self.slots.setdefault(slot, f"%p{len(self.slots)}")

    def place(self, slot: Slot) -> int:
        """The number of an argument."""
        return int(self.slot(slot)[2:])

    def fail(self, test: str) -> None:
        """Under a condition, the interpreter has to say what is wrong."""
        old = self.emit(f"load i32, ptr {self.error}")
        self.do(f"store i32 {self.emit(f'select i1 {test}, i32 1, i32 {old}')}, ptr {self.error}")

    def within(self, pointer: str, index: str) -> str:
        """An index that was checked, where checks are asked for."""
        if not self.check:
            return index
        slot = int(pointer[2:])
        places = [self.emit(f"getelementptr i64, ptr %sizes, i64 {2 * slot + k}") for k in (0, 1)]
        low, size = (self.emit(f"load i64, ptr {place}") for place in places)
        return checked(self, index, low, size, str(slot))

    def load(self, pointer: str, index: str, dtype: np.dtype[Any]) -> str:
        """An element of an array."""
        t = stored_type(dtype)
        index = self.within(pointer, index)
        place = self.emit(f"getelementptr inbounds {t}, ptr {pointer}, i64 {index}")
        value = self.emit(f"load {t}, ptr {place}")
        return self.emit(f"icmp ne i8 {value}, 0") if dtype == BOOL else value

    def store(self, pointer: str, index: str, value: str, dtype: np.dtype[Any]) -> None:
        """Sets an element of an array."""
        t = stored_type(dtype)
        index = self.within(pointer, index)
        place = self.emit(f"getelementptr inbounds {t}, ptr {pointer}, i64 {index}")
        if dtype == BOOL:
            value = self.emit(f"zext i1 {value} to i8")
        self.do(f"store {t} {value}, ptr {place}")

    # the whole

    def text(self) -> str:
        """The module."""
        self.error = self.variable("i32")
        i = self.variable("i64")
        self.do(f"store i32 0, ptr {self.error}")
        flat = [step for step in self.steps if isinstance(step, Loop) and _is_flat(step)]
        for step in flat:
            self.flat(step)
        self.do(f"store i64 %start, ptr {i}")
        head, body, done = self.block("head"), self.block("body"), self.block("done")
        self.do(f"br label %{head}")
        self.start(head)
        at = self.emit(f"load i64, ptr {i}")
        more = self.emit(f"icmp slt i64 {at}, %stop")
        self.do(f"br i1 {more}, label %{body}, label %{done}")
        self.start(body)
        events = Cursor(id=at)
        env: Env = {TOTAL: Cursor()}
        for space in _event_spaces(self.steps):
            env[space] = events
        self.event = events
        self.walk([step for step in self.steps if step not in flat], env)
        self.do(f"store i64 {self.emit(f'add i64 {at}, 1')}, ptr {i}")
        self.do(f"br label %{head}")
        self.start(done)
        self.do(f"ret i32 {self.emit(f'load i32, ptr {self.error}')}")
        params = ", ".join(f"ptr noalias {name}" for name in self.slots.values())
        calls = []
        for k, name in enumerate(self.slots.values()):
            calls.append(f"  %q{k} = getelementptr ptr, ptr %table, i64 {k}")
            calls.append(f"  {name} = load ptr, ptr %q{k}")
        passed = ", ".join(f"ptr {name}" for name in self.slots.values())
        extra = ", " if params else ""
        report = "  %report = getelementptr i64, ptr %sizes, i64 -2"
        return "\n".join(
            [
                *_unique(self.declared),
                *(f"{name} = private unnamed_addr constant {text}" for text, name in self.constants.items()),
                *(f"define internal void @{name}{text}" for text, name in self.functions.items()),
                f"define internal i32 @body(i64 %start, i64 %stop, i64 %first, ptr %sizes{extra}{params}) noinline {{",
                "entry:",
                *self.top,
                *([report] if self.check else []),
                *self.lines,
                "}",
                "define i32 @kernel(i64 %start, i64 %stop, i64 %first, ptr %table, ptr %sizes) {",
                *calls,
                f"  %r = call i32 @body(i64 %start, i64 %stop, i64 %first, ptr %sizes{extra}{passed})",
                "  ret i32 %r",
                "}",
            ]
        )

    def flat(self, step: Loop) -> None:
        """A loop over all elements of the block at once, where it does not matter to which event they belong."""
        pointer = self.slot(Slot("offsets", step.space, INT))
        low, high = self.load(pointer, "%start", INT), self.load(pointer, "%stop", INT)
        self.range(low, high, lambda at: self.walk(step.body, {TOTAL: Cursor(), step.space: Cursor(id=at)}))

    def walk(self, steps: Sequence[Step], env: Env) -> None:
        """Writes steps in order."""
        for step in steps:
            match step:
                case Begin(need):
                    self.begin(need)
                case If(mask, body):
                    self.under(self.value(mask, env), body, env)
                case Loop(space, body):
                    self.loop(space, body, env)
                case Bind(space):
                    env = self.bind(space, env)
                case Action():
                    self.act(step, env)

    def under(self, test: str, body: Sequence[Step], env: Env) -> None:
        """Steps under a condition."""
        inside, after = self.block("then"), self.block("after")
        self.do(f"br i1 {test}, label %{inside}, label %{after}")
        self.start(inside)
        self.scopes.append({})
        self.walk(body, env)
        self.scopes.pop()
        self.do(f"br label %{after}")
        self.start(after)

    # loops

    def loop(self, space: Space, body: Sequence[Step], env: Env) -> None:
        """Steps for each element of a space under the current element of its parent."""
        for bound in _binds(body):
            counter = self.counters.get(bound) or self.variable("i64")
            self.counters[bound] = counter
            self.do(f"store i64 0, ptr {counter}")
        match space.kind:
            case "leaf" | "concat":
                low, high = self.bounds(space, env)
                self.range(low, high, lambda at: self.walk(body, {**env, space: self.element(space, at, low)}))
            case "comb":
                self.combinations(space, body, env)
            case "cart":
                self.product(space, body, env, 0, ())
            case "pull":
                self.pull(space, body, env)
            case _:
                raise NotLowered(f"a loop over {space.kind} is not compiled")

    def range(self, low: str, high: str, inside: Any) -> None:
        """A loop over numbers."""
        i = self.variable("i64")
        self.do(f"store i64 {low}, ptr {i}")
        head, body, done = self.block("head"), self.block("body"), self.block("done")
        self.do(f"br label %{head}")
        self.start(head)
        at = self.emit(f"load i64, ptr {i}")
        more = self.emit(f"icmp slt i64 {at}, {high}")
        self.do(f"br i1 {more}, label %{body}, label %{done}")
        self.start(body)
        self.scopes.append({})
        inside(at)
        self.scopes.pop()
        self.do(f"store i64 {self.emit(f'add nsw i64 {at}, 1')}, ptr {i}")
        self.do(f"br label %{head}")
        self.start(done)

    def bounds(self, space: Space, env: Env) -> tuple[str, str]:
        """The first element of a list, and the one past its last."""
        if space.kind == "concat":
            return "0", self.length(space, env)
        key = ("bounds", space, self.cursor(_parent(space), env))
        found = self.known(key)
        if found is None:
            parent = self.cursor(_parent(space), env).id
            pointer = self.slot(Slot("offsets", space, INT))
            low = self.load(pointer, str(parent), INT)
            high = self.load(pointer, self.emit(f"add nsw i64 {parent}, 1"), INT)
            found = self.remember(key, (low, high))
        return found  # type: ignore[no-any-return]

    def element(self, space: Space, at: str, low: str) -> Cursor:
        """The cursor of an element of a leaf or concatenation."""
        return Cursor(id=at, ordinal=at if low == "0" else self.emit(f"sub nsw i64 {at}, {low}"))

    def by_position(self, space: Space, k: str, env: Env) -> Cursor:
        """The cursor of the k-th element of a list."""
        match space.kind:
            case "leaf":
                low, _ = self.bounds(space, env)
                return Cursor(id=self.emit(f"add nsw i64 {low}, {k}"), ordinal=k)
            case "concat":
                return Cursor(id=k, ordinal=k)
            case "filter":
                pointer = self.slot(Slot("scratch", Need("pos", space), INT))
                return Cursor(id=self.load(pointer, k, INT), ordinal=k)
        raise NotLowered(f"looking up in {space.kind} is not compiled")

    def combinations(self, space: Space, body: Sequence[Step], env: Env) -> None:
        """Nested loops over i < j < ... ."""
        n, again = space.param  # type: ignore[misc]
        base = _space(space.args[0])
        size = self.length(base, env)

        def level(depth: int, legs: tuple[Cursor, ...], low: str) -> None:
            if depth == n:
                self.walk(body, {**env, space: Cursor(legs=legs)})
                return

            def inside(at: str) -> None:
                leg = self.by_position(base, at, env)
                level(depth + 1, (*legs, leg), at if again else self.emit(f"add nsw i64 {at}, 1"))

            self.range(low, size, inside)

        level(0, (), "0")

    def product(self, space: Space, body: Sequence[Step], env: Env, depth: int, legs: tuple[Cursor, ...]) -> None:
        """Nested loops over the members of a product."""
        if depth == len(space.args):
            self.walk(body, {**env, space: Cursor(legs=legs)})
            return
        base = _space(space.args[depth])

        def inside(at: str) -> None:
            self.product(space, body, env, depth + 1, (*legs, self.by_position(base, at, env)))

        self.range("0", self.length(base, env), inside)

    def pull(self, space: Space, body: Sequence[Step], env: Env) -> None:
        """A loop over a list that belongs to where a map leads."""
        base = _space(space.args[0])
        above = self.follow(_map(space.args[1]), env)
        chain = []
        while base.kind == "filter":
            chain.append(base)
            base = _space(base.args[0])
        low, high = self.bounds(base, above)
        k = self.variable("i64")
        self.do(f"store i64 0, ptr {k}")

        def inside(at: str) -> None:
            inner = {**above, base: self.element(base, at, low)}
            self.selected(list(reversed(chain)), space, body, inner, env, k)

        self.range(low, high, inside)

    def selected(
        self, chain: Sequence[Space], space: Space, body: Sequence[Step], inner: Env, outer: Env, k: str
    ) -> None:
        """The steps for an element of a pulled list, if it passes the filters on the way."""
        if not chain:
            at = self.up(k)
            base = _space(space.args[0])
            own = inner[base]
            self.walk(body, {**outer, space: Cursor(own.id, at, own.legs)})
            return
        first, *rest = chain
        test = self.value(_node(first.args[1]), inner)
        inside, after = self.block("then"), self.block("after")
        self.do(f"br i1 {test}, label %{inside}, label %{after}")
        self.start(inside)
        self.scopes.append({})
        base = inner[_space(first.args[0])]
        self.selected(rest, space, body, {**inner, first: Cursor(base.id, None, base.legs)}, outer, k)
        self.scopes.pop()
        self.do(f"br label %{after}")
        self.start(after)

    def bind(self, space: Space, env: Env) -> Env:
        """The current element as one of a filter, or of a space with the same elements."""
        if space.kind == "one":
            return {**env, space: Cursor(id=env[_parent(space)].id, ordinal="0")}
        below = env[_space(space.args[0])]
        if _root(space).kind == "one":
            return {**env, space: Cursor(below.id, "0", below.legs)}
        if space.kind == "flat" or space not in self.counters:
            return {**env, space: Cursor(below.id, None, below.legs)}
        counter = self.counters[space]
        return {**env, space: Cursor(below.id, self.up(counter), below.legs)}

    # needs

    def begin(self, need: Need) -> None:
        """Sets a need to its starting value."""
        match need.kind, need.item:
            case "reduce", Node() as node:
                if node.space is TOTAL:
                    return
                t = stored_type(node.dtype)
                place = self.state.setdefault(need, self.variable(t))
                self.do(f"store {t} {_stored(_start(node), node.dtype)}, ptr {place}")
            case "count", _:
                place = self.state.setdefault(need, self.variable("i64"))
                self.do(f"store i64 0, ptr {place}")
            case "pick", Map() as m:
                if m not in self.state:
                    self.state[m] = _Winner(self.variable("i1"), None, [])
                self.do(f"store i1 false, ptr {self.state[m].found}")
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
                whole = _space(node.space)
                for part in whole.args[: action.part]:
                    at = self.emit(f"add nsw i64 {at}, {self.length(_space(part), env)}")
                self.store(self.slot(Slot("scratch", need, node.dtype)), at, value, node.dtype)
            case "scratch", Node() as node:
                at = self.position(action.space, env)
                self.store(self.slot(Slot("scratch", need, node.dtype)), at, self.value(node, env), node.dtype)
            case "pos", Space():
                cursor = env[action.space]
                self.store(self.slot(Slot("scratch", need, INT)), self.position(action.space, env), str(cursor.id), INT)

    def up(self, place: str) -> str:
        """Adds one to a counter; gives what it was before."""
        at = self.emit(f"load i64, ptr {place}")
        more = self.emit(f"add nsw i64 {at}, 1")
        self.do(f"store i64 {more}, ptr {place}")
        return at

    def position(self, space: Space, env: Env) -> str:
        """The position of the current element in its list."""
        cursor = self.cursor(space, env)
        if cursor.ordinal is None:
            if space.kind == "leaf":
                low, _ = self.bounds(space, env)
                cursor.ordinal = self.emit(f"sub nsw i64 {cursor.id}, {low}")
                return cursor.ordinal
            raise NotLowered(f"the position in {space.kind} is not known here")
        return cursor.ordinal

    def accumulate(self, node: Node, x: str, dtype: np.dtype[Any]) -> None:
        """Adds a value to a reduction."""
        x = cast(self, x, dtype, node.dtype)
        t = stored_type(node.dtype)
        if node.space is TOTAL:
            self.accumulate_total(node, x)
            return
        place = self.state[Need("reduce", node)]
        old = self.emit(f"load {t}, ptr {place}")
        if node.dtype == BOOL:
            old = self.emit(f"icmp ne i8 {old}, 0")
        new = _combined(self, node, old, x)
        if node.dtype == BOOL:
            new = self.emit(f"zext i1 {new} to i8")
        self.do(f"store {t} {new}, ptr {place}")

    def accumulate_total(self, node: Node, x: str) -> None:
        """Adds a value to a reduction over the dataset: sums of floats in extended precision."""
        pointer = self.slot(Slot("total", node, node.dtype))
        if node.param == "sum" and node.dtype.kind == "f":
            wide = self.emit(f"fpext {llvm_type(node.dtype)} {x} to x86_fp80")
            old = self.emit(f"load x86_fp80, ptr {pointer}")
            self.do(f"store x86_fp80 {self.emit(f'fadd x86_fp80 {old}, {wide}')}, ptr {pointer}")
            return
        old = self.load(pointer, "0", node.dtype)
        self.store(pointer, "0", _combined(self, node, old, x), node.dtype)

    def consider(self, m: Map, action: Action, env: Env) -> None:
        """Keeps the current element if it is the best so far."""
        kind, keys, k = m.param  # type: ignore[misc]
        if keys > 1:
            raise NotLowered("a pick over optional values is not compiled")
        winner = self.state[m]
        if kind == "at":
            if k == -1:
                test = "true"
            elif k >= 0:
                test = self.emit(f"icmp eq i64 {self.position(action.space, env)}, {k}")
            else:
                raise NotLowered("a position from the end is not compiled")
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
        self.keep(winner, self.emit(f"or i1 {first}, {better}"), env[action.space], value, t)

    def keep(self, winner: _Winner, test: str, cursor: Cursor, value: str | None, kind: str | None) -> None:
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

    # values

    def known(self, key: Any) -> Any:
        """What was computed before, in this block or one around it."""
        for scope in reversed(self.scopes):
            if key in scope:
                return scope[key]
        return None

    def remember(self, key: Any, value: Any) -> Any:
        """Keeps a value for the rest of this block."""
        self.scopes[-1][key] = value
        return value

    def cursor(self, space: Space, env: Env) -> Cursor:
        """The current element of a space."""
        found = env.get(space)
        if found is None:
            raise NotLowered(f"there is no current element of {space.kind} here")
        return found

    def value(self, node: Node, env: Env) -> str:
        """The value of a node at the current elements."""
        if node.space is None:
            return constant(node.param.value, node.dtype)
        if node.op == "full":
            return constant(node.param.value, node.dtype)
        key = (node, self.cursor(node.space, env))
        found = self.known(key)
        if found is None:
            found = self.remember(key, self.fresh(node, env))
        return found  # type: ignore[no-any-return]

    def fresh(self, node: Node, env: Env) -> str:
        """The code of a value."""
        at = self.cursor(_space(node.space), env)
        if node in self.staged or node.op == "load":
            return self.load(self.slot(Slot("values", node, node.dtype)), str(at.id), node.dtype)
        match node.op:
            case "ordinal":
                if node.space is not None and node.space.kind == "events":
                    return self.emit(f"add i64 {at.id}, %first")
                return self.position(_space(node.space), env)
            case "count":
                return self.length(_space(node.args[0]), env)
            case "reduce":
                t = stored_type(node.dtype)
                value = self.emit(f"load {t}, ptr {self.state[Need('reduce', node)]}")
                return self.emit(f"icmp ne i8 {value}, 0") if node.dtype == BOOL else value
            case "defined":
                return str(self.reach(_map(node.args[0]), env).found)
            case "merge":
                pointer = self.slot(Slot("scratch", Need("scratch", node), node.dtype))
                return self.load(pointer, str(at.id), node.dtype)
            case "take":
                m, x = _map(node.args[0]), _node(node.args[1])
                inner = self.follow(m, env)
                if self.in_scratch(m, x):
                    pointer = self.slot(Slot("scratch", Need("scratch", x), x.dtype))
                    return self.load(pointer, self.position(m.dst, inner), x.dtype)
                return self.value(x, inner)
        args: list[tuple[Any, Any]] = []
        for arg in node.args:
            assert isinstance(arg, Node)
            args.append(literal(arg.param.value) if arg.op == "literal" else (self.value(arg, env), arg.dtype))
        return operation(self, node.op, args, node.param or (), node.dtype)

    def length(self, space: Space, env: Env) -> str:
        """The number of elements of a space under the current element of its parent."""
        match space.kind:
            case "leaf":
                low, high = self.bounds(space, env)
                key = ("length", space, self.cursor(_parent(space), env))
                return self.known(key) or self.remember(key, self.emit(f"sub nsw i64 {high}, {low}"))  # type: ignore[no-any-return]
            case "one":
                return "1"
            case "filter":
                return self.emit(f"load i64, ptr {self.state[Need('count', space)]}")
            case "concat":
                total = "0"
                for part in space.args:
                    total = self.emit(f"add nsw i64 {total}, {self.length(_space(part), env)}")
                return total
            case "cart":
                total = "1"
                for part in space.args:
                    total = self.emit(f"mul nsw i64 {total}, {self.length(_space(part), env)}")
                return total
            case "comb":
                n, again = space.param  # type: ignore[misc]
                size = self.length(_space(space.args[0]), env)
                total = size
                for k in range(1, n):
                    step = self.emit(f"add nsw i64 {size}, {k if again else -k}")
                    total = self.emit(f"sdiv i64 {self.emit(f'mul nsw i64 {total}, {step}')}, {k + 1}")
                few = self.emit(f"icmp slt i64 {size}, {1 if again else n}")
                return self.emit(f"select i1 {few}, i64 0, i64 {total}")
        raise NotLowered(f"the length of {space.kind} is not compiled")

    def follow(self, m: Map, env: Env) -> Env:
        """The current elements as seen from where a map leads."""
        match m.kind:
            case "up" | "only":
                return env
            case "inc" if m.src.kind == "pull":
                above = self.follow(_map(m.src.args[1]), env)
                return self.placed(m.dst, _without_position(env[m.src]), above)
            case "inc":
                return env if m.dst in env else self.placed(m.dst, _without_position(env[m.src]), env)
            case int():
                return self.placed(m.dst, env[m.src].legs[m.kind], env)
        return self.placed(m.dst, self.reach(m, env), env)

    def placed(self, space: Space, cursor: Cursor, env: Env) -> Env:
        """The current elements with one more, and those that it is a selection of."""
        found = {**env, space: cursor}
        while space.kind in ("filter", "flat"):
            space = _space(space.args[0])
            cursor = self.known(("base", cursor)) or self.remember(("base", cursor), _without_position(cursor))
            found[space] = cursor
        return found

    def reach(self, m: Map, env: Env) -> Cursor:
        """Where a partial map leads, and whether it does."""
        key = ("reach", m, self.cursor(m.src, env))
        found = self.known(key)
        if found is None:
            found = self.remember(key, self.picked(m, env) if m.kind == "pick" else self.gathered(m, env))
        return found  # type: ignore[no-any-return]

    def picked(self, m: Map, env: Env) -> Cursor:
        """The winner of a pick."""
        kind, _, k = m.param  # type: ignore[misc]
        if kind == "at" and m.dst.kind in ("leaf", "concat"):
            size = self.length(m.dst, env)
            at = str(k) if k >= 0 else self.emit(f"add nsw i64 {size}, {k}")
            inside = self.emit(f"icmp slt i64 {at}, {size}")
            if k < 0:
                inside = self.emit(f"icmp sge i64 {at}, 0")
            at = self.emit(f"select i1 {inside}, i64 {at}, i64 0")
            cursor = self.by_position(m.dst, at, env)
            return self.safe(Cursor(cursor.id, cursor.ordinal, (), inside), m.dst)
        winner: _Winner = self.state[m]
        seen = self.emit(f"load i1, ptr {winner.found}")
        places = iter(winner.places)
        if winner.shape is None:
            raise NotLowered("a pick without candidates")
        cursor = _rebuilt(winner.shape, lambda: self.emit(f"load i64, ptr {next(places)}"))
        cursor.found = seen
        return self.safe(cursor, m.dst)

    def gathered(self, m: Map, env: Env) -> Cursor:
        """The element that an index points to."""
        index_node = _node(m.args[0])
        index = cast(self, self.value(index_node, env), index_node.dtype, INT)
        size = self.length(m.dst, env)
        if m.param:
            negative = self.emit(f"icmp slt i64 {index}, 0")
            wrapped = self.emit(f"add nsw i64 {index}, {size}")
            index = self.emit(f"select i1 {negative}, i64 {wrapped}, i64 {index}")
        low = self.emit(f"icmp sge i64 {index}, 0")
        high = self.emit(f"icmp slt i64 {index}, {size}")
        inside = self.emit(f"and i1 {low}, {high}")
        at = self.emit(f"select i1 {inside}, i64 {index}, i64 0")
        cursor = self.by_position(m.dst, at, env)
        return self.safe(Cursor(cursor.id, cursor.ordinal, cursor.legs, inside), m.dst)

    def safe(self, cursor: Cursor, space: Space) -> Cursor:
        """A cursor that may be read from even where nothing was found: it then points to some element that exists."""
        return Cursor(*self._guarded(cursor, space, str(cursor.found)), cursor.found)

    def _guarded(self, cursor: Cursor, space: Space, found: str) -> tuple[str | None, str | None, tuple[Cursor, ...]]:
        while space.kind in ("filter", "flat", "pull"):
            space = _space(space.args[0])
        spare = "0"
        if space.kind == "leaf":
            key = ("spare", space)
            spare = self.known(key) or self.remember(key, self.load(self.slot(Slot("spare", space, INT)), "0", INT))
        number, ordinal = cursor.id, cursor.ordinal
        if number is not None:
            number = self.emit(f"select i1 {found}, i64 {number}, i64 {spare}")
        if ordinal is not None:
            ordinal = self.emit(f"select i1 {found}, i64 {ordinal}, i64 0")
        bases = [_space(space.args[0])] * len(cursor.legs) if space.kind == "comb" else [_space(a) for a in space.args]
        legs = tuple(Cursor(*self._guarded(leg, base, found)) for leg, base in zip(cursor.legs, bases, strict=False))
        return number, ordinal, legs


@dataclass
class _Winner:
    """Where the best element so far of a pick is kept."""

    found: str
    best: str | None
    places: list[str]
    shape: Cursor | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def _flat(cursor: Cursor) -> list[str]:
    found = [part for part in (cursor.id, cursor.ordinal) if part is not None]
    for leg in cursor.legs:
        found += _flat(leg)
    return found


def _rebuilt(shape: Cursor, fresh: Any) -> Cursor:
    number = None if shape.id is None else fresh()
    ordinal = None if shape.ordinal is None else fresh()
    return Cursor(number, ordinal, tuple(_rebuilt(leg, fresh) for leg in shape.legs))


def _without_position(cursor: Cursor) -> Cursor:
    return Cursor(cursor.id, None, cursor.legs, cursor.found)


def _start(node: Node) -> Any:
    """The value of a reduction over nothing."""
    match node.param:
        case "sum" | "any" | "count_nonzero":
            return 0
        case "prod" | "all":
            return 1
        case "min" | "max" if node.dtype.kind == "f":
            return np.inf if node.param == "min" else -np.inf
        case "min" | "max" if node.dtype.kind in "iu":
            info = np.iinfo(node.dtype)
            return info.max if node.param == "min" else info.min
        case "min" | "max":
            return node.param == "min"
    raise NotLowered(f"the reduction {node.param} is not compiled")


def _stored(value: Any, dtype: np.dtype[Any]) -> str:
    return str(int(bool(value))) if dtype == BOOL else constant(value, dtype)


def _combined(e: Lowered, node: Node, old: str, x: str) -> str:
    t = llvm_type(node.dtype)
    floating = node.dtype.kind == "f"
    match node.param:
        case "sum":
            return e.emit(f"{'fadd' if floating else 'add'} {t} {old}, {x}")
        case "prod":
            return e.emit(f"{'fmul' if floating else 'mul'} {t} {old}, {x}")
        case "any":
            return e.emit(f"or i1 {old}, {x}")
        case "all":
            return e.emit(f"and i1 {old}, {x}")
        case "min" | "max":
            down = node.param == "min"
            if floating:
                better = e.emit(f"fcmp {'olt' if down else 'ogt'} {t} {x}, {old}")
                if node.space is TOTAL:  # NaN wins over the dataset, and is ignored in lists
                    better = e.emit(f"or i1 {better}, {e.emit(f'fcmp uno {t} {x}, {x}')}")
            else:
                sign = "s" if node.dtype.kind == "i" else "u"
                better = e.emit(f"icmp {sign}{'lt' if down else 'gt'} {t} {x}, {old}")
            return e.emit(f"select i1 {better}, {t} {x}, {t} {old}")
    raise NotLowered(f"the reduction {node.param} is not compiled")


def _binds(steps: Sequence[Step]) -> list[Space]:
    """The filters that are bound inside of a loop, not counting loops within."""
    found: list[Space] = []
    for step in steps:
        match step:
            case Bind(space) if space.kind == "filter":
                found.append(space)
            case If(_, body):
                found += _binds(body)
    return found


def _event_spaces(steps: Sequence[Step]) -> set[Space]:
    """The space of the entries."""
    found: set[Space] = set()

    def note(space: Space | None) -> None:
        while space is not None:
            if space.kind == "events":
                found.add(space)
            space = space.parent

    def walk(part: Sequence[Step]) -> None:
        for step in part:
            match step:
                case Loop(space, body):
                    note(space)
                    walk(body)
                case If(mask, body):
                    note(mask.space)
                    walk(body)
                case Bind(space):
                    note(space)
                case Action():
                    note(step.space)

    walk(steps)
    return found


def _is_flat(loop: Loop) -> bool:
    """Whether a loop over a list of the events only makes results, out of nothing but the list's own columns."""
    if loop.space.kind != "leaf" or loop.space.parent is None or loop.space.parent.kind != "events":
        return False
    own = {loop.space}

    def free(steps: Sequence[Step]) -> bool:
        for step in steps:
            match step:
                case Bind(space):
                    own.add(space)
                case If(mask, body):
                    if not (_own(mask, own) and free(body)):
                        return False
                case Action(need=None, uses=uses):
                    if not all(_own(node, own) for node in uses):
                        return False
                case _:
                    return False
        return True

    return free(loop.body)


def _own(node: Node, spaces: set[Space]) -> bool:
    """Whether a node is calculated from columns of these spaces, element by element."""
    if node.space is None:
        return True
    if node.space not in spaces or node.op in ("ordinal", "reduce", "count", "defined", "merge"):
        return False
    if node.op == "take":
        m = _map(node.args[0])
        return m.kind == "inc" and _own(_node(node.args[1]), spaces)
    return all(_own(_node(arg), spaces) for arg in node.args)


def _unique(texts: Iterable[str]) -> list[str]:
    """The lines of declarations, each declared function once."""
    found: list[str] = []
    for text in texts:
        for line in text.splitlines():
            if not (line.startswith("declare") and line in found):
                found.append(line)
    return found


def _root(space: Space) -> Space:
    """The space that a selection is of."""
    while space.kind in ("filter", "flat"):
        space = _space(space.args[0])
    return space


def _parent(space: Space) -> Space:
    assert space.parent is not None
    return space.parent


def _space(item: Item | None) -> Space:
    assert isinstance(item, Space)
    return item


def _map(item: Item) -> Map:
    assert isinstance(item, Map)
    return item


def _node(item: Item) -> Node:
    assert isinstance(item, Node)
    return item

"""The values of nodes at the current elements, and the elements that maps lead to."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np

from hepgraph.functions.compiled import NumberFunction
from hepgraph.graph.canonical import TOTAL, up
from hepgraph.graph.kinds import SPACES, is_partial, stays
from hepgraph.graph.node import Item, Map, Node, Space, ancestors, as_map, as_node, as_space, ordered
from hepgraph.graph.ops import OPS
from hepgraph.kernel.fallback import is_rows, same_row
from hepgraph.kernel.maps import map_rule
from hepgraph.kernel.scalar import literal, number, operation
from hepgraph.kernel.schedule import Scheduler
from hepgraph.kernel.spaces import without_position
from hepgraph.kernel.tree import LoopNeed, NotLowered
from hepgraph.kernel.types import cast, constant, llvm_type, stored_type
from hepgraph.kernel.writer import BOOL, INT, REAL, Cursor, Env, Shared, Writer


class Values(Writer):
    """Writes the code of values."""

    def __init__(self, scheduler: Scheduler, packed: Mapping[Node, int], shared: Shared, check: bool) -> None:
        super().__init__(shared, check)
        self.packed, self.event = packed, ""  # transcendental functions made for marked events; the event under way
        self.staged, self.in_scratch, self.walked = scheduler.staged, scheduler.in_scratch, scheduler.walked
        self.cost, self.marks = scheduler.cost, scheduler.marks
        self.given, self.located = scheduler.given, scheduler.located
        self.shape, self.rule, self.chain = scheduler.shape, scheduler.rule, scheduler.chain
        self.direct, self.by_number = scheduler.direct, scheduler.by_number
        self.state: dict[Any, Any] = {}

    def bounds(self, space: Space, env: Env) -> tuple[str, str]:
        """The first element of a list, and the one past its last."""
        key = ("bounds", space, self.cursor(as_space(space.parent), env))
        found = self.known(key)
        if found is None:
            parent = self.numbered(as_space(space.parent), env)
            pointer = self.pointer("offsets", space, INT)
            low = self.load(pointer, str(parent), INT)
            high = self.load(pointer, self.emit(f"add nsw i64 {parent}, 1"), INT)
            found = self.remember(key, (low, high))
        return found  # type: ignore[no-any-return]

    def numbered(self, space: Space, env: Env) -> str:
        """The number of the current element among all of its space in the partition."""
        cursor = self.cursor(space, env)
        if space in self.given or not is_rows(space):
            return str(cursor.id)
        key = ("rank", space, cursor)
        return self.known(key) or self.remember(  # type: ignore[no-any-return]
            key, self.load(self.pointer("rank", space, INT), str(cursor.id), INT)
        )

    def by_position(self, space: Space, k: str, env: Env) -> Cursor:
        """The cursor of the k-th element of a list."""
        return self.rule(space).by_position(self, space, k, env)

    def position(self, space: Space, env: Env) -> str:
        """The position of the current element in its list."""
        cursor = self.cursor(space, env)
        return self.rule(space).position(self, space, cursor, env) if cursor.ordinal is None else cursor.ordinal

    def cursor(self, space: Space, env: Env) -> Cursor:
        """The current element of a space."""
        found = env.get(space)
        if found is None:
            raise NotLowered(f"there is no current element of {space.kind} here")
        return found

    def value(self, node: Node, env: Env) -> str:
        """The value of a node at the current elements."""
        if node.space is None or node.op == "full":
            name = self.parameter(node)
            return constant(node.param.value, node.dtype) if name is None else cast(self, name, REAL, node.dtype)
        key = (node, self.cursor(node.space, env))
        found = self.known(key)
        if found is None:
            try:
                for below in self.unknown(node, env):  # in order: a chain of operations is deeper than Python's stack
                    self.remember((below, env[as_space(below.space)]), self.fresh(below, env))
                found = self.remember(key, self.fresh(node, env))
            except NotLowered as reason:
                reason.item = reason.item or node
                raise
        return found  # type: ignore[no-any-return]

    def unknown(self, node: Node, env: Env) -> list[Node]:
        """The operations that a value is made by, in order, but for the last, and for those that are known here."""

        def until(item: Item) -> bool:
            if item is node:
                return not self.is_operation(node)
            return not (isinstance(item, Node) and self.is_operation(item) and not self.known((item, at)))

        at = self.cursor(as_space(node.space), env)
        if not any(isinstance(arg, Node) and self.is_operation(arg) for arg in node.args):
            return []
        below = ordered([node], until)[:-1]
        return [
            item
            for item in below
            if isinstance(item, Node) and item.space is node.space and not until(item) and item is not node
        ]

    def is_operation(self, node: Node) -> bool:
        """Whether a value is made of others of the same space alone."""
        known = node in self.staged or node in self.given or node in self.marks
        return node.space is not None and node.op in OPS and not known

    def fresh(self, node: Node, env: Env) -> str:
        """The code of a value."""
        at = self.cursor(as_space(node.space), env)
        if node in self.given:
            return self.load(
                self.pointer("given", node, node.dtype), self.numbered(as_space(node.space), env), node.dtype
            )
        if node in self.marks:
            return self.load(self.pointer("mark", node, BOOL), str(at.id), BOOL)
        if node in self.packed:
            at_place = self.packed_place(self.packed[node], as_space(node.space), str(at.id))
            return self.load(self.pointer("values", node, node.dtype), at_place, node.dtype)
        if node in self.staged or node.op in ("load", "index", "load_valid", "list_valid"):
            return self.load(self.pointer("values", node, node.dtype), str(at.id), node.dtype)
        match node.op:
            case "ordinal":
                if node.space is not None and node.space.kind == "events":
                    return self.emit(f"add i64 {at.id}, %first")
                return self.position(as_space(node.space), env)
            case "count":
                return self.length(as_space(node.args[0]), env)
            case "reduce":
                t = stored_type(node.dtype)
                value = self.emit(f"load {t}, ptr {self.state[LoopNeed('reduce', node)]}")
                return self.emit(f"icmp ne i8 {value}, 0") if node.dtype == BOOL else value
            case "defined":
                return str(self.reach(as_map(node.args[0]), env).found)
            case "merge":
                pointer = self.pointer("scratch", LoopNeed("scratch", node), node.dtype)
                return self.load(pointer, str(at.id), node.dtype)
            case "take":
                m, x = as_map(node.args[0]), as_node(node.args[1])
                inner = self.follow(m, env)
                if self.in_scratch(m, x):
                    pointer = self.pointer("scratch", LoopNeed("scratch", x), x.dtype)
                    return self.load(pointer, self.position(m.dst, inner), x.dtype)
                return self.value(x, inner)
        args: list[tuple[Any, Any]] = []
        for arg in node.args:
            assert isinstance(arg, Node)
            if arg.op == "literal":
                args.append(literal(arg.param.value, self.parameter(arg)))
            else:
                args.append((self.value(arg, env), arg.dtype))
        if node.op == "ufunc" and isinstance(node.param[0], NumberFunction):
            return self.called(node.param[0], args, node.dtype)
        return operation(self, node.op, args, node.param or (), node.dtype)

    def packed_place(self, number: int, space: Space, at: str) -> str:
        """Where the values of an element are that were made for marked events; those of others are in a spare place."""
        key = ("packed", number, space)
        found = self.known(key)
        if found is None:
            shift = self.load(self.pointer("shift", space, INT, number), self.event, INT)
            size = self.load(self.pointer("size", space, INT, number), "0", INT)
            found = self.remember(key, (shift, size))
        shift, size = found
        place = self.known((key, at))
        if place is None:
            place = self.emit(f"sub i64 {at}, {shift}")
            inside = self.emit(f"icmp ult i64 {place}, {size}")
            place = self.remember((key, at), self.emit(f"select i1 {inside}, i64 {place}, i64 {size}"))
        return str(place)

    def called(self, function: NumberFunction, args: list[tuple[Any, Any]], out: np.dtype[Any]) -> str:
        """The result of a user's function of numbers; where it raises, the interpreter says so."""
        values = [number(*arg) for arg in args]
        kinds = tuple(dtype for _, dtype in values)
        place = self.variable(stored_type(out))
        passed = ", ".join([f"ptr {place}", *(f"{llvm_type(dtype)} {value}" for value, dtype in values)])
        status = self.emit(f"call i32 {self.pointer('function', (function, kinds), INT)}({passed})")
        self.fail(self.emit(f"icmp ne i32 {status}, 0"))
        value = self.emit(f"load {stored_type(out)}, ptr {place}")
        return self.emit(f"icmp ne i8 {value}, 0") if out == BOOL else value

    def length(self, space: Space, env: Env) -> str:
        """The number of elements of a space under the current element of its parent."""
        return self.rule(space).length(self, space, env)

    def follow(self, m: Map, env: Env) -> Env:
        """The current elements as seen from where a map leads."""
        if self.located(m):
            return self.away(m, self.reach(m, env), env)
        return map_rule(m).follow(self, m, env)

    def placed(self, space: Space, cursor: Cursor, env: Env) -> Env:
        """The current elements with one more, and those that it is a selection of."""
        found = {**env, space: cursor}
        while SPACES[self.shape(space)].selects:
            space = as_space(space.args[0])
            cursor = self.known(("base", cursor)) or self.remember(("base", cursor), without_position(cursor))
            found[space] = cursor
        return found

    def reach(self, m: Map, env: Env) -> Cursor:
        """Where a partial map leads, and whether it does."""
        key = ("reach", m, self.cursor(m.src, env))
        found = self.known(key)
        if found is None:
            found = self.remember(key, self._reached(m, env))
        return found  # type: ignore[no-any-return]

    def _reached(self, m: Map, env: Env) -> Cursor:
        if self.located(m):
            at = self.load(self.pointer("given", m, INT), self.numbered(m.src, env), INT)
            if not is_partial(m):
                return Cursor(id=at)
            found = self.emit(f"icmp sge i64 {at}, 0")
            return self.safe(Cursor(id=at, found=found), m.dst)
        return map_rule(m).reach(self, m, env)

    def away(self, m: Map, cursor: Cursor, env: Env) -> Env:
        """The current elements at the end of a map that comes as an array: nothing else is known to stay."""
        if m.dst.parent is TOTAL or not same_row(m):
            raise NotLowered(f"a map of kind {m.kind} to other entries is not compiled")
        kept = {s: cursor for s, cursor in env.items() if s is TOTAL or s.parent is TOTAL}
        found: Env = {}
        space = m.dst
        while space not in kept:
            found[space] = cursor
            if space.parent is None or space.parent in kept:
                break
            if space.parent.parent is TOTAL:
                raise NotLowered(f"a map of kind {m.kind} from other rows is not compiled")
            if space.parent in env and space.parent in ancestors(m.src) and stays(m, space.parent):
                found |= {s: env[s] for s in ancestors(space.parent) if s in env}
                break
            key = ("above", space, cursor)
            above = self.known(key)
            if above is None:
                pointer = self.pointer("given", up(space), INT)
                above = self.remember(key, Cursor(id=self.load(pointer, str(cursor.id), INT)))
            space, cursor = space.parent, above
        return {**kept, **found}

    def indexed(self, m: Map, index: str, env: Env) -> Cursor:
        """The element at a position of the list that a map leads to, if there is one."""
        size = self.length(m.dst, env)
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
        while self.rule(space).through:
            space = as_space(space.args[0])
        spare = "0"
        if space.kind == "leaf" and space not in self.given:
            key = ("spare", space)
            spare = self.known(key) or self.remember(key, self.load(self.pointer("spare", space, INT), "0", INT))
        number, ordinal = cursor.id, cursor.ordinal
        if number is not None:
            number = self.emit(f"select i1 {found}, i64 {number}, i64 {spare}")
        if ordinal is not None:
            ordinal = self.emit(f"select i1 {found}, i64 {ordinal}, i64 0")
        if not cursor.legs:
            return number, ordinal, ()
        bases = cycle(part for part in space.args if isinstance(part, Space))
        legs = tuple(Cursor(*self._guarded(leg, base, found)) for leg, base in zip(cursor.legs, bases, strict=False))
        return number, ordinal, legs

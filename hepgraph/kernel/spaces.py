"""Kinds of spaces in a kernel: one class a kind, with what is needed and the code that is written.

A space has a length, elements that are found by position, a loop over them, and a way that leads to them; where a kind
lacks one of these, the kernel says so, and the interpreter takes over. A space that the interpreter gives is like the
list of a column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hepgraph.graph.canonical import apply, both, conjuncts, count, inc, ordinal, take, up
from hepgraph.graph.kinds import is_partial
from hepgraph.graph.node import Map, Node, Space, as_map, as_node, as_space
from hepgraph.kernel.tree import Bind, If, Loop, LoopNeed, NotLowered
from hepgraph.kernel.writer import INT, Cursor, Env
from hepgraph.limits import limits

if TYPE_CHECKING:
    from hepgraph.kernel.lower import Lowered
    from hepgraph.kernel.schedule import Scheduler
    from hepgraph.kernel.values import Values

Needs = frozenset[LoopNeed]
Way = list[Loop | If | Bind]
NONE: Needs = frozenset()


def together(needs: Sequence[Needs]) -> Needs:
    """All of some needs."""
    return frozenset().union(*needs)


def _base(s: Space) -> Space:
    return as_space(s.args[0])


class SpaceRule:
    """A kind of space in a kernel; what a kind does not say is not compiled."""

    numbered = False  # whether a number says which element one of a list is; else it is found by its position
    through = False  # whether its elements have the numbers, or the positions, of those of its base
    storable = (
        False  # whether values of it are stored: its lists are not longer than those that it is made of, or `least`
    )
    standing = False  # whether each element stands for one of its base, as its one member
    away = False  # whether its elements are not the current ones of what it is made of
    direct = False  # whether the k-th element of a list is found without a loop over it
    findable = False  # whether the elements of a selection of it are found by position
    at_hand = False  # whether its length is known, or read, without more

    def count_needs(self, g: Scheduler, s: Space) -> Needs:
        """The needs of its length."""
        raise NotLowered(f"the length of {s.kind} is not compiled", s)

    def length(self, e: Values, s: Space, env: Env) -> str:
        """The code of the length of the list under the current element of the parent."""
        raise NotLowered(f"the length of {s.kind} is not compiled", s)

    def guess(self, s: Space, parts: Sequence[float]) -> float:
        """A guess of its length, given those of the spaces that it is made of."""
        return parts[0] if parts else limits().length

    def position_needs(self, g: Scheduler, s: Space) -> Needs:
        """The needs of finding an element by its position."""
        raise NotLowered(f"looking up in {s.kind} is not compiled", s)

    def by_position(self, e: Values, s: Space, k: str, env: Env) -> Cursor:
        """The cursor of the k-th element of the list."""
        raise NotLowered(f"looking up in {s.kind} is not compiled", s)

    def position(self, e: Values, s: Space, cursor: Cursor, env: Env) -> str:
        """The position of an element whose cursor does not tell it."""
        raise NotLowered(f"the position in {s.kind} is not known here", s)

    def loop_needs(self, g: Scheduler, s: Space) -> Needs:
        """The needs of a loop before it starts."""
        raise NotLowered(f"a loop over {s.kind} is not compiled", s)

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        """Code for each element of the list under the current element of the parent."""
        raise NotLowered(f"a loop over {s.kind} is not compiled", s)

    def route(self, g: Scheduler, s: Space, live: frozenset[Space]) -> Way:
        """The loops and conditions that lead from the current elements to one of the space."""
        return [*g.route(as_space(s.parent), live), Loop(s)]

    def included(self, e: Values, m: Map, env: Env) -> Env:
        """The current elements as seen from where `inc` leads."""
        return env if m.dst in env else e.placed(m.dst, without_position(env[m.src]), env)

    def bind(self, e: Lowered, s: Space, env: Env) -> Env:
        """The current element of what it is a selection of, as one of the space."""
        raise NotLowered(f"{s.kind} is not compiled", s)

    def least(self, s: Space) -> int:
        """The elements that a list may have even where those that it is made of have fewer."""
        return 0


def without_position(cursor: Cursor) -> Cursor:
    """A cursor without its position, which is another in another list."""
    return Cursor(cursor.id, None, cursor.legs, cursor.found)


class _NoRoute(SpaceRule):
    """A kind that only the interpreter makes."""

    def route(self, g: Scheduler, s: Space, live: frozenset[Space]) -> Way:
        raise NotLowered(f"{s.kind} is not compiled", s)


class _Events(SpaceRule):
    def loop_needs(self, g: Scheduler, s: Space) -> Needs:
        return NONE


class _Leaf(SpaceRule):
    numbered = storable = away = direct = findable = at_hand = True

    def count_needs(self, g: Scheduler, s: Space) -> Needs:
        return NONE

    position_needs = loop_needs = count_needs

    def length(self, e: Values, s: Space, env: Env) -> str:
        low, high = e.bounds(s, env)
        key = ("length", s, e.cursor(as_space(s.parent), env))
        return e.known(key) or e.remember(key, e.emit(f"sub nsw i64 {high}, {low}"))  # type: ignore[no-any-return]

    def by_position(self, e: Values, s: Space, k: str, env: Env) -> Cursor:
        low, _ = e.bounds(s, env)
        return Cursor(id=e.emit(f"add nsw i64 {low}, {k}"), ordinal=k)

    def position(self, e: Values, s: Space, cursor: Cursor, env: Env) -> str:
        low, _ = e.bounds(s, env)
        cursor.ordinal = e.emit(f"sub nsw i64 {cursor.id}, {low}")
        return cursor.ordinal

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        low, high = e.bounds(s, env)

        def element(at: str) -> None:
            inside({**env, s: Cursor(id=at, ordinal=e.emit(f"sub nsw i64 {at}, {low}"))})

        e.range(low, high, element)


class _Filter(SpaceRule):
    through = storable = at_hand = True

    def guess(self, s: Space, parts: Sequence[float]) -> float:
        return limits().passing * parts[0] if parts else limits().length

    def count_needs(self, g: Scheduler, s: Space) -> Needs:
        return frozenset({LoopNeed("count", s)})

    def length(self, e: Values, s: Space, env: Env) -> str:
        return e.emit(f"load i64, ptr {e.state[LoopNeed('count', s)]}")

    def position_needs(self, g: Scheduler, s: Space) -> Needs:
        root = g.chain(s)[-1]
        if not g.rule(root).findable:
            raise NotLowered(f"looking up in a selection of {root.kind} is not compiled", s)
        return frozenset({LoopNeed("pos", s), LoopNeed("count", s)}) | g.position_needs(root)

    def by_position(self, e: Values, s: Space, k: str, env: Env) -> Cursor:
        at = e.load(e.pointer("scratch", LoopNeed("pos", s), INT), k, INT)
        root = e.chain(s)[-1]
        if e.by_number(root):
            return Cursor(id=at, ordinal=k)
        below = e.by_position(root, at, env)
        return Cursor(below.id, k, below.legs)

    def route(self, g: Scheduler, s: Space, live: frozenset[Space]) -> Way:
        steps = g.route(_base(s), live)
        for mask in sorted(conjuncts(as_node(s.args[1])), key=g.dear):
            inner = mask
            while inner.op == "take" and as_map(inner.args[0]).kind == "up":
                inner = as_node(inner.args[1])
            g.insert(steps, inner, live)
        return [*steps, Bind(s)]

    def bind(self, e: Lowered, s: Space, env: Env) -> Env:
        below = env[_base(s)]
        if e.chain(s)[-1].kind == "one":
            return {**env, s: Cursor(below.id, "0", below.legs)}
        counter = e.counters.get(s)
        return {**env, s: Cursor(below.id, None if counter is None else e.up(counter), below.legs)}


class _Flat(SpaceRule):
    through = True
    bind = _Filter.bind

    def route(self, g: Scheduler, s: Space, live: frozenset[Space]) -> Way:
        return [*g.route(_base(s), live), Bind(s)]


class _One(SpaceRule):
    storable = direct = True

    def guess(self, s: Space, parts: Sequence[float]) -> float:
        return 1.0

    def count_needs(self, g: Scheduler, s: Space) -> Needs:
        return NONE

    position_needs = loop_needs = count_needs

    def length(self, e: Values, s: Space, env: Env) -> str:
        return "1"

    def by_position(self, e: Values, s: Space, k: str, env: Env) -> Cursor:
        return Cursor(id=e.cursor(as_space(s.parent), env).id, ordinal="0")

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        inside({**env, s: e.by_position(s, "0", env)})

    def route(self, g: Scheduler, s: Space, live: frozenset[Space]) -> Way:
        return [*g.route(as_space(s.parent), live), Bind(s)]

    def bind(self, e: Lowered, s: Space, env: Env) -> Env:
        return {**env, s: Cursor(id=env[as_space(s.parent)].id, ordinal="0")}

    def least(self, s: Space) -> int:
        return 1


class _Made(SpaceRule):
    """A list of the elements of one or several, in another order or together."""

    def count_needs(self, g: Scheduler, s: Space) -> Needs:
        return together([g.count_needs(part) for part in s.args if isinstance(part, Space)])

    def position(self, e: Values, s: Space, cursor: Cursor, env: Env) -> str:
        return super().position(e, s, cursor, env) if cursor.id is None else cursor.id


class _Concat(_Made):
    numbered = storable = direct = findable = True
    position_needs = loop_needs = _Made.count_needs

    def guess(self, s: Space, parts: Sequence[float]) -> float:
        return sum(parts)

    def length(self, e: Values, s: Space, env: Env) -> str:
        total = "0"
        for part in s.args:
            total = e.emit(f"add nsw i64 {total}, {e.length(as_space(part), env)}")
        return total

    def by_position(self, e: Values, s: Space, k: str, env: Env) -> Cursor:
        return Cursor(id=k, ordinal=k)

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        e.range("0", e.length(s, env), lambda at: inside({**env, s: Cursor(id=at, ordinal=at)}))


class _Tuples(_Made):
    def loop_needs(self, g: Scheduler, s: Space) -> Needs:
        return together([g.position_needs(as_space(part)) for part in s.args])


class _Combinations(_Tuples):
    def guess(self, s: Space, parts: Sequence[float]) -> float:
        return math.prod((parts[0] + 0.5 * k) / (k + 1) for k in range(int(s.param[0])))

    def length(self, e: Values, s: Space, env: Env) -> str:
        n, again = s.param
        size = total = e.length(_base(s), env)
        for k in range(1, n):
            step = e.emit(f"add nsw i64 {size}, {k if again else -k}")
            total = e.emit(f"sdiv i64 {e.emit(f'mul nsw i64 {total}, {step}')}, {k + 1}")
        few = e.emit(f"icmp slt i64 {size}, {1 if again else n}")
        return e.emit(f"select i1 {few}, i64 0, i64 {total}")

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        """Nested loops over i < j < ... ."""
        n, again = s.param
        base = _base(s)
        size = e.length(base, env)
        k = e.variable("i64")
        e.do(f"store i64 0, ptr {k}")

        def level(depth: int, legs: tuple[Cursor, ...], low: str) -> None:
            if depth == n:
                inside({**env, s: Cursor(None, e.up(k), legs)})
                return

            def member(at: str) -> None:
                leg = e.by_position(base, at, env)
                level(depth + 1, (*legs, leg), at if again else e.emit(f"add nsw i64 {at}, 1"))

            e.range(low, size, member)

        level(0, (), "0")


class _Product(_Tuples):
    def guess(self, s: Space, parts: Sequence[float]) -> float:
        return math.prod(parts)

    def length(self, e: Values, s: Space, env: Env) -> str:
        total = "1"
        for part in s.args:
            total = e.emit(f"mul nsw i64 {total}, {e.length(as_space(part), env)}")
        return total

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        """Nested loops over the members."""
        k = e.variable("i64")
        e.do(f"store i64 0, ptr {k}")

        def level(depth: int, legs: tuple[Cursor, ...]) -> None:
            if depth == len(s.args):
                inside({**env, s: Cursor(None, e.up(k), legs)})
                return
            base = as_space(s.args[depth])
            size = e.length(base, env)
            e.range("0", size, lambda at: level(depth + 1, (*legs, e.by_position(base, at, env))))

        level(0, ())


class _Pull(SpaceRule):
    through = storable = away = findable = True

    def count_needs(self, g: Scheduler, s: Space) -> Needs:
        return g.around(s, g.needs_of(count(s)))

    def length(self, e: Values, s: Space, env: Env) -> str:
        return e.value(count(s), env)

    def position_needs(self, g: Scheduler, s: Space) -> Needs:
        found = g.map_needs(as_map(s.args[1])) | g.position_needs(_base(s))
        return g.around(s, found | self.count_needs(g, s))

    def by_position(self, e: Values, s: Space, k: str, env: Env) -> Cursor:
        above = e.follow(as_map(s.args[1]), env)
        base = e.by_position(_base(s), k, above)
        return Cursor(base.id, k, base.legs)

    def loop_needs(self, g: Scheduler, s: Space) -> Needs:
        base, found = _base(s), g.map_needs(as_map(s.args[1]))
        while g.shape(base) == "filter":
            if g.walked(base):
                return g.around(s, found | g.position_needs(base))
            found |= g.needs_of(as_node(base.args[1]))
            base = _base(base)
        return g.around(s, found | g.loop_needs(base))

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        m = as_map(s.args[1])
        if is_partial(m):  # where it leads nowhere, there is nothing
            e.under(str(e.reach(m, env).found), lambda: self._from(m, e, s, env, inside))
        else:
            self._from(m, e, s, env, inside)

    def _from(self, m: Map, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        """A loop over the list at the end of a map that leads somewhere."""
        base = _base(s)
        above = e.follow(m, env)
        chain = []
        while e.shape(base) == "filter" and not e.walked(base):
            chain.append(base)
            base = _base(base)
        k = e.variable("i64")
        e.do(f"store i64 0, ptr {k}")

        def selected(chain: Sequence[Space], inner: Env) -> None:
            """The code for an element, if it passes the filters on the way."""
            if not chain:
                at = e.up(k)
                own = inner[_base(s)]
                inside({**env, s: Cursor(own.id, at, own.legs)})
                return
            first, *rest = chain
            test = e.value(as_node(first.args[1]), inner)
            passed = inner[_base(first)]
            below = {**inner, first: Cursor(passed.id, None, passed.legs)}
            e.under(test, lambda: selected(rest, below))

        chain.reverse()
        if e.shape(base) == "filter":
            size = e.length(base, above)
            e.range("0", size, lambda at: selected(chain, e.placed(base, e.by_position(base, at, above), above)))
        else:
            e.each(base, above, lambda inner: selected(chain, inner))

    def included(self, e: Values, m: Map, env: Env) -> Env:
        above = e.follow(as_map(m.src.args[1]), env)
        return e.placed(m.dst, without_position(env[m.src]), above)


class _Back(SpaceRule):
    """Those elements of a base that lead back: all of it is gone through."""

    through = storable = away = True

    def _leads(self, s: Space) -> Node:
        """Whether an element of the base is one of these."""
        index, *valid = (take(inc(s), as_node(arg)) for arg in s.args[1:])
        here = apply("equal", [index, take(up(s), ordinal(as_space(s.parent)))])
        return both(valid[0], here) if valid else here

    def guess(self, s: Space, parts: Sequence[float]) -> float:
        return 1.0

    def count_needs(self, g: Scheduler, s: Space) -> Needs:
        return frozenset({LoopNeed("count", s)})

    length = _Filter.length

    def loop_needs(self, g: Scheduler, s: Space) -> Needs:
        return g.loop_needs(_base(s)) | g.needs_of(self._leads(s))

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        base, leads = _base(s), self._leads(s)
        k = e.variable("i64")
        e.do(f"store i64 0, ptr {k}")

        def element(inner: Env) -> None:
            at = inner[base]
            test = e.value(leads, {**env, s: Cursor(at.id, None, at.legs)})
            e.under(test, lambda: inside({**env, s: Cursor(at.id, e.up(k), at.legs)}))

        e.each(base, env, element)

    def included(self, e: Values, m: Map, env: Env) -> Env:
        return e.placed(m.dst, without_position(env[m.src]), env)


class _OfOne(_Made):
    """A list whose elements each stand for one of a base, in places of their own."""

    storable = standing = away = direct = findable = True

    def loop_needs(self, g: Scheduler, s: Space) -> Needs:
        return self.count_needs(g, s) | g.position_needs(s)

    def each(self, e: Lowered, s: Space, env: Env, inside: Callable[[Env], None]) -> None:
        size = e.length(s, env)
        e.range("0", size, lambda at: inside({**env, s: e.by_position(s, at, env)}))

    def included(self, e: Values, m: Map, env: Env) -> Env:
        return e.placed(m.dst, env[m.src].legs[0], env)


class _Sorted(_OfOne):
    def length(self, e: Values, s: Space, env: Env) -> str:
        return e.length(_base(s), env)

    def position_needs(self, g: Scheduler, s: Space) -> Needs:
        stable = s.param[1]
        if not stable:
            raise NotLowered("sorting that is not stable is not compiled", s)
        return g.position_needs(_base(s)) | {LoopNeed("order", s)}

    def by_position(self, e: Values, s: Space, k: str, env: Env) -> Cursor:
        pointer = e.pointer("scratch", LoopNeed("order", s), INT, 1)
        return Cursor(k, k, (e.by_position(_base(s), e.load(pointer, k, INT), env),))


class _Padded(_OfOne):
    def length(self, e: Values, s: Space, env: Env) -> str:
        target, clip = s.param
        if clip:
            return str(target)
        size = e.length(_base(s), env)
        more = e.emit(f"icmp sgt i64 {size}, {target}")
        return e.emit(f"select i1 {more}, i64 {size}, i64 {target}")

    def position_needs(self, g: Scheduler, s: Space) -> Needs:
        return g.position_needs(_base(s))

    def by_position(self, e: Values, s: Space, k: str, env: Env) -> Cursor:
        of = _base(s)
        inside = e.emit(f"icmp slt i64 {k}, {e.length(of, env)}")
        base = e.by_position(of, e.emit(f"select i1 {inside}, i64 {k}, i64 0"), env)
        return Cursor(k, k, (e.safe(Cursor(base.id, base.ordinal, base.legs, inside), of),))

    def least(self, s: Space) -> int:
        return int(s.param[0])


SPACE_RULES: dict[str, SpaceRule] = {
    "total": _NoRoute(), "events": _Events(), "leaf": _Leaf(), "filter": _Filter(), "comb": _Combinations(),
    "cart": _Product(), "pull": _Pull(), "back": _Back(), "one": _One(), "concat": _Concat(), "perm": _Sorted(),
    "flat": _Flat(), "pad": _Padded(), "split": _NoRoute(), "ranged": _NoRoute(), "result": _NoRoute(),
    "table": _NoRoute(),
}  # fmt: skip

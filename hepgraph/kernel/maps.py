"""Kinds of maps in a kernel: one class a kind, with what is needed and the code that is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hepgraph.graph.node import Map, as_node, as_space
from hepgraph.kernel.spaces import NONE, Needs, together
from hepgraph.kernel.tree import LoopNeed, NotLowered
from hepgraph.kernel.types import cast
from hepgraph.kernel.writer import INT, Cursor, Env, Winner

if TYPE_CHECKING:
    from hepgraph.kernel.schedule import Scheduler
    from hepgraph.kernel.values import Values


class MapRule:
    """A kind of map in a kernel: one that finds an element by its position, where it does not say otherwise."""

    near = False  # whether what it leads to is current where the loops are

    def needs(self, g: Scheduler, m: Map) -> Needs:
        """The needs of following it."""
        return g.position_needs(m.dst)

    def reach(self, e: Values, m: Map, env: Env) -> Cursor:
        """Where it leads, and whether it does."""
        raise NotLowered(f"a map of kind {m.kind} is not compiled", m)

    def follow(self, e: Values, m: Map, env: Env) -> Env:
        """The current elements as seen from where it leads."""
        return e.placed(m.dst, e.reach(m, env), env)


class _Current(MapRule):
    """A map to what is current anyway: the parent, or the one element of a list."""

    near = True

    def needs(self, g: Scheduler, m: Map) -> Needs:
        return NONE

    def follow(self, e: Values, m: Map, env: Env) -> Env:
        return env


class _Leg(MapRule):
    def needs(self, g: Scheduler, m: Map) -> Needs:
        return NONE

    def follow(self, e: Values, m: Map, env: Env) -> Env:
        assert isinstance(m.kind, int)
        return e.placed(m.dst, env[m.src].legs[m.kind], env)


class _Inc(MapRule):
    def needs(self, g: Scheduler, m: Map) -> Needs:
        return NONE

    def reach(self, e: Values, m: Map, env: Env) -> Cursor:
        inside = e.emit(f"icmp slt i64 {e.position(m.src, env)}, {e.length(m.dst, env)}")
        base = env[m.src].legs[0]
        return Cursor(base.id, base.ordinal, base.legs, inside)

    def follow(self, e: Values, m: Map, env: Env) -> Env:
        return e.rule(m.src).included(e, m, env)


class _Pick(MapRule):
    def needs(self, g: Scheduler, m: Map) -> Needs:
        must = together([g.needs_of(as_node(a)) for a in m.args[m.param[1] :]])
        return must | (g.position_needs(m.dst) if g.direct(m) else {LoopNeed("pick", m)})

    def reach(self, e: Values, m: Map, env: Env) -> Cursor:
        _, _, k = m.param
        if e.direct(m):
            return e.indexed(m, str(k) if k >= 0 else e.emit(f"add nsw i64 {e.length(m.dst, env)}, {k}"), env)
        winner: Winner = e.state[m]
        seen = e.emit(f"load i1, ptr {winner.found}")
        places = iter(winner.places)
        if winner.shape is None:
            raise NotLowered("a pick without candidates")
        cursor = _rebuilt(winner.shape, lambda: e.emit(f"load i64, ptr {next(places)}"))
        cursor.found = seen
        return e.safe(cursor, m.dst)


def _rebuilt(shape: Cursor, fresh: Callable[[], Any]) -> Cursor:
    number = None if shape.id is None else fresh()
    ordinal = None if shape.ordinal is None else fresh()
    return Cursor(number, ordinal, tuple(_rebuilt(leg, fresh) for leg in shape.legs))


class _Gather(MapRule):
    def needs(self, g: Scheduler, m: Map) -> Needs:
        return together([g.needs_of(as_node(a)) for a in m.args]) | g.position_needs(m.dst)

    def reach(self, e: Values, m: Map, env: Env) -> Cursor:
        index_node = as_node(m.args[0])
        index = cast(e, e.value(index_node, env), index_node.dtype, INT)
        if m.param:
            size = e.length(m.dst, env)
            negative = e.emit(f"icmp slt i64 {index}, 0")
            wrapped = e.emit(f"add nsw i64 {index}, {size}")
            index = e.emit(f"select i1 {negative}, i64 {wrapped}, i64 {index}")
        return e.indexed(m, index, env)


class _Part(MapRule):
    def needs(self, g: Scheduler, m: Map) -> Needs:
        before = [g.count_needs(as_space(part)) for part in m.src.args[: m.param]]
        return g.position_needs(m.dst).union(*before)

    def reach(self, e: Values, m: Map, env: Env) -> Cursor:
        index = e.position(m.src, env)
        for part in m.src.args[: m.param]:
            index = e.emit(f"sub nsw i64 {index}, {e.length(as_space(part), env)}")
        return e.indexed(m, index, env)


class _Align(MapRule):
    def reach(self, e: Values, m: Map, env: Env) -> Cursor:
        return e.by_position(m.dst, e.position(m.src, env), env)


class _Match(MapRule):
    def reach(self, e: Values, m: Map, env: Env) -> Cursor:
        return e.indexed(m, e.position(m.src, env), env)


MAP_RULES: dict[str, MapRule] = {
    "up": _Current(), "only": _Current(), "leg": _Leg(), "inc": _Inc(), "pick": _Pick(), "gather": _Gather(),
    "part": _Part(), "align": _Align(), "match": _Match(),
}  # fmt: skip


def map_rule(m: Map) -> MapRule:
    """The rule of a map; the members of combinations and products are numbered, and have one."""
    return MAP_RULES[m.kind if isinstance(m.kind, str) else "leg"]

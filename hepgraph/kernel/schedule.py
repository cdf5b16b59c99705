"""From the results of a pass to a tree of loops and conditions: plain data, that can be printed.

The tree runs once for each event. An *action* is something done for each element of a space: add to a sum, keep the
best so far, store in scratch, fill a histogram. What an action needs and cannot compute on the spot (a reduction over a
list, the winner of a pick, values that are looked up at random) is a *need*, and itself made by an action; needs are
placed at the innermost level at which they are valid, under the conditions of those who ask for them, and actions that
walk the same lists share the loop.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from types import MappingProxyType

from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.kinds import SPACES
from hepgraph.graph.node import Item, Map, Node, Space, ancestors, as_map, as_node, as_space, ordered
from hepgraph.graph.ops import OPS
from hepgraph.kernel.estimates import Estimates
from hepgraph.kernel.guards import GuardedBranch, Routed, branches
from hepgraph.kernel.maps import map_rule
from hepgraph.kernel.spaces import NONE, SPACE_RULES, Needs, SpaceRule, Way
from hepgraph.kernel.tree import Action, Begin, Bind, Finish, If, Loop, LoopNeed, NotLowered, Step

_CHEAP = 1
_COLUMNS = ("load", "index", "load_valid", "list_valid", "ordinal")
_AT_ONCE = ("literal", "full", *_COLUMNS)


class Scheduler:
    """Makes the tree for one event; `order` has all items of the graph, and numbers them.

    What is in `given` comes from the interpreter: a space by its offsets, a map and a node by an array. `marked` has,
    of actions that are done for marked events alone, the conditions that need not be looked at, and the mark, which is
    a column.
    """

    def __init__(
        self,
        staged: frozenset[Node],
        order: Sequence[Item],
        given: frozenset[Item] = frozenset(),
        marked: Mapping[Action, tuple[frozenset[Node], Node]] = MappingProxyType({}),
    ) -> None:
        self.staged, self.given, self.marked = staged, given, marked
        self.marks = frozenset(mark for _, mark in marked.values())
        self.number: dict[Item, str] = {item: f"{i:08}" for i, item in enumerate(order)}
        self.needs_of = lru_cache(maxsize=None)(self._needs_of)
        self.cost = lru_cache(maxsize=None)(self._cost)
        self.closure = lru_cache(maxsize=None)(self._closure)
        self.rests_on = lru_cache(maxsize=None)(self._rests_on)
        self.makers = lru_cache(maxsize=None)(self._makers)
        self._routes: dict[tuple[Space, frozenset[Space]], Way] = {}
        self.estimates = Estimates(self, order)
        self.dear = self.estimates.dear
        for item in order:  # from below: a chain of operations is deeper than Python's own stack
            if isinstance(item, Node) and item.op in OPS:
                self.cost(item)
                with suppress(NotLowered):  # is raised again for what is asked for
                    self.needs_of(item)

    def after(self, marked: Mapping[Action, tuple[frozenset[Node], Node]]) -> Scheduler:
        """One for the same graph, for actions that are done for marked events."""
        roots: list[Item] = []
        for action in marked:
            roots += [action.space, *action.uses]
        known: set[Item] = {*self.given, *(mark for _, mark in marked.values())}
        found = Scheduler(self.staged, ordered(roots, until=known.__contains__), self.given, marked)
        found.number = self.number
        found.estimates.lengths |= self.estimates.lengths
        return found

    def schedule(self, actions: Sequence[Action], events: Space) -> list[Step]:
        """The tree for one event."""
        return self.build(frozenset({events, TOTAL}), [(a, None) for a in actions], frozenset())

    def place(self, item: Item) -> str:
        """A key to sort items by that is the same in every process, whatever was traced before."""
        for new in ordered([item], until=self.number.__contains__):
            if new not in self.number:  # made while scheduling, as parts of conditions
                what = new.op if isinstance(new, Node) else new.kind
                text = f"{what} {new.param!r} {[self.number[below] for below in new.inputs]}"
                self.number[new] = "x" + hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.number[item]

    # what the interpreter gives

    def shape(self, s: Space) -> str:
        """The kind of a space; a given one is like the list of a column."""
        return "leaf" if s in self.given else s.kind

    def rule(self, s: Space) -> SpaceRule:
        """The rule of the kind of a space."""
        return SPACE_RULES[self.shape(s)]

    def located(self, m: Map) -> bool:
        """Whether an array says where a map leads."""
        return m in self.given or (m.src in self.given and (m.kind == "inc" or isinstance(m.kind, int)))

    def chain(self, s: Space) -> tuple[Space, ...]:
        """A space and those that it is a selection of."""
        found = [s]
        while SPACES[self.shape(s)].selects:
            s = as_space(s.args[0])
            found.append(s)
        return tuple(found)

    # what an expression needs

    def _needs_of(self, node: Node) -> Needs:
        try:
            return self._own_needs(node)
        except NotLowered as reason:
            reason.item = reason.item or node
            raise

    def _own_needs(self, node: Node) -> Needs:
        if node in self.staged or node in self.given or node in self.marks or node.op in _AT_ONCE:
            return frozenset()
        match node.op:
            case "count":
                return self.count_needs(as_space(node.args[0]))
            case "reduce":
                return frozenset({LoopNeed("reduce", node)})
            case "merge":
                return frozenset({LoopNeed("scratch", node)})
            case "defined":
                return self.map_needs(as_map(node.args[0]))
            case "take":
                m, x = as_map(node.args[0]), as_node(node.args[1])
                needs = self.map_needs(m) | self.looked_up(m, x)
                pulled = m.kind == "inc" and self.shape(m.src) in ("pull", "back")
                return self.around(m.src, needs) if pulled else needs
            case "call" | "output" | "output_valid" | "record_valid" | "first_copy":
                raise NotLowered(f"{node.op} is not compiled")
        return frozenset().union(*(self.needs_of(as_node(arg)) for arg in node.args))

    def count_needs(self, s: Space) -> Needs:
        """The needs of the length of a space."""
        return self.rule(s).count_needs(self, s)

    def map_needs(self, m: Map) -> Needs:
        """The needs of a map."""
        return NONE if self.located(m) else map_rule(m).needs(self, m)

    def direct(self, m: Map) -> bool:
        """Whether a pick is found by a position, without a loop over the list."""
        kind, _, k = m.param
        return kind == "at" and (k < -1 or self.rule(m.dst).direct)

    def by_number(self, s: Space) -> bool:
        """Whether a number says which element one of a list is; else it is found by its position."""
        rule = self.rule(s)
        return rule.numbered or (rule.through and self.by_number(as_space(s.args[0])))

    def position_needs(self, s: Space) -> Needs:
        """The needs of finding an element of a space by its position."""
        return self.rule(s).position_needs(self, s)

    def looked_up(self, m: Map, x: Node) -> Needs:
        """The needs of x at where a map leads."""
        if self.in_scratch(m, x):
            return frozenset({LoopNeed("scratch", x)})
        return self.needs_of(x)

    def walked(self, s: Space) -> bool:
        """Whether a filter in a pulled list is walked by stored positions, as its mask takes loops of its own."""
        return any(need.at in self.chain(s) for need in self.needs_of(as_node(s.args[1])))

    def in_scratch(self, m: Map, x: Node) -> bool:
        """Whether values that a map looks up at random are better stored first."""
        near = map_rule(m).near or (m.kind == "inc" and not self.rule(m.src).away)
        if x.op in ("literal", "full") or near:
            return False
        own = self.chain(m.dst)
        local = any(need.at in own for need in self.needs_of(x))
        if local:
            return True
        leg = isinstance(m.kind, int) or (m.kind == "inc" and self.rule(m.src).standing)
        return leg and self.cost(x) > _CHEAP

    def _cost(self, node: Node) -> int:
        if node in self.staged or node in self.given or node in self.marks or node.op in _COLUMNS:
            return 1
        if node.op in ("literal", "full"):
            return 0
        if node.op in ("reduce", "merge", "count", "defined"):
            return 1
        below = sum(self.cost(arg) for arg in node.args if isinstance(arg, Node))
        return below if node.op == "take" else below + OPS[node.op].cost

    def _rests_on(self, mask: Node) -> Needs:
        """All that is needed to know a condition."""
        return self.below(self.needs_of(mask))

    def below(self, needs: Needs) -> Needs:
        """Needs, and those that they rest on."""
        return needs.union(*(self.closure(made) for need in needs for made in self.makers(need)))

    # what an action needs, with the conditions on the way to it, and what those need in turn

    def _closure(self, action: Action) -> Needs:
        found: set[LoopNeed] = set()
        stack = [*self._asked(action)]
        while stack:
            need = stack.pop()
            if need not in found:
                found.add(need)
                for made in self.makers(need):
                    stack.extend(self._asked(made))
        return frozenset(found)

    def _asked(self, action: Action) -> Needs:
        asked = frozenset().union(*(self.needs_of(node) for node in action.uses))
        asked |= self.route_needs(action)
        if action.need is not None and action.need.kind == "scratch" and as_node(action.need.item).op == "merge":
            whole = as_space(as_node(action.need.item).space)
            asked = asked.union(*(self.count_needs(as_space(p)) for p in whole.args[: action.part]))
        if action.need is not None and action.need.kind == "order":
            asked |= self.count_needs(action.space)
        return asked

    def route_needs(self, action: Action) -> Needs:
        """The needs of the loops and conditions that lead to an action."""
        found: Needs = frozenset()
        for step in self.way(action, frozenset({TOTAL})):
            if isinstance(step, If):
                found |= self.needs_of(step.mask)
            elif isinstance(step, Loop):
                found |= self.loop_needs(step.space)
        return found

    def loop_needs(self, s: Space) -> Needs:
        """The needs of a loop over a space before it starts."""
        return self.rule(s).loop_needs(self, s)

    def around(self, pull: Space, needs: Needs) -> Needs:
        """The needs of what is in a pulled list; raises NotLowered for those of other elements than the current."""
        around = {below for s in ancestors(pull) for below in self.chain(s)}
        if any(need.at not in around for need in needs):
            raise NotLowered("a list of lists, with values of the lists that it is taken from, is not compiled", pull)
        return needs

    def _makers(self, need: LoopNeed) -> tuple[Action, ...]:
        """The actions that make a need."""
        match need.kind, need.item:
            case "reduce", Node(args=(x,)):
                return (Action(as_space(as_node(x).space), (as_node(x),), need),)
            case "count", Space() as s:
                return (Action(s, (), need),)
            case "pick", Map() as m:
                _, keys, _ = m.param
                return (Action(m.dst, tuple(as_node(a) for a in m.args[:keys]), need),)
            case "scratch", Node(op="merge") as x:
                whole = as_space(x.space)
                parts = zip(whole.args, x.args, strict=True)
                return tuple(Action(as_space(p), (as_node(v),), need, i) for i, (p, v) in enumerate(parts))
            case "scratch", Node() as x:
                return (Action(as_space(x.space), (x,), need),)
            case "pos", Space() as s:
                return (Action(s, (), need),)
            case "order", Space() as s:
                return (Action(as_space(s.args[0]), tuple(as_node(a) for a in s.args[1:]), need),)
        raise AssertionError(need.kind)

    # the way to a space

    def way(self, action: Action, live: frozenset[Space]) -> Way:
        """The loops and conditions that lead from the current elements to an action."""
        steps = self.route(action.space, live)
        if action not in self.marked:
            return steps
        masks, mark = self.marked[action]
        steps = [step for step in steps if not (isinstance(step, If) and step.mask in masks)]
        self.insert(steps, mark, live)
        return steps

    def route(self, s: Space, live: frozenset[Space]) -> Way:
        """The loops and conditions that lead from the current elements to one of a space."""
        if s in live:
            return []
        found = self._routes.get((s, live))
        if found is None:
            found = self._routes[s, live] = self.rule(s).route(self, s, live)
        return [*found]

    def insert(self, steps: Way, mask: Node, live: frozenset[Space]) -> None:
        """Puts a condition where its space is first known, after the cheaper conditions there."""
        if mask.space in live:
            place = 0
        else:
            place = next(i for i, step in enumerate(steps) if not isinstance(step, If) and step.space is mask.space) + 1
        while place < len(steps) and isinstance(step := steps[place], If) and self.dear(step.mask) <= self.dear(mask):
            if step.mask is mask:
                return
            place += 1
        steps.insert(place, If(mask))

    # building

    def build(
        self,
        live: frozenset[Space],
        actions: Sequence[tuple[Action, Way | None]],
        done: Needs,
        known: frozenset[Node] = frozenset(),
    ) -> list[Step]:
        """The steps for actions, given the spaces whose current elements are known and the needs that are there.

        `known` are conditions that were looked at in a disjunction around these steps.
        """
        steps: list[Step] = []
        direct: list[Action] = []
        under: list[Routed] = []
        inside: dict[tuple[str, Space], list[Routed]] = {}
        for action, route in actions:
            way = self.way(action, live) if route is None else route
            if not way:
                direct.append(action)
            elif isinstance(first := way[0], If):
                under.append((action, way))
            else:
                inside.setdefault((type(first).__name__, first.space), []).append((action, way[1:]))
        now = self._asked_at_once(direct, inside, live)
        parts = branches(self, under, done | now, known)
        done = self._provide(live, self._now(live, now, parts), done, steps)
        self._complete(direct, inside, parts, done)
        steps.extend(direct)
        for part in parts:
            steps += [If(one.mask, self.build(live, one.members, done, one.known)) for one in part]
        for (kind, s), members in inside.items():
            body = self.build(live | {s}, members, done)
            steps.extend([Bind(s), *body] if kind == "Bind" else [Loop(s, body)])
        return steps

    def _complete(
        self,
        direct: Sequence[Action],
        inside: Iterable[tuple[str, Space]],
        parts: Iterable[Iterable[GuardedBranch]],
        done: Needs,
    ) -> None:
        """Raises NotLowered if something here needs what was not made: it is of lists that are not gone through."""
        asked = {need for action in direct for need in self._asked(action)}
        asked = asked.union(*(self.needs_of(one.mask) for part in parts for one in part))
        asked = asked.union(*(self.loop_needs(s) for kind, s in inside if kind == "Loop"))
        if missing := asked - done:
            first = min(missing, key=self._order)
            raise NotLowered("values of other lists than the current ones are not compiled", first.item)

    def _asked_at_once(
        self, direct: Sequence[Action], inside: Mapping[tuple[str, Space], Sequence[Routed]], live: frozenset[Space]
    ) -> Needs:
        """The needs of what is done here, and in the loops that begin here."""
        asked = [self._asked(action) for action in direct]
        asked += [self.closure(action) for members in inside.values() for action, _ in members]
        return frozenset(need for need in NONE.union(*asked) if need.at in live)

    def _now(self, live: frozenset[Space], at_once: Needs, parts: Sequence[Sequence[GuardedBranch]]) -> set[LoopNeed]:
        """The needs to be made at this level: those asked at once, of conditions, and of several branches."""
        found = set(at_once)
        later: list[tuple[Node, dict[LoopNeed, set[int]]]] = []  # for each branch, who asks for what
        for part in parts:
            own: list[dict[LoopNeed, set[int]]] = []
            for one in part:
                found |= {need for need in self.needs_of(one.mask) if need.at in live}
                asked: dict[LoopNeed, set[int]] = {}
                for k, (action, _) in enumerate(one.members):
                    for need in self.closure(action):
                        if need.at in live:
                            asked.setdefault(need, set()).add(k)
                own.append(asked)
            found |= {need for need, count in Counter(chain.from_iterable(own)).items() if count > 1}
            later += [(one.mask, asked) for one, asked in zip(part, own, strict=True)]
        found |= {need for need in self.below(frozenset(found)) if need.at in live}
        walked = {made.space for need in found for made in self.makers(need)}
        paid: set[Item] = set()
        self.estimates.work((node for need in found for made in self.makers(need) for node in made.uses), paid)
        for mask, asked in later:  # what costs little in a loop that runs now anyway
            together: dict[tuple[int, ...], list[LoopNeed]] = {}
            for need in sorted(asked.keys() - found, key=self._order):
                if all(made.space in walked for made in self.makers(need)) and self._ready(need, live, found):
                    together.setdefault(tuple(sorted(asked[need])), []).append(need)
            for needs in together.values():
                if self.estimates.rides([made for need in needs for made in self.makers(need)], paid, mask):
                    found.update(needs)
        return found

    def _ready(self, need: LoopNeed, live: frozenset[Space], found: set[LoopNeed]) -> bool:
        """Whether all that a need rests on is made anyway."""
        asked = {below for made in self.makers(need) for node in made.uses for below in self.needs_of(node)}
        return all(below in found for below in asked if below.at in live)

    def _order(self, need: LoopNeed) -> tuple[str, str]:
        return need.kind, self.place(need.item)

    def _provide(self, live: frozenset[Space], now: Iterable[LoopNeed], done: Needs, steps: list[Step]) -> Needs:
        """Makes needs, those first that others rest on; each round shares its loops."""
        waiting = {need for need in now if need not in done}
        while True:
            more = {
                below
                for need in waiting
                for made in self.makers(need)
                for below in self.closure(made)
                if below.at in live and below not in done
            }
            if more <= waiting:
                break
            waiting |= more
        while waiting:
            ready = [
                need
                for need in waiting
                if not any(b in waiting for made in self.makers(need) for b in self.closure(made) if b is not need)
            ]
            if not ready:
                first = min(waiting, key=self._order)
                raise NotLowered("needs that rest on each other", first.item)
            ready.sort(key=self._order)
            steps.extend(Begin(need) for need in ready)
            made = [(action, None) for need in ready for action in self.makers(need)]
            steps.extend(self.build(live, made, done))
            steps.extend(Finish(need) for need in ready if need.kind == "order")
            done |= frozenset(ready)
            waiting -= set(ready)
        return done

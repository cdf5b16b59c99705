"""The tree of loops and conditions that a schedule is: its steps, how it prints, and what can be asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from hepgraph.errors import HepgraphError
from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.node import Item, Map, Node, Space, as_map, as_node, as_space, ordered
from hepgraph.graph.show import OutlineLine, names_of, numbered, words


class NotLowered(HepgraphError):
    """Something in a graph that the kernel has no rule for; the interpreter makes `item`, or else the whole result."""

    def __init__(self, message: str, item: Item | None = None) -> None:
        super().__init__(message)
        self.item = item


@dataclass(frozen=True, slots=True)
class LoopNeed:
    """A value that takes a loop of its own: kinds reduce, count, pick, scratch, pos, order."""

    kind: str
    item: Item

    @property
    def at(self) -> Space:
        """The space under whose cursor it is valid."""
        match self.kind, self.item:
            case "reduce", Node(space=at):
                return as_space(at)
            case "pick", Map(src=src):
                return src
            case "scratch", Node(space=at):
                return as_space(as_space(at).parent)
            case _, Space(parent=parent):
                return as_space(parent)
        raise AssertionError(self.kind)


@dataclass(frozen=True, slots=True)
class Action:
    """Something done for each element of `space`: towards a need, or towards the result with this number."""

    space: Space
    uses: tuple[Node, ...]
    need: LoopNeed | None = None
    part: int = 0
    result: int = -1


@dataclass(slots=True)
class Begin:
    """Sets a need to its starting value."""

    need: LoopNeed


@dataclass(slots=True)
class Loop:
    """For each element of a space that belongs to the current element of its parent."""

    space: Space
    body: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class If:
    """Under a condition."""

    mask: Node
    body: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class Bind:
    """Says that the current element is also one of a filter (or of a space with the same elements)."""

    space: Space


@dataclass(slots=True)
class Finish:
    """Makes a need out of what its actions left: sorts."""

    need: LoopNeed


Step: TypeAlias = Begin | Loop | If | Bind | Action | Finish


def printed(steps: Sequence[Step], roots: Iterable[Item]) -> str:
    """The tree as indented text."""
    names = names_of(ordered(roots))
    out: list[str] = []

    def walk(part: Sequence[Step], deep: int) -> None:
        pad = "  " * deep
        for step in part:
            match step:
                case Begin(need):
                    out.append(f"{pad}begin {_need_words(need, names)}")
                case Finish(need):
                    out.append(f"{pad}sort {_need_words(need, names)}")
                case Loop(s, body):
                    out.append(f"{pad}for each of {names.get(s, s.kind)}:")
                    walk(body, deep + 1)
                case If(mask, body):
                    out.append(f"{pad}if {_condition(mask, names)}:")
                    walk(body, deep + 1)
                case Bind(s):
                    out.append(f"{pad}(one of {names.get(s, s.kind)})")
                case Action():
                    what = _need_words(step.need, names) if step.need else f"result {step.result}"
                    uses = ", ".join(names.get(node, node.op) for node in step.uses)
                    out.append(f"{pad}{what} <- {uses}" if uses else f"{pad}{what}")

    walk(steps, 0)
    return "\n".join(out)


def outlined(steps: Sequence[Step], roots: Iterable[Item], outputs: Sequence[int]) -> list[OutlineLine]:
    """The loops and results of the tree under their conditions on events, as indented text.

    `outputs` has the number of the result for each action that is none of a need, -1 for a check and -2 for a mark.
    """
    names = names_of(ordered(roots))
    out: list[OutlineLine] = []
    stack: list[tuple[Sequence[Step], tuple[Node, ...], int, int]] = [(steps, (), 0, 0)]
    while stack:
        part, masks, told, deep = stack.pop()
        done = [names.get(step.space, step.space.kind) for step in part if isinstance(step, Loop)]
        done += _phrases({outputs[action] for action in _results(part)})
        inner = [step for step in part if isinstance(step, If)]
        if done or len(inner) != 1:
            conditions = [_condition(mask, names) for mask in masks[told:]]
            title = f"if {' and '.join(conditions)}" if conditions else "every event"
            out.append(OutlineLine(f"{'  ' * deep}{title}: {', '.join(_counted(done))}".rstrip(), masks))
            told, deep = len(masks), deep + 1
        stack += [(step.body, (*masks, step.mask), told, deep) for step in reversed(inner)]
    return out


def _results(steps: Sequence[Step]) -> set[int]:
    """The results made here or in a loop, under no condition on events."""
    found: set[int] = set()
    stack = [*steps]
    while stack:
        match stack.pop():
            case Action(need=None, result=result):
                found.add(result)
            case Loop(_, body):
                stack += [step for inner in body for step in _bodies(inner)]
    return found


def _bodies(step: Step) -> list[Step]:
    if isinstance(step, If):
        return [inner for each in step.body for inner in _bodies(each)]
    return [step]


def _phrases(outputs: set[int]) -> list[str]:
    results = [number for number in outputs if number >= 0]
    found = [numbered(results)] if results else []
    return [*found, *["a check"] * (-1 in outputs), *["a mark"] * (-2 in outputs)]


def _counted(parts: Sequence[str]) -> list[str]:
    """Each part once, with how often it is there."""
    return [part if n == 1 else f"{part} ({n} times)" for part, n in Counter(parts).items()]


def _condition(mask: Node, names: dict[Item, str]) -> str:
    """A condition in words; one made while scheduling, of others."""
    if mask in names:
        return words(mask, names)
    sign = {"bitwise_or": " or ", "bitwise_and": " and "}[mask.op]
    parts = [(as_node(arg), _condition(as_node(arg), names)) for arg in mask.args]
    return sign.join(f"({text})" if arg not in names and arg.op != mask.op else text for arg, text in parts)


def _need_words(need: LoopNeed, names: dict[Item, str]) -> str:
    name = names.get(need.item, need.item.kind if isinstance(need.item, Space | Map) else need.item.op)
    return f"{need.kind} {name}"


def only_any_or_all(steps: Sequence[Step]) -> Node | None:
    """The any or all of a list that is all that a loop makes."""
    match [step for step in steps if not isinstance(step, Bind)]:
        case [If(_, body)]:
            return only_any_or_all(body)
        case [Action(need=LoopNeed("reduce", Node(param="any" | "all") as node))] if node.space is not TOTAL:
            return node
    return None


def binds(steps: Sequence[Step]) -> list[Space]:
    """The filters that are bound inside of a loop, not counting loops within."""
    found: list[Space] = []
    for step in steps:
        match step:
            case Bind(space) if space.kind == "filter":
                found.append(space)
            case If(_, body):
                found += binds(body)
    return found


def event_spaces(steps: Sequence[Step]) -> set[Space]:
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


def is_flat(loop: Loop) -> bool:
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
    seen: set[Node] = set()
    stack = [node]
    while stack:
        each = stack.pop()
        if each.space is None or each in seen:
            continue
        seen.add(each)
        if each.space not in spaces or each.op in ("ordinal", "reduce", "count", "defined", "merge"):
            return False
        if each.op != "take":
            stack += [as_node(arg) for arg in each.args]
        elif as_map(each.args[0]).kind == "inc":
            stack.append(as_node(each.args[1]))
        else:
            return False
    return True

"""The kernel's fallback: parts of a graph that have no rule, made by the interpreter as columns of their own.

A space comes as offsets, a map as positions, a node as values. All of them are numbered over the whole partition, so
what leads to them must be numbered, too: `closed` says what comes along.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from hepgraph.functions.compiled import NumberFunction
from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.kinds import stays
from hepgraph.graph.node import Item, Map, Node, Space, ancestors, as_map, as_node, as_space
from hepgraph.kernel.scalar import literal, operation
from hepgraph.kernel.tree import NotLowered
from hepgraph.kernel.types import known_type

_WITHOUT = {
    **dict.fromkeys(("output", "output_valid", "call", "record_valid"), "of an opaque function"),
    "first_copy": "of a chain of elements",
}
_STRUCTURE = frozenset(
    {"full", "load", "index", "load_valid", "list_valid", "take", "defined", "ordinal", "count", "reduce", "merge"}
)


class _Dry:
    """Writes nothing: for rules that are only asked whether they exist."""

    def emit(self, text: str) -> str:
        return "%x"

    def declare(self, text: str) -> None:
        pass


def without_rule(order: Sequence[Item]) -> dict[Item, str]:
    """The nodes of a graph, in order, that no rule makes but that a kernel can read, with the reason."""
    found: dict[Item, str] = {}
    strange: set[Item] = set()  # of a type that no kernel reads
    for item in order:
        if (
            not isinstance(item, Node)
            or item.op == "literal"
            or (item.space is not None and item.space.kind == "table")
        ):
            continue
        if not known_type(item.dtype):
            strange.add(item)
        elif reason := _reason(item, strange):
            found[item] = reason
    return found


def _reason(item: Node, strange: Collection[Item]) -> str:
    if item.op in _WITHOUT:
        return f"{item.op} {_WITHOUT[item.op]}"
    for arg in item.args:
        if arg in strange:
            return f"{item.op} of {arg.dtype}"  # type: ignore[union-attr]
    if item.op == "take" and as_map(item.args[0]).dst.kind == "table":
        return "looking up in a table"
    if item.op in _STRUCTURE:
        return ""
    if item.op == "ufunc" and isinstance(item.param[0], NumberFunction):
        return item.param[0].unknown([as_node(arg).dtype for arg in item.args])
    args: list[tuple[Any, Any]] = []
    for arg in item.args:
        assert isinstance(arg, Node)
        args.append(literal(arg.param.value) if arg.op == "literal" else ("%x", arg.dtype))
    try:
        operation(_Dry(), item.op, args, item.param or (), item.dtype)
    except NotLowered as reason:
        return str(reason)
    return ""


def closed(asked: Iterable[Item], order: Sequence[Item]) -> frozenset[Item]:
    """Some items with all others that must come as arrays if these do; raises NotLowered if that cannot be."""
    found: set[Item] = set()

    def add(item: Item) -> None:
        stack = [item]
        while stack:
            one = stack.pop()
            if one in found:
                continue
            found.add(one)
            match one:
                case Node():
                    stack += _numbered(as_space(one.space))
                case Space():
                    stack += _numbered(as_space(one.parent))
                case Map():
                    stack += [*_numbered(one.src), *_numbered(one.dst)]

    for item in asked:
        add(item)
    size = -1
    while size != len(found):
        size = len(found)
        for item in order:
            if isinstance(item, Map) and item.src in found and (item.kind == "inc" or isinstance(item.kind, int)):
                for space in _numbered(item.dst):
                    add(space)
            elif isinstance(item, Node) and item.op == "merge" and item.space in found:
                add(item)
    return frozenset(found)


def is_rows(s: Space) -> bool:
    """Whether a space is a selection of the entries; an array then says which of them an entry is."""
    while s.kind == "filter":
        s = as_space(s.args[0])
        if s.kind == "events":
            return True
    return False


def same_row(m: Map) -> bool:
    """Whether a map leads to elements of the same entry."""
    if m.kind == "inc" and m.src.kind == "pull":
        return same_row(as_map(m.src.args[1]))
    if m.kind == "inc" and m.src.kind == "filter":
        return True
    row = next((s for s in ancestors(m.src) if s.parent is TOTAL), None)
    return row is not None and stays(m, row)


def _numbered(s: Space) -> list[Space]:
    """The spaces that have to be given so that the elements of this one have numbers."""
    while s.kind == "leaf":
        s = as_space(s.parent)
    if s.kind in ("total", "events") or is_rows(s):
        return []
    if s.parent is TOTAL:
        raise NotLowered(f"values of a {s.kind} of entries, made by the interpreter, are not compiled")
    return [s]

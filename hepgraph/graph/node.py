"""Index spaces, maps and nodes: frozen, hash-consed, walked with a stack.

A `Space` says how many elements there are for each element of its parent space. A `Map` leads from the elements of one
space to elements of another. A `Node` is one scalar for each element of one space. Equal means identical: making the
same thing twice gives the same object, so a common sub-expression is one node by construction. Nothing here holds on to
a graph that nobody uses any more.

The kinds of spaces and maps are rows of a table (`kinds.py`).
"""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar
from weakref import ref

import numpy as np

from hepgraph.functions import pickling
from hepgraph.functions.lines import Line, cell, newer, recording, user_line

T = TypeVar("T")


def by_slots(cls: type[T]) -> type[T]:
    """The same frozen dataclass, filled by its slots: its own `__init__` looks for each of them by its name.

    >>> @by_slots
    ... @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1, y=2)
    (Point(x=1, y=0), Point(x=1, y=2))
    """
    given: dict[str, Any] = {"_missing": MISSING}
    signature, body = ["self"], []
    for each in fields(cls):  # type: ignore[arg-type]
        name = each.name
        given |= {f"_set_{name}": getattr(cls, name).__set__, f"_{name}": each.default}
        value = name
        if each.default_factory is not MISSING:
            given[f"_make_{name}"] = each.default_factory
            value = f"_make_{name}() if {name} is _missing else {name}"
        needed = each.default is MISSING and each.default_factory is MISSING
        signature.append(name if needed else f"{name}=_{name}")
        body.append(f"_set_{name}(self, {value})")
    exec(f"def __init__({', '.join(signature)}):\n    " + "\n    ".join(body), given)
    setattr(cls, "__init__", given["__init__"])  # noqa: B010
    return cls


@by_slots
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True, repr=False)
class Space:
    """An index space; see the module."""

    kind: str
    parent: Space | None
    args: tuple[Item, ...]
    param: Any
    line: Line | None

    @property
    def inputs(self) -> tuple[Item, ...]:
        """The items that must be known before this one."""
        return self.args if self.parent is None else (self.parent, *self.args)

    def __reduce__(self) -> Any:
        return thaw_one, (freeze([self]),)

    def __repr__(self) -> str:
        return f"<Space {self.kind}>"


@by_slots
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True, repr=False)
class Map:
    """A map from each element of `src` to one element of `dst`, or to none where it is partial; see the module."""

    kind: str | int
    src: Space
    dst: Space
    args: tuple[Item, ...]
    param: Any
    line: Line | None

    @property
    def inputs(self) -> tuple[Item, ...]:
        """The items that must be known before this one."""
        return (self.src, self.dst, *self.args)

    def __reduce__(self) -> Any:
        return thaw_one, (freeze([self]),)

    def __repr__(self) -> str:
        return f"<Map {self.kind}: {self.src.kind} -> {self.dst.kind}>"


@by_slots
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True, repr=False)
class Node:
    """One scalar of type `dtype` for each element of `space` (of no space, for a literal)."""

    op: str
    args: tuple[Item, ...]
    space: Space | None
    dtype: np.dtype[Any]
    param: Any
    line: Line | None

    @property
    def inputs(self) -> tuple[Item, ...]:
        """The items that must be known before this one."""
        return self.args if self.space is None else (self.space, *self.args)

    def __reduce__(self) -> Any:
        return thaw_one, (freeze([self]),)

    def __repr__(self) -> str:
        return f"<Node {self.op} {self.dtype}>"


Item: TypeAlias = Space | Map | Node


def as_space(item: Item | None) -> Space:
    """An input that is known to be a space."""
    assert isinstance(item, Space)
    return item


def as_map(item: Item) -> Map:
    """An input that is known to be a map."""
    assert isinstance(item, Map)
    return item


def as_node(item: Item) -> Node:
    """An input that is known to be a node."""
    assert isinstance(item, Node)
    return item


_PLAIN = frozenset({"up", "inc", "align", "only", 0, 1, 2, 3})  # maps that cannot fail: no line is needed

_Key: TypeAlias = tuple[Any, ...]


class _Ref(ref[Any]):
    """A weak reference to an item, and the key that it is known by."""

    __slots__ = ("key",)
    key: _Key


_known: dict[_Key, _Ref] = {}  # as a WeakValueDictionary, which takes several calls of Python's for each question
_lock = threading.RLock()


def _forget(gone: _Ref) -> None:
    with _lock:
        if _known.get(gone.key) is gone:
            del _known[gone.key]


def _keep(key: _Key, fresh: Any) -> Any:
    """An item as it is known by a key: the fresh one, if there is none."""
    with _lock:
        reference = _known.get(key)
        found = None if reference is None else reference()
        if found is None:
            found, reference = fresh, _Ref(fresh, _forget)
            reference.key = key
            _known[key] = reference
    return found


def space(kind: str, parent: Space | None, args: tuple[Item, ...] = (), param: Any = None) -> Space:
    """The space with these parts, the same object every time."""
    key = ("space", kind, parent, args, param)
    reference = _known.get(key)
    found = None if reference is None else reference()
    if found is None:
        return _keep(key, Space(kind, parent, args, param, user_line()))  # type: ignore[no-any-return]
    if found.line is None or found.line[0] is not recording[0]:
        _again(found)
    return found  # type: ignore[no-any-return]


def map_(kind: str | int, src: Space, dst: Space, args: tuple[Item, ...] = (), param: Any = None) -> Map:
    """The map with these parts, the same object every time."""
    key = ("map", kind, src, dst, args, param)
    reference = _known.get(key)
    found = None if reference is None else reference()
    if found is None:
        line = None if kind in _PLAIN else user_line()
        return _keep(key, Map(kind, src, dst, args, param, line))  # type: ignore[no-any-return]
    if found.line is not None and found.line[0] is not recording[0]:
        _again(found)
    return found  # type: ignore[no-any-return]


def node(op: str, args: tuple[Item, ...], where: Space | None, dtype: np.dtype[Any], param: Any = None) -> Node:
    """The node with these parts, the same object every time."""
    key = ("node", op, args, where, dtype, param)
    reference = _known.get(key)
    found = None if reference is None else reference()
    if found is None:
        line = None if op == "literal" else user_line()
        return _keep(key, Node(op, args, where, dtype, param, line))  # type: ignore[no-any-return]
    if op != "literal" and (found.line is None or found.line[0] is not recording[0]):
        _again(found)
    return found  # type: ignore[no-any-return]


def _again(found: Item) -> None:
    """Something known is recorded once more: in another file or cell, its line is not that of an earlier analysis."""
    line = newer(found.line)
    if line is not None:
        object.__setattr__(found, "line", line)


@dataclass(frozen=True, slots=True)
class Literal:
    """The value of a literal, keyed by type and spelling: 1, 1.0 and True are three literals, 0.0 and -0.0 two."""

    value: Any
    key: tuple[str, str]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def literal(value: Any) -> Node:
    """A literal: a Python number keeps its weak type, a NumPy scalar its dtype."""
    kind = value.__class__
    return _number(value) if kind in _WHOLE or (kind in _REAL and value) else _as_literal(value)


_WHOLE = frozenset({bool, int, np.bool_, *(np.dtype(f"{kind}{size}").type for kind in "iu" for size in (1, 2, 4, 8))})
_REAL = frozenset({float, np.float32, np.float64})  # of which 0.0 and -0.0 are equal, and not the same


def _as_literal(value: Any) -> Node:
    if isinstance(value, (np.generic, np.ndarray)):
        value = np.asarray(value)[()]
        dtype = np.dtype(value.dtype)
        key = (f"numpy.{dtype}", repr(value.item()))
    else:
        dtype = np.dtype(type(value)) if isinstance(value, (bool, int, float, complex)) else np.dtypes.StringDType()
        key = (type(value).__name__, repr(value))
    return node("literal", (), None, dtype, Literal(value, key))


_number = lru_cache(maxsize=4096, typed=True)(_as_literal)  # by value and type


def ordered(roots: Iterable[Item], until: Callable[[Item], bool] | None = None) -> list[Item]:
    """All that the roots rest on, and the roots, each after its inputs; does not look below items for which `until`."""
    order: list[Item] = []
    seen: set[Item] = set()
    above: list[Item] = []  # the way to where we are, and what is left to be looked at below each
    left: list[Iterator[Item]] = [iter(roots)]
    while True:
        for item in left[-1]:
            if item not in seen:
                seen.add(item)
                if until is None or not until(item):
                    above.append(item)
                    left.append(iter(item.inputs))
                    break
                order.append(item)
        else:
            left.pop()
            if not left:
                return order
            order.append(above.pop())


def rewrite(
    roots: Sequence[Item],
    change: Callable[[Item], Item | None] = lambda item: None,
    param: Callable[[Any], Any] = lambda param: param,
) -> dict[Item, Item]:
    """A new graph in which `change(item)` stands for an item where it is not None; the rest is made again as needed.

    `param` gives the new parameter for each. Gives the new item for each item below the roots.
    """
    new: dict[Item, Item] = {}
    for item in ordered(roots, until=lambda item: change(item) is not None):
        changed, told = change(item), param(item.param)
        if changed is None:
            same = told is item.param and all(new[below] is below for below in item.inputs)
            changed = item if same else _anew(item, told, new)
        new[item] = changed
    return new


def _anew(item: Item, param: Any, new: Mapping[Any, Any]) -> Item:
    args = tuple(new[arg] for arg in item.args)
    match item:
        case Space():
            return space(item.kind, new.get(item.parent), args, param)
        case Map():
            return map_(item.kind, new[item.src], new[item.dst], args, param)
        case Node():
            return node(item.op, args, new.get(item.space), item.dtype, param)


Frozen: TypeAlias = list[tuple[Any, ...]]


def freeze(roots: Sequence[Item]) -> Frozen:
    """The graph below the roots as a flat list, one row an item, that pickles however deep the graph is."""
    order = ordered(roots)
    number: dict[Item | None, int] = {item: i for i, item in enumerate(order)}
    cells: dict[str, str] = {}

    def told(line: Line | None) -> Line | None:
        """A line as another process may tell it, which does not know the cells of a notebook."""
        if line is None:
            return None
        file = line[0]
        if file not in cells:
            cells[file] = cell(file) or file
        return cells[file], *line[1:]

    rows: Frozen = []
    for item in order:
        args = tuple(number[arg] for arg in item.args)
        match item:
            case Space():
                rows.append(("S", item.kind, number.get(item.parent), args, item.param, told(item.line)))
            case Map():
                rows.append(("M", item.kind, number[item.src], number[item.dst], args, item.param, told(item.line)))
            case Node():
                rows.append(("N", item.op, args, number.get(item.space), item.dtype, item.param, told(item.line)))
    return [*rows, tuple(number[root] for root in roots)]


def thaw(rows: Frozen) -> list[Item]:
    """The roots of a frozen graph, sharing what this process already knows."""
    made: list[Item] = []
    for row in rows[:-1]:
        key: tuple[Any, ...]
        match row:
            case ("S", kind, parent, args, param, line):
                above = None if parent is None else made[parent]
                below = tuple(made[i] for i in args)
                key = ("space", kind, above, below, param)
                fresh: Any = Space(kind, above, below, param, line)  # type: ignore[arg-type]
            case ("M", kind, src, dst, args, param, line):
                below = tuple(made[i] for i in args)
                key = ("map", kind, made[src], made[dst], below, param)
                fresh = Map(kind, made[src], made[dst], below, param, line)  # type: ignore[arg-type]
            case ("N", op, args, where, dtype, param, line):
                below, at = tuple(made[i] for i in args), None if where is None else made[where]
                key = ("node", op, below, at, dtype, param)
                fresh = Node(op, below, at, dtype, param, line)  # type: ignore[arg-type]
        made.append(_keep(key, fresh))
    return [made[i] for i in rows[-1]]


class _Pickler(pickling.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.roots: dict[Item, int] = {}

    def persistent_id(self, thing: Any) -> int | None:
        if isinstance(thing, (Space, Map, Node)):
            return self.roots.setdefault(thing, len(self.roots))
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, roots: list[Item]) -> None:
        super().__init__(file)
        self.roots = roots

    def persistent_load(self, pid: int) -> Item:
        return self.roots[pid]


def dumps(thing: Any) -> bytes:
    """Anything that holds on to a graph, as bytes: the graph is written once, flat, whatever its depth."""
    body = io.BytesIO()
    pickler = _Pickler(body)
    pickler.dump(thing)
    return pickling.dumps((freeze(list(pickler.roots)), body.getvalue()))


def loads(data: bytes) -> Any:
    """Reads the bytes of `dumps`."""
    rows, body = pickle.loads(data)
    return _Unpickler(io.BytesIO(body), thaw(rows)).load()


def thaw_one(rows: Frozen) -> Item:
    """The one root of a frozen graph."""
    return thaw(rows)[0]


def ancestors(of: Space) -> Iterator[Space]:
    """The space, its parent, and so on up to `total`."""
    at: Space | None = of
    while at is not None:
        yield at
        at = at.parent

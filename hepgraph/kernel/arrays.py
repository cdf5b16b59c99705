"""Arrays that a kernel writes: values and lengths one after the other, into memory that grows.

A stream is four numbers: the address of its memory, room for how many, how many there are, and whether there was no
more memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from hepgraph.graph.canonical import count
from hepgraph.graph.kinds import Extent
from hepgraph.graph.node import Item, Node, Space
from hepgraph.graph.offsets import offsets_of
from hepgraph.kernel.types import known_type, stored_type
from hepgraph.kernel.writer import BOOL, INT
from hepgraph.limits import limits

_AS_THEY_ARE = frozenset(
    {"load", "index", "load_valid", "list_valid", "output", "output_valid", "full", "literal", "call"}
)


class OutputValues(dict[Item, Any]):
    """The values of items of a graph in one partition, as a sink looks them up."""


def as_it_is(item: Item) -> bool:
    """Whether the interpreter has an item without work, or alone can have it."""
    if isinstance(item, Node):
        return item.op in _AS_THEY_ARE or not known_type(item.dtype)
    return isinstance(item, Space) and item.kind in ("leaf", "events", "total", "result")


def dtype_of(item: Item) -> np.dtype[Any]:
    """The type of the numbers in the stream of an item."""
    return item.dtype if isinstance(item, Node) else INT


def place_of(item: Item) -> tuple[Space, tuple[Node, ...]]:
    """Where something is written for an item, and what: a value, or for a space the length of each list.

    Of rows (spaces of the whole dataset), the numbers of the elements that they come from are written.
    """
    if isinstance(item, Node):
        assert item.space is not None
        return item.space, (item,)
    assert isinstance(item, Space)
    assert item.parent is not None
    if item.parent.kind == "total":
        return item, ()
    return item.parent, (count(item),)


def write_append(e: Any, item: Item, env: Any) -> None:
    """The code that writes the current value of an item to its stream."""
    space, nodes = place_of(item)
    dtype = dtype_of(item)
    if isinstance(item, Node):
        value = e.value(item, env)
    else:
        value = e.length(item, env) if nodes else str(e.cursor(space, env).id or 0)
    if dtype == BOOL:
        value = e.emit(f"zext i1 {value} to i8")
    pointer = e.pointer("stream", item, dtype)
    e.do(f"call void @{_append(e, dtype)}(ptr {pointer}, {stored_type(dtype)} {value})")


def _append(e: Any, dtype: np.dtype[Any]) -> str:
    e.declare("declare ptr @realloc(ptr, i64)")
    grow = e.functions.setdefault(_GROW.replace("FIRST", str(limits().room)), f"grow{len(e.functions)}")
    text = _APPEND.replace("GROW", grow).replace("BYTES", str(dtype.itemsize)).replace("TYPE", stored_type(dtype))
    name: str = e.functions.setdefault(text, f"append{len(e.functions)}")
    return name


_GROW = """(ptr noalias %stream, i64 %bytes) noinline nounwind {
  %p.room = getelementptr inbounds i64, ptr %stream, i64 1
  %room = load i64, ptr %p.room
  %double = shl i64 %room, 1
  %some = icmp sgt i64 %room, 0
  %more = select i1 %some, i64 %double, i64 FIRST
  %size = mul i64 %more, %bytes
  %old = load ptr, ptr %stream
  %new = call ptr @realloc(ptr %old, i64 %size)
  %none = icmp eq ptr %new, null
  br i1 %none, label %failed, label %grown
failed:
  %p.failed = getelementptr inbounds i64, ptr %stream, i64 3
  store i64 1, ptr %p.failed
  ret void
grown:
  store ptr %new, ptr %stream
  store i64 %more, ptr %p.room
  ret void
}"""

_APPEND = """(ptr noalias %stream, TYPE %value) alwaysinline nounwind {
  %p.room = getelementptr inbounds i64, ptr %stream, i64 1
  %p.size = getelementptr inbounds i64, ptr %stream, i64 2
  %size = load i64, ptr %p.size
  %room = load i64, ptr %p.room
  %fits = icmp slt i64 %size, %room
  br i1 %fits, label %put, label %full
full:
  call void @GROW(ptr %stream, i64 BYTES)
  %now = load i64, ptr %p.room
  %fits.now = icmp slt i64 %size, %now
  br i1 %fits.now, label %put, label %done
put:
  %data = load ptr, ptr %stream
  %place = getelementptr inbounds TYPE, ptr %data, i64 %size
  store TYPE %value, ptr %place
  %more = add nsw i64 %size, 1
  store i64 %more, ptr %p.size
  br label %done
done:
  ret void
}"""


@cache
def _free() -> Any:
    free = ctypes.CDLL(None).free
    free.argtypes, free.restype = [ctypes.c_void_p], None
    return free


class Streams:
    """The streams of one run; what they hold is freed at the end, whatever happens."""

    def __init__(self) -> None:
        self.open: dict[Item, Any] = {}

    def array(self, item: Item) -> Any:
        """The four numbers of a stream."""
        return self.open.setdefault(item, np.zeros(4, np.int64))

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        for numbers in self.open.values():
            _free()(int(numbers[0]))
            numbers[:] = 0

    def taken(self, item: Item) -> Any:
        """The output of an item: the values of a node, the extent of a space."""
        address, _, size, failed = (int(number) for number in self.array(item))
        if failed:
            raise MemoryError(f"no memory for more than {size} entries of a result")
        dtype = dtype_of(item)
        raw = ctypes.string_at(address, size * dtype.itemsize) if size else b""
        values = np.frombuffer(raw, dtype).copy()  # a user's function may write into it
        if isinstance(item, Node):
            return values
        assert isinstance(item, Space)
        if item.parent is not None and item.parent.kind == "total":
            return Extent(np.array([0, len(values)]), inc=values)
        return Extent(offsets_of(values))


def collected(
    items: Mapping[Item, None] | tuple[Item, ...], streams: Streams, given: Mapping[Item, Any]
) -> OutputValues:
    """The values of items: written by the kernel, or given by the interpreter."""
    found = OutputValues()
    for item in items:
        if isinstance(item, Node) and item.op == "literal":
            found[item] = item.param.value
        else:
            found[item] = given[item] if item in given else streams.taken(item)
    return found

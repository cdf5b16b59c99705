"""The needs of a pass, found in its graph: columns, functions that it calls, masks that all events pass.

It is found once: the same pass of a later run gets what is known. Passes of files alone are kept, as those of arrays in
memory would keep the arrays.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.node import Item, Node, Space, ordered, space
from hepgraph.io.memory import MemorySource
from hepgraph.io.required import Needs, needs_of
from hepgraph.io.source import Origin
from hepgraph.limits import limits
from hepgraph.plan.pushdown import Masks, shared_masks


def events_of(origin: Origin) -> Space:
    """The entries of a dataset."""
    return space("events", TOTAL, (), origin)


@dataclass(frozen=True)
class Analysis:
    """The needs found in the graph below the items that the sinks of one dataset want."""

    origin: Origin
    wants: tuple[Item, ...]

    @cached_property
    def order(self) -> list[Item]:
        """All items, each after its inputs, the entries among them."""
        return ordered([*self.wants, events_of(self.origin)])

    @cached_property
    def needs(self) -> Needs:
        """The columns that are read."""
        return needs_of(self.order)

    @cached_property
    def calls(self) -> tuple[Any, ...]:
        """The calls and functions of numbers, which may use something that can be changed."""
        found = (item for item in self.order if isinstance(item, Node) and item.op in ("call", "ufunc"))
        parts = (item.param if item.op == "call" else item.param[0] for item in found)
        return tuple(part for part in parts if hasattr(part, "check"))

    @cached_property
    def masks(self) -> Masks:
        """The masks of events that every event passes that has a part in any of the results."""
        return shared_masks(self.origin, self.wants, self.order)


_lock = threading.Lock()
_kept: OrderedDict[tuple[Origin, tuple[Item, ...]], Analysis] = OrderedDict()


def analysed(origin: Origin, wants: Iterable[Item]) -> Analysis:
    """The analysis of a graph, the same for the same items."""
    fresh = Analysis(origin, tuple(wants))
    if isinstance(origin.source, MemorySource):
        return fresh
    with _lock:
        found = _kept.setdefault((origin, fresh.wants), fresh)
        _kept.move_to_end((origin, fresh.wants))
        while len(_kept) > limits().kept:
            _kept.popitem(last=False)
    return found

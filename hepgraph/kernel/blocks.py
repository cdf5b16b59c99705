"""The loops of a kernel over one partition: all that they look at that is another for each block of events.

Where there are functions for marked events, the early ones run over many blocks before: the marked events of these are
as many as it takes for NumPy to evaluate something for them at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hepgraph.graph.node import Node, Space
from hepgraph.kernel.columns import Offsets, VectorStage
from hepgraph.kernel.writer import Argument
from hepgraph.limits import limits

if TYPE_CHECKING:
    from hepgraph.kernel.engine import Kernel

MOVING = frozenset({"spare", "mark", "marked", "shift", "size"})  # arguments that are others for each block
ANY = None  # the mark of events that have any

Marks = tuple[Node, ...]


class Arguments:
    """The arguments of the loops: their addresses, and the first index and length of each."""

    def __init__(self, count: int) -> None:
        self.table = np.zeros(max(1, count), np.uintp)
        sizes = np.zeros((1 + count, 2), np.int64)
        self.report, self.bounds = sizes[0], sizes[1:]  # the loops report what they looked at beyond a length
        self.report[:] = -1
        self._owners: list[Any] = []

    def point(self, k: int, array: Any, shift: int = 0) -> None:
        """An array that others keep, as an argument."""
        self.table[k] = array.__array_interface__["data"][0] - shift * array.itemsize
        self.bounds[k] = shift, len(array)

    def keep(self, k: int, array: Any, least: int = 1) -> None:
        """An array as an argument; what is not there may be looked at, and is then not used."""
        if array.size < least:
            array = np.zeros(least, array.dtype)
        self._owners.append(array)
        self.point(k, array)

    def point_to(self, k: int, function: Any) -> None:
        """A native function as an argument."""
        self._owners.append(function)  # which owns the code
        self.table[k] = function.address


class Loops:
    """The loops of a kernel, their arguments, and those that move, with their numbers."""

    def __init__(
        self,
        kernel: Kernel,
        native: Any,
        offsets: Offsets,
        arguments: Arguments,
        moving: Sequence[tuple[int, Argument]],
    ) -> None:
        self.native, self.arguments, self.offsets = native, arguments, offsets
        self.entries, self.first = offsets.loaded.entries(kernel.origin)
        self.stage = VectorStage(offsets.loaded, offsets, kernel.check)
        self.stages = [*kernel.stages.items()]
        self.functions = kernel.functions
        self.moving = moving
        self.spare = {k: np.zeros(1, np.int64) for k, argument in moving if argument.kind == "spare"}
        self.numbers: dict[Node | None, int] = {}  # of marks
        for _, argument in moving:
            if argument.kind == "mark":
                self.numbers.setdefault(argument.item, len(self.numbers))
        self.addresses = arguments.table.ctypes.data, arguments.bounds.ctypes.data

    def run(self) -> int:
        """Runs over all events; gives 0 if nothing was wrong."""
        status, block = 0, limits().block
        if not self.numbers:
            for start, stop in blocks(0, self.entries, block):
                status |= self._plain(start, stop)
            return status
        at_once = self._at_once(block)
        marks = np.empty((len(self.numbers), min(at_once, self.entries)), np.bool_)
        shifts = {k: np.empty(marks.shape[1], np.int64) for k, argument in self.moving if argument.kind == "shift"}
        for start, stop in blocks(0, self.entries, at_once):
            marks[...] = False
            for k, argument in self.moving:
                if argument.kind == "mark":
                    self.arguments.point(k, marks[self.numbers[argument.item]], start)
                elif argument.kind == "shift":
                    self.arguments.point(k, shifts[k], start)
            self._spare(start)
            status |= self.native.early(start, stop, self.first, *self.addresses)
            if self.native.kernel is not None:
                for begin, end in blocks(start, stop, block):
                    status |= self._plain(begin, end)
            status |= self._marked(start, stop, marks, shifts)
        return status

    def _at_once(self, block: int) -> int:
        """The events for which marks are made before they are looked at."""
        looked_at = frozenset().union(*(function.staged for function in self.functions if function.marks))
        if any(not marks and nodes & looked_at for marks, nodes in self.stages):  # these are there for one block
            return block
        most = limits().marks // len(self.numbers)
        return max(block, most - most % block)

    def _spare(self, start: int) -> None:
        """Sets elements that can be read even where there are none."""
        for k, argument in self.moving:
            if argument.kind == "spare":
                self.spare[k][0] = self.offsets.spare(argument.item, start)
                self.arguments.point(k, self.spare[k])

    def _plain(self, start: int, stop: int) -> int:
        """Runs what is done for all events of a block."""
        self._spare(start)
        made: dict[Node, tuple[Any, int]] = {}
        for number, (marks, nodes) in enumerate(self.stages):
            if not marks:
                made |= self.stage.make(number, nodes, start, stop)
        for k, argument in self.moving:
            if argument.kind == "values" and argument.item in made:
                self.arguments.point(k, *made[argument.item])
        return int(self.native.kernel(start, stop, self.first, *self.addresses))

    def _marked(self, start: int, stop: int, marks: Any, shifts: dict[int, Any]) -> int:
        """Runs what is done for marked events, of which not too many are looked at together."""
        events = np.flatnonzero(marks[self.numbers[ANY], : stop - start])
        own = marks[:, events]
        events += start
        status = 0
        for low, high in blocks(0, len(events), limits().block):
            status |= self._some(start, events[low:high], own[:, low:high], shifts)
        return status

    def _some(self, start: int, events: Any, own: Any, shifts: dict[int, Any]) -> int:
        known: dict[Marks, Any] = {}

        def having(marks: Marks) -> Any:
            if marks not in known:
                known[marks] = events[own[[self.numbers[mark] for mark in marks]].any(axis=0)]
            return known[marks]

        step = limits().step
        edges = np.arange(events[0] - (events[0] - start) % step, events[-1] + step + 1, step)  # beyond the last
        made: dict[Node, Any] = {}
        sizes: dict[tuple[int, Space], Any] = {}
        for number, (marks, nodes) in enumerate(self.stages):
            if marks:
                mine = {
                    argument.item: shifts[k]
                    for k, argument in self.moving
                    if argument.kind == "shift" and argument.part == number
                }
                packed = self.stage.pack(number, nodes, having(marks), mine, start)
                made |= packed
                sizes |= {(number, node.space): np.array([len(packed[node]) - 1]) for node in packed}  # type: ignore[misc]
        kept: list[Any] = []  # while they are looked at
        for k, argument in self.moving:
            if argument.kind == "values" and argument.item in made:
                self.arguments.point(k, made[argument.item])
            elif argument.kind == "size":
                self.arguments.point(k, sizes[argument.part, argument.item])
            elif argument.kind == "marked":
                places = having(argument.item)
                kept.append(np.concatenate([len(edges) + np.searchsorted(places, edges), places]))
                self.arguments.point(k, kept[-1])
        return int(self.native.marked(0, len(edges) - 1, self.first, *self.addresses))


def blocks(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """The first number of each block, and the one past its last.

    >>> list(blocks(0, 5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    return pairwise([*range(start, stop, size), stop])

"""Opaque functions: a kernel of their own makes the arrays that they get, the kernel after it reads what they return.

A function sees a whole partition, as with the interpreter, and is called once for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hepgraph.graph.interpreter import Interpreter
from hepgraph.graph.node import Item, Node, Space, ordered
from hepgraph.io.required import Loaded
from hepgraph.kernel.arrays import as_it_is
from hepgraph.kernel.output import Output
from hepgraph.kernel.tree import NotLowered


@dataclass(frozen=True)
class Feeder:
    """A call, and the kernel that makes its arguments."""

    call: Node
    kernel: Any

    def fed(self, loaded: Loaded, seeds: dict[Item, Any]) -> Any | None:
        """The result of the function for a partition; None where something is wrong with the arguments."""
        given = self.kernel.given
        values = dict(zip(given, Interpreter(loaded, seeds).run(given), strict=True))
        made = self.kernel.run(loaded, values)
        return None if made is None else Interpreter(loaded, seeds | made[0]).run([self.call])[0]


def feeders(given: Iterable[Item], lowered: Callable[[Output], Any]) -> tuple[Feeder, ...]:
    """For each call below what is given, in the order in which they are made, the kernel that feeds it.

    Those whose arguments are columns, or cannot be compiled, have none: the interpreter feeds them.
    """
    found: list[Feeder] = []
    for item in ordered(given):
        if not isinstance(item, Node) or item.op != "call" or not _plain_rows(item) or all(map(as_it_is, item.args)):
            continue
        try:
            found.append(Feeder(item, lowered(Output("array", None, items=item.args))))
        except NotLowered:
            continue
    return tuple(found)


def _plain_rows(call: Node) -> bool:
    """Whether the rows are entries, or a selection of them by one mask."""
    some = call.args[0]
    if not isinstance(some, Space) or some.kind == "events":
        return isinstance(some, Space)
    return some.kind == "filter" and isinstance(some.args[0], Space) and some.args[0].kind == "events"

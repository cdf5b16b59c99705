"""The cost of each variation in a plan: what it adds to the nominal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hepgraph.errors import many
from hepgraph.graph.node import Item, Node, ordered
from hepgraph.io.required import needs_of
from hepgraph.io.source import Origin
from hepgraph.lazy.results import NOMINAL
from hepgraph.lazy.varied import Varied
from hepgraph.plan.passes import sink_of

ByName = dict[str, list[tuple[Origin, Item]]]
# kinds of lazy results that may be varied: the items that each variation looks at
WANTS: dict[type, Callable[[Any], ByName]] = {
    Varied: lambda x: {name: [(each._origin, item) for item in sink_of(each).wants] for name, each in x._each.items()},
}


def wants_of(leaf: Any) -> ByName:
    """The items that a lazy result looks at, by variation; empty for what is not varied."""
    return next((wants(leaf) for kind, wants in WANTS.items() if isinstance(leaf, kind)), {})


@dataclass(frozen=True)
class AddedWork:
    """Additions of a variation to the nominal: operations, columns, and the functions that are called once more."""

    operations: int
    columns: tuple[str, ...]
    calls: tuple[str, ...]

    def __str__(self) -> str:
        parts = [many(self.operations, "operation")]
        if self.columns:
            parts.append("reads " + ", ".join(self.columns))
        if self.calls:
            parts.append("calls " + ", ".join(dict.fromkeys(self.calls)))
        return "; ".join(parts)


def added_work(leaves: Iterable[Any], origin: Origin) -> dict[str, AddedWork]:
    """Additions of each variation in one dataset, by name."""
    wanted: dict[str, list[Item]] = {}
    for leaf in leaves:
        for name, found in wants_of(leaf).items():
            wanted.setdefault(name, []).extend(item for own, item in found if own == origin)
    nominal = ordered(wanted.pop(NOMINAL, []))
    there, read = set(nominal), set(needs_of(nominal).get(origin, {}))
    out = {}
    for name, items in wanted.items():
        order = ordered(items)
        new = [item for item in order if item not in there and isinstance(item, Node) and item.op != "literal"]
        calls = tuple(item.param.title for item in new if item.op == "call")
        columns = tuple(sorted(set(needs_of(order).get(origin, {})) - read))
        out[name] = AddedWork(len(new), columns, calls)
    return out


def lines(leaves: Sequence[Any], origin: Origin) -> list[str]:
    """The same in words; variations that add alike are on one line."""
    alike: dict[str, list[str]] = {}
    for name, work in added_work(leaves, origin).items():
        alike.setdefault(str(work), []).append(name)
    if not alike:
        return []
    told = [(listed(names), text) for text, names in alike.items()]
    width = max(len(names) for names, _ in told)
    count = sum(map(len, alike.values()))
    return [
        f"{many(count, 'variation')}, each beside the nominal:",
        *(f"  {names:<{width}}  {text}" for names, text in told),
    ]


def listed(names: Sequence[str]) -> str:
    """Some names, the first four if they are more.

    >>> listed(["JES_up", "JES_down"]), listed("abcde")
    ('JES_up, JES_down', 'a, b, c, d, ... (5)')
    """
    return ", ".join(names[:4]) + f", ... ({len(names)})" * (len(names) > 4)

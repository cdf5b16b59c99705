"""The results of a plan and the branches of its loops, with the share of events that reaches each.

It is counted on the first events of the dataset, by the engine of the run.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from hepgraph.errors import many
from hepgraph.graph.canonical import TRUE, apply, conjunction, count, filtered
from hepgraph.graph.form import Scalar
from hepgraph.graph.kinds import SPACES
from hepgraph.graph.node import Item, Node, Space, ordered
from hepgraph.graph.show import OutlineLine, names_of, numbered
from hepgraph.io.required import needs_of
from hepgraph.io.source import Origin
from hepgraph.lazy.results import NOMINAL
from hepgraph.plan.analysis import events_of
from hepgraph.plan.passes import Pass, TotalSink
from hepgraph.plan.pushdown import masks_reaching
from hepgraph.runner.variations import listed, wants_of


@dataclass(frozen=True)
class Result:
    """A lazy thing that is computed, what the user calls it, and the numbers of its sinks in a pass."""

    label: str
    leaf: Any
    sinks: tuple[int, ...]

    def wants(self, each: Pass) -> dict[str, list[Item]]:
        """The items of one dataset that it looks at, by variation."""
        varied = wants_of(self.leaf)
        if varied:
            return {name: [item for own, item in found if own == each.origin] for name, found in varied.items()}
        return {NOMINAL: [item for i in self.sinks for item in each.sinks[i].wants]}

    def title(self, each: Pass) -> str:
        """Its numbers in the outline of the loops, and what the user calls it."""
        native = [each.compiled.native.index(i) for i in self.sinks if i in each.compiled.native]
        number = numbered(native) if native else "by the interpreter"
        return number if self.label == "result" else f"{number}, {self.label}"


@dataclass(frozen=True)
class Shares:
    """The events that were looked at, and how many of them pass each of some masks."""

    events: int
    passing: Mapping[Node, int]

    def of(self, mask: Node) -> str:
        """The share of the events that pass, in percent."""
        return f"{100 * self.passing[mask] / self.events:.3g} %"


def measured(each: Pass, masks: Iterable[Node], most: int) -> Shares | None:
    """The shares among the first events of the first range that has any; None if there is none."""
    events = events_of(each.origin)
    ranges = each.origin.source.partitions(list(each.columns()), each.access)
    part = next((part for part in ranges if len(part)), None)
    if part is None or most <= 0:
        return None
    first = replace(part, stop=min(part.stop, part.start + most))
    counts = {mask: count(filtered(events, mask)) for mask in masks}
    asked = tuple(dict.fromkeys([count(events), *counts.values()]))
    sink = TotalSink(Scalar(count(events)), asked)
    (values,), _ = replace(each, sinks=(sink,), ranges=(first,)).run(first)
    made = {node: int(value[0]) for node, value in zip(asked, values, strict=True)}
    return Shares(len(first), {mask: made[node] for mask, node in counts.items()})


def lines(
    each: Pass, results: Sequence[Result], outline: Sequence[OutlineLine], most: int
) -> tuple[list[str], list[str]]:
    """Results, and branches of the loops, in words, with their shares."""
    wants = [result.wants(each) for result in results]
    reach = [{name: reaching(each.origin, items) for name, items in by_name.items()} for by_name in wants]
    branches = [None if line.masks is None else _all_of(each.origin, line.masks) for line in outline]
    asked: dict[Node, None] = dict.fromkeys(mask for by_name in reach for mask in by_name.values())
    asked |= dict.fromkeys(mask for mask in branches if mask is not None)
    shares, title = None, "results:"
    try:
        shares = measured(each, asked, most)
    except Exception as error:  # of the data or a function of the user's; the plan is told all the same
        title = f"results, of unknown shares, as the first events give {type(error).__name__}: {error}".splitlines()[0]
    if shares is not None:
        title = f"results, and the share of the first {many(shares.events, 'event')} that reaches each:"
    told = [title]
    for result, work, by_name in zip(results, _work(each.origin, wants), reach, strict=True):
        share = "" if shares is None or len(by_name) > 1 else f"{shares.of(by_name[NOMINAL])}; "
        told.append(f"  {result.title(each)}: {share}{work}")
        if shares is not None and len(by_name) > 1:
            told += [f"    {line}" for line in _by_share(shares, by_name)]
    if not outline:
        return told, []
    loops = ["loops and results, by the events that they are made for:"]
    for line, mask in zip(outline, branches, strict=True):
        share = "" if shares is None else f"{shares.of(mask) if mask is not None else '':<8}"
        loops.append(f"  {share}{line.text}")
    return told, loops


def _by_share(shares: Shares, by_name: Mapping[str, Node]) -> list[str]:
    """The shares of the variations of a result; those of the same share are on one line."""
    alike: dict[str, list[str]] = {}
    for name, mask in by_name.items():
        alike.setdefault(shares.of(mask), []).append(name)
    blank = " " * 8
    return [
        line
        for share, names in alike.items()
        for line in textwrap.wrap(", ".join(names), 112, initial_indent=f"{share:<8}", subsequent_indent=blank)
    ]


def _work(origin: Origin, wants: Sequence[Mapping[str, Sequence[Item]]]) -> list[str]:
    """Of each result, what it reads, the lists that it loops over, the functions it calls, and its operations."""
    orders = [ordered([item for items in by_name.values() for item in items]) for by_name in wants]
    users = Counter(item for order in orders for item in order)
    names = names_of(ordered([item for order in orders for item in order]))
    told = []
    for order in orders:
        lists = [names[s] for s in order if isinstance(s, Space) and _is_list(s)]
        nodes = [node for node in order if isinstance(node, Node) and node.op != "literal"]
        alone = sum(users[node] == 1 for node in nodes)
        calls = [node.param.title for node in nodes if node.op == "call"]
        parts = [many(len(needs_of(order).get(origin, {})), "column")]
        parts += [f"lists {listed(lists)}"] if lists else []
        parts.append(many(len(nodes), "operation") + f" ({alone:,} for it alone)" * (len(wants) > 1))
        parts += [f"calls {', '.join(dict.fromkeys(calls))}"] if calls else []
        told.append("; ".join(parts))
    return told


def _is_list(s: Space) -> bool:
    """Whether a space is of lists that are not some, or all, of others."""
    return s.kind not in ("total", "events", "one") and not (SPACES[s.kind].arranged or SPACES[s.kind].selects)


def _all_of(origin: Origin, masks: Iterable[Node]) -> Node:
    """Whether an event passes all of some masks."""
    return conjunction(tuple(dict.fromkeys(masks)), events_of(origin))


def reaching(origin: Origin, items: Iterable[Item]) -> Node:
    """Whether an event passes all masks on the way to one of some items."""
    ways = [_all_of(origin, masks) for masks in masks_reaching(origin, items)]
    return TRUE if TRUE in ways or not ways else reduce(lambda a, b: apply("bitwise_or", [a, b]), ways)

"""Graphs as text and pictures: numbered steps, and an SVG drawn here, without graphviz."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hepgraph.functions.lines import code_at, place
from hepgraph.graph.kinds import SPACES, Words, map_kind, text
from hepgraph.graph.node import Item, Map, Node, Space, ordered
from hepgraph.graph.ops import OPS


def steps(roots: Iterable[Item]) -> str:
    """The graph as numbered steps, each after what it needs.

    >>> from hepgraph.graph.canonical import TOTAL, apply, ordinal
    >>> from hepgraph.graph.node import literal, space
    >>> events = space("events", TOTAL, (), "doctest")
    >>> print(steps([apply("multiply", [ordinal(events), literal(2)])]))
    events     the entries
    %1 int64   position in events
    %2 int64   %1 * 2                    in events
    """
    order = ordered(roots)
    names = names_of(order)
    rows: list[tuple[str, str, str]] = []
    for item in order:
        said = words(item, names)
        match item:
            case Space() if item.kind != "total":
                rows.append((names[item], said, ""))
            case Node() if item.op != "literal":
                where = names[item.space] if item.space is not None else ""
                rows.append((f"{names[item]} {_dtype(item)}", said, "" if item.op == "ordinal" else f"in {where}"))
    if not rows:
        return ""
    left = max(len(row[0]) for row in rows) + 3
    middle = max(24, min(60, max(len(row[1]) for row in rows))) + 2
    return "\n".join(f"{a:<{left}}{b:<{middle}}{c}".rstrip() for a, b, c in rows)


def _dtype(item: Node) -> str:
    if isinstance(item.dtype, np.dtypes.StringDType):
        return "string"
    return "" if item.dtype == object else str(item.dtype)


@dataclass(frozen=True, slots=True)
class OutlineLine:
    """The work for the events that pass all of some masks, in words; a title has None for masks."""

    text: str
    masks: tuple[Node, ...] | None


def numbered(results: Iterable[int]) -> str:
    """Results by their numbers, runs of them as ranges.

    >>> numbered([4]), numbered([0, 1]), numbered([1, 5, 4, 3])
    ('result 4', 'results 0, 1', 'results 1, 3 to 5')
    """
    runs: list[list[int]] = []
    for number in sorted(results):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    told = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    several = len(runs) > 1 or len(runs[0]) > 1
    return f"result{'s' * several} {', '.join(told)}"


def names_of(order: Iterable[Item]) -> dict[Item, str]:
    """A name for each item: numbers for nodes, words for spaces."""
    names: dict[Item, str] = {}
    used: dict[str, int] = {}
    number = 0
    for item in order:
        match item:
            case Space():
                base = SPACES[item.kind].name(item, lambda x: names.get(x, "?"))
                used[base] = used.get(base, 0) + 1
                names[item] = base if used[base] == 1 else f"{base}.{used[base]}"
            case Node() if item.op == "literal":
                value = item.param.value
                names[item] = str(value) if isinstance(value, np.generic) else repr(value)
            case Node():
                number += 1
                names[item] = f"%{number}"
            case Map():
                names[item] = map_kind(item).name(item, lambda x: names.get(x, "?"))
    return names


def words(item: Item, names: dict[Item, str]) -> str:
    """One step in words."""

    def n(x: Item) -> str:
        return names.get(x, "?")

    match item:
        case Space():
            return SPACES[item.kind].step(item, n)
        case Map() | Node("literal"):
            return n(item)
    if item.op in _WORDS:
        return _WORDS[item.op](item, n)
    symbol = OPS[item.op].symbol if item.op in OPS else ""
    args = [n(x) for x in item.args]
    if symbol and len(args) == 2:
        return f"{args[0]} {symbol} {args[1]}"
    return f"{item.op}({', '.join([*args, *map(str, item.param or ())])})"


_NOT_NONE, _OF_CALL = text("where {x.param[1]} is not None"), text("from {parts[0]}")
_WORDS: dict[str, Words] = {  # of nodes that are no operations
    "take": text("{parts[1]} at {parts[0]}"),
    "table": text("a table of {x.param.values.size}"),
    "load": text("read {x.param[1]}"),
    "index": lambda x, n: f"{n(x.args[0])}, which must be in {' or '.join(x.param.into)}",
    "first_copy": text("the first with the same {parts[1]}, along {parts[0]}"),
    "load_valid": _NOT_NONE, "list_valid": _NOT_NONE, "record_valid": _NOT_NONE,
    "full": text("{x.param.value} everywhere"),
    "ordinal": text("position in {up}"),
    "count": text("length of {parts[0]}"),
    "defined": text("is there: {parts[0]}"),
    "reduce": text("{x.param} of {parts[0]}"),
    "merge": text("one after the other: {parts:, }"),
    "call": text("call {x.param.title}"),
    "output": _OF_CALL, "output_valid": _OF_CALL,
}  # fmt: skip


# the picture


@dataclass(eq=False)
class _Box:
    """A step of the picture: what was recorded on one line of the user's code, or one column group that is read."""

    lines: list[str]
    kind: str
    title: str = ""
    items: list[Item] = field(default_factory=list)
    above: set[int] = field(default_factory=set)
    inputs: dict[int, _Box] = field(default_factory=dict)
    layer: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return 24 + 6.4 * max(len(line) for line in self.lines)

    @property
    def height(self) -> float:
        return 12 + 15.0 * len(self.lines)


_COLORS = {"read": "#dcecf9", "step": "#ffffff", "call": "#f9d9d9", "sink": "#fdeccb"}


def picture(roots: Sequence[Item], labels: Sequence[str]) -> str:
    """The graph as an SVG from top to bottom: reads, lines of the user's code, results with labels."""
    order = [item for item in ordered(roots) if not (isinstance(item, Node) and item.op == "literal")]
    names = names_of(order)
    boxes: list[_Box] = []
    of: dict[Item, _Box] = {}
    by_key: dict[object, list[_Box]] = {}
    for item in order:
        if isinstance(item, Space) and not SPACES[item.kind].drawn:
            continue
        if isinstance(item, Map) and not map_kind(item).drawn:
            continue
        below = {id(of[i]): of[i] for i in item.inputs if i in of}
        key = _key(item, names)
        box = next((b for b in by_key.get(key, []) if _may_join(b, below.values())), None)
        if box is None:
            box = _Box([], "step")
            by_key.setdefault(key, []).append(box)
            boxes.append(box)
        box.items.append(item)
        of[item] = box
        for one in below.values():
            if one is not box:
                box.inputs[id(one)] = one
                box.above |= one.above | {id(one)}
    for key, group in by_key.items():
        for box in group:
            _label(box, key, names)
    results: dict[str, _Box] = {}
    for root, label in zip(roots, labels, strict=True):
        sink = results.setdefault(label, _Box([label], "sink", label))
        if root in of:
            sink.inputs[id(of[root])] = of[root]
    boxes += results.values()
    _arrange(boxes)
    return _drawn(boxes)


def _key(item: Item, names: dict[Item, str]) -> object:
    """The group in which an item is drawn: the reads of a collection, or a line of the user's code."""
    if isinstance(item, Space) and item.kind == "leaf":
        return ("read", names[item])
    if isinstance(item, Node) and item.op in ("load", "load_valid", "list_valid", "record_valid"):
        return ("read", names[item.space] if item.space is not None else "")
    return item.line or ("step", id(item))


def _may_join(box: _Box, below: Iterable[_Box]) -> bool:
    """Whether a box stays free of cycles when something with these inputs joins it."""
    return all(one is box or id(box) not in one.above for one in below)


def _label(box: _Box, key: object, names: dict[Item, str]) -> None:
    if isinstance(key, tuple) and key[0] == "read":
        box.kind = "read"
        columns = [item.param[1] for item in box.items if isinstance(item, Node)]
        lists = [item.param[1] for item in box.items if isinstance(item, Space)]
        box.lines = [f"read {key[1]}", *_wrapped(list(dict.fromkeys([*columns, *lists])))]
        box.title = ", ".join([*columns, *lists])
        return
    calls = [item for item in box.items if isinstance(item, Node) and item.op == "call"]
    box.kind = "call" if calls else "step"
    count = sum(isinstance(item, Node) for item in box.items)
    spaces = [names[item] for item in box.items if isinstance(item, Space)]
    summary = f"{count} operation{'s' * (count != 1)}" + (f"; makes {', '.join(spaces[:2])}" if spaces else "")
    line = box.items[0].line
    source = code_at(line) if line else ""
    head = source or words(box.items[-1], names)
    box.lines = [*_folded(head), *(["function of arrays: " + calls[0].param.title] if calls else []), _cut(summary, 60)]
    detail = "\n".join(f"{names[item]} = {words(item, names)}" for item in box.items if not isinstance(item, Map))
    box.title = (f"{place(line)}\n" if line else "") + detail


def _wrapped(parts: Sequence[str], width: int = 34) -> list[str]:
    rows = [""]
    for part in parts:
        if rows[-1] and len(rows[-1]) + len(part) + 2 > width:
            rows[-1] += ","
            rows.append("")
        rows[-1] += (", " if rows[-1] else "") + part
    return rows if len(rows) <= 6 else [*rows[:5], f"... {len(parts)} columns"]


def _folded(text: str, width: int = 60) -> list[str]:
    rows = textwrap.wrap(text, width, subsequent_indent="    ", break_long_words=True)
    return rows if len(rows) <= 3 else [*rows[:2], rows[2][: width - 1] + "…"]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _arrange(boxes: list[_Box]) -> None:
    """Layers from top to bottom, reads just above their first use; rows are ordered to keep lines short."""
    users: dict[int, list[_Box]] = {}
    for box in boxes:
        for below in box.inputs.values():
            users.setdefault(id(below), []).append(box)
    rows = _layers(boxes, users)
    for row in rows:
        _place(row, [sum(b.width for b in r) for r in rows])
    for _ in range(6):
        for row in rows:
            _pull(row, lambda box: list(box.inputs.values()))
        for row in reversed(rows):
            _pull(row, lambda box: users.get(id(box), []))
    left = min((box.x for box in boxes), default=0)
    y = 20.0
    for row in rows:
        for box in row:
            box.x, box.y = box.x + 20 - left, y
        y += max(box.height for box in row) + 44


def _layers(boxes: list[_Box], users: dict[int, list[_Box]]) -> list[list[_Box]]:
    """The boxes by layer, from the top: each is below its inputs."""
    moving = True
    while moving:
        moving = False
        for box in boxes:
            layer = 1 + max((b.layer for b in box.inputs.values()), default=-1)
            moving, box.layer = moving or layer != box.layer, layer
    for box in reversed(boxes):
        if not box.inputs and users.get(id(box)):
            box.layer = min(user.layer for user in users[id(box)]) - 1
    layers: dict[int, list[_Box]] = {}
    for box in boxes:
        layers.setdefault(box.layer, []).append(box)
    return [layers[layer] for layer in sorted(layers)]


def _pull(row: list[_Box], near: Callable[[_Box], Sequence[_Box]]) -> None:
    """Orders a row by where the boxes near each one are, and moves each there as far as there is room."""
    middle = {}
    for box in row:
        others = near(box) or [box]
        middle[id(box)] = sum(o.x + o.width / 2 for o in others) / len(others)
    row.sort(key=lambda box: middle[id(box)])
    _spread(row, middle)


def _place(row: list[_Box], widths: Sequence[float]) -> None:
    x = (max(widths) - sum(box.width for box in row)) / 2
    for box in row:
        box.x = x
        x += box.width + 22


def _spread(row: list[_Box], middle: dict[int, float]) -> None:
    """Puts each box near its middle, without overlap: pushed right from the left, then the row is centred."""
    x = float("-inf")
    for box in row:
        box.x = max(middle[id(box)] - box.width / 2, x)
        x = box.x + box.width + 22
    off = sum(middle[id(box)] - box.x - box.width / 2 for box in row) / max(len(row), 1)
    for box in row:
        box.x += off


def _drawn(boxes: list[_Box]) -> str:
    width = max((b.x + b.width for b in boxes), default=100) + 20
    height = max((b.y + b.height for b in boxes), default=20) + 20
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Menlo, Consolas, monospace" font-size="10.5">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for box in boxes:
        for below in box.inputs.values():
            x1, y1 = below.x + below.width / 2, below.y + below.height
            x2, y2 = box.x + box.width / 2, box.y
            bend = max(18.0, (y2 - y1) / 2)
            out.append(
                f'<path d="M{x1:.1f},{y1:.1f} C{x1:.1f},{y1 + bend:.1f} {x2:.1f},{y2 - bend:.1f} {x2:.1f},{y2:.1f}" '
                'fill="none" stroke="#9aa5b1" stroke-width="1.2"/>'
            )
    for box in boxes:
        corner = 14 if box.kind == "sink" else 4
        out.append(
            f'<g><title>{html.escape(box.title)}</title><rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" rx="{corner}" fill="{_COLORS[box.kind]}" stroke="#51606e"/>'
        )
        for i, line in enumerate(box.lines):
            grey = box.kind in ("step", "call") and i == len(box.lines) - 1
            out.append(
                f'<text x="{box.x + 12:.1f}" y="{box.y + 18 + 15 * i:.1f}" xml:space="preserve" '
                f'fill="{"#7b8794" if grey else "#1f2933"}">{html.escape(line)}</text>'
            )
        out.append("</g>")
    return "\n".join([*out, "</svg>"])

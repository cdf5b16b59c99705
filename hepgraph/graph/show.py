"""Graphs as text and pictures: numbered steps, and an SVG drawn here, without graphviz."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hepgraph.graph.node import Item, Map, Node, Space, ordered
from hepgraph.ops import OPS


def steps(roots: Iterable[Item]) -> str:
    """The graph as numbered steps, each after what it needs.

    >>> from hepgraph.graph.canonical import TOTAL, apply, ordinal
    >>> from hepgraph.graph.node import literal, space
    >>> events = space("events", TOTAL, (), "doctest")
    >>> print(steps([apply("multiply", [ordinal(events), literal(2)])]))
    events     the entries
    %1 int64   position in events
    %2 int64   %1 * 2                      in events
    """
    order = ordered(roots)
    names = _names(order)
    rows: list[tuple[str, str, str]] = []
    for item in order:
        text = words(item, names)
        match item:
            case Space() if item.kind != "total":
                rows.append((names[item], text, ""))
            case Node() if item.op not in ("literal", "ordinal"):
                where = names[item.space] if item.space is not None else ""
                rows.append((f"{names[item]} {_dtype(item)}", text, f"in {where}"))
            case Node() if item.op == "ordinal":
                rows.append((f"{names[item]} {_dtype(item)}", text, ""))
    if not rows:
        return ""
    left = max(len(row[0]) for row in rows) + 3
    middle = max(24, min(60, max(len(row[1]) for row in rows))) + 2
    return "\n".join(f"{a:<{left}}{b:<{middle}}{c}".rstrip() for a, b, c in rows)


def _dtype(item: Node) -> str:
    if isinstance(item.dtype, np.dtypes.StringDType):
        return "string"
    return "" if item.dtype == object else str(item.dtype)


def _names(order: Sequence[Item]) -> dict[Item, str]:
    """A name for each item: numbers for nodes, words for spaces."""
    names: dict[Item, str] = {}
    used: dict[str, int] = {}
    number = 0
    for item in order:
        match item:
            case Space():
                base = space_name(item, names)
                used[base] = used.get(base, 0) + 1
                names[item] = base if used[base] == 1 else f"{base}.{used[base]}"
            case Node() if item.op == "literal":
                names[item] = repr(item.param.value) if not isinstance(item.param.value, np.generic) else str(item.param.value)
            case Node():
                number += 1
                names[item] = f"%{number}"
            case Map():
                names[item] = map_name(item, names)
    return names


def space_name(s: Space, names: dict[Item, str]) -> str:
    """A short name for a space: the collection that it comes from, and what was done to it."""
    match s.kind:
        case "total" | "events":
            return s.kind
        case "leaf":
            name = str(s.param[1])  # type: ignore[index]
            counted = s.param[2] is None and name[:1] == "n"  # type: ignore[index]
            return (name[1:] if counted else name) or "lists"
        case "comb":
            return f"{_root(s, names)}^{s.param[0]}"  # type: ignore[index]
        case "cart":
            return " x ".join(names.get(part, "?") for part in s.args)
        case "concat":
            return " + ".join(dict.fromkeys(names.get(part, "?") for part in s.args))
        case "one":
            return f"one a {names.get(s.parent, '?')}"  # type: ignore[arg-type]
        case _:
            return f"{s.kind} {_root(s, names)}"


def _root(s: Space, names: dict[Item, str]) -> str:
    base = next((part for part in s.args if isinstance(part, Space)), None)
    if base is None:
        return ""
    name = names.get(base, base.kind)
    return name.removeprefix("filter ")


def map_name(m: Map, names: dict[Item, str]) -> str:
    """How a map is written behind a value."""
    src = names.get(m.src, m.src.kind)
    match m.kind:
        case int():
            return f"leg {m.kind} of {src}"
        case "up" | "inc" | "only" | "align" | "part":
            return f"{m.kind} from {src}"
        case "pick":
            kind, keys, k = m.param  # type: ignore[misc]
            return f"element {k}" if kind == "at" else f"{kind} of {names.get(m.args[0], '?')}"
        case _:
            return f"index {names.get(m.args[0], '?')}"


def words(item: Item, names: dict[Item, str]) -> str:
    """One step in words."""

    def n(x: Item) -> str:
        return names.get(x, "?")

    match item:
        case Space():
            return _space_words(item, n)
        case Map():
            return names[item]
        case Node("take", (m, x)):
            return f"{n(x)} at {n(m)}"
        case Node("load"):
            return f"read {item.param[1]}"
        case Node("load_valid" | "list_valid"):
            return f"where {item.param[1]} is not None"
        case Node("literal"):
            return n(item)
        case Node("full"):
            return f"{item.param.value} everywhere"
        case Node("ordinal"):
            return f"position in {n(item.space)}"  # type: ignore[arg-type]
        case Node("count", (s,)):
            return f"length of {n(s)}"
        case Node("defined", (m,)):
            return f"is there: {n(m)}"
        case Node("reduce", (x,)):
            return f"{item.param} of {n(x)}"
        case Node("merge"):
            return "one after the other: " + ", ".join(n(x) for x in item.args)
        case Node("call"):
            return f"call {item.param.title}"
        case Node("output" | "output_valid", (call,)):
            return f"from {n(call)}"
        case Node():
            row = OPS.get(item.op)
            args = [n(x) for x in item.args]
            if row is not None and row.symbol and len(args) == 2:
                return f"{args[0]} {row.symbol} {args[1]}"
            extra = [str(p) for p in item.param] if item.param else []
            return f"{item.op}({', '.join([*args, *extra])})"
    raise AssertionError


def _space_words(s: Space, n: object) -> str:
    name = n  # a function of items
    assert callable(name)
    match s.kind:
        case "events":
            return "the entries"
        case "leaf":
            return f"lists of {s.param[1]}"  # type: ignore[index]
        case "filter":
            return f"{name(s.args[0])} where {name(s.args[1])}"
        case "comb":
            k, again = s.param  # type: ignore[misc]
            return f"{k}-combinations of {name(s.args[0])}" + (", with replacement" if again else "")
        case "cart":
            return "all of " + " with all of ".join(name(part) for part in s.args)
        case "pull":
            return f"all of {name(s.args[0])} for each of {name(s.parent)}"
        case "concat":
            return " then ".join(name(part) for part in s.args)
        case "perm":
            return f"{name(s.args[0])} sorted by {name(s.args[1])}"
        case _:
            return ", ".join(name(part) for part in s.args) or s.kind


# the picture


@dataclass
class _Box:
    item: Item
    lines: list[str]
    kind: str
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    inputs: list[_Box] = field(default_factory=list)

    @property
    def width(self) -> float:
        return 24 + 6.6 * max(len(line) for line in self.lines)


_COLORS = {"read": "#dcecf9", "space": "#e6f4e1", "op": "#ffffff", "call": "#f9d9d9", "sink": "#fdeccb"}
_LIMIT = 400


def picture(roots: Sequence[Item], labels: Sequence[str] = ()) -> str:
    """The graph as an SVG, inputs at the top; `labels` name the results. A very large graph shows its last part."""
    order = ordered(roots)
    names = _names(order)
    boxes: dict[Item, _Box] = {}
    made: list[_Box] = []
    shown = [item for item in order if _is_shown(item)][-_LIMIT:]
    for item in shown:
        box = _Box(item, _lines(item, names), _kind(item))
        for below in _visible_inputs(item):
            if below in boxes:
                box.inputs.append(boxes[below])
        box.layer = 1 + max((b.layer for b in box.inputs), default=-1)
        boxes[item] = box
        made.append(box)
    for root, label in zip(roots, labels, strict=False):
        source = [boxes[i] for i in ([root] if root in boxes else _visible_inputs(root)) if i in boxes]
        sink = _Box(root, [label], "sink", 1 + max((b.layer for b in source), default=-1), inputs=source)
        made.append(sink)
    _arrange(made)
    return _drawn(made, len(order) - len(shown))


def _is_shown(item: Item) -> bool:
    if isinstance(item, Node):
        return item.op not in ("literal", "take", "full")
    return isinstance(item, Space) and item.kind not in ("total", "one", "flat")


def _visible_inputs(item: Item) -> list[Item]:
    """The inputs that have boxes, through the moves and maps that have none."""
    found: list[Item] = []
    stack = list(item.inputs)
    seen: set[Item] = set()
    while stack:
        below = stack.pop()
        if below in seen:
            continue
        seen.add(below)
        if _is_shown(below):
            found.append(below)
        elif not (isinstance(below, Space) and below.kind == "total"):
            stack.extend(below.inputs)
    return found


def _kind(item: Item) -> str:
    if isinstance(item, Space):
        return "read" if item.kind in ("leaf", "events") else "space"
    if isinstance(item, Node) and item.op in ("load", "load_valid", "list_valid"):
        return "read"
    return "call" if isinstance(item, Node) and item.op == "call" else "op"


def _lines(item: Item, names: dict[Item, str]) -> list[str]:
    if isinstance(item, Space):
        return [_cut(names[item]), _cut(words(item, names))]
    return [_cut(words(item, names)), f"{names[item]} {_dtype(item) if isinstance(item, Node) else ''}".strip()]


def _cut(text: str, most: int = 34) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _arrange(boxes: list[_Box]) -> None:
    """Layers from top to bottom; within a layer, boxes near the middle of their inputs."""
    layers: dict[int, list[_Box]] = {}
    for box in boxes:
        layers.setdefault(box.layer, []).append(box)
    for layer in sorted(layers):
        row = layers[layer]
        row.sort(key=lambda b: sum(i.x + i.width / 2 for i in b.inputs) / len(b.inputs) if b.inputs else 0.0)
        x = 20.0
        for box in row:
            wanted = sum(i.x + i.width / 2 for i in box.inputs) / len(box.inputs) - box.width / 2 if box.inputs else x
            box.x = max(x, min(wanted, x + 120))
            box.y = 20 + 86 * layer
            x = box.x + box.width + 18


def _drawn(boxes: list[_Box], left_out: int) -> str:
    width = max((b.x + b.width for b in boxes), default=100) + 20
    height = max((b.y for b in boxes), default=20) + 76
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for box in boxes:
        for below in box.inputs:
            x1, y1 = below.x + below.width / 2, below.y + 40
            x2, y2 = box.x + box.width / 2, box.y
            bend = (y2 - y1) / 2
            out.append(
                f'<path d="M{x1:.1f},{y1:.1f} C{x1:.1f},{y1 + bend:.1f} {x2:.1f},{y2 - bend:.1f} {x2:.1f},{y2:.1f}" '
                'fill="none" stroke="#9aa5b1" stroke-width="1"/>'
            )
    for box in boxes:
        line = f"  {box.item.line[0]}:{box.item.line[1]}" if box.item.line else ""
        title = html.escape("; ".join(box.lines) + line)
        round_ = 4 if box.kind != "sink" else 18
        out.append(
            f'<g><title>{title}</title><rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="40" '
            f'rx="{round_}" fill="{_COLORS[box.kind]}" stroke="#51606e"/>'
        )
        middle = box.x + box.width / 2
        for i, text in enumerate(box.lines):
            y = box.y + (25 if len(box.lines) == 1 else 17 + 15 * i)
            color = "#1f2933" if i == 0 else "#616e7c"
            out.append(f'<text x="{middle:.1f}" y="{y:.1f}" text-anchor="middle" fill="{color}">{html.escape(text)}</text>')
        out.append("</g>")
    if left_out > _LIMIT:
        out.append(f'<text x="20" y="14" fill="#a12622">the last {_LIMIT} steps of a larger graph</text>')
    return "\n".join([*out, "</svg>"])

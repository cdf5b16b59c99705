"""How forms of different depths and lists go together: awkward's broadcasting, on index spaces.

Two lists go together if they are the same space, if their lengths are equal by construction (a list and its sorted
self), or if both come as they are from the data (two branches of a file): then the lengths are compared while running.
Lists that were cut by different masks do not go together, even if their lengths happen to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.graph.canonical import TRUE, apply, both, up
from hepgraph.graph.form import Form, List, Option, Record, Scalar, deepest, move, option
from hepgraph.graph.node import Item, Line, Map, Node, Space, map_

Leaf = Callable[[list[Form], Space], Form]


def broadcast(forms: Sequence[Form], at: Space, leaf: Leaf, *, options: bool = True, depth: int | None = None) -> Form:
    """One form out of several of the same space: their lists matched level by level, `leaf` applied below them.

    With `options`, what is None in any of them is None in the result, and `leaf` sees no options; otherwise only absent
    lists are opened. `depth` stops after so many list levels.
    """
    valid = TRUE
    inner: list[Form] = []
    for form in forms:
        if isinstance(form, Option) and (options or isinstance(form.content, List)):
            valid = both(valid, form.valid)
            form = form.content
        inner.append(form)
    lists = [form for form in inner if isinstance(form, List)]
    if not lists or depth == 0:
        return option(valid, leaf(inner, at))
    target = _target(lists, at)
    size = next((form.size for form in lists if form.space is target), None)
    contents = [realigned(form, target) if isinstance(form, List) else move(form, up(target)) for form in inner]
    deeper = None if depth is None else depth - 1
    return option(valid, List(target, broadcast(contents, target, leaf, options=options, depth=deeper), size))


def _target(lists: Sequence[List], at: Space) -> Space:
    """The space that all lists of one level are brought to: one of the real lists, if some have length 1."""
    spaces = [form.space for form in lists]
    for s in spaces:
        if s.parent is not at:
            raise ShapeError("lists of different parents do not go together")
    real = [s for s in spaces if s.kind != "one"]
    return (real or spaces)[0]


def realigned(form: List, target: Space) -> Form:
    """The content of a list form, as elements of another list of the same lengths."""
    if form.space is target:
        return form.content
    if form.space.kind == "one" and target.kind != "one":
        assert target.parent is not None
        return move(move(form.content, map_("only", target.parent, form.space)), up(target))
    return move(form.content, alignment(target, form.space))


def alignment(src: Space, dst: Space) -> Map:
    """The map from the elements of one list to those at the same place of another; raises if they do not go together."""
    if shape(src) is shape(dst) or (_from_data(src) and _from_data(dst) and src.parent is dst.parent):
        return map_("align", src, dst)
    raise ShapeError(
        "These lists do not go together: they were cut or combined differently, so that their elements do not correspond.\n"
        f"  one is {describe(dst)}\n  the other is {describe(src)}\n"
        "Apply the same masks to both, or put both in one record before cutting it."
    )


def shape(s: Space) -> Space:
    """The space whose lists have, by construction, the same lengths as those of s."""
    while s.kind == "perm":
        (base, *_) = s.args
        assert isinstance(base, Space)
        s = base
    return s


def _from_data(s: Space) -> bool:
    s = shape(s)
    if s.kind == "pull":
        base = s.args[0]
        return isinstance(base, Space) and _from_data(base)
    return s.kind in ("leaf", "result")


def describe(s: Space) -> str:
    """A space in words, with the user's line."""
    base = s.args[0] if s.args and isinstance(s.args[0], Space) else None
    match s.kind:
        case "events" | "total":
            text = "the events"
        case "leaf":
            column = s.param[1]  # type: ignore[index]
            text = f"the lists of {column}"
        case "filter":
            text = f"a selection of {_short(base)}"
        case "comb":
            text = f"the combinations of {_short(base)}"
        case "cart":
            text = " times ".join(_short(part) for part in s.args)
        case "perm":
            text = f"{_short(base)}, sorted"
        case "pull" | "flat" | "pad":
            text = f"{_short(base)}, rearranged"
        case "concat":
            text = " and ".join(_short(part) for part in s.args)
        case "one":
            text = "lists of one element"
        case _:
            text = "lists that a function returned"
    return text + at_line(s.line)


def _short(s: Item | None) -> str:
    if not isinstance(s, Space):
        return "?"
    if s.kind == "leaf":
        name = str(s.param[1])  # type: ignore[index]
        return name[1:] if len(name) > 1 and name[0] == "n" and name[1].isupper() else name
    names = {"filter": "selected {}", "comb": "combinations of {}", "perm": "sorted {}"}
    below = next((arg for arg in s.args if isinstance(arg, Space)), None)
    return names.get(s.kind, "{}").format(_short(below)) if below is not None else s.kind


def at_line(line: Line | None) -> str:
    """Where something was recorded, for the end of a message."""
    if line is None:
        return ""
    return f"  ({line[0]}:{line[1]})"


def elementwise(op: str, forms: Sequence[Form], at: Space, param: tuple[object, ...] = ()) -> Form:
    """An operation of the table on forms."""

    def leaf(parts: list[Form], where: Space) -> Form:
        nodes: list[Node] = []
        for part in parts:
            if not isinstance(part, Scalar):
                name = part.name if isinstance(part, Record) and part.name else "records"
                fields = ", ".join(list(part)[:8]) if isinstance(part, Record) else ""
                raise UnsupportedError(
                    f"{op} has no meaning for {name}; take a field first"
                    + (f" (there are {fields})." if fields else ".")
                )
            nodes.append(part.node)
        return Scalar(apply(op, nodes, param))

    return broadcast(forms, at, leaf)


def same_depth(forms: Sequence[Form]) -> int:
    """The depth of the deepest form."""
    return max(deepest(form) for form in forms)

"""The rows of arrays: the dataset that they come from, and the errors where those of several do not correspond."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepgraph.errors import LazyError, ShapeError, UnsupportedError
from hepgraph.functions.lines import code_at
from hepgraph.graph.canonical import TOO_EARLY, TOTAL
from hepgraph.graph.form import Form, items
from hepgraph.graph.node import Node, Space, ancestors
from hepgraph.io.source import Origin
from hepgraph.lazy.broadcast import at_line, describe

if TYPE_CHECKING:
    from hepgraph.lazy.array import Lazy


def origin_of(rows: Space, form: Form | None = None) -> Origin:
    """The dataset that a space belongs to; of a total, the dataset below its nodes."""
    for above in ancestors(rows):
        if above.kind == "events":
            return above.param  # type: ignore[no-any-return]
    for item in items(form) if form is not None else ():
        stack, seen = [item], {item}
        while stack:
            at = stack.pop()
            if isinstance(at, Space) and at.kind == "events":
                return at.param  # type: ignore[no-any-return]
            for below in at.inputs:
                if below not in seen:
                    seen.add(below)
                    stack.append(below)
    raise LazyError("this value does not come from any dataset")


def different_rows(a: Lazy, b: Lazy) -> Exception:
    """The error for two arrays whose rows are not the same things."""
    if a._rows is b._rows is TOTAL:
        return UnsupportedError(
            "These are reductions over different datasets, which are known only after each was read. Compute them "
            "first: a, b = hg.compute([a, b]), then combine a and b."
        )
    if TOTAL in (a._rows, b._rows):
        return UnsupportedError(TOO_EARLY)
    if a._rows.kind == b._rows.kind == "events":
        one, two = origin_of(a._rows).source, origin_of(b._rows).source
        if one.name == two.name:
            return ShapeError("These arrays come from different openings or partitionings of " + one.name + ".")
        return ShapeError(f"These arrays come from different datasets: {one.name}, and {two.name}.")
    return ShapeError(
        "The rows of these arrays are not the same things.\n"
        f"  one has a row for each of {describe(a._rows)}\n  the other for each of {describe(b._rows)}"
    )


def different_masks(a: Lazy, b: Lazy) -> Exception:
    """The error for two arrays cut by different event masks."""

    def said(x: Lazy, other: Lazy) -> str:
        own = [mask for mask in x._guard if mask not in other._guard]
        if not own:
            return "was not cut by it"
        return "was cut by the mask of " + " and that of ".join(_line_of(mask) for mask in own)

    return ShapeError(
        "Two arrays cut by different masks: their rows do not correspond.\n"
        f"  the first {said(a, b)}\n  the second {said(b, a)}\n"
        "Apply the same event masks to both."
    )


def _line_of(mask: Node) -> str:
    code = code_at(mask.line) if mask.line else ""
    return f"{f'`{code}`' if code else mask.op}{at_line(mask.line)}"

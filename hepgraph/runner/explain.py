"""The plan of a computation, in words and as a picture; and the same computation over other ranges."""

from __future__ import annotations

import copy
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgraph.arguments import checks_arguments
from hepgraph.datasets.events import from_source
from hepgraph.datasets.schema import EventFields
from hepgraph.errors import UnsupportedError, many
from hepgraph.functions.lines import place
from hepgraph.graph.form import Record, replaced
from hepgraph.graph.node import Item, Map, Node, Space, ordered, rewrite
from hepgraph.graph.show import picture, steps
from hepgraph.io.source import Need, Origin, Source
from hepgraph.lazy.array import HOOKS, Lazy
from hepgraph.plan.passes import Pass
from hepgraph.runner import shares, variations
from hepgraph.runner.compute import lazy_things, passes
from hepgraph.runner.shares import Result


@dataclass(frozen=True)
class Explanation:
    """The plan of a computation; print it, or look at it in a notebook."""

    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text)}</pre>"


@checks_arguments("Several go in one list or dict: explain([a, b]).")
def explain(tree: Any, *, kernel: bool = False, events: int = 10_000) -> Explanation:
    """The plan of a lazy thing, or a nest of them, in words: datasets, columns and why, opaque calls, the steps.

    Of each result, and each variation of it, it says which share of the events reaches it, which is measured on the
    first events of each dataset; of a variation, also what it adds to the nominal.

    Parameters
    ----------
    tree : Any
        Lazy array or histogram, or a nest of dicts, lists and tuples of them.
    kernel : bool, default False
        True adds the loops that are compiled.
    events : int, default 10000
        Events of the first range of each dataset that are read for the shares; 0 reads nothing, and gives none.

    Returns
    -------
    Explanation
        The text, which `print` and notebooks show.

    Examples
    --------
    >>> import hepgraph as hg
    >>> events = hg.from_root("data/sample.root", schema="nanoaod")
    >>> print(str(hg.explain(events.MET.pt)).splitlines()[0])
    1 dataset, 1 result, 1 pass over the data
    """
    made, places = passes(lazy_things(tree))
    if not places:
        return Explanation(f"nothing is computed: in this {type(tree).__name__} is no lazy array, histogram or cutflow")
    n, m = len(made), len(places)
    parts = [f"{n} dataset{'s' * (n != 1)}, {m} result{'s' * (m != 1)}, {n} pass{'es' * (n != 1)} over the data"]
    labels = _paths(tree)
    for number, each in enumerate(made):
        own = [
            Result(labels.get(id(leaf), "result"), leaf, tuple(i for of, i in where if of == number))
            for leaf, where in places
            if any(of == number for of, _ in where)
        ]
        parts.append(_pass_text(each, own, kernel, events))
    return Explanation("\n\n".join(parts))


def _pass_text(each: Pass, results: Sequence[Result], kernel: bool, events: int) -> str:
    source = each.origin.source
    columns = each.columns()
    ranges = source.partitions(list(columns))
    order = ordered(each.wants)
    title = source.metadata.get("dataset")
    lines = [
        f"dataset {title + ': ' if title else ''}{source.name}: {many(source.entries, 'entry', 'entries')} in "
        f"{many(len(ranges), 'partition')}",
        f"engine: {_engines(each)}; {many(sum(isinstance(item, Node) for item in order), 'operation')}",
    ]
    total = sum(source.columns[name].bytes for name in columns)
    lines.append(f"reads {len(columns)} of {many(len(source.columns), 'column')}, {total / 1e6:.3g} MB on disk:")
    why = _reasons(each)
    width = max((len(name) for name in columns), default=0)
    for name in sorted(columns):
        what = "data" if columns[name] is Need.DATA else "lengths"
        lines.append(f"  {name:<{width}}  {what:<8}{why.get(name, '')}".rstrip())
    if each.predicates:
        told = " and ".join(str(predicate) for predicate in each.predicates)
        lines.append(f"leaves out row groups in which, by their statistics, no event has {told}")
    calls = [item for item in order if isinstance(item, Node) and item.op == "call"]
    for call in calls:
        where = f" ({place(call.line)})" if call.line else ""
        lines.append(f"opaque: {call.param.title} gets awkward arrays; the graph is cut there{where}")
    lines += variations.lines([result.leaf for result in results], each.origin)
    compiled = each.compiled.kernel
    outline = compiled.outline() if compiled is not None and any(compiled.trees) else []
    reached, branches = shares.lines(each, results, outline, events)
    lines += [*reached, "steps:", *("  " + line for line in steps(each.wants).splitlines()), *branches]
    if kernel and compiled is not None:
        lines += ["loops, for each event:", *("  " + line for line in str(compiled).splitlines())]
    return "\n".join(lines)


def _engines(each: Pass) -> str:
    """Which engine makes how many results, and why the interpreter makes some."""
    reasons: dict[str, int] = {}
    for reason in each.compiled.plain.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    native = len(each.compiled.native)
    parts = []
    if native:
        known = list(dict.fromkeys(each.compiled.kernel.asked.values()))
        more = f", and {len(known) - 4} more" if len(known) > 4 else ""
        helped = f"; the interpreter makes parts: {', '.join(known[:4])}{more}" if known else ""
        parts.append(f"the kernel ({native} result{'s' * (native != 1)}{helped})")
    for reason, count in reasons.items():
        parts.append(f"the interpreter ({count} result{'s' * (count != 1)}: {reason})")
    return " and ".join(parts)


def _reasons(each: Pass) -> dict[str, str]:
    """For each column, the first step that uses it, on the user's line."""
    users: dict[Item, Item] = {}
    order = ordered(each.wants)
    for item in order:
        for below in item.inputs:
            users.setdefault(below, item)
    found: dict[str, str] = {}
    for item in order:
        param = getattr(item, "param", None)
        if isinstance(item, Node) and item.op in ("load", "load_valid"):
            name = item.param[1]
        elif getattr(item, "kind", "") == "leaf":
            name = param[1]  # type: ignore[index]
        else:
            continue
        user = users.get(item, item)
        while user in users and _reads(user):
            user = users[user]
        if _reads(user):  # the events know it since it was first named, perhaps by an earlier analysis
            found.setdefault(name, "for a result")
        elif user.line is not None:
            what = user.op if isinstance(user, Node) else getattr(user, "kind", "")
            found.setdefault(name, f"for {what} at {place(user.line, short=True)}")
    for item in order:
        if isinstance(item, Space) and item.kind == "leaf" and not isinstance(item.param[2], int):
            for name in item.param[2] or ():
                found.setdefault(name, f"to check {item.param[1]}")
    return found


def _reads(item: Item) -> bool:
    """Whether an item only brings a column to where it is used."""
    return isinstance(item, Map) or getattr(item, "op", getattr(item, "kind", "")) in _READS


_READS = ("load", "load_valid", "list_valid", "record_valid", "leaf", "events", "take")


@dataclass(frozen=True)
class Picture:
    """An SVG; a notebook shows it."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<hepgraph picture, {len(self.svg):,} bytes of SVG>"


def visualize(tree: Any, filename: str | Path | None = None) -> Picture:
    """The graph of a lazy thing, or a nest of them, as a picture.

    Blue boxes are columns that are read; white ones are lines of your code, red ones with a function of arrays in them;
    results are at the end (yellow), one for each variation. Hovering over a box shows its operations.

    Parameters
    ----------
    tree : Any
        Lazy array or histogram, or a nest of dicts, lists and tuples of them.
    filename : str or Path, default None
        SVG file to write.

    Returns
    -------
    Picture
        The picture, which notebooks show; its text is `.svg`.

    Examples
    --------
    >>> import hepgraph as hg
    >>> events = hg.from_root("data/sample.root", schema="nanoaod")
    >>> hg.visualize(events.MET.pt * 2).svg.startswith("<svg")
    True
    """
    if filename is not None and Path(filename).suffix != ".svg":
        raise ValueError(f"The picture is an SVG file; call it {Path(filename).with_suffix('.svg').name!r}.")
    roots: list[Item] = []
    labels: list[str] = []
    names = _paths(tree)
    made, places = passes(tree)
    for leaf, where in places:
        label = names.get(id(leaf), "result")
        by_name = variations.wants_of(leaf)
        for name, found in by_name.items():
            wants = list(dict.fromkeys(item for _, item in found))
            roots += wants
            labels += [f"{label}: {name}"] * len(wants)
        for number, i in [] if by_name else where:
            wants = list(dict.fromkeys(made[number].sinks[i].wants))
            roots += wants
            labels += [label] * len(wants)
    svg = picture(roots, labels)
    if filename is not None:
        Path(filename).write_text(svg)
    return Picture(svg)


def _paths(tree: Any, where: str = "") -> dict[int, str]:
    """A label for each lazy thing of a nest: its key, or the name of its axis."""
    if isinstance(tree, Mapping):
        found: dict[int, str] = {}
        for key, value in tree.items():
            found.update(_paths(value, f"{where}{key}"))
        return found
    if isinstance(tree, list | tuple):
        found = {}
        for i, value in enumerate(tree):
            found.update(_paths(value, f"{where}[{i}]"))
        return found
    if where:
        return {id(tree): where}
    axes = getattr(tree, "axes", None)
    if axes is not None and not isinstance(tree, Lazy):
        return {id(tree): "histogram of " + ", ".join(axis.name or "?" for axis in axes)}
    return {id(tree): "result"}


def repartition(x: Lazy, npartitions: int | None = None, step_size: int | str | None = None) -> Lazy:
    """The same lazy array over other ranges of its dataset."""
    old = x._origin
    source: Source = old.source.repartition(npartitions, step_size)
    if isinstance(x._form, Record) and isinstance(x._form.fields, EventFields) and not x._guard and not x._form.maps:
        return from_source(source, x._form.fields.layout.schema, access=old.access)
    if x._rows.kind == "total":
        raise UnsupportedError("a reduction has no partitions; repartition what it reduces")
    new = Origin.of(source, old.access)

    def param(value: Any) -> Any:
        if value is old or value == old:
            return new
        if isinstance(value, tuple) and value and value[0] == old:
            return (new, *value[1:])
        return value

    changed = rewrite([x._rows, *x._guard, *_all_items(x)], param=param)
    made = copy.copy(x)
    object.__setattr__(made, "_form", replaced(x._form, changed.__getitem__))
    object.__setattr__(made, "_rows", changed[x._rows])
    object.__setattr__(made, "_guard", tuple(changed[mask] for mask in x._guard))
    return made


def _all_items(x: Lazy) -> list[Item]:
    from hepgraph.graph.form import items

    return list(items(x._form))


HOOKS["visualize"] = visualize
HOOKS["repartition"] = repartition

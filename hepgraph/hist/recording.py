"""Recording fills: the arguments of `fill`, checked, and brought to one flat list of entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import awkward as ak
import boost_histogram as bh
import numpy as np

from hepgraph.errors import FillError, HepgraphError, many, suggestion
from hepgraph.functions.lines import Line, place, user_line
from hepgraph.graph.canonical import TEXT, TRUE, conjunction, filtered, inc, lift, take
from hepgraph.graph.form import Form, List, Option, Record, Scalar, innermost, unwrap
from hepgraph.graph.node import Item, Node, Space
from hepgraph.hist.merge import averages, fill_averages
from hepgraph.io.source import Origin
from hepgraph.lazy.array import Lazy, together
from hepgraph.lazy.broadcast import broadcast
from hepgraph.lazy.join import settled
from hepgraph.plan.passes import Value


@dataclass(frozen=True)
class Fill:
    """One recorded fill: the space of its entries, and a node, a string or a number for each argument.

    `must` are boolean nodes that say where the weight and the sample are not None; `checks` say so of the factors of a
    weight that are not to be NaN or negative, with words for the error. They are looked at where something is wrong.
    """

    origin: Origin
    entries: Space
    args: tuple[Any, ...]
    weight: Any
    sample: Any
    must: tuple[Node, ...]
    line: Line | None
    checks: tuple[tuple[str, str, Node], ...] = ()

    @property
    def wants(self) -> tuple[Item, ...]:
        """The items whose values the fill looks up."""
        checks = (mask for _, _, mask in self.checks)
        parts = (*self.args, self.weight, self.sample, *self.must, *checks)
        nodes = [part for part in parts if isinstance(part, Node)]
        return (self.entries, *nodes)

    def __deepcopy__(self, memo: Any) -> Fill:
        return self

    def into(self, h: Any, value: Value) -> None:
        """Fills a histogram with one partition."""
        args, options = self.arguments(value)
        add_entries(h, for_each_entry(h.axes, args, options), options)

    def arguments(self, value: Value) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of `hist.Hist.fill` for one partition."""
        size = len(value(self.entries))
        for mask in self.must:
            missing = int(size - np.count_nonzero(value(mask)))
            if missing:
                self.check(value)
                raise FillError(
                    f"The weight or sample of {missing} entries is None. Say what it should be with ak.fill_none, or "
                    f"drop the entries with a mask.{self._where()}"
                )
        args = [_filling(part, value, size) for part in self.args]
        options = {}
        if self.weight is not None:
            options["weight"] = _filling(self.weight, value, size)
        if self.sample is not None:
            options["sample"] = _filling(self.sample, value, size)
        return args, options

    def check(self, value: Value) -> None:
        """Raises FillError if a factor of the weight is refused somewhere."""
        size = len(value(self.entries))
        for wrong, advice, mask in self.checks:
            if refused := int(size - np.count_nonzero(value(mask))):
                raise FillError(f"{wrong} for {many(refused, 'entry', 'entries')}. {advice}{self._where()}")

    def _where(self) -> str:
        return f"\nfilled at {place(self.line)}" if self.line else ""


def for_each_entry(axes: Sequence[Any], args: Sequence[Any], options: Mapping[str, Any]) -> Sequence[Any]:
    """The values of a fill, one for each entry where boost loses entries if one is given for all."""
    if not loses_entries(axes):
        return args
    size = next((len(part) for part in (*args, *options.values()) if np.ndim(part)), None)
    if size is None:
        return args
    return [part if np.ndim(part) else [part] * size if isinstance(part, str) else np.full(size, part) for part in args]


def add_entries(h: Any, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Fills a histogram, its averages as sums."""
    if averages(h):
        fill_averages(h, args, options)
    else:
        h.fill(*args, **options)


def loses_entries(axes: Sequence[Any]) -> bool:
    """Whether boost loses entries where one value is given for all: some axis has no bin for a value."""
    return not all(map(_takes_all, axes))


def _takes_all(axis: Any) -> bool:
    """Whether every value has a bin on an axis."""
    traits = axis.traits
    apart = isinstance(axis, (bh.axis.StrCategory, bh.axis.IntCategory))
    return bool(traits.growth or isinstance(axis, bh.axis.Boolean) or (traits.overflow and (apart or traits.underflow)))


def _filling(part: Any, value: Value, size: int) -> Any:
    if isinstance(part, str):
        return part
    if not isinstance(part, Node):
        return np.full(size, part)
    values = value(part)
    return values.tolist() if part.dtype == TEXT else values


def eager_entries(parts: Sequence[Any]) -> list[Any]:
    """Eager arguments of a fill (the last two are weight and sample) as flat arrays, by the rules of lazy ones."""
    arrays = (ak.Array, np.ndarray, list, tuple)
    places = [i for i, part in enumerate(parts) if isinstance(part, arrays) and getattr(part, "ndim", 1) > 0]
    values = [ak.Array(parts[i]) for i in places]
    sure = [~ak.is_none(x, axis=-1) for x, i in zip(values, places, strict=True) if i >= len(parts) - 2]
    values = [x if i < len(parts) - 2 else ak.fill_none(x, 0, axis=-1) for x, i in zip(values, places, strict=True)]
    try:
        flat = ak.broadcast_arrays(*values, *sure)
    except ValueError as error:
        raise FillError(f"The arguments of this fill do not go together.\n{error}") from error
    while any(array.ndim > 1 for array in flat):
        flat = [ak.flatten(array, axis=1) for array in flat]
    flat = [array[~ak.is_none(flat[0])] for array in flat]  # None in one is None in all, after broadcasting
    if missing := sum(int(ak.sum(~known)) for known in flat[len(values) :]):
        raise FillError(f"The weight or sample of {missing} entries is None; say what it should be with ak.fill_none.")
    out = list(parts)
    for i, array in zip(places, flat, strict=False):
        kept = ak.drop_none(array)
        out[i] = kept.to_list() if "string" in str(kept.type) else ak.to_numpy(kept)
    return out


def by_axis(axes: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments in the order of the axes."""
    names = [axis.name for axis in axes]
    if len(args) > len(axes):
        raise FillError(f"{len(args)} values for {len(axes)} axes ({', '.join(n or '?' for n in names)}).")
    found: dict[int, Any] = dict(enumerate(args))
    for name, value in kwargs.items():
        if name not in names:
            raise FillError(f"This histogram has no axis {name!r}.\n{suggestion(name, [n for n in names if n])}")
        place = names.index(name)
        if place in found:
            raise FillError(f"Axis {name!r} was given twice, by place and by name.")
        found[place] = value
    if missing := [names[i] or f"number {i}" for i in range(len(axes)) if i not in found]:
        raise FillError(f"No values for axis {', '.join(missing)}; the axes are {', '.join(n or '?' for n in names)}.")
    return [found[i] for i in range(len(axes))]


def check_storage(h: Any, weight: Any, sample: Any) -> None:
    """Raises FillError for a weight or sample that the storage does not take."""
    kind = h.storage_type
    if issubclass(kind, bh.storage.Mean | bh.storage.WeightedMean):
        if sample is None:
            raise FillError(f"A {kind.__name__} storage averages a value: give it as sample=.")
    elif sample is not None:
        raise FillError(f"A {kind.__name__} storage takes no sample=; Mean and WeightedMean do.")
    if weight is not None and issubclass(kind, bh.storage.Int64):
        raise FillError("An Int64 storage counts entries and takes no weights; use Double or Weight.")


def check_kinds(axes: Sequence[Any], args: Sequence[Any], weight: Any, sample: Any) -> None:
    """Strings belong on string axes, whole numbers on integer axes, and real numbers on the others."""
    for i, (axis, value) in enumerate(zip(axes, args, strict=True)):
        name = f"Axis {axis.name!r}" if axis.name else f"Axis number {i}"
        dtype = _dtype(name, value)
        if dtype is None:
            continue
        if isinstance(axis, bh.axis.StrCategory):
            right, wants = dtype == TEXT, "strings"
        elif isinstance(axis, (bh.axis.Integer, bh.axis.IntCategory, bh.axis.Boolean)):
            right, wants = dtype.kind in "iub", "whole numbers or booleans; make them with ak.values_astype(x, int)"
        else:
            right, wants = dtype.kind in "iubf", "real numbers"
        if not right:
            raise FillError(f"{name} ({type(axis).__name__}) takes {wants}, not {_said(dtype)}.")
    for name, value in (("weight=", weight), ("sample=", sample)):
        dtype = None if value is None else _dtype(name, value)
        if dtype is not None and dtype.kind not in "iubf":
            raise FillError(f"{name} takes real numbers, not {_said(dtype)}.")


def _said(dtype: np.dtype[Any]) -> str:
    return "strings" if dtype == TEXT else str(dtype)


def _dtype(name: str, value: Any) -> np.dtype[Any] | None:
    """The dtype of the values of one argument; None if it is to be found out later."""
    if value is None:
        raise FillError(f"{name} was given None.")
    if isinstance(value, str):
        return TEXT
    if _is_number(value):
        return np.asarray(value).dtype
    if isinstance(value, Lazy):
        if value.fields:
            raise FillError(f"{name} was given records ({', '.join(value.fields[:6])}); fill with one of their fields.")
        form = innermost(value._form)
        return form.node.dtype if isinstance(form, Scalar) else None
    return None


class Weighed(NamedTuple):
    """A weight, its factors by name, and what says, of plain ones beside a value, where they are as they should be.

    That is a mask for each thing that may be wrong, by what is wrong where it is false, and advice.
    """

    weight: Any
    factors: Mapping[str, Any]
    checks: Callable[[Mapping[str, Any], Lazy], Mapping[tuple[str, str], Lazy]]

    @classmethod
    def of(cls, weight: Any) -> Weighed:
        """Any weight as one, of which there is nothing to be checked."""
        return weight if isinstance(weight, Weighed) else cls(weight, {}, lambda factors, like: {})


def recorded(args: Sequence[Any], weight: Any, sample: Any, checks: Mapping[tuple[str, str], Any]) -> Fill:
    """A fill with the arguments brought to one flat list of entries; `checks` are the masks of a Weighed."""
    own = len(args) + 2
    parts = [*args, weight, sample, *checks.values()]
    plain = [part is None or isinstance(part, str) or _is_number(part) for part in parts]
    arrays = {i: part for i, part in enumerate(parts) if not plain[i]}
    try:
        forms, rows, guard = together(list(arrays.values()))
        whole = broadcast(forms, rows, _entry, options=False, guard=guard)
    except HepgraphError as error:
        raise FillError(f"The arguments of this fill do not go together.\n{error}") from error
    masks: list[Node] = list(guard)
    at = rows
    while not isinstance(whole, Record):
        assert isinstance(whole, (List, Option))
        if isinstance(whole, Option):
            masks.append(whole.valid)
        else:
            at = whole.space
            masks = [lift(mask, at) for mask in masks]
        whole = whole.content
    nodes: dict[int, Node] = {}
    must: list[Node] = []
    for i, name in zip(arrays, whole, strict=True):
        valid, content = unwrap(whole[name])
        if not isinstance(content, Scalar):
            raise FillError("A histogram is filled with numbers, not with records; take a field first.")
        nodes[i] = content.node
        if valid is not TRUE:
            (masks if i < len(args) or i >= own else must).append(valid)
    entries = filtered(at, conjunction(masks, at))

    def brought(node: Node) -> Node:
        return take(inc(entries), node) if entries is not at else node

    values = [brought(nodes[i]) if i in nodes else part for i, part in enumerate(parts)]
    origin = next(part for part in arrays.values() if isinstance(part, Lazy))._origin
    sure = tuple(brought(mask) for mask in must)
    told = tuple((*words, mask) for words, mask in zip(checks, values[own:], strict=True))
    weight, sample = values[len(args) : own]
    return Fill(origin, entries, tuple(values[: len(args)]), weight, sample, sure, user_line(), told)


def _entry(parts: list[Form], at: Space) -> Form:
    return Record({str(i): settled(part, at) for i, part in enumerate(parts)}, None, True)


def _is_number(part: Any) -> bool:
    return isinstance(part, (bool, int, float, np.generic)) or (isinstance(part, np.ndarray) and part.ndim == 0)

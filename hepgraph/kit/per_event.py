"""Arrays with one value for each event, masks and weights, recorded or computed: what is none is told how to be one."""

from __future__ import annotations

import numbers
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import HepgraphError
from hepgraph.graph.canonical import TOTAL, full
from hepgraph.graph.form import List, Option, Record, Scalar
from hepgraph.graph.node import Node, literal
from hepgraph.lazy.array import Lazy, together
from hepgraph.lazy.varied import follow, mapped, only_in


@dataclass(frozen=True)
class Kind:
    """Masks, or weights: their type, the types that become it, and advice for arrays that are no such."""

    noun: str
    error: type[HepgraphError]
    dtype: Any
    kinds: str
    no_list: str
    no_none: str
    no_dtype: str

    def refused(self, name: str, problem: str) -> HepgraphError:
        """The error for an array of some name."""
        return self.error(f"{self.noun} {name!r} {problem}")

    def check_dtype(self, name: str, dtype: Any) -> None:
        """Raises for numbers of another type."""
        if np.dtype(dtype).kind not in self.kinds:
            raise self.refused(name, f"has values of type {dtype}; {self.no_dtype}")

    def check_lazy(self, name: str, x: Lazy) -> None:
        """Raises for a recorded array that has not one number for each event."""
        form = x._form
        if x._rows is TOTAL:
            raise self.refused(name, "is one value for the whole dataset; compute it first.")
        if isinstance(form, Option):
            form = form.content
            if not isinstance(form, List | Record):
                raise self.refused(name, f"may be None; {self.no_none}")
        if isinstance(form, List):
            raise self.refused(name, f"has a list for each event; {self.no_list}")
        if isinstance(form, Record):
            raise self.refused(name, f"has records ({', '.join(list(form)[:6])}); take a field of them.")
        self.check_dtype(name, form.node.dtype)

    def check_layout(self, name: str, layout: Any) -> None:
        """Raises for a computed array that has not one number for each event, by its type, as for a recorded one."""
        while layout.is_indexed and not layout.is_option:
            layout = layout.content
        if layout.is_option:
            layout = layout.content
            if not (layout.is_list or layout.is_record):
                raise self.refused(name, f"may be None; {self.no_none}")
        if layout.is_record:
            raise self.refused(name, f"has records ({', '.join(layout.fields[:6])}); take a field of them.")
        if layout.is_union or layout.parameter("__array__") in ("string", "bytestring"):
            raise self.refused(name, f"has values of type {layout.form.type}; {self.no_dtype}")
        if layout.is_list or layout.purelist_depth > 1:
            raise self.refused(name, f"has a list for each event; {self.no_list}")
        if layout.is_numpy:
            self.check_dtype(name, layout.dtype)


class PerEvent:
    """The events that some arrays have one value each for; where nothing else tells, the first array does."""

    def __init__(self, kind: Kind, events: Any = None) -> None:
        self.kind = kind
        self._like: Any = None  # True for each event
        self._constants: dict[Node, Any] = {}
        if isinstance(events, Lazy):
            self._follow(events)
        elif isinstance(events, ak.Array | np.ndarray | list | tuple):
            self._like = np.ones(len(events), bool)
        elif events is not None:
            raise kind.error(
                f"Events are an array, with an entry for each, not {type(events).__name__}; give the events "
                "themselves, not their number."
            )

    def _follow(self, x: Lazy) -> None:
        self._like = follow(_constant, x, True)

    @property
    def known(self) -> bool:
        """Whether it is known which events there are."""
        return self._like is not None

    @property
    def lazy(self) -> bool:
        """Whether the events are recorded."""
        return isinstance(self._like, Lazy)

    def full(self, value: Any) -> Any:
        """The same value for each event."""
        if isinstance(self._like, Lazy):
            key = literal(value)
            if key not in self._constants:
                self._constants[key] = follow(_constant, self._like, value)
            return self._constants[key].__copy__()
        return np.full(len(self._like), value)

    def as_kind(self, kind: Kind) -> PerEvent:
        """The same events, for arrays of another kind."""
        made = PerEvent(kind)
        made._like = self._like
        return made

    def __copy__(self) -> PerEvent:
        return self.as_kind(self.kind)

    def only(self, names: Collection[str]) -> PerEvent:
        """The same events, in some variations alone."""
        made = PerEvent(self.kind)
        made._like = only_in(self._like, names)
        return made

    def cut(self, mask: Any) -> PerEvent:
        """The events that pass a mask."""
        made = PerEvent(self.kind)
        made._like = self._like[mask]
        return made

    def checked(self, name: str, values: Any) -> Any:
        """An array with one value for each event, which is nobody else's; raises the error of the kind for others."""
        kind = self.kind
        if isinstance(values, numbers.Number | np.generic) or (isinstance(values, np.ndarray) and values.ndim == 0):
            kind.check_dtype(name, np.asarray(values).dtype)
            if not self.known:
                raise kind.refused(name, f"is {values} for each event, and nothing tells which these are; give events.")
            return self.full(np.dtype(kind.dtype).type(values))
        if isinstance(values, Lazy):
            mapped(kind.check_lazy, name, values)
        elif isinstance(values, ak.Array | np.ndarray | list | tuple):
            kind.check_layout(name, ak.to_layout(values))
        else:
            raise kind.refused(name, f"is no array, but {type(values).__name__}.")
        return self._beside(name, values) if self.lazy or isinstance(values, Lazy) else self._computed(name, values)

    def _computed(self, name: str, values: Any) -> Any:
        array = np.array(ak.to_numpy(values), self.kind.dtype)
        if self._like is None:
            self._like = np.ones(len(array), bool)
        elif len(array) != len(self._like):
            raise self.kind.refused(name, f"has {len(array)} values, and there are {len(self._like)} events.")
        array.flags.writeable = False  # what is handed out of it is no way to change it
        return array

    def _beside(self, name: str, values: Any) -> Any:
        """A recorded array of the events, or a computed one beside them."""
        if self._like is None:
            self._follow(values)
        if not self.lazy:
            raise self.kind.refused(name, "is lazy, and the events are computed; use .compute() first.")
        try:
            found = follow(_beside, self._like, values)
        except HepgraphError as error:
            raise self.kind.refused(name, f"does not go together with the events.\n{error}") from error
        return ak.values_astype(found, self.kind.dtype)


def _constant(x: Lazy, value: Any) -> Lazy:
    """The same value for each row of an array."""
    return Lazy(Scalar(full(value, x._rows)), x._rows, x._guard)


def _beside(like: Lazy, x: Any) -> Lazy:
    """An array that has a value for each row of another; raises if it has not."""
    (_, form), rows, guard = together([like, x])
    return Lazy(form, rows, guard)

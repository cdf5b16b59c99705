"""References of computed events of which collections were set: they lead to what these were set to, as in lazy mode.

Every element carries its position in the file in a hidden field, through cuts and sorting. So the element that an index
of the file means is found in whatever the collection was set to, or it is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import awkward as ak
import numpy as np

from hepgraph.datasets.references import replaced
from hepgraph.datasets.schemafile import Reference
from hepgraph.graph.offsets import offsets_of
from hepgraph.lazy.hidden import HIDDEN, told_apart

Size: TypeAlias = Callable[[str], int]


class SetCollection:
    """A collection as it was set; positions of elements are counted in `serial`."""

    def __init__(self, name: str, layout: Any, serial: int) -> None:
        self.name, self.serial = name, serial
        if not layout.is_list:
            self.content = layout  # of one event
        else:
            lists = layout.to_ListOffsetArray64(True)
            self.content = lists.content[: lists.offsets[-1]]

    @cached_property
    def positions(self) -> Any:
        """The position in the file of each element, -1 of what is None; None where it is not known."""
        if HIDDEN + self.name not in self.content.fields:
            return None
        hidden = ak.to_numpy(ak.fill_none(ak.Array(self.content)[HIDDEN + self.name], -1))
        serial, found = told_apart(hidden)
        some = found[hidden >= 0]
        if np.any(serial[hidden >= 0] != self.serial) or len(np.unique(some)) < len(some):
            return None
        return np.where(hidden < 0, -1, found)

    @cached_property
    def _sorted(self) -> tuple[Any, Any]:
        order = np.argsort(self.positions, kind="stable")
        return order, self.positions[order]

    def places(self, wanted: Any) -> Any:
        """The places of elements by their positions in the file; -1 of those that are not here."""
        order, known = self._sorted
        if not len(known):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[at] == wanted, order[at], -1)

    def stays(self, size: int) -> bool:
        """Whether it has the elements of the file, so many, in their order."""
        return np.array_equal(self.positions, np.arange(size))


def followed(layout: Any, title: str, reference: Reference, sets: Mapping[str, SetCollection], size_of: Size) -> Any:
    """The elements that a reference leads to now, `layout` those in the file; `size_of` counts a collection."""
    for name in set(reference.into) & set(sets):
        found = sets[name]
        if found.positions is None or ((reference.ranged or reference.key) and not found.stays(size_of(name))):
            raise replaced(title, name)

    def pointed(node: Any, **_: Any) -> Any:
        if reference.inverse and node.is_list and node.content.is_record:
            return _listed(node, sets)
        record = node.content if node.is_option else node
        found = _set_of(record, sets)
        if found is None:
            return node if record.is_record else None
        place = found.places(_positions(record, found))
        if node.is_option:
            index = np.asarray(node.to_IndexedOptionArray64().index)
            place = np.where(index < 0, -1, place[np.maximum(index, 0)] if len(place) else -1)
        return ak.contents.IndexedOptionArray.simplified(ak.index.Index64(place), found.content)

    return ak.transform(pointed, ak.Array(layout), highlevel=False)


def _listed(node: Any, sets: Mapping[str, SetCollection]) -> Any:
    """Lists of elements that point at each: those that are still there, as they stand now."""
    lists = node.to_ListOffsetArray64(True)
    found = _set_of(lists.content, sets)
    if found is None:
        return node
    offsets = np.asarray(lists.offsets)
    place = found.places(_positions(lists.content, found)[: offsets[-1]])
    parents = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((place, parents))
    order = order[place[order] >= 0]
    left = offsets_of(np.bincount(parents[order], minlength=len(offsets) - 1))
    content = ak.contents.IndexedArray.simplified(ak.index.Index64(place[order]), found.content)
    return ak.contents.ListOffsetArray(ak.index.Index64(left), content)


def _set_of(record: Any, sets: Mapping[str, SetCollection]) -> SetCollection | None:
    if not record.is_record:
        return None
    return next((sets[name[1:]] for name in record.fields if name[:1] == HIDDEN and name[1:] in sets), None)


def _positions(record: Any, found: SetCollection) -> Any:
    return told_apart(record[HIDDEN + found.name])[1]

"""References that pass over copies of the same element: generators write a particle again whenever it radiates.

Elements are copies of one if the index leads from one to the other and a field, `until`, is the same: the number of the
kind of a particle. Every element has a first copy, itself if it is no other's. A reference goes from there to where its
index leads (`distinctParent`); an inverse one back to all whose reference it is (`distinctChildren`). A deep one leads
from the first copy to what any of its copies leads to, and to those of them that lead to nothing
(`distinctChildrenDeep`); from the other copies it leads nowhere, so that nothing is in two lists.
"""

from __future__ import annotations

import numpy as np

from hepgraph.datasets.elements import at_path
from hepgraph.datasets.references import ReferenceForms
from hepgraph.errors import SchemaError
from hepgraph.graph.canonical import INT, TRUE, apply, both, count, defined, inc, led_back, take
from hepgraph.graph.form import Form, List, Scalar, move, type_of, unwrap
from hepgraph.graph.node import Map, Node, Space, as_space, literal, map_, node

_NOWHERE = literal(np.int64(-1))


class CopyForms(ReferenceForms):
    """A reference that passes over copies."""

    def _index(self, form: Form, index: str, into: Space) -> tuple[Node, Node]:
        """The index of the first copy of each element; of a deep reference, which first copy has the element."""
        valid, x = super()._index(form, index, into)
        if x.space is not into or x.op not in ("load", "index") or into.kind != "leaf":
            raise SchemaError(
                f"{self.title} follows {index} until {self.reference.until} is another: that must be the index of a "
                f"collection into itself, with a list for each event."
            )
        key = self._key()
        asked = (x, key) if valid is TRUE else (x, key, valid)
        first = node("first_copy", asked, into, INT, (self.title, self.reference.until))
        if self.reference.deep:
            return TRUE, self._owner(valid, x, key, first)
        begin = _to(first)
        return take(begin, valid), take(begin, x)

    def _pointing_here(self, target: List) -> Form:
        index = self.reference.indices[0]
        valid, x = self._index(at_path(self.own, index), index, self.at)
        to = target.space
        valid = valid if valid is TRUE else self._brought(valid, to)
        s = led_back(to, self.at, valid, self._brought(x, to))
        return List(s, move(target.content, inc(s)))

    def _key(self) -> Node:
        assert self.reference.until is not None
        valid, form = unwrap(at_path(self.own, self.reference.until))
        if valid is not TRUE or not isinstance(form, Scalar):
            raise SchemaError(
                f"{self.title}: {self.reference.until} cannot tell which elements are copies of one: it holds "
                f"{type_of(at_path(self.own, self.reference.until))}, not one number for each."
            )
        return form.node

    def _owner(self, valid: Node, x: Node, key: Node, first: Node) -> Node:
        """Of what is no copy, the first copy of where its index leads; of a copy to which none leads, its own."""
        parent = _to(x)
        some = both(valid, defined(parent))
        copied = apply("equal", [take(parent, key), key])
        last = apply("where", [_led_to(valid, x), _NOWHERE, first])
        return apply("where", [some, apply("where", [copied, last, take(parent, first)]), _NOWHERE])


def _to(index: Node) -> Map:
    """From each element of a list to the one at an index in it."""
    assert index.space is not None
    return map_("gather", index.space, index.space, (index,), False)


def _led_to(valid: Node, x: Node) -> Node:
    """Whether the index of any element leads to each one."""
    s = as_space(x.space)
    return apply("greater", [count(led_back(s, s, valid, x)), literal(0)])

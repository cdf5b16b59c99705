"""Hidden fields and names of computed records: where each was in its file, and vectors without a name.

Arrays carry them, so that references can be followed; they are not shown, written or pickled.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import awkward as ak
import numpy as np

HIDDEN = "@"  # what the name of a hidden field starts with
NAMELESS = HIDDEN  # the name of vectors that have none, by which awkward finds their class in an eager run
_INDEX = 1 << 40  # positions are counted below this, and above it is the number of what they are positions in


def new_serial() -> int:
    """A number for what positions are counted in, so that those of another are not taken for its own."""
    return secrets.randbits(22)


def positions(serial: int, size: int) -> Any:
    """The hidden positions of so many elements."""
    return np.arange(serial * _INDEX, serial * _INDEX + size)


def told_apart(hidden: Any) -> tuple[Any, Any]:
    """Of such hidden positions, what each is one of, and the position itself."""
    return np.divmod(ak.to_numpy(hidden).astype(np.int64), _INDEX)


def hides(record: Any) -> bool:
    """Whether a record has hidden fields."""
    return any(name.startswith(HIDDEN) for name in record.fields)


def shown(layout: Any) -> Any:
    """A layout, or a form, without its hidden fields and names."""
    if not any(each.parameter("__record__") == NAMELESS or hides(each) for each in records(layout)):
        return layout

    if layout.is_record:
        names = [name for name in layout.fields if not name.startswith(HIDDEN)]
        parts = [shown(part) for name, part in zip(layout.fields, layout.contents, strict=True) if name in names]
        parameters = None if layout.parameter("__record__") == NAMELESS else layout.parameters
        fields = None if layout.is_tuple else names
        if isinstance(layout, ak.forms.Form):
            return ak.forms.RecordForm(parts, fields, parameters=parameters)
        return ak.contents.RecordArray(parts, fields, layout.length, parameters=parameters)
    if hasattr(layout, "contents"):
        return layout.copy(contents=[shown(part) for part in layout.contents])
    return layout.copy(content=shown(layout.content))


def with_own(v: Any, names: Iterable[str]) -> Any:
    """Records with some fields among their own, which formulas make, or which are references."""
    for name in names:
        if name not in v.layout.fields:
            v = ak.with_field(v, v[name], name)
    return v


def record_names(form: Any) -> Iterator[str]:
    """The names of the records in a form of awkward."""
    return (each.parameter("__record__") for each in records(form) if each.parameter("__record__") is not None)


def records(form: Any) -> Iterator[Any]:
    """The records in a form, or layout, of awkward."""
    waiting = [form]
    while waiting:
        each = waiting.pop()
        if each.is_record:
            yield each
        waiting += each.contents if hasattr(each, "contents") else [each.content] if hasattr(each, "content") else []

"""Hints for errors of other libraries in processors that run eagerly: what to write, so that it works in both ways."""

from __future__ import annotations

from collections.abc import Iterator

from hepgraph.lazy.vary import OF_LAZY_ARRAYS

_JAGGED = "cannot convert to RegularArray because subarray lengths are not regular"


def add_hints(error: BaseException) -> None:
    """Adds notes to an error that came out of a processor, or to what it came of.

    >>> error = ValueError("cannot convert to RegularArray because subarray lengths are not regular")
    >>> add_hints(error)
    >>> error.__notes__
    ['NumPy takes lists of one length. Write ak.unflatten(function(ak.flatten(x)), ak.num(x)) ...']
    """
    for each in _causes(error):
        if isinstance(each, ValueError) and _JAGGED in str(each):
            error.add_note(
                "NumPy takes lists of one length. Write ak.unflatten(function(ak.flatten(x)), ak.num(x)) for a "
                "function of each number; for np.digitize(x, edges) also sum(x >= edge for edge in edges). Both are "
                "recorded."
            )
        elif isinstance(each, AttributeError) and (said := OF_LAZY_ARRAYS.get(each.name or "", "")) not in str(each):
            error.add_note(said)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__

"""The tree of errors.

A name that is not there suggests those that are.

Every class is also a builtin, so that `except KeyError` and `except OSError` do what users expect.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_noted: ContextVar[list[HepgraphError] | None] = ContextVar("_noted", default=None)
_elsewhere: list[tuple[set[int | None], list[HepgraphError]]] = []  # for threads that are started meanwhile


class HepgraphError(Exception):
    """The base of all errors of hepgraph."""

    report: Any = None  # of the run that it stopped: what is in it can be resumed

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        noted = _noted.get()
        if noted is not None:
            noted.append(self)
            return
        for before, found in tuple(_elsewhere):
            if threading.get_ident() not in before:
                found.append(self)

    def __str__(self) -> str:  # KeyError would show the message quoted
        return "\n".join(str(arg) for arg in self.args)


class LazyError(HepgraphError, TypeError):
    """A lazy value was used where only a computed one can answer."""


class FieldError(HepgraphError, AttributeError, KeyError):
    """A record has no field of this name."""


class ShapeError(HepgraphError, ValueError):
    """Arrays that do not go together: other masks, other lists, other depths."""


class UnsupportedError(HepgraphError, TypeError):
    """An operation that cannot be recorded; the message says what to write instead."""


class RangeError(HepgraphError, IndexError):
    """An index beyond the end of a list, found while running."""


class SourceError(HepgraphError, OSError):
    """A file that cannot be used as asked; carries the path."""

    absent: Sequence[Any] = ()  # all files of a dataset, if none can be opened and they may be skipped


class MissingFileError(SourceError, FileNotFoundError):
    """No such file, or no file matches the pattern."""


class DamagedFileError(SourceError):
    """A file that is truncated, corrupt, or not of the expected format."""


class AccessError(SourceError):
    """A file that cannot be reached now: a time-out, a lost connection, a trouble of the file system."""


class ChangedFileError(SourceError):
    """A file that is not the one that was opened, or preprocessed, any more."""


class MissingTreeError(SourceError, KeyError):
    """A file without the wanted tree; the message lists the trees there are."""


class MissingColumnError(SourceError, KeyError):
    """A file without the wanted branch or column; the message gives the nearest names."""


class DisagreementError(SourceError, ValueError):
    """Files of one dataset, or columns of one file, that contradict each other."""


class SchemaError(HepgraphError, ValueError):
    """A schema file that cannot be read, or does not fit the data."""


class FilesetError(HepgraphError, ValueError):
    """A fileset that is empty or not of a known shape."""


class RandomError(HepgraphError, TypeError):
    """A recorded function that takes from something that goes on from call to call: a random generator, an iterator."""


class ChangedError(HepgraphError, RuntimeError):
    """Something that recorded code uses was changed in place before it was run, and is too large to be copied."""


class CheckpointError(HepgraphError, OSError):
    """A checkpoint directory that cannot be used: of another analysis, in use, full, or not writable."""


class ResumeError(HepgraphError, ValueError):
    """A report from which a run cannot be resumed: of another analysis, of other files, or without partial results."""


class LedgerError(HepgraphError, RuntimeError):
    """Events that were counted twice, or not at all, without being named as failed."""


class MemoryBudgetError(HepgraphError, MemoryError):
    """A run that would not fit into the memory that it was given; it was not begun."""


class IncompleteWarning(UserWarning):
    """A result that lacks some events, because their ranges were skipped; the report names them."""


class FallbackWarning(UserWarning):
    """A processor that cannot be recorded, and runs eagerly; it says which line is to blame."""


class PromotionWarning(UserWarning):
    """Files of one dataset that store a column in several types: it is read in the one to which NumPy promotes them."""


class CacheWarning(UserWarning):
    """A column cache that is not used, or not written any more; results are the same without it."""


class FillError(HepgraphError, ValueError, TypeError):
    """A histogram fill whose arguments do not fit its axes, or each other."""


class VariationError(HepgraphError, ValueError, KeyError):
    """A variation that is not there, is declared twice, or stands where a plain value is needed."""


class VariationWarning(UserWarning):
    """A variation that changes nothing, or a column that is named as one and varies no field."""


class SelectionError(HepgraphError, ValueError, KeyError):
    """A cut, a category or a cutflow that cannot be used as asked."""


class WeightError(HepgraphError, ValueError, KeyError):
    """A weight that cannot be used as asked: of other events, NaN, or given twice."""


class ProcessorError(HepgraphError, TypeError):
    """A processor whose output does not add up."""


class ExecutorError(HepgraphError, RuntimeError):
    """A place to run that cannot be used, or was lost."""


class UnreachableError(ExecutorError, ConnectionError):
    """A scheduler that does not answer, or no longer does."""


class VersionError(ExecutorError, ImportError):
    """A worker with other versions than the process that asked, or without a module that is needed."""


class ShippingError(HepgraphError, TypeError):
    """Something that cannot be sent to another process; the message names it."""


class KilledError(ExecutorError):
    """A range that ended the process that worked on it, each time it was tried."""


class PlanGoneError(ExecutorError):
    """A dask scheduler that no longer has the plan of a run: it was started anew, or the run has ended."""


class CancelledError(ExecutorError):
    """A run that was given up because the user asked for it."""


@contextmanager
def noted() -> Iterator[list[HepgraphError]]:
    """While inside, every error of hepgraph that is made, here or in threads started meanwhile, even if it is caught.

    >>> with noted() as errors:
    ...     try:
    ...         raise LazyError("not computed")
    ...     except TypeError:
    ...         pass
    >>> errors
    [LazyError('not computed')]
    """
    found: list[HepgraphError] = []
    token, place = _noted.set(found), ({thread.ident for thread in threading.enumerate()}, found)
    _elsewhere.append(place)
    try:
        yield found
    finally:
        _noted.reset(token)
        _elsewhere[:] = [each for each in _elsewhere if each is not place]


def nearest(name: str, names: Iterable[str], most: int = 6) -> list[str]:
    """The names closest to `name` in spelling, best first.

    >>> nearest("Muon_pT", ["Jet_pt", "Muon_pt", "MET_phi"])
    ['Muon_pt', 'Jet_pt']
    """
    lowered: dict[str, list[str]] = {}
    for known in dict.fromkeys(names):
        lowered.setdefault(known.lower(), []).append(known)
    close = difflib.get_close_matches(name.lower(), lowered, n=most, cutoff=0.45)
    return [known for low in close for known in lowered[low]][:most]


def suggestion(name: str, names: Iterable[str], more: Iterable[str] = ()) -> str:
    """One line that helps with a misspelt name: the nearest ones, or the first of all there are.

    `more` are names that are worth a mention only if they are near: methods, beside fields.

    >>> suggestion("Moun", ["Muon", "Jet"])
    'Nearest names: Muon.'
    >>> suggestion("zzz", ["Muon", "Jet"])
    'Known names: Muon, Jet.'
    """
    known = list(dict.fromkeys(names))
    if close := list(dict.fromkeys([*nearest(name, known), *nearest(name, more, 4)])):
        return f"Nearest names: {', '.join(close[:6])}."
    if not known:
        return "There are no names at all."
    rest = f", ... ({len(known)} in all)" if len(known) > 10 else ""
    return f"Known names: {', '.join(known[:10])}{rest}."


def either(names: Sequence[str], most: int = 6) -> str:
    """Some of several names, of which one is meant.

    >>> either(["Jet"]), either(["Jet", "FatJet", "GenJet"])
    ('Jet', 'Jet, FatJet or GenJet')
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} or others"
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def not_in_all(name: str, kind: str, there: Sequence[str], lack: Sequence[str], base: str | None) -> str:
    """A column that some files lack, and how to say that they may; `base` is the column that it is a variation of."""
    shown = f"{', '.join(lack[:3])}{f' and {len(lack) - 3} more' if len(lack) > 3 else ''}"
    of, value, more = "", "None", ""
    if base is not None:
        of, value, more = f", a variation of {base!r}", '"nominal"', ', or for all variations optional={"*": "nominal"}'
    return (
        f"No column {name!r} in {len(lack)} of the {len(there) + len(lack)} files of this dataset: {shown}.\n"
        f"In {there[0] if there else 'others'} it is {kind}{of}. If files may lack it, say so when they are opened, "
        f"and what stands for it there:\n    optional={{{name!r}: {value}}}{more}"
    )


def many(count: int, what: str, several: str = "") -> str:
    """So many of something, of which several are called otherwise than with an s only if that is told.

    >>> many(1, "range"), many(2000, "range"), many(0, "entry", "entries")
    ('1 range', '2,000 ranges', '0 entries')
    """
    return f"{count:,} {what if count == 1 else several or what + 's'}"

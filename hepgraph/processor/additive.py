"""Whether what a processor gives for parts of the events adds up to what it gives for all of them.

A recorded reduction knows whether it is a sum or a maximum; a number that a processor returns does not. So the
processor is tried: on some events at once, and on parts of these. Sums and counts agree, also where they went through
`float()`; maxima, means, ratios, constants, and arrays with an entry for each event do not.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import boost_histogram as bh
import numpy as np

from hepgraph.errors import ProcessorError
from hepgraph.io.source import Partition
from hepgraph.lazy.results import NOMINAL, Variations

PARTS = 4  # that some events are cut into, and their parts again where only one of them has anything
MOST = 40  # calls of a processor for the sake of this, about
CLOSE = 1e-3  # of what is added up: rounding, where numbers of single precision are
LOOSE = 0.25  # ... where the processor draws random numbers, other ones for the parts

_ADVICE = (
    "A processor that is not recorded runs chunk by chunk, and numbers, NumPy arrays and histograms are added up: "
    "return sums and counts (ak.sum(x), len(x)), or fill a histogram; of a mean, its sum and its count, to be divided "
    "in postprocess; a maximum in a list, [ak.max(x)], of which postprocess takes the maximum."
)
_JOINED = (
    "NumPy arrays of chunks are added up, number by number: return ak.Array(x) to have them joined, or fill a histogram"
    " to have their entries counted."
)

Amounts = dict[str, np.ndarray[Any, Any]]


def amounts(output: Any) -> Amounts:
    """The numbers in an output that are added up, by place: numbers, NumPy arrays, contents of histograms.

    >>> amounts({"n": 3, "l": [1.0]})
    {"['n']": array(3)}
    """
    return dict(_amounts(output, ""))


def _amounts(output: Any, where: str) -> Iterator[tuple[str, Any]]:
    match output:
        case Variations():  # they add up as their nominal does
            yield from _amounts(output[NOMINAL], where)
        case Mapping():
            for key, value in output.items():
                yield from _amounts(value, f"{where}[{key!r}]")
        case tuple():
            for i, value in enumerate(output):
                yield from _amounts(value, f"{where}[{i}]")
        case numbers.Number() | np.ndarray():
            yield where, np.asarray(output)
        case bh.Histogram():
            view = output.view(flow=True)
            names = view.dtype.names or ()
            kept = next((name for name in ("sum_of_weights", "count", "value") if name in names), None)
            values = np.asarray(view if kept is None else view[kept])
            grows = any(axis.traits.growth for axis in output.axes)
            yield where, values.sum() if grows else values


def certain(
    made: Callable[[Partition], Any],
    partition: Partition,
    output: Any,
    draws: bool,
    most: int = MOST,
    own: Sequence[Partition] = (),
) -> set[str]:
    """The places of an output that were seen to add up; where it has only zeros, or one event, that cannot be seen.

    `made` gives the output for a range, and that of all of it if `output` is None; `draws` says whether random numbers
    are drawn on the way; `own` are the ranges of the run, where these are parts of the range. Raises ProcessorError for
    what does not add up.
    """
    found: set[str] = set()
    once = _tried(made, [partition]) if output is None else [amounts(output)]
    if once is None:
        return found
    if 1 < len(own) <= most and (run := _tried(made, own)):
        _compared((partition, once[0]), own, run, draws, made)
    ways = ((PARTS, True), (PARTS, False), (2, False))[not draws :]  # of numbers that are drawn, there are none of none
    calls, waiting = 0, [(partition, once[0])]
    while waiting and calls < most:
        whole, total = waiting.pop(0)
        parts: list[Amounts] | None = None
        for number, and_none in ways if total else ():
            ranges = _cut(whole, number, and_none)
            calls += len(ranges)
            parts = _tried(made, ranges)
            if parts is not None:
                break
        if parts is None:
            continue
        found |= _compared((whole, total), ranges, parts, draws, made)
        waiting += [
            (each, part)
            for each, part in zip(ranges, parts, strict=True)
            if len(each) > 1 and any(np.any(value) for place, value in part.items() if place not in found)
        ]
    return found


def _compared(
    all_at_once: tuple[Partition, Amounts],
    ranges: Sequence[Partition],
    parts: Sequence[Amounts],
    draws: bool,
    made: Callable[[Partition], Any],
) -> set[str]:
    """The places where several parts have something, which adds up; raises ProcessorError where it does not."""
    whole, total = all_at_once
    found: set[str] = set()
    for place in dict.fromkeys(name for each in (total, *parts) for name in each):
        some = [(its, each[place]) for its, each in zip(ranges, parts, strict=True) if place in each]
        _check(place, (whole, total.get(place, np.zeros(()))), some, draws, made)
        if sum(bool(np.any(value)) for _, value in some) > 1:
            found.add(place)
    return found


def _tried(made: Callable[[Partition], Any], ranges: Sequence[Partition]) -> list[Amounts] | None:
    """The amounts in the outputs for some ranges; None if the processor fails on one of them.

    It may need more events than there are in a part. What fails on the events at hand in the run stops that.
    """
    try:
        return [amounts(made(each)) for each in ranges]
    except ProcessorError:
        raise
    except Exception:
        return None


def _cut(whole: Partition, number: int, and_none: bool) -> list[Partition]:
    """So many parts of a range; and no event at all, if that is asked for, or there is only one."""
    edges = [whole.start + len(whole) * i // number for i in range(number + 1)]
    spans = [(a, b) for a, b in pairwise(edges) if b > a]
    if len(spans) == 1 or and_none:
        spans.append((whole.stop, whole.stop))
    return [replace(whole, start=a, stop=b, first=whole.first + a - whole.start) for a, b in spans]


Valued = tuple[Partition, np.ndarray[Any, Any]]


def _check(place: str, all_at_once: Valued, parts: list[Valued], draws: bool, made: Callable[[Partition], Any]) -> None:
    """Raises ProcessorError if what there is at a place for parts of a range is not all there is for it at once."""
    whole, total = all_at_once
    for its, part in parts:
        if total.ndim and part.shape != total.shape:
            raise ProcessorError(
                f"output{place} does not add up: a NumPy array of the shape {total.shape} for the events {whole}, and "
                f"{part.shape} for {its}. {_JOINED}"
            )
    values = [value for _, value in parts]
    of_nothing = any(np.any(value) for its, value in parts if not len(its))
    if not of_nothing and (
        _add_up(total, values, draws)
        or (not draws and not _repeats(made, whole, place, total) and _add_up(total, values, True))
    ):
        return
    what = "" if total.ndim == 0 else "in all bins "
    raise ProcessorError(
        f"output{place} does not add up: {what}{_shown(total)} for the events {whole} at once, and "
        f"{_shown(sum(values, np.zeros(())))} as the sum of {len(parts)} parts of them. {_ADVICE}"
    )


def _add_up(total: Any, parts: list[Any], draws: bool) -> bool:
    """Whether the parts are all of the total, but for rounding, or for what is drawn."""
    added = sum(parts, np.zeros(()))
    if not np.all(np.isfinite(total)) or not np.all(np.isfinite(added)):
        return bool(np.array_equal(total, added, equal_nan=True))
    if draws:
        total, added, parts = total.sum(), added.sum(), [part.sum() for part in parts]
    scale = sum(float(np.abs(part).sum()) for part in (*parts, total)) / 2
    allowed = (LOOSE if draws else CLOSE) * scale
    if draws and float(abs(added)).is_integer() and float(abs(total)).is_integer():
        allowed = max(allowed, 3 * scale**0.5)
    return float(np.abs(total - added).sum()) <= allowed


def _repeats(made: Callable[[Partition], Any], whole: Partition, place: str, total: Any) -> bool:
    """Whether the same events give the same again."""
    again = amounts(made(whole)).get(place)
    return again is not None and np.array_equal(again, total, equal_nan=True)


def _shown(value: Any) -> str:
    return f"{np.asarray(value).sum():.6g}"

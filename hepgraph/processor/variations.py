"""Outputs of a processor that ran eagerly once for each variation, as one output.

Which of them a variation has reached is not known, only where it has changed something. So a result that is the same in
all variations is given once, and another has all names.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import awkward as ak
import boost_histogram as bh
import numpy as np

from hepgraph.hist.variations import stacked
from hepgraph.lazy.results import NOMINAL, ByVariation, Variations
from hepgraph.lazy.vary import only
from hepgraph.processor.accumulate import nothing_like


def in_each(process: Callable[[], Any]) -> Any:
    """The output of a processor; if it declares variations, one for each of them, by name."""
    found: dict[str, tuple[str, ...]] = {NOMINAL: ()}
    outputs: dict[str, Any] = {}
    while waiting := [name for name in found if name not in outputs and all(each in found for each in found[name])]:
        with only(found[waiting[0]], found):
            outputs[waiting[0]] = process()
    return Variations(outputs) if len(outputs) > 1 else outputs[NOMINAL]


def in_nominal(process: Callable[[], Any]) -> Any:
    """The output of a processor for the nominal alone."""
    with only((), {}):
        return process()


def folded(output: Any, where: str = "") -> Any:
    """The outputs by variation as one output, whose results are by variation."""
    if not isinstance(output, Variations):
        return output
    nominal = output[NOMINAL]
    match nominal:
        case Mapping():
            made: Any = {} if type(nominal) is dict else copy.copy(nominal)
            for key in dict.fromkeys(key for each in output.values() for key in each):
                made[key] = folded(_under(output, key, f"{where}[{key!r}]"), f"{where}[{key!r}]")
            return made
        case tuple():
            parts = [
                folded(Variations({name: each[i] for name, each in output.items()}), f"{where}[{i}]")
                for i in range(len(nominal))
            ]
            return type(nominal)(*parts) if hasattr(nominal, "_fields") else type(nominal)(parts)
        case bh.Histogram():
            return stacked(output)
        case ByVariation():
            return nominal._stacked(output)
    return nominal if all(_same(each, nominal) for each in output.values()) else output


def _under(output: Mapping[str, Any], key: Any, where: str) -> Variations:
    """The outputs under a key of each variation; where one lacks it, there was nothing to count."""
    like = next(each[key] for each in output.values() if key in each)
    absent = None if all(key in each for each in output.values()) else nothing_like(like, where)
    return Variations({name: each.get(key, absent) for name, each in output.items()})


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, ak.Array) and isinstance(b, ak.Array):
        return bool(ak.array_equal(a, b, equal_nan=True))
    if isinstance(a, list | set):
        return bool(a == b)
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind in "fc"))

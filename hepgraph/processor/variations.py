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

from hepgraph.errors import ProcessorError
from hepgraph.hist.variations import stacked
from hepgraph.lazy.varied import NOMINAL, Variations
from hepgraph.lazy.vary import only


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
            for name, each in output.items():
                if gone := [key for key in each if key not in nominal]:
                    raise ProcessorError(
                        f"output{where} has {gone[0]!r} in the variation {name!r} alone, and not in the nominal."
                    )
            made: Any = {} if type(nominal) is dict else copy.copy(nominal)
            for key in nominal:
                own = {name: each.get(key, nominal[key]) for name, each in output.items()}
                made[key] = folded(Variations(own), f"{where}[{key!r}]")
            return made
        case tuple():
            parts = [
                folded(Variations({name: each[i] for name, each in output.items()}), f"{where}[{i}]")
                for i in range(len(nominal))
            ]
            return type(nominal)(*parts) if hasattr(nominal, "_fields") else type(nominal)(parts)
        case bh.Histogram():
            return stacked(output)
        case _ if hasattr(type(nominal), "stacked"):
            return type(nominal).stacked(output)
    return nominal if all(_same(each, nominal) for each in output.values()) else output


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, ak.Array) and isinstance(b, ak.Array):
        return bool(ak.array_equal(a, b, equal_nan=True))
    if isinstance(a, list | set):
        return bool(a == b)
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind in "fc"))

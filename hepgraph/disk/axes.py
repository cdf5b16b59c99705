"""Axes of histograms as values of JSON, and back: equal to the last bit, or not told at all."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

PACKAGES = ("boost_histogram", "hist")
STEPS = 4  # numbers beside the first and last edge that are tried


def axis_to_json(axis: Any) -> list[Any] | None:
    """Package, kind and arguments of an axis, from which an equal one can be made; None if there are none."""
    package, name = type(axis).__module__.partition(".")[0], type(axis).__name__
    if package not in PACKAGES or type(axis) is not _kind(package, name):
        return None
    traits = axis.traits
    options: dict[str, Any] = {}
    if name != "Boolean":
        options = {"growth": traits.growth, "overflow": traits.overflow}
    if name in ("Regular", "Variable", "Integer"):
        options |= {"underflow": traits.underflow, "circular": traits.circular}
    own = dict(axis.__dict__)
    for arguments in _arguments(axis, name):
        told = [package, name, arguments, options]
        try:
            if axis_from_json(told, own) == axis:
                return told
        except (ValueError, TypeError):
            continue
    return None


def axis_from_json(told: list[Any], own: dict[str, Any]) -> Any:
    """The axis of a JSON list made by `axis_to_json`, with its `own` attributes: name, label, metadata."""
    import boost_histogram as bh

    package, name, arguments, options = told
    arguments, options = list(arguments), dict(options)
    if name == "Regular" and len(arguments) == 4:
        kind, *power = arguments.pop()
        transforms = {"log": bh.axis.transform.log, "sqrt": bh.axis.transform.sqrt}
        options = {"transform": bh.axis.transform.Pow(*power) if kind == "pow" else transforms[kind]}
    made = _kind(package, name)(*arguments, **options)
    made.__dict__.clear()
    made.__dict__.update(own)
    return made


def _kind(package: str, name: str) -> Any:
    import boost_histogram as bh
    import hist

    kinds = ("Regular", "Variable", "Integer", "IntCategory", "StrCategory", "Boolean")
    if name not in kinds or package not in PACKAGES:
        raise ValueError(f"there is no axis {package}.{name}")
    return getattr((hist if package == "hist" else bh).axis, name)


def _arguments(axis: Any, name: str) -> Any:
    """Candidates for the arguments of an axis: its edges are rounded, so that several have to be tried."""
    match name:
        case "Boolean":
            return [[]]
        case "IntCategory" | "StrCategory":
            return [[list(axis)]]
        case "Variable":
            return [[axis.edges.tolist()]]
        case "Integer":
            return [[int(axis.edges[0]), int(axis.edges[-1])]]
    if axis.transform is not None and not _transform(axis.transform):
        return []
    ends = product(_near(float(axis.edges[-1])), _near(float(axis.edges[0])))
    more = [] if axis.transform is None else [_transform(axis.transform)]
    return ([len(axis), low, high, *more] for high, low in ends)


def _near(x: float) -> list[float]:
    """A number, and those beside it."""
    found = [x]
    up = down = x
    for _ in range(STEPS):
        up, down = math.nextafter(up, math.inf), math.nextafter(down, -math.inf)
        found += [up, down]
    return found


def _transform(transform: Any) -> list[Any]:
    import boost_histogram as bh

    if isinstance(transform, bh.axis.transform.Pow):
        return ["pow", transform.power]
    for name in ("log", "sqrt"):
        if transform == getattr(bh.axis.transform, name):
            return [name]
    return []  # one of the user's own

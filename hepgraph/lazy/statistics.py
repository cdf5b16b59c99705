"""Means, variances and their like, also weighted: awkward's own formulas, recorded."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import UnsupportedError
from hepgraph.graph.canonical import apply
from hepgraph.graph.form import Form, Record, Scalar, innermost
from hepgraph.lazy.array import Lazy, together
from hepgraph.lazy.reduce import function, level_of, mean_of, reduced, variance_of
from hepgraph.lazy.rules import Opaque


@function(ak.mean)
def mean(x: Any, weight: Any = None, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False) -> Lazy:
    """The mean of each list, or of the whole dataset."""
    options = {"keepdims": keepdims, "mask_identity": mask_identity}
    if weight is None:
        _innermost(x, axis)
        return reduced("mean", lambda s, node: Scalar(mean_of(s, node)), x, axis, options)
    x, weight = _arrays(axis, x, weight)
    x = _real(x)
    return _sum(_double(x * weight), axis, options) / _sum(_double(x * 0 + weight), axis, options)  # type: ignore[no-any-return]


@function(ak.var)
def var(
    x: Any, weight: Any = None, ddof: int = 0, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False
) -> Lazy:
    """The variance of each list, or of the whole dataset."""
    options = {"keepdims": keepdims, "mask_identity": mask_identity}
    if weight is None:
        _innermost(x, axis)
        return reduced("var", lambda s, node: Scalar(variance_of(s, node, ddof)), x, axis, options)
    if axis is None:
        raise UnsupportedError(
            "a weighted ak.var over the whole dataset needs its mean first, and cannot be recorded; take ak.sum(w), "
            "ak.sum(w * x) and ak.sum(w * x**2), and combine them after .compute()"
        )
    x, weight = _arrays(axis, x, weight)
    away = x - _mean(x, weight, axis)
    sumw = _sum(x * 0 + weight, axis, options)
    result = _sum(weight * away * away, axis, options) / sumw
    return result * (sumw / (sumw - ddof)) if ddof else result  # type: ignore[no-any-return]


@function(ak.std)
def std(
    x: Any, weight: Any = None, ddof: int = 0, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False
) -> Lazy:
    """The standard deviation of each list, or of the whole dataset."""
    if weight is None:
        _innermost(x, axis)
        options = {"keepdims": keepdims, "mask_identity": mask_identity}
        return reduced("std", lambda s, n: Scalar(apply("sqrt", [variance_of(s, n, ddof)])), x, axis, options)
    return np.sqrt(var(x, weight, ddof, axis, keepdims=keepdims, mask_identity=mask_identity))  # type: ignore[no-any-return]


@function(ak.moment)
def moment(
    x: Any, n: Any, weight: Any = None, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False
) -> Lazy:
    """The mean of a power of each list, or of the whole dataset."""
    options = {"keepdims": keepdims, "mask_identity": mask_identity}
    x, w = _arrays(axis, x, weight)
    if w is None:
        return _sum(_double(x) ** n, axis, options) / ak.count(x, axis=axis, **options)  # type: ignore[no-any-return]
    x = _real(x)
    return _sum(x**n * w, axis, options) / _sum(x * 0 + w, axis, options)  # type: ignore[no-any-return]


@function(ak.covar)
def covar(
    x: Any, y: Any, weight: Any = None, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False
) -> Lazy:
    """The covariance of two lists of each event."""
    options = {"keepdims": keepdims, "mask_identity": mask_identity}
    x, y, w, xx = _centred(x, y, weight, axis)
    sumw = ak.count(xx, axis=axis, **options) if w is None else _sum(xx * 0 + w, axis, options)
    return _sum(_weighted(x * y, w), axis, options) / sumw  # type: ignore[no-any-return]


@function(ak.corr)
def corr(
    x: Any, y: Any, weight: Any = None, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False
) -> Lazy:
    """The correlation of two lists of each event."""
    options = {"keepdims": keepdims, "mask_identity": mask_identity}
    x, y, w, _ = _centred(x, y, weight, axis)
    xx, yy, xy = (_sum(_weighted(product, w), axis, options) for product in (x**2, y**2, x * y))
    return xy / np.sqrt(xx * yy)  # type: ignore[no-any-return]


@function(ak.linear_fit)
def linear_fit(
    x: Any, y: Any, weight: Any = None, axis: Any = None, *, keepdims: bool = False, mask_identity: bool = False
) -> Lazy:
    """A straight line through the points of each event, or of the whole dataset, with its errors."""
    options = {"keepdims": keepdims, "mask_identity": mask_identity}
    x, y, w = _arrays(axis, x, y, weight)
    x, y = _real(x), _real(y)
    n = ak.count(x, axis=axis, **options) if w is None else _sum(x * 0 + w, axis, options)
    sx, sy, sxx, sxy = (_sum(_weighted(product, w), axis, options) for product in (x, y, x * x, x * y))
    delta = n * sxx - sx * sx
    fit = {
        "intercept": (sxx * sy - sx * sxy) / delta,
        "slope": (n * sxy - sx * sy) / delta,
        "intercept_error": np.sqrt(sxx / delta),
        "slope_error": np.sqrt(n / delta),
    }
    return ak.zip(fit, with_name="LinearFit", depth_limit=1)  # type: ignore[no-any-return]


def _sum(x: Lazy, axis: Any, options: dict[str, bool]) -> Any:
    return ak.sum(x, axis=axis, **options)


def _weighted(x: Any, weight: Any) -> Any:
    return x if weight is None else x * weight


def _mean(x: Any, weight: Any, axis: Any) -> Any:
    return mean(x, weight, axis, keepdims=True)


def _centred(x: Any, y: Any, weight: Any, axis: Any) -> tuple[Any, Any, Any, Any]:
    """Two arrays less their means, the weight, and the first array as it was."""
    if axis is None:
        raise Opaque
    x, y, weight = _arrays(axis, x, y, weight)
    return x - _mean(x, weight, axis), y - _mean(y, weight, axis), weight, x


def _arrays(axis: Any, *arrays: Any) -> list[Any]:
    """The arguments of a statistic as lazy arrays or numbers; None stays.

    Raises Opaque where they are not lists of the same depth, reduced at the innermost level.
    """
    some = [array for array in arrays if array is not None]
    forms, rows, guard = together(some)
    made = iter([form if _literal(form) else Lazy(form, rows, guard) for form in forms])
    found = [None if array is None else next(made) for array in arrays]
    found = [array.node.param.value if isinstance(array, Scalar) else array for array in found]
    if not isinstance(found[0], Lazy) or any(isinstance(a, Lazy) and a.ndim > found[0].ndim for a in found):
        raise Opaque
    _innermost(found[0], axis)
    return found


def _double(x: Any) -> Any:
    """Numbers in double precision, as awkward adds them up for a mean."""
    return ak.values_astype(x, "float64") if _kind(x._form) != "c" else x


def _real(x: Any) -> Any:
    """Numbers whose products do not overflow: whole ones in double precision."""
    return ak.values_astype(x, "float64") if _kind(x._form) in "biu" else x


def _literal(form: Form) -> bool:
    return isinstance(form, Scalar) and form.node.op == "literal"


def _kind(form: Form) -> str:
    found = innermost(form)
    if isinstance(found, Record):
        raise Opaque
    return found.node.dtype.kind


def _innermost(x: Lazy, axis: Any) -> None:
    """Raises Opaque where a reduction is not one of the innermost lists of an array, nor of the whole dataset."""
    if axis is not None and x.ndim > 1 and level_of(x, axis) not in (0, x.ndim - 1):
        raise Opaque

"""Cache of schedules: kernels of this process, for the same results of the same or other files.

Two graphs are the same if they differ in nothing but the dataset and parameters (see `parameters.py`). A kernel of one
then serves the other, with the items of the other in the places of its own. Only kernels of files are kept: those of
arrays in memory would keep the arrays.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hepgraph.graph.node import Item, Map, Node, Space, ordered
from hepgraph.io.memory import MemorySource
from hepgraph.kernel.arrays import as_it_is, place_of
from hepgraph.kernel.output import Compiled, Output
from hepgraph.kernel.parameters import Parameters
from hepgraph.limits import limits

Outputs = Sequence[Output | str]


@dataclass(frozen=True)
class _Kept:
    order: list[Item]
    compiled: Compiled


_lock = threading.Lock()
_same: OrderedDict[Hashable, _Kept] = OrderedDict()  # by the items themselves
_alike: OrderedDict[Hashable, _Kept] = OrderedDict()  # by the rows of the graph


def compiled_once(origin: Any, outputs: Outputs, make: Callable[[], Compiled]) -> Compiled:
    """The kernel for outputs: one that this process has for the same graph, or a fresh one."""
    if isinstance(origin.source, MemorySource):
        return make()
    exact = _key_of(outputs, lambda item: item)
    if exact is None:
        return make()
    exact = (origin, _settings(), exact)
    found = _looked_up(_same, exact)
    if found is not None:
        return found.compiled
    order = ordered(_roots(outputs))
    alike = _rows(origin, outputs, order)
    found = None if alike is None else _looked_up(_alike, alike)
    compiled = None if found is None else _moved(found, origin, outputs, order)
    kept = _Kept(order, make() if compiled is None else compiled)
    if alike is not None:
        _keep(_same, exact, kept)
        _keep(_alike, alike, kept)
    return kept.compiled


def _settings() -> Hashable:
    """Settings on which the text of a kernel depends, beside the graph."""
    return bool(os.environ.get("HEPGRAPH_KERNEL_CHECK")), limits()


def _looked_up(kept: OrderedDict[Hashable, _Kept], key: Hashable) -> _Kept | None:
    with _lock:
        if key in kept:
            kept.move_to_end(key)
        return kept.get(key)


def _keep(kept: OrderedDict[Hashable, _Kept], key: Hashable, value: _Kept) -> None:
    with _lock:
        kept[key] = value
        while len(kept) > limits().kept:
            kept.popitem(last=False)


def _roots(outputs: Outputs) -> list[Item]:
    """The items that outputs name."""
    found: list[Item] = []
    for output in outputs:
        if isinstance(output, Output):
            found += [item for fill in output.fills for item in fill.wants]
            found += [*output.parts, *output.items]
            found += [node for item in output.items if not as_it_is(item) for node in place_of(item)[1]]
    return found


def _key_of(
    outputs: Outputs, token: Callable[[Item], Hashable], place: Callable[[Any], Hashable] = lambda _: None
) -> Hashable | None:
    """The content of outputs; None if that of a histogram cannot be written down.

    Weights that have a place as parameters are known by that.
    """

    def told(x: Any) -> Hashable:
        if isinstance(x, Space | Map | Node):
            return token(x)
        if isinstance(x, tuple):
            return tuple(map(told, x))
        return type(x), repr(x)

    found: list[Hashable] = []
    for output in outputs:
        if isinstance(output, str):
            found.append(output)
            continue
        try:
            empty = None if output.empty is None else pickle.dumps(output.empty)
        except (TypeError, AttributeError, pickle.PicklingError):
            return None
        weights = tuple([None if isinstance(fill.weight, Node) else place(fill.weight) for fill in output.fills])
        fills = tuple(
            (fill.entries, fill.args, fill.weight if known is None else None, fill.sample, fill.must)
            for fill, known in zip(output.fills, weights, strict=True)
        )
        found.append((output.kind, empty, told(fills), weights, told(output.parts), told(output.items)))
    return tuple(found)


def _rows(origin: Any, outputs: Outputs, order: Sequence[Item]) -> Hashable | None:
    """The graph as rows that do not say of which dataset it is; None if it is of several, or has opaque functions.

    Of parameters they have the places.
    """
    number = {item: k for k, item in enumerate(order)}
    parameters = Parameters.of(order, outputs)
    rows: list[Hashable] = []
    for item in order:
        param = item.param
        if type(param) is tuple and param and type(param[0]) is type(origin):
            param = (param[0] == origin or param[0], *param[1:])
        elif type(param) is type(origin):
            param = param == origin or param
        if (type(param) is tuple and param and type(param[0]) is type(origin)) or type(param) is type(origin):
            return None
        below = tuple([number[each] for each in item.inputs])
        if isinstance(item, Node):
            if item.op == "call":
                return None
            place = parameters.place(item)
            rows.append((item.op, below, item.dtype, param if place is None else place))
        else:
            rows.append((type(item), item.kind, below, param))
    key = _key_of(outputs, number.__getitem__, parameters.place)
    return _settings(), key, tuple(rows)


def _moved(kept: _Kept, origin: Any, outputs: Outputs, order: Iterable[Item]) -> Compiled | None:
    """The same for another dataset; None if the kernel has items that are not in the graph."""
    compiled = kept.compiled
    if compiled.kernel is None:
        return compiled
    new = dict(zip(kept.order, order, strict=True))
    own = [outputs[k] for k in compiled.native]
    kernel = compiled.kernel.moved(origin, own, new)
    return None if kernel is None else Compiled(kernel, compiled.native, compiled.plain)

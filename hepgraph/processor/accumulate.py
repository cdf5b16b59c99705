"""How results of several datasets, or of several chunks, add up."""

from __future__ import annotations

import copy
import numbers
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Any

import awkward as ak
import boost_histogram as bh
import numpy as np

from hepgraph.errors import ProcessorError, VariationError
from hepgraph.functions.lines import Line, code_at, place
from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.form import Option, Scalar, items
from hepgraph.graph.node import Node
from hepgraph.hist.histogram import Hist
from hepgraph.hist.variations import added
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.results import NOMINAL, ByVariation, Variations, known_as
from hepgraph.lazy.varied import Varied


def accumulate(a: Any, b: Any) -> Any:
    """Two results as one: dicts key by key, histograms and numbers added, lists and arrays joined, sets united.

    Raises ProcessorError, naming the key, for what does not add up.

    >>> accumulate({"n": 1, "files": ["a"]}, {"n": 2, "files": ["b"], "m": 0.5})
    {'n': 3, 'files': ['a', 'b'], 'm': 0.5}
    """
    return total([a, b])


def total(results: Iterable[Any], where: str = "") -> Any:
    """Several results as one, as `accumulate` has it; all at once, as one may know variations that others do not.

    >>> total([{"n": 1}, None, {"n": 2}, {"n": 3}])
    {'n': 6}
    """
    parts = [part for part in results if part is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    for part in parts:
        if isinstance(part, Apart):
            raise part.error(where)
    if any(isinstance(part, Variations) for part in parts):
        each = [part if isinstance(part, Variations) else {NOMINAL: part} for part in parts]
        return Variations(
            {
                name: total([part[known] for part, known in zip(each, found, strict=True)], f"{where}[{name!r}]")
                for name, found in _known_as(each, where).items()
            }
        )
    if all(isinstance(part, Mapping) for part in parts):
        out: Any = copy.copy(parts[0]) if isinstance(parts[0], MutableMapping) else dict(parts[0])
        for key in dict.fromkeys(key for part in parts for key in part):
            out[key] = total([part[key] for part in parts if key in part], f"{where}[{key!r}]")
        return out
    if all(isinstance(part, bh.Histogram) for part in parts):
        with _place(where):
            return added(parts, lambda a, b: _same_axes(a, b, where))
    if all(isinstance(part, ByVariation) for part in parts):
        with _place(where):
            return type(parts[0])._total(parts)
    if all(isinstance(part, ak.Array) for part in parts):
        return ak.concatenate(parts)
    return reduce(lambda a, b: _of_two(a, b, where), parts)


def check_combinations(outputs: Iterable[Any], where: str = "") -> None:
    """Raises VariationError if one of several recorded outputs lacks a combination whose parts it has."""
    parts = list(outputs)
    if all(isinstance(part, Mapping) for part in parts):
        for key in dict.fromkeys(key for part in parts for key in part):
            check_combinations([part[key] for part in parts if key in part], f"{where}[{key!r}]")
    else:
        _known_as([part.variations or (NOMINAL,) for part in parts if isinstance(part, Hist | Varied)], where)


def _known_as(parts: Sequence[Collection[str]], where: str) -> dict[str, list[str]]:
    """For each variation that one of several results has, what it is in each of them."""
    with _place(where):
        return {name: [known_as(name, part) for part in parts] for name in dict.fromkeys(chain(*parts))}


@contextmanager
def _place(where: str) -> Iterator[None]:
    """Notes the place in the output with an error about variations."""
    try:
        yield
    except VariationError as error:
        error.add_note(f"in output{where}")
        raise


def _of_two(a: Any, b: Any, where: str) -> Any:
    match a, b:
        case (bool() | np.bool_(), _) | (_, bool() | np.bool_()):
            raise _no(a, b, where)
        case (numbers.Number() | np.ndarray(), numbers.Number() | np.ndarray()):
            x, y = np.asarray(a), np.asarray(b)
            if x.shape != y.shape:
                raise _no(a, b, where)
            return x + y if x.ndim else operator.add(a, b)
        case (list(), list()) | (set(), set()):
            return a + b if isinstance(a, list) else a | b
        case (tuple(), tuple()) if len(a) == len(b) and type(a) is type(b):
            parts = [total(pair, f"{where}[{i}]") for i, pair in enumerate(zip(a, b, strict=True))]
            return type(a)(*parts) if hasattr(a, "_fields") else type(a)(parts)
        case _ if type(a) is type(b) and not isinstance(a, str | bytes | tuple) and hasattr(a, "__add__"):
            return a + b
    raise _no(a, b, where)


def nothing_like(x: Any, where: str = "") -> Any:
    """A result like another, of no events: what one variation has nothing of. Raises ProcessorError if there is none.

    >>> nothing_like({"n": 3, "files": ["a"]})
    {'n': 0, 'files': []}
    """
    match x:
        case Mapping():
            made: Any = copy.copy(x) if isinstance(x, MutableMapping) else dict(x)
            made.update({key: nothing_like(value, f"{where}[{key!r}]") for key, value in x.items()})
            return made
        case bh.Histogram():
            return x.copy().reset()
        case ByVariation():
            return x._nothing()
        case np.ndarray():
            return np.zeros_like(x)
        case numbers.Number():
            return type(x)(0)  # type: ignore[call-arg]
        case ak.Array():
            return x[:0]
        case list() | set():
            return type(x)()
        case tuple():
            parts = [nothing_like(part, f"{where}[{i}]") for i, part in enumerate(x)]
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    raise ProcessorError(
        f"output{where}, a {type(x).__name__}, is there in some variations and not in others, and what it is of no "
        "events is not known. Return it in all of them: make it before an `if` or a loop that looks at the events."
    )


@dataclass(frozen=True)
class Apart:
    """A number that is right for its dataset alone: a recorded maximum, mean or ratio; `line` is the user's."""

    value: Any
    line: Line | None

    def error(self, where: str) -> ProcessorError:
        """The error for one that is to be added to that of another dataset."""
        code = code_at(self.line) if self.line else ""
        told = f"\n  {place(self.line)}: {code}" if self.line else ""
        return ProcessorError(
            f"output{where} does not add up: several datasets have it, and it is no sum, but a maximum, a mean or "
            f"what was calculated from sums.{told}\nReturn it by dataset, {{events.metadata['dataset']: ...}}; or "
            "return its sums, and calculate it in postprocess."
        )


def apart(x: Any, value: Any) -> Any:
    """The value of a recorded result, apart from those of other datasets if it is a reduction and no sum."""
    if isinstance(x, Varied):
        return Variations({name: apart(each, value[name]) for name, each in x._each.items()})
    if not isinstance(x, Lazy) or x._rows is not TOTAL or is_sum(x):
        return value
    return Apart(value, next((item.line for item in items(x._form) if isinstance(item, Node) and item.line), None))


def alone(results: Iterable[Any]) -> dict[int, Any]:
    """The values of those results that are right for their datasets alone, by the identity of what stands for them."""
    found: dict[int, Any] = {}
    for each in results:
        if isinstance(each, Apart):
            found[id(each)] = each.value
        elif isinstance(each, Variations):
            found |= alone(each.values())
    return found


def is_sum(x: Lazy) -> bool:
    """Whether a recorded reduction over a dataset adds up to that over several: a sum or count, or multiples of such.

    >>> import hepgraph as hg
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0]))
    >>> is_sum(2 * ak.sum(x) - ak.count(x)), is_sum(ak.max(x)), is_sum(ak.sum(x) / ak.count(x))
    (True, False, False)
    """
    return not isinstance(x._form, Option | Scalar) or (isinstance(x._form, Scalar) and _adds(x._form.node))


def _adds(node: Any) -> bool:
    constant = [arg.op == "literal" for arg in node.args if isinstance(arg, Node)]
    match node.op:
        case "count":
            return True
        case "literal":
            return bool(node.param.value == 0)  # with which Python's sum() begins
        case "reduce":
            return bool(node.param == "sum")
        case "add" | "subtract":
            return all(_adds(arg) for arg in node.args)
        case "negative" | "positive":
            return _adds(node.args[0])
        case "multiply":
            return sum(constant) == 1 and _adds(node.args[constant.index(False)])
        case "divide":
            return constant[1] and _adds(node.args[0])
        case "astype":
            return (node.dtype.kind in "fc" or node.args[0].dtype.kind in "biu") and _adds(node.args[0])
    return False


_WANTED = (
    "A processor returns a dict (nested as you like) of histograms, numbers, arrays, lists, sets, or lazy values of "
    "those."
)


def _no(a: Any, b: Any, where: str) -> ProcessorError:
    return ProcessorError(f"output{where} does not add up: {type(a).__name__} and {type(b).__name__}. {_WANTED}")


def _same_axes(a: Any, b: Any, where: str) -> None:
    same = a.ndim == b.ndim and all(_fit(x, y) for x, y in zip(a.axes, b.axes, strict=True))
    if not same or a.storage_type is not b.storage_type:
        raise ProcessorError(
            f"output{where} does not add up: two histograms with different axes or storages.\n  {a!r}\n  {b!r}"
        )


def _fit(x: Any, y: Any) -> bool:
    """Whether two axes are the same, or have grown from the same."""
    if x == y:
        return True
    if type(x) is not type(y) or x.traits != y.traits or not x.traits.growth or x.__dict__ != y.__dict__:
        return False
    if isinstance(x, bh.axis.Regular):
        one, two = ((axis.edges[-1] - axis.edges[0]) / len(axis) for axis in (x, y))
        shift = (x.edges[0] - y.edges[0]) / one
        return bool(np.isclose(one, two) and np.isclose(shift, round(shift), atol=1e-6))
    return not isinstance(x, bh.axis.Variable)


def check(output: Any, where: str = "") -> None:
    """Raises ProcessorError if there is something in an output that can never add up."""
    match output:
        case None if not where:
            raise ProcessorError("process() returned None; return a dict of histograms and other results.")
        case None:
            raise ProcessorError(
                f"output{where} is None; return a dict of histograms and other results, none of them None."
            )
        case Mapping():
            for key, value in output.items():
                check(value, f"{where}[{key!r}]")
        case list() if any(isinstance(part, bh.Histogram | ByVariation) for part in output):
            raise ProcessorError(
                f"output{where} is a list with histograms or cutflows. Lists of chunks and datasets are joined, and "
                "not added up: return a dict or a tuple of them."
            )
        case str() | bytes() | bool() | np.bool_():
            raise ProcessorError(f"output{where} does not add up: a {type(output).__name__}. {_WANTED}")
        case list() | tuple() | set() | numbers.Number() | np.ndarray() | np.generic() | ak.Array() | bh.Histogram():
            pass
        case _ if hasattr(output, "__add__"):
            pass
        case _:
            raise ProcessorError(f"output{where} does not add up: {type(output).__name__} has no +. {_WANTED}")

"""The state of a processor: each call gets its own, as it was before the run, and may not count on what is outside.

A processor is called for each dataset where it is recorded, for each chunk where it runs eagerly, in several threads or
processes, and again in the next run. So `self` is a copy each time. Variables of modules, closures and classes cannot
be copied: what adds up there is refused.
"""

from __future__ import annotations

import copy
import dis
import functools
import hashlib
import numbers
import random
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import awkward as ak
import boost_histogram as bh
import numpy as np

from hepgraph.errors import ProcessorError
from hepgraph.functions.packages import users_own
from hepgraph.graph.canonical import TOTAL
from hepgraph.lazy.array import Lazy

_LONG = 1000  # elements of lists that are looked at one by one, for histograms among them
_HUGE = 1 << 24  # bytes of arrays that are not copied, but cannot be changed
_LARGE = 1 << 20  # bytes of arrays outside that are looked at: tables are larger, counts are not
_PLAIN = (numbers.Number, str, bytes, Enum, BaseException, type, types.ModuleType, Lazy)
_DRAWN = (random.Random, np.random.Generator, np.random.RandomState)


# copies


def fresh(processor: Any) -> Any:
    """The processor with a state of its own: what a call changes there is gone afterwards.

    Containers, histograms, arrays, and objects of the user's own classes are copied, with what is in them, and so are
    the attributes of such classes. Anything else (files, sessions, models, functions) is shared, and so are arrays of
    more than 16 MB, which a call may not change: NumPy raises there.

    >>> one = {"n": [0]}
    >>> two = fresh(one)
    >>> two["n"][0] += 1
    >>> one, two
    ({'n': [0]}, {'n': [1]})
    """
    return _copied(processor, {})


def _copied(thing: Any, known: dict[int, Any]) -> Any:
    """A copy of anything, or the thing itself; `known` has what is copied already, by identity."""
    if id(thing) in known:
        return known[id(thing)]
    made = thing
    match thing:
        case _ if isinstance(thing, _PLAIN) or thing is None:
            return thing
        case bh.Histogram():
            made = thing.copy()
        case np.ndarray() if thing.flags.writeable and thing.nbytes > _HUGE:
            made = thing.view()
            made.flags.writeable = False
        case np.ndarray() if thing.flags.writeable:
            made = thing.copy(order="K")
        case np.ndarray():
            return thing
        case ak.Array() | ak.Record():
            made = copy.copy(thing)  # its fields can be set
        case dict():
            made = known[id(thing)] = copy.copy(thing)
            for key, value in thing.items():
                dict.__setitem__(made, key, _copied(value, known))
        case list():
            made = known[id(thing)] = copy.copy(thing)
            made[:] = [_copied(value, known) for value in thing]
        case tuple():
            parts = [_copied(value, known) for value in thing]
            if any(one is not two for one, two in zip(parts, thing, strict=True)):
                made = type(thing)(*parts) if hasattr(thing, "_fields") else type(thing)(parts)
        case set() | bytearray():
            made = copy.copy(thing)
        case types.MethodType():
            made = types.MethodType(thing.__func__, _copied(thing.__self__, known))
        case functools.partial():
            options = {key: _copied(value, known) for key, value in thing.keywords.items()}
            made = functools.partial(
                _copied(thing.func, known), *(_copied(arg, known) for arg in thing.args), **options
            )
        case types.FunctionType():
            made = _about(thing, known)
        case _ if hasattr(type(thing), "__del__"):  # which closes what it shares with its copy
            return thing
        case _ if isinstance(thing, _DRAWN) or hasattr(type(thing), "__iadd__") or hasattr(type(thing), "__deepcopy__"):
            made = _deeply(thing)
        case _ if users_own(type(thing).__module__):
            return _instance(thing, known)
    if isinstance(thing, dict | list) and hasattr(made, "__dict__"):
        made.__dict__.update({name: _copied(value, known) for name, value in vars(thing).items()})
    known[id(thing)] = made
    return made


def _deeply(thing: Any) -> Any:
    """A copy of something that adds up, or knows how it is copied; itself, if that cannot be done."""
    try:
        return copy.deepcopy(thing)
    except Exception:  # whatever its authors raise: what is inside of it is theirs
        return thing


def _instance(thing: Any, known: dict[int, Any]) -> Any:
    """A copy of an object of a class of the user's own."""
    try:
        made = known[id(thing)] = object.__new__(type(thing))
    except TypeError:  # its memory is laid out by another language
        known[id(thing)] = thing
        return thing
    state = dict(getattr(thing, "__dict__", {}))
    own = [kind for kind in type(thing).__mro__ if users_own(kind.__module__)]
    if hasattr(made, "__dict__"):
        for kind in own:
            for name, value in vars(kind).items():
                if not name.startswith("__") and isinstance(value, bh.Histogram | np.ndarray | dict | list | set):
                    state.setdefault(name, value)
    for kind in type(thing).__mro__:
        for name, value in vars(kind).items():
            if isinstance(value, types.MemberDescriptorType) and hasattr(thing, name):
                value.__set__(made, _copied(getattr(thing, name), known))
    for name, value in state.items():
        made.__dict__[name] = _copied(value, known)
    return made


def _about(function: Any, known: dict[int, Any]) -> Any:
    """A function that closes over something copied closes over the copy instead."""
    cells = function.__closure__ or ()
    found = [known.get(id(cell.cell_contents)) if _filled(cell) else None for cell in cells]
    if all(each is None for each in found):
        return function
    closure = tuple(cell if each is None else types.CellType(each) for cell, each in zip(cells, found, strict=True))
    made = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, closure
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return functools.update_wrapper(made, function, updated=("__dict__",))


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # an empty cell
        return False


# what is outside


class OutsideState:
    """Variables that outlive a call of a processor: of modules, closures and classes that its code looks up."""

    def __init__(self, process: Any, each: str) -> None:
        self._roots, self.each = functools.partial(_variables, process), each
        self._before = _state(self._roots())

    def check(self, output: Any) -> None:
        """Raises ProcessorError if the call has added something up outside, or returned what others will have too.

        It would be counted again for `each` dataset, or chunk.
        """
        after = _state(self._roots())
        for place, (old, shown) in self._before.items():
            new, seen = after.get(place, (None, None))
            if _adds(old) and not _same(shown, seen) and (old is new or _is_number(old)):
                raise ProcessorError(
                    f"process() changed {place}, {_called(old)} that outlives the call, and would be counted again for "
                    f"each {self.each} and each run. Keep it in self, of which each {self.each} gets a copy, or make "
                    "it anew in process(), and return it."
                )
        kept = {id(value): place for place, (value, _) in [*self._before.items(), *after.items()]}
        for part in _parts(output):
            place = kept.get(id(part), "")
            if not place or (_fixed(part) and _same(self._before.get(place, after[place])[1], after[place][1])):
                continue
            raise ProcessorError(
                f"process() returned {place}, {_called(part)} that outlives the call, and would be counted once for "
                f"each {self.each}. Make it anew in process(), or return a copy."
            )


def _called(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _is_number(value: Any) -> bool:
    return (isinstance(value, numbers.Number) and not isinstance(value, bool | np.bool_)) or _is_total(value)


def _adds(value: Any) -> bool:
    """Whether a change of a value means that something was added up."""
    return _is_number(value) or isinstance(value, bh.Histogram | np.ndarray)


def _is_total(value: Any) -> bool:
    """Whether a value is a recorded reduction over a dataset: a number, when it is computed."""
    return isinstance(value, Lazy) and value._at("nominal")._rows is TOTAL


def _fixed(value: Any) -> bool:
    """Whether a value may be returned although others see it, if it stays as it is."""
    return isinstance(value, list | set | np.ndarray)


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(a is b or _same(a, b) for a, b in zip(one, two, strict=True))
    if one is two:
        return True
    if isinstance(one, Lazy) or isinstance(two, Lazy) or type(one) is not type(two):
        return False
    return bool(one == two or (one != one and two != two)) if _is_number(one) or isinstance(one, bytes) else False


def _parts(output: Any) -> Iterator[Any]:
    """All in an output that could be changed in place."""
    waiting, seen = [output], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, str | bytes | Lazy | ak.Array | np.generic | numbers.Number):
            continue
        seen.add(id(each))
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list | tuple) and len(each) < _LONG:  # no list of histograms, but of names or numbers
            waiting += each
        if not isinstance(each, tuple):
            yield each


def _state(roots: Iterator[tuple[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """All that some variables lead to, by place: the value, and a fingerprint of it where it may change."""
    waiting, seen = list(roots), set()
    found: dict[str, tuple[Any, Any]] = {}
    while waiting:
        place, value = waiting.pop()
        if place in found or (id(value) in seen and not _is_number(value)):
            continue
        seen.add(id(value))
        shown: Any = None
        match value:
            case _ if _is_total(value):
                shown = value
            case Lazy() | str() | bytes() | type() | types.ModuleType() | None:
                continue
            case numbers.Number():
                shown = value
            case bh.Histogram():
                view = bh.Histogram.view(value, flow=True)  # that of hg.Hist refuses while fills are waiting
                shown = (_digest(view), tuple(getattr(value, "fills", ())))
            case np.ndarray():
                shown = _digest(value) if value.nbytes <= _LARGE else None
            case Mapping():
                waiting += [(f"{place}[{key!r}]", part) for key, part in value.items()]
            case list() | tuple() | set():
                shown = tuple(value) if len(value) < _LONG else len(value)
                if not isinstance(value, set) and len(value) < _LONG:
                    waiting += [(f"{place}[{i}]", part) for i, part in enumerate(value)]
            case _ if users_own(type(value).__module__) and hasattr(value, "__dict__"):
                waiting += [(f"{place}.{name}", part) for name, part in vars(value).items()]
            case _ if not hasattr(type(value), "__iadd__"):
                continue
        found[place] = value, shown
    return found


def _digest(array: Any) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def _variables(process: Any) -> Iterator[tuple[str, Any]]:
    """The variables outside of a processor that its code looks up."""
    return ((place, value) for place, value in _reached(process) if not isinstance(value, types.CodeType))


_RANDOM = {"normal", "poisson", "seed", "shuffle"}


def draws(processor: Any) -> bool:
    """Whether the code of a processor seems to draw random numbers.

    >>> draws(len)
    False
    """
    process = getattr(processor, "process", processor)
    codes = [code for _, code in _reached(process) if isinstance(code, types.CodeType)]
    names = {name.lower() for code in codes for name in _names(code)[1]}
    return bool(names & _RANDOM) or any(part in name for name in names for part in ("random", "rng", "smear"))


def _reached(process: Any) -> Iterator[tuple[str, Any]]:
    """The code of a processor, and the variables that it looks up, through functions and classes of the user's own."""
    waiting, seen = [process], set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, types.MethodType):
            waiting += [each.__func__, each.__self__ if isinstance(each.__self__, type) else type(each.__self__)]
            continue
        if isinstance(each, functools.partial):
            waiting.append(each.func)
            continue
        if id(each) in seen or not users_own(getattr(each, "__module__", None) or ""):
            continue
        seen.add(id(each))
        named: list[tuple[str, Any]] = []
        if isinstance(each, type):
            waiting += each.__mro__[1:]
            named = [
                (f"{each.__name__}.{name}", value)
                for name, value in vars(each).items()
                if not name.startswith("__") or callable(value)
            ]
        elif isinstance(each, types.FunctionType):
            yield each.__name__, each.__code__
            named = list(_looked_up(each))
        else:
            waiting.append(type(each))
        for place, value in named:
            inner = getattr(value, "__func__", getattr(value, "fget", getattr(value, "__wrapped__", value)))
            if isinstance(inner, type | types.FunctionType | types.MethodType | functools.partial):
                waiting.append(inner)
            else:
                yield place, value


def _looked_up(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The variables of modules and closures that a function looks up, and its default values.

    Numbers that it does not assign are left out: who changes them is somebody else.
    """
    names, attributes, stored = _names(function.__code__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if _filled(cell) and (name in stored or not _is_number(cell.cell_contents)):
            yield name, cell.cell_contents
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    yield from ((f"default {i} of {function.__name__}", value) for i, value in enumerate(defaults))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType) and users_own(value.__name__):
            yield from ((f"{name}.{each}", vars(value)[each]) for each in attributes if each in vars(value))
        elif value is not None and (name in stored or not _is_number(value)):
            yield name, value


@functools.lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The names in a function and those inside of it: of variables of modules, of anything, and those assigned."""
    steps = list(dis.get_instructions(code))
    found = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL")}
    stored = {step.argval for step in steps if step.opname in ("STORE_GLOBAL", "STORE_DEREF")}
    every = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            for mine, its in zip((found, every, stored), _names(const), strict=True):
                mine.update(its)
    return frozenset(found), frozenset(every), frozenset(stored)

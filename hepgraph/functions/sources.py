"""Random generators and iterators that a function takes from: its result depends on the calls before.

A recorded function is called for range after range, in several threads or processes, and for each variation: such
numbers would be others with other ranges, and the same in two processes.
"""

from __future__ import annotations

import dis
import random
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from hepgraph.errors import RandomError
from hepgraph.functions.lookups import codes, reads_of
from hepgraph.functions.packages import users_own

DRAWN = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)
_PYTHONS = {"builtins", "itertools"}  # whose iterators these are
_CALLED = {"__call__", "__getitem__", "__array_ufunc__"}  # methods that are called without a name
_MOST = 1000  # elements of containers that are looked at


def check_repeatable(title: str, things: Mapping[str, Any]) -> None:
    """Raises RandomError if functions, or their arguments, lead to something that goes on from call to call.

    Objects of the user's own are looked at as far as the functions name their attributes, those of packages are not.

    Parameters
    ----------
    title : str
        The name of the function.
    things : dict of str to Any
        The function and all that it gets, by how to speak of them.

    Examples
    --------
    >>> check_repeatable("f", {"an argument": [1.0, iter([1, 2])]})
    Traceback (most recent call last):
    ...
    hepgraph.errors.RandomError: f takes from an argument, a list_iterator, which goes on from call to call: ...
    """
    found = next(_sources(things), None)
    if found is None:
        return
    place, source = found
    draws = isinstance(source, DRAWN)
    advice = (
        "Make them of the number of the event: README.md has a recipe, 'Random numbers'. Or make the generator inside "
        "of the function, np.random.default_rng([seed, event]) for each event."
        if draws
        else "Give what it yields as a list or an array, or make the iterator inside of the function."
    )
    raise RandomError(
        f"{title} {'draws' if draws else 'takes'} from {place}, a {type(source).__name__}, which goes on from call to "
        "call: the numbers of an event would depend on how the data are cut into ranges, on the executor, and on what "
        f"else is computed.\n{advice}"
    )


def _sources(things: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All that goes on from call to call which some functions and arguments lead to, and how to speak of it."""
    waiting = [(place, thing, True) for place, thing in things.items()]  # the last: whether it may be called
    seen, names = set[tuple[int, bool]](), set[str]()
    unnamed: list[tuple[str, Any]] = []  # attributes that no function seen so far looks up
    while waiting:
        place, thing, called = waiting.pop()
        if (id(thing), called) in seen:
            continue
        seen.add((id(thing), called))
        if _goes_on(thing):
            yield place, thing
        elif isinstance(thing, FunctionType) and _is_own(thing):
            waiting += _read_by(thing)
            names |= reads_of(thing.__code__).names
        else:
            waiting += ((place, part, called and not isinstance(thing, MethodType)) for part in _parts(thing))
            unnamed += _attributes(thing)
            waiting += [(name, value, True) for name, value in _attributes(thing) if called and _end(name) in _CALLED]
        waiting += [(name, value, True) for name, value in unnamed if _end(name) in names]
        unnamed = [each for each in unnamed if _end(each[0]) not in names]


def _is_own(thing: FunctionType | type) -> bool:
    module = thing.__module__
    return isinstance(module, str) and users_own(module)  # Cython's functions are of a class that has no name there


def _end(place: str) -> str:
    return place.rpartition(".")[2]


def _goes_on(thing: Any) -> bool:
    return isinstance(thing, DRAWN) or (isinstance(thing, Iterator) and type(thing).__module__ in _PYTHONS)


def _read_by(function: FunctionType) -> Iterator[tuple[str, Any, bool]]:
    """The variables that a function reads, its default values and attributes, how to speak of them, what is called."""
    reads = reads_of(function.__code__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield from ((name, value, name in reads.bare) for value in _content(cell))
    yield from ((name, function.__globals__.get(name), name in reads.bare) for name in reads.globals)
    yield from ((".".join(path), value, True) for path, value in _of_modules(function))
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    yield from ((f"a default value of {function.__name__}", value, True) for value in defaults)
    yield from ((name, value, True) for name, value in vars(function).items())


def _of_modules(function: FunctionType) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The attributes of modules that a function looks up: `np.random.normal` draws from a generator, too."""
    for path in _paths(function.__code__):
        value = function.__globals__.get(path[0])
        for name in path[1:]:
            value = getattr(value, name, None) if isinstance(value, ModuleType) else None
        if value is not None:
            yield path, value


@lru_cache(maxsize=4096)
def _paths(code: CodeType) -> tuple[tuple[str, ...], ...]:
    """The names of globals in a function, each with one attribute, with two, ..."""
    found: list[tuple[str, ...]] = []
    for each in codes(code):
        path: tuple[str, ...] = ()
        for step in dis.get_instructions(each):
            if step.opname == "LOAD_GLOBAL":
                path = (step.argval,)
            elif path and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                path = (*path, step.argval)
                found.append(path)
            else:
                path = ()
    return tuple(dict.fromkeys(found))


def _content(cell: CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # it is empty
        return []


def _parts(thing: Any) -> Iterable[Any]:
    """The parts of a function or container, and the class of an object of the user's own."""
    match thing:
        case MethodType():
            return thing.__func__, thing.__self__
        case BuiltinFunctionType():
            return (thing.__self__,)
        case partial():
            return thing.func, *thing.args, *thing.keywords.values()
        case classmethod() | staticmethod():
            return (thing.__func__,)
        case property():
            return (thing.fget,)
        case dict() if len(thing) <= _MOST:
            return thing.values()
        case list() | tuple() | set() | frozenset() if len(thing) <= _MOST:
            return thing
        case _ if _is_own(type(thing)):
            return (type(thing),)
    return ()


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of a class, an object or a module of the user's own, and how to speak of them."""
    if isinstance(thing, ModuleType):
        if users_own(thing.__name__):
            yield from ((f"{thing.__name__}.{name}", value) for name, value in vars(thing).items())
    elif isinstance(thing, type):
        own = [kind for kind in thing.__mro__ if _is_own(kind)]
        yield from ((f"{thing.__name__}.{name}", value) for kind in own for name, value in vars(kind).items())
    elif _is_own(type(thing)) and hasattr(thing, "__dict__"):
        yield from ((f"{type(thing).__name__}.{name}", value) for name, value in vars(thing).items())


__all__ = ["DRAWN", "check_repeatable"]

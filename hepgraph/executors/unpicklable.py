"""Which part of a thing cannot be pickled, in words: the attribute, the variable or the global that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from hepgraph.functions import pickling

_DEEP = 60


def culprit(thing: Any, error: BaseException) -> str:
    """A message that names the innermost part of `thing` that cannot be pickled, and who holds it."""
    said, seen = "the analysis", {id(thing)}
    for _ in range(_DEEP):
        for name, part in _parts(thing, said):
            if id(part) in seen or (failure := _failure(part)) is None:
                continue
            seen.add(id(part))
            thing, said, error = part, name, failure
            break
        else:
            break
    kind = type(thing)
    title = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return (
        f"{said} cannot be sent to another process: it is a {title} ({error}).\n"
        "For a function of hg.map_partitions, make it in another, setup=make: make() is called once in each process, "
        "and the function gets what it returned first. Else make it inside of process(), or leave it out of what is "
        "pickled with __getstate__."
    )


def _failure(part: Any) -> BaseException | None:
    try:
        pickling.dumps(part)
    except Exception as error:  # whatever a __reduce__ raises is the answer
        return error
    return None


def _parts(thing: Any, said: str) -> Iterator[tuple[str, Any]]:
    """The parts of a thing, each with how to speak of it."""
    match thing:
        case MethodType():
            yield said, thing.__self__
            yield said, thing.__func__
        case FunctionType():
            yield from _of_function(thing)
        case Mapping():
            yield from ((f"{said}[{key!r}]", value) for key, value in thing.items())
        case list() | tuple() | set() | frozenset():
            yield from ((said, value) for value in thing)
        case type():
            yield from ((f"{thing.__name__}.{name}", value) for name, value in vars(thing).items())
        case _:
            yield from _of_object(thing, said)


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    title = function.__qualname__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"the variable {name!r} of {title}", cell.cell_contents
        except ValueError:  # not bound yet
            continue
    for value in function.__defaults__ or ():
        yield f"a default argument of {title}", value
    for name in dict.fromkeys(function.__code__.co_names):
        if name in function.__globals__:
            yield f"the global {name!r} that {title} uses", function.__globals__[name]


def _of_object(thing: Any, said: str) -> Iterator[tuple[str, Any]]:
    own = {**{name: getattr(thing, name, None) for name in _slots(thing)}, **getattr(thing, "__dict__", {})}
    try:
        reduced = thing.__reduce_ex__(4)
    except Exception:  # it is this that fails: look at what there is
        reduced = None
    pieces = reduced[1:3] if isinstance(reduced, tuple) else (own,)
    kept = {id(value): name for name, value in own.items()}
    title = type(thing).__name__
    for piece in pieces:
        named = piece.items() if isinstance(piece, Mapping) else ((None, value) for value in _flat(piece))
        for name, value in named:
            name = name if isinstance(name, str) else kept.get(id(value))
            yield (said if name is None else f"{title}.{name}"), value


def _flat(piece: Any) -> Iterator[Any]:
    if isinstance(piece, list | tuple):
        for value in piece:
            yield from _flat(value)
    elif isinstance(piece, Mapping):
        yield from piece.values()
    elif piece is not None and not isinstance(piece, bytes | type):
        yield piece


def _slots(thing: Any) -> Iterator[str]:
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        yield from ((slots,) if isinstance(slots, str) else slots)


__all__ = ["culprit"]

"""Behaviors that the user has registered, by `hg.behavior` or with awkward: they come before the names of vectors.

Both are in `ak.behavior`. Those of other packages do not count: their classes work on computed arrays alone, and
hepgraph has both dialects.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import awkward as ak
import numpy as np

from hepgraph.errors import UnsupportedError
from hepgraph.functions.lines import call_users

_PACKAGES = sys.stdlib_module_names | {"awkward", "coffea", "hepgraph", "numpy", "vector"}
MISSING = object()
_Thing = TypeVar("_Thing")
_added: dict[str, dict[str, type[Any]]] = {}  # by `hg.behavior`: of each kind of records, classes by their full names
_made: dict[type[Any], type[Any]] = {}  # the classes made of them, and what each is on top of


def behavior(*names: str) -> Callable[[_Thing], _Thing]:
    """Decorator that gives collections more properties and methods, in lazy, computed and eager arrays.

    They come before the fields of the collection and the names of vectors, whatever was done to the collection: cut,
    sorted, referred to. What is registered again replaces what had its name. `self` is the array, and no instance of
    the class, so that there is no `super()`.

    Parameters
    ----------
    *names : str
        Names of collections, which are those of their records: "Muon".

    Returns
    -------
    Callable
        The decorator of a class, whose properties and methods are added, or of a function: one of the array alone
        becomes a property, one of more arguments a method.

    Raises
    ------
    UnsupportedError
        If no name is given, or something else is decorated.

    Examples
    --------
    >>> import hepgraph as hg
    >>> @hg.behavior("Muon", "Electron")
    ... class Lepton:
    ...     @property
    ...     def is_central(self):
    ...         return abs(self.eta) < 1.0
    >>> @hg.behavior("Muon")
    ... def curvature(muon):
    ...     return muon.charge / muon.pt
    >>> events = hg.open("data/sample.root")
    >>> events.Muon[events.Muon.is_central].curvature
    <hepgraph.Lazy ## * var * float64>
    """
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UnsupportedError('hg.behavior needs the names of collections: @hg.behavior("Muon").')

    def register(thing: _Thing) -> _Thing:
        own = _class_of(thing)
        for name in names:
            _add(name, own)
        return thing

    return register


def _class_of(thing: Any) -> type[Any]:
    """A class as it is; of a function, one with that property or method."""
    if isinstance(thing, type):
        if issubclass(thing, ak.Array | ak.Record):
            raise UnsupportedError(
                f"{thing.__name__} is an array itself; @hg.behavior takes a plain class, whose self will be the array."
            )
        return thing
    if not inspect.isfunction(thing) or not thing.__name__.isidentifier():
        raise UnsupportedError(f"@hg.behavior takes a class, or a function with a name, not {thing!r}.")
    single = len(inspect.signature(thing).parameters) == 1
    inside = {thing.__name__: property(thing) if single else thing, "__doc__": thing.__doc__}
    return type(thing.__name__, (), {**inside, "__module__": thing.__module__, "__qualname__": thing.__qualname__})


def _add(name: str, own: type[Any]) -> None:
    known = _added.setdefault(name, {})
    key = f"{own.__module__}.{own.__qualname__}"
    known.pop(key, None)
    known[key] = own
    classes = [each for each in known.values() if not any(each in other.__mro__[1:] for other in known.values())]
    for place, word, base in ((("*", name), "Array", ak.Array), (name, "Record", ak.Record)):
        before = ak.behavior.get(place, base)
        before = _made.get(before, before)
        made = type(f"{name}{word}", (*reversed(classes), before), {"__module__": own.__module__})
        _made[made] = before
        ak.behavior[place] = made


def _by_user(thing: Any) -> bool:
    if any(thing is each for known in _added.values() for each in known.values()):
        return True
    return str(getattr(thing, "__module__", "builtins")).partition(".")[0] not in _PACKAGES


def class_of(name: str | None, single: bool = False) -> type[Any] | None:
    """The class that the user registered for arrays of records of this name, or for single ones."""
    found = ak.behavior.get(name if single else ("*", name))
    return found if _is_own(found) else None


def _is_own(found: Any) -> bool:
    return isinstance(found, type) and any(map(_by_user, found.__mro__))


def attribute(v: Any, record: str | None, name: str) -> Any:
    """The user's own attribute of records of some name, bound to an array; MISSING if there is none.

    >>> attribute(None, "Jet", "flavour") is MISSING
    True
    """
    known = class_of(record)
    if known is None:
        return MISSING
    owner = next((each for each in known.__mro__ if name in vars(each)), None)
    if owner is None or not _by_user(owner):
        return MISSING
    found = vars(owner)[name]
    return call_users(found.__get__, v, type(v)) if hasattr(found, "__get__") else found


def names(record: str) -> list[str]:
    """The public attributes that the user registered for records of some name."""
    known = class_of(record)
    owners = [] if known is None else [each for each in known.__mro__ if _by_user(each)]
    return [name for owner in owners for name in vars(owner) if name[0] != "_"]


def overload(ufunc: np.ufunc, kinds: Sequence[Any]) -> Any:
    """The user's function for an operator on records, whose names (or types of numbers) are given; else None."""
    if not any(isinstance(kind, str) for kind in kinds):
        return None
    for key, custom in ak.behavior.items():
        if isinstance(key, tuple) and len(key) == len(kinds) + 1 and key[0] is ufunc:
            fits = (k == s or (isinstance(k, type) and isinstance(s, type) and issubclass(s, k))
                    for k, s in zip(key[1:], kinds, strict=True))  # fmt: skip
            if all(fits) and _by_user(custom):
                return custom
    return None


def check(array: ak.Array, names: Iterable[str]) -> None:
    """Raises UnsupportedError if an array carries behaviors of the user for some names that awkward does not know."""
    own = [name for name in names if ("*", name) in (array.behavior or {}) and class_of(name) is None]
    own = [name for name in own if _is_own(array.behavior["*", name])]
    if own:
        raise UnsupportedError(
            f"This array carries a behavior for records called {', '.join(map(repr, sorted(set(own))))}, and lazy "
            "arrays find those alone that are registered: ak.behavior.update(array.behavior)."
        )


def registered() -> dict[Any, Any]:
    """All that the user registered."""
    return {key: value for key, value in ak.behavior.items() if _by_user(value)}


class Behaved:
    """Anything that is pickled with what the user registered, which is registered where it is unpickled."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __reduce__(self) -> Any:
        return _restored, (registered(), self.thing)


def _restored(known: dict[Any, Any], thing: Any) -> Any:
    ak.behavior.update(known)
    return thing

"""Behaviors that the user has registered with awkward (`ak.behavior`): they come before hepgraph's names for vectors.

Those of other packages do not count: their classes work on computed arrays alone, and hepgraph has both dialects.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import UnsupportedError
from hepgraph.functions.lines import call_users

_PACKAGES = sys.stdlib_module_names | {"awkward", "coffea", "hepgraph", "numpy", "vector"}
MISSING = object()


def _by_user(thing: Any) -> bool:
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

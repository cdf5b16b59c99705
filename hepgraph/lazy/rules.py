"""Tables of rules for functions of other libraries: no argument of a call is dropped.

The signature of a rule is compared with that of its function when it is registered, so that a keyword of a newer
version is refused by name instead of ignored, and a default that has changed there is the default here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import UnsupportedError

Rule = Callable[..., Any]
_EMPTY = inspect.Parameter.empty
_KEYWORDS = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_HOW = {
    "highlevel": "a lazy array has no layout; use .compute() first, then ak.to_layout",
    "attrs": "lazy arrays carry no attributes; set them after .compute()",
    "behavior": "lazy records find their methods by the name of the record; register yours in ak.behavior",
    "parameters": "lazy records have a name (__record__), and no other parameters",
    "out": "lazy arrays cannot be written into; bind the result to a name",
    "dtype": "use ak.values_astype(x, dtype) before",
    "where": "cut with a mask before, or use ak.mask",
}


class Opaque(Exception):
    """Raised by a rule that has no answer to such arguments: the function itself is to get awkward arrays."""


class Rules(dict[Any, Rule]):
    """Rules by the function that they stand for; each is called with the arguments of that function.

    `otherwise(function, args, kwargs)` is called with a call's own arguments where its rule raises Opaque.
    """

    def __init__(self, library: str, otherwise: Callable[..., Any]) -> None:
        super().__init__()
        self.library, self.otherwise = library, otherwise
        self.unfit: set[Any] = set()

    def __setitem__(self, function: Any, rule: Rule) -> None:
        super().__setitem__(function, self._checked(function, rule))

    def _checked(self, function: Any, rule: Rule) -> Rule:
        known, wanted = _parameters(rule), _parameters(function)
        if not _fits(known, wanted):
            return self._unfit(function)
        kinds = [p.kind for p in known.values()]
        most = 1 << 30 if inspect.Parameter.VAR_POSITIONAL in kinds else sum(kind in _POSITIONAL for kind in kinds)
        names = frozenset(name for name, p in known.items() if p.kind in _KEYWORDS)
        defaults = {
            name: wanted[name].default
            for name in known.keys() & wanted.keys()
            if isinstance(wanted[name].default, _PLAIN) and not _same(known[name].default, wanted[name].default)
        }
        places = {name: i for i, name in enumerate(wanted)}
        otherwise = self.otherwise

        def call(*args: Any, **kwargs: Any) -> Any:
            given = args, kwargs
            if len(args) > most or not names.issuperset(kwargs):
                args, kwargs = self._kept(function, known, args, kwargs)
            for name, value in defaults.items():
                if name not in kwargs and places[name] >= len(args):
                    kwargs = {**kwargs, name: value}
            try:
                return rule(*args, **kwargs)
            except Opaque:
                return otherwise(function, *given)

        call.__wrapped__ = rule  # type: ignore[attr-defined]
        return call

    def _unfit(self, function: Any) -> Rule:
        """The rule of a function whose arguments are not those of its rule: a version that is not known yet."""

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise UnsupportedError(
                f"{self.library}.{function.__name__} has other arguments in the installed version than hepgraph knows;"
                " install another version of either, use hg.map_partitions(function, ...), or .compute() first"
            )

        self.unfit.add(function)
        return refuse

    def _kept(
        self, function: Any, known: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that a rule knows; raises UnsupportedError for others that are not what they are by default."""
        wanted = _parameters(function)
        many = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in known.values())
        positional = [] if many else [name for name, p in wanted.items() if p.kind in _POSITIONAL]
        named = dict(zip(positional, args, strict=False)) | kwargs
        for name in [name for name in named if name not in known]:
            default = wanted[name].default if name in wanted else _EMPTY
            self.refuse(function, name, named.pop(name), default)
        if many:
            return args, named
        own = [name for name, p in known.items() if p.kind in _POSITIONAL]
        first = []
        while own and own[0] in named:
            first.append(named.pop(own.pop(0)))
        return tuple(first), named

    def without(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a function that has no rule."""
        for name in ("highlevel", "behavior", "attrs"):
            if name in kwargs:
                self.refuse(function, name, kwargs[name], _parameters(function)[name].default)
        if set(kwargs.get("parameters") or {}) - {"__record__"}:
            self.refuse(function, "parameters", kwargs["parameters"])
        return self.otherwise(function, args, kwargs)

    def refuse(self, function: Any, name: str, value: Any, default: Any = None) -> None:
        """Raises UnsupportedError for an argument that cannot be recorded, if it says anything."""
        if _same(value, default) or (name == "behavior" and _understood(value)) or (name == "attrs" and not value):
            return
        how = _HOW.get(name, "leave it out, use hg.map_partitions(function, ...), or .compute() first")
        raise UnsupportedError(f"{self.library}.{function.__name__}: {name}={value!r} cannot be recorded; {how}.")


def taking(
    rule: Any, function: Any, places: Sequence[str] = (), names: Collection[str] = ()
) -> dict[str, inspect.Parameter]:
    """Says that a rule has arguments of its function: some by place and some by name, or all that have a meaning here.

    Gives them.
    """
    known = _parameters(function)
    if places:
        chosen = [p for name, p in known.items() if name in places]
        chosen += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in known.items() if name in names]
    else:
        chosen = [p for name, p in known.items() if name not in ("highlevel", "behavior", "attrs")]
    rule.__signature__ = inspect.Signature(chosen)
    return {p.name: p for p in chosen}


_PLAIN = bool | int | float | str | np.generic | None
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError:  # of a function written in C that does not tell
        return {}


def _fits(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the arguments of a rule are some of those of its function, those by place the first ones."""
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
        return False  # which would take what it does not know
    ours, theirs = ([name for name, p in of.items() if p.kind in _POSITIONAL] for of in (known, wanted))
    return not wanted or (known.keys() <= wanted.keys() and ours == theirs[: len(ours)])


def _same(a: Any, b: Any) -> bool:
    """Whether a value is the default one."""
    return a is b or (isinstance(a, _PLAIN) and type(a) is type(b) and bool(a == b))


def _understood(behavior: Any) -> bool:
    """Whether a behavior is one that lazy records have anyway: awkward's global one, vector's, NanoEvents'."""
    if behavior is None or behavior is ak.behavior:
        return True
    parts = [
        part for value in behavior.values() for part in (value.values() if isinstance(value, Mapping) else [value])
    ]
    return all(str(getattr(part, "__module__", "")).partition(".")[0] in _FAMILIAR for part in parts)


_FAMILIAR = frozenset({"vector", "coffea", "hepgraph", "awkward"})

"""Parts of objects whose content is not what they pickle as, or that do not pickle."""

from __future__ import annotations

import enum
import functools
import types
import weakref
from dataclasses import Field
from typing import Any

import numpy as np

from hepgraph.fingerprint.names import content_of

_CACHED = type(functools.lru_cache(lambda: None))
_FIELD = ("name", "default", "default_factory", "init", "repr", "hash", "compare", "kw_only", "metadata")
BUILTIN = (
    types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
    types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType,
)  # fmt: skip
_EMPTY: dict[Any, Any] = {}
VIEWS = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))


def parts_of(thing: Any) -> list[Any] | None:
    """The parts of an object that are its content; None if that is what it pickles as.

    >>> parts_of(functools.partial(max, 1, key=None))
    [<built-in function max>, (1,), {'key': None}]
    """
    match thing:
        case functools.partial():
            return [thing.func, thing.args, thing.keywords]
        case staticmethod() | classmethod():
            return [thing.__func__]
        case property() | enum.property():
            return [thing.fget, thing.fset, thing.fdel]
        case functools.cached_property():
            return [thing.func, thing.attrname]
        case functools.singledispatchmethod():
            return [thing.dispatcher, thing.func]
        case Field():
            return [getattr(thing, name) for name in _FIELD]
        case types.CellType():
            return [content_of(thing)]
        case weakref.ref():
            return [thing()]
        case np.vectorize():
            return [thing.pyfunc, thing.otypes, thing.signature, thing.excluded, thing.cache]
    if isinstance(thing, _CACHED):
        return [thing.__wrapped__, thing.cache_parameters()]
    if type(thing).__module__.startswith("numba."):
        return _of_numba(thing)
    return None


def _of_numba(thing: Any) -> list[Any] | None:
    """The function, or the methods of a class, that numba compiles, and how; not what it compiled already."""
    made = getattr(thing, "class_type", None) if isinstance(thing, type) else None
    if made is not None:
        fields = [(name, str(kind)) for name, kind in made.struct.items()]
        return [made.class_name, fields, made.jit_methods, made.jit_props, made.jit_static_methods]
    function = getattr(thing, "py_func", None) or getattr(thing, "__wrapped__", None)
    if function is None:
        return None
    return [function, sorted(map(repr, getattr(thing, "targetoptions", {}).items()))]


def is_cached(kind: type, name: str) -> bool:
    """Whether an attribute holds what a cached property has worked out."""
    return any(isinstance(vars(base).get(name), functools.cached_property) for base in kind.__mro__)

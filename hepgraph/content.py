"""Hashes of what things *are*: the same analysis gives the same hash in another process, an edited one another.

A graph counts without the lines of code that made it. A function counts by its code, its defaults, what it closes over,
and every global that it names, through all functions and classes of the user's own; those of installed packages count
by their names. Any other object counts by what it pickles as.
"""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hepgraph.byvalue import users_own
from hepgraph.errors import CheckpointError
from hepgraph.graph.form import List, Option, Record, Scalar
from hepgraph.graph.node import Item, Literal, Map, Node, Space, ordered
from hepgraph.io.source import Column, Origin

_IGNORED = {  # what a class has of Python, not of its author
    "__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotations__",
    "__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__", "__annotations_cache__", "__annotate__",
    "__annotate_func__", "__slotnames__",
}  # fmt: skip


def digest(*things: Any, main: Origin | None = None) -> str:
    """The hash of anything; `main` is the dataset that may be another one without making a difference.

    Raises CheckpointError, saying where, for what has no content that could be hashed: an open file, a lock.

    >>> digest({"cut": 20}) == digest({"cut": 20}), digest({"cut": 20}) == digest({"cut": 20.0})
    (True, False)
    """
    made = Digester(main)
    for thing in things:
        made.add(thing, "it")
    return made.hexdigest()


class Digester:
    """A hash that things are added to, one after the other."""

    def __init__(self, main: Origin | None = None) -> None:
        self.main = main
        self._hash = hashlib.blake2b(digest_size=20)
        self._rows: dict[Item, int] = {}
        self._seen: dict[int, int] = {}
        self._inside: set[int] = set()
        self._kept: list[Any] = []  # so that the identity of what was seen is not given to something else

    def hexdigest(self) -> str:
        """The hash of all that was added."""
        return self._hash.hexdigest()

    def _put(self, tag: str, data: bytes | str = b"") -> None:
        data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        self._hash.update(f"{tag}:{len(data)}:".encode())
        self._hash.update(data)

    def _each(self, tag: str, parts: Any, where: str) -> None:
        parts = list(parts)
        self._put(tag, str(len(parts)))
        for i, part in enumerate(parts):
            self.add(part, f"{where}[{i}]")

    def add(self, thing: Any, where: str) -> None:
        """Adds anything; `where` is what to call it in a message."""
        match thing:
            case None | bool() | int() | float() | complex() | str() if type(thing) in _PLAIN:
                self._put(type(thing).__name__, thing if isinstance(thing, str) else repr(thing))
            case bytes() | bytearray():
                self._put("bytes", bytes(thing))
            case Space() | Map() | Node():
                self._item(thing)
            case Scalar(x):
                self._each("scalar", [x], where)
            case Option(valid, content):
                self._each("option", [valid, content], where)
            case List(space, content, size):
                self._each("list form", [space, content, size], where)
            case Record():
                self._each("record", [thing.name, thing.tuple, *((name, thing[name]) for name in thing)], where)
            case Origin():
                same = self.main is not None and thing == self.main
                self._put("origin", "main" if same else "")
                if not same:
                    self._each("files", [thing.source.identity(file) for file in thing.source.files], where)
            case Literal():
                self._each("literal", thing.key, where)
            case Column():
                known = (thing.name, thing.type, thing.counts, thing.nullable, *thing.levels)
                self._each("column", [part if part is None or isinstance(part, str) else repr(part) for part in known],
                           where)  # fmt: skip
            case np.dtype():
                self._put("dtype", str(thing))
            case np.ufunc():
                self._put("ufunc", thing.__name__)
            case np.ndarray() | np.generic():
                self._array(np.asarray(thing), where)
            case Enum():
                self._put("enum", f"{type(thing).__qualname__}.{thing.name}")
            case set() | frozenset():
                self._put("set", "".join(sorted(self._apart(part, where) for part in thing)))
            case _ if type(thing) in (list, tuple):
                self._nested(thing, where, lambda: self._each(type(thing).__name__, thing, where))
            case _ if type(thing) is dict:
                self._nested(thing, where, lambda: self._mapping(thing, where))
            case _:
                self._guarded(thing, where, lambda: self._object(thing, where))

    def _apart(self, thing: Any, where: str) -> str:
        made = Digester(self.main)
        made.add(thing, where)
        return made.hexdigest()

    def _nested(self, thing: Any, where: str, work: Any) -> None:
        """Adds a container, which may hold itself; equal ones count alike, whether or not they are the same one."""
        if id(thing) in self._inside:
            self._put("itself")
            return
        self._inside.add(id(thing))
        work()
        self._inside.discard(id(thing))

    def _guarded(self, thing: Any, where: str, work: Any) -> None:
        """Adds something that may lead back to itself, once."""
        if id(thing) in self._seen:
            self._put("seen", str(self._seen[id(thing)]))
            return
        self._seen[id(thing)] = len(self._seen)
        self._kept.append(thing)
        work()

    def _mapping(self, thing: Mapping[Any, Any], where: str) -> None:
        self._put("dict", str(len(thing)))
        for key, value in thing.items():
            self.add(key, f"a key of {where}")
            self.add(value, f"{where}[{key!r}]")

    def _array(self, array: Any, where: str) -> None:
        self._put("array", f"{array.dtype} {array.shape}")
        if array.dtype.kind in "OT":
            self._each("objects", array.ravel().tolist(), where)
        else:
            self._put("values", np.ascontiguousarray(array).tobytes())

    # graphs

    def _item(self, root: Item) -> None:
        for item in ordered([root], until=self._rows.__contains__):
            if item in self._rows:
                continue
            args = [self._rows[arg] for arg in item.args]
            match item:
                case Space():
                    above = None if item.parent is None else self._rows[item.parent]
                    self._put("space", repr((item.kind, above, args)))
                case Map():
                    self._put("map", repr((item.kind, self._rows[item.src], self._rows[item.dst], args)))
                case Node():
                    at = None if item.space is None else self._rows[item.space]
                    self._put("node", repr((item.op, args, at, str(item.dtype))))
            self.add(item.param, "a parameter of the graph")
            self._rows[item] = len(self._rows)
        self._put("item", str(self._rows[root]))

    # functions, classes and other objects

    def _object(self, thing: Any, where: str) -> None:
        match thing:
            case types.ModuleType():
                file = getattr(thing, "__file__", None) if users_own(thing.__name__) else None
                self._put("module", thing.__name__ if file is None else Path(file).read_bytes())
            case types.FunctionType():
                self._function(thing, where)
            case types.MethodType():
                self._each("method", [thing.__func__, thing.__self__], where)
            case types.BuiltinFunctionType() | types.MethodDescriptorType() | types.WrapperDescriptorType():
                self._put("builtin", f"{getattr(thing, '__module__', '')}.{thing.__qualname__}")
            case type():
                self._class(thing, where)
            case staticmethod() | classmethod():
                self._each(type(thing).__name__, [thing.__func__], where)
            case property():
                self._each("property", [thing.fget, thing.fset, thing.fdel], where)
            case types.CodeType():
                self._code(thing, where)
            case partial():
                self._each("partial", [thing.func, thing.args, thing.keywords], where)
            case _ if callable(getattr(thing, "content", None)) and type(thing).__module__.startswith("hepgraph."):
                self._each(type(thing).__qualname__, thing.content(), where)
            case _ if hasattr(thing, "py_func"):  # compiled by numba
                self._each("compiled", [thing.py_func], where)
            case _ if is_dataclass(thing) and type(thing).__module__.startswith("hepgraph."):
                shown = [getattr(thing, each.name) for each in fields(thing) if each.name not in ("line", "_moved")]
                self._each(type(thing).__qualname__, shown, where)
            case _:
                self._reduced(thing, where)

    def _function(self, function: types.FunctionType, where: str) -> None:
        module = function.__module__ or ""
        if not users_own(module):
            self._put("function", f"{module}.{function.__qualname__}")
            return
        self._put("function", function.__name__)
        cells = [_content(cell) for cell in function.__closure__ or ()]
        self._code(function.__code__, function.__qualname__)
        self._each("given", [function.__defaults__, function.__kwdefaults__, function.__dict__], where)
        names = _names(function.__code__)
        for name, value in zip(function.__code__.co_freevars, cells, strict=True):
            self._used(value, names, f"{name}, which {function.__qualname__} closes over,")
        for name in names:
            value = function.__globals__.get(name, sys.modules.get(name))  # or imported inside of the function
            if value is not None:
                self._put("global", name)
                self._used(value, names, f"the global {name}")

    def _used(self, value: Any, names: list[str], where: str) -> None:
        """Adds what a function uses; of a module of the user's own, what has one of the names that it looks up."""
        if isinstance(value, types.ModuleType) and users_own(value.__name__):
            inside = {each: vars(value)[each] for each in names if each in vars(value)}
            self._put("module", value.__name__)
            self._mapping(inside, value.__name__)
        else:
            self.add(value, where)

    def _code(self, code: types.CodeType, where: str) -> None:
        self._put("code", code.co_code)
        shown = [code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_flags]
        self._each("names", shown, where)
        self._each("constants", code.co_consts, where)

    def _class(self, kind: type, where: str) -> None:
        if not users_own(kind.__module__):
            self._put("class", f"{kind.__module__}.{kind.__qualname__}")
            return
        self._put("class", kind.__qualname__)
        self._each("bases", kind.__bases__, where)
        own = {name: value for name, value in vars(kind).items() if name not in _IGNORED}
        slots = {name for name, value in own.items() if isinstance(value, types.MemberDescriptorType)}
        self._mapping({name: value for name, value in own.items() if name not in slots}, kind.__qualname__)

    def _reduced(self, thing: Any, where: str) -> None:
        try:
            made = thing.__reduce_ex__(4)
        except Exception as error:
            raise CheckpointError(
                f"{where} ({type(thing).__name__}) has no content that tells it from another: {error}. A checkpoint "
                "needs that of all that the analysis uses. Make it inside of the function that needs it, or in setup= "
                "of hg.map_partitions."
            ) from error
        if isinstance(made, str):
            self._put("name", f"{type(thing).__module__}.{made}")
            return
        head, args, state, items, pairs = (*made, None, None, None)[:5]
        self._put("object", f"{type(thing).__module__}.{type(thing).__qualname__}")
        self.add(head, where)
        self.add(args, where)
        if type(state) is dict:
            for name, value in state.items():
                self.add(name, where)
                self.add(value, f"{where}.{name}")
        else:
            self.add(state, where)
        self.add(None if items is None else list(items), where)
        self.add(None if pairs is None else list(pairs), where)


_PLAIN = (type(None), bool, int, float, complex, str)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return "empty"


def _names(code: types.CodeType) -> list[str]:
    """The names that a function looks up, and those of the functions inside of it."""
    found: dict[str, None] = {}
    waiting = [code]
    while waiting:
        each = waiting.pop()
        found.update(dict.fromkeys(each.co_names))
        waiting += [const for const in each.co_consts if isinstance(const, types.CodeType)]
    return sorted(found)

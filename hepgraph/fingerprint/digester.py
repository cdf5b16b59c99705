"""Fingerprints: hashes of what things *are*, the same for the same analysis in another process, others after an edit.

A graph counts without the lines of code that made it. A function of the user's own counts by its code, its defaults,
what it closes over, and every global that it names; of a module, by the attributes that it reads, or by all that the
module holds if it is handed on. A class counts by its members, bases and metaclass, an object by its class and by what
it pickles as. What an installed package has under a name counts by the name and the version of the package. What cannot
be tracked like this is told, in sentences (`untracked.py`).
"""

from __future__ import annotations

import ast
import copyreg
import hashlib
import inspect
import os
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, EnumMeta
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import CheckpointError
from hepgraph.fingerprint.bytecode import Import, Local, Name, Use, reads
from hepgraph.fingerprint.names import MODULES, Scope, module_called, name_of
from hepgraph.fingerprint.outside import outside
from hepgraph.fingerprint.parts import BUILTIN, VIEWS, is_cached, parts_of
from hepgraph.fingerprint.untracked import BASE, CODE, MADE, OF_ALL, OF_MODULES, STATE, Member, Reach, Untracked, Way
from hepgraph.functions.lines import place
from hepgraph.functions.packages import installed_name, modules_in, users_own, version_of
from hepgraph.functions.snapshot import Namespace
from hepgraph.graph.form import List, Option, Record, Scalar
from hepgraph.graph.node import Item, Literal, Map, Node, Space, ordered
from hepgraph.io.mapped import maker
from hepgraph.io.source import Column, Origin

_IGNORED = {  # what a class has of Python, not of its author
    "__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotations__",
    "__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__", "__annotations_cache__", "__annotate__",
    "__annotate_func__", "__slotnames__",
}  # fmt: skip
_OF_MODULES = {
    "__builtins__", "__cached__", "__conditional_annotations__", "__doc__", "__file__", "__loader__", "__name__",
    "__package__", "__path__", "__spec__",
}  # fmt: skip
_OF_ENUMS = {
    "_generate_next_value_", "_member_map_", "_member_names_", "_member_type_", "_new_member_", "_unhashable_values_",
    "_unhashable_values_map_", "_use_args_", "_value2member_map_", "_value_repr_", "__new__", "__reduce_ex__",
    "_boundary_", "_flag_mask_", "_all_bits_", "_inverted_", "_singles_mask_", "_hashable_values_", "_add_alias_",
    "_add_value_alias_",
}  # fmt: skip
_BY_NAME = (getattr, vars, attrgetter, methodcaller)
_PLAIN = (type(None), bool, int, float, complex, str)
_ROOT = 0  # what is not the identity of anything


@dataclass(frozen=True)
class Fingerprint:
    """The hash of an analysis, and its dependencies that could not be tracked."""

    key: str
    untracked: tuple[Untracked, ...] = ()


def fingerprint(*things: Any, main: Origin | None = None) -> Fingerprint:
    """The fingerprint of anything; `main` is the dataset that may be another one without making a difference."""
    made = Digester(main)
    try:
        for thing in things:
            made.add(thing, "the analysis")
    except RecursionError:
        made._at = _ROOT
        made._tell("the analysis", "is nested too deeply to be followed", STATE)
    return Fingerprint(made.hexdigest(), made.untracked)


def digest(*things: Any, main: Origin | None = None) -> str:
    """The hash of anything.

    Raises CheckpointError, saying where, for what cannot be tracked: code that is made when it runs, an open file.

    >>> digest({"cut": 20}) == digest({"cut": 20}), digest({"cut": 20}) == digest({"cut": 20.0})
    (True, False)
    """
    made = fingerprint(*things, main=main)
    if made.untracked:
        raise CheckpointError("Some dependencies cannot be tracked:\n" + "\n".join(map(str, made.untracked)))
    return made.key


class Digester:
    """A hash that things are added to, one after the other."""

    def __init__(self, main: Origin | None = None) -> None:
        self.main = main
        self._hash = hashlib.blake2b(digest_size=20)
        self._rows: dict[Item, int] = {}
        self._seen: dict[int, int] = {}
        self._inside: set[int] = set()
        self._kept: list[Any] = []  # so that the identity of what was seen is not given to something else
        self._reach = Reach()
        self._at = _ROOT
        self._way: Way = None
        self._behaved = False

    def hexdigest(self) -> str:
        """The hash of all that was added."""
        return self._hash.hexdigest()

    @property
    def untracked(self) -> tuple[Untracked, ...]:
        """The dependencies of all that was added which cannot be tracked."""
        return self._reach.untracked(_ROOT)

    def _put(self, tag: str, data: bytes | str = b"") -> None:
        data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        self._hash.update(f"{tag}:{len(data)}:".encode())
        self._hash.update(data)

    def _each(self, tag: str, parts: Iterable[Any], where: str, numbered: bool = False) -> None:
        parts = list(parts)
        self._put(tag, str(len(parts)))
        for i, part in enumerate(parts):
            self.add(part, f"{where}[{i}]" if numbered else where)

    def _tell(self, where: str, why: str, kind: str, line: str = "") -> None:
        self._put("untracked", why)
        self._reach.find(self._at, Untracked(where, why, kind, line))

    def add(self, thing: Any, where: str) -> None:
        """Adds anything; `where` is what to call it in a message."""
        if not (self._value(thing, where) or self._recorded(thing, where) or self._container(thing, where)):
            self._guarded(thing, where)

    def _value(self, thing: Any, where: str) -> bool:
        """Adds numbers, texts and arrays; says whether it was one of these."""
        match thing:
            case None | bool() | int() | float() | complex() | str() if type(thing) in _PLAIN:
                self._put(type(thing).__name__, thing if isinstance(thing, str) else repr(thing))
            case bytes() | bytearray() | memoryview():
                self._put("bytes", bytes(thing))
            case np.dtype():
                self._put("dtype", repr(thing))
            case np.ndarray() | np.generic() if type(thing).__module__ == "numpy":
                self._array(np.asarray(thing), where)
            case Enum():
                self._put("enum", repr(thing.name))
                with self._by(MADE):
                    self.add(type(thing), where)
                self.add(thing.value, where)
            case _:
                return False
        return True

    def _recorded(self, thing: Any, where: str) -> bool:
        """Adds parts of graphs, forms around them, and what they say of data; says whether it was one of these."""
        match thing:
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
                self._origin(thing, where)
            case Literal():
                self._each("literal", thing.key, where)
            case Column():
                known = (thing.name, thing.type, thing.counts, thing.nullable, *thing.levels)
                self._each("column", [part if part is None or isinstance(part, str) else repr(part) for part in known],
                           where)  # fmt: skip
            case _:
                return False
        return True

    def _container(self, thing: Any, where: str) -> bool:
        """Adds Python's own containers, with all that is in them; says whether it was one of these."""
        if type(thing) in (set, frozenset):
            self._put("set", "".join(sorted(self._apart(part, where) for part in thing)))
        elif type(thing) in (list, tuple):
            self._nested(thing, where, lambda: self._each(type(thing).__name__, thing, where, numbered=True))
        elif type(thing) in (dict, types.MappingProxyType):
            self._nested(thing, where, lambda: self._mapping(thing, where))
        elif isinstance(thing, VIEWS):
            self._each("view", thing, where)
        else:
            return False
        return True

    def _origin(self, origin: Origin, where: str) -> None:
        if self.main is not None and origin == self.main:
            self._put("origin", "main")
            return
        self._put("origin", "")
        self._each("files", [origin.source.identity(file) for file in origin.source.files], where)
        self.add(maker(origin.source), where)

    def _apart(self, thing: Any, where: str) -> str:
        """The hash of a thing by itself."""
        made = Digester(self.main)
        made._reach, made._kept, made._at, made._way = self._reach, self._kept, self._at, self._way
        made._behaved = True
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

    def _guarded(self, thing: Any, where: str) -> None:
        """Adds something that may lead back to itself, once; tells of what raises an error when it is looked at."""
        self._reach.way(self._at, id(thing), self._way)
        if id(thing) in self._seen:
            self._put("seen", str(self._seen[id(thing)]))
            return
        self._seen[id(thing)] = len(self._seen)
        self._kept.append(thing)
        before = self._at, self._way
        self._at, self._way = id(thing), None
        try:
            self._object(thing, where)
        except (RecursionError, CheckpointError):
            raise
        except Exception as error:  # of the user's own __getattr__, __reduce__ ...
            self._tell(where, f"({type(thing).__name__}) cannot be looked at: {type(error).__name__}: {error}", STATE)
        self._at, self._way = before

    @contextmanager
    def _by(self, way: Way) -> Iterator[None]:
        """Around what is added as a part of something in this way."""
        before, self._way = self._way, way
        yield
        self._way = before

    def _mapping(self, thing: Mapping[Any, Any], where: str) -> None:
        self._put("dict", str(len(thing)))
        for key, value in thing.items():
            self.add(key, f"a key of {where}")
            self.add(value, f"{where}[{key!r}]")

    def _array(self, array: Any, where: str) -> None:
        self._put("array", f"{array.dtype} {array.shape}")
        if array.dtype.kind in "OT":
            self._each("objects", array.ravel().tolist(), where, numbered=True)
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
        known = installed_name(thing) if callable(thing) else None
        if known is not None:
            self._installed(known)
            return
        match thing:
            case _ if isinstance(thing, MODULES):
                self._module(thing)
            case types.FunctionType():
                self._function(thing, where)
            case types.MethodType():
                self._each("method", [thing.__func__, thing.__self__], where)
            case type() if not type(thing).__module__.startswith("numba."):
                self._class(thing, where)
            case np.ufunc():
                self._ufunc(thing, where)
            case _ if isinstance(thing, BUILTIN):
                self._put("builtin", f"{getattr(thing, '__module__', '')}.{thing.__qualname__}")
                self.add(getattr(thing, "__self__", None), where)
            case types.CodeType():
                self._code(thing, where)
            case _ if callable(getattr(thing, "content", None)) and type(thing).__module__.startswith("hepgraph."):
                self._each(type(thing).__qualname__, thing.content(), where)
            case _ if is_dataclass(thing) and type(thing).__module__.startswith("hepgraph."):
                shown = [getattr(thing, each.name) for each in fields(thing) if each.name not in ("line", "_moved")]
                self._each(type(thing).__qualname__, shown, where)
            case _:
                if isinstance(thing, attrgetter | methodcaller):
                    self._reach.mention_any(self._at, OF_ALL)
                parts = parts_of(thing)
                if parts is None:
                    self._reduced(thing, where)
                else:
                    self._each(type(thing).__name__, parts, where)

    def _installed(self, name: str) -> None:
        self._put("installed", f"{name} {version_of(name)}")

    def _ufunc(self, thing: np.ufunc, where: str) -> None:
        for module in ("numpy", "scipy.special"):
            if getattr(sys.modules.get(module), thing.__name__, None) is thing:
                self._installed(f"{module}.{thing.__name__}")
                return
        self._reduced(thing, where)

    def _module(self, module: types.ModuleType | Namespace) -> None:
        """Adds a module by itself, of which anything may be used: all that a module of the user's own holds.

        Modules inside of a package are there or not depending on what was imported; they count by their texts.
        """
        name = name_of(module)
        if not users_own(name):
            self._installed(name)
            return
        self._put("module", name)
        found = {**vars(sys.modules.get(name, module)), **vars(module)}
        held = {each: value for each, value in found.items() if each not in _OF_MODULES}
        for each, value in sorted(held.items()):
            if not (isinstance(value, MODULES) and name_of(value) == f"{name}.{each}"):
                self.add(each, name)
                with self._by(Member(each, module=True)):
                    self.add(value, f"{name}.{each}")
        self._binary(name)
        for folder in found.get("__path__", ()):
            for path in modules_in(folder):
                self._put("text", f"{path.relative_to(folder)} {_parsed(path)}")

    def _binary(self, module: str) -> None:
        """Adds the file of a module of the user's own that is compiled, where there is no code to look at."""
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is not None and users_own(module) and not file.endswith((".py", ".pyc")) and os.path.isfile(file):
            self._put("file", hashlib.blake2b(Path(file).read_bytes()).digest())

    # functions

    def _function(self, function: types.FunctionType, where: str) -> None:
        scope = Scope(function)
        if scope.module == "functools" and hasattr(function, "registry"):  # of singledispatch
            self._each("singledispatch", sorted(function.registry.items(), key=lambda pair: _named(pair[0])), where)
            return
        given = [function.__defaults__, function.__kwdefaults__, function.__dict__]
        if not users_own(scope.module):  # made by a package, perhaps around a function of the user's own
            self._installed(f"{scope.module}.{function.__qualname__}")
            self._each("made", [*given, *scope.cells.values()], scope.title)
            return
        self._behaviors()
        self._put("function", function.__name__)
        self._code(function.__code__, scope.title)
        self._each("given", given, scope.title)
        found = reads(function.__code__)
        self._reach.mention(id(function), found.mentioned)
        logs = scope.logs(found.uses)
        for name, value in scope.cells.items():
            if not isinstance(value, MODULES) and name not in logs:
                with self._by(MADE if name == "__class__" else None):
                    self.add(value, f"{scope.title}.{name}")
        for use in found.uses:
            if use.name is not None and use.name.root in logs:
                continue
            try:
                self._use(scope, use)
            except (RecursionError, CheckpointError):
                raise
            except Exception as error:  # whatever an import raises is told
                self._tell(scope.title, f"imports what cannot be imported here: {type(error).__name__}: {error}", CODE,
                           place((scope.file, use.line, scope.title)))  # fmt: skip

    def _use(self, scope: Scope, use: Use) -> None:
        """Adds what a function reads from outside of it."""
        steps = [] if use.name is None else scope.steps(use.name)
        if use.name is not None:
            self._read(scope, use.name, steps)
        given = scope.given(use)
        if steps and any(steps[-1] is each for each in _BY_NAME) and not (given and isinstance(given[-1], str)):
            self._reach.mention_any(self._at, OF_ALL if _may_be_own(scope, use.first) else OF_MODULES)
        found = outside(steps, use, given, bool(steps) and _is_owned(steps, use))
        if found is None:
            return
        line = place((scope.file, use.line, scope.title))
        if found.why:
            self._tell(scope.title, found.why, found.kind, line)
        elif found.files:
            for file in found.files:
                self._put("file", hashlib.blake2b(Path(file).read_bytes()).digest())
        elif found.variable:
            self._put("variable", f"{found.variable}={os.environ.get(found.variable)!r}")
        elif not users_own(found.module):
            self._installed(found.module)
        else:
            module = module_called(found.module)
            self._put("imported", found.module)
            self.add(module, found.module)
            if module is not None and steps[-1] is __import__:  # which gives the package that it is in
                self.add(sys.modules[found.module.partition(".")[0]], found.module)

    def _read(self, scope: Scope, name: Name, steps: list[Any]) -> None:
        """Adds the value of a name that a function reads."""
        if name.cell and steps and not isinstance(steps[0], MODULES):
            return  # added with all that the function closes over
        root = name.root if isinstance(name.root, str) else scope.absolute(name.root)
        self._put("name", ".".join([root, *name.attributes]))
        if not steps:
            if isinstance(name.root, Import) and not users_own(root):
                self._installed(root)
            return
        last, modules = steps[-1], [each for each in steps if isinstance(each, MODULES)]
        if isinstance(name.root, str) and not name.cell and name.root not in scope.globals:
            self._installed(f"builtins.{root}")
        elif modules and not users_own(name_of(modules[-1])) and not _is_own(last):
            self._installed(name_of(modules[-1]))
            if _is_plain(last):  # a setting, which anybody may change
                self.add(last, ".".join([root, *name.attributes]))
        else:
            module = name_of(modules[-1]) if modules and modules[-1] is not last else scope.module
            where = f"{module}.{([root, *name.attributes])[len(steps) - 1]}"
            self.add(last, where.removeprefix("__main__."))

    def _behaviors(self) -> None:
        """Adds the user's own behaviors of records, which any function may use."""
        if self._behaved:
            return
        self._behaved = True
        before, self._at = self._at, _ROOT
        found = {_named(key): value for key, value in ak.behavior.items() if _is_own(value)}
        for key, value in sorted(found.items()):
            self._put("behavior", key)
            self.add(value, f"ak.behavior[{key}]")
        self._at = before

    def _code(self, code: types.CodeType, where: str) -> None:
        self._put("code", code.co_code)
        self._put("exceptions", code.co_exceptiontable)
        shown = [code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount,
                 code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]  # fmt: skip
        self._each("names", shown, where)
        self._each("constants", code.co_consts, where)

    # classes and objects

    def _class(self, kind: type, where: str) -> None:
        title = f"{kind.__module__}.{kind.__qualname__}".removeprefix("__main__.")
        self._put("class", kind.__qualname__)
        self._binary(kind.__module__)
        with self._by(BASE):
            self._each("bases", kind.__bases__, where)
        if type(kind) is not type:
            self.add(type(kind), where)
        for name, value in _annotations(kind).items():
            self._put("annotation", f"{name}: {value}")
        own = {name: value for name, value in vars(kind).items() if name not in _IGNORED}
        if isinstance(kind, EnumMeta):
            self._mapping({name: member.value for name, member in kind.__members__.items()}, title)  # type: ignore[var-annotated]
            own = {name: value for name, value in own.items() if name not in {*_OF_ENUMS, *kind.__members__}}
        others = {name for base in kind.__mro__ if not users_own(base.__module__) and base is not object
                  for name in vars(base)}  # fmt: skip
        for name, value in own.items():
            if not isinstance(value, types.MemberDescriptorType):  # of a slot
                self._put("member", name)
                with self._by(Member(name, name in others)):
                    self.add(value, f"{title}.{name}")

    def _reduced(self, thing: Any, where: str) -> None:
        """Adds an object by what it pickles as."""
        kind = type(thing)
        reduce = copyreg.dispatch_table.get(kind)
        try:
            if kind.__module__.startswith(("ctypes", "_ctypes")):
                raise TypeError("it is of a library that Python does not know")
            made: Any = reduce(thing) if reduce is not None else thing.__reduce_ex__(4)
        except Exception as error:
            self._put("object", f"{kind.__module__}.{kind.__qualname__}")
            self.add(getattr(thing, "__wrapped__", None), where)
            self._tell(where, f"({kind.__name__}) has no content that tells it from another: {error}", STATE)
            return
        self._put("object", f"{kind.__module__}.{kind.__qualname__}")
        with self._by(MADE):
            self.add(kind, where)
        if users_own(kind.__module__):
            where = f"{kind.__module__}.{kind.__qualname__}".removeprefix("__main__.")
        if isinstance(made, str):
            self._put("name", made)
            self._binary(getattr(thing, "__module__", None) or "")
            if users_own(kind.__module__):
                self.add(dict(getattr(thing, "__dict__", {})), where)
            elif getattr(sys.modules.get(getattr(thing, "__module__", kind.__module__)), made, None) is not thing:
                self._tell(where, f"({kind.__name__}) has no content that tells it from another: {made} is only a name",
                           STATE)  # fmt: skip
            return
        head, args, state, items, pairs = (*made, None, None, None)[:5]
        if isinstance(thing, set | frozenset):  # whose order is another in each process
            args = (frozenset(thing),)
        self.add(head, where)
        self._each("args", ["its class" if part is kind else part for part in args], where)
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if type(part) is not dict:
                self.add(part or {}, where)  # None where an object has no attributes yet
                continue
            held = {name: value for name, value in part.items() if not is_cached(kind, name)}
            self._put("dict", str(len(held)))
            for name, value in held.items():
                self.add(name, where)
                self.add(value, f"{where}.{name}")
        self.add(None if items is None else list(items), where)
        self.add(None if pairs is None else list(pairs), where)


def _parsed(path: Path) -> str:
    """The syntax tree of a module as text, without comments and line numbers."""
    data = path.read_bytes()
    try:
        return ast.dump(ast.parse(data))
    except (SyntaxError, ValueError, RecursionError):
        return repr(data)


def _annotations(kind: type) -> dict[str, str]:
    """The annotations of a class, as text that is the same in another process."""
    try:
        found = inspect.get_annotations(kind)
    except NameError:  # of names that are there for type checkers alone
        return {}
    return {name: value if isinstance(value, str) else _named(value) for name, value in found.items()}


def _named(thing: Any) -> str:
    """A key, a type or an annotation in words that are the same in another process."""
    if isinstance(thing, tuple):
        return f"({', '.join(map(_named, thing))})"
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    if isinstance(name, str):
        return f"{getattr(thing, '__module__', '')}.{name}"
    return re.sub(" at 0x[0-9a-f]+", "", repr(thing))


def _is_own(thing: Any) -> bool:
    """Whether something is of the user's own code."""
    match thing:
        case types.ModuleType() | Namespace():
            return users_own(name_of(thing))
        case types.FunctionType():
            return users_own(thing.__globals__.get("__name__") or thing.__module__ or "")
        case types.MethodType():
            return _is_own(thing.__func__)
        case type():
            return users_own(thing.__module__)
    return users_own(type(thing).__module__)


def _is_plain(thing: Any) -> bool:
    """Whether something is a number, a text, or a list or dict of such."""
    match thing:
        case list() | tuple():
            return all(map(_is_plain, thing))
        case dict():
            return all(map(_is_plain, thing.values()))
    return type(thing) in _PLAIN


def _may_be_own(scope: Scope, first: Any) -> bool:
    """Whether an object, of which an attribute is looked up by any name, may be of a class of the user's own."""
    if not isinstance(first, Name):
        return isinstance(first, Local) and first.name in ("self", "cls")
    steps = scope.steps(first)
    return bool(steps) and (steps[-1] is type or steps[-1] is super or _is_own(steps[-1]))


def _is_owned(steps: list[Any], use: Use) -> bool:
    """Whether what a use calls is of the user's own code, and so followed itself."""
    last = steps[-1]
    rest = use.name.attributes[len(steps) - 1 :] if use.name is not None else ()
    if not rest or isinstance(last, MODULES):
        return _is_own(last)
    kind = last if isinstance(last, type) else type(last)
    return next((users_own(base.__module__) for base in kind.__mro__ if rest[0] in vars(base)), False)

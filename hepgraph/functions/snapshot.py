"""Functions as they were when they were recorded: all that they reach is copied then, and the copy is what runs.

By value: functions and classes of the user's own, with the globals that they read, what they close over, defaults and
attributes; objects, containers, arrays up to `SMALL`; of modules of the user's own, what is looked up in them.
By reference: code, what is installed, what cannot be pickled (locks, sessions, open files), generators of random
numbers, and lists, sets and dicts that a function does nothing with but add to them. By reference, and looked at again
before and after a run: larger arrays and objects of packages, and classes that cannot be copied.
"""

from __future__ import annotations

import abc
import builtins
import hashlib
import io
import marshal
import pickle
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import EnumType
from functools import lru_cache
from importlib.util import resolve_name
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any, Protocol, TypeAlias

import awkward as ak
import numpy as np

from hepgraph.errors import ChangedError
from hepgraph.functions import pickling
from hepgraph.functions.hashes import fingerprint, has_objects, seen_in
from hepgraph.functions.lookups import LOGS, Lookups, reads_of
from hepgraph.functions.packages import users_own
from hepgraph.functions.sources import DRAWN

SMALL = 1 << 20  # bytes: a larger array is not copied, but its content hashed, in a hundredth of the time
REDUCERS: dict[type, Callable[[Any, _Pickler], Any]] = {}  # for kinds that the modules above know
HOOKS: dict[str, Callable[..., Any]] = {}
Check: TypeAlias = Callable[[dict[int, bytes]], str]  # says what was changed, if it was, given hashes by identity
_PROCESS = secrets.token_hex(8)  # an identity means nothing in another process
_ROUNDS = 6  # what must not be copied is found out by trying
_TRIED = 500  # objects, at most: there may be very many
_CODE = (FunctionType, BuiltinFunctionType, ModuleType, type, np.ufunc)
_OF_PYTHON = {  # what a class has of Python, not of its author
    "__dict__", "__weakref__", "__module__", "__qualname__", "__annotations__", "__annotate__", "__annotate_func__",
    "__annotations_cache__", "__firstlineno__", "__static_attributes__", "_abc_impl",
}  # fmt: skip
_SINCE_MADE = ("__slots__", "__orig_bases__")  # what cannot be set later


class Snapshot:
    """A thing as it was when the snapshot was taken: `value` is the copy. Two with the same key are the same.

    >>> scale = [1]
    >>> taken = Snapshot.of(lambda: scale[0])
    >>> scale[0] = 2
    >>> taken.value()
    1
    """

    def __init__(self, key: str, value: Any, checks: Sequence[Check] = (), constant: bool = False) -> None:
        self.key, self.value, self.checks = key, value, checks
        self.constant = constant  # it reaches nothing that could have another value: only code, and what is installed

    @classmethod
    def of(cls, thing: Any, *more: Any) -> Snapshot:
        """Takes a snapshot; `more` is what its key depends on besides."""
        known, left = _Known(), _ROUNDS
        while True:
            body, left = io.BytesIO(), left - 1
            pickler = _Pickler(body, known)
            pickler.dump(thing)
            if left and pickler.learned(body.tell()):
                continue
            try:
                value = _restored(body.getvalue(), pickler.held)
            except Exception as error:
                if left and (pickler.not_restored() or known.shares()):
                    continue
                error.add_note("while copying what a recorded function uses, to run it as it is now")
                raise
            marks = b"\n".join([body.getvalue(), *pickler.marks, repr(more).encode()])
            return cls(hashlib.sha256(marks).hexdigest(), value, pickler.checks, not pickler.values)

    def check(self, title: str, seen: dict[int, bytes]) -> None:
        """Raises ChangedError if something that was not copied was changed since; `seen` are hashes made just now."""
        for each in self.checks:
            if changed := each(seen):
                raise ChangedError(
                    f"{changed} was changed after {title} was recorded, which uses it, and could not be copied, or is "
                    "too large for that.\n"
                    "Make a new one instead of changing it in place (w = 2 * w, not w *= 2), or compute before."
                )

    def __reduce__(self) -> Any:
        return Snapshot, (self.key, self.value)


def _restored(body: bytes, held: list[Any]) -> Any:
    above = getattr(_restoring, "held", None)
    _restoring.held = held
    try:
        return pickle.loads(body)
    finally:
        _restoring.held = above


@dataclass(frozen=True)
class _Whole:
    """An object that is held by reference; `content` is the hash of its pickle, empty if it does not pickle."""

    thing: Any
    content: bytes

    def changed(self, seen: dict[int, bytes]) -> str:
        """How to speak of it, if it was changed."""
        name = f"An object of {type(self.thing).__module__}.{type(self.thing).__qualname__}"
        if not self.content:
            return ""
        if id(self.thing) not in seen:
            seen[id(self.thing)] = _content(self.thing)
        return name if seen[id(self.thing)] != self.content else ""


@dataclass
class _Known:
    """Findings of earlier tries: objects to be held, and containers that some function reads."""

    whole: dict[int, _Whole] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)
    wanted: dict[int, set[str]] = field(default_factory=dict)  # names in globals of modules, by identity
    classes: dict[int, bytes] = field(default_factory=dict)  # the contents of those that cannot be copied
    within: bool = False  # whether it is the content of such a class that is written
    kept: set[tuple[str, bool]] = field(
        default_factory=set
    )  # names of what the functions themselves change: caches, counts
    share: bool = False  # whether classes are held that say how they are made of a pickle

    def shares(self) -> bool:
        """Holds such classes from now on, as one may be asked for that before it is made; False if that was so."""
        before, self.share = self.share, True
        return not before


def _content_now(thing: Any) -> bytes:
    """The hash of a class, or of what is in a module, with all that functions in it reach."""
    known = _Known(within=True)
    for left in reversed(range(_ROUNDS)):
        body = io.BytesIO()
        pickler = _Pickler(body, known)
        pickler.dump(thing)
        if not left or not pickler.learned(body.tell()):
            break
    return hashlib.sha256(b"\n".join([body.getvalue(), *pickler.marks])).digest()


def _content(thing: Any) -> bytes:
    return _size_and_content(thing)[1]


def _size_and_content(thing: Any) -> tuple[int, bytes]:
    """The size and the hash of the pickle of a thing; the hash is empty if it does not pickle."""
    try:
        body = pickling.dumps(thing)
    except Exception:  # whatever a __reduce__ raises
        return 0, b""
    return len(body), hashlib.sha256(body).digest()


_restoring = threading.local()


def _held(place: int) -> Any:
    return _restoring.held[place]


class Ref:
    """Stands in a pickle for what is held beside it."""

    def __init__(self, place: int) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return _held, (self.place,)


class _Pickler(pickling.Pickler):
    """Writes by value or holds by reference, as the module says."""

    def __init__(self, file: io.BytesIO, known: _Known) -> None:
        super().__init__(file)
        self.known = known
        self.held: list[Any] = []
        self.marks: list[bytes] = []
        self.checks: list[Check] = []
        self.objects: list[Any] = []
        self.stuck = False  # whether something does not pickle
        self.values = False  # whether there is more than code, and what is installed
        self._logs: set[int] = set()  # containers that are held, as a function does nothing but add to them
        self._read: set[int] = set()  # those that another reads
        self._places: dict[int, int] = {}
        self._called: dict[int, str] = {}  # how to speak of what is checked
        self._spaces: dict[int, _Space] = {}
        self._cells: dict[int, _Cell] = {}
        self._taken: dict[int, set[str]] = {}  # names in globals of modules that are copied, by identity
        self._modules: dict[int, tuple[dict[str, Any], bool]] = {}  # those met, and whether any name may be looked up
        self._names: set[str] = set()  # that any function mentions
        self._kept: set[tuple[str, bool]] = set()
        self._asks = False  # whether one looks up names that it makes up

    def learned(self, size: int) -> bool:
        """Whether this try has shown that something must not be copied: then another one is made.

        That is an object of a package that holds something that does not pickle, for half a copy would be broken; and a
        large one, which would be made again for each call. Nor must a list be held that some function reads.
        """
        before = len(self.known.whole) + len(self.known.read)
        more = self._looks_up_more() or (self.known.within and not self._kept <= self.known.kept)
        self.known.kept |= self._kept if self.known.within else set()
        self.known.read |= self._logs & self._read
        if self.stuck or size > SMALL:
            for each in self.objects[:_TRIED]:
                if not users_own(type(each).__module__):
                    length, content = _size_and_content(each)
                    if length > SMALL or not content:
                        self.known.whole[id(each)] = _Whole(each, content)
        return more or len(self.known.whole) + len(self.known.read) > before

    def _looks_up_more(self) -> bool:
        """Whether there are names in the modules met that functions may look up, beside those that are copied."""
        more = False
        for place, (space, anything) in self._modules.items():
            names = space.keys() if anything else self._names & space.keys()
            found = {name for name in names if not name.startswith("__")} - self._taken.get(place, set())
            if found - self.known.wanted.setdefault(place, set()):
                self.known.wanted[place] |= found
                more = True
        return more

    def not_restored(self) -> bool:
        """Whether there are objects that pickle, but cannot be made again of that: they are held in the next try."""
        before = len(self.known.whole)
        for each in self.objects[:_TRIED]:
            try:
                pickle.loads(pickling.dumps(each))
            except Exception:  # whatever making it raises
                self.known.whole[id(each)] = _Whole(each, _content(each))
        return len(self.known.whole) > before

    def ref(self, thing: Any, mark: str | bytes = b"", check: Check | None = None) -> Ref:
        """Holds a thing by reference; `mark` tells it from others, `check` says what of it was changed, if it was."""
        place = self._places.get(id(thing))
        if place is None:
            place = self._places[id(thing)] = len(self.held)
            self.held.append(thing)
            mark = mark or f"{type(thing).__qualname__} {id(thing)} {_PROCESS}"
            self.marks.append(mark.encode() if isinstance(mark, str) else mark)
            if check is not None:
                self.checks.append(check)
        return Ref(place)

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        if kind is FunctionType:
            return self._function(thing)
        if kind in (_Space, _Cell, Ref):
            return thing.__reduce__()
        if kind is CodeType:
            return self.ref(thing, _mark(thing)).__reduce__()
        if kind is ModuleType:
            return self._module(thing)
        if isinstance(thing, type):
            return self._class(thing)
        if kind in REDUCERS:
            return REDUCERS[kind](thing, self)
        if is_compiled(thing):
            return HOOKS["compiled"](thing, self)
        return self._object(thing, kind)

    def _object(self, thing: Any, kind: type) -> Any:
        if isinstance(thing, np.ndarray | ak.Array) and thing.nbytes > SMALL and not has_objects(thing):
            content = fingerprint(thing)
            name = self._called.get(id(thing), f"An array of {len(thing):,} entries")
            mark = content + f"{id(thing)} {_PROCESS}".encode()
            return self.ref(thing, mark, lambda seen: "" if seen_in(seen, thing) == content else name).__reduce__()
        if (whole := self.known.whole.get(id(thing))) is not None:
            return self.ref(thing, whole.content, whole.changed).__reduce__()
        if kind is object or isinstance(thing, DRAWN) or kind.__module__ == "numba.core.ccallback":
            return self.ref(thing).__reduce__()  # a compiled callback has taken what it reads already
        if issubclass(kind, io.IOBase) or (kind is np.ufunc and getattr(np, thing.__name__, None) is not thing):
            return self._stuck(thing)
        found = pickling.special(thing)
        if found is not None:
            return found
        if kind in self.dispatch_table:
            return NotImplemented
        try:
            reduced = thing.__reduce_ex__(5)
        except Exception:  # whatever it is: it does not pickle
            return self._stuck(thing)
        self.objects.append(thing)
        self._name(getattr(thing, "__dict__", {}), f"The attribute {{!r}} of the {kind.__name__}")
        return reduced

    def _stuck(self, thing: Any) -> Any:
        self.stuck = True
        return self.ref(thing).__reduce__()

    def _name(self, values: Any, words: str) -> None:
        for name, value in values.items():
            if isinstance(value, np.ndarray | ak.Array):
                self._called.setdefault(id(value), words.format(name))

    def _function(self, function: FunctionType) -> Any:
        if not users_own(function.__module__ or "") and _importable(function):
            return NotImplemented
        if (found := pickling.special(function)) is not None:
            return found
        code, title, reads = function.__code__, function.__qualname__, reads_of(function.__code__)
        space = function.__globals__
        self._names |= reads.names
        self._asks |= reads.asks
        self._kept |= reads.changed
        wanted = {*reads.globals, *self.known.wanted.get(id(space), ())}
        if reads.evaluates:
            wanted |= {name for name, value in space.items() if name in reads.texts or _is_plain(value)}
        self._imported(space, reads)
        used = {name: space[name] for name in sorted(wanted) if name in space and not self._is_state(name, space[name])}
        self._taken.setdefault(id(space), set()).update(used)
        cells = [self._cells.setdefault(id(cell), _Cell(cell)) for cell in function.__closure__ or ()]
        closed = {
            name: cell.cell.cell_contents for name, cell in zip(code.co_freevars, cells, strict=True) if cell.is_filled
        }
        closed = {name: value for name, value in closed.items() if not self._is_state(name, value)}
        self._name(used, f"The global {{!r}} of {title}")
        self._name(closed, f"The variable {{!r}} of {title}")
        inside: dict[int, Any] = {}
        for values in (used, closed):
            for name, value in values.items():
                self.values |= not (isinstance(value, _CODE) or is_compiled(value))
                if type(value) in LOGS and name in reads.logs and id(value) not in self.known.read:
                    values[name] = self.ref(value)
                    self._logs.add(id(value))
                elif type(value) in LOGS:
                    self._read.add(id(value))
                elif type(value) is ModuleType:
                    self._looked_up(value, reads.names, inside)
                    self._met(value, name in reads.bare and reads.asks)
        attributes: dict[str, Any] = {"__module__": function.__module__, "__qualname__": title}
        attributes |= {"__doc__": function.__doc__}
        attributes |= {"__defaults__": function.__defaults__, "__kwdefaults__": function.__kwdefaults__}
        filled = [(cell, closed[name]) for name, cell in zip(code.co_freevars, cells, strict=True) if name in closed]
        state = (used, filled, list(inside.values()), attributes, function.__dict__)
        made = (code, self._space(function.__globals__), function.__name__, tuple(cells))
        return _function_of, made, state, None, None, _fill_function

    def _is_state(self, name: str, value: Any) -> bool:
        """Whether a variable is changed by the functions themselves: then that it was changed tells nothing."""
        return (name, False) in self.known.kept or ((name, True) in self.known.kept and type(value) in LOGS)

    def _space(self, space: dict[str, Any]) -> _Space:
        return self._spaces.setdefault(id(space), _Space(space))

    def _module(self, module: ModuleType) -> Any:
        if not users_own(module.__name__):
            return self.ref(module, module.__name__).__reduce__()
        space = vars(module)
        if id(space) not in self._modules:  # it is an attribute, an argument, in a dict
            self._met(module, self._asks)
        found = {name: space[name] for name in self.known.wanted.get(id(space), ()) if name in space}
        self._taken.setdefault(id(space), set()).update(found)
        return _namespace, (self._space(space),), found, None, None, _fill_namespace

    def _imported(self, space: dict[str, Any], reads: Lookups) -> None:
        """Sees to it that the modules that a function imports are looked at again: it gets them as they are."""
        for level, name in reads.imports:
            whole = resolve_name("." * level + name, space.get("__package__") or "") if level else name
            module = sys.modules.get(whole)
            if module is None or not users_own(whole) or self.known.within:
                continue

            names = sorted(reads.names & vars(module).keys())  # others may come when modules inside of it are imported

            def found(module: ModuleType = module, names: list[str] = names) -> list[Any]:
                return [vars(module).get(name) for name in names]

            content, title = _content_now(found()), f"Something in the module {whole}"

            def changed(_: Any, found: Any = found, content: bytes = content, title: str = title) -> str:
                return "" if _content_now(found()) == content else title

            self.marks.append(content)
            self.checks.append(changed)

    def _met(self, module: ModuleType, anything: bool) -> None:
        if users_own(module.__name__):
            space = vars(module)
            self._modules[id(space)] = space, anything or self._modules.get(id(space), (space, False))[1]

    def _looked_up(self, module: ModuleType, names: frozenset[str], inside: dict[int, Any]) -> None:
        """Notes what a function may look up in a module of the user's own, and in those inside of it."""
        if id(module) in inside or not users_own(module.__name__):
            return
        found = {name: value for name, value in vars(module).items() if name in names and not name.startswith("__")}
        inside[id(module)] = (self._space(vars(module)), found)
        self.values = True
        self._taken.setdefault(id(vars(module)), set()).update(found)
        self._name(found, f"The variable {{!r}} of the module {module.__name__}")
        for value in found.values():
            if type(value) is ModuleType:
                self._looked_up(value, names, inside)

    def _class(self, kind: type) -> Any:
        if not users_own(kind.__module__):
            return NotImplemented if _importable(kind) else self.ref(kind).__reduce__()
        own = {name: value for name, value in vars(kind).items() if name not in _OF_PYTHON}
        own = {name: value for name, value in own.items() if not self._is_state(name, value)}
        if not _can_be_copied(kind) or (self.known.share and "__setstate__" in own):
            return self._shared_class(kind, own)
        self._name(own, f"The attribute {{!r}} of {kind.__qualname__}")
        self.values = True
        about = {name: own.pop(name) for name in _SINCE_MADE if name in own}
        about |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        own = {name: value for name, value in own.items() if not isinstance(value, MemberDescriptorType)}
        return _class_of, (type(kind), kind.__name__, kind.__bases__, about), own, None, None, _fill_class

    def _shared_class(self, kind: type, own: dict[str, Any]) -> Any:
        """Holds a class that cannot be copied by reference, and looks at it again, with all that its methods use."""
        self.values = True
        if self.known.within:
            if isinstance(kind, EnumType):  # which keeps what it looked up
                own = {name: value for name, value in own.items() if name.startswith("__") or not name.startswith("_")}
            return (*self.ref(kind).__reduce__(), own, None, None, _left)
        if id(kind) not in self.known.classes:
            self.known.classes[id(kind)] = _content_now(kind)
        content = self.known.classes[id(kind)]

        def changed(seen: dict[int, bytes]) -> str:
            if id(kind) not in seen:
                seen[id(kind)] = _content_now(kind)
            other = f"The class {kind.__qualname__}, or what its methods use,"
            return "" if seen[id(kind)] == content else _other_attribute(kind, own) or other

        return self.ref(kind, content + f"{kind.__qualname__} {id(kind)} {_PROCESS}".encode(), changed).__reduce__()


# how the copies are made


class _Space:
    """The globals of a module, in a pickle: all that reads them gets the same new dict."""

    def __init__(self, space: dict[str, Any]) -> None:
        self.space = space

    def __reduce__(self) -> Any:
        about = ("__name__", "__package__", "__path__", "__file__")
        return _new_space, ({name: self.space[name] for name in about if name in self.space},)


class _Cell:
    """A variable that functions close over, in a pickle; it is filled when they are there."""

    def __init__(self, cell: CellType) -> None:
        self.cell = cell

    @property
    def is_filled(self) -> bool:
        try:
            return self.cell.cell_contents is self.cell.cell_contents
        except ValueError:
            return False

    def __reduce__(self) -> Any:
        return _new_cell, ()


def _new_space(about: dict[str, Any]) -> dict[str, Any]:
    about["__builtins__"] = builtins  # which C code looks for when it imports something
    return about


def _new_cell() -> CellType:
    return CellType()


def _function_of(code: CodeType, space: dict[str, Any], name: str, cells: tuple[CellType, ...]) -> FunctionType:
    return FunctionType(code, space, name, None, cells)


def _fill_function(function: FunctionType, state: tuple[Any, ...]) -> None:
    used, filled, inside, attributes, others = state
    function.__globals__.update(used)
    for space, found in inside:
        space.update(found)
    for cell, value in filled:
        cell.cell_contents = value
    for name, value in attributes.items():
        setattr(function, name, value)
    function.__dict__.update(others)


def _class_of(meta: type, name: str, bases: tuple[type, ...], about: dict[str, Any]) -> type:
    return meta(name, bases, dict(about))  # type: ignore[no-any-return]


def _left(kind: type, own: dict[str, Any]) -> None:
    """Leaves a class as it is: that it is written out tells whether it was changed."""


def _fill_class(kind: type, own: dict[str, Any]) -> None:
    for name, value in own.items():
        setattr(kind, name, value)


class Namespace:
    """Stands for a module of the user's own: what was looked up in it is as it was, the rest as it is."""

    def __getattr__(self, name: str) -> Any:
        module = sys.modules.get(vars(self).get("__name__", ""))
        if module is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"module {vars(self).get('__name__')!r} has no attribute {name!r}")
        return getattr(module, name)

    def __reduce__(self) -> Any:
        return _namespace, ({name: value for name, value in vars(self).items() if name != "__builtins__"},)


def _namespace(space: dict[str, Any]) -> Namespace:
    made = Namespace()
    made.__dict__ = space
    return made


def _fill_namespace(made: Namespace, found: dict[str, Any]) -> None:
    made.__dict__.update(found)


# what there is to copy


@lru_cache(maxsize=4096)
def _mark(code: CodeType) -> bytes:
    return hashlib.sha256(marshal.dumps(code)).digest()


def _is_plain(value: Any) -> bool:
    """Whether a global may be meant where names are made up: numbers, texts, arrays, and lists and dicts of such."""
    if type(value) in (list, tuple, dict):
        inner = value.values() if type(value) is dict else value
        return len(value) <= _TRIED and all(map(_is_plain, inner))
    return isinstance(value, bool | int | float | complex | str | np.generic | np.ndarray)


def is_compiled(thing: Any) -> bool:
    """Whether numba has compiled a function, or will."""
    if not type(thing).__module__.startswith("numba.") or not hasattr(thing, "targetoptions"):
        return False
    return hasattr(thing, "py_func") or (hasattr(thing, "types") and hasattr(thing, "__wrapped__"))


def _importable(thing: Any) -> bool:
    """Whether a function or class is what one gets by its name."""
    found: Any = sys.modules.get(thing.__module__ or "")
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


def _can_be_copied(kind: type) -> bool:
    """Whether a class can be made once more without a difference, and whether nobody else has to know it.

    Exceptions are caught by their class, enumerations are compared by identity, behaviors found by awkward.
    """
    if type(kind) not in (type, abc.ABCMeta, type(Protocol)) or issubclass(kind, BaseException | ak.Array | ak.Record):
        return False
    return not any("__init_subclass__" in vars(each) for each in kind.__mro__[:-1] if each.__module__ != "typing")


def _other_attribute(kind: type, before: dict[str, Any]) -> str:
    for name, value in vars(kind).items():
        if name not in _OF_PYTHON and before.get(name, _MISSING) is not value:
            return f"{kind.__qualname__}.{name}"
    return ""


_MISSING = object()


__all__ = ["HOOKS", "REDUCERS", "SMALL", "Namespace", "Ref", "Snapshot", "fingerprint", "is_compiled"]

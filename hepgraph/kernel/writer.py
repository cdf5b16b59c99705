"""The writer of LLVM text: names, blocks, arguments, and the values that are known where one is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hepgraph.graph.node import Space
from hepgraph.kernel.parameters import Parameters
from hepgraph.kernel.types import stored_type

INT = np.dtype(np.int64)
BOOL = np.dtype(bool)
REAL = np.dtype(np.float64)


@dataclass(frozen=True)
class Argument:
    """An argument of the kernel: a pointer to a column, scratch, a sum, bins, a batch, a stream, a function..."""

    kind: str
    item: Any
    dtype: np.dtype[Any]
    part: int = 0


@dataclass(eq=False)
class Cursor:
    """The current element of a space: its number in its column (or scratch), its position in its list, its members."""

    id: str | None = None
    ordinal: str | None = None
    legs: tuple[Cursor, ...] = ()
    found: str | None = None


Env = dict[Space, Cursor]


@dataclass
class Winner:
    """Where the best element so far of a pick is kept."""

    found: str
    best: str | None
    places: list[str]
    shape: Cursor | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Shared:
    """The shared state of a module's functions: arguments, constants, functions, room for batches, and parameters."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.declared: dict[str, None] = {}
        self.arguments: dict[Argument, str] = {}
        self.constants: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.areas: dict[np.dtype[Any], int] = {}
        self.loops: list[str] = []  # what LLVM is told about loops


class FunctionText:
    """The lines of a function under way, and those that come before all others."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.top: list[str] = []
        self.number = 0

    def emit(self, text: str) -> str:
        """Writes an instruction that gives a value."""
        self.number += 1
        name = f"%v{self.number}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Writes an instruction that gives none."""
        self.lines.append(f"  {text}")

    def start(self, label: str) -> None:
        """Begins a block."""
        self.lines.append(f"{label}:")


class Writer(FunctionText):
    """Text of a function under way, the scopes that values are known in, and the arguments."""

    def __init__(self, shared: Shared, check: bool) -> None:
        super().__init__()
        self.check = check
        self.arguments, self.declared = shared.arguments, shared.declared
        self.constants, self.functions = shared.constants, shared.functions
        self.loops, self.parameters = shared.loops, shared.parameters
        self.used: dict[str, None] = {}
        self.looked_up_once: dict[int, str] = {}  # parameters
        self.scopes: list[dict[Any, Any]] = [{}]
        self.error = self.variable("i32")
        self.only: str | None = None  # a condition for what is done, where there is no branch

    def parameter(self, x: Any) -> str | None:
        """A double that is looked up, once in a function, for a literal or a weight; None if it is no parameter."""
        place = self.parameters.place(x)
        if place is None:
            return None
        if place not in self.looked_up_once:
            pointer = self.pointer("parameters", None, REAL)
            self.number += 2
            at, name = f"%t{self.number - 1}", f"%t{self.number}"
            self.top.append(f"  {at} = getelementptr inbounds double, ptr {pointer}, i64 {place}")
            self.top.append(f"  {name} = load double, ptr {at}")
            self.looked_up_once[place] = name
        return self.looked_up_once[place]

    def declare(self, text: str) -> None:
        """Declares an external function, once."""
        self.declared[text] = None

    def block(self, name: str) -> str:
        """A fresh label."""
        self.number += 1
        return f"{name}{self.number}"

    def variable(self, kind: str) -> str:
        """A place on the stack; LLVM makes a register of it."""
        self.number += 1
        name = f"%a{self.number}"
        self.top.append(f"  {name} = alloca {kind}")
        return name

    def one(self) -> str:
        """The increment of a counter: 1, or 0 where the current entry does not count."""
        return "1" if self.only is None else self.emit(f"zext i1 {self.only} to i64")

    def vector_loop(self) -> str:
        """The metadata at the end of a loop that LLVM may unroll or vectorise."""
        k = 2 * len(self.loops)
        self.loops.append(
            f'!{k} = distinct !{{!{k}, !{k + 1}}}\n!{k + 1} = !{{!"llvm.loop.vectorize.enable", i1 true}}'
        )
        return f", !llvm.loop !{k}"

    def pointer(self, kind: str, item: Any, dtype: np.dtype[Any], part: int = 0) -> str:
        """The pointer that is this argument of the kernel."""
        name = self.arguments.setdefault(Argument(kind, item, dtype, part), f"%p{len(self.arguments)}")
        self.used[name] = None
        return name

    def fail(self, test: str) -> None:
        """Under a condition, the interpreter has to say what is wrong."""
        if self.only is not None:
            test = self.emit(f"and i1 {test}, {self.only}")
        old = self.emit(f"load i32, ptr {self.error}")
        self.do(f"store i32 {self.emit(f'select i1 {test}, i32 1, i32 {old}')}, ptr {self.error}")

    def within(self, pointer: str, index: str) -> str:
        """An index that was checked, where checks are asked for."""
        if not self.check:
            return index
        argument = number_of(pointer)
        places = [self.emit(f"getelementptr i64, ptr %sizes, i64 {2 * argument + k}") for k in (0, 1)]
        low, size = (self.emit(f"load i64, ptr {place}") for place in places)
        return checked(self, index, low, size, str(argument))

    def load(self, pointer: str, index: str, dtype: np.dtype[Any]) -> str:
        """An element of an array."""
        t = stored_type(dtype)
        index = self.within(pointer, index)
        place = self.emit(f"getelementptr inbounds {t}, ptr {pointer}, i64 {index}")
        value = self.emit(f"load {t}, ptr {place}")
        return self.emit(f"icmp ne i8 {value}, 0") if dtype == BOOL else value

    def store(self, pointer: str, index: str, value: str, dtype: np.dtype[Any]) -> None:
        """Sets an element of an array."""
        t = stored_type(dtype)
        index = self.within(pointer, index)
        place = self.emit(f"getelementptr inbounds {t}, ptr {pointer}, i64 {index}")
        if dtype == BOOL:
            value = self.emit(f"zext i1 {value} to i8")
        self.do(f"store {t} {value}, ptr {place}")

    def known(self, key: Any) -> Any:
        """A value that was computed before, in this block or one around it."""
        for scope in reversed(self.scopes):
            if key in scope:
                return scope[key]
        return None

    def remember(self, key: Any, value: Any) -> Any:
        """Keeps a value for the rest of this block."""
        self.scopes[-1][key] = value
        return value


def number_of(pointer: str) -> int:
    """The number of the argument that a pointer is.

    >>> number_of("%p12")
    12
    """
    return int(pointer.removeprefix("%p"))


def checked(f: Any, index: str, low: str, size: str, argument: str) -> str:
    """An index that is safe to use; where it was not, the report says so."""
    away = f.emit(f"sub i64 {index}, {low}")
    fine = f.emit(f"icmp ult i64 {away}, {size}")
    place = f.emit("getelementptr i64, ptr %report, i64 1")
    for where, value in (("%report", argument), (place, index)):
        old = f.emit(f"load i64, ptr {where}")
        new = f.emit(f"select i1 {fine}, i64 {old}, i64 {value}")
        f.do(f"store i64 {new}, ptr {where}")
    return str(f.emit(f"select i1 {fine}, i64 {index}, i64 {low}"))

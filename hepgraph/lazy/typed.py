"""The types of lazy arrays, which are those of awkward without the number of rows; their class's own; no layout."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NoReturn

import awkward as ak

from hepgraph.errors import LazyError


class LazyType:
    """The type of a lazy value, from its text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    def text(self) -> str:
        """The type over several lines, one field a line."""
        return _indented(str(self))

    def show(self, stream: Any = None) -> None:
        """Prints the type over several lines."""
        print(self.text(), file=stream)


class LazyArrayType(LazyType, ak.types.ArrayType):  # type: ignore[misc]
    """The type of a lazy array, which libraries may ask for its content as they ask that of a computed one.

    >>> import hepgraph as hg
    >>> kind = ak.type(hg.from_awkward(ak.Array([[1.0], []])))
    >>> kind, str(kind.content), isinstance(kind, ak.types.ArrayType), kind == ak.type(ak.Array([[2.0]]))
    (## * var * float64, 'var * float64', True, True)
    """

    _behavior = None

    def __str__(self) -> str:
        return f"## * {self._text}"

    __repr__ = __str__

    @property
    def _content(self) -> Any:
        return _parsed(self._text)

    @property
    def _length(self) -> Any:
        return _unknown()

    def is_equal_to(self, other: Any, *, all_parameters: bool = False) -> bool:
        """Whether it is the type of as many dimensions of the same."""
        same = isinstance(other, ak.types.ArrayType)
        return same and bool(self.content.is_equal_to(other.content, all_parameters=all_parameters))

    __eq__ = is_equal_to
    __hash__ = object.__hash__


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    return ak.types.from_datashape(text, highlevel=False)


@lru_cache(maxsize=1)
def _unknown() -> Any:
    """A number of rows that is not known, as awkward has it."""
    return ak.to_layout([0]).to_typetracer(forget_length=True).length


def _indented(text: str) -> str:
    """A type, broken into one line a field of its outer record."""
    out, depth, line = [], 0, ""
    for char in text:
        if char in "{[(" and depth < 2:
            depth += 1
            out.append(line + char)
            line = "    " * depth
        elif char in "}])" and depth <= 2 and depth > 0 and _balanced(line):
            out.append(line)
            depth -= 1
            line = "    " * depth + char
        elif char == "," and depth <= 2 and _balanced(line.lstrip(" ]})")):
            out.append(line + char)
            line = "    " * depth
        elif not (char == " " and not line.strip()):
            line += char
    return "\n".join(part for part in [*out, line] if part.strip())


def _balanced(text: str) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ("{}", "[]", "()"))


# what of awkward's arrays says nothing, or raises, before they are computed
_COMPUTED = {"Mask", "attrs", "behavior", "cpp_type", "layout", "named_axis", "nbytes", "numba_type", "positional_axis",
             "to_list", "to_numpy", "tolist"}  # fmt: skip


class Listed(type(ak.Array)):  # type: ignore[misc]
    """A class whose names are listed without those, for completion asks it as well.

    Nothing is registered as one of its kind, as with awkward's classes: to ask for it is quicker by far.
    """

    __instancecheck__ = type.__instancecheck__

    def __dir__(cls) -> Iterable[str]:
        return set(super().__dir__()) - _COMPUTED


class NoLayout:
    """A stand-in for the layout that a lazy array does not have."""

    @property
    def backend(self) -> Any:
        return _typetracer()

    def __getattr__(self, name: str) -> NoReturn:
        if name == "__wrapped__":  # asked of any object by inspect.unwrap
            raise AttributeError(name)
        self.none(f" ({name})")

    def none(self, name: str) -> NoReturn:
        """Raises LazyError."""
        raise LazyError(f"A lazy array has no layout{name} before it is computed; use .compute() first.")


@lru_cache(maxsize=1)
def _typetracer() -> Any:
    return ak.to_layout(ak.to_backend(ak.Array([0]), "typetracer")).backend


NO_LAYOUT = NoLayout()

"""Modules that are imported on first use."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def together() -> Iterator[None]:
    """While large libraries are imported, garbage is not collected: there is none, and looking for it takes a fifth."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def getter(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package: `places` has for each name the module that it is in, below the package.

    >>> getter("json", {"JSONDecoder": "decoder"})("JSONDecoder").__name__
    'JSONDecoder'
    """

    def found(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with together():
            return getattr(import_module(f"{package}.{places[name]}"), name)

    return found


def function(module: str, name: str) -> Callable[..., Any]:
    """A function that is imported when it is first called."""

    def called(*args: Any, **options: Any) -> Any:
        with together():
            wanted = getattr(import_module(module), name)
        return wanted(*args, **options)

    return called

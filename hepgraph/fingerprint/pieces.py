"""Hashes of the pieces of an analysis by their names, which say what was changed where its fingerprint is another."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from hepgraph.fingerprint.digester import Digester

_NUMBERED = re.compile(r"(\[\d+\])+$")  # parts of lists, constants of functions
_TOLD = 4  # names of pieces in a sentence


class NamedParts(Digester):
    """A hash that keeps those of the functions, classes, globals and objects that it is made of."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, set[str]] = {}
        self._where, self._visit = "", hashlib.blake2b(digest_size=8)

    def add(self, thing: Any, where: str) -> None:
        """Adds anything; `where` is the name of the piece that it is, or is a part of."""
        piece = _NUMBERED.sub("", where.removeprefix("a key of "))
        if piece == self._where:
            super().add(thing, where)
            return
        before = self._where, self._visit
        self._where, self._visit = piece, hashlib.blake2b(digest_size=8)
        nothing = self._visit.digest()
        super().add(thing, where)
        if self._visit.digest() != nothing:  # what was met before is known by its first name
            self._found.setdefault(piece, set()).add(self._visit.hexdigest())
        self._where, self._visit = before

    def _put(self, tag: str, data: bytes | str = b"") -> None:
        super()._put(tag, data)
        if tag == "installed":
            name, _, version = str(data).partition(" ")
            package = "Python" if version.startswith("Python ") else name.partition(".")[0]
            self._found[f"the version of {package}"] = {version}
        elif tag != "seen":
            text = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
            self._visit.update(f"{tag}:{len(text)}:".encode() + text)

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of each piece, by its name."""
        return {name: "".join(sorted(each)) for name, each in sorted(self._found.items())}


def pieces(thing: Any) -> dict[str, str]:
    """The hashes of all that an analysis is made of, by name; none if it is nested too deeply.

    >>> class Cut:
    ...     least = 20
    >>> before = pieces(Cut)
    >>> Cut.least = 30
    >>> changed(before, pieces(Cut))
    'hepgraph.fingerprint.pieces.Cut.least'
    """
    made, kind = NamedParts(), thing if hasattr(thing, "__qualname__") else type(thing)
    try:
        made.add(thing, f"{kind.__module__}.{kind.__qualname__}".removeprefix("__main__."))
    except RecursionError:
        return {}
    return made.hashes


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The names of the pieces that are others now; of those that came or went, if there are no such."""
    names = [name for name in now if name in before and before[name] != now[name]]
    names = names or [f"{name} is new" for name in now if name not in before]
    names = names or [f"{name} is gone" for name in before if name not in now]
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more

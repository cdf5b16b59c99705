"""Dependencies that a fingerprint cannot track: files and code known only when they are used, objects without content.

The report tells them, and a run that would use stored results asks: a user says with `trust=` that they are as they
were, or with `depends=` what to look at instead.
"""

from __future__ import annotations

from dataclasses import dataclass

FILE, CODE, STATE = "file", "code", "state"

_ENTRIES = {"process", "postprocess"}  # what a run calls by itself
_MAKING = {"__init__", "__new__", "__post_init__"}  # what has run already, of an object that is there


@dataclass(frozen=True)
class Untracked:
    """A dependency that cannot be tracked: the name of the function or variable, why, of which kind, and the line."""

    where: str
    why: str
    kind: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.where} {self.why}" + f" ({self.line})" * bool(self.line)


@dataclass(frozen=True)
class Member:
    """The way from a class or module to a member: by its name, or always, if Python or a package may call it."""

    name: str
    always: bool = False
    module: bool = False

    def used(self, called: bool, words: set[str], any_name: str) -> bool:
        """Whether it may be used, by one of the words, or any name; `called` is whether its class is."""
        if self.name in _MAKING:
            return called
        special = self.name.startswith("__") and self.name.endswith("__")
        return self.always or special or self.name in words or any_name in (OF_ALL, self.module and OF_MODULES)


OF_MODULES, OF_ALL = "modules", "all"
MADE, BASE = "an object's class", "a class's base"
Way = Member | str | None


class Reach:
    """Which functions may run, of all that were seen: what an `__init__` alone calls has run before.

    A thing is reached from what holds or names it; a method by its name in a function that may run; an `__init__`
    where a class is named, but not from an object that there is.
    """

    def __init__(self) -> None:
        self._ways: dict[int, list[tuple[int, Way]]] = {}
        self._words: dict[int, frozenset[str]] = {}
        self._any: dict[int, str] = {}
        self._found: list[tuple[int, Untracked]] = []

    def way(self, start: int, end: int, how: Way) -> None:
        """Says that there is a way from one thing to another."""
        self._ways.setdefault(start, []).append((end, how))

    def mention(self, thing: int, words: frozenset[str]) -> None:
        """Says which names of attributes a function may look up."""
        self._words[thing] = words

    def mention_any(self, thing: int, where: str) -> None:
        """Says that a function may look up any name: OF_MODULES, or OF_ALL if what it looks at may be an object."""
        if self._any.get(thing) != OF_ALL:
            self._any[thing] = where

    def find(self, thing: int, found: Untracked) -> None:
        """Notes what cannot be tracked, in a function or another thing."""
        self._found.append((thing, found))

    def untracked(self, root: int) -> tuple[Untracked, ...]:
        """The dependencies of all that may run which cannot be tracked, in the order in which they were found."""
        if not self._found:
            return ()
        reached, called, words = {root}, {root}, set(_ENTRIES)
        while True:
            before = len(reached), len(called), len(words)
            any_of = {where for thing, where in self._any.items() if thing in reached}
            any_name = OF_ALL if OF_ALL in any_of else next(iter(any_of), "")
            for start in reached.copy():
                words |= self._words.get(start, frozenset())
                for end, how in self._ways.get(start, ()):
                    if not isinstance(how, Member) or how.used(start in called, words, any_name):
                        reached.add(end)
                        if how is None or (how == BASE and start in called):
                            called.add(end)
            if before == (len(reached), len(called), len(words)):
                break
        return tuple(dict.fromkeys(found for thing, found in self._found if thing in reached))

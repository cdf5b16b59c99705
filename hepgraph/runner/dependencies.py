"""A user's word on dependencies that cannot be tracked: what to trust, which files and values results depend on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgraph.errors import CheckpointError, nearest
from hepgraph.fingerprint import FILE, STATE, Untracked, fingerprint
from hepgraph.io.access.store import read_bytes


@dataclass(frozen=True)
class Dependencies:
    """A user's word on dependencies that cannot be tracked: names to trust, or all; and files and values that count."""

    trust: bool | tuple[str, ...] = False
    depends: tuple[Any, ...] = ()

    @classmethod
    def of(cls, trust: Any, depends: Any) -> Dependencies:
        """From the arguments of a run; raises CheckpointError for what they cannot be."""
        if isinstance(trust, str):
            trust = (trust,)
        if not isinstance(trust, bool):
            if not isinstance(trust, list | tuple | set) or not all(isinstance(name, str) for name in trust):
                raise CheckpointError(
                    f"trust= takes True, or a list of names as the message of a checkpoint gives them, not {trust!r}."
                )
            trust = tuple(trust)
        if isinstance(depends, list | tuple):
            return cls(trust, tuple(depends))
        raise CheckpointError(
            f"depends= takes a list of files and values that results depend on: depends=[{depends!r}]."
        )

    @property
    def files(self) -> list[str]:
        """The files and folders among what results depend on."""
        return [os.fspath(each) for each in self.depends if isinstance(each, str | os.PathLike)]

    def hashes(self, storage_options: Mapping[str, Any] | None = None) -> dict[str, str]:
        """The hashes of what results depend on, by the path of a file, and the number of another value.

        Raises CheckpointError for a file that is not there, and for a value that has no content.
        """
        found = {}
        for i, each in enumerate(self.depends):
            if isinstance(each, str | os.PathLike):
                found[os.fspath(each)] = hash_of_file(os.fspath(each), storage_options)
                continue
            made = fingerprint(each)
            if made.untracked:
                raise CheckpointError(
                    f"depends[{i}] cannot tell whether it is as it was: {made.untracked[0]}. It takes paths of files, "
                    "and values that can be pickled."
                )
            found[f"value {i}"] = made.key
        return found

    def unanswered(self, found: Iterable[Untracked]) -> list[Untracked]:
        """The untracked dependencies that the user has not answered for; `depends` answers for opened files."""
        if self.trust is True:
            return []
        names = self.trust or ()
        return [
            each
            for each in found
            if not any(each.where == name or each.where.startswith((f"{name}.", f"{name}[")) for name in names)
            and not (each.kind == FILE and self.files)
        ]

    def question(self, found: Sequence[Untracked], what: str) -> str:
        """The question about dependencies that cannot be tracked, in a run that goes on from `what`."""
        names = list(dict.fromkeys(each.where for each in found))
        text = [f"{what} cannot track all that its results depend on:", *(f"  {each}" for each in found[:10])]
        if len(found) > 10:
            text.append(f"  ... and {len(found) - 10} more")
        for name in () if isinstance(self.trust, bool) else self.trust:
            near = nearest(name, names)
            if near and not any(each.startswith(name) for each in names):
                text.append(f"trust= has {name!r}, which none of these is called; nearest: {', '.join(near)}.")
        kinds = {each.kind for each in found}
        if FILE in kinds:
            text.append(
                "Name the files that functions open, so that their content counts: depends=[path, ...]. Or open them "
                "in __init__, and keep what they hold."
            )
        if STATE in kinds:
            text.append(
                "Make objects without content in setup= of hg.map_partitions, whose code counts; or name the files "
                "that they are made of, too: depends=[path, ...]."
            )
        listed = f"trust=[{', '.join(map(repr, names[:3]))}{', ...' * (len(names) > 3)}]"
        text.append(f"If {'it does' if len(found) == 1 else 'they do'} not change between runs, say so: {listed}, or "
                    "trust=True for all.")  # fmt: skip
        return "\n".join(text)


def hash_of_file(path: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """The hash of the content of a file, local or remote, or of all files of a local folder."""
    made = hashlib.blake2b(digest_size=20)
    folder = Path(path)
    if folder.is_dir():
        for inside in sorted(each for each in folder.rglob("*") if each.is_file()):
            made.update(f"{inside.relative_to(folder)} {inside.stat().st_size} ".encode())
            made.update(inside.read_bytes())
        return made.hexdigest()
    try:
        made.update(read_bytes(path, storage_options))
    except OSError as error:
        there = sorted(os.listdir(folder.parent)) if folder.parent.is_dir() else []
        near = nearest(folder.name, there)
        raise CheckpointError(
            f"depends= names {path!r}, which cannot be read: {type(error).__name__}: {error}."
            + (f" Nearest names there: {', '.join(near)}." if near else "")
            + f" A text that is no path goes into a tuple: depends=[({path!r},)]."
        ) from error
    return made.hexdigest()

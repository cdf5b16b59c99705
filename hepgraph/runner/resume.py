"""An incomplete result, and whether a run may go on from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hepgraph.errors import ResumeError
from hepgraph.fingerprint import Fingerprint
from hepgraph.plan.passes import AnyPass, Pass
from hepgraph.runner.checkpoint import packed, unpacked
from hepgraph.runner.partial_sums import Gathered
from hepgraph.runner.work import dataset_of

FileKey = tuple[str, str, str]  # path, tree, identity; without the last, where the file could not be opened


@dataclass(frozen=True)
class Incomplete:
    """An incomplete result: for each pass its key, its files in order, and its partial sums."""

    keys: list[str]
    files: list[list[FileKey]]
    gathered: list[Gathered] | bytes

    @classmethod
    def of(cls, passes: Sequence[AnyPass], prints: Sequence[Fingerprint], gathered: list[Gathered]) -> Incomplete:
        """The incomplete result of a run."""
        keys = [key_of(each, made) for each, made in zip(passes, prints, strict=True)]
        return cls(keys, [files_of(each) for each in passes], gathered)

    def packed(self) -> Incomplete:
        """The same, with copies of the sums, which finishing the run would use up."""
        return replace(self, gathered=packed(self.gathered))

    def unpacked(self) -> list[Gathered]:
        """A copy of the sums, to go on from."""
        whole: Any = self.gathered if isinstance(self.gathered, bytes) else packed(self.gathered)
        return unpacked(whole)  # type: ignore[no-any-return]

    def check(self, passes: Sequence[AnyPass], prints: Sequence[Fingerprint]) -> None:
        """Raises ResumeError if passes, with these fingerprints, are of another analysis, ranges or files."""
        if [key_of(each, made) for each, made in zip(passes, prints, strict=True)] != self.keys:
            raise ResumeError(
                "The report to resume from is of another analysis: its code, its parameters, the datasets or the types "
                "of their columns have changed. Run it again without resume=."
            )
        for each, before in zip(passes, self.files, strict=True):
            _same_files(each, before)


def key_of(each: AnyPass, made: Fingerprint) -> str:
    """The key of a pass: its fingerprint, and the ranges that it is for alone."""
    ranges = each.ranges if isinstance(each, Pass) else None
    return made.key if ranges is None else f"{made.key} {' '.join(map(str, ranges))}"


def files_of(each: AnyPass) -> list[FileKey]:
    """The files of a pass in order."""
    source = each.origin.source
    found: list[FileKey] = []
    for i, file in enumerate([*source.files, None]):
        found += [(gone.path, gone.tree, "") for gone in source.absent if gone.before == i]
        found += [(file.path, file.tree, source.identity(file) or "unknown")] if file is not None else []
    return found


def _same_files(each: AnyPass, before: Sequence[FileKey]) -> None:
    """Raises ResumeError if a file is not the one that an earlier run has read."""
    now = files_of(each)
    if [path for path, _, _ in now] != [path for path, _, _ in before]:
        raise ResumeError(
            f"The files of {called(each)} are not those of the report to resume from. Give the same fileset, or use "
            "checkpoint=, which goes by the content of files."
        )
    for (path, _, old), (_, _, new) in zip(before, now, strict=True):
        if old and new and old != new:
            raise ResumeError(
                f"{path} has changed since the run that is to be resumed, whose result has events of the old file in "
                "it. Run it again without resume=."
            )


def called(each: AnyPass) -> str:
    """The dataset of a pass, in words."""
    name = dataset_of(each)
    return f"dataset {name!r}" if name else str(each.origin.source.name)

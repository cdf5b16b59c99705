"""Options of a run, as its user gave them: checked once, and the same for every way to run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hepgraph.arguments import check_step_size, known_only
from hepgraph.datasets.schema import Schema
from hepgraph.errors import CheckpointError, ResumeError
from hepgraph.io.cache.columns import ColumnCache, cache_of
from hepgraph.runner.dependencies import Dependencies
from hepgraph.runner.report import Report
from hepgraph.runner.retry import Policy

ENGINES = ("auto", "interpreter", "kernel")


@dataclass(frozen=True, eq=False)
class Options:
    """Options of a run; `hg.compute` and `hg.run` say what each means.

    Raises ValueError, CheckpointError or ResumeError for what they cannot be. `whole`: it is an error if nothing of a
    dataset could be read; else its results are None.
    """

    executor: Any = None
    engine: str = "auto"
    progress: bool | None = None
    report: bool = False
    on_error: str = "raise"
    retries: int = 3
    checkpoint: str | Path | None = None
    trust: bool | Sequence[str] = False
    depends: Sequence[Any] = ()
    resume: Report | None = None
    storage_options: Mapping[str, Any] | None = None
    schema: str | Path | Schema | None = "nanoaod"
    optional: str | Sequence[str] | Mapping[str, Any] | None = None
    tree: str | None = None
    step_size: int | str | None = None
    strict: bool = False
    eager: bool = False
    memory: str | int | None = None
    cache: str | Path | ColumnCache | None = None
    whole: bool = True
    policy: Policy = field(init=False, repr=False)
    dependencies: Dependencies = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.strict and self.eager:
            raise ValueError("strict=True forbids what eager=True asks for; give only one of the two.")
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {self.engine!r}")
        object.__setattr__(self, "policy", Policy(self.on_error, self.retries))
        object.__setattr__(self, "dependencies", Dependencies.of(self.trust, self.depends))
        object.__setattr__(self, "checkpoint", _checkpoint(self.checkpoint, self.resume))
        check_step_size(self.step_size)

    @classmethod
    def of(cls, face: Callable[..., Any], **options: Any) -> Options:
        """The options of a public function; raises TypeError for an argument that it does not have."""
        known_only(face, options)
        return cls(**options)

    @cached_property
    def columns(self) -> ColumnCache | None:
        """The cache of columns."""
        return cache_of(self.cache)


def _checkpoint(checkpoint: Any, resume: Any) -> str | None:
    """The checkpoint that is meant: a report that was read from a file, of a run with one, means that one."""
    if resume is not None:
        if not isinstance(resume, Report):
            raise ResumeError(f"resume= takes the report of a run (report=True), not a {type(resume).__name__}.")
        if resume._resume is None and checkpoint is None:
            checkpoint = resume.provenance.get("checkpoint")
            if checkpoint is None and resume.complete:
                raise ResumeError("Nothing is missing from the run to be resumed: its result is whole.")
            if checkpoint is None:
                raise ResumeError(
                    "This report was read from a file, which holds no results to go on from; a run with checkpoint= "
                    "keeps them."
                )
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise CheckpointError(f"checkpoint= takes a directory or an URL, not {checkpoint!r}.")
    return None if checkpoint is None else os.fspath(checkpoint)

"""Tracing: a processor is called once on lazy events; one that cannot be recorded runs eagerly, and that is told.

Not every error says so by itself. A library that wants computed arrays may raise one of its own, and the user's
`except` may swallow any. So errors of recording are noted where they are made, and others are tried on a few computed
events: what fails there alike is an error of the processor.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from hepgraph.errors import FallbackWarning, HepgraphError, LazyError, ProcessorError, UnsupportedError, noted
from hepgraph.functions.lines import code_at, line_of, place, users_level
from hepgraph.io.source import Origin
from hepgraph.lazy.array import Lazy
from hepgraph.processor.accumulate import check
from hepgraph.processor.eager import EagerPass
from hepgraph.processor.state import OutsideState, fresh
from hepgraph.runner.compute import leaves, rebuilt
from hepgraph.runner.retry import Policy, user_line_of

_PASSING_ON = {"concurrent", "threading", "multiprocessing", "asyncio"}  # errors of what they call
_ASKING = {"hepgraph", "awkward", "numpy", "IPython", "rich"} | set(sys.stdlib_module_names) - _PASSING_ON


def trace(process: Callable[[Any], Any], events: Any) -> tuple[Any, Exception | None]:
    """The output of a processor for lazy events, and the error that kept it from being recorded, if there was one."""
    known = fresh(events.metadata)
    with noted() as errors:
        try:
            output = process(events)
        except Exception as error:
            return None, error
        finally:  # the next run that opens the same files has the same dict
            events.metadata.update(known)
            for name in events.metadata.keys() - known.keys():
                del events.metadata[name]
        return output, next(filter(_swallowed, errors), None)


def untraceable(error: BaseException | None) -> bool:
    """Whether an error says, at its root, that something cannot be recorded."""
    while error is not None:
        if isinstance(error, LazyError | UnsupportedError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _swallowed(error: HepgraphError) -> bool:
    """Whether an error of recording was caught by the user's code, or by a library that it calls.

    The traceback of an error begins where it was caught. Where that is in hepgraph, or in a library that asks arrays
    what they can do, nothing is missing from the output.
    """
    caught: TracebackType | None = error.__traceback__
    if caught is None or not untraceable(error):
        return False
    name = caught.tb_frame.f_globals.get("__name__", "")
    return name.startswith("hepgraph.processors") or name.partition(".")[0] not in _ASKING


@dataclass
class Traced:
    """A processor traced on one dataset after another: recorded outputs, and passes that run eagerly, by dataset."""

    processor: Any
    policy: Policy
    strict: bool = False
    eager: bool = False
    outputs: dict[str, Any] = field(default_factory=dict)
    passes: dict[str, EagerPass] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    def add(self, name: str, events: Lazy) -> None:
        """Traces one more dataset; warns if the processor cannot be recorded there, and raises the user's errors."""
        if self.eager:
            self._eagerly(name, events, None)
            return
        processor = fresh(self.processor)
        process = getattr(processor, "process", processor)
        outside = OutsideState(process, "dataset")
        output, error = trace(process, events)
        if error is not None and (self.strict or (isinstance(error, HepgraphError) and not untraceable(error))):
            raise error
        outside.check(output)
        if error is not None:
            self._eagerly(name, events, error)
            return
        check_lazy(output)
        self.outputs[name] = output

    def _eagerly(self, name: str, events: Lazy, error: Exception | None) -> None:
        """Has a dataset run eagerly; raises the error if it is one of the processor's, lazy or not."""
        made = EagerPass(events, self.processor)
        if error is not None:
            if not untraceable(error) and _alike(error, _rehearsed(made, self.policy)):
                raise error
            self._tell(name, error)
        self.passes[name] = made

    def _tell(self, name: str, error: Exception) -> None:
        """Says which line cannot be recorded: at once, and in the report."""
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        self.notes.append(f"{name}: not traced, ran eagerly chunk by chunk: {first}")
        text = _told(error)
        if text not in self._told:
            self._told.add(text)
            warnings.warn(
                FallbackWarning(
                    f"process() cannot be recorded for dataset {name!r}. It runs eagerly, chunk by chunk, which takes "
                    f"longer.\n{text}\neager=True asks for that without this warning; strict=True makes it an error."
                ),
                stacklevel=users_level(),
            )


def _rehearsed(made: EagerPass, policy: Policy) -> Exception | None:
    """The error of a processor on its first events, computed; it comes again in the run, with a report of that."""
    try:
        made.rehearse(policy)
    except Exception as error:
        return error
    return None


def _alike(one: Exception, other: Exception | None) -> bool:
    """Whether a processor failed in the same way on lazy and on computed events."""
    if other is None:
        return False
    lines = user_line_of(one), user_line_of(other)
    return type(one) is type(other) and (lines[0] == lines[1] if any(lines) else str(one) == str(other))


def _told(error: Exception) -> str:
    """An error, the user's line that led to it, and what to write instead."""
    line = line_of(error)
    lines = [f"  {place(line)}: {code_at(line)}"] if line else []
    lines += [f"  {type(error).__name__}: {line}" for line in str(error).strip().splitlines()[:3]]
    if _swallowed(error) if isinstance(error, HepgraphError) else False:
        lines.append("  This error was caught in process(), so that what it does without would be missing.")
    if not untraceable(error):
        lines.append(
            "  A lazy array went where computed ones are wanted: hg.map_partitions(function, array, ...) calls a "
            "function with computed arrays."
        )
    return "\n".join(lines)


def check_lazy(output: Any) -> None:
    """Raises if an output can never add up; lazy things do."""
    held = {id(leaf): 0 for leaf in leaves(output)}
    check(rebuilt(output, held))


def check_datasets(
    outputs: Mapping[str, Any], owners: Mapping[Origin, str], origins: Mapping[int, list[Origin]]
) -> None:
    """Raises ProcessorError if a result of one dataset is of the events of another; `origins` are by leaf."""
    for name, output in outputs.items():
        for leaf in leaves(output):
            for origin in origins[id(leaf)]:
                if owners.get(origin, name) != name:
                    raise ProcessorError(
                        f"process() gave for dataset {name!r} a result of the events of dataset {owners[origin]!r}: "
                        "an array outlived the call that it was made in, in a global, in a cache or on a class. Make "
                        "it in each call, of the events that are given."
                    )


__all__: Sequence[str] = ["Traced", "check_datasets", "check_lazy", "trace", "untraceable"]

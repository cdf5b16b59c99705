"""From outputs to passes: what each result needs of the graph, what one partition gives, how partial results add up.

A *sink* is one result: an array, a reduction over the dataset, a histogram fill. A *pass* is all sinks of one dataset:
one walk over its partitions computes them all. A pass is small, pickles, and runs anywhere.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import awkward as ak
import numpy as np

from hepgraph.errors import LazyError
from hepgraph.graph.canonical import TOTAL, conjunction, filtered, inc
from hepgraph.graph.form import Form, items, move
from hepgraph.graph.interpreter import Interpreter, build
from hepgraph.graph.node import Item, Node, dumps, loads, ordered
from hepgraph.graph.ops import add_moments
from hepgraph.graph.predicate import Predicate
from hepgraph.graph.show import steps
from hepgraph.io.agreement import in_file
from hepgraph.io.required import Loaded, Needs
from hepgraph.io.source import Access, Need, Origin, Partition, Source
from hepgraph.kernel.output import Compiled, Output
from hepgraph.lazy.array import HOOKS, Lazy
from hepgraph.lazy.behavior import behaved
from hepgraph.limits import limits
from hepgraph.plan.analysis import Analysis, analysed, events_of
from hepgraph.plan.late_materialisation import Late
from hepgraph.plan.pushdown import predicates_of
from hepgraph.plan.rows import Row

Value = Callable[[Item], Any]


class Adds(Protocol):
    """How partial results become one."""

    def combine(self, a: Any, b: Any) -> Any:
        """Two partial results, a from before b, as one; may use a up."""

    def finish(self, partial: Any) -> Any:
        """The result."""


class Sink(Adds, Protocol):
    """One result of a pass."""

    @property
    def wants(self) -> tuple[Item, ...]:
        """The items of the graph whose values `collect` looks up."""

    def collect(self, value: Value) -> Any:
        """The partial result of one partition."""

    def output(self) -> Output | str:
        """The outputs that the kernel has to make, or why it cannot."""

    def from_kernel(self, made: Any) -> Any:
        """The partial result out of what the kernel made; None if something is wrong, which the interpreter tells."""

    def content(self) -> tuple[Any, ...]:
        """Its content, the same in another process (see `hepgraph.fingerprint`)."""


@dataclass(frozen=True)
class ArraySink:
    """An array: its rows that pass the masks."""

    form: Form
    rows: Item

    @classmethod
    def of(cls, x: Lazy) -> ArraySink:
        """The sink of a lazy array."""
        some = filtered(x._rows, conjunction(x._guard, x._rows))
        return cls(move(x._form, inc(some)) if some is not x._rows else x._form, some)

    @property
    def wants(self) -> tuple[Item, ...]:
        return (self.rows, *dict.fromkeys(items(self.form)))

    def collect(self, value: Value) -> Any:
        return [build(self.form, value, len(value(self.rows)))]

    def combine(self, a: Any, b: Any) -> Any:
        return a + b

    def content(self) -> tuple[Any, ...]:
        return "array", self.form, self.rows

    def output(self) -> Output | str:
        return Output("array", None, items=self.wants)

    def from_kernel(self, made: Any) -> Any:
        return self.collect(made.__getitem__)

    def finish(self, partial: Any) -> Any:
        whole = partial[0] if len(partial) == 1 else ak.concatenate(partial, highlevel=False)
        return HOOKS["kept"](self.form, whole)


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "sum": np.add, "prod": np.multiply, "any": np.logical_or, "all": np.logical_and, "min": np.minimum,
    "max": np.maximum, "count": np.add, "moments": add_moments,
}  # fmt: skip


@dataclass(frozen=True)
class TotalSink:
    """A reduction over the dataset, and what is calculated from several of them after all partitions are in."""

    form: Form
    parts: tuple[Node, ...]

    @classmethod
    def of(cls, x: Lazy) -> TotalSink:
        """The sink of a lazy reduction."""
        order = ordered(items(x._form), until=_is_part)
        return cls(x._form, tuple(item for item in order if isinstance(item, Node) and _is_part(item)))

    @property
    def wants(self) -> tuple[Item, ...]:
        return self.parts

    def collect(self, value: Value) -> Any:
        return [value(part) for part in self.parts]

    def combine(self, a: Any, b: Any) -> Any:
        pairs = zip(self.parts, a, b, strict=True)
        return [_COMBINE[part.param or "count"](one, two) for part, one, two in pairs]

    def content(self) -> tuple[Any, ...]:
        return "total", self.parts

    def output(self) -> Output | str:
        return Output("total", None, parts=self.parts)

    def from_kernel(self, made: Any) -> Any:
        return made

    def finish(self, partial: Any) -> Any:
        nothing: Any = _Nothing()
        seeds: dict[Item, Any] = {
            part: value.astype(part.dtype) for part, value in zip(self.parts, partial, strict=True)
        }
        wanted = list(dict.fromkeys(items(self.form)))
        values = dict(zip(wanted, Interpreter(nothing, seeds).run([*wanted, TOTAL]), strict=False))
        return behaved(build(self.form, values.__getitem__, 1))[0]


def _is_part(item: Item) -> bool:
    return isinstance(item, Node) and item.space is TOTAL and item.op in ("reduce", "count")


class AnyPass(Protocol):
    """A walk over the partitions of one dataset that gives partial results."""

    @property
    def sinks(self) -> tuple[Adds, ...]:
        """How the partial results add up."""

    @property
    def title(self) -> str:
        """The name of its tasks on a dashboard."""

    @property
    def origin(self) -> Origin:
        """The dataset."""

    @property
    def access(self) -> Access:
        """How the dataset is read."""

    def within(self, access: Access) -> AnyPass:
        """The same results, read in another way."""

    def content(self) -> tuple[Any, ...]:
        """The content that the result of a range depends on (see `hepgraph.fingerprint`)."""

    def partitions(self) -> tuple[Partition, ...]:
        """The ranges to run over."""

    def run(self, partition: Partition) -> tuple[list[Any], Row]:
        """The partial results of one range, and what they took."""

    def ahead(self, partition: Partition) -> None:
        """A hint that this range will be run soon."""

    def unchanged(self) -> None:
        """Raises ChangedError if something in memory, that the results depend on, is not what it was."""


class _Nothing:
    """The provider of a graph that reads nothing."""

    def __getattr__(self, name: str) -> Any:
        raise LazyError(f"nothing is read any more ({name})")


@dataclass(frozen=True)
class Pass:
    """All results of one dataset, or of some `ranges` of it alone; read as its origin says, unless `limited`."""

    origin: Origin
    sinks: tuple[Sink, ...]
    engine: str = "auto"
    ranges: tuple[Partition, ...] | None = None
    limited: Access | None = None

    @property
    def access(self) -> Access:
        """How the dataset is read."""
        return self.limited or self.origin.access

    def over(self, ranges: tuple[Partition, ...]) -> Pass:
        """The same results of some ranges alone."""
        return self._changed(ranges=ranges)

    def within(self, access: Access) -> Pass:
        """The same results, read in another way."""
        return self._changed(limited=access)

    def _changed(self, **changes: Any) -> Pass:
        other, known = replace(self, **changes), vars(self)
        vars(other).update({name: known[name] for name in ("compiled", "_analysis", "predicates") if name in known})
        return other

    @cached_property
    def compiled(self) -> Compiled:
        """Which results the kernel makes, and which the interpreter; made once in each process, and not yet built."""
        if self.engine == "interpreter":
            return Compiled(None, (), dict.fromkeys(range(len(self.sinks)), "asked for by name"))
        from hepgraph.kernel.engine import compile_outputs  # takes a while to import, and plans alone need none

        return compile_outputs(self.origin, [sink.output() for sink in self.sinks], events_of(self.origin))

    def ready(self) -> Compiled:
        """The same pass, compiled; an error of compiling shows the graph."""
        try:
            compiled = self.compiled
            if compiled.kernel is not None:
                compiled.kernel.build()
        except Exception as error:
            error.add_note(
                'while compiling this graph, which is an error of hepgraph\'s (engine="interpreter" does without):\n'
                + steps(self.wants)
            )
            raise
        return compiled

    @property
    def title(self) -> str:
        """The name of the dataset, or of its first file."""
        return title_of(self.origin.source)

    @property
    def wants(self) -> list[Item]:
        """The items that the sinks look at."""
        return list(dict.fromkeys(item for sink in self.sinks for item in sink.wants))

    @cached_property
    def _analysis(self) -> Analysis:
        """Found out once in each process: it does not travel."""
        return analysed(self.origin, self.wants)

    def needs(self) -> Needs:
        """The columns that are read."""
        return self._analysis.needs

    @cached_property
    def predicates(self) -> tuple[Predicate, ...]:
        """The predicates that every event passes that has a part in any of the results."""
        source = self.origin.source
        if not source.has_statistics or not limits().pushdown:
            return ()
        found = predicates_of(self.origin, self._analysis.masks)
        return tuple(each for each in found if each.column not in source.optional)

    @cached_property
    def late(self) -> Late:
        """Which masks are looked at first, and whether that has saved anything so far; it does not travel."""
        return Late(self._analysis, self.access)

    def columns(self) -> dict[str, Need]:
        """The columns of the dataset itself that are read."""
        return self.needs()[self.origin]

    def _check_calls(self) -> None:
        seen: dict[int, bytes] = {}
        for each in self._analysis.calls:
            each.check(seen)

    def unchanged(self) -> None:
        """Raises ChangedError if arrays or what recorded code uses by reference are not what they were."""
        self._check_calls()
        for origin, columns in self.needs().items():
            origin.source.unchanged(columns)

    def partitions(self) -> tuple[Partition, ...]:
        """The ranges to run over; checks first that every file has what is needed, and that calls are as recorded."""
        self._check_calls()
        columns = self.columns()
        self.origin.source.check(columns)
        return self.ranges or self.origin.source.partitions(list(columns), self.access)

    def ahead(self, partition: Partition) -> None:
        """Begins to fetch what this range will need."""
        source, needs = in_file(self.origin.source, partition, self.late.first(partition))
        source.ahead(partition, needs, self.predicates, self.access)

    def run(self, partition: Partition) -> tuple[list[Any], Row]:
        """The partial results of one partition, and what they took."""
        start = time.perf_counter()
        part = self.origin.source.trimmed(partition, self.predicates) if self.predicates else partition
        loaded = self.late.load(part)
        read = time.perf_counter()
        with _building:
            compiled = self.ready()
        try:
            partials, how = self._partials(compiled, loaded)
        except Exception as error:
            error.add_note(f"in the range {partition}")
            raise
        done = time.perf_counter()
        return partials, Row.of(loaded, partition, self.columns(), read - start, done - read, how)

    def _partials(self, compiled: Compiled, loaded: Loaded) -> tuple[list[Any], str]:
        """The partial results of a loaded range, and what computed them."""
        partials: dict[int, Any] = {}
        plain = list(compiled.plain)
        kernel = compiled.kernel
        given, seeds = ((), {}) if kernel is None else (kernel.given, kernel.seeds(loaded))
        values = self._values(plain, loaded, seeds, given)
        if kernel is not None:
            made = kernel.run(loaded, values)
            if made is None:  # something is wrong with the data: the interpreter says what
                plain += compiled.native
                values = self._values(plain, loaded, seeds)
            else:
                for i, one in zip(compiled.native, made, strict=True):
                    partials[i] = self.sinks[i].from_kernel(one)
                wrong = [i for i in compiled.native if partials[i] is None]
                if wrong:
                    plain += wrong
                    values = self._values(plain, loaded, seeds)
        for i in plain:
            partials[i] = self.sinks[i].collect(values.__getitem__)
        helped = bool(plain or (kernel is not None and kernel.asked))
        how = " + ".join(["kernel"] * (kernel is not None) + ["interpreter"] * helped)
        return [partials[i] for i in range(len(self.sinks))], how

    def _values(
        self, sinks: Sequence[int], loaded: Loaded, seeds: dict[Item, Any], more: Sequence[Item] = ()
    ) -> dict[Item, Any]:
        """Values of the items that these sinks look at, and of some more, by the interpreter."""
        wants = list(dict.fromkeys([*more, *(item for i in sinks for item in self.sinks[i].wants)]))
        return dict(zip(wants, Interpreter(loaded, seeds).run(wants), strict=True))

    def content(self) -> tuple[Any, ...]:
        """The content that the result of a range depends on (see `hepgraph.fingerprint`)."""
        columns = self.columns()
        known = [self.origin.source.columns[name] for name in sorted(columns)]
        engine = "interpreter" if self.engine == "interpreter" else "kernel"
        optional = self.origin.source.optional
        standing = [(name, optional[name].value) for name in sorted(columns) if name in optional]
        return "pass", engine, [sink.content() for sink in self.sinks], known, standing

    def __reduce__(self) -> Any:
        return _thawed, (dumps((self.origin, self.sinks, self.engine, self.ranges, self.limited)),)


_building = threading.Lock()


def title_of(source: Source) -> str:
    """A short name for a source, of letters, digits and underscores: its dataset's, or that of its first file."""
    name = str(source.metadata.get("dataset", ""))
    if not name:
        path = source.files[0].path if source.files else ""
        name = path.rsplit("/", 1)[-1].partition(".")[0]
    return re.sub(r"\W+", "_", name).strip("_") or "data"


def _thawed(data: bytes) -> Pass:
    return Pass(*loads(data))


def combine_all(sinks: Sequence[Adds]) -> Callable[[Any, Any], Any]:
    """How two lists of partial results add up."""
    return lambda a, b: [sink.combine(x, y) for sink, x, y in zip(sinks, a, b, strict=True)]


def sink_of(x: Lazy) -> Sink:
    """The sink of a lazy array or reduction."""
    return TotalSink.of(x) if x._rows is TOTAL else ArraySink.of(x)


def needed(x: Lazy) -> list[str]:
    """The columns that a lazy array needs."""
    return list(Pass(x._origin, (sink_of(x),)).columns())


HOOKS["needed"] = needed

"""The eager fallback: a processor that cannot be traced runs chunk by chunk on arrays that read what is touched."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import awkward as ak
import boost_histogram as bh
import numpy as np

from hepgraph.arguments import parse_bytes
from hepgraph.datasets.variations import Place, replaced, stored
from hepgraph.errors import ProcessorError
from hepgraph.hist.histogram import Hist, settled_part
from hepgraph.io.source import STEP_SIZE, Access, Origin, Partition
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.behavior import behaved
from hepgraph.lazy.call import mapped
from hepgraph.lazy.hidden import shown
from hepgraph.lazy.results import NOMINAL
from hepgraph.lazy.vary import declared
from hepgraph.plan.passes import title_of
from hepgraph.plan.rows import Row
from hepgraph.processor.accumulate import accumulate, check
from hepgraph.processor.additive import MOST, amounts, certain
from hepgraph.processor.chunk import EVENTS, Blueprint, Chunk, eager_events
from hepgraph.processor.hints import add_hints
from hepgraph.processor.state import OutsideState, draws, fresh
from hepgraph.processor.variations import folded, in_each, in_nominal
from hepgraph.runner.retry import Policy, attempt

_SHARE = 10  # a processor is taken to touch one column in ten, where a step is an amount of memory
FEW = 1000  # events on which a processor is tried
_LEAST = 1000  # ... and never gets fewer events than this at a time


@dataclass(frozen=True)
class EagerSink:
    """The whole output of a processor."""

    def combine(self, a: Any, b: Any) -> Any:
        """Two outputs added up."""
        return accumulate(a, b)

    def finish(self, partial: Any) -> Any:
        """The output, with plain histograms, and arrays with the behavior of computed ones."""
        return folded(mapped(partial, _finished))


class EagerPass:
    """All events of one dataset through a processor, chunk by chunk."""

    sinks = (EagerSink(),)

    def __init__(
        self, events: Lazy, processor: Any, certain: frozenset[str] = frozenset(), access: Access | None = None
    ) -> None:
        self.events, self.processor = events._at(NOMINAL), processor
        self.access = access or self.events._origin.access
        self.certain = certain  # the places of outputs that were seen to add up
        self._looking, self._looked = threading.Lock(), False

    def __reduce__(self) -> Any:
        return EagerPass, (self.events, self.processor, self.certain, self.access)

    def within(self, access: Access) -> EagerPass:
        """The same, read in another way."""
        return EagerPass(self.events, self.processor, self.certain, access)

    @property
    def title(self) -> str:
        """The name of the dataset, or of its first file."""
        return title_of(self.events.source)

    @property
    def origin(self) -> Origin:
        """The dataset."""
        return self.events._origin

    def content(self) -> tuple[Any, ...]:
        """Everything that the result of a range depends on (see `hepgraph.fingerprint`)."""
        fields: Any = getattr(self.events._form, "fields", None)
        schema = fields.layout.schema if hasattr(fields, "layout") else None
        return "eager", self.processor, schema, self.events.metadata, list(self.origin.source.columns.values())

    @cached_property
    def blueprint(self) -> Blueprint:
        """The events' form, worked out once."""
        return Blueprint.of(self.events._form, EVENTS)

    @cached_property
    def stored(self) -> dict[str, dict[Place, Place]]:
        """The variations that the columns hold."""
        return stored(self.events)

    def partitions(self) -> tuple[Partition, ...]:
        """The ranges to run over.

        Where a step is an amount of memory, a tenth of it all is taken to be needed: which columns are is not known.
        """
        source = self.events.source
        if source.npartitions is not None or not isinstance(source.step_size, str):
            return source.partitions(access=self.access)
        whole = sum(column.memory for column in source.columns.values()) / max(source.entries, 1)
        entries = int(parse_bytes(source.step_size) / max(whole / _SHARE, 1.0))
        return source.repartition(step_size=min(max(entries, _LEAST), STEP_SIZE)).partitions()

    def ahead(self, partition: Partition) -> None:
        """Nothing: what will be read is not known."""

    def rehearse(self, policy: Policy) -> None:
        """Runs the first events that can be read; raises the processor's errors."""
        ranges = self.partitions()
        for partition in [part for part in ranges if len(part)] or ranges[:1]:
            few = replace(partition, stop=min(partition.stop, partition.start + FEW))
            if attempt(self._made, few, policy, self.title).pieces:  # else its file is skipped
                return

    def unchanged(self) -> None:
        """Raises ChangedError if the dataset is in memory and is not what it was."""
        self.origin.source.unchanged(list(self.origin.source.columns))

    def run(self, partition: Partition) -> tuple[list[Any], Row]:
        """The output for one range, and what it took; raises ProcessorError if it does not add up."""
        partials, row = self._made(partition)
        if self._unsure(partials[0]):
            around = self._around(partition)
            with self._looking:  # once in each process, and closely
                if not self._looked:
                    self._looked = True
                    output = partials[0] if around == partition else None
                    self._look(around, output, MOST, self._parts_of(around))
            if around != partition and self._unsure(partials[0]):
                self._look(partition, partials[0], 1)
        return partials, row

    def _unsure(self, output: Any) -> bool:
        """Whether there is something in an output that was not yet seen to add up."""
        return any(np.any(value) for place, value in amounts(output).items() if place not in self.certain)

    def _around(self, partition: Partition) -> Partition:
        """A few events, beginning with those of a range: ranges may be too short to tell."""
        same = [part.stop for part in self._of_tree(partition)]
        return replace(partition, stop=min(partition.start + FEW, max([partition.stop, *same])))

    def _parts_of(self, around: Partition) -> list[Partition]:
        """The ranges of the run that make up a few events; none where one goes beyond them."""
        own = [part for part in self._of_tree(around) if around.start <= part.start and part.stop <= around.stop]
        return own if sum(map(len, own)) == len(around) else []

    def _of_tree(self, partition: Partition) -> list[Partition]:
        """The ranges of the run in the tree of one."""
        return [part for part in self.partitions() if (part.path, part.tree) == (partition.path, partition.tree)]

    def _look(self, partition: Partition, output: Any, most: int, own: Sequence[Partition] = ()) -> None:
        """Looks whether the nominal output for a range adds up, with so many calls of the processor."""
        random = draws(self.processor)
        self.certain |= certain(lambda part: self._made(part, in_nominal)[0][0], partition, output, random, most, own)

    def _made(self, partition: Partition, how: Callable[[Callable[[], Any]], Any] = in_each) -> tuple[list[Any], Row]:
        start = time.perf_counter()
        chunk = Chunk(self.events, partition, access=self.access)

        def process() -> Any:
            processor = fresh(self.processor)
            process = getattr(processor, "process", processor)
            outside = OutsideState(process, "chunk")
            array = chunk.array(self.blueprint)
            for name in declared(self.stored):
                array = replaced(array, self.stored[name])
            output = process(array)
            if chunk.columns.failure is not None:  # process() caught it, and went on without the data
                raise chunk.columns.failure
            chunk.columns.prove()
            check(output)
            outside.check(output)
            return mapped(output, _settled)

        try:
            output = how(process)
        except Exception as error:
            add_hints(error)
            error.add_note(f"in the range {partition}")
            raise
        names, read = chunk.columns.data[self.origin], chunk.columns.seconds
        return [output], Row.of(chunk.columns, partition, names, read, time.perf_counter() - start - read, "eager")


# outputs


def _settled(value: Any) -> Any:
    """A value that no longer holds on to the chunk: arrays are read, without behavior and hidden fields."""
    match value:
        case Lazy():
            raise ProcessorError(
                "process() returned a lazy array, but runs eagerly here; compute it, or return eager values."
            )
        case Hist() if value.fills:
            raise ProcessorError("process() returned a histogram with lazy fills, but runs eagerly here.")
        case ak.Record():
            return ak.Record(_in_memory(value.layout.array[value.layout.at : value.layout.at + 1]), 0)
        case ak.Array():
            return ak.Array(_in_memory(value.layout))
    return value


def _in_memory(layout: Any) -> Any:
    """A layout that is read, without its hidden fields."""
    return ak.materialize(ak.to_packed(shown(layout), highlevel=False), highlevel=False)


def _finished(value: Any) -> Any:
    match value:
        case Hist():
            return settled_part(value)
        case ak.Array():
            return behaved(value.layout)
        case ak.Record():
            return behaved(value.layout.array)[value.layout.at]
    return value


def sizes(output: Any, events: int) -> tuple[int, int]:
    """The bytes of an output of so many events: of what stays as large when more come, and of what grows with them.

    Histograms and NumPy arrays are added up; awkward arrays, lists and sets become longer. Lists and sets of a few
    things have them once a chunk, which is little.
    """
    stays, grows, waiting = 0, 0, [output]
    while waiting:
        match waiting.pop():
            case Mapping() as part:
                waiting += part.values()
            case tuple() as part:
                waiting += part
            case bh.Histogram() as part:
                stays += part.view(flow=True).nbytes
            case ak.Array() as part:
                grows += part.nbytes
            case list() | set() as part if 10 * len(part) > events:
                grows += len(pickle.dumps(list(part)))
            case part:
                stays += getattr(part, "nbytes", 0) or sys.getsizeof(part)
    return stays, grows


__all__ = ["EagerPass", "EagerSink", "eager_events", "sizes"]

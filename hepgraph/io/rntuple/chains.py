"""From the form of a field to the columns that hold it, and from those to the flat buffers of its leaves.

A *chain* is what leads from entries to one leaf: lists, fixed lists and options, each with its column, and what is at
the end. Chains that begin alike are read once: `Jet_pt` and `Jet_eta` share their offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from hepgraph.graph.offsets import offsets_of
from hepgraph.io.rntuple.encodings import encoding_of
from hepgraph.io.rntuple.pagelist import PageError
from hepgraph.io.rntuple.pages import PagePart, PageReader, Physical, SelectedElements
from hepgraph.io.source import Data, Need

Array: TypeAlias = np.ndarray[Any, Any]

SUPPRESSED = 1 << 63  # a first element index that is negative is of a column added later and not used at first


class Physicals:
    """The physical columns of an RNTuple, by the index of their default representation."""

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records
        self._of_field: dict[int, list[int]] = {}
        for index, record in enumerate(records):
            self._of_field.setdefault(record.field_id, []).append(index)
        self._found: dict[int, Physical | None] = {}

    def get(self, index: int) -> Physical | None:
        """The column of an index; None if one of its encodings is not known."""
        if index not in self._found:
            self._found[index] = self._make(index)
        return self._found[index]

    def _make(self, index: int) -> Physical | None:
        mine = self._records[index]
        family: dict[int, list[int]] = {}  # the columns of each representation
        for other in self._of_field[mine.field_id]:
            family.setdefault(self._records[other].repr_idx, []).append(other)
        place = family[mine.repr_idx].index(index)
        chosen = [columns[place] for columns in family.values() if place < len(columns)]
        encodings = {other: encoding_of(self._records[other]) for other in [index, *chosen]}
        if None in encodings.values() or len(chosen) != len(family):
            return None
        first = mine.first_element_index
        known = {other: encoding for other, encoding in encodings.items() if encoding is not None}
        return Physical(known, first if first < SUPPRESSED else 2 * SUPPRESSED - first)


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of any length, whose ends are in a column."""

    key: str
    column: Physical


@dataclass(frozen=True, slots=True)
class Optionals:
    """Values that may be missing: lists of none or one, whose ends are in a column; `record` if they are records."""

    key: str
    column: Physical
    record: str = ""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Lists of one length."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers at the end of a chain; the lengths of lists, if `lengths`."""

    column: Physical
    dtype: np.dtype[Any]
    lengths: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """The letters at the end of a chain, whose last step leads to them from strings."""

    column: Physical


Step: TypeAlias = Lists | Optionals | Fixed


@dataclass(frozen=True, slots=True)
class Chain:
    """The chain of columns from entries to one leaf."""

    steps: tuple[Step, ...]
    leaf: Numbers | Text

    def columns(self, need: Need) -> list[Physical]:
        """All columns that are read for it."""
        found = [step.column for step in self.steps if not isinstance(step, Fixed)]
        return [*found, self.leaf.column] if need is Need.DATA else found

    def needed(self, need: Need) -> Chain:
        """The part of it that is needed."""
        strings = need is Need.COUNTS and isinstance(self.leaf, Text)
        return Chain(self.steps[:-1], self.leaf) if strings else self


def chains_of_form(name: str, form: Any, columns: Physicals) -> dict[str, Chain | None]:
    """The chain of each leaf of a field, named as `columns_of_form` does; None for what is not known here."""
    found: dict[str, Chain | None] = {}
    for leaf, chain in _walk(name, form, columns, ()):
        found[leaf] = None if leaf in found else chain
    return found


def _walk(
    name: str, form: Any, columns: Physicals, steps: tuple[Step, ...] | None
) -> Iterator[tuple[str, Chain | None]]:
    """`steps` are None below what is not known."""
    if form.is_record:
        for field, content in zip(form.fields, form.contents, strict=True):
            yield from _walk(f"{name}.{field}" if name else field, content, columns, steps)
    elif form.parameter("__array__") is None and hasattr(form, "content"):
        yield from _walk(name, form.content, columns, None if steps is None else _deeper(name, form, columns, steps))
    else:
        yield name, None if steps is None else _ended(form, columns, steps)


def _deeper(name: str, form: Any, columns: Physicals, steps: tuple[Step, ...]) -> tuple[Step, ...] | None:
    """The steps to the content of a form; None if it is not known here."""
    if form.is_regular:
        return (*steps, Fixed(f"fixed-{form.size}", form.size))
    column = _column(form, columns)
    optional = form.is_option and str(form.form_key).endswith("-optional")
    if column is None or not (form.is_list or optional):
        return None
    record = name if form.content.is_record else ""
    return (*steps, Optionals(form.form_key, column, record) if optional else Lists(form.form_key, column))


def _ended(form: Any, columns: Physicals, steps: tuple[Step, ...]) -> Chain | None:
    """The chain that ends with a form: numbers or text; None for what is not known here."""
    kind, column = form.parameter("__array__"), _column(form, columns)
    if kind == "string" and form.is_list:
        letters = _column(form.content, columns)
        if column is None or letters is None:
            return None
        return Chain((*steps, Lists(form.form_key, column)), Text(letters))
    if kind is not None or not form.is_numpy or form.inner_shape or column is None:
        return None
    return Chain(steps, Numbers(column, np.dtype(form.primitive), str(form.form_key).endswith("-cardinality")))


def _column(form: Any, columns: Physicals) -> Physical | None:
    """The column that a form's key names, as uproot writes it: `column-7`, `column-7-optional`."""
    word, _, number = str(form.form_key).partition("-")
    number = number.partition("-")[0]
    return columns.get(int(number)) if word == "column" and number.isdigit() else None


def columns_of_keys(form: Any, columns: Physicals) -> list[Physical]:
    """All columns that a form's keys name."""
    contents = form.contents if form.is_record or form.is_union else [form.content] if hasattr(form, "content") else []
    mine = _column(form, columns)
    found = [] if mine is None else [mine]
    return found + [column for content in contents for column in columns_of_keys(content, columns)]


@dataclass(frozen=True, slots=True)
class DecodeStage:
    """Where a chain stands: the elements that come next, as they are stored, and the offsets down to here.

    Of `length` elements, those marked in `present` are stored, in order; all are where it is None. `stored` leads from
    entries to the elements as they are stored. `records`: which are there of those that may not be.
    """

    parts: Sequence[PagePart]
    length: int
    present: Array | None = None
    offsets: tuple[Array, ...] = ()
    level_valid: tuple[Array | None, ...] = ()
    stored: tuple[Array, ...] = ()
    records: tuple[tuple[str, Array], ...] = ()


Naming: TypeAlias = Callable[[str], AbstractContextManager[None]]


def read_chains(
    reader: PageReader,
    parts: Sequence[PagePart],
    chains: Mapping[str, tuple[Chain, Need]],
    naming: Naming,
    selected_before: Mapping[str, Array] | None = None,
    known: Sequence[tuple[Chain, Data]] = (),
) -> dict[str, Data]:
    """The data of some leaves in some ranges of entries; `naming` is around all that is done for one of them.

    Of leaves in `selected_before`, values of pages without selected entries are zeros: it has the number of selected
    entries before each one. `known` are leaves that were read before, in the same ranges.

    It goes level by level, so that a remote file is asked once for each level of all chains, and once in all for
    clusters that are needed whole.
    """
    chains = {name: (chain.needed(need), need) for name, (chain, need) in chains.items()}
    selected_before = {} if selected_before is None else selected_before
    _fetch_whole(reader, parts, chains, selected_before)
    stages = _stages(reader, parts, chains, naming, selected_before, known)
    found = {}
    for name, (chain, need) in chains.items():
        with naming(name):
            stage = stages[_key(chain, len(chain.steps))]
            found[name] = _leaf(
                reader, stage, chain.leaf, need, _selection(stage, chain.leaf, selected_before.get(name))
            )
    return found


def fetch_chains(reader: PageReader, parts: Sequence[PagePart], chains: Mapping[str, tuple[Chain, Need]]) -> None:
    """Has the reader of a remote file get all pages that `read_chains` would; decodes no more of them than it must."""
    chains = {name: (chain.needed(need), need) for name, (chain, need) in chains.items()}
    _fetch_whole(reader, parts, chains, {})
    if any(len(part) != part.total for part in parts):
        _stages(reader, parts, chains, lambda name: nullcontext(), {}, ())


def _fetch_whole(
    reader: PageReader,
    parts: Sequence[PagePart],
    chains: Mapping[str, tuple[Chain, Need]],
    selected_before: Mapping[str, Array],
) -> None:
    """Has the reader of a remote file get all pages of the clusters that are needed whole."""
    whole = [part.cluster for part in parts if len(part) == part.total]
    if reader.bytes.together:
        every = [
            column for name, (chain, need) in chains.items()
            for column in chain.columns(Need.COUNTS if name in selected_before else need)
        ]  # fmt: skip
        reader.prefetch([(column, [reader.all_of(column, cluster) for cluster in whole], None) for column in every])


def _stages(
    reader: PageReader,
    parts: Sequence[PagePart],
    chains: Mapping[str, tuple[Chain, Need]],
    naming: Naming,
    selected_before: Mapping[str, Array],
    known: Sequence[tuple[Chain, Data]],
) -> dict[tuple[str, ...], DecodeStage]:
    """Where the chains stand after each of their steps, by the keys of the steps."""
    start = DecodeStage(parts, sum(map(len, parts)))
    stages: dict[tuple[str, ...], DecodeStage] = {(): start}
    alike = _known_stages(reader, start, known)
    deepest = max((len(chain.steps) for chain, _ in chains.values()), default=0)
    for depth in range(deepest + 1):
        wanted: list[tuple[Physical, Sequence[PagePart], SelectedElements | None]] = []
        for name, (chain, need) in chains.items():
            if depth <= len(chain.steps) and reader.bytes.together:
                stage = stages[_key(chain, depth)]
                if depth == len(chain.steps):
                    some = _selection(stage, chain.leaf, selected_before.get(name))
                    wanted += [(chain.leaf.column, stage.parts, some)] if need is Need.DATA else []
                elif not isinstance(step := chain.steps[depth], Fixed):
                    wanted.append((step.column, stage.parts, None))
        reader.prefetch(wanted)
        for name, (chain, _) in chains.items():
            if depth < len(chain.steps) and _key(chain, depth + 1) not in stages:
                stage, step = stages[_key(chain, depth)], chain.steps[depth]
                with naming(name):
                    same = _same(reader, stage, step)
                    if same not in alike:
                        alike[same] = _advance(reader, stage, step)
                stages[_key(chain, depth + 1)] = alike[same]
    return stages


def _known_stages(
    reader: PageReader, start: DecodeStage, known: Sequence[tuple[Chain, Data]]
) -> dict[tuple[Any, ...], DecodeStage]:
    """The stages after the first lists of leaves that were read before, in clusters that begin with the range."""
    found: dict[tuple[Any, ...], DecodeStage] = {}
    for chain, data in known:
        step = chain.steps[0] if chain.steps else None
        if not isinstance(step, Lists) or not data.offsets or any(part.first for part in start.parts):
            continue
        key = _same(reader, start, step)
        if key not in found:
            offsets, at, inside = data.offsets[0], 0, []
            for part in start.parts:
                inside.append(PagePart(part.cluster, 0, int(offsets[at + len(part)] - offsets[at])))
                at += len(part)
            found[key] = DecodeStage(inside, int(offsets[-1]), None, (offsets,), (None,), (offsets,))
    return found


def _selection(stage: DecodeStage, leaf: Numbers | Text, selected_before: Array | None) -> SelectedElements | None:
    """The selected elements of a leaf, if some are not, and the leaf does not hold lengths itself."""
    if selected_before is None or (isinstance(leaf, Numbers) and leaf.lengths):
        return None
    return SelectedElements(selected_before, stage.stored)


def _key(chain: Chain, depth: int) -> tuple[str, ...]:
    return tuple(step.key for step in chain.steps[:depth])


def _same(reader: PageReader, stage: DecodeStage, step: Step) -> tuple[Any, ...]:
    """A key that is equal for two steps only if they lead to the same stage; stages are kept, so that ids differ."""
    name = step.record if isinstance(step, Optionals) else ""
    what = step.size if isinstance(step, Fixed) else reader.same(step.column, stage.parts)
    return id(stage), type(step), name, what


def _advance(reader: PageReader, stage: DecodeStage, step: Step) -> DecodeStage:
    """One step further down a chain."""
    present = stage.present
    if isinstance(step, Fixed):
        parts = [_times(part, step.size) for part in stage.parts]
        stored = np.arange(sum(map(len, stage.parts)) + 1, dtype=np.int64) * step.size
    else:
        stored, parts = reader.offsets(step.column, stage.parts)
    if isinstance(step, Optionals):
        lengths = np.diff(stored)
        if (lengths > 1).any():
            raise PageError(f"an optional field has {lengths.max()} values at once")
        there = _spread(lengths.astype(np.bool_), present)
        records = (*stage.records, (step.record, there)) if step.record else stage.records
        return replace(stage, parts=parts, present=there, stored=(*stage.stored, stored), records=records)
    offsets = stored if present is None else offsets_of(_spread(np.diff(stored), present))
    offsets_here, valid_here = (*stage.offsets, offsets), (*stage.level_valid, present)
    return DecodeStage(parts, int(offsets[-1]), None, offsets_here, valid_here, (*stage.stored, stored), stage.records)


def _leaf(
    reader: PageReader, stage: DecodeStage, leaf: Numbers | Text, need: Need, selection: SelectedElements | None = None
) -> Data:
    records = dict(stage.records)
    if need is Need.COUNTS:
        return Data(None, stage.offsets, None, stage.level_valid, records)
    if isinstance(leaf, Text):
        *level_valid, valid = stage.level_valid
        letters = reader.elements(leaf.column, stage.parts, None, selection)
        skipped = 0 if selection is None else selection.skipped_bytes
        return Data(letters, stage.offsets, valid, tuple(level_valid), records, skipped=skipped)
    if leaf.lengths:
        values = np.diff(reader.offsets(leaf.column, stage.parts)[0]).astype(leaf.dtype)
    else:
        values = reader.elements(leaf.column, stage.parts, leaf.dtype, selection)
    skipped = 0 if selection is None else selection.skipped_bytes
    values = _spread(values, stage.present)
    return Data(values, stage.offsets, stage.present, stage.level_valid, records, skipped=skipped)


def _spread(values: Array, present: Array | None) -> Array:
    """The values in the places where there are some, zeros elsewhere."""
    if present is None:
        return values
    found: Array = np.zeros(len(present), values.dtype)
    found[present] = values
    return found


def _times(part: PagePart, size: int) -> PagePart:
    total = None if part.total is None else part.total * size
    return PagePart(part.cluster, part.first * size, part.last * size, total, part.before * size, part.final)

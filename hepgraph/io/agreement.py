"""How the files of a dataset differ: columns that some lack, or store in another type, and what stands for them."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from hepgraph.errors import DisagreementError, PromotionWarning, many
from hepgraph.functions.lines import users_level
from hepgraph.graph.offsets import offsets_of
from hepgraph.io.source import USUAL, Access, Column, Data, File, Need, Partition, RecordLevel, Source

Array: TypeAlias = np.ndarray[Any, Any]

TOLD = 5  # columns that a warning names
EXACT = 2**53  # integers up to it are floats as they are


# files that are opened


def agreed(opened: Sequence[tuple[Iterable[Column], File]]) -> tuple[list[Column], list[File]]:
    """The columns of several opened files, united, and where each file departs from them.

    A column may hold None if it may in any file. Where files store numbers in different types, it has the one to which
    NumPy promotes these, which a PromotionWarning tells. Columns that the first file lacks come last, and are `late`.
    """
    if len(opened) == 1:
        return list(opened[0][0]), [opened[0][1]]
    every = [({column.name: column for column in theirs}, file) for theirs, file in opened]
    columns: dict[str, Column] = {}
    sizes: dict[str, list[int]] = {}
    differs: list[dict[str, str]] = [{} for _ in every]
    mixed: set[str] = set()
    for number, (theirs, _) in enumerate(every):
        for name, other in theirs.items():
            column = columns.get(name)
            if column is None:
                columns[name] = replace(other, late=number > 0)
                sizes[name] = [other.bytes, other.memory]
                continue
            if not _alike(column, other):  # rarely
                if reason := _apart(column, other):
                    differs[number][name] = reason
                    continue
                columns[name] = _joined(column, other)
                if column.dtype != other.dtype:
                    mixed.add(name)
            sizes[name][0] += other.bytes
            sizes[name][1] += other.memory
    columns = {name: replace(c, bytes=sizes[name][0], memory=sizes[name][1]) for name, c in columns.items()}
    stored: list[dict[str, str]] = [{} for _ in every]
    for name in columns:
        if name in mixed:
            columns[name] = _promoted(columns[name], every, differs, stored)
    if mixed:
        warnings.warn(PromotionWarning(_told(columns, mixed, every, differs)), stacklevel=users_level())
    files = []
    for (theirs, file), mine, types in zip(every, differs, stored, strict=True):
        lacks = tuple(name for name in columns if name not in theirs) if theirs.keys() != columns.keys() else ()
        files.append(replace(file, differs=mine, lacks=lacks, stored=types))
    return list(columns.values()), files


Opened: TypeAlias = Sequence[tuple[Mapping[str, Column], File]]


def _alike(one: Column, two: Column) -> bool:
    """Whether two columns are the same but for their sizes and titles."""
    return (
        one.dtype == two.dtype
        and one.levels == two.levels
        and one.records == two.records
        and (one.nullable, one.text, one.counts, one.problem) == (two.nullable, two.text, two.counts, two.problem)
    )


def _apart(column: Column, other: Column) -> str:
    """Why a column cannot be united with that of another file; nothing if it can."""
    if bool(other.problem) != bool(column.problem):
        return f"cannot be read: {other.problem}" if other.problem else other.type
    if column.text != other.text or [level.size for level in column.levels] != [level.size for level in other.levels]:
        return other.type
    if _nesting(other) != _nesting(column) and (column.records or other.records):
        return "its records and lists are nested in another way"
    return ""


def _nesting(column: Column) -> list[str | None]:
    return [level.name for level in column.levels]


def _joined(column: Column, other: Column) -> Column:
    pairs = zip(column.levels, other.levels, strict=True)
    records: dict[tuple[int, str], RecordLevel] = {}
    for record in (*column.records, *other.records):  # of two on the way to one column, the inner has the longer name
        old = records.get((record.level, record.name), record)
        records[record.level, record.name] = replace(record, nullable=old.nullable or record.nullable)
    return replace(
        column,
        nullable=column.nullable or other.nullable,
        levels=tuple(replace(mine, nullable=mine.nullable or its.nullable) for mine, its in pairs),
        counts=column.counts if column.counts == other.counts else None,
        records=tuple(records[key] for key in sorted(records, key=lambda key: (key[0], len(key[1])))),
    )


def _types(name: str, every: Opened, differs: Sequence[Collection[str]]) -> dict[np.dtype[Any], list[int]]:
    """The types in which files store a column, and which files these are."""
    found: dict[np.dtype[Any], list[int]] = defaultdict(list)
    for number, (theirs, _) in enumerate(every):
        if name in theirs and name not in differs[number]:
            found[theirs[name].dtype].append(number)
    return found


def _promoted(
    column: Column, every: Opened, differs: Sequence[Collection[str]], stored: Sequence[dict[str, str]]
) -> Column:
    """A column in the type to which NumPy promotes those of all files; notes the others in `stored`."""
    types = _types(column.name, every, differs)
    dtype = np.result_type(*types)
    for mine, numbers in types.items():
        for number in numbers if mine != dtype else ():
            stored[number][column.name] = mine.name
    memory = sum(
        every[number][0][column.name].memory * dtype.itemsize // mine.itemsize
        for mine, numbers in types.items()
        for number in numbers
    )
    return replace(column, dtype=dtype, memory=memory)


def _told(
    columns: Mapping[str, Column], mixed: Collection[str], every: Opened, differs: Sequence[Collection[str]]
) -> str:
    """Which columns have several types, in how many files each, and what they are read as."""
    lines = [f"The files of this dataset store {many(len(mixed), 'column')} in several types, united by NumPy's rule:"]
    for name in [name for name in columns if name in mixed][:TOLD]:
        types = [
            f"{dtype} in {many(len(numbers), 'file')} ({every[numbers[0]][1].path}{', ...' * (len(numbers) > 1)})"
            for dtype, numbers in _types(name, every, differs).items()
        ]
        lines.append(f"  {name} is read as {columns[name].dtype}: {', '.join(types)}")
    if len(mixed) > TOLD:
        lines.append(f"  and {len(mixed) - TOLD} more")
    return "\n".join(lines)


# columns that files may lack


@dataclass(frozen=True)
class StandIn:
    """The stand-in for a column in files that lack it: a value or None, in lists as others have them or count them.

    Lists of which no column of such a file tells are empty. With `counts`, it is the lengths of the others' lists. With
    `copies`, it is what the column is whose name is `value`.
    """

    value: Any
    like: tuple[str, ...] = ()
    counts: bool = False
    copies: bool = False

    def among(self, lacks: Collection[str]) -> str | None:
        """The first of the others that a file has."""
        return next((name for name in self.like if name not in lacks), None)


def standing_in(source: Source, values: Mapping[str, Any], copied: Mapping[str, str]) -> Source:
    """The same source with columns that some files may lack: their values there, or None.

    `values` are by the names of columns, of the first file or of any other; `copied` names, in place of a value, the
    column that stands for one. What counts lists that may be lacking may be so itself. Raises DisagreementError for a
    value that the type of its column does not hold, and for columns that are not of one shape.
    """
    source = _copying(source, copied) if copied else source
    if not values:
        return source
    known = {**source.columns, **source.late}
    lacking = {name for file in source.files for name in file.lacks}
    by_list, counted, by_record = defaultdict(list), defaultdict(list), defaultdict(list)
    for column in known.values():
        if not column.problem:
            for record in column.records if not column.levels else ():
                by_record[record.name].append(column.name)
            if column.levels:
                by_list[column.level_name(0)].append(column.name)
                if column.counts is not None:
                    counted[column.counts].append(column.name)
    counts = {counts for name in values if (counts := known[name].counts) is not None}
    values = {**dict.fromkeys(sorted(lacking & counts), 0), **values}
    columns, optional = dict(source.columns), dict(source.optional)
    for name, value in values.items():
        column = known[name]
        if name in counted and not column.levels:
            optional[name] = StandIn(0, tuple(counted[name]), counts=True)
            columns[name] = replace(column, late=False)
            continue
        _check(column, value)
        others = by_list[column.level_name(0)] if column.levels else []
        if column.counts is not None:
            others = [*others, *counted[column.counts], column.counts]
        if not column.levels:  # in a record
            others = [other for record in column.records for other in by_record[record.name]]
        alike = {other: -_shared(column, known[other]) for other in others if other != name}
        optional[name] = StandIn(value, tuple(sorted(alike, key=lambda other: (alike[other], known[other].memory))))
        columns[name] = replace(column, nullable=column.nullable or value is None, late=False)
    late = {name: column for name, column in source.late.items() if name not in columns}
    return _with(source, columns=columns, late=late, optional=optional)


def _copying(source: Source, copied: Mapping[str, str]) -> Source:
    """The same source, in which other columns stand for some that files lack; both are read as types that hold both."""
    known, optional = {**source.columns, **source.late}, dict(source.optional)
    columns, files = dict(source.columns), list(source.files)
    lacking = {name for file in source.files for name in file.lacks}
    for name, base in copied.items():
        mine, its = known[name], known[base]
        if _apart(mine, its) or _shape(mine) != _shape(its):
            raise DisagreementError(
                f'"nominal" cannot stand for {name!r} where a file lacks it: that is {mine.type}, and {base!r}, of '
                f"which it is a variation, is {its.type}."
            )
        dtype = np.result_type(mine.dtype, its.dtype)
        for number, file in enumerate(files) if dtype != mine.dtype else ():
            if name not in file.lacks:
                files[number] = replace(file, stored={name: mine.dtype.name, **file.stored})
        columns[name] = replace(_joined(mine, its), dtype=dtype, counts=mine.counts, late=False)
        optional[name] = StandIn(base, copies=True)
        if mine.counts in lacking and its.counts is not None and mine.counts != its.counts:
            assert mine.counts is not None
            columns[mine.counts] = replace(known[mine.counts], late=False)
            optional[mine.counts] = StandIn(its.counts, copies=True)
    late = {name: column for name, column in source.late.items() if name not in columns}
    places = {(path, file.tree): file for file in files for path in (*file.replicas, file.path)}
    return _with(source, columns=columns, late=late, optional=optional, files=tuple(files), _places=places)


def _shape(column: Column) -> tuple[int, list[tuple[str, int]]]:
    return len(column.levels), [(record.name, record.level) for record in column.records]


def varying(source: Source, bases: Mapping[str, str]) -> Source:
    """The same source, some columns of which are alternatives of others: whether the first file has them or not."""
    more = {name: replace(source.late[name], late=False) for name, base in bases.items() if name in source.late}
    more = {name: column for name, column in more.items() if bases[name] in source.columns}
    late = {name: column for name, column in source.late.items() if name not in more}
    return _with(source, columns={**source.columns, **more}, late=late, varies=dict(bases))


def _check(column: Column, value: Any) -> None:
    if value is None:
        return
    with np.errstate(all="ignore"):
        held = None if column.text else np.array(value).astype(column.dtype)
    if held is None or not (held == value or held.dtype.kind in "fc"):
        raise DisagreementError(f"{value!r} cannot stand for {column.name!r} where a file lacks it: {column.type}.")


def _counts(column: Column, other: Column) -> bool:
    """Whether another column is the lengths of the lists of a column."""
    return bool(column.levels) and not other.levels


def _shared(column: Column, other: Column) -> int:
    """How many levels of lists, from the outside in, are those of another column, beside records that both are in."""
    depth = 0
    for level in range(min(len(column.levels), len(other.levels))):
        if level and column.level_name(level) != other.level_name(level):
            break
        depth += 1
    return depth


def accompanied(source: Source, others: Mapping[str, Sequence[str]]) -> Source:
    """The same source, in which columns that files may lack have the outermost lists of these others, too.

    Those that hold no lists themselves are the lengths of these lists.
    """
    columns, late, optional = dict(source.columns), dict(source.late), dict(source.optional)
    for name, more in others.items():
        old, column = optional.get(name, StandIn(0)), columns.get(name) or late.pop(name)
        like = tuple(dict.fromkeys([*old.like, *(other for other in more if other != name)]))
        optional[name] = replace(old, like=like, counts=not column.levels)
        columns[name] = replace(column, nullable=column.nullable and bool(column.levels), late=False)
    return _with(source, columns=columns, late=late, optional=optional)


# reading


def in_file(source: Source, partition: Partition, needs: Mapping[str, Need]) -> tuple[Source, Mapping[str, Need]]:
    """The source as the file of a range has it, and what to read there for some columns of the dataset."""
    file = source._places.get((partition.path, partition.tree))
    if file is None or not (file.lacks or file.stored):
        return source, needs
    lacks, wanted = frozenset(file.lacks), {name: need for name, need in needs.items() if name not in file.lacks}
    for name, need in needs.items():
        read = source.read_for(name, file)
        if read not in lacks or read not in source.optional:
            wanted[read] = Need.DATA if wanted.get(read) is Need.DATA else need
        elif (other := source.optional[read].among(lacks)) is not None:
            counts = _counts(source.columns[read], source.columns[other])
            wanted[other] = Need.DATA if counts else wanted.get(other, Need.COUNTS)
    own = {name: np.dtype(file.stored[name]) for name in wanted if name in file.stored}
    if own:
        types = {name: replace(source.columns[name], dtype=dtype) for name, dtype in own.items()}
        source = _with(source, columns={**source.columns, **types})
    return source, wanted


def fetched(source: Source, partition: Partition, needs: Mapping[str, Need], access: Access = USUAL) -> dict[str, Data]:
    """The needed columns of a range in the types of the dataset; what its file lacks, and may lack, is stood in for."""
    there, wanted = in_file(source, partition, needs)
    if there is source and wanted is needs:
        return source.fetch(partition, needs, access)
    lacks = frozenset(source.file_of(partition).lacks)
    known = {name: data for name, data in access.already_read.items() if name not in lacks}
    wanted = {n: need for n, need in wanted.items() if n in needs or n not in known or lacks_values(known[n], need)}
    access = replace(access, already_read=known)
    found = there.fetch(partition, wanted, access) if wanted or not needs else {}

    def made(name: str, need: Need) -> Data:
        column, stand = source.columns[name], source.optional.get(name)
        if name in found:
            return _as_type(column, found[name], partition)
        if name not in lacks:
            return known[name]
        assert stand is not None
        if stand.copies:
            return _copied(column, made(stand.value, need))
        data, shared = None, 0
        if (other := stand.among(lacks)) is not None:
            data, shared = found.get(other) or known[other], _shared(column, source.columns[other])
            if _counts(column, source.columns[other]):
                assert data.values is not None
                data, shared = Data(None, (offsets_of(data.values) if data.sums is None else data.sums,)), 1
        return _made(column, stand, need, len(partition), data, shared)

    return {name: made(name, need) for name, need in needs.items()}


def lacks_values(data: Data, need: Need) -> bool:
    """Whether values are needed where only lengths were read."""
    return need is Need.DATA and data.values is None


def _as_type(column: Column, data: Data, partition: Partition) -> Data:
    """Data that a file stores in another type; raises DisagreementError for what would not be the same number."""
    values = data.values
    if values is None or values.dtype == column.dtype:
        return data
    found = values.astype(column.dtype)
    if values.dtype.itemsize == 8 and values.dtype.kind in "iu" and column.dtype.kind in "fc":
        large = np.flatnonzero((values > EXACT) | (values < -EXACT if values.dtype.kind == "i" else False))
        for place in large.tolist():
            if (data.valid is None or data.valid[place]) and int(found[place].real) != int(values[place]):
                raise DisagreementError(
                    f"The files of this dataset store {column.name!r} in several types, which NumPy unites as "
                    f"{column.dtype}. That does not hold {values[place]}, which is in {partition} as {values.dtype}. "
                    "Open the files of each type by themselves."
                )
    return replace(data, values=found)


def _copied(column: Column, data: Data) -> Data:
    """The data of another column, as those of this one."""
    values, valid = data.values, data.valid
    if values is not None:
        values = values.astype(column.dtype, copy=False)
        if valid is None and column.optional:
            valid = np.ones(len(values) if not column.text else len(data.offsets[-1]) - 1, np.bool_)
    level_valid = [
        np.ones(len(data.offsets[level]) - 1, np.bool_) if data.mask(level) is None else data.mask(level)
        for level in range(len(column.levels))
    ]
    masks = tuple(mask if column.optional_list(level) else None for level, mask in enumerate(level_valid))
    return replace(data, values=values, valid=valid, level_valid=masks, cached=0, skipped=0)


def _made(column: Column, stand: StandIn, need: Need, size: int, data: Data | None, shared: int) -> Data:
    """The data of a column that a file lacks, in the lists of a column that it has, as far as these are shared."""
    if stand.counts:
        offsets = np.zeros(size + 1, np.int64) if data is None else data.offsets[0]
        valid = np.ones(size, np.bool_) if column.optional else None
        return Data(np.diff(offsets).astype(column.dtype), (), valid, sums=offsets)
    records: dict[str, Array] = {}
    level_valid: list[Array | None] = []
    every: list[Array] = []

    def there(level: int) -> Array:
        """Where the records are that hold what is next, and their lists before it."""
        found = np.ones(size, np.bool_)
        for record in column.records:
            if record.nullable and record.level == level:
                told = None if data is None else data.records.get(record.name)
                records[record.name] = np.ones(size, np.bool_) if told is None else told
                found &= records[record.name]
        return found

    for depth, level in enumerate(column.levels):
        mask = there(depth)
        if data is not None and depth < shared:
            offsets = data.offsets[depth]
            told = data.mask(depth)
            mask = mask if told is None else mask & told
        else:
            offsets = np.arange(size + 1, dtype=np.int64) * (level.size or 0)
        every.append(offsets)
        level_valid.append(mask if column.optional_list(depth) else None)
        size = int(offsets[-1])
    valid = there(len(column.levels)) & (stand.value is not None)
    if need is Need.COUNTS:
        return Data(None, tuple(every), None, tuple(level_valid), records)
    if column.text:
        every.append(np.zeros(size + 1, np.int64))
    values = np.full(0 if column.text else size, 0 if stand.value is None else stand.value, column.dtype)
    return Data(values, tuple(every), valid if column.optional else None, tuple(level_valid), records)


# changed sources


def whole(source: Source) -> Source:
    """The same source with the columns that the first file lacks among the others."""
    return _with(source, columns={**source.columns, **source.late}, late={})


def sharing(source: Source, names: Mapping[str, str]) -> Source:
    """The same source, with the outermost lists of some columns known by these names: any of them tells of all."""
    columns = dict(source.columns)
    for name, shared in names.items():
        column = source.columns[name]
        levels = (replace(column.levels[0], name=shared), *column.levels[1:])
        columns[name] = replace(column, levels=levels)
    return _with(source, columns=columns, shares=tuple(sorted(names.items())))


def _with(source: Source, **changes: Any) -> Source:
    other = object.__new__(type(source))
    vars(other).update(vars(source), **changes)
    return other

"""Column chunks in a Parquet footer, as far as pyarrow does not tell of them, or cannot bear them.

How often each definition level occurs (in the footer since 2024): the null count of a column says how many values,
lists and records are missing *or empty*; this histogram says how many of each. And what makes pyarrow end the process:
chunks whose metadata are encrypted, and sizes that do not fit the schema. A footer is a struct of Thrift's compact
protocol; only the way to these things is followed, everything else is skipped.
https://github.com/apache/parquet-format has the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

ROW_GROUPS, COLUMNS, META_DATA, CRYPTO_META_DATA, SIZE_STATISTICS = 4, 1, 3, 8, 16
TEXT_BYTES, REPETITION_LEVELS, DEFINITION_LEVELS = 1, 2, 3
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
NUMBERS = 4, 5, 6  # of 16, 32 and 64 bits: as many bytes as they need


class ColumnChunk(NamedTuple):
    """A column chunk: how often each level occurs, both empty where the file does not say."""

    definition: list[int]
    repetition: list[int]
    text: bool  # whether the file says how many bytes its texts have
    encrypted: bool


def chunks(footer: bytes) -> Iterator[list[ColumnChunk]]:
    """For each row group, what is said of each leaf. Raises ValueError if the bytes are no footer."""
    reader = _Reader(footer)
    try:
        for _ in reader.elements_of(ROW_GROUPS):
            yield [_chunk(reader) for _ in reader.elements_of(COLUMNS)]
    except (IndexError, RecursionError):
        raise ValueError("these bytes are not the footer of a Parquet file") from None


def _chunk(reader: _Reader) -> ColumnChunk:
    """The column chunk that comes next."""
    found: dict[int, list[int]] = {}
    text = encrypted = False
    for field, kind in reader.fields():
        if field != META_DATA or kind != STRUCT:
            encrypted |= field == CRYPTO_META_DATA
            reader.skip(kind)
            continue
        for inner, inner_kind in reader.fields():
            if inner != SIZE_STATISTICS or inner_kind != STRUCT:
                reader.skip(inner_kind)
                continue
            for last, last_kind in reader.fields():
                text |= last == TEXT_BYTES
                if last in (REPETITION_LEVELS, DEFINITION_LEVELS) and last_kind == LIST:
                    size, _ = reader.list_head()
                    found[last] = [reader.zigzag() for _ in range(size)]
                else:
                    reader.skip(last_kind)
    return ColumnChunk(found.get(DEFINITION_LEVELS, []), found.get(REPETITION_LEVELS, []), text, encrypted)


class _Reader:
    """Reads the compact protocol from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def varint(self) -> int:
        value, self.at = _varint(self.data, self.at)
        return value

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def fields(self) -> Iterator[tuple[int, int]]:
        """The number and the kind of each field of a struct; whoever asks reads or skips it before the next."""
        number, data = 0, self.data
        while True:
            head = data[self.at]
            self.at += 1
            kind = head & 15
            if kind == STOP:
                return
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            yield number, kind

    def list_head(self) -> tuple[int, int]:
        """The number of elements of a list, and their kind."""
        size, kind, self.at = _list_head(self.data, self.at)
        return size, kind

    def elements_of(self, wanted: int) -> Iterator[None]:
        """Once for each struct in the list that is this field of a struct; the other fields are skipped."""
        for number, kind in self.fields():
            if number != wanted or kind != LIST:
                self.skip(kind)
                continue
            size, _ = self.list_head()
            for _ in range(size):
                yield None

    def skip(self, kind: int) -> None:
        """Passes over the value of a field."""
        self.at = _after(self.data, self.at, kind)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value >= 128:
        value, shift = value & 127, 7
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
    return value, at


def _few(size: int, data: bytes) -> int:
    if size > len(data):  # an element takes a byte at least
        raise IndexError
    return size


def _list_head(data: bytes, at: int) -> tuple[int, int, int]:
    head = data[at]
    size, at = _varint(data, at + 1) if head >> 4 == 15 else (head >> 4, at + 1)
    return _few(size, data), head & 15, at


def _after(data: bytes, at: int, kind: int) -> int:
    """Where a value ends that begins at `at`; of a field that is true or false, the value is in its kind."""
    if kind == BINARY:
        size = data[at]
        if size < 128:
            return at + 1 + size
        size, at = _varint(data, at)
        return at + size
    if kind == STRUCT:
        while head := data[at]:  # a field: what it is more than the last one, or its number, and its kind
            at += 1
            if head < 16:
                _, at = _varint(data, at)
            kind = head & 15
            if kind in NUMBERS:  # most fields: no call for each
                while data[at] >= 128:
                    at += 1
                at += 1
            elif kind == STOP:
                return at
            elif kind not in (TRUE, FALSE):
                at = _after(data, at, kind)
        return at + 1
    if kind in (LIST, SET):
        size, inner, at = _list_head(data, at)
        for _ in range(size):
            at = _after_element(data, at, inner)
        return at
    if kind == MAP:
        size, at = _varint(data, at)
        if _few(size, data):
            kinds = data[at]
            at += 1
            for _ in range(size):
                at = _after_element(data, _after_element(data, at, kinds >> 4), kinds & 15)
        return at
    if kind in (TRUE, FALSE):
        return at
    if kind == BYTE:
        return at + 1
    if kind == DOUBLE:
        return at + 8
    while data[at] >= 128:
        at += 1
    return at + 1


def _after_element(data: bytes, at: int, kind: int) -> int:
    return at + 1 if kind in (TRUE, FALSE) else _after(data, at, kind)

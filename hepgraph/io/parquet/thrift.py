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
FIXED = {TRUE: 0, FALSE: 0, BYTE: 1, DOUBLE: 8}  # the bytes of other values


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
    except (LookupError, RecursionError):
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
        """A number of as many bytes as it needs, seven bits in each."""
        value = shift = 0
        while (byte := self.data[self.at]) >= 128:
            value |= (byte & 127) << shift
            shift += 7
            self.at += 1
        self.at += 1
        return value | byte << shift

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def fields(self) -> Iterator[tuple[int, int]]:
        """The number and the kind of each field of a struct; whoever asks reads or skips it before the next."""
        number, data = 0, self.data
        while head := data[self.at]:
            self.at += 1
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            if head & 15 == STOP:
                return
            yield number, head & 15
        self.at += 1

    def list_head(self) -> tuple[int, int]:
        """The number of elements of a list, and their kind."""
        head = self.data[self.at]
        self.at += 1
        return self._few(self.varint() if head >> 4 == 15 else head >> 4), head & 15

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
        """Passes over the value of a field; of one that is true or false, the value is in its kind."""
        if kind in NUMBERS:
            while self.data[self.at] >= 128:
                self.at += 1
            self.at += 1
        elif kind == BINARY:
            size = self.varint()
            self.at += size
        elif kind == STRUCT:
            while head := self.data[self.at]:  # a field: what it is more than the last one, or its number, and its kind
                self.at += 1
                if head < 16:
                    self.varint()
                self.skip(head & 15)
            self.at += 1
        elif kind in (LIST, SET):
            size, inner = self.list_head()
            self._skip_elements(size, inner)
        elif kind == MAP:
            if size := self._few(self.varint()):
                kinds = self.data[self.at]
                self.at += 1
                self._skip_elements(size, kinds >> 4, kinds & 15)
        else:
            self.at += FIXED[kind]

    def _skip_elements(self, size: int, *kinds: int) -> None:
        for _ in range(size):
            for kind in kinds:
                self.skip(BYTE if kind in (TRUE, FALSE) else kind)

    def _few(self, size: int) -> int:
        if size > len(self.data):  # an element takes a byte at least
            raise IndexError
        return size

"""How often each definition level occurs in a Parquet column: in the footer since 2024, but not told by pyarrow.

The null count of a column says how many values, lists and records are missing *or empty*; the histogram of definition
levels says how many of each. A footer is a struct of Thrift's compact protocol; only the way to the histograms is
followed, everything else is skipped. https://github.com/apache/parquet-format has the numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator

ROW_GROUPS, COLUMNS, META_DATA, SIZE_STATISTICS, DEFINITION_LEVELS = 4, 1, 3, 16, 3
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12


def histograms(footer: bytes) -> list[list[list[int]]]:
    """For each row group, for each leaf, how often each definition level occurs; empty where the file does not say.

    Raises ValueError if the bytes are no footer.
    """
    reader = _Reader(footer)
    try:
        return [
            [_levels(reader) for _ in reader.elements_of(COLUMNS)]
            for _ in reader.elements_of(ROW_GROUPS)
        ]  # fmt: skip
    except (IndexError, RecursionError):
        raise ValueError("these bytes are not the footer of a Parquet file") from None


def _levels(reader: _Reader) -> list[int]:
    """The histogram of the column chunk that comes next."""
    found: list[int] = []
    for field, kind in reader.fields():
        if field != META_DATA:
            reader.skip(kind)
            continue
        for inner, inner_kind in reader.fields():
            if inner != SIZE_STATISTICS:
                reader.skip(inner_kind)
                continue
            for last, last_kind in reader.fields():
                if last == DEFINITION_LEVELS:
                    size, _ = reader.list_head()
                    found = [reader.zigzag() for _ in range(size)]
                else:
                    reader.skip(last_kind)
    return found


class _Reader:
    """Reads the compact protocol from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def varint(self) -> int:
        data, at = self.data, self.at
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
        self.at = at
        return value

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def fields(self) -> Iterator[tuple[int, int]]:
        """The number and the kind of each field of a struct; whoever asks reads or skips it before the next."""
        number = 0
        while True:
            head = self.byte()
            kind = head & 15
            if kind == STOP:
                return
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            yield number, kind

    def list_head(self) -> tuple[int, int]:
        """The number of elements of a list, and their kind."""
        head = self.byte()
        return self._few(self.varint() if head >> 4 == 15 else head >> 4), head & 15

    def _few(self, size: int) -> int:
        if size > len(self.data):  # an element takes a byte at least
            raise IndexError
        return size

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
        if kind in (TRUE, FALSE):  # of a field, the value is in its kind
            return
        if kind == BYTE:
            self.at += 1
        elif kind == DOUBLE:
            self.at += 8
        elif kind == BINARY:
            size = self.varint()
            self.at += size
        elif kind in (LIST, SET):
            size, inner = self.list_head()
            for _ in range(size):
                self._skip_element(inner)
        elif kind == MAP:
            if size := self._few(self.varint()):
                kinds = self.byte()
                for _ in range(size):
                    self._skip_element(kinds >> 4)
                    self._skip_element(kinds & 15)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner)
        else:
            self.varint()

    def _skip_element(self, kind: int) -> None:
        if kind in (TRUE, FALSE):
            self.at += 1
        else:
            self.skip(kind)

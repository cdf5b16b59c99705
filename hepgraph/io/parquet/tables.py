"""Tables of plain values as Parquet, with texts beside them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any


def to_parquet(columns: Mapping[str, Sequence[Any]], texts: Mapping[str, str]) -> bytes:
    """A Parquet file of columns of equal length; the texts are kept in its schema's metadata.

    >>> from_parquet(to_parquet({"n": [1, 2], "name": ["a", "b"]}, {"title": "two"}))
    ({'n': [1, 2], 'name': ['a', 'b']}, {'title': 'two'})
    """
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({name: list(values) for name, values in columns.items()})
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table.replace_schema_metadata(dict(texts)), stream)
    return stream.getvalue()


def from_parquet(data: bytes) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Reads a file of `to_parquet`. Raises ValueError if it is no Parquet file."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(data))
    texts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return table.to_pydict(), texts

"""Tables of numbers with a row for each label, as text, HTML, or a DataFrame of pandas."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TextTable:
    """A title, the names of the columns, and rows of text, the label of each row first."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """The table with aligned columns: labels on the left, numbers on the right."""
        lines = [list(self.columns), *map(list, self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        cells = (
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
            for line in lines
        )
        return "\n".join([self.title, *("  ".join(line).rstrip() for line in cells)])

    def html(self) -> str:
        """The table as HTML."""

        def line(cells: Sequence[str], tag: str) -> str:
            right = ' style="text-align: right"'
            told = (f"<{tag}{right if i else ''}>{html.escape(cell)}</{tag}>" for i, cell in enumerate(cells))
            return f"<tr>{''.join(told)}</tr>"

        rows = "".join(line(row, "td") for row in self.rows)
        head = f"<thead>{line(self.columns, 'th')}</thead>"
        return f"<table><caption>{html.escape(self.title)}</caption>{head}<tbody>{rows}</tbody></table>"


def number(value: Any) -> str:
    """A number of events, or a sum of weights.

    >>> number(20000), number(1234.5678), number(float("nan"))
    ('20,000', '1,234.57', 'nan')
    """
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.2f}" if 1 <= abs(value) < 1e7 else f"{value:.4g}"


def percent(part: Any, whole: Any) -> str:
    """A share in per cent, `-` of nothing.

    >>> percent(1, 8), percent(0, 0)
    ('12.50 %', '-')
    """
    return f"{100 * part / whole:.2f} %" if whole else "-"


def frame(axes: Mapping[str, Sequence[str]], columns: Mapping[str, Any]) -> Any:
    """A DataFrame with a row for each element of arrays, indexed by the labels of their axes.

    Raises ImportError, with how to install it, where there is no pandas.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install pandas") from error
    if len(axes) == 1:
        ((name, labels),) = axes.items()
        index: Any = pandas.Index(list(labels), name=name)
    else:
        index = pandas.MultiIndex.from_product([list(labels) for labels in axes.values()], names=list(axes))
    return pandas.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index)


def nested(axes: Sequence[Sequence[str]], value: Any, at: tuple[int, ...] = ()) -> Any:
    """A nest of dicts by the labels of axes, with `value(indices)` at the innermost."""
    if not axes:
        return value(at)
    return {label: nested(axes[1:], value, (*at, i)) for i, label in enumerate(axes[0])}


def listed(names: Iterable[str], most: int = 6) -> str:
    """The first of several names.

    >>> listed(["a", "b", "c"], most=2)
    'a, b ... (3)'
    """
    known = list(names)
    return ", ".join(known) if len(known) <= most else f"{', '.join(known[:most])} ... ({len(known)})"

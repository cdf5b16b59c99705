"""Predicates: comparisons of a flat column with a number, which statistics of a file may answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hepgraph.graph.ops import OPS


@dataclass(frozen=True, slots=True)
class Predicate:
    """A flat column compared with a number, by an operation of the table; with `turned`, the number comes first."""

    column: str
    op: str
    value: Any
    turned: bool = False

    def __str__(self) -> str:
        symbol = OPS[self.op].symbol
        return f"{self.value} {symbol} {self.column}" if self.turned else f"{self.column} {symbol} {self.value}"

    def possible(self, dtype: np.dtype[Any], low: Any, high: Any) -> bool:
        """Whether any value from low to high passes; a NaN, which never does, may be among them.

        >>> predicate = Predicate("MET_pt", "greater", 200)
        >>> predicate.possible(np.dtype(float), 3.0, 150.0), predicate.possible(np.dtype(float), 3.0, 201.0)
        (False, True)
        """
        with np.errstate(all="ignore"):
            ends = np.array([low, high], dtype)
            if ends[0] != ends[0] or ends[1] != ends[1]:  # NaN: these are no bounds
                return True
            if self.op == "equal":
                below, above = OPS["less_equal"].meaning, OPS["greater_equal"].meaning
                return bool((below(ends[:1], self.value) & above(ends[1:], self.value)).any())
            test = OPS[self.op].meaning
            return bool((test(self.value, ends) if self.turned else test(ends, self.value)).any())

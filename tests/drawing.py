"""Random data for random programs: numbers, lists, missing values, and the choices that a program is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import awkward as ak
import numpy as np

SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0])
HARD = np.array([*SPECIAL, 5.0, -10.0, 1e30, 2.0**31, -(2.0**63)])
FUZZ = float(os.environ.get("HEPGRAPH_FUZZ", "1"))  # `make fuzz` draws ten times as much


def examples(n: int) -> int:
    """How many examples or mutations a test draws: n, times HEPGRAPH_FUZZ."""
    return max(1, int(n * FUZZ))


class Tape:
    """Choices, read off a string of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        byte = self.data[self.at] if self.at < len(self.data) else 0
        self.at += 1
        return byte % n

    def of(self, options: Sequence[Any]) -> Any:
        """One of some options."""
        return options[self.below(len(options))]

    @property
    def done(self) -> bool:
        """Whether the tape is read."""
        return self.at >= len(self.data)


Content = Callable[[int], Any]


class Draw:
    """Draws layouts; `special` are the numbers among them that are hard, `often` how often they come.

    With `limits`, whole numbers are now and then the lowest or highest of their type.
    """

    def __init__(self, seed: int, special: Any, often: float, limits: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.special, self.often, self.limits = special, often, limits

    def numbers(self, n: int, dtype: str) -> Any:
        """Numbers of a dtype, among them zeros, NaN and infinities."""
        kind, rng = np.dtype(dtype), self.rng
        if kind.kind == "b":
            return rng.random(n) < 0.5
        if kind.kind in "iu":
            values = rng.integers(-3 if kind.kind == "i" else 0, 6, n).astype(kind)
            ends = rng.choice([np.iinfo(kind).min, np.iinfo(kind).max], n).astype(kind)
            return np.where(rng.random(n) < self.often, ends, values) if self.limits else values
        values = np.round(rng.normal(1, 4, n), 1).astype(kind)
        return np.where(rng.random(n) < self.often, rng.choice(self.special, n).astype(kind), values)

    def flat(self, dtype: str) -> Content:
        """Numbers, as a layout."""
        return lambda n: ak.contents.NumpyArray(self.numbers(n, dtype))

    def lists(self, content: Content, most: int = 4) -> Content:
        """Lists of up to so many elements."""

        def make(n: int) -> Any:
            counts = np.where(self.rng.random(n) < 0.3, 0, self.rng.integers(0, most + 1, n))
            offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content(int(offsets[-1])))

        return make

    def missing(self, content: Content) -> Content:
        """The same with some of it None."""

        def make(n: int) -> Any:
            mask = ak.index.Index8((self.rng.random(n) < 0.3).astype(np.int8))
            return ak.contents.ByteMaskedArray(mask, content(n), valid_when=False).to_IndexedOptionArray64()

        return make

    def words(self) -> Content:
        """Strings."""
        return lambda n: ak.to_layout(self.rng.choice(["mu", "e", "", "tau"], n))

    def records(self, contents: dict[str, Content]) -> Content:
        """Records."""
        return lambda n: ak.contents.RecordArray([content(n) for content in contents.values()], list(contents), n)

    def numeric(self, kinds: dict[str, str]) -> Content:
        """Records of numbers."""
        return self.records({name: self.flat(dtype) for name, dtype in kinds.items()})


def everything(seed: int, n: int) -> ak.Array:
    """Events with columns of many kinds, shallow and deep, with None at every level."""
    d = Draw(seed, SPECIAL, 0.3)
    f4 = d.flat("float32")
    jet = {"pt": f4, "eta": f4, "charge": d.flat("int32"), "id": d.flat("bool"), "h": d.flat("int16"),
           "o": d.missing(f4)}  # fmt: skip
    columns = {
        "x": f4, "i": d.flat("int32"), "u": d.flat("uint8"), "k": d.flat("int64"), "b": d.flat("bool"),
        "o": d.missing(d.flat("float64")), "ob": d.missing(d.flat("bool")),
        "jet": d.lists(d.records(jet)), "mu": d.lists(d.numeric({"pt": "float32", "charge": "int32", "w": "float64"})),
        "f": d.lists(d.flat("float64")), "h": d.lists(d.flat("int16")),
        "of": d.lists(d.missing(f4)), "ofb": d.lists(d.missing(d.flat("bool"))),
        "nn": d.lists(d.lists(f4, 3)), "ni": d.lists(d.lists(d.flat("int64"), 3)),
        "ol": d.missing(d.lists(f4)), "nol": d.lists(d.missing(d.lists(d.flat("int32"), 3))),
    }  # fmt: skip
    return ak.Array(d.records(columns)(n))


def collisions(seed: int, n: int) -> ak.Array:
    """Events with collections of objects, and some options; every third seed has tame numbers."""
    wild = seed % 3 > 0
    d = Draw(seed, HARD, 0.2 if wild else 0.0, wild)
    f4, i4 = d.flat("f4"), d.flat("i4")
    jet = {"pt": f4, "eta": f4, "mass": f4, "charge": i4, "id": d.flat("?"), "h": d.flat("i2"), "k": d.flat("i8"),
           "o": d.missing(f4), "oi": d.missing(i4)}  # fmt: skip
    lepton = {"pt": "f4", "eta": "f8", "mass": "f4", "charge": "i4", "id": "?", "u": "u1", "to": "i2"}
    columns = {
        "x": f4, "y": d.flat("f8"), "i": i4, "u": d.flat("u2"), "k": d.flat("i8"), "q": d.flat("u8"),
        "s": d.flat("i1"), "b": d.flat("?"),
        "jet": d.lists(d.records(jet)), "mu": d.lists(d.numeric(lepton)), "el": d.lists(d.numeric(lepton), 3),
        "nn": d.lists(d.lists(f4, 3)), "o": d.missing(d.flat("f8")), "oi": d.missing(d.flat("i2")), "t": d.words(),
        "ol": d.missing(d.lists(f4)), "nj": d.lists(d.records({"pt": f4, "hits": d.lists(d.flat("i2"), 3)}), 3),
    }  # fmt: skip
    return ak.Array(d.records(columns)(n))

"""Results as bytes, and back, without pickles: what is read from them is data, whoever wrote them.

There are the values of Python (None, numbers, strings, bytes, lists, tuples, sets, dicts), arrays of NumPy and awkward,
histograms, and the dataclasses of hepgraph that say so (`plain`). The bytes are a header in JSON, in which everything
but strings and numbers is a list that begins with a tag, and the buffers of the arrays. Whatever else is in a result,
an object of a class of the user's, is pickled by itself: it is read only if the reader may load pickles.
"""

from __future__ import annotations

import ast
import collections
import json
import struct
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import awkward as ak
import numpy as np

from hepgraph.disk.axes import axis_from_json, axis_to_json
from hepgraph.disk.files import parsed

T = TypeVar("T", bound=type)
_HEAD = struct.Struct("<8sQ")
_MAGIC = b"hgplain1"
_ALIGNED = 16
_LARGEST = 2**53  # the largest integers that stay themselves in any JSON
_MANY = 32  # numbers in a list that are told as an array
_NUMBERS = "biufcmMSU"  # the kinds of dtypes whose values are in their bytes
_SIMPLE = (type(None), bool, int, float, str)
_DICTS: dict[str, type] = {"OrderedDict": collections.OrderedDict, "Counter": collections.Counter}
_FACTORIES: dict[str, type] = {each.__name__: each for each in (int, float, complex, str, list, dict, set)}
_STORAGES = ("Int64", "AtomicInt64", "Double", "Unlimited", "Weight", "Mean", "WeightedMean")
_DAMAGE = (
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    SyntaxError,
    MemoryError,
)
_ours: dict[str, type] = {}
_set = object.__setattr__
_parts: dict[type, tuple[str, ...] | None] = {}


class Pickled(Exception):
    """A result with an object in it that only a pickle holds, and that may not be loaded: the name of its class."""


def plain(kind: T) -> T:
    """Says of a class of hepgraph, a dataclass, named tuple or kind of histogram, that its parts tell its objects."""
    _ours[_name(kind)] = kind
    _parts[kind] = tuple(each.name for each in fields(kind)) if is_dataclass(kind) else getattr(kind, "_fields", None)
    return kind


def written(thing: Any, pickled: Callable[[Any], bytes] | None = None) -> tuple[bytes, list[str]]:
    """Anything as bytes, and the names of the classes whose objects had to be pickled.

    Raises TypeError, with such a name, if there is no way to pickle them.
    """
    made = _Writer(pickled)
    header = json.dumps(made.encoded(thing), separators=(",", ":")).encode()
    begin = _HEAD.size + len(header)
    parts = [_HEAD.pack(_MAGIC, len(header)), header, bytes(-begin % _ALIGNED), *made.parts]
    return b"".join(parts), made.names


def read(data: bytes, unpickled: Callable[[bytes], Any] | None = None) -> Any:
    """Reads the bytes of `written`; raises ValueError if damaged, Pickled if there are pickles that may not be read."""
    if len(data) < _HEAD.size:
        raise ValueError("it is too short")
    magic, length = _HEAD.unpack_from(data)
    begin = _HEAD.size + length
    if magic != _MAGIC or begin > len(data):
        raise ValueError("it does not begin like a result")
    told = parsed(data[_HEAD.size : begin])
    try:
        return _Reader(memoryview(data)[begin + -begin % _ALIGNED :], unpickled).decoded(told)
    except _DAMAGE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


class _Writer:
    """The header and the buffers of one thing."""

    def __init__(self, pickled: Callable[[Any], bytes] | None) -> None:
        self.parts: list[bytes] = []
        self.names: list[str] = []
        self._pickled, self._at = pickled, 0
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that nothing else gets the identity of what was seen

    def encoded(self, thing: Any) -> Any:
        """A thing as JSON."""
        kind = type(thing)
        if kind in _SIMPLE:
            return thing if kind is not int or abs(thing) <= _LARGEST else ["int", hex(thing)]
        if kind is list or kind is tuple:
            if len(thing) >= _MANY and (numbers := _numbers(thing)) is not None:
                return [f"{kind.__name__} of numbers", self._array(numbers)]
            if all(type(each) in _SIMPLE and (type(each) is not int or abs(each) <= _LARGEST) for each in thing):
                return [f"{kind.__name__} of", *thing]
            return [kind.__name__, *map(self.encoded, thing)]
        if kind is dict:
            return ["dict", *(self.encoded(part) for pair in thing.items() for part in pair)]
        if kind is np.ndarray or (isinstance(thing, np.generic) and kind.__module__ == "numpy"):
            return self._array(thing)
        if (names := _parts.get(kind)) is not None:
            if id(thing) in self._seen:
                return ["same", self._seen[id(thing)]]
            self._kept.append(thing)
            told = ["ours", _name(kind), *[self.encoded(getattr(thing, name)) for name in names]]
            self._seen[id(thing)] = len(self._seen)
            return told
        return self._rest(thing, kind)

    def _rest(self, thing: Any, kind: type) -> Any:
        match thing:
            case bytes() | bytearray() if kind in (bytes, bytearray):
                return [kind.__name__, *self._buffer(bytes(thing))]
            case complex() if kind is complex:
                return ["complex", thing.real, thing.imag]
            case set() | frozenset() if kind in (set, frozenset):
                return [kind.__name__, *map(self.encoded, thing)]
            case dict() if kind in _DICTS.values():
                return [kind.__name__, *(self.encoded(part) for pair in thing.items() for part in pair)]
            case collections.defaultdict() if kind is collections.defaultdict:
                factory = "" if thing.default_factory is None else getattr(thing.default_factory, "__name__", "?")
                if not factory or _FACTORIES.get(factory) is thing.default_factory:
                    return ["defaultdict", factory, *(self.encoded(part) for pair in thing.items() for part in pair)]
            case np.dtype() if _known(thing):
                return ["dtype", _dtype_told(thing)]
            case ak.contents.Content():
                return self._layout(thing)
            case ak.Array() if kind is ak.Array:
                return ["ak.Array", self._layout(thing.layout)]
            case ak.Record() if kind is ak.Record:
                return ["ak.Record", self._layout(thing.layout.array), thing.layout.at]
        if (made := self._histogram(thing, kind)) is not None:
            return made
        return self._by_pickle(thing, kind)

    def _buffer(self, data: bytes) -> tuple[int, int]:
        at = self._at
        self.parts += [data, bytes(-len(data) % _ALIGNED)]
        self._at += len(data) + -len(data) % _ALIGNED
        return at, len(data)

    def _array(self, thing: Any) -> Any:
        if thing.dtype.kind == "O":
            return ["objects", list(thing.shape), [self.encoded(each) for each in thing.ravel().tolist()]]
        if not _known(thing.dtype):
            return self._by_pickle(thing, type(thing))
        tag = "array" if type(thing) is np.ndarray else "scalar"
        order = "F" if tag == "array" and thing.flags.f_contiguous and not thing.flags.c_contiguous else "C"
        return [tag, _dtype_told(thing.dtype), list(thing.shape), order, *self._buffer(thing.tobytes(order))]

    def _layout(self, layout: Any) -> Any:
        form, length, container = ak.to_buffers(layout, byteorder="<")
        buffers = [part for name, data in container.items() for part in (name, self._array(np.asarray(data)))]
        return ["layout", form.to_json(), length, *buffers]

    def _histogram(self, thing: Any, kind: type) -> Any:
        name = _name(kind)
        if (kind is not _histogram(name) and _ours.get(name) is not kind) or not hasattr(kind, "storage_type"):
            return None
        axes = [axis_to_json(axis) for axis in thing.axes]
        storage = thing.storage_type.__name__
        if getattr(thing, "fills", ()) or storage not in _STORAGES or None in axes:
            return None
        told = [[*axis, self.encoded(dict(of.__dict__))] for axis, of in zip(axes, thing.axes, strict=True) if axis]
        bins = np.asarray(thing.view(flow=True)).tobytes("C")
        return ["hist", name, storage, told, self.encoded(dict(thing.__dict__)), *self._buffer(bins)]

    def _by_pickle(self, thing: Any, kind: type) -> Any:
        name = _name(kind)
        if self._pickled is None:
            raise TypeError(name)
        self.names.append(name)
        return ["pickle", name, *self._buffer(self._pickled(thing))]


class _Reader:
    """The value of a header and its buffers."""

    def __init__(self, buffers: memoryview, unpickled: Callable[[bytes], Any] | None) -> None:
        self._buffers, self._unpickled = buffers, unpickled
        self._seen: list[Any] = []

    def decoded(self, told: Any) -> Any:
        """The thing that some JSON stands for."""
        if not isinstance(told, list):
            return told
        tag, *parts = told
        match tag:
            case "list of":
                return parts
            case "tuple of":
                return tuple(parts)
            case "list of numbers":
                return self.decoded(parts[0]).tolist()
            case "tuple of numbers":
                return tuple(self.decoded(parts[0]).tolist())
            case "list":
                return [self.decoded(part) if type(part) is list else part for part in parts]
            case "tuple":
                return tuple([self.decoded(part) for part in parts])
            case "dict":
                return self._mapping(parts)
            case "array" | "scalar":
                return self._array(tag, *parts)
            case "ours":
                return self._ours(*parts)
            case "same":
                return self._seen[parts[0]]
        return self._rest(tag, parts)

    def _rest(self, tag: str, parts: list[Any]) -> Any:
        match tag:
            case "int":
                return int(parts[0], 16)
            case "complex":
                return complex(*parts)
            case "bytes" | "bytearray":
                return (bytes if tag == "bytes" else bytearray)(self._bytes(*parts))
            case "set" | "frozenset":
                return (set if tag == "set" else frozenset)([self.decoded(part) for part in parts])
            case "OrderedDict" | "Counter":
                return _DICTS[tag](self._mapping(parts))
            case "defaultdict":
                return collections.defaultdict(_FACTORIES[parts[0]] if parts[0] else None, self._mapping(parts[1:]))
            case "dtype":
                return _dtype(parts[0])
            case "objects":
                return self._objects(*parts)
            case "layout":
                return self._layout(*parts)
            case "ak.Array":
                return ak.Array(self.decoded(parts[0]))
            case "ak.Record":
                return ak.Array(self.decoded(parts[0]))[parts[1]]
            case "hist":
                return self._histogram(*parts)
            case "pickle":
                if self._unpickled is None:
                    raise Pickled(parts[0])
                return self._unpickled(bytes(self._bytes(*parts[1:])))
        raise ValueError(f"there is no {tag!r}")

    def _mapping(self, parts: list[Any]) -> dict[Any, Any]:
        return {self.decoded(parts[i]): self.decoded(parts[i + 1]) for i in range(0, len(parts), 2)}

    def _bytes(self, at: int, size: int) -> memoryview:
        if not 0 <= at <= at + size <= len(self._buffers):
            raise ValueError("it is too short")
        return self._buffers[at : at + size]

    def _array(self, tag: str, dtype: str, shape: list[int], order: Any, at: int, size: int) -> Any:
        array = np.frombuffer(bytearray(self._bytes(at, size)), _dtype(dtype)) if size else np.zeros(0, _dtype(dtype))
        array = array.reshape(shape, order=order)
        return array if tag == "array" else array[()]

    def _objects(self, shape: list[int], parts: list[Any]) -> Any:
        array = np.empty(len(parts), object)
        for i, part in enumerate(parts):
            array[i] = self.decoded(part)
        return array.reshape(shape)

    def _ours(self, name: str, *parts: Any) -> Any:
        kind: Any = _ours[name]
        names, values = _parts[kind] or (), [self.decoded(part) if type(part) is list else part for part in parts]
        if issubclass(kind, tuple):
            thing = kind._make(values)
        else:
            thing = object.__new__(kind)
            for each, value in zip(names, values, strict=True):
                _set(thing, each, value)
        self._seen.append(thing)
        return thing

    def _layout(self, form: str, length: int, *buffers: Any) -> Any:
        container = {buffers[i]: self.decoded(buffers[i + 1]) for i in range(0, len(buffers), 2)}
        made = ak.from_buffers(ak.forms.from_json(form), length, container, byteorder="<", highlevel=False)
        if wrong := ak.validity_error(made):
            raise ValueError(wrong)
        return made

    def _histogram(self, name: str, storage: str, axes: list[Any], own: Any, at: int, size: int) -> Any:
        import boost_histogram as bh

        kind: Any = _ours[name] if name in _ours else _histogram(name)
        if storage not in _STORAGES or not hasattr(kind, "storage_type"):
            raise ValueError(f"there is no {name} of {storage}")
        made = kind(
            *(axis_from_json(told, self.decoded(its)) for *told, its in axes), storage=getattr(bh.storage, storage)()
        )
        bins = np.asarray(made.view(flow=True))
        bins[...] = np.frombuffer(bytearray(self._bytes(at, size)), bins.dtype).reshape(bins.shape)
        made.__dict__.clear()
        made.__dict__.update(self.decoded(own))
        return made


def _numbers(thing: list[Any] | tuple[Any, ...]) -> np.ndarray[Any, Any] | None:
    """Many numbers of Python's, all of them floats or all integers that are not too large, as an array."""
    kinds = set(map(type, thing))
    if kinds == {float}:
        return np.array(thing, np.float64)
    if kinds == {int} and -(2**63) <= min(thing) <= max(thing) < 2**63:
        return np.array(thing, np.int64)
    return None


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _known(dtype: np.dtype[Any]) -> bool:
    """Whether the values of a dtype are in their bytes."""
    return dtype.kind in _NUMBERS or (dtype.kind == "V" and not dtype.hasobject)


def _dtype_told(dtype: np.dtype[Any]) -> str:
    return dtype.str if dtype.kind in _NUMBERS else repr(np.lib.format.dtype_to_descr(dtype))


def _dtype(text: str) -> np.dtype[Any]:
    made = np.lib.format.descr_to_dtype(ast.literal_eval(text)) if text[:1] in "[('" else np.dtype(str(text))
    if not _known(made):
        raise ValueError(f"there are no values of type {text}")
    return made


def _histogram(name: str) -> type | None:
    """A class of histograms of other packages, by its name."""
    module, _, last = name.rpartition(".")
    if module.partition(".")[0] not in ("boost_histogram", "hist") or last not in ("Histogram", "Hist", "NamedHist"):
        return None
    import boost_histogram as bh
    import hist

    kinds = (bh.Histogram, hist.Hist, hist.NamedHist)
    return next((kind for kind in kinds if name == _name(kind)), None)


__all__ = ["Pickled", "plain", "read", "written"]

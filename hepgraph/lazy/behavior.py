"""Arrays of data whose records are vectors in both dialects: what `.compute()` returns, and what an eager run works on.

Any record with the coordinates is a vector, whatever its name, as in lazy mode and by the same functions
(`hepgraph.lazy.vectors`). Nothing is registered with awkward: the behavior travels with each array.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, suggestion
from hepgraph.functions import behaviors
from hepgraph.lazy import coordinates, transforms, vectors
from hepgraph.lazy.array import ATTRIBUTES, HOOKS, Lazy
from hepgraph.lazy.hidden import HIDDEN, NAMELESS, hides, record_names, records, shown, told_apart, with_own
from hepgraph.lazy.vary import OF_LAZY_ARRAYS

CONTEXT = "@hepgraph"  # the attribute of an array that holds the chunk it is of; awkward drops it on pickling
NO_REFERENCE = object()  # what is not called like any; a reference of one record may lead to None
_REFERENCE = re.compile(r"matched_\w+|parent|children|subjets")  # what references are called
# functions of awkward that show or write what is in an array
_SHOWING = frozenset(
    name for name in dir(ak.operations)
    if name.startswith("to_") and name not in ("to_packed", "to_regular", "to_backend", "to_layout")
) | {"array_equal", "almost_equal", "type", "fields", "is_equal"}  # fmt: skip
TABLE = {
    name: ATTRIBUTES[name] for rows in (vectors.PROPERTIES, vectors.METHODS) for *_, names in rows for name in names
}
_BINARY = frozenset(name for f, least, names in vectors.METHODS if least and f is not vectors.total for name in names)
_FLOAT64 = frozenset(name for f, _, names in vectors.METHODS if f in transforms.FLOAT64 for name in names)
_COORDINATES = frozenset(
    [name for both in coordinates.ACROSS for name in both] + [n for names in coordinates.EITHER.values() for n in names]
)
_NAMES = {2: "Momentum2D", 3: "Momentum3D", 4: "Momentum4D"}
_VECTORS = {name: d for d in _NAMES for name in (_NAMES[d], f"Vector{d}D")}  # scikit-hep vector's own names
UNION = "Particle"  # the name of what is one of several records
COMMON = (UNION, NAMELESS, "LorentzVector", "PtEtaPhiMLorentzVector", "PtEtaPhiELorentzVector", "PtEtaPhiMCandidate",
          "Candidate", "ThreeVector", "SphericalThreeVector", "TwoVector", "PolarTwoVector")  # fmt: skip


class Shown:
    """Base of arrays of records, and of records: hidden fields are not shown, written or pickled."""

    _layout: Any
    behavior: Any

    @property
    def fields(self) -> list[str]:
        """The names of the fields."""
        return [name for name in self._layout.fields if not name.startswith(HIDDEN)]

    @property
    def _bare(self) -> Any:
        """The same without hidden fields, as a plain array; itself where there are none."""
        single = isinstance(self, ak.Record)
        layout = self._layout.array if single else self._layout
        plain = shown(layout)
        if plain is layout:
            return self
        return ak.Array(plain)[self._layout.at] if single else ak.Array(plain)

    @property
    def type(self) -> Any:
        """The type."""
        if isinstance(self, ak.Record):
            return ak.types.ScalarType(shown(self._layout.array.form).type, self.behavior)
        return ak.types.ArrayType(shown(self._layout.form).type, self._layout.length, self.behavior)

    @property
    def typestr(self) -> str:
        """The type on one line."""
        return str(self.type)

    def _ipython_key_completions_(self) -> list[str]:
        return self.fields

    def to_list(self) -> Any:
        """The values as Python objects."""
        bare = self._bare
        return super().to_list() if bare is self else bare.to_list()  # type: ignore[misc]

    tolist = to_list

    def __reduce_ex__(self, protocol: Any) -> Any:
        bare, behavior = self._bare, self.behavior
        if not isinstance(behavior, _Computed) and behavior.get(("*", _NAMES[4]), ParticleArray) is not ParticleArray:
            return behaved_as(bare).__reduce_ex__(
                protocol
            )  # of several arrays, merged: scikit-hep vector's do not pickle
        if bare is self:
            return super().__reduce_ex__(protocol)
        return type(bare)(bare.layout, behavior=behavior).__reduce_ex__(protocol)

    def __awkward_function__(self, func: Any, array_likes: Any, args: Any, kwargs: Any) -> Any:
        for other in array_likes:
            if isinstance(other, Lazy):
                return other.__awkward_function__(func, array_likes, args, kwargs)
        if func.__name__ in _SHOWING:
            args = [_bared(each) for each in args]
            kwargs = {name: _bared(each) for name, each in kwargs.items()}
        if func is ak.sum and (found := _sum_of_vectors(*args, **kwargs)) is not None:
            return found
        if func in (ak.concatenate, ak.where):
            args = _with_all_fields(args)
        result = _plainly(func, args, kwargs)
        if func in (ak.concatenate, ak.where, ak.fill_none):
            return _named_union(result)
        if func is ak.unzip and isinstance(result, tuple):
            names = ak.to_layout((*args, *kwargs.values())[0]).fields
            return tuple(part for name, part in zip(names, result, strict=True) if not name.startswith(HIDDEN))
        return _named_pairs(result) if func in (ak.zip, ak.cartesian, ak.combinations) else result


def _with_all_fields(args: Any) -> Any:
    """Arrays that are put together, each with the fields that others have and formulas make of it: they were set."""
    found = [*_arrays_of_records(args)]
    names = dict.fromkeys(name for array in found for name in array.fields)
    if all(len(array.fields) == len(names) for array in found):
        return args
    new = {id(array): with_made(array, names) for array in found}
    return type(args)(
        [new.get(id(each), each) for each in part] if isinstance(part, list | tuple) else new.get(id(part), part)
        for part in args
    )


def _arrays_of_records(args: Any) -> Iterator[Any]:
    for part in args:
        if isinstance(part, list | tuple):
            yield from _arrays_of_records(part)
        elif isinstance(part, _Particles) and isinstance(part, ak.Array) and part.fields:
            yield part


def with_made(v: Any, names: Iterable[str]) -> Any:
    """Records with those of some fields that formulas make, or references, among their own."""
    for name in names:
        if name not in v.layout.fields and (found := referred(v, name)) is not NO_REFERENCE:
            v = ak.with_field(v, found, name)
    return v


def _sum_of_vectors(array: Any, axis: Any = None, **options: Any) -> Any:
    """The sum of lists of vectors, by all that makes them vectors, which an overload does not get; None for others."""
    if axis is None or not isinstance(array, Shown) or (ak.sum, _name_of(array)) in ak.behavior:
        return None
    if set(options) - {"keepdims", "mask_identity"} or not vectors.dimension(array):
        return None
    with np.errstate(all="ignore"):
        return _carried(vectors.total(array, axis, **options), array)


def _named_pairs(result: Any) -> Any:
    """The result with a name on records out of records with hidden fields, by which awkward finds their class."""
    if type(result) is not ak.Array or _name_of(result) is not None or not any(map(hides, records(result.layout))):
        return result
    named = ak.with_name(result, NAMELESS, highlevel=False)
    return ParticleArray(named, behavior=result.behavior, attrs=result.attrs)


def _bared(arg: Any) -> Any:
    match arg:
        case Shown():
            return arg._bare
        case list() | tuple():
            return type(arg)(map(_bared, arg))
        case dict():
            return {name: _bared(each) for name, each in arg.items()}
    return arg


class _Particles(Shown):
    """Base of arrays of records, and of records, that may be vectors, and refer to others."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._layout.fields:
            return self[name]
        found = referred(self, name)
        if found is not NO_REFERENCE:
            return found
        if name in TABLE:
            return _asked(self, name)
        users = inspect.getattr_static(type(self), name, None)
        if isinstance(users, property):  # which raised an AttributeError: again, for that is what is wrong
            return users.__get__(self)
        what = _name_of(self)
        what = "record" if what in (None, NAMELESS) else what
        known = _references(self)
        said = (
            unclear(self, name)
            or OF_LAZY_ARRAYS.get(name)
            or suggestion(name, dict.fromkeys([*self.fields, *known, *TABLE]))
        )
        if not unclear(self, name) and not known and _REFERENCE.fullmatch(name):
            said = (
                "References lead to other collections: arrays have them that were computed with these, as a field of "
                f"events, and not pickled since. Take it before computing: events.{what}.{name}\n{said}"
            )
        raise FieldError(f"No field or method {name!r} in this {what}.\n{said}")

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *TABLE})

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, str) and where not in self._layout.fields:
            found = referred(self, where)
            if found is not NO_REFERENCE:
                return found
        names = [name for name in where if isinstance(name, str)] if isinstance(where, tuple | list) else []
        if names and (isinstance(where, tuple) or not set(names).issubset(self._layout.fields)):
            return self._with_made(where)
        with at_once(self):
            found = super().__getitem__(where)  # type: ignore[misc]
            if isinstance(where, list) and where and all(isinstance(name, str) for name in where):
                return ak.with_name(found, _name_of(self))  # awkward forgets it when fields are chosen
            return in_memory(found)

    def _with_made(self, where: Any) -> Any:
        """Parts of records by names, fields among them that formulas make, or that are references."""
        if isinstance(where, list):
            return with_own(self, where)[where]
        at = next(i for i, each in enumerate(where) if isinstance(each, str))
        found, rest = self[where[at]], (*where[:at], *where[at + 1 :])
        return found[rest[0] if len(rest) == 1 else rest] if rest else found

    @property
    def mask(self) -> Any:
        """`x.mask[m]` keeps the length and puts None where m is false, like `ak.mask(x, m)`."""
        return _Masking(self)

    @property
    def numba_type(self) -> Any:
        """The type in compiled functions, which need everything in memory: reads all fields."""
        if not self._layout.is_all_materialized:
            self.layout = ak.materialize(self._layout, highlevel=False)
        return super().numba_type  # type: ignore[misc]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Lazy) for x in inputs):
            return NotImplemented
        result = _ruled(self, ufunc, method, inputs, kwargs)
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs) if result is NotImplemented else result  # type: ignore[misc]


def in_memory(found: Any) -> Any:
    """A field of records: numbers are read at once, as compiled functions want them; records are not."""
    if isinstance(found, ak.Array) and not found.layout.fields and not found.layout.is_all_materialized:
        return ak.materialize(found)
    return found


def context(v: Any) -> Any:
    """The chunk, or the computed events, that an array is of; None if it is not known."""
    return (v.attrs or {}).get(CONTEXT)


def at_once(v: Any) -> AbstractContextManager[Any]:
    """While a field is taken: lengths of lists that are read are compared with it, and with no other column."""
    chunk = context(v)
    return nullcontext() if chunk is None else chunk.at_once()


def _ruled(v: Any, ufunc: np.ufunc, method: str, inputs: Any, kwargs: Any) -> Any:
    """The result of an operator by hepgraph's rules for vectors, else NotImplemented."""
    rule = vectors.OPERATORS.get(ufunc.__name__) if method == "__call__" and not kwargs else None
    if rule is None or behaviors.overload(ufunc, [_kind(x) for x in inputs]) is not None:
        return NotImplemented
    with np.errstate(all="ignore"):
        result = rule(*inputs)
    return result if result is NotImplemented else _carried(result, v)


def _kind(x: Any) -> Any:
    return (_name_of(x) if x.fields else x.layout.dtype.type) if isinstance(x, ak.Array | ak.Record) else type(x)


def _asked(v: Any, name: str) -> Any:
    """A property of vectors, or a method; infinities and what is no number come without a warning, as when traced."""
    with np.errstate(all="ignore"):
        return _carried(TABLE[name](v, name), v)


def _plainly(func: Any, args: Any, kwargs: Any) -> Any:
    """A call of a function of awkward, without asking its arguments again whether they want to answer it.

    `__wrapped__` is the generator inside of awkward's dispatcher (awkward._dispatch); there is no public way around it.
    """
    steps = func.__wrapped__(*args, **kwargs)
    next(steps)
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise AssertionError("a function of awkward yields once")


def _named_union(result: Any) -> Any:
    """The result with a name on unions of records of several names, by which awkward finds their class."""
    if type(result) is not ak.Array or not result.layout.fields or _name_of(result) is not None:
        return result

    def name(node: Any, **_: Any) -> Any:
        if node.is_union and node.fields:
            return ak.contents.UnionArray(node.tags, node.index, node.contents, parameters={"__record__": UNION})
        return node if node.is_record else None

    return ak.transform(name, result)


def _name_of(v: Any) -> Any:
    layout = v.layout
    return (layout.array if isinstance(v, ak.Record) else layout).purelist_parameter("__record__")


def _carried(result: Any, of: Any) -> Any:
    """A result, or what a method returns, with the behavior of the array that it was asked of, if it has none."""
    match result:
        case ak.Array() | ak.Record() if result.behavior is None:
            return type(result)(result.layout, behavior=of.behavior, attrs=of.attrs)
        case tuple():
            parts = [_carried(part, of) for part in result]
            return result._make(parts) if hasattr(result, "_make") else tuple(parts)
        case _ if callable(result) and not isinstance(result, ak.Array | ak.Record):
            return lambda *args, **kwargs: _called(result, of, args, kwargs)
    return result


def _called(method: Callable[..., Any], of: Any, args: Any, kwargs: Any) -> Any:
    with np.errstate(all="ignore"):
        return _carried(method(*args, **kwargs), of)


class _Masking:
    """Awkward's own holds on to its array weakly, so that `events.Muon.mask[m]` would be of an array that is gone."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __getitem__(self, where: Any) -> Any:
        return ak.mask(self._array, where)


class ParticleArray(_Particles, ak.Array):  # type: ignore[misc]
    """An array of records; those with coordinates are vectors."""


class ParticleRecord(_Particles, ak.Record):  # type: ignore[misc]
    """One record; with coordinates, it is a vector."""


def lost(v: Any) -> frozenset[tuple[str, str]]:
    """The references, by collection and name, that lead nowhere in computed events."""
    return getattr(context(v), "lost", frozenset())


def referred(v: Any, name: str) -> Any:
    """The records that a reference of this name leads to, or the field that a formula makes; or NO_REFERENCE."""
    chunk = context(v)
    if chunk is None or not all(name in chunk.references(each) for each in _collections(v.layout)):
        return NO_REFERENCE
    single = isinstance(v, ak.Record)
    layout = v.layout.array[v.layout.at : v.layout.at + 1] if single else v.layout

    def pointed(node: Any, **_: Any) -> Any:
        if not node.is_record:
            return None
        hidden = next(field for field in node.fields if field.startswith(HIDDEN))
        if (formula := chunk.formula(hidden.removeprefix(HIDDEN), name)) is not None:
            return ak.to_layout(formula.values(ak.Array(node, behavior=v.behavior, attrs=v.attrs)))
        serial, local = told_apart(node[hidden])
        if np.any(serial != chunk.serial):
            raise FieldError(
                f"These records come from several computations or chunks, so that .{name} leads nowhere. Take it "
                "before they are put together."
            )
        index = ak.index.Index64(local)
        return ak.contents.IndexedArray.simplified(index, chunk.referred(hidden.removeprefix(HIDDEN), name))

    with at_once(v):
        found = ak.transform(pointed, ak.Array(layout, behavior=v.behavior, attrs=v.attrs))
    return found[0] if single else found


def _references(v: Any) -> list[str]:
    """The names of all references of some records."""
    chunk = context(v)
    return [] if chunk is None else [name for each in _collections(v.layout) for name in chunk.references(each)]


def named(v: Any) -> set[str]:
    """The names of the fields of an array, and of those that the schema of its collections adds."""
    chunk = context(v)
    more = [set(chunk.added(each)) for each in _collections(v.layout)] if hasattr(chunk, "added") else []
    return set(v.fields) | (set.intersection(*more) if more else set())


HOOKS["named"] = named


def unclear(v: Any, name: str) -> str:
    """Why there is no reference of this name, if one could be meant; else nothing."""
    chunk = context(v)
    found = () if chunk is None else (chunk.unclear(each, name) for each in _collections(v.layout))
    return next(filter(None, found), "")


def _collections(layout: Any) -> Iterator[str]:
    """The collection that each record in a layout belongs to, by its hidden field; "" for one that has none."""
    waiting = [layout.array if isinstance(layout, ak.record.Record) else layout]
    while waiting:
        node = waiting.pop()
        if node.is_record:
            yield next((f.removeprefix(HIDDEN) for f in node.fields if f.startswith(HIDDEN)), "")
        elif node.is_union:
            waiting += node.contents
        elif hasattr(node, "content"):
            waiting.append(node.content)
        else:
            yield ""


# behaviors


def _sum(array: Any, mask_identity: bool) -> Any:
    return vectors.total(array, axis=-1)


def particles(names: Iterable[str]) -> dict[Any, Any]:
    """A behavior in which records of these names, and of those that vectors go by, are vectors as in lazy mode.

    What the user registered for these names with awkward comes first.
    """
    made: dict[Any, Any] = {}
    names = sorted(names)
    for name in (*_VECTORS, *COMMON, *names):
        made.update({("*", name): ParticleArray, name: ParticleRecord})
        if (ak.sum, name) not in ak.behavior:
            made[ak.sum, name] = _sum
    return {**made, **_by_user(names)}


def _by_user(names: Iterable[str]) -> dict[Any, Any]:
    """The classes that the user registered for records of these names, with the names of vectors behind their own."""
    made: dict[Any, Any] = {}
    for name in sorted(names):
        for key, below in ((("*", name), ParticleArray), (name, ParticleRecord)):
            own = behaviors.class_of(name, single=below is ParticleRecord)
            if own is not None:
                made[key] = _before(own, below)  # type: ignore[arg-type]
    return made


@lru_cache(maxsize=256)
def _before(own: Any, below: Any) -> type[Any]:
    return type(own.__name__, (own, below), {"__module__": own.__module__})


class _Computed(dict[Any, Any]):
    """A behavior that is pickled as the names it is for: scikit-hep vector's holds what does not pickle."""

    names: tuple[frozenset[str], frozenset[str]]

    def __reduce__(self) -> Any:
        return computed, self.names

    def __deepcopy__(self, memo: Any) -> _Computed:
        return self


def computed(names: frozenset[str] = frozenset(), more: frozenset[str] = frozenset()) -> dict[Any, Any]:
    """The behavior of computed arrays: vector's own for its own names, in both dialects, and particles for these.

    `more` are names of vectors with fields that scikit-hep vector would take for coordinates, and refuse: the mass of
    a sum. What the user registered with awkward comes first.
    """
    users = _by_user(names)
    if not users:
        return _computed(names, more)
    made = _Computed({**_computed(names, more), **users})
    made.names = names, more
    return made


@lru_cache(maxsize=64)
def _computed(names: frozenset[str], more: frozenset[str]) -> dict[Any, Any]:
    import vector.backends.awkward as backend

    known = particles(names)
    made = _Computed({**known, **backend.behavior, **_both_dialects()})
    made.update({key: known[key] for name in more for key in (("*", name), name)})
    made.names = names, more
    return made


@lru_cache(maxsize=1)
def _both_dialects() -> dict[Any, Any]:
    import vector.backends.awkward as backend

    keys = [key for name in _VECTORS for key in (("*", name), name)]
    return {key: _both(backend.behavior[key]) for key in keys}


def _both(base: Any) -> type[Any]:
    """A class of vector that has NanoEvents' names, too, takes particles for vectors, and in which fields come first.

    Boosts are hepgraph's, in float64.
    """

    class Both(base):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            if name in TABLE and name in super().__getattribute__("_layout").fields:
                return self[name]
            return _asked(self, name) if name in _FLOAT64 else super().__getattribute__(name)

        def __getattr__(self, name: str) -> Any:
            return _asked(self, name) if name in TABLE else super().__getattr__(name)

        def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
            mixed = any(isinstance(x, _Particles) for x in inputs)
            result = _ruled(self, ufunc, method, inputs, kwargs) if mixed else NotImplemented
            return super().__array_ufunc__(ufunc, method, *inputs, **kwargs) if result is NotImplemented else result

    for name in _BINARY:
        if hasattr(base, name):
            setattr(Both, name, _taking_particles(getattr(base, name)))
    Both.__name__ = Both.__qualname__ = base.__name__
    return Both


def _taking_particles(method: Callable[..., Any]) -> Callable[..., Any]:
    from functools import wraps

    @wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *(as_vector(x) if isinstance(x, _Particles) else x for x in args), **kwargs)

    return called


def as_vector(v: Any) -> Any:
    """A particle as an array of scikit-hep vector, with the coordinates that it has and the other fields."""
    d = vectors.dimension(v)
    record = {}
    for choices in ((("rho", "phi"), ("x", "y")), (("eta",), ("theta",), ("z",)), (("tau",), ("t",)))[: d - 1]:
        found = ({c: vectors.own(v, c) for c in names} for names in choices)
        record.update(next(each for each in found if all(value is not None for value in each.values())))
    made = ak.zip(record, with_name=_NAMES[d], optiontype_outside_record=True)
    return type(made)(made.layout, behavior=computed())


def behaved(layout: Any) -> Any:
    """A layout as an array on which `.mass`, `.deltaR`, `.delta_r`, `.nearest`, `a + b` work, whatever its records."""
    form = layout.form
    more = frozenset(
        name
        for record in records(form)
        for name, d in _VECTORS.items()
        if name == record.parameter("__record__") and len(_COORDINATES.intersection(record.fields)) != d
    )
    return ak.Array(layout, behavior=computed(frozenset(record_names(form)), more))


def behaved_as(v: Any) -> Any:
    """An array, or a record, with the behavior of computed ones."""
    layout = v.layout
    return behaved(layout.array)[layout.at] if isinstance(v, ak.Record) else behaved(layout)


HOOKS["behavior"] = behaved

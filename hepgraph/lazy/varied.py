"""Varied arrays: lazy arrays that hold, beside the nominal, one alternative for each variation.

No rule knows of variations. What is done to a varied array is done to the nominal and to every alternative, by the
ordinary rules, on the union of the names of all operands; one that does not know a name gives its nominal. What comes
out the same as the nominal is dropped: nodes are hash-consed, so the same graph is the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import repeat
from typing import Any, NoReturn

import numpy as np

from hepgraph.errors import LazyError, UnsupportedError, VariationError, many
from hepgraph.functions.lines import as_one
from hepgraph.functions.snapshot import REDUCERS
from hepgraph.graph.form import Form, Record, Whole, same, underlying, whole_of, within
from hepgraph.graph.node import dumps, loads
from hepgraph.io.source import Origin, Source
from hepgraph.lazy.array import HOOKS, Lazy
from hepgraph.lazy.results import NOMINAL, Variations
from hepgraph.lazy.typed import LazyType

_under_way = ContextVar("_under_way", default=NOMINAL)  # the variation for which a call is made


class Varied(Lazy):
    """A lazy array with alternatives: all that is done to it is done to each of them.

    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0]))
    >>> y = 2 * hg.vary(x, "scale", up=1.5 * x)
    >>> y.variations, {name: part.to_list() for name, part in y.compute().items()}
    (('nominal', 'scale_up'), {'nominal': [2.0, 4.0], 'scale_up': [3.0, 6.0]})
    """

    _varies = True
    _each: dict[str, Lazy]
    _crossed: Mapping[str, tuple[str, ...]]

    def __init__(self, each: dict[str, Lazy], crossed: Mapping[str, tuple[str, ...]] | None = None) -> None:
        object.__setattr__(self, "_each", each)
        object.__setattr__(self, "_crossed", crossed or {})

    @property
    def variations(self) -> tuple[str, ...]:
        """The names of the variations, "nominal" first."""
        return tuple(self._each)

    @property
    def _nominal(self) -> Lazy:
        return self._each[NOMINAL]

    def _at(self, name: str) -> Lazy:
        found: Lazy = chosen(self, name)
        return found

    # what all alternatives have alike

    @property
    def fields(self) -> list[str]:
        """The names of the fields of the records, empty for an array of numbers."""
        return self._nominal.fields

    @property
    def is_tuple(self) -> bool:
        """Whether the records are tuples."""
        return self._nominal.is_tuple

    @property
    def ndim(self) -> int:
        """The number of dimensions: the rows, and the list levels below."""
        return self._nominal.ndim

    @property
    def type(self) -> LazyType:
        """The type of the nominal."""
        return self._nominal.type

    @property
    def source(self) -> Source:
        """The dataset that the array comes from."""
        return self._nominal.source

    @property
    def _origin(self) -> Origin:
        return self._nominal._origin

    @property
    def npartitions(self) -> int:
        """The number of ranges that a run over this array would take."""
        if not isinstance(self.source.step_size, str) or self.source.npartitions is not None:
            return self._nominal.npartitions
        needed = dict.fromkeys(name for each in self._each.values() for name in HOOKS["needed"](each))
        return len(self.source.partitions(list(needed)))

    @property
    def _rows(self) -> Any:  # type: ignore[override]
        rows = self._nominal._rows
        if any(each._rows is not rows for each in self._each.values()):
            self._refuse("rows")
        return rows

    @property
    def _form(self) -> Any:  # type: ignore[override]
        self._refuse("form")

    @property
    def _guard(self) -> Any:  # type: ignore[override]
        self._refuse("guard")

    def _refuse(self, what: str) -> NoReturn:
        """A rule that is not mapped over the names must not take the nominal alone: its result would be wrong."""
        raise UnsupportedError(
            f"This operation takes no varied arrays (there is no one {what} of {self._said()}). "
            f"Take one variation, {_ONE}."
        )

    # what is mapped over the names

    def __getitem__(self, where: Any) -> Any:
        return as_one(follow, Lazy.__getitem__, self, where)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_repr_", "_ipython")):
            raise AttributeError(name)
        return as_one(follow, getattr, self, name)

    def __setitem__(self, where: Any, what: Any) -> None:
        as_one(assign, self, where, what)

    def __delitem__(self, where: Any) -> None:
        def without(each: Lazy) -> Lazy:
            each = each.__copy__()
            del each[where]
            return each

        _become(self, follow(without, self))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._nominal, name, value)  # raises

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return as_one(follow, self._nominal._operation, ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return as_one(follow, self._nominal.__array_function__, func, (), args, kwargs)

    def __awkward_function__(self, func: Any, array_likes: Any, args: Any, kwargs: Any) -> Any:
        return as_one(follow, self._nominal.__awkward_function__, func, (), args, kwargs)

    def repartition(self, npartitions: int | None = None, *, step_size: int | str | None = None) -> Any:
        """The same array in other ranges."""
        return follow(Lazy.repartition, self, npartitions, step_size=step_size)

    def head(self, n: int = 5, **options: Any) -> Any:
        """The first n rows of the first partition for each variation, computed; reads no other."""
        return Variations({name: each.head(n, **options) for name, each in self._each.items()})

    def eager(self, entries: slice | int | None = None, *, memory: int | str = "4 GB") -> Any:
        """Some entries for each variation, read when they are touched."""
        return Variations({name: each.eager(entries, memory=memory) for name, each in self._each.items()})

    # what needs one plain array

    def persist(self, **options: Any) -> NoReturn:
        """Raises: one variation is kept in memory at a time."""
        raise LazyError(f"This is {self._said()}, and not one array; keep one variation in memory: {_ONE}.persist().")

    def to_delayed(self, **options: Any) -> NoReturn:
        """Raises: one variation is a collection of dask."""
        raise LazyError(f"This is {self._said()}; give dask one variation: {_ONE}.to_delayed().")

    to_dask = to_dask_array = to_dask_bag = to_dask_dataframe = to_delayed

    def _plainly(self, ask: Callable[[Lazy], Any]) -> NoReturn:
        """Raises what a plain lazy array raises where a computed one is needed, and says that this one is varied."""
        try:
            ask(self._nominal)
        except LazyError as error:
            told = str(error)
        raise LazyError(
            f"{told}\nThis is {self._said()}: .compute() gives a dict of results by name, and {_ONE} is one plain "
            "array."
        )

    def __bool__(self) -> NoReturn:
        self._plainly(Lazy.__bool__)

    def __len__(self) -> NoReturn:
        self._plainly(Lazy.__len__)

    def __iter__(self) -> NoReturn:
        self._plainly(Lazy.__iter__)

    def __contains__(self, element: object) -> NoReturn:
        self._plainly(lambda x: element in x)

    def __float__(self) -> NoReturn:
        self._plainly(Lazy.__float__)

    __int__ = __complex__ = __float__

    def __index__(self) -> NoReturn:
        self._plainly(Lazy.__index__)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._plainly(Lazy.__array__)

    def _no_values(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._plainly(Lazy._no_values)

    to_list = tolist = to_numpy = __bytes__ = __dlpack__ = __dlpack_device__ = __cast_cpp__ = _no_values

    @property
    def _layout(self) -> NoReturn:
        self._plainly(lambda x: x._layout)

    # showing, copying, pickling

    def _said(self) -> str:
        names = list(self._each)[1:]
        more = f", ... ({len(names)} in all)" if len(names) > 4 else ""
        return f"an array varied by {', '.join(names[:4])}{more}"

    def __dir__(self) -> Iterable[str]:
        return dir(self._nominal)

    def __repr__(self) -> str:
        names = list(self._each)[1:]
        more = ", ..." if len(names) > 4 else ""
        return f"{repr(self._nominal)[:-1]}, {many(len(names), 'variation')}: {', '.join(names[:4])}{more}>"

    def _repr_html_(self) -> str:
        import html

        names = f"{many(len(self._each) - 1, 'variation')} beside the nominal: {', '.join(list(self._each)[1:])}"
        return f"{self._nominal._repr_html_()}<p>{html.escape(names)}</p>"

    def show(self, *args: Any, **kwargs: Any) -> None:
        """Prints the first rows of the nominal."""
        self._nominal.show(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        parts = tuple((name, each._form, each._rows, each._guard) for name, each in self._each.items())
        return _thawed, (dumps(parts), dict(self._crossed))

    def __copy__(self) -> Lazy:
        return Varied(dict(self._each), self._crossed)


_ONE = 'hg.variation(x, "nominal")'


def _thawed(data: bytes, crossed: Mapping[str, tuple[str, ...]]) -> Varied:
    return Varied({name: Lazy(*parts) for name, *parts in loads(data)}, crossed)


class Method:
    """A method of a varied array: called, it is that of each alternative, with what the arguments are there."""

    _varies = True

    def __init__(self, each: dict[str, Any], crossed: Mapping[str, tuple[str, ...]]) -> None:
        self._each, self._crossed = each, crossed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return follow(_called, self, *args, **kwargs)


def _called(method: Any, /, *args: Any, **kwargs: Any) -> Any:
    return method(*args, **kwargs)


def chosen(x: Any, name: str, crossed: Mapping[str, tuple[str, ...]] | None = None) -> Any:
    """The alternative of a variation; the nominal where the name is not known."""
    found = x._each.get(name)
    if found is not None:
        return found
    members = (crossed or {}).get(name, ())
    known = [member for member in members if member in x._each]
    if len(known) > 1:
        raise VariationError(
            f"{' and '.join(known)} were brought together before hg.cross asked for {name!r}; cross them where the "
            "first of them is declared."
        )
    return x._each[known[0] if known else NOMINAL]


def only_in(x: Any, names: Collection[str]) -> Any:
    """A varied array with some of its variations alone, the nominal always among them; anything else as it is."""
    if not isinstance(x, Varied):
        return x
    each = {name: alternative for name, alternative in x._each.items() if name == NOMINAL or name in names}
    return x._nominal if len(each) == 1 else Varied(each, x._crossed)


def crossing(x: Any) -> set[str]:
    """The names that an array is to be crossed in with others (see `hg.cross`)."""
    return {name for names in x._crossed.values() for name in names} if isinstance(x, Varied) else set()


def varied_in(part: Any) -> Iterator[Any]:
    """The varied arrays among arguments, also in lists and dicts."""
    kind = type(part)
    if kind is Lazy or kind in _NEVER_VARIED:
        return
    if isinstance(part, Lazy | Method):
        if part._varies:
            yield part
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from varied_in(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from varied_in(value)


def alternatives(part: Any, names: Sequence[str], crossed: Mapping[str, tuple[str, ...]]) -> list[Any] | None:
    """A part of the arguments in each of some variations; None if it is the same in all."""
    kind = type(part)
    if kind is Lazy or kind in _NEVER_VARIED:
        return None
    if isinstance(part, Lazy | Method):
        if not part._varies:
            return None
        known = part._each
        if crossed:
            return [chosen(part, name, crossed) for name in names]
        nominal = known[NOMINAL]
        return [known.get(name, nominal) for name in names]
    if isinstance(part, Mapping):
        inner = {key: alternatives(value, names, crossed) for key, value in part.items()}
        if all(each is None for each in inner.values()):
            return None
        return [
            {key: value if (each := inner[key]) is None else each[i] for key, value in part.items()}
            for i in range(len(names))
        ]
    if isinstance(part, (list, tuple)):
        parts = [alternatives(value, names, crossed) for value in part]
        if all(each is None for each in parts):
            return None
        count = len(names)
        moving = [repeat(value, count) if each is None else each for value, each in zip(part, parts, strict=True)]
        rows = zip(*moving, strict=True)
        return [*rows] if isinstance(part, tuple) else [list(row) for row in rows]
    return None


_NEVER_VARIED = frozenset({type(None), bool, int, float, str})


def names_of(varied: Iterable[Any]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """The union of the names of some varied arrays, and of the crossings that they were asked for."""
    names = {NOMINAL: None}
    crossed: dict[str, tuple[str, ...]] = {}
    for each in varied:
        names |= dict.fromkeys(each._each)
        crossed |= each._crossed
    for name, members in crossed.items():
        if all(member in names for member in members):
            names[name] = None
    return list(names), crossed


def follow(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """The result of a call with some varied arguments: that of the nominal and of each alternative, together."""
    return gathered(*mapped(call, *args, **kwargs))


def mapped(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """The results of a call in each variation that one of its arguments knows, and the crossings they ask for."""
    names, crossed = names_of([*varied_in(args), *(varied_in(kwargs) if kwargs else ())])
    count = len(names)
    moving = [repeat(arg, count) if (each := alternatives(arg, names, crossed)) is None else each for arg in args]
    named = {key: each for key, arg in kwargs.items() if (each := alternatives(arg, names, crossed)) is not None}
    made: list[Any] = []
    before = _under_way.get()
    try:
        for name, here in zip(names, zip(*moving, strict=True) if moving else repeat((), count), strict=True):
            _under_way.set(name)
            if named:
                kwargs = {**kwargs, **{key: each[len(made)] for key, each in named.items()}}
            made.append(call(*here, **kwargs))
    except Exception as error:
        if made:
            error.add_note(f"in the variation {names[len(made)]!r}")
        raise
    finally:
        _under_way.set(before)
    return dict(zip(names, made, strict=True)), crossed


def gathered(results: dict[str, Any], crossed: Mapping[str, tuple[str, ...]]) -> Any:
    """The results of one call in each variation as one; what is as in the nominal is not kept."""
    nominal = results[NOMINAL]
    if isinstance(nominal, Lazy):
        return _together(results, crossed)
    if nominal is NotImplemented:
        return nominal
    if isinstance(nominal, (list, tuple)) and all(len(each) == len(nominal) for each in results.values()):
        parts = [gathered({name: each[i] for name, each in results.items()}, crossed) for i in range(len(nominal))]
        return type(nominal)(*parts) if hasattr(nominal, "_fields") else type(nominal)(parts)
    if isinstance(nominal, dict) and all(each.keys() == nominal.keys() for each in results.values()):
        return {key: gathered({name: each[key] for name, each in results.items()}, crossed) for key in nominal}
    if all(each is nominal for each in results.values()):
        return nominal
    if callable(nominal):
        return Method(results, crossed)
    for name, each in results.items():
        if each != nominal:
            raise VariationError(
                f"A plain value is {nominal!r} in the nominal and {each!r} in the variation {name!r}. Take one "
                f"variation, {_ONE}."
            )
    return nominal


def _together(results: dict[str, Lazy], crossed: Mapping[str, tuple[str, ...]]) -> Lazy:
    if any(type(x) is not Lazy and x._varies for x in results.values()):  # the user's, that closes over such
        names, more = names_of(each for each in results.values() if each._varies)
        crossed = {**crossed, **more}
        nominal = results[NOMINAL]
        results = {
            name: chosen(x, name, crossed) if (x := results.get(name, nominal))._varies else x
            for name in dict.fromkeys([*results, *names])
        }
    nominal = results[NOMINAL]
    each = {name: x for name, x in results.items() if name == NOMINAL or not same_array(x, nominal, top=True)}
    if len(each) < len(results):
        each[NOMINAL] = _for_all(nominal)
    return each[NOMINAL] if len(each) == 1 else linked(Varied(each, crossed))


def same_array(x: Lazy, y: Lazy, top: bool = False) -> bool:
    """Whether two arrays are the same graph; with `top` but for where the references of their records lead."""
    return x._rows is y._rows and (x._guard is y._guard or x._guard == y._guard) and same(x._form, y._form, top)


# references lead into events that may be varied, where the records themselves are not


def _for_all(x: Lazy) -> Lazy:
    """An array that stands for all variations: its references lead into the events of each of them."""
    whole = whole_of(x._form)
    if whole is None or whole.joint is None or whole.joint is whole:
        return x
    return Lazy(within(x._form, whole.joint), x._rows, x._guard)


def worlds_of(x: Lazy) -> tuple[str, ...]:
    """The names of the events into which references of an array lead that is not varied itself."""
    whole = whole_of(x._form)
    return () if whole is None or whole.worlds is None or whole.joint is not whole else tuple(whole.worlds)


def in_world(x: Lazy, name: str) -> Lazy:
    """A plain array in one variation: its references lead into the events of that one."""
    whole = whole_of(x._form)
    if whole is None or whole.worlds is None or whole.joint is not whole:
        return x
    return Lazy(within(x._form, whole.worlds.get(name, whole.worlds[NOMINAL])), x._rows, x._guard)


def referred(x: Lazy, name: str, whole: Whole) -> Lazy:
    """A reference of an array that is not varied, into events that are."""
    assert whole.worlds is not None
    under_way = _under_way.get()
    if under_way != NOMINAL:
        return in_world(x, under_way)[name]  # type: ignore[no-any-return]
    found: Lazy = gathered({each: in_world(x, each)[name] for each in whole.worlds}, whole.crossed)
    return found


def linked(varied: Varied) -> Varied:
    """Varied events that know of each other, so that collections which do not vary are recorded once."""
    known = _events(varied._nominal._form)
    if known is None or known.joint is not None:
        return varied
    each, wholes = {}, {}
    for name, x in varied._each.items():
        form = x._form.with_fields({}) if isinstance(x._form, Record) else x._form  # one that no other handle has
        whole = _events(form)
        if whole is None:
            return varied
        each[name], wholes[name] = Lazy(form, x._rows, x._guard), whole
    wholes[NOMINAL].together(wholes, varied._crossed)
    return Varied(each, varied._crossed)


def _events(form: Form) -> Whole | None:
    """The fields of events, below those that were set."""
    fields = underlying(form)[0] if isinstance(form, Record) and not form.maps else None
    return fields if isinstance(fields, Whole) else None


def assign(x: Lazy, where: Any, what: Any) -> None:
    """`x[where] = what`, where one or the other is varied: the handle is varied afterwards."""

    def with_it(each: Lazy, value: Any) -> Lazy:
        new = each.__copy__()
        new[where] = value
        return new

    _become(x, follow(with_it, x, what))


def _become(x: Lazy, new: Lazy) -> None:
    """Makes a handle what another is; no other handle sees it."""
    object.__setattr__(x, "__class__", type(new))
    names = ("_each", "_crossed") if new._varies else ("_form", "_rows", "_guard")
    for name in names:
        object.__setattr__(x, name, getattr(new, name))


HOOKS["follow"] = follow
HOOKS["referred"] = referred
HOOKS["assign"] = assign
REDUCERS[Varied] = lambda x, pickler: (
    _of_parts,
    tuple(pickler.ref(part) for name, each in x._each.items() for part in (name, each._form, each._rows, each._guard)),
)


def _of_parts(*parts: Any) -> Varied:
    return Varied({name: Lazy(*rest) for name, *rest in zip(*[iter(parts)] * 4, strict=True)})

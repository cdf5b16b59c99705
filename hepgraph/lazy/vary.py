"""Variations: `hg.vary` declares alternatives of an array; all that is made of it then has them too."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from hepgraph.errors import FieldError, ShapeError, VariationError, VariationWarning, suggestion
from hepgraph.functions.lines import code_at, place, user_line
from hepgraph.graph.form import record_of
from hepgraph.lazy.array import HOOKS, Lazy, attached, together
from hepgraph.lazy.results import NOMINAL
from hepgraph.lazy.varied import Varied, chosen, in_world, linked, same_array, worlds_of

# what lazy arrays have, and computed ones have not
OF_LAZY_ARRAYS = {
    "variations": "A processor that runs eagerly is called once for each variation, with plain arrays. Fill with the "
    "array that hg.vary gave, without variation=: the histogram gets an axis with the names."
}


def vary(x: Any, name: Any = None, alternatives: Any = None, /, **more: Any) -> Any:
    """The array with alternatives: all that is computed from it follows each of them.

    An alternative is a whole array like `x`, or a dict of fields that are replaced in records. `x` may be varied
    already: each alternative is one of the nominal, and names combine only where `hg.cross` asks for it. The same name
    in two places, as of jets and missing energy, moves together. Nothing is computed, and what several variations have
    in common is made once.

    `events["Jet"] = jets` makes all that is computed from these events follow, references (`events.Muon.matched_jet`)
    too. Where jets were cut or sorted before, a reference leads to the jet that the index in the file means, and to
    None if it was cut. What was taken from the events before leads to the jets that they had.

    A processor that runs eagerly is called once for each variation, with the alternative in the place of the nominal.

    Parameters
    ----------
    x : array-like
        The nominal: a lazy array of numbers, records, lists of them, or the events.
    name : str or dict, default None
        The beginning of the names: with "JES", `up=` and `down=` are called JES_up and JES_down. Or, in its place, a
        dict of alternatives by their whole names.
    alternatives : dict, default None
        A dict of alternatives, beside those by keyword.
    **more : array-like or dict
        Alternatives by name.

    Returns
    -------
    Lazy
        A varied array; `.variations` lists the names, `.compute()` gives a dict of results, and a histogram that is
        filled with it has an axis `variation`.

    Raises
    ------
    VariationError
        For a name that the array has already with another alternative, and where there are no alternatives.
    ShapeError
        For an alternative with other rows, other fields or another depth than `x`, and for a field with other lists
        than the records that it goes into. A whole array may have other lists: jets that are cut otherwise.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> events = hg.from_awkward(ak.Array([{"Jet": [{"pt": 50.0}, {"pt": 20.0}]}]))
    >>> jets = hg.vary(events.Jet, "JES", up={"pt": events.Jet.pt * 2}, down={"pt": events.Jet.pt / 2})
    >>> events["Jet"] = jets
    >>> ak.num(events.Jet[events.Jet.pt > 30]).compute()["JES_up"].to_list()
    [2]
    """
    given = _named(name, alternatives, more)
    if not isinstance(x, Lazy):
        return _at_once(x, given)
    nominal = x._at(NOMINAL).__copy__()  # an assignment to x is to no other array
    each = dict(x._each) if isinstance(x, Varied) else {NOMINAL: nominal}
    crossed = dict(x._crossed) if isinstance(x, Varied) else {}
    for full, what in given.items():
        made = _alternative(nominal, what, full)
        if same_array(made, nominal):
            _changes_nothing(full)
            continue
        if full in each and not same_array(made, each[full]):
            raise VariationError(
                f"The variation {full!r} is declared twice, with different arrays. Give one of them another name; or, "
                "if one is to be made of the other, declare it once, of both."
            )
        each[full] = made
        for both, members in crossed.items():
            other = next((member for member in members if member != full), NOMINAL)
            if full in members and other in each:
                each[both] = _alternative(each[other], what, full, other)
    return linked(Varied(each, crossed)) if len(each) > 1 else nominal


def _named(name: Any, alternatives: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """The alternatives by their whole names; raises VariationError for names that cannot be."""
    if isinstance(name, Mapping) and alternatives is None:
        name, alternatives = None, name
    if name is not None and not isinstance(name, str):
        raise VariationError(f'The name of a variation is a text, not {name!r}: hg.vary(x, "JES", up=..., down=...).')
    if alternatives is not None and not isinstance(alternatives, Mapping):
        raise VariationError(
            'Alternatives come by name: hg.vary(x, "JES", up=array, down=array), or hg.vary(x, {"JES_up": array}).'
        )
    if isinstance(more.get("name"), str):
        raise VariationError(
            f'The name of a variation comes by place: hg.vary(x, "{more["name"]}", up=array, down=array).'
        )
    given = {**(alternatives or {}), **more}
    if not given:
        raise VariationError('hg.vary needs alternatives: hg.vary(x, "JES", up=array, down=array).')
    named = {f"{name}_{key}" if name else key: value for key, value in given.items()}
    for full in named:
        if not isinstance(full, str) or not full or full == NOMINAL:
            raise VariationError(f"No variation can be called {full!r}; the nominal is the array itself.")
        if "+" in full:
            raise VariationError(f"No variation can be called {full!r}: + is between the names that hg.cross combines.")
    return named


def _alternative(nominal: Lazy, what: Any, name: str, at: str = NOMINAL) -> Lazy:
    """One alternative as a plain array: what it is in the nominal, or in another variation that it is crossed with."""
    if isinstance(what, Mapping):
        if not what:
            raise VariationError(f"The variation {name!r} replaces no field; give {{'pt': array}}.")
        changed = nominal.__copy__()
        for field, value in what.items():
            _check_field(nominal, field, name)
            try:
                changed[field] = value._at(at) if isinstance(value, Lazy) else value
            except Exception as error:
                error.add_note(f"in the variation {name!r}, of the field {field!r}")
                raise
        return changed
    if not isinstance(what, Lazy):
        if isinstance(what, ak.Array | np.ndarray) and np.ndim(what):
            try:
                what = attached(what, nominal)
            except ShapeError as error:
                raise ShapeError(f"The variation {name!r} does not fit the nominal: {error}.") from error
        else:
            fields = ", or a dict of fields" if nominal.fields else ""
            raise VariationError(
                f"The variation {name!r} is a {type(what).__name__}; an alternative is an array like the nominal"
                f"{fields}: {name.rpartition('_')[2]}=1.03 * x."
            )
    made: Lazy = what._at(at)
    try:
        together([nominal, made])
    except ShapeError as error:
        raise ShapeError(f"The variation {name!r} has other rows than the nominal.\n{error}") from error
    if made.ndim != nominal.ndim or set(made.fields) != set(nominal.fields):
        raise ShapeError(
            f"The variation {name!r} is no array like the nominal.\n  nominal: {_short(nominal)}\n  {name}: "
            f"{_short(made)}"
        )
    return made.__copy__()


def _short(x: Lazy) -> str:
    text = str(x.type)
    return text if len(text) <= 100 else text[:97] + "..."


def _check_field(nominal: Any, field: Any, name: str) -> None:
    first = field[0] if isinstance(field, tuple) and field else field
    record = record_of(nominal._form) if isinstance(nominal, Lazy) else None
    if first not in (HOOKS["named"](nominal) if record is None else record):
        raise FieldError(
            f"The variation {name!r} replaces the field {first!r}, which is not there.\n"
            f"{suggestion(str(first), nominal.fields)}"
        )


def _changes_nothing(name: str) -> None:
    line = user_line()
    where = f"\n  {place(line)}: {code_at(line)}" if line else ""
    warnings.warn(
        VariationWarning(f"The variation {name!r} is the nominal: it changes nothing, and is left out.{where}"),
        stacklevel=3,
    )


# a processor that runs eagerly: once for each variation


@dataclass(frozen=True)
class OneVariation:
    """One run of a processor over computed arrays; `hg.vary` gives the alternatives of `active`, and notes names.

    `found` has, by name, the names that are active in a variation: those that are crossed have several.
    """

    active: tuple[str, ...]
    found: dict[str, tuple[str, ...]]


_running: ContextVar[OneVariation | None] = ContextVar("_running", default=None)


@contextmanager
def only(active: Sequence[str], found: dict[str, tuple[str, ...]]) -> Iterator[None]:
    """While inside, computed arrays are what they are in one variation; adds the names that are declared to `found`."""
    token = _running.set(OneVariation(tuple(active), found))
    try:
        yield
    finally:
        _running.reset(token)


def once_each() -> bool:
    """Whether a processor is under way that runs once for each variation."""
    return _running.get() is not None


def _eager(x: Any, function: str) -> OneVariation:
    run = _running.get()
    if run is None or not isinstance(x, ak.Array | np.ndarray):
        raise VariationError(
            f"hg.{function} takes lazy arrays, and computed ones in a processor that hg.run runs; not "
            f"{'a' if type(x).__name__[0] not in 'aeiouAEIOU' else 'an'} {type(x).__name__}."
        )
    return run


def _at_once(x: Any, given: Mapping[str, Any]) -> Any:
    """A computed array as it is in the variation under way."""
    run = _eager(x, "vary")
    for name in given:
        run.found.setdefault(name, (name,))
    for name in reversed(list(given)):
        if name in run.active:
            return _replaced(x, given[name], name)
    return x


def _replaced(x: Any, what: Any, name: str) -> Any:
    if not isinstance(what, Mapping):
        if len(what) != len(x):
            raise ShapeError(f"The variation {name!r} has {len(what)} entries, the nominal {len(x)}.")
        return what
    made = copy.copy(x)
    for field, value in what.items():
        _check_field(x, field, name)
        made[field] = value
    return made


def declared(names: Iterable[str]) -> list[str]:
    """Those of some names that are active; they are noted as if `hg.vary` had declared them."""
    run = _running.get()
    if run is None:
        return []
    for name in names:
        run.found.setdefault(name, (name,))
    return [name for name in names if name in run.active]


def variation(x: Any, name: str) -> Lazy:
    """One alternative of a varied array, as a plain lazy array.

    Parameters
    ----------
    x : Lazy
        A varied array.
    name : str
        One of `x.variations`.

    Returns
    -------
    Lazy
        The array in this variation.

    Raises
    ------
    VariationError
        If the array does not have it; the message gives the nearest names.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0]))
    >>> hg.variation(hg.vary(x, "scale", up=2 * x), "scale_up").compute().to_list()
    [2.0, 4.0]
    """
    if not isinstance(x, Lazy):
        raise VariationError(f"hg.variation takes a lazy array, not {type(x).__name__}. {OF_LAZY_ARRAYS['variations']}")
    names = x.variations or worlds_of(x) or (NOMINAL,)
    if name not in names:
        told = suggestion(str(name), names) if x.variations else "This array is not varied: the nominal is all it has."
        raise VariationError(f"No variation {name!r}.\n{told}")
    return in_world(x._at(name), name).__copy__()


def cross(x: Any, one: str, two: str) -> Lazy:
    """The array, asking that two variations be combined where they meet: `JES_up+btag_up` beside both of them.

    Ask where the first of them is declared: what is made of the array then carries the question along.

    Parameters
    ----------
    x : Lazy
        A varied array that has one of the names, or both.
    one : str
        The name to combine.
    two : str
        The name that it is combined with.

    Returns
    -------
    Lazy
        The array; the combination is there wherever both of its names are.

    Raises
    ------
    VariationError
        If the array has neither of the names, or both were brought together before; the message gives the nearest ones.

    Examples
    --------
    >>> import hepgraph as hg, awkward as ak
    >>> x = hg.from_awkward(ak.Array([1.0, 2.0]))
    >>> a = hg.cross(hg.vary(x, "a", up=10 * x), "a_up", "b_up")
    >>> (a + hg.vary(x, "b", up=100 * x)).compute()["a_up+b_up"].to_list()
    [110.0, 220.0]
    """
    names = one, two
    if one == two or NOMINAL in names:
        raise VariationError('hg.cross takes the names of two variations: hg.cross(x, "JES_up", "btag_up").')
    if not isinstance(x, Lazy):
        _eager(x, "cross").found["+".join(names)] = names
        return x  # type: ignore[no-any-return]
    if not isinstance(x, Varied):
        raise VariationError("hg.cross takes a varied array; this one has no variations.")
    if not any(name in x._each for name in names):
        told = "\n".join(f"{name!r}: {suggestion(name, x.variations)}" for name in names)
        raise VariationError(f"The array has neither of these variations.\n{told}")
    both = "+".join(names)
    new = Varied(dict(x._each), {**x._crossed, both: names})
    if all(name in x._each for name in names):
        chosen(new, both, new._crossed)  # raises
    return new

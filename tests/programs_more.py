"""More rules for random programs: options, sorting, padding, lists of lists, strings, functions outside the graph."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numba
import numpy as np
from programs import Program, World, axes, depth, kind, rule

import hepgraph as hg

INSTEAD = [0, -1, 2.5, 7]  # of None


def _missing(p: Program, w: World) -> tuple[Any, Any]:
    """A number that may be None, of the first events, of a collection, or masked on purpose."""
    how = p.tape.below(3)
    c = p.tape.of(w.collections[-4:])
    if how == 0 and w is p.worlds[0]:
        return p.tape.of(p.missing), None
    if how == 1 and "o" in c.fields:
        return c[p.tape.of(["o", "oi"])], c
    return ak.mask(p.number_of(w, c), p.mask(w, c)), c


@rule
def filled(p: Program, w: World) -> None:
    x, c = _missing(p, w)
    p.add(w, ak.fill_none(x, p.tape.of(INSTEAD)), c)


@numba.njit
def bent(x: Any) -> Any:
    """A function of numbers that numba compiles."""
    return x * 0.5 if x > 1 else x - 2


@rule
def compiled(p: Program, w: World) -> None:
    x, c = _missing(p, w)
    p.add(w, hg.map_partitions(bent, x), c)


@rule
def is_missing(p: Program, w: World) -> None:
    x, c = _missing(p, w)
    there = ~ak.is_none(x, axis=-1)
    p.add(w, there, c)
    if c is not None:
        w.collections.append(c[there])


@rule
def missing_reduced(p: Program, w: World) -> None:
    x, c = _missing(p, w)
    if c is None:
        return
    f = p.tape.of([ak.sum, ak.max, ak.min, ak.count, ak.any, ak.firsts, ak.mean])
    p.add(w, ak.fill_none(f(x, axis=1), p.tape.of(INSTEAD)), None)


@rule
def missing_best(p: Program, w: World) -> None:
    x, c = _missing(p, w)
    if c is not None:
        w.collections.append(c[p.tape.of([ak.argmax, ak.argmin])(x, axis=1, keepdims=True)])


@rule
def missing_dropped(p: Program, w: World) -> None:
    x, c = _missing(p, w)
    if c is not None:
        p.add(w, ak.sum(ak.drop_none(x, axis=1) * 2, axis=1), None)


@rule
def missing_lists(p: Program, w: World) -> None:
    if w is p.worlds[0]:
        f = p.tape.of([ak.sum, ak.max, ak.num, ak.any])
        p.add(w, ak.fill_none(f(p.missing_lists, axis=1), p.tape.of(INSTEAD)), None)


@rule
def sorted_collection(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    x = p.number_of(w, c) if p.tape.below(4) else _missing(p, w)[0]
    order = ak.argsort(x, axis=1, ascending=bool(p.tape.below(2)))
    w.collections.append(c[order])


@rule
def sorted_numbers(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    x = ak.sort(p.number_of(w, c), axis=1, ascending=bool(p.tape.below(2)))
    one = x[:, : p.tape.of([1, 2, 3])]
    p.add(w, ak.sum(one, axis=1), None)


@rule
def padded(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    n, k = p.tape.of([1, 2, 3]), p.tape.of([0, -1])
    x = ak.fill_none(ak.pad_none(p.number_of(w, c), n, axis=1, clip=bool(p.tape.below(2))), p.tape.of(INSTEAD))
    p.add(w, x[:, k] if p.tape.below(2) else ak.max(x, axis=1, mask_identity=False), None)


@rule
def spread(p: Program, w: World) -> None:
    c = p.tape.of(w.collections[-4:])
    f = p.tape.of([ak.std, ak.var, ak.mean])
    p.add(w, ak.fill_none(f(p.number_of(w, c), axis=1), -1), None)


@rule
def deep_lists(p: Program, w: World) -> None:
    if w is not p.worlds[0]:
        return
    c = p.deep[p.deep.pt > p.tape.of([-9, 1])] if p.tape.below(2) else p.deep
    if p.tape.below(3) == 0:
        c = c[ak.argsort(c.pt, axis=1)]
    hits = c.hits[c.hits > 0] if p.tape.below(2) else c.hits
    how = p.tape.below(4)
    if how == 0:
        w.collections.append(ak.zip({"pt": ak.flatten(hits, axis=2), "k": ak.flatten(hits, axis=2) * 2}))
    elif how == 1:
        p.add(w, ak.fill_none(ak.firsts(ak.max(hits, axis=2), axis=1), 0), None)
    else:
        f = p.tape.of([ak.sum, ak.any, ak.num])
        got = f(hits, axis=2)
        w.collections.append(c)
        w.elements.append((got, c))


@rule
def words(p: Program, w: World) -> None:
    if w is p.worlds[0]:
        p.add(w, p.text == p.tape.of(["mu", "tau", "x"]), None)


def _twice(x: Any) -> Any:
    return x * 2 + 1


def _lengths(x: Any) -> Any:
    return ak.num(x, axis=1) if x.ndim > 1 else x


@rule
def outside(p: Program, w: World) -> None:
    """A function of arrays, of which the graph knows nothing."""
    x, c = p.any_number(w)
    if not kind(x) or kind(x) == "b" or (c is not None and depth(x) != 1):
        return
    if p.tape.below(3) == 0:
        p.add(w, hg.map_partitions(_lengths, x), None)
    else:
        p.add(w, hg.map_partitions(_twice, x), c)


@rule
def outside_again(p: Program, w: World) -> None:
    outside(p, w)


@rule
def equal_lengths(p: Program, w: World) -> None:
    """Numbers of two lists that are as long as each other only as the data have it."""
    x, c = p.any_number(w)
    if c is None or not kind(x) or kind(x) == "b" or depth(x) != 1:
        return
    other = hg.map_partitions(_twice, x)
    p.add(w, np.maximum(x, other), c)


@rule
def cut_by_outside(p: Program, w: World) -> None:
    """A selection by what a function returned for the elements that were left."""
    c = p.tape.of(w.collections[-4:])
    x = p.number_of(w, c)
    if x is None or not kind(x) or kind(x) == "b" or depth(x) != 1:
        return
    m = hg.map_partitions(_twice, x) > p.tape.of([0, 1, 3])
    new = c[m]
    w.collections.append(new)
    w.elements.append((x[m], new))


@rule
def neighbours(p: Program, w: World) -> None:
    """Differences of elements that follow one another, and sums of the first ones of two collections."""
    c, d = p.tape.of(w.collections[-4:]), p.tape.of(w.collections[-4:])
    x, y = p.number_of(w, c), p.number_of(w, d)
    if not kind(x) or not kind(y) or "b" in (kind(x), kind(y)) or depth(x) != 1 or depth(y) != 1:
        return
    some = (ak.num(x) > 0) & (ak.num(y) > 0)
    pair = x[some][:, :1] + y[some][:, :1] if p.tape.below(2) else x[:, 1:] - x[:, :-1]
    p.sinks.append(ak.sum(pair * 0.5))


@rule
def by_table(p: Program, w: World) -> None:
    x, c = p.any_number(w)
    if not kind(x):
        return
    how = p.tape.below(5)
    if how == 0:
        found = np.digitize(x, [-1, 0, 2.5])
    elif how == 1:
        found = np.isin(x, [0, 1, 5])
    elif how == 2:
        found = np.interp(x, [0, 1, 3], [2.0, -1.0, 5.0])
    elif how == 3:
        found = np.select([x > 1, x < 0], [x, -1], 2)
    else:
        found = hg.lookup([2.5, -1.0, 0.0, 7.0], np.digitize(x, [0, 1, 2]) - p.tape.of([0, 4]))
    p.add(w, found, c)


@rule
def words_by_event(p: Program, w: World) -> None:
    """Strings that are made of numbers, filled and compared."""
    m, other = p.mask(w, None), p.tape.of(["mu", "e", "x"])
    word = ak.where(m, "mu", other)
    if p.tape.below(2):
        p.add(w, word == "mu", None)
    else:
        p.sinks.append(hg.Hist.new.StrCat(["mu", "e"]).Double().fill(word))


@rule
def guarded(p: Program, w: World) -> None:
    """Several results that share lists and conditions, each under some of the conditions, in an order of its own."""
    lists = [p.tape.of(w.collections[-5:]) for _ in range(2)]
    masks = [p.mask(w, None), ak.num(lists[0]) >= p.tape.of([1, 2]), ak.num(lists[1]) > 0, p.mask(w, None)]
    for _ in range(2 + p.tape.below(3)):
        c, taken = p.tape.of(lists), p.tape.below(16)
        some = [mask for k, mask in enumerate(masks) if taken >> k & 1]
        if p.tape.below(2):
            some.reverse()
        for k in range(len(some)):  # a cut after the other
            c = c[some[k]]
            some[k + 1 :] = [mask[some[k]] for mask in some[k + 1 :]]
        x = p.number_of(w, c)
        how = p.tape.below(4)
        if how == 0:
            x = x[:, p.tape.of([0, 0, 1, -1])]  # which may not be there
        elif how == 1:
            x = ak.sum(x, axis=1)
        elif how == 2:
            x = ak.flatten(x[ak.argmax(x, axis=1, keepdims=True)])
        else:
            pairs = ak.combinations(x, 2, fields=["a", "b"])
            x = ak.any(pairs.a > pairs.b, axis=1)
        p.sinks.append(hg.Hist(axes(p, x)).fill(x))


@rule
def guarded_again(p: Program, w: World) -> None:
    guarded(p, w)

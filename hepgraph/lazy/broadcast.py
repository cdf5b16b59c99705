"""How forms of different depths and lists go together: awkward's broadcasting, on index spaces.

Two lists go together if they are the same space, or if their lengths are equal by construction (a list and its sorted
self). Others go together with a check of their lengths while running: lists that come as they are from the data (two
branches of a file, or what a function returned), slices of lists by position, and what a function returned beside the
lists that it was given, however those were cut. Lists that were cut by different masks do not go together, even if
their lengths happen to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

from hepgraph.errors import ShapeError, UnsupportedError
from hepgraph.functions.lines import Line, place
from hepgraph.graph.canonical import TRUE, apply, both, conjunction, count, filtered, pulled, take, up
from hepgraph.graph.form import Form, List, Option, Record, Scalar, change, move, option, unwrap
from hepgraph.graph.kinds import SPACES, is_partial, returned_by, short_title
from hepgraph.graph.node import Map, Node, Space, as_map, as_node, as_space, map_, space
from hepgraph.graph.ops import OPS

Leaf = Callable[[list[Form], Space], Form]


def broadcast(
    forms: Sequence[Form],
    at: Space,
    leaf: Leaf,
    *,
    options: bool = True,
    depth: int | None = None,
    stop: Callable[[Sequence[Form]], bool] | None = None,
    guard: tuple[Node, ...] = (),
) -> Form:
    """One form out of several of the same space: their lists matched level by level, `leaf` applied below them.

    What is None in any of them is None in the result, and `leaf` sees no options; without `options`, those below the
    last lists stay. `depth` ends it after so many list levels, `stop` where it says so of the forms of a level. The
    lengths of lists are compared only in rows that pass the guard.
    """
    if depth == 0 or (stop is not None and stop(forms)):
        return leaf(list(forms), at)
    deep, optional = _nested(forms)
    if optional and (options or deep):
        valid, inner = _without_none(forms)
        guard = (*guard, valid)
        return option(valid, broadcast(inner, at, leaf, options=options, depth=depth, stop=stop, guard=guard))
    if not deep:
        return leaf(list(forms), at)
    target, size, contents = matched(forms, at, guard)
    depth = None if depth is None else depth - 1
    return List(target, broadcast(contents, target, leaf, options=options, depth=depth, stop=stop, guard=guard), size)


def _nested(forms: Sequence[Form]) -> tuple[bool, bool]:
    """Whether there are lists among some forms, None or not, and whether some may be None."""
    deep = optional = False
    for form in forms:
        if isinstance(form, Option):
            optional, form = True, form.content
        deep = deep or isinstance(form, List)
    return deep, optional


def _without_none(forms: Sequence[Form]) -> tuple[Node, list[Form]]:
    """Where none of some forms is None, and what they are there."""
    valid, pairs = TRUE, [unwrap(form) for form in forms]
    for mask, _ in pairs:
        valid = both(valid, mask)
    return valid, [form for _, form in pairs]


def matched(forms: Sequence[Form], at: Space, guard: tuple[Node, ...]) -> tuple[Space, int | None, list[Form]]:
    """The lists of one level matched: the space of their elements, their length if it is fixed, and what each holds.

    What is no list has one value for all elements of each.
    """
    lists = [form for form in forms if isinstance(form, List)]
    target = common_lists(lists, at)
    size = next((form.size for form in lists if form.space is target), None)
    return (
        target,
        size,
        [realigned(form, target, guard) if isinstance(form, List) else move(form, up(target)) for form in forms],
    )


def not_as_numpy(forms: Sequence[Form]) -> None:
    """Refuses arrays without lists of any length but of different depths: awkward would pair all rows with all rows."""
    if all(isinstance(form, Scalar) or (isinstance(form, List) and form.size is None) for form in forms):
        return
    some = [form for form in forms if not (isinstance(form, Scalar) and form.node.space is None)]
    depths = {_regular(form) for form in some}
    if len(depths) > 1 and (None not in depths or _fixed_beside_none(some)):
        raise UnsupportedError(
            "One of these arrays has lists of a fixed length (by keepdims=True or np.newaxis), the other none; awkward"
            " would broadcast them as NumPy does, every row with every row. Leave out keepdims, or use ak.from_regular"
            " first."
        )


def _fixed_beside_none(forms: Sequence[Form]) -> bool:
    """Whether lists of a fixed length, in no lists of any length, are beside something without lists."""
    level = [unwrap(form)[1] for form in forms]
    while lists := [form for form in level if isinstance(form, List)]:
        if any(form.size is None for form in lists):
            return False
        if len(lists) < len(level) and any(form.size != 1 for form in lists):
            return True
        level = [unwrap(form.content)[1] if isinstance(form, List) else form for form in level]
    return False


def _regular(form: Form) -> int | None:
    """The depth of an array whose lists all have a fixed length, else None."""
    depth = 0
    while isinstance(form, (Option, List)):
        if isinstance(form, List):
            if form.size is None:
                return None
            depth += 1
        form = form.content
    return depth


def common_lists(lists: Sequence[List], at: Space) -> Space:
    """The space that all lists of one level are brought to: one of the real lists, if some have length 1.

    Lists of the data come before those that a function returned, so that what is made of both is of the data's.
    """
    spaces = [form.space for form in lists]
    for s in spaces:
        if s.parent is not at:
            raise ShapeError("lists of different parents do not go together")
    real = [form.space for form in lists if form.size != 1] or spaces
    if len(real) > 1 and real[0] is not real[1]:
        return next((s for s in real if returned_by(s) is None), real[0])
    return real[0]


def single(s: Space) -> bool:
    """Whether each list of a space has exactly one element by construction."""
    while s.kind == "perm" or (s.kind == "pull" and not is_partial(as_map(s.args[1]))):
        s = as_space(s.args[0])
    return s.kind == "one"


def sole(s: Space, at: Space) -> Map:
    """The map to the one element of each list of a space of such."""
    return map_("only", at, s) if single(s) else map_("pick", at, s, (), ("at", 0, 0))


def realigned(form: List, target: Space, guard: tuple[Node, ...] = ()) -> Form:
    """The content of a list form, as elements of another list of the same lengths."""
    if form.space is target:
        return form.content
    if form.size == 1:
        assert target.parent is not None
        return move(move(form.content, sole(form.space, target.parent)), up(target))
    return move(form.content, alignment(target, form.space, guard))


def alignment(src: Space, dst: Space, guard: tuple[Node, ...] = ()) -> Map:
    """The map from the elements of one list to those at the same place of another; raises if there is none."""
    if shape(src) is shape(dst):
        return map_("align", src, dst)
    if src.parent is not None and src.parent is dst.parent and _compared(src, dst):
        return map_("match", src, dst, (conjunction(guard, src.parent),))
    raise ShapeError(
        "These lists do not go together: they were cut or combined differently, so that their elements do not "
        "correspond.\n"
        f"  one is {describe(dst)}\n  the other is {describe(src)}\n"
        "Apply the same masks to both, or put both in one record before cutting it."
    )


def shape(s: Space) -> Space:
    """The space whose lists have, by construction, the same lengths as those of s."""
    while s.kind == "perm":
        (base, *_) = s.args
        assert isinstance(base, Space)
        s = base
    return s


def _compared(a: Space, b: Space) -> bool:
    """Whether the elements of two lists correspond if their lengths agree, which is to be seen while running."""
    return (_positional(a) and _positional(b)) or not origins(a).isdisjoint(origins(b))


def _positional(s: Space) -> bool:
    """Whether only places tell which elements a list has: it is one of the data or of a function, or a slice of any."""
    s = shape(s)
    if s.kind == "filter":
        return _of_places(as_node(s.args[1]), as_space(s.args[0]))
    return _positional(as_space(s.args[0])) if s.kind == "pull" else SPACES[s.kind].positional


def _of_places(mask: Node, base: Space) -> bool:
    """Whether a mask depends on nothing but the places of elements and the lengths of their lists."""
    if mask.op == "literal" or (mask.op == "ordinal" and mask.space is base):
        return True
    if mask.op == "take" and mask.args[0] is up(base):
        return _of_lengths(as_node(mask.args[1]), count(base))
    return mask.op in OPS and all(_of_places(as_node(arg), base) for arg in mask.args)


def _of_lengths(x: Node, length: Node) -> bool:
    if x is length or x.op == "literal":
        return True
    return x.op in OPS and all(_of_lengths(as_node(arg), length) for arg in x.args)


def origins(s: Space) -> frozenset[Space]:
    """The spaces whose lists a space has, if functions return the lists that they were given.

    Lists that were made of such in the same way, say cut by one mask, are among them.
    """
    s = shape(s)
    others = _IN_PLACE_OF.get(s.kind)
    return frozenset({s, *(others(s) if others else ())})


def _of_result(s: Space) -> Iterator[Space]:
    call = as_node(s.args[0])
    for number in call.param.lists(s.param[1]):
        given = as_space(call.args[number])
        yield from origins(as_space(given.args[0]) if call.param.masked else given)


def _of_filter(s: Space) -> Iterator[Space]:
    base, mask = as_space(s.args[0]), as_node(s.args[1])
    if mask.op == "take" and mask.args[0] is up(base):  # of whole lists
        whole = as_node(mask.args[1])
        yield from (filtered(o, take(up(o), whole)) for o in origins(base) if o.parent is base.parent)
    while mask.op == "take" and as_map(mask.args[0]).kind in ("match", "align"):  # of other lists than these
        base, mask = as_map(mask.args[0]).dst, as_node(mask.args[1])
        yield filtered(base, mask)


def _of_pull(s: Space) -> Iterator[Space]:
    base, m = as_space(s.args[0]), as_map(s.args[1])
    others = origins(base)
    yield from (pulled(o, m) for o in others if o.parent is m.dst)
    if m.kind in ("match", "align"):
        yield from others


def _of_bases(s: Space) -> Iterator[Space]:
    for bases in product(*(origins(as_space(base)) for base in s.args)):
        if all(base.parent is s.parent for base in bases):
            yield space(s.kind, s.parent, bases, s.param)


_IN_PLACE_OF: dict[str, Callable[[Space], Iterator[Space]]] = {  # all others are made of no lists but their own
    "result": _of_result, "filter": _of_filter, "pull": _of_pull, "comb": _of_bases, "cart": _of_bases,
    "pad": _of_bases,
}  # fmt: skip


def describe(s: Space) -> str:
    """A space in words, with the user's line."""
    return SPACES[s.kind].title(s, short_title) + at_line(s.line)


def at_line(line: Line | None) -> str:
    """Where something was recorded, for the end of a message."""
    return "" if line is None else f"  ({place(line)})"


def elementwise(
    op: str, forms: Sequence[Form], at: Space, guard: tuple[Node, ...] = (), param: tuple[object, ...] = ()
) -> Form:
    """An operation of the table on forms."""

    def leaf(parts: list[Form], _: Space) -> Form:
        nodes: list[Node] = []
        for part in parts:
            if not isinstance(part, Scalar):
                name = part.name if isinstance(part, Record) and part.name else "records"
                fields = ", ".join(list(part)[:8]) if isinstance(part, Record) else ""
                raise UnsupportedError(
                    f"{op} has no meaning for {name}; take a field first"
                    + (f" (there are {fields})." if fields else ".")
                )
            nodes.append(part.node)
        return Scalar(apply(op, nodes, param))

    lone = [i for i, form in enumerate(forms) if not (isinstance(form, Scalar) and form.node.space is None)]
    if len(lone) == 1:  # with numbers alone beside it, nothing is to be matched
        (i,) = lone
        return change(forms[i], lambda part: leaf([*forms[:i], part, *forms[i + 1 :]], at))
    not_as_numpy(forms)
    return broadcast(forms, at, leaf, guard=guard)

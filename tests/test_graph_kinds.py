"""The table of kinds of spaces and maps: every kind has every meaning."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.kinds import MAPS, SPACES, is_partial, map_kind, short_title
from hepgraph.graph.node import Item, Map, Node, Space, literal, map_, node, space
from hepgraph.graph.ops import Table
from hepgraph.graph.show import steps, words
from hepgraph.lazy.broadcast import describe

HEPGRAPH = Path(__file__).resolve().parents[1] / "hepgraph"


class Function:
    title = "smear"


FUNCTION = Function()


def one_of_each() -> dict[str, Space]:
    """A space of each kind."""
    found = {"total": TOTAL}
    found["events"] = events = space("events", TOTAL, (), "kinds")
    found["leaf"] = jets = space("leaf", events, (), ("kinds", "nJet", None))
    mask = node("load", (), jets, literal(True).dtype, ("kinds", "Jet_good"))
    call = node("call", (events,), TOTAL, literal(True).dtype, FUNCTION)
    up = map_("up", jets, events)
    found["filter"] = space("filter", events, (jets, mask))
    found["comb"] = space("comb", events, (jets,), (2, False))
    found["cart"] = space("cart", events, (jets, found["filter"]))
    found["pull"] = space("pull", jets, (jets, up))
    found["back"] = space("back", jets, (jets, mask))
    found["one"] = space("one", events)
    found["concat"] = space("concat", events, (jets, found["filter"]))
    found["perm"] = space("perm", events, (found["filter"], mask), (True, True))
    found["flat"] = space("flat", TOTAL, (jets,))
    found["pad"] = space("pad", events, (jets,), (2, True))
    found["split"] = space("split", events, (jets, mask))
    found["ranged"] = space("ranged", jets, (jets, mask, mask))
    found["result"] = space("result", events, (call,), (("x",), 0))
    found["table"] = space("table", TOTAL, (), Table([1, 2, 3]))
    return found


def maps_of_each() -> dict[str, Map]:
    """A map of each kind."""
    s = one_of_each()
    jets, pairs = s["leaf"], s["comb"]
    key = node("load", (), jets, literal(1.0).dtype, ("kinds", "Jet_pt"))
    return {
        "up": map_("up", jets, s["events"]),
        "inc": map_("inc", s["filter"], jets),
        "leg": map_(0, pairs, jets),
        "pick": map_("pick", s["events"], jets, (key,), ("argmax", 1, 0)),
        "gather": map_("gather", jets, jets, (key,), True),
        "part": map_("part", s["concat"], jets, (), 0),
        "align": map_("align", s["perm"], jets),
        "match": map_("match", s["result"], jets, (literal(True),)),
        "only": map_("only", s["events"], s["one"]),
    }


def test_every_kind_of_space_is_told_apart_in_words() -> None:
    every = one_of_each()
    assert set(every) == set(SPACES)
    text = {kind: describe(s).partition("  (")[0] for kind, s in every.items()}
    assert text == {
        "total": "the events", "events": "the events", "leaf": "the lists of Jet", "filter": "a selection of Jet",
        "comb": "the combinations of Jet", "cart": "Jet times selected Jet", "pull": "Jet, rearranged",
        "back": "those of Jet that lead back",
        "one": "lists of one element", "concat": "Jet and selected Jet", "perm": "selected Jet, sorted",
        "flat": "Jet, rearranged", "pad": "Jet, rearranged", "split": "Jet, cut into lists",
        "ranged": "ranges of Jet", "result": "the lists that smear returned", "table": "the numbers of a table",
    }  # fmt: skip
    assert short_title(every["perm"]) == "sorted selected Jet"
    lines = dict(line.split("  ", 1) for line in steps(every.values()).splitlines() if not line.startswith("%"))
    assert {name: said.strip() for name, said in lines.items()} == {
        "events": "the entries", "Jet": "lists of nJet", "filter Jet": "Jet where %1",
        "Jet^2": "2-combinations of Jet", "Jet x filter Jet": "all of Jet with all of filter Jet",
        "pull Jet": "all of Jet for each of Jet", "one a events": "one", "Jet + filter Jet": "Jet then filter Jet",
        "perm Jet": "filter Jet sorted by %1", "flat Jet": "Jet", "pad Jet": "Jet", "split Jet": "Jet, %1",
        "ranged Jet": "ranges of Jet", "back Jet": "Jet whose %1 leads to each of Jet",
        "lists of smear": "lists of %2", "table": "table",
    }  # fmt: skip


def test_every_kind_of_map_is_told_apart_in_words() -> None:
    every = maps_of_each()
    assert set(every) == set(MAPS)
    names: dict[Item, str] = {s: kind for kind, s in one_of_each().items()}
    text = {kind: map_kind(m).name(m, lambda item: names.get(item, "?")) for kind, m in every.items()}
    assert text == {
        "up": "up from leaf", "inc": "inc from filter", "leg": "leg 0 of comb", "pick": "argmax of ?",
        "gather": "index ?", "part": "part from concat", "align": "align from perm", "match": "match from result",
        "only": "only from events",
    }  # fmt: skip
    assert {kind for kind, m in every.items() if is_partial(m)} == {"pick", "gather", "part", "match"}
    assert is_partial(map_("inc", one_of_each()["pad"], one_of_each()["leaf"]))
    assert words(every["up"], {every["up"]: "up"}) == "up"


def made_somewhere() -> Iterator[tuple[str, str]]:
    """The kinds that code makes: the literal first arguments of `space` and `map_`."""
    for path in HEPGRAPH.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            match call:
                case ast.Call(ast.Name("space" | "map_" as made), [ast.Constant(str() as kind), *_]):
                    yield made, kind


@pytest.mark.parametrize(("made", "rows"), [("space", SPACES), ("map_", MAPS)])
def test_every_kind_that_is_made_has_a_row(made: str, rows: dict[str, object]) -> None:
    kinds = {kind for how, kind in made_somewhere() if how == made}
    assert kinds == set(rows) - {"leg"}, "of legs, the kind is their number"


def ladders(path: Path) -> Iterator[int]:
    """The lines where code goes through several kinds of spaces or maps by their names."""
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.Match):
            cases = [x.value for case in found.cases for x in ast.walk(case.pattern) if isinstance(x, ast.Constant)]
            if len({*cases} & {*SPACES, *MAPS}) > 1:
                yield found.lineno


def test_kinds_are_told_apart_by_their_rows_alone() -> None:
    assert not [f"{path}:{line}" for path in HEPGRAPH.rglob("*.py") for line in ladders(path)]


def test_a_kind_without_a_row_is_told_at_once() -> None:
    with pytest.raises(KeyError, match="strange"):
        words(Space("strange", TOTAL, (), None, None), {})
    assert isinstance(literal(1), Node)

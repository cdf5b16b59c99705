"""Kinds of spaces and maps in a kernel: each has a rule for each meaning, or a reason why it has none."""

from __future__ import annotations

import pytest

from hepgraph.graph.canonical import TOTAL
from hepgraph.graph.kinds import MAPS, SPACES
from hepgraph.graph.node import space
from hepgraph.kernel.maps import MAP_RULES, MapRule
from hepgraph.kernel.schedule import Scheduler
from hepgraph.kernel.spaces import SPACE_RULES, SpaceRule
from hepgraph.kernel.tree import NotLowered

MEANINGS = ("count_needs", "length", "position_needs", "by_position", "loop_needs", "each", "bind")
_LOOPED = "has a loop of its own: nothing is bound"
_BOUND = "is walked as what it is a selection of: the step of the way to it is a condition, not a loop"
_PLACE = "is not looked up: its elements are known by their members alone"
_SEARCHED = "is not looked up: all of its base is gone through for each of its lists"
_INTERPRETED = "comes from the interpreter, as offsets, whenever it is asked for"
REASONS = {
    "total": dict.fromkeys(MEANINGS, "is always current, and has one element"),
    "events": dict.fromkeys(MEANINGS, "the kernel's own loop is over them") | {"loop_needs": ""},
    "leaf": {"bind": _LOOPED},
    "filter": {"loop_needs": _BOUND, "each": _BOUND},
    "comb": {"position_needs": _PLACE, "by_position": _PLACE, "bind": _LOOPED},
    "cart": {"position_needs": _PLACE, "by_position": _PLACE, "bind": _LOOPED},
    "pull": {"bind": _LOOPED},
    "back": {"position_needs": _SEARCHED, "by_position": _SEARCHED, "bind": _LOOPED},
    "one": {},
    "concat": {"bind": _LOOPED},
    "perm": {"bind": _LOOPED},
    "flat": dict.fromkeys(MEANINGS, _BOUND) | {"bind": ""},
    "pad": {"bind": _LOOPED},
    "split": dict.fromkeys(MEANINGS, _INTERPRETED),
    "ranged": dict.fromkeys(MEANINGS, _INTERPRETED),
    "result": dict.fromkeys(MEANINGS, _INTERPRETED),
    "table": dict.fromkeys(MEANINGS, _INTERPRETED),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPACES)
def test_a_space_has_every_meaning_or_a_reason(kind: str) -> None:
    rule = SPACE_RULES[kind]
    lacks = {name for name in MEANINGS if getattr(type(rule), name) is getattr(SpaceRule, name)}
    assert lacks == {name for name, why in REASONS[kind].items() if why}
    interpreted = any(why is _INTERPRETED for why in REASONS[kind].values())
    scheduler = Scheduler(frozenset(), ())
    s = space(kind, TOTAL)
    for needs in (scheduler.count_needs, scheduler.position_needs, scheduler.loop_needs) if interpreted else ():
        with pytest.raises(NotLowered, match=kind):
            needs(s)
    if interpreted:
        with pytest.raises(NotLowered, match=f"{kind} is not compiled"):
            scheduler.route(s, frozenset({TOTAL}))
        given = Scheduler(frozenset(), (), frozenset({s}))  # as the list of a column
        assert given.count_needs(s) == given.loop_needs(s) == frozenset()


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_says_where_it_leads(kind: str) -> None:
    rule = type(MAP_RULES[kind])
    assert rule.reach is not MapRule.reach or rule.follow is not MapRule.follow
    assert rule.reach is not MapRule.reach or not MAPS[kind].partial, "whether it leads anywhere"


def test_there_are_no_rules_for_kinds_that_there_are_not() -> None:
    assert set(SPACE_RULES) == set(SPACES) == set(REASONS)
    assert set(MAP_RULES) == set(MAPS)

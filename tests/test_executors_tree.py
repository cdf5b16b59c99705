"""The tree of sums: the same bits whatever the order, the batches, and who adds up what."""

from __future__ import annotations

import awkward as ak
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import letters, level_by_level, paired

import hepgraph as hg
from hepgraph.executors.interface import Part, Tree, Work
from hepgraph.executors.serial import Serial
from hepgraph.executors.tree import Merger, TreeNode, height_of, width_of


@st.composite
def cuts(draw):
    """A number of ranges, and places that cover each of them once, in some order."""
    count = draw(st.integers(1, 70))
    waiting, found = [TreeNode(0, height_of(count), 0)], []
    while waiting:
        place = waiting.pop()
        if place.level == 0 or draw(st.booleans()):
            found.append(place)
        else:
            waiting += [half for half in place.halves if half.index << half.level < count]
    return count, draw(st.permutations(found))


@given(cuts())
def test_any_places_in_any_order_give_the_same_sum(drawn):
    count, found = drawn
    values = letters(count)
    total = Merger(count, paired)
    for place in found:
        start, stop = place.span(count)
        local = Merger(stop - start, paired)
        for i in reversed(range(stop - start)):
            local.add(i, values[start + i])
        total.add(place.index, local.result, place.level)
    assert total.result == level_by_level(values)


@given(st.integers(1, 70), st.data())
def test_none_leaves_the_rest_as_it_is(count, data):
    absent = data.draw(st.sets(st.integers(0, count - 1)))
    values = [None if i in absent else x for i, x in enumerate(letters(count))]
    merger = Merger(count, paired)
    for i in data.draw(st.permutations(range(count))):
        merger.add(i, values[i])
    kept = [x for x in values if x is not None]
    assert "".join(c for c in merger.result or "" if c.isalpha()) == "".join(kept)
    assert (merger.result is None) == (not kept)


@given(st.integers(1, 5000), st.integers(0, 13), st.integers(1, 4))
def test_places(count, level, step):
    level = min(level, height_of(count))
    assert width_of(count, level) == sum(1 for start in range(0, count, 1 << level))
    last = TreeNode(0, level, width_of(count, level) - 1)
    assert last.span(count)[1] == count
    above = last.above(step)
    assert above.level % step == 0
    assert level < above.level <= level + step
    start, stop = above.span(count)
    assert start <= last.span(count)[0] < last.span(count)[1] <= stop


def test_folding_without_help_gives_one_part_a_task():
    parts = list(Serial().fold(Work.of(lambda task: (task * 10, f"row {task}")), [1, 2, 3], [Tree(0, 2), Tree(2, 1)]))
    assert parts == [
        Part(0, 0, 0, 10, [(0, "row 1")]),
        Part(0, 0, 1, 20, [(1, "row 2")]),
        Part(1, 0, 0, 30, [(2, "row 3")]),
    ]


def test_all_that_an_executor_may_ask_of_work_has_an_answer(caplog):
    """A function is work of which nothing else is known: nothing is far, a lost task is an error, nobody waits."""
    work = Work.of(len)
    assert work((1, 2)) == 2
    assert not work.far
    assert work.ahead((1,)) is None is work.wait()
    error = KeyError("gone")
    with pytest.raises(KeyError) as caught:
        work.lost((1,), error)
    assert caught.value is error
    with pytest.raises(NotImplementedError, match="do not add up"):
        work.combine(0)
    work.note("a worker is silent")
    assert caplog.messages == ["hepgraph: a worker is silent"]


def test_an_executor_holds_nothing_of_a_run():
    """So that one object can be used by several runs at a time, each with notes and a handle of its own."""
    executor = Serial()
    before = dict(vars(executor))
    runs = [hg.submit(ak.sum(hg.from_awkward(ak.Array([1, 2, 3]), 3)), executor=executor) for _ in range(3)]
    assert [run.result(60) for run in runs] == [6, 6, 6]
    assert vars(executor) == before == {}

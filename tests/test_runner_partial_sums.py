"""The tree of partial results: the same sum whatever comes first, and whatever comes late."""

from hypothesis import given
from hypothesis import strategies as st
from trees import letters, level_by_level, paired

from hepgraph.executors.tree import TOP
from hepgraph.io.source import Partition
from hepgraph.runner.partial_sums import Gathered, Sum, SumLeaf, Task


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.permutations(range(n)))), st.randoms())
def test_any_order_and_any_grouping_give_the_same_tree(drawn, random):
    count, order = drawn
    sums = [Sum.of(count, leaf, letters(count)[leaf]) for leaf in order]
    while len(sums) > 1:
        a, b = (sums.pop(random.randrange(len(sums))) for _ in range(2))
        sums.append(a.join(b, paired))
    assert sums[0].nodes == {TOP: level_by_level(letters(count))}
    assert sums[0].complete


@given(st.integers(1, 30), st.data())
def test_what_is_late_is_added_where_it_belongs(count, data):
    late = data.draw(st.sets(st.integers(0, count - 1)))
    early = [i for i in range(count) if i not in late]
    whole = Sum(count)
    for leaf in early:
        whole.join(Sum.of(count, leaf, letters(count)[leaf]), paired)
    shown = "".join(whole.in_order()).replace("(", "").replace(")", "")
    assert shown == "".join(letters(count)[leaf] for leaf in early), "what is there is in order"
    for leaf in data.draw(st.permutations(sorted(late))):
        whole.join(Sum.of(count, leaf, letters(count)[leaf]), paired)
    assert whole.nodes == {TOP: level_by_level(letters(count))}


def range_of(start, stop):
    return Partition("f", "t", start, stop, start)


def test_pieces_wait_until_their_leaf_is_whole():
    gathered = Gathered.of([SumLeaf((range_of(0, 4),)), SumLeaf((range_of(4, 8),))])
    gathered.split(0, range_of(0, 4), (range_of(0, 2), range_of(2, 4)))
    gathered.merge(Sum.of(2, 1, "b"), paired)
    gathered.merge(Sum(2, pieces={0: {(2, 4): "y"}}), paired)
    gathered.done |= {(1, 4), (0, 2)}
    assert list(gathered.missing(0)) == [Task(0, 0, False, range_of(0, 2))]
    assert gathered.sum.in_order() == ["y", "b"]
    gathered.merge(Sum(2, pieces={0: {(0, 2): "x"}}), paired)
    assert gathered.sum.nodes == {TOP: "((xy)b)"}
    assert gathered.so_far(paired) == gathered.total(paired) == "((xy)b)"


def test_nothing_is_nothing():
    assert Gathered.of([SumLeaf((range_of(0, 1),))]).total(paired) is None

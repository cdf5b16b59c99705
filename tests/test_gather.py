"""The tree of partial results: the same sum whatever comes first, and whatever comes late."""

from hypothesis import given
from hypothesis import strategies as st

from hepgraph.gather import TOP, Gathered, Leaf, Sum, Task
from hepgraph.io.source import Partition


def plus(a, b):
    """An addition that shows its grouping, so that no two trees give the same."""
    return f"({a}{b})"


def tree(values):
    """The slow obvious version: level by level."""
    while len(values) > 1:
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = [plus(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return values[0]


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.permutations(range(n)))), st.randoms())
def test_any_order_and_any_grouping_give_the_same_tree(drawn, random):
    count, order = drawn
    sums = [Sum.of(count, leaf, str(leaf)) for leaf in order]
    while len(sums) > 1:
        a, b = (sums.pop(random.randrange(len(sums))) for _ in range(2))
        sums.append(a.join(b, plus))
    assert sums[0].nodes == {TOP: tree([str(i) for i in range(count)])}
    assert sums[0].complete


@given(st.integers(1, 30), st.data())
def test_what_is_late_is_added_where_it_belongs(count, data):
    late = data.draw(st.sets(st.integers(0, count - 1)))
    early = [i for i in range(count) if i not in late]
    whole = Sum(count)
    for leaf in early:
        whole.join(Sum.of(count, leaf, str(leaf)), plus)
    shown = "".join(whole.in_order()).replace("(", "").replace(")", "")
    assert shown == "".join(map(str, early)), "what is there is in order"
    for leaf in data.draw(st.permutations(sorted(late))):
        whole.join(Sum.of(count, leaf, str(leaf)), plus)
    assert whole.nodes == {TOP: tree([str(i) for i in range(count)])}


def range_of(start, stop):
    return Partition("f", "t", start, stop, start)


def test_pieces_wait_until_their_leaf_is_whole():
    gathered = Gathered.of([Leaf((range_of(0, 4),)), Leaf((range_of(4, 8),))])
    gathered.split(0, range_of(0, 4), (range_of(0, 2), range_of(2, 4)))
    gathered.take(Sum.of(2, 1, "b"), plus)
    gathered.take(Sum(2, pieces={0: {(2, 4): "y"}}), plus)
    gathered.done |= {(1, 4), (0, 2)}
    assert list(gathered.missing(0)) == [Task(0, 0, False, range_of(0, 2))]
    assert gathered.sum.in_order() == ["y", "b"]
    gathered.take(Sum(2, pieces={0: {(0, 2): "x"}}), plus)
    assert gathered.sum.nodes == {TOP: "((xy)b)"}
    assert gathered.so_far(plus) == gathered.total(plus) == "((xy)b)"


def test_nothing_is_nothing():
    assert Gathered.of([Leaf((range_of(0, 1),))]).total(plus) is None

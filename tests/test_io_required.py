"""The needed columns of a partition: read at once, or on demand."""

import numpy as np
from drawing import everything, examples
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgraph.io.memory import open_awkward
from hepgraph.io.required import Loaded
from hepgraph.io.source import Need, Origin, reads


def questions(columns):
    """All that may be asked of some columns: the method and its arguments."""
    asked = []
    for column in columns:
        asked += [("values", column.name), ("valid", column.name, None)]
        for level in range(len(column.levels)):
            asked += [(how, column.level_name(level), level) for how in ("offsets", "valid")]
        asked += [("record_valid", record.name) for record in column.records if record.nullable]
    return asked


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(1, 3), st.randoms(use_true_random=False))
def test_columns_that_are_read_on_demand_are_those_that_are_read_at_once(seed, rows, parts, random):
    source = open_awkward(everything(seed, rows), parts)
    origin, columns = Origin.of(source), [column for column in source.columns.values() if not column.problem]
    asked = questions(columns)
    for part in source.partitions():
        random.shuffle(asked)
        at_once = Loaded(origin, part, {origin: dict.fromkeys([column.name for column in columns], Need.DATA)})
        on_demand = Loaded(origin, part, {}, on_demand=True)
        for how, *what in asked:
            wanted, got = (getattr(loaded, how)(origin, *what) for loaded in (at_once, on_demand))
            assert (wanted is None) == (got is None)
            np.testing.assert_array_equal(wanted, got)
        for column in columns:
            for one, two in zip(*(loaded.levels(origin, column.name) for loaded in (at_once, on_demand)), strict=True):
                np.testing.assert_array_equal(one, two)


def test_no_more_is_read_on_demand_than_is_asked_for():
    source = open_awkward([{"x": [1.0, 2.0], "y": 3}, {"x": [], "y": 4}])
    origin = Origin.of(source)
    loaded = Loaded(origin, source.partitions()[0], {origin: {}}, on_demand=True)
    with reads() as seen:
        loaded.offsets(origin, "x", 0)
        loaded.offsets(origin, "x", 0)
    assert [(each.column, each.need) for each in seen] == [("x", Need.COUNTS)]
    with reads() as seen:
        loaded.values(origin, "x")
        loaded.valid(origin, "x", None)
    assert [(each.column, each.need) for each in seen] == [("x", Need.DATA)]
    assert loaded.data[origin].keys() == {"x"}
    assert loaded.data[origin]["x"].nbytes == 2 * 8 + 3 * 8

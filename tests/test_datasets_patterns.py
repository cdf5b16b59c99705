"""Patterns of branch names: they mean what they say, and none takes long."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepgraph import errors
from hepgraph.datasets.patterns import filled, fits, matched, names_of
from hepgraph.datasets.recipes import athena, podio

TEXT = st.text("ab_.", min_size=1, max_size=8)


@given(TEXT, TEXT)
def test_a_template_that_is_filled_fits(collection, field):
    name = filled("{collection*}#{field*}", {"collection": collection, "field": field})
    assert matched("{collection*}#{field*}", name) == {"collection": collection, "field": field}


@given(st.text("ab_.*+", max_size=12), st.text("ab_.", max_size=6))
def test_a_star_is_any_text(name, before):
    assert fits(f"{before}*", name) == name.startswith(before)


def test_all_else_means_itself():
    assert matched("a.b", "axb") is None
    assert fits("x(+)$", "x(+)$")
    assert matched("{field}_x", "a.b_x") is None
    assert matched("{c}_{f}", "Jet_btag_deep") == {"c": "Jet", "f": "btag_deep"}
    assert names_of("{c}-*_{f}_x") == {"c", "f"}


@pytest.mark.parametrize("pattern", ["{a}{b}", "{a}*", "a{", "{a b}", "{a}.{b}.{c}.{d}.{e}"])
def test_patterns_that_are_none(pattern):
    with pytest.raises(errors.SchemaError, match=re.escape(pattern)):
        names_of(pattern)


def test_no_pattern_backtracks_without_end():
    start = time.process_time()
    assert matched("{a*}a{b*}a{c*}a{d*}b", "a" * 120 + "c") is None
    assert time.process_time() - start < 30  # a regular expression of a user's could take years


def test_numbers_of_collections():
    """As podio and Athena wrote them to files."""
    assert podio("MCParticleCollection") == 4183352422
    assert podio("TimeSeriesCollection") == 4134397673
    assert athena("InDetTrackParticles", 1287425431) == 0x1D3890DB
    assert athena("TruthElectrons", 1237340765) == 0x177D7DC3

"""Limits are those of the environment, and wrong ones are told."""

import pytest
from limiting import limited

from hepgraph.limits import Limits, limits


def test_limits_are_the_usual_ones_but_for_those_of_the_environment(monkeypatch):
    monkeypatch.delenv("HEPGRAPH_LIMITS")
    assert limits() == Limits()
    with limited(block=7, wait=2):
        assert limits() == Limits(block=7, wait=2.0)
        with limited(block=8):
            assert limits() == Limits(block=8, wait=2.0)
    assert limits() == Limits()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("blok=3", "HEPGRAPH_LIMITS names 'blok', which is no limit. Nearest names: block, late_block, late_blocks."),
        ("block", "HEPGRAPH_LIMITS has block=: block is a whole number, 1 or more, and usually 16384."),
        ("block=0", "HEPGRAPH_LIMITS has block=0: block is a whole number, 1 or more, and usually 16384."),
        ("gap=1.5", "HEPGRAPH_LIMITS has gap=1.5: gap is a whole number, 0 or more, and usually 65536."),
        ("wait=nan", "HEPGRAPH_LIMITS has wait=nan: wait is a number, 0 or more, and usually 0.25."),
    ],
)
def test_what_is_no_limit_is_told(text, told, monkeypatch):
    monkeypatch.setenv("HEPGRAPH_LIMITS", text)
    with pytest.raises(ValueError) as caught:
        limits()
    assert str(caught.value) == told

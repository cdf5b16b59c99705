"""What is known of files: as long as they do not change, of the last ones met, in any thread and after a fork."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from hepgraph.io.access.handles import Known, settings_of


def test_what_is_known_holds_until_the_stamp_changes():
    known = Known(2)
    known.keep("a", (1, 2, 3), "one")
    assert known.of("a", (1, 2, 3)) == "one"
    assert known.of("a", (2, 2, 3)) is None
    assert known.last("a") == ("one", (1, 2, 3))
    known.keep("url", None, "two")  # a remote file may have changed whenever
    assert known.of("url", None) is None
    assert known.last("url") == ("two", None)
    assert known.last("b") == (None, None)


def test_what_was_asked_for_last_is_kept():
    known = Known(2)
    known.keep("a", (1, 1, 1), "one")
    known.keep("b", (1, 1, 1), "two")
    assert known.of("a", (1, 1, 1)) == "one"
    known.keep("c", (1, 1, 1), "three")
    assert [known.of(key, (1, 1, 1)) for key in "abc"] == ["one", None, "three"]
    known.clear()
    assert known.of("a", (1, 1, 1)) is None


def test_threads_may_share_what_is_known():
    known = Known(3)

    def work(number):
        for turn in range(300):
            key = (number * 7 + turn) % 11
            known.keep(key, (key, 0, 0), key)
            assert known.of(key, (key, 0, 0)) in (key, None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sum(known.last(key)[0] is not None for key in range(11)) == 3


def test_a_fork_starts_anew(monkeypatch):
    known = Known(2)
    known.keep("a", (1, 1, 1), "one")
    known._lock.acquire()  # another thread holds it while the process is forked
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert known.of("a", (1, 1, 1)) is None
    known.keep("a", (1, 1, 1), "two")
    assert known.of("a", (1, 1, 1)) == "two"


@pytest.mark.parametrize("options", [None, {}])
def test_no_options_are_all_the_same(options):
    assert settings_of(options) == "[]"


def test_the_order_of_options_does_not_matter():
    assert settings_of({"b": 1, "a": 2}) == settings_of({"a": 2, "b": 1})

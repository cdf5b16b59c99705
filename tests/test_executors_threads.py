"""Threads that stay for the next run."""

import os
import threading

import pytest

from hepgraph.executors import threads
from hepgraph.executors.threads import Staying, Threads


@pytest.fixture
def staying(monkeypatch):
    mine = Staying()
    monkeypatch.setattr(threads, "staying", mine)
    yield mine
    for pool, timer in list(mine._pools.values()):
        timer.cancel()
        pool.shutdown()


def of_two(work):
    """The threads that did some work together: each waits for the other."""
    both = threading.Barrier(2, timeout=20)
    found = []

    def one(task):
        both.wait()
        found.append(threading.current_thread())
        return work(task)

    return found, one


def test_the_next_run_has_the_same_threads(staying):
    ran = []
    for _ in range(2):
        found, work = of_two(lambda task: 2 * task)
        assert sorted(Threads(2).run(work, [1, 2])) == [(0, 2), (1, 4)]
        ran.append(set(found))
    assert ran[0] == ran[1]
    assert len(ran[0]) == 2


def test_runs_at_the_same_time_have_threads_of_their_own(staying):
    first, work = of_two(lambda task: task)
    outer = Threads(2).run(work, [1, 2, 3, 4])
    next(outer)
    second, other = of_two(lambda task: task)
    list(Threads(2).run(other, [1, 2]))
    list(outer)
    assert not set(first) & set(second)
    assert len(staying._pools) == 1


def test_after_an_error_or_when_it_is_given_up_nothing_stays(staying):
    found, work = of_two(lambda task: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        list(Threads(2).run(work, [1, 2]))
    assert not any(thread.is_alive() for thread in found)
    found, work = of_two(lambda task: task)
    given_up = Threads(2).run(work, [1, 2, 3, 4])
    next(given_up)
    given_up.close()
    assert not any(thread.is_alive() for thread in found)
    assert not staying._pools


def test_threads_do_not_stay_for_ever(staying, monkeypatch):
    monkeypatch.setattr(threads, "STAY", 0.01)
    found, work = of_two(lambda task: task)
    list(Threads(2).run(work, [1, 2]))
    for thread in found:
        thread.join(20)
        assert not thread.is_alive()
    assert not staying._pools


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_process_that_forks_has_threads_of_its_own(staying):
    list(Threads(2).run(lambda task: task, [1, 2]))
    child = os.fork()
    if child == 0:
        done = sorted(Threads(2).run(lambda task: -task, [1, 2]))
        os._exit(0 if done == [(0, -1), (1, -2)] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

"""Threads that stay for the next run."""

import os
import threading
import time

import pytest

from hepgraph.executors import threads
from hepgraph.executors.interface import Work
from hepgraph.executors.threads import Staying, Threads


@pytest.fixture
def staying(monkeypatch):
    mine = Staying()
    monkeypatch.setattr(threads, "staying", mine)
    yield mine
    for pool, timer in list(mine._pools.values()):
        timer.cancel()
        pool.end(20)


def of_two(work):
    """The threads that did some work together: each waits for the other."""
    both = threading.Barrier(2, timeout=20)
    found = []

    def one(task):
        both.wait()
        found.append(threading.current_thread())
        return work(task)

    return found, Work.of(one)


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


def waits(executor, work, tasks):
    """The results, and how often the run waited for some."""
    counted = []
    work.wait = lambda: counted.append(None)
    return sorted(executor.run(work, tasks)), len(counted)


def test_the_run_is_woken_for_several_results(staying, limit):
    limit(thread_late=60)
    _, work = of_two(lambda task: task)
    results, count = waits(Threads(2), work, range(40))
    assert results == [(task, task) for task in range(40)]
    assert count <= 10


def test_a_late_result_does_not_wait_for_others(staying, limit):
    limit(thread_late=0)
    let_go = threading.Event()
    running = Threads(2).run(Work.of(lambda task: let_go.wait(20) if task else "first"), [0, 1])
    assert next(running) == (0, "first")
    let_go.set()
    assert list(running) == [(1, True)]


def test_results_that_nobody_takes_are_few(staying):
    begun, too_many = [], threading.Event()

    def work(task):
        begun.append(task)
        if len(begun) > 20:  # 8 that the run took at once, 8 that wait, and those under way
            too_many.set()
        return task

    running = Threads(2).run(Work.of(work), range(1000))
    next(running)
    assert not too_many.wait(0.3)
    assert len(list(running)) == 999
    assert len(begun) == 1000


def test_what_was_done_before_an_error_is_given(staying, limit):
    limit(thread_late=60)
    done, begun = threading.Event(), []

    def work(task):
        begun.append(task)
        if task == 1:
            assert done.wait(20)
            raise KeyError(task)
        if task == 2:
            done.set()
        if task > 2:
            time.sleep(0.01)
        return task

    given = []
    with pytest.raises(KeyError, match="1"):
        given.extend(Threads(2).run(Work.of(work), range(1000)))
    assert {(0, 0), (2, 2)} <= set(given)
    assert len(begun) < 100


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_thread_that_waits_for_ever_does_not_hold_up_an_error(staying, limit, error):
    limit(thread_patience=0.05)
    waiting, let_go = threading.Event(), threading.Event()

    def work(task):
        if task == 0:
            waiting.set()
            let_go.wait(60)
        return task

    def wait():
        if waiting.is_set():
            raise error

    tried = Work.of(work)
    tried.wait = wait
    start = time.monotonic()
    with pytest.raises(error):
        list(Threads(2).run(tried, range(50)))
    assert not let_go.is_set()
    assert time.monotonic() - start < 30
    let_go.set()


def test_threads_do_not_stay_for_ever(staying, limit):
    limit(thread_stay=0.01)
    found, work = of_two(lambda task: task)
    list(Threads(2).run(work, [1, 2]))
    for thread in found:
        thread.join(20)
        assert not thread.is_alive()
    assert not staying._pools


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_process_that_forks_has_threads_of_its_own(staying):
    list(Threads(2).run(Work.of(lambda task: task), [1, 2]))
    child = os.fork()
    if child == 0:
        done = sorted(Threads(2).run(Work.of(lambda task: -task), [1, 2]))
        os._exit(0 if done == [(0, -1), (1, -2)] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

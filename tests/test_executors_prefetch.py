"""Workers elsewhere fetch ahead, too: those of dask within a batch, processes what they are told comes next."""

import pickle
import time
import urllib.request

import awkward as ak
import cloudpickle
import numpy as np
import pyarrow.parquet
import pytest
import uproot
from clusters import closing
from hypothesis import given
from hypothesis import strategies as st
from serving import forget, serving

import hepgraph as hg
from hepgraph.executors import Processes
from hepgraph.executors.dask_sums import summed
from hepgraph.executors.interface import Work
from hepgraph.executors.processes import _Crew
from hepgraph.executors.tree import TreeNode, height_of
from hepgraph.io.access.prefetch import ahead
from hepgraph.runner.compute import passes
from hepgraph.runner.options import Options
from hepgraph.runner.run import Run

QUICK = {"hepgraph": {"timeout": 5, "tries": 3, "wait": 0.01}}
GROUP, GROUPS = 1000, 6
NAMES = {"ttree": "t.root", "rntuple": "n.root", "parquet": "p.parquet"}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ahead")
    x = np.random.default_rng(3).random(GROUP * GROUPS)
    for name, kind in (("t.root", "mktree"), ("n.root", "mkrntuple")):
        with uproot.recreate(folder / name) as file:
            if kind == "mktree":
                writer = file.mktree("Events", {"x": "f8"})
                writer.extend({"x": x[:GROUP]})
            else:
                writer = file.mkrntuple("Events", {"x": x[:GROUP]})
            for start in range(GROUP, len(x), GROUP):
                writer.extend({"x": x[start : start + GROUP]})
    table = ak.to_arrow_table(ak.Array({"x": x}), extensionarray=False)
    pyarrow.parquet.write_table(table, folder / "p.parquet", row_group_size=GROUP)
    return {name: (folder / name).read_bytes() for name in NAMES.values()} | {"gate": b"gate"}


@pytest.fixture
def server(content):
    with serving(dict(content)) as mine:
        yield mine
    forget()


def at_gate(x, url):
    """What it gets, after the server has let it through: it asks for one byte."""
    if len(x):
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=0-0"})) as answer:
            answer.read()
    return x


def is_data(where):
    """Whether a request is for a range of the events, by its size."""
    return 8 * GROUP * 0.5 < where[1] - where[0] < 8 * GROUP * 2


class Gate:
    """Lets the computation of a range through when what is large has been asked for so often; counts both."""

    def __init__(self, server, ahead_by):
        self.server, self.ahead_by = server, ahead_by
        self.data, self.passed, self.late = [], 0, 0
        server.trouble = self

    def __call__(self, number, where):
        if where == (0, 1):
            self.passed += 1
            end = time.monotonic() + 20
            while len(self.data) < min(self.passed + self.ahead_by, GROUPS):
                if time.monotonic() > end:
                    self.late += 1
                    break
                time.sleep(0.001)
        elif is_data(where):
            self.data.append(where)


def total(server, kind, gated=True):
    data = hg.open(f"{server.url}/{NAMES[kind]}", storage_options=QUICK, step_size=GROUP)
    x = hg.map_partitions(at_gate, data.x, f"{server.url}/gate", meta=ak.Array(np.zeros(0))) if gated else data.x
    return ak.sum(x)


@pytest.mark.parametrize("kind", NAMES)
def test_a_process_fetches_its_next_range_while_it_works_on_one(server, kind):
    expected = hg.compute(total(server, kind, gated=False), executor="serial", progress=False)
    made = total(server, kind)
    gate = Gate(server, 1)
    assert hg.compute(made, executor=Processes(1), progress=False) == expected
    assert (gate.passed, gate.late) == (GROUPS, 0)
    assert len(gate.data) == len(set(gate.data)) == GROUPS


@pytest.mark.parametrize("kind", NAMES)
def test_a_batch_of_dask_fetches_its_next_range_while_it_works_on_one(server, kind):
    expected = hg.compute(total(server, kind, gated=False), executor="serial", progress=False)
    made, _ = passes(total(server, kind))
    run = Run(Options())
    with run.planned(made):
        work = pickle.loads(cloudpickle.dumps(run.work_on([0], run.tasks)))
        assert work.queue is None
        forget()
        gate = Gate(server, 1)
        found = summed(work, TreeNode(0, height_of(GROUPS), 0), 0, run.tasks)
    assert (gate.passed, gate.late) == (GROUPS, 0)
    assert len(gate.data) == len(set(gate.data)) == GROUPS
    ((value,),) = pickle.loads(found.body).nodes.values()
    assert made[0].sinks[0].finish(value) == expected
    assert not [fetch for fetch in ahead._fetches.values() if fetch.size]


def test_what_goes_wrong_ahead_in_a_process_changes_nothing(server):
    expected = {kind: hg.compute(total(server, kind, gated=False), executor="serial") for kind in NAMES}
    made = {kind: total(server, kind, gated=False) for kind in NAMES}
    data = []

    def trouble(number, where):
        if not is_data(where):
            return None
        data.append(where)
        return ("503", None, "cut", None, "drop", None)[len(data) % 6]

    server.trouble = trouble
    assert hg.compute(made, executor=Processes(2), progress=False) == expected
    assert len(data) > 3 * GROUPS


@closing
def test_a_cluster_of_dask_gives_the_same_sums_and_asks_for_every_range_once(server):
    distributed = pytest.importorskip("distributed")
    expected = {kind: hg.compute(total(server, kind, gated=False), executor="serial") for kind in NAMES}
    made = {kind: total(server, kind, gated=False) for kind in NAMES}
    forget()
    data, told = [], []
    server.trouble = lambda number, where: data.append(where) if is_data(where) else None
    begin = ahead.begin
    with (
        pytest.MonkeyPatch.context() as patch,
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        patch.setattr(ahead, "begin", lambda key, work: told.append(key) or begin(key, work))
        patch.setattr("hepgraph.executors.dask_reduce.Fold._level", lambda self, tree: 1)  # two ranges in a batch
        assert hg.compute(made, executor=client, progress=False) == expected
    assert len(data) == 3 * GROUPS
    assert len([key for key in told if key[0] != "open"]) == 3 * GROUPS / 2


class Tasks(Work):
    """Numbers that are added up; notes what it is told, in order."""

    def __init__(self, far):
        self.far, self.told = far, []

    def __call__(self, task):
        self.told.append(("work", task))
        return task, None

    def ahead(self, task):
        self.told.append(("ahead", task))

    def combine(self, tree):
        return lambda a, b: a + b


@given(st.integers(1, 20))
def test_a_batch_says_what_comes_next_before_each_range(count):
    work = Tasks(False)
    found = summed(work, TreeNode(0, height_of(count), 0), 0, range(count))
    assert pickle.loads(found.body) == sum(range(count))
    expected = []
    for task in range(count):
        expected += [("ahead", task + 1)] if task + 1 < count else []
        expected.append(("work", task))
    assert work.told == expected


class Plain(Work):
    """Work that knows nothing of fetching ahead."""

    def __call__(self, task):
        return task, None

    def combine(self, tree):
        return lambda a, b: a + b


def test_work_that_cannot_fetch_ahead_is_not_asked_to():
    assert pickle.loads(summed(Plain(), TreeNode(0, 2, 0), 0, range(4)).body) == 6
    assert sorted(Processes(1).run(Plain(), range(4))) == [(i, (i, None)) for i in range(4)]


@given(st.integers(1, 30), st.lists(st.integers(0, 3), max_size=60), st.sets(st.integers(0, 29)), st.booleans())
def test_processes_get_every_task_once_whatever_they_were_told_of(count, order, deaths, far):
    """Those whose child died come back once; what a child was told is next comes next, or somebody else got it."""
    crew = _Crew(b"", Tasks(far), range(count))
    done, told, back = [], {}, {index for index in deaths if index < count}
    expected = count + len(back)
    for who in [*order, *([0, 1, 2, 3] * expected)][: len(order) + 4 * expected]:
        if len(done) == expected:
            break
        index, after = crew._next(who)
        if (before := told.get(who)) is not None and index != before:
            assert before in done
        assert after is None or after not in done or after in back
        done.append(index)
        told[who] = after if far else None  # where it is near, another child may be the first to get it
        if index in back and done.count(index) == 1:
            crew._died(index, -9)
    crew.open = 0
    assert crew._next(0) is None
    assert sorted(done) == sorted([*range(count), *back])

"""What a kernel takes: memory that does not grow with combinations or operations, and no lock between threads."""

from __future__ import annotations

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from hepgraph.processors.adl import AllQueries, Query6
from limiting import Limit

import hepgraph as hg
from hepgraph.io.required import Loaded
from hepgraph.kernel import engine
from hepgraph.runner.compute import passes


def events_with(jets: int, n: int, npartitions: int = 1) -> Any:
    """So many events with so many jets each, and two muons and an electron."""
    rng = np.random.default_rng(jets)

    def objects(k: int, **more: Any) -> Any:
        numbers = {"pt": 40, "eta": 2, "phi": 3, "mass": 10, **more}
        flat = {name: np.abs(rng.normal(0, scale, n * k)).astype("f4") for name, scale in numbers.items()}
        flat["charge"] = rng.choice([-1, 1], n * k).astype("i4")
        return ak.zip(
            {name: ak.unflatten(x, np.full(n, k)) for name, x in flat.items()}, with_name="PtEtaPhiMCandidate"
        )

    met = ak.zip({"pt": rng.normal(50, 9, n).astype("f4"), "phi": rng.normal(0, 1, n).astype("f4")})
    parts = {"Jet": objects(jets, btag=1), "Muon": objects(2), "Electron": objects(1)}
    return hg.from_awkward(
        ak.zip({**parts, "MET": ak.with_name(met, "PtEtaPhiMCandidate")}, depth_limit=1), npartitions
    )


def ready(tree: Any) -> tuple[Any, Any]:
    """The kernel of a tree, and its columns in memory."""
    (each,) = passes(tree, "kernel")[0]
    assert not each.compiled.plain, each.compiled.plain
    return each.compiled.kernel, Loaded(each.origin, each.partitions()[0], each.needs())


def scratch(kernel: Any, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The bytes of all arrays that a kernel makes for itself, by kind."""
    found: dict[str, int] = {}
    made = engine.Kernel._array

    def noted(self: Any, argument: Any, *rest: Any) -> Any:
        array = made(self, argument, *rest)
        if argument.kind not in ("values", "offsets"):
            found[argument.kind] = found.get(argument.kind, 0) + array.nbytes
        return array

    with monkeypatch.context() as patch:
        patch.setattr(engine.Kernel, "_array", noted)
        kernel.run(loaded)
    return found


def peak(kernel: Any, loaded: Loaded) -> int:
    """The most bytes that a run takes, beyond what was there."""
    kernel.run(loaded)
    tracemalloc.start()
    try:
        kernel.run(loaded)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_temporary_is_as_long_as_the_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Query 6 on 40 jets an event, which are 9880 triplets: scratch for the jets of one event, and no more."""
    few, many = (ready(Query6().process(events_with(jets, 500))) for jets in (4, 40))
    small, large = scratch(*few, monkeypatch), scratch(*many, monkeypatch)
    assert small.keys() == large.keys() == {"scratch", "bins", "batch", "parameters"}
    assert large["scratch"] == 10 * small["scratch"]
    assert large["scratch"] == 40 * 4 * 4  # x, y, z and energy of the jets of one event, in float32
    assert {**large, "scratch": 0} == {**small, "scratch": 0}


def test_the_peak_of_a_run_is_that_of_a_block(limit: Limit) -> None:
    """Ten times the events, or the triplets, do not take more memory than the stage needs for the jets of a block."""
    limit(block=256)
    jets = 40
    block = 256 * jets * 4
    one = peak(*ready(Query6().process(events_with(jets, 512))))
    ten = peak(*ready(Query6().process(events_with(jets, 5120))))
    assert one < 20 * block
    assert abs(ten - one) < block
    assert ten < 5120 * 9880 * 4 / 100  # a hundredth of one number for each triplet


def test_the_peak_does_not_grow_with_the_operations() -> None:
    """A value after 5 or 300 operations takes the same memory."""
    x = hg.from_awkward(ak.Array(np.linspace(0, 1, 50_000)))

    def chain(length: int) -> Any:
        y = x
        for k in range(length):
            y = y * 1.001 + 0.001 * k
        return hg.Hist(hist.axis.Regular(10, 0, 100)).fill(y)

    short, long = (peak(*ready(chain(length))) for length in (5, 300))
    assert long < short + 50_000  # bytes: not an eighth of one array


def test_two_threads_run_at_once_without_a_lock() -> None:
    """One kernel object, two partitions, two threads that are both in it: the bits of one after the other."""
    (each,) = passes(AllQueries().process(events_with(6, 6000, 2)), "kernel")[0]
    kernel = each.compiled.kernel
    loaded, other = (Loaded(each.origin, partition, each.needs()) for partition in each.partitions())

    def bits(part: Loaded) -> list[bytes]:
        return [field.tobytes() for bins in kernel.run(part) for field in bins.fields]

    wanted = [bits(part) for part in (loaded, other)]
    inside, most = 0, 0
    own = threading.Lock()
    both = threading.Barrier(2, timeout=60)

    class Watched:
        """The compiled function; the first call of each thread waits for that of the other."""

        def __init__(self) -> None:
            self.waited = threading.local()
            self.native = kernel._native  # which owns the code

        def kernel(self, *args: Any) -> int:
            nonlocal inside, most
            if not getattr(self.waited, "done", False):
                self.waited.done = True
                with own:
                    inside += 1
                    most = max(most, inside)
                both.wait()
                with own:
                    inside -= 1
            return int(self.native.kernel(*args))

    kernel._native = Watched()
    for _ in range(3):
        kernel._native.waited = threading.local()
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(bits, (loaded, other))) == wanted
    assert most == 2


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_give_the_bits_of_one(workers: int) -> None:
    data = np.random.default_rng(9).normal(size=40_000)
    x = hg.from_awkward(ak.Array(data), npartitions=13)
    h = hg.Hist(hist.axis.Regular(40, -3, 3), storage=hist.storage.Weight()).fill(x, weight=x * 0.1)
    one = hg.compute(h, executor="serial", progress=False, engine="kernel")
    many = hg.compute(h, executor=hg.executors.Threads(workers), progress=False, engine="kernel")
    assert np.array_equal(one.view(flow=True), many.view(flow=True))

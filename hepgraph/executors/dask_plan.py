"""The plan of a run on a dask cluster: kept by the scheduler, fetched by each worker when it first needs it.

Nothing is broadcast, so that no worker that dies or hangs while the plan is sent can hold the run up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from hepgraph.errors import PlanGoneError
from hepgraph.executors.shipped import Shipped

LOG = logging.getLogger("hepgraph")
METADATA = "hepgraph-plans"  # the scheduler's metadata under which plans are kept
_KEPT = 8  # plans that a worker keeps, unpacked
_FETCH = 60.0  # seconds that a worker waits for a plan from the scheduler

_works: OrderedDict[str, Any] = OrderedDict()
_fetching = threading.Lock()


def call(plan: str) -> Callable[[Any], Any]:
    """A function that gives one task to the work of a plan."""
    return partial(_called, plan)


def _called(plan: str, task: Any) -> Any:
    return work_of(plan)(task)


def work_of(plan: str) -> Any:
    """The work of a plan, on a worker. Raises PlanGoneError if the scheduler does not have the plan any more."""
    from distributed import get_worker

    worker = get_worker()
    with _fetching:
        if plan not in _works:
            _works[plan] = _fetched(worker, plan).work(f"The dask worker {worker.address}")
        _works.move_to_end(plan)
        while len(_works) > _KEPT:
            _works.popitem(last=False)
        return _works[plan]


def _fetched(worker: Any, plan: str) -> Shipped:
    """A plan from the scheduler, by the worker's own connection: a Client would become the default of the process."""
    asked = worker.scheduler.get_metadata(keys=[METADATA, plan], default=None)
    found = asyncio.run_coroutine_threadsafe(asked, worker.loop.asyncio_loop).result(_FETCH)
    if found is None:
        raise PlanGoneError(f"The scheduler has no plan {plan} any more: it was started anew, or the run has ended.")
    return Shipped(found["body"], found["key"], found["wanted"])


class Plan:
    """The plan of one run: the scheduler has it for the length of a `with`, or until this process has gone."""

    def __init__(self, client: Any, shipped: Shipped) -> None:
        self.client, self.shipped = client, shipped
        self.token = f"0{uuid.uuid4().hex[:12]}"  # a digit first: dask's dashboard takes words for part of the name
        self.name = f"hepgraph-{self.token}"

    def send(self) -> None:
        """Gives the plan to the scheduler, also to one that was started anew."""
        self._guard()
        shipped = self.shipped
        plan = {"body": shipped.body, "key": shipped.key, "wanted": dict(shipped.wanted)}
        self.client.set_metadata([METADATA, self.name], plan)

    def _guard(self) -> None:
        """Has the scheduler drop the plan when this process has gone without a word."""
        from hepgraph.executors.dask_cleanup import Guard

        guard = Guard(self.client.id, METADATA, self.name)
        try:
            self.client.register_plugin(guard, name=guard.name)
        except ImportError as error:
            LOG.warning(
                "hepgraph: the scheduler has another hepgraph (%s): if this process is killed, the run's plan stays in "
                "the memory of the scheduler",
                error,
            )

    def __enter__(self) -> Plan:
        self.send()
        return self

    def __exit__(self, *_: object) -> None:
        if self.client.status != "running":
            return
        with suppress(OSError, TimeoutError):  # the scheduler is gone
            self.client.set_metadata([METADATA, self.name], None)
        with suppress(OSError, TimeoutError, ValueError):  # ... or was started anew, and never knew it
            self.client.unregister_scheduler_plugin(f"{self.name}-guard")


__all__ = ["METADATA", "Plan", "call", "work_of"]

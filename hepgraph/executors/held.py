"""What workers of dask need to know about a run: sent once to each, and taken back, also when its client was killed."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from hepgraph.executors.shipped import Shipped

LOG = logging.getLogger("hepgraph")


def call(plan: str) -> Callable[[Any], Any]:
    """A function that gives one task to the work of a plan."""
    return partial(_called, plan)


def _called(plan: str, task: Any) -> Any:
    return work_of(plan)(task)


def work_of(plan: str) -> Any:
    """The work of a plan, on a worker, which has got it from the scheduler."""
    from distributed import get_worker

    worker = get_worker()
    return worker.plugins[plan].shipped.work(f"The dask worker {worker.address}")


class Plan:
    """What workers need to know about a run, sent once to each of them, and to those that come later.

    The scheduler keeps it for the length of a `with`, or until it sees that this process has gone.
    """

    def __init__(self, client: Any, shipped: Shipped) -> None:
        self.client, self.shipped = client, shipped
        self.token = f"0{uuid.uuid4().hex[:12]}"  # a digit first: dask's dashboard takes words for part of the name
        self.name = ""  # what the workers know it by: another name each time that it is sent
        self.sent: list[str] = []

    def send(self) -> None:
        """Sends it, also to a scheduler that was started anew, or has taken it back."""
        from distributed import WorkerPlugin

        class Held(WorkerPlugin):  # type: ignore[misc]
            """Keeps the plan on a worker."""

            def __init__(self, shipped: Shipped) -> None:
                self.shipped = shipped

        self.name = f"hepgraph-{self.token}-{len(self.sent)}"
        self.sent.append(self.name)
        self._guard()
        self.client.register_plugin(Held(self.shipped), name=self.name)

    def _guard(self) -> None:
        """Has the scheduler take the plan back when this process has gone without a word."""
        from hepgraph.executors.guard import Guard

        guard = Guard(self.client.id, self.name)
        try:
            self.client.register_plugin(guard, name=guard.name)
        except ImportError as error:
            LOG.warning(
                "hepgraph: the scheduler has another hepgraph (%s): if this process is killed, the run's plan stays in "
                "the memory of the scheduler and its workers",
                error,
            )

    def __enter__(self) -> Plan:
        self.send()
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.sent if self.client.status == "running" else ():
            with suppress(OSError, TimeoutError, ValueError):  # the scheduler is gone, or never knew it
                self.client.unregister_worker_plugin(name)
            with suppress(OSError, TimeoutError, ValueError):
                self.client.unregister_scheduler_plugin(f"{name}-guard")


__all__ = ["Plan", "call", "work_of"]

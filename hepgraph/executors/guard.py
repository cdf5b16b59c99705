"""What the scheduler of dask does when a client has gone without a word: it takes the plan of its run back."""

from __future__ import annotations

from typing import Any

from distributed import SchedulerPlugin


class Guard(SchedulerPlugin):  # type: ignore[misc]
    """Takes the worker plugin `plan`, and itself, from the scheduler when the client with this id has gone."""

    def __init__(self, client: str, plan: str) -> None:
        self.client, self.plan = client, plan
        self.name = f"{plan}-guard"

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Called by the scheduler when any client has gone, of itself or not."""
        if client != self.client:
            return
        scheduler.remove_plugin(name=self.name)
        if self.plan in scheduler.worker_plugins:
            scheduler.loop.add_callback(scheduler.unregister_worker_plugin, None, self.plan)


__all__ = ["Guard"]

"""Cleanup by the scheduler of dask when a client has gone without a word: it drops the plan of its run."""

from __future__ import annotations

from typing import Any

from distributed import SchedulerPlugin


class Guard(SchedulerPlugin):  # type: ignore[misc]
    """Drops `plan` from the scheduler's metadata, and itself, when the client with this id has gone."""

    idempotent = True  # a plan may be sent again, to a scheduler that has lost its metadata alone

    def __init__(self, client: str, metadata: str, plan: str) -> None:
        self.client, self.metadata, self.plan = client, metadata, plan
        self.name = f"{plan}-guard"

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Called by the scheduler when any client has gone, of itself or not."""
        if client == self.client:
            scheduler.remove_plugin(name=self.name)
            scheduler.set_metadata(keys=[self.metadata, self.plan], value=None)


__all__ = ["Guard"]

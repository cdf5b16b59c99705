"""The workers of a dask cluster during a run: how many, which have fallen silent, how long they live."""

from __future__ import annotations

import time
from typing import Any

CHECK = 1.0  # seconds between two looks
SILENT = 8.0  # seconds without a heartbeat after which others get what a worker has
SLOW = 3.0  # seconds that a task is under way before its worker's heartbeats are looked at
_CALM = 10.0  # seconds without a loss after which workers are trusted to live twice as long
_CHURN = 3  # workers lost within _CALM that call for smaller batches at once


class Workers:
    """Who is there. `look` is called about once a second, and asks the scheduler."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.threads = 0
        self.silent: frozenset[str] = frozenset()
        self.life = float("inf")  # how long a worker lives, by those that were lost
        self._since: dict[str, float] = {}  # when each worker was first seen
        self._heard: dict[str, tuple[float, float]] = {}  # its last heartbeat, and when that was new here
        self._lost: list[float] = []

    def look(self, oldest: float) -> None:
        """Asks the scheduler who is there; `oldest` is how long the oldest task has been under way, in seconds."""
        now = time.monotonic()
        threads = self.client.nthreads()
        self._count(now, threads)
        if oldest > SLOW:
            self._listen(now, threads)
        else:
            self._heard.clear()
            self.silent = frozenset()
        self.threads = sum(n for address, n in threads.items() if address not in self.silent)

    def _count(self, now: float, threads: dict[str, int]) -> None:
        gone = [since for address, since in self._since.items() if address not in threads]
        self._since = {address: self._since.get(address, now) for address in threads}
        for since in gone:
            self.life = min(now - since, (self.life + now - since) / 2)
            self._lost.append(now)
        if self._lost and now - self._lost[-1] > _CALM:
            self.life *= 2
        self._lost = [at for at in self._lost if now - at < 2 * _CALM]
        if not self._lost:
            self.life = float("inf")

    @property
    def churning(self) -> bool:
        """Whether several workers were lost within the last seconds."""
        now = time.monotonic()
        return sum(now - at < _CALM for at in self._lost) >= _CHURN

    def _listen(self, now: float, threads: dict[str, int]) -> None:
        """A worker's heartbeats carry the scheduler's clock: they count by when they were new in this process."""
        known = self.client.scheduler_info(n_workers=-1)["workers"]
        for address in threads:
            beat = known.get(address, {}).get("last_seen", 0.0)
            if self._heard.get(address, (None, 0.0))[0] != beat:
                self._heard[address] = (beat, now)
        self._heard = {address: heard for address, heard in self._heard.items() if address in threads}
        most = max(SILENT, len(threads) / 50)  # heartbeats of many workers are rarer
        self.silent = frozenset(address for address, (_, new) in self._heard.items() if now - new > most)

    @property
    def others(self) -> list[str]:
        """The workers that answer."""
        return [address for address in self._since if address not in self.silent]


__all__ = ["CHECK", "SILENT", "Workers"]

"""Work that travels to other processes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hepgraph.executors.interface import Work


@dataclass(frozen=True)
class Shipped:
    """A function as bytes, so that lambdas and notebook code travel; unpacked once in each process."""

    body: bytes
    key: str

    @classmethod
    def of(cls, work: Work) -> Shipped:
        """The function, packed."""
        import cloudpickle

        body = cloudpickle.dumps(work)
        return cls(body, hashlib.sha256(body).hexdigest())

    def __hash__(self) -> int:
        return hash(self.key)

    def __call__(self, task: Any) -> Any:
        return _unpacked(self)(task)


@lru_cache(maxsize=8)
def _unpacked(shipped: Shipped) -> Work:
    import pickle

    return pickle.loads(shipped.body)  # type: ignore[no-any-return]

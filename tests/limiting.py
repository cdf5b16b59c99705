"""Other limits than those of hepgraph, for some time."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

Limit = Callable[..., object]
NAME = "HEPGRAPH_LIMITS"


@contextmanager
def limited(**limits: float) -> Iterator[None]:
    """Sets limits while the context lasts, beside those that are set already: see `hepgraph.limits`."""
    before = os.environ.get(NAME)
    os.environ[NAME] = " ".join([before or "", *(f"{name}={value}" for name, value in limits.items())])
    try:
        yield
    finally:
        if before is None:
            del os.environ[NAME]
        else:
            os.environ[NAME] = before


def anew(call: Callable[..., Any], *args: Any) -> Any:
    """The result of a call in a thread of its own, which keeps nothing of what other threads found out."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *args).result()

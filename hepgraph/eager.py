"""Placeholder while being written."""
from __future__ import annotations
from typing import Any


class EagerPass:
    sinks: tuple[Any, ...] = ()

    def __init__(self, events: Any, processor: Any) -> None:
        raise NotImplementedError

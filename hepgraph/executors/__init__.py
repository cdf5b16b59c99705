"""Executors: where the ranges of a run are worked on. One class each; `pick` turns what users write into one."""

from __future__ import annotations

import concurrent.futures
from typing import Any

from hepgraph.executors.dask import Dask, current_client, is_dasks
from hepgraph.executors.futures import Futures
from hepgraph.executors.interface import Executor
from hepgraph.executors.processes import Processes
from hepgraph.executors.serial import Serial
from hepgraph.executors.threads import Threads

__all__ = ["Dask", "Executor", "Futures", "Processes", "Serial", "Threads", "pick"]

_NAMES = {"serial": Serial, "threads": Threads, "processes": Processes, "dask": Dask}


def pick(executor: Any = None) -> Executor:
    """The executor that a user means: a name, an executor, any `concurrent.futures.Executor`, a dask Client or Cluster.

    A string with "://" is the address of a dask scheduler. None means the current dask Client, if there is one, else
    threads.

    >>> pick("serial").name
    'serial'
    """
    match executor:
        case None:
            client = current_client()
            return Threads() if client is None else Dask(client)
        case str() if "://" in executor:
            return Dask(executor)
        case str() if executor in _NAMES:
            named: Executor = _NAMES[executor]()
            return named
        case str() if executor in ("sync", "synchronous", "single-threaded", "iterative"):
            return Serial()
        case str():
            raise ValueError(f"executor must be one of {', '.join(_NAMES)}, not {executor!r}")
        case Executor():
            return executor
        case concurrent.futures.Executor():
            return Futures(executor)
        case _ if is_dasks(executor):
            return Dask(executor)
        case type() if issubclass(executor, Executor):
            made: Executor = executor()
            return made
        case _:
            raise TypeError(
                f"{type(executor).__name__} is no executor; give a name ({', '.join(_NAMES)}), "
                "an object of hg.executors, a concurrent.futures.Executor, or a dask Client or Cluster"
            )

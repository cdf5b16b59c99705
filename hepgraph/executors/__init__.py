"""Places to run: one class each. `pick` turns what users write into one."""

from __future__ import annotations

import concurrent.futures
import sys
from typing import TYPE_CHECKING, Any

from hepgraph.executors.interface import Executor
from hepgraph.imports import getter

if TYPE_CHECKING:
    from hepgraph.executors.dask import Dask
    from hepgraph.executors.futures import Futures
    from hepgraph.executors.processes import Processes
    from hepgraph.executors.serial import Serial
    from hepgraph.executors.threads import Threads

__all__ = ["Dask", "Executor", "Futures", "Processes", "Serial", "Threads", "pick"]

_NAMES = {"serial": "Serial", "threads": "Threads", "processes": "Processes", "dask": "Dask"}
_ELSEWHERE = {"futures": "processes", "multiprocessing": "processes", "distributed": "dask", "parsl": "dask"}
_PLACES = {name: name.lower() for name in __all__ if name[0].isupper() and name != "Executor"}
__getattr__ = getter(__name__, _PLACES)


def pick(executor: Any = None) -> Executor:
    """The executor that a user means: a name, an executor, any `concurrent.futures.Executor`, a dask Client or Cluster.

    Parameters
    ----------
    executor : str or object, default None
        Name, executor, pool, Client or Cluster; with "://" in it, the address of a dask scheduler. None: the current
        dask Client if there is one, else threads.

    Returns
    -------
    Executor
        The executor.

    Examples
    --------
    >>> pick("serial").name
    'serial'
    """
    match executor:
        case None:
            client = _dask("current_client")
            return _made("Threads") if client is None else _made("Dask", client)
        case str() if "://" in executor:
            return _made("Dask", executor)
        case str() if executor in _NAMES:
            return _made(_NAMES[executor])
        case str() if executor in ("sync", "synchronous", "single-threaded", "iterative"):
            return _made("Serial")
        case str():
            here = _ELSEWHERE.get(executor)
            hint = f"; use {here!r}" if here else ""
            raise ValueError(f"executor must be one of {', '.join(_NAMES)}, not {executor!r}{hint}")
        case Executor():
            return executor
        case concurrent.futures.Executor():
            return _made("Futures", executor)
        case _ if _dask("is_dasks", executor):
            return _made("Dask", executor)
        case type() if issubclass(executor, Executor):
            made: Executor = executor()
            return made
        case _:
            raise TypeError(
                f"{type(executor).__name__} is no executor; give a name ({', '.join(_NAMES)}), "
                "an object of hg.executors, a concurrent.futures.Executor, or a dask Client or Cluster"
            )


def _made(name: str, *args: Any) -> Executor:
    made: Executor = __getattr__(name)(*args)
    return made


def _dask(question: str, *args: Any) -> Any:
    """The answer of `hepgraph.executors.dask`; None where nobody has imported distributed, so that nothing is of it."""
    if "distributed" not in sys.modules:
        return None
    from hepgraph.executors import dask

    return getattr(dask, question)(*args)

"""A dask cluster: a scheduler's address, a Client, a Cluster of any kind, or one made on this machine for the run.

What runs where, and how partial results come back, is in `dask_reduce.py`; how workers get the plan, in `dask_plan.py`;
here is how to get at a cluster. dask is imported when it is used, and nowhere else.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hepgraph.errors import ExecutorError, UnreachableError
from hepgraph.executors.dask_plan import Plan, call
from hepgraph.executors.dask_reduce import Fold, WorkerPatience
from hepgraph.executors.futures import windowed
from hepgraph.executors.interface import Executor, Part, Tree, Work
from hepgraph.executors.shipped import Shipped

LOG = logging.getLogger("hepgraph")


@dataclass(frozen=True)
class _Connection:
    """A Client, the things to close after its use, and its cluster, if known."""

    client: Any
    mine: tuple[Any, ...] = ()
    cluster: Any = None

    def revive(self) -> None:
        """Restarts workers that a LocalCluster has given up, as they died twice. Other clusters restart theirs."""
        if _is_local(self.cluster) and self.cluster.worker_spec:
            self.cluster.scale(len(self.cluster.worker_spec))

    def expects(self) -> bool:
        """Whether workers are on their way: jobs that wait in the queue of a batch system."""
        return self.cluster is not None and not _is_local(self.cluster) and bool(self.cluster.requested)


class Dask(Executor):
    """A dask cluster.

    Without a target, it is the current Client if there is one, else what `dask.distributed.Client()` would use: the
    address of dask's configuration, or a LocalCluster, which is closed after the run.

    There need not be a worker yet: a run waits for the first, saying so. Workers may come and go. If all have gone, it
    waits for some to come back, and then raises ExecutorError, which says what is done and how to go on from there; but
    while a Cluster has jobs in a queue, it waits.

    Parameters
    ----------
    target : Client, Cluster, str or Path, default None
        Client, Cluster (LocalCluster, those of dask-jobqueue and dask-kubernetes), address of a scheduler
        ("tcp://host:8786", "tls://host:8786"), or the path of its scheduler file.
    security : distributed.security.Security, default None
        Certificates for TLS.
    timeout : float, default 10.0
        Seconds to wait for the scheduler itself.
    patience : float, default None
        Seconds to wait for the first worker; None: for ever.
    comeback : float, default 600.0
        Seconds to wait for workers when all have gone; None: for ever.
    seconds : float, default 2.0
        Seconds of work that go into one task of dask.
    """

    name = "dask"

    def __init__(
        self,
        target: Any = None,
        *,
        security: Any = None,
        timeout: float = 10.0,
        patience: float | None = None,
        comeback: float | None = 600.0,
        seconds: float = 2.0,
    ) -> None:
        self.target, self.security = target, security
        self.timeout, self.patience, self.comeback, self.seconds = timeout, patience, comeback, seconds

    def run(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        shipped = Shipped.of(work)
        with self.connected() as there, Plan(there.client, shipped) as plan:
            window = 3 * max(1, sum(there.client.nthreads().values()))
            yield from windowed(there.client.get_executor(pure=False), call(plan.name), tasks, window, work.wait)

    def fold(self, work: Work, tasks: Sequence[Any], trees: Sequence[Tree]) -> Iterator[Part]:
        shipped = Shipped.of(work)  # before anything is started: it is here that mistakes are found
        with self.connected() as there, Plan(there.client, shipped) as plan:
            patience = WorkerPatience(self.patience, self.comeback, there.expects, there.revive)
            fold = Fold(plan, work, tasks, trees, self.seconds, patience)
            try:
                yield from fold.parts()
            finally:
                fold.end()

    @contextmanager
    def connected(self) -> Iterator[_Connection]:
        """A Client for the length of a `with`; closed after it if it was made for it."""
        there = self._connection()
        try:
            yield there
        finally:
            for each in there.mine:
                each.close()

    def _connection(self) -> _Connection:
        distributed = _distributed()
        target = self.target if self.target is not None else current_client()
        if isinstance(target, distributed.Client):
            _check_client(target)
            return _Connection(target, cluster=_cluster(target.cluster))
        if target is None and _configured() is None:
            cluster = _local_cluster(distributed)
            client = distributed.Client(cluster, set_as_default=False)
            return _Connection(client, (client, cluster), cluster)
        if getattr(target, "asynchronous", False):
            raise ExecutorError(f"{type(target).__name__} is asynchronous; give one made without asynchronous=True.")
        client = self._to(distributed, _configured() if target is None else target)
        return _Connection(client, (client,), _cluster(target))

    def _to(self, distributed: Any, target: Any) -> Any:
        options: dict[str, Any] = {"timeout": self.timeout, "set_as_default": False}
        if self.security is not None:
            options["security"] = self.security
        elif hasattr(target, "security") and target.security is not None:
            options["security"] = target.security
        if isinstance(target, str) and "://" not in target and os.path.isfile(target):
            options["scheduler_file"], target = target, None
        title = options.get("scheduler_file") or (target if isinstance(target, str) else type(target).__name__)
        try:
            return distributed.Client(target, **options)
        except TypeError as error:
            if not str(title).startswith("tls://") or self.security is not None:
                raise
            raise UnreachableError(
                f"The dask scheduler at {title} wants certificates, and none were given: "
                "hg.executors.Dask(address, security=distributed.security.Security(tls_ca_file=..., "
                "tls_client_cert=..., tls_client_key=...)), or dask's configuration."
            ) from error
        except (OSError, TimeoutError) as error:
            hint = (
                "For a tls:// address, security= must hold the certificates that the scheduler was started with."
                if str(title).startswith("tls://")
                else "Is it running, and is this its address (dask scheduler prints it)?"
            )
            raise UnreachableError(
                f"The dask scheduler at {title} did not answer within {self.timeout:g} s. {hint}"
            ) from error

    def __repr__(self) -> str:
        target = self.target
        return f"Dask({'' if target is None else target!r})" if isinstance(target, str | None) else "Dask(...)"


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ExecutorError(
            "dask's clusters need the packages dask and distributed: pip install 'hepgraph[dask]'."
        ) from error
    return distributed


def _configured() -> str | None:
    """The address that dask's configuration gives."""
    import dask

    return dask.config.get("scheduler-address", None)  # type: ignore[no-any-return]


def current_client() -> Any:
    """The Client that the process has, as dask's own functions would use it, or None."""
    import distributed

    try:
        client = distributed.default_client()
    except ValueError:
        return None
    return client if client.status == "running" and not client.asynchronous else None


def is_dasks(thing: Any) -> bool:
    """Whether something is a Client, or a Cluster of any kind."""
    import distributed
    from distributed.deploy import Cluster

    gateway = type(thing).__module__.partition(".")[0] == "dask_gateway"  # its clusters are of no common class
    return gateway or isinstance(thing, distributed.Client | Cluster)


def _cluster(thing: Any) -> Any:
    """A Cluster, None for anything else."""
    from distributed.deploy import Cluster

    return thing if isinstance(thing, Cluster) else None


def _is_local(cluster: Any) -> bool:
    import distributed

    return isinstance(cluster, distributed.LocalCluster)


def _check_client(client: Any) -> None:
    if client.asynchronous:
        raise ExecutorError("This Client is asynchronous; give one made without asynchronous=True.")
    if client.status != "running":
        raise UnreachableError(f"This Client is {client.status}: it has no scheduler any more. Make a new one.")


def _local_cluster(distributed: Any) -> Any:
    """As many workers of one thread as there are cores."""
    import multiprocessing

    advice = (
        "A script that starts dask workers must not start them again when it is imported: put the lines that run it "
        'under `if __name__ == "__main__":`, or use executor="processes", which needs none of that.'
    )
    if multiprocessing.parent_process() is not None and "__mp_main__" in sys.modules:
        raise ExecutorError(advice)
    try:
        return distributed.LocalCluster(
            n_workers=len(os.sched_getaffinity(0)), threads_per_worker=1, dashboard_address=":0"
        )
    except RuntimeError as error:
        error.add_note(advice)
        raise


__all__ = ["Dask", "current_client", "is_dasks"]

"""Collections of dask: a graph, and the key of the result in it (see `hepgraph.runner.dask_collections`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class DaskCollection:
    """The protocol of dask, for what says its `_dask_graph()`: a graph that is final, and the key of the result."""

    def _dask_graph(self, **options: Any) -> tuple[dict[Any, Any], str]:
        raise NotImplementedError

    def to_dask(self, **options: Any) -> Computed:
        """The same as a collection of dask, for which options of `hg.compute` are given.

        Parameters
        ----------
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        Computed
            The collection; `dask.compute` and `.compute()` give its result.
        """
        return Computed(*self._dask_graph(**options))

    def __dask_graph__(self) -> Any:
        return self._dask_graph()[0]

    def __dask_keys__(self) -> list[str]:
        return [self._dask_graph()[1]]

    def __dask_tokenize__(self) -> str:
        return self._dask_graph()[1]

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _first, ()

    def __dask_postpersist__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Computed.rebuilt, (self._dask_graph()[1],)

    @staticmethod
    def __dask_optimize__(graph: Any, keys: Any, **_: Any) -> Any:
        return graph

    @staticmethod
    def __dask_scheduler__(graph: Any, keys: Any, **options: Any) -> Any:
        import dask.threaded

        return dask.threaded.get(graph, keys, **options)


class Computed(DaskCollection):
    """A graph that is fixed: of `to_dask`, or of a result that lies on the workers (`dask.persist`)."""

    def __init__(self, graph: Any, key: str) -> None:
        self._graph, self._key = graph, key

    def _dask_graph(self, **options: Any) -> tuple[Any, str]:
        return self._graph, self._key

    @classmethod
    def rebuilt(cls, graph: Any, key: str, *, rename: Any = None) -> Computed:
        """A Computed from the graph that dask has made of another."""
        return cls(graph, (rename or {}).get(key, key))

    def compute(self, **options: Any) -> Any:
        """The result."""
        import dask

        return dask.compute(self, **options)[0]


def _first(results: Any) -> Any:
    return results[0]

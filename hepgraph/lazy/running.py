"""Ways to run what a lazy array recorded: computed, shown, cut into other ranges, as a collection of dask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hepgraph.lazy.collection import DaskCollection

HOOKS: dict[str, Callable[..., Any]] = {}  # by name, filled in by the modules above


class Runnable(DaskCollection):
    """The methods of lazy arrays that run something, or show or change how it is run."""

    def compute(self, **options: Any) -> Any:
        """The array, computed.

        Parameters
        ----------
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        ak.Array or number
            The array; a number for a reduction over everything; (result, report) with `report=True`.

        Examples
        --------
        >>> import hepgraph as hg, awkward as ak
        >>> (hg.from_awkward(ak.Array([1.0, 2.0])) * 2).compute(executor="serial").to_list()
        [2.0, 4.0]
        """
        return HOOKS["compute"](self, **options)

    def persist(self, **options: Any) -> Any:
        """The array, computed and kept in memory, as a lazy array that needs no file.

        Parameters
        ----------
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        Lazy
            The array, in as many partitions.
        """
        return HOOKS["persist"](self, **options)

    def head(self, n: int = 5, **options: Any) -> Any:
        """The first rows of the first partition, computed; reads no other.

        Parameters
        ----------
        n : int, default 5
            Number of rows.
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        ak.Array
            The rows; (rows, report) with `report=True`.

        Examples
        --------
        >>> import hepgraph as hg
        >>> len(hg.open("data/sample.root").MET.pt.head(3))
        3
        """
        return HOOKS["head"](self, n, **options)

    def eager(self, entries: slice | int | None = None, *, memory: int | str = "4 GB") -> Any:
        """Some entries as an awkward array whose columns are read when they are touched.

        For looking around, and for code that cannot be recorded: everything that awkward and NumPy do works on it, with
        the same fields, references and behaviors, on single records, too. A view of events is pickled as the files and
        the entries, without what was read, and reads again where it is loaded.

        Parameters
        ----------
        entries : slice or int, default None
            Entries of the dataset, counted before any cut: a slice, or so many from the first one. None: all.
        memory : int or str, default "4 GB"
            The most that is read: a column that would go beyond is an error.

        Returns
        -------
        ak.Array
            The entries; by variation for varied arrays.

        Raises
        ------
        MemoryBudgetError
            If a column that is touched takes more memory than is left.

        Examples
        --------
        >>> import hepgraph as hg
        >>> events = hg.open("data/sample.root").eager(slice(1000, 1200))
        >>> events[0].Muon.pt.to_list() == events.Muon.pt[0].to_list()
        True
        >>> len(events[events.MET.pt > 20].Muon.matched_jet) < 200
        True
        >>> events
        <EventsArray [...] type='200 * Events[run: int32, luminosityBlock: uint32, ...' 5 of 86 columns read>
        """
        return HOOKS["eager"](self, entries, memory)

    def visualize(self, filename: str | None = None) -> Any:
        """The graph as a picture.

        Parameters
        ----------
        filename : str, default None
            SVG file to write.

        Returns
        -------
        Picture
            The picture, which notebooks show.
        """
        return HOOKS["visualize"](self, filename)

    def repartition(self, npartitions: int | None = None, *, step_size: int | str | None = None) -> Any:
        """The same array in other ranges.

        Parameters
        ----------
        npartitions : int, default None
            Number of ranges of about the same length.
        step_size : int or str, default None
            Length of a range instead: entries, or the memory of the needed columns ("50 MB").

        Returns
        -------
        Lazy
            The array.

        Examples
        --------
        >>> import hepgraph as hg, awkward as ak
        >>> hg.from_awkward(ak.Array([1.0, 2.0, 3.0])).repartition(3).npartitions
        3
        """
        return HOOKS["repartition"](self, npartitions, step_size)

    # with dask's collections

    def _dask_graph(self, **options: Any) -> tuple[dict[Any, Any], str]:
        return HOOKS["graph_of"](self, **options)  # type: ignore[no-any-return]

    def to_delayed(self, **options: Any) -> Any:
        """The array as a `dask.delayed` value for each of its partitions, each an awkward array.

        Parameters
        ----------
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        list of Delayed
            The partitions; (list, report) with `report=True`.
        """
        return HOOKS["to_delayed"](self, **options)

    def to_dask_array(self, **options: Any) -> Any:
        """The numbers of a flat array as a `dask.array`; chunks are partitions, of unknown length after a cut.

        Parameters
        ----------
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        dask.array.Array
            The numbers.
        """
        return HOOKS["to_dask_array"](self, **options)

    def to_dask_bag(self, **options: Any) -> Any:
        """The array as a `dask.bag` of Python objects, one for each row.

        Parameters
        ----------
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        dask.bag.Bag
            The rows.
        """
        return HOOKS["to_dask_bag"](self, **options)

    def to_dask_dataframe(self, **options: Any) -> Any:
        """An array of flat records as a `dask.dataframe`, with a column for each field.

        Parameters
        ----------
        **options : Any
            Arguments of `hg.compute`, by name.

        Returns
        -------
        dask.dataframe.DataFrame
            The rows.
        """
        return HOOKS["to_dask_dataframe"](self, **options)

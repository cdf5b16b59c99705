"""hepgraph: HEP columnar analysis on lazy awkward arrays.

A physicist writes awkward code on lazy events; it is recorded as a typed graph, reads exactly the columns it needs, and
runs over files in partitions. The modules, from the ground up (each imports only from those above it):

    later         what is imported when it is used
    offsets       where lists begin and end
    errors        what can go wrong, and how it is said
    disk          what is kept on disk: whose it is, how it is read and written
    spoken        arguments by the names that other libraries give them
    ops           the table of scalar operations
    graph         index spaces, maps and nodes; their canonical form; forms; pictures
    io            sources: ROOT, RNTuple, Parquet, memory
    interpret     the meaning of a graph, with NumPy and awkward
    load          the columns that a graph needs
    lazy          lazy arrays: awkward's interface, vectors, opaque calls
    schema        collections out of columns, from TOML files
    events        opening datasets
    packages      whose code it is: the user's own, or a package's of some version
    content       hashes of analyses: plans, code, parameters; and what cannot be tracked
    dependencies  a user's word on that: trust, depends
    ledger        the report: a row for each range
    plan          outputs, passes, partial results
    executors     serial, threads, processes, dask
    attempt       one range on a worker: tries, halves, failures
    gather        partial results on their way up a tree
    checkpoint    partial results on disk
    course        a run from what is there to what is left
    compute       any nest of lazy things, in one pass
    merge         histograms that add up
    hist          histograms with recorded fills
    interop       to and from dask's collections
    explain       plans in words and pictures
    eager         the fallback for what cannot be recorded
    fileset       which files are which dataset
    survey        what is in the files, found out once
    processor     analyses as classes, run over filesets
    background    runs in the background
    plot          pictures of results
"""

from typing import TYPE_CHECKING, Any

from hepgraph import later as _later

with _later.together():
    from hepgraph import errors, executors
    from hepgraph.compute import compute, necessary_columns, persist
    from hepgraph.events import from_awkward, from_parquet, from_root, from_source, open
    from hepgraph.explain import explain, visualize
    from hepgraph.lazy import combine as _combine
    from hepgraph.lazy import index as _index
    from hepgraph.lazy import lists as _lists
    from hepgraph.lazy import missing as _missing
    from hepgraph.lazy import statistics as _statistics
    from hepgraph.lazy import structure as _structure
    from hepgraph.lazy import values as _values
    from hepgraph.lazy import vectors as _vectors
    from hepgraph.lazy.array import HOOKS as _HOOKS
    from hepgraph.lazy.array import Lazy
    from hepgraph.lazy.opaque import map_partitions
    from hepgraph.lazy.tables import lookup
    from hepgraph.ledger import Report

if TYPE_CHECKING:
    from hepgraph.background import Handle, submit
    from hepgraph.fileset import Fileset
    from hepgraph.hist import Hist
    from hepgraph.interop import from_delayed, from_map
    from hepgraph.io.columncache import ColumnCache
    from hepgraph.processor import Processor, Runner, run
    from hepgraph.survey import preprocess

_RULES = (
    _combine,
    _index,
    _lists,
    _missing,
    _statistics,
    _structure,
    _values,
    _vectors,
)  # importing them fills the tables of lazy arrays

# imported when they are first used, so that `import hepgraph` stays quick; no such module has the name of what is in it
_PLACES = {
    "ColumnCache": "io.columncache",
    "Fileset": "fileset",
    "Handle": "background",
    "Hist": "hist",
    "Processor": "processor",
    "Runner": "processor",
    "from_delayed": "interop",
    "from_map": "interop",
    "preprocess": "survey",
    "run": "processor",
    "submit": "background",
}
_found = _later.getter(__name__, _PLACES)
for _name in ("graph_of", "to_delayed", "to_dask_array", "to_dask_bag", "to_dask_dataframe"):
    _HOOKS[_name] = _later.function("hepgraph.interop", _name)
_HOOKS["kept"] = _later.function("hepgraph.crossrefs", "kept")


def __getattr__(name: str) -> Any:
    value = globals()[name] = _found(name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__version__ = "0.1.0"

__all__ = [
    "ColumnCache",
    "Fileset",
    "Handle",
    "Hist",
    "Lazy",
    "Processor",
    "Report",
    "Runner",
    "compute",
    "errors",
    "executors",
    "explain",
    "from_awkward",
    "from_delayed",
    "from_map",
    "from_parquet",
    "from_root",
    "from_source",
    "lookup",
    "map_partitions",
    "necessary_columns",
    "open",
    "persist",
    "preprocess",
    "run",
    "submit",
    "visualize",
]

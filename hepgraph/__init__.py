"""hepgraph: HEP columnar analysis on lazy awkward arrays.

A physicist writes awkward code on lazy events; it is recorded as a typed graph, reads exactly the columns it needs, and
runs over files in partitions. The rooms, from the ground up (each imports only from those above it):

    errors        The tree of errors
    imports       Modules that are imported on first use
    arguments     Arguments of public functions: words of other libraries, amounts of data
    functions     The user's functions, as they were when they were recorded
    limits        Sizes, counts and waits by which memory, requests and time are traded for each other
    disk          Files that are kept for later: caches, checkpoints
    executors     Places to run: one class each
    graph         The typed graph: spaces, maps, nodes, their meaning
    jit           LLVM: from text to code
    io            Sources: columns of ROOT files, Parquet files, memory
    fingerprint   Fingerprints of analyses
    kernel        One fused native loop for a pass
    lazy          Lazy arrays: awkward's interface, recorded as a graph
    datasets      Events of files: filesets, schemas, collections
    plan          Passes over the data: their sinks, and which data each leaves unread
    runner        One run, from its tasks to its result
    hist          Histograms with recorded fills
    kit           Selections of events, their weights, their cutflows
    processor     Analyses as classes, recorded or run eagerly
"""

from typing import TYPE_CHECKING, Any

from hepgraph import imports as _later

with _later.together():
    from hepgraph import errors, executors
    from hepgraph.datasets.described import schema_of
    from hepgraph.datasets.events import from_awkward, from_parquet, from_root, from_source, open
    from hepgraph.functions.behaviors import behavior
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
    from hepgraph.lazy.vary import cross, variation, vary
    from hepgraph.runner.compute import compute, necessary_columns, persist
    from hepgraph.runner.explain import explain, visualize
    from hepgraph.runner.report import Report

if TYPE_CHECKING:
    from hepgraph.datasets.fileset import Fileset
    from hepgraph.hist.histogram import Hist
    from hepgraph.io.cache.columns import ColumnCache
    from hepgraph.kit.selection import Selection
    from hepgraph.kit.weights import Weights
    from hepgraph.processor.processor import Processor, Runner, run
    from hepgraph.processor.submit import Handle, submit
    from hepgraph.runner.dask_collections import from_delayed, from_map
    from hepgraph.runner.preprocess import preprocess

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
    "ColumnCache": "io.cache.columns",
    "Fileset": "datasets.fileset",
    "Handle": "processor.submit",
    "Hist": "hist.histogram",
    "Processor": "processor.processor",
    "Runner": "processor.processor",
    "Selection": "kit.selection",
    "Weights": "kit.weights",
    "from_delayed": "runner.dask_collections",
    "from_map": "runner.dask_collections",
    "preprocess": "runner.preprocess",
    "run": "processor.processor",
    "submit": "processor.submit",
}
_found = _later.getter(__name__, _PLACES)
for _name in ("graph_of", "to_delayed", "to_dask_array", "to_dask_bag", "to_dask_dataframe"):
    _HOOKS[_name] = _later.function("hepgraph.runner.dask_collections", _name)
_HOOKS["page"] = _later.function("hepgraph.datasets.page", "page")
_HOOKS["eager"] = _later.function("hepgraph.processor.view", "eager")
_HOOKS["kept"] = _later.function("hepgraph.processor.crossrefs", "kept")


def __getattr__(name: str) -> Any:
    value = globals()[name] = _found(name)
    return value


def __dir__() -> list[str]:
    return __all__


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
    "Selection",
    "Weights",
    "behavior",
    "compute",
    "cross",
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
    "schema_of",
    "submit",
    "variation",
    "vary",
    "visualize",
]

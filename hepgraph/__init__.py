"""hepgraph: HEP columnar analysis on lazy awkward arrays."""

from hepgraph import errors, executors, io
from hepgraph.compute import compute, necessary_columns
from hepgraph.events import from_awkward, from_parquet, from_root, from_source, open
from hepgraph.explain import explain, visualize
from hepgraph.hist import Hist
from hepgraph.lazy import combine as _combine
from hepgraph.lazy import index as _index
from hepgraph.lazy import structure as _structure
from hepgraph.lazy import vectors as _vectors
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.opaque import map_partitions
from hepgraph.processor import Processor, Runner, run

"""hepgraph."""

from hepgraph.compute import compute, head, necessary_columns, persist
from hepgraph.events import from_awkward, from_parquet, from_root, from_source, open
from hepgraph.lazy import combine, index, opaque, reduce, structure, vectors
from hepgraph.lazy.array import Lazy
from hepgraph.lazy.opaque import map_partitions

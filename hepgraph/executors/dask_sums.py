"""The sum of the ranges below one node of a tree, made on a worker of dask."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hepgraph.executors.dask_plan import work_of
from hepgraph.executors.interface import Work
from hepgraph.executors.tree import Merger, TreeNode
from hepgraph.functions import pickling


@dataclass
class NodeSum:
    """The sum below one node, as bytes, so that adding it to another leaves it as it is."""

    level: int
    index: int
    body: bytes
    rows: list[tuple[int, Any]]
    seconds: float
    inputs: int = 0  # bytes that went into it


def add_up(plan: str, node: TreeNode, first: int, tasks: Sequence[Any]) -> NodeSum:
    """A task of dask: the ranges of one node."""
    return summed(work_of(plan), node, first, tasks)


def merge(plan: str, node: TreeNode, count: int, sums: Sequence[NodeSum]) -> NodeSum:
    """A task of dask: adds up what lies below one node, which stands above `count` ranges."""
    return merged_sum(work_of(plan), node, count, sums)


def summed(work: Work, node: TreeNode, first: int, tasks: Sequence[Any]) -> NodeSum:
    """Works through the ranges of one node; `first` is the number of the first of all.

    While it works on one, the data of the next one are fetched.
    """
    start = time.perf_counter()
    merger, rows = Merger(len(tasks), work.combine(node.tree)), []
    for i, task in enumerate(tasks):
        if i + 1 < len(tasks):
            work.ahead(tasks[i + 1])
        value, row = work(task)
        merger.add(i, value)
        rows.append((first + i, row))
    return NodeSum(node.level, node.index, pickling.dumps(merger.result), rows, time.perf_counter() - start)


def merged_sum(work: Work, node: TreeNode, count: int, sums: Sequence[NodeSum]) -> NodeSum:
    """Adds up the sums of all nodes below one, which stands above `count` ranges."""
    start = time.perf_counter()
    merger, rows = Merger(count, work.combine(node.tree)), []
    for each in sums:
        merger.add(each.index - (node.index << (node.level - each.level)), pickle.loads(each.body), each.level)
        rows += each.rows
    body = pickling.dumps(merger.result)
    seconds = sum(each.seconds for each in sums) + time.perf_counter() - start
    return NodeSum(node.level, node.index, body, rows, seconds, sum(len(each.body) for each in sums))


__all__ = ["NodeSum", "add_up", "merge", "merged_sum", "summed"]

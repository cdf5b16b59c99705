"""Random programs on random data: a lazy array must give what eager awkward gives, in any partitioning, or refuse.

A program is drawn as bytes (a `Tape`): each byte chooses the next operation or operand, so that a failing example
shrinks to a short one. Every operation is done twice, to an eager array and to its lazy twin.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

import awkward as ak
import numpy as np
from agreement import check
from drawing import Tape, everything, examples
from expressions import OPERATIONS, Program, Value, shape_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limiting import limited

import hepgraph as hg
from hepgraph.errors import HepgraphError
from hepgraph.graph.form import items

EXAMPLES = examples(80)
PARTITIONS = (1, 2, 7)
# what NumPy and the C library give differs by some ulp; of 0.0 and -0.0, NumPy's maximum is one or the other
ROUGH = r"hypot|\*\* (0\.5|3)"
LEVELS = (0, 2)  # how much a kernel is optimised, in turn

# Where a lazy array may refuse although eager awkward has an answer: the operation, the message, the reason in a word.
REFUSALS = [
    (".*", "cut by different masks|rows of these arrays are not the same", "rows do not correspond"),
    (".*", "These lists do not go together", "elements do not correspond"),
    (".*", "whole dataset|same place in different events", "needs all partitions at once"),
    ("ak.concatenate", "booleans and numbers", "awkward mixes them only if there is a None"),
    ("ak.firsts", "first row of a dataset", "one row of the whole dataset"),
    (r"\[", "same fixed length, and awkward takes", "such a slice would pick rows"),
    (".*", "leave out keepdims", "one number of the whole dataset"),
    (".*", "whose fields differ in depth", "the axis is another level in each field"),
    ("is_none|singletons", "no record here is None", "awkward looks at how the records are stored"),
    (".*", "every row with every row", "every row would be paired with every row"),
    ("ak.concatenate", "needs lists at that depth", "lists in the fields of records"),
    ("drop_none", "in the fields of a record", "records would be torn apart"),
    ("ak.where", "missing lists", "awkward looks at what is stored below a None"),
    ("ak.where", "condition that may be None", "awkward makes None of each field and element, and not of the whole"),
]
# Where a lazy array has an answer although eager awkward has none.
PERMITTED: list[tuple[str, str, str]] = [
    (".*", "cannot slice RegularArray .of length .*index out of range", "awkward fails on no elements"),
    (r"\[", "negative dimensions", "awkward fails to slice lists of a fixed length"),
    ("ak.mask", "cannot broadcast NumpyArray", "awkward fails on masks with lists of a fixed length"),
    ("ak.zip", "cannot broadcast .*Array of length", "awkward fails to zip lists of a fixed length and values"),
    ("broadcast_arrays", "cannot broadcast nested list", "nothing looks at the other array"),
    ("[<>]|[=!]=", "Python integer .* out of bounds", "awkward does not compare with what NumPy does"),
    (r"\[", "boolean index did not match", "awkward forgets where a slice of an array begins"),
    ("drop_none", r"stops.i. > len.content", "awkward fails on lists that are missing"),
    (
        "drop_none",
        r"RecordArray len.content. .* must be",
        "awkward fails on records further in",
    ),
    ("drop_none.*ak.zip", "axis=. exceeds the depth", "awkward fails where a field of records has no lists"),
    (r"\[", "cannot fit jagged slice with length . into .* of size 0", "awkward fails on no events"),
]

refused: Counter[str] = Counter()


def step(p: Program) -> None:
    """One operation, on the eager array and on its lazy twins."""
    made = p.tape.of(OPERATIONS)(p)
    if made is None:
        return
    text, operands, f = made
    text = text.format(*(v.text for v in operands), *("?" for _ in range(2)))
    if len(text) > 400:
        return
    eager, error = None, None
    try:
        eager = f(*(v.eager for v in operands))
    except Exception as e:
        error = e
    if isinstance(eager, ak.Array) and (has_union(eager.layout) or ak.validity_error(eager)):
        return  # a union has no lazy form, and some functions of awkward give arrays that are not valid
    if text.endswith("]") and len(operands) == 2 and doubtful(operands[0].eager, operands[1].eager):
        return
    try:
        lazy = [f(*(v.lazy[i] for v in operands)) for i in range(len(PARTITIONS))]
        list(items(lazy[0]._form))  # the fields of records are made when they are read
    except HepgraphError as refusal:
        if error is None:
            allowed(REFUSALS, text, refusal, f"refused: {text}\n eager gives {ak.type(eager)} {eager}")
        return
    except Exception as e:
        if error is None or type(e) is not type(error):
            raise AssertionError(f"internal error in {text}: {e!r}\neager: {error!r}") from e
        return
    if error is not None:
        for x in lazy:
            try:
                got = x.compute(executor="serial", engine="interpreter", progress=False)
            except Exception:
                return
        allowed(PERMITTED, text, error, f"eager raises where lazy gives {got}: {text}\n{error!r}")
        return
    if lazy[0]._rows.kind == "total":
        p.totals.append(Value(eager, tuple(lazy), -1, text))
        return
    if not isinstance(eager, ak.Array):
        raise AssertionError(f"{text}: eager gives {eager!r}, lazy {lazy[0]!r}")
    rows = operands[0].rows
    if lazy[0]._guard != operands[0].lazy[0]._guard or lazy[0]._rows is not operands[0].lazy[0]._rows:
        p.cuts += 1
        rows = p.cuts
    p.values.append(Value(eager, tuple(lazy), rows, text))
    if rows == p.cuts and rows and p.tape.below(2):  # others cut in the same way
        same = [v for v in p.values[:-1] if v.rows == operands[-1].rows][-4:]
        if len(operands) == 2 and text.endswith(f"[{operands[1].text}]"):
            m = operands[1]
            for v in same if m.depth == 0 else []:
                cut = [a[b] for a, b in zip(v.lazy, m.lazy, strict=True)]
                p.values.append(Value(v.eager[m.eager], tuple(cut), rows, f"{v.text}[{m.text}]"))


def doubtful(array: ak.Array, index: ak.Array) -> bool:
    """Whether awkward itself slices doubtfully: by masks of other lengths, or by None where lists are missing."""
    x, i = array.layout, index.layout
    if shape_of(x)[0] == 0 or shape_of(i)[0] == 0:
        return False
    optional, missing = False, False
    while True:
        optional |= i.is_option
        if i.is_option or i.is_indexed:
            i = i.content
        elif not i.is_list:
            break
        else:
            while x.is_option or x.is_indexed:
                missing |= x.is_option
                x = x.content
            if not x.is_list:
                break
            missing |= optional
            x, i = x.content, i.content
    uneven = ak.num(array).to_list() != ak.num(index).to_list()
    return (optional and missing) or ((optional or missing or shape_of(index.layout)[1] == "b") and uneven)


def has_union(layout: Any) -> bool:
    """Whether there is a union in a layout."""
    found = []
    ak.transform(lambda layout, **_: found.append(layout.is_union) or None, ak.Array(layout), return_value="none")
    return any(found)


def allowed(table: list[tuple[str, str, str]], text: str, error: Exception, message: str) -> None:
    """Passes if an error is one of those of a table, and counts it."""
    for call, pattern, reason in table:
        if re.search(call, text) and re.search(pattern, str(error)):
            refused[reason] += 1
            return
    raise AssertionError(f"{message}\n{error!r}")


def close(eager: Any, lazy: Any) -> bool:
    """Whether two numbers agree up to the order of a sum."""
    if isinstance(eager, ak.Array | ak.Record) or isinstance(lazy, ak.Array | ak.Record):
        return repr(eager) == repr(lazy)
    if eager is None or lazy is None:
        return eager is lazy
    a, b = np.asarray(eager), np.asarray(lazy)
    scale = 1e-4 if a.dtype == np.float32 else 1e-9
    return a.dtype == b.dtype and bool(np.isclose(a, b, rtol=scale, atol=scale, equal_nan=True))


def run(seed: int, n: int, tape: bytes) -> None:
    """One program on one dataset, in several partitionings, and every second time by the kernel, too."""
    with np.errstate(all="ignore"):
        data = everything(seed, n)
        events = [hg.from_awkward(data, npartitions=k) for k in PARTITIONS]
        values = [Value(data[name], tuple(e[name] for e in events), 0, name) for name in data.fields]
        p = Program(Tape(tape), values)
        while not p.tape.done:
            step(p)
        new = p.values[len(data.fields) :]
        places = range(len(PARTITIONS))
        kernel = [(seed % len(PARTITIONS), "kernel")] if seed % 2 == 0 else []
        for i, engine in [*((i, "interpreter") for i in places), *kernel]:
            tree = [[v.lazy[i] for v in new], [v.lazy[i] for v in p.totals]]
            try:
                arrays, totals = hg.compute(tree, executor="serial", engine=engine, progress=False)
            except Exception as error:
                error.add_note("\n".join(v.text for v in new))
                raise
            for v, got in zip(new, arrays, strict=True):
                if engine == "kernel" and re.search(ROUGH, v.text):
                    continue
                try:
                    check(v.eager.layout, got.layout, v.text, signs=engine != "kernel" or "imum" not in v.text)
                except AssertionError as error:
                    raise AssertionError(
                        f"{v.text}, {PARTITIONS[i]} partitions, {engine}\n{error}\n"
                        f"eager {v.eager.type} {v.eager.to_list()}\n"
                        f"lazy  {got.type} {got.to_list()}"
                    ) from None
            for v, got in zip(p.totals, totals, strict=True):
                if engine == "kernel" and re.search(ROUGH, v.text):
                    continue
                assert close(v.eager, got), f"{v.text}: eager {v.eager!r}, lazy {got!r}"


@settings(max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1000), st.sampled_from([5, 0, 1, 2, 9]), st.binary(min_size=8, max_size=80))
def test_random_programs(seed: int, n: int, tape: bytes) -> None:
    with limited(level=LEVELS[seed // 2 % len(LEVELS)]):
        run(seed, n, tape)

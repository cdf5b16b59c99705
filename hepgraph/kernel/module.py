"""The text of a module: a function for each tree, and those that are called, which give them their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hepgraph.graph.node import Node
from hepgraph.kernel.alike import Body, merged
from hepgraph.kernel.deferred import LoopFunction
from hepgraph.kernel.lower import Lowered
from hepgraph.kernel.parameters import Parameters
from hepgraph.kernel.writer import Shared
from hepgraph.limits import limits

EARLY, PLAIN, MARKED = "early", "kernel", "marked"  # functions that mark events, those of all, those of marked ones


def module(
    functions: Sequence[LoopFunction],
    targets: Sequence[Any],
    stages: Mapping[tuple[Node, ...], Any],
    parameters: Parameters,
    check: bool,
) -> tuple[str, Shared]:
    """The text, and the arguments that it takes."""
    shared = Shared(parameters)
    packed = {node: k for k, (marks, nodes) in enumerate(stages.items()) if marks for node in nodes}
    bodies: list[Body] = []
    report = ["  %report = getelementptr i64, ptr %sizes, i64 -2"] if check else []
    for function in functions:
        lowered = Lowered(function, targets, packed, shared, check)
        lines = lowered.write()
        bodies.append(Body(list(lowered.used), [*lowered.top, *report, *lines]))
    shapes, passed = merged(bodies)
    texts: list[str] = []
    for k, shape in enumerate(shapes):
        params = ["i64 %start", "i64 %stop", "i64 %first", "ptr %sizes", *shape.params]
        head = f"define internal i32 @body{k}({', '.join(params)}) noinline {{"
        texts.append("\n".join([head, "entry:", *shape.lines, "}"]))
    calls: list[str] = []
    for k, own in passed:
        calls.append(f"call i32 @body{k}({', '.join(['i64 %from', 'i64 %to', 'i64 %first', 'ptr %sizes', *own])})")
    told = list(zip(functions, calls, strict=True))
    early = [call for function, call in told if function.early]
    late = [call for function, call in told if not function.early and not function.marks]
    marked = [call for function, call in told if function.marks]
    return "\n".join(
        [
            *unique_lines(shared.declared),
            *(f"{name} = private unnamed_addr constant {text}" for text, name in shared.constants.items()),
            *(f"define internal void @{name}{text}" for text, name in shared.functions.items()),
            *texts,
            *(_called(EARLY, shared, early, limits().step) if early else []),
            *(_called(PLAIN, shared, late, limits().step) if late else []),
            *(_called(MARKED, shared, marked, 1) if marked else []),
            *shared.loops,
        ]
    ), shared


def _called(name: str, shared: Shared, calls: Sequence[str], step: int) -> list[str]:
    """A function that is called: it runs others over the events of a step, one after the other, then over the next.

    Those for marked events count the steps, of which each has its own events.
    """
    pointers: list[str] = []
    for k, argument in enumerate(shared.arguments.values()):
        pointers.append(f"  %q{k} = getelementptr ptr, ptr %table, i64 {k}")
        pointers.append(f"  {argument} = load ptr, ptr %q{k}")
    return [
        f"define i32 @{name}(i64 %start, i64 %stop, i64 %first, ptr %table, ptr %sizes) {{",
        "entry:",
        *pointers,
        "  br label %head",
        "head:",
        "  %from = phi i64 [ %start, %entry ], [ %to, %step ]",
        f"  %error = phi i32 [ 0, %entry ], [ %e{len(calls)}, %step ]",
        "  %more = icmp slt i64 %from, %stop",
        "  br i1 %more, label %step, label %done",
        "step:",
        f"  %limit = add nsw i64 {f'%from, {step}' if len(calls) > 1 else '%stop, 0'}",
        "  %near = icmp slt i64 %stop, %limit",
        "  %to = select i1 %near, i64 %stop, i64 %limit",
        "  %e0 = or i32 %error, 0",
        *_in_order(calls),
        "  br label %head",
        "done:",
        "  ret i32 %error",
        "}",
    ]


def _in_order(calls: Sequence[str]) -> list[str]:
    """Calls, and whether something was wrong in one of them."""
    lines: list[str] = []
    for k, call in enumerate(calls):
        lines.append(f"  %r{k} = {call}")
        lines.append(f"  %e{k + 1} = or i32 %e{k}, %r{k}")
    return lines


def unique_lines(texts: Iterable[str]) -> list[str]:
    """The lines of declarations, each declared function once."""
    found: list[str] = []
    for text in texts:
        for line in text.splitlines():
            if not (line.startswith("declare") and line in found):
                found.append(line)
    return found

"""The text of a module: a function for each tree, and the one that is called, which gives them their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hepgraph.kernel.lower import Lowered
from hepgraph.kernel.schedule import Scheduler
from hepgraph.kernel.tree import Step
from hepgraph.kernel.writer import Shared
from hepgraph.limits import limits


def module(
    trees: Sequence[Sequence[Step]], scheduler: Scheduler, targets: Sequence[Any], check: bool
) -> tuple[str, Shared]:
    """The text, and the arguments that it takes."""
    shared = Shared()
    bodies: list[str] = []
    calls: list[str] = []
    for k, steps in enumerate(trees):
        lowered = Lowered(steps, scheduler, targets, shared, check)
        lines = lowered.write()
        names = list(lowered.used)
        params = ["i64 %start", "i64 %stop", "i64 %first", "ptr %sizes", *(f"ptr noalias {name}" for name in names)]
        passed = ["i64 %from", "i64 %to", "i64 %first", "ptr %sizes", *(f"ptr {name}" for name in names)]
        report = ["  %report = getelementptr i64, ptr %sizes, i64 -2"] if check else []
        head = f"define internal i32 @body{k}({', '.join(params)}) noinline {{"
        bodies.append("\n".join([head, "entry:", *lowered.top, *report, *lines, "}"]))
        calls.append(f"  %r{k} = call i32 @body{k}({', '.join(passed)})")
    return "\n".join(
        [
            *unique_lines(shared.declared),
            *(f"{name} = private unnamed_addr constant {text}" for text, name in shared.constants.items()),
            *(f"define internal void @{name}{text}" for text, name in shared.functions.items()),
            *bodies,
            *_kernel(shared, calls),
            *shared.loops,
        ]
    ), shared


def _kernel(shared: Shared, calls: Sequence[str]) -> list[str]:
    """The function that is called: it runs the others over some events, one after the other, then over the next."""
    pointers: list[str] = []
    for k, name in enumerate(shared.slots.values()):
        pointers.append(f"  %q{k} = getelementptr ptr, ptr %table, i64 {k}")
        pointers.append(f"  {name} = load ptr, ptr %q{k}")
    together = [f"  %e{k} = or i32 {f'%e{k - 1}' if k else '%error'}, %r{k}" for k in range(len(calls))]
    step = f"  %limit = add nsw i64 %from, {limits().step}" if len(calls) > 1 else "  %limit = add nsw i64 %stop, 0"
    return [
        "define i32 @kernel(i64 %start, i64 %stop, i64 %first, ptr %table, ptr %sizes) {",
        "entry:",
        *pointers,
        "  br label %head",
        "head:",
        "  %from = phi i64 [ %start, %entry ], [ %to, %step ]",
        f"  %error = phi i32 [ 0, %entry ], [ %e{len(calls) - 1}, %step ]",
        "  %more = icmp slt i64 %from, %stop",
        "  br i1 %more, label %step, label %done",
        "step:",
        step,
        "  %near = icmp slt i64 %stop, %limit",
        "  %to = select i1 %near, i64 %stop, i64 %limit",
        *calls,
        *together,
        "  br label %head",
        "done:",
        "  ret i32 %error",
        "}",
    ]


def unique_lines(texts: Iterable[str]) -> list[str]:
    """The lines of declarations, each declared function once."""
    found: list[str] = []
    for text in texts:
        for line in text.splitlines():
            if not (line.startswith("declare") and line in found):
                found.append(line)
    return found

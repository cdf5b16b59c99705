"""Arguments of public functions: words of other libraries, amounts of data."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hepgraph.errors import nearest

Function = TypeVar("Function", bound=Callable[..., Any])

OPENING = ("hg.open", "hg.from_root", "hg.from_parquet")
COMPUTING = ("hg.compute", "hg.run")
# The arguments that users look for in the wrong place, and the functions that have them.
PLACES: dict[str, tuple[str, ...]] = {
    "cache": (*OPENING, "hg.run"),
    "checkpoint": COMPUTING,
    "depends": COMPUTING,
    "eager": ("hg.run",),
    "engine": COMPUTING,
    "executor": (*COMPUTING, "hg.preprocess"),
    "memory": ("hg.run",),
    "metadata": (*OPENING, "hg.from_awkward"),
    "on_error": (*COMPUTING, "hg.preprocess"),
    "optional": (*OPENING, "hg.run"),
    "progress": (*COMPUTING, "hg.preprocess"),
    "report": COMPUTING,
    "resume": COMPUTING,
    "retries": (*COMPUTING, "hg.preprocess"),
    "schema": (*OPENING, "hg.from_awkward", "hg.run"),
    "step_size": (*OPENING, "hg.run"),
    "storage_options": (*OPENING, *COMPUTING, "hg.preprocess"),
    "strict": ("hg.run", "hg.preprocess"),
    "tree": ("hg.open", "hg.from_root", "hg.run", "hg.preprocess"),
    "trust": COMPUTING,
}


class Counterpart(NamedTuple):
    """The argument that does the same here, a value for it, and a remark."""

    argument: str
    value: str = ""
    more: str = ""

    def use(self, function: Sequence[str]) -> str:
        """The advice on an argument, and on which function has it if the one with these arguments does not."""
        words = f"Use {self.argument}={self.value}" + (f", {self.more}" if self.more else "")
        if self.argument in function:
            return f"{words}."
        return f"{words}{',' if self.more else ''} of {_any(PLACES[self.argument])}."


_STEP = Counterpart("step_size", more='in entries or as the memory of the needed columns ("50 MB")')
_FIRST = "Use events.head(n), or hg.preprocess(fileset).first_events(n)."
_SOME = "Use events[start:stop], events.eager(slice(start, stop)), or hg.preprocess(fileset).first_events(n)."
_COLUMNS = "None is needed: columns are found out from what is computed, and hg.necessary_columns shows them."
_LAZY = "None is needed: events are lazy."
_SKIP = Counterpart("on_error", '"skip"')
_TIMEOUT = Counterpart("storage_options", '{"hepgraph": {"timeout": seconds}}')
_TREE = Counterpart("tree")
_WORKERS = Counterpart("executor", "hg.executors.Threads(n)", "or Processes(n)")
_SELECT = 'None is needed: variations are counted too, and .select(variation="w_up") gives one.'
_SIDES = "Use up= and down=, the whole weights; a side that is not given is not made up."

# One row a word: an argument of coffea, dask, dask-awkward or uproot, and what does that here, or a sentence.
ELSEWHERE: dict[str, Counterpart | str] = {
    "align_clusters": "None is needed: ranges follow the clusters.",
    "chunksize": _STEP,
    "categorical": "Use categories=.",
    "client": Counterpart("executor", "client"),
    "columns": _COLUMNS,
    "commonmasked": "Give selection.cutflow the cuts in their order, the common ones first.",
    "delayed": _LAZY,
    "entry_start": _SOME,
    "entry_stop": _SOME,
    "fill_value": "Write ak.fill_none(mask, False).",
    "filter_name": _COLUMNS,
    "maxchunks": _FIRST,
    "mode": "None is needed: events are lazy, and events.eager() reads what is touched.",
    "modifier": 'Use variation=, with one of weights.variations, such as "w_up".',
    "n_workers": _WORKERS,
    "num_workers": _WORKERS,
    "object_path": _TREE,
    "savemetrics": Counterpart("report", "True"),
    "scheduler": Counterpart("executor"),
    "schemaclass": Counterpart("schema", more='such as "nanoaod"'),
    "shift": "Give the whole weights instead: up=weight + x, down=weight - x.",
    "size": "Give the events: hg.Weights(events).",
    "skip_bad_files": _SKIP,
    "skipbadfiles": _SKIP,
    "split_row_groups": _STEP,
    "steps_per_file": _STEP,
    "storeIndividual": "None is needed: all are kept, and weights.partial([name]) has some.",
    "timeout": _TIMEOUT,
    "tree_name": _TREE,
    "treename": _TREE,
    "treepath": _TREE,
    "weightDown": _SIDES,
    "weightUp": _SIDES,
    "weightsmodifier": _SELECT,
    "workers": _WORKERS,
    "xrootdtimeout": _TIMEOUT,
}


_NUMBERS = "Computed, its numbers are .raw, by .labels; .plot() draws them, and .to_dict() has them by name."
_CUTFLOW = {
    "plot_vars": 'Fill histograms: h.fill(x[selection.all("a", "b")]), or x[selection.without("a")] for all but one.',
    "print": "Computed, it is a table: print(cutflow).",
    "result": _NUMBERS,
    "to_npz": "Computed, .to_pandas() is a DataFrame, which is written in many formats.",
    "yieldhist": _NUMBERS,
}

# The attributes of coffea's classes by ours, and what does that here.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "Cutflow": _CUTFLOW,
    "LazyCutflow": _CUTFLOW,
    "NminusOne": _CUTFLOW,
    "Selection": {
        "allfalse": 'Write selection.all("~a", "~b").',
        "delayed_mode": "None is needed: masks are lazy if the events are.",
        "maxitems": "There are as many cuts as you like.",
    },
    "Weights": {
        "add_multivariation": 'Use weights.add_many(name, weight, {"a_up": array, "a_down": array}).',
        "partial_weight": "Use weights.partial(names).weight(), or weights.partial(exclude=names).weight().",
        "weightStatistics": "Use weights.statistics().",
    },
}


def no_attribute(kind: str, name: str, known: Iterable[str]) -> AttributeError:
    """The error for an attribute that a class does not have, with what does the same here, or the nearest names.

    >>> no_attribute("Weights", "partial_weight", [])
    AttributeError('Weights has no partial_weight. Use weights.partial(names).weight(), or ...')
    """
    said = ATTRIBUTES.get(kind, {}).get(name, "")
    if not said and (names := nearest(name, [each for each in known if not each.startswith("_")])):
        said = f"Nearest names: {', '.join(names)}."
    return AttributeError(f"{kind} has no {name}. {said}".rstrip())


def checks_arguments(more: str = "", name: str = "") -> Callable[[Function], Function]:
    """Wraps a function so that arguments that it does not have are an error that says what to write instead.

    `more` is for those who give too many by position, or by name what it takes by position; `name` is that of a method
    with its class, or of the class whose `__init__` it is.

    >>> @checks_arguments()
    ... def run(fileset, *, step_size=None): ...
    >>> run([], schemaclass="NanoAODSchema")
    Traceback (most recent call last):
    ...
    TypeError: run() has no argument schemaclass=. Use schema=, such as "nanoaod", of hg.open, ... or hg.run.
    """

    def wrapped(function: Function) -> Function:
        parameters = list(inspect.signature(function).parameters.values())[bool(name) :]  # without self
        known = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL]
        most = sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)
        any_number = len(known) < len(parameters)
        its = name or function.__name__

        @functools.wraps(function)
        def called(*args: Any, **options: Any) -> Any:
            given = len(args) - bool(name)
            if given > most and not any_number:
                rest = ", ".join(f"{each}=" for each in known[most:])
                said = f"{its}() takes {most} by position, not {given}"
                said += f"; the others have names: {rest}. {more}" if rest else f". {more}"
                raise TypeError(said.rstrip())
            _known_only(its, known, options, "" if known else more)
            return function(*args, **options)

        return called  # type: ignore[return-value]

    return wrapped


def known_only(function: Callable[..., Any], options: Iterable[str]) -> None:
    """Raises TypeError for options that a public function does not have, saying what to write instead."""
    parameters = inspect.signature(function).parameters.values()
    _known_only(function.__name__, [each.name for each in parameters if each.kind is each.KEYWORD_ONLY], options)


def _known_only(name: str, known: Sequence[str], options: Iterable[str], advice: str = "") -> None:
    for option in options:
        if option not in known:
            raise TypeError(f"{name}() has no argument {option}=. {advice or _advice(option, known)}")


def _advice(option: str, known: Sequence[str]) -> str:
    """The advice on an argument that is not known."""
    told = ELSEWHERE.get(option)
    if told is not None:
        return told if isinstance(told, str) else told.use(known)
    if option in PLACES:
        return f"It is an argument of {_any(PLACES[option])}."
    names = nearest(option, known)
    return f"{'Nearest names' if names else 'It has'}: {'=, '.join(names or known)}=."


def _any(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


# amounts


def check_step_size(step_size: int | str | None) -> int | str | None:
    """`step_size` if it is a positive number of entries, an amount of memory or None; raises ValueError otherwise."""
    if step_size is None:
        return None
    if isinstance(step_size, str):
        parse_bytes(step_size)
    elif isinstance(step_size, bool) or not isinstance(step_size, int | np.integer) or step_size < 1:
        raise ValueError(f"step_size must be a positive number of entries or an amount like '50 MB', not {step_size!r}")
    return step_size if isinstance(step_size, str) else int(step_size)


def parse_bytes(amount: Any) -> int:
    """The number of bytes in an amount of memory, or that number itself. Raises ValueError for anything else.

    >>> parse_bytes("50 MB"), parse_bytes("1.5 GiB"), parse_bytes("100kB"), parse_bytes(1e9)
    (50000000, 1610612736, 100000, 1000000000)
    """
    if isinstance(amount, Real) and not isinstance(amount, bool) and 0 < float(amount) < float("inf"):
        return int(float(amount))
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?i?)b\s*", amount.lower()) if isinstance(amount, str) else None
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{amount!r} is not an amount of memory; write for example '50 MB' or '1.5 GiB'")
    return int(float(match[1]) * units[match[2]])

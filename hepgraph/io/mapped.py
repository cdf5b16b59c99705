"""A dataset whose parts are made by a function, one from each of its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import awkward as ak

from hepgraph.errors import DisagreementError
from hepgraph.functions.snapshot import Snapshot
from hepgraph.functions.sources import check_repeatable
from hepgraph.io.agreement import agreed
from hepgraph.io.forms import columns_of_form, data_of_layout, distinct, empty_data, fitted
from hepgraph.io.source import USUAL, Access, Column, Data, File, Need, Partition, Source

_WHOLE = 2**62  # entries in a step: a part is never cut, unless somebody asks for that


class MappedSource(Source):
    """The arrays that a function makes; it is called again whenever one is read, as it was when this was made."""

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[tuple[Any, ...]],
        columns: Iterable[Column],
        files: Iterable[File],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(columns, files, _WHOLE, metadata)
        self._title = getattr(function, "__name__", type(function).__name__)
        check_repeatable(self._title, {"its object": function, "an argument": list(inputs)})
        self._taken = Snapshot.of((function, list(inputs)))
        self._identity = ""

    def unchanged(self, names: Iterable[str]) -> None:
        self._taken.check(f"from_map({self._title})", {})

    def read(self, partition: Partition, needs: Mapping[str, Need], access: Access = USUAL) -> dict[str, Data]:
        columns = self.begin(partition, needs)
        if len(partition) == 0 or not columns:
            return {column.name: empty_data(column, need) for column, need in columns}
        number = int(partition.path.removeprefix("<part ").removesuffix(">"))
        function, inputs = self._taken.value
        array = part_in_memory(function, inputs[number])
        expected = self.files[number].entries
        if len(array) != expected:
            raise DisagreementError(f"{partition.path} has {len(array)} entries, where {expected} were announced.")
        layout = array.layout[partition.start : partition.stop]
        found = data_of_layout("", layout, set(needs))
        types = {column.name: column.type for column in columns_of_form("", layout.form)}
        for column, _ in columns:
            if column.name not in found:
                raise DisagreementError(
                    f"{partition.path} has no {column.name!r}, which the first part has; it is {ak.type(array)}."
                )
            if types[column.name].replace("?", "") != column.type.replace("?", ""):
                raise DisagreementError(
                    f"{partition.path} has {types[column.name]} for {column.name!r}, the first part {column.type}."
                )
        return {column.name: fitted(column, found[column.name], need) for column, need in columns}

    def identity(self, file: File) -> str:
        """A hash of the function and of all inputs; what does not pickle is the same in this process alone."""
        import cloudpickle

        if not self._identity:
            try:
                self._identity = hashlib.sha256(cloudpickle.dumps(self._taken.value)).hexdigest()
            except Exception:  # whatever a __reduce__ raises
                self._identity = self._taken.key
        return self._identity


def maker(source: Source) -> Any:
    """The function that makes the data of a source, where they are not read."""
    return source._taken.value[0] if isinstance(source, MappedSource) else None


def part_in_memory(function: Callable[..., Any], inputs: tuple[Any, ...]) -> ak.Array:
    """One part, as an awkward array in memory."""
    array = function(*inputs)
    array = array if isinstance(array, ak.Array) else ak.Array(array)
    return ak.to_backend(array, "cpu")


def open_mapped(
    function: Callable[..., Any],
    inputs: Sequence[tuple[Any, ...]],
    lengths: Sequence[int] | None = None,
    meta: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> MappedSource:
    """The arrays that `function` makes of each of `inputs`.

    Without `lengths`, each is made once, which tells its length and its type; else all are like `meta`, or the first.
    """
    if not inputs:
        raise ValueError("there are no inputs: a dataset has at least one part")
    if lengths is not None and len(lengths) != len(inputs):
        raise ValueError(f"there are {len(inputs)} parts and {len(lengths)} lengths")
    if lengths is not None:
        like = _columns(part_in_memory(function, inputs[0]) if meta is None else meta)
        parts = [(like, int(length)) for length in lengths]
    else:
        parts = [(_columns(part), len(part)) for part in (part_in_memory(function, each) for each in inputs)]
        like = next((columns for columns, length in parts if length), parts[0][0]) if meta is None else _columns(meta)
        parts = [(columns if length else like, length) for columns, length in parts]  # of none, no type is known
    columns, files = agreed(
        [(own, File(f"<part {i}>", "", length, edges=(0, length))) for i, (own, length) in enumerate(parts)]
    )
    return MappedSource(function, inputs, columns, files, metadata)


def _columns(array: Any) -> list[Column]:
    return distinct(columns_of_form("", ak.to_layout(array).form))

"""The numbers that references have for collections, where the files of a dataset say them in a tree of their own."""

from __future__ import annotations

from hepgraph.datasets.schemafile import KeyTable
from hepgraph.errors import DisagreementError, MissingColumnError, MissingTreeError, SchemaError
from hepgraph.io.access.files import Options
from hepgraph.io.cache.metadata import cached
from hepgraph.io.formats import FORMATS, Format
from hepgraph.io.required import texts_of
from hepgraph.io.source import Need, Source, in_turn, worst


def numbers_of(source: Source, told: KeyTable) -> dict[str, int]:
    """The numbers of collections by their names, as the files of a dataset say in a tree beside the events.

    Raises SchemaError where a file does not say it, and DisagreementError where two say different things: an index
    would lead to another collection in one of them.
    """
    from hepgraph.io.trees import in_parallel  # which imports uproot

    form = next((each for each in FORMATS if source.kind in each.kinds), None)
    if form is None:
        raise SchemaError(f"{source.name} does not say which number stands for which collection: it is no file.")

    def look(paths: tuple[str, ...]) -> list[tuple[str, int]]:
        return _of_file(form, in_turn(paths), told, source.storage_options)

    files = [(file.path, *file.replicas) for file in source.files]
    numbers: dict[str, tuple[int, str]] = {}
    names: dict[int, tuple[str, str]] = {}
    for (path, *_), found in zip(files, in_parallel(look, files), strict=True):
        for name, number in found:
            other, one = numbers.setdefault(name, (number, path))
            known, where = names.setdefault(number, (name, path))
            if other != number or known != name:
                raise DisagreementError(
                    f"Collections do not have the same numbers everywhere: {name} is {number} in {path}, and "
                    + (f"{other} in {one}. " if other != number else f"{known} is that in {where}. ")
                    + "References between them can be followed in each by itself: open such files as datasets of "
                    "their own."
                )
    return {name: number for name, (number, _) in numbers.items()}


def _of_file(form: Format, paths: list[str], told: KeyTable, options: Options) -> list[tuple[str, int]]:
    """The numbers that one file says, which may be at several places."""
    failures: list[OSError] = []
    for path in paths:
        try:
            made = cached(
                lambda path=path: _read(form, path, told, options),  # type: ignore[misc]
                path, options, "numbers", told.tree, told.numbers, told.names,
            )  # fmt: skip
        except (MissingTreeError, MissingColumnError) as error:
            why = str(error).splitlines()[0]
            raise SchemaError(f"{path} does not say which number stands for which collection: {why}") from error
        except OSError as error:
            failures.append(error)
        else:
            return [(name, number) for name, number in made]
    raise worst(failures)


def _read(form: Format, path: str, told: KeyTable, options: Options) -> list[tuple[str, int]]:
    source = form.open([path], told.tree, storage_options=options)
    needs = dict.fromkeys((told.numbers, told.names), Need.DATA)
    source.check(needs)
    found: dict[tuple[str, int], None] = {}
    for partition in source.partitions():
        columns = source.fetch(partition, needs)
        numbers, names = columns[told.numbers].values, texts_of(columns[told.names])
        assert numbers is not None
        if len(numbers) != len(names):
            raise DisagreementError(f"{path} has {len(numbers)} numbers for {len(names)} collections.")
        found |= dict.fromkeys(zip(map(str, names), map(int, numbers), strict=True))
    return list(found)

"""Opening the datasets of a fileset: each file by itself, from whichever place has it, tried again or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hepgraph.datasets.events import open_source
from hepgraph.datasets.fileset import Dataset, Place, iter_absent
from hepgraph.errors import DisagreementError, MissingTreeError, SourceError
from hepgraph.io.access.files import Options, once, split_tree
from hepgraph.io.agreement import agreed
from hepgraph.io.formats import column_from_json, file_from_json, rebuilt_source, scaled
from hepgraph.io.source import Absent, Column, File, Source, in_turn, marked, worst
from hepgraph.runner.retry import Policy, one_line


@dataclass(frozen=True)
class Found:
    """One file: what it is, its columns, its place; or why it could not be opened, after how many tries."""

    place: Place
    kind: str = ""
    columns: tuple[Column, ...] = ()
    file: File | None = None
    error: OSError | None = None
    tries: int = 1


def look(place: Place, options: Options, policy: Policy) -> Found:
    """A look at a place; an error is kept if files may be skipped, else raised."""
    tried = 0
    while True:
        tried += 1
        try:
            return replace(_look(place, options), tries=tried)
        except SourceError as error:
            if not _may_pass(error) or tried >= policy.tries(error):
                if policy.skips and _may_skip(error):
                    return Found(place, error=error, tries=tried)
                if tried > 1:
                    error.add_note(f"after {tried} tries")
                raise
            policy.pause(tried, place[0][0])


def _look(place: Place, options: Options) -> Found:
    paths, tree = place
    failures: list[OSError] = []
    for path in in_turn(paths):
        try:
            source = open_source({path: tree} if tree else [path], tree, storage_options=options)
        except SourceError as error:
            if not _may_skip(error):
                raise
            failures.append(marked(error, path))
            continue
        (file,) = source.files
        others = tuple(each for each in paths if each != paths[0])
        return Found(place, source.kind, tuple(source.columns.values()), replace(file, path=paths[0], replicas=others))
    raise worst(failures)


def _may_pass(error: SourceError) -> bool:
    return not isinstance(error, MissingTreeError)


def _may_skip(error: SourceError) -> bool:
    """Whether `on_error="skip"` may skip a file with this error: not one that is sound but lacks the tree."""
    return not isinstance(error, MissingTreeError | DisagreementError)


def opened(dataset: Dataset, tree: str | None, step_size: int | str | None, options: Options, policy: Policy) -> Source:
    """The source of a dataset.

    What was preprocessed is taken as it was found. Files are opened again, or left out and named in `absent`, as the
    policy says. Raises SourceError if none can be opened.
    """
    if dataset.known is not None:
        return _known(dataset, step_size, options)
    tree = dataset.tree or tree
    if not dataset.replicated:
        try:
            return open_source(dataset.files, tree, step_size, dataset.metadata, options)
        except SourceError as error:
            if not (policy.skips and _may_skip(error)) and policy.tries(error) == 1:
                raise
    places = [(paths, own or tree) for paths, own in places_of(dataset, options, policy)]
    from hepgraph.io.trees import in_parallel  # uproot is imported when files are opened

    found = in_parallel(lambda place: look(place, options, policy), places)
    return joined_source(dataset.name, found, step_size, dataset.metadata, options)


def places_of(dataset: Dataset, options: Options, policy: Policy) -> list[Place]:
    """The places of the files; a file that is not there has one all the same if files may be skipped."""
    if not policy.skips:
        return dataset.places(options)
    found: list[Place] = []
    pairs = dataset.files.items() if isinstance(dataset.files, Mapping) else [(file, None) for file in dataset.files]
    for file, own in pairs:
        try:
            found += replace(dataset, files={file: own} if own else [file]).places(options)
        except SourceError:
            path, tree = (str(file), own) if own else split_tree(str(file))
            found.append(((path,), tree))
    return found


def joined_source(
    name: str, found: Sequence[Found], step_size: int | str | None, metadata: Mapping[str, Any], options: Options
) -> Source:
    """One source of files that were looked at one by one. Raises DisagreementError if they are of several kinds."""
    sound = [(one, one.file) for one in found if one.file is not None]
    failed = [one for one in found if one.file is None]
    if not sound:
        first = failed[0].error
        assert first is not None
        if len(failed) > 1:
            first.add_note(f"none of the {len(failed)} files of dataset {name!r} can be opened")
        if isinstance(first, SourceError):
            first.absent = [_absent(one, 0) for one in failed]
        raise first
    for one, file in sound:
        if one.kind != sound[0][0].kind:
            raise DisagreementError(
                f"The files of dataset {name!r} are of several kinds: {sound[0][1].path} holds a {sound[0][0].kind}, "
                f"{file.path} a {one.kind}."
            )
    columns, files = agreed([(one.columns, file) for one, file in sound])
    absent, before = [], 0
    for one in found:
        if one.file is not None:
            before += 1
            continue
        absent.append(_absent(one, before))
    once((file.path, file.tree) for file in files)
    return rebuilt_source(sound[0][0].kind, columns, files, step_size, metadata, options, absent)


def _absent(one: Found, before: int) -> Absent:
    assert one.error is not None
    return Absent(one.place[0][0], one.place[1] or "", before, one_line(one.error), one.tries)


def _known(dataset: Dataset, step_size: int | str | None, options: Options) -> Source:
    assert dataset.known is not None
    known = dataset.known
    files = [file_from_json(path, told) for path, told in dataset.files.items()]
    share = sum(file.wanted for file in files) / max(1, int(known["entries"]))
    columns = scaled([column_from_json(told) for told in known["columns"]], share)
    absent = [Absent(**told) for told in iter_absent(known)]
    if not files:
        error = SourceError(f"None of the files of dataset {dataset.name!r} could be opened: {absent[0].error}")
        error.absent = absent
        raise error
    once((file.path, file.tree) for file in files)
    return rebuilt_source(known["kind"], columns, files, step_size, dataset.metadata, options, absent)

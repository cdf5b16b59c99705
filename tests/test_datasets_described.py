"""Where columns went, and what each field and reference reads: nothing is lost, and nothing more is read."""

from functools import lru_cache
from pathlib import Path

import pytest
from formats import FORMATS, INDICES

import hepgraph as hg

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NANO = [
    "nano_dy.root", "nano_dimuon.root", "nano_tt_v12.root", "nano_dy.parquet", "nano_dy_rntuple.root",
    "nano_dimuon_rntuple.root", "Run2012B_SingleMu-1000.parquet", "pfnano.root",
]  # fmt: skip


@lru_cache(maxsize=16)
def opened(name):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not there")
    return hg.open(DATA / name)


def at(array, path):
    for part in path.split("."):
        array = array[part]
    return array


@pytest.fixture(scope="module", params=FORMATS)
def drawn(request, tmp_path_factory):
    """The events of a file of each format."""
    return hg.open(FORMATS[request.param](tmp_path_factory.mktemp("drawn") / "a.root", 3))


def index_columns(events):
    """The columns whose names say that they are indices, but for those that count others."""
    told = hg.schema_of(events)
    return {name for name in events.source.columns if "Idx" in name and name not in told.counts}


def used_by(told, events):
    """The columns that references of some events use as indices."""
    layout = events._form.fields.layout
    found = set()
    for collection, names in told.references.items():
        own = dict.fromkeys(path.partition(".")[0] for path in layout.paths(collection))
        for name in names:
            reference = layout.references(collection, own)[name]
            of = reference.to if reference.inverse else collection
            found |= {layout.paths(of)[index] for index in reference.indices}
    return found


@pytest.mark.parametrize("name", [*NANO, "drawn"])
def test_every_index_leads_somewhere_or_is_listed_with_the_reason(tmp_path, name):
    events = hg.open(FORMATS["nanoaod"](tmp_path / "a.root", 0)) if name == "drawn" else opened(name)
    told = hg.schema_of(events)
    indices = index_columns(events)
    assert len(indices) >= {"Run2012B_SingleMu-1000.parquet": 8}.get(name, 14)
    assert indices == used_by(told, events) | told.unresolved.keys()
    assert not used_by(told, events) & told.unresolved.keys()
    assert all(told.unresolved.values())
    for column, reason in list(told.unresolved.items())[:5]:
        assert f"{column}: {reason}" in str(told)


def test_an_index_leads_where_it_is_said(tmp_path):
    told = hg.schema_of(hg.open(FORMATS["nanoaod"](tmp_path / "a.root", 0)))
    for collection, indices in INDICES.items():
        for index, to in indices.items():
            name = "parent" if index.endswith("Mother") else f"matched_{index.replace('Idx', '')}"
            if to is not None:
                assert told.references[collection][name] == (to,)
    assert told.unresolved.keys() == {"SubJet_jetIdx", "FatJet_trackIdx"}
    assert told.unresolved["SubJet_jetIdx"].startswith("SubJet.jetIdx may point into Jet, FatJet, SubJet, ")
    assert told.unresolved["FatJet_trackIdx"] == "the schema does not say where it leads"


@pytest.mark.parametrize("name", [*NANO, "HZZ-zstd.root"])
def test_no_column_is_lost(name):
    """Each is a field, or as it was, or counts others, or is left out with the reason; of other samples, that is asked
    where their fields are compared with branches (`test_datasets_formats.py`)."""
    events = opened(name)
    told = hg.schema_of(events)
    inside = [column for fields in told.collections.values() for column in fields.values()]
    places = [*inside, *told.alone, *told.counts, *told.left]
    assert sorted(places) == sorted(set(places))
    assert set(places) == set(events.source.columns)
    assert all(told.left.values())
    for name in told.alone:
        assert name in events.fields or name.partition(".")[0] in events.fields


def needed(x, events):
    """The columns that an expression reads, but for those that count others."""
    layout = events._form.fields.layout
    counters = {column.counts for column in events.source.columns.values()}
    counters |= {layout.count_column(name) for name, kind in layout.names.items() if kind == "split"}
    return set(hg.necessary_columns(x)) - counters


def test_a_field_reads_its_column(drawn):
    told, layout = hg.schema_of(drawn), drawn._form.fields.layout
    for collection, fields in told.collections.items():
        for path, column in fields.items():
            by = layout.dealt(collection).get(path.partition(".")[0], ())
            assert needed(at(drawn[collection], path), drawn) == {column, *(fields[each] for each in by)}, column


def test_a_reference_reads_its_index_and_what_it_leads_to(drawn):
    """For each field that all it may lead to have; in a list of its own, with what says how long that is."""
    told, layout = hg.schema_of(drawn), drawn._form.fields.layout
    asked = 0
    for collection, names in told.references.items():
        own = dict.fromkeys(path.partition(".")[0] for path in layout.paths(collection))
        for name in names:
            reference = layout.keyed(collection, layout.references(collection, own)[name])
            of = reference.to if reference.inverse else collection
            fields = told.collections[of]
            pointing = [path for path in (*reference.indices, reference.key) if path]
            ends = {each for path in pointing for each in layout.dealt(of).get(path.partition(".")[0], ())}
            reads = {fields[path] for path in (*pointing, *ends)}
            for path in set.intersection(*(set(told.collections[to]) for to in reference.into)):
                if any(path.partition(".")[0] in layout.dealt(to) for to in reference.into):
                    continue
                targets = {told.collections[to][path] for to in reference.into}
                found = needed(at(drawn[collection][name], path), drawn)
                lengths = (
                    found - reads - targets if reference.inverse else set()
                )  # those of lists that nothing else reads
                assert lengths <= set(told.collections[collection].values())
                assert len(lengths) <= 1
                assert found - lengths == reads | targets, (collection, name, path)
                asked += 1
    assert asked or not told.references
